"""Many multiplicative updates of dense data in one call, instead of about a dozen kernel launches per iteration.

For small data the launches cost more than the arithmetic. For larger data, products with short rows held in registers
take less time than those of a library made for square matrices. Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import helper, kernel, work_stealing
from fastnmf.kernels.llvm_builder import TILE_ROWS
from fastnmf.kernels.records import Graph
from fastnmf.kernels.row_intrinsics import gather_row, mu_row, rows_gram_upper, rows_times

GRAM_CHUNK = 256  # as in `rows`


@helper
def _square(F, block, gram, held):
    """Write ``FᵀF`` into gram, in the precision of F, and into held, in float64.

    Parameters
    ----------
    F : ndarray (p, K)
    block : ndarray (K, K), dtype of F
        Overwritten.
    gram : ndarray (K, K), dtype of F
        Written.
    held : ndarray (K, K) of float64
        Written.
    """
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
    """Update F by ``F * (X G + near) / (F gram + own + eps)``.

    ``near`` and ``own`` are the parts of the graph penalty that come from the neighbours of a row and from the row
    itself. Both are taken at the rows `before`, and are zero for a graph without rows.

    Parameters
    ----------
    X : ndarray (p, q)
        C order.
    G : ndarray (q, K)
    F : ndarray (p, K)
        Written.
    gram : ndarray (K, K), dtype of F
    before : ndarray (p, K), dtype of F
        F before the update; not read without a graph.
    graph : fastnmf.kernels.records.Graph
    tiles : ndarray (4, TILE_ROWS, K), dtype of F
        Overwritten. Without a graph, tiles[2] must be zero.
    limits : fastnmf.kernels.records.Limits
    sums : ndarray (2,) of float64
        Written: the sums of `mu_row` over all rows.
    """
    (indptr, indices, weight, degree, scale), (eps, floor) = graph, limits
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
    """Write ``1/2 sum_ij a_ij (f_ik - f_jk)²`` into total (K,), float64; zeros for a graph without rows."""
    indptr, indices, weight = graph.indptr, graph.indices, graph.weight
    total[:] = 0.0
    for i in range(len(indptr) - 1):
        for e in range(indptr[i], indptr[i + 1]):
            if indices[e] > i:  # every edge once
                for c in range(F.shape[1]):
                    step = np.float64(F[i, c]) - np.float64(F[indices[e], c])
                    total[c] += weight[e] * step * step


@kernel
def dense_mu(tasks, X, Xt, W, H, graph, limits, n_updates, out):
    """Update W, then H, by the multiplicative update for ``||X - W Hᵀ||²``, `n_updates` times each.

    The penalty of the graph is ``sum_k s_k w_kᵀ L w_k``, with the scale s of the graph, or ``s_k = ||h_k||²`` where it
    has none.

    Parameters
    ----------
    tasks : ndarray (2,) of int64
        Task table with one task, because an update needs all rows of the update before it.
    X : ndarray (n, m)
        C order.
    Xt : ndarray (m, n)
        Transposed copy of X, C order.
    W : ndarray (n, K)
        Written.
    H : ndarray (m, K)
        Written.
    graph : fastnmf.kernels.records.Graph
        Of the rows of W.
    limits : fastnmf.kernels.records.Limits
    n_updates : int
    out : ndarray (3,) of float64
        Written: ``<X, W Hᵀ>``, ``||W Hᵀ||²`` and the penalty at the end.
    """
    K, (indptr, indices, weight, degree, given) = W.shape[1], graph
    is_anchored = len(indptr) > 0 and len(given) == 0
    for _, _, _ in work_stealing(tasks):
        tiles, block, gram = np.zeros((4, TILE_ROWS, K), W.dtype), np.zeros((K, K), W.dtype), np.zeros((K, K), W.dtype)
        of_H, of_W, sums = np.zeros((K, K)), np.zeros((K, K)), np.zeros(2)
        scale, rough, before = np.ones(K, W.dtype), np.zeros(K), np.zeros((len(indptr), K), W.dtype)
        scale[: len(given)] = given
        edges = Graph(indptr, indices, weight, degree, scale)
        none = Graph(indptr[:0], indices, weight, degree, scale)
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
            out[2] += rough[a] * (of_H[a, a] if is_anchored else scale[a])
            for b in range(K):
                out[1] += of_W[a, b] * of_H[a, b]
