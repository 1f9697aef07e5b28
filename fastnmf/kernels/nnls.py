"""Exact non-negative least squares from the normal equations, one small problem for each row, and its derivative.

Block principal pivoting from a guess of the support solves nearly all rows with one to five factorisations; for rows
that share a Gram matrix see `nnls_lanes`. Where it cycles, or where the columns of a support are linearly dependent, an
active-set method starts from zero; it always terminates.

A *support* is the set of the positive entries of a solution. Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import helper, inlined, kernel, work_stealing
from fastnmf.kernels.row_intrinsics import dot_rows, gather_row, rows_gram_upper

MAX_TRIES = 3  # consecutive exchanges that may fail to reduce the number of infeasible entries
BITS = 64  # with at most this many columns a support fits into one word, the key of its factorisation
NONE = np.int64(0)  # start of a count: with a plain 0, Numba compiles the functions called with the count twice
MAX_STEPS = 100  # largest number of Newton steps for a row; about eight are made
TOGETHER = 64  # rows of the other factor that are added to a Hessian at a time
RANK_TOLERANCE = 1e-10  # a column is dependent if its squared distance from the span is below this share of its square


@helper
def _append(gram, chol, support, n, column):
    """Extend the Cholesky factor of gram on ``support[:n]`` by `column`; return whether the column is independent.

    The diagonal of the factor holds inverses, because divisions dominate the time of these small problems.

    Parameters
    ----------
    gram : ndarray (k, k) of float64
    chol : ndarray (k, k) of float64
        Lower triangular; row n is written.
    support : ndarray (k,) of int64
        Entry n is written.
    n, column : int
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
    """Solve for the n unknowns on the support, with the factor of `_append`.

    Parameters
    ----------
    chol, support, n :
        As for `_append`.
    b : ndarray (k,) of float64
        Right side, by column.
    z : ndarray (k,) of float64
        Written: the solution, by position in the support.
    """
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
    """Move x towards z as far as it stays non-negative, remove the entries that reach zero, and factorise again.

    Parameters
    ----------
    gram : ndarray (k, k) of float64
    chol, support :
        As for `_append`; written.
    n : int
        Size of the support.
    x : ndarray (k,) of float64
        Written.
    z : ndarray (k,) of float64
        Solution on the support, by position.

    Returns
    -------
    int
        Size of the new support.
    """
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
    """Return the column outside the support whose entry would lower the objective fastest, or -1 where none would.

    Parameters
    ----------
    gram : ndarray (k, k) of float64
    inverse : ndarray (k,) of float64
        1 over the length of each column.
    b, x : ndarray (k,) of float64
        x is zero outside the support.
    support : ndarray (k,) of int64
    n : int
        Size of the support.
    is_closed : ndarray (k,) of bool
        Columns that must not be chosen.
    tolerance : float
        Slopes up to it, for columns of length one, count as zero.

    Returns
    -------
    int
    """
    best, best_gain = -1, tolerance
    for c in range(len(b)):
        if x[c] > 0.0 or is_closed[c] or gram[c, c] <= 0.0:
            continue
        slope = b[c]
        for a in range(n):
            slope -= gram[c, support[a]] * x[support[a]]
        gain = slope * inverse[c]
        if gain > best_gain:
            best, best_gain = c, gain
    return best


@helper
def _nnls(gram, inverse, b, tolerance, x, z, support, chol, is_closed):
    """Minimise ``x gram x / 2 - b x`` over x >= 0 by an active-set method that starts from x = 0.

    Parameters
    ----------
    gram : ndarray (k, k) of float64
    inverse, b : ndarray (k,) of float64
    tolerance : float
        As for `_steepest`.
    x : ndarray (k,) of float64
        Written: the minimiser.
    z, support, chol, is_closed :
        Overwritten; as for `_retreat` and `_steepest`.
    """
    x[:] = 0.0
    is_closed[:] = False
    n = NONE
    for _ in range(3 * len(b) + 10):
        column = _steepest(gram, inverse, b, x, support, n, is_closed, tolerance)
        if column < 0:
            break
        is_closed[column] = True  # until the support changes: the column is dependent, or its step is below rounding
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
    """Write the Cholesky factor U of gram on the support, ``UᵀU``; return whether the columns are independent.

    Each row is subtracted from the rows below it. No operation then waits for a sum, in contrast to a factor that grows
    by one column at a time. The diagonal holds inverses.

    Parameters
    ----------
    gram : ndarray (k, k) of float64
    support : ndarray (k,) of int64
    n : int
        Size of the support.
    upper : ndarray (k, k) of float64
        Written.
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
    """Solve for the n unknowns on the support, with the factor of `_factorise`.

    Parameters
    ----------
    upper : ndarray (k, k) of float64
    support, n, b, z :
        As for `_solve`.
    """
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
    """Find or compute the Cholesky factor of gram on the support of x; return the size of the support and its place.

    Parameters
    ----------
    gram : ndarray (k, k) of float64
    x : ndarray (k,) of float64
    support : ndarray (k,) of int64
        Written: the support of x, ascending.
    keys : ndarray (n_held,) of uint64
        Support of each factor that is held, one bit for each column; written.
    chols : ndarray (n_held, k, k) of float64
        Factors that are held; written.

    Returns
    -------
    n : int
        Size of the support; -1 where its columns are linearly dependent.
    place : int
        Position of the factor in `chols`.
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
    keys[place] = np.uint64(0)  # the empty support: no factor is held here until this one succeeds
    if not _factorise(gram, support, n, chols[place]):
        return -1, place
    if is_shared:
        keys[place] = key
    return n, place


@helper
def _pivot(gram, inverse, b, tolerance, x, z, support, keys, chols):
    """Turn x, whose support is a guess, into the minimiser by block principal pivoting; return whether this succeeded.

    All infeasible entries change between support and complement at once (Kim and Park 2011). The method gives up where
    the number of infeasible entries has not fallen `MAX_TRIES` times, or where the support is linearly dependent.

    Parameters
    ----------
    gram : ndarray (k, k) of float64
    inverse, b : ndarray (k,) of float64
    tolerance : float
        As for `_steepest`.
    x : ndarray (k,) of float64
        Written.
    z : ndarray (k,) of float64
        Overwritten.
    support, keys, chols :
        As for `_hold`.

    Returns
    -------
    bool
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
                if slope * inverse[c] > tolerance:
                    x[c] = 1.0  # any positive number: it is in the support now
                    n_wrong += 1
        if n_wrong == 0:
            return True
        tries = MAX_TRIES if n_wrong < fewest else tries - 1
        fewest = min(fewest, n_wrong)
    return False


@kernel
def rows_nnls_active(tasks, rows, F, gram, right):
    """Replace ``f = F[rows[r]]`` by the minimiser of ``f gram fᵀ / 2 - right[r] f`` over f >= 0, from zero.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over r.
    rows : ndarray (r,) of int64
    F : ndarray (p, K)
        Written in the first k columns.
    gram : ndarray (k, k) of float64
        k <= K.
    right : ndarray (r, k) of float64
    """
    k = len(gram)
    unit = 4.0 * np.finfo(F.dtype).eps
    for _, begin, until in work_stealing(tasks):
        x, z, inverse, chol = np.empty(k), np.empty(k), np.empty(k), np.empty((k, k))
        support, is_closed = np.empty(k, np.int64), np.empty(k, np.bool_)
        for r in range(begin, until):
            b, largest = right[r], 0.0
            for c in range(k):
                inverse[c] = 1.0 / np.sqrt(gram[c, c]) if gram[c, c] > 0.0 else 0.0
                largest = max(largest, b[c] * inverse[c])
            _nnls(gram, inverse, b, unit * largest, x, z, support, chol, is_closed)
            for c in range(k):
                F[rows[r], c] = x[c]


@kernel
def rows_nnls_pullback(tasks, F, gram, n_held, G, W):
    """Write ``w = gram[T, T]^-1 g[T]``, zero outside T, for every row g of G, where T is the support of the row f of F.

    Let f be the minimiser of ``f gram fᵀ / 2 - b f`` over f >= 0, and g the gradient of some value with respect to f.
    Then w is the gradient of this value with respect to b, wherever the support does not change. Where the columns of a
    support are linearly dependent, w is zero.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F : ndarray (p, K) of float64
    gram : ndarray (k, k) of float64
        k <= K.
    n_held : int
        Number of factorisations that a task holds.
    G : ndarray (p, K) of float64
    W : ndarray (p, K) of float64
        Written in the first k columns.
    """
    k = len(gram)
    for _, begin, until in work_stealing(tasks):
        x, z, g, support = np.empty(k), np.empty(k), np.empty(k), np.empty(k, np.int64)
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
    """Write a first guess of the minimiser into x by sweeps of coordinate descent from zero.

    Parameters
    ----------
    gram : ndarray (k, k) of float64
    b : ndarray (k,) of float64
    x : ndarray (k,) of float64
        Written.
    n_sweeps : int
    """
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
    """Replace the rows ``f = F[first + r]`` by the minimisers of ``f grams[r] fᵀ / 2 - right[r] f`` over f >= 0.

    The support is guessed by coordinate descent from zero. The result depends on the row alone. Columns whose Gram
    entry is zero for a row are zero in it.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over r.
    F : ndarray (p, K)
        Written in the first k columns of the rows first, first + 1, ...
    first : int
    grams : ndarray (r, k, k) of float64
        k <= K.
    right : ndarray (r, k) of float64
    n_sweeps : int
        Sweeps of coordinate descent for the guess.
    """
    k = grams.shape[1]
    unit = 4.0 * np.finfo(F.dtype).eps
    for _, begin, until in work_stealing(tasks):
        x, z, inverse, keys, chols = np.empty(k), np.empty(k), np.zeros(k), np.zeros(1, np.uint64), np.empty((1, k, k))
        support, is_closed = np.empty(k, np.int64), np.empty(k, np.bool_)
        for r in range(begin, until):
            gram, b, largest = grams[r], right[r], 0.0
            for c in range(k):
                inverse[c] = 1.0 / np.sqrt(gram[c, c]) if gram[c, c] > 0.0 else 0.0
                largest = max(largest, b[c] * inverse[c])
            _descend(gram, b, x, n_sweeps)
            keys[0] = np.uint64(0)  # drop the factor that is held: it belongs to another Gram matrix
            if not _pivot(gram, inverse, b, unit * largest, x, z, support, keys, chols):
                _nnls(gram, inverse, b, unit * largest, x, z, support, chols[0], is_closed)
            for c in range(k):
                F[first + r, c] = x[c]


@inlined
def _row_values(i, csr, F, r, other, shift, y):
    """Write ``F[r] . g + shift`` over the non-zeros of row i of X into y.

    Parameters
    ----------
    i, r : int
    csr, F, other, shift :
        As for `csr_entropy_rows`.
    y : ndarray (nnz,)
        Written.
    """
    lo, hi = csr.indptr[i], csr.indptr[i + 1]
    dot_rows(lo, hi, csr.indices, F, r, other, y)
    if len(shift) > 0:
        for p in range(lo, hi):
            y[p] += shift[p]


@inlined
def _newton_model(i, csr, other, shift, least, room, work, gram, pos):
    """Write the Hessian of ``-sum x log(f . g + shift)`` over row i of X at f, and ``Hessian f - gradient``.

    Parameters
    ----------
    i : int
    csr, other, shift :
        As for `csr_entropy_rows`.
    least : float
        Values below it count as this.
    room : ndarray (2, nnz)
        ``f . g + shift``; the second row is overwritten.
    work : ndarray (TOGETHER + K, K)
        Overwritten.
    gram : ndarray (k, k) of float64
        Written: the Hessian.
    pos : ndarray (1, K)
        Written: ``Hessian f - gradient``.
    """
    k, n, y, right, held, block = len(gram), NONE, room[0], room[1], work[:TOGETHER], work[TOGETHER:]
    lo, hi = csr.indptr[i], csr.indptr[i + 1]
    gram[:] = 0.0
    for p in range(lo, hi):
        safe, j = max(y[p], least), csr.indices[p]
        root, ratio = np.sqrt(csr.data[p]) / safe, csr.data[p] / safe
        for c in range(held.shape[1]):
            held[n, c] = root * other[j, c]
        right[p] = ratio + ratio * (y[p] - shift[p] if len(shift) > 0 else y[p]) / safe
        n += 1
        if n == TOGETHER or p == hi - 1:
            rows_gram_upper(held, 0, n, block)
            n = NONE
            for a in range(k):
                for c in range(a, k):
                    gram[a, c] += block[a, c]
    for a in range(k):
        for c in range(a):
            gram[a, c] = gram[c, a]
    gather_row(lo, hi, csr.indices, right, other, pos, 0)


@inlined
def _advance(lo, hi, least, room):
    """Move the values in the first row of `room` towards those in the second, as far as the divergence surely falls.

    Along the step of a Newton model with relative changes -u of the values, t the largest of u, the divergence is at
    most its model plus ``sum x u² (-1/2 - 1/t - log(1 - t) / t²)``. So it does not rise where the step is whole for t
    up to 1/2, and ``1 / (1 + t)`` of it otherwise.

    Parameters
    ----------
    lo, hi : int
    least : float
        As for `_newton_model`.
    room : ndarray (2, nnz)
        Its first row is written at lo..hi.

    Returns
    -------
    share : float
        How much of the step was made.
    change : float
        Largest relative change over the whole step.
    """
    y, ahead, fall, change = room[0], room[1], 0.0, 0.0
    for p in range(lo, hi):
        part = (y[p] - ahead[p]) / max(y[p], least)
        fall, change = max(fall, part), max(change, abs(part))
    share = room.dtype.type(1.0 if fall <= 0.5 else 1.0 / (1.0 + fall))
    for p in range(lo, hi):
        y[p] = ahead[p] if fall <= 0.5 else y[p] + share * (ahead[p] - y[p])
    return share, change


@kernel
def csr_entropy_rows(tasks, csr, F, other, linear, ridge, shift, least, room):
    """Replace every row f by the minimiser of ``linear f + ridge f f / 2 - sum x log(f . g + shift)`` over f >= 0.

    This is the Kullback-Leibler divergence of a row as a function of its weights, minimised by Newton steps: each
    minimises the model of second order exactly, over f >= 0. The result depends on the row alone.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    csr : CSR
        X (p, q); its rows may be empty.
    F : ndarray (p, K)
        Written in the first k columns; its values are the start, positive where a row of X has entries.
    other : ndarray (q, K)
    linear : ndarray (1, k) or (p, k) of float64
        k <= K; one row for all rows, or one for each.
    ridge : ndarray (1,) or (p,) of float64
    shift : ndarray (nnz,) or (0,)
        Shift at each non-zero.
    least : ndarray (p,), dtype of F
        Values of the model below it are replaced by it.
    room : ndarray (2, nnz), dtype of F
        Overwritten.
    """
    k, K, unit, settled = linear.shape[1], F.shape[1], 4.0 * np.finfo(F.dtype).eps, np.sqrt(np.finfo(F.dtype).eps)
    for _, begin, until in work_stealing(tasks):
        b, x, z, inverse, gram = np.empty(k), np.empty(k), np.empty(k), np.zeros(k), np.empty((k, k))
        keys, chols = np.zeros(1, np.uint64), np.empty((1, k, k))
        support, is_closed = np.empty(k, np.int64), np.empty(k, np.bool_)
        work, pos, whole = np.zeros((TOGETHER + K, K), F.dtype), np.zeros((1, K), F.dtype), np.zeros((1, K), F.dtype)
        for i in range(begin, until):
            of_linear, own = linear[i if len(linear) > 1 else 0], ridge[i if len(ridge) > 1 else 0]
            _row_values(i, csr, F, i, other, shift, room[0])
            for _ in range(MAX_STEPS):
                _newton_model(i, csr, other, shift, least[i], room, work, gram, pos)
                largest, cost, moved = 0.0, 0.0, 0.0
                for c in range(k):
                    gram[c, c] += own
                    b[c], x[c] = np.float64(pos[0, c]) - of_linear[c], F[i, c]
                    inverse[c] = 1.0 / np.sqrt(gram[c, c]) if gram[c, c] > 0.0 else 0.0
                    largest = max(largest, b[c] * inverse[c])
                keys[0] = np.uint64(0)  # drop the factor that is held: it belongs to another Hessian
                if not _pivot(gram, inverse, b, unit * largest, x, z, support, keys, chols):
                    _nnls(gram, inverse, b, unit * largest, x, z, support, chols[0], is_closed)
                for c in range(k):
                    whole[0, c] = x[c] if gram[c, c] > 0.0 else 0.0
                _row_values(i, csr, whole, 0, other, shift, room[1])
                share, change = _advance(csr.indptr[i], csr.indptr[i + 1], least[i], room)
                for c in range(k):
                    step = share * (whole[0, c] - F[i, c])
                    F[i, c] = whole[0, c] if share == 1 else F[i, c] + step
                    cost, moved = cost + of_linear[c] * F[i, c], moved + of_linear[c] * step
                if change <= settled and abs(moved) <= settled * cost:
                    break


@kernel
def rows_nnls_weighted_pullback(tasks, F, first, grams, G, W):
    """Write ``w = grams[r][T, T]^-1 g[T]``, zero outside T, for the rows first + r of F, G and W.

    This is `rows_nnls_pullback` with one Gram matrix for each row.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over r.
    F, G, W :
        As there.
    first : int
    grams : ndarray (r, k, k) of float64
        k <= K.
    """
    k = grams.shape[1]
    for _, begin, until in work_stealing(tasks):
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
