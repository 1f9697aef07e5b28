"""Base of the NMF estimators: parameter checks, validation, the fit, inference of weights, scores.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import copy
import numbers

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from fastnmf.core import init as starts
from fastnmf.core.alternate import scale_start
from fastnmf.core.factors import allocate, copy_rows, pad
from fastnmf.core.inference import infer, infer_divergence
from fastnmf.core.init.start_from import start_from_init
from fastnmf.core.iterate import as_arrays, solve
from fastnmf.core.losses.divergences import EXPONENTS
from fastnmf.core.losses.masked import row_errors
from fastnmf.core.options import (
    check_bool,
    check_callback,
    check_choice,
    check_components,
    check_integer,
    check_number,
    elastic_nets,
    find_seeds,
    generator,
    guide_components,
    row_weights,
)
from fastnmf.core.penalties.guide import Guide
from fastnmf.core.problem import full
from fastnmf.core.restarts import Restarts
from fastnmf.core.row_errors import expanded_errors
from fastnmf.core.shifts import apply_gauge, normalize_components
from fastnmf.core.warn import warn
from fastnmf.data.annotated import is_annotated, unpack
from fastnmf.data.entry_weights import MISSING, observed
from fastnmf.data.labels import encode_labels
from fastnmf.data.matrix import check_kind
from fastnmf.data.strata import Strata
from fastnmf.io.checkpoints import checkpointing
from fastnmf.kernels.jit import threads
from fastnmf.models.base.callbacks import CallbackSupportMixin, fit_callbacks, with_callbacks
from fastnmf.models.base.fitted_state import check_fitted_arrays
from fastnmf.models.base.saving import SaveMixin
from fastnmf.models.base.top_features import TopFeaturesMixin
from fastnmf.models.base.warm_start import StartMixin

BETAS = {"frobenius": 2.0, "kullback-leibler": 1.0, "itakura-saito": 0.0}
NNDSVD = {"nndsvd": None, "nndsvda": "mean", "nndsvdar": "random"}  # replacement of their zeros


def scaled(F, exponent):
    """Return F times ``2 ** exponent``; F itself if the exponent is 0, the usual case: ldexp takes 5 ns per entry."""
    return F if exponent == 0 else np.ldexp(F, exponent)


class BaseNMF(
    TopFeaturesMixin,
    SaveMixin,
    StartMixin,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Base of NMF estimators. A subclass defines its parameters, its documentation and `_problem`."""

    _has_shifts = False

    @property
    def _fitted_shapes(self):
        return {"components_": "km"} | ({"shifts_": "Sm", "strata_": "S"} if self._has_shifts else {})

    def _check_fitted(self):
        check_is_fitted(self)
        check_fitted_arrays(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self):
        return self.components_.shape[0]

    def _check_parameters(self):
        check_integer("max_iter", self.max_iter)
        check_integer("n_init", getattr(self, "n_init", 1))
        check_number("tol", self.tol, "a number >= 0 (0 runs exactly max_iter iterations)")
        for name in ("alpha_W", "alpha_H", "alpha_V", "guide_weight"):
            if hasattr(self, name) and not (name == "alpha_H" and self.alpha_H == "same"):
                check_number(name, getattr(self, name))
        check_number("l1_ratio", self.l1_ratio, "a number from 0 (only L2) to 1 (only L1)", most=1)
        check_callback(self.max_time, self.callback, self.n_threads)
        check_bool("warm_start", self.warm_start)
        check_choice("missing_values", self.missing_values, MISSING)
        if isinstance(self.beta_loss, str) or not isinstance(self.beta_loss, numbers.Real):
            check_choice("beta_loss", self.beta_loss, tuple(BETAS))
        check_choice("exponent", getattr(self, "exponent", "mm"), EXPONENTS)
        if self.solver != "mu" and not self._is_squared:
            raise ValueError(
                f"solver={self.solver!r} needs a quadratic subproblem, and beta_loss={self.beta_loss!r} gives none; "
                "use solver='mu'."
            )
        if self.solver == "mu" and self.init == "nndsvd":
            warn(
                "The multiplicative update ('mu') solver cannot update zeros present in the initialization, and "
                "init='nndsvd' is full of them; use 'nndsvda' or 'nndsvdar'.",
                UserWarning,
            )

    @property
    def _is_squared(self):
        return self._beta() == 2

    def _beta(self):
        """Return the loss as the beta of a beta divergence."""
        return BETAS[self.beta_loss] if isinstance(self.beta_loss, str) else float(self.beta_loss)

    def _rank(self, n_columns, H):
        if not isinstance(self.n_components, str):
            return self.n_components
        start = start_from_init(self.init)
        H = H if start is None else start.components
        return n_columns if H is None else len(H)

    def _alphas(self):
        """Return the penalty strengths by factor; warn if rescaling a component could make the penalty vanish."""
        alphas = {"W": self.alpha_W, "H": self.alpha_W if self.alpha_H == "same" else self.alpha_H}
        if (alphas["W"] > 0) != (alphas["H"] > 0) and self.fixed_components is None:
            one, other = ("W", "H") if alphas["W"] > 0 else ("H", "W")
            warn(
                f"Only {one} is penalised: {other} can grow while {one} shrinks, and the penalty vanishes. Penalise "
                f"both (alpha_H='same').",
                UserWarning,
            )
        return alphas | ({"V": self.alpha_V} if self._has_shifts else {})

    def _validated(self, X, *, reset):
        """Check feature names, feature counts and tags; `Strata` checks finiteness, sign and layout."""
        check_kind(X)  # scikit-learn rejects these, too, but prints the whole matrix
        model = self
        if reset:
            self.__dict__.pop("_names", None)
        elif getattr(self, "_names", None) is not None and not hasattr(X, "columns"):
            model = copy.copy(self)  # drop the names: scikit-learn would expect them in X
            model.__dict__.pop("feature_names_in_", None)
        X = validate_data(
            model,
            X,
            reset=reset,
            accept_sparse=True,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
            ensure_min_samples=1,
        )
        if not reset and hasattr(self, "components_"):  # partial_fit has no components before its first batch
            check_fitted_arrays(self, X.shape[1])
        return X

    def _start(self, data, rank, W, H, V, random_state):
        """Return the start of a fit.

        Parameters
        ----------
        data : Strata
            The data of the fit (n_rows, n_columns).
        rank : int
            Number of components k.
        W, H, V : ndarray (n_rows, k), (k, n_columns), (n_strata, n_columns), or None
            The user's start, in the user's scale; used with ``init="custom"``.
        random_state : None, int, Generator or RandomState
            Seed of this start; None takes the estimator's `random_state`.

        Returns
        -------
        W : ndarray (n_rows, k)
        H : ndarray (n_columns, k)
        v : ndarray (q,), or None
            The entries of V on its pattern; None for models without shifts.
        V : ndarray (n_strata, n_columns), or None
            The dense V of the user's start. All are in the inner scale.
        """
        given = [name for name, array in (("W", W), ("H", H), ("V", V)) if array is not None]
        if self.init == "custom":
            W, H, V = starts.custom(data, rank, W, H, V, has_shifts=self._has_shifts)
            W = W if data.row_scale is None else W * data.row_scale[:, None]
            return W, H, data.pattern.entries(V) if self._has_shifts else None, V
        if given and not self._has_shifts:  # as in scikit-learn
            warn(
                "When init!='custom', provided W or H are ignored. Set init='custom' to use them as initialization.",
                RuntimeWarning,
            )
        elif given:
            raise ValueError(f"A start was given ({', '.join(given)}) with init={self.init!r}; use init='custom'.")
        if self.warm_start and hasattr(self, "components_"):
            return self._warm_start(data, rank)
        if (start := start_from_init(self.init)) is not None:
            return self._start_from(data, rank, start)
        rng, options = self._generator(random_state), {"has_shifts": self._has_shifts}
        needs_positive = self.solver == "mu"
        if self.init in (None, "features", "rows"):
            start = starts.rows if self.init == "rows" else starts.features
            return *start(data, rank, rng, needs_positive=needs_positive, **options), None
        if self.init == "random":
            return *starts.random(data, rank, rng, **options), None
        return *starts.nndsvd(data, rank, rng, fill=NNDSVD[self.init], **options), None

    def _generator(self, random_state=None):
        """Return the random generator of a fit; a checkpoint draws and stores the seed if the user gave none."""
        given = self.random_state if random_state is None else random_state
        return generator(self.__dict__.get("_seed", given))

    @with_callbacks
    def _fit(
        self, X, strata=None, W=None, H=None, V=None, sample_weight=None, weight=None, checkpoint=(None, 60.0), y=None
    ):
        """Fit, and return the weights of the rows of X.

        Parameters
        ----------
        X : sparse matrix, array or AnnData (n_samples, n_features)
        strata : array-like (n_samples,), or None
            Label of each row.
        W, H, V : ndarray (n_samples, k), (k, n_features), (n_strata, n_features), default=None
            Start for ``init="custom"``.
        sample_weight : array-like (n_samples,), default=None
            Weights of rows.
        weight : array-like or sparse matrix (n_samples, n_features), default=None
            Weights of entries.
        checkpoint : (path or None, float), default=(None, 60.0)
            File of the checkpoint, and seconds between two writes.
        y : array-like (n_samples,), default=None
            Class labels, for models that use them.

        Returns
        -------
        ndarray (n_samples, k)
        """
        self._check_parameters()
        names = X.var_names if is_annotated(X) else None
        X, strata = unpack(X, strata)
        X = self._validated(X, reset=True)
        self._names = names
        with (
            threads(self.n_threads),
            checkpointing(self, *checkpoint) as checkpointer,
            fit_callbacks(self, X) as callbacks,
        ):
            data = self._strata(X, strata, sample_weight, weight)
            data.start_transpose()
            if checkpointer is not None:
                checkpointer.open(data, (W, H, V), y)
            rank = self._rank(data.shape[1], H)
            runs = Restarts(self, callbacks)
            for random_state in runs:
                runs.keep(*self._run(data, rank, (W, H, V), y, callbacks, random_state, runs.max_time, checkpointer))
            self._finish(data, *runs.best)
            self.run_objectives_ = np.array(runs.objectives)
        if self.stopped_by_ == "max_iter" and not self.converged_:
            warn(
                f"The fit stopped at max_iter={self.max_iter} before the objective converged to tol={self.tol:g}; "
                "raise max_iter, or raise tol.",
                ConvergenceWarning,
            )
        return self.W_

    def _run(self, data, rank, start, y, callbacks, random_state, max_time, checkpointer):
        """Fit from one start, and return the problem and the `Fit`.

        Parameters
        ----------
        data : Strata
        rank : int
        start : (W, H, V)
            The user's start, or three times None.
        y : array-like (n_rows,), or None
            Class labels.
        callbacks : FitCallbacks
        random_state : None, int, Generator or RandomState
            Seed of the start.
        max_time : float, or None
            Seconds after which no further iteration begins.
        checkpointer : Checkpoint, or None

        Returns
        -------
        problem : Problem
        fit : Fit
        """
        W, H, v, V = self._start(data, rank, *start, random_state)
        H, free_mask, guide = self._fix_components(data, rank, H)
        factors, tasks = allocate(data, W, H, v)
        problem = self._problem(data, factors, tasks)
        self._constrain(data, problem, factors, free_mask, guide)
        if y is not None:
            self._supervise(data, problem, factors, y)
        del W, H, v, guide
        callbacks.arrays = lambda: self._arrays(data, factors)
        return problem, solve(
            problem,
            factors,
            max_iter=self.max_iter,
            tol=self.tol,
            callback=callbacks if callbacks.is_needed else None,
            start_value=None if V is None else problem.value(factors, **({"V": V} if self._has_shifts else {})),
            extrapolation=self._extrapolation(factors, tasks),
            max_time=max_time,
            checkpoint=checkpointer,
        )

    def _strata(self, X, strata, sample_weight, weight):
        """Return the data of a fit, with the weights of entries or of rows.

        Parameters
        ----------
        X : sparse matrix or ndarray (n_rows, n_columns)
            Validated by scikit-learn.
        strata : array-like (n_rows,), or None
            Label of each row.
        sample_weight : array-like (n_rows,), or None
            Weights of rows.
        weight : array-like or sparse matrix (n_rows, n_columns), or None
            Weights of entries.

        Returns
        -------
        Strata

        Raises
        ------
        ValueError
            Weights of rows and of entries are given together, or the loss does not allow weights of rows.
        """
        data = self._observed(X, strata, weight)
        of_rows = row_weights(data, sample_weight, getattr(self, "strata_weight", "rows"))
        if of_rows is None:
            return data
        if data.entry_weights is not None:
            raise ValueError(
                "Weights of rows (sample_weight, strata_weight) and of entries (weight, missing_values) were given; "
                "multiply them into one: weight=sample_weight[:, None] * mask."
            )
        if self._beta() == 0:
            raise ValueError(
                "Itakura-Saito (beta_loss=0) does not depend on the scale of a row, so rows cannot be weighted; leave "
                "the weights out."
            )
        if self._beta() < 0 and not of_rows.all():
            raise ValueError(
                f"A row has weight 0, and beta_loss={self.beta_loss!r} < 0 needs data without zeros; leave the row out."
            )
        data.weigh(of_rows, self._beta())
        return data

    def _observed(self, X, strata, weight=None, labels=None):
        """Return X as `Strata`, without its missing values and with the weights of its entries.

        Parameters
        ----------
        X : sparse matrix or ndarray (n_rows, n_columns)
        strata : array-like (n_rows,), or None
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
        if weight is not None or self.missing_values is not None:
            X, weights = observed(X, weight, self.missing_values)
            if weights is not None and not self._is_squared:
                raise ValueError(
                    f"weight and missing_values need beta_loss='frobenius'; it is {self.beta_loss!r}. Leave one out."
                )
        data = Strata.from_array(X, strata, labels=labels)
        data.entry_weights = weights
        return data

    def _fix_components(self, data, rank, H):
        """Return H with its fixed entries, the mask of its free entries (None: all are) and the guide, or None."""
        free_mask = guide = None
        if self.fixed_components is not None:
            values, is_fixed = check_components(self.fixed_components, rank, data.shape[1])
            H = np.where(is_fixed.T, np.ldexp(values.T, data.log4_scale), H)
            free_mask = ~is_fixed
        if self.seed_features:
            names = getattr(self, "feature_names_in_", self._names)
            seeds = find_seeds(self.seed_features, rank, data.shape[1], names)
            guide = guide_components(H, seeds, self.guide_weight)
            H = guide[2] if free_mask is None else np.where(free_mask.T, guide[2], H)
        return H, free_mask, guide

    def _constrain(self, data, problem, factors, free_mask, guide):
        """Add the penalties, the guide and the fixed entries of H to a problem.

        Parameters
        ----------
        data : Strata
        problem : Problem
            Changed in place.
        factors : Factors
            The start; W is scaled in place where it is zero and both W and H are penalised.
        free_mask : ndarray (k, n_columns) of bool, or None
            True where the entry of H is updated; None: everywhere.
        guide : (target, weight, H), or None
            Result of `fastnmf.core.options.guide_components`: target (n_columns, k), weight (k,), H (n_columns, k).
        """
        problem.penalties = elastic_nets(data, self._alphas(), self.l1_ratio, self._beta())
        problem.balance_penalties = free_mask is None and guide is None and {"W", "H"} <= problem.penalties.keys()
        if problem.balance_penalties and not factors["W"].any():
            scale_start(problem, factors, data)
        if problem.penalties or free_mask is not None or guide is not None:
            problem.equalize_norms, problem.reseed_dead_component = False, None
        if guide is not None:
            target, weight = pad(guide[0], data), np.zeros(pad(guide[0][:1], data).shape[1])
            weight[: len(guide[1])] = guide[1] * problem.scale
            problem.penalties.setdefault("H", []).append(Guide(target, weight, 2 if self._is_squared else 1))
        if free_mask is not None:
            whole = (free_mask.all(axis=1) | ~free_mask.any(axis=1)).all()
            padded = np.zeros(pad(np.zeros((1, len(free_mask))), data).shape[1], bool)
            if whole:
                padded[: len(free_mask)] = free_mask.any(axis=1)
                problem.free_mask = {"H": padded}
            else:
                entries = np.zeros((data.shape[1], len(padded)), bool)
                entries[:, : len(free_mask)] = free_mask.T
                problem.free_mask = {"H": entries}

    def _arrays(self, data, factors):
        """Return W (n_rows, k), H (k, n_columns) and V (or None) in the scale of the user's data."""
        half, rank = -data.log4_scale, factors.rank
        H = np.empty((rank, data.shape[1]), data.dtype)
        copy_rows(factors["H"][:, :rank], H.T)
        W = scaled(np.ascontiguousarray(factors["W"][:, :rank]), half)
        W = self._unscaled_W(data, W)
        V = scaled(data.pattern.dense(factors["V"]), 2 * half) if self._has_shifts else None
        return W, scaled(H, half), V

    def _unscaled_W(self, data, W):
        """Divide the rows of W by `row_scale`, if there are weights of rows; rows of weight zero become zero."""
        if data.row_scale is None:
            return W
        return np.divide(W, data.row_scale[:, None], out=np.zeros_like(W), where=data.row_scale[:, None] > 0)

    def _final_exact_W(self, data, problem, fit):
        """Solve for W exactly after the last iteration, with the same computation as `transform`."""
        factors = fit.factors
        if self.solver == "mu" or len(problem.losses) > 1:
            return
        shifts = data.pattern.dense(factors["V"]) if self._has_shifts else None
        if getattr(self, "gauge", None) == "min_shift":  # a smaller shift leaves more of the data to W
            shifts = apply_gauge(factors["W"], factors["H"].T, shifts, data.stratum_index, self.gauge)[1]
            factors["V"][:] = data.pattern.entries(shifts)
            factors.invalidate("V")
        product, penalties = problem.losses[0].product("W", factors), problem.penalties.get("W", ())
        factors["W"][:] = self._exact(data, factors.rank, factors["H"], shifts, product, penalties)[0]
        factors.invalidate("W")
        fit.history["objective"][-1] = problem.value(factors)
        fit.history["penalty"][-1] = problem.penalty

    def _finish(self, data, problem, fit):
        """Set the fitted attributes."""
        factors = fit.factors
        self.n_components_ = self._n_components = factors.rank
        self._final_exact_W(data, problem, fit)
        problem.release()  # before the factors are copied, to lower the peak of memory
        factors.clear_cache()
        self.W_, self.components_, shifts = self._arrays(data, factors)
        if getattr(self, "normalize", None):
            self.W_, self.components_ = normalize_components(self.W_, self.components_, self.normalize)
        if getattr(self, "gauge", None) and (self.gauge != "min_shift" or self.solver == "mu"):
            self.W_, shifts = apply_gauge(self.W_, self.components_, shifts, data.stratum_index, self.gauge)
        if self._has_shifts:
            self.shifts_, self.strata_, self.stratum_sizes_ = shifts, data.labels, data.groups.sizes
            self.row_strata_ = data.stratum_index
        self.n_iter_, self.converged_, self.stopped_by_ = fit.n_iter, fit.converged, fit.stopped_by
        self.n_revived_ = fit.history["revived"]
        self.history_ = as_arrays(fit.history, problem.scale)
        self.normalized_loss_ = float(self.history_["normalized_loss"][-1])
        loss = fit.history["objective"][-1] - fit.history["penalty"][-1]
        self.reconstruction_err_ = self._reconstruction_error(max(loss, 0.0), -2 * data.log4_scale)

    def _reconstruction_error(self, loss, exponent):
        """Return the reconstruction error for a loss of data that are ``2 ** -exponent`` times the user's."""
        if self._is_squared:
            return float(np.ldexp(np.sqrt(loss), exponent))
        beta = self._beta()  # a divergence scales with the beta-th power of the data
        return float(np.sqrt(2 * loss) * 2.0 ** (exponent * beta / 2))

    def _prepared(self, X, strata):
        """Return new data X as `Strata`, H (n_features, k) and V (or None), in the inner scale of X."""
        self._check_fitted()
        X, strata = unpack(X, strata)
        X = self._validated(X, reset=False)
        if self._has_shifts and strata is None and len(self.strata_) > 1:
            raise ValueError(
                f"This model was fitted with {len(self.strata_)} strata; pass strata=, one label a row. In a Pipeline "
                "or a search, switch on sklearn.set_config(enable_metadata_routing=True) and pass strata= there."
            )
        data = self._observed(X, strata, labels=self.strata_ if self._has_shifts else None)
        H, V = self._prepared_H(data), None
        if self._has_shifts:
            V = scaled(self.shifts_, 2 * data.log4_scale).astype(data.dtype, copy=False)
        return data, H, V

    def _infer_exact(self, X, strata):
        """Return X as `Strata`, its shifts V, its exact W (n_samples, K) and W's subproblem, in the inner scale."""
        data, H, V = self._prepared(X, strata)
        penalties = elastic_nets(data, {"W": self.alpha_W}, self.l1_ratio, 2).get("W", ())
        W, sub = self._exact(data, H.shape[1], pad(H, data), V, None, penalties)
        return data, V, W, sub

    def _exact(self, data, rank, H, V, product=None, penalties=()):
        """Return the exact weights for fixed H and V.

        Parameters
        ----------
        data : Strata
        rank : int
        H : ndarray (n_columns, K)
            Padded, in the inner scale.
        V : ndarray (n_strata, n_columns), or None
            Shifts, in the inner scale.
        product : ndarray (n_rows, K), default=None
            ``X H`` if it is known; with weights of entries ``(O * X) H``.
        penalties : sequence of Penalty, default=()
            Penalties of W.

        Returns
        -------
        W : ndarray (n_rows, K)
        sub : Subproblem, or None
            The subproblem of W; None with weights of entries, where each row has its own Gram matrix.
        """
        return infer(data, rank, H, V, product, penalties)

    def _infer_by_divergence(self, X, strata):
        """Return X as `Strata`, its W, its divergence and the scale of the normalized loss."""
        data, H, V = self._prepared(X, strata)
        penalties = elastic_nets(data, {"W": self.alpha_W}, self.l1_ratio, self._beta()).get("W", ())
        return data, *infer_divergence(data, H, V, self._beta(), penalties, self.max_iter)

    def _transform(self, X, strata=None):
        with threads(self.n_threads):
            data, *found = self._infer_exact(X, strata) if self._is_squared else self._infer_by_divergence(X, strata)
            W = found[1] if self._is_squared else found[0]
        return scaled(np.ascontiguousarray(W[:, : len(self.components_)]), -data.log4_scale)

    def _inverse_transform(self, W, strata=None):
        self._check_fitted()
        W = check_array(W, dtype=[np.float64, np.float32])
        if W.shape[1] != len(self.components_):
            raise ValueError(f"W has {W.shape[1]} columns; the model has {len(self.components_)} components.")
        if not self._has_shifts:
            return W @ self.components_
        if strata is None and len(self.strata_) > 1:
            raise ValueError(f"This model was fitted with {len(self.strata_)} strata; pass strata=, one label a row.")
        stratum_index, _ = encode_labels(strata, len(W), self.strata_)
        return W @ self.components_ + self.shifts_[stratum_index]

    def _score(self, X, strata=None, sample_weight=None):
        if not self._is_squared:
            if sample_weight is not None:
                raise ValueError("sample_weight needs beta_loss='frobenius' in score; leave it out.")
            with threads(self.n_threads):
                _, _, value, scale = self._infer_by_divergence(X, strata)
            return 1.0 if scale == 0 else float(1 - value / scale)
        with threads(self.n_threads):
            data, V, W, sub = self._infer_exact(X, strata)
            if sub is None:
                errors, norms = row_errors(data, W, pad(self._prepared_H(data), data), V)
                return explained_share(errors, norms, sample_weight)
            W, neg = W.astype(np.float64), 0.0 if sub.neg is None else full(sub.neg).astype(np.float64)
            linear = np.einsum("ij,ij->i", W, sub.pos - neg)
            norms = data.row_square_sums(np.zeros((data.n_strata, data.shape[1])))
            errors = norms if V is None else data.row_square_sums(V)
            errors = expanded_errors(errors, W, sub.gram, linear)
        return explained_share(errors, norms, sample_weight)

    def _prepared_H(self, data):
        return scaled(self.components_.T, data.log4_scale)


def explained_share(errors, norms, sample_weight):
    """Return 1 minus the weighted sum of the squared errors of the rows divided by that of their squared norms."""
    if sample_weight is not None:
        sample_weight = np.asarray(sample_weight, dtype=np.float64)
        if sample_weight.shape != errors.shape:
            raise ValueError(f"sample_weight has shape {sample_weight.shape}, expected {errors.shape}: one a row.")
        errors, norms = errors * sample_weight, norms * sample_weight
    total = norms.sum()
    return 1.0 if total == 0 else float(1 - np.maximum(errors, 0).sum() / total)
