"""Components that are mixtures of the rows themselves: ``X ~ W Cᵀ X``, and the same in the space of a kernel."""

import numpy as np
import scipy.sparse as sp
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS, pairwise_kernels
from sklearn.utils.validation import check_is_fitted

from fastnmf.data import Strata
from fastnmf.models.keeping import Keeping
from fastnmf.models.options import check_choice
from fastnmf.models.shapes import (
    ShapedModel,
    ShapedTransformer,
    ShapedWeights,
    clusters,
    divisors,
    exact_weights,
    finish_weights,
    largest,
    padded_factors,
    rescaled,
    shaped_problem,
)
from fastnmf.moves import HALS, MU
from fastnmf.solve import pad, threads
from fastnmf.terms.structured import Convex, DenseOperator, Operator

MAX_ROWS = 10_000  # of a matrix of all rows with all, dense: 800 MB
SWEEPS = 2  # of coordinate descent over W in one iteration
UPDATES = 3  # of C


def check_rows(n_rows, why):
    """Raise where a dense matrix of all rows with all would be too large."""
    if n_rows > MAX_ROWS:
        raise ValueError(
            f"X has {n_rows} rows; {why} needs a dense matrix of all rows with all, which is limited to {MAX_ROWS} "
            "rows. Fit a sample of the rows and transform the others."
        )


class Mixtures(ShapedModel):
    """What both models share: the start, the problem, and C with columns of sum one."""

    def _check_parameters(self):
        super()._check_parameters()
        check_choice("solver", self.solver, ("cd", "mu"))

    def _mixed_problem(self, data, operator, trace, rng, given, groups):
        """Return the problem and its factors; `groups` are the data whose rows are clustered for the start."""
        shape = data.shape[0], self.n_components
        start = self._given({"W": shape, "C": shape}, given)
        if start is not None:
            W, C = start
        elif self.init == "random":
            W, C = rng.random(shape), rng.random(shape)
        else:
            W = clusters(groups, shape[1], rng)
            C = W / W.sum(axis=0)
        factors, tasks = padded_factors(data, W=W, C=C)
        term = Convex(operator, tasks, trace)
        if start is None:
            fitted, crossed = np.sum(term.inner(factors) * term.gram(factors)), term.crossed(factors)
            factors["W"][:] *= data.dtype.type(rescaled(fitted, crossed))
            factors.moved("W")
        update = MU.plain(data.dtype)
        is_descent = self.solver == "cd"
        moves = {"W": HALS() if is_descent else update, "C": update}
        schedule = (("W", SWEEPS), ("C", UPDATES)) if is_descent else (("W", 1), ("C", 1))
        return shaped_problem(data, term, moves, schedule, tasks, trace, is_direct=False), factors

    def _finish(self, data, problem, fit):
        if self.solver == "cd":
            finish_weights(problem, fit)
        W, C = (np.ascontiguousarray(fit.factors[name][:, : self.n_components]) for name in "WC")
        sums = C.sum(axis=0, dtype=np.float64)
        sums = divisors(sums).astype(C.dtype)
        self.W_, self.C_ = W * sums, C / sums


class ConvexNMF(Mixtures, ShapedTransformer):
    """Factorise ``X ~ W Cᵀ X`` with W, C >= 0: components that are weighted means of rows, so that they look like rows.

    Minimises ``||X - W (Cᵀ X)||²``. The data may have negative entries where they are dense.

    Parameters
    ----------
    n_components : int, default=2
    init : {None, "clusters", "random", "custom"}, default=None
        None is ``"clusters"``: of the rows, by a few steps of `OrthogonalNMF`; C starts with their means.
        ``"random"``: uniform, which takes many more iterations. ``"custom"``: the W and C passed to `fit`.
    solver : {"cd", "mu"}, default="cd"
        ``"cd"``: coordinate descent for W, multiplicative updates for C; after the last iteration W is solved for
        exactly. ``"mu"``: multiplicative updates for both. The objective never rises.
    max_iter : int, default=200
    tol : float, default=1e-4
        Stop when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than `tol`
        times itself. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no other iteration begins.
    callback : callable, default=None
        ``callback(state)`` after every iteration, and for the start; True stops the fit. `state` has ``iteration``,
        ``normalized_loss``, ``seconds``, and a copy of the factor ``W``, not scaled.
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.

    Attributes
    ----------
    W_ : ndarray (n_samples, n_components)
    C_ : ndarray (n_samples, n_components)
        Weights of the rows in each component, columns of sum one.
    components_ : ndarray (n_components, n_features)
        ``C_.T @ X``.
    n_iter_ : int
    converged_ : bool
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        Norm of what the model misses.
    normalized_loss_ : float
        The same, over the norm of X.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error), ``seconds``; entry 0 is the start.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    Of non-negative X only products are taken: sparse data stay sparse, and ``X Xᵀ`` is not formed. Of X with negative
    entries the update needs the positive and the negative part of ``X Xᵀ``, which is therefore formed, dense.

    *Names*: the source's X is X.T; its W is C_ and its G is W_.

    References
    ----------
    C. Ding, T. Li, M. I. Jordan, "Convex and semi-nonnegative matrix factorizations", IEEE TPAMI 2010,
    doi:10.1109/TPAMI.2008.277.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import ConvexNMF
    >>> X = np.array([[1.0, 2, 0], [1, 2, 0], [0, 0, 3], [0, 0, 3]])
    >>> model = ConvexNMF(2, random_state=0).fit(X)
    >>> model.components_[model.components_[:, 2].argsort()].round(2)
    array([[1., 2., 0.],
           [0., 0., 3.]])
    """

    _inits = (None, "clusters", "random", "custom")
    _is_signed = True

    def __init__(
        self,
        n_components=2,
        *,
        init=None,
        solver="cd",
        max_iter=200,
        tol=1e-4,
        random_state=None,
        verbose=0,
        max_time=None,
        callback=None,
        n_threads=None,
    ):
        self.n_components = n_components
        self.init = init
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback
        self.n_threads = n_threads

    def fit(self, X, y=None, *, W=None, C=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Finite. Of any sign if dense, with at most 10,000 rows; else non-negative. float32 stays float32.
        y : ignored
        W, C : ndarray (n_samples, k), default=None
            Start for ``init="custom"``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or starts that cannot be used: what was given, expected, and to be done.
        """
        return self._fit(X, W=W, C=C)

    def fit_transform(self, X, y=None, *, W=None, C=None):
        """Fit the model and return W_, (n_samples, n_components); see `fit`."""
        return self._fit(X, W=W, C=C).W_

    def _problem(self, data, rng, given):
        least = (data.X.data if data.is_sparse else data.X).min(initial=0)
        if least >= 0:
            return self._mixed_problem(data, Operator(data, "rows"), data.sq_norm, rng, given, data)
        if data.is_sparse:
            raise ValueError(
                f"X is sparse and has negative entries (the smallest is {least:g}): ConvexNMF would need a dense "
                "matrix of all rows with all. Use SemiNMF, or pass X dense."
            )
        check_rows(data.shape[0], "ConvexNMF of data with negative entries")
        K = data.X @ data.X.T
        return self._mixed_problem(
            data, DenseOperator(K), data.sq_norm, rng, given, Strata.from_array(np.maximum(K, 0))
        )

    def _finish(self, data, problem, fit):
        super()._finish(data, problem, fit)
        self.components_ = np.ldexp(np.asarray(self.C_.T @ data.X), -2 * data.exponent)


class KernelNMF(Mixtures, ShapedWeights):
    """Cluster or factorise in the space of a kernel: ``phi(X) ~ W Cᵀ phi(X)`` with W, C >= 0.

    `ConvexNMF` of which only inner products of rows are needed, so that these may be those of any kernel. Minimises
    ``trace(K - 2 W CᵀK + W CᵀK C Wᵀ)``, the squared error in the space of the kernel.

    Parameters
    ----------
    n_components : int, default=2
    kernel : str or callable, default="rbf"
        As for scikit-learn's ``pairwise_kernels``, or ``"precomputed"``: X is the kernel itself.
    gamma, degree, coef0 : float, default=None
        Of the kernel, where it has them; None leaves scikit-learn's default.
    kernel_params : dict, default=None
        For a callable.
    init : {None, "clusters", "random", "custom"}, default=None
        None is ``"clusters"``: of the rows of the kernel, by a few steps of `OrthogonalNMF`. ``"random"``: uniform.
        ``"custom"``: the W and C passed to `fit`.
    solver : {"cd", "mu"}, default="cd"
        As for `ConvexNMF`.
    max_iter : int, default=200
    tol : float, default=1e-4
        Stop when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than `tol`
        times itself. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no other iteration begins.
    callback : callable, default=None
        ``callback(state)`` after every iteration, and for the start; True stops the fit. `state` has ``iteration``,
        ``normalized_loss``, ``seconds``, and a copy of the factor ``W``, not scaled.
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.

    Attributes
    ----------
    W_ : ndarray (n_samples, n_components)
    C_ : ndarray (n_samples, n_components)
        Weights of the rows in each component, columns of sum one. The components are mixtures of images of rows and
        have no coordinates: there are no ``components_``.
    labels_ : ndarray (n_samples,) of int
        The component of each row's largest weight, -1 where all are zero.
    X_fit_ : sparse matrix or array (n_samples, n_features)
        The rows of the fit, which `transform` compares new ones with.
    n_iter_ : int
    converged_ : bool
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        Square root of the objective.
    normalized_loss_ : float
        The same, over the square root of the trace of K.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective``, ``seconds``; entry 0 is the start.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    The kernel is a dense matrix of all rows with all, also of sparse X: at most 10,000 rows. Its width decides what the
    clusters are; try several.

    References
    ----------
    C. Ding, T. Li, M. I. Jordan, "Convex and semi-nonnegative matrix factorizations", IEEE TPAMI 2010,
    doi:10.1109/TPAMI.2008.277.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import KernelNMF
    >>> X = np.array([[0.0, 0], [0.1, 0], [5, 5], [5, 5.1]])
    >>> model = KernelNMF(2, gamma=0.5, random_state=0).fit(X)
    >>> model.labels_ == model.labels_[0]
    array([ True,  True, False, False])
    """

    _inits = (None, "clusters", "random", "custom")
    _is_signed = True

    _private_state = (*Keeping._private_state, "_inner")
    _fitted_shapes = {"C_": "nk", "_inner": "kk", "X_fit_": ""}

    def __init__(
        self,
        n_components=2,
        *,
        kernel="rbf",
        gamma=None,
        degree=None,
        coef0=None,
        kernel_params=None,
        init=None,
        solver="cd",
        max_iter=200,
        tol=1e-4,
        random_state=None,
        verbose=0,
        max_time=None,
        callback=None,
        n_threads=None,
    ):
        self.n_components = n_components
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.kernel_params = kernel_params
        self.init = init
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback
        self.n_threads = n_threads

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags

    def fit(self, X, y=None, *, W=None, C=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Finite, of any sign, at most 10,000 rows. With ``kernel="precomputed"``, the symmetric kernel matrix.
        y : ignored
        W, C : ndarray (n_samples, k), default=None
            Start for ``init="custom"``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or starts that cannot be used: what was given, expected, and to be done.
        """
        return self._fit(X, W=W, C=C)

    def fit_transform(self, X, y=None, *, W=None, C=None):
        """Fit the model and return W_, (n_samples, n_components); see `fit`."""
        return self._fit(X, W=W, C=C).W_

    def transform(self, X):
        """Return the exact non-negative weights of new rows, in the space of the kernel.

        Parameters
        ----------
        X : sparse matrix or array (n_new, n_features)
            With ``kernel="precomputed"``, the kernel of the new rows with those of the fit, (n_new, n_samples).

        Returns
        -------
        ndarray (n_new, n_components)
        """
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        with threads(self.n_threads):  # BLAS too: with several threads of its own the bits would depend on their number
            K = X if self.kernel == "precomputed" else self._kernel(Strata.from_array(X, is_signed=True).X, self.X_fit_)
            data = Strata.from_array(K, is_signed=True)
            pos = pad(data.X @ self.C_.astype(data.dtype), data)
            gram = np.zeros((pos.shape[1], pos.shape[1]))
            k = self.C_.shape[1]
            gram[:k, :k] = np.ldexp(self._inner, 2 * data.exponent)
            return exact_weights(gram, pos, k)

    def _check_parameters(self):
        super()._check_parameters()
        if not callable(self.kernel):
            check_choice("kernel", self.kernel, (*sorted(PAIRWISE_KERNEL_FUNCTIONS), "precomputed"))

    def _kernel(self, X, Y=None):
        if callable(self.kernel):
            return pairwise_kernels(X, Y, metric=self.kernel, **(self.kernel_params or {}))
        options = {"gamma": self.gamma, "degree": self.degree, "coef0": self.coef0}
        options = {name: value for name, value in options.items() if value is not None}
        return pairwise_kernels(X, Y, metric=self.kernel, filter_params=True, **options)

    def _data(self, X):
        check_rows(X.shape[0], "a kernel")
        rows = Strata.from_array(X, is_signed=True)  # finite, real, two-dimensional
        self.X_fit_, K = X, X
        if self.kernel != "precomputed":
            K = self._kernel(rows.X if rows.exponent == 0 else X)
        elif sp.issparse(X):
            K = X.toarray()  # never-densify-ok: a kernel matrix, of limited size
        if K.shape[0] != K.shape[1] or not np.allclose(K, K.T, atol=1e-6 * np.abs(K).max()):
            raise ValueError(f"The kernel of shape {K.shape} is not a symmetric matrix; expected all rows with all.")
        return Strata.from_array(K, is_signed=True)

    def _problem(self, data, rng, given):
        groups = Strata.from_array(np.maximum(data.X, 0))
        return self._mixed_problem(data, DenseOperator(data.X), float(np.trace(data.X)), rng, given, groups)

    def _finish(self, data, problem, fit):
        super()._finish(data, problem, fit)
        self.labels_ = largest(self.W_)
        C = self.C_.astype(np.float64)
        self._inner = np.ldexp(C.T @ (data.X @ C), -2 * data.exponent)

    def _record(self, data, problem, fit):
        super()._record(data, problem, fit)
        self.reconstruction_err_ = float(np.ldexp(np.sqrt(max(fit.history["objective"][-1], 0)), -data.exponent))
