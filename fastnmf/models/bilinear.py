"""Mixtures in which components also meet each other: ``X ~ W [H; products of two rows of H]``."""

import numpy as np

from fastnmf.models.options import check_integer
from fastnmf.models.shapes import ShapedTransformer, divisors, finish_weights, shaped_problem, spread
from fastnmf.moves import HALS, ProductDescent
from fastnmf.solve import allocate
from fastnmf.terms import Frobenius


def with_products(H):
    """Return H (k, m) with the products of all pairs of its rows below it, in the order of `np.triu_indices`."""
    first, second = np.triu_indices(len(H), 1)
    return np.vstack([H, H[first] * H[second]])


class BilinearNMF(ShapedTransformer):
    """Unmix rows to which components contribute alone and in pairs: ``x ~ sum_c w_c h_c + sum_{c<d} b_cd h_c * h_d``.

    All of w, b and h are non-negative, and ``h_c * h_d`` is the product feature by feature. The model of light that has
    met two materials before it reaches the sensor: rows are pixels, features are bands, components are the spectra of
    the materials. Minimises the squared error.

    Parameters
    ----------
    n_components : int, default=2
        k; with the products each row has ``k (k + 1) / 2`` weights.
    init : {None, "rows", "random", "custom"}, default=None
        None is ``"rows"``: rows that point in different directions, as k-means++ takes them. ``"random"``: uniform.
        ``"custom"``: the W and H passed to `fit`.
    sweeps : int, default=3
        Of coordinate descent over the weights, and then over the components, in one iteration.
    max_iter : int, default=500
    tol : float, default=1e-4
        Stop when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than `tol`
        times itself. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no other iteration begins.
    callback : callable, default=None
        ``callback(state)`` after every iteration, and for the start; True stops the fit. `state` has ``iteration``,
        ``normalized_loss``, ``seconds``, and copies of ``W`` and of ``H`` with its products, not scaled.
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        The largest entry of each is one, so that products of two are no larger; W carries the mass.
    W_ : ndarray (n_samples, k (k + 1) / 2)
        Weights: first those of the components, then those of their products.
    pairs_ : ndarray (k (k - 1) / 2, 2) of int
        The two components of each product, in the order of the columns of W_ from k on.
    n_iter_ : int
    converged_ : bool
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        Norm of what the model misses.
    normalized_loss_ : float
        The same, over the norm of X.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error), ``seconds``; entry 0 is the start. It
        never rises.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    The weights see an ordinary problem, with the products as further components. In each entry of a component alone
    the error is a parabola, for its products are linear in it, and the entry goes to the minimum. Data enter through
    ``X Hᵀ`` and ``Wᵀ X`` only, so sparse X stays sparse; O(n_features k^4) an iteration beside the products. Squares
    of components are not in the model: with them the error is no parabola.

    The more weights a row has, the less they are unique: k components with products need well over ``k (k + 1) / 2``
    features.

    *Names*: the source's columns are rows here; its M is components_.T, its abundances and interactions are W_.T.

    References
    ----------
    R. Heylen, M. Parente, P. Gader, "A review of nonlinear hyperspectral unmixing methods", IEEE Journal of Selected
    Topics in Applied Earth Observations and Remote Sensing 2014, doi:10.1109/JSTARS.2014.2320576 (the models).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import NMF, BilinearNMF
    >>> rng = np.random.default_rng(0)
    >>> H = rng.random((3, 30))  # three spectra, of which neighbours meet
    >>> W = rng.dirichlet(np.ones(3), 80)
    >>> X = W @ H + (W[:, :2] * W[:, 1:]) @ (H[:2] * H[1:])
    >>> [model.fit(X).normalized_loss_ < 0.005 for model in (NMF(3, tol=1e-6), BilinearNMF(3, random_state=0))]
    [False, True]
    """

    _inits = (None, "rows", "random", "custom")

    def __init__(
        self,
        n_components=2,
        *,
        init=None,
        sweeps=3,
        max_iter=500,
        tol=1e-4,
        random_state=None,
        verbose=0,
        max_time=None,
        callback=None,
        n_threads=None,
    ):
        self.n_components = n_components
        self.init = init
        self.sweeps = sweeps
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback
        self.n_threads = n_threads

    def fit(self, X, y=None, *, W=None, H=None):
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative, finite. float32 stays float32.
        y : ignored
        W, H : ndarray (n_samples, k (k + 1) / 2), (k, n_features), default=None
            Start for ``init="custom"``.

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
        """Fit the model and return W_, (n_samples, k (k + 1) / 2); see `fit`."""
        return self._fit(X, W=W, H=H).W_

    def _check_parameters(self):
        super()._check_parameters()
        check_integer("sweeps", self.sweeps)

    def _basis(self):
        return with_products(self.components_)

    def _problem(self, data, rng, given):
        k, (n_rows, n_columns) = self.n_components, data.shape
        pairs = np.transpose(np.triu_indices(k, 1))
        n_weights = k + len(pairs)
        start = self._given({"W": (n_rows, n_weights), "H": (k, n_columns)}, given)
        if start is not None:
            W, H = start
        else:
            W = np.zeros((n_rows, n_weights))  # they move first
            H = rng.random((k, n_columns)) if self.init == "random" else spread(data, k, rng)
            top = H.max(axis=1, keepdims=True)
            H = np.where(top > 0, H / divisors(top), rng.random(H.shape))
        pair = np.diag(np.arange(k))
        pair[tuple(pairs.T)] = pair.T[tuple(pairs.T)] = np.arange(k, n_weights)
        factors, tasks = allocate(data, W, with_products(H).T, None)
        term = Frobenius(data, factors["W"].shape[1], tasks, holds_products=True)
        moves = {"W": HALS(), "H": ProductDescent(pair)}
        return shaped_problem(data, term, moves, (("W", self.sweeps), ("H", self.sweeps)), tasks), factors

    def _finish(self, data, problem, fit):
        finish_weights(problem, fit)
        k, rank = self.n_components, fit.factors.rank
        W, H = (fit.factors[name][:, :n].astype(np.float64) for name, n in (("W", rank), ("H", k)))
        top = divisors(H.max(axis=0))
        first, second = np.triu_indices(k, 1)
        self.pairs_ = np.column_stack([first, second])
        self.components_ = (H / top).T.astype(data.dtype)
        self.W_ = np.ldexp(W * np.concatenate([top, top[first] * top[second]]), -2 * data.exponent).astype(data.dtype)
