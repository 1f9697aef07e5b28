"""Choose rows of which all other rows of the data are mixtures: the successive projection algorithm.

This is greedy selection without updates of factors and without an objective, so it does not use the alternating core.
The non-negative least squares that follow it do.
"""

import time

import numpy as np

from fastnmf.core.factors import aligned, dense_rows
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.row_intrinsics import padded

CANDIDATES = 3  # rows whose residuals are computed directly before one of them is taken
TIE = 1e-9  # relative difference of squared lengths below which two rows count as equally far


def successive_projections(X, n_anchors, *, normalize=False, callback=None):
    """Return the rows that are farthest from the span of those taken before, one after the other.

    After each choice the squared distance of every row decreases by ``(x . u)²``, where u is the new direction. This
    takes one pass over the data an anchor, O(r nnz + m r²) for r anchors, and the data are not changed. Differences of
    nearly equal numbers lose their digits, so the residuals of the `CANDIDATES` farthest rows are computed directly
    before one is taken. Among rows that are equally far (to 1e-9) the first is taken.

    Parameters
    ----------
    X : csr_array or ndarray (n, m)
        float32 or float64.
    n_anchors : int
        Largest number of anchors.
    normalize : bool, default=False
        Whether every row is divided by its sum.
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
            for _ in range(2):  # orthogonalising twice is enough
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
    """Return the squared length of every row of X (n, m), float64 (n,)."""
    if isinstance(X, np.ndarray):
        return np.einsum("ij,ij->i", X, X, dtype=np.float64)
    of_row = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    return np.bincount(of_row, np.square(X.data, dtype=np.float64), minlength=X.shape[0])


def _farthest(squares):
    """Return the rows with the largest squared distances, ascending by number; of equal distances the first rows."""
    n = min(CANDIDATES, len(squares))
    least = np.partition(squares, -n)[-n]
    above = np.flatnonzero(squares > least)
    return np.sort(np.concatenate([above, np.flatnonzero(squares == least)[: n - len(above)]]))


def anchors(operator, row_square_sums, rank, mass):
    """Return rows of a symmetric matrix of which the others are mixtures, by successive projection (Arora et al. 2013).

    Rows are scaled to sum one. Each step takes the row that is farthest from the span of those taken before. Cost: two
    products with a vector a step.

    Parameters
    ----------
    operator : fastnmf.core.losses.products.Operator
        Symmetric, non-negative, (p, p).
    row_square_sums : ndarray (p,)
        Squared length of every row.
    rank : int
        Largest number of rows to take.
    mass : float
        Only the rows with the largest sums may be taken: those that together hold this share of the total.

    Returns
    -------
    found : ndarray (k,) of int
        At most `rank`: fewer where the rows span less.
    rows : ndarray (p, k)
        The scaled rows, as columns.
    sums : ndarray (p,)
        Sums of all rows, 1 for rows of zeros.
    """
    dtype, size = operator.strata.dtype, operator.size
    held = aligned((size, padded(1, dtype)), dtype)

    def product(vector):
        held[:, 0] = vector
        return operator.matmul(held)[:, 0].astype(np.float64)

    sums = product(np.ones(size))
    order = np.argsort(-sums, kind="stable")
    n_heavy = np.searchsorted(np.cumsum(sums[order]), mass * sums.sum()) + 1
    may = np.zeros(size, bool)
    may[order[: max(n_heavy, rank)]] = True
    may, sums = may & (sums > 0), np.where(sums > 0, sums, 1.0)
    far = np.where(may, row_square_sums / sums**2, 0.0)
    least, found, basis, rows = 1e-10 * far.max(), [], np.zeros((size, 0)), np.zeros((size, 0))
    while len(found) < rank and far.max() > least:
        i = int(np.argmax(far))
        row = product(np.arange(size) == i) / sums[i]
        rest = row - basis @ (basis.T @ row)
        rest = rest - basis @ (basis.T @ rest)  # again: the remainder of a row close to the span is mostly rounding
        length = np.linalg.norm(rest)
        far[i] = 0.0
        if length**2 <= least:
            continue
        found.append(i)
        basis, rows = np.column_stack([basis, rest / length]), np.column_stack([rows, row])
        far = np.where(far > 0, np.maximum(far - (product(rest / length) / sums) ** 2, 0), 0)
    return np.array(found, dtype=np.int64), rows, sums
