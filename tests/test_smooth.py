"""Smooth components: the penalty against plain loops, descent by both moves, what it is for, and its scale."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastnmf import NMF, SmoothNMF
from fastnmf.data import Strata
from fastnmf.moves import HALS, MU
from fastnmf.penalties import Smooth
from fastnmf.problem import Problem, Subproblem
from fastnmf.solve import allocate, solve
from fastnmf.terms import Frobenius

EXPECTED = json.loads((Path(__file__).parent / "data" / "measures.json").read_text())["smooth_cd_lam1"]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def drawn():
    rng = np.random.default_rng(0)
    return rng.random((30, 20)), rng.random((30, 4)), rng.random((4, 20))


def roughness(F):
    """Sum the squared steps from row to row, in plain loops."""
    return sum((F[j, c] - F[j + 1, c]) ** 2 for j in range(len(F) - 1) for c in range(F.shape[1]))


@parametrize_with_checks([SmoothNMF()])
def test_scikit_learn_contract(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 7])
def test_the_penalty_and_its_gradient(n_rows):
    F = np.random.default_rng(n_rows).random((n_rows, 3))
    penalty, sub = Smooth(0.7, 0.2), Subproblem(None)
    own = 0.7 * roughness(F) + 0.2 * np.square(F).sum()
    assert penalty.value(F) == pytest.approx(own, rel=1e-12)
    a, b = penalty.columns(F)
    assert not a.any() and penalty.value(3 * F[:, :1]) == pytest.approx(9 * b[0], rel=1e-12)
    penalty.contribute(F, sub, 3)
    gradient, step = sub.gradient(F), 1e-6
    for at in np.ndindex(F.shape):
        up, down = F.copy(), F.copy()
        up[at] += step
        down[at] -= step
        # half the derivative, as the error has no 1/2; central differences leave step² and rounding / step
        assert gradient[at] == pytest.approx((penalty.value(up) - penalty.value(down)) / (4 * step), abs=1e-8)


@pytest.mark.parametrize("move", [HALS(), MU(eps=0.0)], ids=["hals", "mu"])
def test_both_moves_descend_and_come_near_the_fixed_numbers(move):
    X, W, H = drawn()
    data = Strata.from_array(X)
    factors, tasks = allocate(data, W, H.T, None)
    term = Frobenius(data, factors["W"].shape[1], tasks, holds_products=True)
    problem = Problem([term], dict.fromkeys("WH", move), (("H", 1), ("W", 1)), tasks, data.sq_norm)
    problem.penalties = {"H": [Smooth(1.0)]}
    found = np.array(solve(problem, factors, max_iter=200, tol=0).history["objective"])
    assert (np.diff(found) <= 1e-12 * found[0]).all()
    own = np.square(X - factors["W"][:, :4] @ factors["H"][:, :4].T).sum() + roughness(factors["H"])
    assert found[-1] == pytest.approx(own, rel=1e-10)
    # exact descent along the chain takes longer steps, and comes to 28.96 after 200; another way, the same region
    assert found[-1] < 1.06 * EXPECTED["HW"]["100"]


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


def test_the_objective_is_what_it_says_and_never_rises():
    X, _, _ = drawn()
    X[3], X[:, 5] = 0, 0
    for data in (X, sp.csr_array(X)):
        model = SmoothNMF(3, smoothness=0.5, max_iter=60, tol=0, random_state=0).fit(data)
        found, H = model.history_["objective"], model.components_
        assert (np.diff(found) <= 1e-12 * found[0]).all()
        penalty = roughness(H.T) + np.square(model.W_).sum() + 1e-3 * np.square(H).sum()
        error = np.square(X - model.W_ @ H).sum()
        assert found[-1] == pytest.approx(error + 0.5 * penalty, rel=1e-10)
        assert model.reconstruction_err_ == pytest.approx(np.sqrt(error), rel=1e-10)
    np.testing.assert_allclose(model.transform(X), model.W_, rtol=1e-8, atol=1e-12)


def test_units_go_with_the_penalty_and_float32_is_near():
    X, W, H = drawn()
    options = {"init": "custom", "max_iter": 20, "tol": 0}
    one = SmoothNMF(4, **options).fit(X, W=W, H=H)
    for factor in (4.0, 2.0**400):
        other = SmoothNMF(4, smoothness=factor, **options)
        other.fit(factor * X, W=np.sqrt(factor) * W, H=np.sqrt(factor) * H)
        np.testing.assert_allclose(other.components_, np.sqrt(factor) * one.components_, rtol=1e-9)
    single = SmoothNMF(4, **options).fit(X.astype(np.float32), W=W, H=H)
    assert single.components_.dtype == np.float32
    np.testing.assert_allclose(single.components_, one.components_, atol=1e-3)


def test_degenerate_data_and_bad_parameters():
    for X in (np.ones((1, 4)), np.ones((4, 1)), np.zeros((3, 4)), np.diag([1.0, 0, 2])):
        model = SmoothNMF(1, max_iter=50, random_state=0).fit(X)
        assert np.isfinite(model.W_).all() and np.isfinite(model.components_).all()
    with pytest.raises(ValueError, match="smoothness=-1"):
        SmoothNMF(smoothness=-1).fit(np.ones((3, 3)))
