"""Kernels over shifts whose entries of one column meet: rows of the data have several of them at once.

The shifts V are a `CSR` by columns of the data: column j has the entries ``indptr[j]:indptr[j + 1]``, in the groups
`indices`. Their Gram matrix is a `CSR` (q, q), in float64, as are all sums here. Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import helper, kernel, split_costs, work_stealing
from fastnmf.kernels.records import CSR


@helper
def add_row(gram, s, factor, slope):
    """Add ``factor * gram[s]`` to slope (q,)."""
    for p in range(gram.indptr[s], gram.indptr[s + 1]):
        slope[gram.indices[p]] += factor * gram.data[p]


@helper
def begin_column(V, gram, pos, neg, j, slope):
    """Write ``pos - neg - V gram`` at the entries of column j into slope (q,); what stands elsewhere means nothing."""
    for e in range(V.indptr[j], V.indptr[j + 1]):
        slope[V.indices[e]] = np.float64(pos[e]) - np.float64(neg[e])
    for e in range(V.indptr[j], V.indptr[j + 1]):
        if V.data[e] != 0:
            add_row(gram, V.indices[e], -np.float64(V.data[e]), slope)


@helper
def end_column(V, pos, neg, j, slope, sums):
    """Add ``<v, V gram - 2 pos>`` and ``<v, neg>`` of column j to sums (2,)."""
    for e in range(V.indptr[j], V.indptr[j + 1]):
        v = np.float64(V.data[e])
        if v != 0:
            sums[0] -= v * (slope[V.indices[e]] + np.float64(pos[e]) + np.float64(neg[e]))
            sums[1] += v * np.float64(neg[e])


@kernel
def pattern_hals(tasks, V, gram, diagonal, pos, neg, n_sweeps, parts):
    """Minimise ``<v, V gram> / 2 + <v, neg - pos>`` over v >= 0 by coordinate descent, each column by itself.

    An entry whose diagonal is 0 stays as it is.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the columns.
    V : CSR (n_columns, q)
        Its `data` are written.
    gram : CSR (q, q) of float64
        Symmetric.
    diagonal : ndarray (q,) of float64
        Of `gram`.
    pos, neg : ndarray of the length of V's data
    n_sweeps : int
        Sweeps over the entries of a column; 0 evaluates only.
    parts : ndarray (T, 2) of float64
        Written: the sums over each task's entries of ``v * (V gram - 2 pos)`` and of ``v * neg`` for the new v.
    """
    for t, begin, until in work_stealing(tasks):
        slope, sums = np.empty(len(diagonal)), np.zeros(2)
        for j in range(begin, until):
            begin_column(V, gram, pos, neg, j, slope)
            for _ in range(n_sweeps):
                changes = False
                for e in range(V.indptr[j], V.indptr[j + 1]):
                    s, before = V.indices[e], V.data[e]
                    if diagonal[s] > 0:
                        V.data[e] = max(np.float64(before) + slope[s] / diagonal[s], 0.0)
                        if V.data[e] != before:
                            changes = True
                            add_row(gram, s, np.float64(before) - np.float64(V.data[e]), slope)
                if not changes:
                    break
            end_column(V, pos, neg, j, slope, sums)
        parts[t] = sums


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
    eps, floor = limits
    for t, begin, until in work_stealing(tasks):
        n_groups = len(gram.indptr) - 1
        above, below, slope, sums = np.empty(n_groups), np.empty(n_groups), np.empty(n_groups), np.zeros(2)
        for j in range(begin, until):
            first, last = V.indptr[j], V.indptr[j + 1]
            for _ in range(n_updates):
                for e in range(first, last):
                    above[V.indices[e]], below[V.indices[e]] = np.float64(pos[e]), np.float64(neg[e])
                for e in range(first, last):
                    v, s = np.float64(V.data[e]), V.indices[e]
                    if v != 0:
                        for p in range(gram.indptr[s], gram.indptr[s + 1]):
                            if gram.data[p] > 0:
                                below[gram.indices[p]] += v * gram.data[p]
                            else:
                                above[gram.indices[p]] -= v * gram.data[p]
                for e in range(first, last):
                    s, step = V.indices[e], np.float64(V.data[e]) * above[V.indices[e]]
                    V.data[e] = max(step / (below[s] + eps), floor) if step > 0 else 0
            begin_column(V, gram, pos, neg, j, slope)
            end_column(V, pos, neg, j, slope, sums)
        parts[t] = sums


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
    pattern_hals(tasks, V, as_record(gram), gram.diagonal(), pos, neg, n_sweeps, parts)
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
