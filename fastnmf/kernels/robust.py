"""Passes over every entry of the residual: weighted medians, powers of the entries, and the largest entry of a row.

Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import helper, kernel, work_stealing


@helper
def _weighted_median(values, weights, n):
    """Return the least of the first n values at which half of the total weight is reached."""
    order = np.argsort(values[:n])
    half = 0.0
    for p in range(n):
        half += 0.5 * weights[p]
    reached = 0.0
    for p in order:
        reached += weights[p]
        if reached >= half:
            return values[p]
    return values[order[n - 1]]


@kernel
def rows_medians(tasks, F, A, other, order):
    """Minimise ``sum_j |a_j - f . g_j|`` over the rows f >= 0 of F, one entry at a time, in the order of columns given.

    With all other entries fixed, the best f_c is the median of the ``(a_j - rest_j) / g_jc`` with the weights g_jc, or
    0 where that is negative. A component whose column of `other` has no positive entry keeps its value. The cost is
    O(p q (K + len(order) log q)).

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F : ndarray (p, K)
        Written.
    A : ndarray (p, q)
        Data, with the rows of this factor as its rows.
    other : ndarray (q, K)
        The other factor, with the rows g_j.
    order : ndarray of int64
    """
    q, K = other.shape
    for _, begin, until in work_stealing(tasks):
        left, values, weights = np.empty(q), np.empty(q), np.empty(q)
        for i in range(begin, until):
            for j in range(q):
                left[j] = A[i, j]
                for c in range(K):
                    left[j] -= np.float64(F[i, c]) * np.float64(other[j, c])
            for c in order:
                n = 0
                for j in range(q):
                    if other[j, c] > 0:
                        weights[n] = other[j, c]
                        values[n] = left[j] / weights[n] + F[i, c]
                        n += 1
                if n > 0:
                    before = np.float64(F[i, c])
                    F[i, c] = max(_weighted_median(values, weights, n), 0.0)
                    for j in range(q):
                        left[j] -= (np.float64(F[i, c]) - before) * np.float64(other[j, c])


@kernel
def powers_of_residual(tasks, x, y, unit, n_squarings, sums, largest):
    """Replace y by ``r**(p - 1)`` for ``r = (x - y) / unit``, and sum ``r**p`` by rows, where p is ``2**n_squarings``.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table of the rows.
    x : ndarray (p, q)
    y : ndarray (p, q) of float64
        Written.
    unit : float
    n_squarings : int
    sums : ndarray (p,) of float64
        Written.
    largest : ndarray (p,) of float64
        Written: the largest ``|x - y|`` of each row.
    """
    for _, begin, until in work_stealing(tasks):
        power = np.empty(x.shape[1])
        for i in range(begin, until):
            top = 0.0
            for j in range(x.shape[1]):
                power[j] = np.float64(x[i, j]) - y[i, j]
                top = max(top, abs(power[j]))
                power[j] /= unit
                y[i, j] = 1.0
            for _ in range(n_squarings):  # p - 1 = 1 + 2 + 4 + ...
                for j in range(x.shape[1]):
                    y[i, j] *= power[j]
                    power[j] *= power[j]
            total = 0.0
            for j in range(x.shape[1]):
                total += power[j]
            sums[i], largest[i] = total, top


@helper
def _worst(a, G, point):
    """Return the constraint that a point of the linear program of `rows_minimax` violates most, and by how much.

    Parameters
    ----------
    a : ndarray (q,)
        The row of the data.
    G : ndarray (q, k) of float64
        The other factor, with columns whose largest entry is 1: a negative f_c is then an error of the data.
    point : ndarray (k + 1,) of float64
        f and t.

    Returns
    -------
    which : int
        j for ``f . g_j + t >= a_j``, ``q + j`` for ``t - f . g_j >= -a_j``, ``2 q + c`` for ``f_c >= 0``; -1: none.
    by : float
    """
    (q, k), which, by = G.shape, -1, 0.0
    for j in range(q):
        rest = np.float64(a[j])
        for c in range(k):
            rest -= point[c] * G[j, c]
        if abs(rest) - point[k] > by:
            which, by = j if rest > 0 else q + j, abs(rest) - point[k]
    for c in range(k):
        if -point[c] > by:
            which, by = 2 * q + c, -point[c]
    return which, by


@helper
def _leaves(inverse, normal, share):
    """Write the shares of the tight constraints in the normal of one that enters; return which of them leaves, or -1.

    The multipliers are the last row of `inverse`. One that reaches zero first leaves; among equals, that with the
    largest share, so that the next basis is not singular.

    Parameters
    ----------
    inverse : ndarray (N, N) of float64
        Its columns belong to the tight constraints.
    normal : ndarray (N,) of float64
    share : ndarray (N,) of float64
        Written.

    Returns
    -------
    int
    """
    n, least, which = len(normal), np.inf, -1
    for i in range(n):
        share[i] = 0.0
        for c in range(n):
            share[i] += normal[c] * inverse[c, i]
        if share[i] > 1e-10:
            least = min(least, max(inverse[n - 1, i], 0.0) / share[i])
    for i in range(n):
        if share[i] > 1e-10 and max(inverse[n - 1, i], 0.0) / share[i] <= least + 1e-13:
            if which < 0 or share[i] > share[which]:
                which = i
    return which


@helper
def _largest_error(a, G, tops, f):
    """Return ``max_j |a_j - sum_c f_c tops_c G_jc|``.

    Parameters
    ----------
    a, G :
        As for `_worst`.
    tops : ndarray (k,) of float64
    f : ndarray, k entries at least
        A row of a factor.

    Returns
    -------
    float
    """
    largest = 0.0
    for j in range(len(G)):
        rest = np.float64(a[j])
        for c in range(G.shape[1]):
            rest -= np.float64(f[c]) * tops[c] * G[j, c]
        largest = max(largest, abs(rest))
    return largest


@kernel
def rows_minimax(tasks, A, G, tops, n_pivots, F):
    """Minimise the largest ``|a_j - f . g_j|`` over the rows f >= 0 of F, each by a linear program.

    The program is ``min t`` under ``t >= |a_j - f . g_j|`` and f >= 0. The dual simplex method holds ``k + 1``
    constraints tight. It begins at f = 0 and the least a_j, whose multipliers are non-negative, and exchanges one
    constraint for the most violated one until none is violated. A row of F changes only where its largest error falls.
    A pivot costs O(q k + k²).

    Longer than others because all pivots of a row share its arrays.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    A : ndarray (p, q)
        Data, with the rows of this factor as its rows.
    G : ndarray (q, k) of float64
        The other factor with the rows g_j, its columns divided by `tops`.
    tops : ndarray (k,) of float64
        Largest entry of each of its columns; 1 where that is 0.
    n_pivots : int
        Largest number of exchanges for one row.
    F : ndarray (p, K)
        Written, the first k columns.
    """
    q, k = G.shape
    for _, begin, until in work_stealing(tasks):
        inverse, normal, share = np.empty((k + 1, k + 1)), np.empty(k + 1), np.empty(k + 1)
        point, found = np.empty(k + 1), np.empty(k, F.dtype)
        for i in range(begin, until):
            first = int(np.argmin(A[i]))
            inverse[:], point[:] = 0.0, 0.0
            point[k] = -np.float64(A[i, first])
            for c in range(k + 1):
                inverse[c, c] = 1.0
            for c in range(k):
                inverse[k, c] = G[first, c]
            for _ in range(n_pivots):
                which, by = _worst(A[i], G, point)
                if by <= 1e-13 * np.max(A[i]):
                    break
                normal[:], normal[k] = 0.0, 1.0
                if which >= 2 * q:
                    normal[k], normal[which - 2 * q] = 0.0, 1.0
                else:
                    for c in range(k):
                        normal[c] = G[which, c] if which < q else -G[which - q, c]
                out = _leaves(inverse, normal, share)
                if out < 0:
                    break
                for c in range(k + 1):
                    inverse[c, out] /= share[out]
                    point[c] += by * inverse[c, out]
                    for other in range(k + 1):
                        if other != out:
                            inverse[c, other] -= inverse[c, out] * share[other]
            for c in range(k):
                found[c] = max(point[c], 0.0) / tops[c]
            if _largest_error(A[i], G, tops, found) < _largest_error(A[i], G, tops, F[i]):
                F[i, :k] = found
