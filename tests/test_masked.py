"""Entry weights and missing values: the kernels, the term, and whole fits; the front door has `test_observed.py`."""

import numpy as np
import oracles
import pytest
import scipy.sparse as sp
from masks import KINDS, grouped, weights_of

from fastnmf.core.alternate import Extrapolation, solve, sweep
from fastnmf.core.factors import allocate, pad
from fastnmf.core.inference import infer
from fastnmf.core.losses.masked import Masked, normal_equations, row_errors, rowwise_of
from fastnmf.core.objectives import squared_problem
from fastnmf.core.penalties.elastic_net import ElasticNet
from fastnmf.core.problem import Problem, full
from fastnmf.core.updates import WeightedRows
from fastnmf.data.entry_weights import observed
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads
from fastnmf.kernels.records import LazyRows
from fastnmf.kernels.row_intrinsics import padded
from fastnmf.models.stratified import hals_schedule, mu_schedule


def problem_of(X, weight, strata=None, solver="hals", missing_values=None, rank=3, start=None, dtype=float, eps=0.0):
    """Return data, weights, factors and Problem of a masked fit, plain where strata is None."""
    X, weights = observed(X.astype(dtype), weight, missing_values)
    data = Strata.from_array(X, strata)
    data.entry_weights = weights
    if start is None:
        rng = np.random.default_rng(1)
        start = rng.random((X.shape[0], rank)) + 0.1, rng.random((X.shape[1], rank)) + 0.1
        start = (*start, 0.3 + np.zeros(len(data.pattern.group)) if strata is not None else None)
    factors, tasks = allocate(data, *start)
    term = Masked(data, factors["W"].shape[1], tasks, weights, has_shifts=strata is not None)
    schedule = (("W", 1), ("H", 1))
    if strata is not None:
        schedule = hals_schedule() if solver == "hals" else mu_schedule()
    move = WeightedRows(solver, eps=eps)
    problem = Problem([term], dict.fromkeys("VWH", move), schedule, tasks, term.sq_norm)
    problem.exact_value = term.exact_value
    return data, weights, factors, problem


def model_of(data, factors):
    W, H = (factors[name][:, : factors.rank].astype(float) for name in "WH")
    shift = data.pattern.dense(factors["V"])[data.stratum_index] if "V" in factors.arrays else 0.0
    return W @ H.T + shift


# ---------------------------------------------------------------- moves against plain loops


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rank", [3, 20])
def test_moves_are_those_of_the_plain_loops(kind, rank, dtype):
    X, strata = grouped()
    P = weights_of(kind, X.shape)
    loose = {"rtol": 1e-10, "atol": 1e-10} if dtype == np.float64 else {"rtol": 2e-3, "atol": 2e-3}
    for form in (np.asarray, sp.csr_array):
        for solver in ("hals", "mu"):
            data, _, factors, problem = problem_of(form(X), P, strata, solver, rank=rank, dtype=dtype, eps=1e-9)
            for name in ("W", "H"):
                side, turned = (P, X) if name == "W" else (P.T, X.T)
                shift = data.pattern.dense(factors["V"])[data.stratum_index]
                G = factors["H" if name == "W" else "W"][:, :rank].astype(float)
                gram, pos, neg = oracles.weighted_row_parts(side, turned, shift if name == "W" else shift.T, G)
                F = factors[name][:, :rank].astype(float)
                if solver == "hals":
                    want = oracles.weighted_rows_hals(F, gram, pos, neg, 2)
                    want[side.sum(axis=1) == 0] = 0
                else:
                    want = oracles.weighted_rows_mu(
                        oracles.weighted_rows_mu(F, gram, pos, neg, 1e-9), gram, pos, neg, 1e-9
                    )
                sub = problem.subproblem(name, factors)
                found = problem.updates[name](factors[name], sub, rank, 2)
                np.testing.assert_allclose(factors[name][:, :rank], want, **loose)
                assert not factors[name][:, rank:].any()
                assert found[0] == pytest.approx(np.sum(want * pos), rel=1e-6 if dtype == np.float64 else 1e-2)
                factors.invalidate(name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_sparse", [True, False])
def test_gradients_are_those_of_the_objective(kind, is_sparse):
    X, strata = grouped(shape=(12, 9))
    P = weights_of(kind, X.shape)
    for labels in (None, strata):
        data, _, factors, problem = problem_of(sp.csr_array(X) if is_sparse else X, P, labels)
        for name in factors.arrays:
            F = factors[name]
            sub = problem.subproblem(name, factors)
            gradient = sub.gradient(F)
            for place in np.ndindex(F.shape if F.ndim == 1 else (len(F), factors.rank)):
                values, before = [], F[place]
                for step in (1e-4, -1e-4):
                    F[place] = before + step
                    values.append(oracles.weighted_loss(X, model_of(data, factors), P))
                F[place] = before
                # the objective is quadratic in one entry: a central difference is exact but for rounding
                assert gradient[place] == pytest.approx((values[0] - values[1]) / 4e-4, rel=1e-6, abs=1e-6)
            sub = problem.subproblem(name, factors)
            if sub.rowwise is not None:  # what the kernel divides by is the gradient, too
                moved = F.copy()
                WeightedRows("mu", eps=0.0)(moved, sub, factors.rank, 1)
                pos = full(sub.pos)
                with np.errstate(divide="ignore", invalid="ignore"):
                    below = F * pos / moved
                is_used = pos[:, : factors.rank] > 0
                np.testing.assert_allclose(
                    (below - pos)[:, : factors.rank][is_used],
                    gradient[:, : factors.rank][is_used],
                    rtol=1e-8,
                    atol=1e-8,
                )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["hals", "mu"])
@pytest.mark.parametrize("is_sparse", [True, False])
def test_every_step_lowers_the_objective_and_the_value_is_the_objective(kind, solver, is_sparse):
    X, strata = grouped()
    P = weights_of(kind, X.shape)
    for labels in (None, strata):
        data, _, factors, problem = problem_of(sp.csr_array(X) if is_sparse else X, P, labels, solver)
        values = [oracles.weighted_loss(X, model_of(data, factors), P)]
        for _ in range(15):
            for name, n_sweeps in problem.schedule:
                problem.updates[name](factors[name], problem.subproblem(name, factors), factors.rank, n_sweeps)
                factors.invalidate(name)
                values.append(oracles.weighted_loss(X, model_of(data, factors), P))
                assert problem.value(factors) == pytest.approx(values[-1], rel=1e-10)
                assert problem.exact_value(factors) == pytest.approx(values[-1], rel=1e-12)
                assert all((F >= 0).all() for F in factors.arrays.values())
        assert (np.diff(values) <= 1e-13 * values[0]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_update_of_H_gives_the_squares_of_the_objective(kind):
    X, _ = grouped()
    P = weights_of(kind, X.shape)
    for dtype, loose in ((np.float64, 1e-10), (np.float32, 1e-5)):
        data, _, factors, problem = problem_of(sp.csr_array(X), P, dtype=dtype)
        problem.penalties = {name: [ElasticNet(0.3, 0.2)] for name in "WH"}  # not a part of the squares
        sweep(problem, factors)
        assert factors.known(("squares", "H"), ("W", "H")) is None  # a ridge of all rows is in their Gram matrices
        problem.penalties = {name: [ElasticNet(0.3, 0.0)] for name in "WH"}
        sweep(problem, factors)
        assert factors.known(("squares", "H"), ("W", "H")) is not None
        found = problem.losses[0].value(factors)
        factors.clear_cache()
        assert found == pytest.approx(problem.losses[0].value(factors), rel=loose)
        assert found == pytest.approx(oracles.weighted_loss(X, model_of(data, factors), P), rel=loose)


def test_sweeps_that_are_made_for_each_requested_one():
    X, _ = grouped()
    _, _, once, problem = problem_of(sp.csr_array(X), weights_of("most missing", X.shape))
    _, _, thrice, _ = problem_of(sp.csr_array(X), weights_of("most missing", X.shape))
    problem.updates["W"](once["W"], problem.subproblem("W", once), once.rank, 6)
    WeightedRows(times=3)(thrice["W"], problem.subproblem("W", thrice), thrice.rank, 2)
    assert once["W"].tobytes() == thrice["W"].tobytes()


def test_many_entries_a_row_get_more_sweeps_for_their_gram_matrix():
    for n, times in ((40, 1), (260, 3)):
        X, weights = observed(np.random.default_rng(0).random((n, n)), np.tri(n), None)
        data = Strata.from_array(X, None)
        data.entry_weights = weights
        factors, tasks = allocate(data, np.ones((n, 2)), np.ones((n, 2)), None)
        assert squared_problem(data, factors, tasks, (("W", 1),), is_descent=True).updates["W"].times == times


@pytest.mark.parametrize("base", [0, 1])
def test_gram_matrices_of_rows_with_many_entries_of_either_sign(base):
    rng = np.random.default_rng(0)
    P = np.where(rng.random((5, 300)) < 0.7, rng.choice([0.2, 1.0, 3.0], (5, 300)), float(base))
    data = Strata.from_array(rng.random(P.shape), None)
    data.entry_weights = observed(data.X, P)[1]
    H = pad(rng.random((300, 6)), data)
    rowwise, _ = rowwise_of(data, H)
    found, _ = normal_equations(rowwise, 0, 5, 6, np.zeros((5, H.shape[1])))
    for i in range(5):
        np.testing.assert_allclose(found[i], H[:, :6].T @ (P[i][:, None] * H[:, :6]), rtol=1e-12)


def test_value_and_residual_for_shifts_off_the_pattern():
    X, strata = grouped()
    for kind in KINDS:
        P = weights_of(kind, X.shape)
        data, _, factors, problem = problem_of(sp.csr_array(X), P, strata)
        V = np.random.default_rng(2).random((3, X.shape[1]))
        W, H = factors["W"][:, :3], factors["H"][:, :3]
        want = oracles.weighted_loss(X, W @ H.T + V[data.stratum_index], P)
        assert problem.value(factors, V=V) == pytest.approx(want, rel=1e-11)
        assert problem.exact_value(factors, V=V) == pytest.approx(want, rel=1e-12)


def test_penalties_and_frozen_entries_are_heeded():
    X, _ = grouped()
    P = weights_of("mixed rows", X.shape)
    frozen = np.random.default_rng(4).random((X.shape[0], 8)) < 0.3
    for solver in ("hals", "mu"):
        data, _, factors, problem = problem_of(X, P, None, solver)
        problem.penalties = {"W": [ElasticNet(0.5, 0.7)], "H": [ElasticNet(0.2, 0.1)]}
        problem.free_mask = {"W": ~frozen[:, : factors["W"].shape[1]], "H": np.array([True, False, True, True])}
        before = {name: F.copy() for name, F in factors.arrays.items()}

        def objective(data=data, factors=factors, problem=problem):
            loss = oracles.weighted_loss(X, model_of(data, factors), P)
            return loss + sum(p[0].value(factors[name]) for name, p in problem.penalties.items())

        values = [objective()]
        for _ in range(10):
            for name in "WH":
                problem.updates[name](factors[name], problem.subproblem(name, factors), factors.rank, 1)
                factors.invalidate(name)
                values.append(objective())
        assert (np.diff(values) <= 1e-12 * values[0]).all() and values[-1] < 0.9 * values[0]
        still = frozen[:, : factors.rank]
        np.testing.assert_array_equal(factors["W"][:, :3][still], before["W"][:, :3][still])
        np.testing.assert_array_equal(factors["H"][:, 1], before["H"][:, 1])


# ---------------------------------------------------------------- whole fits


def drawn_weighted():
    rng = np.random.default_rng(2)
    X = rng.random((30, 20))
    P = (rng.random((30, 20)) < 0.7) * rng.random((30, 20))
    return X, P, rng.random((30, 4)), rng.random((4, 20))


@pytest.mark.parametrize("is_sparse", [True, False])
@pytest.mark.parametrize(
    ("solver", "losses"),
    [
        ("mu", {1: 6.98257981652219, 10: 4.753784017058841, 100: 2.827740947501616, 1000: 2.6504548818851297}),
        ("hals", {1: 6.824612015234731, 10: 2.9892275903274075, 100: 2.5899427230014798, 1000: 2.5897330342003793}),
    ],
)
def test_weighted_losses_of_an_independent_program(solver, losses, is_sparse):
    # H first; half the weighted squared error. 100 iterations amplify rounding to 1e-8, 1000 to 1e-5.
    X, P, W, H = drawn_weighted()
    form = sp.csr_array if is_sparse else np.asarray
    _, _, factors, problem = problem_of(form(X), P, None, solver, start=(W, H.T, None))
    problem.schedule = (("H", 1), ("W", 1))
    history = solve(problem, factors, max_iter=1000, tol=0).history["objective"]
    for k, want in losses.items():
        assert history[k] / 2 == pytest.approx(want, rel=1e-8 if k <= 100 else 1e-5)
    assert (np.diff(history) <= 1e-12).all()


def hidden_error(data, factors, truth, seen):
    return np.linalg.norm((truth - model_of(data, factors))[~seen]) / np.linalg.norm(truth[~seen])


def test_hidden_entries_are_recovered_as_by_an_independent_program():
    rng = np.random.default_rng(3)
    truth = rng.random((60, 4)) @ rng.random((4, 50))
    seen = rng.random((60, 50)) < 0.6
    start = rng.random((60, 4)), rng.random((4, 50)).T, None
    data, _, factors, problem = problem_of(np.where(seen, truth, np.nan), None, missing_values="nan", start=start)
    problem.schedule = (("H", 1), ("W", 1))
    solve(problem, factors, max_iter=3000, tol=0)
    assert hidden_error(data, factors, truth, seen) == pytest.approx(5.7964599902295296e-05, rel=1e-5)


def test_hidden_entries_are_recovered_with_shifts_and_extrapolation():
    rng = np.random.default_rng(3)
    strata, seen = np.arange(60) % 2, rng.random((60, 50)) < 0.6
    truth = rng.random((60, 4)) @ rng.random((4, 50)) + rng.random((2, 50))[strata]
    start = rng.random((60, 4)), rng.random((50, 4)), np.zeros(100)
    data, _, factors, problem = problem_of(
        np.where(seen, truth, np.nan), None, strata, missing_values="nan", start=start
    )
    solve(problem, factors, max_iter=1000, tol=0, extrapolation=Extrapolation(problem.tasks, factors))
    assert hidden_error(data, factors, truth, seen) <= 1e-3


def fitted(X, weight, strata, solver="hals", n_iter=12, **options):
    data, weights, factors, problem = problem_of(X, weight, strata, solver, **options)
    solve(problem, factors, max_iter=n_iter, tol=0)
    return data, weights, factors


@pytest.mark.parametrize("solver", ["hals", "mu"])
def test_garbage_under_the_mask_changes_no_bit_and_sparse_is_dense(solver):
    X, strata = grouped()
    for kind in KINDS:
        P = weights_of(kind, X.shape)
        for labels in (None, strata):
            wants = {form: fitted(form(X), P, labels, solver)[2] for form in (np.asarray, sp.csr_array)}
            for garbage in (1e3, np.nan):
                for form, want in wants.items():
                    got = fitted(form(np.where(P > 0, X, garbage)), P, labels, solver)[2]
                    for name, F in got.arrays.items():
                        assert F.tobytes() == want[name].tobytes()
            for name in "WH":
                np.testing.assert_allclose(
                    wants[sp.csr_array][name], wants[np.asarray][name], rtol=1e-7, atol=1e-9, err_msg=kind
                )


def test_missing_zeros_are_a_mask_of_the_pattern_and_nan_one_of_the_rest():
    X, strata = grouped()
    for form in (np.asarray, sp.csr_array):
        zeros = fitted(form(X), None, strata, missing_values="zeros")[2]
        mask = fitted(form(X), X > 0, strata)[2]
        holes = fitted(np.where(X > 0, X, np.nan), None, strata, missing_values="nan")[2]
        for name in "WHV":
            np.testing.assert_allclose(zeros[name], mask[name], rtol=1e-9, atol=1e-12)
            if form is np.asarray:
                np.testing.assert_allclose(zeros[name], holes[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("solver", ["hals", "mu"])
def test_a_row_of_weight_two_is_that_row_twice(solver):
    X, strata = grouped()
    P = weights_of("few missing", X.shape)
    weight, twice = P.copy(), np.append(np.arange(40), [5, 11])
    weight[[5, 11]] *= 2
    rng = np.random.default_rng(1)
    W, H = rng.random((40, 3)), rng.random((23, 3))
    for labels in (None, strata):
        data = Strata.from_array(np.where(P > 0, X, 0), labels)
        v = None if labels is None else 0.3 + np.zeros(len(data.pattern.group))
        one = fitted(X, weight, labels, solver, start=(W, H, v))[2]
        other = labels if labels is None else labels[twice]
        two = fitted(X[twice], P[twice], other, solver, start=(W[twice], H, v))[2]
        for name in "HV" if labels is not None else "H":
            np.testing.assert_allclose(one[name], two[name], rtol=1e-8, atol=1e-10)


def test_a_column_or_row_that_is_not_observed_is_zero():
    X, strata = grouped()
    P = weights_of("none of a row", X.shape)
    for solver in ("hals", "mu"):
        for labels in (None, strata):
            data, _, factors = fitted(X, P, labels, solver)
            assert not factors["W"][3].any() and not factors["H"][2].any()
            if labels is not None:
                assert not data.pattern.dense(factors["V"])[:, 2].any()


@pytest.mark.parametrize("solver", ["hals", "mu"])
def test_float32_is_close_to_float64(solver):
    X, strata = grouped()
    for kind in KINDS:
        P = weights_of(kind, X.shape)
        for form in (np.asarray, sp.csr_array):
            losses = []
            for dtype in (np.float32, np.float64):
                data, _, factors = fitted(form(X), P, strata, solver, dtype=dtype)
                assert all(F.dtype == dtype for F in factors.arrays.values())
                losses.append(oracles.weighted_loss(X, model_of(data, factors), P))
            assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_any_number_of_threads_gives_the_same_bits():
    rng = np.random.default_rng(8)
    X = rng.random((900, 200)) * (rng.random((900, 200)) < 0.3)
    P = rng.random(X.shape) < np.repeat([0.2, 0.9], 450)[:, None]
    strata = rng.integers(0, 4, 900)
    for solver in ("hals", "mu"):
        for form in (np.asarray, sp.csr_array):
            runs = []
            for n in (1, 2):
                with threads(n):
                    data, weights, factors = fitted(form(X), P, strata, solver, 3)
                    V = data.pattern.dense(factors["V"])
                    W, _ = infer(data, 3, factors["H"], V)
                runs.append(b"".join(F.tobytes() for F in (*factors.arrays.values(), W)))
            assert runs[0] == runs[1]


# ---------------------------------------------------------------- exact weights of rows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_sparse", [True, False])
def test_inferred_rows_are_exact_and_stand_alone(kind, is_sparse):
    X, strata = grouped()
    P = weights_of(kind, X.shape)
    rng = np.random.default_rng(6)
    H = rng.random((23, 4)) * (rng.random((23, 4)) < 0.6)
    form = sp.csr_array if is_sparse else np.asarray
    for V in (None, rng.random((3, 23)) * 0.5):
        clean, weights = observed(form(X), P)
        data = Strata.from_array(clean, strata, labels=np.arange(3))
        data.entry_weights = weights
        W, _ = infer(data, 4, pad(H, data), V)
        shift = 0.0 * X if V is None else V[strata]
        gram, pos, neg = oracles.weighted_row_parts(P, X, shift, H)
        for i in range(0, 40, 3):
            want = oracles.nnls_by_supports(gram[i] + 1e-13 * np.eye(4), pos[i] - neg[i])
            np.testing.assert_allclose(W[i, :4], want, rtol=1e-6, atol=1e-7)
        errors, norms = row_errors(data, W, pad(H, data), V)
        residual = np.where(P > 0, X, 0) - shift - W[:, :4] @ H.T
        np.testing.assert_allclose(errors, (P * residual**2).sum(axis=1), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(norms, (P * X**2).sum(axis=1), rtol=1e-12)
        clean, weights = observed(form(X[10:20]), P[10:20])
        some = Strata.from_array(clean, strata[10:20], labels=np.arange(3))
        some.entry_weights = weights
        alone, _ = infer(some, 4, pad(H, some), V)
        # dense products of other sizes round otherwise
        np.testing.assert_allclose(alone, W[10:20], rtol=1e-9, atol=1e-12)


def test_a_component_that_a_row_does_not_see_stays_out_of_it():
    # Row 0 misses just the columns of component 0: its Gram entry is a difference of equal numbers.
    rng = np.random.default_rng(0)
    H = np.zeros((30, 2))
    H[:10, 0], H[10:, 1] = rng.random(10), rng.random(20)
    X, seen = rng.random((8, 2)) @ H.T, np.ones((8, 30))
    seen[0, :10] = 0
    for dtype in (np.float32, np.float64):
        clean, weights = observed(X.astype(dtype), seen)
        assert weights.rows.base[0] == 1
        data = Strata.from_array(clean)
        data.entry_weights = weights
        assert infer(data, 2, pad(H, data))[0][0, 0] == 0
        _, _, factors, problem = problem_of(X, seen, start=(np.full((8, 2), 0.7), H, None), dtype=dtype)
        problem.updates["W"](factors["W"], problem.subproblem("W", factors), 2, 1)
        assert factors["W"][0, 0] == dtype(0.7)


@pytest.mark.parametrize("is_sparse", [True, False])
def test_both_factors_may_move_from_the_old_pair(is_sparse):
    X, strata = grouped()
    P = weights_of("weights", X.shape)
    X, labels = (sp.csr_array(X) if is_sparse else X), strata
    data, _, factors, problem = problem_of(X, P, labels, "mu", eps=1e-9)
    problem.losses = [
        Masked(data, factors["W"].shape[1], problem.tasks, observed(X, P)[1], has_shifts=True, holds_products=True)
    ]
    problem.schedule = ((("W", 1), ("H", 1)),)
    dense, shift = (X.toarray() if is_sparse else X), data.pattern.dense(factors["V"])[strata]
    W, H = factors["W"][:, :3].copy(), factors["H"][:, :3].copy()
    solve(problem, factors, max_iter=1, tol=0)
    for name, F, G, turn in (("W", W, H, False), ("H", H, W, True)):
        sides = [A.T if turn else A for A in (P, dense, shift)]
        want = oracles.weighted_rows_mu(F, *oracles.weighted_row_parts(*sides, G), 1e-9)
        np.testing.assert_allclose(factors[name][:, :3], want, rtol=1e-10)


def test_scale_of_the_data_and_nothing_but_zeros():
    X, strata = grouped()
    P = weights_of("weights", X.shape)
    for solver in ("hals", "mu"):
        losses = []
        for factor in (1.0, 2.0**300):
            data, weights, factors, problem = problem_of(X * factor, P, strata, solver)
            assert (data.log4_scale != 0) == (factor != 1)
            start = 2.0 ** (data.log4_scale + 150 * (factor != 1))  # of W, H in the inner scale
            for name in "WH":
                factors[name][:] *= start
            factors["V"][:] *= start**2
            losses.append(solve(problem, factors, max_iter=10, tol=0).history["objective"][-1] / problem.scale)
        assert losses[0] == pytest.approx(losses[1], rel=1e-9)
        for form in (np.asarray, sp.csr_array):
            data, weights, factors = fitted(form(0 * X), P, strata, solver)
            assert not np.any(model_of(data, factors)[P > 0] > 1e-12)
            assert not infer(data, 3, factors["H"], np.zeros((3, 23)))[0].any()


def test_padded_widths_beyond_the_registers():
    # 70 columns are more than the products keep in registers at a time
    X, strata = grouped(shape=(30, 26))
    P = weights_of("mixed rows", X.shape)
    assert padded(70, float) > 64
    for solver in ("hals", "mu"):
        data, _, factors, problem = problem_of(X, P, strata, solver, rank=70)
        solve(problem, factors, max_iter=2, tol=0)
        assert problem.value(factors) == pytest.approx(oracles.weighted_loss(X, model_of(data, factors), P), rel=1e-8)


def test_pull_is_a_part_of_the_gradient_with_any_mixture():
    X, strata = grouped()
    data, _, factors, problem = problem_of(sp.csr_array(X), weights_of("mixed rows", X.shape), strata)
    sub = problem.subproblem("W", factors)
    F = factors["W"]
    assert (
        isinstance(sub.neg, LazyRows) and sub.rowwise.other.shape[1] == F.shape[1] and sub.gradient(F).shape == F.shape
    )
    sub.clear()
    assert sub.rowwise is None
