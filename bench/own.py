"""Measure own components of strata: recovery where they are planted, seconds of an iteration, many strata.

Usage::

    python bench/own.py [--seeds 5]          # two weak components in 100 of 250 rows, beside four shared ones
    python bench/own.py --counts [--seeds 5] # the same in Poisson counts, under Kullback-Leibler
    python bench/own.py --speed              # an iteration on 20 newsgroups, squared error and counts
    python bench/own.py --disk [--chunks 10]  # an iteration on 20 newsgroups in memory and from disk
    python bench/own.py --many [--strata 1000]

The first prints the mean cosine between the planted components of the target rows and those that were found: by
`StratifiedNMF` with ``n_own={"target": 2}`` for penalties 0 and 0.1, with shifts and without, by an NMF of all rows and
by one of the target rows, both with six components, of which the two nearest count. ``--counts`` prints the same for
counts, under Kullback-Leibler and, for comparison, under the squared error.
"""

import argparse
import resource
import tempfile
import time

import numpy as np
from machine import describe
from scipy.optimize import linear_sum_assignment

from fastnmf import NMF, StratifiedNMF, save_csr
from fastnmf.datasets import load_newsgroups


def planted(seed, weak, n_features=40, noise=0.3):
    """Return the data, the labels and the two components of the target rows; `weak` scales their weights."""
    rng = np.random.default_rng(seed)
    shared = 2 * rng.gamma(1, 1, (4, n_features)) * (rng.random((4, n_features)) < 0.5)
    own = 2 * rng.gamma(1, 1, (2, n_features)) * (rng.random((2, n_features)) < 0.3)
    X = rng.gamma(1, 1, (250, 4)) @ shared
    X[150:] += weak * rng.gamma(1, 1, (100, 2)) @ own
    X = np.maximum(0, X + noise * rng.normal(size=X.shape))
    return X, np.repeat(["background", "target"], [150, 100]), own


def planted_counts(seed, weak, n_features=60, depth=200.0):
    """Return Poisson counts, about `depth` in a row, the labels and the two components of the target rows."""
    rng = np.random.default_rng(seed)
    shared = rng.gamma(1, 1, (4, n_features)) * (rng.random((4, n_features)) < 0.5)
    own = rng.gamma(1, 1, (2, n_features)) * (rng.random((2, n_features)) < 0.3)
    mean = rng.gamma(1, 1, (250, 4)) @ shared
    mean[150:] += weak * rng.gamma(1, 1, (100, 2)) @ own
    mean *= depth / mean[:150].sum(axis=1).mean()
    return rng.poisson(mean).astype(float), np.repeat(["background", "target"], [150, 100]), own


def cosine(found, wanted):
    """Return the mean cosine of the rows of `wanted` and the rows of `found` that fit them best, each used once."""
    found, wanted = (F / np.maximum(np.linalg.norm(F, axis=1, keepdims=True), 1e-300) for F in (found, wanted))
    cosines = wanted @ found.T
    return cosines[linear_sum_assignment(-cosines)].mean()


def recovery(n_seeds):
    """Print the cosines of planted components."""
    options = {}
    for penalty in (0.0, 0.1):
        for shifts in (True, False):
            options[f"own_penalty={penalty}, shifts={shifts}"] = {"own_penalty": penalty, "shifts": shifts}
    compare(planted, options, {}, n_seeds)


def recovery_of_counts(n_seeds):
    """Print the cosines of components that were planted in counts."""
    of_counts = {"solver": "mu", "beta_loss": "kullback-leibler"}
    options = {}
    for penalty in (0.0, 0.05, 0.1):
        options[f"own_penalty={penalty}"] = {"own_penalty": penalty, **of_counts}
    options["own_penalty=0.05, shifts=False"] = {"own_penalty": 0.05, "shifts": False, **of_counts}
    options["squared error, own_penalty=0.1"] = {"own_penalty": 0.1}
    compare(planted_counts, options, of_counts, n_seeds)


def compare(make, options, plain, n_seeds):
    """Print the cosines of fits with own components, and of plain ones.

    Parameters
    ----------
    make : callable
        ``make(seed, weak)`` returns data, labels and components of the target rows.
    options : dict of str to dict
        Parameters of the fits with own components.
    plain : dict
        Parameters of NMF.
    n_seeds : int
    """
    print(f"{'weights':>8}  {'model':<34} " + " ".join(f"seed {seed}" for seed in range(n_seeds)) + "   mean")
    for weak in (1.0, 0.5, 0.25, 0.12):
        lines = {}
        for seed in range(n_seeds):
            X, strata, own = make(seed, weak)
            for name, more in options.items():
                model = StratifiedNMF(4, n_own={"target": 2}, random_state=seed, **more).fit(X, strata=strata)
                lines.setdefault(name, []).append(cosine(model.own_components_["target"], own))
            for name, rows in (("NMF(6) of all rows", slice(None)), ("NMF(6) of the target rows", strata == "target")):
                found = NMF(6, random_state=seed, **plain).fit(X[rows]).components_
                lines.setdefault(name, []).append(cosine(found, own))
        for name, values in lines.items():
            print(f"{weak:>8}  {name:<34} " + " ".join(f"{v:6.3f}" for v in values) + f"  {np.mean(values):.4f}")


def seconds(model, X, strata, n_iter=20):
    """Return the seconds of the start, and of an iteration, the least of three runs."""
    found = []
    for _ in range(3):
        began = time.perf_counter()
        model.set_params(max_iter=n_iter, tol=0).fit(X, strata=strata)
        took = np.diff(model.history_["seconds"])
        found.append((time.perf_counter() - began - took.sum(), np.median(took)))
    return np.min(found, axis=0)


def speed(n_threads, rank=20):
    """Print seconds of an iteration on 20 newsgroups."""
    news = load_newsgroups()
    print(f"20 newsgroups {news.data.shape}, {news.data.nnz} entries, rank {rank}, {n_threads} threads")
    cases = {"shifts of strata": {}, "n_own=1": {"n_own": 1}, "n_own=2": {"n_own": 2}, "n_own=5": {"n_own": 5}}
    cases |= {"own='tied'": {"own": "tied"}}
    of_counts = {"solver": "mu", "beta_loss": "kullback-leibler"}
    cases |= {"counts: shifts": of_counts, "counts: n_own=1": {"n_own": 1, **of_counts}}
    cases |= {"counts: 'tied'": {"own": "tied", **of_counts}}
    plain = None
    for name, options in cases.items():
        model = StratifiedNMF(rank, random_state=0, n_threads=n_threads, **options)
        start, each = seconds(model, news.data, news.strata)
        plain = each if plain is None or name.endswith("shifts") else plain
        print(f"{name:<18} start and end {start:6.2f} s, iteration {1e3 * each:7.1f} ms, {each / plain:5.2f} times")


def disk(n_threads, n_chunks, rank=20):
    """Print seconds of an iteration on 20 newsgroups in memory, and from disk in chunks whose columns are stored."""
    news = load_newsgroups()
    print(f"20 newsgroups, {news.data.nnz} entries, rank {rank}, {n_chunks} chunks, {n_threads} threads")
    of_counts = {"solver": "mu", "beta_loss": "kullback-leibler"}
    cases = {"shifts of strata": {}, "n_own=1": {"n_own": 1}, "own='tied'": {"own": "tied"}}
    cases |= {"counts: shifts": of_counts, "counts: n_own=1": {"n_own": 1, **of_counts}}
    with tempfile.TemporaryDirectory() as folder:
        on_disk = save_csr(news.data, folder, columns=-(-news.data.shape[0] // n_chunks))
        for name, options in cases.items():
            model = StratifiedNMF(rank, init="features", random_state=0, n_threads=n_threads, **options)
            here, there = (seconds(model, X, news.strata)[1] for X in (news.data, on_disk))
            print(f"{name:<18} {1e3 * here:7.1f} ms in memory, {1e3 * there:7.1f} ms from disk")


def many(n_strata, rank=20):
    """Print time and memory of a fit with many strata, each with one own component."""
    news = load_newsgroups()
    strata = np.random.default_rng(0).integers(0, n_strata, news.data.shape[0])
    began = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = StratifiedNMF(rank, n_own=1, random_state=0, max_iter=20, tol=0, sparse_shifts=True)
    model.fit(news.data, strata=strata)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    took, own = time.perf_counter() - began, np.diff(model.history_["seconds"])
    print(
        f"{len(model.strata_)} strata: {took:.1f} s for 20 iterations, {1e3 * np.median(own):.0f} ms each; "
        f"{(peak - before) / 1024:.0f} MB more than before"
    )


def main():
    """Run what is requested."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--counts", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--many", action="store_true")
    parser.add_argument("--disk", action="store_true")
    parser.add_argument("--chunks", type=int, default=10)
    parser.add_argument("--strata", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(describe())
    if options.speed:
        speed(options.threads)
    elif options.disk:
        disk(options.threads, options.chunks)
    elif options.many:
        many(options.strata)
    elif options.counts:
        recovery_of_counts(options.seeds)
    else:
        recovery(options.seeds)


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    main()
