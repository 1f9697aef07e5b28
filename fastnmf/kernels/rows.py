"""Passes over one factor, row by row: multiplicative and HALS steps, Gram matrices, inner products, residuals."""

import numpy as np

from fastnmf.kernels.jit import claimed, kernel
from fastnmf.kernels.lanes import LANE_BYTES, fetch_row, hals_lanes, row_dot, turn_back, turn_rows
from fastnmf.kernels.simd import TILE_ROWS, mixed_row, mu_row, rows_gram_upper, rows_times

GRAM_CHUNK = 256  # rows whose products are summed in the factor's own precision before they join the float64 sum
ENTRIES_CHUNK = 512  # scalar subproblems whose weights are looked up before they move


@kernel
def rows_gram(tasks, F, parts):
    """Write the upper triangle of ``sum f fᵀ`` over each task's rows f of F (p, K) into parts (T, K, K), float64."""
    K = F.shape[1]
    for t, begin, until in claimed(tasks):
        block = np.empty((K, K), F.dtype)
        parts[t] = 0.0
        for lo in range(begin, until, GRAM_CHUNK):
            rows_gram_upper(F, lo, min(lo + GRAM_CHUNK, until), block)
            for a in range(K):
                for b in range(a, K):
                    parts[t, a, b] += block[a, b]


def gram(tasks, F):
    """Return ``FᵀF`` of a factor F (p, K), (K, K) in float64."""
    parts = np.empty((len(tasks) - 1, F.shape[1], F.shape[1]))
    rows_gram(tasks, F, parts)
    upper = parts.sum(axis=0)
    both = upper + upper.T
    both.flat[:: len(both) + 1] /= 2  # exactly
    return both


@kernel
def rows_sum(tasks, F, parts):
    """Write the sums of the columns over each task's rows of F (p, K) into parts (T, K), float64."""
    for t, begin, until in claimed(tasks):
        parts[t] = 0.0
        for i in range(begin, until):
            for c in range(F.shape[1]):
                parts[t, c] += F[i, c]


@kernel
def rows_dot(tasks, F, G, parts):
    """Write ``sum F * G`` over each task's rows of F and G (p, K) into parts (T,), in float64."""
    for t, begin, until in claimed(tasks):
        total = 0.0
        for i in range(begin, until):
            for c in range(F.shape[1]):
                total += np.float64(F[i, c]) * np.float64(G[i, c])
        parts[t] = total


@kernel
def rows_accumulate(tasks, start, group, weight, rows, total, out):
    """Add the rows of a `fastnmf.problem.Mixture` to total (p, K), float64; write it into out (p, K) or (0, K), too."""
    for _, begin, until in claimed(tasks):
        more = np.zeros((1, total.shape[1]), out.dtype)
        for i in range(begin, until):
            mixed_row(start, group, weight, rows, i, more, 0)
            for c in range(total.shape[1]):
                total[i, c] += np.float64(more[0, c])
            if len(out) > 0:
                for c in range(total.shape[1]):
                    out[i, c] = total[i, c]


@kernel
def rows_mu(tasks, F, gram, pos, neg, eps, floor, parts):
    """Move F (p, K) by ``F * pos / (F gram + neg + eps)``.

    pos and neg `fastnmf.problem.Mixture`; a gram of no rows is zero. parts (T, 2) get the sums of ``F * pos``
    and ``F * neg`` over each task's rows for the new F, row by row in the precision of F and then in float64. What is
    positive stays above `floor`; zeros, and what meets a pos of zero, are exactly zero.
    """
    K = F.shape[1]
    start, group, weight, shared = neg
    pos_start, pos_group, pos_weight, pos_rows = pos
    for t, begin, until in claimed(tasks):
        more, less = np.zeros((TILE_ROWS, K), F.dtype), np.zeros((TILE_ROWS, K), F.dtype)
        below, sums = np.zeros((TILE_ROWS, K), F.dtype), np.zeros(2)
        for lo in range(begin, until, TILE_ROWS):
            n = min(TILE_ROWS, until - lo)
            for r in range(n):
                mixed_row(pos_start, pos_group, pos_weight, pos_rows, lo + r, more, r)
                mixed_row(start, group, weight, shared, lo + r, less, r)
            if len(gram) > 0:
                rows_times(F, lo, n, K, gram, below)
            for r in range(n):
                mu_row(F, lo + r, r, more, below, less, eps, floor, sums)
        parts[t] = sums


@kernel
def rows_hals(tasks, F, gram, pos, neg, flat, rank, order, parts):
    """Move F (p, K) by exact coordinate descent over its columns ``c = order[0], order[1], ...``, all below `rank`.

    ``F[:, c] = max(0, F[:, c] + (pos - neg - flat - F gram)[:, c] / gram[c, c])``; columns whose gram[c, c] is zero,
    or so small that its inverse would overflow, stay. flat is a number.
    Rows are independent, so some are turned into columns of a tile and moved side by side. pos and neg as for
    `rows_mu`; parts (T,) get the sums of ``F * pos``, as there.
    """
    K, n_lanes = F.shape[1], LANE_BYTES // F.itemsize
    start, group, weight, shared = neg
    pos_start, pos_group, pos_weight, pos_rows = pos
    least, has_neg = 4 * np.finfo(F.dtype).tiny, len(start) > 0 or len(shared) > 0
    for t, begin, until in claimed(tasks):
        tile, target = np.zeros((K, n_lanes), F.dtype), np.zeros((K, n_lanes), F.dtype)
        more, less = np.zeros((n_lanes, K), F.dtype), np.zeros((n_lanes, K), F.dtype)
        high, low, with_pos = more.reshape(-1), less.reshape(-1), 0.0
        for lo in range(begin, until, n_lanes):
            n = min(n_lanes, until - lo)
            for i in range(n):
                mixed_row(pos_start, pos_group, pos_weight, pos_rows, lo + i, more, i)
                mixed_row(start, group, weight, shared, lo + i, less, i)
                fetch_row(F, lo + n_lanes + i)
            for e in range(n * K):  # where neg has no rows, less still holds what was put there before
                low[e] = high[e] - flat - (low[e] if has_neg else 0)
            turn_rows(F, lo, n, tile)
            turn_rows(less, 0, n, target)
            for c in order:
                if gram[c, c] > least:
                    hals_lanes(c, rank, gram, tile, target)
            turn_back(tile, F, lo, n)
            for i in range(n):
                with_pos += np.float64(row_dot(F, lo + i, more, i))
        parts[t] = with_pos


@kernel
def rows_hals_free(tasks, F, gram, pos, neg, flat, free, order, parts):
    """Move those entries of F (p, K) that are free, bool (p, K), as `rows_hals` moves all: row by row, plain loops."""
    K = F.shape[1]
    start, group, weight, shared = neg
    pos_start, pos_group, pos_weight, pos_rows = pos
    least = 4 * np.finfo(F.dtype).tiny
    for t, begin, until in claimed(tasks):
        more, less, with_pos = np.zeros((1, K), F.dtype), np.zeros((1, K), F.dtype), 0.0
        for i in range(begin, until):
            mixed_row(pos_start, pos_group, pos_weight, pos_rows, i, more, 0)
            mixed_row(start, group, weight, shared, i, less, 0)
            for c in order:
                if free[i, c] and gram[c, c] > least:
                    target = more[0, c] - less[0, c] - flat + gram[c, c] * F[i, c]
                    for b in range(K):
                        target -= gram[c, b] * F[i, b]
                    F[i, c] = max(target / gram[c, c], 0)
            for c in range(K):
                with_pos += np.float64(F[i, c]) * np.float64(more[0, c])
        parts[t] = with_pos


@kernel
def rows_extrapolate(tasks, F, before, beta):
    """Move F (p, K) on along its last step, ``max(0, F + beta * (F - before))``; before becomes the old F."""
    K = F.shape[1]
    flat, flat_before = F.reshape(-1), before.reshape(-1)
    for _, begin, until in claimed(tasks):
        lo, hi = begin * K, until * K
        f, old = flat[lo:hi], flat_before[lo:hi]
        for e in range(len(f)):
            now = f[e]
            f[e] = max(now + beta * (now - old[e]), 0)
            old[e] = now


@kernel
def entries_step(tasks, group, weight, pos, neg, v, limits, n_updates, parts):
    """Move entries whose subproblems are scalar: minimise ``weight v^2 / 2 + (neg - pos) v`` with weight[group[p]].

    With n_updates = 0 the exact minimiser over v >= 0 (0 where the weight is 0), else that many multiplicative
    updates, with ``limits = (eps, floor)`` as for `rows_mu`; eps, added to neg, is also where a flat penalty goes.
    All arrays over entries (q,), weight (G,). parts (T, 2) get the sums over each task's entries of
    ``v * (weight v - 2 pos)`` and of ``v * neg`` for the new v, in float64.
    """
    eps, floor = limits
    for t, begin, until in claimed(tasks):
        total, with_neg, own = 0.0, 0.0, np.empty(ENTRIES_CHUNK, v.dtype)
        for lo in range(begin, until, ENTRIES_CHUNK):
            hi = min(lo + ENTRIES_CHUNK, until)
            x, above, below, of = v[lo:hi], pos[lo:hi], neg[lo:hi], group[lo:hi]
            for e in range(len(x)):  # one simple loop after the other, for the compiler to take many entries at once
                own[e] = weight[of[e]]
            if n_updates == 0:
                for e in range(len(x)):
                    x[e] = max(above[e] - below[e] - eps, 0) / own[e] if own[e] > 0 else 0
            for _ in range(n_updates):
                for e in range(len(x)):
                    step = x[e] * above[e]
                    x[e] = max(step / (own[e] * x[e] + below[e] + eps), floor) if step > 0 else 0
            for e in range(len(x)):
                total += np.float64(x[e]) * (np.float64(own[e]) * x[e] - 2 * np.float64(above[e]))
                with_neg += np.float64(x[e]) * np.float64(below[e])
        parts[t, 0], parts[t, 1] = total, with_neg


@kernel
def entries_value(tasks, group, weight, pos, v, parts):
    """Write ``sum v * (weight v - 2 pos)`` over each task's entries into parts (T,), in float64."""
    for t, begin, until in claimed(tasks):
        total = 0.0
        for p in range(begin, until):
            total += np.float64(v[p]) * (np.float64(weight[group[p]]) * v[p] - 2 * np.float64(pos[p]))
        parts[t] = total


@kernel
def rows_power(tasks, F, before, power):
    """Move F (p, K) back along the way from `before` (p, K): ``before * (F / before) ** power``; zeros stay zero."""
    K = F.shape[1]
    flat, flat_before = F.reshape(-1), before.reshape(-1)
    for _, begin, until in claimed(tasks):
        for e in range(begin * K, until * K):
            if flat[e] > 0:
                old = np.float64(flat_before[e])
                flat[e] = old * (np.float64(flat[e]) / old) ** power
