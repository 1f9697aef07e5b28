"""Sparse matrices on disk, read one block of rows at a time through memory maps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastnmf.data.annotated import matrix_of
from fastnmf.data.labels import known_labels
from fastnmf.data.matrix import as_csr, check_unmasked
from fastnmf.typing import FilePath, Labels, Matrix

_PARTS = {"data": None, "indices": np.dtype(np.int32), "indptr": np.dtype(np.int64)}
_SHAPE = "shape.npy"
_CHECKED_TOGETHER = 1 << 20  # row bounds that are checked together


class _Column:
    """A one-dimensional .npy file that grows as it is written."""

    def __init__(self, path, dtype):
        self.path, self.dtype, self.length = path, np.dtype(dtype), 0
        self.file = open(path, "wb")
        self._write_header()

    def _write_header(self):
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self.file, header)  # leaves room for a larger length

    def append(self, values):
        self.file.write(np.ascontiguousarray(values, dtype=self.dtype).data)
        self.length += len(values)

    def close(self):
        self.file.seek(0)
        self._write_header()
        self.file.close()


def save_csr(X: Matrix | Iterable[Matrix], folder: FilePath) -> DiskCSR:
    """Write a sparse matrix into a folder, as the arrays of CSR: data.npy, indices.npy, indptr.npy and shape.npy.

    Parameters
    ----------
    X : sparse matrix or array (n_rows, n_columns), or iterable of such, blocks of rows
        One block at a time is held in memory. The type of the data is that of the first block.
    folder : str or path
        Created where it is missing; a matrix in it is overwritten.

    Returns
    -------
    DiskCSR
        The matrix that was written.

    Raises
    ------
    ValueError
        There is no block, or the blocks have different numbers of columns.
    OSError
        The folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from fastnmf import open_csr, save_csr
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(save_csr(np.eye(4), folder).shape)
    ...     [block.shape for block in open_csr(folder).blocks(3)]
    (4, 4)
    [(3, 4), (1, 4)]
    """
    X = matrix_of(X)
    blocks = [X] if hasattr(X, "shape") else X
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _SHAPE).unlink(missing_ok=True)  # written last: without this file the folder does not open
    files, n_rows, n_columns, end = {}, 0, None, 0
    try:
        for block in map(matrix_of, blocks):
            check_unmasked(block, "The block")
            block = as_csr(block, "The block") if sp.issparse(block) else sp.csr_array(block)
            if n_columns is None:
                n_columns = block.shape[1]
                files = {n: _Column(folder / f"{n}.npy", kind or block.dtype) for n, kind in _PARTS.items()}
                files["indptr"].append(np.zeros(1))
            if block.shape[1] != n_columns:
                raise ValueError(f"A block has {block.shape[1]} columns, the first one {n_columns}; give equal widths.")
            block.sum_duplicates()
            files["data"].append(block.data)
            files["indices"].append(block.indices)
            files["indptr"].append(end + block.indptr[1:].astype(np.int64))
            n_rows, end = n_rows + block.shape[0], end + int(block.nnz)
    finally:
        for file in files.values():
            file.close()
    if n_columns is None:
        raise ValueError("save_csr was given no block of rows; give at least one.")
    np.save(folder / _SHAPE, np.array([n_rows, n_columns], dtype=np.int64))
    return open_csr(folder)


def open_csr(folder: FilePath) -> DiskCSR:
    """Open a matrix that `save_csr` wrote, or any CSR stored as data.npy, indices.npy, indptr.npy and shape.npy.

    Parameters
    ----------
    folder : str or path

    Returns
    -------
    DiskCSR
        Only the bounds of the rows are read and checked.

    Raises
    ------
    ValueError
        The folder holds no such matrix, its arrays do not fit together, or the bounds of its rows are damaged. (The
        columns are checked when rows are read.)

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from fastnmf import open_csr, save_csr
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(save_csr(np.eye(4), folder).shape)
    ...     [block.shape for block in open_csr(folder).blocks(3)]
    (4, 4)
    [(3, 4), (1, 4)]
    """
    return DiskCSR(folder)


class DiskCSR:
    """A sparse matrix on disk, whose rows are read on demand; see `open_csr`.

    Parameters
    ----------
    folder : str or path

    Attributes
    ----------
    shape : (int, int)
    dtype : numpy.dtype
    nnz : int
        Number of stored entries.

    Examples
    --------
    >>> import tempfile, scipy.sparse as sp
    >>> from fastnmf.data.ondisk import open_csr, save_csr
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     X = save_csr(sp.eye_array(5, format="csr"), folder)
    ...     X.shape, X[1:3].shape, [block.shape for block in X.blocks(2)]
    ((5, 5), (2, 5), [(2, 5), (2, 5), (1, 5)])
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    nnz: int

    def __init__(self, folder: FilePath):
        folder = Path(folder)
        try:
            self.shape = tuple(int(n) for n in np.load(folder / _SHAPE))
            self.data, self.indices, self.indptr = (np.load(folder / f"{n}.npy", mmap_mode="r") for n in _PARTS)
        except FileNotFoundError as error:
            name = Path(error.filename).name
            raise ValueError(
                f"{folder} holds no complete sparse matrix: {name} is missing; write it with save_csr."
            ) from error
        self.dtype, self.nnz, self.folder = self.data.dtype, len(self.data), folder
        are_flat = self.data.ndim == 1 and all(part.ndim == 1 for part in (self.indices, self.indptr))
        are_integers = self.indices.dtype.kind in "iu" and self.indptr.dtype.kind in "iu"
        fits = are_flat and are_integers and len(self.shape) == 2 and len(self.indices) == self.nnz
        if not fits or len(self.indptr) != self.shape[0] + 1 or self.indptr[0] != 0 or self.indptr[-1] != self.nnz:
            raise ValueError(f"The arrays in {folder} do not fit together; write them again with save_csr.")
        for lo in range(0, self.shape[0], _CHECKED_TOGETHER):
            part = self.indptr[lo : lo + _CHECKED_TOGETHER + 1]
            if (part[1:] < part[:-1]).any():
                row = lo + int(np.argmax(part[1:] < part[:-1]))
                raise ValueError(
                    f"indptr.npy in {folder} decreases after row {row}: the matrix is damaged; write it again with "
                    "save_csr."
                )

    def __repr__(self):
        return f"<DiskCSR of shape {self.shape}, {self.nnz} stored entries of {self.dtype}>"

    def __getitem__(self, rows: slice) -> Any:
        """Return consecutive rows, ``X[lo:hi]``, as a CSR array in memory."""
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise TypeError(f"Rows on disk are read as X[lo:hi], not as X[{rows!r}].")
        return self._read(*rows.indices(self.shape[0])[:2])

    def _read(self, lo, hi, *, is_checked=False):
        """Return rows lo to hi in memory, and check the column of each entry unless `is_checked`."""
        bounds = np.array(self.indptr[lo : max(hi, lo) + 1]).astype(np.int64, copy=False)
        start, end = int(bounds[0]), int(bounds[-1])
        data, indices, indptr = np.array(self.data[start:end]), np.array(self.indices[start:end]), bounds - start
        if not is_checked and len(indices) and (indices.min() < 0 or indices.max() >= self.shape[1]):
            raise ValueError(
                f"Rows {lo} to {hi} in {self.folder} name columns outside 0 to {self.shape[1] - 1}: the matrix is "
                "damaged; write it again with save_csr."
            )
        return sp.csr_array((data, indices, indptr), shape=(len(indptr) - 1, self.shape[1]))

    def blocks(self, n_rows: int, strata: Labels | None = None) -> Iterable[Any]:
        """Return the matrix as blocks of `n_rows` rows; the result can be iterated any number of times.

        Parameters
        ----------
        n_rows : int
        strata : array-like (rows of the matrix,), default=None
            With labels the blocks are pairs ``(X, labels)``, as `fit_blocks` takes them.

        Returns
        -------
        iterable of csr_array, or of pairs
        """
        return _Blocks(self, n_rows, None if strata is None else known_labels(strata, "strata", self.shape[0]))


class _Blocks:
    def __init__(self, X, n_rows, strata):
        self.X, self.n_rows, self.strata = X, n_rows, strata
        self.is_checked = False  # set after one whole pass; later passes need not check the columns again

    def __len__(self):
        return -(-self.X.shape[0] // self.n_rows)

    def __iter__(self):
        for lo in range(0, self.X.shape[0], self.n_rows):
            hi = min(lo + self.n_rows, self.X.shape[0])
            block = self.X._read(lo, hi, is_checked=self.is_checked)
            yield block if self.strata is None else (block, self.strata[lo:hi])
        self.is_checked = True
