"""Find the components on which many runs agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_samples

from fastnmf.core.options import check_integer, check_number, check_verbose, generator
from fastnmf.core.restarts import has_same_start
from fastnmf.core.shifts import normalize_components
from fastnmf.core.thresholds import tiny
from fastnmf.data.annotated import with_layer
from fastnmf.data.sentences import shown
from fastnmf.metrics.ensembles import agreement_of_runs, sample_components
from fastnmf.models.base.takes_readings import keep_source
from fastnmf.models.nmf import NMF
from fastnmf.models.stratified import StratifiedNMF
from fastnmf.selection.parallel_fits import ParallelFits, is_settled, unit_rows
from fastnmf.typing import Bools, Floats, Groups, Integers, Matrix, Seed, SparseOrDense, Vector


@dataclass(frozen=True, repr=False)
class Consensus:
    """Result of `consensus`; it prints as a table.

    Every run has k components; a pair ``(run, component)`` identifies one of them.

    Attributes
    ----------
    model : NMF or StratifiedNMF
        Fitted to all data with the consensus as its `fixed_components`. Weights, shifts and `transform` work as usual.
    components : ndarray (k, n_features)
        The consensus: ``model.components_``, in the order of decreasing `usage`.
    lower, upper : ndarray (k, n_features)
        Quartiles of the members of each cluster, in the scale of `components`.
    agreement : ndarray (k,)
        Mean cosine of the members with their consensus component; 1 if all are equal.
    silhouette : ndarray (k,)
        Mean silhouette of the members of each cluster, from -1 to 1; NaN for one component.
    stability : float
        Mean silhouette of all members.
    usage : ndarray (k,)
        Share of each component in the sum of all components of a run: mean over the members, in their own runs.
    n_members : ndarray (k,) of int
        Number of components in each cluster.
    losses : ndarray (n_runs,)
        Normalized loss of each run.
    density : ndarray (n_runs, k)
        Mean distance of each component to its nearest neighbours among all runs; infinite for a dead component.
    kept : ndarray (n_runs, k) of bool
        Whether the density of a component is at most `density_threshold`.
    labels : ndarray (n_runs, k) of int
        Row of `components` to which each component belongs, -1 if it was dropped.
    order : ndarray (n_kept, 2) of int
        Run and component of all kept components, by cluster, those nearest to the consensus first.
    distances : ndarray (n_kept, n_kept)
        Distances between the kept components in the order of `order`.
    density_threshold : float
    sample_labels : ndarray (n_runs, n_samples) of int
        Component of each sample in each run: the one with the largest weight if all have length one; -1 where all
        weights are zero. `fastnmf.metrics.consensus_matrix` computes the consensus matrix of the samples from it.
    cophenetic, dispersion : float
        How well the runs agree on the groups of samples (`fastnmf.metrics.cophenetic_correlation`,
        `fastnmf.metrics.dispersion`), from at most 2000 samples, evenly spaced. 1 if all runs group them alike.
    """

    model: Any
    lower: Floats
    upper: Floats
    agreement: Floats
    silhouette: Floats
    stability: float
    usage: Floats
    n_members: Integers
    losses: Floats
    density: Floats
    kept: Bools
    labels: Integers
    order: Integers
    distances: Floats
    density_threshold: float
    sample_labels: Integers
    cophenetic: float
    dispersion: float

    @property
    def components(self) -> Floats:
        """Return the components of the model."""
        return self.model.components_

    def __repr__(self):
        """Return the table and the number of dropped components."""
        lines = ["component  members  agreement  silhouette  usage"]
        columns = (self.n_members, self.agreement, self.silhouette, self.usage)
        for component, (members, agreement, silhouette, usage) in enumerate(zip(*columns, strict=True)):
            shown = "         -" if np.isnan(silhouette) else f"{silhouette:10.3f}"
            lines.append(f"{component:9d}  {members:7d}  {agreement:9.3f}  {shown}  {usage:5.3f}")
        n_dropped = int((~self.kept).sum())
        of_runs = int((~self.kept).any(axis=1).sum())
        lines.append(
            f"{len(self.losses)} runs, normalized loss {self.losses.min():.5f} to {self.losses.max():.5f}, of the "
            f"consensus {self.model.normalized_loss_:.5f}. Dropped: {n_dropped} of {self.kept.size} components, from "
            f"{of_runs} runs (farther than {self.density_threshold:g} from their neighbours). Samples: cophenetic "
            f"correlation {self.cophenetic:.3f}, dispersion {self.dispersion:.3f}."
        )
        return "\n".join(lines)

    __str__ = __repr__


def consensus(
    X: Matrix,
    strata: Groups | None = None,
    n_components: int = 10,
    *,
    n_runs: int = 30,
    estimator: NMF | StratifiedNMF | None = None,
    density_threshold: float = 0.5,
    neighbors: float = 0.3,
    n_jobs: int | None = None,
    random_state: Seed = None,
    verbose: int = 0,
    layer: str | None = None,
    design: SparseOrDense | None = None,
    exposure: Vector | str | None = None,
) -> Consensus:
    """Find the components on which many runs from different starts agree, and measure the agreement.

    The components of all runs are scaled to length one and pooled. Components without near neighbours are dropped; the
    others are clustered by k-means. The medians of the clusters are the consensus, for which weights and shifts are
    then fitted.

    Parameters
    ----------
    X : sparse matrix or array (n_samples, n_features)
        Non-negative. Or an AnnData.
    strata : array-like (n_samples,), str, or a frame or dict of several columns, default=None
        Label of each row, or the name of a column of obs or of a DataFrame; several factors as in `StratifiedNMF.fit`.
    n_components : int, default=10
        Components of every run, and of the consensus.
    n_runs : int, default=30
        At least 2. All their components are kept in memory: ``n_runs * n_components * n_features`` numbers.
    estimator : NMF or StratifiedNMF, default=None
        Unfitted; all runs use its parameters, except `n_components` and `random_state`. None:
        ``StratifiedNMF()`` if there are strata, ``NMF()`` if not.
    density_threshold : float, default=0.5
        A component is kept if its mean distance to its nearest neighbours is at most this. At length one, distances are
        between 0 and the square root of 2; 0.5 corresponds to a cosine of 0.875. 2 keeps all. `density`, or the plot of
        the distances, helps to choose it.
    neighbors : float, default=0.3
        Number of nearest neighbours, as a share of `n_runs`.
    n_jobs : int, default=None
        Number of runs at a time, as in `select_rank`.
    random_state : None, int, Generator or RandomState, default=None
        Seed of the starts and of k-means.
    verbose : int, default=0
        1 shows progress on standard error.
    layer : str, default=None
        Name of a layer of the AnnData X that holds the matrix; None: its X.
    design, exposure : default=None
        As in `StratifiedNMF.fit`.

    Returns
    -------
    Consensus
        Prints as a table; `fastnmf.plots.plot_consensus` plots its distances.

    Raises
    ------
    ValueError, TypeError
        For invalid data or options, for starts that do not depend on the seed, and if fewer components are kept than
        there are clusters.

    Notes
    -----
    The result depends neither on the scale of the components nor on the free gauge of the shifts: components are
    compared at length one, and the gauge changes shifts and weights only. Consensus components have length one, unless
    ``normalize`` of the estimator sets a different length. Where the median is zero in all entries, the mean replaces
    it.

    *Unlike the source*: features are neither selected nor scaled before the fits. To do so, transform X.

    References
    ----------
    D. Kotliar et al., "Identifying gene expression programs of cell-type identity and cellular activity with
    single-cell RNA-Seq", eLife 2019, doi:10.7554/eLife.43803 (cNMF).

    Examples
    --------
    >>> from fastnmf import consensus
    >>> from fastnmf.datasets import make_stratified
    >>> planted = make_stratified((40, 40), n_features=20, n_components=2, noise=0.02, random_state=0)
    >>> found = consensus(planted.data, planted.strata, 2, n_runs=5, random_state=0)
    >>> found.n_members, found.model.transform(planted.data, strata=planted.strata).shape
    (array([5, 5]), (80, 2))
    """
    check_integer("n_components", n_components)
    check_integer("n_runs", n_runs, 2)
    check_verbose("verbose", verbose)
    check_number("density_threshold", density_threshold)
    check_number("neighbors", neighbors, "a share of n_runs from 0 to 1", most=1)
    setting = ParallelFits(with_layer(X, layer), strata, estimator, n_jobs, design=design, exposure=exposure)
    if has_same_start(setting.estimator.init):
        raise ValueError(
            f"The estimator has init={shown(setting.estimator.init)}, with which all runs are the same; choose "
            "a different init."
        )
    *seeds, of_clusters, of_fit = generator(random_state).integers(1 << 32, size=n_runs + 2)
    runs = setting.run("consensus", [(_run, (n_components, seed)) for seed in seeds], verbose)
    units, usage, losses, sample_labels = (np.array([run[i] for run in runs]) for i in range(4))
    found = _agreement(units, usage, density_threshold, max(1, round(neighbors * n_runs)), of_clusters)
    model, scale = _refitted(setting, found.pop("middle"), of_fit)
    keep_source(model, X)
    found |= {name: found[name] * scale for name in ("lower", "upper")}
    found |= dict(zip(("cophenetic", "dispersion"), agreement_of_runs(sample_labels), strict=True))
    return Consensus(
        model=model, losses=losses, density_threshold=float(density_threshold), sample_labels=sample_labels, **found
    )


def _agreement(units, usage, density_threshold, n_neighbors, seed):
    """Return the fields of `Consensus` that the components of all runs determine, and their consensus at length one.

    Parameters
    ----------
    units : ndarray (n_runs, k, n_features)
        Rows of length one, or of zeros.
    usage : ndarray (n_runs, k)
    density_threshold : float
    n_neighbors : int
    seed : int
        Of k-means.

    Returns
    -------
    dict
        The consensus under the key ``"middle"``, (k, n_features); the other keys are names of fields.
    """
    n_runs, rank = usage.shape
    pooled, usage = units.reshape(n_runs * rank, -1), usage.ravel()
    distances = _distances(pooled)
    density = _density(distances, n_neighbors)
    density[~pooled.any(axis=1)] = np.inf
    (kept,) = np.nonzero(density <= density_threshold)
    if len(kept) < rank:
        raise ValueError(
            f"{len(kept)} of {len(pooled)} components have neighbours within density_threshold={density_threshold:g}, "
            f"too few for {rank} clusters; raise density_threshold, or lower n_components."
        )
    pooled, usage, distances = pooled[kept], usage[kept], distances[np.ix_(kept, kept)]
    cluster_index = _cluster_components(pooled, rank, seed)
    used = np.bincount(cluster_index, usage, minlength=rank) / np.bincount(cluster_index, minlength=rank)
    cluster_index = np.argsort(np.argsort(-used, kind="stable"))[cluster_index]
    parts = [_summary(pooled[cluster_index == code]) for code in range(rank)]
    middle, lower, upper, cosines = zip(*parts, strict=True)
    near = np.empty(len(kept))
    for code, cosine in enumerate(cosines):
        near[cluster_index == code] = cosine
    silhouettes = np.full(len(kept), np.nan)
    if 1 < rank < len(kept):
        silhouettes = silhouette_samples(distances, cluster_index, metric="precomputed")
    order = np.lexsort((-near, cluster_index))
    labels = np.full(n_runs * rank, -1)
    labels[kept] = cluster_index
    return {
        "middle": np.array(middle),
        "lower": np.array(lower),
        "upper": np.array(upper),
        "agreement": np.array([cosine.mean() for cosine in cosines]),
        "silhouette": np.array([silhouettes[cluster_index == code].mean() for code in range(rank)]),
        "stability": float(silhouettes.mean()),
        "usage": np.sort(used)[::-1],
        "n_members": np.bincount(cluster_index, minlength=rank),
        "density": density.reshape(n_runs, rank),
        "kept": (labels >= 0).reshape(n_runs, rank),
        "labels": labels.reshape(n_runs, rank),
        "order": np.column_stack(np.divmod(kept[order], rank)),
        "distances": distances[np.ix_(order, order)],
    }


def _run(setting, rank, seed):
    """Return whether the fit converged, and its unit components, their shares, the loss, and the samples' labels."""
    model = setting.make(rank, seed).fit(setting.X, **setting.labels())
    units, lengths = unit_rows(model.components_)
    used = lengths * model.W_.sum(axis=0, dtype=np.float64)
    labels = sample_components(model.W_, model.components_).astype(np.int32)
    return is_settled(model), (units, used / max(used.sum(), tiny()), model.normalized_loss_, labels)


def _distances(units):
    """Return the distances between rows of length one."""
    cosines = (units @ units.T).astype(np.float64)
    distances = np.sqrt(np.maximum(2 - 2 * cosines, 0))
    np.fill_diagonal(distances, 0)
    return (distances + distances.T) / 2


def _density(distances, n_neighbors):
    """Return the mean distance of each component to its nearest neighbours."""
    apart = distances + np.diag(np.full(len(distances), np.inf))
    n_neighbors = min(n_neighbors, len(distances) - 1)
    return np.partition(apart, n_neighbors - 1, axis=1)[:, :n_neighbors].mean(axis=1)


def _cluster_components(units, n_clusters, seed):
    if n_clusters == 1:
        return np.zeros(len(units), np.int64)
    cluster_index = KMeans(n_clusters, n_init=10, random_state=int(seed)).fit_predict(units)
    if len(np.unique(cluster_index)) < n_clusters:
        raise ValueError(f"The kept components contain fewer than {n_clusters} different ones; lower n_components.")
    return cluster_index.astype(np.int64)


def _summary(members):
    """Return the median at length one, the quartiles in the same scale, and the cosines of the members with it."""
    lower, middle, upper = np.quantile(members, (0.25, 0.5, 0.75), axis=0)
    middle = middle if middle.any() else members.mean(axis=0)
    length = np.linalg.norm(middle)
    return middle / length, lower / length, upper / length, members @ (middle / length)


def _refitted(setting, components, seed):
    """Return the estimator fitted with these components, and the factor by which it scales each row."""
    given = setting.estimator
    options = {"fixed_components": components, "seed_features": None, "n_init": 1}
    scale = np.ones((len(components), 1))
    if getattr(given, "normalize", None):
        _, scaled = normalize_components(np.ones((1, len(components))), components, given.normalize)
        scale = np.linalg.norm(scaled, axis=1, keepdims=True)
        options |= {"fixed_components": scaled, "normalize": None}
    model = setting.make(len(components), seed, **options).fit(setting.X, **setting.labels())
    if setting.names is not None:  # of an X without names nothing is asked
        vars(model).update(feature_names_in_=setting.names, _names=setting.names)
    return model.set_params(n_threads=getattr(given, "n_threads", None)), scale
