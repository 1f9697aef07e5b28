"""One factor with a property of its own: orthogonal, of any sign, or a projection of the data."""

import numpy as np

from fastnmf import init as starts
from fastnmf.data import Strata
from fastnmf.models.options import check_choice
from fastnmf.models.problems import squared_problem
from fastnmf.models.shapes import (
    ShapedTransformer,
    clusters,
    orthogonal_problem,
    padded_factors,
    rescaled,
    shaped_problem,
    spread,
)
from fastnmf.models.transfer import without_zeros
from fastnmf.moves import MU, MU_FLOOR, ActiveSet, LeastSquares
from fastnmf.solve import allocate, infer, pad
from fastnmf.terms import Frobenius
from fastnmf.terms.structured import OrthogonalFrobenius, Projective


class OrthogonalNMF(ShapedTransformer):
    """Cluster the rows of a non-negative matrix: ``X ~ W H`` with W, H >= 0 and orthonormal columns of W.

    Non-negative and orthogonal means one non-zero a row: row i is a multiple of the component of its cluster. This is
    k-means by direction, in which long rows weigh more. Minimises ``||X - W H||²``. To cluster features, fit ``X.T``.

    Parameters
    ----------
    n_components : int, default=2
    init : {None, "random", "custom"}, model or Start, default=None
        None takes rows that point in different directions, as k-means++ does. ``"random"``: uniform. ``"custom"``: the
        H passed to `fit`, and W where the solver is ``"mu"``.
    solver : {"em", "mu"}, default="em"
        ``"em"``: every row joins the component that explains most of it, then H is solved for; exact, both steps, so
        that the objective never rises. A cluster that loses all its rows restarts from the row that the model misses
        most. ``"mu"``: multiplicative updates, which bring W near orthogonality only; the objective may rise.
    max_iter : int, default=200
    tol : float, default=1e-4
        Stop when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than `tol`
        times itself. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
    verbose : int, default=0
        1 shows progress on standard error.

    Attributes
    ----------
    W_ : ndarray (n_samples, n_components)
        ``W_.T @ W_`` is the identity (of the clusters that have rows).
    components_ : ndarray (n_components, n_features)
    labels_ : ndarray (n_samples,) of int
        The cluster of each row, -1 for rows of zeros.
    n_iter_ : int
    converged_ : bool
    stopped_by_ : str
        ``"tol"`` or ``"max_iter"``.
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
    *Names*: the source's X is X.T; its W is components_.T and its H, with orthonormal rows, is W_.T.

    Local minima are real: try several seeds.

    References
    ----------
    F. Pompili, N. Gillis, P.-A. Absil, F. Glineur, "Two algorithms for orthogonal nonnegative matrix factorization with
    application to clustering", Neurocomputing 2014 (``"em"``), doi:10.1016/j.neucom.2014.02.018.
    S. Choi, "Algorithms for orthogonal nonnegative matrix factorization", IJCNN 2008 (``"mu"``),
    doi:10.1109/IJCNN.2008.4634046.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import OrthogonalNMF
    >>> X = np.array([[1.0, 2, 0], [2, 4, 0], [0, 0, 3], [0, 1, 6]])
    >>> model = OrthogonalNMF(2, random_state=0).fit(X)
    >>> model.labels_ == model.labels_[0]
    array([ True,  True, False, False])
    """

    _takes_components = True

    def __init__(
        self,
        n_components=2,
        *,
        init=None,
        solver="em",
        max_iter=200,
        tol=1e-4,
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.init = init
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y=None, *, W=None, H=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite. float32 stays float32.
        y : ignored
        W, H : ndarray (n_samples, k), (k, n_features), default=None
            Start for ``init="custom"``; W only with ``solver="mu"``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or starts that cannot be used: what was given, expected, and to be done.
        """
        return self._fit(X, W=W, H=H)

    def fit_transform(self, X, y=None, *, W=None, H=None):
        """Fit the model and return W_, (n_samples, n_components); see `fit`."""
        return self._fit(X, W=W, H=H).W_

    def transform(self, X):
        """Return the weight of each row of X for the component that explains most of it, zeros for the others.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        data, rank = self._seen(X), len(self.components_)
        H = pad(np.ldexp(self.components_.T, 2 * data.exponent), data)
        product = np.empty((data.shape[0], H.shape[1]), data.dtype)
        data.matmul(H, product)
        length = np.sqrt(np.square(H[:, :rank], dtype=np.float64).sum(axis=0))
        return _one_each(product[:, :rank], length)

    def predict(self, X):
        """Return the cluster of each row of X, ndarray (n_samples,) of int, -1 for rows of zeros."""
        return _labels(self.transform(X))

    def _check_parameters(self):
        super()._check_parameters()
        check_choice("solver", self.solver, ("em", "mu"))

    def _problem(self, data, rng, given):
        rank, (n_rows, n_columns) = self.n_components, data.shape
        shapes = {"W": (n_rows, rank), "H": (rank, n_columns)}
        if self.solver == "em":
            if given["W"] is not None:
                raise ValueError("solver='em' finds W first, so that a start W says nothing; pass H alone.")
            start = self._given({"H": shapes["H"]}, given)
            H = self._passed_on(data) if start is None else np.ldexp(start[0], 2 * data.exponent)
            if H is None:
                H = rng.random(shapes["H"]) if self.init == "random" else spread(data, rank, rng)
            return orthogonal_problem(data, H)
        start = self._given(shapes, given)
        if start is None:
            W, H = rng.random(shapes["W"]), self._passed_on(data)
            if H is None:
                H = rng.random(shapes["H"]) if self.init == "random" else 0.9 * spread(data, rank, rng)
            H = H + 0.1 * data.column_means()  # multiplicative updates cannot leave a zero
        else:
            W, H = start[0], np.ldexp(start[1], 2 * data.exponent)
        factors, tasks = allocate(data, W, H.T, None)
        # W first: its update turns the scale of W upside down, and the one of H puts it right.
        problem = squared_problem(data, factors, tasks, (("W", 1), ("H", 1)), is_descent=False, holds_products=True)
        problem.terms = [OrthogonalFrobenius(data, factors["W"].shape[1], tasks, holds_products=True)]
        problem.moves = dict.fromkeys("WH", MU(eps=0.0, floor=MU_FLOOR[data.dtype]))
        return problem, factors

    def _finish(self, data, problem, fit):
        W, H = (np.ascontiguousarray(fit.factors[name][:, : self.n_components]) for name in "WH")
        lengths = np.linalg.norm(W, axis=0)  # one with "em", but for rounding and clusters without rows
        lengths = np.where((lengths > 0) & (self.solver == "mu"), lengths, 1).astype(W.dtype)
        self.W_, self.components_ = W / lengths, np.ldexp(np.ascontiguousarray((H * lengths).T), -2 * data.exponent)
        self.labels_ = _labels(W)


def _one_each(product, length):
    """Return weights with one non-zero a row: the best multiple of the component that explains most of the row."""
    gain = np.divide(product, length, out=np.zeros(product.shape), where=length > 0)
    out, each, best = np.zeros_like(product), np.arange(len(product)), np.argmax(gain, axis=1)
    gain = np.maximum(gain[each, best], 0)
    out[each, best] = np.divide(gain, length[best], out=np.zeros(len(product)), where=length[best] > 0)
    return out


def _labels(W):
    return np.where(W.any(axis=1), W.argmax(axis=1), -1)


class SemiNMF(ShapedTransformer):
    """Factorise data of any sign, ``X ~ W H`` with W >= 0 and H free: parts that add up, components with signs.

    Minimises ``||X - W H||²`` by solving for H and for W in turn, both exactly, so that the objective never rises.

    Parameters
    ----------
    n_components : int, default=2
    init : {None, "svd", "random", "custom"}, model or Start, default=None
        None is ``"svd"``: the left singular vectors, each lifted until it is non-negative, beside a column of ones.
        With this start the result is at least as good as the best approximation of rank ``n_components - 1`` of any
        sign. ``"random"``: uniform. ``"custom"``: the W passed to `fit`.
    max_iter : int, default=200
    tol : float, default=1e-4
        Stop when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than `tol`
        times itself. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
        For ``"random"``, and for more components than X has singular vectors.
    verbose : int, default=0
        1 shows progress on standard error.

    Attributes
    ----------
    W_ : ndarray (n_samples, n_components)
        Non-negative.
    components_ : ndarray (n_components, n_features)
        Of any sign.
    n_iter_ : int
    converged_ : bool
    stopped_by_ : str
        ``"tol"`` or ``"max_iter"``.
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
    *Names*: the source's X is X.T; its W, of any sign, is components_.T and its H is W_.T.

    Components that W cannot tell apart share their part evenly (a pseudo-inverse). Data that are non-negative are
    better served by `NMF`.

    References
    ----------
    C. Ding, T. Li, M. I. Jordan, "Convex and semi-nonnegative matrix factorizations", IEEE TPAMI 2010,
    doi:10.1109/TPAMI.2008.277 (the model; its multiplicative update takes five to ten times as many iterations).
    N. Gillis, A. Kumar, "Exact and heuristic algorithms for semi-nonnegative matrix factorization", SIAM Journal on
    Matrix Analysis and Applications 2015, doi:10.1137/140993272 (the start).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import SemiNMF
    >>> X = np.array([[1.0, -1], [2, -2], [-1, 3], [0, 2]])
    >>> model = SemiNMF(2).fit(X)
    >>> (model.W_ @ model.components_ - X).round(6).any(), (model.W_ >= 0).all()
    (np.False_, np.True_)
    """

    _inits = (None, "svd", "random", "custom")
    _is_signed = _takes_components = True

    def __init__(self, n_components=2, *, init=None, max_iter=200, tol=1e-4, random_state=None, verbose=0):
        self.n_components = n_components
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y=None, *, W=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Finite, of any sign; a sparse one is not made dense. float32 stays float32.
        y : ignored
        W : ndarray (n_samples, k), default=None
            Start for ``init="custom"``, non-negative.

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
        """Fit the model and return W_, (n_samples, n_components); see `fit`."""
        return self._fit(X, W=W).W_

    def _problem(self, data, rng, given):
        rank, (n_rows, n_columns) = self.n_components, data.shape
        start = self._given({"W": (n_rows, rank)}, given)
        W, H = rng.random((n_rows, rank)) if start is None else start[0], self._passed_on(data)
        if H is not None:
            W = infer(data, rank, pad(H.T, data), None)[0][:, :rank]
        elif self.init in (None, "svd"):
            W = _lifted(starts.singular(data, min(max(rank - 1, 1), n_rows - 1, n_columns - 1)), W)
        factors, tasks = allocate(data, W, np.zeros((n_columns, rank)), None)
        term = Frobenius(data, factors["W"].shape[1], tasks, holds_products=True)
        moves = {"H": LeastSquares(), "W": ActiveSet()}
        return shaped_problem(data, term, moves, (("H", 1), ("W", 1)), tasks), factors

    def _finish(self, data, problem, fit):
        W, H = (np.ascontiguousarray(fit.factors[name][:, : self.n_components]) for name in "WH")
        self.W_, self.components_ = W, np.ldexp(np.ascontiguousarray(H.T), -2 * data.exponent)


def _lifted(triplets, W):
    """Return W (n, k) of which the first columns are ones and lifted singular vectors; the rest is as it was."""
    W = W.copy()
    if W.shape[1] == 1:
        for u, _, _ in triplets:
            W[:, 0] = np.maximum(u if u.sum() >= 0 else -u, 0)
        return W
    W[:, 0] = 1.0
    for c, (u, _, _) in enumerate(triplets):
        u = u if u.max() >= -u.min() else -u
        W[:, c + 1] = (u - min(u.min(), 0)) / np.abs(u).max()
    return W


class ProjectiveNMF(ShapedTransformer):
    """Project non-negative data onto non-negative components, ``X ~ (X Hᵀ) H`` with H >= 0: a PCA without signs.

    Minimises ``||X - X Hᵀ H||²``. The rows of H come out nearly orthogonal, which splits the features into parts.

    Parameters
    ----------
    n_components : int, default=2
    init : {None, "clusters", "nndsvda", "random", "custom"}, model or Start, default=None
        None is ``"nndsvda"``: from the singular vectors. ``"clusters"``: of the features, by a few steps of
        `OrthogonalNMF`; better where such clusters are clear. ``"random"``: uniform. All times the number that fits
        best. ``"custom"``: the H passed to `fit`.
    max_iter : int, default=500
    tol : float, default=1e-4
        Stop when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than `tol`
        times itself. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
    verbose : int, default=0
        1 shows progress on standard error.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
    W_ : ndarray (n_samples, n_components)
        ``X @ components_.T``, which is also what `transform` returns.
    n_iter_ : int
    converged_ : bool
    stopped_by_ : str
        ``"tol"`` or ``"max_iter"``.
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
    Multiplicative updates with the exponent 1/3, with which the objective never rises; with the exponent 1 it can.
    ``XᵀX`` is not formed. They are slow: from a random start expect thousands of iterations.

    *Names*: the source's X is X.T, and its W is components_.T.

    References
    ----------
    Z. Yang, E. Oja, "Linear and nonlinear projective nonnegative matrix factorization", IEEE Transactions on Neural
    Networks 2010, doi:10.1109/TNN.2010.2041361.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import ProjectiveNMF
    >>> X = np.array([[1.0, 1, 0, 0], [2, 2, 0, 0], [0, 0, 3, 3], [1, 1, 1, 1]])
    >>> model = ProjectiveNMF(2).fit(X)
    >>> (model.transform(X) @ model.components_).round(2)
    array([[1., 1., 0., 0.],
           [2., 2., 0., 0.],
           [0., 0., 3., 3.],
           [1., 1., 1., 1.]])
    """

    _inits = (None, "clusters", "nndsvda", "random", "custom")
    _takes_components = True

    def __init__(self, n_components=2, *, init=None, max_iter=500, tol=1e-4, random_state=None, verbose=0):
        self.n_components = n_components
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y=None, *, H=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite. float32 stays float32.
        y : ignored
        H : ndarray (k, n_features), default=None
            Start for ``init="custom"``.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters, data or starts that cannot be used: what was given, expected, and to be done.
        """
        return self._fit(X, H=H)

    def fit_transform(self, X, y=None, *, H=None):
        """Fit the model and return W_, (n_samples, n_components); see `fit`."""
        return self._fit(X, H=H).W_

    def transform(self, X):
        """Return ``X @ components_.T``, (n_samples, n_components).

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)

        Returns
        -------
        ndarray (n_samples, n_components)
        """
        data = self._seen(X)
        H = pad(self.components_.T, data)
        W = np.empty((data.shape[0], H.shape[1]), data.dtype)
        data.matmul(H, W)
        return np.ldexp(np.ascontiguousarray(W[:, : len(self.components_)]), -2 * data.exponent)

    def _problem(self, data, rng, given):
        shape = self.n_components, data.shape[1]
        start = self._given({"H": shape}, given)
        passed_on = self._passed_on(data)
        if start is not None:
            H = start[0].T
        elif passed_on is not None:
            H = without_zeros(passed_on.T / passed_on.max())
        elif self.init == "random":
            H = rng.random(shape).T
        else:
            if self.init != "clusters":
                H = starts.nndsvd(data, shape[0], rng, has_shifts=False, fill="mean")[1]
            else:
                H = clusters(Strata.from_array(data.X.T), shape[0], rng, weighted=True)
            lengths = np.linalg.norm(H, axis=0)
            H = H / np.where(lengths > 0, lengths, 1)
        factors, tasks = padded_factors(data, H=H)
        term = Projective(data, tasks)
        if start is None:
            inner = term.inner(factors)
            factors["H"][:] *= data.dtype.type(np.sqrt(rescaled(np.sum(inner * term.gram(factors)), np.trace(inner))))
            factors.moved("H")
        return shaped_problem(data, term, {"H": MU(eps=0.0, floor=MU_FLOOR[data.dtype])}, (("H", 1),), tasks), factors

    def _finish(self, data, problem, fit):
        H = fit.factors["H"][:, : self.n_components]
        W = problem.terms[0].weights(fit.factors)[:, : self.n_components]
        self.components_ = np.ascontiguousarray(H.T)
        self.W_ = np.ldexp(np.ascontiguousarray(W), -2 * data.exponent)
