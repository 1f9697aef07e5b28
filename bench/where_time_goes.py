"""Show where the time of an iteration goes: every kernel, what is between them, and what memory gives.

Usage::

    python bench/where_time_goes.py [--models stratified-mu,stratified-hals,nmf-cd] [--rank 20] [--iterations 40]
    python bench/where_time_goes.py --fixed [--rank 20] [--iterations 4] [--repetitions 9] [--n-threads 1]

For each model and precision a table of the kernels of one iteration on 20 newsgroups (or on Zipf text where that is
not at hand): launches, the median of the milliseconds of all its launches in an iteration, the share, and for the two
that walk the non-zeros the rate at which they read rows of the other factor. "between kernels" is all the rest:
Python, NumPy on arrays of k x k, and waking the threads. The last line holds that rate against what this machine
gives a kernel that reads one array of the same size from end to end, which is the easiest thing to do with memory.

With ``--fixed`` a table of whole fits from the default start instead: the median of the milliseconds of each of their
parts, without those of the parts inside it. The transposition is what the fit waits for it: on more than one thread it
runs beside the start. With one thread the times are those of the processor, which other programs hardly disturb.
"""

import argparse
import contextlib
import importlib
import statistics
import time
import warnings
from collections import defaultdict
from contextlib import contextmanager
from functools import cached_property
from unittest import mock

import data
import numpy as np
from machine import describe
from table import markdown

from fastnmf import NMF, StratifiedNMF
from fastnmf.kernels import jit
from fastnmf.kernels.rows import rows_sum

MODELS = {
    "stratified-mu": (StratifiedNMF, {"solver": "mu", "init": "random"}),
    "stratified-hals": (StratifiedNMF, {"init": "random"}),
    "nmf-cd": (NMF, {"init": "random"}),
}
WALKS = ("rows_mu", "rows_hals")  # put ``X H`` or ``Xᵀ W`` together as they move a factor
FIXED = {"NMF, cd": NMF, "StratifiedNMF, hals": StratifiedNMF}
LEVEL, HAND_OVER, REST = "level: ", "hand-over", "the rest"
PARTS = {  # what is timed -> its part, the checks and labels first; within `level_start` its name begins with LEVEL
    "fastnmf.models.base.estimator.Estimator._validated": "check and read data",
    "fastnmf.models.base.nmf.BaseNMF._weighed": "check and read data",
    "fastnmf.models.base.nmf.BaseNMF._data": "check and read data",
    "fastnmf.data.strata.encode_labels": "labels",
    "fastnmf.models.base.auto_start.draw_rows": "drawing",
    "fastnmf.models.base.auto_start.cut": "coarse data",
    "fastnmf.data.strata.Strata.take": "coarse data",
    "fastnmf.data.strata.Strata.part": "coarse data",
    "fastnmf.models.base.nmf.BaseNMF._start": "start",
    "fastnmf.data.strata.Strata.columns": "transposition",
    "fastnmf.data.strata.Strata.pattern": "pattern",
    "fastnmf.models.base.nmf.BaseNMF._alternate": "factors and problem",
    "fastnmf.models.base.auto_start.iterate": "iterations",
    "fastnmf.core.restarts.iterate": "iterations",
    "fastnmf.models.base.auto_start.level_start": HAND_OVER,
    "fastnmf.models.base.nmf.BaseNMF._final_exact_W": "last exact W",
    "fastnmf.models.base.nmf.BaseNMF._set_factors": "outputs",
    "fastnmf.models.base.estimator.Estimator._record": "outputs",
}


@contextmanager
def observed(launches):
    """Append (kernel and size, seconds) of every launch to a list while the block runs."""
    launch = jit.Kernel.__call__

    def timed(kernel, tasks, *arrays):
        began = time.perf_counter()
        launch(kernel, tasks, *arrays)
        launches.append((label(kernel, tasks, arrays), time.perf_counter() - began))

    jit.Kernel.__call__ = timed
    try:
        yield
    finally:
        jit.Kernel.__call__ = launch


def label(kernel, tasks, arrays):
    """Return the name of a kernel with the number of rows that it goes over."""
    return f"{kernel.__name__}, {int(tasks[-1]):,} rows"


def profile(model, X, strata, iterations):
    """Return the median seconds of an iteration, and by kernel the (launches, median seconds) in one."""
    launches, marks, seconds = [], [], []

    def note(_):
        marks.append(len(launches))
        seconds.append(time.perf_counter())

    labels = {"strata": strata} if isinstance(model, StratifiedNMF) else {}
    model.set_params(max_iter=3).fit(X, **labels)
    with observed(launches):
        model.set_params(max_iter=iterations, callback=note).fit(X, **labels)
    sums = defaultdict(list)
    for i in range(2, len(marks)):  # the first iteration prepares arrays
        of_one = defaultdict(list)
        for name, spent in launches[marks[i - 1] : marks[i]]:
            of_one[name].append(spent)
        for name, spent in of_one.items():
            sums[name].append((len(spent), sum(spent)))
    kernels = {
        name: (statistics.median(n for n, _ in found), statistics.median(spent for _, spent in found))
        for name, found in sums.items()
        if len(found) > len(marks) // 2
    }
    return statistics.median(np.diff(seconds)[1:]), kernels


@contextmanager
def parted(seconds, clock):
    """Add the seconds of the calls of `PARTS`, each without those inside it, to a dict while the block runs."""
    inside, spent_inside = [], [0.0]  # the parts that a call is in; what the calls inside each of them have taken

    def timed(function, part):
        def wrapper(*args, **kwargs):
            name = LEVEL + part if HAND_OVER in (part, *inside) else part
            inside.append(part)
            spent_inside.append(0.0)
            began = clock()
            try:
                return function(*args, **kwargs)
            finally:
                spent = clock() - began
                inside.pop()
                seconds[name] += spent - spent_inside.pop()
                spent_inside[-1] += spent

        return wrapper

    with contextlib.ExitStack() as stack:
        for path, part in PARTS.items():
            owner, name = _found(path)
            function = vars(owner)[name]
            if isinstance(function, cached_property):
                stack.enter_context(mock.patch.object(function, "func", timed(function.func, part)))
            else:
                stack.enter_context(mock.patch.object(owner, name, timed(function, part)))
        yield


def _found(path):
    """Return the module or the class that holds what a dotted path names, and its name there."""
    *module, owner, name = path.split(".")
    if owner[0].isupper():
        return getattr(importlib.import_module(".".join(module)), owner), name
    return importlib.import_module(".".join([*module, owner])), name


def parts_of(model, X, labels, repetitions):
    """Return the median seconds of a whole fit, and of each of its parts: of the processor, for a single thread."""
    clock = time.thread_time if model.n_threads == 1 else time.perf_counter
    model.fit(X, **labels)
    found, wholes = [], []
    for _ in range(repetitions):
        seconds = defaultdict(float)
        with parted(seconds, clock):
            began = clock()
            model.fit(X, **labels)
            wholes.append(clock() - began)
        found.append(seconds | {REST: wholes[-1] - sum(seconds.values())})
    names = set().union(*found)
    return statistics.median(wholes), {n: statistics.median(seconds.get(n, 0.0) for seconds in found) for n in names}


def sequential(n_rows, width, dtype):
    """Return the bytes a second at which a kernel sums the rows of an array, from end to end."""
    F, tasks = np.ones((n_rows, width), dtype), jit.split_rows(n_rows, width)
    parts, spent = np.empty((len(tasks) - 1, width)), []
    for _ in range(30):
        began = time.perf_counter()
        rows_sum(tasks, F, parts)
        spent.append(time.perf_counter() - began)
    return F.nbytes / statistics.median(spent)


def print_fixed(X, strata, options):
    """Print the table of the parts of whole fits."""
    columns, found = [], []
    for name, make in FIXED.items():
        for dtype in ("float64", "float32"):
            parameters = {"random_state": 0, "tol": 0, "max_iter": options.iterations, "n_threads": options.n_threads}
            model = make(options.rank, **parameters)
            labels = {"strata": strata} if make is StratifiedNMF else {}
            found.append(parts_of(model, X.astype(dtype), labels, options.repetitions))
            columns.append(f"{name}, {dtype}")
    order = list(dict.fromkeys(PARTS.values()))
    order = [*order[:2], *(LEVEL + part for part in order), *order[2:], REST]
    names = [name for name in order if any(name in parts for _, parts in found)]
    rows = [[name, *(f"{parts[name] * 1e3:.1f}" if name in parts else "" for _, parts in found)] for name in names]
    rows.append(["a whole fit", *(f"{whole * 1e3:.1f}" for whole, _ in found)])
    print(f"\n{options.iterations} iterations, ms, medians of {options.repetitions}\n")
    print(markdown(["", *columns], rows))


def main(argv=None):
    """Print a table for every model and precision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--iterations", type=int, help="default: 40, with --fixed 4")
    parser.add_argument("--fixed", action="store_true", help="the parts of whole fits")
    parser.add_argument("--repetitions", type=int, default=9, help="of whole fits")
    parser.add_argument("--n-threads", type=int, help="of whole fits; 1: seconds of the processor")
    options = parser.parse_args(argv)
    options.iterations = options.iterations or (4 if options.fixed else 40)
    warnings.simplefilter("ignore")
    X, strata, _ = data.newsgroups() or data.zipf_text(20_000, 50_000, 1_000_000, 20)
    print(f"{describe()}\n\n{X.shape[0]:,} x {X.shape[1]:,}, {X.nnz:,} non-zeros, rank {options.rank}")
    if options.fixed:
        print_fixed(X, strata, options)
        return
    for name in options.models.split(","):
        make, parameters = MODELS[name]
        for dtype in ("float64", "float32"):
            model = make(options.rank, random_state=0, tol=0, **parameters)
            whole, kernels = profile(model, X.astype(dtype), strata, options.iterations)
            read = X.nnz * options.rank * np.dtype(dtype).itemsize
            rows = []
            for kernel, (count, spent) in sorted(kernels.items(), key=lambda item: -item[1][1]):
                rate = f"{read / spent / 1e9:.0f}" if kernel.startswith(WALKS) else ""
                rows.append([kernel, f"{count:g}", f"{spent * 1e3:.2f}", f"{spent / whole:.0%}", rate])
            rest = whole - sum(spent for _, spent in kernels.values())
            rows.append(["between kernels", "", f"{rest * 1e3:.2f}", f"{rest / whole:.0%}", ""])
            rows.append(["an iteration", "", f"{whole * 1e3:.2f}", "100%", ""])
            given = sequential(X.shape[1], options.rank, dtype) / 1e9
            rows.append(["(one array, end to end)", "", "", "", f"{given:.0f}"])
            print(f"\n### {name}, {dtype}\n\n{markdown(['', 'launches', 'ms', 'share', 'GB/s read'], rows)}")


if __name__ == "__main__":
    main()
