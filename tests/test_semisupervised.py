"""Labels of some of the rows: the term, the model of its own, and the model with strata."""

import warnings

import numpy as np
import oracles_layered
import pytest
import scipy.sparse as sp
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastnmf import SemiSupervisedNMF, StratifiedNMF
from fastnmf.datasets.toys import make_hierarchical

VARIANTS = {
    "hals": {"solver": "hals"},
    "mu": {"solver": "mu", "init": "random"},
    "mu-kl": {"solver": "mu", "init": "random", "label_loss": "kullback-leibler"},
}
every_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def labelled(seed=0):
    """Return data of three classes, labels of two thirds of the rows, and all labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 60)
    X = rng.poisson(1 + 4 * (np.arange(12)[None] // 4 == y[:, None]), (60, 12)).astype(float)
    return X, np.where(rng.random(60) < 0.33, -1, y), y


def label_part(model, X, y):
    known = y >= 0
    Y = (y[:, None] == model.classes_)[known].astype(float)
    P = (model.W_ @ model.coef_.T)[known]
    weight = model.label_weight * np.sum(X**2) / known.sum()
    if getattr(model, "label_loss", "frobenius") == "frobenius":
        return weight * np.sum((Y - P) ** 2)
    return weight * np.sum(P - Y + np.where(Y > 0, -np.log(np.where(Y > 0, P, 1)), 0))


@every_variant
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_the_objective_is_what_it_says_and_never_rises(options, form):
    X, y, _ = labelled()
    model = SemiSupervisedNMF(4, random_state=0, max_iter=30, tol=0, **options).fit(form(X), y)
    assert (model.W_ >= 0).all() and (model.components_ >= 0).all() and (model.coef_ >= 0).all()
    objective = model.history_["objective"]
    assert (np.diff(objective) <= 1e-12 * objective[:-1]).all() and objective[-1] < objective[0]
    of_X = np.sum((X - model.W_ @ model.components_) ** 2)
    assert objective[-1] == pytest.approx(of_X + label_part(model, X, y), rel=1e-9)
    assert model.reconstruction_err_ == pytest.approx(np.sqrt(of_X), rel=1e-9)


def test_the_updates_are_those_of_the_source():
    X, y, _ = labelled()
    known = (y >= 0)[:, None].astype(float)
    Y = (y[:, None] == np.arange(3)) * known
    options = {"solver": "mu", "init": "custom", "tol": 0, "label_weight": 0.5}
    rng = np.random.default_rng(0)
    W, H = rng.random((60, 4)), rng.random((4, 12))
    one, two = (SemiSupervisedNMF(4, max_iter=n, **options).fit(X, y, W=W, H=H) for n in (1, 2))
    weight = 0.5 * np.sum(X**2) / known.sum()
    found = oracles_layered.semi_supervised(X, Y, known, one.W_, one.components_.T, one.coef_, weight, 1)
    for mine, other in zip((two.W_, two.components_.T, two.coef_), found, strict=True):
        # The eps of 1e-9 in our denominators, which the twin does without.
        np.testing.assert_allclose(mine, other, rtol=1e-6)


@every_variant
def test_predictions(options):
    X, y, truth = labelled()
    model = SemiSupervisedNMF(3, random_state=0, **options).fit(X, np.array(["a", "b", "c", None], object)[y])
    new, _, classes = labelled(1)
    assert model.score(new, np.array(["a", "b", "c"])[classes]) >= 0.9
    assert np.mean(model.predict(X) == np.array(["a", "b", "c"])[truth]) >= 0.9
    shares = model.predict_proba(new)
    assert shares.shape == (60, 3) and np.allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(model.decision_function(new), model.transform(new) @ model.coef_.T)


@every_variant
def test_missing_entries_and_labels_together(options):
    X, y, _ = labelled()
    seen = np.random.default_rng(2).random(X.shape) < 0.7
    fit = {"random_state": 0, "max_iter": 20, "tol": 0}
    first = SemiSupervisedNMF(4, **fit, **options).fit(np.where(seen, X, 0), y, weight=seen)
    second = SemiSupervisedNMF(4, **fit, **options).fit(np.where(seen, X, 77), y, weight=seen)
    np.testing.assert_array_equal(first.W_, second.W_)
    objective = first.history_["objective"]
    assert (np.diff(objective) <= 1e-12 * objective[:-1]).all()
    of_X = np.sum((seen * (X - first.W_ @ first.components_)) ** 2)
    assert objective[-1] == pytest.approx(of_X + label_part(first, seen * X, y), rel=1e-9)


@every_variant
def test_scale_and_precision(options):
    X, y, _ = labelled()
    fit = {"random_state": 0, "max_iter": 20, "tol": 0, **options}
    want = SemiSupervisedNMF(4, **fit).fit(X, y)
    for factor in (2.0**-300, 1e150):
        found = SemiSupervisedNMF(4, **fit).fit(X * factor, y)
        np.testing.assert_allclose(found.decision_function(X * factor), want.decision_function(X), rtol=1e-4, atol=1e-6)
    single = SemiSupervisedNMF(4, **fit).fit(X.astype(np.float32), y)
    assert single.W_.dtype == np.float32
    assert single.normalized_loss_ == pytest.approx(want.normalized_loss_, rel=1e-3)


def test_no_labels_are_a_plain_fit_and_none_are_refused():
    X, y, _ = labelled()
    model = SemiSupervisedNMF(4, random_state=0).fit(X)
    assert not hasattr(model, "classes_")
    np.testing.assert_array_equal(model.transform(X), model.W_)
    with pytest.raises(ValueError, match="was fitted without labels"):
        model.predict(X)
    with pytest.raises(ValueError, match="y has no label"):
        model.fit(X, np.full(60, -1))
    with pytest.raises(ValueError, match="is not quadratic"):
        SemiSupervisedNMF(4, label_loss="kullback-leibler").fit(X, y)


@pytest.mark.parametrize("options", [{}, {"extrapolate": False}, {"solver": "mu", "init": "random"}], ids=str)
def test_strata_take_labels_too(options):
    toy = make_hierarchical(random_state=0)
    strata = np.arange(90) % 3
    X = toy.data + strata[:, None] * np.linspace(0, 2, 87)
    y = np.where(np.arange(90) % 2, toy.target4, -1)
    model = StratifiedNMF(5, label_weight=1.0, random_state=0, max_iter=60, tol=0, **options).fit(X, y, strata=strata)
    objective = model.history_["objective"]
    if options:
        assert (np.diff(objective) <= 1e-12 * objective[:-1]).all()
    of_X = np.sum((X - model.W_ @ model.components_ - model.shifts_[strata]) ** 2)
    assert objective[-1] == pytest.approx(of_X + label_part(model, X, y), rel=1e-8)
    assert (model.classes_[(model.W_ @ model.coef_.T).argmax(axis=1)] == y)[y >= 0].all()
    if model.solver == "hals":  # 60 multiplicative updates are not enough for weights that X alone would give
        assert np.mean(model.predict(X, strata=strata) == toy.target4) >= 0.9
    ignored, plain = (
        StratifiedNMF(5, random_state=0, max_iter=5).fit(X, labels, strata=strata) for labels in (y, None)
    )
    np.testing.assert_array_equal(ignored.W_, plain.W_)
    with pytest.raises(ValueError, match="leave one out"):
        StratifiedNMF(5, label_weight=1.0).fit(X, y, np.arange(90.0), strata=strata)


@parametrize_with_checks([SemiSupervisedNMF(2, max_iter=20)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)
