"""Fit every model of another shape to 20 newsgroups: does it stay sparse, how long, how much memory, how good?

Usage: python bench/shapes.py [--components 20] [--iterations 50]

Memory is the peak of all arrays that NumPy and SciPy made during the fit (`tracemalloc`), beyond the data, after a
small fit that loads the kernels. X alone, dense, would take the number in the last line.
"""

import argparse
import time
import tracemalloc
import warnings

import numpy as np
from machine import describe
from table import markdown

import fastnmf
from fastnmf.datasets import load_newsgroups


def contestants(X, rank, **options):
    """Yield the name, the model and the data of every line."""
    for name in ("NMF", "OrthogonalNMF", "SemiNMF", "ProjectiveNMF", "ConvexNMF", "TriNMF"):
        yield name, getattr(fastnmf, name)(rank, **options), X
    words = X[:, np.diff(X.tocsc().indptr) >= 20]
    yield "TriSymmetricNMF, XᵀX", fastnmf.TriSymmetricNMF(rank, affinity="cooccurrence", **options), words
    product = (X @ X.T).tocsr()
    product.data[product.data < 0.1] = 0
    product.eliminate_zeros()
    yield "SymmetricNMF, XXᵀ > 0.1", fastnmf.SymmetricNMF(rank, **options), product


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--components", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=50)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    X, rows = load_newsgroups().data, []
    for name, model, data in contestants(X, asked.components, max_iter=asked.iterations, tol=0, random_state=0):
        small = data[:200][:, :200]
        type(model)(**{**model.get_params(), "n_components": 3, "max_iter": 2}).fit(small)
        began = time.perf_counter()
        model.fit(data)
        seconds = time.perf_counter() - began
        tracemalloc.start()
        type(model)(**{**model.get_params(), "max_iter": 3}).fit(data)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        each = 1e3 * model.history_["seconds"][-1] / model.n_iter_
        shape = f"{data.shape[0]} x {data.shape[1]}, {data.nnz}"
        rows.append([name, shape, f"{seconds:.1f}", f"{each:.0f}", f"{peak:.0f}", f"{model.normalized_loss_:.4f}"])
        print(rows[-1], flush=True)
    print(markdown(["model", "data, non-zeros", "seconds", "ms an iteration", "peak MB", "normalized loss"], rows))
    dense = X.shape[0] * X.shape[1] * 8 / 2**20
    print(f"\n{asked.components} components, {asked.iterations} iterations; X dense: {dense:.0f} MB")
    print(describe())


if __name__ == "__main__":
    main()
