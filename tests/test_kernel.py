"""KernelNMF beyond its family: widths from the data, the kernel of neighbours, components of any sign."""

import numpy as np
import oracles_graph
import pytest
import scipy.sparse as sp
from sklearn.datasets import make_blobs, make_circles, make_moons
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.pairwise import manhattan_distances, pairwise_kernels

from fastnmf import KernelNMF, SemiNMF, load

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FEW = {"random_state": 0, "max_iter": 5, "tol": 0}


def data(n=24, m=5):
    return np.random.default_rng(3).random((n, m)) + np.arange(m)


def median(distances):
    return np.median(distances[np.triu_indices(len(distances), 1)])


def test_gamma_of_the_data_is_that_of_its_definition():
    X = data()
    squares = np.square(X[:, None] - X).sum(axis=2)
    wanted = {
        ("rbf", None): 1 / median(squares),
        ("rbf", "median"): 1 / median(squares),
        ("rbf", "scale"): 1 / (5 * X.var()),
        ("laplacian", None): 1 / median(manhattan_distances(X)),
        ("laplacian", "scale"): 1 / (5 * X.std()),
        ("chi2", None): 1 / median((np.square(X[:, None] - X) / (X[:, None] + X)).sum(axis=2)),
        ("poly", None): 1 / (5 * X.var()),
        ("sigmoid", "scale"): 1 / (5 * X.var()),
        ("rbf", 0.3): 0.3,
    }
    for (kernel, gamma), value in wanted.items():
        for form in (np.array, sp.csr_array)[: 1 if kernel == "chi2" else 2]:
            model = KernelNMF(2, kernel=kernel, gamma=gamma, **FEW).fit(form(X))
            assert model.gamma_ == pytest.approx(value, rel=1e-12), (kernel, gamma)
            assert model._kernel(form(X)) == pytest.approx(pairwise_kernels(X, metric=kernel, gamma=value), rel=1e-9)
    assert not hasattr(KernelNMF(2, kernel="linear", **FEW).fit(X), "gamma_")
    assert 0 < KernelNMF(2, **FEW).fit(np.ones((4, 3))).gamma_ < np.inf  # all rows are equal: any width will do


@pytest.mark.parametrize("kernel", ["rbf", "laplacian", "chi2", "poly", "sigmoid", "nearest_neighbors"])
@pytest.mark.parametrize("factor", [2.0**-500, 1e-3, 1e3, 2.0**600])
def test_defaults_have_no_unit(kernel, factor):
    X = data()
    near, far = (KernelNMF(2, kernel=kernel, **FEW).fit(c * X) for c in (1, factor))
    assert far.W_ == pytest.approx(near.W_, rel=1e-6, abs=1e-9)
    assert far.transform(factor * 1.01 * X) == pytest.approx(near.transform(1.01 * X), rel=1e-6, abs=1e-9)


def test_a_median_needs_distances():
    with pytest.raises(ValueError, match="gamma='median' needs a kernel of distances .* set gamma='scale'"):
        KernelNMF(2, kernel="poly", gamma="median").fit(data())


def test_the_width_of_the_fit_stays_with_the_model(tmp_path):
    X = data()
    model = KernelNMF(2, **FEW).fit(X)
    want = model.transform(X[:3] / 2)
    model.save(tmp_path / "model.npz")
    model.gamma = 7.0
    np.testing.assert_array_equal(model.transform(X[:3] / 2), want)
    again = load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.transform(X[:3] / 2), want)
    assert again.gamma_ == model.gamma_
    for name in ("gamma_", "_gamma", "kernel_"):  # files of 0.1 have none, and gamma=None was scikit-learn's
        delattr(again, name)
    again.kernel = "rbf"
    np.testing.assert_allclose(again._kernel(X[:3], X), pairwise_kernels(X[:3], X, metric="rbf"), rtol=1e-12)


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
def test_the_kernel_of_neighbours_is_that_of_plain_loops(form, tmp_path):
    X = np.random.default_rng(1).standard_normal((20, 2))
    new = np.vstack([X[3:5], X[:4] + 0.1])
    model = KernelNMF(2, kernel="nearest_neighbors", n_neighbors=3, **FEW).fit(form(X))
    np.testing.assert_array_equal(model.affinity_.toarray(), oracles_graph.union_graph(X, 3))
    np.testing.assert_allclose(model._kernel(form(X)), oracles_graph.kernel_of_neighbours(X, 3), atol=1e-12)
    want = oracles_graph.kernel_of_neighbours(X, 3, new)
    np.testing.assert_allclose(model._kernel(form(new), form(X)), want, atol=1e-12)
    np.testing.assert_allclose(model.transform(form(X)), model.W_, rtol=1e-5, atol=1e-7)
    model.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(load(tmp_path / "model.npz").transform(form(new)), model.transform(form(new)))


def test_empty_texts_are_in_no_cluster_and_the_origin_is_a_point():
    X = np.abs(data())
    X[4] = 0
    text, points = (KernelNMF(2, kernel="nearest_neighbors", **FEW).fit(F) for F in (sp.csr_array(X), X))
    assert text.labels_[4] == -1 and not text.affinity_[[4]].nnz and not text.transform(sp.csr_array(X))[4].any()
    assert points.labels_[4] >= 0 and points.affinity_[[4]].nnz
    assert KernelNMF(2, kernel="nearest_neighbors", **FEW).fit(X[:1]).W_.shape == (1, 2)


@pytest.mark.parametrize("components", ["convex", "free"])
@pytest.mark.parametrize("draw", [lambda **more: make_circles(factor=0.5, **more), make_moons])
def test_clusters_of_any_shape_are_found(draw, components):
    X, which = draw(n_samples=200, noise=0.05, random_state=0)
    model = KernelNMF(2, kernel="nearest_neighbors", components=components, random_state=0).fit(X)
    assert adjusted_rand_score(which, model.labels_) == 1


def texts(n=160, m=200, seed=0):
    """Draw rows of 8 to 24 words, two in five of them of one of four topics; return the counts, and the topics."""
    rng = np.random.default_rng(seed)
    topic, X = rng.integers(4, size=n), np.zeros((n, m))
    for i, z in enumerate(topic):
        is_own = rng.random(rng.integers(8, 25)) < 0.4
        np.add.at(
            X[i], np.where(is_own, 10 * z + rng.integers(10, size=len(is_own)), rng.integers(m, size=len(is_own))), 1
        )
    return X, topic


def test_the_default_kernel_suits_the_data(tmp_path):
    """And fits are of the kernel that was chosen, whatever the parameter is later; sparse as dense."""
    X, topic = texts()
    model, dense = (KernelNMF(4, random_state=0).fit(F) for F in (sp.csr_array(X), X))
    assert model.kernel_ == "nearest_neighbors" and model.n_neighbors_ == 20
    assert adjusted_rand_score(topic, model.labels_) > 0.85
    np.testing.assert_allclose(dense.W_, model.W_, atol=1e-12)
    assert KernelNMF(4, gamma=0.1, **FEW).fit(X).kernel_ == KernelNMF(2, **FEW).fit(data()).kernel_ == "rbf"
    assert KernelNMF(2, **FEW).fit(np.zeros((4, 3))).kernel_ == "rbf"
    assert KernelNMF(2, kernel="linear", **FEW).fit(X).kernel_ == "linear"
    want = model.transform(X[:5])
    np.testing.assert_array_equal(model.set_params(kernel="rbf").transform(X[:5]), want)
    del model.affinity_
    model.save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match="kernel_"):  # there is no graph to compare new rows with
        load(tmp_path / "model.npz")


def test_neighbours_in_texts_are_those_by_direction(tmp_path):
    """Their lengths have no effect, in the fit and for new texts; an empty text has no neighbour."""
    X = texts(60)[0] * (1 + np.random.default_rng(2).random((60, 200)) / 10)  # no two are equally near
    X[7] = 0
    unit = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1)
    options = {"kernel": "nearest_neighbors", "n_neighbors": 3, **FEW}
    model = KernelNMF(4, **options).fit(sp.csr_array(X * np.random.default_rng(1).choice([1.0, 8.0], (60, 1))))
    others = np.delete(np.arange(60), 7)
    graph = model.affinity_.toarray()
    np.testing.assert_array_equal(graph[np.ix_(others, others)], oracles_graph.union_graph(unit[others], 3))
    assert not graph[7].any() and model.labels_[7] == -1 and not model.transform(X[[7]]).any()
    np.testing.assert_allclose(model.transform(X), model.W_, rtol=1e-5, atol=1e-7)
    model.save(tmp_path / "model.npz")
    again, new = load(tmp_path / "model.npz"), X[:6] + X[10:16]
    np.testing.assert_array_equal(again.transform(new), model.transform(new))
    np.testing.assert_allclose(again.transform(4 * new), model.transform(new), rtol=1e-12)


def test_more_neighbours_where_the_graph_of_few_is_noise(tmp_path):
    """And a loaded model takes as many; 8 where they show the clusters, and as many as the user wants."""
    X, which = make_blobs(400, 500, centers=5, cluster_std=25, random_state=1)
    X = X - X.min()
    model = KernelNMF(5, kernel="nearest_neighbors", random_state=0).fit(X)
    few = KernelNMF(5, kernel="nearest_neighbors", n_neighbors=8, random_state=0).fit(X)
    assert (model.n_neighbors_, few.n_neighbors_) == (80, 8)
    assert adjusted_rand_score(which, model.labels_) > 0.97 > 0.9 > adjusted_rand_score(which, few.labels_)
    model.save(tmp_path / "model")
    new = X[::40] + 1e-3
    assert (load(tmp_path / "model").transform(new) == model.transform(new)).all()
    assert (model.transform(new).argmax(axis=1) == model.labels_[::40]).all()
    assert KernelNMF(2, kernel="nearest_neighbors", **FEW).fit(make_moons(60, random_state=0)[0]).n_neighbors_ == 8


def test_free_components_of_a_linear_kernel_are_those_of_semi_nmf():
    X = np.random.default_rng(4).standard_normal((30, 6)) + 0.5
    start = {"W": np.random.default_rng(5).random((30, 3))}
    options = {"init": "custom", "max_iter": 60, "tol": 0}
    semi = SemiNMF(3, **options).fit(X, **start)
    model = KernelNMF(3, kernel="linear", components="free", **options).fit(X, **start)
    assert model.history_["objective"][1:] == pytest.approx(semi.history_["objective"][1:], rel=1e-7)
    assert model.W_ @ (model.C_.T @ X) == pytest.approx(semi.W_ @ semi.components_, abs=1e-4)
    assert (model.C_ < 0).any() and np.linalg.norm(model.C_.T @ X, axis=1) == pytest.approx(1)
    np.testing.assert_allclose(model.transform(X), model.W_, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("scale", [1.0, 1e-60, 1e60])
def test_free_components_promise_what_convex_ones_do(scale):
    X = scale * (data() - 2)
    for kernel in ("rbf", "linear", "nearest_neighbors"):
        convex, free = (
            KernelNMF(3, kernel=kernel, components=components, random_state=0, max_iter=60, tol=0).fit(X)
            for components in ("convex", "free")
        )
        objective = free.history_["objective"]
        assert (np.diff(objective) <= 1e-12 * objective[0]).all()
        assert free.normalized_loss_ < convex.normalized_loss_ * (1 + 1e-9)  # more components are allowed
        K, W, C = free._kernel(X), free.W_ / scale ** (kernel == "linear"), free.C_ * scale ** (kernel == "linear")
        K = K / scale ** (2 * (kernel == "linear"))
        value = np.trace(K) - 2 * np.sum(W * (K @ C)) + np.sum((C.T @ K @ C) * (W.T @ W))
        assert free.normalized_loss_ == pytest.approx(np.sqrt(value / np.trace(K)), rel=1e-6)
        assert (free.W_ >= 0).all() and free.transform(X) == pytest.approx(free.W_, rel=1e-5, abs=1e-7 * free.W_.max())


def test_what_free_components_cannot_use_is_refused():
    X = data()
    with pytest.raises(ValueError, match="solver='mu' cannot use; set solver='cd'"):
        KernelNMF(2, components="free", solver="mu").fit(X)
    with pytest.raises(ValueError, match="C was given with components='free'"):
        KernelNMF(2, components="free", init="custom").fit(X, W=np.ones((24, 2)), C=np.ones((24, 2)))
    first = KernelNMF(2, components="free", warm_start=True, **FEW).fit(X)
    before = first.normalized_loss_
    assert first.fit(X).normalized_loss_ <= before * (1 + 1e-12)
