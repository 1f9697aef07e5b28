"""Find the strongest features of a component, and the rows that use it most."""

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from fastnmf.core.options import check_integer


def n_features_of(model):
    """Return the number of features of a model, also if its components were set by hand, without a fit."""
    return model.n_features_in_ if hasattr(model, "n_features_in_") else model.components_.shape[-1]


class FeatureNamesMixin:
    """Mixin that finds the names of the features."""

    def _feature_names(self, feature_names):
        if feature_names is None:
            feature_names = getattr(self, "feature_names_in_", getattr(self, "_names", None))
        if feature_names is None:
            feature_names = [str(j) for j in range(n_features_of(self))]
        if len(feature_names) != n_features_of(self):
            raise ValueError(f"feature_names has {len(feature_names)} names for {n_features_of(self)} features.")
        return np.asarray(feature_names)


class TopFeaturesMixin(FeatureNamesMixin):
    """Mixin of all models with components: the strongest features, and the rows that use a component most."""

    _has_shifts = False

    def _top_features(self, n, feature_names):
        """Return the strongest features of each component; for models with shifts, those of each stratum, too."""
        check_is_fitted(self)
        check_integer("n", n)
        names = self._feature_names(feature_names)
        components = strongest(self.components_, names, n)
        if not self._has_shifts:
            return components
        per_stratum = strongest(self.shifts_, names, n)
        return Bunch(strata=dict(zip(self.strata_.tolist(), per_stratum, strict=True)), components=components)

    def top_samples(self, n=5):
        """Return the training rows that use each component most, strongest first.

        Parameters
        ----------
        n : int, default=5
            Rows listed for each component.

        Returns
        -------
        ndarray (n_components, min(n, n_samples)) of int
            Row numbers; ties go to the earlier row.
        """
        check_is_fitted(self)
        check_integer("n", n)
        if not hasattr(self, "W_"):
            raise NotFittedError(
                f"This {type(self).__name__} has no W_, the weights of the training rows; fit sets them. "
                "For other rows, sort the columns of transform(X)."
            )
        return np.argsort(-self.W_.T, axis=1, kind="stable")[:, :n]


def strongest(weights, names, n):
    """Return the names of the n largest positive weights in each row, descending, ties by position (list of lists)."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, :n]
    return [[str(names[j]) for j in row if weight[j] > 0] for row, weight in zip(order, weights, strict=True)]
