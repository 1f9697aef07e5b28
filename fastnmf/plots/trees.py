"""Plot hierarchies of topics.

matplotlib is imported inside the functions: ``pip install fastnmf[plot]``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnmf.data.sentences import shown
from fastnmf.metrics.residuals import component_usage
from fastnmf.plots.style import (
    BAR,
    INK,
    QUIET,
    Panels,
    Style,
    axes_or_new,
    check_flag,
    colour_bar,
    lay_out,
    look_of,
    panels_or_new,
    settle,
    ticks,
    titled,
)
from fastnmf.typing import Matrix, Names

MOST_PIXELS, MOST_ROWS = 1 << 22, 400
_WIDEST = 0.62  # of a column of the tree, for the words of a topic; lines to its children take the rest
_SMALLEST = 5.0  # points


def plot_tree(
    model: Any,
    feature_names: Names | None = None,
    *,
    n: int = 5,
    threshold: float = 0.1,
    shares: bool = True,
    ax: Any = None,
    style: Style = "paper",
) -> Any:
    """Draw the topics of all levels as a tree, the coarsest level on the left and the finest on the right.

    Parameters
    ----------
    model : HierarchicalNMF
        Fitted.
    feature_names : array-like (n_features,), default=None
        Names of the features. None: those of the fit, or else the column numbers.
    n : int, default=5
        Largest number of features shown for each topic; there are fewer where they have no room.
    threshold : float, default=0.1
        Each topic is joined to the parent in which it has its largest share. A thin dotted line joins it to any other
        parent in which it has at least this share.
    shares : bool, default=True
        Whether the share of a topic in the sum of all topics of its level is written beside it, in percent.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure, whose size follows the number of topics and levels.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

    Returns
    -------
    ax : matplotlib.axes.Axes
        A line is the wider, the larger the share of the topic in its parent is.

    Raises
    ------
    ImportError
        If matplotlib is not installed and no axes are given.

    Notes
    -----
    The words are cut for the size that the figure has.

    Examples
    --------
    >>> from fastnmf import HierarchicalNMF
    >>> from fastnmf.datasets import make_hierarchical
    >>> from fastnmf.plots import plot_tree
    >>> model = HierarchicalNMF(random_state=0).fit(make_hierarchical(random_state=0).data)
    >>> plot_tree(model).get_title(loc="left")  # doctest: +SKIP
    'Topics of 3 levels: 2, 4, 9'
    """
    look = look_of(style)
    check_flag("shares", shares)
    place, height = _places(model)
    top = len(place) - 1
    ax = axes_or_new(ax, look, (look.inches(30 * (top + 1)), look.inches(2.3 * height + 4)))
    ax.set_xlim(-0.02, top + 1.0)
    ax.set_ylim(height - 0.3, -0.7)
    ax.set_axis_off()
    titled(ax, f"Topics of {len(place)} levels: {', '.join(str(len(at)) for at in place[::-1])}", look)
    lay_out(ax)
    window = ax.get_window_extent()
    points = 72 / ax.figure.dpi
    size = min(look.small, window.height * points / (height + 0.4) / 1.25)
    size = max(size, _SMALLEST)
    column = window.width / (top + 1.02)
    ends = []
    for level, at in enumerate(place):
        words = model.top_features(n, feature_names, level)
        used = component_usage(model.S_[level], model.components_[level])[0] if shares else [None] * len(at)
        most = column * (_WIDEST if level else 0.97)
        x = top - level
        topics = enumerate(zip(at, words, used, strict=True))
        drawn = [_words(ax, (x, y), topic, found, share, most, size) for topic, (y, found, share) in topics]
        ends.append([x + text.get_window_extent().width / column + 0.03 for text in drawn])
    for level in range(top, 0, -1):
        _join(ax, place, ends, level, (model.shares(level), threshold), look)
    return ax


def _words(ax, at, topic, words, share, most, size):
    """Write the number and the words of a topic, as many as are not wider than `most` pixels, and its share.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    at : (float, float)
    topic : int
    words : list of str
    share : float, or None
    most : float
    size : float
        In points.

    Returns
    -------
    matplotlib.text.Text
    """
    text = ax.text(*at, "", fontsize=size, va="center", color=INK, in_layout=False, zorder=2)
    percent = "" if share is None else f"  {100 * share:.0f} %"
    for n in range(len(words), 0, -1):
        text.set_text(f"{topic} {' '.join(words[:n])}".replace("$", r"\$") + percent)
        if text.get_window_extent().width <= most:
            return text
    name = words[0] if words else "(nothing)"
    for n in range(len(name), 0, -1):
        cut = name if n == len(name) else name[:n] + "..."
        text.set_text(f"{topic} {cut}".replace("$", r"\$") + percent)
        if text.get_window_extent().width <= most:
            break
    return text


def _join(ax, place, ends, level, shares, look):
    """Draw the lines from the topics of a level to those below.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    place, ends : list of sequence of float
        Of each level, the heights of the topics, and where their words end.
    level : int
    shares : (ndarray (n_parents, n_children), float)
        And the least share of a dotted line.
    look : Look
    """
    shares, threshold = shares
    begin = len(place) - 1 - level
    along = np.linspace(0, 1, 33)
    rise = along * along * (3 - 2 * along)
    for parent, row in enumerate(shares):
        for child, share in enumerate(row):
            belongs = shares[:, child].argmax() == parent
            if not belongs and share < threshold:
                continue
            first, last = ends[level][parent], begin + 0.985
            one, other = place[level][parent], place[level - 1][child]
            line = look.line / 1.5
            kind = {"linewidth": line * (0.6 + 4 * share)} if belongs else {"linewidth": 0.6 * line, "linestyle": ":"}
            hue = {"color": BAR, "alpha": 0.75 if belongs else 0.5, "zorder": 1, "solid_capstyle": "butt"}
            ax.plot(first + along * (last - first), one + rise * (other - one), **hue, **kind)


def _places(model):
    """Return the vertical positions of the topics of each level, and the height of the tree.

    A parent lies in the middle of its children.
    """
    _check_layers(model)
    top = len(model.components_) - 1
    place = [np.full(len(topics), np.nan) for topics in model.components_]
    height = 0

    def put(node):
        nonlocal height
        for child in node["children"]:
            put(child)
        if node["children"]:
            found = np.mean([place[node["level"] - 1][child["topic"]] for child in node["children"]])
        else:
            found, height = height, height + 1
        place[node["level"]][node["topic"]] = found

    for root in model.to_dict(1, np.arange(model.n_features_in_)):
        put(root)
        height += 0.6 if top else 0.0
    return place, height


def plot_layers(model: Any, *, figure: Any = None, ax: Any = None, style: Style = "paper") -> Any:
    """Draw the factors of all levels as heat maps, with rows in an order that shows their block structure.

    Parameters
    ----------
    model : HierarchicalNMF
        Fitted.
    figure : matplotlib.figure.Figure, default=None
        An empty figure to draw into; it is resized. None: a new one.
    ax : array of matplotlib.axes.Axes, default=None
        Where to draw, axes for each level. None: on the figure.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

    Returns
    -------
    axes : ndarray of matplotlib.axes.Axes
        One a level; its attribute `figure` is the figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed and no axes are given.

    Notes
    -----
    As in Figures 3 and 4 of Gao et al., "Neural nonnegative matrix factorization for hierarchical multilayer topic
    modeling": columns are topics, scaled to length one. Rows are features in the first map, and topics of the level
    below in the others. Of more than 400 features, those are drawn that are the strongest of a topic.
    """
    look = look_of(style)
    _check_layers(model)
    layers = model.display_factors()[0]
    orders = [model.row_order(level) for level, _ in enumerate(layers)]
    above = np.arange(len(layers[-1]))
    columns = [*orders[1:], above]
    panels = _panels(ax, figure, len(layers), look)
    for level, (panel, layer) in enumerate(zip(panels, layers, strict=True)):
        rows = _strongest(layer, orders[level])
        shown_rows = layer.T[np.ix_(rows, columns[level])]
        image = panel.imshow(shown_rows, cmap="viridis", vmin=0, aspect="auto", interpolation="nearest")
        colour_bar(image, panel, "", look)
        titled(panel, f"level {level}", look, share=0.75)
        _label_layer(panel.xaxis, f"topics of level {level}", columns[level], look)
        part = f"{len(rows)} of " if len(rows) < layer.shape[1] else ""
        below = f"topics of level {level - 1}" if level else f"{part}{layer.shape[1]:,} features"
        _label_layer(panel.yaxis, below, rows if level else None, look)
    settle(*panels)
    return Panels(panels)


def plot_reconstructions(model: Any, X: Matrix, *, figure: Any = None, ax: Any = None, style: Style = "paper") -> Any:
    """Draw X beside its reconstruction by each level.

    Parameters
    ----------
    model : HierarchicalNMF
        Fitted on X.
    X : array-like or sparse matrix (n_samples, n_features)
        At most four million entries, each of which becomes a pixel.
    figure : matplotlib.figure.Figure, default=None
        An empty figure to draw into; it is resized. None: a new one.
    ax : array of matplotlib.axes.Axes, default=None
        Where to draw, axes for X and for each level. None: on the figure.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

    Returns
    -------
    axes : ndarray of matplotlib.axes.Axes
        Of X, and one a level; its attribute `figure` is the figure. All have one scale of colours.

    Raises
    ------
    ValueError
        If X has more than four million entries, or is no matrix.
    ImportError
        If matplotlib is not installed and no axes are given.

    Notes
    -----
    As in Figures 1 and 2 of Gao et al.: rows are features, and columns are samples.
    """
    look = look_of(style)
    X = X if hasattr(X, "toarray") else np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"X has {X.ndim} dimensions; expected a matrix (n_samples, n_features).")
    if X.shape[0] * X.shape[1] > MOST_PIXELS:
        raise ValueError(
            f"X has {X.shape[0]:,} x {X.shape[1]:,} entries, more than {MOST_PIXELS:,} pixels; draw some of the rows "
            "and features, or the factors with plot_layers."
        )
    _check_layers(model)
    X = X.toarray() if hasattr(X, "toarray") else X  # never-densify-ok: at most MOST_PIXELS entries
    S = model.transform(X, level=None)
    images = [X.T] + [(s @ topics).T for s, topics in zip(S, model.components_, strict=True)]
    errors = [np.linalg.norm(image - X.T) / (np.linalg.norm(X) or 1.0) for image in images[1:]]
    titles = ["X"] + [f"{len(t)} topics, error {e:.4f}" for t, e in zip(model.components_, errors, strict=True)]
    panels = _panels(ax, figure, len(images), look)
    scale = {"vmin": 0, "vmax": float(X.max(initial=0)) or 1.0}
    for panel, image, title in zip(panels, images, titles, strict=True):
        drawn = panel.imshow(image, cmap="viridis", aspect="auto", interpolation="nearest", **scale)
        titled(panel, title, look, share=0.8)
        _label_layer(panel.xaxis, f"{image.shape[1]:,} samples", None, look)
    _label_layer(panels[0].yaxis, f"{X.shape[1]:,} features", None, look)
    for panel in panels[1:]:
        panel.set_yticks([])
    colour_bar(drawn, panels[-1], "entry", look)
    lay_out(panels[0])
    return Panels(panels)


def _strongest(layer, order):
    """Return the rows of a map in this order: all, or of very many those that are the strongest of a topic."""
    if len(order) <= MOST_ROWS:
        return order
    n = max(MOST_ROWS // len(layer), 1)
    is_strong = np.zeros(len(order), dtype=bool)
    for topic in layer:
        is_strong[np.argsort(-topic, kind="stable")[:n]] = True
    return order[is_strong[order]]


def _check_layers(model):
    if not hasattr(model, "display_factors"):
        raise TypeError(f"The model is {shown(model)}; expected a fitted HierarchicalNMF, which has layers.")


def _panels(ax, figure, n, look):
    """Return axes for n heat maps side by side.

    Parameters
    ----------
    ax : array of matplotlib.axes.Axes, or None
    figure : matplotlib.figure.Figure, or None
    n : int
    look : Look
    """
    return panels_or_new(ax, figure, n, n_columns=n, size=(look.inches(23 * n + 4), look.inches(26)))


def _label_layer(axis, label, numbers, look):
    """Label an axis of a heat map, and write the numbers of topics where there are few.

    Parameters
    ----------
    axis : matplotlib.axis.Axis
    label : str
    numbers : sequence of int, or None
        Topics along the axis.
    look : Look
    """
    axis.set_label_text(label, fontsize=look.small, color=INK)
    axis.axes.spines[:].set_color(QUIET)
    axis.set_tick_params(labelcolor=INK)
    if numbers is None or len(numbers) > 40:
        axis.set_ticks([])
    else:
        ticks(axis, [str(number) for number in numbers], look.small - 1)
