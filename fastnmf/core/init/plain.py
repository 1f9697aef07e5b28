"""The start that plain NMF of the squared error ends in: for models that add a penalty or another loss to it."""

from fastnmf.core.alternate import Extrapolation
from fastnmf.core.factors import allocate
from fastnmf.core.iterate import iterate
from fastnmf.core.objectives import squared_problem
from fastnmf.core.small import alternating_solver


def plain_fit(data, W, H, *, max_iter, tol, max_time=None):
    """Fit ``X ~ W Hᵀ`` by coordinate descent with extrapolation and return the `Fit`; W and H are not changed.

    Parameters
    ----------
    data : Strata
    W, H : ndarray (n_rows, k), (n_columns, k)
        The start, in the inner scale.
    max_iter : int
    tol : float
    max_time : float, default=None
        As for `fastnmf.core.iterate.iterate`.

    Returns
    -------
    fastnmf.core.iterate.Fit
    """
    factors, tasks = allocate(data, W, H, None)
    problem = squared_problem(data, factors, tasks, (("W", 1), ("H", 1)), is_descent=True)
    solver = alternating_solver(problem, factors, Extrapolation(tasks, factors))
    return iterate(solver, max_iter=max_iter, tol=tol, max_time=max_time)
