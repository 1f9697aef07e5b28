"""Compare a clustering with known labels."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from fastnmf.data.labels import distinct, known_labels
from fastnmf.typing import Labels


def clustering_scores(labels_true: Labels, labels_pred: Labels) -> dict[str, float]:
    """Return four measures of the agreement of clusters with known labels; none depends on the numbering of clusters.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        The known labels: numbers or strings.
    labels_pred : array-like of shape (n_samples,)
        The cluster of each sample. There may be more or fewer clusters than labels.

    Returns
    -------
    scores : dict of str to float
        ``nmi``: normalized mutual information, divided by the arithmetic mean of the entropies. ``ari``: the Rand index
        adjusted for chance; about 0 for random clusters, 1 for the labels. ``purity``: share of the samples that have
        the most frequent label of their cluster; grows with the number of clusters. ``accuracy``: share of the samples
        that are correct under the best assignment of each cluster to one label.

    Raises
    ------
    ValueError
        If the arguments are not one-dimensional, are empty, or differ in length.

    Notes
    -----
    Purity and accuracy are those of Cai et al. 2011, Graph Regularized Nonnegative Matrix Factorization for Data
    Representation, IEEE TPAMI 33(8), section 5.2. The assignment is found by the Hungarian method.

    Examples
    --------
    >>> from fastnmf.metrics import clustering_scores
    >>> clustering_scores(["a", "a", "b", "b"], [1, 1, 0, 0])
    {'nmi': 1.0, 'ari': 1.0, 'purity': 1.0, 'accuracy': 1.0}
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    table = label_counts(labels_true, labels_pred)[0]
    rows, columns = linear_sum_assignment(table, maximize=True)
    return {
        "nmi": float(normalized_mutual_info_score(labels_true, labels_pred)),
        "ari": float(adjusted_rand_score(labels_true, labels_pred)),
        "purity": float(table.max(axis=0).sum() / table.sum()),
        "accuracy": float(table[rows, columns].sum() / table.sum()),
    }


def label_counts(labels_true, labels_pred):
    """Return how many samples have each label and each cluster.

    Returns
    -------
    table : ndarray (n_labels, n_clusters) of int64
    names : ndarray (n_labels,)
        Labels, sorted.
    clusters : ndarray (n_clusters,)
        Clusters, sorted.
    """
    true, found = np.asarray(labels_true), np.asarray(labels_pred)
    if true.ndim != 1 or true.shape != found.shape or not len(true):
        raise ValueError(
            f"labels_true has shape {true.shape}, labels_pred {found.shape}; expected one label per sample in both."
        )
    names, rows = distinct(known_labels(labels_true, "labels_true", len(true)), "labels_true")
    clusters, columns = distinct(known_labels(labels_pred, "labels_pred", len(true)), "labels_pred")
    table = np.zeros((len(names), len(clusters)), dtype=np.int64)
    np.add.at(table, (rows, columns), 1)
    return table, names, clusters
