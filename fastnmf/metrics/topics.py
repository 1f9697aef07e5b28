"""Measure topics by their top words, name, merge and check them, and find the words of groups of rows."""

from __future__ import annotations

import copy
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import sparse

from fastnmf.data.annotated import matrix_of, unpack
from fastnmf.data.labels import encode_labels
from fastnmf.data.matrix import as_csr, check_kind
from fastnmf.data.names import names_of, read_names
from fastnmf.data.ranking import feature_scores, strongest_of
from fastnmf.data.sentences import shown
from fastnmf.data.shifts import as_read, each_row
from fastnmf.metrics.checks import as_matrix, check_count, components_of
from fastnmf.typing import Dense, FittedModel, Floats, Labels, Matrix, Names, Ranking, Topics

MEASURES = ("npmi", "umass")
# Measured on 20 newsgroups, with 20 and 50 components: a signature has the cosine 0.64, and its words the share 0.94; a
# list of numbers, next to it, has 0.54 and 0.16. Topics of function words have a spread of 0.5 to 0.7, subjects below
# 0.45, most below 0.2. Blood cells of one type have cosines up to 0.51 and shares up to 0.4.
COPIES, ALIKE, TOGETHER = 0.75, 0.5, 0.6
SPREAD = 0.5
HEAD = 4.0  # spread of the most widespread features in units of the mean: with less, there are no function words
GROUPS = "lists of numbers of topics, such as [[0, 2]]"
LEAST = 0.3  # weight of a row that counts, in units of the largest
N_TOGETHER, FEWEST = 6, 3  # words of a topic that are compared; words of a topic that tell anything
_ADVICE = {
    "repeated text": "keep one copy of such rows, or leave their common words out, and fit again",
    "function words": "leave these words out, for example by a smaller max_df or more stop words, and fit again",
}
# fitted attributes that merged topics have, too
_KEPT = {"components_", "W_", "n_components_", "n_features_in_", "feature_names_in_", "shifts_", "strata_"}
_KEPT |= {"stratum_sizes_", "row_strata_", "offset_", "topic_names_"}
_KEPT |= {"shift_names_", "affinity_", "feature_affinity_", "training_data_", "heat_width_"}  # of designs, of graphs


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


def topic_names(
    model: FittedModel | Dense, n: int = 3, *, by: Ranking = "lift", feature_names: Names | None = None
) -> list[str]:
    """Return a name for each topic: its n features with the largest scores, with blanks between them.

    Parameters
    ----------
    model : fitted model, or array-like of shape (n_topics, n_features)
        Or its `components_`. For a hierarchy, its finest level is used.
    n : int, default=3
        Features in a name.
    by : {"lift", "contrast", "weight"}, default="lift"
        ``"lift"``: class-based TF-IDF, which prefers features that no other topic has. ``"contrast"``: the weight less
        the mean weight of the other topics. ``"weight"``: the weight, by which topics may begin with words that all
        have.
    feature_names : array-like of shape (n_features,), default=None
        Or a vocabulary: name -> column. None takes `feature_names_in_` of the model, or else the column numbers.

    Returns
    -------
    list of str
        For `rename_topics`, for example. A topic without weights is called "(nothing)".

    References
    ----------
    M. Grootendorst, "BERTopic: neural topic modeling with a class-based TF-IDF procedure", 2022, arXiv:2203.05794,
    equation 2; here each topic has the length 1.

    Examples
    --------
    >>> from fastnmf.metrics import topic_names
    >>> topic_names([[5.0, 4, 0], [5, 0, 4]], n=1, feature_names=["the", "ice", "sun"])
    ['ice', 'sun']
    """
    check_count("n", n)
    components = components_of(model)
    names = _names_for(model, feature_names, components.shape[1])
    tops = (strongest_of(scores, n)[0] for scores in feature_scores(components, by))
    return [" ".join(names[j] for j in top) or "(nothing)" for top in tops]


def rename_topics(model: FittedModel, names: Labels | Mapping[int, str]) -> Any:
    """Return a copy of a fitted model whose topics have names, which `save` keeps and the next fit drops.

    Parameters
    ----------
    model : fitted model
        It is not changed; the copy shares its arrays.
    names : sequence of str (n_topics,), or dict of topic -> str
        As `topic_names` returns them. In a dict, topics that are left out keep their names or get their numbers.

    Returns
    -------
    model
        With `topic_names_`, an array (n_topics,) of str, which summaries, tables and reports show.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import NMF
    >>> from fastnmf.metrics import rename_topics
    >>> model = NMF(2, random_state=0).fit(np.eye(3))
    >>> rename_topics(model, {1: "weather"}).topic_names_.tolist()
    ['0', 'weather']
    """
    n_topics = len(components_of(model))
    if isinstance(names, Mapping):
        found = [str(name) for name in getattr(model, "topic_names_", range(n_topics))]
        for topic, name in names.items():
            found[_topic_number(topic, n_topics)] = str(name)
    else:
        found = [str(name) for name in _listed("names", names, "a list of texts, or a dict of topic -> text")]
        if len(found) != n_topics:
            raise ValueError(f"names has {len(found)} entries for {n_topics} topics; give one for each, or a dict.")
    model = copy.copy(model)
    vars(model)["topic_names_"] = np.array(found, dtype=object)
    return model


def merge_topics(model: FittedModel, groups: Sequence[Any]) -> Any:
    """Return a copy of a fitted model in which each group of topics is one topic.

    Parameters
    ----------
    model : fitted model
        One whose rows are weighted sums of `components_`: `NMF`, `StratifiedNMF`, `MiniBatchNMF` and others. It is not
        changed.
    groups : list of lists of int, or list of int
        Topics to merge, numbered from 0; a topic is in one group at most.

    Returns
    -------
    model
        Of the same class. A merged topic stands where the first of its group stood. `transform` finds weights of new
        rows for the merged topics. What told how the fit went, such as `normalized_loss_` and `history_`, is left out,
        because no fit has ended so.

    Raises
    ------
    TypeError
        The model reads other arrays beside its components.
    ValueError
        A group has less than two topics, or a topic that is not there, or is in another group, too.

    Notes
    -----
    Scaled to sums of one, the components of a group have weights whose sum over the rows is their share; the merged
    component is their mean with these shares. So the sum of ``W H`` over the rows does not change.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import NMF
    >>> from fastnmf.metrics import merge_topics
    >>> model = NMF(3, random_state=0).fit(np.eye(4))
    >>> merge_topics(model, [[0, 2]]).components_.shape
    (2, 4)
    """
    H = components_of(model)
    needs = set(getattr(model, "_fitted_shapes", ())) - _KEPT - {"coef_", "intercept_"}
    is_plain = isinstance(getattr(model, "n_components", None), numbers.Integral) and np.ndim(model.components_) == 2
    if needs or not is_plain or getattr(model, "_is_signed", False):
        raise TypeError(
            f"{type(model).__name__} reads more than its components_, which cannot be merged alone; merge the topics "
            "of an NMF, a StratifiedNMF or a similar model, or fit with fewer components."
        )
    groups = _listed("groups", groups, GROUPS)
    groups = [groups] if groups and all(isinstance(each, numbers.Integral) for each in groups) else groups
    groups = [[_topic_number(topic, len(H)) for topic in _listed("groups", group, GROUPS)] for group in groups]
    members = [topic for group in groups for topic in group]
    if any(len(group) < 2 for group in groups) or len(set(members)) < len(members):
        raise ValueError(f"groups={shown(groups)}; each must have two topics or more, and none may be there twice.")
    of_first = {min(group): sorted(group) for group in groups}
    merged = [of_first.get(topic, [topic]) for topic in range(len(H)) if topic in of_first or topic not in members]
    is_member = np.array([[float(topic in group) for topic in range(len(H))] for group in merged])
    W, names, lengths = getattr(model, "W_", None), getattr(model, "topic_names_", None), H.sum(axis=1, dtype=float)
    shares = is_member * (lengths if W is None else lengths * W.sum(axis=0, dtype=float))
    shares = np.where(shares.any(axis=1, keepdims=True), shares, is_member)
    shares /= shares.sum(axis=1, keepdims=True)
    units, length = H / np.where(lengths > 0, lengths, 1)[:, None], shares @ lengths
    is_old = is_member.sum(axis=1, keepdims=True) == 1
    first = [group[0] for group in merged]
    components = np.where(is_old, H[first], length[:, None] * (shares @ units)).astype(H.dtype)
    fitted = copy.copy(model)
    for name in [name for name in vars(fitted) if name.endswith("_") and not name.startswith("_")]:
        if name not in _KEPT:
            del vars(fitted)[name]
    for name in ("_statistics", "_fitted_rows"):
        vars(fitted).pop(name, None)
    sizes = {name: len(merged) for name in ("n_components", "n_components_", "_n_components") if hasattr(model, name)}
    vars(fitted).update(sizes, components_=components)
    if W is not None:
        together = (W * lengths) @ is_member.T / np.where(length > 0, length, 1)
        fitted.W_ = np.where(is_old.T, W[:, first], together).astype(W.dtype)
    if names is not None:
        fitted.topic_names_ = np.array([" + ".join(names[each] for each in group) for group in merged], dtype=object)
    return fitted


@dataclass(frozen=True)
class TopicFlag:
    """A topic that may be no subject; `flag_topics` returns them. Printing one gives a sentence.

    Attributes
    ----------
    topic : int
        Number of the topic, from 0.
    kind : {"repeated text", "function words"}
    value : float
        Mean cosine of its rows beyond that of any rows, or spread of its words relative to the most widespread ones.
    words : list of str
        Its top words.
    rows : list of int
        Rows of X that use it most, strongest first.
    advice : str
        What to do.
    """

    topic: int
    kind: str
    value: float
    words: list[str]
    rows: list[int]
    advice: str

    def __str__(self) -> str:
        """Return a sentence."""
        return f"Topic {self.topic} ({' '.join(self.words)}): {self.kind} ({self.value:.2f}); {self.advice}."


def flag_topics(
    model: FittedModel, X: Matrix, *, n: int = 10, n_rows: int = 20, feature_names: Names | None = None
) -> list[TopicFlag]:
    """Return the topics that may be no subject: those of repeated text, and those of function words.

    Parameters
    ----------
    model : fitted model
        With the weights `W_` of the training rows.
    X : {sparse matrix or array, array-like} of shape (n_samples, n_features)
        The training data, non-negative, rows in the order of the fit. An entry that is not zero is an occurrence.
    n : int, default=10
        Top words of a topic that are looked at.
    n_rows : int, default=20
        Rows of a topic that are looked at, those with the largest weights, at least 2.
    feature_names : array-like of shape (n_features,), default=None
        As in `topic_names`.

    Returns
    -------
    list of TopicFlag
        In the order of the topics; one for each reason. Printing a flag shows what to do.

    Raises
    ------
    ValueError
        The model keeps no weights of rows, or X has a different shape.

    Notes
    -----
    *Repeated text*: the rows that use the topic most are near copies of each other, such as a signature or a form that
    one author sends again and again. Their mean cosine c, beyond that of any two rows b, ``(c - b) / (1 - b)``, is at
    least 0.75; or 0.5, and its words occur only together: of the rows with one of two of its six first words, 60 % and
    more have both (median over the pairs, beyond chance in the same way).

    *Function words*: words that say how something is said and not what. They occur everywhere: the mean share of rows
    that have a top word of the topic is at least half of that of the n most widespread features of X. Where these are
    not much more widespread than others, as in dense data, there are none.
    """
    check_count("n", n)
    check_count("n_rows", n_rows, 2, ", because rows are compared")
    H, W = components_of(model), getattr(model, "W_", None)
    W = model.S_[0] if isinstance(model.components_, list) else W
    names, X = _names_for(model, feature_names, H.shape[1]), _occurrences(matrix_of(X))
    if W is None or X.shape != (len(W), H.shape[1]):
        known = "keeps no weights of rows" if W is None else f"was fitted to {len(W)} rows of {H.shape[1]} features"
        raise ValueError(f"X has shape {X.shape}, but this {type(model).__name__} {known}; give its training data.")
    order = (np.argsort(-weights, kind="stable")[:n_rows] for weights in W.T)
    strongest = [rows[W[rows, topic] > LEAST * W[:, topic].max()] for topic, rows in enumerate(order)]
    return flags_of(H, strongest, X, names, n)


def flags_of(weights, rows, X, names, n=10):
    """Return the flags of lists of features, topics or shifts, as `flag_topics` does.

    Parameters
    ----------
    weights : ndarray or csr_array (n_lists, n_features)
    rows : list of ndarray of int
        Rows of X to which each list belongs most.
    X : sparse matrix or array (n_samples, n_features)
    names : list of str
        Names of the features.
    n : int, default=10
        Top features of a list that are looked at.

    Returns
    -------
    list of TopicFlag
    """
    X = _occurrences(X)
    squares = np.asarray(X.multiply(X).sum(axis=1), dtype=np.float64).ravel()
    is_used = squares > 0
    units = sparse.csr_array(sparse.diags_array(1 / np.sqrt(np.where(is_used, squares, 1))) @ X)
    n_used = max(int(is_used.sum()), 2)
    usual = (np.square(units.sum(axis=0)).sum() - n_used) / (n_used * (n_used - 1))
    spread = np.bincount(X.indices[X.data != 0], minlength=X.shape[1]) / n_used
    widest = np.sort(spread)[-n:].mean()
    has_function_words = widest >= HEAD * spread[spread > 0].mean() if spread.any() else False
    found = []
    for number, (scores, near) in enumerate(zip(feature_scores(weights, "weight"), rows, strict=True)):
        top, near, flags = strongest_of(scores, n)[0], near[is_used[near]], {}
        if len(near) > 1:
            cosine = ((units[near] @ units[near].T).sum() / len(near) - 1) / (len(near) - 1)
            cosine = _beyond(cosine, usual)
            if cosine >= (ALIKE if _togetherness(X, top[:N_TOGETHER], n_used) >= TOGETHER else COPIES):
                flags["repeated text"] = cosine
        if has_function_words and len(top) >= FEWEST and spread[top].mean() >= SPREAD * widest:
            flags["function words"] = spread[top].mean() / widest
        found += [
            TopicFlag(number, kind, float(value), [names[j] for j in top], near.tolist(), _ADVICE[kind])
            for kind, value in flags.items()
        ]
    return found


def _beyond(value, usual):
    """Return how far a value is on the way from the usual one to 1."""
    return (value - usual) / np.maximum(1 - usual, 1e-9)


def _togetherness(X, columns, n_rows):
    """Return the median over pairs of columns of the share of the rows with either that have both, beyond chance."""
    if len(columns) < FEWEST:
        return 0.0
    here = _occurrence(X, columns)
    both = (here.T @ here).toarray()  # never-densify-ok: a few columns
    later, earlier = np.tril_indices(len(columns), -1)
    one, other = np.diagonal(both)[later], np.diagonal(both)[earlier]
    together, chance = both[later, earlier], one * other / n_rows
    return np.median(_beyond(together / np.maximum(one + other - together, 1), chance / (one + other - chance)))


def group_words(
    X: Matrix, strata: Labels | str | None = None, n: int = 10, *, feature_names: Names | None = None
) -> dict[Any, list[tuple[str, float]]]:
    """Return the words that are over-represented in each group of rows, with their lift; no model is needed.

    Parameters
    ----------
    X : {sparse matrix or array, array-like} of shape (n_samples, n_features)
        Non-negative, such as counts or TF-IDF.
    strata : array-like of shape (n_samples,), or str, default=None
        Group of each row, or the name of a column of an AnnData or a DataFrame. None: the strata of Readings.
    n : int, default=10
        Maximum number of words of a group.
    feature_names : array-like of shape (n_features,), default=None
        Or a vocabulary: name -> column. None: the names of X, or else the column numbers.

    Returns
    -------
    dict
        Label -> list of pairs (word, lift). The lift of a word is its share of the sum of the group's rows, divided by
        its share of the sum of all rows: above 1, at most the number of times the group goes into all.

    Raises
    ------
    ValueError
        X has negative entries, NaN or infinity, or the labels do not fit it.

    Notes
    -----
    A word that occurs once has the largest lift there is. So the words are in the order of ``p log(p / q)``, their
    parts of the Kullback-Leibler divergence of the shares p in the group from the shares q in all rows.

    Examples
    --------
    >>> from fastnmf.metrics import group_words
    >>> group_words([[3.0, 1, 0], [3, 0, 1]], ["a", "b"], feature_names=["the", "ice", "sun"])
    {'a': [('ice', 2.0)], 'b': [('sun', 2.0)]}
    """
    check_count("n", n)
    names = names_of(X.drop(columns=strata) if isinstance(strata, str) and hasattr(X, "columns") else X)
    X, strata = unpack(X, strata)
    X = _occurrences(X)
    names = names if feature_names is None else feature_names
    names = read_names(range(X.shape[1]) if names is None else names, X.shape[1], n_rows=X.shape[0])
    stratum, labels = encode_labels(strata, X.shape[0])
    is_in = sparse.csr_array((np.ones(len(stratum)), (stratum, np.arange(len(stratum)))), (len(labels), len(stratum)))
    sums = sparse.csr_array(is_in @ X.astype(np.float64))
    totals = np.asarray(sums.sum(axis=0)).ravel()
    found = {}
    for row, label in enumerate(labels.tolist()):
        part = slice(sums.indptr[row], sums.indptr[row + 1])
        at, values = sums.indices[part], sums.data[part]
        at, values = at[values > 0], values[values > 0]
        shares = values / (values.sum() or 1)
        ratios = shares / (totals[at] / totals.sum())
        order = strongest_of((np.arange(len(at)), shares * np.log(ratios)), n)
        found[label] = [(names[at[p]], float(ratios[p])) for p, part in zip(*order, strict=True) if part > 0]
    return found


def _occurrences(X):
    """Return X as a csr_array in which each position is stored once; raise unless its entries are finite and >= 0."""
    if sparse.issparse(X):
        check_kind(X)
        X = as_csr(X, dtype=np.float64)
    else:
        X = sparse.csr_array(as_matrix(X, "X", dtype=None).astype(np.float64, copy=False))
    if not np.isfinite(X.data).all() or (X.data < 0).any():
        raise ValueError("X contains NaN, infinity or negative entries; every entry must be a finite number >= 0.")
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def _names_for(model, given, n_features):
    """Return the names of the features, a list of str: those given, those of the model, or the column numbers."""
    own = getattr(model, "feature_names_in_", None)
    given = (range(n_features) if own is None else own) if given is None else given
    return read_names(given, n_features, own).tolist()


def _listed(name, values, expected):
    """Return what an iterable holds as a list; raise TypeError where it is none, or a text."""
    is_list = np.iterable(values) and not isinstance(values, (str, bytes, Mapping))
    if not is_list:
        raise TypeError(f"{name} has {shown(values)}; expected {expected}.")
    return list(values)


def _topic_number(topic, n_topics):
    """Return the number of a topic as an int."""
    if not isinstance(topic, numbers.Integral) or not 0 <= topic < n_topics:
        raise ValueError(f"{shown(topic)} is not a topic; they have the numbers 0 to {n_topics - 1}.")
    return int(topic)


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
