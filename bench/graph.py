"""GraphNMF: what clusters it finds beside plain NMF, how fast its solvers go down, and what a large graph costs.

Usage: python bench/graph.py [--only clusters|descent|newsgroups] [--seeds 3] [--quick]

Clusters: half of the samples (split of seed 42), features scaled to [0, 1], digits and objects then to length one;
k-means on the weights, its normalised mutual information with the classes, a mean over the ranks and the seeds.
COIL-20 is looked for as `coil20/coil20_X_small.npy` and `coil20_Y.npy` in scikit-learn's data home.
"""

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np
from machine import describe
from sklearn.cluster import KMeans
from sklearn.datasets import fetch_20newsgroups, fetch_olivetti_faces, load_digits
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import normalized_mutual_info_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import minmax_scale, normalize
from table import markdown

from fastnmf import NMF, GraphNMF
from fastnmf.data.graphs import neighbour_graph

RANKS = (2, 3, 5, 10, 14, 18)


def digits():
    """Return the digits and their classes."""
    return load_digits(return_X_y=True)


def objects():
    """Return COIL-20, 32 x 32 pixels, and its classes."""
    home = Path(os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")).expanduser() / "coil20"
    X = np.load(home / "coil20_X_small.npy")
    return X.reshape(len(X), -1), np.load(home / "coil20_Y.npy").ravel()


def faces():
    """Return the Olivetti faces, 32 x 32 pixels, and whose they are."""
    X, y = fetch_olivetti_faces(return_X_y=True, download_if_missing=False)
    return X.reshape(-1, 32, 2, 32, 2).mean(axis=(2, 4)).reshape(len(X), -1), y


SETS = {"digits": (digits, True), "COIL-20": (objects, True), "faces": (faces, False)}


def evaluated(name):
    """Return the half of a data set that is clustered, float32, or None where it is not on this machine."""
    read, is_unit = SETS[name]
    try:
        X, y = read()
    except OSError:
        return None
    X = minmax_scale(X.astype(np.float64))
    _, X, _, y = train_test_split(X, y, test_size=0.5, random_state=42)
    return (normalize(X) if is_unit else X).astype(np.float32), y


def cai(rank, X, seed):
    """Fit as Cai et al.: multiplicative updates without scale invariance, weight 100, a uniform start."""
    rng = np.random.default_rng(seed)
    start = {"W": rng.random((len(X), rank)), "H": rng.random((rank, X.shape[1]))}
    return GraphNMF(rank, scale_invariant=False, solver="mu", init="custom", tol=0, max_iter=300).fit(X, **start)


FITS = {
    "NMF": lambda rank, X, seed: NMF(rank, random_state=seed).fit(X),
    "GraphNMF, default": lambda rank, X, seed: GraphNMF(rank, random_state=seed).fit(X),
    "GraphNMF, weight 10": lambda rank, X, seed: GraphNMF(rank, graph_weight=10, random_state=seed).fit(X),
    "GraphNMF, weight 100": lambda rank, X, seed: GraphNMF(rank, graph_weight=100, random_state=seed).fit(X),
    "GraphNMF, as published": cai,
}


def agreement(model, y, seed):
    """Cluster the weights for components of length one, and compare with the classes."""
    W = model.W_ * np.linalg.norm(model.components_, axis=1)
    found = KMeans(len(np.unique(y)), n_init=10, random_state=seed).fit_predict(W)
    return normalized_mutual_info_score(y, found)


def clusters(options):
    """Print the table of clusters."""
    ranks = RANKS[::3] if options.quick else RANKS
    sets = {name: data for name in SETS if (data := evaluated(name)) is not None}
    rows = []
    for label, fit in FITS.items():
        row = [label]
        for X, y in sets.values():
            scores = [
                np.mean([agreement(fit(rank, X, seed), y, seed) for rank in ranks]) for seed in range(options.seeds)
            ]
            row.append(f"{np.mean(scores):.3f} ± {np.std(scores):.3f}")
        rows.append(row)
    print(f"normalised mutual information, ranks {', '.join(map(str, ranks))}, {options.seeds} seeds")
    print(markdown(["", *sets], rows) + "\n")


def descent(options):
    """Print the objective of both solvers against time, digits, 10 components, one start."""
    X, _ = evaluated("digits")
    times, rows = (0.03, 0.1, 0.3, 1.0), []
    for weight in (5, 100):
        for solver in ("cd", "mu"):
            model = GraphNMF(10, graph_weight=weight, solver=solver, init="nndsvda", tol=0, max_iter=2000)
            model.set_params(max_iter=3).fit(X)  # compile
            history = model.set_params(max_iter=2000, max_time=1.5 * times[-1]).fit(X).history_
            at = np.searchsorted(history["seconds"], times, side="right") - 1
            rows.append([f"weight {weight}, {solver}", *(f"{value:.2f}" for value in history["objective"][at])])
    print("objective after seconds")
    print(markdown(["", *map(str, times)], rows) + "\n")


def newsgroups(options):
    """Print what a graph of 20 newsgroups costs, and an iteration with and without it."""
    parts = ("headers", "footers", "quotes")
    try:
        articles = fetch_20newsgroups(subset="all", remove=parts, download_if_missing=False).data
    except OSError as error:
        raise SystemExit("20 newsgroups is not in scikit-learn's data home; a benchmark never downloads.") from error
    X = TfidfVectorizer(max_df=0.95, min_df=2, stop_words="english", dtype=np.float32).fit_transform(articles)
    began = time.perf_counter()
    graph, _ = neighbour_graph(X)
    print(f"{X.shape[0]} articles, {X.shape[1]} words; {graph.nnz // 2} edges in {time.perf_counter() - began:.1f} s")
    rows, few = [], {"random_state": 0, "tol": 0, "max_iter": 10 if options.quick else 30}
    for solver in ("cd", "mu"):
        row = [solver]
        for model, more in (
            (NMF(20, solver="hals" if solver == "cd" else "mu", **few), {}),
            (GraphNMF(20, solver=solver, **few), {"graph": graph}),
        ):
            seconds = model.fit(X, **more).history_["seconds"]
            row.append(f"{1e3 * np.median(np.diff(seconds)[2:]):.1f}")
        rows.append(row)
    print(markdown(["ms an iteration, 20 components", "NMF", "GraphNMF"], rows))


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"clusters": clusters, "descent": descent, "newsgroups": newsgroups}
    parser.add_argument("--only", choices=parts)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="two ranks, few iterations")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    print(describe() + "\n")
    for name, part in parts.items():
        if options.only in (None, name):
            part(options)


if __name__ == "__main__":
    main()
