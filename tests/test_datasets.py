"""Loaders on what is always there, on the real data where it is, and on data homes that lack it."""

import gzip
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import readme
import scipy.io
import scipy.sparse as sp
import sklearn.datasets

import fastnmf
from fastnmf import datasets
from fastnmf.datasets import fetch, images, text


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_newsgroups_is_the_matrix_of_the_paper(data_home, monkeypatch):
    bunch = datasets.load_newsgroups(data_home=data_home, download_if_missing=False)
    assert bunch.data.shape == (18846, 51840) == (len(bunch.strata), len(bunch.feature_names))
    assert bunch.data.nnz == 1147174 and sp.issparse(bunch.data)
    assert np.linalg.norm(bunch.data.data) == pytest.approx(135.2479205015737, rel=1e-12)
    assert len(bunch.stratum_names) == 20 and np.bincount(np.unique(bunch.strata, return_inverse=True)[1]).min() == 628
    monkeypatch.setattr(text, "_tfidf", None)  # kept: it is not built again
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


@pytest.mark.parametrize("load", [datasets.load_newsgroups, datasets.load_housing, datasets.load_mnist])
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


def test_docstrings_are_always_there_and_the_ten_lines_of_the_readme_print_what_it_says(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)  # for what they write
    monkeypatch.setattr(text, "DOCSTRING_PACKAGES", ("numpy", "scipy", "sklearn", "numba"))  # those of the ten lines
    bunch = datasets.load_docstrings()
    assert bunch.data.shape == (len(bunch.strata), len(bunch.feature_names)) and bunch.data.shape[0] >= 2000
    assert {"numpy", "scipy", "sklearn", "numba"} <= set(bunch.stratum_names)
    assert (bunch.data.data > 0).all() and bunch.data.has_canonical_format
    names, strata = list(bunch.feature_names), bunch.strata
    mean = np.asarray(bunch.data[strata == "numba"].mean(axis=0)).ravel()
    assert "cuda" in [names[j] for j in np.argsort(-mean)[:20]]
    monkeypatch.setattr(text, "_tfidf", None)  # kept: it is not built again
    found = {}
    exec(readme.code("Ten lines"), found)
    assert (found["texts"].data != bunch.data).nnz == 0 and (found["texts"].strata == strata).all()
    assert "scipy" in Path("report.html").read_text("utf-8") and fastnmf.load("model.npz").n_features_in_ == len(names)
    printed = re.sub(r"[\d,.]+", "0", capsys.readouterr().out)
    written = re.search(r"(?s)```python.*?```\n\n```\n(.*?)```", readme.section("Ten lines"))[1]
    starts = [re.sub(r"[\d,.]+", "0", line)[:18].rstrip() for line in written.splitlines() if line != "..."]
    assert starts[-1].startswith("Yes: a shift for") and len(starts) > 8
    assert [start for start in starts if f"\n{start}" not in f"\n{printed}"] == []


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
    ({"density": 1.0}, "density must be"), ({"n_features": 0}, "n_features must be 1 or more"),
])  # fmt: skip
def test_planted_data_refuse_nonsense(options, message):
    with pytest.raises(ValueError, match=message):
        datasets.make_stratified(**options)


def write_idx(path, array):
    """Write unsigned bytes as an IDX file, gzipped or not."""
    raw = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, dtype=">i4").tobytes() + array.tobytes()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


@pytest.fixture
def digits_home(tmp_path):
    """A data home with 120 test images (gzipped) and 40 training images (plain); image i shows the digit i modulo 10.

    The first pixel of an image is its number in the file, its second 100 in the training set.
    """
    for stem, n, ending in (("t10k", 120, ".gz"), ("train", 40, "")):
        pixels = np.zeros((n, 28, 28), np.uint8)
        pixels[:, 0, 0], pixels[:, 0, 1] = np.arange(n), 100 * (stem == "train")
        write_idx(tmp_path / "mnist" / f"{stem}-images-idx3-ubyte{ending}", pixels)
        write_idx(tmp_path / "mnist" / f"{stem}-labels-idx1-ubyte{ending}", np.arange(n, dtype=np.uint8) % 10)
    return tmp_path


def test_mnist_strata_share_digits_and_no_image(digits_home):
    bunch = datasets.load_mnist(n_per_digit=3, data_home=digits_home)
    assert bunch.data.shape == (12, 784) and bunch.data.dtype == np.float64 and bunch.image_shape == (28, 28)
    assert bunch.strata.tolist() == ["1+2"] * 6 + ["2+3"] * 6 and bunch.stratum_names.tolist() == ["1+2", "2+3"]
    assert bunch.target.tolist() == [1] * 3 + [2] * 6 + [3] * 3
    # the second stratum goes on where the first one has stopped, for the digit 3, too, which the first does not have
    assert bunch.data[:, 0].tolist() == [1, 11, 21, 2, 12, 22, 32, 42, 52, 33, 43, 53]
    assert len(bunch.feature_names) == 784 and bunch.feature_names[29] == "pixel 1,1"


def test_mnist_subsets_names_and_all_images(digits_home):
    every = datasets.load_mnist("all", strata=None, n_per_digit=None, data_home=digits_home)
    assert every.data.shape == (160, 784) and (every.strata == every.target).all()
    assert (every.data[:, 1] == 100).sum() == 40 and every.data[0, 1] == 100  # the training images come first
    train = datasets.load_mnist("train", strata=None, n_per_digit=1, data_home=digits_home, download_if_missing=False)
    assert train.data[:, 0].tolist() == list(range(10))
    named = datasets.load_mnist("train", strata={"b": [1], "a": [1, 2]}, n_per_digit=None, data_home=digits_home)
    assert named.stratum_names.tolist() == ["b", "a"] and named.data[:, 0].tolist() == [1, 11, 21, 31, 2, 12, 22, 32]


def test_mnist_of_the_paper(data_home):
    try:
        bunch = datasets.load_mnist(data_home=data_home, download_if_missing=False)
    except OSError:
        pytest.skip("MNIST is not in the data home")
    assert np.linalg.norm(bunch.data) == pytest.approx(44778.99877175, rel=1e-12) and bunch.data.sum() == 9266535


@pytest.mark.parametrize("options, message", [
    ({"subset": "t10k"}, "subset='t10k' is not known; expected 'test'"), ({"strata": (1, 2)}, "groups of different"),
    ({"strata": ((1, 1),)}, "groups of different"), ({"strata": ((1, 12),)}, "digits 0 to 9"),
    ({"strata": ()}, "at least one group"), ({"strata": ((1,), (1,))}, "Two strata have the digits 1; name them"),
    ({"n_per_digit": 0}, "at least 1; got 0"), ({"n_per_digit": 7}, "12 images of digit 2.*needs number 7 to 14"),
])  # fmt: skip
def test_mnist_refuses_in_a_sentence(options, message, digits_home):
    with pytest.raises(ValueError, match=message) as caught:
        datasets.load_mnist(**options, data_home=digits_home)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage, message", [
    (lambda raw: raw[:-1], "not a complete IDX file"), (lambda raw: b"\0\0\x09" + raw[3:], "not a complete IDX file"),
    (lambda raw: raw[:6], "not a complete IDX file"), (None, "do not belong together"), ("gzip", "cannot be read"),
])  # fmt: skip
def test_a_damaged_idx_file_is_named(damage, message, digits_home):
    path = digits_home / "mnist" / "train-labels-idx1-ubyte"
    if damage is None:
        write_idx(path, np.zeros(39, np.uint8))
    elif damage == "gzip":
        path.unlink()
        path.with_name(path.name + ".gz").write_bytes(b"no gzip")
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(OSError, match=f"train-labels-idx1-ubyte.*{message}"):
        datasets.load_mnist("train", n_per_digit=1, data_home=digits_home)


def test_fashion_mnist_has_names_and_the_order_of_the_file(digits_home):
    (digits_home / "mnist").rename(digits_home / "fashion_mnist")
    bunch = datasets.load_fashion_mnist(data_home=digits_home, download_if_missing=False)
    assert bunch.data.shape == (120, 784) and bunch.data.dtype == np.float64 and bunch.image_shape == (28, 28)
    assert bunch.data[:, 0].tolist() == list(range(120)) and bunch.target.tolist() == [i % 10 for i in range(120)]
    assert bunch.strata[9] == "ankle boot" and bunch.target_names[3] == "dress" and len(bunch.feature_names) == 784
    assert datasets.load_fashion_mnist("all", data_home=digits_home).data.shape == (160, 784)
    with pytest.raises(ValueError, match="subset='t10k' is not known"):
        datasets.load_fashion_mnist("t10k", data_home=digits_home)


def test_fashion_mnist_as_published(data_home):
    try:
        bunch = datasets.load_fashion_mnist(data_home=data_home, download_if_missing=False)
    except OSError:
        pytest.skip("Fashion-MNIST is not in the data home")
    assert bunch.data.mean() / 255 == pytest.approx(0.28685, abs=5e-6) and bunch.data.shape == (10_000, 784)
    assert np.bincount(bunch.target).tolist() == [1000] * 10


def objects():
    """Make up images as large as those of COIL-20, and their labels."""
    pixels = np.zeros((1440, 1024), np.uint8)
    pixels[:, 0], pixels[:, 1] = np.arange(1440) % 200, 255
    return pixels, np.repeat(np.arange(1, 21), 72).astype(np.int32)


@pytest.mark.parametrize("kind", ["arrays", "matlab", "matlab of shares"])
def test_coil20_from_either_file(kind, tmp_path):
    pixels, labels = objects()
    folder = tmp_path / "coil20"
    folder.mkdir()
    if kind == "arrays":
        np.save(folder / "coil20_X_small.npy", pixels)
        np.save(folder / "coil20_Y.npy", labels)
    else:
        fea = pixels / 255 if kind.endswith("shares") else pixels
        scipy.io.savemat(folder / "COIL20.mat", {"fea": fea, "gnd": labels[:, None]})
    bunch = datasets.load_coil20(data_home=tmp_path)
    np.testing.assert_allclose(bunch.data, pixels, atol=1e-9)
    assert bunch.data.dtype == np.float64 and (bunch.target == labels).all() and bunch.image_shape == (32, 32)
    assert bunch.stratum_names.tolist() == list(range(1, 21)) and bunch.feature_names[33] == "pixel 1,1"


def test_coil20_that_is_missing_or_broken_is_a_sentence(tmp_path):
    with pytest.raises(OSError, match="COIL-20 is not in .*put COIL20.mat there, or coil20_X_small.npy") as caught:
        datasets.load_coil20(data_home=tmp_path)
    assert "\n" not in str(caught.value)
    pixels, labels = objects()
    folder = tmp_path / "coil20"
    folder.mkdir()
    np.save(folder / "coil20_X_small.npy", pixels[:, :10])
    np.save(folder / "coil20_Y.npy", labels)
    with pytest.raises(OSError, match=r"images of shape \(1440, 10\).*expected \(1440, 1024\)"):
        datasets.load_coil20(data_home=tmp_path)
    (folder / "COIL20.mat").write_bytes(b"not a file of MATLAB")
    with pytest.raises(OSError, match="COIL-20 files in .* cannot be read.*replace them"):
        datasets.load_coil20(data_home=tmp_path)


def test_coil20_as_published(data_home):
    try:
        bunch = datasets.load_coil20(data_home=data_home)
    except OSError:
        pytest.skip("COIL-20 is not in the data home")
    assert bunch.data.max() == 255 and np.bincount(bunch.target).tolist() == [0] + [72] * 20


def test_mnist_comes_from_openml_where_the_files_are_not(tmp_path, monkeypatch):
    asked = []

    def fetch_openml(name, **options):
        asked.append((name, options["data_home"]))
        target = np.arange(70_000) % 10
        return SimpleNamespace(data=np.arange(70_000)[:, None] // 300 + np.zeros((1, 784)), target=target.astype(str))

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch_openml)
    monkeypatch.setattr(fetch, "host_answers", lambda url: url == images.ARCHIVE.url)
    bunch = datasets.load_mnist(n_per_digit=1, data_home=tmp_path)
    assert asked == [("mnist_784", str(tmp_path))] and bunch.data[0, 0] == 200  # number 60,001 of all
    assert bunch.target.tolist() == [1, 2, 2, 3]
    with pytest.raises(OSError, match="MNIST data are not in the data home.*switched off"):
        datasets.load_mnist(data_home=tmp_path, download_if_missing=False)
    assert len(asked) == 1
