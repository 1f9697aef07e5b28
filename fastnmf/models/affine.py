"""Affine NMF: one shift for all rows."""

from fastnmf.models.base import NNDSVD
from fastnmf.models.options import check_bool, check_choice
from fastnmf.models.presets import Preset
from fastnmf.models.problems import squared_problem
from fastnmf.models.reading import RowErrors
from fastnmf.models.stratified import hals_schedule
from fastnmf.models.transfer import check_init
from fastnmf.solve import Extrapolation

# Components and offset from one point: the update of [H; v] beside [W 1]. H first: its neg refers to V itself.
MU_SCHEDULE = (("W", 1), (("H", 1), ("V", 1)))


class AffineNMF(RowErrors, Preset):
    """Factorise with an offset that all rows share: ``X ~ W H + 1 vᵀ`` with W, H, v >= 0.

    The case of one stratum of `StratifiedNMF`, whose term, start and closed form of v this is. For data with a constant
    background: spectra, images under the same light.

    Parameters
    ----------
    n_components : int, default=10
    solver : {"hals", "mu"}, default="hals"
        Exact coordinate descent, or multiplicative updates; see `StratifiedNMF`.
    init : {"features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default="features"
        See `StratifiedNMF`. ``"custom"``: the W, H and v passed to `fit`.
    extrapolate : bool, default=True
        Whether ``"hals"`` carries W and H on along their last steps; the objective may then rise now and again.
    gauge : {None, "max_shift", "min_shift"}, default=None
        Which of the equivalent factors is returned: as much as possible, or as little, in the offset.
    max_iter : int, default=200
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
    offset_ : ndarray (n_features,)
        v.
    components_ : ndarray (n_components, n_features)
    W_ : ndarray (n_samples, n_components)
    n_components_, n_iter_, n_revived_ : int
    converged_ : bool
    stopped_by_ : str
    reconstruction_err_ : float
        ``||X - W H - 1 vᵀ||``.
    normalized_loss_ : float
        The same divided by the norm of X; 0 for all-zero data.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective``, ``seconds``; entry 0 is the start.
    shifts_, strata_, stratum_sizes_ : ndarray
        Those of `StratifiedNMF` with its one stratum; ``shifts_[0]`` is `offset_`.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    The offset is not unique: ``v + Hᵀc`` with ``W - 1cᵀ`` fits as well for any c that leaves both non-negative, and
    components may hold a part of it. Compare ``W H + 1 vᵀ`` between fits. A column of zeros has no offset.

    *Names*: the source has samples in columns, X ~ W H + w 1ᵀ; its w is `offset_`.

    References
    ----------
    H. Laurberg, L. K. Hansen, "On affine non-negative matrix factorization", ICASSP 2007,
    doi:10.1109/ICASSP.2007.366775.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import AffineNMF
    >>> X = 5 + np.outer([0.0, 1, 2], [1.0, 0, 3])
    >>> AffineNMF(1, gauge="max_shift", tol=0, random_state=0).fit(X).offset_.round(3)
    array([5., 5., 5.])
    """

    _has_shifts = True

    def __init__(
        self,
        n_components=10,
        *,
        solver="hals",
        init="features",
        extrapolate=True,
        gauge=None,
        max_iter=200,
        tol=1e-4,
        random_state=None,
        n_threads=None,
        verbose=0,
        max_time=None,
        callback=None,
    ):
        self.n_components = n_components
        self.solver = solver
        self.init = init
        self.extrapolate = extrapolate
        self.gauge = gauge
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback

    def fit(self, X, y=None, *, W=None, H=None, v=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite. float32 stays float32.
        y : ignored
        W, H, v : ndarray (n_samples, k), (k, n_features), (n_features,), default=None
            Start for ``init="custom"``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or starts that cannot be used: what was given, expected, and to be done.
        """
        self.fit_transform(X, W=W, H=H, v=v)
        return self

    def fit_transform(self, X, y=None, *, W=None, H=None, v=None):
        """Fit the model and return the weights of the rows of X, (n_samples, n_components); see `fit`."""
        V = None if v is None else [v]
        self._fit(X, None, W, H, V)
        self.offset_ = self.shifts_[0]
        return self.W_

    def transform(self, X):
        """Return the exact minimiser of ``||x - v - w H||`` over w >= 0 for the rows x of X, (n_samples, k)."""
        return self._transform(X)

    def inverse_transform(self, W):
        """Return ``W H + 1 vᵀ``, dense (n_samples, n_features), for W (n_samples, n_components)."""
        return self._inverse_transform(W)

    def score(self, X, y=None, sample_weight=None):
        """Return the share of the squared norm of X that the model explains, at most 1; larger is better."""
        return self._score(X, None, sample_weight)

    def top_features(self, n=10, feature_names=None):
        """Return the names of at most n features of each component, strongest first, as a list of lists."""
        return self._top_features(n, feature_names).components

    def _check_parameters(self):
        check_choice("solver", self.solver, ("hals", "mu"))
        check_init(self.init, ("features", "rows", "random", *NNDSVD, "custom"))
        check_choice("gauge", self.gauge, (None, "max_shift", "min_shift"))
        check_bool("extrapolate", self.extrapolate)
        super()._check_parameters()

    def _knowing(self, X, strata):
        """Return the model that knows the strata of X: itself, with its one."""
        return self

    def _problem(self, data, factors, tasks):
        is_descent = self.solver == "hals"
        schedule = hals_schedule((2, 1, 2)) if is_descent else MU_SCHEDULE
        return squared_problem(data, factors, tasks, schedule, is_descent=is_descent)

    def _extrapolation(self, factors, tasks):
        return Extrapolation(tasks, factors) if self.solver == "hals" and self.extrapolate else None
