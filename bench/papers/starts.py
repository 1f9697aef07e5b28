"""Compare the starts of StratifiedNMF: the final loss that each leads to, and what it takes to compute it.

Usage::

    python bench/papers/starts.py [--quick] [--data synthetic,housing,mnist,newsgroups] [--seeds 5]

Prints a Markdown table: mean of the final normalized loss over the seeds with its range, iterations, and the time of
the start alone. The default solver stops by its own rule (at most 200 iterations); MU runs 100 iterations.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
from machine import describe
from runs import Data, say
from table import markdown

from fastnmf import StratifiedNMF, datasets
from fastnmf.core import init
from fastnmf.data.strata import Strata

SEEDS = 5
MU_ITERATIONS = 100
RANKS = {"synthetic": 5, "housing": 5, "mnist": 5, "newsgroups": 20}
LOADERS = {
    "synthetic": lambda: datasets.make_stratified(random_state=0),
    "housing": datasets.load_housing,
    "mnist": datasets.load_mnist,
    "newsgroups": datasets.load_newsgroups,
}
INITS = ("features", "rows", "random", "nndsvd", "nndsvda", "nndsvdar")
MU_INITS = tuple(name for name in INITS if name != "nndsvd")  # whose zeros MU can never leave


def draw(name, strata, rank, seed, is_mu=False):
    """Compute one start, as the estimator does."""
    rng = np.random.default_rng(seed)
    if name in ("features", "rows"):
        return getattr(init, name)(strata, rank, rng, needs_positive=is_mu)
    if name == "random":
        return init.random(strata, rank, rng)
    return init.nndsvd(strata, rank, rng, fill={"nndsvd": None, "nndsvda": "mean", "nndsvdar": "random"}[name])


def compare(names, seeds, iterations=MU_ITERATIONS):
    """Fit every data set from every start with both solvers; return a table, one line a fit."""
    rows = []
    for name in names:
        data, rank = Data.of(LOADERS[name]()), RANKS[name]
        strata = Strata.from_array(data.X, data.codes)
        strata.pattern  # noqa: B018 (every fit needs it, whatever its start)
        for solver, inits in (("hals", INITS), ("mu", MU_INITS)):
            options = {"max_iter": iterations, "tol": 0} if solver == "mu" else {}
            for start in inits:
                for seed in range(seeds):
                    began = time.perf_counter()
                    draw(start, strata, rank, seed, solver == "mu")
                    seconds = time.perf_counter() - began
                    model = StratifiedNMF(rank, solver=solver, init=start, random_state=seed, **options)
                    model.fit(data.X, strata=data.codes)
                    loss = model.normalized_loss_
                    found = {"loss": loss, "iterations": model.n_iter_, "start_seconds": seconds}
                    rows.append({"data": name, "solver": solver, "start": start, "seed": seed} | found)
                say(f"starts: {name}, {solver}, {start}: loss {loss:.6g}, start {seconds:.3f} s")
    return pd.DataFrame(rows)


def summary(table):
    """Return the header and rows of the printed table."""
    rows = []
    for (name, solver, start), part in table.groupby(["data", "solver", "start"], sort=False):
        low, mean, high = part.loss.min(), part.loss.mean(), part.loss.max()
        spread = f"{mean:.6f} ({low:.6f}-{high:.6f})"
        seconds = f"{1e3 * part.start_seconds.median():.1f}"
        rows.append(
            [name, "default" if solver == "hals" else "MU", start, spread, f"{part.iterations.median():.0f}", seconds]
        )
    return ["data", "solver", "start", "final loss, mean (range)", "iterations", "start ms"], rows


def main(argv=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2 seeds, without newsgroups")
    parser.add_argument("--data", help=f"of {','.join(LOADERS)}")
    parser.add_argument("--seeds", type=int)
    options = parser.parse_args(argv)
    names = (
        options.data.split(",") if options.data else [n for n in LOADERS if not (options.quick and n == "newsgroups")]
    )
    unknown = sorted(set(names) - set(LOADERS))
    if unknown:
        parser.error(f"unknown data: {', '.join(unknown)}; there are {', '.join(LOADERS)}")
    warnings.filterwarnings("ignore", message=".*max_iter.*")
    table = compare(names, options.seeds or (2 if options.quick else SEEDS))
    print(f"{describe()}\n\n{markdown(*summary(table))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
