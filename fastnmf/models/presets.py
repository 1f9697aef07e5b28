"""What models that are one fixed choice of `BaseNMF`'s options leave open: nothing."""

from fastnmf.models.base import BaseNMF
from fastnmf.models.options import check_integer
from fastnmf.models.problems import squared_problem
from fastnmf.solve import allocate, normalized


class Preset(BaseNMF):
    """Base of models that fix most options of `BaseNMF`; these are attributes of the class, and no parameters.

    A model that has one of them as a parameter sets it in its ``__init__``, as any estimator does.
    """

    solver, beta_loss = "hals", "frobenius"
    alpha_W = alpha_H = alpha_V = l1_ratio = 0.0
    missing_values = fixed_components = seed_features = max_time = callback = n_threads = None
    guide_weight, warm_start, verbose, tol, max_iter = 1.0, False, 0, 0.0, 1

    def _check_parameters(self):
        check_integer("n_components", self.n_components)
        super()._check_parameters()

    def _extrapolation(self, factors, tasks):
        return None

    def _measure(self, data, W, H):
        """Set the squared error's attributes for W (n_samples, k) and H (n_features, k) in the inner scale."""
        factors, tasks = allocate(data, W, H, None)
        loss = squared_problem(data, factors, tasks, (("W", 1), ("H", 1)), is_descent=True).value(factors)
        self.normalized_loss_ = float(normalized(loss, data.sq_norm))
        self.reconstruction_err_ = self._reconstruction_error(loss, -2 * data.exponent)
