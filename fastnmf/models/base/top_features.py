"""Find the names of features, and the strongest features of a component."""

from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from fastnmf.core.options import check_integer
from fastnmf.data.labels import places
from fastnmf.data.names import read_names
from fastnmf.data.ranking import feature_scores, strongest_of
from fastnmf.data.sentences import shown


def n_features_of(model):
    """Return the number of features of a model, also if its components were set manually, without a fit."""
    return model.n_features_in_ if hasattr(model, "n_features_in_") else model.components_.shape[-1]


def _n_rows_of(model):
    return len(model.W_) if getattr(model, "W_", None) is not None else None


def feature_names_for(model, given):
    """Return the names of the features: those given, or the model's own, or the column numbers."""
    own = getattr(model, "feature_names_in_", None)
    if given is None:
        given = range(n_features_of(model)) if own is None else own
    return read_names(given, n_features_of(model), own, n_rows=_n_rows_of(model))


def names_to_keep(model, given):
    """Return the names of the features as an object array of str, or None if there are none."""
    own = getattr(model, "feature_names_in_", None)
    if given is None:
        return own
    names = read_names(given, n_features_of(model), n_rows=_n_rows_of(model))
    if own is not None and names.tolist() != own.tolist():
        raise ValueError("The model was fitted with other feature names; leave feature_names out to keep those.")
    return names


def top_features(model, n, feature_names, by=None, specific=None):
    """Return the strongest features of each component; for models with shifts, those of each stratum, too.

    Parameters
    ----------
    model : estimator
    n : int
    feature_names : array-like (n_features,), or None
    by : {"contrast", "weight", "lift"}, default=None
        What features are ranked by, see `feature_scores`. None: contrast for strata, weight for components.
    specific : SpecificFeatures, default=None
        Result of `fastnmf.specific_features`: the features of a stratum that it rejected end in a star.
    """
    check_is_fitted(model)
    is_specific = None if specific is None else specific_to_strata(model, specific)
    check_integer("n", n)
    names = feature_names_for(model, feature_names)
    components = strongest(model.components_, names, n, "weight" if by is None else by)
    if not model._has_shifts:
        return components
    ranking = "contrast" if by is None else by
    if getattr(model, "_is_designed", False):
        return Bunch(strata=model._features_of_shifts(names, n, ranking), components=components)
    per_stratum = strongest(model.shifts_, names, n, ranking, is_specific)
    return Bunch(strata=dict(zip(model.strata_.tolist(), per_stratum, strict=True)), components=components)


def specific_to_strata(model, specific):
    """Return which features a test found specific to each stratum of a model.

    Parameters
    ----------
    model : estimator
        Fitted, with strata.
    specific : SpecificFeatures
        Result of `fastnmf.specific_features` for the same strata and features.

    Returns
    -------
    ndarray (n_strata, n_features) of bool
    """
    if getattr(model, "_is_designed", False):
        raise ValueError("specific= marks features of strata, but this model has a design; leave it out.")
    if not (hasattr(specific, "rejected") and hasattr(specific, "labels")):
        raise TypeError(f"specific={shown(specific)} is not valid; expected what fastnmf.specific_features returns.")
    if not getattr(model, "_has_shifts", False):
        raise ValueError(f"{type(model).__name__} has no strata for specific= to mark features of; leave it out.")
    if specific.rejected.shape[1] != n_features_of(model):
        raise ValueError(
            f"specific has {specific.rejected.shape[1]} features; the model has {n_features_of(model)}: test the data "
            "of the fit."
        )
    rows = places(model.strata_, specific.labels)
    if (rows < 0).any():
        unknown = model.strata_[rows < 0].tolist()[0]
        raise ValueError(f"specific has no stratum {unknown!r} of the model; test the strata of the fit.")
    return specific.rejected[rows]


def strongest(weights, names, n, by="weight", is_starred=None):
    """Return the names of the n features with the largest scores in each row, descending, ties by position.

    Parameters
    ----------
    weights : array or sparse array (n_rows, n_features)
    names : sequence (n_features,)
    n : int
    by : {"contrast", "weight", "lift"}, default="weight"
        As in `feature_scores`.
    is_starred : ndarray (n_rows, n_features) of bool, default=None
        Names that end in a star.

    Returns
    -------
    list of list of str
    """
    found = [strongest_of(scores, n)[0] for scores in feature_scores(weights, by)]
    if is_starred is None:
        return [[str(names[j]) for j in row] for row in found]
    return [
        [f"{names[j]}*" if stars[j] else str(names[j]) for j in row]
        for row, stars in zip(found, is_starred, strict=True)
    ]
