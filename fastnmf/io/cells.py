"""Read counts of cells: .h5ad of AnnData, and what 10x Genomics' Cell Ranger writes, a folder or an .h5 file.

Rows on disk are read in blocks, so that memory is that of the result, or of one block where that goes to disk, too.
"""

import math
from collections import Counter
from contextlib import contextmanager

import numpy as np
import scipy.sparse as sp

from fastnmf.data.annotated import marks_of, matrix_of
from fastnmf.data.matrix import as_csr
from fastnmf.data.sentences import shown
from fastnmf.io.columns import as_labels
from fastnmf.io.files import check_declared, check_n_rows, input_path, known_name, one_sentence, open_text, package
from fastnmf.io.matrices import read_matrix

ENDINGS = (".h5ad", ".h5")
_GENES = "Gene Expression"  # the type of features that are counts of genes, where there are several types
_MOST_TIMES = 10_000  # how many bytes a stored one may become: zeros compress well
_REMEDY = "; write it again with anndata"
_BLOCK_BYTES = 1 << 26  # of the rows that are read together


class Cells:
    """Counts of cells in a file.

    Attributes
    ----------
    shape : (int, int)
        Cells, features.
    row_names, feature_names : ndarray of str
    columns : ndarray of int, or None
        The features that are read; None is all.
    obs : DataFrame or None
        Annotations of the cells.
    """

    obs = columns = None

    def blocks(self):
        """Yield CSR, or arrays, of consecutive cells, all features."""
        yield self.X

    def close(self):
        """Close the file."""

    def choose(self, columns):
        """Read these features, (n,) of int, only."""
        self.columns = columns
        self.feature_names = self.feature_names[columns]
        self.shape = (self.shape[0], len(columns))


def open_h5ad(path, *, layer=None, raw=False, use_highly_variable=False):
    """Return the `Cells` of an .h5ad.

    Parameters
    ----------
    path : Path
    layer : str, default=None
        The layer that is read; None is X.
    raw : bool, default=False
        Whether the counts in `raw` are read, with its features.
    use_highly_variable : bool, default=False
        Whether only features of which ``var["highly_variable"]`` is true are read.

    Raises
    ------
    ModuleNotFoundError
        anndata is not installed.
    ValueError
        It is no .h5ad, or has no such layer, `raw` or column of `var`.
    """
    package("anndata", "anndata", path)
    if layer is not None and raw:
        raise ValueError(f"layer={shown(layer)} and raw=True name two matrices of {path}; give one of them.")
    file = _open(path)
    found = _Modern(file, path)
    if file.attrs.get("encoding-type") != "anndata":
        found.close()
        found = _Legacy(path)
    with _closed_on_error(found), one_sentence(path, "an .h5ad", _REMEDY):
        found.take(layer, raw)
        if use_highly_variable:
            found.choose(_highly_variable(found, path))
    return found


def _highly_variable(cells, path):
    """Return the positions of the features that ``var`` marks."""
    known_name("highly_variable", list(map(str, cells.highly.columns)), f"column of var in {path}")
    marks = cells.highly["highly_variable"]
    is_marked = marks_of(marks, f"highly_variable in var of {path}")
    names = cells.highly.index.to_numpy(dtype=object)
    if not np.array_equal(names, cells.feature_names):  # those of raw
        is_marked = np.isin(cells.feature_names, names[is_marked])
    if not is_marked.any():
        raise ValueError(f"No feature of {path} is highly variable; leave use_highly_variable out.")
    return np.flatnonzero(is_marked)


@contextmanager
def _closed_on_error(cells):
    try:
        yield
    except BaseException:
        cells.close()
        raise


def open_10x_h5(path):
    """Return the `Cells` of an .h5 file of Cell Ranger, of version 2 or 3."""
    package("h5py", "anndata", path)
    found = _TenX(_open(path), path)
    with _closed_on_error(found), one_sentence(path, "an .h5 of 10x Genomics"):
        found.take()
    return found


def read_10x_folder(folder):
    """Return the `Cells` of a folder with matrix.mtx, barcodes.tsv and features.tsv (or genes.tsv), plain or .gz.

    The names of the three files may begin with a common prefix.

    Raises
    ------
    ValueError
        A part is missing or is there twice, or they are of different lengths.
    """
    parts = {what: input_path(_part(folder, *names)) for what, names in _PARTS.items()}
    X = read_matrix(parts["matrix"], transpose=True)  # a column is a cell there
    barcodes = [fields[0] for fields in _fields(parts["barcodes"])]
    features = _fields(parts["features"])
    for what, names, size in (("barcodes", barcodes, X.shape[0]), ("features", features, X.shape[1])):
        if len(names) != size:
            raise ValueError(
                f"{parts[what]} has {len(names)} {what} and {parts['matrix']} {size}; take all three files of one run."
            )
    found = Cells()
    found.X, found.shape = sp.csr_array(X), X.shape
    found.row_names = np.array(barcodes, dtype=object)
    padded = [(*each, each[0], "")[:3] if len(each) == 1 else (*each, "")[:3] for each in features]
    _name_features(found, *zip(*padded, strict=True))
    return found


_PARTS = {"matrix": ("matrix.mtx",), "barcodes": ("barcodes.tsv",), "features": ("features.tsv", "genes.tsv")}


def _part(folder, *names):
    """Return the one file in a folder whose name ends in one of `names`, perhaps with .gz."""
    endings = tuple(name + more for name in names for more in ("", ".gz"))
    found = sorted(path for path in folder.iterdir() if path.name.lower().endswith(endings))
    if len(found) != 1:
        what = f"several, such as {found[0].name} and {found[1].name}" if found else "none"
        raise ValueError(
            f"{folder} is read as a folder of 10x Genomics, which has one file {' or '.join(names)} (perhaps .gz), but "
            f"it has {what}; give a folder with matrix, barcodes and features of one run."
        )
    return found[0]


def _fields(path):
    with open_text(path) as file:
        return [line.rstrip("\r\n").split("\t") for line in file if line.strip()]


def _name_features(cells, ids, names, types):
    """Set the names of features; where several types were counted, keep the genes.

    A name that several genes have gets the identifier of each.

    Parameters
    ----------
    cells : Cells
    ids, names, types : sequence of str
        Of the features.
    """
    count = Counter(names)
    full = [name if count[name] == 1 else f"{name} ({own})" for own, name in zip(ids, names, strict=True)]
    cells.feature_names = np.array(full, dtype=object)
    types = np.array(types, dtype=object)
    if len(set(types)) > 1 and (types == _GENES).any():
        cells.choose(np.flatnonzero(types == _GENES))


# ---------------------------------------------------------------- HDF5


def _open(path):
    import h5py

    with one_sentence(path, "HDF5"):
        return h5py.File(path, "r")


class _OnDisk(Cells):
    """Cells whose counts stay in an HDF5 file: CSR or dense rows are read in blocks, CSC as a whole."""

    def __init__(self, file, path):
        self.file, self.path = file, path

    def close(self):
        """Close the file."""
        self.file.close()

    def find(self, group, shape, form):
        """Take the arrays of a matrix, and check that they have the lengths that its shape needs.

        Parameters
        ----------
        group : h5py.Group or h5py.Dataset
        shape : (int, int)
            Of the matrix as it is stored.
        form : {"csr", "csc", "array"}
        """
        self.group, self.form, self.shape = group, form, tuple(map(int, shape))
        self.stored_shape = self.shape  # `choose` changes the other
        if form == "array":
            self._check(group)
            return
        lacking = [name for name in ("data", "indices", "indptr") if name not in group]
        if lacking:
            raise ValueError(f"{group.name} in {self.path} has no {lacking[0]}; write the file again.")
        for name in ("data", "indices", "indptr"):
            self._check(group[name])
        self.indptr = group["indptr"][:]
        size = self.shape[form == "csc"]
        n_stored = len(group["data"])
        fits = len(self.indptr) == size + 1 and n_stored == len(group["indices"])
        if not fits or self.indptr[0] != 0 or self.indptr[-1] != n_stored:
            raise ValueError(
                f"The arrays of {group.name} in {self.path} do not fit its shape {self.shape}; write the file again."
            )

    def _check(self, part):
        check_declared(self.path, math.prod(part.shape) * part.dtype.itemsize, part.id.get_storage_size(), _MOST_TIMES)

    def blocks(self):
        """Yield CSR, or arrays, of consecutive cells, all features."""
        if self.form == "csc":
            with one_sentence(self.path, "HDF5"):
                parts = (self.group["data"][:], self.group["indices"][:], self.indptr)
                found = as_csr(sp.csc_array(parts, shape=self.stored_shape), f"{self.path}: X")
            yield found
            return
        n_rows = self.shape[0]
        width = 8 * self.stored_shape[1] if self.form == "array" else 16 * len(self.group["data"]) // max(1, n_rows)
        step = max(1, _BLOCK_BYTES // max(1, width))
        for lo in range(0, max(n_rows, 1), step):  # of no rows one block, too
            with one_sentence(self.path, "HDF5"):
                found = self._rows(lo, min(lo + step, n_rows))
            yield found

    def _rows(self, lo, hi):
        if self.form == "array":
            return self.group[lo:hi]
        bounds = self.indptr[lo : hi + 1].astype(np.int64)
        begin, end = int(bounds[0]), int(bounds[-1])
        if not 0 <= begin <= end <= len(self.group["data"]):
            raise ValueError(f"indptr of {self.group.name} in {self.path} is damaged; write the file again.")
        parts = (self.group["data"][begin:end], self.group["indices"][begin:end], bounds - begin)
        return as_csr(sp.csr_array(parts, shape=(hi - lo, self.stored_shape[1])), f"{self.path}: X")


class _Modern(_OnDisk):
    """An .h5ad as anndata has written it since version 0.7."""

    def take(self, layer, raw):
        """Take X, a layer or `raw`, and its names."""
        from anndata.io import read_elem

        top = self.file
        self.obs, self.highly = read_elem(top["obs"]), read_elem(top["var"])
        var = self.highly
        group = top.get("X")
        if layer is not None:
            known_name(layer, list(top.get("layers", ())), f"layer of {self.path}")
            group = top["layers"][layer]
        elif raw:
            if "raw" not in top:
                raise ValueError(f"{self.path} has no raw; leave raw=True out.")
            group, var = top["raw"]["X"], read_elem(top["raw"]["var"])
        form = None if group is None else _FORMS.get(group.attrs.get("encoding-type"))
        if form is None:
            layers = ", ".join(map(repr, top.get("layers", ()))) or "none"
            raise ValueError(f"{self.path} has no matrix X; name a layer of it, which are {layers}.")
        self.find(group, group.shape if form == "array" else group.attrs["shape"], form)
        self.row_names, self.feature_names = (table.index.to_numpy(dtype=object) for table in (self.obs, var))
        check_n_rows(self.path, len(self.row_names))
        if self.shape != (len(self.row_names), len(self.feature_names)):
            raise ValueError(
                f"{group.name} in {self.path} has the shape {self.shape} for {len(self.row_names)} cells and "
                f"{len(self.feature_names)} features; write the file again."
            )


_FORMS = {"csr_matrix": "csr", "csc_matrix": "csc", "array": "array"}


class _Legacy(Cells):
    """An .h5ad of an older anndata, which reads all of it into memory."""

    def __init__(self, path):
        import anndata

        with one_sentence(path, "an .h5ad", _REMEDY):
            self.cells = anndata.read_h5ad(path)
        self.path = path

    def take(self, layer, raw):
        """Take X, a layer or `raw`, and its names."""
        cells = self.cells
        self.obs, self.highly, table = cells.obs, cells.var, cells
        if layer is not None:
            known_name(layer, list(cells.layers), f"layer of {self.path}")
            self.X = cells.layers[layer]
        elif raw:
            if cells.raw is None:
                raise ValueError(f"{self.path} has no raw; leave raw=True out.")
            table, self.X = cells.raw, cells.raw.X
        else:
            self.X = cells.X
        self.X, self.shape = matrix_of(self.X), table.shape
        self.row_names, self.feature_names = (
            names.to_numpy(dtype=object) for names in (cells.obs_names, table.var_names)
        )


class _TenX(_OnDisk):
    """An .h5 of Cell Ranger: the columns of its CSC are cells, and so the rows of a CSR."""

    def take(self):
        """Take the counts and the names."""
        file, path = self.file, self.path
        groups = [name for name in file if hasattr(file[name], "keys") and {"barcodes", "indptr"} <= file[name].keys()]
        if len(groups) != 1:
            what = f"the genomes {', '.join(groups)}; write one of them to its own file" if groups else "none"
            raise ValueError(
                f"{path} is read as .h5 of 10x Genomics, which has one group of barcodes and counts, but it has {what}."
            )
        group = file[groups[0]]
        self.find(group, group["shape"][:][::-1], "csr")
        table = group["features"] if "features" in group else group
        ids, names = (table["id"], table["name"]) if "features" in group else (group["genes"], group["gene_names"])
        types = table["feature_type"].asstr()[:] if "feature_type" in table else [""] * len(names)
        for part in (group["barcodes"], ids, names):
            self._check(part)
        self.row_names = group["barcodes"].asstr()[:].astype(object)
        if self.shape != (len(self.row_names), len(names)):
            raise ValueError(
                f"{path} has {len(self.row_names)} barcodes and {len(names)} features for {self.shape[0]} cells and "
                f"{self.shape[1]} features; write it again."
            )
        _name_features(self, ids.asstr()[:], names.asstr()[:], types)


def column_of_obs(cells, path, name):
    """Return a column of the annotations of cells as labels, none of which may be missing."""
    values = cells.obs[name]
    missing = values.isna().to_numpy()
    if missing.any():
        cell = cells.row_names[missing.argmax()]
        raise ValueError(f"Cell {cell!r} of {path} has no {name!r}; give every cell one, or drop the cell.")
    return as_labels(values.tolist(), is_typed=True)
