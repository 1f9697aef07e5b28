"""NMF with samples or features as nodes of a graph: neighbouring nodes have similar weights."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import scipy.sparse as sp
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from fastnmf.core.factors import aligned, allocate, pad, scaled
from fastnmf.core.inference import infer_divergence, infer_with_neighbours
from fastnmf.core.losses.graph import Graph, NeighbourPull
from fastnmf.core.objectives import divergence_problem, squared_problem
from fastnmf.core.options import check_bool, integer, number, one_of, optional, positive
from fastnmf.core.penalties import penalties_of
from fastnmf.core.schedules import hals_schedule, mu_schedule
from fastnmf.core.thresholds import MU_FLOOR, unit_of
from fastnmf.core.updates import GraphHALS, JointMU
from fastnmf.core.warn import first_was, warn
from fastnmf.data.graphs import (
    EDGE_WEIGHTS,
    NOISE,
    RELIABLE,
    as_affinity,
    check_affinity,
    neighbour_graph,
    neighbours_among,
    transitivity,
)
from fastnmf.kernels.blas import single_threaded_blas, single_threaded_openmp
from fastnmf.kernels.jit import threads
from fastnmf.models.base.for_checkers import Callback, Init, WithStrata, like_fit
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.typing import Factor, File, Floats, Integers, Labels, Matrix, Names, Ranking, Seed, SparseOrDense

DEFAULT_WEIGHTS = {True: 0.5, False: 100.0}  # by `scale_invariant`; 100 is the value of Cai et al.
ALIKE, ROWS_TO_TELL = 0.98, 10  # correlation of two columns of W that is warned of, in fits of so many rows
SWEEPS, AMONG_NEIGHBOURS = 2, 4  # sweeps in an iteration, without and with a graph, where changes spread slowly


class GraphNMF(BaseNMF, WithStrata):
    """Factorise ``X ~ W H`` with W, H >= 0 such that neighbouring samples have similar weights.

    Minimises::

        ||X - W H||² + graph_weight sum_k ||h_k||² w_kᵀ L w_k + feature_weight sum_k ||w_k||² h_kᵀ M h_k

    ``L = D - A`` is the Laplacian of a graph of the samples with affinities A, D the diagonal matrix of its row sums:
    ``w_kᵀ L w_k = 1/2 sum_ij A_ij (w_ik - w_jk)²``. M is the Laplacian of a graph of the features. With ``||h_k|| = 1``
    the first penalty is ``graph_weight tr(Wᵀ L W)``. With ``beta_loss="kullback-leibler"`` the divergence replaces the
    squared error, and half of each penalty is added.

    Parameters
    ----------
    n_components : int, default=2
        Rows of H.
    graph_weight : float, default=None
        Weight of the graph of samples, >= 0; 0 leaves the graph out. None means 0.5, or 100 with
        ``scale_invariant=False``. A graph that was computed gets less than 0.5 where it is noise: 0 if two neighbours
        of a sample are neighbours of each other at most 5 % more often than two of all samples, as in many dimensions
        without structure; 0.5 from 10 % on. With ``scale_invariant=True`` and the squared error the weight has no unit:
        the same value suits X and 2 X, and any number of samples. With Kullback-Leibler it suits entries of about 1 to
        1000, and is relative to the largest entry where that lies outside 0.0005 to 1024. A graph whose neighbours are
        of one kind gains by a weight of 5: k-means on W finds the digits of scikit-learn better. Where neighbours are
        arbitrary, that weight makes the components alike, of which `fit` warns.
    feature_weight : float, default=0.0
        Weight of the graph of features.
    n_neighbors : int, default=5
        Two samples are joined if one is among this number of samples nearest to the other in Euclidean distance. Divide
        samples of different lengths, such as texts, by their norms first. Leave out samples without any non-zero entry:
        they are near to all others.
    edge_weights : {"binary", "heat", "cosine"}, default="binary"
        Affinity of two neighbours at distance d: 1, ``exp(-d² / heat_width)``, or the cosine of the angle between them.
    heat_width : float, default=None
        Width of the heat kernel in squared units of X, > 0. None means the mean of d² over all edges.
    scale_invariant : bool, default=True
        True: the objective above, in which the scale of a component does not matter. False: the objective of the
        source, without ``||h_k||²`` and ``||w_k||²``. Its penalty tends to zero as W shrinks and H grows, so that its
        effect depends on the start and on `max_iter`. Use it to reproduce published results.
    solver : {"cd", "mu"}, default="cd"
        ``"cd"``: exact coordinate descent, which updates one sample after the other with the latest weights of its
        neighbours. ``"mu"``: multiplicative updates.
    beta_loss : {"frobenius", "kullback-leibler"}, default="frobenius"
        Kullback-Leibler needs ``solver="mu"``. With ``scale_invariant=True`` its updates are monotone. With
        ``scale_invariant=False`` they are the ratios of the published programs, which may increase the objective.
    init : {None, "features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default=None
        As for `NMF`.
    max_iter : int, default=300
    tol : float, default=1e-4
        As for `NMF`; 0 runs exactly `max_iter` iterations.
    n_init : int, default=1
        Number of starts; the fit with the lowest objective is kept. No start follows one whose normalized loss is at
        most `tol`.
    random_state : None, int, Generator or RandomState, default=None
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no further iteration begins.
    callback : callable, default=None
        ``callback(state)`` after every iteration, as for `NMF`.
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.
    anchor : {"components", None}, default="deprecated"
        Old name of `scale_invariant`: "components" is True, None is False. It will be removed in version 0.3.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.
    alpha_W, alpha_H : float, default=0.0 and "same"
        Strength of the penalties of W and H beside those of the graphs, as in `NMF`; for the squared error.
    l1_ratio : float, default=0.0
        Share of L1 in these penalties, from 0 (only L2) to 1 (only L1).
    sparse_shifts : bool, default=None
        Whether the `shifts_` of a fit with strata are a csr_array, as in `StratifiedNMF`. None: if they have more than
        10⁸ entries.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        H. With ``scale_invariant=True`` its rows have length one.
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows. Before clustering these rows with ``scale_invariant=False``, multiply the columns
        by the lengths of the components.
    labels_ : ndarray (n_samples,) of int
        Cluster of each training row, -1 for rows whose weights are all zero: `n_components` clusters by k-means on the
        weights of components of length one, in whose distances the penalty counts. The largest weight of a row is not
        a cluster: a strong graph makes columns of W alike. Computed when it is first read.
    graph_weight_ : float
        The weight of the graph of samples that was used; 0 if its neighbours are noise.
    affinity_, feature_affinity_ : csr_array (n_samples, n_samples), (n_features, n_features) of float64
        The graphs that were used.
    heat_width_ : float or None
        The width that was used; None if no width was given and none is needed.
    training_data_ : array or sparse matrix (n_samples, n_features)
        X of the fit, by reference, if the graph of samples was computed from it: `transform` looks for the nearest
        neighbours of new rows in it.
    shifts_, strata_, stratum_sizes_, row_strata_ :
        Only for fits with strata, as for `StratifiedNMF`.
    reconstruction_err_ : float
        ``||X - W H||``, or the square root of twice the divergence.
    history_ : dict of ndarray
        As for `NMF`. The objective with penalties is monotone (except as noted for `beta_loss`).
    n_components_, n_iter_, n_revived_, converged_, stopped_by_, run_objectives_, normalized_loss_ :
        As for `NMF`.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    *Monotone.* With ``scale_invariant=True`` both factors have quadratic subproblems. That of W has the Gram matrix of
    H and the Laplacian times ``||h_k||²``; that of H has the Gram matrix of W and a ridge ``graph_weight w_kᵀ L w_k``
    for each row. Coordinate descent minimises exactly over one entry after the other. Nodes of the same colour in a
    colouring of the graph are not neighbours, and are updated in parallel. The multiplicative update is a gradient step
    at most twice as long as the step to the minimum of a parabola above the objective, because ``L <= 2 D``. For the
    divergence, this parabola replaces the penalty of the graph, and the update of each entry is the root of a quadratic
    equation.

    *Cost.* That of NMF plus ``nnz(A) n_components`` per iteration; the graph is computed once. Sparse X stays sparse.

    *Names*: the source's X, U, V, lambda, p are ``Xᵀ``, ``Hᵀ``, W, `graph_weight`, `n_neighbors`.

    References
    ----------
    D. Cai, X. He, J. Han, T. S. Huang, "Graph regularized nonnegative matrix factorization for data representation",
    IEEE TPAMI 33(8), 2011, doi:10.1109/TPAMI.2010.231 (the penalty, the graphs and ``"mu"``; the scale-invariant
    penalty is ours).
    Q. Gu, J. Zhou, "Co-clustering on manifolds", KDD 2009, doi:10.1145/1557019.1557063 (the graph of features).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import GraphNMF
    >>> X = np.random.default_rng(0).random((6, 40))  # only noise
    >>> A = np.kron(np.eye(2), np.ones((3, 3)))  # samples 0 to 2 are joined, and samples 3 to 5
    >>> GraphNMF(2, random_state=0).fit(X, graph=A).W_.argmax(axis=1)
    array([1, 1, 1, 0, 0, 0])
    """

    graph_weight: float | None
    feature_weight: float
    n_neighbors: int
    edge_weights: Literal["binary", "heat", "cosine"]
    heat_width: float | None
    scale_invariant: bool
    solver: Literal["cd", "mu"]
    beta_loss: Literal["frobenius", "kullback-leibler"]
    init: Init
    anchor: Literal["components", "deprecated"] | None
    alpha_W: float
    alpha_H: float | Literal["same"]
    l1_ratio: float
    sparse_shifts: bool | None
    labels_: Integers
    graph_weight_: float
    affinity_: Any
    feature_affinity_: Any
    heat_width_: float | None
    training_data_: Any

    _constraints = {
        "graph_weight": optional(number("None or a number >= 0")),
        "feature_weight": number(),
        "n_neighbors": integer(),
        "edge_weights": one_of(*EDGE_WEIGHTS),
        "heat_width": positive,
        "scale_invariant": check_bool,
        "anchor": one_of("deprecated", "components", None),
        "solver": one_of("cd", "mu"),
        "beta_loss": one_of("frobenius", "kullback-leibler"),
    }
    _has_shifts, _log4_scale, _unit_exponent = False, 0, 0
    __metadata_request__fit = {"strata": True}
    __metadata_request__fit_transform = {"strata": True}
    __metadata_request__transform = {"strata": True}
    __metadata_request__inverse_transform = {"strata": True}
    __metadata_request__score = {"strata": True}
    _private_state = (*BaseNMF._private_state, "_has_shifts", "_log4_scale", "_unit_exponent")

    @property
    def _fitted_shapes(self):
        return super()._fitted_shapes | {"W_": "nk"}

    if TYPE_CHECKING:  # StrataFeatures after a fit with strata

        def top_features(
            self, n: int = 10, feature_names: Names | None = None, *, by: Ranking | None = None
        ) -> Any: ...

    def __init__(
        self,
        n_components: int = 2,
        *,
        graph_weight: float | None = None,
        feature_weight: float = 0.0,
        n_neighbors: int = 5,
        edge_weights: Literal["binary", "heat", "cosine"] = "binary",
        heat_width: float | None = None,
        scale_invariant: bool = True,
        solver: Literal["cd", "mu"] = "cd",
        beta_loss: Literal["frobenius", "kullback-leibler"] = "frobenius",
        init: Init = None,
        max_iter: int = 300,
        tol: float = 1e-4,
        n_init: int = 1,
        random_state: Seed = None,
        verbose: int = 0,
        max_time: float | None = None,
        callback: Callback | None = None,
        n_threads: int | None = None,
        anchor: Literal["components", "deprecated"] | None = "deprecated",
        warm_start: bool = False,
        alpha_W: float = 0.0,
        alpha_H: float | Literal["same"] = "same",
        l1_ratio: float = 0.0,
        sparse_shifts: bool | None = None,
    ):
        self._set(locals())

    def fit(
        self,
        X: Matrix,
        y: Any = None,
        *,
        graph: Matrix | Graph | None = None,
        feature_graph: Matrix | Graph | None = None,
        strata: Labels | None = None,
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
        X : array or sparse matrix (n_samples, n_features)
            Non-negative, finite. float32 stays float32.
        y : ignored
        graph : sparse matrix or array (n_samples, n_samples), or object with nodes and edges, default=None
            Affinities of the samples, in the order of the rows of X: symmetric, >= 0. An object with nodes and edges,
            such as a graph of networkx, provides its edge weights. None finds the nearest neighbours in X.
        feature_graph : sparse matrix or array (n_features, n_features), or object with nodes and edges, default=None
            Affinities of the features. None finds the nearest columns of X if ``feature_weight > 0``.
        strata : array-like (n_samples,), default=None
            Label of each row. With labels the model is ``1 v(i)ᵀ + W(i) H`` with a shift v(i) >= 0 for every stratum,
            as in `StratifiedNMF`; the graph may join samples of different strata.
        W, H, V : ndarray (n_samples, k), (k, n_features), (n_strata, n_features), default=None
            Start for ``init="custom"``; V, which may be a sparse matrix, only with strata.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; see `NMF.fit`.
        checkpoint : str or path, default=None
            File of the state of the fit; see `NMF.fit`.
        checkpoint_every : float, default=60.0
            Seconds between two saves.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Parameters, data, graphs, labels or starts cannot be used. The message says what was given, what was
            expected and what to do.
        """
        if V is not None and strata is None:
            raise ValueError(
                "V, a start of shifts, was given without strata; pass strata=, one label per row, or leave V out."
            )
        if self.anchor != "deprecated":
            warn(
                f"anchor={self.anchor!r} is deprecated and will be removed in version 0.3; use "
                f"scale_invariant={self.anchor is not None}.",
                FutureWarning,
            )
        self._has_shifts = strata is not None
        given = {"graph": graph, "feature_graph": feature_graph, "strata": strata, "W": W, "H": H, "V": V}
        return self._fit(X, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every, **given)

    if not TYPE_CHECKING:  # which would take any attribute for known

        def __getattr__(self, name):
            """Compute `labels_` of a fitted model when it is first read; k-means takes time that few need."""
            if name != "labels_" or not vars(self).keys() >= {"W_", "components_"}:
                return super().__getattribute__(name)  # raises
            H = np.ldexp(self.components_, -int(np.frexp(self.components_.max(initial=0.0))[1]))
            self.labels_ = clusters_of(self.W_ * np.linalg.norm(H, axis=1))
            return self.labels_

    @like_fit
    def fit_transform(self, X: Matrix, y: Any = None, *, strata: Labels | None = None, **given: Any) -> Floats:
        """Fit the model and return the weights of the rows of X, (n_samples, n_components); arguments as in `fit`."""
        return self.fit(X, strata=strata, **given).W_

    def transform(self, X: Matrix, *, strata: Labels | None = None, graph: Matrix | Graph | None = None) -> Floats:
        """Return the non-negative weights of the rows of X.

        The weights w of a row x minimise ``||x - w H||² + graph_weight sum_j a_j sum_k ||h_k||² (w_k - w_jk)²`` over
        w >= 0, where w_j are the weights of the `n_neighbors` nearest samples of the fit and a_j the affinities to
        them. The penalty of the features is added as in `fit`. The minimiser is exact for the squared error; for the
        divergence, half of the penalties is added and at most `max_iter` updates are made. A row that equals a sample
        of the fit gets the weights that this sample has in `W_`.

        Parameters
        ----------
        X : array or sparse matrix (n_samples, n_features)
        strata : array-like (n_samples,), default=None
            Label of each row, among `strata_`, for a fit with strata.
        graph : sparse matrix or array (n_samples, n_samples of the fit), default=None
            Affinities >= 0 to the samples of the fit. None finds the nearest of these. If `fit` was given its graph, it
            has not stored its data: None then leaves out the penalty of the samples.

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        check_is_fitted(self)
        if strata is not None and not self._has_shifts:
            raise ValueError(
                "strata were given, but the model was fitted without; leave them out, or fit with strata=."
            )
        options = self._options()
        with threads(options.n_threads):
            return self._infer_near_neighbours(*self._prepared(X, strata, options), graph, options)

    @first_was("W")
    def inverse_transform(self, X: SparseOrDense, *, strata: Labels | None = None) -> Floats:
        """Return ``X H`` for weights X, with the shifts of a fit with strata, dense (n_samples, n_features)."""
        return self._inverse_transform(X, strata)

    def score(self, X: Matrix, y: Any = None, *, strata: Labels | None = None) -> float:
        """Return one minus the ratio of the loss of X, without penalties, to that of the trivial model; at most 1."""
        options, W = self._options(), np.asarray(self.transform(X, strata=strata))
        data, H, V = self._prepared(X, strata, options)
        if V is not None:
            data.pattern = data.pattern.covering(V)
        factors, tasks = allocate(data, scaled(W, data.log4_scale), H, None if V is None else data.pattern.entries(V))
        problem = self._problem(data, factors, tasks, options)
        return 1.0 if problem.scale == 0 else float(1 - problem.value(factors) / problem.scale)

    def _check_options(self, options):
        super()._check_options(options)
        if not options.is_squared and (options.W.alpha or options.H.alpha):
            raise ValueError(
                f"alpha_W and alpha_H of a GraphNMF need beta_loss='frobenius'; it is {self.beta_loss!r}. Leave one "
                "of them out."
            )

    def _options(self):
        return replace(super()._options(), normalize="l2" if self._is_scale_invariant else None)

    def _uses_of_rows(self, is_fit):
        return ("strata",) if is_fit or self._has_shifts else ()

    @property
    def _is_scale_invariant(self):
        """Whether the penalty is scale-invariant; the deprecated `anchor`, if given, takes precedence."""
        return self.scale_invariant if self.anchor == "deprecated" else self.anchor is not None

    def _infer_near_neighbours(self, data, H, V, graph, options):
        """Return the weights of new rows with penalties on their differences from neighbours in the training data.

        Parameters
        ----------
        data : fastnmf.data.strata.Strata
        H : ndarray (n_features, k)
            In the inner scale of `data`.
        V : ndarray (n_strata, n_features), or None
            Shifts in the inner scale of `data`.
        graph : sparse matrix or array (n_rows, n_samples of the fit), or None
            Affinities; None finds the nearest samples of the fit.
        options : Options

        Returns
        -------
        ndarray (n_rows, k)
            In the scale of the user's data.
        """
        of_samples, of_features = (self._inner(weight, data, options) for weight in self._weights())
        affinity, same = self._affinity_to_fit(data, graph)
        W, G = scaled(self.W_.astype(np.float64), data.log4_scale), H.astype(np.float64)
        scale = of_samples * (np.square(G).sum(axis=0) if self._is_scale_invariant else np.ones(G.shape[1]))
        pull, own = scale * (affinity @ W), scale * np.asarray(affinity.sum(axis=1)).reshape(-1, 1)
        if of_features and self._is_scale_invariant:  # for W, the penalty of the features is a ridge
            A = getattr(self, "feature_affinity_", None)
            if A is None:
                raise NotFittedError("This GraphNMF was fitted without a graph of features; call fit with its weight.")
            own = own + of_features * (G * (np.asarray(A.sum(axis=1)).reshape(-1, 1) * G - A @ G)).sum(axis=0)
        if options.is_squared:
            for net in penalties_of(data, options, "W").get("W", ()):
                pull, own = pull - net.l1, own + net.l2
            found = infer_with_neighbours(*self._normal_equations(data, H, V), G.shape[1], pull, own, data.dtype)
        else:
            drawn, update = [NeighbourPull(pull, own)], JointMU(floor=MU_FLOOR[data.dtype])
            found, _ = infer_divergence(data, H, V, options.loss, drawn, options.max_iter, update)
        found = np.where(same[:, None] >= 0, W[same], found[:, : G.shape[1]]).astype(data.dtype)
        return scaled(found, -data.log4_scale)

    def _normal_equations(self, data, H, V):
        """Return pos (n_rows, K), with shifts subtracted, and gram (K, K) of the squared error without penalties."""
        H = pad(H, data)
        pos = aligned((data.shape[0], H.shape[1]), data.dtype)
        data.matmul(H, pos)
        H = H.astype(np.float64)
        with single_threaded_blas():
            pos = pos if V is None else pos - (V @ H)[data.stratum_index]
            return pos, H.T @ H

    def _affinity_to_fit(self, data, graph):
        """Return the affinities of rows to training rows, and for each row the index of an equal training row or -1."""
        n, n_fit = data.shape[0], len(self.W_)
        nobody = np.full(n, -1)
        if graph is not None:
            A = as_affinity(graph)
            if A.shape != (n, n_fit):
                raise ValueError(
                    f"graph has shape {A.shape}; expected ({n}, {n_fit}): affinities of the rows of X to those of fit."
                )
            return A, nobody
        if not hasattr(self, "training_data_"):
            return sp.csr_array((n, n_fit)), nobody
        known, X = self.training_data_, data.in_scale(self.training_data_.dtype, self._log4_scale).X
        width = self._inner_width(self.heat_width_)
        A, same = neighbours_among(X, known, self.n_neighbors, self.edge_weights, width)
        if self._has_shifts:
            same = np.where(self.row_strata_[same] == data.stratum_index, same, -1)
        return A, same

    def _weights(self):
        """Return the weights of the graphs of samples and of features."""
        return getattr(self, "graph_weight_", self._given_weight()), self.feature_weight

    def _given_weight(self):
        """Return the weight of the graph of samples before the graph is looked at."""
        return DEFAULT_WEIGHTS[self._is_scale_invariant] if self.graph_weight is None else float(self.graph_weight)

    def _data(self, X, given, options):
        """Return the data of a fit, and set the attributes of the graphs."""
        of_graphs = ("affinity_", "feature_affinity_", "heat_width_", "training_data_", "labels_")
        for name in of_graphs:  # those of the previous fit
            self.__dict__.pop(name, None)
        data, self.graph_weight_ = super()._data(X, given, options), self._given_weight()
        of_samples, of_features = self._weights()
        self._log4_scale, unit = data.log4_scale, unit_of(data.X.data if data.is_sparse else data.X)
        self._unit_exponent = int(np.frexp(unit)[1]) - 1 - 2 * data.log4_scale
        if given.get("graph") is not None:
            self.affinity_ = given["graph"] = check_affinity(given["graph"], data.shape[0])
        elif of_samples:
            self.affinity_, width = self._neighbours(data.X)
            with np.errstate(over="ignore"):
                self.heat_width_ = None if width is None else float(np.ldexp(width, -4 * data.log4_scale))
            self.training_data_ = data.X
            if self.graph_weight is None and self._is_scale_invariant:
                excess = (transitivity(self.affinity_) - NOISE) / (RELIABLE - NOISE)
                self.graph_weight_ *= min(max(excess, 0.0), 1.0)
        if (graph := given.get("feature_graph")) is not None:
            self.feature_affinity_ = check_affinity(graph, data.shape[1], "feature_graph", "features")
            given["feature_graph"] = self.feature_affinity_
        elif of_features:
            self.feature_affinity_, _ = self._neighbours(data.X.T)
        return data

    def _neighbours(self, X):
        """Return the affinities of the rows of X, and the width of the heat kernel (or None) in the inner scale."""
        X = sp.csr_array(X) if sp.issparse(X) else X
        return neighbour_graph(X, self.n_neighbors, self.edge_weights, self._inner_width(self.heat_width))

    def _inner_width(self, width):
        if width is None:
            return None
        with np.errstate(over="ignore"):
            inner = float(np.ldexp(width, 4 * self._log4_scale))
        if not 0 < inner < np.inf:
            raise ValueError(
                f"heat_width={width:g} is not a usable width for data of this scale, whose squares leave float64; "
                "scale X."
            )
        return inner

    def _problem(self, data, factors, tasks, options):
        if not options.is_squared:
            return divergence_problem(data, factors, tasks, options.loss)
        is_descent, weights = options.solver == "cd", self._weights()
        of_W, of_H = (AMONG_NEIGHBOURS if weight else SWEEPS for weight in weights)
        if self._has_shifts:
            schedule = hals_schedule((of_W, 1, of_H)) if is_descent else mu_schedule()
        else:
            schedule = (("W", of_W), ("H", of_H)) if is_descent else (("W", 1), ("H", 1))
        return squared_problem(data, factors, tasks, schedule, is_descent=is_descent, holds_products=any(weights))

    def _constrain(self, data, problem, factors, options, *, free_mask=None, guide=None):
        """Add the penalties of the graphs to a problem, and choose the updates for them.

        Parameters
        ----------
        data : fastnmf.data.strata.Strata
        problem : fastnmf.core.problem.Problem
            Changed in place.
        factors : Factors
            The start.
        options : Options
        free_mask, guide : None
            Not used: this model has no fixed or guided components.
        """
        super()._constrain(data, problem, factors, options)
        of_samples, of_features = self._weights()
        is_scale_invariant = self._is_scale_invariant
        is_ratio = options.is_squared or not is_scale_invariant
        way = "descent" if options.solver == "cd" else "ratio" if is_ratio else "joint"
        more = {"way": way, "is_scale_invariant": is_scale_invariant, "unit": 2 if options.is_squared else 1}
        if of_samples:
            problem.losses.append(
                Graph("W", self.affinity_, self._inner(of_samples, data, options), data.dtype, **more)
            )
        if of_features:
            weight = self._inner(of_features, data, options)
            problem.losses.append(Graph("H", self.feature_affinity_, weight, data.dtype, **more))
        if len(problem.losses) == 1:
            return
        problem.equalize_norms &= is_scale_invariant
        problem.balance_penalties &= is_scale_invariant  # else other scales of components are another penalty
        problem.reseed_dead_component = problem.reseed_dead_component if is_scale_invariant else None
        if way == "descent":
            problem.updates |= {"W": GraphHALS(), "H": GraphHALS()}
        elif way == "joint":
            problem.updates |= dict.fromkeys("WH", JointMU(floor=MU_FLOOR[data.dtype]))

    def _has_free_scale(self, problem, options):
        return super()._has_free_scale(problem, options) and not any(self._weights())

    def _inner(self, weight, data, options):
        """Return the weight of a graph in the inner scale.

        With ``s = 2 ** log4_scale`` the loss is multiplied by ``s ** (2 beta)``, and each of W and H by s. The penalty
        has four factors, or two if it is not scale-invariant. With four factors it has the unit of the squared error;
        beside a divergence of X that is not near 1 it is divided by the size of X.
        """
        exponent = data.log4_scale * (2 * options.beta - (4 if self._is_scale_invariant else 2))
        if self._is_scale_invariant and not options.is_squared:
            exponent -= self._unit_exponent
        return weight * float(np.exp2(exponent))

    def _final_exact_W(self, data, fit, options):
        """Leave W unchanged: the exact weights of a row depend on those of its neighbours."""

    def _warn(self, fit, options):
        """Warn if the fit has not converged, and if the graph of samples has made columns of W alike."""
        super()._warn(fit, options)
        if self.graph_weight_ == 0 or len(self.W_) < ROWS_TO_TELL:
            return
        first, second, correlation = most_alike(self.W_)
        if correlation > ALIKE:
            warn(
                f"Columns {first} and {second} of W_ have a correlation of {correlation:.3f} because the graph makes "
                f"components alike; lower graph_weight={self.graph_weight_:g} or n_components, and read clusters in "
                "labels_.",
                UserWarning,
            )


def most_alike(W):
    """Return the numbers of the two columns of W (n, k) that correlate most, and their correlation; -1 without two."""
    centred = W - W.mean(axis=0, dtype=np.float64)
    lengths = np.linalg.norm(centred, axis=0)
    centred = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)
    with single_threaded_blas():
        found = np.triu(centred.T @ centred, 1) - np.tri(W.shape[1])
    first, second = np.unravel_index(found.argmax(), found.shape)
    return int(first), int(second), float(found[first, second])


def clusters_of(points):
    """Return k clusters of the rows of `points` (n, k) >= 0 by k-means, int64 (n,); -1 for rows of zeros."""
    labels, rows = np.full(len(points), -1), np.flatnonzero(points.any(axis=1))
    if len(rows):
        points = np.ldexp(points[rows], -int(np.frexp(points.max())[1])).astype(np.float64)  # 1e-200 has no square
        n_clusters = min(points.shape[1], len(np.unique(points, axis=0)))
        with single_threaded_openmp():
            labels[rows] = KMeans(n_clusters, n_init=10, random_state=0).fit_predict(points)
    return labels
