"""Kernels over one factor, row by row: multiplicative and HALS updates, Gram matrices, inner products, scalar problems.

F (p, K) is a factor with p rows and padded width K. Records are those of `fastnmf.kernels.records`. Inputs are not
checked.
"""

import numpy as np

from fastnmf.kernels.jit import kernel, work_stealing
from fastnmf.kernels.llvm_builder import TILE_ROWS
from fastnmf.kernels.row_intrinsics import lazy_row, mu_row, rows_gram_upper, rows_times
from fastnmf.kernels.tile_kernels import (
    LANE_BYTES,
    hals_lanes,
    load_transposed,
    prefetch_row,
    row_dot,
    store_transposed,
)

GRAM_CHUNK = 256  # rows whose products are summed in the factor's own precision before they join the float64 sum
WIDEST = 32 * 1024 // LANE_BYTES  # components whose tile in `rows_hals` fits the first cache; for more: `large_ranks`
# For `rows_gram_sparse`: the largest part of entries that are not zero. At rank 200 it takes the time of `rows_gram`
# at about .12 (float32) and .2 (float64).
FEW = 0.12
SAMPLED_ROWS = 1000  # in which such entries are counted
ENTRIES_CHUNK = 512  # scalar subproblems that are solved together, after their weights have been looked up


@kernel
def rows_gram(tasks, F, parts):
    """Write the upper triangle of ``sum f fᵀ`` over each task's rows f of F (p, K) into parts (T, K, K), float64."""
    K = F.shape[1]
    for t, begin, until in work_stealing(tasks):
        block = np.empty((K, K), F.dtype)
        parts[t] = 0.0
        for lo in range(begin, until, GRAM_CHUNK):
            rows_gram_upper(F, lo, min(lo + GRAM_CHUNK, until), block)
            for a in range(K):
                for b in range(a, K):
                    parts[t, a, b] += block[a, b]


@kernel
def rows_gram_sparse(tasks, F, parts):
    """Write what `rows_gram` writes, with the work of the pairs of non-zero entries of each row, in float64."""
    K = F.shape[1]
    for t, begin, until in work_stealing(tasks):
        places, numbers = np.zeros(K, np.int32), np.zeros(K)
        parts[t] = 0.0
        for i in range(begin, until):
            n = 0
            for c in range(K):  # without a branch, which the processor would often predict wrongly
                places[n], numbers[n] = c, F[i, c]
                n += F[i, c] != 0
            for a in range(n):
                line = parts[t, places[a]]
                for b in range(a, n):
                    line[places[b]] += numbers[a] * numbers[b]


def gram(tasks, F):
    """Return ``FᵀF`` of a factor F (p, K), (K, K) in float64."""
    parts = np.empty((len(tasks) - 1, F.shape[1], F.shape[1]))
    sample = F[:: 1 + len(F) // SAMPLED_ROWS]
    is_sparse = F.shape[1] > WIDEST and np.count_nonzero(sample) <= FEW * sample.size
    (rows_gram_sparse if is_sparse else rows_gram)(tasks, F, parts)
    upper = parts.sum(axis=0)
    both = upper + upper.T
    both.flat[:: len(both) + 1] /= 2  # exactly
    return both


@kernel
def rows_sum(tasks, F, parts):
    """Write the sums of the columns over each task's rows of F (p, K) into parts (T, K), float64."""
    for t, begin, until in work_stealing(tasks):
        parts[t] = 0.0
        for i in range(begin, until):
            for c in range(F.shape[1]):
                parts[t, c] += F[i, c]


@kernel
def rows_dot(tasks, F, G, parts):
    """Write ``sum F * G`` over each task's rows.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F, G : ndarray (p, K)
    parts : ndarray (T,) of float64
        Written.
    """
    for t, begin, until in work_stealing(tasks):
        total = 0.0
        for i in range(begin, until):
            for c in range(F.shape[1]):
                total += np.float64(F[i, c]) * np.float64(G[i, c])
        parts[t] = total


@kernel
def rows_accumulate(tasks, lazy, total, out):
    """Add the rows of a `LazyRows` to total, and copy the result into out.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    lazy : LazyRows (p, K)
    total : ndarray (p, K) of float64
        Written.
    out : ndarray (p, K) or (0, K), dtype of the rows
        Written, unless it has no rows.
    """
    for _, begin, until in work_stealing(tasks):
        more = np.zeros((1, total.shape[1]), out.dtype)
        for i in range(begin, until):
            lazy_row(lazy, i, more, 0)
            for c in range(total.shape[1]):
                total[i, c] += np.float64(more[0, c])
            if len(out) > 0:
                for c in range(total.shape[1]):
                    out[i, c] = total[i, c]


@kernel
def rows_mu(tasks, F, gram, pos, neg, limits, parts):
    """Update F by ``F * pos / (F gram + neg + eps)``.

    Positive entries stay at or above the floor. Entries that are zero, or whose pos is zero, become exactly zero.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F : ndarray (p, K)
        Written.
    gram : ndarray (K, K) or (0, 0), dtype of F
        No rows: gram is zero.
    pos, neg : LazyRows (p, K)
    limits : Limits
    parts : ndarray (T, 2) of float64
        Written: the sums of ``F * pos`` and ``F * neg`` over each task's rows for the new F. Each row is summed in the
        precision of F, and the rows in float64.
    """
    (eps, floor), K = limits, F.shape[1]
    for t, begin, until in work_stealing(tasks):
        more, less = np.zeros((TILE_ROWS, K), F.dtype), np.zeros((TILE_ROWS, K), F.dtype)
        below, sums = np.zeros((TILE_ROWS, K), F.dtype), np.zeros(2)
        for lo in range(begin, until, TILE_ROWS):
            n = min(TILE_ROWS, until - lo)
            for r in range(n):
                lazy_row(pos, lo + r, more, r)
                lazy_row(neg, lo + r, less, r)
            if len(gram) > 0:
                rows_times(F, lo, n, K, gram, below)
            for r in range(n):
                mu_row(F, lo + r, r, more, below, less, eps, floor, sums)
        parts[t] = sums


@kernel
def rows_hals(tasks, F, gram, pos, neg, linear, rank, order, parts):
    """Update F by exact coordinate descent over its columns ``c = order[0], order[1], ...``, all below `rank`.

    ``F[:, c] = max(0, F[:, c] + (pos - neg - linear - F gram)[:, c] / gram[c, c])``. A column stays as it is where
    gram[c, c] is zero, or so small that its inverse would overflow. Rows are independent of each other; some of them
    are therefore loaded as columns of a tile and updated side by side.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F : ndarray (p, K)
        Written.
    gram : ndarray (K, K), dtype of F
    pos, neg : LazyRows (p, K)
    linear : scalar, dtype of F
        Constant added to the half-gradient of every entry.
    rank : int
    order : ndarray of int64
    parts : ndarray (T,) of float64
        Written: the sums of ``F * pos``, as in `rows_mu`.
    """
    K, n_lanes = F.shape[1], LANE_BYTES // F.itemsize
    least, has_neg = 4 * np.finfo(F.dtype).tiny, len(neg.start) > 0 or len(neg.rows) > 0
    for t, begin, until in work_stealing(tasks):
        tile, target = np.zeros((K, n_lanes), F.dtype), np.zeros((K, n_lanes), F.dtype)
        more, less = np.zeros((n_lanes, K), F.dtype), np.zeros((n_lanes, K), F.dtype)
        high, low, with_pos = more.reshape(-1), less.reshape(-1), 0.0
        for lo in range(begin, until, n_lanes):
            n = min(n_lanes, until - lo)
            for i in range(n):
                lazy_row(pos, lo + i, more, i)
                lazy_row(neg, lo + i, less, i)
                prefetch_row(F, lo + n_lanes + i)
            for e in range(n * K):  # without rows of neg, `less` holds the numbers of the previous tile
                low[e] = high[e] - linear - (low[e] if has_neg else 0)
            load_transposed(F, lo, n, tile)
            load_transposed(less, 0, n, target)
            for c in order:
                if gram[c, c] > least:
                    hals_lanes(c, rank, gram, tile, target)
            store_transposed(tile, F, lo, n)
            for i in range(n):
                with_pos += np.float64(row_dot(F, lo + i, more, i))
        parts[t] = with_pos


@kernel
def rows_hals_masked(tasks, F, gram, pos, neg, linear, free_mask, order, parts):
    """Update the free entries of F as `rows_hals` updates all entries, row by row and in plain loops.

    Parameters
    ----------
    tasks, F, gram, pos, neg, linear, order, parts :
        As for `rows_hals`.
    free_mask : ndarray (p, K) of bool
        Entries that are updated.
    """
    K = F.shape[1]
    least = 4 * np.finfo(F.dtype).tiny
    for t, begin, until in work_stealing(tasks):
        more, less, with_pos = np.zeros((1, K), F.dtype), np.zeros((1, K), F.dtype), 0.0
        for i in range(begin, until):
            lazy_row(pos, i, more, 0)
            lazy_row(neg, i, less, 0)
            for c in order:
                if free_mask[i, c] and gram[c, c] > least:
                    target = more[0, c] - less[0, c] - linear + gram[c, c] * F[i, c]
                    for b in range(K):
                        target -= gram[c, b] * F[i, b]
                    F[i, c] = max(target / gram[c, c], 0)
            for c in range(K):
                with_pos += np.float64(F[i, c]) * np.float64(more[0, c])
        parts[t] = with_pos


@kernel
def rows_extrapolate(tasks, F, before, beta):
    """Extrapolate F along its last step, ``max(0, F + beta * (F - before))``; `before` becomes the old F.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F, before : ndarray (p, K), of one dtype
        Both written.
    beta : scalar, dtype of F
    """
    K = F.shape[1]
    linear, flat_before = F.reshape(-1), before.reshape(-1)
    for _, begin, until in work_stealing(tasks):
        lo, hi = begin * K, until * K
        f, old = linear[lo:hi], flat_before[lo:hi]
        for e in range(len(f)):
            now = f[e]
            f[e] = max(now + beta * (now - old[e]), 0)
            old[e] = now


@kernel
def rows_curvature(tasks, F, second, first, parts):
    """Write the sizes of the step from `first` to `second`, of the change to the next step, which ends in F, and of F.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F, second, first : ndarray (p, K), of one dtype
    parts : ndarray (T, 3) of float64
        Written: the sums of ``|second - first|``, ``|F - second - (second - first)|`` and ``|F|`` over each task's
        rows.
    """
    K = F.shape[1]
    last, middle, start = F.reshape(-1), second.reshape(-1), first.reshape(-1)
    for t, begin, until in work_stealing(tasks):
        lo, hi, of_step, of_change, size = begin * K, until * K, 0.0, 0.0, 0.0
        f, m, b = last[lo:hi], middle[lo:hi], start[lo:hi]
        for e in range(len(f)):
            step = np.float64(m[e]) - np.float64(b[e])
            of_step += abs(step)
            of_change += abs(np.float64(f[e]) - np.float64(m[e]) - step)
            size += abs(np.float64(f[e]))
        parts[t, 0], parts[t, 1], parts[t, 2] = of_step, of_change, size


@kernel
def rows_squarem(tasks, F, second, first, a):
    """Extrapolate F twice along its last two steps, ``max(first + 2 a r + a² s, F / 10)``; `second` becomes the old F.

    Here ``r = second - first`` and ``s = F - second - r``. Zeros stay zero, and no other entry becomes zero.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F, second : ndarray (p, K), of one dtype
        Both written.
    first : ndarray (p, K)
    a : scalar, dtype of F
    """
    K = F.shape[1]
    last, middle, start = F.reshape(-1), second.reshape(-1), first.reshape(-1)
    least = F.dtype.type(0.1)
    for _, begin, until in work_stealing(tasks):
        lo, hi = begin * K, until * K
        f, m, b = last[lo:hi], middle[lo:hi], start[lo:hi]
        for e in range(len(f)):
            now, r = f[e], m[e] - b[e]
            ahead = b[e] + a * (2 * r + a * (now - m[e] - r))
            f[e] = max(ahead, least * now) if now > 0 else 0
            m[e] = now


@kernel
def entries_step(tasks, group, weight, pos, neg, v, limits, n_updates, parts):
    """Minimise ``weight v² / 2 + (neg - pos) v`` over v >= 0 for every entry, with the curvature ``weight[group[p]]``.

    With n_updates = 0 each entry becomes the exact minimiser (0 where the weight is 0). Otherwise it gets `n_updates`
    multiplicative updates.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table over the entries.
    group : ndarray (q,) of int32
    weight : ndarray (G,), dtype of v
    pos, neg : ndarray (q,), dtype of v
    v : ndarray (q,)
        Written.
    limits : Limits
        eps is added to neg and therefore also carries a linear penalty.
    n_updates : int
    parts : ndarray (T, 2) of float64
        Written: the sums over each task's entries of ``v * (weight v - 2 pos)`` and of ``v * neg`` for the new v.
    """
    eps, floor = limits
    for t, begin, until in work_stealing(tasks):
        total, with_neg, own = 0.0, 0.0, np.empty(ENTRIES_CHUNK, v.dtype)
        for lo in range(begin, until, ENTRIES_CHUNK):
            hi = min(lo + ENTRIES_CHUNK, until)
            x, above, below, of = v[lo:hi], pos[lo:hi], neg[lo:hi], group[lo:hi]
            for e in range(len(x)):  # several simple loops, which the compiler vectorises, instead of one long one
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
    """Write ``sum v * (weight v - 2 pos)`` over each task's entries.

    Parameters
    ----------
    tasks, group, weight, pos, v :
        As for `entries_step`; v is not written.
    parts : ndarray (T,) of float64
        Written.
    """
    for t, begin, until in work_stealing(tasks):
        total = 0.0
        for p in range(begin, until):
            total += np.float64(v[p]) * (np.float64(weight[group[p]]) * v[p] - 2 * np.float64(pos[p]))
        parts[t] = total


@kernel
def rows_power(tasks, F, before, power):
    """Raise the ratio of the last update to a power: ``F = before * (F / before) ** power``; zeros stay zero.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F : ndarray (p, K)
        F after the update; written.
    before : ndarray (p, K), dtype of F
        F before the update; positive where F is.
    power : float
        Between 0 and 1 the step is shortened.
    """
    K = F.shape[1]
    linear, flat_before = F.reshape(-1), before.reshape(-1)
    for _, begin, until in work_stealing(tasks):
        lo, hi = begin * K, until * K
        f, b = linear[lo:hi], flat_before[lo:hi]
        if power == 0.5:  # Itakura-Saito; square roots take a tenth of the time of a power
            for e in range(len(f)):
                now, old = np.float64(f[e]), np.float64(b[e])
                f[e] = old * np.sqrt(now / old) if now > 0 else 0
        elif power == 0.25:
            for e in range(len(f)):
                now, old = np.float64(f[e]), np.float64(b[e])
                f[e] = old * np.sqrt(np.sqrt(now / old)) if now > 0 else 0
        else:
            for e in range(len(f)):
                if f[e] > 0:
                    old = np.float64(b[e])
                    f[e] = old * (np.float64(f[e]) / old) ** power
