"""Read tables of CSV, TSV, JSON Lines and Parquet in chunks of rows, and check what their columns hold.

CSV, TSV and JSON Lines need no other package: the modules of Python read a million short lines in a second or two, and
say in which line something is wrong.
"""

import csv
import json
import math
import re
from contextlib import contextmanager
from itertools import accumulate, islice

import numpy as np

from fastnmf.data.labels import plain, read_labels
from fastnmf.data.sentences import shown
from fastnmf.io.files import ending, known_name, one_sentence, open_text, package

DELIMITED = {".csv": ",", ".tsv": "\t", ".csv.gz": ",", ".tsv.gz": "\t"}
JSON_LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
PARQUET = (".parquet", ".pq")
ENDINGS = (*DELIMITED, *JSON_LINES, *PARQUET)
_ROWS, _FIELDS = 10_000, 1_000_000  # of a chunk, at most
_ROWS_OF_CSV = 500  # fewer lists than those at which Python looks for garbage: a quarter of the time
_LONGEST_FIELD = (1 << 31) - 1  # characters; the limit of Python's module, 131,072, is less than a long text
_OTHER_DELIMITERS = (";", "\t", "|", ",")
_UNNAMED = ("", "Unnamed: 0", "__index_level_0__")  # the index of pandas: in CSV, read and written again, in Parquet


def open_table(path, *, encoding=None, delimiter=None):
    """Return a `Table` for a file: Parquet and JSON Lines by the ending, all others as CSV.

    Parameters
    ----------
    path : Path
    encoding : str, default=None
        Encoding of a text file; None means UTF-8.
    delimiter : str, default=None
        Between the fields of a line of CSV. None: a comma, or the one of the header where it has no comma; a tab in
        files that end in .tsv.
    """
    if ending(path) in PARQUET:
        return _Parquet(path)
    return _JsonLines(path, encoding) if ending(path) in JSON_LINES else _Delimited(path, encoding, delimiter)


class Table:
    """Table in a file.

    Attributes
    ----------
    path : Path
    names : list of str
        Names of the columns.
    place : {"line", "row"}
        What the numbers of rows in messages count.
    is_typed : bool
        Whether the file tells numbers from text.
    index : sequence of str
        The columns that the file says are an index, and so no features.
    """

    place, is_typed, index = "line", True, ()

    def known(self, *wanted):
        """Raise ValueError unless these are columns, each there once."""
        for name in wanted:
            known_name(name, self.names, f"column of {self.path}")
            if self.names.count(name) > 1:
                raise ValueError(f"{self.path} has {self.names.count(name)} columns {name!r}; give each its own name.")

    def index_column(self):
        """Return the first column if it has no name, as that of the row names that pandas writes, else None."""
        return next((name for name in self.names if name in _UNNAMED), None)

    def chunks(self, wanted=None):
        """Yield ``(places, columns)``: line numbers, and a dict of name -> sequence of values, of consecutive rows.

        Parameters
        ----------
        wanted : sequence of str, default=None
            Columns; None is all.

        Raises
        ------
        ValueError
            A line has a different number of fields, or the table has no rows.
        """
        wanted = self.names if wanted is None else list(dict.fromkeys(wanted))
        self.known(*wanted)
        is_empty = True
        for places, columns in self._chunks(wanted, min(_ROWS, max(1, _FIELDS // max(1, len(self.names))))):
            is_empty = False
            yield places, columns
        if is_empty:
            raise ValueError(f"{self.path} has column names but no rows; give a table with at least one row.")

    def wrong(self, place, what):
        """Return a ValueError about a row; `what` ends the sentence."""
        return ValueError(f"{self.place.capitalize()} {place} of {self.path} {what}.")


class _Delimited(Table):
    is_typed = False

    def __init__(self, path, encoding, delimiter):
        self.path, self.encoding = path, encoding
        with open_text(path, encoding) as file:
            first = next((line for line in file if line.strip()), None)
        if first is None:
            raise ValueError(f"{path} is empty; give a table whose first line names the columns.")
        usual = DELIMITED.get(ending(path), ",")
        if delimiter is None:
            delimiter = usual if usual in first else next((d for d in _OTHER_DELIMITERS if d in first), usual)
        self.delimiter = delimiter
        with self._reader() as reader:
            self.names = next(filter(None, reader))

    @contextmanager
    def _reader(self):
        """Yield the reader of Python's csv; its errors in the block become one sentence."""
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
        with open_text(self.path, self.encoding) as file:
            try:
                reader = csv.reader(file, delimiter=self.delimiter, strict=True)
            except TypeError:
                raise ValueError(f"delimiter={shown(self.delimiter)} is not valid; expected one character.") from None
            try:
                yield reader
            except csv.Error as error:
                raise self.wrong(reader.line_num, f"cannot be read ({error}); close its quotes") from None

    def _chunks(self, wanted, n_rows):
        at, n_fields = [self.names.index(name) for name in wanted], len(self.names)
        with self._reader() as reader:
            next(filter(None, reader))
            while True:
                begin = reader.line_num
                if not (rows := list(islice(reader, min(n_rows, _ROWS_OF_CSV)))):
                    return
                places = _lines(rows, begin + 1, reader.line_num)
                if set(map(len, rows)) != {n_fields}:
                    kept = [(place, fields) for place, fields in zip(places, rows, strict=True) if fields]
                    for place, fields in kept:
                        if len(fields) != n_fields:
                            raise self._ragged(place, fields)
                    if not kept:
                        continue
                    places, rows = zip(*kept, strict=True)
                columns = list(zip(*rows, strict=True))
                yield places, {name: columns[i] for name, i in zip(wanted, at, strict=True)}

    def _ragged(self, place, fields):
        line = self.delimiter.join(fields)
        other = [d for d in _OTHER_DELIMITERS if line.count(d) == len(self.names) - 1 and d != self.delimiter]
        why = f"; it seems to be delimited by {other[0]!r}" if other and len(fields) == 1 else ""
        return self.wrong(
            place,
            f"has {len(fields)} field{'s' * (len(fields) != 1)} and the header {len(self.names)}, delimited by "
            f"{self.delimiter!r}{why}; fix the line, or quote fields that contain the delimiter",
        )


def _lines(rows, first, last):
    """Return the line in which each row begins: fields in quotes may hold ends of lines."""
    if last - first + 1 == len(rows):
        return range(first, last + 1)
    ends = [sum(field.count("\n") + field.count("\r") - field.count("\r\n") for field in fields) for fields in rows]
    return list(accumulate((1 + n for n in ends[:-1]), initial=first))


class _JsonLines(Table):
    def __init__(self, path, encoding):
        self.path, self.encoding = path, encoding
        first = next(self._records(), None)
        if first is None:
            raise ValueError(f"{path} is empty; give JSON Lines, one object per line.")
        self.names = list(first[1])

    def _records(self):
        with open_text(self.path, self.encoding) as file:
            for place, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError) as error:
                    if isinstance(error, UnicodeDecodeError):
                        raise
                    raise self.wrong(place, f"is not JSON ({error}); give one object per line") from None
                if not isinstance(record, dict):
                    raise self.wrong(place, f"is a {type(record).__name__}; give one object per line")
                yield place, record

    def _chunks(self, wanted, n_rows):
        records, are_all = self._records(), len(wanted) == len(self.names)
        while chunk := list(islice(records, n_rows)):
            for place, record in chunk if are_all else ():
                if record.keys() != set(wanted):
                    other = next(iter(record.keys() ^ set(wanted)))
                    raise self.wrong(
                        place, f"has different keys from the first, such as {other!r}; give every object the same keys"
                    )
            places, found = zip(*chunk, strict=True)
            yield places, {name: [record.get(name) for record in found] for name in wanted}


class _Parquet(Table):
    place = "row"

    def __init__(self, path):
        self.path = path
        parquet = package("pyarrow.parquet", "io", path)
        with one_sentence(path, "Parquet"):
            self.file = parquet.ParquetFile(path)
        self.names = list(self.file.schema_arrow.names)
        self.index = [name for name in _index_of(self.file.schema_arrow.metadata) if name in self.names]

    def index_column(self):
        """Return the column that pandas wrote as the index, whatever its name, else as other tables do."""
        return self.index[0] if len(self.index) == 1 else None if self.index else super().index_column()

    def _chunks(self, wanted, n_rows):
        batches, begin = self.file.iter_batches(n_rows, columns=wanted), 1
        while True:
            with one_sentence(self.path, "Parquet"):
                batch = next(batches, None)
                if batch is None:
                    return
                columns = {name: _values(batch.column(name)) for name in wanted}
            if batch.num_rows:
                yield range(begin, begin + batch.num_rows), columns
            begin += batch.num_rows


def _index_of(metadata):
    """Return the names of the columns that hold the index of the frame that pandas wrote, as it notes them."""
    try:
        noted = json.loads((metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    except (ValueError, AttributeError):  # not as pandas notes them
        return []
    return [name for name in noted if isinstance(name, str)] if isinstance(noted, list) else []


def _values(column):
    """Return a column of Arrow as an array of numbers where it holds these without gaps, else as a list."""
    is_plain = column.null_count == 0 and str(column.type) in ("double", "float", *_INTEGERS)
    return column.to_numpy() if is_plain else column.to_pylist()


_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))


# ---------------------------------------------------------------- what columns hold


def is_missing(value):
    """Tell whether a value of a table is missing: None, NaN, or an empty field."""
    return value is None or value == "" or value != value


def texts_of(table, name, places, values):
    """Return a list of str; a text may be empty, but in JSON Lines and Parquet not null.

    Parameters
    ----------
    table : Table
    name : str
        The column, for messages.
    places : sequence of int
    values : sequence
    """
    for place, value in zip(places, values, strict=True):
        if not isinstance(value, str):
            what = "is missing" if is_missing(value) else f"is {shown(value)}"
            raise table.wrong(place, f"has no text: {name!r} {what}; give every row a text, or drop the row")
    return list(values)


def present(table, name, places, values):
    """Return the values of a column as a list, none of which may be missing.

    Parameters
    ----------
    table : Table
    name : str
        The column, for messages.
    places : sequence of int
    values : sequence
    """
    values = values.tolist() if isinstance(values, np.ndarray) else values
    may_be_nan = float in set(map(type, values))
    if None in values or "" in values or may_be_nan and any(value != value for value in values):
        place = next(place for place, value in zip(places, values, strict=True) if is_missing(value))
        raise table.wrong(place, f"has no {name!r}; give every row one, or drop the row")
    return list(values)


def numbers_of(table, name, places, values):
    """Return the values of a column as an array of float64, all finite.

    Parameters
    ----------
    table : Table
    name : str
        The column, for messages.
    places : sequence of int
    values : sequence
    """
    try:
        found = np.fromiter(map(float, values), np.float64, len(values))
        if np.isfinite(found).all() and not has_underscore(values):
            return found
    except (TypeError, ValueError, OverflowError):
        pass
    values = values.tolist() if isinstance(values, np.ndarray) else values
    place, value = next(pair for pair in zip(places, values, strict=True) if not _is_finite(pair[1]))
    what = "is missing" if is_missing(value) else f"is {shown(value)}"
    raise table.wrong(place, f"has no number: {name!r} {what}; expected a finite number")


def has_underscore(values):
    """Tell whether a text among the values has an underscore: Python takes 1_0 for 10, and other programs do not."""
    if isinstance(values, np.ndarray) and values.dtype.kind not in "OU":
        return False
    try:
        return "_" in "".join(values)
    except TypeError:  # not all are text
        return any(isinstance(value, str) and "_" in value for value in values)


def _is_finite(value):
    try:
        return math.isfinite(float(value)) and not has_underscore([value])
    except (TypeError, ValueError, OverflowError):
        return False


def as_labels(values, *, is_typed=False):
    """Return labels as an array: integers if they are some, or text that all is written as Python writes integers.

    So 00501 is not 501, and 1_0 is not 10.

    Parameters
    ----------
    values : list
    is_typed : bool, default=False
        Whether text stays text: the file tells it from numbers.
    """
    if not is_typed and values and all(re.fullmatch(r"0|-?[1-9][0-9]{0,17}", value) for value in values):
        return np.array(values, dtype=np.int64)
    return plain(read_labels(list(values), "strata", len(values))[0])
