"""Kernels over shifts whose entries of one column meet: rows of the data have several of them at once.

The shifts V are a `CSR` by columns of the data: column j has the entries ``indptr[j]:indptr[j + 1]``, in the groups
`indices`. Their Gram matrix (q, q) is in float64, as are all sums here. It is given as a `CSR`, and a small one also as
a dense array, whose rows are added by vector code: with 41 columns an update took 22 ms in place of 40. Inputs are
not checked.
"""

import numpy as np

from fastnmf.kernels.jit import kernel, split_costs, work_stealing
from fastnmf.kernels.records import CSR
from fastnmf.kernels.row_intrinsics import padded

MOST_DENSE = 512  # rows of a Gram matrix up to which it is taken dense: 2 MB
FEW = 12  # entries that vector code adds in the time of a single one at its index


@kernel
def pattern_hals(tasks, V, gram, dense, inverse, pos, neg, n_sweeps, parts):
    """Minimise ``<v, V gram> / 2 + <v, neg - pos>`` over v >= 0 by coordinate descent, each column by itself.

    An entry whose diagonal is 0 stays as it is. The slope ``pos - neg - V gram`` of a column is kept for all groups; at
    groups without an entry it means nothing. (Four rows of the Gram matrix at a time, runs of groups that do not meet,
    and the entries of a column alone were as fast or slower.)

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the columns.
    V : CSR (n_columns, q)
        Its `data` are written.
    gram : CSR (q, q) of float64
        Symmetric.
    dense : ndarray (q, Q) of float64, Q >= q, or (0, 0)
        The same with zeros from column q on; where it is given, `gram` is not read.
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
        own, crossed, slope = 0.0, 0.0, np.zeros(max(len(inverse), dense.shape[1]))
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
                        for c in range(len(slope) if len(dense) > 0 else 0):
                            slope[c] -= step * dense[s, c]
                        for p in range(first[s], first[s + 1] if len(dense) == 0 else first[s]):
                            slope[other[p]] -= step * value[p]
                if not changes:
                    break
            for e in range(start[j], start[j + 1]):
                own -= np.float64(v[e]) * (slope[group[e]] + np.float64(pos[e]) + np.float64(neg[e]))
                crossed += np.float64(v[e]) * np.float64(neg[e])
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
    pattern_hals(tasks, V, as_record(gram), rows_of(gram), inverse, pos, neg, n_sweeps, parts)
    return parts.sum(axis=0).tolist()


def quadratic_form(V, gram):
    """Return ``trace(V gram Vᵀ)`` for a `CSR` V and a csr_array gram (q, q) of float64."""
    nothing = np.zeros_like(V.data)
    return descend(V, gram, nothing, nothing, 0)[0]


def column_tasks(V, gram):
    """Return the task table over the columns of V, a `CSR`: an entry costs as much as a row of the Gram matrix has."""
    return split_costs(V.indptr, 1 + gram.nnz // gram.shape[0])


def as_record(gram):
    """Return a csr_array of float64 as the `CSR` that kernels take."""
    return CSR(gram.indptr.astype(np.int64), gram.indices.astype(np.int32), gram.data)


def rows_of(gram):
    """Return a csr_array (q, q) as a dense array (q, Q) where vector code is faster, else one of shape (0, 0)."""
    n_groups = gram.shape[0]
    if n_groups > MOST_DENSE or n_groups * n_groups > FEW * gram.nnz:
        return np.empty((0, 0))
    dense = np.zeros((n_groups, padded(n_groups, np.float64)))
    dense[:, :n_groups] = gram.toarray()  # never-densify-ok: q x q, at most 2 MB
    return dense
