"""Loaders on what is always there, on the real data where it is, and on data homes that lack it."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastnmf import datasets, fetch


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_newsgroups_is_the_matrix_of_the_paper(data_home, monkeypatch):
    bunch = datasets.load_newsgroups(data_home=data_home, download_if_missing=False)
    assert bunch.data.shape == (18846, 51840) == (len(bunch.strata), len(bunch.feature_names))
    assert bunch.data.nnz == 1147174 and sp.issparse(bunch.data)
    assert np.linalg.norm(bunch.data.data) == pytest.approx(135.2479205015737, rel=1e-12)
    assert len(bunch.stratum_names) == 20 and np.bincount(np.unique(bunch.strata, return_inverse=True)[1]).min() == 628
    monkeypatch.setattr(datasets, "_tfidf", None)  # kept: it is not built again
    again = datasets.load_newsgroups(data_home=data_home, download_if_missing=False)
    assert (again.data != bunch.data).nnz == 0 and (again.strata == bunch.strata).all()
    assert (again.feature_names == bunch.feature_names).all()


def test_housing_is_the_matrix_of_the_paper(data_home):
    bunch = datasets.load_housing(data_home=data_home, download_if_missing=False)
    assert bunch.data.shape == (2615, 6) and [(bunch.strata == s).sum() for s in ("low", "medium", "high")] == [
        815,
        1492,
        308,
    ]
    assert np.linalg.norm(bunch.data) == pytest.approx(87260.12357119468, rel=1e-12)
    assert bunch.feature_names[0] == "MedInc"


@pytest.mark.parametrize("load", [datasets.load_newsgroups, datasets.load_housing])
def test_a_missing_corpus_is_one_sentence_and_soon(load, tmp_path, monkeypatch):
    with pytest.raises(OSError, match="not in the data home.*switched off.*SCIKIT_LEARN_DATA"):
        load(data_home=tmp_path, download_if_missing=False)
    monkeypatch.setattr(fetch, "host_answers", lambda url: False)
    with pytest.raises(OSError, match="download host does not answer; set SCIKIT_LEARN_DATA") as caught:
        load(data_home=tmp_path)
    assert "\n" not in str(caught.value)


def test_a_broken_file_in_the_data_home_is_named(tmp_path):
    (tmp_path / "cal_housing_py3.pkz").write_bytes(b"not a pickle")
    with pytest.raises(OSError, match="California housing.*delete it"):
        datasets.load_housing(data_home=tmp_path, download_if_missing=False)


def test_docstrings_are_always_there():
    bunch = datasets.load_docstrings()
    assert bunch.data.shape == (len(bunch.strata), len(bunch.feature_names)) and bunch.data.shape[0] >= 2000
    assert {"numpy", "scipy", "sklearn", "numba"} <= set(bunch.stratum_names)
    assert (bunch.data.data > 0).all() and bunch.data.has_canonical_format
    names, strata = list(bunch.feature_names), bunch.strata
    mean = np.asarray(bunch.data[strata == "numba"].mean(axis=0)).ravel()
    assert "cuda" in [names[j] for j in np.argsort(-mean)[:20]]
    again = datasets.load_docstrings()
    assert (again.data != bunch.data).nnz == 0 and (again.strata == strata).all()


def test_docstrings_of_chosen_packages_and_a_damaged_cache(tmp_path):
    bunch = datasets.load_docstrings(packages=["joblib", "no_such_package"])
    assert bunch.stratum_names.tolist() == ["joblib"]
    (kept,) = (tmp_path / "cache").rglob("*.npz")
    kept.write_bytes(kept.read_bytes()[:500])
    again = datasets.load_docstrings(packages=["joblib", "no_such_package"])
    assert (again.data != bunch.data).nnz == 0
    with pytest.raises(ValueError, match="None of the packages no_such_package"):
        datasets.load_docstrings(packages=["no_such_package"])


def test_planted_data_are_what_they_say():
    bunch = datasets.make_stratified((5, 7), 6, 2, random_state=0)
    np.testing.assert_allclose(bunch.data, bunch.W @ bunch.H + bunch.V[bunch.strata])
    sparse = datasets.make_stratified((50, 70), 60, 3, density=0.2, random_state=0)
    np.testing.assert_allclose(sparse.data.toarray(), sparse.W @ sparse.H + sparse.V[sparse.strata])
    assert 0.1 < sparse.data.nnz / np.prod(sparse.data.shape) < 0.3
    noisy = datasets.make_stratified((50, 70), 60, 3, noise=0.1, random_state=0)
    clean = noisy.W @ noisy.H + noisy.V[noisy.strata]
    assert 0.09 < np.sqrt(np.mean((noisy.data - clean) ** 2) / np.mean(clean**2)) < 0.11
    assert (datasets.make_stratified(random_state=3).data == datasets.make_stratified(random_state=3).data).all()


@pytest.mark.parametrize("options, message", [
    ({"sizes": (0, 3)}, "positive integers"), ({"sizes": ()}, "non-empty"), ({"noise": -1}, "noise must be 0 or more"),
    ({"density": 1.0}, "density must be"), ({"n_features": 0}, "must be positive"),
])  # fmt: skip
def test_planted_data_refuse_nonsense(options, message):
    with pytest.raises(ValueError, match=message):
        datasets.make_stratified(**options)
