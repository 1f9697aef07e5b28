"""Passes over one factor of 52,000 rows: Gram, MU step, HALS sweep, exact NNLS, inner product."""

import numpy as np
import pytest

from fastnmf.kernels import nnls, rows
from fastnmf.kernels.jit import split_rows, threads
from fastnmf.kernels.simd import lanes, padded
from fastnmf.problem import aligned

N_ROWS = 52_000


@pytest.fixture(params=[20, 48], ids="rank={}".format)
def subproblem(request, dtype):
    """Give (rank, tasks, F, gram, pos, neg): a factor, and a half-gradient whose minimiser has zeros."""
    rank, rng = request.param, np.random.default_rng(0)
    width = padded(rank, dtype)
    F, pos, neg = (aligned((N_ROWS, width), dtype) for _ in range(3))
    F[:, :rank] = rng.random((N_ROWS, rank))
    basis = rng.random((3 * rank, rank))
    gram = np.zeros((width, width), dtype)
    gram[:rank, :rank] = basis.T @ basis
    pos[:, :rank] = rng.random((N_ROWS, rank)) * 10 * rank
    neg[:, :rank] = rng.random((N_ROWS, rank))
    return rank, split_rows(N_ROWS, width**2), F, gram, pos, neg


def run(benchmark, name, n_threads, subproblem, function, *args):
    """Warm up, then time function(*args); F is moved again and again, which costs the same every time."""
    rank, _, F, *_ = subproblem
    benchmark.group = f"{name}, rank {rank}, {N_ROWS:,} rows"
    benchmark.extra_info.update(n_threads=n_threads, dtype=str(F.dtype), shape=list(F.shape))
    with threads(n_threads):
        benchmark.pedantic(function, args, rounds=15, warmup_rounds=2)


def bench_rows_gram(benchmark, subproblem, n_threads):
    _, tasks, F, gram, *_ = subproblem
    parts = np.empty((len(tasks) - 1, *gram.shape))
    run(benchmark, "Gram", n_threads, subproblem, rows.rows_gram, tasks, F, parts)


def bench_blas_gram(benchmark, subproblem):
    rank, _, F, *_ = subproblem
    benchmark.group = f"Gram, rank {rank}, {N_ROWS:,} rows"
    benchmark.extra_info.update(baseline="BLAS", dtype=str(F.dtype))
    benchmark.pedantic(lambda: F.T @ F, rounds=15, warmup_rounds=2)


def bench_rows_mu(benchmark, subproblem, n_threads):
    _, tasks, F, gram, pos, neg = subproblem
    eps, floor = F.dtype.type(1e-9), F.dtype.type(0)
    run(benchmark, "MU step", n_threads, subproblem, rows.rows_mu, tasks, F, gram, pos, neg, eps, floor)


@pytest.mark.parametrize("n_sweeps", [1, 3])
def bench_rows_hals(benchmark, subproblem, n_threads, n_sweeps):
    rank, tasks, F, gram, pos, neg = subproblem
    arguments = tasks, F, gram, pos, neg, rank, lanes(F.dtype), n_sweeps
    run(benchmark, f"HALS, {n_sweeps} sweeps", n_threads, subproblem, rows.rows_hals, *arguments)


def bench_rows_nnls(benchmark, subproblem, n_threads):
    rank, tasks, F, gram, pos, neg = subproblem
    gram = np.ascontiguousarray(gram[:rank, :rank], dtype=np.float64)
    run(benchmark, "exact NNLS", n_threads, subproblem, nnls.rows_nnls, tasks, F, gram, pos, neg)


def bench_rows_dot(benchmark, subproblem, n_threads):
    _, tasks, F, _, pos, neg = subproblem
    parts = np.empty(len(tasks) - 1)
    run(benchmark, "inner product", n_threads, subproblem, rows.rows_dot, tasks, F, pos, neg, parts)
