"""Labels of some of the rows: the term, the model of its own, and the model with strata."""

import warnings

import files_0_1
import numpy as np
import oracles_layered
import pytest
import scipy.sparse as sp
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import check_classifiers_classes

from fastnmf import NMF, HierarchicalNMF, SemiSupervisedNMF, StratifiedNMF, load
from fastnmf.core.classes import CLASS_RIDGE, class_coefficients
from fastnmf.data.strata import Strata
from fastnmf.datasets.toys import make_hierarchical

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
VARIANTS = {
    "hals": {"solver": "hals"},
    "mu": {"solver": "mu", "init": "random"},
    "mu-kl": {"solver": "mu", "init": "random", "label_loss": "kullback-leibler"},
}
every_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)


def labelled(seed=0):
    """Return data of three classes, labels of two thirds of the rows, and all labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 60)
    X = rng.poisson(1 + 4 * (np.arange(12)[None] // 4 == y[:, None]), (60, 12)).astype(float)
    return X, np.where(rng.random(60) < 0.33, -1, y), y


def label_part(model, X, y):
    known = y >= 0
    Y = (y[:, None] == model.classes_)[known].astype(float)
    P = (model.W_ @ model.B_.T)[known]
    weight = model.label_weight * np.sum(X**2) / known.sum()
    if getattr(model, "label_loss", "frobenius") == "frobenius":
        return weight * np.sum((Y - P) ** 2)
    return weight * np.sum(P - Y + np.where(Y > 0, -np.log(np.where(Y > 0, P, 1)), 0))


@every_variant
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_the_objective_is_what_it_says_and_never_rises(options, form):
    X, y, _ = labelled()
    model = SemiSupervisedNMF(4, random_state=0, max_iter=30, tol=0, **options).fit(form(X), y)
    assert (model.W_ >= 0).all() and (model.components_ >= 0).all() and (model.B_ >= 0).all()
    objective = model.history_["objective"]
    assert (np.diff(objective) <= 1e-12 * objective[:-1]).all() and objective[-1] < objective[0]
    of_X = np.sum((X - model.W_ @ model.components_) ** 2)
    assert objective[-1] == pytest.approx(of_X + label_part(model, X, y), rel=1e-9)
    assert model.reconstruction_err_ == pytest.approx(np.sqrt(of_X), rel=1e-9)


@every_variant
def test_a_fit_continues_where_the_earlier_one_ended(options):
    X, y, _ = labelled()
    model = SemiSupervisedNMF(3, random_state=0, max_iter=300, warm_start=True, **options).fit(X, y)
    last = model.history_["objective"][-1]
    objective = model.fit(X, y).history_["objective"]
    assert objective[0] == pytest.approx(last, rel=1e-3) and objective[-1] <= last * (1 + 1e-6)
    given = options | {"init": model, "max_iter": 1, "tol": 0}
    others = SemiSupervisedNMF(3, random_state=0, **given).fit(X, y)
    assert others.history_["objective"][0] < 5 * last  # B would have the scale of W: 800 times as much


def test_the_updates_are_those_of_the_source():
    X, y, _ = labelled()
    known = (y >= 0)[:, None].astype(float)
    Y = (y[:, None] == np.arange(3)) * known
    options = {"solver": "mu", "init": "custom", "tol": 0, "label_weight": 0.5}
    rng = np.random.default_rng(0)
    W, H = rng.random((60, 4)), rng.random((4, 12))
    one, two = (SemiSupervisedNMF(4, max_iter=n, **options).fit(X, y, W=W, H=H) for n in (1, 2))
    weight = 0.5 * np.sum(X**2) / known.sum()
    found = oracles_layered.semi_supervised(X, Y, known, one.W_, one.components_.T, one.B_, weight, 1)
    for mine, other in zip((two.W_, two.components_.T, two.B_), found, strict=True):
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
    np.testing.assert_allclose(model.decision_function(new), model.transform(new) @ model.coef_.T + model.intercept_)


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
    assert (model.classes_[(model.W_ @ model.B_.T).argmax(axis=1)] == y)[y >= 0].all()
    if model.solver == "hals":  # 60 multiplicative updates are not enough for weights that X alone would give
        assert np.mean(model.predict(X, strata=strata) == toy.target4) >= 0.9
    ignored, plain = (
        StratifiedNMF(5, random_state=0, max_iter=5).fit(X, labels, strata=strata) for labels in (y, None)
    )
    np.testing.assert_array_equal(ignored.W_, plain.W_)
    with pytest.raises(ValueError, match="leave one out"):
        StratifiedNMF(5, label_weight=1.0).fit(X, y, np.arange(90.0), strata=strata)


# ---------------------------------------------------------------- predictions


def three_kinds(k, **more):
    """Return the three models that fit labels, and further arguments of each for 60 rows."""
    strata = {"strata": np.arange(60) % 2}
    yield SemiSupervisedNMF(k, random_state=0, **more), {}
    yield StratifiedNMF(k, label_weight=1.0, random_state=0, **more), strata
    yield HierarchicalNMF((k,), random_state=0, **more), {}


@pytest.mark.parametrize(
    ("kind", "k"), [("semi-supervised", 10), ("semi-supervised", 20), ("stratified", 10), ("hierarchical", 10)]
)
def test_predictions_of_digits_with_a_tenth_labelled(kind, k):
    """Digits from the weights of `transform`: by B, which belongs to others, .38 of the rest were right, not .85."""
    X, y = load_digits(return_X_y=True)
    is_known, given = np.arange(len(y)) % 10 == 0, {}
    if kind == "semi-supervised":
        model = SemiSupervisedNMF(k, random_state=0)
    elif kind == "stratified":
        given["strata"] = np.arange(len(y)) % 3
        X, model = X + 2.0 * (np.arange(64) % 3 == given["strata"][:, None]), StratifiedNMF(k, label_weight=1.0)
        model.set_params(random_state=0)
    else:
        model = HierarchicalNMF((k,), random_state=0, max_iter=20)
    model.fit(X, np.where(is_known, y, -1), **given)
    is_right = model.predict(X, **given) == y
    W, Y = model.transform(X, **given), np.eye(10)[y]
    least_squares = ((W @ np.linalg.lstsq(W[is_known], Y[is_known], rcond=1e-6)[0]).argmax(axis=1) == y)[~is_known]
    assert is_right[~is_known].mean() >= max(0.80, least_squares.mean() - 0.03)
    assert is_right[is_known].mean() >= 0.90


def slope(model, W, class_index):
    """Return the gradient of the penalised logistic loss at the coefficients of a model, beside that at zero."""
    W, n_classes = W.astype(float), len(model.classes_)
    unit = np.sqrt(np.mean(W**2, axis=0))
    A, B = np.c_[W / unit, np.ones(len(W))], np.c_[model.coef_ * unit, model.intercept_].T.astype(float)
    shares = np.exp(A @ B) / np.exp(A @ B).sum(axis=1, keepdims=True)
    Y, ridge = np.eye(n_classes)[class_index], np.r_[np.full(len(unit), CLASS_RIDGE), 0][:, None]
    return np.linalg.norm(A.T @ (shares - Y) + ridge * B) / np.linalg.norm(A.T @ (1 / n_classes - Y))


def test_coefficients_are_a_logistic_regression_on_the_weights_of_transform():
    X, y, _ = labelled()
    for model, given in three_kinds(4, max_iter=30):
        model.fit(X, y, **given)
        W = model.transform(X, **given)
        assert slope(model, W[y >= 0], y[y >= 0]) < SLOPE
        scores = model.decision_function(X, **given)
        np.testing.assert_allclose(scores, W @ model.coef_.T + model.intercept_, rtol=1e-12)
        shares = model.predict_proba(X, **given)
        np.testing.assert_allclose(np.log(shares), scores - np.log(np.exp(scores).sum(axis=1))[:, None], atol=1e-9)
        np.testing.assert_array_equal(model.predict(X, **given), scores.argmax(axis=1))


OPTIONS = {
    "float32": (np.float32, {}, {}),
    "sparse": (sp.csr_array, {}, {}),
    "normalize": (np.asarray, {"normalize": "l1"}, {}),
    "min_shift": (np.asarray, {"gauge": "min_shift"}, {}),
    "max_shift": (np.asarray, {"gauge": "max_shift"}, {}),
    "penalty": (np.asarray, {"alpha_W": 0.01, "alpha_H": 0.01, "alpha_V": 0.01}, {}),
    "mu": (np.asarray, {"solver": "mu", "init": "random"}, {}),
    "zeros are missing": (np.asarray, {"missing_values": "zeros"}, {}),
    "all labelled": (np.asarray, {}, {"y": labelled()[2]}),
}


SLOPE = 2.5e-3  # forty steps are not all the way


@pytest.mark.parametrize(("form", "options", "labels"), OPTIONS.values(), ids=OPTIONS)
def test_coefficients_follow_from_the_final_attributes(form, options, labels):
    """Whatever was done to the factors at the end: the labelled rows have the scores that they were fitted to."""
    X, y, _ = labelled()
    X, y, strata = form(X), labels.get("y", y), np.arange(60) % 2
    model = StratifiedNMF(4, label_weight=1.0, random_state=0, max_iter=30, **options).fit(X, y, strata=strata)
    known = y >= 0
    assert slope(model, model.transform(X, strata=strata)[known], y[known]) < SLOPE
    if len(options) == 1:  # the weights of the fit are others
        assert slope(model, model.W_[known], y[known]) > 2 * SLOPE


def test_b_belongs_to_the_components_as_they_are_returned():
    X, y, _ = labelled()
    fit = {"label_weight": 1.0, "random_state": 0, "max_iter": 20, "tol": 0}
    plain, scaled = (StratifiedNMF(4, normalize=norm, **fit).fit(X, y) for norm in (None, "max"))
    np.testing.assert_allclose(scaled.W_ @ scaled.B_.T, plain.W_ @ plain.B_.T, rtol=1e-12)
    np.testing.assert_allclose(scaled.decision_function(X), plain.decision_function(X), rtol=1e-9)
    assert not np.allclose(scaled.B_, plain.B_, rtol=0.1)


def test_coefficients_depend_on_no_entry_of_weight_zero_and_no_row_without_label():
    X, y, _ = labelled()
    seen = np.random.default_rng(2).random(X.shape) < 0.7
    first, second = (
        SemiSupervisedNMF(4, random_state=0, max_iter=9).fit(np.where(seen, X, fill), y, weight=seen)
        for fill in (0, 77)
    )
    np.testing.assert_array_equal(first.coef_, second.coef_)
    np.testing.assert_array_equal(first.intercept_, second.intercept_)


def test_coefficients_follow_the_units_of_the_components_to_the_bit():
    rng = np.random.default_rng(0)
    W, classes, powers = (
        rng.random((30, 4)) * (rng.random((30, 4)) < 0.6),
        np.arange(30) % 3,
        np.array([-560, 3, 0, 500]),
    )
    W[:, 2] = 0.0  # a component that no row uses
    (coef, intercept), (other, same) = (class_coefficients(w, classes, 3) for w in (W, np.ldexp(W, powers)))
    np.testing.assert_array_equal(np.ldexp(other, powers), coef)
    np.testing.assert_array_equal(same, intercept)
    assert np.isfinite(coef).all() and not coef[:, 2].any() and coef[:, 0].all()


def test_some_rows_of_data_in_their_scale():
    """Rows that are far smaller than the others, and would be held in another scale."""
    X = np.random.default_rng(0).random((6, 3)) * np.array([1e200, 1, 1, 1e-60, 1, 1e200])[:, None]
    for form in (np.asarray, sp.csr_array):
        data = Strata.from_array(form(X), list("aabbab"))
        part = data.part(np.array([3, 1]))
        assert part.log4_scale == data.log4_scale != 0 and part.labels.tolist() == ["a", "b"]
        np.testing.assert_array_equal(part.stratum_index, [1, 0])
        found = part.X.toarray() if part.is_sparse else part.X
        np.testing.assert_array_equal(found, (data.X.toarray() if data.is_sparse else data.X)[[3, 1]])


# ---------------------------------------------------------------- scikit-learn


def test_a_model_is_a_classifier_where_labels_count():
    for model, _ in three_kinds(2):
        assert is_classifier(model) and hasattr(model, "predict")
        model.set_params(label_weight=0)
        assert not is_classifier(model) and not hasattr(model, "predict")
        assert model.__sklearn_tags__().transformer_tags is not None
    assert not is_classifier(StratifiedNMF()) and not is_classifier(NMF())


def test_two_classes_have_one_score():
    X, _, y = labelled()
    y = np.array(["no", "yes"])[(y == 1).astype(int)]
    for model, given in three_kinds(4, max_iter=30):
        scores = model.fit(X, y, **given).decision_function(X, **given)
        assert scores.shape == (60,)
        np.testing.assert_array_equal(model.predict(X, **given), np.where(scores > 0, "yes", "no"))
        shares = model.predict_proba(X, **given)
        np.testing.assert_allclose(shares[:, 1], 1 / (1 + np.exp(-scores)), rtol=1e-9)
        assert model.coef_.shape == (2, 4) and model.intercept_.shape == (2,)


def test_scikit_learns_tools_take_it_for_a_classifier():
    X, _, y = labelled()
    is_one = y == 1
    model = SemiSupervisedNMF(4, random_state=0, max_iter=30)
    for scoring, of in (("roc_auc", is_one), ("average_precision", is_one), ("roc_auc_ovr", y), ("neg_log_loss", y)):
        found = cross_val_score(model, X, of, cv=3, scoring=scoring, error_score="raise")
        assert (found >= (0.95 if scoring != "neg_log_loss" else -0.4)).all(), scoring
    assert OneVsRestClassifier(model).fit(X, y).score(X, y) >= 0.95
    calibrated = CalibratedClassifierCV(model, cv=3).fit(X, is_one)
    assert calibrated.score(X, is_one) >= 0.95
    chained = make_pipeline(MinMaxScaler(), model).fit(X, y)
    assert is_classifier(chained) and chained.score(X, y) >= 0.95
    assert cross_val_predict(chained, X, y, cv=3, method="predict_proba").shape == (60, 3)


class Folds(SemiSupervisedNMF):
    """A model that counts the classes of the rows it is fitted to."""

    seen = []

    def fit(self, X, y=None):
        self.seen.append(np.bincount(y + 1, minlength=3).tolist())
        return super().fit(X, y)


def test_folds_are_stratified_also_where_classes_are_unknown():
    X, _, y = labelled()
    y = np.sort(np.where(y == 2, -1, y))  # folds of neighbours would lack classes
    Folds.seen.clear()
    scores = cross_val_score(Folds(4, random_state=0, max_iter=5), X, y, cv=3)
    wanted = [np.bincount(y[train] + 1).tolist() for train, _ in StratifiedKFold(3).split(X, y)]
    assert Folds.seen == wanted and np.isfinite(scores).all()
    best = GridSearchCV(Folds(random_state=0, max_iter=30), {"n_components": [2, 4]}, cv=3).fit(X, y)
    assert best.classes_.tolist() == [0, 1] and best.predict(X).shape == (60,)


def test_what_a_pipeline_passes_on_has_seen_no_label():
    X, y, _ = labelled()
    for model, given in three_kinds(4, max_iter=30):
        W = model.fit_transform(X, y, **given)
        np.testing.assert_allclose(W, model.transform(X, **given), rtol=1e-6, atol=1e-9)
    steps = make_pipeline(StratifiedNMF(4, label_weight=1.0, random_state=0), LogisticRegression(C=100))
    X, _, y = labelled()
    assert steps.fit(X, y).score(*labelled(1)[::2]) >= 0.9


def test_scores_count_rows_with_labels_and_their_weights():
    X, y, truth = labelled()
    for model, given in three_kinds(4, max_iter=30):
        model.fit(X, y, **given)
        given_wrong = np.where(np.arange(60) % 4, truth, (truth + 1) % 3)
        is_right = model.predict(X, **given) == given_wrong
        some = np.where(np.arange(60) % 3, given_wrong, -1)
        assert model.score(X, some, **given) == is_right[some >= 0].mean()
        weight = np.arange(60.0) ** 2
        wanted = np.average(is_right[some >= 0], weights=weight[some >= 0])
        assert model.score(X, some, sample_weight=weight, **given) == pytest.approx(wanted, rel=1e-12)
        with pytest.raises(ValueError, match="expected .60,.: one per row"):
            model.score(X, some, sample_weight=weight[:9], **given)
        with pytest.raises(ValueError, match="no positive sum"):
            model.score(X, some, sample_weight=np.where(some < 0, 1.0, 0.0), **given)
        if not isinstance(model, HierarchicalNMF) or not given:
            explained = model.score(X) if not given else model.score(X, strata=given["strata"])
            assert explained == pytest.approx(1 - model.normalized_loss_**2, abs=0.2) and explained < 1
    model = StratifiedNMF(4, random_state=0, max_iter=5).fit(X)
    assert model.score(X, truth) == model.score(X)  # y is ignored, as in fit


def test_labels_that_are_no_classes():
    X, _, y = labelled()
    model = SemiSupervisedNMF(2, max_iter=3, random_state=0)
    with pytest.raises(ValueError, match="Unknown label type: continuous. y has the label 0.5"):
        model.fit(X, y * 0.5)
    with pytest.raises(ValueError, match="y contains infinity"):
        model.fit(X, np.where(y == 1, np.inf, y))
    with pytest.warns(UserWarning, match="if -1 is a class, use 0 instead"):
        model.fit(X, np.where(y == 1, 1, -1))
    with pytest.warns(UserWarning, match="A column-vector y was passed when a 1d array was expected"):
        model.fit(X, y[:, None])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_params(tol=0).fit(X, np.where(y == 1, -1.0, y))
    assert model.classes_.tolist() == [0, 2]


def test_batches_learn_no_classes():
    X, _, y = labelled()
    model = StratifiedNMF(2, label_weight=1.0, random_state=0, max_iter=3)
    assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit") as told:
        model.fit(X, y).partial_fit(X)
    assert "call fit, or set label_weight=0" in str(told.value.__cause__)
    model = model.set_params(label_weight=0.0).fit(X)
    before = model.components_
    with pytest.raises(ValueError, match="59 labels for 60 rows"):  # refused after X, and nothing is kept of that
        model.partial_fit(X, strata=y[1:])
    assert model.components_ is before and model.partial_fit(X).n_steps_ == 1
    unfitted = StratifiedNMF(2)
    with pytest.raises(ValueError, match="59 labels for 60 rows"):
        unfitted.partial_fit(X, strata=y[1:])
    assert not hasattr(unfitted, "n_features_in_")


@pytest.mark.parametrize("name", ["semi-supervised", "stratified-classes", "hierarchical-labels"])
def test_a_file_of_0_1_keeps_its_coefficients(name):
    """They are B of the objective, and the model goes on to predict by them."""
    case = files_0_1.SAVED[name]
    model = load(files_0_1.FOLDER / f"{name}.npz")
    X = case.seen.get("X", files_0_1.NEW)
    given = {key: value for key, value in case.seen.items() if key != "X"}
    coef, B = (each[-1] if isinstance(each, list) else each for each in (model.coef_, model.B_))
    np.testing.assert_array_equal(coef, B)
    assert not hasattr(model, "intercept_")
    scores = model.transform(X, **given) @ coef.T
    np.testing.assert_array_equal(model.decision_function(X, **given), scores[:, 1] - scores[:, 0])
    shares = np.maximum(scores, 0) / np.maximum(scores, 0).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X, **given), shares, rtol=1e-6)


def test_the_checks_that_fail_are_met_in_what_they_ask():
    """By the name scikit-learn excepts its own semi-supervised classifiers; probabilities are ranked as scores are."""
    for model, given in three_kinds(2, max_iter=20):
        check_classifiers_classes("LabelSpreading", model)
        X, _, y = labelled()
        model.fit(X, y == 1, **given)
        ranks = (
            each.argsort() for each in (model.decision_function(X, **given), model.predict_proba(X, **given)[:, 1])
        )
        np.testing.assert_array_equal(*ranks)
