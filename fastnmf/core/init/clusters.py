"""Starts from clusters: rows in different directions, orthogonal NMF; the problem of blocks of rows and columns."""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.alternate import solve
from fastnmf.core.factors import allocate, padded_factors
from fastnmf.core.losses.products import AssignedFrobenius, Blocks
from fastnmf.core.objectives import single_loss_problem
from fastnmf.core.thresholds import LEAST_DIVISOR
from fastnmf.core.updates import HALS, ClusterAssignment, ProductCore, SparseCoding, largest_in_rows
from fastnmf.data.layout import row_index

CLUSTER_STEPS = 20
DRAWS, TRIES = 6, 4  # random starts of `drawn_blocks`, and iterations after which the best is kept


def diverse_rows(data, rank, rng):
    """Return k rows of the data in different directions (k-means++), dense (k, n_columns); zero rows if X has fewer."""
    from sklearn.cluster import kmeans_plusplus
    from sklearn.preprocessing import normalize

    n_rows = data.shape[0]
    exponents = np.frexp(np.sqrt(data.row_square_sums()))[1]  # `normalize` leaves rows as they are that are below 2e-15
    if data.is_sparse:
        near = sp.csr_array(
            (np.ldexp(data.X.data, -exponents[row_index(data.X)]), data.X.indices, data.X.indptr), data.shape
        )
    else:
        near = np.ldexp(data.X, -exponents[:, None])
    directions = normalize(near)
    n_found = min(rank, n_rows)
    chosen = kmeans_plusplus(directions, n_found, random_state=int(rng.integers(2**31 - 1)))[1]
    components = np.zeros((rank, data.shape[1]))
    rows = data.X[np.sort(chosen)]
    components[:n_found] = rows.toarray() if data.is_sparse else rows  # never-densify-ok: k rows
    return components


def orthogonal_problem(data, H, W=None):
    """Return the `Problem` of orthogonal NMF by assignment, and its factors, for components H (k, n_columns)."""
    W = np.zeros((data.shape[0], len(H))) if W is None else W
    factors, tasks = allocate(data, W, H.T, None)
    loss = AssignedFrobenius(data, factors["W"].shape[1], tasks, holds_products=True)
    problem = single_loss_problem(data, loss, {"W": ClusterAssignment(), "H": HALS()}, (("W", 1), ("H", 1)), tasks)
    problem.reseed_dead_component = loss.reseed_dead_component
    return problem, factors


def clusters(data, rank, rng, *, weighted=False):
    """Return a start for W from a few iterations of orthogonal NMF: 1 at the cluster of each row, plus 0.02 everywhere.

    This is the start of Ding, Li and Jordan (2010), who add 0.2: multiplicative updates cannot leave a zero, but they
    reduce 0.2 slowly. On planted data that were not used to choose the constant, all values from 0.002 to 0.05 gave
    the same result; 0.2 was worse in 2 of 8 cases.

    Parameters
    ----------
    data : Strata
    rank : int
        Number of clusters k.
    rng : numpy.random.Generator
    weighted : bool, default=False
        Use the weights of orthogonal NMF instead of ones, plus 0.02 times their mean.

    Returns
    -------
    ndarray (n_rows, k) of float64, positive
    """
    problem, factors = orthogonal_problem(data, diverse_rows(data, rank, rng))
    solve(problem, factors, max_iter=CLUSTER_STEPS, tol=1e-3)
    W = factors["W"][:, :rank].astype(np.float64)
    return W + 0.02 * W.sum() / max(np.count_nonzero(W), 1) if weighted else 0.02 + (W > 0)


def components_of_few(data, H, most, rng):
    """Return components for rows of which each uses at most `most`, (n_columns, k) in the inner scale of the data.

    For one it is the start of orthogonal NMF: rows in different directions. For more, a few iterations are tried from
    these rows and from H, and the components with the lower squared error are returned: on 600 digits neither start
    was the better one for all seeds.

    Parameters
    ----------
    data : Strata
    H : ndarray (n_columns, k)
        Another start, in the inner scale.
    most : int
    rng : numpy.random.Generator
    """
    starts, found = [np.ldexp(diverse_rows(data, H.shape[1], rng).T, -data.log4_scale)], []
    if most == 1:
        return starts[0]
    for each in (*starts, H):
        factors, tasks = allocate(data, np.zeros((data.shape[0], H.shape[1])), each, None)
        loss = AssignedFrobenius(data, factors["W"].shape[1], tasks, holds_products=True)
        updates = {"W": SparseCoding(most), "H": HALS()}
        problem = single_loss_problem(data, loss, updates, (("W", 1), ("H", 2)), tasks)
        problem.reseed_dead_component = loss.reseed_dead_component
        fit = solve(problem, factors, max_iter=CLUSTER_STEPS, tol=1e-3)
        found.append((fit.objective, factors["H"][:, : factors.rank]))
    return min(found, key=lambda pair: pair[0])[1].astype(np.float64)


def block_problem(data, W, H):
    """Return the `Problem` of k-means of rows and of columns in turn, and its factors.

    Parameters
    ----------
    data : Strata
    W, H : ndarray (n_rows, k), (n_columns, m)
        The start, of which the largest entry of each row is used.
    """
    W, H = (largest_in_rows(F, 1) for F in (W, H))
    W, H = (F / np.maximum(np.linalg.norm(F, axis=0), LEAST_DIVISOR) for F in (W, H))
    factors, tasks = padded_factors(data, W=W, S=np.zeros((W.shape[1], H.shape[1])), H=H)
    loss = Blocks(data, tasks)
    factors.overwrite({"S": loss.core(factors)})
    assignment, core = ClusterAssignment(), ProductCore()
    schedule = (("H", 1), ("S", 1), ("W", 1), ("S", 1))
    problem = single_loss_problem(data, loss, {"W": assignment, "H": assignment, "S": core}, schedule, tasks)
    problem.reseed_dead_component = loss.reseed_dead_component
    return problem, factors


def drawn_blocks(data, k, m, rng):
    """Return the `block_problem`, with its factors, that is lowest of a few random ones after a few iterations.

    On images of digits random starts ended 5 % below clusters of the rows and, apart from these, of the features.

    Parameters
    ----------
    data : Strata
    k, m : int
        Numbers of groups of rows and of columns.
    rng : numpy.random.Generator
    """
    best, least = None, np.inf
    for _ in range(DRAWS):
        problem, factors = block_problem(data, *(rng.random(shape) for shape in zip(data.shape, (k, m), strict=True)))
        value = solve(problem, factors, max_iter=TRIES, tol=0).objective
        if best is None or value < least:
            best, least = (problem, factors), value
    return best
