"""`explain` after fits with several factors: which of them are needed."""

import copy

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

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


@pytest.fixture(scope="module")
def designed(planted):
    """Columns of a hat basis over x, the first two of which add up to 1, and one without meaning."""
    rng, (X, _, _) = np.random.default_rng(1), planted
    x = rng.random(len(X))
    Z = np.column_stack([1 - x, x, rng.random(len(X))])
    Y = Z[:, :2] @ rng.gamma(0.5, 3, (2, X.shape[1])) + X / 20
    return Y, Z, StratifiedNMF(2, random_state=0, max_iter=60, tol=0).fit(Y, design=Z)


def test_columns_of_a_design_are_factors(designed):
    X, Z, model = designed
    found = model.explain(X, design=Z, n=2)
    assert [(each.name, each.answer != "No") for each in found.factors] == [("z0", True), ("z1", True), ("z2", False)]
    assert found.loss == pytest.approx(model.normalized_loss_, rel=1e-4) and "the other columns leave" in found.verdict
    assert [round(each.chance * len(X)) for each in found.factors] == [1, 1, 1]
    best = StratifiedNMF(2, fixed_components=model.components_, init="features", tol=0, max_iter=200, random_state=0)
    best.fit(X, design=Z[:, 1:])
    left = model.reconstruction_errors(X, design=Z).sum() / (1 - found.factors[0].gain)
    assert left == pytest.approx(best.reconstruction_err_**2, rel=1e-3)
    assert found.factors[0].features[0] == str(int(np.argmax(model.shifts_[0])))


def test_groups_of_columns_are_left_out_together(designed):
    X, Z, model = designed
    x, rest = model.explain(X, design=Z, groups={"x": ["z0", 1], "rest": 2}).factors
    assert (x.name, x.n_levels, x.answer != "No", rest.answer) == ("x", 2, True, "No")
    (whole,) = model.explain(X, design=Z, groups={"all": range(3)}).factors
    bare = copy.copy(model)
    bare.shifts_ = np.zeros_like(bare.shifts_)
    error = model.reconstruction_errors(X, design=Z).sum() / bare.reconstruction_errors(X, design=Z).sum()
    assert whole.gain == pytest.approx(1 - error) and x.gain < whole.gain
    X, Z = X[:40], np.column_stack([Z[:40], Z[:40, 0] + Z[:40, 1]])
    chances = [each.chance for each in StratifiedNMF(1, random_state=0).fit(X, design=Z).explain(X, design=Z).factors]
    assert np.round(np.array(chances) * len(X)).tolist() == [0, 0, 1, 0]  # the others span what is left out


@pytest.mark.parametrize(
    "given, said",
    [
        ({}, "fitted with a design of 3 columns; pass design="),
        ({"groups": {"x": ["z0", "age"]}}, "has 'age', which is not a column of the design"),
        ({"groups": {"x": [5]}}, "has 5, which is not a column"),
        ({"groups": {"x": []}}, "has no columns"),
    ],
)
def test_what_explain_cannot_leave_out_is_refused(planted, fitted, designed, given, said):
    X, Z, model = designed
    with pytest.raises(ValueError, match=said):
        model.explain(X, **({"design": Z} | given if given else {}))
    with pytest.raises(ValueError, match="leave groups out"):
        fitted.explain(planted[0], strata=planted[1], groups={"x": ["year"]})


class Annotated:
    """What `explain` reads of an AnnData."""

    def __init__(self, X, obs):
        self.X, self.obs, self.var_names = X, obs, pd.Index([f"g{j}" for j in range(X.shape[1])])


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler"])
def test_all_forms_of_the_data_are_explained_alike(loss):
    rng = np.random.default_rng(0)
    X, obs = rng.poisson(4, (30, 4)), pd.DataFrame({"f": rng.integers(0, 2, 30), "g": rng.integers(0, 3, 30)})
    frame, half = pd.DataFrame(X, columns=list("abcd")), sp.coo_array(X / 2)
    twice = sp.coo_array((np.tile(half.data, 2), np.tile(half.coords, 2)), X.shape)
    model = StratifiedNMF(1, solver="mu", beta_loss=loss, max_iter=5, tol=0.1, random_state=0)
    wanted = model.fit(X, strata=obs).explain(X, strata=obs)
    for name, given, strata in (
        ("list", X.tolist(), obs),
        ("objects", X.astype(object), obs),
        ("duplicates", twice, obs),
        ("frame", pd.concat([frame, obs], axis=1), ["f", "g"]),
        ("annotated", Annotated(X, obs), ["f", "g"]),
    ):
        found = model.explain(given, strata=strata)
        gains = [[factor.gain for factor in each.factors] for each in (found, wanted)]
        np.testing.assert_allclose(found.loss, wanted.loss, rtol=1e-9, err_msg=name)
        np.testing.assert_allclose(*gains, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_what_is_explained_does_not_depend_on_the_scale_of_the_data(planted, fitted, scale):
    X, strata, _ = planted
    scaled = copy.copy(fitted)
    scaled.components_, scaled.shifts_ = np.sqrt(scale) * fitted.components_, scale * fitted.shifts_
    found, wanted = (model.explain(data, strata=strata) for model, data in ((scaled, scale * X), (fitted, X)))
    shares = [[each.loss, each.loss_no_shift, *(factor.gain for factor in each.factors)] for each in (found, wanted)]
    np.testing.assert_allclose(*shares, rtol=1e-6, atol=1e-6)


def test_smooth_years_are_explained_beside_another_factor(planted):
    X, strata, _ = planted
    X, strata = X[:60], {name: strata[name][:60] for name in ("year", "region")}
    model = StratifiedNMF(1, smoothness={"year": 2.0}, max_iter=20, tol=0, random_state=0).fit(X, strata=strata)
    year, region = model.explain(X, strata=strata).factors  # without the region, years are the only factor
    assert (year.name, region.name) == ("year", "region") and region.gain > 0.1


@pytest.mark.parametrize("strata", ["one label", "two factors"])
def test_counts_that_one_row_and_one_column_explain_leave_nothing_to_explain(strata):
    X, rows = np.full((12, 4), 2.0), {"f": np.arange(12) % 2, "g": np.arange(12) // 6}
    strata = rows if strata == "two factors" else rows["f"]
    model = StratifiedNMF(1, solver="mu", beta_loss="kullback-leibler", random_state=0).fit(X, strata=strata)
    found = model.explain(X, strata=strata)
    assert found.loss == found.loss_no_shift == 0 and "yes" not in found.verdict.lower()
    assert all(np.isfinite([part.gain, part.weight]).all() for part in found.get("factors", [found]))
