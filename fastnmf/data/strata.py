"""Validate the user's data once and turn them into `Strata`, in the layout that the kernels take.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastnmf.data import shifts
from fastnmf.data.annotated import unpack
from fastnmf.data.labels import encode_labels
from fastnmf.data.layout import Compressed, Grouping, row_index, row_squares
from fastnmf.data.matrix import as_matrix, value_range
from fastnmf.data.shifts import Pattern
from fastnmf.kernels import products
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.jit import split_rows, thread_count
from fastnmf.kernels.records import LazyRows
from fastnmf.kernels.warn import warn
from fastnmf.typing import Array, Floats, Integers, Labels, Matrix, Vector

# Squares and products of the data must neither underflow nor overflow. Data whose largest entry lies outside
# 2**-limit .. 2**limit are therefore scaled when `Strata` is constructed.
_EXTREME = {np.dtype(np.float32): 24, np.dtype(np.float64): 160}
# Largest `log4_scale`: components of a fit get its power of 2, and their squares must not overflow either.
_LARGEST_LOG4 = {np.dtype(np.float32): 50, np.dtype(np.float64): 400}
_CHUNKS = 16  # chunks of a dense product; a fixed number, so that its bits do not depend on the number of threads
_DENSE_SERIAL_BELOW = 4_000_000  # multiply-adds
_TRANSPOSE_ABOVE = 200_000  # non-zeros above which sparse data are transposed in another thread
_RESIDUAL_ENTRIES = 1 << 21  # entries of a dense residual that are held at a time: 16 MB


class Strata:
    """A non-negative matrix whose rows belong to groups, the strata.

    Rows keep their order. Use `from_array` or `from_blocks` to construct it from the user's data.

    Parameters
    ----------
    X, labels, stratum_index :
        As the attributes, already validated; X in the user's scale.
    is_signed : bool, default=False
        Whether X may have negative entries.
    log4_scale : int, default=None
        As the attribute, for X in that scale already, whose `sq_norm` is then 0. None: X is looked at.

    Attributes
    ----------
    X : scipy.sparse.csr_array or ndarray (n_rows, n_columns)
        CSR without duplicates and explicit zeros, or C-order dense; float32 or float64, in the inner scale. It shares
        the user's memory where possible.
    labels : ndarray (n_strata,)
        Labels of the strata in sorted order.
    stratum_index : ndarray (n_rows,) of int32
        Stratum of each row, an index into `labels`.
    log4_scale : int
        X holds the user's data times ``4.0 ** log4_scale``; 0 unless the scale of the data is extreme.
    sq_norm : float
        Sum of the squares of X, in the inner scale.
    weight : ndarray (n_rows,) of float64, or None
        Weights of the rows.
    row_scale : ndarray (n_rows,), or None
        The weights to the power of ``1 / power``; X is held with its rows multiplied by it. See `weigh`.
    total : float
        Number of rows, or sum of their weights.
    entry_weights : fastnmf.data.entry_weights.Weights, or None
        Weights of the entries; None until a model that has such weights sets them.
    sparse_shifts : bool, or None
        Whether the shifts of a fit are CSR; None, until a model sets it: where a dense array would be large.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import Strata
    >>> data = Strata.from_array(np.eye(3), ["b", "a", "b"])
    >>> data.labels.tolist(), data.stratum_index.tolist(), data.sq_norm
    (['a', 'b'], [1, 0, 1], 3.0)
    """

    X: Any
    labels: Array
    stratum_index: Integers
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    is_sparse: bool
    n_strata: int
    log4_scale: int
    sq_norm: float
    weight: Floats | None
    row_scale: Floats | None
    total: float
    entry_weights: Any
    sparse_shifts: bool | None

    def __init__(
        self,
        X: Any,
        labels: Array,
        stratum_index: Integers | None,
        is_signed: bool = False,
        log4_scale: int | None = None,
    ):
        self.X, self.labels = X, labels
        if stratum_index is not None:  # a design has none
            self.stratum_index = np.ascontiguousarray(stratum_index, dtype=np.int32)
        self.is_sparse = sp.issparse(X)
        self.shape, self.dtype = X.shape, X.dtype
        self.n_strata = len(labels)
        self.log4_scale, self._transpose_future = log4_scale or 0, None
        self.weight = self.row_scale = self._sum_scale = self.entry_weights = self.sparse_shifts = None
        self.total, self.sq_norm = float(X.shape[0]), 0.0
        if log4_scale is not None:
            return
        values = X.data if self.is_sparse else X
        low, high = value_range(values) if values.size else (0.0, 0.0)
        self.log4_scale = log4_scale_for(float(max(high, -low)), X.dtype)
        if self.log4_scale:
            self.X = X * X.dtype.type(1) if self.is_sparse else X.copy()
            values = self.X.data if self.is_sparse else self.X
            np.ldexp(values, 2 * self.log4_scale, out=values)
        self.sq_norm = square_sum(values)

    @property
    def codes(self) -> Integers:
        """The old name of `stratum_index`, to be removed in version 0.3."""
        return self._renamed("codes", "stratum_index")

    @property
    def exponent(self) -> int:
        """The old name of `log4_scale`, to be removed in version 0.3."""
        return self._renamed("exponent", "log4_scale")

    @property
    def loading(self) -> Floats | None:
        """The old name of `row_scale`, to be removed in version 0.3."""
        return self._renamed("loading", "row_scale")

    def _renamed(self, old, new):
        message = f"Strata.{old} is deprecated and will be removed in version 0.3; use Strata.{new}."
        warn(message, FutureWarning)
        return getattr(self, new)

    def weigh(self, weight: Vector, power: float) -> None:
        """Give row i the weight ``weight[i]`` in a loss that is homogeneous of degree `power` in the data.

        Row i of the data is multiplied by ``row_scale[i] = weight[i] ** (1 / power)``. Its part of the loss is then
        ``weight[i]`` times as large, for a model whose row is multiplied likewise. The row of W absorbs this factor;
        the shift of the row must be multiplied by `row_scale`. Call this method before anything else has been computed.

        Parameters
        ----------
        weight : array-like (n_rows,)
            Weights >= 0.
        power : float
        """
        self.with_row_weights(weight, power)
        if self.is_sparse:
            each = self.row_scale[row_index(self.X)]
            self.X = sp.csr_array((self.X.data * each, self.X.indices, self.X.indptr), shape=self.shape, copy=True)
            self.X.eliminate_zeros()
        else:
            self.X = self.X * self.row_scale[:, None]
        self.sq_norm = square_sum(self.X.data if self.is_sparse else self.X)

    @classmethod
    def from_array(
        cls, X: Matrix, strata: Labels | None = None, *, labels: Array | None = None, is_signed: bool = False
    ) -> Strata:
        """Validate one matrix and the labels of its rows.

        Parameters
        ----------
        X : sparse matrix or array of any format, array-like, DataFrame (n_rows, n_columns)
            Non-negative and finite. float32 and float64 are kept, integers and booleans become float64.
        strata : array-like (n_rows,), default=None
            Label of each row, in any order: numbers, strings, categories. None means a single stratum.
        labels : ndarray, default=None
            Sorted labels that are already known; a label that is not among them is an error.
        is_signed : bool, default=False
            Whether X may have negative entries.

        Returns
        -------
        Strata

        Raises
        ------
        ValueError, TypeError
            X or `strata` is invalid; see `as_matrix` and `encode_labels`.
        """
        X, strata = unpack(X, strata)
        X = as_matrix(X, is_signed=is_signed)
        if (
            X.shape[0] != X.shape[1]
            and isinstance(strata, Sized)
            and getattr(strata, "ndim", 1) == 1
            and len(strata) == X.shape[1]
        ):
            raise ValueError(
                f"strata has {X.shape[1]} labels for {X.shape[0]} rows of X, and X has as many columns: rows are the "
                "samples, so pass X.T."
            )
        labels = None if labels is None else np.asarray(labels)
        stratum_index, labels = encode_labels(strata, X.shape[0], labels)
        return cls(X, labels, stratum_index, is_signed)

    @classmethod
    def from_blocks(cls, blocks: Sequence[Matrix]) -> Strata:
        """Validate a list of matrices (m_i, n_columns), one for each stratum; the strata are labelled 0, 1, 2, ..."""
        is_one = sp.issparse(blocks) or isinstance(blocks, np.ndarray) and blocks.ndim < 3
        if is_one or not hasattr(blocks, "__iter__") or isinstance(blocks, (str, bytes)):
            raise TypeError("from_blocks takes a list of matrices, one per stratum, not one matrix; use from_array.")
        blocks = [as_matrix(block, f"Block {i}: ") for i, block in enumerate(blocks)]
        if not blocks:
            raise ValueError("from_blocks was given no block; give at least one matrix.")
        widths = sorted({block.shape[1] for block in blocks})
        if len(widths) > 1:
            raise ValueError(f"The blocks have {widths} columns; all strata must have the same features.")
        are_sparse = any(sp.issparse(block) for block in blocks)
        dtype = np.result_type(*(block.dtype for block in blocks))
        X = sp.vstack([sp.csr_array(block, dtype=dtype) for block in blocks], format="csr") if are_sparse else None
        X = sp.csr_array(X) if are_sparse else np.concatenate(blocks).astype(dtype, copy=False)
        stratum_index = np.repeat(np.arange(len(blocks)), [block.shape[0] for block in blocks])
        return cls(X, np.arange(len(blocks)), stratum_index)

    def with_row_weights(self, weight: Floats, power: float) -> Strata:
        """Set the weights of rows by which X has been multiplied already, see `weigh`, and return self."""
        self.weight = np.asarray(weight, dtype=np.float64)
        row_scale = self.weight ** (1 / power)
        of_sums = np.power(row_scale, power - 1, out=np.zeros_like(row_scale), where=row_scale > 0)
        self.row_scale, self._sum_scale = row_scale.astype(self.dtype), of_sums.astype(self.dtype)
        self.total = float(self.weight.sum())
        return self

    def in_scale(self, dtype: Any, log4_scale: int) -> Strata:
        """Return these data in a different dtype, holding the user's data times ``4.0 ** log4_scale``."""
        if self.dtype == dtype and self.log4_scale == log4_scale:
            return self
        inner = self._of_rows(self.X.astype(dtype))
        shift = log4_scale - self.log4_scale - inner.log4_scale
        values = np.ldexp(inner.X.data if inner.is_sparse else inner.X, 2 * shift)
        X = inner.X
        inner.X = sp.csr_array((values, X.indices, X.indptr), shape=X.shape) if inner.is_sparse else values
        inner.log4_scale, inner.sq_norm = log4_scale, float(np.ldexp(inner.sq_norm, 4 * shift))
        inner.sparse_shifts = self.sparse_shifts
        return inner._weighed_as(self)

    @property
    def own(self) -> Strata:
        """The strata to which own components belong: these."""
        return self

    def as_strata(self, stratum_index: Integers, n_strata: int) -> Strata:
        """Return the same rows, with their weights, in other strata, of which `stratum_index` may name more."""
        labels = np.arange(max(n_strata, int(stratum_index.max(initial=0)) + 1))
        found = Strata(self.X, labels, stratum_index, log4_scale=self.log4_scale)
        found.sq_norm, found.sparse_shifts = self.sq_norm, self.sparse_shifts
        if self.is_sparse:
            found.columns = self.columns
        return found._weighed_as(self)

    @property
    def n_entries(self) -> int:
        """Number of stored entries."""
        return self.X.nnz if self.is_sparse else self.X.size

    def take(self, chosen: Any) -> Any:
        """Return some rows of the attribute `X`, `chosen` by an index array."""
        return self.X[chosen]

    def part(self, chosen: Any, X: Any = None) -> Strata:
        """Return some of the rows, `chosen` by a slice or an index array, with their weights and all strata.

        X are these rows of the attribute `X`, or some columns of them, and may have a different dtype; weights of
        entries have all columns.
        """
        X = self.X[chosen] if X is None else X
        inner = self._of_rows(X if self.is_sparse else np.ascontiguousarray(X), chosen)  # as kernels need it
        inner.log4_scale, inner.sparse_shifts = inner.log4_scale + self.log4_scale, self.sparse_shifts
        return inner.in_scale(inner.dtype, self.log4_scale)._weighed_as(self, chosen)

    def _of_rows(self, X: Any, chosen: Any = ...) -> Strata:
        """Return X, some of these rows, without weights."""
        return Strata(X, self.labels, self.stratum_index[chosen])

    def _weighed_as(self, other: Strata, chosen: Any = ...) -> Strata:
        """Take the weights of the rows, by which X has been multiplied already, and those of the entries of others."""
        if other.weight is not None:
            self.weight, self._sum_scale = other.weight[chosen], other._sum_scale[chosen].astype(self.dtype)
            self.row_scale, self.total = other.row_scale[chosen].astype(self.dtype), float(self.weight.sum())
        if other.entry_weights is not None:
            self.entry_weights = other.entry_weights if chosen is ... else other.entry_weights.part(chosen)
        return self

    @cached_property
    def groups(self) -> Grouping:
        """`Grouping` of the rows by stratum."""
        return Grouping(self.stratum_index, self.n_strata, self.weight, self.row_scale)

    @cached_property
    def rows(self) -> Compressed:
        """`Compressed` rows of sparse data."""
        return Compressed(self.X.indptr, self.X.indices, self.X.data)

    @cached_property
    def columns(self) -> Compressed:
        """`Compressed` columns of sparse data: a second copy, so that products with ``Xᵀ`` gather rows, too."""
        turned = self.X.tocsc() if self._transpose_future is None else self._transpose_future.result()
        self._transpose_future = None
        return Compressed(turned.indptr, turned.indices, turned.data)

    def start_transpose(self) -> None:
        """Start to transpose sparse data in another thread while the start of the fit is computed.

        This needs more than one thread, and is done for large data only. (A transposition of our own on two threads
        took 9 ms on 20 newsgroups, SciPy's on one thread 11 ms.)
        """
        if self.is_sparse and self.X.nnz > _TRANSPOSE_ABOVE and thread_count() > 1:
            pool = ThreadPoolExecutor(1)
            self._transpose_future = pool.submit(self.X.tocsc)
            pool.shutdown(wait=False)

    @cached_property
    def pattern(self) -> Pattern:
        """`Pattern` of the shifts."""
        if not self.is_sparse:
            used, index = np.unique(self.stratum_index, return_inverse=True)  # no more strata than rows
            sums = Grouping(index.astype(np.int32), len(used), None, self._sum_scale).sum(self.X).T
            columns, place = np.nonzero(sums)
            start = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=self.shape[1]))])
            group = used[place].astype(np.int32)
            return Pattern(start, group, sums[columns, place], self.n_strata, self.sparse_shifts)
        turned = self.columns
        room = np.minimum(np.diff(turned.indptr), self.n_strata)
        room = np.concatenate([[0], np.cumsum(room)]).astype(np.int64)
        groups, sums = np.empty(room[-1], np.int32), np.empty(room[-1], np.float64)
        count = np.empty(self.shape[1], np.int64)
        tasks = turned.tasks(4)
        values = turned.data if self.weight is None else turned.data * self._sum_scale[turned.indices]
        csr = turned.csr._replace(data=values)
        products.pattern_count(tasks, csr, self.stratum_index, self.n_strata, room, groups, sums, count)
        start = np.concatenate([[0], np.cumsum(count)])
        group, packed = np.empty(start[-1], np.int32), np.empty(start[-1], self.dtype)
        products.pattern_packed(tasks, room, groups, sums, start, group, packed)
        return Pattern(start, group, packed, self.n_strata, self.sparse_shifts)

    def matmul(self, F: Floats, out: Floats) -> None:
        """Write ``X F`` into out (n_rows, K); F (n_columns, K)."""
        if self.is_sparse:
            self.rows.matmul(F, out)
        else:
            _chunked(self.X.shape[0], self.X.size * F.shape[1], lambda rows: np.matmul(self.X[rows], F, out=out[rows]))

    def tmatmul(self, F: Floats, out: Floats) -> None:
        """Write ``Xᵀ F`` into out (n_columns, K); F (n_rows, K)."""
        if self.is_sparse:
            self.columns.matmul(F, out)
        else:
            X = self.X.T
            _chunked(self.X.shape[1], self.X.size * F.shape[1], lambda rows: np.matmul(X[rows], F, out=out[rows]))

    def column_sums(self) -> Floats:
        """Return the weighted sum of every column of the data without the row scale, float64 (n_columns,)."""
        each = np.ones(self.shape[0]) if self.weight is None else self._sum_scale.astype(np.float64)
        return each @ self.X

    def column_means(self) -> Floats:
        """Return the weighted mean of every column of the data without the row scale, an array (n_columns,)."""
        if self.weight is None and not self.is_sparse:
            return self.X.mean(axis=0, dtype=np.float64).astype(self.dtype)
        return (self.column_sums() / (self.total or 1.0)).astype(self.dtype)  # rows without weight: zeros

    def stratum_means(self) -> Floats:
        """Return the weighted mean of every column over the rows of each stratum, on the pattern, an array (q,)."""
        sizes = np.where(self.groups.sizes > 0, self.groups.sizes, 1).astype(np.float64)
        return self.pattern.sums / sizes[self.pattern.group]

    def lazy_shifts(self, below: Floats) -> LazyRows:
        """Return a ``LazyRows`` (n_rows, K) that holds ``u_i below[g(i)]``; below (n_strata, K), as ``V H``."""
        return LazyRows.of(below, self.stratum_index, self.row_scale)

    def as_design(self) -> sp.csr_array:
        """Return Z (n_rows, n_strata), float64, for which the shifts of the rows are ``Z V``, times the row scale."""
        u = np.ones(self.shape[0]) if self.row_scale is None else self.row_scale.astype(np.float64)
        return sp.csr_array((u, self.stratum_index, np.arange(len(u) + 1)), (len(u), self.n_strata))

    def spread(self, each: Floats) -> Floats:
        """Return ``each[g(i)]`` for every row, (n_rows, ...); each (n_strata, ...). Without the row scale."""
        return each[self.stratum_index]

    def collect(self, each: Floats) -> Floats:
        """Return the sums of a number of each row (n_rows,) by stratum, float64 (n_strata,). Without the row scale."""
        return np.bincount(self.stratum_index, each, minlength=self.n_strata)

    def shift_rows(self, V: Any, rows: slice | Integers) -> Floats:
        """Return ``u_i V[g(i)]`` of some rows, dense; V (n_strata, n_columns) as for `row_square_sums`."""
        shift = shifts.rows_of(V, self.stratum_index[rows])
        return shift if self.row_scale is None else shift * self.row_scale[rows, None]

    def shift_squares(self, V: Any) -> Floats:
        """Return ``||V[g(i)]||²`` of every row, float64 (n_rows,): the size of its shift, without the row scale."""
        return shifts.square_lengths(V)[self.stratum_index]

    def shift_entries(self, V: Any, rows: Integers, columns: Integers) -> Floats:
        """Return ``V[g(i)]`` at ``(rows[p], columns[p])``, without the row scale, an array (p,)."""
        return shifts.entries_at(V, self.stratum_index[rows], columns)

    def row_square_sums(self, V: Any = None) -> Floats:
        """Return ``sum_j (x_ij - u_i V[g(i), j])²`` for every row, float64 (n_rows,).

        V (n_strata, n_columns) are shifts, dense or CSR, g(i) is the stratum of row i and u its row scale. V None is
        zero.
        """
        if V is None:
            return row_squares(self.X)
        row_scale = np.ones(self.shape[0]) if self.row_scale is None else self.row_scale.astype(np.float64)
        if not self.is_sparse:
            each = zip(self.X, self.stratum_index, row_scale, strict=True)
            each = (row - u * shifts.dense_row(V, code) for row, code, u in each)
            return np.array([np.square(row, dtype=np.float64).sum() for row in each])
        lengths = shifts.square_lengths(V)[self.stratum_index] * row_scale**2
        of_row = row_index(self.X)
        v = shifts.entries_at(V, self.stratum_index[of_row], self.X.indices) * row_scale[of_row]
        x = self.X.data.astype(np.float64)
        return lengths + np.bincount(of_row, x * (x - 2 * v), minlength=self.shape[0])

    def residual_square_sum(self, W: Floats, H: Floats, V: Any) -> float:
        """Return ``sum (X - u V[stratum_index] - W Hᵀ)²`` from the residual itself, one block of rows at a time.

        The cost is n_rows * n_columns * k. The method is for cases in which the cheap form of the value has lost its
        digits.

        Parameters
        ----------
        W : ndarray (n_rows, k)
        H : ndarray (n_columns, k)
        V : ndarray or csr_array (n_strata, n_columns), or None
            Shifts; u is the row scale. All three are in the inner scale.

        Returns
        -------
        float
        """
        W, H, total = W.astype(np.float64), H.astype(np.float64), 0.0
        step = max(1, _RESIDUAL_ENTRIES // self.shape[1])
        with single_threaded_blas():
            for lo in range(0, self.shape[0], step):
                residual = self.residual(slice(lo, lo + step), W, H, V)
                total += float(np.einsum("ij,ij->", residual, residual))
        return total

    def residual(self, rows: slice | Integers, W: Floats, H: Floats, V: Any) -> Floats:
        """Return the negative residual ``W Hᵀ + u V[stratum_index] - X`` of some rows, a dense array.

        Parameters
        ----------
        rows : slice, or ndarray of int
        W : ndarray (n_rows, k) of float64
        H : ndarray (n_columns, k) of float64
        V : ndarray or csr_array (n_strata, n_columns), or None
            Shifts; u is the row scale. All three are in the inner scale.
        """
        residual = W[rows] @ H.T
        if V is not None:
            residual += self.shift_rows(V, rows)
        if self.is_sparse:
            part = self.X[rows].tocoo()
            residual[part.coords] -= part.data
        else:
            residual -= self.X[rows]
        return residual


def log4_scale_for(largest, dtype):
    """Return the `log4_scale` for data with this largest entry: 0 unless it is extreme."""
    exponent, dtype = int(np.frexp(largest)[1]), np.dtype(dtype)
    return min(-exponent // 2, _LARGEST_LOG4[dtype]) if largest > 0 and abs(exponent) > _EXTREME[dtype] else 0


def square_sum(values):
    """Return the sum of the squares of an array, a part of it at a time."""
    flattened, step, total = values.reshape(-1), 1 << 20, 0.0
    room = np.empty(min(step, len(flattened)))  # one for all parts: new memory would take longer than the squares
    for lo in range(0, len(flattened), step):
        squares = room[: len(flattened) - lo]
        squares[:] = flattened[lo : lo + step]
        total += np.multiply(squares, squares, out=squares).sum()
    return float(total)


def _chunked(n_rows, cost, product):
    """Run ``product(rows)`` over a fixed number of slices of the rows, in as many Python threads as are in use.

    Each product runs on one BLAS thread: OpenBLAS gives other bits with a different number of threads, and its idle
    threads spin while our kernels run.

    Parameters
    ----------
    n_rows : int
    cost : int
        Multiply-adds of the whole product.
    product : function of slice
    """
    bounds = split_rows(n_rows, -(-cost // n_rows), _CHUNKS) if cost >= _DENSE_SERIAL_BELOW else np.array([0, n_rows])
    slices = [slice(lo, hi) for lo, hi in zip(bounds[:-1], bounds[1:], strict=True)]
    with single_threaded_blas():
        if len(slices) == 1 or thread_count() == 1:
            for rows in slices:
                product(rows)
        else:
            with ThreadPoolExecutor(thread_count()) as pool:
                list(pool.map(product, slices))
