"""The vector loops that plain Numba leaves at half speed or less: products with short rows, and the HALS step.

Rows of r numbers, r about 20, are too short for the loop vectoriser (it wants 32 at a time) and their accumulators
stay in memory. Here they stay in registers. A *block* is 32 bytes (8 float32, 4 float64); the width K of a factor is
a whole number of blocks, and one binary serves all widths. With the JIT disabled the same names are plain NumPy, which
the tests hold the compiled ones against.
"""

import llvmlite.ir as ir
import numpy as np
from numba.core import cgutils, config, types
from numba.extending import intrinsic

BLOCK_BYTES = 32
MAX_BLOCKS = 8  # accumulators at a time; wider rows are walked again for every 8 blocks
AHEAD = 24  # non-zeros between the prefetch of a row and its use
LANE_BLOCKS = 8
LANE_BYTES = LANE_BLOCKS * BLOCK_BYTES  # of the rows that `hals_lanes` moves at once: 64 float32, 32 float64
GRAM_ROWS, GRAM_BLOCKS = 4, 3  # rows and blocks of a Gram matrix that are kept in registers at a time
_FLAGS = ("nsz", "arcp", "contract", "afn", "reassoc")


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

    def shape(self, array, axis):
        return cgutils.unpack_tuple(self.builder, array.shape)[axis]

    def accumulator(self):
        """Return a vector of zeros; LLVM keeps it in a register."""
        total = cgutils.alloca_once(self.builder, self.vector)
        self.builder.store(ir.Constant(self.vector, [0.0] * self.length), total)
        return total

    def add_product(self, total, a, b):
        product = self.builder.fmul(a, b, flags=_FLAGS)
        self.builder.store(self.builder.fadd(product, self.builder.load(total), flags=_FLAGS), total)

    def sum(self, vector):
        """Add the lanes of a vector by halves: a fixed order, so the same bits everywhere."""
        half = self.length
        while half > 1:
            half //= 2
            lanes = [half + i if i < half else i for i in range(self.length)]
            mask = ir.Constant(ir.VectorType(ir.IntType(32), self.length), lanes)
            vector = self.builder.fadd(vector, self.builder.shuffle_vector(vector, vector, mask))
        return self.builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    def halves(self, vectors):
        """Add vectors pair by pair, for the adds to overlap."""
        while len(vectors) > 1:
            pairs = zip(vectors[::2], vectors[1::2], strict=False)
            rest = vectors[-1:] if len(vectors) % 2 else []
            vectors = [self.builder.fadd(a, b, flags=_FLAGS) for a, b in pairs] + rest
        return vectors[0]

    def prefetch(self, pointer, offset):
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte] + [ir.IntType(32)] * 3)
        function = self.builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        hints = [ir.Constant(ir.IntType(32), hint) for hint in (0, 3, 1)]
        self.builder.call(function, [self.at(pointer, offset, ir.IntType(8)), *hints])


def _switch(emit, count, limit, body):
    """Emit ``body(c)`` for the c in 1..limit that equals the runtime `count`; larger counts take `limit`."""
    builder = emit.builder
    done = builder.append_basic_block("done")
    choice = builder.switch(count, done)
    for size in range(1, limit + 1):
        case = builder.append_basic_block(f"case.{size}")
        if size < limit:
            choice.add_case(emit.const(size), case)
        else:
            choice.default = case
        builder.position_at_end(case)
        body(size)
        builder.branch(done)
    builder.position_at_end(done)


def _by_blocks(emit, width, body):
    """Emit ``body(first, steps)`` for runs of at most MAX_BLOCKS blocks of a row: their start, and offsets from it."""
    stride = emit.const(emit.length * MAX_BLOCKS)
    with cgutils.for_range_slice(emit.builder, emit.const(0), width, stride) as (first, _):
        left = emit.builder.sdiv(emit.builder.sub(width, first), emit.const(emit.length))
        _switch(emit, left, MAX_BLOCKS, lambda count: body(first, [emit.const(b * emit.length) for b in range(count)]))


def _weighted_rows(emit, lo, hi, weight, row, source, width, target, prefetch=None):
    """Emit ``target[:] = sum over p in lo..hi of weight(p) * source[row(p):row(p) + width]``, in registers."""
    builder = emit.builder

    def blocks(first, steps):
        sums = [emit.accumulator() for _ in steps]
        with cgutils.for_range_slice(builder, lo, hi, emit.const(1)) as (position, _):
            if prefetch is not None:
                later = builder.add(prefetch(position), first)
                for step in steps[:: max(1, 64 // BLOCK_BYTES)]:
                    emit.prefetch(source, builder.add(later, step))
            value, start = emit.splat(weight(position)), builder.add(row(position), first)
            for step, total in zip(steps, sums, strict=True):
                emit.add_product(total, value, emit.load(source, builder.add(start, step)))
        for step, total in zip(steps, sums, strict=True):
            emit.store(builder.load(total), target, builder.add(first, step))

    _by_blocks(emit, width, blocks)


def _sparse_walk(emit, data, indices, width):
    """Return functions of a place in a compressed matrix: its value, the row it points to, the one to prefetch."""
    builder = emit.builder
    last = builder.sub(emit.shape(indices, 0), emit.const(1))

    def weight(position):
        return builder.load(builder.gep(data.data, [position]))

    def row_of(position):
        return builder.mul(emit.index(indices.data, position), width)

    def row_ahead(position):
        ahead = builder.add(position, emit.const(AHEAD))
        return row_of(builder.select(builder.icmp_signed("<", ahead, last), ahead, last))

    return weight, row_of, row_ahead


@intrinsic
def _gather_row(typingctx, lo, hi, indices, data, factor, out, row):
    signature = types.void(types.int64, types.int64, indices, data, factor, out, types.int64)

    def codegen(context, builder, signature, args):
        emit = _Emitter(context, builder, signature.args[3].dtype)
        indices, data, factor, out = (emit.array(signature.args[i], args[i]) for i in (2, 3, 4, 5))
        width = emit.shape(factor, 1)
        walk = _sparse_walk(emit, data, indices, width)
        target = builder.gep(out.data, [builder.mul(args[6], width)])
        _weighted_rows(emit, args[0], args[1], *walk[:2], factor.data, width, target, walk[2])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _ratio_row(typingctx, lo, hi, indices, data, left, row, right, least, shift, ratio, out):
    rest = right, data.dtype, shift, ratio, out
    signature = types.void(types.int64, types.int64, indices, data, left, types.int64, *rest)

    def codegen(context, builder, signature, args):
        emit = _Emitter(context, builder, signature.args[3].dtype)
        indices, data, left, right, ratio, out = (emit.array(signature.args[i], args[i]) for i in (2, 3, 4, 6, 9, 10))
        shift = None if signature.args[8] == types.none else emit.array(signature.args[8], args[8])
        width = emit.shape(left, 1)
        mine, (value_of, row_of, row_ahead) = builder.mul(args[5], width), _sparse_walk(emit, data, indices, width)

        def blocks(count):
            steps = [emit.const(block * emit.length) for block in range(count)]
            weights = [emit.load(left.data, builder.add(mine, step)) for step in steps]
            sums = [emit.accumulator() for _ in steps]
            with cgutils.for_range_slice(builder, args[0], args[1], emit.const(1)) as (position, _):
                later = row_ahead(position)
                for step in steps[:: max(1, 64 // BLOCK_BYTES)]:
                    emit.prefetch(right.data, builder.add(later, step))
                start = row_of(position)
                parts = [emit.load(right.data, builder.add(start, step)) for step in steps]
                products = [builder.fmul(a, b, flags=_FLAGS) for a, b in zip(weights, parts, strict=True)]
                model = emit.sum(emit.halves(products))
                if shift is not None:
                    model = builder.fadd(model, builder.load(builder.gep(shift.data, [position])))
                model = builder.select(builder.fcmp_ordered(">", model, args[7]), model, args[7])
                value = builder.fdiv(value_of(position), model)
                builder.store(value, builder.gep(ratio.data, [position]))
                spread = emit.splat(value)
                for part, total in zip(parts, sums, strict=True):
                    emit.add_product(total, spread, part)
            target = builder.mul(args[5], width)
            for step, total in zip(steps, sums, strict=True):
                emit.store(builder.load(total), out.data, builder.add(target, step))

        _switch(emit, builder.sdiv(width, emit.const(emit.length)), MAX_BLOCKS, blocks)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _row_times(typingctx, factor, row, rank, matrix, out):
    signature = types.void(factor, types.int64, types.int64, matrix, out)

    def codegen(context, builder, signature, args):
        emit = _Emitter(context, builder, signature.args[0].dtype)
        factor, matrix, out = (emit.array(signature.args[i], args[i]) for i in (0, 3, 4))
        width = emit.shape(factor, 1)
        mine = builder.gep(factor.data, [builder.mul(args[1], width)])

        walk = lambda c: builder.load(builder.gep(mine, [c])), lambda c: builder.mul(c, width)  # noqa: E731
        _weighted_rows(emit, emit.const(0), args[2], *walk, matrix.data, width, out.data)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _mixed_row(typingctx, start, group, weight, rows, i, out, r):
    signature = types.void(start, group, weight, rows, types.int64, out, types.int64)

    def codegen(context, builder, signature, args):
        emit = _Emitter(context, builder, signature.args[3].dtype)
        start, group, weights, rows, out = (emit.array(signature.args[c], args[c]) for c in (0, 1, 2, 3, 5))
        width, zero, i = emit.shape(rows, 1), emit.const(0), args[4]
        target = builder.gep(out.data, [builder.mul(args[6], emit.shape(out, 1))])
        walk = _sparse_walk(emit, weights, group, width)
        with builder.if_else(builder.icmp_signed(">", emit.shape(start, 0), zero)) as (is_sum, is_row):
            with is_sum:
                lo = builder.load(builder.gep(start.data, [i]))
                hi = builder.load(builder.gep(start.data, [builder.add(i, emit.const(1))]))
                _weighted_rows(emit, lo, hi, *walk[:2], rows.data, width, target, walk[2])
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
def _mu_row(typingctx, factor, i, more, below, less, eps, floor, sums):
    signature = types.void(factor, types.int64, more, below, less, factor.dtype, factor.dtype, sums)

    def codegen(context, builder, signature, args):
        emit = _Emitter(context, builder, signature.args[0].dtype)
        factor, more, below, less, sums = (emit.array(signature.args[c], args[c]) for c in (0, 2, 3, 4, 7))
        width, zero = emit.shape(factor, 1), ir.Constant(emit.vector, [0.0] * emit.length)
        eps, floor = emit.splat(args[5]), emit.splat(args[6])
        row = builder.mul(args[1], width)
        with_pos, with_neg = emit.accumulator(), emit.accumulator()
        with cgutils.for_range_slice(builder, emit.const(0), width, emit.const(emit.length)) as (c, _):
            place = builder.add(row, c)
            high, low = emit.load(more.data, c), emit.load(less.data, c)
            above = builder.fmul(emit.load(factor.data, place), high, flags=_FLAGS)
            under = builder.fadd(emit.load(below.data, c), low, flags=_FLAGS)
            moved = builder.fdiv(above, builder.fadd(under, eps, flags=_FLAGS), flags=_FLAGS)
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
def _spread_row(typingctx, lo, hi, group, weight, source, j, target, t):
    signature = types.void(types.int64, types.int64, group, weight, source, types.int64, target, types.int64)

    def codegen(context, builder, signature, args):
        emit = _Emitter(context, builder, signature.args[4].dtype)
        group, weight, source, target = (emit.array(signature.args[i], args[i]) for i in (2, 3, 4, 6))
        width, first_group = emit.shape(source, 1), builder.mul(args[7], emit.shape(target, 1))
        row = builder.mul(args[5], width)

        def blocks(first, steps):
            start = builder.add(row, first)
            parts = [emit.load(source.data, builder.add(start, step)) for step in steps]
            with cgutils.for_range_slice(builder, args[0], args[1], emit.const(1)) as (position, _):
                value = emit.splat(builder.load(builder.gep(weight.data, [position])))
                place = builder.mul(builder.add(first_group, emit.index(group.data, position)), width)
                place = builder.add(place, first)
                for step, part in zip(steps, parts, strict=True):
                    there = builder.add(place, step)
                    product = builder.fmul(value, part, flags=_FLAGS)
                    emit.store(builder.fadd(product, emit.load(target.data, there), flags=_FLAGS), target.data, there)

        _by_blocks(emit, width, blocks)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _dot_rows(typingctx, lo, hi, group, left, j, right, out):
    signature = types.void(types.int64, types.int64, group, left, types.int64, right, out)

    def codegen(context, builder, signature, args):
        emit = _Emitter(context, builder, signature.args[3].dtype)
        group, left, right, out = (emit.array(signature.args[i], args[i]) for i in (2, 3, 5, 6))
        width = emit.shape(left, 1)
        row = builder.mul(args[4], width)

        def blocks(first, steps):
            start = builder.add(row, first)
            parts = [emit.load(left.data, builder.add(start, step)) for step in steps]
            is_first = builder.icmp_signed("==", first, emit.const(0))
            with cgutils.for_range_slice(builder, args[0], args[1], emit.const(1)) as (position, _):
                place = builder.add(builder.mul(emit.index(group.data, position), width), first)
                products = [
                    builder.fmul(part, emit.load(right.data, builder.add(place, step)), flags=_FLAGS)
                    for step, part in zip(steps, parts, strict=True)
                ]
                target = builder.gep(out.data, [position])
                before = builder.select(is_first, ir.Constant(emit.scalar, 0.0), builder.load(target))
                total = emit.sum(emit.halves(products))
                builder.store(builder.fadd(total, before, flags=_FLAGS), target)

        _by_blocks(emit, width, blocks)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _rows_gram_upper(typingctx, factor, lo, hi, block):
    signature = types.void(factor, types.int64, types.int64, block)

    def codegen(context, builder, signature, args):
        emit = _Emitter(context, builder, signature.args[0].dtype)
        factor, block = (emit.array(signature.args[i], args[i]) for i in (0, 3))
        width, length = emit.shape(factor, 1), emit.const(emit.length)
        stride = emit.const(emit.length * GRAM_BLOCKS)
        with cgutils.for_range_slice(builder, emit.const(0), width, emit.const(GRAM_ROWS)) as (a, _):
            diagonal = builder.mul(builder.sdiv(a, length), length)
            with cgutils.for_range_slice(builder, diagonal, width, stride) as (first, _):

                def tile(count):
                    sums = [[emit.accumulator() for _ in range(count)] for _ in range(GRAM_ROWS)]
                    with cgutils.for_range_slice(builder, args[1], args[2], emit.const(1)) as (i, _):
                        row = builder.mul(i, width)
                        left = builder.add(row, a)
                        right = builder.add(row, first)
                        parts = [
                            emit.load(factor.data, builder.add(right, emit.const(c * emit.length)))
                            for c in range(count)
                        ]
                        for r in range(GRAM_ROWS):
                            place = builder.add(left, emit.const(r))
                            value = emit.splat(builder.load(builder.gep(factor.data, [place])))
                            for part, total in zip(parts, sums[r], strict=True):
                                emit.add_product(total, value, part)
                    for r in range(GRAM_ROWS):
                        start = builder.add(builder.mul(builder.add(a, emit.const(r)), width), first)
                        for c, total in enumerate(sums[r]):
                            place = builder.add(start, emit.const(c * emit.length))
                            emit.store(builder.load(total), block.data, place)

                left = builder.sdiv(builder.sub(width, first), length)
                _switch(emit, left, GRAM_BLOCKS, tile)
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
            moved = builder.fmul(builder.load(total), inverse, flags=_FLAGS)
            is_positive = builder.fcmp_ordered(">", moved, zero)
            emit.store(builder.select(is_positive, moved, zero), tile.data, builder.add(row, step))
        return context.get_dummy_value()

    return signature, codegen


def _gather_row_plain(lo, hi, indices, data, factor, out, row):
    out[row] = data[lo:hi] @ factor[indices[lo:hi]]


def _ratio_row_plain(lo, hi, indices, data, left, row, right, least, shift, ratio, out):
    model = right[indices[lo:hi]] @ left[row] + (0 if shift is None else shift[lo:hi])
    ratio[lo:hi] = data[lo:hi] / np.maximum(model, least)
    out[row] = ratio[lo:hi] @ right[indices[lo:hi]]


def _row_times_plain(factor, row, rank, matrix, out):
    out[:] = factor[row, :rank] @ matrix[:rank]


def _mixed_row_plain(start, group, weight, rows, i, out, r):
    if len(start):
        out[r] = weight[start[i] : start[i + 1]] @ rows[group[start[i] : start[i + 1]]]
    elif len(rows):
        out[r] = rows[group[i] if len(group) else i]


def _mu_row_plain(factor, i, more, below, less, eps, floor, sums):
    above = factor[i] * more[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        factor[i] = np.where(above > 0, np.maximum(above / (below + less[0] + eps), floor), 0)
    sums += factor[i] @ more[0], factor[i] @ less[0]


def _spread_row_plain(lo, hi, group, weight, source, j, target, t):
    np.add.at(target[t], group[lo:hi], weight[lo:hi, None] * source[j])


def _dot_rows_plain(lo, hi, group, left, j, right, out):
    out[lo:hi] = right[group[lo:hi]] @ left[j]


def _rows_gram_upper_plain(factor, lo, hi, block):
    block[:] = factor[lo:hi].T @ factor[lo:hi]


def _hals_lanes_plain(component, rank, gram, tile, target):
    tile[component] = 0
    tile[component] = np.maximum(
        (target[component] - gram[component, :rank] @ tile[:rank]) / gram[component, component], 0
    )


# out[row] = sum over p in lo..hi of data[p] * factor[indices[p]]
gather_row = _gather_row_plain if config.DISABLE_JIT else _gather_row
# ratio[lo:hi] = data / max(left[row] . right[indices] + shift, least); out[row] = sum of ratio * right (MAX_BLOCKS at
# most). shift is None, or an array over the non-zeros, which `ratio` itself may be
ratio_row = _ratio_row_plain if config.DISABLE_JIT else _ratio_row
# out[:] = factor[row, :rank] @ matrix[:rank]; out (K,)
row_times = _row_times_plain if config.DISABLE_JIT else _row_times
# out[r] = row i of a `fastnmf.problem.Mixture`; out stays as it is where there are no rows
mixed_row = _mixed_row_plain if config.DISABLE_JIT else _mixed_row
# factor[i] moves by a multiplicative update; sums (2,) float64 grow by factor[i] . more and factor[i] . less
mu_row = _mu_row_plain if config.DISABLE_JIT else _mu_row
# target[t, group[p]] += weight[p] * source[j] for p in lo..hi; target (T, G, K)
spread_row = _spread_row_plain if config.DISABLE_JIT else _spread_row
# out[p] = left[j] . right[group[p]] for p in lo..hi
dot_rows = _dot_rows_plain if config.DISABLE_JIT else _dot_rows
# block = factor[lo:hi]^T factor[lo:hi] on and above the diagonal; what stands below it is of no meaning
rows_gram_upper = _rows_gram_upper_plain if config.DISABLE_JIT else _rows_gram_upper
# tile[c] = max(0, (target[c] - sum over b != c of gram[c, b] * tile[b]) / gram[c, c]); tile, target (rank, lanes)
hals_lanes = _hals_lanes_plain if config.DISABLE_JIT else _hals_lanes
