"""Check the user's matrices before any compiled code reads them.

SciPy constructs sparse matrices without looking at their indices. Compiled loops, both SciPy's and ours, read and write
outside their arrays where an index lies outside the shape. Every sparse matrix of the user therefore passes
`check_pointers` (O(rows)) and `check_indices` (one pass over the stored entries) first.
"""

import numbers
from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp

from fastnmf.data.annotated import column_names, matrix_of
from fastnmf.data.sentences import shown
from fastnmf.kernels import products
from fastnmf.kernels.jit import split_rows

STEP = 1 << 16  # entries that are checked together, so that they stay in the cache from one check to the next
_LARGE = 1 << 22  # entries; below, a kernel would take longer to compile than it can ever gain
_COMPRESSED = ("csr", "csc", "bsr")


def check_unmasked(array, name):
    """Raise ValueError for a masked array of NumPy with masked entries: as an array it would show what they hide."""
    if np.ma.is_masked(array):
        raise ValueError(f"{name} has masked entries, which have no value; fill them with NumPy's method filled.")


def unmasked(X, missing_values, name):
    """Return X with its masked entries as the missing values that an estimator takes.

    Parameters
    ----------
    X : any matrix
    missing_values : {"nan", "zeros", None}
        None: masked entries are refused.
    name : str
        Name of the estimator's class, for the message.
    """
    if not np.ma.isMaskedArray(X):
        return X
    if not np.ma.is_masked(X):
        return np.ma.getdata(X)
    if missing_values is None:
        raise ValueError(
            f"X has masked entries, which are missing, but this {name} uses every entry; pass missing_values='nan' "
            "if the model has it, or fill them."
        )
    dtype = X.dtype if X.dtype.kind == "f" else np.float64
    return np.ma.getdata(X.astype(dtype).filled(np.nan if missing_values == "nan" else 0))


def check_kind(X, prefix=""):
    """Raise an error for data that are not a matrix of real numbers, or that are sparse with damaged pointers."""
    check_unmasked(X, f"{prefix}X")
    if X is None or isinstance(X, (str, bytes)):
        raise TypeError(f"{prefix}X is {shown(X)}; expected a matrix (samples x features) of numbers.")
    if isinstance(X, Mapping) and "data" in X:
        raise TypeError(
            f"{prefix}X is a {type(X).__name__} that holds data and more; pass fastnmf.Readings(**X), or its matrix, "
            "X['data'], and its labels, strata=X['strata']."
        )
    if hasattr(X, "chunk_rows"):
        raise TypeError(
            f"{prefix}X is a matrix on disk, which fit, transform and score of NMF and StratifiedNMF read chunk by "
            "chunk; pass X[:] to read it whole."
        )
    if hasattr(X, "__dask_graph__"):
        raise TypeError(
            f"{prefix}X is a Dask collection, which fastnmf.dask fits; pass X.compute(), or its blocks to partial_fit "
            "or fit_blocks of MiniBatchNMF."
        )
    if isinstance(X, (list, tuple)):
        _check_list(X, prefix)
    if all(hasattr(X, name) for name in ("columns", "dtypes", "shape")):
        _check_frame(X, prefix)
    array = X if hasattr(X, "ndim") else _array_of(X, prefix)
    n_dimensions = array.ndim
    if n_dimensions != 2:
        kind = f"{n_dimensions}D" if n_dimensions else "scalar"
        if n_dimensions == 1 and _holds_text(X):
            raise ValueError(
                f"{prefix}Expected 2D array, got 1D array instead: X holds texts; count their words first, with "
                "fastnmf.read (new texts with source=model.source_) or a vectorizer such as TfidfVectorizer."
            )
        raise ValueError(
            f"{prefix}Expected 2D array, got {kind} array instead: X must be a matrix (samples x features). "
            "Reshape your data, for example with X.reshape(1, -1) if it is one sample."
        )
    kind = getattr(getattr(array, "dtype", None), "kind", "")
    if kind == "c":
        raise ValueError(
            f"{prefix}Complex data not supported: X has dtype {array.dtype}. Take its real part, or its modulus."
        )
    if kind and kind in "USTMmV":
        raise TypeError(f"{prefix}X has dtype {array.dtype}; only real numbers can be factorised. Convert X to float.")
    if kind == "O":
        as_numbers(array.data if sp.issparse(array) else array, f"{prefix}X")
    if sp.issparse(X):
        check_pointers(X, f"{prefix}X")


def as_numbers(values, name):
    """Return array-like values as an array of real numbers, or raise TypeError where they are none."""
    check_unmasked(values, name)
    try:
        found = np.asarray(values)
        if found.dtype.kind == "O":
            found = found.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:  # also rows of different lengths
        said = " ".join(str(error).split())
        raise TypeError(f"{name} is {shown(values)}; expected an array of real numbers ({said}).") from None
    if found.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {found.dtype}; expected real numbers.")
    return found.astype(found.dtype.newbyteorder("="), copy=False)


def _array_of(X, prefix):
    """Return what is not an array as one, for `check_kind`."""
    try:
        found = np.asarray(X)
    except ValueError:  # parts of different shapes
        raise ValueError(f"{prefix}X is {shown(X)}; expected a matrix (samples x features) of numbers.") from None
    if found.dtype.kind == "O" and not found.ndim and not isinstance(X, numbers.Number):
        raise TypeError(f"{prefix}X is {shown(X)}; expected a matrix (samples x features) of numbers.")
    return found


def _check_list(X, prefix):
    """Raise ValueError for a list of matrices, or of rows of different lengths, which NumPy cannot make a matrix of."""
    if X and all(len(getattr(part, "shape", ())) == 2 for part in X):
        raise ValueError(
            f"{prefix}Expected 2D array, got a list of {len(X)} matrices instead: stack their rows with numpy.vstack "
            "or scipy.sparse.vstack, and pass strata=, one label per row, to models with strata."
        )
    lengths = {len(part) for part in X if isinstance(part, (list, tuple))}
    if len(lengths) > 1:
        raise ValueError(
            f"{prefix}Expected 2D array, got rows of different lengths, {min(lengths)} to {max(lengths)}; give every "
            "row the same number of entries."
        )


def _check_frame(X, prefix):
    """Raise an error for a data frame of pandas or polars with a column of no numbers, whatever NumPy makes of it."""
    names, dtypes = list(column_names(X)), list(X.dtypes)
    if not names:
        raise ValueError(f"{prefix}X of shape {X.shape} is empty; at least one row and one column are required.")
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise ValueError(f"{prefix}X has the column {twice!r} more than once; give each its own name.")
    for name, dtype in zip(names, dtypes, strict=True):
        kind, fill = getattr(dtype, "kind", "O"), getattr(dtype, "fill_value", 0)
        if kind in "mM" or getattr(dtype, "is_temporal", bool)():
            raise TypeError(
                f"{prefix}Column {name!r} of X holds dates or durations; only real numbers can be factorised. Leave "
                "the column out, or pass its name as strata=."
            )
        if kind == "O" and _holds_text(X[name]):
            raise TypeError(
                f"{prefix}Column {name!r} of X holds text; only real numbers can be factorised. Leave the column "
                "out, pass its name as strata=, count the words of texts with fastnmf.read or a vectorizer, or turn a "
                "long table into a matrix with pivot_table."
            )
        if fill != 0:
            raise ValueError(
                f"{prefix}Column {name!r} of X is sparse with the fill value {fill}, but what is not stored must be "
                "0; convert X by X.astype(pandas.SparseDtype('float', 0))."
            )


def _holds_text(column):
    return any(isinstance(value, str) for value in np.asarray(column, dtype=object).ravel())


def check_pointers(X, name="X"):
    """Raise an error where the arrays of a sparse matrix do not fit together; the values of the indices are not read.

    Parameters
    ----------
    X : sparse matrix or array, of any format
        COO, CSR, CSC and BSR are checked. The other formats have no arrays that compiled code relies on.
    name : str, default="X"
        Name of the matrix in the message.

    Raises
    ------
    ValueError
        An array has the wrong length or dimension, indices are not of an integer type, or `indptr` does not begin at 0,
        decreases, or ends beyond the stored values.
    """
    if X.format not in (*_COMPRESSED, "coo"):
        return
    parts = {"row": X.row, "col": X.col} if X.format == "coo" else {"indptr": X.indptr, "indices": X.indices}
    for part, array in parts.items():
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind not in "iu":
            kind = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise _damaged(name, X, f"its {part} is {kind}, and must be a one-dimensional array of integers")
    n_stored = len(X.data)
    for part, array in parts.items():
        if part != "indptr" and len(array) != n_stored:
            raise _damaged(name, X, f"it has {n_stored} stored values and {len(array)} entries in {part}")
    if X.format == "coo":
        return
    n_major = X.shape[1] if X.format == "csc" else X.shape[0]
    n_major //= X.blocksize[0] if X.format == "bsr" else 1
    indptr = X.indptr
    if len(indptr) != n_major + 1:
        raise _damaged(name, X, f"its indptr has {len(indptr)} entries, and must have {n_major + 1}")
    if indptr[0] != 0 or (indptr[1:] < indptr[:-1]).any() or int(indptr[-1]) > n_stored:
        raise _damaged(name, X, f"its indptr must rise from 0 to at most {n_stored}, the number of its stored values")


def check_indices(X, name="X"):
    """Raise an error where an index of a COO, CSR, CSC or BSR matrix lies outside its shape.

    Parameters
    ----------
    X : sparse matrix or array
        It has passed `check_pointers`.
    name : str, default="X"
        Name of the matrix in the message.

    Returns
    -------
    bool
        Whether X is CSR (or CSC, BSR) and the indices increase within each row (column), so that there are no
        duplicates.

    Raises
    ------
    ValueError
        An index is negative, or beyond the shape.
    """
    if X.format == "coo":
        _count_non_increasing(X.row, X.shape[0], "row", X, name)
        _count_non_increasing(X.col, X.shape[1], "column", X, name)
        return False
    what, size = ("row", X.shape[0]) if X.format == "csc" else ("column", X.shape[1])
    size //= X.blocksize[1] if X.format == "bsr" else 1
    indices = X.indices[: int(X.indptr[-1])]
    n_falls = _count_non_increasing(indices, size, what, X, name)
    starts = X.indptr[1:-1]
    starts = starts[(starts > X.indptr[:-2]) & (starts < len(indices))]  # of rows that follow a row with entries
    return n_falls == np.count_nonzero(indices.take(starts) <= indices.take(starts - 1))


def _count_non_increasing(indices, size, what, X, name):
    """Return how often an index is not larger than the index before it.

    Parameters
    ----------
    indices : ndarray (nnz,) of int
    size : int
        Indices must lie in 0 .. size - 1.
    what : str
        ``"row"`` or ``"column"``, for the message.
    X : sparse matrix or array
    name : str
        Name of the matrix in the message.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        An index lies outside 0 .. size - 1.
    """
    if _is_large(indices):
        low, high, n_falls = _integers_range(indices)
        if low >= 0 and high < size:
            return n_falls
    n_falls = 0
    for lo in range(0, len(indices), STEP):
        part = indices[max(lo - 1, 0) : lo + STEP]
        low, high = int(part.min()), int(part.max())
        if low < 0 or high >= size:
            found = low if low < 0 else high
            raise _damaged(name, X, f"it names {what} {found}, and its {what}s are 0 to {size - 1}")
        n_falls += np.count_nonzero(part[1:] <= part[:-1])
    return n_falls


def _is_large(values):
    """Tell whether an array is worth a kernel's read, which several threads share."""
    return len(values) >= _LARGE and values.flags.c_contiguous and values.dtype in (np.int32, np.int64)


def _integers_range(values):
    """Return the least and the largest entry, and how many are not larger than the entry before them."""
    tasks = split_rows(len(values), 1)
    found = np.empty((len(tasks) - 1, 3), np.int64)
    products.integers_range(tasks, values, found)
    return found[:, 0].min(), found[:, 1].max(), found[:, 2].sum()


def _damaged(name, X, what):
    return ValueError(f"{name} is a damaged {X.format.upper()} matrix of shape {X.shape}: {what}; rebuild it.")


def as_csr(X, name="X", dtype=None):
    """Return a sparse matrix as a csr_array with checked indices of int32 or int64; duplicates and stored zeros stay.

    Parameters
    ----------
    X : sparse matrix or array, of any format
    name : str, default="X"
        Name of the matrix in messages.
    dtype : dtype, default=None
        Type of the values; None keeps it.

    Returns
    -------
    csr_array
        It shares the arrays of X where they can be used as they are. `has_canonical_format` is set from the check.

    Raises
    ------
    ValueError
        As `check_pointers` and `check_indices`.
    """
    check_pointers(X, name)
    is_checked = X.format in (*_COMPRESSED, "coo")
    is_canonical = is_checked and check_indices(X, name)
    if X.format in _COMPRESSED:
        end, index_type = int(X.indptr[-1]), np.result_type(X.indices, X.indptr)
        index_type = index_type if index_type in (np.int32, np.int64) else np.int64
        parts = (X.indices[:end].astype(index_type, copy=False), X.indptr.astype(index_type, copy=False))
        X = {"csr": sp.csr_array, "csc": sp.csc_array, "bsr": sp.bsr_array}[X.format](
            (X.data[:end], *parts), shape=X.shape
        )
    elif dtype is not None:
        X = X.astype(dtype, copy=False)  # SciPy converts no COO matrix of float16 to CSR
    out = sp.csr_array(X, dtype=dtype)
    if not is_checked:
        is_canonical = check_indices(out, name)
    if X.format == "csr" or not is_checked:  # the flags of the user's matrix may be wrong
        out.has_canonical_format = is_canonical
    return out


_SORT_BELOW = 200_000  # non-zeros


def as_matrix(X, prefix="", *, is_signed=False):
    """Return X, checked, as canonical CSR or C-order dense of float32 or float64; the user's arrays are not changed.

    Rows of CSR may stay unsorted.

    Parameters
    ----------
    X : sparse matrix or array of any format, array-like (n_rows, n_columns)
        float32 and float64 keep their type, float16 becomes float32, and other types become float64.
    prefix : str, default=""
        Beginning of the messages.
    is_signed : bool, default=False
        Whether negative entries are allowed.

    Returns
    -------
    csr_array or ndarray

    Raises
    ------
    ValueError, TypeError
        X is not a matrix of finite real numbers, is empty or too large, or has negative entries that are not allowed.
    """
    X = matrix_of(X)
    check_kind(X, prefix)
    if not sp.issparse(X):
        X = np.asarray(X)
        check_kind(X, prefix)
    if X.dtype.kind not in "fiub":
        raise TypeError(f"{prefix}X has dtype {X.dtype}; only real numbers can be factorised. Convert X to float.")
    if 0 in X.shape:
        raise ValueError(f"{prefix}X of shape {X.shape} is empty; at least one row and one column are required.")
    if max(X.shape) > np.iinfo(np.int32).max:
        raise ValueError(f"{prefix}X of shape {X.shape} is too large: rows and columns are limited to 2,147,483,647.")
    dtype = X.dtype if X.dtype in (np.float32, np.float64) and X.dtype.isnative else np.dtype(np.float64)
    if X.dtype == np.float16:
        dtype = np.dtype(np.float32)
    if sp.issparse(X):
        X = as_csr(X, f"{prefix}X", dtype)
        if _has_duplicates(X):
            X = X.copy()
            X.sum_duplicates()
        values = X.data
    else:
        X = values = np.ascontiguousarray(X, dtype=dtype)
    if values.size:
        low, high = value_range(values)
        if not (np.isfinite(low) and np.isfinite(high)):
            what = "NaN" if np.isnan(low) else "infinity"
            raise ValueError(f"{prefix}Input X contains {what}; every entry must be a finite number. Fill or drop it.")
        if low < 0 and not is_signed:
            raise ValueError(
                f"{prefix}Negative values in data: the smallest entry of X is {low:g}; non-negative factorisation "
                "needs entries >= 0. Shift, clip or split the data first."
            )
        if sp.issparse(X) and low <= 0 <= high and not values.all():
            X = X.copy()
            X.eliminate_zeros()
    return X


def value_range(values):
    """Return the least and the largest entry, both NaN where an entry is NaN, with one read of the memory."""
    flattened = values.reshape(-1)
    if len(flattened) <= STEP:
        return flattened.min(), flattened.max()
    bits = flattened.view(f"i{flattened.itemsize}")
    if _is_large(bits):  # read as integers, floats without a sign keep their order, and NaN lies above infinity
        extremes = np.array(_integers_range(bits)[:2], bits.dtype)
        low, high = extremes.view(flattened.dtype)
        if extremes[0] >= 0 and np.isfinite(high):
            return low, high
    parts = [flattened[lo : lo + STEP] for lo in range(0, len(flattened), STEP)]
    low, high = np.array([(part.min(), part.max()) for part in parts]).T
    return low.min(), high.max()


def _has_duplicates(X):
    """Tell whether a row may have two entries in one column; small matrices are not searched."""
    if X.has_canonical_format:
        return False
    if X.nnz < _SORT_BELOW:
        return True  # sorting a copy takes less time than compiling the search
    from fastnmf.data.layout import Compressed  # here: `fastnmf.metrics` checks matrices and need not load Numba
    from fastnmf.kernels import products

    rows = Compressed(X.indptr, X.indices, X.data)
    tasks = rows.tasks(8)
    found = np.empty(len(tasks) - 1, np.bool_)
    products.csr_duplicates(tasks, rows.indptr, rows.indices, X.shape[1], found)
    return bool(found.any())
