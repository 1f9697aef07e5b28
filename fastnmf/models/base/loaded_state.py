"""Check the fitted state that was read from a file: compiled code reads it without looking, and any file can be sealed.

A fit makes arrays that fit together. A file may hold anything. So every attribute that a method reads is described
here, and a loaded model is refused where one of them is missing, has another type or shape than the others imply, or
holds a number that no fit makes.
"""

import numbers

import numpy as np
import scipy.sparse as sp

from fastnmf.core import batches
from fastnmf.core.factors import padded
from fastnmf.data.matrix import check_indices, check_pointers
from fastnmf.models.base.fitted_state import is_fitted_name

# Attribute -> its dimensions and what it holds: "+" numbers >= 0, "~" numbers, "labels", "names", or the letter of the
# size that its integers are below. Letters: n rows, m features, k components, S strata, c classes; others are free.
ARRAYS = {
    "components_": ("km", "+"),
    "W_": ("nk", "+"),
    "C_": ("nk", "+"),
    "H_": ("lm", "+"),
    "S_": ("kl", "+"),
    "X_fit_": ("nm", "~"),
    "_inner": ("kk", "~"),
    "shifts_": ("Sm", "+"),
    "strata_": ("S", "labels"),
    "stratum_sizes_": ("S", "+"),
    "row_strata_": ("n", "S"),
    "labels_": ("n", "k"),
    "classes_": ("c", "labels"),
    "coef_": ("ck", "~"),
    "offset_": ("m", "+"),
    "s_": ("k", "+"),
    "anchors_": ("k", "m"),
    "pairs_": ("pq", "k"),
    "mixtures_": ("kd", "+"),
    "betas_": ("b", "~"),
    "references_": ("b", "+"),
    "weights_": ("b", "+"),
    "excesses_": ("b", "~"),
    "level_errors_": ("z", "+"),
    "loss_curve_": ("y", "~"),
    "run_objectives_": ("r", "~"),
    "affinity_": ("nn", "+"),
    "feature_affinity_": ("mm", "+"),
    "training_data_": ("nm", "~"),
    "feature_names_in_": ("m", "names"),
}
# where a class differs
OF_CLASS = {
    "BilinearNMF": {"W_": ("nP", "+")},
    "ConvexNMF": {"components_": ("km", "~")},
    "ConvolutiveNMF": {"components_": ("Lkm", "+")},
    "SemiNMF": {"components_": ("km", "~")},
    "SymmetricNMF": {"W_": ("mk", "+"), "labels_": ("m", "k")},
    "TriSymmetricNMF": {"W_": ("mk", "+"), "S_": ("kk", "+"), "labels_": ("m", "k")},
}
LEVELS = {"components_", "S_", "layer_weights_", "level_components_", "_factors", "classes_", "coef_"}  # may be lists
COUNTS = {"n_iter_", "n_components_", "_n_components", "n_features_in_", "n_revived_", "n_steps_", "n_runs_"}
COUNTS |= {"n_mismatches_", "n_updates_"}
NUMBERS = {
    "normalized_loss_",
    "reconstruction_err_",
    "threshold_",
    "typical_",
    "overshoot_",
    "heat_width_",
    "asymmetry_",
}
STOPPED_BY = ("tol", "patience", "max_iter", "max_time", "callback")
LARGEST_EXPONENT = 1100  # of `log4_scale`: float64 has exponents from -1074 to 1023
LARGEST = 1e150  # of what is squared
MAY_BE_NONE = {"heat_width_", "_names", "_statistics"}


class Misfit(ValueError):
    """Error for an attribute of a file that no fit makes."""


def check_loaded(model):
    """Raise ValueError unless the parameters and the fitted state of a loaded model are what a fit makes.

    Parameters
    ----------
    model : Estimator
        Made from a file, as are the models in its parameters and attributes.
    """
    kind = type(model)
    held = {name: value for name, value in vars(model).items() if is_fitted_name(kind, name)}
    for value in (*model.get_params(deep=False).values(), *held.values()):
        if hasattr(value, "_saved_attributes"):
            check_loaded(value)
    model._options()
    output = getattr(model, "_sklearn_output_config", {})
    if not isinstance(output, dict) or not output.items() <= {
        ("transform", o) for o in ("default", "pandas", "polars")
    }:
        raise Misfit("_sklearn_output_config is none of scikit-learn")
    if held:
        _check_fitted(model, held)


def _check_fitted(model, held):
    required = {name for name, letters in model._fitted_shapes.items() if letters}
    if held.keys() & {"history_", "n_iter_", "_n_components"}:  # not one whose components were set by hand
        required.add("n_features_in_")
    if held.keys() & {"n_components_", "_n_components"}:
        required |= {"n_components_", "_n_components"}
    for name in sorted(required):
        if held.get(name) is None:
            raise Misfit(f"it has no {name}")
    _check_values(held)
    sizes = {letter: held[name] for letter, name in (("m", "n_features_in_"), ("k", "n_components_")) if name in held}
    _require(held.get("_n_components") == held.get("n_components_"), "_n_components")
    if isinstance(held.get("components_"), list) or "layer_weights_" in held:
        _check_levels(held, sizes)
    expected = ARRAYS | OF_CLASS.get(type(model).__name__, {})
    if getattr(model, "axis", None) == 0:  # the components are rows
        expected = expected | {"anchors_": ("k", "n")}
    arrays = [
        (name, *expected[name]) for name, value in held.items() if name in expected and not _is_levels(name, value)
    ]
    for name, letters, content in sorted(arrays, key=_counts_on_others):
        _check_array(name, held[name], letters, content, sizes)  # integers last, which count on the sizes of others
    if held.get("_names") is not None:
        _check_array("_names", held["_names"], "m", "names", sizes)
    if "pairs_" in held:
        _require(sizes["q"] == 2 and sizes.get("P", sizes["k"] + sizes["p"]) == sizes["k"] + sizes["p"], "pairs_")
    if held.get("_statistics") is not None:
        _check_statistics(held["_statistics"], held, sizes)
    if "_fitted_rows" in held:
        _require("reconstruction_err_" in held, "reconstruction_err_")
        _check_fitted_rows(held["_fitted_rows"], held["reconstruction_err_"], sizes)


def _counts_on_others(array):
    return array[-1] in tuple("Sknm")


def _is_levels(name, value):
    return name in LEVELS and isinstance(value, list)


def _check_values(held):
    """Check what is no array."""
    for name, value in held.items():
        if value is None and name in MAY_BE_NONE:
            continue
        if name in COUNTS:
            _count(name, value, name in ("n_components_", "_n_components", "n_features_in_"))
        elif name in NUMBERS:
            _number(name, value)
            _require(name != "normalized_loss_" or value <= LARGEST, name)
        elif name == "log_likelihood_":
            _number(name, value, is_signed=True)
        elif name in ("converged_", "_has_shifts"):
            _require(isinstance(value, (bool, np.bool_)), name)
        elif name == "stopped_by_":
            _require(isinstance(value, str) and value in STOPPED_BY, name)
        elif name == "_log4_scale":
            _exponent(name, value)
        elif name == "history_":
            _check_history(value)


def _require(is_right, name):
    if not is_right:
        raise Misfit(f"{name} is not what a fit makes")


def _count(name, value, least=0):
    is_number = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    _require(is_number and least <= value < 1 << 62, name)
    return int(value)


def _exponent(name, value):
    is_number = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    _require(is_number and abs(value) <= LARGEST_EXPONENT, name)


def _number(name, value, *, is_signed=False):
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    _require(is_number and abs(value) < np.inf and (is_signed or value >= 0), name)


def _check_history(history):
    _require(isinstance(history, dict) and history, "history_")
    lengths = {len(values) if np.ndim(values) else -1 for values in history.values()}
    for name, values in history.items():
        is_array = isinstance(name, str) and isinstance(values, np.ndarray) and values.ndim >= 1
        _require(is_array and len(lengths) == 1 and values.dtype.kind in "iuf", f"history_[{name!r}]")
        _require(np.isfinite(values).all(), f"history_[{name!r}]")


def _check_array(name, array, letters, content, sizes):
    """Raise unless an array has the dimensions in `letters`, and holds what ARRAYS says.

    Parameters
    ----------
    name : str
    array : object
    letters : str
        A letter for each dimension.
    content : str
        As in ARRAYS.
    sizes : dict
        Letter -> size; sizes that are not known yet are added.
    """
    if sp.issparse(array) and name in ("affinity_", "feature_affinity_", "training_data_", "X_fit_"):
        check_pointers(array)
        check_indices(array)
        values = array.data
    else:
        _require(isinstance(array, np.ndarray), name)
        values = array
    _require(array.ndim == len(letters), name)
    dimensions = list(zip(letters, array.shape, strict=True))
    for letter, size in dimensions:
        if size != sizes.setdefault(letter, size) or (size == 0 and letter not in "prqyz"):
            raise Misfit(f"{name} has the shape {array.shape}, and {letter} is {sizes[letter]} elsewhere")
    if content == "labels":
        _require(values.dtype.kind in "biufSUMO", name)
        _require(values.dtype.kind not in "fM" or (values == values).all(), name)
        _require(len(set(values.tolist())) == len(values), name)
    elif content == "names":
        _require(values.dtype.kind == "U" or all(type(value) is str for value in values.tolist()), name)
    elif content in "+~":
        _check_numbers(name, values, is_signed=content == "~")
    else:
        _require(values.dtype.kind in "iu", name)
        _require(values.size == 0 or (values.min() >= 0 and values.max() < sizes.get(content, 0)), name)


def _check_numbers(name, values, *, is_signed=False):
    kinds = (np.float32, np.float64)
    _require(isinstance(values, np.ndarray) and (values.dtype.type in kinds or values.dtype.kind in "iu"), name)
    if values.size:
        low, high = values.min(), values.max()  # NaN where one entry is
        _require(-np.inf < low and high < np.inf and (is_signed or low >= 0), name)


def _check_levels(held, sizes):
    """Check the lists of a hierarchy or a deep model, an array for each level."""
    below, ranks = sizes.get("m"), []
    _require(isinstance(held.get("layer_weights_"), list) and held["layer_weights_"], "layer_weights_")
    for array in held["layer_weights_"]:
        _check_numbers("layer_weights_", array)
        _require(array.ndim == 2 and array.shape[1] == below and len(array) > 0, "layer_weights_")
        below = len(array)
        ranks.append(below)
    for name in sorted(LEVELS - {"layer_weights_"}):
        arrays = held.get(name)
        if not isinstance(arrays, list):
            continue
        _require(len(arrays) == len(ranks), name)
        for level, array in enumerate(arrays):
            if array is None and name in ("classes_", "coef_"):
                continue
            _require(isinstance(array, np.ndarray), name)
            n_classes = f"c{level}"
            if name in ("components_", "level_components_"):
                wanted = (ranks[level], sizes["m"])
            elif name == "_factors":
                wanted = ([sizes["m"], *ranks][level], ranks[level])
            elif name == "S_":
                wanted = (sizes.setdefault("n", len(array)), ranks[level])
            else:
                sizes.setdefault(n_classes, len(array))
                wanted = (sizes[n_classes],) if name == "classes_" else (sizes[n_classes], ranks[level])
            _require(array.shape == wanted and len(array) > 0, name)
            if name == "classes_":
                _check_array(name, array, "?", "labels", {})
            else:
                _check_numbers(name, array, is_signed=name == "coef_")
    if "n" in sizes and isinstance(held.get("S_"), list):
        _require(all(isinstance(s, np.ndarray) and len(s) == sizes["n"] for s in held["S_"]), "S_")
    if isinstance(held.get("components_"), list):
        for name in ("S_", "_factors"):
            _require(isinstance(held.get(name), list), name)
        sizes["k"], sizes["z"] = ranks[-1], len(ranks)
    else:
        _require(
            ranks[-1] == np.shape(held.get("components_"))[:1][0] if np.ndim(held.get("components_")) else False,
            "components_",
        )


def _check_fitted_rows(found, error, sizes):
    """Check the strata of the rows of the fit and the exponent of their scale, from which `partial_fit` goes on."""
    _require(isinstance(found, tuple) and len(found) == 2, "_fitted_rows")
    strata, exponent = found
    _exponent("_fitted_rows", exponent)
    _require(np.ldexp(float(error), 2 * exponent) <= LARGEST, "reconstruction_err_")
    if strata is not None:
        _check_array("_fitted_rows", strata, "n", "S", {"S": 1} | sizes)


def _check_statistics(found, held, sizes):
    """Check the sums that `partial_fit` goes on from."""
    say = "_statistics"
    _require(isinstance(found, batches.Statistics), say)
    has_strata = isinstance(found, batches.StrataStatistics)
    _require(has_strata == ("shifts_" in held), say)
    _require(isinstance(found.dtype, np.dtype) and found.dtype in (np.float32, np.float64), say)
    _exponent(say, found.log4_scale)
    _require(_count(say, found.rank, 1) == sizes["k"], say)
    m, K = sizes["m"], padded(found.rank, found.dtype)
    shapes = {"H": (m, K), "gram": (K, K), "N": (m, K), "G": (K, K), "total_W": (1,)}
    if has_strata:
        n_strata = len(found.labels) if np.ndim(found.labels) == 1 else -1
        _check_array(say, found.labels, "S", "labels", sizes)
        shapes |= {"sizes": (n_strata,), "sums": (n_strata, K), "_below": (n_strata, K)}
        _require(sp.issparse(found.columns) and found.columns.shape == (m, n_strata), say)
        _check_numbers(say, found.columns.data)
        shapes["v"] = (len(found.columns.data),)
    wide = {"gram", "N", "G", "total_W", "sizes", "sums"}
    for name, shape in shapes.items():
        array = getattr(found, name)
        _require(isinstance(array, np.ndarray) and array.shape == shape, say)
        _require(array.dtype == (np.float64 if name in wide else found.dtype), say)
        _check_numbers(say, array)
        _require(array.ndim < 2 or array.shape[1] != K or not array[:, found.rank :].any(), say)
    for value in (found.sq_norm, found.n_rows, found.value, found.forget_factor):
        _number(say, value)
    _require(0 < found.forget_factor <= 1, say)
    _require(isinstance(found.sweeps, (tuple, list)) and len(found.sweeps) == 3, say)
    for value in found.sweeps:
        _count(say, value, 1)
    _require(len(found.nets) == 3, say)
    for value in found.nets:
        _number(say, value)
