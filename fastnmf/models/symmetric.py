"""Symmetric matrices and graphs: ``A ~ W Wᵀ`` and ``A ~ W S Wᵀ``."""

import numpy as np
import scipy.sparse as sp

from fastnmf.data import Strata
from fastnmf.graphs import affinity_matrix, is_graph
from fastnmf.models.options import check_number
from fastnmf.models.shapes import ShapedModel, padded_factors, rescaled, shaped_problem
from fastnmf.moves import QuarticDescent
from fastnmf.problem import aligned
from fastnmf.terms.structured import Symmetric

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


class GraphInput:
    """Graphs as data: mixed into the models of symmetric matrices."""

    def _validated(self, X, *, reset):
        if is_graph(X):
            X = affinity_matrix(X)
        return super()._validated(X, reset=reset)


class SymmetricNMF(GraphInput, ShapedModel):
    """Factorise a symmetric non-negative matrix, ``A ~ W Wᵀ`` with W >= 0: soft communities of a graph.

    Minimises ``||A - W Wᵀ||²`` by exact coordinate descent: each entry of W in turn goes to the best root of its cubic.
    The objective never rises. One iteration costs O(nnz k + n k²) and walks the stored entries only.

    Parameters
    ----------
    n_components : int, default=2
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
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (``||A - W Wᵀ||²``), ``seconds``; entry 0 is the start.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    There is no `transform`: W is both sides of the model, so a new node would change all the others.

    *Names*: the source's H is W_. *Dense A* is walked as if it were sparse, with 4 bytes more an entry.

    References
    ----------
    A. Vandaele, N. Gillis, Q. Lei, K. Zhong, I. Dhillon, "Efficient and non-convex coordinate descent for symmetric
    nonnegative matrix factorization", IEEE Transactions on Signal Processing 2016, algorithm 4,
    doi:10.1109/TSP.2016.2591510.

    Examples
    --------
    >>> from fastnmf import SymmetricNMF
    >>> from fastnmf.datasets import load_karate_club
    >>> club = load_karate_club()
    >>> model = SymmetricNMF(2, diagonal=1.0, random_state=0).fit(club.data)
    >>> round(model.history_["objective"][-1], 3)
    95.477
    >>> same = model.labels_ == model.labels_[0]  # as the teacher, who is member 1
    >>> club.feature_names[same != (club.target == 0)].tolist()
    ['9']
    """

    def __init__(
        self,
        n_components=2,
        *,
        init=None,
        diagonal=None,
        max_iter=200,
        tol=1e-6,
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.init = init
        self.diagonal = diagonal
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose

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
            rows of W_ are then in the order of its nodes. See `fastnmf.graphs.affinity_matrix`.
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
        if self.diagonal is not None:
            check_number("diagonal", self.diagonal, "None or a number >= 0")

    def _validated(self, X, *, reset):
        X = super()._validated(X, reset=reset)
        if self.diagonal is None or X.shape[0] != X.shape[1]:
            return X
        on_diagonal = X.dtype.type(self.diagonal)
        if sp.issparse(X):
            X = sp.csr_array(X)
            return X + sp.diags_array(on_diagonal - X.diagonal(), dtype=X.dtype)
        return np.where(np.eye(len(X), dtype=bool), on_diagonal, X)

    def _data(self, X):
        data = symmetric_data(X)
        return data if data.is_sparse else Strata.from_array(sp.csr_array(data.X))

    def _problem(self, data, rng, given):
        shape = data.shape[0], self.n_components
        start = self._given({"W": shape}, given)
        W = rng.random(shape) if start is None else np.ldexp(start[0], data.exponent)
        factors, tasks = padded_factors(data, W=W)
        if start is None:
            product = aligned(factors["W"].shape, data.dtype)
            data.matmul(factors["W"], product)
            gram = factors["W"].T.astype(np.float64) @ factors["W"]
            factors["W"][:] *= np.sqrt(rescaled(np.square(gram).sum(), np.sum(factors["W"] * product)))
        term = Symmetric(data, tasks)
        return shaped_problem(data, term, {"W": QuarticDescent()}, (("W", 1),), tasks), factors

    def _finish(self, data, problem, fit):
        W = fit.factors["W"][:, : self.n_components]
        self.W_ = np.ldexp(np.ascontiguousarray(W), -data.exponent)
        self.labels_ = np.where(self.W_.any(axis=1), self.W_.argmax(axis=1), -1)
