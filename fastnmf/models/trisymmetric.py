"""Tri-factorisation of a symmetric matrix, ``A ~ W S Wᵀ``: communities and the links between them.

Scale inside a fit: the data are held multiplied by ``4 ** log4_scale``, so A, and S with it, by the same factor, or by
its square if ``A = Xᵀ X``; W has no scale.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp

from fastnmf.core import init as starts
from fastnmf.core.alternate import solve
from fastnmf.core.factors import pad, padded_factors
from fastnmf.core.inference import quadratic_weights
from fastnmf.core.losses.products import Operator, TriSymmetric
from fastnmf.core.objectives import scale_core, single_loss_problem
from fastnmf.core.options import number, one_of
from fastnmf.core.squarem import SQUAREM
from fastnmf.core.updates import MU, CoreDescent, LinkedDescent
from fastnmf.data.strata import Strata
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.models.base.for_checkers import Callback
from fastnmf.models.base.products import divisors, largest
from fastnmf.models.symmetric import MAX_ITER, TOL, GraphModel, as_sparse, square_problem, symmetric_data
from fastnmf.typing import Factor, File, Floats, Graph, Integers, Matrix, Seed

TRACE = 1e-3  # of the mean, added to a start of multiplicative updates, which cannot change a zero


def anchor_start(data, operator, squares, rank, mass):
    """Return anchors, and the start of W that writes every row as a combination of the anchors' rows.

    The rows of A are scaled to sum one, and each is approximated by a non-negative combination of the anchors' scaled
    rows. Row i of W holds these weights, scaled to the sum of row i of A, plus 0.01 / k of that sum.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
        The data that `operator` multiplies by.
    operator : fastnmf.core.losses.products.Operator
        The matrix A, symmetric and non-negative, (p, p).
    squares : ndarray (p,) of float64
        Squared norms of the rows of A.
    rank : int
        Number of communities k.
    mass : float
        Share of the total of A, from 0 to 1. Anchors are chosen among the rows with the largest sums, those that
        together hold this share.

    Returns
    -------
    found : ndarray of int64
        The anchors, at most `rank` rows of A.
    W : ndarray (p, k) of float64
        The start.
    """
    found, rows, sums = starts.anchors(operator, squares, rank, mass)
    W = np.zeros((operator.size, rank))
    if len(found):
        R = pad(rows, data)
        pos = operator.matmul(R) / sums[:, None].astype(data.dtype)
        C = quadratic_weights(R.T.astype(np.float64) @ R, pos, len(found))[0][:, : len(found)]
        total = C.sum(axis=1, keepdims=True)
        W[:, : len(found)] = sums[:, None] * C / divisors(total)
    trace = 0.01 * sums[:, None] / rank  # multiplicative updates cannot change a zero
    return found, W + trace


def core_start(product, gram):
    """Return a start of S >= 0 for given W, from ``product = Wᵀ A W`` and ``gram = WᵀW``, both (k, k).

    It is the exact minimiser without a constraint on its sign, in which entries below 1e-3 of the largest absolute
    value are replaced by that value.
    """
    inverse = np.linalg.pinv(gram, hermitian=True)
    S = inverse @ product @ inverse
    S = (S + S.T) / 2
    return np.maximum(S, 1e-3 * np.abs(S).max())


def symmetric_start(data, rank, rng, max_time):
    """Return W (n, k) and the diagonal S (k, k) of the model that `SymmetricNMF` fits with the same random numbers.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
        A.
    rank : int
        Number of communities k.
    rng : numpy.random.Generator
    max_time : float, or None
        Limit of the fit, in seconds.
    """
    data = as_sparse(data)
    problem, factors = square_problem(data, rng.random((data.shape[0], rank)))
    solve(
        problem, factors, extrapolation=SQUAREM(problem.tasks, factors), max_iter=MAX_ITER, tol=TOL, max_time=max_time
    )
    W = factors["W"][:, :rank].astype(np.float64)
    size = W.max(initial=0.0)
    return W / (size or 1.0), np.eye(rank) * size * size


class TriSymmetricNMF(GraphModel):
    """Factorise a symmetric non-negative matrix, ``A ~ W S Wᵀ`` with W, S >= 0: communities and the links between them.

    Minimises ``||A - W S Wᵀ||²``. A holds affinities, or it is the co-occurrence matrix ``A = Xᵀ X`` of features. In
    the latter case W holds topics, and S how often they occur together. That product is stored as a whole only where it
    has no more entries than X. Otherwise the norms of its rows are computed once, a row at a time, and after that only
    products such as ``Xᵀ (X W)``.

    Parameters
    ----------
    n_components : int, default=2
        Number of communities or topics (columns of W), >= 1.
    affinity : {"precomputed", "cooccurrence"}, default="precomputed"
        Whether `fit` gets A itself (or a graph), or data X (n_samples, n_features) with ``A = Xᵀ X``.
    solver : {None, "cd", "mu"}, default=None
        ``"cd"``: exact coordinate descent. Each entry of W in turn is set to the best root of a cubic polynomial, and
        each pair of entries of S to the minimum of a parabola. It runs on one thread, because each entry depends on the
        previous ones, and needs A as a whole: a given one, or ``Xᵀ X`` with no more entries than X. ``"mu"``:
        multiplicative updates, on all threads; they need many more iterations, and a zero stays zero. None: ``"cd"``
        where it can be used, else ``"mu"``.
    init : {None, "symmetric", "anchors", "random", "custom"}, default=None
        The start. ``"symmetric"``: W of `SymmetricNMF`, for the given A only, fitted with its defaults and the same
        `random_state`, and a diagonal S. The result is therefore never above that model, which this one contains.
        ``"anchors"``: the rows of A are scaled to sum one, and rows are chosen one after another, each with the largest
        distance from the span of those before. Other rows are combinations of these anchors; W and S are computed for
        them. None: both, and the result with the lower objective is kept; ``"anchors"`` for ``A = Xᵀ X``.
        ``"random"``: uniform random numbers, multiplied by the number for which the model fits A best. ``"custom"``:
        the W and S passed to `fit`.
    anchor_mass : float, default=0.5
        Share of the total of A, from 0 to 1. Anchors are chosen only among the rows with the largest sums, those that
        together hold this share. Rare nodes or features are far from all others, but carry little information. 1 admits
        every row.
    extrapolate : bool, default=True
        Whether W and S are extrapolated in cycles of three iterations (SQUAREM). The objective stays monotone.
    max_iter : int, default=2000
        Maximum number of iterations, >= 1.
    tol : float, default=1e-4
        Relative tolerance, >= 0. The fit stops when the next 100 iterations are expected to lower the objective by less
        than ``tol`` times its value, where a normalized loss below `tol` counts as `tol`. 0 runs exactly `max_iter`
        iterations.
    random_state : None, int, Generator or RandomState, default=None
        Source of random numbers for ``"random"`` and ``"symmetric"``.
    verbose : int, default=0
        1 shows the progress on standard error; 0 shows nothing.
    max_time : float, default=None
        Time limit in seconds: no further iteration begins after it. None sets no limit.
    callback : callable, default=None
        Called as ``callback(state)`` for the start and after every iteration. `state` has ``iteration``,
        ``normalized_loss``, ``seconds``, and a copy of the factor ``W``, before its columns are scaled to sums of one.
        The fit stops when it returns True.
    n_threads : int, default=None
        Number of threads of the kernels; None uses Numba's setting. The result has the same bits for any number of
        threads.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. Anchors do not depend on random numbers and are tried once, with ``init=None`` after the
        others. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

    Attributes
    ----------
    W_ : ndarray (n, n_components), or (n_features, n_components), of the dtype of X
        Share of each node, or feature, in each community or topic; every column sums to one.
    S_ : ndarray (n_components, n_components) of the dtype of X
        Links between the communities; symmetric; it carries the scale of A, and is infinite where that leaves float64,
        as the square of X = 1e200 does.
    anchors_ : ndarray (n_components,) of int64
        Rows that the start from anchors used; only where there was one.
    labels_ : ndarray (n,) of int64
        Community in which the row has its largest weight, -1 if all its weights are zero.
    n_iter_ : int
        Number of iterations.
    converged_ : bool
        True if `tol` ended the fit, or if ``tol=0`` and all `max_iter` iterations were run; False if the fit was
        stopped earlier.
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        ``||A - W S Wᵀ||``.
    normalized_loss_ : float
        `reconstruction_err_` divided by the norm of A; 0 for all-zero A.
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error) and ``seconds`` (since the start of the
        fit). Entry 0 belongs to the start.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    The multiplicative updates of W use the exponent 1/4, for which the objective is monotone; with the exponent 1 it
    can increase. There is no `transform`: W is both sides of the model. If S is diagonal, the model is that of
    `SymmetricNMF`. ``"cd"`` extends the coordinate descent of Vandaele et al. (see `SymmetricNMF`) to a core S. It
    stores dense A as a sparse matrix, with 4 bytes more for each entry.

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

    affinity: Literal["precomputed", "cooccurrence"]
    solver: Literal["cd", "mu"] | None
    init: Literal["symmetric", "anchors", "random", "custom"] | None
    anchor_mass: float
    S_: Floats
    anchors_: Integers

    _constraints = {
        "affinity": one_of("precomputed", "cooccurrence"),
        "solver": one_of(None, "cd", "mu"),
        "init": one_of(None, "symmetric", "anchors", "random", "custom"),
        "anchor_mass": number("a number from 0 to 1", most=1),
    }
    _continued = {"W": "W_", "S": "S_"}

    def __init__(
        self,
        n_components: int = 2,
        *,
        affinity: Literal["precomputed", "cooccurrence"] = "precomputed",
        solver: Literal["cd", "mu"] | None = None,
        init: Literal["symmetric", "anchors", "random", "custom"] | None = None,
        anchor_mass: float = 0.5,
        extrapolate: bool = True,
        max_iter: int = 2000,
        tol: float = 1e-4,
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
        tags.input_tags.pairwise = self.affinity == "precomputed"
        return tags

    def fit(
        self,
        X: Matrix | Graph,
        y: Any = None,
        *,
        W: Factor = None,
        S: Factor = None,
        layer: str | None = None,
        checkpoint: File = None,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n, n), or a graph; with ``affinity="cooccurrence"`` (n_samples, n_features)
            Non-negative and finite; symmetric if it is A. A graph is any object with ``nodes`` and ``edges``; see
            `fastnmf.data.graphs.affinity_matrix`.
        y : ignored
            Present for compatibility with scikit-learn.
        W, S : ndarray (n, k), (k, k), default=None
            Start for ``init="custom"``, non-negative, S symmetric; S carries the scale of A.
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
        return self._fit(X, W=W, S=S, layer=layer, checkpoint=checkpoint, checkpoint_every=checkpoint_every)

    @property
    def _is_itself(self):
        return self.affinity == "precomputed"

    def _options(self):
        options = super()._options()
        return replace(options, solver=options.solver or ("cd" if self._is_itself else None))

    def _check_options(self, options):
        if options.init == "symmetric" and not self._is_itself:
            raise ValueError(
                "init='symmetric' needs A itself, but affinity='cooccurrence' gives X; leave init out, or pass X.T @ X "
                "with affinity='precomputed'."
            )

    def _data(self, X, given, options):
        data = symmetric_data(X) if self._is_itself else Strata.from_array(X)
        data = as_sparse(data) if options is None or options.solver == "cd" else data
        exponent = int(np.frexp((data.X.data if data.is_sparse else data.X).max(initial=0.0))[1])
        is_near = abs(exponent) <= np.finfo(data.dtype).maxexp // 12  # products of A, W and S reach the 12th power of X
        return data if is_near else data.in_scale(data.dtype, data.log4_scale - exponent // 2)

    def _n_runs(self, options):
        if options.init == "anchors" or options.init is None and not self._is_itself:
            return 1  # anchors do not depend on a seed
        return super()._n_runs(options) + (options.init is None and not self._goes_on(options))

    def _most_runs(self, options):
        return super()._most_runs(options) + (options.init is None and self._is_itself)

    def _runs(self, data, given, options):
        if options.init is not None or not self._is_itself or self._goes_on(options):
            return super()._runs(data, given, options)
        n_runs = self._n_runs(options)
        inits = (*["symmetric"] * (n_runs - 1), "anchors")
        return n_runs, zip(self._seeds(options), inits, strict=False)

    def _operator(self, data, options):
        """Return the `Operator` that multiplies by A, and the options with the solver that it allows."""
        if self._is_itself:
            return Operator(data), options
        size = data.shape[1] ** 2
        if options.solver == "cd" and size > data.n_entries:
            raise ValueError(
                f"solver='cd' needs A = Xᵀ X as a whole, but its {size} entries are more than the {data.n_entries} of "
                "X; leave solver out, or use solver='mu'."
            )
        if options.solver == "mu" or size > data.n_entries:
            return Operator(data, "columns"), replace(options, solver="mu")
        X = data.X.astype(np.float64)
        with single_threaded_blas():
            A = sp.csr_array(X.T @ X).astype(data.dtype)
        return Operator(Strata.from_array(A)), replace(options, solver="cd")

    def _compose(self, data, given, options, rng):
        operator, options = self._operator(data, options)
        k, is_descent = options.n_components, options.solver == "cd"
        start = self._checked_start({"W": (operator.size, k), "S": (k, k)}, given, options)
        squares = operator.row_square_sums()
        if start is not None:
            W, S = start[0], np.ldexp(start[1], (2 if self._is_itself else 4) * data.log4_scale)
            if not np.allclose(S, S.T):
                raise ValueError("The start S is not symmetric; pass (S + S.T) / 2.")
        elif options.init == "random":
            W, S = rng.random((operator.size, k)), rng.random((k, k))
            S = S + S.T
        elif options.init == "symmetric":
            W, S = symmetric_start(data, k, rng, options.max_time)
            if not is_descent:
                W, S = W + TRACE * W.mean(), S + TRACE * S.mean()
        else:
            self.anchors_, W = anchor_start(data, operator, squares, k, self.anchor_mass)
            S = np.ones((k, k))
        factors, tasks = padded_factors(data, W=W, S=S)
        loss = TriSymmetric(operator, tasks, float(squares.sum()), is_descent)
        if start is None:
            if options.init in (None, "anchors"):
                factors["S"][:k, :k] = core_start(loss.core(factors)[:k, :k], loss.gram(factors)[:k, :k])
                factors.invalidate("S")
            if options.init != "symmetric" or not is_descent:
                scale_core(loss, factors)
        update = MU.plain(data.dtype)
        updates = {"W": LinkedDescent(), "S": CoreDescent()} if is_descent else {"W": update, "S": update}
        schedule = (("W", 1), ("S", 1))
        return single_loss_problem(data, loss, updates, schedule, tasks, loss.sq_norm, self._is_itself), factors

    def _set_factors(self, data, fit, options):
        k, power = options.n_components, 2 if self._is_itself else 4
        W, S = fit.factors["W"][:, :k].astype(np.float64), fit.factors["S"][:k, :k].astype(np.float64)
        sums = divisors(W.sum(axis=0))
        with np.errstate(over="ignore"):
            S = np.ldexp(S * np.outer(sums, sums), -power * data.log4_scale)
        self.W_, self.S_ = (W / sums).astype(data.dtype), ((S + S.T) / 2).astype(data.dtype)
        self.labels_ = largest(self.W_)

    def _reconstruction_error(self, loss, exponent, options):
        return super()._reconstruction_error(loss, exponent if self._is_itself else 2 * exponent, options)
