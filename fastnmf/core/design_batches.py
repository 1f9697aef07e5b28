"""Fit designs to rows that arrive in batches: the sums that are stored beside those of `fastnmf.core.batches`.

With a design Z the squared error of given W needs these sums over the rows, none of which has a number for each row:

    F(V, H) = n2 - 2 <H, N> + <G, HᵀH> + <V, V ZᵀZ> - 2 <V, AᵀZ> + 2 <V, H (WᵀZ)>

A smoothness penalty ``tr(V L Vᵀ)`` adds L to ``ZᵀZ``. Under Kullback-Leibler V has numerators and denominators, as the
shifts of strata have: the denominator of the entries of a column of Z is the sum of this column.

Inner scale: as in `fastnmf.core.batches`.
"""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.batches import ENTRIES, Statistics, StrataStatistics, merged, strata_decay
from fastnmf.core.problem import LazyRows, Subproblem
from fastnmf.core.ratio_batches import RatioStatistics, StrataRatioStatistics
from fastnmf.core.thresholds import tiny
from fastnmf.core.updates import LinkedLevels, PatternHALS
from fastnmf.data.design import covered
from fastnmf.data.labels import places
from fastnmf.data.layout import row_index
from fastnmf.data.levels import Design
from fastnmf.data.sentences import shown
from fastnmf.data.shifts import Pattern, entries_at
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.designs import quadratic_form


class LearnsDesign:
    """Mixin of statistics whose strata are the columns of a design Z; precedes those of strata.

    New levels of a factor may appear at any time, in any batch.

    Attributes
    ----------
    learned : fastnmf.data.design.Design
        The factors and levels so far; `labels` are the names of the columns of Z.
    """

    def to_state(self):
        """As `Statistics.to_state`, with the design as a dict."""
        return super().to_state() | {"learned": self.learned.to_state()}

    @classmethod
    def from_state(cls, state):
        """Return the statistics whose `to_state` returned `state`."""
        learned = Design.from_state(state["learned"])
        return super().from_state(state | {"learned": learned})

    def visit(self, batch):
        """As `Statistics.visit`; the data of a new batch know their own `Design`, `learned`."""
        self._grow(batch.data.learned)
        super().visit(batch)

    def _places(self, data):
        """Return the place of each column of the design of a batch among all columns."""
        return columns_in(data.learned, self.learned)

    def _admit_labels(self, labels):
        """Do nothing: `visit` has extended the arrays."""

    def _grow(self, learned):
        """Extend the arrays by the levels of a batch that are new."""
        whole = merged_designs(self.learned, learned)
        if len(whole.names) == len(self.labels):
            return
        if self._last_pass is not None:
            raise ValueError(
                "A block of a later pass has levels that the first pass did not have; give the same blocks in every "
                "pass."
            )
        self._extend(whole, columns_in(self.learned, whole))


class DesignStatistics(LearnsDesign, StrataStatistics):
    """As `StrataStatistics`, for rows that have several shifts, or shifts by degrees; strata are the columns of Z.

    The weights of the first rows of a new level are computed with the mean level of its factor. O(m K + q K +
    nnz(AᵀZ) + nnz(ZᵀZ)) numbers.

    Attributes
    ----------
    learned :
        As for `LearnsDesign`.
    cross : csr_array (q, q) of float64
        ``ZᵀZ``.
    smoothness : float, or dict of factor -> float
        As for `StratifiedNMF`; `smooth` changes it.
    """

    smoothness, _smoothed, _is_again = 0.0, None, False

    def start(self, data, H, v=None):
        """Initialise as `StrataStatistics.start`; the shifts begin at v."""
        self.learned, self.cross = data.learned, sp.csr_array((len(data.labels), len(data.labels)))
        super().start(data, H, v)
        self.labels, n, own = self.learned.names, self.H.shape[0], data.pattern
        self._set_columns(sp.csr_array((np.zeros(len(own.group)), own.group, own.start), (n, len(self.labels))))
        V = sp.csr_array((v, own.group, own.start), (n, len(self.labels)))
        self.v = entries_at(V, self.pattern.column, self.pattern.group).astype(self.dtype)
        self._give_mean_level(self._below, data.groups.sizes == 0, data.groups.sizes)
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

    _state_names = (*StrataStatistics._state_names, "cross", "learned", "smoothness")

    @classmethod
    def from_state(cls, state):
        """Return the statistics whose `to_state` returned `state`."""
        return super().from_state({"smoothness": 0.0} | state)

    def smooth(self, smoothness):
        """Choose how much successive levels are drawn together."""
        if smoothness != self.smoothness:
            self.smoothness = smoothness
            if hasattr(self, "columns"):
                self._set_columns(self.columns)

    @property
    def laplacian(self):
        """L of the smoothness penalty for the levels so far, a csr_array (q, q), or None."""
        if self._smoothed is None or self._smoothed[0] is not self.learned or self._smoothed[1] != self.smoothness:
            self._smoothed = self.learned, self.smoothness, self.learned.laplacian(self.smoothness)
        return self._smoothed[2]

    @property
    def shift_penalty(self):
        """The value of the smoothness penalty, ``tr(V L Vᵀ)``."""
        return 0.0 if self.laplacian is None else quadratic_form(self.pattern.as_csr(self.v), self.laplacian)

    def of_shifts(self, V):
        """Return ``||Z V||² - 2 <Z V, A>`` over the rows so far."""
        return quadratic_form(self.pattern.as_csr(self.v), self.cross) - 2 * float(self.columns.data @ self.v)

    def _decay(self):
        """Let all sums decay alike, so that they stay those of some rows; but a level that stays away keeps its shift.

        Of its rows so little is left that the sums of others do not notice. All sums, and V, are >= 0: F stays bounded.
        """
        Statistics._decay(self)
        each = strata_decay(self.sizes, self.forget_factor)
        cross = self.cross.copy()
        cross.data *= np.maximum(each[row_index(cross)], each[cross.indices])
        self.sizes, self.sums, self.cross = self.sizes * each, self.sums * each[:, None], cross
        self.columns.data *= each[self.columns.indices]

    def _under(self, data):
        return data.lazy_shifts(self._below[self._places(data)])

    def _extend(self, whole, place):
        n = len(whole.names)
        below, sizes, sums = np.zeros((n, self.H.shape[1]), self.dtype), np.zeros(n), np.zeros((n, self.H.shape[1]))
        below[place], sizes[place], sums[place] = self._below, self.sizes, self.sums
        is_new = np.ones(n, bool)
        is_new[place] = False
        self.learned, self.labels, self._below, self.sizes, self.sums = whole, whole.names, below, sizes, sums
        self._give_mean_level(below, is_new, sizes)
        self.cross = _moved(self.cross, place, n)
        columns = self.columns  # the entries of V keep their order
        columns = sp.csr_array((columns.data, place[columns.indices], columns.indptr), shape=(len(self.N), n))
        super()._set_columns(columns)
        if self.laplacian is not None:
            self._set_columns(self.columns)

    def _give_mean_level(self, below, lacks_rows, sizes):
        """Give levels without rows, in place, the mean level of their factor.

        Parameters
        ----------
        below : ndarray (q, K)
            V H.
        lacks_rows : ndarray (q,) of bool
        sizes : ndarray (q,) of float64
            Weights of the means; those of rows may be zero.
        """
        for block in self.learned.blocks:
            known = np.where(lacks_rows[block], 0.0, np.maximum(sizes[block], tiny()))
            if lacks_rows[block].any() and known.any():
                below[block][lacks_rows[block]] = known @ below[block] / known.sum()

    def _add_strata(self, batch):
        super()._add_strata(batch)
        if batch.is_new:
            self.cross = self.cross + _moved(batch.data.gram, self._places(batch.data), len(self.labels))

    def _set_columns(self, columns):
        before, v = getattr(self, "pattern", None), getattr(self, "v", ())
        if self.laplacian is not None:  # makes shifts positive where no row of their level uses the column
            held = Pattern(columns.indptr.astype(np.int64), columns.indices, columns.data, columns.shape[1])
            held = covered(held, self.laplacian)
            columns = sp.csr_array((held.sums, held.group, held.start), columns.shape)
        super()._set_columns(columns)
        if before is not None and before.n_groups == self.pattern.n_groups and len(v) == len(before.group):
            V = sp.csr_array((v, before.group, before.start), columns.shape)
            self.v = entries_at(V, self.pattern.column, self.pattern.group)

    def visit(self, batch):
        """As `LearnsDesign.visit`."""
        self._is_again = not batch.is_new
        super().visit(batch)

    def _move_at_end(self):
        self._is_again = True
        super()._move_at_end()

    def _move(self, pos):
        """Update V and H so that F, with the smoothness penalty, does not increase.

        Where rows come again and the entries of a column meet, V is updated after H alone, as in a fit of all rows: on
        20 newsgroups by group and year that takes 0.7 of the time, and ends at the same loss.
        """
        _, alternations, n_sweeps = self.sweeps
        sums, pattern, update = self.sums.astype(self.dtype), self.pattern, PatternHALS()
        update = update if self.laplacian is None else LinkedLevels(update)
        below, of_v = np.empty_like(self.v), Subproblem(pattern.entry_tasks)
        is_late = self._is_again and (self.cross.nnz > len(self.labels) or self.laplacian is not None)
        for name in "HV" * alternations if is_late else "VH" * alternations + "V":
            if name == "H":
                of_H = self._update_H(pos, LazyRows(pattern.start, pattern.group, self.v, sums), n_sweeps)
                continue
            pattern.sampled(self.H, sums, below)
            of_v.clear()
            of_v.pattern, of_v.roughness = pattern, self.laplacian
            of_v.add(gram=self.cross, pos=pattern.sums, neg=below)
            own, crossed = update(self.v, of_v, self.rank, 1)
        self.value = max(0.0, self.sq_norm + of_H + own + 2 * crossed)
        self._below = pattern.tmatmul(self.v, self.H)
        self._give_mean_level(self._below, self.sizes == 0, self.sizes)


class DesignRatioStatistics(LearnsDesign, StrataRatioStatistics):
    """As `StrataRatioStatistics` for Kullback-Leibler, for rows that have several shifts, or shifts by degrees.

    Attributes
    ----------
    learned :
        As for `LearnsDesign`.
    totals_Z : ndarray (q,) of float64
        Sums of the columns of Z over the rows so far; they decay as `sizes`.
    """

    _state_names = (*StrataRatioStatistics._state_names, "learned", "totals_Z")

    def start(self, data, H, v=None):
        """Initialise as `StrataRatioStatistics.start`; the shifts begin at v."""
        self.learned, self.totals_Z = data.learned, np.zeros(len(data.labels))
        super().start(data, H, v)
        self.labels = self.learned.names
        return self

    def restart(self, data, H, v=None):
        """Initialise as `start` does, but keep the levels and the design of the rows so far, which were all zero."""
        learned, sizes, totals_Z = self.learned, self.sizes, self.totals_Z
        RatioStatistics.restart(self, data, H, v)
        self._grow(learned)
        place = columns_in(learned, self.learned)
        self.sizes[place] += sizes
        self.totals_Z[place] += totals_Z
        return self

    def _extend(self, whole, place):
        for name in ("sizes", "totals_Z"):
            array = np.zeros(len(whole.names))
            array[place] = getattr(self, name)
            setattr(self, name, array)
        self.learned, self.labels = whole, whole.names
        self._set_pairs(self.pair_start, place[self.pair_stratum].astype(np.int32))

    def _starts_of_pairs(self, data, place, is_new):
        before, own = self.totals_Z[place], _totals(data)
        share = own / np.maximum(before + own, tiny())
        return (0.5 * share[data.pattern.group] * data.even_shifts())[is_new]

    def _rows_before(self, data, place):
        return self.totals_Z[place], _totals(data)

    def _count(self, data, place):
        super()._count(data, place)
        self.totals_Z[place] += _totals(data)

    def _decay(self):
        self.totals_Z = self.totals_Z * strata_decay(self.sizes, self.forget_factor)
        super()._decay()


def _totals(data):
    """Return the sums of the columns of Z, each row as often as its weight says, float64 (q,)."""
    Z = data.held_design
    return np.bincount(Z.indices, Z.data, data.n_strata)


def sums_of_rows(Z, W, log4_scale):
    """Return sums over the rows of a fit, from which `set_from_design` continues without these rows.

    Parameters
    ----------
    Z : csr_array (n, q)
        Design.
    W : ndarray (n, k)
        Weights, in the user's scale.
    log4_scale : int
        Inner scale of the sums.

    Returns
    -------
    dict
        ``cross``, ``ZᵀZ``, csr_array (q, q); ``sums``, ``ZᵀW``, ndarray (q, k); ``gram``, ``WᵀW``, ndarray (k, k);
        ``total``, the sum of W; ``n_rows``.
    """
    (n, k), q = W.shape, Z.shape[1]
    gram, sums, total = np.zeros((k, k)), np.zeros((q, k)), 0.0
    with single_threaded_blas():
        for lo in range(0, n, max(1, ENTRIES // k)):
            part = slice(lo, lo + max(1, ENTRIES // k))
            of_part = np.ldexp(W[part].astype(np.float64), log4_scale)
            gram += of_part.T @ of_part
            sums += Z[part].T @ of_part
            total += float(of_part.sum())
    cross = sp.csr_array(Z.T @ Z)
    cross.sort_indices()
    return {"cross": cross, "sums": sums, "gram": gram, "total": total, "n_rows": n}


def set_from_design(statistics, error, learned, V, of_rows):
    """Set the sums of `statistics` as if the data were the fitted values of a model, ``Z V + W Hᵀ``.

    As `fastnmf.core.batches.set_from_model`, for which the rows of Z are not needed: sums over them are enough.

    Parameters
    ----------
    statistics : DesignStatistics
        Just initialised with H; changed in place. All other arguments are in its inner scale.
    error : float
        Squared error of the model.
    learned : Design
        Of the fit, with the sizes of its columns.
    V : ndarray or csr_array (q, m)
        Shifts. Of a large CSR array the shifts stay zero where none is stored, until a row uses the column.
    of_rows : dict
        What `sums_of_rows` returned.

    Returns
    -------
    DesignStatistics
        `statistics`.
    """
    k, cross, sums, G = statistics.rank, of_rows["cross"], of_rows["sums"], of_rows["gram"]
    H, V = statistics.H[:, :k].astype(np.float64), V.astype(np.float64)
    with single_threaded_blas():
        below, of_V = V @ H, cross @ V
        N = H @ G + V.T @ sums
        square = float(np.sum(G * (H.T @ H)) + 2 * np.sum(below * sums) + (of_V * V).sum())
        if sp.issparse(V):
            of_entry, column = row_index(V), V.indices
            of_V.sort_indices()
            fitted = entries_at(of_V, of_entry, column)
            step = max(1, ENTRIES // k)
            for at in range(0, V.nnz, step):
                part = slice(at, at + step)
                fitted[part] += np.einsum("ec,ec->e", sums[of_entry[part]], H[column[part]])
            columns = sp.csr_array((fitted, column, V.indptr), V.shape)
        else:
            columns = of_V + sums @ H.T
    q, K = len(learned.names), statistics.H.shape[1]
    statistics.learned, statistics.labels, statistics.sizes = learned, learned.names, learned.sizes.copy()
    statistics.cross, statistics.sums = cross, np.zeros((q, K))
    statistics._below = np.zeros((q, K), statistics.dtype)
    statistics.sums[:, :k], statistics._below[:, :k] = sums, below
    statistics._set_columns(sp.csr_array(columns.T))
    statistics.v = statistics.pattern.entries(V).astype(statistics.dtype)
    statistics.N[:, :k], statistics.G[:k, :k], statistics.total_W[0] = N, G, of_rows["total"]
    statistics.n_rows, statistics.sq_norm, statistics.value = float(of_rows["n_rows"]), square + error, error
    return statistics


def _moved(gram, place, n):
    """Return a csr_array (n, n) that holds the rows and columns of another at the places `place`."""
    return sp.csr_array((gram.data, (place[row_index(gram)], place[gram.indices])), shape=(n, n))


def merged_designs(one, other):
    """Return the `Design` with the levels of two; raise ValueError where these do not have the same factors."""
    if one is other:
        return one
    kinds = [(found.kind, found.factors, found.has_exposure) for found in (one, other)]
    names, later = one.names.tolist(), other.names.tolist()
    is_array = later == [f"z{at}" for at in range(len(names))]  # which has no names
    if kinds[0] != kinds[1] or one.kind == "matrix" and later != names and not is_array:
        raise ValueError(
            f"The design of this batch has {_described(other)}, but that of the batches before had {_described(one)}; "
            "give all batches the same factors in the same order, or the same columns."
        )
    if one.kind == "matrix":
        return one
    levels = [merged(*each) for each in zip(one.levels, other.levels, strict=True)]
    return Design.of_levels(one.kind, one.factors, levels, one.has_exposure)


def _described(found):
    names = {"strata": "one label a row", "matrix": f"the columns {shown(found.names.tolist())}"}
    return (", ".join(found.factors) or names[found.kind]) + (" and an exposure" if found.has_exposure else "")


def columns_in(part, whole):
    """Return the place of each column of a `Design` among those of another, which has them all."""
    if part is whole or part.kind == "matrix":
        return np.arange(len(part.names))
    each = zip(part.levels, whole.levels, whole.blocks, strict=True)
    of_levels = [block.start + places(labels, known) for labels, known, block in each]
    return np.concatenate([np.arange(whole.blocks[0].start), *of_levels])
