"""Counts of cells through `fastnmf.read`: .h5ad, and the folders and .h5 files of 10x Genomics."""

import gzip

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from test_tables import same

from fastnmf import StratifiedNMF, read

GENES = ["CD79A", "GNLY", "LYZ", "NKG7"]


@pytest.fixture
def cells():
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    counts = np.random.default_rng(1).poisson(1.0, (7, 4))
    obs = pandas.DataFrame({"batch": pandas.Categorical(list("xyxyxyx")), "part": [None, *"abcdef"]})
    obs.index = [f"cell{i}" for i in range(7)]
    found = anndata.AnnData(sp.csr_matrix(np.log1p(counts)), obs, pandas.DataFrame(index=GENES))
    found.raw = found.copy()
    found.var["highly_variable"] = [True, False, True, False]
    found.layers["counts"], found.layers["dense"] = sp.csr_matrix(counts), counts.astype(np.float32)
    found.layers["columns"] = sp.csc_matrix(counts)
    return found


def test_cells_of_anndata(cells, tmp_path):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    counts, path = sp.csr_array(cells.layers["counts"].astype(float)), tmp_path / "cells.h5ad"
    found = read(path, strata="batch", layer="counts")
    same(found.data, counts)
    assert found.feature_names.tolist() == GENES and found.row_names.tolist() == cells.obs_names.tolist()
    assert found.strata.tolist() == list("xyxyxyx") and found.source["layer"] == "counts"
    whole, short = read(path), {"max_iter": 2, "tol": 0, "random_state": 0}
    same(whole.data, sp.csr_array(cells.X))
    by_name = StratifiedNMF(2, **short).fit(whole, strata="batch")  # a column that was not named when it was read
    assert (by_name.W_ == StratifiedNMF(2, **short).fit(cells, strata="batch").W_).all()
    assert (by_name.transform(whole[2:5], strata="batch") == by_name.transform(cells[2:5], strata="batch")).all()
    same(read(path, raw=True).data, sp.csr_array(cells.raw.X))
    same(read(path, layer="columns").data, counts)
    same(read(path, layer="counts", folder=tmp_path / "csr").data[:], counts)
    dense = read(path, layer="dense").data
    assert isinstance(dense, np.ndarray) and dense.dtype == np.float32 and (dense == cells.layers["dense"]).all()
    few = read(path, layer="counts", use_highly_variable=True)
    same(few.data, counts[:, [0, 2]])
    again = read(path, source=few.source)
    same(again.data, few.data)
    cells[:, ::-1].copy().write_h5ad(tmp_path / "turned.h5ad")
    again = read(tmp_path / "turned.h5ad", source=found.source)
    same(again.data, counts)
    assert again.feature_names.tolist() == GENES and again.strata.tolist() == list("xyxyxyx")
    cells[:, :2].copy().write_h5ad(tmp_path / "few.h5ad")
    with pytest.raises(ValueError, match="lacks the feature 'LYZ' and 1 others of the 4"):
        read(tmp_path / "few.h5ad", source=found.source)


def test_blocks_of_a_backed_file(cells, tmp_path, monkeypatch):
    monkeypatch.setattr("fastnmf.io.cells._BLOCK_BYTES", 100)  # a row or two
    cells.write_h5ad(tmp_path / "cells.h5ad")
    want, path = sp.csr_array(cells.layers["counts"].astype(float)), tmp_path / "cells.h5ad"
    same(read(path, layer="counts").data, want)
    same(read(path, layer="counts", folder=tmp_path / "csr").data[:], want)
    assert (read(path, layer="dense").data == cells.layers["dense"]).all()


def write_10x(folder, counts, *, genes=GENES, types=("Gene Expression",) * 4, prefix="", more=".gz"):
    """Write cells x genes as Cell Ranger does."""
    folder.mkdir()
    opened = gzip.open if more else open
    scipy.io.mmwrite(folder / "m.mtx", sp.coo_array(counts.T), field="integer")
    text = (folder / "m.mtx").read_text()
    (folder / "m.mtx").unlink()
    features = "".join(f"ENSG{j}\t{gene}\t{kind}\n" for j, (gene, kind) in enumerate(zip(genes, types, strict=True)))
    barcodes = "".join(f"AAAC{i}-1\n" for i in range(len(counts)))
    for name, content in (("matrix.mtx", text), ("barcodes.tsv", barcodes), ("features.tsv", features)):
        with opened(folder / f"{prefix}{name}{more}", "wt") as file:
            file.write(content)
    return folder


@pytest.mark.parametrize(("prefix", "more"), [("", ".gz"), ("GSM1_", "")])
def test_a_folder_of_10x(prefix, more, tmp_path):
    counts = np.random.default_rng(1).poisson(1.0, (7, 4))
    path = write_10x(tmp_path / "tenx", counts, prefix=prefix, more=more)
    (tmp_path / "batch.txt").write_text("\n".join("aabbaab"))
    found = read(path, strata=str(tmp_path / "batch.txt"))
    same(found.data, sp.csr_array(counts.astype(float)))
    assert found.feature_names.tolist() == GENES and found.row_names.tolist() == [f"AAAC{i}-1" for i in range(7)]
    assert found.strata.tolist() == list("aabbaab")
    if prefix:
        (path / f"{prefix}features.tsv").rename(path / f"{prefix}genes.tsv")  # as version 2 did
        same(read(path, folder=tmp_path / "csr").data[:], found.data)


def test_genes_of_10x_are_told_apart_and_other_features_are_left_out(tmp_path):
    counts = np.arange(1, 9).reshape(2, 4)
    types = ("Gene Expression", "Antibody Capture", "Gene Expression", "Gene Expression")
    found = read(write_10x(tmp_path / "tenx", counts, genes=["A", "CD3", "A", "B"], types=types))
    assert found.feature_names.tolist() == ["A (ENSG0)", "A (ENSG2)", "B"]
    same(found.data, sp.csr_array(counts[:, [0, 2, 3]].astype(float)))


@pytest.mark.parametrize("version", [2, 3])
def test_h5_of_10x(version, tmp_path):
    h5py = pytest.importorskip("h5py")
    counts = sp.csr_array(np.random.default_rng(1).poisson(1.0, (7, 4)))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = file.create_group("matrix" if version == 3 else "GRCh38")
        for name, array in (("data", counts.data), ("indices", counts.indices), ("indptr", counts.indptr)):
            group[name] = array
        group["shape"], group["barcodes"] = [4, 7], np.array([f"AAAC{i}-1" for i in range(7)], dtype="S")
        table = group.create_group("features") if version == 3 else group
        table["id" if version == 3 else "genes"] = np.array([f"ENSG{j}" for j in range(4)], dtype="S")
        table["name" if version == 3 else "gene_names"] = np.array(GENES, dtype="S")
    found = read(tmp_path / "x.h5")
    same(found.data, counts.astype(float))
    assert found.feature_names.tolist() == GENES and found.row_names[6] == "AAAC6-1"


def test_the_cells_that_scanpy_ships(tmp_path):
    """A file of an anndata before 0.7, with counts in raw."""
    from importlib.util import find_spec
    from pathlib import Path

    if (spec := find_spec("scanpy")) is None:
        pytest.skip("scanpy is not installed")
    path = Path(spec.origin).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"
    found = read(path, strata="bulk_labels", raw=True)
    assert found.data.shape == (700, 765) and found.data.nnz == 174_400 and len(set(found.strata)) == 10
    assert "CD79A" in found.feature_names and found.data.min() >= 0


def test_broken_folders_of_10x(tmp_path):
    counts = np.ones((3, 4))
    for part, change, message in (
        ("barcodes.tsv.gz", None, "has one file barcodes.tsv .*, but it has none"),
        ("matrix.mtx.gz", None, "one file matrix.mtx .*, but it has none"),
        ("features.tsv.gz", b"E\tA\tGene Expression\n", "has 1 features and .*matrix.mtx.gz 4"),
        ("barcodes.tsv.gz", b"A\nB\n", "has 2 barcodes and .*matrix.mtx.gz 3"),
    ):
        path = write_10x(tmp_path / f"{len(list(tmp_path.iterdir()))}", counts)
        (path / part).unlink() if change is None else (path / part).write_bytes(gzip.compress(change))
        with pytest.raises(ValueError, match=message):
            read(path)
    path = write_10x(tmp_path / "twice", counts)
    (path / "genes.tsv").write_text("E\tA\n")
    with pytest.raises(ValueError, match="features.tsv or genes.tsv .* it has several"):
        read(path)
    with pytest.raises(ValueError, match="layer is for an .h5ad"):
        read(write_10x(tmp_path / "good", counts), layer="counts")


def test_broken_cells(cells, tmp_path):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    h5py, path = pytest.importorskip("h5py"), tmp_path / "cells.h5ad"
    for options, message in (
        ({"layer": "count"}, "'count' is not a layer of .*did you mean 'counts'?"),
        ({"strata": "bach"}, "'bach' is not a column of obs in .*did you mean 'batch'?"),
        ({"strata": "part"}, "Cell 'cell0' of .* has no 'part'"),
        ({"layer": "counts", "raw": True}, "name two matrices"),
        ({"transpose": True}, "transpose=True is for table or matrix, but .* is read as cells"),
    ):
        with pytest.raises(ValueError, match=message):
            read(path, **options)
    del cells.raw, cells.var["highly_variable"]
    cells.X = None
    cells.write_h5ad(path)
    for options, message in (
        ({}, "has no matrix X; name a layer of it"),
        ({"raw": True}, "has no raw"),
        ({"layer": "counts", "use_highly_variable": True}, "'highly_variable' is not a column of var"),
    ):
        with pytest.raises(ValueError, match=message):
            read(path, **options)
    for name, change in (("indices", 99), ("indptr", 10**6)):
        with h5py.File(path, "r+") as file:
            kept = file["layers/counts"][name][:]
            file["layers/counts"][name][1] = change
        with pytest.raises(ValueError, match="damaged"):
            read(path, layer="counts")
        with h5py.File(path, "r+") as file:
            file["layers/counts"][name][:] = kept


def test_a_dense_dataset_that_holds_nothing(tmp_path):
    pytest.importorskip("anndata")
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        file.attrs["encoding-type"], file.attrs["encoding-version"] = "anndata", "0.1.0"
        for name in ("obs", "var"):
            group = file.create_group(name)
            group.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
            group.attrs["column-order"] = np.array([], dtype="S1")
            group["_index"] = np.array(["a", "b"], dtype=h5py.string_dtype())
            group["_index"].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
        file.create_dataset("X", shape=(10**6, 10**6), dtype="f8", chunks=(1000, 1000))
        file["X"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    with pytest.raises(ValueError, match="declares 8,000,000,000,000 bytes of data but holds 0"):
        read(tmp_path / "a.h5ad")
