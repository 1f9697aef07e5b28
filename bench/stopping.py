"""Show where the stopping rule ends a fit, and what that leaves.

Usage::

    python bench/stopping.py [--iterations 500] [--seeds 3] [--only newsgroups,digits]

Each fit runs to the last iteration without a rule. The rule of `fastnmf.core.iterate.has_converged` is then asked after
each iteration, and so is the one before it, by which the decrease of the last 10 iterations went on at the same pace.
For both the table has the iteration at which the fit would have ended, median over the seeds, and by how much its
objective is then above the last one in the worst seed. With ``tol=1e-4`` a squared error may be 1e-4 above, a relative
error thus 0.005 %.
"""

import argparse
import statistics
import warnings

import data
import numpy as np
from machine import describe
from sklearn import datasets
from table import markdown

from fastnmf import NMF, StratifiedNMF
from fastnmf.core.iterate import LOOK_BACK, has_converged, has_slowed
from fastnmf.datasets import load_housing, simulate_counts

TOL = 1e-4
COUNTS = {"solver": "mu", "beta_loss": "kullback-leibler"}


def constant_pace(best, tol, *_):
    """Return whether the decrease of the last 10 iterations, ten times over, is at most `tol` times the objective."""
    return len(best) > LOOK_BACK and has_slowed(best[-1 - LOOK_BACK], best[-1], LOOK_BACK, tol)


RULES = {"constant pace": constant_pace, "power law": has_converged}


def settings():
    """Yield (name, function that returns X and labels or None, model)."""
    text = data.newsgroups
    for rank in (10, 20, 50):
        for init in ("features", "multilevel"):
            yield f"newsgroups, {rank}, {init}", lambda: (text()[0], None), NMF(rank, init=init)
    yield "newsgroups and groups, 20", lambda: text()[:2], StratifiedNMF(20)
    yield "housing, three strata, 5", lambda: (load_housing().data, load_housing().strata), StratifiedNMF(5)
    for rank in (10, 30):
        yield f"digits, {rank}", lambda: (datasets.load_digits().data, None), NMF(rank, init="nndsvd")
    yield "faces, 20", lambda: (datasets.fetch_olivetti_faces(download_if_missing=False).data, None), NMF(20)
    yield "uniform 100 x 40, 5", lambda: (np.random.default_rng(0).random((100, 40)), None), NMF(5)
    yield (
        "simulated counts, Kullback-Leibler, 10",
        lambda: (simulate_counts(3000, 2000, 10, random_state=0).data, None),
        NMF(10, **COUNTS),
    )


def ends(model, X, labels, n_iter, seeds):
    """Return rule -> list of (iteration at which it ends a fit, excess of the objective over the last)."""
    found = {name: [] for name in RULES}
    for seed in seeds:
        fit = model.set_params(max_iter=n_iter, tol=0, random_state=seed)
        fit.fit(X, **({} if labels is None else {"strata": labels}))
        best = np.minimum.accumulate(fit.history_["objective"])
        scale = fit.history_["objective"][-1] / fit.normalized_loss_**2  # of losses without penalties
        for name, rule in RULES.items():
            so_far = best.tolist()
            stop = next((i for i in range(1, len(best)) if rule(so_far[: i + 1], TOL, 0.0, scale)), len(best) - 1)
            found[name].append((stop, best[stop] / best[-1] - 1))
    return found


def main(argv=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="parts of names, with commas between them")
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    rows = []
    for name, load, model in settings():
        if not any(part in name for part in options.only.split(",")):
            continue
        found = ends(model, *load(), options.iterations, range(options.seeds))
        cells = [
            f"{statistics.median(stop for stop, _ in each):.0f}, {100 * max(excess for _, excess in each):.4f}"
            for each in found.values()
        ]
        rows.append([name, *cells])
    print(f"{describe()}\n\n{options.iterations} iterations, {options.seeds} seeds, tol {TOL:g}\n")
    print(markdown(["data, rank, start", *(f"{name}: iterations, objective above the end, %" for name in RULES)], rows))


if __name__ == "__main__":
    main()
