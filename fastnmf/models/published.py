"""Stratified-NMF with the signature of the published program."""

import numpy as np

from fastnmf import init as starts
from fastnmf.data import Strata
from fastnmf.models.options import check_choice, check_integer, generator
from fastnmf.models.problems import squared_problem
from fastnmf.models.stratified import hals_schedule, mu_schedule
from fastnmf.solve import allocate, as_arrays, solve, threads


def stratified_nmf(
    A, rank, iters, v_scaling=2, calculate_loss=True, *, update_order="simultaneous", random_state=None, solver="mu"
):
    """Run Stratified-NMF on a list of strata, as the published program; `loss_array` has one entry more than there.

    The published program logs the loss before each update, and so never that of what it returns; here entry k is the
    loss after k iterations, entry 0 that of the start and the last that of the returned factors.

    Parameters
    ----------
    A : list of sparse matrices or arrays (m_i, n)
        Any SciPy format, or dense.
    rank : int
    iters : int
    v_scaling : int, default=2
        Updates of the shifts an iteration.
    calculate_loss : bool, default=True
        False returns zeros for the losses, as there.
    update_order : {"simultaneous", "sequential"}, default="simultaneous"
        The published program moves W and H together from the old pair; the paper lets H see the new W.
    random_state : None, int, Generator or RandomState, default=None
        Seed of the start: V, then each W(i), then H, uniform on [0, 1), W and H divided by sqrt(rank).
    solver : {"mu", "hals"}, default="mu"

    Returns
    -------
    V : ndarray (len(A), n)
    W : list of ndarray (m_i, rank)
    H : ndarray (rank, n)
    loss_array : ndarray (iters + 1,)
        Square root of the squared error over the squared norm of the data.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import stratified_nmf
    >>> blocks = [np.array([[1.0, 0, 5], [2, 0, 5]]), np.array([[3.0, 1, 0], [6, 2, 0]])]
    >>> V, W, H, loss = stratified_nmf(blocks, 1, 50, random_state=0)
    >>> V.shape, [part.shape for part in W], H.shape, len(loss), bool(loss[-1] < 0.1)
    ((2, 3), [(2, 1), (2, 1)], (1, 3), 51, True)
    """
    check_integer("rank", rank)
    check_integer("iters", iters, least=0)
    check_integer("v_scaling", v_scaling)
    check_choice("solver", solver, ("mu", "hals"))
    check_choice("update_order", update_order, ("sequential", "simultaneous"))
    rng = generator(random_state)
    with threads(None):
        data = Strata.from_blocks(A)
        V = rng.random((data.n_strata, data.shape[1]))
        W = np.concatenate([rng.random((size, rank)) / rank**0.5 for size in data.groups.sizes])
        H = rng.random((rank, data.shape[1])) / rank**0.5
        W, H, V = starts.custom(data, rank, W, H, V)
        factors, tasks = allocate(data, W, H, data.pattern.entries(V))
        schedule = hals_schedule() if solver == "hals" else mu_schedule(update_order, v_scaling)
        problem = squared_problem(data, factors, tasks, schedule, is_descent=solver == "hals")
        start = problem.value(factors, V=V)
        fit = solve(problem, factors, max_iter=iters, tol=0, start_value=start)
    W = np.ldexp(factors["W"][:, :rank], -data.exponent)
    H = np.ldexp(factors["H"][:, :rank].T, -data.exponent)
    V = np.ldexp(data.pattern.dense(factors["V"]) if iters else V, -2 * data.exponent)
    loss = as_arrays(fit.history, data.sq_norm)["normalized_loss"] if calculate_loss else np.zeros(iters + 1)
    return V, np.split(W, np.cumsum(data.groups.sizes)[:-1]), np.ascontiguousarray(H), loss
