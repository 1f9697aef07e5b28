"""Steps of factors whose rows meet the data with weights of their own, so that every row has its own Gram matrix.

The weights O of row i are ``base[i] + D[i]``: base is 0 or 1, D sparse. `local` is the tuple (indptr, indices, weight,
shift, base, gram, other, room) of `fastnmf.terms.masked.Local`: D (p, q) in CSR with the values `weight`; shift (nnz,)
is what the model has at D's entries without the factors, of no length where that is zero; other (q, K) the factor that
stays, gram (K, K) float64 its Gram matrix, room (nnz,) is overwritten. grams (2, K, K) are the Gram matrices of rows
with base 0 and 1, all that rows have in common included.
"""

import numpy as np

from fastnmf.kernels.jit import claimed, helper, kernel
from fastnmf.kernels.simd import TILE_ROWS, dot_rows, gather_row, mixed_row, mu_row, rows_gram_upper, rows_times

TOGETHER = 64  # rows of the other factor that join a Gram matrix at a time
ROUNDING = 64  # units in the last place below which a difference of Gram matrices is taken for zero


@helper
def _row_gram(lo, hi, indices, weight, other, start, held, block, out):
    """Write ``start + sum weight[p] g gᵀ`` over the rows ``g = other[indices[p]]`` into out, (K, K) float64.

    held (TOGETHER, K) and block (K, K) are overwritten.
    """
    K = other.shape[1]
    out[:] = start
    for sign in (1.0, -1.0):
        n = 0
        for p in range(lo, hi):
            if sign * weight[p] > 0:
                root = np.sqrt(abs(weight[p]))
                for c in range(K):
                    held[n, c] = root * other[indices[p], c]
                n += 1
            if n == TOGETHER or (n > 0 and p == hi - 1):
                rows_gram_upper(held, 0, n, block)
                for a in range(K):
                    for b in range(a, K):
                        out[a, b] += sign * block[a, b]
                n = 0
    for a in range(K):
        for b in range(a):
            out[a, b] = out[b, a]


@helper
def _pull(lo, hi, indices, weight, shift, other, out):
    """Subtract ``sum weight[p] shift[p] g`` over the rows ``g = other[indices[p]]`` from out (K,), float64."""
    if len(shift) > 0:
        for p in range(lo, hi):
            scale = np.float64(weight[p]) * np.float64(shift[p])
            for c in range(len(out)):
                out[c] -= scale * other[indices[p], c]


@kernel
def rows_mu_weighted(tasks, F, local, grams, pos, neg, limits, parts):
    """Move F (p, K) by ``f * pos / (f gram_i + neg_i + eps)``, row by row; ``limits = (eps, floor)`` as for `rows_mu`.

    gram_i and neg_i are those of grams and neg, and what D adds: O(nnz(D) K), and no Gram matrix is formed. What
    rounding would make negative is a positive trifle. parts (T, 2) get the sums of ``F * pos`` and zero.
    """
    K = F.shape[1]
    indptr, indices, weight, shift, base, _, other, room = local
    eps, floor = limits
    pos_start, pos_group, pos_weight, pos_rows = pos
    start, group, mix, shared = neg
    unit = F.dtype.type(ROUNDING * np.finfo(F.dtype).eps)
    for t, begin, until in claimed(tasks):
        below, added, whole = np.zeros((TILE_ROWS, K), F.dtype), np.zeros((1, K), F.dtype), np.empty(K, F.dtype)
        more, less, none = np.zeros((1, K), F.dtype), np.zeros((1, K), F.dtype), np.zeros((1, K), F.dtype)
        sums = np.zeros(2)
        for i in range(begin, until):
            lo, hi = indptr[i], indptr[i + 1]
            mixed_row(pos_start, pos_group, pos_weight, pos_rows, i, more, 0)
            mixed_row(start, group, mix, shared, i, less, 0)
            rows_times(F, i, 1, K, grams[base[i]], below)
            dot_rows(lo, hi, indices, F, i, other, room)
            for p in range(lo, hi):
                room[p] = weight[p] * (room[p] + shift[p]) if len(shift) > 0 else weight[p] * room[p]
            gather_row(lo, hi, indices, room, other, added, 0)
            for c in range(K):
                whole[c] = below[0, c] + less[0, c]
            for c in range(K):  # a loop of its own: sums of three terms may be taken in any order
                below[0, c] = max(whole[c] + added[0, c], unit * whole[c])
            mu_row(F, i, 0, more, below, none, eps, floor, sums)
        parts[t] = sums


@kernel
def rows_hals_weighted(tasks, F, local, grams, sides, flat, free, order, parts):
    """Move F (p, K) by exact coordinate descent over its columns order[0], order[1], ..., row by row.

    As `rows_hals`, with a Gram matrix for every row: O(nnz(D) K²). ``sides = (pos, neg)``; free (p, K) bool, or of no
    rows. Where the entries of a row do not see a column the entry stays; of a row without any weight it becomes zero.
    """
    K = F.shape[1]
    indptr, indices, weight, shift, base, _, other, _ = local
    pos, neg = sides
    pos_start, pos_group, pos_weight, pos_rows = pos
    start, group, mix, shared = neg
    unit, least = ROUNDING * np.finfo(F.dtype).eps, 4.0 * np.finfo(F.dtype).tiny
    for t, begin, until in claimed(tasks):
        held, block = np.zeros((TOGETHER, K), F.dtype), np.zeros((K, K), F.dtype)
        more, less = np.zeros((1, K), F.dtype), np.zeros((1, K), F.dtype)
        gram, x, target, with_pos = np.zeros((K, K)), np.zeros(K), np.zeros(K), 0.0
        for i in range(begin, until):
            lo, hi = indptr[i], indptr[i + 1]
            mixed_row(pos_start, pos_group, pos_weight, pos_rows, i, more, 0)
            mixed_row(start, group, mix, shared, i, less, 0)
            whole = grams[base[i]]
            _row_gram(lo, hi, indices, weight, other, whole, held, block, gram)
            for c in range(K):
                x[c], target[c] = F[i, c], np.float64(more[0, c]) - np.float64(less[0, c]) - flat
            _pull(lo, hi, indices, weight, shift, other, target)
            for c in order:
                if len(free) > 0 and not free[i, c]:
                    continue
                if gram[c, c] > least and gram[c, c] > unit * whole[c, c]:
                    slope = target[c]
                    for b in range(K):
                        slope -= gram[c, b] * x[b]
                    x[c] = max(x[c] + slope / gram[c, c], 0.0)
                elif lo == hi and base[i] == 0:
                    x[c] = 0.0
            for c in range(K):
                F[i, c] = x[c]
                with_pos += np.float64(F[i, c]) * np.float64(more[0, c])
        parts[t] = with_pos


@kernel
def rows_normal(tasks, first, local, grams, pos, neg, out, right):
    """Write the normal equations of the rows first, first + 1, ...: out (r, k, k) and right (r, k), float64, k <= K.

    What rounding leaves of columns that the entries of a row do not see is exactly zero. The tasks count from 0.
    """
    k = out.shape[1]
    indptr, indices, weight, shift, base, _, other, _ = local
    pos_start, pos_group, pos_weight, pos_rows = pos
    start, group, mix, shared = neg
    K, unit = other.shape[1], ROUNDING * np.finfo(other.dtype).eps
    for _, begin, until in claimed(tasks):
        held, block = np.zeros((TOGETHER, K), other.dtype), np.zeros((K, K), other.dtype)
        more, less = np.zeros((1, K), other.dtype), np.zeros((1, K), other.dtype)
        gram, target = np.zeros((K, K)), np.zeros(K)
        for r in range(begin, until):
            i = first + r
            lo, hi = indptr[i], indptr[i + 1]
            mixed_row(pos_start, pos_group, pos_weight, pos_rows, i, more, 0)
            mixed_row(start, group, mix, shared, i, less, 0)
            whole = grams[base[i]]
            _row_gram(lo, hi, indices, weight, other, whole, held, block, gram)
            for c in range(K):
                target[c] = np.float64(more[0, c]) - np.float64(less[0, c])
            _pull(lo, hi, indices, weight, shift, other, target)
            for c in range(k):
                is_seen = gram[c, c] > unit * whole[c, c]
                right[r, c] = target[c] if is_seen else 0.0
                for b in range(k):
                    out[r, c, b] = gram[c, b] if is_seen and gram[b, b] > unit * whole[b, b] else 0.0


@kernel
def rows_squares(tasks, F, local, neg, out):
    """Write ``sum_j O_ij (shift_ij + f . g_j)²`` into out (p,), float64, for every row f of F (p, K).

    Less ``base[i]`` times the squares of all shifts of the row; neg has ``base[i]`` times their products with `other`.
    """
    K = F.shape[1]
    indptr, indices, weight, shift, base, gram, other, room = local
    start, group, mix, shared = neg
    for _, begin, until in claimed(tasks):
        less = np.zeros((1, K), F.dtype)
        for i in range(begin, until):
            total = 0.0
            dot_rows(indptr[i], indptr[i + 1], indices, F, i, other, room)
            for p in range(indptr[i], indptr[i + 1]):
                y = np.float64(room[p]) + np.float64(shift[p]) if len(shift) > 0 else np.float64(room[p])
                total += np.float64(weight[p]) * y * y
            if base[i] > 0:
                mixed_row(start, group, mix, shared, i, less, 0)
                for c in range(K):
                    pull = 2.0 * np.float64(less[0, c])
                    for b in range(K):
                        pull += gram[c, b] * F[i, b]
                    total += pull * F[i, c]
            out[i] = total


@kernel
def entries_spread(tasks, F, local, place, out):
    """Add ``D[p] (f . g)`` to ``out[place[p]]`` for all entries p of D's rows, -1 for nowhere; out (q,) float64.

    F (p, K). The places of one row of D are its own.
    """
    indptr, indices, weight, _, _, _, other, room = local
    for _, begin, until in claimed(tasks):
        for i in range(begin, until):
            dot_rows(indptr[i], indptr[i + 1], indices, F, i, other, room)
            for p in range(indptr[i], indptr[i + 1]):
                if place[p] >= 0:
                    out[place[p]] += np.float64(weight[p]) * np.float64(room[p])
