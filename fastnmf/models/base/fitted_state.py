"""Replace fitted state atomically when a fit succeeds; check fitted arrays before they are used."""

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError

Method = TypeVar("Method", bound=Callable[..., Any])

_FITS = ("fit", "fit_transform", "partial_fit", "fit_blocks")
_CONTINUING = ("partial_fit",)  # these continue the existing model; the others replace it


def make_fits_atomic(kind):
    """Make the methods of an estimator class that fit work on a copy, and replace the fitted state in one assignment.

    A fit that is rejected, fails or is interrupted leaves the estimator unchanged. A fit that succeeds leaves no
    attribute of the previous model. The methods run on a shallow copy of the estimator; when they return, its
    ``__dict__`` becomes that of the estimator.
    """
    for name in _FITS:
        method = inspect.getattr_static(kind, name, None)
        is_ours = name in vars(kind) or getattr(method, "__module__", "").startswith("fastnmf.")
        if inspect.isfunction(method) and is_ours and not hasattr(method, "is_atomic"):
            setattr(kind, name, atomic_fit(method))


def is_fitted_name(kind, name):
    """Tell whether an attribute of this name is part of the fitted state of an estimator class."""
    return (name.endswith("_") and not name.startswith("_")) or name in kind._private_state


def _without_fit(model):
    """Return a shallow copy of an estimator without fitted state; with `warm_start` the copy keeps it."""
    aside = copy.copy(model)
    warm_start = getattr(model, "warm_start", False)  # of any type: the fit checks it later
    if not isinstance(warm_start, (bool, np.bool_)) or not warm_start:
        for name in [name for name in vars(aside) if is_fitted_name(type(model), name)]:
            del vars(aside)[name]
    return aside


def atomic_fit(method: Method) -> Method:
    """Return a method that fits with the promises of `make_fits_atomic`, which does not see methods in descriptors."""

    @functools.wraps(method)
    def atomic_fit(self, *args, **kwargs):
        before = dict(vars(self))
        aside = copy.copy(self) if method.__name__ in _CONTINUING else _without_fit(self)
        vars(aside).pop("_report", None)  # the page is about the model before
        result = method(aside, *args, **kwargs)
        # Attributes that a callback has set on the estimator in the meantime are kept.
        meanwhile = {name: value for name, value in vars(self).items() if before.get(name, before) is not value}
        self.__dict__ = vars(aside) | meanwhile
        return self if result is aside else result

    atomic_fit.is_atomic = True
    return cast("Method", atomic_fit)


def check_fitted_arrays(model, n_features=None):
    """Raise if the shapes of a model's fitted arrays contradict each other or the data.

    Users set `components_` by hand, as scikit-learn allows, and edit fitted arrays. The kernels do not check their
    inputs, so this function checks the arrays themselves and not the sizes that a fit has stored beside them.

    Parameters
    ----------
    model : estimator
        Its ``_fitted_shapes`` maps the names of required attributes to their dimensions, one letter for each: k
        components, m features, S strata and so on. Dimensions with the same letter must agree. An attribute without
        letters may have any value.
    n_features : int, optional
        Number of features of the data that the model is applied to; without it the entries are not checked.

    Raises
    ------
    NotFittedError
        An attribute is missing.
    ValueError
        An attribute is not an array of finite numbers, or has the wrong shape; or components are negative.
    """
    kind = type(model).__name__
    sizes = {"m": (n_features, "X")} if n_features is not None else {}
    if hasattr(model, "n_components_"):
        sizes["k"] = (model.n_components_, "n_components_")
    for name, letters in model._fitted_shapes.items():
        array = getattr(model, name, None)
        if array is None:
            raise NotFittedError(f"This {kind} has no {name}, which fit sets; call fit first.")
        if not letters:
            continue
        is_array = (
            isinstance(array, np.ndarray) or name in ("shifts_", "_own_stack") and isinstance(array, sp.csr_array)
        )
        is_numbers = is_array and (array.dtype.kind in "fiu" or letters == "S")
        if not is_numbers or array.ndim != len(letters):
            found = f"an array of {array.dtype}, shape {array.shape}" if isinstance(array, np.ndarray) else type(array)
            raise ValueError(
                f"{name} of this {kind} is {found}; expected a NumPy array of numbers with {len(letters)} dimensions."
            )
        dimensions = list(zip(letters, array.shape, strict=True))
        for letter, size in dimensions:
            wanted, of = sizes.setdefault(letter, (size, name))
            if size != wanted:
                raise ValueError(_mismatch(kind, name, array.shape, letter, wanted, of))
        values = array.data if sp.issparse(array) else array
        if n_features is not None and array.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"{name} of this {kind} contains NaN or infinity; every entry must be a finite number.")
        if n_features is not None and name == "components_" and not model._is_signed and (array < 0).any():
            raise ValueError(f"{name} of this {kind} contains negative entries; every entry must be >= 0.")


_OF = {
    "k": "components",
    "m": "features",
    "S": "strata",
    "n": "samples",
    "L": "lags",
    "c": "classes",
    "o": "own components",
}


def _mismatch(kind, name, shape, letter, wanted, of):
    """Return the message for a dimension of a fitted array that has the wrong size.

    Parameters
    ----------
    kind : str
        Name of the estimator's class.
    name : str
        Name of the attribute.
    shape : tuple of int
        Its shape.
    letter : str
        Letter of the dimension, a key of `_OF`.
    wanted : int
        Expected size.
    of : str
        Source of the expected size: "X" or the name of another attribute.

    Returns
    -------
    str
    """
    what = _OF[letter]
    if of == "X":
        return (
            f"X has {wanted} features, but {name} of this {kind} has shape {shape}, which means {shape[-1]} features; "
            "give data with the features of the fit, or fit again."
        )
    return f"{name} of this {kind} has shape {shape}, but {of} implies {wanted} {what}; make both agree, or fit again."
