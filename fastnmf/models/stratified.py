"""Stratified-NMF: what groups of rows share, and what is peculiar to each."""

import numpy as np

from fastnmf import init as starts
from fastnmf.data import Strata
from fastnmf.models.base import NNDSVD, BaseNMF
from fastnmf.models.labels import LabelledFit
from fastnmf.models.options import check_bool, check_choice, check_integer, check_number, check_sweeps, generator
from fastnmf.models.problems import divergence_problem, squared_problem
from fastnmf.models.reading import UNKNOWN_STRATA, Reading
from fastnmf.models.streams import StratifiedPartialFit
from fastnmf.models.transfer import check_init
from fastnmf.solve import Extrapolation, allocate, as_arrays, solve, threads


class StratifiedNMF(LabelledFit, StratifiedPartialFit, Reading, BaseNMF):
    """Factorise a non-negative matrix whose rows come in groups: ``A(i) ~ 1 v(i)ᵀ + W(i) H``.

    The dictionary H is what all strata share, the shift v(i) what is peculiar to stratum i. Minimises
    ``sum_i ||A(i) - 1 v(i)ᵀ - W(i) H||²`` over v, W, H >= 0. Sparse data stay sparse.

    Parameters
    ----------
    n_components : int, default=10
        Rows of H.
    solver : {"hals", "mu"}, default="hals"
        ``"hals"``: exact coordinate descent with closed-form shifts. After the last sweep W is solved for exactly,
        once, and `transform` repeats that. ``"mu"``: the multiplicative updates of the paper (Algorithm 1);
        `fit_transform` returns the iterate itself, as the paper does, while `transform` solves for W exactly, so the
        two differ.
    init : {"features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default="features"
        ``"features"``: half the stratum means, and means of the 30 rows that are richest in 10 random features.
        ``"rows"``: means of 30 random rows instead. ``"random"``: uniform, scaled to the columns. ``"nndsvd"``,
        ``"nndsvda"``, ``"nndsvdar"``: from the singular vectors of the shifted data, with zeros, without, and with
        small random numbers instead (for ``"mu"``, which cannot leave a zero). ``"custom"``: the W, H and V that are
        passed to `fit`. A model, or `Start`: its components, and its shifts where labels are the same.
    beta_loss : {"frobenius", "kullback-leibler", "itakura-saito"} or float, default="frobenius"
        The divergence from ``1 v(i)ᵀ + W(i) H``. All but ``"frobenius"`` (2) need ``solver="mu"``;
        ``"kullback-leibler"`` (1), for counts, walks the non-zeros only.
    alpha_V, alpha_W, alpha_H, l1_ratio : float, default=0.0, 0.0, "same", 0.0
        Penalties on shifts, weights and components, scaled as in `NMF`: alpha_V and alpha_H by the number of rows,
        alpha_W by that of columns. Penalising V chooses small shifts, penalising W large ones.
    strata_weight : {"rows", "equal"}, default="rows"
        Whether a stratum counts by its rows, or all strata alike.
    missing_values : {None, "nan", "zeros"}, default=None
        Entries that are not known: NaN (dense X), or zero and unstored ones. They play no part.
    fixed_components, seed_features, guide_weight : default=None, None, 1.0
        Known components, and features that components are to be about; see `NMF`.
    label_weight : float, default=0.0
        Where it is positive, the weights W are also to tell the classes `y` of `fit`: ``label_weight ||X||²/||Y||²``
        times the squared error ``||Y - W Bᵀ||²`` of the rows whose class is known joins the objective, as in
        `SemiSupervisedNMF`; `predict` then returns classes. 0 ignores y.
    update_order : {"sequential", "simultaneous"}, default="sequential"
        Whether H sees the new W. ``"simultaneous"`` is the order of the published program; it is there to reproduce
        it, only for ``"mu"``, and may diverge.
    n_shift_updates : int, default=2
        Multiplicative updates of the shifts an iteration; ``"hals"`` has a closed form instead.
    extrapolate : bool, default=True
        Whether ``"hals"`` carries W and H on along their last steps, which takes about half the iterations. The
        objective may then rise now and again; with False it never does, at any step.
    sweeps : (int, int, int) or "thorough", default=(2, 1, 2)
        Of ``"hals"`` in one iteration: sweeps over W, alternations of v and H, sweeps over H in each of these;
        then v once more.
        ``"thorough"`` is (3, 3, 1): a dearer iteration that gains more.
    max_iter : int, default=200
    tol : float, default=1e-4
        Stop when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than `tol`
        times itself. 0 runs exactly `max_iter` iterations.
    n_init : int, default=1
        Starts that are tried; the one with the lowest objective is kept. Starts that do not depend on the seed
        (``"nndsvd"``, ``"nndsvda"``, ``"custom"``, a warm start that goes on) are tried once. `max_time` is the limit
        of all together; a callback that returns True stops them all.
    random_state : None, int, Generator or RandomState, default=None
        Seed of the start.
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.
    verbose : int, default=0
        1 shows progress on standard error.
    unknown_strata : {"error", "estimate", "mean"}, default="error"
        What `transform` and `score` do with a label that was not there in fit: refuse it, estimate its shift from its
        rows (see `estimate_shifts`), or take the mean shift.
    gauge : {None, "max_shift", "min_shift"}, default=None
        Which of the equivalent factors is returned (see Notes): as much as possible, or as little, in the shifts.
    normalize : {None, "l1", "l2", "max"}, default=None
        Norm that the rows of `components_` are given; the weights take the scale.
    warm_start : bool, default=False
        Go on from the factors of the fit before; strata are matched by label.
    max_time : float, default=None
        Seconds after which no other iteration begins.
    callback : callable, default=None
        ``callback(state)`` after every iteration, and for the start, with a `FitState` (``iteration``,
        ``normalized_loss``, ``seconds``, ``W``, ``H``, ``V``); returning True stops the fit.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        H, the shared components.
    shifts_ : ndarray (n_strata, n_features)
        v(i), one row a stratum, in the order of `strata_`.
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows, in the order in which they came.
    strata_ : ndarray (n_strata,)
        Labels in sorted order.
    stratum_sizes_ : ndarray (n_strata,)
        Rows of each stratum, or the sums of their weights.
    row_strata_ : ndarray (n_samples,) of int
        Stratum of each training row, as a position in `strata_`.
    n_components_, n_iter_, n_revived_ : int
        The last: how often a component had died and was given the row that the model missed most.
    classes_, coef_ : ndarray (n_classes,), (n_classes, n_components)
        Of fits with labels: the classes, and B.
    converged_ : bool
        Whether the fit ended by its own rule, and not short of it at `max_iter`.
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    run_objectives_ : ndarray (n_runs,)
        Objective at the end of the iterations from every start that was tried; all other attributes are those of the
        lowest.
    reconstruction_err_ : float
        Frobenius norm of the residual, or the square root of twice the divergence; of weighted rows if so.
    normalized_loss_ : float
        `reconstruction_err_` divided by the Frobenius norm of the data, or by that of a trivial model for other losses;
        0 for all-zero data.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (squared error or divergence, with penalties), ``seconds``;
        entry 0 is the start, the last that of the returned factors.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    The model has a free gauge: ``v(i) + Hᵀc`` with ``W(i) - 1cᵀ`` fits as well for any c that leaves both
    non-negative. Compare ``W H + 1vᵀ`` or the loss between fits, not raw factors.

    *Names*: A(i) rows of X with label i; v(i) ``shifts_[i]``; W(i) rows of ``W_``; H ``components_``; r
    ``n_components``; M ``n_shift_updates``.

    References
    ----------
    J. Chapman, Y. Yaniv, D. Needell, "Stratified-NMF for Heterogeneous Data", 2023, arXiv:2311.10789 (Algorithm 1).
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

    _has_shifts = True
    __metadata_request__fit = {"strata": True}
    __metadata_request__fit_transform = {"strata": True}
    __metadata_request__transform = {"strata": True}
    __metadata_request__inverse_transform = {"strata": True}
    __metadata_request__score = {"strata": True}

    def __init__(
        self,
        n_components=10,
        *,
        solver="hals",
        init="features",
        beta_loss="frobenius",
        alpha_V=0.0,
        alpha_W=0.0,
        alpha_H="same",
        l1_ratio=0.0,
        strata_weight="rows",
        missing_values=None,
        fixed_components=None,
        seed_features=None,
        guide_weight=1.0,
        label_weight=0.0,
        unknown_strata="error",
        gauge=None,
        normalize=None,
        update_order="sequential",
        n_shift_updates=2,
        extrapolate=True,
        sweeps=(2, 1, 2),
        max_iter=200,
        tol=1e-4,
        n_init=1,
        random_state=None,
        n_threads=None,
        verbose=0,
        warm_start=False,
        max_time=None,
        callback=None,
    ):
        self.n_components = n_components
        self.solver = solver
        self.init = init
        self.beta_loss = beta_loss
        self.alpha_V = alpha_V
        self.alpha_W = alpha_W
        self.alpha_H = alpha_H
        self.l1_ratio = l1_ratio
        self.strata_weight = strata_weight
        self.missing_values = missing_values
        self.fixed_components = fixed_components
        self.seed_features = seed_features
        self.guide_weight = guide_weight
        self.label_weight = label_weight
        self.unknown_strata = unknown_strata
        self.gauge = gauge
        self.normalize = normalize
        self.update_order = update_order
        self.n_shift_updates = n_shift_updates
        self.extrapolate = extrapolate
        self.sweeps = sweeps
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose
        self.warm_start = warm_start
        self.max_time = max_time
        self.callback = callback

    def fit(
        self,
        X,
        y=None,
        sample_weight=None,
        *,
        strata=None,
        W=None,
        H=None,
        V=None,
        weight=None,
        checkpoint=None,
        checkpoint_every=60.0,
    ):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite; rows of all strata, in any order. float32 stays float32. Or an AnnData.
        y : array-like (n_samples,), default=None
            With ``label_weight > 0`` the class of each row; -1, NaN or None where it is not known. Ignored otherwise.
        sample_weight : array-like (n_samples,), default=None
            How often each row counts: weight 2 is the same as having the row twice.
        strata : array-like (n_samples,), or str, default=None
            Label of each row: numbers, strings or categories; of an AnnData, the name of an obs column. None is a
            single stratum.
        W, H, V : ndarray (n_samples, k), (k, n_features), (n_strata, n_features), default=None
            Start for ``init="custom"``; V in the order of the sorted labels. Where a stratum does not use a column,
            its shift is zero from the first update on; ``"hals"`` takes it as zero at once.
        weight : sparse matrix or array (n_samples, n_features), default=None
            Weight of the squared error of each entry, >= 0; of a sparse one, what is not stored is zero.
        checkpoint : str or path, default=None
            File that the state of the fit is kept in while it runs. Where it holds a state of this fit, the fit goes on
            from there and ends with the same bits, `n_iter_` and history as without the interruption.
        checkpoint_every : float, default=60.0
            Seconds of work that are lost at most when the process is killed (or one iteration, if that takes longer).

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data, labels or starts that cannot be used: what was given, expected, and to be done.
            Also for a checkpoint that is damaged or belongs to another fit.
        OSError
            The checkpoint cannot be written.

        Notes
        -----
        A checkpoint belongs to one fit; what may change, and what becomes of the file, is said in `NMF.fit`.
        """
        labels = y if self.label_weight else None
        self._fit(X, strata, W, H, V, sample_weight, weight, (checkpoint, checkpoint_every), labels)
        return self

    def fit_transform(
        self,
        X,
        y=None,
        sample_weight=None,
        *,
        strata=None,
        W=None,
        H=None,
        V=None,
        weight=None,
        checkpoint=None,
        checkpoint_every=60.0,
    ):
        """Fit the model and return the weights of the rows of X, (n_samples, n_components); see `fit`."""
        labels = y if self.label_weight else None
        return self._fit(X, strata, W, H, V, sample_weight, weight, (checkpoint, checkpoint_every), labels)

    def transform(self, X, *, strata=None):
        """Return the exact non-negative weights of the rows of X for the fitted components and shifts.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative.
        strata : array-like (n_samples,), default=None
            Label of each row, among `strata_`; may be left out for a model of one stratum.

        Returns
        -------
        W : ndarray (n_samples, n_components)
            Minimiser of ``||a - v - w H||`` over w >= 0 for every row a of stratum v.

        Raises
        ------
        ValueError
            X negative or not finite, of another width, strata missing or with a label unseen in fit.
        """
        return self._transform(X, strata)

    def inverse_transform(self, W, *, strata=None):
        """Return the model's rows ``v + w H``, dense (n_samples, n_features).

        Parameters
        ----------
        W : array-like (n_samples, n_components)
        strata : array-like (n_samples,), default=None
            Label of each row, among `strata_`; may be left out for a model of one stratum.
        """
        return self._inverse_transform(W, strata)

    def score(self, X, y=None, *, strata=None, sample_weight=None):
        """Return the share of the squared norm of X that the model explains, at most 1; larger is better.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        y : ignored
        strata : array-like (n_samples,), default=None
        sample_weight : array-like (n_samples,), default=None
            Weight of each row's squared error and squared norm.

        Returns
        -------
        float
            ``1 - sum_i w_i ||a_i - v - w_i H||² / sum_i w_i ||a_i||²``; 1.0 for all-zero data.
        """
        return self._score(X, strata, sample_weight)

    def top_features(self, n=10, feature_names=None):
        """Return the features with the largest weights, descending, for every stratum and every component.

        Parameters
        ----------
        n : int, default=10
        feature_names : array-like (n_features,), default=None
            None takes `feature_names_in_`, or else the column numbers.

        Returns
        -------
        Bunch
            ``strata``: dict, label -> list of at most n names (features of weight zero are left out);
            ``components``: list of such lists.
        """
        return self._top_features(n, feature_names)

    def _check_parameters(self):
        check_integer("n_components", self.n_components)
        check_choice("solver", self.solver, ("hals", "mu"))
        check_init(self.init, (None, "features", "rows", "random", *NNDSVD, "custom"))
        super()._check_parameters()
        check_choice("update_order", self.update_order, ("sequential", "simultaneous"))
        check_integer("n_shift_updates", self.n_shift_updates)
        check_number("label_weight", self.label_weight)
        if self.label_weight and not self._is_squared:
            raise ValueError(
                "label_weight needs beta_loss='frobenius': the labels are compared by their squared error."
            )
        check_choice("strata_weight", self.strata_weight, ("rows", "equal"))
        check_choice("unknown_strata", self.unknown_strata, UNKNOWN_STRATA)
        check_choice("gauge", self.gauge, (None, "max_shift", "min_shift"))
        check_choice("normalize", self.normalize, (None, "l1", "l2", "max"))
        if (self.gauge or self.normalize) and (self.alpha_V or self.alpha_W or self.alpha_H not in ("same", 0)):
            raise ValueError(
                "gauge and normalize choose among factors that fit alike, and penalties (alpha_V, alpha_W, alpha_H) "
                "choose themselves; leave one of the two out."
            )
        if self.normalize and self.fixed_components is not None:
            raise ValueError(
                "normalize changes the scale of components, and fixed_components gives it; leave one of the two out."
            )
        if self.update_order == "simultaneous" and self.solver != "mu":
            raise ValueError("update_order='simultaneous' is the published program's order; it needs solver='mu'.")
        check_bool("extrapolate", self.extrapolate)
        if self.sweeps != "thorough":
            check_sweeps(self.sweeps, 3, (2, 1, 2))

    def _problem(self, data, factors, tasks):
        if not self._is_squared:
            return divergence_problem(data, factors, tasks, self._beta())
        schedule = hals_schedule(self.sweeps)
        if self.solver == "mu":
            schedule = mu_schedule(self.update_order, self.n_shift_updates)
        is_descent, guided = self.solver == "hals", self.seed_features is not None
        return squared_problem(data, factors, tasks, schedule, is_descent=is_descent, holds_products=guided)

    def _extrapolation(self, factors, tasks):
        return Extrapolation(tasks, factors) if self.solver == "hals" and self.extrapolate else None


def mu_schedule(update_order="sequential", n_shift_updates=2):
    """Return the order v, W, H of Algorithm 1, or v and then W together with H, as the published program."""
    pair = (("W", 1), ("H", 1))
    return (("V", n_shift_updates), pair) if update_order == "simultaneous" else (("V", n_shift_updates), *pair)


def hals_schedule(sweeps=(1, 1, 1)):
    """Return the order W, v, H, v for ``(W sweeps, alternations of v and H, H sweeps in each)``.

    W comes first: the default start has W = 0 and half the means as shifts. Moving v first would give it the whole
    means, and the W that follows little to explain. The last v needs no pass over the data, and without it the next W
    makes up for shifts that belong to the H before (housing after 100 extrapolated iterations: loss 0.0088, with it
    0.0029).
    """
    sweeps = (3, 3, 1) if sweeps == "thorough" else sweeps
    of_W, alternations, of_H = sweeps
    return (("W", of_W),) + (("V", 1), ("H", of_H)) * alternations + (("V", 1),)


def stratified_nmf(
    A, rank, iters, v_scaling=2, calculate_loss=True, *, update_order="simultaneous", random_state=None, solver="mu"
):
    """Run Stratified-NMF on a list of strata, as the published program; `loss_array` has one entry more than there.

    The published program logs the loss before each update, and so never that of what it returns; here entry k is the
    loss after k iterations, entry 0 that of the start and the last that of the returned factors.

    Parameters
    ----------
    A : list of sparse matrices or arrays (m_i, n)
        Any SciPy format, or dense.
    rank : int
    iters : int
    v_scaling : int, default=2
        Updates of the shifts an iteration.
    calculate_loss : bool, default=True
        False returns zeros for the losses, as there.
    update_order : {"simultaneous", "sequential"}, default="simultaneous"
        The published program moves W and H together from the old pair; the paper lets H see the new W.
    random_state : None, int, Generator or RandomState, default=None
        Seed of the start: V, then each W(i), then H, uniform on [0, 1), W and H divided by sqrt(rank).
    solver : {"mu", "hals"}, default="mu"

    Returns
    -------
    V : ndarray (len(A), n)
    W : list of ndarray (m_i, rank)
    H : ndarray (rank, n)
    loss_array : ndarray (iters + 1,)
        Square root of the squared error over the squared norm of the data.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import stratified_nmf
    >>> blocks = [np.array([[1.0, 0, 5], [2, 0, 5]]), np.array([[3.0, 1, 0], [6, 2, 0]])]
    >>> V, W, H, loss = stratified_nmf(blocks, 1, 50, random_state=0)
    >>> V.shape, [part.shape for part in W], H.shape, len(loss), bool(loss[-1] < 0.1)
    ((2, 3), [(2, 1), (2, 1)], (1, 3), 51, True)
    """
    check_integer("rank", rank)
    check_integer("iters", iters, least=0)
    check_integer("v_scaling", v_scaling)
    check_choice("solver", solver, ("mu", "hals"))
    check_choice("update_order", update_order, ("sequential", "simultaneous"))
    rng = generator(random_state)
    with threads(None):
        data = Strata.from_blocks(A)
        V = rng.random((data.n_strata, data.shape[1]))
        W = np.concatenate([rng.random((size, rank)) / rank**0.5 for size in data.groups.sizes])
        H = rng.random((rank, data.shape[1])) / rank**0.5
        W, H, V = starts.custom(data, rank, W, H, V)
        factors, tasks = allocate(data, W, H, data.pattern.entries(V))
        schedule = hals_schedule() if solver == "hals" else mu_schedule(update_order, v_scaling)
        problem = squared_problem(data, factors, tasks, schedule, is_descent=solver == "hals")
        start = problem.value(factors, V=V)
        fit = solve(problem, factors, max_iter=iters, tol=0, start_value=start)
    W = np.ldexp(factors["W"][:, :rank], -data.exponent)
    H = np.ldexp(factors["H"][:, :rank].T, -data.exponent)
    V = np.ldexp(data.pattern.dense(factors["V"]) if iters else V, -2 * data.exponent)
    loss = as_arrays(fit.history, data.sq_norm)["normalized_loss"] if calculate_loss else np.zeros(iters + 1)
    return V, np.split(W, np.cumsum(data.groups.sizes)[:-1]), np.ascontiguousarray(H), loss
