"""Plot the results of many fits: the choice of the rank, and the consensus of several runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnmf.data.sentences import shown
from fastnmf.plots.style import BAR, INK, plain

_CHOSEN = "#c25a1c"
_QUIET = "#999999"


def plot_rank_selection(result: Any, ax: Any = None) -> Any:
    """Plot held-out loss and stability over the rank, with the two choices.

    Parameters
    ----------
    result : RankSelection
        Result of `fastnmf.select_rank`.
    ax : matplotlib.axes.Axes, or sequence of two, default=None
        Where to draw: the first shows the loss, the second the stability. Single axes show the loss. None: a new
        figure, with a panel for the stability if it was measured.

    Returns
    -------
    ax : matplotlib.axes.Axes, or ndarray of two
        As given. A filled dot marks the least loss, a ring the smallest rank within one standard error of it.

    Raises
    ------
    ValueError
        If `ax` has more than two axes.
    ImportError
        If matplotlib is not installed and no axes are given.

    Notes
    -----
    Error bars extend one standard error up and down. If the largest loss is more than ten times the least, its axis is
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
    _check(result, "held_out_se", "select_rank")
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
    top.errorbar(ranks, loss, yerr=se, color=BAR, linewidth=1.8, capsize=3, marker="o", markersize=4, zorder=2)
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
        low.plot(ranks, result.stability, color=INK, linewidth=1.4, marker="o", markersize=4)
        low.set_ylabel("stability")
        low.set_ylim(min(0.5, float(np.nanmin(result.stability, initial=1.0)) - 0.05), 1.03)
    for panel in panels:
        panel.grid(axis="y", color="#dddddd", linewidth=0.8)
        plain(panel)
    panels[-1].set_xlabel("rank")
    if len(ranks) <= 12:  # ticks at the tried ranks only
        panels[-1].set_xticks(ranks)
    return ax


def plot_consensus(result: Any, ax: Any = None) -> Any:
    """Plot the distances between the components of all runs as a map, ordered by cluster.

    Parameters
    ----------
    result : Consensus
        Result of `fastnmf.consensus`.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Dark squares along the diagonal are clusters of similar components; their numbers are the rows of `components`.
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
    _check(result, "distances", "consensus")
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
    ax.tick_params(length=0, labelcolor=INK)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("component")
    ax.set_ylabel("component")
    colors = ax.figure.colorbar(image, ax=ax, shrink=0.7)
    colors.set_label("distance", color=INK)
    colors.outline.set_visible(False)
    n_runs, rank = result.kept.shape
    ax.set_title(f"{n_runs} runs of {rank} components, {n_runs * rank - size} dropped", fontsize=11, loc="left")
    return ax


def _check(result, attribute, function):
    if not hasattr(result, attribute):
        raise TypeError(f"The result is {shown(result)}; expected what fastnmf.{function} returns.")
