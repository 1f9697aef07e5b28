"""Sparse matrices on disk, read one block of rows at a time through memory maps."""

from __future__ import annotations

import mmap
import numbers
import os
import weakref
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import numpy as np
import scipy.sparse as sp

from fastnmf.data.annotated import matrix_of
from fastnmf.data.labels import known_labels
from fastnmf.data.matrix import as_csr, check_unmasked
from fastnmf.data.sentences import shown
from fastnmf.data.writing import as_path, replacing
from fastnmf.typing import Array, FilePath, Labels, Matrix

_PARTS = ("data", "indices", "indptr")
_SHAPE, _CHUNK_ROWS = "shape.npy", "chunk_rows.npy"
_COLUMNS = ("columns_data", "columns_rows", "columns_indptr")
_CHECKED_TOGETHER = 1 << 20  # row bounds that are checked together, entries that are converted together
_COPIED_TOGETHER = 1 << 16  # rows of a matrix on disk that is copied
_MOST_INT32 = np.iinfo(np.int32).max
_CHUNK_ENTRIES = (
    10_000_000  # stored entries of a chunk, unless the user chooses its rows: 80 to 160 MB with its columns
)


class _Column:
    """A one-dimensional .npy array that grows as it is written, and becomes wider where values need it."""

    def __init__(self, file, dtype):
        self.file, self.dtype, self.length = file, np.dtype(dtype), 0
        self.write_header()
        self.begin = file.tell()

    def write_header(self):
        self.file.seek(0)
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self.file, header)  # leaves room for a larger length

    def append(self, values):
        self._widen(np.result_type(self.dtype, values.dtype))
        self.file.seek(0, os.SEEK_END)
        self.file.write(np.ascontiguousarray(_exact(values, self.dtype)).data)
        self.length += len(values)

    def _widen(self, dtype):
        """Convert what is there to another type, from the end on: no value then overwrites one that is still needed."""
        if dtype == self.dtype:
            return
        for end in range(self.length, 0, -_CHECKED_TOGETHER):
            begin = max(end - _CHECKED_TOGETHER, 0)
            self.file.seek(self.begin + begin * self.dtype.itemsize)
            values = np.frombuffer(self.file.read((end - begin) * self.dtype.itemsize), self.dtype)
            self.file.seek(self.begin + begin * dtype.itemsize)
            self.file.write(_exact(values, dtype).data)
        self.dtype = dtype


def _exact(values, dtype):
    """Return `values` in a wider type; raise ValueError for integers that it cannot hold."""
    wide = values.astype(dtype, copy=False)
    if values.dtype.kind in "iu" and dtype.kind == "f" and (wide.astype(values.dtype) != values).any():
        raise ValueError(
            f"Blocks of {values.dtype} and of floating-point numbers have the common type {dtype}, which cannot hold "
            "all their integers; convert the blocks to one type."
        )
    return wide


def _as_block(block):
    """Return a block of the user as canonical CSR with checked indices, without changing it; sums are not narrowed."""
    if not (sp.issparse(block) or isinstance(block, np.ndarray)) and hasattr(block, "__array__"):
        block = np.asarray(block)  # a data frame
    dtype, ndim = getattr(block, "dtype", None), getattr(block, "ndim", None)
    if ndim != 2 or dtype is None or dtype.kind not in "biufc":
        found = f"an array of {dtype} with {ndim} dimensions" if hasattr(block, "ndim") else f"a {type(block).__name__}"
        raise ValueError(f"save_csr was given {found} as a block; give sparse or dense matrices of numbers.")
    check_unmasked(block, "The block")
    if dtype == np.float16:  # which SciPy does not take
        block = block.astype(np.float32)
    if not sp.issparse(block):
        return sp.csr_array(np.asarray(block))
    is_small = dtype.kind in "biu" and dtype.itemsize < 8
    if is_small and not (block.format == "csr" and as_csr(block, "The block").has_canonical_format):
        block = block.astype(np.int64)  # duplicates of uint8 may add up to more than 255
    block = as_csr(block, "The block")
    if not block.has_canonical_format:
        block = block.copy()  # it may share its arrays with the user's
        block.sum_duplicates()
    if is_small and block.dtype != dtype:
        limits = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if not block.nnz or limits[0] <= block.data.min() and block.data.max() <= limits[1]:
            block = block.astype(dtype)
    return block


def save_csr(X: Matrix | Iterable[Matrix], folder: FilePath, *, columns: int | None = None) -> DiskCSR:
    """Write a sparse matrix into a folder, as the arrays of CSR: data.npy, indices.npy, indptr.npy and shape.npy.

    Parameters
    ----------
    X : sparse matrix or array (n_rows, n_columns), or iterable of such, blocks of rows
        One block at a time is held in memory. The data are stored in the common type of all blocks.
    folder : str or path
        Created if it does not exist. A matrix in it is replaced when the new one is complete and on disk, so that
        the blocks may come from it.
    columns : int, default=None
        Rows of a chunk. If given, the columns of every chunk are stored, too, in twice the space: a fit of the chunks
        would otherwise transpose each of them in every iteration, which takes as long as the rest of it.

    Returns
    -------
    DiskCSR
        The matrix that was written, with ``chunk_rows=columns``.

    Raises
    ------
    ValueError
        There is no block, a block is not a matrix of numbers, the blocks have different numbers of columns, or no
        common type holds all their values. `columns` is not a positive integer.
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
    if columns is not None:
        _check_rows("columns", columns, "the rows of a chunk")
    if isinstance(X, DiskCSR):
        X = X.blocks(_COPIED_TOGETHER)
    if not hasattr(X, "__iter__") and not sp.issparse(X):
        raise TypeError(f"save_csr was given a {type(X).__name__}; give a matrix, or an iterable of blocks of rows.")
    folder, written, n_rows, n_columns, end = as_path(folder), {}, 0, None, 0
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; give the path of a folder, or of one that does not exist yet.")
    with ExitStack() as stack:
        for block in [X] if sp.issparse(X) or hasattr(X, "ndim") else X:
            block = _as_block(matrix_of(block))
            if n_columns is None:
                n_columns = block.shape[1]
                folder.mkdir(parents=True, exist_ok=True)
                for name, dtype in zip(_PARTS, (block.dtype, _index_type(n_columns), np.int64), strict=True):
                    written[name] = _Column(stack.enter_context(replacing(folder / f"{name}.npy")), dtype)
                written["indptr"].append(np.zeros(1, np.int64))
            if block.shape[1] != n_columns:
                raise ValueError(
                    f"A block has {block.shape[1]} columns, the first one {n_columns}; give every block the same "
                    "number of columns."
                )
            written["data"].append(block.data)
            written["indices"].append(block.indices.astype(written["indices"].dtype, copy=False))
            written["indptr"].append(end + block.indptr[1:].astype(np.int64))
            n_rows, end = n_rows + block.shape[0], end + int(block.nnz)
        if n_columns is None:
            raise ValueError("save_csr received no blocks of rows; pass at least one.")
        for column in written.values():
            column.write_header()
            column.file.flush()
            os.fsync(column.file.fileno())
        # all is on the disk; while the parts are exchanged, the folder without this file does not open
        (folder / _SHAPE).unlink(missing_ok=True)
        for name in (_CHUNK_ROWS, *(f"{name}.npy" for name in _COLUMNS)):
            (folder / name).unlink(missing_ok=True)
    with replacing(folder / _SHAPE) as file:
        np.save(file, np.array([n_rows, n_columns], dtype=np.int64))
    if columns is not None:
        _save_columns(open_csr(folder), columns)
    return open_csr(folder, chunk_rows=columns)


def _save_columns(X, chunk_rows):
    """Write the columns of every chunk of a matrix on disk beside its rows."""
    with ExitStack() as stack:
        dtypes = X.dtype, np.dtype(np.int32), np.dtype(np.int64)
        files = [stack.enter_context(replacing(X.folder / f"{name}.npy")) for name in _COLUMNS]
        parts = [_Column(file, dtype) for file, dtype in zip(files, dtypes, strict=True)]
        for block in X.blocks(chunk_rows):
            turned = block.tocsc()
            for part, array in zip(parts, (turned.data, turned.indices, turned.indptr), strict=True):
                part.append(array.astype(part.dtype, copy=False))
        for part in parts:
            part.write_header()
            part.file.flush()
            os.fsync(part.file.fileno())
    with replacing(X.folder / _CHUNK_ROWS) as file:
        np.save(file, np.array([chunk_rows], dtype=np.int64))


def _check_rows(name, n_rows, what):
    if not isinstance(n_rows, numbers.Integral) or isinstance(n_rows, bool) or n_rows < 1:
        raise ValueError(f"{name}={shown(n_rows)} is not valid; expected an integer >= 1, {what}.")


def _index_type(n_columns):
    return np.dtype(np.int32 if n_columns <= _MOST_INT32 else np.int64)


def open_csr(folder: FilePath, *, chunk_rows: int | None = None) -> DiskCSR:
    """Open a matrix that `save_csr` wrote, or any CSR stored as data.npy, indices.npy, indptr.npy and shape.npy.

    `NMF.fit` and `StratifiedNMF.fit` take it, and read one chunk of rows at a time.

    Parameters
    ----------
    folder : str or path
    chunk_rows : int, default=None
        Rows of a chunk. None: those whose columns are stored, see `save_csr`, or else about 10 million entries per
        chunk. Chunks of a different size round sums differently.

    Returns
    -------
    DiskCSR
        Only the bounds of the rows are read and checked.

    Raises
    ------
    ValueError
        The folder holds no such matrix, its arrays do not fit together, or the bounds of its rows are damaged. (The
        columns are checked when rows are read, which raises ValueError, too, where a file has changed since then.)

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
    return DiskCSR(folder, chunk_rows)


class DiskCSR:
    """A sparse matrix on disk, whose rows are read on demand; see `open_csr`.

    Parameters
    ----------
    folder : str or path
    chunk_rows : int, default=None
        As for `open_csr`.

    Attributes
    ----------
    shape : (int, int)
    dtype : numpy.dtype
    nnz : int
        Number of stored entries.
    chunk_rows : int
        Rows of a chunk; the last chunk may have fewer.
    n_chunks : int

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
    chunk_rows: int
    feature_names: Array | None = None  # of the columns, where what wrote the matrix knows them

    def __init__(self, folder: FilePath, chunk_rows: int | None = None):
        self.folder, self._files = as_path(folder), {}
        weakref.finalize(self, _close, self._files)
        shape = self._load(_SHAPE)
        self.data, self.indices, self.indptr = (self._load(f"{name}.npy") for name in _PARTS)
        self.dtype, self.nnz = self.data.dtype, len(self.data) if self.data.ndim else 0
        are_flat = all(part.ndim == 1 for part in (shape, self.data, self.indices, self.indptr))
        are_integers = all(part.dtype.kind in "iu" for part in (shape, self.indices, self.indptr))
        fits = are_flat and are_integers and shape.shape == (2,) and self.dtype.kind in "biufc"
        self.shape = (int(shape[0]), int(shape[1])) if fits else (0, 0)
        fits = fits and len(self.indices) == self.nnz and min(self.shape) >= 0
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

        stored = self._stored_rows()
        if chunk_rows is not None:
            _check_rows("chunk_rows", chunk_rows, "the rows of a chunk")
        usual = max(1, round(_CHUNK_ENTRIES * self.shape[0] / max(self.nnz, 1)))
        self.chunk_rows = int(chunk_rows or stored or min(usual, self.shape[0] or 1))
        self._columns = self._load_columns() if stored == self.chunk_rows else None

    @property
    def n_chunks(self) -> int:
        """Number of chunks of `chunk_rows` rows."""
        return -(-self.shape[0] // self.chunk_rows)

    def _stored_rows(self):
        """Return the rows of the chunks whose columns are stored, 0 where none are."""
        if not (self.folder / _CHUNK_ROWS).exists():
            return 0
        found = self._load(_CHUNK_ROWS)
        if found.shape != (1,) or found.dtype.kind not in "iu" or not 0 < found[0] <= _MOST_INT32:
            raise ValueError(f"{self.folder / _CHUNK_ROWS} is damaged; write the matrix again with save_csr.")
        return int(found[0])

    def _load_columns(self):
        data, rows, indptr = parts = [self._load(f"{name}.npy") for name in _COLUMNS]
        fits = data.dtype == self.dtype and rows.dtype == np.int32 and indptr.dtype == np.int64
        fits = fits and data.shape == rows.shape == (self.nnz,)
        if not fits or indptr.shape != (self.n_chunks * (self.shape[1] + 1),):
            raise ValueError(
                f"The stored columns in {self.folder} do not fit its rows; write them again with save_csr."
            )
        return parts

    def check_unchanged(self) -> None:
        """Raise ValueError where the contents of a file have changed since it was opened: a check may no longer hold.

        A file that was replaced by another one is not read, but the one that was opened.
        """
        for name, (file, stamp) in self._files.items():
            if _stamp_of(file) != stamp:
                raise ValueError(
                    f"{self.folder / name} has changed since the matrix was opened; open it again with open_csr, and "
                    "change no file of it while it is read."
                )

    def __reduce__(self):
        return DiskCSR, (self.folder, self.chunk_rows)

    def bounds(self, chunk: int) -> tuple[int, int]:
        """Return the first row of a chunk, and the first one after it."""
        return chunk * self.chunk_rows, min((chunk + 1) * self.chunk_rows, self.shape[0])

    def chunk(self, number: int) -> Any:
        """Return the rows of a chunk, csr_array (chunk_rows, n_columns), in memory; its columns are checked."""
        return self._read(*self.bounds(number))

    def mapped_chunk(self, number: int) -> Any:
        """Return the rows of a chunk as a csr_array in the mapped file, and its columns as a csc_array, or None.

        Nothing is checked or copied but the bounds of the rows. Changes of the arrays do not reach the file, and a file
        whose contents have changed since `open_csr` is refused.
        """
        self.check_unchanged()
        lo, hi = self.bounds(number)
        bounds = np.array(self.indptr[lo : hi + 1]).astype(np.int64, copy=False)
        first, last = int(bounds[0]), int(bounds[-1])
        shape = hi - lo, self.shape[1]
        data, indices = (self._mapped(f"{name}.npy", getattr(self, name), first, last) for name in _PARTS[:2])
        by_row = data, indices, _narrow(bounds - first)
        if not self.has_columns:
            return sp.csr_array(by_row, shape), None
        data, rows, bounds = self.stored_columns(number)
        return sp.csr_array(by_row, shape), sp.csc_array((data, rows, _narrow(bounds)), shape)

    def will_need(self, number: int) -> None:
        """Let the system read a chunk ahead, if there is one, while another is computed with."""
        if not 0 <= number < self.n_chunks or not hasattr(mmap, "MADV_WILLNEED"):
            return
        self.check_unchanged()
        first, last = (int(self.indptr[row]) for row in self.bounds(number))
        for array in (self.data, self.indices, *(self._columns or ())[:2]):
            begin = array.offset + first * array.itemsize
            begin -= begin % mmap.PAGESIZE
            length = array.offset + last * array.itemsize - begin
            if last > first:
                array._mmap.madvise(mmap.MADV_WILLNEED, begin, length)

    def n_bytes(self, number: int) -> int:
        """Return the size of the rows of a chunk in the files, and of its columns where they are stored."""
        lo, hi = self.bounds(number)
        of_entry, n_entries = self.dtype.itemsize + self.indices.itemsize, int(self.indptr[hi] - self.indptr[lo])
        size = n_entries * of_entry + (hi - lo + 1) * self.indptr.itemsize
        return size + (n_entries * (self.dtype.itemsize + 4) + 8 * (self.shape[1] + 1) if self.has_columns else 0)

    @property
    def has_columns(self) -> bool:
        """Whether the columns of the chunks are stored, too."""
        return self._columns is not None

    def stored_columns(self, number: int) -> tuple[Any, Any, Any]:
        """Return the stored columns of a chunk, not checked: values, rows (nnz,), and bounds (n_columns + 1,)."""
        (data, rows, indptr), (lo, hi), at = self._columns, self.bounds(number), number * (self.shape[1] + 1)
        first, last = int(self.indptr[lo]), int(self.indptr[hi])
        names = (f"{name}.npy" for name in _COLUMNS)
        data, rows = self._mapped(next(names), data, first, last), self._mapped(next(names), rows, first, last)
        return data, rows, np.array(indptr[at : at + self.shape[1] + 1])

    def _mapped(self, name, array, lo, hi):
        """Return ``array[lo:hi]`` of a file as a plain array that kernels may take: writable, not in the file.

        Parameters
        ----------
        name : str
            The file.
        array : memmap
            The whole of it.
        lo, hi : int
        """
        if lo == hi:
            return np.empty(0, array.dtype)
        file, _ = self._files[name]
        return np.asarray(np.memmap(file, array.dtype, "c", array.offset + lo * array.itemsize, (hi - lo,)))

    def _load(self, name):
        path = self.folder / name
        if not path.exists():
            raise ValueError(
                f"{self.folder} holds no complete sparse matrix: {name} is missing; write it with save_csr."
            )
        try:
            if not path.is_file():  # reading a pipe would block
                raise ValueError("it is not a file")
            file = open(path, "rb")
            self._files[name] = file, _stamp_of(file)
            return np.lib.format.open_memmap(path, mode="r")
        except Exception as error:  # damaged headers end in errors of many kinds, of Python's tokenizer, too
            said = " ".join(str(error).split())
            raise ValueError(f"{path} cannot be read as an array ({said}); write it again with save_csr.") from error

    def __repr__(self):
        return f"<DiskCSR of shape {self.shape}, {self.nnz} stored entries of {self.dtype}>"

    def __getitem__(self, rows: slice) -> Any:
        """Return consecutive rows, ``X[lo:hi]``, as a CSR array in memory."""
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise TypeError(f"Rows on disk are read as X[lo:hi], not as X[{shown(rows)}].")
        return self._read(*rows.indices(self.shape[0])[:2])

    def _read(self, lo, hi, *, is_checked=False):
        """Return rows lo to hi in memory, and check the column of each entry unless `is_checked`."""
        self.check_unchanged()
        bounds = np.array(self.indptr[lo : max(hi, lo) + 1]).astype(np.int64, copy=False)
        start, end = int(bounds[0]), int(bounds[-1])
        data, indices, indptr = np.array(self.data[start:end]), np.array(self.indices[start:end]), bounds - start
        data = data.astype(data.dtype.newbyteorder("="), copy=False)
        if not is_checked and len(indices) and (indices.min() < 0 or indices.max() >= self.shape[1]):
            raise ValueError(
                f"Rows {lo} to {hi} in {self.folder} refer to columns outside 0 to {self.shape[1] - 1}: the matrix is "
                "damaged; write it again with save_csr."
            )
        indices = indices.astype(_index_type(self.shape[1]), copy=False)
        return sp.csr_array((data, indices, indptr), shape=(len(indptr) - 1, self.shape[1]))

    def blocks(self, n_rows: int, strata: Labels | None = None) -> Iterable[Any]:
        """Return the matrix as blocks of `n_rows` rows; the result can be iterated any number of times.

        Parameters
        ----------
        n_rows : int
            At least 1.
        strata : array-like (rows of the matrix,), default=None
            With labels the blocks are pairs ``(X, labels)``, as `fit_blocks` takes them.

        Returns
        -------
        iterable of csr_array, or of pairs
        """
        _check_rows("n_rows", n_rows, "the rows of a block")
        return _Blocks(self, n_rows, None if strata is None else known_labels(strata, "strata", self.shape[0]))


def _close(files):
    for file, _ in files.values():
        file.close()


def _stamp_of(file):
    """Return by what a change of an open file is seen: its size, and the time of its last change."""
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _narrow(bounds):
    """Return the bounds of a chunk as int32 where they fit: SciPy would copy the mapped indices to their wider type."""
    return bounds.astype(np.int32) if bounds[-1] <= _MOST_INT32 else bounds


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
