"""The scripts of docs/tutorials run on the files that data.py writes; each is as short as the page says."""

import json
import re
import runpy
import shlex
import warnings

import numpy as np
import pytest
from pages import ROOT

import fastnmf
from fastnmf.cli import main

FOLDER = ROOT / "docs" / "tutorials"
write = runpy.run_path(str(FOLDER / "data.py"))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Return a function that runs the scripts of a job and returns what they print."""
    monkeypatch.chdir(tmp_path)

    def of(name):
        write["posts" if name == "penalty" else name]()
        source = (FOLDER / f"{name}.py").read_text()
        (tmp_path / f"{name}.py").write_text(source)
        assert len([line for line in source.splitlines() if line.strip()]) <= 12
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(source, f"{name}.py", "exec"), {"__name__": "__main__"})
        found = capsys.readouterr().out
        commands = (FOLDER / f"{name}.sh").read_text().splitlines()
        assert 0 < len(commands) <= 5
        for line in commands:
            program, *arguments = shlex.split(line)
            assert program == "fastnmf" and main(arguments) == 0, line
        return found, capsys.readouterr().out

    return of


def test_posts(run, tmp_path):
    said, of_shell = run("posts")
    lines = said.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["numpy", "scipy", "sklearn"]
    assert "np" in lines[0].split() and "n_samples" in lines[2].split()
    for line in lines[:3]:  # the shell finds the same words
        group, words = line.split(": ")
        assert re.search(rf"{group} +{re.escape(words)}\n", of_shell)
    n_new = len(fastnmf.read("new.csv", text="text").texts)
    assert lines[3] == f"({n_new}, 8)"
    assert len((tmp_path / "weights.csv").read_text().splitlines()) == n_new + 1
    assert "scipy.optimize." in (tmp_path / "report.html").read_text(encoding="utf-8")  # titles
    assert json.loads((tmp_path / "tables" / "summary.json").read_text())


def test_cells(run, tmp_path):
    pytest.importorskip("anndata")
    said, of_shell = run("cells")
    planted = fastnmf.datasets.simulate_counts(600, 300, n_programs=4, n_batches=3, random_state=0)
    names = planted.feature_names.tolist()
    of_programme = {
        int(np.argmax(planted.programs[:, [names.index(gene) for gene in re.findall(r"gene \d+", line)]].sum(axis=1)))
        for line in said.splitlines()[:4]
    }
    assert of_programme == {0, 1, 2, 3}  # each planted programme is found
    assert "(600, 4)" in said and "Specific to each stratum" in of_shell
    assert (tmp_path / "fitted.h5ad").exists() and (tmp_path / "programmes" / "topics.csv").exists()


def test_ratings(run):
    said, _ = run("ratings")
    error, mean = map(float, re.findall(r"\d\.\d\d", said.splitlines()[0]))
    assert error < 0.95 * mean
    assert re.fullmatch(r"user 7 may like( item \d+){3}", said.splitlines()[1])
    pytest.importorskip("pyarrow")
    assert fastnmf.read("ratings.parquet", triplets="user,item,rating").data.nnz == 16_000


def test_penalty(run):
    said, of_shell = run("penalty")
    plain, apart = (eval(line) for line in said.splitlines())
    assert len(set(sum(plain, []))) < len(set(sum(apart, [])))  # fewer words are shared
    for words in (*plain, *apart):  # the shell finds the same
        assert re.search(rf"\d+ +{re.escape(' '.join(words))}\n", of_shell)
