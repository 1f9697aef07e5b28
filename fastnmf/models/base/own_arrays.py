"""Arrays of fits with own components: shifts and components as users get them, and powers of two between factors.

Inner scale: as in `fastnmf.models.base.own`.
"""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.own import columns_times_powers
from fastnmf.data import shifts as shift_arrays
from fastnmf.data.layout import row_index


def held_shifts(loss, factors):
    """Return the shifts (n_strata, n_columns) of a fit, dense or CSR, in the inner scale."""
    if "V" in factors.arrays:
        return loss.of_shifts.strata.pattern.held(factors["V"])
    if not loss.is_common:
        return loss.pattern.held(np.ascontiguousarray(factors["G"][:, 0]))
    v, n_strata = loss.shift(factors), loss.strata.n_strata
    if shift_arrays.are_sparse(loss.pattern.sparse_shifts, n_strata, len(v)):
        return sp.csr_array(v[None])[[0] * n_strata]
    return np.repeat(v[None], n_strata, axis=0)


def pooled(data, v):
    """Return shifts (q,) on the pattern, each replaced by the mean of its column, weighted by rows."""
    pattern, sizes = data.pattern, data.groups.sizes[data.pattern.group]
    total, count = (np.bincount(pattern.column, each, pattern.n_columns) for each in (sizes * v, sizes))
    return (total / np.where(count > 0, count, 1))[pattern.column]


def stacked(G, pattern, sizes):
    """Return the own components of all strata one below the other, (sum of sizes, n_columns), dense or CSR.

    Parameters
    ----------
    G : ndarray (q, w)
        Their entries on the pattern.
    pattern : fastnmf.data.shifts.Pattern
    sizes : ndarray (n_strata,) of int
    """
    begin, shape = np.cumsum([0, *sizes]), (int(sizes.sum()), pattern.n_columns)
    entry, place = np.nonzero(G)  # a stratum has zeros beyond its number of components
    row, column, values = begin[pattern.group[entry]] + place, pattern.column[entry], G[entry, place]
    if shift_arrays.are_sparse(pattern.sparse_shifts, *shape):
        return sp.csr_array((values, (row, column)), shape=shape)
    out = np.zeros(shape, G.dtype)
    out[row, column] = values
    return out


def balanced_own(U, stack):
    """Return U and the own components, scaled by powers of two against each other so that their lengths are similar.

    Parameters
    ----------
    U : csr_array (n_rows, k)
    stack : ndarray or csr_array (k, n_columns)
    """
    of_U = np.bincount(U.indices, np.square(U.data, dtype=np.float64), U.shape[1])
    powers = powers_of_own(of_U, stack)
    return columns_times_powers(U, powers), rows_times_powers(stack, -powers)


def powers_of_own(of_U, stack):
    """Return the powers of two by which own weights and own components are scaled against each other, int (k,).

    Parameters
    ----------
    of_U : ndarray (k,)
        Squared lengths of the columns of the weights.
    stack : ndarray or csr_array (k, n_columns)
    """
    of_G = shift_arrays.square_lengths(stack)
    is_used = (of_U > 0) & (of_G > 0)
    drift = np.log2(np.where(is_used, of_G, 1)) - np.log2(np.where(is_used, of_U, 1))
    return np.rint(drift / 4).astype(int)


def rows_times_powers(stack, powers):
    """Return the rows of an array or csr_array (k, n_columns) times ``2 ** powers`` (k,)."""
    of_entries = powers[row_index(stack)] if sp.issparse(stack) else powers[:, None]
    return shift_arrays.mapped(stack, lambda G: np.ldexp(G, of_entries))
