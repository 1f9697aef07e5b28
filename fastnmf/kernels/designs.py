"""Kernels over shifts whose entries of one column meet: rows of the data have several of them at once.

The shifts V are a `CSR` by columns of the data: column j has the entries ``indptr[j]:indptr[j + 1]``, in the groups
`indices`. Their Gram matrix (q, q) is in float64, as are all sums here. It is given as a `CSR`, and a small one also as
a dense array, whose rows are added by vector code: with 41 columns an update then took 9 ms in place of 72. Inputs are
not checked.
"""

import numpy as np

from fastnmf.kernels.jit import inlined, kernel, split_costs, work_stealing
from fastnmf.kernels.records import CSR

MOST_DENSE = 512  # rows of a Gram matrix up to which it is taken dense: 2 MB
LANES = 16  # its rows are as long as a whole number of these
FEW = 12  # entries that vector code adds in the time of a single one at its index


@inlined
def add_row(gram, dense, s, factor, slope):
    """Add ``factor * gram[s]`` to slope (q,).

    Parameters
    ----------
    gram : CSR (q, q)
    dense : ndarray (q, Q), or (0, 0)
    s : int
    factor : float
    slope : ndarray (Q,)
    """
    if len(dense) > 0:
        for c in range(len(slope)):
            slope[c] += factor * dense[s, c]
    else:
        for p in range(gram.indptr[s], gram.indptr[s + 1]):
            slope[gram.indices[p]] += factor * gram.data[p]


@inlined
def begin_column(first, last, group, v, gram, dense, pos, neg, slope):
    """Write ``pos - neg - V gram`` at the entries of a column into slope; what stands elsewhere means nothing.

    Parameters
    ----------
    first, last : int
        The entries of the column.
    group, v : ndarray
        Of V.
    gram, dense, pos, neg :
        As for `pattern_hals`.
    slope : ndarray (Q,) of float64
    """
    if len(dense) > 0:
        slope[:] = 0.0
    for e in range(first, last):
        slope[group[e]] = np.float64(pos[e]) - np.float64(neg[e])
    for e in range(first, last):
        if v[e] != 0:
            add_row(gram, dense, group[e], -np.float64(v[e]), slope)


@kernel
def pattern_hals(tasks, V, gram, dense, diagonal, pos, neg, n_sweeps, parts):
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
    dense : ndarray (q, Q) of float64, Q >= q, or (0, 0)
        The same with zeros from column q on; where it is given, `gram` is not read.
    diagonal : ndarray (q,) of float64
        Of `gram`.
    pos, neg : ndarray of the length of V's data
    n_sweeps : int
        Sweeps over the entries of a column; 0 evaluates only.
    parts : ndarray (T, 2) of float64
        Written: the sums over each task's entries of ``v * (V gram - 2 pos)`` and of ``v * neg`` for the new v.
    """
    start, group, v = V
    for t, begin, until in work_stealing(tasks):
        slope, own, crossed = np.empty(max(len(diagonal), dense.shape[1])), 0.0, 0.0
        for j in range(begin, until):
            begin_column(start[j], start[j + 1], group, v, gram, dense, pos, neg, slope)
            for _ in range(n_sweeps):
                changes = False
                for e in range(start[j], start[j + 1]):
                    s, before = group[e], v[e]
                    if diagonal[s] > 0:
                        v[e] = max(np.float64(before) + slope[s] / diagonal[s], 0.0)
                        if v[e] != before:
                            changes = True
                            add_row(gram, dense, s, np.float64(before) - np.float64(v[e]), slope)
                if not changes:
                    break
            for e in range(start[j], start[j + 1]):
                own -= np.float64(v[e]) * (slope[group[e]] + np.float64(pos[e]) + np.float64(neg[e]))
                crossed += np.float64(v[e]) * np.float64(neg[e])
        parts[t, 0], parts[t, 1] = own, crossed


@kernel
def pattern_mu(tasks, V, gram, dense, pos, neg, limits, n_updates, parts):
    """Multiply v by ``(pos + V L) / (V G + neg + eps)``, where gram = G - L with G, L >= 0, each column by itself.

    Parameters
    ----------
    tasks, V, gram, dense, pos, neg :
        As for `pattern_hals`; gram may have negative entries, -L.
    limits : Limits
    n_updates : int
    parts : ndarray (T, 2) of float64
        As for `pattern_hals`.
    """
    (eps, floor), (start, group, v) = limits, V
    for t, begin, until in work_stealing(tasks):
        n_groups, own, crossed = len(gram.indptr) - 1, 0.0, 0.0
        above, below, slope = np.empty(n_groups), np.empty(n_groups), np.empty(max(n_groups, dense.shape[1]))
        for j in range(begin, until):
            for _ in range(n_updates):
                above[:], below[:] = 0.0, 0.0
                for e in range(start[j], start[j + 1]):
                    above[group[e]], below[group[e]] = np.float64(pos[e]), np.float64(neg[e])
                for e in range(start[j], start[j + 1]):
                    for p in range(gram.indptr[group[e]], gram.indptr[group[e] + 1]):
                        below[gram.indices[p]] += np.float64(v[e]) * max(gram.data[p], 0.0)
                        above[gram.indices[p]] -= np.float64(v[e]) * min(gram.data[p], 0.0)
                for e in range(start[j], start[j + 1]):
                    step = np.float64(v[e]) * above[group[e]]
                    v[e] = max(step / (below[group[e]] + eps), floor) if step > 0 else 0
            begin_column(start[j], start[j + 1], group, v, gram, dense, pos, neg, slope)
            for e in range(start[j], start[j + 1]):
                own -= np.float64(v[e]) * (slope[group[e]] + np.float64(pos[e]) + np.float64(neg[e]))
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
    pattern_hals(tasks, V, *as_arguments(gram), gram.diagonal(), pos, neg, n_sweeps, parts)
    return parts.sum(axis=0).tolist()


def quadratic_form(V, gram):
    """Return ``trace(V gram Vᵀ)`` for a `CSR` V and a csr_array gram (q, q) of float64."""
    nothing = np.zeros_like(V.data)
    return descend(V, gram, nothing, nothing, 0)[0]


def column_tasks(V, gram):
    """Return the task table over the columns of V, a `CSR`: an entry costs as much as a row of the Gram matrix has."""
    return split_costs(V.indptr, 1 + gram.nnz // gram.shape[0])


def as_arguments(gram):
    """Return a csr_array of float64 as the `CSR` that kernels take, and dense where vector code is faster."""
    n_groups = gram.shape[0]
    is_dense = n_groups <= MOST_DENSE and n_groups * n_groups <= FEW * gram.nnz
    dense = np.zeros((n_groups, -(-n_groups // LANES) * LANES)) if is_dense else np.empty((0, 0))
    dense[:, :n_groups] = gram.toarray() if is_dense else 0  # never-densify-ok: q x q, at most 2 MB
    return CSR(gram.indptr.astype(np.int64), gram.indices.astype(np.int32), gram.data), dense
