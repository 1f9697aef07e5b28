"""The four experiments: every function runs one and returns its numbers as tables, a dict of name -> DataFrame."""

import sys
import time
from dataclasses import dataclass

import data as bench_data
import numpy as np
import pandas as pd
from interleave import first_at_or_under

from fastnmf import StratifiedNMF, datasets
from fastnmf.core.shifts import apply_gauge
from fastnmf.metrics import normalized_loss

MU, SIMULTANEOUS, DEFAULT = "MU sequential", "MU simultaneous", "default solver"
LONG, NNDSVD = f"{MU}, long", f"{DEFAULT}, NNDSVD"
OPTIONS = {
    MU: {"solver": "mu", "init": "custom", "update_order": "sequential"},
    SIMULTANEOUS: {"solver": "mu", "init": "custom", "update_order": "simultaneous"},
    DEFAULT: {},
}
OF_HOUSING = OPTIONS | {LONG: OPTIONS[MU], NNDSVD: {"init": "nndsvd"}}
N_WORDS = 30
RISE = 1e-12  # a relative rise of the loss that is more than rounding


@dataclass
class Data:
    """Rows sorted by stratum, X (n, m), `codes` (n,), names of strata and features."""

    X: object
    codes: np.ndarray
    strata: list
    features: list

    @classmethod
    def of(cls, bunch):
        """Sort the rows of a bunch by stratum, the strata in the bunch's order."""
        place = {name: i for i, name in enumerate(bunch.stratum_names.tolist())}
        X, codes, _ = bench_data.by_stratum(bunch.data, np.array([place[name] for name in bunch.strata.tolist()]))
        return cls(X, codes, list(place), list(bunch.feature_names))

    def means(self):
        """Return the mean of every column over the rows of every stratum, (S, m)."""
        return np.array([np.asarray(self.X[self.codes == i].mean(axis=0)).ravel() for i in range(len(self.strata))])


def say(text):
    """Report progress on standard error."""
    print(text, file=sys.stderr, flush=True)


def fit(name, data, rank, iterations, solver, seed, watch=None):
    """Run exactly so many iterations; MU from the paper's start, drawn V, W, H; return the model and a row of numbers.

    Parameters
    ----------
    name : str
        Of the experiment, for the progress line.
    data : Data
    rank, iterations : int
    solver : one of OF_HOUSING
    seed : int
    watch : callable, optional
        Called with the state of the fit after every iteration.
    """
    model = StratifiedNMF(rank, max_iter=iterations, tol=0, random_state=seed, callback=watch, **OF_HOUSING[solver])
    start = {}
    if model.init == "custom":
        pointers = np.concatenate([[0], np.cumsum(np.bincount(data.codes))])
        start = dict(zip("VWH", bench_data.paper_start(pointers, data.X.shape[1], rank, seed), strict=True))
    began = time.perf_counter()
    model.fit(data.X, strata=data.codes, **start)
    seconds = time.perf_counter() - began
    losses = model.history_["normalized_loss"]
    row = {
        "solver": solver,
        "seed": seed,
        "iterations": model.n_iter_,
        "loss": losses[-1],
        "loss_before_last": losses[-2],
        "loss_from_factors": normalized_loss(data.X, model.W_, model.components_, model.shifts_, data.codes),
        "rises": int(np.sum(np.diff(losses) > RISE * losses[:-1])),
        "seconds": seconds,
    }
    say(f"{name}: {solver}, seed {seed}: loss {losses[-1]:.6g} after {model.n_iter_:,} iterations, {seconds:.1f} s")
    return model, row


def marks(iterations, most=160):
    """Return iterations at which a curve is kept: evenly on a logarithmic axis, round ones, and the last two."""
    spread = np.unique(np.geomspace(1, max(iterations, 1), most).astype(int))
    kept = {
        0,
        *spread.tolist(),
        iterations - 1,
        iterations,
        *(m for m in (10, 100, 1000, 2000, 5000) if m < iterations),
    }
    return sorted(m for m in kept if 0 <= m <= iterations)


def curve(model, row):
    """Return the loss at the marks, rows of a table."""
    losses = model.history_["normalized_loss"]
    keys = {"solver": row["solver"], "seed": row["seed"]}
    return [keys | {"iteration": m, "loss": losses[m]} for m in marks(len(losses) - 1)]


def reached(model, row, target):
    """Note after how many iterations of its own a fit had a loss of at most `target`; the last entry is set apart."""
    at = first_at_or_under(model.history_["normalized_loss"][:-1], target)
    row["reaches_mu"] = np.nan if at is None else at


def synthetic(seeds, rank, iterations, default_iterations):
    """Run the planted data: four strata of 100 x 100; data and start are drawn anew for every seed."""
    runs, curves, means, gauges = [], [], [], []
    for seed in seeds:
        bunch = datasets.make_stratified(random_state=seed)
        data = Data.of(bunch)
        target = None
        for solver in OPTIONS:
            count = default_iterations if solver == DEFAULT else iterations
            at, seen = set(marks(count)), {}

            def watch(state, at=at, seen=seen):
                if state.iteration in at:
                    seen[state.iteration] = state.V.mean(axis=1)

            model, row = fit("synthetic", data, rank, count, solver, seed, watch)
            target = row["loss"] if solver == MU else target
            if solver == DEFAULT:
                reached(model, row, target)
            runs.append(row)
            curves += curve(model, row)
            keys = {"solver": solver, "seed": seed}
            means += [
                keys | {"iteration": m, "stratum": i + 1, "mean": value}
                for m, values in seen.items()
                for i, value in enumerate(values)
            ]
            gauges += _gauges(data, model, keys, bunch.V.mean(axis=1))
    return _frames(runs=runs, curves=curves, means=means, gauges=gauges, step=_step())


def _step():
    """Return half the squared error before and after one iteration where W and H point at the same error."""
    rows, A = [], np.ones((2, 2))
    start = {"V": np.zeros((1, 2)), "W": np.full((2, 1), 0.5), "H": np.full((1, 2), 0.5)}
    for solver in (MU, SIMULTANEOUS):
        model = StratifiedNMF(1, max_iter=1, tol=0, **OPTIONS[solver]).fit(A, strata=[0, 0], **start)
        before, after = (float(value) * np.sum(A**2) / 2 for value in model.history_["normalized_loss"] ** 2)
        rows.append({"solver": solver, "before": before, "after": after})
    return rows


def _gauges(data, model, keys, truth):
    """Return the means of the shifts in three equivalent forms, and the loss of each, computed from the factors."""
    rows = []
    for gauge in (None, "max_shift", "min_shift"):
        W, V = apply_gauge(model.W_, model.components_, model.shifts_, data.codes, gauge)
        loss = normalized_loss(data.X, W, model.components_, V, data.codes)
        form = {"gauge": gauge or "as fitted", "loss": loss}
        rows += [keys | form | {"stratum": i + 1, "mean": V[i].mean(), "truth": truth[i]} for i in range(len(V))]
    return rows


def housing(seeds, rank, iterations, long_seeds, long_iterations, default_iterations):
    """Run California housing: three strata by income; MU also for long, and the default solver from two starts."""
    data = Data.of(datasets.load_housing())
    runs, curves, chart = [], [], _chart(data, data.means(), {"solver": "column means", "seed": 0})
    for seed in seeds:
        target = None
        for solver in OPTIONS:
            count = default_iterations if solver == DEFAULT else iterations
            model, row = fit("housing", data, rank, count, solver, seed)
            target = row["loss"] if solver == MU else target
            if solver == DEFAULT:
                reached(model, row, target)
                row["loss_at_mu_iterations"] = model.history_["normalized_loss"][min(iterations, count)]
            runs.append(row)
            curves += curve(model, row)
            chart += _chart(data, model.shifts_, {"solver": solver, "seed": seed})
    more = [(LONG, seed, long_iterations) for seed in list(seeds)[:long_seeds]]
    for solver, seed, count in [*more, (NNDSVD, min(seeds), default_iterations)]:
        model, row = fit("housing", data, rank, count, solver, seed)
        runs.append(row)
        curves += curve(model, row)
        chart += _chart(data, model.shifts_, {"solver": solver, "seed": seed})
    return _frames(runs=runs, curves=curves, chart=chart, facts=_facts(data))


def _chart(data, V, keys):
    """Return v(i)_j and its share of the sum over the strata i, the bars of Fig. 3."""
    total = V.sum(axis=0)
    bars = np.divide(V, total, out=np.zeros_like(V), where=total > 0)
    return [
        keys | {"variable": feature, "stratum": stratum, "shift": V[i, j], "bar": bars[i, j]}
        for j, feature in enumerate(data.features)
        for i, stratum in enumerate(data.strata)
    ]


def mnist(seeds, rank, iterations, subset):
    """Run MNIST: digits 1 and 2, and other 2 and 3, a hundred images each."""
    data = Data.of(datasets.load_mnist(subset))
    every = datasets.load_mnist(subset, strata=None, n_per_digit=None)
    of_digit = np.array([every.data[every.target == digit].mean(axis=0) for digit in range(10)])
    runs, correlations, images = [], [], []
    for seed in seeds:
        target = None
        for solver in OPTIONS:
            model, row = fit("mnist", data, rank, iterations, solver, seed)
            target = row["loss"] if solver == MU else target
            if solver == DEFAULT:
                reached(model, row, target)
            row["zeros_in_v"] = np.mean(model.shifts_ == 0)
            row["never_lit"] = np.mean([~data.X[data.codes == i].any(axis=0) for i in range(len(data.strata))])
            row["v_share"] = model.shifts_[data.codes].sum() / data.X.sum()
            runs.append(row)
            factors = {f"v({i + 1})": v for i, v in enumerate(model.shifts_)}
            factors |= {f"h({j + 1})": h for j, h in enumerate(model.components_)}
            keys = {"solver": solver, "seed": seed}
            for factor, values in factors.items():
                found = [_correlation(values, mean) for mean in of_digit[[1, 2, 3]]]
                correlations += [
                    keys | {"factor": factor, "digit": d, "correlation": c}
                    for d, c in zip((1, 2, 3), found, strict=True)
                ]
                if seed == min(seeds):
                    pixels = {f"p{p}": value for p, value in enumerate(values)}
                    images.append(keys | {"factor": factor} | pixels)
    return _frames(runs=runs, correlations=correlations, images=images, facts=_facts(data))


def _correlation(a, b):
    """Return the correlation of two images, 0 where one is constant."""
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


def newsgroups(seeds, rank, iterations, published):
    """Run 20 newsgroups; `published` are lists of words, one for each group, strongest first."""
    data = Data.of(datasets.load_newsgroups())
    number = {word: j for j, word in enumerate(data.features)}
    present = np.array([np.bincount(data.X[data.codes == i].indices, minlength=len(number)) > 0 for i in range(20)])
    empty = np.diff(data.X.indptr) == 0
    groups = [
        {"group": group, "articles": int(np.sum(data.codes == i)), "empty": int(empty[data.codes == i].sum()),
         "words_present": present[i].mean()}
        for i, group in enumerate(data.strata)
    ]  # fmt: skip
    runs, curves, words, ranks = [], [], [], []
    keys = {"solver": "stratum means", "seed": 0}
    words += _words(data, data.means(), keys)
    for seed in seeds:
        target = None
        for solver in OPTIONS:
            model, row = fit("newsgroups", data, rank, iterations, solver, seed)
            target = row["loss"] if solver == MU else target
            if solver == DEFAULT:
                reached(model, row, target)
            V, keys = model.shifts_, {"solver": solver, "seed": seed}
            row |= {
                "v_non_zero": np.mean(V > 0),
                "v_above_1e-6": np.mean(V > 1e-6),
                "v_above_1e-4": np.mean(V > 1e-4),
                "v_outside_present": int(np.sum((V > 0) & ~present)),
            }
            runs.append(row)
            curves += curve(model, row)
            words += _words(data, V, keys)
            ranks += _ranks(data, V, keys, published, number)
    return _frames(runs=runs, curves=curves, words=words, ranks=ranks, groups=groups, facts=_facts(data))


def _words(data, V, keys):
    """Return the strongest words of each shift; ties by the order of the vocabulary."""
    order = np.argsort(-V, axis=1, kind="stable")[:, :N_WORDS]
    return [
        keys | {"group": group, "rank": place + 1, "word": data.features[j], "weight": V[i, j]}
        for i, group in enumerate(data.strata)
        for place, j in enumerate(order[i])
    ]


def _ranks(data, V, keys, published, number):
    """Return the rank that each published word has among our shifts of its group."""
    rows = []
    for i, (group, words) in enumerate(zip(data.strata, published, strict=True)):
        place = np.empty(V.shape[1], dtype=np.int64)
        place[np.argsort(-V[i], kind="stable")] = np.arange(1, V.shape[1] + 1)
        rows += [
            keys | {"group": group, "word": word, "published_rank": rank, "rank": int(place[number[word]])}
            for rank, word in enumerate(words, start=1)
        ]
    return rows


def _facts(data):
    """Return what tells whether the data are the published ones."""
    values = data.X.data if hasattr(data.X, "indptr") else data.X
    return [{"rows": data.X.shape[0], "columns": data.X.shape[1], "norm": float(np.linalg.norm(values))}]


def _frames(**tables):
    return {name: pd.DataFrame(rows) for name, rows in tables.items()}
