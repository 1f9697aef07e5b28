"""Make a sparse matrix of ratings, each in a row of a table: user, item, rating."""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.warn import warn
from fastnmf.data.sentences import shown


def codes_of(names, known):
    """Return the number of each name, (n,) of int32; new names are added to the dict `known`."""
    return np.fromiter((known.setdefault(str(name), len(known)) for name in names), np.int32, len(names))


def add_strata(table, places, users, labels, known, column):
    """Add the strata of users to the dict `known`, code -> label.

    Parameters
    ----------
    table : Table
    places : sequence of int
    users : ndarray of int
    labels : list
    known : dict
    column : str
        Of the strata.

    Raises
    ------
    ValueError
        A user has two.
    """
    for place, code, label in zip(places, users.tolist(), labels, strict=True):
        if known.setdefault(code, label) != label:
            raise table.wrong(
                place,
                f"has the {column!r} {shown(label)} for a user who had {shown(known[code])}; a row is in one stratum, "
                "so give each user one",
            )


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
            f"{path} has {count.data[at]:.0f} ratings of {names[1][count.indices[at]]!r} by {names[0][row]!r}; leave "
            "one, or pass duplicates='sum' or 'mean'."
        )
    data.data /= count.data
    return data
