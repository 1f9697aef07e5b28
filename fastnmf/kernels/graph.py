"""Passes over one factor whose rows are the nodes of a graph: colours, roughness, descent among neighbours."""

import numpy as np

from fastnmf.kernels.jit import claimed, helper, kernel
from fastnmf.kernels.simd import mixed_row

LANES = 16  # rows side by side: a whole number of vector registers of either precision


@helper
def coupled_lanes(c, gram, scale, degrees, tile, target, slope):
    """Move entry c of the rows in the columns of tile (k, LANES) to the minimum along it; overwrite slope (LANES,)."""
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
    """Write the least colour that no neighbour has yet into colours (p,) of int32, node after node of `visits`.

    colours comes in as -1 everywhere. Sequential: the table has one task. Loops of a node to itself are ignored.
    """
    for _, begin, until in claimed(tasks):
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
def rows_roughness(tasks, indptr, indices, weight, F, G, parts):
    """Write ``sum_e weight_e (f_i - g_j)²`` over the edges e = (i, j) of each task's rows i into parts (T, K), float64.

    The graph as CSR; F (p, K), G (q, K). A row is summed in the precision of F and joins a float64 sum; no digits are
    lost where neighbours are nearly equal.
    """
    K = F.shape[1]
    for t, begin, until in claimed(tasks):
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
def nodes_hals(tasks, F, G, gram, pos, neg, graph, order, parts):
    """Move some rows of F (p, K) by exact coordinate descent over the columns order[0], order[1], ..., below k.

    Row i minimises ``f gram fᵀ / 2 + (neg_i - pos_i) f + sum_j weight_ij sum_c scale_c (f_c - G_jc)² / 2``; gram is
    (k, k), graph ``(members, indptr, indices, weight, degree, scale)``. The tasks count the rows members[0],
    members[1], ..., no two of which may be neighbours where G is F. pos and neg `fastnmf.problem.Mixture`; parts (T,)
    get the sums of ``F * pos`` over the rows. Rows are turned into columns of a tile and moved side by side.
    """
    k, K = len(gram), F.shape[1]
    members, indptr, indices, weight, degree, scale = graph
    pos_start, pos_group, pos_weight, pos_rows = pos
    start, group, mix, shared = neg
    for t, begin, until in claimed(tasks):
        tile, target = np.zeros((k, LANES), F.dtype), np.zeros((k, LANES), F.dtype)
        degrees, slope = np.zeros(LANES, F.dtype), np.zeros(LANES, F.dtype)
        more, less, near = np.zeros((LANES, K), F.dtype), np.zeros((1, K), F.dtype), np.zeros(K, F.dtype)
        with_pos = 0.0
        for lo in range(begin, until, LANES):
            n = min(LANES, until - lo)
            for lane in range(n):
                i = members[lo + lane]
                mixed_row(pos_start, pos_group, pos_weight, pos_rows, i, more, lane)
                mixed_row(start, group, mix, shared, i, less, 0)
                near[:] = 0
                for e in range(indptr[i], indptr[i + 1]):
                    g, share = G[indices[e]], weight[e]
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
