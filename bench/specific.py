"""Check the levels of `specific_features` under shuffled labels, and print the words specific to each newsgroup.

Usage::

    python bench/specific.py [--shuffles 120] [--components 0,20] [--words 8]

Prints, for data with planted strata (made anew for each shuffle) and for 20 newsgroups, the share of one-sided
p-values at or below 0.05 and 0.001 where labels mean nothing, by the Pearson III distribution and by the normal one, of
words in at least ten documents; how many shuffles have a rejected test; the seconds of a call; and the table of words.
"""

import argparse
import time

import numpy as np
from machine import describe
from scipy.special import ndtr

from fastnmf import NMF, specific_features
from fastnmf.datasets import load_newsgroups, make_stratified

LEVELS = (0.05, 0.001)


def shares(found):
    """Return the shares of p-values at or below the levels: of the test, and of the normal distribution."""
    by_normal = ndtr(-found.z)
    return [np.mean(p <= level) for p in (found.pvalue, by_normal) for level in LEVELS]


def under_shuffles(X, labels, model, n_shuffles, seed):
    """Return the mean shares under shuffled labels, and in how many shuffles a test is rejected."""
    rng, rows, rejected = np.random.default_rng(seed), [], 0
    for _ in range(n_shuffles):
        found = specific_features(X, rng.permutation(labels), model)
        rows.append(shares(found))
        rejected += bool(found.rejected.any())
    return np.mean(rows, axis=0), rejected


def main():
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shuffles", type=int, default=120)
    parser.add_argument("--components", default="0,20", help="components of the model removed first; 0 is none")
    parser.add_argument("--words", type=int, default=8)
    options = parser.parse_args()
    print(describe())
    components = [int(k) for k in options.components.split(",")]
    print(f"{'data':<12} {'k':>3}  {'p<=.05':>7} {'p<=.001':>8}  {'normal':>7} {'normal':>8}  shuffles that reject")

    def line(name, k, found, n):
        mean, rejected = found
        print(f"{name:<12} {k:>3}  {mean[0]:7.4f} {mean[1]:8.5f}  {mean[2]:7.4f} {mean[3]:8.5f}  {rejected} of {n}")

    planted = make_stratified((200, 150, 100), 200, 3, noise=0.3, random_state=0)
    for k in components:
        model = NMF(k, random_state=0).fit(planted.data) if k else None
        line("planted", k, under_shuffles(planted.data, planted.strata, model, options.shuffles, 0), options.shuffles)
    news = load_newsgroups()
    rows = np.sort(np.random.default_rng(0).choice(news.data.shape[0], 2000, replace=False))
    frequent = np.flatnonzero(np.bincount(news.data[rows].indices, minlength=news.data.shape[1]) >= 10)
    part, labels = news.data[rows][:, frequent], news.strata[rows]
    for k in components:
        model = NMF(k, random_state=0).fit(part) if k else None
        line(f"text, {part.shape[1]}", k, under_shuffles(part, labels, model, options.shuffles, 1), options.shuffles)
    for k in components:
        model = NMF(k, random_state=0).fit(news.data) if k else None
        began = time.perf_counter()
        found = specific_features(
            news.data, news.strata, model, n=options.words, feature_names=news.feature_names, n_shuffles=0
        )
        print(f"\n20 newsgroups, k = {k}: {time.perf_counter() - began:.2f} s")
        print(found)
    began = time.perf_counter()
    found = specific_features(news.data, news.strata, n_shuffles=60, random_state=0)
    print(f"\nwith 60 shuffles: {time.perf_counter() - began:.2f} s, rejected {found.shuffled.tolist()}")


if __name__ == "__main__":
    main()
