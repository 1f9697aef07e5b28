"""Numbers that are easy to get wrong: losses near a perfect fit, float32, extreme scales, underflow."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from fastnmf import NMF, StratifiedNMF, metrics


def exact_model(dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    strata = rng.integers(0, 3, 60)
    W, H, V = rng.random((60, 3)), rng.random((3, 25)), rng.random((3, 25))
    return (W @ H + V[strata]).astype(dtype), strata, {"W": W, "H": H, "V": V}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("disturbance", [1e-2, 1e-4, 1e-6, 1e-9])
def test_the_loss_is_right_near_a_perfect_fit(dtype, form, disturbance):
    """The trace form alone has no digit left at 1e-8 (float64) or 1e-4 (float32)."""
    X, strata, start = exact_model(dtype)
    start = {name: F * (1 + disturbance) for name, F in start.items()}
    model = StratifiedNMF(3, init="custom", max_iter=1, tol=0, solver="mu").fit(form(X), strata=strata, **start)
    dense = X.astype(float)
    direct = np.linalg.norm(dense - start["W"] @ start["H"] - start["V"][strata]) / np.linalg.norm(dense)
    # A float32 start is rounded before it is used: 6e-8 of it is noise.
    noise = 3e-7 if dtype == np.float32 else 1e-15
    assert model.history_["normalized_loss"][0] == pytest.approx(direct, rel=1e-3, abs=noise)
    want = metrics.normalized_loss(form(X), model.W_, model.components_, model.shifts_, strata)
    assert model.normalized_loss_ == pytest.approx(want, rel=1e-3, abs=1e-12)


def test_float32_and_float64_reach_the_same_loss():
    rng = np.random.default_rng(3)
    X = sp.random_array((400, 300), density=0.05, rng=rng, format="csr")
    strata = rng.integers(0, 4, 400)
    for solver in ("hals", "mu"):
        double, single = (
            StratifiedNMF(5, solver=solver, random_state=0, max_iter=60, tol=0).fit(X.astype(dtype), strata=strata)
            for dtype in (np.float64, np.float32)
        )
        assert single.normalized_loss_ == pytest.approx(double.normalized_loss_, rel=1e-4)
        want = metrics.normalized_loss(X, single.W_, single.components_, single.shifts_, strata)
        assert single.normalized_loss_ == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("dtype, scales", [(np.float64, (1e-150, 1e150)), (np.float32, (1e-30, 1e30))])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("solver", ["hals", "mu"])
def test_extreme_scales_neither_under_nor_overflow(dtype, scales, form, solver):
    X, strata, _ = exact_model()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scale in scales:
            given = form((X * scale).astype(dtype))
            model = StratifiedNMF(3, solver=solver, random_state=0, max_iter=30, tol=0).fit(given, strata=strata)
            plain = StratifiedNMF(3, solver=solver, random_state=0, max_iter=30, tol=0).fit(
                form(X.astype(dtype)), strata=strata
            )
            assert model.normalized_loss_ == pytest.approx(plain.normalized_loss_, rel=0.05)
            assert model.score(given, strata=strata) == pytest.approx(
                plain.score(form(X.astype(dtype)), strata=strata), abs=1e-3
            )
            assert model.components_.max() > 0 and np.isfinite(model.components_).all()
            assert 0 < model.reconstruction_err_ < np.inf


def test_a_start_of_the_paper_on_data_of_extreme_scale():
    X, strata, start = exact_model()
    for scale in (1e-150, 1e150):
        model = StratifiedNMF(3, init="custom", solver="mu", max_iter=50, tol=0).fit(X * scale, strata=strata, **start)
        assert np.isfinite(model.history_["normalized_loss"][1:]).all() and model.normalized_loss_ < 0.5


def test_mu_never_revives_a_zero_and_hals_does():
    X, strata, start = exact_model()
    start["V"] = np.zeros_like(start["V"])
    mu = StratifiedNMF(3, init="custom", solver="mu", max_iter=20, tol=0).fit(X, strata=strata, **start)
    hals = StratifiedNMF(3, init="custom", max_iter=20, tol=0).fit(X, strata=strata, **start)
    assert not mu.shifts_.any() and (hals.shifts_ > 0).any()


@pytest.mark.parametrize("seed", [83, 143])
def test_components_that_are_hardly_needed_do_not_drift_off(seed):
    """More components than columns: without a scale anchor W and H of these two went to 1e-157 and infinity."""
    rng = np.random.default_rng(seed)
    X = rng.random((40, 3))
    X[X < 0.6] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        model = StratifiedNMF(10, random_state=seed, max_iter=200, tol=0).fit(sp.csr_array(X))
    assert np.isfinite(model.components_).all() and model.components_.max() < 1e20 and model.normalized_loss_ < 1e-3


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_entries_that_vanish_stay_normal_numbers(dtype):
    """Multiplicative updates shrink some entries in every iteration; below `tiny` processors are ten times slower."""
    X = np.random.default_rng(0).random((12, 9)).astype(dtype)
    model = NMF(4, solver="mu", init="random", random_state=0, max_iter=3000, tol=0).fit(X)
    found = np.concatenate([model.W_.ravel(), model.components_.ravel()])
    assert found.dtype == dtype and (found > 0).all()
    assert found.min() < (1e-100 if dtype == np.float64 else 1e-12), "nothing vanishes here"
    assert found.min() ** 2 >= np.finfo(dtype).tiny
