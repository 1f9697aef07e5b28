"""The stratified model for streams, and for data that do not fit in memory; see `fastnmf.models.minibatch`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from fastnmf.core.options import one_of, sweeps_of
from fastnmf.core.warn import first_was, warn_of_y
from fastnmf.data.annotated import with_layer
from fastnmf.data.design import HasDesign
from fastnmf.data.levels import RowsOfDesign
from fastnmf.data.readings import Readings, carried
from fastnmf.data.sentences import shown
from fastnmf.models.base.designs import DesignMixin, check_smoothness
from fastnmf.models.base.for_checkers import BetaLoss, Callback, Init, StrataFeatures, WithStrata, like_fit
from fastnmf.models.base.inspection import UNKNOWN_STRATA, InspectionMixin
from fastnmf.models.base.strata_rows import DesignErrorsMixin
from fastnmf.models.base.takes_readings import keep_source
from fastnmf.models.minibatch import MiniBatchNMF
from fastnmf.models.stratified import StratifiedNMF
from fastnmf.typing import Array, Factor, File, Floats, Groups, Matrix, Names, Ranking, Seed, SparseOrDense, Vector

ROWS_OF_BLOCKS = ("X", "strata", "design", "exposure")  # arguments of `partial_fit` that a block may have


class MiniBatchStratifiedNMF(DesignErrorsMixin, DesignMixin, InspectionMixin, MiniBatchNMF, WithStrata):
    """Factorise a non-negative matrix whose rows come in groups, ``A(i) ~ 1 v(i)ᵀ + W(i) H``, a batch at a time.

    Minimises ``sum_i ||A(i) - 1 v(i)ᵀ - W(i) H||²``, or a divergence, over v, W, H >= 0, as `StratifiedNMF` does, but
    updates v and H after each batch. Use `fit` for rows in memory, `fit_blocks` for rows that do not fit in memory, and
    `partial_fit` for batches that arrive one after another. New strata may appear in any batch.

    Rows may have several shifts, ``X ~ Z V + W H``: labels of several factors, a `design`, an `exposure`, as in
    `StratifiedNMF`, for the squared error and Kullback-Leibler. New levels may appear in any batch.

    Parameters
    ----------
    n_components : int, "auto" or None, default=10
        k, the number of rows of H. ``"auto"`` takes that of the start that is passed or of `init`, or else, as None
        does, the number of features.
    batch_size : int, default=None
        Number of rows of a batch in `fit`. None takes 1024, for sparse data at least a quarter of the number of
        features: each batch updates all of H, which would take most of the time with smaller batches.
    max_iter : int, default=200
        Maximum number of passes of `fit` over the data.
    tol : float, default=1e-4
        `fit` stops after `max_no_improvement` consecutive passes that each lowered the objective by less than `tol`
        times its value. 0 runs exactly `max_iter` passes.
    max_no_improvement : int or None, default=10
        Number of such passes. None: `fit` does not stop because of `tol`.
    forget_factor : float, default=1.0
        From 0 to 1. The stored statistics of all strata are multiplied by this factor in a pass of `fit`, a part of it
        before each batch, and before each batch of `partial_fit` and block of `fit_blocks`, so that older rows count
        less. 1 forgets nothing and suits fixed data: then no pass of `fit` increases the squared error. 0.95 suits
        streams that change.
    init : {"features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom", None}, model or Start, \
            default="features"
        Start, computed from the first batch; None means ``"features"``, ``"custom"`` the start passed to `fit` or
        to the first `partial_fit`. See `StratifiedNMF`.
    sweeps : (int, int, int) or "thorough", default=(2, 1, 2)
        Coordinate descent for a batch: sweeps over its W in `fit` (elsewhere W is solved for exactly); alternations of
        v and H; sweeps over H in each alternation. A last update of v follows. ``"thorough"`` is (3, 3, 1). With
        another `beta_loss` all three factors have one multiplicative update.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    n_threads : int, default=None
        Threads of the kernels; None uses Numba's setting. The result has the same bits for any number.
    verbose : int, default=0
        1 shows progress on standard error.
    n_init : int, default=1
        Number of starts that `fit` tries; the result with the lowest objective is kept. No start follows one whose
        normalized loss is at most `tol`. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` and `fit_blocks` start from the shifts and components of the previous fit.
    max_time : float, default=None
        Time limit in seconds: after it `fit` begins no further pass, and `fit_blocks` reads no further block. None sets
        no limit.
    callback : callable, default=None
        Called as ``callback(state)`` after every pass, with a `FitState` (``iteration``, ``normalized_loss``,
        ``seconds``, ``W``, ``H``, ``V``). The fit stops when it returns True.
    alpha_W, alpha_H : float, default=0.0 and "same"
        Strength of the penalties of W and H, as in `NMF`; that of H grows with the number of rows.
    l1_ratio : float, default=0.0
        Share of L1 in these penalties, from 0 (only L2) to 1 (only L1).
    beta_loss : {"frobenius", "kullback-leibler", "itakura-saito"} or float, default="frobenius"
        Beta divergence; see `NMF`. All but ``"frobenius"`` (2) use multiplicative updates, and the statistics are
        numerators and denominators; the objective may then increase in single passes.
    missing_values : {None, "nan", "zeros"}, default=None
        Which entries are unknown, for the squared error; see `NMF`. H then has multiplicative updates as well.
    fresh_restarts : bool, default=False
        Whether `fit` solves for the weights of a batch again whenever it visits it, and at the end for those of all
        rows as `transform` does, instead of continuing from the last visit.
    fresh_restarts_max_iter : int, default=30
        Number of updates in which weights are solved for again with another `beta_loss`, also in `partial_fit` and
        `fit_blocks`; number of sweeps with missing values. Those of the squared error are exact.
    transform_max_iter : int, default=None
        The same in `transform`; None takes `max_iter`.
    sparse_shifts : bool, default=None
        Whether `shifts_` is a csr_array, as in `StratifiedNMF`. None: if it has more than 10⁸ entries.
    unknown_strata : {"error", "estimate", "mean"}, default="error"
        How `transform` and `score` treat a label that did not occur in any batch; see `StratifiedNMF`.
    smoothness : float, or dict of factor -> float, default=0.0
        Strength that draws the shifts of successive labels together, for the squared error; see `StratifiedNMF`. Beside
        forgotten rows it weighs more: it does not decay.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        H, the shared components.
    shifts_ : ndarray or csr_array (n_strata, n_features)
        v(i), one row for each stratum, in the order of `strata_`; sparse or dense, see `sparse_shifts`.
    strata_ : ndarray (n_strata,), or list of ndarray
        Labels of the strata seen so far, in sorted order; those of each factor for crossed strata; absent for a design
        of your own.
    stratum_sizes_ : ndarray (n_strata,) of float64
        Number of remembered rows of each stratum, in the order of `strata_`.
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows; only after `fit`.
    row_strata_ : ndarray (n_samples,) of int
        Stratum of each training row, as an index into `strata_`; only after `fit`, where each row has one label and no
        exposure.
    shift_names_ : ndarray (n_strata,) of str
        Names of the rows of `shifts_`, where there are several factors, a design or an exposure; see `StratifiedNMF`.
    n_components_ : int
        k.
    n_iter_ : int
        Number of passes over the data; the time limit may cut the last one of `fit_blocks` short.
    n_steps_ : int
        Number of batches visited.
    converged_ : bool
        True if `fit` stopped because of `tol`; only after `fit`.
    stopped_by_ : str
        Reason for stopping: ``"tol"``, ``"max_iter"`` (all passes were made), ``"max_time"`` or ``"callback"``; only
        after `fit` and `fit_blocks`.
    run_objectives_ : ndarray (n_runs,) of float64
        Objective after the last pass from each start; only after `fit`. All other attributes belong to the start with
        the lowest objective.
    reconstruction_err_ : float
        Norm of the residual, or the square root of twice the divergence; after `partial_fit` and `fit_blocks` that of
        the remembered rows, with the weights that they had when they were visited (and, for a divergence, the shifts
        and components before that visit).
    normalized_loss_ : float
        The same, divided by that of a trivial model: the norm of the data for the squared error; see `NMF`.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error or the divergence, with penalties),
        ``seconds``, one entry for each pass; only after `fit` and `fit_blocks`.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    The weights of the first rows of a new stratum are found with the mean shift of the strata so far. From then on the
    stratum has its own shift, the best fit to all its remembered rows. The shifts have the same gauge freedom as in
    `StratifiedNMF`.

    With a design Z the statistics hold ``ZᵀZ``, ``ZᵀX`` and ``ZᵀW`` in place of sums by stratum, and the shifts of each
    feature have two sweeps of coordinate descent where those of strata have a closed form.

    References
    ----------
    J. Chapman, Y. Yaniv, D. Needell, "Stratified-NMF for Heterogeneous Data", 2023, arXiv:2311.10789 (the model).
    J. Mairal, F. Bach, J. Ponce, G. Sapiro, "Online learning for matrix factorization and sparse coding", JMLR 2010,
    Algorithms 1 and 2 (the statistics).
    A. Lefevre, F. Bach, C. Fevotte, "Online algorithms for nonnegative matrix factorization with the Itakura-Saito
    divergence", WASPAA 2011, doi:10.1109/ASPAA.2011.6082314, Algorithm 2 (the numerators and denominators).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.models.minibatch_stratified import MiniBatchStratifiedNMF
    >>> model = MiniBatchStratifiedNMF(1, random_state=0)
    >>> model = model.partial_fit(np.array([[1.0, 0, 5], [2, 0, 5]]), strata=["a", "a"])
    >>> model = model.partial_fit(np.array([[3.0, 1, 0], [6, 2, 0]]), strata=["b", "b"])
    >>> model.strata_.tolist(), model.shifts_.shape
    (['a', 'b'], (2, 3))
    """

    sweeps: tuple[int, int, int] | list[int] | Literal["thorough"]
    sparse_shifts: bool | None
    unknown_strata: Literal["error", "estimate", "mean"]
    smoothness: float | Mapping[str, float]

    shift_names_: Array

    _constraints = MiniBatchNMF._constraints | {
        "sweeps": sweeps_of(3, (2, 1, 2)),
        "unknown_strata": one_of(*UNKNOWN_STRATA),
        "smoothness": check_smoothness,
    }
    _has_shifts, _fits_strata = True, False
    __metadata_request__fit = {"strata": True, "design": True, "exposure": True}
    __metadata_request__fit_transform = {"strata": True, "design": True, "exposure": True}
    __metadata_request__transform = {"strata": True, "design": True, "exposure": True}
    __metadata_request__inverse_transform = {"strata": True, "design": True, "exposure": True}
    __metadata_request__score = {"strata": True, "design": True, "exposure": True}
    __metadata_request__partial_fit = {"strata": True, "design": True, "exposure": True}

    if TYPE_CHECKING:

        def top_features(
            self,
            n: int = 10,
            feature_names: Names | None = None,
            *,
            by: Ranking | None = None,
            specific: Mapping[str, Any] | None = None,
        ) -> StrataFeatures: ...

    def __init__(
        self,
        n_components: int | Literal["auto"] | None = 10,
        *,
        batch_size: int | None = None,
        max_iter: int = 200,
        tol: float = 1e-4,
        max_no_improvement: int | None = 10,
        forget_factor: float = 1.0,
        init: Init = "features",
        sweeps: tuple[int, int, int] | list[int] | Literal["thorough"] = (2, 1, 2),
        random_state: Seed = None,
        n_threads: int | None = None,
        verbose: int = 0,
        n_init: int = 1,
        warm_start: bool = False,
        max_time: float | None = None,
        callback: Callback | None = None,
        alpha_W: float = 0.0,
        alpha_H: float | Literal["same"] = "same",
        l1_ratio: float = 0.0,
        beta_loss: BetaLoss = "frobenius",
        missing_values: Literal["nan", "zeros"] | None = None,
        fresh_restarts: bool = False,
        fresh_restarts_max_iter: int = 30,
        transform_max_iter: int | None = None,
        sparse_shifts: bool | None = None,
        unknown_strata: Literal["error", "estimate", "mean"] = "error",
        smoothness: float | Mapping[str, float] = 0.0,
    ):
        self._set(locals())

    def fit(
        self,
        X: Matrix,
        y: Any = None,
        W: Factor = None,
        H: Factor = None,
        V: Factor = None,
        *,
        strata: Groups | None = None,
        design: SparseOrDense | None = None,
        exposure: Vector | str | None = None,
        sample_weight: Vector | None = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit rows that are in memory, batch after batch, in several passes.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite. float32 stays float32; all other types become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        W, H, V : ndarray (n_samples, k), (k, n_features), (n_strata, n_features), default=None
            Start for ``init="custom"``, non-negative; the rows of V are in the order of the sorted labels (of
            `shift_names_` for a design).
        strata : array-like (n_samples,), str, or a frame or dict of several columns, default=None
            Label of each row, in any order, or those of several factors; see `StratifiedNMF.fit`. None means a single
            stratum.
        design : sparse matrix, array or DataFrame (n_samples, q), default=None
            In place of `strata`: weights >= 0 of q shifts in each row.
        exposure : array-like (n_samples,), or str, default=None
            Size of each row, >= 0, which multiplies its shifts; a name is a column, as for `strata`.
        sample_weight : array-like (n_samples,), default=None
            Weight of each row, >= 0: weight 2 is the same as repeating the row.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; see `NMF.fit`.
        checkpoint : str or path, default=None
            File in which the state of the fit is saved while it runs, also between two batches, and from which a fit
            that was killed continues; see `NMF.fit`.
        checkpoint_every : float, default=60.0
            Seconds between two saves.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters, data or labels cannot be used. The message says what was given, what was expected and what to
            do.
        """
        warn_of_y(self, y, strata)
        X, strata = self._rows_given(X, strata, design, exposure, is_fit=True)
        given = {"strata": strata, "W": W, "H": H, "V": V, "sample_weight": sample_weight}
        return self._fit(X, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every, **given)

    @like_fit
    def fit_transform(
        self, X: Matrix, y: Any = None, W: Factor = None, H: Factor = None, V: Factor = None, **given: Any
    ) -> Floats:
        """Fit the model and return the weights of the rows of X, (n_samples, n_components).

        Parameters
        ----------
        X, y, W, H, V, **given :
            As in `fit`.
        """
        return self.fit(X, y, W, H, V, **given).W_

    def partial_fit(
        self,
        X: Matrix,
        y: Any = None,
        W: Factor = None,
        H: Factor = None,
        V: Factor = None,
        *,
        strata: Groups | None = None,
        design: SparseOrDense | None = None,
        exposure: Vector | str | None = None,
        sample_weight: Vector | None = None,
        layer: str | None = None,
    ) -> Self:
        """Add the rows of X to the statistics, and update the shifts and the components once.

        The first call on an unfitted model computes the start from X. `W_` belongs to the rows of `fit` and is
        removed.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite.
        y : ignored
        W, H, V : ndarray (n_samples, k), (k, n_features), (n_strata, n_features), default=None
            Start of the first call for ``init="custom"``, non-negative; the rows of V are in the order of the sorted
            labels. The weights are solved for, so W may be omitted.
        strata, design, exposure : default=None
            As in `fit`, for each batch alike. New labels become new strata, or levels of their factor; they are sorted,
            so the rows of `shifts_` may change their positions. Labels may be omitted for a model of one stratum.
        sample_weight : array-like (n_samples,), default=None
            Weight of each row, >= 0.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; None: the one of the first call.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            The data, the labels or the start cannot be used, or the number of features differs.
        """
        warn_of_y(self, y, strata)
        X, rows = self._rows_of_batch(with_layer(X, layer), strata, design, exposure)
        return self._partial_fit(X, rows, W=W, H=H, V=V, sample_weight=sample_weight)

    def transform(
        self,
        X: Matrix,
        *,
        strata: Groups | None = None,
        design: SparseOrDense | None = None,
        exposure: Vector | str | None = None,
    ) -> Floats:
        """Return the exact non-negative weights of the rows of X for the shifts and components.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        strata : array-like (n_samples,), default=None
            Label of each row, one of `strata_` (see `unknown_strata`). None is allowed for a model with one stratum.
        design, exposure : default=None
            As in `fit`, for models that were fitted with them; `strata` is a frame where it was one.

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        return self._transform(*self._rows_given(X, strata, design, exposure))

    @first_was("W")
    def inverse_transform(
        self,
        X: SparseOrDense,
        *,
        strata: Groups | None = None,
        design: SparseOrDense | None = None,
        exposure: Vector | str | None = None,
    ) -> Floats:
        """Return the rows ``v + w H``, dense (n_samples, n_features), for weights X (n_samples, n_components).

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_components)
        strata, design, exposure : default=None
            As in `transform`.
        """
        return self._inverse_transform(*self._rows_given(X, strata, design, exposure))

    def score(
        self,
        X: Matrix,
        y: Any = None,
        *,
        strata: Groups | None = None,
        design: SparseOrDense | None = None,
        exposure: Vector | str | None = None,
        sample_weight: Vector | None = None,
    ) -> float:
        """Return the share of the squared norm of X that the model explains, at most 1; larger is better.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        y : ignored
            Present for compatibility with scikit-learn.
        strata, design, exposure : default=None
            As in `transform`.
        sample_weight : array-like (n_samples,), default=None
            Weight of each row's squared error and squared norm.

        Returns
        -------
        float
        """
        return self._score(*self._rows_given(X, strata, design, exposure), sample_weight)

    # ---------------------------------------------------------------- the fit

    def _rows_of_block(self, block):
        """Return X, and the labels of its rows or a `RowsOfDesign`, of a block."""
        given = block if isinstance(block, Mapping) else {"X": block}
        if isinstance(block, Readings):
            keep_source(self, block, has_rows=False)
            given = {"X": block.named()} | carried(block, **dict.fromkeys(ROWS_OF_BLOCKS[1:]))
        if isinstance(block, tuple):
            given = dict(zip(ROWS_OF_BLOCKS, block, strict=False))
        unknown = [name for name in given if name not in ROWS_OF_BLOCKS]
        if unknown or "X" not in given or isinstance(block, tuple) and len(block) != 2:
            has = f"has {len(block)} parts" if isinstance(block, tuple) else f"has the keys {shown(list(given))}"
            raise ValueError(
                f"A block {has}; expected X, a pair (X, strata), or a dict with X and some of "
                f"{', '.join(ROWS_OF_BLOCKS[1:])}."
            )
        X, rows = self._rows_given(*(given.get(name) for name in ROWS_OF_BLOCKS), is_fit=True)
        return X, replace(rows, is_batch=True) if isinstance(rows, RowsOfDesign) else rows

    def _start(self, data, rank, given, options, random_state):
        """Return the start as `BaseNMF` does; under a divergence, with shifts of a design that are not zero.

        Parameters
        ----------
        data, rank, given, options, random_state :
            As for `BaseNMF._start`.
        """
        W, H, v, V = super()._start(data, rank, given, options, random_state)
        if options.is_multiplicative and V is None and isinstance(data, HasDesign):
            v = data.positive_shifts(v)
        return W, H, v, V

    def _set_factors(self, data, fit, options):
        MiniBatchNMF._set_factors(self, data, fit, options)

    def _for_all_rows(self):
        names = ("beta_loss", "alpha_W", "alpha_H", "l1_ratio", "n_threads", "sparse_shifts", "unknown_strata")
        solver = "hals" if self._options().is_squared else "mu"
        return StratifiedNMF(solver=solver, **{name: getattr(self, name) for name in names})
