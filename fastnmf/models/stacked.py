"""Where hierarchies start: the factors A_0 (n_features, k_0), A_1 (k_0, k_1), ... of a stack, with unit columns."""

import numpy as np

from fastnmf import init as starts
from fastnmf.data import Strata
from fastnmf.descent import infer_stack
from fastnmf.layers import solve_rows
from fastnmf.models.problems import squared_problem
from fastnmf.moves import ActiveSet
from fastnmf.solve import Extrapolation, allocate, solve

LARGE = 1_000_000  # entries of X (or non-zeros of a sparse one) above which each layer starts from one plain NMF
N_TRIES, N_ITERATIONS, N_LARGE_ITERATIONS = 5, 60, 100
NOISE = 1e-3  # of the upper layers: what is zero at the start could not grow


def unit_columns(F):
    """Return F with columns of length one; those of zeros stay."""
    lengths = np.linalg.norm(F, axis=0)
    return F / np.where(lengths > 0, lengths, 1)


def is_large(data):
    """Tell whether several starts would take too long."""
    return (data.X.nnz if data.is_sparse else data.X.size) > LARGE


def factorized(data, rank, rng, start="random"):
    """Return H (n_columns, rank) of a plain NMF of the data, with unit columns.

    Of small data the best of five alternations of exact least squares from random starts; of large ones a single
    coordinate descent. ``start="nndsvd"`` begins with singular vectors instead.
    """
    is_small, best, kept = not is_large(data), np.inf, None
    schedule = (("W", 1), ("H", 1)) if is_small else (("W", 2), ("H", 2))
    draw = starts.nndsvd if start == "nndsvd" else starts.random if is_small else starts.features
    for _ in range(N_TRIES if is_small and start == "random" else 1):
        W, H, _ = draw(data, rank, rng, has_shifts=False)
        factors, tasks = allocate(data, W, H, None)
        problem = squared_problem(data, factors, tasks, schedule, is_descent=True)
        if is_small and data.entry_weights is None:
            problem.moves = dict.fromkeys(("W", "H"), ActiveSet())
        ahead = None if is_small else Extrapolation(tasks, factors)
        n = N_ITERATIONS if is_small else N_LARGE_ITERATIONS
        fit = solve(problem, factors, max_iter=n, tol=1e-5 if is_small else 1e-3, extrapolation=ahead)
        if fit.history["objective"][-1] < best:
            best, kept = fit.history["objective"][-1], factors["H"][:, :rank].astype(np.float64)
    return unit_columns(kept)


def nested(data, bottom, sizes, rng):
    """Factorise X at every rank; A_l is what the topics of level l are made of, in those of the level below."""
    topics = [factorized(data, k, rng) for k in sizes]
    A = [topics[0]]
    for fine, coarse in zip(topics, topics[1:], strict=False):
        found = np.zeros((coarse.shape[1], fine.shape[1]))
        solve_rows(fine.T @ fine, coarse.T @ fine, found)
        A.append(found.T + NOISE * rng.random(found.T.shape))
    return A


def sequential(data, bottom, sizes, rng, start="random", pool=None, noise=NOISE, last=None):
    """Factorise X, then its weights, then theirs; with `last`, a function of the weights, find the last layer so."""
    A, below = [], data
    for level, k in enumerate(sizes):
        is_labelled = last is not None and level == len(sizes) - 1
        found = last(below.X) if is_labelled else factorized(below, k, rng, start)
        A.append(found + (noise * rng.random(found.shape) if level else 0))
        if level < len(sizes) - 1:
            S = infer_stack(bottom, A, pool)[-1]
            S = S if pool is None else pool(S)
            below = Strata(S, np.array([0]), np.zeros(len(S), np.int32))
    return A


def random(data, bottom, sizes, rng):
    """Draw all layers from U[0, 1)."""
    above = (data.shape[1], *sizes)
    return [unit_columns(rng.random(shape)) for shape in zip(above, sizes, strict=False)]


def nndsvd(data, bottom, sizes, rng):
    """As `sequential`, each layer from singular vectors."""
    return sequential(data, bottom, sizes, rng, start="nndsvd")


STARTS = {"nested": nested, "sequential": sequential, "random": random, "nndsvd": nndsvd}
