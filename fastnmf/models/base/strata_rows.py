"""Read rows of a model with strata: rebuild them from weights, score them, measure their errors."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from fastnmf.core.warn import first_was
from fastnmf.typing import Floats, Groups, Matrix, SparseOrDense, Vector


class DesignErrorsMixin:
    """Mixin that computes the error of each row where rows have labels, or a design; precedes `DesignMixin`."""

    def reconstruction_errors(
        self,
        X: Matrix,
        *,
        strata: Groups | None = None,
        design: SparseOrDense | None = None,
        exposure: Vector | str | None = None,
    ) -> Floats:
        """Return the squared error (or divergence) of every row.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        strata, design, exposure : default=None
            As in `transform`.

        Returns
        -------
        ndarray (n_samples,) of float64
            ``min_{w >= 0} ||a - v - w H||²`` for every row a, over the known entries, with its shift v; see
            `NMF.reconstruction_errors`.

        Raises
        ------
        ValueError
            X or strata that `transform` rejects; a loss other than the squared error and Kullback-Leibler.
        """
        X, rows = self._rows_given(X, strata, design, exposure)
        if self._is_designed:
            return self._errors_of_rows(X, rows)
        return super().reconstruction_errors(X, strata=rows)


class StrataRowsMixin(DesignErrorsMixin):
    """Mixin of models whose rows have labels, or a design: methods that read rows; precedes all other bases.

    `transform` is in the class itself, where scikit-learn looks for it to make tables of its result.
    """

    @first_was("W")
    def inverse_transform(
        self,
        X: SparseOrDense,
        *,
        strata: Groups | None = None,
        design: SparseOrDense | None = None,
        exposure: Vector | str | None = None,
        own_W: SparseOrDense | Literal[False] | None = None,
    ) -> Floats:
        """Return the rows ``v + w H + u G`` of the model, dense (n_samples, n_features).

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_components)
            Weights, one row for each sample.
        strata : array-like (n_samples,), default=None
            Stratum label of each row, one of `strata_`. May be omitted for a model with one stratum.
        design, exposure : default=None
            As in `transform`.
        own_W : sparse matrix or array (n_samples, sum of `n_own_`), or False, default=None
            Weights u of the own components, as `transform_own` returns them: required where there are own components
            with weights of their own. False leaves their part out. None is right for all other models.

        Returns
        -------
        ndarray (n_samples, n_features)
            In units of X.

        Raises
        ------
        ValueError
            Weights or labels do not fit the model, or own_W is missing.
        """
        return self._inverse_transform(*self._rows_given(X, strata, design, exposure), own_W)

    def score(
        self,
        X: Matrix,
        y: Any = None,
        *,
        strata: Groups | None = None,
        design: SparseOrDense | None = None,
        exposure: Vector | str | None = None,
        sample_weight: Vector | None = None,
    ) -> float:
        """Return the share of the squared norm of X that the model explains, or the accuracy of its classes.

        Either is at most 1; larger is better.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite.
        y : array-like (n_samples,), default=None
            Classes, for a model that was fitted with them and has ``label_weight > 0``: the score is then the accuracy
            of `predict` on the rows whose class is known. Ignored otherwise.
        strata : array-like (n_samples,), default=None
            Stratum label of each row. May be omitted for a model with one stratum.
        design, exposure : default=None
            As in `transform`.
        sample_weight : array-like (n_samples,), default=None
            Weight of each row, >= 0: of its squared error and squared norm, or of its class.

        Returns
        -------
        float
            ``1 - sum_i w_i ||a_i - v - w_i H||² / sum_i w_i ||a_i||²``; 1.0 for all-zero data. Or the accuracy.
        """
        if y is not None and self.label_weight and hasattr(self, "classes_"):
            return self._accuracy(X, y, sample_weight, strata=strata)
        return self._score(*self._rows_given(X, strata, design, exposure), sample_weight)

    def estimate_dispersion(
        self,
        X: Matrix,
        *,
        strata: Groups | None = None,
        design: SparseOrDense | None = None,
        exposure: Vector | None = None,
        method: Literal["ml", "moments"] = "ml",
        kind: Literal["feature", "global"] = "feature",
    ) -> Any:
        """Return by how much the counts of each feature vary more than Poisson counts with the mean of the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Counts, the training data or new ones.
        strata, design, exposure : default=None
            As in `transform`.
        method, kind :
            As for `NMF.estimate_dispersion`, which says more.

        Returns
        -------
        ndarray (n_features,) of float64, or float if `kind` is ``"global"``

        Raises
        ------
        ValueError
            Rows that `transform` refuses, missing values, own components, or entries too large or too small for counts.
        """
        X, rows = self._rows_given(X, strata, design, exposure)
        return super().estimate_dispersion(X, strata=rows, method=method, kind=kind)

    def _counts_of(self, model, X, strata):
        if not self._is_designed:
            return super()._counts_of(model, X, strata)
        X = self._validated(X, reset=False).astype(np.float64, copy=False)
        return self._observed(X, self._options(), strata, labels=self._fitted_design()), self.shifts_
