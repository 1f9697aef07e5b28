"""Fitted state: it changes all at once when a fit has succeeded, and is checked before it is used."""

import copy
import functools
import inspect

import numpy as np
from sklearn.exceptions import NotFittedError

_FITS = ("fit", "fit_transform", "partial_fit", "fit_blocks")
_GO_ON = ("partial_fit",)  # these continue the model that is there; the others replace it


class FittedAtOnce:
    """Mixin of all estimators: every method that fits works aside, and replaces the fitted state in one assignment.

    A fit that is refused, fails or is interrupted leaves the estimator as it was; one that succeeds leaves nothing of
    the model before. The methods run on a shallow copy of the estimator, whose ``__dict__`` becomes that of the
    estimator when they return.
    """

    _private_state = ()  # fitted attributes whose names begin with "_"
    _fitted_shapes = {}  # see `check_fitted_arrays`

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        for name in _FITS:
            method = inspect.getattr_static(cls, name, None)
            is_ours = name in vars(cls) or getattr(method, "__module__", "").startswith("fastnmf.")
            if inspect.isfunction(method) and is_ours and not hasattr(method, "is_aside"):
                setattr(cls, name, _fitted_at_once(method))

    @classmethod
    def _is_fitted_name(cls, name):
        """Tell whether an attribute of this name is part of the fitted state."""
        return (name.endswith("_") and not name.startswith("_")) or name in cls._private_state

    def _without_fit(self):
        """Return a shallow copy of the estimator that is not fitted, except where it is to go on from the fit."""
        aside = copy.copy(self)
        if not getattr(self, "warm_start", False):
            for name in [name for name in vars(aside) if self._is_fitted_name(name)]:
                del vars(aside)[name]
        return aside


def _fitted_at_once(method):
    @functools.wraps(method)
    def fit_aside(self, *args, **kwargs):
        before = dict(vars(self))
        aside = copy.copy(self) if method.__name__ in _GO_ON else self._without_fit()
        result = method(aside, *args, **kwargs)
        # What a callback has set on the estimator meanwhile stays.
        meanwhile = {name: value for name, value in vars(self).items() if before.get(name, before) is not value}
        self.__dict__ = vars(aside) | meanwhile
        return self if result is aside else result

    fit_aside.is_aside = True
    return fit_aside


def check_fitted_arrays(model, n_features=None):
    """Raise one sentence where the fitted arrays of a model do not fit together, or not to data.

    Users set `components_` by hand, as scikit-learn allows, and edit fitted arrays: the kernels trust what they are
    given, so this looks at the arrays themselves, not at what a fit has noted beside them.

    Parameters
    ----------
    model : estimator
        Its ``_fitted_shapes`` maps the names of the attributes that it needs to their dimensions, a letter each: k
        components, m features, S strata ... Dimensions of one letter have to agree. Without letters any value will do.
    n_features : int, optional
        Of the data that the model is to be used for; without it the entries are not looked at.

    Raises
    ------
    NotFittedError
        An attribute is missing.
    ValueError
        An attribute that is no array of finite numbers, or of the wrong shape.
    """
    kind = type(model).__name__
    sizes = {"m": (n_features, "X")} if n_features is not None else {}
    if hasattr(model, "n_components_"):
        sizes["k"] = (model.n_components_, "n_components_")
    for name, letters in model._fitted_shapes.items():
        array = getattr(model, name, None)
        if array is None:
            raise NotFittedError(f"This {kind} has no {name}, which only a fit finds; call fit first.")
        if not letters:
            continue
        is_numbers = isinstance(array, np.ndarray) and (array.dtype.kind in "fiu" or letters == "S")
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
        if n_features is not None and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} of this {kind} contains NaN or infinity; every entry must be a finite number.")


_OF = {"k": "components", "m": "features", "S": "strata", "n": "samples", "L": "lags", "c": "classes"}


def _mismatch(kind, name, shape, letter, wanted, of):
    what = _OF[letter]
    if of == "X":
        return (
            f"X has {wanted} features, but {name} of this {kind} has shape {shape}, which is of {shape[-1]} features; "
            "give data with the features of the fit, or fit again."
        )
    return (
        f"{name} of this {kind} has shape {shape}, but {of} speaks of {wanted} {what}; set both to fit together, or "
        "fit again."
    )
