"""Meta-NMF on handwritten digits: CPU seconds of a fit, beside plain NumPy and beside NumPy as the source writes it.

All three run the same algorithm, with the same tasks and starts. "NumPy" forms every product once, small sides first;
"as published" multiplies W H Hᵀ from the left, and takes spectral norms of the changes in every iteration.

Usage: python bench/meta.py [--rank 10] [--epochs 50] [--inner 100] [--repeats 3]
"""

import argparse
import time

import numpy as np
from machine import describe
from meta_loop import numpy_meta
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler
from table import markdown
from threadpoolctl import threadpool_limits

from fastnmf import NMF, GraphNMF, MetaNMF


def neighbours(X):
    """Return the affinities of the rows that `GraphNMF` takes, and their sums as a column."""
    affinity = GraphNMF(2, solver="mu", max_iter=1, tol=0).fit(X).affinity_.astype(X.dtype)
    return affinity, np.asarray(affinity.sum(axis=1)).reshape(-1, 1)


def timed(run):
    """Return what `run` returns, and the CPU seconds that it took."""
    began = time.process_time()
    result = run()
    return result, time.process_time() - began


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("rank", 10), ("epochs", 50), ("inner", 100), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    X = MinMaxScaler().fit_transform(load_digits().data)
    X = train_test_split(X, test_size=0.5, random_state=42)[0]
    shape = {"n_outer": options.epochs, "n_inner": options.inner}
    protocol = shape | {"task_size": 100, "inner_tol": 0, "accumulate": True, "disjoint": False, "random_state": 0}
    kinds = {
        "Meta-NMF": (NMF(options.rank, solver="mu"), None),
        "Meta-GNMF": (GraphNMF(options.rank, solver="mu", graph_weight=1.0), neighbours),
    }
    rows = []
    with threadpool_limits(1):
        for name, (estimator, graphs) in kinds.items():
            for dtype in (np.float32, np.float64):
                data, model = X.astype(dtype), MetaNMF(estimator, **protocol)
                model.fit(data)  # compiles
                runs = {
                    "fastnmf": lambda data=data, model=model: model.fit(data).history_["normalized_loss"][-1],
                    "NumPy": lambda data=data, graphs=graphs: numpy_meta(
                        data, options.rank, *shape.values(), graphs, is_published=False
                    ),
                }
                if dtype is np.float64:
                    runs["as published"] = lambda data=data, graphs=graphs: numpy_meta(
                        data, options.rank, *shape.values(), graphs, is_published=True
                    )
                ours = None
                for program, run in runs.items():
                    found = [timed(run) for _ in range(options.repeats if program == "fastnmf" else 1)]
                    took, loss = min(seconds for _, seconds in found), found[0][0]
                    ours = took if ours is None else ours
                    loss = loss if program == "fastnmf" else np.sqrt(loss / np.square(data).sum())
                    rows.append([name, dtype.__name__, program, f"{took:.2f}", f"{took / ours:.1f}", f"{loss:.6f}"])
    print(describe())
    print(
        f"{X.shape[0]} x {X.shape[1]}, rank {options.rank}, {options.epochs} epochs of {options.inner} iterations, 5 ",
        end="",
    )
    print(f"tasks of 100 rows; one thread, whole fits, graphs included; ours the best of {options.repeats}")
    print(markdown(["", "dtype", "program", "CPU s", "times ours", "normalized loss of the target"], rows))


if __name__ == "__main__":
    main()
