"""Stratified-NMF: what groups of rows share, and what is specific to each group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from fastnmf.core.alternate import acceleration
from fastnmf.core.objectives import divergence_problem, squared_problem
from fastnmf.core.options import check_count_loss, check_number, integer, one_of, sweeps_of
from fastnmf.core.schedules import hals_schedule, mu_schedule
from fastnmf.core.warn import warn_of_y
from fastnmf.models.base.chunked import ChunkedFitMixin
from fastnmf.models.base.classification import ClassPredictionMixin
from fastnmf.models.base.counts import CountsMixin
from fastnmf.models.base.designs import DesignMixin, check_smoothness
from fastnmf.models.base.for_checkers import Callback, CountLoss, Dispersion, Init, WithStrata
from fastnmf.models.base.inspection import UNKNOWN_STRATA, InspectionMixin
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.models.base.own import OwnComponentsMixin
from fastnmf.models.base.partial_fit import PartialFitMixin
from fastnmf.models.base.ratings import RatingsMixin
from fastnmf.models.base.strata_rows import StrataRowsMixin
from fastnmf.typing import (
    Array,
    Factor,
    File,
    Floats,
    Groups,
    Integers,
    Labels,
    Matrix,
    Penalties,
    Seed,
    SparseOrDense,
    Vector,
)


class StratifiedNMF(
    StrataRowsMixin,
    OwnComponentsMixin,
    DesignMixin,
    ClassPredictionMixin,
    CountsMixin,
    PartialFitMixin,
    ChunkedFitMixin,
    RatingsMixin,
    InspectionMixin,
    BaseNMF,
    WithStrata,
):
    """Factorise a non-negative matrix whose rows come in groups (strata): ``A(i) ~ 1 v(i)ᵀ + W(i) H``.

    All strata share the dictionary H; the shift v(i) is specific to stratum i. Minimises
    ``sum_i ||A(i) - 1 v(i)ᵀ - W(i) H||²`` over v, W, H >= 0. Sparse data stay sparse.
    ``StratifiedNMF(20).fit(X, strata=labels)`` sets the factors `shifts_`, `W_` and `components_`.

    Rows may have several shifts: ``X ~ Z V + W H`` with a design Z >= 0, which `fit` makes of the labels of several
    factors, or takes as it is; an `exposure` multiplies the shifts of a row. `predict_stratum`, `estimate_shifts`,
    `predict_entries`, `recommend` and `similar_features` refuse designs, and so do `missing_values`, `label_weight`,
    weights of entries, and ``strata_weight="equal"``.

    Parameters
    ----------
    n_components : int, default=10
        Number of components (rows of H), >= 1.
    solver : {"hals", "mu"}, default="hals"
        ``"hals"``: exact coordinate descent with closed-form shifts. After the last sweep W is computed exactly for the
        final H and shifts; `transform` repeats this computation. ``"mu"``: the multiplicative updates of the paper
        (Algorithm 1). With ``"mu"`` `fit_transform` returns the last iterate, as the paper does, while `transform`
        computes W exactly, so the two differ.
    init : str, model or Start, default="auto"
        The start. ``"auto"`` chooses by the size of the data, see `NMF`: ``"multilevel"`` for large sparse data; the
        better of two fits, from ``"features"`` and from ``"nndsvd"``, on small data with ``"hals"``; else
        ``"features"``. ``"multilevel"``: a short fit of a part of the rows of each stratum first. ``"features"``:
        shifts are half the stratum means; each component is the mean of the 30 rows with the largest sums over 10
        random features. ``"rows"``: means of 30 random rows instead. ``"random"``: uniform random numbers, scaled to
        the column means. ``"nndsvd"``: from the singular vectors of the data minus the shifts, with zeros.
        ``"nndsvda"`` and ``"nndsvdar"``: the same without zeros, and with small random numbers in place of zeros; use
        these two with ``"mu"``, which cannot change a zero. ``"custom"``: the W, H and V passed to `fit`. A fitted
        model or a `Start`: its components, and its shifts for labels that both have. None means ``"auto"``.
    beta_loss : {"frobenius", "kullback-leibler", "itakura-saito", "negative-binomial"} or float, default="frobenius"
        The beta divergence between A(i) and ``1 v(i)ᵀ + W(i) H``. All but ``"frobenius"`` (2) need ``solver="mu"``.
        ``"kullback-leibler"`` (1), for counts, visits the non-zero entries only. ``"negative-binomial"``, for counts
        that vary more than Poisson counts, visits all entries; see `NMF`.
    dispersion : {"feature", "global"}, float or array-like (n_features,), default="feature"
        Dispersion of ``beta_loss="negative-binomial"``, estimated or given; see `NMF`.
    exponent : {"mm", "fast"}, default="mm"
        Exponent of the multiplicative ratios, for `beta_loss` below 1 and above 2; see `NMF`.
    alpha_V, alpha_W, alpha_H, l1_ratio : float, default=0.0, 0.0, "same", 0.0
        Strengths of the penalties on shifts, weights and components, >= 0, and the share of L1 in them, from 0 to 1.
        They are scaled as in `NMF`: alpha_V and alpha_H by the number of rows, alpha_W by the number of columns; with
        missing values or weights of entries by what is known, alpha_V by the mean of all columns. A penalty on V
        favours small shifts, a penalty on W large ones.
    strata_weight : {"rows", "equal"}, default="rows"
        Whether each stratum counts in proportion to its number of rows, or all strata count equally.
    missing_values : {None, "nan", "zeros"}, default=None
        Which entries are unknown: NaN (dense X), or zero and unstored entries; masked entries are unknown, too. Unknown
        entries have no influence on the fit. For the squared error and Kullback-Leibler.
    fixed_components, seed_features, guide_weight : default=None, None, 1.0
        Known components, and features that components are pulled towards; see `NMF`.
    penalties : dict, default=None
        Penalties of your own: a dict factor -> list of objects with ``value(F)`` and ``half_gradient(F)``, half of its
        gradient; see `fastnmf.compose.Factorization`. Their values are added to the squared error, or to the
        divergence.
    label_weight : float, default=0.0
        If positive, the weights W also predict the classes `y` passed to `fit`: ``label_weight ||X||²/||Y||²`` times
        the squared error ``||Y - W Bᵀ||²`` of the rows with a known class is added to the objective, as in
        `SemiSupervisedNMF`. `predict` then returns classes, `score` the accuracy if y is given, and the model is a
        classifier to scikit-learn, without `partial_fit`. 0 ignores y.
    update_order : {"sequential", "simultaneous"}, default="sequential"
        Whether the update of H uses the new W. ``"simultaneous"`` is the order of the published program, in which it
        uses the old W. It exists to reproduce that program, works with ``"mu"`` only, and may diverge.
    n_shift_updates : int, default=2
        Number of multiplicative updates of the shifts in an iteration, >= 1. ``"hals"`` has a closed form instead.
    extrapolate : bool, default=True
        Whether ``"hals"`` extrapolates W and H along their last steps, which takes about half the iterations. The
        objective may then increase in single iterations; with False it is monotone in every step. ``"mu"`` is
        extrapolated for ``"kullback-leibler"`` only, and stays monotone; see `NMF`.
    sweeps : (int, int, int) or "thorough", default=(2, 1, 2)
        Work of ``"hals"`` in one iteration: sweeps over W, alternations of v and H, sweeps over H in each alternation.
        v is updated once more at the end, and with a design after H only. ``"thorough"`` is (3, 3, 1): an iteration
        that costs more and lowers the objective further. With missing values, sweeps count as in `NMF`.
    max_iter : int, default=2000
        Maximum number of iterations, >= 1.
    tol : float, default=1e-4
        Relative tolerance, >= 0. The fit stops when the next 100 iterations are expected to lower the objective by less
        than ``tol`` times its value, where a normalized loss below `tol` counts as `tol`. 0 runs exactly `max_iter`
        iterations.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. Starts that do not depend on the seed (``"nndsvd"``, ``"nndsvda"``, ``"custom"``, a
        continued warm start) are tried once; ``init="auto"`` may add one to small data. `max_time` limits the total
        time of all starts. A callback that returns True stops all of them.
    random_state : None, int, Generator or RandomState, default=None
        Source of the random numbers that the start uses.
    n_threads : int, default=None
        Number of threads of the kernels; None uses Numba's setting. The result has the same bits for any number of
        threads.
    verbose : int, default=0
        1 shows the progress on standard error; 0 shows nothing.
    unknown_strata : {"error", "estimate", "mean"}, default="error"
        How `transform` and `score` treat a label that did not occur in `fit`: raise an error, estimate its shift from
        its rows (see `estimate_shifts`), or use the mean shift.
    gauge : {None, "max_shift", "min_shift"}, default=None
        Which of the equivalent factorizations is returned (see Notes): those with the largest, or with the smallest
        shifts. Of a design ``"max_shift"`` fills one shift after the other, in the order of `shift_names_`.
    normalize : {None, "l1", "l2", "max"}, default=None
        Norm to which the rows of `components_` are scaled; the weights are scaled inversely. With None, and without
        penalties, a column of `W_` is half to twice as long as the row of `components_` that belongs to it.
    sparse_shifts : bool, default=None
        Whether `shifts_` is a csr_array, which stores entries only where a stratum uses the feature: for thousands of
        strata with few features each. None: if it has more than 10⁸ entries. Then neither the fit nor what reads the
        model forms a dense array of that size. ``gauge="max_shift"`` fills shifts with parts of the components, and
        penalties of your own on V see a dense array.
    n_own : int or dict, default=0
        Number of own components of each stratum: components G(i) that only its rows use, so that
        ``A(i) ~ 1 v(i)ᵀ + W(i) H + U(i) G(i)``. A dict gives it by label; strata that it does not name have none:
        ``n_own={"treated": 4}`` finds what the treated rows have beside all that the others have, too. With several
        factors, a dict that names one of them: ``{"site": 2}``, or ``{"site": {"a": 2}}`` by level. See Notes for what
        it goes with.
    own_penalty : float, default=None
        Weight λ >= 0 of ``sum_i ||U(i) G(i)||²`` in the objective, which keeps what strata share out of own components;
        it does not depend on the scale of U and G. Under Kullback-Leibler, of the sum of all entries of ``U(i) G(i)``,
        the counts that own components explain. None: 0.1, or 5 with ``own="tied"``; under Kullback-Leibler 0.05.
    own : {None, "tied"}, default=None
        ``"tied"``: own components are what a stratum adds to the shared ones, ``A(i) ~ 1 v(i)ᵀ + W(i) (H + D(i))`` with
        the penalty ``λ ||W(i) D(i)||²``. With ``shifts=False`` this is iNMF, the model of LIGER.
    shifts : {True, False, "common"}, default=True
        With own components: whether each stratum has a shift, none has, or all have the same one.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit; strata are matched by label.
    max_time : float, default=None
        Time limit in seconds: no further iteration begins after it. None sets no limit.
    callback : callable, default=None
        Called as ``callback(state)`` for the start and after every iteration, with a `FitState` (``iteration``,
        ``normalized_loss``, ``seconds``, ``W``, ``H``, ``V``). The fit stops when it returns True.
    smoothness : float, or dict of factor -> float, default=0.0
        For strata whose labels are ordered, such as years, 0 to 1e10: the squared difference between the shifts of each
        label and the next one, in sorted order, is added to the squared error this many times. A strength of 1 weighs
        it as much as the error of one row; with few rows for each label, 3 is a good first value. A dict names the
        factors of crossed strata: ``{"year": 3.0}``.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features) of the dtype of X
        H, the shared components.
    shifts_ : ndarray or csr_array (n_strata, n_features) of the dtype of X
        v(i), one row for each stratum, in the order of `strata_`, in units of X; sparse or dense, see `sparse_shifts`.
    W_ : ndarray (n_samples, n_components) of the dtype of X
        Weights of the training rows, in their original order.
    strata_ : ndarray (n_strata,), or list of ndarray
        Labels in sorted order; those of each factor for crossed strata; absent for a design of your own.
    stratum_sizes_ : ndarray (n_strata,)
        Number of rows of each stratum, or sum of their weights.
    row_strata_ : ndarray (n_samples,) of int32
        Stratum of each training row, as an index into `strata_`; only where each row has one label and no exposure.
    shift_names_ : ndarray (n_strata,) of str
        Names of the rows of `shifts_` after a fit with several factors, a design or an exposure: ``"intercept"`` and
        ``"year=1990"`` for factors, else the columns of the design, or the labels.
    dispersion_ : ndarray (n_features,) of float64
        As for `NMF`, for ``beta_loss="negative-binomial"`` only.
    n_components_, n_iter_ : int
        Number of components, and number of iterations.
    n_revived_ : int
        How often a component whose weights or entries had become zero was replaced by the positive part of the residual
        of the row that the model fits worst, an own one by that of a row of its stratum; by ``"hals"`` only.
    own_components_ : dict
        Label, or level of the factor, -> G(i) or D(i), (k_i, n_features), an array, or a csr_array as `shifts_`. Like
        `n_own_` only of fits with own components; `own_W_` only where these have weights of their own.
    own_W_ : csr_array (n_samples, sum of `n_own_`) of the dtype of X
        U: a row has entries in the columns of its stratum, which follow the order of `strata_`.
    n_own_ : ndarray (n_strata,) of int
        Number of own components of each stratum, or of each level of the factor that has them.
    classes_, coef_, intercept_, B_ : ndarray (n_classes,), (n_classes, n_components), (n_classes,), as `coef_`
        As for `SemiSupervisedNMF`; only for fits with class labels.
    converged_ : bool
        True if `tol` ended the fit, or if ``tol=0`` and all `max_iter` iterations were run; False if the fit was
        stopped earlier.
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    run_objectives_ : ndarray (n_runs,) of float64
        Objective after the last iteration from each start. All other attributes belong to the start with the lowest
        objective.
    reconstruction_err_ : float
        Frobenius norm of the residual, or the square root of twice the divergence; with row weights, of the weighted
        rows.
    normalized_loss_ : float
        `reconstruction_err_` divided by the Frobenius norm of the data, or, for other losses, by the same value of a
        trivial model; 0 for all-zero data.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (squared error or divergence, with penalties), ``passes`` over
        the data (a multilevel start counts by its share of the rows) and ``seconds`` (since the start of the fit).
        Entry 0 belongs to the start, the last entry to the returned factors. For a matrix on disk, also the ``bytes``
        that each iteration read.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    The model does not determine its factors: ``v(i) + Hᵀc`` with ``W(i) - 1cᵀ`` fits equally well for any c that leaves
    both non-negative (a gauge freedom). Compare ``W H + 1vᵀ`` or the loss between fits, not the factors themselves.
    With several factors, a number could also move between the intercept and all levels of a factor: the least level of
    each factor is zero in every feature, and the intercept holds the rest (with ``alpha_V``, the penalty decides).

    With own components a fit needs the squared error or Kullback-Leibler, without penalties (alpha_*, penalties,
    seed_features), weights of entries, missing values, class labels, `normalize` and ``update_order="simultaneous"``;
    `gauge` goes with ``own=None, shifts=True``. `sample_weight`, `strata_weight`, `fixed_components`, `n_init`,
    `warm_start` and checkpoints work, and so do matrices on disk. With several factors or an exposure, own components
    need all rows in memory, ``shifts=True`` and ``own=None`` (of several factors), without `gauge`, `smoothness`,
    `warm_start`, and ``solver="mu"`` for the squared error; `explain` refuses them, and so does ``design=``.
    `partial_fit`, `predict_entries`, `recommend`, `similar_features` and `estimate_dispersion` refuse own components.
    The start is a short fit of ``k + sum_i k_i`` components without strata, of which each stratum takes those that it
    uses most; where these are too many, own components start at the residual of a fit without them. The objective has
    more local minima than that of a fit without own components: prefer ``n_init`` of 3 or more where results matter.

    *Names*: A(i) rows of X with label i; v(i) ``shifts_[i]``; W(i) rows of ``W_``; H ``components_``; r
    ``n_components``; M ``n_shift_updates``.

    References
    ----------
    J. Chapman, Y. Yaniv, D. Needell, "Stratified-NMF for Heterogeneous Data", 2023, arXiv:2311.10789 (Algorithm 1).
    L. Zhang, S. Zhang, "Learning common and specific patterns from data of multiple interrelated biological scenarios
    with matrix factorization", Nucleic Acids Research 2019, doi:10.1093/nar/gkz488 (CSMF: own components).
    Z. Yang, G. Michailidis, "A non-negative matrix factorization method for detecting modules in heterogeneous omics
    multi-modal data", Bioinformatics 2016, doi:10.1093/bioinformatics/btv544 (iNMF: ``own="tied"``).
    A. Cichocki, A.-H. Phan, "Fast local algorithms for large scale nonnegative matrix and tensor factorizations",
    IEICE Trans. 2009, doi:10.1587/transfun.E92.A.708 (HALS).
    A. M. S. Ang, N. Gillis, "Accelerating nonnegative matrix factorization algorithms using extrapolation", Neural
    Computation 2019, doi:10.1162/neco_a_01157.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import StratifiedNMF
    >>> X = np.array([[1.0, 0, 5], [2, 0, 5], [3, 1, 0], [6, 2, 0]])
    >>> model = StratifiedNMF(1, gauge="max_shift", random_state=0).fit(X, strata=["a", "a", "b", "b"])
    >>> model.shifts_.round(1)  # what both rows of a stratum have
    array([[1.1, 0. , 5. ],
           [3. , 1.1, 0. ]])
    """

    solver: Literal["hals", "mu"]
    init: Init
    beta_loss: CountLoss
    dispersion: Dispersion
    exponent: Literal["mm", "fast"]
    alpha_V: float
    alpha_W: float
    alpha_H: float | Literal["same"]
    l1_ratio: float
    strata_weight: Literal["rows", "equal"]
    missing_values: Literal["nan", "zeros"] | None
    fixed_components: Matrix | None
    seed_features: Mapping[int, Sequence[Any]] | Sequence[Any] | None
    guide_weight: float
    penalties: Penalties | None
    unknown_strata: Literal["error", "estimate", "mean"]
    gauge: Literal["max_shift", "min_shift"] | None
    normalize: Literal["l1", "l2", "max"] | None
    update_order: Literal["sequential", "simultaneous"]
    n_shift_updates: int
    extrapolate: bool
    sweeps: tuple[int, int, int] | list[int] | Literal["thorough"]
    sparse_shifts: bool | None
    smoothness: float | Mapping[str, float]
    n_own: int | Mapping[Any, int]
    own_penalty: float | None
    own: Literal["tied"] | None
    shifts: bool | Literal["common"]
    n_own_: Integers
    own_W_: Any  # a csr_array

    shift_names_: Array

    _constraints = {
        "solver": one_of("hals", "mu"),
        "beta_loss": check_count_loss,
        "sweeps": sweeps_of(3, (2, 1, 2)),
        "update_order": one_of("sequential", "simultaneous"),
        "n_shift_updates": integer(),
        "unknown_strata": one_of(*UNKNOWN_STRATA),
        "smoothness": check_smoothness,
    }
    _has_shifts = True
    _private_state = (*DesignMixin._private_state, "_own_stack")
    __metadata_request__fit = {"strata": True, "design": True, "exposure": True}
    __metadata_request__fit_transform = {"strata": True, "design": True, "exposure": True}
    __metadata_request__partial_fit = {"strata": True, "design": True, "exposure": True}
    __metadata_request__transform = {"strata": True, "design": True, "exposure": True}
    __metadata_request__inverse_transform = {"strata": True, "design": True, "exposure": True}
    __metadata_request__score = {"strata": True, "design": True, "exposure": True}

    def __init__(
        self,
        n_components: int = 10,
        *,
        solver: Literal["hals", "mu"] = "hals",
        init: Init = "auto",
        beta_loss: CountLoss = "frobenius",
        dispersion: Dispersion = "feature",
        exponent: Literal["mm", "fast"] = "mm",
        alpha_V: float = 0.0,
        alpha_W: float = 0.0,
        alpha_H: float | Literal["same"] = "same",
        l1_ratio: float = 0.0,
        strata_weight: Literal["rows", "equal"] = "rows",
        missing_values: Literal["nan", "zeros"] | None = None,
        fixed_components: Matrix | None = None,
        seed_features: Mapping[int, Sequence[Any]] | Sequence[Any] | None = None,
        guide_weight: float = 1.0,
        penalties: Penalties | None = None,
        label_weight: float = 0.0,
        unknown_strata: Literal["error", "estimate", "mean"] = "error",
        gauge: Literal["max_shift", "min_shift"] | None = None,
        normalize: Literal["l1", "l2", "max"] | None = None,
        update_order: Literal["sequential", "simultaneous"] = "sequential",
        n_shift_updates: int = 2,
        extrapolate: bool = True,
        sweeps: tuple[int, int, int] | list[int] | Literal["thorough"] = (2, 1, 2),
        max_iter: int = 2000,
        tol: float = 1e-4,
        n_init: int = 1,
        random_state: Seed = None,
        n_threads: int | None = None,
        verbose: int = 0,
        warm_start: bool = False,
        max_time: float | None = None,
        callback: Callback | None = None,
        sparse_shifts: bool | None = None,
        smoothness: float | Mapping[str, float] = 0.0,
        n_own: int | Mapping[Any, int] = 0,
        own_penalty: float | None = None,
        own: Literal["tied"] | None = None,
        shifts: bool | Literal["common"] = True,
    ):
        self._set(locals())

    def fit(
        self,
        X: Matrix,
        y: Labels | None = None,
        sample_weight: Vector | None = None,
        *,
        strata: Groups | None = None,
        design: SparseOrDense | None = None,
        exposure: Vector | str | None = None,
        W: Factor = None,
        H: Factor = None,
        V: SparseOrDense | None = None,
        weight: Matrix | None = None,
        background: float | None = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features), AnnData, or what `fastnmf.read` returns
            Non-negative and finite; the rows of all strata, in any order. float32 is kept; integers and booleans become
            float64.
        y : array-like (n_samples,), default=None
            With ``label_weight > 0``, the class of each row: whole numbers or strings; -1, NaN or None if it is
            unknown. Ignored otherwise.
        sample_weight : array-like (n_samples,), default=None
            Weight of each row, >= 0: weight 2 is the same as repeating the row.
        strata : array-like (n_samples,), str, or a frame or dict of several columns, default=None
            Stratum label of each row, of one kind: numbers, strings or categories. A name is an obs column of an
            AnnData, or a column of a DataFrame, which is then not a feature. None means a single stratum. A frame
            (n_samples, f), a dict of labels, or a list of names crosses several factors, such as year and region:
            each row then has an intercept and one shift for its level of each factor. Where X is what `fastnmf.read`
            returned, None stands for its own labels, here and in all methods; likewise for its exposure.
        design : sparse matrix, array or DataFrame (n_samples, q), default=None
            In place of `strata`: weights >= 0 of q shifts in each row, Z in ``X ~ Z V + W H``. A variable x from 0 to 1
            takes the two columns x and 1 - x.
        exposure : array-like (n_samples,), or str, default=None
            Size of each row, >= 0, such as its sequencing depth: multiplies the shifts of the row. A row with 0 has no
            shift. A name is a column, as for `strata`.
        W, H, V : ndarray (n_samples, k), (k, n_features), (n_strata, n_features), default=None
            Start for ``init="custom"``, non-negative; the rows of V are in the order of the sorted labels (of
            `shift_names_` for a design), and V may be a sparse matrix. If all rows of a stratum are zero in a column,
            its shift there is zero after the first update; ``"hals"`` sets it to zero before the first iteration.
        weight : sparse matrix or array (n_samples, n_features), default=None
            Weight of the error of each entry, >= 0, for the squared error and Kullback-Leibler. Entries that a sparse
            `weight` does not store have weight zero, or `background`.
        background : float, default=None
            Weight > 0 of all entries that a sparse `weight` does not store, as for implicit feedback; no array of
            the size of X is formed.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; see `NMF.fit`.
        checkpoint : str or path, default=None
            File in which the state of the fit is saved while it runs. If the file already holds a state of this fit,
            the fit continues from that state. It then ends with the same bits, `n_iter_` and history as without the
            interruption.
        checkpoint_every : float, default=60.0
            Interval between two saves in seconds: the most work that can be lost if the process is killed (or one
            iteration, if an iteration takes longer).

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If parameters, data, labels or starts cannot be used. The message says what was given, what was expected and
            what to do. Also if a checkpoint is damaged or belongs to another fit.
        OSError
            If the checkpoint cannot be written.

        Notes
        -----
        A checkpoint belongs to one fit. `NMF.fit` says which parameters may change, and what happens to the file after
        the fit.
        """
        check_number("label_weight", self.label_weight)
        if not self.label_weight:
            warn_of_y(self, y, strata)
        X, strata = self._rows_given(X, strata, design, exposure, is_fit=True)
        given = {"y": y if self.label_weight else None, "sample_weight": sample_weight, "strata": strata}
        given |= {"W": W, "H": H, "V": V, "weight": weight, "background": background}
        return self._fit(X, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every, **given)

    def fit_transform(
        self,
        X: Matrix,
        y: Labels | None = None,
        sample_weight: Vector | None = None,
        *,
        strata: Groups | None = None,
        design: SparseOrDense | None = None,
        exposure: Vector | str | None = None,
        W: Factor = None,
        H: Factor = None,
        V: SparseOrDense | None = None,
        weight: Matrix | None = None,
        background: float | None = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Floats:
        """Fit the model and return the weights of the rows of X, computed without their class labels.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features), AnnData, or what `fastnmf.read` returns
            Non-negative and finite.
        y, sample_weight, strata, design, exposure, W, H, V, weight, background, layer, checkpoint, checkpoint_every :
            As for `fit`.

        Returns
        -------
        W : ndarray (n_samples, n_components) of the dtype of X
            Non-negative weights of the rows: `W_`, or the result of `transform` for X if class labels, which new rows
            lack, are given without `weight`.
        """
        given = {"sample_weight": sample_weight, "strata": strata, "W": W, "H": H, "V": V, "weight": weight}
        given |= {"design": design, "exposure": exposure, "background": background}
        self.fit(X, y, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every, **given)
        has_seen_labels = self.label_weight and y is not None
        return self.transform(X, strata=strata) if has_seen_labels and weight is None else self.W_

    def transform(
        self,
        X: Matrix,
        *,
        strata: Groups | None = None,
        design: SparseOrDense | None = None,
        exposure: Vector | str | None = None,
    ) -> Floats:
        """Return the exact non-negative weights of the rows of X for the fitted components and shifts.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite.
        strata : array-like (n_samples,), default=None
            Stratum label of each row, one of `strata_` (see `unknown_strata`). May be omitted for a model with one
            stratum.
        design, exposure : default=None
            As in `fit`, for models that were fitted with them; `strata` is a frame where it was one. With
            ``unknown_strata="mean"`` an unseen level of one factor gets the mean level of this factor, weighted by the
            rows of the fit; the other factors keep theirs.

        Returns
        -------
        W : ndarray (n_samples, n_components) of the dtype of X
            Minimiser of ``||a - v - w H||`` over w >= 0 for every row a, where v is the shift of its stratum.

        Raises
        ------
        ValueError
            If X is negative, not finite or has a different number of columns, or if strata are missing or contain a
            label that did not occur in `fit`.
        """
        return self._transform(*self._rows_given(X, strata, design, exposure))

    def _check_options(self, options):
        super()._check_options(options)
        if options.label_weight and not options.is_squared:
            raise ValueError(
                "label_weight needs beta_loss='frobenius': the labels are compared by their squared error."
            )
        if self.update_order == "simultaneous" and options.solver != "mu":
            raise ValueError("update_order='simultaneous' is the published program's order; it needs solver='mu'.")

    def _problem(self, data, factors, tasks, options):
        if not options.is_squared:
            return divergence_problem(data, factors, tasks, options.loss, options.exponent)
        schedule = hals_schedule(self.sweeps, is_design=getattr(data, "entries_meet", False))
        if options.is_multiplicative:
            schedule = mu_schedule(self.update_order, self.n_shift_updates)
        if not self._has_shifts:
            schedule = tuple(step for step in schedule if step[0] != "V")
        is_descent, is_guided = options.solver == "hals", options.H.seeds is not None
        return squared_problem(data, factors, tasks, schedule, is_descent=is_descent, holds_products=is_guided)

    def _extrapolation(self, factors, tasks, options):
        return acceleration(tasks, factors, options) if self.extrapolate else None
