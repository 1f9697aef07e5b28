"""Time one iteration of ours beside the paper loop and the stacked loop, interleaved in one process.

Usage::

    python bench/versus_baselines.py [--quick] [--rounds 5] [--data newsgroups|zipf]

Every round times every contestant once, in a shuffled order, and yields one ratio to either baseline; the table
holds medians over the rounds, so that a slow moment of a shared machine hits both sides of a ratio. An iteration
of ours is the difference of two time stamps of the fit's own history, which leaves out the preparation and
includes the loss; the baselines evaluate none. Baselines run in either precision with 1 and with 2 BLAS threads
(the second does not always help); a ratio is taken to the faster of the two in the same precision.
"""

import argparse
import os
import sys
import time
import warnings

import data
import numpy as np
from interleave import fastest, measure, ms, per_iteration, ratios, spread
from machine import describe
from paper_loop import paper_loop
from stacked_loop import stacked_loop
from table import markdown
from threadpoolctl import threadpool_limits

from fastnmf import StratifiedNMF


def time_paper(X, start, factors, iterations, n_threads):
    """Return seconds per iteration of the paper loop."""
    blocks = data.blocks_of(X, start)
    V, W, H = factors
    W = np.split(W, start[1:-1])
    with threadpool_limits(n_threads, user_api="blas"):
        begin = time.perf_counter()
        paper_loop(blocks, V, W, H, iterations)
        return (time.perf_counter() - begin) / iterations


def time_stacked(X, start, factors, iterations, n_threads):
    """Return seconds per iteration of the stacked loop, its preparation left out."""
    seconds = []
    with threadpool_limits(n_threads, user_api="blas"):
        for count in (1, 1 + iterations):
            begin = time.perf_counter()
            stacked_loop(X, start, *factors, count)
            seconds.append(time.perf_counter() - begin)
    return (seconds[1] - seconds[0]) / iterations


def time_ours(X, labels, factors, iterations, solver, n_threads):
    """Return seconds per iteration of a fit from the given start, without its first and last one."""
    V, W, H = factors
    model = StratifiedNMF(H.shape[0], solver=solver, init="custom", max_iter=iterations + 2, tol=0, n_threads=n_threads)
    model.fit(X, strata=labels, V=V, W=W, H=H)
    return per_iteration(model.history_)


def contestants(X, labels, start, factors, options):
    """Map a name (solver, dtype, threads) to a function that measures it once."""
    few, many = (2, 10) if options.quick else (4, 30)
    found = {}
    for dtype in ("float64", "float32"):
        cast = X.astype(dtype)
        cast_factors = [f.astype(dtype) for f in factors]
        for n_threads in options.threads:
            arguments = (cast, start, cast_factors, few, n_threads)
            found["paper loop", dtype, str(n_threads)] = lambda a=arguments: time_paper(*a)
            arguments = (cast, start, cast_factors, 3 * few, n_threads)
            found["stacked loop", dtype, str(n_threads)] = lambda a=arguments: time_stacked(*a)
        for solver in ("mu", "hals"):
            for n_threads in options.threads:
                arguments = (cast, labels, cast_factors, many, solver, n_threads)
                found[solver.upper(), dtype, str(n_threads)] = lambda a=arguments: time_ours(*a)
    return found


def warm_up(found):
    """Run what is ours once: compiled, or loaded from the disk cache, before anything counts."""
    for key, run in found.items():
        if not key[0].endswith("loop"):
            run()


def ratios_to(baseline, name, seconds):
    """Return the ratios of a baseline, in the precision of `name` and on its best number of threads, to `name`."""
    theirs = [samples for key, samples in seconds.items() if key[:2] == (baseline, name[1])]
    return ratios(fastest(*theirs), seconds[name])


def rows(seconds):
    """Return the header and the rows of the table: medians, and medians of the ratios with their range."""
    baselines = ("paper loop", "stacked loop")
    found = [
        [*name, ms(mine), *(spread(ratios_to(baseline, name, seconds)) for baseline in baselines)]
        for name, mine in seconds.items()
    ]
    return ["one iteration", "dtype", "threads", "ms", *(f"x {baseline}" for baseline in baselines)], found


def main(argv=None):
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer iterations and 3 rounds")
    parser.add_argument("--rounds", type=int, help="rounds (default 5, quick 3)")
    parser.add_argument("--data", choices=("newsgroups", "zipf"), help="default: newsgroups where it is at hand")
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args(argv)
    rounds = options.rounds or (3 if options.quick else 5)
    warnings.filterwarnings("ignore", message=".*max_iter.*")

    text = data.newsgroups() if options.data != "zipf" else None
    if text is None and options.data == "newsgroups":
        print("newsgroups is not in the scikit-learn data home (SCIKIT_LEARN_DATA)", file=sys.stderr)
        return 2
    name = "newsgroups" if text else "Zipf text"
    X, labels, start = text or data.zipf_text(18_846, 51_840, 1_280_000, 20)
    factors = data.paper_start(start, X.shape[1], options.rank)

    found = contestants(X, labels, start, factors, options)
    warm_up(found)
    print(describe() + f"; load average before: {os.getloadavg()[0]:.1f}")
    print(
        f"{name}: {X.shape[0]:,} x {X.shape[1]:,}, {X.nnz:,} non-zeros ({X.nnz / np.prod(X.shape):.3%}), "
        f"{len(start) - 1} strata, rank {options.rank}; "
        f"medians of {rounds} interleaved rounds (range in brackets)\n"
    )
    print(markdown(*rows(measure(found, rounds))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
