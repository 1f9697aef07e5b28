"""Kernels over the data: products of CSR rows with a factor, sums over groups of rows, products on the shift pattern.

The shift pattern is the list of the pairs (column, stratum) in which a shift may be positive. Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import kernel, work_stealing
from fastnmf.kernels.row_intrinsics import dot_pairs, dot_rows, gather_row, spread_pairs


@kernel
def csr_matmul(tasks, csr, F, out):
    """Write ``out = X F`` for X in CSR.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    csr : fastnmf.kernels.records.CSR
        X (p, q).
    F : ndarray (q, K), dtype of the data
        K is a whole number of blocks.
    out : ndarray (p, K), dtype of the data
        Written.
    """
    indptr, indices, data = csr
    for _, begin, until in work_stealing(tasks):
        for i in range(begin, until):
            gather_row(indptr[i], indptr[i + 1], indices, data, F, out, i)


@kernel
def csr_gram_squares(tasks, csr, start, place, of_row, parts):
    """Write the squares of the entries of ``Xᵀ X``, X (p, q) in CSR, summed by row.

    Of every pair of columns only one product is computed, in the task of the first of them; its square belongs to both
    rows. The cost is half of the sum of the squared lengths of the rows of X.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the columns of X.
    csr : fastnmf.kernels.records.CSR
        X, non-negative, the columns of each row in ascending order.
    start : ndarray (q + 1,) of int64
        Column j has the entries ``place[start[j]:start[j + 1]]``.
    place, of_row : ndarray (nnz,) of int64, (nnz,) of int32
        Where such an entry stands in the arrays of `csr`, and its row.
    parts : ndarray (T, q) of float64
        Written: their sum over the tasks are the squared lengths of the rows of ``Xᵀ X``.
    """
    indptr, indices, data = csr
    for t, begin, until in work_stealing(tasks):
        row, met = np.zeros(parts.shape[1]), np.empty(parts.shape[1], np.int64)
        parts[t] = 0.0
        for j in range(begin, until):
            n_met = 0
            for e in range(start[j], start[j + 1]):
                p = place[e]
                x = np.float64(data[p])
                for o in range(p, indptr[of_row[e] + 1]):
                    c, y = indices[o], x * np.float64(data[o])
                    if row[c] == 0.0 and y > 0.0:
                        met[n_met] = c
                        n_met += 1
                    row[c] += y
            for m in range(n_met):
                c = met[m]
                square = row[c] * row[c]
                row[c] = 0.0
                parts[t, c] += square
                if c != j:
                    parts[t, j] += square


@kernel
def integers_range(tasks, values, found):
    """Write the least and the largest integer of each task, and how many are not larger than the one before.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the integers; no task is empty.
    values : ndarray (n,) of int32 or int64
    found : ndarray (T, 3) of int64
        Written.
    """
    for t, begin, until in work_stealing(tasks):
        last, now = values[max(begin - 1, 0) : until - 1], values[max(begin, 1) : until]
        low = high = values[begin]
        n_falls = np.int32(0)
        for p in range(len(now)):
            low, high = min(low, now[p]), max(high, now[p])
            n_falls += np.int32(now[p] <= last[p])
        found[t, 0], found[t, 1], found[t, 2] = low, high, n_falls


@kernel
def csr_duplicates(tasks, indptr, indices, n_columns, found):
    """Write whether any row of each task has two entries in one column; the rows need not be sorted.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    indptr, indices : ndarray (p + 1,) of int64, (nnz,) of int32
    n_columns : int
    found : ndarray (T,) of bool
        Written.
    """
    for t, begin, until in work_stealing(tasks):
        seen_in = np.full(n_columns, -1, np.int64)
        found[t] = False
        for i in range(begin, until):
            for p in range(indptr[i], indptr[i + 1]):
                if seen_in[indices[p]] == i:
                    found[t] = True
                seen_in[indices[p]] = i


@kernel
def csr_cut(tasks, csr, number, cut, turned, ends):
    """Write some columns of a sparse matrix (p, q), by rows and by columns, in one pass.

    Parameters
    ----------
    tasks : ndarray (2,) of int64
        A single task over the rows.
    csr : fastnmf.kernels.records.CSR
        The matrix.
    number : ndarray (q,) of int32
        Number of each column among the c that are kept; negative for the others.
    cut : fastnmf.kernels.records.CSR
        (p, c); written. The entries of a row stand in the order that they have in `csr`.
    turned : fastnmf.kernels.records.CSR
        (c, p), the transpose; its `indptr` is given, the rest is written, in ascending order of the rows.
    ends : ndarray (c,) of int64
        The first c entries of the `indptr` of `turned`; overwritten.
    """
    indptr, indices, data = csr
    for _, begin, until in work_stealing(tasks):
        place = cut.indptr[begin] = 0
        for i in range(begin, until):
            for p in range(indptr[i], indptr[i + 1]):
                j = number[indices[p]]
                if j >= 0:
                    at = ends[j]
                    cut.indices[place], cut.data[place] = j, data[p]
                    turned.indices[at], turned.data[at] = i, data[p]
                    ends[j], place = at + 1, place + 1
            cut.indptr[i + 1] = place


@kernel
def groups_sum(tasks, start, order, F, out):
    """Write the sums of the rows of F by group.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the groups.
    start : ndarray (G + 1,) of int64
        Group g holds the rows ``order[start[g]:start[g + 1]]``.
    order : ndarray (p,) of int64
    F : ndarray (p, K)
    out : ndarray (G, K), dtype of F
        Written.
    """
    for _, begin, until in work_stealing(tasks):
        for g in range(begin, until):
            out[g] = 0
            for p in range(start[g], start[g + 1]):
                i = order[p]
                for c in range(F.shape[1]):
                    out[g, c] += F[i, c]


@kernel
def pattern_count(tasks, csr, group, n_groups, room, groups, sums, counts):
    """Sum the columns of X by group, on the pattern of groups that use the column, in one pass.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the columns.
    csr : fastnmf.kernels.records.CSR
        Transpose of X (n, m); the indices are rows of X.
    group : ndarray (n,) of int32
        Group of each row of X.
    n_groups : int
    room : ndarray (m + 1,) of int64
        Column j has the slots room[j]:room[j + 1] of `groups` and `sums`.
    groups : ndarray (room[m],) of int32
        Written: the groups that use the column, in order of appearance.
    sums : ndarray (room[m],) of float64
        Written: the sum of the column over the rows of each of these groups.
    counts : ndarray (m,) of int64
        Written: how many of its slots each column fills.
    """
    indptr, indices, data = csr
    for _, begin, until in work_stealing(tasks):
        slot = np.full(n_groups, -1, np.int64)
        for j in range(begin, until):
            end, last, at, total = room[j], -1, room[j], 0.0
            for p in range(indptr[j], indptr[j + 1]):
                g = group[indices[p]]
                if g != last:  # else the sum is at hand: rows often come stratum by stratum
                    if last >= 0:
                        sums[at] = total
                    last, at = g, slot[g]
                    if at < room[j]:  # written by an earlier column of this task, whose slots all lie below room[j]
                        slot[g] = at = end
                        groups[end] = g
                        sums[end] = 0.0
                        end += 1
                    total = sums[at]
                total += data[p]
            if last >= 0:
                sums[at] = total
            counts[j] = end - room[j]


@kernel
def pattern_packed(tasks, room, groups, sums, start, group, out):
    """Copy what `pattern_count` has written, without the slots that are free.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the columns.
    room, groups, sums :
        As for `pattern_count`.
    start : ndarray (m + 1,) of int64
        Column j goes to the places start[j]:start[j + 1].
    group, out : ndarray (q,) of int32, (q,) of float
        Written: the groups and the sums.
    """
    for _, begin, until in work_stealing(tasks):
        for j in range(begin, until):
            skip = room[j] - start[j]
            for p in range(start[j], start[j + 1]):
                group[p], out[p] = groups[p + skip], sums[p + skip]


@kernel
def pattern_places(tasks, columns, start, group, held_start, held_group, slot, place):
    """Write where the entries of a pattern of some columns and groups are among those of a pattern that holds them.

    Parameters
    ----------
    tasks : ndarray (2,) of int64
        A single task over the columns of the first pattern.
    columns : ndarray (c,) of int64
        The column of the second pattern that each column of the first is.
    start, group : ndarray (c + 1,) of int64, (q,) of int32
        The first pattern: column j has the groups ``group[start[j]:start[j + 1]]``, in any order.
    held_start, held_group : ndarray (m + 1,) of int64, (p,) of int32
        The second one, likewise.
    slot : ndarray (n_groups,) of int64
        Overwritten.
    place : ndarray (q,) of int64
        Written: an index into `held_group` for each entry of `group`.
    """
    for _, begin, until in work_stealing(tasks):
        for j in range(begin, until):
            for p in range(held_start[columns[j]], held_start[columns[j] + 1]):
                slot[held_group[p]] = p
            for p in range(start[j], start[j + 1]):
                place[p] = slot[group[p]]


@kernel
def csr_sampled(tasks, start, group, F, S, out):
    """Write ``out[p] = F[j] . S[group[p]]`` for the entries p in start[j]:start[j + 1].

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the rows of F.
    start : ndarray (n + 1,) of int64
    group : ndarray (q,) of int32
    F : ndarray (n, K)
    S : ndarray (G, K), dtype of F
    out : ndarray (q,), dtype of F
        Written.
    """
    for _, begin, until in work_stealing(tasks):
        for j in range(begin, until):
            dot_rows(start[j], start[j + 1], group, F, j, S, out)


@kernel
def csr_covered(tasks, csr, F, other, out, parts):
    """Write ``out = Z other`` for ``Z = max(F otherᵀ, 1)`` on a sparse pattern, and the sums of squares there.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the rows of F.
    csr : fastnmf.kernels.records.CSR
        The pattern (p, q). Its data are overwritten by Z.
    F : ndarray (p, K)
    other : ndarray (q, K), dtype of F
    out : ndarray (p, K), dtype of F
        Written.
    parts : ndarray (T, 2) of float64
        Written: ``||Z - F otherᵀ||²`` and ``||F otherᵀ||²`` on the pattern.
    """
    indptr, indices, near = csr
    for t, begin, until in work_stealing(tasks):
        below, whole = 0.0, 0.0
        for i in range(begin, until):
            dot_rows(indptr[i], indptr[i + 1], indices, F, i, other, near)
            for p in range(indptr[i], indptr[i + 1]):
                y = np.float64(near[p])
                short = max(1.0 - y, 0.0)
                below += short * short
                whole += y * y
                near[p] = max(near[p], F.dtype.type(1.0))
            gather_row(indptr[i], indptr[i + 1], indices, near, other, out, i)
        parts[t, 0], parts[t, 1] = below, whole


@kernel
def pattern_sampled(tasks, column, group, F, S, out):
    """Write ``out[p] = F[column[p]] . S[group[p]]`` for the entries p.

    There is one loop over all entries. A column has about four entries, and the processor cannot predict the end of a
    separate loop for each column.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the entries.
    column, group : ndarray (q,) of int32
    F : ndarray (n, K)
    S : ndarray (G, K), dtype of F
    out : ndarray (q,), dtype of F
        Written.
    """
    for _, begin, until in work_stealing(tasks):
        dot_pairs(begin, until, column, group, F, S, out)


@kernel
def pattern_spread(tasks, column, group, v, F, parts):
    """Write ``sum v[p] * F[column[p]]`` over the entries p of each task and group g into parts[t, g].

    One pass reads F in order, and the sums stay in the cache.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the entries.
    column, group : ndarray (q,) of int32
    v : ndarray (q,), dtype of F
    F : ndarray (n, K)
    parts : ndarray (T, G, K), dtype of F
        Written.
    """
    for t, begin, until in work_stealing(tasks):
        parts[t] = 0
        spread_pairs(begin, until, column, group, v, F, parts, t)
