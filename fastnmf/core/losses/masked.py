"""The squared error with a weight for every entry; a missing value has weight zero.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import copy

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import aligned, row_tasks
from fastnmf.core.losses.squared import Frobenius
from fastnmf.data.entry_weights import stored
from fastnmf.data.layout import row_index
from fastnmf.data.shifts import entries_at, rows_of, square_lengths
from fastnmf.kernels import rows, weighted
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.jit import split_costs, split_rows
from fastnmf.kernels.records import LazyRows, RowwiseGram

EXTRA_COST = 4  # cost of an entry of D, in units of a non-zero of the data
BLOCK = 1 << 21  # entries of a dense residual held at a time: 16 MB
_NO_SHIFT = {np.dtype(t): np.empty(0, t) for t in (np.float32, np.float64)}


class Masked(Frobenius):
    """``sum_ij O_ij (x_ij - v_{g(i) j} - w_i . h_j)²`` with entry weights O >= 0; with or without shifts v.

    Half-gradients, with the model y: ``sum_j O_ij (y_ij - x_ij) h_j`` of row i of W; of H alike; of a shift the sum of
    ``O_ij (y_ij - x_ij)`` over the rows of its stratum, with the curvature ``sum O_ij``. With ``O_i = base_i + D_i``, D
    sparse, they are ``base_i`` times those of the plain error plus a sum over the entries of D. Cost:
    O(nnz(X) K + nnz(D) K²) an iteration of exact descent, O((nnz(X) + nnz(D)) K) of multiplicative updates. For sparse
    X with sparse D no array of the size of X is formed.

    A shift exists where a stratum has a positive observed entry of the column. Elsewhere it is zero, whether all
    observed entries are zero or there are none. A row or column without an observed entry has zero weights.

    Source: Kim and Choi 2009, "Weighted nonnegative matrix factorization"; the shifts are our extension.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
        Data as `fastnmf.data.entry_weights.observed` returns them: zero where the weight is zero.
    width : int
        Padded rank K.
    tasks : dict of str to ndarray of int64
        Task tables of the row kernels over W and H.
    weights : fastnmf.data.entry_weights.Weights
        Weights of the entries.
    has_shifts : bool, default=False
        Whether there is a factor V, entries (q,) on ``strata.pattern``.
    holds_products : bool, default=False
        As for `Frobenius`.

    Attributes
    ----------
    sq_norm : float
        ``sum O x²``, the objective of the zero model.
    """

    def __init__(self, strata, width, tasks, weights, has_shifts=False, holds_products=False):
        self.data, self.weights, self.has_shifts = strata, weights, has_shifts
        super().__init__(premultiplied(strata, weights), width, tasks, holds_products)
        self._keeps_old = holds_products  # W may be updated before H, whose update needs the old W
        self.sq_norm = _inner(strata.X, self.strata.X)
        self._sides, self._rooms, self._of_side = {"W": weights.rows, "H": weights.columns}, {}, {}
        if has_shifts:
            self._prepare_shifts()

    def _prepare_shifts(self):
        """Find the shift entry of every entry of D, and the sums and curvatures of the shifts."""
        strata, pattern, of_X = self.data, self.data.pattern, self.strata
        self.groups = strata.groups
        column_of = row_index(pattern.start)
        self._place = {}
        for name, side in self._sides.items():
            of_row = row_index(side.extra)
            row, column = (of_row, side.extra.indices) if name == "W" else (side.extra.indices, of_row)
            self._place[name] = shift_places(pattern, column, strata.stratum_index[row])
        if of_X is strata:
            self._sums = pattern.sums
        else:
            self._sums = of_X.pattern.sums if of_X.is_sparse else pattern.entries(self.groups.sum(of_X.X))
        place, side = self._place["H"], self._sides["H"]
        self._base_of = side.base[column_of].astype(strata.dtype)
        seen = np.bincount(place[place >= 0], side.extra.data[place >= 0], len(column_of))
        self._curvature = (self._base_of * self.groups.sizes[pattern.group] + seen).astype(strata.dtype)
        self._each = np.arange(len(column_of), dtype=np.int32)

    def share(self, room):
        """Use the workspace in `room`, a dict, for the product of side H, which is valid until another loss has its."""
        shape = (self.data.shape[1], self.width)
        self._products["H"] = room.setdefault("product", aligned(shape, self.data.dtype))

    def contribute(self, name, factors, sub):
        """Add the half-gradient of V, W or H."""
        if name == "V":
            sub.weight, sub.group = self._curvature, self._each
            sub.add(pos=self._sums, neg=self._shift_neg(factors))
            return
        other = "H" if name == "W" else "W"
        if self._holds_products or factors.cache_valid(("product", name), (other,)):
            pos = self.product(name, factors)
        else:
            side = self.strata.rows if name == "W" else self.strata.columns
            pos = LazyRows(*side.csr, factors[other])
        sub.tasks = self._costs(name)
        sub.add(pos=pos, neg=self._neg(name, factors))
        sub.rowwise = self.rowwise(name, factors)
        if self._keeps_old:
            sub.rowwise = sub.rowwise._replace(other=sub.rowwise.other.copy())

    def value(self, factors, V=None):
        """Return the objective from ``sum O x²``, the products and ``sum O y²``; O((n + nnz(D)) K + n K²).

        With V (n_strata, n_columns), float64, dense or CSR, return it for these shifts instead of those in `factors`.
        """
        return self.sq_norm - 2 * (self._with_product(factors) + self._fitted(factors, V)) + self._squares(factors, V)

    def exact_value(self, factors, V=None):
        """Return the objective from the residual itself, a bounded number of entries at a time; V as for `value`."""
        W, H = (factors[name][:, : factors.rank].astype(np.float64) for name in "WH")
        V = self.data.pattern.as_read(factors["V"]) if V is None and self.has_shifts else V
        return _residual_squares(self.data, self.weights.rows, W, H, V)

    def rowwise(self, name, factors):
        """Return the `RowwiseGram` of factor W or H."""
        other = "H" if name == "W" else "W"
        shift = _NO_SHIFT[self.data.dtype]
        if self.has_shifts:

            def at_extra():
                return np.append(factors["V"], 0)[self._place[name]].astype(self.data.dtype, copy=False)

            shift = factors.cached(("shift", name), ("V",), at_extra)
        if name not in self._rooms:
            self._rooms[name] = np.empty(len(self._sides[name].extra.data), self.data.dtype)
        return _rowwise(self._sides[name], shift, self.gram(other, factors), factors[other], self._rooms[name])

    def _costs(self, name):
        """Return the task table of side `name`, tasks of equal cost."""
        if name not in self._of_side:
            cost = EXTRA_COST * self._sides[name].extra.indptr
            if self.strata.is_sparse:
                cost = cost + (self.strata.rows if name == "W" else self.strata.columns).indptr
            self._of_side[name] = split_costs(cost, self.width)
        return self._of_side[name]

    def _stratum_sums(self, factors):
        """Return the sums of the rows of W by stratum, (n_strata, K)."""
        return factors.cached("stratum sums", ("W",), lambda: self.groups.sum(factors["W"]))

    def _shift_neg(self, factors):
        """Return ``sum O_ij w_i . h_j`` over the rows of the stratum, for every entry of the pattern."""

        def compute():
            sampled = np.empty(len(self._each), self.data.dtype)
            if self._base_of.any():
                self.data.pattern.sampled(factors["H"], self._stratum_sums(factors), sampled)
            below = np.multiply(sampled, self._base_of, dtype=np.float64, where=self._base_of > 0, out=self._none())
            weighted.entries_spread(self._costs("H"), factors["H"], self.rowwise("H", factors), self._place["H"], below)
            return np.maximum(below, 0).astype(self.data.dtype)  # rounding may leave negative values

        return factors.cached(("below", "V"), ("W", "H"), compute)

    def _none(self):
        return np.zeros(len(self._each))

    def _neg(self, name, factors):
        """Return the part of ``neg`` of W or H that comes from shifts of rows with base 1, or None.

        The shifts at D's entries are in the `RowwiseGram`.
        """
        side = self._sides[name]
        if not self.has_shifts or not side.base.any():
            return None

        def of_rows():
            return self.data.pattern.tmatmul(factors["V"], factors["H"])

        if name == "W":
            return _by_base(side, factors.cached(("below", "W"), ("V", "H"), of_rows), self.data.stratum_index)
        pattern = self.data.pattern
        return LazyRows(pattern.start, pattern.group, factors["V"] * self._base_of, self._stratum_sums(factors))

    def _fitted(self, factors, V):
        """Return ``sum O x v``."""
        if not self.has_shifts:
            return 0.0
        v = factors["V"] if V is None else self.data.pattern.entries(V)
        return float(np.einsum("p,p->", v, self._sums, dtype=np.float64))

    def _squares(self, factors, V):
        """Return ``sum O y²`` for the model y."""
        if not self.has_shifts and (known := factors.known(("squares", "H"), tuple(factors.arrays))) is not None:
            return known  # H was updated last
        side, rowwise = self._sides["W"], self.rowwise("W", factors)
        neg, lengths = self._neg("W", factors), 0.0
        if V is not None:
            neg, shift = _dense_shifts(side, V, factors["H"], self.data)
            rowwise = rowwise._replace(shift=shift)
        if self.has_shifts and side.base.any():
            v, group = (factors["V"], self.data.pattern.group) if V is None else (V, None)
            v, group = (v.data, row_index(v)) if sp.issparse(v) else (v, group)
            square = np.square(v, dtype=np.float64)
            of_group = square.sum(axis=1) if group is None else np.bincount(group, square, self.data.n_strata)
            lengths = float(np.bincount(self.data.stratum_index, side.base, self.data.n_strata) @ of_group)
        out = np.empty(len(side.base))
        weighted.rows_squares(self._costs("W"), factors["W"], rowwise, _as_lazy_rows(neg, rowwise.other), out)
        return float(out.sum()) + lengths


def shift_places(pattern, column, group):
    """Return the position of each pair of a column and a group (r,) in a `Pattern`, int64 (r,); -1 where it is not."""
    key = row_index(pattern.start) * pattern.n_groups + pattern.group
    wanted = column * np.int64(pattern.n_groups) + group
    if len(key) == 0:
        return np.full(len(wanted), -1)
    order = np.argsort(key)
    place = order[np.minimum(np.searchsorted(key, wanted, sorter=order), len(order) - 1)]
    return np.where(key[place] == wanted, place, -1)


def _rowwise(side, shift, gram, other, room=None):
    """Return the `RowwiseGram` of one side.

    Parameters
    ----------
    side : fastnmf.data.entry_weights.Side
        The weights of this side, p rows and q columns.
    shift : ndarray (nnz,), or of length 0
        The shifts at D's entries.
    gram : ndarray (K, K) of float64
        Gram matrix of `other`.
    other : ndarray (q, K)
        The other factor.
    room : ndarray (nnz,), default=None
        Workspace; None allocates it.

    Returns
    -------
    rowwise : RowwiseGram
    """
    room = np.empty(len(side.extra.data), other.dtype) if room is None else room
    return RowwiseGram(*side.extra.csr, shift, side.base, np.stack([np.zeros_like(gram), gram]), other, room)


def _as_lazy_rows(side, other):
    """Return an array or None as `LazyRows` of the width of `other`."""
    if isinstance(side, LazyRows):
        return side
    return LazyRows.of(np.empty((0, other.shape[1]), other.dtype) if side is None else side)


def _by_base(side, rows_, stratum_index):
    """Return ``base[i] * rows_[stratum_index[i]]`` as `LazyRows`."""
    if side.base.all():
        return LazyRows.of(rows_, stratum_index)
    return LazyRows(np.arange(len(stratum_index) + 1), stratum_index, side.base.astype(rows_.dtype), rows_)


def _dense_shifts(side, V, H, strata):
    """Return the effect of given shifts on the rows of W.

    Parameters
    ----------
    side : fastnmf.data.entry_weights.Side
        The weights of the rows.
    V : ndarray or csr_array (n_strata, n_columns)
        Shifts in the data's inner scale.
    H : ndarray (n_columns, K)
    strata : fastnmf.data.strata.Strata

    Returns
    -------
    neg : LazyRows, or None
        ``neg`` of W from the rows with base 1.
    shift : ndarray (nnz,)
        The shifts at D's entries.
    """
    shift = entries_at(V, strata.stratum_index[row_index(side.extra)], side.extra.indices)
    shift = shift.astype(strata.dtype, copy=False)
    with single_threaded_blas():
        neg = (
            _by_base(side, (V @ H).astype(strata.dtype, copy=False), strata.stratum_index) if side.base.any() else None
        )
    return neg, shift


def rowwise_of(strata, H, V=None):
    """Return the `RowwiseGram` of the rows for fixed H (n_columns, K) and shifts V, and their ``neg`` or None."""
    side = strata.entry_weights.rows
    neg, shift = (None, _NO_SHIFT[strata.dtype]) if V is None else _dense_shifts(side, V, H, strata)
    return _rowwise(side, shift, rows.gram(row_tasks(H), H), H), neg


def premultiplied(strata, weights):
    """Return the strata with the data ``O x``; `strata` itself where all weights are 0 or 1."""
    if weights.is_mask:
        return strata
    X = strata.X
    if strata.is_sparse:
        X = sp.csr_array((X.data * weights.at(X).astype(strata.dtype), X.indices, X.indptr), X.shape)
    else:
        E, X = weights.difference, X * strata.dtype.type(weights.base)
        of_row = row_index(E)
        X[of_row, E.indices] = strata.X[of_row, E.indices] * (E.data + weights.base)
    out = copy.copy(strata)
    for name in ("rows", "columns", "pattern"):
        out.__dict__.pop(name, None)
    out.X, out.sq_norm, out._transpose_future = X, float("nan"), None
    return out


def _inner(X, Y):
    """Return ``<X, Y>`` in float64, of two arrays, or two csr_arrays with the same places."""
    x, y = (A.data if sp.issparse(A) else A.reshape(-1) for A in (X, Y))
    return float(sum(np.dot(x[i : i + BLOCK].astype(float), y[i : i + BLOCK]) for i in range(0, len(x), BLOCK)))


def _residual_squares(strata, side, W, H, V):
    """Return ``sum O_ij (x_ij - v_j - w_i . h_j)²`` from the residual itself, a bounded number of entries at a time.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    side : fastnmf.data.entry_weights.Side
        The weights of the rows.
    W : ndarray (n_rows, k) of float64
    H : ndarray (n_columns, k) of float64
    V : ndarray or csr_array (n_strata, n_columns), or None
        Shifts. All arrays are in the data's inner scale.

    Returns
    -------
    total : float
    """
    X, D, total = strata.X, side.matrix(strata.shape[1]), 0.0
    step = max(1, BLOCK // strata.shape[1])
    dense = np.flatnonzero(side.base)
    with single_threaded_blas():
        for lo in range(0, len(dense), step):
            part = dense[lo : lo + step]
            residual = strata.residual(part, W, H, V)
            np.square(residual, out=residual)
            extra = D[part].tocoo()
            total += float(residual.sum() + extra.data @ residual[extra.coords])
    of_row = row_index(D)
    chosen = np.flatnonzero(side.base[of_row] == 0)
    x = stored(X, D) if strata.is_sparse else X[of_row, D.indices]
    step = max(1, BLOCK // W.shape[1])
    for lo in range(0, len(chosen), step):
        e = chosen[lo : lo + step]
        i, j = of_row[e], D.indices[e]
        y = np.einsum("ec,ec->e", W[i], H[j])
        y = y if V is None else y + entries_at(V, strata.stratum_index[i], j)
        total += float(D.data[e] @ np.square(x[e] - y))
    return total


def normal_equations(rowwise, first, n, rank, pos, neg=None):
    """Return the Gram matrices and the right sides of n rows from row `first` on.

    Parameters
    ----------
    rowwise : RowwiseGram
    first, n : int
    rank : int
        Columns in use.
    pos : ndarray (p, K), or LazyRows
    neg : LazyRows (p, K), default=None

    Returns
    -------
    grams : ndarray (n, rank, rank) of float64
    right : ndarray (n, rank) of float64
    """
    pos, neg = (_as_lazy_rows(side, rowwise.other) for side in (pos, neg))
    grams, right = np.empty((n, rank, rank)), np.empty((n, rank))
    tasks = split_rows(n, rowwise.other.shape[1] ** 2)
    weighted.rows_normal(tasks, first, rowwise, pos, neg, grams, right)
    return grams, right


def row_errors(strata, W, H, V=None):
    """Return the weighted squared error and the weighted squared norm of every row.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
        With weights of entries, and data as `fastnmf.data.entry_weights.observed` returns them.
    W : ndarray (n_rows, K)
    H : ndarray (n_columns, K)
        Padded.
    V : ndarray or csr_array (n_strata, n_columns), default=None
        Shifts. All arrays are in the data's inner scale.

    Returns
    -------
    errors : ndarray (n_rows,) of float64
        ``sum_j O_ij (x_ij - v_j - w_i . h_j)²``.
    norms : ndarray (n_rows,) of float64
        ``sum_j O_ij x_ij²``.
    """
    scaled, (rowwise, neg) = premultiplied(strata, strata.entry_weights), rowwise_of(strata, H, V)
    product = aligned(W.shape, strata.dtype)
    scaled.matmul(H, product)
    errors = np.empty(len(W))
    weighted.rows_squares(row_tasks(W), W, rowwise, _as_lazy_rows(neg, H), errors)
    if V is not None:
        squares = square_lengths(V) if sp.issparse(V) else np.square(V, dtype=np.float64).sum(axis=1)
        errors += squares[strata.stratum_index] * rowwise.base
    errors -= 2 * np.einsum("ij,ij->i", W, product, dtype=np.float64)
    if not strata.is_sparse:
        norms = np.einsum("ij,ij->i", strata.X, scaled.X, dtype=np.float64)
        shifts = 0.0 if V is None else rows_of(V, strata.stratum_index)
        with_shifts = 0.0 if V is None else np.einsum("ij,ij->i", scaled.X, shifts, dtype=np.float64)
    else:
        of_row, value = row_index(scaled.X), scaled.X.data.astype(np.float64)
        norms = np.bincount(of_row, value * strata.X.data, len(W))
        shifts = 0.0 if V is None else entries_at(V, strata.stratum_index[of_row], scaled.X.indices)
        with_shifts = np.bincount(of_row, value * shifts, len(W))
    return norms + errors - 2 * with_shifts, norms
