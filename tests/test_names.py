"""Names of features: kept, compared, and read from a vocabulary."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import fastnmf
from fastnmf import NMF, MiniBatchNMF, Start, StratifiedNMF, consensus, select_rank
from fastnmf.metrics import coherence
from fastnmf.plots import plot_top_features
from fastnmf.report import write_report

NAMES = ["zebra", "yak", "apple", "bear", "cat", "dog"]
VOCABULARY = dict(sorted((name, np.int64(column)) for column, name in enumerate(NAMES)))
STRATA = np.repeat(["a", "b"], 20)


def matrix():
    return sp.random_array((40, 6), density=0.6, rng=np.random.default_rng(0), format="csr")


class Cells:
    """Stand-in for an AnnData."""

    def __init__(self, X, names, obs):
        self.X, self.var_names, self.obs, self.shape = X, pd.Index(names), obs, X.shape

    def __getitem__(self, at):
        rows, columns = at if isinstance(at, tuple) else (at, slice(None))
        if isinstance(columns, list):
            columns = self.var_names.get_indexer(columns)
        return Cells(self.X[rows][:, columns], self.var_names[columns], self.obs[rows])


class Backed(Cells):
    """Stand-in for an AnnData on disk: its views have no views."""

    isbacked = True

    def __getitem__(self, at):
        view = super().__getitem__(at)
        return View(view.X, view.var_names, view.obs)


class View(Backed):
    """Stand-in for a part of an AnnData on disk."""

    def __getitem__(self, at):
        raise ValueError("Currently, you cannot index repeatedly into a backed AnnData.")

    def to_memory(self):
        return Cells(self.X, self.var_names, self.obs)


def cells():
    return Cells(matrix(), NAMES, pd.DataFrame({"batch": STRATA}))


def frame():
    return pd.DataFrame(matrix().toarray(), columns=NAMES)


FORMS = {"DataFrame": (frame, lambda X, names: X[names]), "AnnData": (cells, lambda X, names: X[:, names])}
SAME = {"max_iter": 5, "tol": 0, "random_state": 0}


@pytest.mark.parametrize("form", FORMS)
def test_names_are_kept_and_compared_everywhere(form, tmp_path):
    make, ordered = FORMS[form]
    X = make()
    turned, other = ordered(X, NAMES[::-1]), make()
    if form == "AnnData":
        other.var_names = pd.Index([*NAMES[:5], "emu"])
    else:
        other = other.rename(columns={"dog": "emu"})
    plain = NMF(2, **SAME).fit(X)
    strata = StratifiedNMF(2, unknown_strata="estimate", **SAME).fit(X, strata=STRATA)
    assert plain.feature_names_in_.tolist() == strata.feature_names_in_.tolist() == NAMES
    plain.save(tmp_path / "m.npz")
    loaded = fastnmf.load(tmp_path / "m.npz")
    assert loaded.feature_names_in_.tolist() == NAMES and (loaded.transform(X) == plain.transform(X)).all()
    assert (strata.transform(X, strata=["c"] * 40) >= 0).all()
    batches = MiniBatchNMF(2, random_state=0).partial_fit(X)
    going_on = NMF(2, warm_start=True, **SAME).fit(X)
    for X in (turned, other):
        for use in (
            lambda X: plain.transform(X),
            lambda X: plain.score(X),
            lambda X: loaded.transform(X),
            lambda X: plain.reconstruction_errors(X),
            lambda X: batches.partial_fit(X),
            lambda X: strata.transform(X, strata=STRATA),
            lambda X: strata.transform(X, strata=["c"] * 40),
            lambda X: strata.score(X, strata=STRATA),
            lambda X: strata.explain(X, strata=STRATA),
            lambda X: strata.predict_stratum(X),
            lambda X: strata.estimate_shifts(X, ["c"] * 40),
            lambda X: NMF(2, init=plain, **SAME).fit(X),
            lambda X: going_on.fit(X),
            lambda X: write_report(plain, tmp_path / "r.html", X=X),
        ):
            with pytest.raises(ValueError, match="(?i)feature names"):
                use(X)


def test_an_annotated_matrix_gives_the_bits_of_its_matrix_and_no_warning(recwarn):
    X, annotated = matrix(), cells()
    for kind in (NMF, MiniBatchNMF):
        model = kind(2, max_iter=3, random_state=0)
        assert (model.fit(annotated).components_ == kind(2, max_iter=3, random_state=0).fit(X).components_).all()
        assert (model.transform(annotated) == model.transform(X)).all()
    of_frame = NMF(2, **SAME).fit(frame())
    recwarn.clear()
    assert np.allclose(of_frame.transform(annotated), of_frame.transform(frame()))
    model = StratifiedNMF(2, **SAME).fit(annotated, strata="batch")
    model.transform(annotated, strata="batch"), model.explain(annotated, strata="batch")
    assert not recwarn.list


def test_rows_of_new_strata_are_read_from_disk():
    model = StratifiedNMF(2, unknown_strata="estimate", **SAME).fit(cells(), strata="batch")
    on_disk, strata = Backed(matrix(), NAMES, cells().obs), ["new"] * 10 + ["a"] * 30
    assert (model.transform(on_disk, strata=strata) == model.transform(cells(), strata=strata)).all()
    assert model.score(on_disk, strata=strata) == model.score(cells(), strata=strata)


def test_a_file_with_names_compares_those_of_frames(tmp_path):
    NMF(2, **SAME).fit(matrix()).save(tmp_path / "m.npz", VOCABULARY)
    model = fastnmf.load(tmp_path / "m.npz")
    assert model.feature_names_in_.tolist() == NAMES
    assert np.allclose(model.transform(matrix()), model.transform(frame()))
    for make, ordered in FORMS.values():
        with pytest.raises(ValueError, match="(?i)feature names"):
            model.transform(ordered(make(), NAMES[::-1]))


def test_a_vocabulary_names_columns_everywhere(tmp_path):
    X = matrix()
    model, strata = NMF(2, **SAME).fit(X), StratifiedNMF(2, **SAME).fit(X, strata=STRATA)
    assert model.top_features(3, VOCABULARY) == model.top_features(3, NAMES)
    assert strata.top_features(3, VOCABULARY) == strata.top_features(3, NAMES)
    explained = [str(strata.explain(X, strata=STRATA, feature_names=names)) for names in (VOCABULARY, NAMES)]
    assert explained[0] == explained[1] and "yak" in explained[0]
    words = model.top_features(3, NAMES)
    assert (coherence(words, X, feature_names=VOCABULARY) == coherence(words, X, feature_names=NAMES)).all()
    assert Start(model.components_, feature_names=VOCABULARY).feature_names.tolist() == NAMES
    pages = [tmp_path / "a.html", tmp_path / "b.html"]
    for page, names in zip(pages, (VOCABULARY, NAMES), strict=True):
        write_report(model, page, feature_names=names)
    assert pages[0].read_text() == pages[1].read_text()
    texts = [
        [text.get_text() for ax in panels for text in (*ax.texts, *ax.get_yticklabels())]
        for panels in (plot_top_features(model.components_, names, "ab", 3) for names in (VOCABULARY, NAMES))
    ]
    assert texts[0] == texts[1] and any("yak" in text or "zebra" in text for text in texts[0])


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        (set(NAMES), TypeError, "feature_names is a set"),
        (frozenset(NAMES), TypeError, "feature_names is a frozenset"),
        (VOCABULARY.keys(), TypeError, "feature_names is a dict_keys"),
        ("abcdef", TypeError, "feature_names is a str"),
        (np.array([NAMES]), TypeError, "feature_names is a ndarray"),
        ({name: 0 for name in NAMES}, ValueError, "feature_names is a vocabulary that does not"),
        ({name: column + 1 for name, column in VOCABULARY.items()}, ValueError, "vocabulary that does not"),
        ({"a": 0}, ValueError, "feature_names has 1 names for 6 features"),
    ],
)
def test_what_names_no_columns_is_refused(names, error, words, tmp_path):
    model = NMF(2, **SAME).fit(matrix())
    for use in (
        lambda: model.top_features(2, names),
        lambda: model.save(tmp_path / "m.npz", names),
        lambda: coherence(model.components_, matrix(), feature_names=names),
        lambda: write_report(model, tmp_path / "r.html", feature_names=names),
    ):
        with pytest.raises(error, match=words):
            use()


def test_the_names_of_the_fit_in_another_order_are_refused(tmp_path):
    model = NMF(2, **SAME).fit(frame())
    for use in (
        lambda: model.top_features(2, NAMES[::-1]),
        lambda: write_report(model, tmp_path / "r.html", feature_names=NAMES[::-1]),
        lambda: coherence(model.components_, frame(), feature_names=NAMES[::-1]),
    ):
        with pytest.raises(ValueError, match="a different order"):
            use()
    assert model.top_features(1, list("abcdef"))[0][0] in "abcdef"  # other names may be shown
    words = model.top_features(3)
    assert (coherence(words, cells()) == coherence(words, matrix(), feature_names=NAMES)).all()


@pytest.mark.parametrize("form", FORMS)
def test_consensus_and_select_rank_keep_names_and_named_seeds(form):
    X = FORMS[form][0]()
    plain = X.X if form == "AnnData" else X.to_numpy()
    named, numbered = (NMF(2, seed_features=seeds, **SAME) for seeds in ({0: ["yak", "cat"]}, {0: [1, 4]}))
    options = {"n_runs": 3, "density_threshold": 2, "random_state": 0}
    found = [
        consensus(given, n_components=2, estimator=each, **options) for given, each in ((X, named), (plain, numbered))
    ]
    assert (found[0].model.components_ == found[1].model.components_).all()
    assert found[0].model.feature_names_in_.tolist() == NAMES and not hasattr(found[1].model, "feature_names_in_")
    assert {word for row in found[0].model.top_features(2) for word in row} <= set(NAMES)
    with pytest.raises(ValueError, match="(?i)feature names"):
        found[0].model.transform(FORMS[form][1](X, NAMES[::-1]))
    chosen = [
        select_rank(given, ranks=[2, 3], estimator=each, n_folds=2, n_restarts=2, random_state=0)
        for given, each in ((X, named), (plain, numbered))
    ]
    assert (chosen[0].stability == chosen[1].stability).all()
    with pytest.raises(ValueError, match="'emu', which is not a feature of X"):
        consensus(X, n_components=2, estimator=NMF(2, seed_features=[["emu"]]), **options)
