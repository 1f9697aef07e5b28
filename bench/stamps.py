"""Stamp the time at which a fit enters and leaves its loop, ours or scikit-learn's, without touching either."""

import importlib
import time
from contextlib import contextmanager
from unittest import mock

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
        seen["began"] = kwargs.get("began", seen["entered"])  # from when our histories count
        result = original(*args, **kwargs)
        seen["left"] = time.perf_counter()
        if on_leave is not None:
            on_leave(args)
        return result

    with mock.patch(target, wrapper):
        yield seen


def time_fit(model, X, loop=OURS, **arguments):
    """Fit once; return the seconds before, in and after the loop, before the clock of the history, and of the call."""
    with stamped(loop) as seen:
        begin = time.perf_counter()
        model.fit(X, **arguments)
        end = time.perf_counter()
    return {
        "before": seen["entered"] - begin,
        "before clock": seen["began"] - begin,
        "loop": seen["left"] - seen["entered"],
        "after": end - seen["left"],
        "whole": end - begin,
    }
