"""Fit every model that the catalogue marks as sparse to 20 newsgroups: time, memory beside the data, and the error.

Usage: python bench/family.py [--components 20] [--iterations 20] [--limit 2000] [--only NAME]

The lines are those of the catalogue (`fastnmf models`), with another number of components and of iterations: whatever
is added there is run here. Every line has a process of its own, which may take at most `--limit` MB more than it has
when the fit begins: X alone, dense, is 7.8 GB. What it takes is the highest resident memory during the fit, less that
just before, after a small fit that has loaded the kernels. Data: TF-IDF of 18,846 articles and 51,840 words, unit rows;
graphs are the ten nearest neighbours of each article.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from machine import describe
from table import markdown

import fastnmf
from fastnmf.models.catalogue import MODELS

LINES = [
    (entry.name, line) for entry in MODELS if entry.is_sparse and entry.name[0].isupper() for line in entry.use
]  # functions, such as select_beta, fit many models: not here
SHORT = {"max_iter", "random_state", "tol", "n_threads", "n_init", "n_outer", "n_inner"}


def neighbours(X, n=10, block=1000):
    """Return the graph of the n most similar rows of each row, cosines of unit rows, symmetric, in CSR."""
    rows, columns, values = [], [], []
    for first in range(0, X.shape[0], block):
        alike = (X[first : first + block] @ X.T).tocsr()
        for i in range(alike.shape[0]):
            own = slice(alike.indptr[i], alike.indptr[i + 1])
            near, cosines = alike.indices[own], alike.data[own] * (alike.indices[own] != first + i)
            best = np.argpartition(-cosines, n)[:n] if len(cosines) > n else np.arange(len(cosines))
            best = best[cosines[best] > 0]
            rows.append(np.full(len(best), first + i))
            columns.append(near[best])
            values.append(cosines[best])
    graph = sp.csr_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=2 * X.shape[:1]
    )
    return graph.maximum(graph.T).tocsr()


def names(X, graph, labels, folder):
    """Return what the lines of the catalogue speak of, sparse."""
    flipped = X.copy()
    flipped.data = X.data * np.where(np.arange(X.nnz) % 5, 1.0, -1.0)
    half = X.shape[0] // 2
    fastnmf.save_csr(X, folder)
    return {
        **{name: getattr(fastnmf, name) for name in fastnmf.__all__ if not name.startswith("_")},
        "X": X,
        "bits": (X > 0).astype(X.dtype),
        "X_signed": flipped,
        "counts": X,
        "A": graph,
        "affinity": graph,
        "graph": graph,
        "labels": labels,
        "blocks": [(X[:half], labels[:half]), (X[half:], labels[half:])],
        "folder": folder,
        "lower": X,
        "upper": 1.5 * X,
        "atoms": X[:: max(X.shape[0] // 200, 1)],
    }


def run(name, line, known, components, iterations, n_threads):
    """Run a line of the catalogue with so many components and iterations; return the fitted model."""
    kind = getattr(fastnmf, name)
    takes = kind().get_params().keys() & SHORT
    given = {"max_iter": iterations, "random_state": 0, "tol": 0, "n_threads": n_threads, "n_init": 1}
    given |= {"n_outer": 1, "n_inner": iterations}

    def make(rank, *more, **options):
        options = {**{key: given[key] for key in takes}, **options}
        if hasattr(rank, "set_params"):  # of a model of another model
            return kind(rank.set_params(n_components=components), *more, **options)
        ranks = rank if isinstance(rank, tuple) else (rank,)
        ranks = tuple(max(components * r // max(ranks), 1) for r in ranks)
        return kind(ranks if isinstance(rank, tuple) else ranks[0], *more, **options)

    known = {"NMF": fastnmf.NMF, **known, name: make}
    if name in ("BinaryNMF", "BooleanNMF"):
        known["X"] = known["bits"]
    return eval(line, known)


def status(key):
    """Return a line of /proc/self/status in MB."""
    text = Path("/proc/self/status").read_text()
    return int(next(row for row in text.splitlines() if row.startswith(key)).split()[1]) / 1024


def one(number, folder, options):
    """Fit one line in this process, and print a row of the table."""
    warnings.filterwarnings("ignore")
    name, line = LINES[number]
    X, graph = (sp.csr_array(sp.load_npz(folder / f"{part}.npz")) for part in ("X", "graph"))
    labels = np.load(folder / "labels.npy")
    some = np.arange(0, X.shape[0], max(X.shape[0] // 300, 1))
    words = np.flatnonzero(np.diff(X[some].tocsc().indptr) > 1)
    small = names(X[some][:, words], graph[some][:, some], labels[some], folder / f"small{number}")
    how = options.components, options.iterations, options.threads
    run(name, line, small, min(how[0], 5), 2, how[2])  # loads the kernels
    known = names(X, graph, labels, folder / f"csr{number}")
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident memory is counted anew
    most = int((status("VmData") + options.limit) * 2**20)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    began = time.perf_counter()
    try:
        model = run(name, line, known, *how)
    except MemoryError:
        print("|".join([line, "", f"> {options.limit}", ""]))
        return
    took = time.perf_counter() - began
    print("|".join([line, f"{took:.1f}", f"{max(status('VmHWM') - before, 0):.0f}", f"{model.normalized_loss_:.4f}"]))


def prepare(folder):
    """Write the data, once for all processes; return X."""
    news = fastnmf.datasets.load_newsgroups(download_if_missing=False)
    X = sp.csr_array(news.data)
    sp.save_npz(folder / "X.npz", X, compressed=False)
    sp.save_npz(folder / "graph.npz", neighbours(X), compressed=False)
    np.save(folder / "labels.npy", np.asarray(news.strata, dtype=str))
    return X


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("components", 20), ("iterations", 20), ("threads", 2), ("limit", 2000), ("seconds", 900)):
        parser.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    parser.add_argument("--only", metavar="NAME", help="one class")
    parser.add_argument("--line", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.line is not None:
        one(options.line, options.folder, options)
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        X = prepare(Path(folder))
        megabytes = (X.data.nbytes + X.indices.nbytes + X.indptr.nbytes) / 2**20
        print(describe())
        print(f"{X.shape[0]} x {X.shape[1]}, {X.nnz} non-zeros, {megabytes:.0f} MB as CSR; ", end="")
        print(
            f"{options.components} components, {options.iterations} iterations, {options.threads} threads", flush=True
        )
        for number, (name, line) in enumerate(LINES):
            if options.only not in (None, name):
                continue
            given = [
                f"--{key}={value}" for key, value in vars(options).items() if key not in ("only", "line", "folder")
            ]
            command = [sys.executable, __file__, *given, f"--line={number}", f"--folder={folder}"]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds, env=os.environ)
                said = done.stdout.strip() or f"{line}||{done.stderr.strip().splitlines()[-1]}|"
            except subprocess.TimeoutExpired:
                said = f"{line}|> {options.seconds}||"
            rows.append(said.splitlines()[-1].split("|"))
            print(*rows[-1], sep="  ", flush=True)
    print(markdown(["", "seconds", "MB beside the data", "normalized loss"], rows))


if __name__ == "__main__":
    main()
