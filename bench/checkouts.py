"""Compare two checkouts of the package: whole fits, and every kernel within them, in turns.

``python bench/checkouts.py FOLDER`` measures this checkout against the one in FOLDER. Each runs in a process of its
own that waits while the other measures; the order is shuffled anew each round. A ratio above 1 means that this checkout
is slower. ``--kernels`` times the kernels too, by name, from within the fits.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
from interleave import measure, spread

HERE = Path(__file__).resolve().parent.parent
RENAMED = {  # kernels of older checkouts under their present names
    "rows_hals_free": "rows_hals_masked",
    "csr_press": "csr_multiplier_step",
    "csr_fits_below": "csr_largest_below",
    "csr_places": "csr_shift_entries",
}

WORKER = """
import collections, json, sys, time, warnings
import numpy as np, scipy.sparse as sp
import fastnmf
from fastnmf.kernels import jit
warnings.simplefilter("ignore")
times = collections.Counter()
if "--kernels" in sys.argv:
    call = jit.Kernel.__call__
    def timed(self, *args):
        began = time.perf_counter()
        call(self, *args)
        times[self.__name__] += time.perf_counter() - began
    jit.Kernel.__call__ = timed
rng = np.random.default_rng(0)
X = sp.random_array((6000, 9000), density=0.004, rng=rng, format="csr")
strata = rng.integers(0, 20, 6000)
try:
    bunch = fastnmf.datasets.load_newsgroups(download_if_missing=False)
    X, strata = bunch.data, bunch.strata
except OSError:
    pass
small, dense = rng.random((100, 40)), rng.random((3000, 300))
part, labels = X[:4000, :8000], strata[:4000]
parts = rng.gamma(0.3, size=(10, 2000))
counts = rng.poisson(rng.gamma(0.3, size=(1000, 10)) @ parts).astype(float)
new = lambda kind, k, n, **more: getattr(fastnmf, kind)(k, random_state=0, max_iter=n, tol=0, **more)
KL = {"solver": "mu", "beta_loss": "kullback-leibler"}
only = [word for word in sys.argv[1:] if not word.startswith("--")]
FITS = {
    "hals float64": lambda: new("StratifiedNMF", 20, 10).fit(X, strata=strata),
    "hals float32": lambda: new("StratifiedNMF", 20, 10).fit(X.astype(np.float32), strata=strata),
    "mu float64": lambda: new("StratifiedNMF", 20, 10, solver="mu").fit(X, strata=strata),
    "mu float32": lambda: new("StratifiedNMF", 20, 10, solver="mu").fit(X.astype(np.float32), strata=strata),
    "NMF cd": lambda: new("NMF", 20, 10).fit(X),
    "Kullback-Leibler": lambda: new("NMF", 20, 5, **KL).fit(part),
    "Kullback-Leibler, strata": lambda: new("StratifiedNMF", 20, 5, **KL).fit(part, strata=labels),
    "Kullback-Leibler, W alone": lambda: fastnmf.non_negative_factorization(counts, None, parts, update_H=False, **KL),
    "masked": lambda: new("NMF", 10, 3, missing_values="zeros").fit(part[:1000]),
    "graph": lambda: new("GraphNMF", 10, 3, n_neighbors=3).fit(dense[:600]),
    "dense": lambda: new("NMF", 10, 20).fit(dense),
    "small dense": lambda: [new("NMF", 5, 20).fit(small) for _ in range(10)],
    "robust": lambda: new("RobustNMF", 5, 3).fit(dense[:500]),
    "symmetric": lambda: new("SymmetricNMF", 5, 10).fit(dense.T @ dense),
    "partial_fit": lambda: [m := new("MiniBatchStratifiedNMF", 20, 1)]
    + [m.partial_fit(X[lo : lo + 2000], strata=strata[lo : lo + 2000]) for lo in (0, 2000, 4000)],
}
FITS = {name: fit for name, fit in FITS.items() if not only or any(name.startswith(word) for word in only)}
for fit in FITS.values():
    fit()
print("ready", flush=True)
for line in sys.stdin:
    found = {}
    times.clear()
    for name, fit in FITS.items():
        began = time.perf_counter()
        fit()
        found[name] = time.perf_counter() - began
    print(json.dumps([found, times]), flush=True)
"""


def start(folder, options):
    """Return a process that measures the checkout in a folder whenever it is told to."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", WORKER, *options]
    found = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    if found.stdout.readline().strip() != "ready":
        raise SystemExit(f"The checkout in {folder} could not be measured.")
    return found


def ask(process):
    """Return what a process measures now: seconds of fits, and of kernels."""
    process.stdin.write("go\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def table(title, theirs, mine, least=0.0):
    """Print the ratios of medians by name; return their geometric mean."""
    print(f"\n{title}: ms there, ms here, ratio of medians")
    found = {}
    for name in mine[0]:
        if all(name in sample for sample in (*theirs, *mine)):
            a, b = ([sample[name] for sample in samples] for samples in (theirs, mine))
            if statistics.median(a) >= least:
                found[name] = statistics.median(b) / statistics.median(a)
                there, here = (spread([1e3 * seconds for seconds in side]) for side in (a, b))
                print(f"  {name:28} {there:>26} {here:>26} {found[name]:.3f}")
    mean = float(np.exp(np.mean(np.log(list(found.values())))))
    print(f"  geometric mean {mean:.3f}, largest {max(found.values()):.3f}")
    return mean


def main():
    """Measure two checkouts in turns and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=9, help="for each start of the processes")
    parser.add_argument(
        "--restarts", type=int, default=3, help="of both processes: some have unlucky memory throughout"
    )
    parser.add_argument("--kernels", action="store_true")
    parser.add_argument("--only", nargs="+", default=[], help="beginnings of the names of fits")
    arguments = parser.parse_args()
    options = arguments.only + (["--kernels"] if arguments.kernels else [])
    folders = {"there": arguments.folder.resolve(), "here": HERE}
    samples = {name: [] for name in folders}
    for _ in range(arguments.restarts):
        processes = {name: start(folder, options) for name, folder in folders.items()}
        found = measure(
            {name: lambda name=name, processes=processes: ask(processes[name]) for name in processes}, arguments.rounds
        )
        for name, process in processes.items():
            samples[name] += found[name]
            process.stdin.close()
            process.wait()
    table("Fits", *([sample[0] for sample in samples[name]] for name in folders))
    if arguments.kernels:
        by_name = [[{RENAMED.get(k, k): t for k, t in s[1].items()} for s in samples[name]] for name in folders]
        table("Kernels", *by_name, least=2e-4)


if __name__ == "__main__":
    main()
