"""Read shifts: those of strata that came later, one canonical form of a fit, the error of each row.

The model ``A(i) ~ 1 v(i)ᵀ + W(i) H`` keeps its value when ``v(i) + Hᵀc`` and ``W(i) - 1cᵀ`` take the place of v(i) and
W(i), as long as both stay non-negative, and when a component changes its scale between W and H. `apply_gauge` and
`normalize_components` choose one of these forms. W is (n, k) and H (k, m) there, as in the public attributes.
"""

import numpy as np
import scipy.sparse as sp

from fastnmf.blas import single_threaded_blas
from fastnmf.data import Strata
from fastnmf.moves import MU
from fastnmf.problem import Problem, aligned, full
from fastnmf.solve import allocate, infer, solve
from fastnmf.terms import KullbackLeibler

PSEUDO_ROWS = 5.0  # of the mean shift, that stand beside the rows of a new stratum
MAX_ROUNDS = 200
TOLERANCE = 1e-8  # of the relative change of a shift
DIRECT_BELOW = 1e-6  # of the squares that cancel: the cheap error of a row keeps ten digits above it
ROUNDING = 1e-13  # of the squares of a row: errors that differ by less are equal
CHUNK_ENTRIES = 1 << 21  # of a dense residual at a time: 16 MB


def estimate(data, rank, H, prior, tau=PSEUDO_ROWS, *, tol=TOLERANCE, max_rounds=MAX_ROUNDS):
    """Return the shifts of new strata for fixed components, and the exact weights that go with them.

    Minimises ``||A(i) - 1 v(i)ᵀ - W(i) H||² + tau ||v(i) - prior||²`` over v(i), W(i) >= 0, for every stratum on its
    own. Without W, the least over W for given v, this is a convex function of v with gradient
    ``2 ((m_i + tau) v - (c_i - H s_i + tau prior))``, c_i and s_i the sums of the rows of A(i) and of W(i). The
    projected gradient step of length 1 / (2 (m_i + tau)) is the closed form of v for given W; momentum with restarts
    (O'Donoghue and Candes 2015, doi:10.1007/s10208-013-9150-3) makes up for the ridge being weak along the free gauge.

    Parameters
    ----------
    data : fastnmf.data.Strata
        Rows of the new strata, float64.
    rank : int
    H : ndarray (m, K)
        Padded, in the data's inner scale.
    prior : ndarray (m,)
        In the data's inner scale; where the search begins, too.
    tau : float, default=5.0
        Weight of the prior, in rows. Without it a single row would be explained by its shift alone.
    tol : float, default=1e-8
        A stratum is done when a step changes its shift by no more than this, relative.
    max_rounds : int, default=200

    Returns
    -------
    V : ndarray (n_strata, m)
    W : ndarray (n_rows, K)
    """
    product = aligned((data.shape[0], H.shape[1]), data.dtype)
    data.matmul(H, product)
    sums = data.pattern.dense(data.pattern.sums) + tau * prior
    weights = data.groups.sizes[:, None] + tau
    V = np.repeat(prior[None], data.n_strata, axis=0)
    ahead, t = V.copy(), np.ones((data.n_strata, 1))
    is_moving = np.ones((data.n_strata, 1), bool)
    for _ in range(max_rounds):
        W, _ = infer(data, rank, H, ahead, product)
        with single_threaded_blas():
            found = np.maximum((sums - data.groups.sum(W) @ H.T) / weights, 0)
        found = np.where(is_moving, found, V)
        step = np.linalg.norm(found - ahead, axis=1, keepdims=True)
        restarts = np.einsum("ij,ij->i", ahead - found, found - V)[:, None] > 0
        t_next = np.where(restarts, 1.0, (1 + np.sqrt(1 + 4 * t * t)) / 2)
        ahead = np.maximum(found + np.where(restarts, 0.0, (t - 1) / t_next) * (found - V), 0)
        V, t = found, t_next
        is_moving &= step > tol * np.linalg.norm(V, axis=1, keepdims=True)
        ahead = np.where(is_moving, ahead, V)
        if not is_moving.any():
            break
    return V, infer(data, rank, H, V, product)[0]


def row_errors(data, rank, H, V, product=None):
    """Return ``min_{w >= 0} ||a - v - H w||²`` for every row a, float64 (n_rows,), with at least six right digits.

    Parameters
    ----------
    data : fastnmf.data.Strata
        float64.
    rank : int
    H : ndarray (m, K)
        Padded, in the data's inner scale.
    V : ndarray (n_strata, m), or None
        Shifts in the data's inner scale.
    product : ndarray (n_rows, K), optional
        ``X H``, where it is known.
    """
    W, sub = infer(data, rank, H, V, product)
    V = np.zeros((data.n_strata, data.shape[1])) if V is None else V
    linear = np.einsum("ij,ij->i", W, sub.pos) - (0 if sub.neg is None else np.einsum("ij,ij->i", W, full(sub.neg)))
    without = data.row_square_sums(V)
    errors = without + np.einsum("ij,ij->i", W @ sub.gram, W) - 2 * linear
    squares = without + 2 * np.einsum("ij,ij->i", V, V)[data.codes]
    (lost,) = np.nonzero(errors < DIRECT_BELOW * squares)
    step = max(1, CHUNK_ENTRIES // data.shape[1])
    for at in range(0, len(lost), step):
        block = lost[at : at + step]
        with single_threaded_blas():
            residual = W[block] @ H.T + V[data.codes[block]]
        if data.is_sparse:
            part = data.X[block].tocoo()
            residual[part.coords] -= part.data
        else:
            residual -= data.X[block]
        errors[block] = np.einsum("ij,ij->i", residual, residual)
    return np.maximum(errors, 0)


def nearest(data, rank, H, V):
    """Return for every row a of `data`, one stratum, the i with the least ``min_{w >= 0} ||a - V[i] - H w||²``.

    The first of equals; errors that differ by rounding are equal.
    """
    product = aligned((data.shape[0], H.shape[1]), data.dtype)
    data.matmul(H, product)
    squares = data.row_square_sums(np.zeros((data.n_strata, data.shape[1])))
    best, least = np.zeros(data.shape[0], np.int64), np.full(data.shape[0], np.inf)
    for code, shift in enumerate(V):
        W, sub = infer(data, rank, H, shift[None], product)
        with single_threaded_blas():
            length, cross = float(shift @ shift), data.X @ shift
            quadratic = np.einsum("ij,ij->i", W, W @ sub.gram) - 2 * np.einsum("ij,ij->i", W, product - shift @ H)
        errors = squares + length - 2 * cross + quadratic
        is_less = errors < least - ROUNDING * (squares + length)
        best[is_less], least[is_less] = code, errors[is_less]
    return best


def estimate_divergence(data, rank, H, prior, tau=PSEUDO_ROWS, *, max_rounds=MAX_ROUNDS, tol=1e-6):
    """Return the shifts of new strata under the Kullback-Leibler divergence, and the weights that go with them.

    Minimises ``D(A(i) | 1 v(i)ᵀ + W(i) H) + tau D(prior | v(i))`` over v(i), W(i) >= 0, which is convex. It is plain
    NMF of A(i) and one more row ``tau prior`` with one more component, the shift: its weights are held at one, tau in
    the last row, which has no other weights; the other components are held.

    Parameters and returns as in `estimate`; tol as in `solve`.
    """
    V, weights = np.empty((data.n_strata, data.shape[1])), np.zeros((data.shape[0], H.shape[1]))
    extra = sp.csr_array(tau * prior[None]) if data.is_sparse else tau * prior[None]
    for code in range(data.n_strata):
        is_here = data.codes == code
        stacked = sp.vstack([data.X[is_here], extra], format="csr") if data.is_sparse else None
        part = Strata.from_array(np.concatenate([data.X[is_here], extra]) if stacked is None else stacked)
        n_rows = part.shape[0]
        components = np.column_stack([part.column_means(), H[:, :rank]])
        share = np.asarray(part.X.sum(axis=1)).ravel() / max(components.sum(), np.finfo(np.float64).tiny)
        W = np.column_stack([np.ones(n_rows), np.repeat(share[:, None], rank, axis=1)])
        W[-1] = [tau] + [0] * rank
        factors, tasks = allocate(part, W, components, None)
        free = {name: np.zeros(factors[name].shape, bool) for name in "WH"}
        free["W"][:-1, 1 : rank + 1], free["H"][:, 0] = True, True
        term = KullbackLeibler(part, factors["W"].shape[1], tasks)
        moves = dict.fromkeys("WH", MU(eps=0.0))
        problem = Problem([term], moves, (("W", 1), ("H", 1)), tasks, scale=max(term.total, 1e-300), free=free)
        solve(problem, factors, max_iter=max_rounds, tol=tol)
        V[code], weights[is_here, :rank] = factors["H"][:, 0], factors["W"][:-1, 1 : rank + 1]
    return V, weights


def row_divergences(data, W, H, V):
    """Return ``sum_j x log(x / y) - x + y`` with ``y = v + w H`` for every row, float64 (n_rows,).

    W (n_rows, k), H (k, m) and V (n_strata, m) in the scale of the user, of which `data` may hold a power of four. A
    model value below 1.2e-7 of the mean counts as that where x is not zero, so that the result is finite.
    """
    W, H, V = (F.astype(np.float64) for F in (W, H, V))
    X = sp.csr_array(data.X)
    of_row = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    values, errors = np.ldexp(X.data, -2 * data.exponent), V.sum(axis=1)[data.codes] + W @ H.sum(axis=1)
    least, tall = 1.2e-7 * (values.mean() if len(values) else 0), np.ascontiguousarray(H.T)
    step = max(1, CHUNK_ENTRIES // len(H))
    for at in range(0, len(values), step):
        i, j, x = of_row[at : at + step], X.indices[at : at + step], values[at : at + step]
        y = np.maximum(V[data.codes[i], j] + np.einsum("ij,ij->i", W[i], tall[j]), least)
        errors += np.bincount(i, x * np.log(x / y) - x, minlength=len(errors))
    return np.maximum(errors, 0)


def apply_gauge(W, H, V, codes, gauge):
    """Return W and V in one of the forms that the free gauge of Stratified-NMF leaves open.

    Parameters
    ----------
    W : ndarray (n, k)
        Weights of the rows.
    H : ndarray (k, m)
        Components.
    V : ndarray (n_strata, m)
        Shifts.
    codes : ndarray (n,) of int
        Stratum of each row, an index into V.
    gauge : {"max_shift", "min_shift", None}
        ``"max_shift"``: the shifts take what every row of their stratum has of each component,
        ``v(i) + Hᵀc, W(i) - 1cᵀ`` with c the smallest weights in the stratum. ``"min_shift"``: the components take as
        much of the shifts as they can, one component after the other, in their order. None: as they are.

    Returns
    -------
    W, V : ndarray
        New arrays of the dtypes given. ``1 v(i)ᵀ + W(i) H`` is the same up to rounding; both are non-negative. A
        stratum without rows keeps its shift.

    Raises
    ------
    ValueError
        For a gauge that is not known.

    Notes
    -----
    Chapman, Yaniv, Needell 2023, arXiv:2311.10789, do not fix the gauge; their updates end near ``"max_shift"``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.shifts import apply_gauge
    >>> W, V = apply_gauge(np.array([[1.0], [3.0]]), np.array([[1.0, 2.0]]), np.zeros((1, 2)), [0, 0], "max_shift")
    >>> W.ravel(), V
    (array([0., 2.]), array([[1., 2.]]))
    """
    if gauge not in ("max_shift", "min_shift", None):
        raise ValueError(f"gauge={gauge!r} is not known; expected one of 'max_shift', 'min_shift', None.")
    codes = np.asarray(codes)
    if gauge is None:
        return W.copy(), V.copy()
    sizes = np.bincount(codes, minlength=len(V))
    if gauge == "max_shift":
        used = np.flatnonzero(sizes)
        order = np.argsort(codes, kind="stable")
        start = np.cumsum(sizes[used]) - sizes[used]
        least = np.zeros((len(V), W.shape[1]), W.dtype)
        least[used] = np.minimum.reduceat(W[order], start, axis=0)
        with single_threaded_blas():
            shifts = V + least.astype(np.float64) @ H.astype(np.float64)
        return W - least[codes], shifts.astype(V.dtype)
    shifts, taken = V.astype(np.float64), np.zeros((len(V), W.shape[1]))
    for j, component in enumerate(H.astype(np.float64)):
        (at,) = np.nonzero(component)
        if len(at) == 0:
            continue
        t = np.where(sizes > 0, (shifts[:, at] / component[at]).min(axis=1), 0)
        left = shifts[:, at] - t[:, None] * component[at]
        # What is left of an entry that was used up is rounding; a second pass must find nothing.
        shifts[:, at] = np.where(left > 8 * np.finfo(V.dtype).eps * shifts[:, at], left, 0)
        taken[:, j] = t
    return (W + taken[codes]).astype(W.dtype), shifts.astype(V.dtype)


def normalize_components(W, H, norm):
    """Return W and H with rows of H of norm one; W takes their scale.

    Parameters
    ----------
    W : ndarray (n, k)
    H : ndarray (k, m)
    norm : {"l1", "l2", "max", None}
        Sum, Euclidean length or largest entry of a component that becomes one. None: as they are.

    Returns
    -------
    W, H : ndarray
        New arrays of the dtypes given; the product is the same up to rounding. A component of zeros stays.

    Raises
    ------
    ValueError
        For a norm that is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.shifts import normalize_components
    >>> W, H = normalize_components(np.array([[2.0]]), np.array([[3.0, 1.0]]), "l1")
    >>> W, H
    (array([[8.]]), array([[0.75, 0.25]]))
    """
    if norm not in ("l1", "l2", "max", None):
        raise ValueError(f"normalize={norm!r} is not known; expected one of 'l1', 'l2', 'max', None.")
    if norm is None:
        return W.copy(), H.copy()
    largest = H.max(axis=1, initial=0).astype(np.float64)  # first by it, so that squares of any scale stay in range
    largest[largest == 0] = 1
    relative = H / largest[:, None]
    lengths = {
        "l1": relative.sum(axis=1),
        "l2": np.sqrt(np.einsum("ij,ij->i", relative, relative)),
        "max": np.ones(len(H)),
    }[norm]
    lengths[lengths == 0] = 1
    return (W * (largest * lengths)).astype(W.dtype), (relative / lengths[:, None]).astype(H.dtype)
