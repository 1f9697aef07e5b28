"""Nearest points of a cone of coordinates whose combinations of given columns have no negative entry.

For Q (m, r) with orthonormal columns, the cone is ``{g: Q g >= 0}``. Its point nearest to f is ``g = f + Qᵀ y`` with
y >= 0, where y minimises ``||f + Qᵀ y||``: non-negative least squares with as many unknowns as Q has rows, of which at
most r are positive (Lawson and Hanson 1974, chapter 23: least distance programming). Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import helper, kernel, work_stealing

ROUNDING = 1e-14  # negative entries and parts of rows below this share are rounding


@helper
def _append(Q, j, basis, lower, n):
    """Add row j of Q to an orthonormal basis of n rows; return whether it is independent of them.

    Parameters
    ----------
    Q : ndarray (m, r) of float64
    j : int
    basis : ndarray (r, r) of float64
        Row n is written.
    lower : ndarray (r, r) of float64
        Row n is written: the row of Q in the basis.
    n : int
        Below r.

    Returns
    -------
    bool
    """
    r = Q.shape[1]
    whole = 0.0
    for c in range(r):
        basis[n, c], whole = Q[j, c], whole + Q[j, c] * Q[j, c]
    lower[n] = 0.0
    for _ in range(2):  # a second time, since rounding leaves parts of the others
        for a in range(n):
            part = 0.0
            for c in range(r):
                part += basis[n, c] * basis[a, c]
            lower[n, a] += part
            for c in range(r):
                basis[n, c] -= part * basis[a, c]
    left = 0.0
    for c in range(r):
        left += basis[n, c] * basis[n, c]
    if not left > 1e-20 * whole:
        return False
    lower[n, n] = np.sqrt(left)
    for c in range(r):
        basis[n, c] /= lower[n, n]
    return True


@helper
def _multipliers(basis, lower, n, f, z):
    """Write into z the y for which ``f + Qᵀ y`` is orthogonal to the n rows of a basis: ``lowerᵀ z = -basis f``.

    Parameters
    ----------
    basis, lower : ndarray (r, r) of float64
    n : int
    f : ndarray (r,) of float64
    z : ndarray (r,) of float64
        Written in its first n entries.
    """
    for a in range(n - 1, -1, -1):
        z[a] = 0.0
        for c in range(len(f)):
            z[a] -= basis[a, c] * f[c]
        for b in range(a + 1, n):
            z[a] -= lower[b, a] * z[b]
        z[a] /= lower[a, a]


@helper
def _lowest(Q, f, basis, n, state, g):
    """Write the point g that is orthogonal to the basis and nearest to f; return the row of Q that is most below zero.

    Parameters
    ----------
    Q : ndarray (m, r) of float64
    f : ndarray (r,) of float64
    basis : ndarray (r, r) of float64
    n : int
        Rows of the basis.
    state : ndarray (m,) of int8
        Rows of which it is not 0 are left out.
    g : ndarray (r,) of float64
        Written.

    Returns
    -------
    int
        -1 where there is none.
    """
    r = len(f)
    g[:] = f
    for _ in range(2):
        for a in range(n):
            part = 0.0
            for c in range(r):
                part += basis[a, c] * g[c]
            for c in range(r):
                g[c] -= part * basis[a, c]
    size = 0.0
    for c in range(r):
        size += f[c] * f[c]
    found, least = -1, -ROUNDING * np.sqrt(size)
    for j in range(len(Q)):
        if state[j] == 0:
            entry = 0.0
            for c in range(r):
                entry += Q[j, c] * g[c]
            if entry < least:
                found, least = j, entry
    return found


@helper
def _nearest(Q, f, g, basis, lower, y, z, rows, state):
    """Write the point of the cone that is nearest to f into g; return whether it was found.

    Parameters
    ----------
    Q : ndarray (m, r) of float64
    f, g : ndarray (r,) of float64
        g is written.
    basis, lower : ndarray (r, r) of float64
    y, z : ndarray (r,) of float64
    rows : ndarray (r,) of int64
    state : ndarray (m,) of int8
        These six are overwritten.

    Returns
    -------
    bool
    """
    n, r = 0, len(f)
    state[:] = 0
    for _ in range(3 * len(Q) + 10):  # of least squares; usually as many as rows become active
        j = _lowest(Q, f, basis, n, state, g)
        if j < 0:
            return True
        if n == r or not _append(Q, j, basis, lower, n):
            state[j] = 2  # dependent on the active rows: below zero by rounding only
            continue
        rows[n], y[n], state[j], n = j, 0.0, 1, n + 1
        while n > 0:
            _multipliers(basis, lower, n, f, z)
            share = 1.0
            for a in range(n):
                if z[a] <= 0.0:
                    share = min(share, y[a] / (y[a] - z[a]) if y[a] > z[a] else 0.0)
            kept = 0
            for a in range(n):
                moved = y[a] + share * (z[a] - y[a])
                if z[a] <= 0.0 and moved <= ROUNDING * (y[a] - z[a]):
                    state[rows[a]] = 2 if rows[a] == j and y[a] == 0.0 else 0
                else:
                    rows[kept], y[kept], kept = rows[a], moved, kept + 1
            if kept == n:
                break
            for b in range(len(Q)):  # what depended on the rows that leave need not do so any more
                state[b] = 0 if state[b] == 2 and (b != j or share > 0.0) else state[b]
            n = 0
            for a in range(kept):
                if _append(Q, rows[a], basis, lower, n):
                    rows[n], y[n], n = rows[a], y[a], n + 1
                else:
                    state[rows[a]] = 2
    return False


@kernel
def cone_sweep(tasks, Q, F, gram, pos, order):
    """Set the columns ``c = order[0], order[1], ...`` of F to their best points of the cone ``{g: Q g >= 0}``.

    The objective is ``trace(F gram Fᵀ) / 2 - <F, pos>``. A column stays where its curvature is zero.

    Parameters
    ----------
    tasks : ndarray (2,) of int64
        Task table with one task, because each column needs the columns before it.
    Q : ndarray (m, r) of float64
        Its columns are orthonormal.
    F : ndarray (r, K)
        Written in the columns of `order`.
    gram : ndarray (k, k) of float64
    pos : ndarray (r, k) of float64
    order : ndarray of int64
    """
    r = Q.shape[1]
    for _, _, _ in work_stealing(tasks):
        basis, lower, state = np.empty((r, r)), np.empty((r, r)), np.empty(len(Q), np.int8)
        f, g, y, z, rows = np.empty(r), np.empty(r), np.empty(r), np.empty(r), np.empty(r, np.int64)
        for c in order:
            if gram[c, c] > np.finfo(np.float64).tiny:
                for a in range(r):
                    f[a] = pos[a, c]
                    for d in range(len(gram)):
                        if d != c:
                            f[a] -= F[a, d] * gram[d, c]
                    f[a] /= gram[c, c]
                if _nearest(Q, f, g, basis, lower, y, z, rows, state):
                    for a in range(r):
                        F[a, c] = g[a]
