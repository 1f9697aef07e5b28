"""Draw what a fit found.

matplotlib is imported inside the functions: ``pip install fastnmf[plot]``.
"""

import math

import numpy as np

from fastnmf.treeplots import plot_layers, plot_reconstructions, plot_tree

__all__ = ["plot_layers", "plot_loss", "plot_reconstructions", "plot_top_features", "plot_tree"]

_BAR = "#3b6ea5"
_INK = "#333333"
_LONGEST_NAME = 18


def plot_loss(history, ax=None):
    """Plot the normalized loss over the iterations.

    Parameters
    ----------
    history : dict
        `history_` of a fitted model: arrays `iteration` and `normalized_loss`, entry 0 the start.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure.

    Returns
    -------
    ax : matplotlib.axes.Axes
        The axes; their figure is ``ax.figure``.

    Raises
    ------
    ImportError
        If matplotlib is not installed and no axes are given.

    Notes
    -----
    Where the start is more than ten times the end, the loss axis is logarithmic.

    Examples
    --------
    >>> from fastnmf.plots import plot_loss
    >>> history = {"iteration": [0, 1, 2], "normalized_loss": [1.0, 0.6, 0.5]}
    >>> plot_loss(history).get_xlabel()  # doctest: +SKIP
    'iteration'
    """
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.figure(figsize=(6.4, 4.0), layout="constrained").add_subplot()
    iteration = np.asarray(history["iteration"])
    loss = np.asarray(history["normalized_loss"], dtype=np.float64)
    ax.plot(iteration, loss, color=_BAR, linewidth=1.8, marker="o", markersize=3 if len(loss) <= 60 else 0)
    if loss.size and loss.min() > 0 and loss.max() > 10 * loss.min():
        ax.set_yscale("log")
    else:
        # Without this the axis reads "+9.77e-1": a reader wants the loss, not its distance from an offset.
        ax.ticklabel_format(axis="y", useOffset=False)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("iteration")
    ax.set_ylabel("normalized loss")
    if loss.size:
        ax.set_title(f"Loss: {loss[0]:.4f} at the start, {loss[-1]:.4f} at the end", fontsize=11, loc="left")
    ax.grid(axis="y", color="#dddddd", linewidth=0.8)
    _plain(ax)
    return ax


def plot_top_features(weights, feature_names, titles, n=10, *, title=None, n_columns=None, color=_BAR, figure=None):
    """Plot the strongest features of each row as a panel of horizontal bars, the largest on top.

    Parameters
    ----------
    weights : array-like of shape (n_panels, n_features)
        `shifts_` or `components_` of a fitted model. Zero weights get no bar. Each panel has its own scale.
    feature_names : sequence of str of length n_features
        Names shown beside the bars; names of more than 18 characters are shortened.
    titles : sequence of n_panels
        Panel titles, such as `strata_`.
    n : int, default=10
        Bars a panel.
    title : str, default=None
        Title of the figure.
    n_columns : int, default=None
        Panels a line. None: five at most, as even as possible.
    color : matplotlib color, default a quiet blue
        Colour of the bars.
    figure : matplotlib.figure.Figure, default=None
        An empty figure to draw into; it is resized. None: a new one.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the lengths do not fit together or n is not positive.
    ImportError
        If matplotlib is not installed and no figure is given.

    Examples
    --------
    >>> from fastnmf.plots import plot_top_features
    >>> plot_top_features([[1.0, 3.0]], ["ice", "orbit"], ["space"])  # doctest: +SKIP
    <Figure size 290x180 with 1 Axes>
    """
    weights = np.asarray(weights, dtype=np.float64)
    names = [str(name) for name in feature_names]
    titles = [str(label) for label in titles]
    if weights.ndim != 2 or weights.shape != (len(titles), len(names)) or not titles:
        raise ValueError(
            f"weights must have one row a title ({len(titles)}) and one column a name ({len(names)}), "
            f"at least one; got shape {weights.shape}."
        )
    if n < 1:
        raise ValueError(f"n must be at least 1; got {n}.")
    if n_columns is None:
        n_lines = math.ceil(len(titles) / 5)
        n_columns = math.ceil(len(titles) / n_lines)
    n_lines = math.ceil(len(titles) / n_columns)
    n_bars = min(n, len(names))
    # Inches: a name and its bar need 2.9 across; a bar 0.19 and title and ticks 0.6 down.
    size = (2.9 * n_columns, n_lines * (0.19 * n_bars + 0.6) + (0.5 if title else 0.0))
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.figure()
    figure.set_size_inches(size)
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    for index, row in enumerate(weights):
        ax = figure.add_subplot(n_lines, n_columns, index + 1)
        _bars(ax, row, names, n_bars, color)
        ax.set_title(_shortened(titles[index], 34), fontsize=10, fontweight="bold", color=_INK, loc="left")
    if title:
        figure.suptitle(title, fontsize=13, color=_INK, x=0.01, ha="left")
    return figure


def _bars(ax, row, names, n_bars, color):
    """Draw the strongest positive entries of a row, the largest on top."""
    order = np.argsort(-row, kind="stable")[:n_bars]
    order = order[row[order] > 0]
    if order.size:
        ax.barh(np.arange(order.size), row[order], height=0.72, color=color)
    else:
        ax.text(0.5, 0.5, "all zero", transform=ax.transAxes, ha="center", va="center", color="#888888")
    ax.set_yticks(np.arange(order.size), [_shortened(names[j], _LONGEST_NAME) for j in order], fontsize=8.5)
    ax.set_ylim(n_bars - 0.4, -0.6)
    ax.locator_params(axis="x", nbins=3)
    ax.tick_params(axis="x", labelsize=7.5)
    ax.tick_params(axis="y", length=0)
    _plain(ax)


def _plain(ax):
    """Take away the box, keep the two axes."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#999999")
    ax.tick_params(color="#999999", labelcolor=_INK)


def _shortened(name, longest):
    """Return the name, cut to `longest` characters; a dollar sign is a dollar sign, not mathematics."""
    name = name if len(name) <= longest else name[: longest - 3] + "..."
    return name.replace("$", r"\$")
