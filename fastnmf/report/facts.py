"""Gather the contents of a report as plain numbers and strings; only this file and `explained` use estimators."""

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from fastnmf import metrics
from fastnmf.data.annotated import is_annotated, matrix_of, with_layer
from fastnmf.data.matrix import as_csr
from fastnmf.data.names import check_names, names_of, read_names
from fastnmf.data.ranking import feature_scores, specific_to_strata, strongest_of
from fastnmf.data.shifts import as_read, dense_row
from fastnmf.metrics.maps import topic_map
from fastnmf.report.examples import Rows
from fastnmf.report.explained import add_measures
from fastnmf.report.lists import LAMBDA, Words, embedded, joined, words_of
from fastnmf.report.wording import Wording, wording_of

MOST_STRATA, MOST_LISTED = 250, 1000  # strata that have cards, and strata that are named at all
N_TREE_WORDS, N_LISTED = 6, 5
# A stratum is marked by a topic that it uses more than half as much again as all rows do, and for a twentieth at least.
MARKED_LIFT, MARKED_SHARE = 1.5, 0.05


@dataclass
class Stratum:
    """The contents of the page about a stratum; shares are None where the data are not given."""

    code: int
    label: str
    n_rows: int
    words: Words
    most_specific: str = None  # its first feature by contrast, which names it where there is room for one
    usage: np.ndarray = None
    lifts: np.ndarray = None
    marked_by: int = None
    rows: list = field(default_factory=list)
    flags: list = field(default_factory=list)
    explained: float = None
    by_shift: float = None
    by_shared: float = None


@dataclass
class Topic:
    """The contents of the page about a component."""

    number: int
    words: Words
    share: float = None
    usage: list = field(default_factory=list)
    rows: list = field(default_factory=list)
    flags: list = field(default_factory=list)
    npmi: float = None
    umass: float = None
    nearest: int = None
    similarity: float = 0.0
    sparseness: float = 0.0
    is_dead: bool = False
    given_name: str = None
    place: tuple = (0.0, 0.0)

    @property
    def name(self):
        """Return the name that the user gave, or the first three words, which serve as one."""
        return self.given_name or joined(self.words.names[:3]) or "nothing"


@dataclass
class Facts:
    """All contents of a page."""

    title: str
    kind: str
    wording: Wording
    is_squared: bool
    loss_name: str
    n_rows: int
    n_features: int
    n_nonzeros: int
    is_sparse: bool
    n_strata: int
    names: list
    background: np.ndarray
    strata: list
    topics: list
    history: dict
    numbers: dict
    parameters: dict
    has_data: bool
    per_row: float = None
    verdict: str = None
    alternatives: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    diversity: float = None
    kkt: float = None
    tree: list = None
    level: tuple = None  # of the test whose features have stars, and whether it is adjusted for their number
    others: list = field(default_factory=list)
    embedded: str = ""


def gather(model, X, feature_names, row_names, title, kind=None, row_texts=None, specific=None):
    """Return the `Facts` of a fitted model.

    Parameters
    ----------
    model : fitted estimator
    X : sparse matrix or array (n_samples, n_features), or None
    feature_names : sequence of str, or None
    row_names : sequence of str, or None
    title : str, or None
    kind : str, or None
    row_texts : sequence of str, or None
    specific : SpecificFeatures, or None
        All as in `fastnmf.report.write_report`.

    Returns
    -------
    Facts
    """
    if not hasattr(model, "components_"):
        raise ValueError(f"A report needs a fitted model; this {type(model).__name__} has no components_: call fit.")
    wording = wording_of(kind, model, X)
    has_levels = isinstance(model.components_, list)  # a hierarchy: the topics of its finest level are listed
    H = np.asarray(model.components_[0] if has_levels else model.components_, dtype=np.float64)
    W = model.S_[0] if has_levels else getattr(model, "W_", None)
    names = feature_names_of(model, feature_names, H.shape[1])
    X = _checked(model, X, W, H)
    labels, stratum_index, V, sizes = strata_of(model, W)
    is_specific = None
    if specific is not None:
        is_specific = specific_to_strata(specific, getattr(model, "strata_", None), H.shape[1])
    rows = Rows(X, row_names, row_texts, names, labels, stratum_index, 0 if W is None else len(W))
    shown, others, notes = _shown(V, sizes)
    rows.share_room(len(H) + len(shown))
    usage = None if W is None else metrics.component_usage(W, H, stratum_index)
    background = _background(X, W, H, V, sizes)
    loss = _loss_of(model)
    facts = Facts(
        title=title or f"{type(model).__name__} with {len(H)} {wording.topics if len(H) != 1 else wording.topic}",
        kind=type(model).__name__,
        wording=wording,
        is_squared=loss == "frobenius",
        loss_name=loss,
        n_rows=len(W) if W is not None else int(sizes.sum()) if sizes is not None else None,
        n_features=H.shape[1],
        n_nonzeros=None if X is None else int(X.count_nonzero() if sparse.issparse(X) else np.count_nonzero(X)),
        is_sparse=sparse.issparse(X),
        n_strata=0 if labels is None else len(labels),
        names=names,
        background=background,
        strata=[],
        topics=_topics(model, H, W, background, names, rows),
        history={name: np.asarray(values) for name, values in getattr(model, "history_", {}).items()},
        numbers={
            name: getattr(model, name, None)
            for name in ("n_iter_", "converged_", "stopped_by_", "normalized_loss_", "n_revived_")
        },
        parameters=model.get_params(deep=False) if hasattr(model, "get_params") else {},
        has_data=X is not None,
        notes=notes,
        tree=model.to_dict(N_TREE_WORDS, names) if has_levels else None,
        level=None if specific is None else (float(specific.level), specific.correction is not None),
    )
    if has_levels:
        facts.numbers["normalized_loss_"] = float(model.level_errors_[0])
    for code in shown:
        facts.strata.append(_stratum(facts, code, labels, sizes, V, usage, rows))
        if is_specific is not None:
            words = facts.strata[-1].words
            words.starred = frozenset(words.at[is_specific[code, words.at]].tolist())
    for code in others:
        words = words_of(dense_row(V, code), background, names, (LAMBDA,), N_LISTED)
        facts.others.append((labels[code], None if sizes is None else round(float(sizes[code])), words.names))
    _add_usage_to_topics(facts, usage, labels)
    if X is not None:
        add_measures(facts, model, X, H, W, V, rows)
    _name_strata(facts, V, names)
    _mark_strata(facts)
    facts.embedded = embedded(facts, V, shown)
    return facts


def feature_names_of(model, given, n_features):
    """Return the names of the features as a list: those given, or the model's own, or "feature 0", "feature 1" ..."""
    own = getattr(model, "feature_names_in_", None)
    if given is None:
        given = [f"feature {j}" for j in range(n_features)] if own is None else own
    return read_names(given, n_features, own).tolist()


def _loss_of(model):
    """Return the name of a model's loss; "own" for one that is not a divergence between X and the model."""
    if getattr(model, "_has_own_loss", False) or "beta_loss" in getattr(model, "_fixed", {}):
        return "own"
    loss = getattr(model, getattr(model, "_loss_parameter", ""), "frobenius")
    return {2: "frobenius", 1: "kullback-leibler", 0: "itakura-saito"}.get(loss, str(loss))


def _checked(model, X, W, H):
    if X is None:
        return None
    check_names(names_of(X), getattr(model, "feature_names_in_", None))
    X = matrix_of(with_layer(X, getattr(model, "_layer", None)) if is_annotated(X) else X)
    X = as_csr(X) if sparse.issparse(X) else np.asarray(X)
    if X.ndim != 2 or X.shape[1] != H.shape[1]:
        raise ValueError(f"X has shape {X.shape}; the model was fitted to {H.shape[1]} features.")
    if W is not None and len(W) != X.shape[0]:
        raise ValueError(f"X has {X.shape[0]} rows; the model was fitted to {len(W)}: give the training data.")
    return X


def strata_of(model, W):
    """Return labels, the stratum index of each row, shifts and sizes; None for those that the model does not have."""
    V = getattr(model, "shifts_", None)
    if V is None:
        return None, None, None, None
    if getattr(model, "_is_designed", False):
        raise ValueError(
            "A report shows one shift for each row, but this model was fitted with a design; read shifts_ by "
            "shift_names_, or top_features."
        )
    stratum_index = getattr(model, "row_strata_", None)
    if stratum_index is None and V.shape[0] == 1 and W is not None:
        stratum_index = np.zeros(len(W), np.intp)
    sizes = getattr(model, "stratum_sizes_", None)
    if stratum_index is not None:
        sizes = np.bincount(stratum_index, minlength=V.shape[0])
    labels = [str(label) for label in np.asarray(model.strata_).tolist()]
    V = as_read(V) if sparse.issparse(V) else np.asarray(V)
    return labels, stratum_index, V.astype(np.float64, copy=False), None if sizes is None else np.asarray(sizes)


def _background(X, W, H, V, sizes):
    """Return how frequent each feature is: its sum over the data, or else over the model's reconstruction of them.

    Parameters
    ----------
    X : csr_array or ndarray (n_rows, n_features), or None
    W : ndarray (n_rows, k), or None
    H : ndarray (k, n_features)
    V : ndarray or csr_array (n_strata, n_features), or None
    sizes : ndarray (n_strata,), or None
        Number of rows of each stratum.

    Returns
    -------
    ndarray (n_features,) of float64
    """
    if X is not None:
        sums = np.asarray(X.sum(axis=0) if sparse.issparse(X) else np.nansum(X, axis=0), dtype=np.float64).ravel()
        if np.isfinite(sums).all() and sums.max(initial=0) > 0:
            return np.maximum(sums, 0)
    positive = np.maximum(H, 0)
    sums = positive.sum(axis=0) if W is None else np.maximum(W, 0).sum(axis=0, dtype=np.float64) @ positive
    if V is not None:
        sums = sums + (np.ones(V.shape[0]) if sizes is None else sizes.astype(np.float64)) @ V
    return np.maximum(np.asarray(sums, dtype=np.float64).ravel(), 0)


def _topics(model, H, W, background, names, rows):
    """Return the `Topic` of each component.

    Parameters
    ----------
    model : fitted estimator
    H : ndarray (k, n_features)
    W : ndarray (n_rows, k), or None
    background : ndarray (n_features,)
    names : list of str
        Names of the features.
    rows : Rows

    Returns
    -------
    list of Topic
    """
    cosines = metrics.maps.topic_similarity(H)
    np.fill_diagonal(cosines, -1)
    sparsenesses, places = metrics.sparseness(H), topic_map(np.maximum(H, 0))
    overall = None if W is None else metrics.component_usage(W, H)[0]
    topics, given = [], getattr(model, "topic_names_", None)
    for c in range(len(H)):
        topic = Topic(c, words_of(H[c], background, names), sparseness=float(sparsenesses[c]))
        topic.place = tuple(places[c].tolist())
        topic.given_name = None if given is None else given[c]
        topic.is_dead = not H[c].any() or (W is not None and not np.any(W[:, c]))
        if len(H) > 1 and not topic.is_dead:
            topic.nearest, topic.similarity = int(np.argmax(cosines[c])), float(cosines[c].max())
        if W is not None and not topic.is_dead:
            topic.share = float(overall[c])
            topic.rows = rows.strongest(W[:, c])
        if rows.X is not None and not topic.is_dead:
            topic.rows = rows.like(H[c]) or topic.rows
        topics.append(topic)
    return topics


def _shown(V, sizes):
    """Return the rows of V of the strata that have cards and of those that are listed, the largest, and notes."""
    if V is None:
        return [], [], []
    if V.shape[0] <= MOST_STRATA:
        return list(range(V.shape[0])), [], []
    order = np.argsort(-(np.ones(V.shape[0]) if sizes is None else sizes), kind="stable")
    shown, others = np.sort(order[:MOST_STRATA]).tolist(), np.sort(order[MOST_STRATA:MOST_LISTED]).tolist()
    note = (
        f"The page shows the {MOST_STRATA} largest of {V.shape[0]:,} groups; {len(others)} more have a line in a table."
    )
    return shown, others, [note]


def _stratum(facts, code, labels, sizes, V, usage, rows):
    """Return the `Stratum` of a row of V.

    Parameters
    ----------
    facts : Facts
    code : int
    labels : list of str
    sizes : ndarray (n_strata,), or None
        Number of rows of each stratum.
    V : ndarray or csr_array (n_strata, n_features)
    usage : ndarray (n_strata, k), or None
    rows : Rows
    """
    shift = dense_row(V, code)
    n_rows = None if sizes is None else round(float(sizes[code]))
    stratum = Stratum(code, labels[code], n_rows, words_of(shift, facts.background, facts.names))
    if usage is not None and rows.stratum_index is not None:
        stratum.usage = usage[code]
        overall = np.array([topic.share or 0.0 for topic in facts.topics])
        stratum.lifts = np.divide(stratum.usage, overall, out=np.zeros(len(overall)), where=overall > 0)
    if rows.X is not None and rows.stratum_index is not None:
        stratum.rows = rows.like(shift, np.flatnonzero(rows.stratum_index == code))
    return stratum


def _name_strata(facts, V, names):
    if facts.strata:
        scores = list(feature_scores(V, "contrast"))
        for stratum in facts.strata:
            first = strongest_of(scores[stratum.code], 1)[0]
            stratum.most_specific = str(names[first[0]]) if len(first) else None


def _mark_strata(facts):
    """Store in each stratum the topic by which it is marked; topics of repeated text mark none."""
    is_copied = [any(kind == "repeated text" for kind, _ in topic.flags) for topic in facts.topics]
    overall = np.array([topic.share or 0.0 for topic in facts.topics])
    for stratum in facts.strata if len(facts.strata) > 1 else ():
        if stratum.usage is not None:
            is_marked = (stratum.lifts >= MARKED_LIFT) & (stratum.usage >= MARKED_SHARE) & ~np.array(is_copied)
            if is_marked.any():
                stratum.marked_by = int(np.argmax(np.where(is_marked, stratum.usage - overall, -1)))


def _add_usage_to_topics(facts, usage, labels):
    """Store in each topic the strata on the page that use it most, as triples of a position, a share and a lift."""
    if usage is None or labels is None or not facts.strata or facts.strata[0].usage is None or len(labels) < 2:
        return
    shown = np.array([stratum.usage for stratum in facts.strata])
    for c, topic in enumerate(facts.topics):
        order = np.argsort(-shown[:, c], kind="stable")[:6]
        lifts = [float(facts.strata[i].lifts[c]) for i in order]
        topic.usage = [
            (int(i), float(shown[i, c]), lift) for i, lift in zip(order, lifts, strict=True) if shown[i, c] >= 0.005
        ]
