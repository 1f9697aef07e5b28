"""Take the matrix and the labels out of an AnnData or a similar object."""

import numpy as np


def is_annotated(X):
    """Tell whether X is an AnnData, or has the attributes of one."""
    return all(hasattr(X, name) for name in ("X", "obs", "var_names"))


def unpack(X, strata):
    """Return X and the labels of its rows.

    Of an AnnData these are its matrix and, where `strata` is a name, that column of obs.
    """
    if is_annotated(X):
        if isinstance(strata, str):
            if strata not in X.obs:
                known = ", ".join(repr(name) for name in list(X.obs)[:8])
                raise ValueError(f"strata={strata!r} is not a column of obs; its columns are {known}.")
            strata = np.asarray(X.obs[strata])
        return X.X, strata
    if isinstance(strata, str):
        raise ValueError(
            f"strata={strata!r} is one name; it stands for an obs column of an AnnData only. Pass one label a row."
        )
    return X, strata
