"""Sections on plain NMF beside scikit-learn: time to an error, Kullback-Leibler iterations, data of growing size."""

import statistics

import data
import numpy as np
from checks import divergence, fewest_iterations
from interleave import fastest, measure, ms, per_iteration, ratios, spread
from sklearn.decomposition import NMF as SklearnNMF
from stamps import COORDINATE_DESCENT, MULTIPLICATIVE, reach, time_fit, time_to
from threadpoolctl import threadpool_limits

from fastnmf import NMF, StratifiedNMF
from fastnmf.metrics import normalized_loss

DTYPES = ("float64", "float32")
# Relative Frobenius error of scikit-learn cd after 200 iterations on newsgroups at rank 20 (median of three seeds),
# and 0.1 % more.
ERROR = 0.980699
# Documents, words, draws (of which about a seventh repeats a word): 1.1, 4.4 and 18 million non-zeros.
SIZES = {1: (18_846, 51_840, 1_280_000), 4: (75_000, 100_000, 5_100_000), 16: (300_000, 200_000, 20_600_000)}


def cd(rank, n_iter, seed=0):
    """Return scikit-learn's coordinate descent, which runs exactly `n_iter` iterations."""
    return SklearnNMF(rank, solver="cd", init="random", max_iter=n_iter, tol=0, random_state=seed)


def time_sklearn(model, X, loop, n_threads, **arguments):
    """Fit scikit-learn's model once on that many BLAS threads; return the seconds before, in and after its loop."""
    with threadpool_limits(n_threads, user_api="blas"):
        return time_fit(model, X, loop, **arguments)


def nmf(setting, report):
    """Time plain NMF to an error near the end of scikit-learn's coordinate descent."""
    report.section("nmf", f"Plain NMF: time to the relative error {ERROR}")
    found, reached = {}, {}
    for dtype in DTYPES:
        X = setting.X.astype(dtype)
        for seed in setting.seeds:
            facts, runs = nmf_contestants(setting, X, seed)
            reached[dtype, seed] = facts
            found.update({(name, dtype, seed): run for name, run in runs.items()})
    samples = measure(found, setting.repeats, "nmf: round")
    rows, gained = [], {}
    for (dtype, seed), facts in reached.items():
        counts = [facts[name]["iterations"] or "not in 40" for name in ("fit", "iterate", "cd")]
        if ("fit", dtype, seed) not in samples:
            rows.append([dtype, seed, *counts, *[""] * 8])
            continue
        fit = [sample["whole"] for sample in samples["fit", dtype, seed]]
        iterate = [sample["to target"] for sample in samples["iterate", dtype, seed]]
        cd_fit, cd_loop = (
            fastest(*([sample[part] for sample in samples[f"cd, {n}", dtype, seed]] for n in setting.threads))
            for part in ("whole", "loop")
        )
        gained["fit / fit", dtype, seed] = ratios(cd_fit, fit)
        gained["loop / to error", dtype, seed] = ratios(cd_loop, iterate)
        errors = [f"{facts[name]['error']:.6f}" for name in ("fit", "cd")]
        times = [ms(t, 0) for t in (fit, iterate, cd_fit, cd_loop)]
        both = [spread(gained[name, dtype, seed]) for name in ("fit / fit", "loop / to error")]
        rows.append([dtype, seed, *counts, *errors, *times, *both])
    report.note(
        "Errors are computed again from the factors in float64. `fit`: the fewest iterations with which what `fit` "
        "returns is at or under the error, found outside the clock; the whole call is timed, on our side with "
        "preparation and the last exact solve of W. `iterate`: the fewest after which our iterate itself is there; "
        f"timed from the call of `fit` to that moment. Ours: default start, {max(setting.threads)} threads. "
        "scikit-learn cd: tol=0, random start, faster number of BLAS threads; its loop alone is without validation "
        "and final error. Ratios: its fit / our fit, and its bare loop / our call to error."
    )
    header = ["", "seed", "our fit its", "our iterate its", "cd its", "our error", "cd error", "our fit ms"]
    report.table([*header, "our call to error ms", "cd fit ms", "cd loop ms", "fit / fit", "loop / to error"], rows)
    report.keep(reached=reached, samples=samples)
    for dtype, least in (("float64", 4), ("float32", 3)):
        for name in ("fit / fit", "loop / to error"):
            mine = [each for key, each in gained.items() if key[:2] == (name, dtype)]
            report.at_least(f"plain NMF to {ERROR}, {dtype}, worst seed: cd / ours, {name}", worst(mine), least)


def nmf_contestants(setting, X, seed):
    """Return what it takes to come to the error, and functions that time it: ours to the end of `fit` and of the
    iterations, and scikit-learn's on each number of BLAS threads; none if one of them does not come there."""

    def ours(n):
        return NMF(setting.rank, max_iter=n, tol=0, random_state=seed, n_threads=max(setting.threads))

    def theirs(n):
        return cd(setting.rank, n, seed)

    facts = {}
    for name, make, first in (("fit", ours, 2), ("cd", theirs, 4)):
        n_iter, error = fewest_iterations(lambda n, make=make: error_of(make(n), X, setting.X), ERROR, first, 40)
        facts[name] = {"iterations": n_iter, "error": error}
    facts["iterate"] = reach(ours, X, setting.X, ERROR)
    if any(fact["iterations"] is None for fact in facts.values()):
        return facts, {}
    count = {name: fact["iterations"] for name, fact in facts.items()}
    runs = {
        "fit": lambda: time_fit(ours(count["fit"]), X),
        "iterate": lambda: time_to(ours(count["iterate"]), X, count["iterate"]),
    }
    for n in setting.threads:
        runs[f"cd, {n}"] = lambda n=n: time_sklearn(theirs(count["cd"]), X, COORDINATE_DESCENT, n)
    return facts, runs


def worst(lists):
    """Return the list with the smallest median."""
    return min(lists, key=statistics.median, default=[0.0])


def error_of(model, X, exact):
    """Fit, and return the relative error of the returned factors against the float64 data."""
    W = model.fit_transform(X)
    return normalized_loss(exact, W, model.components_)


def kl(setting, report):
    """Time multiplicative updates for the Kullback-Leibler divergence, and compare where they lead."""
    report.section("kl", "Plain NMF, Kullback-Leibler divergence, multiplicative updates")
    few, many = (2, 4) if setting.is_quick else (2, 10)
    most = max(setting.threads)
    found, ends = {}, {}
    for dtype in DTYPES:
        X = setting.X.astype(dtype)
        W, H = kl_start(X, setting.rank)

        def ours(n, X=X, W=W, H=H, n_threads=most):
            options = {"solver": "mu", "beta_loss": "kullback-leibler", "init": "custom", "tol": 0}
            return NMF(setting.rank, max_iter=n, n_threads=n_threads, **options).fit(X, W=W, H=H)

        def theirs(n, X=X, W=W, H=H):
            options = {"solver": "mu", "beta_loss": "kullback-leibler", "init": "custom", "tol": 0}
            return SklearnNMF(setting.rank, max_iter=n, **options), X, {"W": W.copy(), "H": H.copy()}

        def time_theirs(n_threads, theirs=theirs):
            seconds = []
            for count in (few, many):
                model, X, arguments = theirs(count)
                seconds.append(time_sklearn(_Fit(model, arguments), X, MULTIPLICATIVE, n_threads)["loop"])
            return (seconds[1] - seconds[0]) / (many - few)

        mine = ours(10)
        model, _, arguments = theirs(10)
        their_W = model.fit_transform(X, **arguments)
        values = [divergence(setting.X, *f) for f in ((mine.W_, mine.components_), (their_W, model.components_))]
        ends[dtype] = {"ours": values[0], "scikit-learn": values[1], "relative": abs(values[0] / values[1] - 1)}
        V = np.full((len(np.unique(setting.labels)), X.shape[1]), X.mean(dtype=np.float64) / 2, X.dtype)

        def stratified(n, X=X, W=W, H=H, V=V, n_threads=most):
            options = {"solver": "mu", "beta_loss": "kullback-leibler", "init": "custom", "tol": 0}
            model = StratifiedNMF(setting.rank, max_iter=n, n_threads=n_threads, **options)
            return model.fit(X, strata=setting.labels, W=W, H=H, V=V)

        for n in setting.threads:
            found["ours, with strata", dtype, n] = lambda n=n, fit=stratified: per_iteration(
                fit(30, n_threads=n).history_
            )
            found["ours", dtype, n] = lambda n=n, ours=ours: per_iteration(ours(30, n_threads=n).history_)
            found["scikit-learn mu", dtype, n] = lambda n=n, run=time_theirs: run(n)
    samples = measure(found, setting.repeats, "kl: round")
    rows = []
    for dtype in DTYPES:
        their = fastest(*(samples["scikit-learn mu", dtype, n] for n in setting.threads))
        for name in ("scikit-learn mu", "ours", "ours, with strata"):
            for n in setting.threads:
                each = samples[name, dtype, n]
                end = {"ours": "ours", "scikit-learn mu": "scikit-learn"}.get(name)
                end = f"{ends[dtype][end]:.4f}" if end else ""
                rows.append([name, dtype, n, ms(each), spread(ratios(their, each)), end])
        for name in ("ours", "ours, with strata"):
            gained = ratios(their, samples[name, dtype, most])
            report.at_least(f"KL iteration, {dtype}, threads {most}: scikit-learn mu / {name}", gained, 20)
        relative = [ends[dtype]["relative"]]
        report.at_most(f"KL objective after 10 iterations, {dtype}: relative difference", relative, 1e-6, "")
    report.note(
        f"Same start on both sides. Ours: history time stamps, the objective of every iteration included. "
        f"scikit-learn: (time of {many} iterations - time of {few}) / {many - few}, no objective; ratios are to its "
        "faster number of BLAS threads. Objective after 10 iterations computed again from the factors in float64; "
        "relative differences: " + ", ".join(f"{dtype} {ends[dtype]['relative']:.1e}" for dtype in DTYPES) + "."
    )
    report.table(["", "dtype", "threads", "ms an iteration", "scikit-learn / this", "objective after 10"], rows)
    report.keep(seconds_per_iteration=samples, objectives=ends)


class _Fit:
    """Let `fit` of scikit-learn take a start, which only its `fit_transform` does."""

    def __init__(self, model, arguments):
        self.model, self.arguments = model, arguments

    def fit(self, X):
        """Fit from the start."""
        self.model.fit_transform(X, **self.arguments)


def kl_start(X, rank):
    """Draw scikit-learn's random start: uniform, scaled to the mean of the data, in the dtype of X."""
    rng = np.random.default_rng(0)
    scale = np.sqrt(X.mean(dtype=np.float64) / rank)
    return (scale * rng.random((X.shape[0], rank))).astype(X.dtype), (scale * rng.random((rank, X.shape[1]))).astype(
        X.dtype
    )


def zipf(setting, report):
    """Time iterations on synthetic text of 1, 4 and 16 times as many non-zeros."""
    report.section("zipf", "Synthetic Zipf text of growing size")
    report.note(
        f"20 strata, rank {setting.rank}, {max(setting.threads)} threads; Stratified: HALS with one sweep each, "
        "sweeps=(1, 1, 1), not extrapolated, and MU; plain: HALS with sweeps=(1, 1), not extrapolated. Loss of every "
        "iteration included. scikit-learn cd: its loop alone, without objective, faster number of BLAS threads, same "
        "precision. ns: per non-zero and iteration."
    )
    rows = []
    for factor in (1,) if setting.is_quick else SIZES:
        X, labels, _ = data.zipf_text(*SIZES[factor], 20)
        samples = measure(zipf_contestants(setting, X, labels, factor), setting.repeats, f"zipf x{factor}: round")
        report.keep(**{f"x{factor}": {"shape": X.shape, "nnz": X.nnz, "seconds_per_iteration": samples}})
        for (name, dtype, _), each in samples.items():
            if name.startswith("scikit-learn"):
                continue
            their = fastest(*(v for k, v in samples.items() if k[:2] == ("scikit-learn cd", dtype)))
            gained = ratios(their, each)
            nanoseconds = [1e9 * t / X.nnz for t in each]
            size = f"x{factor}: {X.shape[0]:,} x {X.shape[1]:,}, {X.nnz / 1e6:.2f} M"
            rows.append([size, name, dtype, ms(each), spread(nanoseconds), ms(their), spread(gained)])
            if factor == max(SIZES) and name == "HALS, stratified":
                if dtype == "float32":
                    report.at_most("x16 non-zeros, float32, HALS: per non-zero and iteration", nanoseconds, 20, "ns")
                report.at_least(f"x16 non-zeros, {dtype}: scikit-learn cd / ours, stratified", gained, 3)
            if factor == max(SIZES) and name == "HALS, plain":
                report.at_least(f"x16 non-zeros, {dtype}: scikit-learn cd / ours, plain", gained, 3)
    report.table(["non-zeros", "ours", "dtype", "ms an iteration", "ns", "cd ms", "cd / ours"], rows)


def zipf_contestants(setting, X, labels, factor):
    """Map names to functions that time iterations on one text; all have run once."""
    most, found = max(setting.threads), {}
    count = {1: 20, 4: 10, 16: 6}[factor]
    options = {"max_iter": count, "tol": 0, "random_state": 0, "n_threads": most}
    for dtype in DTYPES:
        cast = X.astype(dtype)
        hals = StratifiedNMF(setting.rank, sweeps=(1, 1, 1), extrapolate=False, **options)
        mu = StratifiedNMF(setting.rank, solver="mu", **options)
        plain = NMF(setting.rank, solver="hals", sweeps=(1, 1), **options)
        for name, model, arguments in (
            ("HALS, stratified", hals, {"strata": labels}),
            ("MU, stratified", mu, {"strata": labels}),
            ("HALS, plain", plain, {}),
        ):
            found[name, dtype, most] = lambda m=model, c=cast, a=arguments: per_iteration(m.fit(c, **a).history_)
            if factor == 1:
                found[name, dtype, most]()  # the kernels are the same for all sizes
        few = 2 if factor > 1 else 4
        for n in setting.threads:
            found["scikit-learn cd", dtype, n] = lambda c=cast, n=n, few=few: (
                time_sklearn(cd(setting.rank, few), c, COORDINATE_DESCENT, n)["loop"] / few
            )
    return found
