"""Chebyshev NMF: minimise the largest error of all entries, by linear programs."""

from fastnmf.core.iterate import solve
from fastnmf.core.losses.robust import Residuals
from fastnmf.core.updates import ChebyshevLP
from fastnmf.models.robust import ResidualLoss

LINEAR_LIMIT = 20_000  # entries of X; a factor (p, k) needs p linear programs of 2 q constraints, milliseconds each


class ChebyshevNMF(ResidualLoss):
    """Factorise ``X ~ W H`` with W, H >= 0 such that the largest error ``max_ij |X - W H|`` is small. For small X.

    Alternates between W and H. Each factor is solved for exactly: one linear program for each row of the factor
    minimises the largest error of that row. The objective is monotone: it does not increase. It is not convex in W and
    H together, so the result depends on the start.

    Parameters
    ----------
    n_components : int, default=2
        k, the number of rows of H.
    init : {None, "features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default=None
        Start, as for `NMF`.
    max_iter : int, default=20
        Largest number of iterations.
    tol : float, default=1e-4
        Stopping tolerance, as for `NMF`; 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no further iteration begins. None sets no limit.
    callback : callable, default=None
        ``callback(state)``, called for the start and after every iteration with a `FitState`; see `NMF`. Returning True
        stops the fit.
    n_threads : int, default=None
        Threads of the kernels; None takes Numba's setting. The linear programs use one thread.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features)
        H.
    W_ : ndarray (n_samples, n_components)
        Weights of the training rows.
    reconstruction_err_ : float
        The largest error, in the units of X.
    normalized_loss_ : float
        Square root of the largest error over the largest entry of X.
    history_ : dict of ndarray
        ``iteration``, ``objective`` (the largest error), ``normalized_loss`` (square root of the largest error over
        that of the zero model, which is the largest entry of X), ``seconds``; entry 0 is the start.
    n_components_ : int
        k.
    n_iter_ : int
        Number of iterations.
    converged_ : bool
        True if the fit stopped because of `tol`, or, with ``tol=0``, after `max_iter` iterations.
    stopped_by_ : str
        Reason for stopping: ``"tol"``, ``"max_iter"``, ``"max_time"`` or ``"callback"``.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray (n_features,) of object
        Names of the features; only if X has string column names.

    Notes
    -----
    The error is taken over every entry, zeros included. Each iteration solves n_samples + n_features linear programs. X
    may have at most 20,000 entries; a sparse X is made dense.

    References
    ----------
    N. Gillis, "Nonnegative Matrix Factorization", SIAM 2020, section 5.1 (error measures).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import ChebyshevNMF
    >>> X = np.outer([1.0, 2, 3], [1.0, 3, 2]) + 0.1 * np.eye(3)
    >>> model = ChebyshevNMF(1, max_iter=100, random_state=0).fit(X)
    >>> bool(model.reconstruction_err_ < 0.1)
    True
    """

    solver = "cd"

    def __init__(
        self,
        n_components=2,
        *,
        init=None,
        max_iter=20,
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

    def _observed(self, X, strata, weight=None, labels=None):
        """Return X as dense data of a fit; raise if X has more than LINEAR_LIMIT entries.

        Parameters
        ----------
        X, strata, weight, labels :
            As in `BaseNMF`; strata and weight are None here.

        Returns
        -------
        fastnmf.data.strata.Strata
        """
        data = super()._observed(X, strata, weight, labels)
        return self._as_dense(
            data,
            LINEAR_LIMIT,
            "the largest error needs a linear program for every row and every column. Use fewer rows, or "
            "RobustNMF or NMF.",
        )

    def _problem(self, data, factors, tasks):
        """Return the `Problem` of the largest residual with the update `ChebyshevLP`."""
        return self._of(Residuals(data, factors["W"].shape[1], tasks, "linf"), ChebyshevLP(), factors, tasks)

    def _update_W(self, data, factors, tasks):
        """Solve for W in place, with H fixed."""
        problem = self._problem(data, factors, tasks)
        problem.schedule = problem.schedule[:1]
        solve(problem, factors, max_iter=1, tol=0)
