"""Which models find the planted programmes in counts of cells from several batches: the tables in docs/counts.md.

Usage: python bench/counts.py               which loss, with and without strata
       python bench/counts.py --dispersion  what the negative binomial adds to Kullback-Leibler
       python bench/counts.py --time        time and memory of an iteration of both, 20,000 x 2,000 counts
"""

import argparse
import time
import tracemalloc
import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.preprocessing import normalize
from table import markdown

from fastnmf import NMF, StratifiedNMF
from fastnmf.core.alternate import sweep
from fastnmf.core.factors import allocate
from fastnmf.core.losses.choice import Counts
from fastnmf.core.objectives import divergence_problem
from fastnmf.data.strata import Strata
from fastnmf.datasets.planted import simulate_counts
from fastnmf.kernels.jit import threads
from fastnmf.metrics import negative_binomial_nll

SEEDS = 3
KULLBACK_LEIBLER = {"solver": "mu", "beta_loss": "kullback-leibler"}
CONTESTANTS = {
    "Kullback-Leibler with strata, 4 components": (StratifiedNMF, 4, KULLBACK_LEIBLER),
    "squared error with strata, 4 components": (StratifiedNMF, 4, {}),
    "Kullback-Leibler without strata, 4 components": (NMF, 4, KULLBACK_LEIBLER),
    "Kullback-Leibler without strata, 7 components": (NMF, 7, KULLBACK_LEIBLER),
}


def scores(cells, cls, rank, options):
    """Return ARI and NMI of the programme that a cell uses most, and the mean cosine of matched components."""
    model = cls(rank, max_iter=300, random_state=0, **options)
    return agreement(cells, model.fit(cells.data, **({"strata": cells.batch} if cls is StratifiedNMF else {})))


def agreement(cells, model):
    """Return what `scores` does for a fitted model."""
    used = np.argmax(model.W_ * model.components_.sum(axis=1), axis=1)
    cosines = normalize(cells.programs) @ normalize(model.components_).T
    matched = cosines[linear_sum_assignment(-cosines)].mean()
    return adjusted_rand_score(cells.target, used), normalized_mutual_info_score(cells.target, used), matched


def print_losses():
    """Print the table of losses."""
    data = [simulate_counts(random_state=seed) for seed in range(SEEDS)]
    rows = []
    for name, contestant in CONTESTANTS.items():
        found = np.array([scores(cells, *contestant) for cells in data]).T
        rows.append([name, *(" ".join(f"{score:.2f}" for score in kind) for kind in found)])
    print(markdown(["", "ARI", "NMI", "cosine"], rows))


def print_dispersion():
    """Print what is found of a planted dispersion, and what a negative-binomial fit from Kullback-Leibler changes."""
    rows = []
    for planted in (3.0, 1.0, 0.3):
        found = []
        for seed in range(SEEDS):
            cells = simulate_counts(240, 120, 4, 3, dispersion=planted, random_state=seed)
            options = KULLBACK_LEIBLER | {"random_state": seed, "max_iter": 500}
            kl = StratifiedNMF(4, n_init=3, **options).fit(cells.data, strata=cells.batch)
            options["beta_loss"] = "negative-binomial"
            nb = StratifiedNMF(4, init=kl, **options).fit(cells.data, strata=cells.batch)
            fits = (kl, kl.estimate_dispersion(cells.data, strata=cells.batch)), (nb, nb.dispersion_)
            for model, dispersion in fits:
                args = cells.data, model.W_, model.components_, model.shifts_, cells.batch
                nll = negative_binomial_nll(*args, dispersion=dispersion)
                ari, _, cosine = agreement(cells, model)
                found.append((np.median(dispersion[dispersion > 0]), ari, cosine, nll / cells.data.shape[0]))
        for name, of_loss in (("Kullback-Leibler", found[::2]), ("negative binomial", found[1::2])):
            texts = [
                " ".join(format(value, form) for value in kind)
                for kind, form in zip(zip(*of_loss, strict=True), (".2f", ".2f", ".2f", ".1f"), strict=True)
            ]
            rows.append([f"{planted:g}", name, *texts])
    print(markdown(["planted", "fit", "median dispersion found", "ARI", "cosine", "nll of a cell"], rows))


def print_time():
    """Print the time of an iteration of both losses, of a new dispersion, and the peak of memory beyond the data."""
    cells = simulate_counts(20_000, 2000, 10, 3, random_state=0)
    rng, rows = np.random.default_rng(0), []
    X = cells.data
    print(f"{X.shape[0]} x {X.shape[1]}, {X.nnz / np.prod(X.shape):.1%} non-zeros, 10 components")
    for labels in (None, cells.batch):
        data, seconds = Strata.from_array(X, labels), {}
        start = rng.random((X.shape[0], 10)), rng.random((X.shape[1], 10)), None
        start = start if labels is None else (*start[:2], 0.01 * data.pattern.sums)
        assert data.columns.indptr[-1] == X.nnz  # the data by columns count as data
        for name, loss in (("kl", 1), ("nb", Counts(kind="feature"))):
            factors, tasks = allocate(data, *start)
            with threads(None):
                problem = divergence_problem(data, factors, tasks, loss)
                sweep(problem, factors)  # compiles, and estimates the dispersion
                seconds[name] = []
                for _ in range(8):
                    began = time.perf_counter()
                    sweep(problem, factors)
                    problem.value(factors)
                    seconds[name].append(time.perf_counter() - began)
                if name == "nb":
                    began = time.perf_counter()
                    problem.losses[0].estimate(factors)
                    seconds["dispersion"] = [time.perf_counter() - began]
        tracemalloc.start()
        with threads(None):
            problem = divergence_problem(data, factors, tasks, Counts(kind="feature"))
            sweep(problem, factors)
        extra = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        kl, nb = (np.median(seconds[name]) for name in ("kl", "nb"))
        times = [f"{1000 * value:.0f} ms" for value in (kl, nb, seconds["dispersion"][0])]
        rows.append(["without" if labels is None else "3", *times, f"{nb / kl:.1f}", f"{extra:.0f} MB"])
    heads = ["strata", "Kullback-Leibler", "negative binomial", "new dispersion", "ratio", "memory beyond the data"]
    print(markdown(heads, rows))


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dispersion", action="store_true", help="what the negative binomial adds")
    parser.add_argument("--time", action="store_true", help="time and memory of an iteration")
    given = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*max_iter.*")
    (print_time if given.time else print_dispersion if given.dispersion else print_losses)()


if __name__ == "__main__":
    main()
