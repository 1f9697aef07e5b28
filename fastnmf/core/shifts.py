"""Estimate the shifts of new strata, find the shift of each row, and choose a canonical form of a fit.

The model ``A(i) ~ 1 v(i)ᵀ + W(i) H`` keeps its value when v(i) and W(i) are replaced by ``v(i) + Hᵀc`` and
``W(i) - 1cᵀ``, as long as both stay non-negative, and when W and H exchange the scale of a component. `apply_gauge` and
`normalize_components` choose one of these forms. There W is (n, k) and H (k, m), as in the public attributes.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.alternate import solve
from fastnmf.core.factors import aligned, allocate
from fastnmf.core.inference import even_weights, infer
from fastnmf.core.iterate import Solver, iterate, still_moves
from fastnmf.core.losses import KullbackLeibler
from fastnmf.core.problem import Problem
from fastnmf.core.row_errors import expanded_errors
from fastnmf.core.thresholds import EQUAL_ERRORS, LEAST_DIVISOR, SHIFT_CHANGE, rounding
from fastnmf.core.updates import MU
from fastnmf.data.layout import row_index
from fastnmf.data.sentences import shown
from fastnmf.data.shifts import each_row
from fastnmf.data.strata import Strata
from fastnmf.kernels.blas import single_threaded_blas

PSEUDO_ROWS = 5.0  # weight of the mean shift as a prior of a new stratum, in rows
MAX_ROUNDS = 200


def estimate(data, rank, H, prior, tau=PSEUDO_ROWS, *, tol=SHIFT_CHANGE, max_rounds=MAX_ROUNDS):
    """Return the shifts of new strata for fixed components, and the exact weights for these shifts.

    Minimises ``||A(i) - 1 v(i)ᵀ - W(i) H||² + tau ||v(i) - prior||²`` over v(i), W(i) >= 0, separately for every
    stratum.

    Parameters
    ----------
    data, rank, H, prior, tau, tol :
        As for `ShiftEstimation`.
    max_rounds : int, default=200

    Returns
    -------
    V : ndarray (n_strata, m)
        In the inner scale of the data.
    W : ndarray (n_rows, K)
        In the inner scale of the data.
    """
    solver = ShiftEstimation(data, rank, H, prior, tau, tol)
    iterate(solver, max_iter=max_rounds, tol=tol)
    return solver.V, solver.weights(solver.V)


class ShiftEstimation(Solver):
    """Estimate the shifts of new strata by accelerated projected gradient steps; the objective is what still moves.

    The minimum over W for given v is a convex function of v with gradient
    ``2 ((m_i + tau) v - (c_i - H s_i + tau prior))``, where c_i and s_i are the sums of the rows of A(i) and of W(i).
    The projected gradient step of length 1 / (2 (m_i + tau)) is the closed form of v for given W. Along the free gauge
    only the ridge of the prior gives curvature, so plain steps converge slowly there; momentum with restarts
    (O'Donoghue and Candes 2015, doi:10.1007/s10208-013-9150-3) accelerates them.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
        Rows of the new strata, float64.
    rank : int
        Columns of H in use.
    H : ndarray (m, K)
        Padded, in the inner scale of the data.
    prior : ndarray (m,)
        Mean shift, in the inner scale of the data; also the start of the iteration.
    tau : float
        Weight of the prior, in rows. With 0 the shift alone would explain a stratum of a single row.
    tol : float
        A stratum has converged when a step changes its shift by at most this, relative to the norm of the shift.

    Attributes
    ----------
    V : ndarray (n_strata, m)
        The shifts, in the inner scale of the data.
    """

    def __init__(self, data, rank, H, prior, tau, tol):
        self.data, self.rank, self.H, self.tol = data, rank, H, tol
        self.product = aligned((data.shape[0], H.shape[1]), data.dtype)
        data.matmul(H, self.product)
        self.sums = data.pattern.dense(data.pattern.sums) + tau * prior
        self.divisors = data.groups.sizes[:, None] + tau
        self.V = np.repeat(prior[None], data.n_strata, axis=0)
        self.ahead, self.t = self.V.copy(), np.ones((data.n_strata, 1))
        self.is_moving = np.ones((data.n_strata, 1), bool)

    def weights(self, V):
        """Return the exact weights for the shifts V."""
        return infer(self.data, self.rank, self.H, V, self.product)[0]

    def step(self):
        """Change the shifts of all strata that move, and return the number of those that move on."""
        W, V, ahead, t = self.weights(self.ahead), self.V, self.ahead, self.t
        with single_threaded_blas():
            found = np.maximum((self.sums - self.data.groups.sum(W) @ self.H.T) / self.divisors, 0)
        found = np.where(self.is_moving, found, V)
        step = np.linalg.norm(found - ahead, axis=1, keepdims=True)
        restarts = np.einsum("ij,ij->i", ahead - found, found - V)[:, None] > 0
        t_next = np.where(restarts, 1.0, (1 + np.sqrt(1 + 4 * t * t)) / 2)
        ahead = np.maximum(found + np.where(restarts, 0.0, (t - 1) / t_next) * (found - V), 0)
        self.V, self.t = found, t_next
        self.is_moving &= still_moves(step, np.linalg.norm(found, axis=1, keepdims=True), self.tol)
        self.ahead = np.where(self.is_moving, ahead, found)
        return float(self.is_moving.sum())

    def stop(self, history, tol):
        """Return "tol" when nothing moves."""
        return None if self.is_moving.any() else "tol"


def nearest(data, rank, H, V):
    """Return for every row a the index i with the least ``min_{w >= 0} ||a - V[i] - H w||²``.

    Parameters
    ----------
    data : fastnmf.data.strata.Strata
        float64, all rows in one stratum.
    rank : int
        Columns of H in use.
    H : ndarray (m, K)
        Padded, in the inner scale of the data.
    V : ndarray or csr_array (n_shifts, m)
        Shifts in the inner scale of the data.

    Returns
    -------
    ndarray (n_rows,) of int64
        The smallest such i. Errors that differ by rounding only count as equal.
    """
    product = aligned((data.shape[0], H.shape[1]), data.dtype)
    data.matmul(H, product)
    squares = data.row_square_sums(sp.csr_array((data.n_strata, data.shape[1])))
    best, least = np.zeros(data.shape[0], np.int64), np.full(data.shape[0], np.inf)
    for code, shift in enumerate(each_row(V)):
        W, sub = infer(data, rank, H, shift[None], product)
        with single_threaded_blas():
            length, cross = float(shift @ shift), data.X @ shift
            linear = np.einsum("ij,ij->i", W, product - shift @ H)
        errors = expanded_errors(squares + length - 2 * cross, W, sub.gram, linear)
        is_less = errors < least - EQUAL_ERRORS * (squares + length)
        best[is_less], least[is_less] = code, errors[is_less]
    return best


def estimate_divergence(data, rank, H, prior, tau=PSEUDO_ROWS, *, max_rounds=MAX_ROUNDS, tol=1e-6):
    """Return the shifts of new strata under the Kullback-Leibler divergence, and the weights for these shifts.

    Minimises ``D(A(i) | 1 v(i)ᵀ + W(i) H) + tau D(prior | v(i))`` over v(i), W(i) >= 0, which is convex. This is plain
    NMF of A(i) with one more row, ``tau prior``, and one more component, the shift. The weights of the shift are fixed
    at one, and at tau in the last row. All other weights of the last row are fixed at zero, and the other components
    are fixed.

    Parameters
    ----------
    data, rank, H, prior, tau :
        As for `ShiftEstimation`.
    max_rounds : int, default=200
        Maximum number of multiplicative updates.
    tol : float, default=1e-6
        As in `fastnmf.core.iterate.iterate`.

    Returns
    -------
    V : ndarray (n_strata, m)
        In the inner scale of the data.
    weights : ndarray (n_rows, K)
        In the inner scale of the data.
    """
    V, weights = np.empty((data.n_strata, data.shape[1])), np.zeros((data.shape[0], H.shape[1]))
    extra = sp.csr_array(tau * prior[None]) if data.is_sparse else tau * prior[None]
    for code in range(data.n_strata):
        is_here = data.stratum_index == code
        stacked = sp.vstack([data.X[is_here], extra], format="csr") if data.is_sparse else None
        part = Strata.from_array(np.concatenate([data.X[is_here], extra]) if stacked is None else stacked)
        components = np.column_stack([part.column_means(), H[:, :rank]])
        W = even_weights(part, components)
        W[:, 0], W[-1] = 1, [tau] + [0] * rank
        factors, tasks = allocate(part, W, components, None)
        free_mask = {name: np.zeros(factors[name].shape, bool) for name in "WH"}
        free_mask["W"][:-1, 1 : rank + 1], free_mask["H"][:, 0] = True, True
        loss = KullbackLeibler(part, factors["W"].shape[1], tasks)
        updates = dict.fromkeys("WH", MU(eps=0.0))
        problem = Problem(
            [loss], updates, (("W", 1), ("H", 1)), tasks, scale=max(loss.total, LEAST_DIVISOR), free_mask=free_mask
        )
        solve(problem, factors, max_iter=max_rounds, tol=tol)
        V[code], weights[is_here, :rank] = factors["H"][:, 0], factors["W"][:-1, 1 : rank + 1]
    return V, weights


def apply_gauge(W, H, V, stratum_index, gauge):
    """Return equivalent W and V in a canonical form: the model of Stratified-NMF does not determine its gauge.

    Parameters
    ----------
    W : ndarray (n, k)
        Weights of the rows.
    H : ndarray (k, m)
        Components.
    V : ndarray or csr_array (n_strata, m)
        Shifts.
    stratum_index : ndarray (n,) of int
        Stratum of each row, an index into V.
    gauge : {"max_shift", "min_shift", None}
        ``"max_shift"``: ``v(i) + Hᵀc, W(i) - 1cᵀ``, where c holds the smallest weight of each component in the stratum,
        so that the shift contains the part that all rows of the stratum have in common. ``"min_shift"``: as much of the
        shifts as possible is moved into the components, one component after the other, in their order. None: no change.

    Returns
    -------
    W, V : ndarray, or csr_array for V
        New arrays of the same dtypes. ``1 v(i)ᵀ + W(i) H`` is the same up to rounding; both are non-negative. A
        stratum without rows keeps its shift.

    Raises
    ------
    ValueError
        For a gauge that is not known.

    Notes
    -----
    Chapman, Yaniv, Needell 2023, arXiv:2311.10789, do not fix the gauge; the result of their updates is near
    ``"max_shift"``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.core.shifts import apply_gauge
    >>> W, V = apply_gauge(np.array([[1.0], [3.0]]), np.array([[1.0, 2.0]]), np.zeros((1, 2)), [0, 0], "max_shift")
    >>> W.ravel(), V
    (array([0., 2.]), array([[1., 2.]]))
    """
    if gauge not in ("max_shift", "min_shift", None):
        raise ValueError(f"gauge={shown(gauge)} is not known; expected one of 'max_shift', 'min_shift', None.")
    stratum_index = np.asarray(stratum_index)
    if gauge is None:
        return W.copy(), V.copy()
    sizes = np.bincount(stratum_index, minlength=V.shape[0])
    if gauge == "max_shift":
        used = np.flatnonzero(sizes)
        order = np.argsort(stratum_index, kind="stable")
        start = np.cumsum(sizes[used]) - sizes[used]
        least = np.zeros((V.shape[0], W.shape[1]), W.dtype)
        least[used] = np.minimum.reduceat(W[order], start, axis=0)
        more, H = least.astype(np.float64), H.astype(np.float64)
        with single_threaded_blas():
            shifts = V + (sp.csr_array(more) @ sp.csr_array(H) if sp.issparse(V) else more @ H)
        if sp.issparse(shifts):
            shifts.sum_duplicates()
        return W - least[stratum_index], shifts.astype(V.dtype)
    shifts, taken = take_components(V, H, sizes > 0)
    return (W + taken[stratum_index]).astype(W.dtype), shifts.astype(V.dtype)


def take_components(V, H, is_used):
    """Return shifts less as much of the components as possible, one component after the other, and how much that is.

    Parameters
    ----------
    V : ndarray or csr_array (S, m)
    H : ndarray (k, m)
        Components.
    is_used : ndarray (S,) of bool
        Whether a shift has rows; others are kept.

    Returns
    -------
    shifts : ndarray or csr_array (S, m) of float64
        ``V - taken H``, non-negative.
    taken : ndarray (S, k) of float64
    """
    shifts, taken = V.astype(np.float64), np.zeros((V.shape[0], len(H)))
    for j, component in enumerate(H.astype(np.float64)):
        (at,) = np.nonzero(component)
        if len(at) == 0:
            continue
        if sp.issparse(V):
            taken[:, j] = _take_from_rows(shifts, component, len(at), is_used, rounding(V.dtype))
            continue
        t = np.where(is_used, (shifts[:, at] / component[at]).min(axis=1), 0)
        left = shifts[:, at] - t[:, None] * component[at]
        # A tiny remainder of an entry is rounding: set it to zero, so that a second call changes nothing.
        shifts[:, at] = np.where(left > rounding(V.dtype) * shifts[:, at], left, 0)
        taken[:, j] = t
    return shifts, taken


def _take_from_rows(V, component, n_at, is_used, least):
    """Subtract as much of a component as possible from each row of a CSR array, in place, and return how much, (S,).

    Parameters
    ----------
    V : csr_array (S, m) of float64
    component : ndarray (m,)
    n_at : int
        Number of its positive entries: a row with fewer of them stored has nothing to take.
    is_used : ndarray (S,) of bool
        Whether the stratum has rows.
    least : float
        Share of an entry below which its remainder is rounding.
    """
    (entry,) = np.nonzero(component[V.indices])
    row, h, v = row_index(V)[entry], component[V.indices[entry]], V.data[entry]
    t = np.full(V.shape[0], np.inf)
    np.minimum.at(t, row, v / h)
    t[~is_used | (np.bincount(row, minlength=V.shape[0]) < n_at)] = 0
    left = v - t[row] * h
    V.data[entry] = np.where(left > least * v, left, 0)
    return t


def normalize_components(W, H, norm):
    """Return equivalent W and H such that the rows of H have norm one.

    Parameters
    ----------
    W : ndarray (n, k)
    H : ndarray (k, m)
    norm : {"l1", "l2", "max", None}
        Which of sum, Euclidean length and largest entry of a component becomes one. None: no change.

    Returns
    -------
    W, H : ndarray
        New arrays of the same dtypes; the product is the same up to rounding. A component of zeros is not changed.

    Raises
    ------
    ValueError
        For a norm that is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.core.shifts import normalize_components
    >>> W, H = normalize_components(np.array([[2.0]]), np.array([[3.0, 1.0]]), "l1")
    >>> W, H
    (array([[8.]]), array([[0.75, 0.25]]))
    """
    if norm not in ("l1", "l2", "max", None):
        raise ValueError(f"normalize={shown(norm)} is not known; expected one of 'l1', 'l2', 'max', None.")
    if norm is None:
        return W.copy(), H.copy()
    # Divide by the largest entry first, so that squares of any scale stay in range.
    largest = H.max(axis=1, initial=0).astype(np.float64)
    largest[largest == 0] = 1
    relative = H / largest[:, None]
    lengths = {
        "l1": relative.sum(axis=1),
        "l2": np.sqrt(np.einsum("ij,ij->i", relative, relative)),
        "max": np.ones(len(H)),
    }[norm]
    lengths[lengths == 0] = 1
    return (W * (largest * lengths)).astype(W.dtype), (relative / lengths[:, None]).astype(H.dtype)
