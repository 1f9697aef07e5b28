"""Convert estimators to plain values for a file, and back: parameters, fitted attributes, statistics of batches.

This module imports no estimator: `save` is a method of every estimator, and `load` passes a function that finds a class
by its name (`fastnmf.models.loading`).

A file holds no code, and so no object of a class that the user wrote: a penalty, loss or update. It keeps the name of
the class, and `Unsaved` takes the place of the object in the loaded model.
"""

from fastnmf.core import batches, penalties, ratio_batches
from fastnmf.core.design_batches import DesignRatioStatistics, DesignStatistics
from fastnmf.core.init.start_from import start_from_init
from fastnmf.core.init.starts import Start
from fastnmf.core.losses.choice import Beta, Divergence
from fastnmf.core.warn import warn
from fastnmf.io import archive
from fastnmf.io.source import pack, unpack

# parameter -> what it holds
OBJECTS = {"penalties": "a penalty", "loss": "a loss", "beta_loss": "a loss", "updates": "an update"}
_STATISTICS = (batches.Statistics, batches.StrataStatistics, DesignStatistics)
_STATISTICS += (ratio_batches.RatioStatistics, ratio_batches.StrataRatioStatistics, DesignRatioStatistics)


class Unsaved(Divergence):
    """Stand-in for an object of the user in a loaded model: every use of it raises ValueError.

    Parameters
    ----------
    class_name : str
    parameter : str
        The parameter of the estimator in which it stood.
    degree : float, default=1.0
        Of a loss.
    """

    def __init__(self, class_name, parameter, degree=1.0):
        self.class_name, self.parameter, self.degree = class_name, parameter, degree

    def __repr__(self):
        return f"<{self.class_name}, not in the file>"

    def value(self, *given):
        """Raise: there is nothing to compute it with."""
        name = "loss" if OBJECTS[self.parameter] == "a loss" else self.parameter
        raise ValueError(
            f"This model was fitted with {OBJECTS[self.parameter]} of your own, {self.class_name}, which files cannot "
            f"hold; pass it when you load the model: fastnmf.load(path, {name}=...)."
        )

    half_gradient = step = value

    def build(self, *given, **options):
        """Raise, as `value` does."""
        self.value()


def _plain_objects(name, value):
    """Return a parameter that may hold objects as plain values, which `_objects` turns back into objects."""
    if isinstance(value, dict):
        return {key: _plain_objects(name, each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_objects(name, each) for each in value]
    for own, kind in penalties.OBJECTS.items():
        if type(value) is kind:
            return {own: value.plain()}
    if isinstance(value, Beta):
        return value.degree
    if isinstance(value, Unsaved):
        return {"unsaved": value.class_name, "degree": float(value.degree)}
    if any(hasattr(value, method) for method in ("build", "half_gradient", "step")):
        return {"unsaved": type(value).__name__, "degree": float(getattr(value, "degree", 1.0))}
    return value


def _objects(name, value):
    """Return what `_plain_objects` converted; `Unsaved` for what was not ours."""
    if isinstance(value, dict) and "unsaved" in value:
        return Unsaved(value["unsaved"], name, value["degree"])
    if isinstance(value, dict) and len(value) == 1 and (kind := penalties.OBJECTS.get(next(iter(value)))):
        return kind(*next(iter(value.values())))
    if isinstance(value, dict):
        return {key: _objects(name, each) for key, each in value.items()}
    return [_objects(name, each) for each in value] if isinstance(value, list) else value


def _unsaved_in(value):
    """Return the names of the classes of the user in what `_plain_objects` returned."""
    if isinstance(value, dict):
        return [value["unsaved"]] if "unsaved" in value else [n for each in value.values() for n in _unsaved_in(each)]
    return [name for each in value for name in _unsaved_in(each)] if isinstance(value, list) else []


def saved_class(kind):
    """Return the class under which an estimator is saved: its own, or for a class of the user the nearest of ours.

    Raises
    ------
    TypeError
        There is none that a file could be loaded as.
    """
    for base in kind.__mro__:
        if archive.is_exported(base):
            return base
    raise TypeError(
        f"{kind.__name__} is a class of your own that extends no estimator of fastnmf, so a file of it could "
        "not be loaded; keep its arrays with numpy.savez, or extend an estimator such as NMF."
    )


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
        if not hasattr(model, "feature_names_in_"):  # X need not have them, but names that it has are compared
            found["_names"] = names
    return found


def _state_of(model):
    """Return class, parameters and attributes of a model as a dict; models among these become such dicts, too."""
    kind = saved_class(type(model))
    parameters = {
        name: value for name, value in model.get_params(deep=False).items() if name in kind._get_param_names()
    }
    if kind is not type(model):
        warn(
            f"{type(model).__name__} is a class of your own, which files cannot hold; the model is saved as "
            f"{kind.__name__}, and loads as one.",
            UserWarning,
        )
    plain = {name: _plain_objects(name, parameters[name]) for name in OBJECTS if name in parameters}
    if unsaved := sorted({each for value in plain.values() for each in _unsaved_in(value)}):
        warn(
            f"Objects of your own are not kept in the file: {', '.join(unsaved)}. Pass them to fastnmf.load to fit "
            "the "
            "loaded model again, or where the weights of rows depend on them.",
            UserWarning,
        )
    parameters |= plain
    if parameters.get("callback") is not None or vars(model).get("_skl_callbacks"):
        warn("A callback is a function and is not kept in the file; set it again on the loaded model.", UserWarning)
        parameters["callback"] = None
    start = start_from_init(parameters.get("init"))
    if start is not None:
        parameters["init"] = start.to_state()
    fitted = model._saved_attributes()
    if (statistics := fitted.get("_statistics")) is not None:
        fitted["_statistics"] = {"class": type(statistics).__name__, "state": statistics.to_state()}
    if "source_" in fitted:
        fitted["source_"] = pack(fitted["source_"])
    for labels in fitted["strata_"] if isinstance(fitted.get("strata_"), list) else [fitted.get("strata_")]:
        check_labels(labels)
    parameters, fitted = (
        {name: _state_of(value) if hasattr(value, "_saved_attributes") else value for name, value in values.items()}
        for values in (parameters, fitted)
    )
    return {"class": kind.__name__, "parameters": parameters} | fitted


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
    parameters = {
        name: _objects(name, value) if name in OBJECTS else model_from_state(value, find)
        for name, value in values["parameters"].items()
    }
    if isinstance(parameters.get("init"), dict):
        parameters["init"] = Start(**parameters["init"])
    model = kind(**parameters)
    for name, value in values.items():
        if name == "source_":
            vars(model)[name] = unpack(value)
        elif kind._is_saved(name):
            is_statistics = name == "_statistics" and value is not None
            setattr(model, name, _statistics_from_state(value) if is_statistics else model_from_state(value, find))
    return model


def _statistics_from_state(values):
    kinds = {kind.__name__: kind for kind in _STATISTICS}
    return kinds[values["class"]].from_state(values["state"])


def check_labels(labels):
    """Raise TypeError for labels of rows, (n_rows,), that a file of a model cannot hold."""
    if labels is None or labels.dtype.kind != "O" or archive.kind_of(labels.tolist()) is not None:
        return
    types = " and ".join(archive.types_of(labels.tolist()))
    raise TypeError(f"Labels of strata of the type {types} cannot be saved; use strings or numbers as labels.")
