"""Read the labels of rows, some of them missing; encode them as integers.

Labels that differ stay different. NumPy turns a list of 1 and ``"1"`` into the same text twice, and NaN into the text
``"nan"``, so lists are read one label at a time.
"""

import datetime
import numbers
from collections.abc import Mapping

import numpy as np

from fastnmf.data.annotated import column_names
from fastnmf.data.sentences import shown

# Types whose values are compared with each other; all others stand for themselves. The order matters: a truth value is
# an int.
_KINDS = {
    "truth values": (bool, np.bool_),
    "numbers": numbers.Number,
    "text": str,
    "bytes": bytes,
    "dates": (datetime.date, np.datetime64),
}
_NEVER_MISSING = (str, np.str_, bytes, bool, int)
_KIND_OF_DTYPE = {"b": "truth values", "i": "numbers", "u": "numbers", "f": "numbers", "U": "text", "S": "bytes"}


def read_labels(given, name, n_rows, *, may_be_column=False):
    """Return labels as an array without changing any, and a mask of those that are missing.

    Parameters
    ----------
    given : array-like (n_rows,)
        Numbers, text, truth values, dates or categories, of one kind. None, NaN, NaT, NA and masked entries are
        missing.
    name : str
        What the labels are, for the messages.
    n_rows : int
    may_be_column : bool, default=False
        Whether an array (n_rows, 1) is taken, too.

    Returns
    -------
    labels : ndarray (n_rows,)
        What stands where a label is missing means nothing.
    is_missing : ndarray (n_rows,) of bool

    Raises
    ------
    ValueError
        The labels have a different length or more dimensions, or are of several kinds.
    """
    if is_crossed(given):
        raise ValueError(
            f"{name} has the columns {shown(list(columns_of(given)))}; give one label per row, an array of shape "
            f"({n_rows},): one of the columns, or their labels joined."
        )
    if hasattr(given, "__dask_graph__"):
        raise TypeError(f"{name} is a Dask collection, which is not in memory; pass {name}.compute().")
    labels = _as_array(given, name)
    if labels.dtype.names:
        raise TypeError(f"{name} is a structured array; pass its fields as a dict, or as a DataFrame.")
    labels = labels[:, 0] if may_be_column and labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1:
        raise ValueError(f"{name} has {labels.ndim} dimensions; give one label per row, an array of shape ({n_rows},).")
    if len(labels) != n_rows:
        raise ValueError(f"{name} has {len(labels)} labels for {n_rows} rows of X; give one label per row.")
    is_missing = np.array(np.ma.getmaskarray(labels))
    labels = np.asarray(np.ma.getdata(labels))
    if labels.dtype.kind == "c" or labels.dtype.kind == "O" and complex in set(map(type, labels.tolist())):
        raise TypeError(f"{name} has complex numbers; use other numbers, text or dates as labels.")
    if labels.dtype.kind in "fmM":
        return labels, is_missing | (labels != labels)
    if labels.dtype.kind not in "OT":
        return labels, is_missing
    absent = getattr(labels.dtype, "na_object", None)  # of NumPy's StringDType; text there is no missing label
    values = labels.astype(object)
    may_lack = {kind for kind in set(map(type, values)) if kind not in _NEVER_MISSING}  # a million labels in a second
    if may_lack:
        is_missing |= [type(label) in may_lack and _is_missing(label, absent) for label in values]
    known = values[~is_missing]
    kinds = {_kind_of_type(kind) for kind in set(map(type, known))}
    if len(kinds) > 1:
        raise ValueError(
            f"{name} mixes labels of several types, {' and '.join(sorted(kinds))}, which differ even where they look "
            "alike; use one type."
        )
    if not isinstance(given, (list, tuple)) and labels.dtype.kind == "O":
        are_dates = len(known) == n_rows and {_kind_of_type(kind) for kind in set(map(type, known))} == {"dates"}
        return _as_dates(values.tolist()) if are_dates else values, is_missing  # an array of others stays one
    known = plain(known)
    labels = np.zeros(n_rows, known.dtype)
    labels[~is_missing] = known
    return labels, is_missing


def plain(labels):
    """Return an array of objects as one of numbers, text or dates, where that changes no label."""
    known = labels.tolist()
    if labels.dtype.kind != "O" or not {_kind_of_type(kind) for kind in set(map(type, known))} <= _KINDS.keys():
        return labels
    found = _as_dates(known) if known else labels
    again = list(found) if found.dtype.kind == "M" else found.tolist()
    return found if found.ndim == 1 and again == known else labels  # text may end in NUL, int become float


def _as_dates(labels):
    """Return a list as an array; dates, and moments without a time zone, as NumPy's, which files hold."""
    found, kinds = np.asarray(labels), set(map(type, labels))
    if found.dtype.kind != "O" or not all(issubclass(kind, datetime.date) for kind in kinds):
        return found
    if kinds == {datetime.date}:
        return np.array(labels, "datetime64[D]")
    if any(getattr(label, "tzinfo", True) is not None for label in labels):  # a zone, or days among moments
        return found
    return np.array(labels, "datetime64[us]" if kinds == {datetime.datetime} else "datetime64[ns]")


def _as_array(given, name):
    """Return labels as an array or masked array; as one of objects where NumPy would convert some."""
    if isinstance(given, np.ndarray):
        return given
    if not isinstance(given, (list, tuple)):  # a Series with missing integers would become one of floats
        has_own_dtype = not isinstance(getattr(given, "dtype", np.dtype(float)), np.dtype)
        return _as_array(np.asarray(given, dtype=object if has_own_dtype else None), name)
    labels = np.fromiter(given, object, len(given))
    arrays = {kind for kind in set(map(type, given)) if issubclass(kind, (list, tuple, np.ndarray))}
    if arrays and any(type(label) in arrays and np.ndim(label) > 0 for label in given):
        nested = np.array(given, dtype=object)
        if nested.ndim < 2:
            raise ValueError(f"{name} holds sequences of different lengths; give one label per row.")
        return nested
    for row in np.flatnonzero([type(label) is np.ndarray for label in given]) if np.ndarray in arrays else ():
        labels[row] = given[row].item()  # of no dimension
    return labels


def kind_of(label):
    """Return the kind of a label, or of an array of labels without missing ones: labels of two kinds always differ."""
    if isinstance(label, np.ndarray):
        kind = _KIND_OF_DTYPE.get(label.dtype.kind, "dates" if label.dtype.kind == "M" else None)
        return kind_of(label.item(0)) if kind is None and label.size else kind
    return _kind_of_type(type(label))


def _kind_of_type(kind):
    return next((name for name, types in _KINDS.items() if issubclass(kind, types)), kind.__name__)


def _is_missing(label, absent=None):
    """Tell whether a label is None, NaN, NaT, NA or masked, or the object `absent`; pandas need not be imported."""
    if label is None or label is np.ma.masked or type(label).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(label, str):
        return False
    return label is absent or isinstance(label, (numbers.Number, np.generic)) and bool(label != label)


def known_labels(given, name, n_rows):
    """Return labels of which none may be missing, as an array; see `read_labels`."""
    labels, is_missing = read_labels(given, name, n_rows)
    if is_missing.any():
        raise ValueError(
            f"{name} contains a missing label (NaN, None or masked) in row {int(is_missing.argmax())}; give every row "
            "a label or drop the row."
        )
    return labels


def distinct(labels, name):
    """Return the sorted distinct labels, and the index of each label among them; raise ValueError if none can."""
    known = labels.tolist() if labels.dtype.kind in "OU" else []
    if set(map(type, known)) == {str}:  # looked up, not sorted: in a third of the time
        found = sorted(set(known))
        code = dict(zip(found, range(len(found)), strict=True))
        index = np.fromiter(map(code.__getitem__, known), np.intp, len(known))
        return np.array(found, labels.dtype), index
    try:
        return np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise ValueError(f"{name} has labels that cannot be sorted; use numbers, text or dates.") from error


def encode_labels(strata, n_rows, labels=None):
    """Return the index of the stratum of each row, and the sorted labels of the strata.

    Parameters
    ----------
    strata : array-like (n_rows,), or None
        None means a single stratum.
    n_rows : int
    labels : ndarray, default=None
        Sorted labels that are already known.

    Returns
    -------
    stratum_index : ndarray (n_rows,) of int32
    labels : ndarray (n_strata,)

    Raises
    ------
    ValueError
        The labels have the wrong length or dimension, are missing, are of several kinds or, where `labels` is given,
        are not among them.
    """
    if labels is not None:
        if np.ndim(labels) != 1 or not len(labels):
            given = shown(np.asarray(labels).tolist())
            raise ValueError(f"labels is {given}; expected an array of distinct labels, (n_strata,).")
        labels = labels if isinstance(labels, np.ndarray) else known_labels(labels, "labels", len(labels))
    if strata is None:
        return np.zeros(n_rows, np.int32), np.array([0]) if labels is None else labels
    found, stratum_index = distinct(known_labels(strata, "strata", n_rows), "strata")
    if labels is None:
        return stratum_index.astype(np.int32), found
    place = places(found, labels)
    if (place < 0).any():
        unseen = ", ".join(map(repr, values_of(found[place < 0][:3])))
        raise ValueError(
            f"strata contains the label {unseen}, which was not seen in fit; {len(labels)} labels are known."
        )
    return place[stratum_index].astype(np.int32), labels


def values_of(labels):
    """Return an array of labels as a list of Python objects, by which users look them up.

    Dates and durations in nanoseconds, which `tolist` of NumPy turns into integers, become datetime and timedelta
    objects, or stay NumPy's where these are too coarse.
    """
    values = labels.tolist()
    if labels.dtype.kind not in "mM" or not any(type(value) is int for value in values):
        return values
    coarse = labels.astype("datetime64[us]" if labels.dtype.kind == "M" else "timedelta64[us]")
    return coarse.tolist() if (coarse == labels).all() else list(labels)


def texts_of(labels):
    """Return an array of labels as a list of text: floats with the digits of their type, whole days without a time."""
    values = list(labels) if labels.dtype.kind == "f" else values_of(labels)
    if all(isinstance(value, datetime.datetime) and value == _midnight_of(value) for value in values):
        values = [value.date() for value in values]
    return [str(value) for value in values]


def place_of(label, labels):
    """Return the position of one label among the distinct `labels`, -1 where it is not there."""
    found = np.empty(1, object)
    found[0] = label
    return int(places(plain(found), labels)[0])


def _comparable(labels):
    """Return labels as objects that are equal where the labels are: dates of any unit as moments."""
    return [_midnight_of(value) if type(value) is datetime.date else value for value in values_of(labels)]


def _midnight_of(day):
    """Return the moment at which the day of a date or datetime begins, without a time zone."""
    return datetime.datetime(day.year, day.month, day.day)


def places(found, labels):
    """Return the position of each of the labels `found` among the distinct `labels`, -1 where it is not there."""
    known = {label: code for code, label in enumerate(_comparable(labels))}
    place = np.array([known.get(label, -1) for label in _comparable(found)], dtype=np.intp)
    is_same = [at < 0 or kind_of(label) == kind_of(labels[at]) for at, label in zip(place, found, strict=True)]
    return np.where(is_same, place, -1)  # True equals 1


def is_crossed(strata):
    """Tell whether labels of rows are those of several factors: a frame, a dict, or an array (n_rows, f) with f > 1."""
    if isinstance(strata, Mapping):
        return True
    shape = getattr(strata, "shape", ())
    return len(shape) == 2 and (hasattr(strata, "columns") or isinstance(strata, np.ndarray)) and shape[1] > 1


def columns_of(strata):
    """Return the labels of several factors by name."""
    if isinstance(strata, Mapping):
        columns = list(strata.items())
    elif hasattr(strata, "columns"):
        columns = [(name, strata[name]) for name in column_names(strata)]
    else:
        columns = [(at, strata[:, at]) for at in range(strata.shape[1])]
    found = {str(name): labels for name, labels in columns}
    if len(found) < len(columns) or not found:
        raise ValueError(f"strata has the columns {shown([name for name, _ in columns])}; expected distinct names.")
    return found


def places_of_rows(labels, levels, n_rows):
    """Return the place of the label of each row among sorted levels, int32 (n_rows,); that of others is their number.

    Parameters
    ----------
    labels : array-like (n_rows,), or None
        Checked already; None is the first level for all rows.
    levels : ndarray (n_levels,)
    n_rows : int
    """
    if labels is None:
        return np.zeros(n_rows, np.int32)
    found, index = distinct(known_labels(labels, "strata", n_rows), "strata")
    place = places(found, levels)
    return np.where(place < 0, len(levels), place)[index].astype(np.int32)
