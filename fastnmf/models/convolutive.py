"""Convolutive NMF: components that last several rows, ``X[i] ~ sum_l W[i - l] C_l``, where rows are moments in time.

Inner scale: the data and the model are held multiplied by ``4 ** log4_scale``. With a given start this factor is in H,
with a random start, with `warm_start` and in `transform` it is in W.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp

from fastnmf.core.alternate import AlternatingSolver, solve
from fastnmf.core.descent import minimize
from fastnmf.core.factors import Factors, allocate, pad, row_tasks
from fastnmf.core.iterate import Solver, iterate, lacks_progress
from fastnmf.core.losses import Frobenius
from fastnmf.core.losses.convolution import ConvolutionLoss, shift_rows, stacked
from fastnmf.core.objectives import best_scale, single_loss_problem
from fastnmf.core.options import integer, one_of
from fastnmf.core.thresholds import unit_of
from fastnmf.core.updates import MU
from fastnmf.core.warn import first_was
from fastnmf.kernels.jit import threads
from fastnmf.models.base.for_checkers import BetaLoss, Callback
from fastnmf.models.base.products import WeightModel, checked_weights, divisors
from fastnmf.typing import Dense, Factor, File, Floats, Matrix, Seed, SparseOrDense, SupportsArray

# The search for a start: iterations before it, iterations of each trial, further iterations of the best trial, relative
# gain of the objective from which a trial is accepted, and largest number of rounds. On 30 planted cases (3 and 6
# components, 5 to 10 lags) a random start finds 3 and this search 30.
FIRST, PROBE, POLISH, GAIN, ROUNDS = 50, 10, 40, 0.02, 5
SETTLE_ITER, SETTLE_TOL = 1000, 1e-10  # of the final solve for W alone
NOISE = 1e-2  # added after a shift, relative to the mean: rows that the shift leaves empty must not stay zero


class ShiftSearch(Solver):
    """Shift one component after the other along the lags, and keep a shift from which a few iterations fit better.

    It ends when no component has been improved since the last one that was.

    Parameters
    ----------
    problem : fastnmf.core.problem.Problem
    factors : fastnmf.core.factors.Factors
        The start of the search; overwritten with the best factors.
    rank, n_lags : int
        Number of components and of rows that they last, more than one.
    """

    def __init__(self, problem, factors, rank, n_lags):
        self.problem, self.factors, self.rank, self.n_lags = problem, factors, rank, n_lags
        steps = 2 ** np.arange(int(np.log2(n_lags - 1)) + 1)
        self.steps, self.n_tried = np.concatenate([steps, -steps]).tolist(), 0

    def begin(self):
        """Iterate from the start, and return the objective."""
        self.value, self.best = self._run(self.factors.arrays, FIRST)
        return self.value

    def step(self):
        """Try the shifts of the next component, and return the best objective so far."""
        c = self.n_tried % self.rank
        self.n_tried += 1
        tried = min((self._run(self._shifted(c, by), PROBE) for by in self.steps), key=itemgetter(0))
        value, found = self._run(tried[1], POLISH)
        if value < (1 - GAIN) * self.value:
            self.value, self.best = value, found
        self.factors.overwrite(self.best)
        return self.value

    def stop(self, history, tol):
        """Return ``"patience"`` if the last round of all components has brought nothing."""
        return "patience" if lacks_progress(history, 0, self.rank) else None

    def _run(self, arrays, n_iter):
        """Iterate from W and H, by name; return the objective and copies of W and H."""
        self.factors.overwrite(arrays)
        value = solve(self.problem, self.factors, max_iter=n_iter, tol=0).history["objective"][-1]
        return value, {name: F.copy() for name, F in self.factors.arrays.items()}

    def _shifted(self, c, by):
        """Return the best W and H with component c shifted by `by` lags."""
        W, H, mine = self.best["W"].copy(), self.best["H"].copy(), slice(c, self.n_lags * self.rank, self.rank)
        lags = shift_rows(H[:, mine].T, by)
        H[:, mine] = lags.T + NOISE * lags.mean()  # multiplicative updates cannot leave a zero
        w = shift_rows(W[:, c], -by)
        W[:, c] = w + NOISE * w.mean()
        return {"W": W, "H": H}


class SearchedStart(AlternatingSolver):
    """An alternating solver that searches for its start, as a part of the fit, unless it goes on from a checkpoint.

    Parameters
    ----------
    search : ShiftSearch
        Shares the problem and the factors.
    max_iter : int
        Largest number of steps of the search.
    max_time : float, or None
        Seconds after which the search makes no further step.
    """

    def __init__(self, search, max_iter, max_time):
        super().__init__(search.problem, search.factors)
        self._search, self._limits = search, {"max_iter": max_iter, "max_time": max_time}

    def begin(self):
        """Search, and return the objective of the start that was found."""
        iterate(self._search, tol=0, **self._limits)
        return super().begin()


class ConvolutiveNMF(WeightModel):
    """Find patterns that last several rows, and when they begin: ``X[i] ~ sum_l W[i - l] components_[l]``, all >= 0.

    The rows of X are moments in time, in order, such as the frames of a spectrogram (n_frames, n_bins). The lag l
    shifts along the rows. Component c is an array ``components_[:, c]`` of n_lags rows; ``W_[i, c]`` is the strength
    with which it begins at row i. With one lag this is NMF.

    Parameters
    ----------
    n_components : int, default=2
        k, the number of patterns.
    n_lags : int, default=5
        Number of rows that a component lasts.
    beta_loss : {"frobenius", "kullback-leibler", "itakura-saito"} or float, default="frobenius"
        ``"frobenius"`` minimises ``||X - model||²``, the others their beta divergence. Values <= 0 need data without
        zeros.
    init : {None, "shifted", "random", "custom"}, default=None
        None is ``"shifted"``: a short fit from a random start, after which each component is shifted along the lags in
        both directions; a shift is kept if a few iterations from there fit better. Without this, many fits end with a
        pattern that is split between two components. ``"random"``: uniform, multiplied by the number that gives the
        model the total of X. ``"custom"``: the W and H passed to `fit`.
    max_iter : int, default=500
        Largest number of iterations.
    tol : float, default=1e-4
        Stop when the next 100 iterations are expected to lower the objective by less than `tol` times its value. 0 runs
        exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no further iteration begins, neither of the search for a start nor of the fit. None sets no
        limit.
    callback : callable, default=None
        ``callback(state)``, called for the start and after every iteration; returning True stops the fit. `state` has
        ``iteration``, ``normalized_loss``, ``seconds``, and copies of ``W`` and of ``H`` (n_lags, k, n_features),
        before the components are normalised.
    n_threads : int, default=None
        Threads of the kernels; None takes Numba's setting. The result has the same bits for any number.
    n_init : int, default=1
        Number of starts that are tried; the result with the lowest objective is kept. `max_time` limits the total time
        of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    components_ : ndarray (n_lags, n_components, n_features)
        ``components_[l]`` holds the components l rows after they begin. Each component sums to one over lags and
        features.
    W_ : ndarray (n_samples, n_components)
        Strength with which each component begins at each row; carries the scale of X.
    n_iter_ : int
        Number of iterations.
    converged_ : bool
        True if the fit stopped because of `tol`, or, with ``tol=0``, after `max_iter` iterations.
    stopped_by_ : str
        Reason for stopping: ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        Norm of the residual; for other losses the square root of twice the divergence.
    normalized_loss_ : float
        Norm of the residual over the norm of X; for other losses the square root of the divergence over that of a
        trivial model.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error, or the divergence), ``seconds``; entry 0
        is the start. The objective is monotone: it does not increase.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    The updates are multiplicative and sum over all lags in the numerator and in the denominator. The published method
    averages one update for each lag, which may increase the objective; this one does not. After the last iteration W
    alone is solved for, as in `transform`, unless the fit stopped because of `max_time`. Sparse X stays sparse for the
    squared error and for Kullback-Leibler: O(nnz k n_lags) an iteration, and an array (n_samples, k n_lags). Other
    losses need all entries, which are visited a tile at a time.

    The search of ``"shifted"`` takes some hundred iterations for each component, and is repeated up to five times: on
    large data with many components it takes longer than the fit itself. `max_time` limits it, ``init="random"`` omits
    it.

    A pattern shorter than n_lags may lie at any position within them: compare components up to such shifts. The start
    ``"shifted"`` is not from the source.

    *Names*: the source's V is X.T, its W(t) is ``components_[t].T`` and its H is ``W_.T``.

    References
    ----------
    P. Smaragdis, "Convolutive speech bases and their application to supervised speech separation", IEEE Transactions on
    Audio, Speech, and Language Processing 2007, doi:10.1109/TASL.2006.876726 (the model).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import ConvolutiveNMF
    >>> X = np.zeros((40, 6))
    >>> for i in (2, 11, 17, 30):  # a tone that rises
    ...     X[i, 1] = X[i + 1, 2] = X[i + 2, 4] = 1.0
    >>> model = ConvolutiveNMF(1, n_lags=3, random_state=0, tol=1e-8).fit(X)
    >>> (3 * model.components_[:, 0]).round(2)
    array([[0., 1., 0., 0., 0., 0.],
           [0., 0., 1., 0., 0., 0.],
           [0., 0., 0., 0., 1., 0.]])
    >>> np.flatnonzero(model.W_[:, 0] > 0.1)
    array([ 2, 11, 17, 30])
    """

    n_lags: int
    beta_loss: BetaLoss
    init: Literal["shifted", "random", "custom"] | None
    components_: Floats

    _constraints = {"init": one_of(None, "shifted", "random", "custom"), "n_lags": integer()}
    _continued = {"W": "W_", "H": "components_"}
    _fixed = {"solver": "mu"}
    _fitted_shapes = {"components_": "Lkm"}

    def __init__(
        self,
        n_components: int = 2,
        *,
        n_lags: int = 5,
        beta_loss: BetaLoss = "frobenius",
        init: Literal["shifted", "random", "custom"] | None = None,
        max_iter: int = 500,
        tol: float = 1e-4,
        random_state: Seed = None,
        verbose: int = 0,
        max_time: float | None = None,
        callback: Callback | None = None,
        n_threads: int | None = None,
        n_init: int = 1,
        warm_start: bool = False,
    ):
        self._set(locals())

    def fit(
        self,
        X: Matrix,
        y: Any = None,
        *,
        W: Factor = None,
        H: Sequence[Dense] | SupportsArray | None = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite, with rows in the order of time. float32 stays float32; all other types become
            float64.
        y : ignored
            Present for compatibility with scikit-learn.
        W : ndarray (n_samples, n_components), default=None
            Start of the weights for ``init="custom"``, >= 0.
        H : ndarray (n_lags, n_components, n_features), default=None
            Start of the components for ``init="custom"``, >= 0.
        layer : str, default=None
            Layer of an AnnData that holds the matrix in place of its X; see `NMF.fit`.
        checkpoint : str or path, default=None
            File in which the state of the fit is saved while it runs, and from which a fit that was killed continues;
            see `NMF.fit`.
        checkpoint_every : float, default=60.0
            Seconds between two saves.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters, data or start cannot be used. The message says what was given, what was expected and what to
            do.
        """
        return self._fit(X, W=W, H=H, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every)

    def transform(self, X: Matrix) -> Floats:
        """Return when the fitted components begin in X, which is one sequence: its rows depend on each other.

        W is found by quasi-Newton steps that run until they converge, from a constant start, so that the result depends
        on X alone. For ``1 <= beta <= 2`` the problem is convex.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Any number of rows, in the order of time.

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        with threads(self.n_threads):
            data, k, divergence = self._new_data(X), self.components_.shape[1], self._options().loss
            W = np.ones((data.shape[0], k))
            problem, factors = self._of(data, W, self.components_.astype(np.float64), divergence, is_scaled=False)
            self._final_exact_W(problem, factors, divergence)
        return np.ldexp(np.ascontiguousarray(factors["W"][:, :k]), -2 * data.log4_scale)

    @first_was("W")
    def inverse_transform(self, X: SparseOrDense) -> Floats:
        """Return ``sum_l X[i - l] components_[l]``, dense, for weights X (n_samples, n_components)."""
        self._check_fitted()
        n_lags, k, n_features = self.components_.shape
        W = checked_weights(self, X, k)
        W = W.toarray() if sp.issparse(W) else W  # never-densify-ok: as small as dense weights
        return stacked(W, n_lags, np.zeros((len(W), n_lags * k), W.dtype)) @ self.components_.reshape(-1, n_features)

    def _solver(self, data, given, options, random_state):
        solver, k = super()._solver(data, given, options, random_state), options.n_components
        if self.n_lags == 1 or options.init in ("random", "custom") or self._goes_on(options):
            return solver
        return SearchedStart(ShiftSearch(solver.problem, solver.factors, k, self.n_lags), ROUNDS * k, options.max_time)

    def _compose(self, data, given, options, rng):
        k, (n_rows, n_columns), exponent = options.n_components, data.shape, 2 * data.log4_scale
        shapes = {"W": (n_rows, k), "H": (self.n_lags, k, n_columns)}
        start = self._checked_start(shapes, given, options)
        if start is None:
            return self._of(data, rng.random(shapes["W"]), rng.random(shapes["H"]), options.loss, is_scaled=False)
        W, H = start
        if options.init == "custom":
            return self._of(data, W, np.ldexp(H, exponent), options.loss)
        return self._of(data, np.ldexp(W, exponent), H, options.loss)  # the fitted W_ carries the scale

    def _of(self, data, W, H, divergence, is_scaled=True):
        """Return the problem and its factors for given W and H.

        Parameters
        ----------
        data : fastnmf.data.strata.Strata
        W : ndarray (n_rows, k) of float64
            Weights; not changed.
        H : ndarray (n_lags, k, n_columns) of float64
            Components, in the inner scale; not changed.
        divergence : fastnmf.core.losses.choice.Divergence
        is_scaled : bool, default=True
            False multiplies W by the number that gives the model the total of the data.

        Returns
        -------
        problem : fastnmf.core.problem.Problem
        factors : fastnmf.core.factors.Factors
            W (n_rows, K) and H (n_columns, K'), padded; column ``l k + c`` of H is component c at lag l.
        """
        n_lags, k, n_columns = H.shape
        H = H.reshape(-1, n_columns).T
        L = stacked(W, n_lags, np.zeros((len(W), n_lags * k)))
        if not is_scaled:
            scale = best_scale(float(L.sum(axis=0) @ H.sum(axis=0)), float(data.X.sum(dtype=np.float64)))
            W, L = W * scale, L * scale
        inner, tasks = allocate(data, L, H, None)
        factors = Factors(inner.rank, W=pad(W, data), H=inner["H"])
        width = inner["W"].shape[1]
        if divergence.is_squared:
            loss, scale = Frobenius(data, width, tasks, holds_products=True), None
        else:
            loss, scale = divergence.build(data, width, tasks)
        updates = dict.fromkeys("WH", MU.plain(data.dtype))
        tasks = {"W": row_tasks(factors["W"]), "H": tasks["H"]}
        loss = ConvolutionLoss(loss, inner, k, n_lags)
        return single_loss_problem(
            data, loss, updates, (("W", 1), ("H", 1)), tasks, scale, divergence.is_squared
        ), factors

    def _final_exact_W(self, problem, factors, divergence):
        """Solve for W alone by L-BFGS-B, in place; return the objective, which does not increase."""
        W, k, unit, scale = (
            factors["W"],
            problem.losses[0].rank,
            2 if divergence.is_squared else 1,
            problem.scale or 1.0,
        )

        size = unit_of(W)

        def value(parts):
            W[:, :k] = parts[0] * size
            factors.invalidate("W")
            return problem.value(factors) / scale

        def both(parts):
            found, sub = value(parts), problem.subproblem("W", factors)
            return found, [size * (unit * (sub.neg[:, :k].astype(np.float64) - sub.pos[:, :k]) / scale)]

        start = [W[:, :k].astype(np.float64) / size]
        found = minimize(both, start, max_iter=SETTLE_ITER, tol=SETTLE_TOL)
        best = found if value(found) <= value(start) else start
        return value(best) * scale

    def _set_factors(self, data, fit, options):
        """Solve for W if there is time, scale each component to sum one, and set the fitted arrays."""
        if fit.stopped_by != "max_time":
            fit.history["objective"][-1] = self._final_exact_W(fit.problem, fit.factors, options.loss)
        n_lags, k = self.n_lags, options.n_components
        W, H = fit.factors["W"][:, :k].astype(np.float64), fit.factors["H"][:, : n_lags * k].astype(np.float64)
        H = H.T.reshape(n_lags, k, -1)
        sums = divisors(H.sum(axis=(0, 2)))
        self.components_ = (H / sums[:, None]).astype(data.dtype)
        self.W_ = np.ldexp(W * sums, -2 * data.log4_scale).astype(data.dtype)

    def _arrays(self, data, solver):
        n_lags, k, factors = self.n_lags, self.n_components, solver.factors
        H = factors["H"][:, : n_lags * k].T.reshape(n_lags, k, -1)
        return factors["W"][:, :k].copy(), np.ldexp(H, -2 * data.log4_scale), None
