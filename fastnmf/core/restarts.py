"""Fit from several starts and keep the best result."""

import time

from fastnmf.core.options import generator

SAME_STARTS = ("nndsvd", "nndsvda", "custom")  # values of `init` whose starts do not depend on the seed


def has_same_start(model):
    """Return whether all fits of a model have the same start, independently of the seed."""
    return not isinstance(model.init, (str, type(None))) or model.init in SAME_STARTS


def n_runs(model):
    """Return how many starts a fit tries: one where all starts would be the same."""
    goes_on = model.warm_start and hasattr(model, "components_")
    return 1 if goes_on or has_same_start(model) else getattr(model, "n_init", 1)


class Restarts:
    """Iterate over the seeds of the runs of one fit, and keep the run with the lowest final objective.

    The first run uses the model's own `random_state`, so it gives the same bits as a fit with ``n_init=1``. The seeds
    of the other runs are spawned from it, and do not depend on the numbers that earlier runs drew. `max_time` limits
    all runs together. No further run begins when this time has passed, or when a callback has stopped a run.

    Parameters
    ----------
    model : estimator
    callbacks : fastnmf.models.base.callbacks.FitCallbacks
        Notified before each run if there are several.

    Attributes
    ----------
    max_time : float, or None
        Seconds that remain for the current run.
    best : tuple, or None
        Problem and `Fit` of the best run.
    objectives : list of float
        Final objective of every run.
    """

    def __init__(self, model, callbacks):
        self.model, self.callbacks, self.max_time = model, callbacks, model.max_time
        self.best, self.objectives, self._stopped, self._began = None, [], False, time.perf_counter()

    def __iter__(self):
        count, given = n_runs(self.model), self.model.random_state
        if count > 1:
            self.callbacks.begin_run(0, count, 0.0)
        yield given
        if count == 1:
            return
        for run, random_state in enumerate(generator(given).spawn(count - 1), start=1):
            seconds = time.perf_counter() - self._began
            if self.max_time is not None:
                self.max_time = self.model.max_time - seconds
            if self._stopped or (self.max_time is not None and self.max_time <= 0):
                return
            self.callbacks.begin_run(run, count, seconds)
            yield random_state

    def keep(self, problem, fit):
        """Record a finished run, and keep it if it is the best so far."""
        objective = fit.history["objective"][-1]
        self._stopped = fit.stopped_by == "callback"
        if not self.objectives or objective < min(self.objectives):
            self.best = problem, fit
        self.objectives.append(objective)
