"""What the plain and the stratified model solve: the squared error, with entry weights or without, and divergences."""

import numpy as np

from fastnmf.moves import HALS, MU, MU_FLOOR, WeightedRows
from fastnmf.problem import Problem
from fastnmf.solve import allocate, sweep
from fastnmf.terms import BetaDivergence, Dictionary, Frobenius, Interval, KullbackLeibler, StrataFrobenius, check_beta
from fastnmf.terms.masked import Masked

# Below these fractions of the squared norm of the data the cheap objective has lost too many digits (float64: relative
# error about 1e-10 there), and the residual is evaluated itself.
DIRECT_BELOW = {np.dtype(np.float32): 1e-3, np.dtype(np.float64): 1e-6}


def squared_problem(data, factors, tasks, schedule, *, is_descent, visits=None, holds_products=False):
    """Return the `Problem` of NMF, or of Stratified-NMF where `factors` hold shifts, for the squared error.

    Parameters
    ----------
    schedule : tuple
    is_descent : bool
        Whether factors move by coordinate descent, in the order `visits` of the components, not by MU.
    holds_products : bool
        See `fastnmf.terms.Frobenius`; always so where the schedule needs it.
    """
    moved = [step[0] for step in schedule]
    holds_products |= moved.count("H") > 1 or any(isinstance(name, tuple) for name in moved)
    width, has_shifts = factors["W"].shape[1], "V" in factors.arrays
    if data.entry_weights is not None:
        term = Masked(data, width, tasks, data.entry_weights, has_shifts, holds_products)
        move, scale = WeightedRows("hals" if is_descent else "mu", floor=MU_FLOOR[data.dtype]), term.sq_norm
    else:
        term = (StrataFrobenius if has_shifts else Frobenius)(data, width, tasks, holds_products)
        move, scale = HALS(visits) if is_descent else MU(floor=MU_FLOOR[data.dtype]), data.sq_norm
    return Problem(
        terms=[term],
        moves=dict.fromkeys(factors.arrays, move),
        schedule=schedule,
        tasks=tasks,
        scale=scale,
        digits=DIRECT_BELOW[data.dtype],
        direct=term.direct,
        rounding=scale * (8 * np.finfo(data.dtype).eps) ** 2,
        anchors_scale=is_descent,
        revive=term.revive if is_descent and data.entry_weights is None else None,
    )


def divergence_term(data, width, tasks, beta, has_shifts=False, exponent="mm"):
    """Return the term of a beta divergence other than the squared error, and the scale of its losses."""
    if beta == 1:
        term = KullbackLeibler(data, width, tasks, has_shifts)
        return term, term.independence()
    check_beta(data, beta)
    term = BetaDivergence(data, width, tasks, beta, has_shifts, exponent)
    return term, term.reference()


def divergence_problem(data, factors, tasks, beta, exponent="mm"):
    """Return the `Problem` of NMF, or of Stratified-NMF where `factors` hold shifts, under a beta divergence.

    exponent is "mm" or "fast", as for `fastnmf.terms.BetaDivergence`; "fast" falls back on "mm" where it must.
    """
    width, has_shifts = factors["W"].shape[1], "V" in factors.arrays
    term, scale = divergence_term(data, width, tasks, beta, has_shifts, exponent)
    columns = (("V", 1), ("H", 1)) if has_shifts else ("H", 1)
    return Problem(
        terms=[term],
        moves=dict.fromkeys(factors.arrays, MU.plain(data.dtype)),
        schedule=(("W", 1), columns),
        tasks=tasks,
        scale=scale,
        falls_back=exponent == "fast" and not 1 <= beta <= 2,
    )


def interval_problem(data, factors, tasks, bounds, *, is_descent):
    """Return the `Problem` of the squared distance to intervals on the pattern of sparse data.

    bounds is (low, high), arrays (nnz,) in the inner scale; factors move by coordinate descent, or by MU.
    """
    term = Interval(data, factors["W"].shape[1], tasks, *bounds)
    move = HALS() if is_descent else MU.plain(data.dtype)
    return Problem(
        terms=[term],
        moves=dict.fromkeys(factors.arrays, move),
        schedule=(("W", 1), ("H", 1)),
        tasks=tasks,
        scale=term.scale,
        digits=DIRECT_BELOW[data.dtype],
        direct=term.direct,
    )


def dictionary_problem(data, factors, tasks, atoms, *, is_descent):
    """Return the `Problem` of mixtures of known atoms (n_columns, P), padded; W by coordinate descent, or by MU."""
    term = Dictionary(data, factors["W"].shape[1], tasks, atoms)
    ratio = MU.plain(data.dtype)
    return Problem(
        terms=[term],
        moves={"W": HALS() if is_descent else ratio, "H": ratio},
        schedule=(("W", 1), ("H", 1)),
        tasks=tasks,
        scale=data.sq_norm,
        digits=DIRECT_BELOW[data.dtype],
        direct=term.direct,
        rounding=data.sq_norm * (8 * np.finfo(data.dtype).eps) ** 2,
    )


def infer_divergence(data, H, V, beta, penalties, max_iter, move=None):
    """Return W for fixed H and V, the divergence, and the scale of the normalized loss.

    `max_iter` multiplicative updates, from a start that depends on the row alone, as then does the result.

    Parameters
    ----------
    data : fastnmf.data.Strata
    H : ndarray (n_columns, k)
    V : ndarray (n_strata, n_columns), or None
        Both in the data's inner scale.
    move : Move, optional
        Instead of `MU`, where a penalty asks for it.
    """
    mass = np.asarray(data.X.sum(axis=1), dtype=np.float64).ravel()
    if V is not None:  # rows may lack what their stratum has, and the model is there all the same
        data.pattern = data.pattern.covering(np.where(data.groups.sizes[:, None] > 0, V, 0))
    share = mass / max(float(H.sum()), np.finfo(np.float64).tiny)  # one update makes the total of a row right
    W = np.repeat(share[:, None], H.shape[1], axis=1)
    factors, tasks = allocate(data, W, H, None if V is None else data.pattern.entries(V))
    problem = divergence_problem(data, factors, tasks, beta)
    problem.penalties = {"W": list(penalties)}
    problem.schedule = (("W", max_iter),)
    problem.moves["W"] = problem.moves["W"] if move is None else move
    sweep(problem, factors)
    value = problem.value(factors) - problem.penalty
    return np.ascontiguousarray(factors["W"][:, : H.shape[1]]), value, problem.scale
