"""Alternate the updates of factors: the solver of a `Problem`, one iteration of it, extrapolation, rescaling."""

from functools import cached_property

import numpy as np

from fastnmf.core.factors import aligned, refill
from fastnmf.core.iterate import Solver, iterate
from fastnmf.core.kept_state import require
from fastnmf.core.penalties.elastic_net import balanced
from fastnmf.core.squarem import SQUAREM
from fastnmf.core.thresholds import SAFE_SQUARE
from fastnmf.kernels import rows

WORTH_SCALING = 1e-3  # least gain by another scale of a start, as a share of the loss of the trivial model
SAFE_POWER = 120  # up to it, powers of two are normal numbers in float32, and so are their inverses
# First bound of the steps under Kullback-Leibler. With 4 a default fit of 600 digits stopped .86 % above its loss after
# 2000 iterations, with 16 .41 % above a lower one. That one and six other fits, of digits, texts and counts, took 9 %
# more iterations in total; after 2000 they were between equal and 1 % lower.
LIMIT_OF_DIVERGENCE = 16.0
MAX_DRIFT = 60  # allowed difference between the binary logarithms of the squared lengths of a column of H and of W


class Extrapolation:
    """Extrapolate W and H (Ang and Gillis 2019, "Accelerating NMF algorithms using extrapolation").

    After its updates in an iteration, F becomes ``max(0, F + beta (F - F_last))``, where F_last is F after its updates
    in the previous iteration. W is extrapolated at once, H before the next iteration. The objective is therefore
    evaluated at a pair (W, H) whose H is not extrapolated, and this pair is returned.

    After a decrease of the objective, beta is multiplied by `growth`, up to a bound that is multiplied by
    `bound_growth` and is at most 1. After an increase, W is reset to its value before its extrapolation, H is kept, the
    bound is set to beta, and beta is divided by `shrink`. (Resetting both factors to the previous iteration, as in the
    source, needs two more copies and took no fewer iterations on 20 newsgroups.)

    Parameters
    ----------
    tasks : dict, factor name -> task table
    factors : Factors
    beta : float, default=0.5
        Initial step of the extrapolation.
    growth, bound_growth : float, default=1.01, 1.005
        Factors >= 1 of beta and of its bound after a decrease.
    shrink : float, default=1.5
        Divisor > 1 of beta after an increase.

    Attributes
    ----------
    before : dict
        W and H after their updates in the previous iteration, before extrapolation.
    is_on : bool
        Whether the next calls of `carry` extrapolate.
    """

    def __init__(self, tasks, factors, beta=0.5, growth=1.01, bound_growth=1.005, shrink=1.5):
        self.tasks, self.beta, self.bound = tasks, beta, 1.0
        self.growth, self.bound_growth, self.shrink, self._factors = growth, bound_growth, shrink, factors
        self.is_on = False  # off in the first iteration and after an increase of the objective

    @cached_property
    def before(self):
        """See the class; `SmallSolver` has arrays of its own in its place."""
        return {name: aligned(self._factors[name].shape, self._factors[name].dtype) for name in ("W", "H")}

    def carry(self, name, factors):
        """Extrapolate factor `name` in place, and store its value before extrapolation."""
        F = factors[name]
        if self.is_on:
            rows.rows_extrapolate(self.tasks[name], F, self.before[name], F.dtype.type(self.beta))
            factors.invalidate(name)
        else:
            self.before[name][:] = F

    def adapt_step(self, value, last, factors):
        """Adapt beta after an iteration: `value` is the objective, `last` that of the previous iteration."""
        self.is_on = value <= last
        if self.is_on:
            self.bound = min(1.0, self.bound_growth * self.bound)
            self.beta = min(self.bound, self.growth * self.beta)
        else:
            self.bound, self.beta = self.beta, self.beta / self.shrink
            factors.go_back("W", self.before["W"])

    def to_state(self):
        """Return a dict of everything that later extrapolations depend on."""
        return {"beta": self.beta, "bound": self.bound, "is_on": bool(self.is_on), "before": dict(self.before)}

    def from_state(self, state):
        """Restore the state that `to_state` returned."""
        self.beta, self.bound, self.is_on = state["beta"], state["bound"], state["is_on"]
        for name, array in state["before"].items():
            refill(self.before[name], array)


def acceleration(tasks, factors, options):
    """Return the `Extrapolation` of coordinate descent, the `SQUAREM` of the losses of counts, or None."""
    if not options.is_multiplicative:
        return Extrapolation(tasks, factors)
    if options.is_kullback_leibler:
        return SQUAREM(tasks, factors, limit=LIMIT_OF_DIVERGENCE)
    return SQUAREM(tasks, factors) if options.is_counts else None


def update_alone(problem, factors, name, n_updates):
    """Update one factor of a start several times, while the others are fixed.

    Parameters
    ----------
    problem : Problem
    factors : Factors
        Factor `name` is updated in place.
    name : str
    n_updates : int
    """
    for _ in range(n_updates):
        problem.updates[name](factors[name], problem.subproblem(name, factors), factors.rank, 1)
        factors.invalidate(name)


class AlternatingSolver(Solver):
    """Iterate the schedule of a problem from a start, the factors, which are updated in place.

    Parameters
    ----------
    problem : Problem
    factors : Factors
    extrapolation : Extrapolation or SQUAREM, optional
        The former is for schedules that update W first and H last. The objective may then increase in some iterations.
    start_value : float, optional
        Objective of the start, if `factors` cannot represent the start exactly (shifts outside their pattern).
    level : fastnmf.core.init.level.Level, optional
        The coarse level that the start comes from: the history then counts passes over the data.

    Attributes
    ----------
    guess : ndarray (n_rows, K), or None
        W whose supports are those of the exact W, up to a few; None where they are found from scratch.
    """

    varying, guess = ("cached_products",), None

    def __init__(self, problem, factors, extrapolation=None, start_value=None, level=None):
        self.problem, self.factors = problem, factors
        self.squarem = extrapolation if isinstance(extrapolation, SQUAREM) else None
        self.extrapolation = None if self.squarem else extrapolation
        self.scale, self.rounding, self._start_value = problem.scale, problem.rounding, start_value
        self._last, self.level, self._n_done = None, level, 0

    @property
    def penalty(self):
        """The part of the last objective that comes from penalties and from losses after the first."""
        return self.problem.penalty

    def begin(self):
        """Return the objective of the start."""
        self._last = self.problem.value(self.factors) if self._start_value is None else self._start_value
        return self._last

    def step(self):
        """Run the schedule once and return the objective."""
        problem, factors, extrapolation, last = self.problem, self.factors, self.extrapolation, self._last
        if problem.later and self._n_done >= problem.later[0]:
            problem.schedule, problem.later = problem.later[1], ()
        before = {name: F.copy() for name, F in factors.arrays.items()} if problem.retry_with_safe_step else None
        is_tried = self.squarem is not None and self.squarem.before_update(self._n_done, factors)
        sweep(problem, factors, extrapolation, n_more=self.level.n_more if self.level and self._n_done == 0 else 0)
        self._n_done += 1
        value = problem.value(factors)
        if before is not None and not value <= last:
            value = _retry_with_safe_power(problem, factors, before, last)
        if is_tried:
            self.squarem.after_update(value < last, factors)
            value = value if value < last else problem.value(factors)  # that of x2, and its part of the penalties
        if extrapolation is not None:
            extrapolation.adapt_step(value, last, factors)
        if problem.equalize_norms:
            equalize_column_norms(problem, factors, extrapolation)
        if problem.reseed_dead_component is not None and (n_reseeded := problem.reseed_dead_component(factors)):
            self.n_reseeded += int(n_reseeded)
            if extrapolation is not None:
                extrapolation.is_on = False
        self._last = value
        return value

    def columns(self):
        """Return the columns of the history that the data's loss adds."""
        columns = getattr(self.problem.losses[0], "columns", None)
        passes = {} if self.level is None else {"passes": self.level.passes + self._n_done}
        return passes | ({} if columns is None else columns())

    def to_state(self):
        """Return the factors, the extrapolation and the state of the losses.

        The dict omits results that are computed from the factors. It only lists the names of the cached products of the
        data with a factor: an update reads such a product if it is cached and otherwise computes its rows one by one,
        and the two ways may round differently. So may the sum over V, which its update returns.
        """
        sides, of_V, factors, losses = {"W": "H", "H": "W"}, (("pos", "V"), ("V",)), self.factors, self.problem.losses
        kept = self.extrapolation or self.squarem
        return {
            "factors": factors.to_state(),
            "extrapolation": None if kept is None else kept.to_state(),
            "losses": [loss.to_state() if hasattr(loss, "to_state") else {} for loss in losses],
            "penalties": [penalty.to_state() for penalty in self._stateful_penalties()],
            "cached_products": [
                name for name, other in sides.items() if factors.cache_valid(("product", name), (other,))
            ],
            "sum_of_V": factors.cached(*of_V, None) if factors.cache_valid(*of_V) else None,
            "reseeded": self.n_reseeded,
            "last": self._last,
        }

    def _stateful_penalties(self):
        each = (penalty for penalties in self.problem.penalties.values() for penalty in penalties)
        return [penalty for penalty in each if hasattr(penalty, "to_state")]

    def check_state(self, state, *, is_signed=False):
        """As `Solver.check_state`; a fit of version 0.1, which had no cycles, continues without them."""
        if self.squarem is not None and state.get("extrapolation") is None:
            self.squarem = None
        super().check_state(state, is_signed=is_signed)

    def from_state(self, state):
        """Restore the state that `to_state` returned for the same problem."""
        require(all(name in ("W", "H") for name in state["cached_products"]), "cached_products")
        require(state["last"] is not None or not len(state.get("history", {}).get("iteration", ())), "last")
        self.factors.from_state(state["factors"])
        if (kept := self.extrapolation or self.squarem) is not None:
            kept.from_state(state["extrapolation"])
        for loss, kept in zip(self.problem.losses, state["losses"], strict=True):
            if kept:
                loss.from_state(kept)
        for penalty, kept in zip(self._stateful_penalties(), state.get("penalties", ()), strict=True):
            penalty.from_state(kept)
        for name in state["cached_products"]:
            self.problem.losses[0].product(name, self.factors)
        if state.get("sum_of_V") is not None:  # files of version 0.1 lack it
            self.factors.cache_put(("pos", "V"), ("V",), state["sum_of_V"])
        self.n_reseeded, self._last = state["reseeded"], state["last"]
        self._n_done = ([0, *state.get("history", {}).get("iteration", ())])[-1]


def solve(problem, factors, *, extrapolation=None, start_value=None, **options):
    """Iterate the schedule of `problem` from `factors`, which are updated in place.

    Parameters
    ----------
    problem : Problem
    factors : Factors
        The start.
    extrapolation, start_value
        As for `AlternatingSolver`.
    **options
        `max_iter`, `tol` and the others of `fastnmf.core.iterate.iterate`.

    Returns
    -------
    fastnmf.core.iterate.Fit
    """
    return iterate(AlternatingSolver(problem, factors, extrapolation, start_value), **options)


def _retry_with_safe_power(problem, factors, before, last):
    """Undo an iteration that increased the objective, and repeat it with exponents that give shorter steps.

    If the repeated iterations also end above `last`, the factors `before` are kept. The cause is then rounding, or data
    below the smallest value that the model can represent.

    Parameters
    ----------
    problem : Problem
        The update of its first loss uses the exponent `power`, or one of `safe_powers` for the repetitions.
    factors : Factors
        Changed in place.
    before : dict
        Copies of the factors before the iteration, by name.
    last : float
        Objective before the iteration.

    Returns
    -------
    float
        The objective.
    """
    data_loss, power = problem.losses[0], problem.losses[0].power
    for safe_power in data_loss.safe_powers:
        data_loss.power = safe_power
        factors.overwrite(before)
        sweep(problem, factors)
        value = problem.value(factors)
        if value <= last:
            data_loss.power = power
            return value
    data_loss.power = power
    factors.overwrite(before)
    return problem.value(factors)


def sweep(problem, factors, extrapolation=None, *, n_more=0):
    """Run the schedule of `problem` once, and update `factors` in place.

    Factors that the schedule updates together are all updated from the same point. A subproblem that is not quadratic
    is computed again before each of its updates.

    Parameters
    ----------
    problem : Problem
    factors : Factors
    extrapolation : Extrapolation, optional
    n_more : int, default=0
        Further sweeps over W.
    """
    if problem.balance_penalties:
        rebalance(problem, factors, extrapolation)
    if extrapolation is not None:
        extrapolation.carry("H", factors)
    for step in problem.schedule:
        together = step if isinstance(step[0], tuple) else (step,)
        subs = [problem.subproblem(name, factors) for name, _ in together]
        for (name, n_sweeps), sub in zip(together, subs, strict=True):
            n_sweeps += n_more if name == "W" else 0
            for _ in range(n_sweeps - 1 if not sub.is_quadratic else 0):  # pos and neg are valid at one point only
                problem.updates[name](factors[name], sub, factors.rank, 1)
                factors.invalidate(name)
                sub = problem.subproblem(name, factors)
            n_sweeps = n_sweeps if sub.is_quadratic else 1
            found = problem.updates[name](factors[name], sub, factors.rank, n_sweeps)
            factors.invalidate(name)
            if found is not None and len(together) == 1:
                if sub.is_of_data[0]:
                    is_of_V = sub.weight is not None or sub.pattern is not None
                    known_for = (name,) if is_of_V else tuple(dict.fromkeys(("W", "H", name)))
                    known_for = tuple(f for f in known_for if f in factors.arrays)
                    factors.cache_put(("pos", name), known_for, found[0])
                if found[1] is not None and sub.is_of_data[1]:
                    factors.cache_put(("neg", name), tuple(factors.arrays), found[1])
                if len(found) > 2 and sub.is_of_data[1]:
                    factors.cache_put(("squares", name), tuple(factors.arrays), found[2])
        if extrapolation is not None and name == "W":
            extrapolation.carry("W", factors)


def rebalance(problem, factors, extrapolation=None):
    """Rescale every component in place so that the sum of the penalties of W and H is smallest; ``W Hᵀ`` is unchanged.

    Without this step a penalty on one factor has little effect: that factor shrinks, the other one grows, and the
    product stays the same.
    """
    of_W, of_H = (problem.penalties[name][0].columns(factors[name]) for name in ("W", "H"))
    t = balanced(of_W, of_H)
    if np.allclose(t, 1, rtol=1e-3, atol=0):  # smaller corrections are left to the updates
        return
    for name, scale in (("W", t), ("H", 1 / t)):
        factors.multiply_columns(name, scale)
        if extrapolation is not None:
            np.multiply(extrapolation.before[name], scale, out=extrapolation.before[name], casting="same_kind")


def scale_start(problem, factors, strata):
    """Rescale the columns of H in place for a start whose W is still zero.

    The scale is that at which the sum of the penalties is smallest for a constant W with which every component explains
    the same share of the data. Otherwise the effect of the penalties on the first update of W would depend on the units
    of the data: for small data they would make W zero.

    Parameters
    ----------
    problem : Problem
        Its first penalties of W and H are `ElasticNet`.
    factors : Factors
    strata : fastnmf.data.strata.Strata
    """
    net = problem.penalties["W"][0]
    if len(factors["W"]) == strata.shape[0]:
        of_W = net.columns(_even_W(problem, factors, strata))
    else:  # the rows of W are elsewhere
        of_W = net.columns_of_even_rows(_even_row(problem, factors, strata), strata.total)
    t = balanced(of_W, problem.penalties["H"][0].columns(factors["H"]))
    np.divide(factors["H"], t, out=factors["H"], casting="same_kind")
    factors.invalidate("H")


def _even_W(problem, factors, strata):
    """Return a constant W, of the shape of W, with which every component explains the same share of the data."""
    guess = np.full(factors["W"].shape, _even_row(problem, factors, strata))
    return guess if strata.row_scale is None else guess * strata.row_scale[:, None]


def _even_row(problem, factors, strata):
    """Return the row (K,) of a constant W with which every component explains the same share of the data."""
    lengths = np.sqrt(np.einsum("jc,jc->c", factors["H"], factors["H"], dtype=np.float64))
    share = np.sqrt(problem.scale / (factors.rank * strata.total))  # total: the sum of the row weights
    return np.divide(share, lengths, out=np.zeros(len(lengths)), where=lengths > 0)


def search_scale(problem, factors, strata):
    """Multiply W and divide H of a start in place by the power of two with which the penalties of both are smallest.

    For penalties of which nothing but the value is known; see `scale_start` for W that is still zero.

    Parameters
    ----------
    problem : Problem
        Has penalties of W and of H.
    factors : Factors
    strata : fastnmf.data.strata.Strata
    """
    W, H = factors["W"] if factors["W"].any() else _even_W(problem, factors, strata), factors["H"]

    def cost(power):
        pairs = (("W", np.ldexp(W, power)), ("H", np.ldexp(H, -power)))
        return sum(penalty.value(F) for name, F in pairs for penalty in problem.penalties[name])

    best, power, direction = cost(0), 0, 1 if cost(1) <= cost(-1) else -1
    while best - (value := cost(power + direction)) > WORTH_SCALING * problem.scale:
        best, power = value, power + direction
    for name, sign in (("W", 1), ("H", -1)):
        np.ldexp(factors[name], sign * power, out=factors[name])
        factors.invalidate(name)


def equalize_column_norms(problem, factors, extrapolation=None):
    """Rescale columns of W and H in place to similar lengths where their lengths differ by more than `MAX_DRIFT`.

    The lengths of a component that contributes little drift apart: column lengths of 1e-123 and 1e+117 occurred near a
    perfect fit with more components than columns. The scales are powers of two, so that the product stays the same to
    the last bit.
    """
    shift = drift_powers(*(np.diagonal(problem.losses[0].gram(name, factors)) for name in ("W", "H")))
    if shift is None:
        return
    for name, sign in (("W", 1), ("H", -1)):
        factors.shift_exponents(name, sign * shift)
        if extrapolation is not None:
            np.ldexp(extrapolation.before[name], sign * shift, out=extrapolation.before[name])


def drift_powers(of_W, of_H):
    """Return integers p (k,): components of ``W 2**p`` and ``H 2**-p`` have similar lengths where they had drifted.

    Parameters
    ----------
    of_W, of_H : ndarray (k,)
        Squared lengths of the columns of W and of H.

    Returns
    -------
    ndarray of int, or None
        None where the lengths of no component differ by more than `MAX_DRIFT`.
    """
    is_used = (of_W > 0) & (of_H > 0)
    drift = np.zeros(len(is_used))
    drift[is_used] = np.log2(of_H[is_used]) - np.log2(of_W[is_used])
    if np.abs(drift).max() <= MAX_DRIFT:
        return None
    return np.where(np.abs(drift) > MAX_DRIFT, np.rint(drift / 4), 0).astype(int)


def balancing_powers(W, H, weight=None):
    """Return the integers p (k,) for which ``W 2**p`` and ``H 2**-p`` have components of similar lengths.

    The length of each column of W is then between half and twice that of the row of H. Powers of two keep the product
    to the last bit, short of underflow. A component that is zero in W or in H gets 0.

    Parameters
    ----------
    W : ndarray (n, k)
    H : ndarray (k, m)
    weight : ndarray (n,), default=None
        Each row of W counts so many times.
    """
    W = W if weight is None else W * np.sqrt(weight)[:, None]
    squares = _squares(W, H)
    if not ((squares > SAFE_SQUARE) & (squares < 1 / SAFE_SQUARE)).all():
        exponents = [np.frexp(side)[1] for side in (np.abs(W).max(axis=0), np.abs(H).max(axis=1))]
        W, H = np.ldexp(W, -exponents[0]), np.ldexp(H, -exponents[1][:, None])
        squares = _squares(W, H)
        is_used = (squares > 0).all(axis=0)
        of_W, of_H = np.log2(np.where(is_used, squares, 1))
        drift = np.where(is_used, of_H - of_W + 2.0 * (exponents[1] - exponents[0]), 0)
    else:
        of_W, of_H = np.log2(squares)
        drift = of_H - of_W
    return np.rint(drift / 4).astype(int)


def _squares(W, H):
    """Return the squared lengths of the columns of W (n, k) and the rows of H (k, m), (2, k) of float64."""
    of_W, of_H = np.einsum("ij,ij->j", W, W, dtype=np.float64), np.einsum("ij,ij->i", H, H, dtype=np.float64)
    return np.array([of_W, of_H])


def balanced_factors(W, H, weight=None):
    """Return W (n, k) and H (k, m) times the `balancing_powers`, and these."""
    powers = balancing_powers(W, H, weight)
    return times_powers(W, powers), times_powers(H, -powers[:, None]), powers


def balance(W, H, weight, others):
    """Multiply W and H in place by the `balancing_powers`, and the columns of other factors as the rows of H.

    Parameters
    ----------
    W : ndarray (n, k)
    H : ndarray (k, m)
    weight : ndarray (n,), or None
        Each row of W counts so many times.
    others : sequence of ndarray (p, k)
    """
    powers = balancing_powers(W, H, weight)
    for F, of_F in ((W, powers), (H, -powers[:, None]), *((F, -powers) for F in others)):
        times_powers(F, of_F, out=F)


def times_powers(F, powers, out=None):
    """Return ``F * 2.0 ** powers``, exactly, in `out` if it is given; F itself where all powers are 0."""
    if not np.any(powers):
        return F
    if np.abs(powers).max() > SAFE_POWER:
        return np.ldexp(F, powers, out=out)
    return np.multiply(F, np.ldexp(F.dtype.type(1), powers), out=out)  # in a fifth of the time
