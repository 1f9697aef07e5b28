"""Compute the error of every row of the data, for fixed components and shifts.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.inference import infer
from fastnmf.core.losses import masked
from fastnmf.core.problem import full
from fastnmf.core.thresholds import EXPANSION_FLOOR, MODEL_SHARE
from fastnmf.data.layout import row_index
from fastnmf.kernels.blas import single_threaded_blas

CHUNK_ENTRIES = 1 << 21  # entries of a dense residual at a time: 16 MB


def expanded_errors(unexplained, W, gram, linear):
    """Return ``||a - v||² + w gram wᵀ - 2 w . b`` for every row a: the squared error by expansion.

    It costs no pass over the data, and a small error loses its digits: it may even be negative.

    Parameters
    ----------
    unexplained : ndarray (n_rows,) of float64
        ``||a - v||²``, the error without weights.
    W : ndarray (n_rows, K) of float64
    gram : ndarray (K, K) of float64
        Gram matrix of the components.
    linear : ndarray (n_rows,) of float64
        ``w . b``, with b the inner products of ``a - v`` and the components.

    Returns
    -------
    ndarray (n_rows,) of float64
    """
    return unexplained + np.einsum("ij,ij->i", W @ gram, W) - 2 * linear


def row_errors(data, rank, H, V=None, product=None):
    """Return ``min_{w >= 0} ||a - v - H w||²`` for every row a, over its known entries.

    Where all entries are known the result has at least six correct digits.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
        float64.
    rank : int
        Columns of H in use.
    H : ndarray (m, K)
        Padded, in the inner scale of the data.
    V : ndarray or csr_array (n_strata, m), default=None
        Shifts in the inner scale of the data.
    product : ndarray (n_rows, K), optional
        ``X H``, if it has been computed.

    Returns
    -------
    ndarray (n_rows,) of float64
        In the squared units of the data in the inner scale.
    """
    W, sub = infer(data, rank, H, V, product)
    if sub is None:
        return np.maximum(masked.row_errors(data, W, H, V)[0], 0)
    V = sp.csr_array((data.n_strata, data.shape[1])) if V is None else V
    linear = np.einsum("ij,ij->i", W, sub.pos) - (0 if sub.neg is None else np.einsum("ij,ij->i", W, full(sub.neg)))
    unexplained = data.row_square_sums(V)
    errors = expanded_errors(unexplained, W, sub.gram, linear)
    squares = unexplained + 2 * data.shift_squares(V)
    (lost,) = np.nonzero(errors < EXPANSION_FLOOR * squares)
    step = max(1, CHUNK_ENTRIES // data.shape[1])
    for at in range(0, len(lost), step):
        with single_threaded_blas():
            residual = data.residual(lost[at : at + step], W, H, V)
        errors[lost[at : at + step]] = np.einsum("ij,ij->i", residual, residual)
    return np.maximum(errors, 0)


def row_divergences(data, W, H, V, own=None):
    """Return ``sum_j x log(x / y) - x + y`` with ``y = v + w H``, and the part of own components, for every row.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
        May hold the user's data multiplied by a power of four; this is undone here. Without weights of rows.
    W : ndarray (n_rows, k)
    H : ndarray (k, m)
    V : ndarray or csr_array (n_strata, m)
    own : fastnmf.core.own.OwnEntries, default=None
        W, H, V and these in the scale of the user.

    Returns
    -------
    ndarray (n_rows,) of float64
        In the units of the user's data. Where x is not zero, y is at least `MODEL_SHARE` of the mean of the non-zeros,
        so the result is finite.
    """
    W, H, V = (F.astype(np.float64) for F in (W, H, V))
    X = sp.csr_array(data.X)
    of_row = row_index(X)
    values, errors = np.ldexp(X.data, -2 * data.log4_scale), data.spread(V.sum(axis=1)) + W @ H.sum(axis=1)
    errors = errors if own is None else errors + own.totals
    least, tall = MODEL_SHARE * (values.mean() if len(values) else 0), np.ascontiguousarray(H.T)
    step = max(1, CHUNK_ENTRIES // len(H))
    for at in range(0, len(values), step):
        i, j, x = of_row[at : at + step], X.indices[at : at + step], values[at : at + step]
        y = data.shift_entries(V, i, j) + np.einsum("ij,ij->i", W[i], tall[j])
        y = np.maximum(y if own is None else y + own.at(i, j), least)
        errors += np.bincount(i, x * np.log(x / y) - x, minlength=len(errors))
    return np.maximum(errors, 0)


def divided_gains(data, W, H, V, own=None):
    """Return the Kullback-Leibler divergence of every row from independence, and what V and W H each explain of it.

    The null model is ``m = r cᵀ / N``, of the sums r of the rows, c of the columns, and N of all. With
    ``y = v + w H`` the part of the shift is ``sum_j x (v / y) (1 + log(y / m)) - v``; that of the components has
    ``x - x v / y`` in place of ``x v / y``, and ``w H`` in place of v. Own components are a third part, which is
    divided in the same way. The first result less all parts is the divergence from the model. Costs O(nnz k).

    Parameters
    ----------
    data, W, H, V, own :
        As for `row_divergences`.

    Returns
    -------
    null, by_shift, by_components, by_own : ndarray (n_rows,) of float64
        In the units of the user's data; `by_own` only with own components.
    """
    W, H, V = (F.astype(np.float64) for F in (W, H, V))
    X = sp.csr_array(data.X)
    of_row, values = row_index(X), np.ldexp(X.data, -2 * data.log4_scale)
    n_rows, n_columns = X.shape
    row_sums, column_sums = np.bincount(of_row, values, n_rows), np.bincount(X.indices, values, n_columns)
    total, least, tall = values.sum(), MODEL_SHARE * (values.mean() if len(values) else 0), np.ascontiguousarray(H.T)
    null, by_shift, both, by_own = np.zeros((4, n_rows))
    step = max(1, CHUNK_ENTRIES // len(H))
    for at in range(0, len(values), step):
        i, j, x = of_row[at : at + step], X.indices[at : at + step], values[at : at + step]
        is_there = x > 0
        i, j, x = i[is_there], j[is_there], x[is_there]
        v = data.shift_entries(V, i, j)
        y, of_own = v + np.einsum("ij,ij->i", W[i], tall[j]), None if own is None else own.at(i, j)
        y = np.maximum(y if own is None else y + of_own, least)
        independent = row_sums[i] / total * column_sums[j]
        gain = x * (1 + np.log(y / independent))
        null += np.bincount(i, x * np.log(x / independent), n_rows)
        by_shift += np.bincount(i, gain * np.minimum(v / y, 1), n_rows)
        both += np.bincount(i, gain, n_rows)
        if own is not None:
            by_own += np.bincount(i, gain * np.minimum(of_own / y, 1), n_rows)
    by_components = both - by_shift - W @ H.sum(axis=1)
    by_shift -= data.spread(V.sum(axis=1))
    return (
        (null, by_shift, by_components)
        if own is None
        else (null, by_shift, by_components - by_own, by_own - own.totals)
    )


def explained_share(errors, norms, sample_weight):
    """Return 1 minus the weighted sum of the squared errors of the rows divided by that of their squared norms."""
    if sample_weight is not None:
        sample_weight = np.asarray(sample_weight, dtype=np.float64)
        if sample_weight.shape != errors.shape:
            raise ValueError(f"sample_weight has shape {sample_weight.shape}, expected {errors.shape}: one per row.")
        if not np.isfinite(sample_weight).all() or (sample_weight < 0).any():
            raise ValueError("sample_weight contains negative or non-finite weights; every weight must be >= 0.")
        errors, norms = errors * sample_weight, norms * sample_weight
    total = norms.sum()
    return 1.0 if total == 0 else float(1 - np.maximum(errors, 0).sum() / total)


def entries_of_product(W, H, rows, columns):
    """Return ``W H`` at some entries, a bounded number at a time, and no others.

    Parameters
    ----------
    W : ndarray (n_rows, k)
    H : ndarray (k, n_columns)
    rows, columns : ndarray (q,) of int

    Returns
    -------
    ndarray (q,), dtype of W
    """
    out, step = np.empty(len(rows), W.dtype), max(1, CHUNK_ENTRIES // W.shape[1])
    for lo in range(0, len(rows), step):
        at = slice(lo, lo + step)
        out[at] = np.einsum("ec,ce->e", W[rows[at]], H[:, columns[at]])
    return out
