"""Measure the distance of a factorization from a stationary point, and the usage of its components."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from scipy import sparse

from fastnmf.data.labels import encode_labels
from fastnmf.data.layout import row_index
from fastnmf.data.sentences import shown
from fastnmf.data.shifts import entries_at, rows_of
from fastnmf.metrics.checks import as_matrix, in_range
from fastnmf.typing import Array, Dense, Floats, Labels, Matrix, SparseOrDense, Vector

_CHUNK_ENTRIES = 2**21  # entries of a dense chunk at a time: 16 MB


def kkt_residual(
    X: Matrix, W: Dense, H: Dense, V: SparseOrDense | Vector | None = None, strata: Labels | None = None
) -> float:
    """Return by how much W, H and V violate the optimality conditions of the squared error; 0 at a stationary point.

    Parameters
    ----------
    X : {array-like, sparse matrix or array} of shape (n_samples, n_features)
        The data, rows in any order. A sparse X stays sparse.
    W : array-like of shape (n_samples, n_components)
        Weights, in the row order of X.
    H : array-like of shape (n_components, n_features)
        Shared components.
    V : array-like or sparse matrix of shape (n_strata, n_features), default=None
        Shifts, rows in the sorted order of the labels. None: no shifts, plain NMF.
    strata : array-like of shape (n_samples,), default=None
        Label of each row. None: all rows are one stratum. Ignored where V is None.

    Returns
    -------
    residual : float
        The largest of ``|min(x, g / d)| / |x|`` over the blocks x: all shifts together, every column of W and every
        row of H. g is the gradient of half the squared error, d the diagonal of its Hessian. For a block of zeros the
        ratio is 0 where zero is optimal, else inf.

    Raises
    ------
    ValueError
        If the shapes do not fit together or V does not have one row for each label.

    Notes
    -----
    This is the natural residual of the conditions ``x >= 0, g >= 0, x g = 0``, with the gradient divided by the
    curvature d of its own coordinate. An entry of 1e-200, which a multiplicative update cannot make zero, therefore
    counts as zero; the norm of the projected gradient would count its whole gradient. The residual depends neither on
    the scale of X nor on the split of a component's scale between W and H. It is valid for the squared error without
    weights and penalties. It costs one product each of X with W and H, O(nnz k + (n + m) k^2 + S m k).

    Examples
    --------
    >>> from fastnmf.metrics import kkt_residual
    >>> kkt_residual([[3.0, 4.0]], W=[[1.0]], H=[[3.0, 4.0]])
    0.0
    >>> round(kkt_residual([[3.0, 4.0]], W=[[1.0]], H=[[3.0, 2.0]]), 4)
    0.5547
    """
    has_shifts = V is not None
    X, W, H, V, stratum, scale = in_range(X, W, H, V, strata)
    of_stratum = sparse.csr_array((np.ones(len(W)), (stratum, np.arange(len(W)))), shape=(V.shape[0], len(W)))
    weight_sums, sizes = of_stratum @ W, np.bincount(stratum, minlength=V.shape[0])[:, None]
    XH, XW, sums = _products(X, scale, W, H, of_stratum)
    gram_W, gram_H = W.T @ W, H @ H.T
    of_W = W @ gram_H + (V @ H.T)[stratum] - XH
    of_H = gram_W @ H + weight_sums.T @ V - XW
    found = _blocks(W, of_W, np.diagonal(gram_H), axis=0)
    found = np.append(found, _blocks(H, of_H, np.diagonal(gram_W)[:, None], axis=1))
    if has_shifts and sparse.issparse(V) and sparse.issparse(sums):
        found = np.append(found, _of_stored_shifts(V, sums, sizes.ravel(), weight_sums, H))
    elif has_shifts:
        length = distance = 0.0
        step = max(1, _CHUNK_ENTRIES // V.shape[1])
        for first in range(0, V.shape[0], step):
            part = slice(first, first + step)
            shifts = rows_of(V, part)
            sums_here = sums[part].toarray() if sparse.issparse(sums) else sums[part]  # never-densify-ok: 16 MB
            gradient = sizes[part] * shifts + weight_sums[part] @ H - sums_here
            distance += np.square(np.minimum(shifts, gradient / sizes[part])).sum()
            length += np.square(shifts).sum()
        found = np.append(found, _ratio(np.sqrt(distance), np.sqrt(length)))
    return float(found.max(initial=0.0))


def component_usage(W: Dense, H: Dense, strata: Labels | None = None) -> Floats:
    """Return the share of each component in the sum of all components over the rows of each stratum.

    Parameters
    ----------
    W : array-like of shape (n_samples, n_components)
        Weights of the rows.
    H : array-like of shape (n_components, n_features)
        Components. Multiplying by their sums makes the weights comparable: the scale of W alone is arbitrary.
    strata : array-like of shape (n_samples,), default=None
        Label of each row. None: all rows are one stratum.

    Returns
    -------
    usage : ndarray of shape (n_strata, n_components), float64
        Rows in the sorted order of the labels. They sum to one; a stratum that uses no component has a row of zeros.

    Raises
    ------
    ValueError
        If the shapes do not fit together.

    Notes
    -----
    ``usage[i, c] = sum of W[r, c] over the rows r of stratum i, times the sum of H[c]``, divided by its sum over c.
    The shifts are not counted: the model does not determine how much of a component they contain.

    Examples
    --------
    >>> from fastnmf.metrics import component_usage
    >>> component_usage([[1.0, 0], [1, 1]], [[1.0, 0], [0, 3]], strata=["a", "b"])
    array([[1.  , 0.  ],
           [0.25, 0.75]])
    """
    W, H = as_matrix(W, "W"), as_matrix(H, "H")
    if W.shape[1] != H.shape[0]:
        raise ValueError(f"W {W.shape} and H {H.shape} do not fit together as W H.")
    stratum_index = np.zeros(len(W), np.intp)
    if strata is not None:
        stratum_index = encode_labels(strata, len(W))[0]
    n_strata = int(stratum_index.max(initial=0)) + 1
    largest = H.max(axis=1, initial=0.0)  # divide by it first, so that the sums stay in range
    lengths = np.divide(H, largest[:, None], out=np.zeros_like(H), where=largest[:, None] > 0).sum(axis=1)
    amounts = W * largest
    amounts = amounts / (amounts.max(initial=0.0) or 1.0) * lengths
    rows = sparse.csr_array((np.ones(len(W)), (stratum_index, np.arange(len(W)))), shape=(n_strata, len(W)))
    amounts = rows @ amounts
    totals = amounts.sum(axis=1, keepdims=True)
    return np.divide(amounts, totals, out=np.zeros_like(amounts), where=totals > 0)


class ResidualHistory:
    """A `callback` that records the KKT residual while a model is fitted.

    Parameters
    ----------
    X : {array-like, sparse matrix or array} of shape (n_samples, n_features)
        The data of the fit.
    strata : array-like of shape (n_samples,), default=None
        The labels of the fit, for models with strata.
    every : int, default=1
        Number of iterations between two records; a record costs two passes over X and a copy of the factors.

    Attributes
    ----------
    history_ : dict of ndarray
        ``iteration``, ``seconds``, ``normalized_loss`` and ``kkt_residual`` of the recorded iterations, as
        `fastnmf.plots.plot_residual` and `plot_loss` take them. The seconds are those of the fit, without the time
        for recording.

    Raises
    ------
    ValueError
        If every is not an integer >= 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import NMF
    >>> from fastnmf.metrics import ResidualHistory
    >>> X = np.random.default_rng(0).random((8, 5))
    >>> record = ResidualHistory(X)
    >>> model = NMF(2, random_state=0, max_iter=100, callback=record).fit(X)
    >>> bool(record.history_["kkt_residual"][-1] < 0.1)
    True
    """

    def __init__(self, X: Matrix, strata: Labels | None = None, every: int = 1):
        if isinstance(every, bool) or not isinstance(every, int | np.integer) or every < 1:
            raise ValueError(f"every={shown(every)} is not valid; expected an integer >= 1.")
        self.X, self.strata, self.every = X, strata, every
        self._records, self._spent = [], 0.0

    def __call__(self, state: Any) -> bool:
        """Record the residual of `state`, a `FitState`; return False, so that the fit continues."""
        if state.iteration == 0:
            self._records, self._spent = [], 0.0
        if state.iteration % self.every == 0:
            began = time.perf_counter()
            residual = kkt_residual(self.X, state.W, state.H, state.V, self.strata)
            self._records.append((state.iteration, state.seconds - self._spent, state.normalized_loss, residual))
            self._spent += time.perf_counter() - began
        return False

    @property
    def history_(self) -> dict[str, Array]:
        """Return the recorded quantities, one array each."""
        names = ("iteration", "seconds", "normalized_loss", "kkt_residual")
        columns = zip(*self._records, strict=True) if self._records else [()] * len(names)
        return {name: np.asarray(values) for name, values in zip(names, columns, strict=True)}


def _products(X, scale, W, H, of_stratum):
    """Return X H', W' X and the sums of the rows of each stratum.

    Parameters
    ----------
    X : csr_array or ndarray (n, m)
    scale : int
        A dense X is divided by ``2 ** scale`` here; a sparse X already is.
    W : ndarray (n, k)
    H : ndarray (k, m)
    of_stratum : csr_array (S, n)
        Ones that assign rows to strata.

    Returns
    -------
    XH : ndarray (n, k)
    XW : ndarray (k, m)
    sums : csr_array or ndarray (S, m)
        Sparse if X is.
    """
    if sparse.issparse(X):
        return X @ H.T, (X.T @ W).T, of_stratum @ X
    XH, XW, sums = np.empty_like(W), np.zeros_like(H), np.zeros((of_stratum.shape[0], X.shape[1]))
    step = max(1, _CHUNK_ENTRIES // max(1, X.shape[1]))
    for first in range(0, len(W), step):
        part = slice(first, first + step)
        chunk = np.ldexp(np.asarray(X[part], dtype=np.float64), -scale)
        XH[part] = chunk @ H.T
        XW += W[part].T @ chunk
        sums += of_stratum[:, part] @ chunk
    return XH, XW, sums


def _of_stored_shifts(V, sums, sizes, weight_sums, H):
    """Return the ratio of the shifts from the entries where a shift or a sum of X is stored.

    Elsewhere a shift is zero and its gradient is not negative, so the step is zero.

    Parameters
    ----------
    V, sums : csr_array (S, m)
    sizes : ndarray (S,)
    weight_sums : ndarray (S, k)
    H : ndarray (k, m)
    """
    either = sparse.csr_array(V + sums)
    for A in (either, sums):
        A.sum_duplicates()
    row, tall = row_index(either), np.ascontiguousarray(H.T)
    fitted, step = np.empty(len(row)), max(1, _CHUNK_ENTRIES // max(1, len(H)))
    for first in range(0, len(row), step):
        part = slice(first, first + step)
        fitted[part] = np.einsum("ec,ec->e", weight_sums[row[part]], tall[either.indices[part]])
    v = entries_at(V, row, either.indices)
    gradient = sizes[row] * v + fitted - entries_at(sums, row, either.indices)
    return _ratio(np.linalg.norm(np.minimum(v, gradient / sizes[row])), np.linalg.norm(v))


def _blocks(F, gradient, curvature, axis):
    """Return ``|min(x, g / d)| / |x|`` for every vector x of F along `axis`.

    Parameters
    ----------
    F : ndarray (p, k) or (k, m)
    gradient : ndarray of F's shape
    curvature : ndarray that broadcasts against F
        Diagonal of the Hessian, d; where it is 0 the step g / d counts as 0.
    axis : {0, 1}

    Returns
    -------
    ndarray (k,)
    """
    step = np.divide(gradient, curvature, out=np.zeros_like(F), where=curvature > 0)
    return _ratio(np.linalg.norm(np.minimum(F, step), axis=axis), np.linalg.norm(F, axis=axis))


def _ratio(distance, length):
    return np.divide(distance, length, out=np.where(distance > 0, np.inf, 0.0), where=length > 0)
