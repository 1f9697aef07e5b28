"""Check that `select_strata` finds planted kinds of models, and print its verdict on newsgroups.

Usage::

    python bench/ladder.py [--planted none,own] [--seeds 3] [--starts 3] [--jobs 1] [--newsgroups] [--all]

Planted: three strata of 60 rows, 40 features, three components, noise 0.3. ``low_rank`` has a shift and two components
for each stratum, ``factors`` shared components that differ by a part of each stratum, ``own`` three components for each
stratum and nothing shared. For each data set the table has the least held-out loss of each rung, the rung with the
least loss, and the choice of the paired one-standard-error rule. ``--newsgroups``: six groups, 150 documents each;
``--all``: all documents of these groups.
"""

import argparse
import time

import numpy as np
import scipy.sparse as sp
from machine import describe
from table import markdown

from fastnmf import select_strata
from fastnmf.selection.strata import RUNGS

N_STRATA, N_ROWS, N_FEATURES, RANK, N_OWN, NOISE = 3, 60, 40, 3, 2, 0.3
GROUPS = ("rec.autos", "rec.motorcycles", "sci.med", "sci.space", "talk.politics.guns", "talk.politics.mideast")
PROMISED = ("none", "common", "strata", "low_rank")


def planted(kind, seed):
    """Return data of one rung, and the strata; all factors are half-normal, shifts uniform on [0, 2)."""
    rng = np.random.default_rng(seed)
    strata = np.repeat(np.arange(N_STRATA), N_ROWS)

    def drawn(*shape):
        return np.abs(rng.standard_normal(shape))

    W, H, shifts = drawn(len(strata), RANK), drawn(RANK, N_FEATURES), 2 * rng.random((N_STRATA, N_FEATURES))
    U, own = drawn(len(strata), N_OWN), drawn(N_STRATA, N_OWN, N_FEATURES)
    differ = drawn(N_STRATA, RANK, N_FEATURES)
    Y = np.zeros((len(strata), N_FEATURES)) if kind == "own" else W @ H
    if kind == "common":
        Y += shifts[0]
    if kind in ("strata", "low_rank"):
        Y += shifts[strata]
    if kind == "low_rank":
        Y += np.einsum("ic,icj->ij", U, own[strata])
    if kind in ("factors", "own"):
        Y += np.einsum("ic,icj->ij", W, differ[strata])
    return np.maximum(Y + NOISE * rng.standard_normal(Y.shape), 0), strata


def newsgroups(n_documents):
    """Return rows of six newsgroups at unit length, of words in at least ten of them, and their labels.

    Parameters
    ----------
    n_documents : int, or None
        Of each group; None: all.
    """
    from fastnmf.datasets import load_newsgroups

    news, rng = load_newsgroups(), np.random.default_rng(0)
    groups = [np.flatnonzero(news.strata == group) for group in GROUPS]
    rows = np.concatenate([rng.permutation(each)[:n_documents] for each in groups])
    X = sp.csr_array(news.data[rows])
    X = sp.csr_array(X[:, np.flatnonzero(np.bincount(X.indices, minlength=X.shape[1]) >= 10)])
    lengths = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
    return sp.csr_array(sp.diags_array(1 / lengths[lengths > 0]) @ X[lengths > 0]), news.strata[rows][lengths > 0]


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planted", default=",".join(RUNGS), help="rungs to plant")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--newsgroups", action="store_true")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    print(describe())
    if options.newsgroups or options.all:
        X, labels = newsgroups(None if options.all else 150)
        began = time.process_time()
        found = select_strata(
            X, labels, (1, 3, 6), n_own=1, own_penalty=(0.1, 1.0), n_folds=3, n_jobs=options.jobs, random_state=0
        )
        print(f"{X.shape[0]} documents, {X.shape[1]} words: {time.process_time() - began:.0f} s of processor time")
        print(found)
        return
    rows, right, n_promised = [], 0, 0
    for kind in options.planted.split(","):
        for seed in range(options.seeds):
            began = time.process_time()
            found = select_strata(
                *planted(kind, seed), (2, 3, 4), n_init=options.starts, n_jobs=options.jobs, random_state=seed
            )
            seconds = time.process_time() - began
            least = {row.rung: row.held_out for row in found.best_of_rungs()}
            chosen = found.best_1se
            size = f"{chosen.n_components}" + (f"+{chosen.n_own}" if chosen.n_own else "")
            rows.append([f"{kind}, {seed}", *(f"{least[rung]:.4f}" for rung in RUNGS)])
            rows[-1] += [found.best.rung, f"{chosen.rung}, {size}", f"{seconds:.1f}"]
            n_promised += kind in PROMISED
            right += kind in PROMISED and chosen.rung == kind
            print(rows[-1][0], found.verdict, flush=True)
    print(markdown(["planted, seed", *RUNGS, "least", "chosen, size", "processor s"], rows))
    print(f"{right} of {n_promised} planted rungs among {', '.join(PROMISED)} are chosen.")


if __name__ == "__main__":
    main()
