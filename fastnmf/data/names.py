"""Names of features: those that data bring, those that users give, and whether the two agree."""

from collections.abc import Mapping, Set

import numpy as np

from fastnmf.data.annotated import is_annotated


def names_of(X):
    """Return the names of the columns of an AnnData, a DataFrame or readings, or None: none, or some are not text."""
    names = X.var_names if is_annotated(X) else getattr(X, "columns", getattr(X, "feature_names", None))
    if names is None or callable(names):
        return None
    names = np.array(list(names), dtype=object)
    return names if names.ndim == 1 and len(names) and all(isinstance(name, str) for name in names) else None


def read_names(given, n_features, known=None, name="feature_names", *, n_rows=None):
    """Return names that a user gives, one for each feature, as an object array of str.

    Parameters
    ----------
    given : sequence of str (n_features,), or mapping
        A mapping is a vocabulary, such as ``CountVectorizer.vocabulary_``: name -> column.
    n_features : int
    known : sequence of str, default=None
        Names that the columns have already. Others may replace them, but not the same ones in another order.
    name : str, default="feature_names"
        Name of the argument, for the messages.
    n_rows : int, default=None
        Rows of X: as many names show that X is transposed.

    Returns
    -------
    ndarray (n_features,) of object

    Raises
    ------
    TypeError
        The names are a set or a single text, in which none belongs to a column.
    ValueError
        Their number is another one, a vocabulary does not name each column once, or they are in another order.
    """
    if (
        isinstance(given, (str, bytes, Set))
        or not hasattr(given, "__iter__")
        or len(getattr(given, "shape", (0,))) != 1
    ):
        raise TypeError(
            f"{name} is a {type(given).__name__}, which does not say which column each name belongs to; pass a "
            "sequence of names in the order of the columns, or a vocabulary: name -> column."
        )
    given = given if isinstance(given, Mapping) else list(given)
    if len(given) != n_features:
        what = (
            "give one for each" if len(given) != n_rows else f"X has {n_rows} rows, so pass X.T: rows are the samples"
        )
        raise ValueError(f"{name} has {len(given)} names for {n_features} features; {what}.")
    if isinstance(given, Mapping):
        of_column = {column: word for word, column in given.items()}
        if of_column.keys() != set(range(n_features)):
            raise ValueError(
                f"{name} is a vocabulary that does not have each column from 0 to {n_features - 1} exactly once."
            )
        given = [of_column[column] for column in range(n_features)]
    names = np.array([str(each) for each in given], dtype=object)
    if known is not None and list(names) != list(known) and sorted(names) == sorted(map(str, known)):
        raise ValueError(
            f"{name} has the column names in a different order; leave it out, or use the order of the columns."
        )
    return names


def numbered(seeds, names):
    """Return `seed_features` with column numbers in place of names; what is not valid stays as it is."""
    columns = {name: column for column, name in enumerate(names)}

    def of_one(features):
        if isinstance(features, str) or not np.iterable(features):
            return features
        return [columns[each] if isinstance(each, str) else each for each in features]

    try:
        if isinstance(seeds, dict):
            return {component: of_one(features) for component, features in seeds.items()}
        return [of_one(features) for features in seeds] if isinstance(seeds, (list, tuple)) else seeds
    except KeyError as error:
        raise ValueError(f"seed_features names {error.args[0]!r}, which is not a feature of X.") from None


def check_names(names, known, what="the fit"):
    """Raise ValueError where the names of the columns of X are not `known`, in this order; None is unnamed.

    Another order is refused, and not put right, as scikit-learn does for data frames: weights, starts and graphs that
    come with X may be in the order of its columns, too.
    """
    if names is None or known is None or list(names) == list(known):
        return
    if len(names) == len(known) and set(names) == set(known):
        raise ValueError(
            f"X has the feature names of {what} in a different order; put its columns in that order, for example by "
            "X[:, names] of an AnnData or X[names] of a DataFrame."
        )
    missing, more = ([name for name in a if name not in set(b)] for a, b in ((known, names), (names, known)))
    found = f"{missing[0]!r} is missing" if missing else f"{more[0]!r} is new" if more else "some occur twice"
    raise ValueError(f"X has different feature names from {what} ({found}); give data with the same features.")
