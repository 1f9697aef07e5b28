"""Coordinate descent and Gram matrices of factors of more than 128 components, where other kernels take over."""

import numpy as np
import oracles
import pytest
import scipy.sparse as sp

from fastnmf.core.problem import Subproblem
from fastnmf.core.updates.coordinate_descent import HALS
from fastnmf.kernels import large_ranks, rows
from fastnmf.kernels.jit import split_rows
from fastnmf.kernels.records import LazyRows
from fastnmf.kernels.row_intrinsics import padded

RANK = rows.WIDEST + 5  # no whole number of blocks in either precision
LOOSE = {np.float64: {"rtol": 1e-9, "atol": 1e-11}, np.float32: {"rtol": 1e-3, "atol": 1e-4}}


def subproblem(dtype, n, share, seed=0):
    """Return F (n, K) with this share of positive entries near a minimum that has as many, gram and pos (n, K)."""
    rng = np.random.default_rng(seed)
    K = padded(RANK, dtype)
    other, F = np.zeros((RANK * 4, K), dtype), np.zeros((n, K), dtype)
    other[:, :RANK] = rng.random((RANK * 4, RANK)) * (rng.random((RANK * 4, RANK)) < 0.1)
    other[:, 2] = 0  # a dead component: its column must stay as it is
    F[:, :RANK] = rng.random((n, RANK)) * (rng.random((n, RANK)) < share)
    pos = F @ (other.T @ other) - (F == 0) + dtype(0.02) * rng.normal(size=F.shape).astype(dtype)
    F[:, :RANK] *= rng.random((n, RANK)) < 0.8
    return F, other.T @ other, pos


def objective(F, gram, pos):
    """Return ``sum (F gram F' / 2 - <F, pos>)``."""
    F = F.astype(np.float64)
    return float(((F @ gram / 2 - pos) * F).sum())


def descended(F, gram, pos, n_sweeps, neg=None, tasks=None):
    """Return F after an update by `rows_hals_large`, and its sum of ``F * pos``."""
    tasks = split_rows(len(F), 10**6) if tasks is None else tasks
    F, parts, order = F.copy(), np.full(len(tasks) - 1, np.nan), np.tile(np.arange(RANK), (n_sweeps, 1))
    neg = LazyRows.of(pos[:0]) if neg is None else neg
    large_ranks.rows_hals_large(tasks, F, gram, LazyRows.of(pos), neg, F.dtype.type(0), order, parts)
    return F, parts.sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("share", "oracle"), [(0.6, oracles.rows_hals), (0.05, oracles.rows_hals_short)])
def test_both_ways_are_what_plain_loops_say(dtype, share, oracle):
    F, gram, pos = subproblem(dtype, 61, share)
    low = np.random.default_rng(1).random((3, F.shape[1])).astype(dtype) / 50
    group = (np.arange(61) % 3).astype(np.int32)
    for tasks in (np.array([0, 61]), np.array([0, 1, 30, 61])):
        out, with_pos = descended(F, gram, pos, 2, LazyRows.of(low, group), tasks)
        wide = [array.astype(np.float64) for array in (F, gram, pos, low[group])]
        np.testing.assert_allclose(out[:, :RANK], oracle(*wide, n_sweeps=2)[:, :RANK], **LOOSE[dtype])
        assert not out[:, RANK:].any() and (out[:, 2] == F[:, 2]).all()
        assert with_pos == pytest.approx(float((out.astype(float) * pos).sum()), rel=1e-5, abs=1e-6)


def test_only_tiles_of_few_entries_are_updated_in_what_can_move():
    F, gram, pos = subproblem(np.float64, 48, 0.05)
    F[24:, :RANK] += 0.1
    out, _ = descended(F, gram, pos, 1, tasks=np.array([0, 48]))
    zero = np.zeros_like(pos)
    np.testing.assert_allclose(out[:24], oracles.rows_hals_short(F, gram, pos, zero)[:24], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(out[24:], oracles.rows_hals(F, gram, pos, zero)[24:], rtol=1e-9, atol=1e-11)
    start, _ = descended(np.zeros_like(F), gram, np.abs(pos), 1)  # nothing but zeros, and all of them rise
    np.testing.assert_allclose(start, oracles.rows_hals(0 * F, gram, np.abs(pos), zero), rtol=1e-9, atol=1e-11)


def test_a_minimum_stays_where_it_is():
    F, gram, pos = subproblem(np.float64, 60, 0.05)
    for _ in range(60):
        F, _ = descended(F, gram, pos, 5)
    again, _ = descended(F, gram, pos, 2)
    assert 0.02 < (F > 0).mean() < large_ranks.FEW
    np.testing.assert_allclose(again, F, atol=1e-9)
    alive = np.diagonal(gram) > 0
    half_gradient = oracles.half_gradient(F, gram, pos, 0)[:, alive]
    assert half_gradient.min() > -1e-8 and np.abs(half_gradient[F[:, alive] > 0]).max() < 1e-8


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_update_gains_what_whole_sweeps_gain(dtype):
    F, gram, pos = subproblem(dtype, 300, 0.08)
    before, parts = objective(F, gram, pos), np.empty(1)
    for n_sweeps in (1, 2, 4):
        mine, _ = descended(F, gram, pos, n_sweeps)
        whole, order = F.copy(), np.tile(np.arange(RANK), n_sweeps)
        sides = LazyRows.of(pos), LazyRows.of(pos[:0])
        rows.rows_hals(np.array([0, 300]), whole, gram, *sides, dtype(0), RANK, order, parts)
        assert not np.array_equal(mine, whole)
        gain = before - objective(whole, gram, pos)
        assert gain > 0 and objective(mine, gram, pos) <= objective(whole, gram, pos) + 1e-3 * gain


def test_an_update_of_a_large_rank_takes_components_in_any_order_and_subset():
    F, gram, pos = subproblem(np.float64, 30, 0.4)
    visits, free = np.random.default_rng(2).permutation(RANK), np.arange(F.shape[1]) % 7 > 0
    sub = Subproblem(split_rows(30, 10**6))
    sub.add(gram=gram, pos=pos)
    sub.free_mask, out = free, F.copy()
    with_pos, _ = HALS(visits)(out, sub, RANK, 1)
    taken = visits[free[visits]]
    want = F.copy()
    want[:, taken] = oracles.rows_hals(
        F[:, taken],
        gram[np.ix_(taken, taken)],
        (pos - (F * ~free) @ gram)[:, taken],
        np.zeros((30, len(taken))),
    )
    np.testing.assert_allclose(out, want, rtol=1e-9, atol=1e-11)
    assert with_pos == pytest.approx(float((out * pos).sum()))


def test_gram_matrices_of_large_ranks():
    for share in (0.05, 0.5):
        F, _, _ = subproblem(np.float64, 400, share)
        np.testing.assert_allclose(rows.gram(split_rows(400, 10**6), F), oracles.gram(F), rtol=1e-12, atol=1e-12)


def test_a_fit_of_a_large_rank_is_that_of_whole_sweeps(monkeypatch):
    """To a thousandth, after a few iterations; strata and penalties included."""
    from fastnmf import StratifiedNMF

    rng = np.random.default_rng(0)
    X = sp.random_array((400, 500), density=0.05, rng=rng, format="csr")
    options = {"n_components": 150, "max_iter": 6, "tol": 0, "random_state": 0, "alpha_H": 0.01, "l1_ratio": 0.5}
    mine = StratifiedNMF(**options).fit(X, strata=np.arange(400) % 3)
    monkeypatch.setattr(rows, "WIDEST", RANK * 2)
    other = StratifiedNMF(**options).fit(X, strata=np.arange(400) % 3)
    found, whole = (model.history_["objective"] for model in (mine, other))
    assert np.abs(found / whole - 1).max() > 1e-9  # factors have become sparse enough for steps of their own
    assert found[-1] == pytest.approx(whole[-1], rel=1e-3)
