"""Names, flags and merging of topics, and words of groups, over fitted models."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from estimators import counts

import fastnmf
from fastnmf import NMF, HierarchicalNMF, StratifiedNMF, load, write_report
from fastnmf.metrics import flag_topics, group_words, merge_topics, rename_topics, topic_names
from fastnmf.report.facts import gather


def corpus(seed=0):
    """Return texts of three subjects and chat, in which function words are everywhere; 12 end in a signature."""
    rng = np.random.default_rng(seed)
    subjects, per_subject = ("chat", "sea", "sun", "sky"), 80
    names = [f"say{j}" for j in range(8)] + [f"sign{j}" for j in range(8)]
    names += [f"{subject}{j}" for subject in subjects[1:] for j in range(per_subject)]
    X = np.zeros((320, len(names)))
    X[:, :8] = rng.random((320, 8)) < np.where(np.arange(320) < 80, 0.7, 0.15)[:, None]
    for subject in range(1, 4):
        rows = np.arange(subject * 80, subject * 80 + 80)
        words = slice(16 + (subject - 1) * per_subject, 16 + subject * per_subject)
        X[rows, words] = rng.random((80, per_subject)) < np.linspace(0.4, 0.01, per_subject)
    X[80::20, 8:16] = 3
    lengths = np.linalg.norm(X, axis=1, keepdims=True)
    return sp.csr_array(X / np.where(lengths > 0, lengths, 1)), names, np.repeat(subjects, 80)


@pytest.fixture(scope="module")
def model():
    X, names, _ = corpus()
    found = NMF(5, random_state=0, max_iter=400).fit(X)
    found.feature_names_in_ = np.array(names, dtype=object)
    return found


def test_a_signature_and_function_words_are_flagged(model):
    X, names, _ = corpus()
    flags = flag_topics(model, X)
    (copied,) = (flag for flag in flags if "sign1" in flag.words)
    spoken = next(flag for flag in flags if flag.kind == "function words")
    assert copied.kind == "repeated text" and not any("sky1" in flag.words[:3] for flag in flags)
    assert sum(word.startswith("sign") for word in copied.words) == 8 and set(copied.rows) >= set(range(80, 320, 20))
    assert sum(word.startswith("say") for word in spoken.words) >= 6 and 0.5 <= spoken.value <= 1
    for flag in flags:
        text = str(flag)
        assert text.startswith(f"Topic {flag.topic} ({flag.words[0]}") and text.endswith("and fit again.")
    dense = flag_topics(model, X.toarray(), feature_names=names)
    assert [(flag.topic, flag.kind, flag.rows) for flag in dense] == [
        (flag.topic, flag.kind, flag.rows) for flag in flag_topics(model, X)
    ]


def test_copies_are_flagged_and_dense_measurements_are_not():
    rng = np.random.default_rng(0)
    X = np.zeros((90, 28))
    X[:80, :24] = np.kron(np.eye(2), np.ones((40, 12))) * (rng.random((80, 24)) < 0.4)
    X[80:, 24:] = [4, 3, 2, 1]  # ten copies
    (flag,) = flag_topics(NMF(3, random_state=0, max_iter=500).fit(X), X)
    assert flag.kind == "repeated text" and flag.words[:4] == ["24", "25", "26", "27"]
    assert set(flag.rows) == set(range(80, 90))
    measured = rng.random((60, 10)) + 5  # all rows are alike, and all features are everywhere
    assert not flag_topics(NMF(3, random_state=0).fit(measured), measured)


def test_flags_refuse_what_is_not_the_training_data(model):
    X, _, _ = corpus()
    with pytest.raises(
        ValueError, match=r"X has shape \(100, 256\), but this NMF was fitted to 320 rows of 256 features"
    ):
        flag_topics(model, X[:100])
    with pytest.raises(ValueError, match="keeps no weights of rows; give its training data"):
        flag_topics(SimpleNamespace(components_=model.components_), X)
    with pytest.raises(ValueError, match="NaN, infinity or negative"):
        flag_topics(model, -X)
    with pytest.raises(ValueError, match="n_rows must be at least 2"):
        flag_topics(model, X, n_rows=1)
    tree = HierarchicalNMF((4, 2), random_state=0, max_iter=20).fit(X)
    assert isinstance(flag_topics(tree, X), list)


def test_names_prefer_what_no_other_topic_has():
    H = np.array([[5.0, 4, 0, 1], [5, 0, 3, 1], [0, 0, 0, 0]])
    names = ["the", "ice", "sun", "of"]
    assert topic_names(H, 2, feature_names=names) == ["ice the", "sun the", "(nothing)"]
    assert topic_names(H, 1, by="weight", feature_names=names) == ["the", "the", "(nothing)"]
    assert topic_names(SimpleNamespace(components_=H), 1, by="contrast", feature_names=names)[:2] == ["ice", "sun"]
    assert topic_names(H, 1) == ["1", "2", "(nothing)"]
    with pytest.raises(ValueError, match="by='share' is not known"):
        topic_names(H, by="share")


def test_names_are_kept_and_shown(model, tmp_path):
    X, _, _ = corpus()
    named = rename_topics(model, topic_names(model))
    assert not hasattr(model, "topic_names_") and named.topic_names_.tolist() == topic_names(model)
    renamed = rename_topics(named, {1: "<harbour>"})
    assert [renamed.topic_names_[topic] for topic in (0, 1)] == [topic_names(model)[0], "<harbour>"]
    assert rename_topics(model, {1: "harbour"}).topic_names_.tolist() == ["0", "harbour", "2", "3", "4"]
    renamed.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    assert again.topic_names_.tolist() == renamed.topic_names_.tolist()
    assert "<harbour>" in again.summary() and gather(again, None, None, None, None).topics[1].name == "<harbour>"
    assert "&lt;harbour&gt;" in write_report(again, tmp_path / "report.html").read_text()
    assert not hasattr(again.fit(X), "topic_names_")  # other topics
    for names, sentence in (
        (["a"], "names has 1 entries for 5 topics; give one for each, or a dict."),
        ({7: "x"}, "7 is not a topic; they have the numbers 0 to 4."),
    ):
        with pytest.raises(ValueError, match=sentence):
            rename_topics(model, names)
    with pytest.raises(TypeError, match="names has 'abcde'; expected a list of texts"):
        rename_topics(model, "abcde")


def test_merged_topics_keep_the_sum_of_the_approximation(model, tmp_path):
    X, names, _ = corpus()
    merged = merge_topics(rename_topics(model, list("abcde")), [[3, 1]])
    assert merged.components_.shape == (4, 256) and merged.W_.shape == (320, 4) and merged.n_components == 4
    assert merged.topic_names_.tolist() == ["a", "b + d", "c", "e"] and model.components_.shape == (5, 256)
    np.testing.assert_array_equal(merged.components_[[0, 2, 3]], model.components_[[0, 2, 4]])
    np.testing.assert_array_equal(merged.W_[:, [0, 2, 3]], model.W_[:, [0, 2, 4]])
    before, after = (each.W_.sum(axis=0) @ each.components_ for each in (model, merged))
    np.testing.assert_allclose(after, before, rtol=1e-12)
    amounts = model.W_[:, [1, 3]] * model.components_[[1, 3]].sum(axis=1)
    np.testing.assert_allclose(merged.W_[:, 1] * merged.components_[1].sum(), amounts.sum(axis=1), rtol=1e-12)
    assert merged.transform(X).shape == (320, 4) and not hasattr(merged, "normalized_loss_")
    assert "4 topics" in merged.summary() and "fastnmf-model" in merged._repr_html_()
    merged.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(load(tmp_path / "model.npz").transform(X), merged.transform(X))
    gather(merged, None, None, None, None)
    assert merged.fit(X).components_.shape == (4, 256)
    one = merge_topics(model, [0, 1, 2, 3, 4])
    assert one.components_.shape == (1, 256)
    np.testing.assert_allclose(one.W_.sum(axis=0) @ one.components_, before, rtol=1e-12)


def test_merging_of_strata_and_of_other_models():
    X, strata = counts(30, 6), np.arange(30) % 3
    model = StratifiedNMF(3, random_state=0, max_iter=20, tol=0).fit(X, strata=strata)
    merged = merge_topics(model, [[0, 2]])
    assert merged.transform(X, strata=strata).shape == (30, 2)
    np.testing.assert_array_equal(merged.shifts_, model.shifts_)
    assert merged.top_features(2).strata == model.top_features(2).strata
    graph = merge_topics(fastnmf.GraphNMF(3, random_state=0, max_iter=5, tol=0).fit(X), [0, 1])
    assert graph.transform(X).shape == (30, 2)
    foreign = pytest.importorskip("sklearn.decomposition").NMF(3, init="random", random_state=0, max_iter=500).fit(X)
    assert merge_topics(foreign, [0, 1]).transform(X).shape == (30, 2)
    for kind in ("PLSA", "HierarchicalNMF", "SemiNMF", "ConvolutiveNMF", "DeepNMF"):
        parameters = {"n_components": (3, 2)} if kind in ("HierarchicalNMF", "DeepNMF") else {"n_components": 3}
        other = getattr(fastnmf, kind)(**parameters, random_state=0, max_iter=5).fit(X)
        with pytest.raises(TypeError, match=f"{kind} reads more than its components_"):
            merge_topics(other, [0, 1])
    for groups in ([[0]], [[0, 1], [1, 2]], [0, 0]):
        with pytest.raises(ValueError, match="each must have two topics or more, and none may be there twice"):
            merge_topics(model, groups)
    with pytest.raises(ValueError, match="3 is not a topic"):
        merge_topics(model, [0, 3])


def test_words_of_groups_have_their_lift():
    X, names, strata = corpus()
    for data in (X, X.toarray()):
        found = group_words(data, strata, 6, feature_names=np.array(names, dtype=object))
        assert list(found) == ["chat", "sea", "sky", "sun"]
        for label, words in found.items():
            assert len(words) == 6 and all(word.startswith("say" if label == "chat" else label) for word, _ in words)
            if label == "chat":
                continue
            share = X[strata == label].sum() / X.sum()
            for _, ratio in words:  # words of this group alone
                assert ratio == pytest.approx(1 / share)
    dense, j = X.toarray(), names.index("say0")
    lifts = {
        label: dict(words)["say0"]
        for label, words in group_words(X, strata, 200, feature_names=names).items()
        if "say0" in dict(words)
    }
    for label, ratio in lifts.items():
        rows = dense[strata == label]
        assert ratio == pytest.approx(rows[:, j].sum() / rows.sum() / (dense[:, j].sum() / dense.sum()))
    assert lifts and all(ratio > 1 for ratio in lifts.values())
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(dense, columns=names).assign(group=strata)
    assert group_words(frame, "group", 6) == group_words(X, strata, 6, feature_names=names)
    with pytest.raises(ValueError, match="NaN, infinity or negative"):
        group_words(-X, strata)


def test_newsgroups_have_a_signature_among_their_topics(data_home):
    from fastnmf.datasets import load_newsgroups

    bunch = load_newsgroups(data_home=data_home, download_if_missing=False)
    model = NMF(20, random_state=0, max_iter=40).fit(bunch.data)
    flags = flag_topics(model, bunch.data, feature_names=bunch.feature_names)
    copied = [flag for flag in flags if flag.kind == "repeated text"]
    assert len(copied) == 1 and {"geb", "dsl", "cadre"} <= set(copied[0].words)
    spoken = {word for flag in flags if flag.kind == "function words" for word in flag.words}
    assert spoken & {"just", "like", "don", "know", "think"} and not spoken & {"god", "windows", "game", "drive", "key"}


@pytest.mark.parametrize("wrong", [2, None, "ab", np.array(1), {"a": 1}, [[0, "b"]], [None], [[0], 1]], ids=repr)
def test_groups_and_names_of_another_kind_are_refused(wrong):
    model = fastnmf.NMF(2, random_state=0).fit(np.eye(3))
    with pytest.raises((TypeError, ValueError), match="groups|topic"):
        merge_topics(model, wrong)
    if not isinstance(wrong, list):
        with pytest.raises((TypeError, ValueError), match="names|topic"):
            rename_topics(model, wrong)


@pytest.mark.parametrize("dtype", [">f8", "float16", ">i4", "bool"])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array, sp.coo_array])
def test_group_words_of_numbers_of_any_type(kind, dtype):
    X = np.array([[3, 0, 1], [0, 2, 1], [4, 0, 0]])
    given = kind(X.astype(np.float64))
    if kind is np.asarray:
        given = given.astype(dtype)
    else:
        given.data = given.data.astype(dtype)  # types that the constructor refuses, too
    want = group_words(X.astype(dtype).astype(np.float64), ["a", "b", "a"])
    assert group_words(given, ["a", "b", "a"]) == want


def test_group_words_refuses_complex_numbers():
    with pytest.raises(ValueError, match="Complex data not supported"):
        group_words(sp.csr_array(np.eye(2) * 1j), ["a", "b"])
