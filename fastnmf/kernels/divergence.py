"""Kernels of the Kullback-Leibler and beta divergences, over the non-zeros of the data and over the whole model.

The model of row i of the data is ``y = F Gᵀ + u_i v``: u is the row scale (`row_scale`, 1 where it is empty), v the
shift of the row's stratum. Shifts are stored as the entries v (S,) of a pattern. Records are those of
`fastnmf.kernels.records`. Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import helper, kernel, work_stealing
from fastnmf.kernels.llvm_builder import BLOCK_BYTES, MAX_BLOCKS
from fastnmf.kernels.row_intrinsics import dot_rows, gather_row, ratio_row

TILE_ROWS, TILE_COLUMNS = 32, 512  # size of the tiles of a whole model; the rows of G for one tile stay in the cache


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
