"""Components onto which the data are projected: ``X ~ (X Hᵀ) H``."""

import numpy as np

from fastnmf import init as starts
from fastnmf.data import Strata
from fastnmf.models.shapes import ShapedTransformer, clusters, padded_factors, rescaled, shaped_problem
from fastnmf.models.stacked import unit_columns
from fastnmf.models.transfer import without_zeros
from fastnmf.moves import MU
from fastnmf.solve import pad, threads
from fastnmf.terms.structured import Projective


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
    max_time : float, default=None
        Seconds after which no other iteration begins.
    callback : callable, default=None
        ``callback(state)`` after every iteration, and for the start; True stops the fit. `state` has ``iteration``,
        ``normalized_loss``, ``seconds``, and a copy of the factor ``H``.
    n_threads : int, default=None
        Threads of the kernels, None for Numba's setting. The result has the same bits for any number.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
    W_ : ndarray (n_samples, n_components)
        ``X @ components_.T``, which is also what `transform` returns.
    n_iter_ : int
    converged_ : bool
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
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

    def __init__(
        self,
        n_components=2,
        *,
        init=None,
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
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
        self.max_time = max_time
        self.callback = callback
        self.n_threads = n_threads

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
        with threads(self.n_threads):
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
            H = unit_columns(H)
        factors, tasks = padded_factors(data, H=H)
        term = Projective(data, tasks)
        if start is None:
            inner = term.inner(factors)
            factors["H"][:] *= data.dtype.type(np.sqrt(rescaled(np.sum(inner * term.gram(factors)), np.trace(inner))))
            factors.moved("H")
        return shaped_problem(data, term, {"H": MU.plain(data.dtype)}, (("H", 1),), tasks), factors

    def _finish(self, data, problem, fit):
        H = fit.factors["H"][:, : self.n_components]
        W = problem.terms[0].weights(fit.factors)[:, : self.n_components]
        self.components_ = np.ascontiguousarray(H.T)
        self.W_ = np.ldexp(np.ascontiguousarray(W), -2 * data.exponent)
