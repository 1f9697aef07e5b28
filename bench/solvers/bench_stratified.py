"""Fits of Stratified-NMF from one start beside the two baselines; reports divide by the iterations a call.

What is timed of ours is the whole `fit`, preparation of the data included; `bench/versus_baselines.py` times
the iterations alone, interleaved: trust its ratios on a machine that others use, too.
"""

import numpy as np
import pytest
from data import blocks_of
from paper_loop import paper_loop
from stacked_loop import stacked_loop

from fastnmf import StratifiedNMF

ITERATIONS = 30


def bench_paper_loop(benchmark, text, start_factors):
    name, X, _, start = text
    V, W, H = start_factors
    benchmark.group = f"one iteration, {name}"
    benchmark.extra_info.update(baseline="paper", iterations=3)
    pieces = np.split(W, start[1:-1])
    benchmark.pedantic(paper_loop, (blocks_of(X, start), V, pieces, H, 3), rounds=3, warmup_rounds=1)


def bench_stacked_loop(benchmark, text, start_factors):
    name, X, _, start = text
    benchmark.group = f"one iteration, {name}"
    benchmark.extra_info.update(baseline="stacked", iterations=10)
    benchmark.pedantic(stacked_loop, (X, start, *start_factors, 10), rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("solver", ["mu", "hals"])
def bench_fit(benchmark, text, start_factors, solver, dtype, n_threads):
    name, X, labels, _ = text
    V, W, H = (f.astype(dtype) for f in start_factors)
    X = X.astype(dtype)
    model = StratifiedNMF(H.shape[0], solver=solver, init="custom", max_iter=ITERATIONS, tol=0, n_threads=n_threads)
    benchmark.group = f"one iteration, {name}"
    benchmark.extra_info.update(iterations=ITERATIONS, dtype=dtype, n_threads=n_threads)
    benchmark.pedantic(model.fit, (X,), {"strata": labels, "V": V, "W": W, "H": H}, rounds=5, warmup_rounds=1)
    benchmark.extra_info["normalized_loss"] = float(model.normalized_loss_)


def bench_default_fit(benchmark, text, n_threads):
    name, X, labels, _ = text
    model = StratifiedNMF(20, random_state=0, n_threads=n_threads)
    benchmark.group = f"default fit, {name}"
    benchmark.pedantic(model.fit, (X,), {"strata": labels}, rounds=3, warmup_rounds=1)
    benchmark.extra_info.update(
        n_iter=int(model.n_iter_), normalized_loss=float(model.normalized_loss_), n_threads=n_threads
    )


def bench_transform(benchmark, text, n_threads):
    name, X, labels, _ = text
    model = StratifiedNMF(20, random_state=0, max_iter=10, tol=0, n_threads=n_threads).fit(X, strata=labels)
    benchmark.group = f"transform, {name}"
    benchmark.pedantic(model.transform, (X,), {"strata": labels}, rounds=5, warmup_rounds=1)
