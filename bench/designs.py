"""Measure designs: the speed of crossed strata on 20 newsgroups, in memory and from disk.

Usage::

    python bench/designs.py --speed [--components 20] [--iterations 30] [--rounds 5] [--threads 2]
    python bench/designs.py --disk [the same, and --chunks 10 --kl]
    python bench/designs.py --batches [the same as --speed, and --kl]

``--speed`` prints milliseconds an iteration with the labels of the newsgroups as strata, with an exposure for each row
beside them, and with groups crossed with years that are drawn at random (40 levels in all). The runs are interleaved,
and the least time of the rounds counts. It also prints the seconds from the data to the first iteration, and the loss.
``--disk`` prints the same for the groups alone, and for groups crossed with years, in memory and from disk in chunks
whose columns are stored, and how far the losses of both are apart; with ``--kl`` under Kullback-Leibler.
``--batches`` prints milliseconds a pass of `MiniBatchStratifiedNMF` over the groups alone, and over groups crossed with
years, and its loss beside that of `StratifiedNMF` after as many iterations and after a default fit.
"""

import argparse
import tempfile
import time

import numpy as np
import planted_designs
from machine import describe

from fastnmf import MiniBatchStratifiedNMF, StratifiedNMF, save_csr
from fastnmf.datasets import load_newsgroups


def timed(X, n_components, n_iterations, n_threads, given, kind=StratifiedNMF, **more):
    """Return milliseconds an iteration, seconds until the first one, and the model.

    Parameters
    ----------
    X : csr_array or DiskCSR
    n_components, n_iterations, n_threads : int
    given : dict
        Arguments of `fit`.
    kind : class, default=StratifiedNMF
    **more
        Parameters of the model.
    """
    more = {"tol": 0.0, "random_state": 0, "n_threads": n_threads, "init": "features"} | more
    began = time.perf_counter()
    model = kind(n_components, max_iter=n_iterations, **more).fit(X, **given)
    whole = time.perf_counter() - began
    seconds = model.history_["seconds"]
    each = np.diff(seconds)
    return 1e3 * float(np.median(each)), whole - float(each.sum()), model


def speed(options):
    """Print the table of times."""
    news = load_newsgroups(download_if_missing=False)
    years = np.random.default_rng(0).integers(1970, 1990, news.data.shape[0])
    exposure = np.random.default_rng(1).uniform(0.5, 1.5, len(years))
    cases = {
        "strata": {"strata": news.strata},
        "with exposure": {"strata": news.strata, "exposure": exposure},
        "group x year": {"strata": {"group": news.strata, "year": years}},
    }
    found = {name: [] for name in cases}
    for _ in range(options.rounds):
        for name, given in cases.items():
            found[name].append(timed(news.data, options.components, options.iterations, options.threads, given))
    print(f"{'shifts':<16} {'columns':>8} {'entries':>9} {'ms':>7} {'times':>6} {'begin s':>8} {'loss':>9}")
    least = min(each[0] for each in found["strata"])
    for name, runs in found.items():
        ms, model = min(each[0] for each in runs), runs[0][2]
        begin = min(each[1] for each in runs)
        entries = np.count_nonzero(model.shifts_)
        print(
            f"{name:<16} {model.shifts_.shape[0]:>8} {entries:>9} {ms:7.1f} {ms / least:6.2f} {begin:8.2f} "
            f"{model.normalized_loss_:9.6f}"
        )


def disk(options):
    """Print the times of fits in memory and from disk."""
    news = load_newsgroups(download_if_missing=False)
    years = np.random.default_rng(0).integers(1970, 1990, news.data.shape[0])
    cases = {"strata": {"strata": news.strata}, "group x year": {"strata": {"group": news.strata, "year": years}}}
    loss = {"solver": "mu", "beta_loss": "kullback-leibler", "extrapolate": False} if options.kl else {}
    with tempfile.TemporaryDirectory() as folder:
        rows = -(-news.data.shape[0] // options.chunks)
        places = {"memory": news.data, "disk": save_csr(news.data, folder, columns=rows)}
        found = {(name, place): [] for name in cases for place in places}
        for _ in range(options.rounds):
            for name, place in found:
                more = options.components, options.iterations, options.threads, cases[name]
                found[name, place].append(timed(places[place], *more, **loss))
    print(f"{news.data.shape[0]} documents, {news.data.nnz} non-zeros, {options.chunks} chunks")
    print(f"{'shifts':<16} {'in':<8} {'ms':>7} {'times':>6} {'begin s':>8} {'loss':>9} {'apart':>9}")
    for (name, place), runs in found.items():
        ms, begin, loss = min(each[0] for each in runs), min(each[1] for each in runs), runs[0][2].normalized_loss_
        in_memory = found[name, "memory"]
        least, apart = min(each[0] for each in in_memory), abs(loss / in_memory[0][2].normalized_loss_ - 1)
        print(f"{name:<16} {place:<8} {ms:7.1f} {ms / least:6.2f} {begin:8.2f} {loss:9.6f} {apart:9.1e}")


def batches(options):
    """Print the times of passes over mini-batches."""
    news = load_newsgroups(download_if_missing=False)
    years = np.random.default_rng(0).integers(1970, 1990, news.data.shape[0])
    cases = {"strata": {"strata": news.strata}, "group x year": {"strata": {"group": news.strata, "year": years}}}
    loss, whole = ({"beta_loss": "kullback-leibler"}, {"solver": "mu"}) if options.kl else ({}, {})
    found = {name: [] for name in cases}
    for _ in range(options.rounds):
        for name, given in cases.items():
            more = options.components, options.iterations, options.threads, given
            found[name].append(timed(news.data, *more, kind=MiniBatchStratifiedNMF, **loss))
    least = min(each[0] for each in found["strata"])
    print(f"{'shifts':<16} {'batches':>8} {'ms a pass':>10} {'times':>6} {'loss':>9} {'all rows':>9} {'default':>9}")
    for name, runs in found.items():
        ms, model = min(each[0] for each in runs), runs[0][2]
        more = options.components, options.iterations, options.threads, cases[name]
        others = [timed(news.data, *more, **loss, **whole)[2]]
        fit = StratifiedNMF(options.components, random_state=0, n_threads=options.threads, **loss, **whole)
        losses = [each.normalized_loss_ for each in (model, *others, fit.fit(news.data, **cases[name]))]
        n_batches = model.n_steps_ // model.n_iter_
        print(f"{name:<16} {n_batches:>8} {ms:10.1f} {ms / least:6.2f} " + " ".join(f"{each:9.6f}" for each in losses))


def main():
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speed", action="store_true", help="milliseconds an iteration on 20 newsgroups")
    parser.add_argument("--disk", action="store_true", help="the same in memory and from disk")
    parser.add_argument("--batches", action="store_true", help="milliseconds a pass over mini-batches")
    parser.add_argument("--planted", action="store_true", help="choice and recovery of planted designs")
    parser.add_argument("--chunks", type=int, default=10, help="chunks of the matrix on disk")
    parser.add_argument("--kl", action="store_true", help="from disk, in batches: Kullback-Leibler")
    parser.add_argument("--components", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(describe())
    if options.speed:
        speed(options)
    if options.disk:
        disk(options)
    if options.batches:
        batches(options)
    if options.planted:
        planted_designs.run()


if __name__ == "__main__":
    main()
