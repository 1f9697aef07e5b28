"""Clusters of samples: the metric of W H, whatever the scale of the factors, and scores that ignore names."""

import itertools

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from fastnmf import NMF, SemiNMF, StratifiedNMF, cluster
from fastnmf.metrics.clusters import clustering_scores

RNG = np.random.default_rng(0)
LABELS = np.repeat(["red", "green", "blue"], 20)
CENTERS = RNG.random((3, 12)) * 5
X = CENTERS[np.repeat(np.arange(3), 20)] * RNG.uniform(0.9, 1.1, (60, 12))


def fitted(kind=NMF, n_components=3, **options):
    return kind(n_components, random_state=0, max_iter=50, tol=0, **options).fit(X)


def distances(points):
    return np.linalg.norm(points[:, None] - points[None], axis=2)


@pytest.mark.parametrize("shape", [(9, 4, 7), (9, 6, 3), (5, 1, 4)])
def test_points_have_the_distances_of_the_product(shape):
    n, k, m = shape
    W, H = RNG.random((n, k)), RNG.random((k, m))
    points = cluster(W, H, n_clusters=2, random_state=0).points
    assert points.shape == (n, min(k, m))
    np.testing.assert_allclose(distances(points), distances(W @ H), rtol=0, atol=1e-12 * np.abs(W @ H).max())


def test_the_scale_of_components_changes_factor_alone():
    W, H = RNG.random((40, 3)), RNG.random((3, 8))
    scale = np.array([1e-6, 1.0, 1e6])
    for metric, is_same in (("product", True), ("max", True), ("factor", False)):
        both = [
            cluster(W, H, n_clusters=4, metric=metric, random_state=0),
            cluster(W * scale, H / scale[:, None], n_clusters=4, metric=metric, random_state=0),
        ]
        assert (both[0].labels.tolist() == both[1].labels.tolist()) == is_same, metric


def test_max_is_the_protocol_of_the_thesis():
    W, H = RNG.random((6, 2)), RNG.random((2, 5))
    np.testing.assert_allclose(cluster(W, H, metric="max").points, W * H.max(axis=1), rtol=1e-15)
    np.testing.assert_array_equal(cluster(W, H, metric="factor").points, W)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e150])
def test_planted_clusters_are_found_at_any_scale(scale):
    model = fitted()
    found = cluster(model.W_ * scale, model.components_, labels=LABELS, random_state=0)
    assert found.n_clusters == 3 and found.scores == dict.fromkeys(("nmi", "ari", "purity", "accuracy"), 1.0)
    centers = np.array([found.points[found.labels == c].mean(axis=0) for c in range(3)])
    np.testing.assert_allclose(found.centers, centers, rtol=1e-10, atol=1e-10 * np.abs(centers).max())
    spread = ((found.points - found.centers[found.labels]) / scale) ** 2
    if scale > 1e-150:  # below, a sum of squares has no float64
        np.testing.assert_allclose(found.inertia / scale / scale, spread.sum(), rtol=1e-8)
    assert "3 clusters of 20, 20, 20 samples, metric 'product', nmi 1.000" in repr(found)


@pytest.mark.parametrize("kind", [NMF, StratifiedNMF, SemiNMF])
def test_models_and_their_factors_cluster_alike(kind):
    model = fitted(kind)
    found = cluster(model, random_state=0)
    assert found.labels.tolist() == cluster(model.W_, model.components_, random_state=0).labels.tolist()
    assert found.scores == {} and found.n_clusters == 3


def test_scores_by_brute_force():
    for _ in range(5):
        true, found = RNG.integers(0, 3, 30), RNG.integers(0, 4, 30)
        scores = clustering_scores(true, found)
        by_name = [max(np.mean(np.array(names)[found] == true) for names in itertools.permutations((0, 1, 2, 9)))]
        assert scores["accuracy"] == pytest.approx(by_name[0])
        majority = sum(np.bincount(true[found == c], minlength=3).max() for c in range(4))
        assert scores["purity"] == pytest.approx(majority / 30)
        assert 0 <= scores["nmi"] <= 1 and -1 <= scores["ari"] <= 1
    names = np.array(["x", "y", "z"])[true]
    assert clustering_scores(names, 3 - found) == pytest.approx(clustering_scores(true, found))


def test_what_cannot_be_clustered_is_refused():
    W, H = RNG.random((6, 2)), RNG.random((2, 5))
    with pytest.raises(NotFittedError):
        cluster(NMF(2))
    with pytest.raises(TypeError, match="W without the components"):
        cluster(W)
    with pytest.raises(TypeError, match="estimator and H"):
        cluster(fitted(), H)
    with pytest.raises(ValueError, match="do not fit together"):
        cluster(W, H[:1])
    with pytest.raises(ValueError, match="not finite"):
        cluster(W * np.nan, H)
    with pytest.raises(ValueError, match="n_clusters=7 is more"):
        cluster(W, H, n_clusters=7)
    with pytest.raises(ValueError, match="one label per sample"):
        cluster(W, H, labels=[1, 2])
    with pytest.raises(ValueError, match="'product', 'factor', 'max'"):
        cluster(W, H, metric="cosine")
    with pytest.raises(ValueError, match="expected one label per sample in both"):
        clustering_scores([1, 2], [1])
