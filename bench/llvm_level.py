"""Compare LLVM's levels of optimisation: what compiling costs at each, and how fast the code is.

Usage::

    python bench/llvm_level.py [--levels 1,2,3] [--cases news,kl,small] [--rounds 3]

Numba takes the level from NUMBA_OPT; 3 is its default. In each of the ``--rounds``, processes of all levels take turns.
Each compiles all kernels of a case, and then times iterations on one thread. Figures are medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import data
import numpy as np
from first_fit import seconds
from machine import describe
from table import markdown

CASES = {
    "news": "StratifiedNMF(20), 20 newsgroups, float64",
    "kl": "NMF(20), Kullback-Leibler, 20 newsgroups, float64",
    "small": "NMF(8), dense 100 x 40, float64",
}
ITERATIONS = {"news": (5, 15), "kl": (5, 15), "small": (500, 2500)}  # of a short fit and of a long one
N_PAIRS = 5


def fit_of(case):
    """Return a function of a number of iterations, which fits."""
    from fastnmf import NMF, StratifiedNMF

    options = {"random_state": 0, "n_threads": 1, "tol": 0}
    if case == "small":
        X = np.random.default_rng(0).random((100, 40))
        return lambda n: NMF(8, max_iter=n, **options).fit(X)
    X, strata, _ = data.newsgroups() or data.zipf_text(18_846, 51_840, 1_300_000, 20)
    if case == "news":
        return lambda n: StratifiedNMF(20, max_iter=n, **options).fit(X, strata=strata)
    return lambda n: NMF(20, max_iter=n, solver="mu", beta_loss="kullback-leibler", **options).fit(X)


def in_this_process(case):
    """Return the processor seconds of the first fit, and the median milliseconds of an iteration."""
    warnings.simplefilter("ignore")
    fit, (few, many) = fit_of(case), ITERATIONS[case]
    first, took = seconds(lambda: fit(few))[0], []
    for _ in range(N_PAIRS):
        began = time.perf_counter()
        fit(few)
        middle = time.perf_counter()
        fit(many)
        took.append((time.perf_counter() - middle) - (middle - began))
    return {"first": first, "iteration": 1e3 * statistics.median(took) / (many - few)}


def in_a_process(case, level):
    """Return what `in_this_process` returns, from a process that compiles all kernels at a level."""
    own = {"NUMBA_OPT": level, "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | own | {"NUMBA_CACHE_DIR": folder}
        command = [sys.executable, __file__, "--one", case]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main(argv=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", default="1,2,3")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        print(json.dumps(in_this_process(options.one)))
        return
    levels, rows = options.levels.split(","), []
    for case in options.cases.split(","):
        found = {level: [] for level in levels}
        for _ in range(options.rounds):
            for level in levels:
                found[level].append(in_a_process(case, level))
        for level in levels:
            first, iteration = (
                statistics.median(each[part] for each in found[level]) for part in ("first", "iteration")
            )
            rows.append([CASES[case], level, f"{first:.2f}", f"{iteration:.3g}"])
    print(f"{describe()}\n")
    print(markdown(["", "level", "first fit, s of processor time", "iteration, ms"], rows))


if __name__ == "__main__":
    main()
