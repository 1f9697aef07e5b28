"""Compose a model from a loss, penalties, updates and a schedule, some of which may be your own.

`Factorization` is the estimator. What it is composed of: `EntrywiseLoss` (a divergence of your own), objects with
``value(F)`` and ``half_gradient(F)`` (penalties; `ElasticNetPenalty`, `GroupPenalty`, `AngularPenalty` and
`HoyerPenalty` are such), objects with ``step(F, view)`` (updates).
`fastnmf.testing` checks them. `View` is what an update sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self, TypeAlias

from fastnmf.core.alternate import Extrapolation
from fastnmf.core.init.start_from import starts_among
from fastnmf.core.losses.choice import Divergence
from fastnmf.core.losses.custom import EntrywiseLoss
from fastnmf.core.objectives import divergence_problem, squared_problem
from fastnmf.core.options import check_beta_loss, check_bool, check_choice, shown
from fastnmf.core.penalties import AngularPenalty, ElasticNetPenalty, GroupPenalty, HoyerPenalty
from fastnmf.core.schedules import hals_schedule, mu_schedule
from fastnmf.core.updates import HALS, MU, ActiveSet, CustomUpdate
from fastnmf.core.updates.custom import View
from fastnmf.core.warn import first_was, warn_of_y
from fastnmf.models.base.callbacks import Callback
from fastnmf.models.base.for_checkers import BetaLoss, Init, WithStrata
from fastnmf.models.base.inspection import RowErrorsMixin
from fastnmf.models.base.nmf import STARTS, BaseNMF
from fastnmf.typing import Factor, File, Floats, Labels, Matrix, Penalties, Seed, SparseOrDense, Step, Vector

__all__ = [
    "AngularPenalty",
    "Divergence",
    "ElasticNetPenalty",
    "EntrywiseLoss",
    "Factorization",
    "GroupPenalty",
    "HoyerPenalty",
    "View",
]

UPDATES = ("hals", "mu", "exact")
Update: TypeAlias = Literal["hals", "mu", "exact"] | Step
Schedule: TypeAlias = Sequence[str | tuple[str, int]]


def check_updates(name, value):
    """Raise unless `value` is None, an update for W and H, or a dict factor -> update."""
    for each in value.values() if isinstance(value, dict) else (value,):
        if isinstance(each, type) or not (each is None or isinstance(each, str) or callable(getattr(each, "step", 0))):
            raise ValueError(
                f"{name}={shown(value)} is not valid; expected one of {', '.join(map(repr, UPDATES))}, an object with "
                "the method step(F, view), or a dict such as {'W': 'exact', 'H': 'hals'}."
            )
        if isinstance(each, str):
            check_choice(name, each, UPDATES)
    if isinstance(value, dict):
        for factor, each in value.items():
            check_choice(f"a key of {name}", factor, ("W", "H", "V"))
            if factor == "V" and not isinstance(each, str):
                raise ValueError(f"{name}['V']={shown(each)} is not valid; shifts have their closed form, or 'mu'.")


def check_schedule(name, value):
    """Raise unless `value` is None or a sequence of factors, each with or without a number of sweeps."""
    expected = "expected None, or factors with numbers of sweeps such as ('W', 'H') or (('W', 2), ('H', 1))"
    steps = [] if value is None else value
    if isinstance(steps, str) or not isinstance(steps, (tuple, list)):
        raise ValueError(f"{name}={shown(value)} is not valid; {expected}.")
    for step in steps:
        pair = (step, 1) if isinstance(step, str) else step
        is_pair = isinstance(pair, (tuple, list)) and len(pair) == 2 and pair[0] in ("W", "H", "V")
        if not is_pair or type(pair[1]) is not int or pair[1] < 1:
            raise ValueError(f"{name} has the step {shown(step)}; {expected}.")


class Factorization(RowErrorsMixin, BaseNMF, WithStrata):
    """Factorise a non-negative matrix by a composition: a loss and penalties, minimised by updates in a schedule.

    The model is ``X ~ W H`` or, with `strata`, ``A(i) ~ 1 v(i)ᵀ + W(i) H``, with W, H, v >= 0. The objective is the
    loss plus the sum of ``penalty.value(F)`` over all penalties. `NMF` and `StratifiedNMF` are compositions of this
    kind with the choices that serve best in general; this class leaves all choices to you.

    Parameters
    ----------
    n_components : int, default=10
        Number of components k, >= 1.
    loss : str, float, EntrywiseLoss or Divergence, default="frobenius"
        ``"frobenius"`` (the squared error ``||X - Y||²``), ``"kullback-leibler"``, ``"itakura-saito"``, the beta of a
        beta divergence, or a loss of your own: an object of a subclass of `EntrywiseLoss`.
    penalties : dict, default=None
        Factor ``"W"``, ``"H"`` or ``"V"`` -> list of penalties. A penalty is an object with ``value(F)``, a float, and
        ``half_gradient(F)``, half of its gradient, an array of the shape of F. F is W transposed
        (k, n_samples), H (k, n_features), or V (n_strata, n_features), float64, in the units of `W_`, `components_` and
        `shifts_`; do not change it. `ElasticNetPenalty` is such an object.
    updates : str, object or dict, default=None
        How W and H are updated, for both or as a dict factor -> update. ``"hals"``: coordinate descent. ``"exact"``:
        the minimiser, by active sets. ``"mu"``: multiplicative updates. An object with ``step(F, view)`` that returns
        the new F (k, p); `view` has ``gram``, ``right``, ``half_gradient(F)`` and ``value(F)`` of its problem, see
        Notes. None means ``"hals"`` for the squared error and ``"mu"`` for divergences.
    schedule : sequence, default=None
        One iteration: factors in their order, each with or without a number of sweeps, such as
        ``("W", ("H", 2))``. None means W, H; with strata W, V, H, V, or V twice, W, H for ``"mu"``.
    strata : bool, default=False
        Whether rows come in strata, with a shift for each; `fit` then takes their labels.
    extrapolate : bool, default=False
        Whether W and H are extrapolated along their last updates, which needs fewer iterations; the objective may then
        increase in some. For the squared error without ``"mu"`` and updates of your own.
    init : {None, "features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default=None
        The start, as in `NMF`.
    max_iter : int, default=200
        Maximum number of iterations, >= 1.
    tol : float, default=1e-4
        The fit stops when the next 100 iterations are expected to lower the objective by less than ``tol`` times its
        value, where a normalized loss below `tol` counts as `tol`. 0 runs exactly `max_iter` iterations.
    n_init : int, default=1
        Number of starts; the result with the lowest objective is kept.
    random_state : None, int, Generator or RandomState, default=None
        Source of the random numbers of the start.
    n_threads : int, default=None
        Threads of the kernels; None uses Numba's setting. The result has the same bits for any number.
    verbose : int, default=0
        1 shows progress on standard error.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.
    max_time : float, default=None
        Seconds after which no further iteration begins. None sets no limit.
    callback : callable, default=None
        ``callback(state)``, called for the start and after every iteration, as in `NMF`. Returning True stops the fit.
    sparse_shifts : bool, default=None
        Whether `shifts_` is a csr_array, as in `StratifiedNMF`. None: if it has more than 10⁸ entries. Penalties of
        your own on V see a dense array.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features) of the dtype of X
        H.
    W_ : ndarray (n_samples, n_components) of the dtype of X
        Weights of the training rows.
    shifts_ : ndarray or csr_array (n_strata, n_features) of the dtype of X
        V, with `strata` only; sparse or dense, see `sparse_shifts`.
    strata_ : ndarray (n_strata,)
        Labels of the strata, sorted; with `strata` only.
    stratum_sizes_, row_strata_ : ndarray (n_strata,), (n_samples,) of int
        Number of rows of each stratum, and the position in `strata_` of the label of each row; with `strata` only.
    n_components_ : int
        k.
    n_iter_ : int
        Number of iterations.
    n_revived_ : int
        How often a component that had become zero was replaced.
    converged_ : bool
        True if `tol` ended the fit, or with ``tol=0`` if all iterations were run.
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        ``||X - Y||``, or the square root of twice the divergence.
    normalized_loss_ : float
        Square root of the loss divided by that of a trivial model: of zero for the squared error; of a constant, or for
        Kullback-Leibler of the product of the margins.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (with the penalties) and ``seconds``; entry 0 is the start.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    *Penalties.* An update takes the tangent of your penalty plus a multiple of the squared step, and increases the
    multiple until this lies above the penalty (majorisation, as in Lange 2016, "MM Optimization Algorithms"). The
    objective is therefore monotone with ``"hals"``, ``"exact"`` and ``"mu"``, whatever the penalty is, as long as it is
    differentiable. A penalty of W that couples rows makes `transform` depend on the rows that are given together.

    *Updates.* For the squared error, `view` describes ``<F, gram F> - 2 <F, right>``: ``gram`` (k, k), ``right``
    (k, p), ``value(F)``, and ``half_gradient(F) = gram F - right``, in the units of the factors. With an attribute
    ``takes_divergences = True`` the object is used for divergences, too: ``gram`` is then None, and ``pos`` and ``neg``
    (k, p) are the parts of the gradient ``neg - pos`` at F.

    *Files.* `save` writes what is ours; objects of your own are left out, with a warning. Pass them to `fastnmf.load`.

    References
    ----------
    D. D. Lee, H. S. Seung, "Algorithms for non-negative matrix factorization", NIPS 2000 (``"mu"``).
    A. Cichocki, A.-H. Phan, "Fast local algorithms for large scale nonnegative matrix and tensor factorizations",
    IEICE Transactions 2009 (``"hals"``).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.compose import ElasticNetPenalty, Factorization
    >>> class Separation:  # 2 weight (sum of the inner products of different components)
    ...     def __init__(self, weight):
    ...         self.weight = weight
    ...     def value(self, F):
    ...         total = F.sum(axis=0)
    ...         return self.weight * (total @ total - (F * F).sum())
    ...     def half_gradient(self, F):
    ...         return self.weight * (F.sum(axis=0) - F)
    >>> X = np.random.default_rng(0).poisson(2.0, (30, 12)).astype(float)
    >>> penalties = {"W": [ElasticNetPenalty(l2=0.1)], "H": [Separation(0.5)]}
    >>> model = Factorization(3, penalties=penalties, random_state=0).fit(X)
    >>> bool((np.diff(model.history_["objective"]) <= 0).all())
    True
    """

    loss: BetaLoss
    penalties: Penalties | None
    updates: Update | Mapping[str, Update] | None
    schedule: Schedule | None
    strata: bool
    extrapolate: bool
    init: Init
    sparse_shifts: bool | None

    _constraints = {
        "loss": check_beta_loss,
        "updates": check_updates,
        "schedule": check_schedule,
        "strata": check_bool,
        "init": starts_among(*STARTS),
    }
    _loss_parameter = "loss"
    __metadata_request__fit = {"strata": True}
    __metadata_request__fit_transform = {"strata": True}
    __metadata_request__transform = {"strata": True}
    __metadata_request__inverse_transform = {"strata": True}
    __metadata_request__score = {"strata": True}

    def __init__(
        self,
        n_components: int = 10,
        *,
        loss: BetaLoss = "frobenius",
        penalties: Penalties | None = None,
        updates: Update | Mapping[str, Update] | None = None,
        schedule: Schedule | None = None,
        strata: bool = False,
        extrapolate: bool = False,
        init: Init = None,
        max_iter: int = 200,
        tol: float = 1e-4,
        n_init: int = 1,
        random_state: Seed = None,
        n_threads: int | None = None,
        verbose: int = 0,
        warm_start: bool = False,
        max_time: float | None = None,
        callback: Callback | None = None,
        sparse_shifts: bool | None = None,
    ):
        self._set(locals())

    def fit(
        self,
        X: Matrix,
        y: Any = None,
        *,
        strata: Labels | str | None = None,
        sample_weight: Vector | None = None,
        weight: Matrix | None = None,
        W: Factor = None,
        H: Factor = None,
        V: SparseOrDense | None = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features), AnnData, or what `fastnmf.read` returns
            Non-negative and finite. float32 is kept; integers and booleans become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        strata : array-like (n_samples,), or str, default=None
            Stratum label of each row, for ``strata=True``; None means a single stratum. A name is an obs column
            of an AnnData, or a column of a DataFrame, which is then not a feature.
        sample_weight : array-like (n_samples,), default=None
            Weight of each row in the loss, >= 0. Penalties of your own do not see it.
        weight : sparse matrix or array (n_samples, n_features), default=None
            Weight of the squared error of each entry, >= 0; 0 marks a missing entry.
        W, H, V : ndarray (n_samples, k), (k, n_features), (n_strata, n_features), default=None
            Start for ``init="custom"``, non-negative; V may be a sparse matrix.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; see `NMF.fit`.
        checkpoint : str or path, default=None
            File in which the state of the fit is saved while it runs, and from which a fit that was killed continues;
            see `NMF.fit`.
        checkpoint_every : float, default=60.0
            Seconds between two saves.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If parameters, data, labels or starts cannot be used, a loss, penalty or update of your own returns what
            cannot be used, or an update does not fit the loss. The message says what was given, what was expected and
            what to do.
        """
        check_bool("strata", self.strata)
        if strata is not None and not self.strata:
            raise ValueError(
                "Labels of strata were given, but the model has no strata; set strata=True, or leave them out."
            )
        if self.strata:
            warn_of_y(self, y, strata)
        given = {"sample_weight": sample_weight, "strata": strata, "W": W, "H": H, "V": V, "weight": weight}
        return self._fit(X, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every, **given)

    def transform(self, X: Matrix, *, strata: Labels | str | None = None) -> Floats:
        """Return the non-negative weights of the rows of X for the fitted components, and shifts.

        They are exact for the squared error and Kullback-Leibler without penalties and updates of your own for W.
        Otherwise they are the result of at most `max_iter` updates.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        strata : array-like (n_samples,), default=None
            Stratum label of each row, one of `strata_`; may be omitted for one stratum.

        Returns
        -------
        ndarray (n_samples, n_components) of the dtype of X
        """
        return self._transform(X, strata)

    @first_was("W")
    def inverse_transform(self, X: SparseOrDense, *, strata: Labels | None = None) -> Floats:
        """Return the rows of the model, dense (n_samples, n_features), for weights X (n_samples, n_components)."""
        return self._inverse_transform(X, strata)

    def score(
        self, X: Matrix, y: Any = None, *, strata: Labels | str | None = None, sample_weight: Vector | None = None
    ) -> float:
        """Return 1 minus the loss of X divided by the loss of the trivial model, at most 1; larger is better.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        y : ignored
            Present for compatibility with scikit-learn.
        strata : array-like (n_samples,), default=None
            Stratum label of each row; may be omitted for one stratum.
        sample_weight : array-like (n_samples,), default=None
            Weight of each row's squared error; for the squared error only.

        Returns
        -------
        float
        """
        return self._score(X, strata, sample_weight)

    # ---------------------------------------------------------------- how it is composed

    @property
    def _has_shifts(self):
        return bool(self.strata)

    def _with_new_strata(self, X, strata):
        """Return the model that knows the strata of X: the model itself, which estimates no new ones."""
        return self

    def _options(self):
        options = super()._options()
        updates = self.updates if isinstance(self.updates, dict) else dict.fromkeys("WH", self.updates)
        default = "hals" if options.is_squared else "mu"
        chosen = {name: updates.get(name) or default for name in "WHV" if name != "V" or "V" in updates}
        is_mu = not options.is_squared or "mu" in (chosen["W"], chosen["H"])
        factors = {name: replace(getattr(options, name), update=update) for name, update in chosen.items()}
        return replace(options, solver="mu" if is_mu else "hals", **factors)

    def _check_options(self, options):
        names = "WHV" if self.strata else "WH"
        steps = [step if isinstance(step, str) else step[0] for step in self.schedule or names]
        if set(steps) != set(names):
            raise ValueError(
                f"schedule={self.schedule!r} updates {', '.join(sorted(set(steps)))}; this model has the factors "
                f"{', '.join(names)}, and each needs a step."
            )
        if not self.strata and (options.V.objects or options.V.update):
            raise ValueError("penalties or updates have the key 'V', but the model has no shifts; set strata=True.")
        if self.extrapolate:
            if options.is_multiplicative or not all(isinstance(getattr(options, F).update, str) for F in "WH"):
                raise ValueError(
                    "extrapolate=True needs the squared error with the updates 'hals' or 'exact'; set it to False."
                )
            if steps[0] != "W" or "H" not in steps[1:] or "W" in steps[steps.index("H") :]:
                raise ValueError(
                    f"extrapolate=True needs a schedule with W first and H after it; schedule={self.schedule!r}."
                )

    def _start(self, data, rank, given, options, random_state):
        """Return the start of a fit, without zeros where an update could not leave them.

        Parameters
        ----------
        data, rank, given, options, random_state :
            As for `BaseNMF._start`.
        """
        first = self.schedule[0] if self.schedule else "W"
        if first[0] != "W" or not all(isinstance(getattr(options, name).update, str) for name in "WH"):
            options = replace(options, solver="mu")
        return super()._start(data, rank, given, options, random_state)

    def _problem(self, data, factors, tasks, options):
        schedule = (("W", 1), ("H", 1))
        if self.strata:
            schedule = mu_schedule() if options.is_multiplicative else hals_schedule()
        if self.schedule is not None:
            schedule = tuple((step, 1) if isinstance(step, str) else tuple(step) for step in self.schedule)
        if options.is_squared:
            problem = squared_problem(data, factors, tasks, schedule, is_descent=not options.is_multiplicative)
        else:
            problem = divergence_problem(data, factors, tasks, options.loss)
            problem.schedule = problem.schedule if self.schedule is None else schedule
        for name in factors.arrays:
            if (update := self._own_update(name, data, options)) is not None:
                problem.updates[name] = update
                problem.equalize_norms, problem.reseed_dead_component = False, None
        return problem

    def _own_update(self, name, data, options):
        chosen, is_masked = getattr(options, name).update, data.entry_weights is not None
        if chosen is None:
            return None
        if is_masked and (not isinstance(chosen, str) or chosen != options.solver):
            raise ValueError(
                f"weight was given, but the update {chosen!r} of {name} does not take weights of entries; use 'hals' "
                "or 'mu' for all factors."
            )
        if not isinstance(chosen, str):
            return CustomUpdate(chosen, data.log4_scale, options.beta)
        if chosen == options.solver:
            return None
        return {"hals": HALS(), "exact": ActiveSet() if name != "V" else HALS(), "mu": MU.plain(data.dtype)}[chosen]

    def _extrapolation(self, factors, tasks, options):
        return Extrapolation(tasks, factors) if self.extrapolate else None
