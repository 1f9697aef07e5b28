"""Updates of factors whose rows meet the data with entry weights, so that every row has its own Gram matrix.

The entry weights O of row i are ``base[i] + D[i]``, where base is 0 or 1 and D is sparse; `rowwise` is a
`fastnmf.kernels.records.RowwiseGram`. F (p, K) is the factor; pos and neg are `fastnmf.kernels.records.LazyRows`
(p, K). Inputs are not checked.
"""

import numpy as np

from fastnmf.kernels.jit import helper, inlined, kernel, work_stealing
from fastnmf.kernels.llvm_builder import TILE_ROWS
from fastnmf.kernels.row_intrinsics import dot_rows, gather_row, lazy_row, mu_row, rows_gram_upper, rows_times

TOGETHER = 64  # rows of the other factor that are added to a Gram matrix at a time
ROUNDING = 64  # units in the last place below which a difference of Gram matrices counts as zero
# Share of the squared length of a component below which a row with few weights does not see it: such a row would set
# its weight from entries that are next to nothing, and predict any size elsewhere (1e22 for ratings from 1 to 5).
UNSEEN = 1e-10


@helper
def _row_gram(i, rowwise, held, block, out):
    """Write the Gram matrix of row i, ``grams[base[i]]`` plus the contribution of D, into out.

    Entries of D are added `TOGETHER` at a time, those of either sign by themselves.

    Parameters
    ----------
    i : int
    rowwise : RowwiseGram
        Its `room` is overwritten in the entries of the row.
    held : ndarray (TOGETHER, K), dtype of the other factor
        Overwritten.
    block : ndarray (K, K), dtype of the other factor
        Overwritten.
    out : ndarray (K, K) of float64
        Written.
    """
    lo, hi, K, n_below = rowwise.indptr[i], rowwise.indptr[i + 1], len(out), 0
    weight, root = rowwise.weight, rowwise.room
    for p in range(lo, hi):
        root[p] = np.sqrt(abs(weight[p]))
        n_below += weight[p] < 0
    out[:] = rowwise.grams[rowwise.base[i]]
    for sign, n_left in ((1.0, hi - lo - n_below), (-1.0, n_below)):
        n = 0
        for p in range(lo, hi if n_left > 0 else lo):
            if sign * weight[p] > 0:
                gather_row(p, p + 1, rowwise.indices, root, rowwise.other, held, n)
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
    """Subtract ``sum weight[p] shift[p] g`` over the rows ``g = other[indices[p]]``, p in lo..hi, from out.

    Parameters
    ----------
    lo, hi : int
    indices, weight : ndarray (nnz,)
    shift : ndarray (nnz,) or (0,)
    other : ndarray (q, K)
    out : ndarray (K,) of float64
        Written.
    """
    if len(shift) > 0:
        for p in range(lo, hi):
            scale = np.float64(weight[p]) * np.float64(shift[p])
            for c in range(len(out)):
                out[c] -= scale * other[indices[p], c]


@inlined
def _move(out, scale, row):
    """Subtract ``scale * row`` from out, both (K,) of float64."""
    for c in range(len(out)):
        out[c] -= scale * row[c]


@kernel
def rows_mu_weighted(tasks, F, rowwise, pos, neg, limits, parts):
    """Update F by ``f * pos / (f gram_i + neg_i + eps)``, row by row.

    gram_i is ``grams[base[i]]`` plus the contribution of D, and neg_i likewise. The cost of that is O(nnz(D) K), and no
    Gram matrix is formed. A denominator that rounding would make negative is replaced by a small positive number.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F : ndarray (p, K)
        Written.
    rowwise : RowwiseGram
        `grams` of the dtype of F.
    pos, neg : LazyRows (p, K)
    limits : fastnmf.kernels.records.Limits
    parts : ndarray (T, 2) of float64
        Written: the sums of ``F * pos``, and zero.
    """
    (eps, floor), K = limits, F.shape[1]
    indptr, indices, weight, shift, base, grams, other, room, ridge = rowwise
    unit = F.dtype.type(ROUNDING * np.finfo(F.dtype).eps)
    for t, begin, until in work_stealing(tasks):
        below, added, whole = np.zeros((TILE_ROWS, K), F.dtype), np.zeros((1, K), F.dtype), np.empty(K, F.dtype)
        more, less, none = np.zeros((1, K), F.dtype), np.zeros((1, K), F.dtype), np.zeros((1, K), F.dtype)
        sums = np.zeros(2)
        for i in range(begin, until):
            lo, hi = indptr[i], indptr[i + 1]
            lazy_row(pos, i, more, 0)
            lazy_row(neg, i, less, 0)
            rows_times(F, i, 1, K, grams[base[i]], below)
            dot_rows(lo, hi, indices, F, i, other, room)
            for p in range(lo, hi):
                room[p] = weight[p] * (room[p] + shift[p]) if len(shift) > 0 else weight[p] * room[p]
            gather_row(lo, hi, indices, room, other, added, 0)
            own = F.dtype.type(ridge[i] if len(ridge) > 0 else 0.0)
            for c in range(K):
                whole[c] = below[0, c] + less[0, c] + own * F[i, c]
            for c in range(K):  # a separate loop, because a sum of three terms may be evaluated in any order
                below[0, c] = max(whole[c] + added[0, c], unit * whole[c])
            mu_row(F, i, 0, more, below, none, eps, floor, sums)
        parts[t] = sums


@inlined
def _find_rates(i, rowwise, gram, own, rate):
    """Write the inverse curvature of each entry of row i into rate (K,).

    It is negative where the entry must not grow, and zero where the entry stays as it is.

    Parameters
    ----------
    i : int
    rowwise : RowwiseGram
    gram : ndarray (K, K) of float64
        Gram matrix of the row.
    own : float
        Its ridge.
    rate : ndarray (K,) of float64
        Written.
    """
    base, grams, dtype = rowwise.base[i], rowwise.grams, rowwise.other.dtype
    unit, least = ROUNDING * np.finfo(dtype).eps, 4.0 * np.finfo(dtype).tiny
    for c in range(len(rate)):
        share = unit * grams[base, c, c] if base > 0 else UNSEEN * grams[1, c, c]
        if own > 0.0 or (gram[c, c] > least and gram[c, c] > share):
            rate[c] = 1.0 / (gram[c, c] + own)
        else:
            rate[c] = -1.0 / gram[c, c] if base == 0 and gram[c, c] > least else 0.0


@kernel
def rows_hals_weighted(tasks, F, rowwise, pos, neg, linear, free_mask, order, parts):
    """Update F by exact coordinate descent over its columns order[0], order[1], ..., row by row.

    This is `rows_hals` with one Gram matrix for every row; the cost is O(nnz(D) K²). An entry stays as it is where the
    observed entries of its row do not depend on it, and does not grow where they hardly do (`UNSEEN`). A row without
    any positive weight becomes zero.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F : ndarray (p, K)
        Written.
    rowwise : RowwiseGram
    pos, neg : LazyRows (p, K)
    linear : float
        Constant added to the half-gradient of every entry.
    free_mask : ndarray (p, K) or (0, 0) of bool
        Entries that are updated; all of them where it has no rows.
    order : ndarray of int64
    parts : ndarray (T, 2) of float64
        Written: the sums of ``F * pos``, and of what `rows_squares` writes, without ``sum_j D_ij shift_ij²``; of the
        latter, ``grams`` and ``neg`` have to be those of the data alone.
    """
    K = F.shape[1]
    indptr, indices, weight, shift, base, grams, other, _, ridge = rowwise
    for t, begin, until in work_stealing(tasks):
        held, block = np.zeros((TOGETHER, K), F.dtype), np.zeros((K, K), F.dtype)
        more, less = np.zeros((1, K), F.dtype), np.zeros((1, K), F.dtype)
        gram, x, target, right, rate = np.zeros((K, K)), np.zeros(K), np.zeros(K), np.zeros(K), np.zeros(K)
        sums = np.zeros(2)
        for i in range(begin, until):
            lo, hi = indptr[i], indptr[i + 1]
            lazy_row(pos, i, more, 0)
            lazy_row(neg, i, less, 0)
            _row_gram(i, rowwise, held, block, gram)
            own = ridge[i] if len(ridge) > 0 else 0.0
            for c in range(K):
                x[c], target[c] = F[i, c], np.float64(more[0, c]) - np.float64(less[0, c]) - linear
            _pull(lo, hi, indices, weight, shift, other, target)
            right[:] = target
            for c in range(K):  # from here on target is minus the half-gradient at x, without the ridge
                if x[c] > 0.0:
                    _move(target, x[c], gram[c])
            _find_rates(i, rowwise, gram, own, rate)
            for c in order:
                if len(free_mask) > 0 and not free_mask[i, c]:
                    continue
                before = x[c]
                if rate[c] != 0.0:
                    step = (target[c] - own * x[c]) * abs(rate[c])
                    x[c] = max(x[c] + (step if rate[c] > 0.0 else min(step, 0.0)), 0.0)
                elif lo == hi and base[i] == 0:
                    x[c] = 0.0
                if x[c] != before:
                    _move(target, x[c] - before, gram[c])
            for c in range(K):
                F[i, c] = x[c]
                sums[0] += np.float64(F[i, c]) * np.float64(more[0, c])
                sums[1] += x[c] * (2.0 * (np.float64(more[0, c]) - linear) - right[c] - target[c])
        parts[t] = sums
        sums[:] = 0.0


@kernel
def rows_normal(tasks, first, rowwise, pos, neg, out, right):
    """Write the normal equations of the rows first, first + 1, ... of the factor.

    Where the observed entries of a row do not depend on a component, rounding errors are replaced by exact zeros; so
    are entries of a component of which the row sees next to nothing (`UNSEEN`), unless a ridge holds its weight.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table; it counts from 0, not from `first`.
    first : int
    rowwise : RowwiseGram
    pos, neg : LazyRows (p, K)
    out : ndarray (r, k, k) of float64
        Written: the Gram matrices; k <= K.
    right : ndarray (r, k) of float64
        Written: the right sides.
    """
    k = out.shape[1]
    indptr, indices, weight, shift, base, grams, other, _, ridge = rowwise
    K, unit = other.shape[1], ROUNDING * np.finfo(other.dtype).eps
    for _, begin, until in work_stealing(tasks):
        held, block = np.zeros((TOGETHER, K), other.dtype), np.zeros((K, K), other.dtype)
        more, less = np.zeros((1, K), other.dtype), np.zeros((1, K), other.dtype)
        gram, target, sees = np.zeros((K, K)), np.zeros(K), np.zeros(K, np.bool_)
        for r in range(begin, until):
            i = first + r
            lo, hi = indptr[i], indptr[i + 1]
            lazy_row(pos, i, more, 0)
            lazy_row(neg, i, less, 0)
            whole = grams[base[i]]
            _row_gram(i, rowwise, held, block, gram)
            own = ridge[i] if len(ridge) > 0 else 0.0
            for c in range(K):
                share = unit * whole[c, c] if base[i] > 0 else (UNSEEN * grams[1, c, c] if own == 0.0 else 0.0)
                sees[c] = gram[c, c] > share
                target[c] = np.float64(more[0, c]) - np.float64(less[0, c])
            _pull(lo, hi, indices, weight, shift, other, target)
            for c in range(k):
                right[r, c] = target[c] if sees[c] else 0.0
                for b in range(k):
                    out[r, c, b] = gram[c, b] if sees[c] and sees[b] else 0.0
                out[r, c, c] += own


@kernel
def rows_squares(tasks, F, rowwise, neg, out):
    """Write ``sum_j O_ij (shift_ij + f . g_j)²`` for every row f of F, without the part ``base[i] sum_j shift_ij²``.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F : ndarray (p, K)
    rowwise : RowwiseGram
    neg : LazyRows (p, K)
        ``base[i]`` times the products of all shifts of the row with `other`.
    out : ndarray (p,) of float64
        Written.
    """
    K = F.shape[1]
    indptr, indices, weight, shift, base, grams, other, room, _ = rowwise
    for _, begin, until in work_stealing(tasks):
        less = np.zeros((1, K), F.dtype)
        for i in range(begin, until):
            total = 0.0
            dot_rows(indptr[i], indptr[i + 1], indices, F, i, other, room)
            for p in range(indptr[i], indptr[i + 1]):
                y = np.float64(room[p]) + np.float64(shift[p]) if len(shift) > 0 else np.float64(room[p])
                total += np.float64(weight[p]) * y * y
            if base[i] > 0:
                lazy_row(neg, i, less, 0)
                for c in range(K):
                    pull = 2.0 * np.float64(less[0, c])
                    for b in range(K):
                        pull += grams[1, c, b] * F[i, b]
                    total += pull * F[i, c]
            out[i] = total


@kernel
def entries_spread(tasks, F, rowwise, place, out):
    """Add ``D[p] (f . g)`` to ``out[place[p]]`` for the entries p of D, where f and g are the rows of the factors.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table. The places of one row of D must differ from those of all other rows.
    F : ndarray (p, K)
    rowwise : RowwiseGram
    place : ndarray (nnz,) of int64
        Position in out; -1 skips the entry.
    out : ndarray (q,) of float64
        Written.
    """
    indptr, indices, weight, _, _, _, other, room, _ = rowwise
    for _, begin, until in work_stealing(tasks):
        for i in range(begin, until):
            dot_rows(indptr[i], indptr[i + 1], indices, F, i, other, room)
            for p in range(indptr[i], indptr[i + 1]):
                if place[p] >= 0:
                    out[place[p]] += np.float64(weight[p]) * np.float64(room[p])
