"""The two tables of docs/models.md, what to write for which data and which model when: every line runs.

The second one is the catalogue's.
"""

import re
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import readme
import scipy.sparse as sp

import fastnmf
from fastnmf.models.catalogue import MODELS as CATALOGUE
from fastnmf.models.catalogue import Entry, markdown

HOMES = ("fastnmf.models.", "fastnmf.compose")  # of estimators
SECTION = readme.section("Your data look like this", readme.MODELS_PAGE)
LINES = [match for row in SECTION.splitlines() for match in re.findall(r"\| `(.+)` \|$", row)]
MODELS = readme.section("Which model when", readme.MODELS_PAGE)
ROWS = [row.split(" | ") for row in MODELS.splitlines() if row.startswith("| ") and "`" in row]
MODEL_LINES = [line for row in ROWS for line in re.findall("`(.+?)`", row[1])]


@pytest.fixture
def names(tmp_path):
    """Give what the lines speak of: matrices, labels, weights, a frame, an AnnData-like object, blocks, a folder."""
    rng = np.random.default_rng(0)
    X = sp.random_array((120, 60), density=0.3, rng=rng, format="csr")
    labels = rng.choice(["a", "b", "c"], 120)
    words = ["space", "nasa", "gun", *(f"word{j}" for j in range(57))]
    holed = X.toarray()
    holed[rng.random(X.shape) < 0.2] = np.nan
    fastnmf.save_csr(X, tmp_path / "csr")
    return vars(fastnmf) | {
        "X": X,
        "X_positive": X.toarray() + 0.1,
        "X_nan": holed,
        "labels": labels,
        "years": rng.integers(2020, 2023, 120),
        "depth": rng.random(120) + 0.5,
        "certainty": rng.random(X.shape),
        "confidence": 20 * (X > 0.5),
        "counts": rng.integers(0, 4, 120),
        "known": rng.random((2, 60)),
        "frame": pd.DataFrame(X.toarray(), columns=words),
        "adata": SimpleNamespace(X=X, layers={"counts": X}, obs=pd.DataFrame({"batch": labels}), var_names=words),
        "blocks": [(X[:60], labels[:60]), (X[60:], labels[60:])],
        "folder": tmp_path / "csr",
        **{name: getattr(fastnmf, name) for name in fastnmf.__all__ if not name.startswith("_")},
    }


def test_the_table_is_there():
    assert len(LINES) > 15


@pytest.mark.parametrize("line", LINES)
def test_every_line_runs(names, line):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert eval(line, names) is not None


@pytest.fixture(scope="module")
def of_models(tmp_path_factory):
    rng = np.random.default_rng(0)
    X = sp.random_array((60, 24), density=0.4, rng=rng, format="csr")
    labels = rng.choice(["a", "b", "c"], 60)
    blocks, folder = [(X[:30], labels[:30]), (X[30:], labels[30:])], tmp_path_factory.mktemp("disk") / "csr"
    fastnmf.save_csr(X, folder)
    links = sp.triu(fastnmf.datasets.load_karate_club().data).tocoo().coords
    graph = SimpleNamespace(nodes=range(34), edges=list(zip(*(nodes.tolist() for nodes in links), strict=True)))
    return {name: getattr(fastnmf, name) for name in fastnmf.__all__ if not name.startswith("_")} | {
        "X": X,
        "X_signed": X.toarray() - 0.3,
        "small": X[:6, :5].toarray(),
        "counts": X.ceil(),
        "lower": X,
        "upper": 2 * X,
        "atoms": rng.random((8, 24)),
        "A": X.T @ X,
        "labels": labels,
        "blocks": blocks,
        "folder": folder,
        "affinity": X @ X.T,
        "graph": graph,
    }


def test_the_table_of_models_is_the_catalogue():
    lines = [line for line in MODELS.splitlines() if line.startswith("|")]
    assert lines == markdown().splitlines(), (
        'The table "Which model when" of docs/models.md is not that of the catalogue. Put what is new into MODELS in '
        "fastnmf/models/catalogue.py, one Entry a row; then run: python bench/models_table.py"
    )


def test_the_catalogue_has_all_models():
    kinds = {name for name, home in fastnmf._HOMES.items() if home.startswith(HOMES) and name[0].isupper()}
    assert {entry.name for entry in CATALOGUE if entry.name[0].isupper()} == kinds, (
        "Every public model needs an Entry in MODELS of fastnmf/models/catalogue.py, and nothing else may be there."
    )
    assert all(isinstance(entry, Entry) and isinstance(entry.use, tuple) for entry in CATALOGUE)
    assert all(all(line.startswith(f"{entry.name}(") for line in entry.use) for entry in CATALOGUE)
    assert len({entry.wanted for entry in CATALOGUE}) == len(CATALOGUE)
    assert fastnmf.catalogue() == list(CATALOGUE) and len(fastnmf.catalogue("robustnmf")) == 3
    with pytest.raises(ValueError, match="'Foo' is not in the catalogue; it has NMF"):
        fastnmf.catalogue("Foo")


def test_the_table_of_models_has_all_that_are_not_in_the_other_one():
    kinds = {name for name, home in fastnmf._HOMES.items() if home.startswith(HOMES) and name[0].isupper()}
    assert len(MODEL_LINES) > len(ROWS) > 20
    assert kinds == {name for line in (*LINES, *MODEL_LINES) for name in kinds if f"{name}(" in line}


@pytest.mark.parametrize("line", MODEL_LINES)
def test_every_line_of_the_table_of_models_runs(of_models, line):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert eval(line, dict(of_models)) is not None
