"""Kernels of the Kullback-Leibler divergence with a design: each row has a weighted sum of several shifts.

The model of row i of the data is ``y = F Gᵀ + sum_e z_ie v[e]``. Every row is given the same number r of shifts; those
that it has not have weight zero and no entry. Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import kernel, work_stealing


@kernel
def csr_design_entries(tasks, indptr, indices, group, start, group_of, n_groups, entries):
    """Write for every non-zero of the data the entries of the shifts that it meets, -1 where there is none.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    indptr : ndarray (p + 1,) of int64
        The rows walked are the columns of the data.
    indices : ndarray (nnz,) of int32
        The row of the data of each non-zero.
    group : ndarray (n, r) of int32
        The shifts of each row of the data; negative where it has less than r.
    start, group_of : ndarray (p + 1,) of int64, (S,) of int32
        Column j has the entries start[j]:start[j + 1]; entry e belongs to the shift group_of[e].
    n_groups : int
        Number of shifts.
    entries : ndarray (nnz, r) of int32
        Written.
    """
    for _, begin, until in work_stealing(tasks):
        slot = np.full(n_groups, -1, np.int32)
        for j in range(begin, until):
            for e in range(start[j], start[j + 1]):
                slot[group_of[e]] = e
            for p in range(indptr[j], indptr[j + 1]):
                for e in range(entries.shape[1]):
                    g = group[indices[p], e]
                    entries[p, e] = slot[g] if g >= 0 else -1
            for e in range(start[j], start[j + 1]):
                slot[group_of[e]] = -1


@kernel
def csr_design_shifts(tasks, indptr, indices, weight, entries, v, is_left, out):
    """Write for every non-zero of the data the sum of the shifts that it meets.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    indptr : ndarray (p + 1,) of int64
    indices : ndarray (nnz,) of int32
    weight : ndarray (n, r), dtype of the data
        z, for each row of the data.
    entries : ndarray (nnz, r) of int32
        The entries of v that each non-zero meets; negative where there is none.
    v : ndarray (S,), dtype of the data
    is_left : bool
        Whether the rows walked are those of the data, so that the weights are those of the row; else they are those of
        each index.
    out : ndarray (nnz,), dtype of the data
        Written.
    """
    for _, begin, until in work_stealing(tasks):
        for i in range(begin, until):
            for p in range(indptr[i], indptr[i + 1]):
                row, total = np.uint32(i if is_left else indices[p]), 0.0
                for e in range(entries.shape[1]):
                    if entries[p, e] >= 0:
                        total += np.float64(weight[row, e]) * v[np.uint32(entries[p, e])]
                out[p] = total


@kernel
def csr_design_sums(tasks, indptr, indices, weight, entries, ratio, sums):
    """Add the ratio of every non-zero, times the weights of its row, to the sums of the shifts that it meets.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    indptr : ndarray (p + 1,) of int64
        The rows walked are the columns of the data, so that no two of them meet the same entry.
    indices : ndarray (nnz,) of int32
    weight : ndarray (n, r), dtype of the data
    entries : ndarray (nnz, r) of int32
        As for `csr_design_shifts`.
    ratio : ndarray (nnz,), dtype of the data
    sums : ndarray (S,) of float64
        Written.
    """
    for _, begin, until in work_stealing(tasks):
        for j in range(begin, until):
            for p in range(indptr[j], indptr[j + 1]):
                for e in range(entries.shape[1]):
                    if entries[p, e] >= 0:
                        at = np.uint32(entries[p, e])  # a signed index may be from the end, which costs a comparison
                        sums[at] += np.float64(ratio[p]) * weight[np.uint32(indices[p]), e]
