"""Passes over the data, beside SciPy's: products with a factor, and what the shifts need on top."""

import numpy as np
import pytest

from fastnmf.core.factors import aligned, allocate
from fastnmf.core.losses import KullbackLeibler
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.kernels.row_intrinsics import padded

RANK = 20


def factor(n_rows, dtype, seed=0):
    """Draw a padded factor (n_rows, K)."""
    F = aligned((n_rows, padded(RANK, dtype)), dtype)
    F[:, :RANK] = np.random.default_rng(seed).random((n_rows, RANK))
    return F


def prepared(text, dtype):
    """Give the `Strata` of a text."""
    _, X, labels, _ = text
    return Strata.from_array(X.astype(dtype), labels)


def run(benchmark, n_threads, function, *args, **info):
    """Warm up, then time function(*args) on n_threads."""
    benchmark.extra_info.update(n_threads=n_threads, **info)
    with threads(n_threads):
        benchmark.pedantic(function, args, rounds=15, warmup_rounds=2)


@pytest.mark.parametrize("side", ["X H", "X' W"])
def bench_csr_matmul(benchmark, text, side, dtype, n_threads):
    strata = prepared(text, dtype)
    n_rows, n_columns = strata.shape
    benchmark.group = f"{side}, {text[0]}"
    if side == "X H":
        F, out, multiply = factor(n_columns, dtype), factor(n_rows, dtype), strata.matmul
    else:
        F, out, multiply = factor(n_rows, dtype), factor(n_columns, dtype), strata.tmatmul
    run(benchmark, n_threads, multiply, F, out, dtype=dtype)


@pytest.mark.parametrize("side", ["X H", "X' W"])
def bench_scipy_matmul(benchmark, text, side, dtype):
    X = text[1].astype(dtype)
    X = X if side == "X H" else X.T.tocsr()
    F = np.ascontiguousarray(factor(X.shape[1], dtype)[:, :RANK])
    benchmark.group = f"{side}, {text[0]}"
    benchmark.extra_info.update(baseline="scipy", dtype=dtype)
    benchmark.pedantic(lambda: X @ F, rounds=15, warmup_rounds=2)


def bench_stratum_sums(benchmark, text, dtype, n_threads):
    strata = prepared(text, dtype)
    benchmark.group = f"stratum sums, {text[0]}"
    run(benchmark, n_threads, strata.groups.sum, factor(strata.shape[0], dtype), dtype=dtype)


def bench_pattern_tmatmul(benchmark, text, dtype, n_threads):
    strata = prepared(text, dtype)
    benchmark.group = f"V H on the pattern, {text[0]}"
    arguments = strata.pattern.sums, factor(strata.shape[1], dtype)
    run(benchmark, n_threads, strata.pattern.tmatmul, *arguments, dtype=dtype)


def bench_pattern_sampled(benchmark, text, dtype, n_threads):
    strata = prepared(text, dtype)
    out = np.empty_like(strata.pattern.sums)
    benchmark.group = f"H S' on the pattern, {text[0]}"
    arguments = factor(strata.shape[1], dtype), factor(strata.n_strata, dtype), out
    run(benchmark, n_threads, strata.pattern.sampled, *arguments, dtype=dtype)


def bench_ratio_matmul(benchmark, text, dtype, n_threads):
    """Time the pass of the Kullback-Leibler divergence over the non-zeros: ratios, product and value."""
    strata = prepared(text, dtype)
    draw = np.random.default_rng(0)
    factors, tasks = allocate(strata, *(draw.random((n, RANK)) for n in strata.shape), None)
    term = KullbackLeibler(strata, factors["W"].shape[1], tasks)

    def value():
        factors.invalidate("W")
        return term.value(factors)

    benchmark.group = f"Kullback-Leibler pass, {text[0]}"
    run(benchmark, n_threads, value, dtype=dtype)


def bench_preparation(benchmark, text, dtype, n_threads):
    """Time everything that happens once a fit: validation, columns, groups, pattern."""
    _, X, labels, _ = text
    X = X.astype(dtype)

    def prepare():
        strata = Strata.from_array(X, labels)
        return strata.pattern, strata.rows

    benchmark.group = f"preparation, {text[0]}"
    benchmark.extra_info.update(n_threads=n_threads, dtype=dtype)
    with threads(n_threads):
        benchmark.pedantic(prepare, rounds=5, warmup_rounds=1)
