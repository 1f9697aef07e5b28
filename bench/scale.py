"""Fit data that lie on disk in chunks beside the same data in memory: seconds, processor time and memory.

Usage::

    python bench/scale.py [--millions 100] [--folder FOLDER] [--iterations 6] [--parts plain,columns,rows,default]

Text of the long-tailed kind is drawn block by block and written into a folder (12 bytes a non-zero, and as many for
the columns), which is deleted at the end. Each fit then runs in a fresh process: ``plain`` in memory, on two threads
and on one; ``columns`` from disk, with the stored columns of its chunks; ``rows`` from disk without them, so that each
pass transposes its chunks; ``default`` from disk with the multilevel start and the stopping rule of a default fit,
against its own loss after many iterations. An iteration costs the difference between a long and a short fit. Memory is
the peak of anonymous pages (Linux), sampled every 20 ms: pages of mapped files, which the system may drop, are left
out.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import data
import numpy as np
from machine import describe
from table import markdown

N_WORDS, N_STRATA, RANK = 50_000, 20, 20
BLOCK = 4_000_000  # non-zeros drawn at a time
SHORT = 2  # iterations of the short fit


def write(folder, millions, chunk_rows):
    """Write text with about so many million non-zeros, and the stratum of each row; return the matrix on disk."""
    from fastnmf import save_csr

    n_blocks = max(1, round(millions * 1e6 / BLOCK))
    n_rows, labels = BLOCK // 72, []

    def blocks():
        for seed in range(n_blocks):
            X, of_rows, _ = data.zipf_text(n_rows, N_WORDS, BLOCK, N_STRATA, seed)
            mixed = np.random.default_rng(seed).permutation(n_rows)  # all strata in every chunk
            labels.append(of_rows[mixed])
            yield X[mixed].astype(np.float32)

    found = save_csr(blocks(), folder, columns=chunk_rows)
    np.save(Path(folder) / "strata.npy", np.concatenate(labels))
    return found


class AnonymousPeak:
    """Sample the anonymous memory of this process in a thread, and keep its peak, in bytes."""

    def __init__(self):
        self.peak, self._ends = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self._ends.wait(0.02):
            with open("/proc/self/status") as lines:
                found = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
            self.peak = max(self.peak, found)

    def end(self):
        """Stop sampling and return the peak."""
        self._ends.set()
        self._thread.join()
        return self.peak


def fit(options):
    """Fit as the parent process asks, and print what it cost as JSON."""
    from fastnmf import StratifiedNMF, open_csr

    X = open_csr(options.folder, chunk_rows=options.chunk_rows or None)
    strata = np.load(Path(options.folder) / "strata.npy")
    if options.child == "plain":
        X = X[:]
    parameters = {"random_state": 0, "n_threads": options.threads, "verbose": 0}
    if options.child != "default":
        parameters |= {"init": "features", "tol": 0, "max_iter": options.iterations}
    elif options.iterations:
        parameters |= {"tol": 0, "max_iter": options.iterations}
    StratifiedNMF(RANK, max_iter=1, tol=0).fit(X[:2000], strata=strata[:2000])  # loads the kernels
    peak, began, used = AnonymousPeak(), time.perf_counter(), time.process_time()
    model = StratifiedNMF(RANK, **parameters).fit(X, strata=strata)
    found = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - used, "peak": peak.end()}
    found |= {"n_iter": model.n_iter_, "loss": float(model.normalized_loss_)}
    print(json.dumps(found | {"passes": float(model.history_.get("passes", [np.nan])[-1])}))


def measured(kind, folder, *, iterations, threads=2, chunk_rows=0):
    """Return what a fit in a fresh process cost.

    Parameters
    ----------
    kind : {"plain", "chunks", "default"}
    folder : path
    iterations : int
        0 leaves them to the stopping rule.
    threads : int, default=2
    chunk_rows : int, default=0
        0: the chunks whose columns are stored.
    """
    words = ["--child", kind, "--folder", folder, "--iterations", iterations, "--threads", threads]
    words += ["--chunk-rows", chunk_rows]
    run = subprocess.run([sys.executable, __file__, *map(str, words)], capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"The fit {kind} ended with {run.returncode}:\n{run.stderr[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def line(name, kind, folder, options, **more):
    """Return the line of a table: an iteration and the whole fit."""
    short, long = (measured(kind, folder, iterations=n, **more) for n in (SHORT, options.iterations))
    n = options.iterations - SHORT
    each = ((long[key] - short[key]) / n for key in ("seconds", "cpu"))
    return [name, *(f"{x:.2f}" for x in each), f"{long['seconds']:.1f}", f"{long['peak'] / 1e9:.2f}"]


def main(arguments=None):
    """Write the data, fit them in all ways, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=100.0, help="non-zeros in millions")
    parser.add_argument("--folder", help="where the data are written, kept if given; default: a temporary folder")
    parser.add_argument("--iterations", type=int, default=6, help="iterations of the long fit")
    parser.add_argument("--parts", default="plain,columns,rows,default")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=2, help=argparse.SUPPRESS)
    parser.add_argument("--chunk-rows", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        return fit(options)
    with tempfile.TemporaryDirectory() as temporary:
        report(options.folder or temporary, options)


def report(folder, options):
    """Print the tables for the data in a folder, which are written where there are none."""
    from fastnmf import open_csr

    chunk_rows = round(10e6 / 66)  # about 66 non-zeros a row remain of 72
    X = open_csr(folder) if (Path(folder) / "strata.npy").exists() else write(folder, options.millions, chunk_rows)
    print(
        f"# Fits from disk\n\n{describe()}\n\n{X!r}, {X.n_chunks} chunks, rank {RANK}, {N_STRATA} strata.\n", flush=True
    )
    parts, lines = options.parts.split(","), []
    if "plain" in parts:
        lines += [line(f"in memory, {n} threads", "plain", folder, options, threads=n) for n in (2, 1)]
    if "columns" in parts:
        lines += [line(f"chunks, {n} threads", "chunks", folder, options, threads=n) for n in (2, 1)]
    if "rows" in parts:
        more = {"chunk_rows": X.chunk_rows - 1}  # another chunking: the stored columns are not used
        lines += [line("chunks without columns, 2 threads", "chunks", folder, options, **more)]
    print(markdown(["fit", "s an iteration", "CPU s", f"s, {options.iterations} iterations", "peak GB"], lines))
    if "default" in parts:
        own, far = (measured("default", folder, iterations=n) for n in (0, 60))
        rise = own["loss"] ** 2 / far["loss"] ** 2 - 1
        print(
            f"\nDefault fit: {own['seconds']:.1f} s, {own['passes']:.1f} passes, {100 * rise:.3f} % above the squared "
            f"error after {far['n_iter']} iterations ({far['seconds']:.0f} s); peak {own['peak'] / 1e9:.2f} GB."
        )


if __name__ == "__main__":
    main()
