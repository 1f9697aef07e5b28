"""Gather the contents of a report as plain numbers and strings; only this file and `explained` use estimators."""

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from fastnmf import metrics
from fastnmf.data.annotated import is_annotated, matrix_of, with_layer
from fastnmf.data.matrix import as_csr, as_numbers, check_kind
from fastnmf.data.names import check_names, names_of, read_names
from fastnmf.data.ranking import feature_scores, specific_to_strata, strongest_of
from fastnmf.data.readings import Readings, carried
from fastnmf.data.shifts import dense_row, mapped
from fastnmf.metrics.maps import topic_map
from fastnmf.report.examples import Rows
from fastnmf.report.explained import add_measures
from fastnmf.report.groups import groups_of
from fastnmf.report.lists import LAMBDA, Words, embedded, joined, words_of
from fastnmf.report.wording import Wording, wording_of

MOST_STRATA, MOST_LISTED = 250, 1000  # strata that have cards, and strata that are named at all
N_TREE_WORDS, N_LISTED = 6, 5
N_COURSES = 5  # features whose course over the levels of a factor is drawn
# A stratum is marked by a topic that it uses more than half as much again as all rows do, and for a twentieth at least.
MARKED_LIFT, MARKED_SHARE = 1.5, 0.05


@dataclass
class Stratum:
    """The contents of the page about a stratum; shares are None where the data are not given."""

    code: int
    label: str
    n_rows: int
    words: Words
    level: str = ""  # its label without the name of its factor
    most_specific: str = None  # its first feature by contrast, which names it where there is room for one
    usage: np.ndarray = None
    lifts: np.ndarray = None
    marked_by: int = None
    rows: list = field(default_factory=list)
    flags: list = field(default_factory=list)
    explained: float = None
    by_shift: float = None
    by_shared: float = None
    by_own: float = None
    own: list = field(default_factory=list)


@dataclass
class OwnTopic:
    """A component of a single stratum; with tied ones, what the stratum adds to the component of this number."""

    number: int
    words: Words
    share: float


@dataclass
class Factor:
    """Shifts that are alternatives of each other: the strata, or the levels of a factor, or the columns of a design.

    Attributes
    ----------
    name : str
        Empty for strata.
    members : list of int
        Places of its levels among the strata of the page, in order.
    n_levels : int
    features : list of str
        Those whose shifts differ most between the levels.
    positions, ticks, courses : ndarray (n_levels,) of float64, list of (float, str), list of (str, ndarray (n_levels,))
        Of a factor whose levels are numbers or dates: where they lie, marks of the axis, and the shifts of features
        over them.
    gain, chance, answer : float, float, str, or None
        As of `explain`.
    """

    name: str
    members: list
    n_levels: int
    features: list
    positions: np.ndarray = None
    ticks: list = None
    courses: list = field(default_factory=list)
    gain: float = None
    chance: float = None
    answer: str = None


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
    shifts_kind: str  # that of `Groups`, or None
    is_designed: bool
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
    factors: list = field(default_factory=list)
    removed: list = field(default_factory=list)  # factor, answer, gain and chance, as of `explain`
    is_tied: bool = False
    knows_rows: bool = False  # whether it is known which rows have which shift
    embedded: str = ""

    @property
    def intercept(self):
        """Return the stratum of the page that holds what all rows have, or None."""
        return self.strata[0] if self.shifts_kind == "crossed" else None

    @property
    def own(self):
        """Return all components of single strata."""
        return [topic for stratum in self.strata for topic in stratum.own]


def gather(model, X, feature_names, row_names, title, kind=None, row_texts=None, specific=None, **rows_have):
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
    **rows_have
        `strata`, `design` and `exposure` of it.

    Returns
    -------
    Facts
    """
    if not hasattr(model, "components_"):
        raise ValueError(f"A report needs a fitted model; this {type(model).__name__} has no components_: call fit.")
    wording = wording_of(kind, model, X)
    if isinstance(X, Readings):
        rows_have |= {name: each for name, each in carried(X, **rows_have).items() if name in _used(model)}
        row_texts = X.get("texts") if row_texts is None else row_texts
        row_names = X.get("titles") if row_names is None else row_names
        row_names = X.get("row_names") if row_names is None else row_names
    row_names = getattr(model, "row_names_", None) if row_names is None else row_names
    has_levels = isinstance(model.components_, list)  # a hierarchy: the topics of its finest level are listed
    H = np.asarray(model.components_[0] if has_levels else model.components_, dtype=np.float64)
    W = model.S_[0] if has_levels else getattr(model, "W_", None)
    names = feature_names_of(model, feature_names, H.shape[1])
    X = _checked(model, X, W, H)
    groups = groups_of(model, W, H, **rows_have)
    V, sizes, labels = (None,) * 3 if groups is None else (groups.V, groups.sizes, groups.labels)
    is_specific = None
    if specific is not None:
        is_specific = specific_to_strata(specific, getattr(model, "strata_", None), H.shape[1])
    of_rows = (None, None) if groups is None else groups.labels_of_rows()
    rows = Rows(X, row_names, row_texts, names, *of_rows, 0 if W is None else len(W))
    shown, others, notes = _shown(V, sizes)
    rows.share_room(len(H) + len(shown))
    usage = None if W is None or groups is None else groups.usage(W, H)
    background = _background(X, W, H, V, sizes)
    loss = _loss_of(model)
    facts = Facts(
        title=title or f"{type(model).__name__} with {len(H)} {wording.topics if len(H) != 1 else wording.topic}",
        kind=type(model).__name__,
        wording=wording,
        is_squared=loss == "frobenius",
        loss_name=loss,
        n_rows=len(W) if W is not None else None if sizes is None else int(sizes[groups.blocks[0].rows].sum()),
        n_features=H.shape[1],
        n_nonzeros=None if X is None else int(X.count_nonzero() if sparse.issparse(X) else np.count_nonzero(X)),
        is_sparse=sparse.issparse(X),
        n_strata=0 if labels is None else len(labels),
        shifts_kind=None if groups is None else groups.kind,
        is_designed=groups is not None and groups.is_designed,
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
        facts.strata.append(_stratum(facts, code, groups, usage, rows))
        if is_specific is not None:
            words = facts.strata[-1].words
            words.starred = frozenset(words.at[is_specific[code, words.at]].tolist())
    for code in others:
        words = words_of(dense_row(V, code), background, names, (LAMBDA,), N_LISTED)
        facts.others.append((labels[code], None if sizes is None else round(float(sizes[code])), words.names))
    if groups is not None:
        facts.knows_rows = groups.member is not None
        _add_own(facts, groups)
        _add_factors(facts, groups)
    _add_usage_to_topics(facts)
    if X is not None:
        add_measures(facts, model, X, H, W, groups, rows)
    if groups is not None:
        _name_strata(facts, groups)
    _mark_strata(facts)
    facts.embedded = embedded(facts, V, shown)
    return facts


def _used(model):
    """Return what a report uses of what readings have, beyond what the model keeps: nothing if that is one label."""
    return model._uses_of_rows(False) if getattr(model, "_is_designed", False) else ()


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
    check_kind(X)
    X = as_csr(X) if sparse.issparse(X) else np.asarray(X)
    X = as_numbers(X, "X") if X.dtype == object else X
    if X.ndim != 2 or X.shape[1] != H.shape[1]:
        raise ValueError(f"X has shape {X.shape}; the model was fitted to {H.shape[1]} features.")
    if W is not None and len(W) != X.shape[0]:
        raise ValueError(f"X has {X.shape[0]} rows; the model was fitted to {len(W)}: give the training data.")
    return X


def _background(X, W, H, V, sizes):
    """Return how frequent each feature is: its sum over the data, or else over the model's reconstruction of them.

    Parameters
    ----------
    X : csr_array or ndarray (n_rows, n_features), or None
    W : ndarray (n_rows, k), or None
    H : ndarray (k, n_features)
    V : ndarray or csr_array (n_shifts, n_features), or None
    sizes : ndarray (n_shifts,), or None
        Number of rows that have each shift.

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


def _stratum(facts, code, groups, usage, rows):
    """Return the `Stratum` of a shift.

    Parameters
    ----------
    facts : Facts
    code : int
    groups : Groups
    usage : ndarray (n_shifts, k), or None
    rows : Rows
    """
    shift, sizes = dense_row(groups.V, code), groups.sizes
    n_rows = None if sizes is None else round(float(sizes[code]))
    stratum = Stratum(code, groups.labels[code], n_rows, words_of(shift, facts.background, facts.names))
    block = next((each for each in groups.blocks if each.rows.start <= code < each.rows.stop), None)
    stratum.level = stratum.label if block is None else block.levels[code - block.rows.start]
    if block is None:  # the intercept, which all rows have
        return stratum
    if usage is not None:
        stratum.usage = usage[code]
        overall = np.array([topic.share or 0.0 for topic in facts.topics])
        stratum.lifts = np.divide(stratum.usage, overall, out=np.zeros(len(overall)), where=overall > 0)
    if rows.X is not None and groups.member is not None and groups.kind != "matrix":
        stratum.rows = rows.like(shift, groups.members(code))
    return stratum


def _add_own(facts, groups):
    """Store in each stratum of the page its own components."""
    facts.is_tied, place = groups.is_tied, {stratum.code: stratum for stratum in facts.strata}
    for code, number, weights, share in groups.own:
        if code in place:
            words = words_of(weights, facts.background, facts.names)
            place[code].own.append(OwnTopic(number, words, share))


def _add_factors(facts, groups):
    """Store the blocks of shifts, with the features that differ most between their levels."""
    for block in groups.blocks:
        V = groups.V[block.rows]
        sizes = np.ones(V.shape[0]) if groups.sizes is None else groups.sizes[block.rows].astype(np.float64)
        shares = sizes / sizes.sum()
        squares = np.ravel(shares @ mapped(V, np.square))
        spread = np.maximum(squares - np.square(np.ravel(shares @ V)), 0)
        first = strongest_of((np.arange(len(spread)), spread), N_LISTED)[0]
        members = [at for at, s in enumerate(facts.strata) if block.rows.start <= s.code < block.rows.stop]
        factor = Factor(block.name, members, V.shape[0], [str(facts.names[j]) for j in first])
        if block.positions is not None:
            factor.positions, factor.ticks = block.positions, block.ticks
            courses = V[:, first[:N_COURSES]]
            courses = courses.toarray() if sparse.issparse(courses) else courses  # never-densify-ok: a few columns
            factor.courses = list(zip(factor.features, courses.T, strict=True))
        facts.factors.append(factor)


def _name_strata(facts, groups):
    place = {stratum.code: stratum for stratum in facts.strata}
    for block in groups.blocks:
        for code, scores in enumerate(feature_scores(groups.V[block.rows], "contrast"), block.rows.start):
            if code in place:
                first = strongest_of(scores, 1)[0]
                place[code].most_specific = str(facts.names[first[0]]) if len(first) else None


def _mark_strata(facts):
    """Store in each stratum the topic by which it is marked; topics of repeated text mark none."""
    is_copied = [any(kind == "repeated text" for kind, _ in topic.flags) for topic in facts.topics]
    overall = np.array([topic.share or 0.0 for topic in facts.topics])
    for stratum in facts.strata if len(facts.strata) > 1 else ():
        if stratum.usage is not None:
            is_marked = (stratum.lifts >= MARKED_LIFT) & (stratum.usage >= MARKED_SHARE) & ~np.array(is_copied)
            if is_marked.any():
                stratum.marked_by = int(np.argmax(np.where(is_marked, stratum.usage - overall, -1)))


def _add_usage_to_topics(facts):
    """Store in each topic the strata on the page that use it most, as triples of a position, a share and a lift."""
    using = [at for at, stratum in enumerate(facts.strata) if stratum.usage is not None]
    if len(using) < 2:
        return
    shown = np.array([facts.strata[at].usage for at in using])
    for c, topic in enumerate(facts.topics):
        order = np.argsort(-shown[:, c], kind="stable")[:6]
        most = [(using[i], float(shown[i, c])) for i in order if shown[i, c] >= 0.005]
        topic.usage = [(at, share, float(facts.strata[at].lifts[c])) for at, share in most]
