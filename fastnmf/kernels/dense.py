"""Many multiplicative updates of dense data in one call: what would be a dozen launches an iteration is none.

For small data the launches cost more than the arithmetic; for larger ones products with short rows in registers beat a
library that is made for square matrices.
"""

import numpy as np

from fastnmf.kernels.jit import claimed, helper, kernel
from fastnmf.kernels.simd import TILE_ROWS, gather_row, mu_row, rows_gram_upper, rows_times

GRAM_CHUNK = 256  # as in `rows`


@helper
def _square(F, block, gram, held):
    """Write ``FᵀF`` of F (p, K) into gram, in its precision, and into held, float64; block (K, K) is scratch."""
    held[:] = 0.0
    for lo in range(0, len(F), GRAM_CHUNK):
        rows_gram_upper(F, lo, min(lo + GRAM_CHUNK, len(F)), block)
        for a in range(len(held)):
            for b in range(a, len(held)):
                held[a, b] += block[a, b]
    for a in range(len(held)):
        for b in range(a, len(held)):
            held[b, a] = held[a, b]
            gram[a, b] = gram[b, a] = F.dtype.type(held[a, b])


@helper
def _move(X, G, F, gram, before, graph, tiles, limits, sums):
    """Move F (p, K) by ``F * (X G + near) / (F gram + own + eps)``; sums (2,) get those of `mu_row`.

    near and own are what neighbours and the row itself give, of the rows `before` (p, K); a graph of no rows is none.
    tiles (4, TILE_ROWS, K) is scratch; without a graph tiles[2] is zero.
    """
    indptr, indices, weight, degree, scale = graph
    eps, floor = limits
    sums[:] = 0.0
    for lo in range(0, len(F), TILE_ROWS):
        n = min(TILE_ROWS, len(F) - lo)
        rows_times(X, lo, n, X.shape[1], G, tiles[0])
        rows_times(F, lo, n, F.shape[1], gram, tiles[1])
        for r in range(n):
            if len(indptr) > 0:
                gather_row(indptr[lo + r], indptr[lo + r + 1], indices, weight, before, tiles[3], r)
                for c in range(F.shape[1]):
                    tiles[0, r, c] += scale[c] * tiles[3, r, c]
                    tiles[2, r, c] = scale[c] * degree[lo + r] * before[lo + r, c]
            mu_row(F, lo + r, r, tiles[0], tiles[1], tiles[2], eps, floor, sums)


@helper
def _roughness(graph, F, total):
    """Write ``1/2 sum_ij a_ij (f_ik - f_jk)²`` into total (K,), float64; zeros for a graph of no rows."""
    indptr, indices, weight = graph[:3]
    total[:] = 0.0
    for i in range(len(indptr) - 1):
        for e in range(indptr[i], indptr[i + 1]):
            if indices[e] > i:  # every edge once
                for c in range(F.shape[1]):
                    step = np.float64(F[i, c]) - np.float64(F[indices[e], c])
                    total[c] += weight[e] * step * step


@kernel
def dense_mu(tasks, X, Xt, W, H, graph, limits, n_updates, out):
    """Move W (n, K), then H (m, K), by the multiplicative update for ``||X - W Hᵀ||²``, n_updates times each.

    X (n, m) and its transposed copy Xt (m, n), C order; limits = (eps, floor) as for `rows_mu`. graph is
    ``(indptr, indices, weight, degree, is_anchored)``, of no rows for none: the penalty ``sum_k s_k w_kᵀ L w_k`` with
    ``s_k = ||h_k||²`` where is_anchored, or else 1. out (3,) float64 gets ``<X, W Hᵀ>``, ``||W Hᵀ||²`` and the penalty
    at the end. The table has one task: an update waits for all rows of the one before.
    """
    K, (indptr, indices, weight, degree, is_anchored) = W.shape[1], graph
    for _, _, _ in claimed(tasks):
        tiles, block, gram = np.zeros((4, TILE_ROWS, K), W.dtype), np.zeros((K, K), W.dtype), np.zeros((K, K), W.dtype)
        of_H, of_W, sums = np.zeros((K, K)), np.zeros((K, K)), np.zeros(2)
        scale, rough, before = np.ones(K, W.dtype), np.zeros(K), np.zeros((len(indptr), K), W.dtype)
        edges, none = (indptr, indices, weight, degree, scale), (indptr[:0], indices, weight, degree, scale)
        _square(H, block, gram, of_H)
        for _ in range(n_updates):
            for c in range(K if is_anchored else 0):
                scale[c] = of_H[c, c]
            before[: max(len(indptr) - 1, 0)] = W[: max(len(indptr) - 1, 0)]
            _move(X, H, W, gram, before, edges, tiles, limits, sums)
            _square(W, block, gram, of_W)
            _roughness(edges, W, rough)
            for c in range(K if is_anchored else 0):
                gram[c, c] += rough[c]
            tiles[2] = 0
            _move(Xt, W, H, gram, before, none, tiles, limits, sums)
            _square(H, block, gram, of_H)
        out[0], out[1], out[2] = sums[0], 0.0, 0.0
        for a in range(K):
            out[2] += rough[a] * (of_H[a, a] if is_anchored else 1.0)
            for b in range(K):
                out[1] += of_W[a, b] * of_H[a, b]
