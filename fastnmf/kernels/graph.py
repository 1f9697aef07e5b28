"""Kernels over one factor whose rows are the nodes of a graph: colouring, roughness, and coordinate descent.

Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import helper, kernel, work_stealing
from fastnmf.kernels.row_intrinsics import lazy_row

LANES = 16  # rows updated side by side: a whole number of vector registers in float32 and in float64


@helper
def coupled_lanes(c, gram, scale, degrees, tile, target, slope):
    """Update entry c of the rows in the columns of a tile, each to the minimum along this entry.

    Parameters
    ----------
    c : int
    gram : ndarray (k, k)
    scale : float
        Weight of the graph penalty of component c.
    degrees : ndarray (LANES,)
        Degree of each row.
    tile : ndarray (k, LANES)
        Rows of the factor, transposed; row c is written.
    target : ndarray (k, LANES)
        ``pos - neg`` plus the pull of the neighbours.
    slope : ndarray (LANES,)
        Overwritten.
    """
    for lane in range(LANES):
        slope[lane] = target[c, lane] - scale * degrees[lane] * tile[c, lane]
    for b in range(len(gram)):
        shared, other = gram[c, b], tile[b]
        for lane in range(LANES):
            slope[lane] -= shared * other[lane]
    least = 4 * np.finfo(tile.dtype).tiny
    for lane in range(LANES):
        curve = gram[c, c] + scale * degrees[lane]
        if curve > least:
            tile[c, lane] = max(tile[c, lane] + slope[lane] / curve, 0)


@kernel
def nodes_colour(tasks, indptr, indices, visits, colours):
    """Write a colouring of the nodes: each node of `visits` in turn gets the least colour that no neighbour has yet.

    Edges of a node to itself are ignored.

    Parameters
    ----------
    tasks : ndarray (2,) of int64
        Task table with one task, because the colouring is sequential.
    indptr, indices : ndarray (p + 1,) of int64, (nnz,) of int32
        Graph in CSR.
    visits : ndarray (p,) of int64
        Order of the nodes.
    colours : ndarray (p,) of int32
        -1 everywhere; written.
    """
    for _, begin, until in work_stealing(tasks):
        taken = np.full(len(colours) + 1, -1, np.int64)
        for i in visits[begin:until]:
            for e in range(indptr[i], indptr[i + 1]):
                if colours[indices[e]] >= 0:
                    taken[colours[indices[e]]] = i
            colour = 0
            while taken[colour] == i:
                colour += 1
            colours[i] = colour


@kernel
def rows_roughness(tasks, csr, F, G, parts):
    """Write ``sum_e weight_e (f_i - g_j)²`` over the edges e = (i, j) of each task's rows i.

    Each row is summed in the precision of F, and the rows in float64. The differences are formed first, so that no
    digits are lost where neighbours are nearly equal.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    csr : fastnmf.kernels.records.CSR
        Weights of the edges (p, q).
    F : ndarray (p, K)
    G : ndarray (q, K)
    parts : ndarray (T, K) of float64
        Written.
    """
    (indptr, indices, weight), K = csr, F.shape[1]
    for t, begin, until in work_stealing(tasks):
        total, of_row = np.zeros(K), np.zeros(K, F.dtype)
        for i in range(begin, until):
            of_row[:] = 0
            for e in range(indptr[i], indptr[i + 1]):
                f, g, share = F[i], G[indices[e]], weight[e]
                for c in range(K):
                    step = f[c] - g[c]
                    of_row[c] += share * step * step
            for c in range(K):
                total[c] += of_row[c]
        parts[t] = total


@kernel
def nodes_hals(tasks, members, F, gram, pos, neg, graph, order, parts):
    """Update some rows of F by exact coordinate descent over the columns order[0], order[1], ..., all below k.

    Row i minimises ``f gram fᵀ / 2 + (neg_i - pos_i) f + sum_j weight_ij sum_c scale_c (f_c - F_jc)² / 2``. The rows
    are loaded as columns of a tile and updated side by side.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over `members`.
    members : ndarray of int64
        The rows to be updated; no two of them may be neighbours.
    F : ndarray (p, K)
        Written in the rows `members`.
    gram : ndarray (k, k), dtype of F
    pos, neg : fastnmf.kernels.records.LazyRows (p, K)
    graph : fastnmf.kernels.records.Graph
    order : ndarray of int64
    parts : ndarray (T,) of float64
        Written: the sums of ``F * pos`` over the updated rows.
    """
    k, K = len(gram), F.shape[1]
    indptr, indices, weight, degree, scale = graph
    for t, begin, until in work_stealing(tasks):
        tile, target = np.zeros((k, LANES), F.dtype), np.zeros((k, LANES), F.dtype)
        degrees, slope = np.zeros(LANES, F.dtype), np.zeros(LANES, F.dtype)
        more, less, near = np.zeros((LANES, K), F.dtype), np.zeros((1, K), F.dtype), np.zeros(K, F.dtype)
        with_pos = 0.0
        for lo in range(begin, until, LANES):
            n = min(LANES, until - lo)
            for lane in range(n):
                i = members[lo + lane]
                lazy_row(pos, i, more, lane)
                lazy_row(neg, i, less, 0)
                near[:] = 0
                for e in range(indptr[i], indptr[i + 1]):
                    g, share = F[indices[e]], weight[e]
                    for c in range(K):
                        near[c] += share * g[c]
                degrees[lane] = degree[i]
                for c in range(k):
                    tile[c, lane], target[c, lane] = F[i, c], more[lane, c] - less[0, c] + scale[c] * near[c]
            for c in order:
                coupled_lanes(c, gram, scale[c], degrees, tile, target, slope)
            for lane in range(n):
                for c in range(k):
                    F[members[lo + lane], c] = tile[c, lane]
                    with_pos += np.float64(tile[c, lane]) * np.float64(more[lane, c])
        parts[t] = with_pos
