"""Fit data that lie on disk in chunks beside the same data in memory: seconds, processor time and memory.

Usage::

    python bench/scale.py [--millions 100] [--chunks N] [--folder FOLDER] [--iterations 6] [--workers 2]
                          [--parts plain,columns,rows,dask,default]

Text of the long-tailed kind is drawn block by block and written into a folder (8 bytes a non-zero, and as many for
the columns), which is deleted at the end. Each fit then runs in a fresh process: ``plain`` in memory, on two threads
and on one; ``columns`` from disk, with the stored columns of its chunks; ``rows`` from disk without them, so that each
pass transposes its chunks; ``dask`` on worker processes of one thread, which hold their chunks in memory or read them
in every pass (processor time is that of all processes, memory that of the largest worker); ``default`` from disk with
the multilevel start and the stopping rule of a default fit, against its own loss after many iterations. An iteration
costs the difference between a long and a short fit. Memory is the peak of anonymous pages (Linux), sampled every 20 ms:
pages of mapped files, which the system may drop, are left out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import data
import numpy as np
from machine import describe
from table import markdown

N_WORDS, N_STRATA, RANK = 50_000, 20, 20
BLOCK = 4_000_000  # non-zeros drawn at a time
SHORT = 2  # iterations of the short fit


def write(folder, millions, n_chunks=None):
    """Write text with about so many million non-zeros, and the stratum of each row; return the matrix on disk."""
    from fastnmf import save_csr

    n_blocks = max(1, round(millions * 1e6 / BLOCK))
    n_rows, labels = BLOCK // 72, []
    chunk_rows = -(-n_rows * n_blocks // n_chunks) if n_chunks else round(10e6 / 66)  # about 66 non-zeros a row of 72

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
    """Sample the anonymous memory of processes in a thread, and keep the peak of each, in bytes.

    Parameters
    ----------
    pids : list of int, default=()
        Empty: this process.
    """

    def __init__(self, pids=()):
        self.peaks, self._ends = dict.fromkeys(pids or ["self"], 0), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self._ends.wait(0.02):
            for pid, peak in self.peaks.items():
                with open(f"/proc/{pid}/status") as lines:
                    found = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
                self.peaks[pid] = max(peak, found)

    def end(self):
        """Stop sampling and return the largest peak."""
        self._ends.set()
        self._thread.join()
        return max(self.peaks.values())


def fit(options):
    """Fit as the parent process asks, and print what each fit cost as a list in JSON."""
    from fastnmf import StratifiedNMF, open_csr

    X = open_csr(options.folder, chunk_rows=options.chunk_rows or None)
    strata = np.load(Path(options.folder) / "strata.npy")
    few = X[:2000]
    parameters = {"random_state": 0, "n_threads": options.threads, "verbose": 0}
    with ExitStack() as stack:
        kind, pids = StratifiedNMF, []
        if options.workers:
            kind, pids, more = on_workers(stack, options)
            parameters |= more
        elif options.child == "plain":
            X = X[:]
        own = {} if options.child == "default" else {"init": "features"}
        StratifiedNMF(RANK, max_iter=1, tol=0).fit(few, strata=strata[:2000])  # loads the kernels
        if options.workers:
            kind(RANK, max_iter=1, tol=0, **parameters, **own).fit(X, strata=strata)  # and those of the workers
        found = []
        for n in map(int, options.iterations.split(",")):
            own = own | ({"tol": 0, "max_iter": n} if n else {})
            peak = AnonymousPeak(pids)
            began, used, sent = time.perf_counter(), processor_seconds(pids), sent_within()
            model = kind(RANK, **parameters, **own).fit(X, strata=strata)
            found.append({"seconds": time.perf_counter() - began, "cpu": processor_seconds(pids) - used})
            found[-1] |= {"sent": sent_within() - sent, "peak": peak.end()}
            found[-1] |= {"n_iter": model.n_iter_, "loss": float(model.normalized_loss_)}
            found[-1]["passes"] = float(model.history_.get("passes", [np.nan])[-1])
            found[-1]["bytes"] = model.history_.get("bytes", np.zeros(1)).tolist()
            del model
    print(json.dumps(found))


def on_workers(stack, options):
    """Start a cluster on this machine; return the class of models, the processes of the workers, and parameters."""
    import distributed

    from fastnmf.dask import StratifiedNMF

    more = {"n_workers": options.workers, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    cluster = stack.enter_context(distributed.LocalCluster(**more))
    client = stack.enter_context(distributed.Client(cluster))
    return StratifiedNMF, list(client.run(os.getpid).values()), {"hold": options.child == "held", "n_threads": None}


def processor_seconds(pids):
    """Return the processor time of this process and others, in seconds."""
    others = (Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in pids)
    return time.process_time() + sum(int(each[11]) + int(each[12]) for each in others) / os.sysconf("SC_CLK_TCK")


def sent_within():
    """Return the bytes that processes of this machine have sent each other through the network interface."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return next(int(line.split(":")[1].split()[0]) for line in lines if line.strip().startswith("lo:"))


def model_bytes(n_columns, n_chunks, n_workers, dtype):
    """Return the bytes that an iteration should move: the order to each worker, sums between them and to the driver."""
    from fastnmf.core.shares import chunk_pairs, summed
    from fastnmf.dask.engine import Sum
    from fastnmf.kernels.row_intrinsics import padded

    def crossed(total):
        """Return the number of sums that travel: one of two, or of those of two workers all but those of one."""
        if len(total.groups) == 2:
            counts = Counter(each.groups for each in total.of_groups())
            return min(counts.values())
        return 0 if len(total.groups) == 1 else 1 + sum(map(crossed, total.terms))

    width = padded(RANK, dtype)
    total = summed(chunk_pairs(n_chunks), lambda chunk: Sum(frozenset([chunk * n_workers // n_chunks]), 0), Sum.plus)
    order = (n_columns + N_STRATA) * width * np.dtype(dtype).itemsize + 8 * width**2
    return n_workers * order + (crossed(total) + 1) * 8 * width * (n_columns + N_STRATA + width + 1)


def measured(kind, folder, iterations, *, threads=2, chunk_rows=0, workers=0):
    """Return what fits in a fresh process cost, one after the other.

    Parameters
    ----------
    kind : {"plain", "chunks", "default", "held", "streamed"}
    folder : path
    iterations : list of int
        One of each fit; 0 leaves them to the stopping rule.
    threads : int, default=2
    chunk_rows : int, default=0
        0: the chunks whose columns are stored.
    workers : int, default=0
        Worker processes of Dask, one thread each; 0: no Dask.
    """
    words = ["--child", kind, "--folder", folder, "--iterations", ",".join(map(str, iterations)), "--threads", threads]
    words += ["--chunk-rows", chunk_rows, "--workers", workers]
    run = subprocess.run([sys.executable, __file__, *map(str, words)], capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"The fit {kind} ended with {run.returncode}:\n{run.stderr[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])


class Cost:
    """Seconds, processor time and bytes of an iteration, and the peak of memory, from a short and a long fit."""

    def __init__(self, kind, folder, options, **more):
        n = int(options.iterations)
        short, self.long = measured(kind, folder, [SHORT, n], **more)
        each = ((self.long[key] - short[key]) / (n - SHORT) for key in ("seconds", "cpu", "sent"))
        self.seconds, self.cpu, self.sent = each
        self.bytes = float(np.median(self.long["bytes"][1:-1])) if n > 2 else 0.0  # the last has the exact weights, too

    def line(self, name):
        """Return the line of a table."""
        whole = f"{self.long['seconds']:.1f}", f"{self.long['peak'] / 1e9:.2f}"
        return [name, f"{self.seconds:.2f}", f"{self.cpu:.2f}", *whole]


def main(arguments=None):
    """Write the data, fit them in all ways, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=100.0, help="non-zeros in millions")
    parser.add_argument("--chunks", type=int, help="number of chunks; default: about 10 million non-zeros each")
    parser.add_argument("--folder", help="where the data are written, kept if given; default: a temporary folder")
    parser.add_argument("--iterations", default="6", help="iterations of the long fit")
    parser.add_argument("--parts", default="plain,columns,rows,dask,default")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=2, help=argparse.SUPPRESS)
    parser.add_argument("--chunk-rows", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=2, help="worker processes of Dask")
    options = parser.parse_args(arguments)
    if options.child:
        return fit(options)
    with tempfile.TemporaryDirectory() as temporary:
        report(options.folder or temporary, options)


def report(folder, options):
    """Print the tables for the data in a folder, which are written where there are none."""
    from fastnmf import open_csr

    is_there = (Path(folder) / "strata.npy").exists()
    X = open_csr(folder) if is_there else write(folder, options.millions, options.chunks)
    print(
        f"# Fits from disk\n\n{describe()}\n\n{X!r}, {X.n_chunks} chunks, rank {RANK}, {N_STRATA} strata.\n", flush=True
    )
    parts, costs = options.parts.split(","), {}
    if "plain" in parts:
        costs |= {f"in memory, {n} threads": Cost("plain", folder, options, threads=n) for n in (2, 1)}
    if "columns" in parts:
        costs |= {f"chunks, {n} threads": Cost("chunks", folder, options, threads=n) for n in (2, 1)}
    if "rows" in parts:
        more = {"chunk_rows": X.chunk_rows - 1}  # another chunking: the stored columns are not used
        costs["chunks without columns, 2 threads"] = Cost("chunks", folder, options, **more)
    if "dask" in parts:
        for kind in ("held", "streamed"):
            name = f"Dask, {options.workers} workers, chunks {kind}"
            costs[name] = Cost(kind, folder, options, threads=1, workers=options.workers)
    lines = [cost.line(name) for name, cost in costs.items()]
    print(markdown(["fit", "s an iteration", "CPU s", f"s, {options.iterations} iterations", "peak GB"], lines))
    if "dask" in parts:
        print("\n" + "\n".join(compared(X, costs, options)))
    if "default" in parts:
        ((own,), (far,)) = (measured("default", folder, [n]) for n in (0, 60))
        rise = own["loss"] ** 2 / far["loss"] ** 2 - 1
        print(
            f"\nDefault fit: {own['seconds']:.1f} s, {own['passes']:.1f} passes, {100 * rise:.3f} % above the squared "
            f"error after {far['n_iter']} iterations ({far['seconds']:.0f} s); peak {own['peak'] / 1e9:.2f} GB."
        )


def compared(X, costs, options):
    """Return lines that compare the fits on Dask with the others, and the bytes that they moved with the model."""
    held, streamed = (costs[f"Dask, {options.workers} workers, chunks {kind}"] for kind in ("held", "streamed"))
    model = model_bytes(X.shape[1], X.n_chunks, options.workers, X.dtype)
    yield f"{X.nnz / X.n_chunks:.2g} non-zeros a chunk. Streamed beside held: {streamed.seconds / held.seconds:.2f} x."
    for name, cost in {"Held": held, "Streamed": streamed}.items():
        yield (
            f"{name}: an iteration moved {cost.bytes / 1e6:.1f} MB, {cost.bytes / model:.2f} x the model's "
            f"{model / 1e6:.1f} MB; through the network interface {cost.sent / 1e6:.1f} MB; largest worker "
            f"{cost.long['peak'] / 1e9:.2f} GB."
        )
        if (plain := costs.get("in memory, 1 threads")) is not None:
            yield (
                f"{name} beside the fit in memory on one thread: {cost.seconds / plain.seconds:.2f} x the seconds, "
                f"{cost.cpu / plain.cpu:.2f} x the processor seconds."
            )


if __name__ == "__main__":
    main()
