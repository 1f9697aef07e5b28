"""Check and bring into range what the metrics are given."""

import numpy as np
from scipy import sparse

from fastnmf.matrix import as_csr


def as_matrix(values, name, dtype=np.float64):
    """Return a dense matrix as a 2-D float array."""
    if sparse.issparse(values):
        raise ValueError(f"{name} must be a dense array; got a sparse one.")
    values = np.asarray(values, dtype=dtype)
    if values.ndim != 2:
        raise ValueError(f"{name} must be two-dimensional; got shape {values.shape}.")
    return values


def as_shifts(V, strata, n, m):
    """Return V as (S, m), and the stratum of each row."""
    if V is None:
        return np.zeros((1, m)), np.zeros(n, dtype=np.intp)
    V = as_matrix(np.atleast_2d(V) if not sparse.issparse(V) else V, "V")
    if strata is None:
        labels, stratum = np.zeros(1), np.zeros(n, dtype=np.intp)
    else:
        strata = np.asarray(strata)
        if strata.shape != (n,):
            raise ValueError(f"strata must have one label for each of {n} rows; got shape {strata.shape}.")
        labels, stratum = np.unique(strata, return_inverse=True)
    if V.shape != (labels.size, m):
        raise ValueError(f"V must have shape {(labels.size, m)}, one row a label; got {V.shape}.")
    return V, stratum


def exponent_of(values):
    """Return the exponent of two that each value is below, and not below half of; 0 for zero."""
    return np.frexp(np.asarray(values, dtype=np.float64))[1]


def in_range(X, W, H, V, strata):
    """Return X, W, H and V, fit together and divided by powers of two, the stratum of each row, and X's exponent.

    Powers of two are exact, and keep squares of 1e-200 or 1e200 within range. A dense X is returned as it is, to be
    divided by ``2 ** exponent`` part by part.
    """
    W = as_matrix(W, "W")
    H = as_matrix(H, "H")
    if sparse.issparse(X):
        X = as_csr(X)
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        values = X.data
    else:
        X = values = as_matrix(X, "X", dtype=None)
    n, m = X.shape
    if W.shape[0] != n or H.shape[1] != m or W.shape[1] != H.shape[0]:
        raise ValueError(f"X {X.shape}, W {W.shape} and H {H.shape} do not fit together as X ~ W H.")
    V, stratum = as_shifts(V, strata, n, m)
    scale = exponent_of(max(abs(float(values.max())), abs(float(values.min()))) if values.size else 0.0)
    largest = abs(W).max(axis=0, initial=0.0)
    scale_W = np.where(largest > 0, exponent_of(largest), scale)
    W = np.ldexp(W, -scale_W)
    H = np.ldexp(H, (scale_W - scale)[:, None])
    V = np.ldexp(V, -scale)
    if sparse.issparse(X):
        X = sparse.csr_array((np.ldexp(X.data.astype(np.float64), -scale), X.indices, X.indptr), shape=X.shape)
    return X, W, H, V, stratum, scale
