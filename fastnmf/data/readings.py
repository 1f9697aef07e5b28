"""A matrix with what belongs to its rows and columns: labels, exposure, texts, names. `fastnmf.read` returns it.

It has the attributes by which the package knows an AnnData (`fastnmf.data.annotated`), so it goes where a matrix goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnmf.typing import Array, Bunch, Floats

CARRIED = ("strata", "design", "exposure", "sample_weight")  # arguments of methods that rows bring with them
OF_ROWS = (*CARRIED, "row_names", "texts", "titles", "annotations", "batch", "target")  # the last two of loaders only
_MAY_LACK = (*OF_ROWS[:-2], "feature_names", "source")  # which then are None
_VIEWS = ("X", "shape", "obs", "obs_names", "var_names")  # of what is stored under other names
_COLUMN_OF = {"titles": "title", "row_names": "names"}  # where a record has another name


class Readings(Bunch):
    """A matrix, and what belongs to its rows and columns, in one object that goes where a matrix goes.

    `fastnmf.read` and the loaders of ``fastnmf.datasets`` return it. Estimators and functions take it as X, with the
    labels, the exposure and the names that it has: ``StratifiedNMF(20).fit(posts)``. What is passed by name takes
    precedence. It is a dict whose keys are attributes, too, as scikit-learn's Bunch is. ``posts[:100]`` and
    ``posts[mask]`` are the readings of some rows, so that scikit-learn can split it.

    Parameters
    ----------
    **values
        The attributes below; `data` is required, what is left out is None.

    Attributes
    ----------
    data : csr_array, ndarray (n_rows, n_features), or DiskCSR
        The matrix.
    strata : ndarray (n_rows,), dict of factor -> ndarray, or None
        Labels of the rows, for models that have strata; `NMF` ignores them.
    exposure : ndarray (n_rows,) of float64, or None
        Size of each row, for models that take it.
    sample_weight, design : default=None
        As `StratifiedNMF.fit` takes them; set them to have `fit` use them.
    feature_names, row_names, texts, titles : ndarray of str, or None
    annotations : DataFrame, or dict of name -> array-like (n_rows,), default=None
        Further columns of the rows, whose names `strata` and `exposure` of methods may be: ``obs`` of an ``.h5ad``.
    source : dict, or None
        How the data were read: a fit keeps it as ``model.source_``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnmf
    >>> X = np.array([[1.0, 0, 5], [2, 0, 5], [3, 1, 0], [6, 2, 0]])
    >>> found = fastnmf.Readings(data=X, strata=["a", "a", "b", "b"], feature_names=["one", "two", "three"])
    >>> found
    Readings of 4 rows x 3 features in 2 strata, with feature_names
    >>> fastnmf.StratifiedNMF(1, random_state=0).fit(found).top_features(1).strata
    {'a': ['three'], 'b': ['one']}
    """

    data: Any
    strata: Array | dict[str, Array] | None
    exposure: Floats | None
    sample_weight: Any
    design: Any
    annotations: Any
    feature_names: Array | None
    row_names: Array | None
    texts: Array | None
    titles: Array | None
    source: dict[str, Any]

    def __init__(self, **values: Any):
        super().__init__(**values)
        if len(getattr(values.get("data"), "shape", ())) != 2:
            found = type(values["data"]).__name__ if "data" in values else "missing"
            raise TypeError(f"data is {found}; expected a matrix (rows x features), such as an array or a csr_array.")

    if not TYPE_CHECKING:  # which would take any attribute for known

        def __getattr__(self, name):
            try:
                return self[name]
            except KeyError:
                if name in _MAY_LACK:
                    return None
                raise AttributeError(f"{type(self).__name__} has no {name!r}; it has {', '.join(self)}.") from None

        def __setattr__(self, name, value):
            if name in _VIEWS:
                raise AttributeError(f"{name} shows what is stored under another name; set data or feature_names, say.")
            self[name] = value

    def __dir__(self) -> list[str]:
        return [*self, *super().__dir__()]

    @property
    def X(self) -> Any:
        """The matrix, `data`."""
        return self.data

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, and of features."""
        return self.data.shape

    @property
    def var_names(self) -> Any:
        """The names of the features, or None."""
        found = self.get("feature_names")
        if isinstance(found, Mapping):  # a vocabulary: name -> column
            found = sorted(found, key=found.__getitem__)
        if found is not None and len(found) != self.shape[1]:
            raise ValueError(f"feature_names has {len(found)} names for {self.shape[1]} features; give one for each.")
        return found

    @property
    def obs_names(self) -> Any:
        """The names of the rows: `row_names`, or else `titles`, or else their numbers."""
        found = names_of_rows(self)
        return np.arange(self.shape[0]) if found is None else found

    @property
    def obs(self) -> RowTable:
        """Everything that belongs to the rows, as a table whose columns have their names in the file."""
        columns, source = {}, self.get("source") or {}
        for name in OF_ROWS:
            values = self.get(name)
            if isinstance(values, Mapping) or values is not None and name == "annotations":
                columns |= {each: values[each] for each in values}
            elif values is not None and len(getattr(values, "shape", (0,))) == 1:
                kept = source.get(_COLUMN_OF.get(name, name))
                columns[kept if isinstance(kept, str) else name] = values
        return RowTable(columns, self.obs_names)

    def named(self) -> Any:
        """Return the matrix with its names, for what gets the labels by name: a NamedMatrix, or the matrix on disk."""
        for name in ("row_names", "texts", "titles"):
            if (values := self.get(name)) is not None and len(values) != self.shape[0]:
                raise ValueError(f"{name} has {len(values)} values for {self.shape[0]} rows; give one for each.")
        return self.data if hasattr(self.data, "chunk_rows") else NamedMatrix(self.data, self.obs, self.var_names)

    def copy(self) -> Any:
        """Return another one that holds the same arrays."""
        return type(self)(**self)

    def __array__(self, *args: Any, **more: Any) -> Any:
        """Refuse to become an array, which would silently lose the labels."""
        raise TypeError(
            f"{type(self).__name__} hold a matrix with its labels and names, but a matrix alone is expected here; pass "
            "its data."
        )

    def __getitem__(self, key: Any) -> Any:
        """Return what a name stands for, or the readings of some rows: a slice, a mask or numbers of rows."""
        if isinstance(key, str):
            return super().__getitem__(key)
        rows = key[0] if isinstance(key, tuple) and len(key) == 2 and key[1] in (Ellipsis, slice(None)) else key
        of_rows = {name: _some(self[name], rows) for name in OF_ROWS if name in self}
        of_all = {name: self.get(name) for name in ("feature_names", "source")}
        return Readings(**{"data": _some(self.data, rows)} | of_rows | of_all)

    def __repr__(self) -> str:
        n_rows, n_columns = self.shape
        strata = self.get("strata")
        if isinstance(strata, Mapping):
            groups = f" crossed by {' and '.join(map(str, strata))}"
        else:
            n_strata = 0 if strata is None else len(set(np.asarray(strata).tolist()))
            groups = f" in {n_strata:,} strat{'um' if n_strata == 1 else 'a'}" if n_strata else ""
        others = [name for name, value in self.items() if name not in ("data", "strata") and value is not None]
        with_others = f", with {', '.join(others)}" if others else ""
        return f"{type(self).__name__} of {n_rows:,} rows x {n_columns:,} features{groups}{with_others}"


class NamedMatrix:
    """The matrix of readings with its names and its table of rows, none of which is used unless it is named.

    Attributes
    ----------
    X : csr_array or ndarray (n_rows, n_features)
    shape : (int, int)
    var_names, obs_names : ndarray of str, or None
    obs : RowTable
    """

    def __init__(self, X, obs, var_names):
        self.X, self.shape, self.obs, self.obs_names, self.var_names = X, X.shape, obs, obs.index, var_names

    def __getitem__(self, rows):
        return NamedMatrix(_some(self.X, rows), self.obs.some(rows), self.var_names)


class RowTable:
    """Columns of what belongs to rows, read as those of a data frame: by one name, or by a list of names.

    Attributes
    ----------
    columns : list of str
    index : ndarray (n_rows,)
        Names of the rows.
    """

    def __init__(self, columns, index):
        self._values, self.columns, self.index = columns, list(columns), index

    def __len__(self):
        return len(self.index)

    def some(self, rows):
        """Return the table of some rows: a slice, a mask, or numbers of rows."""
        return RowTable({name: _some(values, rows) for name, values in self._values.items()}, _some(self.index, rows))

    def __getitem__(self, key):
        return self._values[key] if isinstance(key, str) else {name: self._values[name] for name in key}


def _some(values, rows):
    """Return some rows of a matrix, or what belongs to them: of an array, of each array of a dict, or None."""
    if values is None or isinstance(values, Mapping):
        return values if values is None else {name: _some(each, rows) for name, each in values.items()}
    if hasattr(values, "iloc"):
        return values.iloc[rows]
    values = values.tocsr() if hasattr(values, "tocsr") else values
    return (values if hasattr(values, "shape") else np.asarray(values))[rows]


def names_of_rows(X):
    """Return the names by which tables list the rows of readings: their own, or else their titles; None: neither."""
    found = X.get("row_names")
    return X.get("titles") if found is None else found


def carried(X, **given):
    """Return arguments by name: those that are not None as they are given, and the others as readings X have them.

    Labels and a design exclude each other: the one that is given is used, or else the design of X.
    """
    if not isinstance(X, Readings):
        return given
    own = {name: X.get(name) for name in given}
    if any(each.get("design") is not None for each in (given, own)) and given.get("strata") is None:
        own["strata"] = None
    elif given.get("strata") is not None:
        own["design"] = None
    return {name: own[name] if value is None else value for name, value in given.items()}
