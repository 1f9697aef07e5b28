"""Gather the contents of a report as plain numbers and strings. Only this file of the report uses estimators."""

import warnings
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from fastnmf import metrics
from fastnmf.data.annotated import is_annotated, matrix_of, with_layer
from fastnmf.data.matrix import as_csr
from fastnmf.data.names import check_names, names_of, read_names
from fastnmf.data.ranking import feature_scores, strongest_of
from fastnmf.data.shifts import as_read, dense_row

MOST_STRATA = 250
N_WORDS = 40  # words in a list; the page shows the first of them as bars
N_ROWS = 5
LONGEST_ROW = 160
ALIKE = 0.8  # two components with at least this cosine count as nearly the same
COHERENCE_WORDS = 10
N_TREE_WORDS = 6


@dataclass
class Words:
    """Features, strongest first, and their weights."""

    names: list
    values: list


@dataclass
class Row:
    """A typical row of a stratum or of a topic."""

    number: int
    stratum: str
    text: str


@dataclass
class Stratum:
    """The contents of the page about a stratum; shares are None where the data are not given."""

    code: int
    label: str
    n_rows: int
    shift: Words
    above: Words
    usage: np.ndarray = None
    rows: list = field(default_factory=list)
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
    npmi: float = None
    umass: float = None
    nearest: int = None
    similarity: float = 0.0
    sparseness: float = 0.0
    is_dead: bool = False
    given_name: str = None

    @property
    def name(self):
        """Return the name that the user gave, or the first three words, which serve as one."""
        return self.given_name or " ".join(self.words.names[:3]) or "nothing"


@dataclass
class Facts:
    """All contents of a page."""

    title: str
    kind: str
    is_squared: bool
    loss_name: str
    n_rows: int
    n_features: int
    n_nonzeros: int
    is_sparse: bool
    n_strata: int
    strata: list
    topics: list
    history: dict
    numbers: dict
    parameters: dict
    has_shifts: bool
    verdict: str = None
    notes: list = field(default_factory=list)
    diversity: float = None
    kkt: float = None
    tree: list = None


def gather(model, X, feature_names, row_names, title):
    """Return the `Facts` of a fitted model.

    Parameters
    ----------
    model : fitted estimator
    X : sparse matrix or array (n_samples, n_features), or None
    feature_names : sequence of str, or None
    row_names : sequence of str, or None
    title : str, or None
        All as in `fastnmf.report.write_report`.

    Returns
    -------
    Facts
    """
    if not hasattr(model, "components_"):
        raise ValueError(f"A report needs a fitted model; this {type(model).__name__} has no components_: call fit.")
    has_levels = isinstance(model.components_, list)  # a hierarchy: the topics of its finest level are listed
    H = np.asarray(model.components_[0] if has_levels else model.components_, dtype=np.float64)
    W = model.S_[0] if has_levels else getattr(model, "W_", None)
    names = feature_names_of(model, feature_names, H.shape[1])
    X = _checked(model, X, W, H)
    labels, stratum_index, V, sizes = strata_of(model, W)
    rows = _Rows(X, row_names, names, labels, stratum_index, 0 if W is None else len(W))
    usage = None if W is None else metrics.component_usage(W, H, stratum_index)
    loss = getattr(model, getattr(model, "_loss_parameter", ""), "frobenius")
    facts = Facts(
        title=title or f"{type(model).__name__} with {len(H)} topics",
        kind=type(model).__name__,
        is_squared=loss in ("frobenius", 2),
        loss_name={2: "frobenius", 1: "kullback-leibler", 0: "itakura-saito"}.get(loss, str(loss)),
        n_rows=len(W) if W is not None else int(sizes.sum()) if sizes is not None else None,
        n_features=H.shape[1],
        n_nonzeros=None if X is None else int(X.count_nonzero() if sparse.issparse(X) else np.count_nonzero(X)),
        is_sparse=sparse.issparse(X),
        n_strata=0 if labels is None else len(labels),
        strata=[],
        topics=_topics(model, H, W, usage, names, rows),
        history={name: np.asarray(values) for name, values in getattr(model, "history_", {}).items()},
        numbers={
            name: getattr(model, name, None)
            for name in ("n_iter_", "converged_", "stopped_by_", "normalized_loss_", "n_revived_")
        },
        parameters=model.get_params(deep=False) if hasattr(model, "get_params") else {},
        has_shifts=V is not None,
        tree=model.to_dict(N_TREE_WORDS, names) if has_levels else None,
    )
    if has_levels:
        facts.numbers["normalized_loss_"] = float(model.level_errors_[0])
    if V is not None:
        _add_strata(facts, labels, sizes, V, usage, names, rows, X)
    _add_usage_to_topics(facts, usage, labels)
    if X is not None:
        _add_measures(facts, model, X, H, W, V, stratum_index)
    return facts


def feature_names_of(model, given, n_features):
    """Return the names of the features as a list: those given, or the model's own, or "feature 0", "feature 1" ..."""
    own = getattr(model, "feature_names_in_", None)
    if given is None:
        given = [f"feature {j}" for j in range(n_features)] if own is None else own
    return read_names(given, n_features, own).tolist()


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
    stratum_index = getattr(model, "row_strata_", None)
    if stratum_index is None and V.shape[0] == 1 and W is not None:
        stratum_index = np.zeros(len(W), np.intp)
    sizes = getattr(model, "stratum_sizes_", None)
    if stratum_index is not None:
        sizes = np.bincount(stratum_index, minlength=V.shape[0])
    labels = [str(label) for label in np.asarray(model.strata_).tolist()]
    V = as_read(V) if sparse.issparse(V) else np.asarray(V)
    return labels, stratum_index, V.astype(np.float64, copy=False), None if sizes is None else np.asarray(sizes)


def _words(weights, names):
    """Return the strongest positive entries of a vector, ties by position."""
    at = np.flatnonzero(weights > 0)
    if len(at) > N_WORDS:
        found = weights[at]
        at = at[found >= np.partition(found, len(at) - N_WORDS)[-N_WORDS]]
    at = at[np.argsort(-weights[at], kind="stable")][:N_WORDS]
    return Words([names[j] for j in at], weights[at].tolist())


class _Rows:
    """The rows of the data, with the label and the text that the page shows for each.

    Parameters
    ----------
    X : csr_array or ndarray (n_rows, n_features), or None
    row_names : sequence of str, or None
    names : list of str
        Names of the features.
    labels : list of str, or None
        Labels of the strata.
    stratum_index : ndarray (n_rows,) of int, or None
    n_rows : int
        Number of rows if X is None.
    """

    def __init__(self, X, row_names, names, labels, stratum_index, n_rows):
        n_rows = n_rows if X is None else X.shape[0]
        if row_names is not None and len(row_names) != n_rows:
            raise ValueError(f"row_names has {len(row_names)} names for {n_rows} rows.")
        self.X, self.row_names, self.names, self.labels, self.stratum_index = X, row_names, names, labels, stratum_index

    def __getitem__(self, number):
        known = self.stratum_index is not None and len(self.labels) > 1
        return Row(int(number), self.labels[self.stratum_index[number]] if known else "", self._text(number))

    def _text(self, number):
        if self.row_names is not None:
            text = " ".join(str(self.row_names[number]).split())
            return text if len(text) <= LONGEST_ROW else text[: LONGEST_ROW - 1] + "…"
        if not sparse.issparse(self.X):
            return ""
        part = slice(self.X.indptr[number], self.X.indptr[number + 1])
        order = np.argsort(-self.X.data[part], kind="stable")[:8]
        return " ".join(self.names[j] for j in self.X.indices[part][order])


def _topics(model, H, W, usage, names, rows):
    """Return the `Topic` of each component.

    Parameters
    ----------
    model : fitted estimator
    H : ndarray (k, n_features)
    W : ndarray (n_rows, k), or None
    usage : ndarray (n_strata, k), or None
    names : list of str
        Names of the features.
    rows : _Rows

    Returns
    -------
    list of Topic
    """
    lengths = np.linalg.norm(H, axis=1)
    units = np.divide(H, lengths[:, None], out=np.zeros_like(H), where=lengths[:, None] > 0)
    cosines = units @ units.T
    np.fill_diagonal(cosines, -1)
    sparsenesses = metrics.sparseness(H)
    overall = None if W is None else metrics.component_usage(W, H)[0]
    topics, given = [], getattr(model, "topic_names_", None)
    for c in range(len(H)):
        topic = Topic(c + 1, _words(H[c], names), sparseness=float(sparsenesses[c]))
        topic.given_name = None if given is None else given[c]
        topic.is_dead = lengths[c] == 0 or (W is not None and not np.any(W[:, c]))
        if len(H) > 1 and not topic.is_dead:
            topic.nearest, topic.similarity = int(np.argmax(cosines[c])) + 1, float(cosines[c].max())
        if W is not None and not topic.is_dead:
            topic.share = float(overall[c])
            strongest = np.argsort(-W[:, c], kind="stable")[:N_ROWS]
            topic.rows = [rows[r] for r in strongest if W[r, c] > 0]
        topics.append(topic)
    return topics


def _add_strata(facts, labels, sizes, V, usage, names, rows, X):
    """Add a `Stratum` for each of the largest strata.

    Parameters
    ----------
    facts : Facts
        Its strata and notes are extended.
    labels : list of str
    sizes : ndarray (n_strata,), or None
        Number of rows of each stratum.
    V : ndarray or csr_array (n_strata, n_features)
    usage : ndarray (n_strata, k), or None
    names : list of str
        Names of the features.
    rows : _Rows
    X : csr_array or ndarray (n_rows, n_features), or None
    """
    shown = np.arange(V.shape[0])
    if V.shape[0] > MOST_STRATA:
        weights = np.ones(V.shape[0]) if sizes is None else sizes
        shown = np.sort(np.argsort(-weights, kind="stable")[:MOST_STRATA])
        facts.notes.append(f"The page shows the {MOST_STRATA} largest of {V.shape[0]:,} strata.")
    for i, scores in enumerate(feature_scores(V, "contrast")):
        if i not in shown:
            continue
        shift, (at, values) = dense_row(V, i), strongest_of(scores, N_WORDS)
        stratum = Stratum(
            int(i),
            labels[i],
            None if sizes is None else round(float(sizes[i])),
            _words(shift, names),
            Words([names[j] for j in at], values.tolist()),
        )
        if usage is not None and rows.stratum_index is not None:
            stratum.usage = usage[i]
        if X is not None and rows.stratum_index is not None:
            stratum.rows = [rows[r] for r in _typical(X, np.flatnonzero(rows.stratum_index == i), shift)]
        facts.strata.append(stratum)


def _typical(X, members, shift):
    """Return the rows of a stratum with the largest cosine to its shift.

    Rows with fewer non-zeros than the median are left out.

    Parameters
    ----------
    X : csr_array or ndarray (n_rows, n_features)
    members : ndarray of int
        Rows of the stratum.
    shift : ndarray (n_features,)
    """
    part = X[members]
    counts = np.diff(part.indptr) if sparse.issparse(part) else np.count_nonzero(part, axis=1)
    squares = part.multiply(part).sum(axis=1) if sparse.issparse(part) else np.einsum("ij,ij->i", part, part)
    lengths = np.sqrt(np.asarray(squares, dtype=np.float64)).ravel()
    along = np.asarray(part @ shift).ravel()
    cosines = np.divide(along, lengths, out=np.zeros(len(members)), where=lengths > 0)
    cosines[counts < np.median(counts) if len(counts) else []] = 0
    best = np.argsort(-cosines, kind="stable")[:N_ROWS]
    return members[best[cosines[best] > 0]]


def _add_usage_to_topics(facts, usage, labels):
    """Store in each topic the strata on the page that use it most, as pairs of a position on the page and a share."""
    if usage is None or labels is None or not facts.strata or facts.strata[0].usage is None or len(labels) < 2:
        return
    shown = np.array([stratum.usage for stratum in facts.strata])
    for c, topic in enumerate(facts.topics):
        order = np.argsort(-shown[:, c], kind="stable")[:6]
        topic.usage = [(int(i), float(shown[i, c])) for i in order if shown[i, c] >= 0.005]


def _add_measures(facts, model, X, H, W, V, stratum_index):
    """Add the quantities that need the data: coherence, KKT residual, explained shares.

    Parameters
    ----------
    facts : Facts
        Its topics, strata and notes are changed.
    model : fitted estimator
    X : csr_array or ndarray (n_rows, n_features)
    H : ndarray (k, n_features)
    W : ndarray (n_rows, k), or None
    V : ndarray or csr_array (n_strata, n_features), or None
    stratum_index : ndarray (n_rows,) of int, or None
    """
    for name in metrics.topics.MEASURES:
        values = metrics.coherence(H, X, measure=name, n_top=COHERENCE_WORDS)
        for topic, value in zip(facts.topics, values, strict=True):
            setattr(topic, name, None if np.isnan(value) else float(value))
    facts.diversity = metrics.diversity(H, n_top=COHERENCE_WORDS)
    if not facts.is_squared or W is None:
        return
    if V is not None and (
        stratum_index is None or len(np.unique(stratum_index)) < V.shape[0]
    ):  # a stratum may have no rows
        return
    values = X.data if sparse.issparse(X) else X
    if not np.isfinite(values).all():
        facts.notes.append("The data have missing entries, so the explained shares of the strata are not shown.")
        return
    own, found = facts.numbers["normalized_loss_"], metrics.normalized_loss(X, W, H, V, stratum_index)
    if own is not None and not np.isclose(found, own, rtol=1e-4, atol=1e-9):
        facts.notes.append(
            f"On the given data the loss of the model is {found:.4g}; in its fit it was {own:.4g}. X holds other data, "
            "or the fit had weights or missing entries. The explained shares of the strata are not shown."
        )
        return
    if not any(facts.parameters.get(name) for name in ("alpha_W", "alpha_V", "fixed_components", "seed_features")):
        facts.kkt = metrics.kkt_residual(X, W, H, V, stratum_index)
    if hasattr(model, "explain") and len(facts.strata):
        with warnings.catch_warnings():  # X is an array here, without feature names
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            found = model.explain(X, strata=model.strata_[stratum_index])
        facts.verdict = found.verdict if V.shape[0] > 1 else None
        for stratum in facts.strata:
            part = found.strata[stratum.code]
            stratum.explained, stratum.by_shift, stratum.by_shared = part.explained, part.by_shift, part.by_shared
