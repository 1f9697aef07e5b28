"""Bases of models without strata, and of models that fix most options of `BaseNMF`."""

from fastnmf.core.factors import allocate
from fastnmf.core.iterate import normalized
from fastnmf.core.objectives import squared_problem
from fastnmf.core.options import check_integer
from fastnmf.models.base.estimator import BaseNMF


class UnstratifiedMixin:
    """Mixin of models without strata: `inverse_transform` and `top_features` with their simple signatures."""

    def inverse_transform(self, W):
        """Return ``W H``, dense (n_samples, n_features), for W (n_samples, n_components)."""
        return self._inverse_transform(W)

    def top_features(self, n=10, feature_names=None):
        """Return the names of at most n features of each component, strongest first, as a list of lists."""
        return self._top_features(n, feature_names)


class Preset(UnstratifiedMixin, BaseNMF):
    """Base of models that fix most options of `BaseNMF`: these are class attributes instead of parameters.

    A subclass that has one of them as a parameter sets it in its ``__init__``, as any estimator does.
    """

    solver, beta_loss = "hals", "frobenius"
    alpha_W = alpha_H = alpha_V = l1_ratio = 0.0
    missing_values = fixed_components = seed_features = max_time = callback = n_threads = None
    guide_weight, warm_start, verbose, tol, max_iter = 1.0, False, 0, 0.0, 1

    def score(self, X, y=None, sample_weight=None):
        """Return the share of the squared norm of X that the exact W >= 0 explains; at most 1, larger is better."""
        return self._score(X, None, sample_weight)

    def _check_parameters(self):
        check_integer("n_components", self.n_components)
        super()._check_parameters()

    def _extrapolation(self, factors, tasks):
        return None

    def _measure(self, data, W, H):
        """Set the attributes of the squared error for W (n_samples, k) and H (n_features, k).

        Both are in the inner scale: multiplied by ``2 ** log4_scale``, where the data are by ``4 ** log4_scale``.
        """
        factors, tasks = allocate(data, W, H, None)
        loss = squared_problem(data, factors, tasks, (("W", 1), ("H", 1)), is_descent=True).value(factors)
        self.normalized_loss_ = float(normalized(loss, data.sq_norm))
        self.reconstruction_err_ = self._reconstruction_error(loss, -2 * data.log4_scale)
