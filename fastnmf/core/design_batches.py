"""Fit designs to rows that arrive in batches: the sums that are stored beside those of `fastnmf.core.batches`.

With a design Z the objective of given W needs these sums over the rows, none of which has a number for each row:

    F(V, H) = n2 - 2 <H, N> + <G, HᵀH> + <V, V ZᵀZ> - 2 <V, AᵀZ> + 2 <V, H (WᵀZ)>

Inner scale: as in `fastnmf.core.batches`.
"""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.batches import Statistics, StrataStatistics, merged
from fastnmf.core.problem import LazyRows, Subproblem
from fastnmf.core.thresholds import tiny
from fastnmf.core.updates import PatternHALS
from fastnmf.data.design import Design
from fastnmf.data.labels import places
from fastnmf.data.layout import row_index
from fastnmf.data.shifts import entries_at


class DesignStatistics(StrataStatistics):
    """As `StrataStatistics`, for rows that have several shifts, or shifts by degrees; strata are the columns of Z.

    New levels of a factor may appear at any time: the weights of their first rows are computed with the mean level of
    the factor. O(m K + q K + nnz(AᵀZ) + nnz(ZᵀZ)) numbers. All sums decay alike, so that they stay those of some rows.

    Attributes
    ----------
    learned : fastnmf.data.design.Design
        The factors and levels so far; `labels` are the names of the columns of Z.
    cross : csr_array (q, q) of float64
        ``ZᵀZ``.
    """

    def start(self, data, H, v=None):
        """Initialise as `StrataStatistics.start`; the shifts begin at v."""
        super().start(data, H, v)
        n, own = self.H.shape[0], data.pattern
        self.learned, self.cross = data.learned, sp.csr_array((len(self.labels), len(self.labels)))
        self._set_columns(sp.csr_array((np.zeros(len(own.group)), own.group, own.start), (n, len(self.labels))))
        self.v = v.astype(self.dtype)
        return self

    def restart(self, data, H, v=None):
        """Initialise as `start` does, but keep the levels and the design of the rows so far, which were all zero."""
        learned, sizes, cross = self.learned, self.sizes, self.cross
        Statistics.restart(self, data, H, v)
        self._grow(learned)
        place = columns_in(learned, self.learned)
        self.sizes[place] += sizes
        self.cross = self.cross + _moved(cross, place, len(self.labels))
        return self

    _state_names = (*StrataStatistics._state_names, "cross")

    def to_state(self):
        """As `Statistics.to_state`, with the design as a dict."""
        return super().to_state() | {"learned": self.learned.to_state()}

    @classmethod
    def from_state(cls, state):
        """Return the statistics whose `to_state` returned `state`."""
        found = super().from_state(state)
        found.learned = Design.from_state(state["learned"])
        return found

    def visit(self, batch):
        """As `Statistics.visit`; the data of a new batch know their own `Design`, `learned`."""
        learned = batch.data.learned
        self._grow(learned)
        self._place = columns_in(learned, self.learned)
        super().visit(batch)
        batch.data.learned = learned

    def _decay(self):
        Statistics._decay(self)
        self.sizes, self.sums, self.cross = (F * self.forget_factor for F in (self.sizes, self.sums, self.cross))
        self.columns.data *= self.forget_factor

    def _under(self, data):
        return data.lazy_shifts(self._below[self._place])

    def _places(self, data):
        return self._place

    def _admit(self, labels):
        """Do nothing: `visit` has extended the arrays."""

    def _grow(self, learned):
        """Extend the arrays by the levels of a batch that are new."""
        whole = merged_designs(self.learned, learned)
        n_before, n = len(self.labels), len(whole.names)
        if n == n_before:
            return
        if self._last_pass is not None:
            raise ValueError(
                "A block of a later pass has levels that the first pass did not have; give the same blocks in every "
                "pass."
            )
        place = columns_in(self.learned, whole)
        below, sizes, sums = np.zeros((n, self.H.shape[1]), self.dtype), np.zeros(n), np.zeros((n, self.H.shape[1]))
        below[place], sizes[place], sums[place] = self._below, self.sizes, self.sums
        is_new = np.ones(n, bool)
        is_new[place] = False
        for block in whole.blocks:
            known = np.where(is_new[block], 0.0, np.maximum(sizes[block], tiny()))  # rows may have no weight
            below[block][is_new[block]] = known @ below[block] / known.sum()
        self.learned, self.labels, self._below, self.sizes, self.sums = whole, whole.names, below, sizes, sums
        self.cross = _moved(self.cross, place, n)
        columns = self.columns  # the entries of V keep their order
        columns = sp.csr_array((columns.data, place[columns.indices], columns.indptr), shape=(len(self.N), n))
        super()._set_columns(columns)

    def _add_strata(self, batch):
        super()._add_strata(batch)
        if batch.is_new:
            self.cross = self.cross + _moved(batch.data.gram, self._place, len(self.labels))

    def _set_columns(self, columns):
        before, v = getattr(self, "pattern", None), getattr(self, "v", ())
        super()._set_columns(columns)
        if before is not None and before.n_groups == self.pattern.n_groups and len(v) == len(before.group):
            V = sp.csr_array((v, before.group, before.start), columns.shape)
            self.v = entries_at(V, self.pattern.column, self.pattern.group)

    def _move(self, pos):
        """Update V and H so that F does not increase."""
        _, alternations, n_sweeps = self.sweeps
        sums, pattern, update = self.sums.astype(self.dtype), self.pattern, PatternHALS()
        below, of_v = np.empty_like(self.v), Subproblem(pattern.entry_tasks)
        for last in [False] * alternations + [True]:
            pattern.sampled(self.H, sums, below)
            of_v.clear()
            of_v.pattern = pattern
            of_v.add(gram=self.cross, pos=pattern.sums, neg=below)
            own, crossed = update(self.v, of_v, self.rank, 1)
            if not last:
                of_H = self._update_H(pos, LazyRows(pattern.start, pattern.group, self.v, sums), n_sweeps)
        self.value = max(0.0, self.sq_norm + of_H + own + 2 * crossed)
        self._below = pattern.tmatmul(self.v, self.H)


def _moved(gram, place, n):
    """Return a csr_array (n, n) that holds the rows and columns of another at the places `place`."""
    return sp.csr_array((gram.data, (place[row_index(gram)], place[gram.indices])), shape=(n, n))


def merged_designs(one, other):
    """Return the `Design` with the levels of two; raise ValueError where these do not have the same factors."""
    is_matrix = one.kind == "matrix"
    if (one.kind, one.factors) != (other.kind, other.factors) or is_matrix and len(one.names) != len(other.names):
        names = [", ".join(found.factors) or f"{len(found.names)} columns" for found in (one, other)]
        raise ValueError(
            f"The design of this batch has {names[1]}, but that of the batches before had {names[0]}; give all batches "
            "the same factors, or the same columns."
        )
    if is_matrix:
        return one
    levels = [merged(*each) for each in zip(one.levels, other.levels, strict=True)]
    return Design.of_levels(one.kind, one.factors, levels, one.has_exposure)


def columns_in(part, whole):
    """Return the place of each column of a `Design` among those of another, which has them all."""
    if part.kind == "matrix":
        return np.arange(len(part.names))
    each = zip(part.levels, whole.levels, whole.blocks, strict=True)
    of_levels = [block.start + places(labels, known) for labels, known, block in each]
    return np.concatenate([np.arange(whole.blocks[0].start), *of_levels])
