"""Plain loops for the models that pick, peel, count and flip; written from the papers, importing nothing of ours."""

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
