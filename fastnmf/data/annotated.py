"""Take the matrix and the labels out of an AnnData, `Readings`, or a similar object."""

from collections.abc import Mapping

import numpy as np

from fastnmf.data.readings import NamedMatrix, Readings, carried
from fastnmf.data.sentences import shown


class Layer:
    """A layer of an AnnData instead of its X, with the same annotations of rows and columns.

    Attributes
    ----------
    layer : str
        Name of the layer.
    X : sparse matrix or array (n_samples, n_features)
    obs : DataFrame
    obs_names, var_names : Index
    """

    def __init__(self, X, layer):
        self.X, self.layer, self.obs, self.var_names = X.layers[layer], layer, X.obs, X.var_names
        self.obs_names = getattr(X, "obs_names", None)


def with_layer(X, layer):
    """Return X, or where `layer` is a name, that layer of X, which must be an AnnData then.

    Raises
    ------
    ValueError
        X is not an AnnData, or has no such layer.
    """
    if layer is None or isinstance(X, Layer):
        return X
    if isinstance(X, (Readings, NamedMatrix)):
        raise ValueError(f"layer={shown(layer)} is chosen when data are read: read(..., layer={shown(layer)}).")
    if not is_annotated(X):
        raise ValueError(
            f"layer={shown(layer)} names a layer of an AnnData, but X is a {type(X).__name__}; leave layer out, or "
            "pass the AnnData."
        )
    layers = getattr(X, "layers", {})
    if not isinstance(layer, str) or layer not in layers:
        known = ", ".join(map(repr, layers)) or "none"
        raise ValueError(f"layer={shown(layer)} is not a layer of X; its layers are: {known}. None means X.X.")
    return Layer(X, layer)


def is_annotated(X):
    """Tell whether X is an AnnData, or has the attributes of one."""
    return all(hasattr(X, name) for name in ("X", "obs", "var_names"))


def check_index(X, **given):
    """Raise ValueError where a Series or DataFrame in `given` names other rows, or columns, than X does.

    Their values would go to rows by position, and so belong to different rows from those that the names say.
    """
    for axis in ("index", "columns"):
        names = getattr(X.obs if is_annotated(X) and axis == "index" else X, axis, None)
        for name, values in given.items():
            other = getattr(values, axis, None)  # lists have a method of that name
            if hasattr(names, "equals") and hasattr(other, "equals") and len(names) == len(other):
                if not other.equals(names):
                    raise ValueError(
                        f"The {axis} of {name} differs from the {axis} of X; put {name} in the order of X, for example "
                        f"by {name}.reindex, or pass {name}.to_numpy() if the order is the same."
                    )


def matrix_of(X):
    """Return the matrix of an AnnData, read into memory if it is on disk; anything else as it is."""
    if not is_annotated(X):
        return X
    X = X.X
    if hasattr(X, "to_memory"):  # sparse, in a file
        return X.to_memory()
    return X[()] if type(X).__module__.startswith("h5py") else X


def unpack(X, strata):
    """Return the matrix of X and the labels of its rows, of readings their own where None are given."""
    X, strata = with_labels(X, carried(X, strata=strata)["strata"])
    return matrix_of(X), strata


def with_labels(X, strata):
    """Return X and the labels of its rows.

    Where `strata` is a name, these are a column of obs of an AnnData, or a column of a DataFrame, which is then no
    longer in X. A list of names gives several columns, a frame of labels; a frame or dict of one column is that column.
    Labels with an index must have that of X.
    """
    if isinstance(strata, Mapping) and len(strata) == 1:
        return X, next(iter(strata.values()))
    if hasattr(strata, "columns") and len(getattr(strata, "shape", ())) == 2:
        names = column_names(strata)
        for name in names:
            check_index(X, **{f"strata[{name!r}]": strata[name]})
        return X, strata[names[0]] if len(names) == 1 else strata
    check_index(X, strata=strata)
    table = X.obs if is_annotated(X) else X
    if _are_names(strata, table):
        missing = [name for name in strata if name not in column_names(table)]
        if missing:
            raise ValueError(f"strata={shown(list(strata))} has {missing[0]!r}, which is not a column.")
        several = table.select if _is_arrow(table) else table.__getitem__
        found = table[strata[0]] if len(strata) == 1 else several(list(strata))
        return X if table is not X else _without(X, strata), found
    if not isinstance(strata, str):
        return X, strata
    if not hasattr(table, "columns"):
        raise ValueError(
            f"strata={shown(strata)} is a single name, which means a column of a DataFrame or of the obs of an "
            "AnnData. Pass one label per row."
        )
    if strata not in column_names(table):
        known = ", ".join(repr(name) for name in list(column_names(table))[:8])
        if isinstance(X, (Readings, NamedMatrix)):
            raise ValueError(
                f"strata={shown(strata)} is none of the columns that X has for its rows ({known or 'none'}); read it "
                f"from the file, too, by read(..., strata={shown(strata)})."
            )
        where = "obs; its" if table is not X else "X; the"
        raise ValueError(f"strata={shown(strata)} is not a column of {where} columns are {known}.")
    return X if table is not X else _without(X, [strata]), table[strata]


def column_names(table):
    """Return the names of the columns of a data frame of pandas or polars, or of a table of Arrow."""
    return table.column_names if _is_arrow(table) else table.columns


def _is_arrow(table):
    """Tell whether a table is one of Arrow, whose columns are arrays and not names."""
    return isinstance(table.columns, list) and hasattr(table, "column_names")


def _without(table, names):
    """Return a data frame without some columns, which polars and Arrow take otherwise than pandas and Dask."""
    names = list(names)
    return table.drop(columns=names) if hasattr(table, "iloc") else table.drop(names)


_MARKS = {"True": True, "1": True, "1.0": True, "False": False, "0": False, "0.0": False}


def marks_of(column, what):
    """Return a column of `var` as a mask; missing marks are false, and text is read: anndata writes some as text.

    Raises
    ------
    ValueError
        It has other values, which `what` then names.
    """
    found = [_MARKS.get(str(mark)) for mark in column.mask(column.isna(), False).tolist()]
    if None in found:
        raise ValueError(
            f"{what} has {shown(column.iloc[found.index(None)])}; expected true or false for each feature."
        )
    return np.array(found, dtype=bool)


def _are_names(strata, table):
    """Tell whether a list of texts names columns of a table, and is not a list of labels, one for each of its rows."""
    is_list = isinstance(strata, (list, tuple)) and len(strata) > 0 and hasattr(table, "columns")
    if not is_list or len(strata) == len(table) or not all(isinstance(name, str) for name in strata):
        return False
    return any(name in column_names(table) for name in strata)
