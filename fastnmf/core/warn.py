"""Issue warnings that point at the user's line."""

import functools
import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])

_PASSED_OVER = ("fastnmf.", "sklearn.", "joblib.", "contextlib", "functools")


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


def warn(message, category=UserWarning):
    """Warn at the innermost frame outside this package and outside the libraries in `_PASSED_OVER`."""
    level, frame = 2, sys._getframe(1)
    while frame is not None and f"{frame.f_globals.get('__name__', '')}.".startswith(_PASSED_OVER):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def first_was(old: str) -> Callable[[Method], Method]:
    """Return a decorator of methods whose first argument, X, had the name `old`: they still take it, and warn."""

    def decorate(method: Any) -> Any:
        @functools.wraps(method)
        def with_either(self, *args, **more):
            if old in more:
                what = f"{type(self).__name__}.{method.__name__}({old}=...)"
                warn(f"{what} is deprecated and will be removed in version 0.3; use X=.", FutureWarning)
                args = (more.pop(old), *args)
            return method(self, *args, **more)

        return with_either

    return decorate
