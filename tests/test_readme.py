"""The README's decision table: every line runs."""

import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import fastnmf

README = Path(__file__).resolve().parent.parent / "README.md"
SECTION = README.read_text(encoding="utf-8").split("## Your data look like this")[1].split("\n## ")[0]
LINES = [match for row in SECTION.splitlines() for match in re.findall(r"\| `(.+)` \|$", row)]


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
        "certainty": rng.random(X.shape),
        "counts": rng.integers(0, 4, 120),
        "known": rng.random((2, 60)),
        "frame": pd.DataFrame(X.toarray(), columns=words),
        "adata": SimpleNamespace(X=X, obs=pd.DataFrame({"batch": labels}), var_names=words),
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
