"""Non-negative least squares in normal equations, one small problem a row, exactly."""

import numpy as np
from numba import prange

from fastnmf.kernels.jit import helper, kernel

RANK_TOLERANCE = 1e-10  # a column whose part outside the support is shorter than this (squared) is dependent


@helper
def _append(gram, chol, support, n, column):
    """Extend the Cholesky factor of gram on ``support[:n]`` by `column`; return whether it is independent.

    The diagonal holds inverses: divisions are what these small problems wait for.
    """
    total = 0.0
    for a in range(n):
        value = gram[support[a], column]
        for b in range(a):
            value -= chol[a, b] * chol[n, b]
        chol[n, a] = value * chol[a, a]
        total += chol[n, a] * chol[n, a]
    rest = gram[column, column] - total
    if rest <= RANK_TOLERANCE * gram[column, column]:
        return False
    chol[n, n] = 1.0 / np.sqrt(rest)
    support[n] = column
    return True


@helper
def _solve(chol, support, n, b, z):
    """Solve for the n unknowns on the support; z holds them by position."""
    for a in range(n):
        value = b[support[a]]
        for c in range(a):
            value -= chol[a, c] * z[c]
        z[a] = value * chol[a, a]
    for a in range(n - 1, -1, -1):
        value = z[a]
        for c in range(a + 1, n):
            value -= chol[c, a] * z[c]
        z[a] = value * chol[a, a]


@helper
def _retreat(gram, chol, support, n, x, z):
    """Go from x towards z as far as x stays non-negative, drop what reached zero, factorise again; return the new n."""
    step, first = 1.0, -1
    for a in range(n):
        if z[a] <= 0.0:
            reach = x[support[a]] / (x[support[a]] - z[a])
            if first < 0 or reach < step:
                step, first = reach, a
    kept = 0
    for a in range(n):
        column = support[a]
        x[column] += step * (z[a] - x[column])
        if a == first or x[column] <= 0.0:
            x[column] = 0.0
        elif _append(gram, chol, support, kept, column):
            kept += 1
        else:
            x[column] = 0.0
    return kept


@helper
def _steepest(gram, inverse, b, x, support, n, is_closed, tolerance):
    """Return the free column whose entry would lower the objective fastest, or -1; x is zero off the support."""
    best, best_gain = -1, 0.0
    for c in range(len(b)):
        if x[c] > 0.0 or is_closed[c] or gram[c, c] <= 0.0:
            continue
        slope = b[c]
        for a in range(n):
            slope -= gram[c, support[a]] * x[support[a]]
        gain = slope * inverse[c]
        if slope > tolerance and gain > best_gain:
            best, best_gain = c, gain
    return best


@helper
def _nnls(gram, inverse, b, tolerance, x, z, support, chol, is_closed):
    """Minimise ``x gram x / 2 - b x`` over x >= 0 by active sets, from x = 0."""
    x[:] = 0.0
    is_closed[:] = False
    n = 0
    for _ in range(3 * len(b) + 10):
        column = _steepest(gram, inverse, b, x, support, n, is_closed, tolerance)
        if column < 0:
            break
        is_closed[column] = True  # until the support has changed: a column that is dependent, or whose step rounds away
        if not _append(gram, chol, support, n, column):
            continue
        n += 1
        _solve(chol, support, n, b, z)
        if z[n - 1] <= 0.0:
            n -= 1
            continue
        is_closed[:] = False
        while n > 0:
            lowest = 1.0
            for a in range(n):
                lowest = min(lowest, z[a])
            if lowest > 0.0:
                break
            n = _retreat(gram, chol, support, n, x, z)
            _solve(chol, support, n, b, z)
        for a in range(n):
            x[support[a]] = z[a]


@helper
def _guessed(gram, inverse, b, tolerance, x, z, support, chol, is_closed):
    """Solve on the support of x, write that to x, and return whether it is the minimiser."""
    n = 0
    for c in range(len(b)):
        if x[c] > 0.0:
            if not _append(gram, chol, support, n, c):
                return False
            n += 1
    _solve(chol, support, n, b, z)
    for a in range(n):
        if z[a] <= 0.0:
            return False
    for a in range(n):
        x[support[a]] = z[a]
    is_closed[:] = False
    return _steepest(gram, inverse, b, x, support, n, is_closed, tolerance) < 0


@kernel
def rows_nnls(tasks, F, gram, pos, neg, group, flat):
    """Replace every row f of F (p, K) by the minimiser of ``f gram fᵀ / 2 - (pos - neg - flat) f`` over f >= 0.

    The support of f is tried first; where it is not that of the minimiser, active sets start from nothing.

    gram (k, k) float64, k <= K. Row i meets row ``group[i]`` of neg, row i where `group` is empty; a neg of no rows is
    zero. float64 inside; the result depends on the row alone.
    """
    k = len(gram)
    unit = 4.0 * np.finfo(F.dtype).eps
    for t in prange(len(tasks) - 1):
        b, x, z, inverse = np.empty(k), np.empty(k), np.empty(k), np.zeros(k)
        for c in range(k):
            if gram[c, c] > 0.0:
                inverse[c] = 1.0 / np.sqrt(gram[c, c])  # of the length of a column
        support, chol, is_closed = np.empty(k, np.int64), np.empty((k, k)), np.empty(k, np.bool_)
        for i in range(tasks[t], tasks[t + 1]):
            largest = 0.0
            g = group[i] if len(group) > 0 else i
            for c in range(k):
                b[c], x[c] = pos[i, c] - flat, F[i, c]
                if neg.shape[0] > 0:
                    b[c] -= neg[g, c]
                largest = max(largest, b[c])
            if not _guessed(gram, inverse, b, unit * largest, x, z, support, chol, is_closed):
                _nnls(gram, inverse, b, unit * largest, x, z, support, chol, is_closed)
            for c in range(k):
                F[i, c] = x[c]


@helper
def _descend(gram, b, x, n_sweeps):
    """Move x from zero towards the minimiser by sweeps of coordinate descent: a guess of its support."""
    x[:] = 0.0
    for _ in range(n_sweeps):
        for c in range(len(b)):
            if gram[c, c] > 0.0:
                slope = b[c]
                for a in range(len(b)):
                    slope -= gram[c, a] * x[a]
                x[c] = max(x[c] + slope / gram[c, c], 0.0)


@kernel
def rows_nnls_weighted(tasks, F, first, grams, right, n_sweeps):
    """Replace the rows f = F[first + r] by the minimisers of ``f grams[r] fᵀ / 2 - right[r] f`` over f >= 0.

    F (p, K); grams (r, k, k) and right (r, k) float64, k <= K. `n_sweeps` of coordinate descent from zero guess the
    support. The result depends on the row alone; columns that a row does not see are zero.
    """
    k = grams.shape[1]
    unit = 4.0 * np.finfo(F.dtype).eps
    for t in prange(len(tasks) - 1):
        x, z, inverse = np.empty(k), np.empty(k), np.zeros(k)
        support, chol, is_closed = np.empty(k, np.int64), np.empty((k, k)), np.empty(k, np.bool_)
        for r in range(tasks[t], tasks[t + 1]):
            gram, b, largest = grams[r], right[r], 0.0
            for c in range(k):
                inverse[c] = 1.0 / np.sqrt(gram[c, c]) if gram[c, c] > 0.0 else 0.0
                largest = max(largest, b[c])
            _descend(gram, b, x, n_sweeps)
            if not _guessed(gram, inverse, b, unit * largest, x, z, support, chol, is_closed):
                _nnls(gram, inverse, b, unit * largest, x, z, support, chol, is_closed)
            for c in range(k):
                F[first + r, c] = x[c]
