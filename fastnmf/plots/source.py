"""Read what the user gives a plot: a fitted model, or arrays."""

from __future__ import annotations

import numbers

import numpy as np
from scipy import sparse

from fastnmf.data.labels import plain, texts_of
from fastnmf.data.matrix import as_numbers
from fastnmf.data.names import read_names
from fastnmf.data.ranking import feature_scores, strongest_of
from fastnmf.data.sentences import shown
from fastnmf.data.shifts import as_read
from fastnmf.metrics.checks import components_of
from fastnmf.metrics.residuals import component_usage
from fastnmf.metrics.topics import topic_names


def is_model(given):
    """Return whether what was given is a fitted model; raise where it is one without topics, or is not fitted."""
    if hasattr(given, "get_params") and not hasattr(given, "components_"):
        raise TypeError(
            f"The model is {shown(given)}, which has no components_; give a fitted model with topics, or an array."
        )
    return hasattr(given, "components_")


def topics_of(given):
    """Return topics, dense float64 (n_topics, n_features): those of a model, of a hierarchy the finest, or an array."""
    return components_of(given if is_model(given) or sparse.issparse(given) else as_numbers(given, "model"))


def weights_of(model):
    """Return the weights of the rows of a fit (n_samples, n_topics); raise where the model keeps none."""
    layers = getattr(model, "S_", None)
    W = layers[0] if isinstance(layers, list) else getattr(model, "W_", None)
    if W is None or np.ndim(W) != 2:
        raise ValueError(
            f"This {type(model).__name__} keeps no weights of its rows; give arrays, such as what transform(X) returns."
        )
    if W.shape[1] != len(topics_of(model)):
        raise ValueError(
            f"{type(model).__name__} has {W.shape[1]} weights a row for {len(topics_of(model))} topics; give arrays."
        )
    return np.asarray(W)


def shares_of(model):
    """Return the share of each topic in the sum of all, (n_topics,); None where the model keeps no weights of rows."""
    H = topics_of(model)
    try:
        W = weights_of(model)
    except ValueError:
        return None
    return component_usage(W, H)[0] if H.min(initial=0) >= 0 else None


def has_strata(model):
    """Return whether a fitted model has one shift a row: those of several factors are not alternatives."""
    return hasattr(model, "shifts_") and hasattr(model, "strata_") and not isinstance(model.strata_, list)


def shifts_of(model):
    """Return the shifts of a model or array, dense where that is small, in float64, and the labels of their rows.

    An array has no labels, and gets None. The labels of several factors are such as "year=1990".
    """
    if not is_model(model):
        return rows_to_draw(model, "shifts"), None
    labels = model.strata_ if has_strata(model) else getattr(model, "shift_names_", None)
    if not hasattr(model, "shifts_") or labels is None:
        raise ValueError(f"This {type(model).__name__} has no shifts of strata; fit a StratifiedNMF with strata.")
    return rows_to_draw(model.shifts_, "shifts"), texts_of(np.asarray(labels))


def rows_to_draw(weights, name):
    """Return the argument `name` of a plot as a float64 array, or as a csr_array where a dense one would be large."""
    weights = as_read(sparse.csr_array(weights)) if sparse.issparse(weights) else as_numbers(weights, name)
    return weights.astype(np.float64)


def groups_of(model):
    """Return the stratum of each row of a fit, as numbers (n_samples,), and the labels of the strata."""
    rows = getattr(model, "row_strata_", None)
    if rows is None:
        raise ValueError(f"This {type(model).__name__} keeps no strata of its rows; give the labels as an array.")
    return np.asarray(rows), texts_of(np.asarray(model.strata_))


def names_of_features(given, model, n_features):
    """Return the names of the features, a list of str, and whether they are more than the column numbers."""
    own = getattr(model, "feature_names_in_", None)
    given = own if given is None else given
    return read_names(range(n_features) if given is None else given, n_features, own).tolist(), given is not None


def topic_titles(model, names=None, n=2):
    """Return a title for each topic: its number, and its name, or the n features of the largest lift.

    Parameters
    ----------
    model : fitted model, or array (n_topics, n_features)
    names : list of str, default=None
        Names of the features. None: the model's. Without names, and for topics with negative entries, a title is the
        number alone.
    n : int, default=2
        0: the number alone.
    """
    H = topics_of(model)
    found = getattr(model, "topic_names_", None)
    names = getattr(model, "feature_names_in_", None) if names is None else names
    if found is None and names is not None and n:
        found = topic_names(H, n, feature_names=names)
    return [str(topic) if found is None else f"{topic} {found[topic]}" for topic in range(len(H))]


def strongest_in_turn(weights, n, by):
    """Return columns: the n strongest of each row, row by row, each column once, where it is strongest first.

    Parameters
    ----------
    weights : ndarray or csr_array (n_rows, n_features)
    n : int
    by : {"weight", "contrast", "lift"}
    """
    found = []
    for scores in feature_scores(weights, by):
        found += [j for j in strongest_of(scores, n)[0].tolist() if j not in found]
    return found


def some_of(components, n, what="components"):
    """Return numbers from 0 to n - 1 as an array: those given, or all where that is None."""
    if components is None:
        return np.arange(n)
    given = [components] if isinstance(components, numbers.Integral) else components
    is_list = np.iterable(given) and not isinstance(given, (str, bytes))
    found = list(given) if is_list else []
    if (
        not found
        or not all(isinstance(c, numbers.Integral) and 0 <= c < n for c in found)
        or len(set(found)) < len(found)
    ):
        raise ValueError(f"{what}={shown(components)} is not valid; expected different numbers from 0 to {n - 1}.")
    return np.array(found, dtype=np.intp)


def places_of(wanted, labels, what="strata"):
    """Return the places of labels among all labels, as an array; None stands for all."""
    if wanted is None:
        return np.arange(len(labels))
    is_one = isinstance(wanted, (str, bytes)) or not np.iterable(wanted)
    texts = [str(label) for label in labels]
    wanted = [wanted] if is_one else list(wanted)
    of_one = [texts_of(plain(np.fromiter([label], object, 1)))[0] for label in wanted]
    wanted = [text if text in texts else str(label) for text, label in zip(of_one, wanted, strict=True)]
    lacking = [label for label in wanted if label not in texts]
    if lacking or not wanted or len(set(wanted)) < len(wanted):
        known = ", ".join(map(repr, texts[:6])) + (", ..." if len(texts) > 6 else "")
        what_is_wrong = f"has {lacking[0]!r}" if lacking else "names none, or one twice"
        raise ValueError(f"{what} {what_is_wrong}; expected different ones of {known}.")
    return np.array([texts.index(label) for label in wanted], dtype=np.intp)
