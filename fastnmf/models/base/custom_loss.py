"""Base of models whose loss is neither a squared error nor one divergence: they infer W with their own problem.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``.
"""

import numpy as np

from fastnmf.core.factors import Factors, allocate, pad
from fastnmf.core.inference import infer
from fastnmf.core.init.start_from import check_init
from fastnmf.core.options import check_integer
from fastnmf.core.problem import Problem
from fastnmf.models.base.estimator import NNDSVD, BaseNMF
from fastnmf.models.base.presets import UnstratifiedMixin


class CustomLoss(UnstratifiedMixin, BaseNMF):
    """Base of models with their own loss: fixes the options of `BaseNMF` that they lack, and infers W by that loss."""

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
        W : ndarray (n_samples, k), default=None
            Start for ``init="custom"``, non-negative.
        H : ndarray (k, n_features), default=None
            As W.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Parameters, data or starts that cannot be used.
        """
        self._fit(X, None, W, H, None)
        return self

    def fit_transform(self, X, y=None, *, W=None, H=None):
        """Fit the model and return the weights of the rows of X, (n_samples, n_components).

        Parameters
        ----------
        X : array or sparse matrix (n_samples, n_features)
        y : ignored
        W, H : ndarray, default=None
            As in `fit`.

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        return self._fit(X, None, W, H, None)

    def transform(self, X):
        """Return the non-negative weights of the rows of X for the fitted components, (n_samples, n_components).

        They minimise the model's own loss, row by row.
        """
        return self._transform(X)

    def score(self, X, y=None):
        """Return 1 minus the loss of X divided by the loss of the zero model; at most 1, larger is better."""
        data, _, _ = self._prepared(X, None)
        W = np.ldexp(self.transform(X), data.log4_scale)
        factors, tasks = allocate(data, W, self._prepared_H(data), None)
        problem = self._problem(data, factors, tasks)
        return 1.0 if problem.scale == 0 else float(1 - problem.value(factors) / problem.scale)

    def _check_parameters(self):
        check_integer("n_components", self.n_components)
        check_init(self.init, (None, "features", "rows", "random", *NNDSVD, "custom"))
        super()._check_parameters()

    def _extrapolation(self, factors, tasks):
        return None

    def _infer_W(self, data, H):
        """Return W (n_rows, K) for H (n_columns, k), in the inner scale; each row depends on its row of data only."""
        W = infer(data, H.shape[1], pad(H, data), None)[0][:, : H.shape[1]]
        W = W + 1e-3 * (H.mean() or 1.0) * (W == 0) if self.solver == "mu" else W  # MU cannot leave a zero
        factors, tasks = allocate(data, W, H, None)
        self._update_W(data, factors, tasks)
        return factors["W"]

    def _of(self, loss, update, factors, tasks, n_sweeps=1, scale=None):
        """Return the `Problem` of one loss, with one update for both W and H.

        Parameters
        ----------
        loss : Loss
        update : Update
        factors : Factors
            W (n_rows, K) and H (n_columns, K).
        tasks : dict, factor name -> ndarray of int64
            Task tables.
        n_sweeps : int, default=1
            Sweeps over each factor in an iteration.
        scale : float, default=None
            Loss of the zero model; None computes it.

        Returns
        -------
        Problem
        """
        if scale is None:
            scale = loss.value(Factors(factors.rank, **{name: np.zeros_like(factors[name]) for name in "WH"}))
        return Problem(
            losses=[loss],
            updates=dict.fromkeys("WH", update),
            schedule=(("W", n_sweeps), ("H", n_sweeps)),
            tasks=tasks,
            scale=scale,
        )

    def _final_exact_W(self, data, problem, fit):
        """Recompute W for the final H, as `transform` does; keep the old W if its objective is lower."""
        factors = fit.factors
        found = self._infer_W(data, factors["H"][:, : factors.rank])
        kept, before = factors["W"].copy(), (problem.value(factors), problem.penalty)
        factors["W"][:] = found
        factors.invalidate("W")
        after = problem.value(factors), problem.penalty
        if after[0] > before[0]:
            factors["W"][:], after = kept, before
            factors.invalidate("W")
        fit.history["objective"][-1], fit.history["penalty"][-1] = after

    def _transform(self, X):
        data, H, _ = self._prepared(X, None)
        W = self._infer_W(data, H)[:, : H.shape[1]]
        return np.ldexp(np.ascontiguousarray(W), -data.log4_scale)
