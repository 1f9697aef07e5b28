"""The command line with several factors: ``--strata site --strata year``."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from test_cli_workflow import run, table

import fastnmf
from fastnmf import StratifiedNMF, load
from fastnmf.cli import plotting
from fastnmf.cli.commands import main

N, M = 48, 12
FIT = ["--components", "2", "--seed", "0", "--max-iter", "8", "--quiet"]
CROSSED = ["--strata", "site", "--strata", "year"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with rows.csv (48 rows of 12 numbers, a site and a year), files of labels, and a model."""
    folder, rng = tmp_path_factory.mktemp("crossed"), np.random.default_rng(0)
    site, year = np.array(["east", "west"])[np.arange(N) % 2], 2000 + np.arange(N) // 2 % 3
    X = (
        rng.gamma(0.5, 1, (N, M))
        + 3 * (site == "east")[:, None] * rng.random(M)
        + (year[:, None] - 2000) * rng.random(M)
    )
    frame = pd.DataFrame(X, columns=[f"word{j}" for j in range(M)])
    frame.assign(site=site, year=year).to_csv(folder / "rows.csv", index=False)
    depth = 0.5 + np.arange(N) % 4
    frame.assign(site=site, year=year, depth=depth).to_csv(folder / "depths.csv", index=False)
    (folder / "depth.txt").write_text("\n".join(map(str, depth)) + "\n")
    sp.save_npz(folder / "x.npz", sp.csr_array(X))
    (folder / "site.txt").write_text("\n".join(site) + "\n")
    np.save(folder / "year.npy", year)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", "rows.csv", *CROSSED, *FIT, "-o", "model.npz"]) == 0
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_a_repeated_option_gives_crossed_factors(capsys):
    model, found = load("model.npz"), fastnmf.read("rows.csv", strata=["site", "year"])
    assert list(found.strata) == ["site", "year"] and found.data.shape == (N, M)
    want = StratifiedNMF(2, random_state=0, max_iter=8).fit(found.data, strata=found.strata)
    assert model.shift_names_.tolist() == want.shift_names_.tolist()
    np.testing.assert_array_equal(model.shifts_, want.shifts_)
    assert list(model.source_["strata"]) == ["site", "year"]
    again = fastnmf.read("rows.csv", source=model.source_)
    assert again.strata["year"].tolist() == found.strata["year"].tolist()
    code, out, _ = run(capsys, "transform", "model.npz", "rows.csv", "-o", "-")  # the file knows the columns
    rows = table(out)
    assert code == 0 and [*rows[0]] == ["row", "site", "year", "topic_0", "topic_1"] and rows[0]["site"] == "east"
    W = np.array([[float(row["topic_0"]), float(row["topic_1"])] for row in rows])
    np.testing.assert_allclose(W, want.transform(found.data, strata=found.strata))


def test_commands_that_read_a_crossed_model(capsys):
    code, out, _ = run(capsys, "top", "model.npz", "-n", 2, "--json")
    top = json.loads(out)
    assert code == 0 and [*top["strata"]][:2] == ["intercept", "site=east"] and len(top["components"]) == 2
    code, out, _ = run(capsys, "explain", "model.npz", "--data", "rows.csv", "-n", 3)
    assert code == 0 and "Which factors do I need? site: " in out
    code, _, _ = run(capsys, "report", "model.npz", "--data", "rows.csv", "-o", "r.html")
    with open("r.html", encoding="utf-8") as file:
        page = file.read()
    assert code == 0 and "crossed by" in page and "Do these data need <bdi>site</bdi>?" in page
    code, _, _ = run(capsys, "export", "model.npz", "-o", "tables")
    with open("tables/strata.csv", encoding="utf-8") as file:
        assert code == 0 and len(list(csv.DictReader(file))) == 6


def test_a_plot_of_effects_needs_a_factor(capsys):
    pytest.importorskip("matplotlib")
    code, _, err = run(capsys, "plot", "model.npz", "--kind", "effects", "-o", "e.png")
    assert code == 2 and "several factors; give one of them, --factor 'site' or --factor 'year'." in err


def test_a_plot_of_strata_has_a_panel_for_each_shift(capsys):
    pytest.importorskip("matplotlib")
    model = load("model.npz")
    panels = plotting._strata(model, None, {})
    assert [panel.get_title(loc="left") for panel in panels] == model.shift_names_.tolist()


def test_files_of_labels_and_a_file_of_options(capsys, tmp_path):
    files = ["--strata", "site.txt", "--strata", "year.npy"]
    assert run(capsys, "fit", "x.npz", *files, *FIT, "-o", tmp_path / "m.npz")[0] == 0
    want, found = load("model.npz"), load(tmp_path / "m.npz")
    np.testing.assert_array_equal(found.shifts_, want.shifts_)
    assert found.shift_names_.tolist() == want.shift_names_.tolist() and found.source_["strata"] is None
    (tmp_path / "fit.toml").write_text('strata = ["site", "year"]\ncomponents = 2\nseed = 0\nmax_iter = 8\n')
    config = ["--config", tmp_path / "fit.toml", "--quiet", "-o", tmp_path / "m.npz"]
    assert run(capsys, "fit", "rows.csv", *config)[0] == 0
    np.testing.assert_array_equal(load(tmp_path / "m.npz").shifts_, want.shifts_)
    assert run(capsys, "fit", "rows.csv", *config, "--strata", "site", "--set", "n_own=1")[0] == 0  # replaces both
    model = load(tmp_path / "m.npz")
    assert model.strata_.tolist() == ["east", "west"] and model.n_features_in_ == M + 1  # the year is a feature
    code, out, _ = run(capsys, "top", tmp_path / "m.npz", "-n", 2)
    assert code == 0 and "Components of single strata" in out and "east 0" in out


@pytest.mark.parametrize("strata", [["site"], ["site", "year"]], ids=["one", "crossed"])
def test_an_exposure(capsys, tmp_path, strata):
    options = [word for name in strata for word in ("--strata", name)]
    given = [*options, "--exposure", "depth", "--quiet", "-o", tmp_path / "m.npz"]
    assert run(capsys, "fit", "depths.csv", *FIT, *given)[0] == 0
    model, found = load(tmp_path / "m.npz"), fastnmf.read("depths.csv", strata=strata, exposure="depth")
    rows = {"strata": found.strata, "exposure": found.exposure}
    want = StratifiedNMF(2, random_state=0, max_iter=8).fit(found.data, **rows)
    assert "depth" not in found.feature_names and found.exposure[:2].tolist() == [0.5, 1.5]
    np.testing.assert_array_equal(model.shifts_, want.shifts_)
    assert model.source_["exposure"] == "depth"
    code, out, _ = run(capsys, "transform", tmp_path / "m.npz", "depths.csv", "-o", "-")  # the file knows the column
    W = np.array([[float(row["topic_0"]), float(row["topic_1"])] for row in table(out)])
    assert code == 0
    np.testing.assert_allclose(W, want.transform(found.data, **rows))
    code, out, _ = run(capsys, "explain", tmp_path / "m.npz", "--data", "depths.csv", "-n", 3)
    assert code == 0 and "Which factors do I need? " in out
    assert run(capsys, "top", tmp_path / "m.npz", "-n", 2)[0] == 0
    code, _, err = run(capsys, "transform", tmp_path / "m.npz", "rows.csv", "-o", "-")
    assert code == 2 and "'depth' is not a column" in err or "fitted with an exposure; pass" in err
    if strata == ["site"]:  # the year is a feature
        return
    code, _, _ = run(capsys, "report", tmp_path / "m.npz", "--data", "depths.csv", "-o", tmp_path / "r.html")
    assert code == 0 and "examples" in (tmp_path / "r.html").read_text(encoding="utf-8").lower()
    files = [word for name in strata for word in ("--strata", {"site": "site.txt", "year": "year.npy"}[name])]
    given = [*files, "--exposure", "depth.txt", "--quiet", "-o", tmp_path / "f.npz"]
    assert run(capsys, "fit", "x.npz", *FIT, *given)[0] == 0
    np.testing.assert_array_equal(load(tmp_path / "f.npz").shifts_, want.shifts_)
    code, _, err = run(capsys, "fit", "x.npz", *FIT, *files, "--exposure", "depth.txt", "-o", "depth.txt")
    assert code == 2 and "depth.txt" in err


def test_mini_batches_of_crossed_factors(capsys, tmp_path):
    kind = ["--model", "MiniBatchStratifiedNMF", "--set", "batch_size=20"]
    assert (
        run(capsys, "fit", "depths.csv", *CROSSED, "--exposure", "depth", *kind, *FIT, "-o", tmp_path / "m.npz")[0] == 0
    )
    model, found = load(tmp_path / "m.npz"), fastnmf.read("depths.csv", strata=["site", "year"], exposure="depth")
    want = fastnmf.MiniBatchStratifiedNMF(2, batch_size=20, random_state=0, max_iter=8)
    want.fit(found.data, strata=found.strata, exposure=found.exposure)
    np.testing.assert_array_equal(model.shifts_, want.shifts_)
    code, out, _ = run(capsys, "explain", tmp_path / "m.npz", "--data", "depths.csv")
    assert code == 0 and "Which factors do I need? site: " in out


def test_selection_takes_several_factors(capsys):
    ranks = ["--ranks", "1,2", "--folds", "2", "--restarts", "0", "--max-iter", "5", "--seed", "0", "--quiet"]
    code, out, _ = run(capsys, "select-rank", "rows.csv", *CROSSED, *ranks, "--json")
    found = json.loads(out)
    direct = fastnmf.read("rows.csv", strata=["site", "year"])
    want = fastnmf.select_rank(
        direct.data, direct.strata, [1, 2], n_folds=2, n_restarts=0, random_state=0, estimator=StratifiedNMF(max_iter=5)
    )
    assert code == 0 and found["held_out"] == want.held_out.tolist()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["fit", "rows.csv", "--strata", "site", "--strata", "yaer", "-o", "m.npz"], "did you mean 'year'"),
        (["fit", "rows.csv", "--strata", "site", "--strata", "site", "-o", "m.npz"], "names a factor twice"),
        (["fit", "rows.csv", *CROSSED, "--classes", "--model", "SemiSupervisedNMF", "-o", "m.npz"], "one --strata"),
        (["fit", "rows.csv", *CROSSED, "--model", "AffineNMF", "-o", "m.npz"], "does not use strata"),
        (["fit", "depths.csv", "--exposure", "dpeth", "-o", "m.npz"], "did you mean 'depth'"),
        (["fit", "rows.csv", "--exposure", "site", "-o", "m.npz"], "has no number: 'site' is 'east'"),
        (["fit", "x.npz", "--exposure", "site.txt", "-o", "m.npz"], "site.txt has 'east'; expected a number"),
        (["fit", "depths.csv", "--exposure", "depth", "--model", "NMF", "-o", "m.npz"], "does not use an exposure"),
        (["select-strata", "depths.csv", "--strata", "site", "--exposure", "depth"], "leave --exposure out"),
        (["select-strata", "rows.csv", *CROSSED], "select_strata compares models of one"),
        (["fit", "x.npz", "--strata", "site.txt", "--strata", "nowhere.txt", "-o", "m.npz"], "nowhere.txt"),
    ],
)
def test_wrong_factors_are_refused_with_a_sentence(capsys, arguments, said):
    code, _, err = run(capsys, *arguments, "--quiet")
    assert code == 2 and said in err and err.count("\n") == 1


def test_new_data_that_lack_a_factor_are_refused(capsys, tmp_path):
    pd.read_csv("rows.csv").drop(columns="year").to_csv(tmp_path / "new.csv", index=False)
    code, _, err = run(capsys, "transform", "model.npz", tmp_path / "new.csv", "-o", "-")
    assert code == 2 and "'year' is not a column of" in err
    pd.read_csv("rows.csv").drop(columns=["site", "year"]).to_csv(tmp_path / "new.csv", index=False)
    code, _, err = run(capsys, "transform", "model.npz", tmp_path / "new.csv", "-o", "-")
    assert code == 2 and "fitted with the factors site, year" in err


def test_read_takes_several_factors_of_every_kind_of_file(tmp_path):
    lines = ["user,item,rating,country,age", "ann,x,3,de,30", "bob,y,1,at,40", "ann,y,2,de,30"]
    (tmp_path / "ratings.csv").write_text("\n".join(lines) + "\n")
    found = fastnmf.read(tmp_path / "ratings.csv", triplets="user,item,rating", strata=["country", "age"])
    assert {name: labels.tolist() for name, labels in found.strata.items()} == {
        "country": ["de", "at"],
        "age": [30, 40],
    }
    assert list(found.source["strata"]) == ["country", "age"] and found.data.shape == (2, 2)
    of_matrix = fastnmf.read("x.npz", strata={"half": np.arange(N) // 24, "site": ["a", "b"] * 24})
    assert [*of_matrix.strata] == ["half", "site"] and of_matrix.source["strata"] is None
    depths = fastnmf.read("x.npz", exposure=np.arange(N)).exposure
    assert depths.dtype == np.float64 and depths[3] == 3
    more = "user,item,rating,depth\nann,x,3,2.5\nbob,y,1,4\nann,y,2,2.5\n"
    (tmp_path / "depths.csv").write_text(more)
    ratings = fastnmf.read(tmp_path / "depths.csv", triplets="user,item,rating", exposure="depth")
    assert ratings.exposure.tolist() == [2.5, 4.0] and ratings.source["exposure"] == "depth"
    (tmp_path / "depths.csv").write_text(more + "bob,x,1,5\n")
    with pytest.raises(ValueError, match="two exposures, '4' and '5'; .* one exposure"):
        fastnmf.read(tmp_path / "depths.csv", triplets="user,item,rating", exposure="depth")
    one = fastnmf.read("rows.csv", strata=["site"])
    assert one.strata.tolist() == fastnmf.read("rows.csv", strata="site").strata.tolist()
    turned = fastnmf.read("x.npz", transpose=True, strata=["a", "b"] * 6)  # labels, as ever
    assert turned.strata.tolist() == ["a", "b"] * 6
    anndata = pytest.importorskip("anndata")
    obs = pd.DataFrame(
        {"batch": ["p", "q"] * 3, "donor": [1, 2, 3] * 2, "depth": 2.0}, index=[f"cell{i}" for i in range(6)]
    )
    anndata.AnnData(X=np.ones((6, 2), np.float32), obs=obs).write_h5ad(tmp_path / "cells.h5ad")
    cells = fastnmf.read(tmp_path / "cells.h5ad", strata=["batch", "donor"], exposure="depth")
    assert cells.exposure.tolist() == [2.0] * 6
    assert cells.strata["donor"].tolist() == [1, 2, 3] * 2 and list(cells.source["strata"]) == ["batch", "donor"]
