"""Time small data: whole fits, weights of one row and small batches, against scikit-learn in the same run.

Usage::

    python bench/small.py [--rounds 30] [--bound] [--family]

The first table has medians over the rounds; a sample is a few calls one after the other, validation of the data
included. ``--bound`` times an iteration by one kernel and by launched ones, around the size up to which
`fastnmf.core.small` takes the one kernel. ``--family`` times what runs many such fits.
"""

import argparse
import statistics
import time
import warnings

import numpy as np
from interleave import measure, ms, ratios, spread
from machine import describe
from sklearn.decomposition import NMF as TheirNMF
from sklearn.decomposition import MiniBatchNMF as TheirMiniBatchNMF
from table import markdown

from fastnmf import NMF, MetaNMF, MiniBatchNMF, consensus, select_rank
from fastnmf.core import small

X, NARROW = np.random.default_rng(0).random((100, 40)), np.random.default_rng(1).random((150, 4))
SIZES = [(100, 40, 5), (300, 40, 5), (150, 100, 10), (200, 120, 10), (500, 100, 10), (1000, 100, 10), (60, 2000, 10)]


def calls(function, count=5):
    """Return a contestant: seconds of a call, in the mean of a few."""

    def run():
        began = time.perf_counter()
        for _ in range(count):
            function()
        return (time.perf_counter() - began) / count

    run()  # compiles
    return run


def against_theirs(rounds):
    """Print the table of ours and scikit-learn's."""
    options, batch = {"n_components": 5, "random_state": 0}, X[:64]
    ours, theirs = NMF(**options).fit(X), TheirNMF(**options).fit(X)
    learned = [kind(**options).partial_fit(batch) for kind in (NMF, MiniBatchNMF, TheirMiniBatchNMF)]
    found = {
        "fit, 100 x 40": (lambda: NMF(**options).fit(X), lambda: TheirNMF(**options).fit(X)),
        "fit_transform": (lambda: NMF(**options).fit_transform(X), lambda: TheirNMF(**options).fit_transform(X)),
        "fit, 150 x 4": (lambda: NMF(**options).fit(NARROW), lambda: TheirNMF(**options).fit(NARROW)),
        "transform of a row": (lambda: ours.transform(X[:1]), lambda: theirs.transform(X[:1])),
        "NMF.partial_fit, 64 rows": tuple(lambda each=each: each.partial_fit(batch) for each in learned[::2]),
        "MiniBatchNMF.partial_fit, 64 rows": tuple(lambda each=each: each.partial_fit(batch) for each in learned[1:]),
    }
    contestants = {(name, who): calls(f) for name, pair in found.items() for who, f in enumerate(pair)}
    samples = measure(contestants, rounds, pause=0)
    rows = []
    for name in found:
        mine, other = samples[name, 0], samples[name, 1]
        rows.append([name, ms(mine, 2), ms(other, 2), spread(ratios(other, mine), 2)])
    print(markdown(["", "ours, ms", "scikit-learn, ms", "ratio (range)"], rows))
    print()
    for name, data in (("100 x 40", X), ("150 x 4", NARROW)):
        models = NMF(**options).fit(data), TheirNMF(**options).fit(data)
        ends = (f"{model.reconstruction_err_:.6g} after {model.n_iter_} iterations" for model in models)
        print(f"{name}, error of ours and theirs:", ", ".join(ends))


def around_the_bound(rounds):
    """Print the milliseconds of an iteration by one kernel and by launched ones."""
    rows = []
    for n, m, k in SIZES:
        data, seconds = np.random.default_rng(0).random((n, m)), {}

        def fit(work, n_iter, data=data, k=k):
            small.SMALL_WORK = work
            NMF(k, random_state=0, tol=0, max_iter=n_iter).fit(data)

        for name, work in (("one kernel", 1 << 40), ("launched", -1)):
            for n_iter in (5, 45):
                seconds[name, n_iter] = calls(lambda work=work, n_iter=n_iter: fit(work, n_iter), 1)
        samples = measure(seconds, rounds, f"{n} x {m}", pause=0)
        of_one = {
            name: statistics.median(samples[name, 45]) - statistics.median(samples[name, 5]) for name, _ in seconds
        }
        rows.append([f"{n} x {m}, rank {k}", n * m * k, *(f"{of_one[name] / 40 * 1e3:.3f}" for name in of_one)])
    print(markdown(["", "entries x rank", *of_one], rows))


def family(rounds):
    """Print the seconds of what runs many small fits, by one kernel and by launched ones."""
    found = {
        "consensus, 10 runs": lambda: consensus(X, n_components=5, n_runs=10, estimator=NMF(), random_state=0),
        "select_rank, 2 to 5": lambda: select_rank(X, ranks=range(2, 6), estimator=NMF(), random_state=0),
        "MetaNMF": lambda: MetaNMF(NMF(5), n_tasks=2, task_size=5, n_outer=3, n_inner=50, random_state=0).fit(X),
    }

    def with_bound(function, work):
        small.SMALL_WORK = work
        function()

    bound = small.SMALL_WORK
    contestants = {
        (name, work): calls(lambda f=f, work=work: with_bound(f, work), 1)
        for name, f in found.items()
        for work in (bound, -1)
    }
    samples = measure(contestants, rounds, pause=0)
    rows = [
        [
            name,
            ms(samples[name, bound]),
            ms(samples[name, -1]),
            spread(ratios(samples[name, -1], samples[name, bound]), 2),
        ]
        for name in found
    ]
    small.SMALL_WORK = bound
    print(markdown(["", "one kernel, ms", "launched, ms", "ratio (range)"], rows))


def main(argv=None):
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--bound", action="store_true")
    parser.add_argument("--family", action="store_true")
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    print(describe(), end="\n\n")
    against_theirs(options.rounds)
    if options.bound:
        around_the_bound(max(3, options.rounds // 5))
    if options.family:
        family(max(3, options.rounds // 5))


if __name__ == "__main__":
    main()
