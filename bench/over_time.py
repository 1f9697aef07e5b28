"""Measure how much of a planted drift `topics_over_time` sees, for several strengths.

Usage::

    python bench/over_time.py [--seeds 3] [--news]

The components of ten levels lie on a line from those of the first level to those of the last: either other words, or
half the way to another component, which the weights of the rows can imitate. An NMF is fitted to all
rows; the shares of features in its components, level by level, less their mean over the levels, are correlated with the
planted ones. Levels have 40 rows each, or 5 to 80. With ``--news`` the words that rise and fall over the lengths of
posts of 20 newsgroups are printed, too: an order that is always there.
"""

import argparse
import itertools
import time

import numpy as np
from machine import describe

from fastnmf import NMF, topics_over_time
from fastnmf.datasets import load_newsgroups
from fastnmf.selection.rank import match_components

STRENGTHS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
SIZES = {"40 each": np.full(10, 40), "5 to 80": np.array([80, 40, 20, 10, 5, 5, 10, 20, 40, 80])}
K, M = 4, 60


def planted(sizes, noise, seed, towards):
    """Return X, the level of each row, and the components of the levels (n_levels, K, M).

    Parameters
    ----------
    sizes : ndarray (n_levels,) of int
    noise : float
    seed : int
    towards : {"new words", "other topics"}
        Where components drift: to weights drawn anew, which no weights of rows can imitate, or to each other.
    """
    rng = np.random.default_rng(seed)
    first = rng.gamma(0.5, 1, (K, M)) * (rng.random((K, M)) < 0.5)
    last = np.where(rng.random((K, M)) < 0.3, rng.gamma(0.5, 1, (K, M)), first)
    if towards == "other topics":
        last = (first + np.roll(first, 1, axis=0)) / 2
    t = np.linspace(0, 1, len(sizes))[:, None, None]
    H, level = (1 - t) * first + t * last, np.repeat(np.arange(len(sizes)), sizes)
    W = rng.gamma(0.5, 1, (len(level), K))
    X = np.einsum("ik,ikm->im", W, H[level]) + rng.normal(0, noise, (len(level), M))
    return np.maximum(X, 0), level, H


def correlation(found, model, H):
    """Return the correlation of the changes of shares, found and planted, over all components and levels."""
    order, _ = match_components(H.mean(axis=0), model.components_)
    planted = H / H.sum(axis=2, keepdims=True)
    shares = np.stack([found.shares(int(c), np.arange(M)) for c in order], axis=1)
    both = [(each - each.mean(axis=0)).ravel() for each in (planted, shares)]
    return np.corrcoef(both)[0, 1]


def main():
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--news", action="store_true")
    options = parser.parse_args()
    print(describe())
    print(f"| towards, rows a level, noise | {' | '.join(f'strength {s:g}' for s in STRENGTHS)} |")
    print("|---|" + "--:|" * len(STRENGTHS))
    for towards, name, noise in itertools.product(("new words", "other topics"), SIZES, (0.3, 1.0)):
        rows = []
        for seed in range(options.seeds):
            X, level, H = planted(SIZES[name], noise, seed, towards)
            model = NMF(K, n_init=3, random_state=0).fit(X)
            rows.append([correlation(topics_over_time(model, X, level, strength=s), model, H) for s in STRENGTHS])
        print(f"| {towards}, {name}, {noise:g} | {' | '.join(f'{value:.2f}' for value in np.mean(rows, axis=0))} |")
    if options.news:
        news = load_newsgroups()
        model = NMF(20, random_state=0).fit(news.data)
        length = np.digitize(np.diff(news.data.indptr), (20, 40, 80, 160))
        began = time.perf_counter()
        found = topics_over_time(model, news.data, length, feature_names=news.feature_names)
        print(f"\n20 newsgroups, rank 20, {len(found.levels)} levels: {time.perf_counter() - began:.2f} s")
        print(found)


if __name__ == "__main__":
    main()
