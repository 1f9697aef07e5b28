"""Plot topics beside each other: a map, and their similarities."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from fastnmf.data.matrix import as_numbers
from fastnmf.metrics.maps import topic_map, topic_similarity
from fastnmf.plots.labels import place_labels
from fastnmf.plots.source import is_model, names_of_features, shares_of, some_of, topic_titles, topics_of
from fastnmf.plots.style import (
    BAR,
    GRID,
    INK,
    Style,
    axes_or_new,
    cell_numbers,
    check_flag,
    colour_bar,
    explained,
    lay_out,
    letters,
    look_of,
    settle,
    ticks,
    titled,
)
from fastnmf.typing import Dense, FittedModel, Labels, Names, Vector


def plot_topic_map(
    model: Dense | FittedModel,
    feature_names: Names | None = None,
    *,
    n: int = 2,
    shares: Vector | None = None,
    titles: Labels | None = None,
    components: Labels | None = None,
    coordinates: Dense | None = None,
    ax: Any = None,
    style: Style = "paper",
) -> Any:
    """Draw topics as bubbles in the plane: similar topics lie close together, and the area is a topic's share.

    Parameters
    ----------
    model : fitted model, or array-like of shape (n_topics, n_features)
        Non-negative topics.
    feature_names : array-like of shape (n_features,), default=None
        None: those of the model. Without names, the labels are the numbers of the topics.
    n : int, default=2
        Features in a label, those of the largest lift. 0: the number of the topic alone.
    shares : array-like of shape (n_topics,), default=None
        Areas of the bubbles, in any unit. None: the share of each topic in what the topics of a model bring; equal for
        an array and for a model that keeps no weights of rows.
    titles : sequence of n_topics, default=None
        Labels, in place of the number and the features.
    components : sequence of int, default=None
        Topics to draw, at the places that they have among all. None: all.
    coordinates : array-like of shape (n_topics, 2), default=None
        Places of the topics. None: `fastnmf.metrics.topic_map`.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Both axes have one scale, so that distances can be compared. A topic without weights is not drawn.

    Raises
    ------
    ValueError
        If topics have negative entries, lengths do not fit, or a topic is not there.
    ImportError
        If matplotlib is not installed and no axes are given.

    Notes
    -----
    As in LDAvis (Sievert and Shirley 2014, doi:10.3115/v1/W14-3110). No label overlaps another: where there is no room
    for the features, a label is the number alone. The labels are placed for the size that the figure has.

    Examples
    --------
    >>> from fastnmf.plots import plot_topic_map
    >>> ax = plot_topic_map([[1.0, 1, 0], [0, 1, 1]], ["ice", "snow", "sun"], n=1)  # doctest: +SKIP
    """
    look = look_of(style)
    H = topics_of(model)
    at = topic_map(H) if coordinates is None else as_numbers(coordinates, "coordinates").astype(np.float64)
    if at.shape != (len(H), 2):
        raise ValueError(f"coordinates has shape {at.shape}; expected {(len(H), 2)}, a point for each topic.")
    names, has_names = names_of_features(feature_names, model, H.shape[1])
    titles = _titles(model, titles, names if has_names else None, n)
    if shares is None:
        shares = shares_of(model) if is_model(model) else None
    shares = np.ones(len(H)) if shares is None else as_numbers(shares, "shares").astype(np.float64)
    if shares.shape != (len(H),) or not np.isfinite(shares).all() or (shares < 0).any():
        raise ValueError(f"shares has shape {shares.shape}; expected {len(H)} finite numbers >= 0, one for each topic.")
    shown = some_of(components, len(H))
    shown = shown[(H[shown] > 0).any(axis=1)]
    ax = axes_or_new(ax, look, (look.width, 0.8 * look.width))
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_color(GRID)
    titled(ax, "Topics by their Jensen-Shannon distances" if coordinates is None else "Topics", look)
    largest = shares[shown].max(initial=0.0)
    part = shares.sum() or 1.0
    meaning = f"area: share of the topic; the largest has {100 * largest / part:.0f} %"
    if largest > shares[shown].min(initial=np.inf):
        explained(ax, meaning, look)
    if not len(shown):
        return ax
    lay_out(ax)
    window = ax.get_window_extent()
    _limit(ax, at[shown], window)
    most = 0.075 * min(window.width, window.height) * 72 / ax.figure.dpi
    radius = np.maximum(most * np.sqrt(shares[shown] / (largest or 1.0)), 2.0)
    order = np.argsort(-radius, kind="stable")  # small bubbles lie on large ones
    drawn = {"color": BAR, "alpha": 0.55, "edgecolors": "white", "linewidths": 0.8}
    ax.scatter(*at[shown][order].T, s=(2 * radius[order]) ** 2, zorder=3, **drawn)
    place_labels(ax, at[shown], radius, [titles[c] for c in shown], [str(c) for c in shown], look)
    return ax


def plot_topic_similarity(
    model: Dense | FittedModel,
    feature_names: Names | None = None,
    *,
    n: int = 2,
    titles: Labels | None = None,
    components: Labels | None = None,
    ordered: bool = True,
    ax: Any = None,
    style: Style = "paper",
) -> Any:
    """Draw the cosines of each two topics as a heat map, with similar topics beside each other.

    Parameters
    ----------
    model : fitted model, or array-like of shape (n_topics, n_features)
    feature_names : array-like of shape (n_features,), default=None
        None: those of the model. Without names, the labels are the numbers of the topics.
    n : int, default=2
        Features in a label, those of the largest lift. 0: the number of the topic alone.
    titles : sequence of n_topics, default=None
        Labels, in place of the number and the features.
    components : sequence of int, default=None
        Topics to draw. None: all.
    ordered : bool, default=True
        Whether similar topics stand beside each other. False: in the order of their numbers, or of `components`.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure, whose size follows the number of topics.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Columns are called by the numbers of the topics. If there is room, a cell shows 100 times its cosine. The
        diagonal is grey; the colours span the other cosines, up to 0.25 at least.

    Raises
    ------
    ValueError
        If lengths do not fit, or a topic is not there.
    ImportError
        If matplotlib is not installed and no axes are given.

    Notes
    -----
    The order is that of the leaves of average linkage, with the sum of the distances of neighbours as small as it can
    be (Bar-Joseph, Gifford, Jaakkola 2001, doi:10.1093/bioinformatics/17.suppl_1.S22).

    Examples
    --------
    >>> from fastnmf.plots import plot_topic_similarity
    >>> ax = plot_topic_similarity([[1.0, 0], [0, 1], [1, 0.1]])  # doctest: +SKIP
    >>> [label.get_text() for label in ax.get_xticklabels()]  # doctest: +SKIP
    ['0', '2', '1']
    """
    look = look_of(style)
    check_flag("ordered", ordered)
    H = topics_of(model)
    names, has_names = names_of_features(feature_names, model, H.shape[1])
    titles = _titles(model, titles, names if has_names else None, n)
    shown = some_of(components, len(H))
    cosines = topic_similarity(H[shown])
    if ordered and len(shown) > 2:
        apart = np.maximum(1 - cosines, 0)
        np.fill_diagonal(apart, 0)
        order = leaves_list(linkage(squareform(apart, checks=False), "average", optimal_ordering=True))
        order = order[::-1] if order[0] > order[-1] else order
        shown, cosines = shown[order], cosines[np.ix_(order, order)]
    rows = [titles[c] for c in shown]
    side = 1.9 * len(shown) + 4
    width = side + 0.5 * min(max(map(len, rows)), 28) + 6
    ax = axes_or_new(ax, look, (look.inches(max(width, 30)), look.inches(max(side, 22))))
    others = ~np.eye(len(shown), dtype=bool)
    largest = max(np.abs(cosines[others]).max(initial=0.0), 0.25)
    lowest = -largest if cosines.min() < -1e-9 else 0.0
    drawn = np.where(others, cosines, np.nan)  # the colours tell topics apart, not a topic from itself
    cmap = "Blues" if lowest == 0 else "cividis"
    image = ax.imshow(drawn, cmap=cmap, vmin=lowest, vmax=largest, aspect="equal", interpolation="nearest")
    ax.set_facecolor("#e4e4e4")
    ticks(ax.yaxis, rows, look.small, longest=min(28, letters(ax, look.small, 0.3)))
    ticks(ax.xaxis, [str(c) for c in shown], look.small)
    ax.tick_params(length=0, labelcolor=INK)
    ax.spines[:].set_visible(False)
    titled(ax, "Cosines of topics", look)
    colour_bar(image, ax, "cosine", look)
    settle(ax)
    if lowest == 0 and len(shown) <= 24:
        cell_numbers(ax, 100 * cosines, others & (cosines >= 0.005), look, dark=cosines > 0.55 * largest)
    return ax


def _limit(ax, at, window):
    """Give both axes one scale, with room for all points and labels beside them, and use all of the window."""
    low, high = at.min(axis=0), at.max(axis=0)
    half = np.maximum(high - low, 1e-3) / 2 * (1.4, 1.3)
    scale = max(half[0] / window.width, half[1] / window.height)
    half = scale * window.width, scale * window.height
    middle = (low + high) / 2
    ax.set_xlim(middle[0] - half[0], middle[0] + half[0])
    ax.set_ylim(middle[1] - half[1], middle[1] + half[1])
    ax.set_aspect("equal", adjustable="box")


def _titles(model, given, names, n):
    """Return the label of each topic.

    Parameters
    ----------
    model : fitted model, or array (n_topics, n_features)
    given : sequence of n_topics, or None
        The labels.
    names : list of str, or None
        Names of the features.
    n : int
        Features in a label where none are given.
    """
    if given is None:
        return topic_titles(model, names, n)
    titles, n_topics = [str(title) for title in given], len(topics_of(model))
    if len(titles) != n_topics:
        raise ValueError(f"There are {len(titles)} titles for {n_topics} topics; pass one for each.")
    return titles
