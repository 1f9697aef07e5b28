"""Kernel NMF: factorise in the feature space of a kernel."""

from __future__ import annotations

import contextlib
import functools
import numbers
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from scipy.linalg import eigh, lapack
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from sklearn.cluster import KMeans
from sklearn.metrics.pairwise import (
    PAIRWISE_KERNEL_FUNCTIONS,
    additive_chi2_kernel,
    euclidean_distances,
    manhattan_distances,
    pairwise_kernels,
)

from fastnmf.core.factors import pad, padded_factors
from fastnmf.core.inference import quadratic_weights
from fastnmf.core.init.clusters import clusters
from fastnmf.core.losses.products import DenseOperator, GramMixture
from fastnmf.core.losses.span import Span
from fastnmf.core.objectives import single_loss_problem
from fastnmf.core.options import check_choice, integer, one_of, optional
from fastnmf.core.thresholds import ASYMMETRY
from fastnmf.core.updates import ActiveSet
from fastnmf.core.updates.active_set import LeastSquares
from fastnmf.data.graphs import RELIABLE, neighbour_graph, neighbours_among, rows_with_entries, transitivity
from fastnmf.data.layout import row_index, row_squares
from fastnmf.data.sentences import shown
from fastnmf.data.strata import Strata
from fastnmf.kernels.blas import single_threaded_blas, single_threaded_openmp
from fastnmf.kernels.jit import threads
from fastnmf.models.base.estimator import Estimator
from fastnmf.models.base.for_checkers import Callback
from fastnmf.models.base.products import divisors, largest
from fastnmf.models.convex import ConvexModel, check_rows
from fastnmf.typing import Floats, Integers, Matrix, Seed

FEW, MANY = 8, 200  # neighbours of a row: by default, and the most where 8 are too few
FEW_DIRECTIONS = 20  # neighbours by direction: of 1,885 texts they give .41 (mutual information), 8 give .39
SMALL_GRAPH = 1000  # rows whose eigenvectors are found in a dense matrix, also where eigenvalues coincide
LARGEST_GAMMA = 1e300  # times a distance of zero it is still zero
KERNELS = (*sorted(PAIRWISE_KERNEL_FUNCTIONS), "nearest_neighbors", "precomputed")
SEMIDEFINITE = ("chi2", "cosine", "laplacian", "linear", "nearest_neighbors", "rbf")  # whatever the data
# Power of the unit of X in the distance or product that gamma is multiplied with; none has an effect at other scales.
POWERS = {"rbf": 2, "laplacian": 1, "chi2": 1, "poly": 2, "polynomial": 2, "sigmoid": 2, "cosine": 0}
DISTANCES = {
    "rbf": functools.partial(euclidean_distances, squared=True),
    "laplacian": manhattan_distances,
    "chi2": additive_chi2_kernel,
}
MOSTLY_ZERO = 0.25  # share of values other than zero below which rows are compared by direction
ROWS_OF_MEDIAN = 1000  # rows whose distances give a median: it differs by a few percent from that of all


def _check_real(name, value, others="None"):
    """Raise ValueError unless a value is a finite number; `others` names what else is valid."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not np.isfinite(value):
        raise ValueError(f"{name}={shown(value)} is not valid; expected {others} or a finite number.")


def _check_gamma(name, value):
    """Raise ValueError unless a value is None, "scale", "median" or a finite number."""
    if not (value is None or isinstance(value, str) and value in ("scale", "median")):
        _check_real(name, value, "None, 'scale', 'median'")


class KernelNMF(ConvexModel):
    """Cluster or factorise in the feature space of a kernel: ``phi(X) ~ W Cᵀ phi(X)`` with W >= 0.

    `ConvexNMF` needs only inner products of rows, so these may be those of any kernel. With K the kernel matrix,
    minimises ``trace(K - 2 W CᵀK + W CᵀK C Wᵀ)``, the squared error in the feature space. With C >= 0 the components
    ``Cᵀ phi(X)`` are weighted means of images of rows; without that condition they are any vectors of the feature
    space, as in ``phi(X) ~ W F``.

    Parameters
    ----------
    n_components : int, default=2
        k, the number of columns of W and C.
    kernel : str or callable, default=None
        None: ``"nearest_neighbors"`` for X most of whose values are zero (fewer than a quarter are not), as of texts,
        and else ``"rbf"``; with a `gamma`, always ``"rbf"``. Other names, and a function, are those of scikit-learn's
        ``pairwise_kernels``. ``"precomputed"``: X is the kernel matrix itself.
        ``"nearest_neighbors"``: ``A A + I``, where A is the graph that joins each row with its `n_neighbors` nearest
        rows (1 for joined rows), divided by the roots of the degrees of both rows. It finds clusters of any shape. The
        distance is Euclidean, and for X most of whose values are zero that of the rows scaled to length one. There,
        and in a sparse X, a row of zeros is joined with none, and its row of the kernel is zero.
    n_neighbors : int, default=None
        Neighbours of each row for ``kernel="nearest_neighbors"``, >= 1. None: 8; for X most of whose values are zero as
        many as a cluster has rows on average, ``n_samples // n_components``, but no fewer than 8 and no more than 20.
        Where the graph of these is noise: that average, up to 200. The graph is noise where two neighbours of a row
        are hardly more often neighbours than any two rows; see Notes.
    gamma : float or {"scale", "median"}, default=None
        Parameter of the kernel, if it has one of this name. A number is in units of 1 over the distance (over its
        square for ``"rbf"``). ``"median"``: 1 over the median of the distances (of their squares for ``"rbf"``) of the
        rows, for ``"rbf"``, ``"laplacian"`` and ``"chi2"``. ``"scale"``: ``1 / (n_features X.var())``, with the root of
        the variance where the kernel is of the first power of X. None means ``"median"`` for these three kernels and
        ``"scale"`` for the others. With both, the result does not depend on the unit of X.
    degree : float, default=None
        Degree of a polynomial kernel. None: 3, the default of scikit-learn.
    coef0 : float, default=None
        Constant term of a polynomial or sigmoid kernel. None: 1, the default of scikit-learn.
    kernel_params : dict, default=None
        Keyword arguments of a callable kernel.
    components : {"convex", "free"}, default="convex"
        ``"convex"``: C >= 0. ``"free"``: C of any sign, by least squares: with a linear kernel this is `SemiNMF`.
    init : {None, "clusters", "random", "custom"}, default=None
        None: k-means of the directions of the images of the rows in their main subspace of k dimensions; for
        ``kernel="nearest_neighbors"`` of the first k eigenvectors of A. ``"clusters"``: clusters of the rows of the
        kernel matrix, found by a few steps of `OrthogonalNMF`.
        ``"random"``: uniform. ``"custom"``: the W and C passed to `fit`.
    solver : {"cd", "mu"}, default="cd"
        ``"cd"``: coordinate descent for W and C; for C, too, as long as K has no negative eigenvalues, and else
        multiplicative updates. ``"mu"``: multiplicative updates for both. See `ConvexNMF`. For ``components="free"``
        only ``"cd"``, which then is exact non-negative least squares for W.
    max_iter : int, default=500
        Maximum number of iterations.
    tol : float, default=1e-4
        Stop when the next 100 iterations are expected to lower the objective by less than `tol` times its value, where
        a normalized loss below `tol` counts as `tol`. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no further iteration begins. None sets no limit.
    callback : callable, default=None
        ``callback(state)``, called for the start and after every iteration; returning True stops the fit. `state` has
        ``iteration``, ``normalized_loss``, ``seconds``, and a copy of the factor ``W``, before C is normalised.
    n_threads : int, default=None
        Threads of the kernels; None uses Numba's setting. The result has the same bits for any number.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    W_ : ndarray (n_samples, n_components) of the dtype of X
        Weights of the training rows.
    C_ : ndarray (n_samples, n_components) of the dtype of X
        Weights of the rows in each component; each column sums to one, or with ``components="free"`` gives a component
        of length one. The components are combinations of images of rows in the feature space and have no coordinates:
        there is no ``components_``.
    labels_ : ndarray (n_samples,) of int
        The component with the largest weight in each row; -1 if all weights are zero.
    X_fit_ : sparse matrix or array (n_samples, n_features)
        The rows of the fit, with which `transform` compares new rows.
    kernel_ : str or callable
        The kernel that was used: `kernel`, or what was chosen where that is None.
    gamma_ : float
        The value that was used; only for kernels with this parameter, unless it was left to scikit-learn.
    affinity_ : csr_array (n_samples, n_samples) of float64
        The graph of neighbours, 1 for joined rows; only for ``kernel="nearest_neighbors"``.
    n_neighbors_ : int
        The number of neighbours that was used; only for ``kernel="nearest_neighbors"``.
    n_iter_ : int
        Number of iterations.
    converged_ : bool
        True if the fit stopped because of `tol`, or, with ``tol=0``, after `max_iter` iterations.
    stopped_by_ : str
        Reason for stopping: ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        Square root of the objective.
    normalized_loss_ : float
        Square root of the objective over that of the trace of K.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective``, ``seconds``; entry 0 is the start.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    The kernel matrix is a dense (n_samples, n_samples) array, also for sparse X: at most 10,000 rows. The width of
    ``"rbf"`` determines the clusters; try several. Distances of texts are nearly all equal, so that it sees little in
    them: on every tenth text of 20 newsgroups the normalised mutual information of labels and groups is .27, with
    ``"cosine"`` .33, and with the neighbours of the default .42. A start may lead to clusters that are not the best
    ones: with `n_init` the lowest objective decides.

    In many dimensions, with clusters that overlap, the nearest rows are of another cluster as often as not, and more
    neighbours average that out. A graph counts as noise if its transitivity, the share of the pairs of neighbours of a
    row that are joined, is less than .1 above that of all pairs of rows. It is .05 in five blobs of 80 rows, 500
    features and standard deviation 25, whose clusters are found to .86 (normalised mutual information) with 8
    neighbours and to .98 with 80, and .6 in circles and moons, which 40 neighbours would join.

    References
    ----------
    C. Ding, T. Li, M. I. Jordan, "Convex and semi-nonnegative matrix factorizations", IEEE TPAMI 2010,
    doi:10.1109/TPAMI.2008.277 (sections 2.2 and 4; 4 for kernels).
    D. Zhang, Z.-H. Zhou, S. Chen, "Non-negative matrix factorization on kernels", PRICAI 2006,
    doi:10.1007/978-3-540-36668-3_44 (components of any sign).
    A. Y. Ng, M. I. Jordan, Y. Weiss, "On spectral clustering: analysis and an algorithm", NIPS 2001 (the normalised
    graph).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import KernelNMF
    >>> X = np.array([[0.0, 0], [0.1, 0], [5, 5], [5, 5.1]])
    >>> model = KernelNMF(2, gamma=0.5, random_state=0).fit(X)
    >>> model.labels_ == model.labels_[0]
    array([ True,  True, False, False])
    """

    kernel: str | Callable[..., Any] | None
    n_neighbors: int | None
    gamma: float | Literal["scale", "median"] | None
    degree: float | None
    coef0: float | None
    kernel_params: dict[str, Any] | None
    components: Literal["convex", "free"]
    kernel_: str | Callable[..., Any]
    gamma_: float
    affinity_: Any
    n_neighbors_: int
    labels_: Integers
    X_fit_: Any

    _constraints = ConvexModel._constraints | {
        "kernel": lambda name, value: None if callable(value) else check_choice(name, value, (None, *KERNELS)),
        **{name: optional(_check_real) for name in ("degree", "coef0")},
        "gamma": _check_gamma,
        "n_neighbors": optional(integer()),
        "components": one_of("convex", "free"),
    }
    _private_state = (*Estimator._private_state, "_inner", "_gamma", "_by_direction")
    _fitted_shapes = {"C_": "nk", "_inner": "kk", "X_fit_": ""}

    def __init__(
        self,
        n_components: int = 2,
        *,
        kernel: str | Callable[..., Any] | None = None,
        gamma: float | Literal["scale", "median"] | None = None,
        degree: float | None = None,
        coef0: float | None = None,
        kernel_params: dict[str, Any] | None = None,
        init: Literal["clusters", "random", "custom"] | None = None,
        solver: Literal["cd", "mu"] = "cd",
        max_iter: int = 500,
        tol: float = 1e-4,
        random_state: Seed = None,
        verbose: int = 0,
        max_time: float | None = None,
        callback: Callback | None = None,
        n_threads: int | None = None,
        n_init: int = 1,
        warm_start: bool = False,
        n_neighbors: int | None = None,
        components: Literal["convex", "free"] = "convex",
    ):
        self._set(locals())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags

    def transform(self, X: Matrix) -> Floats:
        """Return the exact non-negative weights of new rows, in the feature space of the kernel.

        Parameters
        ----------
        X : sparse matrix or array (n_new, n_features)
            With ``kernel="precomputed"``, the kernel of the new rows with those of the fit, (n_new, n_samples).

        Returns
        -------
        ndarray (n_new, n_components)
        """
        self._check_fitted()
        X = self._validated(X, reset=False)
        with threads(self.n_threads):  # of BLAS too: its bits depend on its number of threads
            K = X if self._used_kernel == "precomputed" else self._kernel(_checked(X), self.X_fit_)
            data = Strata.from_array(K, is_signed=True)
            pos = pad(data.X @ self.C_.astype(data.dtype), data)
            gram = np.zeros((pos.shape[1], pos.shape[1]))
            k = self.C_.shape[1]
            gram[:k, :k] = np.ldexp(self._inner, 2 * data.log4_scale)
            return np.ascontiguousarray(quadratic_weights(gram, pos, k)[0][:, :k])

    def _check_options(self, options):
        super()._check_options(options)
        if self.components == "free" and options.is_multiplicative:
            raise ValueError(
                "components='free' gives products of any sign, which solver='mu' cannot use; set solver='cd'."
            )
        if self.gamma == "median" and self.kernel not in (None, *DISTANCES):
            raise ValueError(
                f"gamma='median' needs a kernel of distances ({', '.join(DISTANCES)}), but kernel={shown(self.kernel)} "
                "has none; set gamma='scale' or a number."
            )

    @property
    def _used_kernel(self):
        """The kernel of the fit, also of files from before it was stored."""
        return vars(self).get("kernel_", self.kernel)

    def _chosen_kernel(self, X):
        """Return `kernel`, or the name of the one that suits X (n, n_features) where it is None."""
        if self.kernel is not None:
            return self.kernel
        return "nearest_neighbors" if self.gamma is None and is_mostly_zero(X) else "rbf"

    def _kernel(self, X, Y=None):
        """Return the kernel matrix of the rows of X with those of Y, or of X, dense.

        X and Y are divided by a power of two that brings Y near 1, and gamma makes up for it: squares of the data then
        fit into float64, and scikit-learn, whose cosine takes a row below 2e-15 for zero, sees none.
        """
        kernel, exponent = self._used_kernel, 0
        if callable(kernel):
            return pairwise_kernels(X, Y, metric=kernel, **(self.kernel_params or {}))
        if (power := POWERS.get(kernel)) is not None or kernel == "nearest_neighbors":
            exponent = int(np.frexp(_largest(X if Y is None else Y))[1])
            X, Y = (None if Z is None else _divided(Z, exponent) for Z in (X, Y))
        if kernel == "nearest_neighbors":
            return self._kernel_of_neighbours(X, Y)
        if power and Y is None:
            self._set_gamma(X, power * exponent)
        gamma = vars(self).get("_gamma") if power else None
        if power and gamma is None:  # a model of a file of 0.1, where None was scikit-learn's default
            gamma = self.gamma if isinstance(self.gamma, numbers.Real) else 1 / X.shape[1]
            gamma = _scaled_gamma(gamma, power * exponent)
        options = {"gamma": gamma, "degree": self.degree, "coef0": self.coef0}
        options = {name: value for name, value in options.items() if value is not None}
        return pairwise_kernels(X, Y, metric=kernel, filter_params=True, **options)

    def _set_gamma(self, X, exponent):
        """Set ``_gamma``, for X of the fit near 1, and `gamma_`, which is ``2 ** -exponent`` times that."""
        kernel, way = self.kernel_, self.gamma
        power = POWERS[kernel]
        if way is None:
            way = "median" if kernel in DISTANCES else "scale"
        if not isinstance(way, str):
            self._gamma, self.gamma_ = _scaled_gamma(way, exponent), float(way)
            return
        if way == "scale":
            values = X.data if sp.issparse(X) else X.ravel()
            first, second = (np.sum(values**p, dtype=np.float64) / np.prod(X.shape) for p in (1, 2))
            size = X.shape[1] * max(second - first**2, 0.0) ** (power / 2)
        else:
            X = X[np.linspace(0, X.shape[0] - 1, min(X.shape[0], ROWS_OF_MEDIAN)).astype(int)]
            distances = np.abs(DISTANCES[kernel](X.astype(np.float64)))  # those of chi2 have a minus
            distances = distances[np.triu_indices(len(distances), 1)]
            distances = distances[distances > 0]
            size = np.median(distances) if len(distances) else 0.0
        self._gamma = 1 / float(size) if size > 0 else 1.0
        self.gamma_ = _scaled_gamma(self._gamma, -exponent)

    def _kernel_of_neighbours(self, X, Y):
        """Return ``A A + I`` for the normalised graph A of the neighbours of X, or its rows for X and columns for Y."""
        if Y is None:
            self._by_direction = is_mostly_zero(X)
        by_direction = vars(self).get("_by_direction", False)  # files from before are of distances
        if by_direction:
            X, Y = (None if Z is None else _directions(Z) for Z in (X, Y))
        joins_zeros = not (by_direction or sp.issparse(X))
        if Y is None:
            more = min(X.shape[0] // self.n_components, MANY)
            few = min(max(more, FEW), FEW_DIRECTIONS) if by_direction else FEW
            self.n_neighbors_ = few if self.n_neighbors is None else self.n_neighbors
            self.affinity_ = neighbour_graph(X, self.n_neighbors_, joins_zeros=joins_zeros)[0]
            if self.n_neighbors is None and more > few and transitivity(self.affinity_) < RELIABLE:
                self.n_neighbors_ = more
                self.affinity_ = neighbour_graph(X, more, joins_zeros=joins_zeros)[0]
        degree = np.asarray(self.affinity_.sum(axis=1)).ravel()
        own = np.zeros(len(degree))
        own[slice(None) if joins_zeros else rows_with_entries(X if Y is None else Y)] = 1
        A = normalized(self.affinity_, degree, degree)
        K = sp.csr_array(A @ A + sp.diags_array(own))
        if Y is not None:
            count = vars(self).get("n_neighbors_") or self.n_neighbors or FEW  # files of 0.1 lack the first
            B, same = neighbours_among(X, Y, count, "binary", None, joins_zeros=joins_zeros)
            new = normalized(B, np.asarray(B.sum(axis=1)).ravel(), degree) @ A
            K = sp.vstack([new, K]).tocsr()[np.where(same >= 0, len(same) + same, np.arange(len(same)))]
        return K.toarray().astype(X.dtype)  # never-densify-ok: a kernel matrix, of limited size

    def _data(self, X, given, options):
        """Return the kernel matrix as `Strata`, and keep X as `X_fit_`."""
        check_rows(X.shape[0], "a kernel")
        checked = _checked(X)
        self.X_fit_, K = X, X
        for name in ("gamma_", "_gamma", "affinity_", "n_neighbors_", "_by_direction"):  # those of the previous fit
            vars(self).pop(name, None)
        kernel = self.kernel_ = self._chosen_kernel(checked)
        if kernel != "precomputed":
            K = self._kernel(checked)
        elif sp.issparse(X):
            K = X.toarray()  # never-densify-ok: a kernel matrix, of limited size
        if not np.isfinite(K).all():
            raise ValueError(f"The kernel {kernel!r} of these data is not finite because they are too large; scale X.")
        if kernel != "precomputed" and not K.any() and _largest(checked) > 0:
            raise ValueError(f"The kernel {kernel!r} of these data is zero because they are too small; scale X.")
        if K.shape[0] != K.shape[1] or not np.allclose(K, K.T, atol=ASYMMETRY * np.abs(K).max()):
            raise ValueError(f"The kernel of shape {K.shape} is not a symmetric matrix (n_samples, n_samples).")
        return Strata.from_array(K, is_signed=True)

    def _parts(self, data):
        """Return operator, trace and data to cluster, which are the positive part of the kernel matrix."""
        return DenseOperator(data.X), float(np.trace(data.X)), Strata.from_array(np.maximum(data.X, 0))

    def _loss(self, data, operator, tasks, trace):
        if self.solver == "cd" and (self.kernel_ in SEMIDEFINITE or is_semidefinite(data.X)):
            return GramMixture(operator, tasks, trace)
        return super()._loss(data, operator, tasks, trace)

    def _clusters(self, data, rank, rng):
        """Return clusters of the images of the rows as indicators, float64 (n, rank)."""
        if self.kernel_ != "nearest_neighbors":
            values, vectors = leading_eigenvectors(data.X, min(rank, len(data.X)), rng)
            nodes = np.flatnonzero(data.X.diagonal())
            return _by_kmeans(vectors * np.sqrt(np.maximum(values, 0)), nodes, rank, rng)
        degree = np.asarray(self.affinity_.sum(axis=1)).ravel()
        return spectral_clusters(normalized(self.affinity_, degree, degree), rank, rng)

    def _compose(self, data, given, options, rng):
        if self.components == "free" and given.get("C") is not None:
            raise ValueError("C was given with components='free', which computes C from W; pass W alone.")
        has_start = self._goes_on(options) or any(given.get(name) is not None for name in "WC")
        if options.init is None and not has_start:
            W = 0.02 + self._clusters(data, options.n_components, rng)  # as in `clusters`
            given, options = given | {"W": W, "C": W / W.sum(axis=0)}, replace(options, init="custom")
        if self.components == "convex":
            return super()._compose(data, given, options, rng)
        operator, trace, groups = self._parts(data)
        shape = data.shape[0], options.n_components
        if (start := self._checked_start({"W": shape}, given, options)) is not None:
            W = start[0]
        else:
            W = rng.random(shape) if options.init == "random" else clusters(groups, shape[1], rng)
        factors, tasks = padded_factors(data, W=W, C=np.zeros(shape))
        updates = {"C": LeastSquares(), "W": ActiveSet()}
        loss = Span(operator, tasks, trace)
        return single_loss_problem(data, loss, updates, (("C", 1), ("W", 1)), tasks, trace, is_direct=False), factors

    def _set_factors(self, data, fit, options):
        """Set W_, C_, labels_ and ``_inner``, which is ``CᵀK C`` (k, k) in the scale of the user's data."""
        if self.components == "convex":
            super()._set_factors(data, fit, options)
        else:
            W, C = (np.ascontiguousarray(fit.factors[name][:, : options.n_components]) for name in "WC")
            lengths = np.sqrt(np.maximum(np.diagonal(fit.problem.losses[0].inner(fit.factors)), 0)[: C.shape[1]])
            lengths = np.ldexp(divisors(lengths), -data.log4_scale).astype(C.dtype)
            self.W_, self.C_ = W * lengths, C / lengths
        self.labels_ = largest(self.W_)
        C = self.C_.astype(np.float64)
        self._inner = np.ldexp(C.T @ (data.X @ C), -2 * data.log4_scale)

    def _reconstruction_error(self, loss, exponent, options):
        """Return the root of an objective that scales with K."""
        return super()._reconstruction_error(loss, exponent // 2, options)


def is_semidefinite(K):
    """Say whether a symmetric K (n, n) has no negative eigenvalues but for rounding, by Cholesky's method."""
    A = K.astype(np.float64, order="F")
    of_diagonal = np.einsum("ii->i", A)
    of_diagonal += np.finfo(K.dtype).eps * len(K) * np.abs(of_diagonal).max(initial=0) + np.finfo(np.float64).tiny
    with single_threaded_blas():
        return lapack.dpotrf(A, clean=False, overwrite_a=True)[1] == 0


def _by_kmeans(points, nodes, rank, rng):
    """Return the clusters of the directions of points (n, q) that are `nodes` as indicators (n, rank).

    Parameters
    ----------
    points : ndarray (n, q)
    nodes : ndarray of int
        All other points are in no cluster.
    rank : int
    rng : numpy.random.Generator
    """
    found, n_clusters = np.zeros((len(points), rank)), min(rank, len(nodes))
    if n_clusters:
        seed, directions = int(rng.integers(2**31 - 1)), points[nodes]
        directions = directions / divisors(np.linalg.norm(directions, axis=1))[:, None]
        with single_threaded_openmp():
            found[nodes, KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(directions)] = 1
    return found


def spectral_clusters(A, rank, rng):
    """Return the clusters of the nodes of a normalised graph as indicators, float64 (n, rank).

    They are those of k-means on the rows, divided by their lengths, of the eigenvectors of A with the largest
    eigenvalues (Ng, Jordan and Weiss 2001). Nodes without neighbours are in none.
    """
    nodes = np.flatnonzero(np.diff(A.indptr))
    points = np.zeros((A.shape[0], min(rank, len(nodes))))
    points[nodes] = leading_eigenvectors(A[nodes][:, nodes], points.shape[1], rng)[1]
    return _by_kmeans(points, nodes, rank, rng)


def leading_eigenvectors(A, k, rng):
    """Return the k largest eigenvalues of a symmetric A (n, n), and their eigenvectors (n, k)."""
    n = A.shape[0]
    if k == 0:
        return np.zeros(0), np.zeros((n, 0))
    with single_threaded_blas():
        if n > SMALL_GRAPH and 2 * k < n:
            with contextlib.suppress(ArpackNoConvergence):
                return eigsh(A, k, which="LA", v0=rng.random(n), tol=1e-6 if sp.issparse(A) else 1e-4)
        A = A.toarray() if sp.issparse(A) else A  # never-densify-ok: small, or as large as the kernel matrix
        return eigh(A, subset_by_index=(n - k, n - 1))


def is_mostly_zero(X):
    """Say whether X (n, m), dense or sparse, has entries, and fewer than a quarter of its values are not zero."""
    values = sp.csr_array(X).data if sp.issparse(X) else X
    return bool(0 < np.count_nonzero(values) < MOSTLY_ZERO * np.prod(X.shape, dtype=float))


def _directions(X):
    """Return X, dense or sparse, with rows divided by their lengths, in CSR: sums of dense rows round differently."""
    X = sp.csr_array(X, copy=True)
    X.sum_duplicates()
    lengths = divisors(np.sqrt(row_squares(X))).astype(X.dtype)
    return sp.csr_array((X.data / lengths[row_index(X)], X.indices, X.indptr), X.shape)


def _scaled_gamma(gamma, exponent):
    """Return ``2 ** exponent`` times gamma, or the largest number that is used where that leaves float64."""
    with np.errstate(over="ignore"):
        return float(np.clip(np.ldexp(float(gamma), exponent), -LARGEST_GAMMA, LARGEST_GAMMA))


def _divided(X, exponent):
    """Return X, dense or CSR, divided by ``2 ** exponent``."""
    if not sp.issparse(X):
        return np.ldexp(X, -exponent)
    X = sp.csr_array(X)
    return sp.csr_array((np.ldexp(X.data, -exponent), X.indices, X.indptr), X.shape)


def normalized(A, of_rows, of_columns):
    """Return a CSR array divided by the roots of the degrees of its rows and columns; degrees of 0 count as 1."""
    left, right = (sp.diags_array(1 / np.sqrt(divisors(degree))) for degree in (of_rows, of_columns))
    return sp.csr_array(left @ A @ right)


def _largest(X):
    """Return the largest absolute value of X, an array or a sparse matrix of any format."""
    values = sp.csr_array(X).data if sp.issparse(X) else X
    return np.abs(values).max(initial=0.0)


def _checked(X):
    """Return X (n, n_features) checked to be finite and real, in the user's scale: kernels depend on the scale."""
    data = Strata.from_array(X, is_signed=True)
    return data.X if data.log4_scale == 0 else X
