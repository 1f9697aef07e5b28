"""Time an iteration where the cores are not ours alone: beside a program that computes, and beside fits of our own.

Usage::

    python bench/side_by_side.py [--rounds 5] [--seconds 2] [--cases "alone,four fits"]

Fits 20 newsgroups (Zipf text where that is not at hand) by multiplicative updates, float32, rank 20. Every fit is a
process of its own; all that stand side by side begin at the same moment. The milliseconds are the mean over the
iterations of a fit, moments included in which kernels find out how many threads pay, then the median over fits and
rounds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from itertools import product

import data
import numpy as np
from interleave import ratios, spread
from machine import describe
from table import markdown

from fastnmf import StratifiedNMF

BUSY = "import time\nend = time.time() + {}\nwhile time.time() < end: sum(range(10_000))"
CASES = {"alone": (1, 0), "beside one busy core": (1, 1), "two fits": (2, 0), "four fits": (4, 0)}


def fit(n_threads, seconds):
    """Fit for some seconds after each line of standard input, and print the mean milliseconds of an iteration."""
    warnings.simplefilter("ignore")
    X, strata, _ = data.newsgroups() or data.zipf_text(20_000, 50_000, 1_000_000, 20)
    model = StratifiedNMF(20, solver="mu", init="random", random_state=0, tol=0, n_threads=n_threads)
    X = X.astype(np.float32)
    model.set_params(max_iter=3).fit(X, strata=strata)
    print("ready", flush=True)
    for _ in sys.stdin:
        model.set_params(max_iter=100_000, max_time=seconds).fit(X, strata=strata)
        print(json.dumps(float(np.diff(model.history_["seconds"]).mean() * 1e3)), flush=True)


def side_by_side(n_fits, n_busy, seconds, rounds):
    """Return the milliseconds of an iteration in every round, of fits with one thread and with two, by turns."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, __file__, "--seconds", str(seconds), "--fit"]
    fits = {n: [subprocess.Popen([*command, str(n)], **pipes) for _ in range(n_fits)] for n in (1, 2)}
    found = {n: [] for n in fits}
    for process in sum(fits.values(), []):
        process.stdout.readline()
    for _, (n_threads, together) in product(range(rounds), fits.items()):
        busy = [subprocess.Popen([sys.executable, "-c", BUSY.format(seconds + 1)]) for _ in range(n_busy)]
        time.sleep(0.3)
        for process in together:
            print(file=process.stdin, flush=True)
        found[n_threads].append(statistics.median(json.loads(process.stdout.readline()) for process in together))
        for process in busy:
            process.wait()
    for process in sum(fits.values(), []):
        process.stdin.close()
        process.wait()
    return found


def main(argv=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {','.join(CASES)}")
    parser.add_argument("--fit", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.fit:
        fit(options.fit, options.seconds)
        return
    rows = []
    for name in options.cases.split(","):
        n_fits, n_busy = CASES[name]
        one, two = side_by_side(n_fits, n_busy, options.seconds, options.rounds).values()
        rows.append([name, spread(one), spread(two), spread(ratios(two, one), 2)])
    print(f"{describe()}\n\n{markdown(['ms an iteration', '1 thread a fit', '2 threads a fit', '2 / 1'], rows)}")


if __name__ == "__main__":
    main()
