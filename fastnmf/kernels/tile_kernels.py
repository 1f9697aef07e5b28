"""Transpose several rows of a factor into a tile and back, and do the HALS update of one component of such a tile.

Exact coordinate descent treats each row independently, so one register can hold one component of several rows. As in
`row_intrinsics`, plain NumPy functions replace the compiled ones where the JIT is disabled. They state the parameters.
Inputs are not checked.
"""

import llvmlite.ir as ir
import numpy as np
from numba.core import cgutils, config, types
from numba.extending import intrinsic

from fastnmf.kernels.llvm_builder import BLOCK_BYTES, FLAGS, Emitter

# (With blocks of 64 bytes, the registers of AVX-512, the sweeps alone took two thirds of the time, but whole iterations
# up to 4 % more, because the processor lowers its clock for all other work.)
LANE_BLOCKS = 8
LANE_BYTES = LANE_BLOCKS * BLOCK_BYTES  # of one component of the rows that `hals_lanes` updates: 64 float32, 32 float64


@intrinsic
def _hals_lanes(typingctx, component, rank, gram, tile, target):
    """Emit `hals_lanes`.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    component, rank, gram, tile, target :
        Numba types of the arguments of `_hals_lanes_plain`.
    """
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
            emit.store(zero, tile.data, builder.add(row, step))  # so that the sum below leaves out the component itself
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


def _transposed(emit, rows):
    """Return the transpose of a square of blocks, by exchanging its halves, then its quarters, and so on."""
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
def _load_transposed(typingctx, factor, row, n, tile):
    """Emit `load_transposed`.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    factor, row, n, tile :
        Numba types of the arguments of `_load_transposed_plain`.
    """
    signature = types.void(factor, types.int64, types.int64, tile)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[0].dtype)
        factor, tile = (emit.array(signature.args[i], args[i]) for i in (0, 3))
        width, span, length = emit.shape(factor, 1), emit.shape(tile, 1), emit.const(emit.length)
        last = builder.sub(args[2], emit.const(1))
        with cgutils.for_range_slice(builder, emit.const(0), args[2], length) as (first, _):
            starts = []
            for i in map(emit.const, range(emit.length)):  # positions after the last row repeat the last row
                lane = builder.add(first, i)
                lane = builder.select(builder.icmp_signed("<", lane, last), lane, last)
                starts.append(builder.mul(builder.add(args[1], lane), width))
            with cgutils.for_range_slice(builder, emit.const(0), width, length) as (c, _):
                square = [emit.load(factor.data, builder.add(start, c)) for start in starts]
                for i, turned in enumerate(_transposed(emit, square)):
                    there = builder.mul(builder.add(c, emit.const(i)), span)
                    emit.store(turned, tile.data, builder.add(there, first))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _store_transposed(typingctx, tile, factor, row, n):
    """Emit `store_transposed`.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    tile, factor, row, n :
        Numba types of the arguments of `_store_transposed_plain`.
    """
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
                for i, turned in enumerate(_transposed(emit, square)):
                    lane = builder.add(first, emit.const(i))
                    with builder.if_then(builder.icmp_signed("<", lane, args[3])):
                        there = builder.mul(builder.add(args[2], lane), width)
                        emit.store(turned, factor.data, builder.add(there, c))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _prefetch_row(typingctx, factor, i):
    """Emit `prefetch_row`."""
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
    """Emit `row_dot`.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    left, i, right, r :
        Numba types of the arguments of `_row_dot_plain`.
    """
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


def _load_transposed_plain(factor, row, n, tile):
    """Write ``tile[:, :n] = factor[row : row + n].T``.

    Parameters
    ----------
    factor : ndarray (p, K)
    row, n : int
    tile : ndarray (K, lanes), dtype of factor
        Written. Lanes after the first n may hold any values.
    """
    tile[:, :n] = factor[row : row + n].T


def _store_transposed_plain(tile, factor, row, n):
    """Write ``factor[row : row + n] = tile[:, :n].T``.

    Parameters
    ----------
    tile : ndarray (K, lanes)
    factor : ndarray (p, K), dtype of tile
        Written.
    row, n : int
    """
    factor[row : row + n] = tile[:, :n].T


def _prefetch_row_plain(factor, i):
    pass


def _row_dot_plain(left, i, right, r):
    """Return ``left[i] . right[r]`` in the precision of the arrays.

    Parameters
    ----------
    left, right : ndarray (p, K), (q, K), of one dtype
    i, r : int

    Returns
    -------
    scalar, dtype of left
    """
    return left[i] @ right[r]


def _hals_lanes_plain(component, rank, gram, tile, target):
    """Update component c of a tile: ``max(0, (target[c] - sum over b != c of gram[c, b] * tile[b]) / gram[c, c])``.

    Parameters
    ----------
    component, rank : int
        c, and the number of components in the sum.
    gram : ndarray (K, K), dtype of tile
    tile : ndarray (K, lanes)
        Row c is written.
    target : ndarray (K, lanes), dtype of tile
    """
    tile[component] = 0
    tile[component] = np.maximum(
        (target[component] - gram[component, :rank] @ tile[:rank]) / gram[component, component], 0
    )


load_transposed = _load_transposed_plain if config.DISABLE_JIT else _load_transposed
store_transposed = _store_transposed_plain if config.DISABLE_JIT else _store_transposed
# Prefetch the cache lines of row i of a factor; i may lie behind the last row.
prefetch_row = _prefetch_row_plain if config.DISABLE_JIT else _prefetch_row
row_dot = _row_dot_plain if config.DISABLE_JIT else _row_dot
hals_lanes = _hals_lanes_plain if config.DISABLE_JIT else _hals_lanes
