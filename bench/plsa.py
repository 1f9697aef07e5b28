"""PLSA against expectation-maximisation in NumPy (`plsa_em.py`) on the word counts of 20 newsgroups: time and equality.

Usage: python bench/plsa.py [--topics 20] [--steps 10] [--threads 2] [--repeats 3]
"""

import argparse
import time

import numpy as np
from machine import describe
from plsa_em import plsa_em
from sklearn.datasets import fetch_20newsgroups
from sklearn.feature_extraction.text import CountVectorizer
from table import markdown

from fastnmf import PLSA


def words():
    """Return the word counts of the articles, CSR float64, and the words; SystemExit where they are not there."""
    parts = ("headers", "footers", "quotes")
    try:
        articles = fetch_20newsgroups(subset="all", shuffle=False, remove=parts, download_if_missing=False).data
    except OSError as error:
        raise SystemExit("20 newsgroups is not in scikit-learn's data home; a benchmark never downloads.") from error
    vectorizer = CountVectorizer(max_df=0.95, min_df=2, stop_words="english")
    return vectorizer.fit_transform(articles).astype(np.float64), vectorizer.get_feature_names_out()


def counts():
    """Return the word counts of the articles, CSR float64; SystemExit where they are not in the data home."""
    return words()[0]


def start(X, topics, seed=0):
    """Draw A, s and B, uniform and made into probabilities."""
    rng = np.random.default_rng(seed)
    A, B = rng.random((X.shape[0], topics)), rng.random((topics, X.shape[1]))
    return A / A.sum(axis=0), np.full(topics, 1 / topics), B / B.sum(axis=1, keepdims=True)


def timed(run):
    """Return what `run` returns, and the seconds that it took."""
    began = time.perf_counter()
    result = run()
    return result, time.perf_counter() - began


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("topics", 20), ("steps", 10), ("threads", 2), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    X = counts()
    X = X[np.asarray(X.sum(axis=1)).ravel() > 0]  # the opponent divides by the model of every word, not of rows
    A, s, B = start(X, options.topics)

    def ours(dtype):
        model = PLSA(options.topics, init="custom", max_iter=options.steps, tol=0, n_threads=options.threads)
        return model.fit(X.astype(dtype), W=A, H=B, s=s)

    ours(np.float64), ours(np.float32)  # compile
    seconds = {"EM in NumPy": [], "PLSA, float64": [], "PLSA, float32": []}
    for _ in range(options.repeats):  # in turn, so that all see the same machine
        (_, _, _, history), took = timed(lambda: plsa_em(X, A, s, B, options.steps))
        seconds["EM in NumPy"].append(took)
        model, took = timed(lambda: ours(np.float64))
        seconds["PLSA, float64"].append(took)
        _, took = timed(lambda: ours(np.float32))
        seconds["PLSA, float32"].append(took)
    gap = np.abs(model.history_["log_likelihood"][:-1] / history - 1).max()
    slowest = min(seconds["EM in NumPy"])
    rows = [
        [name, f"{min(taken):.2f} ({' '.join(f'{t:.2f}' for t in taken)})", f"{slowest / min(taken):.1f}"]
        for name, taken in seconds.items()
    ]
    print(describe())
    print(f"{X.shape[0]} documents, {X.shape[1]} words, {X.nnz} non-zeros, {options.topics} topics, ", end="")
    print(f"{options.steps} steps, {options.threads} threads; whole calls, the best of {options.repeats} (all)")
    print(markdown(["", "seconds", "times as fast"], rows))
    print(f"Largest relative difference of the log-likelihoods over the steps: {gap:.1e}")


if __name__ == "__main__":
    main()
