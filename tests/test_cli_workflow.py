"""The command line as a workflow: a table of texts in, a model, and from it weights, tables, plots and a page."""

import csv
import io
import json
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

import fastnmf
from fastnmf import load
from fastnmf.cli.commands import main
from fastnmf.datasets import make_stratified

WORDS = {"space": "orbit moon rocket launch", "cars": "engine wheel brake dealer", "all": "people think know question"}


@pytest.fixture(scope="module")
def posts(tmp_path_factory):
    """A folder with posts.csv (60 rows), new.csv (6 rows), and a model of the first."""
    folder, rng = tmp_path_factory.mktemp("posts"), np.random.default_rng(0)
    rows = []
    for i in range(66):
        group = ("space", "cars")[i % 2]
        words = rng.choice(WORDS[group].split(), 6).tolist() + rng.choice(WORDS["all"].split(), 5).tolist()
        rows.append({"text": " ".join(words), "group": group, "title": f"Post, number {i}"})
    for name, part in (("posts.csv", rows[:60]), ("new.csv", rows[60:])):
        with open(folder / name, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(part)
    fit = ["fit", "posts.csv", "--text", "text", "--strata", "group", "--title", "title", "--components", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*fit, "--seed", "0", "--max-iter", "20", "--quiet", "-o", "model.npz"]) == 0
    return folder


def run(capsys, *arguments):
    capsys.readouterr()
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse
        code = stop.code
    said = capsys.readouterr()
    return code, said.out, said.err


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_table_of_texts_becomes_a_model_that_knows_its_source(posts):
    model = load(posts / "model.npz")
    assert type(model).__name__ == "StratifiedNMF" and model.strata_.tolist() == ["cars", "space"]
    assert model.source_["text"] == "text" and model.row_names_[1] == "Post, number 1"
    of_space = np.isin(model.feature_names_in_, WORDS["space"].split())
    assert of_space.sum() == 4 and (model.shifts_[1] > model.shifts_[0])[of_space].all()


def test_transform_writes_the_weights_of_the_model(posts, capsys, monkeypatch):
    monkeypatch.chdir(posts)
    command = ["transform", "model.npz", "new.csv", "--text", "text", "--strata", "group"]
    code, out, err = run(capsys, *command, "-o", "weights.csv")
    assert code == 0 and not err and "6 rows for 2 topics" in out
    rows = table((posts / "weights.csv").read_text("utf-8"))
    assert list(rows[0]) == ["row", "stratum", "topic_0", "topic_1"] and rows[0]["row"] == "Post, number 60"
    model, bunch = load("model.npz"), fastnmf.read("new.csv", source=load("model.npz").source_)
    want = model.transform(bunch.data, strata=bunch.strata)
    assert np.array_equal([[float(row[f"topic_{c}"]) for c in (0, 1)] for row in rows], want)
    for ending in ("tsv", "jsonl"):
        assert run(capsys, *command, "-o", f"weights.{ending}")[0] == 0
    line = json.loads((posts / "weights.jsonl").read_text("utf-8").split("\n")[5])
    assert line["topic_1"] == want[5, 1] and (posts / "weights.tsv").read_text("utf-8").count("\t") == 3 * 7
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO((posts / "new.csv").read_bytes())))
    code, out, err = run(capsys, "transform", "model.npz", "-", "-o", "-")
    assert code == 0 and not err and out == (posts / "weights.csv").read_text("utf-8")


def test_export_and_parquet(posts, capsys, monkeypatch):
    monkeypatch.chdir(posts)
    code, out, _ = run(capsys, "export", "model.npz", "-o", "folder")
    model, folder = load("model.npz"), posts / "folder"
    names = {"topics.csv", "components.csv", "strata.csv", "shifts.csv", "weights.csv", "history.csv", "summary.json"}
    assert code == 0 and {path.name for path in folder.iterdir()} == names and all(name in out for name in names)
    tables = {name: table((folder / name).read_text("utf-8")) for name in names if name.endswith(".csv")}
    assert [row["feature"] for row in tables["components.csv"]] == model.feature_names_in_.tolist()
    H = [[float(row[f"topic_{c}"]) for row in tables["components.csv"]] for c in (0, 1)]
    V = [[float(row[label]) for row in tables["shifts.csv"]] for label in ("cars", "space")]
    assert np.array_equal(H, model.components_) and np.array_equal(V, model.shifts_)
    assert [row["row"] for row in tables["weights.csv"]] == model.row_names_.tolist()
    assert [row["stratum"] for row in tables["weights.csv"]] == ["space", "cars"] * 30
    assert sum(float(row["share"]) for row in tables["topics.csv"]) == pytest.approx(1)
    assert [int(row["rows"]) for row in tables["strata.csv"]] == [30, 30] and len(tables["history.csv"]) == 21
    found = json.loads((folder / "summary.json").read_text("utf-8"))
    assert found["normalized_loss"] == model.normalized_loss_ and found["strata"] == {"cars": 30, "space": 30}
    assert found["source"]["text"] == "text" and found["parameters"]["max_iter"] == 20
    (folder / "mine.txt").write_text("kept")
    code, _, err = run(capsys, "export", "model.npz", "--format", "parquet", "-o", "folder")
    if find_spec("pyarrow") is None:
        assert code == 2 and "Parquet needs pyarrow" in err
        return
    import pyarrow.parquet

    found = pyarrow.parquet.read_table(folder / "weights.parquet").to_pydict()
    assert np.array_equal(found["topic_0"], model.W_[:, 0]) and (folder / "mine.txt").exists()


@pytest.mark.parametrize(
    "kind, more",
    [
        ("usage", "--components 1,0"),
        ("topics", "-n 3"),
        ("strata", "--strata space"),
        ("loss", "--style slide"),
        ("map", ""),
        ("rows", "--strata cars"),
        ("dots", "-n 2"),
        ("difference", "--strata cars space"),
        ("shares", "-n 4"),
        ("effects", "-n 3"),
    ],
)
def test_plots(posts, capsys, monkeypatch, kind, more):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(posts)
    code, out, _ = run(capsys, "plot", "model.npz", "--kind", kind, *more.split(), "-o", "plot.png")
    assert code == 0 and "plot.png" in out and (posts / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_report_reads_the_data_as_the_fit_did(posts, capsys, monkeypatch):
    monkeypatch.chdir(posts)
    code, out, err = run(capsys, "report", "model.npz", "--data", "posts.csv", "-o", "report.html")
    page = (posts / "report.html").read_text("utf-8")
    assert code == 0 and not err and "Post, number" in page and "Do these data need their groups?" in page
    assert "60 documents with" in page and "<h1>posts.csv</h1>" in page  # the words of texts
    code, out, _ = run(capsys, "explain", "model.npz", "--data", "posts.csv", "-n", 3)
    assert code == 0 and "Do I need strata? Yes" in out
    code, out, _ = run(capsys, "explain", "model.npz", "--data", "posts.csv", "--json")
    assert code == 0 and [each["label"] for each in json.loads(out)["strata"]] == ["cars", "space"]


def test_select_rank_and_consensus(posts, capsys, monkeypatch):
    monkeypatch.chdir(posts)
    data = ["posts.csv", "--text", "text", "--strata", "group", "--max-iter", "5", "--seed", "0", "--quiet"]
    few = ["--folds", "2", "--restarts", "2"]
    code, out, err = run(capsys, "select-rank", *data, "--ranks", "1,2-3", *few, "-o", "ranks.csv")
    assert code == 0 and "Least loss at rank" in out
    rows = table((posts / "ranks.csv").read_text("utf-8"))
    assert [row["rank"] for row in rows] == ["1", "2", "3"] and 0 < float(rows[0]["held_out"]) < 2
    code, out, _ = run(capsys, "select-rank", *data, "--ranks", "1,2-3", *few, "-o", "-")
    assert code == 0 and [row["held_out"] for row in table(out)] == [row["held_out"] for row in rows]
    code, out, _ = run(capsys, "select-rank", *data, "--ranks", "1,2-3", *few, "--json")
    assert code == 0 and json.loads(out)["rank"] == [1, 2, 3]
    some = ["--components", 2, "--runs", 3, "--density-threshold", 2]
    code, out, _ = run(capsys, "consensus", *data, *some, "-o", "agreed.npz")
    assert code == 0 and "3 runs" in out
    assert load("agreed.npz").source_["text"] == "text" and load("agreed.npz").components_.shape[0] == 2


def test_a_config_holds_options_and_the_command_line_wins(posts, capsys, monkeypatch):
    monkeypatch.chdir(posts)
    (posts / "fit.toml").write_text(
        'text = "text"\nstrata = "group"\ncomponents = 3\nmax_iter = 4\nngram-range = [1, 2]\ncounts = true\n'
        'alpha-W = 0.25\nquiet = true\noutput = "of_config.npz"\n[parameters]\nsweeps = [1, 1, 1]\n'
    )
    code, out, err = run(capsys, "fit", "posts.csv", "--config", "fit.toml", "--components", "2", "--tol=0", "--json")
    model, said = load("of_config.npz"), json.loads(out)
    assert code == 0 and not err and said["n_iter"] == 4 and said["files"] == ["of_config.npz"]
    assert model.n_components == 2 and model.alpha_W == 0.25 and tuple(model.sweeps) == (1, 1, 1)
    assert any(" " in name for name in model.feature_names_in_) and model.source_["vectorizer"]["counts"]


def test_topics_of_function_words_are_told_of(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng, often = np.random.default_rng(0), "the of and to is in it that".split()
    rare = [f"word{j}" for j in range(400)]
    lines = [" ".join([*rng.permutation(often), *rng.choice(rare, 4)]) for _ in range(120)]
    (tmp_path / "x.csv").write_text("text\n" + "\n".join(lines) + "\n")
    command = ["fit", "x.csv", "--text", "text", "--components", "2", "--seed", "0", "-o", "x.npz"]
    code, out, _ = run(capsys, *command)
    assert code == 0 and "of 2 topics are of function words; --stop-words english" in out
    code, out, _ = run(capsys, *command, "--stop-words", "english")
    assert code == 0 and "function words" not in out


def test_other_models_and_losses(posts, capsys, monkeypatch):
    monkeypatch.chdir(posts)
    text = ["posts.csv", "--text", "text", "--quiet", "--components", "2", "--max-iter", "3", "-o", "other.npz"]
    assert run(capsys, "fit", *text)[0] == 0 and type(load("other.npz")).__name__ == "NMF"
    assert run(capsys, "fit", *text, "--beta-loss", "kullback-leibler")[0] == 0
    assert (load("other.npz").solver, load("other.npz").beta_loss) == ("mu", "kullback-leibler")
    assert run(capsys, "fit", *text, "--tfidf", "max")[0] == 0
    assert load("other.npz").source_["vectorizer"]["tfidf"] == "max"
    assert run(capsys, "fit", *text, "--model", "plsa", "--counts", "--n-init", "2")[0] == 0
    assert type(load("other.npz")).__name__ == "PLSA" and load("other.npz").n_init == 2
    classes = ["--model", "SemiSupervisedNMF", "--strata", "group", "--classes", "--set", "label_weight=0.5"]
    assert run(capsys, "fit", *text, *classes)[0] == 0
    assert load("other.npz").classes_.tolist() == ["cars", "space"] and load("other.npz").label_weight == 0.5
    assert run(capsys, "fit", *text[:4], "--model", "HierarchicalNMF", "--components", "4,2", *text[6:])[0] == 0
    assert [len(level) for level in load("other.npz").components_] == [4, 2]
    assert run(capsys, "export", "other.npz", "-o", "levels")[0] == 0
    assert len(table((posts / "levels" / "topics.csv").read_text("utf-8"))) == 4
    assert run(capsys, "plot", "other.npz", "--kind", "tree", "-o", "tree.png")[0] == 0


def test_a_table_larger_than_memory_stays_on_the_disk(posts, capsys, monkeypatch):
    monkeypatch.chdir(posts)
    command = [
        "fit",
        "posts.csv",
        "--text",
        "text",
        "--quiet",
        "--max-iter",
        "3",
        "--components",
        "2",
        "-o",
        "disk.npz",
    ]
    assert run(capsys, *command, "--folder", "disk")[0] == 0 and load("disk.npz").components_.shape[0] == 2
    code, _, err = run(capsys, *command, "--folder", "disk2", "--dtype", "float32")
    assert code == 2 and "leave --dtype or --folder out" in err


def test_fit_writes_tables_too(posts, capsys, monkeypatch):
    monkeypatch.chdir(posts)
    command = ["fit", "posts.csv", "--text", "text", "--quiet", "--max-iter", "3", "--components", "2"]
    code, out, _ = run(capsys, *command, "--export", "tables", "-o", "m.npz")
    assert code == 0 and "tables/: topics.csv" in out and (posts / "tables" / "summary.json").exists()


def test_a_folder_of_10x_and_triplets(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counts = sp.csr_array(make_stratified((20, 20), 8, 2, density=0.5, random_state=0).data).astype(np.int64)
    tenx = tmp_path / "tenx"
    tenx.mkdir()
    scipy.io.mmwrite(tenx / "matrix.mtx", sp.coo_array(counts.T))
    (tenx / "barcodes.tsv").write_text("".join(f"cell{i}\n" for i in range(40)))
    (tenx / "features.tsv").write_text("".join(f"id{j}\tgene{j}\tGene Expression\n" for j in range(8)))
    assert run(capsys, "fit", "tenx/", "--components", 2, "--max-iter", 3, "--quiet", "-o", "tenx.npz")[0] == 0
    model = load("tenx.npz")
    assert model.feature_names_in_[3] == "gene3" and model.row_names_[39] == "cell39"
    lines = [f"u{i},i{j},{1 + (i + j) % 5}" for i in range(12) for j in range(6) if (i * j) % 3 < 2]
    (tmp_path / "ratings.csv").write_text("\n".join(["user,item,rating", *lines]) + "\n")
    ratings = ["fit", "ratings.csv", "--triplets", "user,item,rating", "--missing", "zeros", "--components", "2"]
    assert run(capsys, *ratings, "--max-iter", "3", "--quiet", "-o", "ratings.npz")[0] == 0
    assert load("ratings.npz").missing_values == "zeros" and load("ratings.npz").feature_names_in_[0] == "i0"


def test_cells_by_batch(tmp_path, capsys, monkeypatch):
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    bunch = make_stratified((20, 20), 8, 2, density=0.5, random_state=0)
    obs = pandas.DataFrame({"batch": np.array(["a", "b"])[bunch.strata]}, index=[f"cell{i}" for i in range(40)])
    counts = sp.csr_matrix(np.rint(10 * bunch.data.toarray()))
    anndata.AnnData(sp.csr_matrix(bunch.data), obs=obs, layers={"counts": counts}).write_h5ad("cells.h5ad")
    command = ["fit", "cells.h5ad", "--strata", "batch", "--layer", "counts", "--beta-loss", "kullback-leibler"]
    code, _, err = run(capsys, *command, "--components", 2, "--max-iter", 3, "--quiet", "--seed", 0, "-o", "cells.npz")
    want = fastnmf.StratifiedNMF(2, beta_loss="kullback-leibler", solver="mu", max_iter=3, random_state=0)
    with pytest.warns(Warning):
        want.fit(sp.csr_array(counts), strata=obs["batch"].to_numpy())
    assert code == 0 and load("cells.npz").components_.tobytes() == want.components_.tobytes()
    code, _, err = run(capsys, *command[:3], "bach", "-o", "cells.npz")
    assert code == 2 and "did you mean 'batch'" in err


BAD = [
    (["fit", "posts.csv", "--text", "txt", "-o", "x.npz"], "'txt' is not a column .* did you mean 'text'"),
    (["fit", "posts.csv", "--text", "text", "--strata", "grup", "-o", "x.npz"], "did you mean 'group'"),
    (["fit", "posts.csv", "--text", "text", "-o", "posts.csv"], "posts.csv is both the input and the output"),
    (["fit", "posts.csv", "--text", "text", "-o", "-"], "A model is a file, and - is for tables and JSON"),
    (["fit", "posts.csv", "--text", "text", "--model", "StratifedNMF", "-o", "x.npz"], "did you mean 'StratifiedNMF'"),
    (["fit", "posts.csv", "--text", "text", "--gauge", "max_shift", "-o", "x.npz"], "NMF has no parameter .*gauge"),
    (["fit", "posts.csv", "--text", "text", "--set", "sweps=2", "-o", "x.npz"], "did you mean 'sweeps'"),
    (["fit", "posts.csv", "--text", "text", "--set", "sweeps", "-o", "x.npz"], "has no '='; give NAME=VALUE"),
    (["fit", "posts.csv", "--text", "text", "--n-init", "0", "-o", "x.npz"], "n_init=0 is not valid"),
    (["fit", "posts.csv", "--min-df", "2", "-o", "x.npz"], "--min-df is an option for texts, but --text is not given"),
    (["fit", "posts.csv", "--model", "PLSA", "--strata", "group", "-o", "x.npz"], "PLSA does not use strata"),
    (
        ["fit", "posts.csv", "--config", "wrong.toml", "-o", "x.npz"],
        "'componnents', which is not an option; did you mean",
    ),
    (["fit", "posts.csv", "--config", "flag.toml", "-o", "x.npz"], "counts = 3; expected true or false"),
    (["fit", "posts.csv", "--config", "posts.csv", "-o", "x.npz"], "posts.csv cannot be read as TOML"),
    (["fit", "tenx", "-o", "tenx/matrix.mtx"], "tenx/matrix.mtx is both the input and the output"),
    (["fit", "empty.csv", "--text", "text", "-o", "x.npz"], "empty.csv is empty"),
    (
        ["fit", "latin.csv", "--text", "text", "-o", "x.npz"],
        "latin.csv is not .* UTF-8.*--encoding 'latin-1'",
    ),
    (
        ["fit", "both.csv", "--text", "text", "--strata", "stratum", "-o", "x.npz"],
        "is both a column of both.csv and a file",
    ),
    (["fit", "posts.csv", "--text", "text", "--export", "posts.csv", "-o", "x.npz"], "posts.csv is a file, .* folder"),
    (["transform", "model.npz", "new.csv", "-o", "weights.doc"], "ends in '.doc'; a table is .csv"),
    (["transform", "model.npz", "new.csv", "-o", "new.csv"], "new.csv is both the input and the output"),
    (["transform", "model.npz", "new.csv", "--unknown-strata", "no", "-o", "w.csv"], "unknown_strata='no'"),
    (["transform", "model.npz", "empty.csv", "-o", "w.csv"], "empty.csv is empty"),
    (["fit", "posts.csv", "--text", "text", "--ngram-range", "2", "-o", "x.npz"], "'2' is not a pair of integers"),
    (["select-rank", "posts.csv", "--text", "text", "--ranks", "5-2"], "'5-2' is not a list of ranks"),
    (["plot", "model.npz", "--kind", "tree", "-o", "x.png"], "has no layer_weights_, .* usage, topics, strata, .*loss"),
    (["plot", "model.npz", "--kind", "map", "--by", "lift", "-o", "x.png"], "--kind map takes no --by"),
    (["plot", "model.npz", "--kind", "difference", "-o", "x.png"], "compares two strata, .* give --strata LABEL"),
    (["plot", "model.npz", "--kind", "images", "-o", "x.png"], "give --shape HEIGHT,WIDTH"),
    (["plot", "model.npz", "-o", "x.doc"], "ends in '.doc'; a plot is written as .png"),
    (["plot", "model.npz", "--kind", "usages", "-o", "x.png"], "invalid choice: 'usages'; did you mean 'usage'"),
    (["explain", "model.npz"], "required: --data"),
    (["explain", "model.npz", "posts.csv"], "unrecognized .*; did you mean '--data posts.csv'"),
    (["report", "model.npz", "--data", "posts.csv", "--row-title", "titel", "-o", "x.html"], "did you mean 'title'"),
    (["export", "model.npz", "-o", "model.npz"], "model.npz is a file, and the tables need a folder"),
]


@pytest.mark.parametrize("arguments, message", BAD, ids=[" ".join(arguments[:6]) for arguments, _ in BAD])
def test_bad_input_is_one_sentence(posts, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(posts)
    (posts / "empty.csv").write_text("")
    (posts / "latin.csv").write_bytes("text\ncaf\u00e9\n".encode("latin-1"))
    (posts / "wrong.toml").write_text("componnents = 3\n")
    (posts / "flag.toml").write_text("counts = 3\n")
    (posts / "both.csv").write_text("text,stratum\na b c,x\nb c d,y\n")
    (posts / "stratum").write_text("x\ny\n")
    (posts / "tenx").mkdir(exist_ok=True)
    (posts / "tenx" / "matrix.mtx").write_text("")
    before = {path.name: path.stat().st_mtime_ns for path in posts.iterdir()}
    code, out, err = run(capsys, *arguments)
    (sentence,) = err.strip().splitlines()
    assert code == 2 and not out and sentence.startswith("fastnmf")
    import re

    assert re.search(message, sentence), sentence
    assert {path.name: path.stat().st_mtime_ns for path in posts.iterdir()} == before


def test_what_scripts_read(posts, capsys, monkeypatch):
    monkeypatch.chdir(posts)
    code, out, _ = run(capsys, "info", "--json")
    assert code == 0 and json.loads(out)["fastnmf"] == fastnmf.__version__
    code, out, _ = run(capsys, "models", "--json")
    assert code == 0 and json.loads(out)[0]["name"] == "NMF"
    code, out, _ = run(capsys, "top", "model.npz", "-n", 2, "--json")
    found = json.loads(out)
    assert code == 0 and set(found["strata"]) == {"cars", "space"} and len(found["components"][0]) == 2


PENALTY = """
class Sum:
    value = staticmethod(lambda F: F.sum())
    half_gradient = staticmethod(lambda F: 0 * F + 0.5)
class Needs(Sum):
    def __init__(self, weight): ...
large, number = Sum(), 3
"""


def test_a_penalty_of_a_python_file(posts, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(PENALTY)
    Path("wrong.py").write_text("1 / 0\n")
    fit = ["fit", posts / "posts.csv", "--text", "text", "--components", "2", "--seed", "0", "--quiet", "-o", "m.npz"]
    code = run(capsys, *fit, "--penalty", "H=own.py:Sum,W=own.py:large")[0]
    assert code == 0
    bunch, penalties = fastnmf.read(posts / "posts.csv", text="text"), runpy.run_path("own.py")
    of_python = fastnmf.NMF(2, penalties={"H": [penalties["Sum"]()], "W": [penalties["large"]]}, random_state=0)
    assert (load("m.npz").components_ == of_python.fit(bunch.data).components_).all()
    Path("m.npz").unlink()
    for given, sentence in (
        ("H=own.py", "names no penalty; give a factor W, H or V, a Python file and a name in it"),
        ("Q=own.py:Sum", "names no penalty"),
        ("H=own.py:Som", "own.py has no 'Som'; did you mean 'Sum'?"),
        ("H=own.py:Needs", "Needs of own.py cannot be created without arguments (TypeError: "),
        ("H=own.py:number", "number of own.py is not a penalty: it has no method value"),
        ("H=wrong.py:Sum", "wrong.py cannot be run (ZeroDivisionError: division by zero)."),
        ("H=none.py:Sum", "No such file: 'none.py'"),
    ):
        code, _, said = run(capsys, *fit, "--penalty", given)
        assert code == 2 and sentence in said and said.count("\n") == 1 and not Path("m.npz").exists()
    code, _, said = run(capsys, *fit[:-1], "own.py", "--penalty", "H=own.py:Sum")
    assert code == 2 and Path("own.py").read_text() == PENALTY
    code, _, said = run(capsys, *fit, "--model", "PLSA", "--penalty", "H=own.py:Sum")
    assert code == 2 and "PLSA does not accept --penalty; NMF and StratifiedNMF do." in said


def test_select_strata(posts, capsys, monkeypatch):
    monkeypatch.chdir(posts)
    data = ["posts.csv", "--text", "text", "--strata", "group", "--max-iter", "5", "--seed", "0", "--quiet"]
    few = ["--folds", "2", "--components", "1", "--rungs", "none,strata"]
    code, out, _ = run(capsys, "select-strata", *data, *few, "-o", "kinds.csv")
    assert code == 0 and "Which model? " in out
    rows = table((posts / "kinds.csv").read_text("utf-8"))
    assert [(row["rung"], row["n_components"]) for row in rows] == [("none", "1"), ("none", "3"), ("strata", "1")]
    code, out, _ = run(capsys, "select-strata", *data, *few, "--json")
    found = json.loads(out)
    assert code == 0 and found["best"]["rung"] == "strata" and found["held_out"] == [float(r["held_out"]) for r in rows]
    code, _, said = run(capsys, "select-strata", *data, "--own-penalty", "x")
    assert code == 2 and "'x' is not a list of numbers" in said


@pytest.mark.parametrize(
    "command", ["fit", "transform", "select-rank", "select-strata", "consensus", "explain", "plot", "export"]
)
def test_help_is_there(capsys, command):
    code, out, err = run(capsys, command, "--help")
    assert code == 0 and f"usage: fastnmf {command} " in out and not err and "%(" not in out
