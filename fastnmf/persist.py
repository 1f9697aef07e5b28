"""Keep fitted factors: one .npz without pickles, written whole or not at all."""

import json
import os
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np

FORMAT = 1
_FITTED = ("components_", "shifts_", "W_", "strata_", "row_strata_", "stratum_sizes_")
_NUMBERS = ("n_iter_", "converged_", "stopped_by_", "reconstruction_err_", "normalized_loss_", "n_revived_")


def save_factors(path, model, feature_names=None):
    """Write the factors of a fitted model to `path`, and what a reader needs to look at them.

    Parameters
    ----------
    path : str or path
        The file appears when it is complete; a file that was there before is replaced then.
    model : fitted StratifiedNMF or NMF
    feature_names : sequence of str (n_features,), default=None

    Raises
    ------
    TypeError
        Labels of strata that are neither numbers nor strings.
    OSError
        The folder cannot be written.
    """
    arrays = {name: getattr(model, name) for name in _FITTED if hasattr(model, name)}
    labels = arrays.get("strata_", np.zeros(0))
    if labels.dtype.kind == "O":
        labels = np.array([str(label) for label in labels]) if all(isinstance(s, str) for s in labels) else labels
    if labels.dtype.kind not in "biufU":
        raise TypeError(f"Labels of dtype {labels.dtype} cannot be kept; use numbers or strings as labels of strata.")
    if "strata_" in arrays:
        arrays["strata_"] = labels
    arrays |= {f"history_{name}": values for name, values in model.history_.items()}
    facts = {name: getattr(model, name) for name in _NUMBERS if hasattr(model, name)}
    facts |= {"format": FORMAT, "class": type(model).__name__, "parameters": _plain(model.get_params())}
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    if feature_names is not None:
        arrays["feature_names"] = np.frombuffer("\n".join(map(str, feature_names)).encode(), dtype=np.uint8)
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def load_factors(path):
    """Read what `save_factors` wrote.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    SimpleNamespace
        ``components_``, ``shifts_``, ``W_``, ``strata_``, ``row_strata_``, ``stratum_sizes_`` where the model has them,
        ``history_``, ``feature_names`` (ndarray or None), and the fitted numbers and parameters.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is no model of fastnmf, is damaged, or is of a newer version.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        facts = json.loads(arrays.pop("facts").tobytes())
        names = arrays.pop("feature_names", None)
        if facts["format"] > FORMAT:
            raise ValueError(f"{path} was written by a newer fastnmf (format {facts['format']}); update fastnmf.")
        history = {key.removeprefix("history_"): arrays[key] for key in arrays if key.startswith("history_")}
        kept = {name: arrays[name] for name in ("components_", *_FITTED) if name in arrays or name == "components_"}
        found = SimpleNamespace(**kept, history_=history, **facts)
        found.feature_names = None if names is None else np.array(names.tobytes().decode().split("\n"))
        return found
    except FileNotFoundError:
        raise
    except ValueError as error:
        if "newer fastnmf" in str(error):
            raise
        raise ValueError(f"{path} is not a model file of fastnmf, or is damaged.") from error
    except (KeyError, EOFError, OSError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a model file of fastnmf, or is damaged.") from error


def revived(found):
    """Return an estimator with the factors that `load_factors` found, its labels of strata and names of features."""
    from fastnmf.models.nmf import NMF
    from fastnmf.models.stratified import StratifiedNMF

    kinds = {kind.__name__: kind for kind in (NMF, StratifiedNMF)}
    model = kinds.get(getattr(found, "class"), StratifiedNMF if hasattr(found, "shifts_") else NMF)()
    for name, value in found.parameters.items():
        is_written = isinstance(value, str) and not isinstance(model.get_params().get(name, ""), str | None)
        if name in model.get_params() and not is_written:  # a tuple or an array was kept as its text
            setattr(model, name, value)
    fitted = {name: value for name, value in vars(found).items() if name.endswith("_")}
    vars(model).update(fitted)
    model.n_components_, model.n_features_in_ = found.components_.shape
    model._n_components = model.n_components_
    if found.feature_names is not None:
        model.feature_names_in_ = found.feature_names.astype(object)
    return model


def _plain(parameters):
    return {name: value if isinstance(value, (int, float, str, bool, type(None))) else repr(value)
            for name, value in parameters.items()}  # fmt: skip
