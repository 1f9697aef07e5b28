"""Choose rows of the data of which all other rows are mixtures: the successive projection algorithm.

This is greedy selection: no factor moves and no objective falls, so nothing of the alternating core serves it. What
comes after it, non-negative least squares, is the core's.
"""

import time

import numpy as np

from fastnmf.blas import single_threaded_blas
from fastnmf.problem import dense_rows

CANDIDATES = 3  # rows whose residuals are computed anew before one of them is taken
TIE = 1e-9  # relative difference of squared lengths below which two rows are equally far


def successive_projections(X, n_anchors, *, normalize=False, callback=None):
    """Return the rows that are farthest from the span of those taken before, one after the other.

    After each choice the squared distance of every row falls by ``(x . u)²``, u the new direction: one pass over the
    data an anchor, O(r nnz + m r²), and nothing of the data is changed. Differences of nearly equal numbers lose their
    digits, so the residuals of the few farthest rows are computed themselves before one is taken. Among rows that are
    equally far (to 1e-9) the first one is.

    Parameters
    ----------
    X : csr_array or ndarray (n, m)
        float32 or float64.
    n_anchors : int
    normalize : bool, default=False
        Whether every row counts as divided by its sum.
    callback : callable, default=None
        ``callback(n_chosen, share, seconds)``, with the largest distance left as a share of the largest length.

    Returns
    -------
    anchors : ndarray (k,) of int
        In the order in which they were taken, at least one; k < n_anchors where the other rows lie in their span, to
        6e-8 of the largest length in float64, 1e-3 in float32.
    distances : ndarray (k + 1,)
        Largest distance of a row from the span of the anchors so far, before each choice and after the last.
    """
    began, eps = time.perf_counter(), float(np.finfo(X.dtype).eps)
    sums = np.asarray(X.sum(axis=1), dtype=np.float64).ravel()
    unit = np.divide(1.0, sums, out=np.zeros(len(sums)), where=sums > 0) if normalize else np.ones(len(sums))
    squares = _square_sums(X) * unit**2
    floor = 16 * eps * squares.max()
    basis, anchors, distances = np.zeros((n_anchors, X.shape[1])), [], []
    with single_threaded_blas():
        for step in range(n_anchors + 1):
            candidates = _farthest(squares)
            residuals = dense_rows(X, candidates).astype(np.float64) * unit[candidates, None]
            for _ in range(2):  # twice is enough
                residuals -= (residuals @ basis[:step].T) @ basis[:step]
            exact = np.einsum("ij,ij->i", residuals, residuals)
            distances.append(float(np.sqrt(exact.max())))
            if callback is not None:
                callback(step, distances[-1] / (distances[0] or 1.0), time.perf_counter() - began)
            if step == n_anchors or (step > 0 and exact.max() <= floor):
                break
            first = int(np.flatnonzero(exact >= (1 - TIE) * exact.max())[0])
            anchors.append(int(candidates[first]))
            basis[step] = residuals[first] / (np.sqrt(exact[first]) or 1.0)
            along = np.asarray(X @ basis[step].astype(X.dtype), dtype=np.float64)
            squares = np.maximum(squares - (along * unit) ** 2, 0.0)
            squares[anchors] = 0.0
    return np.array(anchors, dtype=np.intp), np.array(distances)


def _square_sums(X):
    if isinstance(X, np.ndarray):
        return np.einsum("ij,ij->i", X, X, dtype=np.float64)
    of_row = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    return np.bincount(of_row, np.square(X.data, dtype=np.float64), minlength=X.shape[0])


def _farthest(squares):
    """Return the rows with the largest squared distances, ascending by number; of equal ones the first."""
    n = min(CANDIDATES, len(squares))
    least = np.partition(squares, -n)[-n]
    above = np.flatnonzero(squares > least)
    return np.sort(np.concatenate([above, np.flatnonzero(squares == least)[: n - len(above)]]))
