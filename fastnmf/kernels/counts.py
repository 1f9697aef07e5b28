"""Kernels of negative-binomial counts: passes over the whole model, and logarithms of ratios of gamma functions.

A count x has the mean y and the size t: its variance is ``y + y² / t``. The model of row i of the data is
``y = F Gᵀ + u_i v``, as in `divergence`; the rows of the data are sorted by stratum, so that loops over the rows of one
stratum are simple. Records are those of `fastnmf.kernels.records`. Inputs are not checked.
"""

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


@helper
def _add_to_column(lo, hi, e, i, shifts, bounds, y):
    """Add to y[: hi - lo] the shifts that column i of the data has in the rows lo..hi.

    Parameters
    ----------
    lo, hi : int
    e : int
        First entry of the column whose stratum reaches beyond `lo`.
    i : int
    shifts : Shifts
    bounds : ndarray (n_strata + 1,) of int64
        First row of each stratum.
    y : ndarray
        Written.
    """
    v, start, keys, entries, row_scale = shifts.v, shifts.start, shifts.keys, shifts.entries, shifts.row_scale
    while e < start[i + 1] and bounds[keys[e]] < hi:
        shift, begin, end = v[entries[e]], max(bounds[keys[e]], lo), min(bounds[keys[e] + 1], hi)
        mine = y[begin - lo : end - lo]
        if len(row_scale) > 0:
            scale = row_scale[begin:end]
            for j in range(len(mine)):
                mine[j] += shift * scale[j]
        else:
            for j in range(len(mine)):
                mine[j] += shift
        e += 1


@helper
def _add_few(few, z, e, shifts, bounds, sums):
    """Add the numbers z of ascending rows, times the row scales, to the sums of the entries of a column.

    Parameters
    ----------
    few, z : ndarray (n,)
        The rows, and their z.
    e : int
        First entry of the column that a row may belong to.
    shifts : Shifts
    bounds : ndarray (n_strata + 1,) of int64
        First row of each stratum.
    sums : ndarray (S,) of float64
        Written.
    """
    keys, entries, row_scale = shifts.keys, shifts.entries, shifts.row_scale
    for p in range(len(few)):
        while few[p] >= bounds[keys[e] + 1]:
            e += 1
        sums[entries[e]] += np.float64(z[p] * row_scale[few[p]] if len(row_scale) > 0 else z[p])


@helper
def _add_ranges(lo, hi, e, end, shifts, bounds, q, sums):
    """Add q over the rows lo..hi, times the row scales, to the sums of the entries of a column.

    Parameters
    ----------
    lo, hi : int
    e, end : int
        First entry of the column whose stratum reaches beyond `lo`, and end of its entries.
    shifts : Shifts
    bounds : ndarray (n_strata + 1,) of int64
        First row of each stratum.
    q : ndarray
        Its entry j belongs to row ``lo + j``.
    sums : ndarray (S,) of float64
        Written.

    Returns
    -------
    int
        First entry whose stratum reaches beyond `hi`.
    """
    keys, entries, row_scale = shifts.keys, shifts.entries, shifts.row_scale
    while e < end and bounds[keys[e]] < hi:
        total, begin, last = 0.0, max(bounds[keys[e]], lo), min(bounds[keys[e] + 1], hi)
        mine = q[begin - lo : last - lo]
        if len(row_scale) > 0:
            scale = row_scale[begin:last]
            for j in range(len(mine)):
                total += mine[j] * scale[j]
        else:
            for j in range(len(mine)):
                total += mine[j]
        sums[entries[e]] += total
        if bounds[keys[e] + 1] > hi:
            break
        e += 1
    return e


@helper
def _dot_tile(first, last, lo, hi, F, G, every, is_apart, Y):
    """Write the products of the rows first..last of F with the rows lo..hi of G to Y.

    Parameters
    ----------
    first, last, lo, hi : int
    F, G : ndarray (p, K), (q, K)
    every : ndarray of int32
        0, 1, 2, ...
    is_apart : bool
        Whether the bits of a row may not depend on the other rows, as those of BLAS do.
    Y : ndarray (last - first, hi - lo)
        Written.
    """
    if is_apart:
        for i in range(first, last):
            dot_rows(0, hi - lo, every, F, i, G[lo:hi], Y[i - first])
    else:
        np.dot(F[first:last], G[lo:hi].T, Y)


@helper
def _gather_tile(lo, hi, Y, G, every, is_apart, out):
    """Write the product of a tile Y (n, hi - lo) with the rows lo..hi of G to `out` (n, K); the rest as `_dot_tile`."""
    if is_apart:
        for row in range(len(Y)):
            gather_row(0, hi - lo, every, Y[row], G[lo:hi], out, row)
    else:
        np.dot(Y, G[lo:hi], out)


@helper
def _add_shift_row(lo, hi, scale, base, y):
    """Add a multiple of base[lo:hi] to y."""
    shift = base[lo:hi]
    for j in range(len(y)):
        y[j] += shift[j] * scale


@helper
def _ratio_sum(x, few, lo, y, floor, theta, ratio, is_left):
    """Write ``x / y`` to `ratio`, and return the sum of ``x log(1 + theta / y)``.

    Parameters
    ----------
    x : ndarray (n,)
    few : ndarray (n,) of int32
        The column of each.
    lo : int
    y : ndarray
        Model values from column lo on.
    floor : float
        Model values below it count as it.
    theta : ndarray of float64
    ratio : ndarray (n,)
        Written.
    is_left : bool
        Whether the rows are those of the data; else the sum, which is not needed, is 0.

    Returns
    -------
    float
    """
    total = 0.0
    for p in range(len(few)):
        ratio[p] = max(y[few[p] - lo], floor)
    if is_left:
        for p in range(len(few)):
            total += np.float64(x[p]) * _log1p(theta[few[p]] / ratio[p])
    for p in range(len(few)):
        ratio[p] = x[p] / ratio[p]
    return total


@helper
def _add_data(x, few, lo, less, y):
    """Multiply ``t / (y + t)`` by ``1 + x / t`` at some columns; `less` is 1 / t, for each column or a single one."""
    is_one = len(less) == 1
    for p in range(len(few)):
        y[few[p] - lo] *= 1 + x[p] * less[0 if is_one else few[p]]


@helper
def _end_of(p, end, hi, indices):
    """Return the first of the entries p..end whose index is hi or above."""
    while p < end and indices[p] < hi:
        p += 1
    return p


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
    """Replace two columns y by ``t / (y + t)``; `less_one` and `less_two` are their 1 / t."""
    for j in range(len(a)):
        r, s = a[j] * less_one, b[j] * less_two
        share = 1 / (1 + r + s + r * s)
        a[j], b[j] = (1 + s) * share, (1 + r) * share


@helper
def _start_stratum(first, last, shifts, base):
    """Write the shifts of the stratum of row `first` to `base`, and return the end of its rows, at most `last`."""
    group = shifts.stratum_index[first]
    base[:] = 0
    for e in range(shifts.start[group], shifts.start[group + 1]):
        base[shifts.keys[e]] = shifts.v[shifts.entries[e]]
    return min(last, first + np.searchsorted(shifts.stratum_index[first:last], group, side="right"))


@kernel
def rows_negative_binomial(tasks, csr, F, G, shifts, theta, least, pos, neg, parts, sums):
    """Write ``pos = Z G`` and ``neg = Q G`` with ``z = x / y`` and ``q = (x + theta) / (y + theta)`` over all entries.

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
        The rows of the data are sorted by stratum.
    theta : ndarray of float64
        The size of each column of the data: (q,) for rows of the data, (p,) for columns of the data.
    least : ndarray (1,) or (p,) of float64
        For z a model value below it, or below that of its row, is replaced by it; q needs no limit.
    pos, neg : ndarray (p, K)
        Written.
    parts : ndarray (T,) of float64
        Written for rows of the data: the sums of ``theta log(1 + y / theta) + x log(1 + theta / y)``. Length 0 for
        columns of the data.
    sums : ndarray (2, S) of float64
        For columns of the data, the sums of ``z u`` and of ``q u`` over the rows that meet each entry of the shifts are
        added to it. S is 0 for rows of the data.
    """
    (indptr, indices, data), stratum_index, row_scale = csr, shifts.stratum_index, shifts.row_scale
    is_left, has_shifts, is_each, K = len(parts) > 0, len(stratum_index) > 0, len(least) > 1, F.shape[1]
    of_rows, of_columns = has_shifts and is_left, has_shifts and not is_left
    for t, begin, until in work_stealing(tasks):
        room, spare, total = np.zeros(TILE_ROWS * TILE_COLUMNS, F.dtype), np.zeros(TILE_COLUMNS, F.dtype), 0.0
        z, part = np.zeros(TILE_COLUMNS, F.dtype), np.zeros((TILE_ROWS, K), F.dtype)
        every = np.arange(TILE_COLUMNS).astype(np.int32)
        at, ahead = np.zeros(TILE_ROWS, np.int64), np.zeros(TILE_ROWS, np.int64)
        inverse, base = (1.0 / theta).astype(F.dtype), np.zeros(len(G) if of_rows else 0, F.dtype)
        bounds = np.searchsorted(stratum_index, np.arange(shifts.n_strata + 1 if of_columns else 0))
        first, together = begin, 1 if is_each else 2
        while first < until:
            last = min(first + TILE_ROWS, until)
            if of_rows:
                last = _start_stratum(first, last, shifts, base)
            pos[first:last] = 0
            neg[first:last] = 0
            at[: last - first] = indptr[first:last]
            if of_columns:
                ahead[: last - first] = shifts.start[first:last]
            for lo in range(0, len(G), TILE_COLUMNS):
                hi = min(lo + TILE_COLUMNS, len(G))
                Y = room[: (last - first) * (hi - lo)].reshape((last - first, hi - lo))
                _dot_tile(first, last, lo, hi, F, G, every, is_each, Y)
                for i in range(first, last):
                    y, p, floor = Y[i - first], at[i - first], F.dtype.type(least[i if is_each else 0])
                    if of_rows:
                        _add_shift_row(lo, hi, row_scale[i] if len(row_scale) > 0 else F.dtype.type(1), base, y)
                    elif of_columns:
                        _add_to_column(lo, hi, ahead[i - first], i, shifts, bounds, y)
                    done = _end_of(p, indptr[i + 1], hi, indices)
                    few, ratio = indices[p:done], z[: done - p]
                    total += _ratio_sum(data[p:done], few, lo, y, floor, theta, ratio, is_left)
                    gather_row(0, len(few), few, ratio, G, part, 0)
                    pos[i] += part[0]
                    if of_columns:
                        _add_few(few, ratio, ahead[i - first], shifts, bounds, sums[0])
                for one in range(0, last - first, together):
                    two = min(one + 1, last - first - 1)
                    spare[:] = 0
                    b = Y[two] if one < two < one + together else spare[: hi - lo]
                    if is_left:
                        total += _shrink_rows(theta[lo:hi], inverse[lo:hi], Y[one], b)
                    else:
                        _shrink_columns(inverse[first + one], inverse[first + two], Y[one], b)
                for i in range(first, last):
                    y, p = Y[i - first], at[i - first]
                    at[i - first] = done = _end_of(p, indptr[i + 1], hi, indices)
                    _add_data(data[p:done], indices[p:done], lo, inverse if is_left else inverse[i : i + 1], y)
                    if of_columns:
                        e, end = ahead[i - first], shifts.start[i + 1]
                        ahead[i - first] = _add_ranges(lo, hi, e, end, shifts, bounds, y, sums[1])
                _gather_tile(lo, hi, Y, G, every, is_each, part[: last - first])
                neg[first:last] += part[: last - first]
            first = last
        if is_left:
            parts[t] = total
