"""Rows side by side: tiles of them turned into columns and back, and the HALS step on such a tile.

Rows do not meet in an exact coordinate descent, so a register takes one component of several rows. As in `simd`, plain
NumPy stands in where the JIT is disabled.
"""

import llvmlite.ir as ir
import numpy as np
from numba.core import cgutils, config, types
from numba.extending import intrinsic

from fastnmf.kernels.emit import BLOCK_BYTES, FLAGS, Emitter

# (With blocks of 64 bytes, the registers of AVX-512, the sweeps alone took two thirds of the time and whole iterations
# up to 4 % more: the clock goes down for everything else.)
LANE_BLOCKS = 8
LANE_BYTES = LANE_BLOCKS * BLOCK_BYTES  # of the rows that `hals_lanes` moves at once: 64 float32, 32 float64


@intrinsic
def _hals_lanes(typingctx, component, rank, gram, tile, target):
    signature = types.void(types.int64, types.int64, gram, tile, target)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[3].dtype)
        component, rank = args[0], args[1]
        gram, tile, target = (emit.array(signature.args[i], args[i]) for i in (2, 3, 4))
        span = emit.const(emit.length * LANE_BLOCKS)
        steps = [emit.const(block * emit.length) for block in range(LANE_BLOCKS)]
        row = builder.mul(component, span)
        gram_row = builder.gep(gram.data, [builder.mul(component, emit.shape(gram, 1))])
        sums = [cgutils.alloca_once(builder, emit.vector) for _ in steps]
        zero = ir.Constant(emit.vector, [0.0] * emit.length)
        for step, total in zip(steps, sums, strict=True):
            builder.store(emit.load(target.data, builder.add(row, step)), total)
            emit.store(zero, tile.data, builder.add(row, step))  # the component itself has no part in its target
        with cgutils.for_range_slice(builder, emit.const(0), rank, emit.const(1)) as (other, _):
            weight = emit.splat(builder.fneg(builder.load(builder.gep(gram_row, [other]))))
            base = builder.mul(other, span)
            for step, total in zip(steps, sums, strict=True):
                emit.add_product(total, weight, emit.load(tile.data, builder.add(base, step)))
        one = ir.Constant(emit.scalar, 1.0)
        inverse = emit.splat(builder.fdiv(one, builder.load(builder.gep(gram_row, [component]))))
        for step, total in zip(steps, sums, strict=True):
            moved = builder.fmul(builder.load(total), inverse, flags=FLAGS)
            is_positive = builder.fcmp_ordered(">", moved, zero)
            emit.store(builder.select(is_positive, moved, zero), tile.data, builder.add(row, step))
        return context.get_dummy_value()

    return signature, codegen


def _turned(emit, rows):
    """Return the transpose of a square of blocks, by exchanging halves, then quarters, and so on."""
    builder, rows, step = emit.builder, list(rows), emit.length // 2
    index = range(emit.length)
    upper = lambda step: [emit.length + (i ^ step) if i & step else i for i in index]  # noqa: E731
    lower = lambda step: [emit.length + i if i & step else i ^ step for i in index]  # noqa: E731
    while step:
        for a in (i for i in index if not i & step):
            pair = rows[a], rows[a | step]
            for place, lanes in ((a, upper(step)), (a | step, lower(step))):
                mask = ir.Constant(ir.VectorType(ir.IntType(32), emit.length), lanes)
                rows[place] = builder.shuffle_vector(*pair, mask)
        step //= 2
    return rows


@intrinsic
def _turn_rows(typingctx, factor, row, n, tile):
    signature = types.void(factor, types.int64, types.int64, tile)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[0].dtype)
        factor, tile = (emit.array(signature.args[i], args[i]) for i in (0, 3))
        width, span, length = emit.shape(factor, 1), emit.shape(tile, 1), emit.const(emit.length)
        last = builder.sub(args[2], emit.const(1))
        with cgutils.for_range_slice(builder, emit.const(0), args[2], length) as (first, _):
            starts = []
            for i in map(emit.const, range(emit.length)):  # what is missing at the end is the last row once more
                lane = builder.add(first, i)
                lane = builder.select(builder.icmp_signed("<", lane, last), lane, last)
                starts.append(builder.mul(builder.add(args[1], lane), width))
            with cgutils.for_range_slice(builder, emit.const(0), width, length) as (c, _):
                square = [emit.load(factor.data, builder.add(start, c)) for start in starts]
                for i, turned in enumerate(_turned(emit, square)):
                    there = builder.mul(builder.add(c, emit.const(i)), span)
                    emit.store(turned, tile.data, builder.add(there, first))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _turn_back(typingctx, tile, factor, row, n):
    signature = types.void(tile, factor, types.int64, types.int64)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[0].dtype)
        tile, factor = (emit.array(signature.args[i], args[i]) for i in (0, 1))
        width, span, length = emit.shape(factor, 1), emit.shape(tile, 1), emit.const(emit.length)
        with cgutils.for_range_slice(builder, emit.const(0), args[3], length) as (first, _):
            with cgutils.for_range_slice(builder, emit.const(0), width, length) as (c, _):
                square = []
                for i in map(emit.const, range(emit.length)):
                    here = builder.mul(builder.add(c, i), span)
                    square.append(emit.load(tile.data, builder.add(here, first)))
                for i, turned in enumerate(_turned(emit, square)):
                    lane = builder.add(first, emit.const(i))
                    with builder.if_then(builder.icmp_signed("<", lane, args[3])):
                        there = builder.mul(builder.add(args[2], lane), width)
                        emit.store(turned, factor.data, builder.add(there, c))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _fetch_row(typingctx, factor, i):
    signature = types.void(factor, types.int64)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[0].dtype)
        factor = emit.array(signature.args[0], args[0])
        width, line = emit.shape(factor, 1), emit.const(64 // emit.size)
        start = builder.mul(args[1], width)
        with cgutils.for_range_slice(builder, emit.const(0), width, line) as (c, _):
            emit.prefetch(factor.data, builder.add(start, c))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _row_dot(typingctx, left, i, right, r):
    signature = left.dtype(left, types.int64, right, types.int64)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[0].dtype)
        left, right = (emit.array(signature.args[c], args[c]) for c in (0, 2))
        width, total = emit.shape(left, 1), emit.accumulator()
        here, there = builder.mul(args[1], width), builder.mul(args[3], width)
        with cgutils.for_range_slice(builder, emit.const(0), width, emit.const(emit.length)) as (c, _):
            part = emit.load(left.data, builder.add(here, c))
            emit.add_product(total, part, emit.load(right.data, builder.add(there, c)))
        return emit.sum(builder.load(total))

    return signature, codegen


def _turn_rows_plain(factor, row, n, tile):
    tile[:, :n] = factor[row : row + n].T


def _turn_back_plain(tile, factor, row, n):
    factor[row : row + n] = tile[:, :n].T


def _fetch_row_plain(factor, i):
    pass


def _row_dot_plain(left, i, right, r):
    return left[i] @ right[r]


def _hals_lanes_plain(component, rank, gram, tile, target):
    tile[component] = 0
    tile[component] = np.maximum(
        (target[component] - gram[component, :rank] @ tile[:rank]) / gram[component, component], 0
    )


# tile[:, :n] = factor[row : row + n]^T; tile (K, lanes), lanes behind n of no meaning; and the way back
turn_rows = _turn_rows_plain if config.DISABLE_JIT else _turn_rows
turn_back = _turn_back_plain if config.DISABLE_JIT else _turn_back
# Ask for the cache lines of row i of a factor; it may lie behind the end.
fetch_row = _fetch_row_plain if config.DISABLE_JIT else _fetch_row
# left[i] . right[r], in their own precision; as wide as each other
row_dot = _row_dot_plain if config.DISABLE_JIT else _row_dot
# tile[c] = max(0, (target[c] - sum over b != c of gram[c, b] * tile[b]) / gram[c, c]); tile, target (rank, lanes)
hals_lanes = _hals_lanes_plain if config.DISABLE_JIT else _hals_lanes
