"""Kernels of the Kullback-Leibler, beta and negative-binomial divergences, over the non-zeros and the whole model.

The model of row i of the data is ``y = F Gᵀ + u_i v``: u is the row scale (`row_scale`, 1 where it is empty), v the
shift of the row's stratum. Shifts are stored as the entries v (S,) of a pattern. Records are those of
`fastnmf.kernels.records`. Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import helper, kernel, work_stealing
from fastnmf.kernels.llvm_builder import BLOCK_BYTES, MAX_BLOCKS
from fastnmf.kernels.row_intrinsics import dot_rows, gather_row, ratio_row

TILE_ROWS, TILE_COLUMNS = 32, 512  # size of the tiles of a whole model; the rows of G for one tile stay in the cache
NARROW = 512  # columns of a tile whose products are those of BLAS


@helper
def _log(x):
    """Return the natural logarithm of a positive normal float64 to about 1e-13, in arithmetic that vectorises.

    ``x = 2^e m`` with m in [0.707, 1.414), and ``log m = 2 artanh(s)`` with ``s = (m - 1) / (m + 1)``, by its series.
    One call of the library's logarithm for each non-zero took a third of a whole iteration.
    """
    bits = np.float64(x).view(np.int64)
    shifted = bits - 0x3FE6A09E667F3BCD  # the bits of sqrt(1/2)
    exponent = shifted >> 52
    m = np.int64(bits - (exponent << 52)).view(np.float64)
    s = (m - 1.0) / (m + 1.0)
    q = s * s
    series = 1.0 / 13 + q * (1.0 / 15)
    series = 1.0 / 9 + q * (1.0 / 11 + q * series)
    series = 1.0 / 5 + q * (1.0 / 7 + q * series)
    return exponent * 0.6931471805599453 + 2.0 * s * (1.0 + q * (1.0 / 3 + q * series))


@helper
def _log_single(x):
    """Return the natural logarithm of a positive normal float32 to about 2e-7; see `_log`."""
    bits = np.float32(x).view(np.int32)
    exponent = np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23)
    m = np.int32(bits - (exponent << np.int32(23))).view(np.float32)
    s = (m - np.float32(1)) / (m + np.float32(1))
    q = s * s
    series = np.float32(1 / 3) + q * (np.float32(1 / 5) + q * np.float32(1 / 7))
    return np.float32(exponent) * np.float32(0.6931471805599453) + np.float32(2) * s * (np.float32(1) + q * series)


@helper
def _log1p(x):
    """Return ``log(1 + x)`` of a float64 x >= 0 to about 1e-13 of itself, in arithmetic that vectorises; see `_log`.

    Below 0.41 the exponent of ``1 + x`` is 0, and x itself is the ``m - 1`` of the series, so no digit cancels.
    """
    bits = np.float64(1.0 + x).view(np.int64)
    exponent = (bits - 0x3FE6A09E667F3BCD) >> 52
    m = np.int64(bits - (exponent << 52)).view(np.float64)
    above = x if exponent == 0 else m - 1.0
    s = above / (above + 2.0)
    q = s * s
    series = 1.0 / 13 + q * (1.0 / 15)
    series = 1.0 / 9 + q * (1.0 / 11 + q * series)
    series = 1.0 / 5 + q * (1.0 / 7 + q * series)
    return exponent * 0.6931471805599453 + 2.0 * s * (1.0 + q * (1.0 / 3 + q * series))


@helper
def _power(y, exponent):
    """Return ``y ** exponent`` of a float64 >= 0, without a logarithm for the exponents of common divergences."""
    if exponent == 0.0:
        return 1.0
    if exponent == 1.0:
        return y
    if exponent == 0.5:
        return np.sqrt(y)
    if exponent == -0.5:
        return 1.0 / np.sqrt(y)
    if exponent == -1.0:
        return 1.0 / y
    if exponent == -1.5:
        return 1.0 / (y * np.sqrt(y))
    if exponent == -2.0:
        return 1.0 / (y * y)
    if exponent == 2.0:
        return y * y
    return y**exponent


@helper
def _raise_row(lo, hi, least, exponent, y):
    """Replace y[lo:hi] by ``max(y, least) ** exponent``, and return the sum of ``y ** (exponent + 1)``.

    Each common exponent has a simple loop of its own, which the compiler turns into vector instructions. The sum uses y
    without the limit `least` where that is defined, that is, for exponents above -1.

    Parameters
    ----------
    lo, hi : int
    least, exponent : float
    y : ndarray of float32 or float64
        Written.

    Returns
    -------
    float
    """
    total, floor = 0.0, y.dtype.type(least)
    if least > 0.0 and exponent > -1.0:
        for p in range(lo, hi):
            if y[p] < floor:
                total += _power(np.float64(y[p]), exponent + 1.0) - _power(np.float64(floor), exponent + 1.0)
    if exponent == 0.5:
        for p in range(lo, hi):
            root = np.sqrt(max(y[p], floor))
            total += np.float64(root * root * root)
            y[p] = root
    elif exponent == -0.5:
        for p in range(lo, hi):
            root = np.sqrt(max(y[p], floor))
            total += np.float64(root)
            y[p] = y.dtype.type(1) / root
    elif exponent == -1.0:
        for p in range(lo, hi):
            y[p] = y.dtype.type(1) / max(y[p], floor)
        total += hi - lo
    elif exponent == 2.0:
        for p in range(lo, hi):
            total += np.float64(y[p] * y[p] * y[p])
            y[p] = y[p] * y[p]
    else:
        for p in range(lo, hi):
            safe = max(np.float64(y[p]), np.float64(floor))
            power = _power(safe, exponent)
            total += safe * power
            y[p] = power
    return total


@helper
def _add_shifts(lo, hi, i, indices, model, is_left, y):
    """Add to each model value of the non-zeros lo..hi of row i the shift that the non-zero meets.

    Parameters
    ----------
    lo, hi, i : int
    indices : ndarray (nnz,) of int32
    model : ShiftedProduct
    is_left : bool
        Whether the rows are those of the data, so that the row scale is that of row i; else it is that of each index.
    y : ndarray (nnz,)
        Written.
    """
    v, places, row_scale = model.v, model.places, model.row_scale
    if len(row_scale) == 0:
        for p in range(lo, hi):
            y[p] += v[np.uint32(places[p])]
    elif is_left:
        for p in range(lo, hi):
            y[p] += v[np.uint32(places[p])] * row_scale[i]
    else:
        for p in range(lo, hi):
            y[p] += v[np.uint32(places[p])] * row_scale[indices[p]]


@helper
def _add_by_entry(lo, hi, indices, ratio, model, sums):
    """Add the ratios of the non-zeros lo..hi of a column, times the row scales, to the sums of their shifts.

    Parameters
    ----------
    lo, hi : int
    indices : ndarray (nnz,) of int32
    ratio : ndarray (nnz,)
    model : ShiftedProduct
    sums : ndarray (S,) of float64
        Written.
    """
    places, row_scale = model.places, model.row_scale
    if len(row_scale) == 0:
        for p in range(lo, hi):
            sums[places[p]] += np.float64(ratio[p])
    else:
        for p in range(lo, hi):
            sums[places[p]] += np.float64(ratio[p]) * row_scale[indices[p]]


@kernel
def csr_ratio_matmul(tasks, csr, F, G, least, ratio, out, parts):
    """Write ``out = Z G`` with ``z = x / (F Gᵀ)`` on the non-zeros x of X, and the sums of ``x log z``.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    csr : CSR
        X (p, q).
    F, G : ndarray (p, K), (q, K), dtype of the data
    least : ndarray (1,) or (p,) of float64
        A model value below it, or below that of its row, is replaced by it.
    ratio : ndarray (nnz,), dtype of the data
        Written: z.
    out : ndarray (p, K), dtype of the data
        Written.
    parts : ndarray (T,) of float64
        Written: the sums of each task. Length 0 where they are not needed; they cost one logarithm for each non-zero.
    """
    (indptr, indices, data), is_each = csr, len(least) > 1
    widest = MAX_BLOCKS * (BLOCK_BYTES // F.itemsize)
    for t, begin, until in work_stealing(tasks):
        for i in range(begin, until):
            lo, hi, floor = indptr[i], indptr[i + 1], F.dtype.type(least[i if is_each else 0])
            if F.shape[1] <= widest:
                ratio_row(lo, hi, indices, data, F, i, G, floor, None, None, ratio, out, None)
            else:
                dot_rows(lo, hi, indices, F, i, G, ratio)
                for p in range(lo, hi):
                    ratio[p] = data[p] / max(ratio[p], floor)
                gather_row(lo, hi, indices, ratio, G, out, i)
        # One long loop over all rows of the task, in place of one for each row. Slices in this function vectorise; a
        # helper function does not.
        if len(parts) > 0:
            lo, hi, total = indptr[begin], indptr[until], 0.0
            x, z = data[lo:hi], ratio[lo:hi]
            if F.itemsize == 4:
                for p in range(len(x)):
                    total += np.float64(x[p]) * np.float64(_log_single(z[p]))
            else:
                for p in range(len(x)):
                    total += np.float64(x[p]) * _log(z[p])
            parts[t] = total


@kernel
def csr_shifted_ratio(tasks, csr, model, least, ratio, out, parts, sums):
    """Compute what `csr_ratio_matmul` computes for a model with shifts, ``z = x / (F Gᵀ + u v)``.

    The rows of X are either the rows of the data or the columns of the data. For rows of the data, `parts` has entries
    and `sums` has none; for columns of the data, `sums` has entries and `parts` has none.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    csr : CSR
        X (p, q).
    model : ShiftedProduct
    least : ndarray (1,) or (p,) of float64
        As for `csr_ratio_matmul`.
    ratio : ndarray (nnz,)
        Written: z.
    out : ndarray (p, K)
        Written: ``Z G``.
    parts : ndarray (T,) of float64
        Written: the sums of ``x log z`` of each task.
    sums : ndarray (S,) of float64
        The sums of ``z u`` over the non-zeros that meet each entry of the shifts are added to it.
    """
    (indptr, indices, data), (F, G, v, places, row_scale) = csr, model
    is_left, is_each = len(parts) > 0, len(least) > 1
    is_simple = len(row_scale) == 0 and F.shape[1] <= MAX_BLOCKS * (BLOCK_BYTES // F.itemsize)
    for t, begin, until in work_stealing(tasks):
        if is_simple:
            for i in range(begin, until):
                lo, hi, floor = indptr[i], indptr[i + 1], F.dtype.type(least[i if is_each else 0])
                ratio_row(lo, hi, indices, data, F, i, G, floor, v, places, ratio, out, sums)
        else:
            for i in range(begin, until):
                lo, hi, floor = indptr[i], indptr[i + 1], F.dtype.type(least[i if is_each else 0])
                dot_rows(lo, hi, indices, F, i, G, ratio)
                _add_shifts(lo, hi, i, indices, model, is_left, ratio)
                for p in range(lo, hi):
                    ratio[p] = data[p] / max(ratio[p], floor)
                gather_row(lo, hi, indices, ratio, G, out, i)
                if not is_left:
                    _add_by_entry(lo, hi, indices, ratio, model, sums)
        if is_left:  # see `csr_ratio_matmul` for the form of these loops
            lo, hi, total = indptr[begin], indptr[until], 0.0
            x, z = data[lo:hi], ratio[lo:hi]
            if F.itemsize == 4:
                for p in range(len(x)):
                    total += np.float64(x[p]) * np.float64(_log_single(z[p]))
            else:
                for p in range(len(x)):
                    total += np.float64(x[p]) * _log(z[p])
            parts[t] = total


@kernel
def csr_power_matmul(tasks, csr, model, least, exponent, ratio, out, parts, sums):
    """Write ``out = Z G`` with ``z = x y ** exponent`` on the non-zeros x of X, where y is the model value.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    csr, model, least, ratio, out :
        As for `csr_shifted_ratio`.
    exponent : float
    parts : ndarray (T, 2) of float64
        Written for rows of the data: the sums of ``z y``, and of ``log y`` for exponent -2 or ``x log y`` for exponent
        -1. No rows for columns of the data.
    sums : ndarray (S,) of float64
        As for `csr_shifted_ratio`.
    """
    (indptr, indices, data), F, G = csr, model.F, model.G
    is_left, has_shifts, is_each = len(parts) > 0, len(model.places) > 0, len(least) > 1
    for t, begin, until in work_stealing(tasks):
        total, logs = 0.0, 0.0
        for i in range(begin, until):
            lo, hi, floor = indptr[i], indptr[i + 1], least[i if is_each else 0]
            dot_rows(lo, hi, indices, F, i, G, ratio)
            if has_shifts:
                _add_shifts(lo, hi, i, indices, model, is_left, ratio)
            for p in range(lo, hi):
                y, x = max(np.float64(ratio[p]), floor), np.float64(data[p])
                z = x * _power(y, exponent)
                ratio[p] = z
                total += z * y
                if is_left and (exponent == -1.0 or exponent == -2.0):
                    logs += (x if exponent == -1.0 else 1.0) * _log(y)
            gather_row(lo, hi, indices, ratio, G, out, i)
            if has_shifts and not is_left:
                _add_by_entry(lo, hi, indices, ratio, model, sums)
        if is_left:
            parts[t, 0], parts[t, 1] = total, logs


@helper
def _add_left_shifts(at, end, hi, scale, shifts, y):
    """Add the shifts of a row's stratum to y, from entry `at` on and up to column hi.

    Parameters
    ----------
    at, end : int
        First entry to be added, and end of the entries of the stratum.
    hi : int
    scale : float
        Row scale.
    shifts : Shifts
    y : ndarray (q,)
        Written.

    Returns
    -------
    int
        First entry whose column is hi or above.
    """
    v, keys, entries = shifts.v, shifts.keys, shifts.entries
    while at < end and keys[at] < hi:
        y[keys[at]] += scale * v[entries[at]]
        at += 1
    return at


@helper
def _add_right_shifts(j, lo, hi, shifts, place, y):
    """Add the shifts of column j to y over the rows lo..hi.

    Parameters
    ----------
    j, lo, hi : int
    shifts : Shifts
    place : ndarray (n_strata,) of int64
        -1 everywhere; written: the entry of each stratum in column j, -1 where it has none.
    y : ndarray (q,)
        Written.
    """
    v, start, keys, entries, stratum_index, row_scale, _ = shifts
    for e in range(start[j], start[j + 1]):
        place[keys[e]] = entries[e]
    for i in range(lo, hi):
        if place[stratum_index[i]] >= 0:
            y[i] += v[place[stratum_index[i]]] * (row_scale[i] if len(row_scale) > 0 else 1.0)


@helper
def _add_powers(j, lo, hi, shifts, place, q, sums):
    """Add q over the rows lo..hi to the sums of the entries in `place`, and reset `place` to -1.

    Parameters
    ----------
    j, lo, hi : int
    shifts : Shifts
    place : ndarray (n_strata,) of int64
        Filled by `_add_right_shifts`; written.
    q : ndarray
        One number for each row of the data.
    sums : ndarray (S,) of float64
        Written.
    """
    _, start, keys, _, stratum_index, row_scale, _ = shifts
    for i in range(lo, hi):
        if place[stratum_index[i]] >= 0:
            sums[place[stratum_index[i]]] += np.float64(q[i]) * (row_scale[i] if len(row_scale) > 0 else 1.0)
    for e in range(start[j], start[j + 1]):
        place[keys[e]] = -1


@kernel
def rows_powers(tasks, F, G, shifts, least, exponent, out, parts, sums):
    """Write ``out = Q G`` with ``q = max(y, least) ** exponent`` over the whole model ``y = F Gᵀ + u v``.

    The cost is O(p q K) time and O(q) memory per task: the model is computed one tile at a time and never held as a
    whole.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F, G : ndarray (p, K), (q, K)
    shifts : Shifts
    least : ndarray (1,) or (p,) of float64
        As for `csr_ratio_matmul`.
    exponent : float
    out : ndarray (p, K)
        Written.
    parts : ndarray (T,) of float64
        Written for rows of the data: the sums of ``y ** (exponent + 1)``. Length 0 for columns of the data.
    sums : ndarray (S,) of float64
        For columns of the data, the sums of ``q u`` over the rows that meet each entry of the shifts are added to it.
        Length 0 for rows of the data.
    """
    start, stratum_index, row_scale = shifts.start, shifts.stratum_index, shifts.row_scale
    is_left, has_shifts, is_each, K = len(parts) > 0, len(stratum_index) > 0, len(least) > 1, F.shape[1]
    for t, begin, until in work_stealing(tasks):
        y, part, total = np.zeros(len(G), F.dtype), np.zeros((1, K), F.dtype), 0.0
        every = np.arange(len(G)).astype(np.int32)
        place, ahead = np.full(shifts.n_strata, -1), np.zeros(TILE_ROWS, np.int64)
        for first in range(begin, until, TILE_ROWS):
            last = min(first + TILE_ROWS, until)
            out[first:last] = 0
            for i in range(first, last if has_shifts and is_left else first):
                ahead[i - first] = start[stratum_index[i]]
            for lo in range(0, len(G), TILE_COLUMNS):
                hi = min(lo + TILE_COLUMNS, len(G))
                for i in range(first, last):
                    dot_rows(lo, hi, every, F, i, G, y)
                    if has_shifts and is_left:
                        scale, end = row_scale[i] if len(row_scale) > 0 else 1.0, start[stratum_index[i] + 1]
                        ahead[i - first] = _add_left_shifts(ahead[i - first], end, hi, scale, shifts, y)
                    elif has_shifts:
                        _add_right_shifts(i, lo, hi, shifts, place, y)
                    total += _raise_row(lo, hi, least[i if is_each else 0], exponent, y)
                    gather_row(lo, hi, every, y, G, part, 0)
                    for c in range(K):
                        out[i, c] += part[0, c]
                    if has_shifts and not is_left:
                        _add_powers(i, lo, hi, shifts, place, y, sums)
        if is_left:
            parts[t] = total


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


@kernel
def rows_negative_binomial(tasks, csr, F, G, shifts, theta, least, pos, neg, parts, sums):
    """Write ``pos = Z G`` and ``neg = Q G`` with ``z = x / y`` and ``q = (x + theta) / (y + theta)`` over all entries.

    The model is ``y = F Gᵀ + u v``. The cost is O(p q K) time and O(q) memory per task, as for `rows_powers`. The
    products of a tile are those of BLAS, which `threads` keeps on one thread: they took two thirds of the time of loops
    over its rows. Where each row has a limit of its own, its results do not depend, to the last bit, on other rows.

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
        As for `csr_ratio_matmul`, for z; q needs no limit.
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
    for t, begin, until in work_stealing(tasks):
        room, spare, total = np.zeros(TILE_ROWS * NARROW, F.dtype), np.zeros(NARROW, F.dtype), 0.0
        z, part = np.zeros(NARROW, F.dtype), np.zeros((TILE_ROWS, K), F.dtype)
        at, ahead = np.zeros(TILE_ROWS, np.int64), np.zeros(TILE_ROWS, np.int64)
        every, together = np.arange(NARROW).astype(np.int32), 1 if is_each else 2
        inverse, base = (1.0 / theta).astype(F.dtype), np.zeros(len(G) if has_shifts and is_left else 0, F.dtype)
        bounds = np.searchsorted(stratum_index, np.arange(shifts.n_strata + 1 if has_shifts and not is_left else 0))
        first = begin
        while first < until:
            last = min(first + TILE_ROWS, until)
            if has_shifts and is_left:  # a tile has rows of one stratum
                group = stratum_index[first]
                last = min(last, first + np.searchsorted(stratum_index[first:last], group, side="right"))
                base[:] = 0
                for e in range(shifts.start[group], shifts.start[group + 1]):
                    base[shifts.keys[e]] = shifts.v[shifts.entries[e]]
            for i in range(first, last):
                at[i - first] = indptr[i]
                if has_shifts and not is_left:
                    ahead[i - first] = shifts.start[i]
            pos[first:last] = 0
            neg[first:last] = 0
            for lo in range(0, len(G), NARROW):
                hi = min(lo + NARROW, len(G))
                Y = room[: (last - first) * (hi - lo)].reshape((last - first, hi - lo))
                if is_each:
                    for i in range(first, last):
                        dot_rows(0, hi - lo, every, F, i, G[lo:hi], Y[i - first])
                else:
                    np.dot(F[first:last], G[lo:hi].T, Y)
                for i in range(first, last):
                    y, begun, n, floor = Y[i - first], at[i - first], 0, F.dtype.type(least[i if is_each else 0])
                    if has_shifts and is_left:
                        shift, scale = base[lo:hi], row_scale[i] if len(row_scale) > 0 else F.dtype.type(1)
                        for j in range(len(y)):
                            y[j] += shift[j] * scale
                    elif has_shifts:
                        _add_to_column(lo, hi, ahead[i - first], i, shifts, bounds, y)
                    while begun + n < indptr[i + 1] and indices[begun + n] < hi:
                        n += 1
                    few, x, ratio = indices[begun : begun + n], data[begun : begun + n], z[:n]
                    for p in range(len(few)):
                        ratio[p] = max(y[few[p] - lo], floor)
                    if is_left:
                        for p in range(len(few)):
                            total += np.float64(x[p]) * _log1p(theta[few[p]] / ratio[p])
                    for p in range(len(few)):
                        ratio[p] = x[p] / ratio[p]
                    gather_row(0, n, few, ratio, G, part, 0)
                    for c in range(K):
                        pos[i, c] += part[0, c]
                    if has_shifts and not is_left:
                        _add_few(few, ratio, ahead[i - first], shifts, bounds, sums[0])
                for one in range(0, last - first, together):  # two rows share a division and a logarithm
                    spare[:] = 0
                    a, b = Y[one], Y[one + 1] if not is_each and first + one + 1 < last else spare[: hi - lo]
                    if is_left:
                        size, less = theta[lo:hi], inverse[lo:hi]
                        for j in range(len(a)):
                            r, s = a[j] * less[j], b[j] * less[j]
                            both = r + s + r * s
                            total += size[j] * _log1p(both)
                            share = 1 / (1 + both)
                            a[j], b[j] = (1 + s) * share, (1 + r) * share
                    else:
                        less_one, less_two = inverse[first + one], inverse[min(first + one + 1, last - 1)]
                        for j in range(len(a)):
                            r, s = a[j] * less_one, b[j] * less_two
                            share = 1 / (1 + r + s + r * s)
                            a[j], b[j] = (1 + s) * share, (1 + r) * share
                for i in range(first, last):
                    y, done = Y[i - first], at[i - first]
                    while done < indptr[i + 1] and indices[done] < hi:  # (x + theta) / (y + theta)
                        y[indices[done] - lo] *= 1 + data[done] * inverse[indices[done] if is_left else i]
                        done += 1
                    at[i - first] = done
                    if has_shifts and not is_left:
                        e, end = ahead[i - first], shifts.start[i + 1]
                        ahead[i - first] = _add_ranges(lo, hi, e, end, shifts, bounds, y, sums[1])
                if is_each:
                    for i in range(first, last):
                        gather_row(0, hi - lo, every, Y[i - first], G[lo:hi], part, i - first)
                else:
                    np.dot(Y, G[lo:hi], part[: last - first])
                neg[first:last] += part[: last - first]
            first = last
        if is_left:
            parts[t] = total


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


@kernel
def csr_shift_entries(tasks, order, group, indptr, keys, pattern, n_keys, places):
    """Write for every non-zero the position of the shift entry that it meets.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    order : ndarray (p,) of int64
        Order in which the rows are visited; rows of one group follow each other.
    group : ndarray (p,) of int32
        Group of each row.
    indptr : ndarray (p + 1,) of int64
    keys : ndarray (nnz,) of int32
        The non-zero p of row i meets the entry of group[i] whose key is keys[p].
    pattern : CSR
        The entries of the shifts: one row a group, one column a key.
    n_keys : int
        All keys are below it.
    places : ndarray (nnz,) of int32
        Written.
    """
    start, key_of, entries = pattern
    for _, begin, until in work_stealing(tasks):
        slot, held = np.full(n_keys, -1, np.int32), -1
        for place in range(begin, until):
            i = order[place]
            if group[i] != held:
                held = group[i]
                for e in range(start[held], start[held + 1]):
                    slot[key_of[e]] = entries[e]
            for p in range(indptr[i], indptr[i + 1]):
                places[p] = slot[keys[p]]
