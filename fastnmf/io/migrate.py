"""Translate files of older versions: tables of all renamed names and changed defaults.

Files of format 1 were written by version 0.1. `upgrade` translates the values of a file before objects are made from
them. Every rename is recorded in the tables of this module and nowhere else.
"""

# Parameters that were renamed: class -> old name -> (new name, function of the old value).
PARAMETERS = {"GraphNMF": {"anchor": ("scale_invariant", lambda value: value is not None)}}

# Fitted attributes that were renamed, for all classes: old name -> new name.
ATTRIBUTES = {"_exponent": "_log4_scale"}

# Names in the state of `fastnmf.core.batches.Statistics`, which `partial_fit` continues from: old name -> new name.
STATISTICS = {"forget": "forget_factor", "exponent": "log4_scale"}

# Names in the solver state of a checkpoint: old name -> new name.
CHECKPOINT_STATE = {"revivals": "reseedings", "at_hand": "cached_products"}

# Parameters of fits with checkpoints that were added after 0.1: name -> the value that reproduces a fit of 0.1. (Where
# 0.1 did not extrapolate, its file has no state of an extrapolation, and the fit continues without.)
ADDED_PARAMETERS = {"extrapolate": True, "smoothness": 0.0, "dispersion": "feature", "n_own": 0, "shifts": True}
ADDED_PARAMETERS |= {"unknown_strata": "error"}  # of MiniBatchStratifiedNMF

# Parameters whose default has changed: (class, name) -> old default. A fit that is resumed from a checkpoint takes the
# value in the file if its own value is the new default, which the user may not have chosen.
CHANGED_DEFAULTS = {("StratifiedNMF", "init"): "features", ("NMF", "init"): "features"}


def upgrade(kind, file_format, values):
    """Return the values of a file under the names of the present format.

    Parameters
    ----------
    kind : str
        ``"model"`` or ``"checkpoint"``.
    file_format : int
        Format of the file; 1 is that of version 0.1.
    values : dict
        Contents of the file, as `fastnmf.io.archive` unpacks them.

    Returns
    -------
    dict
    """
    if file_format >= 2:
        return values
    if kind == "model":
        return _model(values)
    if kind == "checkpoint":
        fit = values.get("fit", {})
        if fit.get("estimator") == "NMF" and fit.get("init") is None:
            fit = fit | {"init": "features"}  # which None was
        return values | {"fit": fit, "state": _checkpoint_state(_renamed(values["state"], CHECKPOINT_STATE))}
    return values


def _checkpoint_state(state):
    """Return the state of a checkpoint of format 1, of the only run of alternating updates, in the present format."""
    history = dict(state["history"])
    n_reseeded = int(history.pop("revived"))
    losses = [{"reseedings": count} if count else {} for count in state["reseedings"]]
    found = {name: state[name] for name in ("factors", "extrapolation", "cached_products")}
    found |= {"history": history, "losses": losses, "reseeded": n_reseeded, "last": float(history["objective"][-1])}
    found |= {"penalties": [], "sum_of_V": None}  # version 0.1 had none
    found |= {"is_within": False, "seconds": float(history["seconds"][-1])}
    return found | {"n_steps": int(history["iteration"][-1]), "runs": {"objectives": [], "best_run": 0, "best": None}}


def _model(values):
    """Return a model of format 1, and models that it contains, under the present names; other values unchanged."""
    if not (isinstance(values, dict) and values.keys() >= {"class", "parameters"}):
        return values
    renamed = PARAMETERS.get(values["class"], {})
    parameters = {}
    for name, value in values["parameters"].items():
        name, convert = renamed.get(name, (name, _model))
        parameters[name] = convert(value)
    attributes = {name: _model(value) for name, value in values.items() if name not in ("class", "parameters")}
    if isinstance(attributes.get("_statistics"), dict):
        statistics = attributes["_statistics"]
        attributes["_statistics"] = statistics | {"state": _renamed(statistics["state"], STATISTICS)}
    if "coef_" in attributes:  # 0.1 predicted by B of the objective, and such a model still does; it has no intercepts
        attributes["B_"] = attributes["coef_"]
    if values["class"] == "SmoothNMF" and "components_" in attributes:  # smoothness had a unit, that of X
        attributes["typical_"] = 1.0
    if values["class"] == "GraphNMF" and "W_" in attributes:  # the default was 5 in 0.1
        weight = parameters.get("graph_weight")
        default = 5.0 if parameters.get("scale_invariant", True) else 100.0
        attributes["graph_weight_"] = default if weight is None else weight
    return {"class": values["class"], "parameters": parameters} | _renamed(attributes, ATTRIBUTES)


def _renamed(values, names):
    return {names.get(name, name): value for name, value in values.items()}
