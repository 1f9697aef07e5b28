"""NMF whose samples, or features, are the nodes of a graph: neighbours have similar weights."""

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted

from fastnmf.blas import single_threaded_blas
from fastnmf.graphs import EDGE_WEIGHTS, as_affinity, check_affinity, neighbour_graph, neighbours_among
from fastnmf.models.base import NNDSVD, BaseNMF, scaled
from fastnmf.models.options import check_choice, check_integer, check_number
from fastnmf.models.problems import divergence_problem, infer_divergence, squared_problem
from fastnmf.models.stratified import hals_schedule, mu_schedule
from fastnmf.models.transfer import check_init
from fastnmf.moves import MU_FLOOR, GraphHALS, JointMU
from fastnmf.problem import aligned
from fastnmf.solve import allocate, pad, threads
from fastnmf.terms.graph import Drawn, Graph, infer_near

WEIGHTS = {"components": 5.0, None: 100.0}  # the latter is that of Cai et al.
SWEEPS, AMONG_NEIGHBOURS = 2, 4  # of a factor, in one iteration: a graph hands on what it learns slowly


class GraphNMF(BaseNMF):
    """Factorise ``X ~ W H`` with W, H >= 0 such that samples that are near each other have similar weights.

    Minimises::

        ||X - W H||² + graph_weight sum_k ||h_k||² w_kᵀ L w_k + feature_weight sum_k ||w_k||² h_kᵀ M h_k

    ``L = D - A`` is the Laplacian of a graph of the samples with affinities A, D the diagonal matrix of its row sums:
    ``w_kᵀ L w_k = 1/2 sum_ij A_ij (w_ik - w_jk)²``. M is that of a graph of the features. With ``||h_k|| = 1`` the
    first penalty is ``graph_weight tr(Wᵀ L W)``. With ``beta_loss="kullback-leibler"`` the divergence takes the place
    of the squared error, and half of each penalty is added.

    Parameters
    ----------
    n_components : int, default=2
        Rows of H.
    graph_weight : float, default=None
        Weight of the graph of samples; 0 does without. None is 5 with the anchor, and 100 without. With the anchor and
        the squared error it has no unit: twice the X, or twice the samples, ask for the same. Groups of a hundred
        samples bear 100, groups of five not more than 5. Where all samples are alike but for a little, so that chance
        decides who is near whom, the graph does harm: compare with a tenth and a hundredth of it.
    feature_weight : float, default=0.0
        Weight of the graph of features.
    n_neighbors : int, default=5
        A sample is joined with its nearest ones in Euclidean distance, and those with it. Samples of different lengths,
        as texts, are best divided by their norms first, and samples without any entry left out: they are near to all.
    edge_weights : {"binary", "heat", "cosine"}, default="binary"
        Affinity of two neighbours: 1, ``exp(-d² / heat_width)``, or the cosine of the angle between them.
    heat_width : float, default=None
        None is the mean of d² over all edges.
    anchor : {"components", None}, default="components"
        ``"components"``: the objective above, in which the scale of a component does not matter. None: that of the
        source, without ``||h_k||²`` and ``||w_k||²``. Its penalty vanishes as W shrinks and H grows, so that the start
        and `max_iter` decide how much of it is left; it is there to reproduce published numbers.
    solver : {"cd", "mu"}, default="cd"
        ``"cd"``: exact coordinate descent, one sample after the other, each of which sees what its neighbours have just
        become. ``"mu"``: multiplicative updates.
    beta_loss : {"frobenius", "kullback-leibler"}, default="frobenius"
        The latter needs ``solver="mu"``. Without the anchor its updates are the ratios of the published programs, and
        may raise the objective; with it they never do.
    init : {None, "features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default=None
        As for `NMF`.
    max_iter : int, default=300
    tol : float, default=1e-4
        As for `NMF`; 0 runs exactly `max_iter` iterations.
    n_init : int, default=1
        Starts that are tried; the one with the lowest objective is kept.
    random_state : None, int, Generator or RandomState, default=None
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no other iteration begins.
    callback : callable, default=None
        ``callback(state)`` after every iteration, as for `NMF`.
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        With the anchor its rows have length one.
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows: what to cluster (without the anchor, divide it by the lengths of the components).
    affinity_, feature_affinity_ : csr_array (n_samples, n_samples), (n_features, n_features) of float64
        The graphs that were used.
    heat_width_ : float or None
        The width that was used.
    training_data_ : array or sparse matrix (n_samples, n_features)
        X of the fit, where its neighbours were looked for, for `transform` to look there, too. By reference.
    shifts_, strata_, stratum_sizes_, row_strata_ :
        Of a fit with strata, as for `StratifiedNMF`.
    reconstruction_err_ : float
        ``||X - W H||``, or the square root of twice the divergence.
    history_ : dict of ndarray
        As for `NMF`; the objective, penalties included, never rises (but see `beta_loss`).
    n_components_, n_iter_, n_revived_, converged_, stopped_by_, run_objectives_, normalized_loss_ :
        As for `NMF`.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    *Monotone.* With the anchor both factors still have quadratic subproblems: W meets the Gram matrix of H and the
    Laplacian times ``||h_k||²``, H its own and a ridge ``graph_weight w_kᵀ L w_k`` of each row. Coordinate descent
    minimises exactly along one entry after the other; nodes that are not neighbours move side by side, as a colouring
    of the graph allows. The multiplicative update is a gradient step at most twice as long as the one to the least
    point of a parabola above the objective, as ``L <= 2 D``. For the divergence the graph is replaced by that parabola,
    and each entry goes to the root of a quadratic equation.

    *Cost.* That of NMF and ``nnz(A) n_components`` an iteration; the graph is found once. Sparse X stays sparse.

    *Names*: the source's X, U, V, lambda, p are ``Xᵀ``, ``Hᵀ``, W, `graph_weight`, `n_neighbors`.

    References
    ----------
    D. Cai, X. He, J. Han, T. S. Huang, "Graph regularized nonnegative matrix factorization for data representation",
    IEEE TPAMI 33(8), 2011, doi:10.1109/TPAMI.2010.231 (the penalty, the graphs and ``"mu"``; the anchor is ours).
    Q. Gu, J. Zhou, "Co-clustering on manifolds", KDD 2009, doi:10.1145/1557019.1557063 (a graph of features, too).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import GraphNMF
    >>> X = np.random.default_rng(0).random((6, 40))  # nothing but noise
    >>> A = np.kron(np.eye(2), np.ones((3, 3)))  # samples 0 to 2 know each other, and samples 3 to 5
    >>> GraphNMF(2, random_state=0).fit(X, graph=A).W_.argmax(axis=1)
    array([1, 1, 1, 0, 0, 0])
    """

    l1_ratio, alpha_W, alpha_H, guide_weight = 0.0, 0.0, 0.0, 0.0
    missing_values = fixed_components = seed_features = None
    warm_start = False
    _has_shifts, _exponent, _graphs = False, 0, (None, None)
    __metadata_request__fit = {"strata": True}
    __metadata_request__fit_transform = {"strata": True}
    __metadata_request__transform = {"strata": True}
    __metadata_request__inverse_transform = {"strata": True}
    __metadata_request__score = {"strata": True}
    _private_state = (*BaseNMF._private_state, "_has_shifts", "_exponent")

    @property
    def _fitted_shapes(self):
        return super()._fitted_shapes | {"W_": "nk"}

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
        """Fit the model.

        Parameters
        ----------
        X : array or sparse matrix (n_samples, n_features)
            Non-negative, finite. float32 stays float32.
        y : ignored
        graph : sparse matrix or array (n_samples, n_samples), or object with nodes and edges, default=None
            Affinities of the samples: symmetric, >= 0, in their order; a graph of networkx, or like one, gives its
            weights. None finds the nearest neighbours in X.
        feature_graph : sparse matrix or array (n_features, n_features), or object with nodes and edges, default=None
            Affinities of the features; None finds, where ``feature_weight > 0``, the nearest columns of X.
        strata : array-like (n_samples,), default=None
            Label of each row. With labels the model is ``1 v(i)ᵀ + W(i) H`` with a shift v(i) >= 0 of every stratum,
            as that of `StratifiedNMF`; the graph may join samples across strata.
        W, H, V : ndarray (n_samples, k), (k, n_features), (n_strata, n_features), default=None
            Start for ``init="custom"``; V with strata only.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data, graphs, labels or starts that cannot be used: what was given, what was expected, and
            what to do.
        """
        if V is not None and strata is None:
            raise ValueError("V, a start of shifts, was given without strata; pass strata=, one label a row, or no V.")
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
        """Return the non-negative weights of the rows of X, (n_samples, n_components).

        Each minimises ``||x - w H||² + graph_weight sum_j a_j sum_k ||h_k||² (w_k - w_jk)²`` over w >= 0, where the w_j
        are the weights of its `n_neighbors` nearest samples of the fit, and a_j its affinities to them; the penalty of
        the features is added as in `fit`. (Exactly; for the divergence half of the penalties is added, and `max_iter`
        updates are made.) A sample of the fit itself gets the weights that it has in `W_`.

        Parameters
        ----------
        X : array or sparse matrix (n_samples, n_features)
        strata : array-like (n_samples,), default=None
            Label of each row, among `strata_`, for a fit with strata.
        graph : sparse matrix or array (n_samples, n_samples of the fit), default=None
            Affinities >= 0 to the samples of the fit. None finds the nearest of these; where `fit` was given its graph
            there is nothing to find them by, and a row's weights depend on the row alone.
        """
        check_is_fitted(self)
        if strata is not None and not self._has_shifts:
            raise ValueError(
                "strata were given, but the model was fitted without; leave them out, or fit with strata=."
            )
        with threads(self.n_threads):
            W = self._near_weights(*self._prepared(X, strata), graph)
        return W

    def inverse_transform(self, W, *, strata=None):
        """Return ``W H``, with the shifts of a fit with strata, dense (n_samples, n_features)."""
        return self._inverse_transform(W, strata)

    def score(self, X, y=None, *, strata=None):
        """Return one minus the loss of X, penalties left out, over that of the trivial model; larger is better."""
        W = self.transform(X, strata=strata)
        data, H, V = self._prepared(X, strata)
        if V is not None:
            data.pattern = data.pattern.covering(V)
        factors, tasks = allocate(data, scaled(W, data.exponent), H, None if V is None else data.pattern.entries(V))
        problem = self._problem(data, factors, tasks)
        return 1.0 if problem.scale == 0 else float(1 - problem.value(factors) / problem.scale)

    def top_features(self, n=10, feature_names=None):
        """Return the names of at most n features of each component, strongest first, as a list of lists.

        Of a fit with strata, as of `StratifiedNMF`.
        """
        return self._top_features(n, feature_names)

    @property
    def normalize(self):
        """How components are handed over: the penalty counts in components of length one."""
        return "l2" if self.anchor else None

    def _near_weights(self, data, H, V, graph):
        """Return the weights of rows drawn to those of their neighbours in fit, in the scale of the data."""
        of_samples, of_features = (self._inner(weight, data) for weight in self._weights())
        affinity, same = self._affinity_to_fit(data, graph)
        W, G = scaled(self.W_.astype(np.float64), data.exponent), H.astype(np.float64)
        scale = of_samples * (np.square(G).sum(axis=0) if self.anchor else np.ones(G.shape[1]))
        pull, own = scale * (affinity @ W), scale * np.asarray(affinity.sum(axis=1)).reshape(-1, 1)
        if of_features and self.anchor:  # the other graph is a ridge
            A = self.feature_affinity_
            own = own + of_features * (G * (np.asarray(A.sum(axis=1)).reshape(-1, 1) * G - A @ G)).sum(axis=0)
        if self._is_squared:
            found = infer_near(*self._normal_equations(data, H, V), G.shape[1], pull, own, data.dtype)
        else:
            drawn, move = [Drawn(pull, own)], JointMU(floor=MU_FLOOR[data.dtype])
            found, _, _ = infer_divergence(data, H, V, self._beta(), drawn, self.max_iter, move)
        found = np.where(same[:, None] >= 0, W[same], found[:, : G.shape[1]]).astype(data.dtype)
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
            A = as_affinity(graph)
            if A.shape != (n, n_fit):
                raise ValueError(
                    f"graph has shape {A.shape}; expected ({n}, {n_fit}): affinities of the rows of X to those of fit."
                )
            return A, nobody
        if not hasattr(self, "training_data_"):
            return sp.csr_array((n, n_fit)), nobody
        known, X = self.training_data_, data.in_scale(self.training_data_.dtype, self._exponent).X
        width = self._inner_width(self.heat_width_)
        A, same = neighbours_among(X, known, self.n_neighbors, self.edge_weights, width)
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
        """Return the data of a fit, and find the graphs on the way."""
        of_samples, of_features = self._weights()
        graph, feature_graph = self._graphs
        data = super()._strata(X, strata, sample_weight, weight)
        self._exponent = data.exponent
        if graph is not None:
            self.affinity_ = check_affinity(graph, data.shape[0])
        elif of_samples:
            self.affinity_, width = self._neighbours(data.X)
            self.heat_width_ = None if width is None else width * 2.0 ** (-4 * data.exponent)
            self.training_data_ = data.X
        if feature_graph is not None:
            self.feature_affinity_ = check_affinity(feature_graph, data.shape[1], "feature_graph", "features")
        elif of_features:
            self.feature_affinity_, _ = self._neighbours(data.X.T)
        return data

    def _neighbours(self, X):
        """Return the affinities of the rows of X, and the width of the heat, both in the inner scale."""
        X = sp.csr_array(X) if sp.issparse(X) else X
        return neighbour_graph(X, self.n_neighbors, self.edge_weights, self._inner_width(self.heat_width))

    def _inner_width(self, width):
        return None if width is None else width * 2.0 ** (4 * self._exponent)

    def _problem(self, data, factors, tasks):
        if not self._is_squared:
            return divergence_problem(data, factors, tasks, self._beta())
        is_descent, weights = self.solver == "cd", self._weights()
        of_W, of_H = (AMONG_NEIGHBOURS if weight else SWEEPS for weight in weights)
        if self._has_shifts:
            schedule = hals_schedule((of_W, 1, of_H)) if is_descent else mu_schedule()
        else:
            schedule = (("W", of_W), ("H", of_H)) if is_descent else (("W", 1), ("H", 1))
        return squared_problem(data, factors, tasks, schedule, is_descent=is_descent, holds_products=any(weights))

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
