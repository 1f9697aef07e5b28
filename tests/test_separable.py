"""Separable NMF: which samples are taken, and what the others are made of."""

import numpy as np
import oracles_picks as oracles
import pytest
import scipy.sparse as sp
from scipy.optimize import nnls
from sklearn.exceptions import NotFittedError

from fastnmf import SeparableNMF
from fastnmf.core.init.successive_projection import successive_projections

FORMS = (np.asarray, sp.csr_array)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("noise", [0, 0.01])
def test_planted_anchors_are_all_found(noise, axis, form):
    X, pure = oracles.planted_anchors(noise)
    X = X if axis == 0 else X.T
    model = SeparableNMF(6, axis=axis).fit(form(X))
    assert sorted(model.anchors_) == pure.tolist()
    # The order and the level of the error are those of the fixed-seed case; its weights are not exactly the best.
    assert model.anchors_.tolist() == [29, 103, 47, 11, 195, 109]
    assert model.normalized_loss_ <= (0.020451961159466025 if noise else 1e-14)
    shown = np.linalg.norm(X - model.W_ @ model.components_)
    assert model.reconstruction_err_ == pytest.approx(shown, rel=1e-8, abs=1e-13)


@pytest.mark.parametrize("form", FORMS)
def test_the_anchors_are_those_of_the_plain_loops(form):
    for seed in range(5):
        X = sp.random_array((40, 25), density=0.3, rng=np.random.default_rng(seed)).toarray()
        model = SeparableNMF(7).fit(form(X))
        assert model.anchors_.tolist() == oracles.successive_projections(X, 7)
        for x, w in zip(X, model.W_, strict=True):
            np.testing.assert_allclose(w, nnls(model.components_.T, x)[0], atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_the_anchors_of_hulls_are_those_of_the_plain_loops(form):
    for seed in range(4):
        X = sp.random_array((25, 12), density=0.4, rng=np.random.default_rng(seed)).toarray()
        anchors, distances = oracles.successive_nonnegative_projections(X, 5)
        model = SeparableNMF(5, solver="snpa").fit(form(X))
        assert model.anchors_.tolist() == anchors
        np.testing.assert_allclose(model.history_["distance"][:5], distances, rtol=1e-8)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_more_corners_than_dimensions_are_found_by_hulls(n_threads):
    """Mixtures of the eight corners of a cube in three features: their span is found after three."""
    rng = np.random.default_rng(0)
    corners = 1 + np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], float)
    X = rng.dirichlet(np.full(8, 0.5), 400) @ corners
    pure = np.sort(rng.choice(400, 8, replace=False))
    X[pure] = corners[rng.permutation(8)]
    model = SeparableNMF(9, solver="snpa", n_threads=n_threads)
    with pytest.warns(UserWarning, match="lie in the convex hull with the origin of 7"):
        model.fit(X)  # one corner, (1, 1, 1), lies in the hull of (2, 2, 2) and the origin
    corner = np.flatnonzero((X == 1).all(axis=1))
    assert sorted(model.anchors_) == sorted(set(pure) - set(corner)) and model.normalized_loss_ < 1e-12
    with pytest.warns(UserWarning, match="in the span of 3"):
        SeparableNMF(9).fit(np.hstack([X, np.zeros((400, 7))]))


def test_nearly_dependent_anchors_are_found_by_hulls_in_noise():
    """The anchors span little more than two of three dimensions, and every mixture is noisy."""
    found = {"spa": 0, "snpa": 0}
    for seed in range(10):
        rng = np.random.default_rng(seed)
        points = rng.random((2, 30))
        pure = np.vstack([points, 0.5 * points.sum(axis=0) + 0.5 * points[0] + 0.02 * rng.random(30)])
        X = np.vstack([pure, rng.dirichlet([0.3] * 3, 100) @ pure])
        X = np.maximum(X + 0.01 * rng.standard_normal(X.shape), 0)
        for solver in found:
            found[solver] += len(set(SeparableNMF(3, solver=solver).fit(X).anchors_.tolist()) & {0, 1, 2})
    assert found["snpa"] >= found["spa"]


@pytest.mark.parametrize("solver", ["spa", "snpa"])
@pytest.mark.parametrize("axis", [0, 1])
def test_light_outliers_are_no_anchors_where_the_mass_is_asked_for(axis, solver):
    X, pure = oracles.planted_anchors(0)
    X = np.vstack([X, 1e-3 * np.eye(40)[:3]]) / np.vstack([X, 1e-3 * np.eye(40)[:3]]).sum(axis=1, keepdims=True)
    weights = np.r_[np.ones(200), np.full(3, 0.99)]
    X = (X * weights[:, None]) if axis == 0 else (X * weights[:, None]).T
    outliers = {200, 201, 202}
    everything = SeparableNMF(6, axis=axis, solver=solver).fit(X)
    assert outliers <= set(everything.anchors_.tolist())
    for form in FORMS:
        model = SeparableNMF(6, axis=axis, solver=solver, anchor_mass=0.98).fit(form(X))
        assert sorted(model.anchors_) == pure.tolist()


def test_features_are_the_samples_of_the_transpose():
    X = np.random.default_rng(1).random((12, 30))
    by_feature, by_sample = SeparableNMF(4, axis=1).fit(X), SeparableNMF(4).fit(X.T)
    np.testing.assert_array_equal(by_feature.anchors_, by_sample.anchors_)
    np.testing.assert_allclose(by_feature.components_, by_sample.W_.T, rtol=1e-12)
    np.testing.assert_array_equal(by_feature.W_, X[:, by_feature.anchors_])
    np.testing.assert_array_equal(by_feature.transform(X[3:5]), X[3:5][:, by_feature.anchors_])


def test_of_equal_rows_the_first_is_taken():
    X = np.random.default_rng(2).random((9, 6))
    X[[7, 5]] = X[2] = X[2] * 5
    for form in FORMS:
        assert SeparableNMF(1).fit(form(X)).anchors_ == [2]
        anchors, _ = successive_projections(form(X), 3)
        assert len(set(anchors.tolist())) == 3 and not {5, 7} & set(anchors.tolist())


def test_cancellation_does_not_mislead():
    """Distances of 1e-6 beside lengths of 3: as differences of squares they have about three digits."""
    wrong_as_differences = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X = 1 + 1e-7 * rng.random((12, 8))
        X[0] = 3
        X[3], X[7] = 1 + 1e-6 * rng.permutation(np.arange(8)), 1 + 1.00002e-6 * rng.permutation(np.arange(8))
        anchors, distances = successive_projections(X, 2)
        assert anchors.tolist() == [0, 7]
        u = np.full(8, 8**-0.5)
        # 1 + 1e-6 is itself rounded to 1e-16, which is 1e-10 of the distance.
        assert distances[1] == pytest.approx(np.linalg.norm(X[7] - (X[7] @ u) * u), rel=1e-8)
        differences = np.square(X).sum(axis=1) - (X @ u) ** 2
        wrong_as_differences += differences[3] >= differences[7]
    assert wrong_as_differences > 0


def test_small_rows_count_as_much_as_large_ones_when_normalized():
    X, pure = oracles.planted_anchors(0)
    rng = np.random.default_rng(4)
    scaled = X * np.exp(rng.normal(0, 2, len(X)))[:, None]
    assert sorted(SeparableNMF(6, normalize=True).fit(scaled).anchors_) == pure.tolist()
    assert sorted(SeparableNMF(6).fit(scaled).anchors_) != pure.tolist()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("factor", [1e-160, 1e160])
def test_extreme_scales_are_the_same_problem(axis, factor):
    X = np.random.default_rng(5).random((10, 8))
    want, got = (SeparableNMF(3, axis=axis).fit(Y) for Y in (X, factor * X))
    np.testing.assert_array_equal(got.anchors_, want.anchors_)
    free, bound = ("W_", "components_") if axis == 0 else ("components_", "W_")
    np.testing.assert_allclose(getattr(got, free), getattr(want, free), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(getattr(got, bound), factor * getattr(want, bound), rtol=1e-12)
    np.testing.assert_allclose(got.history_["distance"], factor * want.history_["distance"], rtol=1e-9)


def test_degenerate_data():
    rank_one = np.outer([1.0, 3, 2], [1.0, 0, 2, 1])
    with pytest.warns(UserWarning, match="in the span of 1"):
        model = SeparableNMF(3).fit(rank_one)
    assert model.anchors_.tolist() == [1] and model.n_components_ == 1 and model.normalized_loss_ < 1e-14
    with pytest.warns(UserWarning, match="in the span of 1"):
        nothing = SeparableNMF(2).fit(sp.csr_array((4, 3)))
    assert nothing.anchors_.tolist() == [0] and nothing.normalized_loss_ == 0 and not nothing.W_.any()
    one = SeparableNMF(1).fit(np.array([[0.0, 2, 1]]))
    np.testing.assert_allclose(one.W_, 1)
    with pytest.raises(NotFittedError):
        SeparableNMF().transform(rank_one)


def test_float32_stays():
    X, pure = oracles.planted_anchors(0.01)
    model = SeparableNMF(6).fit(sp.csr_array(X.astype(np.float32)))
    assert sorted(model.anchors_) == pure.tolist()
    assert model.W_.dtype == model.components_.dtype == np.float32


def test_wrong_parameters_are_named():
    for options, words in (
        ({"axis": 2}, "axis=2 is not known"),
        ({"normalize": 3}, "normalize=3"),
        ({"n_components": 0}, "n_components=0"),
        ({"solver": "cd"}, "solver='cd' is not known.*'snpa'"),
        ({"anchor_mass": 1.5}, "anchor_mass=1.5.*from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=words):
            SeparableNMF(**options).fit(np.eye(3))


def test_without_iterations_there_is_nothing_to_save(tmp_path):
    for fit in (SeparableNMF(2).fit, SeparableNMF(2).fit_transform):
        with pytest.raises(ValueError, match="does not iterate, so it takes no checkpoint"):
            fit(np.eye(3), checkpoint=tmp_path / "c")
    with pytest.raises(ValueError, match="Invalid parameter 'n_init'"):
        SeparableNMF().set_params(n_init=3)
