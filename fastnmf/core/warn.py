"""Warn of labels that are not used, and of one factor that is penalised alone; warn once."""

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from fastnmf.core.penalties import CustomPenalty
from fastnmf.kernels.warn import warn

Method = TypeVar("Method", bound=Callable[..., Any])


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


def warn_of_one_penalty(options, penalties=None, factors=None):
    """Warn if one of W and H is penalised and the other is not, so that the penalty vanishes as the scale changes.

    Parameters
    ----------
    options : Options
    penalties : dict, default=None
        Penalties by factor; needed for penalties of the user, which may not depend on the scale.
    factors : Factors, default=None
        The start.
    """
    is_penalised = {name: getattr(options, name).alpha > 0 or bool(getattr(options, name).objects) for name in "WH"}
    if is_penalised["W"] == is_penalised["H"]:
        return
    one, other = ("W", "H") if is_penalised["W"] else ("H", "W")
    what, how = one, "shrink"
    if objects := getattr(options, one).objects:
        of_user = [penalty for penalty in penalties[one] if isinstance(penalty, CustomPenalty)]
        if len(of_user) == len(penalties[one]):
            how = of_user[0].can_be_dodged(factors[one])
        what = f"{one}, by {', '.join(type(each).__name__ for each in objects)},"
    if how:
        moves = {"shrink": ("grow", "shrinks"), "grow": ("shrink", "grows")}[how]
        remedy = "both (alpha_H='same')" if what == one else f"{other}, too, by alpha_{other} or by penalties"
        warn(
            f"Only {what} is penalised: {other} can {moves[0]} while {one} {moves[1]}, and the penalty vanishes. "
            f"Penalise {remedy}.",
            UserWarning,
        )


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
