"""Cluster the samples in a metric that does not depend on how a factorization splits its scale."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from sklearn.cluster import KMeans
from sklearn.utils.validation import check_is_fitted

from fastnmf.core.options import check_choice, check_integer, generator
from fastnmf.data.labels import known_labels
from fastnmf.metrics.clusters import clustering_scores
from fastnmf.models.base.estimator import Estimator
from fastnmf.typing import Dense, Factor, Floats, Integers, Labels, Seed

METRICS = ("product", "factor", "max")


@dataclass(frozen=True, repr=False)
class Clustering:
    """Result of `cluster`; it prints as one line.

    Attributes
    ----------
    labels : ndarray (n_samples,) of int
        Cluster of each sample, from 0.
    n_clusters : int
    metric : str
    points : ndarray (n_samples, r), float64
        The clustered points; their Euclidean distances are the distances of the metric. r is the number of components,
        or the number of features if that is smaller.
    centers : ndarray (n_clusters, r), float64
        Means of the points of each cluster.
    inertia : float
        Sum of the squared distances of the points to their centers.
    scores : dict of str to float
        ``nmi``, ``ari``, ``purity`` and ``accuracy``; see `fastnmf.metrics.clustering_scores`. Empty if no labels were
        given.
    """

    labels: Integers
    n_clusters: int
    metric: str
    points: Floats
    centers: Floats
    inertia: float
    scores: dict[str, float] = field(default_factory=dict)

    def __repr__(self):
        """Return the sizes of the clusters and the scores."""
        sizes = ", ".join(map(str, np.bincount(self.labels, minlength=self.n_clusters)))
        scores = "".join(f", {name} {value:.3f}" for name, value in self.scores.items())
        return f"{self.n_clusters} clusters of {sizes} samples, metric {self.metric!r}{scores}"

    __str__ = __repr__


def cluster(
    model: Estimator | Dense,
    H: Factor = None,
    n_clusters: int | None = None,
    *,
    metric: Literal["product", "factor", "max"] = "product",
    labels: Labels | None = None,
    n_init: int = 10,
    max_iter: int = 300,
    random_state: Seed = None,
) -> Clustering:
    """Cluster the samples of a factorization by k-means, by default with the distances of the rows of ``W H``.

    Distances of the rows of W are arbitrary: ``(W D) (D^-1 H)`` is the same model for every positive diagonal D, but
    k-means on W depends on D. The rows of ``W H`` do not depend on D. They are not computed: with ``Hᵀ = Q R``, rows of
    ``W Rᵀ`` have the same distances, and only as many entries as there are components.

    Parameters
    ----------
    model : fitted estimator, or array-like (n_samples, n_components)
        An estimator of fastnmf with `W_` and `components_`, or W itself.
    H : array-like (n_components, n_features), default=None
        The components, if `model` is W.
    n_clusters : int, default=None
        None: the number of distinct `labels`, or else of components.
    metric : {"product", "factor", "max"}, default="product"
        ``"product"``: distances of the rows of ``W H``. ``"factor"``: of the rows of W, unchanged. ``"max"``: of the
        rows of W after every component was scaled to a largest entry of 1, and W to match: the protocol of Khan 2025.
    labels : array-like (n_samples,), default=None
        Known labels. They are compared with the clusters, and are not used for clustering, except for the default of
        `n_clusters`.
    n_init : int, default=10
        Starts of k-means; the result with the lowest inertia is kept.
    max_iter : int, default=300
        Iterations of k-means from each start.
    random_state : None, int, Generator or RandomState, default=None

    Returns
    -------
    Clustering

    Raises
    ------
    ValueError, TypeError
        For a model without `W_` and `components_`, factors whose shapes do not match, or invalid options.

    Notes
    -----
    The points cost O((n + m) r²), an iteration of k-means O(n r n_clusters). No array of the size of the data is made.
    Shifts of strata are not part of W H, so samples of different strata are compared by their shared components.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import NMF, cluster
    >>> X = np.array([[5.0, 4, 0, 0], [4, 5, 0, 1], [0, 0, 3, 4], [0, 1, 4, 3]])
    >>> model = NMF(2, random_state=0).fit(X)
    >>> cluster(model, labels=["a", "a", "b", "b"], random_state=0)
    2 clusters of 2, 2 samples, metric 'product', nmi 1.000, ari 1.000, purity 1.000, accuracy 1.000
    """
    check_choice("metric", metric, METRICS)
    check_integer("n_init", n_init)
    check_integer("max_iter", max_iter)
    W, H = _factors(model, H)
    if labels is not None:
        if np.shape(labels) != (len(W),):
            raise ValueError(f"labels has shape {np.shape(labels)}, expected ({len(W)},): one label per sample.")
        labels = known_labels(labels, "labels", len(W))
    if n_clusters is None:
        n_clusters = W.shape[1] if labels is None else len(np.unique(labels))
    check_integer("n_clusters", n_clusters)
    if n_clusters > len(W):
        raise ValueError(f"n_clusters={n_clusters} is more than there are samples ({len(W)}); lower n_clusters.")
    points = _points(W, H, metric)
    exponent = int(np.frexp(np.abs(points).max(initial=0.0))[1])  # squares of 1e-200 would underflow
    seed = int(generator(random_state).integers(1 << 32))
    found = KMeans(n_clusters, n_init=n_init, max_iter=max_iter, random_state=seed).fit(np.ldexp(points, -exponent))
    return Clustering(
        labels=found.labels_.astype(np.int64),
        n_clusters=int(n_clusters),
        metric=metric,
        points=points,
        centers=np.ldexp(found.cluster_centers_, exponent),
        inertia=float(np.ldexp(found.inertia_, 2 * exponent)),
        scores={} if labels is None else clustering_scores(labels, found.labels_),
    )


def _factors(model, H):
    """Return W (n, k) and H (k, m), float64, of an estimator or of two arrays."""
    if hasattr(model, "get_params"):
        check_is_fitted(model)
        if H is not None:
            raise TypeError("cluster got an estimator and H; pass the estimator alone, or the arrays W and H.")
        if not (hasattr(model, "W_") and hasattr(model, "components_")):
            raise TypeError(f"{type(model).__name__} has no W_ and components_; pass the arrays W and H instead.")
        model, H = model.W_, model.components_
    elif H is None:
        raise TypeError("cluster got W without the components; pass cluster(W, H), or a fitted estimator.")
    arrays = [np.asarray(F, dtype=np.float64) for F in (model, H)]
    for name, F in zip("WH", arrays, strict=True):
        if F.ndim != 2 or not np.isfinite(F).all():
            raise ValueError(f"{name} has shape {F.shape}, or entries that are not finite; expected a finite matrix.")
    W, H = arrays
    if W.shape[1] != len(H):
        raise ValueError(f"W {W.shape} and H {H.shape} do not fit together as W H.")
    return W, H


def _points(W, H, metric):
    """Return points (n, r) whose Euclidean distances are those of the metric."""
    if metric == "factor":
        return W
    largest = np.abs(H).max(axis=1, initial=0.0)  # a component of zeros gets weights of zero
    W, H = W * largest, H / np.where(largest > 0, largest, 1)[:, None]
    return W if metric == "max" else W @ np.linalg.qr(H.T, mode="r").T
