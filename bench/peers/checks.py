"""Compute again, from the factors alone and in float64, what a contestant claims to have reached."""

import numpy as np
from scipy import sparse

_CHUNK = 1 << 16  # non-zeros at a time: their rows of W and H are 20 MB at rank 20


def divergence(X, W, H):
    """Return the Kullback-Leibler divergence ``sum x log(x / y) - x + y``, ``y = W H``, of a CSR array X."""
    W, H = np.asarray(W, dtype=np.float64), np.ascontiguousarray(np.asarray(H, dtype=np.float64).T)
    rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    total = float(W.sum(axis=0) @ H.sum(axis=0))
    for low in range(0, X.nnz, _CHUNK):
        part = slice(low, low + _CHUNK)
        x = X.data[part].astype(np.float64)
        y = np.einsum("ij,ij->i", W[rows[part]], H[X.indices[part]])
        total += float(np.sum(x * np.log(x / y) - x))
    return total


def fewest_iterations(error_after, target, first=1, last=60):
    """Return the smallest n from `first` on with ``error_after(n) <= target``, and that error; (None, None) if none."""
    for n in range(first, last + 1):
        error = error_after(n)
        if error <= target:
            return n, error
    return None, None


def relative_error(X, W, H, V=None, labels=None):
    """Return ``||X - W H - V[labels]|| / ||X||`` (Frobenius) of a CSR array or an ndarray X; V (S, m) may be None."""
    W, H = np.asarray(W, dtype=np.float64), np.asarray(H, dtype=np.float64)
    if V is not None:  # a shift is a component that is 1 in the rows of its stratum
        V = V.toarray() if sparse.issparse(V) else np.asarray(V, dtype=np.float64)
        W, H = np.hstack([W, labels[:, None] == np.arange(len(V))]), np.vstack([H, V])
    if not sparse.issparse(X):
        return float(np.linalg.norm(X - W @ H) / np.linalg.norm(X))
    norm, tall = float(np.vdot(X.data, X.data)), np.ascontiguousarray(H.T)
    rows, cross = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr)), 0.0
    for low in range(0, X.nnz, _CHUNK):
        part = slice(low, low + _CHUNK)
        cross += float(X.data[part] @ np.einsum("ij,ij->i", W[rows[part]], tall[X.indices[part]]))
    return float(np.sqrt((norm - 2 * cross + np.vdot(W.T @ W, H @ H.T)) / norm))
