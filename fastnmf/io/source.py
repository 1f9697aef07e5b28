"""Record how data were read, so that new data are read as those of a fit were: ``model.source_``.

A record is a dict of plain values and arrays. `pack` and `unpack` convert it for a file, in which the words of a
vocabulary are bytes: as an array of text each would take the room of the longest.
"""

import re

import numpy as np

from fastnmf.data.sentences import shown
from fastnmf.io.texts import CALLABLES, FORMULAS, PARAMETERS

KINDS = ("texts", "table", "triplets", "cells", "matrix")
DUPLICATES = ("sum", "mean", "raise")
_NAMES = ("text", "strata", "exposure", "title", "names", "layer", "encoding", "delimiter")  # strata may be several
_FLAGS = ("raw", "use_highly_variable", "transpose")
_WORDS = ("vocabulary", "feature_names")  # arrays of str, or None
_LONGEST_PATTERN = 1000
_NOT_OF_COUNTS = {"norm", "smooth_idf", "sublinear_tf", "use_idf"}
_CHOICES = {
    "analyzer": ("word", "char", "char_wb"),
    "decode_error": ("strict", "ignore", "replace"),
    "dtype": ("float32", "float64"),
    "input": ("content",),
    "norm": ("l1", "l2", None),
    "strip_accents": ("ascii", "unicode", None),
    "tfidf": FORMULAS,
}


def record(kind, **values):
    """Return a record: `kind`, and what the others are where they are not given: None or False."""
    empty = dict.fromkeys((*_NAMES, "triplets", "vectorizer", *_WORDS, "idf")) | dict.fromkeys(_FLAGS, False)
    return {"kind": kind, "duplicates": "sum"} | empty | values


def names_in(source):
    """Return the names of the features of a record: the vocabulary of texts, or those of columns; None: it has none."""
    found = source["vocabulary"] if source["kind"] == "texts" else source["feature_names"]
    return None if found is None else np.asarray(found, dtype=object)


def _require(is_right, name):
    if not is_right:
        raise ValueError(f"{name} is not what fastnmf.read makes.")


def check_source(source, n_features=None):
    """Raise ValueError unless a record is one that `fastnmf.read` makes.

    Parameters
    ----------
    source : dict
    n_features : int, default=None
        Number of features of the model that it belongs to.
    """
    _require(isinstance(source, dict) and source.keys() == record("").keys(), "source_")
    _require(isinstance(source["kind"], str) and source["kind"] in KINDS, "source_: kind")
    _require(isinstance(source["duplicates"], str) and source["duplicates"] in DUPLICATES, "source_: duplicates")
    for name in _NAMES:
        each = source[name] if name == "strata" and isinstance(source[name], (tuple, list)) else [source[name]]
        _require(source[name] is None or all(isinstance(one, str) for one in each), f"source_: {name}")
    for name in _FLAGS:
        _require(isinstance(source[name], bool), f"source_: {name}")
    triplets = source["triplets"]
    are_names = isinstance(triplets, (tuple, list)) and len(triplets) in (2, 3, 4)
    _require(triplets is None or are_names and all(isinstance(name, str) for name in triplets), "source_: triplets")
    _require((source["kind"] == "triplets") == (triplets is not None), "source_: triplets")
    for name in _WORDS:
        words = source[name]
        is_array = isinstance(words, np.ndarray) and words.ndim == 1 and words.dtype.kind in "OU"
        _require(
            words is None or is_array and all(isinstance(word, str) for word in words.tolist()), f"source_: {name}"
        )
        _require(words is None or n_features in (None, len(words)), f"source_: {name}")
    if source["kind"] == "texts":
        _check_vectorizer(source)
    else:
        _require(source["vectorizer"] is source["vocabulary"] is source["idf"] is None, "source_: vectorizer")


def _check_vectorizer(source):
    found, words, idf = source["vectorizer"], source["vocabulary"], source["idf"]
    _require(isinstance(found, dict) and isinstance(source["text"], str), "source_: vectorizer")
    lacking = {"tfidf"} | (_NOT_OF_COUNTS if found.get("counts") is True else set())  # that came after the first files
    _require(PARAMETERS.keys() - lacking <= found.keys() <= PARAMETERS.keys(), "source_: vectorizer")
    for name, value in found.items():
        may_be = (*PARAMETERS[name], *((object,) if name in CALLABLES and callable(value) else ()))
        is_typed = isinstance(value, may_be) and (bool in may_be or object in may_be or not isinstance(value, bool))
        _require(is_typed, f"source_: {name}")
        _require(name not in _CHOICES or callable(value) or value in _CHOICES[name], f"source_: {name}")
    n_grams, stop_words, pattern = found["ngram_range"], found["stop_words"], found["token_pattern"]
    _require(len(n_grams) == 2 and all(type(n) is int and 1 <= n <= 1000 for n in n_grams), "source_: ngram_range")
    _require(not isinstance(stop_words, str) or stop_words == "english", "source_: stop_words")
    if isinstance(stop_words, list):
        _require(all(isinstance(word, str) for word in stop_words), "source_: stop_words")
    if pattern is not None:
        _require(len(pattern) <= _LONGEST_PATTERN and _is_pattern(pattern), "source_: token_pattern")
    else:
        _require(found["analyzer"] != "word" or callable(found["tokenizer"]), "source_: token_pattern")
    _require(words is not None and len(words) > 0 and len(set(words.tolist())) == len(words), "source_: vocabulary")
    _require((idf is None) == found["counts"], "source_: idf")
    _require(idf is not None or found.get("tfidf") != "max", "source_: tfidf")
    if idf is not None:
        is_array = isinstance(idf, np.ndarray) and idf.dtype in (np.float32, np.float64) and idf.shape == words.shape
        least = 0 if found.get("tfidf") == "max" else np.finfo(idf.dtype).tiny  # what is in all texts may weigh nothing
        _require(is_array and np.isfinite(idf).all() and idf.min() >= least and idf.max() < 1e6, "source_: idf")


def _is_pattern(pattern):
    try:
        return re.compile(pattern).groups <= 1
    except (re.error, RecursionError, OverflowError):
        return False


def pack(source):
    """Return a record for a file.

    Raises
    ------
    TypeError
        The vectorizer has a function, which files do not hold.
    ValueError
        It is not a record of `fastnmf.read`.
    """
    try:
        check_source(source)
    except ValueError as error:
        said = str(error).rstrip(".")
        raise ValueError(
            f"source_ is not a source of fastnmf.read ({said}); set it to the source of what fastnmf.read returned."
        ) from None
    functions = [name for name in CALLABLES if callable((source["vectorizer"] or {}).get(name))]
    if functions:
        raise TypeError(
            f"source_ has a vectorizer whose {functions[0]} is a function, which files do not hold: read the texts by "
            "plain options, such as token_pattern, or delete source_ and keep the vectorizer yourself."
        )
    return source | {name: _packed(source[name]) for name in _WORDS}


def unpack(values):
    """Return the record that `pack` converted; other values unchanged, for `check_source` to refuse."""
    if not isinstance(values, dict):
        return values
    values = {"exposure": None} | values  # files of 0.1 had none
    return values | {name: _unpacked(values.get(name)) for name in _WORDS}


def _packed(words):
    if words is None:
        return None
    parts = [word.encode("utf-8", "surrogatepass") for word in words.tolist()]
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    return {"utf8": np.frombuffer(b"".join(parts), np.uint8), "lengths": lengths}


def _unpacked(packed):
    if packed is None:
        return None
    text, lengths = packed["utf8"], packed["lengths"]
    is_array = isinstance(text, np.ndarray) and isinstance(lengths, np.ndarray)
    _require(is_array and text.dtype == np.uint8 and lengths.dtype == np.int64, "source_")
    _require(text.ndim == lengths.ndim == 1 and (lengths >= 0).all() and (lengths <= len(text)).all(), "source_")
    _require(int(lengths.sum()) == len(text), "source_")
    ends, text = np.cumsum(lengths).tolist(), text.tobytes()
    begins = [0, *ends[:-1]]
    words = [text[lo:hi].decode("utf-8", "surrogatepass") for lo, hi in zip(begins, ends, strict=True)]
    found = np.empty(len(words), dtype=object)
    found[:] = words
    return found


def check_given(source):
    """Return a record that a user passes as `source`, or raise one sentence."""
    try:
        check_source(source)
    except ValueError:
        raise ValueError(
            f"source is {shown(source)}; expected the source of what fastnmf.read returned, or model.source_."
        ) from None
    return source
