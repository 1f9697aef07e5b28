"""What a step of Neural NMF costs, beside the authors' package, and what a whole fit does.

Usage: python bench/layered.py

CPU time of one thread. An epoch of ours is the objective, all gradients and a projected step of fixed length, with the
layers moving from one to the next. The authors' figures are not measured here, see `NOTE`, which is printed, too.
"""

import os
import time
import warnings
from pathlib import Path

import numpy as np
import scipy.io
import scipy.sparse as sp
from machine import describe
from table import markdown

from fastnmf import HierarchicalNMF
from fastnmf.core.stack import DataLayer, Stack
from fastnmf.data.strata import Strata
from fastnmf.datasets.toys import make_hierarchical
from fastnmf.kernels.jit import threads
from fastnmf.models.hierarchy.init import STARTS

EPOCHS, ROUNDS, STEP = 30, 5, 1e-3
NOTE = """\
The authors' column was not measured by this script: it repeats figures that were handed to us for NeuralNMF 1.0.0
(torch 2.13 on the CPU, SciPy 1.17), CPU time of one thread. The processor, the load, how many epochs they are the mean
of, and the objective on the toy data are not recorded, so a ratio tells an order of magnitude and no more. Ours: the
median of five rounds of 30 epochs, after 3 to warm up, objective "energy"."""
# Milliseconds of an epoch.
AUTHORS = {"toy (9)": 19.5, "toy (9, 4)": 37.3, "toy (9, 4, 2)": 58.1, "20News_subsampled (10, 6)": 3140.0}


def epoch(X, sizes, loss):
    """Return the milliseconds of CPU time of one epoch: the median of a few rounds from one random start."""
    data, found = Strata.from_array(X), []
    for _ in range(ROUNDS):
        stack = Stack(DataLayer(data), loss, np.ones(len(sizes)))
        A = STARTS["random"](data, stack.bottom, sizes, np.random.default_rng(0))
        with threads(1):
            for i in range(3 + EPOCHS):
                if i == 3:
                    began = time.process_time()
                gradients = stack(A)[1]
                for a, g in zip(A, gradients, strict=True):
                    a -= STEP * np.linalg.norm(a) / np.linalg.norm(g) * g
                    np.maximum(a, 0, out=a)
            found.append((time.process_time() - began) / EPOCHS)
    return 1e3 * float(np.median(found))


def whole(X, sizes):
    """Return the seconds of CPU time of a default fit on one thread, the least of a few, and its errors."""
    model, best = HierarchicalNMF(sizes, random_state=0, n_threads=1), np.inf
    for _ in range(3):
        began = time.process_time()
        model.fit(X)
        best = min(best, time.process_time() - began)
    return best, model.level_errors_


def main():
    warnings.simplefilter("ignore")
    toy = make_hierarchical(random_state=0).data
    cases = {f"toy {sizes}".replace(",)", ")"): (toy, sizes, "energy") for sizes in ((9,), (9, 4), (9, 4, 2))}
    path = Path(os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")).expanduser() / "neural_nmf"
    if (path / "20News_subsampled.mat").is_file():
        X = sp.csr_array(scipy.io.loadmat(path / "20News_subsampled.mat")["X_subsampled"].T)
        cases["20News_subsampled (10, 6)"] = (X, (10, 6), "energy")
    print(describe() + "\n")
    rows = []
    for name, (X, sizes, loss) in cases.items():
        ours, (seconds, errors) = epoch(X, sizes, loss), whole(X, sizes)
        ratio = AUTHORS[name] / ours
        shown = " ".join(f"{error:.4f}" for error in errors)
        rows.append([name, f"{AUTHORS[name]:.1f}", f"{ours:.2f}", f"{ratio:.0f}", f"{seconds:.2f}", shown])
    heads = [
        "",
        "authors (not measured here), ms an epoch",
        "ours, ms an epoch",
        "ratio",
        "default fit, s",
        "errors of its levels",
    ]
    print(markdown(heads, rows) + "\n\n" + NOTE)


if __name__ == "__main__":
    main()
