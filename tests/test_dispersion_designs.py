"""Dispersion of counts at the mean of models with designs."""

import numpy as np
import pytest

from fastnmf import StratifiedNMF

COUNTS = {"solver": "mu", "beta_loss": "kullback-leibler", "random_state": 0, "max_iter": 60}


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(0)
    n, m, depth = 240, 40, np.exp(0.5 * rng.normal(size=240))
    strata = {"batch": rng.integers(0, 3, n), "day": rng.integers(0, 2, n)}
    mean = 8 * (rng.random((3, m))[strata["batch"]] + rng.random((2, m))[strata["day"]] + rng.random((n, 1)))
    mean *= depth[:, None]
    return rng.poisson(mean * rng.gamma(4, 1 / 4, mean.shape)), strata, depth  # dispersion 1/4


def test_exposure_and_factors_leave_the_dispersion_of_the_counts(counts):
    X, strata, depth = counts
    model = StratifiedNMF(1, **COUNTS).fit(X, strata=strata, exposure=depth)
    found = {
        kind: model.estimate_dispersion(X, strata=strata, exposure=depth, method=kind) for kind in ("ml", "moments")
    }
    assert np.median(found["ml"]) == pytest.approx(0.25, rel=0.15)
    assert np.median(found["moments"]) == pytest.approx(0.25, rel=0.3)
    blind = StratifiedNMF(1, **COUNTS).fit(X, strata=strata["batch"])
    assert blind.estimate_dispersion(X, strata=strata["batch"], kind="global") > 1.1 * np.median(found["ml"])
    with pytest.raises(ValueError, match="pass exposure="):
        model.estimate_dispersion(X, strata=strata)


def test_a_one_hot_design_gives_what_strata_give(counts):
    X, strata, _ = counts
    plain = StratifiedNMF(2, **COUNTS).fit(X, strata=strata["batch"])
    design = np.eye(3)[strata["batch"]]
    other = StratifiedNMF(2, **COUNTS).fit(X, design=design)
    for method in ("ml", "moments"):
        found = other.estimate_dispersion(X, design=design, method=method)
        np.testing.assert_allclose(
            found, plain.estimate_dispersion(X, strata=strata["batch"], method=method), rtol=1e-6
        )


def test_own_components_are_refused(counts):
    X, strata, _ = counts
    model = StratifiedNMF(1, n_own=1, random_state=0, max_iter=5).fit(X, strata=strata["batch"])
    with pytest.raises(ValueError, match="own components"):
        model.estimate_dispersion(X, strata=strata["batch"])
