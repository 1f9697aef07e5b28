"""Collect what a file says of rows: strata, titles, names; put features into the order of others."""

import os
from pathlib import Path

import numpy as np

from fastnmf.data.labels import known_labels
from fastnmf.io.columns import as_labels, is_missing, present
from fastnmf.io.files import input_path, known_name
from fastnmf.io.matrices import read_labels


def place_of_strata(given, known, what):
    """Return the column that holds the strata, or None, and the file or labels that do, or None.

    Parameters
    ----------
    given : dict
        Arguments of `read`.
    known : sequence of str
        Columns.
    what : str
        What these are, for messages.
    """
    strata = given["strata"]
    if not isinstance(strata, str):
        return None, strata
    is_file = os.path.isfile(strata)
    if strata in known and is_file:
        raise ValueError(
            f"strata={strata!r} is both a {what} and a file; write './{strata}' for the file, or rename one of them."
        )
    if strata in known:
        return strata, None
    if not is_file and "strata" not in given["may_lack"]:
        known_name(strata, known, what)
    return None, Path(strata) if is_file else None


def labels_of(given, n_rows):
    """Return labels that stand in a file, or were given as such, for rows of which there are `n_rows`."""
    if isinstance(given, os.PathLike):
        labels = read_labels(input_path(given))
        if labels.ndim != 1 or len(labels) != n_rows:
            raise ValueError(f"{given} has {len(labels)} labels for {n_rows} rows of X; give one label per row.")
        return labels
    return None if given is None else known_labels(given, "strata", n_rows)


def as_names(values):
    """Return values as an array of str."""
    found = np.empty(len(values), dtype=object)
    found[:] = [str(value) for value in values]
    return found


class Rows:
    """Collects what columns say of rows, chunk by chunk: strata, titles, names.

    Attributes
    ----------
    columns : dict
        Argument of `read` -> column, or None.
    """

    def __init__(self, table, given):
        self.table, self.n_rows = table, 0
        column, self.elsewhere = place_of_strata(given, table.names, f"column of {table.path}")
        self.columns = {"strata": column}
        for argument in ("title", "names"):
            column = given[argument]
            is_lacking = argument in given["may_lack"] and column not in table.names
            self.columns[argument] = None if is_lacking else column
        self.wanted = [column for column in self.columns.values() if column is not None]
        table.known(*self.wanted)
        self.found = {argument: [] for argument, column in self.columns.items() if column is not None}

    def add(self, places, chunk):
        """Take and check what a chunk says."""
        self.n_rows += len(places)
        for argument, values in self.found.items():
            column = self.columns[argument]
            if argument == "title":  # which is only shown
                values += ["" if is_missing(value) else str(value) for value in chunk[column]]
            else:
                values += present(self.table, column, places, chunk[column])

    def result(self):
        """Return `strata`, `titles` and `row_names`."""
        strata = self.found.get("strata")
        return {
            "strata": labels_of(self.elsewhere, self.n_rows)
            if strata is None
            else as_labels(strata, is_typed=self.table.is_typed),
            "titles": as_names(self.found["title"]) if "title" in self.found else None,
            "row_names": as_names(self.found["names"]) if "names" in self.found else None,
        }


def order_of(names, known, path):
    """Return the positions of the features `known` among the `names` of a file, or None where both are the same.

    Raises
    ------
    ValueError
        The file lacks some, or has one twice.
    """
    names = list(names)
    if known is None or names == known.tolist():
        return None
    at = {name: place for place, name in enumerate(names)}
    if len(at) < len(names):
        twice = next(name for place, name in enumerate(names) if at[name] != place)
        raise ValueError(f"{path} has the feature {twice!r} more than once; give each its own name.")
    missing = [name for name in known if name not in at]
    if missing:
        others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise ValueError(
            f"{path} lacks the feature {missing[0]!r}{others} of the {len(known)} that source names; give data with "
            "the features of the fit."
        )
    return np.array([at[name] for name in known])
