"""Plain loops of designs, written from the formulas of the model ``X ~ Z Vᵀ + W Hᵀ``; they import nothing of ours."""

import numpy as np


def design(factors, exposure=None):
    """Return Z (n, q): an intercept and a column for each sorted level of each factor, times the exposure."""
    columns = [np.ones(len(factors[0]))]
    for labels in factors:
        for level in sorted(set(labels)):
            columns.append(np.array([float(label == level) for label in labels]))
    Z = np.stack(columns, axis=1)
    return Z if exposure is None else Z * np.asarray(exposure)[:, None]


def path(n_levels, first, q, strength):
    """Return L (q, q): `strength` times the squared difference of successive levels, which begin at column `first`."""
    L = np.zeros((q, q))
    for s in range(first, first + n_levels - 1):
        step = np.zeros(q)
        step[s], step[s + 1] = 1, -1
        L += strength * np.outer(step, step)
    return L


def objective(X, Z, W, H, V, L, weight=1.0):
    """Return ``sum weight_i (x_ij - (Z Vᵀ + W Hᵀ)_ij)² + tr(V L Vᵀ)``."""
    residual = X - Z @ V.T - W @ H.T
    return np.sum(np.broadcast_to(weight, len(X))[:, None] * residual**2) + np.sum(V * (V @ L))


def descend(V, gram, pos, neg, n_sweeps):
    """Return V after sweeps over its columns, each of which becomes the minimiser for the others."""
    V = V.copy()
    for _ in range(n_sweeps):
        for s in range(V.shape[1]):
            for j in range(len(V)):
                slope = pos[j, s] - neg[j, s] - sum(V[j, t] * gram[t, s] for t in range(V.shape[1]))
                if gram[s, s] > 0:
                    V[j, s] = max(0.0, V[j, s] + slope / gram[s, s])
    return V


def multiply(V, gram, pos, neg):
    """Return V after one multiplicative update of all entries at once."""
    out = V.copy()
    for j in range(len(V)):
        for s in range(V.shape[1]):
            up = pos[j, s] + sum(V[j, t] * max(-gram[t, s], 0) for t in range(V.shape[1]))
            down = neg[j, s] + sum(V[j, t] * max(gram[t, s], 0) for t in range(V.shape[1]))
            out[j, s] = V[j, s] * up / down if V[j, s] * up > 0 else 0.0
    return out
