"""Affine NMF: NMF with one non-negative offset that all rows share."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np

from fastnmf.core.alternate import Extrapolation
from fastnmf.core.init.start_from import starts_among
from fastnmf.core.objectives import squared_problem
from fastnmf.core.options import one_of
from fastnmf.core.schedules import hals_schedule
from fastnmf.core.warn import first_was
from fastnmf.models.base.counts import DispersionMixin
from fastnmf.models.base.for_checkers import Callback, Model, StartName, WithStrata
from fastnmf.models.base.inspection import RowErrorsMixin
from fastnmf.models.base.nmf import STARTS, BaseNMF
from fastnmf.typing import Factor, File, Floats, Matrix, Names, Ranking, Seed, SparseOrDense, Vector

# H and v are updated from the same point, as one factor [H; v] with the left factor [W 1]. H comes first: its `neg`
# refers to the array V, which must still hold the old values.
MU_SCHEDULE = (("W", 1), (("H", 1), ("V", 1)))


class AffineNMF(DispersionMixin, RowErrorsMixin, BaseNMF, WithStrata):
    """Factorise with an offset that all rows share: ``X ~ W H + 1 vᵀ`` with W, H, v >= 0.

    Minimises ``||X - W H - 1 vᵀ||²``. This is `StratifiedNMF` with a single stratum; loss, start and closed form of v
    are the same. It is for data with a constant background, such as spectra or images under the same light.

    Parameters
    ----------
    n_components : int, default=10
        k, the number of rows of H.
    solver : {"hals", "mu"}, default="hals"
        ``"hals"``: exact coordinate descent. ``"mu"``: multiplicative updates. See `StratifiedNMF`.
    init : {"features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default="features"
        Start; see `StratifiedNMF`. ``"custom"`` takes the W, H and v passed to `fit`.
    extrapolate : bool, default=True
        Whether ``"hals"`` extrapolates W and H along their last updates. With extrapolation the objective may increase
        in some iterations.
    gauge : {None, "max_shift", "min_shift"}, default=None
        Which of the equivalent factorisations is returned. ``"max_shift"``: the one with the largest offset.
        ``"min_shift"``: the one with the smallest. None: the one that the iterations end with.
    max_iter : int, default=200
        Maximum number of iterations.
    tol : float, default=1e-4
        Stop when the next 100 iterations are expected to lower the objective by less than `tol` times its value, where
        a normalized loss below `tol` counts as `tol`. 0 runs exactly `max_iter` iterations.
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
    offset_ : ndarray (n_features,) of the dtype of X
        v, in the units of X.
    components_ : ndarray (n_components, n_features) of the dtype of X
        H. A column of `W_` is half to twice as long as the row of `components_` that belongs to it.
    W_ : ndarray (n_samples, n_components) of the dtype of X
        Weights of the training rows.
    n_components_ : int
        k.
    n_iter_ : int
        Number of iterations.
    n_revived_ : int
        How often a component that had become zero was replaced by the positive part of the residual of one row.
    converged_ : bool
        True if the fit stopped because of `tol`, or, with ``tol=0``, after `max_iter` iterations.
    stopped_by_ : str
        Reason for stopping: ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        ``||X - W H - 1 vᵀ||``, in units of X.
    normalized_loss_ : float
        ``||X - W H - 1 vᵀ|| / ||X||``; 0 for all-zero data.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective``, ``seconds``; entry 0 is the start.
    shifts_ : ndarray (1, n_features)
        As in `StratifiedNMF`; ``shifts_[0]`` is `offset_`.
    strata_, stratum_sizes_ : ndarray (1,)
        Label and number of rows of the single stratum, as in `StratifiedNMF`.
    row_strata_ : ndarray (n_samples,) of int32
        Number of the stratum of each row: zeros.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    The offset is not unique: ``v + Hᵀc`` with ``W - 1cᵀ`` gives the same model for any c that keeps both non-negative,
    and the components may contain a part of the offset. Between fits compare ``W H + 1 vᵀ``, not v. The offset of a
    feature that is zero in all rows is zero.

    *Names*: the source has samples in columns, X ~ W H + w 1ᵀ; its w is `offset_`.

    References
    ----------
    H. Laurberg, L. K. Hansen, "On affine non-negative matrix factorization", ICASSP 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import AffineNMF
    >>> X = 5 + np.outer([0.0, 1, 2], [1.0, 0, 3])
    >>> AffineNMF(1, gauge="max_shift", tol=0, random_state=0).fit(X).offset_.round(3)
    array([5., 5., 5.])
    """

    solver: Literal["hals", "mu"]
    init: StartName | Model
    extrapolate: bool
    gauge: Literal["max_shift", "min_shift"] | None
    offset_: Floats
    shifts_: Floats

    _constraints = {"solver": one_of("hals", "mu"), "init": starts_among(*STARTS[1:])}
    _has_shifts, _fixed = True, {"sparse_shifts": False}

    def __init__(
        self,
        n_components: int = 10,
        *,
        solver: Literal["hals", "mu"] = "hals",
        init: StartName | Model = "features",
        extrapolate: bool = True,
        gauge: Literal["max_shift", "min_shift"] | None = None,
        max_iter: int = 200,
        tol: float = 1e-4,
        random_state: Seed = None,
        n_threads: int | None = None,
        verbose: int = 0,
        max_time: float | None = None,
        callback: Callback | None = None,
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
        H: Factor = None,
        v: Vector | None = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite. float32 stays float32; all other types become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        W : ndarray (n_samples, n_components), default=None
            Start of the weights for ``init="custom"``, >= 0.
        H : ndarray (n_components, n_features), default=None
            Start of the components for ``init="custom"``, >= 0.
        v : ndarray (n_features,), default=None
            Start of the offset for ``init="custom"``, >= 0.
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
            If parameters, data or start cannot be used. The message says what was given, what was expected and what to
            do.
        """
        if v is None and self.init == "custom":
            raise ValueError("init='custom' needs a start: pass W, H and v to fit (v is missing).")
        if v is not None and np.ndim(v) != 1:
            raise ValueError(f"The start v has shape {np.shape(v)}; expected (n_features,).")
        V = None if v is None else [v]
        return self._fit(X, W=W, H=H, V=V, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every)

    @first_was("W")
    def inverse_transform(self, X: SparseOrDense) -> Floats:
        """Return ``X H + 1 vᵀ``, dense (n_samples, n_features), for weights X (n_samples, n_components)."""
        return self._inverse_transform(X)

    def top_features(
        self, n: int = 10, feature_names: Names | None = None, *, by: Ranking | None = None
    ) -> list[list[str]]:
        """Return the names of at most n features of each component, strongest first.

        Parameters
        ----------
        n : int, default=10
            Maximum number of features of one component.
        feature_names : array-like (n_features,), default=None
            Names of the features. None takes `feature_names_in_`, or else the column numbers.
        by : {None, "contrast", "weight", "lift"}, default=None
            As in `NMF.top_features`.

        Returns
        -------
        list of list of str
        """
        return super().top_features(n, feature_names, by=by).components

    def _with_new_strata(self, X, strata):
        """Return the model that knows the strata of X; here the model itself, which has one stratum only."""
        return self

    def _problem(self, data, factors, tasks, options):
        is_descent = not options.is_multiplicative
        schedule = hals_schedule((2, 1, 2)) if is_descent else MU_SCHEDULE
        return squared_problem(data, factors, tasks, schedule, is_descent=is_descent)

    def _set_factors(self, data, fit, options):
        super()._set_factors(data, fit, options)
        self.offset_ = self.shifts_[0]

    def _extrapolation(self, factors, tasks, options):
        return Extrapolation(tasks, factors) if options.solver == "hals" and self.extrapolate else None
