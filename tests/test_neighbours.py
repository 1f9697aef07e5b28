"""Nearest rows of sparse data, rows of zeros among them, and the clusters of a fit with their graph."""

import warnings

import numpy as np
import oracles_graph
import pytest
import scipy.sparse as sp

from fastnmf import GraphNMF, load
from fastnmf.data import graphs
from fastnmf.data.graphs import nearest_rows, neighbour_graph, neighbours_among, transitivity
from fastnmf.io.migrate import upgrade
from fastnmf.kernels.jit import threads
from fastnmf.metrics import clustering_scores

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def texts(rng, n=60, m=40):
    """Draw short rows of counts: many equal distances, equal rows, and rows of zeros."""
    X = rng.integers(1, 3, (n, m)) * (rng.random((n, m)) < 0.1).astype(float)
    X[n // 2] = X[1]
    X[[3, n - 1]] = 0
    return X


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("is_unit", [False, True])
def test_the_nearest_sparse_rows_are_those_of_plain_loops(rng, dtype, is_unit):
    X, Y = texts(rng), texts(rng, 30)
    if is_unit:
        X, Y = (F / np.maximum(np.linalg.norm(F, axis=1, keepdims=True), 1) for F in (X, Y))
    X, Y = X.astype(dtype), Y.astype(dtype)
    for of, known, is_own in ((None, X, True), (Y, X, False), (X, Y, False)):
        rows = X if of is None else of
        want = oracles_graph.nearest(rows.astype(float), known.astype(float), 5, is_own)
        distances, found = nearest_rows(None if is_own else sp.csr_array(of), sp.csr_array(known), 5)
        np.testing.assert_array_equal(found, want)
        lengths = np.linalg.norm(rows[:, None].astype(float) - known[want].astype(float), axis=2)
        assert distances == pytest.approx(lengths, abs=1e-5)  # whole steps of 1e-6 lengths


def test_signed_and_unsorted_rows_and_all_rows_as_neighbours(rng):
    X = sp.csr_array(rng.standard_normal((12, 6)) * (rng.random((12, 6)) < 0.5))
    backwards = np.concatenate([np.arange(hi, lo, -1) - 1 for lo, hi in zip(X.indptr[:-1], X.indptr[1:], strict=True)])
    unsorted = sp.csr_array((X.data[backwards], X.indices[backwards], X.indptr), X.shape)
    want = oracles_graph.nearest(X.toarray(), X.toarray(), 11, True)
    for given in (X, unsorted):
        np.testing.assert_array_equal(nearest_rows(None, given, 11)[1], want)


def test_launches_and_threads_do_not_change_a_bit(rng, monkeypatch):
    X = sp.csr_array(texts(rng, 900, 60))
    found = []
    for n_threads, at_once in ((1, 1 << 30), (2, 1 << 30), (2, 50_000), (1, 1)):
        monkeypatch.setattr(graphs, "AT_ONCE", at_once)
        with threads(n_threads):
            found.append(b"".join(array.tobytes() for array in nearest_rows(None, X, 4)))
    assert len(set(found)) == 1


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
def test_rows_of_zeros_have_no_neighbours(rng, form):
    X = texts(rng)
    kept = np.flatnonzero(X.any(axis=1))
    A = neighbour_graph(form(X))[0].toarray()
    np.testing.assert_array_equal(A[np.ix_(kept, kept)], oracles_graph.union_graph(X[kept], 5))
    assert A.sum() == A[np.ix_(kept, kept)].sum()
    affinity, same = neighbours_among(form(X), form(X), 5, "binary", None)
    np.testing.assert_array_equal(np.flatnonzero(np.diff(affinity.indptr)), kept)
    assert not affinity[:, [3, 59]].nnz and same[3] == same[59] == 3
    np.testing.assert_array_equal(X[same], X)
    for few in (0 * X, np.vstack([X[:1], 0 * X[:4]]), X[:1]):
        assert not neighbour_graph(form(few))[0].nnz
        assert not neighbours_among(form(X), form(0 * X), 2, "binary", None)[0].nnz


def test_an_explicit_zero_is_no_entry(rng):
    X = sp.csr_array(texts(rng))
    X.data[X.indptr[5] : X.indptr[6]] = 0
    assert not neighbour_graph(X)[0][[5]].nnz


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
def test_a_model_of_texts_is_that_without_the_empty_ones(rng, form):
    X = texts(rng)
    X[30, :2] += 5  # else it equals row 1, whose neighbours are others
    X = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1)
    kept = np.flatnonzero(X.any(axis=1))
    model = GraphNMF(4, random_state=0).fit(form(X))
    assert not model.affinity_[[3, 59]].nnz
    assert model.labels_[3] == model.labels_[59] == -1 and set(model.labels_[kept]) == {0, 1, 2, 3}
    assert not model.W_[[3, 59]].any()
    np.testing.assert_array_equal(model.transform(form(X)), model.W_)
    alone = GraphNMF(4, random_state=0).fit(form(X[kept]))
    assert (model.affinity_[kept][:, kept] != alone.affinity_).nnz == 0


def blobs(rng, n=120, noise=0.3):
    centres, which = rng.random((3, 30)), np.arange(n) % 3
    return centres[which] + noise * rng.random((n, 30)), which


def test_components_that_fall_together_are_told(rng):
    X, which = blobs(rng, noise=3.0)
    with pytest.warns(
        UserWarning, match=r"Columns \d and \d of W_ have a correlation of .*; lower graph_weight=50 or n_comp"
    ):
        GraphNMF(3, graph_weight=50, random_state=0).fit(X)
    X, which = blobs(rng)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = GraphNMF(3, random_state=0).fit(X)
    assert model.graph_weight_ == 0.5 and clustering_scores(which, model.labels_)["ari"] == 1


def test_transitivity_is_that_of_the_plain_loops(rng):
    A = np.triu(rng.random((15, 15)) * (rng.random((15, 15)) < 0.3), 1)
    A[:, 4] = A[4] = 0  # a node without neighbours
    found = transitivity(sp.csr_array(A + A.T))
    assert found == pytest.approx(oracles_graph.transitivity(A + A.T)) and abs(found) < 0.5
    assert transitivity(sp.csr_array(1 - np.eye(4))) == transitivity(sp.csr_array((4, 4))) == 1


def test_a_graph_of_noise_has_no_weight(rng):
    X, _ = blobs(rng, n=200)
    noise = rng.random((200, 300))
    model = GraphNMF(3, random_state=0, max_iter=5, tol=0).fit(noise)
    assert model.graph_weight_ == 0 and model.affinity_.nnz and np.isfinite(model.transform(noise)).all()
    plain = GraphNMF(3, graph_weight=0, random_state=0, max_iter=5, tol=0).fit(noise)
    np.testing.assert_array_equal(model.W_, plain.W_)
    for more in ({"graph_weight": 0.5}, {"scale_invariant": False}):  # only the default looks at the graph
        assert GraphNMF(3, random_state=0, max_iter=5, tol=0, **more).fit(noise).graph_weight_ > 0
    assert model.fit(noise, graph=model.affinity_).graph_weight_ == 0.5 == model.fit(X).graph_weight_
    between = GraphNMF(3, random_state=0, max_iter=5, tol=0).fit(noise[:, :60])
    assert between.graph_weight_ == pytest.approx(0.5 * (transitivity(between.affinity_) - 0.05) / 0.05)
    assert 0 < between.graph_weight_ < 0.5


def test_labels_are_clusters_in_the_metric_of_the_penalty(rng, tmp_path):
    X, which = blobs(rng)
    for scale_invariant in (True, False):
        model = GraphNMF(3, scale_invariant=scale_invariant, graph_weight=0.5, random_state=0).fit(X)
        assert "labels_" not in vars(model)
        labels = model.labels_
        assert labels.shape == (120,) and clustering_scores(which, labels)["ari"] == 1
        model.save(tmp_path / "model.npz")
        model.W_, model.components_ = model.W_ * [1e3, 1, 1e-3], model.components_ / [[1e3], [1], [1e-3]]
        del model.labels_
        np.testing.assert_array_equal(model.labels_, labels)  # however a component splits its scale
        np.testing.assert_array_equal(load(tmp_path / "model.npz").labels_, labels)
    assert "labels_" not in vars(model.fit(X[:50]))
    with pytest.raises(AttributeError):
        GraphNMF().labels_  # noqa: B018
    assert GraphNMF(3, random_state=0).fit(np.zeros((4, 5))).labels_.tolist() == [-1] * 4


def test_the_weight_of_a_fit_stays_with_the_model(rng):
    X, _ = blobs(rng)
    model = GraphNMF(3, random_state=0).fit(X)
    want = model.transform(1.1 * X[:5])
    model.graph_weight = 80.0
    np.testing.assert_array_equal(model.transform(1.1 * X[:5]), want)
    old = upgrade("model", 1, {"class": "GraphNMF", "parameters": {"anchor": None}, "W_": X})
    assert old["graph_weight_"] == 100.0
