"""The front door: what it accepts, what it refuses and in which words, and the layout behind it."""

import numpy as np
import oracles
import pandas as pd
import pytest
import scipy.sparse as sp

import fastnmf
from fastnmf.core.problem import full
from fastnmf.data.labels import encode_labels
from fastnmf.data.layout import Compressed, Grouping, linear_index, row_index, row_squares
from fastnmf.data.strata import Strata
from fastnmf.kernels.records import LazyRows
from fastnmf.kernels.row_intrinsics import padded


@pytest.fixture
def X():
    return sp.random_array((40, 25), density=0.2, rng=np.random.default_rng(1), format="csr")


@pytest.mark.parametrize(
    "form", [sp.csr_array, sp.csr_matrix, sp.csc_matrix, sp.coo_array, sp.dok_array, sp.lil_matrix]
)
def test_sparse_formats_become_the_same_csr(X, form):
    data = Strata.from_array(form(X))
    assert (data.X != X).nnz == 0 and data.dtype == np.float64
    assert data.rows.indptr.dtype == np.int64 and data.rows.indices.dtype == np.int32


@pytest.mark.parametrize(
    "dtype, want",
    [
        (bool, np.float64),
        (np.uint8, np.float64),
        (np.int64, np.float64),
        (np.float16, np.float32),
        (np.float32, np.float32),
        (">f8", np.float64),
    ],
)
def test_dtypes(dtype, want):
    data = Strata.from_array(np.eye(3).astype(dtype))
    assert data.dtype == want and data.dtype.isnative and data.sq_norm == 3


def test_canonical_input_is_not_copied(X):
    assert np.shares_memory(Strata.from_array(X).X.data, X.data)
    dense = X.toarray()
    assert Strata.from_array(dense).X is dense


def test_large_unsorted_rows_are_used_as_they_are_and_duplicates_summed():
    rng = np.random.default_rng(0)
    X = sp.random_array((900, 800), density=0.4, rng=rng, format="csr")
    order = np.concatenate([np.arange(a, b)[::-1] for a, b in zip(X.indptr[:-1], X.indptr[1:], strict=True)])
    backwards = sp.csr_array((X.data[order], X.indices[order], X.indptr), shape=X.shape)
    data = Strata.from_array(backwards, rng.integers(0, 3, 900))
    assert np.shares_memory(data.X.data, backwards.data)
    out = np.empty((900, 4))
    data.matmul(np.ones((800, 4)), out)
    np.testing.assert_allclose(out[:, 0], X.sum(axis=1))
    backwards.indices[-1] = backwards.indices[-2]
    doubled = Strata.from_array(backwards)
    assert doubled.X.nnz == X.nnz - 1 and doubled.X.sum() == pytest.approx(X.sum())
    assert doubled.sq_norm > data.sq_norm


def test_input_is_never_modified():
    messy = sp.csr_array((np.array([1.0, 0, 2, 3]), np.array([2, 0, 2, 1]), np.array([0, 3, 4])), shape=(2, 3))
    before = [a.copy() for a in (messy.data, messy.indices, messy.indptr)]
    assert Strata.from_array(messy).X.toarray().tolist() == [[0, 0, 3], [0, 3, 0]]
    for a, b in zip(before, (messy.data, messy.indices, messy.indptr), strict=True):
        np.testing.assert_array_equal(a, b)


def test_read_only_and_memory_mapped_buffers(X, tmp_path):
    np.save(tmp_path / "x.npy", X.toarray())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(Strata.from_array(mapped).X, X.toarray())
    frozen = X.copy()
    for array in (frozen.data, frozen.indices, frozen.indptr):
        array.flags.writeable = False
    out = np.empty((40, 4))
    Strata.from_array(frozen).matmul(np.ones((25, 4)), out)
    np.testing.assert_allclose(out[:, 0], X.sum(axis=1))


def test_frames_and_lists():
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 0]})
    assert Strata.from_array(frame, pd.Series(["x", "y"])).X.tolist() == [[1, 0.5], [2, 0]]
    assert Strata.from_array([[1, 2], [3, 4]]).shape == (2, 2)


@pytest.mark.parametrize("labels, want", [
    ([3, 1, 3, 2], [1, 2, 3]),
    (["b", "a", "b", "c"], ["a", "b", "c"]),
    (pd.Categorical(["lo", "hi", "lo", "hi"]), ["hi", "lo"]),
    (np.array([True, False, True, True]), [False, True]),
    (np.array(["2020", "2021", "2020", "2021"], dtype="datetime64[Y]"), None),
    ([0.5, 2.5, 0.5, 0.5], [0.5, 2.5]),
])  # fmt: skip
def test_labels_of_any_kind(labels, want):
    codes, found = encode_labels(labels, 4)
    assert codes.dtype == np.int32 and (want is None or found.tolist() == want)
    assert (found[codes] == np.asarray(labels)).all()


REFUSED = [
    (lambda: Strata.from_array([1.0, 2]), ValueError, "1D array.*reshape"),
    (lambda: Strata.from_array(np.ones((2, 2, 2))), ValueError, "3D array"),
    (lambda: Strata.from_array(np.empty((0, 3))), ValueError, "shape \\(0, 3\\) is empty"),
    (lambda: Strata.from_array(sp.csr_array((3, 0))), ValueError, "is empty"),
    (lambda: Strata.from_array([[1, -2.5]]), ValueError, "Negative values in data: the smallest entry of X is -2.5"),
    (lambda: Strata.from_array(sp.csr_array([[1, -2.5]])), ValueError, "Negative values in data"),
    (lambda: Strata.from_array([[1, np.nan]]), ValueError, "NaN"),
    (lambda: Strata.from_array(sp.csr_array([[1, np.inf]])), ValueError, "infinity"),
    (lambda: Strata.from_array([[1, 2j]]), ValueError, "complex128"),
    (lambda: Strata.from_array(np.array([["a", "b"]])), TypeError, "only real numbers"),
    (lambda: Strata.from_array(np.array([[1, None]], dtype=object)), TypeError, "object"),
    (lambda: Strata.from_array(np.eye(3), [0, 1]), ValueError, "2 labels for 3 rows"),
    (lambda: Strata.from_array(np.eye(2), [[0], [1]]), ValueError, "2 dimensions"),
    (lambda: Strata.from_array(np.eye(2), [0.0, np.nan]), ValueError, "missing label"),
    (lambda: Strata.from_array(np.eye(2), ["a", None]), ValueError, "missing label"),
    (lambda: Strata.from_array(np.eye(2), pd.array(["a", pd.NA], dtype="string")), ValueError, "missing label"),
    (lambda: Strata.from_array(np.eye(2), np.array(["a", 1], dtype=object)), ValueError, "mixes labels"),
    (
        lambda: Strata.from_array(np.eye(2), ["a", "z"], labels=np.array(["a", "b"])),
        ValueError,
        "'z'.*not seen in fit",
    ),
    (lambda: Strata.from_blocks([np.eye(2), np.ones((1, 3))]), ValueError, r"\[2, 3\] columns"),
    (lambda: Strata.from_blocks([]), ValueError, "no block"),
    (lambda: Strata.from_blocks(np.eye(2)), TypeError, "list of matrices"),
    (lambda: Strata.from_blocks([np.eye(2), -np.eye(2)]), ValueError, "Block 1: Negative"),
]


@pytest.mark.parametrize("call, error, message", REFUSED)
def test_bad_input_gets_one_clear_sentence(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_blocks_are_the_stacked_matrix(X):
    blocks = [X[:10], X[10:11].toarray(), sp.coo_matrix(X[11:])]
    data = Strata.from_blocks(blocks)
    assert data.is_sparse and (data.X != X).nnz == 0
    assert data.groups.sizes.tolist() == [10, 1, 29] and data.labels.tolist() == [0, 1, 2]
    dense = Strata.from_blocks([X[:10].toarray(), X[10:].toarray().astype(np.float32)])
    assert not dense.is_sparse and dense.dtype == np.float64


@pytest.mark.parametrize("is_sparse", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_pattern_and_sums(X, is_sparse, dtype):
    rng, rank = np.random.default_rng(0), 3
    codes = rng.integers(0, 4, 40)
    data = Strata.from_array((X if is_sparse else X.toarray()).astype(dtype), codes)
    K = padded(rank, dtype)
    W, H = np.zeros((40, K), dtype), np.zeros((25, K), dtype)
    W[:, :rank], H[:, :rank] = rng.random((40, rank)), rng.random((25, rank))
    tolerance = {"rtol": 1e-5 if dtype == np.float32 else 1e-12, "atol": 1e-6 if dtype == np.float32 else 1e-13}
    out = np.empty_like(W)
    data.matmul(H, out)
    np.testing.assert_allclose(out, X @ H.astype(float), **tolerance)
    out = np.empty_like(H)
    data.tmatmul(W, out)
    np.testing.assert_allclose(out, X.T @ W.astype(float), **tolerance)
    blocks = [X.toarray()[codes == s] for s in range(4)]
    V = np.array([block.sum(axis=0) for block in blocks])
    pattern = data.pattern
    np.testing.assert_allclose(pattern.dense(pattern.sums), V, **tolerance)
    assert len(pattern.sums) == np.count_nonzero(V)
    v = rng.random(len(pattern.sums)).astype(dtype)
    V = pattern.dense(v)
    np.testing.assert_array_equal(pattern.entries(V), v)
    S = np.array([W[codes == s].sum(axis=0) for s in range(4)], dtype)
    np.testing.assert_allclose(data.groups.sum(W), S, **tolerance)
    mixed = full(LazyRows(pattern.start, pattern.group, v, S))
    np.testing.assert_allclose(mixed, V.T.astype(float) @ S, **tolerance)
    np.testing.assert_allclose(pattern.tmatmul(v, H), V.astype(float) @ H, **tolerance)
    dots = np.empty_like(v)
    pattern.sampled(H, S, dots)
    np.testing.assert_allclose(pattern.dense(dots), np.where(V > 0, S.astype(float) @ H.T, 0), **tolerance)
    V64 = V.astype(float)
    want = oracles.squared_loss(blocks, V64, [W[codes == s].astype(float) for s in range(4)], H.T.astype(float))
    assert data.residual_square_sum(W, H, V64) == pytest.approx(want, rel=1e-6 if dtype == np.float32 else 1e-12)
    per_row = ((X.toarray() - V64[codes]) ** 2).sum(axis=1)
    np.testing.assert_allclose(data.row_square_sums(V64), per_row, rtol=1e-5, atol=1e-5)


def test_a_pattern_that_covers_more_shifts():
    X, strata = sp.csr_array(np.diag([1.0, 2, 3, 0])), [0, 1, 1, 2]
    data = Strata.from_array(X, strata)
    V = np.array([[0, 0, 5, 0], [4.0, 0, 0, 0], [0, 0, 0, 1]])
    pattern = data.pattern.covering(V)
    np.testing.assert_array_equal(pattern.start, [0, 2, 3, 5, 6])
    np.testing.assert_array_equal(pattern.group, [0, 1, 1, 0, 1, 2])
    np.testing.assert_array_equal(pattern.sums, [1, 0, 2, 0, 3, 0])
    np.testing.assert_array_equal(pattern.dense(pattern.entries(V)), V)
    np.testing.assert_array_equal(data.pattern.covering(0 * V).group, data.pattern.group)


def test_groups_larger_than_a_piece_and_groups_of_one():
    rng = np.random.default_rng(0)
    codes = np.concatenate([np.zeros(5000, int), [1], np.full(1024, 2), np.full(1025, 3)])[rng.permutation(7050)]
    F = rng.random((7050, 4))
    want = np.array([F[codes == g].sum(axis=0) for g in range(4)])
    np.testing.assert_allclose(Grouping(codes.astype(np.int32), 4).sum(F), want, rtol=1e-12)


@pytest.mark.parametrize(
    "dtype, largest, is_scaled",
    [
        (np.float64, 1e20, False),
        (np.float64, 1e150, True),
        (np.float64, 1e-150, True),
        (np.float32, 1e5, False),
        (np.float32, 1e30, True),
        (np.float32, 1e-30, True),
    ],
)
def test_extreme_scales_are_taken_out_by_a_power_of_two(dtype, largest, is_scaled):
    for form in (np.asarray, sp.csr_array):
        X = form(np.array([[largest, 0], [largest / 3, largest / 7]], dtype))
        data = Strata.from_array(X)
        assert (data.log4_scale != 0) == is_scaled
        values, inner = (X.data, data.X.data) if sp.issparse(X) else (X, data.X)
        np.testing.assert_array_equal(np.ldexp(inner, -2 * data.log4_scale), values)  # exact
        assert np.isfinite(data.sq_norm) and data.sq_norm > 0 and (not is_scaled or 0.1 < inner.max() < 10)


@pytest.mark.parametrize(
    ("old", "new"), [("codes", "stratum_index"), ("exponent", "log4_scale"), ("loading", "row_scale")]
)
def test_old_names_of_strata_work_and_warn(old, new):
    data = Strata.from_array(np.eye(3), ["b", "a", "b"])
    with pytest.warns(FutureWarning, match=f"use Strata.{new}"):
        found = getattr(data, old)
    assert found is getattr(data, new)


def test_old_names_of_the_catalogue_work_and_warn():
    entry = fastnmf.catalogue("NMF")[0]
    with pytest.warns(FutureWarning, match="use Entry.monotone"):
        assert entry.never_rises is entry.monotone
    with pytest.warns(FutureWarning, match="use Entry.monotone_note"):
        assert entry.rises_note is entry.monotone_note


def test_rows_of_entries_are_those_of_the_plain_loops():
    X = sp.random_array((9, 7), density=0.4, format="csr", rng=np.random.default_rng(3))
    X = sp.csr_array(X.toarray() * (np.arange(9) % 4 > 0)[:, None])  # empty rows, the first and the last among them
    want = [i for i in range(9) for j in range(7) if X[i, j] != 0]
    for given in (X, Compressed(X.indptr, X.indices, X.data), X.indptr):
        assert row_index(given).tolist() == want
    assert linear_index(X).tolist() == [7 * i + j for i in range(9) for j in range(7) if X[i, j] != 0]
    assert row_index(X.indptr, np.int32).dtype == np.int32 and row_index(X).dtype == np.int64
    assert row_index(sp.csr_array((3, 2))).tolist() == []


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_squares_of_rows_are_those_of_the_plain_loops(dtype):
    X = sp.random_array((9, 7), density=0.4, format="csr", dtype=dtype, rng=np.random.default_rng(3))
    X = sp.csr_array(X * (np.arange(9) != 4)[:, None])  # a row without entries
    want = [sum(float(X[i, j]) ** 2 for j in range(7)) for i in range(9)]
    for form in (X, X.toarray()):
        found = row_squares(form)
        np.testing.assert_allclose(found, want, rtol=1e-14)
        assert found.dtype == np.float64 and found[4] == 0
