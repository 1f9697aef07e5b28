"""Passes over one factor, row by row: multiplicative and HALS steps, Gram matrices, inner products, residuals."""

import numpy as np
from numba import prange

from fastnmf.kernels.jit import kernel
from fastnmf.kernels.simd import hals_lanes

GRAM_ROWS = 128  # rows whose products are summed in the factor's own precision before they join the float64 sum


@kernel
def rows_gram(tasks, F, parts):
    """Write the sum of ``f fᵀ`` over each task's rows f into parts (T, K, K), float64. F (p, K)."""
    K = F.shape[1]
    for t in prange(len(tasks) - 1):
        block = np.zeros((K, K), F.dtype)
        parts[t] = 0.0
        for lo in range(tasks[t], tasks[t + 1], GRAM_ROWS):
            hi = min(lo + GRAM_ROWS, tasks[t + 1])
            block[:] = 0
            i = lo
            while i + 4 <= hi:  # four rows for each load and store of a row of the block
                for a in range(K):
                    f0, f1, f2, f3 = F[i, a], F[i + 1, a], F[i + 2, a], F[i + 3, a]
                    for b in range(K):
                        block[a, b] += f0 * F[i, b] + f1 * F[i + 1, b] + f2 * F[i + 2, b] + f3 * F[i + 3, b]
                i += 4
            while i < hi:
                for a in range(K):
                    for b in range(K):
                        block[a, b] += F[i, a] * F[i, b]
                i += 1
            for a in range(K):
                for b in range(K):
                    parts[t, a, b] += block[a, b]


@kernel
def rows_dot(tasks, F, pos, neg, parts):
    """Write ``sum F * (pos - neg)`` over each task's rows into parts (T,), in float64. A neg of no rows is zero."""
    for t in prange(len(tasks) - 1):
        total = 0.0
        if neg.shape[0] > 0:
            for i in range(tasks[t], tasks[t + 1]):
                for c in range(F.shape[1]):
                    total += np.float64(F[i, c]) * (np.float64(pos[i, c]) - np.float64(neg[i, c]))
        else:
            for i in range(tasks[t], tasks[t + 1]):
                for c in range(F.shape[1]):
                    total += np.float64(F[i, c]) * np.float64(pos[i, c])
        parts[t] = total


@kernel
def rows_mu(tasks, F, gram, pos, neg, eps, floor):
    """Move F (p, K) by ``F * pos / (F gram + neg + eps)``, not below `floor`. A neg of no rows is zero."""
    K = F.shape[1]
    for t in prange(len(tasks) - 1):
        below = np.empty(K, F.dtype)
        for i in range(tasks[t], tasks[t + 1]):
            for c in range(K):
                below[c] = eps
            if neg.shape[0] > 0:
                for c in range(K):
                    below[c] += neg[i, c]
            for a in range(K):
                f = F[i, a]
                for c in range(K):
                    below[c] += f * gram[a, c]
            for c in range(K):
                F[i, c] = max(F[i, c] * pos[i, c] / below[c], floor)


@kernel
def rows_hals(tasks, F, gram, pos, neg, rank, n_lanes, n_sweeps):
    """Move F (p, K) by `n_sweeps` sweeps of exact coordinate descent over its columns c < rank, in ascending order.

    ``F[:, c] = max(0, F[:, c] + (pos - neg - F gram)[:, c] / gram[c, c])``; columns whose gram[c, c] is zero stay.
    Rows are independent, so `n_lanes` of them are turned into columns of a tile and moved side by side.
    """
    for t in prange(len(tasks) - 1):
        tile = np.zeros((rank, n_lanes), F.dtype)
        target = np.zeros((rank, n_lanes), F.dtype)
        for lo in range(tasks[t], tasks[t + 1], n_lanes):
            n = min(n_lanes, tasks[t + 1] - lo)
            for i in range(n):
                for c in range(rank):
                    tile[c, i] = F[lo + i, c]
                    target[c, i] = pos[lo + i, c]
            if neg.shape[0] > 0:
                for i in range(n):
                    for c in range(rank):
                        target[c, i] -= neg[lo + i, c]
            for _ in range(n_sweeps):
                for c in range(rank):
                    if gram[c, c] > 0:
                        hals_lanes(c, rank, gram, tile, target)
            for i in range(n):
                for c in range(rank):
                    F[lo + i, c] = tile[c, i]


@kernel
def entries_step(tasks, group, weight, pos, neg, v, eps, n_updates):
    """Move entries whose subproblems are scalar: minimise ``weight v^2 / 2 + (neg - pos) v`` with weight[group[p]].

    With n_updates = 0 the exact minimiser over v >= 0 (0 where the weight is 0), else that many multiplicative
    updates. All arrays over entries (q,), weight (G,).
    """
    for t in prange(len(tasks) - 1):
        for p in range(tasks[t], tasks[t + 1]):
            w = weight[group[p]]
            if n_updates == 0:
                v[p] = max((pos[p] - neg[p]) / w, 0) if w > 0 else 0
            for _ in range(n_updates):
                v[p] = v[p] * pos[p] / (w * v[p] + neg[p] + eps)


@kernel
def entries_value(tasks, group, weight, pos, v, parts):
    """Write ``sum v * (weight v - 2 pos)`` over each task's entries into parts (T,), in float64."""
    for t in prange(len(tasks) - 1):
        total = 0.0
        for p in range(tasks[t], tasks[t + 1]):
            total += np.float64(v[p]) * (np.float64(weight[group[p]]) * v[p] - 2 * np.float64(pos[p]))
        parts[t] = total
