"""Coordinate descent over the rows of a factor with many components, where `rows.rows_hals` waits for memory.

Tiles are narrower here, and four components share each pass over a tile. Rows that are nearly all zero take no tile:
the descent visits the few components that can move. Records are those of `fastnmf.kernels.records`. Inputs are not
checked.

(Rows of the other factor without their zeros, for the sums of ``X H`` and ``Xᵀ W``, took 1.3 times as long: rows that
many non-zeros point to have few zeros.)
"""

import llvmlite.ir as ir
import numpy as np
from numba.core import cgutils, config, types
from numba.extending import intrinsic

from fastnmf.kernels.jit import helper, kernel, work_stealing
from fastnmf.kernels.llvm_builder import BLOCK_BYTES, FLAGS, TILE_BLOCKS, TILE_ROWS, Emitter, by_blocks, tile_sums
from fastnmf.kernels.row_intrinsics import gather_row, lazy_row
from fastnmf.kernels.tile_kernels import load_transposed, prefetch_row, row_dot, store_transposed

# Of one component of the rows of a tile: 24 float32, 12 float64. With 24 float64 a tile of rank 200 does not fit the
# first cache, and sweeps took 7 % longer.
TILE_BYTES = TILE_BLOCKS * BLOCK_BYTES
# For descents over the components that can move: the largest part of the entries of a tile that are not zero, and of
# its components that can move. In the two factors of 20 newsgroups at rank 200, of which 9 and 23 % are not zero, whole
# sweeps over all tiles took 1.8 and .7 times as long as these.
FEW, FEW_MEMBERS = 0.15, 0.3


@intrinsic
def _hals_block(typingctx, at, order, gram, inverse, tile, target):
    """Emit `hals_block`.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    at, order, gram, inverse, tile, target :
        Numba types of the arguments of `_hals_block_plain`.
    """
    signature = types.void(types.int64, order, gram, inverse, tile, target)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[4].dtype)
        order, gram, inverse, tile, target = (emit.array(signature.args[i], args[i]) for i in range(1, 6))
        width, span, zero = emit.shape(tile, 0), emit.shape(tile, 1), ir.Constant(emit.vector, [0.0] * emit.length)
        last, members, lines, scales = builder.sub(emit.shape(order, 0), emit.const(1)), [], [], []
        for r in map(emit.const, range(TILE_ROWS)):  # positions after the last one repeat it, and do not move
            place = builder.add(args[0], r)
            is_there = builder.icmp_signed("<=", place, last)
            members.append(builder.load(builder.gep(order.data, [builder.select(is_there, place, last)])))
            lines.append(builder.gep(gram.data, [builder.mul(members[-1], width)]))
            scale = builder.load(builder.gep(inverse.data, [members[-1]]))
            scales.append(emit.splat(builder.select(is_there, scale, ir.Constant(emit.scalar, 0.0))))

        def place_of(r, first, step):
            return builder.add(builder.add(builder.mul(members[r], span), first), step)

        def part(first, steps):
            value = lambda c, r: builder.load(builder.gep(lines[r], [c]))  # noqa: E731
            start = lambda c: builder.add(builder.mul(c, span), first)  # noqa: E731
            sums = tile_sums(emit, emit.const(0), width, value, tile.data, start, steps)
            for r, totals in enumerate(sums):
                for step, total in zip(steps, totals, strict=True):
                    want = emit.load(target.data, place_of(r, first, step))
                    builder.store(builder.fsub(want, builder.load(total), flags=FLAGS), total)
            for r, totals in enumerate(sums):
                later = range(r + 1, TILE_ROWS)
                weights = [emit.splat(builder.fneg(builder.load(builder.gep(lines[b], [members[r]])))) for b in later]
                for i, step in enumerate(steps):
                    before = emit.load(tile.data, place_of(r, first, step))
                    moved = builder.fmul(builder.load(totals[i]), scales[r], flags=FLAGS)
                    moved = builder.fadd(moved, before, flags=FLAGS)
                    moved = builder.select(builder.fcmp_ordered(">", moved, zero), moved, zero)
                    emit.store(moved, tile.data, place_of(r, first, step))
                    change = builder.fsub(moved, before, flags=FLAGS)
                    for b, weight in zip(later, weights, strict=True):
                        emit.add_product(sums[b][i], weight, change)

        by_blocks(emit, span, part, TILE_BLOCKS)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _add_line(typingctx, weight, lines, at, n, out):
    """Emit `add_line`.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    weight, lines, at, n, out :
        Numba types of the arguments of `_add_line_plain`.
    """
    signature = types.void(lines.dtype, lines, types.int64, types.int64, out)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, signature.args[1].dtype)
        lines, out = (emit.array(signature.args[i], args[i]) for i in (1, 4))
        weight, length = emit.splat(args[0]), emit.const(emit.length)
        with cgutils.for_range_slice(builder, emit.const(0), args[3], length) as (c, _):
            product = builder.fmul(weight, emit.load(lines.data, builder.add(args[2], c)), flags=FLAGS)
            emit.store(builder.fadd(product, emit.load(out.data, c), flags=FLAGS), out.data, c)
        return context.get_dummy_value()

    return signature, codegen


def _hals_block_plain(at, order, gram, inverse, tile, target):
    """Update the components ``order[at : at + TILE_ROWS]`` of a tile one after another, as `tile_kernels.hals_lanes`.

    Parameters
    ----------
    at : int
    order : ndarray of int64
    gram : ndarray (K, K), dtype of tile
    inverse : ndarray (K,), dtype of tile
        ``1 / gram[c, c]``, or 0 for a component that stays as it is.
    tile : ndarray (K, lanes)
        Written.
    target : ndarray (K, lanes), dtype of tile
    """
    for c in order[at : at + TILE_ROWS]:
        tile[c] = np.maximum(tile[c] + (target[c] - gram[c] @ tile) * inverse[c], 0)


def _add_line_plain(weight, lines, at, n, out):
    """Add ``weight * lines[at : at + n]`` to ``out[:n]``.

    Parameters
    ----------
    weight : scalar, dtype of out
    lines, out : ndarray, of one dtype
        The second is written.
    at, n : int
        n is a whole number of blocks.
    """
    out[:n] += weight * lines[at : at + n]


hals_block = _hals_block_plain if config.DISABLE_JIT else _hals_block
add_line = _add_line_plain if config.DISABLE_JIT else _add_line


@helper
def nonzero_entries(F, i, places, numbers):
    """Write the non-zero entries of a row and their columns into two arrays; return how many there are.

    Parameters
    ----------
    F : ndarray (p, K)
    i : int
        The row.
    places, numbers : ndarray (K,) of int32, (K,) of the dtype of F
        Written.
    """
    n = 0
    for c in range(F.shape[1]):  # without a branch, which the processor would often predict wrongly
        places[n], numbers[n] = c, F[i, c]
        n += F[i, c] != 0
    return n


@helper
def movable_components(F, i, slope, inverse, order, member):
    """Write the components of a row that are positive or would rise into an array, in order; return their number.

    Parameters
    ----------
    F : ndarray (p, K)
    i : int
        The row.
    slope : ndarray (K,), dtype of F
        Minus the half-gradient of the row.
    inverse : ndarray (K,), dtype of F
        As for `hals_block`.
    order : ndarray of int64
        Components to look at.
    member : ndarray (K,) of int32
        Written.
    """
    m = 0
    for c in order:
        member[m] = c
        m += ((F[i, c] > 0) | (slope[c] > 0)) & (inverse[c] > 0)
    return m


@helper
def descend(F, i, gram, inverse, slope, member, n_sweeps, own, cross):
    """Update the components `member` of ``F[i]`` by sweeps of exact coordinate descent; the others stay as they are.

    Parameters
    ----------
    F : ndarray (p, K)
        Row i is written.
    i : int
    gram : ndarray (K, K), dtype of F
    inverse : ndarray (K,), dtype of F
        As for `hals_block`, positive at the members.
    slope : ndarray (K,), dtype of F
        Minus the half-gradient at ``F[i]``.
    member : ndarray (m,) of int32
    n_sweeps : int
    own, cross : ndarray (3, K + a block), (K * (K + a block),), dtype of F
        Overwritten. What they hold after the m-th entry of a row is never used.
    """
    m, length = len(member), BLOCK_BYTES // F.itemsize
    stride = -(-m // length) * length
    x, steep, scale = own[0], own[1], own[2]
    for a in range(m):
        c = member[a]
        x[a], steep[a], scale[a], line = F[i, c], slope[c], inverse[c], gram[c]
        for b in range(m):
            cross[a * stride + b] = line[member[b]]
    for _ in range(n_sweeps):
        rise = steep[0]
        for a in range(m):
            moved = max(x[a] + rise * scale[a], 0)
            change = x[a] - moved
            x[a] = moved
            rise = steep[a + 1] + change * cross[a * stride + a + 1]  # so that the next step need not wait for the line
            add_line(change, cross, a * stride, stride, steep)
    for a in range(m):
        F[i, member[a]] = x[a]


@kernel
def rows_hals_large(tasks, F, gram, pos, neg, linear, order, parts):
    """Update F as `rows.rows_hals` does, for many components.

    A tile is a few rows. Where most of its entries are zero, each of its rows is updated in the components that are
    positive or have a negative half-gradient at its first sweep. All other components are zero and would not rise by
    themselves. They may rise once another component has fallen, and are then seen by the next update. The fixed points
    are therefore the same. On 20 newsgroups at rank 200, two sweeps reach .9997 of what two whole sweeps do.

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
    order : ndarray (n_sweeps, k) of int64
        Components of each sweep: the same in all of them, each at most once.
    parts : ndarray (T,) of float64
        Written: the sums of ``F * pos``, as in `rows.rows_mu`.
    """
    K, n_lanes, length = F.shape[1], TILE_BYTES // F.itemsize, BLOCK_BYTES // F.itemsize
    least, has_neg = 4 * np.finfo(F.dtype).tiny, len(neg.start) > 0 or len(neg.rows) > 0
    inverse = np.zeros(K, F.dtype)
    for c in range(K):
        inverse[c] = 1 / gram[c, c] if gram[c, c] > least else 0
    for t, begin, until in work_stealing(tasks):
        tile, target = np.zeros((K, n_lanes), F.dtype), np.zeros((K, n_lanes), F.dtype)
        more, less = np.zeros((n_lanes, K), F.dtype), np.zeros((n_lanes, K), F.dtype)
        slope, numbers = np.zeros((n_lanes, K), F.dtype), np.zeros((n_lanes, K), F.dtype)
        places, counts = np.zeros((n_lanes, K), np.int32), np.zeros(n_lanes, np.int64)
        own, cross = np.zeros((3, K + length), F.dtype), np.zeros(K * (K + length), F.dtype)
        high, low, with_pos = more.reshape(-1), less.reshape(-1), 0.0
        for lo in range(begin, until, n_lanes):
            n = min(n_lanes, until - lo)
            for i in range(n):
                lazy_row(pos, lo + i, more, i)
                lazy_row(neg, lo + i, less, i)
                prefetch_row(F, lo + n_lanes + i)
                counts[i] = nonzero_entries(F, lo + i, places[i], numbers[i])
            for e in range(n * K):  # without rows of neg, `less` holds the numbers of the previous tile
                low[e] = high[e] - linear - (low[e] if has_neg else 0)
            is_short = counts[:n].sum() <= FEW * n * K
            for i in range(n if is_short else 0):
                gather_row(0, counts[i], places[i], numbers[i], gram, slope, i)
                for c in range(K):
                    slope[i, c] = less[i, c] - slope[i, c]
                counts[i] = movable_components(F, lo + i, slope[i], inverse, order[0], places[i])
            if is_short and counts[:n].sum() <= FEW_MEMBERS * n * K:
                for i in range(n):
                    descend(F, lo + i, gram, inverse, slope[i], places[i, : counts[i]], len(order), own, cross)
            else:
                load_transposed(F, lo, n, tile)
                load_transposed(less, 0, n, target)
                for s in range(len(order)):
                    for at in range(0, order.shape[1], TILE_ROWS):
                        hals_block(at, order[s], gram, inverse, tile, target)
                store_transposed(tile, F, lo, n)
            for i in range(n):
                with_pos += np.float64(row_dot(F, lo + i, more, i))
        parts[t] = with_pos
