"""Take the matrix and the labels out of an AnnData or a similar object."""


def is_annotated(X):
    """Tell whether X is an AnnData, or has the attributes of one."""
    return all(hasattr(X, name) for name in ("X", "obs", "var_names"))


def check_index(X, **given):
    """Raise ValueError where a Series or DataFrame in `given` names other rows, or columns, than X does.

    Their values would go to rows by position, and so belong to other rows than the names say.
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
    """Return the matrix of X and the labels of its rows; see `row_labels`."""
    return matrix_of(X), row_labels(X, strata)


def row_labels(X, strata):
    """Return the labels of the rows of X: of an AnnData, where `strata` is a name, that column of obs.

    Labels with an index must have that of X.
    """
    check_index(X, strata=strata)
    if is_annotated(X):
        if isinstance(strata, str):
            if strata not in X.obs:
                known = ", ".join(repr(name) for name in list(X.obs)[:8])
                raise ValueError(f"strata={strata!r} is not a column of obs; its columns are {known}.")
            return X.obs[strata]
        return strata
    if isinstance(strata, str):
        raise ValueError(
            f"strata={strata!r} is one name; it stands for an obs column of an AnnData only. Pass one label a row."
        )
    return strata
