"""Choose rows of which all other rows of the data are mixtures: successive projections on a span, or on a hull.

This is greedy selection without updates of factors and without an objective, so it does not use the alternating core.
The non-negative least squares that follow it do.
"""

import numpy as np

from fastnmf.core.factors import aligned, dense_rows
from fastnmf.core.iterate import Clock
from fastnmf.core.thresholds import EQUAL_LENGTHS, IN_SPAN, span_floor
from fastnmf.data.layout import row_squares
from fastnmf.kernels import hull
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.jit import split_rows
from fastnmf.kernels.row_intrinsics import padded

CANDIDATES = 3  # rows whose residuals are computed directly before one of them is taken


def successive_projections(X, n_anchors, *, normalize=False, mass=1.0, onto="span", callback=None):
    """Return the rows that are farthest from the span, or the hull, of those taken before, one after the other.

    With the span, the squared distance of every row decreases by ``(x . u)²`` after each choice, where u is the new
    direction. This takes one pass over the data an anchor, O(r nnz + m r²) for r anchors, and the data are not changed.
    With the hull, the nearest point of the convex hull of the anchors and the origin is found for each row, from inner
    products (Gillis 2014, "Successive nonnegative projection algorithm for robust nonnegative blind source separation",
    Algorithm 1): O(n r³) more at most. Differences of nearly equal numbers lose their digits, so the residuals of the
    `CANDIDATES` farthest rows are computed directly before one is taken. Among rows that are equally far (to 1e-9) the
    first is taken.

    Parameters
    ----------
    X : csr_array or ndarray (n, m)
        float32 or float64.
    n_anchors : int
        Maximum number of anchors.
    normalize : bool, default=False
        Whether every row is divided by its sum.
    mass : float, default=1.0
        Only rows with the largest sums may be taken: those that together hold this share of the total.
    onto : {"span", "hull"}, default="span"
    callback : callable, default=None
        ``callback(n_chosen, share, seconds)``, with the largest distance left as a share of the largest length.

    Returns
    -------
    anchors : ndarray (k,) of int
        In the order in which they were taken, at least one; k < n_anchors where the other rows lie in their span, or
        hull, to 6e-8 of the largest length in float64, 1e-3 in float32.
    distances : ndarray (k + 1,)
        Largest distance of a row that may be taken from the span, or hull, of the anchors so far, before each choice
        and after the last.
    """
    clock = Clock()
    sums = np.asarray(X.sum(axis=1), dtype=np.float64).ravel()
    unit = np.divide(1.0, sums, out=np.zeros(len(sums)), where=sums > 0) if normalize else np.ones(len(sums))
    kind, may, distances = {"span": _Left, "hull": _LeftOfHull}[onto], heavy(sums, mass, n_anchors), []
    left = kind(row_squares(X) * unit**2, n_anchors, X.shape[1], may)
    floor = span_floor(X.dtype) * left.squares.max()

    def along(u):
        with np.errstate(invalid="ignore", over="ignore"):  # lanes of BLAS beyond small arrays raise flags
            return np.asarray(X @ u.astype(X.dtype), dtype=np.float64) * unit

    with single_threaded_blas():
        for step in range(n_anchors + 1):
            candidates = _farthest(left.squares)
            rows = dense_rows(X, candidates).astype(np.float64) * unit[candidates, None]
            residuals, exact = left.residuals(rows, candidates)
            exact[~may[candidates]] = 0.0
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
        Squared lengths of the rows.
    n_anchors : int
        Maximum number of rows to take.
    width : int
        Length of a row.
    may : ndarray (n,) of bool
        Whether a row may be taken.

    Attributes
    ----------
    squares : ndarray (n,) of float64
        Squared distances, 0 for rows that were taken or may not be. As differences they have lost digits where they are
        small.
    anchors : list of int
        The rows that were taken.
    """

    def __init__(self, squares, n_anchors, width, may):
        self.squares, self.anchors, self._basis = np.where(may, squares, 0.0), [], np.zeros((n_anchors, width))

    def residuals(self, rows, numbers=None):
        """Return the parts of rows (r, m) that are orthogonal to the span, and their squared lengths.

        Parameters
        ----------
        rows : ndarray (r, m)
        numbers : ndarray (r,) of int, optional
            Which rows they are.
        """
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


class _LeftOfHull:
    """The squared distances of rows from the convex hull of those that were taken and the origin.

    The first column of all arrays belongs to the origin. Attributes are those of `_Left`.

    Parameters
    ----------
    squares, n_anchors, width, may :
        As for `_Left`.
    """

    def __init__(self, squares, n_anchors, width, may):
        self._lengths, self._may, self.squares, self.anchors = squares, may, np.where(may, squares, 0.0), []
        self._points, self._gram = np.zeros((n_anchors + 1, width)), np.zeros((n_anchors + 1, n_anchors + 1))
        self._products, self._weights = (np.zeros((len(squares), n_anchors + 1)) for _ in range(2))
        self._weights[:, 0] = 1.0

    def residuals(self, rows, numbers):
        """Return the differences of rows (r, m), of these `numbers`, from the hull, and their squared lengths."""
        rows = rows - self._weights[numbers] @ self._points
        return rows, np.einsum("ij,ij->i", rows, rows)

    def take(self, row, residual, square, along):
        """Take a row.

        Parameters
        ----------
        row, residual, square, along :
            As for `_Left`.
        """
        self.anchors.append(row)
        n = len(self.anchors)
        self._points[n] = residual + self._weights[row] @ self._points
        self._products[:, n] = along(self._points[n])
        self._gram[n] = self._gram[:, n] = self._points @ self._points[n]
        parts = [
            np.ascontiguousarray(part[..., : n + 1]) for part in (self._gram[: n + 1], self._products, self._weights)
        ]
        tasks = split_rows(len(self.squares), (n + 1) ** 2)
        hull.rows_hull(tasks, *parts[:2], self._lengths, parts[2], self.squares)
        self._weights[:, : n + 1] = parts[2]
        self.squares[~self._may], self.squares[self.anchors] = 0.0, 0.0


def heavy(sums, mass, least):
    """Return which rows have the largest sums: those that together hold the share `mass`, and at least `least`; (n,).

    Parameters
    ----------
    sums : ndarray (n,)
    mass : float
    least : int
    """
    order = np.argsort(-sums, kind="stable")
    n_heavy = np.searchsorted(np.cumsum(sums[order]), mass * sums.sum()) + 1 if mass < 1 else len(sums)
    may = np.zeros(len(sums), bool)
    may[order[: max(n_heavy, least)]] = True
    return may


def _farthest(squares):
    """Return the rows with the largest squared distances, ascending by number; of equal distances the first rows."""
    n = min(CANDIDATES, len(squares))
    least = np.partition(squares, -n)[-n]
    above = np.flatnonzero(squares > least)
    return np.sort(np.concatenate([above, np.flatnonzero(squares == least)[: n - len(above)]]))


def anchors(operator, row_square_sums, rank, mass):
    """Return rows of a symmetric matrix of which the others are mixtures, by successive projection (Arora et al. 2013).

    Rows are scaled to sum one. Each step takes the row that is farthest from the span of those taken before. Cost: two
    products with a vector per step.

    Parameters
    ----------
    operator : fastnmf.core.losses.products.Operator
        Symmetric, non-negative, (p, p).
    row_square_sums : ndarray (p,)
        Squared length of every row.
    rank : int
        Maximum number of rows to take.
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
    may = heavy(sums, mass, rank) & (sums > 0)
    sums = np.where(sums > 0, sums, 1.0)
    left, rows = _Left(row_square_sums / sums**2, rank, size, may), np.zeros((0, size))
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
