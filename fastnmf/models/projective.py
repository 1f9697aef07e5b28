"""Projective NMF: components onto which the data are projected, ``X ~ (X Hᵀ) H``.

Scale inside a fit: the data and W are held multiplied by ``4 ** log4_scale``; H has no scale.
"""

import numpy as np

from fastnmf.core import init as starts
from fastnmf.core.factors import pad
from fastnmf.core.losses.products import Projective
from fastnmf.core.updates import MU
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.models.base.factor_model import (
    FactorTransformer,
    best_scale,
    clusters,
    padded_factors,
    single_loss_problem,
)
from fastnmf.models.base.warm_start import without_zeros
from fastnmf.models.hierarchy.init import unit_columns


class ProjectiveNMF(FactorTransformer):
    """Project non-negative data onto non-negative components: ``X ~ (X Hᵀ) H`` with H >= 0, a non-negative PCA.

    Minimises ``||X - X Hᵀ H||²``. The rows of H become nearly orthogonal, so each feature belongs mainly to one
    component.

    Parameters
    ----------
    n_components : int, default=2
        Number of components (rows of H), >= 1.
    init : {None, "clusters", "nndsvda", "random", "custom"}, model or Start, default=None
        The start. None is ``"nndsvda"``: from the singular vectors. ``"clusters"``: clusters of the features, from a
        few iterations of `OrthogonalNMF`; better if the features form clear clusters. ``"random"``: uniform random
        numbers. Each of these is multiplied by the number for which the model fits best. ``"custom"``: the H passed to
        `fit`. A fitted model or a `Start`: its components.
    max_iter : int, default=500
        Maximum number of iterations, >= 1.
    tol : float, default=1e-4
        Relative tolerance, >= 0. The fit stops when, at the rate of the last 10 iterations, the next 100 iterations
        would lower the objective by less than ``tol`` times its value. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
        Source of the random numbers that the start uses.
    verbose : int, default=0
        1 shows the progress on standard error; 0 shows nothing.
    max_time : float, default=None
        Time limit in seconds: no further iteration begins after it. None sets no limit.
    callback : callable, default=None
        Called as ``callback(state)`` for the start and after every iteration. `state` has ``iteration``,
        ``normalized_loss``, ``seconds``, and a copy of the factor ``H``. The fit stops when it returns True.
    n_threads : int, default=None
        Number of threads of the kernels; None uses Numba's setting. The result has the same bits for any number of
        threads.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features) of the dtype of X
        H, dimensionless.
    W_ : ndarray (n_samples, n_components) of the dtype of X
        ``X @ components_.T``, in units of X; `transform` returns the same.
    n_iter_ : int
        Number of iterations.
    converged_ : bool
        True if `tol` ended the fit, or if ``tol=0`` and all `max_iter` iterations were run; False if the fit was
        stopped earlier.
    stopped_by_ : str
        ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    reconstruction_err_ : float
        Norm of the residual, in units of X.
    normalized_loss_ : float
        `reconstruction_err_` divided by the norm of X; 0 for all-zero X.
    history_ : dict of ndarray
        ``iteration``, ``normalized_loss``, ``objective`` (the squared error) and ``seconds`` (since the start of the
        fit). Entry 0 belongs to the start.
    n_features_in_, feature_names_in_ :
        As in scikit-learn.

    Notes
    -----
    The multiplicative updates use the exponent 1/3, for which the objective is monotone; with the exponent 1 it can
    increase. ``XᵀX`` is never formed. The updates converge slowly: from a random start expect thousands of iterations.

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
            Non-negative and finite. float32 is kept; integers and booleans become float64.
        y : ignored
            Present for compatibility with scikit-learn.
        H : ndarray (k, n_features), default=None
            Start for ``init="custom"``, non-negative and dimensionless.

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
        return self._fit(X, H=H)

    def fit_transform(self, X, y=None, *, H=None):
        """Fit the model and return `W_`, (n_samples, n_components); see `fit`."""
        return self._fit(X, H=H).W_

    def transform(self, X):
        """Return ``X @ components_.T``.

        Parameters
        ----------
        X : sparse matrix or array (n_samples, n_features)
            Non-negative and finite.

        Returns
        -------
        ndarray (n_samples, n_components) of the dtype of X
            In units of X.
        """
        data = self._new_data(X)
        H = pad(self.components_.T, data)
        W = np.empty((data.shape[0], H.shape[1]), data.dtype)
        with threads(self.n_threads):
            data.matmul(H, W)
        return np.ldexp(np.ascontiguousarray(W[:, : len(self.components_)]), -2 * data.log4_scale)

    def _problem(self, data, rng, given):
        shape = self.n_components, data.shape[1]
        start = self._checked_start({"H": shape}, given)
        passed_on = self._components_from_init(data)
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
        loss = Projective(data, tasks)
        if start is None:
            inner = loss.inner(factors)
            factors["H"][:] *= data.dtype.type(np.sqrt(best_scale(np.sum(inner * loss.gram(factors)), np.trace(inner))))
            factors.invalidate("H")
        return single_loss_problem(data, loss, {"H": MU.plain(data.dtype)}, (("H", 1),), tasks), factors

    def _finish(self, data, problem, fit):
        H = fit.factors["H"][:, : self.n_components]
        W = problem.losses[0].weights(fit.factors)[:, : self.n_components]
        self.components_ = np.ascontiguousarray(H.T)
        self.W_ = np.ldexp(np.ascontiguousarray(W), -2 * data.log4_scale)
