"""What the models of other shapes share: parameters, starts, the loop, what a fit leaves behind.

They have no strata, penalties or weights of entries; in return the model may be any product of factors. A model
writes its start, `_problem` and `_finish`.
"""

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.cluster import kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import normalize
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from fastnmf.data import Strata
from fastnmf.matrix import check_kind
from fastnmf.models.callbacks import CallbackSupportMixin, watching, with_callbacks
from fastnmf.models.fitted import check_fitted_arrays
from fastnmf.models.keeping import Keeping
from fastnmf.models.looking import Looking
from fastnmf.models.options import check_choice, check_integer, check_number, check_watch, generator
from fastnmf.models.problems import DIRECT_BELOW
from fastnmf.models.transfer import Transfer, brought, check_init
from fastnmf.models.warn import warn
from fastnmf.moves import HALS, Assign
from fastnmf.problem import Factors, Problem, Subproblem, aligned
from fastnmf.solve import allocate, as_arrays, exact, infer, pad, row_tasks, solve, threads
from fastnmf.terms.structured import AssignedFrobenius

CLUSTER_STEPS = 20


def check_start(name, array, shape, is_signed=False):
    """Return a start as float64, or raise one sentence."""
    array = np.asarray(array)
    if array.shape != shape or array.dtype.kind not in "fiub":
        raise ValueError(
            f"The start {name} has shape {array.shape} and dtype {array.dtype}; expected {shape}, numbers."
        )
    if not np.isfinite(array).all() or (array < 0).any() and not is_signed:
        raise ValueError(f"The start {name} contains negative or non-finite entries; every entry must be >= 0.")
    return array.astype(np.float64)


def spread(data, rank, rng):
    """Return rows of the data in different directions as components, dense (k, n_columns); zero where rows run out."""
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
    term = AssignedFrobenius(data, factors["W"].shape[1], tasks, holds_products=True)
    problem = shaped_problem(data, term, {"W": Assign(), "H": HALS()}, (("W", 1), ("H", 1)), tasks)
    problem.revive = term.revive
    return problem, factors


def clusters(data, rank, rng, *, weighted=False):
    """Return the cluster of every row by a few steps of orthogonal NMF, as ones in (n_rows, k), plus a fiftieth.

    The start of Ding, Li and Jordan (2010), who add a fifth: multiplicative updates cannot leave a zero, but take long
    to get rid of a fifth. `weighted`: the weights of orthogonal NMF instead of ones, plus a fiftieth of their mean.
    On planted data that it was not chosen on, anything from 0.002 to 0.05 ended alike; a fifth was worse in 2 of 8.
    """
    problem, factors = orthogonal_problem(data, spread(data, rank, rng))
    solve(problem, factors, max_iter=CLUSTER_STEPS, tol=1e-3)
    W = factors["W"][:, :rank].astype(np.float64)
    return W + 0.02 * W.sum() / max(np.count_nonzero(W), 1) if weighted else 0.02 + (W > 0)


class ShapedModel(Keeping, Transfer, CallbackSupportMixin, BaseEstimator):
    """Base of the models of other shapes."""

    _inits = (None, "random", "custom")
    _is_signed = _has_shifts = False
    _takes_components = False  # whether `init` may be another model, or a `Start`

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
        check_watch(self.max_time, self.callback, self.n_threads)

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

    def _passed_on(self, data):
        """Return the components that `init` brings, (k, n_columns) in the scale of the data, or None."""
        start = brought(self.init)
        if start is None:
            return None
        names = getattr(self, "feature_names_in_", None)
        start.check(data.shape, self.n_components, names, self._is_signed)
        return np.ldexp(start.components, 2 * data.exponent)

    def _given(self, shapes, given, is_signed=False):
        """Return the user's start if there is one, checked, or None; `shapes` by name."""
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
        # `threads` also holds BLAS at one: small products between kernels have the same bits on any number of threads.
        with threads(self.n_threads), watching(self, X) as watch:
            data = self._data(X)
            problem, factors = self._problem(data, generator(self.random_state), given)
            watch.arrays = lambda: self._arrays(data, factors)
            callback = watch if watch.is_needed else None
            fit = solve(
                problem, factors, max_iter=self.max_iter, tol=self.tol, callback=callback, max_time=self.max_time
            )
            self._finish(data, problem, fit)
            self._record(data, problem, fit)
        if fit.stopped_by == "max_iter" and not fit.converged:
            warn(
                f"The fit stopped at max_iter={self.max_iter} before the objective settled to tol={self.tol:g}; "
                "raise max_iter, or raise tol.",
                ConvergenceWarning,
            )
        return self

    def _arrays(self, data, factors):
        """Return copies of W and H, None where the model has none, and None, for a callback."""
        W, H = (factors.arrays.get(name) for name in "WH")
        W = None if W is None else W[:, : factors.widths.get("W", factors.rank)].copy()
        H = None if H is None else np.ldexp(H[:, : factors.widths.get("H", factors.rank)].T, -2 * data.exponent)
        return W, H, None

    def _record(self, data, problem, fit):
        self.n_iter_, self.converged_, self.stopped_by_ = fit.n_iter, fit.converged, fit.stopped_by
        self.history_ = as_arrays(fit.history, problem.scale)
        self.normalized_loss_ = float(self.history_["normalized_loss"][-1])
        self.reconstruction_err_ = float(np.ldexp(np.sqrt(max(fit.history["objective"][-1], 0)), -2 * data.exponent))
        problem.release()


class ShapedWeights(Looking, ClassNamePrefixFeaturesOutMixin, TransformerMixin, ShapedModel):
    """Base of those that know weights of new rows."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self):
        return self.W_.shape[1]

    def _weights(self, W, rank):
        """Return a user's weights, checked to have `rank` columns."""
        check_is_fitted(self)
        check_fitted_arrays(self)
        W = check_array(W, dtype=[np.float64, np.float32])
        if W.shape[1] != rank:
            raise ValueError(f"W has {W.shape[1]} columns; expected {rank}, as transform gives.")
        return W


class ShapedTransformer(ShapedWeights):
    """Base of those that have components, of which new rows are combinations."""

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
        data, basis = self._seen(X), self._basis()
        with threads(self.n_threads):
            W = infer(data, len(basis), pad(np.ldexp(basis.T, 2 * data.exponent), data), None)[0]
        return np.ascontiguousarray(W[:, : len(basis)])

    def inverse_transform(self, W):
        """Return ``W components_``, dense (n_samples, n_features), for W (n_samples, n_components)."""
        return self._weights(W, len(self._basis())) @ self._basis()

    def _basis(self):
        """Return what new rows are combinations of, (k, n_features)."""
        return self.components_

    def _seen(self, X):
        """Return new data."""
        check_is_fitted(self)
        return self._data(self._validated(X, reset=False))

    def top_features(self, n=10, feature_names=None):
        """Return the names of at most n features of each component, strongest first, as a list of lists."""
        return self._top_features(n, feature_names)


def padded_factors(data, **arrays):
    """Return `Factors` that all have one padded width, that of the widest, and the task tables of their row kernels.

    S, or S1, S2, and so on, which stand between two of them, are padded on both sides.
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


def scale_core(term, factors, name="S"):
    """Multiply a core by the number with which the whole model fits best."""
    crossed = float(np.sum(term.middle(factors) * term.core(factors)))
    fitted = term.value(factors) - term.sq_norm + 2 * crossed
    factors[name][:] *= factors[name].dtype.type(rescaled(fitted, crossed))
    factors.moved(name)


def shaped_problem(data, term, moves, schedule, tasks, scale=None, is_direct=True):
    """Return the `Problem` of one term."""
    scale = data.sq_norm if scale is None else scale
    return Problem(
        terms=[term],
        moves=moves,
        schedule=schedule,
        tasks=tasks,
        scale=scale,
        digits=DIRECT_BELOW[data.dtype] if is_direct else 0.0,
        direct=term.direct if is_direct else None,
        rounding=scale * (8 * np.finfo(data.dtype).eps) ** (2 if is_direct else 1),
    )


def finish_weights(problem, fit):
    """Solve for W once more, exactly: what `transform` repeats. The last entry of the history becomes that."""
    factors, sub = fit.factors, problem.subproblem("W", fit.factors)
    exact(factors["W"], sub, factors.rank)
    factors.moved("W")
    fit.history["objective"][-1] = problem.value(factors)


def largest(W):
    """Return the column of the largest entry of each row, int (n,), -1 for rows of zeros."""
    return np.where(W.any(axis=1), W.argmax(axis=1), -1)


def divisors(sizes):
    """Return sizes as what to divide by: one where they are zero."""
    return np.where(sizes > 0, sizes, 1)


def exact_weights(gram, pos, rank):
    """Return the exact minimisers of ``w gram wᵀ / 2 - w pos`` over w >= 0, (p, k); gram (K, K), pos (p, K) padded."""
    W = aligned(pos.shape, pos.dtype)
    sub = Subproblem(row_tasks(W))
    sub.add(gram=gram, pos=pos)
    exact(W, sub, rank)
    return np.ascontiguousarray(W[:, :rank])


def rescaled(fitted, crossed):
    """Return the factor by which a model is best multiplied, from its squared norm and its product with the data."""
    return crossed / fitted if fitted > 0 and crossed > 0 else 1.0
