"""Fit one estimator to the same data many times, for a few iterations each, from given components.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import time
from types import SimpleNamespace

import numpy as np
from sklearn.base import clone

from fastnmf.core.factors import allocate, copy_rows
from fastnmf.core.init.starts import Start
from fastnmf.core.iterate import LOOK_AHEAD, LOOK_BACK, Fit, normalized
from fastnmf.core.losses.graph import Graph
from fastnmf.core.losses.squared import Frobenius
from fastnmf.core.updates import MU
from fastnmf.core.updates.fused_dense import FusedDenseMU
from fastnmf.data.annotated import is_annotated, unpack
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.models.base.estimator import BaseNMF, scaled
from fastnmf.models.base.presets import Preset
from fastnmf.models.base.warm_start import without_zeros

_UNWATCHED = SimpleNamespace(is_needed=False, arrays=None)
_OWN_START = ("fixed_components", "seed_features", "warm_start")


def check_refittable(estimator):
    """Raise unless an estimator can start at given components, repeatedly on the same data."""
    is_ours = isinstance(estimator, BaseNMF) and not isinstance(estimator, Preset)
    if not is_ours or type(estimator)._fit is not BaseNMF._fit or type(estimator)._start is not BaseNMF._start:
        raise TypeError(
            f"estimator is a {type(estimator).__name__}; expected one whose fit can begin at given components: NMF, "
            "GraphNMF, StratifiedNMF, SparseNMF, SmoothNMF or RobustNMF."
        )
    for name in _OWN_START:
        value = getattr(estimator, name, None)
        if value is not None and value is not False:
            raise ValueError(f"The estimator has {name}, but its components come from the transfer; leave it out.")


def weights_for(X, H):
    """Return W = ``X Hᵀ`` with each row scaled to minimise the squared error of ``W H``, (n_samples, k).

    H is (k, n_features). For the squared error the first multiplicative update from ``X Hᵀ`` itself gives the same
    result, because that rule does not depend on the scale of a row of W; other rules, and penalties, depend on it.
    """
    with single_threaded_blas():  # the bits would depend on the number of BLAS threads
        P = np.asarray(X @ H.T, dtype=np.float64)
        square = np.einsum("ic,ic->i", P @ (H @ H.T), P)
    return P * np.divide(np.einsum("ic,ic->i", P, P), square, out=np.zeros(len(P)), where=square > 0)[:, None]


class Refit:
    """An estimator and its data, prepared once for fits from many starts.

    Multiplicative updates of dense data use `FusedDenseMU`, with factors that are allocated once; all other fits use
    the estimator's own iterations (`fastnmf.core.iterate.solve`).

    Parameters
    ----------
    estimator : BaseNMF
        Not changed.
    X : sparse matrix or array (n_samples, n_features)
    strata : array-like (n_samples,), default=None
        Label of each row.
    random_state : None, int, Generator or RandomState, default=None
        Seed of the copy of the estimator.

    Attributes
    ----------
    model : BaseNMF
        A copy of the estimator.
    rank : int
    n_updates : int
        Iterations of all runs so far.
    """

    def __init__(self, estimator, X, strata=None, random_state=None):
        self.model = model = clone(estimator).set_params(verbose=0, callback=None, random_state=random_state)
        model._check_parameters()
        names, (X, strata) = X.var_names if is_annotated(X) else None, unpack(X, strata)
        X, model._names = model._validated(X, reset=True), names
        if strata is not None and not model._has_shifts:
            raise ValueError(f"strata were given, and {type(model).__name__} has no shifts for them; leave strata out.")
        self.data = model._strata(X, strata, None, None)
        self.data.start_transpose()
        self.rank, self._shifts = model._rank(self.data.shape[1], None), None
        self.n_updates, self._fused = 0, self._prepared()

    def own_start(self, random_state):
        """Return the components (k, n_features) that the estimator's own `init` computes from the data."""
        H = self.model._start(self.data, self.rank, None, None, None, random_state)[1]
        return scaled(np.asarray(H, dtype=np.float64).T, -self.data.log4_scale)

    def _prepared(self):
        """Return a `FusedDenseMU`, its factors and its problem if it does the estimator's iterations; else None."""
        data, model = self.data, self.model
        if data.is_sparse or data.row_scale is not None or model._has_shifts or model.solver != "mu":
            return None
        factors, tasks = allocate(data, *(np.ones((size, self.rank)) for size in data.shape), None)
        problem = model._problem(data, factors, tasks)
        model._constrain(data, problem, factors, None, None)
        data_loss, *graphs = problem.losses
        is_plain = type(data_loss) is Frobenius and problem.schedule == (("W", 1), ("H", 1)) and not problem.penalties
        if not (is_plain and all(type(update) is MU for update in problem.updates.values())):
            return None
        if len(graphs) > 1 or any(type(g) is not Graph or g.name != "W" or g.way != "ratio" for g in graphs):
            return None
        update = problem.updates["W"]
        return FusedDenseMU(data, update.eps, update.floor, *graphs), factors, problem

    def run(self, H, n_iter, tol=0.0):
        """Fit from given components.

        Parameters
        ----------
        H : ndarray (k, n_features) of float64
            Non-negative, in the user's scale.
        n_iter : int
            Largest number of iterations.
        tol : float, default=0.0
            As for `fastnmf.core.iterate.solve`.

        Returns
        -------
        H : ndarray (k, n_features), float64
        loss : float
            The normalized loss at the end.
        ended : tuple
            The problem and the `Fit`, for `finish`. The next run overwrites them.
        """
        H = without_zeros(H) if self.model.solver == "mu" else H
        problem, fit = self._run_solver(H, n_iter, tol) if self._fused is None else self._run_fused(H, n_iter, tol)
        self.n_updates += fit.n_iter
        found = np.empty((self.rank, self.data.shape[1]))
        copy_rows(fit.factors["H"][:, : self.rank], found.T)
        if self.model._has_shifts:
            self._shifts = scaled(self.data.pattern.dense(fit.factors["V"]), -2 * self.data.log4_scale)
        loss = fit.history["objective"][-1] - fit.history["penalty"][-1]
        return scaled(found, -self.data.log4_scale), float(normalized(max(loss, 0.0), problem.scale)), (problem, fit)

    def finish(self, ended):
        """Return the estimator with the fitted attributes; `ended` is that of the last `run`."""
        self.model._finish(self.data, *ended)
        return self.model

    def _run_solver(self, H, n_iter, tol):
        model, data = self.model, self.data
        W = None
        if model.solver == "mu":
            W = np.ldexp(weights_for(data.X, np.ldexp(H, data.log4_scale)), -data.log4_scale)
        labels = None if self._shifts is None else data.labels
        model.set_params(init=Start(H, W=W, shifts=self._shifts, strata=labels), max_iter=n_iter, tol=tol)
        return model._run(data, self.rank, (None, None, None), None, _UNWATCHED, None, None, None)

    def _run_fused(self, H, n_iter, tol):
        """Iterate as `solve` does, but with tol > 0 check for convergence only every `LOOK_BACK` iterations."""
        burst, factors, problem = self._fused
        H, began = np.ldexp(H, self.data.log4_scale), time.perf_counter()
        factors["W"][:, : self.rank] = weights_for(self.data.X, H)
        factors["H"][:, : self.rank] = H.T
        step, values, done, stopped_by = LOOK_BACK if tol else n_iter, [], 0, "max_iter"
        while done < n_iter and stopped_by == "max_iter":
            n = min(step, n_iter - done)
            loss, problem.penalty = burst(factors, n)
            values.append(loss + problem.penalty)
            done += n
            if len(values) > 1 and (values[-2] - values[-1]) * LOOK_AHEAD / n <= tol * values[-1]:
                stopped_by = "tol"
        history = {"iteration": [done], "objective": values[-1:], "penalty": [problem.penalty], "revived": 0}
        history["seconds"] = [time.perf_counter() - began]
        return problem, Fit(factors, history, done, stopped_by == "tol" or tol == 0, stopped_by)
