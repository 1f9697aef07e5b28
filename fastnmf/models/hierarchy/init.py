"""Compute starts of hierarchies: the factors A_0 (n_features, k_0), A_1 (k_0, k_1), ... of a `Stack`."""

import numpy as np

from fastnmf.core import init as starts
from fastnmf.core.alternate import Extrapolation, solve
from fastnmf.core.descent import infer_stack
from fastnmf.core.factors import allocate
from fastnmf.core.inference import solve_rows
from fastnmf.core.objectives import squared_problem
from fastnmf.core.stack import unit_columns
from fastnmf.core.updates import ActiveSet
from fastnmf.data.sentences import shown
from fastnmf.data.strata import Strata
from fastnmf.models.base.estimator import continued

LARGE = 1_000_000  # entries of X, stored or not, above which each layer starts from one plain NMF
TRIES = (starts.nndsvd,) + 4 * (starts.random,)
N_ITERATIONS, N_LARGE_ITERATIONS = 60, 100
NOISE = 1e-3  # added to the upper layers: zeros at the start could not grow


def check_sizes(sizes):
    """Return the numbers of topics as a tuple of int, for one integer or a sequence; raise ValueError for others."""
    given = sizes
    sizes = (sizes,) if isinstance(sizes, (int, np.integer)) and not isinstance(sizes, bool) else sizes
    is_right = isinstance(sizes, (tuple, list)) or isinstance(sizes, np.ndarray) and sizes.ndim == 1
    is_integer = (isinstance(k, (int, np.integer)) and not isinstance(k, bool) for k in sizes) if is_right else ()
    if not is_right or len(sizes) == 0 or not all(is_integer):
        raise ValueError(
            f"n_components={shown(given)} is not valid; expected an integer, or several such as (9, 4, 2)."
        )
    sizes = tuple(int(k) for k in sizes)
    if min(sizes) < 1 or any(above > below for below, above in zip(sizes, sizes[1:], strict=False)):
        raise ValueError(
            f"n_components={sizes} is not valid; expected integers >= 1, none larger than the one before: weights on a "
            "wider level would not be unique."
        )
    return sizes


def continued_layers(layers, shapes, options):
    """Return the layers of the previous fit in float64, for ``warm_start``; raise if their shapes differ."""
    if len(layers) != len(shapes):
        raise ValueError(
            f"warm_start continues from {len(layers)} levels, but n_components asks for {len(shapes)}; set "
            "warm_start=False, or keep n_components."
        )
    names = (f"layer_weights_[{level}]" for level, _ in enumerate(layers))
    return [continued(*one, options) for one in zip(names, layers, shapes, strict=True)]


def is_large(data):
    """Return whether the data have too many entries for several starts."""
    return data.shape[0] * data.shape[1] > LARGE


def factorized(data, rank, rng, start=None):
    """Return H of a plain NMF of the data, with unit columns.

    For small data: the best of five runs of alternating exact least squares, one from the singular vectors and four
    from random weights. For large data: one run of extrapolated coordinate descent.

    Parameters
    ----------
    data : Strata
    rank : int
    rng : numpy.random.Generator
    start : {"nndsvd", "random"}, default=None
        Use this start only. None, and any other name: all five.

    Returns
    -------
    ndarray (n_columns, rank) of float64
    """
    if is_large(data):
        return _fitted(data, rank, starts.nndsvd if start == "nndsvd" else starts.features, rng)[0]
    draws = {"nndsvd": [starts.nndsvd], "random": [starts.random]}.get(start, TRIES)
    found = [_fitted(data, rank, draw, rng) for draw in draws]
    return min(found, key=lambda pair: pair[1])[0]


def _fitted(data, rank, draw, rng):
    """Run a plain NMF from one start, and return H and the squared error.

    Parameters
    ----------
    data : Strata
    rank : int
    draw : callable
        Start, ``draw(data, rank, rng, has_shifts=False)``: a function of `fastnmf.core.init`.
    rng : numpy.random.Generator

    Returns
    -------
    H : ndarray (n_columns, rank) of float64
        With unit columns.
    error : float
        Squared error, in the inner scale.
    """
    W, H, _ = draw(data, rank, rng, has_shifts=False)
    factors, tasks = allocate(data, W, H, None)
    if is_large(data):
        problem = squared_problem(data, factors, tasks, (("W", 2), ("H", 2)), is_descent=True)
        options = {"max_iter": N_LARGE_ITERATIONS, "tol": 1e-3, "extrapolation": Extrapolation(tasks, factors)}
    else:
        problem = squared_problem(data, factors, tasks, (("H", 1), ("W", 1)), is_descent=True)
        if data.entry_weights is None:
            problem.updates = dict.fromkeys(("W", "H"), ActiveSet())
        options = {"max_iter": N_ITERATIONS, "tol": 1e-5}
    fit = solve(problem, factors, **options)
    return unit_columns(factors["H"][:, :rank].astype(np.float64)), fit.history["objective"][-1]


def nested(data, bottom, sizes, rng):
    """Factorise X at every rank; A_l expresses the topics of level l in those of the level below, plus noise.

    Parameters
    ----------
    data : Strata
        float64.
    bottom : DataLayer
        Not used; all starts have the same signature.
    sizes : tuple of int
        Topics of each level.
    rng : numpy.random.Generator

    Returns
    -------
    list of ndarray (k_{l-1}, k_l) of float64
    """
    topics = [factorized(data, k, rng) for k in sizes]
    A = [topics[0]]
    for fine, coarse in zip(topics, topics[1:], strict=False):
        found = np.zeros((coarse.shape[1], fine.shape[1]))
        solve_rows(fine.T @ fine, coarse.T @ fine, found)
        A.append(found.T + NOISE * rng.random(found.T.shape))
    return A


def sequential(data, bottom, sizes, rng, start=None, pool=None, noise=NOISE, last=None):
    """Factorise X, then its weights, then their weights, and so on.

    Parameters
    ----------
    data : Strata
        float64.
    bottom : DataLayer
        The lowest layer over these data.
    sizes : tuple of int
        Topics of each level.
    rng : numpy.random.Generator
    start : {"nndsvd", "random"}, default=None
        As for `factorized`.
    pool : callable, default=None
        Maps weights (n_samples, k) to the input of the next layer.
    noise : float, default=NOISE
        Upper end of the uniform noise that is added to the upper layers.
    last : callable, default=None
        Computes the last factor from the weights below, (n_samples, k_{L-1}); None: `factorized`.

    Returns
    -------
    list of ndarray (k_{l-1}, k_l) of float64
    """
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
    """Draw all layers from the exponential distribution: uniform draws are more alike and end worse more often.

    Parameters
    ----------
    data, bottom, sizes, rng :
        As for `nested`, whose result has the same shapes.
    """
    above = (data.shape[1], *sizes)
    return [unit_columns(rng.exponential(size=shape)) for shape in zip(above, sizes, strict=False)]


def nndsvd(data, bottom, sizes, rng):
    """Return the start of `sequential`, with each layer started from singular vectors.

    Parameters
    ----------
    data, bottom, sizes, rng :
        As for `sequential`.
    """
    return sequential(data, bottom, sizes, rng, start="nndsvd")


STARTS = {"nested": nested, "sequential": sequential, "random": random, "nndsvd": nndsvd}
