"""Convolutive NMF: components that last several rows, ``X[i] ~ sum_l W[i - l] C_l``, where rows are moments in time.

Inner scale: the data and the model are held multiplied by ``4 ** log4_scale``. With a given start this factor is in H,
with a random start, with `warm_start` and in `transform` it is in W.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
from fastnmf.core.options import check_integer, integer, one_of
from fastnmf.core.thresholds import unit_of
from fastnmf.core.updates import HALS, MU, LaggedDescent
from fastnmf.core.warn import first_was
from fastnmf.kernels.jit import threads
from fastnmf.models.base.for_checkers import BetaLoss, Callback
from fastnmf.models.base.products import WeightModel, checked_weights, divisors
from fastnmf.models.base.top_features import feature_names_for, strongest
from fastnmf.typing import (
    Dense,
    Factor,
    File,
    Floats,
    Matrix,
    Names,
    Ranking,
    Seed,
    SparseOrDense,
    SupportsArray,
)

# The search for a start: iterations before it, iterations of each trial, further iterations of the best trial, relative
# gain of the objective from which a trial is accepted, and largest number of rounds. On 30 planted cases (3 and 6
# components, 5 to 10 lags) a random start finds 3 and this search 30.
FIRST, PROBE, POLISH, GAIN, ROUNDS = 50, 10, 40, 0.02, 5
# Its limits: rows and columns that it looks at, and multiply-adds of all its iterations, about 5 seconds.
MOST_ROWS, MOST_COLUMNS, MOST_WORK = 2000, 2000, 2e10
SWEEPS = 2  # of coordinate descent over W, and over H, in one iteration
SETTLE_ITER, SETTLE_TOL = 1000, 1e-10  # of the final solve for W alone
NOISE = 1e-2  # added after a shift, relative to the mean: rows that the shift leaves empty must not stay zero


class ShiftSearch(Solver):
    """Shift one component after the other along the lags, and keep a shift from which a few iterations fit better.

    It ends when no component has been improved since the last one that was, or when its iterations are used up.

    Parameters
    ----------
    problem : fastnmf.core.problem.Problem
    factors : fastnmf.core.factors.Factors
        The start of the search; overwritten with the best factors.
    rank, n_lags : int
        Number of components and of rows that they last, more than one.
    n_iter : int
        Iterations after which no further component is tried.
    """

    def __init__(self, problem, factors, rank, n_lags, n_iter):
        self.problem, self.factors, self.rank, self.n_lags, self.n_left = problem, factors, rank, n_lags, n_iter
        steps = 2 ** np.arange(int(np.log2(n_lags - 1)) + 1)
        self.steps, self.n_tried = np.concatenate([steps, -steps]).tolist(), 0

    @property
    def n_iter(self):
        """Iterations that the trials of one component take."""
        return len(self.steps) * PROBE + POLISH

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
        """Return ``"patience"`` if the last round of all components has brought nothing, or no iterations are left."""
        return "patience" if self.n_left <= 0 or lacks_progress(history, 0, self.rank) else None

    def _run(self, arrays, n_iter):
        """Iterate from W and H, by name; return the objective and copies of W and H."""
        self.n_left -= n_iter
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
    """An alternating solver that searches for its start, as a part of the fit, unless it continues from a checkpoint.

    Parameters
    ----------
    problem : fastnmf.core.problem.Problem
    factors : fastnmf.core.factors.Factors
    search : ShiftSearch
        Shares the factors, or has those of a part of the data.
    part : tuple (slice, ndarray of int), or None
        Rows and columns of that part.
    max_iter : int
        Maximum number of steps of the search.
    max_time : float, or None
        Seconds after which the search makes no further step.
    """

    def __init__(self, problem, factors, search, part, max_iter, max_time):
        super().__init__(problem, factors)
        self._search, self._part, self._limits = search, part, {"max_iter": max_iter, "max_time": max_time}

    def begin(self):
        """Search, and return the objective of the start that was found."""
        iterate(self._search, tol=0, **self._limits)
        if self._part is not None:
            self._spread(*self._part)
        return super().begin()

    def _spread(self, rows, columns):
        """Take over the factors of a part; other rows of W stay random, and other rows of H become small."""
        found, W, H = self._search.factors, self.factors["W"], self.factors["H"]
        W *= found["W"].mean() / (W[rows].mean() or 1.0)
        H[:] = NOISE * found["H"].mean(axis=0)
        W[rows], H[columns] = found["W"], found["H"]
        for name in "WH":
            self.factors.invalidate(name)


def strongest_part(data):
    """Return the rows and columns at which the search for a start looks, or None: at all.

    They are the `MOST_ROWS` consecutive rows with the largest total, and the `MOST_COLUMNS` columns with the largest
    totals there.

    Returns
    -------
    tuple (slice, ndarray of int), or None
    """
    n_rows, n_columns = data.shape
    if n_rows <= MOST_ROWS and n_columns <= MOST_COLUMNS:
        return None
    size, totals = min(MOST_ROWS, n_rows), np.asarray(data.X.sum(axis=1, dtype=np.float64)).ravel()
    until = np.concatenate([[0.0], np.cumsum(totals)])
    begin = int(np.argmax(until[size:] - until[:-size]))
    rows = slice(begin, begin + size)
    of_columns = np.asarray(data.X[rows].sum(axis=0, dtype=np.float64)).ravel()
    return rows, np.sort(np.argsort(-of_columns, kind="stable")[:MOST_COLUMNS])


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
        None means ``"shifted"``: a short fit from a random start, after which each component is shifted along the lags
        in both directions; a shift is kept if a few iterations from there fit better. Without this, many fits end with
        a pattern that is split between two components. In large data, the search looks at 2,000 rows in a row and at
        the 2,000 strongest features there, and it ends after a fixed amount of work; where that is not enough for one
        component, the start is random. ``"random"``: uniform, multiplied by the number that gives the model the total
        of X. ``"custom"``: the W and H passed to `fit`.
    solver : {None, "cd", "mu"}, default=None
        ``"cd"``: exact coordinate descent, for the squared error. ``"mu"``: multiplicative updates, for every loss.
        None means ``"cd"`` for the squared error and ``"mu"`` for others.
    max_iter : int, default=500
        Maximum number of iterations.
    tol : float, default=1e-4
        Stop when the next 100 iterations are expected to lower the objective by less than `tol` times its value, where
        a normalized loss below `tol` counts as `tol`. 0 runs exactly `max_iter` iterations.
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
        Threads of the kernels; None uses Numba's setting. The result has the same bits for any number.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. `max_time` limits the total time of all starts.
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
    The multiplicative updates sum over all lags in the numerator and in the denominator. The published method averages
    one update for each lag, which may increase the objective; this one does not. Coordinate descent sets one entry of W
    or of a component after the other to its minimum, and takes all lags into account likewise. After the last iteration
    W alone is solved for, as in `transform`, unless the fit stopped because of `max_time`. Sparse X stays sparse for
    the squared error and for Kullback-Leibler: O(nnz k n_lags) per iteration, and an array (n_samples, k n_lags). Other
    losses need all entries, which are visited a tile at a time.

    The search of ``"shifted"`` takes about a hundred iterations for each component, on a part of large data, and is
    repeated up to five times. `max_time` limits it, ``init="random"`` omits it.

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
    solver: Literal["cd", "mu"] | None
    components_: Floats

    _constraints = {
        "init": one_of(None, "shifted", "random", "custom"),
        "n_lags": integer(),
        "solver": one_of(None, "cd", "mu"),
    }
    _continued = {"W": "W_", "H": "components_"}
    _fitted_shapes = {"components_": "Lkm"}

    def __init__(
        self,
        n_components: int = 2,
        *,
        n_lags: int = 5,
        beta_loss: BetaLoss = "frobenius",
        init: Literal["shifted", "random", "custom"] | None = None,
        solver: Literal["cd", "mu"] | None = None,
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
            Layer of an AnnData that holds the matrix instead of its X; see `NMF.fit`.
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
            data, k = self._new_data(X), self.components_.shape[1]
            options = replace(self._options(), solver="mu")  # whatever has fitted: no update is made, and bits stay
            W = np.ones((data.shape[0], k))
            problem, factors = self._of(data, W, self.components_.astype(np.float64), options, is_scaled=False)
            self._final_exact_W(problem, factors, options.loss)
        return np.ldexp(np.ascontiguousarray(factors["W"][:, :k]), -2 * data.log4_scale)

    @first_was("W")
    def inverse_transform(self, X: SparseOrDense) -> Floats:
        """Return ``sum_l X[i - l] components_[l]``, dense, for weights X (n_samples, n_components)."""
        self._check_fitted()
        n_lags, k, n_features = self.components_.shape
        W = checked_weights(self, X, k)
        W = W.toarray() if sp.issparse(W) else W  # never-densify-ok: as small as dense weights
        return stacked(W, n_lags, np.zeros((len(W), n_lags * k), W.dtype)) @ self.components_.reshape(-1, n_features)

    def top_features(
        self, n: int = 10, feature_names: Names | None = None, *, by: Ranking | None = None, lag: int | None = None
    ) -> list[list[str]]:
        """Return the names of at most n features of each component, strongest first.

        Parameters
        ----------
        n, feature_names, by :
            As for `NMF.top_features`.
        lag : int, default=None
            Rows after the beginning of a component, less than `n_lags`; None ranks by the sum over all lags.
        """
        self._check_fitted()
        check_integer("n", n)
        if lag is not None:
            check_integer("lag", lag, 0)
            if lag >= len(self.components_):
                raise ValueError(f"lag={lag} is not valid; expected less than {len(self.components_)}, the n_lags.")
        components = self.components_.sum(axis=0) if lag is None else self.components_[lag]
        return strongest(components, feature_names_for(self, feature_names), n, "weight" if by is None else by)

    def _options(self):
        options = super()._options()
        return replace(options, solver=options.solver or ("cd" if options.is_squared else "mu"))

    def _check_options(self, options):
        if not options.is_multiplicative and not options.is_squared:
            raise ValueError(
                f"solver='cd' needs the squared error, but {options.loss_given} is a different loss; use solver='mu'."
            )

    def _solver(self, data, given, options, random_state):
        solver, k = super()._solver(data, given, options, random_state), options.n_components
        if self.n_lags == 1 or options.init in ("random", "custom") or self._goes_on(options):
            return solver
        part, width, problem, factors = strongest_part(data), self.n_lags * k, solver.problem, solver.factors
        if part is not None:
            rows, columns = part
            W, H = (factors[name].astype(np.float64) for name in "WH")
            H = H[columns, :width].T.reshape(self.n_lags, k, -1)
            data = data.part(rows, data.X[rows][:, columns])
            problem, factors = self._of(data, W[rows, :k], H, options, is_scaled=False)
        work = 2 * data.n_entries * width + sum(data.shape) * width**2
        search = ShiftSearch(problem, factors, k, self.n_lags, MOST_WORK // work)
        if search.n_left < FIRST + search.n_iter:
            return solver
        return SearchedStart(solver.problem, solver.factors, search, part, ROUNDS * k, options.max_time)

    def _compose(self, data, given, options, rng):
        k, (n_rows, n_columns), exponent = options.n_components, data.shape, 2 * data.log4_scale
        shapes = {"W": (n_rows, k), "H": (self.n_lags, k, n_columns)}
        start = self._checked_start(shapes, given, options)
        if start is None:
            return self._of(data, rng.random(shapes["W"]), rng.random(shapes["H"]), options, is_scaled=False)
        W, H = start
        if options.init == "custom":
            return self._of(data, W, np.ldexp(H, exponent), options)
        return self._of(data, np.ldexp(W, exponent), H, options)  # the fitted W_ carries the scale

    def _of(self, data, W, H, options, is_scaled=True):
        """Return the problem and its factors for given W and H.

        Parameters
        ----------
        data : fastnmf.data.strata.Strata
        W : ndarray (n_rows, k) of float64
            Weights; not changed.
        H : ndarray (n_lags, k, n_columns) of float64
            Components, in the inner scale; not changed.
        options : Options
        is_scaled : bool, default=True
            False multiplies W by the number that gives the model the total of the data.

        Returns
        -------
        problem : fastnmf.core.problem.Problem
        factors : fastnmf.core.factors.Factors
            W (n_rows, K) and H (n_columns, K'), padded; column ``l k + c`` of H is component c at lag l.
        """
        (n_lags, k, n_columns), divergence, is_descent = H.shape, options.loss, not options.is_multiplicative
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
        updates = {"W": LaggedDescent(), "H": HALS()} if is_descent else dict.fromkeys("WH", MU.plain(data.dtype))
        tasks, n_sweeps = {"W": row_tasks(factors["W"]), "H": tasks["H"]}, SWEEPS if is_descent else 1
        loss = ConvolutionLoss(loss, inner, k, n_lags, is_descent)
        schedule = ("W", n_sweeps), ("H", n_sweeps)
        return single_loss_problem(data, loss, updates, schedule, tasks, scale, divergence.is_squared), factors

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
            below = sub.neg if sub.lags is None else sub.lags.pull(W)
            return found, [size * (unit * (below[:, :k].astype(np.float64) - sub.pos[:, :k]) / scale)]

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
        self.components_ = np.ascontiguousarray(H / sums[:, None], dtype=data.dtype)  # as a loaded model has them
        self.W_ = np.ldexp(W * sums, -2 * data.log4_scale).astype(data.dtype)

    def _arrays(self, data, solver):
        n_lags, k, factors = self.n_lags, self.n_components, solver.factors
        H = factors["H"][:, : n_lags * k].T.reshape(n_lags, k, -1)
        return factors["W"][:, :k].copy(), np.ldexp(H, -2 * data.log4_scale), None
