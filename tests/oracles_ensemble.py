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


def connectivity_and_dispersion(runs):
    """Return the consensus matrix of the labels of runs, and its dispersion (Kim and Park 2007)."""
    n = len(runs[0])
    C = np.array([[sum(run[i] == run[j] for run in runs) / len(runs) for j in range(n)] for i in range(n)])
    return C, sum(4 * (C[i, j] - 0.5) ** 2 for i in range(n) for j in range(n)) / n**2


def cophenetic(C):
    """Return the correlation of the distances 1 - C with the heights at which average linkage joins the pairs."""
    n = len(C)
    groups, height = [[i] for i in range(n)], np.zeros((n, n))

    def apart(pair):
        return np.mean([1 - C[i, j] for i in groups[pair[0]] for j in groups[pair[1]]])

    while len(groups) > 1:
        a, b = min(((a, b) for b in range(len(groups)) for a in range(b)), key=apart)
        for i in groups[a]:
            for j in groups[b]:
                height[i, j] = height[j, i] = apart((a, b))
        groups[a] += groups.pop(b)
    pairs = [(i, j) for j in range(n) for i in range(j)]
    x, y = (np.array([values[pair] for pair in pairs]) for values in (1 - C, height))
    x, y = x - x.mean(), y - y.mean()
    return np.sum(x * y) / np.sqrt(np.sum(x * x) * np.sum(y * y))


def feature_scores(H):
    """Return 1 + sum_l p log2(p) / log2(k) of every column (Kim and Park 2007)."""
    found = []
    for column in H.T:
        shares = [entry / column.sum() for entry in column]
        found.append(1 + sum(p * np.log2(p) for p in shares if p > 0) / np.log2(len(shares)))
    return np.array(found)
