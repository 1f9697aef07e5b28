"""What models share whose loss is neither a squared error nor one divergence: inference and scores by their problem."""

import numpy as np

from fastnmf.models.base import NNDSVD, BaseNMF
from fastnmf.models.options import check_integer
from fastnmf.models.presets import Unstratified
from fastnmf.models.transfer import check_init
from fastnmf.problem import Factors, Problem
from fastnmf.solve import allocate, infer, pad


class OwnLoss(Unstratified, BaseNMF):
    """Base of models with a loss of their own: what of `BaseNMF` they do not offer, and inference by their problem."""

    alpha_W, alpha_H, l1_ratio, beta_loss, missing_values = 0.0, "same", 0.0, "frobenius", None
    fixed_components = seed_features = None
    guide_weight, warm_start, shuffle = 1.0, False, False

    def fit(self, X, y=None, *, W=None, H=None):
        """Fit the model.

        Parameters
        ----------
        X : array or sparse matrix (n_samples, n_features)
            Non-negative, finite. float32 stays float32.
        y : ignored
        W, H : ndarray (n_samples, k), (k, n_features), default=None
            Start for ``init="custom"``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or starts that cannot be used: what was given, expected, and to be done.
        """
        self._fit(X, None, W, H, None)
        return self

    def fit_transform(self, X, y=None, *, W=None, H=None):
        """Fit the model and return the weights of the rows of X, (n_samples, n_components); see `fit`."""
        return self._fit(X, None, W, H, None)

    def transform(self, X):
        """Return the non-negative weights of the rows of X for the fitted components, (n_samples, n_components).

        They minimise the model's own loss, row by row.
        """
        return self._transform(X)

    def score(self, X, y=None):
        """Return one minus the loss of X over that of the model that predicts zero; at most 1, larger is better."""
        data, _, _ = self._prepared(X, None)
        W = np.ldexp(self.transform(X), data.exponent)
        factors, tasks = allocate(data, W, self._prepared_H(data), None)
        problem = self._problem(data, factors, tasks)
        return 1.0 if problem.scale == 0 else float(1 - problem.value(factors) / problem.scale)

    def _check_parameters(self):
        check_integer("n_components", self.n_components)
        check_init(self.init, (None, "features", "rows", "random", *NNDSVD, "custom"))
        super()._check_parameters()

    def _extrapolation(self, factors, tasks):
        return None

    def _inferred_W(self, data, H):
        """Return W (n_rows, K) for H (n_columns, k), in the inner scale; a row of it depends on that row alone."""
        W = infer(data, H.shape[1], pad(H, data), None)[0][:, : H.shape[1]]
        W = W + 1e-3 * (H.mean() or 1.0) * (W == 0) if self.solver == "mu" else W  # which cannot leave a zero
        factors, tasks = allocate(data, W, H, None)
        self._move_W(data, factors, tasks)
        return factors["W"]

    def _of(self, term, move, factors, tasks, n_sweeps=1, scale=None):
        """Return the `Problem` of one term and one move; its scale is the loss of the zero model, if none is given."""
        if scale is None:
            scale = term.value(Factors(factors.rank, **{name: np.zeros_like(factors[name]) for name in "WH"}))
        return Problem(
            terms=[term],
            moves=dict.fromkeys("WH", move),
            schedule=(("W", n_sweeps), ("H", n_sweeps)),
            tasks=tasks,
            scale=scale,
        )

    def _settle(self, data, problem, fit):
        """Find W anew for the final H, as `transform` does; keep it unless the one that is there is better."""
        factors = fit.factors
        found = self._inferred_W(data, factors["H"][:, : factors.rank])
        kept, before = factors["W"].copy(), (problem.value(factors), problem.penalty)
        factors["W"][:] = found
        factors.moved("W")
        after = problem.value(factors), problem.penalty
        if after[0] > before[0]:
            factors["W"][:], after = kept, before
            factors.moved("W")
        fit.history["objective"][-1], fit.history["penalty"][-1] = after

    def _transform(self, X):
        data, H, _ = self._prepared(X, None)
        W = self._inferred_W(data, H)[:, : H.shape[1]]
        return np.ldexp(np.ascontiguousarray(W), -data.exponent)
