"""Check matrices of the user before any compiled code walks them.

SciPy constructs sparse matrices without looking at their indices, and compiled loops, its own as well as ours, read and
write outside their arrays where an index lies outside the shape. So nothing walks a sparse matrix of the user before
`check_pointers` (O(rows)) and `check_indices` (one pass over the stored entries) have seen it.
"""

import numbers

import numpy as np
import scipy.sparse as sp

STEP = 1 << 16  # entries that are checked together: they stay in the cache between one check and the next
_COMPRESSED = ("csr", "csc", "bsr")


def check_kind(X, prefix=""):
    """Raise one sentence for data that are not two-dimensional, complex, or text, or sparse with damaged pointers."""
    if X is None or isinstance(X, (str, bytes)):
        raise TypeError(f"{prefix}X is {X!r}; expected a matrix (samples x features) of numbers.")
    n_dimensions = X.ndim if hasattr(X, "ndim") else np.ndim(X) if isinstance(X, (list, tuple, numbers.Number)) else 2
    if n_dimensions != 2:
        kind = f"{n_dimensions}D" if n_dimensions else "scalar"
        raise ValueError(
            f"{prefix}Expected 2D array, got {kind} array instead: X must be a matrix (samples x features). "
            "Reshape your data, for example with X.reshape(1, -1) if it is one sample."
        )
    kind = getattr(getattr(X, "dtype", None), "kind", "")
    if kind == "c":
        raise ValueError(
            f"{prefix}Complex data not supported: X has dtype {X.dtype}. Take its real part, or its modulus."
        )
    if kind in ("U", "S"):
        raise TypeError(f"{prefix}X has dtype {X.dtype}; only real numbers can be factorised. Convert X to float.")
    if hasattr(getattr(X, "dtypes", None), "items"):  # a data frame
        text = [name for name, dtype in X.dtypes.items() if getattr(dtype, "kind", "O") == "O" and _holds_text(X[name])]
        if text:
            raise TypeError(
                f"{prefix}Column {text[0]!r} of X holds text; only real numbers can be factorised. Leave the column "
                "out, or encode it as numbers."
            )
    if sp.issparse(X):
        check_pointers(X, f"{prefix}X")


def _holds_text(column):
    return any(isinstance(value, str) for value in np.asarray(column, dtype=object).ravel())


def check_pointers(X, name="X"):
    """Raise one sentence where the arrays of a sparse matrix do not fit together; the indices are not looked at.

    Parameters
    ----------
    X : sparse matrix or array, of any format
        COO, CSR, CSC and BSR are checked; the others hold no arrays that compiled code would trust.
    name : str
        What the sentence calls it.

    Raises
    ------
    ValueError
        Arrays of the wrong length or dimension, indices of a type that is no integer, or an `indptr` that does not
        begin at 0, decreases, or ends beyond the stored values.
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
    """Raise one sentence where an index of a COO, CSR, CSC or BSR matrix lies outside its shape.

    Parameters
    ----------
    X : sparse matrix or array, with sound pointers
    name : str
        What the sentence calls it.

    Returns
    -------
    bool
        Whether X is CSR (or CSC, BSR) and the indices rise within each row (column), so that there are no duplicates.

    Raises
    ------
    ValueError
        A negative index, or one beyond the shape.
    """
    if X.format == "coo":
        _count_falls(X.row, X.shape[0], "row", X, name)
        _count_falls(X.col, X.shape[1], "column", X, name)
        return False
    what, size = ("row", X.shape[0]) if X.format == "csc" else ("column", X.shape[1])
    size //= X.blocksize[1] if X.format == "bsr" else 1
    indices = X.indices[: int(X.indptr[-1])]
    n_falls = _count_falls(indices, size, what, X, name)
    starts = X.indptr[1:-1]
    starts = starts[(starts > X.indptr[:-2]) & (starts < len(indices))]  # of rows before which something is stored
    return n_falls == np.count_nonzero(indices[starts] <= indices[starts - 1])


def _count_falls(indices, size, what, X, name):
    """Return how often an index does not exceed the one before; raise where one lies outside 0 .. size - 1."""
    n_falls = 0
    for lo in range(0, len(indices), STEP):
        part = indices[max(lo - 1, 0) : lo + STEP]
        low, high = int(part.min()), int(part.max())
        if low < 0 or high >= size:
            found = low if low < 0 else high
            raise _damaged(name, X, f"it names {what} {found}, and its {what}s are 0 to {size - 1}")
        n_falls += np.count_nonzero(part[1:] <= part[:-1])
    return n_falls


def _damaged(name, X, what):
    return ValueError(f"{name} is a damaged {X.format.upper()} matrix of shape {X.shape}: {what}; build it anew.")


def as_csr(X, name="X", dtype=None):
    """Return a sparse matrix as a csr_array with sound indices of int32 or int64; duplicates and stored zeros stay.

    Parameters
    ----------
    X : sparse matrix or array, of any format
    name : str
        What a sentence calls it.
    dtype : dtype, optional
        Of the values, where they are to be converted.

    Returns
    -------
    csr_array
        It shares the arrays of X where these serve as they are, and knows whether it is canonical.

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
    out = sp.csr_array(X, dtype=dtype)
    if not is_checked:
        is_canonical = check_indices(out, name)
    if X.format == "csr" or not is_checked:  # whatever flags the user's matrix carries
        out.has_canonical_format = is_canonical
    return out
