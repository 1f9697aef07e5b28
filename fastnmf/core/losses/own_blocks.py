"""The squared error with tied own components, whose products with the data are those of one factor."""

from typing import NamedTuple

import numpy as np

from fastnmf.core.factors import aligned, padded
from fastnmf.core.losses.own import OwnFrobenius, summed_pieces
from fastnmf.data.layout import Compressed
from fastnmf.kernels import own_blocks, products
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.jit import N_TASKS, split_costs, split_rows

# Entries of a stratum in a block of columns, on average. Entries are updated block by block, so that they stay in the
# cache while one stratum follows the other: an iteration on 20 newsgroups took four fifths of the time.
PER_BLOCK = 256


class BlockProducts(NamedTuple):
    """As `fastnmf.core.losses.own.EntryProducts`, for `BlockHALS`.

    Attributes
    ----------
    entries : ndarray (q, 2) of int32
        Column and stratum of each row.
    H : ndarray (m, K)
    sums : ndarray (S, 1 + w, K), dtype of H
    """

    entries: np.ndarray
    H: np.ndarray
    sums: np.ndarray

    def full(self):
        """Return the array (q, 1 + w)."""
        column, group = self.entries.T
        return np.einsum("eac,ec->ea", self.sums[group], self.H[column])


class TiedFrobenius(OwnFrobenius):
    """`OwnFrobenius` for tied components, ``W(i) (H + D(i))ᵀ``: the same numbers to rounding, in less time.

    ``A(i) (H + D(i))`` is one product with the rows ``H + D(i)`` of the pattern. ``A(i)ᵀ W(i)`` on the pattern is one,
    too: it sorts the non-zeros of the data by the entries of the pattern that they meet; its sums over the strata are
    ``Aᵀ W``.

    Cost: that of `OwnFrobenius`. In memory a second copy of sparse data by columns, and ``2 q K`` numbers.

    Parameters
    ----------
    strata, width, tasks, sizes, offset, penalty, shifts :
        As for `OwnFrobenius`; the offset is 0.
    """

    def __init__(self, strata, width, tasks, sizes, offset, penalty, shifts=True):
        super().__init__(strata, width, tasks, sizes, offset, penalty, shifts)
        pattern, size, n_entries = self.pattern, 1 + self.n_own, len(self.pattern.group)
        self._entries = np.stack([pattern.column, pattern.group], axis=1).astype(np.int32)
        self._columns_of_numbers = np.repeat(pattern.column.astype(np.int32), size)
        self._rows_of_sums = (size * pattern.group[:, None] + np.arange(size)).astype(np.int32).reshape(-1)
        n_blocks = max(1, n_entries // (PER_BLOCK * strata.n_strata))
        block = pattern.column.astype(np.int64) * n_blocks // strata.shape[1]
        self._in_blocks = np.argsort(block * strata.n_strata + pattern.group, kind="stable")

    def _index_rows(self):
        super()._index_rows()
        strata, width, n_entries = self.strata, self.width, len(self.pattern.group)
        if not strata.is_sparse:
            return
        side, places = strata.columns, self._places["H"]
        order = np.argsort(places, kind="stable")
        start = np.concatenate([[0], np.cumsum(np.bincount(places, minlength=n_entries))])
        self._by_entry = Compressed(start, side.indices[order], side.data[order])
        self._by_place = Compressed(strata.rows.indptr, self._places["W"], strata.rows.data)
        self._of_entries, self._dictionaries = (aligned((n_entries, width), strata.dtype) for _ in range(2))
        self._each_entry, self._columns = np.arange(n_entries), split_rows(strata.shape[1], width)

    def contribute(self, name, factors, sub):
        """Add the half-gradient of W, H or G."""
        if name == "H" and self.strata.is_sparse:
            self.product("H", factors)  # without another pass over the data
        super().contribute(name, factors, sub)
        if name == "G":
            sub.order_of_rows, sub.neg = self._in_blocks, BlockProducts(self._entries, *sub.neg[2:])

    def entry_moments(self, factors):
        """Return ``[v G(i)]ᵀ H`` of every stratum, (n_strata, 1 + w, k) of float64."""

        def compute():
            H, E, k, S = factors["H"], factors["G"], factors.rank, self.strata.n_strata
            n_sums = S * E.shape[1]
            tasks = split_rows(E.size, H.shape[1], min(N_TASKS, max(2, (1 << 22) // (n_sums * H.shape[1]))))
            parts = np.empty((len(tasks) - 1, n_sums, H.shape[1]), H.dtype)
            products.pattern_spread(tasks, self._columns_of_numbers, self._rows_of_sums, E.reshape(-1), H, parts)
            found = parts.sum(axis=0, dtype=np.float64).reshape(S, E.shape[1], -1)[:, :, :k]
            if self.is_common:  # strata that do not use a column have the shift, too
                with single_threaded_blas():
                    found[:, 0] = self.shift(factors).astype(np.float64) @ H[:, :k].astype(np.float64)
            return found

        return factors.cached("entry moments", ("H", "G"), compute)

    def entry_squares(self, factors):
        """Return ``[v G(i)]ᵀ [v G(i)]`` of every stratum, (n_strata, 1 + w, 1 + w) of float64."""

        def compute():
            E, pieces = factors["G"], self.of_entries
            parts = np.empty((pieces.first[-1], *[padded(E.shape[1], E.dtype)] * 2))
            tasks = split_costs(pieces.bounds, parts.shape[1])
            own_blocks.blocks_gram(tasks, pieces.bounds, pieces.order, E, parts)
            upper = summed_pieces(parts, pieces.first)[:, : E.shape[1], : E.shape[1]]
            both = upper + upper.transpose(0, 2, 1)
            np.einsum("saa->sa", both)[:] /= 2  # exactly
            if self.is_common:
                v = self.shift(factors).astype(np.float64)
                both[:, 0, 0] = v @ v
            return both

        return factors.cached("entry squares", ("G",), compute)

    def row_product(self, factors):
        """Return ``A(i) (H + D(i))``, (n_rows, K); the array is overwritten by the next call that computes."""
        if not self.strata.is_sparse:
            return super().row_product(factors)

        def compute():
            tasks, column = split_rows(len(self._dictionaries), self.width), self.pattern.column
            own_blocks.blocks_dictionaries(tasks, column, factors["H"], factors["G"], self._dictionaries)
            self._by_place.matmul(self._dictionaries, self._row_pos)
            return self._row_pos

        return factors.cached("row product", ("H", "G"), compute)

    def entry_product(self, factors):
        """Return ``A(i)ᵀ [u W(i)]`` on the pattern, (q, 1 + w); the array is overwritten by the next such call."""
        if not self.strata.is_sparse:
            return super().entry_product(factors)

        def compute():
            self._by_entry.matmul(factors["W"], self._of_entries)
            self._entry_pos[:, 1:] = self._of_entries[:, : self.n_own]
            return self._entry_pos

        return factors.cached("entry product", ("W",), compute)

    def product(self, name, factors):
        """Return ``X H`` for name W; for name H ``Xᵀ W``, the sums of ``A(i)ᵀ W(i)``."""
        if name != "H" or not self.strata.is_sparse:
            return super().product(name, factors)

        def compute():
            self.entry_product(factors)
            out = self._products.setdefault(name, aligned(factors["H"].shape, self.strata.dtype))
            products.groups_sum(self._columns, self.pattern.start, self._each_entry, self._of_entries, out)
            return out

        return factors.cached(("product", name), ("W",), compute)
