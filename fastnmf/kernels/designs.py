"""Kernels over shifts whose entries of one column meet: rows of the data have several of them at once.

The shifts V are a `CSR` by columns of the data: column j has the entries ``indptr[j]:indptr[j + 1]``, in the groups
`indices`. Their Gram matrix (q, q) is in float64, as are all sums here. It is a `CSR`, or, where it is small, a dense
array, whose rows are added by vector code. Inputs are not checked.
"""

from itertools import pairwise

import numpy as np

from fastnmf.kernels.jit import kernel, split_costs, work_stealing
from fastnmf.kernels.records import CSR
from fastnmf.kernels.row_intrinsics import padded, spread_pairs

MOST_DENSE = 512  # rows of a Gram matrix up to which it is taken dense: 2 MB
TILE = 1 << 11  # slopes that are kept at a time: 16 KB
FEW = 12  # entries that vector code adds in the time of a single one at its index


@kernel
def pattern_hals(tasks, V, gram, inverse, pos, neg, n_sweeps, parts):
    """Minimise ``<v, V gram> / 2 + <v, neg - pos>`` over v >= 0 by coordinate descent, each column by itself.

    An entry whose diagonal is 0 stays as it is. The slope ``pos - neg - V gram`` of a column is kept for all groups; at
    groups without an entry it means nothing.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the columns.
    V : CSR (n_columns, q)
        Its `data` are written.
    gram : CSR (q, q) of float64
        Symmetric.
    inverse : ndarray (q,) of float64
        1 over the diagonal of `gram`, or 0.
    pos, neg : ndarray of the length of V's data
    n_sweeps : int
        Sweeps over the entries of a column; 0 evaluates only.
    parts : ndarray (T, 2) of float64
        Written: the sums over each task's entries of ``v * (V gram - 2 pos)`` and of ``v * neg`` for the new v.
    """
    (start, group, v), (first, other, value) = V, gram
    for t, begin, until in work_stealing(tasks):
        own, crossed, slope = 0.0, 0.0, np.zeros(len(inverse))
        for j in range(begin, until):
            for e in range(start[j], start[j + 1]):
                slope[group[e]] = np.float64(pos[e]) - np.float64(neg[e])
            for sweep in range(n_sweeps + 1):  # the first one takes V gram off
                changes = sweep == 0
                for e in range(start[j], start[j + 1]):
                    s, step = group[e], np.float64(v[e])
                    if sweep > 0:
                        v[e] = max(step + slope[s] * inverse[s], 0.0)
                        step = np.float64(v[e]) - step
                    if step != 0:
                        changes = True
                        for p in range(first[s], first[s + 1]):
                            slope[other[p]] -= step * value[p]
                if not changes:
                    break
            for e in range(start[j], start[j + 1]):
                own -= np.float64(v[e]) * (slope[group[e]] + np.float64(pos[e]) + np.float64(neg[e]))
                crossed += np.float64(v[e]) * np.float64(neg[e])
        parts[t, 0], parts[t, 1] = own, crossed


@kernel
def pattern_hals_dense(tasks, V, gram, inverse, run, pos, neg, n_sweeps, parts):
    """Do the same with a dense Gram matrix, for several columns side by side.

    Most columns have a few entries, and the processor cannot predict how many. So all loops are over the entries of a
    tile of columns, sorted by the run of their group: the groups of one run do not meet, as the levels of one factor,
    and their entries may change at the same time.

    Parameters
    ----------
    tasks, V, inverse, pos, neg, n_sweeps, parts :
        As for `pattern_hals`.
    gram : ndarray (q, Q) of float64
        Symmetric, with zeros from column q on; Q is a whole number of blocks.
    run : ndarray (q,) of int32
        The run of each group, ascending.
    """
    (start, group, v), Q, n_together = V, gram.shape[1], max(TILE // gram.shape[1], 1)
    room, first = n_together * len(run), np.zeros(run[-1] + 1, np.int64)
    for g in range(len(run), 0, -1):
        first[run[g - 1]] = (g - 1) * n_together
    for t, begin, until in work_stealing(tasks):
        own, crossed, slope, count = 0.0, 0.0, np.zeros((1, n_together, Q)), np.zeros(len(first), np.int64)
        order, place, slopes = np.zeros(room, np.uint64), np.zeros(room, np.uint32), slope.reshape(slope.size)
        column, member, columns = np.zeros(room, np.int32), np.zeros(room, np.int32), np.zeros(room, np.int32)
        members, near, scale, steps = np.zeros(room, np.int32), np.zeros(room), np.zeros(room), np.zeros(room)
        for lo in range(begin, until, n_together):
            slopes[:], count[:] = 0, 0
            for j in range(lo, min(lo + n_together, until)):
                for e in range(start[j], start[j + 1]):
                    s = np.uint32(group[e])
                    p = np.uint64(first[run[s]] + count[run[s]])
                    count[run[s]] += 1
                    order[p], column[p], member[p], near[p], scale[p] = e, j - lo, s, v[e], inverse[s]
                    place[p] = (j - lo) * Q + s
                    slopes[place[p]] = np.float64(pos[e]) - np.float64(neg[e])
            for sweep in range(n_sweeps + 1):  # the first one takes V gram off
                n_changes = np.uint64(sweep == 0)
                for r in range(len(first)):
                    n = np.uint64(0)
                    for p in range(first[r], first[r] + count[r]):
                        step = -near[p]
                        if sweep > 0:
                            near[p] = v.dtype.type(max(slopes[place[p]] * scale[p] - step, 0.0))
                            step = -step - near[p]
                        members[n], columns[n], steps[n] = member[p], column[p], step
                        n += np.uint64(step != 0)
                    spread_pairs(0, np.int64(n), members, columns, steps, gram, slope, 0)
                    n_changes += n
                if n_changes == 0:
                    break
            for r in range(len(first)):
                for p in range(first[r], first[r] + count[r]):
                    v[order[p]] = near[p]
                    own -= near[p] * (slopes[place[p]] + np.float64(pos[order[p]]) + np.float64(neg[order[p]]))
                    crossed += near[p] * np.float64(neg[order[p]])
        parts[t, 0], parts[t, 1] = own, crossed


@kernel
def pattern_mu(tasks, V, gram, pos, neg, limits, n_updates, parts):
    """Multiply v by ``(pos + V L) / (V G + neg + eps)``, where gram = G - L with G, L >= 0, each column by itself.

    Parameters
    ----------
    tasks, V, gram, pos, neg :
        As for `pattern_hals`; gram may have negative entries, -L.
    limits : Limits
    n_updates : int
    parts : ndarray (T, 2) of float64
        As for `pattern_hals`.
    """
    (eps, floor), (start, group, v), (first, other, value) = limits, V, gram
    for t, begin, until in work_stealing(tasks):
        own, crossed, above, below = 0.0, 0.0, np.zeros(len(first) - 1), np.zeros(len(first) - 1)
        for j in range(begin, until):
            for update in range(n_updates + 1):  # the last one only adds up
                for e in range(start[j], start[j + 1]):
                    above[group[e]], below[group[e]] = np.float64(pos[e]), np.float64(neg[e])
                for e in range(start[j], start[j + 1]):
                    for p in range(first[group[e]], first[group[e] + 1] if v[e] != 0 else first[group[e]]):
                        below[other[p]] += np.float64(v[e]) * max(value[p], 0.0)
                        above[other[p]] -= np.float64(v[e]) * min(value[p], 0.0)
                for e in range(start[j], start[j + 1] if update < n_updates else start[j]):
                    step = np.float64(v[e]) * above[group[e]]
                    v[e] = max(step / (below[group[e]] + eps), floor) if step > 0 else 0
            for e in range(start[j], start[j + 1]):
                own += np.float64(v[e]) * (below[group[e]] - above[group[e]] - np.float64(neg[e]) - np.float64(pos[e]))
                crossed += np.float64(v[e]) * np.float64(neg[e])
        parts[t, 0], parts[t, 1] = own, crossed


def descend(V, gram, pos, neg, n_sweeps):
    """Lower V in place by sweeps of `pattern_hals`, and return ``<v, V gram - 2 pos>`` and ``<v, neg>``.

    Parameters
    ----------
    V, pos, neg, n_sweeps :
        As for `pattern_hals`.
    gram : csr_array (q, q) of float64
    """
    tasks = column_tasks(V, gram)
    parts = np.empty((len(tasks) - 1, 2))
    diagonal = gram.diagonal()
    inverse = np.divide(1.0, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
    dense, sides = rows_of(gram), (pos, neg, n_sweeps, parts)
    if dense is None:
        pattern_hals(tasks, V, as_record(gram), inverse, *sides)
    else:
        pattern_hals_dense(tasks, V, dense, inverse, runs_of(gram), *sides)
    return parts.sum(axis=0).tolist()


def quadratic_form(V, gram):
    """Return ``trace(V gram Vᵀ)`` for a `CSR` V and a csr_array gram (q, q) of float64."""
    nothing = np.zeros_like(V.data)
    return descend(V, gram, nothing, nothing, 0)[0]


def column_tasks(V, gram):
    """Return the task table over the columns of V, a `CSR`: an entry costs as much as a row of the Gram matrix has."""
    return split_costs(V.indptr, 1 + gram.nnz // gram.shape[0])


def runs_of(gram):
    """Return the run of each group, (q,) of int32, ascending: groups of one run follow one another and do not meet."""
    runs, first = np.zeros(gram.shape[0], np.int32), 0
    for s, (begin, end) in enumerate(pairwise(gram.indptr.tolist())):
        meets = gram.indices[begin:end]
        starts_anew = bool(((meets >= first) & (meets < s)).any())
        first = s if starts_anew else first
        runs[s] = runs[max(s - 1, 0)] + starts_anew
    return runs


def as_record(gram):
    """Return a csr_array of float64 as the `CSR` that kernels take."""
    return CSR(gram.indptr.astype(np.int64), gram.indices.astype(np.int32), gram.data)


def rows_of(gram):
    """Return a csr_array (q, q) as a dense array (q, Q) where vector code is faster, else None."""
    n_groups = gram.shape[0]
    if n_groups > MOST_DENSE or n_groups * n_groups > FEW * gram.nnz:
        return None
    dense = np.zeros((n_groups, padded(n_groups, np.float64)))
    dense[:, :n_groups] = gram.toarray()  # never-densify-ok: q x q, at most 2 MB
    return dense
