"""Interval NMF: a model between bounds."""

import numpy as np
import oracles_picks as oracles
import pytest
import scipy.sparse as sp
from scipy.optimize import nnls

from fastnmf import IntervalNMF
from fastnmf.core.factors import allocate
from fastnmf.core.objectives import interval_problem
from fastnmf.data.strata import Strata

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FORMS = (np.asarray, sp.csr_array, sp.csc_array)
MOVES = pytest.mark.parametrize("move", ["hals", "mu"])


def test_the_fixed_seed_case():
    low, high, W, H = oracles.interval_case()
    case = oracles.numbers("interval_mm")["obj"]
    model = IntervalNMF(3, move="mu", init="custom", max_iter=1000, tol=0, extrapolate=False).fit(
        low, upper=high, W=W, H=H
    )
    objective = model.history_["objective"]
    for step, value in case.items():
        if int(step) <= 1000:
            assert objective[int(step)] == pytest.approx(value, rel=1e-8 if int(step) <= 100 else 1e-5)
    assert (np.diff(objective) <= 1e-12).all()
    for step in range(3):
        assert objective[step] == pytest.approx(oracles.interval_error(W @ H, low, high), rel=1e-10)
        W, H = oracles.interval_mu_step(low, high, W, H)


def holed(seed=0):
    """Draw bounds with entries where both are zero, with a row and a column of such."""
    rng = np.random.default_rng(seed)
    Y = (rng.random((16, 3)) * (rng.random((16, 3)) < 0.5)) @ rng.random((3, 12)) * (rng.random((16, 12)) < 0.8)
    Y[3], Y[:, 5] = 0, 0
    return np.maximum(Y - 0.2, 0), Y + 0.1 * (Y > 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("density", [0.3, 1.0])
def test_a_cover_is_that_of_plain_loops_and_an_interval_without_upper_ends(dtype, density):
    rng = np.random.default_rng(5)
    X = (rng.random((30, 20)) < density).astype(dtype)
    X[4], X[:, 3] = (0, 0) if density < 1 else (1, 1)
    data = Strata.from_array(sp.csr_array(X))
    factors, tasks = allocate(data, *(rng.random((size, 3)) for size in X.shape), None)
    W, H = (factors[name][:, :3].astype(float) for name in "WH")
    loss, near = oracles.covered(X > 0, W, H.T)
    bounds, rounding = (
        (data.X.data, np.full_like(data.X.data, np.inf)),
        {"rtol": 4e-6 if dtype == np.float32 else 1e-12},
    )
    for bound in (None, bounds):
        problem = interval_problem(data, factors, tasks, bound, is_descent=True)
        assert problem.scale == X.sum()
        np.testing.assert_allclose([problem.value(factors), problem.exact_value(factors)], loss, **rounding)
        for name, product, other in (("W", near @ H, H), ("H", near.T @ W, W)):
            sub = problem.subproblem(name, factors)
            np.testing.assert_allclose(sub.pos[:, :3], product, **rounding)
            np.testing.assert_allclose(sub.gram[:3, :3], other.T @ other, **rounding)


@MOVES
def test_the_objective_is_the_squared_distance_and_never_rises(move):
    low, high = holed()
    assert ((low == 0) & (high > 0)).any() and (high == 0).any()
    for form in FORMS:
        model = IntervalNMF(3, move=move, random_state=0, max_iter=60, tol=0).fit(form(low), upper=form(high))
        error = oracles.interval_error(model.W_ @ model.components_, low, high)
        # Gram matrices lose digits where the squared distance is small beside the squared norm.
        assert model.history_["objective"][-1] == pytest.approx(error, rel=1e-8)
        assert model.reconstruction_err_ == pytest.approx(error**0.5, rel=1e-8)
        assert model.normalized_loss_ == pytest.approx(error**0.5 / np.linalg.norm(low), rel=1e-8)
        assert (np.diff(model.history_["objective"]) <= 1e-12 * model.history_["objective"][:-1]).all()
        assert min(model.W_.min(), model.components_.min()) >= 0


@MOVES
def test_sparse_bounds_are_dense_ones(move):
    low, high = holed(1)
    start = {"W": np.random.default_rng(0).random((16, 3)), "H": np.random.default_rng(1).random((3, 12))}
    pairs = [(a(low), b(high)) for a in FORMS for b in FORMS]
    models = [IntervalNMF(3, move=move, init="custom", max_iter=20, tol=0).fit(a, upper=b, **start) for a, b in pairs]
    for model in models[1:]:
        np.testing.assert_allclose(model.components_, models[0].components_, rtol=1e-9, atol=1e-12)


def test_a_model_inside_its_bounds_is_found():
    low, high, *_ = oracles.interval_case()
    model = IntervalNMF(3, max_iter=3000, tol=0, random_state=0).fit(low, upper=high)
    Y = model.inverse_transform(model.W_)
    assert model.reconstruction_err_ < 1e-3
    assert np.maximum(low - Y, Y - high).max() < 1e-3 and ((Y >= low - 1e-4) & (Y <= high + 1e-4)).mean() > 0.99
    assert model.score(low, upper=high) > 1 - 1e-6


def test_points_are_plain_factorisation():
    X = np.random.default_rng(0).random((12, 8))
    model = IntervalNMF(2, random_state=0, max_iter=400, tol=0).fit(X)
    assert model.history_["objective"][-1] == pytest.approx(
        np.square(X - model.W_ @ model.components_).sum(), rel=1e-10
    )
    want = [nnls(model.components_.T, x)[0] for x in X]
    np.testing.assert_allclose(model.transform(X), want, atol=1e-6)  # 400 sweeps


def test_without_upper_bounds_nothing_is_too_large():
    low = holed()[0] + 0.1
    model = IntervalNMF(1, random_state=0, max_iter=500).fit(low, upper=np.full(low.shape, np.inf))
    assert model.reconstruction_err_ < 1e-2
    open_end = np.where(np.arange(12) < 6, np.inf, low + 0.05)
    assert IntervalNMF(2, random_state=0, max_iter=30).fit(low, upper=open_end).reconstruction_err_ < np.inf


def test_transform_knows_the_row_alone():
    low, high = holed()
    model = IntervalNMF(3, random_state=0).fit(low, upper=high)
    whole = model.transform(low, upper=high)
    for form in FORMS:
        part = model.transform(form(low[5:7]), upper=form(high[5:7]))
        np.testing.assert_allclose(part, whole[5:7], rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(model.fit_transform(low, upper=high), model.transform(low, upper=high))


@pytest.mark.parametrize("factor", [1e-120, 1e120])
def test_extreme_scales_are_the_same_problem(factor):
    low, high = holed()
    options = {"random_state": 0, "max_iter": 20, "tol": 0}
    want = IntervalNMF(2, **options).fit(low, upper=high)
    got = IntervalNMF(2, **options).fit(factor * low, upper=factor * high)
    assert got.normalized_loss_ == pytest.approx(want.normalized_loss_, rel=1e-6)
    np.testing.assert_allclose(got.W_ @ (got.components_ / factor), want.W_ @ want.components_, rtol=1e-5, atol=1e-9)


def test_float32_stays_and_is_close():
    low, high = holed()
    models = [IntervalNMF(2, random_state=0, max_iter=20, tol=0).fit(low.astype(t), upper=high) for t in ("f4", "f8")]
    assert models[0].W_.dtype == np.float32
    assert models[0].normalized_loss_ == pytest.approx(models[1].normalized_loss_, rel=1e-3)


def test_bounds_that_are_none_are_refused():
    low, high = holed()
    above = np.where(low == low.max(), 0.5 * low, high)
    nan = np.where(low == low.max(), np.nan, high)
    for form in FORMS:
        for upper, words in (
            (form(above), "entry above its upper bound"),
            (form(np.where(low == low.max(), 0, high)), "entry above its upper bound"),
            (form(high[:, :3]), "upper has shape"),
            (form(nan), "upper: .*NaN"),
        ):
            with pytest.raises(ValueError, match=words):
                IntervalNMF(2).fit(form(low), upper=upper)
    with pytest.raises(ValueError, match="move='cd' is not known"):
        IntervalNMF(2, move="cd").fit(low)
    nothing = IntervalNMF(2, random_state=0).fit(np.zeros((3, 4)))
    assert nothing.reconstruction_err_ == nothing.normalized_loss_ == 0
