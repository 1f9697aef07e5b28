"""Find the names of features, and the strongest features of a component."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from fastnmf.core.options import check_integer
from fastnmf.data.labels import values_of
from fastnmf.data.names import read_names
from fastnmf.data.ranking import feature_scores, specific_to_strata, strongest_of
from fastnmf.typing import Names, Ranking


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
    is_specific, is_designed = None, getattr(model, "_is_designed", False)
    if specific is not None:
        strata = model.strata_ if model._has_shifts and not is_designed else None
        is_specific = specific_to_strata(specific, strata, n_features_of(model))
    check_integer("n", n)
    names = feature_names_for(model, feature_names)
    components = strongest(model.components_, names, n, "weight" if by is None else by)
    if not model._has_shifts:
        return components
    ranking = "contrast" if by is None else by
    if is_designed:
        return Bunch(strata=model._features_of_shifts(names, n, ranking), components=components)
    per_stratum = strongest(model.shifts_, names, n, ranking, is_specific)
    return Bunch(strata=dict(zip(values_of(model.strata_), per_stratum, strict=True)), components=components)


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


class TopFeaturesMixin:
    """Mixin that names the strongest features of the components, and of the strata where there are any."""

    def top_features(
        self,
        n: int = 10,
        feature_names: Names | None = None,
        *,
        by: Ranking | None = None,
        specific: Mapping[str, Any] | None = None,
    ) -> list[list[str]]:
        """Return the names of at most n features of each component, strongest first.

        Parameters
        ----------
        n : int, default=10
            Maximum number of features of one component.
        feature_names : array-like (n_features,), default=None
            Names of the features, or a vocabulary: name -> column. None takes `feature_names_in_`, or else the column
            numbers.
        by : {"contrast", "weight", "lift"}, default=None
            ``"weight"``: the entries themselves. ``"contrast"``: the shift less the mean shift of the other strata,
            times the root of its share of the shift. ``"lift"``: class-based TF-IDF. None: strata by contrast,
            components by weight.
        specific : SpecificFeatures, default=None
            Result of `fastnmf.specific_features` for the strata of a model that has them: the names of features that
            the test rejected for a stratum end in a star there.

        Returns
        -------
        list of list of str, or Bunch
            For a model with strata a Bunch: ``strata``, a dict of label -> list of str (the features specific to it),
            and ``components``, a list of list of str.
        """
        return top_features(self, n, feature_names, by, specific)
