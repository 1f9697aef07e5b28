"""Every kernel against its plain-loop twin in `oracles.py`: both dtypes, all widths of a block, serial and parallel."""

import numba
import numpy as np
import oracles
import pytest
import scipy.sparse as sp
from scipy import optimize

from fastnmf.core.problem import full
from fastnmf.core.updates.active_set import minimise_rows
from fastnmf.kernels import divergence, nnls, nnls_lanes, products, rows
from fastnmf.kernels import row_intrinsics as simd
from fastnmf.kernels import tile_kernels as lanes
from fastnmf.kernels.jit import MOST_TASKS, N_TASKS, kernel, split_costs, split_rows, work_stealing
from fastnmf.kernels.records import CSR, LazyRows, Limits

DTYPES = [np.float32, np.float64]
# float32 sums of a few hundred products of numbers near one; float64 likewise.
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}


def one_task(n):
    return np.array([0, n])


def many_tasks(n):
    return np.linspace(0, n, min(N_TASKS, n) + 1).astype(np.int64)


def padded_factor(rng, n, rank, dtype):
    F = np.zeros((n, simd.padded(rank, dtype)), dtype)
    F[:, :rank] = rng.random((n, rank))
    return F


def record(X):
    """Return a SciPy array as the kernels take it."""
    return CSR(X.indptr.astype(np.int64), X.indices.astype(np.int32), X.data)


@pytest.fixture(params=DTYPES, ids=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize("rank", [1, 3, 8, 20, 37, 64, 100])
def test_csr_matmul_is_the_product_at_every_width(rng, dtype, rank):
    X = rng.random((57, 41)) * (rng.random((57, 41)) < 0.2)
    X[5], X[56] = 0, 0
    X = sp.csr_array(X.astype(dtype))
    F = padded_factor(rng, 41, rank, dtype)
    want = oracles.csr_matmul(X.indptr, X.indices, X.data, F)
    results = []
    for tasks in (one_task(57), many_tasks(57)):
        out = np.full((57, F.shape[1]), np.nan, dtype)
        products.csr_matmul(tasks, record(X), F, out)
        np.testing.assert_allclose(out, want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        results.append(out)
    assert results[0].tobytes() == results[1].tobytes()  # alone and in parallel


def test_duplicates_are_found_in_unsorted_rows(rng):
    indptr, indices = np.array([0, 3, 3, 6]), np.array([4, 0, 2, 2, 0, 4], np.int32)
    for tasks in (one_task(3), many_tasks(3)):
        found = np.ones(len(tasks) - 1, np.bool_)
        products.csr_duplicates(tasks, indptr, indices, 5, found)
        assert not found.any()  # the same columns, but in other rows
        again = indices.copy()
        again[5] = 2
        products.csr_duplicates(tasks, indptr, again, 5, found)
        assert found.any()


def test_pattern_places(rng):
    held_ptr, held = np.array([0, 3, 3, 5, 8]), np.array([2, 0, 1, 1, 0, 0, 2, 1], np.int32)
    ptr, group, columns = np.array([0, 2, 3]), np.array([0, 2, 1], np.int32), np.array([0, 3])
    place = np.empty(3, np.int64)
    products.pattern_places(one_task(2), columns, ptr, group, held_ptr, held, np.empty(3, np.int64), place)
    assert place.tolist() == oracles.pattern_places(ptr, group, columns, held_ptr, held) == [1, 0, 7]


def test_integers_range(rng, dtype):
    values = rng.integers(-(1 << 30), 1 << 30, 1000).astype(f"i{np.dtype(dtype).itemsize}")
    values[300:320] = np.arange(20)
    for tasks in (one_task(1000), many_tasks(1000)):
        found = np.empty((len(tasks) - 1, 3), np.int64)
        products.integers_range(tasks, values, found)
        parts = list(zip(tasks[:-1], tasks[1:], strict=True))
        assert found[:, 0].tolist() == [min(values[lo:hi]) for lo, hi in parts]
        assert found[:, 1].tolist() == [max(values[lo:hi]) for lo, hi in parts]
        assert found[:, 2].tolist() == [
            sum(values[p] <= values[p - 1] for p in range(max(lo, 1), hi)) for lo, hi in parts
        ]


def test_csr_cut(rng, dtype):
    csr = record(sp.csr_array([[0, 1, 2, 0], [3, 0, 4, 5], [0, 0, 0, 0], [6, 7, 8, 0]], dtype=dtype))
    number, counts = np.array([1, -1, 0, -1], np.int32), np.array([0, 3, 5])
    cut, turned = (
        csr._replace(indptr=start, indices=np.empty(5, np.int32), data=np.empty(5, dtype))
        for start in (np.empty(5, np.int64), counts)
    )
    products.csr_cut(one_task(4), csr, number, cut, turned, counts[:-1].copy())
    for found, want in ((cut, [[2, 0], [4, 3], [0, 0], [8, 6]]), (turned, [[2, 4, 0, 8], [0, 3, 0, 6]])):
        assert sp.csr_array((found.data, found.indices, found.indptr)).toarray().tolist() == want
    assert turned.indices.tolist() == [0, 1, 3, 1, 3] and cut.indices.tolist() == [0, 1, 0, 1, 0]


def test_groups_sum(rng, dtype):
    F = padded_factor(rng, 30, 5, dtype)
    start, order = np.array([0, 7, 7, 29, 30]), rng.permutation(30)
    want = oracles.group_sums(start, F[order])
    for tasks in (one_task(4), many_tasks(4)):
        out = np.full((4, F.shape[1]), np.nan, dtype)
        products.groups_sum(tasks, start, order, F, out)
        np.testing.assert_allclose(out, want, rtol=TOLERANCE[dtype])


def test_pattern_count(rng, dtype):
    blocks = [sp.random_array((m, 23), density=0.15, rng=rng, format="csr") for m in (9, 1, 14)]
    ptr, stratum, sums = oracles.shift_pattern(blocks)
    turned = sp.csr_array(sp.vstack(blocks).T)
    codes = np.repeat(np.arange(3), [9, 1, 14]).astype(np.int32)
    room = np.concatenate([[0], np.cumsum(np.minimum(np.diff(turned.indptr), 3))]).astype(np.int64)
    for tasks in (one_task(23), many_tasks(23)):
        group, total, count = np.empty(room[-1], np.int32), np.empty(room[-1]), np.empty(23, np.int64)
        products.pattern_count(tasks, record(turned), codes, 3, room, group, total, count)
        np.testing.assert_array_equal(count, np.diff(ptr))
        for j in range(23):
            mine = slice(room[j], room[j] + count[j])
            order = np.argsort(group[mine])
            np.testing.assert_array_equal(group[mine][order], stratum[ptr[j] : ptr[j + 1]])
            np.testing.assert_allclose(total[mine][order], sums[ptr[j] : ptr[j + 1]], rtol=1e-12)
        packed, of_each = np.empty(ptr[-1], np.int32), np.empty(ptr[-1], dtype)
        products.pattern_packed(tasks, room, group, total, ptr, packed, of_each)
        used = np.concatenate([np.arange(room[j], room[j] + count[j]) for j in range(23)])
        assert (packed == group[used]).all() and (of_each == total[used].astype(dtype)).all()


@pytest.mark.parametrize("rank", [5, 70])  # of one block, and of more than fit into registers at a time
def test_pattern_sampled_and_spread(rng, dtype, rank):
    ptr, stratum, _ = oracles.shift_pattern([sp.random_array((m, 23), density=0.15, rng=rng) for m in (9, 1, 14)])
    H, S = padded_factor(rng, 23, rank, dtype), padded_factor(rng, 3, rank, dtype)
    group, q = stratum.astype(np.int32), len(stratum)
    column = np.repeat(np.arange(23, dtype=np.int32), np.diff(ptr))
    for rows_of, entries_of in ((one_task(23), one_task(q)), (many_tasks(23), many_tasks(q))):
        out, again = np.empty(q, dtype), np.empty(q, dtype)
        products.pattern_sampled(entries_of, column, group, H, S, out)
        np.testing.assert_allclose(out, oracles.pattern_sampled(ptr, stratum, S, H), rtol=TOLERANCE[dtype])
        products.csr_sampled(rows_of, ptr, group, H, S, again)
        np.testing.assert_allclose(again, out, rtol=TOLERANCE[dtype])
        parts = np.full((len(entries_of) - 1, 3, H.shape[1]), np.nan, dtype)
        products.pattern_spread(entries_of, column, group, out, H, parts)
        want = oracles.pattern_tmatmul(ptr, stratum, out, H, 3)
        np.testing.assert_allclose(parts.sum(axis=0), want, rtol=TOLERANCE[dtype])


@kernel
def turn_there_and_back(tasks, F, tile, G, dots):
    for _, begin, until in work_stealing(tasks):
        lanes.load_transposed(F, begin, until - begin, tile)
        lanes.store_transposed(tile, G, begin, until - begin)
        for i in range(begin, until):
            lanes.prefetch_row(F, i + 1000)  # behind the end: nothing happens
            dots[i] = lanes.row_dot(F, i, F, i)


@pytest.mark.parametrize("n", [1, 7, 16, 31, 32])
def test_turned_rows_come_back(rng, dtype, n):
    F = padded_factor(rng, 40, 13, dtype)
    tile, G, dots = np.full((F.shape[1], 64), np.nan, dtype), np.zeros_like(F), np.zeros(40, dtype)
    turn_there_and_back(np.array([3, 3 + n]), F, tile, G, dots)
    np.testing.assert_array_equal(tile[:, :n], F[3 : 3 + n].T)
    np.testing.assert_array_equal(G[3 : 3 + n], F[3 : 3 + n])
    assert not G[:3].any() and not G[3 + n :].any()
    np.testing.assert_allclose(dots[3 : 3 + n], (F[3 : 3 + n] ** 2).sum(axis=1), rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("n", [1, 6, 300])
def test_rows_gram_and_dot(rng, dtype, n):
    F, G = (padded_factor(rng, n, 6, dtype) for _ in range(2))
    few = (F - dtype(0.5)) * (F > 0.3)  # of both signs
    for tasks in (one_task(n), many_tasks(n)):
        parts = np.full((len(tasks) - 1, F.shape[1], F.shape[1]), np.nan)
        rows.rows_gram(tasks, F, parts)
        np.testing.assert_allclose(np.triu(parts.sum(axis=0)), np.triu(oracles.gram(F)), rtol=TOLERANCE[dtype])
        rows.rows_gram_sparse(tasks, few, parts)
        np.testing.assert_allclose(np.triu(parts.sum(axis=0)), np.triu(oracles.gram(few)), rtol=1e-12, atol=1e-12)
        total = np.full(len(tasks) - 1, np.nan)
        rows.rows_dot(tasks, F, G, total)
        # Sums of float64 products of float32 numbers: the same tolerance for both dtypes.
        np.testing.assert_allclose(total.sum(), (F.astype(float) * G).sum(), rtol=1e-11)


@pytest.mark.parametrize("neg_kind", ["none", "each", "groups", "sums"])
@pytest.mark.parametrize("n", [1, 5, 70, 200])
@pytest.mark.parametrize("rank", [5, 41])
def test_rows_mu_and_hals(rng, dtype, n, neg_kind, rank):
    F, pos, neg = (padded_factor(rng, n, rank, dtype) for _ in range(3))
    L = padded_factor(rng, 90, rank, dtype)
    L[:, 2] = 0  # a dead component: its column must stay as it is
    gram = L.T @ L
    draw = sp.random_array((n, 90), density=0.1, rng=rng, format="csr", dtype=dtype)
    below = {
        "none": LazyRows.of(neg[:0]),
        "each": LazyRows.of(neg),
        "groups": LazyRows.of(neg[:3], rng.integers(0, min(n, 3), n).astype(np.int32)),
        "sums": LazyRows(*record(draw), L),
    }[neg_kind]
    whole = np.zeros_like(neg) if neg_kind == "none" else full(below)
    above = below if neg_kind == "sums" else LazyRows.of(pos)
    pos = full(above)
    wide = [a.astype(float) for a in (F, gram, pos, whole)]
    loose = {"rtol": 1e-3, "atol": 1e-3} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-11}

    def check(out, sums, others):
        assert not out[:, rank:].any()
        for mine, other in zip(np.atleast_1d(sums), others, strict=True):
            want = float((out.astype(float) * other)[:, :rank].sum())
            assert mine == pytest.approx(want, rel=1e-5 if dtype == np.float32 else 1e-11, abs=1e-9)

    for tasks in (one_task(n), many_tasks(n)):
        parts, out = np.full((len(tasks) - 1, 2), np.nan), F.copy()
        rows.rows_mu(tasks, out, gram, above, below, Limits(dtype(1e-9), dtype(0)), parts)
        np.testing.assert_allclose(out[:, :rank], oracles.rows_mu(*wide, 1e-9)[:, :rank], rtol=10 * TOLERANCE[dtype])
        check(out, parts.sum(axis=0), (pos, whole))
        parts, out = np.full(len(tasks) - 1, np.nan), F.copy()
        rows.rows_hals(tasks, out, gram, above, below, dtype(0), rank, np.tile(np.arange(rank), 3), parts)
        np.testing.assert_allclose(out, oracles.rows_hals(*wide, n_sweeps=3), **loose)
        plain, free = F.copy(), np.ones(F.shape, bool)
        rows.rows_hals_masked(tasks, plain, gram, above, below, dtype(0), free, np.tile(np.arange(rank), 3), parts)
        np.testing.assert_allclose(plain, out, **loose)
        np.testing.assert_array_equal(out[:, 2], F[:, 2])
        check(out, parts.sum(), (pos,))


def test_rows_mu_respects_the_floor_and_keeps_zeros(rng, dtype):
    F, gram, pos = np.full((3, 8), 1e-15, dtype), np.eye(8, dtype=dtype), np.full((3, 8), 1e-15, dtype)
    F[:, 1], pos[:, 2] = 0, 0
    sides = LazyRows.of(pos), LazyRows.of(pos[:0])
    rows.rows_mu(one_task(3), F, gram, *sides, Limits(dtype(1e-9), dtype(1e-20)), np.empty((1, 2)))
    assert (F[:, 1:3] == 0).all() and (F[:, [0, 3, 7]] == dtype(1e-20)).all()


def test_entries_step_and_value(rng, dtype):
    group = rng.integers(0, 3, 40).astype(np.int32)
    weight = np.array([4, 0, 2], dtype)  # the second stratum has no weight: its entries become 0
    pos, neg, v = rng.random((3, 40)).astype(dtype)
    for tasks in (one_task(40), many_tasks(40)):
        out = v.copy()
        parts, again = np.empty((len(tasks) - 1, 2)), np.empty(len(tasks) - 1)
        rows.entries_step(tasks, group, weight, pos, neg, out, Limits(dtype(0), dtype(0)), 0, parts)
        rows.entries_value(tasks, group, weight, pos, out, again)
        np.testing.assert_allclose(parts[:, 0], again, rtol=1e-6)
        np.testing.assert_allclose(parts[:, 1].sum(), (out.astype(float) * neg).sum(), rtol=1e-6)
        w = weight[group].astype(float)
        want = np.where(w > 0, np.maximum(pos.astype(float) - neg, 0) / np.where(w > 0, w, 1), 0)
        np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-7)
        out = v.copy()
        rows.entries_step(tasks, group, weight, pos, neg, out, Limits(dtype(1e-9), dtype(0)), 2, parts)
        want = v.astype(float)
        for _ in range(2):
            want = want * pos / (w * want + neg + 1e-9)
        np.testing.assert_allclose(out, want, rtol=1e-5)
        rows.entries_value(tasks, group, weight, pos, v, again)
        np.testing.assert_allclose(again.sum(), (v.astype(float) * (w * v - 2.0 * pos)).sum(), rtol=1e-6)


def test_nnls_equals_the_search_over_all_supports(rng, dtype):
    k, n = 5, 40
    L = rng.random((7, k))
    gram, b = L.T @ L, rng.normal(size=(n, k))
    want = np.array([oracles.nnls_by_supports(gram, row) for row in b])
    pos, neg = np.zeros((n, simd.padded(k, dtype)), dtype), np.zeros((n, simd.padded(k, dtype)), dtype)
    pos[:, :k], neg[:, :k] = np.maximum(b, 0), np.maximum(-b, 0)
    for tasks in (one_task(n), many_tasks(n)):
        F = rng.random(pos.shape).astype(dtype)
        F[:, k:] = 0
        F[::3, :k] = want[::3]  # a third of the supports is guessed right
        F[1::3] = 0
        minimise_rows(tasks, F, gram, pos, LazyRows.of(neg), 0.0)
        np.testing.assert_allclose(
            F[:, :k], want, rtol=1e-3 if dtype == np.float32 else 1e-9, atol=1e-5 if dtype == np.float32 else 1e-10
        )
        assert ((F[:, :k] == 0) == (want == 0)).all()


@pytest.mark.parametrize("k", [1, 6, 33])
def test_rows_are_solved_side_by_side_as_each_alone(rng, k):
    L, n = rng.random((2 * k + 3, k)), 3 * nnls_lanes.LANES + 5
    gram, b = L.T @ L, rng.normal(size=(n, 2 * k + 3)) @ L
    b[7], b[8], b[9] = 0, -1, gram.sum(axis=1)  # supports of none and of all
    C = np.linalg.cholesky(gram)
    want = np.array([optimize.nnls(C.T, np.linalg.solve(C, row))[0] for row in b])
    pos = np.zeros((n, simd.padded(k, float)))
    pos[:, :k] = b
    for guess in (want, rng.random((n, k)) - 0.5, np.zeros((n, k)), np.ones((n, k))):
        F = np.maximum(np.pad(guess, ((0, 0), (0, pos.shape[1] - k))), 0)
        start = F.copy()
        minimise_rows(one_task(n), F, gram, pos, LazyRows.of(pos[:0]), 0.0)
        np.testing.assert_allclose(F[:, :k], want, rtol=1e-9, atol=1e-12)
        alone = start[5:6].copy()
        minimise_rows(one_task(1), alone, gram, pos[5:6], LazyRows.of(pos[:0]), 0.0)
        assert alone.tobytes() == F[5:6].tobytes()  # whoever its neighbours are


@kernel
def gather_and_solve(tasks, k, extended, b, support, upper, diagonal, lost):
    for _, begin, until in work_stealing(tasks):
        nnls_lanes.gather_lanes(until - begin, k, extended, b, support, upper, diagonal)
        nnls_lanes.solve_lanes(until - begin, (k + 1) * len(b), upper, diagonal, lost)


def test_lanes_are_gathered_and_solved_as_plain_numpy_does(rng):
    k, lanes = 5, nnls_lanes.LANES
    L = rng.random((9, k))
    extended, b = np.eye(2 * k), np.zeros((lanes, 2 * k))
    extended[:k, :k], b[:, :k] = L.T @ L, rng.random((lanes, k))
    extended[3, :k] = extended[:k, 3] = extended[:k, 2]  # columns 2 and 3 are nearly one
    extended[3, 3] = extended[2, 2]
    support = np.repeat(np.arange(k, 2 * k, dtype=np.int32)[:, None], lanes, axis=1)
    for lane in range(lanes):
        chosen = np.flatnonzero(rng.random(k) < 0.6)[:4] if lane else np.array([2, 3])
        support[: len(chosen), lane] = chosen
    found = []
    for is_plain in (True, False):
        upper, diagonal, lost = np.zeros(k * (k + 1) * lanes), np.zeros(k * lanes), np.full(lanes, np.nan)
        if is_plain:
            nnls_lanes._gather_lanes_plain(4, k, extended, b, support, upper, diagonal)
            nnls_lanes._solve_lanes_plain(4, (k + 1) * lanes, upper, diagonal, lost)
        else:
            gather_and_solve(one_task(4), k, extended, b, support, upper, diagonal, lost)
        found.append((upper.reshape(k, k + 1, lanes)[:4, 4], lost))
    (x, lost), (again, lost_again) = found
    assert (lost == lost_again).all() and lost[0] == 1 and (lost[1:] == 0).any()
    np.testing.assert_allclose(again[:, lost == 0], x[:, lost == 0], rtol=1e-12)
    for lane in np.flatnonzero(lost == 0):
        chosen = support[:4, lane][support[:4, lane] < k]
        want = np.linalg.solve(extended[np.ix_(chosen, chosen)], b[lane, chosen])
        np.testing.assert_allclose(x[: len(chosen), lane], want, rtol=1e-9)


def test_nnls_of_dependent_and_dead_columns_is_stationary(rng):
    L = rng.random((30, 4))
    L = np.column_stack([L, L[:, 0], np.zeros(30), L[:, 1] + L[:, 2]])
    gram, b = L.T @ L, rng.random((50, 30)) @ L
    pos, k = np.zeros((50, 8)), L.shape[1]
    pos[:, :k] = b
    F = np.zeros((50, 8))
    minimise_rows(one_task(50), F, gram, pos, LazyRows.of(pos[:0]), 0.0)
    slope = F[:, :k] @ gram - b
    assert (F >= 0).all() and not F[:, 5].any()
    scale = b.max()
    assert slope.min() > -1e-7 * scale and np.abs(F[:, :k] * slope).max() < 1e-7 * scale
    is_solved, whole, extended = np.ones(50, bool), np.zeros((k, 8)), np.eye(2 * k)
    whole[:, :k] = extended[:k, :k] = gram
    nothing = LazyRows.of(pos[:0])
    nnls_lanes.rows_nnls(one_task(50), np.zeros_like(F), whole, extended, pos, nothing, 0.0, is_solved)
    left = np.flatnonzero(~is_solved)
    assert len(left) > 8  # what the second kernel is for
    for tasks in (one_task(len(left)), many_tasks(len(left))):
        again = F.copy()
        again[left] = 0
        nnls.rows_nnls_active(tasks, left, again, gram, b[left])
        assert again.tobytes() == F.tobytes()


@pytest.mark.parametrize("rank", [3, 20, 70])
def test_ratio_matmul_is_the_divergence_pass(rng, dtype, rank):
    X = rng.random((40, 31)) * (rng.random((40, 31)) < 0.3)
    X[3] = 0
    X = sp.csr_array(X.astype(dtype))
    F, G = padded_factor(rng, 40, rank, dtype), padded_factor(rng, 31, rank, dtype)
    F[7] = 0  # a model of zero counts as the floor
    for tasks, least in ((one_task(40), np.array([1e-7])), (many_tasks(40), rng.uniform(0.1, 0.5, 40) / rank)):
        model = np.maximum(F.astype(float) @ G.T, np.broadcast_to(least, 40)[:, None])
        Z = np.where(X.toarray() > 0, X.toarray() / model, 0)
        out, ratio = np.full(F.shape, np.nan, dtype), np.empty(X.nnz, dtype)
        parts = np.empty(len(tasks) - 1)
        arguments = record(X), F, G, least, ratio, out
        divergence.csr_ratio_matmul(tasks, *arguments, parts)
        np.testing.assert_allclose(out, Z @ G, rtol=2e-5 if dtype == np.float32 else 1e-11)
        logs = np.log(np.where(Z > 0, Z, 1))
        np.testing.assert_allclose(parts.sum(), (X.toarray() * logs).sum(), rtol=1e-6 if dtype == np.float32 else 1e-12)
        out[:] = np.nan
        divergence.csr_ratio_matmul(tasks, *arguments, parts[:0])
        np.testing.assert_allclose(out, Z @ G, rtol=2e-5 if dtype == np.float32 else 1e-11)


def test_the_logarithm_is_that_of_the_library(rng):
    log, log_single = numba.njit(divergence._log), numba.njit(divergence._log_single)
    x = np.concatenate([10 ** rng.uniform(-300, 300, 2000), [1.0, 0.5, 2**0.5, np.nextafter(1, 0), 1.1920929e-07]])
    mine = np.array([log(value) for value in x])
    np.testing.assert_allclose(mine, np.log(x), rtol=1e-11, atol=1e-13)
    x = x[(x > 1e-37) & (x < 1e38)].astype(np.float32)
    mine = np.array([log_single(value) for value in x])
    np.testing.assert_allclose(mine, np.log(x.astype(np.float64)), rtol=5e-7, atol=2e-7)


def test_rows_sum(rng, dtype):
    F = padded_factor(rng, 200, 5, dtype)
    for tasks in (one_task(200), many_tasks(200)):
        parts = np.empty((len(tasks) - 1, F.shape[1]))
        rows.rows_sum(tasks, F, parts)
        np.testing.assert_allclose(parts.sum(axis=0), F.sum(axis=0, dtype=np.float64), rtol=1e-12)


@pytest.mark.parametrize("is_sum", [True, False])
def test_rows_accumulate(rng, dtype, is_sum):
    X, F = sp.random_array((70, 30), density=0.2, rng=rng, format="csr", dtype=dtype), padded_factor(rng, 30, 9, dtype)
    more, before = oracles.csr_matmul(X.indptr, X.indices, X.data, F), rng.random((70, F.shape[1]))
    side = LazyRows(*record(X), F) if is_sum else LazyRows.of(more.astype(dtype))
    for tasks in (one_task(70), many_tasks(70)):
        total, out = before.copy(), np.full(more.shape, np.nan, dtype)
        rows.rows_accumulate(tasks, side, total, out)
        np.testing.assert_allclose(total, before + more, rtol=TOLERANCE[dtype])
        np.testing.assert_array_equal(out, total.astype(dtype))


def test_task_tables_cover_the_rows_and_do_not_ask_for_threads(rng):
    indptr = np.concatenate([[0], np.cumsum(rng.integers(0, 900, 500))]).astype(np.int64)
    for table in (split_rows(500, 10_000), split_costs(indptr, 24)):
        assert table[0] == 0 and table[-1] == 500 and (np.diff(table) >= 0).all() and len(table) == N_TASKS + 1
    costs = np.diff(indptr[split_costs(indptr, 24)])
    assert costs.max() < 2 * costs.mean()  # balanced by non-zeros
    even = 61 * np.arange(300_001)  # as many entries a row as 20 newsgroups have
    assert len(split_costs(even[:18_847], 24)) == len(split_rows(18_846, 576)) == N_TASKS + 1
    assert len(split_costs(even, 24)) == MOST_TASKS + 1 and len(split_rows(300_000, 576)) == 165  # for many cores
    assert len(split_rows(500, 10)) == 2 and len(split_costs(indptr[:3], 8)) == 2  # too little work to share


def test_widths_are_whole_blocks():
    assert [simd.padded(r, np.float32) for r in (1, 8, 9, 20)] == [8, 8, 16, 24]
    assert [simd.padded(r, np.float64) for r in (1, 4, 5, 20)] == [4, 4, 8, 20]
