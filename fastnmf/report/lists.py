"""Choose the features that the page lists for a topic or a stratum, and what the page needs to order them anew."""

import json
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from fastnmf.data.shifts import dense_row
from fastnmf.metrics.maps import lift, relevance

LAMBDA = 0.6  # weight of the probability against the lift: that of pyLDAvis
STOPS = np.linspace(0, 1, 11)  # of the slider of the page
N_SHOWN = 10  # features that a list shows as bars
# Characters that a page replaces; the last two ranges turn the direction of the text after them.
_CONTROLS = (*range(9), 11, 12, *range(14, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
CONTROLS = dict.fromkeys(_CONTROLS, "\ufffd")
MOST_ENTRIES = 100_000  # of the table by which strata are compared: about 1 MB of the page


@dataclass
class Words:
    """Features in the order of their relevance.

    Attributes
    ----------
    at : ndarray (q,) of int
        Their columns.
    names : list of str
    values : list of float
        Their weights.
    lifts : list of float
        How many times more frequent each is here than in all data.
    total : float
        Sum of the weights of all features.
    starred : frozenset of int
        Columns of the features with a star.
    """

    at: np.ndarray
    names: list
    values: list
    lifts: list
    total: float = 0.0
    starred: frozenset = frozenset()


def joined(names):
    """Return names in a row, with commas between them where a name has a blank."""
    return (", " if any(" " in name for name in names) else " ").join(names)


def words_of(weights, background, names, stops=STOPS, n=N_SHOWN):
    """Return the features that are among the first n at any stop of the slider, in the order of the relevance at 0.6.

    Parameters
    ----------
    weights : ndarray (n_features,)
        Of one topic or stratum. Entries that are not positive are left out.
    background : ndarray (n_features,)
        Sums of the features in all data. Features that the data do not have are left out.
    names : list of str
    stops : sequence of float, default=STOPS
    n : int, default=10

    Returns
    -------
    Words
    """
    (at,) = np.nonzero((weights > 0) & (background > 0))
    if len(at) == 0:
        return Words(at, [], [], [])
    values, here = weights[at].astype(np.float64), background[at]
    # The logarithm of the lift among these features; those that are left out shift all of them alike.
    probable, specific = (relevance(values[None], here, weight)[0] for weight in (1, 0))
    pool = set()
    for stop in stops:
        scores = stop * probable + (1 - stop) * specific
        pool.update(_first(scores, n).tolist())
    pool = np.array(sorted(pool))
    order = pool[np.argsort(-(LAMBDA * probable + (1 - LAMBDA) * specific)[pool], kind="stable")]
    lifts = lift(values[None], here)[0] * (background.sum() / here.sum())
    chosen = at[order]
    return Words(chosen, [names[j] for j in chosen], values[order].tolist(), lifts[order].tolist(), float(values.sum()))


def _first(scores, n):
    """Return the places of the n largest scores, ties by the place."""
    at = np.arange(len(scores))
    if len(scores) > n:
        at = np.flatnonzero(scores >= np.partition(scores, len(scores) - n)[-n])
    return at[np.argsort(-scores[at], kind="stable")[:n]]


def embedded(facts, V, shown):
    """Return what the script of the page reads, as JSON without a character that has a meaning in HTML.

    Parameters
    ----------
    facts : Facts
    V : ndarray or csr_array (n_strata, n_features), or None
    shown : list of int
        Rows of V of the strata on the page.

    Returns
    -------
    str
        An object: ``words``, names; ``q``, their shares in all data; ``topics``, ``groups`` and ``own``, for each the
        sum of the weights, places in ``words``, weights, and for a group with stars the places of those that have one;
        ``compared``, the places of the words by which two groups are compared.
    """
    topics, groups, own = ([part.words for part in parts] for parts in (facts.topics, facts.strata, facts.own))
    compared = _compared(groups, V, shown) if len(groups) > 1 else np.zeros(0, np.intp)
    used = [words.at for words in (*topics, *groups, *own)]
    columns = np.unique(np.concatenate([compared, *used])).astype(np.intp)
    shares = facts.background[columns] / max(float(facts.background.sum()), 1e-300)
    place = {column: number for number, column in enumerate(columns.tolist())}
    found = {
        "words": [facts.names[j].translate(CONTROLS) for j in columns],
        "q": _short(shares),
        "compared": [place[j] for j in compared.tolist()],
        "topics": [_entries(words.total, words.at, words.values, place) for words in topics],
        "groups": [],
        "own": [_entries(words.total, words.at, words.values, place) for words in own],
    }
    for words, code in zip(groups, shown, strict=True):
        at, values = words.at, np.array(words.values)
        if len(compared):
            shift = dense_row(V, code)
            at = np.union1d(at, compared[shift[compared] > 0]).astype(np.intp)
            values = shift[at]
        starred = [[place[j] for j in sorted(words.starred)]] if words.starred else []
        found["groups"].append(_entries(words.total, at, values, place) + starred)
    return json.dumps(found, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")


def _compared(groups, V, shown):
    """Return the columns by which two strata are compared, as many as the page has room for."""
    for n in (30, 10, 5):
        columns = np.unique(np.concatenate([words.at[:n] for words in groups])).astype(np.intp)
        part = V[:, columns][shown]
        if (part.count_nonzero() if sparse.issparse(part) else np.count_nonzero(part)) <= MOST_ENTRIES:
            return columns
    return np.zeros(0, np.intp)


def _entries(total, at, values, place):
    return [*_short([total]), [place[j] for j in at.tolist()], _short(values)]


def _short(values):
    """Return numbers with four digits, which JSON writes in few characters."""
    return [float(f"{value:.4g}") for value in np.asarray(values, dtype=np.float64).tolist()]
