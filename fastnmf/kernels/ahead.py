"""Compile kernels before they are needed, in several processes, which meet in Numba's disk cache.

`usual.txt` lists the kernels of usual fits, one a line: its name and the types of its arguments. An array of float64
with two axes in C order is ``float64:2C``, a record is ``CSR(int64:1C,int32:1C,X:1C)``, and ``X`` stands for the type
of the data. A line in brackets begins a group. ``python tests/usual_kernels.py --write`` writes the list from the fits
of `fastnmf.warmup`. A kernel that is missing in it is compiled when it is first called.
"""

import contextlib
import importlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numba
import numpy as np
from numba.core import caching, config, types

from fastnmf.kernels import records
from fastnmf.kernels.jit import Kernel, compiled_for
from fastnmf.kernels.warn import warn

LIST = Path(__file__).with_name("usual.txt")
# What a process runs: it never imports the user's main module, as those of `multiprocessing` do, and finds the package
# where this process has found it.
_CODE = "import sys; sys.path[:] = {path!r}; from fastnmf.kernels.ahead import serve; serve()"


def usual_kernels(groups, dtypes):
    """Return the lines of `usual.txt` of some groups for data of some types, in their order, each once.

    Parameters
    ----------
    groups : sequence of str
    dtypes : sequence of {"float32", "float64"}

    Returns
    -------
    list of str
    """
    found, group = {}, None
    for line in LIST.read_text(encoding="ascii").splitlines():
        if line.startswith("["):
            group = line.strip("[]")
        elif group in groups:
            found |= dict.fromkeys(re.sub(r"\bX\b", dtype, line) for dtype in dtypes)
    return list(found)


def type_of(text):
    """Return the Numba type that a word of `usual.txt` stands for."""
    if "(" in text:
        name, _, fields = text.removesuffix(")").partition("(")
        return types.BaseTuple.from_types(tuple(map(type_of, fields.split(","))), getattr(records, name))
    dtype, _, form = text.partition(":")
    scalar = numba.from_dtype(np.dtype(dtype))
    return types.Array(scalar, int(form[0]), form[1], readonly=form.endswith("r")) if form else scalar


def _compiled(line):
    """Return Numba's function that a line names, and the types of its arguments; (function, None) where it has none."""
    name, *words = line.split()
    module, _, name = name.partition(".")
    function = getattr(importlib.import_module(f"fastnmf.kernels.{module}"), name)
    if not isinstance(function, Kernel):
        return function, None
    tasks, *others = map(type_of, words)
    of_threads = numba.typeof(np.empty(0, np.int64)), types.int64, types.int64
    return function.compiled, (types.Tuple((tasks, *of_threads)), *others)


def compile_line(line):
    """Compile what a line of `usual.txt` names, or load it from the disk cache."""
    function, kinds = _compiled(line)
    if kinds is None:
        function()
    else:
        compiled_for(function, kinds)


def is_cached(line):
    """Return whether the disk cache has what a line of `usual.txt` names; None where there is no disk cache for it."""
    function, kinds = _compiled(line)
    if kinds is None:
        return True  # as far as the others are there; it takes a fifth of a second
    cache = function._cache
    if isinstance(cache, caching.NullCache):
        return None
    with contextlib.suppress(Exception):  # a damaged index is as good as none, and `Kernel` tells of it
        return cache._index_key(kinds, function.targetctx.codegen()) in cache._cache_file._load_index()
    return False


class Compilers:
    """Processes that compile kernels while the block runs; `finish` helps them and waits for them.

    A list of lines is their queue: each process takes the next line when it is done with one. A process that fails
    leaves its lines to the others, and one warning tells of it. Leaving the block ends the processes, also by Ctrl-C.

    Parameters
    ----------
    lines : list of str
        From `usual_kernels`; what is in the disk cache is left out.
    jobs : int
        Number of processes that compile, this one included; with 1 none is started. -1: one for each core, -2: one
        less, and so on.

    Attributes
    ----------
    processes : list of subprocess.Popen
    """

    def __init__(self, lines, jobs):
        jobs = jobs if jobs > 0 else max(1, config.NUMBA_NUM_THREADS + 1 + jobs)
        lines = [] if config.DISABLE_JIT or jobs == 1 else lines
        found = {line: is_cached(line) for line in lines}
        missing = [] if all(found.values()) else [line for line in lines if not found[line] or " " not in line]
        self.processes, self._lines, self._failures, self._n_processes = [], queue.SimpleQueue(), [], 0
        for line in missing:
            self._lines.put(line)
        if None in found.values():
            warn(
                f"{jobs} processes cannot share the compiled kernels, because there is no disk cache that can be "
                "written: this process compiles all kernels; set NUMBA_CACHE_DIR to a folder that can be written.",
                RuntimeWarning,
            )
        elif sys.executable and len(missing) > 1:
            self._n_processes = min(jobs, len(missing)) - 1

    def __enter__(self):
        environment = os.environ | ({"NUMBA_CACHE_DIR": config.CACHE_DIR} if config.CACHE_DIR else {})
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        command = [sys.executable, "-c", _CODE.format(path=sys.path)]
        try:
            for _ in range(self._n_processes):
                self.processes.append(subprocess.Popen(command, env=environment, text=True, **options))
        except OSError as error:  # no more processes are allowed
            self._failures.append(str(error))
        self._threads = [threading.Thread(target=self._feed, args=(each,), daemon=True) for each in self.processes]
        for thread in self._threads:
            thread.start()
        return self

    def finish(self):
        """Compile what no process has taken, and wait for the processes."""
        self._compile_here()
        for thread in self._threads:
            thread.join()
        self._compile_here()  # what failed processes left
        if self._failures:
            warn(
                f"A process that compiles kernels failed ({self._failures[0]}); this process compiled its kernels. "
                "With jobs=1 no process is started.",
                RuntimeWarning,
            )

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
        for thread in self._threads:
            thread.join()
        for process in self.processes:
            process.wait()
            with contextlib.suppress(OSError):  # what was not written
                process.stdin.close()
            process.stdout.close()

    def _compile_here(self):
        with contextlib.suppress(queue.Empty):
            while True:
                compile_line(self._lines.get_nowait())

    def _feed(self, process):
        """Give a process one line after the other, until none is left or it fails."""
        with contextlib.suppress(queue.Empty):
            while True:
                line = self._lines.get_nowait()
                try:
                    process.stdin.write(line + "\n")
                    process.stdin.flush()
                    answer = json.loads(process.stdout.readline())
                except (OSError, ValueError):
                    answer = f"it ended with code {process.wait()}"
                if answer:
                    self._lines.put(line)
                    self._failures.append(answer)
                    return


def serve():
    """Compile the lines of standard input; after each, print nothing or an error, as JSON, on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the one that started this one ends it
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints
    for line in sys.stdin:
        try:
            compile_line(line)
            answer = ""
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), file=answers, flush=True)
