"""Exact coordinate descent for factors whose rows are linked in a chain, and for shifts whose levels are.

Inputs are not checked.
"""

import numpy as np
from numba import types
from numba.extending import overload

from fastnmf.kernels.jit import helper, kernel, work_stealing

PASSES = 60  # limit of the active-set iterations of one column; about five are usual


def _at(g, j):
    """Return entry j of g, or g itself, which is then the same for all rows."""
    return g[j] if np.ndim(g) else g


@overload(_at, inline="always")
def _typed_at(g, j):
    return (lambda g, j: g[j]) if isinstance(g, types.Array) else (lambda g, j: g)


@helper
def _link(f, weight, bend, links):
    """Write the curvature of every step of f into links: one constant, or those of parabolas above the penalty.

    bend = 0: the penalty of a step d is ``weight d²`` itself. bend > 0: the penalty ``weight sqrt(d² + bend²)`` lies
    below a parabola in d that touches it at the present d and has the half second derivative
    ``weight / (2 sqrt(d² + bend²))``.

    Parameters
    ----------
    f : ndarray (p,) of float64
    weight, bend : float
    links : ndarray (p - 1,) of float64
        Written.
    """
    for j in range(len(links)):
        d = f[j + 1] - f[j]
        links[j] = weight if bend == 0.0 else 0.5 * weight / np.sqrt(d * d + bend * bend)


@helper
def _solve(g, links, b, inside, f, share):
    """Write into f the solution of ``(diag(g) + L) f = b`` in the rows that are inside, and zero in the others.

    L is the Laplacian of the chain with the curvatures `links`. The elimination goes from left to right. ``share[j]``
    is the fraction of the pivot of row j that does not come from the link to the next row. It is computed from sums of
    positive numbers only, so that strong links lose no digits.

    Parameters
    ----------
    g : float, or ndarray (p,) of float64
    links : ndarray (p - 1,) of float64
    b : ndarray (p,) of float64
    inside : ndarray (p,) of bool
    f, share : ndarray (p,) of float64
        Written.
    """
    p = len(f)
    for j in range(p):
        f[j], share[j] = 0.0, 1.0
        if inside[j]:
            own, right = _at(g, j), b[j]
            if j > 0:
                own += links[j - 1] * share[j - 1]
                right += links[j - 1] * f[j - 1]
            whole = own + (links[j] if j < p - 1 else 0.0)
            f[j], share[j] = right / whole, own / whole
    for j in range(p - 2, -1, -1):
        if inside[j]:
            f[j] += (1.0 - share[j]) * f[j + 1]


@helper
def _excess(g, links, b, f, j):
    """Return the half-gradient of entry j.

    Parameters
    ----------
    g : float, or ndarray (p,) of float64
    links : ndarray (p - 1,) of float64
    b, f : ndarray (p,) of float64
    j : int

    Returns
    -------
    float
    """
    found = _at(g, j) * f[j] - b[j]
    if j > 0:
        found += links[j - 1] * (f[j] - f[j - 1])
    if j < len(f) - 1:
        found += links[j] * (f[j] - f[j + 1])
    return found


@helper
def _best_column(g, links, b, f, inside, share):
    """Write the exact minimiser over f >= 0 into f, and return whether it was found.

    This is a primal-dual active-set method: a row joins the set `inside` where the gradient is negative, and leaves it
    where the solution is negative. The matrix has no positive entries off its diagonal; for such matrices the method
    ends at the minimiser.

    Parameters
    ----------
    g : float, or ndarray (p,) of float64
    links : ndarray (p - 1,) of float64
    b : ndarray (p,) of float64
    f : ndarray (p,) of float64
        Start; written.
    inside : ndarray (p,) of bool
        Overwritten.
    share : ndarray (p,) of float64
        Overwritten.

    Returns
    -------
    bool
        Whether the method ended within `PASSES` iterations.
    """
    for j in range(len(f)):
        inside[j] = f[j] > 0.0 or b[j] > 0.0
    for _ in range(PASSES):
        _solve(g, links, b, inside, f, share)
        is_done = True
        for j in range(len(f)):
            if inside[j] and f[j] < 0.0:
                inside[j], is_done = False, False
            elif not inside[j] and _excess(g, links, b, f, j) < 0.0:
                inside[j], is_done = True, False
        if is_done:
            return True
    return False


@kernel
def chain_sweep(tasks, F, gram, pos, linear, weight, bend, order, by_columns):
    """Update the columns ``c = order[0], order[1], ...`` of F, whose rows are linked in a chain.

    Each column c >= 0 minimises the quadratic objective plus the penalty of the chain, all other columns fixed. Where
    gram is zero at [c, c], the other factor has no column c, and a constant > 0 leaves zeros as the minimiser. With
    `by_columns` the whole column is minimised exactly (where bend > 0, with a parabola above the penalty). Otherwise,
    and where `_best_column` finds no minimiser, the entries are minimised one after another, each exactly.

    Parameters
    ----------
    tasks : ndarray (2,) of int64
        Task table with one task, because each column needs the columns before it.
    F : ndarray (p, K)
        Written in the columns of `order`.
    gram : ndarray (k, k) of float64
    pos : ndarray (p, K)
    linear : float
        Constant added to the half-gradient of every entry.
    weight, bend : float
        As for `_link`.
    order : ndarray of int64
        Columns below k.
    by_columns : bool
    """
    p = len(F)
    for _, begin, until in work_stealing(tasks):
        f, b, links, share = np.empty(p), np.empty(p), np.empty(max(p - 1, 0)), np.empty(p)
        inside = np.empty(p, np.bool_)
        for c in order:
            g = gram[c, c]
            if not g > 0.0:  # the data do not need the column; the penalty alone makes it zero
                for j in range(begin, until if linear > 0.0 else begin):
                    F[j, c] = 0.0
                continue
            for j in range(p):
                f[j] = F[j, c]
                b[j] = np.float64(pos[j, c]) - linear + g * f[j]
                for d in range(len(gram)):
                    b[j] -= F[j, d] * gram[d, c]
            _link(f, weight, bend, links)
            if not by_columns or not _best_column(g, links, b, f, inside, share):
                for j in range(p):
                    if by_columns:  # not found: restore the old column
                        f[j] = F[j, c]
                for j in range(p):
                    around = (links[j - 1] if j > 0 else 0.0) + (links[j] if j < p - 1 else 0.0)
                    f[j] = max(0.0, f[j] - _excess(g, links, b, f, j) / (g + around))
            for j in range(begin, until):
                F[j, c] = f[j]


@kernel
def levels_step(tasks, V, gram, ridge, link, pos, neg):
    """Minimise ``<v, V (gram + L)> / 2 + <v, neg - pos>`` over the linked levels of each factor at once, v >= 0.

    L links successive groups. The chains of one column follow one another, each with all other entries fixed; where
    `_best_column` finds no minimiser, a chain stays as it is. Columns are independent.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the columns.
    V : CSR (n_columns, q)
        The shifts, by columns of the data; its `data` are written.
    gram : CSR (q, q) of float64
        Symmetric and without L. Groups that are linked do not meet.
    ridge : float
        Added to the diagonal of `gram`.
    link : ndarray (q,) of float64
        The weight that L gives to the step from each group to the next one; 0 where they are not linked.
    pos, neg : ndarray of the length of V's data
    """
    (start, group, v), (first, other, value) = V, gram
    q = len(link)
    for _, begin, until in work_stealing(tasks):
        slope, diagonal = np.zeros(q), np.zeros(q)
        g, f, b, links, share = np.empty(q), np.empty(q), np.empty(q), np.empty(q), np.empty(q)
        inside = np.empty(q, np.bool_)
        for s in range(q):
            for p in range(first[s], first[s + 1]):
                diagonal[s] += value[p] if other[p] == s else 0.0
        for j in range(begin, until):
            for e in range(start[j], start[j + 1]):
                slope[group[e]] = np.float64(pos[e]) - np.float64(neg[e])
            for e in range(start[j], start[j + 1]):
                for p in range(first[group[e]], first[group[e] + 1] if v[e] != 0 else first[group[e]]):
                    slope[other[p]] -= np.float64(v[e]) * value[p] if other[p] != group[e] else 0.0
            low = start[j]
            while low < start[j + 1]:
                high = low + 1
                while high < start[j + 1] and group[high] == group[high - 1] + 1 and link[group[high - 1]] > 0.0:
                    high += 1
                n = high - low
                for i in range(n):
                    s = group[low + i]
                    f[i], b[i], g[i], links[i] = np.float64(v[low + i]), slope[s], diagonal[s] + ridge, link[s]
                s, t = group[low], group[high - 1]
                g[0] += link[s - 1] if s > 0 else 0.0  # links to levels that the column does not have, which are zero
                g[n - 1] += link[t]
                is_found = n > 1 and _best_column(g[:n], links[: n - 1], b[:n], f[:n], inside[:n], share[:n])
                for i in range(n if is_found else 0):
                    s, step = group[low + i], -np.float64(v[low + i])
                    v[low + i] = f[i]
                    step += np.float64(v[low + i])
                    for p in range(first[s], first[s + 1] if step != 0 else first[s]):
                        slope[other[p]] -= step * value[p] if other[p] != s else 0.0
                low = high
