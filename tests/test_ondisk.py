"""Matrices on disk: what is written is what was given, also onto itself; damaged folders are refused in a sentence."""

import os
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import fastnmf
from fastnmf import open_csr, save_csr

X = sp.random_array((23, 7), density=0.4, rng=np.random.default_rng(0), format="csr")


def saved(folder):
    return open_csr(folder)[:].toarray()


@pytest.mark.parametrize(
    "blocks, dtype",
    [
        ([np.eye(2, dtype=np.uint8), np.eye(2) * 300.7], np.float64),
        ([np.eye(2) > 0, np.eye(2) * 7], np.float64),
        ([np.eye(2, dtype=np.float32), np.eye(2) * 1e300], np.float64),
        ([np.eye(2) * 1e300, np.eye(2, dtype=np.float32)], np.float64),
        ([np.eye(2, dtype=np.uint8), -np.eye(2, dtype=np.int8)], np.int16),
        ([np.eye(2, dtype=np.int16), np.eye(2, dtype=np.uint64) * 2**40], np.float64),
        ([np.eye(2) > 0, np.eye(2, dtype=np.int32) * 2**30, np.eye(2, dtype=np.float32)], np.float64),
        ([np.eye(2, dtype=np.float16), np.eye(2, dtype=np.float32)], np.float32),
    ],
)
def test_no_value_is_narrowed(blocks, dtype, tmp_path):
    for given in (blocks, [sp.csc_array(block) for block in blocks if block.dtype != np.float16]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = save_csr(iter(given), tmp_path)
        np.testing.assert_array_equal(found[:].toarray(), np.vstack([block.astype(dtype) for block in given_as(given)]))
        assert len(given) < len(blocks) or found.dtype == dtype


def given_as(blocks):
    return [block.toarray() if sp.issparse(block) else block for block in blocks]


def test_a_wider_type_reaches_all_earlier_values(tmp_path, monkeypatch):
    monkeypatch.setattr("fastnmf.data.ondisk._CHECKED_TOGETHER", 5)
    blocks = [(X * 10).astype(np.int8), (X * 1000).astype(np.int32), X]
    np.testing.assert_array_equal(save_csr(blocks, tmp_path)[:].toarray(), sp.vstack(blocks).toarray())


def test_integers_that_no_common_type_holds_are_refused(tmp_path):
    save_csr(X, tmp_path)
    large = np.eye(2, dtype=np.int64) * (2**53 + 1)
    for blocks in ([large, np.eye(2)], [np.eye(2), large], [large, np.eye(2, dtype=np.uint64)]):
        with pytest.raises(ValueError, match="cannot hold all their integers; convert"):
            save_csr(blocks, tmp_path)
    np.testing.assert_array_equal(saved(tmp_path), X.toarray())


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, bool, np.float32])
@pytest.mark.parametrize("form", ["coo", "csr", "csc"])
def test_duplicates_add_up_and_stay_in_the_argument(dtype, form, tmp_path):
    parts = np.array([1, 100, 100, 100]).astype(dtype), ([0, 1, 1, 1], [1, 0, 0, 0])
    given = sp.coo_array(parts, shape=(2, 2))
    if form != "coo":
        parts = {"csr": ([1, 0, 0, 0], [0, 1, 4]), "csc": ([1, 1, 1, 0], [0, 3, 4])}[form]
        values = given.data if form == "csr" else given.data[::-1]
        given = {"csr": sp.csr_array, "csc": sp.csc_array}[form]((values.copy(), *map(np.array, parts)), shape=(2, 2))
    before = {name: np.array(value) for name, value in vars(given).items() if isinstance(value, np.ndarray)}
    found = save_csr(given, tmp_path)[:].toarray()
    assert found[1, 0] == (3 if dtype is bool else 300) and found[0, 1] == 1
    after = {name: value for name, value in vars(given).items() if isinstance(value, np.ndarray)}
    assert before.keys() == after.keys() and all(np.array_equal(before[name], after[name]) for name in before)


def test_columns_beyond_32_bits(tmp_path):
    wide = sp.csr_array((np.ones(2), np.array([3, 2**33]), np.array([0, 1, 2])), shape=(2, 2**33 + 1))
    assert save_csr([wide, wide], tmp_path)[:].indices.tolist() == [3, 2**33, 3, 2**33]


def test_onto_itself(tmp_path):
    save_csr(X, tmp_path)
    before = open_csr(tmp_path)
    for source in (before.blocks(2), before, before[:], (block * 1 for block in open_csr(tmp_path).blocks(5))):
        save_csr(source, tmp_path)
        np.testing.assert_array_equal(saved(tmp_path), X.toarray())
    np.testing.assert_array_equal(before[:].toarray(), X.toarray())  # an open matrix stays what it was
    assert sorted(os.listdir(tmp_path)) == ["data.npy", "indices.npy", "indptr.npy", "shape.npy"]


class Broken(Exception):
    """Raised by a source of blocks."""


def broken():
    yield X
    raise Broken


BAD_BLOCKS = {
    "a source that breaks": (broken, Broken, ""),
    "other widths": (lambda: [X, X[:, :3]], ValueError, "A block has 3 columns"),
    "text": (lambda: [X, np.array([["a"]])], ValueError, "give sparse or dense matrices of numbers"),
    "objects": (lambda: np.array([[None]]), ValueError, "an array of object with 2 dimensions"),
    "rows": (lambda: [np.ones(7)], ValueError, "with 1 dimensions"),
    "a pair": (lambda: [(X, [1])], ValueError, "a tuple as a block"),
    "a stack": (lambda: np.ones((2, 2, 2)), ValueError, "with 3 dimensions"),
    "a word": (lambda: "words", ValueError, "a str as a block"),
    "a number": (lambda: 3, TypeError, "save_csr was given a int; give a matrix"),
    "nothing": (lambda: None, TypeError, "give a matrix"),
    "no block": (lambda: [], ValueError, "no block"),
    "a masked array": (lambda: np.ma.masked_equal(np.eye(7), 0), ValueError, "masked entries"),
}


@pytest.mark.parametrize("make, error, message", BAD_BLOCKS.values(), ids=BAD_BLOCKS)
def test_what_is_refused_leaves_the_old_matrix(make, error, message, tmp_path):
    save_csr(X, tmp_path / "X")
    for name in ("X", "new"):
        with pytest.raises(error, match=message):
            save_csr(make(), tmp_path / name)
    np.testing.assert_array_equal(saved(tmp_path / "X"), X.toarray())
    assert len(os.listdir(tmp_path / "X")) == 4


def test_data_frames(tmp_path):
    frame = pd.DataFrame(X.toarray(), columns=list("abcdefg"))
    for given in (frame, [frame[:9], frame[9:]]):
        np.testing.assert_array_equal(save_csr(given, tmp_path)[:].toarray(), X.toarray())


@pytest.mark.parametrize("kind", ["i1", "u1", ">i2", "<u2", ">i4", "<u4", "<i8", ">u8"])
def test_all_index_types_are_read(kind, tmp_path):
    save_csr(X, tmp_path)
    for name in ("indices", "indptr"):
        np.save(tmp_path / f"{name}.npy", np.load(tmp_path / f"{name}.npy").astype(kind))
    np.save(tmp_path / "data.npy", np.load(tmp_path / "data.npy").astype(">f8"))
    blocks = open_csr(tmp_path).blocks(6)
    for _ in range(2):
        np.testing.assert_array_equal(sp.vstack(list(blocks)).toarray(), X.toarray())
    model = fastnmf.MiniBatchNMF(2, random_state=0).fit_blocks(blocks)
    assert np.isfinite(model.components_).all()


def header(shape, kind="<f8"):
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


DAMAGE = {
    "empty": b"",
    "cut": header((3,))[:40],
    "text": b"0 1 2\n" * 20,
    "a promise": header((10**12,)) + b"0" * 64,
    "many dimensions": header((1,) * 60) + b"0" * 8,
    "objects": header((1,), "|O") + b"0" * 64,
    "negative": header((-3,)) + b"0" * 64,
    "a scalar": header(()) + b"0" * 8,
    "words": header((2,), "<U4") + b"0" * 32,
    "records": header((2,), [("a", "<i4"), ("b", "<i4")]) + b"\0" * 16,
    "NaN": header((2,)) + np.full(2, np.nan).tobytes(),
    "below zero": header((2,), "<i8") + np.array([-1, -1]).tobytes(),
    "zip": b"PK\x05\x06" + b"\0" * 18,
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_damaged_folders_are_refused_in_a_sentence(content, tmp_path):
    save_csr(X, tmp_path)
    for name in ("data", "indices", "indptr", "shape"):
        path = tmp_path / f"{name}.npy"
        whole = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(ValueError, match="write it again with save_csr|write them again with save_csr") as error:
            open_csr(tmp_path)
        assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(ValueError, match="it is not a file"):
            open_csr(tmp_path)
        path.unlink()
        path.write_bytes(whole)
    np.testing.assert_array_equal(saved(tmp_path), X.toarray())


def test_blocks_of_no_rows_are_refused(tmp_path):
    disk = save_csr(X, tmp_path)
    for n_rows in (-1, 0, 2.5, True, None, "3"):
        with pytest.raises(ValueError, match="expected an integer >= 1, the rows of a block"):
            disk.blocks(n_rows)
    assert [block.shape[0] for block in disk.blocks(np.int32(20))] == [20, 3]
