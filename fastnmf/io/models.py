"""Convert estimators to plain values for a file, and back: parameters, fitted attributes, statistics of batches.

This module imports no estimator: `save` is a method of every estimator (`fastnmf.models.base.saving`), and `load`
passes a function that finds a class by its name (`fastnmf.models.loading`).
"""

from fastnmf.core import batches
from fastnmf.core.init.start_from import start_from_init
from fastnmf.core.init.starts import Start
from fastnmf.core.warn import warn
from fastnmf.io import archive

_STATISTICS = {"Statistics": batches.Statistics, "StrataStatistics": batches.StrataStatistics}


def model_state(model, names=None):
    """Return a fitted model as a dict of plain values and arrays that `archive.write` can store.

    Parameters
    ----------
    model : estimator
    names : ndarray of str (n_features,), optional
        Names of the features.

    Returns
    -------
    dict
    """
    found = _state_of(model)
    if names is not None:
        found["feature_names_in_"] = names
        if not hasattr(model, "feature_names_in_"):  # for display only: `transform` does not check for these names
            found["_names"] = names
    return found


def _state_of(model):
    """Return class, parameters and attributes of a model as a dict; models among these become such dicts, too."""
    parameters = model.get_params(deep=False)
    if parameters.get("callback") is not None or vars(model).get("_skl_callbacks"):
        warn("A callback is a function and is not kept in the file; set it again on the loaded model.", UserWarning)
        parameters["callback"] = None
    start = start_from_init(parameters.get("init"))
    if start is not None:
        parameters["init"] = start.to_state()
    fitted = model._saved_attributes()
    if (statistics := fitted.get("_statistics")) is not None:
        fitted["_statistics"] = {"class": type(statistics).__name__, "state": statistics.to_state()}
    _check_labels(fitted.get("strata_"))
    parameters, fitted = (
        {name: _state_of(value) if hasattr(value, "_saved_attributes") else value for name, value in values.items()}
        for values in (parameters, fitted)
    )
    return {"class": type(model).__name__, "parameters": parameters} | fitted


def model_from_state(values, find):
    """Return the estimator that `model_state` converted to `values`.

    Parameters
    ----------
    values : dict
        A model under the names of the present format; any other value is returned unchanged.
    find : callable
        ``find(name)`` returns the class with this name, or raises ValueError.

    Returns
    -------
    estimator
    """
    if not (isinstance(values, dict) and values.keys() >= {"class", "parameters"}):
        return values
    kind = find(values["class"])
    parameters = {name: model_from_state(value, find) for name, value in values["parameters"].items()}
    if isinstance(parameters.get("init"), dict):
        parameters["init"] = Start(**parameters["init"])
    model = kind(**parameters)
    for name, value in values.items():
        if kind._is_saved(name):
            is_statistics = name == "_statistics" and value is not None
            setattr(model, name, _statistics_from_state(value) if is_statistics else model_from_state(value, find))
    return model


def _statistics_from_state(values):
    return _STATISTICS[values["class"]].from_state(values["state"])


def _check_labels(labels):
    if labels is None or labels.dtype.kind != "O" or archive.kind_of(labels.tolist()) is not None:
        return
    types = " and ".join(archive.types_of(labels.tolist()))
    raise TypeError(f"Labels of strata of the type {types} cannot be kept; use strings or numbers as labels.")
