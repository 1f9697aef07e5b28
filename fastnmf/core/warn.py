"""Warn of labels that are not used, of one factor that is penalised alone, of a model of nothing; warn once."""

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastnmf.core.penalties import CustomPenalty
from fastnmf.data.strata import Strata
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
    warn(f"y is ignored, and all rows are one stratum: pass stratum labels as strata={of_classes}.", UserWarning)


_SAID = set()


def warn_once(key, message):
    """Give a UserWarning as `warn` does, but only once in a process for each key."""
    if key not in _SAID:
        _SAID.add(key)
        warn(message, UserWarning)


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
            f"Only {what} is penalised: {other} can {moves[0]} while {one} {moves[1]}, so the penalty vanishes. "
            f"Penalise {remedy}.",
            UserWarning,
        )


NOTHING = 0.01  # share of what can be explained for certain, below which a model explains next to nothing


def warn_of_nothing(data, fit, losses):
    """Warn if a finished fit explains less than `NOTHING` of what one component alone, or the fit itself before, does.

    For non-negative data and the squared error, one component explains at least the share that the weights ``X h`` of
    ``h = Xᵀ X 1`` give it, whatever the data are: also of noise. Under other losses, which are relative to a model that
    may be a good one, the fit must have explained more than `NOTHING` itself. Costs three passes over X, and these only
    where less than `NOTHING` is explained.

    Parameters
    ----------
    data : Strata, or other data
    fit : fastnmf.core.iterate.Fit
    losses : ndarray (n,)
        Normalized losses of its course.
    """
    shares = 1 - np.square(losses)
    if fit.n_iter == 0 or fit.stopped_by in ("max_time", "callback") or not shares[-1] < NOTHING:
        return
    before, reach = float(np.max(shares)), 0.0
    if isinstance(data, Strata) and fit.solver.scale == data.sq_norm > 0:
        weights, values = data.entry_weights, data.X.data if data.is_sparse else data.X
        if (weights is None or weights.is_mask) and (values >= 0).all():
            h = data.X.T @ (data.X @ np.ones(data.shape[1], data.dtype))
            reach = float(np.square(data.X @ (h / np.linalg.norm(h)), dtype=np.float64).sum() / data.sq_norm)
    certain = max(reach, before if before > NOTHING else 0.0)
    if certain and shares[-1] < NOTHING * certain:
        which = "a single component can explain" if reach == certain else "it explained earlier in the fit"
        warn(
            f"The model explains next to nothing of X: {max(shares[-1], 0):.1g} of its loss, whereas {which} "
            f"{certain:.1g}; lower the penalties, or loosen the constraints.",
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
