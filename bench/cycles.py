"""Show what SQUAREM cycles save under Kullback-Leibler, on simulated counts of cells.

Usage::

    python bench/cycles.py [--iterations 2000] [--seeds 2]

Each seed is fitted with plain updates and with cycles, on one thread. The table has the seconds and the iterations
until the objective is within a gap of the last one of the plain updates, and "-" where it does not get there.
"""

import argparse
import warnings

import numpy as np
from machine import describe
from table import markdown

from fastnmf import NMF
from fastnmf.datasets import simulate_counts

GAPS = (1e-3, 1e-4, 0.0)


def reached(history, goal):
    """Return when a fit was at most at `goal`, as text."""
    (places,) = np.nonzero(history["objective"] <= goal)
    return f"{history['seconds'][places[0]]:.2f} ({places[0]})" if len(places) else "-"


def main(argv=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    X = simulate_counts(3000, 2000, 10, random_state=0).data
    model = NMF(10, solver="mu", beta_loss="kullback-leibler", init="features", tol=0, n_threads=1)
    model.set_params(max_iter=20).fit(X)  # compiles
    rows = []
    for seed in range(options.seeds):
        model.set_params(max_iter=options.iterations, random_state=seed)
        runs = {
            name: model.set_params(extrapolate=on).fit(X).history_ for name, on in (("plain", False), ("cycles", True))
        }
        end = runs["plain"]["objective"][-1]
        rows += [[f"{seed}, {name}", *(reached(run, end * (1 + gap)) for gap in GAPS)] for name, run in runs.items()]
    print(f"{describe()}\n\n{X.shape[0]:,} x {X.shape[1]:,}, {X.nnz:,} non-zeros, rank 10, one thread, float64\n")
    print(markdown(["seed, updates", *(f"gap {100 * gap:g} %: seconds (iterations)" for gap in GAPS)], rows))


if __name__ == "__main__":
    main()
