"""Kernels for many own components of each stratum: see `own` for the arrays.

Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import kernel, work_stealing
from fastnmf.kernels.llvm_builder import TILE_ROWS
from fastnmf.kernels.row_intrinsics import rows_gram_upper, rows_times
from fastnmf.kernels.tile_kernels import LANE_BYTES, hals_lanes, load_transposed, store_transposed

CHUNK = 256  # entries that are copied, so that they follow each other


@kernel
def blocks_gram(tasks, bounds, order, E, parts):
    """Write the upper triangles of ``sum e eᵀ`` over pieces of the rows e of E that belong to one stratum.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the pieces.
    bounds : ndarray (P + 1,) of int64
        Piece t holds the rows ``order[bounds[t]:bounds[t + 1]]``.
    order : ndarray (q,) of int64
    E : ndarray (q, 1 + w)
    parts : ndarray (P, K, K) of float64
        Written; K is 1 + w, padded.
    """
    K = parts.shape[1]
    for _, begin, until in work_stealing(tasks):
        held, block = np.zeros((CHUNK, K), E.dtype), np.empty((K, K), E.dtype)
        for t in range(begin, until):
            parts[t] = 0.0
            for lo in range(bounds[t], bounds[t + 1], CHUNK):
                n = min(CHUNK, bounds[t + 1] - lo)
                for i in range(n):
                    e = E[order[lo + i]]
                    for c in range(len(e)):
                        held[i, c] = e[c]
                rows_gram_upper(held, 0, n, block)
                for a in range(K):
                    for b in range(a, K):
                        parts[t, a, b] += block[a, b]


@kernel
def blocks_dictionaries(tasks, column, H, E, out):
    """Write ``H[column[e]]`` plus the own components of row e, which are tied to it, into each row e of out.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the rows of E.
    column : ndarray (q,) of int32
    H : ndarray (m, K), dtype of E
    E : ndarray (q, 1 + w)
    out : ndarray (q, K), dtype of E
        Written.
    """
    for _, begin, until in work_stealing(tasks):
        for e in range(begin, until):
            h, own, row = H[column[e]], E[e], out[e]
            for c in range(len(h)):
                row[c] = h[c]
            for c in range(1, len(own)):
                row[c - 1] += own[c]


@kernel
def blocks_hals(tasks, order, entries, H, sums, grams, pos, E, visits):
    """Do what `own.entries_hals` does, for the entries of a stratum side by side, as `own.strata_hals` does for rows.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over `order`.
    order : ndarray (q,) of int64
        The rows of E; those of a stratum follow each other as far as possible.
    entries : ndarray (q, 2) of int32
        Column and stratum of each row of E.
    H : ndarray (m, K), dtype of E
    sums : ndarray (S, K, K), dtype of E
        M(s), transposed, of each stratum; zero beyond its 1 + w columns.
    grams : ndarray (S, K, K), dtype of E
        The Gram matrix of each stratum, zero beyond its 1 + w rows and columns.
    pos : ndarray (q, 1 + w), dtype of E
    E : ndarray (q, 1 + w)
        Written.
    visits : ndarray of int64
        Columns in the order in which they are updated; those whose gram[c, c] is zero stay.
    """
    K, size, n_lanes = H.shape[1], E.shape[1], LANE_BYTES // E.itemsize
    least = 4 * np.finfo(E.dtype).tiny
    for _, begin, until in work_stealing(tasks):
        tile, target = np.zeros((K, n_lanes), E.dtype), np.zeros((K, n_lanes), E.dtype)
        near, right = np.zeros((n_lanes, K), E.dtype), np.zeros((n_lanes, K), E.dtype)
        held, below = np.zeros((TILE_ROWS, K), E.dtype), np.zeros((TILE_ROWS, K), E.dtype)
        lo = begin
        while lo < until:
            n, s = 1, entries[order[lo], 1]
            while n < n_lanes and lo + n < until and entries[order[lo + n], 1] == s:
                n += 1
            for first in range(0, n, TILE_ROWS):
                few = min(TILE_ROWS, n - first)
                for i in range(few):
                    h = H[entries[order[lo + first + i], 0]]
                    for c in range(K):
                        held[i, c] = h[c]
                rows_times(held, 0, few, K, sums[s], below)
                for i in range(few):
                    e = order[lo + first + i]
                    for c in range(size):
                        near[first + i, c], right[first + i, c] = E[e, c], pos[e, c] - below[i, c]
            load_transposed(near, 0, n, tile)
            load_transposed(right, 0, n, target)
            gram = grams[s]
            for c in visits:
                if gram[c, c] > least:
                    hals_lanes(c, K, gram, tile, target)
            store_transposed(tile, near, 0, n)
            for i in range(n):
                for c in range(size):
                    E[order[lo + i], c] = near[i, c]
            lo += n
