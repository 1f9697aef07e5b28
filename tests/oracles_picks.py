"""Plain loops for the models that pick, peel, count and flip; written from the papers, importing nothing of ours."""

import itertools
import json
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.optimize import nnls


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


def distance_to_hull(x, points):
    """Return the distance of x from the convex hull of the points and the origin: of all faces the nearest one."""
    best = np.linalg.norm(x)
    for size in range(1, len(points) + 1):
        for chosen in combinations(range(len(points)), size):
            A = points[list(chosen)]
            inside = np.linalg.lstsq(A.T, x, rcond=None)[0]  # a face with the origin
            edges = np.linalg.lstsq((A[1:] - A[0]).T, x - A[0], rcond=None)[0]  # one without
            for h in (inside, np.append(1 - edges.sum(), edges)):
                if (h >= 0).all() and h.sum() <= 1 + 1e-12:
                    best = min(best, np.linalg.norm(x - h @ A))
    return best


def successive_nonnegative_projections(X, r):
    """Take the row farthest from the hull of those taken and the origin, and again (Gillis 2014, Algorithm 1)."""
    anchors, distances = [], []
    for _ in range(r):
        left = [distance_to_hull(x, X[anchors]) for x in X]
        distances.append(max(left))
        anchors.append(next(i for i, d in enumerate(left) if d >= max(left) * (1 - 5e-10)))
    return anchors, distances


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


def underapproximate(X, rank, n_steps):
    """Peel with multipliers held densely (Gillis, Glineur 2010, Algorithm 1); return (u, v, norm left)."""
    left, found = np.array(X, dtype=float), []
    for _ in range(rank):
        U, values, V = np.linalg.svd(left)
        u, v = np.abs(U[:, 0]) * values[0] ** 0.5, np.abs(V[0]) * values[0] ** 0.5
        multipliers = np.zeros(left.shape)
        for j in range(n_steps):
            multipliers = np.maximum(0, multipliers - (left - np.outer(u, v)) / (j + 1))
            u = np.maximum(0, (left - multipliers) @ v) / (v @ v)
            v = np.maximum(0, (left - multipliers).T @ u) / (u @ u)
        left = np.maximum(0, left - np.outer(u, v))
        found.append((u, v, np.linalg.norm(left)))
    return found


def blocks(R):
    """Return what the largest product below R from each column explains, without its largest row or column."""
    out = np.zeros(R.shape[1])
    for j in range(R.shape[1]):
        rows = np.flatnonzero(R[:, j])
        terms = np.zeros((len(rows), R.shape[1]))
        for l in range(R.shape[1]):
            v = min((R[i, l] / R[i, j] for i in rows), default=0.0)
            for at, i in enumerate(rows):
                terms[at, l] = 2 * R[i, j] * v * R[i, l] - (R[i, j] * v) ** 2
        if len(rows):
            out[j] = terms.sum() - max(terms.sum(axis=0).max(), terms.sum(axis=1).max())
    return out


def boolean_product(W, H):
    """Return OR over l of W_il AND H_lj, entry by entry."""
    out = np.zeros((W.shape[0], H.shape[1]), bool)
    for i in range(W.shape[0]):
        for j in range(H.shape[1]):
            out[i, j] = any(W[i, l] and H[l, j] for l in range(H.shape[0]))
    return out


def covered(is_one, W, H):
    """Return the loss of a model that should be at least 1 where `is_one`, else 0, and its nearest such matrix."""
    loss, near = 0.0, np.zeros(is_one.shape)
    for i in range(len(W)):
        for j in range(H.shape[1]):
            y = W[i] @ H[:, j]
            near[i, j] = max(y, 1.0) if is_one[i, j] else 0.0
            loss += (near[i, j] - y) ** 2
    return loss, near


def best_single_switch(W, error):
    """Return the least ``error(W)`` over W and all W that differ from it in one entry of zero or one."""
    best = error(W)
    for i in range(W.shape[0]):
        for l in range(W.shape[1]):
            W[i, l] = 1 - W[i, l]
            best = min(best, error(W))
            W[i, l] = 1 - W[i, l]
    return best


def planted_sets():
    """Draw the Boolean case: W (40, 4) and H (4, 60) of zeros and ones."""
    rng = np.random.default_rng(20)
    return (rng.random((40, 4)) < 0.3).astype(float), (rng.random((4, 60)) < 0.3).astype(float)


def interval_error(Y, low, high):
    """Return the sum of squared distances of the entries of Y to their intervals."""
    total = 0.0
    for i in range(Y.shape[0]):
        for j in range(Y.shape[1]):
            total += max(low[i, j] - Y[i, j], 0, Y[i, j] - high[i, j]) ** 2
    return total


def interval_case():
    """Draw the interval case, turned: bounds (20, 30), W (20, 3), H (3, 30)."""
    rng = np.random.default_rng(19)
    Y = rng.random((30, 3)) @ rng.random((3, 20))
    low, high = np.maximum(Y - 0.1 * rng.random(Y.shape), 0), Y + 0.1 * rng.random(Y.shape)
    W, H = rng.random((30, 3)), rng.random((3, 20))
    return low.T, high.T, H.T, W.T


def interval_mu_step(low, high, W, H):
    """Impute the nearest points, move W by Lee and Seung's update; impute again, move H."""
    Z = np.clip(W @ H, low, high)
    W = W * (Z @ H.T) / (W @ H @ H.T)
    Z = np.clip(W @ H, low, high)
    return W, H * (W.T @ Z) / (W.T @ W @ H)


def dictionary_mu_step(X, W, C, D):
    """Do Lee and Seung's update of W and then of C for ``||X - W C D||²``."""
    H = C @ D
    W = W * (X @ H.T) / (W @ H @ H.T)
    return W, C * (W.T @ X @ D.T) / (W.T @ W @ C @ D @ D.T)


def nearest_in_cone(Q, f):
    """Return the point g nearest to f (r,) with ``Q g >= 0``, by trying every set of rows that are zero."""
    best, least = None, np.inf
    for chosen in itertools.product([False, True], repeat=len(Q)):
        rows = Q[list(chosen)]
        g = f - np.linalg.pinv(rows) @ (rows @ f) if len(rows) else f
        if (Q @ g).min() > -1e-12 and np.linalg.norm(g - f) < least:
            best, least = g, np.linalg.norm(g - f)
    return best


def signed_dictionary_step(X, W, H, D):
    """Return W and the components H after one iteration: W by one sweep, each component to its best in the span of D.

    A component is ``c D >= 0``; the best one is found by non-negative least squares in the multipliers.
    """
    W, H = W.copy(), H.copy()
    for c in range(W.shape[1]):
        W[:, c] = np.maximum(0, W[:, c] + (X - W @ H) @ H[c] / (H[c] @ H[c]))
    Q = np.linalg.svd(D, full_matrices=False)[2].T
    for c in range(W.shape[1]):
        target = Q.T @ (H[c] + (X - W @ H).T @ W[:, c] / (W[:, c] @ W[:, c]))
        H[c] = Q @ (target + Q.T @ nnls(Q.T, -target)[0])
    return W, H
