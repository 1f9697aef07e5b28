"""Plain loops for the models that pick, peel, count and flip; written from the papers, importing nothing of ours."""

import json
from pathlib import Path

import numpy as np


def successive_projections(X, r):
    """Take the longest row, project all rows on what is orthogonal to it, and again (Gillis, Vavasis 2014)."""
    residual, anchors = np.array(X, dtype=float), []
    for _ in range(r):
        best = 0
        for i in range(len(residual)):
            if residual[i] @ residual[i] > residual[best] @ residual[best] * (1 + 1e-9):
                best = i
        anchors.append(best)
        u = residual[best] / np.linalg.norm(residual[best])
        for i in range(len(residual)):
            residual[i] = residual[i] - (residual[i] @ u) * u
    return anchors


def planted_anchors(noise):
    """Draw mixtures of six samples that are there themselves: X (200, 40) and their numbers, ascending."""
    rng = np.random.default_rng(10)
    W, H = rng.random((40, 6)), rng.dirichlet(np.full(6, 0.5), 200).T
    pure = np.sort(rng.choice(200, 6, replace=False))
    H[:, pure] = np.eye(6)
    return np.maximum(W @ H + noise * rng.standard_normal((40, 200)), 0).T, pure


def numbers(case):
    """Read a fixed-seed case of `tests/data/variants.json`."""
    return json.loads((Path(__file__).parent / "data" / "variants.json").read_text())[case]


def log_likelihood(X, A, s, B):
    """Return ``sum x log p`` of counts, entry by entry."""
    total = 0.0
    for d in range(X.shape[0]):
        for w in range(X.shape[1]):
            if X[d, w] > 0:
                total += X[d, w] * np.log(sum(A[d, z] * s[z] * B[z, w] for z in range(len(s))))
    return total


def em_step(X, A, s, B):
    """Do one step of expectation-maximisation for PLSA (Hofmann 1999, equations 3 to 6), entry by entry."""
    new_A, new_s, new_B = np.zeros(A.shape), np.zeros(s.shape), np.zeros(B.shape)
    for d in range(X.shape[0]):
        for w in range(X.shape[1]):
            joint = A[d] * s * B[:, w]
            if X[d, w] > 0:
                expected = X[d, w] * joint / joint.sum()
                new_A[d] += expected
                new_s += expected
                new_B[:, w] += expected
    return new_A / new_s, new_s / new_s.sum(), new_B / new_s[:, None]


def counts(seed=24):
    """Draw the counts and the start of the PLSA case: X (20, 15), A, s, B."""
    rng = np.random.default_rng(seed)
    X = rng.poisson(2, (20, 15)).astype(float)
    A, B = rng.random((20, 3)), rng.random((3, 15))
    return X, A / A.sum(axis=0), np.full(3, 1 / 3), B / B.sum(axis=1, keepdims=True)
