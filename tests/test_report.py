"""The report as a file: complete, self-contained, harmless whatever the labels hold, and right."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from importlib import resources
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from fastnmf import NMF, HierarchicalNMF, MiniBatchStratifiedNMF, StratifiedNMF, datasets, metrics, write_report
from fastnmf.report.charts import curve
from fastnmf.report.facts import MOST_STRATA, gather

EVIL = (
    "<script>document.title='gotcha'</script>",
    '"><img src=x onerror="document.title=1">',
    "</style></script><b>",
    "' onmouseover='x",
    "nul \x00 bell \x07",
    "half a pair \ud800",
    "&lt;&amp; {braces} $dollar %",
    "\u202eright to left",
)
VOID = {"meta", "link", "input", "br", "path"}


class Reader(HTMLParser):
    """Reads a page: elements, links, identities, text by element; complains where elements are not nested."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(page)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text.append(data)

    def values(self, name):
        return [value for _, key, value in self.attributes if key == name]


@pytest.fixture(scope="module")
def bunch():
    return datasets.make_stratified((30, 20, 25), 40, 3, density=0.4, random_state=0)


@pytest.fixture(scope="module")
def model(bunch):
    labels = np.array(["red", "green", "blue"])[bunch.strata]
    return StratifiedNMF(3, random_state=0, max_iter=40, tol=0).fit(bunch.data, strata=labels)


def page_of(tmp_path, model, **options):
    return write_report(model, tmp_path / "r.html", **options).read_text("utf-8")


def check_alone(page):
    """Check that a page needs and reaches nothing outside itself."""
    reader = Reader(page)
    assert reader.tags.count("script") == 1 and reader.tags.count("style") == 1
    assert not {"img", "iframe", "object", "embed", "base", "audio", "video", "source"} & set(reader.tags)
    assert not reader.values("src") and not [n for _, n, _ in reader.attributes if n.startswith("on")]
    addresses = [value for name in ("href", "xlink:href", "action", "data", "poster") for value in reader.values(name)]
    assert addresses and all(value.startswith("#") or value == "data:," for value in addresses)
    ids = reader.values("id")
    assert len(ids) == len(set(ids)) and {a[1:] for a in addresses if a.startswith("#")} <= set(ids)
    style = re.search(r"<style>(.*?)</style>", page, re.S)[1]
    assert "url(" not in style and "@import" not in style
    (policy,) = [value for value in reader.values("content") if value.startswith("default-src 'none'")]
    script = re.search(r"<script>(.*?)</script>", page, re.S)[1]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]
    return reader


@pytest.mark.parametrize("with_X", [True, False])
def test_page_is_whole_and_alone(tmp_path, bunch, model, with_X):
    page = page_of(tmp_path, model, X=bunch.data if with_X else None)
    reader = check_alone(page)
    assert "http://" not in page and "https://" not in page and "//" not in re.sub(r"^\s*//.*$", "", page, flags=re.M)
    said = " ".join(reader.text)
    for label in ("red", "green", "blue", "Who uses what", "Diagnostics", "In the shift", "Above the other strata"):
        assert label in said
    assert ("Do these data need strata?" in said) == with_X and ("NPMI" in said) == with_X
    assert reader.tags.count("article") == 6 and reader.tags.count("svg") == 1


def test_whatever_names_hold_is_text(tmp_path, bunch):
    labels = np.array(EVIL[:3])[bunch.strata]
    names = [f"{EVIL[j % len(EVIL)]} {j}" for j in range(40)]
    model = StratifiedNMF(3, random_state=0, max_iter=40, tol=0).fit(bunch.data, strata=labels)
    rows = [f"{EVIL[i % len(EVIL)]} {i}" for i in range(75)]
    page = page_of(tmp_path, model, X=bunch.data, feature_names=names, row_names=rows, title=EVIL[0])
    reader = check_alone(page)
    said = " ".join(" ".join(reader.text).split())
    for evil in (*EVIL[:3], EVIL[6]):
        assert evil in said  # as text, to be read
    assert not re.search(r"[\x00-\x08\x0b\x0e-\x1f]", page)


def test_page_shows_what_the_model_found(bunch, model):
    names = [f"w{j}" for j in range(40)]
    facts = gather(model, bunch.data, names, None, None)
    labels = model.strata_[model.row_strata_]
    usage = metrics.component_usage(model.W_, model.components_, labels)
    found = model.explain(bunch.data, strata=labels, n=5, feature_names=names)
    assert facts.verdict == found.verdict and facts.n_nonzeros == bunch.data.count_nonzero()
    for i, stratum in enumerate(facts.strata):
        assert stratum.label == model.strata_[i] and stratum.n_rows == (labels == model.strata_[i]).sum()
        assert stratum.shift.names[:5] == model.top_features(5, names, by="weight").strata[stratum.label]
        assert stratum.above.names[:5] == found.strata[i].features == model.top_features(5, names).strata[stratum.label]
        np.testing.assert_array_equal(stratum.above.values[:5], found.strata[i].differences)
        np.testing.assert_array_equal(stratum.usage, usage[i])
        assert (stratum.explained, stratum.by_shift) == (found.strata[i].explained, found.strata[i].by_shift)
        assert stratum.rows and all(row.stratum == stratum.label for row in stratum.rows)
    npmi = metrics.coherence(model.components_, bunch.data)
    for c, topic in enumerate(facts.topics):
        assert topic.words.names[:5] == model.top_features(5, names).components[c] and topic.npmi == npmi[c]
        assert [row.number for row in topic.rows] == model.top_samples(5)[c].tolist()
        assert [share for _, share in topic.usage] == sorted(usage[:, c], reverse=True)
        row = bunch.data[[topic.rows[0].number]].toarray().ravel()
        assert topic.rows[0].text.split() == [names[j] for j in np.argsort(-row, kind="stable")[:8] if row[j] > 0]
    assert sum(topic.share for topic in facts.topics) == pytest.approx(1)
    assert facts.kkt == metrics.kkt_residual(bunch.data, model.W_, model.components_, model.shifts_, labels)


def test_names_come_from_frames_and_annotated_data(tmp_path, bunch):
    names = [f"w{j}" for j in range(40)]
    frame = pd.DataFrame(bunch.data.toarray(), columns=names)
    obs = pd.DataFrame({"batch": bunch.strata})
    annotated = SimpleNamespace(X=bunch.data, obs=obs, var_names=names)
    for X, strata in ((frame, bunch.strata), (annotated, "batch")):
        model = StratifiedNMF(2, random_state=0, max_iter=20, tol=0).fit(X, strata=strata)
        facts = gather(model, X, None, None, None)
        assert facts.verdict and set(facts.topics[0].words.names) <= set(names)


def test_other_data_are_noticed(bunch, model):
    facts = gather(model, bunch.data[::-1], None, None, None)
    assert facts.verdict is None and facts.kkt is None and "other data" in facts.notes[0]


@pytest.mark.parametrize(
    "fit",
    [
        lambda X, s: NMF(2, random_state=0).fit(X),
        lambda X, s: NMF(2, random_state=0, solver="mu", beta_loss="kullback-leibler", max_iter=5, tol=0).fit(X),
        lambda X, s: StratifiedNMF(2, random_state=0, solver="mu", beta_loss=1, max_iter=5, tol=0).fit(X, strata=s),
        lambda X, s: StratifiedNMF(2, random_state=0).fit(X.toarray()),
        lambda X, s: StratifiedNMF(2, random_state=0, max_iter=5, tol=0, strata_weight="equal").fit(X, strata=s),
        lambda X, s: StratifiedNMF(2, random_state=0, missing_values="zeros", max_iter=5, tol=0).fit(X, strata=s),
        lambda X, s: StratifiedNMF(2, random_state=0).partial_fit(X, strata=s),
        lambda X, s: StratifiedNMF(2, random_state=0).fit(X, strata=s).partial_fit(X[:30], strata=s[:30]),
        lambda X, s: MiniBatchStratifiedNMF(2, random_state=0, max_iter=2, tol=0).fit(X, strata=s),
        lambda X, s: StratifiedNMF(2, random_state=0).fit(X * 0, strata=s),
    ],
    ids=["NMF", "KL", "strata-KL", "one-stratum", "weights", "missing", "partial", "both", "batches", "zeros"],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_model_has_a_page(tmp_path, bunch, fit):
    strata = bunch.strata.astype(float)  # whose labels are numbers
    model = fit(bunch.data, strata)
    for X in (None, bunch.data, bunch.data.toarray()):
        page = page_of(tmp_path, model, X=X)
        said = " ".join(Reader(page).text)
        assert "Topics" in said and "nan" not in said


def test_page_of_many_strata_shows_the_largest(tmp_path):
    sizes = np.where(np.arange(MOST_STRATA + 40) % 10 == 0, 1, 2)
    strata = np.repeat(np.arange(len(sizes)), sizes)
    X = sp.random_array((len(strata), 30), density=0.2, rng=np.random.default_rng(0), format="csr")
    model = StratifiedNMF(2, random_state=0, max_iter=3, tol=0).fit(X, strata=strata)
    facts = gather(model, None, None, None, None)
    assert len(facts.strata) == MOST_STRATA and "250 largest of 290" in facts.notes[0]
    assert all(stratum.n_rows == 2 for stratum in facts.strata) and sizes.min() == 1
    assert [stratum.code for stratum in facts.strata] == sorted(stratum.code for stratum in facts.strata)
    check_alone(page_of(tmp_path, model))


def test_dead_and_equal_topics_are_told(tmp_path, model):
    import copy

    other = copy.copy(model)
    other.components_ = model.components_[[0, 0, 1]]
    other.W_ = model.W_ * [1, 1, 0]
    said = " ".join(" ".join(Reader(page_of(tmp_path, other)).text).split())
    assert "Topics that are nearly the same: 1 and 2 (cosine 1.00)" in said and "Dead topics" in said


def test_bad_input_is_one_sentence(tmp_path, bunch, model):
    for arguments, message in (
        ({"feature_names": ["a"]}, "1 names for 40 features"),
        ({"row_names": ["a"]}, "1 names for 75 rows"),
        ({"X": bunch.data[:, :5]}, "fitted to 40 features"),
        ({"X": bunch.data[:5]}, "5 rows; the model was fitted to 75"),
    ):
        with pytest.raises(ValueError, match=message):
            write_report(model, tmp_path / "r.html", **arguments)
    with pytest.raises(ValueError, match="call fit"):
        write_report(StratifiedNMF(), tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_page_of_newsgroups_is_small(tmp_path, data_home):
    news = datasets.load_newsgroups(data_home=data_home)
    model = StratifiedNMF(20, random_state=0, max_iter=1, tol=0).fit(news.data, strata=news.strata)
    write_report(model, tmp_path / "r.html", feature_names=news.feature_names)
    assert 100_000 < (tmp_path / "r.html").stat().st_size < 3_000_000


def test_curve_keeps_the_ends_and_says_what_it_shows():
    x = np.arange(5000)
    drawn = curve(x, 1 / (x + 1.0), "iteration", "loss", "It falls.")
    points = re.search(r'points="([^"]*)"', drawn)[1].split()
    assert len(points) <= 300 and 'aria-label="It falls."' in drawn
    ends = np.array([[float(v) for v in point.split(",")] for point in (points[0], points[-1])])
    assert ends[0, 0] < ends[1, 0] and ends[0, 1] < ends[1, 1]  # down is large in SVG
    labels = re.findall(r'text-anchor="end">([^<]*)<', drawn)
    assert "0.001" in labels  # three powers of ten: a logarithmic axis
    for flat in ([2.0, 2.0], [0.0, 0.0], [np.inf, 1.0, 2.0]):
        assert "nan" not in curve(np.arange(len(flat)), flat, "x", "y", "")
    assert curve([1], [1], "x", "y", "") == "" and curve([0, 1], [np.nan, 1], "x", "y", "") == ""


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_can_be_read(scheme):
    style = resources.files("fastnmf.report").joinpath("page.css").read_text("utf-8")
    block = re.findall(r":root \{(.*?)\}", style, re.S)[scheme]
    colours = {name: value for name, value in re.findall(r"--(\w+): #(\w{6});", block)}

    def luminance(name):
        parts = np.array([int(colours[name][at : at + 2], 16) for at in (0, 2, 4)]) / 255
        parts = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return parts @ [0.2126, 0.7152, 0.0722]

    for ink in ("ink", "muted", "topic", "stratum"):
        for paper in ("paper", "card"):
            dark, light = sorted((luminance(ink), luminance(paper)))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)  # WCAG 2, 1.4.3, level AA


def test_a_hierarchy_is_told_as_its_tree(tmp_path):
    X = np.kron(np.eye(4), np.ones((3, 2))) + 0.5 * np.kron(np.eye(2), np.ones((6, 4)))
    model = HierarchicalNMF((4, 2), random_state=0).fit(X)
    names = [f"word<{j}>" for j in range(8)]
    page = write_report(model, tmp_path / "r.html", X=X, feature_names=names).read_text("utf-8")
    assert "Topics of topics" in page and page.count('<ul class="tree">') == 3 and "<0>" not in page
    tree = page[page.index('<ul class="tree">') : page.index("</section>", page.index('<ul class="tree">'))]
    for topic in range(1, 5):
        assert tree.count(f'href="#topic-{topic}"') == 1 and f'id="topic-{topic}"' in page
    assert f"{100 * (1 - model.level_errors_[0] ** 2):.1f}" in page  # of the squared norm, by the finest level
