"""Passes over the data: compressed rows times a factor, sums over groups of rows, and products on the shift pattern."""

import numpy as np

from fastnmf.kernels.jit import claimed, kernel
from fastnmf.kernels.simd import dot_pairs, dot_rows, gather_row, spread_pairs


@kernel
def csr_matmul(tasks, indptr, indices, data, F, out):
    """Write ``out = X F`` for X in CSR. indptr (p + 1,) int64, indices int32, F (q, K), out (p, K), same dtype."""
    for _, begin, until in claimed(tasks):
        for i in range(begin, until):
            gather_row(indptr[i], indptr[i + 1], indices, data, F, out, i)


@kernel
def csr_duplicates(tasks, indptr, indices, n_columns, found):
    """Write into found (T,) bool whether a row of each task has two entries in one column; rows need not be sorted."""
    for t, begin, until in claimed(tasks):
        seen_in = np.full(n_columns, -1, np.int64)
        found[t] = False
        for i in range(begin, until):
            for p in range(indptr[i], indptr[i + 1]):
                if seen_in[indices[p]] == i:
                    found[t] = True
                seen_in[indices[p]] = i


@kernel
def groups_sum(tasks, start, order, F, out):
    """Write the sums of rows of F by group: group g holds the rows ``order[start[g]:start[g + 1]]``. out (G, K)."""
    for _, begin, until in claimed(tasks):
        for g in range(begin, until):
            out[g] = 0
            for p in range(start[g], start[g + 1]):
                i = order[p]
                for c in range(F.shape[1]):
                    out[g, c] += F[i, c]


@kernel
def pattern_count(tasks, indptr, indices, data, group, n_groups, room, groups, sums, counts):
    """Sum the columns of X by group, on the pattern of groups that use the column, in one walk.

    X^T comes as CSR (indptr, indices of rows, data); group (rows,) int32. Column j has the slots room[j]:room[j + 1]
    of `groups` (int32) and `sums` (float64); counts[j] tells how many of them it fills, in the order of appearance.
    """
    for _, begin, until in claimed(tasks):
        slot = np.full(n_groups, -1, np.int64)
        for j in range(begin, until):
            end = room[j]
            for p in range(indptr[j], indptr[j + 1]):
                g = group[indices[p]]
                if slot[g] < room[j]:  # left by an earlier column of this task, whose slots all lie below
                    slot[g] = end
                    groups[end] = g
                    sums[end] = 0.0
                    end += 1
                sums[slot[g]] += data[p]
            counts[j] = end - room[j]


@kernel
def csr_sampled(tasks, start, group, F, S, out):
    """Write ``out[p] = F[j] . S[group[p]]`` for the entries p in start[j]:start[j + 1]. F (n, K), S (G, K)."""
    for _, begin, until in claimed(tasks):
        for j in range(begin, until):
            dot_rows(start[j], start[j + 1], group, F, j, S, out)


@kernel
def pattern_sampled(tasks, column, group, F, S, out):
    """Write ``out[p] = F[column[p]] . S[group[p]]`` for entries p. column, group (q,) int32; F (n, K), S (G, K).

    One loop over the entries: a column has about four, and a loop for each of them ends in a way that no processor
    foresees.
    """
    for _, begin, until in claimed(tasks):
        dot_pairs(begin, until, column, group, F, S, out)


@kernel
def pattern_spread(tasks, column, group, v, F, parts):
    """Write ``sum v[p] * F[column[p]]`` over each task's entries p of group g into parts[t, g]; (T, G, K).

    Entries as for `pattern_sampled`: one walk down F, and sums that stay in the cache.
    """
    for t, begin, until in claimed(tasks):
        parts[t] = 0
        spread_pairs(begin, until, column, group, v, F, parts, t)
