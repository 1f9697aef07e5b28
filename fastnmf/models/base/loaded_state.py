"""Check the fitted state that was read from a file: compiled code reads it without looking, and any file can be sealed.

A fit makes arrays that fit together. A file may hold anything. So every attribute that a method reads is described
here, and a loaded model is refused where one of them is missing, has another type or shape than the others imply, or
holds a number that no fit makes.
"""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.kept_state import (
    STOPPED_BY,
    check_count,
    check_entries,
    check_exponent,
    check_real,
    check_statistics,
    require,
)
from fastnmf.data.matrix import check_indices, check_pointers
from fastnmf.io.source import check_source
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
    "_log2_references": ("b", "~"),
    "shifts_": ("Sm", "+"),
    "strata_": ("S", "labels"),
    "shift_names_": ("S", "names"),
    "stratum_sizes_": ("S", "+"),
    "n_own_": ("g", "+"),
    "_own_stack": ("om", "+"),
    "own_W_": ("no", "+"),
    "row_strata_": ("n", "S"),
    "row_names_": ("n", "names"),
    "_known_entries": ("nm", "+"),
    "labels_": ("n", "k"),
    "classes_": ("c", "labels"),
    "coef_": ("ck", "~"),
    "intercept_": ("c", "~"),
    "B_": ("ck", "~"),
    "offset_": ("m", "+"),
    "dispersion_": ("m", "+"),
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
    "topic_names_": ("k", "names"),
}
# where a class differs
OF_CLASS = {
    "BilinearNMF": {"W_": ("nP", "+")},
    "ConvexNMF": {"components_": ("km", "~")},
    "ConvolutiveNMF": {"components_": ("Lkm", "+")},
    "KernelNMF": {"C_": ("nk", "~")},
    "SemiNMF": {"components_": ("km", "~")},
    "SymmetricNMF": {"W_": ("mk", "+"), "labels_": ("m", "k")},
    "TriSymmetricNMF": {"W_": ("mk", "+"), "S_": ("kk", "+"), "labels_": ("m", "k")},
}
LABELS = {"classes_", "coef_", "intercept_", "B_"}  # all but the first two are younger than version 0.1
LEVELS = {"components_", "S_", "layer_weights_", "level_components_", "_factors"} | LABELS  # may be lists
COUNTS = {"n_iter_", "n_components_", "_n_components", "n_features_in_", "n_revived_", "n_steps_", "n_runs_"}
COUNTS |= {"n_mismatches_", "n_updates_", "n_neighbors_"}
NUMBERS = {
    "normalized_loss_",
    "reconstruction_err_",
    "threshold_",
    "typical_",
    "overshoot_",
    "heat_width_",
    "graph_weight_",
    "asymmetry_",
}
ONE_NUMBER = ("iteration", "normalized_loss", "objective", "seconds")  # in each iteration
SQUARED, LARGEST = ("normalized_loss_",), 1e150
LARGEST_DEGREE = 100  # of a divergence
MAY_BE_NONE = {"heat_width_", "_names", "_statistics"}


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
    for name in ("gamma", "degree", "coef0"):
        if (value := getattr(model, name, None)) is not None and not isinstance(value, str):
            check_real(name, value, is_signed=True)
    require(getattr(model, "pool", None) is None, "pool")  # a function, which files do not hold
    output = getattr(model, "_sklearn_output_config", {})
    if not isinstance(output, dict) or not output.items() <= {
        ("transform", o) for o in ("default", "pandas", "polars")
    }:
        raise ValueError("_sklearn_output_config is not one of scikit-learn")
    if held:
        _check_fitted(model, held)
    if "source_" in held:
        check_source(held["source_"], held.get("n_features_in_"))


def _check_fitted(model, held):
    required = {name for name, letters in model._fitted_shapes.items() if letters}
    if held.keys() & {"history_", "n_iter_", "_n_components"}:  # not one whose components were set manually
        required.add("n_features_in_")
    if held.keys() & {"n_components_", "_n_components"}:
        required |= {"n_components_", "_n_components"}
    required |= {"W_"} & OF_CLASS.get(type(model).__name__, {}).keys()  # what tells their number of components
    required |= {"classes_", "coef_"} if held.keys() & LABELS else set()
    if isinstance(held.get("components_"), list):
        required |= {"S_", "_factors", "layer_weights_", "level_errors_"}
    else:
        for name in sorted({"W_", "S_"} | LABELS):
            require(not isinstance(held.get(name), list), name)
    if "training_data_" in held:
        required.add("_log4_scale")
        require("heat_width_" in held, "heat_width_")
    for name in sorted(required):
        if held.get(name) is None:
            raise ValueError(f"it has no {name}")
    of_labels = [held[name] for name in LABELS if name in held]  # of all levels or of one, and of the same levels
    require(
        len({tuple(e is None for e in each) if isinstance(each, list) else None for each in of_labels}) <= 1, "coef_"
    )
    _check_values(held)
    sizes = {letter: held[name] for letter, name in (("m", "n_features_in_"), ("k", "n_components_")) if name in held}
    require(held.get("_n_components") == held.get("n_components_"), "_n_components")
    if isinstance(held.get("components_"), list) or "layer_weights_" in held:
        _check_levels(held, sizes)
    expected = _expected(model)
    require("_design" in held or not isinstance(held.get("strata_"), list), "strata_")
    if held.get("_design") is not None:
        _check_design(held)
    arrays = [
        (name, *expected[name]) for name, value in held.items() if name in expected and not _is_levels(name, value)
    ]
    for name, letters, content in sorted(arrays, key=_counts_on_others):
        _check_array(name, held[name], letters, content, sizes)  # integers last, which count on the sizes of others
    if held.get("_names") is not None:
        _check_array("_names", held["_names"], "m", "names", sizes)
    _check_kernel(held)
    require(np.max(np.abs(held.get("betas_", 0))) <= LARGEST_DEGREE, "betas_")
    _check_own(held)
    if "pairs_" in held:
        require(sizes["q"] == 2 and sizes.get("P", sizes["k"] + sizes["p"]) == sizes["k"] + sizes["p"], "pairs_")
    if held.get("_statistics") is not None:
        found = held["_statistics"]
        require(hasattr(found, "labels") == ("shifts_" in held), "_statistics")
        check_statistics(found, sizes["m"], sizes["k"])
        require("S" not in sizes or len(found.labels) == sizes["S"], "_statistics")
    if "_fitted_rows" in held:
        require("reconstruction_err_" in held, "reconstruction_err_")
        error = held["reconstruction_err_"] if model._options().is_squared else 0.0  # others cannot continue
        _check_fitted_rows(held["_fitted_rows"], error, sizes)
        _check_fitted_sums(held.get("_fitted_sums"), sizes)


def _check_kernel(held):
    """Check that there is a graph where, and only where, it is that of a kernel."""
    if "kernel_" in held:
        require((held["kernel_"] == "nearest_neighbors") == ("affinity_" in held), "kernel_")


def _check_own(held):
    """Check what a fit with own components of strata has beside its arrays, each of which is checked already."""
    has_own = "_own_stack" in held
    require(("n_own_" in held) == has_own and (has_own or "own_W_" not in held), "n_own_")
    if has_own:
        sizes, levels, design = held["n_own_"], held.get("strata_"), held.get("_design")
        require(design is None or "own" in design, "n_own_")
        levels = levels[design["own"]] if isinstance(levels, list) else levels
        require(levels is not None and sizes.shape == np.shape(levels), "n_own_")
        require(sizes.dtype.kind in "iu" and sizes.sum() == held["_own_stack"].shape[0], "n_own_")
        is_tied = "own_W_" not in held
        require(not is_tied or (sizes == held["n_components_"]).all(), "n_own_")
        if not is_tied:
            require(sp.issparse(held["own_W_"]) and ("row_strata_" in held or design is not None), "own_W_")


def _expected(model):
    """Return letters and content of every array that a model may hold, by name."""
    expected = ARRAYS | OF_CLASS.get(type(model).__name__, {})
    if getattr(model, "axis", None) == 0:  # the components are rows
        expected = expected | {"anchors_": ("k", "n")}
    if getattr(model, "signed", False):
        expected = expected | {"mixtures_": ("kd", "~")}
    return expected


def _counts_on_others(array):
    return array[-1] in tuple("Sknm")


def _is_levels(name, value):
    return name in LEVELS | {"strata_"} and isinstance(value, list)


def _check_values(held):
    """Check what is not an array."""
    for name, value in held.items():
        if value is None and name in MAY_BE_NONE:
            continue
        if name in COUNTS:
            check_count(name, value, name in ("n_components_", "_n_components", "n_features_in_", "n_neighbors_"))
        elif name in NUMBERS:
            check_real(name, value if name != "reconstruction_err_" or value != np.inf else 0.0)
            require(name not in SQUARED or value <= LARGEST, name)
        elif name in ("log_likelihood_", "gamma_", "_gamma"):
            check_real(name, value, is_signed=True)
        elif name in ("converged_", "_has_shifts", "_by_direction"):
            require(isinstance(value, (bool, np.bool_)), name)
        elif name == "stopped_by_":
            require(isinstance(value, str) and value in STOPPED_BY, name)
        elif name in ("_layer", "kernel_"):
            require(isinstance(value, str), name)
        elif name in ("_log4_scale", "_unit_exponent"):
            check_exponent(name, value)
        elif name == "history_":
            _check_history(value)


def _check_history(history):
    require(isinstance(history, dict) and history, "history_")
    lengths = {len(values) if np.ndim(values) else -1 for values in history.values()}
    for name, values in history.items():
        is_array = isinstance(name, str) and isinstance(values, np.ndarray) and values.ndim >= 1
        require(is_array and len(lengths) == 1 and values.dtype.kind in "iuf", f"history_[{name!r}]")
        require(np.isfinite(values).all(), f"history_[{name!r}]")
        require(values.ndim == 1 or name not in ONE_NUMBER, f"history_[{name!r}]")


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
    if sp.issparse(array) and name in (
        "affinity_",
        "feature_affinity_",
        "training_data_",
        "X_fit_",
        "shifts_",
        "_known_entries",
        "_own_stack",
        "own_W_",
    ):
        check_pointers(array)
        check_indices(array)
        is_canonical = isinstance(array, sp.csr_array) and array.has_canonical_format
        require(name not in ("shifts_", "_known_entries", "_own_stack", "own_W_") or is_canonical, name)
        values = array.data
    else:
        require(isinstance(array, np.ndarray), name)
        values = array
    require(array.ndim == len(letters), name)
    dimensions = list(zip(letters, array.shape, strict=True))
    for letter, size in dimensions:
        may_be_zero = letter in "prqyz" or letter == "n" and name in ("own_W_", "row_strata_")
        if size != sizes.setdefault(letter, size) or (size == 0 and not may_be_zero):
            raise ValueError(f"{name} has the shape {array.shape}, and {letter} is {sizes[letter]} elsewhere")
    if content == "labels":
        require(values.dtype.kind in "biufSUmMO", name)
        require(values.dtype.kind not in "fmM" or (values == values).all(), name)
        require(len(set(values.tolist())) == len(values), name)
    elif content == "names":
        require(values.dtype.kind == "U" or all(type(value) is str for value in values.tolist()), name)
    elif content in "+~":
        may_overflow = name in ("references_", "S_") and isinstance(values, np.ndarray) and values.dtype == np.float64
        check_entries(name, np.minimum(values, LARGEST) if may_overflow else values, is_signed=content == "~")
    else:
        require(values.dtype.kind in "iu", name)
        least = -1 if name == "labels_" else 0  # -1: a row of zeros is in no cluster
        require(values.size == 0 or (values.min() >= least and values.max() < sizes.get(content, 0)), name)


def _check_design(held):
    """Check what a model with a design reads beside its arrays, and the labels of its factors, a list of arrays."""
    found, levels = held["_design"], held.get("strata_", [])
    required = {"kind", "factors", "has_exposure"}
    require(isinstance(found, dict) and found.keys() - {"own"} == required, "_design")
    kind, factors = found["kind"], found["factors"]
    require(isinstance(kind, str) and kind in ("strata", "crossed", "matrix"), "_design")
    require(isinstance(factors, list) and all(isinstance(name, str) for name in factors), "_design")
    require(isinstance(found["has_exposure"], bool), "_design")
    for name in ("shift_names_", "stratum_sizes_"):
        require(isinstance(held.get(name), np.ndarray), name)
    require(isinstance(levels, list) == (kind != "strata") and len(factors) == len(set(factors)), "strata_")
    require(len(levels) == len(factors) or kind == "strata", "strata_")
    for labels in levels if kind == "crossed" else ():
        _check_array("strata_", labels, "?", "labels", {})
    if "own" in found:
        check_count("_design", found["own"], False)
        require(kind == "strata" and found["own"] == 0 or found["own"] < len(factors), "_design")
    if kind == "crossed":
        require(len(factors) > 0 and 1 + sum(map(len, levels)) == len(held["shift_names_"]), "strata_")
    require(held["stratum_sizes_"].ndim == 1 and held["stratum_sizes_"].any(), "stratum_sizes_")


def _check_levels(held, sizes):
    """Check the lists of a hierarchy or a deep model, an array for each level."""
    below, ranks = sizes.get("m"), []
    require(isinstance(held.get("layer_weights_"), list) and held["layer_weights_"], "layer_weights_")
    for array in held["layer_weights_"]:
        check_entries("layer_weights_", array)
        require(array.ndim == 2 and array.shape[1] == below and len(array) > 0, "layer_weights_")
        below = len(array)
        ranks.append(below)
    for name in sorted(LEVELS - {"layer_weights_"}):
        arrays = held.get(name)
        if not isinstance(arrays, list):
            continue
        require(len(arrays) == len(ranks), name)
        for level, array in enumerate(arrays):
            if array is None and name in LABELS:
                continue
            require(isinstance(array, np.ndarray), name)
            n_classes = f"c{level}"
            if name in ("components_", "level_components_"):
                wanted = (ranks[level], sizes["m"])
            elif name == "_factors":
                wanted = ([sizes["m"], *ranks][level], ranks[level])
            elif name == "S_":
                wanted = (sizes.setdefault("n", len(array)), ranks[level])
            else:
                sizes.setdefault(n_classes, len(array))
                wanted = (sizes[n_classes],) + ((ranks[level],) if name in ("coef_", "B_") else ())
            require(array.shape == wanted and len(array) > 0, name)
            if name == "classes_":
                _check_array(name, array, "?", "labels", {})
            else:
                check_entries(name, array, is_signed=name in LABELS)
    if "n" in sizes and isinstance(held.get("S_"), list):
        require(all(isinstance(s, np.ndarray) and len(s) == sizes["n"] for s in held["S_"]), "S_")
    if isinstance(held.get("components_"), list):
        for name in ("S_", "_factors"):
            require(isinstance(held.get(name), list), name)
        sizes["k"], sizes["z"] = ranks[-1], len(ranks)
    else:
        require(
            ranks[-1] == np.shape(held.get("components_"))[:1][0] if np.ndim(held.get("components_")) else False,
            "components_",
        )


def _check_fitted_rows(found, error, sizes):
    """Check the strata of the rows of the fit and the exponent of their scale, from which `partial_fit` continues."""
    require(isinstance(found, tuple) and len(found) == 2, "_fitted_rows")
    strata, exponent = found
    check_exponent("_fitted_rows", exponent)
    require(np.ldexp(float(error), 2 * exponent) <= LARGEST, "reconstruction_err_")
    if strata is not None:
        _check_array("_fitted_rows", strata, "n", "S", {"S": 1} | sizes)


def _check_fitted_sums(found, sizes):
    """Check the sums over the rows of a fit with a design, from which `partial_fit` continues."""
    name = "_fitted_sums"
    if found is None:
        return
    require(isinstance(found, dict) and found.keys() == {"cross", "sums", "gram", "total", "n_rows"}, name)
    require(sp.issparse(found["cross"]) and found["cross"].shape == (sizes["S"], sizes["S"]), name)
    check_entries(name, found["cross"].data)
    for key, letters in (("sums", "Sk"), ("gram", "kk")):
        require(isinstance(found[key], np.ndarray) and found[key].dtype == np.float64, name)
        require(found[key].shape == tuple(sizes[letter] for letter in letters), name)
        check_entries(name, found[key])
    check_real(name, found["total"])
    check_count(name, found["n_rows"], 1)
