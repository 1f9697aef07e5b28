"""Passes of the Kullback-Leibler and beta divergences over the non-zeros of the data, and over whole models."""

import numpy as np

from fastnmf.kernels.jit import claimed, helper, kernel
from fastnmf.kernels.simd import BLOCK_BYTES, MAX_BLOCKS, dot_rows, gather_row, ratio_row

TILE_ROWS, TILE_COLUMNS = 32, 512  # of a whole model at a time: the rows of the other factor then stay in the cache


@helper
def _log(x):
    """Return the natural logarithm of a positive normal float64 to about 1e-13, in arithmetic that vectorises.

    ``x = 2^e m`` with m in [0.707, 1.414); ``log m = 2 artanh(s)`` for ``s = (m - 1) / (m + 1)``, by its series. The
    library's logarithm, a call a non-zero, took a third of a whole iteration.
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
    """Return ``y ** exponent`` of a non-negative float64; the exponents of common divergences without a logarithm."""
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
    """Replace y[lo:hi] by ``max(y, least) ** exponent``; return the sum of ``y ** (exponent + 1)``.

    One simple loop for each of the common exponents, which the compiler turns into vector instructions. The sum takes
    y as it is where it can, which is for exponents above -1.
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
def _add_shifts(lo, hi, i, indices, shifts, is_left, model):
    """Add the shifts that the non-zeros lo..hi of row i meet to their model; see `csr_shifted_ratio`."""
    v, places, loading = shifts
    if len(loading) == 0:
        for p in range(lo, hi):
            model[p] += v[np.uint32(places[p])]
    elif is_left:
        for p in range(lo, hi):
            model[p] += v[np.uint32(places[p])] * loading[i]
    else:
        for p in range(lo, hi):
            model[p] += v[np.uint32(places[p])] * loading[indices[p]]


@helper
def _add_by_entry(lo, hi, indices, ratio, shifts, sums):
    """Add the ratios of the non-zeros lo..hi of a column, as often as their rows count, to the sums of their shifts."""
    _, places, loading = shifts
    if len(loading) == 0:
        for p in range(lo, hi):
            sums[places[p]] += np.float64(ratio[p])
    else:
        for p in range(lo, hi):
            sums[places[p]] += np.float64(ratio[p]) * loading[indices[p]]


@kernel
def csr_ratio_matmul(tasks, indptr, indices, data, F, G, ratio, out, parts):
    """Write ``out = Z G`` with ``z = x / (F Gᵀ)`` on the non-zeros x of X, and the sums of ``x log z``.

    X (p, q) in CSR, F and out (p, K), G (q, K), ratio (nnz,) all of one dtype; parts (T,) float64, or no entries where
    the sums, a logarithm a non-zero, are not wanted. A model value below 1.2e-7 counts as that, as in scikit-learn.
    """
    least = F.dtype.type(1.1920929e-07)
    widest = MAX_BLOCKS * (BLOCK_BYTES // F.itemsize)
    for t, begin, until in claimed(tasks):
        for i in range(begin, until):
            lo, hi = indptr[i], indptr[i + 1]
            if F.shape[1] <= widest:
                ratio_row(lo, hi, indices, data, F, i, G, least, None, None, ratio, out, None)
            else:
                dot_rows(lo, hi, indices, F, i, G, ratio)
                for p in range(lo, hi):
                    ratio[p] = data[p] / max(ratio[p], least)
                gather_row(lo, hi, indices, ratio, G, out, i)
        if len(parts) > 0:  # all rows at once, for long loops; slices, and no function, for loops that vectorise
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
def csr_shifted_ratio(tasks, csr, factors, shifts, ratio, out, parts, sums):
    """Do what `csr_ratio_matmul` does for a model with shifts, ``z = x / (F Gᵀ + u v)``.

    csr is (indptr, indices, data), factors (F, G), shifts (v, places, loading): the entries of the shifts (q,), for
    every non-zero the entry that it meets (nnz,) int32, and how often each row counts (n,), or nothing where once.
    Either the rows of X are the data's, and parts (T,) float64 get the sums of ``x log z``; or its rows are the data's
    columns, and ``z u`` is added to sums (q,) float64, entry by entry of the shifts. The other one has no entries.
    """
    (indptr, indices, data), (F, G), (v, places, loading) = csr, factors, shifts
    is_left, least = len(parts) > 0, F.dtype.type(1.1920929e-07)
    is_simple = len(loading) == 0 and F.shape[1] <= MAX_BLOCKS * (BLOCK_BYTES // F.itemsize)
    for t, begin, until in claimed(tasks):
        if is_simple:
            for i in range(begin, until):
                lo, hi = indptr[i], indptr[i + 1]
                ratio_row(lo, hi, indices, data, F, i, G, least, v, places, ratio, out, sums)
        else:
            for i in range(begin, until):
                lo, hi = indptr[i], indptr[i + 1]
                dot_rows(lo, hi, indices, F, i, G, ratio)
                _add_shifts(lo, hi, i, indices, shifts, is_left, ratio)
                for p in range(lo, hi):
                    ratio[p] = data[p] / max(ratio[p], least)
                gather_row(lo, hi, indices, ratio, G, out, i)
                if not is_left:
                    _add_by_entry(lo, hi, indices, ratio, shifts, sums)
        if is_left:  # all rows at once, for long loops; slices, and no function, for loops that vectorise
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
def csr_power_matmul(tasks, csr, factors, limits, shifts, ratio, out, parts, sums):
    """Write ``out = Z G`` with ``z = x y ** exponent`` on the non-zeros x of X, y the model there.

    limits is (least, exponent): y below `least` counts as that. Other arguments as for `csr_shifted_ratio`; no `places`
    where there are no shifts. parts (T, 2), of no rows for the data's columns: the sums of ``z y``, and of ``log y``
    for exponent -2, of ``x log y`` for exponent -1.
    """
    (indptr, indices, data), (F, G), (least, exponent) = csr, factors, limits
    is_left, has_shifts = len(parts) > 0, len(shifts[1]) > 0
    for t, begin, until in claimed(tasks):
        total, logs = 0.0, 0.0
        for i in range(begin, until):
            lo, hi = indptr[i], indptr[i + 1]
            dot_rows(lo, hi, indices, F, i, G, ratio)
            if has_shifts:
                _add_shifts(lo, hi, i, indices, shifts, is_left, ratio)
            for p in range(lo, hi):
                y, x = max(np.float64(ratio[p]), least), np.float64(data[p])
                z = x * _power(y, exponent)
                ratio[p] = z
                total += z * y
                if is_left and (exponent == -1.0 or exponent == -2.0):
                    logs += (x if exponent == -1.0 else 1.0) * _log(y)
            gather_row(lo, hi, indices, ratio, G, out, i)
            if has_shifts and not is_left:
                _add_by_entry(lo, hi, indices, ratio, shifts, sums)
        if is_left:
            parts[t, 0], parts[t, 1] = total, logs


@helper
def _add_left_shifts(at, end, hi, scale, shifts, y):
    """Add the shifts of a row's stratum from entry `at` on to y, up to column hi; return the first entry beyond."""
    v, keys, entries = shifts[0], shifts[2], shifts[3]
    while at < end and keys[at] < hi:
        y[keys[at]] += scale * v[entries[at]]
        at += 1
    return at


@helper
def _add_right_shifts(j, lo, hi, shifts, place, y):
    """Add the shifts of column j to y over the rows lo..hi; `place` gets the entry of each stratum, -1 for none."""
    v, start, keys, entries, codes, loading = shifts
    for e in range(start[j], start[j + 1]):
        place[keys[e]] = entries[e]
    for i in range(lo, hi):
        if place[codes[i]] >= 0:
            y[i] += v[place[codes[i]]] * (loading[i] if len(loading) > 0 else 1.0)


@helper
def _add_powers(j, lo, hi, shifts, place, q, sums):
    """Add q over the rows lo..hi to the sums of the entries in `place`, which is cleared."""
    _, start, keys, _, codes, loading = shifts
    for i in range(lo, hi):
        if place[codes[i]] >= 0:
            sums[place[codes[i]]] += np.float64(q[i]) * (loading[i] if len(loading) > 0 else 1.0)
    for e in range(start[j], start[j + 1]):
        place[keys[e]] = -1


@kernel
def rows_powers(tasks, factors, every, limits, shifts, out, parts, sums):
    """Write ``out = Q G`` with ``q = max(y, least) ** exponent`` over the whole model ``y = F Gᵀ + u v``.

    factors (F, G), out as F; `every` is ``arange(len(G))`` in int32, limits (least, exponent, n_strata). shifts is
    (v, start, keys, entries, codes, loading): group g, the stratum of a row or a column, owns start[g]:start[g + 1] of
    `keys`, the columns (ascending) or strata that it has shifts for, and of `entries`, their places in v; no codes
    where there are no shifts. parts and sums as for `csr_shifted_ratio`: sums of ``y ** (exponent + 1)`` over tasks
    (T,), and of ``q u`` over the rows of each entry of the shifts (q,). O(p q K) time, O(q) memory a task.
    """
    (F, G), (least, exponent, n_strata) = factors, limits
    v, start, keys, entries, codes, loading = shifts
    is_left, has_shifts, K = len(parts) > 0, len(codes) > 0, F.shape[1]
    for t, begin, until in claimed(tasks):
        y, part, total = np.zeros(len(G), F.dtype), np.zeros((1, K), F.dtype), 0.0
        place, ahead = np.full(n_strata, -1), np.zeros(TILE_ROWS, np.int64)
        for first in range(begin, until, TILE_ROWS):
            last = min(first + TILE_ROWS, until)
            out[first:last] = 0
            for i in range(first, last if has_shifts and is_left else first):
                ahead[i - first] = start[codes[i]]
            for lo in range(0, len(G), TILE_COLUMNS):
                hi = min(lo + TILE_COLUMNS, len(G))
                for i in range(first, last):
                    dot_rows(lo, hi, every, F, i, G, y)
                    if has_shifts and is_left:
                        scale, end = loading[i] if len(loading) > 0 else 1.0, start[codes[i] + 1]
                        ahead[i - first] = _add_left_shifts(ahead[i - first], end, hi, scale, shifts, y)
                    elif has_shifts:
                        _add_right_shifts(i, lo, hi, shifts, place, y)
                    total += _raise_row(lo, hi, least, exponent, y)
                    gather_row(lo, hi, every, y, G, part, 0)
                    for c in range(K):
                        out[i, c] += part[0, c]
                    if has_shifts and not is_left:
                        _add_powers(i, lo, hi, shifts, place, y, sums)
        if is_left:
            parts[t] = total


@kernel
def csr_places(tasks, order, group, indptr, keys, pattern, n_keys, places):
    """Write for every non-zero the entry of the shifts that it meets, places (nnz,) int32.

    pattern is (start, keys, entries), as for `rows_powers`: the non-zero p of row i meets the entry of group[i] whose
    key is keys[p]. Rows are walked in `order`, which keeps groups together; keys are below n_keys.
    """
    start, key_of, entries = pattern
    for _, begin, until in claimed(tasks):
        slot, held = np.full(n_keys, -1, np.int32), -1
        for place in range(begin, until):
            i = order[place]
            if group[i] != held:
                held = group[i]
                for e in range(start[held], start[held + 1]):
                    slot[key_of[e]] = entries[e]
            for p in range(indptr[i], indptr[i + 1]):
                places[p] = slot[keys[p]]
