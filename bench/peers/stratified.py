"""Sections on Stratified-NMF: iterations, preparation, and the time to a given loss, beside the published algorithm."""

import statistics
import time

import numpy as np
import versus_baselines
from interleave import fastest, measure, ms, ratios, spread
from stamps import reach, time_fit, time_to

from fastnmf import StratifiedNMF
from fastnmf.core import init as starts
from fastnmf.core.factors import allocate
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.metrics import normalized_loss

DTYPES = ("float64", "float32")
PAPER_ITERATIONS = 100  # whose loss is the target
KNOWN = {0: 17474.35, 1: 17477.51, 2: 17479.01}  # squared losses of the published program after 100 iterations


def iteration(setting, report):
    """Time one MU and one HALS iteration beside the paper loop and the stacked loop."""
    report.section("iteration", "One iteration of Stratified-NMF")
    factors = paper_start(setting.start, setting.X.shape[1], setting.rank, 0)
    found = versus_baselines.contestants(
        setting.X, setting.labels, setting.start, factors, setting.options(quick=setting.is_quick)
    )
    versus_baselines.warm_up(found)
    seconds = measure(found, setting.repeats, "iteration: round")
    report.note(
        "From the paper's start. Ours: history time stamps, exact loss of every iteration included; HALS extrapolated, "
        "sweeps (2, 1, 2). Baselines evaluate no loss; ratios are to their faster number of BLAS threads, in the same "
        "precision and round. A HALS iteration is compared with an MU iteration of the baselines."
    )
    report.table(*versus_baselines.rows(seconds))
    report.keep(seconds_per_iteration=seconds)
    most = str(max(setting.threads))
    for dtype, paper, stacked in (("float64", 14, 4), ("float32", 13, 3)):
        for name, baseline, target in (
            (("MU", dtype, most), "paper loop", paper),
            (("MU", dtype, most), "stacked loop", stacked),
            (("MU", dtype, "1"), "paper loop", 10),
            (("HALS", dtype, most), "paper loop", 12),
        ):
            what = f"{name[0]} iteration, {dtype}, threads {name[2]}: {baseline} / ours"
            report.at_least(what, versus_baselines.ratios_to(baseline, name, seconds), target)


def preparation(setting, report):
    """Time all that happens before the first iteration, step by step, and as a fit does it."""
    report.section("preparation", "Preparation of a fit (default solver)")
    cast = {dtype: setting.X.astype(dtype) for dtype in DTYPES}
    found = {}
    for dtype, X in cast.items():
        found[dtype, "steps"] = lambda X=X: preparation_steps(X, setting)
        model = default_fit(setting, 0, 1)
        found[dtype, "fit"] = lambda X=X, model=model: time_fit(model, X, strata=setting.labels)["before"]
    for run in found.values():
        run()
    samples = measure(found, 3 * setting.repeats, "preparation: round")
    names = list(samples["float64", "steps"][0])
    rows = []
    for dtype in DTYPES:
        steps = samples[dtype, "steps"]
        total = [sum(step.values()) for step in steps]
        each = [ms([step[name] for step in steps]) for name in names]
        rows.append([dtype, *each, spread([1e3 * t for t in total]), ms(samples[dtype, "fit"])])
        report.at_most(f"preparation, {dtype}", [1e3 * t for t in total], {"float32": 60, "float64": 80}[dtype], "ms")
    report.note(
        f"Medians of {3 * setting.repeats}, ms, {max(setting.threads)} threads. Last column: from the call of `fit` to "
        "its first iteration, validation by scikit-learn and buffers of the solver included."
    )
    report.table(["", *names, "all steps (range)", "in a fit"], rows)
    report.keep(seconds={name: values for name, values in samples.items()})


def preparation_steps(X, setting):
    """Return the seconds of each step of the preparation."""
    marks = [time.perf_counter()]

    def mark(_):
        marks.append(time.perf_counter())

    with threads(max(setting.threads)):
        data = Strata.from_array(X, setting.labels)
        mark(data)
        mark((data.rows, data.columns))
        mark((data.groups, data.pattern))
        W, H, v = starts.rows(data, setting.rank, np.random.default_rng(0))
        mark(H)
        mark(allocate(data, W, H, v))
    names = ("validation", "columns", "pattern", "start", "factors")
    return dict(zip(names, np.diff(marks).tolist(), strict=True))


def target(setting, report):
    """Time from the call of `fit` to the loss that the published program has after 100 iterations."""
    report.section("target", f"Time to the loss of {PAPER_ITERATIONS} iterations of the published program")
    total = float(np.vdot(setting.X.data, setting.X.data))
    cast = {dtype: setting.X.astype(dtype) for dtype in DTYPES}
    goals, found, reached = {}, {}, {}
    for seed in setting.seeds:
        goals[seed] = target_loss(setting, seed)
        for dtype, X in cast.items():

            def make(n_iter, seed=seed):
                return default_fit(setting, seed, n_iter)

            reached[dtype, seed] = reach(make, X, setting.X, goals[seed], setting.labels)
            n_iter = reached[dtype, seed]["iterations"]
            if n_iter is not None:
                model = make(n_iter)
                found["ours", dtype, seed] = lambda X=X, m=model, n=n_iter: time_to(m, X, n, strata=setting.labels)
    found |= paper_contestants(setting, cast)
    samples = measure(found, setting.repeats, "target: round")
    paper = {
        dtype: [
            PAPER_ITERATIONS * t
            for t in fastest(*(v for k, v in samples.items() if k[0] == "paper loop" and k[1] == dtype))
        ]
        for dtype in DTYPES
    }
    rows, times = [], {}
    for (dtype, seed), facts in reached.items():
        if facts["iterations"] is None:
            rows.append([dtype, seed, f"{goals[seed] ** 2 * total:.2f}", "not in 40", *[""] * 8])
            continue
        mine = samples["ours", dtype, seed]
        times[dtype, seed] = {
            "loop alone": [sample["to target"] - sample["before"] for sample in mine],
            "call to loss": [sample["to target"] for sample in mine],
            "whole fit": [sample["whole"] for sample in mine],
        }
        each = times[dtype, seed].values()
        squares = [f"{loss**2 * total:.2f}" for loss in (goals[seed], facts["loss"], facts["returned"])]
        rows.append(
            [dtype, seed, squares[0], facts["iterations"], *squares[1:], *(ms(t) for t in each)]
            + [f"{statistics.median(paper[dtype]):.1f}"]
            + [spread(ratios(paper[dtype], t), 0) for t in each]
        )
    report.note(
        "Target: simultaneous MU (the published program's order) from the paper's start of that seed, drawn as that "
        "program draws it; squared losses known from the program itself: "
        + ", ".join(str(KNOWN[seed]) for seed in setting.seeds)
        + f". Ours: defaults, {max(setting.threads)} threads, kernels warm; stopped after the first iteration whose "
        "own loss is at or under the target. Both losses of ours are computed again from the factors in float64 "
        "(`fastnmf.metrics.normalized_loss`): of the iterate at that moment, and of what `fit` returns (W solved "
        "exactly once more). ms: loop alone; from the call of `fit` to that loss; the whole call of `fit`. "
        f"Paper loop: a few iterations in every round, multiplied to {PAPER_ITERATIONS}, its faster number of BLAS "
        "threads, same precision."
    )
    header = ["", "seed", "target", "its", "loss", "returned", "loop ms", "to loss ms", "fit ms", "paper s"]
    report.table([*header, "x loop", "x to loss", "x fit"], rows)
    report.keep(targets=goals, reached=reached, samples=samples, curves=curves(setting, cast, paper))
    for dtype in DTYPES:
        for name, least in (("call to loss", 80), ("whole fit", 80), ("loop alone", 120)):
            worst = min(
                (ratios(paper[dtype], t[name]) for key, t in times.items() if key[0] == dtype),
                key=statistics.median,
                default=[0.0],
            )
            report.at_least(f"time to loss, {dtype}, {name}, worst seed: paper loop / ours", worst, least)


def paper_start(start, n_columns, rank, seed):
    """Draw the start of the published program: V, every W(i), H, from NumPy's legacy generator."""
    rng = np.random.RandomState(seed)
    V = rng.rand(len(start) - 1, n_columns)
    W = np.concatenate([rng.rand(size, rank) / rank**0.5 for size in np.diff(start)])
    return V, W, rng.rand(rank, n_columns) / rank**0.5


def published(setting, dtype, seed):
    """Return multiplicative updates in the published program's order, and the arguments of `fit`."""
    V, W, H = (f.astype(dtype) for f in paper_start(setting.start, setting.X.shape[1], setting.rank, seed))
    model = StratifiedNMF(
        setting.rank,
        solver="mu",
        update_order="simultaneous",
        init="custom",
        max_iter=PAPER_ITERATIONS,
        tol=0,
        n_threads=max(setting.threads),
    )
    return model, {"strata": setting.labels, "V": V, "W": W, "H": H}


def default_fit(setting, seed, n_iter):
    """Return the default solver for a given number of iterations."""
    return StratifiedNMF(setting.rank, max_iter=n_iter, tol=0, random_state=seed, n_threads=max(setting.threads))


def target_loss(setting, seed):
    """Return the loss of the published program after 100 iterations, from its factors."""
    model, arguments = published(setting, "float64", seed)
    model.fit(setting.X, **arguments)
    return normalized_loss(setting.X, model.W_, model.components_, model.shifts_, setting.labels)


def paper_contestants(setting, cast):
    """Map names to functions that time a few iterations of the paper loop."""
    factors = paper_start(setting.start, setting.X.shape[1], setting.rank, 0)
    few, found = 2 if setting.is_quick else 4, {}
    for dtype, X in cast.items():
        arguments = X, setting.start, [f.astype(dtype) for f in factors], few
        for n in setting.threads:
            found["paper loop", dtype, n] = lambda a=arguments, n=n: versus_baselines.time_paper(*a, n)
    return found


def curves(setting, cast, paper):
    """Return loss against time, from the call of `fit`, of fits from the start of the first seed."""
    found, seed = {}, setting.seeds[0]
    for dtype, X in cast.items():
        for name, (model, arguments) in {
            f"MU, {dtype}": published(setting, dtype, seed),
            f"HALS (default), {dtype}": (default_fit(setting, seed, 100), {"strata": setting.labels}),
        }.items():
            before = time_fit(model, X, **arguments)["before"]
            seconds = (before + model.history_["seconds"][:-1]).tolist()
            found[name] = {"seconds": seconds, "loss": model.history_["normalized_loss"][:-1].tolist()}
        pace = statistics.median(paper[dtype]) / PAPER_ITERATIONS
        losses = found[f"MU, {dtype}"]["loss"]
        found[f"paper loop, {dtype}"] = {"seconds": [pace * i for i in range(len(losses))], "loss": losses}
    return found
