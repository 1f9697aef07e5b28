"""The two vector loops that plain Numba leaves at half speed: gathering rows, and the HALS step over lanes.

Numba keeps an accumulator of r numbers in memory, so a plain gather takes 1.6 to 2.3 times as long. Here the r numbers
of an output row stay in registers. A *block* is 32 bytes (8 float32, 4 float64): the width of the factors is a multiple
of it, and one binary serves all widths. With the JIT disabled the same names are plain NumPy, which the tests hold the
compiled ones against.
"""

import llvmlite.ir as ir
import numpy as np
from numba.core import cgutils, config, types
from numba.extending import intrinsic

BLOCK_BYTES = 32
MAX_BLOCKS = 8  # accumulators at a time; wider rows are walked again for every 8 blocks
AHEAD = 24  # non-zeros between the prefetch of a row and its use
LANE_BLOCKS = 8
_FLAGS = ("nsz", "arcp", "contract", "afn", "reassoc")


def lanes(dtype):
    """Return how many rows `hals_lanes` moves at once: 64 of float32, 32 of float64."""
    return LANE_BLOCKS * BLOCK_BYTES // np.dtype(dtype).itemsize


def padded(rank, dtype):
    """Return the smallest multiple of a block's length that holds `rank` numbers."""
    length = BLOCK_BYTES // np.dtype(dtype).itemsize
    return -(-rank // length) * length


class _Emitter:
    """Shorthand over an LLVM builder for arrays of one element type."""

    def __init__(self, context, builder, element):
        self.context, self.builder = context, builder
        self.scalar = context.get_data_type(element)
        self.size = element.bitwidth // 8
        self.length = BLOCK_BYTES // self.size
        self.vector = ir.VectorType(self.scalar, self.length)
        self.word = ir.IntType(64)

    def array(self, type_, value):
        return self.context.make_array(type_)(self.context, self.builder, value)

    def const(self, value):
        return ir.Constant(self.word, value)

    def at(self, pointer, offset, type_):
        """Return the address of element `offset`, as a pointer to `type_`."""
        address = self.builder.gep(pointer, [offset])
        return self.builder.bitcast(address, type_.as_pointer())

    def load(self, pointer, offset, type_=None):
        return self.builder.load(self.at(pointer, offset, type_ or self.vector), align=self.size)

    def store(self, value, pointer, offset):
        self.builder.store(value, self.at(pointer, offset, self.vector), align=self.size)

    def index(self, pointer, offset):
        return self.builder.sext(self.builder.load(self.builder.gep(pointer, [offset])), self.word)

    def splat(self, value):
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.length), [0] * self.length)
        return self.builder.shuffle_vector(first, undefined, mask)

    def fma(self, a, b, c):
        return self.builder.fadd(self.builder.fmul(a, b, flags=_FLAGS), c, flags=_FLAGS)

    def prefetch(self, pointer, offset):
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte] + [ir.IntType(32)] * 3)
        function = self.builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        hints = [ir.Constant(ir.IntType(32), hint) for hint in (0, 3, 1)]
        self.builder.call(function, [self.at(pointer, offset, ir.IntType(8)), *hints])


def _gather_blocks(emit, count, lo, hi, last, indices, data, factor, width, first, target):
    """Emit one pass over the non-zeros lo..hi that keeps `count` blocks, from column `first` on, in registers."""
    builder = emit.builder
    steps = [emit.const(block * emit.length) for block in range(count)]
    sums = [cgutils.alloca_once(builder, emit.vector) for _ in steps]
    for total in sums:
        builder.store(ir.Constant(emit.vector, [0.0] * emit.length), total)
    with cgutils.for_range_slice(builder, lo, hi, emit.const(1)) as (position, _):
        ahead = builder.add(position, emit.const(AHEAD))
        ahead = builder.select(builder.icmp_signed("<", ahead, last), ahead, last)
        later = builder.add(builder.mul(emit.index(indices, ahead), width), first)
        for step in steps[:: max(1, 64 // BLOCK_BYTES)]:
            emit.prefetch(factor, builder.add(later, step))
        value = emit.splat(builder.load(builder.gep(data, [position])))
        row = builder.add(builder.mul(emit.index(indices, position), width), first)
        for step, total in zip(steps, sums, strict=True):
            part = emit.load(factor, builder.add(row, step))
            builder.store(emit.fma(value, part, builder.load(total)), total)
    for step, total in zip(steps, sums, strict=True):
        emit.store(builder.load(total), target, builder.add(first, step))


@intrinsic
def _gather_row(typingctx, lo, hi, indices, data, factor, out, row):
    signature = types.void(types.int64, types.int64, indices, data, factor, out, types.int64)

    def codegen(context, builder, signature, args):
        emit = _Emitter(context, builder, signature.args[3].dtype)
        lo, hi, row = args[0], args[1], args[6]
        indices, data, factor, out = (emit.array(signature.args[i], args[i]) for i in (2, 3, 4, 5))
        width = cgutils.unpack_tuple(builder, factor.shape)[1]
        last = builder.sub(cgutils.unpack_tuple(builder, indices.shape)[0], emit.const(1))
        target = builder.gep(out.data, [builder.mul(row, width)])
        stride = emit.length * MAX_BLOCKS
        with cgutils.for_range_slice(builder, emit.const(0), width, emit.const(stride)) as (first, _):
            left = builder.sdiv(builder.sub(width, first), emit.const(emit.length))
            done = builder.append_basic_block("gather.done")
            choice = builder.switch(left, done)
            for count in range(1, MAX_BLOCKS + 1):
                case = builder.append_basic_block(f"gather.{count}")
                if count < MAX_BLOCKS:
                    choice.add_case(emit.const(count), case)
                else:
                    choice.default = case
                builder.position_at_end(case)
                _gather_blocks(emit, count, lo, hi, last, indices.data, data.data, factor.data, width, first, target)
                builder.branch(done)
            builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _hals_lanes(typingctx, component, rank, gram, tile, target):
    signature = types.void(types.int64, types.int64, gram, tile, target)

    def codegen(context, builder, signature, args):
        emit = _Emitter(context, builder, signature.args[3].dtype)
        component, rank = args[0], args[1]
        gram, tile, target = (emit.array(signature.args[i], args[i]) for i in (2, 3, 4))
        span = emit.const(emit.length * LANE_BLOCKS)
        steps = [emit.const(block * emit.length) for block in range(LANE_BLOCKS)]
        row = builder.mul(component, span)
        gram_row = builder.gep(gram.data, [builder.mul(component, cgutils.unpack_tuple(builder, gram.shape)[1])])
        sums = [cgutils.alloca_once(builder, emit.vector) for _ in steps]
        zero = ir.Constant(emit.vector, [0.0] * emit.length)
        for step, total in zip(steps, sums, strict=True):
            builder.store(emit.load(target.data, builder.add(row, step)), total)
            emit.store(zero, tile.data, builder.add(row, step))  # the component itself has no part in its target
        with cgutils.for_range_slice(builder, emit.const(0), rank, emit.const(1)) as (other, _):
            weight = emit.splat(builder.fneg(builder.load(builder.gep(gram_row, [other]))))
            base = builder.mul(other, span)
            for step, total in zip(steps, sums, strict=True):
                part = emit.load(tile.data, builder.add(base, step))
                builder.store(emit.fma(weight, part, builder.load(total)), total)
        one = ir.Constant(emit.scalar, 1.0)
        inverse = emit.splat(builder.fdiv(one, builder.load(builder.gep(gram_row, [component]))))
        for step, total in zip(steps, sums, strict=True):
            moved = builder.fmul(builder.load(total), inverse, flags=_FLAGS)
            is_positive = builder.fcmp_ordered(">", moved, zero)
            emit.store(builder.select(is_positive, moved, zero), tile.data, builder.add(row, step))
        return context.get_dummy_value()

    return signature, codegen


def _gather_row_plain(lo, hi, indices, data, factor, out, row):
    out[row] = data[lo:hi] @ factor[indices[lo:hi]]


def _hals_lanes_plain(component, rank, gram, tile, target):
    tile[component] = 0
    tile[component] = np.maximum((target[component] - gram[component, :rank] @ tile[:rank]) / gram[component, component], 0)


# out[row] = sum over p in lo..hi of data[p] * factor[indices[p]]; factor and out are (., K), C order, K in blocks.
gather_row = _gather_row_plain if config.DISABLE_JIT else _gather_row
# tile[c] = max(0, (target[c] - sum over b != c of gram[c, b] * tile[b]) / gram[c, c]); tile, target (rank, lanes).
hals_lanes = _hals_lanes_plain if config.DISABLE_JIT else _hals_lanes
