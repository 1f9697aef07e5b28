"""Show where the time of an iteration goes: every kernel, what is between them, and what memory gives.

Usage::

    python bench/where_time_goes.py [--models stratified-mu,stratified-hals,nmf-cd] [--rank 20] [--iterations 40]

For each model and precision a table of the kernels of one iteration on 20 newsgroups (or on Zipf text where that is
not at hand): launches, the median of the milliseconds of all its launches in an iteration, the share, and for the two
that walk the non-zeros the rate at which they read rows of the other factor. "between kernels" is all the rest:
Python, NumPy on arrays of k x k, and waking the threads. The last line holds that rate against what this machine
gives a kernel that reads one array of the same size from end to end, which is the easiest thing to do with memory.
"""

import argparse
import statistics
import time
import warnings
from collections import defaultdict
from contextlib import contextmanager

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


def sequential(n_rows, width, dtype):
    """Return the bytes a second at which a kernel sums the rows of an array, from end to end."""
    F, tasks = np.ones((n_rows, width), dtype), jit.split_rows(n_rows, width)
    parts, spent = np.empty((len(tasks) - 1, width)), []
    for _ in range(30):
        began = time.perf_counter()
        rows_sum(tasks, F, parts)
        spent.append(time.perf_counter() - began)
    return F.nbytes / statistics.median(spent)


def main(argv=None):
    """Print a table for every model and precision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=40)
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    X, strata, _ = data.newsgroups() or data.zipf_text(20_000, 50_000, 1_000_000, 20)
    print(f"{describe()}\n\n{X.shape[0]:,} x {X.shape[1]:,}, {X.nnz:,} non-zeros, rank {options.rank}")
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
