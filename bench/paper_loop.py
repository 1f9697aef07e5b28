# ruff: noqa: B905, E501 (a baseline stays as it was first written)
"""Algorithm 1 of Stratified-NMF as a reader of the paper would write it: the opponent in the benchmarks.

Stratum by stratum with SciPy and NumPy; the Gram matrices and column sums are formed for every stratum, every time.
Take it as it stands: do not speed it up, do not slow it down.
"""

import numpy as np


def paper_loop(A, V, W, H, iterations, order="sequential", eps=1e-9):
    """Run the multiplicative updates; A: list of (m_i, n) arrays or CSR, V (s, n), W list of (m_i, r), H (r, n)."""
    V, W, H = V.copy(), [w.copy() for w in W], H.copy()
    for _ in range(iterations):
        for _ in range(2):
            for i, a in enumerate(A):
                V[i] *= np.asarray(a.sum(axis=0)).ravel() / (a.shape[0] * V[i] + H.T @ W[i].sum(axis=0) + eps)
        new = [w * (a @ H.T) / (w @ (H @ H.T) + v @ H.T + eps) for a, v, w in zip(A, V, W)]
        used = W if order == "simultaneous" else new
        numerator = np.zeros_like(H)
        denominator = np.zeros_like(H)
        for a, v, w in zip(A, V, used):
            numerator += (a.T @ w).T
            denominator += np.outer(w.sum(axis=0), v) + (w.T @ w) @ H
        H = H * numerator / (denominator + eps)
        W = new
    return V, W, H
