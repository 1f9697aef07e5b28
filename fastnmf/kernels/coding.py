"""Sparse coding: non-negative weights of rows, of which a bounded number are non-zero, from the Gram matrix.

For a row with the products b (k,) with the components, weights on the support T have at best the *gain*
``b_T . gram[T, T]^-1 b_T``, by which they lower the squared error. The support with the largest gain is wanted. The
components are non-negative, and so is gram: a component with b <= 0 is therefore in no best support.

Inputs are not checked.
"""

from typing import NamedTuple

import numpy as np

from fastnmf.kernels.jit import helper, kernel, work_stealing

RANK_TOLERANCE = 1e-10  # a column is dependent if its squared distance from the span is below this share of its square
WORTH = 1.0 + 1e-12  # a gain counts as larger from this multiple on; the rest is rounding
MOST_EXACT = 64  # columns up to which supports are searched exactly
NONE = np.int64(0)  # start of a count: with a plain 0, Numba compiles the functions called with the count twice


class Row(NamedTuple):
    """The problem of one row.

    Attributes
    ----------
    gram : ndarray (k, k) of float64
    inverse : ndarray (k,) of float64
        1 over the length of each column, 0 for columns of zeros.
    b : ndarray (k,) of float64
        Products with the row, divided by the largest of ``b * inverse``.
    least : float
        Slopes up to it, for columns of length one, count as zero.
    """

    gram: np.ndarray
    inverse: np.ndarray
    b: np.ndarray
    least: float


class Room(NamedTuple):
    """Workspace of a task for problems of up to q columns; overwritten.

    Attributes
    ----------
    found, weights : ndarray (q,) of int64, of float64
        The best support so far, and its weights.
    x, z, chol : ndarray (q,), (q,), (q, q) of float64
    order, tried : ndarray (q,) of int64
    is_closed : ndarray (q,) of bool
    stack : ndarray (k + 2, k + 2) of int64
        The open branches of a search: columns, those that it fixes first, and at the end how many of both.
    """

    found: np.ndarray
    weights: np.ndarray
    x: np.ndarray
    z: np.ndarray
    chol: np.ndarray
    order: np.ndarray
    tried: np.ndarray
    is_closed: np.ndarray
    stack: np.ndarray


@helper
def _solve(row, listed, n, room):
    """Write the weights of the columns ``listed[order[:n]]`` into ``z[:n]``; return whether these are independent.

    Parameters
    ----------
    row : Row
    listed : ndarray of int64
    n : int
    room : Room
        ``chol`` becomes the Cholesky factor, with inverses on the diagonal.

    Returns
    -------
    bool
    """
    chol, z, order = room.chol, room.z, room.order
    for a in range(n):
        column = listed[order[a]]
        rest, z[a] = row.gram[column, column], row.b[column]
        for c in range(a):
            value = row.gram[column, listed[order[c]]]
            for d in range(c):
                value -= chol[a, d] * chol[c, d]
            chol[a, c] = value * chol[c, c]
            rest -= chol[a, c] * chol[a, c]
            z[a] -= chol[a, c] * z[c]
        if rest <= RANK_TOLERANCE * row.gram[column, column]:
            return False
        chol[a, a] = 1.0 / np.sqrt(rest)
        z[a] *= chol[a, a]
    for a in range(n - 1, -1, -1):
        for c in range(a + 1, n):
            z[a] -= chol[c, a] * z[c]
        z[a] *= chol[a, a]
    return True


@helper
def _steepest(row, listed, n, size, room):
    """Return the place in ``listed[:n]`` of the open column with the steepest slope at x, or -1.

    Parameters
    ----------
    row : Row
    listed : ndarray of int64
    n : int
    size : int
        Of the support of x, ``listed[order[:size]]``.
    room : Room

    Returns
    -------
    int
    """
    best, most = -1, row.least
    for a in range(n):
        if room.x[a] > 0.0 or room.is_closed[a]:
            continue
        slope = row.b[listed[a]]
        for c in range(size):
            slope -= row.gram[listed[a], listed[room.order[c]]] * room.x[room.order[c]]
        if slope * row.inverse[listed[a]] > most:
            best, most = a, slope * row.inverse[listed[a]]
    return best


@helper
def _step(size, room):
    """Move x towards z as far as it stays non-negative; return the size of the new support, and whether x is at z."""
    x, z, order, step, first = room.x, room.z, room.order, 1.0, -1
    for c in range(size):
        if z[c] <= 0.0:
            reach = x[order[c]] / (x[order[c]] - z[c])
            if first < 0 or reach < step:
                step, first = reach, c
    kept = NONE
    for c in range(size):
        a = order[c]
        x[a] += step * (z[c] - x[a])
        if c == first or x[a] <= 0.0:
            x[a] = 0.0
        else:
            order[kept] = a
            kept += 1
    return kept, first < 0


@helper
def _best_weights(row, listed, n, room):
    """Write the exact non-negative weights of the columns ``listed[:n]`` into ``x[:n]``, and return their gain.

    If all weights without the sign constraint are positive, they are these. Otherwise the active-set method of Lawson
    and Hanson, from zero.

    Parameters
    ----------
    row : Row
    listed : ndarray of int64
    n : int
        The columns are ``listed[:n]``.
    room : Room

    Returns
    -------
    float
    """
    x, z, order, gain = room.x, room.z, room.order, 0.0
    for a in range(n):
        x[a], order[a], room.is_closed[a] = 0.0, a, False
    size, is_positive = NONE, _solve(row, listed, n, room)
    for a in range(n):
        is_positive &= z[a] > 0.0
    if is_positive:
        for a in range(n):
            x[a] = z[a]
            gain += row.b[listed[a]] * x[a]
        return gain
    for _ in range(3 * n + 10):
        best = _steepest(row, listed, n, size, room)
        if best < 0:
            break
        room.is_closed[best] = True  # until the support changes: it is dependent, or its step is below rounding
        order[size] = best
        if not _solve(row, listed, size + 1, room) or z[size] <= 0.0:
            continue
        size += 1
        room.is_closed[:n] = False
        is_inside = False
        while size > 0 and not is_inside:
            size, is_inside = _step(size, room)
            is_inside |= not _solve(row, listed, size, room)
    for a in range(n):
        gain += row.b[listed[a]] * x[a]
    return gain


@helper
def _take(listed, n, room):
    """Make the columns ``listed[:n]`` with positive x the best support; return its size."""
    size = NONE
    for a in range(n):
        if room.x[a] > 0.0:
            room.found[size], room.weights[size] = listed[a], room.x[a]
            size += 1
    return size


@helper
def _is_in(found, size, column):
    """Return whether a column is among ``found[:size]``."""
    for c in range(size):
        if found[c] == column:
            return True
    return False


@helper
def _pursue(row, listed, n, most, room):
    """Find a support among ``listed[:n]`` by non-negative orthogonal matching pursuit; return its size and its gain.

    The component with the steepest slope joins the support, whose weights are then exact, until there are `most`.

    Parameters
    ----------
    row : Row
    listed : ndarray of int64
    n : int
        The columns are ``listed[:n]``.
    most : int
    room : Room

    Returns
    -------
    size : int
    gain : float
    """
    size, gain = NONE, 0.0
    while size < most:
        best, steepest = -1, row.least
        for a in range(n):
            slope = row.b[listed[a]]
            for c in range(size):
                slope -= row.gram[listed[a], room.found[c]] * room.weights[c]
            if slope * row.inverse[listed[a]] > steepest and not _is_in(room.found, size, listed[a]):
                best, steepest = listed[a], slope * row.inverse[listed[a]]
        if best < 0:
            break
        room.tried[:size] = room.found[:size]
        room.tried[size] = best
        after = _best_weights(row, room.tried, size + 1, room)
        if not after > gain * WORTH:
            break
        gain, size = after, _take(room.tried, size + 1, room)
    return size, gain


@helper
def _exchange(row, listed, n, most, size, gain, room):
    """Improve the support by the best exchange of one column, or by one column more; return its size and its gain.

    Parameters
    ----------
    row : Row
    listed : ndarray of int64
    n : int
        The columns ``listed[:n]`` may be used.
    most : int
    size : int
        Of the support.
    gain : float
        Of the support.
    room : Room

    Returns
    -------
    size : int
    gain : float
    """
    for _ in range(2 * most):
        best, out, before, bound = NONE - 1, NONE, gain, 0.0
        for c in range(size):
            bound += (row.b[room.found[c]] * row.inverse[room.found[c]]) ** 2
        for a in range(n):
            if _is_in(room.found, size, listed[a]):
                continue
            own = (row.b[listed[a]] * row.inverse[listed[a]]) ** 2
            for c in range(size if size == most else size + 1):
                less = (row.b[room.found[c]] * row.inverse[room.found[c]]) ** 2 if c < size else 0.0
                if bound - less + own <= gain:  # gram >= 0: columns gain no more together than each alone
                    continue
                room.tried[:size] = room.found[:size]
                room.tried[c] = listed[a]
                after = _best_weights(row, room.tried, max(size, c + 1), room)
                if after > gain * WORTH:
                    gain, best, out = after, listed[a], c
        if not gain > before:
            break
        room.tried[:size] = room.found[:size]
        room.tried[out] = best
        gain = _best_weights(row, room.tried, max(size, out + 1), room)
        size = _take(room.tried, max(size, out + 1), room)
    return size, gain


@helper
def _search(row, listed, n, most, size, gain, n_nodes, room):
    """Improve the support to the best one by branch and bound, as far as `n_nodes` problems lead; return its size.

    The gain of all columns of a branch, without the limit, bounds that of its supports. A branch splits at the column
    with the largest weight: without it, and with it in all supports.

    Parameters
    ----------
    row, listed, n, most, size, gain, room :
        As for `_exchange`.
    n_nodes : int

    Returns
    -------
    int
    """
    x, stack, depth = room.x, room.stack, NONE + 1
    stack[0, :n] = listed[:n]
    stack[0, -2], stack[0, -1] = n, 0
    while depth > 0 and n_nodes > 0:
        depth -= 1
        n_nodes -= 1
        branch = stack[depth]
        length, fixed = branch[-2], branch[-1]
        bound = _best_weights(row, branch, length, room)
        if not bound > gain * WORTH:
            continue
        used, largest = NONE, fixed
        for a in range(length):
            used += x[a] > 0.0
            if a >= fixed and x[a] > x[largest]:
                largest = a
        if used <= most:
            gain, size = bound, _take(branch, length, room)
            continue
        branch[largest], branch[fixed] = branch[fixed], branch[largest]
        after = stack[depth + 1]  # comes first, because its gains are larger
        after[:length] = branch[:length]
        after[-2], after[-1] = (most if fixed + 1 == most else length), fixed + 1
        branch[fixed] = branch[length - 1]
        branch[-2] = length - 1
        depth += 2
    return size


@helper
def _best_of_few(row, listed, n, most, room):
    """Find the best support of one column, or for most = 2 of one or two; return its size.

    Parameters
    ----------
    row : Row
    listed : ndarray of int64
    n : int
        The columns are ``listed[:n]``.
    most : int
        1 or 2.
    room : Room

    Returns
    -------
    int
    """
    gram, inverse, b, size, gain = row.gram, row.inverse, row.b, NONE, 0.0
    for i in range(n):
        a = listed[i]
        alone = (b[a] * inverse[a]) ** 2
        if alone > gain * WORTH:
            size, gain = NONE + 1, alone
            room.found[0], room.weights[0] = a, b[a] / gram[a, a]
    for i in range(n if most == 2 else 0):
        a = listed[i]
        alone = (b[a] * inverse[a]) ** 2
        for j in range(i + 1, n):
            c = listed[j]
            if alone + (b[c] * inverse[c]) ** 2 <= gain:  # gram >= 0: a pair gains no more than its columns alone
                continue
            area, crossed = gram[a, a] * gram[c, c], gram[a, c]
            det = area - crossed * crossed
            u, v = gram[c, c] * b[a] - crossed * b[c], gram[a, a] * b[c] - crossed * b[a]
            if det > RANK_TOLERANCE * area and u > 0.0 and v > 0.0 and u * b[a] + v * b[c] > gain * WORTH * det:
                size, gain = NONE + 2, (u * b[a] + v * b[c]) / det
                room.found[0], room.found[1], room.weights[0], room.weights[1] = a, c, u / det, v / det
    return size


@helper
def _best_of_more(row, listed, n, most, n_nodes, F, room):
    """Find a good support of up to `most` > 2 columns, see `rows_sparse_coding`; return its size.

    Parameters
    ----------
    row : Row
    listed : ndarray of int64
    n : int
        The columns ``listed[:n]`` may be used.
    most, n_nodes : int
    F : ndarray (K,)
        The row itself: its present support is tried, too.
    room : Room

    Returns
    -------
    int
    """
    if n <= most:
        _best_weights(row, listed, n, room)
        return _take(listed, n, room)
    size, gain = _pursue(row, listed, n, most, room)
    held = NONE
    for a in range(n):
        if F[listed[a]] > 0.0 and held < most:
            room.tried[held] = listed[a]
            held += 1
    present = _best_weights(row, room.tried, held, room)
    if present > gain * WORTH:
        gain, size = present, _take(room.tried, held, room)
    size, gain = _exchange(row, listed, n, most, size, gain, room)
    return _search(row, listed, n, most, size, gain, n_nodes, room) if len(room.stack) > 1 else size


@kernel
def rows_sparse_coding(tasks, F, gram, pos, most, n_nodes):
    """Replace every row f of F by weights >= 0, at most `most` of them non-zero, that minimise ``f gram fᵀ - 2 pos f``.

    For most = 1 and 2 the minimiser is found among all supports. For more, the better one of the present support and of
    one by orthogonal matching pursuit is improved by exchanges, and then, with ``n_nodes > 0``, by branch and bound: to
    the minimiser, unless more problems would have to be solved for it. The result for a row of zeros in F depends on
    the products of that row alone. All computations are in float64.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F : ndarray (p, K)
        Written in the first k columns.
    gram : ndarray (k, k) of float64
        Non-negative; k <= K.
    pos : ndarray (p, K)
    most : int
        Largest number of non-zeros of a row, >= 1.
    n_nodes : int
        Largest number of problems in the branch and bound of a row; there is none beyond `MOST_EXACT` columns.
    """
    k, most, unit = len(gram), min(most, len(gram)), 4.0 * np.finfo(F.dtype).eps
    is_searched = most > 2 and n_nodes > 0 and k <= MOST_EXACT
    q, s = k if is_searched else most + 1, k + 2 if is_searched else 1
    for _, begin, until in work_stealing(tasks):
        b, inverse, listed = np.empty(k), np.zeros(k), np.empty(k, np.int64)
        room = Room(
            np.empty(q, np.int64),
            np.empty(q),
            np.empty(q),
            np.empty(q),
            np.empty((q, q)),
            np.empty(q, np.int64),
            np.empty(q, np.int64),
            np.empty(q, np.bool_),
            np.empty((s, s), np.int64),
        )
        row = Row(gram, inverse, b, unit)
        for c in range(k):
            if gram[c, c] > 0.0:
                inverse[c] = 1.0 / np.sqrt(gram[c, c])
        for i in range(begin, until):
            largest, n = 0.0, NONE
            for c in range(k):
                b[c] = pos[i, c]
                largest = max(largest, b[c] * inverse[c])
            for c in range(k):
                b[c] = b[c] / largest if largest > 0.0 else 0.0
                if b[c] * inverse[c] > unit:
                    listed[n] = c
                    n += 1
            if most <= 2:
                size = _best_of_few(row, listed, n, most, room)
            else:
                size = _best_of_more(row, listed, n, most, n_nodes, F[i], room)
            for c in range(k):
                F[i, c] = 0.0
            for a in range(size):
                F[i, room.found[a]] = largest * room.weights[a]
