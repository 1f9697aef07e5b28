"""Read matrices, labels of rows and names from files: .npz of SciPy, .npy, Matrix Market, and text."""

import io
import math
import os
import zipfile
from contextlib import contextmanager

import numpy as np
import scipy.sparse as sp

from fastnmf.data.annotated import matrix_of
from fastnmf.data.matrix import as_csr, check_kind
from fastnmf.io.columns import as_labels
from fastnmf.io.files import check_declared, check_n_rows, ending, input_path, one_sentence, open_binary, open_text

ENDINGS = (".npz", ".npy", ".mtx", ".mtx.gz")
_DEFLATE = 1032  # the most bytes that a compressed one may become
_READ_TOGETHER = 1 << 18  # bytes of text
_OF_NUMBERS = b"0123456789+-.eE \t\r\n\v\f" + b"infatyINFATY"  # also infinity and nan
_LONGEST_LINE = 1000  # characters
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
    with one_sentence(path, f"a {ending(path)} matrix", ""):
        found = readers[ending(path)](path, transpose)
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
    if X.format == "dia":  # SciPy looks for an entry of each row in each diagonal, also beyond what is stored
        check_declared(path, len(X.offsets) * min(X.shape), os.path.getsize(path), _DEFLATE)
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


def _read_npy(path, transpose=False):
    return np.array(np.lib.format.open_memmap(path, mode="r"))  # mapping a file compares its size with its header


def _read_market(path, transpose):
    import scipy.io

    with _market_text(path) as text:
        n_rows, n_columns, n_entries, form, _, symmetry = scipy.io.mminfo(text)
    if symmetry != "general" and n_rows != n_columns:
        raise ValueError(f"its header says {symmetry}, but {n_rows} rows and {n_columns} columns")
    is_dense = form == "array"
    if is_dense:
        n_entries = n_rows * n_columns // 2  # of a symmetric one half is there
    is_compressed = path.name.lower().endswith(".gz")
    check_declared(
        path, n_entries * (2 if is_dense else _SHORTEST), os.path.getsize(path), _DEFLATE if is_compressed else 1
    )
    check_n_rows(path, n_columns if transpose else n_rows)
    if is_dense and 0 in (n_rows, n_columns):  # SciPy divides by the number of rows
        return np.zeros((n_rows, n_columns))
    with _market_text(path) as text:
        return scipy.io.mmread(text)


@contextmanager
def _market_text(path):
    """Yield the bytes of a Matrix Market file, compressed or not, as SciPy's compiled reader can take them."""
    with open_binary(path) as file, _WholeLines(file) as lines, io.BufferedReader(lines, _READ_TOGETHER) as text:
        yield text


class _WholeLines(io.RawIOBase):
    """The text of a Matrix Market file, checked while it is read.

    SciPy's compiled reader runs beyond its memory at a null character and at the end of a line that does not end, and
    it ignores what follows a number: it takes 1,5 and 1D3 for 1.
    """

    def __init__(self, file):
        self.file, self.header, self.last = file, b"", b""

    def readable(self):
        """Tell that this is a file to read from."""
        return True

    def readinto(self, buffer):
        """Read the next bytes into a buffer, and return their number."""
        found = self.file.read(len(buffer))
        if b"\0" in found:
            raise ValueError("it has a null character")
        if wrong := self._body(found).translate(None, _OF_NUMBERS):
            raise ValueError(f"it has {chr(wrong[0])!r} among its numbers, which are such as 1.5e3")
        if found:
            self.last = (self.last + found).rpartition(b"\n")[2][-_LONGEST_LINE:]
        elif self.last:
            if self.header is None and not all(map(_is_number, self.last.split())):
                raise ValueError("its last line is not whole")
            found, self.last = b"\n", b""
        buffer[: len(found)] = found
        return len(found)

    def _body(self, found):
        """Return what belongs to the lines of numbers; comments come before them."""
        if self.header is None:
            return found
        self.header += found
        while self.header.startswith(b"%") and b"\n" in self.header:
            self.header = self.header.partition(b"\n")[2]
        if not self.header or self.header.startswith(b"%"):
            return b""
        found, self.header = self.header, None
        return found


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_labels(path):
    """Read the label of each row from .npy or from a text file, one label in each line.

    The labels are integers if every line is one as Python writes it, in 64 bits; otherwise they are the text of the
    lines: 00501 is not 501, and 1_0 is not 10.
    """
    if path.suffix == ".npy":
        with one_sentence(path, "an .npy array", ""):
            return _read_npy(path)
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
