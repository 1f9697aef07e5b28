"""Fits that meet the rows a batch at a time: what they remember of them, and the step that a batch makes.

For given W the squared error needs only sums over the rows, whose size does not grow with their number,

    F(v, H) = n2 - 2 <H, N> + <G, HᵀH> - 2 sum_i c_i.v_i + 2 sum_i s_i.(Hᵀ v_i) + sum_i m_i ||v_i||²

with ``N = Aᵀ W``, ``G = Wᵀ W``, n2 the squared norm of the data, and for stratum i the number of its rows m_i, the sums
of its columns ``c_i = A(i)ᵀ 1`` and of its weights ``s_i = W(i)ᵀ 1``. A batch finds its own W, adds its sums, and moves
v and H on all of them.
"""

import copy
import time

import numpy as np
import scipy.sparse as sp

from fastnmf.blas import single_threaded_blas
from fastnmf.data import Strata
from fastnmf.kernels import rows
from fastnmf.layout import Pattern
from fastnmf.moves import HALS, ActiveSet
from fastnmf.problem import Mixture, Subproblem, aligned, full
from fastnmf.solve import GUESS_SWEEPS, Fit, infer, normalized, pad, row_tasks

BATCH_ROWS = 1024
COLUMNS_PER_ROW = 4  # of a sparse batch: all columns move once a batch, which costs as much as this share of rows
LEAST_ROWS = 1e-12  # of a stratum, below which it is not forgotten further: they hold its shift, and do not move H


class Batch:
    """Rows that are met together, and what they have contributed so far.

    Attributes
    ----------
    data : fastnmf.data.Strata
    is_new : bool
        Whether its rows have not been counted yet.
    W : ndarray (n_rows, K), or None
        Weights at the last visit; without any, a visit finds the exact ones.
    gram, sums : ndarray (K, K), (strata of the batch, K) of float64
        ``WᵀW`` and the sums of the rows of W by stratum, 0 before the first visit.
    """

    def __init__(self, data, *, is_new=True):
        self.data, self.is_new, self.W, self.gram, self.sums = data, is_new, None, 0.0, 0.0


class Statistics:
    """H, and all that it needs to know of the rows seen so far: O(m K) numbers, however many rows there were.

    Parameters
    ----------
    rank : int
    sweeps : (int, int, int), default=(2, 1, 2)
        Sweeps over the W of rows that come again; alternations of the shifts and H; sweeps over H in each of these.
    forget : float in (0, 1], default=1.0
        Factor of all that is remembered when a batch is added; with 1 nothing is forgotten.

    Attributes
    ----------
    H : ndarray (m, K)
    gram : ndarray (K, K) of float64
        ``HᵀH``.
    N (m, K), G (K, K), sq_norm, n_rows : float64
        As in the head of this module; n_rows counts the rows that are remembered.
    value : float
        F at H, at least 0.
    dtype, exponent :
        As of `Strata`; all of the above is in that inner scale.
    """

    def __init__(self, rank, sweeps=(2, 1, 2), forget=1.0):
        self.rank, self.sweeps, self.forget = rank, sweeps, forget
        self._last_pass, self._rows_again, self._holds = None, 0, False

    def start(self, data, H, v=None):
        """Begin at H (m, k), given in the inner scale of `data`, with nothing seen."""
        self.dtype, self.exponent, self.H = data.dtype, data.exponent, pad(H, data)
        self.gram = rows.gram(row_tasks(self.H), self.H)
        m, K = self.H.shape
        self.N, self.G = np.zeros((m, K)), np.zeros((K, K))
        self.sq_norm = self.n_rows = self.value = 0.0
        return self

    def copy(self):
        """Return a copy that can go on while these statistics stay as they are."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (np.ndarray, sp.csr_array)):
                setattr(other, name, value.copy())
        other.H = aligned(self.H.shape, self.H.dtype)
        other.H[:] = self.H
        return other

    def restart(self, data, H, v=None):
        """Begin as `start` does, after rows that were all zero: of them only their number is remembered."""
        n_rows, _ = self.n_rows, self.start(data, H, v)
        self.n_rows = n_rows
        return self

    def visit(self, batch):
        """Move the weights of a batch, let its sums take the place of what it contributed before, move v and H.

        Weights that the batch has kept are moved from where they were, and the visit does not raise F.
        """
        data = batch.data = self._in_scale(batch.data)
        self._admit(data.labels)
        if batch.is_new:
            if self.forget < 1:
                self._decay()
            self.sq_norm += data.sq_norm
            self.n_rows += data.shape[0]
        if self._last_pass is not None:
            self._fade(data.shape[0])
        step, gram_before = self._weigh(batch), batch.gram
        batch.gram = rows.gram(row_tasks(batch.W), batch.W)
        self.G += batch.gram - gram_before
        tasks, product = self._product(data, step)
        is_double = self.dtype == np.float64
        pos = aligned((0 if is_double else len(self.H), self.H.shape[1]), self.dtype)
        rows.rows_accumulate(tasks, *product, self.N, pos)
        self._add_strata(batch)
        batch.is_new = False
        if not self._holds:
            self._move(self.N if is_double else pos)

    def begin_again(self, *, hold=False):
        """Prepare for the same rows once more: each batch then drives out its share of what is remembered now.

        With `hold`, v and H move after the last of them only: a step of the batch algorithm, which never raises F.
        """
        self._last_pass, self._rows_again, self._holds = self._copied(), 0, hold

    def end_again(self):
        """Forget what `begin_again` has put aside, and tell whether as many rows have come as the first time."""
        if self._holds:
            self._move(self.N.astype(self.dtype))
        self._last_pass, self._holds = None, False
        return self._rows_again == self.n_rows

    def components(self):
        """Return H in the user's scale and orientation, (k, m)."""
        return np.ldexp(np.ascontiguousarray(self.H[:, : self.rank].T), -self.exponent)

    def _copied(self):
        return {"N": self.N.copy(), "G": self.G.copy()}

    def _fade(self, n_rows):
        self._rows_again += n_rows
        for name, old in self._last_pass.items():
            array = getattr(self, name)
            array -= n_rows / self.n_rows * old

    def _decay(self):
        for name in ("N", "G", "sq_norm", "n_rows"):
            setattr(self, name, getattr(self, name) * self.forget)

    def _weigh(self, batch):
        """Move the weights of a batch, and return by how much."""
        data = batch.data
        if batch.W is None:
            product, batch.W = (aligned((data.shape[0], self.H.shape[1]), self.dtype) for _ in range(2))
            data.matmul(self.H, product)
            sub = Subproblem(row_tasks(batch.W))
            sub.add(gram=self.gram, pos=product, neg=self._under(data))
            HALS()(batch.W, sub, self.rank, GUESS_SWEEPS)
            ActiveSet()(batch.W, sub, self.rank)
            return batch.W
        sub, step = Subproblem(row_tasks(batch.W)), batch.W.copy()
        if data.is_sparse:
            side = data.rows
            pos, sub.tasks = Mixture(side.indptr, side.indices, side.data, self.H), side.tasks(self.H.shape[1])
        else:
            pos = aligned(batch.W.shape, self.dtype)
            data.matmul(self.H, pos)
        sub.add(gram=self.gram, pos=pos, neg=self._under(data))
        HALS()(batch.W, sub, self.rank, self.sweeps[0])
        return np.subtract(batch.W, step, out=step)

    def _product(self, data, W):
        """Return ``AᵀW`` as a `Mixture`, and a task table for it."""
        if data.is_sparse:
            side = data.columns
            return side.tasks(W.shape[1]), Mixture(side.indptr, side.indices, side.data, W)
        product = aligned(self.H.shape, self.dtype)
        data.tmatmul(W, product)
        return row_tasks(product), Mixture.of(product)

    def _move(self, pos):
        """Move H to where F is lower; pos is N in the type of the data."""
        _, alternations, n_sweeps = self.sweeps
        self.value = max(0.0, self.sq_norm + self._move_H(pos, None, alternations * n_sweeps))

    def _move_H(self, pos, neg, n_sweeps):
        """Move H, and return ``<G, HᵀH> - 2 <H, N>``."""
        sub = Subproblem(row_tasks(self.H))
        sub.add(gram=self.G, pos=pos, neg=neg)
        with_N, _ = HALS()(self.H, sub, self.rank, n_sweeps)
        self.gram = rows.gram(sub.tasks, self.H)
        return float(np.sum(self.G * self.gram)) - 2 * with_N

    def _under(self, data):
        """Return what lies under the components in each row, times H, as a `Mixture`; here nothing."""

    def _admit(self, labels):
        """Make room for strata that are new."""

    def _add_strata(self, batch):
        """Add what a batch contributes to the sums by stratum."""

    def _in_scale(self, data):
        """Return `data` in the type and the scale of the model; the scale moves where larger data come in."""
        if self.sq_norm == 0 or data.exponent < self.exponent:
            self._rescale(data.exponent - self.exponent)
        return data.in_scale(self.dtype, self.exponent)

    def _rescale(self, shift):
        """Multiply the data by ``4.0 ** shift``, so H and W by ``2.0 ** shift``."""
        if shift:
            self.exponent += shift
            for name, power in {"H": 1, "gram": 2, "N": 3, "G": 2, "sq_norm": 4, "value": 4}.items():
                setattr(self, name, np.ldexp(getattr(self, name), power * shift))


class StrataStatistics(Statistics):
    """As `Statistics`, with one shift a stratum on the pattern of the columns that the stratum has used.

    O(m K + S K + q) numbers, q the pairs (stratum, column that it has used). Strata may appear at any time: the weights
    of their first rows are found for the mean of the shifts so far, from then on they have shifts of their own. Shifts
    of strata that are not in a batch move, too: F sees them through H.

    Attributes
    ----------
    labels : ndarray (S,)
        Strata seen so far, sorted.
    sizes (S,), sums (S, K) : ndarray of float64
        m_i and s_i.
    columns : scipy.sparse.csr_array (m, S) of float64
        c_i, by column.
    pattern : fastnmf.data.Pattern
        Of the entries of `columns`.
    v : ndarray (q,)
        Shifts, entries on `pattern`.
    """

    def start(self, data, H, v=None):
        """Begin at H (m, k) and the entries v of the shifts on ``data.pattern``, with nothing seen."""
        super().start(data, H)
        n_strata, (m, K) = len(data.labels), self.H.shape
        self.labels, self.sizes, self.sums = data.labels, np.zeros(n_strata), np.zeros((n_strata, K))
        self._set_columns(sp.csr_array((m, n_strata)))
        self.v = np.zeros(0, self.dtype)
        self._below, sizes = data.pattern.tmatmul(v.astype(self.dtype), self.H), data.groups.sizes
        self._below[sizes == 0] = sizes @ self._below / sizes.sum()
        return self

    def restart(self, data, H, v=None):
        """Begin as `start` does, after rows that were all zero: of them only their numbers are remembered."""
        labels, sizes = self.labels, self.sizes
        super().restart(data, H, v)
        self._admit(labels)
        self.sizes[np.searchsorted(self.labels, labels)] += sizes
        return self

    def shifts(self):
        """Return the shifts in the user's scale, dense (S, m)."""
        return np.ldexp(self.pattern.dense(self.v), -2 * self.exponent)

    def _copied(self):
        return super()._copied() | {"sums": self.sums.copy()}

    def _decay(self):
        super()._decay()
        factor = np.where(self.sizes * self.forget > LEAST_ROWS, self.forget, 1.0)
        self.sizes, self.sums = self.sizes * factor, self.sums * factor[:, None]
        self.columns.data *= factor[self.columns.indices]

    def _under(self, data):
        return Mixture.of(self._below[self._places(data)], data.codes)

    def _places(self, data):
        return np.searchsorted(self.labels, data.labels)

    def _admit(self, labels):
        labels = merged(self.labels, labels)
        if len(labels) == len(self.labels):
            return
        if self._last_pass is not None:
            raise ValueError(
                "A block of a later pass has strata that the first pass had not; every pass must be the same."
            )
        place, m = np.searchsorted(labels, self.labels), len(self.N)
        below = np.repeat(self._mean_below()[None], len(labels), axis=0)
        sizes, sums = np.zeros(len(labels)), np.zeros((len(labels), self.H.shape[1]))
        below[place], sizes[place], sums[place] = self._below, self.sizes, self.sums
        self.labels, self._below, self.sizes, self.sums = labels, below, sizes, sums
        columns = self.columns
        self.columns = sp.csr_array((columns.data, place[columns.indices], columns.indptr), shape=(m, len(labels)))

    def _mean_below(self):
        """Return the mean shift, a row counting as a row, times H."""
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
        self.pattern = Pattern(start, group, columns.data.astype(self.dtype), columns.shape[1])

    def _move(self, pos):
        """Move v and H to where F is lower; v is where it is least."""
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
                of_H = self._move_H(pos, Mixture(pattern.start, pattern.group, self.v, sums), n_sweeps)
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


def remember(statistics, W, error, shifts=None):
    """Let `statistics` remember rows whose data are gone as what a model says of them, ``1 v(i)ᵀ + W(i) Hᵀ``.

    v and H are then where F is least, and F is what it was; how the data differ from the model is not known.

    Parameters
    ----------
    statistics : Statistics
        Just started at H, in whose scale all is given.
    W : ndarray (n, k)
    error : float
        The squared error of the model.
    shifts : (labels, V, codes), default=None
        For `StrataStatistics`: labels (S,), sorted, V (S, m), and the stratum of each row (n,).
    """
    k = statistics.rank
    W, H = W.astype(np.float64), statistics.H[:, :k].astype(np.float64)
    with single_threaded_blas():
        G = W.T @ W
        N, square = H @ G, float(np.sum(G * (H.T @ H)))
        if shifts is not None:
            labels, V, codes = shifts
            V, sizes, n_strata = V.astype(np.float64), np.bincount(codes, minlength=len(labels)), len(labels)
            sums, below = sp.csr_array((np.ones(len(W)), (codes, np.arange(len(W)))), (n_strata, len(W))) @ W, V @ H
            N += V.T @ sums
            columns = sums @ H.T + sizes[:, None] * V
            square += float(sizes @ np.einsum("ij,ij->i", V, V) + 2 * np.sum(below * sums))
            statistics.labels, statistics.sizes = labels, sizes.astype(np.float64)
            statistics.sums, statistics._below = (np.zeros((n_strata, statistics.H.shape[1])) for _ in range(2))
            statistics.sums[:, :k], statistics._below[:, :k] = sums, below
            statistics._below = statistics._below.astype(statistics.dtype)
            statistics._set_columns(sp.csr_array(columns.T))
            statistics.v = statistics.pattern.entries(V).astype(statistics.dtype)
    statistics.N[:, :k], statistics.G[:k, :k] = N, G
    statistics.n_rows, statistics.sq_norm, statistics.value = float(len(W)), square + error, error
    return statistics


def weigh(statistics, data, digits=0.0):
    """Return the exact weights of all rows of `data`, (n, k), and the objective at them.

    Parameters
    ----------
    statistics : Statistics
    data : fastnmf.data.Strata
        In the scale of `statistics`, with the same strata; where nothing is forgotten, just the rows remembered.
    digits : float
        Fraction of the squared norm below which the objective is evaluated from the residual itself.
    """
    k, V = statistics.rank, None
    if isinstance(statistics, StrataStatistics):
        V = statistics.pattern.dense(statistics.v)
    W, sub = infer(data, k, statistics.H, V)
    if V is None:
        value = data.sq_norm
    elif statistics.forget == 1:
        of_v = np.einsum("ij,ij->i", V, V, dtype=np.float64)
        value = data.sq_norm + float(statistics.sizes @ of_v - 2 * statistics.columns.data @ statistics.v)
    else:
        value = float(data.row_square_sums(V).sum())
    pull = sub.pos if sub.neg is None else sub.pos - full(sub.neg)
    value += float(np.sum(rows.gram(row_tasks(W), W) * sub.gram) - 2 * np.einsum("ij,ij->", W, pull, dtype=np.float64))
    if value < digits * data.sq_norm:
        value = data.residual_square_sum(W[:, :k], statistics.H[:, :k], V)
    return np.ascontiguousarray(W[:, :k]), max(value, 0.0)


def split(data, batch_size=None):
    """Return the rows of `data` as a list of `Batch`: every B-th row, so that sorted rows are spread over all of them.

    Parameters
    ----------
    data : fastnmf.data.Strata
    batch_size : int, default=None
        Most rows of a batch. None takes 1024, for sparse data at least a quarter of the number of columns.
    """
    if batch_size is None:
        batch_size = max(BATCH_ROWS, data.shape[1] // COLUMNS_PER_ROW if data.is_sparse else 0)
    count = -(-data.shape[0] // batch_size)

    def part(chosen):
        X, codes = data.X[chosen], np.ascontiguousarray(data.codes[chosen])  # kernels take no strides
        inner = Strata(X if data.is_sparse else np.ascontiguousarray(X), data.labels, codes)
        inner.exponent += data.exponent
        return Batch(inner.in_scale(data.dtype, data.exponent))

    return [part(slice(first, None, count)) for first in range(count)]


def merged(labels, more):
    """Return the sorted union of two arrays of labels; numbers and text do not mix."""
    known = dict.fromkeys("biuf", "numbers") | {"U": "text"}
    kinds = [known.get(array.dtype.kind) for array in (labels, more)]
    if None not in kinds and kinds[0] != kinds[1]:
        raise ValueError(f"Labels of strata were {kinds[0]} in earlier batches and are {kinds[1]} now; use one kind.")
    try:
        return np.union1d(labels, more)
    except TypeError as error:
        raise ValueError("Labels of strata of this batch cannot be sorted among those before; use one kind.") from error


def passes(statistics, batches, *, max_iter, tol, max_no_improvement, digits=0.0, callback=None):
    """Visit all batches again and again, as a fit of rows that are in memory.

    Where nothing is forgotten, a batch that comes again takes back what it contributed, so after a pass F is the
    objective of the whole data, and no pass raises it. Otherwise each visit counts as new rows.

    Parameters
    ----------
    statistics : Statistics
    batches : list of Batch
    max_iter : int
        Most passes.
    tol : float
        Stop after `max_no_improvement` passes in a row of which each lowered the least objective so far by less than
        `tol` times itself; 0 stops after `max_iter` passes and for no other reason.
    max_no_improvement : int
    digits : float
        Fraction of the squared norm below which the objective is evaluated from the residual itself.
    callback : callable, optional
        As for `fastnmf.solve.solve`.

    Returns
    -------
    fastnmf.solve.Fit
        With the objective per pass, in the scale of all data; where rows are forgotten, that of those remembered.
    """
    began = time.perf_counter()
    history = {"iteration": [], "objective": [], "seconds": []}
    scale = sum(batch.data.sq_norm for batch in batches)
    least, in_vain = np.inf, 0
    for iteration in range(1, max_iter + 1):
        for batch in batches:
            if batch.W is None and statistics.forget == 1:  # it comes again, so its weights need not be exact now
                batch.W = aligned((batch.data.shape[0], statistics.H.shape[1]), batch.data.dtype)
            statistics.visit(batch if statistics.forget == 1 else Batch(batch.data))
        value = statistics.value
        if statistics.forget < 1:
            value *= scale / statistics.sq_norm if statistics.sq_norm > 0 else 0.0
        elif value < digits * scale:
            value = residual(statistics, batches)
        seconds = time.perf_counter() - began
        for name, entry in (("iteration", iteration), ("objective", value), ("seconds", seconds)):
            history[name].append(entry)
        if callback is not None and callback(iteration, normalized(value, scale), seconds):
            return Fit(statistics, history, iteration, False, "callback")
        in_vain = in_vain + 1 if value >= (1 - tol) * least else 0
        least = min(least, value)
        if tol > 0 and (in_vain >= max_no_improvement or least == 0):
            return Fit(statistics, history, iteration, True, "tol")
    return Fit(statistics, history, max_iter, tol == 0, "max_iter")


def residual(statistics, batches):
    """Return the objective of all batches at their last weights from the residual itself."""
    k, V, total = statistics.rank, None, 0.0
    for batch in batches:
        if isinstance(statistics, StrataStatistics):
            V = statistics.pattern.dense(statistics.v)[statistics._places(batch.data)]
        total += batch.data.residual_square_sum(batch.W[:, :k], statistics.H[:, :k], V)
    return total
