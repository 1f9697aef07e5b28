"""Plot curves of one fit: its loss and its KKT residual."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from fastnmf.data.sentences import shown
from fastnmf.plots.style import GRID, Style, axes_or_new, colour, look_of, plain, titled
from fastnmf.typing import FittedModel


def plot_loss(
    history: Mapping[str, Any] | FittedModel,
    ax: Any = None,
    *,
    x: Literal["iteration", "seconds"] = "iteration",
    label: str | None = None,
    style: Style = "paper",
) -> Any:
    """Plot the normalized loss over the iterations, or over time.

    Parameters
    ----------
    history : fitted model, or dict
        Its `history_`: arrays `normalized_loss` and `iteration` or `seconds`, entry 0 the start.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure.
    x : {"iteration", "seconds"}, default="iteration"
    label : str, default=None
        Name of the curve, for a legend. None: no legend; the title gives the first and the last loss.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

    Returns
    -------
    ax : matplotlib.axes.Axes
        The axes; their figure is ``ax.figure``.

    Raises
    ------
    ValueError
        If x is not one of these, or not in the history.
    ImportError
        If matplotlib is not installed and no axes are given.

    Notes
    -----
    If the first loss is more than ten times the last, the loss axis is logarithmic.

    Examples
    --------
    >>> from fastnmf.plots import plot_loss
    >>> history = {"iteration": [0, 1, 2], "normalized_loss": [1.0, 0.6, 0.5]}
    >>> plot_loss(history).get_xlabel()  # doctest: +SKIP
    'iteration'
    """
    look = look_of(style)
    ax = _curve(history, "normalized_loss", "normalized loss", ax, x, label, look)
    lowest, highest = min(line.get_ydata().min(initial=np.inf) for line in ax.get_lines()), ax.dataLim.y1
    if 0 < 10 * lowest < highest < np.inf:
        ax.set_yscale("log")
    elif ax.get_yscale() == "linear":
        # Without this the axis shows an offset such as "+9.77e-1" and the distances from it.
        ax.ticklabel_format(axis="y", useOffset=False)
    loss = ax.get_lines()[-1].get_ydata()
    if loss.size and label is None:
        titled(ax, f"Loss: {loss[0]:.4f} at the start, {loss[-1]:.4f} at the end", look)
    return ax


def plot_residual(
    history: Mapping[str, Any],
    ax: Any = None,
    *,
    x: Literal["iteration", "seconds"] = "iteration",
    label: str | None = None,
    style: Style = "paper",
) -> Any:
    """Plot the KKT residual over the iterations, or over time, on a logarithmic axis.

    Parameters
    ----------
    history : dict
        `history_` of a `fastnmf.metrics.ResidualHistory`: arrays `kkt_residual` and `iteration` or `seconds`. Values
        that are not finite, such as at a start with W = 0, are left out. That of a model has no residuals.
    ax, x, label, style :
        As in `plot_loss`.

    Returns
    -------
    ax : matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the history has no residuals, or x is not in it.
    ImportError
        If matplotlib is not installed and no axes are given.

    Examples
    --------
    >>> from fastnmf.plots import plot_residual
    >>> plot_residual({"iteration": [0, 1, 2], "kkt_residual": [1.0, 0.1, 0.01]}).get_yscale()  # doctest: +SKIP
    'log'
    """
    look = look_of(style)
    ax = _curve(history, "kkt_residual", "KKT residual", ax, x, label, look)
    ax.set_yscale("log")
    residual = ax.get_lines()[-1].get_ydata()
    if residual.size and label is None:
        titled(ax, f"KKT residual: {residual[-1]:.1e} at the end, 0 is stationary", look)
    return ax


def _curve(history, name, title, ax, x, label, look):
    """Draw one quantity of a history; return the axes.

    Parameters
    ----------
    history : dict of array-like, or a model or record that has one
    name : str
        Key of the quantity.
    title : str
        Label of the y axis.
    ax : matplotlib.axes.Axes, or None
    x : {"iteration", "seconds"}
    label : str, or None
        Name of the curve in the legend.
    look : Look

    Returns
    -------
    matplotlib.axes.Axes
    """
    if not isinstance(x, str) or x not in ("iteration", "seconds"):
        raise ValueError(f"x={shown(x)} is not valid; expected 'iteration' or 'seconds'.")
    history = getattr(history, "history_", history)
    if not isinstance(history, Mapping):
        raise TypeError(f"history is {shown(history)}; expected a fitted model, or its history_.")
    missing = [key for key in (x, name) if key not in history]
    if missing:
        advice = "pass the history_ of a model that records it"
        if name == "kkt_residual":
            advice = "fit with callback=fastnmf.metrics.ResidualHistory(X, strata) and pass its history_"
        raise ValueError(f"The history has no {missing[0]!r}, only {', '.join(map(repr, history))}; {advice}.")
    at, values = np.asarray(history[x]), np.asarray(history[name], dtype=np.float64)
    is_finite = np.isfinite(values)
    at, values = at[is_finite], values[is_finite]
    ax = axes_or_new(ax, look)
    marker = 2 * look.line if len(values) <= 60 else 0
    hue = colour(len(ax.get_lines()) % 8, 8)
    ax.plot(at, values, color=hue, linewidth=1.2 * look.line, marker="o", markersize=marker, label=label)
    if x == "iteration":
        ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel(x, fontsize=look.text)
    ax.set_ylabel(title, fontsize=look.text)
    ax.grid(visible=True, axis="y", color=GRID, linewidth=0.8)
    if label is not None:
        ax.legend(frameon=False, fontsize=look.text)
    plain(ax, look)
    ax.tick_params(which="minor", labelsize=look.small, labelcolor="#333333", color="#999999")
    return ax
