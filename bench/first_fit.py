"""Time the first fit of an installation, which compiles kernels, and the first fit of a process, which loads them.

Usage::

    python bench/first_fit.py [--threads 2] [--cases news,tiny,kl] [--kernels]

Each case runs in processes of its own, with one thread of BLAS and an empty folder for compiled kernels at first.
``--kernels`` adds the seconds that each kernel took to compile. Without 20 newsgroups at hand, Zipf text stands for it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings

import data
import numpy as np
from machine import describe
from table import markdown

CASES = {
    "news": "StratifiedNMF(20), 20 newsgroups, float64",
    "kl": "NMF(20), Kullback-Leibler, 20 newsgroups, 20 iterations",
    "tiny": "StratifiedNMF(2), 6 x 5",
}


def fit_of(case, n_threads):
    """Return a function that fits."""
    from fastnmf import NMF, StratifiedNMF

    options = {"random_state": 0, "n_threads": n_threads}
    if case == "tiny":
        X = np.random.default_rng(0).random((6, 5))
        return lambda: StratifiedNMF(2, **options).fit(X, strata=[0, 0, 0, 1, 1, 1])
    X, strata, _ = data.newsgroups() or data.zipf_text(18_846, 51_840, 1_300_000, 20)
    if case == "news":
        return lambda: StratifiedNMF(20, **options).fit(X, strata=strata)
    return lambda: NMF(20, solver="mu", beta_loss="kullback-leibler", max_iter=20, **options).fit(X)


def seconds(function):
    """Return the seconds of processor time and of the clock that a call takes."""
    began = time.process_time(), time.perf_counter()
    function()
    return time.process_time() - began[0], time.perf_counter() - began[1]


def in_this_process(case, n_threads):
    """Return the seconds of the first fit, those of the next one, and the seconds of each compiled kernel."""
    from numba.core import event

    stack, kernels = [], {}

    class Compiled(event.Listener):
        def on_start(self, happening):
            stack.append(time.process_time())

        def on_end(self, happening):
            took, function = time.process_time() - stack.pop(), happening.data["dispatcher"].py_func
            if not stack:  # what is compiled for a kernel counts as a part of it
                name = function.__name__.rpartition("_")[0]
                kernels.setdefault(name, []).append(took)

    warnings.simplefilter("ignore")
    fit = fit_of(case, n_threads)
    with event.install_listener("numba:compile", Compiled()):
        first = seconds(fit)
    return {"first": first, "later": seconds(fit), "kernels": kernels}


def in_a_process(case, n_threads, folder):
    """Return what `in_this_process` returns, from a process whose compiled kernels are in a folder."""
    own = {"NUMBA_CACHE_DIR": folder, "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--threads", str(n_threads), "--one", case]
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main(argv=None):
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--kernels", action="store_true")
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        print(json.dumps(in_this_process(options.one, options.threads)))
        return
    rows, kernels = [], []
    for case in options.cases.split(","):
        with tempfile.TemporaryDirectory() as folder:
            cold, warm = (in_a_process(case, options.threads, folder) for _ in range(2))
        found = cold["first"], warm["first"], warm["later"]
        rows.append([CASES[case], *(f"{of_cores:.2f} ({clock:.2f})" for of_cores, clock in found)])
        kernels += [[case, name, *(f"{each:.2f}" for each in took)] for name, took in cold["kernels"].items()]
    print(f"{describe()}\n\nSeconds of processor time (of the clock), {options.threads} threads:\n")
    print(markdown(["", "nothing compiled", "first of a process", "later"], rows))
    if options.kernels:
        width = max(map(len, kernels))
        header = ["", "kernel", *(f"types {i + 1}" for i in range(width - 2))]
        print("\n" + markdown(header, [row + [""] * (width - len(row)) for row in kernels]))


if __name__ == "__main__":
    main()
