"""Validate entry weights and missing values once, and turn them into `Weights`."""

import numbers
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from fastnmf.data.annotated import matrix_of
from fastnmf.data.layout import Compressed, row_index
from fastnmf.data.matrix import as_csr, as_matrix, check_kind, check_unmasked
from fastnmf.data.sentences import shown
from fastnmf.data.shifts import entries_at

MAX_WEIGHT = 1e12  # the largest weight lies in 1e-12 .. 1e12: products with squares of the data then fit into float32
NOTHING_OBSERVED = (
    "No entry of X is observed: all are missing or have weight 0; give at least one entry a positive weight."
)
MISSING = ("nan", "zeros", None)


class Side(NamedTuple):
    """Weights O (p, q) of the rows of one side of the data, as ``base[i] + D[i]``.

    Attributes
    ----------
    base : ndarray (p,) of int8
        1 for rows in which most weights are about 1, 0 for the others.
    extra : fastnmf.data.layout.Compressed
        D, sparse, sorted.
    """

    base: np.ndarray
    extra: Compressed

    def matrix(self, width):
        """Return D as a `csr_array` (p, width) on the same memory."""
        return sp.csr_array((self.extra.data, self.extra.indices, self.extra.indptr), (len(self.base), width))


class Weights:
    """Entry weights O (n_rows, n_columns) >= 0, held as their difference from all ones or from all zeros.

    Each row, and on the other side each column, holds the shorter of the two differences. For a mask these are the
    missing entries or the observed ones; for dense weights they are all entries (about 16 bytes each on either side).

    Parameters
    ----------
    base : {0, 1}
    difference : csr_array (n_rows, n_columns)
        ``O - base``, canonical, without explicit zeros.
    scales_penalties : bool, default=False
        Whether the penalties of a row or column count by the sum of its weights, not by the number of its entries.
    """

    def __init__(self, base, difference, scales_penalties=False):
        self.base, self.difference, self.shape = base, difference, difference.shape
        self.scales_penalties = scales_penalties

    def totals(self, axis):
        """Return the sum of the weights of each row (axis 1) or column (axis 0), float64."""
        sums = np.asarray(self.difference.sum(axis=axis, dtype=np.float64)).ravel()
        return np.maximum(self.base * self.shape[axis] + sums, 0.0)

    @cached_property
    def rows(self):
        """`Side` of the rows."""
        return _side(self.base, self.difference)

    @cached_property
    def columns(self):
        """`Side` of the columns."""
        return _side(self.base, sp.csr_array(self.difference.T))

    @cached_property
    def is_mask(self):
        """Whether all weights are 0 or 1."""
        return bool((self.difference.data == 1 - 2 * self.base).all())

    def part(self, chosen, columns=None):
        """Return the weights of some of the rows, and of some columns, an ascending array of int."""
        difference = self.difference[chosen]
        difference = sp.csr_array(difference if columns is None else difference[:, columns])
        return Weights(self.base, difference, self.scales_penalties)

    def counts(self, axis):
        """Return the number of positive weights of each row (axis 1) or column (axis 0)."""
        E, n = self.difference, self.shape[1 - axis]
        place = row_index(E) if axis == 1 else E.indices
        plain = self.base * (self.shape[axis] - np.bincount(place, minlength=n))
        return plain + np.bincount(place[E.data + self.base > 0], minlength=n)

    def known(self, X):
        """Return where X is known, a csr_array of bool: what sparse X stores, the positive weights of a dense X."""
        if sp.issparse(X):
            return sp.csr_array((np.ones(X.nnz, bool), X.indices.copy(), X.indptr.copy()), X.shape)
        return sp.csr_array(self.is_seen())

    def is_seen(self):
        """Return whether each weight is positive, a dense array (n_rows, n_columns) of bool; for dense data."""
        E, out = self.difference, np.full(self.shape, self.base == 1)
        out[row_index(E), E.indices] = E.data + self.base > 0
        return out

    @cached_property
    def is_empty(self):
        """Whether all weights are 0."""
        n_plain = self.shape[0] * self.shape[1] - self.difference.nnz  # entries of weight `base`
        return (self.base == 0 or n_plain == 0) and not (self.difference.data + self.base).any()

    def at(self, X):
        """Return the weights of the stored entries of X, a sorted `csr_array` without duplicates, in their order."""
        return self.base + stored(self.difference, X)


def stored(A, pattern):
    """Return the values of A at the stored entries of `pattern`, in their order, and 0 where A stores none.

    Parameters
    ----------
    A, pattern : csr_array
        Of one shape, sorted, without duplicates.

    Returns
    -------
    ndarray (pattern.nnz,), dtype of A
    """
    if np.array_equal(A.indptr, pattern.indptr) and np.array_equal(A.indices, pattern.indices):
        return A.data  # a mask of what X stores
    return entries_at(A, row_index(pattern), pattern.indices)


def _side(base, E):
    """Return the `Side` of the weights ``base + E``; rows for which the other base gives fewer entries change to it.

    A row does not change where its weights far below 1 would have to be recovered as a difference of two large numbers.
    """
    width, is_other = E.shape[1], E.data == 1 - 2 * base
    n_stored = np.diff(E.indptr)
    if is_other.all():  # a mask
        n_other = width - n_stored  # entries of D with the other base
        lack = n_stored if base == 1 else n_other  # by which O lies below 1
    else:
        of_row = row_index(E)
        n_other = width - np.bincount(of_row[is_other], minlength=len(n_stored))
        lack = np.bincount(of_row, np.maximum(1 - (E.data + base), 0), minlength=len(n_stored))
        lack = lack + width - n_stored if base == 0 else lack
    n_zero, n_one = (n_other, n_stored) if base == 1 else (n_stored, n_other)  # entries of D for base 0, base 1
    wants_one = (n_one < n_zero) & (lack <= width / 2)
    turned = np.flatnonzero(wants_one != base)
    bases = wants_one.astype(np.int8)
    if len(turned):
        part = E[turned].toarray() + E.dtype.type(2 * base - 1)  # never-densify-ok: rows mostly stored
        part = sp.csr_array(part).tocoo()
        part = sp.csr_array((part.data, (turned[part.coords[0]], part.coords[1])), shape=E.shape)
        E = _canonical(_kept(E, np.repeat(wants_one == base, n_stored)) + part)
    return Side(bases, Compressed(E.indptr, E.indices, E.data))


class Background(NamedTuple):
    """Sparse weights of entries (n_rows, n_columns), and the weight > 0 of all entries that they do not store."""

    weight: Any
    background: float


def observed(X, weight=None, missing_values=None, *, may_be_empty=False):
    """Separate missing values and entry weights from the data.

    Parameters
    ----------
    X : sparse matrix or array of any format (n_rows, n_columns)
        May contain NaN where ``missing_values="nan"``, and any value where the weight is 0.
    weight : array-like or sparse matrix (n_rows, n_columns), or Background, default=None
        Weights >= 0 of the errors of the entries. 0 or False excludes an entry. Entries that a sparse `weight` does not
        store have weight 0, or that of the `Background`. None: all weights are 1.
    missing_values : {"nan", "zeros", None}, default=None
        ``"nan"``: entries that are NaN are missing. ``"zeros"``: entries that are zero, or not stored, are missing.
    may_be_empty : bool, default=False
        Whether all entries may be missing, as in a single new row.

    Returns
    -------
    X : csr_array or ndarray
        Without missing values: zero, or not stored, where the weight is 0. X itself where all weights are 1.
    weights : Weights, or None
        None where all weights are 1.

    Raises
    ------
    ValueError, TypeError
        `weight` has a different shape, or is negative, not finite or of an extreme size; no entry is observed; X is NaN
        at an entry that is not missing; `missing_values` is unknown.
    """
    if missing_values not in MISSING:
        raise ValueError(f"missing_values={shown(missing_values)} is not known; expected 'nan', 'zeros' or None.")
    if weight is None and missing_values is None:
        return X, None
    given, X = X, _numbers(X)
    if isinstance(weight, Background):  # weights of 1 beside those that are stored: all are divided by the background
        base, difference = 1, _over_background(weight, X, missing_values)
    else:
        base, difference = _combined(X, _checked(weight, X), missing_values)
    n_plain = X.shape[0] * X.shape[1] - difference.nnz  # entries of weight `base`
    values = difference.data + base
    if (values == 1).all() and (base == 1 or n_plain == 0):
        return given, None
    weights = Weights(base, difference)
    if weights.is_empty and not may_be_empty:
        raise ValueError(NOTHING_OBSERVED)
    X = _cleaned(X, weights)
    if np.isnan(X.data if sp.issparse(X) else X).any():
        raise ValueError(
            "Input X contains NaN at an entry of positive weight; pass missing_values='nan', or give it weight 0."
        )
    return X, weights


def _numbers(X):
    """Return X as an array, or as canonical CSR, of float32 or float64; NaN is accepted."""
    check_kind(X)
    if not sp.issparse(X):
        X = np.asarray(X)
        check_kind(X)
    if X.dtype.kind not in "fiub" or 0 in X.shape:
        return as_matrix(X)  # raises the error with its message
    single = X.dtype in (np.float16, np.float32)
    dtype = np.float32 if single else np.float64
    if not sp.issparse(X):
        return np.ascontiguousarray(X, dtype=dtype)
    out = as_csr(X, "X", dtype)
    if not out.has_canonical_format:
        out = out.copy()
        out.sum_duplicates()
    return out


def _checked(weight, X):
    """Return `weight` as an array or canonical CSR with the dtype of X, or None; raise an error where it is invalid."""
    if weight is None:
        return None
    weight = matrix_of(weight)
    check_unmasked(weight, "weight")
    if not sp.issparse(weight):
        weight = np.asarray(weight)
    if weight.shape != X.shape:
        raise ValueError(f"weight has shape {weight.shape}, expected {X.shape}: one weight for every entry of X.")
    if weight.dtype.kind not in "fiub":
        raise TypeError(f"weight has dtype {weight.dtype}; only real numbers >= 0, or booleans, can be weights.")
    if sp.issparse(weight):
        weight = as_csr(weight, "weight", X.dtype)
        if not weight.has_canonical_format or not weight.data.all():
            weight = weight.copy()
            weight.sum_duplicates()
            weight.eliminate_zeros()
        values = weight.data
    else:
        weight = values = np.asarray(weight, dtype=X.dtype)
    if values.size:
        low, high = values.min(), values.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError("weight contains NaN or infinity; every weight must be a finite number >= 0.")
        if low < 0:
            raise ValueError(f"weight has the negative entry {low:g}; weights must be >= 0.")
        if high > 0 and not 1 / MAX_WEIGHT <= high <= MAX_WEIGHT:
            raise ValueError(
                f"The largest weight is {high:g}; expected one between 1e-12 and 1e12. Only their ratios matter: "
                "divide all weights by the largest."
            )
    return weight


def _combined(X, weight, missing_values):
    """Return `base` and ``O - base`` as a canonical csr_array, where O is zero at missing entries."""
    if missing_values == "zeros":
        seen = _pattern(X != 0) if not sp.issparse(X) else _pattern(X)
        return 0, _canonical(seen.astype(X.dtype) if weight is None else seen.astype(X.dtype).multiply(weight))
    missing = _pattern(np.isnan(X)) if missing_values == "nan" and not sp.issparse(X) else None
    if missing_values == "nan" and missing is None:
        missing = _pattern(sp.csr_array((np.isnan(X.data), X.indices, X.indptr), X.shape))
    if weight is None:
        return 1, -missing.astype(X.dtype)
    if sp.issparse(weight):
        lost = None if missing is None else missing.astype(X.dtype).multiply(weight)
        return 0, weight if lost is None else _canonical(weight - lost)
    if missing is not None:
        weight = weight.copy()
        weight[missing.nonzero()] = 0
    is_sharp = not ((weight > 0) & (weight < 0.5)).any()  # then 1 + (weight - 1) equals the weight exactly
    base = int(is_sharp and np.count_nonzero(weight != 1) < np.count_nonzero(weight))
    return base, _canonical(weight - X.dtype.type(base))


def _over_background(given, X, missing_values):
    """Return ``O / background - 1`` as a canonical csr_array."""
    weight, background = matrix_of(given.weight), given.background
    if not isinstance(background, numbers.Real) or isinstance(background, bool) or not 0 < background < np.inf:
        raise ValueError(f"background={shown(background)} is not valid; expected a number > 0, or None.")
    if weight is None or not sp.issparse(weight):
        found = "no weight" if weight is None else f"a dense weight ({type(weight).__name__})"
        raise ValueError(f"background is the weight of entries that a sparse weight does not store; {found} was given.")
    if missing_values is not None:
        raise ValueError(
            f"background counts entries that are not stored as known zeros, but missing_values={missing_values!r} as "
            "unknown; leave one of them out."
        )
    plain = sp.csr_array(weight)
    zeros = plain.data == 0  # stored: of weight 0, not of that of the background
    weight = _checked(weight, X)
    difference = weight.data / X.dtype.type(background) - 1
    difference = sp.csr_array((difference, weight.indices, weight.indptr), X.shape)
    if zeros.any():
        difference = difference - sp.csr_array((zeros.astype(X.dtype), plain.indices, plain.indptr), X.shape)
    return _canonical(difference)


def _pattern(A):
    """Return the non-zero entries of A as a canonical csr_array of booleans."""
    return _canonical(sp.csr_array(A) != 0)


def _canonical(A):
    A = sp.csr_array(A)
    A.sum_duplicates()
    A.eliminate_zeros()
    return A


def _cleaned(X, weights):
    """Return X, zero, or not stored, where the weight is 0."""
    if not sp.issparse(X):
        return np.where(weights.is_seen(), X, X.dtype.type(0))
    return _kept(X, weights.at(X) > 0)


def _kept(A, is_kept):
    """Return A with those of its stored entries where `is_kept` is true; A itself where they all are."""
    if is_kept.all():
        return A
    start = np.concatenate([[0], np.cumsum(is_kept)])[A.indptr]
    return sp.csr_array((A.data[is_kept], A.indices[is_kept], start), A.shape)
