"""Measure topics by their top words: overlap, coherence, diversity."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import sparse

from fastnmf.data.annotated import matrix_of
from fastnmf.data.matrix import as_csr
from fastnmf.data.names import names_of, read_names
from fastnmf.data.sentences import shown
from fastnmf.data.shifts import as_read, each_row
from fastnmf.metrics.checks import as_matrix, check_count
from fastnmf.typing import Floats, Matrix, Names, Topics

MEASURES = ("npmi", "umass")


def topic_overlap(a: Topics, b: Topics, n: int = 10) -> float:
    """Return the mean share of top features that the rows of two lists of topics have in common.

    Parameters
    ----------
    a, b : list of lists of str, or array-like of shape (n_topics, n_features)
        Either words, strongest first, or weights, whose n largest in each row are compared (ties: the lower index
        first). Both must be of the same kind. Row i of a is compared with row i of b: match the rows first.
    n : int, default=10
        Number of features compared in each row.

    Returns
    -------
    overlap : float
        Mean over rows of ``|top_n(a) and top_n(b)| / n``, in [0, 1].

    Raises
    ------
    ValueError
        If the numbers of rows differ or are zero, a row has fewer than n entries, or words are compared with
        weights.

    Examples
    --------
    >>> from fastnmf.metrics import topic_overlap
    >>> topic_overlap([["gun", "law", "state"]], [["law", "gun", "court"]], n=2)
    1.0
    """
    check_count("n", n)
    (rows_a, words_a), (rows_b, words_b) = _top_rows(a, n), _top_rows(b, n)
    if words_a != words_b:
        raise ValueError("a and b must be of one kind: both words or both weights.")
    if len(rows_a) != len(rows_b) or not rows_a:
        raise ValueError(f"a and b must have equally many rows, at least 1; got {len(rows_a)}, {len(rows_b)}.")
    return float(np.mean([len(x & y) / n for x, y in zip(rows_a, rows_b, strict=True)]))


def coherence(
    topics: Topics,
    X: Matrix,
    *,
    measure: Literal["npmi", "umass"] = "npmi",
    n_top: int = 10,
    feature_names: Names | None = None,
) -> Floats:
    """Return the coherence of each topic: how often its top words occur in the same documents.

    Parameters
    ----------
    topics : array-like or sparse matrix of shape (n_topics, n_features), or list of lists of str
        Weights, such as `components_` or `shifts_`, whose n_top largest positive entries in each row are used (ties:
        the lower index first), or words, strongest first.
    X : {sparse matrix or array, array-like} of shape (n_documents, n_features)
        A document is a row; a word occurs in it where the entry is not zero.
    measure : {"npmi", "umass"}, default="npmi"
        ``"npmi"``: from -1 for words that never occur together to 1 for words that always do; 0 for independent words.
        ``"umass"``: at most about 0; larger is better; depends on n_top.
    n_top : int, default=10
        Top words of each topic, at least 2.
    feature_names : array-like of shape (n_features,), default=None
        Names of the columns of X; required if the topics are words and X, a DataFrame or AnnData, has no names. Or a
        vocabulary: name -> column.

    Returns
    -------
    values : ndarray of shape (n_topics,), float64
        nan for a topic of fewer than two words, and for UMass where a top word is in no document.

    Raises
    ------
    ValueError
        If the measure is not known, n_top is less than 2, the numbers of features differ, or a word is not in
        feature_names.

    Notes
    -----
    D(u) is the number of documents with word u, D(u, w) the number with both words, N the number of all documents. The
    window is the whole document, and logarithms are natural.

    UMass, Mimno et al. 2011, Optimizing Semantic Coherence in Topic Models, EMNLP, equation 1: the sum over pairs
    u stronger than w of ``log((D(w, u) + 1) / D(u))``.

    NPMI, Aletras and Stevenson 2013, Evaluating Topic Coherence Using Distributional Semantics, IWCS, and Roeder, Both,
    Hinneburg 2015, doi:10.1145/2684822.2685324: the mean over pairs of ``log(p(u, w) / p(u) p(w)) / -log p(u, w)``
    with p = D / N. There is no epsilon: the limits are used instead, -1 for pairs that never occur together, 1 for
    pairs that occur in every document. Both papers count in windows of an external corpus; here X is the corpus.

    Only the columns of top words are read, and the only dense arrays are n_top by n_top counts for each topic.

    Examples
    --------
    >>> from fastnmf.metrics import coherence
    >>> X = [[1, 1, 0], [2, 1, 0], [0, 0, 1], [0, 1, 1]]
    >>> coherence([["ice", "snow"], ["ice", "sun"]], X, n_top=2, feature_names=["ice", "snow", "sun"]).round(3)
    array([ 0.415, -1.   ])
    """
    if not isinstance(measure, str) or measure not in MEASURES:
        raise ValueError(f"measure={shown(measure)} is not known; expected one of {', '.join(map(repr, MEASURES))}.")
    check_count("n_top", n_top, 2, ", because coherence is defined for pairs")
    names, X = names_of(X), matrix_of(X)
    if not sparse.issparse(X):
        X = as_matrix(X, "X", dtype=None)
    feature_names = names if feature_names is None else read_names(feature_names, X.shape[1], names, n_rows=X.shape[0])
    rows = _top_columns(topics, n_top, X.shape[1], feature_names)
    used = np.unique(np.concatenate([np.zeros(0, np.intp), *rows]))
    occurs = _occurrence(X, used)
    values = np.full(len(rows), np.nan)
    for index, columns in enumerate(rows):
        if len(columns) > 1:
            here = occurs[:, np.searchsorted(used, columns)]
            together = (here.T @ here).toarray()  # never-densify-ok: n_top by n_top
            values[index] = (_umass if measure == "umass" else _npmi)(together, X.shape[0])
    return values


def diversity(topics: Topics, *, n_top: int = 25) -> float:
    """Return the share of distinct words among the top words of all topics: 1 where no two topics share a word.

    Parameters
    ----------
    topics : array-like or sparse matrix of shape (n_topics, n_features), or list of lists of str
        Weights, of which only the positive ones are used, or words, strongest first.
    n_top : int, default=25
        Top words of each topic.

    Returns
    -------
    share : float
        Above 0, at most 1; nan if there are no words.

    Raises
    ------
    ValueError
        If n_top is less than 1.

    Notes
    -----
    Dieng, Ruiz, Blei 2020, Topic Modeling in Embedding Spaces, TACL 8, doi:10.1162/tacl_a_00325, section 6, with 25
    words. If a topic has fewer words, all of them are counted.

    Examples
    --------
    >>> from fastnmf.metrics import diversity
    >>> diversity([["ice", "snow"], ["ice", "sun"]], n_top=2)
    0.75
    """
    check_count("n_top", n_top)
    if _are_words(topics):
        words = [word for row in topics for word in list(row)[:n_top]]
    else:
        words = np.concatenate([np.zeros(0, np.intp), *_top_columns(topics, n_top, None, None)]).tolist()
    return len(set(words)) / len(words) if words else float("nan")


def _top_rows(topics, n):
    """Return the top n of each row as sets, and whether they are words."""
    if _are_words(topics):
        rows = [list(row)[:n] for row in topics]
        is_words = True
    else:
        rows = [np.argsort(-row, kind="stable")[:n].tolist() for row in each_row(_weights(topics, "weights"))]
        is_words = False
    if any(len(row) < n for row in rows):
        raise ValueError(f"Every row must have at least n = {n} entries.")
    return [set(row) for row in rows], is_words


def _are_words(topics):
    is_list = isinstance(topics, (list, tuple)) or isinstance(topics, np.ndarray) and topics.ndim > 0
    first = topics[0] if is_list and len(topics) else None
    return hasattr(first, "__iter__") and not isinstance(first, str) and isinstance(next(iter(first), None), str)


def _top_columns(topics, n_top, n_features, feature_names):
    """Return the columns of the top words of each topic, strongest first.

    Parameters
    ----------
    topics : array-like (n_topics, n_features), or list of lists of str
    n_top : int
    n_features : int, or None
        Number of columns of X; None for topics of weights, whose own number is used.
    feature_names : sequence of str, or None

    Returns
    -------
    list of ndarray of int
        At most n_top columns each; of weights only the positive ones.
    """
    if _are_words(topics):
        if feature_names is None:
            raise ValueError("The topics are words; pass feature_names, the names of the columns of X.")
        at = {str(name): j for j, name in enumerate(feature_names)}
        try:
            return [np.array([at[str(word)] for word in list(row)[:n_top]], np.intp) for row in topics]
        except KeyError as error:
            raise ValueError(f"The word {error.args[0]!r} of a topic is not among feature_names.") from None
    weights = _weights(topics, "topics")
    if n_features is not None and weights.shape[1] != n_features:
        raise ValueError(f"The topics have {weights.shape[1]} features, and X has {n_features} columns.")
    places = ((np.flatnonzero(row > 0), row) for row in each_row(weights))
    return [at[np.argsort(-row[at], kind="stable")[:n_top]] for at, row in places]


def _weights(topics, name):
    return as_read(as_csr(topics, name)) if sparse.issparse(topics) else as_matrix(topics, name)


def _occurrence(X, columns):
    """Return a sparse matrix of ones where a document contains the word of one of `columns`."""
    if not sparse.issparse(X):
        return sparse.csc_array((X[:, columns] != 0).astype(np.int64))
    part = sparse.csc_array(as_csr(X)[:, columns])
    part.sum_duplicates()  # several stored entries may belong to one position
    part = sparse.csc_array(((part.data != 0).astype(np.int64), part.indices, part.indptr), shape=part.shape)
    part.eliminate_zeros()
    return part


def _umass(together, n_documents):
    counts = np.diagonal(together)
    if not counts.all():
        return np.nan
    later, earlier = np.tril_indices(len(counts), -1)
    return np.log((together[later, earlier] + 1) / counts[earlier]).sum()


def _npmi(together, n_documents):
    later, earlier = np.tril_indices(len(together), -1)
    p = np.diagonal(together) / n_documents
    both = together[later, earlier] / n_documents
    values = np.where(both == 1, 1.0, -1.0)
    sometimes = (both > 0) & (both < 1)
    expected = (p[later] * p[earlier])[sometimes]
    values[sometimes] = np.log(both[sometimes] / expected) / -np.log(both[sometimes])
    return values.mean()
