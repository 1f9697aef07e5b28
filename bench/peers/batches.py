"""Mini-batches beside the batch model: loss and time after five passes."""

import time

import numpy as np
from interleave import measure, ms, ratios, spread
from stratified import DTYPES

from fastnmf import MiniBatchStratifiedNMF, StratifiedNMF

PASSES = 5


def minibatch(setting, report):
    """Time whole fits: five passes in batches, and as many iterations of the batch model; compare the losses."""
    report.section("minibatch", f"{PASSES} passes of MiniBatchStratifiedNMF, and {PASSES} iterations of StratifiedNMF")
    most, found, ends = max(setting.threads), {}, {}
    for dtype in DTYPES:
        X = setting.X.astype(dtype)
        for name, cls in (("passes", MiniBatchStratifiedNMF), ("iterations", StratifiedNMF)):

            def fit(cls=cls, X=X, n=PASSES):
                model = cls(setting.rank, max_iter=n, tol=0, random_state=0, n_threads=most)
                return model.fit(X, strata=setting.labels)

            ends[name, dtype] = fit().normalized_loss_ ** 2
            found[name, dtype] = lambda fit=fit: seconds(fit)
        long = StratifiedNMF(setting.rank, random_state=0, n_threads=most).fit(X, strata=setting.labels)
        ends["settled", dtype] = long.normalized_loss_**2
    samples = measure(found, setting.repeats, "minibatch: round")
    rows = []
    for dtype in DTYPES:
        slower = ratios(samples["passes", dtype], samples["iterations", dtype])
        losses = [f"{ends[name, dtype]:.5f}" for name in ("passes", "iterations", "settled")]
        rows.append([dtype, *(ms(samples[name, dtype]) for name in ("passes", "iterations")), spread(slower), *losses])
        report.at_most(f"{PASSES} passes / {PASSES} batch iterations, whole fits, {dtype}", slower, 1.5, "x")
        above = ends["passes", dtype] / ends["settled", dtype] - 1
        report.at_most(f"squared loss after {PASSES} passes above the settled batch model, {dtype}", [above], 0.01, "")
    report.note("Squared normalized losses; settled: the batch model at its defaults, stopped by its own rule.")
    header = ["", "passes ms", "iterations ms", "passes / iterations", "loss, passes", "iterations", "settled"]
    report.table(header, rows)
    report.keep(seconds=samples, losses={" ".join(key): float(np.float64(value)) for key, value in ends.items()})


def seconds(fit):
    """Return how long a fit takes, in seconds."""
    began = time.perf_counter()
    fit()
    return time.perf_counter() - began
