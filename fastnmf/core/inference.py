"""Find the weights W of rows for fixed components, and nothing else: by exact least squares, or by updates.

The rows are independent, so a row gets the same weights in fit and in transform.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.alternate import solve, sweep
from fastnmf.core.factors import aligned, allocate, pad, row_tasks
from fastnmf.core.losses.choice import Beta
from fastnmf.core.losses.masked import normal_equations, premultiplied, rowwise_of
from fastnmf.core.losses.masked_divergence import weighted_sums
from fastnmf.core.objectives import divergence_problem
from fastnmf.core.penalties import ElasticNet
from fastnmf.core.problem import Subproblem, full
from fastnmf.core.thresholds import NEARLY_SINGULAR, ROUNDED_RISE, huge, model_floor, tiny
from fastnmf.core.updates import HALS, ActiveSet, Majorised, SparseCoding, WeightedRows
from fastnmf.core.updates.active_set import minimise_rows
from fastnmf.data import shifts
from fastnmf.data.layout import Compressed, nonzero_means, row_index
from fastnmf.kernels import nnls, rows
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.jit import split_costs, split_rows
from fastnmf.kernels.records import LazyRows

GUESS_SWEEPS = 5  # sweeps of coordinate descent that guess the supports of the exact solutions
ROWWISE_SWEEPS = 8  # the same where each row has its own Gram matrix
LOOK = 10  # updates between two looks at the change of the rows
SETTLED = 1e-6  # part of its largest weight that a row may still lack
CODING_NODES = 1000  # largest number of problems that are solved for the best support of a row
BLOCK = 1 << 21  # entries of Gram matrices of rows held at a time: 16 MB


def infer(strata, rank, H, V=None, product=None, penalties=(), gram=None, guess=None):
    """Return the exact non-negative weights of every row for fixed H and V: ``min_{w >= 0} ||a - v - H w||²``.

    With weights of entries O (``strata.entry_weights``) the sum is ``sum_j O_j (a_j - v_j - w . h_j)²``; a component
    that is zero in all observed entries of a row then has weight zero there.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    rank : int
        Columns of H in use.
    H : ndarray (n_columns, K)
        Padded, in the inner scale of the data.
    V : ndarray or csr_array (n_strata, n_columns), default=None
        Shifts in the inner scale of the data.
    product : ndarray (n_rows, K), optional
        ``X H``, if it has been computed; ``(O * X) H`` with weights of entries.
    penalties : sequence of Penalty
        Penalties of W.
    gram : ndarray (K, K) of float64, optional
        ``HᵀH``, if it has been computed.
    guess : ndarray (n_rows, K), optional
        Its supports are tried first. It is not used where the columns of H are nearly dependent: it would decide there.

    Returns
    -------
    W : ndarray (n_rows, K)
    sub : Subproblem, or None
        The quadratic problem that W solves: gram (K, K), pos (n_rows, K), and neg, a row of which is shared by the rows
        of a stratum (times their row scale). None with weights of entries: each row then has its own Gram matrix.
    """
    is_masked = strata.entry_weights is not None
    if product is None:
        product = aligned((strata.shape[0], H.shape[1]), strata.dtype)
        (premultiplied(strata, strata.entry_weights) if is_masked else strata).matmul(H, product)
    if is_masked:
        return _infer_masked(strata, rank, H, V, product, penalties), None
    neg = None
    if V is not None:
        with single_threaded_blas(), np.errstate(over="ignore"):  # shifts of far larger data: these rows have W = 0
            below = np.minimum(V @ H, huge(strata.dtype))
        neg = strata.lazy_shifts(below)
    gram = rows.gram(row_tasks(H), H) if gram is None else gram
    return quadratic_weights(gram, product, rank, neg, penalties, guess)


def quadratic_weights(gram, pos, rank, neg=None, penalties=(), guess=None):
    """Return the exact minimisers of ``w gram wᵀ / 2 - w (pos - neg)`` over w >= 0, and the subproblem.

    Parameters
    ----------
    gram : ndarray (K, K) of float64
    pos : ndarray (p, K)
    rank : int
        Columns in use.
    neg : ndarray (p, K), or LazyRows, default=None
    penalties : sequence of Penalty
        Penalties of W.
    guess : ndarray (p, K), optional
        As for `infer`.

    Returns
    -------
    W : ndarray (p, K)
    sub : Subproblem
    """
    W = aligned(pos.shape, pos.dtype)
    sub = Subproblem(row_tasks(W))
    sub.add(gram=gram, pos=pos, neg=neg)
    for penalty in penalties:
        penalty.contribute(W, sub, rank)
    if guess is None or is_nearly_singular(sub.full_gram(W.shape[1], rank)[:rank, :rank]):
        exact(W, sub, rank)
    else:
        W[:] = guess
        ActiveSet()(W, sub, rank)
    return W, sub


def sparse_weights(strata, H, most):
    """Return the best weights of every row for fixed H, of which at most `most` are non-zero, (n_rows, K).

    Exact for up to two; for more as far as `CODING_NODES` problems per row lead.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    H : ndarray (n_columns, k)
        Non-negative, in the inner scale of the data.
    most : int
    """
    rank, H = H.shape[1], pad(H, strata)
    W, product = (aligned((strata.shape[0], H.shape[1]), strata.dtype) for _ in range(2))
    strata.matmul(H, product)
    sub = Subproblem(row_tasks(W))
    sub.add(gram=rows.gram(row_tasks(H), H), pos=product)
    SparseCoding(most, CODING_NODES)(W, sub, rank)
    return W


def exact(F, sub, rank):
    """Replace F (p, K) in place by the exact non-negative minimiser of a quadratic subproblem.

    Where columns are nearly dependent, the active set leaves one of them out and may end above the start of its search;
    such a row keeps its start.

    Parameters
    ----------
    F : ndarray (p, K)
        The start of the search for the supports.
    sub : Subproblem
    rank : int
        Columns of F in use.
    """
    HALS()(F, sub, rank, GUESS_SWEEPS)
    held = F.copy() if is_nearly_singular(sub.full_gram(F.shape[1], rank)[:rank, :rank]) else None
    ActiveSet()(F, sub, rank)
    if held is not None:
        (value, _), (before, size) = _row_values(F, sub, rank), _row_values(held, sub, rank)
        rises = value - before > ROUNDED_RISE * size
        F[rises] = held[rises]


def is_nearly_singular(gram):
    """Tell whether columns with this Gram matrix (k, k) are, at length one, dependent up to `NEARLY_SINGULAR`."""
    length = np.sqrt(np.diagonal(gram).astype(np.float64))
    used = length > 0
    if not used.all():
        gram, length = gram[np.ix_(used, used)], length[used]
    cosines = gram / length / length[:, None]
    if not np.isfinite(cosines).all():
        return True
    return len(length) > 0 and np.linalg.eigvalsh(cosines)[0] < NEARLY_SINGULAR


def _row_values(F, sub, rank):
    """Return twice the objective of each row of F (p, K), and the size of its linear part, float64 (p,) each."""
    right = full(sub.pos) - sub.linear - (0.0 if sub.neg is None else full(sub.neg))
    F, gram = F[:, :rank].astype(np.float64), sub.full_gram(F.shape[1], rank)[:rank, :rank]
    linear = np.einsum("ij,ij->i", F, right[:, :rank])
    with single_threaded_blas():
        return np.einsum("ij,ij->i", F @ gram, F) - 2 * linear, np.abs(linear)


def finish_weights(fit):
    """Solve for W exactly, as `transform` does, and write its objective to the last entry of the history of a fit."""
    factors, sub = fit.factors, fit.problem.subproblem("W", fit.factors)
    exact(factors["W"], sub, factors.rank)
    factors.invalidate("W")
    fit.history["objective"][-1] = fit.problem.value(factors)


def solve_rows(gram, right, S):
    """Replace every row s of S by the minimiser of ``s gram sᵀ / 2 - right s`` over s >= 0.

    Parameters
    ----------
    gram : ndarray (k, k) of float64
    right : ndarray (n, k) of float64
    S : ndarray (n, k) of float64
        Overwritten; its values are the initial guess.
    """
    right = np.ascontiguousarray(right)
    minimise_rows(split_rows(*S.shape), S, gram, right, LazyRows.of(np.empty((0, S.shape[1]))), 0.0)


def solve_rows_each(W, rank, equations):
    """Replace every row w of W by the minimiser of ``w gram wᵀ / 2 - right w`` over w >= 0, with a gram of its own.

    Parameters
    ----------
    W : ndarray (n, K)
        Overwritten in its first `rank` columns.
    rank : int
    equations : callable
        ``equations(first, n) -> (grams, right)``, float64 (n, rank, rank) and (n, rank), of n rows from row `first` on:
        not all Gram matrices are held at a time.
    """
    step = max(1, BLOCK // rank**2)
    for first in range(0, len(W), step):
        n = min(step, len(W) - first)
        tasks = split_rows(n, W.shape[1] ** 2)
        nnls.rows_nnls_weighted(tasks, W, first, *equations(first, n), ROWWISE_SWEEPS)


def _infer_masked(strata, rank, H, V, product, penalties):
    """Return the exact weights W (n_rows, K) with weights of entries.

    Parameters
    ----------
    strata, rank, H, V, product, penalties :
        As for `infer`; the product is given.
    """
    W, at, sub = aligned(product.shape, strata.dtype), np.arange(rank), Subproblem(None)
    rowwise, neg = rowwise_of(strata, H, V)
    for penalty in penalties:
        penalty.contribute(W, sub, rank)
    rowwise = rowwise if sub.row_ridge is None else rowwise._replace(ridge=sub.row_ridge)
    linear = sub.linear if sub.neg is None else sub.linear + full(sub.neg)[:, :rank].astype(np.float64)

    def equations(first, n):
        grams, right = normal_equations(rowwise, first, n, rank, product, neg)
        grams[:, at, at] += sub.ridge
        return grams, right - (linear[first : first + n] if np.ndim(linear) else linear)

    solve_rows_each(W, rank, equations)
    return W


def infer_with_neighbours(pos, gram, rank, pull, own, dtype):
    """Return the exact weights of rows that are pulled towards fixed other rows, (n, K).

    Row i minimises ``w gram wᵀ - 2 pos_i w + sum_k (own_ik w_k² - 2 pull_ik w_k)`` over w >= 0.

    Parameters
    ----------
    pos : ndarray (n, K)
        Product of the data with the other factor.
    gram : ndarray (K, K)
        Gram matrix of the other factor.
    rank : int
        Columns in use.
    pull, own : ndarray (n, k)
        As for `fastnmf.core.losses.graph.NeighbourPull`.
    dtype : numpy.dtype
        Dtype of the result.

    Returns
    -------
    W : ndarray (n, K)
    """
    W, at = np.zeros(pos.shape, dtype), np.arange(rank)

    def equations(first, n):
        part = slice(first, first + n)
        grams = np.repeat(gram[None, :rank, :rank], n, axis=0)
        grams[:, at, at] += own[part]
        return grams, np.ascontiguousarray(pos[part, :rank] + pull[part], dtype=np.float64)

    solve_rows_each(W, rank, equations)
    return W


def infer_by_updates(data, H, begin, n_updates, *, can_cut=False):
    """Return W for fixed H after updates, each row of it when it has converged.

    The start of a row, and where it ends, depend on this row alone. After every `LOOK` updates the rows end whose
    change, if it shrank on at the rate at which it has shrunk, would be at most `SETTLED` of their largest weight.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    H : ndarray (n_columns, k)
        In the inner scale of the data.
    begin : callable
        ``begin(data, W) -> (Problem, Factors)``, for W (n_rows, k); one iteration of its schedule is one update of W.
    n_updates : int
        Maximum number of updates.
    can_cut : bool, default=False
        Whether `begin` also takes some rows of the data, which it then need not update any more.

    Returns
    -------
    W : ndarray (n_rows, k)
        In the inner scale of the data.
    measure : callable
        ``measure() -> (value, scale)``: the objective without the penalties, and that of the trivial model.
    """
    W = even_weights(data, H)
    problem, factors = begin(data, W)
    found = factors["W"][:, : H.shape[1]].copy()
    rows_, last, is_open = np.arange(len(W)), None, np.ones(len(W), bool)
    while n_updates > 0 and is_open.any():
        before, n = factors["W"].copy(), min(LOOK, n_updates)
        if problem.retry_with_safe_step:  # a loss of the user, whose steps may have to be shortened
            solve(problem, factors, max_iter=n, tol=0.0)
        else:
            for _ in range(n):
                sweep(problem, factors)
        n_updates -= n
        now = factors["W"]
        found[rows_[is_open]] = now[is_open, : H.shape[1]]
        change, size = np.abs(now - before).max(axis=1), now.max(axis=1)
        last = change if last is None else last
        is_open &= ~(change * change <= SETTLED * size * (last - change))  # the rest of a geometric series
        last = change
        if can_cut and 0 < 2 * np.count_nonzero(is_open) <= len(rows_):
            rows_, last = rows_[is_open], last[is_open]
            problem, factors = begin(data.part(rows_), now[is_open, : H.shape[1]])
            is_open = np.ones(len(rows_), bool)

    def measure():
        problem, factors = begin(data, found)
        return problem.value(factors) - problem.penalty, problem.scale

    return found, measure


def infer_by_sweeps(strata, rank, H, V, penalties, update, n_sweeps):
    """Return the weights W of every row after sweeps of an update, from the exact ones without penalties.

    For penalties or an update that the user wrote, whose subproblems have no exact solution.

    Parameters
    ----------
    strata, rank, H, V :
        As for `infer`.
    penalties : sequence of Penalty
        Penalties of W.
    update : Update, or None
        Of W; None: coordinate descent.
    n_sweeps : int

    Returns
    -------
    W, sub :
        As for `infer`.
    """
    W, sub = infer(strata, rank, H, V)
    found, descent = sub, HALS()
    if sub is None:  # each row has a Gram matrix of its own
        sub, descent = Subproblem(row_tasks(W)), WeightedRows("hals")
        sub.rowwise, neg = rowwise_of(strata, H, V)
        product = aligned(W.shape, strata.dtype)
        premultiplied(strata, strata.entry_weights).matmul(H, product)
        sub.add(pos=product, neg=neg)
    for penalty in penalties:
        penalty.contribute(W, sub, rank)
    Majorised(descent if update is None else update)(W, sub, rank, n_sweeps)
    return W, found


def even_weights(data, H):
    """Return W (n_rows, k) such that all components have equal parts of the total of each row, whatever their scale.

    A component that is zero has no part.
    """
    mass, totals = np.asarray(data.X.sum(axis=1), dtype=np.float64).ravel(), H.sum(axis=0, dtype=np.float64)
    of_each = np.where(totals > 0, 1 / np.maximum(totals, tiny()), 0.0) / max(np.count_nonzero(totals), 1)
    return mass[:, None] * of_each


def infer_divergence(data, H, V, divergence, penalties, max_iter, update=None):
    """Return W for fixed H and V under a divergence: exact for Kullback-Leibler, else by at most `max_iter` updates.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
    H : ndarray (n_columns, k)
        In the inner scale of the data.
    V : ndarray or csr_array (n_strata, n_columns), or None
        Shifts in the inner scale of the data.
    divergence : Divergence
        Not the squared error.
    penalties : sequence of Penalty
        Penalties of W.
    max_iter : int
        Maximum number of updates.
    update : Update, optional
        Replaces `MU`, where a penalty needs another update.

    Returns
    -------
    W, measure :
        As for `infer_by_updates`.
    """

    def begin(data, W):
        v = None
        if V is not None:  # a shift may be positive in columns where all given rows are zero
            data.pattern = data.pattern.covering(shifts.among(V, data.groups.sizes > 0))
            v = data.pattern.entries(V)
        factors, tasks = allocate(data, W, H, v)
        problem = divergence_problem(data, factors, tasks, divergence)
        if hasattr(problem.losses[0], "floor_by_row"):
            problem.losses[0].floor_by_row()
        problem.penalties = {"W": list(penalties)}
        problem.updates["W"] = problem.updates["W"] if update is None else update
        problem.schedule = (("W", 1),)
        return problem, factors

    is_plain = update is None and all(isinstance(penalty, ElasticNet) for penalty in penalties)
    if not (is_plain and isinstance(divergence, Beta) and divergence.degree == 1):
        return infer_by_updates(data, H, begin, max_iter, can_cut=is_plain)
    W = infer_kullback_leibler(data, H, V, penalties)

    def measure():
        problem, factors = begin(data, W)
        return problem.value(factors) - problem.penalty, problem.scale

    return W, measure


def infer_kullback_leibler(data, H, V, penalties, linear_more=0.0):
    """Return the exact W (n_rows, k) under the Kullback-Leibler divergence.

    Parameters
    ----------
    data, H, V, penalties :
        As for `infer_divergence`.
    linear_more : ndarray (k,) of float64, default=0.0
        A linear penalty of each component.
    """
    weights = data.entry_weights
    inner = data if weights is None else premultiplied(data, weights)
    side = inner.rows if data.is_sparse else sp.csr_array(inner.X)
    side = Compressed(side.indptr, side.indices, side.data.astype(np.float64, copy=False))
    shift = np.empty(0)
    if V is not None:
        shift = data.shift_entries(V, row_index(side), side.indices).astype(np.float64, copy=False)
    # In float64 whatever the data are: in single precision the last step of a row hangs on its rounding.
    W, other = (pad(F, data, np.float64) for F in (even_weights(data, H), H))
    room = np.empty((2, len(side.data)))
    linear, means = (H.sum(axis=0, dtype=np.float64) + linear_more)[None], nonzero_means(side)
    if weights is not None:
        linear = weighted_sums(weights.rows, other, other.sum(axis=0))[:, : H.shape[1]]
        plain = Compressed(side.indptr, side.indices, side.data / weights.at(side))
        means = nonzero_means(plain)
    nets, ridge = [penalty.each_row() for penalty in penalties], np.zeros(1)
    for l1, l2 in nets:
        linear, ridge = linear + l1[:, None], ridge + l2
    linear, tasks = np.ascontiguousarray(linear), split_costs(side.indptr, W.shape[1] ** 2)
    least = model_floor(means)
    nnls.csr_entropy_rows(tasks, side.csr, W, other, linear, ridge, shift, least, room)
    return np.ascontiguousarray(W[:, : H.shape[1]], dtype=data.dtype)
