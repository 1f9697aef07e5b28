"""Counts that vary more than Poisson counts: their dispersion at a fitted mean, and fits of the negative binomial."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from fastnmf.core.dispersion import (
    KINDS,
    METHODS,
    CountModel,
    dispersion_of,
    size_by_likelihood,
    size_by_moments,
    size_of,
)
from fastnmf.core.iterate import iterate
from fastnmf.core.losses.choice import COUNTS, Counts, as_divergence
from fastnmf.core.losses.negative_binomial import check_counts
from fastnmf.core.options import check_choice
from fastnmf.core.thresholds import model_floor
from fastnmf.core.warn import warn
from fastnmf.data.annotated import with_labels
from fastnmf.data.ondisk import DiskCSR
from fastnmf.kernels.jit import thread_count, threads
from fastnmf.models.base.auto_start import is_free
from fastnmf.models.base.inspection import open_data
from fastnmf.typing import Floats, Labels, Matrix

START_ITERATIONS = 100  # most iterations of the Kullback-Leibler fit that a negative-binomial fit starts from
# Seconds of an iteration on one core of a server, for each entry of the data, and for each entry and component: from
# `python bench/counts.py --time`.
ENTRY_SECONDS, PRODUCT_SECONDS = 9e-9, 0.2e-9
LONG = 1.0  # seconds of an iteration from which on a fit says beforehand what it would take


class DispersionMixin:
    """Mixin that estimates the dispersion of counts at the mean of a fitted model; precedes `BaseNMF`."""

    def estimate_dispersion(
        self: Any,
        X: Matrix,
        *,
        strata: Labels | None = None,
        method: Literal["ml", "moments"] = "ml",
        kind: Literal["feature", "global"] = "feature",
    ) -> Any:
        """Return by how much the counts of each feature vary more than Poisson counts with the mean of the model.

        A count with the mean y, the entry of ``v + w H``, has the variance ``y + dispersion * y²``: the negative
        binomial distribution, 0 is Poisson. The model may be fitted with any loss; Kullback-Leibler is the one of
        Poisson counts. W are the weights that `transform` finds.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Counts, the training data or new ones.
        strata : array-like (n_samples,), default=None
            Label of each row, for models with strata; as in `transform`.
        method : {"ml", "moments"}, default="ml"
            ``"ml"``: maximum likelihood, from 1e-6, below which the result is 0, to 1000. About eight passes over all
            entries, zeros among them, O(n m k), a tile at a time. ``"moments"``: the sum of ``(x - y)² - y`` over that
            of ``y²``, at least 0, from O(nnz k) operations; less precise where counts are few.
        kind : {"feature", "global"}, default="feature"
            Whether each feature has its own dispersion, or all have the same.

        Returns
        -------
        ndarray (n_features,) of float64, or float if `kind` is ``"global"``

        Raises
        ------
        ValueError
            X or strata that `transform` refuses, missing values, or entries too large or too small for counts.

        Notes
        -----
        The estimates of features with few counts are noisy. With as many components as needed for the structure the
        result measures noise; with fewer, also the structure that the model lacks.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnmf import NMF
        >>> rng = np.random.default_rng(0)
        >>> mean = 20 * rng.random((200, 2)) @ rng.random((2, 30))
        >>> X = rng.poisson(mean * rng.gamma(2, 1 / 2, mean.shape))  # dispersion 1/2
        >>> model = NMF(2, solver="mu", beta_loss="kullback-leibler", random_state=0).fit(X)
        >>> round(model.estimate_dispersion(X, kind="global"), 2)
        0.46
        """
        self._check_fitted()
        check_choice("method", method, METHODS)
        check_choice("kind", kind, KINDS)
        X, strata = with_labels(X, strata)
        if isinstance(X, DiskCSR):
            raise ValueError("X is a matrix on disk, but estimate_dispersion needs all rows at once; pass X[:].")
        if hasattr(X, "__dask_graph__"):
            raise ValueError(
                "X is a Dask collection, but estimate_dispersion needs all rows at once; pass X.compute()."
            )
        if strata is not None and not self._has_shifts:
            raise ValueError(f"{type(self).__name__} has no strata; leave strata= out, or use StratifiedNMF.")
        if getattr(self, "missing_values", None) is not None:
            raise ValueError(
                f"estimate_dispersion needs every entry, but the model has missing_values={self.missing_values!r}; "
                "fit a model without."
            )
        if hasattr(self, "_own_stack"):
            raise ValueError(
                "estimate_dispersion takes the mean from shifts and shared components, but this model has own "
                "components; fit it with n_own=0 and own=None."
            )
        model = self._with_new_strata(X, strata) if self._has_shifts else self
        with threads(self.n_threads):
            W = model._transform(X, strata) if self._has_shifts else model._transform(X)
            data, V = self._counts_of(model, X, strata)
            check_counts(data)
            size = fitted_size(data, W, self.components_.T, V, method, kind)
        found = dispersion_of(size)
        return float(found[0]) if kind == "global" else found

    def _counts_of(self, model, X, strata):
        """Return X as float64 data, and the shifts of the rows, or None.

        Parameters
        ----------
        model : estimator
            This model, with shifts for all strata of X.
        X : sparse matrix or array (n_samples, n_features)
        strata : array-like (n_samples,), or None
        """
        data, _, V = open_data(model, X, strata)
        return data, V


def fitted_size(data, W, H, V, method, kind):
    """Return the sizes of the features at a given mean, float64 (n_features,).

    Parameters
    ----------
    data : Strata
        In its own scale.
    W, H : ndarray (n_rows, k), (n_features, k)
    V : ndarray or csr_array (n_strata, n_features), or None
    method, kind : str
        As for `DispersionMixin.estimate_dispersion`.
    """
    values = data.X.data if data.is_sparse else data.X
    least = model_floor(values.sum(dtype=np.float64) / max(np.count_nonzero(values), 1))[0]
    model = CountModel(data, W, H, V, least)
    return size_by_likelihood(model, kind) if method == "ml" else size_by_moments(model, kind)


class CountsMixin(DispersionMixin):
    """Mixin of models that fit ``beta_loss="negative-binomial"``; precedes `BaseNMF` and its other mixins.

    Such a fit starts from a short fit of Kullback-Leibler with the same start and penalties: from random starts the
    updates of the negative binomial end in worse components.
    """

    dispersion_: Floats

    @property
    def _fitted_shapes(self):
        may_be = not isinstance(self.beta_loss, str) or self.beta_loss == COUNTS  # to look takes less than the options
        return super()._fitted_shapes | ({"dispersion_": "m"} if may_be and self._options().is_counts else {})

    def _check_options(self, options):
        super()._check_options(options)
        if not options.is_counts and not (isinstance(self.dispersion, str) and self.dispersion == "feature"):
            raise ValueError(
                f"dispersion needs beta_loss='negative-binomial', but {options.loss_given} is given; leave it out, or "
                "call estimate_dispersion after the fit."
            )

    def _reading_options(self):
        """Return the options with which new rows are read: a fit's dispersion takes the place of the parameter."""
        options = self._options()
        if not (options.is_counts and hasattr(self, "dispersion_")):
            return options
        return replace(options, loss=Counts(size_of(self.dispersion_)))

    def _data(self, X, given, options):
        is_counts = options is not None and options.is_counts
        if is_counts and (given.get("sample_weight") is not None or options.strata_weight == "equal"):
            raise ValueError(
                "sample_weight and strata_weight='equal' multiply rows, which beta_loss='negative-binomial' does not "
                "allow: the variance of a count depends on its scale; leave them out, or use 'kullback-leibler'."
            )
        data = super()._data(X, given, options)
        if is_counts:
            check_counts(data)
            _warn_of_counts(data)
            _warn_of_time(data, self._rank(data, given, options))
        return data

    def _runs(self, data, given, options):
        return super()._runs(data, given, _short(options) if options.is_counts else options)

    def _solver(self, data, given, options, random_state):
        if not options.is_counts:
            return super()._solver(data, given, options, random_state)
        if self._goes_on(options):
            options = replace(options, loss=Counts(size_of(self.dispersion_), options.loss.kind))
        if not (is_free(self, given, options) and isinstance(options.init, str | None)):
            return super()._solver(data, given, options, random_state)
        solver = super()._solver(data, given, _short(options), random_state)
        fit = iterate(solver, max_iter=START_ITERATIONS, tol=options.tol, max_time=options.max_time)
        W, H = (fit.factors[name][:, : fit.factors.rank] for name in "WH")
        v = fit.factors["V"] if self._has_shifts else None
        fit.problem.release()
        return self._alternate(data, (W, H, v, None), given, options)

    def _set_factors(self, data, fit, options):
        if options.is_counts:
            loss = fit.problem.losses[0]
            if loss.kind is not None:
                loss.estimate(fit.factors)
                fit.history["objective"][-1] = fit.problem.value(fit.factors)
            self.dispersion_ = dispersion_of(loss.size)
        super()._set_factors(data, fit, options)


def _short(options):
    """Return the options of the fit from which a negative-binomial fit starts."""
    return replace(options, loss=as_divergence("kullback-leibler"))


def _warn_of_counts(data):
    values = data.X.data if data.is_sparse else data.X
    if not np.array_equal(values, np.rint(values)):
        warn(
            "X has entries that are not whole numbers, but beta_loss='negative-binomial' is a model of counts, whose "
            "variance depends on their scale; pass the counts themselves.",
            UserWarning,
        )


def _warn_of_time(data, rank):
    """Say before a fit what it takes, where that is long: an iteration visits every entry of the data."""
    n, m = data.shape
    seconds = n * m * (ENTRY_SECONDS + PRODUCT_SECONDS * rank) / thread_count()
    if seconds >= LONG:
        warn(
            f"beta_loss='negative-binomial' visits all {n} x {m} entries, about {seconds:.0f} s an iteration here; "
            "use fewer features, or fit 'kullback-leibler' and call estimate_dispersion.",
            UserWarning,
        )
