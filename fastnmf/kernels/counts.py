"""Kernels of negative-binomial counts: passes over the whole model, and logarithms of ratios of gamma functions.

A count x has the mean y and the size t: its variance is ``y + y² / t``. The model of row i of the data is
``y = F Gᵀ + u_i v``, as in `divergence`; the rows of the data are sorted by stratum, so that loops over the rows of one
stratum are simple. Records are those of `fastnmf.kernels.records`. Inputs are not checked.
"""

from typing import NamedTuple

import numpy as np

from fastnmf.kernels.jit import helper, kernel, work_stealing
from fastnmf.kernels.row_intrinsics import dot_rows, gather_row

TILE_ROWS, TILE_COLUMNS = 32, 512  # size of the tiles of a whole model: 128 KB of float64
SMALL_COUNT = 16  # whole counts up to here are sums of as many terms
RAISED = 8  # Stirling's series begin at this size or above: its last terms are then below 1e-14


@helper
def _log1p(x):
    """Return ``log(1 + x)`` of a float64 x >= 0 to about 1e-13 of itself, in arithmetic that vectorises.

    ``1 + x = 2^e m`` with m in [0.707, 1.414), and ``log m = 2 artanh(s)`` with ``s = (m - 1) / (m + 1)``, by its
    series. Below 0.41 e is 0, and x itself takes the place of ``m - 1``, so that no digit cancels.
    """
    bits = np.float64(1.0 + x).view(np.int64)
    exponent = (bits - 0x3FE6A09E667F3BCD) >> 52  # the bits of sqrt(1/2)
    m = np.int64(bits - (exponent << 52)).view(np.float64)
    above = x if exponent == 0 else m - 1.0
    s = above / (above + 2.0)
    q = s * s
    series = 1.0 / 13 + q * (1.0 / 15)
    series = 1.0 / 9 + q * (1.0 / 11 + q * series)
    series = 1.0 / 5 + q * (1.0 / 7 + q * series)
    return exponent * 0.6931471805599453 + 2.0 * s * (1.0 + q * (1.0 / 3 + q * series))


@helper
def _few(t, n):
    """Return the differences of `gamma_rise` for a whole number n of at most `SMALL_COUNT`."""
    product, first, second = 1.0, 0.0, 0.0
    for i in range(n):
        inverse = 1.0 / (t + i)
        product *= t + i
        first += inverse
        second -= inverse * inverse
    return np.log(product), first, second


@helper
def _series(t):
    """Return what Stirling's series adds to ``(t - 1/2) log t - t``, and its first and second derivative.

    Without the constant of the first, and of the derivatives without ``log t - 1 / (2 t)`` and its derivative.
    """
    w = 1.0 / (t * t)
    value = 1 / 12 - w * (1 / 360 - w * (1 / 1260 - w * (1 / 1680 - w * (1 / 1188 - w * (691 / 360360 - w / 156)))))
    first = 1 / 12 - w * (1 / 120 - w * (1 / 252 - w * (1 / 240 - w * (1 / 132 - w * (691 / 32760 - w / 12)))))
    second = 1 / 6 - w * (1 / 30 - w * (1 / 42 - w * (1 / 30 - w * (5 / 66 - w * (691 / 2730 - w * (7 / 6))))))
    return value / t, -first * w, second * w / t


@helper
def gamma_rise(t, x):
    """Return ``log Γ(t + x) - log Γ(t)`` and the same differences of the digamma and of the trigamma function.

    Absolute or relative errors are about 1e-13, whichever is larger.

    Parameters
    ----------
    t : float
        > 0.
    x : float
        >= 0, whole or not.

    Returns
    -------
    value, first, second : float
    """
    n = int(min(x, SMALL_COUNT))
    if n == x:
        return _few(t, n)
    value = first = second = 0.0
    if t < RAISED:  # Γ(t) = Γ(t + 1) / t, eight times at both ends
        product = 1.0
        for i in range(RAISED):
            low, high = 1.0 / (t + i), 1.0 / (t + x + i)
            product *= 1.0 + x * low
            first += x * low * high
            second -= x * low * high * (low + high)
        value, t = -np.log(product), t + RAISED
    end = t + x
    below, above, share = _series(t), _series(end), np.log1p(x / t)
    value += x * np.log(end) + (t - 0.5) * share - x + above[0] - below[0]
    first += share + 0.5 * x / (t * end) + above[1] - below[1]
    second += -x / (t * end) * (1.0 + 0.5 * (1.0 / t + 1.0 / end)) + above[2] - below[2]
    return value, first, second


@kernel
def csr_gamma_rises(tasks, csr, theta, out):
    """Write the sums of `gamma_rise` over the entries of each row.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    csr : CSR
        X (p, q).
    theta : ndarray (p,) of float64
        The size of each row.
    out : ndarray (p, 3) of float64
        Written.
    """
    indptr, _, data = csr
    for _, begin, until in work_stealing(tasks):
        for i in range(begin, until):
            value = first = second = 0.0
            for p in range(indptr[i], indptr[i + 1]):
                found = gamma_rise(theta[i], np.float64(data[p]))
                value, first, second = value + found[0], first + found[1], second + found[2]
            out[i, 0], out[i, 1], out[i, 2] = value, first, second


@kernel
def rows_dispersion(tasks, csr, chosen, first, Y, theta, least, out):
    """Write the log-likelihood of negative-binomial counts and its derivatives, but for their gamma functions.

    Row c of the model Y belongs to row ``first + c`` of X, a column of the data. In the size t of that column, the
    results are the sums of ``-t log(1 + y / t) - x log(1 + t / y)``, of ``(y - x) / (t + y) - log(1 + y / t)``, and of
    ``y / (t (t + y)) + (x - y) / (t + y)²``.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table of `chosen`.
    csr : CSR
        X (p, q).
    chosen : ndarray of int64
        Rows of Y that are read.
    first : int
    Y : ndarray (n, q) of float64
    theta : ndarray (n,) of float64
    least : float
        For x > 0 a model value below it is replaced by it.
    out : ndarray (n, 3) of float64
        Written in the rows `chosen`.
    """
    indptr, indices, data = csr
    for _, begin, until in work_stealing(tasks):
        for place in range(begin, until):
            c = chosen[place]
            y, size, inverse = Y[c], theta[c], 1.0 / theta[c]
            logs = slope = curvature = 0.0
            for i in range(len(y)):
                r = y[i] * inverse
                share, log = r / (1.0 + r), _log1p(r)
                logs += log
                slope += share - log
                curvature += share * share
            value, curvature = -size * logs, curvature * inverse
            for p in range(indptr[first + c], indptr[first + c + 1]):
                x, model = np.float64(data[p]), max(y[indices[p]], least)
                weight = 1.0 / (size + model)
                value -= x * _log1p(size / model)
                slope -= x * weight
                curvature += x * weight * weight
            out[c, 0], out[c, 1], out[c, 2] = value, slope, curvature


class Tile(NamedTuple):
    """A tile of the whole model: the rows first..last of one side, and the columns lo..hi of it.

    Attributes
    ----------
    first, last, lo, hi : int
    is_left : bool
        Whether the rows are those of the data; else they are its columns.
    is_apart : bool
        Whether the bits of a row may not depend on other rows, as those of BLAS do.
    """

    first: int
    last: int
    lo: int
    hi: int
    is_left: bool
    is_apart: bool


@helper
def _end_of_tile(first, last, shifts, base):
    """Return the end of the rows of a tile, and write their shifts to `base`.

    Parameters
    ----------
    first, last : int
        The tile ends at `last` or before.
    shifts : Shifts
    base : ndarray (q,), or of length 0
        Written for rows of the data, all of one stratum; of length 0 for columns of the data, and without shifts.

    Returns
    -------
    int
    """
    if len(base) == 0:
        return last
    group = shifts.stratum_index[first]
    base[:] = 0
    for e in range(shifts.start[group], shifts.start[group + 1]):
        base[shifts.keys[e]] = shifts.v[shifts.entries[e]]
    return min(last, first + np.searchsorted(shifts.stratum_index[first:last], group, side="right"))


@helper
def _dot_tile(tile, F, G, every, Y):
    """Write the products of rows of F with rows of G to a tile.

    Parameters
    ----------
    tile : Tile
    F, G : ndarray (p, K), (q, K)
    every : ndarray of int32
        0, 1, 2, ...
    Y : ndarray (last - first, hi - lo)
        Written.
    """
    other = G[tile.lo : tile.hi]
    if tile.is_apart:
        for row in range(len(Y)):
            dot_rows(0, len(other), every, F, tile.first + row, other, Y[row])
    else:
        np.dot(F[tile.first : tile.last], other.T, Y)


@helper
def _gather_tile(tile, Y, G, every, part, neg):
    """Add the product of a tile Y with rows of G to rows of `neg`.

    Parameters
    ----------
    tile : Tile
    Y : ndarray (last - first, hi - lo)
    G : ndarray (q, K)
    every : ndarray of int32
        0, 1, 2, ...
    part : ndarray (last - first, K)
        Workspace.
    neg : ndarray (p, K)
        Written.
    """
    other = G[tile.lo : tile.hi]
    if tile.is_apart:
        for row in range(len(Y)):
            gather_row(0, len(other), every, Y[row], other, part, row)
    else:
        np.dot(Y, other, part)
    neg[tile.first : tile.last] += part


@helper
def _shift_tile(tile, shifts, ahead, bounds, base, Y):
    """Add the shifts to a tile.

    Parameters
    ----------
    tile : Tile
    shifts : Shifts
    ahead : ndarray of int64
        For columns of the data: first entry of each whose stratum reaches beyond `lo`.
    bounds : ndarray (n_strata + 1,) of int64
        For columns of the data: first row of each stratum.
    base : ndarray (q,)
        For rows of the data: the shifts of their stratum.
    Y : ndarray (last - first, hi - lo)
        Written.
    """
    row_scale, keys, lo, hi = shifts.row_scale, shifts.keys, tile.lo, tile.hi
    has_scale = len(row_scale) > 0
    for row in range(len(Y)):
        y, i = Y[row], tile.first + row
        if tile.is_left:
            shift, scale = base[lo:hi], row_scale[i] if has_scale else Y.dtype.type(1)
            for j in range(len(y)):
                y[j] += shift[j] * scale
            continue
        e = ahead[row]
        while e < shifts.start[i + 1] and bounds[keys[e]] < hi:
            begin, end = max(bounds[keys[e]], lo), min(bounds[keys[e] + 1], hi)
            mine, value = y[begin - lo : end - lo], shifts.v[shifts.entries[e]]
            if has_scale:
                each = row_scale[begin:end]
                for j in range(len(mine)):
                    mine[j] += value * each[j]
            else:
                for j in range(len(mine)):
                    mine[j] += value
            e += 1


@helper
def _find_ends(tile, csr, at, ends):
    """Move `at`, the first non-zero of each row in a tile, to the ends in the tile before, and find the new ends.

    Parameters
    ----------
    tile : Tile
    csr : CSR
    at, ends : ndarray of int64
        Written.
    """
    for row in range(tile.last - tile.first):
        p, end = ends[row], csr.indptr[tile.first + row + 1]
        while p < end and csr.indices[p] < tile.hi:
            p += 1
        at[row], ends[row] = ends[row], p


@helper
def _ratio_row(tile, x, few, y, floor, theta, ratio):
    """Write ``x / y`` at the non-zeros of a row to `ratio`, and return the sum of ``x log(1 + theta / y)``.

    Parameters
    ----------
    tile : Tile
    x : ndarray (n,)
    few : ndarray (n,) of int32
        The column of each.
    y : ndarray (hi - lo,)
        The model of the row.
    floor : float
        Model values below it count as it.
    theta : ndarray of float64
    ratio : ndarray (n,)
        Written.

    Returns
    -------
    float
        0 for columns of the data, where it is not needed.
    """
    total = 0.0
    for p in range(len(few)):
        ratio[p] = max(y[few[p] - tile.lo], floor)
    if tile.is_left:
        for p in range(len(few)):
            total += np.float64(x[p]) * _log1p(theta[few[p]] / ratio[p])
    for p in range(len(few)):
        ratio[p] = x[p] / ratio[p]
    return total


@helper
def _shrink_rows(size, less, a, b):
    """Replace two rows y by ``t / (y + t)``, and return the sum of ``t log(1 + y / t)`` over both.

    The rows share a division and a logarithm.

    Parameters
    ----------
    size, less : ndarray (n,)
        The sizes t of the columns, and 1 / t.
    a, b : ndarray (n,)
        Written.

    Returns
    -------
    float
    """
    total = 0.0
    for j in range(len(a)):
        r, s = a[j] * less[j], b[j] * less[j]
        both = r + s + r * s
        total += size[j] * _log1p(both)
        share = 1 / (1 + both)
        a[j], b[j] = (1 + s) * share, (1 + r) * share
    return total


@helper
def _shrink_columns(less_one, less_two, a, b):
    """Replace two columns y by ``t / (y + t)``.

    Parameters
    ----------
    less_one, less_two : float
        1 / t of each.
    a, b : ndarray (n,)
        Written.
    """
    for j in range(len(a)):
        r, s = a[j] * less_one, b[j] * less_two
        share = 1 / (1 + r + s + r * s)
        a[j], b[j] = (1 + s) * share, (1 + r) * share


@helper
def _shrink_tile(tile, theta, inverse, spare, Y):
    """Replace y by ``theta / (y + theta)``, and return the sum of ``theta log(1 + y / theta)``, 0 for columns of data.

    Parameters
    ----------
    tile : Tile
    theta, inverse : ndarray
        The size of each column of the data, and 1 over it.
    spare : ndarray
        Workspace.
    Y : ndarray (last - first, hi - lo)
        Written.
    """
    total, n = 0.0, len(Y)
    for row in range(0, n, 1 if tile.is_apart else 2):
        spare[:] = 0
        other = row if tile.is_apart else min(row + 1, n - 1)
        b = Y[other] if other > row else spare[: tile.hi - tile.lo]
        if tile.is_left:
            total += _shrink_rows(theta[tile.lo : tile.hi], inverse[tile.lo : tile.hi], Y[row], b)
        else:
            _shrink_columns(inverse[tile.first + row], inverse[tile.first + other], Y[row], b)
    return total


@helper
def _add_data(tile, csr, at, ends, inverse, Y):
    """Multiply ``t / (y + t)`` by ``1 + x / t`` at the non-zeros x of a tile.

    Parameters
    ----------
    tile : Tile
    csr : CSR
    at, ends : ndarray of int64
        The non-zeros of each row.
    inverse : ndarray
        1 / t of each column of the data.
    Y : ndarray (last - first, hi - lo)
        Written.
    """
    for row in range(len(Y)):
        x, few = csr.data[at[row] : ends[row]], csr.indices[at[row] : ends[row]]
        for p in range(len(few)):
            Y[row, few[p] - tile.lo] *= 1 + x[p] * inverse[few[p] if tile.is_left else tile.first + row]


@helper
def _sum_by_stratum(tile, few, ratio, row, ahead, shifts, bounds, Y, sums):
    """Add z and q of a column of the data, times the row scales, to the sums of its entries.

    Parameters
    ----------
    tile : Tile
    few, ratio : ndarray (n,)
        The rows of its non-zeros, ascending, and their z; of length 0: q is added.
    row : int
        The row of the tile.
    ahead : ndarray of int64
        First entry of each whose stratum reaches beyond `lo`; where q is added, it is moved beyond `hi`.
    shifts : Shifts
    bounds : ndarray (n_strata + 1,) of int64
        First row of each stratum.
    Y : ndarray (last - first, hi - lo)
        q.
    sums : ndarray (2, S) of float64
        Written.
    """
    keys, entries, row_scale, e = shifts.keys, shifts.entries, shifts.row_scale, ahead[row]
    for p in range(len(few)):
        while few[p] >= bounds[keys[e] + 1]:
            e += 1
        sums[0, entries[e]] += np.float64(ratio[p] * row_scale[few[p]] if len(row_scale) > 0 else ratio[p])
    while len(few) == 0 and e < shifts.start[tile.first + row + 1] and bounds[keys[e]] < tile.hi:
        total, begin, end = 0.0, max(bounds[keys[e]], tile.lo), min(bounds[keys[e] + 1], tile.hi)
        mine = Y[row, begin - tile.lo : end - tile.lo]
        if len(row_scale) > 0:
            scale = row_scale[begin:end]
            for j in range(len(mine)):
                total += mine[j] * scale[j]
        else:
            for j in range(len(mine)):
                total += mine[j]
        sums[1, entries[e]] += total
        if bounds[keys[e] + 1] > tile.hi:
            break
        e += 1
        ahead[row] = e


@kernel
def rows_negative_binomial(tasks, csr, F, G, shifts, theta, least, out, sums):
    """Write Z G and Q G with ``z = x / y`` and ``q = (x + theta) / (y + theta)`` over all entries.

    The model is ``y = F Gᵀ + u v``. The cost is O(p q K) time and O(q) memory per task: the model is computed one tile
    at a time. The products of a tile are those of BLAS, which `threads` keeps on one thread: they took two thirds of
    the time of loops over its rows. Where each row has a limit of its own, its results do not depend, to the last bit,
    on other rows.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    csr : CSR
        X (p, q), the indices of each row ascending.
    F, G : ndarray (p, K), (q, K)
    shifts : Shifts
        The rows of the data are sorted by stratum, and so are the entries of a column.
    theta : ndarray of float64
        The size of each column of the data: (q,) for rows of the data, (p,) for columns of the data.
    least : ndarray (1,) or (p,) of float64
        For z a model value below it, or below that of its row, is replaced by it; q needs no limit.
    out : ndarray (2, p, K)
        Written: Z G and Q G.
    sums : ndarray (1, T) or (2, S) of float64
        For rows of the data, the sums of ``theta log(1 + y / theta) + x log(1 + theta / y)`` of each task are written.
        For columns of the data, the sums of ``z u`` and of ``q u`` over the rows that meet each entry of the shifts are
        added.
    """
    is_left, has_shifts, is_each, K = len(sums) == 1, len(shifts.stratum_index) > 0, len(least) > 1, F.shape[1]
    of_columns, pos, neg = has_shifts and not is_left, out[0], out[1]
    for t, begin, until in work_stealing(tasks):
        room, spare, total = np.zeros(TILE_ROWS * TILE_COLUMNS, F.dtype), np.zeros(TILE_COLUMNS, F.dtype), 0.0
        z, part = np.zeros(TILE_COLUMNS, F.dtype), np.zeros((TILE_ROWS, K), F.dtype)
        at, ends, ahead = np.zeros(TILE_ROWS, np.int64), np.zeros(TILE_ROWS, np.int64), np.zeros(TILE_ROWS, np.int64)
        inverse, base = (1.0 / theta).astype(F.dtype), np.zeros(len(G) if has_shifts and is_left else 0, F.dtype)
        bounds = np.searchsorted(shifts.stratum_index, np.arange(shifts.n_strata + 1 if of_columns else 0))
        first, every = begin, np.arange(TILE_COLUMNS).astype(np.int32)
        while first < until:
            last = _end_of_tile(first, min(first + TILE_ROWS, until), shifts, base)
            out[:, first:last] = 0
            ends[: last - first] = csr.indptr[first:last]
            if of_columns:
                ahead[: last - first] = shifts.start[first:last]
            for lo in range(0, len(G), TILE_COLUMNS):
                tile = Tile(first, last, lo, min(lo + TILE_COLUMNS, len(G)), is_left, is_each)
                Y = room[: (last - first) * (tile.hi - lo)].reshape((last - first, tile.hi - lo))
                _dot_tile(tile, F, G, every, Y)
                if has_shifts:
                    _shift_tile(tile, shifts, ahead, bounds, base, Y)
                _find_ends(tile, csr, at, ends)
                for i in range(first, last):
                    p, done, floor = at[i - first], ends[i - first], F.dtype.type(least[i if is_each else 0])
                    few, ratio = csr.indices[p:done], z[: done - p]
                    total += _ratio_row(tile, csr.data[p:done], few, Y[i - first], floor, theta, ratio)
                    gather_row(0, len(few), few, ratio, G, part, 0)
                    pos[i] += part[0]
                    if of_columns and len(few) > 0:
                        _sum_by_stratum(tile, few, ratio, i - first, ahead, shifts, bounds, Y, sums)
                total += _shrink_tile(tile, theta, inverse, spare, Y)
                _add_data(tile, csr, at, ends, inverse, Y)
                for row in range(last - first if of_columns else 0):
                    _sum_by_stratum(tile, csr.indices[:0], z[:0], row, ahead, shifts, bounds, Y, sums)
                _gather_tile(tile, Y, G, every, part[: last - first], neg)
            first = last
        if is_left:
            sums[0, t] = total
