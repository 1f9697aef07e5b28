"""Compile kernels: two twins of each, one set of floating-point rights, task tables, and the thread guard.

A kernel is a plain function whose first argument is a *task table*: an int64 array of T + 1 row boundaries. It walks
``for t in prange(len(tasks) - 1)`` and each task writes rows, or partial sums, of its own. Tables depend on the data
alone, never on the number of threads, so the results are the same bits for any number of threads.
"""

import hashlib
import os
import pathlib
import threading
from contextlib import contextmanager
from types import FunctionType

import numba
import numpy as np
from numba.core import config, event

from fastnmf.blas import single_threaded_blas

# Everything of "fast" except the rights to assume that NaN and infinity never occur: those delete our checks.
FASTMATH = {"nsz", "arcp", "contract", "afn", "reassoc"}
N_TASKS = 32
ROW_COST = 8  # non-zeros that cost as much as what is done once a row
ROWS_TOGETHER = 64  # of a task: row kernels that move rows side by side like their number whole
# Below this many multiply-adds a launch costs more than it gains (4 us idle, milliseconds on a loaded machine).
SERIAL_BELOW = 200_000

_SHARED = [pathlib.Path(__file__).with_name(name) for name in ("jit.py", "emit.py", "simd.py")]
_HASH = hashlib.sha256(b"".join(path.read_bytes() for path in _SHARED)).hexdigest()[:8]
_LAUNCH = threading.Lock()
_LOCAL = threading.local()
_IS_FORKED = False


def _after_fork():
    global _IS_FORKED, _LAUNCH
    _IS_FORKED, _LAUNCH = True, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _twin(function, suffix):
    """Copy `function` under another name: Numba's disk cache knows kernels by name and ignores ``parallel=``.

    The name also carries a hash of this file, `emit.py` and `simd.py`: the cache does not notice their changes.
    """
    name = f"{function.__name__}_{suffix}_{_HASH}"
    twin = FunctionType(function.__code__.replace(co_name=name, co_qualname=name), function.__globals__, name)
    twin.__qualname__, twin.__module__, twin.__doc__ = name, function.__module__, function.__doc__
    return twin


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


class Kernel:
    """The parallel and the serial twin of one function; a call takes the one that is safe and pays.

    The serial twin runs when the task table has a single task, when one thread is asked for, in a forked child (GNU
    OpenMP would end it), and while another Python thread is inside a parallel kernel: the workqueue layer aborts the
    process when two threads launch at once, and the others would only compete for the same cores.
    """

    def __init__(self, function):
        self.__name__, self.__doc__, self.__wrapped__ = function.__name__, function.__doc__, function
        self.parallel = _compile(_twin(function, "parallel"), parallel=True)
        self.serial = _compile(_twin(function, "serial"))

    def __call__(self, tasks, *args):
        if len(tasks) <= 2 or _IS_FORKED or thread_count() == 1 or not _LAUNCH.acquire(blocking=False):
            self.serial(tasks, *args)
            return
        try:
            self.parallel(tasks, *args)
        finally:
            _LAUNCH.release()


def kernel(function):
    """Turn a function of a task table and arrays into a `Kernel` (or leave it plain under NUMBA_DISABLE_JIT)."""
    return function if config.DISABLE_JIT else Kernel(function)


def thread_count():
    """Return the number of threads that kernels called from this Python thread use."""
    if _IS_FORKED:
        return 1
    return getattr(_LOCAL, "n_threads", None) or numba.get_num_threads()


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
    before, mine = numba.get_num_threads(), getattr(_LOCAL, "n_threads", None)
    used = before if n_threads is None else min(n_threads, config.NUMBA_NUM_THREADS)
    numba.set_num_threads(used)
    _LOCAL.n_threads = used
    try:
        yield used
    finally:
        _LOCAL.n_threads = mine
        numba.set_num_threads(before)


def split_rows(n_rows, cost_per_row, n_tasks=N_TASKS):
    """Return a task table of equal rows, or of a single task where the whole work is too small to share."""
    if n_rows * cost_per_row < SERIAL_BELOW:
        return np.array([0, n_rows], dtype=np.int64)
    return np.linspace(0, n_rows, min(n_tasks, max(n_rows, 1)) + 1).astype(np.int64)


def split_costs(indptr, width, n_tasks=N_TASKS):
    """Return a task table of rows whose costs (non-zeros times `width`, and a little for each row) are about equal."""
    n_rows = len(indptr) - 1
    if (int(indptr[-1]) + n_rows) * width < SERIAL_BELOW:
        return np.array([0, n_rows], dtype=np.int64)
    cost = indptr + ROW_COST * np.arange(n_rows + 1, dtype=np.int64)
    bounds = np.searchsorted(cost, np.linspace(0, cost[-1], n_tasks + 1)[1:-1])
    if n_rows >= 4 * ROWS_TOGETHER * n_tasks:
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
    _LAUNCH.acquire()
    try:
        _probe(np.zeros(2, dtype=np.int64)) if not config.DISABLE_JIT else None
        layer = numba.threading_layer() if not config.DISABLE_JIT else "none"
    except ValueError:
        layer = "not started"
    finally:
        _LAUNCH.release()
    return {
        "numba": numba.__version__,
        "jit": not config.DISABLE_JIT,
        "threading_layer": layer,
        "n_threads": thread_count(),
        "cache_dir": config.CACHE_DIR or str(pathlib.Path(__file__).parent / "__pycache__"),
    }


@numba.njit(parallel=True, cache=False)
def _probe(x):
    for i in numba.prange(len(x)):
        x[i] += 1
