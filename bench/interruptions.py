"""Kill a long fit again and again at random moments, and compare what it ends with to the fit that nobody killed.

    python bench/interruptions.py --fit mu --kills 10 --iterations 900

Also prints what a checkpoint costs. Ends with exit code 1 where a bit differs.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse as sp

import fastnmf

FITS = {
    "mu": ("StratifiedNMF", {"solver": "mu"}, "float64"),
    "hals": ("StratifiedNMF", {}, "float64"),
    "kl": ("StratifiedNMF", {"solver": "mu", "beta_loss": "kullback-leibler"}, "float64"),
    "mu32": ("StratifiedNMF", {"solver": "mu"}, "float32"),
    "cd32": ("NMF", {}, "float32"),
}
ARRAYS = ("components_", "W_", "shifts_")


def fit(name, iterations, state=None, every=1.0):
    """Fit made-up text: 12,000 rows, 5,000 columns, 1.2 million non-zeros, 8 strata."""
    rng = np.random.default_rng(0)
    kind, options, dtype = FITS[name]
    X = sp.random_array((12_000, 5_000), density=0.02, rng=rng, format="csr", dtype=dtype)
    strata = {"strata": rng.integers(0, 8, 12_000)} if kind == "StratifiedNMF" else {}
    model = getattr(fastnmf, kind)(20, **{"random_state": 0, "max_iter": iterations, "tol": 0} | options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, checkpoint=state, checkpoint_every=every, **strata)


def iteration_of(state):
    """Return the iteration that a checkpoint holds, or None."""
    try:
        return int(np.load(state)["state.history.iteration"][-1])
    except FileNotFoundError:
        return None


def main():
    """Run the fit whole, then with kills, and print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fit", choices=tuple(FITS), default="mu")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=900)
    parser.add_argument("--every", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", help="fit with this checkpoint, and nothing else")
    given = parser.parse_args()
    if given.state:
        fit(given.fit, given.iterations, given.state, given.every)
        return 0
    moments = random.Random(given.seed)
    fit(given.fit, 2)  # compile
    whole = fit(given.fit, given.iterations)
    took = whole.history_["seconds"][-1]
    print(f"{given.fit}: {given.iterations} iterations in {took:.1f} s without interruption")
    with tempfile.TemporaryDirectory() as folder:
        state = str(Path(folder) / "state.npz")
        command = [sys.executable, __file__, "--fit", given.fit, "--iterations", str(given.iterations)]
        command += ["--every", str(given.every), "--state", state]
        for turn in range(given.kills):
            with subprocess.Popen(command) as child:
                before = iteration_of(state)
                while child.poll() is None and iteration_of(state) in (None, before):
                    time.sleep(0.05)  # until it has gone on, so that the kills are spread over the fit
                time.sleep(moments.uniform(0, 1.2 * took / given.kills))
                child.kill()
            print(f"killed {turn + 1}: state of iteration {iteration_of(state)}, exit code {child.returncode}")
        again = fit(given.fit, given.iterations, state, given.every)
        arrays = [name for name in ARRAYS if hasattr(whole, name)]
        same = all(getattr(whole, name).tobytes() == getattr(again, name).tobytes() for name in arrays)
        same = same and whole.history_["objective"].tobytes() == again.history_["objective"].tobytes()
        size = Path(state).stat().st_size / 1e6
    seconds = again.history_["seconds"][-1]
    print(f"same bits: {same}; n_iter_ {again.n_iter_}; {seconds:.1f} s of work kept; state {size:.1f} MB")
    return 0 if same and again.n_iter_ == given.iterations else 1


if __name__ == "__main__":
    sys.exit(main())
