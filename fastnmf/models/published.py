"""Stratified-NMF with the signature of the published program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from fastnmf.core import init as starts
from fastnmf.core.alternate import solve
from fastnmf.core.factors import allocate
from fastnmf.core.iterate import as_arrays
from fastnmf.core.objectives import squared_problem
from fastnmf.core.options import check_choice, check_integer, generator
from fastnmf.core.schedules import hals_schedule, mu_schedule
from fastnmf.core.thresholds import MU_EPS, MU_FLOOR
from fastnmf.core.updates import MU
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.typing import Floats, Matrix, Seed


def stratified_nmf(
    A: Sequence[Matrix],
    rank: int,
    iters: int,
    v_scaling: int = 2,
    calculate_loss: bool = True,
    *,
    update_order: Literal["sequential", "simultaneous"] = "simultaneous",
    random_state: Seed = None,
    solver: Literal["hals", "mu"] = "mu",
) -> tuple[Floats, list[Floats], Floats, Floats]:
    """Run Stratified-NMF on a list of strata with the arguments of the published program.

    The losses differ from those of the published program, which records the loss before each update and therefore never
    that of its result. Here entry k of `loss_array` is the loss after k iterations: entry 0 belongs to the start and
    the last one to the returned factors. So the array has one entry more.

    Parameters
    ----------
    A : list of sparse matrices or arrays (m_i, n)
        The rows of each stratum, non-negative and finite; any SciPy format, or dense.
    rank : int
        Number of components, >= 1.
    iters : int
        Number of iterations, >= 0.
    v_scaling : int, default=2
        Number of updates of the shifts in an iteration, >= 1.
    calculate_loss : bool, default=True
        False returns zeros for the losses, as in the published program.
    update_order : {"simultaneous", "sequential"}, default="simultaneous"
        ``"simultaneous"`` updates W and H together from their old values, as the published program does.
        ``"sequential"`` updates H from the new W, as the paper says.
    random_state : None, int, Generator or RandomState, default=None
        Source of the random numbers of the start: V, then each W(i), then H, uniform on [0, 1), W and H divided by
        sqrt(rank).
    solver : {"mu", "hals"}, default="mu"
        Multiplicative updates, or exact coordinate descent.

    Returns
    -------
    V : ndarray (len(A), n)
        Shifts, one row for each stratum, in units of A.
    W : list of ndarray (m_i, rank)
        Weights of the rows of each stratum.
    H : ndarray (rank, n)
        Components.
    loss_array : ndarray (iters + 1,) of float64
        Square root of the squared error divided by the squared norm of the data.

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
        if solver == "mu":
            problem.updates = dict.fromkeys(factors.arrays, MU(MU_EPS, MU_FLOOR[data.dtype]))
        start = problem.value(factors, V=V)
        fit = solve(problem, factors, max_iter=iters, tol=0, start_value=start)
    W = np.ldexp(factors["W"][:, :rank], -data.log4_scale)
    H = np.ldexp(factors["H"][:, :rank].T, -data.log4_scale)
    V = np.ldexp(data.pattern.dense(factors["V"]) if iters else V, -2 * data.log4_scale)
    loss = as_arrays(fit.history, data.sq_norm)["normalized_loss"] if calculate_loss else np.zeros(iters + 1)
    return V, np.split(W, np.cumsum(data.groups.sizes)[:-1]), np.ascontiguousarray(H), loss
