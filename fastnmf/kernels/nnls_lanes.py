"""Exact non-negative least squares for many rows with one Gram matrix: eight rows are solved side by side.

Block principal pivoting (Kim and Park 2011) from a guess of the supports needs a Cholesky factor of each support, and
most guesses are right. Factors of a dozen columns are too small for vector loops, so each number of a register belongs
to another row. Supports that are smaller than the largest of the eight are filled up with columns of the identity.
"""

import llvmlite.ir as ir
import numpy as np
from numba.core import cgutils, config, types
from numba.extending import intrinsic

from fastnmf.kernels.jit import inlined, kernel, work_stealing
from fastnmf.kernels.llvm_builder import FLAGS, TILE_ROWS, Emitter
from fastnmf.kernels.row_intrinsics import rows_times

LANES, SORTED = 8, 256  # rows side by side; rows that are sorted at a time
MAX_TRIES = 3  # consecutive exchanges that may fail to reduce the number of infeasible entries
RANK_TOLERANCE = 1e-10  # a column is dependent if its squared distance from the span is below this share of its square


@intrinsic
def _gather_lanes(typingctx, most, k, extended, b, support, upper, diagonal):
    """Emit `gather_lanes`.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    most, k, extended, b, support, upper, diagonal :
        Numba types of the arguments of `_gather_lanes_plain`.
    """
    signature = types.void(types.int64, types.int64, extended, b, support, upper, diagonal)

    def codegen(context, builder, signature, args):
        emit, most = Emitter(context, builder, signature.args[2].dtype), args[0]
        extended, b, support, upper, diagonal = (emit.array(signature.args[i], args[i]) for i in range(2, 7))
        span, width, n_right = emit.const(LANES), emit.shape(extended, 1), emit.shape(b, 1)
        n_upper, after = builder.mul(builder.add(args[1], emit.const(1)), span), emit.const(1)

        def columns(a):
            first = builder.mul(a, span)
            return [emit.index(support.data, builder.add(first, emit.const(lane))) for lane in range(LANES)]

        def entries(starts, columns):
            return [builder.load(builder.gep(*pair)) for pair in zip(starts, ([c] for c in columns), strict=True)]

        def write(values, array, place):
            for block in range(0, LANES, emit.length):
                vector = ir.Constant(emit.vector, ir.Undefined)
                for lane in range(emit.length):
                    vector = builder.insert_element(vector, values[block + lane], ir.Constant(ir.IntType(32), lane))
                emit.store(vector, array.data, builder.add(place, emit.const(block)))

        with cgutils.for_range_slice(builder, emit.const(0), most, after) as (a, _):
            own, row = columns(a), builder.mul(a, n_upper)
            starts = [builder.gep(extended.data, [builder.mul(column, width)]) for column in own]
            with cgutils.for_range_slice(builder, a, most, after) as (c, _):
                write(entries(starts, columns(c)), upper, builder.add(row, builder.mul(c, span)))
            write(entries(starts, own), diagonal, builder.mul(a, span))
            rights = [builder.gep(b.data, [builder.mul(emit.const(lane), n_right)]) for lane in range(LANES)]
            write(entries(rights, own), upper, builder.add(row, builder.mul(most, span)))
        return context.get_dummy_value()

    return signature, codegen


def _gather_lanes_plain(most, k, extended, b, support, upper, diagonal):
    """Write the Gram matrices of all supports, and their right sides, for `solve_lanes`.

    Parameters
    ----------
    most : int
        Size of the largest support.
    k : int
    extended : ndarray (2 * k, 2 * k) of float64
        The Gram matrix, followed on its diagonal by the identity.
    b : ndarray (LANES, 2 * k) of float64
        The right side of each row; zero from entry k on.
    support : ndarray (k, LANES) of int32
        The support of each row, ascending, and behind it position k + a at every place a.
    upper, diagonal :
        As for `solve_lanes`; written.
    """
    U, lanes = upper.reshape(-1, k + 1, LANES), np.arange(LANES)
    for a in range(most):
        for c in range(a, most):
            U[a, c] = extended[support[a], support[c]]
        U[a, most], diagonal[a * LANES : (a + 1) * LANES] = b[lanes, support[a]], U[a, a]


@intrinsic
def _solve_lanes(typingctx, n, width, upper, diagonal, lost):
    """Emit `solve_lanes`.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    n, width, upper, diagonal, lost :
        Numba types of the arguments of `_solve_lanes_plain`.
    """
    signature = types.void(types.int64, types.int64, upper, diagonal, lost)

    def codegen(context, builder, signature, args):
        emit, n = Emitter(context, builder, signature.args[2].dtype), args[0]
        upper, diagonal, lost = (emit.array(signature.args[i], args[i]) for i in (2, 3, 4))
        steps, span = [emit.const(block) for block in range(0, LANES, emit.length)], emit.const(LANES)
        one, zero = (ir.Constant(emit.vector, [number] * emit.length) for number in (1.0, 0.0))
        kind = ir.FunctionType(emit.vector, [emit.vector])
        root = cgutils.get_or_insert_function(builder.module, kind, f"llvm.sqrt.v{emit.length}f64")
        row = lambda a: builder.mul(a, args[1])  # noqa: E731
        at = lambda start, c: builder.add(start, builder.mul(c, span))  # noqa: E731
        after = lambda a: builder.add(a, emit.const(1))  # noqa: E731
        each = lambda begin, end: cgutils.for_range_slice(builder, begin, end, emit.const(1))  # noqa: E731
        read = lambda array, place: [emit.load(array.data, builder.add(place, step)) for step in steps]  # noqa: E731

        def write(values, array, place):
            for value, step in zip(values, steps, strict=True):
                emit.store(value, array.data, builder.add(place, step))

        def multiply(left, right):
            return [builder.fmul(a, b, flags=FLAGS) for a, b in zip(left, right, strict=True)]

        def minus(values, left, right):
            less = multiply([builder.fneg(a) for a in left], right)
            return [builder.fadd(product, value, flags=FLAGS) for product, value in zip(less, values, strict=True)]

        write([zero for _ in steps], lost, emit.const(0))
        with each(emit.const(0), n) as (a, _):
            pivots, floors = read(upper, at(row(a), a)), read(diagonal, at(emit.const(0), a))
            floors = multiply(floors, [ir.Constant(emit.vector, [RANK_TOLERANCE] * emit.length) for _ in steps])
            is_good = [builder.fcmp_ordered(">", *pair) for pair in zip(pivots, floors, strict=True)]
            flags = read(lost, emit.const(0))
            write([builder.select(*each_, one) for each_ in zip(is_good, flags, strict=True)], lost, emit.const(0))
            safe = [builder.select(good, pivot, one) for good, pivot in zip(is_good, pivots, strict=True)]
            inverses = [builder.fdiv(one, builder.call(root, [pivot])) for pivot in safe]
            write(inverses, upper, at(row(a), a))
            with each(after(a), after(n)) as (c, _):
                write(multiply(read(upper, at(row(a), c)), inverses), upper, at(row(a), c))
            with each(after(a), n) as (i, _):
                share = read(upper, at(row(a), i))
                with each(i, after(n)) as (c, _):
                    rest = minus(read(upper, at(row(i), c)), share, read(upper, at(row(a), c)))
                    write(rest, upper, at(row(i), c))
        with each(emit.const(0), n) as (done, _):
            a = builder.sub(builder.sub(n, done), emit.const(1))
            sums = [cgutils.alloca_once(builder, emit.vector) for _ in steps]
            for value, total in zip(read(upper, at(row(a), n)), sums, strict=True):
                builder.store(value, total)
            with each(after(a), n) as (c, _):
                left = [builder.load(total) for total in sums]
                left = minus(left, read(upper, at(row(a), c)), read(upper, at(row(c), n)))
                for value, total in zip(left, sums, strict=True):
                    builder.store(value, total)
            solved = multiply([builder.load(total) for total in sums], read(upper, at(row(a), a)))
            write(solved, upper, at(row(a), n))
        return context.get_dummy_value()

    return signature, codegen


def _solve_lanes_plain(n, width, upper, diagonal, lost):
    """Solve one symmetric positive definite system of n unknowns in each lane.

    Parameters
    ----------
    n : int
    width : int
        Numbers of a row of `upper`, ``(k + 1) * LANES``.
    upper : ndarray (k * width,) of float64
        The upper triangles in columns 0..n and the right sides in column n, each with one number a lane. Overwritten:
        the Cholesky factors, with inverses on the diagonal, and the solutions in column n.
    diagonal : ndarray (k * LANES,) of float64
        The diagonals. A column is dependent where its pivot is at most `RANK_TOLERANCE` of them.
    lost : ndarray (LANES,) of float64
        Written: 1 for a lane with dependent columns, whose numbers mean nothing then, else 0.
    """
    U, diagonal = upper.reshape(-1, width // LANES, LANES), diagonal.reshape(-1, LANES)
    lost[:] = 0.0
    for a in range(n):
        is_good = U[a, a] > RANK_TOLERANCE * diagonal[a]
        lost[~is_good] = 1.0
        U[a, a] = 1.0 / np.sqrt(np.where(is_good, U[a, a], 1.0))
        U[a, a + 1 : n + 1] *= U[a, a]
        for i in range(a + 1, n):
            U[i, i : n + 1] -= U[a, i] * U[a, i : n + 1]
    for a in range(n - 1, -1, -1):
        for c in range(a + 1, n):
            U[a, n] -= U[a, c] * U[c, n]
        U[a, n] *= U[a, a]


gather_lanes = _gather_lanes_plain if config.DISABLE_JIT else _gather_lanes
solve_lanes = _solve_lanes_plain if config.DISABLE_JIT else _solve_lanes


@inlined
def _find_support(lane, x, support):
    """Write the support of x (k,), ascending, into a lane of `support` (k, LANES); return its size.

    There are no branches: half of them would be predicted wrongly.
    """
    n = np.int64(0)
    for c in range(len(support)):
        is_in = x[c] > 0.0
        support[n, lane] = c if is_in else len(support) + n
        n += is_in
    return n


@inlined
def _exchange(b, product, inverse, tolerance, x):
    """Exchange all infeasible entries of x between its support and the complement; return their number.

    Parameters
    ----------
    b, product : ndarray (K,) of float64
        Right side, and ``gram x``.
    inverse : ndarray (k,) of float64
        1 over the length of each column; 0 for a column of zeros.
    tolerance : float
        Slopes up to it, for columns of length one, count as zero.
    x : ndarray (K,) of float64
        The solution on its support. Written: not negative.

    Returns
    -------
    float
    """
    n_wrong = 0.0
    for c in range(len(inverse)):
        is_new = (x[c] == 0.0) & ((b[c] - product[c]) * inverse[c] > tolerance)
        n_wrong += 1.0 if is_new | (x[c] < 0.0) else 0.0
        x[c] = 1.0 if is_new else max(x[c], 0.0)
    return n_wrong


@inlined
def _take_row(i, k, F, pos, neg, linear, b, x):
    """Write the right side of row i into b (K,), and the row of F, which is the guess, into x (K,).

    Parameters
    ----------
    i, k : int
    F, pos, neg, linear :
        As for `rows_nnls`.
    b, x : ndarray (K,) of float64
        Written in the first k entries.
    """
    g = neg.group[i] if len(neg.group) > 0 else i
    for c in range(k):
        b[c], x[c] = pos[i, c] - linear, F[i, c]
        if neg.rows.shape[0] > 0:
            b[c] -= neg.rows[g, c]


@inlined
def _solve_supports(extended, b, x, tries, support, upper, diagonal, lost):
    """Replace x by the solution on its support, in all lanes that are open.

    Parameters
    ----------
    extended, b :
        As for `gather_lanes`.
    x : ndarray (LANES, 2 * k) of float64
        Written.
    tries : ndarray (LANES,) of int64
        Above 0 for an open lane.
    support, upper, diagonal, lost :
        As for `gather_lanes` and `solve_lanes`; overwritten.
    """
    k, most = len(support), np.int64(0)
    for a in range(k):
        for lane in range(LANES):
            support[a, lane] = k + a
    for lane in range(LANES):
        if tries[lane] > 0:
            most = max(most, _find_support(lane, x[lane], support))
    gather_lanes(most, k, extended, b, support, upper, diagonal)
    solve_lanes(most, (k + 1) * LANES, upper, diagonal, lost)
    for a in range(most):
        for lane in range(LANES):
            x[lane, support[a, lane]] = upper[(a * (k + 1) + most) * LANES + lane]


@inlined
def _by_size(F, begin, until, k, order):
    """Write the rows begin..until of F into order, by the size of their support in the first k columns.

    So eight rows that are solved together have supports of about one size.

    Parameters
    ----------
    F : ndarray (p, K)
    begin, until, k : int
    order : ndarray (SORTED,) of int64
        Written in the first ``until - begin`` entries.
    """
    starts, sizes = np.zeros(k + 2, np.int64), np.zeros(until - begin, np.int64)
    for i in range(until - begin):
        for c in range(k):
            sizes[i] += F[begin + i, c] > 0.0
        starts[sizes[i] + 1] += 1
    for size in range(k):
        starts[size + 1] += starts[size]
    for i in range(until - begin):
        order[starts[sizes[i]]] = begin + i
        starts[sizes[i]] += 1


@kernel
def rows_nnls(tasks, F, gram, extended, pos, neg, linear, is_solved):
    """Replace every row f of F by the minimiser of ``f gram fᵀ / 2 - (pos - neg - linear) f`` over f >= 0.

    The support of f is the first guess of the support of the minimiser; a correct guess saves time. All computations
    are in float64, and the result depends on the row alone. A row is not written, and is left to `rows_nnls_active`,
    where the number of its infeasible entries has not fallen `MAX_TRIES` times, or its support is linearly dependent.

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F : ndarray (p, K)
        Written in the first k columns.
    gram : ndarray (k, k') of float64
        k <= K; k' is k, filled up with columns of zeros to whole blocks.
    extended : ndarray (2 * k, 2 * k) of float64
        As for `gather_lanes`.
    pos : ndarray (p, K)
    neg : fastnmf.kernels.records.LazyRows (p, K)
        Its rows are used as they are: `start` has length 0.
    linear : float
        Constant added to the half-gradient of every entry.
    is_solved : ndarray (p,) of bool
        Written.
    """
    k, unit = len(gram), 4.0 * np.finfo(F.dtype).eps
    for _, begin, until in work_stealing(tasks):
        b, x, slopes = np.zeros((LANES, 2 * k)), np.zeros((LANES, 2 * k)), np.zeros((TILE_ROWS, gram.shape[1]))
        upper, diagonal, lost = np.empty(k * (k + 1) * LANES), np.empty(k * LANES), np.empty(LANES)
        support, tolerance, inverse = np.empty((k, LANES), np.int32), np.zeros(LANES), np.zeros(k)
        tries, fewest, order = np.zeros(LANES, np.int64), np.zeros(LANES), np.empty(SORTED, np.int64)
        for c in range(k):
            inverse[c] = 1.0 / np.sqrt(gram[c, c]) if gram[c, c] > 0.0 else 0.0
        for lo in range(begin, until, LANES):
            at = (lo - begin) % SORTED
            if at == 0:
                _by_size(F, lo, min(lo + SORTED, until), k, order)
            for lane in range(min(LANES, until - lo)):
                _take_row(order[at + lane], k, F, pos, neg, linear, b[lane], x[lane])
                tries[lane], fewest[lane], tolerance[lane] = MAX_TRIES, k + 1, 0.0
                for c in range(k):
                    tolerance[lane] = max(tolerance[lane], unit * b[lane, c] * inverse[c])
            n_open = min(LANES, until - lo)
            while n_open > 0:
                _solve_supports(extended, b, x, tries, support, upper, diagonal, lost)
                for lane in range(LANES):
                    row = slopes[lane % TILE_ROWS]
                    if lane % TILE_ROWS == 0:
                        rows_times(x, lane, TILE_ROWS, k, gram, slopes)
                    if tries[lane] > 0:
                        n_wrong = _exchange(b[lane], row, inverse, tolerance[lane], x[lane])
                        is_solved[order[at + lane]] = n_wrong == 0 and lost[lane] == 0.0
                        tries[lane] = MAX_TRIES if n_wrong < fewest[lane] else tries[lane] - 1
                        fewest[lane] = min(fewest[lane], n_wrong)
                        if n_wrong == 0 or lost[lane] > 0.0:
                            tries[lane] = 0
                        n_open -= tries[lane] == 0
                        for c in range(k if is_solved[order[at + lane]] else 0):
                            F[order[at + lane], c] = x[lane, c]
