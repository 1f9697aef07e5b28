"""A consensus of many runs: what they share is kept, what one run has alone is dropped, and scale does not matter."""

import numpy as np
import oracles_ensemble
import pytest
import scipy.sparse as sp
from sklearn.metrics import silhouette_samples

from fastnmf import NMF, StratifiedNMF, consensus
from fastnmf.selection.consensus import _agreement, _cluster_components, _density, _distances, _summary
from fastnmf.selection.parallel_fits import unit_rows
from fastnmf.selection.rank import match_components

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
FAST = StratifiedNMF(max_iter=40)


def planted(seed=0, sizes=(20, 16), n_columns=18, rank=3, noise=0.2):
    """Return data, labels and the planted components."""
    rng = np.random.default_rng(seed)
    strata = np.repeat(["a", "b"], sizes)
    W, H = np.abs(rng.standard_normal((len(strata), rank))), np.abs(rng.standard_normal((rank, n_columns)))
    X = W @ H + np.repeat(rng.random((2, n_columns)), sizes, axis=0) + noise * rng.standard_normal((len(W), n_columns))
    return np.maximum(X, 0), strata, H


@pytest.mark.parametrize("estimator", [FAST, NMF(max_iter=40)], ids=["stratified", "nmf"])
def test_planted_components_are_the_consensus(estimator):
    X, strata, H = planted()
    X = X if estimator is FAST else np.maximum(X - X.min(axis=0), 0)
    found = consensus(X, strata, 3, n_runs=6, estimator=estimator, random_state=0)
    cosines = match_components(found.components, H)[1]
    assert cosines.min() > 0.9 and found.agreement.min() > 0.95
    assert found.n_members.tolist() == [6, 6, 6] and found.kept.all() and found.stability > 0.5
    assert found.model.components_ is found.components
    np.testing.assert_allclose(np.linalg.norm(found.components, axis=1), 1, rtol=1e-12)
    assert (found.lower <= found.components + 1e-12).all() and (found.components <= found.upper + 1e-12).all()
    assert (found.upper - found.lower).max() > 0
    assert found.model.normalized_loss_ < 1.05 * found.losses.min()
    assert (np.diff(found.usage) <= 0).all() and found.usage.sum() == pytest.approx(1, abs=0.02)


def test_the_model_is_fitted_to_the_consensus():
    X, strata, _ = planted()
    found = consensus(X, strata, 3, n_runs=4, estimator=FAST, random_state=0)
    model = found.model
    np.testing.assert_allclose(model.transform(X, strata=strata), model.W_, rtol=1e-10, atol=1e-12)
    error = np.square(X - model.inverse_transform(model.W_, strata=strata)).sum()
    assert model.reconstruction_err_ == pytest.approx(np.sqrt(error), rel=1e-9)
    # With H held the problem is convex; its slope along a shift is nothing where the shift is positive, else upwards.
    residual = model.inverse_transform(model.W_, strata=strata) - X
    for code, label in enumerate(model.strata_):
        slope, is_on = residual[strata == label].mean(axis=0), model.shifts_[code] > 0
        assert np.abs(slope[is_on]).max() < 0.01 and (slope > -0.01).all()  # the fit stops before its last digits


def test_what_the_result_says_of_every_component():
    X, strata, _ = planted()
    options = {"n_runs": 5, "estimator": FAST, "random_state": 0}
    every = consensus(X, strata, 5, density_threshold=2, **options)  # five of three: runs differ
    assert every.kept.all()
    threshold = float(np.quantile(every.density, 0.8))
    found = consensus(X, strata, 5, density_threshold=threshold, **options)
    np.testing.assert_array_equal(found.density, every.density)
    assert (~found.kept).sum() == 5
    np.testing.assert_array_equal(found.kept, found.density <= threshold)
    np.testing.assert_array_equal(found.kept, found.labels >= 0)
    np.testing.assert_array_equal(found.n_members, [(found.labels == code).sum() for code in range(5)])
    in_order = found.labels[tuple(found.order.T)]
    assert (np.diff(in_order) >= 0).all() and len(set(map(tuple, found.order.tolist()))) == found.kept.sum()
    assert found.distances.shape == (len(in_order),) * 2
    np.testing.assert_array_equal(found.distances, found.distances.T)
    assert not np.diagonal(found.distances).any() and found.distances.max() <= np.sqrt(2) + 1e-12
    of_each = silhouette_samples(found.distances, in_order, metric="precomputed")
    np.testing.assert_allclose(found.silhouette, [of_each[in_order == code].mean() for code in range(5)])
    assert found.stability == pytest.approx(of_each.mean())
    text = repr(found)
    assert "Dropped: 5 of 25 components" in text and len(text.splitlines()) == 7


def test_density_is_the_mean_distance_to_the_nearest():
    points, lengths = unit_rows(np.random.default_rng(0).random((9, 6)))
    assert (lengths > 0).all()
    distances = _distances(points)
    for n_nearest in (1, 3, 8, 20):
        want = oracles_ensemble.mean_distance_to_nearest(points, n_nearest)
        np.testing.assert_allclose(_density(distances, n_nearest), want, rtol=1e-7)


def test_dead_and_stray_components_are_dropped():
    rng = np.random.default_rng(0)
    base = rng.random((2, 8)) ** 3
    runs = [(base + 0.01 * rng.random(base.shape))[rng.permutation(2)] for _ in range(6)]
    runs[1][0] = 0  # dead
    runs[3][1] = np.eye(8)[3]  # astray
    units = np.array([unit_rows(run)[0] for run in runs])
    found = _agreement(units, np.full((6, 2), 0.5), 2.0, 2, 0)
    assert found["density"][1, 0] == np.inf and np.argwhere(~found["kept"]).tolist() == [[1, 0]]
    found = _agreement(units, np.full((6, 2), 0.5), 0.5, 2, 0)
    assert np.argwhere(~found["kept"]).tolist() == [[1, 0], [3, 1]] and found["n_members"].sum() == 10
    assert match_components(found["middle"], base)[1].min() > 0.999
    assert found["silhouette"].min() > 0.9


def test_a_median_of_zeros_gives_way_to_the_mean():
    middle, lower, upper, cosines = _summary(np.eye(3))
    np.testing.assert_allclose(middle, np.full(3, 3**-0.5))
    np.testing.assert_allclose(cosines, 3**-0.5)
    assert (lower <= upper).all()


def test_one_component_and_fewer_points_than_clusters():
    X, strata, _ = planted()
    found = consensus(X, strata, 1, n_runs=3, estimator=FAST, random_state=0)
    assert np.isnan(found.silhouette).all() and found.agreement[0] > 0.99 and "-" in repr(found)
    with pytest.raises(ValueError, match="fewer than 2 different"):
        _cluster_components(np.ones((4, 3)), 2, 0)


def test_the_result_depends_on_the_seed_only():
    X, strata, _ = planted()
    options = {"n_runs": 4, "estimator": FAST}
    one = consensus(X, strata, 3, random_state=0, **options)
    two = consensus(X, strata, 3, random_state=0, n_jobs=2, **options)
    three = consensus(X, strata, 3, random_state=1, **options)
    for name in ("components", "losses", "density", "labels", "distances"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert (one.losses != three.losses).all()
    in_cloth = consensus(sp.csc_array(X), strata, 3, random_state=0, **options)
    np.testing.assert_allclose(in_cloth.components, one.components, rtol=1e-6, atol=1e-9)
    # The scale of the data is that of the weights.
    larger = consensus(X * 4.0**5, strata, 3, random_state=0, **options)
    np.testing.assert_allclose(larger.components, one.components, rtol=1e-9, atol=1e-12)
    assert consensus(X.astype(np.float32), strata, 3, random_state=0, **options).components.dtype == np.float32


@pytest.mark.parametrize("norm", ["l1", "max"])
def test_components_have_the_norm_that_the_estimator_asks_for(norm):
    X, strata, _ = planted()
    options = {"n_runs": 3, "random_state": 0}
    plain = consensus(X, strata, 3, estimator=FAST, **options)
    found = consensus(X, strata, 3, estimator=StratifiedNMF(max_iter=40, normalize=norm), **options)
    size = found.components.sum(axis=1) if norm == "l1" else found.components.max(axis=1)
    np.testing.assert_allclose(size, 1, rtol=1e-12)
    assert match_components(found.components, plain.components)[1].min() > 0.999
    assert (found.lower <= found.components + 1e-12).all() and (found.components <= found.upper + 1e-12).all()


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"n_components": 0}, ValueError, "n_components=0"),
        ({"n_runs": 1}, ValueError, "n_runs=1 is not valid; expected an integer >= 2"),
        ({"density_threshold": -1}, ValueError, "density_threshold=-1"),
        ({"neighbors": 2}, ValueError, "a share of n_runs from 0 to 1"),
        ({"density_threshold": 0}, ValueError, "too few for 3 clusters; raise density_threshold"),
        ({"estimator": NMF(init="nndsvd")}, ValueError, "with which all runs are the same"),
        ({"estimator": "nmf"}, TypeError, "expected an NMF or a StratifiedNMF"),
    ],
)
def test_bad_input_gets_one_sentence(options, error, words):
    X, strata, _ = planted()
    with pytest.raises(error, match=words):
        consensus(X, strata, **{"n_components": 3, "n_runs": 3, **options})
