"""Passes over one factor of 52,000 rows: Gram, MU step, HALS sweep, exact NNLS, inner product."""

import numpy as np
import pytest

from fastnmf.core.factors import aligned
from fastnmf.core.problem import Subproblem
from fastnmf.core.updates import HALS, MU, ActiveSet
from fastnmf.kernels import rows
from fastnmf.kernels.jit import split_rows, threads
from fastnmf.kernels.row_intrinsics import padded

N_ROWS = 52_000


@pytest.fixture(params=[20, 48], ids="rank={}".format)
def problem(request, dtype):
    """Give (rank, F, its `Subproblem`): a factor, and a half-gradient whose minimiser has zeros."""
    rank, rng = request.param, np.random.default_rng(0)
    width = padded(rank, dtype)
    F, pos, neg = (aligned((N_ROWS, width), dtype) for _ in range(3))
    F[:, :rank] = rng.random((N_ROWS, rank))
    basis = rng.random((3 * rank, rank))
    gram = np.zeros((width, width))
    gram[:rank, :rank] = basis.T @ basis
    pos[:, :rank] = rng.random((N_ROWS, rank)) * 10 * rank
    neg[:, :rank] = rng.random((N_ROWS, rank))
    sub = Subproblem(split_rows(N_ROWS, width**2))
    sub.add(gram=gram, pos=pos, neg=neg)
    return rank, F, sub


def run(benchmark, name, n_threads, problem, function, *args):
    """Warm up, then time function(*args); F is moved again and again, which costs the same every time."""
    rank, F, _ = problem
    benchmark.group = f"{name}, rank {rank}, {N_ROWS:,} rows"
    benchmark.extra_info.update(n_threads=n_threads, dtype=str(F.dtype), shape=list(F.shape))
    with threads(n_threads):
        benchmark.pedantic(function, args, rounds=15, warmup_rounds=2)


def bench_rows_gram(benchmark, problem, n_threads):
    _, F, sub = problem
    run(benchmark, "Gram", n_threads, problem, rows.gram, sub.tasks, F)


def bench_blas_gram(benchmark, problem):
    rank, F, _ = problem
    benchmark.group = f"Gram, rank {rank}, {N_ROWS:,} rows"
    benchmark.extra_info.update(baseline="BLAS", dtype=str(F.dtype))
    benchmark.pedantic(lambda: F.T @ F, rounds=15, warmup_rounds=2)


def bench_rows_mu(benchmark, problem, n_threads):
    rank, F, sub = problem
    run(benchmark, "MU step", n_threads, problem, MU(), F, sub, rank, 1)


@pytest.mark.parametrize("n_sweeps", [1, 3])
def bench_rows_hals(benchmark, problem, n_threads, n_sweeps):
    rank, F, sub = problem
    run(benchmark, f"HALS, {n_sweeps} sweeps", n_threads, problem, HALS(), F, sub, rank, n_sweeps)


def bench_rows_nnls(benchmark, problem, n_threads):
    rank, F, sub = problem
    run(benchmark, "exact NNLS", n_threads, problem, ActiveSet(), F, sub, rank)


def bench_rows_extrapolate(benchmark, problem, n_threads):
    _, F, sub = problem
    run(
        benchmark, "extrapolation", n_threads, problem, rows.rows_extrapolate, sub.tasks, F, F.copy(), F.dtype.type(0.5)
    )


def bench_rows_dot(benchmark, problem, n_threads):
    _, F, sub = problem
    parts = np.empty(len(sub.tasks) - 1)
    run(benchmark, "inner product", n_threads, problem, rows.rows_dot, sub.tasks, F, sub.pos, parts)
