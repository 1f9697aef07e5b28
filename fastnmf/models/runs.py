"""Several starts of one fit, of which the best is kept."""

import time

from fastnmf.models.options import generator

SAME_STARTS = ("nndsvd", "nndsvda", "custom")  # starts that do not depend on the seed


def has_same_start(model):
    """Tell whether every fit of a model has the same start, whatever the seed."""
    return not isinstance(model.init, (str, type(None))) or model.init in SAME_STARTS


def n_runs(model):
    """Return how many starts a fit tries: one where a second would be the same as the first."""
    goes_on = model.warm_start and hasattr(model, "components_")
    return 1 if goes_on or has_same_start(model) else getattr(model, "n_init", 1)


class Runs:
    """Iterate over the seeds of the runs of one fit, and keep the run that ends with the lowest objective.

    The first run has the model's own `random_state`, so that it is the fit without repetitions, to the last bit; the
    seeds of the others are spawned from it and do not depend on what the runs before drew. No further run begins when
    `max_time`, which is that of all runs together, has passed, or when a callback has stopped one.

    Attributes
    ----------
    max_time : float, or None
        Seconds that are left for the run that begins.
    best : tuple, or None
        Problem and `Fit` of the best run.
    objectives : list of float
        Objective at the end of every run.
    """

    def __init__(self, model, watch):
        self.model, self.watch, self.max_time = model, watch, model.max_time
        self.best, self.objectives, self._stopped, self._began = None, [], False, time.perf_counter()

    def __iter__(self):
        count, given = n_runs(self.model), self.model.random_state
        if count > 1:
            self.watch.begin_run(0, count, 0.0)
        yield given
        if count == 1:
            return
        for run, random_state in enumerate(generator(given).spawn(count - 1), start=1):
            seconds = time.perf_counter() - self._began
            if self.max_time is not None:
                self.max_time = self.model.max_time - seconds
            if self._stopped or (self.max_time is not None and self.max_time <= 0):
                return
            self.watch.begin_run(run, count, seconds)
            yield random_state

    def keep(self, problem, fit):
        """Take note of a run that has ended."""
        objective = fit.history["objective"][-1]
        self._stopped = fit.stopped_by == "callback"
        if not self.objectives or objective < min(self.objectives):
            self.best = problem, fit
        self.objectives.append(objective)
