"""Every loss with every penalty, mask and strata: gradients are those of the value, and no iteration raises it."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastnmf.core.alternate import rebalance, sweep
from fastnmf.core.factors import allocate
from fastnmf.core.losses.choice import as_divergence
from fastnmf.core.objectives import divergence_problem, squared_problem
from fastnmf.core.options import FactorOptions, Options
from fastnmf.core.penalties import penalties_of
from fastnmf.core.schedules import hals_schedule, mu_schedule
from fastnmf.data.entry_weights import observed
from fastnmf.data.strata import Strata

RANK, STEP = 3, 1e-6
LOSSES = (2, 1, 0.5, 1.5, 3)  # as beta of a beta divergence; 2 is the squared error itself
PENALTIES = {"none": {}, "L1 and L2": {"W": 0.05, "H": 0.08, "V": 0.03}}
CASES = [
    pytest.param(loss, penalty, is_masked, has_strata, id=f"{loss}-{penalty}-{is_masked}-{has_strata}")
    for loss in LOSSES
    for penalty in PENALTIES
    for is_masked in (False, True)
    for has_strata in (False, True)
    if loss == 2 or not is_masked  # entry weights are those of the squared error
]
PENALISED = [case for case in CASES if case.values[1] != "none"]
SOLVED = [
    pytest.param(*case.values, solver, id=f"{case.id}-{solver}")
    for case in CASES
    for solver in ("mu", "hals")
    if solver == "mu" or case.values[0] == 2  # coordinate descent is for the squared error
]
every_case = pytest.mark.parametrize("loss, penalty, is_masked, has_strata", CASES)


def problem_of(loss, penalty, is_masked, has_strata, solver="mu", form=np.asarray, spread=1.0):
    """Return factors at a random point inside, and the problem; `spread` sets the columns of W and H apart."""
    rng = np.random.default_rng(3)
    shape, strata = (17, 11), rng.integers(0, 3, 17)
    X = 4 * rng.random(shape) * (rng.random(shape) < 0.6)
    X[2], X[:, 5], X[strata == 1, 6] = 0, 0, 0
    weights = rng.choice([0, 0.3, 1, 1, 2.5], shape) if is_masked else None
    X, weights = observed(form(X), weights)
    data = Strata.from_array(X, strata if has_strata else None)
    data.entry_weights = weights
    W, H, V = (rng.random(size) + 0.2 for size in ((17, RANK), (11, RANK), (3, 11)))
    scales = spread ** np.arange(-1, RANK - 1)
    v = data.pattern.entries(V[: data.n_strata]) if has_strata else None
    factors, tasks = allocate(data, W * scales, H / scales, v)
    if loss == 2:
        plain = (("W", 1), ("H", 1))
        of_strata = hals_schedule() if solver == "hals" else mu_schedule()
        schedule = of_strata if has_strata else plain
        problem = squared_problem(data, factors, tasks, schedule, is_descent=solver == "hals")
    else:
        problem = divergence_problem(data, factors, tasks, loss)
    alphas = {name: alpha for name, alpha in PENALTIES[penalty].items() if name in factors.arrays}
    of_factors = {name: FactorOptions(alpha, 0.5) for name, alpha in alphas.items()}
    problem.penalties = penalties_of(data, Options(loss=as_divergence(2 if loss == 2 else 1), **of_factors))
    problem.balance_penalties = bool(problem.penalties)
    return factors, problem


def slope(problem, factors, name, at):
    """Return the derivative of the value by one entry of a factor, by central differences."""
    F, values = factors[name], []
    kept, step = F[at], STEP * (1 + F[at])
    for side in (1, -1):
        F[at] = kept + side * step
        factors.invalidate(name)
        values.append(problem.value(factors))
    F[at] = kept
    factors.invalidate(name)
    return (values[0] - values[1]) / (2 * step)


def gradient(problem, factors, name, loss):
    """Return the derivative of the value by one factor, from its subproblem."""
    found = problem.subproblem(name, factors).gradient(factors[name])
    return np.array((2 if loss == 2 else 1) * found)[..., : RANK if factors[name].ndim == 2 else None]


@every_case
def test_gradients_are_finite_differences(loss, penalty, is_masked, has_strata):
    factors, problem = problem_of(loss, penalty, is_masked, has_strata)
    assert set(factors.arrays) == ({"W", "H", "V"} if has_strata else {"W", "H"})
    assert (set(problem.penalties) == set(factors.arrays)) == (penalty != "none")
    for name in factors.arrays:
        found = gradient(problem, factors, name, loss)
        want = np.zeros(found.shape)
        for at in np.ndindex(found.shape):
            want[at] = slope(problem, factors, name, at)
        # Rounding of the value, about 1e-16 of it over the step, and a third derivative times 1e-12.
        np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-9 * problem.value(factors))
        assert np.abs(found).max() > 1e-3 * problem.value(factors) / factors[name].size


@pytest.mark.parametrize("loss, penalty, is_masked, has_strata, solver", SOLVED)
def test_no_iteration_raises_the_objective(loss, penalty, is_masked, has_strata, solver):
    factors, problem = problem_of(loss, penalty, is_masked, has_strata, solver, spread=3.0)
    values = [problem.value(factors)]
    for _ in range(15):
        sweep(problem, factors)
        values.append(problem.value(factors))
    values = np.array(values)
    assert (np.diff(values) <= 1e-12 * values[:-1]).all() and values[-1] < 0.9 * values[0]


@every_case
def test_sparse_data_have_the_same_value_and_gradient(loss, penalty, is_masked, has_strata):
    dense, sparse = (problem_of(loss, penalty, is_masked, has_strata, form=form) for form in (np.asarray, sp.csr_array))
    values = [problem.value(factors) for factors, problem in (dense, sparse)]
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    for name in dense[0].arrays:
        found, want = (gradient(problem, factors, name, loss) for factors, problem in (dense, sparse))
        if name == "V":  # whose entries need not stand in the same order
            found, want = np.sort(found), np.sort(want)
        np.testing.assert_allclose(found, want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("loss, penalty, is_masked, has_strata", PENALISED)
@pytest.mark.parametrize("spread", [1.01, 3.0, 1e3])
def test_balancing_components_lowers_the_penalty_alone(loss, penalty, is_masked, has_strata, spread):
    factors, problem = problem_of(loss, penalty, is_masked, has_strata, spread=spread)
    before, of_penalty = problem.value(factors), problem.penalty
    model = factors["W"] @ factors["H"].T
    rebalance(problem, factors)
    after = problem.value(factors)
    np.testing.assert_allclose(factors["W"] @ factors["H"].T, model, rtol=1e-13)
    assert problem.penalty < of_penalty and after <= before * (1 + 1e-15)
    assert after - problem.penalty == pytest.approx(before - of_penalty, rel=1e-12, abs=1e-14 * before)
    # It is a minimum: any other scale of a component costs more.
    for factor in (0.99, 1.01):
        for c in range(RANK):
            scales = np.where(np.arange(factors["W"].shape[1]) == c, factor, 1.0)
            moved = {"W": factors["W"] * scales, "H": factors["H"] / scales}
            costs = [sum(problem.penalties[n][0].value(F[n]) for n in "WH") for F in (factors, moved)]
            assert costs[1] > costs[0] * (1 + 1e-6)
