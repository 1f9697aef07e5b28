"""NMF under losses on which outliers have little influence (l1, Huber, l2,1), and the base of models with such losses.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from fastnmf.core.alternate import solve
from fastnmf.core.factors import pad
from fastnmf.core.inference import infer
from fastnmf.core.losses.robust import Residuals, Reweighted, RowNorms
from fastnmf.core.objectives import own_loss_problem
from fastnmf.core.options import integer, one_of, positive
from fastnmf.core.squarem import SQUAREM
from fastnmf.core.updates import HALS, MU, WeightedMedianDescent, WeightedRows
from fastnmf.data.strata import Strata
from fastnmf.models.base.for_checkers import Callback, Init, Iterative
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.typing import Seed

DENSE_LIMIT = 2**24  # entries of a sparse X that is made dense: 134 MB in float64, and four working arrays of this size
INFERENCE_STEPS = 50  # re-weighted steps that compute W for fixed H
LOSSES = ("l1", "huber", "l21")
SWEEPS = 2  # of coordinate descent over each factor, for one set of weights
# Under l2,1 eight sweeps from iteration 50 on: 54 fits of 27 planted data sets took 303 iterations in place of 538, and
# ended .05 % above the best known in place of .10 %. Eight from the first on settle too early which rows are wrong: 11
# of these fits ended in a bad minimum, in place of one.
EARLY, LATER_SWEEPS = 50, 8
LARGEST_BEND = 2.0**60  # of eps beside entries near 1: the loss is the squared error there, and eps**2 fits float32
FIRST = 0.3  # of the mean of X: the smoothing with which l1 begins
TUNING, MEDIAN_TO_DEVIATION = (
    1.345,
    1.4826,
)  # Huber (1981): 95 % efficiency on normal noise; ratio of deviation to median
NOISE_STEPS = 50  # of the l1 loss, from which the noise is estimated
SMOOTHING = (
    1e-3  # eps of l1 and l2,1, in units of the typical size of X; a much smaller one is lost to rounding in float32
)


def as_dense(data, limit, why):
    """Return `data` with a dense X, or raise ValueError if X has more than `limit` entries.

    `why` completes the sentence of the error: why X must be dense, and what to do.
    """
    size = data.shape[0] * data.shape[1]
    if size > limit:
        raise ValueError(f"X has {data.shape[0]} x {data.shape[1]} = {size} entries, more than {limit}: {why}")
    if not data.is_sparse:
        return data
    return Strata.from_array(data.X.toarray())  # never-densify-ok: at most DENSE_LIMIT entries


class RobustNMF(BaseNMF, Iterative):
    """Factorise ``X ~ W H`` with W, H >= 0 under a loss on which outliers have little influence: l1, Huber or l2,1.

    Minimises, with the residual ``R = X - W H``::

        "l1"      sum_ij |R_ij|               some entries are wrong, by any amount
        "huber"   sum_ij huber(R_ij)          as "l1", and noise on the others: R²/2 up to `threshold`, linear beyond
        "l21"     sum_i  sqrt(sum_j R_ij²)    some rows are wrong as a whole

    Parameters
    ----------
    n_components : int, default=2
        Number of components (rows of H), >= 1.
    loss : {"l1", "huber", "l21"}, default="l1"
        The loss; see above.
    solver : {"cd", "mu"}, default="cd"
        Update for the re-weighted squared error. ``"cd"``: two sweeps of exact coordinate descent; for ``"l21"`` eight
        after the first 50 iterations. ``"mu"``: multiplicative updates, which converge much more slowly but need less
        memory.
    polish : int, default=10
        For ``"l1"``: maximum number of sweeps of exact coordinate descent on the unsmoothed loss at the end, >= 0. Each
        entry is then a weighted median. Used if X is dense, or if X is sparse and the solver is ``"cd"``; not after a
        stop by `max_time` or by a callback.
    threshold : float, default=None
        Threshold of Huber's loss, > 0, in units of X. None: 1.345 standard deviations of the noise, which are estimated
        from the median of ``|R|`` after 50 iterations of ``"l1"`` from the same start. The value used is stored in
        ``threshold_``.
    smoothing : float, default=None
        eps of ``sqrt(r² + eps²)``, which replaces ``|r|``; > 0, in units of X. None: 1e-3 times the mean of X for
        ``"l1"``, and 1e-3 times the root mean square length of a row for ``"l21"``. For ``"l1"`` eps begins at 0.3
        times the mean of X and shrinks by 2 % in each step, so that a fit leaves a start given by `init`; not where
        `warm_start` continues an earlier fit.
    init : {"random", None, "features", "rows", "nndsvd", "nndsvda", "nndsvdar", "custom"} or Start, default="random"
        As for `NMF`. Outliers shape starts that are computed from the data, and even more so a fit of the squared
        error, and the fit stays near such a start: of 6 starts each 6 random ones found a planted model, 1 of rows.
    extrapolate : bool, default=True
        Whether W and H are extrapolated in cycles of three iterations (SQUAREM). The objective stays monotone.
    max_iter : int, default=1000
        Maximum number of iterations, >= 1.
    tol : float, default=1e-4
        As for `NMF`; 0 runs exactly `max_iter` iterations, and all sweeps of `polish`.
    random_state : None, int, Generator or RandomState, default=None
        Source of the random numbers that the start uses.
    verbose : int, default=0
        1 shows the progress on standard error; 0 shows nothing.
    max_time : float, default=None
        Time limit in seconds: no further iteration begins after it. None sets no limit.
    callback : callable, default=None
        Called as ``callback(state)`` for the start and after every iteration, as for `NMF`. The fit stops when it
        returns True.
    n_threads : int, default=None
        Number of threads of the kernels; None uses Numba's setting. The result has the same bits for any number of
        threads.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features) of the dtype of X
        H.
    W_ : ndarray (n_samples, n_components) of the dtype of X
        W, the weights of the training rows.
    reconstruction_err_ : float
        The loss, in units of X (Huber: of X², and infinite where these leave float64). That of ``"l21"`` is smoothed:
        a row that fits exactly counts eps, so that X with an exact factorisation has a normalized loss of about 0.03.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        ``iteration``, ``objective`` (the loss, smoothed before the sweeps of `polish`; it does not increase),
        ``normalized_loss`` (square root of the loss divided by that of the zero model) and ``seconds`` (since the start
        of the fit). The sweeps of `polish` also count as iterations.
    typical_ : float
        Typical size of the X passed to `fit`: its mean ("l1", "huber"), or the root mean square length of a row
        ("l21").
    threshold_ : float
        With ``"huber"``: the threshold, in units of X.
    n_components_, n_iter_, converged_, stopped_by_, normalized_loss_, n_features_in_, feature_names_in_ :
        As for `NMF`.

    Notes
    -----
    The method is iteratively re-weighted least squares. The loss lies below a parabola that meets it at the present
    residual, and whose weights are large where the model fits. A step that lowers the weighted squared error therefore
    lowers the loss, whatever its size.

    ``"l21"`` weights whole rows and keeps sparse X sparse, at the cost of the squared error. A wrong row that is longer
    than the others can still be given a component of its own, at a lower loss than the right model: in two of nine
    planted data sets at rank 4, with 70 rows, seven of them wrong and twice as long.

    ``"l1"`` and ``"huber"`` need every entry of the residual, including those where X is zero: O(n m K²) per iteration
    (``"mu"``: O(n m K)). With ``"cd"`` a sparse X is made dense, up to 2**24 entries. ``"mu"`` forms one dense tile
    after the other and has no limit. Both losses can end in local minima (once in 29 planted data sets): `n_init` tries
    several starts.

    References
    ----------
    P. W. Holland, R. E. Welsch, "Robust regression using iteratively reweighted least-squares", Communications in
    Statistics 1977, doi:10.1080/03610927708827533. D. Kong, C. Ding, H. Huang, "Robust nonnegative matrix factorization
    using L21-norm", CIKM 2011, doi:10.1145/2063576.2063676. P. J. Huber, "Robust Statistics", Wiley 1981 (the
    threshold).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import RobustNMF
    >>> X = np.outer([1.0, 2, 3, 4], [1.0, 3, 2])
    >>> X[1, 2] = 20  # a wrong entry
    >>> model = RobustNMF(1, random_state=0).fit(X)
    >>> (model.W_ @ model.components_).round(2)
    array([[ 1.,  3.,  2.],
           [ 2.,  6.,  4.],
           [ 3.,  9.,  6.],
           [ 4., 12.,  8.]])
    """

    loss: Literal["l1", "huber", "l21"]
    solver: Literal["cd", "mu"]
    polish: int
    threshold: float | None
    smoothing: float | None
    init: Init
    extrapolate: bool
    typical_: float
    threshold_: float

    _constraints = {
        "loss": one_of(*LOSSES),
        "solver": one_of("cd", "mu"),
        "polish": integer(least=0),
        "threshold": positive,
        "smoothing": positive,
    }
    _has_own_loss = True

    @property
    def _fitted_shapes(self):
        return super()._fitted_shapes | {"typical_": ""} | ({"threshold_": ""} if self.loss == "huber" else {})

    def __init__(
        self,
        n_components: int = 2,
        *,
        loss: Literal["l1", "huber", "l21"] = "l1",
        solver: Literal["cd", "mu"] = "cd",
        polish: int = 10,
        threshold: float | None = None,
        smoothing: float | None = None,
        init: Init = "random",
        extrapolate: bool = True,
        max_iter: int = 1000,
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

    def _observed(self, X, options, strata=None, weight=None, labels=None):
        data = super()._observed(X, options, strata, weight, labels)
        if self.loss == "l21" or options.is_multiplicative or not data.is_sparse:
            return data
        return as_dense(
            data,
            DENSE_LIMIT,
            f"loss={self.loss!r} weighs every entry of the residual, so solver='cd' needs a dense X. "
            "Use solver='mu', loss='l21', or fewer rows.",
        )

    def _data(self, X, given, options):
        for name in ("typical_", "threshold_"):  # those of a fit that warm_start continues from
            self.__dict__.pop(name, None)
        return super()._data(X, given, options)

    def _reconstruction_error(self, loss, exponent, options):
        return float(np.ldexp(loss, (2 if self.loss == "huber" else 1) * exponent))

    def _bend(self, data):
        """Return eps of the loss, and the larger eps with which l1 begins, in the inner scale of the data.

        The typical size of X is measured in `fit` and kept in `typical_`. In `transform` a row therefore gets the same
        weights whatever other rows it is passed with.
        """
        if not hasattr(self, "typical_"):
            mean = float(data.X.sum(dtype=np.float64)) / (data.shape[0] * data.shape[1])
            typical = np.sqrt(data.sq_norm / data.shape[0]) if self.loss == "l21" else mean
            self.typical_ = float(np.ldexp(typical, -2 * data.log4_scale)) or 1.0
        bend = SMOOTHING * self.typical_ if self.smoothing is None else self.smoothing
        with np.errstate(over="ignore"):  # rows of far smaller units than those of the fit
            sizes = np.ldexp([bend, FIRST * self.typical_], 2 * data.log4_scale)
        return (min(float(size), LARGEST_BEND) for size in sizes)

    def _threshold(self, data, factors, tasks):
        """Return the threshold of Huber's loss in the inner scale.

        In `fit` without a given threshold, `threshold_` is computed from the residual of an l1 model; the factors are
        then restored.
        """
        if not hasattr(self, "threshold_"):
            self.threshold_ = self.threshold
        if self.threshold_ is None:
            before = {name: F.copy() for name, F in factors.arrays.items()}
            problem = self._reweighted(data, factors, tasks, "l1", *self._bend(data))
            solve(problem, factors, max_iter=NOISE_STEPS, tol=0)
            deviation = MEDIAN_TO_DEVIATION * problem.losses[0].median_size(factors)
            least = np.ldexp(SMOOTHING * self.typical_, 2 * data.log4_scale)
            self.threshold_ = float(np.ldexp(max(TUNING * deviation, least), -2 * data.log4_scale))
            factors.overwrite(before)
        with np.errstate(over="ignore"):
            return min(float(np.ldexp(self.threshold_, 2 * data.log4_scale)), LARGEST_BEND)

    def _reweighted(self, data, factors, tasks, loss, bend, first=None):
        """Return the `Problem` of the re-weighted squared error.

        Parameters
        ----------
        data : fastnmf.data.strata.Strata
            The data, held in the inner scale.
        factors : fastnmf.core.factors.Factors
            Padded factors W (n_samples, K) and H (n_features, K) in the inner scale.
        tasks : dict of str to ndarray of int64
            Task table of the row kernels for each factor.
        loss : {"l1", "huber"}
            The loss.
        bend : float
            eps of l1, or the threshold of Huber's loss, in the inner scale of the data.
        first : float, optional
            eps with which l1 begins, in the same scale.

        Returns
        -------
        fastnmf.core.problem.Problem
        """
        is_descent = self.solver == "cd"
        data_loss = Reweighted(data, factors["W"].shape[1], tasks, loss, bend, is_descent, first)
        update = WeightedRows() if is_descent else MU.plain(data.dtype)
        # of the zero model, without the large eps at the start; zeros only have none
        scale = (float(data.X.sum(dtype=np.float64)) or None) if loss == "l1" else None
        return own_loss_problem(data_loss, update, factors, tasks, SWEEPS if is_descent else 1, scale)

    def _problem(self, data, factors, tasks, options):
        if self.loss == "huber":
            return self._reweighted(data, factors, tasks, "huber", self._threshold(data, factors, tasks))
        bend, first = self._bend(data)
        if self.loss == "l1":  # a large eps would lead away from the factors that a fit continues from
            return self._reweighted(data, factors, tasks, "l1", bend, bend if self._goes_on(options) else first)
        data_loss = RowNorms(data, factors["W"].shape[1], tasks, bend)
        if self.solver == "mu":
            return own_loss_problem(data_loss, MU.plain(data.dtype), factors, tasks)
        problem = own_loss_problem(data_loss, HALS(), factors, tasks, SWEEPS)
        problem.later = EARLY, (("W", LATER_SWEEPS), ("H", LATER_SWEEPS))
        return problem

    def _extrapolation(self, factors, tasks, options):
        return SQUAREM(tasks, factors) if self.extrapolate else None

    def _runs_polish(self, data):
        return self.loss == "l1" and self.polish > 0 and not data.is_sparse

    def _unsmoothed_problem(self, data, factors, tasks):
        """Return the `Problem` of the unsmoothed l1 loss, which is solved by weighted medians."""
        data_loss = Residuals(data, factors["W"].shape[1], tasks, "l1")
        return own_loss_problem(data_loss, WeightedMedianDescent(), factors, tasks, 1)

    def _infer_own_W(self, data, H, options):
        if self.loss == "l21":  # the weight of a row does not change its best w
            return infer(data, H.shape[1], pad(H, data), None)[0]
        return super()._infer_own_W(data, H, options)

    def _update_W(self, data, factors, tasks, options):
        problem = self._problem(data, factors, tasks, replace(options, warm_start=False))
        problem.schedule = problem.schedule[:1]
        solve(problem, factors, max_iter=INFERENCE_STEPS, tol=0)
        if self._runs_polish(data):
            problem = self._unsmoothed_problem(data, factors, tasks)
            problem.schedule = problem.schedule[:1]
            solve(problem, factors, max_iter=self.polish, tol=0)

    def _final_exact_W(self, data, fit, options):
        """Run the sweeps of `polish` if they apply, add them to the history, and compute W for the final H."""
        if not self._runs_polish(data) or fit.stopped_by in ("max_time", "callback"):
            super()._final_exact_W(data, fit, options)
            return
        exact = self._unsmoothed_problem(data, fit.factors, fit.problem.tasks)
        more = solve(exact, fit.factors, max_iter=self.polish, tol=options.tol)
        super()._final_exact_W(data, more, options)
        fit.extend(more)
        fit.history["objective"][-1] = more.history["objective"][-1]
