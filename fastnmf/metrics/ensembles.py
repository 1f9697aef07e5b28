"""Measure how alike many runs group the samples, and how specific features are to components."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import squareform

from fastnmf.data.labels import encode_labels
from fastnmf.data.sentences import shown
from fastnmf.metrics.checks import as_matrix, check_count
from fastnmf.typing import Dense, FittedModel, Floats, Integers, Labels

SELECTIONS = ("kim", "max")
MOST_SAMPLES = 2000  # samples from which `agreement_of_runs` measures: a matrix of 32 MB


def sample_components(W: Dense, H: Dense) -> Integers:
    """Return the component of each sample: the one with the largest weight if all components have length one.

    Parameters
    ----------
    W : array-like of shape (n_samples, n_components)
        Weights.
    H : array-like of shape (n_components, n_features)
        Components.

    Returns
    -------
    labels : ndarray of shape (n_samples,) of int
        -1 where all weights of a sample are zero. The scale that a factorization gives to its components does not
        matter.

    Raises
    ------
    ValueError
        If an array is not a finite matrix, or the numbers of components differ.

    Examples
    --------
    >>> from fastnmf.metrics import sample_components
    >>> sample_components([[3.0, 2.0], [0.0, 1.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 9.0]])
    array([ 1,  1, -1])
    """
    W, H = as_matrix(W, "W"), as_matrix(H, "H")
    if W.shape[1] != len(H) or not len(H):
        raise ValueError(f"W has {W.shape[1]} columns and H {len(H)} rows; give one of each for every component.")
    W = W * _unit_rows(H)[1]
    return np.where(W.any(axis=1), W.argmax(axis=1), -1)


def consensus_matrix(labels: Labels) -> Floats:
    """Return the share of runs in which each pair of samples has the same label.

    Parameters
    ----------
    labels : array-like of shape (n_runs, n_samples) or (n_samples,)
        Cluster of each sample in each run, such as ``consensus(...).sample_labels``. The numbering of the clusters may
        differ between runs. One row, or a vector, gives the connectivity matrix of one run.

    Returns
    -------
    C : ndarray of shape (n_samples, n_samples), float64
        Symmetric, from 0 to 1, with ones on the diagonal. It takes 8 n_samples² bytes.

    Raises
    ------
    ValueError
        If there are no runs, or labels are missing.

    References
    ----------
    J.-P. Brunet, P. Tamayo, T. R. Golub, J. P. Mesirov, "Metagenes and molecular pattern discovery using matrix
    factorization", PNAS 2004, doi:10.1073/pnas.0308531101.

    Examples
    --------
    >>> from fastnmf.metrics import consensus_matrix
    >>> consensus_matrix([[0, 0, 1], [1, 0, 0]])
    array([[1. , 0.5, 0. ],
           [0.5, 1. , 0.5],
           [0. , 0.5, 1. ]])
    """
    runs = np.asarray(labels)
    runs = runs[None] if runs.ndim == 1 else runs
    if runs.ndim != 2 or not runs.size:
        raise ValueError(f"labels has shape {np.shape(labels)}; expected (n_runs, n_samples), at least one of each.")
    together = np.zeros((runs.shape[1], runs.shape[1]))
    for run in runs:
        codes = encode_labels(run, len(run))[0]
        together += codes[:, None] == codes
    return together / len(runs)


def cophenetic_correlation(C: Dense) -> float:
    """Return how well a tree represents a consensus matrix: 1 if every pair of samples is always or never together.

    Parameters
    ----------
    C : array-like of shape (n_samples, n_samples)
        Result of `consensus_matrix`.

    Returns
    -------
    correlation : float
        At most 1; also 1 where all pairs are alike, which leaves nothing to correlate.

    Raises
    ------
    ValueError
        If C is not symmetric with entries from 0 to 1.

    Notes
    -----
    The distance of two samples is 1 - C. The correlation is that of the distances with those in the tree of average
    linkage (UPGMA), over all pairs. It falls where the number of components is larger than the data support; Brunet et
    al. 2004 choose the number at which it begins to fall. Cost: O(n_samples²).

    References
    ----------
    J.-P. Brunet, P. Tamayo, T. R. Golub, J. P. Mesirov, "Metagenes and molecular pattern discovery using matrix
    factorization", PNAS 2004, doi:10.1073/pnas.0308531101.

    Examples
    --------
    >>> from fastnmf.metrics import consensus_matrix, cophenetic_correlation
    >>> round(cophenetic_correlation(consensus_matrix([[0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]])), 3)
    0.924
    """
    apart = squareform(1 - _checked(C), checks=False)
    if len(apart) < 2 or np.ptp(apart) == 0:
        return 1.0
    of_tree = cophenet(linkage(apart, "average"))
    return float(np.corrcoef(apart, of_tree)[0, 1])


def dispersion(C: Dense) -> float:
    """Return how far a consensus matrix is from chance: 1 if every pair is always or never together, 0 if half-half.

    Parameters
    ----------
    C : array-like of shape (n_samples, n_samples)
        Result of `consensus_matrix`.

    Returns
    -------
    dispersion : float
        ``sum_ij 4 (C_ij - 1/2)² / n_samples²``, from 0 to 1.

    Raises
    ------
    ValueError
        If C is not symmetric with entries from 0 to 1.

    References
    ----------
    H. Kim, H. Park, "Sparse non-negative matrix factorizations via alternating non-negativity-constrained least squares
    for microarray data analysis", Bioinformatics 2007, doi:10.1093/bioinformatics/btm134.

    Examples
    --------
    >>> from fastnmf.metrics import dispersion
    >>> dispersion([[1.0, 0.5], [0.5, 1.0]])
    0.5
    """
    return float(np.mean(4 * np.square(_checked(C) - 0.5)))


def agreement_of_runs(labels):
    """Return the cophenetic correlation and the dispersion of runs, from at most `MOST_SAMPLES` samples, evenly spaced.

    Parameters
    ----------
    labels : ndarray (n_runs, n_samples) of int

    Returns
    -------
    tuple of two floats
    """
    n = labels.shape[1]
    some = np.arange(n) if n <= MOST_SAMPLES else np.linspace(0, n - 1, MOST_SAMPLES).astype(np.intp)
    C = consensus_matrix(labels[:, some])
    return cophenetic_correlation(C), dispersion(C)


def feature_scores(
    model: FittedModel | Dense, *, method: Literal["kim", "max"] = "kim", normalize: Literal["l2"] | None = "l2"
) -> Floats:
    """Return how specific each feature is to a single component.

    Parameters
    ----------
    model : fitted estimator, or array-like of shape (n_components, n_features)
        An estimator with `components_`, or non-negative components.
    method : {"kim", "max"}, default="kim"
        ``"kim"``: ``1 + sum_l p_l log2(p_l) / log2(k)`` with the shares ``p_l = h_l / sum h`` of the components in the
        feature, one minus their entropy (Kim and Park 2007): 0 if all components have equally much of the feature, 1 if
        one has all of it. ``"max"``: its largest entry (Carmona-Saez et al. 2006).
    normalize : {"l2", None}, default="l2"
        ``"l2"``: components are first scaled to length one, because their scale is arbitrary. None: they are taken as
        they are, as in the papers.

    Returns
    -------
    scores : ndarray of shape (n_features,), float64
        Of a feature that no component has, 0; with a single component all other features score 1 by "kim".

    Raises
    ------
    ValueError
        If an argument is not valid, or components are not finite and non-negative.

    References
    ----------
    H. Kim, H. Park, "Sparse non-negative matrix factorizations via alternating non-negativity-constrained least squares
    for microarray data analysis", Bioinformatics 2007, doi:10.1093/bioinformatics/btm134, section 2.5.
    P. Carmona-Saez et al., "Biclustering of gene expression data by non-smooth non-negative matrix factorization", BMC
    Bioinformatics 2006, doi:10.1186/1471-2105-7-78.

    Examples
    --------
    >>> from fastnmf.metrics import feature_scores
    >>> feature_scores([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    array([0., 1., 1.])
    """
    return _scores(_components(model, normalize), _selection(method))


def select_features(
    model: FittedModel | Dense, *, method: Literal["kim", "max"] = "kim", normalize: Literal["l2"] | None = "l2"
) -> list[Integers]:
    """Return the features that are specific to each component, the most specific first.

    Parameters
    ----------
    model : fitted estimator, or array-like of shape (n_components, n_features)
        As for `feature_scores`.
    method : {"kim", "max"}, default="kim"
        ``"kim"``: features whose score is above the median plus three times the median absolute deviation of all
        scores, and whose largest entry is above the median of all entries of the components. ``"max"``: of each
        component its largest entries, down to the first feature of which another component has more.
    normalize : {"l2", None}, default="l2"
        As for `feature_scores`.

    Returns
    -------
    selected : list of n_components ndarray of int
        Columns of the features; each belongs to the component that has most of it. Take names by
        ``model.feature_names_in_[selected[0]]``.

    Raises
    ------
    ValueError
        If an argument is not valid, or components are not finite and non-negative.

    Notes
    -----
    The rules are those of the references of `feature_scores`. Where more than half of all features have the same score,
    as of sparse components, the median absolute deviation is zero and all with a larger score are selected.

    Examples
    --------
    >>> from fastnmf.metrics import select_features
    >>> select_features([[5.0, 1.0, 1.1, 1.2, 1.0], [0.0, 1.0, 1.0, 1.1, 1.3]])
    [array([0]), array([4])]
    """
    H = _components(model, normalize)
    owner = H.argmax(axis=0)
    if _selection(method) == "max":
        orders = (np.argsort(-row, kind="stable") for row in H)
        return [order[: _leading((owner[order] == l) & (H[l, order] > 0))] for l, order in enumerate(orders)]
    scores = _scores(H, method)
    middle = np.median(scores)
    is_specific = scores > middle + 3 * np.median(np.abs(scores - middle))
    is_specific &= H.max(axis=0) > np.median(H)
    order = np.argsort(-scores, kind="stable")
    return [order[(is_specific & (owner == l))[order]] for l in range(len(H))]


def _leading(is_kept):
    """Return the number of True before the first False."""
    return len(is_kept) if is_kept.all() else int(is_kept.argmin())


def _selection(method):
    if not isinstance(method, str) or method not in SELECTIONS:
        raise ValueError(f"method={shown(method)} is not known; expected 'kim' or 'max'.")
    return method


def _scores(H, method):
    if method == "max":
        return H.max(axis=0)
    total = H.sum(axis=0)
    shares = np.divide(H, total, out=np.zeros_like(H), where=total > 0)
    negative_entropy = (shares * np.log2(shares, out=np.zeros_like(H), where=shares > 0)).sum(axis=0)
    scores = 1 + negative_entropy / np.log2(len(H)) if len(H) > 1 else np.ones(H.shape[1])
    return np.where(total > 0, np.clip(scores, 0, 1), 0.0)


def _components(model, normalize):
    """Return non-negative components (k, m), float64, in range and, if asked, of length one."""
    H = as_matrix(getattr(model, "components_", model), "components")
    check_count("the number of components", len(H))
    check_count("the number of features", H.shape[1])
    if normalize not in (None, "l2") or isinstance(normalize, np.ndarray):
        raise ValueError(f"normalize={shown(normalize)} is not known; expected 'l2' or None.")
    if (H < 0).any():
        raise ValueError("components contain negative entries, which have no shares; give entries >= 0.")
    if normalize is None:
        return H
    return _unit_rows(H)[0]


def _unit_rows(H):
    """Return the rows at length one, and their lengths (k,); a row of zeros stays."""
    largest = np.abs(H).max(axis=1, keepdims=True, initial=0.0)  # squares of 1e-200 would underflow
    H = np.divide(H, largest, out=np.zeros_like(H), where=largest > 0)
    length = np.linalg.norm(H, axis=1, keepdims=True)
    return np.divide(H, length, out=H, where=length > 0), (length * largest)[:, 0]


def _checked(C):
    """Return a consensus matrix as float64."""
    C = as_matrix(C, "C")
    if C.shape[0] != C.shape[1] or not len(C):
        raise ValueError(f"C has shape {C.shape}; expected (n_samples, n_samples), the result of consensus_matrix.")
    if C.min() < 0 or C.max() > 1 or not np.allclose(C, C.T):
        raise ValueError("C is not symmetric with entries from 0 to 1; give the result of consensus_matrix.")
    return C
