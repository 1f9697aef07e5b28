"""Smooth components: the penalties against plain loops, exact columns, descent, what it is for, and its scale."""

import math

import numpy as np
import oracle_data
import pytest
import scipy.sparse as sp
from scipy.optimize import nnls

from fastnmf import NMF, SmoothNMF
from fastnmf.core.alternate import solve
from fastnmf.core.factors import aligned, allocate
from fastnmf.core.losses import Frobenius
from fastnmf.core.penalties.smoothness import Chain
from fastnmf.core.problem import Problem, Subproblem
from fastnmf.core.updates import HALS, ChainDescent
from fastnmf.data.strata import Strata

EXPECTED = oracle_data.variants()["smooth_cd_lam1"]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def drawn():
    rng = np.random.default_rng(0)
    return rng.random((30, 20)), rng.random((30, 4)), rng.random((4, 20))


def roughness(F):
    """Sum the squared steps from row to row, in plain loops."""
    return sum((F[j, c] - F[j + 1, c]) ** 2 for j in range(len(F) - 1) for c in range(F.shape[1]))


def total_variation(F, bend=0.0):
    """Sum the sizes of the steps from row to row, with rounded corners, in plain loops."""
    steps = [F[j, c] - F[j + 1, c] for j in range(len(F) - 1) for c in range(F.shape[1])]
    return sum(math.hypot(d, bend) - bend for d in steps)


@pytest.mark.parametrize("bend", [0.0, 0.05])
@pytest.mark.parametrize("n_rows", [1, 2, 3, 7])
def test_the_penalty_and_its_gradient(n_rows, bend):
    F = np.random.default_rng(n_rows).random((n_rows, 3))
    penalty, sub = Chain(0.7, 0.1, 0.2, bend), Subproblem(None)
    steps = total_variation(F, bend) if bend else roughness(F)
    assert penalty.value(F) == pytest.approx(0.7 * steps + 0.2 * F.sum() + 0.2 * np.square(F).sum(), rel=1e-12)
    a, b = penalty.columns(F)
    for t in (0.2, 1.0, 3.0):  # a parabola above it, that meets it where it is
        above = np.sum(2 * a * (t - 1) + b * (t**2 - 1)) + penalty.value(F) - penalty.value(t * F)
        assert above >= -1e-12 and (above == pytest.approx(0, abs=1e-12) or bend and t != 1)
    sub.add(pos=np.zeros(F.shape))
    penalty.contribute(F, sub, 3)
    gradient, step = sub.gradient(F), 1e-6
    for at in np.ndindex(F.shape):
        up, down = F.copy(), F.copy()
        up[at] += step
        down[at] -= step
        # half the derivative, as the error has no 1/2; central differences leave step² and rounding / step
        assert gradient[at] == pytest.approx((penalty.value(up) - penalty.value(down)) / (4 * step), abs=1e-8)


@pytest.mark.parametrize("bend", [0.0, 1e-4])
@pytest.mark.parametrize("n_rows", [1, 2, 5, 30, 200])
def test_a_column_is_the_exact_minimiser(n_rows, bend):
    rng = np.random.default_rng(n_rows)
    for pull in (1.0, -0.5, 0.2):  # rows that are mostly inside, mostly zero, and mixed
        F, pos = aligned((n_rows, 1), np.float64), aligned((n_rows, 1), np.float64)
        F[:], pos[:] = (
            rng.random((n_rows, 1)) * (rng.random((n_rows, 1)) < 0.7),
            pull + rng.standard_normal((n_rows, 1)),
        )
        penalty, sub = Chain(3.0, 0.1, 0.2, bend), Subproblem(None)
        sub.add(gram=np.array([[1.5]]), pos=pos)
        penalty.contribute(F, sub, 1)
        steps = np.diff(np.eye(n_rows), axis=0)
        M = 1.7 * np.eye(n_rows) + steps.T @ (penalty.links(F) * steps)
        root = np.linalg.cholesky(M).T  # M = rootᵀ root: non-negative least squares of SciPy
        want = nnls(root, np.linalg.solve(root.T, pos[:, 0] - 0.1), maxiter=10_000)[0]
        ChainDescent()(F, sub, 1, 1)
        # links of 3 / (2e-4) beside 1.7 cost four digits of what a Cholesky factor has
        np.testing.assert_allclose(F[:, 0], want, atol=1e-7 if bend else 1e-11)


def descend(by, penalty, n_sweeps=1):
    X, W, H = drawn()
    data = Strata.from_array(X)
    factors, tasks = allocate(data, W, H.T, None)
    term = Frobenius(data, factors["W"].shape[1], tasks, holds_products=True)
    updates = {"W": HALS(), "H": ChainDescent(by)}
    problem = Problem([term], updates, (("H", n_sweeps), ("W", 1)), tasks, data.sq_norm)
    problem.penalties = {"H": [penalty]}
    return X, factors, np.array(solve(problem, factors, max_iter=200, tol=0).history["objective"])


def test_one_entry_after_another_matches_the_fixed_numbers():
    X, factors, found = descend("entries", Chain(1.0))
    for k, value in EXPECTED["HW"].items():
        assert found[int(k)] == pytest.approx(value, rel=1e-8 if int(k) <= 100 else 1e-5)
    own = np.square(X - factors["W"][:, :4] @ factors["H"][:, :4].T).sum() + roughness(factors["H"])
    assert found[-1] == pytest.approx(own, rel=1e-10)
    whole = descend("columns", Chain(1.0))[2]
    assert (np.diff(found) <= 1e-12 * found[0]).all() and (np.diff(whole) <= 1e-12 * whole[0]).all()
    assert (whole[[1, 10, 100, 200]] < found[[1, 10, 100, 200]]).all()


@pytest.mark.parametrize("by", ["columns", "entries"])
@pytest.mark.parametrize("bend", [1e-6, 1e-3, 1.0])
def test_total_variation_never_rises(by, bend):
    X, factors, found = descend(by, Chain(0.5, bend=bend), n_sweeps=2)
    assert (np.diff(found) <= 1e-12 * found[0]).all() and found[-1] < 0.3 * found[0]
    own = np.square(X - factors["W"][:, :4] @ factors["H"][:, :4].T).sum()
    assert found[-1] == pytest.approx(own + 0.5 * total_variation(factors["H"][:, :4], bend), rel=1e-10)


@pytest.mark.parametrize("seed", range(2))
def test_total_variation_finds_profiles_with_jumps(seed):
    rng = np.random.default_rng(seed)
    H = np.full((2, 80), 0.1)
    H[0, 10:35], H[0, 35:45], H[1, 30:70] = 1.1, 0.5, 0.8  # five jumps
    truth = (0.5 + rng.random((40, 2))) @ H
    X = np.maximum(truth + 0.2 * rng.standard_normal(truth.shape), 0)

    def judged(model):
        shapes = model.fit(X).components_ / model.components_.max(axis=1, keepdims=True)
        error = np.linalg.norm(model.W_ @ model.components_ - truth)
        return error, int((np.abs(np.diff(shapes)) > 0.01).sum())

    jumpy = judged(SmoothNMF(2, penalty="total_variation", smoothness=1, random_state=0))
    sloping = [judged(SmoothNMF(2, smoothness=value, max_iter=600, random_state=0)) for value in (0.3, 1, 4)]
    assert jumpy[1] <= 20 and min(jumps for _, jumps in sloping) >= 70  # 13 to 15; 79 and more
    assert jumpy[0] < 0.8 * min(error for error, _ in sloping)  # 2.0 against 2.8; plain NMF 2.9
    assert jumpy[0] < 0.75 * judged(NMF(2, random_state=0))[0]


def test_noise_is_smoothed_away():
    rng = np.random.default_rng(1)
    places = np.linspace(0, 1, 80)
    H = np.exp(-((places - np.array([[0.25], [0.7]])) ** 2) / 0.01)
    truth = rng.random((40, 2)) @ H
    X = np.maximum(truth + 0.3 * rng.standard_normal(truth.shape), 0)
    plain, smooth = (model.fit(X) for model in (NMF(2, random_state=0), SmoothNMF(2, smoothness=4, random_state=0)))
    errors = [np.linalg.norm(model.W_ @ model.components_ - truth) for model in (plain, smooth)]
    rough = [roughness((m.components_ / m.components_.max(axis=1, keepdims=True)).T) for m in (plain, smooth)]
    assert errors[1] < errors[0] and rough[1] < 0.5 * rough[0]


@pytest.mark.parametrize("penalty", ["squares", "total_variation"])
def test_the_objective_is_what_it_says_and_never_rises(penalty):
    X, _, _ = drawn()
    X[3], X[:, 5] = 0, 0
    options = {"penalty": penalty, "smoothness": 0.5, "max_iter": 60, "tol": 0}
    for data in (X, sp.csr_array(X)):
        model = SmoothNMF(3, random_state=0, **options).fit(data)
        found, H = model.history_["objective"], model.components_
        assert (np.diff(found) <= 1e-12 * found[0]).all()
        if penalty == "squares":
            cost = roughness(H.T) + np.square(model.W_).sum() + 1e-3 * np.square(H).sum()
        else:
            bend = 1e-3 * np.sqrt(np.sqrt(np.square(X).mean()))
            cost = total_variation(H.T, bend) + model.W_.sum() + 1e-3 * H.sum()
        error, unit = np.square(X - model.W_ @ H).sum(), np.sqrt(np.square(X).mean())
        weight = 0.5 * unit ** (1.0 if penalty == "squares" else 1.5)
        assert found[-1] == pytest.approx(error + weight * cost, rel=1e-10)
        assert model.reconstruction_err_ == pytest.approx(np.sqrt(error), rel=1e-10)
    np.testing.assert_allclose(model.transform(X), model.W_, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("penalty", ["squares", "total_variation"])
def test_smoothness_has_no_unit_and_float32_is_near(penalty):
    X, W, H = drawn()
    options = {"penalty": penalty, "init": "custom", "max_iter": 20, "tol": 0}
    one = SmoothNMF(4, **options).fit(X, W=W, H=H)
    for factor in (4.0, 2.0**400, 2.0**-600):
        other = SmoothNMF(4, **options)
        other.fit(factor * X, W=np.sqrt(factor) * W, H=np.sqrt(factor) * H)
        np.testing.assert_allclose(other.components_, np.sqrt(factor) * one.components_, rtol=1e-9)
        np.testing.assert_allclose(other.transform(factor * X), np.sqrt(factor) * one.transform(X), rtol=1e-9)
        np.testing.assert_allclose(other.transform(factor * X[:3]), other.transform(factor * X)[:3], rtol=1e-12)
    single = SmoothNMF(4, **options).fit(X.astype(np.float32), W=W, H=H)
    assert single.components_.dtype == np.float32
    np.testing.assert_allclose(single.components_, one.components_, atol=1e-3)


@pytest.mark.parametrize("penalty", ["squares", "total_variation"])
def test_a_penalty_that_erases_the_model_is_said(penalty):
    with pytest.warns(UserWarning, match="explains next to nothing"):
        SmoothNMF(2, penalty=penalty, smoothness=1e8, random_state=0).fit(drawn()[0])


@pytest.mark.parametrize("penalty", ["squares", "total_variation"])
@pytest.mark.parametrize("strength", [1e3, 1e8])
@pytest.mark.filterwarnings("ignore:.*explains next to nothing")
def test_nothing_is_cheaper_than_what_no_weight_uses(penalty, strength):
    X = drawn()[0]
    model = SmoothNMF(2, penalty=penalty, smoothness=strength, random_state=0).fit(X)
    assert model.history_["objective"][-1] <= np.square(X).sum() * (1 + 1e-5)  # it tends to that of the zero model


def test_degenerate_data_and_bad_parameters():
    for penalty in ("squares", "total_variation"):
        for X in (np.ones((1, 4)), np.ones((4, 1)), np.zeros((3, 4)), np.diag([1.0, 0, 2])):
            model = SmoothNMF(1, penalty=penalty, max_iter=50, random_state=0).fit(X)
            assert np.isfinite(model.W_).all() and np.isfinite(model.components_).all()
    with pytest.raises(ValueError, match="penalty='cubes' is not known"):
        SmoothNMF(penalty="cubes").fit(np.ones((3, 3)))
    with pytest.raises(ValueError, match="smoothness=-1"):
        SmoothNMF(smoothness=-1).fit(np.ones((3, 3)))
