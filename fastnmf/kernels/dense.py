"""Many multiplicative updates of small dense data in one call: what would be a dozen launches an iteration is none."""

import numpy as np
from numba import prange

from fastnmf.kernels.jit import helper, kernel
from fastnmf.kernels.simd import TILE_ROWS, mu_row, rows_gram_upper, rows_times

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
def _move(X, G, F, gram, tiles, limits, sums):
    """Move F (p, K) by ``F * (X G) / (F gram + eps)``; tiles (3, TILE_ROWS, K) is scratch whose last part is zero."""
    eps, floor = limits
    sums[:] = 0.0
    for lo in range(0, len(F), TILE_ROWS):
        n = min(TILE_ROWS, len(F) - lo)
        rows_times(X, lo, n, X.shape[1], G, tiles[0])
        rows_times(F, lo, n, F.shape[1], gram, tiles[1])
        for r in range(n):
            mu_row(F, lo + r, r, tiles[0], tiles[1], tiles[2], eps, floor, sums)


@kernel
def dense_mu(tasks, X, Xt, W, H, limits, n_updates, out):
    """Move W (n, K), then H (m, K), by the multiplicative update for ``||X - W Hᵀ||²``, n_updates times each.

    X (n, m) and its transposed copy Xt (m, n), C order; limits = (eps, floor) as for `rows_mu`. out (2,) float64 gets
    ``<X, W Hᵀ>`` and ``||W Hᵀ||²`` at the end. The task table has one task: this is for data that are too small to
    share.
    """
    K = W.shape[1]
    for _ in prange(len(tasks) - 1):
        tiles, block, gram = np.zeros((3, TILE_ROWS, K), W.dtype), np.zeros((K, K), W.dtype), np.zeros((K, K), W.dtype)
        of_H, of_W, sums = np.zeros((K, K)), np.zeros((K, K)), np.zeros(2)
        _square(H, block, gram, of_H)
        for _ in range(n_updates):
            _move(X, H, W, gram, tiles, limits, sums)
            _square(W, block, gram, of_W)
            _move(Xt, W, H, gram, tiles, limits, sums)
            _square(H, block, gram, of_H)
        out[0] = sums[0]
        out[1] = 0.0
        for a in range(K):
            for b in range(K):
                out[1] += of_W[a, b] * of_H[a, b]
