"""Plain twins of hierarchies: inference column by column, objectives from the residual. They import nothing of ours."""

import numpy as np
from scipy.optimize import nnls


def chain(X, A):
    """Return S_0, S_1, ...: every column by SciPy's least squares; X (features, samples)."""
    S, below = [], X
    for a in A:
        S.append(np.stack([nnls(a, column)[0] for column in below.T], axis=1))
        below = S[-1]
    return S


def objective(X, A, loss, weights, B=None, Y=None, mask=None, label_weight=0.0, data_mask=None):
    """Return the objective of a hierarchy as the paper writes it; data_mask (features, samples) weighs entries of X."""
    S = chain(X, A) if data_mask is None else masked_chain(X, A, data_mask)
    seen, total, product = 1.0 if data_mask is None else data_mask, 0.0, np.eye(len(A[0]))
    for level, (a, s) in enumerate(zip(A, S, strict=True)):
        product = product @ a
        if loss == "energy":
            below = X if level == 0 else S[level - 1]
            total += weights[level] * np.sum((seen if level == 0 else 1) * (below - a @ s) ** 2)
        elif loss == "levels" or level == len(A) - 1:
            total += weights[level] * np.sum(seen * (X - product @ s) ** 2)
    if Y is not None:
        total += label_weight * np.sum((mask * (Y - B @ S[-1])) ** 2)
    return total


def masked_chain(X, A, data_mask):
    """Return S_0, S_1, ... where S_0 sees the entries of X that `data_mask` marks."""
    first = np.stack([nnls(A[0][o], x[o])[0] for x, o in zip(X.T, data_mask.T > 0, strict=True)], axis=1)
    return [first, *chain(first, A[1:])]


def semi_supervised(X, Y, known, W, H, B, weight, n_iter):
    """Run the multiplicative updates of Lee, Yoo, Choi (2010), rows as samples: W, then H, then B."""
    for _ in range(n_iter):
        W = W * (X @ H + weight * (known * Y) @ B) / (W @ (H.T @ H) + weight * known * (W @ (B.T @ B)))
        H = H * (X.T @ W) / (H @ (W.T @ W))
        B = B * ((known * Y).T @ W) / ((known * (W @ B.T)).T @ W)
    return W, H, B


def deep_energy(X, A, S):
    """Return ``sum_l ||S_{l-1} - S_l A_lᵀ||²`` for free S, rows as samples."""
    below = [X, *S[:-1]]
    return sum(np.sum((b - s @ a.T) ** 2) for b, a, s in zip(below, A, S, strict=True))
