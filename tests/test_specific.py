"""Which features are specific to a stratum: exact moments over all labellings, levels that hold, and refusals."""

import itertools
import json
import pathlib
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import false_discovery_control, pearson3

from fastnmf import NMF, AffineNMF, SemiSupervisedNMF, StratifiedNMF, specific_features, write_report
from fastnmf.datasets import make_stratified
from fastnmf.selection.specific import MARGIN, _adjusted, _count, _critical, _lower_bounds, _pvalues

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(RNG.gamma(1.0, 1.0, 30), (60, 30))
LABELS = np.repeat(["a", "b", "c"], [30, 20, 10])


def labellings(index, block):
    """Yield all different ways of giving the labels of the rows to the rows of their blocks."""
    parts = [np.flatnonzero(block == b) for b in np.unique(block)]
    for given in itertools.product(*(sorted(set(itertools.permutations(index[part]))) for part in parts)):
        found = np.empty_like(index)
        for part, labels in zip(parts, given, strict=True):
            found[part] = labels
        yield found


@pytest.mark.parametrize("block", [[0] * 7, [0, 0, 0, 0, 1, 1, 1]], ids=["all rows", "within two blocks"])
@pytest.mark.parametrize("has_model", [False, True])
def test_the_moments_are_those_over_all_labellings(block, has_model):
    X, index, block = (
        np.random.default_rng(1).poisson(1.5, (7, 4)) * 1.0,
        np.array([0, 1, 0, 1, 0, 2, 1]),
        np.array(block),
    )
    model = AffineNMF(2, random_state=0, max_iter=5, tol=0).fit(X) if has_model else None
    fitted = model.transform(X) @ model.components_ + model.offset_ if has_model else 0.0
    residuals = X - fitted
    sums = np.array([[residuals[each == s].sum(axis=0) for s in range(3)] for each in labellings(index, block)])
    mean, deviation = sums.mean(axis=0), sums.std(axis=0)
    actual = np.array([residuals[index == s].sum(axis=0) for s in range(3)]) - mean
    skewness = ((sums - mean) ** 3).mean(axis=0) / deviation**3
    found = specific_features(X, index, model, within=block, correction=None)
    np.testing.assert_allclose(found.z, actual / deviation, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.difference, actual / np.bincount(index)[:, None], rtol=1e-9, atol=1e-12)
    above = found.z > 1e-6
    np.testing.assert_allclose(found.pvalue[above], pearson3.sf(found.z, skewness)[above], rtol=1e-7)


def test_z_is_that_of_the_stored_numbers():
    cases = json.loads((pathlib.Path(__file__).parent / "data" / "score_test.json").read_text())
    for case in cases:
        X, W, H, v = (np.array(case[name]) for name in ("A", "W", "H", "v"))

        class Known(NMF):
            components_, shifts_ = H.T, v[None]  # noqa: B023

            def transform(self, X, W=W):
                return W

        found = specific_features(X, np.array(case["codes"]), Known())
        np.testing.assert_allclose(found.z, case["z"], atol=1e-9)


def test_planted_features_are_found_and_nothing_under_shuffled_labels():
    X = COUNTS.copy()
    X[LABELS == "c", 7] += 4
    found = specific_features(X, LABELS, n_shuffles=20, random_state=0)
    assert found.names == {"a": [], "b": [], "c": ["7"]}
    assert found.rejected.sum() == found.n_rejected.sum() == 1
    assert found.shuffled.shape == (20,) and np.count_nonzero(found.shuffled) <= 3
    assert "specific" in repr(found).splitlines()[0] and repr(found).splitlines()[3].split() == ["c", "1", "7"]


def test_levels_hold_under_shuffled_labels():
    rng = np.random.default_rng(3)
    X = make_stratified((300,), 60, 3, noise=0.3, random_state=0).data
    model = NMF(3, random_state=0, max_iter=30, tol=0).fit(X)
    values = [specific_features(X, rng.integers(0, 4, 300), model, correction=None) for _ in range(12)]
    p = np.concatenate([each.pvalue.ravel() for each in values])
    assert 0.035 < np.mean(p <= 0.05) < 0.065 and np.mean(p <= 0.001) < 0.003  # 2880 tests: 0.004 and 0.0006 deviations


def test_a_second_factor_is_not_taken_for_the_first():
    rng = np.random.default_rng(5)
    year = np.repeat([0, 1], 100)
    region = np.where(rng.random(200) < np.where(year, 0.8, 0.2), "north", "south")
    X = rng.poisson(1.0, (200, 5)) + 3.0 * year[:, None] * (np.arange(5) == 2)
    assert specific_features(X, region).n_rejected.sum() == 1
    assert specific_features(X, region, within=year).n_rejected.sum() == 0


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_the_units_of_x_do_not_matter(scale):
    X = COUNTS.astype(float)
    model = NMF(2, random_state=0, max_iter=20, tol=0)
    a = specific_features(X, LABELS, model.fit(X))
    b = specific_features(scale * X, LABELS, model.fit(scale * X))
    np.testing.assert_allclose(a.z, b.z, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scale * a.difference, b.difference, rtol=1e-4, atol=1e-6 * scale)


def test_sparse_data_and_float32_give_the_same():
    found = specific_features(COUNTS, LABELS)
    for X in (sp.csr_array(COUNTS), sp.coo_matrix(COUNTS), COUNTS.astype(np.float32)):
        np.testing.assert_allclose(specific_features(X, LABELS).pvalue, found.pvalue, rtol=1e-9)


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
@pytest.mark.parametrize("correction", ["fdr_bh", "fdr_by", "bonferroni", None])
def test_rejections_counted_quickly_are_the_rejections(alternative, correction):
    rng = np.random.default_rng(2)
    z, skewness = 2.5 * rng.standard_normal(400), rng.choice([-1.0, 0.0, 0.3, 1.0, 4.0], 400)
    expected = np.count_nonzero(_adjusted(_pvalues(z, skewness, alternative), correction) <= 0.05)
    assert _count(z, skewness, alternative, correction, 0.05, 400) == expected > 0


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
@pytest.mark.parametrize("has_model", [False, True])
def test_shuffles_are_counted_as_whole_tests(alternative, has_model):
    model = NMF(2, random_state=0, max_iter=20, tol=0).fit(COUNTS) if has_model else None
    year, rng = np.tile([0, 1], 30), np.random.default_rng(7)
    for correction, level in ((None, 0.05), (None, 0.6), ("fdr_bh", 0.7), ("bonferroni", 0.9)):
        options = {"alternative": alternative, "correction": correction, "level": level, "within": year}
        found = specific_features(COUNTS, LABELS, model, n_shuffles=3, random_state=7, **options)
        expected, rng = [], np.random.default_rng(7)
        for _ in range(3):
            order = np.lexsort((rng.random(60), year))
            labels = np.empty_like(LABELS)
            labels[order] = LABELS[np.argsort(year, kind="stable")]
            expected.append(specific_features(COUNTS, labels, model, **options).n_rejected.sum())
        assert found.shuffled.tolist() == expected
        assert correction is not None or min(expected) > 0


@pytest.mark.parametrize("level", [0.05, 0.001, 0.3])
def test_z_below_its_critical_value_is_not_significant(level):
    skewness = np.concatenate([-np.geomspace(1e-5, 300, 700), [0.0], np.geomspace(1e-5, 300, 700)])
    least = _critical(skewness, level)
    p_below, p_above = (_pvalues(z, skewness, "greater") for z in (0.9999 * least, least + 2 * MARGIN))
    assert np.all(p_below[least > 0] > level) and np.all(p_above <= level * (1 + 1e-9))
    assert np.all(_critical(skewness, 0.5) < -1e300)


def test_lower_bounds_are_below_the_p_values():
    z, skewness = np.meshgrid(np.geomspace(1e-3, 50, 40), np.geomspace(1e-3, 100, 40))
    bounds = _lower_bounds(z.ravel(), skewness.ravel())
    exact = _pvalues(z.ravel(), skewness.ravel(), "greater")
    assert np.all(bounds <= exact * (1 + 1e-6) + 1e-300) and np.mean(bounds > 0.3 * exact) > 0.3


def test_adjusted_p_values_are_those_of_scipy():
    p = np.random.default_rng(0).random(50) ** 3
    for method in ("bh", "by"):
        np.testing.assert_allclose(_adjusted(p, f"fdr_{method}"), false_discovery_control(p, method=method))


def test_features_that_cannot_vary_are_no_tests():
    X = np.column_stack([COUNTS, np.ones(60), np.zeros(60)])
    found = specific_features(X, LABELS)
    assert np.all(found.pvalue[:, -2:] == 1) and np.all(found.z[:, -2:] == 0) and not found.rejected[:, -2:].any()


@pytest.fixture(scope="module")
def starred():
    X = COUNTS.copy()
    X[LABELS == "c", 7] += 4
    names = [f"w{j}" for j in range(30)]
    model = StratifiedNMF(1, random_state=0, max_iter=5, tol=0).fit(X, strata=LABELS)
    return model, specific_features(X, LABELS, feature_names=names), names, X


def test_top_features_mark_what_is_specific(starred):
    model, found, names, _ = starred
    plain, marked = model.top_features(30, names), model.top_features(30, names, specific=found)
    assert marked.components == plain.components and "w7" in plain.strata["c"]
    assert marked.strata == {
        label: [f"{name}*" if (label, name) == ("c", "w7") else name for name in words]
        for label, words in plain.strata.items()
    }


def test_the_report_has_stars_and_a_legend(starred, tmp_path):
    model, found, names, X = starred
    page = write_report(model, tmp_path / "r.html", X=X, feature_names=names, specific=found).read_text("utf-8")
    assert page.count('"w star"') - page.count('"w star" :') == 2  # w7 in the card of c, and the legend
    assert '<span class="w star">w7</span>' in page and "adjusted p-value of at most 0.05" in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert [group[3:] for group in data["groups"]] == [[], [], [[data["words"].index("w7")]]]
    assert "star</span>" not in write_report(model, tmp_path / "s.html", X=X).read_text("utf-8")


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (lambda m, f, X: m.top_features(specific=3), "expected what fastnmf.specific_features returns"),
        (
            lambda m, f, X: m.top_features(specific=specific_features(X[:, :5], LABELS)),
            "has 5 features; the mod",
        ),
        (
            lambda m, f, X: m.top_features(specific=specific_features(X, LABELS == "a")),
            "has no stratum 'a' of",
        ),
        (lambda m, f, X: NMF(1, max_iter=2, tol=0).fit(X).top_features(specific=f), "has no strata of one label a row"),
    ],
)
def test_stars_need_the_strata_and_features_of_the_model(starred, use, sentence):
    model, found, _, X = starred
    with pytest.raises((ValueError, TypeError), match=sentence):
        use(model, found, X)


REFUSED = {
    "a model that has seen the strata": (lambda: StratifiedNMF(2).fit(COUNTS, strata=LABELS), "has seen labels"),
    "a model that has seen classes": (lambda: SemiSupervisedNMF(2).fit(COUNTS, LABELS), "has seen labels"),
    "no estimator": (lambda: 3, "is not an estimator"),
    "another shape": (lambda: NMF(2).fit(COUNTS[:, :5]), "features"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_models_that_cannot_be_used_are_refused(name):
    make, sentence = REFUSED[name]
    with pytest.raises((ValueError, TypeError), match=sentence):
        specific_features(COUNTS, LABELS, make())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"strata": None}, "was given no strata"),
        ({"strata": ["a"] * 60}, "single label"),
        ({"level": 2}, "expected a number from 0 to 1"),
        ({"correction": "holm"}, "correction='holm'"),
        ({"n": 0}, "n=0 is not valid"),
        ({"within": [1, 2]}, "within"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        specific_features(**{"X": COUNTS, "strata": LABELS} | change)


def test_names_of_columns_and_labels_of_a_table_are_taken():
    frame = pd.DataFrame(
        COUNTS + 4 * ((LABELS == "c")[:, None] & (np.arange(30) == 7)), columns=[f"g{j}" for j in range(30)]
    )
    found = specific_features(frame.assign(clinic=LABELS), "clinic")
    assert found.names["c"] == ["g7"] and "adjusted" in repr(found)
    assert "adjusted" not in repr(specific_features(frame, LABELS, correction=None))
    anndata = pytest.importorskip("anndata")
    cells = anndata.AnnData(frame.astype(float), obs=pd.DataFrame({"clinic": LABELS}, index=frame.index.astype(str)))
    assert specific_features(cells, "clinic", NMF(2, random_state=0).fit(cells)).z.shape == (3, 30)
    assert specific_features(cells, "clinic").names == found.names
