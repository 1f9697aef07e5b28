"""PLSA: every step is that of expectation-maximisation, and all factors are probabilities."""

import numpy as np
import oracles_picks as oracles
import pytest
import scipy.sparse as sp

from fastnmf import NMF, PLSA

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FORMS = (np.asarray, sp.csr_array)


def fitted(X, start, max_iter, **options):
    A, s, B = start
    return PLSA(len(s), init="custom", max_iter=max_iter, tol=0, **options).fit(X, W=A, H=B, s=s)


@pytest.mark.parametrize("form", FORMS)
def test_every_step_is_one_of_expectation_maximisation(form):
    X, *start = oracles.counts()
    X[3], X[:, 4] = 0, 0
    model = fitted(form(X), start, 8)
    for step in range(9):
        # Sums of 300 numbers in another order.
        assert model.history_["log_likelihood"][step] == pytest.approx(oracles.log_likelihood(X, *start), rel=1e-12)
        if step < 8:
            start = oracles.em_step(X, *start)
    for mine, other in zip((model.W_, model.s_, model.components_), start, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-11, atol=1e-15)


def test_the_fixed_seed_case():
    X, *start = oracles.counts()
    case = oracles.numbers("plsa_em")
    model = fitted(X, start, 200, extrapolate=False)
    likelihood = model.history_["log_likelihood"]
    for step, value in case["loglik"].items():
        assert likelihood[int(step)] == pytest.approx(value, rel=1e-12 if int(step) <= 100 else 1e-9)
    assert (np.diff(likelihood) >= -1e-12 * np.abs(likelihood[1:])).all()
    assert model.history_["objective"][-1] == pytest.approx(case["final_KL"], rel=1e-8)
    assert model.log_likelihood_ == likelihood[-1]


def test_the_log_likelihood_is_the_divergence_turned_round():
    X, *start = oracles.counts(3)
    model = fitted(X, start, 20)
    total = X.sum()
    constant = (X[X > 0] * np.log(X[X > 0] / total)).sum()
    np.testing.assert_allclose(model.history_["objective"], constant - model.history_["log_likelihood"], rtol=1e-9)
    Y = total * model.W_ * model.s_ @ model.components_
    divergence = (X[X > 0] * np.log(X[X > 0] / Y[X > 0])).sum() - total + Y.sum()
    assert model.history_["objective"][-1] == pytest.approx(divergence, rel=1e-9)
    np.testing.assert_allclose(Y.sum(axis=0), X.sum(axis=0), rtol=1e-9)  # EM keeps both margins
    np.testing.assert_allclose(Y.sum(axis=1), X.sum(axis=1), rtol=1e-9)


def test_scale_handed_over_instead_of_dropped_is_another_path_to_the_same_end():
    X, A, _, B = oracles.counts()
    case = oracles.numbers("plsa_vs_klmu_gs")["klmu_gaussseidel"]
    # the case moves the words first
    options = {"solver": "mu", "beta_loss": "kullback-leibler", "init": "custom", "max_iter": 2000, "tol": 0}
    objective = NMF(3, extrapolate=False, **options).fit(X.T, W=B.T, H=A.T).history_["objective"]
    for step, value in case.items():
        assert objective[int(step)] == pytest.approx(value, rel=1e-8 if int(step) <= 100 else 1e-5)
    model = fitted(X, (A, np.full(3, 1 / 3), B), 3000, extrapolate=False)
    assert abs(model.history_["objective"][1] - objective[1]) > 0.1
    assert model.history_["objective"][-1] == pytest.approx(objective[-1], rel=1e-4)


@pytest.mark.parametrize("init", ["features", "rows", "random", "nndsvda", "nndsvdar"])
def test_all_factors_are_probabilities_from_any_start(init):
    X = sp.csr_array(oracles.counts(5)[0] * (np.random.default_rng(5).random((20, 15)) < 0.3))
    model = PLSA(3, init=init, max_iter=30, random_state=0).fit(X)
    assert model.s_.sum() == pytest.approx(1)
    np.testing.assert_allclose(model.W_.sum(axis=0), 1)
    np.testing.assert_allclose(model.components_.sum(axis=1), 1)
    np.testing.assert_allclose(model.transform(X).sum(axis=1), 1)
    assert min(F.min() for F in (model.W_, model.s_, model.components_)) >= 0
    assert (np.diff(model.history_["log_likelihood"]) >= -1e-12 * np.abs(model.log_likelihood_)).all()


def test_rare_words_of_a_large_corpus_are_not_floored():
    """Model values far below 1.2e-7, where the kernel would stop: one count beside totals of 1e12."""
    X = np.array([[1e12, 1e3, 0.0], [1e3, 1e-3, 0], [0, 1, 1e-3], [2e11, 0, 1e4]])
    rng = np.random.default_rng(1)
    start = [rng.random((4, 2)), np.full(2, 0.5), rng.random((2, 3))]
    start[0], start[2] = start[0] / start[0].sum(axis=0), start[2] / start[2].sum(axis=1, keepdims=True)
    model = fitted(X, start, 5)
    for _ in range(5):
        start = oracles.em_step(X, *start)
    Y = X.sum() * model.W_ * model.s_ @ model.components_
    assert Y[X > 0].min() < 1.2e-7
    np.testing.assert_allclose(model.components_, start[2], rtol=1e-9)
    np.testing.assert_allclose(model.W_, start[0], rtol=1e-9)


@pytest.mark.parametrize("factor", [1e-200, 0.37, 1e200])
def test_counts_in_other_units_are_the_same_model(factor):
    X, *start = oracles.counts()
    want, got = fitted(X, start, 10), fitted(factor * X, start, 10)
    np.testing.assert_allclose(got.components_, want.components_, rtol=1e-9)
    np.testing.assert_allclose(
        got.history_["log_likelihood"], factor * want.history_["log_likelihood"], rtol=1e-9, atol=0
    )
    assert got.perplexity(factor * X) == pytest.approx(want.perplexity(X), rel=1e-9)


def test_folding_in_is_expectation_maximisation_with_fixed_words():
    X, *start = oracles.counts()
    model = fitted(X, start, 30)
    B, weights = model.components_, np.full((20, 3), 1 / 3)
    for _ in range(20_000):  # to their end: ours are the exact ones
        weights = weights * ((X / (weights @ B)) @ B.T)
        weights /= weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.transform(X), weights, atol=1e-4)
    np.testing.assert_allclose(model.inverse_transform(weights), weights @ B, rtol=1e-12)
    likelihood = (X * np.log(weights @ B)).sum()
    assert model.perplexity(X) == pytest.approx(np.exp(-likelihood / X.sum()), rel=1e-7)
    assert model.perplexity(sp.csr_array(X)) == pytest.approx(model.perplexity(X), rel=1e-12)


def test_documents_and_words_that_the_model_does_not_know():
    X, *_ = oracles.counts()
    X[:, 4] = 0
    model = PLSA(3, random_state=0, max_iter=20).fit(X)
    np.testing.assert_allclose(model.transform(np.zeros((1, 15)))[0], model.s_)
    odd = np.eye(15)[[4]]
    np.testing.assert_allclose(model.transform(odd)[0], model.s_)
    assert model.perplexity(odd) == np.inf
    with pytest.raises(ValueError, match="no words"):
        model.perplexity(np.zeros((2, 15)))
    with pytest.raises(ValueError, match="no words"):
        PLSA(2).fit(np.zeros((4, 3)))


def test_planted_topics_are_found():
    rng = np.random.default_rng(0)
    B = np.kron(np.eye(3), np.ones(8)) / 8 * 0.9 + 0.1 / 24
    X = rng.poisson(200 * rng.dirichlet(np.full(3, 0.2), 60) @ B)
    model = PLSA(3, random_state=0).fit(sp.csr_array(X))
    overlap = model.components_ @ B.T / np.linalg.norm(B, axis=1) / np.linalg.norm(model.components_, axis=1)[:, None]
    assert sorted(overlap.argmax(axis=0).tolist()) == [0, 1, 2] and overlap.max(axis=0).min() > 0.99
    one = PLSA(1).fit(X)
    assert one.perplexity(X) > model.perplexity(X) > 8


def test_one_topic_is_the_product_of_the_margins():
    X, *_ = oracles.counts()
    model = PLSA(1, init="random", random_state=0, max_iter=2).fit(X)
    np.testing.assert_allclose(model.components_[0], X.sum(axis=0) / X.sum(), rtol=1e-12)
    np.testing.assert_allclose(model.W_[:, 0], X.sum(axis=1) / X.sum(), rtol=1e-12)


def test_float32_stays_and_is_close():
    X, *start = oracles.counts()
    want, got = fitted(X, start, 30), fitted(X.astype(np.float32), start, 30)
    assert got.W_.dtype == got.components_.dtype == got.transform(X.astype(np.float32)).dtype == np.float32
    assert got.log_likelihood_ == pytest.approx(want.log_likelihood_, rel=1e-6)


def test_the_callback_sees_probabilities_and_stops():
    X, *start = oracles.counts()
    seen = []

    def watch(state):
        seen.append((state.W.sum(axis=0), state.H.sum(axis=1), state.V.sum()))
        return state.iteration == 3

    assert fitted(X, start, 9, callback=watch).stopped_by_ == "callback" and len(seen) == 4
    for parts in seen:
        for part in parts:
            np.testing.assert_allclose(part, 1)


def test_starts_that_are_no_probabilities_are_refused():
    X, A, s, B = oracles.counts()
    dead = A * [1, 0, 1]
    for arguments, words in (
        ({"W": dead, "H": B}, "column of W in the start is zero"),
        ({"W": A, "H": B * [[1], [0], [1]]}, "row of H in the start is zero"),
        ({"W": A, "H": B, "s": [1, 2]}, r"start s has shape \(2,\); expected \(3,\)"),
        ({"W": A, "H": B, "s": [0, 0, 0]}, "not all zero"),
        ({"W": A}, "H missing"),
    ):
        with pytest.raises(ValueError, match=words):
            PLSA(3, init="custom").fit(X, **arguments)
    with pytest.raises(ValueError, match="init='nndsvd' is not known"):
        PLSA(3, init="nndsvd").fit(X)
