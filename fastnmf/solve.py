"""The loop: schedule, stopping, history."""

import time
from dataclasses import dataclass

import numpy as np

from fastnmf.data import single_threaded_blas
from fastnmf.kernels import products, rows
from fastnmf.kernels.jit import split_rows, threads
from fastnmf.kernels.simd import padded
from fastnmf.moves import ActiveSet
from fastnmf.problem import Factors, Subproblem, aligned

__all__ = ["Fit", "allocate", "as_arrays", "infer", "pad", "row_tasks", "solve", "sweep", "threads"]

LOOK_BACK = 10  # iterations over which the decrease of the objective is judged: single steps plateau
LOOK_AHEAD = 100  # iterations whose gain is foretold from it


@dataclass
class Fit:
    """What a fit ended with.

    Attributes
    ----------
    factors : Factors
    history : dict of lists
        ``iteration``, ``objective`` (squared error) and ``seconds`` since the start; entry 0 is the start.
    n_iter : int
    converged : bool
    stopped_by : str
        ``"tol"``, ``"max_iter"`` or ``"callback"``.
    """

    factors: object
    history: dict
    n_iter: int
    converged: bool
    stopped_by: str


def solve(problem, factors, *, max_iter, tol, callback=None, start_value=None):
    """Iterate the schedule of `problem` from `factors`, which move in place.

    Stops when, at the pace of the last 10 iterations, the next 100 would lower the objective by less than ``tol`` times
    itself; with ``tol=0`` after `max_iter` iterations and for no other reason (but a callback that returns True).
    (The decrease over 10 iterations itself, against tol, ended 0.05 % above the final loss on 20 newsgroups: a sparse
    matrix of which the model explains 4 % hides its progress.)

    Parameters
    ----------
    problem : Problem
    factors : Factors
    max_iter : int
    tol : float
    callback : callable, optional
        ``callback(iteration, objective, seconds)`` after every iteration, and for the start.
    start_value : float, optional
        Objective of the start where `factors` cannot express it (shifts off their pattern).

    Returns
    -------
    Fit
    """
    began = time.perf_counter()
    history = {"iteration": [], "objective": [], "seconds": []}

    def record(iteration, value):
        seconds = time.perf_counter() - began
        for name, entry in (("iteration", iteration), ("objective", value), ("seconds", seconds)):
            history[name].append(entry)
        return callback is not None and bool(callback(iteration, value, seconds))

    if record(0, problem.value(factors) if start_value is None else start_value):
        return Fit(factors, history, 0, False, "callback")
    for iteration in range(1, max_iter + 1):
        sweep(problem, factors)
        value = problem.value(factors)
        if record(iteration, value):
            return Fit(factors, history, iteration, False, "callback")
        if tol > 0 and _has_settled(history["objective"], tol):
            return Fit(factors, history, iteration, True, "tol")
    return Fit(factors, history, max_iter, tol == 0, "max_iter")


def sweep(problem, factors):
    """Run the schedule once."""
    for step in problem.schedule:
        together = step if isinstance(step[0], tuple) else (step,)
        subs = [problem.subproblem(name, factors) for name, _ in together]
        for (name, n_sweeps), sub in zip(together, subs, strict=True):
            problem.moves[name](factors[name], sub, factors.rank, n_sweeps)
            factors.moved(name)


def _has_settled(values, tol):
    if values[-1] == 0:
        return True
    if len(values) <= LOOK_BACK:
        return False
    gain = values[-1 - LOOK_BACK] - values[-1]
    return gain * LOOK_AHEAD / LOOK_BACK <= tol * values[-1]


def as_arrays(history, scale):
    """Return `history` as arrays, with ``normalized_loss`` = sqrt(objective / scale) for the objective (0 for 0 / 0)."""
    objective = np.asarray(history["objective"], dtype=np.float64)
    loss = np.sqrt(objective / scale) if scale > 0 else np.zeros_like(objective)
    return {
        "iteration": np.asarray(history["iteration"], dtype=np.int64),
        "normalized_loss": loss,
        "seconds": np.asarray(history["seconds"], dtype=np.float64),
    }


def pad(F, strata):
    """Return F (p, k) in an aligned array (p, K) of the data's dtype, zero from column k on."""
    out = aligned((len(F), padded(F.shape[1], strata.dtype)), strata.dtype)
    out[:, : F.shape[1]] = F
    return out


def row_tasks(F):
    """Return the task table of the row kernels over a padded factor."""
    return split_rows(len(F), F.shape[1] ** 2)


def allocate(strata, W, H, v):
    """Copy a start, in the data's inner scale, into padded factors.

    Parameters
    ----------
    strata : fastnmf.data.Strata
    W : ndarray (n_rows, k)
    H : ndarray (n_columns, k)
    v : ndarray (q,)
        Entries of the shifts on ``strata.pattern``.

    Returns
    -------
    factors : Factors
    tasks : dict
        Task tables of the row kernels, by factor.
    """
    rank = W.shape[1]
    W, H = pad(W, strata), pad(H, strata)
    tasks = {"W": row_tasks(W), "H": row_tasks(H), "V": strata.pattern.entry_tasks}
    return Factors(rank, W=W, H=H, V=np.array(v, dtype=strata.dtype)), tasks


def infer(strata, rank, H, V, product=None):
    """Return the exact non-negative weights of every row for fixed H and V: ``min_{w >= 0} ||a - v - H w||``.

    One row does not depend on another, so the same row gets the same weights in fit and in transform.

    Parameters
    ----------
    strata : fastnmf.data.Strata
    rank : int
    H : ndarray (n_columns, K)
        Padded, in the data's inner scale.
    V : ndarray (n_strata, n_columns)
        Shifts in the data's inner scale.
    product : ndarray (n_rows, K), optional
        ``X H``, where it is known.

    Returns
    -------
    W : ndarray (n_rows, K)
    sub : Subproblem
        What W minimises: gram (K, K), pos and neg (n_rows, K).
    """
    parts = np.empty((len(row_tasks(H)) - 1, H.shape[1], H.shape[1]))
    rows.rows_gram(row_tasks(H), H, parts)
    if product is None:
        product = aligned((strata.shape[0], H.shape[1]), strata.dtype)
        strata.matmul(H, product)
    W, neg = aligned(product.shape, strata.dtype), aligned(product.shape, strata.dtype)
    with single_threaded_blas():
        shared = V @ H
    sub = Subproblem(row_tasks(W))
    products.groups_set(sub.tasks, strata.codes, shared, neg)
    sub.add(gram=parts.sum(axis=0), pos=product, neg=neg)
    ActiveSet()(W, sub, rank)
    return W, sub
