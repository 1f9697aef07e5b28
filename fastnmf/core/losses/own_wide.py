"""The squared error with many own components of each stratum, as tied ones are, in products of dense blocks."""

import numpy as np

from fastnmf.core.factors import aligned, padded
from fastnmf.core.losses.own import OwnFrobenius
from fastnmf.core.losses.squared import Frobenius
from fastnmf.data.layout import Compressed
from fastnmf.kernels import products
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.jit import split_rows


class WideOwnFrobenius(OwnFrobenius):
    """`OwnFrobenius` for many own components w of a stratum: the same numbers to rounding, in less time.

    The entries of the pattern that belong to one stratum are rows of dense blocks, whose products with Gram matrices
    and moments are those of BLAS. Products with the data walk rows of w numbers, as those of shared components do:
    ``A(i) [H G(i)]`` takes the rows ``[H G(i)]`` of the pattern in place of the rows of H, and ``A(i)ᵀ U(i)`` sorts the
    non-zeros of the data by the entries of the pattern that they meet. For tied components both are products with one
    factor: ``A(i) (H + D(i))``, and ``A(i)ᵀ W(i)``, whose sums over the strata are ``Aᵀ W``.

    Cost: that of `OwnFrobenius`. In memory a second copy of sparse data by columns, and ``2 q K`` numbers.

    Parameters
    ----------
    strata, width, tasks, sizes, offset, penalty, shifts :
        As for `OwnFrobenius`.
    """

    def __init__(self, strata, width, tasks, sizes, offset, penalty, shifts=True):
        super().__init__(strata, width, tasks, sizes, offset, penalty, shifts)
        column = self.pattern.column
        self._blocks = [(code, entries, column[entries]) for code, _, entries in self.each_stratum()]
        if not strata.is_sparse:
            return
        side, n_entries, K = strata.columns, len(column), width if not offset else padded(self.n_own, strata.dtype)
        places, order = self._places["H"], np.argsort(self._places["H"], kind="stable")
        start = np.concatenate([[0], np.cumsum(np.bincount(places, minlength=n_entries))])
        self._by_entry = Compressed(start, side.indices[order], side.data[order])
        self._by_place = Compressed(strata.rows.indptr, self._places["W"], strata.rows.data)
        self._of_entries, self._tall = (aligned((n_entries, K), strata.dtype) for _ in range(2))
        self._of_rows = aligned((strata.shape[0], K), strata.dtype) if offset else self._row_pos
        self._each_entry, self._columns = np.arange(n_entries), split_rows(strata.shape[1], K)

    def contribute(self, name, factors, sub):
        """Add the half-gradient of W, H or G."""
        if name == "W":
            super().contribute(name, factors, sub)
        elif name == "H":
            if self.strata.is_sparse and not self.offset:
                self.product("H", factors)
            Frobenius.contribute(self, name, factors, sub)
            sub.add(neg=self._own_part_of_H(factors))
        else:
            sub.group, sub.order_of_rows = self.pattern.group, self.of_entries.order
            sub.add(gram=self.entry_grams(factors), pos=self.entry_product(factors), neg=self._below_entries(factors))
            if self.is_common and self.moves_shifts:
                sub.common = self._common_shift(factors)

    def _own_part_of_H(self, factors):
        """Return ``sum_i [v G(i)] M(i)``, an array (n_columns, K)."""
        M, E, out = self.row_moments(factors), factors["G"], np.zeros_like(factors["H"])
        with single_threaded_blas():
            if self.is_common:
                out += np.outer(self.shift(factors), M[:, 0].sum(axis=0).astype(E.dtype))
            first = int(self.is_common)
            for code, entries, column in self._blocks:
                out[column] += E[entries, first:] @ M[code, first:].astype(E.dtype)
        return out

    def _below_entries(self, factors):
        """Return the array of `EntryProducts`, (q, 1 + w)."""
        M, H, out = self.row_moments(factors), factors["H"], np.zeros_like(factors["G"])
        with single_threaded_blas():
            for code, entries, column in self._blocks:
                out[entries] = H[column] @ M[code].T.astype(H.dtype)
        return out

    def entry_moments(self, factors):
        """Return ``[v G(i)]ᵀ [H v G(i)]`` of every stratum, (n_strata, 1 + w, k + 1 + w) of float64."""

        def compute():
            H, E, k = factors["H"], factors["G"], factors.rank
            found = np.zeros((self.strata.n_strata, E.shape[1], k + E.shape[1]))
            with single_threaded_blas():
                for code, entries, column in self._blocks:
                    own = E[entries].astype(np.float64)
                    found[code, :, :k] = own.T @ H[column, :k].astype(np.float64)
                    found[code, :, k:] = own.T @ own
                if self.is_common:  # strata that do not use a column have the shift, too
                    v = self.shift(factors).astype(np.float64)
                    found[:, 0, :k], found[:, 0, k] = v @ H[:, :k].astype(np.float64), v @ v
            return found

        return factors.cached("entry moments", ("H", "G"), compute)

    def row_product(self, factors):
        """Return ``A(i) [H G(i)]``, (n_rows, K); the array is overwritten by the next call that computes."""
        if not self.strata.is_sparse:
            return super().row_product(factors)

        def compute():
            out, tall, w = self._row_pos, self._tall, self.n_own
            if not self.offset:
                np.take(factors["H"], self.pattern.column, axis=0, out=tall)
                tall[:, :w] += factors["G"][:, 1:]
            else:
                self.strata.matmul(factors["H"], out)
                tall[:, :w] = factors["G"][:, 1:]
            self._by_place.matmul(tall, self._of_rows)
            if self.offset:
                out[:, self.offset : self.offset + w] += self._of_rows[:, :w]
            return out

        return factors.cached("row product", ("H", "G"), compute)

    def entry_product(self, factors):
        """Return ``A(i)ᵀ [u U(i)]`` on the pattern, (q, 1 + w); the array is overwritten by the next such call."""
        if not self.strata.is_sparse:
            return super().entry_product(factors)

        def compute():
            U, w = factors["W"], self.n_own
            if self.offset:
                U = self._of_rows
                U[:, :w] = factors["W"][:, self.offset : self.offset + w]
            self._by_entry.matmul(U, self._of_entries)
            self._entry_pos[:, 1:] = self._of_entries[:, :w]
            return self._entry_pos

        return factors.cached("entry product", ("W",), compute)

    def product(self, name, factors):
        """Return ``X H`` for name W, ``Xᵀ W`` for name H; that of tied components is the sum of ``A(i)ᵀ W(i)``."""
        if name != "H" or self.offset or not self.strata.is_sparse:
            return super().product(name, factors)

        def compute():
            self.entry_product(factors)
            out = self._products.setdefault(name, aligned(factors["H"].shape, self.strata.dtype))
            products.groups_sum(self._columns, self.pattern.start, self._each_entry, self._of_entries, out)
            return out

        return factors.cached(("product", name), ("W",), compute)
