"""Data layouts of the kernels: compressed rows, and groups of rows."""

import numpy as np

from fastnmf.kernels import products
from fastnmf.kernels.jit import split_costs
from fastnmf.kernels.records import CSR

TILE = 1 << 20  # entries of dense rows held at a time: 8 MB

_PIECE = 1024  # rows of a group that are summed together, before the partial sums of the group are added


class Compressed:
    """One orientation of sparse data, with the arrays that the kernels take.

    Parameters
    ----------
    indptr, indices, data : array-like (p + 1,), (nnz,), (nnz,)

    Attributes
    ----------
    indptr : ndarray (p + 1,) of int64
    indices : ndarray (nnz,) of int32
    data : ndarray (nnz,)
    csr : fastnmf.kernels.records.CSR
        These three.
    """

    def __init__(self, indptr, indices, data):
        self.indptr = np.ascontiguousarray(indptr, dtype=np.int64)
        self.indices = np.ascontiguousarray(indices, dtype=np.int32)
        self.data = np.ascontiguousarray(data)
        self.csr = CSR(self.indptr, self.indices, self.data)
        self._tasks = {}

    def tasks(self, width):
        """Return the task table of a product with a factor of `width` columns."""
        if width not in self._tasks:
            self._tasks[width] = split_costs(self.indptr, width)
        return self._tasks[width]

    def row(self, i, width):
        """Return row i as a dense array (width,) of float64."""
        part, out = slice(self.indptr[i], self.indptr[i + 1]), np.zeros(width)
        out[self.indices[part]] = self.data[part]
        return out

    def matmul(self, F, out):
        """Write the product with F (q, K) into out (p, K); K is a whole number of blocks."""
        products.csr_matmul(self.tasks(F.shape[1]), self.csr, F, out)


def row_index(X, dtype=np.int64):
    """Return the row of every stored entry of a CSR array, a `Compressed`, or an indptr (n + 1,): an array (nnz,)."""
    indptr = getattr(X, "indptr", X)
    return np.repeat(np.arange(len(indptr) - 1, dtype=dtype), np.diff(indptr))


def nonzero_means(side):
    """Return the mean of the stored entries of each row of a `Compressed`, float64 (p,), 0 where there are none."""
    n_rows = len(side.indptr) - 1
    return np.bincount(row_index(side), side.data, n_rows) / np.maximum(np.diff(side.indptr), 1)


def linear_index(X):
    """Return row times number of columns plus column of every stored entry of a CSR array, int64 (nnz,)."""
    return row_index(X) * X.shape[1] + X.indices


def row_tiles(X):
    """Yield ``(part, x)``: a slice of the rows of X, CSR or dense, and these rows, dense; at most `TILE` entries."""
    step = max(1, TILE // max(X.shape[1], 1))
    for lo in range(0, X.shape[0], step):
        part = slice(lo, lo + step)
        yield part, X[part] if isinstance(X, np.ndarray) else X[part].toarray()  # never-densify-ok: one tile


def row_squares(X):
    """Return the squared length of every row of X, CSR or dense (n, m), float64 (n,)."""
    if isinstance(X, np.ndarray):
        return np.einsum("ij,ij->i", X, X, dtype=np.float64)
    return np.bincount(row_index(X), np.square(X.data, dtype=np.float64), minlength=X.shape[0])


def _pieces(start):
    """Cut groups of rows into pieces; return the bounds of all pieces, and the first piece of each group.

    Group g has the rows start[g]:start[g + 1]. The pieces let several threads share one large stratum. They do not
    depend on the number of threads, so the sums do not either.
    """
    count = -(-np.diff(start) // _PIECE)
    first = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    within = np.arange(first[-1]) - np.repeat(first[:-1], count)
    return np.append(np.repeat(start[:-1], count) + within * _PIECE, start[-1]).astype(np.int64), first


def in_order(stratum_index, n_groups):
    """Return the rows, int64, sorted by group and within a group as they come."""
    few = np.uint16 if n_groups <= 1 << 16 else np.int64  # those are sorted by counting, in a tenth of the time
    return np.argsort(stratum_index.astype(few), kind="stable").astype(np.int64, copy=False)


class Grouping:
    """Sums of rows by group.

    Parameters
    ----------
    stratum_index : ndarray (rows,) of int32
        The group of each row.
    n_groups : int
    weight : ndarray (rows,), optional
        Weight of each row in the sizes of the groups.
    row_scale : ndarray (rows,), optional
        Factor of each row in the sums of the groups.

    Attributes
    ----------
    counts : ndarray (n_groups,) of int
        Number of rows of each group.
    sizes : ndarray (n_groups,)
        Sum of the weights of each group; `counts` without weights.
    order : ndarray (rows,) of int64
        The rows, sorted by group.
    """

    def __init__(self, stratum_index, n_groups, weight=None, row_scale=None):
        self.stratum_index, self.n_groups, self.row_scale = stratum_index, n_groups, row_scale
        self.counts = np.bincount(stratum_index, minlength=n_groups)
        self.sizes = self.counts if weight is None else np.bincount(stratum_index, weight, minlength=n_groups)
        self.order = in_order(stratum_index, n_groups)
        self.bounds, self.first = _pieces(np.concatenate([[0], np.cumsum(self.counts)]))
        self._in_order, self._tasks = np.arange(self.first[-1]), {}

    def _tables(self, width):
        """Return the task tables of the sums of pieces, and of groups."""
        if width not in self._tasks:
            self._tasks[width] = split_costs(self.bounds, width), split_costs(self.first, width)
        return self._tasks[width]

    def sum(self, F):
        """Return the sums of the rows of F (rows, K) by group, each row times its row scale: an array (n_groups, K)."""
        of_pieces, of_groups = self._tables(F.shape[1])
        parts = np.empty((self.first[-1], F.shape[1]), F.dtype)
        F = F if self.row_scale is None else F * self.row_scale[:, None]
        products.groups_sum(of_pieces, self.bounds, self.order, F, parts)
        out = np.empty((self.n_groups, F.shape[1]), F.dtype)
        products.groups_sum(of_groups, self.first, self._in_order, parts, out)
        return out


class WeightedGrouping:
    """Sums of rows by group where a row may belong to several groups, with a weight in each.

    Parameters
    ----------
    membership : csr_array (rows, n_groups)
        Weight of each row in each group, in the dtype of what is summed.

    Attributes
    ----------
    n_groups : int
    counts : ndarray (n_groups,) of int
        Number of rows that each group has.
    """

    def __init__(self, membership):
        turned = membership.tocsc()
        self.n_groups, self.counts = membership.shape[1], np.diff(turned.indptr)
        bounds, self.first = _pieces(turned.indptr.astype(np.int64))
        self._pieces, self._in_order = Compressed(bounds, turned.indices, turned.data), np.arange(self.first[-1])

    def sum(self, F):
        """Return the weighted sums of the rows of F (rows, K) by group, an array (n_groups, K)."""
        parts = np.empty((self.first[-1], F.shape[1]), F.dtype)
        self._pieces.matmul(F, parts)
        out = np.empty((self.n_groups, F.shape[1]), F.dtype)
        products.groups_sum(split_costs(self.first, F.shape[1]), self.first, self._in_order, parts, out)
        return out
