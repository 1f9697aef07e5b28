"""Base of the models whose approximation is another product of factors: parameters, starts, the fit, its attributes.

They have no strata, penalties or weights of entries; in return the approximation may be any product of factors. A
subclass defines its start, `_problem` and `_finish`.

Inner scale: the data are held multiplied by ``4 ** log4_scale``. Here H carries the same factor, and W none.
"""

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.cluster import kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import normalize
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from fastnmf.core.factors import Factors, aligned, allocate, pad, row_tasks
from fastnmf.core.inference import exact, infer, quadratic_weights
from fastnmf.core.init.start_from import check_init, start_from_init
from fastnmf.core.iterate import as_arrays, solve
from fastnmf.core.losses.products import AssignedFrobenius
from fastnmf.core.options import check_callback, check_choice, check_integer, check_number, generator
from fastnmf.core.problem import Problem
from fastnmf.core.thresholds import EXACT_VALUE_BELOW, rounding
from fastnmf.core.updates import HALS, ClusterAssignment
from fastnmf.core.warn import warn
from fastnmf.data.matrix import check_kind
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.models.base.callbacks import CallbackSupportMixin, fit_callbacks, with_callbacks
from fastnmf.models.base.fitted_state import check_fitted_arrays
from fastnmf.models.base.saving import SaveMixin
from fastnmf.models.base.top_features import TopFeaturesMixin
from fastnmf.models.base.warm_start import StartMixin

CLUSTER_STEPS = 20


def check_start(name, array, shape, is_signed=False):
    """Return the array of a user's start as float64.

    Parameters
    ----------
    name : str
        Name of the factor, for the messages.
    array : array-like
    shape : tuple of int
        Expected shape.
    is_signed : bool, default=False
        Whether negative entries are allowed.

    Returns
    -------
    ndarray of float64, of that shape

    Raises
    ------
    ValueError
        Another shape, no numbers, or negative or non-finite entries.
    """
    array = np.asarray(array)
    if array.shape != shape or array.dtype.kind not in "fiub":
        raise ValueError(
            f"The start {name} has shape {array.shape} and dtype {array.dtype}; expected {shape}, numbers."
        )
    if not np.isfinite(array).all() or (array < 0).any() and not is_signed:
        raise ValueError(f"The start {name} contains negative or non-finite entries; every entry must be >= 0.")
    return array.astype(np.float64)


def diverse_rows(data, rank, rng):
    """Return k rows of the data in different directions (k-means++), dense (k, n_columns); zero rows if X has fewer."""
    n_rows = data.shape[0]
    directions = normalize(data.X)
    n_found = min(rank, n_rows)
    chosen = kmeans_plusplus(directions, n_found, random_state=int(rng.integers(2**31 - 1)))[1]
    components = np.zeros((rank, data.shape[1]))
    rows = data.X[np.sort(chosen)]
    components[:n_found] = rows.toarray() if data.is_sparse else rows  # never-densify-ok: k rows
    return components


def orthogonal_problem(data, H, W=None):
    """Return the `Problem` of orthogonal NMF by assignment, and its factors, for components H (k, n_columns)."""
    W = np.zeros((data.shape[0], len(H))) if W is None else W
    factors, tasks = allocate(data, W, H.T, None)
    loss = AssignedFrobenius(data, factors["W"].shape[1], tasks, holds_products=True)
    problem = single_loss_problem(data, loss, {"W": ClusterAssignment(), "H": HALS()}, (("W", 1), ("H", 1)), tasks)
    problem.reseed_dead_component = loss.reseed_dead_component
    return problem, factors


def clusters(data, rank, rng, *, weighted=False):
    """Return a start for W from a few iterations of orthogonal NMF: 1 at the cluster of each row, plus 0.02 everywhere.

    This is the start of Ding, Li and Jordan (2010), who add 0.2: multiplicative updates cannot leave a zero, but they
    reduce 0.2 slowly. On planted data that were not used to choose the constant, all values from 0.002 to 0.05 gave
    the same result; 0.2 was worse in 2 of 8 cases.

    Parameters
    ----------
    data : Strata
    rank : int
        Number of clusters k.
    rng : numpy.random.Generator
    weighted : bool, default=False
        Use the weights of orthogonal NMF instead of ones, plus 0.02 times their mean.

    Returns
    -------
    ndarray (n_rows, k) of float64, positive
    """
    problem, factors = orthogonal_problem(data, diverse_rows(data, rank, rng))
    solve(problem, factors, max_iter=CLUSTER_STEPS, tol=1e-3)
    W = factors["W"][:, :rank].astype(np.float64)
    return W + 0.02 * W.sum() / max(np.count_nonzero(W), 1) if weighted else 0.02 + (W > 0)


class FactorModel(SaveMixin, StartMixin, CallbackSupportMixin, BaseEstimator):
    """Base of the models whose approximation is another product of factors than that of `BaseNMF`."""

    _inits = (None, "random", "custom")
    _is_signed = _has_shifts = False
    _takes_components = False  # whether `init` may be another model or a `Start`

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = not self._is_signed
        return tags

    def _check_parameters(self):
        for name, value in self._ranks().items():
            check_integer(name, value)
        (check_init(self.init, self._inits) if self._takes_components else check_choice("init", self.init, self._inits))
        check_integer("max_iter", self.max_iter)
        check_number("tol", self.tol, "a number >= 0 (0 runs exactly max_iter iterations)")
        check_callback(self.max_time, self.callback, self.n_threads)

    def _ranks(self):
        return {"n_components": self.n_components}

    def _validated(self, X, *, reset):
        check_kind(X)
        X = validate_data(
            self,
            X,
            reset=reset,
            accept_sparse=True,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
            ensure_min_samples=1,
        )
        if not reset:
            check_fitted_arrays(self, X.shape[1])
        return X

    def _data(self, X):
        return Strata.from_array(X, is_signed=self._is_signed)

    def _components_from_init(self, data):
        """Return the components of a model or `Start` given as `init`, (k, n_columns) in the inner scale, or None."""
        start = start_from_init(self.init)
        if start is None:
            return None
        names = getattr(self, "feature_names_in_", None)
        start.check(data.shape, self.n_components, names, self._is_signed)
        return np.ldexp(start.components, 2 * data.log4_scale)

    def _checked_start(self, shapes, given, is_signed=False):
        """Return the checked arrays of the user's start, or None; `shapes` maps the names of the factors to shapes."""
        brought = [name for name, array in given.items() if array is not None]
        if self.init != "custom":
            if brought:
                raise ValueError(
                    f"A start was given ({', '.join(brought)}) with init={self.init!r}; use init='custom'."
                )
            return None
        missing = [name for name in shapes if given.get(name) is None]
        if missing:
            raise ValueError(f"init='custom' needs a start: pass {', '.join(shapes)} to fit ({missing[0]} is missing).")
        return [check_start(name, given[name], shape, is_signed) for name, shape in shapes.items()]

    @with_callbacks
    def _fit(self, X, **given):
        self._check_parameters()
        X = self._validated(X, reset=True)
        # `threads` also sets BLAS to one thread: products between kernels have the same bits for any number of threads.
        with threads(self.n_threads), fit_callbacks(self, X) as callbacks:
            data = self._data(X)
            problem, factors = self._problem(data, generator(self.random_state), given)
            callbacks.arrays = lambda: self._arrays(data, factors)
            callback = callbacks if callbacks.is_needed else None
            fit = solve(
                problem, factors, max_iter=self.max_iter, tol=self.tol, callback=callback, max_time=self.max_time
            )
            self._finish(data, problem, fit)
            self._record(data, problem, fit)
        if fit.stopped_by == "max_iter" and not fit.converged:
            warn(
                f"The fit stopped at max_iter={self.max_iter} before the objective converged to tol={self.tol:g}; "
                "raise max_iter, or raise tol.",
                ConvergenceWarning,
            )
        return self

    def _arrays(self, data, factors):
        """Return copies of W and H (None if the model has no such factor), and None for V, for a callback."""
        W, H = (factors.arrays.get(name) for name in "WH")
        W = None if W is None else W[:, : factors.widths.get("W", factors.rank)].copy()
        H = None if H is None else np.ldexp(H[:, : factors.widths.get("H", factors.rank)].T, -2 * data.log4_scale)
        return W, H, None

    def _record(self, data, problem, fit):
        self.n_iter_, self.converged_, self.stopped_by_ = fit.n_iter, fit.converged, fit.stopped_by
        self.history_ = as_arrays(fit.history, problem.scale)
        self.normalized_loss_ = float(self.history_["normalized_loss"][-1])
        self.reconstruction_err_ = float(np.ldexp(np.sqrt(max(fit.history["objective"][-1], 0)), -2 * data.log4_scale))
        problem.release()


class WeightModel(TopFeaturesMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, FactorModel):
    """Base of the `FactorModel` classes that have weights W of the rows."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self):
        return self.W_.shape[1]

    def _weights(self, W, rank):
        """Return the user's weights W (n, rank), checked."""
        check_is_fitted(self)
        check_fitted_arrays(self)
        W = check_array(W, dtype=[np.float64, np.float32])
        if W.shape[1] != rank:
            raise ValueError(f"W has {W.shape[1]} columns; expected {rank}, as transform returns.")
        return W


class FactorTransformer(WeightModel):
    """Base of the `FactorModel` classes that approximate new rows by non-negative combinations of components."""

    _fitted_shapes = {"components_": "km"}

    def transform(self, X):
        """Return the weights of the rows of X for the fitted components: exact non-negative least squares, row by row.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        data, basis = self._new_data(X), self._basis()
        with threads(self.n_threads):
            W = infer(data, len(basis), pad(np.ldexp(basis.T, 2 * data.log4_scale), data), None)[0]
        return np.ascontiguousarray(W[:, : len(basis)])

    def inverse_transform(self, W):
        """Return ``W components_``, dense (n_samples, n_features), for W (n_samples, n_components)."""
        return self._weights(W, len(self._basis())) @ self._basis()

    def _basis(self):
        """Return the basis that approximates new rows, (k, n_features)."""
        return self.components_

    def _new_data(self, X):
        """Return new data X as `Strata`."""
        check_is_fitted(self)
        return self._data(self._validated(X, reset=False))

    def top_features(self, n=10, feature_names=None):
        """Return the names of at most n features of each component, strongest first, as a list of lists."""
        return self._top_features(n, feature_names)


def padded_factors(data, **arrays):
    """Return `Factors` that all have the padded width of the widest, and the task tables of their row kernels.

    The core factors S, or S1, S2, ..., which stand between two others, are padded on both sides.
    """
    rank, held = max(F.shape[1] for F in arrays.values()), {}
    for name, F in arrays.items():
        wide = np.zeros((len(F), rank))
        wide[:, : F.shape[1]] = F
        held[name] = pad(wide, data)
        if name.startswith("S"):
            core = aligned((held[name].shape[1],) * 2, data.dtype)
            core[: len(F)] = held[name]
            held[name] = core
    factors = Factors(rank, **held)
    factors.widths = {name: F.shape[1] for name, F in arrays.items()}
    return factors, {name: row_tasks(F) for name, F in held.items()}


def scale_core(loss, factors, name="S"):
    """Multiply a core factor by the scalar that minimises the squared error of the whole model."""
    crossed = float(np.sum(loss.middle(factors) * loss.core(factors)))
    fitted = loss.value(factors) - loss.sq_norm + 2 * crossed
    factors[name][:] *= factors[name].dtype.type(best_scale(fitted, crossed))
    factors.invalidate(name)


def single_loss_problem(data, loss, updates, schedule, tasks, scale=None, is_direct=True):
    """Return the `Problem` of one loss.

    Parameters
    ----------
    data : Strata
    loss : Loss
        Has `exact_value` if `is_direct`.
    updates : dict, factor name -> Update
    schedule : tuple of (str, int)
        One iteration: names of factors with their numbers of sweeps.
    tasks : dict, factor name -> ndarray of int64
        Task tables.
    scale : float, default=None
        Loss of the zero model; None: the squared norm of the data, in the inner scale.
    is_direct : bool, default=True
        Whether small values of the objective are computed from the residual itself (``loss.exact_value``).

    Returns
    -------
    Problem
    """
    scale = data.sq_norm if scale is None else scale
    return Problem(
        losses=[loss],
        updates=updates,
        schedule=schedule,
        tasks=tasks,
        scale=scale,
        cheap_value_floor=EXACT_VALUE_BELOW[data.dtype] if is_direct else 0.0,
        exact_value=loss.exact_value if is_direct else None,
        rounding=scale * rounding(data.dtype) ** (2 if is_direct else 1),
    )


def finish_weights(problem, fit):
    """Solve for W exactly, as `transform` does, and write its objective to the last entry of the history."""
    factors, sub = fit.factors, problem.subproblem("W", fit.factors)
    exact(factors["W"], sub, factors.rank)
    factors.invalidate("W")
    fit.history["objective"][-1] = problem.value(factors)


def largest(W):
    """Return the column of the largest entry of each row, int (n,), -1 for rows of zeros."""
    return np.where(W.any(axis=1), W.argmax(axis=1), -1)


def divisors(sizes):
    """Return sizes with zeros replaced by ones, for use as divisors."""
    return np.where(sizes > 0, sizes, 1)


def exact_weights(gram, pos, rank):
    """Return the exact minimisers of ``w gram wᵀ / 2 - w pos`` over w >= 0, (p, k); gram (K, K), pos (p, K) padded."""
    return np.ascontiguousarray(quadratic_weights(gram, pos, rank)[0][:, :rank])


def best_scale(fitted, crossed):
    """Return the optimal scalar multiple of a model, from its squared norm and its inner product with the data."""
    return crossed / fitted if fitted > 0 and crossed > 0 else 1.0
