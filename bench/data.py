"""Data for the benchmarks: real text, and synthetic text of any size with the same long tail of words."""

from functools import cache

import numpy as np
from scipy import sparse


@cache
def newsgroups():
    """Load 20 newsgroups, rows sorted by stratum; return (X CSR float64, labels, start (S + 1,)), or None.

    None means that the corpus is not in the data home: a benchmark never downloads.
    """
    from fastnmf.datasets.text import load_newsgroups

    try:
        bunch = load_newsgroups(download_if_missing=False)
    except OSError:
        return None
    return by_stratum(bunch.data, bunch.strata)


def by_stratum(X, strata):
    """Sort the rows of X by stratum; return (X, labels, start)."""
    _, code = np.unique(strata, return_inverse=True)
    order = np.argsort(code, kind="stable")
    return X[order], code[order], np.concatenate([[0], np.cumsum(np.bincount(code))])


def zipf_text(n_docs, n_words, nnz, n_strata, seed=0):
    """Draw a sparse matrix that looks like TF-IDF of a text: word frequencies fall like 1 / rank.

    Parameters
    ----------
    n_docs, n_words : int
    nnz : int
        Non-zeros aimed at; a word drawn twice in one document counts once, so about a tenth fewer remain.
    n_strata : int
        Equal strata; each prefers its own random tenth of the words, eight times as often.
    seed : int

    Returns
    -------
    X : CSR array (n_docs, n_words), float64, rows of unit length (empty ones possible)
    labels : (n_docs,) stratum of each row, ascending
    start : (n_strata + 1,) row pointers
    """
    rng = np.random.default_rng(seed)
    labels = np.sort(np.arange(n_docs) % n_strata)
    start = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=n_strata))])
    frequency = rng.permutation(1.0 / (10.0 + np.arange(n_words)))
    # lengths of documents are log-normal, as those of articles and mails are
    length = rng.lognormal(sigma=0.9, size=n_docs)
    length = rng.poisson(length * (nnz / length.sum()))
    rows = np.repeat(np.arange(n_docs), length)
    words = np.empty(len(rows), dtype=np.int64)
    for s in range(n_strata):
        own = frequency * np.where(rng.random(n_words) < 0.1, 8.0, 1.0)
        cumulated = np.cumsum(own)
        low, high = np.searchsorted(rows, [start[s], start[s + 1]])
        words[low:high] = np.searchsorted(cumulated, rng.random(high - low) * cumulated[-1])
    values = rng.gamma(2.0, 1.0, size=len(rows))
    # 32-bit indices, as every vectoriser gives: SciPy's products are slower with 64
    rows, words = rows.astype(np.int32), np.minimum(words, n_words - 1).astype(np.int32)
    X = sparse.coo_array((values, (rows, words)), shape=(n_docs, n_words)).tocsr()
    X.sum_duplicates()
    norm = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
    X.data /= np.repeat(norm, np.diff(X.indptr))
    return X, labels, start


def paper_start(start, n_columns, rank, seed=0):
    """Draw the paper's start V (S, n), W (m, r), H (r, n), W stratum by stratum from one generator."""
    rng = np.random.default_rng(seed)
    V = rng.random((len(start) - 1, n_columns))
    W = rng.random((start[-1], rank)) / rank**0.5
    H = rng.random((rank, n_columns)) / rank**0.5
    return V, W, H


def blocks_of(X, start):
    """Cut X into its strata."""
    return [X[low:high] for low, high in zip(start[:-1], start[1:], strict=True)]
