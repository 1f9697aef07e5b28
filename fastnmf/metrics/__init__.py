"""Measure a factorization, independently of the solver that computed it.

These functions use NumPy and SciPy only, in float64 throughout; `clustering_scores` also uses scikit-learn. Shapes
follow the public attributes: X (n, m) samples by features, W (n, k) weights, H (k, m) shared components, V (S, m)
shifts, one row per stratum.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import sparse

from fastnmf.data.matrix import as_csr
from fastnmf.data.sentences import shown
from fastnmf.data.shifts import as_read, each_row, rows_of, square_lengths
from fastnmf.metrics.checks import as_matrix, in_range
from fastnmf.metrics.clusters import clustering_scores
from fastnmf.metrics.counts import negative_binomial_nll
from fastnmf.metrics.ensembles import (
    consensus_matrix,
    cophenetic_correlation,
    dispersion,
    feature_scores,
    sample_components,
    select_features,
)
from fastnmf.metrics.maps import lift, relevance, topic_map, topic_similarity
from fastnmf.metrics.residuals import ResidualHistory, component_usage, kkt_residual
from fastnmf.metrics.topics import (
    TopicFlag,
    coherence,
    diversity,
    flag_topics,
    group_words,
    merge_topics,
    rename_topics,
    topic_names,
    topic_overlap,
)
from fastnmf.typing import Dense, Floats, Labels, Matrix, SparseOrDense, Vector

__all__ = [
    "ResidualHistory",
    "TopicFlag",
    "clustering_scores",
    "coherence",
    "component_usage",
    "consensus_matrix",
    "cophenetic_correlation",
    "dispersion",
    "diversity",
    "feature_scores",
    "flag_topics",
    "group_words",
    "kkt_residual",
    "lift",
    "merge_topics",
    "negative_binomial_nll",
    "normalized_loss",
    "relevance",
    "rename_topics",
    "sample_components",
    "select_features",
    "sparseness",
    "topic_map",
    "topic_names",
    "topic_overlap",
    "topic_similarity",
]
# The expanded form loses the digits that cancel: below this share of its largest term the residual itself is computed.
_CANCELLATION = 1e-6
_CHUNK_ENTRIES = 2**21  # entries of a dense row chunk: 16 MB


def normalized_loss(
    X: Matrix, W: Dense, H: Dense, V: SparseOrDense | Vector | None = None, strata: Labels | None = None
) -> float:
    """Return sqrt( sum_i ||A(i) - 1 v(i)' - W(i) H||_F^2 / sum_i ||A(i)||_F^2 ).

    Parameters
    ----------
    X : {array-like, sparse matrix or array} of shape (n_samples, n_features)
        The data A, all strata stacked, rows in any order. If X is sparse, only one chunk of rows at a time becomes
        dense.
    W : array-like of shape (n_samples, n_components)
        Weights, in the row order of X.
    H : array-like of shape (n_components, n_features)
        Shared components.
    V : array-like or sparse matrix of shape (n_strata, n_features), default=None
        Shifts, rows in the sorted order of the labels, as `numpy.unique` gives them. A single row may be given as a
        vector. None: no shift, the loss of plain NMF.
    strata : array-like of shape (n_samples,), default=None
        Labels of any sortable kind. None: all rows are one stratum. Ignored where V is None.

    Returns
    -------
    loss : float
        For an all-zero X: 0.0 if the model is zero as well, else inf.

    Raises
    ------
    ValueError
        If the shapes do not fit together or V does not have one row for each label.

    Notes
    -----
    For sparse X the squares are expanded, with one product X H', O(nnz k + (n + m) k^2 + S m k). Where the terms of the
    expansion cancel, and for dense X, the residual is computed in chunks of rows, O(n m k). Values may be of any scale:
    all arrays are first divided by powers of two.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.metrics import normalized_loss
    >>> normalized_loss([[3.0, 4.0]], W=[[1.0]], H=[[3.0, 0.0]])
    0.8
    """
    X, W, H, V, stratum, scale = in_range(X, W, H, V, strata)
    if sparse.issparse(X):
        total = float(np.vdot(X.data, X.data))
        squared = _squared_gram(X, total, W, H, V, stratum)
    else:
        total, squared = 0.0, None
    if squared is None:
        total, squared = _squared_direct(X, scale, W, H, V, stratum)
    if total == 0:
        return 0.0 if squared == 0 else float("inf")
    return float(np.sqrt(squared / total))


def sparseness(F: SparseOrDense, *, axis: Literal[0, 1] = 1) -> Floats:
    """Return how concentrated each component is: 0 for equal entries, 1 for a single non-zero entry.

    Parameters
    ----------
    F : array-like or sparse matrix of shape (n_vectors, length)
        A factor. Each component and each shift is one row.
    axis : {0, 1}, default=1
        The axis along which the entries of one vector lie: 1 for `components_` and `shifts_`, 0 for W.

    Returns
    -------
    values : ndarray of shape (n_vectors,), float64
        In [0, 1]. A vector of zeros and a vector of length one count as 1.

    Raises
    ------
    ValueError
        If F is not a matrix or axis is neither 0 nor 1.

    Notes
    -----
    Hoyer 2004, Non-negative Matrix Factorization with Sparseness Constraints, JMLR 5, section 3.1:
    ``(sqrt(d) - |x|_1 / |x|_2) / (sqrt(d) - 1)`` for a vector x of length d. It does not depend on the scale of x.

    Examples
    --------
    >>> from fastnmf.metrics import sparseness
    >>> sparseness([[1.0, 1.0, 1.0, 1.0], [0.0, 2.0, 0.0, 0.0]])
    array([0., 1.])
    """
    if axis not in (0, 1):
        raise ValueError(f"axis must be 0 or 1; got {shown(axis)}.")
    if sparse.issparse(F):
        F = as_read(as_csr(F, "F") if axis == 1 else as_csr(F.T, "F"))
        if sparse.issparse(F):
            return np.concatenate([sparseness(row[None]) for row in each_row(F)])
    F = as_matrix(F, "F")
    F = np.abs(F if axis == 1 else F.T)
    largest = F.max(axis=1, initial=0.0)
    used = largest > 0
    values = np.ones(F.shape[0])
    root = np.sqrt(F.shape[1])
    if root > 1:
        scaled = F[used] / largest[used, None]
        ratio = scaled.sum(axis=1) / np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
        values[used] = np.clip((root - ratio) / (root - 1), 0.0, 1.0)
    return values


def _squared_gram(X, total, W, H, V, stratum):
    """Return the squared residual of a sparse X by expanding the squares.

    Parameters
    ----------
    X : csr_array (n, m)
    total : float
        Squared norm of X.
    W : ndarray (n, k)
    H : ndarray (k, m)
    V : ndarray or csr_array (S, m)
    stratum : ndarray (n,) of int
        Row of V for each row of X.

    Returns
    -------
    float, or None
        None where too many digits cancel.
    """
    n, S = X.shape[0], V.shape[0]
    rows = sparse.csr_array((np.ones(n), (stratum, np.arange(n))), shape=(S, n))
    sizes = np.bincount(stratum, minlength=S)
    cross = float((rows @ X).multiply(V).sum()) + float(np.vdot(W, X @ H.T))
    weight_sums = rows @ W
    model = (
        float(np.vdot(W.T @ W, H @ H.T))
        + 2 * float(np.vdot(weight_sums, V @ H.T) if sparse.issparse(V) else np.vdot(weight_sums @ H, V))
        + float(sizes @ square_lengths(V))
    )
    squared = total - 2 * cross + model
    largest = max(total, abs(2 * cross), abs(model))
    return squared if squared > _CANCELLATION * largest else None


def _squared_direct(X, scale, W, H, V, stratum):
    """Return the squared norm of X and the squared residual, computed in chunks of rows.

    Parameters
    ----------
    X : csr_array or ndarray (n, m)
    scale : int
        A dense X is divided by ``2 ** scale`` here; a sparse X already is.
    W : ndarray (n, k)
    H : ndarray (k, m)
    V : ndarray or csr_array (S, m)
    stratum : ndarray (n,) of int
        Row of V for each row of X.

    Returns
    -------
    total, squared : float
    """
    n, m = X.shape
    step = max(1, _CHUNK_ENTRIES // max(1, m))
    total = squared = 0.0
    for first in range(0, n, step):
        part = slice(first, first + step)
        if sparse.issparse(X):
            chunk = X[part].toarray()  # never-densify-ok: a chunk of at most 16 MB or one row
        else:
            chunk = np.ldexp(np.asarray(X[part], dtype=np.float64), -scale)
        total += float(np.vdot(chunk, chunk))
        chunk -= W[part] @ H
        chunk -= rows_of(V, stratum[part])
        squared += float(np.vdot(chunk, chunk))
    return total, squared
