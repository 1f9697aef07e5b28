"""Compile kernels with one set of floating-point options; run them in threads; make task tables.

A kernel is a plain function whose first argument is a *task table*: an int64 array of T + 1 row boundaries. It loops
over ``for t, begin, until in work_stealing(tasks)``, and each task writes its own rows or partial sums. Task tables
depend on the data alone and never on the number of threads, so any number of threads gives the same bits.

A kernel is compiled once, for one thread as for many. All kernels share one parallel loop, in which every thread calls
the same machine code (`_launch`). A kernel that is compiled a second time, inside a loop of its own, costs .5 to 1.9 s
more, and may round differently, because LLVM then chooses another order for some sums.

In a parallel call every thread runs the whole function, and each task goes to the first thread that takes it. A fixed
share for each thread (which ``prange`` over the tasks gives) would wait for the slowest core: beside a program that
kept one of two cores busy, an iteration took 22 ms instead of 16 (`bench/side_by_side.py`). On idle cores both take the
same time.
"""

import gc
import hashlib
import os
import pathlib
import threading
import time
from contextlib import contextmanager
from functools import cache
from types import FunctionType

import llvmlite.binding as llvm
import llvmlite.ir as ir
import numba
import numpy as np
from numba.core import caching, cgutils, config, event, types
from numba.core import ir as numba_ir
from numba.core.callconv import RETCODE_NONE
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.ir_utils import add_offset_to_labels
from numba.core.runtime import rtsys
from numba.core.untyped_passes import FixupArgs
from numba.extending import intrinsic, register_jitable

try:  # private; it tells arguments of different types apart without building Numba's types
    from numba._dispatcher import compute_fingerprint
except ImportError:
    compute_fingerprint = numba.typeof

from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.contention import Contention
from fastnmf.kernels.warn import warn

# All options of "fast" except those that assume that NaN and infinity never occur: they delete checks for NaN.
FASTMATH = {"nsz", "arcp", "contract", "afn", "reassoc"}
_BARE = {"fastmath": FASTMATH, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
N_TASKS, MOST_TASKS = 32, 256  # of work that is shared at all, by its size
# Multiply-adds and rows of a task where there are more than `N_TASKS`: .1 ms or more on one core, far above the few us
# of a launch, and sums of its own, which are added up afterwards, for a thousand rows. So 20 newsgroups have 32 tasks.
TASK_COST, TASK_ROWS = 1 << 20, 1 << 10
COUNTER_STEP = 8  # int64 numbers between the counters of two threads, which then do not share a cache line
ROW_COST = 8  # non-zeros that cost as much as the work done once per row
ROWS_TOGETHER = 64  # tables of many rows have bounds at its multiples: some kernels update that many rows side by side
# Below this many multiply-adds a launch costs more than it gains (4 us idle, milliseconds on a loaded machine).
SERIAL_BELOW = 200_000
# Spins of a waiting GNU OpenMP thread before it frees its core, about half a millisecond. The library's own default is
# many milliseconds (GOMP_SPINCOUNT=300000); with it, two fits side by side on two cores took up to 72 ms an iteration
# instead of 16 (`bench/side_by_side.py`). With far fewer spins every launch must wake its threads, which costs 5 %.
SPINS = 10_000
_SHARED = [
    pathlib.Path(__file__).with_name(name)
    for name in ("jit.py", "llvm_builder.py", "records.py", "row_intrinsics.py", "tile_kernels.py")
]
# The disk cache ignores NUMBA_BOUNDSCHECK; so the name says it.
_HASH = hashlib.sha256(b"".join(path.read_bytes() for path in _SHARED)).hexdigest()[:8]
_HASH += "_checked" if config.BOUNDSCHECK else ""
_LAUNCH, CONTENTION = threading.Lock(), Contention()
_LOCAL = threading.local()
_IS_FORKED = _IS_STARTED = _HAS_WARNED = False


def _after_fork():
    global _IS_FORKED, _LAUNCH
    _IS_FORKED, _LAUNCH = True, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _named(function, name):
    """Copy `function` under another name, because Numba's disk cache knows functions by name.

    The name carries a hash of the files in `_SHARED`, because the cache does not notice changes in them, and whether
    indices are checked.
    """
    name = f"{name}_{_HASH}"
    copy = FunctionType(function.__code__.replace(co_name=name, co_qualname=name), function.__globals__, name)
    copy.__qualname__, copy.__module__, copy.__doc__ = name, function.__module__, function.__doc__
    return copy


def _compile(function, **options):
    compiled = numba.njit(cache=False, **_BARE, **options)(function)
    if os.environ.get("FASTNMF_NUMBA_CACHE", "1") != "0":
        try:
            compiled._cache = _Cache(compiled.py_func)
        except (RuntimeError, OSError) as error:  # "no locator available": nowhere to write the cache
            _warn_of_cache(error)
    return compiled


class _CheckedFiles(caching.IndexDataCacheFile):
    """Numba's files of compiled code, with a checksum: altered code would crash the process, or compute nonsense."""

    def _dump(self, obj):
        data = super()._dump(obj)
        return data + hashlib.sha256(data).digest()  # which reading a pickle passes over

    def _load_data(self, name):
        data = pathlib.Path(self._data_path(name)).read_bytes()
        if hashlib.sha256(data[:-32]).digest() != data[-32:]:
            raise ValueError(f"{self._data_path(name)} does not match its checksum")
        return super()._load_data(name)


class _NamedCode(caching.CompileResultCacheImpl):
    """Compiled code as Numba's disk cache keeps it, with the names of outside functions and variables that it uses.

    LLVM ends the process where such a name, for example `sqrt`, is unknown. So Numba's registries are loaded first in
    this case: one of their modules may define it. Those of Numba 0.63 to 0.68 define none that a kernel uses.
    """

    def reduce(self, compiled):
        try:
            module = compiled.library._final_module
            values = [*module.functions, *module.global_variables]
            names = [value.name for value in values if value.is_declaration and not value.name.startswith("llvm.")]
            compiled = compiled._replace(type_annotation="")  # the types of all lines as text, which nobody reads
        except AttributeError:  # a Numba with other internals
            names = [""]  # unknown: the registries will be loaded
        return names, super().reduce(compiled)

    def rebuild(self, target_context, kept):
        names, state = kept
        if None in map(llvm.address_of_symbol, names):
            target_context.refresh()
        return super().rebuild(target_context, state)


class _Cache(caching.FunctionCache):
    """Numba's disk cache of a kernel; where it cannot be read or written, the kernel is compiled without it."""

    _impl_class = _NamedCode

    def __init__(self, function):
        super().__init__(function)
        of_source = {"filename_base": self._impl.filename_base, "source_stamp": self._impl.locator.get_source_stamp()}
        self._cache_file = _CheckedFiles(cache_path=self._cache_path, **of_source)

    def load_overload(self, sig, target_context):
        try:
            try:
                found = self._load_without_registries(sig, target_context)
            except Exception:  # a damaged file, or a Numba with other internals, whose own way may succeed
                found = super().load_overload(sig, target_context)
            if found is not None and tuple(found.signature.args) != tuple(sig):
                raise ValueError(f"{self._cache_path} holds code for other types")
            return found
        except Exception as error:  # whatever unpickling a damaged file raises
            _warn_of_cache(error)
            try:
                self.flush()  # so that the code compiled now can be saved
            except Exception:  # `save_overload` tells
                pass
            return None

    def _load_without_registries(self, sig, target_context):
        """Load code without what Numba needs only for compiling: its registries of types and of their lowering.

        Its own `load_overload` loads them first, in .2 of the .3 to .45 s that the first fit of a process took beyond
        a later one (`bench/first_fit.py`). The compiler loads them in any case.
        """
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except Exception as error:
            _warn_of_cache(error)


def _warn_of_cache(error):
    """Warn, once in a process."""
    global _HAS_WARNED
    if _HAS_WARNED:
        return
    _HAS_WARNED = True
    folder = config.CACHE_DIR or pathlib.Path(__file__).parent / "__pycache__"
    warn(
        f"The cache of compiled kernels in {folder} cannot be used ({type(error).__name__}: {error}); kernels are "
        "compiled anew. Delete the folder, make it writable, or set NUMBA_CACHE_DIR to another one.",
        RuntimeWarning,
    )


def compiled_for(compiled, kinds):
    """Return what Numba holds for a kernel and the types of its arguments; compile it, or load it from the disk.

    Python does not look for garbage meanwhile. The compiler makes many objects and leaves few behind: without the
    search, compiling takes a twentieth less processor time.

    Parameters
    ----------
    compiled : numba.core.registry.CPUDispatcher
    kinds : tuple of numba type

    Returns
    -------
    numba.core.compiler.CompileResult
    """
    is_enabled = gc.isenabled()
    try:
        try:
            gc.disable()
            compiled.compile(kinds)
        finally:
            if is_enabled:
                gc.enable()
    finally:  # a second time, because an interrupt in the `finally` above would leave it disabled
        if is_enabled:
            gc.enable()
    return compiled.overloads[kinds]


def inlined(function):
    """Compile a function that kernels of the same file call, into each of them.

    A function that is not inlined is in every kernel that calls it. Which copy a process runs depends on what it has
    loaded first, and the copies may round differently.
    """
    return register_jitable(forceinline=True, **_BARE)(function)


def helper(function):
    """Compile a function that kernels of the same file call; it is cached as a part of these kernels.

    Called from Python, it is the plain function: an entry for Python would take a tenth of the time to compile it.
    """
    return register_jitable(**_BARE)(function)


@intrinsic
def _take(typingctx, counters, place):
    """Return counters[place] and increment it, atomically."""

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        slot = builder.gep(array.data, [args[1]])
        return builder.atomic_rmw("add", slot, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counters, types.int64), codegen


@intrinsic
def _launch(typingctx, tasks):
    """Have every thread run the kernel in which this call stands, with the arguments that the kernel was given.

    Returns whether it did so; it does where the first argument has the address of `_in_every_thread`. The arguments of
    the compiled kernel, as it takes them, go into a block on the stack. A function beside the kernel takes them from
    there, with another thread number and no address, and calls the kernel anew. The disk cache holds no addresses.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    tasks : numba type
        That of the first argument of the kernel.
    """
    kinds, word = (types.uintp, types.uintp, tasks.types[1]), ir.IntType(64)

    def codegen(context, builder, signature, args):
        _, counters, _, address = cgutils.unpack_tuple(builder, args[0])
        is_launch = builder.icmp_unsigned("!=", address, ir.Constant(word, 0))
        with builder.if_then(is_launch):
            convention, raw = context.call_conv, context.call_conv.get_arguments(builder.function)
            block = cgutils.alloca_once(builder, ir.LiteralStructType([value.type for value in raw]))
            for i, value in enumerate(raw):
                builder.store(value, cgutils.gep_inbounds(builder, block, 0, i))
            function = one_thread(context, builder.function, block.type)
            parts = builder.ptrtoint(function, word), builder.ptrtoint(block, word), counters
            launcher = builder.inttoptr(address, convention.get_function_type(types.none, kinds).as_pointer())
            convention.call_function(builder, launcher, types.none, kinds, parts)
        return is_launch

    def one_thread(context, kernel, pointer):
        """Write the function that calls a kernel with a block of arguments, for one thread; it returns the status."""
        signature = ir.FunctionType(ir.IntType(32), [word, word])
        function = ir.Function(kernel.module, signature, f"{kernel.name}.one_thread")
        function.linkage = "internal"
        builder = ir.IRBuilder(function.append_basic_block())
        block, thread = builder.inttoptr(function.args[0], pointer), function.args[1]
        n = len(pointer.pointee.elements)
        parts = [builder.load(cgutils.gep_inbounds(builder, block, 0, i)) for i in range(n)]
        place = len(context.get_arg_packer(tasks.types[:2]).argument_types)  # of the thread number
        parts[place : place + 2] = thread, ir.Constant(word, 0)
        hidden = [cgutils.alloca_once(builder, of.type.pointee, zfill=True) for of in kernel.args[:-n]]
        status = builder.call(kernel, [*hidden, *parts], attrs=("noinline",))  # or its code would be there twice
        is_ok = builder.icmp_signed("==", status, RETCODE_NONE)
        builder.ret(builder.select(is_ok, status.type(0), status))
        return function

    return types.boolean(tasks), codegen


@intrinsic
def _without_owners(typingctx, tasks):
    """Return the first argument of a kernel with arrays that are not counted as references: the caller holds them.

    Numba's generators never release their arguments, so each call would leave a task table and counters behind.
    """

    def codegen(context, builder, signature, args):
        values = cgutils.unpack_tuple(builder, args[0])
        for i, kind in enumerate(tasks.types[:2]):
            array = context.make_array(kind)(context, builder, values[i])
            array.meminfo = cgutils.get_null_value(array.meminfo.type)
            values[i] = array._getvalue()
        return context.make_tuple(builder, tasks, values)

    return tasks(tasks), codegen


@intrinsic
def _call(typingctx, function, block, thread):
    """Call the function that `_launch` has written and return its status, 0 where all went well.

    A status that was propagated as an exception would be lost with the thread, and the caller would take what the
    kernel left for its result.

    Parameters
    ----------
    typingctx :
        Context of Numba.
    function, block, thread : numba type
        Addresses of the function and of its block of arguments, and the number of the thread: uint64 or int64.
    """

    def codegen(context, builder, signature, args):
        word = ir.IntType(64)
        pointer = builder.inttoptr(args[0], ir.FunctionType(ir.IntType(32), [word, word]).as_pointer())
        return builder.call(pointer, args[1:])

    return types.int32(function, block, thread), codegen


@register_pass(mutates_CFG=True, analysis_only=False)
class _BeginWithLaunch(FunctionPass):
    """Let a kernel begin with ``if _launch(tasks): return`` and ``tasks = _without_owners(tasks)``."""

    _name = "fastnmf_begin_with_launch"

    def __init__(self):
        super().__init__()

    def run_pass(self, state):
        blocks = add_offset_to_labels(state.func_ir.blocks, 2)
        first = min(blocks)
        rest = blocks[first]
        begin, leave = (numba_ir.Block(rest.scope, rest.loc) for _ in range(2))

        def assign(block, name, value):
            target = block.scope.redefine(f"$fastnmf_{name}", block.loc)
            block.append(numba_ir.Assign(value, target, block.loc))
            return target

        def call(block, function, argument):
            callee = assign(block, function.__name__, numba_ir.Global(function.__name__, function, block.loc))
            return assign(block, "result", numba_ir.Expr.call(callee, (argument,), (), block.loc))

        is_argument = [isinstance(getattr(each, "value", None), numba_ir.Arg) for each in rest.body]
        n_arguments = len(is_argument) - is_argument[::-1].index(True)
        begin.body, rest.body = rest.body[:n_arguments], rest.body[n_arguments:]
        first_argument = next(each for each in begin.body if getattr(each.value, "index", None) == 0)
        tasks, given = first_argument.target, begin.scope.define("$fastnmf_given", begin.loc)
        first_argument.target = given
        is_launch = call(begin, _launch, given)
        begin.append(numba_ir.Assign(call(begin, _without_owners, given), tasks, begin.loc))
        begin.append(numba_ir.Branch(is_launch, 1, first, begin.loc))
        nothing = assign(leave, "nothing", numba_ir.Const(None, leave.loc))
        leave.append(numba_ir.Return(assign(leave, "returned", numba_ir.Expr.cast(nothing, leave.loc)), leave.loc))
        state.func_ir.blocks = {0: begin, 1: leave, **blocks}
        return True


class _Compiler(CompilerBase):
    """Numba's compiler with `_BeginWithLaunch`."""

    def define_pipelines(self):
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_BeginWithLaunch, FixupArgs)
        passes.finalize()
        return [passes]


def _in_every_thread(function, block, counters):
    """Call a function of `_launch` in every thread.

    Parameters
    ----------
    function, block : uintp
        Addresses of the function and of the arguments of its kernel.
    counters : ndarray of int64
        `COUNTER_STEP` zeros for each thread; the second one becomes its status. That of the first thread is not 0 where
        any thread failed.
    """
    for thread in numba.prange(len(counters) // COUNTER_STEP):
        counters[thread * COUNTER_STEP + 1] = _call(function, block, thread)
    for thread in range(1, len(counters) // COUNTER_STEP):  # over the whole array it would be a second launch
        counters[1] |= counters[thread * COUNTER_STEP + 1]


def _work_stealing_plain(tasks):
    for t in range(len(tasks) - 1):
        yield t, tasks[t], tasks[t + 1]


@register_jitable(nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def _work_stealing(tasks):
    bounds, counters, me, _ = tasks
    n_threads, n_tasks = len(counters) // COUNTER_STEP, len(bounds) - 1
    for turn in range(n_threads):
        owner = (me + turn) % n_threads
        begin, until = owner * n_tasks // n_threads, (owner + 1) * n_tasks // n_threads
        t = begin + _take(counters, owner * COUNTER_STEP)
        while t < until:
            yield t, bounds[t], bounds[t + 1]
            t = begin + _take(counters, owner * COUNTER_STEP)


# Yields the tasks that no other thread has taken, one after another, as (task number, first row, end of the rows). Each
# thread begins with its own range of tasks, which is the same in every kernel, so that the rows are still in its cache.
# It continues with the remaining tasks of the other threads. (One common queue for all tasks cost 4 to 7 % on idle
# cores.)
work_stealing = _work_stealing_plain if config.DISABLE_JIT else _work_stealing


class Kernel:
    """A compiled function of a task table and arrays, which a call runs in several threads where that saves time.

    It runs in the calling thread alone in five cases: the task table has a single task; one thread is asked for; the
    process is a forked child (GNU OpenMP would end it); other programs keep the cores so busy that one thread is faster
    (`contention`); or another Python thread is inside a parallel kernel. In the last case the workqueue layer would
    abort the process, because two threads launch at once, and both would compete for the same cores in any case.

    Parameters
    ----------
    function : function
        Its first argument is the task table; the others are arrays, scalars, or records of these (`records`). Compiled,
        it takes a tuple in place of the table: the table, the counters of the threads, the number of this thread, and 0
        or the address of `_in_every_thread`, which is to call it in every thread.
    """

    def __init__(self, function):
        self.__name__, self.__doc__, self.__wrapped__ = function.__name__, function.__doc__, function
        self.compiled = _compile(_named(function, self.__name__), pipeline_class=_Compiler)
        self._entries = {}  # types of the values -> the compiled kernel as Python calls it

    def __call__(self, tasks, *args):
        values = []  # the fields of records one by one: a fingerprint of the record itself takes longer
        for a in args:
            values.extend(a) if isinstance(a, tuple) else values.append(a)
        key, n_tasks = compute_fingerprint((tasks, *values)), len(tasks) - 1
        entry = self._entries.get(key) or self._load(key, tasks, args)
        n_threads = 1 if n_tasks <= 1 else min(thread_count(), n_tasks)
        if n_threads <= 1 or _IS_FORKED or _LAUNCH.locked() or CONTENTION.is_paused:
            entry((tasks, np.zeros(COUNTER_STEP, np.int64), 0, 0), *args)
            return
        # `with` acquires and releases a lock so that Ctrl-C can at no moment leave it acquired; `acquire` before `try`
        # has such a moment. On one line a tracer has none either, which could raise at the end of a longer block. If
        # another thread acquires the lock after the check above, this thread waits for one kernel.
        with _LAUNCH: self._launch(entry, n_threads, tasks, args)  # fmt: skip  # noqa: E701

    def _launch(self, entry, n_threads, tasks, args):
        """Run the kernel in several threads; the caller holds the lock.

        Parameters
        ----------
        entry : callable
            The compiled kernel.
        n_threads : int
        tasks : ndarray (T + 1,) of int64
        args : tuple
            The other arguments of the kernel.
        """
        counters = np.zeros(n_threads * COUNTER_STEP, np.int64)
        launcher, began, before = _launcher(), time.perf_counter(), time.process_time()
        entry((tasks, counters, -1, launcher), *args)
        CONTENTION.note(time.perf_counter() - began, time.process_time() - before)
        if counters[1]:
            if config.BOUNDSCHECK:
                raise IndexError(f"The kernel {self.__name__} went beyond one of its arrays in one of several threads.")
            raise MemoryError(f"The kernel {self.__name__} found no memory in one of several threads.")

    def _load(self, key, tasks, args):
        """Compile the kernel for arguments of these types, or load it from the disk, and remember it.

        Its entry point is what Numba's dispatcher calls in the end, after it has found the types of the arguments
        anew; for records alone that takes a microsecond each.
        """
        kinds = tuple(map(numba.typeof, ((tasks, np.empty(0, np.int64), 0, 0), *args)))
        self._entries[key] = compiled_for(self.compiled, kinds).entry_point
        return self._entries[key]


@cache
def _launcher():
    """Return the address of the compiled `_in_every_thread`."""
    kinds = types.uintp, types.uintp, numba.typeof(np.empty(0, np.int64))
    launcher = _compile(_named(_in_every_thread, _in_every_thread.__name__), parallel=True)
    found = compiled_for(launcher, kinds)
    return found.library.get_pointer_to_function(found.fndesc.llvm_func_name)


def kernel(function):
    """Turn a function of a task table and arrays into a `Kernel`; with NUMBA_DISABLE_JIT it stays a plain function."""
    return function if config.DISABLE_JIT else Kernel(function)


def thread_count():
    """Return the number of threads that kernels called from this Python thread use."""
    if _IS_FORKED:
        return 1
    return getattr(_LOCAL, "n_threads", None) or _numba_count()


def _numba_count():
    """Return Numba's own number of threads, and start its threads if necessary; see `SPINS`."""
    global _IS_STARTED
    is_ours = not _IS_STARTED and not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
    try:
        if is_ours:
            os.environ["GOMP_SPINCOUNT"] = str(SPINS)  # read only when the library is loaded
        return numba.get_num_threads()
    finally:
        _IS_STARTED = True
        if is_ours:
            os.environ.pop("GOMP_SPINCOUNT", None)


@contextmanager
def threads(n_threads=None):
    """Use `n_threads` threads in kernels and one thread in BLAS inside the block; restore both settings afterwards.

    Parameters
    ----------
    n_threads : int, default=None
        None is Numba's own setting.

    Yields
    ------
    int
        Number of threads in use.
    """
    with single_threaded_blas():
        if _IS_FORKED or config.DISABLE_JIT:
            yield 1
        else:
            with _numba_threads(n_threads) as used:
                yield used


@contextmanager
def _numba_threads(n_threads):
    before, mine = _numba_count(), getattr(_LOCAL, "n_threads", None)
    used = before if n_threads is None else min(n_threads, config.NUMBA_NUM_THREADS)
    try:
        try:
            _set_count(used, used)
            yield used
        finally:
            _set_count(before, mine)
    finally:  # a second time, because an interrupt in the `finally` above would leave the count of this block in place
        _set_count(before, mine)


def _set_count(of_numba, of_this_thread):
    numba.set_num_threads(of_numba)
    _LOCAL.n_threads = of_this_thread


def _n_tasks(n_rows, cost):
    """Return the number of tasks for so many rows and multiply-adds; it does not depend on the number of threads."""
    return max(N_TASKS, min(cost // TASK_COST, n_rows // TASK_ROWS, MOST_TASKS))


def split_rows(n_rows, cost_per_row, n_tasks=None):
    """Return a task table of equal numbers of rows, with a single task where the whole work is too small to share.

    Parameters
    ----------
    n_rows : int
    cost_per_row : int
        Multiply-adds for each row.
    n_tasks : int, default=None
        Largest number of tasks; None lets the size of the work decide.

    Returns
    -------
    ndarray (T + 1,) of int64
    """
    if n_rows * cost_per_row < SERIAL_BELOW:
        return np.array([0, n_rows], dtype=np.int64)
    n_tasks = n_tasks or _n_tasks(n_rows, n_rows * cost_per_row)
    return np.linspace(0, n_rows, min(n_tasks, max(n_rows, 1)) + 1).astype(np.int64)


def split_costs(indptr, width):
    """Return a task table of about equal costs; a row costs its number of non-zeros plus `ROW_COST`.

    Parameters
    ----------
    indptr : ndarray (p + 1,) of int64
    width : int
        Columns of the factor: multiply-adds for each non-zero.

    Returns
    -------
    ndarray (T + 1,) of int64
        A single task where the whole work is too small to share.
    """
    n_rows = len(indptr) - 1
    work = (int(indptr[-1]) + n_rows) * width
    if work < SERIAL_BELOW:
        return np.array([0, n_rows], dtype=np.int64)
    cost, n_tasks = indptr + ROW_COST * np.arange(n_rows + 1, dtype=np.int64), _n_tasks(n_rows, work)
    bounds = np.searchsorted(cost, np.linspace(0, cost[-1], n_tasks + 1)[1:-1])
    if n_rows >= 4 * ROWS_TOGETHER * n_tasks:
        bounds = bounds // ROWS_TOGETHER * ROWS_TOGETHER
    return np.concatenate([[0], bounds, [n_rows]]).astype(np.int64)


@contextmanager
def on_compile(callback):
    """Call ``callback(name)`` in the block whenever one of our kernels is compiled, not loaded from the disk cache."""

    class Listener(event.Listener):
        def on_start(self, happening):
            function = happening.data["dispatcher"].py_func
            if function.__module__.startswith(__package__):
                callback(function.__name__)

        def on_end(self, happening):
            pass

    with event.install_listener("numba:compile", Listener()):
        yield


def environment():
    """Return a dict of the settings of the kernels: `threading_layer`, `n_threads`, `cache_dir`, `jit` and `numba`."""
    n_threads = thread_count()  # first, so that Numba's threads start with `SPINS`
    try:
        with _LAUNCH: _start_threads()  # fmt: skip  # noqa: E701 (as in `Kernel.__call__`)
        layer = numba.threading_layer() if not config.DISABLE_JIT else "none"
    except ValueError:
        layer = "not started"
    return {
        "numba": numba.__version__,
        "jit": not config.DISABLE_JIT,
        "threading_layer": layer,
        "n_threads": n_threads,
        "cache_dir": config.CACHE_DIR or str(pathlib.Path(__file__).parent / "__pycache__"),
    }


def _start_threads():
    if not config.DISABLE_JIT:
        _probe(np.zeros(2, dtype=np.int64))


@numba.njit(parallel=True, cache=False)
def _probe(x):
    for i in numba.prange(len(x)):
        x[i] += 1
