"""Steps that see every entry of the residual."""

import numpy as np

from fastnmf.kernels.jit import claimed, helper, kernel


@helper
def _weighted_median(values, weights, n):
    """Return the least of the first n values at which half of their weights is reached."""
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
    """Move the rows of F (p, K) to the least ``sum_j |a_j - f . g_j|``, entry by entry, in the order of columns.

    A (p, q) has the data of this side, other (q, K) the rows g. All but one entry fixed, the best f_c is the median of
    the ``(a_j - rest_j) / g_jc`` with the weights g_jc, or 0. Columns of `other` without a positive entry stay.
    Inputs are not checked; O(p q (K + len(order) log q)).
    """
    q, K = other.shape
    for _, begin, until in claimed(tasks):
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
