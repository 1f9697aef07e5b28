"""One row of `family_quality.py`: a model beside a reference, by the objective, by a truth, and by the time."""

import time
from typing import NamedTuple

import numpy as np

STARTS = 10


class Judged(NamedTuple):
    """One row for one seed.

    Attributes
    ----------
    one, ten : float
        Ratio of the objective to that of the reference with one start and with ten; NaN where there is no such ratio.
    ours, reference : float
        Seconds of processor time of ten starts.
    recovered, wanted : float
        What is recovered of a truth, and the least that must be; NaN where there is none.
    """

    one: float = np.nan
    ten: float = np.nan
    ours: float = np.nan
    reference: float = np.nan
    recovered: float = np.nan
    wanted: float = np.nan


def seconds(function):
    """Return what a function returns, and the processor time that it took."""
    began = time.process_time()
    found = function()
    return found, time.process_time() - began


def compared(make, objective, reference, seed, starts=STARTS, fit=lambda model: model):
    """Return the row of a model with an objective.

    Parameters
    ----------
    make : callable
        ``make(**options)`` returns the estimator.
    objective : callable
        ``objective(model)`` of a fitted model.
    reference : callable
        ``reference(rng)``, the objective that it reaches from a random start.
    seed : int
    starts : int, default=10
        Of the reference; ours has as many.
    fit : callable
        Fits an estimator and returns it.
    """
    rng = np.random.default_rng(seed)
    best, of_reference = seconds(lambda: min(reference(rng) for _ in range(starts)))
    one = objective(fit(make(random_state=seed)))
    model, ours = seconds(lambda: fit(make(random_state=seed, n_init=starts)))
    return Judged(one / best, objective(model) / best, ours, of_reference)
