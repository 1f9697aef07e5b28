"""Start a fit from another model (`init=model`), from a `Start`, or from the previous fit (`warm_start`).

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import copy

import numpy as np

from fastnmf.core.factors import pad
from fastnmf.core.inference import infer
from fastnmf.core.init.start_from import check_init, is_model, start_of


class StartMixin:
    """Mixin that starts a fit from the result of another fit."""

    def as_start(self):
        """Return the fitted components as a `Start`, for use as `init` of another estimator.

        ``init=model`` does the same, and works with `sklearn.base.clone`, pipelines and searches. Only in the parameter
        grid of a search a `Start` is required: scikit-learn clones estimators there, without their fitted state.

        Returns
        -------
        Start

        Raises
        ------
        ValueError
            The estimator is not fitted.
        """
        check_init(self, ())
        return start_of(self)

    def __sklearn_clone__(self):
        init = getattr(self, "init", None)
        if not is_model(init):
            return super().__sklearn_clone__()
        plain = copy.copy(self)  # clone would copy the model in init without its fitted state
        plain.init = None
        cloned = super(StartMixin, plain).__sklearn_clone__()
        cloned.init = init
        return cloned

    def _start_from(self, data, rank, start):
        """Return W, H, the entries of V, and None, for a `Start`, in the data's inner scale.

        If the start has no W, W is the exact minimiser of the squared error, whatever the loss is.
        """
        start.check(data.shape, rank, getattr(self, "feature_names_in_", None))
        H, W, V = np.ldexp(start.components.T, data.log4_scale), None, None
        if self._has_shifts:
            V = self._start_shifts_of(data, start.shifts, start.strata)
        if self.solver == "mu":
            H = without_zeros(H)
        if start.W is not None:
            W = np.ldexp(start.W, data.log4_scale)
            W = W if data.row_scale is None else W * data.row_scale[:, None]
        else:
            W = infer(data, rank, pad(H, data), V)[0][:, :rank]
        if self.solver == "mu" and start.W is None:
            W = without_zeros(W)
        return W, H, data.pattern.entries(V) if self._has_shifts else None, None

    def _warm_start(self, data, rank):
        """Return the factors of the previous fit as a start; W starts at zero if the number of rows has changed."""
        if self.components_.shape != (rank, data.shape[1]):
            raise ValueError(
                f"warm_start goes on from components of shape {self.components_.shape}, but {(rank, data.shape[1])} is "
                "required; set warm_start=False, or keep n_components and the features."
            )
        H = np.ldexp(self.components_.T.astype(np.float64), data.log4_scale)
        W = np.zeros((data.shape[0], rank))
        if getattr(self, "W_", W[:0]).shape == W.shape:
            W = np.ldexp(self.W_.astype(np.float64), data.log4_scale)
            W = W if data.row_scale is None else W * data.row_scale[:, None]
        if self.solver == "mu":
            W, H = without_zeros(W), without_zeros(H)
        if not self._has_shifts:
            return W, H, None, None
        return W, H, data.pattern.entries(self._start_shifts_of(data, self.shifts_, self.strata_)), None

    def _start_shifts_of(self, data, shifts, labels):
        """Return the start of the shifts (n_strata, n_columns): given ones by label, else half the means."""
        V = data.pattern.dense(0.5 * data.stratum_means().astype(np.float64))
        if shifts is None:
            return V
        known = {label: row for row, label in enumerate(labels.tolist())}
        for row, label in enumerate(data.labels.tolist()):
            if label in known:
                V[row] = np.ldexp(shifts[known[label]].astype(np.float64), 2 * data.log4_scale)
        return V


def without_zeros(F):
    """Replace the zeros of a factor by a thousandth of its mean: multiplicative updates cannot leave a zero."""
    return F + 1e-3 * (F.mean() or 1 / F.shape[1]) * (F == 0)
