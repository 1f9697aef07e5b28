"""Starts that come from elsewhere: from another model (`init=model`), from arrays, or from the fit before."""

import copy

import numpy as np

from fastnmf.init import Start
from fastnmf.models.options import check_choice
from fastnmf.solve import infer, pad
from fastnmf.terms.masked import infer_masked


def is_model(value):
    """Tell whether a value of `init` is an estimator, as scikit-learn's `clone` does."""
    return hasattr(value, "get_params") and not isinstance(value, type)


def check_init(init, choices):
    """Raise unless `init` is one of `choices`, a `Start`, or a fitted estimator with components."""
    if isinstance(init, Start):
        return
    if is_model(init):
        if not hasattr(init, "components_"):
            raise ValueError(
                f"init is a {type(init).__name__} without components_; fit it first. (What scikit-learn copies out of "
                "a grid is not fitted: pass init=model.as_start() there.)"
            )
        return
    if isinstance(init, (np.ndarray, list, tuple)):
        raise ValueError(f"init is a bare {type(init).__name__}; wrap components as init=fastnmf.Start(components).")
    check_choice("init", init, choices)


def brought(init):
    """Return the `Start` that a checked value of `init` stands for, or None where it is a name."""
    return start_of(init) if is_model(init) else init if isinstance(init, Start) else None


def start_of(model):
    """Return the components of a fitted estimator, and its shifts if it has some, as a `Start`."""
    names = getattr(model, "feature_names_in_", None)
    shifts, labels = getattr(model, "shifts_", None), getattr(model, "strata_", None)
    return Start(model.components_, shifts=shifts, strata=labels, feature_names=names)


class Transfer:
    """What estimators need to begin where another fit ended; stands among their bases."""

    def as_start(self):
        """Return the fitted components as a `Start`, which another estimator takes as `init`.

        ``init=model`` does the same, and survives `sklearn.clone`, pipelines and searches. Only as a value in the grid
        of a search a start has to be wrapped: scikit-learn copies estimators there without what they have learned.

        Returns
        -------
        Start

        Raises
        ------
        ValueError
            The model is not fitted.
        """
        check_init(self, ())
        return start_of(self)

    def __sklearn_clone__(self):
        init = getattr(self, "init", None)
        if not is_model(init):
            return super().__sklearn_clone__()
        plain = copy.copy(self)  # clone would copy the model in init without what it has learned
        plain.init = None
        cloned = super(Transfer, plain).__sklearn_clone__()
        cloned.init = init
        return cloned

    def _brought(self, data, rank, start):
        """Return W, H, the entries of V and None, for a `Start`, in the data's inner scale.

        Weights that the start does not bring are the exact ones for the squared error, whatever the loss is.
        """
        start.check(data.shape, rank, getattr(self, "feature_names_in_", None))
        H, W, V = np.ldexp(start.components.T, data.exponent), None, None
        if self._has_shifts:
            V = self._begun_shifts(data, start.shifts, start.strata)
        if self.solver == "mu":
            H = without_zeros(H)
        if start.W is not None:
            W = np.ldexp(start.W, data.exponent)
            W = W if data.loading is None else W * data.loading[:, None]
        elif data.entry_weights is None:
            W = infer(data, rank, pad(H, data), V)[0][:, :rank]
        else:
            W = infer_masked(data, data.entry_weights, rank, pad(H, data), V)[:, :rank]
        if self.solver == "mu" and start.W is None:
            W = without_zeros(W)
        return W, H, data.pattern.entries(V) if self._has_shifts else None, None

    def _resumed(self, data, rank):
        """Return the factors of the fit before, as a start; rows that are not those of then start anew."""
        if self.components_.shape != (rank, data.shape[1]):
            raise ValueError(
                f"warm_start goes on from components of shape {self.components_.shape}, but {(rank, data.shape[1])} is "
                "asked for; set warm_start=False, or keep n_components and the features."
            )
        H = np.ldexp(self.components_.T.astype(np.float64), data.exponent)
        W = np.zeros((data.shape[0], rank))
        if getattr(self, "W_", W[:0]).shape == W.shape:
            W = np.ldexp(self.W_.astype(np.float64), data.exponent)
            W = W if data.loading is None else W * data.loading[:, None]
        if self.solver == "mu":
            W, H = without_zeros(W), without_zeros(H)
        if not self._has_shifts:
            return W, H, None, None
        return W, H, data.pattern.entries(self._begun_shifts(data, self.shifts_, self.strata_)), None

    def _begun_shifts(self, data, shifts, labels):
        """Return shifts (n_strata, n_columns) to begin with: known ones by their labels, half the means for others."""
        V = data.pattern.dense(0.5 * data.stratum_means().astype(np.float64))
        if shifts is None:
            return V
        known = {label: row for row, label in enumerate(labels.tolist())}
        for row, label in enumerate(data.labels.tolist()):
            if label in known:
                V[row] = np.ldexp(shifts[known[label]].astype(np.float64), 2 * data.exponent)
        return V


def without_zeros(F):
    """Return a factor whose zeros became a thousandth of its mean: multiplicative updates cannot leave a zero."""
    return F + 1e-3 * (F.mean() or 1 / F.shape[1]) * (F == 0)
