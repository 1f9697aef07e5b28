"""Metrics against their definitions."""

import numpy as np
import oracles
import pytest
import scipy.sparse as sp

from fastnmf import metrics


def model(seed=0, disturbance=0.1):
    rng = np.random.default_rng(seed)
    strata = np.array(["b", "a", "c"])[rng.integers(0, 3, 30)]
    W, H, V = rng.random((30, 2)), rng.random((2, 12)), rng.random((3, 12))
    exact = W @ H + V[np.searchsorted(["a", "b", "c"], strata)]
    X = np.where(rng.random(exact.shape) < 0.5, exact, 0) if disturbance is None else exact * (1 + disturbance)
    return X, W, H, V, strata


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, sp.coo_matrix])
@pytest.mark.parametrize("disturbance", [None, 0.1, 1e-4, 1e-9])
def test_normalized_loss_is_the_definition(form, disturbance):
    X, W, H, V, strata = model(disturbance=disturbance)
    labels = ["a", "b", "c"]
    blocks, parts = [X[strata == s] for s in labels], [W[strata == s] for s in labels]
    want = oracles.normalized_loss(blocks, V, parts, H)
    assert metrics.normalized_loss(form(X), W, H, V, strata) == pytest.approx(want, rel=1e-6)
    for scale in (1e-180, 1e160):
        scaled = metrics.normalized_loss(form(X * scale), W, H * scale, V * scale, strata)
        assert scaled == pytest.approx(want, rel=1e-6)


def test_normalized_loss_without_shifts_and_of_nothing():
    X, W, H, _, _ = model()
    assert metrics.normalized_loss(X, W, H) == pytest.approx(np.linalg.norm(X - W @ H) / np.linalg.norm(X))
    zero = np.zeros((3, 4))
    assert metrics.normalized_loss(zero, np.zeros((3, 2)), np.zeros((2, 4))) == 0
    assert metrics.normalized_loss(sp.csr_array(zero), np.ones((3, 2)), np.ones((2, 4))) == np.inf


def test_normalized_loss_refuses_shapes_that_do_not_fit():
    X, W, H, V, strata = model()
    for arguments, message in (
        ((X, W[:, :1], H), "do not fit together"),
        ((X, W, H, V[:2], strata), "one row per label"),
        ((X, W, H, V, strata[:5]), "5 labels for 30 rows"),
        ((X, sp.csr_array(W), H), "dense"),
    ):
        with pytest.raises(ValueError, match=message):
            metrics.normalized_loss(*arguments)


def test_sparseness_goes_from_zero_to_one():
    np.testing.assert_allclose(
        metrics.sparseness([[2.0, 2, 2, 2], [0, 0, 1e-200, 0], [0, 0, 0, 0]]), [0, 1, 1], atol=1e-12
    )
    x = np.array([3.0, 4, 0, 0])
    assert metrics.sparseness(x[:, None], axis=0)[0] == pytest.approx((2 - 7 / 5) / (2 - 1))


def test_topic_overlap_counts_common_words():
    assert metrics.topic_overlap([list("abcd"), list("efgh")], [list("abxy"), list("hgfe")], n=4) == 0.75
    assert metrics.topic_overlap([list("abcd")], [list("dcba")], n=2) == 0
    weights = np.array([[5.0, 4, 4, 0]])
    assert metrics.topic_overlap(weights, [[9.0, 1, 0, 0]], n=2) == 1  # the tie goes to the lower index
    with pytest.raises(ValueError, match="one kind"):
        metrics.topic_overlap([list("ab")], weights, n=2)
    with pytest.raises(ValueError, match="at least n"):
        metrics.topic_overlap([list("ab")], [list("ab")], n=3)
