"""NMF whose samples, or features, are the nodes of a graph: neighbours have similar weights."""

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted

from fastnmf.data import single_threaded_blas
from fastnmf.graphs import EDGE_WEIGHTS, check_affinity, neighbour_graph, neighbours_among
from fastnmf.models.base import NNDSVD, BaseNMF, scaled
from fastnmf.models.options import check_choice, check_integer, check_number
from fastnmf.models.problems import divergence_problem, infer_divergence, squared_problem
from fastnmf.models.stratified import hals_schedule, mu_schedule
from fastnmf.models.transfer import check_init
from fastnmf.moves import MU_FLOOR, GraphHALS, JointMU
from fastnmf.problem import aligned
from fastnmf.solve import pad, threads
from fastnmf.terms.graph import Drawn, Graph, infer_near

WEIGHTS = {"components": 1.0, None: 100.0}
SWEEPS = (2, 2)


class GraphNMF(BaseNMF):
    """Factorise ``X ~ W H`` with W, H >= 0 such that samples that are near each other have similar weights.

    Minimises::

        ||X - W H||² + graph_weight sum_k ||h_k||² w_kᵀ L w_k + feature_weight sum_k ||w_k||² h_kᵀ M h_k

    ``L = D - A`` is the Laplacian of a graph of the samples with affinities A, D the diagonal matrix of its row sums:
    ``w_kᵀ L w_k = 1/2 sum_ij A_ij (w_ik - w_jk)²``. M is that of a graph of the features. With ``||h_k|| = 1`` the
    first penalty is ``graph_weight tr(Wᵀ L W)``.
    """

    l1_ratio, alpha_W, alpha_H, guide_weight = 0.0, 0.0, 0.0, 0.0
    missing_values = fixed_components = seed_features = None
    warm_start = False
    _has_shifts, _exponent, _graphs = False, 0, (None, None)
    _kept_privately = (*BaseNMF._kept_privately, "_has_shifts", "_exponent")

    def __init__(
        self,
        n_components=2,
        *,
        graph_weight=None,
        feature_weight=0.0,
        n_neighbors=5,
        edge_weights="binary",
        heat_width=None,
        anchor="components",
        solver="cd",
        beta_loss="frobenius",
        init=None,
        max_iter=300,
        tol=1e-4,
        n_init=1,
        random_state=None,
        verbose=0,
        max_time=None,
        callback=None,
        n_threads=None,
    ):
        self.n_components = n_components
        self.graph_weight = graph_weight
        self.feature_weight = feature_weight
        self.n_neighbors = n_neighbors
        self.edge_weights = edge_weights
        self.heat_width = heat_width
        self.anchor = anchor
        self.solver = solver
        self.beta_loss = beta_loss
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.random_state = random_state
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback
        self.n_threads = n_threads

    def fit(self, X, y=None, *, graph=None, feature_graph=None, strata=None, W=None, H=None, V=None):
        """Fit the model."""
        self._graphs, self._has_shifts = (graph, feature_graph), strata is not None
        try:
            self._fit(X, strata, W, H, V)
        finally:
            del self._graphs
        return self

    def fit_transform(self, X, y=None, *, graph=None, feature_graph=None, strata=None, W=None, H=None, V=None):
        """Fit the model and return the weights of the rows of X, (n_samples, n_components); see `fit`."""
        return self.fit(X, graph=graph, feature_graph=feature_graph, strata=strata, W=W, H=H, V=V).W_

    def transform(self, X, *, strata=None, graph=None):
        """Return weights."""
        check_is_fitted(self)
        with threads(self.n_threads):
            W = self._near_weights(*self._prepared(X, strata), graph)
        return W

    def _near_weights(self, data, H, V, graph):
        """Return the weights of rows drawn to those of their neighbours in fit, in the scale of the data."""
        rank, weight = self.n_components_, self._inner(self._weights()[0], data)
        affinity, same = self._affinity_to_fit(data, graph)
        W = scaled(self.W_.astype(np.float64), data.exponent)
        near, degree = affinity @ W, np.asarray(affinity.sum(axis=1)).ravel()
        scale = weight * (np.square(H.astype(np.float64)).sum(axis=0) if self.anchor else np.ones(rank))
        if self._is_squared:
            found = infer_near(*self._normal_equations(data, H, V), rank, near, degree, scale, data.dtype)
        else:
            drawn, move = [Drawn(near, degree, scale)], JointMU(floor=MU_FLOOR[data.dtype])
            found, _, _ = infer_divergence(data, H, V, self._beta(), drawn, self.max_iter, move)
        found = np.where(same[:, None] >= 0, W[same], found[:, :rank]).astype(data.dtype)
        return scaled(found, -data.exponent)

    def _normal_equations(self, data, H, V):
        """Return what the squared error alone asks of W: pos (n_rows, K), less what the shifts give, and gram."""
        H = pad(H, data)
        pos = aligned((data.shape[0], H.shape[1]), data.dtype)
        data.matmul(H, pos)
        H = H.astype(np.float64)
        with single_threaded_blas():
            pos = pos if V is None else pos - (V @ H)[data.codes]
            return pos, H.T @ H

    def _affinity_to_fit(self, data, graph):
        """Return the affinities of rows to those of fit, and which rows are the same as one of fit (-1: none)."""
        n, n_fit = data.shape[0], len(self.W_)
        nobody = np.full(n, -1)
        if graph is not None:
            A = sp.csr_array(graph, dtype=np.float64)
            if A.shape != (n, n_fit) or not np.isfinite(A.data).all() or (A.data < 0).any():
                raise ValueError(
                    f"graph has shape {A.shape}; expected ({n}, {n_fit}): affinities >= 0 of the rows of X to those of "
                    "fit."
                )
            return A, nobody
        if not hasattr(self, "training_data_"):
            return sp.csr_array((n, n_fit)), nobody
        known, X = self.training_data_, data.in_scale(self.training_data_.dtype, self._exponent).X
        A, same = neighbours_among(X, known, self.n_neighbors, self.edge_weights, self._width(self._exponent))
        if self._has_shifts:
            same = np.where(self.row_strata_[same] == data.codes, same, -1)
        return A, same

    def _check_parameters(self):
        check_integer("n_components", self.n_components)
        if self.graph_weight is not None:
            check_number("graph_weight", self.graph_weight, "None or a number >= 0")
        check_number("feature_weight", self.feature_weight)
        check_integer("n_neighbors", self.n_neighbors)
        check_choice("edge_weights", self.edge_weights, EDGE_WEIGHTS)
        if self.heat_width is not None:
            check_number("heat_width", self.heat_width, "None or a number > 0")
            if self.heat_width == 0:
                raise ValueError("heat_width=0 is not valid; expected None or a number > 0.")
        check_choice("anchor", self.anchor, tuple(WEIGHTS))
        check_choice("solver", self.solver, ("cd", "mu"))
        check_choice("beta_loss", self.beta_loss, ("frobenius", "kullback-leibler"))
        check_init(self.init, (None, "features", "rows", "random", *NNDSVD, "custom"))
        super()._check_parameters()

    def _weights(self):
        """Return the weights of the two graphs."""
        return WEIGHTS[self.anchor] if self.graph_weight is None else float(self.graph_weight), self.feature_weight

    def _strata(self, X, strata, sample_weight, weight):
        """Return the data of a fit; on the way build the graphs, of X as it came."""
        of_samples, of_features = self._weights()
        graph, feature_graph = self._graphs
        data = super()._strata(X, strata, sample_weight, weight)
        self._exponent = data.exponent
        for name in ("affinity_", "feature_affinity_", "heat_width_", "training_data_"):
            vars(self).pop(name, None)
        if graph is not None:
            self.affinity_ = check_affinity(graph, data.shape[0])
        elif of_samples:
            self.affinity_, self.heat_width_ = self._neighbours(data.X)
            self.training_data_ = data.X
        if feature_graph is not None:
            self.feature_affinity_ = check_affinity(feature_graph, data.shape[1], "feature_graph", "features")
        elif of_features:
            self.feature_affinity_, _ = self._neighbours(data.X.T)
        return data

    def _neighbours(self, X):
        """Return the affinities of the rows of X, in the inner scale, and the width of the heat in the user's."""
        X, width = sp.csr_array(X) if sp.issparse(X) else X, self._width(self._exponent)
        affinity, width = neighbour_graph(X, self.n_neighbors, self.edge_weights, width)
        return affinity, None if width is None else width * 2.0 ** (-4 * self._exponent)

    def _width(self, exponent):
        width = getattr(self, "heat_width_", self.heat_width)
        return None if width is None else width * 2.0 ** (4 * exponent)

    def _problem(self, data, factors, tasks):
        if not self._is_squared:
            return divergence_problem(data, factors, tasks, self._beta())
        is_descent = self.solver == "cd"
        if self._has_shifts:
            schedule = hals_schedule((2, 1, 2)) if is_descent else mu_schedule()
        else:
            schedule = tuple(zip("WH", SWEEPS, strict=True)) if is_descent else (("W", 1), ("H", 1))
        return squared_problem(data, factors, tasks, schedule, is_descent=is_descent, holds_products=not is_descent)

    def _constrain(self, data, problem, factors, free, guide):
        of_samples, of_features = self._weights()
        is_anchored = self.anchor is not None
        way = "descent" if self.solver == "cd" else "ratio" if self._is_squared or not is_anchored else "joint"
        options = {"way": way, "is_anchored": is_anchored, "unit": 2 if self._is_squared else 1}
        if of_samples:
            problem.terms.append(Graph("W", self.affinity_, self._inner(of_samples, data), data.dtype, **options))
        if of_features:
            weight = self._inner(of_features, data)
            problem.terms.append(Graph("H", self.feature_affinity_, weight, data.dtype, **options))
        if len(problem.terms) == 1:
            return
        problem.anchors_scale &= is_anchored
        problem.revive = problem.revive if is_anchored else None
        if way == "descent":
            problem.moves |= {"W": GraphHALS(), "H": GraphHALS()}
        elif way == "joint":
            problem.moves |= dict.fromkeys("WH", JointMU(floor=MU_FLOOR[data.dtype]))

    def _inner(self, weight, data):
        """Return a weight in the inner scale: the loss goes with its power 2 beta, and each factor with its first."""
        return weight * 2.0 ** (data.exponent * (2 * self._beta() - (4 if self.anchor else 2)))

    def _extrapolation(self, factors, tasks):
        return None

    def _settle(self, data, problem, fit):
        """Leave W as it is: a row cannot be solved for without its neighbours."""
