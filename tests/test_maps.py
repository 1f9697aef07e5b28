"""Maps of topics, similarities, relevance and lift are what the papers define, written here as plain loops."""

import math

import numpy as np
import pytest
import scipy.sparse as sp

from fastnmf import NMF
from fastnmf.data import shifts
from fastnmf.metrics import lift, relevance, topic_map, topic_similarity

RNG = np.random.default_rng(0)
H = np.where(RNG.random((6, 12)) < 0.6, RNG.gamma(0.5, 1, (6, 12)), 0)
H[:, 4] = 0  # a feature that no topic has
WITH_ZERO = np.insert(H, 2, 0, axis=0)


def shares(row):
    return [x / sum(row) for x in row]


def jensen_shannon(p, q):
    """Return the Jensen-Shannon distance of Lin 1991, base 2: the root of the mean divergence from the middle."""
    total = 0.0
    for a, b in zip(shares(p), shares(q), strict=True):
        for x in (a, b):
            total += x * math.log2(2 * x / (a + b)) / 2 if x > 0 else 0
    return math.sqrt(total)


def scaled_by_loops(topics):
    """Return the two largest eigenvalues of Torgerson's matrix, and this matrix."""
    k = len(topics)
    squares = [[jensen_shannon(a, b) ** 2 for b in topics] for a in topics]
    means = [sum(row) / k for row in squares]
    mean = sum(means) / k
    B = np.array([[-(squares[a][b] - means[a] - means[b] + mean) / 2 for b in range(k)] for a in range(k)])
    return np.linalg.eigvalsh(B)[::-1][:2], B


def test_three_topics_keep_their_distances():
    at = topic_map(H[:3])
    for a in range(3):
        for b in range(3):
            assert np.linalg.norm(at[a] - at[b]) == pytest.approx(jensen_shannon(H[a], H[b]), abs=1e-12)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_map_is_classical_scaling(is_sparse, monkeypatch):
    monkeypatch.setattr(shifts, "SMALL", 0)  # so that sparse topics stay sparse
    at = topic_map(sp.coo_array(H) if is_sparse else H)
    values, B = scaled_by_loops(H.tolist())
    np.testing.assert_allclose(B @ at, at * values, atol=1e-12)
    np.testing.assert_allclose((at**2).sum(axis=0), values, rtol=1e-9)
    np.testing.assert_allclose(at.mean(axis=0), 0, atol=1e-12)
    for axis in at.T:
        assert axis[np.abs(axis).argmax()] > 0
    # neither the scale of a topic nor one without weights changes the map
    scales = np.array([1e-200, 1, 1e200, 3, 5, 7])[:, None]
    np.testing.assert_allclose(topic_map(H * scales), at, atol=1e-12)
    np.testing.assert_allclose(topic_map(WITH_ZERO), np.insert(at, 2, 0, axis=0), atol=1e-12)


def test_few_topics_have_a_map():
    assert topic_map([[1.0, 2.0]]).tolist() == [[0, 0]] and topic_map(np.zeros((3, 2))).tolist() == [[0, 0]] * 3
    assert not topic_map(np.ones((4, 3))).any()  # all at one place
    two = topic_map(H[:2])
    assert two[0, 0] == pytest.approx(jensen_shannon(H[0], H[1]) / 2) and two[1, 0] == pytest.approx(-two[0, 0])
    assert not two[:, 1].any()


@pytest.mark.parametrize("is_sparse", [False, True])
def test_similarity_is_the_cosine(is_sparse, monkeypatch):
    monkeypatch.setattr(shifts, "SMALL", 0)
    signed = WITH_ZERO * np.where(RNG.random(WITH_ZERO.shape) < 0.3, -1, 1)
    scales = np.array([1e-200, 1, 1, 1e200, 3, 5, 7])[:, None]
    found = topic_similarity(sp.csc_array(signed * scales) if is_sparse else signed * scales)
    for a, x in enumerate(signed):
        for b, y in enumerate(signed):
            lengths = math.sqrt(sum(x * x)) * math.sqrt(sum(y * y))
            assert found[a, b] == pytest.approx(sum(x * y) / lengths if lengths else 0, abs=1e-12)
    assert found.diagonal().tolist() == [1, 1, 0, 1, 1, 1, 1] and (found == found.T).all()


@pytest.mark.parametrize("weight", [0, 0.6, 1])
@pytest.mark.parametrize("has_background", [False, True])
def test_relevance_and_lift_are_their_definitions(weight, has_background, monkeypatch):
    monkeypatch.setattr(shifts, "SMALL", 0)
    background = RNG.random(12) + 0.1 if has_background else None
    used = [shares(row) for row in WITH_ZERO.tolist() if any(row)]
    q = shares(background) if has_background else [sum(p[j] for p in used) / len(used) for j in range(12)]
    found, ratios = relevance(WITH_ZERO, background, weight), lift(sp.csr_array(WITH_ZERO), background)
    for t, row in enumerate(WITH_ZERO.tolist()):
        for j, value in enumerate(row):
            p = value / sum(row) if value else 0
            assert ratios[t, j] == pytest.approx(p / q[j] if p else 0, rel=1e-12)
            want = weight * math.log(p) + (1 - weight) * math.log(p / q[j]) if p else -math.inf
            assert found[t, j] == pytest.approx(want, abs=1e-12)


def test_probabilities_of_any_scale_are_finite():
    wide = np.array([[1e-320, 1e300], [1e200, 1e-200], [0, 0]])
    found = relevance(wide, weight=0.5)
    assert np.isfinite(found[:2]).all() and (found[2] == -np.inf).all()
    assert np.isfinite(lift(wide, background=[1e-300, 1e300])).all() and not lift(np.zeros((2, 3))).any()


def test_they_take_a_model():
    model = NMF(2, max_iter=3, random_state=0).fit(H.T)
    for function in (topic_map, topic_similarity, relevance, lift):
        np.testing.assert_array_equal(function(model), function(model.components_))


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: topic_map([[-1.0, 2]]), "H has negative entries, which are not probabilities; give"),
        (lambda: topic_similarity(sp.csr_array([[np.nan, 2]])), "H contains NaN or infinity; every"),
        (lambda: topic_map([1.0, 2]), "H must be two-dimensional; got shape"),
        (lambda: relevance(H, weight=2), "weight=2 is not valid; expected a number from 0"),
        (lambda: relevance(H, [1, 2]), "background has 2 entries for 12 features; give one"),
        (lambda: lift(H, np.zeros(12)), "background is 0 for feature 0, which a topic has; give"),
        (lambda: lift(H, np.full(12, -1)), "background contains NaN, infinity or negative entries; give"),
    ],
)
def test_refusals(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
