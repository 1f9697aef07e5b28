"""Exact coordinate descent over the weights of mixtures, whose quadratic objective has a matrix on either side.

For components ``Fᵀ A`` with weights F (p, k) >= 0 of the rows of A (p, m), the objective is

    ``trace(gram Fᵀ A Aᵀ F) / 2 - <F, A B>``,  with the half-gradient  ``A (Aᵀ F gram - B)``.

In a single row f of F it is a quadratic in k variables with the curvature ``||a||² gram``. A sweep solves these small
problems one after another by steps over their entries, each of which is exact. Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import helper, kernel, work_stealing


@helper
def _step(F, i, slope, gram, square, n_steps, pull):
    """Update row i of F, and write ``gram`` times its change into pull; return whether it has changed.

    Parameters
    ----------
    F : ndarray (p, K)
        Written in row i.
    i : int
    slope : ndarray (k,) of float64
        The half-gradient of the row; overwritten by that of the updated row.
    gram : ndarray (k, k) of float64
    square : float
        Squared length of the row of A.
    n_steps : int
        Passes over the entries of the row.
    pull : ndarray (k,) of float64
        Written.

    Returns
    -------
    bool
    """
    k, has_changed = len(gram), False
    pull[:] = 0.0
    for _ in range(n_steps):
        is_settled = True
        for c in range(k):
            bend = square * gram[c, c]
            if bend > np.finfo(np.float64).tiny:
                before = np.float64(F[i, c])
                F[i, c] = max(0.0, before - slope[c] / bend)
                moved = np.float64(F[i, c]) - before
                if moved != 0.0:
                    is_settled, has_changed = False, True
                    for d in range(k):
                        pull[d] += moved * gram[c, d]
                        slope[d] += moved * square * gram[c, d]
        if is_settled:
            break
    return has_changed


@kernel
def csr_mixtures(tasks, csr, squares, F, gram, slope, order, n_steps):
    """Update the rows ``order[0], order[1], ...`` of F for a sparse A.

    Parameters
    ----------
    tasks : ndarray (2,) of int64
        Task table with one task, because each row needs the rows before it.
    csr : fastnmf.kernels.records.CSR
        A (p, m).
    squares : ndarray (p,) of float64
        Squared lengths of the rows of A.
    F : ndarray (p, K)
        Written in its first k columns.
    gram : ndarray (k, k) of float64
    slope : ndarray (m, k) of float64
        ``Aᵀ F gram - B``; overwritten by that of the new F.
    order : ndarray of int64
    n_steps : int
        Passes over the entries of a row.
    """
    (indptr, indices, data), k = csr, len(gram)
    for _, _, _ in work_stealing(tasks):
        own, pull = np.empty(k), np.empty(k)
        for i in order:
            own[:] = 0.0
            for p in range(indptr[i], indptr[i + 1]):
                for c in range(k):
                    own[c] += data[p] * slope[indices[p], c]
            if _step(F, i, own, gram, squares[i], n_steps, pull):
                for p in range(indptr[i], indptr[i + 1]):
                    for c in range(k):
                        slope[indices[p], c] += data[p] * pull[c]


@kernel
def dense_mixtures(tasks, A, squares, F, gram, slope, order, n_steps):
    """Do as `csr_mixtures` for a dense A (p, m).

    Parameters
    ----------
    tasks, squares, F, gram, slope, order, n_steps
        As for `csr_mixtures`.
    A : ndarray (p, m)
    """
    k, m = len(gram), A.shape[1]
    for _, _, _ in work_stealing(tasks):
        own, pull = np.empty(k), np.empty(k)
        for i in order:
            own[:] = 0.0
            for j in range(m):
                for c in range(k):
                    own[c] += A[i, j] * slope[j, c]
            if _step(F, i, own, gram, squares[i], n_steps, pull):
                for j in range(m):
                    for c in range(k):
                        slope[j, c] += A[i, j] * pull[c]


@kernel
def gram_mixtures(tasks, products, squares, F, gram, slope, order, n_steps):
    """Do as `csr_mixtures` where ``A Aᵀ`` is known; only rows that change cost more than O(k²).

    Parameters
    ----------
    tasks, squares, F, gram, order, n_steps
        As for `csr_mixtures`.
    products : ndarray (p, p) of float64
        ``A Aᵀ``.
    slope : ndarray (p, k) of float64
        The half-gradient ``A Aᵀ F gram - A B``; overwritten by that of the new F.
    """
    k = len(gram)
    for _, _, _ in work_stealing(tasks):
        own, pull = np.empty(k), np.empty(k)
        for i in order:
            own[:] = slope[i]
            if _step(F, i, own, gram, squares[i], n_steps, pull):
                for j in range(len(products)):
                    for c in range(k):
                        slope[j, c] += products[i, j] * pull[c]
