"""The scale of W against H at the end of a fit: balanced by powers of two where nothing else decides it."""

import numpy as np
import pytest
import sklearn.decomposition
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import LinearSVC

import fastnmf
from fastnmf import NMF, GraphNMF, SemiSupervisedNMF, StratifiedNMF
from fastnmf.core.alternate import balancing_powers, times_powers

KL = {"solver": "mu", "beta_loss": "kullback-leibler"}
SHORT = {"max_iter": 8, "tol": 0, "random_state": 0}
rng = np.random.default_rng(0)
X = 50 * rng.random((60, 6)) @ (rng.random((6, 40)) * np.repeat([1, 0.01], 20)) + rng.random((60, 40))
GROUPS = {"strata": np.arange(60) % 3}
CLASSES = {"y": np.arange(60) % 4}


def both(monkeypatch, kind, given, **options):
    """Return a model as it is, and as it would be without the last rescaling."""
    with monkeypatch.context() as patch:
        patch.setattr("fastnmf.core.alternate.balancing_powers", lambda W, H, weight: np.zeros(len(H), int))
        plain = kind(5, **SHORT | options).fit(X, **given)
    return kind(5, **SHORT | options).fit(X, **given), plain


@pytest.mark.parametrize(
    ("kind", "options", "given"),
    [
        (NMF, {"init": "features"}, {}),
        (NMF, {"solver": "mu"}, {}),
        (NMF, {"init": "features", "missing_values": "zeros"}, {}),
        (NMF, KL | {"init": "features"}, {"sample_weight": 1.0 + np.arange(60) % 4}),
        (StratifiedNMF, {"alpha_V": 0.1}, GROUPS),
        (StratifiedNMF, {"gauge": "max_shift"}, GROUPS),
        (GraphNMF, {"scale_invariant": False, "graph_weight": 0}, {}),
        (SemiSupervisedNMF, {}, CLASSES),
    ],
)
def test_a_free_scale_is_balanced_by_powers_of_two(monkeypatch, kind, options, given):
    model, plain = both(monkeypatch, kind, given, **options)
    weight = given.get("sample_weight", np.ones(60))
    ratio = np.sqrt(weight @ model.W_**2) / np.linalg.norm(model.components_, axis=1)
    assert ((ratio >= 0.5) & (ratio <= 2)).all()
    powers = balancing_powers(plain.W_, plain.components_, weight)
    assert powers.any(), "else this shows nothing"
    np.testing.assert_array_equal(model.W_, plain.W_ * 2.0**powers)
    np.testing.assert_array_equal(model.components_, plain.components_ * 2.0 ** -powers[:, None])
    if hasattr(plain, "coef_"):
        np.testing.assert_array_equal(model.coef_, plain.coef_ * 2.0**-powers)
    if options.get("solver") != "mu":
        labels = {"strata": given["strata"]} if "strata" in given else {}
        np.testing.assert_array_equal(model.transform(X, **labels), plain.transform(X, **labels) * 2.0**powers)
    np.testing.assert_array_equal(model.history_["objective"], plain.history_["objective"])


@pytest.mark.parametrize(
    "options",
    [
        {"alpha_W": 0.01},
        {"fixed_components": X[:1]},
        {"seed_features": {0: [3, 4]}},
        {"normalize": "max"},
        {"alpha_H": 0.01},
    ],
)
def test_a_scale_that_something_decides_stays(monkeypatch, options):
    model, plain = both(monkeypatch, NMF, {}, **options)
    for name in ("W_", "components_"):
        np.testing.assert_array_equal(getattr(model, name), getattr(plain, name))


def test_components_that_mean_something_stay(monkeypatch):
    model, plain = both(monkeypatch, fastnmf.PLSA, {})
    np.testing.assert_array_equal(model.components_, plain.components_)
    graph, plain = both(monkeypatch, GraphNMF, {}, scale_invariant=False)
    np.testing.assert_array_equal(graph.W_, plain.W_)


def test_a_warm_start_goes_on_from_the_same_model(monkeypatch):
    model, plain = both(monkeypatch, NMF, {}, warm_start=True)
    with monkeypatch.context() as patch:
        patch.setattr("fastnmf.core.alternate.balancing_powers", lambda W, H, weight: np.zeros(len(H), int))
        plain.fit(X)
    model.fit(X)
    np.testing.assert_array_equal(model.history_["objective"], plain.history_["objective"])
    again = NMF(5, init=model, **SHORT).fit(X)
    np.testing.assert_array_equal(again.history_["objective"], NMF(5, init=plain, **SHORT).fit(X).history_["objective"])


def test_lengths_of_any_size_and_zeros():
    W, H = rng.random((7, 4)), rng.random((4, 5))
    powers = balancing_powers(W * [1e-200, 1, 1e150, 0], H * np.array([[1e180], [0], [1e-3], [1]]))
    W, H = times_powers(W * [1e-200, 1, 1e150, 0], powers), H * np.array([[1e180], [0], [1e-3], [1]])
    H = times_powers(H, -powers[:, None])
    ratio = np.abs(W).max(axis=0)[[0, 2]] / np.abs(H).max(axis=1)[[0, 2]]
    assert ((ratio > 0.2) & (ratio < 5)).all() and powers[[1, 3]].tolist() == [0, 0]
    assert times_powers(W, np.zeros(4, int)) is W


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_components_of_nmf_have_the_norm_that_is_asked_for(norm):
    model = NMF(5, normalize=norm, **SHORT).fit(X)
    H, plain = model.components_, NMF(5, **SHORT).fit(X)
    size = {"l1": H.sum(axis=1), "l2": np.linalg.norm(H, axis=1), "max": H.max(axis=1)}[norm]
    np.testing.assert_allclose(size, 1)
    np.testing.assert_allclose(model.W_ @ H, plain.W_ @ plain.components_)
    np.testing.assert_allclose(model.transform(X), model.W_, rtol=1e-6, atol=1e-9)
    with pytest.raises(ValueError, match="normalize choose.* leave one of them out"):
        NMF(5, normalize=norm, alpha_W=0.1).fit(X)


def test_a_classifier_of_weights_is_as_good_as_with_those_of_scikit_learn():
    """LinearSVC depends on the scale of its input."""
    images, digits = (part[::3] for part in load_digits(return_X_y=True))

    def accuracy(model):
        steps = make_pipeline(MinMaxScaler(), model, LinearSVC(C=1, random_state=0))
        return cross_val_score(steps, images, digits, cv=3).mean()

    assert accuracy(NMF(8, random_state=0)) >= accuracy(sklearn.decomposition.NMF(8, random_state=0)) - 0.03
