"""Plot the rows of the data in the plane."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from fastnmf.data.labels import encode_labels, texts_of
from fastnmf.data.matrix import as_numbers
from fastnmf.data.sentences import shown
from fastnmf.metrics.ensembles import sample_components
from fastnmf.plots.labels import place_labels
from fastnmf.plots.source import (
    groups_of,
    is_model,
    names_of_features,
    places_of,
    some_of,
    topic_titles,
    topics_of,
    weights_of,
)
from fastnmf.plots.style import FEW, GRID, INK, MARKERS, Style, axes_or_new, explained, look_of, titled
from fastnmf.typing import Dense, FittedModel, Floats, Labels, Names

_FADED = "#d9d9d9"
_AS_PIXELS = 5000  # points from which on a vector file holds them as an image


def plot_rows(
    model: Dense | FittedModel,
    color_by: Literal["topic", "strata"] | Labels = "topic",
    feature_names: Names | None = None,
    *,
    n: int = 2,
    coordinates: Dense | None = None,
    strata: Labels | None = None,
    components: Labels | None = None,
    ax: Any = None,
    style: Style = "paper",
) -> Any:
    """Draw the rows of the data in the plane, with the colour and the mark of their topic or of their group.

    Parameters
    ----------
    model : fitted model, or array-like of shape (n_samples, n_components)
        With the weights of its rows; or the weights W, such as `transform` returns.
    color_by : {"topic", "strata"} or array-like of shape (n_samples,), default="topic"
        ``"topic"``: the topic with the largest part in the row. ``"strata"``: the stratum of the fit. Or the label of
        each row.
    feature_names : array-like of shape (n_features,), default=None
        For the names of topics. None: those of the model.
    n : int, default=2
        Features in the name of a topic, those of the largest lift. 0: its number alone.
    coordinates : array-like of shape (n_samples, 2), default=None
        Places of the rows, such as those of UMAP or t-SNE. None: see Notes.
    strata : sequence of labels, default=None
        Strata, or labels of `color_by`, to show in colour; other rows are grey. None: all.
    components : sequence of int, default=None
        Topics to show in colour, where the colours are those of topics. None: all.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Each group has its name at the median of its rows. Rows without weights are not drawn where the coordinates are
        those of the weights.

    Raises
    ------
    ValueError
        If the model keeps no weights or no strata of rows, or lengths do not fit.
    ImportError
        If matplotlib is not installed and no axes are given.

    Notes
    -----
    Without `coordinates`, a row is the vector of the parts that the topics have in it, scaled to the sum 1, and the
    plane is that of the first two principal components of the square roots (PCA of the Hellinger transformation,
    Legendre and Gallagher 2001, doi:10.1007/s004420100716). The distance of two such rows is the Hellinger distance of
    their parts, so rows of one topic lie together, whatever their sums. The signs are fixed: in each coordinate, the
    topic with the largest part in it lies on the positive side. The cost is O(n_samples k² + k³).

    Eight colours, six marks: with more than 48 groups, some share both.

    Examples
    --------
    >>> from fastnmf.plots import plot_rows
    >>> ax = plot_rows([[1.0, 0], [0.9, 0.1], [0, 2]])  # doctest: +SKIP
    """
    look = look_of(style)
    W, parts = _parts_of(model)
    if coordinates is None:
        at = row_coordinates(parts)
    else:
        at = as_numbers(coordinates, "coordinates").astype(np.float64)
        if at.shape != (len(W), 2):
            raise ValueError(f"coordinates has shape {at.shape}; expected {(len(W), 2)}, a point for each row.")
    group, labels, short, chosen = _groups(model, parts, color_by, feature_names, n, strata, components)
    ax = axes_or_new(ax, look, (look.width, 0.8 * look.width))
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_color(GRID)
    is_there = np.isfinite(at).all(axis=1)
    size = float(np.clip(2e4 / max(len(W), 1), 2, 30)) * (look.text / 9) ** 2
    drawn = {"s": size, "linewidths": 0, "rasterized": len(W) > _AS_PIXELS}
    others = is_there & ~np.isin(group, chosen)
    if others.any():
        ax.scatter(*at[others].T, color=_FADED, zorder=2, **drawn)
    middles, shown_groups = [], []
    for place, number in enumerate(chosen):
        here = is_there & (group == number)
        if here.any():
            marker = MARKERS[place // len(FEW) % len(MARKERS)]
            hue = FEW[place % len(FEW)]
            ax.scatter(*at[here].T, color=hue, marker=marker, alpha=0.75, zorder=3, **drawn)
            middles.append(np.median(at[here], axis=0))
            sign = {"color": hue, "marker": marker, "edgecolors": INK, "linewidths": 0.6 * look.line}
            ax.scatter(*middles[-1], s=(0.9 * look.small) ** 2, zorder=5, **sign)
            shown_groups.append(number)
    by = "topic" if isinstance(color_by, str) and color_by == "topic" else "group"
    way = "principal components of the roots of the parts of topics" if coordinates is None else "given coordinates"
    titled(ax, f"{is_there.sum():,} rows by {by}", look)
    explained(ax, way, look)
    ax.margins(0.08)
    if middles:
        from matplotlib import patheffects

        texts = [labels[number] for number in shown_groups]
        few = [short[number] for number in shown_groups]
        radius = np.full(len(texts), 0.5 * look.small)
        for label in place_labels(ax, np.array(middles), radius, texts, few, look, weight="bold"):
            label.set_path_effects([patheffects.withStroke(linewidth=2.5, foreground="white")])
    return ax


def row_coordinates(parts: Floats) -> Floats:
    """Return the first two principal components of the square roots of rows scaled to the sum 1.

    Parameters
    ----------
    parts : ndarray (n_samples, n_components)
        Non-negative.

    Returns
    -------
    ndarray (n_samples, 2)
        NaN for rows of zeros.
    """
    largest = parts.max(axis=1, initial=0.0)
    used = largest > 0
    roots = parts[used] / largest[used, None]
    roots = np.sqrt(roots / roots.sum(axis=1, keepdims=True))
    out = np.full((len(parts), 2), np.nan)
    if not used.any():
        return out
    roots -= roots.mean(axis=0)
    vectors = np.linalg.eigh(roots.T @ roots)[1][:, :-3:-1]
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.sign(vectors[largest, np.arange(vectors.shape[1])])
    out[used] = 0
    out[used, : vectors.shape[1]] = roots @ vectors
    return out


def _parts_of(model):
    """Return the weights of rows, and the part of each topic in each row, float64 (n_samples, n_components)."""
    if not is_model(model):
        W = as_numbers(model, "model").astype(np.float64)
        if W.ndim != 2 or not W.size:
            raise ValueError(
                f"model has shape {W.shape}; expected a fitted model, or weights (n_samples, n_components)."
            )
        parts = W
    else:
        W, H = weights_of(model).astype(np.float64), topics_of(model)
        parts = W * H.sum(axis=1)
    if not np.isfinite(parts).all() or (parts < 0).any():
        raise ValueError("The parts of topics in rows are negative, NaN or infinity; give finite weights >= 0.")
    return W, parts


def _groups(model, parts, color_by, feature_names, n, strata, components):
    """Return the group of each row, the names and short names of groups, and the groups to show in colour.

    Parameters
    ----------
    model, color_by, feature_names, n, strata, components :
        As in `plot_rows`.
    parts : ndarray (n_samples, n_components)

    Returns
    -------
    group : ndarray (n_samples,) of int
        -1: none.
    labels, short : list of str
    chosen : ndarray of int
    """
    if isinstance(color_by, str) and color_by == "topic":
        group = np.where(parts.max(axis=1, initial=0.0) > 0, parts.argmax(axis=1), -1)
        if is_model(model):
            group = sample_components(weights_of(model), topics_of(model))
            names, has_names = names_of_features(feature_names, model, topics_of(model).shape[1])
            labels = topic_titles(model, names if has_names else None, n)
        else:
            labels = [str(c) for c in range(parts.shape[1])]
        return group, labels, [str(c) for c in range(len(labels))], some_of(components, len(labels))
    if isinstance(color_by, str) and color_by == "strata":
        group, labels = groups_of(model)
    elif isinstance(color_by, str) or not np.iterable(color_by):
        raise ValueError(f"color_by={shown(color_by)} is not known; expected 'topic', 'strata' or labels of rows.")
    else:
        group, found = encode_labels(color_by, len(parts))
        labels = texts_of(found)
    short = [label if len(label) <= 10 else f"{label[:8]}..." for label in labels]
    return group, labels, short, places_of(strata, labels)
