"""Fit one estimator to the same data many times, for a few iterations each, from given components.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import numbers
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone

from fastnmf.core.factors import allocate, copy_rows, scaled
from fastnmf.core.init.starts import Start
from fastnmf.core.iterate import Fit, iterate
from fastnmf.core.losses.graph import Graph
from fastnmf.core.losses.squared import Frobenius
from fastnmf.core.options import FactorOptions
from fastnmf.core.updates import MU
from fastnmf.core.updates.fused_dense import FusedDenseMU
from fastnmf.data.shifts import mapped
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.models.base.auto_start import AutoStartMixin
from fastnmf.models.base.chunked import ChunkedFitMixin
from fastnmf.models.base.counts import CountsMixin
from fastnmf.models.base.designs import DesignMixin
from fastnmf.models.base.estimator import without_zeros
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.models.base.own import OwnComponentsMixin
from fastnmf.models.base.ratings import RatingsMixin
from fastnmf.models.graph import GraphNMF
from fastnmf.models.nmf import NMF

MOST_USED = 0.5  # share of the features up to which others are left out: a copy without few of them gains nothing
_OWN_FITS = ("_fit", "_solver", "_start")
_OWN_STARTS = ("fixed_components", "seed_features", "warm_start")


def check_refittable(name, estimator):
    """Raise unless an estimator can start at given components, repeatedly on the same data; `name` is for messages."""
    kind = type(estimator)
    is_ours = isinstance(estimator, BaseNMF) and "init" in kind._get_param_names()
    if not is_ours or any(_is_own(kind, method) for method in _OWN_FITS):
        raise TypeError(
            f"{name} is a {kind.__name__}; expected one whose fit can begin at given components: NMF, GraphNMF, "
            "StratifiedNMF, SparseNMF, SmoothNMF or RobustNMF."
        )
    if isinstance(estimator, DesignMixin) and (estimator._fits_own or estimator.smoothness):
        given = "n_own or own" if estimator._fits_own else "smoothness"
        raise ValueError(f"The {name} has {given}, which belongs to single strata of one fit; leave it out.")
    if isinstance(estimator, CountsMixin) and estimator._options().is_counts:
        raise ValueError(
            f"The {name} has beta_loss='negative-binomial', whose dispersion belongs to one fit, but here many fits "
            "continue each other; use 'kullback-leibler'."
        )
    for parameter in _OWN_STARTS:
        value = getattr(estimator, parameter, None)
        if value is not None and value is not False:
            raise ValueError(f"The {name} has {parameter}, but its components come from the transfer; leave it out.")


def _is_own(kind, method):
    return all(
        getattr(kind, method) is not getattr(base, method)
        for base in (
            BaseNMF,
            AutoStartMixin,
            ChunkedFitMixin,
            CountsMixin,
            DesignMixin,
            OwnComponentsMixin,
            RatingsMixin,
        )
        if hasattr(base, method)
    )


def as_argument(strata, model):
    """Return the labels of rows, or None, as keyword arguments of a method of `model`, which may take none."""
    if strata is None:
        return {}
    if not model._has_shifts:
        raise ValueError(f"strata were given, but {type(model).__name__} has no shifts for them; leave strata out.")
    return {"strata": strata}


def weights_for(X, H):
    """Return W = ``X Hᵀ`` with each row scaled to minimise the squared error of ``W H``, (n_samples, k).

    H is (k, n_features). For the squared error the first multiplicative update from ``X Hᵀ`` itself gives the same
    result, because that rule does not depend on the scale of a row of W; other rules, and penalties, depend on it.
    """
    exponent = int(np.frexp(H.max(initial=0.0))[1])
    H = np.ldexp(H, -exponent)  # exactly; the fourth power below would leave float64
    with single_threaded_blas():  # the bits would depend on the number of BLAS threads
        P = np.asarray(X @ H.T, dtype=np.float64)
        square = np.einsum("ic,ic->i", P @ (H @ H.T), P)
    scale = np.divide(np.einsum("ic,ic->i", P, P), square, out=np.zeros(len(P)), where=square > 0)
    return np.ldexp(P * scale[:, None], -exponent)


def used_columns(model, X, options):
    """Return the columns of sparse X that have entries; None for all, where they are many or others count, too.

    Parameters
    ----------
    model : BaseNMF
        Penalties depend on the number of features, and some models tie neighbouring ones: then all count.
    X : sparse matrix or array (n_samples, n_features)
    options : Options

    Returns
    -------
    ndarray of int, or None
    """
    is_plain = type(model) in (NMF, GraphNMF) and not getattr(model, "feature_weight", 0)
    is_plain = is_plain and options.W == options.H == FactorOptions() and options.missing_values is None
    if not (is_plain and sp.issparse(X) and isinstance(options.n_components, numbers.Integral)):
        return None
    used = np.unique(sp.coo_array(X).col)
    return used if 0 < len(used) <= X.shape[1] * MOST_USED else None


class Refit:
    """An estimator and its data, prepared once for fits from many starts.

    Multiplicative updates of dense data use `FusedDenseMU`, with factors that are allocated once; all other fits use
    the estimator's own solver. Sparse data of few rows may lack most features; of these the first iteration makes the
    components zero, so they are left out.

    Parameters
    ----------
    estimator : BaseNMF
        Not changed.
    X : sparse matrix or array (n_samples, n_features)
    strata : array-like (n_samples,), or None
        Label of each row.
    random_state : None, int, Generator or RandomState, default=None
        Seed of the copy of the estimator.
    max_iter : int, default=100
        Maximum number of iterations of a fit.
    tol : float, default=0.0
        As for `fastnmf.core.iterate.iterate`.
    is_task : bool, default=False
        Whether features that the data lack may be left out; there is then no `finish`.

    Attributes
    ----------
    model : BaseNMF
        A copy of the estimator.
    rank : int
    n_updates : int
        Iterations of all fits so far.
    """

    def __init__(self, estimator, X, strata=None, random_state=None, max_iter=100, tol=0.0, is_task=False):
        self.model = model = clone(estimator)
        model.verbose, model.callback, model.random_state = 0, None, random_state
        self.options = replace(model._checked_options(), max_time=None)
        X = model._validated(X, reset=True)
        self.n_features, self._columns = X.shape[1], used_columns(model, X, self.options) if is_task else None
        X = X if self._columns is None else sp.csr_array(X)[:, self._columns]
        self.data = model._data(X, {"strata": None} | as_argument(strata, model), self.options)
        self.rank, self._shifts = model._rank(self.data, {}, self.options), None
        self.n_updates, self._fused, self._prior = 0, self._prepared(), set(vars(model))
        self.options = replace(self.options, max_iter=max_iter, tol=tol)
        model.max_iter, model.tol = max_iter, tol

    def own_start(self, random_state):
        """Return the components (k, n_features) that the estimator's own `init` computes from the data."""
        H = self.model._start(self.data, self.rank, {}, self.options, random_state)[1]
        return self._on_all_features(scaled(np.asarray(H, dtype=np.float64).T, -self.data.log4_scale))

    def _on_all_features(self, H):
        """Return components (k, n_features) that are zero at features that were left out."""
        if self._columns is None:
            return H
        out = np.zeros((len(H), self.n_features))
        out[:, self._columns] = H
        return out

    def _prepared(self):
        """Return a `FusedDenseMU` if it does the estimator's iterations; else None."""
        data, model, options = self.data, self.model, self.options
        if data.is_sparse or data.row_scale is not None or model._has_shifts or not options.is_multiplicative:
            return None
        factors, tasks = allocate(data, *(np.ones((size, self.rank)) for size in data.shape), None)
        problem = model._problem(data, factors, tasks, options)
        model._constrain(data, problem, factors, options)
        data_loss, *graphs = problem.losses
        is_plain = type(data_loss) is Frobenius and problem.schedule == (("W", 1), ("H", 1)) and not problem.penalties
        if not (is_plain and all(type(update) is MU for update in problem.updates.values())):
            return None
        if len(graphs) > 1 or any(type(g) is not Graph or g.name != "W" or g.way != "ratio" for g in graphs):
            return None
        return FusedDenseMU(data, problem, factors)

    def run(self, H):
        """Fit from components H (k, n_features) >= 0, float64 in the user's scale.

        Returns
        -------
        H : ndarray (k, n_features), float64
        fit : Fit
            For `finish`. The next run overwrites its factors.
        """
        fit = iterate(self._solver(H), max_iter=self.options.max_iter, tol=self.options.tol)
        self.n_updates += fit.n_iter
        found = np.empty((self.rank, self.data.shape[1]))
        copy_rows(fit.factors["H"][:, : self.rank], found.T)
        if self.model._has_shifts:
            V = self.data.pattern.held(fit.factors["V"])
            self._shifts = mapped(V, lambda v: scaled(v, -2 * self.data.log4_scale))
        return self._on_all_features(scaled(found, -self.data.log4_scale)), fit

    def _solver(self, H):
        """Return the solver of a fit that begins at components H (k, n_features)."""
        data, options, W = self.data, self.options, None
        H = H if self._columns is None else np.ascontiguousarray(H[:, self._columns])
        if options.is_multiplicative:
            H = H if H.all() else without_zeros(H)
            W = weights_for(data.X, np.ldexp(H, data.log4_scale))
        if self._fused is not None:
            self._fused.restart(W, np.ldexp(H, data.log4_scale).T, options.max_iter, options.tol)
            return self._fused
        W = None if W is None else np.ldexp(W, -data.log4_scale)
        start = Start(H, W=W, shifts=self._shifts, strata=None if self._shifts is None else data.labels)
        return self.model._solver(data, {}, replace(options, init=start), options.random_state)

    def finish(self, fit):
        """Return the estimator with the fitted attributes; `fit` is that of the last `run`."""
        self.model._finish(self.data, fit, self.options)
        return self.model

    def to_state(self):
        """Return what later fits depend on: the shifts, and what the estimator has measured in the first fit."""
        measured = {name: value for name, value in vars(self.model).items() if name not in self._prior}
        return {"n_updates": self.n_updates, "shifts": self._shifts, "measured": measured}

    def from_state(self, state):
        """Restore the state that `to_state` returned."""
        self.n_updates, self._shifts = state["n_updates"], state["shifts"]
        vars(self.model).update(state["measured"])

    def fit_from_state(self, H, state):
        """Return the last `Fit` from its state; its solver is made for any components H (k, n_features)."""
        return Fit.from_state(self._solver(H), state)
