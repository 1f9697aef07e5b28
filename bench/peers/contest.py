"""Whole fits of several programs on the same data, by turns: one process each, which waits while others measure."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from checks import fewest_iterations
from interleave import measure
from scipy import sparse

HERE = Path(__file__).resolve().parent
OURS, AGAINST, SKLEARN = "this", "against", "scikit-learn"
KULLBACK_LEIBLER = {"solver": "mu", "beta_loss": "kullback-leibler"}


class Contest:
    """Processes that fit the same data when told to: this checkout, another one, and scikit-learn with the paper loop.

    Parameters
    ----------
    datasets : dict, name -> (X, labels or None)
        X a CSR array or an ndarray; labels int, rows sorted by them.
    against : Path, optional
        The other checkout.
    pause : float, default=0.25
        Seconds before each turn, as for `interleave.measure`.

    Attributes
    ----------
    ours : tuple of str
        The checkouts.
    facts : dict, name -> dict
        What the contestants that return facts came to in their last turn.
    """

    def __init__(self, datasets, against=None, pause=0.25):
        self.datasets, self.pause, self.processes, self.facts = datasets, pause, {}, {}
        self.folders = {OURS: HERE.parents[1]} | ({} if against is None else {AGAINST: against.resolve()})
        self.ours = tuple(self.folders)

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory()
        for name, (X, labels) in self.datasets.items():
            if sparse.issparse(X):
                parts = {"data": X.data, "indices": X.indices, "indptr": X.indptr, "shape": np.array(X.shape)}
            else:
                parts = {"dense": X}
            np.savez(
                Path(self.temporary.name) / f"{name}.npz", **parts, **({} if labels is None else {"labels": labels})
            )
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.stdin.close()
            process.wait()
        self.temporary.cleanup()

    def _process(self, who):
        if who not in self.processes:
            folder, library = self.folders.get(who, HERE.parents[1]), "sklearn" if who == SKLEARN else "fastnmf"
            self.processes[who] = subprocess.Popen(
                [sys.executable, HERE / "worker.py", self.temporary.name, library],
                env={**os.environ, "PYTHONPATH": str(folder)},
                cwd=folder,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        return self.processes[who]

    def ask(self, who, data, options, **more):
        """Run a request; return a dict with its `seconds`.

        Parameters
        ----------
        who : str
            `OURS`, `AGAINST` or `SKLEARN`.
        data : str
        options : dict
            Parameters of the estimator.
        **more :
            `model` (default NMF; StratifiedNMF, MiniBatchNMF, or "paper loop", a process of scikit-learn's), `dtype`,
            `threads`, `do` ("fit", "transform", "partial_fit") with `rows`, `calls` (their median counts), and `facts`:
            also return `loss`, `iterations`, `bits`, `passes` and `objective` of the factors.
        """
        request = {"model": "NMF", "dtype": "float64", "threads": 2, "do": "fit", "rows": None, "calls": 1}
        process = self._process(who)
        print(json.dumps(request | {"facts": False, "data": data, "options": options} | more), file=process.stdin)
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"The process of {who!r} ended at {data}, {options}, {more}; see its message above.")
        return json.loads(line)

    def fewest(self, who, data, options, target, *, first=1, last=60, **more):
        """Return the fewest iterations after which the returned factors are at or under the target, and their facts.

        Parameters
        ----------
        who, data, options, **more :
            As for `ask`.
        target : float
        first, last : int
            Where the search begins, upwards, or downwards where the target is reached there; and where it ends.

        Returns
        -------
        (int, dict), or (None, None) where none comes there
        """
        found = {}

        def loss_after(n):
            found[n] = self.ask(who, data, options | {"max_iter": n, "tol": 0}, facts=True, **more)
            return found[n]["loss"]

        n, _ = fewest_iterations(loss_after, target, first, last)
        while n == first > 1 and loss_after(n - 1) <= target:
            n = first = n - 1
        return n, found.get(n)

    def fewest_by_curve(self, who, data, options, target, *, last, length=64, **more):
        """Do as `fewest`, beginning at the iteration at which the history of a longer fit comes to the target.

        For models whose history holds multiples of the loss: the last one belongs to the returned factors. The fit has
        `length` iterations, or twice as many, and so on, at most `last`.
        """
        length = min(length, last)
        while True:
            long = self.ask(who, data, options | {"max_iter": length, "tol": 0}, facts=True, **more)
            if long["loss"] <= target or length == last:
                break
            length = min(2 * length, last)
        scale = long["loss"] / long["objective"][-1]
        n = next((i for i, value in enumerate(long["objective"]) if value * scale <= target * (1 + 1e-9)), None)
        if n is None:
            return None, None
        return self.fewest(who, data, options, target, first=max(n, 1), last=last, **more)

    def take_turns(self, contestants, rounds, label):
        """Time contestants, name -> (arguments, keywords) of `ask`, by turns.

        Returns
        -------
        dict, name -> list of seconds, one a round
        """

        def run(name):
            (arguments, more) = contestants[name]
            found = self.ask(*arguments, **more)
            if "loss" in found:
                self.facts[name] = found
            return found["seconds"]

        return measure(
            {name: lambda name=name: run(name) for name in contestants}, rounds, f"{label}: round", self.pause
        )

    def take_turns_by_seed(self, contestants, rounds, label):
        """Do as `take_turns` for what is slow: names end in a seed, and each round times one seed of all."""
        seeds = sorted({name[-1] for name in contestants})
        samples = {name: [] for name in contestants}
        for turn in range(rounds):
            seed = seeds[turn % len(seeds)]
            of_seed = {name: each for name, each in contestants.items() if name[-1] == seed}
            for name, seconds in self.take_turns(of_seed, 1, f"{label}, seed {seed}").items():
                samples[name] += seconds
        return samples


def fixed(options, n_iter, seed):
    """Return options of a fit with a fixed number of iterations."""
    return options | {"max_iter": n_iter, "tol": 0, "random_state": seed}


def worst(lists):
    """Return the list with the smallest median."""
    return min(lists, key=statistics.median, default=[0.0])
