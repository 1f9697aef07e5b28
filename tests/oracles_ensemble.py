"""Rank choice in plain loops: held-out losses, matching. Nothing of the package is imported."""

from itertools import permutations

import numpy as np
from scipy.optimize import nnls


def held_out_entries(X, Y, is_out, is_seen, reach):
    """Return the normalized loss of predictions Y, limited to `reach` times the largest seen entry of a column."""
    lost = total = 0.0
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            if is_out[i, j]:
                largest = max((X[a, j] for a in range(X.shape[0]) if is_seen[a, j]), default=0.0)
                lost += (X[i, j] - min(Y[i, j], reach * largest)) ** 2
                total += X[i, j] ** 2
    return np.sqrt(lost / total)


def held_out_rows(X, shifts, H, part):
    """Return the normalized loss of rows X whose weights come from the columns of the other parts; shifts one a row."""
    lost = total = 0.0
    for x, v in zip(X, shifts, strict=True):
        for left in np.unique(part):
            w, _ = nnls(H[:, part != left].T, (x - v)[part != left])
            lost += np.sum((x - v - w @ H)[part == left] ** 2)
            total += np.sum(x[part == left] ** 2)
    return np.sqrt(lost / total)


def best_matching(A, B):
    """Return the largest mean cosine of the rows of A with those of B in any order."""

    def cosine(a, b):
        length = np.sqrt(np.sum(a * a) * np.sum(b * b))
        return np.sum(a * b) / length if length > 0 else 0.0

    orders = permutations(range(len(B)))
    return max(np.mean([cosine(a, B[j]) for a, j in zip(A, order, strict=True)]) for order in orders)


def mean_distance_to_nearest(points, n_nearest):
    """Return for every row the mean Euclidean distance to its nearest others."""
    found = []
    for i, p in enumerate(points):
        apart = sorted(np.sqrt(np.sum((p - q) ** 2)) for j, q in enumerate(points) if j != i)
        found.append(np.mean(apart[:n_nearest]))
    return np.array(found)
