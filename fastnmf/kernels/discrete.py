"""Kernels for the underapproximation of a matrix by products ``u vᵀ`` below it, and for the Boolean product.

Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import helper, kernel, work_stealing


@kernel
def csr_press(tasks, csr, held, u, v, products, U, out):
    """Update the multipliers of ``u vᵀ <= R``, then u, in one pass over the non-zeros of R; begin the next update of v.

    In step n, from 1, the multipliers grow by ``(u vᵀ - R) / n`` and are cut off at zero. Where R is zero they equal
    ``U Vᵀ`` for the u of all steps, each divided by its n, and the v. With ``D = R - multipliers``, the new u is
    ``max(0, D v) / (v . v)``, and ``Dᵀ u`` is begun: both leave out the part of ``U Vᵀ`` beside the non-zeros.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    csr : fastnmf.kernels.records.CSR
        R (p, q).
    held : ndarray (nnz, 2)
        The multipliers at the non-zeros of R, and ``U Vᵀ`` there. Written.
    u : ndarray (p,) of float64
        Written.
    v : ndarray (q,) of float64
    products : ndarray (n,) of float64
        ``V[:, s] . v`` for the steps so far; the last is ``v . v``.
    U : ndarray (p, n_steps)
        Column n - 1 is written.
    out : ndarray (T, q + n_steps) of float64
        Written: each task's share of ``(D + U Vᵀ)ᵀ u`` on the non-zeros, and of ``U[:, s] . u`` for the steps so far.
    """
    (indptr, indices, residual), n, q = csr, len(products), len(v)
    for t, begin, until in work_stealing(tasks):
        out[t] = 0.0
        for i in range(begin, until):
            U[i, n - 1] = u[i] / n
            total = 0.0
            for p in range(indptr[i], indptr[i + 1]):
                j, left = indices[p], np.float64(residual[p])
                y = u[i] * v[j] / n
                held[p, 0] = max(0.0, np.float64(held[p, 0]) - left / n + y)
                held[p, 1] += y
                total += (left - held[p, 0] + held[p, 1]) * v[j]
            for s in range(n):
                total -= products[s] * U[i, s]
            u[i] = max(total, 0.0) / products[n - 1]
            if u[i] > 0.0:
                for p in range(indptr[i], indptr[i + 1]):
                    out[t, indices[p]] += (np.float64(residual[p]) - held[p, 0] + held[p, 1]) * u[i]
                for s in range(n):
                    out[t, q + s] += U[i, s] * u[i]


@kernel
def rows_press(tasks, pulled, products, square, v, V, out):
    """Finish the update of v that `csr_press` has begun: ``max(0, pulled - V products) / square``.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    pulled : ndarray (S, q + n_steps) of float64
        What `csr_press` has written, in S parts.
    products : ndarray (n,) of float64
        ``U[:, s] . u``.
    square : float
        ``u . u``.
    v : ndarray (q,) of float64
        Written.
    V : ndarray (q, n_steps)
        Column n is written, if there is one.
    out : ndarray (T, n_steps + 1) of float64
        Written: each task's share of ``V[:, s] . v`` for the steps so far, and then of ``v . v``.
    """
    n = len(products)
    for t, begin, until in work_stealing(tasks):
        out[t] = 0.0
        for j in range(begin, until):
            total = 0.0
            for s in range(len(pulled)):
                total += pulled[s, j]
            if total > 0.0:
                for s in range(n):
                    total -= products[s] * V[j, s]
            v[j] = max(total, 0.0) / square
            if n < V.shape[1]:
                V[j, n] = v[j]
            if v[j] > 0.0:
                for s in range(n):
                    out[t, s] += V[j, s] * v[j]
                out[t, n] += v[j] * v[j]


@kernel
def csr_largest_below(tasks, csr, v, n_used, out):
    """Write the largest u with ``u vᵀ <= R``: for each row ``min R_ij / v_j`` over the columns with ``v_j > 0``.

    An entry of u is zero where R has no entry in one of these columns.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    csr : fastnmf.kernels.records.CSR
        R (p, q), of float64.
    v : ndarray (q,) of float64
    n_used : int
        Number of positive entries of v.
    out : ndarray (p,) of float64
        Written: u.
    """
    indptr, indices, residual = csr
    for _, begin, until in work_stealing(tasks):
        for i in range(begin, until):
            n, least = 0, np.inf
            for p in range(indptr[i], indptr[i + 1]):
                if v[indices[p]] > 0.0:
                    n += 1
                    least = min(least, residual[p] / v[indices[p]])
            out[i] = least if n == n_used and n > 0 else 0.0


@helper
def _common(lo, hi, seeds, other, times, least, used):
    """Find the columns that all rows of a seed have; return how many, written to `used`, and how many rows it has.

    Parameters
    ----------
    lo, hi : int
        The seed has the rows ``seeds.indices[lo:hi]``; those with zeros do not count.
    seeds, other : fastnmf.kernels.records.CSR
        As for `csr_blocks`.
    times : ndarray (n_columns,) of int32
        Zeros; written: in how many of the rows each column occurs, until it was missing in one.
    least : ndarray (n_columns,) of float64
        Written, for the columns that are found: the smallest ratio to the entry of the seed.
    used : ndarray (n_columns,) of int32
        Written: the columns of the first row.

    Returns
    -------
    n_common, n_rows, n_touched : int
        The last is the number of columns of the first row: only these are not zero in `times`.
    """
    n_common = n_rows = n_touched = 0
    for s in range(lo, hi):
        u, i = seeds.data[s], seeds.indices[s]
        if u <= 0.0:
            continue
        for p in range(other.indptr[i], other.indptr[i + 1]):
            j = other.indices[p]
            if other.data[p] > 0.0 and times[j] == n_rows:
                if n_rows == 0:
                    used[n_touched] = j
                    n_touched += 1
                    least[j] = np.inf
                times[j] += 1
                least[j] = min(least[j], other.data[p] / u)
        n_rows += 1
        n_common = 0
        for c in range(n_touched):
            n_common += times[used[c]] == n_rows
        if n_common < 2:
            break
    return n_common, n_rows, n_touched


@kernel
def csr_blocks(tasks, seeds, other, out):
    """Write what a product below R explains beside its largest row and column, for one product from each column of R.

    The product from a column takes its rows, with its entries as u, and of v the largest that stays below R. What it
    explains is ``2 u R v - (u . u) (v . v)``, a sum over its rows, or columns; the largest term is left out. It is 0
    for the product of a single row or column. All entries that a product covers are positive.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table of the columns.
    seeds : fastnmf.kernels.records.CSR
        The columns of R, compressed.
    other : fastnmf.kernels.records.CSR
        R, by rows.
    out : ndarray (n_columns,) of float64
        Written.
    """
    n_columns = len(seeds.indptr) - 1
    for _, begin, until in work_stealing(tasks):
        times, used = np.zeros(n_columns, np.int32), np.empty(n_columns, np.int32)
        least, of_column = np.empty(n_columns), np.empty(n_columns)
        for j in range(begin, until):
            lo, hi = seeds.indptr[j], seeds.indptr[j + 1]
            n_common, n_rows, n_touched = _common(lo, hi, seeds, other, times, least, used)
            out[j] = 0.0
            if n_common > 1 and n_rows > 1:
                of_column[used[:n_touched]] = 0.0
                total = top = 0.0
                for s in range(lo, hi):
                    u, i, of_row = np.float64(seeds.data[s]), seeds.indices[s], 0.0
                    for p in range(other.indptr[i], other.indptr[i + 1]):
                        l = other.indices[p]
                        if u > 0.0 and times[l] == n_rows:
                            term = u * least[l] * (2.0 * other.data[p] - u * least[l])
                            of_column[l] += term
                            of_row += term
                    total, top = total + of_row, max(top, of_row)
                for c in range(n_touched):
                    top = max(top, of_column[used[c]])
                out[j] = max(total - top, 0.0)
            for c in range(n_touched):
                times[used[c]] = 0


@helper
def _switch(lo, hi, columns, is_on, times):
    """Add one component, with the columns ``columns[lo:hi]``, to the cover of a row, or remove it.

    Parameters
    ----------
    lo, hi : int
    columns : ndarray of int32
    is_on : bool
        Whether the component is in the cover; it is then removed.
    times : ndarray (n_columns,) of int32
        Written: how many components of the cover have each column.
    """
    for p in range(lo, hi):
        times[columns[p]] += -1 if is_on else 1


@helper
def _gain(lo, hi, columns, is_on, times, is_one):
    """Return by how much the number of mismatches falls if a component is switched.

    Parameters
    ----------
    lo, hi, columns, is_on, times :
        As for `_switch`; nothing is written.
    is_one : ndarray (n_columns,) of bool
        Whether the row of X has a one in each column.

    Returns
    -------
    int
    """
    gain, alone = 0, 1 if is_on else 0
    for p in range(lo, hi):
        if times[columns[p]] == alone:
            gain += 1 if is_one[columns[p]] else -1
    return -gain if is_on else gain


@kernel
def rows_cover(tasks, csr, parts_of, n_columns, B, n_sweeps, errors):
    """Switch entries of the rows b of B as long as that lowers the mismatches between X and the union selected by b.

    The components are visited in ascending order.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    csr : fastnmf.kernels.records.CSR
        X (p, n_columns); its entries are the ones.
    parts_of : fastnmf.kernels.records.CSR
        The columns of each of the k components; no data.
    n_columns : int
    B : ndarray (p, k) of bool
        Written.
    n_sweeps : int
        Largest number of passes over the components of a row.
    errors : ndarray (p,) of int64
        Written: the mismatches that remain in each row.
    """
    indptr, indices, first, columns = csr.indptr, csr.indices, parts_of.indptr, parts_of.indices
    for _, begin, until in work_stealing(tasks):
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
                    # Skip components that are too large to help: at least (size - covered columns) of their columns
                    # would be new, and at most the ones that are not covered yet are correct.
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
