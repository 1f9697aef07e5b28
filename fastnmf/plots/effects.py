"""Plot effects: the shifts of the levels of a factor, as lines over numbers and as dots beside names."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnmf.data.labels import texts_of
from fastnmf.data.sentences import shown
from fastnmf.data.shifts import rows_of
from fastnmf.metrics.checks import check_count
from fastnmf.plots.features import columns_of
from fastnmf.plots.source import names_of_features, rows_to_draw
from fastnmf.plots.style import (
    FEW,
    GRID,
    INK,
    MARKERS,
    Style,
    axes_or_new,
    colour,
    legend_above,
    letters,
    look_of,
    plain,
    settle,
    shortened,
    shortened_all,
    ticks,
)
from fastnmf.typing import FittedModel, Labels, Names

_MOST_LEVELS = 100  # names beside dots


def plot_effects(
    model: FittedModel,
    factor: str | None = None,
    features: Labels | None = None,
    ax: Any = None,
    *,
    n: int = 5,
    feature_names: Names | None = None,
    style: Style = "paper",
) -> Any:
    """Plot the shifts of the levels of one factor, for some features.

    Levels that are numbers or dates are an axis, and each feature is a line over it; other levels are named, and have a
    dot for each feature.

    Parameters
    ----------
    model : fitted model
        With shifts. In a crossed model, the least level of a factor is zero in each feature: an effect is what a level
        has more than that.
    factor : str, default=None
        Name of a factor of a crossed model. None: the only factor, or the strata.
    features : sequence of str or int, default=None
        Names or column numbers of the features to show, at most eight. None: the n whose effects differ most.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure.
    n : int, default=5
        Number of features where `features` is None, at most eight.
    feature_names : array-like of shape (n_features,), default=None
        None: those of the fit, or else the column numbers.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Effects are in the unit of the data.

    Raises
    ------
    ValueError
        If the model has no shifts, the factor is unknown, or there are too many features, or levels with names.
    ImportError
        If matplotlib is not installed and no axes are given.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import StratifiedNMF
    >>> from fastnmf.plots import plot_effects
    >>> X = np.array([[1.0, 0, 5], [2, 0, 5], [3, 1, 0], [6, 2, 0]])
    >>> model = StratifiedNMF(1, random_state=0).fit(X, strata=[1990, 1990, 1991, 1991])
    >>> ax = plot_effects(model, features=[0, 2])  # doctest: +SKIP
    """
    look = look_of(style)
    check_count("n", n)
    name, levels, effects = _effects_of(model, factor)
    names, _ = names_of_features(feature_names, model, effects.shape[1])
    columns = _differing(effects, n) if features is None else columns_of(features, names)
    if len(columns) > len(FEW):
        raise ValueError(
            f"{len(columns)} features have more colours than can be told apart; give {len(FEW)} at the most."
        )
    effects, names = effects[:, columns], [names[j] for j in columns]
    return (lines_over if levels.dtype.kind in "iufM" else _dots)(ax, levels, effects, names, name, look)


def _effects_of(model, factor):
    """Return the name of a factor, its levels (L,), and their shifts, float64 (L, n_features).

    Parameters
    ----------
    model : fitted model
    factor : str, or None
    """
    levels = getattr(model, "strata_", getattr(model, "shift_names_", None))
    if not hasattr(model, "shifts_") or levels is None:
        raise ValueError(f"This {type(model).__name__} has no shifts; fit a StratifiedNMF with strata, or a design.")
    first, name = 0, "stratum"
    if isinstance(levels, list):
        first, known = 1, {}
        for of_factor in levels:  # the name of a column is that of its factor, =, its level
            column, label = str(model.shift_names_[first]), texts_of(np.asarray(of_factor))[0]
            known[column[: -len(label) - 1]] = first, of_factor
            first += len(of_factor)
        name = next(iter(known)) if factor is None and len(known) == 1 else factor
        if name not in known:
            which = "The model has several factors" if factor is None else f"factor={shown(factor)} is not known"
            raise ValueError(f"{which}; give one of them, factor={' or factor='.join(map(repr, known))}.")
        first, levels = known[name]
    elif factor is not None:
        raise ValueError(f"factor={shown(factor)} was given, but the rows have one label each; leave it out.")
    levels = np.asarray(levels)
    return name, levels, rows_of(rows_to_draw(model.shifts_, "shifts"), np.arange(first, first + len(levels)))


def _differing(effects, n):
    """Return the n columns of effects (L, n_features) whose largest and least entries differ most, largest first."""
    spread = np.ptp(effects, axis=0)
    return np.argsort(-spread, kind="stable")[: min(n, len(FEW))].tolist()


def lines_over(ax, levels, effects, names, factor, look, what="effect"):
    """Draw one line a feature over levels that are numbers or dates, or over others in their order.

    Parameters
    ----------
    ax : matplotlib.axes.Axes, or None
    levels : ndarray (L,)
    effects : ndarray (L, p)
    names : list of str
    factor : str
    look : Look
    what : str, default="effect"
        Label of the other axis.
    """
    ax, marks = axes_or_new(ax, look), None
    if levels.dtype.kind not in "iufM":
        levels, marks = np.arange(len(levels)), texts_of(levels)
    longest, size = letters(ax, look.small, 0.42), 2.4 * look.line if len(levels) <= 60 else 0
    for place, (column, name) in enumerate(zip(effects.T, shortened_all(names, longest), strict=True)):
        drawn = {"color": colour(place, len(names)), "linewidth": 1.2 * look.line, "label": name}
        ax.plot(levels, column, marker=MARKERS[place % len(MARKERS)], markersize=size, **drawn)
    plain(ax, look)
    if marks is not None:
        ticks(ax.xaxis, marks, look.small, longest=12)
    elif levels.dtype.kind in "iu":
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.ticklabel_format(axis="x", useOffset=False, style="plain")
    ax.set_ylim(bottom=min(0.0, float(effects.min(initial=0))))
    ax.set_xlabel(shortened(factor, letters(ax, look.text, 0.7)), fontsize=look.text, color=INK)
    ax.set_ylabel(what, fontsize=look.text, color=INK)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    legend_above(ax, look)
    settle(ax)
    return ax


def _dots(ax, levels, effects, names, factor, look):
    """Draw a dot for each feature beside levels that have names.

    Parameters
    ----------
    ax, levels, effects, names, factor, look :
        As for `lines_over`.
    """
    if len(levels) > _MOST_LEVELS:
        raise ValueError(f"{len(levels)} levels cannot be named beside each other; at most {_MOST_LEVELS} can.")
    ax = axes_or_new(ax, look, (look.width, look.inches(2.2 * max(len(levels), 4) + 7)))
    longest, at = letters(ax, look.small, 0.42), np.arange(len(levels))
    for place, (column, name) in enumerate(zip(effects.T, shortened_all(names, longest), strict=True)):
        drawn = {"color": colour(place, len(names)), "label": name, "markersize": 4.5 * look.line}
        ax.plot(column, at, linestyle="none", marker=MARKERS[place % len(MARKERS)], clip_on=False, zorder=3, **drawn)
    plain(ax, look)
    ax.spines["left"].set_visible(False)
    ticks(ax.yaxis, texts_of(levels), look.small, longest=letters(ax, look.small, 0.3))
    ax.set_ylim(len(levels) - 0.5, -0.5)
    low, high = min(0.0, float(effects.min(initial=0))), max(float(effects.max(initial=0)), 1e-300)
    ax.set_xlim(low - 0.03 * (high - low), high + 0.03 * (high - low))  # room for dots beside the names
    ax.locator_params(axis="x", nbins=5)
    ax.grid(color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_xlabel(shortened(f"effect of {factor}", letters(ax, look.small, 0.7)), fontsize=look.small, color=INK)
    legend_above(ax, look, share=0.54)
    settle(ax)
    return ax
