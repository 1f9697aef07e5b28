"""Models of symmetric matrices and graphs: ``A ~ W Wᵀ``, and the input of ``A ~ W S Wᵀ``.

Scale inside a fit: A is held multiplied by ``4 ** log4_scale`` and W by ``2 ** log4_scale``.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted

from fastnmf.core.factors import aligned, allocate, padded_factors
from fastnmf.core.losses import Frobenius
from fastnmf.core.losses.products import FactorCoupling, Symmetric
from fastnmf.core.objectives import best_scale, single_loss_problem
from fastnmf.core.options import check_integer, number, one_of, optional
from fastnmf.core.squarem import SQUAREM
from fastnmf.core.thresholds import ASYMMETRY
from fastnmf.core.updates import HALS, DampedMU, QuarticDescent
from fastnmf.data.graphs import affinity_matrix, is_graph
from fastnmf.data.matrix import as_csr
from fastnmf.data.strata import Strata, square_sum
from fastnmf.models.base.estimator import Estimator
from fastnmf.models.base.for_checkers import Callback, Iterative, like_fit
from fastnmf.models.base.products import largest
from fastnmf.models.base.top_features import strongest
from fastnmf.typing import Factor, File, Floats, Graph, Integers, Matrix, Names, Seed

MAX_ITER, TOL = 2000, 1e-6  # defaults of `SymmetricNMF`, with which `TriSymmetricNMF` makes the same fit as a start


def symmetric_data(X):
    """Return a matrix as `Strata`, or raise ValueError if it is not square and symmetric."""
    data = Strata.from_array(X)
    if data.shape[0] != data.shape[1]:
        raise ValueError(f"A has shape {X.shape}; a symmetric model needs a square matrix, (n, n) affinities.")
    gap = abs(data.X - data.X.T).max()
    if gap > ASYMMETRY * data.X.max():
        raise ValueError(
            f"A is not symmetric: an entry and its mirror image differ by {gap:.3g}. Pass (A + A.T) / 2, or the "
            "undirected graph."
        )
    return data


def as_sparse(data):
    """Return `Strata` of the same data, in the same scale, as CSR."""
    if data.is_sparse:
        return data
    held = Strata(sp.csr_array(data.X), data.labels, data.stratum_index, log4_scale=data.log4_scale)
    held.sq_norm = square_sum(held.X.data)
    return held


def square_problem(data, W, is_multiplicative=False, *, is_scaled=True):
    """Return the `Problem` of ``||A - W Wᵀ||²``, and its factors.

    Parameters
    ----------
    data : Strata
        A, sparse and symmetric.
    W : ndarray (n, k)
        The start, in the inner scale.
    is_multiplicative : bool, default=False
        Whether W is updated by multiplicative updates, not by coordinate descent.
    is_scaled : bool, default=True
        Whether W is multiplied by the number for which the model fits A best.
    """
    factors, tasks = padded_factors(data, W=W)
    if is_scaled:
        product = aligned(factors["W"].shape, data.dtype)
        data.matmul(factors["W"], product)
        gram = factors["W"].T.astype(np.float64) @ factors["W"]
        factors["W"][:] *= np.sqrt(best_scale(np.square(gram).sum(), np.sum(factors["W"] * product)))
    update = DampedMU.plain(data.dtype) if is_multiplicative else QuarticDescent()
    loss = Symmetric(data, tasks, holds_products=is_multiplicative)
    return single_loss_problem(data, loss, {"W": update}, (("W", 1),), tasks), factors


class GraphModel(Estimator, Iterative):
    """Base of the models of symmetric matrices: accepts graphs as data."""

    extrapolate: bool
    W_: Floats
    labels_: Integers

    @like_fit
    def fit_transform(self, X: Matrix, y: Any = None, **given: Any) -> Floats:
        """Fit the model and return `W_`; arguments as in `fit`."""
        return self.fit(X, y, **given).W_

    def _validated(self, X, *, reset):
        if is_graph(X):
            X = affinity_matrix(X)
        return super()._validated(X, reset=reset)

    def _extrapolation(self, factors, tasks, options):
        return SQUAREM(tasks, factors) if self.extrapolate else None

    def top_features(self, n: int = 10, feature_names: Names | None = None) -> list[list[str]]:
        """Return the names of the nodes, or features, with the largest weights in each column of `W_`.

        Parameters
        ----------
        n : int, default=10
            Maximum number of names for each column, >= 1.
        feature_names : array-like of str, default=None
            Names of the rows of `W_`. None uses `feature_names_in_`, or the row numbers if there are no names.

        Returns
        -------
        list of list of str
            One list for each column, largest weight first.
        """
        check_is_fitted(self)
        check_integer("n", n)
        return strongest(self.W_.T, self._feature_names(feature_names), n)


class SymmetricNMF(GraphModel):
    """Factorise a symmetric non-negative matrix, ``A ~ W Wᵀ`` with W >= 0: overlapping communities of a graph.

    Minimises ``||A - W Wᵀ||²``. One iteration costs O(nnz k + n k²) and visits the stored entries only.

    Parameters
    ----------
    n_components : int, default=2
        Number of communities (columns of W), >= 1.
    solver : {"cd", "mu", "penalised"}, default="cd"
        ``"cd"``: exact coordinate descent. Each entry of W in turn is set to the best root of a cubic polynomial; the
        objective is monotone. It runs on one thread, because each entry depends on the previous ones. ``"mu"``:
        ``W <- W (1 + A W / (W WᵀW)) / 2``, in which all entries are updated from the same point on all threads. It
        needs more iterations, and a zero stays zero. ``"penalised"``: minimises ``||A - W Hᵀ||² + c ||W - H||²`` by
        coordinate descent in W and H, and returns their mean. It uses all threads, its objective is monotone, and it is
        meant for graphs with many nodes.
    coupling : float, default=0.1
        c of ``"penalised"``, >= 0, in units of ``||A|| / sqrt(n_components)``, the squared length of an average column
        of W.
    init : {None, "random", "custom"}, default=None
        The start. None means ``"random"``: uniform random numbers, multiplied by the number for which W Wᵀ fits A best.
        ``"custom"``: the W passed to `fit`.
    diagonal : float, default=None
        Value that replaces the diagonal of A before the fit, >= 0; None keeps the diagonal. A graph without self-loops
        has zeros there, which no non-zero ``W Wᵀ`` can fit; ones are the usual choice.
    extrapolate : bool, default=True
        Whether W is extrapolated in cycles of three iterations (SQUAREM). The objective stays monotone.
    max_iter : int, default=2000
        Maximum number of iterations, >= 1.
    tol : float, default=1e-6
        Relative tolerance, >= 0. The fit stops when the next 100 iterations are expected to lower the objective by less
        than ``tol`` times its value, where a normalized loss below `tol` counts as `tol`. 0 runs exactly `max_iter`
        iterations.
    random_state : None, int, Generator or RandomState, default=None
        Source of the random numbers that the start uses.
    verbose : int, default=0
        1 shows the progress on standard error; 0 shows nothing.
    max_time : float, default=None
        Time limit in seconds: no further iteration begins after it. None sets no limit.
    callback : callable, default=None
        Called as ``callback(state)`` for the start and after every iteration. `state` has ``iteration``,
        ``normalized_loss``, ``seconds``, and a copy of the factor ``W``. The fit stops when it returns True.
    n_threads : int, default=None
        Number of threads of the kernels; None uses Numba's setting. The result has the same bits for any number of
        threads.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    W_ : ndarray (n, n_components) of the dtype of X
        Weight of each node in each community, in units of the square root of A.
    labels_ : ndarray (n,) of int64
        Community in which the node has its largest weight, -1 if all its weights are zero.
    n_iter_ : int
        Number of iterations.
    converged_ : bool
        True if `tol` ended the fit, or if ``tol=0`` and all `max_iter` iterations were run; False if the fit was
        stopped earlier.
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        ``||A - W Wᵀ||``.
    normalized_loss_ : float
        `reconstruction_err_` divided by the norm of A; 0 for all-zero A.
    asymmetry_ : float
        With ``"penalised"``: ``||W - H|| / ||W + H||`` at the end of the fit. If it is far from 0, increase `coupling`.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (``||A - W Wᵀ||²``) and ``seconds`` (since the start of the
        fit). Entry 0 belongs to the start. With ``"penalised"`` the losses are those of ``||A - W Hᵀ||²``, and the
        objective includes the penalty.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    There is no `transform`: W is both sides of the model, so a new node would change the weights of all others.

    *Names*: the source's H is `W_`. A *dense A* is stored as a sparse matrix, with 4 bytes more for each entry.

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

    solver: Literal["cd", "mu", "penalised"]
    coupling: float
    init: Literal["random", "custom"] | None
    diagonal: float | None
    asymmetry_: float

    _constraints = {
        "solver": one_of("cd", "mu", "penalised"),
        "coupling": number(),
        "init": one_of(None, "random", "custom"),
        "diagonal": optional(number("None or a number >= 0")),
    }
    _continued = {"W": "W_"}

    def __init__(
        self,
        n_components: int = 2,
        *,
        solver: Literal["cd", "mu", "penalised"] = "cd",
        coupling: float = 0.1,
        init: Literal["random", "custom"] | None = None,
        diagonal: float | None = None,
        extrapolate: bool = True,
        max_iter: int = MAX_ITER,
        tol: float = TOL,
        random_state: Seed = None,
        verbose: int = 0,
        max_time: float | None = None,
        callback: Callback | None = None,
        n_threads: int | None = None,
        n_init: int = 1,
        warm_start: bool = False,
    ):
        self._set(locals())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = True
        return tags

    def fit(
        self,
        X: Matrix | Graph,
        y: Any = None,
        *,
        W: Factor = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n, n), or a graph
            Symmetric, non-negative and finite. A graph is any object with ``nodes`` and ``edges``, such as those of
            networkx; the rows of `W_` are then in the order of its nodes. Edges that have a ``weight`` count by it. To
            count each edge once, pass ``fastnmf.data.graphs.affinity_matrix(graph, weight=None)``.
        y : ignored
            Present for compatibility with scikit-learn.
        W : ndarray (n, n_components), default=None
            Start for ``init="custom"``, non-negative, in units of the square root of A.
        layer : str, default=None
            Layer of an AnnData that holds the matrix instead of its X; see `NMF.fit`.
        checkpoint : str or path, default=None
            File in which the state of the fit is saved while it runs, and from which a fit that was killed continues;
            see `NMF.fit`.
        checkpoint_every : float, default=60.0
            Seconds between two saves.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If parameters, data or starts cannot be used. The message says what was given, what was expected and what to
            do.
        """
        return self._fit(X, W=W, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every)

    def _validated(self, X, *, reset):
        X = super()._validated(X, reset=reset)
        if self.diagonal is None or X.shape[0] != X.shape[1]:
            return X
        on_diagonal = X.dtype.type(self.diagonal)
        if sp.issparse(X):
            X = as_csr(X)
            return X + sp.diags_array(on_diagonal - X.diagonal(), dtype=X.dtype)
        return np.where(np.eye(len(X), dtype=bool), on_diagonal, X)

    def _data(self, X, given, options):
        return as_sparse(symmetric_data(X))

    def _compose(self, data, given, options, rng):
        shape = data.shape[0], options.n_components
        start = self._checked_start({"W": shape}, given, options)
        W = rng.random(shape) if start is None else np.ldexp(start[0], data.log4_scale)
        if options.solver != "cd":  # the first sweep of "cd" sets the weights of nodes without edges to zero
            W = W * (data.row_square_sums() > 0)[:, None]
        problem, factors = square_problem(data, W, options.solver == "mu", is_scaled=start is None)
        if options.solver == "penalised":
            return self._coupled(data, factors["W"][:, : factors.rank])
        return problem, factors

    def _coupled(self, data, W):
        """Return the problem with a penalty on ``W - H``, and its factors; W (n, k) is the start of both."""
        factors, tasks = allocate(data, W, W, None)
        loss = Frobenius(data, factors["W"].shape[1], tasks)
        problem = single_loss_problem(data, loss, dict.fromkeys("WH", HALS()), (("W", 1), ("H", 1)), tasks)
        problem.losses.append(FactorCoupling(self.coupling * np.sqrt(data.sq_norm / factors.rank)))
        return problem, factors

    def _set_factors(self, data, fit, options):
        W = fit.factors["W"][:, : fit.factors.rank]
        if options.solver == "penalised":
            H = fit.factors["H"][:, : fit.factors.rank]
            total = np.linalg.norm(W + H)
            self.asymmetry_ = float(np.linalg.norm(W - H) / total) if total > 0 else 0.0
            W = (W + H) / 2
        self.W_ = np.ldexp(np.ascontiguousarray(W), -data.log4_scale)
        self.labels_ = largest(self.W_)

    def _record(self, data, fit, options):
        super()._record(data, fit, options)
        if options.solver == "penalised":
            W = np.ldexp(self.W_, data.log4_scale)
            error = np.sqrt(data.residual_square_sum(W, W, None))
            self.normalized_loss_ = float(error / np.sqrt(data.sq_norm)) if data.sq_norm > 0 else 0.0
            self.reconstruction_err_ = float(np.ldexp(error, -2 * data.log4_scale))
