"""NMF under losses that outliers do not rule (l1, Huber, l2,1), and under the largest error."""

import numpy as np

from fastnmf.data import Strata
from fastnmf.models.options import check_choice, check_integer, check_number
from fastnmf.models.own_loss import OwnLoss
from fastnmf.moves import HALS, MU, Medians, Minimax, WeightedRows
from fastnmf.solve import solve
from fastnmf.terms.entrywise import Residuals, Reweighted, RowNorms

DENSE_LIMIT = 2**24  # entries of a sparse X that is made dense: 134 MB in float64, and four working arrays as large
LINEAR_LIMIT = 20_000  # entries of X: a linear program of 2 q rows for each of its p rows, milliseconds each
INFERENCE_STEPS = 50  # re-weighted steps to find W for fixed H
LOSSES = ("l1", "huber", "l21")
SWEEPS = 2  # of coordinate descent over each factor, for one set of weights
FIRST = 0.3  # of the mean of X, what the smoothing of l1 begins with
TUNING, TO_DEVIATION = 1.345, 1.4826  # Huber (1981): 95 % as good as squares on normal noise; from median to deviation
NOISE_STEPS = 50  # of the l1 loss, to see the noise
SMOOTHING = (
    1e-3  # eps of l1 and l2,1, in units of what is typical of X; float32 would see nothing of a much smaller one
)


class _Residual(OwnLoss):
    """What both have in common: they see the whole residual."""

    def _as_dense(self, data, limit, why):
        """Return `data` with a dense X, or raise one sentence where it is too large for that."""
        size = data.shape[0] * data.shape[1]
        if size > limit:
            raise ValueError(f"X has {data.shape[0]} x {data.shape[1]} = {size} entries, more than {limit}: {why}")
        if not data.is_sparse:
            return data
        return Strata.from_array(data.X.toarray())  # never-densify-ok: at most DENSE_LIMIT entries

    def _reconstruction_error(self, loss, exponent):
        return float(np.ldexp(loss, (2 if getattr(self, "loss", None) == "huber" else 1) * exponent))


class RobustNMF(_Residual):
    """Factorise ``X ~ W H`` with W, H >= 0 such that outliers do not decide: l1, Huber or l2,1 instead of squares.

    Minimises, with the residual ``R = X - W H``::

        "l1"      sum_ij |R_ij|               some entries are wrong, by any amount
        "huber"   sum_ij huber(R_ij)          as "l1", and noise on the others: R²/2 up to `threshold`, linear beyond
        "l21"     sum_i  sqrt(sum_j R_ij²)    some rows are wrong as a whole

    Parameters
    ----------
    n_components : int, default=2
        Rows of H.
    loss : {"l1", "huber", "l21"}, default="l1"
    solver : {"cd", "mu"}, default="cd"
        Steps of the re-weighted squared error: ``"cd"``, two sweeps of exact coordinate descent; ``"mu"``,
        multiplicative updates, much slower to converge, with less memory.
    polish : int, default=10
        For ``"l1"``: at most so many sweeps of exact coordinate descent on the unsmoothed loss at the end, each entry a
        weighted median. Dense X, and sparse X of ``"cd"`` only.
    threshold : float, default=None
        Of Huber's loss, in units of X. None: 1.345 standard deviations of the noise, as 50 iterations of ``"l1"`` from
        the same start see it, by the median of ``|R|``; the attribute ``threshold_`` says what it was.
    smoothing : float, default=None
        eps of ``sqrt(r² + eps²)``, which stands for ``|r|``, in units of X. None: 1e-3 times the mean of X for
        ``"l1"``, times the root mean square length of a row for ``"l21"``. For ``"l1"`` it begins at 0.3 times the mean
        of X and shrinks by 2 % a step.
    init : {"random", None, "features", "rows", "nndsvd", "nndsvda", "nndsvdar", "custom"} or Start, default="random"
        As for `NMF`. Starts that look at the data, and more so the fit of the squared error, are shaped by the
        outliers, and the fit stays near them: of 6 starts each 6 random ones found a planted model, 1 of rows.
    max_iter : int, default=300
    tol : float, default=1e-4
        As for `NMF`; 0 runs exactly `max_iter` iterations, and all sweeps of `polish`.
    random_state : None, int, Generator or RandomState, default=None
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no other iteration begins.
    callback : callable, default=None
        ``callback(state)`` after every iteration, as for `NMF`.
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
    W_ : ndarray (n_samples, n_components)
    reconstruction_err_ : float
        The loss.
    history_ : dict of ndarray
        ``iteration``, ``objective`` (the loss, smoothed before the polish; never rises), ``normalized_loss`` (square
        root of the loss over that of the zero model), ``seconds``; the sweeps of the polish are iterations, too.
    typical_ : float
        What is typical of the X of `fit`: its mean ("l1", "huber"), or length of a row ("l21").
    threshold_ : float
        With ``"huber"``: the threshold.
    n_components_, n_iter_, converged_, stopped_by_, normalized_loss_, n_features_in_, feature_names_in_ :
        As for `NMF`.

    Notes
    -----
    Iteratively re-weighted least squares: at the present residual the loss lies below a parabola, whose weights are
    large where the model fits. A step that lowers the weighted squared error lowers the loss, whatever its size.

    ``"l21"`` weighs whole rows and stays sparse, at the price of the squared error. A wrong row that is longer than
    the others can still win a component of its own, at a lower loss than the right model: in two of nine planted data
    sets, of 70 rows of which seven were twice as long, at rank 4.

    ``"l1"`` and ``"huber"`` meet every entry of the residual, zeros included, O(n m K²) an iteration (``"mu"``: O(n m
    K)): with ``"cd"`` a sparse X is made dense, up to 2**24 entries; ``"mu"`` looks at one dense tile after the other
    and has no limit. They end in local minima now and again (once in 29 planted data sets): compare the losses of a
    few starts.

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

    @property
    def _fitted_shapes(self):
        return super()._fitted_shapes | {"typical_": ""} | ({"threshold_": ""} if self.loss == "huber" else {})

    def __init__(
        self,
        n_components=2,
        *,
        loss="l1",
        solver="cd",
        polish=10,
        threshold=None,
        smoothing=None,
        init="random",
        max_iter=300,
        tol=1e-4,
        random_state=None,
        verbose=0,
        max_time=None,
        callback=None,
        n_threads=None,
    ):
        self.n_components = n_components
        self.loss = loss
        self.solver = solver
        self.polish = polish
        self.threshold = threshold
        self.smoothing = smoothing
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback
        self.n_threads = n_threads

    def _check_parameters(self):
        check_choice("loss", self.loss, LOSSES)
        check_choice("solver", self.solver, ("cd", "mu"))
        check_integer("polish", self.polish, least=0)
        for name in ("threshold", "smoothing"):
            value = getattr(self, name)
            if value is not None:
                check_number(name, value, "None or a number > 0")
                if value == 0:
                    raise ValueError(f"{name}=0 is not valid; expected None or a number > 0.")
        super()._check_parameters()

    def _observed(self, X, strata, weight=None, labels=None):
        data = super()._observed(X, strata, weight, labels)
        if self.loss == "l21" or self.solver == "mu" or not data.is_sparse:
            return data
        return self._as_dense(
            data,
            DENSE_LIMIT,
            f"loss={self.loss!r} weighs every entry of the residual, so that solver='cd' needs X dense. "
            "Use solver='mu', loss='l21', or fewer rows.",
        )

    def _bend(self, data):
        """Return eps of the loss, and that of l1 at first, in the inner scale of the data.

        In units of what is typical of the data of `fit`, which is kept: a row gets the same weights in any company.
        """
        if not hasattr(self, "typical_"):
            mean = float(data.X.sum(dtype=np.float64)) / (data.shape[0] * data.shape[1])
            typical = np.sqrt(data.sq_norm / data.shape[0]) if self.loss == "l21" else mean
            self.typical_ = float(np.ldexp(typical, -2 * data.exponent)) or 1.0
        bend = SMOOTHING * self.typical_ if self.smoothing is None else self.smoothing
        return (float(np.ldexp(size, 2 * data.exponent)) for size in (bend, FIRST * self.typical_))

    def _threshold(self, data, factors, tasks):
        """Return where Huber's loss bends, in the inner scale; in `fit` what the noise of an l1 model says, kept."""
        if not hasattr(self, "threshold_"):
            self.threshold_ = self.threshold
        if self.threshold_ is None:
            before = {name: F.copy() for name, F in factors.arrays.items()}
            problem = self._reweighted(data, factors, tasks, "l1", *self._bend(data))
            solve(problem, factors, max_iter=NOISE_STEPS, tol=0)
            deviation = TO_DEVIATION * problem.terms[0].median_size(factors)
            least = np.ldexp(SMOOTHING * self.typical_, 2 * data.exponent)
            self.threshold_ = float(np.ldexp(max(TUNING * deviation, least), -2 * data.exponent))
            for name, F in before.items():
                factors[name][:] = F
                factors.moved(name)
        return float(np.ldexp(self.threshold_, 2 * data.exponent))

    def _reweighted(self, data, factors, tasks, loss, bend, first=None):
        is_descent = self.solver == "cd"
        term = Reweighted(data, factors["W"].shape[1], tasks, loss, bend, is_descent, first)
        move = WeightedRows() if is_descent else MU.plain(data.dtype)
        return self._of(term, move, factors, tasks, SWEEPS if is_descent else 1)

    def _problem(self, data, factors, tasks):
        if self.loss == "huber":
            return self._reweighted(data, factors, tasks, "huber", self._threshold(data, factors, tasks))
        bend, first = self._bend(data)
        if self.loss == "l1":
            return self._reweighted(data, factors, tasks, "l1", bend, first)
        move = HALS() if self.solver == "cd" else MU.plain(data.dtype)
        term = RowNorms(data, factors["W"].shape[1], tasks, bend)
        return self._of(term, move, factors, tasks, SWEEPS if self.solver == "cd" else 1)

    def _is_polished(self, data):
        return self.loss == "l1" and self.polish > 0 and not data.is_sparse

    def _polished(self, data, factors, tasks):
        term = Residuals(data, factors["W"].shape[1], tasks, "l1")
        return self._of(term, Medians(), factors, tasks, 1)

    def _move_W(self, data, factors, tasks):
        if self.loss == "l21":  # the weight of a row does not change its best w, which is there
            return
        problem = self._problem(data, factors, tasks)
        problem.schedule = problem.schedule[:1]
        solve(problem, factors, max_iter=INFERENCE_STEPS, tol=0)
        if self._is_polished(data):
            problem = self._polished(data, factors, tasks)
            problem.schedule = problem.schedule[:1]
            solve(problem, factors, max_iter=self.polish, tol=0)

    def _settle(self, data, problem, fit):
        if not self._is_polished(data):
            super()._settle(data, problem, fit)
            return
        exact = self._polished(data, fit.factors, problem.tasks)
        more = solve(exact, fit.factors, max_iter=self.polish, tol=self.tol)
        super()._settle(data, exact, more)
        seconds, n_iter = fit.history["seconds"][-1], fit.n_iter
        fit.n_iter += more.n_iter
        for name, offset in (("iteration", n_iter), ("objective", 0), ("penalty", 0), ("seconds", seconds)):
            fit.history[name] += [entry + offset for entry in more.history[name][1:]]
        if more.n_iter == 0:
            fit.history["objective"][-1] = more.history["objective"][-1]


class ChebyshevNMF(_Residual):
    """Factorise ``X ~ W H`` with W, H >= 0 such that the largest error ``max_ij |X - W H|`` is small. For small X.

    Alternates over W and H; each half is solved exactly, by one linear program a row, which minimises the largest error
    of that row. The objective never rises. It is not convex in both, so the result depends on the start.

    Parameters
    ----------
    n_components : int, default=2
        Rows of H.
    init : {None, "features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default=None
        As for `NMF`.
    max_iter : int, default=20
    tol : float, default=1e-4
        As for `NMF`; 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no other iteration begins.
    callback : callable, default=None
        ``callback(state)`` after every iteration, as for `NMF`.
    n_threads : int, default=None
        Threads of the kernels; the linear programs take one.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
    W_ : ndarray (n_samples, n_components)
    reconstruction_err_ : float
        The largest error.
    history_ : dict of ndarray
        ``iteration``, ``objective`` (the largest error), ``normalized_loss`` (square root of it over that of the zero
        model, the largest entry of X), ``seconds``.
    n_components_, n_iter_, converged_, stopped_by_, normalized_loss_, n_features_in_, feature_names_in_ :
        As for `NMF`.

    Notes
    -----
    Every entry counts, zeros included, and each iteration solves n_samples + n_features linear programs. X may have at
    most 20,000 entries; a sparse one is made dense.

    References
    ----------
    N. Gillis, "Nonnegative Matrix Factorization", SIAM 2020, section 5.1 (error measures).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import ChebyshevNMF
    >>> X = np.outer([1.0, 2, 3], [1.0, 3, 2]) + 0.1 * np.eye(3)
    >>> model = ChebyshevNMF(1, max_iter=100, random_state=0).fit(X)
    >>> bool(model.reconstruction_err_ < 0.1)
    True
    """

    solver = "cd"

    def __init__(
        self,
        n_components=2,
        *,
        init=None,
        max_iter=20,
        tol=1e-4,
        random_state=None,
        verbose=0,
        max_time=None,
        callback=None,
        n_threads=None,
    ):
        self.n_components = n_components
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback
        self.n_threads = n_threads

    def _observed(self, X, strata, weight=None, labels=None):
        data = super()._observed(X, strata, weight, labels)
        return self._as_dense(
            data,
            LINEAR_LIMIT,
            "the largest error needs a linear program for every row and every column. Use fewer rows, or "
            "RobustNMF or NMF.",
        )

    def _problem(self, data, factors, tasks):
        return self._of(Residuals(data, factors["W"].shape[1], tasks, "linf"), Minimax(), factors, tasks)

    def _move_W(self, data, factors, tasks):
        problem = self._problem(data, factors, tasks)
        problem.schedule = problem.schedule[:1]
        solve(problem, factors, max_iter=1, tol=0)
