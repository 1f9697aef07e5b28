"""Start the components of strata from what the shared components and the shifts leave."""

from typing import NamedTuple

import numpy as np

from fastnmf.core.alternate import solve, sweep
from fastnmf.core.factors import Factors, pad, row_tasks
from fastnmf.core.updates.own import StrataHALS
from fastnmf.kernels.jit import split_rows

UNSHIFTED_ITERATIONS = 20  # iterations without shifts after the components of a joint fit have been divided
SHARED_ITERATIONS = 5  # iterations of shifts and shared components before the residual is looked at
OWN_ITERATIONS = 5  # alternations of the own components and their weights, on that residual
# Of multiplicative updates, which are slower and cannot leave a zero:
UNSHIFTED_UPDATES = 40  # iterations without shifts; without acceleration 100 are needed (`bench/own.py --counts`)
POSITIVE_ITERATIONS = 20  # the same alternations
POSITIVE_SHARE = 0.1  # share of the stratum means, and of H, that own components and shifts begin at


def own_factors(data, W, H, v, sizes, *, is_tied):
    """Return the factors of a model with own components, which are zero, and their task tables.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    W : ndarray (n_rows, k)
    H : ndarray (n_columns, k)
    v : ndarray (q,)
        Entries of the shifts on ``data.pattern``. All three are in the inner scale.
    sizes : ndarray (n_strata,) of int
        Number of own components of each stratum.
    is_tied : bool
        Whether own components share the weights of the shared ones.

    Returns
    -------
    factors : Factors
        W (n_rows, K), H (n_columns, K) and G (q, 1 + w), see `fastnmf.core.losses.own.OwnFrobenius`.
    tasks : dict
    """
    k, w = W.shape[1], int(sizes.max())
    wide = [np.concatenate([F, np.zeros((len(F), 0 if is_tied else w))], axis=1) for F in (W, H)]
    W, H = (pad(F, data) for F in wide)
    G = np.zeros((len(v), 1 + w), data.dtype)
    G[:, 0] = v
    tasks = {"W": row_tasks(W), "H": row_tasks(H), "G": split_rows(len(G), 1 + w)}
    return Factors(k, W=W, H=H, G=G), tasks


class Divided(NamedTuple):
    """The components of a fit without strata, divided into shared ones and those of one stratum.

    Attributes
    ----------
    W, H : ndarray (n_rows, k), (n_columns, k)
        The shared ones.
    U, G : list of ndarray (n_rows, k_i), (n_columns, k_i)
        Those of each stratum, with the weights of all rows.
    """

    W: np.ndarray
    H: np.ndarray
    U: list
    G: list


def divided(data, factors, sizes):
    """Divide the components of a fit: each goes to the stratum in which it is used most, if that has room for it.

    The pairs of a component and a stratum are visited by the share of the stratum in the mean squared weights, largest
    first.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    factors : Factors
        W and H with ``k + sum(sizes)`` components.
    sizes : ndarray (n_strata,) of int
        Number of own components of each stratum.

    Returns
    -------
    Divided
    """
    W, H = (factors[name][:, : factors.rank].astype(np.float64) for name in "WH")
    means = data.groups.sum(np.ascontiguousarray(W**2)) / np.maximum(data.groups.sizes, 1)[:, None]
    total = means.sum(axis=0)
    share = np.divide(means, total, out=np.zeros_like(means), where=total > 0)
    stratum_of, left = np.full(factors.rank, -1), sizes.copy()
    for place in np.argsort(-share, axis=None, kind="stable"):
        code, component = divmod(int(place), factors.rank)
        if stratum_of[component] < 0 and left[code]:
            stratum_of[component], left[code] = code, left[code] - 1
    own = [stratum_of == code for code in range(len(sizes))]
    is_shared = stratum_of < 0
    return Divided(W[:, is_shared], H[:, is_shared], [W[:, mine] for mine in own], [H[:, mine] for mine in own])


def start_divided(problem, factors, parts, v=None, extrapolation=None):
    """Write the own components of a divided fit into the factors, in place, and iterate without shifts for a while.

    Shifts that are there from the beginning take what own components have to find: of 48 fits to planted data, two weak
    components in 100 of 250 rows, 8 then ended in a worse minimum, and with this start none (`bench/own.py`).

    Parameters
    ----------
    problem : Problem
        As `fastnmf.core.objectives.own_problem` returns it.
    factors : Factors
        Their shared components are those of `parts`.
    parts : Divided
    v : ndarray (q,), default=None
        Shifts that are set afterwards, for multiplicative updates, which would keep those of `factors` at zero.
    extrapolation : SQUAREM, default=None
        Acceleration of these updates.
    """
    loss, rank = problem.losses[0], factors.rank
    for code, chosen, entries in loss.each_stratum():
        U, G = parts.U[code][chosen], parts.G[code][loss.pattern.column[entries]]
        factors["W"][chosen, rank : rank + U.shape[1]] = U
        factors["G"][entries, 1 : 1 + G.shape[1]] = G
    factors.invalidate("W")
    factors.invalidate("G")
    with loss.unshifted():
        if v is not None:
            solve(problem, factors, extrapolation=extrapolation, max_iter=UNSHIFTED_UPDATES, tol=0.0)
        else:
            for _ in range(UNSHIFTED_ITERATIONS):
                sweep(problem, factors)
    if v is not None:
        factors["G"][:, 0] = v
        factors.invalidate("G")


def start_own(problem, factors, rng):
    """Write a start of the own components into the factors, in place, from the residual of the other parts.

    A few iterations fit the shifts and the shared components. Then own components and their weights are fitted to the
    rest, with all else fixed, from random weights: a non-negative factorisation of the residual of each stratum.

    Parameters
    ----------
    problem : Problem
        As `fastnmf.core.objectives.own_problem` returns it.
    factors : Factors
    rng : numpy.random.Generator
    """
    loss, columns = problem.losses[0], np.arange(problem.losses[0].n_own)
    for _ in range(SHARED_ITERATIONS):
        sweep(problem, factors)
    steps = [("G", problem.updates["G"])]
    if loss.offset:  # else the weights are those of the shared components
        W, sizes = factors["W"], loss.sizes[loss.strata.stratum_index]
        typical = np.sqrt(loss.strata.sq_norm / max(loss.strata.X.size, 1))
        drawn = typical * rng.random((len(W), len(columns))) * (columns < sizes[:, None])
        W[:, loss.offset : loss.offset + len(columns)] = drawn
        factors.invalidate("W")
        steps = [*steps, ("W", StrataHALS(loss.offset + columns))] * OWN_ITERATIONS
    with loss.unshifted():
        for name, update in steps:
            update(factors[name], problem.subproblem(name, factors), factors.rank, 2 if name == "G" else 1)
            factors.invalidate(name)


def start_own_positive(problem, factors, rng):
    """Write a positive start of the own components into the factors, in place, for multiplicative updates.

    A few iterations fit the shifts and the shared components. Then own components begin at random multiples of the
    stratum means, tied ones of the shared components, and are fitted with all else fixed.

    Parameters
    ----------
    problem : Problem
        As `fastnmf.core.objectives.own_problem` or `own_divergence_problem` returns it, for multiplicative updates.
    factors : Factors
    rng : numpy.random.Generator
    """
    loss, pattern, n_own = problem.losses[0], problem.losses[0].pattern, problem.losses[0].n_own
    for _ in range(SHARED_ITERATIONS):
        sweep(problem, factors)
    is_there = np.arange(n_own) < loss.sizes[:, None]
    begin = factors["H"][pattern.column, :n_own]
    if loss.offset:
        begin = 2 * loss.strata.stratum_means()[:, None] * rng.random((len(pattern.group), n_own)) / n_own
        scale = 1 if loss.strata.row_scale is None else loss.strata.row_scale[:, None]
        own = scale * (0.5 + rng.random((len(factors["W"]), n_own))) * is_there[loss.strata.stratum_index]
        factors["W"][:, loss.offset : loss.offset + n_own] = own
    factors["G"][:, 1:] = POSITIVE_SHARE * begin * is_there[pattern.group]
    held = factors["W"][:, : factors.rank].copy()
    factors.invalidate("W")
    factors.invalidate("G")
    with loss.unshifted():
        for _ in range(POSITIVE_ITERATIONS):
            for name in ("G", "W") if loss.offset else ("G",):
                problem.updates[name](factors[name], problem.subproblem(name, factors), factors.rank, 1)
                if name == "W":
                    factors["W"][:, : factors.rank] = held
                factors.invalidate(name)
