"""Time an iteration where the cores are not ours alone: beside a program that computes, and beside fits of our own.

Usage::

    python bench/side_by_side.py [--rounds 5] [--seconds 2]

Fits 20 newsgroups (Zipf text where that is not at hand) by multiplicative updates, float32, rank 20. Every fit is a
process of its own; all that stand side by side begin at the same moment, and the milliseconds are the median over the
iterations of all of them, then over the rounds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings

import data
import numpy as np
from machine import describe
from table import markdown

from fastnmf import StratifiedNMF

BUSY = "import time\nend = time.time() + {}\nwhile time.time() < end: sum(range(10_000))"
CASES = {"alone": (1, 0), "beside one busy core": (1, 1), "two fits": (2, 0), "four fits": (4, 0)}


def fit(n_threads, seconds):
    """Fit for some seconds after each line of standard input, and print the median milliseconds of an iteration."""
    warnings.simplefilter("ignore")
    X, strata, _ = data.newsgroups() or data.zipf_text(20_000, 50_000, 1_000_000, 20)
    model = StratifiedNMF(20, solver="mu", init="random", random_state=0, tol=0, n_threads=n_threads)
    X = X.astype(np.float32)
    model.set_params(max_iter=3).fit(X, strata=strata)
    print("ready", flush=True)
    for _ in sys.stdin:
        model.set_params(max_iter=100_000, max_time=seconds).fit(X, strata=strata)
        print(json.dumps(float(np.median(np.diff(model.history_["seconds"])) * 1e3)), flush=True)


def side_by_side(n_fits, n_busy, n_threads, seconds, rounds):
    """Return the milliseconds of an iteration in every round."""
    command = [sys.executable, __file__, "--fit", str(n_threads), "--seconds", str(seconds)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    fits, found = [subprocess.Popen(command, **pipes) for _ in range(n_fits)], []
    for process in fits:
        process.stdout.readline()
    for _ in range(rounds):
        busy = [subprocess.Popen([sys.executable, "-c", BUSY.format(seconds + 1)]) for _ in range(n_busy)]
        time.sleep(0.3)
        for process in fits:
            print(file=process.stdin, flush=True)
        found.append(statistics.median(json.loads(process.stdout.readline()) for process in fits))
        for process in busy:
            process.wait()
    for process in fits:
        process.stdin.close()
        process.wait()
    return found


def main(argv=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--fit", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.fit:
        fit(options.fit, options.seconds)
        return
    rows = []
    for name, (n_fits, n_busy) in CASES.items():
        for n_threads in (1, 2):
            found = side_by_side(n_fits, n_busy, n_threads, options.seconds, options.rounds)
            spread = f"{statistics.median(found):.1f} ({min(found):.1f}-{max(found):.1f})"
            rows.append([name, str(n_threads), spread])
    print(f"{describe()}\n\n{markdown(['', 'threads a fit', 'ms an iteration'], rows)}")


if __name__ == "__main__":
    main()
