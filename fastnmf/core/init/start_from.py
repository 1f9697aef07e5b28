"""Convert values of `init` into a `Start`: a name, a `Start`, or a fitted estimator."""

import numpy as np

from fastnmf.core.init.starts import Start
from fastnmf.core.options import check_choice


def is_model(value):
    """Tell whether a value of `init` is an estimator, by the test of scikit-learn's `clone`."""
    return hasattr(value, "get_params") and not isinstance(value, type)


def check_init(init, choices):
    """Raise a ValueError unless `init` is one of `choices`, a `Start`, or a fitted estimator with components."""
    if isinstance(init, Start):
        return
    if is_model(init):
        if not hasattr(init, "components_"):
            raise ValueError(
                f"init is a {type(init).__name__} without components_; fit it first. (scikit-learn's clone, which a "
                "grid search uses, returns an unfitted model: pass init=model.as_start() there.)"
            )
        return
    if isinstance(init, (np.ndarray, list, tuple)):
        raise ValueError(f"init is a bare {type(init).__name__}; wrap components as init=fastnmf.Start(components).")
    check_choice("init", init, choices)


def starts_among(*choices):
    """Return the constraint of an `init` that is one of `choices`, a `Start`, or a fitted estimator."""
    return lambda name, value: check_init(value, choices)


def start_from_init(init):
    """Return the `Start` of a checked value of `init`, or None where it is a name."""
    return start_of(init) if is_model(init) else init if isinstance(init, Start) else None


def start_of(model):
    """Return the components of a fitted estimator, and its shifts if it has some, as a `Start`."""
    names, shifts = getattr(model, "feature_names_in_", None), getattr(model, "shifts_", None)
    labels = None if shifts is None else labels_of_shifts(model)
    return Start(model.components_, shifts=shifts, strata=labels, feature_names=names)


def labels_of_shifts(model):
    """Return the label of each shift of a model: those of its strata, or the names of the columns of its design."""
    names = getattr(model, "shift_names_", None)
    return getattr(model, "strata_", None) if names is None else names
