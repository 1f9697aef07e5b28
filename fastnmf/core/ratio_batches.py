"""Fit a divergence, or a squared error with missing values, to batches: decayed numerators and denominators.

Where the objective is not quadratic, no sums of a fixed size give it for every H. But each batch gives a function of H
that lies above its part of the objective and touches it at the present H (Fevotte and Idier 2011): for every entry h it
is ``P h**-a + N h**b`` up to constants and signs, with

    P = h'**a pos,  N = h'**-b neg,  a = max(0, 2 - beta),  b = max(0, beta - 1)

where h' is the present entry, and pos and neg are the parts of the gradient of the batch. The sums of P and of N over
the batches so far need O(m K) numbers, and their minimiser is

    h = (sum P / sum N) ** power * h ** (1 - a power),  power = 1 / (2 - beta), 1 or 1 / (beta - 1).

With one batch this is the multiplicative update. For beta <= 1 the new entry does not depend on the old one. Missing
values have beta = 2, the squared error. Shifts of strata have numerators and denominators of the same kind.

Source: Lefevre, Bach, Fevotte 2011, "Online algorithms for nonnegative matrix factorization with the Itakura-Saito
divergence", doi:10.1109/ASPAA.2011.6082314, Algorithm 2, for beta = 0. *Names*: A, B of the source are our `numerators`
and `denominators`; its W is our H.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``. K is the rank k padded to the width of vector registers.
"""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.alternate import sweep
from fastnmf.core.batches import HasStrata, Statistics, strata_decay
from fastnmf.core.factors import Factors, pad, row_tasks
from fastnmf.core.inference import even_weights
from fastnmf.core.losses.choice import Beta
from fastnmf.core.objectives import divergence_problem, squared_problem
from fastnmf.core.problem import full
from fastnmf.core.thresholds import LEAST_DIVISOR, MU_FLOOR
from fastnmf.core.updates import WeightedRows
from fastnmf.data.entry_weights import Weights
from fastnmf.data.shifts import Pattern
from fastnmf.kernels.records import LazyRows

MOST_INVERSE = 1e100  # bound of the power of an inverse entry: one that is held at the floor stays next to zero


class RatioStatistics(Statistics):
    """H, and the numerators and denominators of the rows seen so far: O(m K) numbers for any number of rows.

    Parameters
    ----------
    rank, sweeps, forget_factor, nets, is_fresh :
        As for `Statistics`. Sweeps are not used without missing values.
    beta : float, default=1.0
        The divergence; 2 for the squared error with missing values.
    n_updates : int, default=30
        Updates of the weights of rows that are solved for again, or sweeps with missing values.

    Attributes
    ----------
    H : ndarray (m, K)
    numerators, denominators : ndarray (m, K) of float64
        The sums of P and N of the module docstring.
    totals : ndarray (3,) of float64
        Divergence, penalty of W, and divergence of the trivial models, of the rows so far; of rows that are seen once
        at their visit, before H was updated.
    sq_norm, n_rows, dtype, log4_scale :
        As for `Statistics`.
    """

    _decaying = ("numerators", "denominators", "totals", "sq_norm", "n_rows")
    _state_names = ("rank", "sweeps", "forget_factor", "dtype", "log4_scale", "H", "nets", "is_fresh")
    _state_names += ("beta", "n_updates", *_decaying)

    def __init__(
        self, rank, sweeps=(2, 1, 2), forget_factor=1.0, nets=(0.0, 0.0, 0.0), is_fresh=False, beta=1.0, n_updates=30
    ):
        super().__init__(rank, sweeps, forget_factor, nets, is_fresh)
        self.beta, self.n_updates, self.n_moves = float(beta), n_updates, 0

    def start(self, data, H, v=None):
        """Initialise with H (m, k), given in the inner scale of `data`, and sums of zero. `v` is not used."""
        self.dtype, self.log4_scale, self.H = data.dtype, data.log4_scale, pad(H, data)
        self.numerators, self.denominators = np.zeros(self.H.shape), np.zeros(self.H.shape)
        self.totals, self.sq_norm, self.n_rows = np.zeros(3), 0.0, 0.0
        return self

    @property
    def loss(self):
        """The divergence, by which penalties are scaled."""
        return Beta(self.beta)

    @property
    def value(self):
        """Divergence of the rows so far, without penalties."""
        return max(0.0, float(self.totals[0]))

    @property
    def scale(self):
        """Divergence of the trivial models, by which the loss is normalized."""
        return float(self.totals[2])

    @property
    def penalty(self):
        """The value of the penalties of H and of the weights of all remembered rows."""
        return float(self.totals[1] + sum(net.value(self.H) for net in self.penalties("H")))

    @property
    def n_pairs(self):
        """Number of shift entries, on which the losses of batches depend; 0 here: the model has no shifts."""
        return 0

    @property
    def powers(self):
        """The a, b and power of the module docstring."""
        beta = self.beta
        return max(0.0, 2 - beta), max(0.0, beta - 1), 1 / (2 - beta) if beta < 1 else 1 / max(1.0, beta - 1)

    def visit(self, batch):
        """Update the weights of a batch, add its numerators and denominators to the sums, and update H and the shifts.

        Weights of a batch that is kept in memory are updated from their last values, once or by the sweeps for missing
        values; others are solved for from even ones.
        """
        data = batch.data = self._in_scale(batch.data)
        self._admit(data)
        if batch.is_new:
            if self.forget_factor < 1:
                self._decay()
            self.sq_norm += data.sq_norm
            self.n_rows += data.total
        if self._last_pass is not None:
            self._subtract_last_pass(data.total)
        fresh = self._begin_columns(data)
        problem, factors = self.problem_of(batch)
        n_updates = self.n_updates
        if batch.is_kept and not self.is_fresh:
            n_updates = 1 if self.beta != 2 else self.sweeps[0]
        elif batch.is_kept:
            factors.overwrite({"W": self._even_weights(data)})
        problem.schedule = (("W", n_updates),)
        sweep(problem, factors)
        if not batch.is_kept:
            whole = problem.value(factors)
            self.totals[:2] += whole - problem.penalty, problem.penalty
        self.totals[2] += problem.scale
        self._add(batch, problem, factors, fresh)
        for sub in problem.subproblems.values():  # they hold arrays of the size of H
            sub.clear()
        batch.is_new = False
        if not self._holds:
            self._move()

    def measure(self, batches):
        """Return the divergence of batches that are kept in memory, at their weights and the present H, and note it."""
        self.totals[:2] = 0
        for batch in batches:
            problem, factors = self.problem_of(batch)
            if self.beta == 2:  # of several sums the value takes one that is known: the same one after a checkpoint
                factors.clear_cache()
            whole = problem.value(factors)
            self.totals[:2] += whole - problem.penalty, problem.penalty
        return self.value

    def problem_of(self, batch):
        """Return the `Problem` of a batch and its `Factors`, which hold the present H and shifts."""
        data, known = batch.data, batch.problem
        if known is None or known[1]["H"] is not self.H or known[2] != self.n_pairs:
            if batch.W is None:
                batch.W = self._even_weights(data)
            factors = Factors(self.rank, W=batch.W, H=self.H, **self._shift_factor(batch))
            tasks = {name: row_tasks(factors[name]) for name in "WH"}
            if "V" in factors.arrays:
                tasks["V"] = data.pattern.entry_tasks
            if self.beta == 2:
                if data.entry_weights is None:  # this batch has no missing values
                    data.entry_weights = Weights(1, sp.csr_array(data.shape, dtype=self.dtype))
                schedule = (("W", 1), ("H", 1))
                problem = squared_problem(data, factors, tasks, schedule, is_descent=True, holds_products=True)
            else:
                problem = divergence_problem(data, factors, tasks, self.loss)
            if batch.room is not None:
                problem.losses[0].share(batch.room)
            batch.problem = [problem, factors, self.n_pairs, self.n_moves]
        problem, factors, _, n_moves = batch.problem
        if n_moves != self.n_moves:
            factors.invalidate("H")
            if "V" in factors.arrays:
                factors.overwrite({"V": self.v[batch.places]})
            batch.problem[3] = self.n_moves
        problem.penalties = {"W": list(self.penalties("W", data))}
        return problem, factors

    def _even_weights(self, data):
        """Return the weights that rows begin with, (n_rows, K); zeros where penalties have made H zero."""
        H = self.H[:, : self.rank]
        return pad(even_weights(data, H) if H.any() else np.zeros((data.shape[0], self.rank)), data)

    def _begin_columns(self, data):
        """Begin the entries of H in columns that have their first positive values in `data`; return these columns.

        No update could change a zero. A component begins with the share in its total that the column has in the data.
        """
        dead = ~self.H.any(axis=1)
        if not dead.any():
            return np.empty(0, np.int64)
        sums = np.asarray(data.X.sum(axis=0), dtype=np.float64).ravel()
        known, fresh = sums[~dead].sum(), np.flatnonzero(dead & (sums > 0))
        share = sums[fresh] / (known if known > 0 else sums.sum() or 1.0)
        self.H[fresh] = share[:, None] * self.H.sum(axis=0, dtype=np.float64)
        self.n_moves += 1
        return fresh

    def _add(self, batch, problem, factors, fresh):
        """Add what a batch contributes to the sums.

        Parameters
        ----------
        batch : Batch
        problem, factors :
            As `problem_of` returns them.
        fresh : ndarray of int
            Columns in which earlier rows had nothing.
        """
        pos, neg = self._parts("H", problem, factors)
        if len(fresh) and self.powers[1] > 0 and batch.is_new:  # their denominators were not known
            neg = np.array(neg, dtype=np.float64)
            neg[fresh] *= self.n_rows / batch.data.total
        self._accumulate(factors["H"], pos, neg, self.numerators, self.denominators)

    def _parts(self, name, problem, factors):
        """Return pos and neg of H or V at this point, arrays of the shape of the factor."""
        sub, F = problem.subproblem(name, factors), factors[name]
        if self.beta != 2:
            return sub.pos, full(sub.neg)
        if name == "V":
            return sub.pos, full(sub.neg) + sub.weight[sub.group] * F
        # Each row has its own Gram matrix: one update with pos = 1 gives F / neg, from which neg follows.
        pos, quotient = sub.pos, F.copy()
        sub.pos = LazyRows.of(np.ones((1, F.shape[1]), F.dtype), np.zeros(len(F), np.int32))
        WeightedRows("mu", eps=0.0)(quotient, sub, self.rank, 1)
        found = np.divide(F, quotient, out=np.zeros(F.shape), where=np.isfinite(quotient) & (quotient > 0))
        return pos, found

    def _accumulate(self, F, pos, neg, numerators, denominators):
        """Add to the sums of a factor what a batch contributes.

        Parameters
        ----------
        F : ndarray, the factor
        pos, neg : ndarray of its shape
        numerators, denominators : ndarray of its shape, of float64
            Written.
        """
        a, b, _ = self.powers
        x = F.astype(np.float64)
        numerators += pos if a == 0 else pos * (x if a == 1 else x**a)
        if b > 0:
            inverse = np.power(x, -b, out=np.zeros_like(x), where=x > 0)
            neg = neg * np.minimum(inverse, MOST_INVERSE)
        denominators += neg

    def _move(self):
        """Replace H by the minimiser of what the sums say."""
        self._minimise(self.H, self.numerators, self.denominators, self.penalties("H"))
        self.n_moves += 1

    def _minimise(self, F, numerators, denominators, penalties=()):
        """Replace a factor by the minimiser of what its sums say, plus its penalties at the present point.

        Parameters
        ----------
        F : ndarray
            Written.
        numerators, denominators : ndarray of its shape, of float64
        penalties : sequence of ElasticNet
        """
        a, b, power = self.powers
        x = F.astype(np.float64)
        below = denominators if b == 0 else denominators * x**b  # in units of the gradient at the present point
        for net in penalties:
            below = below + net.l1 + net.l2 * x
        found = np.divide(numerators, below, out=np.zeros_like(x), where=(numerators > 0) & (below > 0))
        found = found if power == 1 else found**power
        if a * power != 1:
            found *= x ** (1 - a * power)
        np.copyto(F, np.where(found > 0, np.maximum(found, MU_FLOOR[self.dtype]), 0), casting="same_kind")

    def _move_at_end(self):
        self._move()

    def _copied(self):
        return {name: getattr(self, name).copy() for name in self._decaying if name not in ("sq_norm", "n_rows")}

    def _subtract_last_pass(self, n_rows):
        super()._subtract_last_pass(n_rows)
        for name in self._last_pass:  # what rounding leaves of a sum that is subtracted wholly
            np.maximum(getattr(self, name), 0, out=getattr(self, name))

    def _decay(self):
        for name in self._decaying:
            setattr(self, name, getattr(self, name) * self.forget_factor)

    def _shift_factor(self, batch):
        """Return the shifts of a batch as a factor; none here: the model has no shifts."""
        return {}

    def _admit(self, data):
        """Extend the arrays by strata and pairs that are new; nothing to do here."""

    def _rescale(self, shift):
        if shift:
            a, b, _ = self.powers
            degree = 2 * self.beta - 1  # of the gradient, in powers of 2 ** shift
            self.log4_scale += shift
            powers = {"H": 1, "numerators": degree + a, "denominators": degree - b, "totals": 2 * self.beta}
            for name, power in (powers | {"sq_norm": 4}).items():
                setattr(self, name, _scaled(getattr(self, name), power * shift))


def _scaled(values, exponent):
    """Return values times ``2.0 ** exponent``, in their dtype."""
    if exponent == int(exponent):
        return np.ldexp(values, int(exponent))
    return values * 2.0**exponent


class StrataRatioStatistics(HasStrata, RatioStatistics):
    """As `RatioStatistics`, for a model with a shift for every stratum, non-zero only in the columns that it uses.

    O(m K + q) numbers, where q counts the pairs of a column and a stratum that has used it. The shift of a new pair
    begins at half the mean of the stratum so far. Its denominator counts the earlier rows of the stratum as if they
    were like those of the batch, which is exact for Kullback-Leibler.

    Attributes
    ----------
    labels, sizes, v :
        As for `StrataStatistics`.
    pair_start, pair_stratum : ndarray (m + 1,) of int64, (q,) of int32
        The pairs, as `start` and `group` of a `Pattern`.
    shift_numerators, shift_denominators : ndarray (q,) of float64
    """

    _of_shifts = ("shift_numerators", "shift_denominators")
    _state_names = (*RatioStatistics._state_names, "labels", "sizes", "v", "shift_numerators", "shift_denominators")
    _state_names += ("pair_start", "pair_stratum")

    def start(self, data, H, v=None):
        """Initialise with H (m, k), the entries v of the shifts on ``data.pattern``, and sums of zero.

        Both are given in the inner scale of `data`.
        """
        super().start(data, H)
        self.labels, self.sizes, pattern = data.labels, np.zeros(len(data.labels)), data.pattern
        order = np.lexsort((pattern.group, pattern.column))
        self._set_pairs(pattern.start, pattern.group[order])
        self.v = np.array(v, dtype=self.dtype)[order]
        self.shift_numerators, self.shift_denominators = np.zeros(len(self.v)), np.zeros(len(self.v))
        return self

    @classmethod
    def from_state(cls, state):
        """Return the statistics whose `to_state` returned `state`."""
        found = super().from_state(state)
        found._set_pairs(found.pair_start, found.pair_stratum)
        return found

    @property
    def n_pairs(self):
        """Number of shift entries."""
        return len(self.v)

    def hold_shifts(self, sparse_shifts):
        """Choose whether `shifts` are CSR: True, False, or None, where a dense array would be large."""
        if sparse_shifts is not self._sparse_shifts:
            self._sparse_shifts, self._pattern = sparse_shifts, None

    @property
    def pattern(self):
        """The pairs as a `Pattern`."""
        if self._pattern is None:
            none = np.zeros(len(self.pair_stratum), self.dtype)
            self._pattern = Pattern(self.pair_start, self.pair_stratum, none, len(self.labels), self._sparse_shifts)
        return self._pattern

    def _set_pairs(self, start, stratum):
        self.pair_start, self.pair_stratum, self._pattern = start, stratum, None

    def _admit_labels(self, labels):
        """Extend the strata by labels that are new."""
        if (labels := self._labels_with(labels)) is None:
            return
        place, sizes = np.searchsorted(labels, self.labels), np.zeros(len(labels))
        sizes[place] = self.sizes
        self.labels, self.sizes = labels, sizes
        self._set_pairs(self.pair_start, place[self.pair_stratum].astype(np.int32))

    def _admit(self, data):
        self._admit_labels(data.labels)
        place, own = self._places(data), data.pattern
        n_strata, m = len(self.labels), len(self.H)
        held = self.pattern.column.astype(np.int64) * n_strata + self.pair_stratum
        wanted = own.column.astype(np.int64) * n_strata + place[own.group]
        is_new = ~np.isin(wanted, held, assume_unique=True)
        if not is_new.any():
            return
        keys = np.union1d(held, wanted[is_new])
        column, stratum = np.divmod(keys, n_strata)
        at, of_new = np.searchsorted(keys, held), np.searchsorted(keys, wanted[is_new])
        begun = self._starts_of_pairs(data, place, is_new)
        for name in ("v", "shift_numerators", "shift_denominators"):
            array = np.zeros(len(keys), getattr(self, name).dtype)
            array[at] = getattr(self, name)
            setattr(self, name, array)
        self.v[of_new] = begun
        start = np.searchsorted(column, np.arange(m + 1)).astype(np.int64)
        self._set_pairs(start, stratum.astype(np.int32))

    def _starts_of_pairs(self, data, place, is_new):
        """Return the shifts with which pairs begin.

        Parameters
        ----------
        data : Strata
            Of a batch.
        place : ndarray (n_strata,) of int
            Of the strata of the batch among all.
        is_new : ndarray (q,) of bool
            Which pairs of the batch begin.
        """
        own, size = data.pattern, self.sizes[place] + data.groups.sizes
        return 0.5 * (own.sums[is_new] / size[own.group[is_new]])

    def _rows_before(self, data, place):
        """Return by how much denominators of shifts grow: for the rows before, and for those of a batch, by stratum."""
        return self.sizes[place], data.groups.sizes

    def _count(self, data, place):
        """Count the rows of a batch."""
        self.sizes[place] += data.groups.sizes

    def _shift_factor(self, batch):
        """Return the shifts of a batch on all pairs of its strata, after it has been given their pattern."""
        data = batch.data
        place, is_there = self._places(data), data.groups.counts > 0
        local = np.full(len(self.labels), -1, np.int32)
        local[place[is_there]] = np.flatnonzero(is_there)
        group = local[self.pair_stratum]
        batch.places = np.flatnonzero(group >= 0)
        column, group, own = self.pattern.column[batch.places], group[batch.places], data.pattern
        n_columns, n_groups = data.shape[1], data.n_strata
        sums = np.zeros(len(group), data.dtype)
        keys = column.astype(np.int64) * n_groups + group
        sums[np.searchsorted(keys, own.column.astype(np.int64) * n_groups + own.group)] = own.sums
        start = np.searchsorted(column, np.arange(n_columns + 1)).astype(np.int64)
        data.pattern = Pattern(start, group, sums, n_groups, data.sparse_shifts)
        return {"V": self.v[batch.places].copy()}

    def _add(self, batch, problem, factors, fresh):
        super()._add(batch, problem, factors, fresh)
        data, places = batch.data, batch.places
        own = self.shift_numerators[places], self.shift_denominators[places]
        pos, neg = self._parts("V", problem, factors)
        if batch.is_new:
            place, group = self._places(data), data.pattern.group
            before, size = self._rows_before(data, place)
            earlier = np.where(own[1] == 0, before[group], 0)
            neg = neg * (1 + earlier / np.maximum(size[group], LEAST_DIVISOR))
            self._count(data, place)
        self._accumulate(factors["V"], pos, neg, *own)
        self.shift_numerators[places], self.shift_denominators[places] = own

    def _decay(self):
        super()._decay()
        factor = strata_decay(self.sizes, self.forget_factor)
        self.sizes = self.sizes * factor
        of_pairs = factor[self.pair_stratum]
        self.shift_numerators, self.shift_denominators = (
            of_pairs * sums for sums in (self.shift_numerators, self.shift_denominators)
        )

    def _copied(self):
        return super()._copied() | {name: getattr(self, name).copy() for name in self._of_shifts}

    def _move(self):
        self._minimise(self.v, self.shift_numerators, self.shift_denominators)
        super()._move()

    def _rescale(self, shift):
        super()._rescale(shift)
        if shift:
            a, b, _ = self.powers
            degree = 2 * self.beta - 2
            powers = {"v": 2, "shift_numerators": degree + 2 * a, "shift_denominators": degree - 2 * b}
            for name, power in powers.items():
                setattr(self, name, _scaled(getattr(self, name), power * shift))
