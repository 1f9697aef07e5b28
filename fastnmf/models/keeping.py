"""What of an estimator is kept in a file: parameters, fitted attributes, and what `partial_fit` goes on from.

`save` is here, beside the estimators that have it as a method, and `load` in `fastnmf.persist`, which knows all of
them: so no estimator needs to know the others.
"""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastnmf import online, store
from fastnmf.init import Start
from fastnmf.models.fitted import FittedAtOnce
from fastnmf.models.looking import n_features_of
from fastnmf.models.transfer import brought
from fastnmf.models.warn import warn
from fastnmf.problem import aligned

_STATISTICS = {"Statistics": online.Statistics, "StrataStatistics": online.StrataStatistics}


class Keeping(FittedAtOnce):
    """`save` for estimators; stands among their bases."""

    _private_state = ("_n_components", "_fitted_rows", "_names", "_statistics")

    def save(self, path, feature_names=None):
        """Write the fitted model to one file, from which `fastnmf.load` makes it again, without the training data.

        The file is an ``.npz`` without pickles: reading it cannot run code, and ``numpy.load(path)["components_"]``
        works, too. It holds the class, all parameters, all fitted attributes, what `partial_fit` goes on from, and the
        version. It appears when it is complete and on the disk; until then a file that was there before stays.

        Parameters
        ----------
        path : str or path
            Taken as it is; no ending is added.
        feature_names : sequence of str (n_features,), default=None
            Names for a model that was fitted to data without; they are `feature_names_in_` of the loaded model.

        Raises
        ------
        TypeError
            Labels of strata, or a parameter, that are neither numbers nor strings nor arrays of these.
        ValueError
            The model is not fitted (NotFittedError), `feature_names` has another length, or the model has other names.
        OSError
            The file cannot be written.

        Warns
        -----
        UserWarning
            `callback` is a function and is not kept; the loaded model has ``callback=None``. Callbacks of scikit-learn
            are not kept, either.

        Notes
        -----
        A random_state that is a generator is kept in its present state. A parameter that is a DataFrame comes back as
        an array; another model in `init` as the `Start` that it stands for. Requests for metadata
        (``set_fit_request``) are not kept.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> import fastnmf
        >>> X = np.outer([1.0, 2, 3], [1.0, 0, 2])
        >>> model = fastnmf.NMF(1, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model.npz", feature_names=["red", "green", "blue"])
        ...     again = fastnmf.load(f"{folder}/model.npz")
        >>> bool((again.transform(X) == model.transform(X)).all()), again.top_features(2)
        (True, [['blue', 'red']])
        """
        store.write(path, "model", described(self, feature_names))


def described(model, feature_names=None):
    """Return what is kept of a fitted model, as a dict for `store.write`."""
    check_is_fitted(model)
    found = _of_model(model)
    names = _named(model, feature_names)
    if names is not None:
        found["feature_names_in_"] = names
        if not hasattr(model, "feature_names_in_"):  # these are shown, and not asked of the data of `transform`
            found["_names"] = names
    return found


def _of_model(model):
    """Return class, parameters and attributes of a model, fitted or not; models in them become such dicts, too."""
    parameters = model.get_params(deep=False)
    if parameters.get("callback") is not None or vars(model).get("_skl_callbacks"):
        warn("A callback is a function and is not kept in the file; set it again on the loaded model.", UserWarning)
        parameters["callback"] = None
    start = brought(parameters.get("init"))
    if start is not None:
        parameters["init"] = start.state()
    fitted = {name: value for name, value in vars(model).items() if is_kept(type(model), name)}
    if isinstance(fitted.get("_statistics"), online.Statistics):
        fitted["_statistics"] = _of_statistics(fitted["_statistics"])
    _check_labels(fitted.get("strata_"))
    parameters, fitted = (
        {name: _of_model(value) if isinstance(value, Keeping) else value for name, value in values.items()}
        for values in (parameters, fitted)
    )
    return {"class": type(model).__name__, "parameters": parameters} | fitted


def restored(values, find):
    """Return the estimator that `described` returned as a dict; ``find(name)`` returns the class of this name."""
    if not (isinstance(values, dict) and values.keys() >= {"class", "parameters"}):
        return values
    kind = find(values["class"])
    parameters = {name: restored(value, find) for name, value in values["parameters"].items()}
    if isinstance(parameters.get("init"), dict):
        parameters["init"] = Start(**parameters["init"])
    model = kind(**parameters)
    for name, value in values.items():
        if is_kept(kind, name):
            setattr(model, name, _statistics(value) if name == "_statistics" else restored(value, find))
    return model


def is_kept(kind, name):
    """Tell whether an attribute of this name belongs into the file."""
    return kind._is_fitted_name(name) or name == "_sklearn_output_config"


def _named(model, given):
    """Return the names of the features as an array of str, or None where nobody gave any."""
    own = getattr(model, "feature_names_in_", None)
    if given is None:
        given = getattr(model, "_names", None) if own is None else own
        return None if given is None else np.array([str(name) for name in given], dtype=object)
    names = np.array([str(name) for name in given], dtype=object)
    if len(names) != n_features_of(model):
        raise ValueError(f"feature_names has {len(names)} names for {n_features_of(model)} features.")
    if own is not None and names.tolist() != own.tolist():
        raise ValueError("The model was fitted with other feature names; leave feature_names out to keep those.")
    return names


def _check_labels(labels):
    if labels is None or labels.dtype.kind != "O" or store.kind_of(labels.tolist()) is not None:
        return
    types = " and ".join(store.types_of(labels.tolist()))
    raise TypeError(f"Labels of strata of the type {types} cannot be kept; use strings or numbers as labels.")


def _of_statistics(statistics):
    state = {name: value for name, value in vars(statistics).items() if name != "pattern"}  # which follows from columns
    return {"class": type(statistics).__name__, "state": state}


def _statistics(kept):
    state = kept["state"]
    statistics = _STATISTICS[kept["class"]](state["rank"], state["sweeps"], state["forget"])
    vars(statistics).update(state)
    statistics.H = aligned(state["H"].shape, state["H"].dtype)
    statistics.H[:] = state["H"]
    if "columns" in state:
        statistics._set_columns(state["columns"])
    return statistics
