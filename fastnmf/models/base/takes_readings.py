"""Let the methods of estimators take `Readings` as X: with the labels that these have, and the names that models keep.

A method gets what belongs to the rows by name, as if the user had passed it: what is inside knows matrices and labels.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from fastnmf.data.annotated import with_labels
from fastnmf.data.ondisk import DiskCSR
from fastnmf.data.readings import CARRIED, Readings, carried, names_of_rows

Method = TypeVar("Method", bound=Callable[..., Any])

_FITS = ("fit", "fit_transform", "partial_fit")
_METHODS = (*_FITS, "transform", "transform_own", "score", "reconstruction_errors", "explain", "recommend", "adapt")
_METHODS += ("estimate_shifts", "estimate_dispersion")
LONGEST_NAME = 100  # characters of a row that a model keeps


def take_readings(kind):
    """Make the methods of an estimator class that read rows take `Readings`."""
    for name in _METHODS:
        method = inspect.getattr_static(kind, name, None)
        if inspect.isfunction(method) and not hasattr(method, "takes_readings"):
            setattr(kind, name, taking_readings(method))


def taking_readings(method: Method) -> Method:
    """Return a method that takes `Readings`, too; for methods in descriptors, which `take_readings` does not see."""

    @functools.wraps(method)
    def takes_readings(self, *args, **given):
        if not any(isinstance(each, Readings) for each in (*args, *given.values())):
            return method(self, *args, **given)
        signature, is_fit = inspect.signature(method), method.__name__ in _FITS
        by_name = signature.bind(self, *args, **given).arguments | given
        by_name = {name: value for name, value in by_name.items() if name not in ("self", _rest_of(signature))}
        X = by_name.pop("X", None)
        if not isinstance(X, Readings):
            return method(self, *args, **given)
        takes = inspect.signature(self.fit if method.__name__ == "fit_transform" else method).parameters
        used = carried(X, **{name: by_name.get(name) for name in CARRIED if name in takes})
        used = {name: value for name, value in used.items() if by_name.get(name) is None and value is not None}
        given = by_name | {name: value for name, value in used.items() if name in self._uses_of_rows(is_fit)}
        matrix = X.named()
        if isinstance(matrix, DiskCSR):  # which has no columns that a name could mean
            given |= {"strata": with_labels(X, given["strata"])[1]} if "strata" in given else {}
            if isinstance(given.get("exposure"), str) and given["exposure"] in X.obs.columns:
                given["exposure"] = X.obs[given["exposure"]]
        result = method(self, X=matrix, **given)
        if is_fit:
            keep_source(self, X, has_rows=method.__name__ != "partial_fit")
        return result

    takes_readings.takes_readings = True
    return cast("Method", takes_readings)


def _rest_of(signature):
    """Return the name of the parameter that collects further arguments by name, or None."""
    return next((name for name, each in signature.parameters.items() if each.kind is each.VAR_KEYWORD), None)


def keep_source(model, X, *, has_rows=True):
    """Set what a fitted model keeps of `Readings`: how they were read, and the names of the rows if these were fitted.

    Parameters
    ----------
    model : fitted estimator
    X : Readings, or any matrix
    has_rows : bool, default=True
    """
    if not isinstance(X, Readings):
        return
    if X.get("source") is not None:
        model.source_ = X.source
    if has_rows and (rows := names_of_rows(X)) is not None:
        model.row_names_ = np.array([str(name)[:LONGEST_NAME] for name in rows], dtype=object)
