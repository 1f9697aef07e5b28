"""A fitted model as text, as a box in a notebook, and as tables; the box is valid HTML without a user's markup."""

import builtins
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from estimators import every_case
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_html_repr

from fastnmf import NMF, MetaNMF, StratifiedNMF, load, write_report
from fastnmf.metrics import rename_topics

BAD = '<script>alert("x")</script>&\u202e\x1b[2J'


class Tags(HTMLParser):
    """Collect the tags and the text of HTML, and raise where a tag is not closed in order."""

    EMPTY = ("br", "hr", "input", "img")

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.links, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.links += [value for name, value in attributes if name == "href"]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.text += data


def box(model):
    """Return our part of what a notebook shows."""
    whole = model._repr_mimebundle_()["text/html"]
    plain = estimator_html_repr(model)
    start = whole.rindex('<div class="fastnmf-model"')
    assert "sk-top-container" in plain and "sk-top-container" in whole[:start]
    return whole[start:]


@pytest.fixture
def model():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.poisson(2.0, (30, 6)), np.arange(30) % 3 == 0]).astype(float)
    return StratifiedNMF(2, random_state=0, max_iter=20, tol=0).fit(X, strata=np.repeat(["a", BAD], 15))


@every_case
def test_every_model_shows_itself(case):
    pandas = pytest.importorskip("pandas")
    X = case.draw()
    unfitted = case.make()
    assert "fastnmf-model" not in unfitted._repr_html_()
    for read in (unfitted.summary, unfitted.to_frames):
        with pytest.raises(sklearn.exceptions.NotFittedError):
            read()
    model = case.fit(X)
    text, page = model.summary(), Tags(box(model))
    assert repr(text) == text and text.startswith(f"{case.kind} of ") and all(map(str.isprintable, text.splitlines()))
    assert (
        f"Normalized loss {model.normalized_loss_:.5g}" in text
        and f"Normalized loss {model.normalized_loss_:.5g}" in page.text
    )
    frames = model.to_frames(feature_names=[f"word{j}" for j in range(X.shape[1])])
    assert all(isinstance(frame, pandas.DataFrame) for frame in frames.values())
    assert len(frames.history) == len(next(iter(model.history_.values())))
    components = getattr(model, "components_", None)
    if isinstance(components, np.ndarray) and components.ndim == 2:
        np.testing.assert_array_equal(frames.topics.to_numpy(), components)
        assert frames.topics.index.tolist() == [f"{case.kind.lower()}{topic}" for topic in range(len(components))]
        assert "Topics" in text and "Topics" in page.text
    if hasattr(model, "W_"):
        np.testing.assert_array_equal(frames.weights.to_numpy(), model.W_)


def test_the_text_says_what_a_reader_asks(model):
    names = ["red", "green", "blue", "cyan", "pink", "grey", "black"]
    lines = model.summary(2, names).splitlines()
    share = 1 - model.normalized_loss_**2
    assert lines[0] == "StratifiedNMF of 30 rows x 7 features in 2 strata: 2 topics."
    assert (
        lines[1] == f"Normalized loss {model.normalized_loss_:.5g}, {100 * share:.1f} % of the squared norm explained."
    )
    assert re.fullmatch(r"20 iterations in [\d.]+ s; stopped because all were run\.", lines[2])
    shares = [float(number) for line in lines[5:7] for number in re.findall(r"([\d.]+) %", line)]
    assert sum(shares) == pytest.approx(100, abs=0.11)  # two roundings to a tenth
    for line, words in zip(lines[5:7], model.top_features(2, names).components, strict=True):
        assert line.endswith(" ".join(words))
    specific = model.top_features(2, names).strata
    assert lines[-1].endswith(f"15  {' '.join(specific['a'])}".rstrip()) or " ".join(specific["a"]) in lines[-1]
    assert "\x1b" not in model.summary() and "\u202e" not in model.summary()
    stopped = NMF(1, random_state=0, max_time=1e-9).fit(np.eye(3)).summary()
    assert "stopped because max_time was reached" in stopped
    assert "converged" in NMF(1, random_state=0).fit(np.eye(3)).summary()


def test_markup_of_users_has_no_effect(model):
    model.feature_names_in_ = np.array([BAD + str(j) for j in range(7)], dtype=object)
    shown = box(rename_topics(model, [BAD, "<b>"]))
    page = Tags(shown)
    assert not {"script", "b"} & set(page.seen) and "alert" in page.text
    assert "<script" not in shown and "\u202e" not in shown and "\x1b" not in shown


def test_the_box_is_small_and_leaves_colours_to_the_page():
    rng = np.random.default_rng(0)
    X, strata = rng.poisson(1.0, (200, 30)).astype(float), np.arange(200) % 40
    shown = box(StratifiedNMF(20, random_state=0, max_iter=3, tol=0).fit(X, strata=strata))
    assert len(shown) < 12_000 and "and 8 more" in shown and "and 28 more" in shown
    colours = set(re.findall(r"(?:color|background)(?:-color)?:([^;\"]+)", shown))
    assert colours <= {"inherit", "none"}  # so it can be read in dark mode
    assert "<style" not in shown


def test_the_box_links_to_the_report(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "write_report" in box(model)
    write_report(model, "a report.html")
    assert Tags(box(model)).links == ["a%20report.html"]
    model.save("model.npz")
    assert "write_report" in box(load("model.npz"))  # the page may not be there where the file is read
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    (link,) = Tags(box(model)).links
    assert link == (tmp_path / "a report.html").as_uri()
    (tmp_path / "a report.html").unlink()
    assert not Tags(box(model)).links
    model.fit(np.eye(7), strata=list("aabbccc"))
    assert not hasattr(model, "_report")


def test_boxes_of_others_stay_as_they_are(model):
    pipeline = make_pipeline(model)
    assert "fastnmf-model" not in pipeline._repr_html_()
    with sklearn.config_context(display="text"):
        assert not hasattr(model, "_repr_html_") and "text/html" not in model._repr_mimebundle_()
    model.feature_names_in_ = np.array(["one"], dtype=object)  # no box about attributes that contradict each other
    assert "fastnmf-model" not in model._repr_html_()
    by_hand = NMF(2)
    by_hand.components_ = np.eye(2)
    assert "2 topics" in by_hand.summary() and "2 topics" in box(by_hand)


def test_tables_have_the_names_of_rows_and_topics(model):
    pandas = pytest.importorskip("pandas")
    rows = pandas.Index([f"row{i}" for i in range(30)])
    frames = rename_topics(model, ["one", "two"]).to_frames(row_names=rows)
    assert list(frames) == ["topics", "strata", "weights", "history"]
    assert frames.weights.index.equals(rows) and frames.weights.columns.tolist() == ["one", "two"]
    np.testing.assert_array_equal(frames.weights.to_numpy(), model.W_)
    np.testing.assert_array_equal(frames.strata.to_numpy(), model.shifts_)
    assert frames.strata.index.tolist() == model.strata_.tolist()
    assert frames.history.columns.tolist() == list(model.history_)
    with pytest.raises(ValueError, match="row_names has 3 names for 30 rows"):
        model.to_frames(row_names=["a", "b", "c"])
    with pytest.raises(ValueError, match="a list or an array among its names"):
        model.to_frames(row_names=[["a"]] * 30)
    model.shifts_ = sp.csr_array(model.shifts_)
    assert isinstance(model.to_frames().strata.dtypes.iloc[0], pandas.SparseDtype)


def test_one_sentence_where_pandas_is_missing(model, monkeypatch):
    def without_pandas(name, *args, **kwargs):
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")
        return real(name, *args, **kwargs)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(ImportError, match="^to_frames needs pandas, which is not installed; run pip install"):
        model.to_frames()


def test_models_of_models_show_what_they_have():
    X = np.random.default_rng(0).random((12, 6))
    model = MetaNMF(NMF(2, max_iter=5, tol=0), n_tasks=2, task_size=3, n_outer=2, random_state=0).fit(X)
    assert "topics" in model.summary() and Tags(box(model))
