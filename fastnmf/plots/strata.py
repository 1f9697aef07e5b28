"""Plot strata: the usage of components, the shares of their shifts, and the difference of two of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnmf.data.matrix import as_numbers
from fastnmf.data.names import read_names
from fastnmf.data.shifts import dense_row, rows_of
from fastnmf.metrics.checks import check_count
from fastnmf.metrics.residuals import component_usage
from fastnmf.plots.features import columns_of
from fastnmf.plots.source import (
    groups_of,
    has_strata,
    is_model,
    names_of_features,
    places_of,
    shifts_of,
    some_of,
    strongest_in_turn,
    topic_titles,
    topics_of,
    weights_of,
)
from fastnmf.plots.style import (
    BAR,
    GRID,
    INK,
    OTHER_BAR,
    QUIET,
    Style,
    axes_or_new,
    cell_numbers,
    colour,
    explained,
    legend_above,
    letters,
    look_of,
    plain,
    settle,
    shortened_all,
    ticks,
)
from fastnmf.typing import Dense, FittedModel, Labels, Names, SparseOrDense

_MOST_BARS = 8  # strata; with more the bars of a group are too thin, and their colours too many
_MOST_CELLS = 600
_LONGEST = 28  # letters of a label
_MOST_FEATURES, _MOST_STRATA = 30, 100


def plot_usage(
    usage: Dense | FittedModel,
    strata: Labels | None = None,
    components: Labels | None = None,
    ax: Any = None,
    *,
    feature_names: Names | None = None,
    style: Style = "paper",
) -> Any:
    """Draw the usage of components by strata as a heat map, with one line a stratum and one column a component.

    Parameters
    ----------
    usage : fitted model, or array-like of shape (n_strata, n_components)
        Shares between 0 and 1, as `fastnmf.metrics.component_usage` returns them.
    strata : sequence of labels, default=None
        Of an array the labels of its rows, None: numbers from 0. Of a model the strata to show, None: all that the fit
        has rows of.
    components : sequence, default=None
        Of an array the names of its columns, None: numbers from 0. Of a model the numbers of the components to show,
        None: all.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure, whose size follows the number of strata and components.
    feature_names : array-like of shape (n_features,), default=None
        Of a model; components are called by their numbers and two words. None: those of the fit.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

    Returns
    -------
    ax : matplotlib.axes.Axes
        If there are at most 600 cells and they are large enough, those of at least half a percent show their share in
        percent.

    Raises
    ------
    ValueError
        If the lengths do not fit together, or the model keeps no weights.
    ImportError
        If matplotlib is not installed and no axes are given.

    Examples
    --------
    >>> from fastnmf.plots import plot_usage
    >>> ax = plot_usage([[0.2, 0.8], [1.0, 0.0]], ["a", "b"])  # doctest: +SKIP
    """
    look = look_of(style)
    if is_model(usage):
        usage, strata, components = _usage_of(usage, strata, components, feature_names)
    usage = as_numbers(usage, "usage").astype(np.float64)
    if usage.ndim == 2:
        strata = range(len(usage)) if strata is None else strata
        components = range(usage.shape[1]) if components is None else components
    strata, components = ([] if labels is None else [str(label) for label in labels] for labels in (strata, components))
    if usage.shape != (len(strata), len(components)) or not usage.size:
        raise ValueError(
            f"usage must have one row a stratum ({len(strata)}) and one column a component ({len(components)}), at "
            f"least one; got shape {usage.shape}."
        )
    size = _size_of_map(strata, components, look)
    is_new, ax = ax is None, axes_or_new(ax, look, size)
    top = max(usage.max(), 1e-300)
    ax.imshow(usage, cmap="Blues", vmin=0, vmax=1.25 * top, aspect="auto", interpolation="nearest")
    _label_map(ax, strata, components, look, is_new)
    explained(ax, "share of each component in the sum of all components, %", look)
    settle(ax)
    if usage.size <= _MOST_CELLS:
        cell_numbers(ax, 100 * usage, usage >= 0.005, look, dark=usage > 0.6 * top)
    return ax


def plot_shift_shares(
    shifts: SparseOrDense | FittedModel,
    feature_names: Names | None = None,
    strata: Labels | None = None,
    ax: Any = None,
    *,
    n: int = 12,
    features: Labels | None = None,
    style: Style = "paper",
) -> Any:
    """Plot the share of each stratum in the summed shifts of a feature, ``v(i)_j / sum_i v(i)_j``.

    Up to eight strata are grouped bars; more are a heat map.

    Parameters
    ----------
    shifts : fitted model, or array-like or sparse matrix of shape (n_strata, n_features)
        `shifts_` of a fitted model.
    feature_names : sequence of str of length n_features, default=None
        None: those of the model, or else the column numbers.
    strata : sequence of labels, default=None
        Of an array the labels of its rows, None: numbers from 0. Of a model the strata to show, None: all. The shares
        are those among all strata.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure, whose size follows the number of bars or cells.
    n : int, default=12
        Of a model, about the number of features: those most specific to each stratum, as many of each, at least one.
    features : sequence of str or int, default=None
        Names or column numbers of the features to show. None: of an array all, of a model n.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

    Returns
    -------
    ax : matplotlib.axes.Axes
        The bars of a feature add up to one; a feature that is zero in all shifts has no bars.

    Raises
    ------
    ValueError
        If the lengths do not match, or there are more than 30 features or 100 strata.
    ImportError
        If matplotlib is not installed and no axes are given.

    Notes
    -----
    The bars are the chart of figure 3 of Chapman, Yaniv, Needell 2023, arXiv:2311.10789. These shares depend on the
    free gauge of the model; fit with ``gauge="max_shift"`` to compare them.

    Examples
    --------
    >>> from fastnmf.plots import plot_shift_shares
    >>> ax = plot_shift_shares([[1.0, 3.0], [3.0, 1.0]], ["rooms", "age"], ["low", "high"])  # doctest: +SKIP
    """
    look, is_fitted = look_of(style), is_model(shifts)
    check_count("n", n)
    if is_fitted and hasattr(shifts, "shifts_") and not has_strata(shifts):
        raise ValueError("Shifts of several factors add up, so that none has a share of their sum; use plot_effects.")
    model, (shifts, labels) = shifts, shifts_of(shifts)
    n_features = shifts.shape[1] if shifts.ndim == 2 else 0
    if is_fitted:
        names = names_of_features(feature_names, model, n_features)[0]
        rows = places_of(strata, labels)
    else:
        names = read_names(range(n_features) if feature_names is None else feature_names, _count(feature_names, shifts))
        names, labels = names.tolist(), list(range(len(shifts)) if strata is None else strata)
        rows = np.arange(len(labels))
    labels = [str(label) for label in labels]
    if shifts.shape != (len(labels), len(names)):
        raise ValueError(
            f"shifts must have one row a stratum ({len(labels)}) and one column a name ({len(names)}); got shape "
            f"{shifts.shape}."
        )
    if features is not None:
        columns = columns_of(features, names)
    elif is_fitted:
        columns = strongest_in_turn(rows_of(shifts, rows), max(n // len(rows), 1), "contrast")[:_MOST_FEATURES]
    else:
        columns = list(range(len(names)))
    if not 1 <= len(columns) <= _MOST_FEATURES or not 1 <= len(rows) <= _MOST_STRATA:
        raise ValueError(
            f"{len(rows)} strata and {len(columns)} features cannot be read; pick 1 to {_MOST_FEATURES} features and 1 "
            f"to {_MOST_STRATA} strata."
        )
    shifts = np.stack([dense_row(shifts, row)[columns] for row in range(shifts.shape[0])])
    totals = shifts.sum(axis=0)
    shares = np.divide(shifts, totals, out=np.zeros_like(shifts), where=totals > 0)[rows]
    labels, names = [labels[row] for row in rows], [names[j] for j in columns]
    draw = _share_bars if len(labels) <= _MOST_BARS else _share_map
    return draw(ax, shares, names, labels, look)


def plot_difference(
    model: SparseOrDense | FittedModel,
    group: Any,
    group_b: Any = None,
    feature_names: Names | None = None,
    *,
    n: int = 10,
    strata: Labels | None = None,
    ax: Any = None,
    style: Style = "paper",
) -> Any:
    """Plot the features in which the shifts of two strata differ most, as bars to the right and to the left.

    Parameters
    ----------
    model : fitted model, or array-like or sparse matrix of shape (n_strata, n_features)
        Shifts of strata.
    group : label
        Stratum whose larger shifts are bars to the right.
    group_b : label, default=None
        Stratum whose larger shifts are bars to the left. None: the mean of all others.
    feature_names : array-like of shape (n_features,), default=None
        None: those of the model, or else the column numbers.
    n : int, default=10
        Largest number of features on each side.
    strata : sequence of labels, default=None
        Labels of the rows of an array. None: numbers from 0. A model has its own.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure, whose size follows the number of bars.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

    Returns
    -------
    ax : matplotlib.axes.Axes
        A bar is the shift of `group` less that of `group_b`, in the unit of the data.

    Raises
    ------
    ValueError
        If a group is not there, or both are the same.
    ImportError
        If matplotlib is not installed and no axes are given.

    Examples
    --------
    >>> from fastnmf.plots import plot_difference
    >>> ax = plot_difference([[3.0, 1], [0, 2]], 0, 1, ["ice", "orbit"])  # doctest: +SKIP
    >>> [bar.get_width() for bar in ax.patches]  # doctest: +SKIP
    [3.0, -1.0]
    """
    look = look_of(style)
    check_count("n", n)
    shifts, labels = shifts_of(model)
    if group_b is None and is_model(model) and not has_strata(model):
        raise ValueError(
            "With several factors the mean of the other shifts means nothing; give group_b, another level."
        )
    if shifts.ndim != 2:
        raise ValueError(f"model has shape {shifts.shape}; expected a fitted model, or one row of shifts a stratum.")
    labels = list(range(shifts.shape[0]) if strata is None else strata) if labels is None else labels
    if len(labels) != shifts.shape[0]:
        raise ValueError(f"strata has {len(labels)} labels for {shifts.shape[0]} rows; give one for each.")
    names, _ = names_of_features(feature_names, model, shifts.shape[1])
    (one,) = places_of([group], labels, "group")
    if group_b is None and len(labels) < 2:
        raise ValueError("There is one stratum, and nothing to compare it with; give shifts of two strata or more.")
    if group_b is None:
        other, name_b = (np.asarray(shifts.sum(axis=0)).ravel() - dense_row(shifts, one)) / (len(labels) - 1), "others"
    else:
        (two,) = places_of([group_b], labels, "group_b")
        if one == two:
            raise ValueError(f"group and group_b are both {group!r}; give two strata.")
        other, name_b = dense_row(shifts, two), str(group_b)
    difference = dense_row(shifts, one) - other
    order = np.argsort(-difference, kind="stable")
    columns = [j for j in order[:n] if difference[j] > 0]
    columns += sorted((j for j in order[: -n - 1 : -1] if difference[j] < 0), key=lambda j: (-difference[j], j))
    ax = axes_or_new(ax, look, (look.width, look.inches(1.7 * max(len(columns), 4) + 6)))
    values = difference[columns]
    colours = [BAR if value > 0 else OTHER_BAR for value in values]
    ax.barh(np.arange(len(columns)), values, height=0.74, color=colours)
    ax.axvline(0, color=QUIET, linewidth=0.8)
    plain(ax, look)
    ax.spines["left"].set_visible(False)
    ticks(ax.yaxis, [names[j] for j in columns], look.small, longest=letters(ax, look.small, 0.3))
    ax.set_ylim(max(len(columns), 1) - 0.4, -0.6)
    largest = np.abs(values).max(initial=0.0) or 1.0
    ax.set_xlim(-1.05 * largest, 1.05 * largest)
    ax.locator_params(axis="x", nbins=5)
    ax.grid(axis="x", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_xlabel("difference of the shifts", fontsize=look.small)
    longest, words = letters(ax, look.text, 0.42), "more in "
    if len(words) + max(len(name_b), len(str(group))) > longest:
        words = ""
    pair, heads = [name_b, str(group)], []
    for label, at, side, hue in zip(
        shortened_all(pair, longest), (0.0, 1.0), ("left", "right"), (OTHER_BAR, BAR), strict=True
    ):
        where = {"transform": ax.transAxes, "ha": side, "va": "bottom", "color": hue, "fontweight": "bold"}
        heads.append(ax.text(at, 1.01, words + label, fontsize=look.text, **where))
    if not len(columns):
        ax.text(0.5, 0.5, "no difference", transform=ax.transAxes, ha="center", color=QUIET, fontsize=look.text)
    settle(ax)
    room = 0.48 * ax.get_window_extent().width  # bold type is wider than `letters` takes it to be
    for fewer in range(min(longest, max(map(len, pair))), 6, -1):
        if max(head.get_window_extent().width for head in heads) <= room:
            break
        for head, label in zip(heads, shortened_all(pair, fewer), strict=True):
            head.set_text(label)
    return ax


def _usage_of(model, strata, components, feature_names):
    """Return the usage of chosen components by chosen strata of a model, and the names of both.

    Parameters
    ----------
    model : fitted model
    strata, components, feature_names :
        As in `plot_usage`.

    Returns
    -------
    usage : ndarray (n_strata, n_components)
    labels, titles : list of str
    """
    H, W = topics_of(model), weights_of(model)
    names, has_names = names_of_features(feature_names, model, H.shape[1])
    titles, numbers = topic_titles(model, names if has_names else None), some_of(components, len(H))
    if getattr(model, "row_strata_", None) is None:
        if strata is not None:
            groups_of(model)  # raises
        labels, usage = ["all rows"], component_usage(W, H)
        rows = np.zeros(1, dtype=np.intp)
    else:
        stratum, every = groups_of(model)
        labels, usage = [every[s] for s in np.unique(stratum)], component_usage(W, H, stratum)
        rows = places_of(strata, labels)
    return usage[np.ix_(rows, numbers)], [labels[row] for row in rows], [titles[c] for c in numbers]


def _size_of_map(rows, columns, look):
    """Return the size in inches of a heat map with labels on the left and, turned if they are long, on top."""
    of_columns = max(map(len, columns))
    width = 2.9 * len(columns) + 0.6 * min(max(map(len, rows)), _LONGEST) + 2
    height = 1.9 * len(rows) + (0.6 * min(of_columns, _LONGEST) if of_columns > 4 else 1.5) + 3
    return min(look.inches(max(width, 30)), 24), min(look.inches(max(height, 7)), 24)


def _label_map(ax, rows, columns, look, is_new):
    """Write the labels of a heat map on the left and on top, whole where a new figure has the size that they need.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    rows, columns : list of str
    look : Look
    is_new : bool
    """
    wide = _LONGEST if is_new else min(_LONGEST, letters(ax, look.small, 0.3))
    upright = 0.3 * ax.figure.get_figheight() / ax.figure.get_figwidth()
    high = _LONGEST if is_new else min(_LONGEST, letters(ax, look.small, upright))
    ticks(ax.yaxis, rows, look.small, longest=wide)
    ticks(ax.xaxis, columns, look.small, longest=high)
    ax.xaxis.tick_top()
    ax.tick_params(axis="x", rotation=90 if max(map(len, columns)) > 4 else 0)
    ax.tick_params(length=0, labelcolor=INK)
    ax.spines[:].set_visible(False)


def _share_bars(ax, shares, names, strata, look):
    """Draw shares as grouped bars.

    Parameters
    ----------
    ax : matplotlib.axes.Axes, or None
    shares : ndarray (n_strata, n_features)
    names, strata : list of str
    look : Look
    """
    bars = 0.9 * shares.size + 1.5 * len(names) + 6
    ax = axes_or_new(ax, look, (min(max(look.width, look.inches(bars)), 24), look.height))
    width = 0.8 / len(strata)
    for index, (row, label) in enumerate(zip(shares, shortened_all(strata, 34), strict=True)):
        at = np.arange(len(names)) + (index - (len(strata) - 1) / 2) * width
        ax.bar(at, row, 0.92 * width, label=label, color=colour(index, len(strata)))
    plain(ax, look)
    ticks(ax.xaxis, names, look.text, longest=18)
    ax.set_xlim(-0.6, len(names) - 0.4)
    ax.set_ylabel("share of the shifts", fontsize=look.text)
    legend_above(ax, look)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    settle(ax)
    return ax


def _share_map(ax, shares, names, strata, look):
    """Draw shares as a heat map.

    Parameters
    ----------
    ax : matplotlib.axes.Axes, or None
    shares : ndarray (n_strata, n_features)
    names, strata : list of str
    look : Look
    """
    is_new, ax = ax is None, axes_or_new(ax, look, _size_of_map(strata, names, look))
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    _label_map(ax, strata, names, look, is_new)
    explained(ax, "share of each stratum in the shifts of a feature, %", look)
    settle(ax)
    if shares.size <= _MOST_CELLS:
        cell_numbers(ax, 100 * shares, shares >= 0.005, look, dark=shares > 0.55)
    return ax


def _count(names, shifts):
    if names is None:
        return shifts.shape[1] if shifts.ndim == 2 else 0
    return len(names) if hasattr(names, "__len__") else 0
