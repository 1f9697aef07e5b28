"""The report as a file: complete, self-contained, harmless whatever the labels hold, and right."""

import base64
import hashlib
import json
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
from fastnmf.report.wording import wording_of

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


def data_of(page):
    """Return the data block that the script reads."""
    return re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1]


def check_alone(page):
    """Check that a page needs and reaches nothing outside itself."""
    reader = Reader(page)
    assert reader.tags.count("script") == 2 and reader.tags.count("style") == 1
    assert [value for tag, name, value in reader.attributes if tag == "script" and name == "type"] == [
        "application/json"
    ]
    json.loads(data_of(page))
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
    for label in (
        "red",
        "green",
        "blue",
        "Who uses what",
        "Diagnostics",
        "Features of its shift",
        "Can it be trusted?",
    ):
        assert label in said
    for label in ("Do these data need their groups?", "NPMI", "One mean row for each group", "Rows like it"):
        assert (label in said) == with_X
    assert reader.tags.count("article") == 6 and reader.tags.count("svg") == 2


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


def ranked(weights, X, weight):
    """Return columns in the order of relevance, and their lifts, by the formulas of Sievert and Shirley 2014."""
    p, q = weights / weights.sum(), np.asarray(X.sum(axis=0)).ravel() / X.sum()
    used = np.flatnonzero(p > 0)
    scores = [weight * np.log(p[j]) + (1 - weight) * np.log(p[j] / q[j]) for j in used]
    order = used[np.argsort(-np.array(scores), kind="stable")]
    return order.tolist(), (p[order] / q[order]).tolist()


def nearest(X, weights, members):
    """Return the row of `members` with the largest cosine to `weights`, among those of at least median length."""
    rows = X.toarray()
    lengths = [np.count_nonzero(rows[i]) for i in members]
    found = [
        (-(rows[i] @ weights) / np.linalg.norm(rows[i]) / np.linalg.norm(weights), i)
        for i, length in zip(members, lengths, strict=True)
        if length >= np.median(lengths)
    ]
    return min(found)


def test_page_shows_what_the_model_found(bunch, model):
    names = [f"w{j}" for j in range(40)]
    facts = gather(model, bunch.data, names, None, None)
    labels = model.strata_[model.row_strata_]
    usage = metrics.component_usage(model.W_, model.components_, labels)
    overall = metrics.component_usage(model.W_, model.components_)[0]
    found = model.explain(bunch.data, strata=labels, n=5, feature_names=names)
    assert facts.verdict == found.verdict and facts.n_nonzeros == bunch.data.count_nonzero()
    sent = json.loads(facts.embedded)
    for i, stratum in enumerate(facts.strata):
        assert stratum.label == model.strata_[i] and stratum.n_rows == (labels == model.strata_[i]).sum()
        np.testing.assert_array_equal(stratum.usage, usage[i])
        np.testing.assert_allclose(stratum.lifts, usage[i] / overall)
        assert (stratum.explained, stratum.by_shift) == (found.strata[i].explained, found.strata[i].by_shift)
        assert stratum.rows and all(row.stratum == stratum.label for row in stratum.rows)
    lists = [(topic.words, model.components_[c], sent["topics"][c]) for c, topic in enumerate(facts.topics)]
    lists += [(stratum.words, model.shifts_[i], sent["groups"][i]) for i, stratum in enumerate(facts.strata)]
    for words, weights, (total, places, values) in lists:
        order, lifts = ranked(weights, bunch.data, 0.6)
        assert words.names[:10] == [names[j] for j in order[:10]]
        np.testing.assert_allclose(words.lifts[:10], lifts[:10])
        np.testing.assert_allclose(words.values, weights[words.at])
        for weight in (0.1, 0.3, 1):  # wherever the slider stands, its first ten are there
            assert set(ranked(weights, bunch.data, weight)[0][:10]) <= set(words.at.tolist())
        sent_weights = dict(zip([sent["words"][place] for place in places], values, strict=True))
        assert total == pytest.approx(weights.sum(), rel=1e-2)
        for name, value in zip(words.names, words.values, strict=True):
            assert sent_weights[name] == pytest.approx(value, rel=1e-2)
    npmi = metrics.coherence(model.components_, bunch.data)
    for c, topic in enumerate(facts.topics):
        assert topic.npmi == npmi[c]
        cosine, row = nearest(bunch.data, model.components_[c], range(75))
        assert topic.rows[0].number == row and topic.rows[0].cosine == pytest.approx(-cosine)
        assert [share for _, share, _ in topic.usage] == sorted(usage[:, c], reverse=True)
        row = bunch.data[[topic.rows[0].number]].toarray().ravel()
        assert topic.rows[0].title.split() == [names[j] for j in np.argsort(-row, kind="stable")[:8] if row[j] > 0]
    specific = model.top_features(1, names).strata
    for i, stratum in enumerate(facts.strata):
        assert [stratum.most_specific] == specific[model.strata_[i]]
        assert (
            stratum.rows[0].number == nearest(bunch.data, model.shifts_[i], np.flatnonzero(labels == stratum.label))[1]
        )
    assert sum(topic.share for topic in facts.topics) == pytest.approx(1)
    assert facts.kkt == metrics.kkt_residual(bunch.data, model.W_, model.components_, model.shifts_, labels)
    X = bunch.data.toarray()
    means = np.array([X[labels == label].mean(axis=0) for label in model.strata_])[model.row_strata_]
    assert dict(facts.alternatives)["one mean row for each group"] == pytest.approx((means**2).sum() / (X**2).sum())


def test_a_topic_marks_only_the_groups_that_use_it_more_than_others():
    """Group "a" alone uses the second topic; all use the first, most of all."""
    W = np.array([[3.0, 2.0]] * 4 + [[3.0, 0.0]] * 12)
    X = W @ np.array([[1.0, 1, 0, 0], [0, 0, 1, 1]])
    model = StratifiedNMF(2, random_state=0).fit(X, strata=["a"] * 4 + ["b"] * 12)
    model.W_, model.components_ = W, np.array([[1.0, 1, 0, 0], [0, 0, 1, 1]])
    first, second = gather(model, None, None, None, None).strata
    assert (first.marked_by, second.marked_by) == (1, None) and second.usage[0] == 1
    assert first.lifts[1] == pytest.approx(0.4 / (8 / 56))


def test_divergences_get_all_sections():
    counts = datasets.simulate_counts(n_cells=60, n_genes=30, n_batches=2, random_state=0)
    options = {"solver": "mu", "beta_loss": "kullback-leibler", "max_iter": 60, "tol": 0, "random_state": 0}
    model = StratifiedNMF(3, **options).fit(counts.data, strata=counts.batch)
    facts = gather(model, counts.data, None, None, None, "cells")
    found = model.explain(counts.data, strata=counts.batch)
    assert facts.verdict == found.verdict and facts.strata[1].by_shift == found.strata[1].by_shift
    X, total = counts.data.toarray(), counts.data.sum()

    def divergence(X, models):
        return sum(x * np.log(x / y) for x, y in zip(X.ravel(), models.ravel(), strict=True) if x > 0)

    null = np.outer(X.sum(axis=1), X.sum(axis=0)) / total
    own = np.zeros(X.shape)
    for label in np.unique(counts.batch):
        part = X[counts.batch == label]
        own[counts.batch == label] = np.outer(part.sum(axis=1), part.sum(axis=0)) / part.sum()
    share = 1 - divergence(X, own) / divergence(X, null)
    assert dict(facts.alternatives)["one profile for each group"] == pytest.approx(share)
    assert dict(facts.alternatives)["this model"] == pytest.approx(1 - model.normalized_loss_**2)
    plain = NMF(3, **options).fit(counts.data)
    assert len(gather(plain, counts.data, None, None, None).alternatives) == 1
    assert "other data" in gather(plain, counts.data[::-1], None, None, None).notes[0]


def test_ratings_are_compared_with_means_of_what_is_known():
    ratings = datasets.simulate_ratings(60, 20, n_strata=2, random_state=0, n_ratings=500)
    model = StratifiedNMF(2, missing_values="zeros", alpha_W=0.1, random_state=0, max_iter=20, tol=0)
    facts = gather(model.fit(ratings.data, strata=ratings.strata), ratings.data, None, None, None, "ratings")
    X, left = ratings.data.toarray(), 0.0
    for label in np.unique(ratings.strata):
        part = X[ratings.strata == label]
        for column in part.T:
            known = column[column > 0]
            left += np.square(known - known.mean()).sum() if len(known) else 0.0
    found = dict(facts.alternatives)
    assert found["the mean of each item in each group"] == pytest.approx(1 - left / np.square(X).sum())
    assert found["this model"] > found["the mean of each item in each group"] and "not checked here" in facts.notes[0]


def test_flags_of_topics_and_shifts_are_told(tmp_path):
    rng = np.random.default_rng(0)
    X = (rng.random((80, 120)) < 0.02).astype(float)
    X[:, :4] = rng.random((80, 4)) < 0.8  # words of all rows
    X[:12, 30:42] = 1  # one text, twelve times
    strata = np.repeat(["a", "b"], 40)
    model = StratifiedNMF(2, random_state=0, max_iter=5, tol=0).fit(sp.csr_array(X), strata=strata)
    common, copied = np.zeros((2, 120))
    common[:4], copied[30:42] = 1, 1
    model.components_, model.W_ = np.array([copied, common]), np.array([copied, common]).dot(X.T).T / 4
    model.shifts_ = np.array([copied, common + 0.1])
    facts = gather(model, sp.csr_array(X), None, None, None)
    assert [kind for kind, _ in facts.topics[0].flags] == ["repeated text"] == [k for k, _ in facts.strata[0].flags]
    assert [kind for kind, _ in facts.topics[1].flags] == ["function words"]
    assert set(facts.topics[0].flags[0][1]) <= set(range(12)) and facts.strata[0].marked_by is None
    said = " ".join(" ".join(Reader(page_of(tmp_path, model, X=sp.csr_array(X), kind="text")).text).split())
    assert "Topic 0 : repeated text." in said and "common in all kinds of documents" in said


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text", ("Words", "topics", "documents")),
        ("cells", ("Genes", "programmes", "cells")),
        (None, ("Features", "components")),
    ],
)
def test_the_page_speaks_the_words_of_the_field(tmp_path, bunch, model, kind, words):
    said = " ".join(Reader(page_of(tmp_path, model, X=bunch.data, kind=kind)).text)
    assert all(word in said for word in words) and (" component" in said.lower()) == (kind is None)


def test_the_kind_follows_from_how_the_data_were_read(bunch):
    for source, want in (({"kind": "texts"}, "text"), ({"kind": "triplets"}, "ratings"), ({"kind": "matrix"}, "rows")):
        assert wording_of(None, SimpleNamespace(source_=source), None).kind == want
    assert wording_of(None, SimpleNamespace(), SimpleNamespace(X=0, obs=0, var_names=0)).kind == "cells"
    assert wording_of("ratings", SimpleNamespace(source_={"kind": "texts"}), None).topics == "factors"


def test_titles_and_texts_of_examples(bunch, model):
    titles, texts = [f"title {i // 2}" for i in range(75)], ["long " * 400] * 75
    facts = gather(model, bunch.data, None, titles, None, None, texts)
    for part in (*facts.topics, *facts.strata):
        assert len({row.title for row in part.rows}) == len(part.rows) > 1  # equal ones are shown once
        assert all(row.text.startswith("long long") and 900 < len(row.text) <= 1000 for row in part.rows)


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
        assert "Components" in said and "nan" not in said.replace("dominant", "")


def test_page_of_many_strata_shows_the_largest(tmp_path):
    sizes = np.where(np.arange(MOST_STRATA + 40) % 10 == 0, 1, 2)
    strata = np.repeat(np.arange(len(sizes)), sizes)
    X = sp.random_array((len(strata), 30), density=0.2, rng=np.random.default_rng(0), format="csr")
    model = StratifiedNMF(2, random_state=0, max_iter=3, tol=0).fit(X, strata=strata)
    facts = gather(model, None, None, None, None)
    assert len(facts.strata) == MOST_STRATA and "250 largest of 290 groups" in facts.notes[0]
    assert all(stratum.n_rows == 2 for stratum in facts.strata) and sizes.min() == 1
    assert [stratum.code for stratum in facts.strata] == sorted(stratum.code for stratum in facts.strata)
    page = page_of(tmp_path, model)
    check_alone(page)
    small = [stratum for stratum in np.flatnonzero(sizes == 1)]
    assert "40 smaller groups" in page and f'<th scope="row">{small[0]}</th>' in page


def test_dead_and_equal_topics_are_told(tmp_path, model):
    import copy

    other = copy.copy(model)
    other.components_ = model.components_[[0, 0, 1]]
    other.W_ = model.W_ * [1, 1, 0]
    said = " ".join(" ".join(Reader(page_of(tmp_path, other)).text).split())
    assert "Components that are nearly the same: 0 and 1 (cosine 1.00)" in said and "Dead components" in said


def test_bad_input_is_one_sentence(tmp_path, bunch, model):
    for arguments, message in (
        ({"feature_names": ["a"]}, "1 names for 40 features"),
        ({"row_names": ["a"]}, "1 names for 75 rows"),
        ({"row_texts": ["a"]}, "1 texts for 75 rows"),
        ({"kind": "genes"}, "kind='genes' is not known; expected one of 'text', 'cells'"),
        ({"X": bunch.data[:, :5]}, "fitted to 40 features"),
        ({"X": bunch.data[:5]}, "5 rows; the model was fitted to 75"),
    ):
        with pytest.raises(ValueError, match=message):
            write_report(model, tmp_path / "r.html", **arguments)
    with pytest.raises(TypeError, match="row_texts is 'a'; expected a list"):
        write_report(model, tmp_path / "r.html", row_texts="a")
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

    for ink in ("ink", "muted", "topic", "stratum", "good"):
        for paper in ("paper", "card"):
            dark, light = sorted((luminance(ink), luminance(paper)))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)  # WCAG 2, 1.4.3, level AA


def test_a_hierarchy_is_told_as_its_tree(tmp_path):
    X = np.kron(np.eye(4), np.ones((3, 2))) + 0.5 * np.kron(np.eye(2), np.ones((6, 4)))
    model = HierarchicalNMF((4, 2), random_state=0).fit(X)
    names = [f"word<{j}>" for j in range(8)]
    page = write_report(model, tmp_path / "r.html", X=X, feature_names=names).read_text("utf-8")
    assert "Components of components" in page and page.count('<ul class="tree">') == 3 and "<0>" not in page
    tree = page[page.index('<ul class="tree">') : page.index("</section>", page.index('<ul class="tree">'))]
    for topic in range(4):
        assert tree.count(f'href="#topic-{topic}"') == 1 and f'id="topic-{topic}"' in page
    assert f"{100 * (1 - model.level_errors_[0] ** 2):.1f}" in page  # of the squared norm, by the finest level
