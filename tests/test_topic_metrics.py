"""Coherence, diversity, usage and the KKT residual against their definitions."""

import numpy as np
import oracles_topics
import pytest
import scipy.sparse as sp

from fastnmf import NMF, StratifiedNMF, metrics

FORMS = [np.asarray, sp.csr_array, sp.csc_matrix, sp.coo_array, sp.dok_matrix]


@pytest.fixture
def corpus():
    rng = np.random.default_rng(0)
    counts = np.where(rng.random((40, 12)) < 0.3, rng.integers(1, 5, (40, 12)), 0).astype(float)
    counts[:, 0] = 1  # a word of every document
    counts[:, 1], counts[0, 1] = 0, 1  # and one of a single document
    return counts, rng.random((4, 12))


@pytest.mark.parametrize("measure", ["npmi", "umass"])
@pytest.mark.parametrize("form", FORMS)
def test_coherence_is_the_definition(corpus, measure, form):
    counts, topics = corpus
    n_top = 5
    rows = np.argsort(-topics, axis=1)[:, :n_top].tolist()
    assert any(0 in row for row in rows) and any(1 in row for row in rows)  # the special words take part
    want = [oracles_topics.coherence(row, counts.tolist(), measure) for row in rows]
    # Sums of ten logarithms: rounding only.
    found = metrics.coherence(topics, form(counts), measure=measure, n_top=n_top)
    np.testing.assert_allclose(found, want, rtol=1e-12)
    names = [f"word {j}" for j in range(12)]
    words = [[names[j] for j in row] for row in rows]
    by_words = metrics.coherence(words, form(counts), measure=measure, n_top=n_top, feature_names=names)
    np.testing.assert_array_equal(by_words, found)


def test_coherence_does_not_see_weights_explicit_zeros_or_split_entries(corpus):
    counts, topics = corpus
    want = metrics.coherence(topics, counts)
    rows, columns = np.nonzero(counts)
    values = counts[rows, columns]
    split = sp.coo_array(
        (np.r_[values / 2, values / 2, [0.0]], (np.r_[rows, rows, [0]], np.r_[columns, columns, [2]])), counts.shape
    )
    np.testing.assert_allclose(metrics.coherence(topics, split), want, rtol=1e-15)
    stored = sp.csr_array(counts * 1e-200)
    stored[1, 3] = 0.0
    counts[1, 3] = 0.0
    np.testing.assert_array_equal(metrics.coherence(topics, stored), metrics.coherence(topics, counts))


def test_coherence_goes_from_minus_one_to_one():
    X = np.array([[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 1, 1], [0, 0, 1, 1]])
    names = list("abcd")
    found = metrics.coherence([["a", "b"], ["a", "c"], ["a", "d"]], X, n_top=2, feature_names=names)
    np.testing.assert_allclose(found, [1, -1, 0], atol=1e-15)  # always, never, and independent of each other
    always = metrics.coherence([["a", "b"]], X[:2], n_top=2, feature_names=names)
    assert always.tolist() == [1]


def test_coherence_of_too_few_words_or_unseen_ones_is_nan():
    X = np.array([[1.0, 1, 0], [1, 0, 0]])
    weights = [[1.0, 0, 0], [0, 0, 0], [1, 0, 1]]
    assert np.isnan(metrics.coherence(weights, X)).tolist() == [True, True, False]
    assert np.isnan(metrics.coherence(weights, X, measure="umass")).all()


def test_coherence_says_what_is_wrong(corpus):
    counts, topics = corpus
    for arguments, options, message in (
        ((topics, counts), {"measure": "c_v"}, "'c_v' is not known; expected one of 'npmi', 'umass'"),
        ((topics, counts), {"n_top": 1}, "at least 2"),
        ((topics[:, :5], counts), {}, "5 features, and X has 12 columns"),
        (([["a"]], counts), {}, "pass feature_names"),
        (([["a"]], counts), {"feature_names": ["b"] * 3}, "3 names for 12 features"),
        (([["a"]], counts), {"feature_names": ["b"] * 12}, "'a' of a topic is not among"),
    ):
        with pytest.raises(ValueError, match=message):
            metrics.coherence(*arguments, **options)
    with pytest.raises(ValueError, match="n_top must be at least 1"):
        metrics.diversity(topics, n_top=0)


def test_diversity_counts_distinct_words():
    assert metrics.diversity([list("abc"), list("xyz")]) == 1
    assert metrics.diversity([list("abc"), list("abc"), list("abc")]) == pytest.approx(1 / 3)
    weights = np.array([[3.0, 2, 1, 0], [0, 3, 2, 1]])
    assert metrics.diversity(weights, n_top=2) == 3 / 4
    assert metrics.diversity(weights, n_top=4) == 4 / 6  # words of weight zero are none
    assert np.isnan(metrics.diversity(np.zeros((2, 3))))


def problem():
    rng = np.random.default_rng(3)
    stratum = np.array([0, 1, 1, 0, 2, 2, 1])
    W, H, V = rng.random((7, 2)), rng.random((2, 5)), rng.random((3, 5))
    W[rng.random(W.shape) < 0.3] = 0
    V[rng.random(V.shape) < 0.3] = 0
    return np.where(rng.random((7, 5)) < 0.6, rng.random((7, 5)), 0), W, H, V, stratum


@pytest.mark.parametrize("form", FORMS[:3])
@pytest.mark.parametrize("scale", [1.0, 1e-180, 1e150])
def test_kkt_residual_is_the_definition_at_any_scale(form, scale):
    X, W, H, V, stratum = problem()
    labels = np.array(["a", "b", "c"])[stratum]
    for shifts in (V, None):
        want = oracles_topics.kkt_residual(X.tolist(), W.tolist(), H.tolist(), shifts, stratum.tolist())
        shifts = None if shifts is None else shifts * scale
        assert want > 0.1
        found = metrics.kkt_residual(form(X * scale), W, H * scale, shifts, labels)
        assert found == pytest.approx(want, rel=1e-12)
        # What a component shares between W and H is nobody's business.
        shared = metrics.kkt_residual(form(X * scale), W * [2.0, 0.1], H * scale / [[2.0], [0.1]], shifts, labels)
        assert shared == pytest.approx(want, rel=1e-12)


def test_kkt_residual_of_dead_components():
    X = np.array([[3.0, 4.0]])
    assert metrics.kkt_residual(X, [[1.0, 0.0]], [[3.0, 4.0], [0.0, 0.0]]) == 0
    assert metrics.kkt_residual(X, [[0.0]], [[1.0, 0.0]]) == np.inf
    assert metrics.kkt_residual(np.zeros((2, 2)), np.zeros((2, 1)), np.zeros((1, 2)), np.zeros((1, 2))) == 0


def test_kkt_residual_falls_during_a_fit_and_is_recorded():
    rng = np.random.default_rng(0)
    X, strata = rng.random((30, 8)), np.repeat(["x", "y", "z"], 10)
    record = metrics.ResidualHistory(sp.csr_array(X), strata, every=10)
    model = StratifiedNMF(2, init="features", random_state=0, max_iter=400, tol=0, callback=record)
    model.fit(X, strata=strata)
    found = record.history_
    assert found["iteration"].tolist() == list(range(0, 401, 10))
    # All but the last: after it W is solved for exactly, which the model's own history counts.
    np.testing.assert_array_equal(found["normalized_loss"][:-1], model.history_["normalized_loss"][:-1:10])
    assert found["kkt_residual"][-1] < 1e-3 * found["kkt_residual"][1]
    last = metrics.kkt_residual(X, model.W_, model.components_, model.shifts_, strata)
    assert last == pytest.approx(found["kkt_residual"][-1], rel=0.5)
    model.fit(X, strata=strata)
    assert len(record.history_["iteration"]) == 41  # a second fit begins a new record
    with pytest.raises(ValueError, match="every=0"):
        metrics.ResidualHistory(X, every=0)


def test_kkt_residual_of_plain_nmf_is_recorded_without_shifts():
    X = np.random.default_rng(0).random((8, 5))
    record = metrics.ResidualHistory(X)
    NMF(2, random_state=0, max_iter=5, tol=0, callback=record).fit(X)
    assert len(record.history_["kkt_residual"]) == 6 and metrics.ResidualHistory(X).history_["seconds"].size == 0


def test_component_usage_is_the_share_of_what_components_bring():
    rng = np.random.default_rng(0)
    W, H, stratum = rng.random((9, 3)), rng.random((3, 4)), np.array([1, 0, 2, 1, 1, 0, 2, 2, 0])
    found = metrics.component_usage(W, H, strata=np.array(["a", "b", "c"])[stratum])
    for s in range(3):
        brought = [sum((np.outer(W[i, c], H[c])).sum() for i in range(9) if stratum[i] == s) for c in range(3)]
        np.testing.assert_allclose(found[s], np.array(brought) / sum(brought), rtol=1e-13)
    # The scale of a component, and that of all, do not matter.
    scales = np.array([1e-200, 1.0, 1e100])
    again = metrics.component_usage(W / scales, H * scales[:, None] * 1e-100, strata=stratum)
    np.testing.assert_allclose(again, found, rtol=1e-13)
    assert metrics.component_usage(np.zeros((2, 3)), H).tolist() == [[0, 0, 0]]
    with pytest.raises(ValueError, match="do not fit together"):
        metrics.component_usage(W[:, :2], H)
    with pytest.raises(ValueError, match="2 labels for 9 rows"):
        metrics.component_usage(W, H, strata=[1, 2])
