"""Plain reference versions of steps with a user's loss or penalty, importing nothing of ours.

Factors are W (n, k) and H (k, m). A user's functions are passed in: d, pos and neg of one entry, or value and
half_gradient of H.
"""

import numpy as np


def entrywise_loss(X, Y, d):
    """Sum d(x, y) over all entries."""
    return sum(d(X[i, j], Y[i, j]) for i in range(X.shape[0]) for j in range(X.shape[1]))


def entrywise_step(X, W, H, pos, neg):
    """Update W, then H, by the ratio of the sums of the two parts of the derivative (Lee and Seung 2001)."""
    for name in "WH":
        Y = W @ H
        below = np.array([[pos(x, y) for x, y in zip(*rows, strict=True)] for rows in zip(X, Y, strict=True)])
        above = np.array([[neg(x, y) for x, y in zip(*rows, strict=True)] for rows in zip(X, Y, strict=True)])
        if name == "W":
            W = W * (below @ H.T) / (above @ H.T)
        else:
            H = H * (W.T @ below) / (W.T @ above)
    return W, H


def majorised_minimum(gram, right, H, slope, c):
    """Minimise ``<F, gram F> - 2 <F, right> + 2 <slope, F - H> + c ||F - H||²`` over F >= 0 by projected gradients."""
    F = H.copy()
    lipschitz = np.linalg.norm(gram, 2) + c
    for _ in range(20000):
        F = np.maximum(F - (gram @ F - right + slope + c * (F - H)) / lipschitz, 0)
    return F


def group_minimum(gram, right, weight, groups):
    """Minimise ``<F, gram F> - 2 <F, right> + 2 weight sum_g ||F_g||`` over F >= 0 (k, p) by proximal gradients.

    Groups are the rows ("components") or the columns ("features") of F.
    """
    F, lipschitz = np.ones(right.shape), np.linalg.norm(gram, 2)
    axis = 1 if groups == "components" else 0
    for _ in range(4000):
        F = np.maximum(F - (gram @ F - right) / lipschitz, 0)
        lengths = np.sqrt((F**2).sum(axis=axis, keepdims=True))
        F = F * np.maximum(1 - weight / lipschitz / np.maximum(lengths, 1e-300), 0)
    return F


def lack_of_sparseness(F):
    """Return the sum over the rows of one minus Hoyer's sparseness, 0 for a row of zeros."""
    total, p = 0.0, F.shape[1]
    for f in F:
        length = np.sqrt(sum(f**2))
        total += 1 - (np.sqrt(p) - sum(f) / length) / (np.sqrt(p) - 1) if length > 0 else 0.0
    return total


def angles(F):
    """Return the sum of the cosines of all pairs of different rows; a row of zeros has none."""
    total = 0.0
    for k, f in enumerate(F):
        for l, g in enumerate(F):
            length = np.sqrt(sum(f**2) * sum(g**2))
            total += sum(a * b for a, b in zip(f, g, strict=True)) / length if k != l and length > 0 else 0.0
    return total
