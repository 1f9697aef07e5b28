"""Vector loops that Numba alone compiles to half the speed or less: products with short rows, and the MU update.

`llvm_builder` explains how they are built of blocks. With the JIT disabled, the same names are the plain NumPy
functions ``_*_plain``, which state the parameters and serve as reference for the compiled functions in the tests.
Inputs are not checked.
"""

import llvmlite.ir as ir
import numpy as np
from numba.core import cgutils, config, types
from numba.extending import intrinsic

from fastnmf.kernels.llvm_builder import (
    BLOCK_BYTES,
    FLAGS,
    MAX_BLOCKS,
    TILE_BLOCKS,
    TILE_ROWS,
    Emitter,
    by_blocks,
    sparse_walk,
    store_tile,
    switch,
    tile_sums,
    weighted_rows,
)


def padded(rank, dtype):
    """Return the smallest multiple of a block's length that holds `rank` numbers."""
    length = BLOCK_BYTES // np.dtype(dtype).itemsize
    return -(-rank // length) * length


@intrinsic
def _gather_row(typingctx, lo, hi, indices, data, factor, out, row):
    """Emit `gather_row`.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    lo, hi, indices, data, factor, out, row :
        Numba types of the arguments of `_gather_row_plain`.
    """
    signature = types.void(types.int64, types.int64, indices, data, factor, out, types.int64)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[3].dtype)
        indices, data, factor, out = (emit.array(signature.args[i], args[i]) for i in (2, 3, 4, 5))
        width = emit.shape(factor, 1)
        walk = sparse_walk(emit, data, indices, width)
        target = builder.gep(out.data, [builder.mul(args[6], width)])
        weighted_rows(emit, args[0], args[1], *walk[:2], factor.data, width, target, walk[2])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _ratio_row(typingctx, lo, hi, indices, data, left, row, right, least, shift, places, ratio, out, sums):
    """Emit `ratio_row`.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    lo, hi, indices, data, left, row, right, least, shift, places, ratio, out, sums :
        Numba types of the arguments of `_ratio_row_plain`.
    """
    rest = right, data.dtype, shift, places, ratio, out, sums
    signature = types.void(types.int64, types.int64, indices, data, left, types.int64, *rest)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[3].dtype)
        indices, data, left, right, ratio, out = (emit.array(signature.args[i], args[i]) for i in (2, 3, 4, 6, 10, 11))
        has_shift = signature.args[8] != types.none
        if has_shift:
            shift, places, by_place = (emit.array(signature.args[i], args[i]) for i in (8, 9, 12))
            has_sums = builder.icmp_signed(">", emit.shape(by_place, 0), emit.const(0))
        width = emit.shape(left, 1)
        mine, (value_of, row_of, ahead) = builder.mul(args[5], width), sparse_walk(emit, data, indices, width)

        def blocks(count):
            steps = [emit.const(block * emit.length) for block in range(count)]
            weights = [emit.load(left.data, builder.add(mine, step)) for step in steps]
            sums = [emit.accumulator() for _ in steps]
            with cgutils.for_range_slice(builder, args[0], args[1], emit.const(1)) as (position, _):
                later = row_of(ahead(position))
                for step in steps[:: max(1, 64 // BLOCK_BYTES)]:
                    emit.prefetch(right.data, builder.add(later, step))
                if has_shift:
                    emit.prefetch(shift.data, emit.index(places.data, ahead(position)))
                start = row_of(position)
                parts = [emit.load(right.data, builder.add(start, step)) for step in steps]
                products = [builder.fmul(a, b, flags=FLAGS) for a, b in zip(weights, parts, strict=True)]
                model = emit.sum(emit.tree_sum(products))
                if has_shift:
                    place = emit.index(places.data, position)
                    model = builder.fadd(model, builder.load(builder.gep(shift.data, [place])))
                model = builder.select(builder.fcmp_ordered(">", model, args[7]), model, args[7])
                value = builder.fdiv(value_of(position), model)
                builder.store(value, builder.gep(ratio.data, [position]))
                if has_shift:
                    with builder.if_then(has_sums):
                        slot = builder.gep(by_place.data, [place])
                        wide = builder.fpext(value, ir.DoubleType()) if emit.size == 4 else value
                        builder.store(builder.fadd(builder.load(slot), wide), slot)
                diverse_rows = emit.splat(value)
                for part, total in zip(parts, sums, strict=True):
                    emit.add_product(total, diverse_rows, part)
            target = builder.mul(args[5], width)
            for step, total in zip(steps, sums, strict=True):
                emit.store(builder.load(total), out.data, builder.add(target, step))

        switch(emit, builder.sdiv(width, emit.const(emit.length)), MAX_BLOCKS, blocks)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _rows_times(typingctx, factor, row, n, rank, matrix, out):
    """Emit `rows_times`.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    factor, row, n, rank, matrix, out :
        Numba types of the arguments of `_rows_times_plain`.
    """
    signature = types.void(factor, types.int64, types.int64, types.int64, matrix, out)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[0].dtype)
        factor, matrix, out = (emit.array(signature.args[i], args[i]) for i in (0, 4, 5))
        length, width, zero = emit.shape(factor, 1), emit.shape(matrix, 1), emit.const(0)
        last, mine = builder.sub(args[2], emit.const(1)), []
        for r in map(emit.const, range(TILE_ROWS)):  # positions after the last row repeat the last row
            row = builder.add(args[1], builder.select(builder.icmp_signed("<", r, last), r, last))
            mine.append(builder.gep(factor.data, [builder.mul(row, length)]))

        def part(first, steps):
            start = lambda c: builder.add(builder.mul(c, width), first)  # noqa: E731
            value = lambda c, r: builder.load(builder.gep(mine[r], [c]))  # noqa: E731
            sums = tile_sums(emit, zero, args[3], value, matrix.data, start, steps)
            store_tile(emit, sums, out.data, first, width, steps)

        by_blocks(emit, width, part, TILE_BLOCKS)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _lazy_row(typingctx, lazy, i, out, r):
    """Emit `lazy_row`.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    lazy, i, out, r :
        Numba types of the arguments of `_lazy_row_plain`.
    """
    signature = types.void(lazy, types.int64, out, types.int64)

    def codegen(context, builder, signature, args):
        lazy, out = signature.args[0], signature.args[2]
        emit = Emitter(context, builder, out.dtype)
        fields = cgutils.unpack_tuple(builder, args[0], len(lazy.types))
        start, group, weights, rows = (emit.array(*field) for field in zip(lazy.types, fields, strict=True))
        out, i, row = emit.array(out, args[2]), args[1], args[3]
        width, zero = emit.shape(rows, 1), emit.const(0)
        target = builder.gep(out.data, [builder.mul(row, emit.shape(out, 1))])
        walk = sparse_walk(emit, weights, group, width)
        with builder.if_else(builder.icmp_signed(">", emit.shape(start, 0), zero)) as (is_sum, is_row):
            with is_sum:
                lo = builder.load(builder.gep(start.data, [i]))
                hi = builder.load(builder.gep(start.data, [builder.add(i, emit.const(1))]))
                weighted_rows(emit, lo, hi, *walk[:2], rows.data, width, target, walk[2])
            with is_row, builder.if_then(builder.icmp_signed(">", emit.shape(rows, 0), zero)):
                place = cgutils.alloca_once_value(builder, i)
                with builder.if_then(builder.icmp_signed(">", emit.shape(group, 0), zero)):
                    builder.store(emit.index(group.data, i), place)
                first = builder.mul(builder.load(place), width)
                with cgutils.for_range_slice(builder, zero, width, emit.const(emit.length)) as (c, _):
                    emit.store(emit.load(rows.data, builder.add(first, c)), target, c)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _mu_row(typingctx, factor, i, r, more, below, less, eps, floor, sums):
    """Emit `mu_row`.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    factor, i, r, more, below, less, eps, floor, sums :
        Numba types of the arguments of `_mu_row_plain`.
    """
    rest = more, below, less, factor.dtype, factor.dtype, sums
    signature = types.void(factor, types.int64, types.int64, *rest)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[0].dtype)
        factor, more, below, less, sums = (emit.array(signature.args[c], args[c]) for c in (0, 3, 4, 5, 8))
        width, zero = emit.shape(factor, 1), ir.Constant(emit.vector, [0.0] * emit.length)
        eps, floor = emit.splat(args[6]), emit.splat(args[7])
        row, tile_row = builder.mul(args[1], width), builder.mul(args[2], width)
        with_pos, with_neg = emit.accumulator(), emit.accumulator()
        with cgutils.for_range_slice(builder, emit.const(0), width, emit.const(emit.length)) as (c, _):
            place, c = builder.add(row, c), builder.add(tile_row, c)
            high, low = emit.load(more.data, c), emit.load(less.data, c)
            above = builder.fmul(emit.load(factor.data, place), high, flags=FLAGS)
            under = builder.fadd(emit.load(below.data, c), low, flags=FLAGS)
            moved = builder.fdiv(above, builder.fadd(under, eps, flags=FLAGS), flags=FLAGS)
            moved = builder.select(builder.fcmp_ordered(">", moved, floor), moved, floor)
            moved = builder.select(builder.fcmp_ordered(">", above, zero), moved, zero)
            emit.store(moved, factor.data, place)
            emit.add_product(with_pos, moved, high)
            emit.add_product(with_neg, moved, low)
        for place, total in enumerate((with_pos, with_neg)):
            total = emit.sum(builder.load(total))
            total = builder.fpext(total, ir.DoubleType()) if emit.size == 4 else total
            slot = builder.gep(sums.data, [emit.const(place)])
            builder.store(builder.fadd(builder.load(slot), total), slot)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _spread_pairs(typingctx, lo, hi, row, group, weight, source, target, t):
    """Emit `spread_pairs`.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    lo, hi, row, group, weight, source, target, t :
        Numba types of the arguments of `_spread_pairs_plain`.
    """
    signature = types.void(types.int64, types.int64, row, group, weight, source, target, types.int64)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[5].dtype)
        row, group, weight, source, target = (emit.array(signature.args[i], args[i]) for i in (2, 3, 4, 5, 6))
        width, first_group = emit.shape(source, 1), builder.mul(args[7], emit.shape(target, 1))

        def blocks(first, steps):
            with cgutils.for_range_slice(builder, args[0], args[1], emit.const(1)) as (position, _):
                value = emit.splat(builder.load(builder.gep(weight.data, [position])))
                start = builder.add(builder.mul(emit.index(row.data, position), width), first)
                place = builder.mul(builder.add(first_group, emit.index(group.data, position)), width)
                place = builder.add(place, first)
                for step in steps:
                    there = builder.add(place, step)
                    product = builder.fmul(value, emit.load(source.data, builder.add(start, step)), flags=FLAGS)
                    emit.store(builder.fadd(product, emit.load(target.data, there), flags=FLAGS), target.data, there)

        by_blocks(emit, width, blocks)
        return context.get_dummy_value()

    return signature, codegen


def _dots(emit, lo, hi, width, left, right_row, right, out):
    """Emit ``out[p] = left(first, steps)(p) . right[right_row(p)]`` for p in lo..hi, block by block.

    Parameters
    ----------
    emit : Emitter
    lo, hi, width : LLVM value of int64
    left : function
        Takes the first element and the offsets of a run of blocks; returns a function of p that gives the blocks.
    right_row : function of LLVM value p
        Row of `right`.
    right, out : Numba arrays (q, K), (nnz,), as returned by `Emitter.array`
        out is written.
    """
    builder = emit.builder

    def blocks(first, steps):
        is_first = builder.icmp_signed("==", first, emit.const(0))
        left_parts = left(first, steps)
        with cgutils.for_range_slice(builder, lo, hi, emit.const(1)) as (position, _):
            place = builder.add(builder.mul(right_row(position), width), first)
            products = [
                builder.fmul(part, emit.load(right.data, builder.add(place, step)), flags=FLAGS)
                for step, part in zip(steps, left_parts(position), strict=True)
            ]
            target = builder.gep(out.data, [position])
            before = builder.select(is_first, ir.Constant(emit.scalar, 0.0), builder.load(target))
            total = emit.sum(emit.tree_sum(products))
            builder.store(builder.fadd(total, before, flags=FLAGS), target)

    by_blocks(emit, width, blocks)


@intrinsic
def _dot_rows(typingctx, lo, hi, group, left, j, right, out):
    """Emit `dot_rows`.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    lo, hi, group, left, j, right, out :
        Numba types of the arguments of `_dot_rows_plain`.
    """
    signature = types.void(types.int64, types.int64, group, left, types.int64, right, out)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[3].dtype)
        group, left, right, out = (emit.array(signature.args[i], args[i]) for i in (2, 3, 5, 6))
        width = emit.shape(left, 1)
        row = builder.mul(args[4], width)

        def loaded(first, steps):
            parts = [emit.load(left.data, builder.add(builder.add(row, first), step)) for step in steps]
            return lambda position: parts

        _dots(emit, args[0], args[1], width, loaded, lambda p: emit.index(group.data, p), right, out)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _dot_pairs(typingctx, lo, hi, row, group, left, right, out):
    """Emit `dot_pairs`.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    lo, hi, row, group, left, right, out :
        Numba types of the arguments of `_dot_pairs_plain`.
    """
    signature = types.void(types.int64, types.int64, row, group, left, right, out)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[4].dtype)
        row, group, left, right, out = (emit.array(signature.args[i], args[i]) for i in range(2, 7))
        width = emit.shape(left, 1)

        def loaded(first, steps):
            def parts(position):
                start = builder.add(builder.mul(emit.index(row.data, position), width), first)
                return [emit.load(left.data, builder.add(start, step)) for step in steps]

            return parts

        _dots(emit, args[0], args[1], width, loaded, lambda p: emit.index(group.data, p), right, out)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _rows_gram_upper(typingctx, factor, lo, hi, block):
    """Emit `rows_gram_upper`.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    factor, lo, hi, block :
        Numba types of the arguments of `_rows_gram_upper_plain`.
    """
    signature = types.void(factor, types.int64, types.int64, block)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[0].dtype)
        factor, block = (emit.array(signature.args[i], args[i]) for i in (0, 3))
        width, length = emit.shape(factor, 1), emit.const(emit.length)
        with cgutils.for_range_slice(builder, emit.const(0), width, emit.const(TILE_ROWS)) as (a, _):

            def value(i, r):
                place = builder.add(builder.add(builder.mul(i, width), a), emit.const(r))
                return builder.load(builder.gep(factor.data, [place]))

            def part(first, steps):
                start = lambda i: builder.add(builder.mul(i, width), first)  # noqa: E731
                sums = tile_sums(emit, args[1], args[2], value, factor.data, start, steps)
                store_tile(emit, sums, block.data, builder.add(builder.mul(a, width), first), width, steps)

            diagonal = builder.mul(builder.sdiv(a, length), length)
            by_blocks(emit, width, part, TILE_BLOCKS, diagonal)
        return context.get_dummy_value()

    return signature, codegen


def _gather_row_plain(lo, hi, indices, data, factor, out, row):
    """Write ``out[row] = sum over p in lo..hi of data[p] * factor[indices[p]]``.

    Parameters
    ----------
    lo, hi : int
    indices, data : ndarray (nnz,) of int32, (nnz,)
    factor : ndarray (q, K), dtype of data
    out : ndarray (p, K), dtype of data
        Row `row` is written.
    row : int
    """
    out[row] = data[lo:hi] @ factor[indices[lo:hi]]


def _ratio_row_plain(lo, hi, indices, data, left, row, right, least, shift, places, ratio, out, sums):
    """Write ``ratio = data / max(left[row] . right[indices] + shift[places], least)`` at lo..hi, and its product.

    Parameters
    ----------
    lo, hi : int
    indices, data : ndarray (nnz,) of int32, (nnz,)
    left : ndarray (p, K), dtype of data
        K is at most MAX_BLOCKS blocks.
    row : int
    right : ndarray (q, K), dtype of data
    least : scalar, dtype of data
    shift : ndarray (S,), dtype of data, or None
    places : ndarray (nnz,) of int32, or None
    ratio : ndarray (nnz,), dtype of data
        Written at lo..hi.
    out : ndarray (p, K), dtype of data
        Row `row` is written: the sum of ``ratio[p] * right[indices[p]]``.
    sums : ndarray (S,) or (0,) of float64, or None
        The ratios are added to ``sums[places]``, unless it has length 0 or is None.
    """
    model = right[indices[lo:hi]] @ left[row] + (0 if shift is None else shift[places[lo:hi]])
    ratio[lo:hi] = data[lo:hi] / np.maximum(model, least)
    out[row] = ratio[lo:hi] @ right[indices[lo:hi]]
    if sums is not None and len(sums):
        np.add.at(sums, places[lo:hi], ratio[lo:hi].astype(np.float64))


def _rows_times_plain(factor, row, n, rank, matrix, out):
    """Write ``out[:n] = factor[row : row + n, :rank] @ matrix[:rank]``.

    Parameters
    ----------
    factor : ndarray (p, L)
    row, n, rank : int
        n is at most TILE_ROWS.
    matrix : ndarray (at least rank, K), dtype of factor
    out : ndarray (TILE_ROWS, K), dtype of factor
        Written. Rows after the first n may hold any values.
    """
    out[:n] = factor[row : row + n, :rank] @ matrix[:rank]


def _lazy_row_plain(lazy, i, out, r):
    """Write row i of a `LazyRows` into out[r].

    Parameters
    ----------
    lazy : fastnmf.kernels.records.LazyRows (p, K)
        Where its `rows` have no rows, out stays as it is.
    i : int
    out : ndarray (n, K), dtype of the rows
        Row r is written.
    r : int
    """
    start, group, weight, rows = lazy
    if len(start):
        out[r] = weight[start[i] : start[i + 1]] @ rows[group[start[i] : start[i + 1]]]
    elif len(rows):
        out[r] = rows[group[i] if len(group) else i]


def _mu_row_plain(factor, i, r, more, below, less, eps, floor, sums):
    """Update factor[i] by the multiplicative update ``factor[i] * more[r] / (below[r] + less[r] + eps)``.

    Positive results are at least `floor`; the result is zero where the numerator is.

    Parameters
    ----------
    factor : ndarray (p, K)
        Row i is written.
    i, r : int
    more, below, less : ndarray (n, K), dtype of factor
        pos, ``F gram`` and neg of the rows of a tile.
    eps, floor : scalar, dtype of factor
    sums : ndarray (2,) of float64
        ``factor[i] . more[r]`` and ``factor[i] . less[r]``, for the new row, are added to it.
    """
    above = factor[i] * more[r]
    with np.errstate(divide="ignore", invalid="ignore"):
        factor[i] = np.where(above > 0, np.maximum(above / (below[r] + less[r] + eps), floor), 0)
    sums += factor[i] @ more[r], factor[i] @ less[r]


def _spread_pairs_plain(lo, hi, row, group, weight, source, target, t):
    """Add ``weight[p] * source[row[p]]`` to ``target[t, group[p]]`` for p in lo..hi.

    Parameters
    ----------
    lo, hi : int
    row, group : ndarray (q,) of int32
    weight : ndarray (q,), dtype of source
    source : ndarray (n, K)
    target : ndarray (T, G, K), dtype of source
        Written.
    t : int
    """
    np.add.at(target[t], group[lo:hi], weight[lo:hi, None] * source[row[lo:hi]])


def _dot_rows_plain(lo, hi, group, left, j, right, out):
    """Write ``out[p] = left[j] . right[group[p]]`` for p in lo..hi.

    Parameters
    ----------
    lo, hi : int
    group : ndarray (q,) of int32
    left : ndarray (n, K)
    j : int
    right : ndarray (G, K), dtype of left
    out : ndarray (q,), dtype of left
        Written at lo..hi.
    """
    out[lo:hi] = right[group[lo:hi]] @ left[j]


def _dot_pairs_plain(lo, hi, row, group, left, right, out):
    """Write ``out[p] = left[row[p]] . right[group[p]]`` for p in lo..hi.

    Parameters
    ----------
    lo, hi : int
    row, group : ndarray (q,) of int32
    left : ndarray (n, K)
    right : ndarray (G, K), dtype of left
    out : ndarray (q,), dtype of left
        Written at lo..hi.
    """
    out[lo:hi] = np.einsum("pk,pk->p", left[row[lo:hi]], right[group[lo:hi]])


def _rows_gram_upper_plain(factor, lo, hi, block):
    """Write ``factor[lo:hi].T @ factor[lo:hi]`` into block.

    The compiled function computes it on and above the diagonal only; entries below the diagonal may hold any values.

    Parameters
    ----------
    factor : ndarray (p, K)
    lo, hi : int
    block : ndarray (K, K), dtype of factor
        Written.
    """
    block[:] = factor[lo:hi].T @ factor[lo:hi]


gather_row = _gather_row_plain if config.DISABLE_JIT else _gather_row
ratio_row = _ratio_row_plain if config.DISABLE_JIT else _ratio_row
rows_times = _rows_times_plain if config.DISABLE_JIT else _rows_times
lazy_row = _lazy_row_plain if config.DISABLE_JIT else _lazy_row
mu_row = _mu_row_plain if config.DISABLE_JIT else _mu_row
spread_pairs = _spread_pairs_plain if config.DISABLE_JIT else _spread_pairs
dot_rows = _dot_rows_plain if config.DISABLE_JIT else _dot_rows
dot_pairs = _dot_pairs_plain if config.DISABLE_JIT else _dot_pairs
rows_gram_upper = _rows_gram_upper_plain if config.DISABLE_JIT else _rows_gram_upper
