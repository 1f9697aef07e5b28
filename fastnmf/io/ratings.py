"""Make a sparse matrix of ratings, each in a row of a table: user, item, rating."""

import numpy as np
import scipy.sparse as sp

from fastnmf.data.sentences import shown
from fastnmf.kernels.warn import warn


def codes_of(names, known):
    """Return the number of each name, (n,) of int32; new names are added to the dict `known`."""
    for name in dict.fromkeys(names):
        known.setdefault(name, len(known))
    return np.fromiter(map(known.__getitem__, names), np.int32, len(names))


def one_of_each(rows, found, path, names, labels, what=("strata", "stratum")):
    """Return the label that each row has in all its entries, (n_rows,) of int: its place among `labels`.

    Parameters
    ----------
    rows, found : ndarray (n,) of int
        Row of each entry, and place of its label.
    path : Path
    names, labels : list
        For the message, names of the rows.
    what : (str, str), default=("strata", "stratum")
        What the labels are, several and one.

    Raises
    ------
    ValueError
        A row has two.
    """
    of_row = np.zeros(len(names), dtype=np.int64)
    of_row[rows] = found
    differs = of_row[rows] != found
    if differs.any():
        at = int(differs.argmax())
        both = f"{shown(labels[found[at]])} and {shown(labels[of_row[rows[at]]])}"
        raise ValueError(
            f"{names[rows[at]]!r} in {path} has two {what[0]}, {both}; a row has one, so give each user one {what[1]}."
        )
    return of_row


def of_known_items(path, i, j, ratings, n_known, n_items):
    """Return the ratings of the first `n_known` items, and warn of others.

    Parameters
    ----------
    path : Path
    i, j : ndarray of int
    ratings : ndarray of float
    n_known, n_items : int
    """
    if n_items > n_known:
        warn(
            f"{n_items - n_known} items of {path} are not among the {n_known} of the source; their ratings are left "
            "out.",
            UserWarning,
        )
    is_known = j < n_known
    return i[is_known], j[is_known], ratings[is_known]


def summed(i, j, ratings, shape, path, duplicates, names):
    """Return ratings as CSR.

    Parameters
    ----------
    i, j : ndarray of int
        Rows and columns.
    ratings : ndarray of float
    shape : (int, int)
    path : Path
    duplicates : {"sum", "mean", "raise"}
    names : (list, list)
        Of users and items, for the message.
    """
    data = sp.csr_array((ratings, (i, j)), shape=shape)
    data.sum_duplicates()
    if duplicates == "sum" or data.nnz == len(ratings):
        return data
    count = sp.csr_array((np.ones(len(ratings)), (i, j)), shape=shape)
    count.sum_duplicates()
    if duplicates == "raise":
        at = int(count.data.argmax())
        row = int(np.searchsorted(count.indptr, at, "right")) - 1
        raise ValueError(
            f"{path} has {count.data[at]:.0f} ratings of {names[1][count.indices[at]]!r} by {names[0][row]!r}; keep "
            "one, or pass duplicates='sum' or 'mean'."
        )
    data.data /= count.data
    return data
