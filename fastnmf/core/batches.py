"""Fit a model to rows that arrive in batches: the sums that are stored, and the update that each batch makes.

For given W the squared error needs only sums over the rows, whose size does not grow with the number of rows:

    F(v, H) = n2 - 2 <H, N> + <G, HᵀH> - 2 sum_i c_i.v_i + 2 sum_i s_i.(Hᵀ v_i) + sum_i m_i ||v_i||²

with ``N = Aᵀ W``, ``G = Wᵀ W``, n2 the squared norm of the data, and for stratum i the number of its rows m_i, the sums
of its columns ``c_i = A(i)ᵀ 1`` and the sums of its weights ``s_i = W(i)ᵀ 1``. For each batch the W of its rows is
computed, its contributions are added to the sums, and v and H are updated with the total sums.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``. K is the rank k padded to the width of vector registers.
"""

import copy

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import aligned, pad, row_tasks
from fastnmf.core.inference import infer, quadratic_weights
from fastnmf.core.losses.choice import DIVERGENCES
from fastnmf.core.options import FactorOptions, Options
from fastnmf.core.penalties import penalties_of
from fastnmf.core.problem import LazyRows, Subproblem, full
from fastnmf.core.thresholds import LEAST_ROWS
from fastnmf.core.updates import HALS
from fastnmf.data import shifts as shift_arrays
from fastnmf.data.labels import kind_of
from fastnmf.data.layout import row_index
from fastnmf.data.shifts import Pattern
from fastnmf.kernels import rows
from fastnmf.kernels.blas import single_threaded_blas

BATCH_ROWS = 1024
ENTRIES = 1 << 20  # of shifts that are computed at a time, with a row of W and of H each
COLUMNS_PER_ROW = 4  # a sparse batch has at least a row for every 4 columns: each batch updates all rows of H


class Batch:
    """Rows that are processed together, and their contributions to the sums so far.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    is_new : bool, default=True
        Whether the rows have not been counted yet.

    Attributes
    ----------
    W : ndarray (n_rows, K), or None
        Weights after the last visit, or those to begin with; with None the next visit computes the exact ones.
    gram, sums : ndarray (K, K), (strata of the batch, K) of float64
        ``WᵀW`` and the sums of the rows of W by stratum, 0 before the first visit.
    is_kept, room, problem, places :
        For `fastnmf.core.ratio_batches`: whether the batch stays in memory until its next visit, a dict in which such
        batches share workspaces, its problem with its factors, and its entries among all shifts.
    """

    def __init__(self, data, *, is_new=True):
        self.data, self.is_new, self.W, self.gram, self.sums = data, is_new, None, 0.0, 0.0
        self.is_kept, self.room, self.problem, self.places = False, None, None, None

    def to_state(self):
        """Return all but the data as a dict of arrays and plain values, not copied."""
        return {name: getattr(self, name) for name in ("is_new", "W", "gram", "sums")}

    def from_state(self, state):
        """Restore the state that `to_state` returned for the same data."""
        vars(self).update(state, W=None if state["W"] is None else _aligned_copy(state["W"]), problem=None)


def _aligned_copy(array):
    copied = aligned(array.shape, array.dtype)
    copied[:] = array
    return copied


class Statistics:
    """H and the sums over the rows seen so far that its updates need: O(m K) numbers for any number of rows.

    Parameters
    ----------
    rank : int
        Number of components.
    sweeps : (int, int, int), default=(2, 1, 2)
        Sweeps over the W of rows that are visited again; alternations between the shifts and H; sweeps over H in each
        alternation.
    forget_factor : float in [0, 1], default=1.0
        Factor by which all sums are multiplied before a new batch is added; with 1 nothing is forgotten.
    nets : (float, float, float), default=(0, 0, 0)
        ``alpha_W``, ``alpha_H`` and ``l1_ratio`` of elastic nets, in the scale of the user; that of H grows with the
        number of rows.
    is_fresh : bool, default=False
        Whether the weights of a batch are solved for again whenever it is visited.

    Attributes
    ----------
    H : ndarray (m, K)
    gram : ndarray (K, K) of float64
        ``HᵀH``.
    N, G : ndarray (m, K), (K, K) of float64
        The sums N and G of the module docstring.
    sq_norm, n_rows : float
        n2 of the module docstring and the number of rows, or the sum of their weights; both decay.
    total_W : ndarray (1,) of float64
        Sum of the weights of the rows, for the L1 penalty of W; 0 without one.
    value : float
        F at H without penalties, at least 0.
    dtype, log4_scale :
        As for `Strata`; all of the above is in that inner scale.
    """

    loss, shift_penalty = DIVERGENCES["frobenius"], 0.0
    row_scale = None  # as of `Strata`, for the penalties of H, whose rows have no weights

    def __init__(self, rank, sweeps=(2, 1, 2), forget_factor=1.0, nets=(0.0, 0.0, 0.0), is_fresh=False):
        self.rank, self.sweeps, self.forget_factor, self.nets = rank, sweeps, forget_factor, tuple(nets)
        self.is_fresh = is_fresh
        self._last_pass, self._rows_again, self._holds = None, 0, False

    def start(self, data, H, v=None):
        """Initialise with H (m, k), given in the inner scale of `data`, and sums of zero. `v` is not used."""
        self.dtype, self.log4_scale, self.H = data.dtype, data.log4_scale, pad(H, data)
        self.gram = rows.gram(row_tasks(self.H), self.H)
        m, K = self.H.shape
        self.N, self.G, self.total_W = np.zeros((m, K)), np.zeros((K, K)), np.zeros(1)
        self.sq_norm = self.n_rows = self.value = 0.0
        return self

    _state_names = ("rank", "sweeps", "forget_factor", "dtype", "log4_scale", "H", "gram", "N", "G")
    _state_names += ("sq_norm", "n_rows", "value", "nets", "total_W", "is_fresh")

    def to_state(self):
        """Return everything that later batches depend on, as a dict of arrays and plain values."""
        return {name: getattr(self, name) for name in self._state_names}

    @classmethod
    def from_state(cls, state):
        """Return the statistics whose `to_state` returned `state`."""
        state = {"nets": (0.0, 0.0, 0.0), "total_W": np.zeros(1), "is_fresh": False} | state  # version 0.1 had none
        found = cls(state["rank"], state["sweeps"], state["forget_factor"])
        for name in cls._state_names:
            setattr(found, name, state[name])
        found.H = _aligned_copy(state["H"])
        return found

    def copy(self):
        """Return a copy that can be updated while these statistics stay unchanged."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (np.ndarray, sp.csr_array)):
                setattr(other, name, value.copy())
        other.H = _aligned_copy(self.H)
        return other

    def restart(self, data, H, v=None):
        """Initialise as `start` does, but keep the number of rows seen so far, which were all zero."""
        n_rows, _ = self.n_rows, self.start(data, H, v)
        self.n_rows = n_rows
        return self

    @property
    def shape(self):
        """Number of remembered rows and of columns."""
        return self.n_rows, len(self.H)

    @property
    def total(self):
        """Number of remembered rows."""
        return self.n_rows

    @property
    def scale(self):
        """Objective of the trivial model, by which the loss is normalized."""
        return self.sq_norm

    def penalties(self, name, data=None):
        """Return the penalties of H for the rows so far, or of the W of `data`: a sequence of `Penalty`."""
        alpha_W, alpha_H, l1_ratio = self.nets
        if not (alpha_W or alpha_H):
            return ()
        options = Options(loss=self.loss, W=FactorOptions(alpha_W, l1_ratio), H=FactorOptions(alpha_H, l1_ratio))
        return penalties_of(self if data is None else data, options, name).get(name, ())

    @property
    def penalty(self):
        """The value of the penalties of H and of the weights of all remembered rows."""
        of_W = sum(net.unit * (net.l1 * self.total_W[0] + net.l2 / 2 * np.trace(self.G)) for net in self.penalties("W"))
        return float(of_W + sum(net.value(self.H) for net in self.penalties("H"))) + self.shift_penalty

    def visit(self, batch):
        """Update the weights of a batch, replace its previous contributions to the sums, and update v and H.

        If the batch stores weights from an earlier visit, they are updated from there, and F does not increase.
        """
        data = batch.data = self._in_scale(batch.data)
        self._admit_labels(data.labels)
        if batch.is_new:
            if self.forget_factor < 1:
                self._decay()
            self.sq_norm += data.sq_norm
            self.n_rows += data.total
        if self._last_pass is not None:
            self._subtract_last_pass(data.total)
        if self.nets[0]:
            self.total_W -= 0.0 if batch.W is None or batch.is_new else _total(batch)
        step, gram_before = self._weigh(batch), batch.gram
        if self.nets[0]:
            self.total_W += _total(batch)
        batch.gram = rows.gram(row_tasks(batch.W), batch.W)
        self.G += batch.gram - gram_before
        tasks, product = self._product(data, step)
        is_double = self.dtype == np.float64
        pos = aligned((0 if is_double else len(self.H), self.H.shape[1]), self.dtype)
        rows.rows_accumulate(tasks, product, self.N, pos)
        self._add_strata(batch)
        batch.is_new = False
        if not self._holds:
            self._move(self.N if is_double else pos)

    def begin_repeated_pass(self, *, hold=False):
        """Prepare for another pass over the same rows: each batch then replaces its share of the present sums.

        With ``hold=True`` v and H are updated only after the last batch. The pass is then one iteration of the batch
        algorithm, in which F does not increase.
        """
        self._last_pass, self._rows_again, self._holds = self._copied(), 0, hold

    def end_repeated_pass(self):
        """End the pass that `begin_repeated_pass` prepared, and return whether it had as many rows as the first one."""
        if self._holds:
            self._move_at_end()
        self._last_pass, self._holds = None, False
        return self._rows_again == self.n_rows

    def pass_to_state(self):
        """Return what `visit` depends on between `begin_repeated_pass` and `end_repeated_pass`, as `to_state` does."""
        return {"last_pass": self._last_pass, "rows_again": self._rows_again, "holds": self._holds}

    def pass_from_state(self, state):
        """Restore the state that `pass_to_state` returned."""
        self._last_pass, self._rows_again, self._holds = state["last_pass"], state["rows_again"], state["holds"]

    def hold_shifts(self, sparse_shifts):
        """Choose whether `StrataStatistics.shifts` are CSR, as `Strata.sparse_shifts` says; nothing to do here."""

    def components(self):
        """Return H in the scale and orientation that the user sees, (k, m)."""
        return np.ldexp(np.ascontiguousarray(self.H[:, : self.rank].T), -self.log4_scale)

    def _move_at_end(self):
        self._move(self.N.astype(self.dtype))

    def _copied(self):
        return {"N": self.N.copy(), "G": self.G.copy(), "total_W": self.total_W.copy()}

    def _subtract_last_pass(self, n_rows):
        self._rows_again += n_rows
        for name, old in self._last_pass.items():
            array = getattr(self, name)
            array -= n_rows / self.n_rows * old

    def _decay(self):
        for name in ("N", "G", "total_W", "sq_norm", "n_rows"):
            setattr(self, name, getattr(self, name) * self.forget_factor)

    def _weigh(self, batch):
        """Update the weights of a batch in place, and return the change, (n_rows, K)."""
        data = batch.data
        if batch.W is None or self.is_fresh:
            product = aligned((data.shape[0], self.H.shape[1]), self.dtype)
            data.matmul(self.H, product)
            penalties, before = self.penalties("W", data), batch.W
            batch.W, _ = quadratic_weights(self.gram, product, self.rank, self._under(data), penalties)
            return batch.W if before is None or batch.is_new else batch.W - before
        sub, step = Subproblem(row_tasks(batch.W)), batch.W.copy()
        if data.is_sparse:
            side = data.rows
            pos, sub.tasks = LazyRows(side.indptr, side.indices, side.data, self.H), side.tasks(self.H.shape[1])
        else:
            pos = aligned(batch.W.shape, self.dtype)
            data.matmul(self.H, pos)
        sub.add(gram=self.gram, pos=pos, neg=self._under(data))
        for penalty in self.penalties("W", data):
            penalty.contribute(batch.W, sub, self.rank)
        HALS()(batch.W, sub, self.rank, self.sweeps[0])
        return batch.W if batch.is_new else np.subtract(batch.W, step, out=step)

    def _product(self, data, W):
        """Return a task table for ``AᵀW``, and ``AᵀW`` as `LazyRows`."""
        if data.is_sparse:
            side = data.columns
            return side.tasks(W.shape[1]), LazyRows(side.indptr, side.indices, side.data, W)
        product = aligned(self.H.shape, self.dtype)
        data.tmatmul(W, product)
        return row_tasks(product), LazyRows.of(product)

    def _move(self, pos):
        """Update H so that F does not increase; `pos` is N in the dtype of the data."""
        _, alternations, n_sweeps = self.sweeps
        self.value = max(0.0, self.sq_norm + self._update_H(pos, None, alternations * n_sweeps))

    def _update_H(self, pos, neg, n_sweeps):
        """Update H in place, and return ``<G, HᵀH> - 2 <H, N>``.

        Parameters
        ----------
        pos : ndarray (m, K)
            N in the dtype of the data.
        neg : LazyRows (m, K), or None
            Contribution of the shifts to the half-gradient, ``sum_i v_i s_iᵀ``.
        n_sweeps : int

        Returns
        -------
        float
            Without the part of `neg`, which the caller adds.
        """
        sub = Subproblem(row_tasks(self.H))
        sub.add(gram=self.G, pos=pos, neg=neg)
        for penalty in self.penalties("H"):
            penalty.contribute(self.H, sub, self.rank)
        with_N, _ = HALS()(self.H, sub, self.rank, n_sweeps)
        self.gram = rows.gram(sub.tasks, self.H)
        return float(np.sum(self.G * self.gram)) - 2 * with_N

    def _under(self, data):
        """Return the shifts of the rows times H as `LazyRows` (n_rows, K); None here: the model has no shifts."""

    def _admit_labels(self, labels):
        """Extend the arrays by strata that are new; nothing to do here."""

    def _add_strata(self, batch):
        """Replace the contribution of a batch to the sums by stratum; nothing to do here."""

    def _in_scale(self, data):
        """Return `data` in the dtype and inner scale of the statistics; rescale these first if the data are larger."""
        if self.sq_norm == 0 or data.log4_scale < self.log4_scale:
            self._rescale(data.log4_scale - self.log4_scale)
        return data.in_scale(self.dtype, self.log4_scale)

    def _rescale(self, shift):
        """Change the inner scale: multiply the data by ``4.0 ** shift``, and so H and W by ``2.0 ** shift``."""
        if shift:
            self.log4_scale += shift
            for name, power in {"H": 1, "gram": 2, "N": 3, "G": 2, "total_W": 1, "sq_norm": 4, "value": 4}.items():
                setattr(self, name, np.ldexp(getattr(self, name), power * shift))


class HasStrata:
    """Mixin of statistics with shifts of strata: `labels`, `sizes`, and the shifts `v` on their `pattern`."""

    _sparse_shifts = None

    def restart(self, data, H, v=None):
        """Initialise as `start` does, but keep labels and sizes of the strata seen so far, whose rows were all zero."""
        labels, sizes = self.labels, self.sizes
        super().restart(data, H, v)
        self._admit_labels(labels)
        self.sizes[np.searchsorted(self.labels, labels)] += sizes
        return self

    def shifts(self):
        """Return the shifts in the scale of the user's data, (S, m), dense or CSR."""
        return shift_arrays.mapped(self.pattern.held(self.v), lambda v: np.ldexp(v, -2 * self.log4_scale))

    def _places(self, data):
        """Return the place of each stratum of a batch among all strata."""
        return np.searchsorted(self.labels, data.labels)

    def _labels_with(self, labels):
        """Return the labels with those that are new, or None where none is."""
        labels = merged(self.labels, labels)
        if len(labels) == len(self.labels):
            return None
        if self._last_pass is not None:
            raise ValueError(
                "A block of a later pass has strata that the first pass did not have; give the same blocks in every "
                "pass."
            )
        return labels


class StrataStatistics(HasStrata, Statistics):
    """As `Statistics`, for a model with a shift for every stratum, non-zero only in the columns that the stratum uses.

    O(m K + S K + q) numbers, where q counts the pairs of a stratum and a column that it has used. New strata may appear
    at any time: the weights of their first rows are computed with the mean of the shifts so far; later rows use the
    shift of the stratum. Shifts of strata that are not in a batch are updated, too: F couples them through H.

    Attributes
    ----------
    labels : ndarray (S,)
        Strata seen so far, sorted.
    sizes (S,), sums (S, K) : ndarray of float64
        m_i and s_i of the module docstring.
    columns : scipy.sparse.csr_array (m, S) of float64
        c_i of the module docstring, as columns.
    pattern : fastnmf.data.shifts.Pattern
        The pattern of the entries of `columns`.
    v : ndarray (q,)
        Shifts: their entries on `pattern`.
    """

    def start(self, data, H, v=None):
        """Initialise with H (m, k), the entries v of the shifts on ``data.pattern``, and sums of zero.

        Both are given in the inner scale of `data`.
        """
        super().start(data, H)
        n_strata, (m, K) = len(data.labels), self.H.shape
        self.labels, self.sizes, self.sums = data.labels, np.zeros(n_strata), np.zeros((n_strata, K))
        self._set_columns(sp.csr_array((m, n_strata)))
        self.v = np.zeros(0, self.dtype)
        self._below, sizes = data.pattern.tmatmul(v.astype(self.dtype), self.H), data.groups.sizes
        self._below[sizes == 0] = sizes @ self._below / (sizes.sum() or 1)  # no row may have a shift yet
        return self

    _state_names = (*Statistics._state_names, "labels", "sizes", "sums", "columns", "v", "_below")

    @classmethod
    def from_state(cls, state):
        """Return the statistics whose `to_state` returned `state`."""
        found = super().from_state(state)
        found._set_columns(state["columns"])
        return found

    def of_shifts(self, V):
        """Return ``||1 V||² - 2 <1 V, A>`` over the rows so far, for the shifts V (S, m) as arrays."""
        of_v = shift_arrays.square_lengths(V)
        return float(self.sizes @ of_v - 2 * self.columns.data @ self.v)

    def hold_shifts(self, sparse_shifts):
        """Choose whether `shifts` are CSR: True, False, or None, where a dense array would be large."""
        if sparse_shifts is not self._sparse_shifts:
            self._sparse_shifts = sparse_shifts
            if hasattr(self, "columns"):
                self._set_columns(self.columns)

    def _copied(self):
        return super()._copied() | {"sums": self.sums.copy()}

    def _decay(self):
        super()._decay()
        factor = strata_decay(self.sizes, self.forget_factor)
        self.sizes, self.sums = self.sizes * factor, self.sums * factor[:, None]
        self.columns.data *= factor[self.columns.indices]

    def _under(self, data):
        return LazyRows.of(self._below[self._places(data)], data.stratum_index, data.row_scale)

    def _admit_labels(self, labels):
        if (labels := self._labels_with(labels)) is None:
            return
        place, m = np.searchsorted(labels, self.labels), len(self.N)
        below = np.repeat(self._mean_below()[None], len(labels), axis=0)
        sizes, sums = np.zeros(len(labels)), np.zeros((len(labels), self.H.shape[1]))
        below[place], sizes[place], sums[place] = self._below, self.sizes, self.sums
        self.labels, self._below, self.sizes, self.sums = labels, below, sizes, sums
        columns = self.columns
        self.columns = sp.csr_array((columns.data, place[columns.indices], columns.indptr), shape=(m, len(labels)))

    def _mean_below(self):
        """Return the mean of the shifts times H, (K,), every stratum weighted by the number of its rows."""
        total = self.sizes.sum()
        return (self.sizes @ self._below / total if total > 0 else self._below.mean(axis=0)).astype(self.dtype)

    def _add_strata(self, batch):
        data, place, sums_before = batch.data, self._places(batch.data), batch.sums
        batch.sums = data.groups.sum(batch.W).astype(np.float64)
        self.sums[place] += batch.sums - sums_before
        if batch.is_new:
            self.sizes[place] += data.groups.sizes
            own = data.pattern
            entries = own.sums.astype(np.float64), place[own.group], own.start
            self._set_columns(self.columns + sp.csr_array(entries, shape=self.columns.shape))

    def _set_columns(self, columns):
        columns.sort_indices()
        self.columns = columns
        start, group = columns.indptr.astype(np.int64), columns.indices.astype(np.int32)
        self.pattern = Pattern(start, group, columns.data.astype(self.dtype), columns.shape[1], self._sparse_shifts)

    def _move(self, pos):
        """Update v and H so that F does not increase; at the end v is the exact minimiser of F for this H."""
        _, alternations, n_sweeps = self.sweeps
        sums, sizes, pattern = self.sums.astype(self.dtype), self.sizes.astype(self.dtype), self.pattern
        self.v = np.empty(len(pattern.group), self.dtype)
        below, of_v = np.empty_like(self.v), Subproblem(pattern.entry_tasks)
        for last in [False] * alternations + [True]:
            pattern.sampled(self.H, sums, below)
            of_v.clear()
            of_v.weight, of_v.group = sizes, pattern.group
            of_v.add(pos=pattern.sums, neg=below)
            own, crossed = HALS()(self.v, of_v, self.rank, 1)
            if not last:
                of_H = self._update_H(pos, LazyRows(pattern.start, pattern.group, self.v, sums), n_sweeps)
        self.value = max(0.0, self.sq_norm + of_H + own + 2 * crossed)
        self._below = pattern.tmatmul(self.v, self.H)
        self._below[self.sizes == 0] = self._mean_below()

    def _rescale(self, shift):
        super()._rescale(shift)
        if shift:
            for name, power in {"v": 2, "sums": 1, "_below": 3}.items():
                setattr(self, name, np.ldexp(getattr(self, name), power * shift))
            self.columns.data = np.ldexp(self.columns.data, 2 * shift)
            self._set_columns(self.columns)


def set_from_model(statistics, W, error, shifts=None):
    """Set the sums of `statistics` as if the data were the fitted values of a model, ``1 v(i)ᵀ + W(i) Hᵀ``.

    This replaces rows whose data are no longer available. v and H then minimise F, and F equals `error`; the residual
    of the data is unknown.

    Parameters
    ----------
    statistics : Statistics
        Just initialised with H; changed in place. All other arguments are in its inner scale.
    W : ndarray (n, k)
        Weights of the rows.
    error : float
        Squared error of the model.
    shifts : (labels, V, stratum_index), default=None
        For `StrataStatistics`: the sorted labels (S,), the shifts V (S, m), dense or CSR, and the stratum of each row,
        (n,) of int. Of a large CSR array the shifts stay zero where none is stored, until a row uses the column.

    Returns
    -------
    Statistics
        `statistics`.
    """
    k = statistics.rank
    W, H = W.astype(np.float64), statistics.H[:, :k].astype(np.float64)
    with single_threaded_blas():
        G = W.T @ W
        N, square = H @ G, float(np.sum(G * (H.T @ H)))
        if shifts is not None:
            labels, V, stratum_index = shifts
            V, sizes, n_strata = V.astype(np.float64), np.bincount(stratum_index, minlength=len(labels)), len(labels)
            sums, below = (
                sp.csr_array((np.ones(len(W)), (stratum_index, np.arange(len(W)))), (n_strata, len(W))) @ W,
                V @ H,
            )
            N += V.T @ sums
            square += float(sizes @ shift_arrays.square_lengths(V) + 2 * np.sum(below * sums))
            if sp.issparse(V):
                of_entry, step = row_index(V), max(1, ENTRIES // k)
                fitted = sizes[of_entry] * V.data
                for at in range(0, V.nnz, step):
                    part = slice(at, at + step)
                    fitted[part] += np.einsum("ec,ec->e", sums[of_entry[part]], H[V.indices[part]])
                columns = sp.csr_array((fitted, V.indices, V.indptr), V.shape)
            else:
                columns = sums @ H.T + sizes[:, None] * V
            statistics.labels, statistics.sizes = labels, sizes.astype(np.float64)
            statistics.sums, statistics._below = (np.zeros((n_strata, statistics.H.shape[1])) for _ in range(2))
            statistics.sums[:, :k], statistics._below[:, :k] = sums, below
            statistics._below = statistics._below.astype(statistics.dtype)
            statistics._set_columns(sp.csr_array(columns.T))
            statistics.v = statistics.pattern.entries(V).astype(statistics.dtype)
    statistics.N[:, :k], statistics.G[:k, :k], statistics.total_W[0] = N, G, W.sum()
    statistics.n_rows, statistics.sq_norm, statistics.value = float(len(W)), square + error, error
    return statistics


def weigh(statistics, data, cheap_value_floor=0.0):
    """Return the exact weights of all rows of `data`, and the objective at these weights.

    Parameters
    ----------
    statistics : Statistics
    data : fastnmf.data.strata.Strata
        In the inner scale of `statistics`, with the same strata. With ``forget_factor=1`` these must be exactly the
        rows that the statistics have seen.
    cheap_value_floor : float, default=0.0
        Fraction of the squared norm below which the objective is computed from the residual itself.

    Returns
    -------
    W : ndarray (n, k)
    value : float
        Without penalties, at least 0, in the inner scale.
    penalty : float
    """
    k, V, nets = statistics.rank, None, statistics.penalties("W", data)
    if isinstance(statistics, StrataStatistics):
        V = statistics.pattern.as_read(statistics.v)
    W, sub = infer(data, k, statistics.H, V, penalties=nets)
    if V is None:
        value = data.sq_norm
    elif statistics.forget_factor == 1:
        value = data.sq_norm + statistics.of_shifts(V)
    else:
        value = float(data.row_square_sums(V).sum())
    pull = sub.pos if sub.neg is None else sub.pos - full(sub.neg)
    value += float(np.sum(rows.gram(row_tasks(W), W) * sub.gram) - 2 * np.einsum("ij,ij->", W, pull, dtype=np.float64))
    # With weights of rows the L1 penalty of W stands in `pull`, too.
    if value < cheap_value_floor * data.sq_norm or (data.row_scale is not None and any(net.l1 for net in nets)):
        value = data.residual_square_sum(W[:, :k], statistics.H[:, :k], V)
    penalty = sum(net.value(W) for net in nets) + sum(net.value(statistics.H) for net in statistics.penalties("H"))
    penalty += statistics.shift_penalty
    return np.ascontiguousarray(W[:, :k]), max(value, 0.0), float(penalty)


def split(data, batch_size=None):
    """Split the rows of `data` into a list of B `Batch`.

    A batch takes every B-th row, so that the rows of sorted data are spread over all batches.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    batch_size : int, default=None
        Maximum number of rows in a batch. None is 1024, and for sparse data at least a quarter of the number of
        columns.

    Returns
    -------
    list of Batch
    """
    if batch_size is None:
        batch_size = max(BATCH_ROWS, data.shape[1] // COLUMNS_PER_ROW if data.is_sparse else 0)
    count = -(-data.shape[0] // batch_size)
    return [Batch(data.part(slice(first, None, count))) for first in range(count)]


def _total(batch):
    """Return the sum of the weights of a batch, each row as often as its weight says, for the L1 penalty of W."""
    row_scale = batch.data.row_scale
    return batch.W.sum(dtype=np.float64) if row_scale is None else (row_scale.astype(np.float64) @ batch.W).sum()


def strata_decay(sizes, forget_factor):
    """Return the factor by which the sums of each stratum decay: a stratum that stays away keeps its shift."""
    return np.maximum(forget_factor, np.minimum(1.0, LEAST_ROWS / np.maximum(sizes, LEAST_ROWS)))


def merged(labels, more):
    """Return the sorted union of two arrays of labels; raise ValueError if they are of different kinds."""
    kinds = [kind_of(array) for array in (labels, more)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"Labels of strata were {kinds[0]} in earlier batches and are {kinds[1]} now; use one kind.")
    try:
        return np.union1d(labels, more)
    except TypeError as error:
        raise ValueError(
            "Labels of strata of this batch cannot be sorted with those of earlier batches; use one kind."
        ) from error


def residual(statistics, batches):
    """Return the objective of all batches at their last weights, computed from the residual itself."""
    k, V, total = statistics.rank, None, 0.0
    for batch in batches:
        if isinstance(statistics, StrataStatistics):
            V = statistics.pattern.as_read(statistics.v)[statistics._places(batch.data)]
        total += batch.data.residual_square_sum(batch.W[:, :k], statistics.H[:, :k], V)
    return total
