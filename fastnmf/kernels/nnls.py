"""Non-negative least squares in normal equations, one small problem a row, exactly, and its derivative.

Block principal pivoting from a guess of the support does nearly all rows in one to five factorisations; where it
cycles, or the columns of a support depend on each other, active sets start from nothing, which always ends. A task
holds the last factorisations by support, so that rows of equal supports share them.
"""

import numpy as np

from fastnmf.kernels.jit import claimed, helper, kernel

MAX_TRIES = 3  # exchanges in a row that may leave as many entries on the wrong side as before
HELD_BYTES = 1 << 18  # of the factorisations that a task holds: they are to stay in the cache
MAX_HELD = 61  # and their number: a prime spreads the supports
BITS = 64  # a support is the key of its factorisation where it fits into one word
NONE = np.int64(0)  # where a count begins: after a plain 0 Numba compiles what is called with it twice
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
    kept = NONE
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
    n = NONE
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
def _factorise(gram, support, n, upper):
    """Fill upper (k, k) with the Cholesky factor U of gram on the support, ``UᵀU``; return whether it is independent.

    Row after row is taken off those below it: nothing waits for a sum, as it does where a factor grows by a column.
    The diagonal holds inverses.
    """
    for a in range(n):
        row, column = upper[a], gram[support[a]]
        for c in range(a, n):
            row[c] = column[support[c]]
    for a in range(n):
        pivot = upper[a]
        if pivot[a] <= RANK_TOLERANCE * gram[support[a], support[a]]:
            return False
        pivot[a] = 1.0 / np.sqrt(pivot[a])
        for c in range(a + 1, n):
            pivot[c] *= pivot[a]
        for i in range(a + 1, n):
            row, share = upper[i], pivot[i]
            for c in range(i, n):
                row[c] -= share * pivot[c]
    return True


@helper
def _substitute(upper, support, n, b, z):
    """Solve for the n unknowns on the support, with the factor of `_factorise`; z holds them by position."""
    for a in range(n):
        z[a] = b[support[a]]
    for a in range(n):
        row = upper[a]
        z[a] *= row[a]
        for c in range(a + 1, n):
            z[c] -= row[c] * z[a]
    for a in range(n - 1, -1, -1):
        row, value = upper[a], z[a]
        for c in range(a + 1, n):
            value -= row[c] * z[c]
        z[a] = value * row[a]


@helper
def _hold(gram, x, support, keys, chols):
    """Have the Cholesky factor of gram on the support of x, ascending; return the size of the support and its place.

    The size is -1 where the columns of the support depend on each other.
    """
    key, n, is_shared = np.uint64(0), NONE, len(x) <= BITS
    for c in range(len(x)):
        if x[c] > 0.0:
            support[n] = c
            n += 1
            if is_shared:
                key |= np.uint64(1) << np.uint64(c)
    place = np.int64(key % np.uint64(len(keys)))
    if n == 0 or (is_shared and keys[place] == key):
        return n, place
    keys[place] = np.uint64(0)  # no support: nothing is held
    if not _factorise(gram, support, n, chols[place]):
        return -1, place
    if is_shared:
        keys[place] = key
    return n, place


@helper
def _pivot(gram, b, tolerance, x, z, support, keys, chols):
    """Turn x, whose support is a guess, into the minimiser by block principal pivoting; return whether that is it.

    All entries on the wrong side of the support change it at once (Kim and Park 2011); given up where their number has
    not fallen `MAX_TRIES` times, or the support is dependent.
    """
    fewest, tries = len(b) + 1, MAX_TRIES
    while tries > 0:
        n, place = _hold(gram, x, support, keys, chols)
        if n < 0:
            return False
        _substitute(chols[place], support, n, b, z)
        n_wrong, at = 0, 0
        for c in range(len(b)):
            if at < n and support[at] == c:
                x[c] = max(z[at], 0.0)
                n_wrong += z[at] <= 0.0
                at += 1
            elif gram[c, c] > 0.0:
                slope = b[c]
                for a in range(n):
                    slope -= gram[c, support[a]] * z[a]
                if slope > tolerance:
                    x[c] = 1.0  # any positive number: it is in the support now
                    n_wrong += 1
        if n_wrong == 0:
            return True
        tries = MAX_TRIES if n_wrong < fewest else tries - 1
        fewest = min(fewest, n_wrong)
    return False


@helper
def _n_held(k):
    """Return how many factorisations a task holds."""
    return max(1, min(MAX_HELD, HELD_BYTES // (8 * k * k + 1)))


@kernel
def rows_nnls(tasks, F, gram, pos, neg, group, flat):
    """Replace every row f of F (p, K) by the minimiser of ``f gram fᵀ / 2 - (pos - neg - flat) f`` over f >= 0.

    The support of f is a first guess: right ones save time.

    gram (k, k) float64, k <= K. Row i meets row ``group[i]`` of neg, row i where `group` is empty; a neg of no rows is
    zero. float64 inside; the result depends on the row alone.
    """
    k = len(gram)
    unit = 4.0 * np.finfo(F.dtype).eps
    for _, begin, until in claimed(tasks):
        b, x, z, inverse = np.empty(k), np.empty(k), np.empty(k), np.zeros(k)
        for c in range(k):
            if gram[c, c] > 0.0:
                inverse[c] = 1.0 / np.sqrt(gram[c, c])  # of the length of a column
        support, is_closed, n_held = np.empty(k, np.int64), np.empty(k, np.bool_), _n_held(k)
        keys, chols = np.zeros(n_held, np.uint64), np.empty((n_held, k, k))
        for i in range(begin, until):
            largest = 0.0
            g = group[i] if len(group) > 0 else i
            for c in range(k):
                b[c], x[c] = pos[i, c] - flat, F[i, c]
                if neg.shape[0] > 0:
                    b[c] -= neg[g, c]
                largest = max(largest, b[c])
            if not _pivot(gram, b, unit * largest, x, z, support, keys, chols):
                keys[0] = np.uint64(0)
                _nnls(gram, inverse, b, unit * largest, x, z, support, chols[0], is_closed)
            for c in range(k):
                F[i, c] = x[c]


@kernel
def rows_nnls_pullback(tasks, F, gram, G, W):
    """Write ``w = gram[T, T]^-1 g[T]``, zero off T, for every row g of G (p, K): T the support of row f of F (p, K).

    With f the minimiser of ``f gram fᵀ / 2 - b f`` over f >= 0 and g the gradient of some value with respect to f, w is
    that with respect to b (where the support does not change). gram (k, k), k <= K; float64. A support of dependent
    columns gets zeros. W (p, K) is written in the first k columns.
    """
    k = len(gram)
    for _, begin, until in claimed(tasks):
        x, z, g, support, n_held = np.empty(k), np.empty(k), np.empty(k), np.empty(k, np.int64), _n_held(k)
        keys, chols = np.zeros(n_held, np.uint64), np.empty((n_held, k, k))
        for i in range(begin, until):
            for c in range(k):
                x[c], g[c], W[i, c] = F[i, c], G[i, c], 0.0
            n, place = _hold(gram, x, support, keys, chols)
            if n > 0:
                _substitute(chols[place], support, n, g, z)
            for a in range(n):
                W[i, support[a]] = z[a]


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
    for _, begin, until in claimed(tasks):
        x, z, inverse, keys, chols = np.empty(k), np.empty(k), np.zeros(k), np.zeros(1, np.uint64), np.empty((1, k, k))
        support, is_closed = np.empty(k, np.int64), np.empty(k, np.bool_)
        for r in range(begin, until):
            gram, b, largest = grams[r], right[r], 0.0
            for c in range(k):
                inverse[c] = 1.0 / np.sqrt(gram[c, c]) if gram[c, c] > 0.0 else 0.0
                largest = max(largest, b[c])
            _descend(gram, b, x, n_sweeps)
            keys[0] = np.uint64(0)  # the factor held is that of another Gram matrix
            if not _pivot(gram, b, unit * largest, x, z, support, keys, chols):
                _nnls(gram, inverse, b, unit * largest, x, z, support, chols[0], is_closed)
            for c in range(k):
                F[first + r, c] = x[c]


@kernel
def rows_nnls_weighted_pullback(tasks, F, first, grams, G, W):
    """Write ``w = grams[r][T, T]^-1 g[T]``, zero off T, for the rows first + r of F, G and W (p, K) alike.

    As `rows_nnls_pullback`, with a Gram matrix for each row: grams (r, k, k), k <= K.
    """
    k = grams.shape[1]
    for _, begin, until in claimed(tasks):
        x, z, g, support = np.empty(k), np.empty(k), np.empty(k), np.empty(k, np.int64)
        keys, chols = np.zeros(1, np.uint64), np.empty((1, k, k))
        for r in range(begin, until):
            for c in range(k):
                x[c], g[c], W[first + r, c] = F[first + r, c], G[first + r, c], 0.0
            keys[0] = np.uint64(0)
            n, _ = _hold(grams[r], x, support, keys, chols)
            if n > 0:
                _substitute(chols[0], support, n, g, z)
            for a in range(n):
                W[first + r, support[a]] = z[a]
