"""`NMF` beside scikit-learn's, and as its users meet it."""

import warnings

import numpy as np
import oracles
import pytest
import scipy.sparse as sp
import sklearn.decomposition
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from fastnmf import NMF, MiniBatchNMF, non_negative_factorization

KL = {"solver": "mu", "beta_loss": "kullback-leibler"}
MINI = {"batch_size": 24, "alpha_W": 5e-5, "alpha_H": 5e-5, "l1_ratio": 0.5}


@pytest.fixture
def setting():
    rng = np.random.default_rng(0)
    X = sp.random_array((60, 45), density=0.3, rng=rng, format="csr")
    return X, rng.random((60, 4)) + 0.1, rng.random((4, 45)) + 0.1


def unit(W, H):
    """Return W and H with the scale at which the largest entry of each component is one."""
    top = H.max(axis=1)
    return W * top, H / top[:, None]


@pytest.mark.parametrize("form", [sp.csr_array, lambda X: X.toarray()], ids=["sparse", "dense"])
@pytest.mark.parametrize("beta_loss", ["frobenius", "kullback-leibler"])
def test_multiplicative_updates_equal_those_of_scikit_learn(setting, beta_loss, form):
    X, W, H = setting
    X = form(X)
    options = {"solver": "mu", "beta_loss": beta_loss, "init": "custom", "max_iter": 10, "tol": 0}
    ours = NMF(4, **options).fit(X, W=W, H=H)
    theirs = sklearn.decomposition.NMF(4, **options)
    W_theirs = theirs.fit_transform(X, W=W.copy(), H=H.copy())
    for mine, wanted in zip(unit(ours.W_, ours.components_), unit(W_theirs, theirs.components_), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-6, atol=1e-9)
    assert ours.reconstruction_err_ == pytest.approx(theirs.reconstruction_err_, rel=1e-6)


def test_kullback_leibler_is_the_oracle_step_by_step(setting):
    X, W, H = setting
    model = NMF(4, solver="mu", beta_loss="kullback-leibler", init="custom", max_iter=5, tol=0).fit(X, W=W, H=H)
    dense = X.toarray()
    for _ in range(5):
        W, H = oracles.kullback_leibler_mu(dense, W, H)
    for mine, wanted in zip(unit(model.W_, model.components_), unit(W, H), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-9)
    assert model.reconstruction_err_**2 / 2 == pytest.approx(oracles.kullback_leibler(dense, W @ H), rel=1e-9)


def test_hals_is_not_behind_scikit_learn(setting):
    X, W, H = setting
    options = {"init": "custom", "max_iter": 30, "tol": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = sklearn.decomposition.NMF(4, **options)
        theirs.fit_transform(X, W=W.copy(), H=H.copy())
    for solver in ("hals", "cd"):
        ours = NMF(4, solver=solver, **options).fit(X, W=W, H=H)
        assert ours.reconstruction_err_ <= theirs.reconstruction_err_ * (1 + 1e-6)


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"beta_loss": "hamming"}, "beta_loss='hamming'.*'kullback-leibler'"),
        (
            {"beta_loss": "kullback-leibler"},
            "solver='cd' is for the squared error, but beta_loss='kullback-leibler' was given; use solver='mu'",
        ),
        ({"sweeps": (2, 1, 2)}, "2 integers >= 1"),
        ({"n_components": -1}, "n_components=-1"),
        ({"init": "custom"}, r"pass W, H to fit \(W, H missing\)"),
    ],
)
def test_bad_parameters_get_one_clear_sentence(parameters, message):
    with pytest.raises(ValueError, match=message):
        NMF(**parameters).fit(np.ones((4, 3)))


def test_score_weights_need_a_squared_error(setting):
    X, _, _ = setting
    model = NMF(4, solver="mu", beta_loss="kullback-leibler", max_iter=20, tol=0).fit(X)
    with pytest.raises(
        ValueError, match="sample_weight in score needs the squared error, but beta_loss='kullback-leibler' is given"
    ):
        model.score(X, sample_weight=np.ones(60))


def test_top_features_by_name():
    model = NMF(2, init="nndsvd", max_iter=500).fit(np.kron(np.eye(2), [[3.0, 1, 0]]).repeat(4, axis=0))
    assert sorted(model.top_features(5, list("abcdef"))) == [["a", "b"], ["d", "e"]]


def test_start_by_position_as_in_scikit_learn(setting):
    X, W, H = setting
    model = NMF(4, init="custom", max_iter=5, tol=0)
    want = model.fit_transform(X, W=W, H=H)
    np.testing.assert_array_equal(model.fit_transform(X, None, W, H), want)
    with pytest.raises(ValueError, match="shape .*sample_weight="):  # by position, it was the third argument of 0.1
        model.fit_transform(X, None, np.ones(X.shape[0]))


def test_n_components_none_is_the_number_of_features(setting):
    X, W, H = setting
    found = [NMF(k, max_iter=2, tol=0, random_state=0).fit(X).components_ for k in (None, X.shape[1])]
    np.testing.assert_array_equal(*found)
    with pytest.raises(ValueError, match="wrong second dimension"):
        NMF(None, init="custom").fit(X, W=W, H=H)
    with pytest.raises(ValueError, match="H has shape .* n_components=None"):
        non_negative_factorization(X, None, H, None, update_H=False)
    with pytest.raises(ValueError, match="H has shape .* n_components=2"):
        non_negative_factorization(X, None, H, 2, update_H=False)


def topics_of(word):
    """Return sixty documents of twelve words about one of three things, and the words of each thing."""
    rng = np.random.default_rng(0)
    things = [[f"{word}{thing}{i}" for i in range(12)] for thing in ("sea", "sky", "sun")]
    return [" ".join(rng.choice(things[i % 3], 12)) + f" {word}" for i in range(60)], things


@pytest.mark.parametrize(
    ("kind", "features", "options"),
    [
        (NMF, TfidfVectorizer, {"alpha_W": 5e-5, "alpha_H": 5e-5, "l1_ratio": 1}),
        (NMF, TfidfVectorizer, {**KL, "max_iter": 1000, "alpha_W": 5e-5, "alpha_H": 5e-5, "l1_ratio": 0.5}),
        (MiniBatchNMF, TfidfVectorizer, {**MINI, "beta_loss": "frobenius"}),
        (MiniBatchNMF, CountVectorizer, {**MINI, "beta_loss": "kullback-leibler"}),
    ],
)
def test_programs_of_scikit_learn_find_topics_with_the_imports_swapped(kind, features, options):
    """Vectorise, fit, list the words of each topic and classify unseen documents: nothing but the import is ours."""
    documents, things = topics_of("w")
    vectorizer = features(max_df=0.95, min_df=2, max_features=100)
    tf = vectorizer.fit_transform(documents[:45])
    model = kind(n_components=3, random_state=1, init="nndsvda", **options).fit(tf)
    names = vectorizer.get_feature_names_out()
    found = [{names[i] for i in topic.argsort()[: -9 - 1 : -1]} for topic in model.components_]
    best = [max(range(3), key=lambda thing, words=words: len(words & set(things[thing]))) for words in found]
    assert sorted(best) == [0, 1, 2]
    assert all(words <= set(things[thing]) for words, thing in zip(found, best, strict=True))
    weights = model.transform(vectorizer.transform(documents[45:]))
    assert [best[topic] for topic in weights.argmax(axis=1)] == [i % 3 for i in range(45, 60)]
    assert model.inverse_transform(X=weights).shape == (15, len(names))
    W, H, _ = non_negative_factorization(tf, n_components=3, init="nndsvda", random_state=1)
    assert W.shape == (45, 3) and np.linalg.norm(tf - W @ H) < np.linalg.norm(tf.toarray())
