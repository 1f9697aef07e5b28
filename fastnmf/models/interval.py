"""Interval NMF: data whose entries are known only up to bounds.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
The bounds are scaled like the data.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted

from fastnmf.core.factors import allocate, scaled
from fastnmf.core.inference import infer_by_updates
from fastnmf.core.init.start_from import starts_among
from fastnmf.core.objectives import interval_problem
from fastnmf.core.options import one_of
from fastnmf.core.squarem import SQUAREM
from fastnmf.data.annotated import matrix_of
from fastnmf.data.layout import linear_index
from fastnmf.data.matrix import as_csr, as_matrix, check_unmasked
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.models.base.for_checkers import Callback, Iterative, Model, like_fit
from fastnmf.models.base.nmf import STARTS, BaseNMF
from fastnmf.typing import Factor, File, Floats, Matrix, Seed


class IntervalNMF(BaseNMF, Iterative):
    """Find a model between bounds: ``lower <= W H <= upper`` with W, H >= 0, or as near to them as possible.

    Minimises the sum of the squared distances of the entries of ``W H`` to their intervals: an entry within its bounds
    costs nothing. It suits rounded, censored and uncertain data. Where `upper` is zero, both bounds are.

    Parameters
    ----------
    n_components : int, default=10
        k, the number of rows of H.
    move : {"hals", "mu"}, default="hals"
        Update: ``"hals"`` is coordinate descent, ``"mu"`` is multiplicative. With both the objective is monotone: it
        does not increase.
    init : {"features", "rows", "random", "nndsvda", "nndsvdar", "custom"}, model or Start, default="features"
        Start, computed from the middles of the intervals; see `NMF`. ``"custom"``: the W and H passed to `fit`.
    max_iter : int, default=500
        Maximum number of iterations of `fit`, and number of sweeps of `transform`.
    tol : float, default=1e-4
        Stop when the next 100 iterations are expected to lower the objective by less than `tol` times its value, where
        a normalized loss below `tol` counts as `tol`. 0 runs exactly `max_iter` iterations.
    extrapolate : bool, default=True
        Whether W and H are extrapolated in cycles of three iterations (SQUAREM). The objective stays monotone.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    n_threads : int, default=None
        Threads of the kernels; None uses Numba's setting. The result has the same bits for any number.
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no further iteration begins. None sets no limit.
    callback : callable, default=None
        ``callback(state)``, called for the start and after every iteration with a `FitState`; see `NMF`. Returning True
        stops the fit.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        H.
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows.
    n_components_ : int
        k.
    n_iter_ : int
        Number of iterations.
    converged_ : bool
        True if the fit stopped because of `tol`, or, with ``tol=0``, after `max_iter` iterations.
    stopped_by_ : str
        Reason for stopping: ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        Square root of the sum of squared distances.
    normalized_loss_ : float
        The same divided by the norm of the lower bounds; 0 if that norm is 0.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective``, ``seconds``; entry 0 is the start.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    Before every update the data are replaced by the points of the intervals that are nearest to the current model. The
    squared distance to these points is an upper bound of the objective, and equal to it at the current model; so an
    update that lowers the bound lowers the objective. O(nnz k) per iteration, where nnz counts the non-zeros of
    `upper`: dense bounds need about 100 bytes per entry.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import IntervalNMF
    >>> seen = np.array([[1, 2, 3], [2, 4, 7], [3, 6, 10]])  # rounded to whole numbers
    >>> model = IntervalNMF(1, tol=0, random_state=0).fit(seen - 0.5, upper=seen + 0.5)
    >>> bool((np.abs(model.inverse_transform(model.W_) - seen) <= 0.5 + 1e-9).all())
    True
    """

    move: Literal["hals", "mu"]
    extrapolate: bool
    init: Literal["features", "rows", "random", "nndsvda", "nndsvdar", "custom"] | Model

    _constraints = {
        "move": one_of("hals", "mu"),
        "init": starts_among(*(name for name in STARTS if name not in (None, "nndsvd"))),
    }
    _fixed = {"solver": "mu"}  # a start without zeros, and no exact solve at the end
    __metadata_request__fit = {"upper": True}
    __metadata_request__fit_transform = {"upper": True}
    __metadata_request__transform = {"upper": True}
    __metadata_request__score = {"upper": True}

    def __init__(
        self,
        n_components: int = 10,
        *,
        move: Literal["hals", "mu"] = "hals",
        init: Literal["features", "rows", "random", "nndsvda", "nndsvdar", "custom"] | Model = "features",
        max_iter: int = 500,
        tol: float = 1e-4,
        extrapolate: bool = True,
        random_state: Seed = None,
        n_threads: int | None = None,
        verbose: int = 0,
        max_time: float | None = None,
        callback: Callback | None = None,
        n_init: int = 1,
        warm_start: bool = False,
    ):
        self._set(locals())

    def _extrapolation(self, factors, tasks, options):
        return SQUAREM(tasks, factors) if self.extrapolate else None

    def fit(
        self,
        X: Matrix,
        y: Any = None,
        *,
        upper: Matrix | None = None,
        W: Factor = None,
        H: Factor = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Lower bounds, >= 0 and finite. float32 stays float32; all other types become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        upper : sparse matrix or array (n_samples, n_features), default=None
            Upper bounds, at least the lower bounds; infinity means no bound. None takes X: each interval is a point.
        W : ndarray (n_samples, n_components), default=None
            Start of the weights for ``init="custom"``, >= 0.
        H : ndarray (n_components, n_features), default=None
            Start of the components for ``init="custom"``, >= 0.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; see `NMF.fit`.
        checkpoint : str or path, default=None
            File of the state of the fit; see `NMF.fit`.
        checkpoint_every : float, default=60.0
            Seconds between two saves.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters, bounds or start cannot be used. The message says what was given, what was expected and what
            to do.
        """
        return self._fit(
            X, upper=upper, W=W, H=H, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every
        )

    @like_fit
    def fit_transform(self, X: Matrix, y: Any = None, **given: Any) -> Floats:
        """Fit the model and return the result of `transform` for the same bounds; arguments as in `fit`."""
        return self.fit(X, y, **given).transform(X, upper=given.get("upper"))

    def transform(self, X: Matrix, *, upper: Matrix | None = None) -> Floats:
        """Return weights of rows with bounds X and `upper` for the fitted components.

        Runs `max_iter` sweeps of coordinate descent; the start of a row depends on this row alone.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Lower bounds.
        upper : sparse matrix or array (n_samples, n_features), default=None
            Upper bounds, as for `fit`.

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        return self._infer_between_bounds(X, upper)[1]

    def score(self, X: Matrix, y: Any = None, *, upper: Matrix | None = None) -> float:
        """Return one minus the sum of squared distances over that of the zero model, at most 1; larger is better."""
        value, _, scale = self._infer_between_bounds(X, upper)
        return 1.0 if scale == 0 else float(1 - value / scale)

    def _data(self, X, given, options):
        """Return the middles of the intervals as data, CSR on the pattern of the upper bounds.

        The attribute ``bounds`` is a tuple (low, high) of ndarray (nnz,) in the inner scale; high may be infinite.
        """
        pattern, low = bounds_on_pattern(X, given.get("upper"))
        high = pattern.data
        middle = np.where(np.isinf(high), np.where(low > 0, low, 1), low + (high - low) / 2)
        data = Strata.from_array(sp.csr_array((middle, pattern.indices, pattern.indptr), shape=pattern.shape))
        data.bounds = tuple(np.ldexp(bound, 2 * data.log4_scale) for bound in (low, high))
        return data

    def _problem(self, data, factors, tasks, options):
        return interval_problem(data, factors, tasks, data.bounds, is_descent=self.move == "hals")

    def _infer_between_bounds(self, X, upper):
        """Return the squared distance, W (n, k), and the squared distance of the zero model."""
        check_is_fitted(self)
        options, X = self._options(), self._validated(X, reset=False)
        with threads(options.n_threads):
            data = self._data(X, {"upper": upper}, options)
            H = scaled(self.components_.T, data.log4_scale)

            def begin(data, W):
                factors, tasks = allocate(data, W, H, None)
                problem = interval_problem(data, factors, tasks, data.bounds, is_descent=True)
                problem.schedule = (("W", 1),)
                return problem, factors

            W, measure = infer_by_updates(data, H, begin, options.max_iter)
            value, scale = measure()
        return value, scaled(W, -data.log4_scale), scale


def bounds_on_pattern(X, upper):
    """Check the bounds; return the upper ones as CSR, infinity for none, and the lower ones on their pattern, (nnz,).

    X holds the lower bounds, `upper` the upper bounds; ``upper=None`` takes X for both.
    """
    lower = as_matrix(X)
    if upper is None:
        pattern = sp.csr_array(lower)
        return pattern, pattern.data
    upper = matrix_of(upper)
    check_unmasked(upper, "upper")
    upper = upper if sp.issparse(upper) else np.asarray(upper)
    if upper.shape != lower.shape:
        raise ValueError(f"upper has shape {upper.shape}, expected that of X, {lower.shape}: one bound for each entry.")
    open_end = np.finfo(lower.dtype).max  # stands for infinity, which `as_matrix` refuses
    if sp.issparse(upper):
        upper = as_csr(upper, "upper", lower.dtype).copy()
        upper.data[np.isposinf(upper.data)] = open_end
    else:
        upper = np.where(np.isposinf(upper), open_end, upper).astype(lower.dtype)
    pattern, lower = sp.csr_array(as_matrix(upper, "upper: ")), sp.csr_array(lower)
    low, at, wanted = np.zeros(pattern.nnz, lower.dtype), linear_index(pattern), linear_index(lower)
    order = np.argsort(at, kind="stable")  # rows need not be sorted
    found = np.searchsorted(at, wanted, sorter=order)
    is_bounded = np.isin(wanted, at).all()
    if is_bounded:
        low[order[found]] = lower.data
    if not is_bounded or (low > pattern.data).any():
        raise ValueError("X has an entry above its upper bound; pass lower bounds as X, upper bounds as `upper`.")
    pattern.data = np.where(pattern.data == open_end, np.inf, pattern.data).astype(lower.dtype)
    return pattern, low
