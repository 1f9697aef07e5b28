"""Check the arguments of the metrics and scale them into range."""

import numbers

import numpy as np
from scipy import sparse

from fastnmf.data.annotated import unpack
from fastnmf.data.labels import encode_labels
from fastnmf.data.matrix import as_csr, as_numbers
from fastnmf.data.sentences import shown
from fastnmf.data.shifts import as_read, mapped


def as_matrix(values, name, dtype=np.float64):
    """Return a dense matrix as a 2-D float array."""
    if sparse.issparse(values):
        raise ValueError(f"{name} must be a dense array; got a sparse one.")
    values = as_numbers(values, name)
    if values.ndim != 2:
        raise ValueError(f"{name} must be two-dimensional; got shape {values.shape}.")
    if dtype is None:
        return values
    if not np.isfinite(values).all():
        raise ValueError(f"{name} contains NaN or infinity; every entry must be a finite number.")
    return values.astype(dtype, copy=False)


def components_of(model, name="model"):
    """Return the topics of a model, or array, as a dense array; of a hierarchy those of the finest level."""
    if not hasattr(model, "components_"):
        return as_matrix(model, name)
    found = model.components_[0] if isinstance(model.components_, list) else model.components_
    return as_matrix(found.sum(axis=0) if np.ndim(found) == 3 else found, "components_")  # over lags


def check_count(name, value, least=1, why=""):
    """Raise ValueError unless a value is an integer of at least `least`.

    Parameters
    ----------
    name : str
    value : object
    least : int, default=1
    why : str, default=""
        Why it must be, for the message.
    """
    if not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name} must be at least {least}, an integer{why}; got {shown(value)}.")


def as_shifts(V, strata, n, m):
    """Check V and the labels.

    Parameters
    ----------
    V : array-like or sparse matrix (S, m), or array-like (m,), or None
        None: one shift of zeros.
    strata : array-like (n,), or None
        Labels of the rows.
    n, m : int
        Shape of X.

    Returns
    -------
    V : ndarray or csr_array (S, m) of float64
    stratum : ndarray (n,) of int
        Row of V for each row of X.
    """
    if V is None:
        return np.zeros((1, m)), np.zeros(n, dtype=np.intp)
    V = as_read(as_csr(V, "V", np.float64)) if sparse.issparse(V) else as_matrix(np.atleast_2d(V), "V")
    if strata is None:
        labels, stratum = np.zeros(1), np.zeros(n, dtype=np.intp)
    else:
        stratum, labels = encode_labels(strata, n)
    if V.shape != (labels.size, m):
        raise ValueError(f"V must have shape {(labels.size, m)}, one row per label; got {V.shape}.")
    return V, stratum


def exponent_of(values):
    """Return for each value x the integer e with ``2 ** (e - 1) <= |x| < 2 ** e``; 0 for zero."""
    return np.frexp(np.asarray(values, dtype=np.float64))[1]


def fitting(X, W, H, V, strata):
    """Check that the shapes match, and return the arrays of `in_range` in their own scale.

    Parameters
    ----------
    X, W, H, V, strata :
        As for `in_range`.

    Returns
    -------
    X : csr_array or ndarray (n, m)
    W, H, V : ndarray of float64, or csr_array for V
    stratum : ndarray (n,) of int
        Row of V for each row of X.
    """
    W = as_matrix(W, "W")
    H = as_matrix(H, "H")
    X, strata = unpack(X, strata)
    if sparse.issparse(X):
        X = as_csr(X)
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
    else:
        X = as_matrix(X, "X", dtype=None)
    n, m = X.shape
    if W.shape[0] != n or H.shape[1] != m or W.shape[1] != H.shape[0]:
        raise ValueError(f"X {X.shape}, W {W.shape} and H {H.shape} do not fit together as X ~ W H.")
    return X, W, H, *as_shifts(V, strata, n, m)


def in_range(X, W, H, V, strata):
    """Check that the shapes match, and divide all arrays by powers of two.

    Powers of two are exact, and keep the squares of 1e-200 or 1e200 within range.

    Parameters
    ----------
    X : array-like or sparse matrix (n, m)
    W : array-like (n, k)
    H : array-like (k, m)
    V : array-like or sparse matrix (S, m), or array-like (m,), or None
    strata : array-like (n,), or None

    Returns
    -------
    X : csr_array or ndarray (n, m)
        Sparse: divided by ``2 ** scale``. Dense: as given; the caller divides it, one chunk at a time.
    W, H, V : ndarray of float64, or csr_array for V
        Divided such that W H and V are relative to ``2 ** scale``.
    stratum : ndarray (n,) of int
        Row of V for each row of X.
    scale : int
        Binary exponent of the largest entry of X.
    """
    X, W, H, V, stratum = fitting(X, W, H, V, strata)
    values = X.data if sparse.issparse(X) else X
    largest = max(abs(float(values.max())), abs(float(values.min()))) if values.size else 0.0
    if not np.isfinite(largest):
        raise ValueError("X contains NaN or infinity; every entry must be a finite number.")
    scale = exponent_of(largest)
    largest = abs(W).max(axis=0, initial=0.0)
    scale_W = np.where(largest > 0, exponent_of(largest), scale)
    W = np.ldexp(W, -scale_W)
    H = np.ldexp(H, (scale_W - scale)[:, None])
    V = mapped(V, lambda v: np.ldexp(v, -scale))
    if sparse.issparse(X):
        X = sparse.csr_array((np.ldexp(X.data.astype(np.float64), -scale), X.indices, X.indptr), shape=X.shape)
    return X, W, H, V, stratum, scale
