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
