"""The core without its shop windows: gradients, values, schedules, stopping, starts."""

import numpy as np
import oracles
import pytest
import scipy.sparse as sp

from fastnmf import NMF
from fastnmf.core import init as starts
from fastnmf.core.alternate import solve, sweep
from fastnmf.core.factors import Factors, aligned, allocate
from fastnmf.core.iterate import has_converged
from fastnmf.core.objectives import squared_problem
from fastnmf.core.problem import Subproblem
from fastnmf.core.updates import HALS, MU, ActiveSet
from fastnmf.data.strata import Strata
from fastnmf.models.stratified import hals_schedule, mu_schedule


@pytest.fixture(params=["sparse", "dense"])
def setting(request):
    """Blocks, data, and a problem at a random start, for both solvers."""
    rng = np.random.default_rng(11)
    X = rng.random((26, 17)) * (rng.random((26, 17)) < 0.5)
    codes = np.sort(rng.integers(0, 3, 26))
    data = Strata.from_array(sp.csr_array(X) if request.param == "sparse" else X, codes)
    W, H, v = starts.random(data, 4, rng)
    return X, codes, data, W, H, v


def unpacked(data, factors):
    W, H = factors["W"][:, : factors.rank], factors["H"][:, : factors.rank].T
    return data.pattern.dense(factors["V"]), [W[data.stratum_index == s] for s in range(data.n_strata)], H


def test_half_gradients_and_value_are_those_of_the_objective(setting):
    X, codes, data, W, H, v = setting
    factors, tasks = allocate(data, W, H, v)
    problem = squared_problem(data, factors, tasks, hals_schedule(), is_descent=True)
    blocks = [X[codes == s] for s in range(3)]
    V1, W1, H1 = unpacked(data, factors)
    assert problem.value(factors) == pytest.approx(oracles.squared_loss(blocks, V1, W1, H1), rel=1e-12)
    step = 1e-6
    for name in ("V", "W", "H"):
        sub = problem.subproblem(name, factors)
        gradient = sub.gradient(factors[name]).copy()
        F = factors[name]
        for index in list(np.ndindex(F.shape))[:: max(1, F.size // 40)]:
            if F.ndim == 2 and index[1] >= factors.rank:
                continue
            values = []
            for sign in (1, -1):
                F[index] += sign * step
                values.append(oracles.squared_loss(blocks, *unpacked(data, factors)))
                F[index] -= sign * step
            # The objective is quadratic in each factor: central differences are exact but for rounding.
            assert gradient[index] == pytest.approx((values[0] - values[1]) / (4 * step), rel=1e-6, abs=1e-7)


def test_hals_never_raises_the_objective_at_any_block_step(setting):
    X, codes, data, W, H, v = setting
    factors, tasks = allocate(data, W, H, v)
    problem = squared_problem(data, factors, tasks, hals_schedule(), is_descent=True)
    blocks = [X[codes == s] for s in range(3)]
    values = [oracles.squared_loss(blocks, *unpacked(data, factors))]
    for _ in range(40):
        for name, n_sweeps in problem.schedule:
            problem.updates[name](factors[name], problem.subproblem(name, factors), factors.rank, n_sweeps)
            factors.invalidate(name)
            values.append(oracles.squared_loss(blocks, *unpacked(data, factors)))
            assert problem.value(factors) == pytest.approx(values[-1], rel=1e-10)
    assert (np.diff(values) <= 1e-13 * values[0]).all()


def test_simultaneous_order_moves_both_from_the_old_pair_and_can_diverge():
    """A = ones(2, 2), v = 0, W = H = 1/2: the half objective goes from 1.125 to 18 (errata of the paper)."""
    data = Strata.from_array(np.ones((2, 2)))
    for order, want in (("simultaneous", 18.0), ("sequential", None)):
        factors, tasks = allocate(data, np.full((2, 1), 0.5), np.full((2, 1), 0.5), np.zeros(2))
        problem = squared_problem(data, factors, tasks, mu_schedule(order), is_descent=False)
        assert problem.value(factors) / 2 == pytest.approx(1.125)
        sweep(problem, factors)
        if want:
            assert problem.value(factors) / 2 == pytest.approx(want, rel=1e-6)
        else:
            assert problem.value(factors) / 2 < 1.125


def test_solve_stops_by_its_rules(setting):
    _, _, data, W, H, v = setting

    def run(**options):
        factors, tasks = allocate(data, W, H, v)
        return solve(
            squared_problem(data, factors, tasks, hals_schedule(), is_descent=True),
            factors,
            **{"max_iter": 400, "tol": 0, **options},
        )

    fit = run(max_iter=7)
    assert (fit.n_iter, fit.stopped_by, fit.converged) == (7, "max_iter", True)
    fit = run(tol=1e-3)
    assert fit.stopped_by == "tol" and fit.converged and 10 <= fit.n_iter < 400
    values = fit.history["objective"]
    best = np.minimum.accumulate(values).tolist()
    assert has_converged(best, 1e-3, 0.0) and not has_converged(best[:-1], 1e-3, 0.0)
    fit = run(callback=lambda iteration, value, seconds, distance: iteration == 3)
    assert (fit.n_iter, fit.stopped_by, fit.converged) == (3, "callback", False)


def test_contributions_add_and_the_first_is_not_written_to():
    sub = Subproblem(np.array([0, 2]))
    first = np.ones((2, 4))
    sub.add(gram=np.eye(4), pos=first)
    assert sub.pos is first and sub.neg is None
    sub.add(pos=first, neg=first)
    assert (first == 1).all() and (sub.pos == 2).all() and (sub.neg == 1).all()
    F = np.arange(8.0).reshape(2, 4)
    np.testing.assert_array_equal(sub.gradient(F), F - 1)


def test_factors_remember_only_what_still_holds():
    factors, calls = Factors(1, W=np.zeros(2), H=np.zeros(2)), []
    compute = lambda: calls.append(1) or len(calls)  # noqa: E731
    assert [factors.cached("x", ("W",), compute) for _ in range(2)] == [1, 1]
    factors.invalidate("H")
    assert factors.cached("x", ("W",), compute) == 1 and factors.cache_valid("x", ("W",))
    factors.invalidate("W")
    assert not factors.cache_valid("x", ("W",)) and factors.cached("x", ("W",), compute) == 2


@pytest.mark.parametrize("move", [MU(), HALS(), ActiveSet()], ids=lambda move: type(move).__name__)
def test_moves_lower_the_quadratic_model(move):
    rng = np.random.default_rng(4)
    L = rng.random((10, 4))
    F, target = rng.random((6, 4)), rng.random((6, 10)) @ L
    sub = Subproblem(np.array([0, 6]))
    sub.add(gram=L.T @ L, pos=target)

    def value():
        return float(np.sum((F @ sub.gram / 2 - target) * F))

    before = value()
    move(F, sub, 4, 1)
    assert value() < before and (F >= 0).all()


@pytest.mark.parametrize("is_sparse", [True, False])
def test_starts_are_on_the_scale_of_the_data(is_sparse):
    rng = np.random.default_rng(0)
    X = rng.random((60, 30)) * (rng.random((60, 30)) < 0.3) * 50
    X[:, 3] = 0
    data = Strata.from_array(sp.csr_array(X) if is_sparse else X, rng.integers(0, 2, 60))
    for name in ("random", "rows", "nndsvd"):
        W, H, v = getattr(starts, name)(data, 5, np.random.default_rng(1))
        assert W.shape == (60, 5) and H.shape == (30, 5) and v.shape == data.pattern.sums.shape
        assert min(W.min(), H.min(), v.min()) >= 0 and not H[3].any()
        if name == "random":
            model = W @ H.T + data.pattern.dense(v)[data.stratum_index]
            assert 0.7 < model.mean() / X.mean() < 1.3
    W, H, v = starts.rows(data, 5, np.random.default_rng(1), needs_positive=True)
    assert W.min() > 0 and (H[X.sum(axis=0) > 0] > 0).all()


def test_nndsvd_ignores_the_seed_and_starts_near_the_data():
    rng = np.random.default_rng(2)
    X = sp.random_array((80, 50), density=0.2, rng=rng, format="csr")
    data = Strata.from_array(X, rng.integers(0, 3, 80))
    first, second = (starts.nndsvd(data, 4, np.random.default_rng(seed)) for seed in (0, 1))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    W, H, v = first
    residual = X.toarray() - W @ H.T - data.pattern.dense(v)[data.stratum_index]
    assert np.linalg.norm(residual) < np.linalg.norm(X.toarray())
    for F in starts.nndsvd(data, 4, rng, fill="mean")[:2]:
        assert (F > 0).all()


@pytest.mark.parametrize("shape", [(30, 13), (13, 30), (9, 9)])
def test_singular_vectors_of_small_data_are_those_of_a_full_decomposition(shape):
    """From the Gram matrix where the singular values are similar, and not where it would lose their digits."""
    rng = np.random.default_rng(0)
    X = rng.random(shape)
    left, values, right = np.linalg.svd(X, full_matrices=False)
    found = starts.singular(Strata.from_array(X), 4)
    assert len(found) == 4
    for c, (u, s, w) in enumerate(found):
        sign = np.sign(u @ left[:, c])
        np.testing.assert_allclose(s, values[c], rtol=1e-12)
        np.testing.assert_allclose(sign * u, left[:, c], atol=1e-12)
        np.testing.assert_allclose(sign * w, right[c], atol=1e-12)
    steep = (left * 10.0 ** -(3 * np.arange(len(values)))) @ right  # to 1e-9: Gram matrices end at 1e-8
    for c, (_, s, w) in enumerate(starts.singular(Strata.from_array(steep, is_signed=True), 4)):
        assert s == pytest.approx(10.0 ** (-3 * c), rel=1e-6) and abs(w @ right[c]) == pytest.approx(1, abs=1e-9)


def test_aligned_arrays_are_aligned_and_zero():
    for shape, dtype in (((3, 8), np.float32), ((1, 1), np.float64), ((1000, 20), np.float64)):
        array = aligned(shape, dtype)
        assert array.ctypes.data % 64 == 0 and array.shape == shape and array.dtype == dtype and not array.any()
        assert array.flags.c_contiguous and array.flags.writeable


def test_a_fit_ends_where_a_power_law_forecasts_no_gain():
    i = np.arange(1.0, 1500.0)
    for power, tol in ((0.2, 0.02), (0.4, 0.01), (0.5, 0.01)):
        best = (1 + i**-power).tolist()
        n = next(n for n in range(1, len(best)) if has_converged(best[: n + 1], tol, 0.0))
        gain = best[n] - best[min(n + 100, len(best) - 1)]
        assert 0.9 * tol < gain / best[n] <= 1.1 * tol and n >= 6  # the promise, and not much more
    assert not has_converged((1 + 100 * i**-3)[:5].tolist(), 1.0, 0.0) and has_converged([1.0, 0.5, 0.01], 1e-4, 0.02)


def test_a_normalized_loss_below_tol_counts_as_tol():
    """An objective that tends to zero, as of data with an exact factorisation, ends a fit; larger ones do as before."""
    scale, tol, fall = 1e30, 0.1, np.arange(1.0, 400.0) ** -1.4
    small, large = ((scale * (tol**2 * floor + fall)).tolist() for floor in (0.0, 2.0))

    def end(best, *scales):
        return next((n for n in range(1, len(best)) if has_converged(best[: n + 1], tol, 0.0, *scales)), None)

    n = end(small, scale)
    assert end(small) is None and 0.7 < (small[n] - small[n + 100]) / (tol**3 * scale) <= 1.0
    assert end(large) == end(large, scale) is not None


def test_a_plateau_of_the_least_objective_does_not_end_a_fit():
    falls = [26.6, 14.4, 4.6, 1.3, 0.567, 0.427, 0.427, 0.427]  # an extrapolation went too far
    assert not any(has_converged(falls[:n], 1e-4, 0.0) for n in range(1, 9))
    flat = [2.0] + [1.0] * 11
    assert has_converged(flat, 1e-8, 0.0) and not has_converged(flat[:-1], 1e-8, 0.0)
    rng = np.random.default_rng(0)
    X = rng.dirichlet(np.ones(4), 60) @ rng.random((4, 12)) ** 3
    for seed in range(5):
        fit = NMF(3, init="features", random_state=seed, max_iter=2000, tol=1e-6).fit(X)
        more = NMF(3, init="features", random_state=seed, max_iter=fit.n_iter_ + 100, tol=0).fit(X)
        assert fit.history_["objective"][-1] <= (1 + 3e-6) * more.history_["objective"][-1]
