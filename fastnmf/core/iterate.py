"""Iterate a solver until a stopping rule applies: the only loop of the package, its history, its clock and its rules.

`iterate` knows how to step, to record a value, to stop and to report; it knows nothing of what is iterated. That is a
`Solver`: alternating updates of factors (`fastnmf.core.alternate`), passes over batches (`fastnmf.core.passes`),
descents of hierarchies (`fastnmf.core.descent`), switches of binary factors (`fastnmf.core.discrete`), epochs of
Meta-NMF (`fastnmf.models.meta`). Every solver therefore has the same history, callbacks, time limit and checkpoints.
"""

import time
from dataclasses import dataclass
from functools import partial

import numpy as np

from fastnmf.core.kept_state import STOPPED_BY, check_count, check_history, check_like, check_real, require

LOOK_BACK = 10  # most iterations over which the decrease of the objective is measured: single steps plateau
LOOK_AHEAD = 100  # iterations for which the decrease is forecast
MIN_ITERATIONS = 6  # before the first forecast
LARGEST_EXPONENT = 1.5  # of the forecast; with 2 some fits of the study stopped 0.02 % above their limit


class Clock:
    """Seconds since a fit began, and what is left of its time limit.

    Parameters
    ----------
    limit : float, or None
        Seconds; None: no limit.
    """

    def __init__(self, limit=None):
        self.began, self.limit = time.perf_counter(), limit

    @property
    def seconds(self):
        """Seconds since the clock was made."""
        return time.perf_counter() - self.began

    @property
    def left(self):
        """Seconds that are left, possibly negative; None without a limit."""
        return None if self.limit is None else self.limit - self.seconds


class Solver:
    """Base of what `iterate` runs: a state, a step, a value. A subclass defines `step`, and what else it needs.

    Attributes
    ----------
    scale : float
        Objective of the trivial model, by which the loss is normalized.
    penalty : float
        The part of the last objective that comes from penalties.
    rounding : float
        Objective below which only rounding errors are left.
    stride : int
        Iterations that the last step made.
    n_reseeded : int
        Times that a dead component was replaced.
    ended : str, or None
        Why no further step is possible, as `Fit.stopped_by`; set by a `step` that returns None, and never by another.
    keeps_best : bool
        Whether the result is the best state of the run, and not the last one.
    can_cut : bool
        Whether an iteration may end after one of its parts; `cut` then ends it.
    counts_start : bool
        Whether the start meets the constraints of the model, so that its objective may be compared to later ones.
    varying : tuple of str
        Names in its state whose structure changes during a run; `from_state` checks them.
    """

    scale, penalty, rounding, stride, n_reseeded, can_cut = 1.0, 0.0, 0.0, 1, 0, False
    ended, keeps_best, counts_start, varying = None, False, True, ()

    def begin(self):
        """Return the objective of the start; None if it is not known."""

    def step(self):
        """Make an iteration and return its objective; or make a part of one, after which a state is valid: None."""
        raise NotImplementedError

    def leap(self, history, n_iter, tol):
        """Make up to `n_iter` iterations that nothing watches, and return their entries of the history; or make a step.

        Parameters
        ----------
        history : History
        n_iter : int
        tol : float
            As `stop` takes it; the iterations end where `stop` may end the fit.

        Returns
        -------
        dict of list, or what `step` returns
        """
        return self.step()

    def cut(self):
        """End the present iteration after the part that `step` has made, and return its objective."""
        raise NotImplementedError

    def columns(self):
        """Return further entries of the history, name -> value, for the last objective."""
        return {}

    def stop(self, history, tol):
        """Return why the solver ends after the last entry of the history (``"tol"``, ``"patience"``), or None."""
        is_met = tol > 0 and has_converged(self._lowest(history), tol, self.rounding, self.scale)
        return "tol" if is_met else None

    def _lowest(self, history):
        """Return the lowest objective up to each iteration, without that of a start that does not count."""
        if self.counts_start or history.best[-1] < history.best[0] or len(history["objective"]) < 2:
            return history.best
        return np.minimum.accumulate(history["objective"][1:]).tolist()

    def distance(self, history, tol):
        """Return how far the run is from its own rule: a ratio that is at most 1 when it applies; None: not known."""
        ahead, limit = decrease_ahead(history.best), least_decrease(history.best[-1], tol, self.scale)
        is_known = ahead is not None and limit > 0 and type(self).stop is Solver.stop
        return float(ahead / limit) if is_known else None

    def to_state(self):
        """Return everything that later steps depend on, as a dict of arrays and plain values, not copied."""
        raise NotImplementedError

    def from_state(self, state):
        """Restore the state that `to_state` returned for the same data and parameters."""
        raise NotImplementedError

    def check_state(self, state, *, is_signed=False):
        """Raise ValueError where a state, read from a file, is not one of this solver."""
        try:
            start = self.to_state()
        except AttributeError:  # what it holds is made by `begin`
            self.begin()
            start = self.to_state()
        check_like(state, start, is_signed=is_signed, skip=self.varying)


class History(dict):
    """Lists of equal length, one entry for the start (where its value is known) and one for each iteration.

    ``iteration``, ``objective``, ``penalty`` (the part of the objective that is due to penalties), ``seconds`` since
    the fit began, and the `Solver.columns` of the solver.

    Attributes
    ----------
    best : list of float
        Least objective up to each entry. With extrapolation the objective itself may increase for a few iterations.
    """

    def __init__(self, lists=()):
        super().__init__({"iteration": [], "objective": [], "penalty": [], "seconds": []} | dict(lists))
        self.best = np.minimum.accumulate(np.array(self["objective"], dtype=np.float64)).tolist()

    def note(self, **entries):
        """Append an entry to every list."""
        for name, entry in entries.items():
            self.setdefault(name, []).append(entry)
        objective = entries["objective"]
        self.best.append(min(self.best[-1], objective) if self.best else objective)

    def note_all(self, found):
        """Append several entries to every list, `found` by name."""
        for name, entries in found.items():
            self.setdefault(name, []).extend(entries)
        known = self.best[-1:] + found["objective"]
        self.best += np.minimum.accumulate(known)[len(known) - len(found["objective"]) :].tolist()

    @property
    def n_iter(self):
        """Number of completed iterations."""
        return self["iteration"][-1] if self["iteration"] else 0

    def to_state(self):
        """Return the lists as arrays."""
        return {name: np.asarray(entries) for name, entries in self.items()}

    @classmethod
    def from_state(cls, state):
        """Return the history whose `to_state` returned `state`."""
        return cls({name: entries.tolist() for name, entries in state.items()})


@dataclass
class Fit:
    """Result of a run of `iterate`.

    Attributes
    ----------
    solver : Solver
        The solver after its last step.
    history : History
    n_iter : int
        Number of iterations.
    converged : bool
        Whether the run ended by its own rule, or at `max_iter` with ``tol=0``.
    stopped_by : str
        ``"tol"``, ``"patience"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    """

    solver: Solver
    history: History
    n_iter: int
    converged: bool
    stopped_by: str

    @property
    def factors(self):
        """The factors of an alternating solver."""
        return self.solver.factors

    @property
    def problem(self):
        """The problem of an alternating solver."""
        return self.solver.problem

    def extend(self, later):
        """Add the iterations of a run that continued from the end of this one."""
        history, seconds, n_iter = self.history, self.history["seconds"][-1], self.n_iter
        for at in range(1, len(later.history["iteration"])):
            entries = {name: later.history[name][at] for name in history}
            entries["iteration"], entries["seconds"] = entries["iteration"] + n_iter, entries["seconds"] + seconds
            history.note(**entries)
        self.n_iter += later.n_iter

    @property
    def objective(self):
        """The objective of the result."""
        return self.history.best[-1] if self.solver.keeps_best else self.history["objective"][-1]

    @property
    def loss(self):
        """The last objective without penalties, at least 0."""
        return max(self.history["objective"][-1] - self.history["penalty"][-1], 0.0)

    def to_state(self):
        """Return the run as a dict of arrays and plain values; the arrays are those of the solver, not copies."""
        end = [self.n_iter, self.converged, self.stopped_by]
        return {"history": self.history.to_state(), "end": end, "solver": self.solver.to_state()}

    @classmethod
    def from_state(cls, solver, state, *, is_signed=False):
        """Return the run whose `to_state` returned `state`, with its solver, which is changed in place."""
        check_history(state["history"])
        n_iter, converged, stopped_by = state["end"]
        check_count("n_iter", n_iter)
        require(isinstance(converged, (bool, np.bool_)) and stopped_by in STOPPED_BY, "end")
        solver.check_state(state["solver"], is_signed=is_signed)
        solver.from_state(state["solver"])
        return cls(solver, History.from_state(state["history"]), *state["end"])


class SolverState:
    """Everything that the rest of a run depends on: the solver, its history, and the number of steps made.

    Parameters
    ----------
    solver : Solver
    began : float
        Time (``time.perf_counter``) from which seconds are counted.

    Attributes
    ----------
    is_within : bool
        Whether the last step was a part of an iteration.
    """

    def __init__(self, solver, began):
        self.solver, self.history, self.n_steps, self.began, self.is_within = solver, History(), 0, began, False

    @property
    def seconds(self):
        """Seconds since the run began."""
        return time.perf_counter() - self.began

    @property
    def iteration(self):
        """Number of completed iterations."""
        return self.history.n_iter

    def to_state(self):
        """Return the state as a dict of arrays and plain values; the arrays are those of the fit, not copies."""
        own = {"history": self.history.to_state(), "n_steps": self.n_steps, "is_within": self.is_within}
        return own | {"seconds": self.seconds, **self.solver.to_state()}

    def from_state(self, state, *, is_signed=False):
        """Restore the state that `to_state` returned; raise ValueError where a state is not one of this solver."""
        check_history(state["history"])
        check_count("n_steps", state["n_steps"])
        check_real("seconds", state["seconds"])
        require(isinstance(state["is_within"], bool), "is_within")
        self.solver.check_state(state, is_signed=is_signed)
        self.history = History.from_state(state["history"])
        self.n_steps, self.is_within = state["n_steps"], state["is_within"]
        self.began = time.perf_counter() - state["seconds"]
        self.solver.from_state(state)
        for name, value in self.solver.columns().items():  # to which later entries are like
            is_known = isinstance(value, np.ndarray) and name in state["history"]
            require(not is_known or state["history"][name].shape[1:] == value.shape, f"history of {name}")


def iterate(solver, *, max_iter, tol, callback=None, max_time=None, checkpoint=None, began=None):
    """Make steps of a solver until a rule says stop.

    Parameters
    ----------
    solver : Solver
        It is at its start, and is changed in place.
    max_iter : int
        Maximum number of iterations.
    tol : float
        Relative tolerance, >= 0, of the solver's own rule (`Solver.stop`).
    callback : callable, optional
        ``callback(iteration, normalized_loss, seconds, distance)``, called for the start, if its value is known, and
        after every iteration; ``distance()`` is `Solver.distance`. Iteration stops if it returns a true value.
    max_time : float, optional
        Seconds after which no further iteration begins, or no further part of one that can be cut short; at least one
        is made.
    checkpoint : callable, optional
        ``checkpoint(state, is_last)``, called with the `SolverState` for the start and after every step. If its
        attribute ``kept`` is not None, it is a dict that `SolverState.to_state` returned, and the run continues there;
        ``reading()`` is the context in which the state is checked, for data that may be negative if `is_signed`.
    began : float, optional
        Time (``time.perf_counter``) from which seconds are counted; None: now.

    Returns
    -------
    Fit
    """
    state = SolverState(solver, time.perf_counter() if began is None else began)
    is_watched = callback is not None or checkpoint is not None or max_time is not None
    if checkpoint is not None and checkpoint.kept is not None:
        with checkpoint.reading():
            state.from_state(checkpoint.kept, is_signed=checkpoint.is_signed)
    elif (value := solver.begin()) is not None:
        _note(state, 0, value)
    while True:
        if not state.is_within:  # a run may resume within an iteration
            stopped_by = solver.ended or _why_stop(state, max_iter, tol, callback, max_time)
            if checkpoint is not None:
                checkpoint(state, stopped_by is not None)
            if stopped_by is not None:
                is_settled = stopped_by in ("tol", "patience") or stopped_by == "max_iter" and tol == 0
                return Fit(solver, state.history, state.iteration, is_settled, stopped_by)
        value = solver.step() if is_watched else solver.leap(state.history, max_iter - state.iteration, tol)
        state.n_steps += 1
        if isinstance(value, dict):
            _note_all(state, value)
            continue
        state.is_within = value is None and solver.ended is None
        if state.is_within:
            is_late = solver.can_cut and max_time is not None and state.seconds >= max_time
            if checkpoint is not None:
                checkpoint(state, is_late)
            if not is_late:
                continue
            value, checkpoint = solver.cut(), None  # the file keeps the state from which the iteration can continue
            state.is_within = False
        if value is not None:
            _note(state, state.iteration + solver.stride, value)


def _note(state, iteration, value):
    solver = state.solver
    state.history.note(
        iteration=iteration, objective=value, penalty=solver.penalty, seconds=state.seconds, **solver.columns()
    )


def _note_all(state, found):
    """Add the entries that `Solver.leap` has returned; the seconds between them are spread evenly."""
    count, history = len(found["objective"]), state.history
    before, now, first = history["seconds"][-1], state.seconds, state.iteration + 1
    seconds = [before + (now - before) * at / count for at in range(1, count + 1)]
    more = {"iteration": range(first, first + count), "penalty": [state.solver.penalty] * count, "seconds": seconds}
    history.note_all(more | found)


def _why_stop(state, max_iter, tol, callback, max_time):
    """Call `callback`, and return the reason to stop, or None.

    Parameters
    ----------
    state : SolverState
    max_iter : int
    tol : float
    callback : callable, or None
    max_time : float, or None
        As for `iterate`.

    Returns
    -------
    str or None
        As `Fit.stopped_by`; None to continue.
    """
    solver, history = state.solver, state.history
    if not history["iteration"]:
        return None
    if callback is not None:
        loss = max(history["objective"][-1] - history["penalty"][-1], 0.0)
        distance = partial(solver.distance, history, tol)
        if callback(state.iteration, normalized(loss, solver.scale), history["seconds"][-1], distance):
            return "callback"
    if state.iteration > 0:
        if max_time is not None and history["seconds"][-1] >= max_time:
            return "max_time"
        if (stopped_by := solver.stop(history, tol)) is not None:
            return stopped_by
    return "max_iter" if state.iteration >= max_iter else None


def has_converged(best, tol, rounding, scale=0.0):
    """Return whether a fit has converged.

    It has if the next 100 iterations are expected to lower the objective by at most its `least_decrease`, or if the
    objective has reached the rounding error of the data.

    Parameters
    ----------
    best : list of float
        Lowest objective up to each iteration.
    tol : float
    rounding : float
        Objective below which only rounding errors are left.
    scale : float, default=0.0
        Objective of the trivial model.
    """
    if best[-1] <= rounding:
        return True
    ahead = decrease_ahead(best)
    return ahead is not None and bool(ahead <= least_decrease(best[-1], tol, scale))


def least_decrease(objective, tol, scale):
    """Return by how much 100 iterations have to lower an objective: `tol` times it, or times ``tol**2 * scale``.

    A normalized loss below `tol` thus counts as `tol`. Where X has an exact factorisation, an objective that tends to
    zero falls by a constant share of itself up to the rounding error.

    Parameters
    ----------
    objective, tol, scale : float
        The scale is the objective of the trivial model.
    """
    return tol * max(objective, tol * tol * scale)


def is_small(objective, tol, scale):
    """Return whether the normalized loss of an objective is at most `tol`; the scale is that of the trivial model."""
    return 0 <= objective <= tol * tol * scale


def decrease_ahead(best):
    """Return by how much the next 100 iterations are expected to lower the objective; None: it is too early to tell.

    The forecast is a power law of the decrease an iteration, through the last two windows of up to 10 iterations each:
    most fits slow down like one. The exponent is bounded, because a faster decay would stop fits that move on after a
    plateau, and it takes at least six iterations to tell. Where an extrapolation went too far in the last window, the
    pace is that of the last 10 iterations, and constant.

    Parameters
    ----------
    best : list of float
        Lowest objective up to each iteration.
    """
    i = len(best) - 1
    if i < MIN_ITERATIONS:
        return None
    window = min(LOOK_BACK, i // 3)
    if any(best[j] == best[j - 1] for j in range(i - window + 1, i + 1)):
        return (best[i - LOOK_BACK] - best[i]) * LOOK_AHEAD / LOOK_BACK if i >= LOOK_BACK else None
    earlier, later = best[i - 2 * window] - best[i - window], best[i - window] - best[i]
    pace, exponent = later / window, 0.0
    if earlier > later > 0:
        exponent = min(np.log(earlier / later) / np.log((i - 0.5 * window) / (i - 1.5 * window)), LARGEST_EXPONENT)
    ahead = np.arange(i + 1, i + 1 + LOOK_AHEAD) / (i - 0.5 * window)
    return pace * (ahead**-exponent).sum()


def has_slowed(before, now, n_iter, tol):
    """Return whether `n_iter` iterations from objective `before` to `now` were too slow: the next 100, at their pace.

    For solvers that know the objective of every `n_iter`-th iteration only.

    Parameters
    ----------
    before, now : float
        Objectives.
    n_iter : int
    tol : float
    """
    return (before - now) * LOOK_AHEAD / n_iter <= tol * now


def still_moves(steps, lengths, tol):
    """Return where a step is longer than `tol` times the length of what it has changed."""
    return steps > tol * lengths


def lacks_progress(history, tol, patience):
    """Return whether each of the last `patience` iterations lowered the least objective by at most `tol` times itself.

    An iteration without an earlier one counts as progress.
    """
    if len(history.best) <= patience:
        return False
    values, best = history["objective"][-patience:], history.best[-patience - 1 : -1]
    return all(value >= (1 - tol) * least for value, least in zip(values, best, strict=True))


def has_stalled(values, tol, patience):
    """Return whether `patience` values in a row have not counted as a decrease, at the end of `values`.

    A value counts if it is below ``1 - tol`` times the last one that counted; the first one does. Unlike in
    `lacks_progress`, small decreases add up until they count.
    """
    least, waited = np.inf, 0
    for value in values:
        least, waited = (value, 0) if value < (1 - tol) * least else (least, waited + 1)
    return waited >= patience


def normalized(objective, scale):
    """Return the square root of ``objective / scale``, 0 where the scale is 0."""
    return np.sqrt(objective / scale) if scale > 0 else np.zeros_like(objective)


def as_arrays(history, scale):
    """Return `history` as arrays: ``iteration``, ``normalized_loss``, ``objective`` (with penalties), ``seconds``.

    ``normalized_loss`` is the square root of the objective without penalties divided by `scale`. The further columns
    of the solver follow.
    """
    objective, penalty = (np.asarray(history[name], dtype=np.float64) for name in ("objective", "penalty"))
    found = {
        "iteration": np.asarray(history["iteration"], dtype=np.int64),
        "normalized_loss": normalized(np.maximum(objective - penalty, 0.0), scale),
        "objective": objective,
        "seconds": np.asarray(history["seconds"], dtype=np.float64),
    }
    return found | {name: np.array(entries) for name, entries in history.items() if name not in (*found, "penalty")}
