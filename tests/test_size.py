"""What `estimate` says beside what fits take."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

from fastnmf import NMF, StratifiedNMF, estimate, open_csr, save_csr


def texts(n_rows=6000, n_columns=3000, per_row=60):
    rng = np.random.default_rng(0)
    words = np.minimum(rng.geometric(0.002, n_rows * per_row), n_columns) - 1
    X = sp.coo_array((rng.random(len(words)), (np.repeat(np.arange(n_rows), per_row), words)), (n_rows, n_columns))
    X = X.tocsr()
    return sp.csr_array((X.data, X.indices.astype(np.int32), X.indptr.astype(np.int32)), X.shape), rng.integers(
        0, 8, n_rows
    )


X, GROUPS = texts()


def peak_of(run):
    run()  # compiles, and fills caches
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rank", [5, 40])
def test_a_fit_in_memory_takes_about_what_was_said(rank, dtype):
    data = X.astype(dtype)
    said = estimate(data, rank, n_strata=8)
    assert said.data == pytest.approx(data.data.nbytes + data.indices.nbytes, rel=0.1)
    options = {"random_state": 0, "max_iter": 3, "tol": 0, "init": "features"}
    found = peak_of(lambda: StratifiedNMF(rank, **options).fit(data, strata=GROUPS))
    assert 0.6 < said.in_memory / found < 1.6
    found = peak_of(lambda: NMF(rank, **options).fit(data))
    assert 0.6 < estimate(data, rank).in_memory / found < 1.6


def test_a_fit_from_disk_takes_about_what_was_said(tmp_path, monkeypatch):
    monkeypatch.setattr("fastnmf.selection.size._CHUNK_ENTRIES", X.nnz // 6)
    disk = save_csr(X, tmp_path, columns=1000)
    said = estimate(disk, 20, n_strata=8)
    options = {"random_state": 0, "max_iter": 3, "tol": 0, "init": "features"}
    found = peak_of(lambda: StratifiedNMF(20, **options).fit(disk, strata=GROUPS))
    assert 0.5 < said.on_disk / found < 2
    on_disk = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert said.files == pytest.approx(on_disk, rel=0.1)


def test_a_pass_takes_about_what_was_said():
    one, twice = (estimate(data, 10, n_threads=1).seconds_per_pass for data in (X, sp.vstack([X] * 8)))
    assert 0 < one < 5 and 2 < twice / one < 32


def test_a_shape_is_enough(tmp_path):
    save_csr(X, tmp_path)
    of_shape = estimate(X.shape, 20, n_entries=X.nnz, n_strata=8)
    for data in (X, open_csr(tmp_path)):
        found = estimate(data, 20, n_strata=8)
        for name in ("data", "in_memory", "on_disk", "files"):
            assert getattr(of_shape, name) == getattr(found, name)
    assert estimate(X.shape, 20, n_entries=X.nnz, dtype=np.float32).data < of_shape.data
    large = str(estimate((10**7, 50_000), 20, n_entries=10**9, n_strata=20))
    assert large.startswith("In memory: 12.1 GB of data and ") and "\nFrom disk: " in large
    assert " MB of data" in str(of_shape)


def test_what_cannot_be_estimated_is_refused():
    with pytest.raises(ValueError, match="the shape \\(3, 4\\) and no n_entries, the number of non-zeros"):
        estimate((3, 4))
    with pytest.raises(ValueError, match="is not valid; expected \\(n_samples, n_features\\)"):
        estimate((3, -4), n_entries=2)
    with pytest.raises(ValueError, match="n_entries=13 is more than a matrix of shape \\(3, 4\\) has"):
        estimate((3, 4), n_entries=13)
    with pytest.raises(TypeError, match="was given a ndarray; give a sparse matrix, open_csr\\(folder\\), or a shape"):
        estimate(np.ones((3, 4)))
    for dtype in (1, "float16", np.int64, [np.float32], "no such"):
        with pytest.raises(ValueError, match="is not known; expected numpy.float32, numpy.float64, or None"):
            estimate(X, dtype=dtype)
    with pytest.raises(ValueError, match="n_components"):
        estimate(X, 0)
    for n_threads in (0, True, "2"):
        with pytest.raises(ValueError, match=f"n_threads={n_threads!r} is not valid; expected an integer >= 1"):
            estimate(X, n_threads=n_threads)
