"""Stamp the time at which a fit enters and leaves its loop, ours or scikit-learn's, without touching either."""

import importlib
import time
from contextlib import contextmanager
from unittest import mock

import numpy as np
from interleave import first_at_or_under

from fastnmf.metrics import normalized_loss

OURS = "fastnmf.core.restarts.iterate"
COORDINATE_DESCENT = "sklearn.decomposition._nmf._fit_coordinate_descent"
MULTIPLICATIVE = "sklearn.decomposition._nmf._fit_multiplicative_update"


@contextmanager
def stamped(target, on_leave=None):
    """Note when the function `target` ("module.name") was entered and left; ``on_leave(args)`` runs at its end."""
    module, name = target.rsplit(".", 1)
    original, seen = getattr(importlib.import_module(module), name), {}

    def wrapper(*args, **kwargs):
        seen["entered"] = time.perf_counter()
        result = original(*args, **kwargs)
        seen["left"] = time.perf_counter()
        if on_leave is not None:
            on_leave(args)
        return result

    with mock.patch(target, wrapper):
        yield seen


def time_fit(model, X, loop=OURS, **arguments):
    """Fit once; return the seconds before, in and after the loop, and of the whole call."""
    with stamped(loop) as seen:
        begin = time.perf_counter()
        model.fit(X, **arguments)
        end = time.perf_counter()
    return {
        "before": seen["entered"] - begin,
        "loop": seen["left"] - seen["entered"],
        "after": end - seen["left"],
        "whole": end - begin,
    }


def time_to(model, X, n_iter, **arguments):
    """Return the seconds of a fit as `time_fit` does, and ``to target``: from its call to the end of `n_iter`."""
    sample = time_fit(model, X, **arguments)
    return sample | {"to target": sample["before"] + float(model.history_["seconds"][n_iter])}


def reach(make, X, exact, target, labels=None):
    """Return the first iteration whose own loss is at or under the target, its loss, and that of the returned factors.

    Parameters
    ----------
    make : function
        Returns our estimator for a number of iterations.
    X, exact : CSR arrays
        The data as they are fitted, and in float64: against these the losses are computed, from the factors.
    target : float
        Normalized loss.
    labels : ndarray, optional
        Strata; None for plain NMF.

    Raises
    ------
    RuntimeError
        If a loss computed from the factors is not what the history of the fit promised.
    """
    arguments = {} if labels is None else {"strata": labels}
    losses = make(40).fit(X, **arguments).history_["normalized_loss"]
    n_iter = first_at_or_under(losses[:-1], target)  # the last entry is that of the returned factors
    if n_iter is None:
        return {"iterations": None}
    found = {}

    def keep(args):
        problem, factors = args[0].problem, args[0].factors
        W, H = (factors[name][:, : factors.rank].astype(np.float64) for name in "WH")
        V = None if labels is None else problem.losses[0].pattern.dense(factors["V"])
        found["loss"] = normalized_loss(exact, W, H.T, V, labels)

    with stamped(OURS, keep):
        model = make(n_iter).fit(X, **arguments)
    found["returned"] = normalized_loss(exact, model.W_, model.components_, getattr(model, "shifts_", None), labels)
    for name, loss in found.items():
        if loss > target * (1 + 1e-6):  # float32 factors hold a loss to about 1e-7 of it
            raise RuntimeError(f"{model}, {X.dtype}: the loss {name!r} is {loss}, above the target {target}.")
    return {"iterations": n_iter, **found}
