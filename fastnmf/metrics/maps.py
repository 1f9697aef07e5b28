"""Compare topics with each other and with all data: a map, similarities, and how specific a feature is to a topic."""

from __future__ import annotations

import numbers

import numpy as np
from scipy import sparse
from scipy.special import logsumexp

from fastnmf.data.layout import row_index
from fastnmf.data.matrix import as_csr, as_numbers
from fastnmf.data.sentences import shown
from fastnmf.data.shifts import as_read, dense_row, square_lengths
from fastnmf.metrics.checks import components_of
from fastnmf.typing import FittedModel, Floats, SparseOrDense, Vector

_TIE = 1e-9  # entries of an eigenvector whose sizes differ by less than this share are equal but for rounding
_LOG_LARGEST = float(np.log(np.finfo(np.float64).max))


def topic_map(H: SparseOrDense | FittedModel) -> Floats:
    """Place topics in the plane such that similar topics lie close together.

    Parameters
    ----------
    H : array-like or sparse matrix of shape (n_topics, n_features), or fitted model
        Non-negative weights, such as `components_` or `shifts_`. Of a hierarchy the finest level is taken.

    Returns
    -------
    coordinates : ndarray of shape (n_topics, 2), float64
        In units of the Jensen-Shannon distance, with logarithms to the base 2: no two topics are more than 1 apart.
        The mean of the topics lies at the origin. A topic without weights lies at the origin, too, and has no effect on
        the others.

    Raises
    ------
    ValueError
        If H is no matrix, or has negative entries, NaN or infinity.

    Notes
    -----
    Each topic is scaled to the sum 1. The distance of two topics is the root of their Jensen-Shannon divergence, which
    is a Euclidean distance (Fuglede and Topsøe 2004, doi:10.1109/ISIT.2004.1365067). Classical scaling (Torgerson 1952,
    doi:10.1007/BF02288916) takes the two coordinates along which the topics differ most, so three topics keep their
    distances and more topics do as far as two coordinates allow. Sievert and Shirley 2014 draw topics in this way, with
    the divergence itself in place of its root.

    The same H gives the same map: in each coordinate, the entry of the largest size is positive (ties: the first). Only
    a permutation of topics that are all equally far from each other may turn the map.

    The cost is O(k nnz) for k topics with nnz positive weights in all.

    References
    ----------
    C. Sievert, K. Shirley, "LDAvis: A method for visualizing and interpreting topics", 2014, doi:10.3115/v1/W14-3110.

    Examples
    --------
    >>> from fastnmf.metrics import topic_map
    >>> topic_map([[1.0, 1, 0, 0], [0, 0, 3, 3]]).round(3)  # nothing in common: the distance is 1
    array([[ 0.5,  0. ],
           [-0.5,  0. ]])
    """
    P = _distributions(_non_negative(H))
    out = np.zeros((P.shape[0], 2))
    used = np.flatnonzero(_sums(P) > 0)
    if len(used) < 2:
        return out
    gram = _divergences(P[used]) / -2
    gram -= gram.mean(axis=0)
    gram -= gram.mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    for axis, place in enumerate((-1, -2)):
        along = vectors[:, place] * np.sqrt(max(values[place], 0.0))
        size = np.abs(along)
        first = np.flatnonzero(size >= (1 - _TIE) * size.max())[0]
        out[used, axis] = -along if along[first] < 0 else along
    if values[-2] <= _TIE * values[-1]:  # as of two topics; the root of what is rounding would look like a distance
        out[:, 1] = 0
    return out


def topic_similarity(H: SparseOrDense | FittedModel) -> Floats:
    """Return the cosine of the angle between each two topics.

    Parameters
    ----------
    H : array-like or sparse matrix of shape (n_topics, n_features), or fitted model
        Weights of any sign, such as `components_` or `shifts_`. Of a hierarchy the finest level is taken.

    Returns
    -------
    cosines : ndarray of shape (n_topics, n_topics), float64
        From 0 to 1 for non-negative topics, else from -1; symmetric, and 1 on the diagonal. Row and column of a topic
        without weights are 0, also on the diagonal.

    Raises
    ------
    ValueError
        If H is no matrix, or has NaN or infinity.

    Examples
    --------
    >>> from fastnmf.metrics import topic_similarity
    >>> topic_similarity([[3.0, 4, 0], [4, 3, 0], [0, 0, 0]])
    array([[1.  , 0.96, 0.  ],
           [0.96, 1.  , 0.  ],
           [0.  , 0.  , 0.  ]])
    """
    H = _matrix(H)
    H = _divided(H, _largest(H))
    length = np.sqrt(square_lengths(H))
    units = _divided(H, length)
    cosines = units @ units.T
    cosines = cosines.toarray() if sparse.issparse(cosines) else cosines  # never-densify-ok: n_topics by n_topics
    cosines = np.clip(cosines, -1.0, 1.0)
    np.fill_diagonal(cosines, length > 0)
    return cosines


def relevance(H: SparseOrDense | FittedModel, background: Vector | None = None, weight: float = 0.6) -> Floats:
    """Return the relevance of each feature to each topic, between how frequent and how specific it is there.

    Parameters
    ----------
    H : array-like or sparse matrix of shape (n_topics, n_features), or fitted model
        Non-negative weights, such as `components_` or `shifts_`. Of a hierarchy the finest level is taken.
    background : array-like of shape (n_features,), default=None
        How frequent each feature is in all data, in any unit: ``X.sum(axis=0)`` of the data X of the fit. None: the
        mean of the topics, each scaled to the sum 1.
    weight : float, default=0.6
        The weight λ, from 0 to 1, of the probability against the lift. 1 ranks by the probability in the topic, 0 by
        the lift, which prefers rare features.

    Returns
    -------
    values : ndarray of shape (n_topics, n_features), float64
        ``λ log p(w|t) + (1 - λ) log(p(w|t) / p(w))``, natural logarithms. ``-inf`` for a feature without a weight in
        the topic, whose probability is 0; all other values are finite.

    Raises
    ------
    ValueError
        If H or the background have negative entries, NaN or infinity, their numbers of features differ, the background
        is 0 for a feature of a topic, or the weight is not between 0 and 1.

    Notes
    -----
    Sievert and Shirley 2014, equation 1; 0.6 is the weight with which their readers found the subjects of topics most
    often (section 3.3).

    References
    ----------
    C. Sievert, K. Shirley, "LDAvis: A method for visualizing and interpreting topics", 2014, doi:10.3115/v1/W14-3110.

    Examples
    --------
    >>> from fastnmf.metrics import relevance
    >>> H = [[5.0, 4, 0], [5, 0, 4]]  # "the", "ice", "sun"
    >>> relevance(H).argmax(axis=1), relevance(H, weight=1).argmax(axis=1)
    (array([1, 2]), array([0, 0]))
    """
    if isinstance(weight, bool) or not isinstance(weight, numbers.Real) or not 0 <= weight <= 1:
        raise ValueError(f"weight={shown(weight)} is not valid; expected a number from 0 (lift) to 1 (probability).")
    log_p, log_q = _log_probabilities(H, background)
    return log_p - (1 - float(weight)) * log_q


def lift(H: SparseOrDense | FittedModel, background: Vector | None = None) -> Floats:
    """Return how many times more frequent each feature is in each topic than in all data.

    Parameters
    ----------
    H, background :
        As in `relevance`.

    Returns
    -------
    values : ndarray of shape (n_topics, n_features), float64
        ``p(w|t) / p(w)``: above 1 for features that are more frequent in the topic, 0 for features that it does not
        have. It is finite: above the largest number of float64 stands that number.

    Raises
    ------
    ValueError
        As `relevance`.

    Notes
    -----
    Taddy 2012, On Estimation and Selection for Topic Models, AISTATS, uses it to rank the words of topics. A word that
    occurs once has the largest lift there is; `relevance` weighs it against the probability.

    Examples
    --------
    >>> from fastnmf.metrics import lift
    >>> lift([[5.0, 5, 0], [10, 0, 0]], background=[15, 5, 0]).round(2)
    array([[0.67, 2.  , 0.  ],
           [1.33, 0.  , 0.  ]])
    """
    log_p, log_q = _log_probabilities(H, background)
    return np.exp(np.minimum(log_p - log_q, _LOG_LARGEST))


def _matrix(H):
    """Return topics as a dense float64 array, or as a csr_array where a dense one would be large; all finite."""
    if not sparse.issparse(H):
        return components_of(H, "H")
    H = as_read(as_csr(H, "H", np.float64))
    if not np.isfinite(H.data if sparse.issparse(H) else H).all():
        raise ValueError("H contains NaN or infinity; every entry must be a finite number.")
    return H


def _non_negative(H):
    """Return topics as `_matrix` does; raise where an entry is negative."""
    H = _matrix(H)
    if ((H.data if sparse.issparse(H) else H) < 0).any():
        raise ValueError("H has negative entries, which are not probabilities; give topics whose weights are >= 0.")
    return H


def _largest(H):
    """Return the largest size of an entry of each row, (n_rows,)."""
    if not sparse.issparse(H):
        return np.abs(H).max(axis=1, initial=0.0)
    largest = np.zeros(H.shape[0])
    np.maximum.at(largest, row_index(H), np.abs(H.data))
    return largest


def _divided(H, by):
    """Return H with each row divided by an entry of `by` (n_rows,); a row with 0 there stays."""
    by = np.where(by > 0, by, 1.0)
    if not sparse.issparse(H):
        return H / by[:, None]
    return sparse.csr_array((H.data / by[row_index(H)], H.indices, H.indptr), H.shape)


def _sums(H):
    """Return the sum of each row, float64 (n_rows,)."""
    return np.asarray(H.sum(axis=1), dtype=np.float64).ravel()


def _distributions(H):
    """Return H with rows of sum 1; a row of zeros stays. Sums of entries of any scale neither overflow nor vanish."""
    H = _divided(H, _largest(H))
    return _divided(H, _sums(H))


def _divergences(P):
    """Return the Jensen-Shannon divergences, base 2, between the rows of P, all of sum 1, as an array (n, n).

    Row a of `half` holds ``sum_j p_aj log2(2 p_aj / (p_aj + p_bj))`` for all b, which needs the columns where row a is
    positive alone.
    """
    columns = P.tocsc() if sparse.issparse(P) else P
    half = np.zeros((P.shape[0], P.shape[0]))
    for row in range(P.shape[0]):
        p = dense_row(P, row)
        at = np.flatnonzero(p)
        others = columns[:, at]
        others = others.toarray() if sparse.issparse(others) else others  # never-densify-ok: at most (n_topics, m)
        half[row] = np.log2(2 * p[at] / (p[at] + others)) @ p[at]
    found = np.clip((half + half.T) / 2, 0.0, 1.0)
    np.fill_diagonal(found, 0.0)
    return found


def _log_probabilities(H, background):
    """Return ``log p(w|t)`` (n_topics, n_features), ``-inf`` for a probability of 0, and ``log p(w)`` (n_features,).

    The second is 0 where no topic has the feature, so that differences of the two are never NaN.
    """
    H = _non_negative(H)
    H = H.toarray() if sparse.issparse(H) else H  # never-densify-ok: as large as what is returned
    log_p = _log_shares(H)
    is_used, has_weights = (H > 0).any(axis=0), (H > 0).any(axis=1)
    if background is None:
        log_q = np.zeros(H.shape[1])
        if has_weights.any():
            log_q[is_used] = logsumexp(log_p[np.ix_(has_weights, is_used)], axis=0) - np.log(has_weights.sum())
        return log_p, log_q
    background = np.ravel(as_numbers(background, "background")).astype(np.float64)
    if background.shape != H.shape[1:]:
        raise ValueError(f"background has {background.size} entries for {H.shape[1]} features; give one for each.")
    if not np.isfinite(background).all() or (background < 0).any():
        raise ValueError("background contains NaN, infinity or negative entries; give the sums of features, all >= 0.")
    lacking = np.flatnonzero(is_used & (background == 0))
    if lacking.size:
        raise ValueError(
            f"background is 0 for feature {lacking[0]}, which a topic has; give the sums of the features of the data "
            "of the fit, or None."
        )
    return log_p, np.where(is_used, _log_shares(background[None])[0], 0.0)


def _log_shares(H):
    """Return the logarithm of each entry's share in the sum of its row; ``-inf`` for an entry of 0."""
    largest = _largest(H)
    total = _sums(_divided(H, largest))
    log_total = np.log(np.where(largest > 0, largest, 1.0)) + np.log(np.where(total > 0, total, 1.0))
    return np.log(H, out=np.full(H.shape, -np.inf), where=H > 0) - log_total[:, None]
