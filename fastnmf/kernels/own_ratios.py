"""Kernel of the Kullback-Leibler divergence with own components of strata: see `own` for the arrays.

Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import kernel, work_stealing


@kernel
def csr_own_parts(tasks, indptr, indices, places, weights, E, is_left, out):
    """Write for every non-zero of the data what the shift and the own components of its stratum add to the model.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    indptr : ndarray (p + 1,) of int64
    indices : ndarray (nnz,) of int32
    places : ndarray (nnz,) of int32
        The row of E that each non-zero meets.
    weights : ndarray (n, 1 + w), dtype of the data
        The row scale and the weights of own components, for each row of the data.
    E : ndarray (q, 1 + w), dtype of the data
    is_left : bool
        Whether the rows walked are those of the data, so that the weights are those of the row; else they are those of
        each index.
    out : ndarray (nnz,), dtype of the data
        Written.
    """
    for _, begin, until in work_stealing(tasks):
        for i in range(begin, until):
            for p in range(indptr[i], indptr[i + 1]):
                u, g, total = weights[np.uint32(i if is_left else indices[p])], E[np.uint32(places[p])], 0.0
                for c in range(len(g)):
                    total += np.float64(u[c]) * g[c]
                out[p] = total
