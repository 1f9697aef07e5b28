"""Symmetric matrices and graphs: ``A ~ W Wᵀ`` and ``A ~ W S Wᵀ``."""

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted

from fastnmf import init as starts
from fastnmf.data import Strata
from fastnmf.graphs import affinity_matrix, is_graph
from fastnmf.matrix import as_csr
from fastnmf.models.looking import Naming
from fastnmf.models.options import check_choice, check_integer, check_number, strongest
from fastnmf.models.shapes import (
    ShapedModel,
    divisors,
    exact_weights,
    largest,
    padded_factors,
    rescaled,
    scale_core,
    shaped_problem,
)
from fastnmf.moves import HALS, MU, DampedMU, QuarticDescent
from fastnmf.problem import aligned
from fastnmf.solve import allocate, pad
from fastnmf.terms import Frobenius
from fastnmf.terms.structured import Alike, Operator, Symmetric, TriSymmetric

ASYMMETRY = 1e-6  # of the largest entry; more is not rounding


def symmetric_data(X):
    """Return a matrix as `Strata`, checked to be square and symmetric."""
    data = Strata.from_array(X)
    if data.shape[0] != data.shape[1]:
        raise ValueError(f"A has shape {X.shape}; a symmetric model needs a square matrix: affinities of all with all.")
    gap = abs(data.X - data.X.T).max()
    if gap > ASYMMETRY * data.X.max():
        raise ValueError(
            f"A is not symmetric: an entry and its mirror image differ by {gap:.3g}. Pass (A + A.T) / 2, or the "
            "undirected graph."
        )
    return data


def anchored(data, operator, squares, rank, mass):
    """Return anchors, and W (p, k): every row as the best mixture of the anchors' rows, times its sum, plus a trace."""
    found, rows, sums = starts.anchors(operator, squares, rank, mass)
    W = np.zeros((operator.size, rank))
    if len(found):
        R = pad(rows, data)
        C = exact_weights(R.T.astype(np.float64) @ R, operator.matmul(R) / sums[:, None].astype(data.dtype), len(found))
        total = C.sum(axis=1, keepdims=True)
        W[:, : len(found)] = sums[:, None] * C / divisors(total)
    trace = 0.01 * sums[:, None] / rank  # multiplicative updates cannot leave a zero
    return found, W + trace


def core_of(product, gram):
    """Return the S >= 0 that fits W best, nearly: the exact one without a sign, cut where it is not positive."""
    inverse = np.linalg.pinv(gram, hermitian=True)
    S = inverse @ product @ inverse
    S = (S + S.T) / 2
    return np.maximum(S, 1e-3 * np.abs(S).max())


class GraphInput(Naming):
    """Graphs as data: mixed into the models of symmetric matrices."""

    def _validated(self, X, *, reset):
        if is_graph(X):
            X = affinity_matrix(X)
        return super()._validated(X, reset=reset)

    def top_features(self, n=10, feature_names=None):
        """Return the names of at most n nodes, or features, of each column of W_, strongest first: a list of lists."""
        check_is_fitted(self)
        check_integer("n", n)
        return strongest(self.W_.T, self._feature_names(feature_names), n)


class SymmetricNMF(GraphInput, ShapedModel):
    """Factorise a symmetric non-negative matrix, ``A ~ W Wᵀ`` with W >= 0: soft communities of a graph.

    Minimises ``||A - W Wᵀ||²``. One iteration costs O(nnz k + n k²) and walks the stored entries only.

    Parameters
    ----------
    n_components : int, default=2
    solver : {"cd", "mu", "penalised"}, default="cd"
        ``"cd"``: exact coordinate descent, each entry of W in turn goes to the best root of its cubic; the objective
        never rises. One thread, as each entry needs those before it. ``"mu"``: ``W <- W (1 + A W / (W WᵀW)) / 2``, all
        entries from the same point on all threads; more iterations, a zero stays zero. ``"penalised"``: minimises
        ``||A - W Hᵀ||² + c ||W - H||²`` by coordinate descent in W and H, which uses all threads and never rises, and
        returns their mean; for graphs of many nodes.
    coupling : float, default=0.1
        Of ``"penalised"``: c in units of ``||A|| / sqrt(n_components)``, the squared length of an average column of W.
    init : {None, "random", "custom"}, default=None
        None is ``"random"``: uniform, times the number that fits A best. ``"custom"``: the W passed to `fit`.
    diagonal : float, default=None
        Value to put on the diagonal before the fit; None leaves it. A graph without loops says zero there, which no
        ``W Wᵀ`` can fit; ones are the usual choice.
    max_iter : int, default=200
    tol : float, default=1e-6
        Stop when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than `tol`
        times itself. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no other iteration begins.
    callback : callable, default=None
        ``callback(state)`` after every iteration, and for the start; True stops the fit. `state` has ``iteration``,
        ``normalized_loss``, ``seconds``, and a copy of the factor ``W``.
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.

    Attributes
    ----------
    W_ : ndarray (n, n_components)
        How much each node belongs to each community.
    labels_ : ndarray (n,) of int
        The community of each node's largest weight, -1 where all are zero.
    n_iter_ : int
    converged_ : bool
    stopped_by_ : str
    reconstruction_err_ : float
        ``||A - W Wᵀ||``.
    normalized_loss_ : float
        The same, over the norm of A.
    asymmetry_ : float
        With ``"penalised"``: ``||W - H|| / ||W + H||`` where it ended; far from 0 it asks for more `coupling`.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (``||A - W Wᵀ||²``), ``seconds``; entry 0 is the start. With
        ``"penalised"`` they are of ``||A - W Hᵀ||²``, the objective with the penalty.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    There is no `transform`: W is both sides of the model, so a new node would change all the others.

    *Names*: the source's H is W_. *Dense A* is walked as if it were sparse, with 4 bytes more an entry.

    References
    ----------
    A. Vandaele, N. Gillis, Q. Lei, K. Zhong, I. Dhillon, "Efficient and non-convex coordinate descent for symmetric
    nonnegative matrix factorization", IEEE Transactions on Signal Processing 64(21), 5571-5584, 2016.
    C. Ding, X. He, H. D. Simon, "On the equivalence of nonnegative matrix factorization and spectral clustering", SDM
    2005 (``"mu"``).
    D. Kuang, S. Yun, H. Park, "SymNMF: nonnegative low-rank approximation of a similarity matrix for graph clustering",
    Journal of Global Optimization 2015 (``"penalised"``).

    Examples
    --------
    >>> from fastnmf import SymmetricNMF
    >>> from fastnmf.datasets import load_karate_club
    >>> club = load_karate_club()
    >>> model = SymmetricNMF(2, diagonal=1.0, random_state=0).fit(club.data)
    >>> round(float(model.history_["objective"][-1]), 3)
    95.477
    >>> same = model.labels_ == model.labels_[0]  # as the teacher, who is member 1
    >>> club.feature_names[same != (club.target == 0)].tolist()
    ['9']
    """

    def __init__(
        self,
        n_components=2,
        *,
        solver="cd",
        coupling=0.1,
        init=None,
        diagonal=None,
        max_iter=200,
        tol=1e-6,
        random_state=None,
        verbose=0,
        max_time=None,
        callback=None,
        n_threads=None,
    ):
        self.n_components = n_components
        self.solver = solver
        self.coupling = coupling
        self.init = init
        self.diagonal = diagonal
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback
        self.n_threads = n_threads

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = True
        return tags

    def fit(self, X, y=None, *, W=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n, n), or a graph
            Symmetric, non-negative. A graph is any object with ``nodes`` and ``edges``, such as those of networkx; the
            rows of W_ are then in the order of its nodes. Edges count by their ``weight`` where they have one; pass
            ``fastnmf.graphs.affinity_matrix(graph, weight=None)`` to count each of them once.
        y : ignored
        W : ndarray (n, n_components), default=None
            Start for ``init="custom"``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or starts that cannot be used: what was given, expected, and to be done.
        """
        return self._fit(X, W=W)

    def fit_transform(self, X, y=None, *, W=None):
        """Fit the model and return W_, (n, n_components); see `fit`."""
        return self._fit(X, W=W).W_

    def _check_parameters(self):
        super()._check_parameters()
        check_choice("solver", self.solver, ("cd", "mu", "penalised"))
        check_number("coupling", self.coupling)
        if self.diagonal is not None:
            check_number("diagonal", self.diagonal, "None or a number >= 0")

    def _validated(self, X, *, reset):
        X = super()._validated(X, reset=reset)
        if self.diagonal is None or X.shape[0] != X.shape[1]:
            return X
        on_diagonal = X.dtype.type(self.diagonal)
        if sp.issparse(X):
            X = as_csr(X)
            return X + sp.diags_array(on_diagonal - X.diagonal(), dtype=X.dtype)
        return np.where(np.eye(len(X), dtype=bool), on_diagonal, X)

    def _data(self, X):
        data = symmetric_data(X)
        return data if data.is_sparse else Strata.from_array(sp.csr_array(X))

    def _problem(self, data, rng, given):
        shape = data.shape[0], self.n_components
        start = self._given({"W": shape}, given)
        W = rng.random(shape) if start is None else np.ldexp(start[0], data.exponent)
        if self.solver != "cd":  # which gets rid at once of what belongs to no one
            W = W * (data.row_square_sums() > 0)[:, None]
        factors, tasks = padded_factors(data, W=W)
        if start is None:
            product = aligned(factors["W"].shape, data.dtype)
            data.matmul(factors["W"], product)
            gram = factors["W"].T.astype(np.float64) @ factors["W"]
            factors["W"][:] *= np.sqrt(rescaled(np.square(gram).sum(), np.sum(factors["W"] * product)))
        if self.solver == "penalised":
            return self._coupled(data, factors["W"])
        moves = {"cd": QuarticDescent(), "mu": DampedMU.plain(data.dtype)}
        term = Symmetric(data, tasks, holds_products=self.solver == "mu")
        return shaped_problem(data, term, {"W": moves[self.solver]}, (("W", 1),), tasks), factors

    def _coupled(self, data, W):
        """Return the problem of two factors that are to be alike, from W (n, K) for both."""
        factors, tasks = allocate(data, W[:, : self.n_components], W[:, : self.n_components], None)
        term = Frobenius(data, W.shape[1], tasks)
        problem = shaped_problem(data, term, dict.fromkeys("WH", HALS()), (("W", 1), ("H", 1)), tasks)
        problem.terms.append(Alike(self.coupling * np.sqrt(data.sq_norm / self.n_components)))
        return problem, factors

    def _finish(self, data, problem, fit):
        W = fit.factors["W"][:, : self.n_components]
        if self.solver == "penalised":
            H = fit.factors["H"][:, : self.n_components]
            total = np.linalg.norm(W + H)
            self.asymmetry_ = float(np.linalg.norm(W - H) / total) if total > 0 else 0.0
            W = (W + H) / 2
        self.W_ = np.ldexp(np.ascontiguousarray(W), -data.exponent)
        self.labels_ = largest(self.W_)

    def _record(self, data, problem, fit):
        super()._record(data, problem, fit)
        if self.solver == "penalised":
            W = np.ldexp(self.W_, data.exponent)
            error = np.sqrt(data.residual_square_sum(W, W, None))
            self.normalized_loss_ = float(error / np.sqrt(data.sq_norm)) if data.sq_norm > 0 else 0.0
            self.reconstruction_err_ = float(np.ldexp(error, -2 * data.exponent))


class TriSymmetricNMF(GraphInput, ShapedModel):
    """Factorise a symmetric non-negative matrix, ``A ~ W S Wᵀ`` with W, S >= 0: communities and how they are linked.

    Minimises ``||A - W S Wᵀ||²`` for affinities A, or for the co-occurrence of features ``A = Xᵀ X``: W then holds
    topics, and S how often they occur together. That product is never held as a whole: once, for the lengths of its
    rows, it is formed a few rows at a time; after that X is multiplied by ``X W``.

    Parameters
    ----------
    n_components : int, default=2
    affinity : {"precomputed", "cooccurrence"}, default="precomputed"
        Whether `fit` gets A itself (or a graph), or data X (n_samples, n_features) of which ``A = Xᵀ X``.
    init : {None, "anchors", "random", "custom"}, default=None
        None is ``"anchors"``: rows of A that other rows are mixtures of, found one after another among the rows scaled
        to sum one, as the one farthest from those before; W and S are then solved for. ``"random"``: uniform, times the
        number that fits A best. ``"custom"``: the W and S passed to `fit`.
    anchor_mass : float, default=0.5
        Anchors are sought among the rows with the largest sums only, those that together hold this share of the total:
        what is rare is far from everything, and says little. 1 lets every row be one.
    max_iter : int, default=500
    tol : float, default=1e-4
        Stop when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than `tol`
        times itself. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
        For ``"random"``.
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
    W_ : ndarray (n, n_components), or (n_features, n_components)
        Columns of sum one: the share of each node, or feature, in a community or topic.
    S_ : ndarray (n_components, n_components)
        Symmetric; carries all the mass.
    anchors_ : ndarray (n_components,) of int
        The rows that the start took as anchors; with ``init`` None or ``"anchors"``.
    labels_ : ndarray (n,) of int
        The community of each row's largest weight, -1 where all are zero.
    n_iter_ : int
    converged_ : bool
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        ``||A - W S Wᵀ||``.
    normalized_loss_ : float
        The same, over the norm of A.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error), ``seconds``; entry 0 is the start.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    Multiplicative updates, for W with the exponent 1/4, with which the objective never rises; with the exponent 1 it
    can. There is no `transform`: W is both sides of the model. An exact fit of one community to itself (S diagonal)
    is the model of `SymmetricNMF`.

    References
    ----------
    C. Ding, T. Li, W. Peng, H. Park, "Orthogonal nonnegative matrix tri-factorizations for clustering", KDD 2006
    (the model), doi:10.1145/1150402.1150420.
    S. Arora et al., "A practical algorithm for topic modeling with provable guarantees", ICML 2013 (the anchors).

    Examples
    --------
    >>> from fastnmf import TriSymmetricNMF
    >>> from fastnmf.datasets import load_karate_club
    >>> club = load_karate_club()
    >>> model = TriSymmetricNMF(2).fit(club.data)
    >>> model.W_.sum(axis=0).round(6)
    array([1., 1.])
    """

    _inits = (None, "anchors", "random", "custom")

    def __init__(
        self,
        n_components=2,
        *,
        affinity="precomputed",
        init=None,
        anchor_mass=0.5,
        max_iter=500,
        tol=1e-4,
        random_state=None,
        verbose=0,
        max_time=None,
        callback=None,
        n_threads=None,
    ):
        self.n_components = n_components
        self.affinity = affinity
        self.init = init
        self.anchor_mass = anchor_mass
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback
        self.n_threads = n_threads

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.affinity == "precomputed"
        return tags

    def fit(self, X, y=None, *, W=None, S=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n, n), or a graph; with ``affinity="cooccurrence"`` (n_samples, n_features)
            Non-negative. A graph is any object with ``nodes`` and ``edges``; see `fastnmf.graphs.affinity_matrix`.
        y : ignored
        W, S : ndarray (n, k), (k, k), default=None
            Start for ``init="custom"``; S symmetric.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or starts that cannot be used: what was given, expected, and to be done.
        """
        return self._fit(X, W=W, S=S)

    def fit_transform(self, X, y=None, *, W=None, S=None):
        """Fit the model and return W_; see `fit`. With ``affinity="cooccurrence"`` its rows are the features of X."""
        return self._fit(X, W=W, S=S).W_

    def _check_parameters(self):
        super()._check_parameters()
        check_choice("affinity", self.affinity, ("precomputed", "cooccurrence"))
        check_number("anchor_mass", self.anchor_mass, "a number from 0 to 1", most=1)

    def _data(self, X):
        return symmetric_data(X) if self.affinity == "precomputed" else super()._data(X)

    def _problem(self, data, rng, given):
        is_itself = self.affinity == "precomputed"
        operator, k = Operator(data, None if is_itself else "columns"), self.n_components
        start = self._given({"W": (operator.size, k), "S": (k, k)}, given)
        squares = operator.row_square_sums()
        if start is not None:
            W, S = start[0], np.ldexp(start[1], (2 if is_itself else 4) * data.exponent)
            if not np.allclose(S, S.T):
                raise ValueError("The start S is not symmetric; pass (S + S.T) / 2.")
        elif self.init == "random":
            W, S = rng.random((operator.size, k)), rng.random((k, k))
            S = S + S.T
        else:
            self.anchors_, W = anchored(data, operator, squares, k, self.anchor_mass)
            S = np.ones((k, k))
        factors, tasks = padded_factors(data, W=W, S=S)
        term = TriSymmetric(operator, tasks, float(squares.sum()))
        if start is None:
            if self.init != "random":
                factors["S"][:k, :k] = core_of(term.core(factors)[:k, :k], term.gram(factors)[:k, :k])
                factors.moved("S")
            scale_core(term, factors)
        moves = dict.fromkeys("WS", MU.plain(data.dtype))
        schedule = (("W", 1), ("S", 1))
        return shaped_problem(data, term, moves, schedule, tasks, term.sq_norm, is_direct=is_itself), factors

    def _finish(self, data, problem, fit):
        k, power = self.n_components, 2 if self.affinity == "precomputed" else 4
        W, S = fit.factors["W"][:, :k].astype(np.float64), fit.factors["S"][:k, :k].astype(np.float64)
        sums = divisors(W.sum(axis=0))
        S = np.ldexp(S * np.outer(sums, sums), -power * data.exponent)
        self.W_, self.S_ = (W / sums).astype(data.dtype), ((S + S.T) / 2).astype(data.dtype)
        self.labels_ = largest(self.W_)

    def _record(self, data, problem, fit):
        super()._record(data, problem, fit)
        if self.affinity == "cooccurrence":
            self.reconstruction_err_ = float(np.ldexp(self.reconstruction_err_, -2 * data.exponent))
