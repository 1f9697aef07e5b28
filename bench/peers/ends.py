"""Sections on where fits end: with a level and without, and from the default start and from all others."""

import statistics
from itertools import product

import data
import numpy as np
from contest import KULLBACK_LEIBLER, OURS

from fastnmf.datasets import load_housing, simulate_counts

STARTS = ("features", "rows", "random", "nndsvd", "nndsvda")
SMALL = 2e-4  # normalized loss on California housing that the published start misses by a factor of 50
SEEDS, MORE_SEEDS = 5, 10
COUNTS = "simulated counts, Kullback-Leibler"
MANY_SEEDS = {(COUNTS, 10): 50}  # seeds end up to 1.2 % apart there, so that the medians of ten differ by 0.2 %


def levels():
    """Yield (name, X, options, iterations) of data that are large enough for a level at some rank."""
    yield "newsgroups", data.newsgroups()[0], {}, 60
    yield "Zipf text x4", data.zipf_text(75_000, 100_000, 5_100_000, 20)[0], {}, 30
    cells = simulate_counts(3000, 2000, 10, random_state=0)
    yield COUNTS, cells.data, KULLBACK_LEIBLER, 300


def converged(setting, report):
    """Compare the losses of long fits with and without a level."""
    report.section("converged", "Converged losses with and without a level")
    ranks = (20,) if setting.is_quick else (10, 20, 50)
    rows, kept, counts = [], {}, {}
    for name, X, options, n_iter in levels():
        counts[name] = f"{X.shape[0]:,} x {X.shape[1]:,}, {X.nnz:,} non-zeros, {n_iter} iterations"
        with setting.contest({"data": (X, None)}) as contest:
            for rank in ranks:
                seeds = range(2 if setting.is_quick else MANY_SEEDS.get((name, rank), MORE_SEEDS))
                found = {
                    (init, seed): contest.ask(
                        OURS,
                        "data",
                        {"n_components": rank, "init": init, "max_iter": n_iter, "tol": 0, "random_state": seed}
                        | options,
                        threads=max(setting.threads),
                        facts=True,
                    )
                    for init, seed in product(("auto", "features"), seeds)
                }
                ends = {init: [found[init, seed]["loss"] for seed in seeds] for init in ("auto", "features")}
                medians = {init: statistics.median(each) for init, each in ends.items()}
                above = medians["auto"] / medians["features"] - 1
                level = found["auto", 0].get("passes", [0])[0]
                spans = [f"{medians[init]:.7g} ({min(each):.7g}-{max(each):.7g})" for init, each in ends.items()]
                rows.append([name, rank, len(seeds), f"{level:.2f}" if level else "none", *spans, f"{above:+.4%}"])
                kept[f"{name}, rank {rank}"] = ends
                report.at_most(
                    f"{name}, rank {rank}: median loss with a level above that without", [100 * above], 0.02, "%", 3
                )
        if setting.is_quick:
            break
    report.note(
        "Float64; medians (range) of losses computed from the factors (relative error; objective "
        "for Kullback-Leibler). Level: passes over the data before the first iteration; none where the rule takes the "
        "plain start. " + "; ".join(f"{name}: {text}" for name, text in counts.items()) + "."
    )
    report.table(["", "rank", "seeds", "level", "auto", "features", "difference"], rows)
    report.keep(losses=kept)


def dense():
    """Yield (name, model, X, labels, rank) of small or dense data; what is not in the data home is left out."""
    from sklearn import datasets

    try:
        bunch = load_housing(download_if_missing=False)
        X, labels, _ = data.by_stratum(bunch.data, bunch.strata)
        yield "housing", "StratifiedNMF", X, labels, 5
    except OSError:
        pass
    digits = datasets.load_digits().data
    yield "digits", "NMF", digits, None, 10
    yield "digits", "NMF", digits, None, 30
    try:
        faces = datasets.fetch_olivetti_faces(download_if_missing=False).data
        yield "faces", "NMF", faces, None, 20
    except OSError:
        pass
    yield "wine", "NMF", datasets.load_wine().data, None, 5
    yield "breast cancer", "NMF", datasets.load_breast_cancer().data, None, 8


def starts(setting, report):
    """Compare the default start with all others on data of few columns, and on dense data."""
    report.section("starts", "Where fits of small data end, by start")
    seeds, rows, kept = range(2 if setting.is_quick else SEEDS), [], {}
    for name, model, X, labels, rank in dense():
        if setting.is_quick and X.size > 1e5:
            continue
        ends = {}
        with setting.contest({"data": (X, labels)}) as contest:
            for start in (None, *STARTS):
                options = {"n_components": rank, "max_iter": 500} | ({} if start is None else {"init": start})
                ends[start or "default"] = [
                    contest.ask(OURS, "data", options | {"random_state": seed}, model=model, facts=True)["loss"]
                    for seed in seeds
                ]
        medians = {start: statistics.median(each) for start, each in ends.items()}
        best = min(medians[start] for start in STARTS)
        own = [f"{medians[start] / best:.4g} ({max(each) / best:.4g})" for start, each in ends.items()]
        rows.append([name, rank, f"{X.shape[0]:,} x {X.shape[1]:,}", f"{best:.6g}", *own])
        kept[f"{name}, rank {rank}"] = ends
        if name == "housing":
            report.at_most("housing, rank 5, worst seed: normalized loss", [max(ends["default"])], SMALL, "", 6)
        else:
            over = medians["default"] / best - 1
            report.at_most(f"{name}, rank {rank}: median loss over the best start's", [100 * over], 0.5, "%", 3)
    report.note(
        f"max_iter=500, seeds 0 to {len(seeds) - 1}, defaults otherwise. Median of the normalized loss over the best "
        "start's median (worst seed in brackets), computed from the factors; housing: StratifiedNMF, three strata."
    )
    report.table(["", "rank", "size", "best", "default", *STARTS], rows)
    report.keep(losses=kept)


BITS = {  # name -> (model, data, options)
    "NMF": ("NMF", "newsgroups", {"n_components": 20}),
    "StratifiedNMF": ("StratifiedNMF", "newsgroups", {"n_components": 20}),
    "StratifiedNMF, mu": ("StratifiedNMF", "newsgroups", {"n_components": 20, "solver": "mu", "max_iter": 20}),
    "NMF, Kullback-Leibler": ("NMF", "newsgroups", {"n_components": 10, "max_iter": 20} | KULLBACK_LEIBLER),
    "StratifiedNMF, Kullback-Leibler": (
        "StratifiedNMF",
        "newsgroups",
        {"n_components": 10, "max_iter": 20} | KULLBACK_LEIBLER,
    ),
    "MiniBatchNMF": ("MiniBatchNMF", "newsgroups", {"n_components": 10, "max_iter": 2}),
    "NMF, dense": ("NMF", "dense", {"n_components": 10}),
    "StratifiedNMF, dense": ("StratifiedNMF", "dense", {"n_components": 10}),
    "NMF, small": ("NMF", "small", {"n_components": 5}),
    "NMF, small, Kullback-Leibler": ("NMF", "small", {"n_components": 5} | KULLBACK_LEIBLER),
}


def bits(setting, report):
    """Fit with one thread and with two, and compare the bits of the factors."""
    report.section("bits", "The same bits for one thread and two")
    rng = np.random.default_rng(0)
    known = {
        "newsgroups": (setting.X, setting.labels),
        "dense": (rng.random((3000, 300)), np.sort(rng.integers(0, 4, 3000))),
        "small": (rng.random((100, 40)), None),
    }
    kinds = {name: BITS[name] for name in ("NMF, small",)} if setting.is_quick else BITS
    rows, differing = [], 0
    with setting.contest(known) as contest:
        for (name, (model, where, options)), dtype in product(kinds.items(), ("float64", "float32")):
            found = [
                contest.ask(
                    OURS, where, options | {"random_state": 0}, model=model, dtype=dtype, threads=n, facts=True
                )["bits"]
                for n in (1, 2)
            ]
            differing += found[0] != found[1]
            rows.append([name, dtype, *found, "same" if found[0] == found[1] else "DIFFER"])
    report.note("Hashes of W, H and the shifts of whole fits, seed 0.")
    report.table(["", "dtype", "1 thread", "2 threads", ""], rows)
    report.at_most("kinds of fits whose bits differ between 1 and 2 threads", [differing], 0, "", 0)
