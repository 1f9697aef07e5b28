"""Keep the names of the rows of an AnnData in the tables that `set_output` asks for."""

import functools
import inspect

from fastnmf.data.annotated import is_annotated


def keep_row_names(kind):
    """Make the tables of `transform` and `fit_transform` of a class have the row names of an AnnData; return the class.

    scikit-learn does this for data frames only. Its own wrapper of these methods, which makes the tables, must be there
    already: so a base calls this at the end of ``__init_subclass__``.
    """
    for name in ("transform", "fit_transform"):
        method = vars(kind).get(name)
        if inspect.isfunction(method):
            setattr(kind, name, _with_row_names(method))
    return kind


def _with_row_names(method):
    @functools.wraps(method)
    def named(self, X, *args, **kwargs):
        result = method(self, X, *args, **kwargs)
        if is_annotated(X) and hasattr(result, "columns") and hasattr(result, "index"):
            result.index = getattr(X, "obs_names", X.obs.index)
        return result

    return named
