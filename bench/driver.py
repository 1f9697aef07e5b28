"""Measure what the loop of `core/iterate.py` costs around a step, and what reading the parameters costs before a fit.

Usage::

    python bench/driver.py [--steps 20000] [--rounds 7]

A solver that does nothing is stepped by `iterate` and by a bare loop, by turns; the difference of the medians is the
cost of a step: the clock, the history, the rule for stopping. Meta-NMF makes thousands of short fits.
"""

import argparse
import statistics
import time

from machine import describe

from fastnmf import NMF
from fastnmf.core.iterate import Solver, iterate


class Idle(Solver):
    """A solver whose objective falls by itself."""

    def __init__(self):
        self.objective = 1e9

    def begin(self):
        """Return the objective of the start."""
        return self.objective

    def step(self):
        """Return a lower objective."""
        self.objective *= 0.999
        return self.objective


def microseconds(function, n):
    """Return the wall time of a call over n, in microseconds."""
    began = time.perf_counter()
    function()
    return (time.perf_counter() - began) / n * 1e6


def bare(n):
    """Step without the loop of the package."""
    solver = Idle()
    for _ in range(n):
        solver.step()


def read_options(model, n):
    """Read and check the parameters of a model n times."""
    for _ in range(n):
        model._options()


def main(argv=None):
    """Measure and print three lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(argv)
    n, model = options.steps, NMF(5)
    contestants = {
        "a step by itself": lambda: bare(n),
        "a step in the loop, tol=0": lambda: iterate(Idle(), max_iter=n, tol=0),
        "a step in the loop, tol=1e-12": lambda: iterate(Idle(), max_iter=n, tol=1e-12),
        "the parameters of NMF": lambda: read_options(model, n // 20),
    }
    found = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, function in contestants.items():
            found[name].append(microseconds(function, n // 20 if name.startswith("the") else n))
    print(describe())
    for name, values in found.items():
        print(f"{name}: {statistics.median(values):.1f} us ({min(values):.1f} to {max(values):.1f})")


if __name__ == "__main__":
    main()
