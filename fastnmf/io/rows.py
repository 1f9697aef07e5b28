"""Collect what a file says of rows: strata, exposure, titles, names; put features into the order of others."""

import os
from pathlib import Path

import numpy as np

from fastnmf.data.labels import columns_of, is_crossed, known_labels
from fastnmf.data.sentences import shown
from fastnmf.io.columns import as_labels, has_underscore, is_missing, numbers_of, present
from fastnmf.io.files import input_path, known_name
from fastnmf.io.matrices import read_labels


class Strata:
    """Where the labels of rows stand: in columns, in files, or in what was given; in several ones for several factors.

    Parameters
    ----------
    given : dict
        Arguments of `read`.
    known : sequence of str
        Columns.
    what : str
        What these are, for messages.

    Attributes
    ----------
    names : list of str, or None
        Of several factors; None: one label a row, or none.
    columns : list of (str or None)
        The column of each factor.
    elsewhere : list of object
        The file or the labels of each factor that is no column.
    """

    def __init__(self, given, known, what):
        strata, self.names = given["strata"], None
        if isinstance(strata, (list, tuple)) and _are_places(strata, known):
            places = [_place(each, given, known, what) for each in strata]
            if len(places) > 1:
                both = zip(strata, places, strict=True)
                self.names = [_stem(each) if column is None else column for each, (column, _) in both]
            if len(set(self.names or ())) < len(self.names or ()):
                raise ValueError(f"strata={shown(list(strata))} names a factor twice; give different columns or files.")
            lacking = [each for each, place in zip(strata, places, strict=True) if place == (None, None)]
            if 0 < len(lacking) < len(places):
                known_name(lacking[0], known, what)
            if lacking:  # new data without the columns of the record
                self.names, places = None, places[:1]
        elif is_crossed(strata):
            factors = columns_of(strata)
            self.names, places = list(factors), [(None, labels) for labels in factors.values()]
        else:
            places = [_place(strata, given, known, what)]
        self.columns, self.elsewhere = map(list, zip(*places, strict=True))

    @property
    def record(self):
        """The column that the record of the data keeps, or those of several factors; None where some are elsewhere."""
        if self.names is None:
            return self.columns[0]
        return None if None in self.columns else self.columns

    def labels(self, n_rows, of_column):
        """Return the labels of all rows: an array, or a dict of factor -> array, or None.

        Parameters
        ----------
        n_rows : int
        of_column : function
            Column -> its labels (n_rows,).
        """
        each = zip(self.columns, self.elsewhere, strict=True)
        found = [labels_of(elsewhere, n_rows) if column is None else of_column(column) for column, elsewhere in each]
        return found[0] if self.names is None else dict(zip(self.names, found, strict=True))


def _are_places(strata, known):
    """Tell whether texts are columns or files of several factors, and not labels; a tuple always is."""
    if not strata or not all(isinstance(each, (str, os.PathLike)) for each in strata):
        return False
    return isinstance(strata, tuple) or any(each in known or os.path.isfile(each) for each in strata)


def _stem(path):
    return Path(path).name.split(".")[0]


class Exposure:
    """Where the exposure of rows stands: in a column, in a file, or in what was given.

    Parameters
    ----------
    given, known, what :
        As for `Strata`.

    Attributes
    ----------
    column : str, or None
    elsewhere : object, or None
        The file or the numbers.
    """

    def __init__(self, given, known, what):
        exposure = given["exposure"]
        is_name = isinstance(exposure, (str, os.PathLike)) or exposure is None
        self._what = f"exposure={exposure!r}" if is_name and exposure is not None else "exposure"
        place = _place(exposure, given, known, what, "exposure")
        self.column, self.elsewhere = place

    def numbers(self, n_rows, of_column):
        """Return the exposure of all rows, float64 (n_rows,), or None.

        Parameters
        ----------
        n_rows : int
        of_column : function
            Column -> its values (n_rows,).
        """
        if self.column is None and self.elsewhere is None:
            return None
        given, where = self.elsewhere, self._what
        if self.column is not None:
            found = of_column(self.column)
        elif isinstance(given, os.PathLike):
            where, found = str(given), read_labels(input_path(given))
        else:
            found = np.asarray(given)
        try:
            numbers = np.asarray(found).astype(np.float64)
            if has_underscore(np.ravel(found)):
                raise ValueError
        except (TypeError, ValueError):
            wrong = next(each for each in np.ravel(found).tolist() if not is_number(each))
            raise ValueError(f"{where} has {wrong!r}; expected a number >= 0 for each row.") from None
        if numbers.shape != (n_rows,):
            raise ValueError(
                f"{where} has {numbers.size} numbers for {n_rows} rows of X; give one number for each row."
            )
        return numbers


def is_number(value):
    """Tell whether a value is a number, or a text that is one."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not has_underscore([value])


def _place(given_as, given, known, what, argument="strata"):
    """Return the column that holds labels or numbers, or None, and the file or array that does, or None.

    Parameters
    ----------
    given_as : str, path, array-like, or None
    given : dict
        Arguments of `read`.
    known : sequence of str
    what : str
        As for `Strata`.
    argument : str, default="strata"
        The argument of `read`.
    """
    if not isinstance(given_as, str):
        return None, given_as
    is_file = os.path.isfile(given_as)
    if given_as in known and is_file:
        raise ValueError(
            f"{argument}={given_as!r} is both a {what} and a file; write './{given_as}' for the file, or rename one of "
            "them."
        )
    if given_as in known:
        return given_as, None
    if not is_file and argument not in given["may_lack"]:
        known_name(given_as, known, what)
    return None, Path(given_as) if is_file else None


def labels_of(given, n_rows):
    """Return labels that stand in a file, or were given as such, for rows of which there are `n_rows`."""
    if isinstance(given, os.PathLike):
        return known_labels(read_labels(input_path(given)), str(given), n_rows)
    return None if given is None else known_labels(given, "strata", n_rows)


def as_names(values):
    """Return values as an array of str."""
    found = np.empty(len(values), dtype=object)
    found[:] = [str(value) for value in values]
    return found


class Rows:
    """Collects what columns say of rows, chunk by chunk: strata, exposure, titles, names.

    Attributes
    ----------
    columns : dict
        Argument of `read` -> column, or None.
    """

    def __init__(self, table, given):
        self.table, self.n_rows = table, 0
        self.strata = Strata(given, table.names, f"column of {table.path}")
        self.exposure = Exposure(given, table.names, f"column of {table.path}")
        self.columns = {"strata": self.strata.record, "exposure": self.exposure.column}
        for argument in ("title", "names"):
            column = given[argument]
            is_lacking = argument in given["may_lack"] and column not in table.names
            self.columns[argument] = None if is_lacking else column
        of_strata = [column for column in self.strata.columns if column is not None]
        self.read = {argument: self.columns[argument] for argument in ("title", "names")}
        self.read = {argument: column for argument, column in self.read.items() if column is not None}
        self.read |= {("strata", column): column for column in of_strata}
        self.read |= {} if self.exposure.column is None else {"exposure": self.exposure.column}
        self.wanted = list(self.read.values())
        table.known(*self.wanted)
        self.found = {argument: [] for argument in self.read}

    def add(self, places, chunk):
        """Take and check what a chunk says."""
        self.n_rows += len(places)
        for argument, values in self.found.items():
            column = self.read[argument]
            if argument == "title":  # which is only shown
                values += ["" if is_missing(value) else str(value) for value in chunk[column]]
            elif argument == "exposure":
                values += numbers_of(self.table, column, places, chunk[column]).tolist()
            else:
                values += present(self.table, column, places, chunk[column])

    def result(self):
        """Return `strata`, `exposure`, `titles` and `row_names`."""
        return {
            "strata": self.strata.labels(self.n_rows, self._labels),
            "exposure": self.exposure.numbers(self.n_rows, lambda column: self.found["exposure"]),
            "titles": as_names(self.found["title"]) if "title" in self.found else None,
            "row_names": as_names(self.found["names"]) if "names" in self.found else None,
        }

    def _labels(self, column):
        return as_labels(self.found["strata", column], is_typed=self.table.is_typed)


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
