"""Shifts of strata: their pattern, and arrays (n_strata, n_columns), dense, or CSR where a dense one would be large.

A fit holds shifts on their pattern. Whoever reads them otherwise gets such an array V. Readers multiply it by matrices
as it is, and do the rest by the functions here. They take a small CSR array as a dense one (`as_read`), so that they
compute the same bits from either.
"""

from functools import cached_property

import numpy as np
import scipy.sparse as sp

from fastnmf.data.layout import Grouping, linear_index, row_index
from fastnmf.kernels import products
from fastnmf.kernels.jit import N_TASKS, split_rows
from fastnmf.kernels.records import CSR

ABOVE = 10**8  # entries from which on shifts are CSR, unless the user chooses: 800 MB
_SPREAD_ENTRIES = 1 << 22  # limit of the partial sums of a product over the shift pattern, over all tasks
SMALL = 1 << 21  # entries up to which readers take a CSR array as a dense one: 16 MB


def are_sparse(choice, n_strata, n_columns):
    """Tell whether shifts are held as CSR; `choice` is the parameter `sparse_shifts`: True, False, or None."""
    return n_strata * n_columns > ABOVE if choice is None else bool(choice)


def as_read(V):
    """Return shifts as readers take them: a small CSR array as a dense one, a large one without duplicates, sorted."""
    if not sp.issparse(V):
        return V
    if V.shape[0] * V.shape[1] <= SMALL:
        return V.toarray()  # never-densify-ok: at most 16 MB
    V = sp.csr_array(V)
    if not V.has_canonical_format:
        V = V.copy()
        V.sum_duplicates()
    return V


def mapped(V, function):
    """Return V with ``function(values)`` in place of its entries; a zero must stay zero."""
    return sp.csr_array((function(V.data), V.indices, V.indptr), V.shape) if sp.issparse(V) else function(V)


def entries_at(V, rows, columns):
    """Return the entries of V at ``(rows[p], columns[p])``, an array (q,); CSR has to be sorted, without duplicates."""
    if not sp.issparse(V):
        return V[rows, columns]
    held = linear_index(V)
    wanted = np.asarray(rows, dtype=np.int64) * V.shape[1] + columns
    out = np.zeros(len(wanted), V.dtype)
    if len(held):
        place = np.searchsorted(held, wanted)
        place[place == len(held)] = 0
        found = held[place] == wanted
        out[found] = V.data[place[found]]
    return out


def rows_of(V, rows):
    """Return some rows of V, an array of indices or a slice, as a dense array: as many as the caller holds anyway."""
    return V[rows].toarray() if sp.issparse(V) else V[rows]  # never-densify-ok: the caller's rows


def few_at_a_time(labels, n_columns):
    """Yield slices of the labels of strata whose shifts, as a dense array, are small."""
    step = max(1, SMALL // n_columns)
    yield from (slice(first, first + step) for first in range(0, len(labels), step))


def each_row(V):
    """Yield the rows of V, dense (n_columns,), one after the other."""
    for row in range(V.shape[0]):
        yield dense_row(V, row)


def dense_row(V, row):
    """Return one row of V, dense (n_columns,)."""
    if not sp.issparse(V):
        return V[row]
    out, part = np.zeros(V.shape[1], V.dtype), slice(V.indptr[row], V.indptr[row + 1])
    out[V.indices[part]] = V.data[part]
    return out


def square_lengths(V):
    """Return the squared length of every row, float64 (n_strata,)."""
    if not sp.issparse(V):
        return np.einsum("ij,ij->i", V, V, dtype=np.float64)
    return np.bincount(row_index(V), np.square(V.data, dtype=np.float64), V.shape[0])


def among(V, is_in):
    """Return V with zeros in the rows that are not `is_in` (n_strata,) of bool."""
    if not sp.issparse(V):
        return np.where(is_in[:, None], V, 0)
    return sp.csr_array((V.data * is_in[row_index(V)], V.indices, V.indptr), V.shape)


def stacked(V, more):
    """Return the rows of V and then those of `more`, of the kind of V."""
    return sp.csr_array(sp.vstack([V, more], format="csr")) if sp.issparse(V) else np.concatenate([V, more])


class Pattern:
    """The entries (column, stratum) in which a stratum uses a column.

    In all other entries the shift is zero in every minimiser, and after one update of any method. Shifts are therefore
    held on this pattern only (21.5 % of all entries in 20 newsgroups), so that the cost of thousands of strata stays
    small.

    Parameters
    ----------
    start, group, sums :
        As the attributes.
    n_groups : int
        Number of strata.
    sparse_shifts : bool, default=None
        Whether `held` returns CSR; None: where a dense array would be large.

    Attributes
    ----------
    start : ndarray (n_columns + 1,) of int64
        Column j has the entries start[j]:start[j + 1].
    group, column : ndarray (q,) of int32
        The stratum and the column of each entry.
    sums : ndarray (q,)
        Sum of the column over the rows of the stratum.
    """

    def __init__(self, start, group, sums, n_groups, sparse_shifts=None):
        self.start, self.group, self.sums, self.n_groups = start, group, sums, n_groups
        self.n_columns, self.sparse_shifts = len(start) - 1, sparse_shifts
        self.column = row_index(start, np.int32)
        self._entries, self._tasks = split_rows(len(group), 4), {}

    @cached_property
    def by_group(self):
        """`Grouping` of the entries by stratum."""
        return Grouping(self.group, self.n_groups)

    @property
    def entry_tasks(self):
        """Task table over the entries."""
        return self._entries

    def _table(self, width, n_tasks=None):
        """Return the task table of products with rows of `width` numbers, one row for each entry."""
        if (width, n_tasks) not in self._tasks:
            self._tasks[width, n_tasks] = split_rows(len(self.group), width, n_tasks)
        return self._tasks[width, n_tasks]

    def tmatmul(self, v, H):
        """Return ``V H``, an array (n_groups, K), for the entries v (q,) of V and H (n_columns, K)."""
        n_tasks = min(N_TASKS, max(2, _SPREAD_ENTRIES // (self.n_groups * H.shape[1])))
        tasks = self._table(H.shape[1], n_tasks)
        parts = np.empty((len(tasks) - 1, self.n_groups, H.shape[1]), H.dtype)
        products.pattern_spread(tasks, self.column, self.group, v, H, parts)
        return parts.sum(axis=0)

    def sampled(self, H, S, out):
        """Write ``H[j] . S[s]`` for every entry (j, s) into out (q,)."""
        products.pattern_sampled(self._table(H.shape[1]), self.column, self.group, H, S, out)

    def entries(self, V):
        """Return the values of V (n_groups, n_columns), dense or CSR, on the pattern, an array (q,)."""
        return entries_at(V, self.group, self.column)

    def covering(self, V):
        """Return the pattern extended by the positive entries of V (n_groups, n_columns), dense or CSR."""
        held = self.column.astype(np.int64) * self.n_groups + self.group
        group, column = V.nonzero()
        key = np.union1d(held, column.astype(np.int64) * self.n_groups + group)
        column, group = np.divmod(key, self.n_groups)
        sums = np.zeros(len(key), self.sums.dtype)
        sums[np.searchsorted(key, held)] = self.sums
        start = np.searchsorted(column, np.arange(self.n_columns + 1))
        return Pattern(start.astype(np.int64), group.astype(np.int32), sums, self.n_groups, self.sparse_shifts)

    def places(self, part, columns):
        """Return the position of each entry of the pattern of a part of the data, whose columns are `columns` here."""
        place, slot = np.empty(len(part.group), np.int64), np.empty(self.n_groups, np.int64)
        held = (self.start, self.group)
        products.pattern_places(np.array([0, len(columns)]), columns, part.start, part.group, *held, slot, place)
        return place

    def as_csr(self, v):
        """Return the entries v (q,) as the `CSR` of Vᵀ (n_columns, n_groups) that kernels take; v is not copied."""
        return CSR(self.start, self.group, v)

    def times(self, v, gram):
        """Return ``V gram`` on the pattern, float64 (q,), for the entries v (q,) of V and a sparse gram."""
        shape = self.n_columns, self.n_groups
        product = sp.csr_array(sp.csr_array((v.astype(np.float64), self.group, self.start), shape) @ gram)
        product.sort_indices()
        return entries_at(product, self.column, self.group)

    def row(self, v, group):
        """Return the entries v (q,) of one group as a dense row (n_columns,)."""
        out, mine = np.zeros(self.n_columns, v.dtype), np.flatnonzero(self.group == group)
        out[self.column[mine]] = v[mine]
        return out

    def held(self, v):
        """Return the entries v (q,) as the V (n_groups, n_columns) that the user gets: dense, or CSR with all of v."""
        if not are_sparse(self.sparse_shifts, self.n_groups, self.n_columns):
            return self.dense(v)
        return sp.csr_array(sp.csc_array((v, self.group, self.start), (self.n_groups, self.n_columns)))

    def as_read(self, v):
        """Return the entries v (q,) as a V (n_groups, n_columns) for the functions above, dense or CSR."""
        return as_read(self.held(v))

    def dense(self, v):
        """Return the entries v (q,) as a dense V (n_groups, n_columns)."""
        V = np.zeros((self.n_groups, self.n_columns), v.dtype)
        V.reshape(-1)[self.group * np.int64(self.n_columns) + self.column] = v  # in half the time of two indices
        return V
