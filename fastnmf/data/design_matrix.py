"""The matrix Z of a design, and an exposure, as users give them: their names, what is refused, and one-hot Z."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from fastnmf.data.matrix import as_matrix, as_numbers
from fastnmf.data.sentences import shown
from fastnmf.typing import Array, Floats, Integers

# Largest entries of a design: squares must not overflow, and shifts must exceed what multiplicative updates keep from
# zero, also where data are as small as the inner scale allows.
MOST_OF_DTYPE = {np.dtype(np.float32): 2.0**30, np.dtype(np.float64): 2.0**160}


def column_names(design: Any) -> Array:
    """Return the names of the columns of the user's Z: its own, or "z0", "z1", ..."""
    given = getattr(design, "columns", None)
    shape = getattr(design, "shape", None)
    if given is None and (shape is None or len(shape) != 2):
        shape = as_matrix(design, "design: ", is_signed=True).shape
    names = [str(name) for name in given] if given is not None else [f"z{at}" for at in range(shape[1])]
    if len(set(names)) < len(names):
        raise ValueError(f"design has the columns {shown(names)}; expected distinct names.")
    return np.array(names)


def checked_exposure(exposure: Any, n_rows: int) -> Floats:
    """Return the exposure as float64 (n_rows,)."""
    u = as_numbers(exposure, "exposure").astype(np.float64)
    if u.shape != (n_rows,):
        raise ValueError(f"exposure has shape {u.shape}, expected ({n_rows},): one number for each row of X.")
    if not np.isfinite(u).all() or (u < 0).any():
        raise ValueError("exposure contains negative or non-finite numbers; every exposure must be >= 0.")
    return u


def is_one_hot(Z: sp.csr_array) -> bool:
    """Tell whether every row of Z has a single entry, and that is 1: a design that strata describe."""
    return bool((np.diff(Z.indptr) == 1).all() and (Z.data == 1).all())


def one_hot(index: Integers, n_groups: int) -> sp.csr_array:
    """Return the design of rows that have the shift of one group each, csr_array (n_rows, n_groups) of float64."""
    return sp.csr_array((np.ones(len(index)), index, np.arange(len(index) + 1)), shape=(len(index), n_groups))


def check_range(Z: sp.csr_array, names: Array, dtype: Any, *, is_fit: bool) -> None:
    """Raise where products of Z with data of a type would overflow, or where shifts would be too small or too large.

    Parameters
    ----------
    Z : csr_array (n_rows, q)
        Its rows are multiplied by the exposure.
    names : ndarray (q,)
    dtype : dtype
        Of the data.
    is_fit : bool
        Whether a column without a large entry is refused, too: shifts times its entries are as large as the data.
    """
    most, largest = MOST_OF_DTYPE.get(np.dtype(dtype), MOST_OF_DTYPE[np.dtype(np.float64)]), np.zeros(Z.shape[1])
    np.maximum.at(largest, Z.indices, Z.data)
    wrong = np.flatnonzero((largest > most) | is_fit & (largest < 1 / most))
    if len(wrong):
        raise ValueError(
            f"The largest entry of the column {str(names[wrong[0]])!r} of the design, times the exposure, is "
            f"{largest[wrong[0]]:g}; expected {1 / most:.0e} to {most:.0e} for data of {np.dtype(dtype)}: divide the "
            "design or the exposure by a constant."
        )
