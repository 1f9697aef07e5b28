"""Read matrices, labels of rows and names from files: .npz of SciPy, .npy, Matrix Market, and text."""

import math
import os
import zipfile

import numpy as np
import scipy.sparse as sp

from fastnmf.data.annotated import matrix_of
from fastnmf.data.matrix import as_csr, check_kind
from fastnmf.io.columns import as_labels
from fastnmf.io.files import check_declared, check_n_rows, ending, input_path, open_text

ENDINGS = (".npz", ".npy", ".mtx", ".mtx.gz")
_DEFLATE = 1032  # the most bytes that a compressed one may become
_SHORTEST = 4  # bytes of an entry of Matrix Market, "1 1" and the end of the line


def read_matrix(path, *, transpose=False):
    """Read a SciPy sparse .npz, a dense .npy or a Matrix Market file, .mtx or .mtx.gz.

    Parameters
    ----------
    path : str or path
    transpose : bool, default=False
        Whether the columns of the file are the rows that are returned.

    Returns
    -------
    csr_array or ndarray (n_rows, n_columns) of float32 or float64
        Dense where the file holds a dense array.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        Another ending, a damaged file, one that declares more than it holds, or no matrix of real numbers.
    """
    path = input_path(path)
    readers = {".npz": _read_npz, ".npy": _read_npy, ".mtx": _read_market, ".mtx.gz": _read_market}
    if ending(path) not in readers:
        raise ValueError(
            f"{path} ends in {path.suffix!r}; expected a SciPy sparse .npz, a dense .npy, or a .mtx or .mtx.gz file."
        )
    try:
        found = readers[ending(path)](path, transpose)
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:  # the readers raise various exceptions
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ValueError(f"{path} cannot be read as a {ending(path)} matrix ({said}).") from error
    return as_data(found.T if transpose else found, path)


def as_data(X, path):
    """Return a matrix of a file as canonical CSR, or dense where it is dense, of float32 or float64.

    Raises
    ------
    ValueError, TypeError
        It is not a matrix of real numbers, is damaged, or has more rows than a file of its size may have.
    """
    X = matrix_of(X)
    check_kind(X, f"{path}: ")
    dtype = X.dtype if X.dtype in (np.float32, np.float64) and X.dtype.isnative else np.dtype(np.float64)
    if not sp.issparse(X):
        return np.ascontiguousarray(X, dtype)
    check_n_rows(path, X.shape[0])
    X = as_csr(X, f"{path}: X", dtype)
    if not X.has_canonical_format:
        X.sum_duplicates()
    return X


def _read_npz(path, transpose):
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            check_declared(path, entry.file_size, entry.compress_size, _DEFLATE)
            with archive.open(entry) as member:
                version = np.lib.format.read_magic(member)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(member)
                if math.prod(shape) * dtype.itemsize > entry.file_size:
                    raise ValueError(f"{entry.filename} is shorter than its shape {shape} says")
        if "format.npy" not in archive.namelist():
            raise ValueError("it holds other arrays; write the matrix by scipy.sparse.save_npz")
    return sp.load_npz(path)


def _read_npy(path, transpose):
    return np.array(np.lib.format.open_memmap(path, mode="r"))  # mapping a file compares its size with its header


def _read_market(path, transpose):
    import scipy.io

    n_rows, n_columns, n_entries, form, *_ = scipy.io.mminfo(str(path))
    is_dense = form == "array"
    if is_dense:
        n_entries = n_rows * n_columns // 2  # of a symmetric one half is there
    is_compressed = path.name.lower().endswith(".gz")
    check_declared(
        path, n_entries * (2 if is_dense else _SHORTEST), os.path.getsize(path), _DEFLATE if is_compressed else 1
    )
    check_n_rows(path, n_columns if transpose else n_rows)
    return scipy.io.mmread(str(path))


def read_labels(path):
    """Read the label of each row from .npy or from a text file, one label in each line.

    The labels are integers if every line is one as Python writes it, in 64 bits; otherwise they are the text of the
    lines: 00501 is not 501, and 1_0 is not 10.
    """
    if path.suffix == ".npy":
        try:
            return np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path} cannot be read as an .npy array ({error}).") from error
    labels = read_lines(path)
    if blank := [number for number, label in enumerate(labels, 1) if not label.strip()]:
        raise ValueError(f"Line {blank[0]} of {path} is blank; give every row a label, one in each line.")
    return as_labels(labels)


def read_lines(path, encoding=None):
    """Return the lines of a text file, which is UTF-8 unless `encoding` says otherwise."""
    with open_text(input_path(path), encoding) as file:
        text = file.read().replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")  # splitlines would also split titles at form feeds
    return lines[:-1] if lines[-1] == "" else lines
