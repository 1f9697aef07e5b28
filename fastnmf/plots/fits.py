"""Plot the result of one fit: curves of its loss, top features, shifts, usage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from scipy import sparse

from fastnmf.data.matrix import as_numbers
from fastnmf.data.names import read_names
from fastnmf.data.ranking import feature_scores, strongest_of
from fastnmf.data.sentences import shown
from fastnmf.data.shifts import as_read, each_row
from fastnmf.plots.style import BAR, INK, axes_or_new, plain, sized
from fastnmf.typing import Dense, FittedModel, Labels, Names, Ranking, SparseOrDense

_LONGEST_NAME = 18


def plot_loss(
    history: Mapping[str, Any],
    ax: Any = None,
    *,
    x: Literal["iteration", "seconds"] = "iteration",
    label: str | None = None,
) -> Any:
    """Plot the normalized loss over the iterations, or over time.

    Parameters
    ----------
    history : dict
        `history_` of a fitted model: arrays `normalized_loss` and `iteration` or `seconds`, entry 0 the start.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure.
    x : {"iteration", "seconds"}, default="iteration"
    label : str, default=None
        Name of the curve, for a legend. None: no legend; the title gives the first and the last loss.

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
    ax = _curve(history, "normalized_loss", "normalized loss", ax, x, label)
    lowest, highest = min(line.get_ydata().min(initial=np.inf) for line in ax.get_lines()), ax.dataLim.y1
    if 0 < 10 * lowest < highest < np.inf:
        ax.set_yscale("log")
    elif ax.get_yscale() == "linear":
        # Without this the axis shows an offset such as "+9.77e-1" and the distances from it.
        ax.ticklabel_format(axis="y", useOffset=False)
    loss = ax.get_lines()[-1].get_ydata()
    if loss.size and label is None:
        ax.set_title(f"Loss: {loss[0]:.4f} at the start, {loss[-1]:.4f} at the end", fontsize=11, loc="left")
    return ax


def plot_residual(
    history: Mapping[str, Any],
    ax: Any = None,
    *,
    x: Literal["iteration", "seconds"] = "iteration",
    label: str | None = None,
) -> Any:
    """Plot the KKT residual over the iterations, or over time, on a logarithmic axis.

    Parameters
    ----------
    history : dict
        `history_` of a `fastnmf.metrics.ResidualHistory`: arrays `kkt_residual` and `iteration` or `seconds`. Values
        that are not finite, such as at a start with W = 0, are left out.
    ax, x, label :
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
    ax = _curve(history, "kkt_residual", "KKT residual", ax, x, label)
    ax.set_yscale("log")
    residual = ax.get_lines()[-1].get_ydata()
    if residual.size and label is None:
        ax.set_title(f"KKT residual: {residual[-1]:.1e} at the end, 0 is stationary", fontsize=11, loc="left")
    return ax


def plot_top_features(
    weights: SparseOrDense | FittedModel,
    feature_names: Names | None = None,
    titles: Labels | None = None,
    n: int = 10,
    *,
    by: Ranking | None = None,
    title: str | None = None,
    n_columns: int | None = None,
    color: Any = BAR,
    figure: Any = None,
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
    titles : sequence of n_panels, default=None
        Panel titles, such as `strata_`. None: those of the model, or else numbers from 1.
    n : int, default=10
        Largest number of bars in a panel.
    by : {"weight", "contrast", "lift"}, default=None
        What the bars show, as in `NMF.top_features`. ``"contrast"``: the weight less the mean weight of the other rows,
        which tells what is specific to a stratum. None: contrast for the strata of a model, else the weight.
    title : str, default=None
        Title of the figure.
    n_columns : int, default=None
        Panels side by side. None: five at most, as even as possible.
    color : matplotlib color, default="#3b6ea5"
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
    model = weights
    if hasattr(model, "components_"):
        weights = getattr(model, "shifts_", model.components_)
        feature_names = getattr(model, "feature_names_in_", None) if feature_names is None else feature_names
    if hasattr(model, "shifts_"):
        by, titles = by or "contrast", model.strata_ if titles is None else titles
    weights = _rows_to_draw(weights, "weights")
    n_rows, n_features = weights.shape if weights.ndim == 2 else (0, 0)
    feature_names = range(n_features) if feature_names is None else feature_names
    names = read_names(feature_names, _count(feature_names)).tolist()
    titles = [str(label) for label in (range(1, n_rows + 1) if titles is None else titles)]
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
    # In inches: a name and its bar are 2.9 wide; a bar is 0.19 high, title and ticks together 0.6.
    size = (2.9 * n_columns, n_lines * (0.19 * n_bars + 0.6) + (0.5 if title else 0.0))
    figure = sized(figure, size, w_pad=0.08, h_pad=0.08)
    for index, scores in enumerate(feature_scores(weights, by or "weight")):
        ax = figure.add_subplot(n_lines, n_columns, index + 1)
        _bars(ax, scores, names, n_bars, color)
        ax.set_title(_shortened(titles[index], 34), fontsize=10, fontweight="bold", color=INK, loc="left")
    if title:
        figure.suptitle(title, fontsize=13, color=INK, x=0.01, ha="left")
    return figure


def plot_images(
    vectors: SparseOrDense,
    image_shape: tuple[int, int],
    titles: Labels | None = None,
    *,
    title: str | None = None,
    n_columns: int | None = None,
    cmap: Any = "gray_r",
    figure: Any = None,
) -> Any:
    """Draw shifts or components whose features are pixels, each as an image.

    Parameters
    ----------
    vectors : array-like or sparse matrix of shape (n_images, n_features)
        `shifts_` or `components_`. Each image has its own grey scale, from 0 to its largest entry.
    image_shape : (int, int)
        Height and width; their product is n_features, and pixels are in row order.
    titles : sequence of n_images, default=None
        Titles of the images, such as `strata_`. None: no titles.
    title : str, default=None
        Title of the figure.
    n_columns : int, default=None
        Images side by side. None: ten at most, as even as possible.
    cmap : matplotlib colormap, default="gray_r"
        In the default, dark means large.
    figure : matplotlib.figure.Figure, default=None
        An empty figure to draw into; it is resized. None: a new one.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    ImportError
        If matplotlib is not installed and no figure is given.

    Examples
    --------
    >>> from fastnmf.plots import plot_images
    >>> plot_images([[0.0, 1.0, 1.0, 0.0]], image_shape=(2, 2), titles=["cross"])  # doctest: +SKIP
    <Figure size 140x160 with 1 Axes>
    """
    vectors = _rows_to_draw(vectors, "vectors")
    vectors = np.atleast_2d(vectors) if isinstance(vectors, np.ndarray) else vectors
    height, width = image_shape
    if vectors.ndim != 2 or vectors.shape[1] != height * width or not vectors.shape[0]:
        raise ValueError(
            f"vectors of shape {vectors.shape} are no images of {height} x {width} pixels: a row must have "
            f"{height * width} entries."
        )
    n = vectors.shape[0]
    titles = [""] * n if titles is None else [str(label) for label in titles]
    if len(titles) != n:
        raise ValueError(f"There are {len(titles)} titles for {n} images; pass one for each.")
    n_columns = n_columns or math.ceil(n / math.ceil(n / 10))
    n_lines = math.ceil(n / n_columns)
    size = (1.4 * n_columns, n_lines * (1.4 * height / width + (0.2 if any(titles) else 0)) + (0.5 if title else 0))
    figure = sized(figure, size, w_pad=0.05, h_pad=0.05)
    for index, (vector, label) in enumerate(zip(each_row(vectors), titles, strict=True)):
        ax = figure.add_subplot(n_lines, n_columns, index + 1)
        ax.imshow(vector.reshape(height, width), cmap=cmap, vmin=0, vmax=vector.max() or 1, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_color("#cccccc")
        ax.set_title(_shortened(label, _LONGEST_NAME), fontsize=9, color=INK)
    if title:
        figure.suptitle(title, fontsize=13, color=INK, x=0.01, ha="left")
    return figure


def plot_shift_shares(shifts: SparseOrDense, feature_names: Names, strata: Labels, ax: Any = None) -> Any:
    """Plot the share of each stratum in the summed shifts of a feature, ``v(i)_j / sum_i v(i)_j``, as grouped bars.

    Parameters
    ----------
    shifts : array-like or sparse matrix of shape (n_strata, n_features)
        `shifts_` of a fitted model.
    feature_names : sequence of str of length n_features
    strata : sequence of n_strata
        Labels, for the legend.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure.

    Returns
    -------
    ax : matplotlib.axes.Axes
        The bars of a feature add up to one; a feature that is zero in all shifts has no bars.

    Raises
    ------
    ValueError
        If the lengths do not match, or there are more than 30 features or strata.
    ImportError
        If matplotlib is not installed and no axes are given.

    Notes
    -----
    The chart of figure 3 of Chapman, Yaniv, Needell 2023, arXiv:2311.10789. These shares depend on the free gauge of
    the model; fit with ``gauge="max_shift"`` to compare them.

    Examples
    --------
    >>> from fastnmf.plots import plot_shift_shares
    >>> ax = plot_shift_shares([[1.0, 3.0], [3.0, 1.0]], ["rooms", "age"], ["low", "high"])  # doctest: +SKIP
    """
    shifts = _rows_to_draw(shifts, "shifts")
    names, strata = read_names(feature_names, _count(feature_names)).tolist(), [str(label) for label in strata]
    if shifts.shape != (len(strata), len(names)):
        raise ValueError(
            f"shifts must have one row a stratum ({len(strata)}) and one column a name ({len(names)}); got shape "
            f"{shifts.shape}."
        )
    if max(shifts.shape) > 30 or min(shifts.shape) < 1:
        raise ValueError(f"Bars for {len(strata)} strata and {len(names)} features cannot be read; pick 1 to 30 each.")
    totals = shifts.sum(axis=0)
    shares = np.divide(shifts, totals, out=np.zeros_like(shifts), where=totals > 0)
    ax = axes_or_new(ax, (max(6.4, 0.25 * shifts.size + 1), 4.0))
    width = 0.8 / len(strata)
    for index, (row, label) in enumerate(zip(shares, strata, strict=True)):
        at = np.arange(len(names)) + (index - (len(strata) - 1) / 2) * width
        ax.bar(at, row, 0.92 * width, label=_shortened(label, 34), color=_colour(index, len(strata)))
    ax.set_xticks(np.arange(len(names)), [_shortened(name, _LONGEST_NAME) for name in names], fontsize=9)
    if len(names) > 6:
        ax.tick_params(axis="x", rotation=35)
    ax.set_ylabel("share of the shifts")
    ax.legend(frameon=False, fontsize=9, ncols=min(len(strata), 5), loc="lower left", bbox_to_anchor=(0, 1))
    ax.grid(axis="y", color="#dddddd", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(axis="x", length=0)
    plain(ax)
    return ax


def plot_usage(usage: Dense, strata: Labels, components: Labels | None = None, ax: Any = None) -> Any:
    """Draw the usage of components by strata as a heat map, with one line a stratum and one column a component.

    Parameters
    ----------
    usage : array-like of shape (n_strata, n_components)
        Shares between 0 and 1, as `fastnmf.metrics.component_usage` returns them.
    strata : sequence of n_strata
        Labels.
    components : sequence of n_components, default=None
        Names of the components. None: 1, 2, ...
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure.

    Returns
    -------
    ax : matplotlib.axes.Axes
        If there are at most 600 cells, those of at least half a percent show their share in percent.

    Raises
    ------
    ValueError
        If the lengths do not fit together.
    ImportError
        If matplotlib is not installed and no axes are given.

    Examples
    --------
    >>> from fastnmf.plots import plot_usage
    >>> ax = plot_usage([[0.2, 0.8], [1.0, 0.0]], ["a", "b"])  # doctest: +SKIP
    """
    usage = as_numbers(usage, "usage").astype(np.float64)
    strata = [str(label) for label in strata]
    components = range(1, usage.shape[-1] + 1) if components is None else components
    components = [str(name) for name in components]
    if usage.shape != (len(strata), len(components)) or not usage.size:
        raise ValueError(
            f"usage must have one row a stratum ({len(strata)}) and one column a component ({len(components)}), at "
            f"least one; got shape {usage.shape}."
        )
    size = (0.42 * len(components) + 2.6, 0.3 * len(strata) + 1.2)
    ax = axes_or_new(ax, (min(size[0], 24), min(size[1], 24)))
    ax.imshow(usage, cmap="Blues", vmin=0, vmax=max(usage.max(), 1e-300) * 1.25, aspect="auto", interpolation="nearest")
    if usage.size <= 600:
        for row, column in zip(*np.nonzero(usage >= 0.005), strict=True):
            share = usage[row, column]
            colour = "white" if share > 0.6 * usage.max() else INK
            ax.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7.5, color=colour)
    is_long = max(map(len, components)) > 4
    ax.set_xticks(
        np.arange(len(components)),
        [_shortened(name, 34) for name in components],
        fontsize=8.5,
        rotation=50 if is_long else 0,
        ha="left" if is_long else "center",
        rotation_mode="anchor" if is_long else "default",
    )
    ax.set_yticks(np.arange(len(strata)), [_shortened(label, 28) for label in strata], fontsize=8.5)
    ax.xaxis.tick_top()
    ax.set_xlabel("share of each component in what the components bring, %", fontsize=9, loc="left")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelcolor=INK)
    return ax


def _count(names):
    return len(names) if hasattr(names, "__len__") else 0


def _rows_to_draw(weights, name):
    """Return the argument `name` of a plot as a float64 array, or as a csr_array where a dense one would be large."""
    weights = as_read(sparse.csr_array(weights)) if sparse.issparse(weights) else as_numbers(weights, name)
    return weights.astype(np.float64)


def _curve(history, name, title, ax, x, label):
    """Draw one quantity of a history; return the axes.

    Parameters
    ----------
    history : dict of array-like
    name : str
        Key of the quantity.
    title : str
        Label of the y axis.
    ax : matplotlib.axes.Axes, or None
    x : {"iteration", "seconds"}
    label : str, or None
        Name of the curve in the legend.

    Returns
    -------
    matplotlib.axes.Axes
    """
    if x not in ("iteration", "seconds"):
        raise ValueError(f"x={shown(x)} is not valid; expected 'iteration' or 'seconds'.")
    missing = [key for key in (x, name) if key not in history]
    if missing:
        raise ValueError(
            f"The history has no {missing[0]!r}, only {', '.join(map(repr, history))}; for kkt_residual fit with "
            "callback=fastnmf.metrics.ResidualHistory(X, strata) and pass its history_."
        )
    at, values = np.asarray(history[x]), np.asarray(history[name], dtype=np.float64)
    is_finite = np.isfinite(values)
    at, values = at[is_finite], values[is_finite]
    ax = axes_or_new(ax)
    color = _colour(len(ax.get_lines()) % 8, 8)
    marker = 3 if len(values) <= 60 else 0
    ax.plot(at, values, color=color, linewidth=1.8, marker="o", markersize=marker, label=label)
    if x == "iteration":
        ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel(x)
    ax.set_ylabel(title)
    ax.grid(visible=True, axis="y", color="#dddddd", linewidth=0.8)
    if label is not None:
        ax.legend(frameon=False)
    plain(ax)
    return ax


def _colour(index, n):
    """Return colour `index` of n.

    Up to eight colours come from a palette for colour-blind readers (Okabe and Ito 2008), more from a continuous scale.
    """
    few = (BAR, "#e69f00", "#009e73", "#cc79a7", "#7a7a7a", "#d55e00", "#56b4e9", "#b5a900")
    if n <= len(few):
        return few[index]
    import matplotlib

    return matplotlib.colormaps["viridis"](index / (n - 1))


def _bars(ax, scores, names, n_bars, color):
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
    """
    order, values = strongest_of(scores, n_bars)
    if order.size:
        ax.barh(np.arange(order.size), values, height=0.72, color=color)
    else:
        ax.text(0.5, 0.5, "all zero", transform=ax.transAxes, ha="center", va="center", color="#888888")
    ax.set_yticks(np.arange(order.size), [_shortened(names[j], _LONGEST_NAME) for j in order], fontsize=8.5)
    ax.set_ylim(n_bars - 0.4, -0.6)
    ax.locator_params(axis="x", nbins=3)
    ax.tick_params(axis="x", labelsize=7.5)
    ax.tick_params(axis="y", length=0)
    plain(ax)


def _shortened(name, longest):
    """Return the name, cut to `longest` characters, with dollar signs escaped: they would start a formula."""
    name = name if len(name) <= longest else name[: longest - 3] + "..."
    return name.replace("$", r"\$")
