"""Fit one NMF for each stratum, as one model whose held-out error can be measured."""

import numpy as np
from sklearn.base import clone

from fastnmf.data.labels import encode_labels
from fastnmf.selection.held_out import trivial_loss
from fastnmf.selection.parallel_fits import ParallelFits


class SeparateNMF:
    """One NMF for each stratum, all of the same number of components.

    Parameters
    ----------
    estimator : NMF
        Not fitted.

    Attributes
    ----------
    models_ : list of NMF
        In the order of `strata_`.
    strata_ : ndarray (n_strata,)
    W_ : ndarray (n_samples, k)
        Weights of all rows, each for the components of its stratum.
    normalized_loss_ : float
    converged_ : bool
    stopped_by_ : str
        The reason for which the fit of the first stratum stopped that did not converge, else that of the first one.
    """

    _has_shifts = True  # it needs the strata of rows

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, *, strata, weight=None):
        """Fit the models.

        Parameters
        ----------
        X : csr_array or ndarray (n_samples, n_features)
        strata : ndarray (n_samples,)
        weight : csr_array or ndarray (n_samples, n_features), default=None
            Weights of the entries.

        Returns
        -------
        self
        """
        index, self.strata_ = encode_labels(strata, X.shape[0])
        self.models_ = []
        for code in range(len(self.strata_)):
            rows = np.flatnonzero(index == code)
            given = {} if weight is None else {"weight": weight[rows]}
            self.models_.append(clone(self.estimator).fit(X[rows], **given))
        self.W_ = self._gathered(index, [model.W_ for model in self.models_])
        self.converged_ = all(model.converged_ for model in self.models_)
        reasons = [model.stopped_by_ for model in self.models_ if not model.converged_]
        self.stopped_by_ = (reasons or [self.models_[0].stopped_by_])[0]
        losses = [(model.reconstruction_err_, model.normalized_loss_) for model in self.models_]
        lost = np.hypot.reduce([error for error, _ in losses])  # no square overflows
        total = np.hypot.reduce([error / loss for error, loss in losses if loss], initial=0.0)
        if not self.estimator._options().is_squared:
            total = np.sqrt(2 * trivial_loss(self.models_[0], X))
        self.normalized_loss_ = float(lost / total) if total else 0.0
        return self

    def transform(self, X, *, strata):
        """Return the weights of rows (n_samples, k), each for the components of its stratum."""
        index, _ = encode_labels(strata, X.shape[0], self.strata_)
        found = [np.zeros((0, self.models_[0].n_components_))] * len(self.models_)
        for code in np.unique(index):
            found[code] = self.models_[code].transform(X[np.flatnonzero(index == code)])
        return self._gathered(index, found)

    @staticmethod
    def _gathered(index, of_strata):
        """Return the rows of the strata in the order of the samples."""
        W = np.zeros((len(index), of_strata[0].shape[1]))
        for code, rows in enumerate(of_strata):
            W[index == code] = rows
        return W


class SeparateFits(ParallelFits):
    """Data, strata and NMF of many fits, each of one NMF for each stratum."""

    def make(self, rank, seed, **more):
        """Return an unfitted `SeparateNMF`; see `ParallelFits.make`."""
        return SeparateNMF(super().make(rank, seed, **more))

    def labels(self, rows=slice(None)):
        """Return the strata of `rows` as a keyword argument of `fit`."""
        return {"strata": self.strata[rows]}
