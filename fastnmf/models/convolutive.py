"""Components that last several rows: ``X[i] ~ sum_l W[i - l] C_l``, the rows of X being moments in time."""

import numbers
import time
from itertools import repeat
from operator import itemgetter

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastnmf.descent import Course, lbfgs
from fastnmf.models.base import BETAS
from fastnmf.models.fitted import check_fitted_arrays
from fastnmf.models.options import check_choice
from fastnmf.models.problems import divergence_term
from fastnmf.models.shapes import ShapedWeights, divisors, rescaled, shaped_problem
from fastnmf.moves import MU
from fastnmf.problem import Factors
from fastnmf.solve import allocate, pad, row_tasks, solve, threads
from fastnmf.terms import Frobenius
from fastnmf.terms.convolved import Convolved, slid, stacked

# Of the search for a start: iterations before it, of each trial, of the best trial, the gain of the objective that
# counts, and rounds at most. On 30 planted cases (3 and 6 components, 5 to 10 lags) a random start finds 3 and this 30.
FIRST, PROBE, POLISH, GAIN, ROUNDS = 50, 10, 40, 0.02, 5
SETTLE_ITER, SETTLE_TOL = 1000, 1e-10  # of W alone
NOISE = 1e-2  # of the mean: what fills the rows that a shift has left empty


class ConvolutiveNMF(ShapedWeights):
    """Find patterns that last several rows, and when they begin: ``X[i] ~ sum_l W[i - l] components_[l]``, all >= 0.

    The rows of X are moments in time, in their order, as the frames of a spectrogram (n_frames, n_bins), and the lag
    shifts along them. Component c is a small picture, ``components_[:, c]``, of n_lags rows; ``W_[i, c]`` tells how
    strongly it begins at row i. With one lag this is NMF.

    Parameters
    ----------
    n_components : int, default=2
    n_lags : int, default=5
        Rows that a component lasts.
    beta_loss : {"frobenius", "kullback-leibler", "itakura-saito"} or float, default="frobenius"
        ``"frobenius"`` minimises ``||X - model||²``, the others their beta divergence. Those <= 0 need data without
        zeros.
    init : {None, "shifted", "random", "custom"}, default=None
        None is ``"shifted"``: a short fit from a random start, in which then each component is moved to and fro along
        the lags, and stays where a few iterations fit better. Otherwise many a fit ends with a pattern cut off, half of
        it in one component and half in another. ``"random"``: uniform, times the number that makes the total right.
        ``"custom"``: the W and H passed to `fit`.
    max_iter : int, default=500
    tol : float, default=1e-4
        Stop when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than `tol`
        times itself. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no other iteration begins; the search for a start has as many to itself.
    callback : callable, default=None
        ``callback(state)`` after every iteration, and for the start; True stops the fit. `state` has ``iteration``,
        ``normalized_loss``, ``seconds``, and copies of ``W`` and of ``H`` (n_lags, k, n_features), not scaled.
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.

    Attributes
    ----------
    components_ : ndarray (n_lags, n_components, n_features)
        ``components_[l]`` is what the components are l rows after they begin. Each sums to one over lags and features.
    W_ : ndarray (n_samples, n_components)
        How strongly each component begins at each row; carries all the mass.
    n_iter_ : int
    converged_ : bool
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        Norm of what the model misses; for other losses the square root of twice the divergence.
    normalized_loss_ : float
        The same over the norm of X; for other losses over that of a trivial model.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error, or the divergence), ``seconds``; entry 0
        is the start. It never rises.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    Multiplicative updates, with all lags in the numerator and in the denominator: the published average of one update
    a lag may raise the objective, this one does not. At the end W alone is solved for, as in `transform`, if there is
    time. Sparse X stays sparse for the squared error and for Kullback-Leibler: O(nnz k n_lags) an iteration, beside an
    array of (n_samples, k n_lags). Other losses meet all entries, a tile at a time.

    The search of ``"shifted"`` takes some hundred iterations for each component, up to five times: on large data with
    many components more than the fit itself. `max_time` bounds it, ``init="random"`` does without.

    A pattern shorter than n_lags may sit at any place within them: compare components up to such shifts. The start
    ``"shifted"`` is ours.

    *Names*: the source's V is X.T, its W(t) is ``components_[t].T`` and its H is W_.T.

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

    _inits = (None, "shifted", "random", "custom")
    _fitted_shapes = {"components_": "Lkm"}

    def __init__(
        self,
        n_components=2,
        *,
        n_lags=5,
        beta_loss="frobenius",
        init=None,
        max_iter=500,
        tol=1e-4,
        random_state=None,
        verbose=0,
        max_time=None,
        callback=None,
        n_threads=None,
    ):
        self.n_components = n_components
        self.n_lags = n_lags
        self.beta_loss = beta_loss
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback
        self.n_threads = n_threads

    def fit(self, X, y=None, *, W=None, H=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite, its rows in the order of time. float32 stays float32.
        y : ignored
        W, H : ndarray (n_samples, k), (n_lags, k, n_features), default=None
            Start for ``init="custom"``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or starts that cannot be used: what was given, expected, and to be done.
        """
        return self._fit(X, W=W, H=H)

    def fit_transform(self, X, y=None, *, W=None, H=None):
        """Fit the model and return W_, (n_samples, n_components); see `fit`."""
        return self._fit(X, W=W, H=H).W_

    def transform(self, X):
        """Return when the fitted components begin in X, a stretch of time of its own: rows depend on their neighbours.

        Solved for by quasi-Newton steps until they settle, from an even start, so that the result depends on X alone.
        For ``1 <= beta <= 2`` the problem is convex.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Any number of rows, in the order of time.

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        with threads(self.n_threads):
            data, k = self._data(X), self.components_.shape[1]
            W = np.ones((data.shape[0], k))
            problem, factors = self._of(data, W, self.components_.astype(np.float64), is_scaled=False)
            self._settle(problem, factors)
        return np.ldexp(np.ascontiguousarray(factors["W"][:, :k]), -2 * data.exponent)

    def inverse_transform(self, W):
        """Return ``sum_l W[i - l] components_[l]``, dense (n_samples, n_features), for W (n_samples, n_components)."""
        check_is_fitted(self)
        check_fitted_arrays(self)
        n_lags, k, n_features = self.components_.shape
        W = self._weights(W, k)
        return stacked(W, n_lags, np.zeros((len(W), n_lags * k), W.dtype)) @ self.components_.reshape(-1, n_features)

    def _ranks(self):
        return {"n_components": self.n_components, "n_lags": self.n_lags}

    def _check_parameters(self):
        super()._check_parameters()
        if isinstance(self.beta_loss, str) or not isinstance(self.beta_loss, numbers.Real):
            check_choice("beta_loss", self.beta_loss, tuple(BETAS))

    @property
    def _beta(self):
        return BETAS.get(self.beta_loss, self.beta_loss)

    def _problem(self, data, rng, given):
        k, (n_rows, n_columns) = self.n_components, data.shape
        shapes = {"W": (n_rows, k), "H": (self.n_lags, k, n_columns)}
        start = self._given(shapes, given)
        if start is not None:
            return self._of(data, start[0], np.ldexp(start[1], 2 * data.exponent))
        found = self._of(data, rng.random(shapes["W"]), rng.random(shapes["H"]), is_scaled=False)
        if self.init != "random" and self.n_lags > 1:
            self._search(*found)
        return found

    def _of(self, data, W, H, is_scaled=True):
        """Return the problem and its factors; W (n_rows, k) times the number that makes the total right if asked."""
        n_lags, k, n_columns = H.shape
        H = H.reshape(-1, n_columns).T
        L = stacked(W, n_lags, np.zeros((len(W), n_lags * k)))
        if not is_scaled:
            scale = rescaled(float(L.sum(axis=0) @ H.sum(axis=0)), float(data.X.sum(dtype=np.float64)))
            W, L = W * scale, L * scale
        inner, tasks = allocate(data, L, H, None)
        factors = Factors(inner.rank, W=pad(W, data), H=inner["H"])
        beta, width = self._beta, inner["W"].shape[1]
        if beta == 2:
            term, scale = Frobenius(data, width, tasks, holds_products=True), None
        else:
            term, scale = divergence_term(data, width, tasks, beta)
        moves = dict.fromkeys("WH", MU.plain(data.dtype))
        tasks = {"W": row_tasks(factors["W"]), "H": tasks["H"]}
        term = Convolved(term, inner, k, n_lags)
        return shaped_problem(data, term, moves, (("W", 1), ("H", 1)), tasks, scale, is_direct=beta == 2), factors

    def _search(self, problem, factors):
        """Move the factors to a start that no shift of a component along the lags improves, as far as trials tell."""
        k, n_lags = self.n_components, self.n_lags
        until = time.perf_counter() + (np.inf if self.max_time is None else self.max_time)
        steps = 2 ** np.arange(int(np.log2(n_lags - 1)) + 1)
        steps = np.concatenate([steps, -steps]).tolist()

        def run(state, n_iter):
            for name, F in zip("WH", state, strict=True):
                factors[name][:] = F
                factors.moved(name)
            value = solve(problem, factors, max_iter=n_iter, tol=0).history["objective"][-1]
            return value, (factors["W"].copy(), factors["H"].copy())

        def moved(state, c, by):
            W, H = state[0].copy(), state[1].copy()
            lags = slid(H[:, c : n_lags * k : k].T, by)  # what component c is at each lag
            H[:, c : n_lags * k : k] = lags.T + NOISE * lags.mean()  # multiplicative updates cannot leave a zero
            w = slid(W[:, c], -by)
            W[:, c] = w + NOISE * w.mean()
            return W, H

        best = run((factors["W"].copy(), factors["H"].copy()), FIRST)
        for _ in repeat(None, ROUNDS):
            before = best[0]
            for c, _ in enumerate(factors["W"].T[:k]):
                if time.perf_counter() >= until:
                    break
                tried = min((run(moved(best[1], c, by), PROBE) for by in steps), key=itemgetter(0))
                found = run(tried[1], POLISH)
                best = found if found[0] < (1 - GAIN) * best[0] else best
            if best[0] == before:
                break
        run(best[1], 0)

    def _settle(self, problem, factors):
        """Move W alone until it settles; return the objective, which does not rise."""
        W, k, unit, scale = factors["W"], problem.terms[0].rank, 2 if self._beta == 2 else 1, problem.scale or 1.0

        def value(parts):
            W[:, :k] = parts[0]
            factors.moved("W")
            return problem.value(factors) / scale

        def both(parts):
            found, sub = value(parts), problem.subproblem("W", factors)
            return found, [unit * (sub.neg[:, :k].astype(np.float64) - sub.pos[:, :k]) / scale]

        start = [W[:, :k].astype(np.float64)]
        found = lbfgs(both, start, SETTLE_ITER, Course(SETTLE_TOL))
        best = found if value(found) <= value(start) else start
        return value(best) * scale

    def _finish(self, data, problem, fit):
        if fit.stopped_by != "max_time":
            fit.history["objective"][-1] = self._settle(problem, fit.factors)
        n_lags, k = self.n_lags, self.n_components
        W, H = fit.factors["W"][:, :k].astype(np.float64), fit.factors["H"][:, : n_lags * k].astype(np.float64)
        H = H.T.reshape(n_lags, k, -1)
        sums = divisors(H.sum(axis=(0, 2)))
        self.components_ = (H / sums[:, None]).astype(data.dtype)
        self.W_ = np.ldexp(W * sums, -2 * data.exponent).astype(data.dtype)

    def _arrays(self, data, factors):
        W, H = factors["W"][:, : self.n_components].copy(), factors["H"][:, : self.n_lags * self.n_components].T
        return W, np.ldexp(H.reshape(self.n_lags, self.n_components, -1), -2 * data.exponent), None

    def _record(self, data, problem, fit):
        super()._record(data, problem, fit)
        if self._beta != 2:  # a divergence scales with the beta-th power of the data
            value = max(fit.history["objective"][-1], 0)
            self.reconstruction_err_ = float(np.sqrt(2 * value) * 2.0 ** (-data.exponent * self._beta))
