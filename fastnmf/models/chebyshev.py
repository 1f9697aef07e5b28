"""Chebyshev NMF: minimise the largest error of all entries, by rising powers and linear programs."""

from __future__ import annotations

import numpy as np

from fastnmf.core.alternate import solve
from fastnmf.core.losses.robust import Residuals
from fastnmf.core.minimax import ChebyshevSolver
from fastnmf.core.objectives import own_loss_problem
from fastnmf.core.updates import ChebyshevLP
from fastnmf.models.base.for_checkers import Callback, Init, Iterative
from fastnmf.models.base.nmf import BaseNMF
from fastnmf.typing import Seed


class ChebyshevNMF(BaseNMF, Iterative):
    """Factorise ``X ~ W H`` with W, H >= 0 such that the largest error ``max_ij |X - W H|`` is small.

    The first iterations minimise p-norms of the error over W and H together, for rising p. The others alternate between
    W and H, and solve for each of them exactly: one linear program for each row of the factor minimises the largest
    error of that row. The objective is monotone: it does not increase. It is not convex in W and H together, so the
    result depends on the start.

    Parameters
    ----------
    n_components : int, default=2
        k, the number of rows of H.
    init : {None, "features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar", "custom"}, model or Start, default=None
        Start, as for `NMF`.
    max_iter : int, default=200
        Maximum number of iterations.
    tol : float, default=1e-4
        Stopping tolerance, >= 0. The fit stops when the linear programs of an iteration lower the largest error by less
        than ``tol`` times itself. 0 runs exactly `max_iter` iterations.
    random_state : None, int, Generator or RandomState, default=None
        Seed or source of the random numbers of the start. An int gives the same result in every call.
    verbose : int, default=0
        1 shows progress on standard error.
    max_time : float, default=None
        Seconds after which no further iteration begins, and the p-norm of an iteration is minimised no further. None
        sets no limit.
    callback : callable, default=None
        ``callback(state)``, called for the start and after every iteration with a `FitState`; see `NMF`. Returning True
        stops the fit.
    n_threads : int, default=None
        Threads of the kernels; None uses Numba's setting. The result has the same bits for any number.
    n_init : int, default=1
        Number of starts to try; the result with the lowest objective is kept. No start follows one whose normalized
        loss is at most `tol`. `max_time` limits the total time of all starts.
    warm_start : bool, default=False
        Whether `fit` starts from the factors of the previous fit.

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
    run_objectives_ : ndarray (n_runs,) of float64
        Final objective of every start; all other attributes belong to the start with the lowest.
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
    The error is taken over every entry, zeros included: a pass costs O(n_samples n_features n_components), however
    sparse X is. Sparse X is never dense as a whole. Linear programs of one factor after the other, from a start that
    fits in another sense, end where only a change of both factors would lower the largest error. The p-norm is smooth
    and has no such points; that of p = 1024 is within 2 % of the largest error of a million entries. L-BFGS minimises
    it (Byrd, Lu, Nocedal, Zhu 1995). The dual simplex method solves the programs.

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

    init: Init

    _has_own_loss = True

    def __init__(
        self,
        n_components: int = 2,
        *,
        init: Init = None,
        max_iter: int = 200,
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

    def _reconstruction_error(self, loss, exponent, options):
        return float(np.ldexp(loss, exponent))

    def _problem(self, data, factors, tasks, options):
        loss = Residuals(data, factors["W"].shape[1], tasks, "linf")
        return own_loss_problem(loss, ChebyshevLP(), factors, tasks)

    def _alternate(self, data, start, given, options, level=None):
        solver = super()._alternate(data, start, given, options, level)
        return ChebyshevSolver(solver.problem, solver.factors, float(solver.scale))

    def _update_W(self, data, factors, tasks, options):
        problem = self._problem(data, factors, tasks, options)
        problem.schedule = problem.schedule[:1]
        solve(problem, factors, max_iter=1, tol=0)
