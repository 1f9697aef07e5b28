"""Many short fits of one estimator to the same data, each from components that come from elsewhere."""

import time
from types import SimpleNamespace

import numpy as np
from sklearn.base import clone

from fastnmf.blas import single_threaded_blas
from fastnmf.init import Start
from fastnmf.models.base import BaseNMF, scaled
from fastnmf.models.options import is_annotated, unpack
from fastnmf.models.presets import Preset
from fastnmf.models.transfer import without_zeros
from fastnmf.moves import MU
from fastnmf.problem import copy_rows
from fastnmf.solve import LOOK_AHEAD, LOOK_BACK, Fit, allocate, normalized
from fastnmf.terms.bursts import Burst
from fastnmf.terms.graph import Graph
from fastnmf.terms.squared import Frobenius

_UNWATCHED = SimpleNamespace(is_needed=False, arrays=None)
_OWN_START = ("fixed_components", "seed_features", "warm_start")


def check_refittable(estimator):
    """Raise unless fits of an estimator can begin at given components and be repeated on the same data."""
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
    """Return ``X Hᵀ``, every row at the scale at which W H is nearest to it, (n_samples, k), for H (k, n_features).

    The first multiplicative update for the squared error is the same for ``X Hᵀ`` itself, as the rule is not changed by
    the scale of a row; other rules, and penalties, see the scale.
    """
    with single_threaded_blas():  # other numbers of threads would give other bits
        P = np.asarray(X @ H.T, dtype=np.float64)
        square = np.einsum("ic,ic->i", P @ (H @ H.T), P)
    return P * np.divide(np.einsum("ic,ic->i", P, P), square, out=np.zeros(len(P)), where=square > 0)[:, None]


class Refit:
    """An estimator and its data, laid out once, for fits from many starts.

    Multiplicative updates of dense data go through `Burst`, and their factors are allocated once; all else goes through
    the estimator's own loop.

    Parameters
    ----------
    estimator : BaseNMF
        Not changed.
    X : sparse matrix or array (n_samples, n_features)
    strata : array-like (n_samples,), default=None

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
        self.data.begin_columns()
        self.rank, self._shifts = model._rank(self.data.shape[1], None), None
        self.n_updates, self._burst = 0, self._prepared()

    def own_start(self, random_state):
        """Return the components (k, n_features) that the estimator's own `init` makes of the data."""
        H = self.model._start(self.data, self.rank, None, None, None, random_state)[1]
        return scaled(np.asarray(H, dtype=np.float64).T, -self.data.exponent)

    def _prepared(self):
        """Return a `Burst` and its factors where the estimator's iterations are those of one, or None."""
        data, model = self.data, self.model
        if data.is_sparse or data.loading is not None or model._has_shifts or model.solver != "mu":
            return None
        factors, tasks = allocate(data, *(np.ones((size, self.rank)) for size in data.shape), None)
        problem = model._problem(data, factors, tasks)
        model._constrain(data, problem, factors, None, None)
        term, *graphs = problem.terms
        is_plain = type(term) is Frobenius and problem.schedule == (("W", 1), ("H", 1)) and not problem.penalties
        if not (is_plain and all(type(move) is MU for move in problem.moves.values())):
            return None
        if len(graphs) > 1 or any(type(g) is not Graph or g.name != "W" or g.way != "ratio" for g in graphs):
            return None
        move = problem.moves["W"]
        return Burst(data, move.eps, move.floor, *graphs), factors, problem

    def run(self, H, n_iter, tol=0.0):
        """Fit from components H (k, n_features), non-negative.

        Returns
        -------
        H : ndarray (k, n_features), float64
        loss : float
            The normalized loss there.
        ended : tuple
            The problem and the `Fit`, for `finish`. They are overwritten by the next run.
        """
        H = without_zeros(H) if self.model.solver == "mu" else H
        problem, fit = self._by_loop(H, n_iter, tol) if self._burst is None else self._by_burst(H, n_iter, tol)
        self.n_updates += fit.n_iter
        found = np.empty((self.rank, self.data.shape[1]))
        copy_rows(fit.factors["H"][:, : self.rank], found.T)
        if self.model._has_shifts:
            self._shifts = scaled(self.data.pattern.dense(fit.factors["V"]), -2 * self.data.exponent)
        loss = fit.history["objective"][-1] - fit.history["penalty"][-1]
        return scaled(found, -self.data.exponent), float(normalized(max(loss, 0.0), problem.scale)), (problem, fit)

    def finish(self, ended):
        """Return the estimator with the attributes of a fit that `run` returned."""
        self.model._finish(self.data, *ended)
        return self.model

    def _by_loop(self, H, n_iter, tol):
        model, data = self.model, self.data
        W = None
        if model.solver == "mu":
            W = np.ldexp(weights_for(data.X, np.ldexp(H, data.exponent)), -data.exponent)
        labels = None if self._shifts is None else data.labels
        model.set_params(init=Start(H, W=W, shifts=self._shifts, strata=labels), max_iter=n_iter, tol=tol)
        return model._run(data, self.rank, (None, None, None), None, _UNWATCHED, None, None, None)

    def _by_burst(self, H, n_iter, tol):
        """Iterate as `solve` does; with tol > 0 it is asked every `LOOK_BACK` iterations whether that is enough."""
        burst, factors, problem = self._burst
        H, began = np.ldexp(H, self.data.exponent), time.perf_counter()
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
