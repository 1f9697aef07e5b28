"""Run the models that pick, peel, count and flip on the word counts of 20 newsgroups: time, memory, and what they find.

Usage: python bench/family.py [--components 20] [--iterations 20] [--only NAME]

Every model runs in a process of its own. Its memory is what it adds to the peak that reading the articles had; 0 is
less than that peak.
"""

import argparse
import resource
import subprocess
import sys
import time
import warnings

import numpy as np
from machine import describe
from plsa import counts
from table import markdown

import fastnmf

MODELS = (
    "PLSA",
    "SeparableNMF",
    "UnderapproximationNMF",
    "BinaryNMF",
    "BooleanNMF",
    "IntervalNMF",
    "AffineNMF",
    "DictionaryNMF",
    "GraphNMF",
)


def megabytes():
    """Return the peak of this process's memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one(name, options):
    """Fit one model and print a line of the table."""
    warnings.filterwarnings("ignore")
    X, more = counts(), {}
    if name == "UnderapproximationNMF":
        more = {"max_iter": options.iterations}
    elif name != "SeparableNMF":
        more = {"max_iter": options.iterations, "random_state": 0, "tol": 0}
    if name == "DictionaryNMF":
        more["dictionary"] = X[::100]  # 189 articles
    if name in ("BinaryNMF", "BooleanNMF"):
        more["n_init"] = 1
    model = getattr(fastnmf, name)(options.components, n_threads=options.threads, **more)
    arguments = {"upper": 1.5 * X} if name == "IntervalNMF" else {}
    before, began = megabytes(), time.perf_counter()
    model.fit(X, **arguments)
    took = time.perf_counter() - began
    print("|".join([name, f"{took:.1f}", f"{megabytes() - before:.0f}", f"{model.normalized_loss_:.4f}"]))


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("components", 20), ("iterations", 20), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", choices=MODELS)
    options = parser.parse_args()
    if options.only:
        one(options.only, options)
        return
    X = counts()
    print(describe())
    print(
        f"{X.shape[0]} documents, {X.shape[1]} words, {X.nnz} non-zeros, {X.data.nbytes / 2**20 * 1.5:.0f} MB as CSR;"
    )
    print(f"{options.components} components, {options.iterations} iterations, {options.threads} threads")
    rows = []
    for name in MODELS:
        arguments = [f"--{key}={value}" for key, value in vars(options).items() if key != "only"]
        run = [sys.executable, __file__, "--only", name, *arguments]
        done = subprocess.run(run, capture_output=True, text=True, check=True)
        rows.append(done.stdout.strip().splitlines()[-1].split("|"))
    print(markdown(["", "seconds", "MB added to the peak", "normalized loss"], np.array(rows)))


if __name__ == "__main__":
    main()
