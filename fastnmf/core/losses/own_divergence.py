"""The Kullback-Leibler divergence of a model in which every stratum has a shift and components of its own."""

import numpy as np

from fastnmf.core.losses.divergences import KullbackLeibler
from fastnmf.core.losses.own import OwnFrobenius, OwnPenalty
from fastnmf.kernels import divergence, own, own_ratios
from fastnmf.kernels.records import CSR, LazyRows, ShiftedProduct


class OwnKullbackLeibler(KullbackLeibler):
    """``sum_i D(A(i) | u v(i)ᵀ + W(i) Hᵀ + U(i) G(i)ᵀ)``, D the generalised Kullback-Leibler divergence.

    The factors are those of `OwnFrobenius`: W holds ``[W U]``, H has zeros in the columns of U, and G (q, 1 + w) holds
    ``[v G]`` on the pattern of the strata. With ``offset = 0``, U is W itself.

    Ratio parts, with ``z = x / y`` on the non-zeros and z(i) those of the rows of stratum i (Lee and Seung 2001):

    - of [W U] in the rows of stratum i: pos is ``z [H G(i)]``, neg the column sums of ``[H G(i)]``;
    - of H: pos is ``zᵀ W``, neg the column sums of W;
    - of [v G(i)]: pos is ``z(i)ᵀ [u U(i)]``, neg the column sums of ``[u U(i)]``.

    In neg the sums of U and G count 1 + penalty times, which is the half-gradient of `OwnTotal`. The model is linear in
    [W U], and in H together with all [v G(i)], so an iteration takes two passes, and each lowers the objective.

    Cost: O(nnz (K + w)) for a pass; a number of the data's dtype is held for each non-zero of the data.

    Source: CSMF (Zhang and Zhang 2019, Nucleic Acids Research 47:13) has the squared error of this model.

    Parameters
    ----------
    strata, width, tasks, sizes, offset, penalty, shifts :
        As for `OwnFrobenius`; the penalty is `OwnTotal`.
    """

    touches = ("W", "H", "G")

    shift, unshifted = OwnFrobenius.shift, OwnFrobenius.unshifted
    each_stratum, entries_of = OwnFrobenius.each_stratum, OwnFrobenius.entries_of

    def __init__(self, strata, width, tasks, sizes, offset, penalty, shifts=True):
        super().__init__(strata, width, tasks)
        self.pattern, self.groups, self.offset, self.penalty = strata.pattern, strata.groups, offset, penalty
        self.is_common, self.moves_shifts = shifts == "common", shifts is not False
        self._index_shifts()
        self.of_rows, self.sizes, self.n_own = self.sizes.astype(np.float64), sizes, int(sizes.max())
        self.of_entries = self.pattern.by_group
        n_values = len(self._ratio)
        self._part = np.empty(n_values, strata.dtype)
        self._each = np.arange(n_values, dtype=np.uint32).view(np.int32)  # the kernel reads them as unsigned
        self._entry_pos = np.zeros((len(self.pattern.group), 2 + self.n_own), strata.dtype)
        self._no_scale, self._no_sums = np.empty(0, strata.dtype), np.empty(0)

    def _points(self):
        return ("W", "H", "G")

    def contribute(self, name, factors, sub):
        """Add ``pos`` and ``neg`` of W, H or G."""
        sub.is_quadratic, dtype = False, self.strata.dtype
        pos = self.ratio_pass("W" if name == "W" else "H", factors)[0]
        if name == "W":
            below = LazyRows.of(self._below_rows(factors).astype(dtype), self.strata.stratum_index)
            sub.add(pos=pos, neg=below)
        elif name == "H":
            sub.add(pos=pos, neg=self._neg(name, factors))
        else:
            sub.add(**self._entry_parts(factors))

    def ratio_sums(self):
        """Return ``z(i)ᵀ [u U(i)]`` on the pattern, of the last pass over columns, float64 (q, 1 + w)."""
        return self._entry_pos[:, 1:].astype(np.float64)

    def _below_rows(self, factors):
        """Return neg of [W U] for each stratum, (n_strata, K) of float64."""
        own_part, totals = slice(self.offset, self.offset + self.n_own), self._totals("H", factors)
        below = np.repeat(totals[None], self.strata.n_strata, axis=0)
        below[:, own_part] += (1 + self.penalty) * self.entry_sums(factors)[:, 1:]
        return below

    def _entry_parts(self, factors):
        """Return pos and neg of G, arrays (q, 1 + w); shifts that do not move have the ratio 1."""
        pattern, scale = self.pattern, np.full(1 + self.n_own, 1 + self.penalty)
        scale[0] = 1
        pos = self.ratio_sums().astype(self.strata.dtype)
        neg = (scale * self.row_sums(factors))[pattern.group].astype(pos.dtype)
        if not self.moves_shifts:
            pos[:, 0] = neg[:, 0] = 1
        elif self.is_common:  # rows of strata that do not use a column have the shift there, too
            pos[:, 0] = np.bincount(pattern.column, pos[:, 0], pattern.n_columns)[pattern.column]
            neg[:, 0] = self.of_rows.sum()
        return {"pos": pos, "neg": neg}

    def value(self, factors):
        """Return the divergence, without the penalty; its pass is the one that the next update of W needs as well."""
        of_rows, of_entries = self.row_sums(factors), self.entry_sums(factors)
        model = float(self._totals("W", factors) @ self._totals("H", factors)) + float(np.sum(of_rows * of_entries))
        if self.is_common:
            model += float(of_rows[:, 0].sum() * self.shift(factors).sum(dtype=np.float64))
            model -= float(of_rows[:, 0] @ of_entries[:, 0])
        return self.ratio_pass("W", factors)[1] - self.total + model

    def row_sums(self, factors):
        """Return the column sums of ``[u U(i)]`` of every stratum, (n_strata, 1 + w) of float64."""

        def compute():
            sums = sums_of_columns(factors["W"], self.offset, self.n_own, self.groups)
            return np.concatenate([self.of_rows[:, None], sums], axis=1)

        return factors.cached("row sums", ("W",), compute)

    def entry_sums(self, factors):
        """Return the column sums of ``[v G(i)]`` of every stratum, (n_strata, 1 + w) of float64."""
        given = 0, 1 + self.n_own, self.of_entries
        return factors.cached("entry sums", ("G",), lambda: sums_of_columns(factors["G"], *given))

    def _weights(self, factors):
        """Return ``[u U]``, an array (n_rows, 1 + w)."""

        def compute():
            out = np.ones((self.strata.shape[0], 1 + self.n_own), self.strata.dtype)
            if len(self._loading):
                out[:, 0] = self._loading
            out[:, 1:] = factors["W"][:, self.offset : self.offset + self.n_own]
            return out

        return factors.cached("own weights", ("W",), compute)

    def _walk(self, name, factors, side, tasks, out, sums):
        weights, places, E = self._weights(factors), self._places[name], factors["G"]
        own_ratios.csr_own_parts(tasks, side.indptr, side.indices, places, weights, E, name == "W", self._part)
        self._add_shifts(name, factors, side, tasks)
        model = ShiftedProduct(*self._both(name, factors), self._part, self._each, self._no_scale)
        parts = np.empty(len(tasks) - 1)
        divergence.csr_shifted_ratio(tasks, side.csr, model, self.floor, self._ratio, out, parts, self._no_sums)
        if name == "W":
            own.strata_matmul(tasks, CSR(side.indptr, places, self._ratio), E, self.offset, out)
        else:
            ratios = CSR(side.indptr, side.indices, self._ratio)
            own.strata_tmatmul(tasks, ratios, self.pattern.start, places, weights, self._entry_pos)
            self._sum_by_shift(side, tasks)
        return float(parts.sum())

    def _add_shifts(self, name, factors, side, tasks):
        """Add the shifts of a design to the model at the entries; here shifts are the first own components.

        Parameters
        ----------
        name : {"W", "H"}
        factors : Factors
        side : Side
            The data by rows or by columns.
        tasks : ndarray of int64
        """

    def _sum_by_shift(self, side, tasks):
        """Sum the ratios by shift of a design, on side H."""


class OwnTotal(OwnPenalty):
    """``penalty sum_i sum U(i) G(i)ᵀ``: what own components explain of the total, in the unit of the divergence.

    Like the penalty of the squared error, it does not depend on how the scale is divided between U and G. Own
    components have to fit counts that they take over better than the rest of the model does: at a minimum the mean
    ratio ``x / y`` of the counts of an own component is 1 + penalty, where it is 1 for a shared one.

    Its half-gradients are in the parts of `OwnKullbackLeibler`. Cost: O(n_strata w).

    Parameters
    ----------
    of_data : OwnKullbackLeibler
    """

    def value(self, factors):
        """Return the penalty."""
        loss = self.of_data
        return loss.penalty * float(np.sum(loss.row_sums(factors)[:, 1:] * loss.entry_sums(factors)[:, 1:]))


def sums_of_columns(F, offset, width, grouping):
    """Return the sums of some columns of F by group, (n_groups, width) of float64.

    Parameters
    ----------
    F : ndarray (p, K)
    offset, width : int
        First column, and number of columns.
    grouping : fastnmf.data.layout.Grouping
    """
    found = np.empty((grouping.n_groups, width))
    for c in range(width):
        found[:, c] = np.bincount(grouping.stratum_index, F[:, offset + c], grouping.n_groups)
    return found
