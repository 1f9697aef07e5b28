"""Compile kernels: serial and in parallel, one set of floating-point rights, task tables, and the thread guard.

A kernel is a plain function whose first argument is a *task table*: an int64 array of T + 1 row boundaries. It walks
``for t, begin, until in claimed(tasks)`` and each task writes rows, or partial sums, of its own. Tables depend on the
data alone, never on the number of threads, so the results are the same bits for any number of threads.

In parallel every thread runs the whole function, and each task goes to the thread that claims it first. A fixed share
for each (what ``prange`` over the tasks gives) waits for the slowest core: beside a program that kept one of two cores
busy an iteration took 22 ms instead of 16 (`bench/side_by_side.py`). On idle cores both take the same time.
"""

import hashlib
import os
import pathlib
import threading
from contextlib import contextmanager
from types import FunctionType

import llvmlite.ir as ir
import numba
import numpy as np
from numba._dispatcher import compute_fingerprint
from numba.core import cgutils, config, event, types
from numba.extending import intrinsic

from fastnmf.blas import single_threaded_blas

# Everything of "fast" except the rights to assume that NaN and infinity never occur: those delete our checks.
FASTMATH = {"nsz", "arcp", "contract", "afn", "reassoc"}
N_TASKS = 32
TICKET_STEP = 8  # numbers between the tickets of two threads, which then do not share a cache line
ROW_COST = 8  # non-zeros that cost as much as what is done once a row
ROWS_TOGETHER = 64  # of a task: row kernels that move rows side by side like their number whole
# Below this many multiply-adds a launch costs more than it gains (4 us idle, milliseconds on a loaded machine).
SERIAL_BELOW = 200_000
# Turns that a thread of GNU OpenMP waits for the next launch before it lets go of its core: about half a millisecond.
# Left to itself it waits many milliseconds (GOMP_SPINCOUNT=300000); then two fits side by side on two cores took up to
# 72 ms an iteration instead of 16 (`bench/side_by_side.py`). With far less, every launch wakes its threads: 5 %.
SPINS = 10_000

_SHARED = [pathlib.Path(__file__).with_name(name) for name in ("jit.py", "emit.py", "simd.py", "lanes.py")]
_HASH = hashlib.sha256(b"".join(path.read_bytes() for path in _SHARED)).hexdigest()[:8]
_LAUNCH = threading.Lock()
_LOCAL = threading.local()
_IS_FORKED = _IS_STARTED = False


def _after_fork():
    global _IS_FORKED, _LAUNCH
    _IS_FORKED, _LAUNCH = True, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _named(function, suffix):
    """Copy `function` under another name: Numba's disk cache knows kernels by name and ignores ``parallel=``.

    The name also carries a hash of this file and the three of vector loops: the cache does not notice their changes.
    """
    name = f"{function.__name__}_{suffix}_{_HASH}"
    copy = FunctionType(function.__code__.replace(co_name=name, co_qualname=name), function.__globals__, name)
    copy.__qualname__, copy.__module__, copy.__doc__ = name, function.__module__, function.__doc__
    return copy


def _crew(function, arguments):
    """Return a function that runs the compiled serial kernel at an address in every thread.

    Both twins run the same machine code: a kernel that is compiled a second time, inside a parallel loop, may round
    otherwise, for LLVM then chooses another order for some sums (seen in `rows_hals` and four others).

    A parallel loop of Numba takes no tuples of arrays: the arrays come one by one, and are put together inside it.
    `arguments` are an example of those after the task table: flat but for tuples of flat ones.
    """
    names = [[f"a{i}_{j}" for j in range(len(a))] if isinstance(a, tuple) else f"a{i}" for i, a in enumerate(arguments)]
    flat = ", ".join(", ".join(name) if isinstance(name, list) else name for name in names)
    whole = ", ".join(f"({', '.join(name)},)" if isinstance(name, list) else name for name in names)
    source = (
        f"def {function.__name__}(address, tasks, tickets, {flat}):\n"
        f"    for thread in prange(len(tickets) // {TICKET_STEP}):\n"
        f"        call(address, ((tasks, tickets, thread), {whole}))\n"
    )
    space = {"prange": numba.prange, "call": _call, "__name__": function.__module__}
    exec(compile(source, function.__code__.co_filename, "exec"), space)
    return space[function.__name__]


def _compile(function, **options):
    options.update(fastmath=FASTMATH, nogil=True, error_model="numpy")
    wants_cache = os.environ.get("FASTNMF_NUMBA_CACHE", "1") != "0"
    try:
        return numba.njit(cache=wants_cache, **options)(function)
    except RuntimeError:  # "no locator available": nowhere to write the cache, so compile in every process
        return numba.njit(cache=False, **options)(function)


def helper(function):
    """Compile a function that kernels of the same file call; it is cached as a part of them."""
    return numba.njit(fastmath=FASTMATH, nogil=True, error_model="numpy")(function)


@intrinsic
def _take(typingctx, tickets, place):
    """Return tickets[place] and make it one more, in one step that no other thread can come between."""

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        slot = builder.gep(array.data, [args[1]])
        return builder.atomic_rmw("add", slot, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(tickets, types.int64), codegen


@intrinsic
def _call(typingctx, address, arguments):
    """Call the compiled kernel at an address with a tuple of arguments, of the types it was compiled for."""

    def codegen(context, builder, signature, values):
        kinds = signature.args[1].types
        convention = context.call_conv
        pointer = builder.inttoptr(values[0], convention.get_function_type(types.none, kinds).as_pointer())
        parts = cgutils.unpack_tuple(builder, values[1], len(kinds))
        status, _ = convention.call_function(builder, pointer, types.none, kinds, parts)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.none(address, arguments), codegen


def _claimed_plain(tasks):
    for t in range(len(tasks) - 1):
        yield t, tasks[t], tasks[t + 1]


@numba.njit(nogil=True, error_model="numpy")
def _claimed(tasks):
    bounds, tickets, me = tasks
    n_threads, n_tasks = len(tickets) // TICKET_STEP, len(bounds) - 1
    for turn in range(n_threads):
        owner = (me + turn) % n_threads
        begin, until = owner * n_tasks // n_threads, (owner + 1) * n_tasks // n_threads
        t = begin + _take(tickets, owner * TICKET_STEP)
        while t < until:
            yield t, bounds[t], bounds[t + 1]
            t = begin + _take(tickets, owner * TICKET_STEP)


# The tasks that nobody else has taken, one after the other: their number, and their first row and the one behind. A
# thread begins with its own run of tasks, the same in every kernel, whose rows are then in its cache, and goes on with
# what is left of the others' (first come, first served for all tasks cost 4 to 7 % on idle cores).
claimed = _claimed_plain if config.DISABLE_JIT else _claimed


class Kernel:
    """A function of a task table and arrays, compiled; a call runs it in all threads, or in this one where that pays.

    It runs in one when the task table has a single task, when one thread is asked for, in a forked child (GNU
    OpenMP would end it), and while another Python thread is inside a parallel kernel: the workqueue layer aborts the
    process when two threads launch at once, and the others would only compete for the same cores.
    """

    def __init__(self, function):
        self.__name__, self.__doc__, self.__wrapped__ = function.__name__, function.__doc__, function
        self.serial = _compile(_named(function, "serial"))
        self.parallel = None  # compiled by the first call that needs it
        self._addresses = {}  # of the serial kernel, by the types of the arguments

    def __call__(self, tasks, *args):
        n_threads = min(thread_count(), len(tasks) - 1)
        if n_threads <= 1 or _IS_FORKED or _LAUNCH.locked():
            self.serial(
                (tasks, np.zeros(TICKET_STEP, np.int64), 0), *(tuple(a) if isinstance(a, tuple) else a for a in args)
            )
            return
        # `with` takes and releases a lock without a moment at which Ctrl-C could leave it taken; `acquire` before `try`
        # does not. Who loses the race after `locked` waits for one kernel.
        with _LAUNCH:
            if self.parallel is None:
                self.parallel = _compile(_named(_crew(self.__wrapped__, args), "parallel"), parallel=True)
            tickets, flat = np.zeros(n_threads * TICKET_STEP, np.int64), []
            for a in args:
                flat.extend(a) if isinstance(a, tuple) else flat.append(a)
            self.parallel(self._address(tasks, tickets, args), tasks, tickets, *flat)

    def _address(self, tasks, tickets, args):
        """Return the address of the serial kernel for arguments of these types; it is compiled where it is not yet."""
        args = tuple(tuple(a) if isinstance(a, tuple) else a for a in args)
        key = compute_fingerprint((tasks, args))
        address = self._addresses.get(key)
        if address is None:
            kinds = tuple(numba.typeof(value) for value in ((tasks, tickets, 0), *args))
            self.serial.compile(kinds)
            compiled = self.serial.overloads[kinds]
            address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
            self._addresses[key] = np.uint64(address)
        return self._addresses[key]


def kernel(function):
    """Turn a function of a task table and arrays into a `Kernel` (or leave it plain under NUMBA_DISABLE_JIT)."""
    return function if config.DISABLE_JIT else Kernel(function)


def thread_count():
    """Return the number of threads that kernels called from this Python thread use."""
    if _IS_FORKED:
        return 1
    return getattr(_LOCAL, "n_threads", None) or _numba_count()


def _numba_count():
    """Return Numba's own number of threads, which starts them where they are not; see `SPINS`."""
    global _IS_STARTED
    is_ours = not _IS_STARTED and not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
    try:
        if is_ours:
            os.environ["GOMP_SPINCOUNT"] = str(SPINS)  # read when the library is loaded, and by nobody afterwards
        return numba.get_num_threads()
    finally:
        _IS_STARTED = True
        if is_ours:
            os.environ.pop("GOMP_SPINCOUNT", None)


@contextmanager
def threads(n_threads=None):
    """Use `n_threads` in kernels inside the block, None for Numba's own setting, and one in BLAS; restore both."""
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
    finally:  # again, lest an interrupt in the `finally` above leaves the count of this block behind
        _set_count(before, mine)


def _set_count(of_numba, of_this_thread):
    numba.set_num_threads(of_numba)
    _LOCAL.n_threads = of_this_thread


def split_rows(n_rows, cost_per_row, n_tasks=N_TASKS):
    """Return a task table of equal rows, or of a single task where the whole work is too small to share."""
    if n_rows * cost_per_row < SERIAL_BELOW:
        return np.array([0, n_rows], dtype=np.int64)
    return np.linspace(0, n_rows, min(n_tasks, max(n_rows, 1)) + 1).astype(np.int64)


def split_costs(indptr, width):
    """Return a task table of rows whose costs (non-zeros times `width`, and a little for each row) are about equal."""
    n_rows = len(indptr) - 1
    if (int(indptr[-1]) + n_rows) * width < SERIAL_BELOW:
        return np.array([0, n_rows], dtype=np.int64)
    cost = indptr + ROW_COST * np.arange(n_rows + 1, dtype=np.int64)
    bounds = np.searchsorted(cost, np.linspace(0, cost[-1], N_TASKS + 1)[1:-1])
    if n_rows >= 4 * ROWS_TOGETHER * N_TASKS:
        bounds = bounds // ROWS_TOGETHER * ROWS_TOGETHER
    return np.concatenate([[0], bounds, [n_rows]]).astype(np.int64)


@contextmanager
def on_compile(callback):
    """Call ``callback(name)`` whenever a kernel of ours is compiled, not loaded from the disk cache, in the block."""

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
    """Return what the kernels run on: ``threading_layer``, ``n_threads``, ``cache_dir``, ``jit`` and ``numba``."""
    n_threads = thread_count()  # before Numba starts its threads in its own way
    try:
        with _LAUNCH:
            _probe(np.zeros(2, dtype=np.int64)) if not config.DISABLE_JIT else None
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


@numba.njit(parallel=True, cache=False)
def _probe(x):
    for i in numba.prange(len(x)):
        x[i] += 1
