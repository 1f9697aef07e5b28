"""What all estimators share: parameters, validation, inference of weights, scores, looking at the result."""

import copy
import numbers

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from fastnmf import init as starts
from fastnmf.data import Strata, encode_labels
from fastnmf.matrix import check_kind
from fastnmf.models.callbacks import CallbackSupportMixin, watching, with_callbacks
from fastnmf.models.checkpoints import checkpointing
from fastnmf.models.fitted import check_fitted_arrays
from fastnmf.models.keeping import Keeping
from fastnmf.models.looking import Looking
from fastnmf.models.options import (
    check_bool,
    check_choice,
    check_components,
    check_integer,
    check_number,
    check_watch,
    elastic_nets,
    find_seeds,
    generator,
    guide_components,
    is_annotated,
    row_weights,
    unpack,
)
from fastnmf.models.problems import infer_divergence
from fastnmf.models.runs import Runs
from fastnmf.models.transfer import Transfer, brought
from fastnmf.models.warn import warn
from fastnmf.penalties import Guide
from fastnmf.problem import copy_rows, full
from fastnmf.shifts import apply_gauge, normalize_components
from fastnmf.solve import allocate, as_arrays, infer, pad, scale_start, solve, threads
from fastnmf.terms.divergences import EXPONENTS
from fastnmf.terms.masked import infer_masked, row_errors
from fastnmf.terms.weights import MISSING, observed

BETAS = {"frobenius": 2.0, "kullback-leibler": 1.0, "itakura-saito": 0.0}
NNDSVD = {"nndsvd": None, "nndsvda": "mean", "nndsvdar": "random"}  # what their zeros become


def scaled(F, exponent):
    """Return F times ``2 ** exponent``; F itself where that is 1, nearly always: ldexp takes 5 ns an entry."""
    return F if exponent == 0 else np.ldexp(F, exponent)


class BaseNMF(
    Looking,
    Keeping,
    Transfer,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Base of all estimators. A variant writes its parameters, its documentation and `_problem`."""

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
        check_watch(self.max_time, self.callback, self.n_threads)
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
        start = brought(self.init)
        H = H if start is None else start.components
        return n_columns if H is None else len(H)

    def _alphas(self):
        """Return the strengths of the penalties by factor; a warning where the scale of a component can dodge them."""
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
        """Check names, counts and tags; finiteness, sign and layout are the business of `Strata`."""
        check_kind(X)  # scikit-learn refuses these, too, but shows the whole matrix
        model = self
        if reset:
            self.__dict__.pop("_names", None)
        elif getattr(self, "_names", None) is not None and not hasattr(X, "columns"):
            model = copy.copy(self)  # without the names that did not come with data, lest scikit-learn misses them in X
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
        if not reset and hasattr(self, "components_"):  # partial_fit has none before its first batch
            check_fitted_arrays(self, X.shape[1])
        return X

    def _start(self, data, rank, W, H, V, random_state):
        """Return W, H, the entries of V, and the dense V of a start that brings its own (None otherwise)."""
        given = [name for name, array in (("W", W), ("H", H), ("V", V)) if array is not None]
        if self.init == "custom":
            W, H, V = starts.custom(data, rank, W, H, V, has_shifts=self._has_shifts)
            W = W if data.loading is None else W * data.loading[:, None]
            return W, H, data.pattern.entries(V) if self._has_shifts else None, V
        if given and not self._has_shifts:  # as in scikit-learn
            warn(
                "When init!='custom', provided W or H are ignored. Set init='custom' to use them as initialization.",
                RuntimeWarning,
            )
        elif given:
            raise ValueError(f"A start was given ({', '.join(given)}) with init={self.init!r}; use init='custom'.")
        if self.warm_start and hasattr(self, "components_"):
            return self._resumed(data, rank)
        if (start := brought(self.init)) is not None:
            return self._brought(data, rank, start)
        rng, options = self._generator(random_state), {"has_shifts": self._has_shifts}
        needs_positive = self.solver == "mu"
        if self.init in (None, "features", "rows"):
            start = starts.rows if self.init == "rows" else starts.features
            return *start(data, rank, rng, needs_positive=needs_positive, **options), None
        if self.init == "random":
            return *starts.random(data, rank, rng, **options), None
        return *starts.nndsvd(data, rank, rng, fill=NNDSVD[self.init], **options), None

    def _generator(self, random_state=None):
        """Return the source of what a fit draws; a checkpoint chooses and keeps the seed where the user has none."""
        given = self.random_state if random_state is None else random_state
        return generator(self.__dict__.get("_seed", given))

    @with_callbacks
    def _fit(
        self, X, strata=None, W=None, H=None, V=None, sample_weight=None, weight=None, checkpoint=(None, 60.0), y=None
    ):
        """Fit, and return the weights of the rows of X, (n_samples, k).

        `checkpoint` is a path and seconds; y are labels, for models that take them.
        """
        self._check_parameters()
        names = X.var_names if is_annotated(X) else None
        X, strata = unpack(X, strata)
        X = self._validated(X, reset=True)
        self._names = names
        with threads(self.n_threads), checkpointing(self, *checkpoint) as keeper, watching(self, X) as watch:
            data = self._strata(X, strata, sample_weight, weight)
            data.begin_columns()
            if keeper is not None:
                keeper.open(data, (W, H, V), y)
            rank = self._rank(data.shape[1], H)
            runs = Runs(self, watch)
            for random_state in runs:
                runs.keep(*self._run(data, rank, (W, H, V), y, watch, random_state, runs.max_time, keeper))
            self._finish(data, *runs.best)
            self.run_objectives_ = np.array(runs.objectives)
        if self.stopped_by_ == "max_iter" and not self.converged_:
            warn(
                f"The fit stopped at max_iter={self.max_iter} before the objective settled to tol={self.tol:g}; "
                "raise max_iter, or raise tol.",
                ConvergenceWarning,
            )
        return self.W_

    def _run(self, data, rank, start, y, watch, random_state, max_time, keeper):
        """Return the problem and the `Fit` from one start: the one that was given, or one drawn by `random_state`."""
        W, H, v, V = self._start(data, rank, *start, random_state)
        H, free, guide = self._known(data, rank, H)
        factors, tasks = allocate(data, W, H, v)
        problem = self._problem(data, factors, tasks)
        self._constrain(data, problem, factors, free, guide)
        if y is not None:
            self._supervise(data, problem, factors, y)
        del W, H, v, guide
        watch.arrays = lambda: self._arrays(data, factors)
        return problem, solve(
            problem,
            factors,
            max_iter=self.max_iter,
            tol=self.tol,
            callback=watch if watch.is_needed else None,
            start_value=None if V is None else problem.value(factors, **({"V": V} if self._has_shifts else {})),
            extrapolation=self._extrapolation(factors, tasks),
            max_time=max_time,
            keeper=keeper,
        )

    def _strata(self, X, strata, sample_weight, weight):
        """Return the data of a fit, with the weights of entries or of rows."""
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
            raise ValueError("Itakura-Saito (beta_loss=0) does not see the scale of a row: rows cannot be weighted.")
        if self._beta() < 0 and not of_rows.all():
            raise ValueError(
                f"A row has weight 0, and beta_loss={self.beta_loss!r} < 0 needs data without zeros; leave the row out."
            )
        data.weigh(of_rows, self._beta())
        return data

    def _observed(self, X, strata, weight=None, labels=None):
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

    def _known(self, data, rank, H):
        """Return H with what is known of it, which of its entries are free (None: all), and what guides the others."""
        free = guide = None
        if self.fixed_components is not None:
            values, is_fixed = check_components(self.fixed_components, rank, data.shape[1])
            H = np.where(is_fixed.T, np.ldexp(values.T, data.exponent), H)
            free = ~is_fixed
        if self.seed_features:
            names = getattr(self, "feature_names_in_", self._names)
            seeds = find_seeds(self.seed_features, rank, data.shape[1], names)
            guide = guide_components(H, seeds, self.guide_weight)
            H = guide[2] if free is None else np.where(free.T, guide[2], H)
        return H, free, guide

    def _constrain(self, data, problem, factors, free, guide):
        """Add penalties, guidance and what is fixed to the problem."""
        problem.penalties = elastic_nets(data, self._alphas(), self.l1_ratio, self._beta())
        problem.balances = free is None and guide is None and {"W", "H"} <= problem.penalties.keys()
        if problem.balances and not factors["W"].any():
            scale_start(problem, factors, data)
        if problem.penalties or free is not None or guide is not None:
            problem.anchors_scale, problem.revive = False, None
        if guide is not None:
            target, weight = pad(guide[0], data), np.zeros(pad(guide[0][:1], data).shape[1])
            weight[: len(guide[1])] = guide[1] * problem.scale
            problem.penalties.setdefault("H", []).append(Guide(target, weight, 2 if self._is_squared else 1))
        if free is not None:
            whole = (free.all(axis=1) | ~free.any(axis=1)).all()
            padded = np.zeros(pad(np.zeros((1, len(free))), data).shape[1], bool)
            if whole:
                padded[: len(free)] = free.any(axis=1)
                problem.free = {"H": padded}
            else:
                entries = np.zeros((data.shape[1], len(padded)), bool)
                entries[:, : len(free)] = free.T
                problem.free = {"H": entries}

    def _arrays(self, data, factors):
        """Return W, H and V (or None) of factors as the user knows them."""
        half, rank = -data.exponent, factors.rank
        H = np.empty((rank, data.shape[1]), data.dtype)
        copy_rows(factors["H"][:, :rank], H.T)
        W = scaled(np.ascontiguousarray(factors["W"][:, :rank]), half)
        W = self._unloaded(data, W)
        V = scaled(data.pattern.dense(factors["V"]), 2 * half) if self._has_shifts else None
        return W, scaled(H, half), V

    def _unloaded(self, data, W):
        """Return W of the rows themselves, not of their multiples that the fit has seen; zero where the weight is."""
        if data.loading is None:
            return W
        return np.divide(W, data.loading[:, None], out=np.zeros_like(W), where=data.loading[:, None] > 0)

    def _settle(self, data, problem, fit):
        """Do what is left to do after the last iteration: one exact solve for W, which transform repeats."""
        factors = fit.factors
        if self.solver == "mu" or len(problem.terms) > 1:
            return
        shifts = data.pattern.dense(factors["V"]) if self._has_shifts else None
        if getattr(self, "gauge", None) == "min_shift":  # less shift leaves W more room
            shifts = apply_gauge(factors["W"], factors["H"].T, shifts, data.codes, self.gauge)[1]
            factors["V"][:] = data.pattern.entries(shifts)
            factors.moved("V")
        product, penalties = problem.terms[0].product("W", factors), problem.penalties.get("W", ())
        factors["W"][:] = self._exact(data, factors.rank, factors["H"], shifts, product, penalties)[0]
        factors.moved("W")
        fit.history["objective"][-1] = problem.value(factors)
        fit.history["penalty"][-1] = problem.penalty

    def _finish(self, data, problem, fit):
        """Set the fitted attributes."""
        factors = fit.factors
        self.n_components_ = self._n_components = factors.rank
        self._settle(data, problem, fit)
        problem.release()  # before the factors are copied: the peak of memory would be here
        factors.forget()
        self.W_, self.components_, shifts = self._arrays(data, factors)
        if getattr(self, "normalize", None):
            self.W_, self.components_ = normalize_components(self.W_, self.components_, self.normalize)
        if getattr(self, "gauge", None) and (self.gauge != "min_shift" or self.solver == "mu"):
            self.W_, shifts = apply_gauge(self.W_, self.components_, shifts, data.codes, self.gauge)
        if self._has_shifts:
            self.shifts_, self.strata_, self.stratum_sizes_ = shifts, data.labels, data.groups.sizes
            self.row_strata_ = data.codes
        self.n_iter_, self.converged_, self.stopped_by_ = fit.n_iter, fit.converged, fit.stopped_by
        self.n_revived_ = fit.history["revived"]
        self.history_ = as_arrays(fit.history, problem.scale)
        self.normalized_loss_ = float(self.history_["normalized_loss"][-1])
        loss = fit.history["objective"][-1] - fit.history["penalty"][-1]
        self.reconstruction_err_ = self._reconstruction_error(max(loss, 0.0), -2 * data.exponent)

    def _reconstruction_error(self, loss, exponent):
        if self._is_squared:
            return float(np.ldexp(np.sqrt(loss), exponent))
        beta = self._beta()  # a divergence scales with the beta-th power of the data
        return float(np.sqrt(2 * loss) * 2.0 ** (exponent * beta / 2))

    def _prepared(self, X, strata):
        """Return X as `Strata`, H (n_features, k) and V (or None), in the inner scale of X."""
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
            V = scaled(self.shifts_, 2 * data.exponent).astype(data.dtype, copy=False)
        return data, H, V

    def _inferred(self, X, strata):
        """Return X as `Strata`, its shifts V, its exact W (n_samples, K) and W's subproblem, in the inner scale."""
        data, H, V = self._prepared(X, strata)
        penalties = elastic_nets(data, {"W": self.alpha_W}, self.l1_ratio, 2).get("W", ())
        W, sub = self._exact(data, H.shape[1], pad(H, data), V, None, penalties)
        return data, V, W, sub

    def _exact(self, data, rank, H, V, product=None, penalties=()):
        """Return the exact weights for padded H and V, and their subproblem: None where each row has its own Gram."""
        if data.entry_weights is None:
            return infer(data, rank, H, V, product, penalties)
        return infer_masked(data, data.entry_weights, rank, H, V, product, penalties), None

    def _diverged(self, X, strata):
        """Return X as `Strata`, its W, its divergence and the scale of the normalized loss."""
        data, H, V = self._prepared(X, strata)
        penalties = elastic_nets(data, {"W": self.alpha_W}, self.l1_ratio, self._beta()).get("W", ())
        return data, *infer_divergence(data, H, V, self._beta(), penalties, self.max_iter)

    def _transform(self, X, strata=None):
        with threads(self.n_threads):
            data, *found = self._inferred(X, strata) if self._is_squared else self._diverged(X, strata)
            W = found[1] if self._is_squared else found[0]
        return scaled(np.ascontiguousarray(W[:, : len(self.components_)]), -data.exponent)

    def _inverse_transform(self, W, strata=None):
        self._check_fitted()
        W = check_array(W, dtype=[np.float64, np.float32])
        if W.shape[1] != len(self.components_):
            raise ValueError(f"W has {W.shape[1]} columns; the model has {len(self.components_)} components.")
        if not self._has_shifts:
            return W @ self.components_
        if strata is None and len(self.strata_) > 1:
            raise ValueError(f"This model was fitted with {len(self.strata_)} strata; pass strata=, one label a row.")
        codes, _ = encode_labels(strata, len(W), self.strata_)
        return W @ self.components_ + self.shifts_[codes]

    def _score(self, X, strata=None, sample_weight=None):
        if not self._is_squared:
            if sample_weight is not None:
                raise ValueError("sample_weight needs beta_loss='frobenius' in score; leave it out.")
            with threads(self.n_threads):
                _, _, value, scale = self._diverged(X, strata)
            return 1.0 if scale == 0 else float(1 - value / scale)
        with threads(self.n_threads):
            data, V, W, sub = self._inferred(X, strata)
            if sub is None:
                errors, norms = row_errors(data, data.entry_weights, W, pad(self._prepared_H(data), data), V)
                return _explained(errors, norms, sample_weight)
            W, neg = W.astype(np.float64), 0.0 if sub.neg is None else full(sub.neg).astype(np.float64)
            linear = np.einsum("ij,ij->i", W, sub.pos - neg)
            norms = data.row_square_sums(np.zeros((data.n_strata, data.shape[1])))
            errors = norms if V is None else data.row_square_sums(V)
            errors = errors + np.einsum("ij,ij->i", W @ sub.gram, W) - 2 * linear
        return _explained(errors, norms, sample_weight)

    def _prepared_H(self, data):
        return scaled(self.components_.T, data.exponent)


def _explained(errors, norms, sample_weight):
    """Return one minus the sum of the rows' squared errors over that of their squared norms, weighted."""
    if sample_weight is not None:
        sample_weight = np.asarray(sample_weight, dtype=np.float64)
        if sample_weight.shape != errors.shape:
            raise ValueError(f"sample_weight has shape {sample_weight.shape}, expected {errors.shape}: one a row.")
        errors, norms = errors * sample_weight, norms * sample_weight
    total = norms.sum()
    return 1.0 if total == 0 else float(1 - np.maximum(errors, 0).sum() / total)
