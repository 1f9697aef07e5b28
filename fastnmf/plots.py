"""Draw what a fit found.

matplotlib is imported inside the functions: ``pip install fastnmf[plot]``.
"""

import math

import numpy as np

__all__ = ["plot_loss", "plot_top_features"]

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


__all__ += ["plot_consensus", "plot_rank_selection"]

_CHOSEN = "#c25a1c"
_QUIET = "#999999"


def plot_rank_selection(result, ax=None):
    """Plot held-out loss and stability over the rank, with the two choices.

    Parameters
    ----------
    result : RankSelection
        What `fastnmf.select_rank` returned.
    ax : matplotlib.axes.Axes, or sequence of two, default=None
        Where to draw: the loss, and below it the stability. One alone gets the loss. None: a new figure, with the panel
        of the stability if there is one.

    Returns
    -------
    ax : matplotlib.axes.Axes, or ndarray of two
        As given. The filled dot is the least loss, the ring the smallest rank within one standard error of it.

    Raises
    ------
    ValueError
        If `ax` are more than two.
    ImportError
        If matplotlib is not installed and no axes are given.

    Notes
    -----
    Bars are one standard error either way. Where the largest loss is more than ten times the least, its axis is
    logarithmic.

    Examples
    --------
    >>> from fastnmf import select_rank
    >>> from fastnmf.datasets import make_stratified
    >>> from fastnmf.plots import plot_rank_selection
    >>> planted = make_stratified((30, 30), n_features=20, n_components=2, noise=0.02, random_state=0)
    >>> result = select_rank(planted.data, planted.strata, range(1, 5), random_state=0)  # doctest: +SKIP
    >>> plot_rank_selection(result)[0].get_ylabel()  # doctest: +SKIP
    'held-out loss'
    """
    has_stability = not np.isnan(result.stability).all()
    if ax is None:
        from matplotlib import pyplot

        height = 5.2 if has_stability else 3.8
        figure = pyplot.figure(figsize=(6.4, height), layout="constrained")
        ax = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1)) if has_stability else figure.add_subplot()
    panels = list(np.atleast_1d(np.asarray(ax, dtype=object)))
    if len(panels) > 2:
        raise ValueError(f"ax has {len(panels)} axes; give one, or two: for the loss and for the stability.")
    top = panels[0]
    ranks, loss, se = result.ranks, result.held_out, result.held_out_se
    best, simple = (int(np.flatnonzero(ranks == rank)[0]) for rank in (result.best_rank, result.rank_1se))
    top.errorbar(ranks, loss, yerr=se, color=_BAR, linewidth=1.8, capsize=3, marker="o", markersize=4, zorder=2)
    top.axhline(loss[best] + se[best], color=_QUIET, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    top.plot(ranks[best], loss[best], "o", color=_CHOSEN, markersize=7, zorder=3, label=f"least: {ranks[best]}")
    ring = {"markerfacecolor": "none", "markeredgecolor": _CHOSEN, "markeredgewidth": 1.6, "linestyle": "none"}
    label = f"smallest within one standard error: {ranks[simple]}"
    top.plot(ranks[simple], loss[simple], "o", markersize=13, zorder=3, label=label, **ring)
    if loss.min() > 0 and loss.max() > 10 * loss.min():
        top.set_yscale("log")
    else:
        top.ticklabel_format(axis="y", useOffset=False)
    top.set_ylabel("held-out loss")
    legend = top.legend(frameon=False, fontsize=9, title="rank", alignment="left")
    legend.get_title().set_fontsize(9)
    what = {"entries": "entries", "rows_columns": "rows and columns"}[result.method]
    top.set_title(f"Held out: {what}, {result.n_folds} folds", fontsize=11, loc="left")
    if len(panels) == 2:
        low = panels[1]
        low.plot(ranks, result.stability, color=_INK, linewidth=1.4, marker="o", markersize=4)
        low.set_ylabel("stability")
        low.set_ylim(min(0.5, float(np.nanmin(result.stability, initial=1.0)) - 0.05), 1.03)
    for panel in panels:
        panel.grid(axis="y", color="#dddddd", linewidth=0.8)
        _plain(panel)
    panels[-1].set_xlabel("rank")
    if len(ranks) <= 12:  # the ranks that were tried, and no others
        panels[-1].set_xticks(ranks)
    return ax


def plot_consensus(result, ax=None):
    """Plot the distances between the components of all runs as a map, cluster by cluster.

    Parameters
    ----------
    result : Consensus
        What `fastnmf.consensus` returned.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Dark squares along the diagonal are clusters of like components; their numbers are the rows of `components`.
        Dropped components are not on the map.

    Raises
    ------
    ImportError
        If matplotlib is not installed and no axes are given.

    Examples
    --------
    >>> from fastnmf import consensus
    >>> from fastnmf.datasets import make_stratified
    >>> from fastnmf.plots import plot_consensus
    >>> planted = make_stratified((30, 30), n_features=20, n_components=2, noise=0.02, random_state=0)
    >>> result = consensus(planted.data, planted.strata, 2, n_runs=5, random_state=0)  # doctest: +SKIP
    >>> plot_consensus(result).get_xlabel()  # doctest: +SKIP
    'component'
    """
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.figure(figsize=(5.6, 5.0), layout="constrained").add_subplot()
    size = len(result.distances)
    image = ax.imshow(
        result.distances, cmap="Blues_r", vmin=0, vmax=math.sqrt(2), interpolation="nearest", extent=(0, size, size, 0)
    )
    ends = np.cumsum(result.n_members)
    begins = ends - result.n_members
    for begin, end in zip(begins, ends, strict=True):
        ax.plot([begin, end, end, begin, begin], [begin, begin, end, end, begin], color=_CHOSEN, linewidth=1.0)
    middles = (begins + ends) / 2
    every = math.ceil(len(middles) / 25)  # more numbers would overlap
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(middles[::every], [str(component) for component in range(0, len(middles), every)], fontsize=8.5)
    ax.tick_params(length=0, labelcolor=_INK)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("component")
    ax.set_ylabel("component")
    colors = ax.figure.colorbar(image, ax=ax, shrink=0.7)
    colors.set_label("distance", color=_INK)
    colors.outline.set_visible(False)
    n_runs, rank = result.kept.shape
    ax.set_title(f"{n_runs} runs of {rank} components, {n_runs * rank - size} dropped", fontsize=11, loc="left")
    return ax
