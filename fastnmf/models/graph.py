"""NMF whose samples, or features, are the nodes of a graph: neighbours have similar weights."""

import numpy as np
import scipy.sparse as sp

from fastnmf.graphs import EDGE_WEIGHTS, check_affinity, neighbour_graph, neighbours_among
from fastnmf.models.base import NNDSVD, BaseNMF, scaled
from fastnmf.models.options import check_choice, check_integer, check_number
from fastnmf.models.problems import divergence_problem, squared_problem
from fastnmf.models.stratified import hals_schedule, mu_schedule
from fastnmf.moves import MU_FLOOR, GraphHALS, JointMU
from fastnmf.problem import full
from fastnmf.solve import infer, pad
from fastnmf.terms.graph import Graph, infer_near

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
    _has_shifts = False

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

    def transform(self, X):
        """Return weights."""
        return self._transform(X)

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
        check_choice("init", self.init, (None, "features", "rows", "random", *NNDSVD, "custom"))
        super()._check_parameters()

    def _weights(self):
        """Return the weights of the two graphs."""
        return WEIGHTS[self.anchor] if self.graph_weight is None else float(self.graph_weight), self.feature_weight

    def _strata(self, X, strata, sample_weight, weight):
        """Return the data of a fit; on the way build the graphs, of X as it came."""
        of_samples, of_features = self._weights()
        graph, feature_graph = self._graphs
        data = super()._strata(X, strata, sample_weight, weight)
        for name in ("affinity_", "feature_affinity_", "heat_width_", "training_data_"):
            vars(self).pop(name, None)
        if graph is not None:
            self.affinity_ = check_affinity(graph, X.shape[0])
        elif of_samples:
            self.affinity_, self.heat_width_ = self._neighbours(X)
            self.training_data_ = X
        if feature_graph is not None:
            self.feature_affinity_ = check_affinity(feature_graph, X.shape[1], "feature_graph", "features")
        elif of_features:
            self.feature_affinity_, _ = self._neighbours(X.T)
        return data

    def _neighbours(self, X):
        X = sp.csr_array(X) if sp.issparse(X) else X
        return neighbour_graph(X, self.n_neighbors, self.edge_weights, self.heat_width)

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
