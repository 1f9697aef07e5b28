"""Own components of the levels of one factor, in models whose rows have shifts by a design: ``Z V + W H + U(i) G(i)``.

Inner scale: as in `fastnmf.core.losses.own`.
"""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import aligned
from fastnmf.core.losses.design_divergence import DesignKullbackLeibler
from fastnmf.core.losses.own import OwnFrobenius
from fastnmf.core.losses.own_divergence import OwnKullbackLeibler
from fastnmf.core.losses.squared import DesignFrobenius
from fastnmf.core.problem import full
from fastnmf.data.layout import Compressed
from fastnmf.data.shifts import entries_at
from fastnmf.kernels import design_ratios
from fastnmf.kernels.row_intrinsics import padded

DENSE_BELOW = 1 << 24  # numbers of G, and of C, of all levels side by side, up to which they are held as dense arrays


class OwnDesignFrobenius(OwnFrobenius):
    """``||X - Z Vᵀ - W Hᵀ - U G(i)ᵀ||²`` for a fixed design Z >= 0; U and G(i) are those of the level i of each row.

    The factors W, H and G are those of `OwnFrobenius` for the levels of one factor, with zeros in place of its shifts;
    V holds the entries of the shifts on the pattern of the design. With ``C = Zᵀ U`` and ``M = Vᵀ G`` for every level,
    (q, n_levels w) each, the half-gradients are those of `OwnFrobenius` without shifts and of `DesignFrobenius`, and

    - of [W U] in the rows of level i: ``Z M(i)`` more in the columns of U;
    - of G(i): ``V C(i)`` more;
    - of V: ``sum_i G(i) C(i)ᵀ`` more.

    Cost: that of both, and O(nnz(Z) w) and O(nnz(V) n_levels w) for C and the products with it.

    Parameters
    ----------
    strata : fastnmf.data.design.DesignedStrata
        With the levels of its rows, `own`.
    width, tasks, sizes, offset, penalty :
        As for `OwnFrobenius`, of these levels.
    shifts : bool, default=True
        Always True.
    """

    touches = ("W", "H", "G", "V")

    def __init__(self, strata, width, tasks, sizes, offset, penalty, shifts=True):
        super().__init__(strata.own, width, tasks, sizes, offset, penalty, shifts=False)
        self.data, self.of_shifts = strata, DesignFrobenius(strata, width, tasks)
        self._wide = padded(self.strata.n_strata * self.n_own, strata.dtype)
        self._is_dense = self._wide * (strata.shape[1] + strata.n_strata) <= DENSE_BELOW

    def contribute(self, name, factors, sub):
        """Add the half-gradient of W, H, G or V."""
        if name == "V":
            self.of_shifts.contribute(name, factors, sub)
            sub.add(neg=self._met_by_shifts(factors))
            return
        super().contribute(name, factors, sub)
        if name == "G":  # pos may be negative: coordinate descent asks for the difference only
            pos = sub.pos.copy()
            pos[:, 1:] -= self._met_by_entries(factors)
            sub.pos = pos
        elif name == "H":
            sub.add(neg=self.of_shifts._neg("H", factors))
        else:
            sub.add(neg=self.below_rows(factors))

    def unexplained(self, factors):
        """As `OwnFrobenius.unexplained`."""
        return self.data.row_square_sums(self.of_shifts.pattern.as_read(factors["V"]))

    def shift_of(self, factors, row):
        """As `OwnFrobenius.shift_of`."""
        return self.data.shift_rows(self.of_shifts.pattern.as_read(factors["V"]), slice(row, row + 1))[0]

    def below_rows(self, factors):
        """Return the part of neg of [W U] that comes from the shifts, (n_rows, K)."""
        below, M = full(self.of_shifts._neg("W", factors)).copy(), self._inner(factors)
        Z, w = self.data.as_design(), self.n_own
        for code, rows, _ in self.each_stratum():
            if self.sizes[code]:
                part = M[:, code * w : (code + 1) * w]
                part = part.toarray() if sp.issparse(part) else part  # never-densify-ok: a number for each shift
                below[rows, self.offset : self.offset + w] += Z[rows] @ part
        return below

    def _met_by_entries(self, factors):
        """Return ``V C(i)`` on the pattern of the own components, (q, w)."""
        column, group, w = self.pattern.column, self.pattern.group.astype(np.int64), self.n_own
        if self._is_dense:
            product, held = aligned((self.strata.shape[1], self._wide), self.strata.dtype), self.of_shifts.pattern
            Compressed(held.start, held.group, factors["V"]).matmul(self._dense_used(factors), product)
            return np.stack([product[column, group * w + c] for c in range(w)], axis=1)
        product = self._shifts(factors) @ self._used(factors)
        product.sort_indices()
        each = [entries_at(product, column, group * w + c) for c in range(w)]
        return np.stack(each, axis=1).astype(self.strata.dtype)

    def _met_by_shifts(self, factors):
        """Return ``sum_i G(i) C(i)ᵀ`` on the pattern of the shifts, (q,)."""
        held, dtype = self.of_shifts.pattern, self.strata.dtype
        if self._is_dense:
            found = np.empty(len(held.group), dtype)
            held.sampled(self._dense_components(factors), self._dense_used(factors), found)
            return found
        product = sp.csr_array(self._components(factors) @ self._used(factors).T)
        product.sort_indices()
        return entries_at(product, held.column, held.group).astype(dtype)

    def _dense_used(self, factors):
        """Return C as a padded array (q, P)."""

        def compute():
            out, C = aligned((self.data.n_strata, self._wide), self.strata.dtype), self._used(factors)
            out[:, : C.shape[1]] = C.toarray()  # never-densify-ok: at most DENSE_BELOW numbers
            return out

        return factors.cached("dense shifts used", ("W",), compute)

    def _dense_components(self, factors):
        """Return G of all levels side by side as a padded array (n_columns, P)."""

        def compute():
            out, pattern, w = aligned((self.strata.shape[1], self._wide), self.strata.dtype), self.pattern, self.n_own
            columns = pattern.group.astype(np.int64)[:, None] * w + np.arange(w)
            out[pattern.column[:, None], columns] = factors["G"][:, 1:]
            return out

        return factors.cached("dense own", ("G",), compute)

    def _shifts(self, factors):
        """Return V, a csr_array (n_columns, q) of float64."""
        held, shape = self.of_shifts.pattern, (self.strata.shape[1], self.data.n_strata)
        return sp.csr_array((factors["V"].astype(np.float64), held.group, held.start), shape=shape)

    def _components(self, factors):
        """Return G of all levels side by side, a csr_array (n_columns, n_levels w) of float64."""
        w, pattern, E = self.n_own, self.pattern, factors["G"][:, 1:].astype(np.float64)
        columns = (pattern.group[:, None] * w + np.arange(w)).reshape(-1)
        shape = self.strata.shape[1], self.strata.n_strata * w
        return sp.csr_array((E.reshape(-1), columns, pattern.start * w), shape=shape)

    def _used(self, factors):
        """Return ``C = Zᵀ U`` of all levels side by side, a csr_array (q, n_levels w) of float64."""

        def compute():
            w, U = self.n_own, factors["W"][:, self.offset : self.offset + self.n_own].astype(np.float64)
            columns = (self.strata.stratum_index[:, None] * w + np.arange(w)).reshape(-1)
            shape = len(U), self.strata.n_strata * w
            spread = sp.csr_array((U.reshape(-1), columns, np.arange(len(U) + 1) * w), shape=shape)
            found = sp.csr_array(self.data.as_design().T @ spread)
            found.sort_indices()
            return found

        return factors.cached("shifts used", ("W",), compute)

    def _inner(self, factors):
        """Return ``M = Vᵀ G`` of all levels side by side, (q, n_levels w) at least: dense, or a csc_array."""

        def compute():
            if self._is_dense:
                return self.of_shifts.pattern.tmatmul(factors["V"], self._dense_components(factors))
            return sp.csc_array(self._shifts(factors).T @ self._components(factors))

        return factors.cached("shifts with own", ("V", "G"), compute)

    def value(self, factors):
        """Return the squared error, without the penalty."""
        M, C = self._inner(factors), self._used(factors)
        M = M if sp.issparse(M) else M[:, : C.shape[1]]
        crossed = self.of_shifts._crossed(factors) + float(C.multiply(M).sum())
        of_V = factors.cached(("pos", "V"), ("V",), lambda: self.of_shifts._of_shifts(factors["V"]))
        return super().value(factors) + of_V + 2 * crossed

    def _inner_products(self, factors):
        k = factors.rank
        of_data = np.einsum("ea,ea->", factors["G"], self.entry_product(factors), dtype=np.float64)
        return of_data, np.sum(self.row_moments(factors)[:, :, :k] * self.entry_moments(factors))

    def exact_value(self, factors):
        """Return the squared error from the residual itself, one level after the other."""
        total, k, w, V = 0.0, factors.rank, self.n_own, self.of_shifts.pattern.as_read(factors["V"])
        W, H = factors["W"].astype(np.float64), factors["H"][:, :k].astype(np.float64)
        for _, rows, entries in self.each_stratum():
            own_H = np.zeros((len(H), w))
            own_H[self.pattern.column[entries]] = factors["G"][entries, 1:]
            both = np.concatenate([W[rows, :k], W[rows, self.offset : self.offset + w]], axis=1)
            total += self.data.part(rows).residual_square_sum(both, np.concatenate([H, own_H], axis=1), V)
        return total


class OwnDesignKullbackLeibler(OwnKullbackLeibler):
    """The Kullback-Leibler divergence of the model of `OwnDesignFrobenius`.

    Ratio parts: with ``z = x / y`` on the non-zeros, those of [W U], H and G are those of `OwnKullbackLeibler`, and
    those of V those of `DesignKullbackLeibler`. The model is linear in [W U], and in H, all G(i) and V together.

    Cost: that of both.

    Parameters
    ----------
    strata, width, tasks, sizes, offset, penalty, shifts :
        As for `OwnDesignFrobenius`; the penalty is `OwnTotal`.
    """

    touches = ("W", "H", "G", "V")

    def __init__(self, strata, width, tasks, sizes, offset, penalty, shifts=True):
        super().__init__(strata.own, width, tasks, sizes, offset, penalty, shifts=False)
        self.data, self.of_shifts = strata, DesignKullbackLeibler(strata, width, tasks, has_shifts=True)

    def _points(self):
        return ("W", "H", "G", "V")

    def contribute(self, name, factors, sub):
        """Add ``pos`` and ``neg`` of W, H, G or V."""
        if name != "V":
            super().contribute(name, factors, sub)
            return
        sub.is_quadratic, dtype, of_V = False, self.strata.dtype, self.of_shifts
        sub.weight, sub.group = of_V._no_weight, of_V.strata.pattern.group
        sub.add(pos=self.ratio_pass("H", factors)[2].astype(dtype), neg=of_V._counts.astype(dtype, copy=False))

    def value(self, factors):
        """Return the divergence, without the penalty."""
        return super().value(factors) + float(self.of_shifts._counts @ factors["V"])

    def ratio_pass(self, name, factors):
        """As `KullbackLeibler.ratio_pass`; the third result are the sums of V, filled for side H only."""
        product, total, _ = super().ratio_pass(name, factors)
        return product, total, self.of_shifts._sums

    def _add_shifts(self, name, factors, side, tasks):
        of_V = self.of_shifts
        rows = side.indptr, side.indices, of_V._weight, of_V._entries[name]
        design_ratios.csr_design_shifts(tasks, *rows, factors["V"], name == "W", of_V._shift)
        self._part += of_V._shift

    def _sum_by_shift(self, side, tasks):
        of_V = self.of_shifts
        of_V._sums[:] = 0
        rows = side.indptr, side.indices, of_V._weight, of_V._entries["H"]
        design_ratios.csr_design_sums(tasks, *rows, self._ratio, of_V._sums)


DESIGN_KINDS = OwnDesignFrobenius, OwnDesignFrobenius, OwnDesignKullbackLeibler
