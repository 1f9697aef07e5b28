"""Choose rows of which all other rows of the data are mixtures: the successive projection algorithm.

This is greedy selection without updates of factors and without an objective, so it does not use the alternating core.
The non-negative least squares that follow it do.
"""

import numpy as np

from fastnmf.core.factors import aligned, dense_rows
from fastnmf.core.iterate import Clock
from fastnmf.core.thresholds import EQUAL_LENGTHS, IN_SPAN, span_floor
from fastnmf.data.layout import row_squares
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.row_intrinsics import padded

CANDIDATES = 3  # rows whose residuals are computed directly before one of them is taken


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
    clock = Clock()
    sums = np.asarray(X.sum(axis=1), dtype=np.float64).ravel()
    unit = np.divide(1.0, sums, out=np.zeros(len(sums)), where=sums > 0) if normalize else np.ones(len(sums))
    left, distances = _Left(row_squares(X) * unit**2, n_anchors, X.shape[1]), []
    floor = span_floor(X.dtype) * left.squares.max()

    def along(u):
        with np.errstate(invalid="ignore", over="ignore"):  # lanes of BLAS beyond small arrays raise flags
            return np.asarray(X @ u.astype(X.dtype), dtype=np.float64) * unit

    with single_threaded_blas():
        for step in range(n_anchors + 1):
            candidates = _farthest(left.squares)
            residuals, exact = left.residuals(dense_rows(X, candidates).astype(np.float64) * unit[candidates, None])
            distances.append(float(np.sqrt(exact.max())))
            if callback is not None:
                callback(step, distances[-1] / (distances[0] or 1.0), clock.seconds)
            if step == n_anchors or (step > 0 and exact.max() <= floor):
                break
            first = int(np.flatnonzero(exact >= (1 - EQUAL_LENGTHS) * exact.max())[0])
            left.take(int(candidates[first]), residuals[first], exact[first], along)
    return np.array(left.anchors, dtype=np.intp), np.array(distances)


class _Left:
    """The squared distances of rows from the span of those that were taken.

    After each choice the squared distance of every row decreases by ``(x . u)²``, where u is the new direction.

    Parameters
    ----------
    squares : ndarray (n,)
        Squared lengths of the rows; 0 where a row may not be taken.
    n_anchors : int
        Largest number of rows to take.
    width : int
        Length of a row.

    Attributes
    ----------
    squares : ndarray (n,) of float64
        Squared distances, 0 for rows that were taken. As differences they have lost digits where they are small.
    anchors : list of int
        The rows that were taken.
    """

    def __init__(self, squares, n_anchors, width):
        self.squares, self.anchors, self._basis = squares, [], np.zeros((n_anchors, width))

    def residuals(self, rows):
        """Return the parts of rows (r, m) that are orthogonal to the span, and their squared lengths."""
        basis = self._basis[: len(self.anchors)]
        for _ in range(2):  # twice is enough; after once the rest of a row close to the span is mostly rounding
            rows = rows - (rows @ basis.T) @ basis
        return rows, np.einsum("ij,ij->i", rows, rows)

    def take(self, row, residual, square, along):
        """Take a row.

        Parameters
        ----------
        row : int
        residual, square : ndarray (m,), float
            The results of `residuals` for this row.
        along : callable
            ``along(u)`` returns the inner products of all rows with a direction u (m,), (n,) of float64.
        """
        direction = self._basis[len(self.anchors)] = residual / (np.sqrt(square) or 1.0)
        self.anchors.append(row)
        self.squares = np.maximum(self.squares - along(direction) ** 2, 0.0)
        self.squares[self.anchors] = 0.0


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
    left, rows = _Left(np.where(may, row_square_sums / sums**2, 0.0), rank, size), np.zeros((0, size))
    least = IN_SPAN * left.squares.max()
    while len(left.anchors) < rank and left.squares.max() > least:
        i = int(np.argmax(left.squares))
        row = product(np.arange(size) == i)[None] / sums[i]
        (residual,), (square,) = left.residuals(row)
        if square <= least:  # the difference of squares promised more
            left.squares[i] = 0.0
            continue
        rows = np.vstack([rows, row])
        left.take(i, residual, square, lambda u: product(u) / sums)
    return np.array(left.anchors, dtype=np.int64), rows.T, sums
