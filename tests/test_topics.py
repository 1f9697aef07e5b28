"""What is specific to a group is ranked by contrast everywhere: features of strata, explanations, reports, plots."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from estimators import counts

from fastnmf import NMF, AffineNMF, Factorization, GraphNMF, MiniBatchStratifiedNMF, StratifiedNMF, load
from fastnmf.data import shifts
from fastnmf.data.ranking import feature_scores, strongest_of
from fastnmf.metrics import topic_overlap

PUBLISHED = Path(__file__).parents[1] / "bench" / "papers" / "chapman2023_top_words.csv"
# words of conversation, which all newsgroups share
CONVERSATION = {"don", "like", "just", "know", "think", "people", "does", "did", "ve", "good", "really", "say", "said"}


def scores_by_loops(V, by, n_known):
    """Return the scores of the definition, row by row; what is not specific is left out."""
    rows, columns = range(len(V)), range(len(V[0]))
    found = []
    for s in rows:
        scores = {}
        for j in columns:
            if V[s][j] <= 0:
                continue
            if by == "weight":
                scores[j] = V[s][j]
            elif by == "contrast":
                others = [max(V[t][j], 0) for t in range(n_known) if t != s]
                share = max(1 - sum(others) / len(others) / V[s][j], 0)  # of the weight above the mean of the others
                scores[j] = V[s][j] * min(share / 0.7, 1) ** 3
            else:
                shares = [max(V[t][j], 0) / (sum(max(v, 0) for v in V[t]) or 1) for t in rows]
                scores[j] = shares[s] * np.log(1 + 1 / sum(shares))
        found.append({j: score for j, score in scores.items() if score > 0})
    return found


@pytest.mark.parametrize("by", ["weight", "contrast", "lift"])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_scores_are_their_definition(by, is_sparse, monkeypatch):
    monkeypatch.setattr(shifts, "SMALL", 0)  # so that sparse weights stay sparse
    rng = np.random.default_rng(0)
    V = np.where(rng.random((5, 9)) < 0.6, rng.normal(1, 1, (5, 9)), 0)
    V[2] = 0  # a stratum without a shift
    n_known = 4 if by == "contrast" else 5
    found = list(feature_scores(sp.csr_array(V) if is_sparse else V, by, n_known))
    for (at, values), want in zip(found, scores_by_loops(V.tolist(), by, n_known), strict=True):
        assert at.tolist() == list(want)
        np.testing.assert_allclose(values, list(want.values()), rtol=1e-12)  # sums of four numbers
    (alone,) = feature_scores(V[:1], "contrast")
    np.testing.assert_array_equal(alone[1], V[0][V[0] > 0])  # there are no others
    for at, _ in feature_scores(np.repeat(rng.random((1, 50)), 7, axis=0), "contrast"):
        assert not len(at)  # what all have is not specific, whatever the rounding of their mean
    at, values = strongest_of((np.array([2, 5, 7]), np.array([1.0, 3, 3])), 2)
    assert at.tolist() == [5, 7] and values.tolist() == [3, 3]  # ties go to the first


def test_thousands_of_sparse_strata_take_no_dense_array():
    rng = np.random.default_rng(0)
    V = sp.random_array((4000, 100_000), density=1e-4, rng=rng, format="csr")
    tracemalloc.start()
    n = sum(len(strongest_of(scores, 10)[0]) for scores in feature_scores(V, "contrast"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n > 30_000 and peak < 10e6  # a dense array has 3.2 GB


def shared_and_own():
    """Return groups whose largest features are the same in all, and the two features that each has for itself."""
    rng = np.random.default_rng(1)
    strata = np.repeat(["a", "b", "c"], [60, 20, 10])
    X = rng.poisson(0.3, (90, 12)).astype(float)
    X[:, :3] += rng.poisson(20, (90, 3))
    own = {"a": ["3", "4"], "b": ["5", "6"], "c": ["7", "8"]}
    for label, features in own.items():
        X[np.ix_(strata == label, [int(j) for j in features])] += rng.poisson([5, 3], ((strata == label).sum(), 2))
    return X, strata, own


@pytest.mark.parametrize("kind", ["batch", "online", "graph", "composed", "sparse"])
def test_strata_are_ranked_by_contrast_unless_asked_otherwise(kind):
    X, strata, own = shared_and_own()
    more = {"random_state": 0, "max_iter": 50, "tol": 0}
    model = {
        "batch": lambda: StratifiedNMF(2, **more),
        "sparse": lambda: StratifiedNMF(2, sparse_shifts=True, **more),
        "online": lambda: MiniBatchStratifiedNMF(2, **more),
        "graph": lambda: GraphNMF(2, **more),
        "composed": lambda: Factorization(2, strata=True, **more),
    }[kind]().fit(X, strata=strata)
    assert model.top_features(2).strata == own
    plain = model.top_features(3, by="weight")
    assert all(words[0] in ("0", "1", "2") for words in plain.strata.values())  # what all have most of
    assert model.top_features(3).components == plain.components
    assert model.top_features(3, by="contrast").strata == model.top_features(3).strata
    by_lift = model.top_features(4, by="lift").strata
    assert all(own[label][0] in words for label, words in by_lift.items())
    with pytest.raises(ValueError, match="by='share' is not known; expected one of 'contrast', 'weight', 'lift'"):
        model.top_features(by="share")


def test_explanations_and_files_have_the_same_rule(tmp_path):
    X, strata, own = shared_and_own()
    model = StratifiedNMF(2, random_state=0, max_iter=50, tol=0, unknown_strata="estimate").fit(X, strata=strata)
    for n in (2, 5):
        told = model.explain(X, strata=strata, n=n).strata
        assert {part.label: part.features for part in told} == model.top_features(n).strata
    want = np.sort(list(scores_by_loops(model.shifts_.tolist(), "contrast", 3)[1].values()))[::-1][:5]
    np.testing.assert_allclose(told[1].differences, want, rtol=1e-9)
    new = model.explain(X[strata == "b"], strata=["new"] * 20, n=2)  # against all strata of the fit
    assert new.strata[-1].label == "new" and set(new.strata[-1].features) == {"5", "6"}
    model.save(tmp_path / "model.npz")
    assert load(tmp_path / "model.npz").top_features(4).strata == model.top_features(4).strata
    one = StratifiedNMF(2, random_state=0, max_iter=5, tol=0).fit(X, strata=["all"] * 90)
    assert one.top_features(3).strata == one.top_features(3, by="weight").strata
    assert one.explain(X).strata[0].features == one.top_features(10).strata["all"]


def test_components_are_ranked_by_lift_where_it_is_asked_for():
    X = np.kron(np.eye(3), np.ones((6, 2))) * np.random.default_rng(0).random((18, 6)) + 0.01
    X = np.column_stack([np.full(18, 0.8), X])
    model = NMF(3, random_state=0, max_iter=300).fit(X)
    assert any(words == ["0"] for words in model.top_features(1))  # all have it
    assert all("0" not in words for words in model.top_features(1, by="lift"))
    assert all("0" not in words for words in model.top_features(1, by="contrast"))
    assert model.top_features(3, by="weight") == model.top_features(3)
    other = AffineNMF(2, random_state=0, max_iter=5, tol=0).fit(counts(9, 4))
    assert all(isinstance(words, list) for words in other.top_features(2, by="lift"))


def test_plots_of_a_model_show_what_is_specific():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    from fastnmf.plots import plot_top_features

    X, strata, own = shared_and_own()
    model = StratifiedNMF(2, random_state=0, max_iter=50, tol=0).fit(X, strata=strata)
    panels = plot_top_features(model, n=2)
    assert {ax.get_title("left"): [each.get_text() for each in ax.get_yticklabels()] for ax in panels} == own
    by_array = plot_top_features(model.shifts_, range(12), "abc", 2, by="contrast")
    widths = [bar.get_width() for bar in by_array[0].patches]
    scores = scores_by_loops(model.shifts_.tolist(), "contrast", 3)[0]
    np.testing.assert_allclose(widths, [scores[3], scores[4]], rtol=1e-9)
    raw = plot_top_features(model, n=3, by="weight")
    assert {each.get_text() for ax in raw for each in ax.get_yticklabels()} <= {"0", "1", "2"}
    components = plot_top_features(NMF(2, random_state=0, max_iter=5, tol=0).fit(X), n=1)
    assert [ax.get_title("left") for ax in components] == ["topic 0", "topic 1"]
    pyplot.close("all")


def test_blood_cells_have_the_markers_of_their_types():
    scanpy = pytest.importorskip("scanpy")
    from anndata import AnnData

    cells = scanpy.datasets.pbmc68k_reduced()
    cells = AnnData(cells.raw.X, cells.obs, cells.raw.var)
    model = StratifiedNMF(10, random_state=0).fit(cells, strata="bulk_labels")
    top = model.top_features(6).strata
    markers = {
        "CD19+ B": {"CD79A"},
        "CD56+ NK": {"GNLY", "NKG7"},
        "CD14+ Monocyte": {"LYZ", "CST3"},
        "CD4+/CD25 T Reg": {"IL32", "CD3D"},
    }
    for label, known in markers.items():
        assert known & set(top[label]), (label, top[label])
    genes, types = np.unique([gene for genes in top.values() for gene in genes], return_counts=True)
    assert types.max() <= 3, dict(zip(genes, types, strict=True))


def test_words_of_newsgroups_are_those_of_their_subjects(data_home):
    from fastnmf.datasets import load_newsgroups

    bunch = load_newsgroups(data_home=data_home, download_if_missing=False)
    model = StratifiedNMF(20, random_state=0, max_iter=30).fit(bunch.data, strata=bunch.strata)
    # the published file is in ascending order: its last column has rank 1
    published = [line.split(",")[1:][::-1] for line in PUBLISHED.read_text().splitlines()[1:]]
    words = list(model.top_features(10, bunch.feature_names).strata.values())
    assert topic_overlap(words, published, 10) >= 0.8
    assert not CONVERSATION & {word for each in words for word in each}
