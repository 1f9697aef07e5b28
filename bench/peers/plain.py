"""Sections on plain NMF beside scikit-learn: time to an error, Kullback-Leibler iterations, data of growing size."""

from itertools import product

import data
import numpy as np
from checks import divergence
from contest import OURS, SKLEARN, fixed, worst
from interleave import fastest, measure, ms, per_iteration, ratios, spread
from sklearn.decomposition import NMF as SklearnNMF
from stamps import COORDINATE_DESCENT, MULTIPLICATIVE, time_fit
from threadpoolctl import threadpool_limits

from fastnmf import NMF, StratifiedNMF

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
    """Time plain NMF to an error near the end of scikit-learn's coordinate descent, whole fits."""
    report.section("nmf", f"Plain NMF: time to the relative error {ERROR}")
    reached, runs, most = {}, {}, max(setting.threads)
    with setting.contest({"newsgroups": (setting.X, None)}) as contest:
        for who, dtype, seed in product((*contest.ours, SKLEARN), DTYPES, setting.seeds):
            options = {"n_components": setting.rank, "random_state": seed}
            options |= {"solver": "cd", "init": "random"} if who == SKLEARN else {}
            first = 4 if who == SKLEARN else 1
            n, facts = contest.fewest(
                who, "newsgroups", options, ERROR, first=first, last=40, dtype=dtype, threads=most
            )
            reached[who, dtype, seed] = {"iterations": n, "error": facts and facts["loss"]}
            for threads in (setting.threads if who == SKLEARN else (most,)) if n else ():
                more = {"dtype": dtype, "threads": threads}
                runs[who, threads, dtype, seed] = (who, "newsgroups", fixed(options, n, seed)), more
        samples = contest.take_turns(runs, setting.repeats, "nmf")
    rows, gained = [], {}
    for (who, dtype, seed), facts in reached.items():
        if facts["iterations"] is None or reached[SKLEARN, dtype, seed]["iterations"] is None:
            rows.append([who, dtype, seed, "not in 40", *[""] * 3])
            continue
        each = [
            fastest(*(v for k, v in samples.items() if k[0] == name and k[2:] == (dtype, seed)))
            for name in (who, SKLEARN)
        ]
        gained[who, dtype, seed] = ratios(each[1], each[0])
        own = [facts["iterations"], f"{facts['error']:.6f}", ms(each[0])]
        rows.append([who, dtype, seed, *own, spread(gained[who, dtype, seed])])
    report.note(
        "Errors are computed again from the returned factors in float64; the fewest iterations that come to the error "
        f"are found outside the clock. Ours: default start, {most} threads, the whole call of `fit`, with start, level "
        "and last exact W. scikit-learn: cd, tol=0, random start, the whole call, faster number of BLAS threads."
    )
    report.table(["", "dtype", "seed", "its", "error", "fit ms", "cd / this"], rows)
    report.keep(reached=reached, samples=samples)
    for dtype, least in (("float64", 6.5), ("float32", 5)):
        mine = [each for key, each in gained.items() if key[:2] == (OURS, dtype)]
        report.at_least(f"plain NMF to {ERROR}, {dtype}, whole fits, worst seed: cd / ours", worst(mine), least)


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
