"""The loop: schedule, stopping, history."""

import time
from dataclasses import dataclass

import numpy as np

from fastnmf.blas import single_threaded_blas
from fastnmf.kernels import rows
from fastnmf.kernels.jit import split_rows, threads
from fastnmf.kernels.simd import padded
from fastnmf.moves import HALS, ActiveSet
from fastnmf.penalties import balanced
from fastnmf.problem import Factors, Mixture, Subproblem, aligned, copy_rows

__all__ = [
    "Extrapolation",
    "Fit",
    "allocate",
    "as_arrays",
    "exact",
    "has_settled",
    "infer",
    "pad",
    "row_tasks",
    "solve",
    "sweep",
    "threads",
]

LOOK_BACK = 10  # iterations over which the decrease of the objective is judged: single steps plateau
LOOK_AHEAD = 100  # iterations whose gain is foretold from it
GUESS_SWEEPS = 5  # of coordinate descent, to guess the supports of exact solutions
MAX_DRIFT = 60  # of the binary exponents of the squared lengths of a column of H and of W


@dataclass
class Fit:
    """What a fit ended with.

    Attributes
    ----------
    factors : Factors
    history : dict
        Lists ``iteration``, ``objective``, ``penalty`` (its part in the objective) and ``seconds`` since the start, of
        which entry 0 is the start; ``revived``, how often a component had died.
    n_iter : int
    converged : bool
    stopped_by : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    """

    factors: object
    history: dict
    n_iter: int
    converged: bool
    stopped_by: str


class Extrapolation:
    """Carry W and H on along their last steps (Ang and Gillis 2019, "Accelerating NMF algorithms using extrapolation").

    After its moves of an iteration F becomes ``max(0, F + beta (F - F of the iteration before))``: W at once, H before
    the next iteration, so that what is judged and returned is a pair (W, H) of which H is not extrapolated. beta grows
    by `growth` up to a bound that grows by `bound_growth`; when the objective rises, W goes back to where it was before
    it was extrapolated, H stays, beta is divided by `shrink` and the bound set to it. (Going back to the factors of the
    iteration before, as in the source, needs two more copies and took no fewer iterations on 20 newsgroups.)
    """

    def __init__(self, tasks, factors, beta=0.5, growth=1.01, bound_growth=1.005, shrink=1.5):
        self.tasks, self.beta, self.bound = tasks, beta, 1.0
        self.growth, self.bound_growth, self.shrink = growth, bound_growth, shrink
        self.before = {name: aligned(factors[name].shape, factors[name].dtype) for name in ("W", "H")}
        self.is_on = False  # the first iteration, and the one after a rise, has no step to go on along

    def carry(self, name, factors):
        """Extrapolate factor `name`, and keep it as it is now."""
        F = factors[name]
        if self.is_on:
            rows.rows_extrapolate(self.tasks[name], F, self.before[name], F.dtype.type(self.beta))
            factors.moved(name)
        else:
            self.before[name][:] = F

    def judge(self, value, last, factors):
        """Adapt beta to the objective after an iteration."""
        self.is_on = value <= last
        if self.is_on:
            self.bound = min(1.0, self.bound_growth * self.bound)
            self.beta = min(self.bound, self.growth * self.beta)
        else:
            self.bound, self.beta = self.beta, self.beta / self.shrink
            factors["W"][:] = self.before["W"]
            factors.moved("W")

    def state(self):
        """Return all that its later steps depend on, as a dict."""
        return {"beta": self.beta, "bound": self.bound, "is_on": bool(self.is_on), "before": dict(self.before)}

    def restore(self, state):
        """Go on from what `state` returned."""
        self.beta, self.bound, self.is_on = state["beta"], state["bound"], state["is_on"]
        for name, array in state["before"].items():
            _refill(self.before[name], array)


class Loop:
    """A fit between two iterations: all that the iterations to come depend on.

    Attributes
    ----------
    history : dict
        As of `Fit`.
    best : list of float
        Least objective so far, after each iteration: extrapolation may raise the objective for a moment.
    """

    def __init__(self, problem, factors, extrapolation=None):
        self.problem, self.factors, self.extrapolation = problem, factors, extrapolation
        self.history = {"iteration": [], "objective": [], "penalty": [], "seconds": [], "revived": 0}
        self.best = []

    @property
    def iteration(self):
        """The number of iterations done."""
        return self.history["iteration"][-1]

    def note(self, iteration, value, seconds):
        """Add an entry to the history."""
        entries = {"iteration": iteration, "objective": value, "penalty": self.problem.penalty, "seconds": seconds}
        for name, entry in entries.items():
            self.history[name].append(entry)
        self.best.append(min(self.best[-1], value) if self.best else value)

    def state(self):
        """Return the state as a dict of arrays and plain values; the arrays are those of the loop, not copies.

        What has been computed from the factors is not in it, but for the names of products at hand: a move that finds
        one reads it, where otherwise it would put the rows together as it meets them, which may round otherwise.
        """
        sides, factors = {"W": "H", "H": "W"}, self.factors
        history = {name: np.asarray(entries) for name, entries in self.history.items()}
        return {
            "factors": dict(factors.arrays),
            "extrapolation": None if self.extrapolation is None else self.extrapolation.state(),
            "history": history,
            "revivals": [getattr(term, "revivals", 0) for term in self.problem.terms],
            "at_hand": [name for name, other in sides.items() if factors.has(("product", name), (other,))],
        }

    def restore(self, state):
        """Go on from what `state` returned for the same problem."""
        for name, array in state["factors"].items():
            _refill(self.factors[name], array)
            self.factors.moved(name)
        if self.extrapolation is not None:
            self.extrapolation.restore(state["extrapolation"])
        self.history = {name: entries.tolist() for name, entries in state["history"].items()}
        self.best = np.minimum.accumulate(state["history"]["objective"]).tolist()
        for term, revivals in zip(self.problem.terms, state["revivals"], strict=True):
            term.revivals = revivals
        for name in state["at_hand"]:
            self.problem.terms[0].product(name, self.factors)


def _refill(array, kept):
    if array.shape != kept.shape or array.dtype != kept.dtype:
        raise ValueError(
            f"The state is of factors of shape {kept.shape} and dtype {kept.dtype}, those here are {array.shape}, "
            f"{array.dtype}; it may come from a processor with other vector registers. Begin anew."
        )
    array[:] = kept


def solve(
    problem,
    factors,
    *,
    max_iter,
    tol,
    callback=None,
    start_value=None,
    extrapolation=None,
    max_time=None,
    keeper=None,
):
    """Iterate the schedule of `problem` from `factors`, which move in place.

    Stops when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than ``tol`` times
    itself, or when it has reached the rounding of the data; with ``tol=0`` after `max_iter` iterations and for no other
    reason (but a callback that returns True). (The decrease over 10 iterations itself, against tol, ended 0.05 % above
    the final loss on 20 newsgroups: a sparse matrix of which the model explains 4 % hides its progress.)

    Parameters
    ----------
    problem : Problem
    factors : Factors
    max_iter : int
    tol : float
    callback : callable, optional
        ``callback(iteration, normalized_loss, seconds)`` after every iteration, and for the start.
    start_value : float, optional
        Objective of the start where `factors` cannot express it (shifts off their pattern).
    max_time : float, optional
        Seconds after which no other iteration begins.
    extrapolation : Extrapolation, optional
        For schedules that move W first and H last; the objective may then rise now and again.
    keeper : callable, optional
        ``keeper(loop, is_last)`` after every iteration, and for the start, with the `Loop`; its attribute ``kept`` is
        None, or what ``loop.state()`` once returned: then the loop goes on from there, as if it had just got there.

    Returns
    -------
    Fit
    """
    loop, began = Loop(problem, factors, extrapolation), time.perf_counter()
    if keeper is not None and keeper.kept is not None:
        loop.restore(keeper.kept)
        began -= loop.history["seconds"][-1]
    else:
        value = problem.value(factors) if start_value is None else start_value
        loop.note(0, value, time.perf_counter() - began)
    while True:
        stopped_by = _why_stop(loop, max_iter, tol, callback, max_time)
        if keeper is not None:
            keeper(loop, stopped_by is not None)
        if stopped_by is not None:
            is_settled = stopped_by == "tol" or stopped_by == "max_iter" and tol == 0
            return Fit(factors, loop.history, loop.iteration, is_settled, stopped_by)
        before = {name: F.copy() for name, F in factors.arrays.items()} if problem.falls_back else None
        sweep(problem, factors, extrapolation)
        value = problem.value(factors)
        if before is not None and not value <= loop.history["objective"][-1]:
            value = _again(problem, factors, before, loop.history["objective"][-1])
        if extrapolation is not None:
            extrapolation.judge(value, loop.history["objective"][-1], factors)
        if problem.anchors_scale:
            anchor_scale(problem, factors, extrapolation)
        if problem.revive is not None and problem.revive(factors):
            loop.history["revived"] += 1
            if extrapolation is not None:
                extrapolation.is_on = False
        loop.note(loop.iteration + 1, value, time.perf_counter() - began)


def _again(problem, factors, before, last):
    """Go back to the factors `before`, run the schedule with the safe power, and return the objective.

    Stay there where that, too, ends above `last`: it is rounding then, or data below the least value of a model.
    """
    term, power = problem.terms[0], problem.terms[0].power
    _restore(factors, before)
    term.power = term.safe_power
    sweep(problem, factors)
    term.power = power
    value = problem.value(factors)
    if value <= last:
        return value
    _restore(factors, before)
    return problem.value(factors)


def _restore(factors, arrays):
    for name, F in arrays.items():
        factors[name][:] = F
        factors.moved(name)


def _why_stop(loop, max_iter, tol, callback, max_time):
    """Return why the loop ends here, or None; `callback` is told where it is."""
    problem, history = loop.problem, loop.history
    if callback is not None:
        loss = max(history["objective"][-1] - history["penalty"][-1], 0.0)
        if callback(loop.iteration, normalized(loss, problem.scale), history["seconds"][-1]):
            return "callback"
    if loop.iteration > 0 and max_time is not None and history["seconds"][-1] >= max_time:
        return "max_time"
    if loop.iteration > 0 and tol > 0 and has_settled(loop.best, tol, problem.rounding):
        return "tol"
    return "max_iter" if loop.iteration >= max_iter else None


def sweep(problem, factors, extrapolation=None):
    """Run the schedule once."""
    if problem.balances:
        rebalance(problem, factors, extrapolation)
    if extrapolation is not None:
        extrapolation.carry("H", factors)
    for step in problem.schedule:
        together = step if isinstance(step[0], tuple) else (step,)
        subs = [problem.subproblem(name, factors) for name, _ in together]
        for (name, n_sweeps), sub in zip(together, subs, strict=True):
            for _ in range(n_sweeps - 1 if not sub.is_quadratic else 0):  # its pos and neg hold at one point only
                problem.moves[name](factors[name], sub, factors.rank, 1)
                factors.moved(name)
                sub = problem.subproblem(name, factors)
            n_sweeps = n_sweeps if sub.is_quadratic else 1
            found = problem.moves[name](factors[name], sub, factors.rank, n_sweeps)
            factors.moved(name)
            if found is not None and len(together) == 1:
                if sub.is_of_data[0]:
                    known_for = (
                        (name,) if sub.weight is not None else tuple(f for f in ("W", "H") if f in factors.arrays)
                    )
                    factors.remember(("pos", name), known_for, found[0])
                if found[1] is not None and sub.is_of_data[1]:
                    factors.remember(("neg", name), tuple(factors.arrays), found[1])
        if extrapolation is not None and name == "W":
            extrapolation.carry("W", factors)


def rebalance(problem, factors, extrapolation=None):
    """Give every component the scale at which the penalties of W and H together are least; W H stays the same.

    Without it a penalty hides: W grows, H shrinks, nothing else changes.
    """
    of_W, of_H = (problem.penalties[name][0].columns(factors[name]) for name in ("W", "H"))
    t = balanced(of_W, of_H)
    if np.allclose(t, 1, rtol=1e-3, atol=0):  # from there on the moves see to it
        return
    for name, scale in (("W", t), ("H", 1 / t)):
        np.multiply(factors[name], scale, out=factors[name], casting="same_kind")
        factors.moved(name)
        if extrapolation is not None:
            np.multiply(extrapolation.before[name], scale, out=extrapolation.before[name], casting="same_kind")


def scale_start(problem, factors, strata):
    """Give the columns of H, where a start has no W yet, their scale beside a W that explains even shares of the data.

    Otherwise penalties judge the first W by the units of the data: of small data they would leave nothing.
    """
    lengths = np.sqrt(np.einsum("jc,jc->c", factors["H"], factors["H"], dtype=np.float64))
    share = np.sqrt(problem.scale / (factors.rank * strata.total))  # a weighted row counts as so many
    guess = np.full(factors["W"].shape, np.divide(share, lengths, out=np.zeros(len(lengths)), where=lengths > 0))
    guess = guess if strata.loading is None else guess * strata.loading[:, None]
    t = balanced(problem.penalties["W"][0].columns(guess), problem.penalties["H"][0].columns(factors["H"]))
    np.divide(factors["H"], t, out=factors["H"], casting="same_kind")
    factors.moved("H")


def anchor_scale(problem, factors, extrapolation=None):
    """Give the columns of W and H the same length, by powers of two, where their lengths have drifted apart.

    A component that is hardly needed drifts: with more components than columns, near a perfect fit, column lengths of
    1e-123 and 1e+117 were seen. The product stays the same to the last bit.
    """
    squares = {name: np.diagonal(problem.terms[0].gram(name, factors)) for name in ("W", "H")}
    is_used = (squares["W"] > 0) & (squares["H"] > 0)
    drift = np.zeros(len(is_used))
    drift[is_used] = np.log2(squares["H"][is_used]) - np.log2(squares["W"][is_used])
    if np.abs(drift).max() <= MAX_DRIFT:
        return
    shift = np.where(np.abs(drift) > MAX_DRIFT, np.rint(drift / 4), 0).astype(int)
    for name, sign in (("W", 1), ("H", -1)):
        np.ldexp(factors[name], sign * shift, out=factors[name])
        factors.moved(name)
        if extrapolation is not None:
            np.ldexp(extrapolation.before[name], sign * shift, out=extrapolation.before[name])


def has_settled(best, tol, rounding):
    """Tell whether the objectives `best` promise less than ``tol`` times the last one over the next 100 iterations."""
    if best[-1] <= rounding:
        return True
    if len(best) <= LOOK_BACK:
        return False
    return (best[-1 - LOOK_BACK] - best[-1]) * LOOK_AHEAD / LOOK_BACK <= tol * best[-1]


def normalized(objective, scale):
    """Return the square root of ``objective / scale``, 0 where the scale is 0."""
    return np.sqrt(objective / scale) if scale > 0 else np.zeros_like(objective)


def as_arrays(history, scale):
    """Return `history` as arrays: ``iteration``, ``normalized_loss``, ``objective`` (with penalties), ``seconds``."""
    objective, penalty = (np.asarray(history[name], dtype=np.float64) for name in ("objective", "penalty"))
    return {
        "iteration": np.asarray(history["iteration"], dtype=np.int64),
        "normalized_loss": normalized(np.maximum(objective - penalty, 0.0), scale),
        "objective": objective,
        "seconds": np.asarray(history["seconds"], dtype=np.float64),
    }


def pad(F, strata):
    """Return F (p, k) in an aligned array (p, K) of the data's dtype, zero from column k on."""
    out = aligned((len(F), padded(F.shape[1], strata.dtype)), strata.dtype)
    copy_rows(F, out[:, : F.shape[1]])
    return out


def row_tasks(F):
    """Return the task table of the row kernels over a padded factor."""
    return split_rows(len(F), F.shape[1] ** 2)


def allocate(strata, W, H, v):
    """Copy a start, in the data's inner scale, into padded factors.

    Parameters
    ----------
    strata : fastnmf.data.Strata
    W : ndarray (n_rows, k)
    H : ndarray (n_columns, k)
    v : ndarray (q,), or None
        Entries of the shifts on ``strata.pattern``.

    Returns
    -------
    factors : Factors
    tasks : dict
        Task tables of the row kernels, by factor.
    """
    rank = W.shape[1]
    W, H = pad(W, strata), pad(H, strata)
    tasks = {"W": row_tasks(W), "H": row_tasks(H)}
    if v is None:
        return Factors(rank, W=W, H=H), tasks
    return Factors(rank, W=W, H=H, V=np.array(v, dtype=strata.dtype)), tasks | {"V": strata.pattern.entry_tasks}


def infer(strata, rank, H, V, product=None, penalties=()):
    """Return the exact non-negative weights of every row for fixed H and V: ``min_{w >= 0} ||a - v - H w||``.

    One row does not depend on another, so the same row gets the same weights in fit and in transform.

    Parameters
    ----------
    strata : fastnmf.data.Strata
    rank : int
    H : ndarray (n_columns, K)
        Padded, in the data's inner scale.
    V : ndarray (n_strata, n_columns), or None
        Shifts in the data's inner scale.
    product : ndarray (n_rows, K), optional
        ``X H``, where it is known.
    penalties : sequence of Penalty
        Of W.

    Returns
    -------
    W : ndarray (n_rows, K)
    sub : Subproblem
        What W minimises: gram (K, K), pos (n_rows, K), neg one row a stratum.
    """
    if product is None:
        product = aligned((strata.shape[0], H.shape[1]), strata.dtype)
        strata.matmul(H, product)
    W = aligned(product.shape, strata.dtype)
    sub = Subproblem(row_tasks(W))
    sub.add(gram=rows.gram(row_tasks(H), H), pos=product)
    if V is not None:
        with single_threaded_blas():
            below = V @ H
        if strata.loading is None:
            sub.add(neg=Mixture.of(below, strata.codes))
        else:
            sub.add(neg=Mixture(np.arange(len(W) + 1), strata.codes, strata.loading, below))
    for penalty in penalties:
        penalty.contribute(W, sub, rank)
    exact(W, sub, rank)
    return W, sub


def exact(F, sub, rank):
    """Move F (p, K) to the exact non-negative minimiser of a quadratic subproblem."""
    HALS()(F, sub, rank, GUESS_SWEEPS)
    ActiveSet()(F, sub, rank)
