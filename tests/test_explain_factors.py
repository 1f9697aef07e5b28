"""`explain` after fits with several factors: which of them are needed."""

import numpy as np
import pytest

from fastnmf import StratifiedNMF


@pytest.fixture(scope="module")
def planted():
    """Shifts by year and by region, and labels without meaning."""
    rng = np.random.default_rng(0)
    n, m = 300, 30
    strata = {"year": rng.integers(2000, 2004, n), "region": rng.integers(0, 3, n), "draw": rng.integers(0, 4, n)}
    shift = rng.random((4, m))[strata["year"] - 2000] + rng.random((3, m))[strata["region"]]
    return 2 * shift + 0.5 * rng.random((n, 3)) @ rng.random((3, m)) + 0.1 * rng.random((n, m)), strata, rng


@pytest.fixture(scope="module")
def fitted(planted):
    X, strata, _ = planted
    return StratifiedNMF(3, random_state=0).fit(X, strata=strata)


def test_factors_with_effects_are_needed_and_labels_without_meaning_are_not(planted, fitted):
    X, strata, _ = planted
    found = fitted.explain(X, strata=strata, n=4)
    assert [factor.answer for factor in found.factors] == ["Yes", "Yes", "No"]
    assert [factor.n_levels for factor in found.factors] == [4, 3, 4]
    assert found.loss == pytest.approx(fitted.normalized_loss_, rel=1e-6)
    assert found.loss < found.loss_no_shift
    assert "draw: no" in found.verdict and str(found).count("\n") == 5
    spread = fitted.shifts_[1:5].std(axis=0)  # levels of years, which have about as many rows each
    assert str(int(np.argmax(spread))) in found.factors[0].features


def test_the_error_without_a_factor_is_that_of_the_best_shifts_without_it(planted, fitted):
    X, strata, _ = planted
    found = fitted.explain(X, strata=strata).factors[2]
    others = {name: strata[name] for name in ("year", "region")}
    best = StratifiedNMF(3, fixed_components=fitted.components_, init="features", tol=0, max_iter=400, random_state=0)
    best.fit(X, strata=others)
    left = fitted.reconstruction_errors(X, strata=strata).sum() / (1 - found.gain)
    assert left == pytest.approx(best.reconstruction_err_**2, rel=1e-3)


def test_counts_and_exposure(planted):
    X, strata, rng = planted
    counts = rng.poisson(5 * X)
    model = StratifiedNMF(3, solver="mu", beta_loss="kullback-leibler", random_state=0).fit(counts, strata=strata)
    found = model.explain(counts, strata=strata)
    assert [factor.answer for factor in found.factors] == ["Yes", "Yes", "No"]
    assert found.loss == pytest.approx(model.normalized_loss_, rel=1e-3)
    u = 0.5 + rng.random(len(X))
    model = StratifiedNMF(3, random_state=0).fit(X, strata=strata["year"], exposure=u)
    found = model.explain(X, strata=strata["year"], exposure=u)
    assert [factor.name for factor in found.factors] == ["strata"] and found.factors[0].gain > 0.1


def test_new_rows_with_a_level_that_the_fit_has_not_seen(planted, fitted):
    X, strata, _ = planted
    new = {**strata, "year": np.where(strata["year"] == 2000, 1999, strata["year"])}
    with pytest.raises(ValueError, match="1999"):
        fitted.explain(X, strata=new)
    lenient = StratifiedNMF(3, random_state=0, unknown_strata="mean").fit(X, strata=strata)
    assert lenient.explain(X, strata=new).loss > 1.5 * lenient.explain(X, strata=strata).loss


def test_a_design_of_ones_own_has_no_factors_to_compare(planted):
    X, strata, _ = planted
    model = StratifiedNMF(2, random_state=0, max_iter=5).fit(X, design=np.eye(3)[strata["region"]])
    with pytest.raises(ValueError, match="fitted with design="):
        model.explain(X)
