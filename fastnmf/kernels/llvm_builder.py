"""Shorthand for writing the vector loops of `row_intrinsics` and `tile_kernels` in LLVM's intermediate representation.

Rows of about 20 numbers are too short for LLVM's loop vectoriser, which wants 32 at a time, and their accumulators stay
in memory. Here the accumulators stay in registers. A *block* is 32 bytes (8 float32, 4 float64). The width K of a
factor is a whole number of blocks, and one binary serves all widths.
"""

import llvmlite.ir as ir
from numba.core import cgutils

BLOCK_BYTES = 32
MAX_BLOCKS = 8  # accumulators at a time; a wider row takes one pass for every 8 blocks
AHEAD = 24  # non-zeros between the prefetch of a row and its use
TILE_ROWS, TILE_BLOCKS = 4, 3  # rows and blocks of a product of matrices that are held in registers at a time
FLAGS = ("nsz", "contract")  # not "reassoc": sums keep the order in which they are written


class Emitter:
    """Shorthand over an LLVM builder for arrays of one element type.

    Parameters
    ----------
    context, builder :
        Those of Numba's code generation.
    element : numba type
        Type of the elements, float32 or float64.
    """

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
        product = self.builder.fmul(a, b, flags=FLAGS)
        self.builder.store(self.builder.fadd(product, self.builder.load(total), flags=FLAGS), total)

    def sum(self, vector):
        """Add the lanes of a vector by repeated halving; this fixed order gives the same bits on every machine."""
        half = self.length
        while half > 1:
            half //= 2
            lanes = [half + i if i < half else i for i in range(self.length)]
            mask = ir.Constant(ir.VectorType(ir.IntType(32), self.length), lanes)
            vector = self.builder.fadd(vector, self.builder.shuffle_vector(vector, vector, mask))
        return self.builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    def tree_sum(self, vectors):
        """Add vectors pair by pair, so that independent additions overlap."""
        while len(vectors) > 1:
            pairs = zip(vectors[::2], vectors[1::2], strict=False)
            rest = vectors[-1:] if len(vectors) % 2 else []
            vectors = [self.builder.fadd(a, b, flags=FLAGS) for a, b in pairs] + rest
        return vectors[0]

    def prefetch(self, pointer, offset):
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte] + [ir.IntType(32)] * 3)
        function = self.builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        hints = [ir.Constant(ir.IntType(32), hint) for hint in (0, 3, 1)]
        self.builder.call(function, [self.at(pointer, offset, ir.IntType(8)), *hints])


def switch(emit, count, limit, body):
    """Emit ``body(c)`` for the c in 1..limit that equals `count` at run time; larger counts take `limit`.

    Parameters
    ----------
    emit : Emitter
    count : LLVM value of int64
    limit : int
    body : function of int
    """
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


def by_blocks(emit, width, body, limit=MAX_BLOCKS, begin=None):
    """Emit ``body(first, steps)`` for successive runs of at most `limit` blocks of a row.

    Parameters
    ----------
    emit : Emitter
    width : LLVM value of int64
        Length of the row, a whole number of blocks.
    body : function
        It receives the first element of a run, and the offset of each block of the run from it.
    limit : int, default=MAX_BLOCKS
    begin : LLVM value of int64, default=None
        First element; None is 0.
    """
    begin, stride = emit.const(0) if begin is None else begin, emit.const(emit.length * limit)
    with cgutils.for_range_slice(emit.builder, begin, width, stride) as (first, _):
        left = emit.builder.sdiv(emit.builder.sub(width, first), emit.const(emit.length))
        switch(emit, left, limit, lambda count: body(first, [emit.const(b * emit.length) for b in range(count)]))


def tile_sums(emit, lo, hi, value, source, start, steps):
    """Return ``sum over p in lo..hi of value(p, r) * source[start(p) + step]`` for r < TILE_ROWS, held in registers.

    Parameters
    ----------
    emit : Emitter
    lo, hi : LLVM value of int64
    value : function of LLVM value p and int r
        Returns a scalar.
    source : LLVM pointer
    start : function of LLVM value p
        Returns the first element of the row that p uses.
    steps : list of LLVM value
        Offset of each block.

    Returns
    -------
    list (TILE_ROWS) of list of LLVM pointer
        Accumulator of each row and block.
    """
    builder, sums = emit.builder, [[emit.accumulator() for _ in steps] for _ in range(TILE_ROWS)]
    with cgutils.for_range_slice(builder, lo, hi, emit.const(1)) as (position, _):
        first = start(position)
        parts = [emit.load(source, builder.add(first, step)) for step in steps]
        for r, totals in enumerate(sums):
            diverse_rows = emit.splat(value(position, r))
            for part, total in zip(parts, totals, strict=True):
                emit.add_product(total, diverse_rows, part)
    return sums


def store_tile(emit, sums, target, first, width, steps):
    """Store the result of `tile_sums` as rows of `width` numbers, from element `first` on.

    Parameters
    ----------
    emit : Emitter
    sums : list of list of LLVM pointer
        Result of `tile_sums`.
    target : LLVM pointer
        Written.
    first, width : LLVM value of int64
    steps : list of LLVM value
        Offset of each block.
    """
    for r, totals in enumerate(sums):
        row = emit.builder.add(emit.builder.mul(emit.const(r), width), first)
        for step, total in zip(steps, totals, strict=True):
            emit.store(emit.builder.load(total), target, emit.builder.add(row, step))


def weighted_rows(emit, lo, hi, weight, row, source, width, target, prefetch=None):
    """Emit ``target[:] = sum over p in lo..hi of weight(p) * source[row(p):row(p) + width]``, summed in registers.

    Parameters
    ----------
    emit : Emitter
    lo, hi : LLVM value of int64
    weight, row : function of LLVM value p
        Return the weight and the first element of a row of `source`.
    source : LLVM pointer
    width : LLVM value of int64
    target : LLVM pointer
        Written.
    prefetch : function of LLVM value p, default=None
        Returns a later position, whose row is prefetched.
    """
    builder = emit.builder

    def blocks(first, steps):
        sums = [emit.accumulator() for _ in steps]
        with cgutils.for_range_slice(builder, lo, hi, emit.const(1)) as (position, _):
            if prefetch is not None:
                later = builder.add(row(prefetch(position)), first)
                for step in steps[:: max(1, 64 // BLOCK_BYTES)]:
                    emit.prefetch(source, builder.add(later, step))
            value, start = emit.splat(weight(position)), builder.add(row(position), first)
            for step, total in zip(steps, sums, strict=True):
                emit.add_product(total, value, emit.load(source, builder.add(start, step)))
        for step, total in zip(steps, sums, strict=True):
            emit.store(builder.load(total), target, builder.add(first, step))

    by_blocks(emit, width, blocks)


def sparse_walk(emit, data, indices, width):
    """Return three functions of a position in a compressed matrix: its value, the row it points to, a later position.

    Parameters
    ----------
    emit : Emitter
    data, indices : Numba arrays (nnz,), as returned by `Emitter.array`
    width : LLVM value of int64
        Width of the rows that the indices point to.

    Returns
    -------
    weight, row_of, ahead : function of LLVM value
        The later position is `AHEAD` entries further on, or the last one.
    """
    builder = emit.builder
    last = builder.sub(emit.shape(indices, 0), emit.const(1))

    def weight(position):
        return builder.load(builder.gep(data.data, [position]))

    def row_of(position):
        return builder.mul(emit.index(indices.data, position), width)

    def ahead(position):
        later = builder.add(position, emit.const(AHEAD))
        return builder.select(builder.icmp_signed("<", later, last), later, last)

    return weight, row_of, ahead
