"""Passes over one factor whose rows are the nodes of a graph: colours, roughness, coordinate descent among neighbours."""

import numpy as np
from numba import prange

from fastnmf.kernels.jit import kernel
from fastnmf.kernels.simd import mixed_row


@kernel
def nodes_colour(tasks, indptr, indices, visits, colours):
    """Write the least colour that no neighbour has yet into colours (p,) of int32, node after node of `visits`.

    colours comes in as -1 everywhere. Sequential: the table has one task. Loops of a node to itself are ignored.
    """
    for t in prange(len(tasks) - 1):
        taken = np.full(len(colours) + 1, -1, np.int64)
        for i in visits[tasks[t] : tasks[t + 1]]:
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

    The graph as CSR; F (p, K), G (q, K). No digits are lost where neighbours are nearly equal.
    """
    for t in prange(len(tasks) - 1):
        parts[t] = 0.0
        for i in range(tasks[t], tasks[t + 1]):
            for e in range(indptr[i], indptr[i + 1]):
                for c in range(F.shape[1]):
                    step = np.float64(F[i, c]) - np.float64(G[indices[e], c])
                    parts[t, c] += weight[e] * step * step


@kernel
def nodes_hals(tasks, F, G, gram, pos, neg, graph, order, parts):
    """Move some rows of F (p, K) by exact coordinate descent over the columns order[0], order[1], ..., below K.

    Row i minimises ``f gram fᵀ / 2 + (neg_i - pos_i) f + sum_j weight_ij sum_c scale_c (f_c - G_jc)² / 2``; graph is
    ``(members, indptr, indices, weight, degree, scale)``. The tasks count the rows members[0], members[1], ..., no two
    of which may be neighbours where G is F. pos and neg `fastnmf.problem.Mixture`; parts (T,) get the sums of
    ``F * pos`` over the rows.
    """
    K = F.shape[1]
    members, indptr, indices, weight, degree, scale = graph
    pos_start, pos_group, pos_weight, pos_rows = pos
    start, group, mix, shared = neg
    least = 4 * np.finfo(F.dtype).tiny
    for t in prange(len(tasks) - 1):
        more, less = np.zeros((1, K), F.dtype), np.zeros((1, K), F.dtype)
        near, with_pos = np.zeros(K, F.dtype), 0.0
        for i in members[tasks[t] : tasks[t + 1]]:
            mixed_row(pos_start, pos_group, pos_weight, pos_rows, i, more, 0)
            mixed_row(start, group, mix, shared, i, less, 0)
            near[:] = 0
            for e in range(indptr[i], indptr[i + 1]):
                for c in range(K):
                    near[c] += weight[e] * G[indices[e], c]
            for c in order:
                own = scale[c] * degree[i]
                if gram[c, c] + own > least:
                    slope = more[0, c] - less[0, c] + scale[c] * near[c] - own * F[i, c]
                    for b in range(K):
                        slope -= gram[c, b] * F[i, b]
                    F[i, c] = max(F[i, c] + slope / (gram[c, c] + own), 0)
            for c in range(K):
                with_pos += np.float64(F[i, c]) * np.float64(more[0, c])
        parts[t] = with_pos
