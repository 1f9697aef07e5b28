"""Plot features of topics and strata: bars of the strongest, dots across groups, images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import sparse

from fastnmf.data.annotated import matrix_of
from fastnmf.data.matrix import as_csr
from fastnmf.data.names import read_names
from fastnmf.data.ranking import check_ranking, feature_scores, strongest_of
from fastnmf.data.shifts import each_row, rows_of
from fastnmf.metrics.checks import check_count
from fastnmf.metrics.ensembles import sample_components
from fastnmf.plots.source import (
    groups_of,
    has_strata,
    is_model,
    names_of_features,
    places_of,
    rows_to_draw,
    shifts_of,
    some_of,
    strongest_in_turn,
    topic_titles,
    topics_of,
    weights_of,
)
from fastnmf.plots.style import (
    BAR,
    INK,
    QUIET,
    Panels,
    Style,
    axes_or_new,
    check_panels,
    colour_bar,
    fit_title,
    letters,
    look_of,
    panels_or_new,
    plain,
    settle,
    shortened,
    shortened_all,
    ticks,
)
from fastnmf.typing import FittedModel, Labels, Matrix, Names, Ranking, SparseOrDense

_LONGEST_NAME = 18


def plot_top_features(
    weights: SparseOrDense | FittedModel,
    feature_names: Names | None = None,
    titles: Labels | None = None,
    n: int = 10,
    *,
    by: Ranking | None = None,
    strata: Labels | None = None,
    components: Labels | None = None,
    title: str | None = None,
    n_columns: int | None = None,
    color: Any = BAR,
    figure: Any = None,
    ax: Any = None,
    style: Style = "paper",
) -> Any:
    """Plot the strongest features of each row as a panel of horizontal bars, the largest on top.

    Parameters
    ----------
    weights : array-like or sparse matrix of shape (n_panels, n_features)
        `shifts_` or `components_` of a fitted model. Zero weights get no bar. Each panel has its own scale. Or the
        fitted model itself: a panel shows what is specific to one of its strata, or without strata one component.
    feature_names : sequence of str of length n_features, default=None
        Names shown beside the bars; names of more than 18 characters are shortened. None: `feature_names_in_` of the
        model, or else the column numbers.
    titles : sequence, one for each row, default=None
        Panel titles, such as `strata_`. None: those of the model, or else numbers from 0.
    n : int, default=10
        Largest number of bars in a panel.
    by : {"weight", "contrast", "lift"}, default=None
        What the bars show, as in `NMF.top_features`. ``"contrast"``: the weight less the mean weight of the other rows,
        which tells what is specific to a stratum. None: contrast for the strata of a model, else the weight.
    strata : sequence of labels, default=None
        Strata of the model to show, or of an array rows by their titles. None: all.
    components : sequence of int, default=None
        Components of the model to show, or rows of an array, by their numbers. None: all, if there are no strata.
    title : str, default=None
        Title of the figure.
    n_columns : int, default=None
        Panels side by side. None: five at most, as even as possible.
    color : matplotlib color, default="#3b6ea5"
        Colour of the bars.
    figure : matplotlib.figure.Figure, default=None
        An empty figure to draw into; it is resized. None: a new one.
    ax : array of matplotlib.axes.Axes, default=None
        Where to draw, axes for each panel. None: on the figure.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

    Returns
    -------
    axes : ndarray of matplotlib.axes.Axes
        One a panel; its attribute `figure` is the figure.

    Raises
    ------
    ValueError
        If the lengths do not fit together, n is not positive, or a stratum or component is not there.
    ImportError
        If matplotlib is not installed and no figure is given.

    Examples
    --------
    >>> from fastnmf.plots import plot_top_features
    >>> plot_top_features([[1.0, 3.0]], ["ice", "orbit"], ["space"]).figure  # doctest: +SKIP
    <Figure size 290x180 with 1 Axes>
    """
    look, model = look_of(style), weights
    check_panels(n_columns)
    check_count("n", n)
    if is_model(model):
        feature_names = getattr(model, "feature_names_in_", None) if feature_names is None else feature_names
        if strata is not None or (components is None and has_strata(model)):
            weights, labels = shifts_of(model)
            by = by or ("contrast" if has_strata(model) else "weight")
            titles = labels if titles is None else titles
        else:
            weights, labels = topics_of(model), topic_titles(model, n=0)
            labels = labels if hasattr(model, "topic_names_") else [f"topic {number}" for number in labels]
            titles = labels if titles is None else titles
    weights = rows_to_draw(weights, "weights")
    n_rows, n_features = weights.shape if weights.ndim == 2 else (0, 0)
    feature_names = range(n_features) if feature_names is None else feature_names
    names = read_names(feature_names, _count(feature_names)).tolist()
    titles = [str(label) for label in (range(n_rows) if titles is None else titles)]
    if n_features != len(names) and n_features:
        raise ValueError(f"feature_names has {len(names)} names for {n_features} features; give one for each.")
    if weights.ndim != 2 or weights.shape != (len(titles), len(names)) or not titles:
        raise ValueError(
            f"weights must have one row a title ({len(titles)}) and one column a name ({len(names)}), "
            f"at least one; got shape {weights.shape}."
        )
    rows = places_of(strata, titles)
    rows = rows if components is None else some_of(components, n_rows)
    n_columns = n_columns or math.ceil(len(rows) / math.ceil(len(rows) / 5))
    n_lines, n_bars = math.ceil(len(rows) / n_columns), min(n, len(names))
    scale = look.small / 8
    # In inches: a name and its bar are 2.9 wide; a bar is 0.19 high, title and ticks together 0.6.
    size = (2.9 * n_columns, n_lines * (0.19 * n_bars + 0.6) + (0.5 if title else 0.0))
    size = (scale * size[0], scale * size[1])
    panels = panels_or_new(ax, figure, len(rows), n_columns=n_columns, size=size)
    wanted = set(rows.tolist())
    all_scores = {row: found for row, found in enumerate(feature_scores(weights, by or "weight")) if row in wanted}
    headings, shown = [], shortened_all([titles[row] for row in rows], 34)
    for panel, row, heading in zip(panels, rows, shown, strict=True):
        _bars(panel, all_scores[row], names, n_bars, color, look)
        kind = {"fontsize": look.text, "fontweight": "bold", "color": INK, "loc": "left"}
        headings.append(panel.set_title(heading, **kind))
    if title:
        panels[0].figure.suptitle(title.replace("$", r"\$"), fontsize=1.2 * look.title, color=INK, x=0.01, ha="left")
    if ax is not None:  # a new figure has the size that its labels need
        settle(*panels)
        for heading in headings:
            fit_title(heading)
    return Panels(panels)


def plot_dots(
    model: SparseOrDense | FittedModel,
    X: Matrix | None = None,
    feature_names: Names | None = None,
    *,
    n: int = 3,
    features: Labels | None = None,
    by: Ranking | None = None,
    strata: Labels | None = None,
    components: Labels | None = None,
    ax: Any = None,
    style: Style = "paper",
) -> Any:
    """Plot features across groups as dots: the colour is the weight, the size the share of rows that have the feature.

    Parameters
    ----------
    model : fitted model, or array-like or sparse matrix of shape (n_groups, n_features)
        Groups are the strata of a model, or without strata, or where `components` is given, its components.
    X : {sparse matrix or array, array-like, AnnData} of shape (n_samples, n_features), default=None
        Data of the fit. A dot has an area in proportion to the share of the group's rows that have the feature, where
        the rows of a component are those that use it most. None: to the weight relative to the largest of any group.
    feature_names : array-like of shape (n_features,), default=None
        None: those of the model, or else the column numbers.
    n : int, default=3
        Features of each group, the strongest. A feature that several groups have is drawn once.
    features : sequence of str or int, default=None
        Names or column numbers to show, in this order, in place of the strongest.
    by : {"contrast", "weight", "lift"}, default=None
        How the strongest are found, as in `NMF.top_features`. None: contrast for strata, lift for components.
    strata : sequence of labels, default=None
        Strata to show; of an array the labels of its rows. None: all, and numbers from 0 for an array.
    components : sequence of int, default=None
        Components to show. None: all, if there are no strata.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure, whose size follows the number of groups and features.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

    Returns
    -------
    ax : matplotlib.axes.Axes
        A row is a group, a column a feature.

    Raises
    ------
    ValueError
        If a group or feature is not there, or X is given with an array or does not fit the model.
    ImportError
        If matplotlib is not installed and no axes are given.

    Notes
    -----
    The dot plot of scanpy (Wolf, Angerer, Theis 2018, doi:10.1186/s13059-017-1382-0), whose size is the share of cells
    in which a gene is expressed.

    Examples
    --------
    >>> from fastnmf.plots import plot_dots
    >>> ax = plot_dots([[3.0, 1], [0, 2]], None, ["ice", "orbit"], strata=["cold", "space"])  # doctest: +SKIP
    """
    look = look_of(style)
    check_count("n", n)
    if by is not None:
        check_ranking(by)
    weights, labels, rows, of_strata = _groups(model, strata, components)
    if by is None:
        by = "contrast" if of_strata else "lift"
    names, _ = names_of_features(feature_names, model, weights.shape[1])
    weights = rows_of(weights, rows)
    columns = strongest_in_turn(weights, n, by) if features is None else columns_of(features, names)
    values = weights[:, columns]
    if X is None:
        largest = np.abs(values).max(axis=0, initial=0.0)
        sizes, meaning = np.abs(values) / np.where(largest > 0, largest, 1), "area: weight relative to the largest"
    else:
        sizes, meaning = _shares_of_rows(model, X, rows, columns, of_strata), "area: share of rows with the feature"
    longest = min(28, max((len(names[j]) for j in columns), default=1))
    wide = 0.55 * max(len(labels[r]) for r in rows) + 2.0 * len(columns) + 11
    is_new, ax = (
        ax is None,
        axes_or_new(ax, look, (look.inches(max(wide, 24)), look.inches(max(2.0 * len(rows) + 0.6 * longest + 6, 14)))),
    )
    ticks(ax.xaxis, [names[j] for j in columns], look.small, longest=28)
    ax.tick_params(axis="x", rotation=90)
    ticks(ax.yaxis, [labels[r] for r in rows], look.small, longest=28 if is_new else letters(ax, look.small, 0.3))
    ax.set_xlim(-0.7, len(columns) - 0.3)
    ax.set_ylim(len(rows) - 0.3, -0.7)
    ax.spines[:].set_color("#dddddd")
    ax.tick_params(labelcolor=INK)
    y, x = np.indices(values.shape)
    dots = ax.scatter(
        x.ravel(), y.ravel(), s=0, c=values.ravel(), cmap="Blues", vmin=0, edgecolors=QUIET, linewidths=0.4, zorder=3
    )
    bar = colour_bar(dots, ax, "weight", look)
    bar.ax.set_anchor((0, 1))
    for share in (0.25, 0.5, 1.0):
        ax.scatter([], [], s=0, color="white", edgecolors=QUIET, linewidths=0.6, label=f"{100 * share:.0f} %")
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.8, "alignment": "left", "ncols": 3}
    legend = ax.legend(title=meaning, frameon=False, fontsize=look.small, labelcolor=INK, **place)
    legend.get_title().set(fontsize=look.small, color=INK)
    settle(ax)
    box = ax.get_window_extent()
    pitch = min(box.width / (len(columns) + 0.4), box.height / (len(rows) + 0.4), 2.2 * look.text * ax.figure.dpi / 72)
    area = (0.92 * pitch * 72 / ax.figure.dpi) ** 2
    dots.set_sizes(area * sizes.ravel())
    for handle, share in zip(legend.legend_handles, (0.25, 0.5, 1.0), strict=True):
        handle.set_sizes([area * share])
    return ax


def plot_images(
    vectors: SparseOrDense | FittedModel,
    image_shape: tuple[int, int],
    titles: Labels | None = None,
    *,
    strata: Labels | None = None,
    components: Labels | None = None,
    title: str | None = None,
    n_columns: int | None = None,
    cmap: Any = "gray_r",
    figure: Any = None,
    ax: Any = None,
    style: Style = "paper",
) -> Any:
    """Draw shifts or components whose features are pixels, each as an image.

    Parameters
    ----------
    vectors : array-like or sparse matrix of shape (n_images, n_features), or fitted model
        `shifts_` or `components_`. Each image has its own grey scale, from 0 to its largest entry. Of a model the
        components are drawn, or the shifts where `strata` is given.
    image_shape : (int, int)
        Height and width; their product is n_features, and pixels are in row order.
    titles : sequence, one for each row, default=None
        Titles of the images, such as `strata_`. None: those of the model, numbers from 0; none for an array.
    strata : sequence of labels, default=None
        Strata of a model whose shifts to draw, or of an array rows by their titles.
    components : sequence of int, default=None
        Components, or rows of an array, to draw. None: all.
    title : str, default=None
        Title of the figure.
    n_columns : int, default=None
        Images side by side. None: ten at most, as even as possible.
    cmap : matplotlib colormap, default="gray_r"
        In the default, dark means large.
    figure : matplotlib.figure.Figure, default=None
        An empty figure to draw into; it is resized. None: a new one.
    ax : array of matplotlib.axes.Axes, default=None
        Where to draw, axes for each image. None: on the figure.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

    Returns
    -------
    axes : ndarray of matplotlib.axes.Axes
        One an image; its attribute `figure` is the figure.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or a stratum or component is not there.
    ImportError
        If matplotlib is not installed and no figure is given.

    Examples
    --------
    >>> from fastnmf.plots import plot_images
    >>> plot_images([[0.0, 1.0, 1.0, 0.0]], image_shape=(2, 2), titles=["cross"]).figure  # doctest: +SKIP
    <Figure size 140x160 with 1 Axes>
    """
    look = look_of(style)
    check_panels(n_columns)
    if is_model(vectors):
        model = vectors
        vectors, labels = (topics_of(model), topic_titles(model, n=0)) if strata is None else shifts_of(model)
        titles = labels if titles is None else titles
    vectors = rows_to_draw(vectors, "vectors")
    vectors = np.atleast_2d(vectors) if isinstance(vectors, np.ndarray) else vectors
    height, width = image_shape
    if vectors.ndim != 2 or vectors.shape[1] != height * width or not vectors.shape[0]:
        raise ValueError(
            f"vectors of shape {vectors.shape} are no images of {height} x {width} pixels: a row must have "
            f"{height * width} entries."
        )
    titles = [""] * vectors.shape[0] if titles is None else [str(label) for label in titles]
    if len(titles) != vectors.shape[0]:
        raise ValueError(f"There are {len(titles)} titles for {vectors.shape[0]} images; pass one for each.")
    rows = places_of(strata, titles) if strata is not None else some_of(components, len(titles))
    n_columns = n_columns or math.ceil(len(rows) / math.ceil(len(rows) / 10))
    n_lines, scale = math.ceil(len(rows) / n_columns), look.small / 8
    size = (1.4 * n_columns, n_lines * (1.4 * height / width + (0.2 if any(titles) else 0)) + (0.5 if title else 0))
    size = (scale * size[0], scale * size[1])
    panels = panels_or_new(ax, figure, len(rows), n_columns=n_columns, size=size)
    for panel, row in zip(panels, rows, strict=True):
        (vector,) = each_row(vectors[[row]])
        image = vector.reshape(height, width)
        panel.imshow(image, cmap=cmap, vmin=0, vmax=vector.max() or 1, interpolation="nearest")
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_color("#cccccc")
        longest = min(_LONGEST_NAME, letters(panel, look.text, 0.8))
        panel.set_title(shortened(titles[row], longest), fontsize=look.text, color=INK)
    if title:
        panels[0].figure.suptitle(title.replace("$", r"\$"), fontsize=1.2 * look.title, color=INK, x=0.01, ha="left")
    return Panels(panels)


def columns_of(features, names):
    """Return the columns of features that are given as names or as column numbers, a list of int."""
    if isinstance(features, str) or not np.iterable(features):
        features = [features]
    at = {name: j for j, name in enumerate(names)}
    found = [at.get(each, each) for each in features]
    for given, j in zip(features, found, strict=True):
        if isinstance(j, bool) or not isinstance(j, (int, np.integer)) or not 0 <= j < len(names):
            raise ValueError(f"features has {given!r}, which is no feature; expected names, or numbers of columns.")
    if not found:
        raise ValueError("features is empty; give one at least, or None for the strongest.")
    return [int(j) for j in found]


def _groups(model, strata, components):
    """Return the weights of groups, their labels, the places of those to show, and whether they are strata.

    Parameters
    ----------
    model : fitted model, or array (n_groups, n_features)
    strata, components : as in `plot_dots`
    """
    if not is_model(model):
        weights = rows_to_draw(model, "model")
        if weights.ndim != 2 or not weights.shape[0]:
            raise ValueError(f"model has shape {weights.shape}; expected a fitted model, or one row a group.")
        labels = [str(label) for label in (range(weights.shape[0]) if strata is None else strata)]
        if len(labels) != weights.shape[0]:
            raise ValueError(f"strata has {len(labels)} labels for {weights.shape[0]} rows; give one for each.")
        return weights, labels, some_of(components, len(labels)), strata is not None
    if components is None and (strata is not None or has_strata(model)):
        weights, labels = shifts_of(model)
        return weights, [str(label) for label in labels], places_of(strata, labels), True
    weights = topics_of(model)
    return weights, topic_titles(model, n=0), some_of(components, len(weights)), False


def _shares_of_rows(model, X, rows, columns, of_strata):
    """Return for each group the share of its rows in which a feature is not zero, (n_groups, n_columns).

    Parameters
    ----------
    model : fitted model
    X : matrix (n_samples, n_features), or AnnData
    rows : ndarray of int
        Groups: strata, or components.
    columns : list of int
    of_strata : bool
    """
    if not is_model(model):
        raise ValueError("X is given with an array, which does not tell the group of a row; give the fitted model.")
    group = groups_of(model)[0] if of_strata else sample_components(weights_of(model), topics_of(model))
    X = matrix_of(X)
    X = as_csr(X) if sparse.issparse(X) else np.asarray(X)
    if X.ndim != 2 or X.shape != (len(group), topics_of(model).shape[1]):
        raise ValueError(
            f"X has shape {X.shape}, and the model was fitted to {len(group)} rows of {topics_of(model).shape[1]} "
            "features; give the data of the fit."
        )
    has = sparse.csr_array((X[:, columns] != 0).astype(np.float64))
    is_in = sparse.csr_array((group[None, :] == rows[:, None]).astype(np.float64))
    sizes = np.asarray(is_in.sum(axis=1)).reshape(-1, 1)
    return (is_in @ has).toarray() / np.maximum(sizes, 1)  # never-densify-ok: groups by the features drawn


def _count(names):
    return len(names) if hasattr(names, "__len__") else 0


def _bars(ax, scores, names, n_bars, color, look):
    """Draw the largest scores of a row as bars, the largest on top.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    scores : (ndarray, ndarray)
        Columns and their positive scores.
    names : list of str of length n_features
    n_bars : int
        Largest number of bars; the panel has room for all of them.
    color : matplotlib color
    look : Look
    """
    order, values = strongest_of(scores, n_bars)
    if order.size:
        ax.barh(np.arange(order.size), values, height=0.72, color=color)
    else:
        where = {"transform": ax.transAxes, "ha": "center", "va": "center"}
        ax.text(0.5, 0.5, "all zero", color="#888888", fontsize=look.text, **where)
    plain(ax, look)
    longest = min(_LONGEST_NAME, letters(ax, look.small, 0.5))
    ticks(ax.yaxis, [names[j] for j in order], look.small, longest=longest)
    ax.set_ylim(n_bars - 0.4, -0.6)
    ax.locator_params(axis="x", nbins=3)
    ax.tick_params(axis="x", labelsize=look.small - 1)
