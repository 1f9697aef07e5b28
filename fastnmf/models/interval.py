"""Interval NMF: data of which only bounds are known."""

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted

from fastnmf.data import Strata, as_matrix
from fastnmf.matrix import as_csr
from fastnmf.models.base import NNDSVD, scaled
from fastnmf.models.options import check_choice
from fastnmf.models.presets import Preset
from fastnmf.models.problems import interval_problem
from fastnmf.models.transfer import check_init
from fastnmf.solve import allocate, sweep, threads


class IntervalNMF(Preset):
    """Find a model inside bounds: ``lower <= W H <= upper`` with W, H >= 0, or as near as it gets.

    Minimises the sum of the squared distances of the entries of ``W H`` to their intervals. For rounded, censored and
    uncertain data. Where both bounds are zero, that is off the non-zeros of `upper`, W H is wanted to be zero.

    Parameters
    ----------
    n_components : int, default=10
    move : {"hals", "mu"}, default="hals"
        Coordinate descent, or multiplicative updates. Neither ever raises the objective.
    init : {"features", "rows", "random", "nndsvda", "nndsvdar", "custom"}, model or Start, default="features"
        Start, from the middle of the intervals; see `NMF`. ``"custom"``: the W and H passed to `fit`.
    max_iter : int, default=200
        Iterations; also sweeps of `transform`.
    tol : float, default=1e-4
        Stop when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than `tol`
        times itself. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no other iteration begins.
    callback : callable, default=None
        ``callback(state)`` after every iteration; see `NMF`.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
    W_ : ndarray (n_samples, n_components)
    n_components_, n_iter_ : int
    converged_ : bool
    stopped_by_ : str
    reconstruction_err_ : float
        Square root of the sum of squared distances.
    normalized_loss_ : float
        The same divided by the norm of `lower`; 0 where that is 0.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective``, ``seconds``; entry 0 is the start.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    Before every step the data are replaced by the points of the intervals that are nearest to the present model. The
    distance to these is an upper bound of the objective that touches it, so what lowers the one lowers the other.
    O(nnz k) an iteration, nnz the non-zeros of `upper`: dense bounds cost about 100 bytes an entry.

    *Names*: the source's a and b are the bounds.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import IntervalNMF
    >>> seen = np.array([[1, 2, 3], [2, 4, 7], [3, 6, 10]])  # rounded to whole numbers
    >>> model = IntervalNMF(1, tol=0, random_state=0).fit(seen - 0.5, upper=seen + 0.5)
    >>> bool((np.abs(model.inverse_transform(model.W_) - seen) <= 0.5 + 1e-9).all())
    True
    """

    solver = "mu"  # a start without zeros, and no exact solve at the end
    __metadata_request__fit = {"upper": True}
    __metadata_request__fit_transform = {"upper": True}
    __metadata_request__transform = {"upper": True}
    __metadata_request__score = {"upper": True}

    def __init__(
        self,
        n_components=10,
        *,
        move="hals",
        init="features",
        max_iter=200,
        tol=1e-4,
        random_state=None,
        n_threads=None,
        verbose=0,
        max_time=None,
        callback=None,
    ):
        self.n_components = n_components
        self.move = move
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback

    def fit(self, X, y=None, *, upper=None, W=None, H=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Lower bounds, >= 0 and finite. float32 stays float32.
        y : ignored
        upper : sparse matrix or array (n_samples, n_features), default=None
            Upper bounds, at least the lower ones; infinity for none. None takes X: the intervals are points.
        W, H : ndarray (n_samples, k), (k, n_features), default=None
            Start for ``init="custom"``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, bounds or starts that cannot be used: what was given, expected, and to be done.
        """
        self._fit(X, None, W, H, None, None, upper)
        return self

    def fit_transform(self, X, y=None, *, upper=None, W=None, H=None):
        """Fit the model and return what `transform` gives for the same bounds."""
        return self.fit(X, upper=upper, W=W, H=H).transform(X, upper=upper)

    def transform(self, X, *, upper=None):
        """Return weights of rows with bounds X and `upper` for the fitted components, (n_samples, n_components).

        `max_iter` sweeps of coordinate descent from a start that depends on the row alone.
        """
        return self._placed(X, upper)[1]

    def score(self, X, y=None, *, upper=None):
        """Return one minus the sum of squared distances over that of the zero model, at most 1; larger is better."""
        value, _, scale = self._placed(X, upper)
        return 1.0 if scale == 0 else float(1 - value / scale)

    def _check_parameters(self):
        check_choice("move", self.move, ("hals", "mu"))
        check_init(self.init, ("features", "rows", "random", *(name for name in NNDSVD if name != "nndsvd"), "custom"))
        super()._check_parameters()

    def _strata(self, X, strata, sample_weight, weight):
        """Return the middles of the intervals as data, with their ``bounds``; weight is the upper bounds."""
        pattern, low = bounds_on_pattern(X, weight)
        high = pattern.data
        middle = np.where(np.isinf(high), np.where(low > 0, low, 1), low + (high - low) / 2)
        data = Strata.from_array(sp.csr_array((middle, pattern.indices, pattern.indptr), shape=pattern.shape))
        data.bounds = tuple(np.ldexp(bound, 2 * data.exponent) for bound in (low, high))
        return data

    def _problem(self, data, factors, tasks):
        return interval_problem(data, factors, tasks, data.bounds, is_descent=self.move == "hals")

    def _placed(self, X, upper):
        """Return the squared distance, W, and the squared distance of the zero model."""
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        with threads(self.n_threads):
            data = self._strata(X, None, None, upper)
            H = scaled(self.components_.T, data.exponent)
            rows = np.asarray(data.X.sum(axis=1), dtype=np.float64)
            share = rows / max(float(H.sum()), np.finfo(np.float64).tiny)
            factors, tasks = allocate(data, np.repeat(share[:, None], H.shape[1], axis=1), H, None)
            problem = interval_problem(data, factors, tasks, data.bounds, is_descent=True)
            problem.schedule = (("W", 1),) * self.max_iter
            sweep(problem, factors)
            value = problem.value(factors)
        W = np.ascontiguousarray(factors["W"][:, : H.shape[1]])
        return value, scaled(W, -data.exponent), problem.scale


def bounds_on_pattern(X, upper):
    """Return the upper bounds as CSR, infinity for none, and the lower bounds X on its pattern; checked.

    upper None takes X for both.
    """
    lower = as_matrix(X)
    if upper is None:
        pattern = sp.csr_array(lower)
        return pattern, pattern.data
    upper = upper if sp.issparse(upper) else np.asarray(upper)
    if upper.shape != lower.shape:
        raise ValueError(f"upper has shape {upper.shape}, expected that of X, {lower.shape}: one bound an entry.")
    open_end = np.finfo(lower.dtype).max  # stands for infinity, which is refused in data
    if sp.issparse(upper):
        upper = as_csr(upper, "upper", lower.dtype).copy()
        upper.data[np.isposinf(upper.data)] = open_end
    else:
        upper = np.where(np.isposinf(upper), open_end, upper).astype(lower.dtype)
    pattern, lower = sp.csr_array(as_matrix(upper, "upper: ")), sp.csr_array(lower)
    low, at, wanted = np.zeros(pattern.nnz, lower.dtype), _places(pattern), _places(lower)
    order = np.argsort(at, kind="stable")  # rows need not be sorted
    found = np.searchsorted(at, wanted, sorter=order)
    is_bounded = np.isin(wanted, at).all()
    if is_bounded:
        low[order[found]] = lower.data
    if not is_bounded or (low > pattern.data).any():
        raise ValueError("X has an entry above its upper bound; X are the lower bounds, `upper` the upper ones.")
    pattern.data = np.where(pattern.data == open_end, np.inf, pattern.data).astype(lower.dtype)
    return pattern, low


def _places(X):
    """Return the number of every non-zero, counted along the rows."""
    return np.repeat(np.arange(X.shape[0], dtype=np.int64) * X.shape[1], np.diff(X.indptr)) + X.indices
