"""The front door: whatever the user brings becomes `Strata`, validated once, in the layout that the kernels walk."""

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from fastnmf.blas import single_threaded_blas
from fastnmf.kernels import products
from fastnmf.kernels.jit import split_rows, thread_count
from fastnmf.layout import Compressed, Grouping, Pattern
from fastnmf.matrix import STEP, as_csr, check_kind

# Squares and products of the data must neither under- nor overflow: data whose largest entry lies outside
# 2**-limit .. 2**limit are scaled at the door.
_EXTREME = {np.dtype(np.float32): 24, np.dtype(np.float64): 160}
_CHUNKS = 16  # of a dense product; fixed, so that its bits do not depend on the number of threads
_DENSE_SERIAL_BELOW = 4_000_000  # multiply-adds
_SORT_BELOW = 200_000  # non-zeros
_TURN_ABOVE = 200_000  # non-zeros
_RESIDUAL_ENTRIES = 1 << 21  # of a dense residual at a time: 16 MB


class Strata:
    """A non-negative matrix whose rows come in groups.

    Rows keep the order in which they came. Use `from_array` or `from_blocks`.

    Attributes
    ----------
    X : scipy.sparse.csr_array or ndarray (n_rows, n_columns)
        CSR without duplicates and explicit zeros, or C-order dense, float32 or float64; the user's own memory where
        that is possible.
    labels : ndarray (n_strata,)
        Labels of the strata in sorted order.
    codes : ndarray (n_rows,) of int32
        Stratum of each row, an index into `labels`.
    exponent : int
        X holds the user's data times ``4.0 ** exponent``; 0 unless the scale is extreme.
    sq_norm : float
        Sum of the squares of X.
    weight, loading : ndarray (n_rows,), or None
        Weights of the rows, and their ``1 / power``-th power: X is held with its rows multiplied by `loading`.
    total : float
        Number of rows, or sum of their weights.
    entry_weights : fastnmf.terms.weights.Weights, or None
        Weights of the entries, set by those who have them.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import Strata
    >>> data = Strata.from_array(np.eye(3), ["b", "a", "b"])
    >>> data.labels.tolist(), data.codes.tolist(), data.sq_norm
    (['a', 'b'], [1, 0, 1], 3.0)
    """

    def __init__(self, X, labels, codes, is_signed=False):
        self.X, self.labels, self.codes = X, labels, np.ascontiguousarray(codes, dtype=np.int32)
        self.is_sparse = sp.issparse(X)
        self.shape, self.dtype = X.shape, X.dtype
        self.n_strata = len(labels)
        self.exponent, self._turning = 0, None
        values = X.data if self.is_sparse else X
        largest = float(values.max()) if values.size else 0.0
        largest = max(largest, -float(values.min())) if is_signed and values.size else largest
        limit = _EXTREME[X.dtype]
        if largest > 0 and abs(np.frexp(largest)[1]) > limit:
            self.exponent = -int(np.frexp(largest)[1]) // 2
            self.X = X * X.dtype.type(1) if self.is_sparse else X.copy()
            values = self.X.data if self.is_sparse else self.X
            np.ldexp(values, 2 * self.exponent, out=values)
        self.sq_norm = _square_sum(values)
        self.weight = self.loading = self._of_sums = self.entry_weights = None
        self.total = float(X.shape[0])

    def weigh(self, weight, power):
        """Let row i count ``weight[i]`` times in a loss that grows with the `power`-th power of the data.

        A row that is multiplied by ``loading = weight ** (1 / power)`` adds ``weight`` times as much to the loss of a
        model that is multiplied likewise: its weights W by definition, its shift through `loading`. To be called
        before anything has been computed.
        """
        self.weight = np.asarray(weight, dtype=np.float64)
        loading = self.weight ** (1 / power)
        of_sums = np.power(loading, power - 1, out=np.zeros_like(loading), where=loading > 0)
        self.loading, self._of_sums = loading.astype(self.dtype), of_sums.astype(self.dtype)
        if self.is_sparse:
            each = np.repeat(self.loading, np.diff(self.X.indptr))
            self.X = sp.csr_array((self.X.data * each, self.X.indices, self.X.indptr), shape=self.shape, copy=True)
            self.X.eliminate_zeros()
        else:
            self.X = self.X * self.loading[:, None]
        self.sq_norm, self.total = _square_sum(self.X.data if self.is_sparse else self.X), float(self.weight.sum())

    @classmethod
    def from_array(cls, X, strata=None, *, labels=None, is_signed=False):
        """Validate one matrix and the labels of its rows.

        Parameters
        ----------
        X : sparse matrix or array of any format, array-like, DataFrame (n_rows, n_columns)
            Non-negative and finite. float32 and float64 are kept, integers and booleans become float64.
        strata : array-like (n_rows,), default=None
            Label of each row, in any order: numbers, strings, categories. None is a single stratum.
        labels : ndarray, default=None
            Labels that are known already, sorted; a label that is not among them is an error.
        is_signed : bool, default=False
            Whether X may have negative entries.

        Raises
        ------
        ValueError, TypeError
            In one sentence: what was given, what was expected, what to do.
        """
        X = as_matrix(X, is_signed=is_signed)
        codes, labels = encode_labels(strata, X.shape[0], labels)
        return cls(X, labels, codes, is_signed)

    @classmethod
    def from_blocks(cls, blocks):
        """Validate a list of matrices (m_i, n_columns), one a stratum; the strata are labelled 0, 1, 2 ..."""
        if sp.issparse(blocks) or isinstance(blocks, np.ndarray) and blocks.ndim < 3:
            raise TypeError("from_blocks takes a list of matrices, one a stratum, not one matrix; use from_array.")
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
        codes = np.repeat(np.arange(len(blocks)), [block.shape[0] for block in blocks])
        return cls(X, np.arange(len(blocks)), codes)

    def in_scale(self, dtype, exponent):
        """Return these data in this type, holding the user's times ``4.0 ** exponent``."""
        if self.dtype == dtype and self.exponent == exponent:
            return self
        inner = Strata(self.X.astype(dtype), self.labels, self.codes)
        shift = exponent - self.exponent - inner.exponent
        values = np.ldexp(inner.X.data if inner.is_sparse else inner.X, 2 * shift)
        X = inner.X
        inner.X = sp.csr_array((values, X.indices, X.indptr), shape=X.shape) if inner.is_sparse else values
        inner.exponent, inner.sq_norm = exponent, float(np.ldexp(inner.sq_norm, 4 * shift))
        return inner

    @cached_property
    def groups(self):
        """`Grouping` of the rows by stratum."""
        return Grouping(self.codes, self.n_strata, self.weight, self.loading)

    @cached_property
    def rows(self):
        """`Compressed` rows of sparse data."""
        return Compressed(self.X.indptr, self.X.indices, self.X.data)

    @cached_property
    def columns(self):
        """`Compressed` columns of sparse data: a second copy, so that the column side gathers, too."""
        turned = self.X.tocsc() if self._turning is None else self._turning.result()
        self._turning = None
        return Compressed(turned.indptr, turned.indices, turned.data)

    def begin_columns(self):
        """Let another thread, where there is one, turn sparse data while a start is drawn.

        (A transposition of our own on both threads took 9 ms on 20 newsgroups, SciPy's on one 11.)
        """
        if self.is_sparse and self.X.nnz > _TURN_ABOVE and thread_count() > 1:
            pool = ThreadPoolExecutor(1)
            self._turning = pool.submit(self.X.tocsc)
            pool.shutdown(wait=False)

    @cached_property
    def pattern(self):
        """`Pattern` of the shifts."""
        if not self.is_sparse:
            sums = Grouping(self.codes, self.n_strata, None, self._of_sums).sum(self.X).T
            columns, group = np.nonzero(sums)
            start = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=self.shape[1]))])
            return Pattern(start, group.astype(np.int32), sums[columns, group], self.n_strata)
        turned = self.columns
        room = np.minimum(np.diff(turned.indptr), self.n_strata)
        room = np.concatenate([[0], np.cumsum(room)]).astype(np.int64)
        group, sums = np.empty(room[-1], np.int32), np.empty(room[-1], np.float64)
        count = np.empty(self.shape[1], np.int64)
        tasks = turned.tasks(4)
        values = turned.data if self.weight is None else turned.data * self._of_sums[turned.indices]
        products.pattern_count(
            tasks, turned.indptr, turned.indices, values, self.codes, self.n_strata, room, group, sums, count
        )
        start = np.concatenate([[0], np.cumsum(count)])
        kept = np.arange(start[-1]) + np.repeat(room[:-1] - start[:-1], count)
        return Pattern(start, group[kept], sums[kept].astype(self.dtype), self.n_strata)

    def matmul(self, F, out):
        """Write ``X F`` into out (n_rows, K); F (n_columns, K)."""
        if self.is_sparse:
            self.rows.matmul(F, out)
        else:
            _chunked(self.X.shape[0], self.X.size * F.shape[1], lambda rows: np.matmul(self.X[rows], F, out=out[rows]))

    def tmatmul(self, F, out):
        """Write ``Xᵀ F`` into out (n_columns, K); F (n_rows, K)."""
        if self.is_sparse:
            self.columns.matmul(F, out)
        else:
            X = self.X.T
            _chunked(self.X.shape[1], self.X.size * F.shape[1], lambda rows: np.matmul(X[rows], F, out=out[rows]))

    def column_means(self):
        """Return the weighted mean of every column of the unloaded data, an array (n_columns,)."""
        if self.weight is None and not self.is_sparse:
            return self.X.mean(axis=0, dtype=np.float64).astype(self.dtype)
        each = np.ones(self.shape[0]) if self.weight is None else self._of_sums.astype(np.float64)
        return (each @ self.X / self.total).astype(self.dtype)

    def stratum_means(self):
        """Return the (weighted) mean of every column over the rows of every stratum, on the pattern, (q,)."""
        sizes = np.where(self.groups.sizes > 0, self.groups.sizes, 1).astype(np.float64)
        return self.pattern.sums / sizes[self.pattern.group]

    def row_square_sums(self, V=None):
        """Return ``sum_j (x_ij - V[code of i, j])²`` for every row, float64 (n_rows,), for V (n_strata, n_columns)."""
        if V is None:
            if not self.is_sparse:
                return np.einsum("ij,ij->i", self.X, self.X, dtype=np.float64)
            of_row = np.repeat(np.arange(self.shape[0]), np.diff(self.X.indptr))
            return np.bincount(of_row, np.square(self.X.data, dtype=np.float64), minlength=self.shape[0])
        loading = np.ones(self.shape[0]) if self.loading is None else self.loading.astype(np.float64)
        lengths = np.einsum("ij,ij->i", V, V, dtype=np.float64)[self.codes] * loading**2
        if not self.is_sparse:
            each = zip(self.X, self.codes, loading, strict=True)
            return np.array([np.square(row - u * V[code], dtype=np.float64).sum() for row, code, u in each])
        of_row = np.repeat(np.arange(self.shape[0]), np.diff(self.X.indptr))
        x, v = self.X.data.astype(np.float64), V[self.codes[of_row], self.X.indices] * loading[of_row]
        return lengths + np.bincount(of_row, x * (x - 2 * v), minlength=self.shape[0])

    def residual_square_sum(self, W, H, V):
        """Return ``sum (X - V[codes] - W Hᵀ)²`` from the residual itself, a bounded block of rows at a time.

        W (n_rows, k), H (n_columns, k), V (n_strata, n_columns) or None. Costs n_rows * n_columns * k, so it is for
        the cases in which the cheap form has lost its digits.
        """
        W, H, total = W.astype(np.float64), H.astype(np.float64), 0.0
        step = max(1, _RESIDUAL_ENTRIES // self.shape[1])
        with single_threaded_blas():
            for lo in range(0, self.shape[0], step):
                block = slice(lo, lo + step)
                residual = W[block] @ H.T
                if V is not None:
                    shift = V[self.codes[block]]
                    residual += shift if self.loading is None else shift * self.loading[block, None]
                if self.is_sparse:
                    part = self.X[block].tocoo()
                    residual[part.coords] -= part.data
                else:
                    residual -= self.X[block]
                total += float(np.einsum("ij,ij->", residual, residual))
        return total


def as_matrix(X, prefix="", *, is_signed=False):
    """Return X as canonical CSR or C-order dense of float32 or float64, checked; the user's arrays stay as they are.

    Negative entries are refused unless `is_signed`. Rows of CSR that are just not sorted serve as they are.
    """
    if not sp.issparse(X):
        X = np.asarray(X)
    check_kind(X, prefix)
    if X.dtype.kind not in "fiub":
        raise TypeError(f"{prefix}X has dtype {X.dtype}; only real numbers can be factorised. Convert X to float.")
    if 0 in X.shape:
        raise ValueError(f"{prefix}X of shape {X.shape} is empty; at least one row and one column are required.")
    if max(X.shape) > np.iinfo(np.int32).max:
        raise ValueError(f"{prefix}X of shape {X.shape} is too large: rows and columns are limited to 2,147,483,647.")
    dtype = X.dtype if X.dtype in (np.float32, np.float64) and X.dtype.isnative else np.dtype(np.float64)
    if X.dtype == np.float16:
        dtype = np.dtype(np.float32)
    if sp.issparse(X):
        X = as_csr(X, f"{prefix}X", dtype)
        if _has_duplicates(X):
            X = X.copy()
            X.sum_duplicates()
        values = X.data
    else:
        X = values = np.ascontiguousarray(X, dtype=dtype)
    if values.size:
        low, high = _range(values)
        if not (np.isfinite(low) and np.isfinite(high)):
            what = "NaN" if np.isnan(low) else "infinity"
            raise ValueError(f"{prefix}Input X contains {what}; every entry must be a finite number. Fill or drop it.")
        if low < 0 and not is_signed:
            raise ValueError(
                f"{prefix}Negative values in data: the smallest entry of X is {low:g}; non-negative factorisation "
                "needs entries >= 0. Shift, clip or split the data first."
            )
        if sp.issparse(X) and low <= 0 <= high and not values.all():
            X = X.copy()
            X.eliminate_zeros()
    return X


def _range(values):
    """Return the least and the largest entry, both NaN where one is; memory is read once."""
    flat = values.reshape(-1)
    parts = [flat[lo : lo + STEP] for lo in range(0, len(flat), STEP)]
    low, high = np.array([(part.min(), part.max()) for part in parts]).T
    return low.min(), high.max()


def _has_duplicates(X):
    """Tell whether two entries of a row stand in one column."""
    if X.has_canonical_format:
        return False
    if X.nnz < _SORT_BELOW:
        return True  # sorting a copy takes less than compiling a search
    rows = Compressed(X.indptr, X.indices, X.data)
    tasks = rows.tasks(8)
    found = np.empty(len(tasks) - 1, np.bool_)
    products.csr_duplicates(tasks, rows.indptr, rows.indices, X.shape[1], found)
    return bool(found.any())


def encode_labels(strata, n_rows, labels=None):
    """Return the stratum of each row as int32, and the sorted labels.

    Raises
    ------
    ValueError
        Labels of the wrong length or dimension, missing labels, labels that cannot be sorted, or, where `labels` are
        given, labels that are not among them.
    """
    if strata is None:
        return np.zeros(n_rows, np.int32), np.array([0]) if labels is None else labels
    strata = np.asarray(strata)
    if strata.ndim != 1:
        raise ValueError(f"strata has {strata.ndim} dimensions; give one label a row, an array of shape ({n_rows},).")
    if len(strata) != n_rows:
        raise ValueError(f"strata has {len(strata)} labels for {n_rows} rows of X; give one label a row.")
    if _has_missing(strata):
        raise ValueError("strata contains a missing label (NaN or None); give every row a label or drop the row.")
    try:
        found, codes = np.unique(strata, return_inverse=True)
    except TypeError as error:
        raise ValueError(
            "strata mixes labels that cannot be sorted, such as numbers and text; use one kind."
        ) from error
    if labels is None:
        return codes.astype(np.int32), found
    known = {label: code for code, label in enumerate(labels.tolist())}
    place = np.array([known.get(label, -1) for label in found.tolist()])
    if (place < 0).any():
        unseen = ", ".join(repr(label) for label in found[place < 0][:3].tolist())
        raise ValueError(
            f"strata contains the label {unseen}, which was not there in fit; known are {len(labels)} labels."
        )
    return place[codes].astype(np.int32), labels


def _has_missing(labels):
    if labels.dtype.kind == "f":
        return bool(np.isnan(labels).any())
    if labels.dtype.kind in "mM":
        return bool(np.isnat(labels).any())
    if labels.dtype.kind != "O":
        return False
    # NaN is the one float that differs from itself; pandas' NA and NaT are known by name, to do without pandas.
    return any(
        label is None or type(label).__name__ in ("NAType", "NaTType") or (isinstance(label, float) and label != label)
        for label in labels
    )


def _square_sum(values):
    flat = values.reshape(-1)
    step = 1 << 20
    return float(sum(np.square(flat[i : i + step], dtype=np.float64).sum() for i in range(0, len(flat), step)))


def _chunked(n_rows, cost, product):
    """Run ``product(rows)`` over a fixed number of slices, each on one BLAS thread, on as many Python threads as asked.

    OpenBLAS gives other bits with other numbers of threads, and its idle threads spin beside our kernels.
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
