"""The table of all sparse models on 20 newsgroups: every line of the catalogue runs there, on small data here."""

import warnings

import bench_files
import numpy as np
import pytest
import scipy.sparse as sp

NAMES = ("family", "machine", "table", "models_table")


@pytest.fixture(scope="module")
def modules():
    with bench_files.modules(NAMES, ".") as found:
        yield found


def unit_rows(n_rows, n_columns, seed=0):
    X = sp.random_array((n_rows, n_columns), density=0.3, rng=np.random.default_rng(seed), format="csr")
    lengths = np.sqrt(X.power(2).sum(axis=1))
    return sp.csr_array(sp.diags_array(1 / np.where(lengths > 0, lengths, 1)) @ X)


def test_the_graph_is_that_of_the_nearest_rows(modules):
    X = unit_rows(60, 20)
    cosines = (X @ X.T).toarray()
    np.fill_diagonal(cosines, 0)
    want = np.zeros_like(cosines)
    for i, row in enumerate(cosines):
        best = np.argsort(-row)[:4]
        want[i, best] = row[best]
    want = np.maximum(want, want.T)
    for block in (7, 100):
        np.testing.assert_allclose(modules["family"].neighbours(X, 4, block).toarray(), want)


def test_every_line_of_the_catalogue_runs(modules, tmp_path):
    family = modules["family"]
    X = unit_rows(60, 24)
    labels = np.random.default_rng(1).choice(["a", "b", "c"], 60)
    known = family.names(X, family.neighbours(X), labels, tmp_path / "csr")
    assert all(sp.issparse(known[name]) for name in ("X", "bits", "X_signed", "graph", "upper", "atoms"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, line in family.LINES:
            try:
                model = family.run(name, line, known, 4, 2, 1)
            except NameError as error:
                pytest.fail(f"{line}: {error}. Say in names() of bench/family.py what it stands for.")
            assert type(model).__name__ == name and 0 <= model.normalized_loss_ < 1.5
            n_components = getattr(model, "estimator", model).n_components
            assert max(n_components if isinstance(n_components, tuple) else (n_components,)) == 4


def test_the_table_of_models_is_put_in_its_place(modules):
    renewed = modules["models_table"].renewed
    text = "# A\n\n## Which model when\n\nWords.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nMore.\n\n| other |\n"
    found = renewed(text)
    assert found.startswith("# A\n\n## Which model when\n\nWords.\n\n| you want |") and "| 1 | 2 |" not in found
    assert found.endswith("|\n\nMore.\n\n| other |\n") and renewed(found) == found
