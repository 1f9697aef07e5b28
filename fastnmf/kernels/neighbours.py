"""Nearest rows of sparse data. Inputs are not checked."""

import numpy as np

from fastnmf.kernels.jit import helper, kernel, work_stealing


@helper
def _insert(keys, nearest, n_found, key, r):
    """Insert a row among the nearest ones, after those of the same key, and return how many there are now.

    Parameters
    ----------
    keys, nearest : ndarray (c,) of float64, (c,) of int64
        The distances of the nearest rows, ascending, and their numbers; written. The last one drops out of full arrays.
    n_found : int
        How many there are.
    key, r : float, int
        Distance and number of the row.
    """
    at = n_found if n_found < len(keys) else n_found - 1
    n_found = at + 1
    while at > 0 and keys[at - 1] > key:
        keys[at], nearest[at] = keys[at - 1], nearest[at - 1]
        at -= 1
    keys[at], nearest[at] = key, r
    return n_found


@kernel
def csr_nearest(tasks, csr, columns, squares, step, is_own, distances, nearest):
    """Write the rows y of Y with the least Euclidean distance from each row x of X, both sparse.

    The inner products of x with all rows of Y are collected in one array, through the columns in which x has entries:
    ``sum over entries of x`` of the lengths of these columns, plus one comparison for each row of Y. Distances count in
    whole numbers of steps, and of equally near rows the first come first, so that rounding decides nothing.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the rows of X; it may begin at any row.
    csr : fastnmf.kernels.records.CSR
        X (n, m), float32 or float64.
    columns : fastnmf.kernels.records.CSR
        The transpose of Y (q, m), of the same dtype; its indices are rows of Y.
    squares : ndarray (n + q,) of float64
        Squared lengths of the rows of X, then of those of Y.
    step : float
        Differences of distances that are smaller count as rounding; > 0.
    is_own : bool
        Whether X is Y: a row is then not near to itself.
    distances : ndarray (n, c) of float64
        Written; ascending in whole steps. c is at most q, or q - 1 with `is_own`.
    nearest : ndarray (n, c) of int64
        Written: rows of Y.
    """
    (n, count), q = nearest.shape, len(squares) - len(nearest)
    for _, begin, until in work_stealing(tasks):
        inner, keys = np.zeros(q), np.empty(count)
        for i in range(begin, until):
            for p in range(csr.indptr[i], csr.indptr[i + 1]):
                value, j = np.float64(csr.data[p]), csr.indices[p]
                for e in range(columns.indptr[j], columns.indptr[j + 1]):
                    inner[columns.indices[e]] += value * columns.data[e]
            n_found, beyond = 0, np.inf  # no row at this squared distance or beyond has a place among the nearest
            for r in range(q):
                square = squares[i] + squares[n + r] - 2.0 * inner[r]
                inner[r] = 0.0
                if square < beyond and not (is_own and r == i):
                    key = np.rint(np.sqrt(max(square, 0.0)) / step)
                    if n_found < count or key < keys[count - 1]:
                        n_found = _insert(keys, nearest[i], n_found, key, r)
                        if n_found == count:
                            beyond = np.square((keys[count - 1] + 1.0) * step)
            for c in range(count):
                distances[i, c] = keys[c] * step
