"""Encode the labels of rows as integers."""

import numpy as np


def encode_labels(strata, n_rows, labels=None):
    """Return the index of the stratum of each row, and the sorted labels of the strata.

    Parameters
    ----------
    strata : array-like (n_rows,), or None
        None is a single stratum.
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
        The labels have the wrong length or dimension, are missing, cannot be sorted or, where `labels` is given, are
        not among them.
    """
    if strata is None:
        return np.zeros(n_rows, np.int32), np.array([0]) if labels is None else labels
    strata = np.asarray(strata)
    if strata.ndim != 1:
        raise ValueError(f"strata has {strata.ndim} dimensions; give one label a row, an array of shape ({n_rows},).")
    if len(strata) != n_rows:
        raise ValueError(f"strata has {len(strata)} labels for {n_rows} rows of X; give one label a row.")
    if _has_missing(strata):
        raise ValueError("strata contains a missing label (NaN or None); give every row a label or drop the row.")
    try:
        found, stratum_index = np.unique(strata, return_inverse=True)
    except TypeError as error:
        raise ValueError(
            "strata mixes labels that cannot be sorted, such as numbers and text; use one kind."
        ) from error
    if labels is None:
        return stratum_index.astype(np.int32), found
    known = {label: code for code, label in enumerate(labels.tolist())}
    place = np.array([known.get(label, -1) for label in found.tolist()])
    if (place < 0).any():
        unseen = ", ".join(repr(label) for label in found[place < 0][:3].tolist())
        raise ValueError(
            f"strata contains the label {unseen}, which was not there in fit; known are {len(labels)} labels."
        )
    return place[stratum_index].astype(np.int32), labels


def _has_missing(labels):
    if labels.dtype.kind == "f":
        return bool(np.isnan(labels).any())
    if labels.dtype.kind in "mM":
        return bool(np.isnat(labels).any())
    if labels.dtype.kind != "O":
        return False
    # NaN is the only float that differs from itself. NA and NaT of pandas are recognised by name, without importing it.
    return any(
        label is None or type(label).__name__ in ("NAType", "NaTType") or (isinstance(label, float) and label != label)
        for label in labels
    )
