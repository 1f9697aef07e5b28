"""Fit from several starts and keep the best result."""

from fastnmf.core.init.start_from import start_from_init
from fastnmf.core.iterate import Clock, Fit, is_small, iterate
from fastnmf.core.kept_state import check_count, check_real, require

SAME_STARTS = ("nndsvd", "nndsvda", "svd", "custom")  # values of `init` whose starts do not depend on the seed


def has_same_start(init):
    """Return whether all fits with this `init` have the same start, independently of the seed."""
    return init in SAME_STARTS if isinstance(init, str) else start_from_init(init) is not None


def check_restarts(n_init, init):
    """Raise if several starts are requested and the user has given one."""
    if n_init > 1 and (init == "custom" if isinstance(init, str) else start_from_init(init) is not None):
        given = "init='custom'" if isinstance(init, str) else "init=model"
        raise ValueError(f"n_init={n_init} requests several starts, but {given} gives only one; set n_init=1.")


class Restarts:
    """Run a solver from several starts, one after the other, and keep the run with the lowest final objective.

    `max_time` limits all runs together. No further run begins when this time has passed, when a callback has stopped a
    run, or when a run has ended at an objective whose normalized loss is at most `tol`: nothing is left that matters.

    Parameters
    ----------
    options : Options
        Its max_iter, tol and max_time are used.
    n_runs : int
        Number of starts.
    starts : iterator
        What `make` needs for the start of each run; drawn when the run begins.
    callbacks : fastnmf.models.base.callbacks.FitCallbacks
        Called after each iteration, and before each run if there are several.
    checkpoint : callable, or None
        As for `fastnmf.core.iterate.iterate`; it also stores the runs (see `to_state`).

    Attributes
    ----------
    best : Fit, or None
        The best run.
    objectives : list of float
        Final objective of every run.
    clock : Clock
        Of all runs together, from the begin of `run`.
    """

    def __init__(self, options, n_runs, starts, callbacks, checkpoint=None):
        self.options, self.n_runs, self.starts, self.callbacks = options, n_runs, starts, callbacks
        self.checkpoint, self.best, self.objectives, self._best_run = checkpoint, None, [], 0

    def run(self, make):
        """Run all starts and return the best `Fit`; ``make(start)`` returns a solver at its start."""
        clock = self.clock = Clock(self.options.max_time)
        kept = None if self.checkpoint is None else self.checkpoint.kept
        runs = {"objectives": []} if kept is None else kept["runs"]
        if kept is not None:
            with self.checkpoint.reading():
                self._check(runs)
        for run, start in enumerate(self.starts):
            if run < len(runs["objectives"]):
                self._restore(runs, run, start, make)
                continue
            if run and (self._leaves_nothing() or (clock.limit is not None and clock.left <= 0)):
                break
            if self.n_runs > 1:
                self.callbacks.begin_run(run, self.n_runs, clock.seconds)
            fit = self._run(Clock(clock.left), make(start), kept)
            kept, objective = None, fit.objective
            if not self.objectives or objective < min(self.objectives):
                self.best, self._best_run = fit, run
            self.objectives.append(objective)
            if fit.stopped_by == "callback":
                break
        return self.best

    def _leaves_nothing(self):
        return is_small(self.best.objective, self.options.tol, self.best.solver.scale)

    def _run(self, clock, solver, kept):
        if self.checkpoint is not None:
            self.checkpoint.runs, self.checkpoint.kept = self.to_state(), kept
        return iterate(
            solver,
            max_iter=self.options.max_iter,
            tol=self.options.tol,
            callback=self.callbacks if self.callbacks.is_needed else None,
            max_time=clock.limit,
            checkpoint=self.checkpoint,
            began=clock.began,
        )

    def to_state(self):
        """Return the finished runs as a dict of arrays and plain values."""
        found = {"objectives": list(self.objectives), "best_run": self._best_run, "best": None}
        if self.best is not None:
            found["best"] = self.best.to_state()
        return found

    def _restore(self, state, run, start, make):
        """Restore a finished run.

        Parameters
        ----------
        state : dict
            As `to_state` returns it.
        run : int
        start :
            As `make` takes it.
        make : callable
            As for `run`. The first run is always prepared, because models measure the data at their first start.
        """
        self.objectives.append(state["objectives"][run])
        solver = make(start) if run in (0, state["best_run"]) else None
        if run == state["best_run"]:
            with self.checkpoint.reading():
                self.best = Fit.from_state(solver, state["best"], is_signed=self.checkpoint.is_signed)
            self._best_run = run

    def _check(self, state):
        """Raise unless `state` holds finished runs, of which one is the best."""
        objectives, best = state["objectives"], check_count("best_run", state["best_run"])
        require(isinstance(objectives, list) and len(objectives) <= self.n_runs, "objectives")
        for objective in objectives:
            check_real("objectives", objective, is_signed=True)
        require((state["best"] is None) == (not objectives) and best < max(len(objectives), 1), "best_run")
