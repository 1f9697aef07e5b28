"""Passes for peeling a matrix from below, and for the algebra of OR and AND."""

import numpy as np

from fastnmf.kernels.jit import claimed, helper, kernel


@kernel
def csr_press(tasks, indptr, indices, residual, multiplier, carried, pair, step, out):
    """Raise the multipliers of ``u vᵀ <= R`` on the non-zeros of R, and write what they leave of R, times v.

    With y = u_i v_j the multiplier becomes ``max(0, multiplier - step (residual - y))`` and `carried` grows by
    ``step y``; out[i] is the sum of ``(residual - multiplier + carried) v_j``. residual, multiplier, carried (nnz,),
    pair (u, v), all float64.
    """
    u, v = pair
    for _, begin, until in claimed(tasks):
        for i in range(begin, until):
            total = 0.0
            for p in range(indptr[i], indptr[i + 1]):
                y = u[i] * v[indices[p]]
                multiplier[p] = max(0.0, multiplier[p] - step * (residual[p] - y))
                carried[p] += step * y
                total += (residual[p] - multiplier[p] + carried[p]) * v[indices[p]]
            out[i] = total


@kernel
def csr_fits_below(tasks, indptr, indices, residual, v, n_used, out):
    """Write the largest u with ``u vᵀ <= R`` for every row of R, CSR: ``min R_ij / v_j`` over the columns that v uses.

    Zero where R has no entry in one of these n_used columns.
    """
    for _, begin, until in claimed(tasks):
        for i in range(begin, until):
            n, least = 0, np.inf
            for p in range(indptr[i], indptr[i + 1]):
                if v[indices[p]] > 0.0:
                    n += 1
                    least = min(least, residual[p] / v[indices[p]])
            out[i] = least if n == n_used and n > 0 else 0.0


@helper
def _switch(lo, hi, columns, is_on, times):
    """Add one component to the cover, or take it away: columns[lo:hi]."""
    for p in range(lo, hi):
        times[columns[p]] += -1 if is_on else 1


@helper
def _gain(lo, hi, columns, is_on, times, is_one):
    """Return by how much the mismatches fall if a component with columns[lo:hi] is switched."""
    gain, alone = 0, 1 if is_on else 0
    for p in range(lo, hi):
        if times[columns[p]] == alone:
            gain += 1 if is_one[columns[p]] else -1
    return -gain if is_on else gain


@kernel
def rows_cover(tasks, csr, parts_of, n_columns, B, n_sweeps, errors):
    """Switch entries of the rows b of B (p, k) bool while that lowers the mismatches of the union that b picks.

    csr is (indptr, indices) of the ones of X (p, n_columns); parts_of is (indptr, indices) of the k sets of columns.
    Sweeps over the components in ascending order, at most n_sweeps; errors (p,) int64 get the mismatches that are left.
    """
    (indptr, indices), (first, columns) = csr, parts_of
    for _, begin, until in claimed(tasks):
        times, is_one = np.zeros(n_columns, np.int32), np.zeros(n_columns, np.bool_)
        for i in range(begin, until):
            lo, hi = indptr[i], indptr[i + 1]
            is_one[indices[lo:hi]] = True
            wrong = hi - lo
            for c in range(B.shape[1]):
                if B[i, c]:
                    wrong -= _gain(first[c], first[c + 1], columns, False, times, is_one)
                    _switch(first[c], first[c + 1], columns, False, times)
            for _ in range(n_sweeps):
                before = wrong
                for c in range(B.shape[1]):
                    # its new columns are at least its size less what is covered, and at most the ones left are right
                    if not B[i, c] and first[c + 1] - first[c] >= hi - lo + wrong:
                        continue
                    gain = _gain(first[c], first[c + 1], columns, B[i, c], times, is_one)
                    if gain > 0:
                        _switch(first[c], first[c + 1], columns, B[i, c], times)
                        B[i, c] = not B[i, c]
                        wrong -= gain
                if wrong == before:
                    break
            errors[i] = wrong
            is_one[indices[lo:hi]] = False
            for c in range(B.shape[1]):
                if B[i, c]:
                    _switch(first[c], first[c + 1], columns, True, times)
