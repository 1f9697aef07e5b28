"""Every model of the catalogue on the command line: a fit, its tables, its page."""

import json

import numpy as np
import pytest

import fastnmf
from fastnmf import catalogue, load
from fastnmf.cli.commands import main
from fastnmf.models.base.estimator import Estimator

# what the fit needs beside X, and stands in the sentence in which the command refuses
REFUSED = {"DictionaryNMF": "dictionary", "MetaNMF": "tasks"}
COMPONENTS = {"HierarchicalNMF": "4,2", "DeepNMF": "4,2", "TriNMF": "3,2"}
CLASSES = [getattr(fastnmf, name) for name in dict.fromkeys(entry.name for entry in catalogue())]
NAMES = [kind.__name__ for kind in CLASSES if isinstance(kind, type) and issubclass(kind, Estimator)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("models"), np.random.default_rng(0)
    X = rng.random((14, 3)) @ rng.random((3, 9))
    np.save(folder / "x.npy", X)
    np.save(folder / "graph.npy", X @ X.T)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_every_model_is_fitted_and_exported(folder, capsys, monkeypatch, name):
    monkeypatch.chdir(folder)
    data = "graph.npy" if name in ("SymmetricNMF", "TriSymmetricNMF") else "x.npy"
    command = ["fit", data, "--model", name.lower(), "--components", COMPONENTS.get(name, "2"), "--quiet"]
    code = main([*command, "-o", f"{name}.npz"])
    said = capsys.readouterr()
    if name in REFUSED:
        (sentence,) = said.err.strip().splitlines()
        assert code == 2 and REFUSED[name] in sentence and not (folder / f"{name}.npz").exists()
        return
    assert code == 0, said.err
    model = load(f"{name}.npz")
    assert type(model).__name__ == name and f"written to {name}.npz" in said.out
    assert main(["export", f"{name}.npz", "-o", name]) == 0, capsys.readouterr().err
    assert json.loads((folder / name / "summary.json").read_text("utf-8"))["model"] == name
    n_rows = len((folder / name / "weights.csv").read_text("utf-8").splitlines())
    assert n_rows == 15
    if name not in (
        "ConvolutiveNMF",
        "BilinearNMF",
        "KernelNMF",
        "SymmetricNMF",
        "TriSymmetricNMF",
    ):  # of another shape
        assert main(["report", f"{name}.npz", "-o", f"{name}.html"]) == 0, capsys.readouterr().err
