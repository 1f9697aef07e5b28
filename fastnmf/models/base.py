"""What all estimators share: parameters, validation, inference of weights, scores, looking at the result."""

import numbers
import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from fastnmf import init as starts
from fastnmf.data import Strata, check_kind, encode_labels
from fastnmf.problem import copy_rows, full
from fastnmf.progress import progress
from fastnmf.solve import allocate, as_arrays, infer, pad, solve, threads

# Below these fractions of the squared norm of the data the cheap objective has lost too many digits (float64: relative
# error about 1e-10 there), and the residual is evaluated itself.
DIRECT_BELOW = {np.dtype(np.float32): 1e-3, np.dtype(np.float64): 1e-6}


def check_choice(name, value, choices):
    """Raise unless `value` is one of `choices`."""
    if value not in choices:
        expected = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}={value!r} is not known; expected one of {expected}.")


def check_integer(name, value, least=1):
    """Raise unless `value` is an integer of at least `least`."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r} is not valid; expected an integer >= {least}.")


def check_sweeps(extrapolate, sweeps, length, example):
    """Raise unless `extrapolate` is a bool and `sweeps` are `length` positive integers."""
    if not isinstance(extrapolate, (bool, np.bool_)):
        raise ValueError(f"extrapolate={extrapolate!r} is not valid; expected True or False.")
    is_right = isinstance(sweeps, (tuple, list)) and len(sweeps) == length
    if not is_right or not all(isinstance(n, numbers.Integral) and not isinstance(n, bool) and n >= 1 for n in sweeps):
        expected = f"{length} integers >= 1, such as {example}" + (", or 'thorough'" if length == 3 else "")
        raise ValueError(f"sweeps={sweeps!r} is not valid; expected {expected}.")


def scaled(F, exponent):
    """Return F times ``2 ** exponent``; F itself where that is 1, nearly always: ldexp takes 5 ns an entry."""
    return F if exponent == 0 else np.ldexp(F, exponent)


def generator(random_state):
    """Return the NumPy Generator of a `random_state`: None, int, Generator, or RandomState (one draw is the seed)."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(np.iinfo(np.int32).max))
    if random_state is None or isinstance(random_state, numbers.Integral) and random_state >= 0:
        return np.random.default_rng(random_state)
    raise ValueError(
        f"random_state={random_state!r} is not valid; expected None, an integer >= 0, a Generator or a RandomState."
    )


class BaseNMF(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Base of all estimators. A variant writes its parameters, its documentation and `_problem`."""

    _has_shifts = False

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
        check_integer("n_components", self.n_components)
        check_choice("solver", self.solver, ("hals", "mu"))
        check_choice("init", self.init, ("rows", "random", "nndsvd", "nndsvda", "custom"))
        check_integer("max_iter", self.max_iter)
        if not isinstance(self.tol, numbers.Real) or not self.tol >= 0:
            raise ValueError(
                f"tol={self.tol!r} is not valid; expected a number >= 0 (0 runs exactly max_iter iterations)."
            )
        if self.n_threads is not None:
            check_integer("n_threads", self.n_threads)

    def _validated(self, X, *, reset):
        """Check names, counts and tags; finiteness, sign and layout are the business of `Strata`."""
        check_kind(X)  # scikit-learn refuses these, too, but shows the whole matrix
        return validate_data(
            self,
            X,
            reset=reset,
            accept_sparse=True,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
            ensure_min_samples=1,
        )

    def _start(self, data, W, H, V):
        """Return W, H, the entries of V, and the dense V of a custom start (None otherwise)."""
        given = [name for name, array in (("W", W), ("H", H), ("V", V)) if array is not None]
        if self.init == "custom":
            W, H, V = starts.custom(data, self.n_components, W, H, V, has_shifts=self._has_shifts)
            return W, H, data.pattern.entries(V) if self._has_shifts else None, V
        if given:
            raise ValueError(f"A start was given ({', '.join(given)}) with init={self.init!r}; use init='custom'.")
        rng, options = generator(self.random_state), {"has_shifts": self._has_shifts}
        if self.init == "random":
            return *starts.random(data, self.n_components, rng, **options), None
        if self.init == "rows":
            return *starts.rows(data, self.n_components, rng, needs_positive=self.solver == "mu", **options), None
        return *starts.nndsvd(data, self.n_components, rng, fill=self.init == "nndsvda", **options), None

    def _fit(self, X, strata, W, H, V):
        """Fit, and return the weights of the rows of X, (n_samples, k)."""
        self._check_parameters()
        X = self._validated(X, reset=True)
        with threads(self.n_threads):
            data = Strata.from_array(X, strata)
            data.begin_columns()
            with progress(type(self).__name__, self.max_iter, self.verbose) as callback:
                W, H, v, V = self._start(data, W, H, V)
                factors, tasks = allocate(data, W, H, v)
                problem = self._problem(data, factors, tasks)
                del W, H, v
                start = None if V is None else problem.value(factors, V=V)
                fit = solve(
                    problem,
                    factors,
                    max_iter=self.max_iter,
                    tol=self.tol,
                    callback=callback,
                    start_value=start,
                    extrapolation=self._extrapolation(factors, tasks),
                )
                self._finish(data, problem, fit)
        if not fit.converged:
            warnings.warn(
                f"The fit stopped at max_iter={self.max_iter} before the objective settled to tol={self.tol:g}; "
                "raise max_iter, or raise tol.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self.W_

    def _finish(self, data, problem, fit):
        """Set the fitted attributes."""
        factors, rank = fit.factors, self.n_components
        shifts = data.pattern.dense(factors["V"]) if self._has_shifts else None
        if self.solver == "hals":  # one exact solve, which transform repeats
            product = problem.terms[0].product("W", factors)
            factors["W"][:] = infer(data, rank, factors["H"], shifts, product)[0]
            factors.moved("W")
            fit.history["objective"][-1] = problem.value(factors)
        problem.release()  # before the factors are copied: the peak of memory would be here
        factors.forget()
        half, whole = -data.exponent, -2 * data.exponent
        components = np.empty((rank, data.shape[1]), data.dtype)
        copy_rows(factors["H"][:, :rank], components.T)
        self.components_ = scaled(components, half)
        if self._has_shifts:
            self.shifts_, self.strata_ = scaled(shifts, whole), data.labels
        self.W_ = scaled(np.ascontiguousarray(factors["W"][:, :rank]), half)
        self.n_components_ = rank
        self.n_iter_, self.converged_, self.stopped_by_ = fit.n_iter, fit.converged, fit.stopped_by
        self.history_ = as_arrays(fit.history, problem.scale)
        self.normalized_loss_ = float(self.history_["normalized_loss"][-1])
        self.reconstruction_err_ = self._reconstruction_error(fit.history["objective"][-1], whole)

    def _reconstruction_error(self, objective, exponent):
        return float(np.ldexp(np.sqrt(objective), exponent))

    def _inferred(self, X, strata):
        """Return X as `Strata`, its shifts V, its exact W (n_samples, K) and W's subproblem, in the inner scale."""
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        if self._has_shifts and strata is None and len(self.strata_) > 1:
            raise ValueError(
                f"This model was fitted with {len(self.strata_)} strata; pass strata=, one label a row. In a Pipeline "
                "or a search, switch on sklearn.set_config(enable_metadata_routing=True) and pass strata= there."
            )
        data = Strata.from_array(X, strata, labels=self.strata_ if self._has_shifts else None)
        H, V = scaled(self.components_.T, data.exponent), None
        if self._has_shifts:
            V = scaled(self.shifts_, 2 * data.exponent).astype(data.dtype, copy=False)
        W, sub = infer(data, self.n_components_, pad(H, data), V)
        return data, V, W, sub

    def _transform(self, X, strata=None):
        with threads(self.n_threads):
            data, _, W, _ = self._inferred(X, strata)
        return scaled(np.ascontiguousarray(W[:, : self.n_components_]), -data.exponent)

    def _inverse_transform(self, W, strata=None):
        check_is_fitted(self)
        W = check_array(W, dtype=[np.float64, np.float32])
        if W.shape[1] != self.n_components_:
            raise ValueError(f"W has {W.shape[1]} columns; the model has {self.n_components_} components.")
        if not self._has_shifts:
            return W @ self.components_
        if strata is None and len(self.strata_) > 1:
            raise ValueError(f"This model was fitted with {len(self.strata_)} strata; pass strata=, one label a row.")
        codes, _ = encode_labels(strata, len(W), self.strata_)
        return W @ self.components_ + self.shifts_[codes]

    def _score(self, X, strata=None, sample_weight=None):
        with threads(self.n_threads):
            data, V, W, sub = self._inferred(X, strata)
            W, neg = W.astype(np.float64), 0.0 if sub.neg is None else full(sub.neg).astype(np.float64)
            linear = np.einsum("ij,ij->i", W, sub.pos - neg)
            norms = data.row_square_sums(np.zeros((data.n_strata, data.shape[1])))
            errors = norms if V is None else data.row_square_sums(V)
            errors = errors + np.einsum("ij,ij->i", W @ sub.gram, W) - 2 * linear
        if sample_weight is not None:
            sample_weight = np.asarray(sample_weight, dtype=np.float64)
            if sample_weight.shape != errors.shape:
                raise ValueError(f"sample_weight has shape {sample_weight.shape}, expected {errors.shape}: one a row.")
            errors, norms = errors * sample_weight, norms * sample_weight
        total = norms.sum()
        return 1.0 if total == 0 else float(1 - np.maximum(errors, 0).sum() / total)

    def _feature_names(self, feature_names):
        if feature_names is None:
            feature_names = getattr(self, "feature_names_in_", None)
        if feature_names is None:
            feature_names = [str(j) for j in range(self.n_features_in_)]
        if len(feature_names) != self.n_features_in_:
            raise ValueError(f"feature_names has {len(feature_names)} names for {self.n_features_in_} features.")
        return np.asarray(feature_names)

    def top_samples(self, n=5):
        """Return the training rows that use each component most, strongest first.

        Parameters
        ----------
        n : int, default=5

        Returns
        -------
        ndarray (n_components, min(n, n_samples)) of int
            Row numbers; ties go to the earlier row.
        """
        check_is_fitted(self)
        check_integer("n", n)
        return np.argsort(-self.W_.T, axis=1, kind="stable")[:, :n]


def strongest(weights, names, n):
    """Return the names of the n largest positive weights in each row, descending, ties by position: a list of lists."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, :n]
    return [[str(names[j]) for j in row if weight[j] > 0] for row, weight in zip(order, weights, strict=True)]
