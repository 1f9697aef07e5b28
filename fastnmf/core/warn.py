"""Warn of labels that are not used."""

import sys

from fastnmf.kernels.warn import warn


def warn_of_y(model, y, strata):
    """Warn that a model with strata ignores `y`, where `strata` is None: labels of strata are often passed as y.

    scikit-learn's checks of estimators always pass a y, so they get no warning.
    """
    if y is None or strata is not None:
        return
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == "sklearn.utils.estimator_checks":
            return
        frame = frame.f_back
    of_classes = "; label_weight > 0 would fit classes" if hasattr(model, "label_weight") else ""
    warn(f"y is ignored, and all rows are one stratum: pass the labels of strata as strata={of_classes}.", UserWarning)


_SAID = set()


def warn_once(key, message, category=UserWarning):
    """Warn as `warn` does, but only once in a process for each key."""
    if key not in _SAID:
        _SAID.add(key)
        warn(message, category)
