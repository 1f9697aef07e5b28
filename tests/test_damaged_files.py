"""Files that are damaged, or that others write: right numbers, or one sentence that names the file."""

import gzip
import os

import numpy as np
import pytest
import scipy.sparse as sp
from test_cells import cells, write_10x  # noqa: F401  (a fixture)
from test_tables import same

from fastnmf import read, save_csr

HEADER = "%%MatrixMarket matrix coordinate real general\n3 2 2\n"
X = np.array([[1.0, 0], [0, 0], [0, 20]])


def refused(path, what="", **options):
    """Read a file that must be refused by one sentence, which names it."""
    with pytest.raises((ValueError, TypeError), match=what) as caught:
        read(path, **options)
    said = str(caught.value)
    assert said.endswith(".") and "\n" not in said and len(said) < 400 and said.count(str(path)) == 1, said


def written(path, content):
    """Write bytes or text to a file, compressed where its name ends so; return its path."""
    content = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(content) if path.name.lower().endswith(".gz") else content)
    return path


@pytest.mark.parametrize("name", ["x.mtx", "X.MTX.GZ"])
def test_matrix_market_at_which_the_reader_of_scipy_crashes(name, tmp_path):
    path = tmp_path / name
    for body in ("1 1 1\n3 2 20", "1 1 1\n3 2 20\n", "3 2 20\n\n1 1 1", "1 1 1\r\n3 2 20\r\n"):
        same(read(written(path, HEADER + body)).data, sp.csr_array(X))
    for body in (
        "1 1 1\n3 2 ",
        "1 1 1\n3 2",
        "1 1 1\n3 2 2e",
        "1 1 1\n3 2 20\0\n",
        "1 1 1\0003 2 20\n",
        "1 1 1\n3 2 \xff",
    ):
        refused(written(path, (HEADER + body).encode("latin-1")))
    for number in ("1,5", "1D3", "2;", "0x10"):
        refused(written(path, HEADER + f"1 1 {number}\n3 2 2\n"), "among its numbers")
    same(
        read(written(path, HEADER.replace("3 2 2", "% a, b: c\n%\n3 2 2") + "1 1 1.0E0\n3 2 2e1\n")).data,
        sp.csr_array(X),
    )
    refused(written(path, "%%MatrixMarket matrix coordinate real symmetric\n2 3 1\n1 1 2\n"), "symmetric, but 2 rows")
    refused(written(path, HEADER.replace("3 2 2", f"{10**9} {10**9} {10**12}")), "declares .* bytes of data but holds")
    none = read(written(path, "%%MatrixMarket matrix array real general\n0 2\n")).data
    assert none.shape == (0, 2)
    assert read(written(path, "%%MatrixMarket matrix array real general\n1 1\n3\n")).data.tolist() == [[3.0]]


def test_arrays_that_are_no_numbers(tmp_path):
    for kind in ("M8[s]", "m8[s]", "V4", [("a", float)]):
        np.save(tmp_path / "x.npy", np.zeros((2, 2), kind))
        refused(tmp_path / "x.npy", "only real numbers")
    parts = {"format": b"dia", "shape": [10**6, 10**6], "data": np.ones((10**5, 1)), "offsets": np.arange(10**5)}
    np.savez_compressed(tmp_path / "x.npz", **parts)  # 100 GB of work in a file of a few kB
    refused(tmp_path / "x.npz", "declares")
    with pytest.raises(ValueError, match="The path is empty"):
        read("")


def test_labels_in_damaged_files(tmp_path):
    np.save(tmp_path / "x.npy", X)
    labels = tmp_path / "labels.npy"
    head = (
        b"\x93NUMPY\x01\x00"
        + b"v\0"
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (10**12,)}".ljust(117)
        + b"\n"
    )
    for content in (b"", b"PK\x03\x04", head.replace(b"10**12", b"%d" % 10**12)):
        labels.write_bytes(content)
        with pytest.raises(ValueError, match=r"labels.npy cannot be read as an .npy array \(.*\)\.$"):
            read(tmp_path / "x.npy", strata=str(labels))
    for wrong, what in (
        (3.0, "has 0 dimensions"),
        ([1.0, np.nan, 2.0], "missing label .* in row 1"),
        ([1, 2], "has 2 labels"),
    ):
        np.save(labels, wrong)
        with pytest.raises(ValueError, match=f"labels.npy .*{what}"):
            read(tmp_path / "x.npy", strata=str(labels))
    written(tmp_path / "depth.txt", "1\n1_0\n2\n")
    with pytest.raises(ValueError, match="has '1_0'; expected a number"):
        read(tmp_path / "x.npy", exposure=str(tmp_path / "depth.txt"))


def test_numbers_of_tables_are_those_that_other_programs_read(tmp_path):
    same(read(written(tmp_path / "a.csv", "a_1,b_2\n1e1, 2\n3,.5\n")).data, sp.csr_array([[10.0, 2], [3, 0.5]]))
    refused(written(tmp_path / "a.csv", "a,b\n1,2\n1_000,3\n"), "Line 3 of .* has no number: 'a' is '1_000'")
    refused(written(tmp_path / "a.jsonl", '{"a": 1}\n{"a": "1_0"}\n'), "Line 2 of .* has no number")
    path = written(tmp_path / "a.csv", "user,item,rating\nu_1,i_1,5\nu_2,i_1,1_0\n")
    refused(path, "Line 3", triplets="user,item,rating")
    for options, kind in (({"encoding": 3}, TypeError), ({"encoding": "punycode"}, ValueError)):
        with pytest.raises(kind, match=r"\.$"):
            read(path, **options)
    with pytest.raises(ValueError, match="triplets=5 is not valid"):
        read(path, triplets=5)
    with pytest.raises(NotADirectoryError, match="a.csv is a file; give the path of a folder"):
        save_csr(X, path)


def test_the_index_of_pandas_in_parquet_is_no_feature(tmp_path):
    pytest.importorskip("pyarrow")
    pandas, path = pytest.importorskip("pandas"), tmp_path / "x.parquet"
    frame = pandas.DataFrame(X, columns=["a", "b"])
    frame.index = pandas.Index([7, 8, 9], name="id")
    frame.to_parquet(path)
    found = read(path)
    same(found.data, sp.csr_array(X))
    assert found.feature_names.tolist() == ["a", "b"] and found.row_names.tolist() == ["7", "8", "9"]
    assert read(path, strata="id").strata.tolist() == [7, 8, 9]
    frame.index = pandas.MultiIndex.from_arrays([[1, 1, 2], [1, 2, 1]], names=["site", None])
    frame.to_parquet(path)
    found = read(path, strata="site")
    same(found.data, sp.csr_array(X))
    assert found.feature_names.tolist() == ["a", "b"] and found.strata.tolist() == [1, 1, 2]


# ---------------------------------------------------------------- HDF5


def test_damaged_h5ad(cells, tmp_path):  # noqa: F811
    h5py, path = pytest.importorskip("h5py"), tmp_path / "cells.h5ad"
    cells.write_h5ad(tmp_path / "whole.h5ad")

    def altered(change):
        path.write_bytes((tmp_path / "whole.h5ad").read_bytes())
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    def without(name):
        return lambda file: file.__delitem__(name)

    def with_attribute(name, attribute, value):
        return lambda file: file[name].attrs.__setitem__(attribute, value)

    def exchanged(name, values):
        return lambda file: (file.__delitem__(name), file.__setitem__(name, values))

    for name in ("obs", "obs/_index", "obs/batch/codes", "var/highly_variable"):
        refused(altered(without(name)), "cannot be read as an .h5ad .*; write it again with anndata")
    for change in (
        with_attribute("obs", "encoding-type", "unknown"),
        with_attribute("X", "encoding-type", "array"),
        with_attribute("X", "shape", "x"),
        lambda file: file["X"].attrs.__delitem__("shape"),
        lambda file: (file.__delitem__("X/data"), file.create_group("X/data")),
        exchanged("X/data", 3.0),
        exchanged("obs/_index", h5py.SoftLink("/nowhere")),
    ):
        refused(altered(change))
    for name in ("X", "layers/columns"):  # bounds that end too early, or do not begin at 0
        bounds = h5py.File(tmp_path / "whole.h5ad")[name]["indptr"][:]
        for wrong in (np.minimum(bounds, 3), bounds + 1, bounds[::-1].copy()):
            refused(altered(exchanged(f"{name}/indptr", wrong)), layer=name.split("/")[-1] if "/" in name else None)
    whole = (tmp_path / "whole.h5ad").read_bytes()
    for size in (0, 100, len(whole) // 2):
        refused(written(path, whole[:size]), "cannot be read as HDF5")


def test_cells_without_rows(cells, tmp_path):  # noqa: F811
    for form in (sp.csr_matrix, sp.csc_matrix, np.asarray):
        none = cells[:0].copy()
        none.X = form(np.ones((0, 4)))
        none.write_h5ad(tmp_path / "none.h5ad")
        assert read(tmp_path / "none.h5ad").data.shape == (0, 4)
        assert read(tmp_path / "none.h5ad", folder=tmp_path / "csr").data.shape == (0, 4)


def test_marks_of_highly_variable_genes(cells, tmp_path):  # noqa: F811
    pandas, path = pytest.importorskip("pandas"), tmp_path / "cells.h5ad"
    for marks in (
        pandas.Categorical(["True", "False", "True", "False"]),  # as anndata writes what was joined
        np.array([1.0, np.nan, 1.0, 0.0]),
        pandas.array([True, None, True, None], dtype="boolean"),
    ):
        cells.var["highly_variable"] = marks
        cells.write_h5ad(path)
        same(read(path, use_highly_variable=True).data, sp.csr_array(cells.X[:, [0, 2]]))
    cells.var["highly_variable"] = list("abcd")
    cells.write_h5ad(path)
    refused(path, "has 'a'; expected true or false", use_highly_variable=True)
    cells.var["highly_variable"], cells.var_names = [True, False, False, False], ["A", "A", "B", "C"]
    cells.write_h5ad(path)  # a name that occurs twice, once marked
    same(read(path, use_highly_variable=True).data, sp.csr_array(cells.X[:, [0]]))


def test_damaged_files_of_10x(tmp_path):
    h5py, path = pytest.importorskip("h5py"), tmp_path / "x.h5"
    counts = sp.csr_array(np.arange(12.0).reshape(3, 4))
    parts = {name: getattr(counts, name) for name in ("data", "indices", "indptr")} | {"shape": [4, 3]}
    parts |= {"barcodes": np.array(list("xyz"), "S"), "features/name": np.array(list("abcd"), "S")}
    parts |= {"features/id": parts["features/name"], "features/feature_type": np.array(["Gene Expression"] * 4, "S")}
    for name, other in (("", None), *((name, None) for name in parts), ("shape", 3), ("features/name", np.arange(4))):
        with h5py.File(path, "w") as file:
            file["dangling" if name else "numbers"] = h5py.SoftLink("/nowhere") if name == "shape" else np.arange(3)
            for each, values in parts.items():
                if (values := other if each == name else values) is not None:
                    file[f"matrix/{each}"] = values
        if name in ("", "features/feature_type"):
            same(read(path).data, counts)
        else:
            refused(path)
    folder = write_10x(tmp_path / "folder", np.ones((3, 4)))
    (folder / "barcodes.tsv.gz").unlink()
    os.mkfifo(folder / "barcodes.tsv.gz")
    with pytest.raises(ValueError, match="neither a file nor a folder"):  # reading it would wait for ever
        read(folder)
