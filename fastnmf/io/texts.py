"""Turn texts into a matrix of words by scikit-learn's vectorizers, whose state is a record of plain values.

The record can stand in a file without pickles: the parameters of the vectorizer, its vocabulary, and the inverse
document frequencies. `transformer` computes from these what scikit-learn's `transform` would, to the last bit.
"""

import numbers
from collections import Counter

import numpy as np
import scipy.sparse as sp

from fastnmf.data.layout import row_index
from fastnmf.data.sentences import shown
from fastnmf.io.files import known_name

CALLABLES = ("tokenizer", "preprocessor", "analyzer")  # parameters that may be functions
_NUMBER = (int, float)
PARAMETERS = {  # of a vectorizer -> types of its values; those of later versions of scikit-learn are not kept
    "analyzer": (str,),
    "binary": (bool,),
    "counts": (bool,),
    "decode_error": (str,),
    "dtype": (str,),
    "encoding": (str,),
    "input": (str,),
    "lowercase": (bool,),
    "max_df": _NUMBER,
    "max_features": (int, type(None)),
    "min_df": _NUMBER,
    "ngram_range": (tuple, list),
    "norm": (str, type(None)),
    "preprocessor": (type(None),),
    "smooth_idf": (bool,),
    "stop_words": (str, list, type(None)),
    "strip_accents": (str, type(None)),
    "sublinear_tf": (bool,),
    "tfidf": (str,),
    "token_pattern": (str, type(None)),
    "tokenizer": (type(None),),
    "use_idf": (bool,),
    "vocabulary": (type(None),),
}
_OWN = ("counts", "tfidf")  # not of scikit-learn
FORMULAS = ("smooth", "max")  # values of tfidf
_OF_TFIDF = ("norm", "use_idf", "smooth_idf", "sublinear_tf")
_LIMITS = ("min_df", "max_df", "max_features")  # choose the vocabulary; not used once there is one


def parameters_of(vectorizer):
    """Return the parameters of a vectorizer as a dict, with ``counts`` and ``tfidf``.

    ``counts`` says whether it stops at counts. The formula ``tfidf`` is that of scikit-learn ("smooth"), or the
    textbook's ("max"): ``f / max f * log2(n / n_j)`` with the count f of a word in a text, the largest count in this
    text, and n_j of the n texts that have the word (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets",
    section 1.3.1). Rows are then not scaled.

    Parameters
    ----------
    vectorizer : dict, TfidfVectorizer, CountVectorizer or None
        A dict has parameters of TfidfVectorizer, and may have ``counts=True`` or ``tfidf="max"``.

    Raises
    ------
    TypeError, ValueError
        It is something else, or has a parameter that TfidfVectorizer does not have.
    """
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

    given = {} if vectorizer is None else vectorizer
    if isinstance(given, dict):
        for name in given:
            known_name(name, [*PARAMETERS], "parameter of TfidfVectorizer")
        options = {name: value for name, value in given.items() if name not in _OWN}
        found, is_counts = TfidfVectorizer(**options).get_params(), given.get("counts", False)
        formula = given.get("tfidf", "smooth")
        if not isinstance(formula, str) or formula not in FORMULAS:
            raise ValueError(f"tfidf={shown(formula)} is not known; expected 'smooth' (scikit-learn's) or 'max'.")
        others = [name for name in ("counts", *_OF_TFIDF) if given.get(name)] if formula == "max" else []
        if others:
            raise ValueError(
                f"tfidf='max' is a formula of its own, to which {others[0]} does not apply; leave one out."
            )
        if not isinstance(is_counts, bool):
            raise ValueError(f"counts={shown(is_counts)} is not valid; expected True or False.")
    elif isinstance(given, CountVectorizer):
        found, is_counts, formula = given.get_params(), not isinstance(given, TfidfVectorizer), "smooth"
    else:
        raise TypeError(
            f"vectorizer is a {type(given).__name__}; expected a dict of options of TfidfVectorizer, a TfidfVectorizer "
            "or a CountVectorizer of scikit-learn."
        )
    if found["input"] != "content":
        raise ValueError(f"The vectorizer has input={shown(found['input'])}; the texts of a table need 'content'.")
    stop_words = found["stop_words"]
    if isinstance(stop_words, (set, frozenset)):
        stop_words = sorted(stop_words)
    dtype = np.dtype(found["dtype"])
    dtype = dtype.name if dtype.kind == "f" else "float64"
    found = {name: value for name, value in found.items() if name in PARAMETERS}
    found = {name: value.item() if isinstance(value, np.generic) else value for name, value in found.items()}
    return found | {"counts": is_counts, "tfidf": formula, "stop_words": stop_words, "dtype": dtype}


def fit_transform(texts, parameters):
    """Return the matrix (n_texts, n_words) of a list of texts, and the record of its vectorizer.

    Returns
    -------
    X : csr_array
    record : dict
        `vectorizer`, the parameters; `vocabulary` (n_words,), array of str; `idf` (n_words,), None of counts.
    """
    counter = _counter(parameters, parameters["vocabulary"], **{name: parameters[name] for name in _LIMITS})
    counts = counter.fit_transform(texts)
    counts.sort_indices()  # as for new texts: norms of rows are then the same sums, to the last bit
    df = np.bincount(counts.indices, minlength=counts.shape[1])
    record = _record(parameters, counter.get_feature_names_out(), df, len(texts))
    return _weighted(counts, record), record


def fit(chunks, parameters):
    """Return the record of the vectorizer for texts that come in chunks: lists of str, each read once.

    Only the words and their frequencies are in memory, and the vocabulary is the one of `fit_transform`.
    """
    counter = _counter(parameters, None, **{name: parameters[name] for name in _LIMITS})
    counter._validate_params()  # which scikit-learn does in fit, with all texts in memory
    analyze = counter.build_analyzer()
    df, total, n_texts = Counter(), Counter(), 0
    for texts in chunks:
        for text in texts:
            words = Counter(analyze(text))
            total.update(words)
            df.update(words.keys())
        n_texts += len(texts)
    if parameters["vocabulary"] is not None:
        words = _counter(parameters, parameters["vocabulary"]).fit([""]).get_feature_names_out()
    else:
        words = _chosen(df, df if parameters["binary"] else total, n_texts, parameters)
    return _record(parameters, words, np.array([df[word] for word in words]), n_texts)


def transformer(record):
    """Return a function of a list of texts: their matrix (n_texts, n_words), in the words and weights of a record."""
    counter = _counter(record["vectorizer"], record["vocabulary"].tolist())  # it looks at all words once
    return lambda texts: _weighted(counter.transform(texts), record)


def _chosen(df, total, n_texts, parameters):
    """Return the sorted words that `min_df`, `max_df` and `max_features` leave, as CountVectorizer chooses them.

    Parameters
    ----------
    df, total : dict
        Word -> number of texts that have it, and how often all have it.
    n_texts : int
    parameters : dict
        Of the vectorizer.
    """
    words = np.array(sorted(df), dtype=object)
    found = np.array([df[word] for word in words], dtype=np.int64)
    low, high = (
        limit if isinstance(limit, numbers.Integral) else limit * n_texts
        for limit in (parameters["min_df"], parameters["max_df"])
    )
    if high < low:
        raise ValueError("max_df corresponds to < documents than min_df")
    is_kept = (found >= low) & (found <= high)
    if parameters["max_features"] is not None and is_kept.sum() > parameters["max_features"]:
        often = np.array([total[word] for word in words])
        best = (-often[is_kept]).argsort()[: parameters["max_features"]]
        is_kept = np.isin(np.arange(len(words)), np.flatnonzero(is_kept)[best])
    if not is_kept.any():
        raise ValueError("after pruning, no words remain; try a lower min_df or a higher max_df")
    return words[is_kept]


def _counter(parameters, vocabulary, **limits):
    from sklearn.feature_extraction.text import CountVectorizer

    own = {name: value for name, value in parameters.items() if name not in (*_OF_TFIDF, *_LIMITS, *_OWN)}
    return CountVectorizer(**own | {"vocabulary": vocabulary} | limits)


def _record(parameters, words, df, n_texts):
    idf = None
    if not parameters["counts"]:
        dtype, smooth = np.dtype(parameters["dtype"]), int(parameters["smooth_idf"])
        # a word of a given vocabulary may be in no text: it then weighs as if it were in one
        idf = np.log(np.full(len(words), n_texts + smooth, dtype) / np.maximum(df + smooth, 1).astype(dtype)) + 1.0
        idf = idf.astype(dtype) if parameters["use_idf"] else np.ones(len(words), dtype)
        if parameters["tfidf"] == "max":
            idf = np.log2(n_texts / np.maximum(df, 1)).astype(dtype)
    plain = {name: value for name, value in parameters.items() if name != "vocabulary"}
    return {"vectorizer": plain | {"vocabulary": None}, "vocabulary": np.array(words, dtype=object), "idf": idf}


def _weighted(counts, record):
    """Return counts as they are, or as TF-IDF."""
    if record["vectorizer"].get("tfidf") == "max":  # files of before this option do not have it
        counts = sp.csr_array(counts, dtype=record["idf"].dtype)
        largest = np.maximum(counts.max(axis=1).toarray().ravel(), 1)  # never-densify-ok: one number a text
        counts.data *= record["idf"][counts.indices] / largest[row_index(counts)]
        counts.eliminate_zeros()
    elif record["idf"] is not None:
        from sklearn.feature_extraction.text import TfidfTransformer

        transformer = TfidfTransformer(**{name: record["vectorizer"][name] for name in _OF_TFIDF})
        transformer.idf_ = record["idf"]
        counts = transformer.transform(counts, copy=False)
    X = sp.csr_array(counts, dtype=record["vectorizer"]["dtype"])
    X.sort_indices()
    return X
