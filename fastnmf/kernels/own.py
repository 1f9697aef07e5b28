"""Kernels for what is specific to a stratum: its own components, its shift, and the Gram matrix of its rows.

Row r of the data belongs to the stratum ``group[r]``. F (p, K) holds the weights of its rows, those of own components
in the w columns from `offset` on. E (q, 1 + w) holds the shift and the own components on the pattern of the strata: one
row for each pair (column, stratum). Inputs are not checked.
"""

from typing import NamedTuple

import numpy as np

from fastnmf.kernels.jit import kernel, work_stealing
from fastnmf.kernels.row_intrinsics import lazy_row, spread_pairs
from fastnmf.kernels.tile_kernels import LANE_BYTES, hals_lanes, load_transposed, row_dot, store_transposed

TILE = 64  # rows of E whose products with H are computed together
FEW = 4  # own components of a stratum up to which one is visited after the other, in place of all for each entry


class EntryProducts(NamedTuple):
    """The array (q, 1 + w) whose row e is ``sums[group[e]] H[column[e]]``; kernels compute a row when they need it.

    Attributes
    ----------
    column, group : ndarray (q,) of int32
    H : ndarray (m, K)
    sums : ndarray (S, 1 + w, K), dtype of H
    """

    column: np.ndarray
    group: np.ndarray
    H: np.ndarray
    sums: np.ndarray

    def full(self):
        """Return the array."""
        return np.einsum("eac,ec->ea", self.sums[self.group], self.H[self.column])


@kernel
def strata_hals(tasks, order, group, F, grams, pos, neg, visits):
    """Update F by exact coordinate descent over its columns, with one Gram matrix for the rows of each stratum.

    This is `fastnmf.kernels.rows.rows_hals` for rows that are visited stratum by stratum, so that a Gram matrix stays
    in the cache. A column stays as it is in the strata whose gram[c, c] is zero.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over `order`.
    order : ndarray (p,) of int64
        The rows, sorted by stratum.
    group : ndarray (p,) of int32
    F : ndarray (p, K)
        Written.
    grams : ndarray (S, K, K), dtype of F
    pos : ndarray (p, K)
    neg : fastnmf.kernels.records.LazyRows (p, K)
    visits : ndarray of int64
        Columns in the order in which they are updated.
    """
    K, n_lanes = F.shape[1], LANE_BYTES // F.itemsize
    least = 4 * np.finfo(F.dtype).tiny
    for _, begin, until in work_stealing(tasks):
        tile, target = np.zeros((K, n_lanes), F.dtype), np.zeros((K, n_lanes), F.dtype)
        near, right = np.zeros((n_lanes, K), F.dtype), np.zeros((n_lanes, K), F.dtype)
        lo = begin
        while lo < until:
            n, g = 1, group[order[lo]]
            while n < n_lanes and lo + n < until and group[order[lo + n]] == g:
                n += 1
            for i in range(n):
                r = order[lo + i]
                lazy_row(neg, r, right, i)
                for c in range(K):
                    near[i, c], right[i, c] = F[r, c], pos[r, c] - right[i, c]
            load_transposed(near, 0, n, tile)
            load_transposed(right, 0, n, target)
            gram = grams[g]
            for c in visits:
                if gram[c, c] > least:
                    hals_lanes(c, K, gram, tile, target)
            store_transposed(tile, near, 0, n)
            for i in range(n):
                for c in range(K):
                    F[order[lo + i], c] = near[i, c]
            lo += n


@kernel
def strata_matmul(tasks, csr, E, offset, out):
    """Add ``A(i) G(i)``, the products of the rows of X with the own components of their strata, to out.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the rows.
    csr : fastnmf.kernels.records.CSR
        X (p, m); `indices` are the rows of E that its entries meet, in place of their columns.
    E : ndarray (q, 1 + w), dtype of X
    offset : int
    out : ndarray (p, K), dtype of X
        Written in the columns offset, ..., offset + w - 1.
    """
    indptr, places, data = csr
    w = E.shape[1] - 1
    for _, begin, until in work_stealing(tasks):
        for i in range(begin, until):
            lo, hi, own = indptr[i], indptr[i + 1], out[i, offset : offset + w]
            place, x = places[lo:hi], data[lo:hi]
            if w < FEW:
                for c in range(w):  # the entries of a row stay in the cache
                    total = E.dtype.type(0)
                    for p in range(len(x)):
                        total += x[p] * E[place[p], c + 1]
                    own[c] += total
            else:
                for p in range(len(x)):
                    g, value = E[place[p], 1:], x[p]
                    for c in range(w):
                        own[c] += value * g[c]


@kernel
def strata_tmatmul(tasks, csr, start, places, U, out):
    """Write ``A(i)ᵀ U(i)`` on the pattern of the strata, U(i) the weights of own components of the rows of stratum i.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the columns.
    csr : fastnmf.kernels.records.CSR
        Transpose of X (p, m): the indices are rows of X.
    start : ndarray (m + 1,) of int64
        Column j has the rows start[j]:start[j + 1] of out.
    places : ndarray (nnz,) of int32
        The row of out that every entry of X meets.
    U : ndarray (p, w), dtype of X
    out : ndarray (q, 1 + w), dtype of X
        Written, except for its first column.
    """
    indptr, rows, data = csr
    for _, begin, until in work_stealing(tasks):
        for e in range(start[begin], start[until]):
            for c in range(1, out.shape[1]):
                out[e, c] = 0
        for j in range(begin, until):
            if U.shape[1] < FEW:
                for c in range(U.shape[1]):
                    for p in range(indptr[j], indptr[j + 1]):
                        out[places[p], c + 1] += data[p] * U[rows[p], c]
            else:
                for p in range(indptr[j], indptr[j + 1]):
                    u, total, value = U[rows[p]], out[places[p], 1:], data[p]
                    for c in range(len(u)):
                        total[c] += value * u[c]


@kernel
def entries_hals(tasks, neg, grams, pos, E, n_sweeps, parts):
    """Update shifts and own components entry by entry: exact coordinate descent over the 1 + w numbers of a row of E.

    The half-gradient of row e in stratum s is ``E[e] grams[s] + neg[e] - pos[e]``. A number stays as it is where the
    inverse of its curvature is zero.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the rows of E.
    neg : EntryProducts (q, 1 + w), dtype of E
    grams : ndarray (S, 2 + w, 1 + w), dtype of E
        The Gram matrix of each stratum, and below it the inverses of its diagonal.
    pos : ndarray (q, 1 + w), dtype of E
    E : ndarray (q, 1 + w)
        Written.
    n_sweeps : int
    parts : ndarray (T, 2) of float64
        Written: the inner products of each task's entries with pos and with neg, for the new E.
    """
    (column, group, H, sums), size = neg, E.shape[1]
    sums = sums.reshape(sums.shape[0] * size, H.shape[1])
    for t, begin, until in work_stealing(tasks):
        below, with_pos, with_neg = np.zeros(size, E.dtype), 0.0, 0.0
        for e in range(begin, until):
            gram = grams[group[e]]
            for a in range(size):
                below[a] = row_dot(H, column[e], sums, group[e] * size + a)
            for sweep in range(n_sweeps):
                for a in range(size):
                    slope = pos[e, a] - below[a]
                    for b in range(size):
                        slope -= gram[a, b] * E[e, b]
                    E[e, a] = max(E[e, a] + slope * gram[size, a], 0)
                    if sweep == n_sweeps - 1:
                        with_pos += np.float64(E[e, a]) * np.float64(pos[e, a])
                        with_neg += np.float64(E[e, a]) * np.float64(below[a])
        parts[t, 0], parts[t, 1] = with_pos, with_neg


@kernel
def rows_moments(tasks, bounds, order, F, scale, offset, parts):
    """Write ``[u U]ᵀ F`` over pieces of the rows of a stratum, u the row scale and U its own weights.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the pieces.
    bounds : ndarray (P + 1,) of int64
        Piece t holds the rows ``order[bounds[t]:bounds[t + 1]]``.
    order : ndarray (p,) of int64
    F : ndarray (p, K)
    scale : ndarray (p,), or of length 0
        The row scale; of length 0 where it is 1.
    offset : int
    parts : ndarray (P, 1 + w, K) of float64
        Written.
    """
    for _, begin, until in work_stealing(tasks):
        for t in range(begin, until):
            out = parts[t]
            out[:] = 0.0
            for p in range(bounds[t], bounds[t + 1]):
                f = F[order[p]]
                u = np.float64(scale[order[p]]) if len(scale) > 0 else 1.0
                for a in range(out.shape[0]):
                    weight = u if a == 0 else np.float64(f[offset + a - 1])
                    if weight != 0.0:
                        for c in range(out.shape[1]):
                            out[a, c] += weight * f[c]


@kernel
def entries_tmatmul(tasks, column, group, H, E, parts):
    """Write ``E(s)ᵀ H(s)`` over each task's entries of every stratum s: the rows of E, and those of H at their columns.

    The rows of H are read in their order, and the sums of all strata stay in the cache.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the rows of E.
    column, group : ndarray (q,) of int32
        Column and stratum of each row of E.
    H : ndarray (m, K)
    E : ndarray (q, 1 + w), dtype of H
    parts : ndarray (T, S (1 + w), K), dtype of H
        Written.
    """
    size = E.shape[1]
    for t, begin, until in work_stealing(tasks):
        rows, groups = np.zeros(TILE * size, np.int32), np.zeros(TILE * size, np.int32)
        weights, parts[t] = np.zeros(TILE * size, E.dtype), 0
        for lo in range(begin, until, TILE):
            n = np.uint64(0)
            for e in range(lo, min(lo + TILE, until)):
                for a in range(size):
                    rows[n], groups[n], weights[n] = column[e], group[e] * size + a, E[e, a]
                    n += np.uint64(E[e, a] != 0)
            spread_pairs(0, np.int64(n), rows, groups, weights, H, parts, t)


@kernel
def entries_gram(tasks, group, E, parts):
    """Write ``E(s)ᵀ E(s)`` over each task's entries of every stratum s.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the rows of E.
    group : ndarray (q,) of int32
        Stratum of each row of E.
    E : ndarray (q, 1 + w)
    parts : ndarray (T, S, 1 + w, 1 + w) of float64
        Written.
    """
    size = E.shape[1]
    for t, begin, until in work_stealing(tasks):
        parts[t] = 0
        for e in range(begin, until):
            gram = parts[t, group[e]]
            for a in range(size):
                weight = np.float64(E[e, a])
                if size <= FEW or weight != 0:  # with many own components most numbers are zero
                    for b in range(size):
                        gram[a, b] += weight * E[e, b]
