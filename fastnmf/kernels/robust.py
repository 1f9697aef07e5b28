"""Coordinate descent for the sum of absolute errors, which needs every entry of the residual.

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
