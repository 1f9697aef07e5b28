"""The report after fits with several factors, a design, an exposure, and with components of single strata."""

import json
import re
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import nnls
from test_report import EVIL, check_alone

from fastnmf import AffineNMF, StratifiedNMF, metrics, write_report, write_tables
from fastnmf.report.charts import lines
from fastnmf.report.facts import gather

N, M = 90, 16
RNG = np.random.default_rng(0)
SITES = np.array(["north", "east", "south"])[np.arange(N) % 3]
ROWS = pd.DataFrame({"site": SITES, "year": 2000 + np.arange(N) // 3 % 5})
SHORT = {"max_iter": 30, "tol": 0, "random_state": 0}


def planted():
    site, year = RNG.gamma(0.5, 1, (3, M)), RNG.gamma(0.5, 1, (5, M))
    shift = site[np.arange(N) % 3] + year[ROWS["year"].to_numpy() - 2000]
    return shift + RNG.gamma(0.6, 1, (N, 2)) @ RNG.gamma(0.6, 1, (2, M)) + RNG.random((N, M)) / 10


X = planted()


@pytest.fixture(scope="module")
def crossed():
    return StratifiedNMF(2, **SHORT).fit(X, strata=ROWS)


def test_page_of_crossed_factors_shows_what_the_model_found(tmp_path, crossed):
    facts = gather(crossed, X, None, None, None, strata=ROWS)
    assert [stratum.label for stratum in facts.strata] == crossed.shift_names_.tolist()
    assert [stratum.level for stratum in facts.strata[1:4]] == ["east", "north", "south"]
    members = {factor.name: factor.members for factor in facts.factors}
    assert members == {"site": [1, 2, 3], "year": [4, 5, 6, 7, 8]}
    found = crossed.explain(X, strata=ROWS)
    assert [factor.gain for factor in facts.factors] == [factor.gain for factor in found.factors]
    for stratum in facts.strata[1:]:
        name, level = stratum.label.split("=")
        mine = (ROWS[name].astype(str) == level).to_numpy()
        assert stratum.n_rows == mine.sum() and all(mine[row.number] for row in stratum.rows)
        np.testing.assert_allclose(stratum.usage, metrics.component_usage(crossed.W_[mine], crossed.components_)[0])
    site, year = facts.factors
    assert site.positions is None and not site.courses
    np.testing.assert_array_equal(year.positions, np.arange(2000, 2005))
    spread = np.square(crossed.shifts_[4:] - crossed.shifts_[4:].mean(axis=0)).sum(axis=0)  # years have 18 rows each
    assert year.features == [f"feature {j}" for j in np.argsort(-spread)[:5]]
    np.testing.assert_array_equal(year.courses[0][1], crossed.shifts_[4:, np.argmax(spread)])
    shares = dict(facts.alternatives)
    assert shares["without site"] == pytest.approx(1 - found.loss**2 / (1 - found.factors[0].gain))
    Z = crossed._fitted_design().encode(ROWS, None, None, N).toarray()
    left = sum(nnls(Z, column)[1] ** 2 for column in X.T)
    assert shares["the factors alone"] == pytest.approx(1 - left / np.square(X).sum(), abs=1e-3)
    page = write_report(crossed, tmp_path / "r.html", X=X, strata=ROWS).read_text("utf-8")
    reader = check_alone(page)
    said = " ".join(" ".join(reader.text).split())
    for part in ("crossed by site (3 levels) and year (5 levels)", "Do these data need site ? Yes", "effect of year"):
        assert part in said.replace("  ", " ")
    assert reader.tags.count("optgroup") == 4 and reader.tags.count("polyline") >= 5


def test_page_without_the_rows_of_the_factors_says_what_is_missing(tmp_path, crossed):
    facts = gather(crossed, X, None, None, None)
    assert facts.strata[1].usage is None and not facts.alternatives
    page = write_report(crossed, tmp_path / "r.html", X=X).read_text("utf-8")
    check_alone(page)
    assert "<code>strata=</code>, as in the fit" in page and "Who uses what" not in page
    check_alone(write_report(crossed, tmp_path / "r.html").read_text("utf-8"))


def test_names_of_factors_are_text(tmp_path):
    strata = {EVIL[0]: np.array(EVIL[1:4])[np.arange(N) % 3], EVIL[1]: ROWS["year"].to_numpy()}
    model = StratifiedNMF(2, **SHORT).fit(X, strata=strata)
    names = [f"{EVIL[j % len(EVIL)]} {j}" for j in range(M)]
    reader = check_alone(
        write_report(model, tmp_path / "r.html", X=X, strata=strata, feature_names=names).read_text("utf-8")
    )
    said = " ".join(" ".join(reader.text).split())
    assert all(evil in said for evil in EVIL[:3])


def test_a_design_an_exposure_and_dates_have_pages(tmp_path):
    x = np.linspace(0, 1, N)
    design = pd.DataFrame({"low": 1 - x, "high": x})
    model = StratifiedNMF(2, **SHORT).fit(X, design=design)
    facts = gather(model, X, None, None, None, design=design)
    assert [name for name, *_ in facts.removed] == ["low", "high"] and facts.strata[0].usage is None
    check_alone(write_report(model, tmp_path / "r.html", X=X, design=design).read_text("utf-8"))
    given = {"strata": ROWS["site"], "exposure": 1 + x}
    model = StratifiedNMF(2, **SHORT).fit(X, **given)
    facts = gather(model, X, None, None, None, **given)
    mine = (ROWS["site"] == "east").to_numpy()
    np.testing.assert_allclose(facts.strata[0].usage, metrics.component_usage(model.W_[mine], model.components_)[0])
    assert dict(facts.alternatives)["the groups alone"] > dict(facts.alternatives)["one mean row for all"] - 0.05
    check_alone(write_report(model, tmp_path / "r.html", X=X, **given).read_text("utf-8"))
    days = {"day": np.datetime64("2020-01-01") + ROWS["year"].to_numpy() % 5, "site": ROWS["site"]}
    factor = gather(StratifiedNMF(1, **SHORT).fit(X, strata=days), None, None, None, None).factors[0]
    assert np.diff(factor.positions).tolist() == [1, 1, 1, 1]
    assert factor.ticks[0] == (factor.positions[0], "2020-01-01")


@pytest.mark.parametrize("own", [{"n_own": {"east": 2}}, {"own": "tied"}], ids=["own", "tied"])
def test_components_of_single_strata_are_listed_with_them(tmp_path, own):
    model = StratifiedNMF(2, **own, **SHORT).fit(X, strata=ROWS["site"])
    facts = gather(model, X, None, None, None)
    east = facts.strata[0]
    assert east.label == "east" and len(east.own) == 2 and facts.is_tied == ("own" in own)
    mine = (ROWS["site"] == "east").to_numpy()
    shared = model.W_[mine] @ model.components_
    parts = list(zip(model.W_[mine].T, model.own_components_["east"], strict=True))
    if not facts.is_tied:
        parts = list(zip(model.own_W_[mine].toarray().T, model.own_components_["east"], strict=True))
    whole = shared.sum() + sum(np.outer(u, g).sum() for u, g in parts)
    for topic in east.own:
        u, g = parts[topic.number]
        assert topic.share == pytest.approx(np.outer(u, g).sum() / whole)
        np.testing.assert_array_equal(topic.words.values, g[topic.words.at])
        assert 10 <= len(topic.words.names) <= M or (g > 0).sum() < 10
    found = model.explain(X, strata=ROWS["site"]).strata[0]
    assert east.by_own == found.by_own
    page = write_report(model, tmp_path / "r.html", X=X).read_text("utf-8")
    check_alone(page)
    sent = json.loads(facts.embedded)["own"]
    assert len(sent) == len(facts.own) and page.count('data-list="own.') == len(facts.own)


def test_tables_of_designs_and_of_own_components(tmp_path, crossed):
    files = write_tables(crossed, tmp_path / "crossed")
    shifts = pd.read_csv(tmp_path / "crossed" / "shifts.csv", index_col="feature")
    np.testing.assert_allclose(shifts["year=2003"], crossed.shifts_[7])
    strata = json.loads(files[-1].read_text())["strata"]
    assert strata["intercept"] == N and strata["site=east"] == N // 3
    model = StratifiedNMF(2, n_own={"east": 1}, **SHORT).fit(X, strata=ROWS["site"])
    write_tables(model, tmp_path / "own")
    own = pd.read_csv(tmp_path / "own" / "own_components.csv", index_col="feature")
    np.testing.assert_allclose(own["east own_0"], model.own_components_["east"][0])


@pytest.mark.parametrize(
    "model, given, said",
    [
        ("crossed", {"strata": ROWS["site"]}, "fitted with the factors site, year"),
        ("crossed", {"strata": ROWS[:10]}, "10 labels for 90 rows"),
        ("crossed", {"design": np.ones((N, 2))}, "fitted with strata; pass strata="),
        ("plain", {"strata": ROWS["site"]}, "keeps the labels of its rows; leave it out"),
        ("affine", {"exposure": np.ones(N)}, "leave it out"),
    ],
)
def test_what_does_not_match_the_fit_is_refused(tmp_path, crossed, model, given, said):
    models = {"crossed": crossed}
    if model == "plain":
        models[model] = StratifiedNMF(1, **SHORT).fit(X, strata=ROWS["site"])
    if model == "affine":
        models[model] = AffineNMF(1, **SHORT).fit(X)
    with pytest.raises(ValueError, match=said):
        write_report(models[model], tmp_path / "r.html", X=X, **given)


def test_names_beside_lines_do_not_meet():
    drawn = lines(np.arange(3), [(f"n{i}", np.array([0, 1, 5 + i / 1000])) for i in range(5)], None, "x", "y", "what")
    ends = sorted(float(y) for y in re.findall(r'<text class="line\d" x="\d+" y="([\d.]+)"', drawn))
    styles = resources.files("fastnmf.report").joinpath("page.css").read_text("utf-8")
    dashes = dict(re.findall(r"\.(line\d) \{[^}]*stroke-dasharray: ([\d. ]+);", styles))
    for number in range(1, 5):  # one line has no dashes; a piece of each stands before its name
        assert f"line{number}" in dashes and drawn.count(f'<path class="line{number}"') == 1
    assert len(set(dashes.values())) == 4
    assert len(ends) == 5 and np.diff(ends).min() >= 15 - 0.1 and lines(np.array([1.0]), [], None, "x", "y", "w") == ""


@pytest.mark.parametrize("value", [0, 100])
def test_data_that_the_factors_explain_by_themselves_have_a_page(tmp_path, value):
    A = np.full((N, 4), value, object)
    model = StratifiedNMF(1, **SHORT | {"max_iter": 2}).fit(A, strata=ROWS)
    write_report(model, tmp_path / "page.html", X=A, strata=ROWS)
