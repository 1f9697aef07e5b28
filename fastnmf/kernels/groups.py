"""Least squares under a norm of each row of a factor. Inputs are not checked."""

import numpy as np

from fastnmf.kernels.jit import kernel, work_stealing


@kernel
def rows_group_norm(tasks, F, target, gram, weight, n_sweeps):
    """Lower ``f gram fᵀ - 2 f target_i + 2 weight ||f||`` over each row f >= 0 of F.

    A row is zero where that is best: where ``||max(target_i, 0)|| <= weight``. A row of zeros else begins at the best
    multiple of ``max(target_i, 0)``. Sweeps of coordinate descent follow, of the parabola that touches the norm from
    above at the present row.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F : ndarray (p, K)
        Its first k columns are overwritten.
    target : ndarray (p, k) of float64
    gram : ndarray (k, k) of float64
    weight : float
    n_sweeps : int
    """
    k = gram.shape[0]
    for _, begin, until in work_stealing(tasks):
        f = np.empty(k)
        for i in range(begin, until):
            pull = bend = 0.0
            for c in range(k):
                f[c] = np.float64(F[i, c])
                pull += max(target[i, c], 0.0) ** 2
                for l in range(k):
                    bend += max(target[i, c], 0.0) * gram[c, l] * max(target[i, l], 0.0)
            if pull <= weight * weight:
                F[i, :k] = 0
                continue
            first = (pull - weight * np.sqrt(pull)) / bend if bend > 0 else 0.0
            for _ in range(n_sweeps):
                square = 0.0
                for c in range(k):
                    square += f[c] * f[c]
                if square == 0:
                    for c in range(k):
                        f[c] = first * max(target[i, c], 0.0)
                    square = first * first * pull
                ridge = weight / np.sqrt(square) if square > 0 else 0.0
                for c in range(k):
                    slope = target[i, c] + gram[c, c] * f[c]
                    for l in range(k):
                        slope -= gram[c, l] * f[l]
                    if square > 0 and gram[c, c] + ridge > 0:
                        f[c] = max(slope / (gram[c, c] + ridge), 0.0)
            for c in range(k):
                F[i, c] = f[c]
