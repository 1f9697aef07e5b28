"""Exact coordinate descent for weights whose rows meet the rows after them, ``y_i = sum_l W[i - l] C_l``.

Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import kernel, work_stealing


@kernel
def lagged_sweeps(tasks, F, curvature, pos, order, n_sweeps):
    """Minimise the squared error over each entry of F >= 0 in turn, row by row.

    The half-gradient of row i is ``sum_d F[i + d] curvature[q - 1, d + p - 1] - pos[i]``, where q is the smaller of p
    and the number of rows from i on. The cost is O(n p k²) a sweep; rows of zeros cost nothing to their neighbours.

    Parameters
    ----------
    tasks : ndarray (2,) of int64
        Task table with one task, because each row needs the rows before it.
    F : ndarray (n, K)
        Written in its first k columns.
    curvature : ndarray (p, 2 p - 1, k, k) of float64
        How rows at a distance d between 1 - p and p - 1 meet where q lags lie within the data: entry
        ``[q - 1, d + p - 1, b, c]`` is the pull of column b of row i + d on column c of row i.
    pos : ndarray (n, K), dtype of F
    order : ndarray of int64
        Columns in the order of their updates.
    n_sweeps : int
    """
    n_lags, k, n_rows = len(curvature), curvature.shape[2], len(F)
    for _, begin, until in work_stealing(tasks):
        pull = np.empty(k)
        for _ in range(n_sweeps):
            for i in range(begin, until):
                of_row = curvature[min(n_lags, n_rows - i) - 1]
                own = of_row[n_lags - 1]
                for c in range(k):
                    pull[c] = -np.float64(pos[i, c])
                for j in range(max(i - n_lags + 1, 0), min(i + n_lags, n_rows)):
                    for b in range(k):
                        f = np.float64(F[j, b])
                        if f != 0.0:
                            for c in range(k):
                                pull[c] += f * of_row[j - i + n_lags - 1, b, c]
                for c in order:
                    if own[c, c] > 0.0:
                        x = F.dtype.type(max(np.float64(F[i, c]) - pull[c] / own[c, c], 0.0))
                        step = np.float64(x) - np.float64(F[i, c])
                        if step != 0.0:
                            F[i, c] = x
                            for b in range(k):
                                pull[b] += step * own[c, b]
