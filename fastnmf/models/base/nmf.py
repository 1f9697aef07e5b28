"""Base of the models ``X ~ W H``, also with shifts of strata: data, starts, constraints, inference of weights, scores.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_array

from fastnmf.core import init as starts
from fastnmf.core.alternate import balance, scale_start, search_scale
from fastnmf.core.effects import gauged
from fastnmf.core.factors import allocate, copy_rows, pad, scaled, scaled_for
from fastnmf.core.inference import even_weights, infer, infer_by_sweeps, infer_divergence
from fastnmf.core.init.start_from import labels_of_shifts, start_from_init, starts_among
from fastnmf.core.losses.masked import row_errors
from fastnmf.core.options import check_components, find_seeds, generator, guide_components, row_weights
from fastnmf.core.penalties import CustomPenalty, ElasticNet, penalties_of
from fastnmf.core.problem import full
from fastnmf.core.row_errors import expanded_errors, explained_share
from fastnmf.core.shifts import normalize_components
from fastnmf.core.small import alternating_solver
from fastnmf.core.updates import Majorised
from fastnmf.core.warn import first_was, warn, warn_of_one_penalty
from fastnmf.data import shifts as shift_arrays
from fastnmf.data.annotated import check_index, with_labels
from fastnmf.data.entry_weights import NOTHING_OBSERVED, observed
from fastnmf.data.labels import encode_labels, places
from fastnmf.data.matrix import as_numbers
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.models.base.classification import add_labels, set_label_attributes
from fastnmf.models.base.estimator import Estimator, check_brought, without_zeros
from fastnmf.models.base.for_checkers import ClassNamePrefixFeaturesOutMixin, TransformerMixin, like_fit
from fastnmf.models.base.row_names import keep_row_names
from fastnmf.models.base.top_features import TopFeaturesMixin
from fastnmf.typing import Floats, Matrix, SparseOrDense, Vector

NNDSVD = {"nndsvd": None, "nndsvda": "mean", "nndsvdar": "random"}  # replacement of their zeros
STARTS = (None, "features", "rows", "random", *NNDSVD, "custom")
ALIKE = 1024  # ratio up to which typical entries of W and H are alike


@keep_row_names
class BaseNMF(TopFeaturesMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator):
    """Base of the models ``X ~ W H``. A subclass defines its parameters, its documentation and `_problem`.

    Attributes
    ----------
    _reads_factors : bool
        Whether attributes are made of the factors after `_set_factors`.
    _weighs_divergences : bool
        Whether Kullback-Leibler takes weights of entries, too.
    _has_own_loss : bool
        Whether the loss is neither a squared error nor one divergence. The weights of new rows then begin at those of
        the squared error, and `_update_W` improves them.
    """

    components_: Floats
    W_: Floats
    n_components_: int
    n_revived_: int

    _constraints = {"init": starts_among(*STARTS)}
    _continued = {"H": "components_"}
    _has_own_loss = _reads_factors = _weighs_divergences = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        keep_row_names(cls)

    @property
    def _fitted_shapes(self):
        shapes = {"components_": "km"} | ({"shifts_": "Sm", "strata_": "S"} if self._has_shifts else {})
        of_labels = {"coef_": "ck", "intercept_": "c"}
        return shapes | {name: letters for name, letters in of_labels.items() if hasattr(self, name)}

    @property
    def _n_features_out(self):
        return self.components_.shape[0]

    def _check_options(self, options):
        if options.V.objects and not self._has_shifts:
            raise ValueError(f"penalties has the key 'V', but this {options.name} has no shifts V; leave it out.")
        if not options.is_multiplicative and not options.is_squared:
            raise ValueError(
                f"solver={options.solver!r} is for the squared error, but {options.loss_given} was given; "
                "use solver='mu'."
            )
        of_factors = [getattr(options, name) for name in "VWH"]
        normalize = getattr(self, "normalize", None)  # the user's: that of a `GraphNMF` is its own
        if (options.gauge or normalize) and any(each.alpha or each.objects for each in of_factors):
            raise ValueError(
                "gauge and normalize choose among factors that fit equally well, but penalties (alpha_V, alpha_W, "
                "alpha_H, penalties) already determine that choice; leave one of them out."
            )
        if normalize and options.H.fixed is not None:
            raise ValueError(
                "normalize changes the scale of components, but fixed_components sets it; leave one of them out."
            )

    # ---------------------------------------------------------------- public methods

    @like_fit
    def fit_transform(self, X: Matrix, y: Any = None, **given: Any) -> Floats:
        """Fit the model and return the weights of the rows of X, (n_samples, n_components); arguments as in `fit`."""
        return self.fit(X, y, **given).W_

    def transform(self, X: Matrix) -> Floats:
        """Return the non-negative weights of the rows of X for the fitted components.

        They minimise the loss of the model, row by row.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        return self._transform(X)

    @first_was("W")
    def inverse_transform(self, X: SparseOrDense) -> Floats:
        """Return ``X H``, dense (n_samples, n_features), for weights X (n_samples, n_components)."""
        return self._inverse_transform(X)

    def score(self, X: Matrix, y: Any = None, sample_weight: Vector | None = None) -> float:
        """Return 1 minus the loss of X divided by the loss of the trivial model, at most 1; larger is better.

        For the squared error this is the share of the squared norm of X that the model explains.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
        y : ignored
            Present for compatibility with scikit-learn.
        sample_weight : array-like (n_samples,), default=None
            Weight of each row's squared error and squared norm; for the squared error only.

        Returns
        -------
        float
        """
        return self._score(X, None, sample_weight)

    # ---------------------------------------------------------------- the data of a fit

    def _data(self, X, given, options):
        """Return the data of a fit, with the weights of entries or of rows.

        Raises
        ------
        ValueError
            Weights of rows and of entries are given together, or the loss does not allow weights of rows.
        """
        data = self._weighed(X, given, options)
        data.start_transpose()
        return data

    def _weighed(self, X, given, options, labels=None):
        """Return X as `Strata` with the weights of entries or of rows.

        Parameters
        ----------
        X : sparse matrix or ndarray (n_rows, n_columns)
        given : dict
            Arguments of `fit`.
        options : Options
        labels : ndarray (n_strata,), default=None
            As for `_observed`.

        Returns
        -------
        Strata

        Raises
        ------
        ValueError
            As `_data`.
        """
        data = self._observed(X, options, given.get("strata"), given.get("weight"), labels)
        if data.entry_weights is not None and data.entry_weights.is_empty:
            raise ValueError(NOTHING_OBSERVED)
        of_rows = row_weights(data, given.get("sample_weight"), options.strata_weight)
        if of_rows is not None:
            if data.entry_weights is not None:
                raise ValueError(
                    "Weights of rows (sample_weight, strata_weight) and of entries (weight, missing_values) were "
                    "given; combine them into one: weight=sample_weight[:, None] * mask."
                )
            if options.beta == 0:
                raise ValueError(
                    f"The loss {options.loss_given} (degree 0, as Itakura-Saito) does not depend on the scale of "
                    "a row, so rows cannot be weighted; leave the weights out."
                )
            if options.beta < 0 and not of_rows.all():
                raise ValueError(
                    f"A row has weight 0, but {options.loss_given} < 0 needs data without zeros; leave the row out."
                )
            data.weigh(of_rows, options.beta)
        return data

    def _observed(self, X, options, strata=None, weight=None, labels=None):
        """Return X as `Strata`, without its missing values and with the weights of its entries.

        Parameters
        ----------
        X : sparse matrix or ndarray (n_rows, n_columns)
        options : Options
        strata : array-like (n_rows,), default=None
            Label of each row.
        weight : array-like or sparse matrix (n_rows, n_columns), default=None
            Weights of entries; 0 marks an entry as missing.
        labels : ndarray (n_strata,), default=None
            Labels of the fitted strata; None takes those of `strata`.

        Returns
        -------
        Strata
        """
        weights = None
        if weight is not None or options.missing_values is not None:
            X, weights = observed(X, weight, options.missing_values, may_be_empty=True)
            takes, known = options.takes_weights(self._weighs_divergences, self._has_shifts)
            if weights is not None and not takes:
                raise ValueError(f"weight and missing_values need {known}, not {options.loss_given}; leave one out.")
        data = Strata.from_array(X, strata, labels=labels)
        data.entry_weights, data.sparse_shifts = weights, options.sparse_shifts
        return data

    # ---------------------------------------------------------------- the solver of a fit

    def _solver(self, data, given, options, random_state):
        start = self._start(data, self._rank(data, given, options), given, options, random_state)
        if options.init is None and not self._goes_on(options):
            start = self._improved_start(data, start, options, random_state)
        return self._alternate(data, start, given, options)

    def _alternate(self, data, start, given, options, level=None):
        """Return the solver of a fit.

        Parameters
        ----------
        data, start, given, options :
            As for `_start`, which returns `start`.
        level : Level, optional
            The coarse level that the start comes from.
        """
        W, H, v, V = start
        H, free_mask, guide = self._fix_components(data, options, H)
        factors, tasks = allocate(data, W, H, v)
        del start, W, H, v  # their memory
        problem = self._problem(data, factors, tasks, options)
        self._constrain(data, problem, factors, options, free_mask=free_mask, guide=guide)
        if given.get("y") is not None:
            is_fitted = self._goes_on(options) or start_from_init(options.init) is not None
            add_labels(data, problem, factors, given["y"], options, starts_from_fit=is_fitted)
        start_value = None if V is None else problem.value(factors, **({"V": V} if self._has_shifts else {}))
        return alternating_solver(problem, factors, self._extrapolation(factors, tasks, options), start_value, level)

    def _rank(self, data, given, options):
        """Return the number of components."""
        if options.n_components is None:
            return data.shape[1]
        if not isinstance(options.n_components, str):
            return options.n_components
        start = start_from_init(options.init)
        H = given.get("H") if start is None else start.components
        return len(H) if np.ndim(H) == 2 else data.shape[1]  # another H is refused later

    def _start(self, data, rank, given, options, random_state):
        """Return the start of a fit.

        Parameters
        ----------
        data : Strata
            The data of the fit (n_rows, n_columns).
        rank : int
            Number of components k.
        given : dict
            May hold the user's start W (n_rows, k), H (k, n_columns), V (n_strata, n_columns), in the user's scale.
        options : Options
        random_state : None, int, Generator or RandomState
            Seed of this start.

        Returns
        -------
        W : ndarray (n_rows, k)
        H : ndarray (n_columns, k)
        v : ndarray (q,), or None
            The entries of V on its pattern; None for models without shifts.
        V : ndarray or csr_array (n_strata, n_columns), or None
            The whole V of the user's start. All are in the inner scale.
        """
        init, brought = options.init, [name for name in "WHV" if given.get(name) is not None]
        if isinstance(init, str) and init == "custom":
            W, H, V = starts.custom(data, rank, *(given.get(name) for name in "WHV"), has_shifts=self._has_shifts)
            W = W if data.row_scale is None else W * data.row_scale[:, None]
            return W, H, data.pattern.entries(V) if self._has_shifts else None, V
        check_brought(brought, init, self._has_shifts)
        if self._goes_on(options):
            return self._warm_start(data, rank, options)
        if (start := start_from_init(init)) is not None:
            return self._start_from(data, rank, start, options)
        if options.is_multiplicative and init == "nndsvd":
            warn(
                "The multiplicative update ('mu') solver cannot update zeros present in the initialization, and "
                "init='nndsvd' is full of them; use 'nndsvda' or 'nndsvdar'.",
                UserWarning,
            )
        rng, more = generator(random_state), {"has_shifts": self._has_shifts}
        if init in (None, "auto", "features", "rows"):
            draw = starts.rows if init == "rows" else starts.features
            return *draw(data, rank, rng, needs_positive=options.is_multiplicative, **more), None
        if init == "random":
            return *starts.random(data, rank, rng, **more), None
        return *starts.nndsvd(data, rank, rng, fill=NNDSVD[init], **more), None

    def _start_from(self, data, rank, start, options):
        """Return W, H, the entries of V, and None, for a `Start`, in the data's inner scale.

        If the start has no W, W is the exact minimiser of the squared error, whatever the loss is.

        Parameters
        ----------
        data : Strata
        rank : int
        start : Start
        options : Options
        """
        start.check(data.shape, rank, getattr(self, "feature_names_in_", None))
        in_range = starts.in_range if start.W is None else np.asarray
        H, W, V = in_range(np.ldexp(start.components.T, data.log4_scale)), None, None
        if self._has_shifts:
            V = self._start_shifts_of(data, start.shifts, start.strata)
        if options.is_multiplicative:
            H = without_zeros(H)
        if start.W is not None:
            W = np.ldexp(start.W, data.log4_scale)
            W = W if data.row_scale is None else W * data.row_scale[:, None]
        else:
            of_rows = None if V is None else V.astype(data.dtype, copy=False)
            W = infer(data, rank, pad(H, data), of_rows)[0][:, :rank]
            W = without_zeros(W) if options.is_multiplicative else W
        return W, H, data.pattern.entries(V) if self._has_shifts else None, None

    def _warm_start(self, data, rank, options):
        """Return the factors of the previous fit as a start; W starts at zero if the number of rows has changed."""
        if self.components_.shape != (rank, data.shape[1]):
            raise ValueError(
                f"warm_start continues from components of shape {self.components_.shape}, but {(rank, data.shape[1])} "
                "is required; set warm_start=False, or keep n_components and the features."
            )
        H = np.ldexp(self.components_.T.astype(np.float64), data.log4_scale)
        W = np.zeros((data.shape[0], rank))
        if getattr(self, "W_", W[:0]).shape == W.shape:
            W = np.ldexp(self.W_.astype(np.float64), data.log4_scale)
            W = W if data.row_scale is None else W * data.row_scale[:, None]
        if options.is_multiplicative:
            W, H = without_zeros(W), without_zeros(H)
        if not self._has_shifts:
            return W, H, None, None
        shifts, labels = getattr(self, "shifts_", None), labels_of_shifts(self)  # none if there were no strata
        return W, H, data.pattern.entries(self._start_shifts_of(data, shifts, labels)), None

    def _start_shifts_of(self, data, shifts, labels):
        """Return the start of the shifts (n_strata, n_columns): given ones by label, else half the means."""
        V = data.pattern.as_read(0.5 * data.stratum_means().astype(np.float64))
        if shifts is None:
            return V
        found = places(data.labels, labels).tolist()
        shifts = shift_arrays.as_read(shifts)

        def inner(values):
            return np.ldexp(values.astype(np.float64), 2 * data.log4_scale)

        if not sp.issparse(V):
            for row, given in enumerate(found):
                if given >= 0:
                    V[row] = inner(shift_arrays.dense_row(shifts, given))
            return V
        place = [len(found) + given if given >= 0 else row for row, given in enumerate(found)]
        return shift_arrays.stacked(V, shift_arrays.mapped(sp.csr_array(shifts), inner))[place]

    def _fix_components(self, data, options, H):
        """Return H with its fixed entries, the mask of its free entries (None: all are) and the guide, or None."""
        free_mask = guide = None
        if options.H.fixed is not None:
            values, is_fixed = check_components(options.H.fixed, H.shape[1], data.shape[1])
            H = np.where(is_fixed.T, np.ldexp(values.T, data.log4_scale), H)
            free_mask = ~is_fixed
        if options.H.seeds:
            names = getattr(self, "feature_names_in_", None)
            seeds = find_seeds(options.H.seeds, H.shape[1], data.shape[1], names)
            guide = guide_components(H, seeds, options.H.guide_weight)
            H = guide[2] if free_mask is None else np.where(free_mask.T, guide[2], H)
        return H, free_mask, guide

    def _constrain(self, data, problem, factors, options, *, free_mask=None, guide=None):
        """Add the penalties, the guide and the fixed entries of H to a problem.

        Parameters
        ----------
        data : Strata
        problem : Problem
            Changed in place.
        factors : Factors
            The start; W is scaled in place where it is zero and both W and H are penalised.
        options : Options
        free_mask : ndarray (k, n_columns) of bool, default=None
            True where the entry of H is updated; None: everywhere.
        guide : (target, weight, H), default=None
            Result of `fastnmf.core.options.guide_components`: target (n_columns, k), weight (k,), H (n_columns, k).
        """
        names, more = "WHV" if self._has_shifts else "WH", {"scale": problem.scale, "rank": factors.rank}
        problem.penalties = penalties_of(data, options, names, guide=guide, **more)
        if free_mask is None:
            warn_of_one_penalty(options, problem.penalties, factors)
        has_nets = all(isinstance(problem.penalties.get(name, [None])[0], ElasticNet) for name in "WH")
        custom = {name for name in names if isinstance(problem.penalties.get(name, [None])[-1], CustomPenalty)}
        problem.balance_penalties = free_mask is None and guide is None and has_nets and not custom & {"W", "H"}
        if problem.balance_penalties and factors.is_zero("W"):
            scale_start(problem, factors, data)
        elif free_mask is None and guide is None and custom and {"W", "H"} <= problem.penalties.keys():
            search_scale(problem, factors, data)
        problem.updates |= {name: Majorised(problem.updates[name]) for name in custom}
        if problem.penalties or free_mask is not None:
            problem.reseed_dead_component = None
            problem.equalize_norms &= free_mask is None and not {"W", "H"} & problem.penalties.keys()
        if free_mask is not None:
            is_whole = (free_mask.all(axis=1) | ~free_mask.any(axis=1)).all()
            padded = np.zeros(factors["H"].shape, bool)
            padded[:, : len(free_mask)] = free_mask.T
            problem.free_mask = {"H": padded.any(axis=0) if is_whole else padded}

    # ---------------------------------------------------------------- the end of a fit

    def _arrays(self, data, solver):
        """Return W (n_rows, k), H (k, n_columns) and V (or None) in the scale of the user's data."""
        factors, half = solver.factors, -data.log4_scale
        rank = factors.rank
        H = np.empty((rank, data.shape[1]), data.dtype)
        copy_rows(factors["H"][:, :rank], H.T)
        W = self._unscaled_W(data, scaled(np.ascontiguousarray(factors.gathered("W")), half))
        V = None
        if self._has_shifts:
            V = factors.known("held V", ("V",))  # by the last exact W
            V = data.pattern.held(factors["V"]) if V is None else V
            V = shift_arrays.mapped(V, lambda v: scaled(v, 2 * half))
        return W, scaled(H, half), V

    def _unscaled_W(self, data, W):
        """Divide the rows of W by `row_scale`, if there are weights of rows; rows of weight zero become zero."""
        if data.row_scale is None:
            return W
        return np.divide(W, data.row_scale[:, None], out=np.zeros_like(W), where=data.row_scale[:, None] > 0)

    def _final_exact_W(self, data, fit, options):
        """Solve for W exactly after the last iteration, with the same computation as `transform`."""
        factors, problem = fit.factors, fit.problem
        if self._has_own_loss:
            self._final_own_W(data, fit, options)
            return
        if options.is_multiplicative or len(problem.losses) > 1 or not options.has_exact_W:
            return
        shifts = None
        if self._has_shifts:
            shifts = shift_arrays.as_read(factors.cached("held V", ("V",), lambda: data.pattern.held(factors["V"])))
        if options.gauge == "min_shift":  # a smaller shift leaves more of the data to W
            shifts = gauged(data, factors["W"], factors["H"].T, shifts, options.gauge)[1]
            factors.overwrite({"V": data.pattern.entries(shifts)})
        product, penalties = problem.losses[0].product("W", factors), problem.penalties.get("W", ())
        gram = factors.known(("gram", "H"), ("H",))
        found = infer(data, factors.rank, factors["H"], shifts, product, penalties, gram, fit.solver.guess)[0]
        factors.overwrite({"W": found})
        fit.history["objective"][-1] = problem.value(factors)
        fit.history["penalty"][-1] = problem.penalty

    def _final_own_W(self, data, fit, options):
        """Recompute W for the final H, as `transform` does; keep the old W if its objective is lower."""
        factors, problem = fit.factors, fit.problem
        found = self._infer_own_W(data, factors["H"][:, : factors.rank], options)
        kept, before = factors["W"].copy(), (problem.value(factors), problem.penalty)
        factors.overwrite({"W": found})
        after = problem.value(factors), problem.penalty
        if after[0] > before[0]:
            factors.overwrite({"W": kept})
            after = before
        fit.history["objective"][-1], fit.history["penalty"][-1] = after

    def _set_factors(self, data, fit, options):
        factors = fit.factors
        self.n_components_ = self._n_components = factors.rank
        self._final_exact_W(data, fit, options)
        label_losses = fit.problem.losses[1:]
        fit.problem.release()  # before the factors are copied, to lower the peak of memory
        factors.clear_cache(kept="held V")
        self.W_, self.components_, shifts = self._arrays(data, fit.solver)
        if options.normalize in ("l1", "l2", "max"):
            self.W_, self.components_ = normalize_components(self.W_, self.components_, options.normalize)
        if options.gauge and (options.gauge != "min_shift" or options.is_multiplicative):
            self.W_, shifts = gauged(data, self.W_, self.components_, shifts, options.gauge)
        if not options.normalize and self._has_free_scale(fit.problem, options):
            names = factors.arrays.keys() - {"W", "V"} if self._reads_factors or "B" in factors.arrays else ()
            balance(self.W_, self.components_, data.weight, [factors[name][:, : factors.rank] for name in names])
        if self._has_shifts:
            vars(self).update(self._attributes_of_strata(data), shifts_=shifts)
        self.n_revived_ = fit.solver.n_reseeded
        set_label_attributes(self, data, factors, label_losses, options)

    def _attributes_of_strata(self, data):
        return {"strata_": data.labels, "stratum_sizes_": data.groups.sizes, "row_strata_": data.stratum_index}

    def _has_free_scale(self, problem, options):
        """Tell whether W and H could exchange the scale of a component: nothing else than their product counts."""
        return not (problem.penalties.keys() & {"W", "H"} or problem.free_mask)

    # ---------------------------------------------------------------- new rows

    def _prepared(self, X, strata, options):
        """Return new data X as `Strata`, H (n_features, k) and V (or None), in the inner scale of X."""
        X, strata = with_labels(X, strata)
        X = self._validated(X, reset=False)
        self._check_strata_given(strata)
        data = self._observed(X, options, strata, labels=self.strata_ if self._has_shifts else None)
        return data, *self._fitted_factors(data)

    def _fitted_factors(self, data):
        """Return H (n_features, k) and V (or None) of the fitted attributes in the inner scale of `data`."""
        V = None
        if self._has_shifts:
            V = shift_arrays.mapped(
                shift_arrays.as_read(self.shifts_),
                lambda v: scaled_for(v, 2 * data.log4_scale, data.dtype).astype(data.dtype, copy=False),
            )
        return self._prepared_H(data), V

    def _check_strata_given(self, strata):
        if self._has_shifts and strata is None and len(self.strata_) > 1:
            raise ValueError(
                f"This model was fitted with {len(self.strata_)} strata; pass strata=, one label per row. In a "
                "Pipeline or a search, call sklearn.set_config(enable_metadata_routing=True) and pass it there."
            )

    def _prepared_H(self, data):
        return scaled_for(self.components_.T, data.log4_scale, data.dtype)

    def _infer_exact(self, data, H, V, options):
        """Return the exact W (n_samples, K) and its subproblem, in the inner scale; see `fastnmf.core.inference.infer`.

        Parameters
        ----------
        data, H, V :
            As `_prepared` returns them.
        options : Options
        """
        k = H.shape[1]
        penalties = penalties_of(data, options, "W", rank=k).get("W", ())
        if options.has_exact_W:
            return infer(data, k, pad(H, data), V, None, penalties)
        update = self._own_update("W", data, options)
        return infer_by_sweeps(data, k, pad(H, data), V, penalties, update, options.max_iter)

    def _infer_by_divergence(self, data, H, V, options):
        """Return W, and a function that returns its divergence and the scale of the normalized loss.

        Parameters
        ----------
        data, H, V :
            As `_prepared` returns them.
        options : Options
        """
        penalties = penalties_of(data, options, "W", rank=H.shape[1]).get("W", ())
        update = None if options.has_exact_W else Majorised(self._own_update("W", data, options))
        return infer_divergence(data, H, V, options.loss, penalties, options.max_iter, update)

    def _own_update(self, name, data, options):
        """Return the update of a factor that the user chose, or None."""

    def _infer_own_W(self, data, H, options):
        """Return W (n_rows, K) for H (n_columns, k), in the inner scale; each row depends on its row of data only."""
        W = infer(data, H.shape[1], pad(H, data), None)[0][:, : H.shape[1]]
        if options.is_multiplicative:  # it cannot leave a zero; W and H are alike unless the start gave H the unit of X
            trace, even = 1e-3 * (H.mean() or 1.0), 1e-3 * even_weights(data, H)
            W = W + np.where((even > trace / ALIKE) & (even < trace * ALIKE), trace, even) * (W == 0)
        factors, tasks = allocate(data, W, H, None)
        self._update_W(data, factors, tasks, options)
        return factors["W"]

    def _update_W(self, data, factors, tasks, options):
        """Improve W in place by the model's own loss; the exact W of the squared error needs no improvement.

        Parameters
        ----------
        data : Strata
        factors : Factors
            W and H in the inner scale.
        tasks : dict, factor name -> ndarray of int64
        options : Options
        """

    def _infer_W(self, data, H, V, options):
        """Return the weights of new rows, (n_samples, at least k), in the inner scale.

        Parameters
        ----------
        data, H, V :
            As `_prepared` returns them.
        options : Options
        """
        if self._has_own_loss:
            return self._infer_own_W(data, H, options)
        return (self._infer_exact if options.is_squared else self._infer_by_divergence)(data, H, V, options)[0]

    def _transform(self, X, strata=None):
        options = self._reading_options()
        with threads(options.n_threads):
            data, H, V = self._prepared(X, strata, options)
            W = self._infer_W(data, H, V, options)
        return scaled(np.ascontiguousarray(W[:, : len(self.components_)]), -data.log4_scale)

    def _inverse_transform(self, W, strata=None):
        self._check_fitted()
        check_index(W, strata=strata)
        W = check_array(
            W if sp.issparse(W) else as_numbers(W, "W"), accept_sparse="csr", dtype=[np.float64, np.float32]
        )
        if W.shape[1] != len(self.components_):
            raise ValueError(f"W has {W.shape[1]} columns; the model has {len(self.components_)} components.")
        if not self._has_shifts:
            return W @ self.components_
        if strata is None and len(self.strata_) > 1:
            raise ValueError(f"This model was fitted with {len(self.strata_)} strata; pass strata=, one label per row.")
        stratum_index, _ = encode_labels(strata, W.shape[0], self.strata_)
        return W @ self.components_ + shift_arrays.rows_of(self.shifts_, stratum_index)

    def _score(self, X, strata=None, sample_weight=None):
        options = self._reading_options()
        self._check_weights_of_score(sample_weight, options)
        check_index(X, sample_weight=sample_weight)
        with threads(options.n_threads):
            data, H, V = self._prepared(X, strata, options)
            if self._has_own_loss:
                return self._own_score(data, H, options)
            if not options.is_squared:
                value, scale = self._infer_by_divergence(data, H, V, options)[1]()
                return 1.0 if scale == 0 else float(1 - value / scale)
            errors, norms = self._errors_and_norms(data, H, V, options)
        return explained_share(errors, norms, sample_weight)

    def _check_weights_of_score(self, sample_weight, options):
        """Raise where `score` has no use for weights of rows."""
        if sample_weight is not None and self._has_own_loss:
            raise ValueError(f"score of a {options.name} takes no sample_weight: its loss is its own; leave it out.")
        if sample_weight is not None and not options.is_squared:
            raise ValueError(
                f"sample_weight in score needs the squared error, but {options.loss_given} is given; leave it out."
            )

    def _errors_and_norms(self, data, H, V, options):
        """Return the squared errors and the squared norms of new rows, float64 (n_rows,) each, in the inner scale.

        Parameters
        ----------
        data, H, V :
            As `_prepared` returns them.
        options : Options
        """
        W, sub = self._infer_exact(data, H, V, options)
        if sub is None:
            return row_errors(data, W, pad(H, data), V)
        W, neg = W.astype(np.float64), 0.0 if sub.neg is None else full(sub.neg).astype(np.float64)
        linear = np.einsum("ij,ij->i", W, sub.pos - neg)
        norms = data.row_square_sums(sp.csr_array((data.n_strata, data.shape[1])))
        errors = norms if V is None else data.row_square_sums(V)
        return expanded_errors(errors, W, sub.gram, linear), norms

    def _own_score(self, data, H, options):
        """Return 1 minus the model's own loss divided by that of the trivial model."""
        W = np.ascontiguousarray(self._infer_own_W(data, H, options)[:, : H.shape[1]])
        factors, tasks = allocate(data, W, H, None)
        problem = self._problem(data, factors, tasks, options)
        return 1.0 if problem.scale == 0 else float(1 - problem.value(factors) / problem.scale)
