"""The vector loops that plain Numba leaves at half speed or less: products with short rows, and the MU step.

How they are made of blocks stands in `emit`. With the JIT disabled the same names are plain NumPy, which the tests
hold the compiled ones against.
"""

import llvmlite.ir as ir
import numpy as np
from numba.core import cgutils, config, types
from numba.extending import intrinsic

from fastnmf.kernels.emit import (
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
                model = emit.sum(emit.halves(products))
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
                spread = emit.splat(value)
                for part, total in zip(parts, sums, strict=True):
                    emit.add_product(total, spread, part)
            target = builder.mul(args[5], width)
            for step, total in zip(steps, sums, strict=True):
                emit.store(builder.load(total), out.data, builder.add(target, step))

        switch(emit, builder.sdiv(width, emit.const(emit.length)), MAX_BLOCKS, blocks)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _rows_times(typingctx, factor, row, n, rank, matrix, out):
    signature = types.void(factor, types.int64, types.int64, types.int64, matrix, out)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[0].dtype)
        factor, matrix, out = (emit.array(signature.args[i], args[i]) for i in (0, 4, 5))
        length, width, zero = emit.shape(factor, 1), emit.shape(matrix, 1), emit.const(0)
        last, mine = builder.sub(args[2], emit.const(1)), []
        for r in map(emit.const, range(TILE_ROWS)):  # what is missing at the end is the last row once more
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
def _mixed_row(typingctx, start, group, weight, rows, i, out, r):
    signature = types.void(start, group, weight, rows, types.int64, out, types.int64)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[3].dtype)
        start, group, weights, rows, out = (emit.array(signature.args[c], args[c]) for c in (0, 1, 2, 3, 5))
        width, zero, i = emit.shape(rows, 1), emit.const(0), args[4]
        target = builder.gep(out.data, [builder.mul(args[6], emit.shape(out, 1))])
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
    """Emit ``out[p] = left(first, steps)(p) . right[right_row(p)]`` for p in lo..hi, block by block."""
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
            total = emit.sum(emit.halves(products))
            builder.store(builder.fadd(total, before, flags=FLAGS), target)

    by_blocks(emit, width, blocks)


@intrinsic
def _dot_rows(typingctx, lo, hi, group, left, j, right, out):
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
    out[row] = data[lo:hi] @ factor[indices[lo:hi]]


def _ratio_row_plain(lo, hi, indices, data, left, row, right, least, shift, places, ratio, out, sums):
    model = right[indices[lo:hi]] @ left[row] + (0 if shift is None else shift[places[lo:hi]])
    ratio[lo:hi] = data[lo:hi] / np.maximum(model, least)
    out[row] = ratio[lo:hi] @ right[indices[lo:hi]]
    if sums is not None and len(sums):
        np.add.at(sums, places[lo:hi], ratio[lo:hi].astype(np.float64))


def _rows_times_plain(factor, row, n, rank, matrix, out):
    out[:n] = factor[row : row + n, :rank] @ matrix[:rank]


def _mixed_row_plain(start, group, weight, rows, i, out, r):
    if len(start):
        out[r] = weight[start[i] : start[i + 1]] @ rows[group[start[i] : start[i + 1]]]
    elif len(rows):
        out[r] = rows[group[i] if len(group) else i]


def _mu_row_plain(factor, i, r, more, below, less, eps, floor, sums):
    above = factor[i] * more[r]
    with np.errstate(divide="ignore", invalid="ignore"):
        factor[i] = np.where(above > 0, np.maximum(above / (below[r] + less[r] + eps), floor), 0)
    sums += factor[i] @ more[r], factor[i] @ less[r]


def _spread_pairs_plain(lo, hi, row, group, weight, source, target, t):
    np.add.at(target[t], group[lo:hi], weight[lo:hi, None] * source[row[lo:hi]])


def _dot_rows_plain(lo, hi, group, left, j, right, out):
    out[lo:hi] = right[group[lo:hi]] @ left[j]


def _dot_pairs_plain(lo, hi, row, group, left, right, out):
    out[lo:hi] = np.einsum("pk,pk->p", left[row[lo:hi]], right[group[lo:hi]])


def _rows_gram_upper_plain(factor, lo, hi, block):
    block[:] = factor[lo:hi].T @ factor[lo:hi]


# out[row] = sum over p in lo..hi of data[p] * factor[indices[p]]
gather_row = _gather_row_plain if config.DISABLE_JIT else _gather_row
# ratio[lo:hi] = data / max(left[row] . right[indices] + shift[places], least); out[row] = sum of ratio * right
# (MAX_BLOCKS at most); sums[places] += ratio, where there are sums. shift, places and sums may be None
ratio_row = _ratio_row_plain if config.DISABLE_JIT else _ratio_row
# out[:n] = factor[row : row + n, :rank] @ matrix[:rank]; out (TILE_ROWS, K), of which the rest is of no meaning
rows_times = _rows_times_plain if config.DISABLE_JIT else _rows_times
# out[r] = row i of a `fastnmf.problem.Mixture`; out stays as it is where there are no rows
mixed_row = _mixed_row_plain if config.DISABLE_JIT else _mixed_row
# factor[i] moves by a multiplicative update with row r of more, below and less; sums (2,) float64 grow by
# factor[i] . more[r] and factor[i] . less[r]
mu_row = _mu_row_plain if config.DISABLE_JIT else _mu_row
# target[t, group[p]] += weight[p] * source[row[p]] for p in lo..hi; target (T, G, K)
spread_pairs = _spread_pairs_plain if config.DISABLE_JIT else _spread_pairs
# out[p] = left[j] . right[group[p]] for p in lo..hi
dot_rows = _dot_rows_plain if config.DISABLE_JIT else _dot_rows
# out[p] = left[row[p]] . right[group[p]] for p in lo..hi
dot_pairs = _dot_pairs_plain if config.DISABLE_JIT else _dot_pairs
# block = factor[lo:hi]^T factor[lo:hi] on and above the diagonal; what stands below it is of no meaning
rows_gram_upper = _rows_gram_upper_plain if config.DISABLE_JIT else _rows_gram_upper
