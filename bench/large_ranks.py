"""Time iterations at several ranks, in this checkout against another, by turns.

Usage::

    python bench/large_ranks.py --against FOLDER [--ranks 20,50,100,200,300] [--rounds 5] [--n-threads 1]

The data are 20 newsgroups (or Zipf text where that is not at hand). Each checkout runs in a process of its own that
waits while the other measures. The fits of both stand still between two iterations, of which each makes one a round,
after `BEFORE` others: factors are dense only where fits begin. The table has the medians of the rounds in milliseconds,
their range, and the ratio of the medians. With one thread the times are those of the processor, which other programs
hardly disturb.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from interleave import measure, spread
from machine import describe

HERE = Path(__file__).resolve().parent
BEFORE = 10
WORKER = f"""
import sys, time, warnings
import numpy as np
import fastnmf, data
warnings.simplefilter("ignore")
X, strata, _ = data.newsgroups() or data.zipf_text(20_000, 50_000, 1_000_000, 20)

def say(what):
    print(what, flush=True)
    sys.stdin.readline()

say("ready")
while True:
    kind, dtype, rank, n_threads, rounds = input().split()
    labels, n_threads = {{"strata": strata}} if kind == "StratifiedNMF" else {{}}, int(n_threads) or None
    clock, marks = time.thread_time if n_threads == 1 else time.perf_counter, []

    def note(_):  # after the start, and after each iteration
        marks.append(clock())
        if len(marks) > {BEFORE}:
            say(marks[-1] - marks[-2])
            marks[-1] = clock()

    options = {{"random_state": 0, "tol": 0, "n_threads": n_threads, "callback": note}}
    model = getattr(fastnmf, kind)(int(rank), max_iter={BEFORE} + int(rounds), **options)
    model.fit(X.astype(dtype), **labels)
    say("done")
"""


class Checkout:
    """A process that fits with the package in a folder, one step of the fit after another.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(HERE)])}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, "-c", WORKER], cwd=folder, env=environment, text=True, **pipes)
        self.answer()

    def answer(self):
        """Return what the process says next."""
        found = self.process.stdout.readline().strip()
        if not found:
            raise SystemExit("A checkout could not be measured.")
        return found

    def go_on(self, order=""):
        """Let the process go on to its next stop, and return what it says there."""
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self.answer()

    def begin(self, what):
        """Begin a fit and make its first iterations."""
        self.process.stdin.write("\n")
        return self.go_on(what)


def main(argv=None):
    """Print a table with a line for every model, precision and rank."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, required=True, help="folder of the other checkout")
    parser.add_argument("--models", default="NMF,StratifiedNMF")
    parser.add_argument("--dtypes", default="float64,float32")
    parser.add_argument("--ranks", default="20,50,100,200,300")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--n-threads", type=int, default=0, help="1: seconds of the processor; default: all threads")
    options = parser.parse_args(argv)
    sides = {"there": Checkout(options.against.resolve()), "here": Checkout(HERE.parent)}
    line = "| {:31} | {:>24} | {:>24} | {:>12} |".format
    print(f"{describe()}\n\n{line('ms an iteration', 'there', 'here', 'there / here')}", flush=True)
    print(f"|{'-' * 33}|{'-' * 25}:|{'-' * 25}:|{'-' * 13}:|", flush=True)
    for kind in options.models.split(","):
        for dtype in options.dtypes.split(","):
            for rank in options.ranks.split(","):
                what = f"{kind} {dtype} {rank}"
                for side in sides.values():
                    side.begin(f"{what} {options.n_threads} {options.rounds}")
                asked = {name: lambda side=side: float(side.go_on()) for name, side in sides.items()}
                found = measure(asked, options.rounds, label=what, pause=0.1)
                there, here = ([1e3 * seconds for seconds in found[name]] for name in sides)
                ratio = f"{statistics.median(there) / statistics.median(here):.2f}"
                print(line(f"{kind}, {dtype}, rank {rank}", spread(there), spread(here), ratio), flush=True)
                for side in sides.values():
                    side.go_on()  # to the end of the fit
    for side in sides.values():
        side.process.terminate()
        side.process.wait()


if __name__ == "__main__":
    main()
