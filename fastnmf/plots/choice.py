"""Plot the results of many fits: the choice of the rank or the kind of model, and the agreement of several runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnmf.data.sentences import shown
from fastnmf.plots.style import (
    BAR,
    CHOSEN,
    GRID,
    INK,
    QUIET,
    Panels,
    Style,
    axes_or_new,
    colour_bar,
    legend_above,
    look_of,
    plain,
    settle,
    titled,
)


def plot_rank_selection(result: Any, ax: Any = None, *, style: Style = "paper") -> Any:
    """Plot held-out loss and stability over the rank, with the two choices.

    Parameters
    ----------
    result : RankSelection
        Result of `fastnmf.select_rank`.
    ax : matplotlib.axes.Axes, or sequence of two, default=None
        Where to draw: the first shows the loss, the second the stability. Single axes show the loss. None: a new
        figure, with a panel for the stability if it was measured.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

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
    look = look_of(style)
    _check(result, "held_out_se", "select_rank")
    has_stability = not np.isnan(result.stability).all()
    if ax is None:
        from matplotlib import pyplot

        height = look.height * (1.25 if has_stability else 0.95)
        figure = pyplot.figure(figsize=(look.width, height), layout="constrained")
        ax = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1)) if has_stability else figure.add_subplot()
        ax = Panels(list(ax)) if has_stability else ax
    panels = list(np.atleast_1d(np.asarray(ax, dtype=object)))
    if len(panels) > 2:
        raise ValueError(f"ax has {len(panels)} axes; give one, or two: for the loss and for the stability.")
    top = panels[0]
    ranks, loss, se = result.ranks, result.held_out, result.held_out_se
    best, simple = (int(np.flatnonzero(ranks == rank)[0]) for rank in (result.best_rank, result.rank_1se))
    line, dot = look.line, 2.7 * look.line
    top.errorbar(ranks, loss, yerr=se, color=BAR, linewidth=1.2 * line, capsize=3, marker="o", markersize=dot, zorder=2)
    top.axhline(loss[best] + se[best], color=QUIET, linewidth=0.7 * line, linestyle=(0, (4, 3)), zorder=1)
    marked = f"rank of the least loss: {ranks[best]}", f"smallest rank within\none standard error: {ranks[simple]}"
    _mark(top, look, result, loss, [(ranks[at], loss[at]) for at in (best, simple)], marked)
    if len(panels) == 2:
        low = panels[1]
        low.plot(ranks, result.stability, color=INK, linewidth=line, marker="o", markersize=dot)
        low.set_ylabel("stability", fontsize=look.text)
        low.set_ylim(min(0.5, float(np.nanmin(result.stability, initial=1.0)) - 0.05), 1.03)
    for panel in panels:
        panel.grid(axis="y", color=GRID, linewidth=0.8)
        plain(panel, look)
        panel.tick_params(which="minor", labelsize=look.small, labelcolor=INK, color=QUIET)
    panels[-1].set_xlabel("rank", fontsize=look.text)
    if len(ranks) <= 12:  # ticks at the tried ranks only
        for panel in panels:
            panel.set_xticks(ranks)
        settle(*panels)
    return ax


def plot_strata_selection(result: Any, ax: Any = None, *, style: Style = "paper") -> Any:
    """Plot the held-out losses of all candidates by kind of model, with the two choices.

    Parameters
    ----------
    result : StrataSelection
        Result of `fastnmf.select_strata`.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

    Returns
    -------
    ax : matplotlib.axes.Axes
        A small dot is a candidate. The bar at the best one of each rung extends one standard error of its difference
        from the least loss up and down. A filled dot marks the least loss, a ring the choice of the
        one-standard-error rule.

    Raises
    ------
    TypeError
        If the result is another one.
    ImportError
        If matplotlib is not installed and no axes are given.

    Examples
    --------
    >>> from fastnmf import select_strata
    >>> from fastnmf.datasets import make_stratified
    >>> from fastnmf.plots import plot_strata_selection
    >>> planted = make_stratified((40, 40), n_features=30, n_components=2, noise=0.1, random_state=0)
    >>> result = select_strata(planted.data, planted.strata, 2, random_state=0)  # doctest: +SKIP
    >>> plot_strata_selection(result).get_ylabel()  # doctest: +SKIP
    'held-out loss'
    """
    look = look_of(style)
    _check(result, "best_1se", "select_strata")
    ax = axes_or_new(ax, look, (look.width, 0.95 * look.height))
    best = result.best_of_rungs()
    place = {row.rung: at for at, row in enumerate(best)}
    line, dot = look.line, 2.7 * look.line
    losses = np.array([row.held_out for row in result.table])
    at = [place[row.rung] for row in result.table]
    ax.plot(at, losses, "o", color=QUIET, markersize=0.9 * dot, alpha=0.5, markeredgewidth=0, zorder=1)
    bars = {"color": BAR, "linewidth": 1.2 * line, "capsize": 3, "fmt": "o", "markersize": dot, "zorder": 2}
    ax.errorbar(range(len(best)), [row.held_out for row in best], yerr=[row.excess_se for row in best], **bars)
    chosen = [(place[row.rung], row.held_out) for row in (result.best, result.best_1se)]
    marked = f"least loss: {result.best.rung}", f"simplest within\none standard error: {result.best_1se.rung}"
    _mark(ax, look, result, losses, chosen, marked)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    plain(ax, look)
    ax.tick_params(which="minor", labelsize=look.small, labelcolor=INK, color=QUIET)
    ax.set_xlim(-0.5, len(best) - 0.5)
    ax.set_xticks(range(len(best)), [row.rung.replace("_", " ") for row in best], fontsize=look.small)
    settle(ax)
    return ax


def _mark(ax, look, result, losses, chosen, marked):
    """Mark the two choices of a selection, and give the axis of the losses its scale and its name.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    look : Look
    result : RankSelection or StrataSelection
    losses : ndarray of float64
        All on the axes.
    chosen : list of two (x, y)
        The least loss, and the choice of the one-standard-error rule.
    marked : tuple of two str
        Their labels.
    """
    dot = 2.7 * look.line
    ax.plot(*chosen[0], "o", color=CHOSEN, markersize=1.7 * dot, zorder=3, label=marked[0])
    ring = {"markerfacecolor": "none", "markeredgecolor": CHOSEN, "markeredgewidth": look.line, "linestyle": "none"}
    ax.plot(*chosen[1], "o", markersize=3.2 * dot, zorder=3, label=marked[1], **ring)
    if losses.min() > 0 and losses.max() > 10 * losses.min():
        ax.set_yscale("log")
    else:
        ax.ticklabel_format(axis="y", useOffset=False)
    ax.set_ylabel("held-out loss", fontsize=look.text)
    what = {"entries": "entries", "rows_columns": "rows and columns"}[result.method]
    legend_above(ax, look, f"Held out: {what}, {result.n_folds} folds")


def plot_consensus(result: Any, ax: Any = None, *, style: Style = "paper") -> Any:
    """Plot the distances between the components of all runs as a map, ordered by cluster.

    Parameters
    ----------
    result : Consensus
        Result of `fastnmf.consensus`.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

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
    look = look_of(style)
    _check(result, "distances", "consensus")
    ax = axes_or_new(ax, look, (look.width, 0.85 * look.width))
    size = len(result.distances)
    image = ax.imshow(
        result.distances, cmap="Blues_r", vmin=0, vmax=math.sqrt(2), interpolation="nearest", extent=(0, size, size, 0)
    )
    ends = np.cumsum(result.n_members)
    begins = ends - result.n_members
    for begin, end in zip(begins, ends, strict=True):
        frame = [begin, end, end, begin, begin], [begin, begin, end, end, begin]
        ax.plot(*frame, color=CHOSEN, linewidth=0.7 * look.line)
    middles = (begins + ends) / 2
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(middles, [str(component) for component in range(len(middles))], fontsize=look.small)
    ax.tick_params(length=0, labelcolor=INK)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("component", fontsize=look.text)
    ax.set_ylabel("component", fontsize=look.text)
    colour_bar(image, ax, "distance", look)
    n_runs, rank = result.kept.shape
    titled(ax, f"{n_runs} runs of {rank} components, {n_runs * rank - size} dropped", look)
    settle(ax)
    return ax


def plot_stability(result: Any, ax: Any = None, *, style: Style = "paper") -> Any:
    """Plot how well runs agree, as bars with quartiles: of each consensus component, or of each rank.

    Parameters
    ----------
    result : Consensus or RankSelection
        Result of `fastnmf.consensus`: a bar is the median cosine of two members of a cluster, the runs' versions of one
        component. Or of `fastnmf.select_rank`: a bar is the median, over pairs of restarts and their components, of the
        cosine of matched components.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Lines extend from the lower to the upper quartile. A cluster of one member has no bar. Numbers of components are
        the rows of `components`.

    Raises
    ------
    TypeError
        If the result is another one.
    ValueError
        If `select_rank` measured no stability.
    ImportError
        If matplotlib is not installed and no axes are given.

    Examples
    --------
    >>> from fastnmf import consensus
    >>> from fastnmf.datasets import make_stratified
    >>> from fastnmf.plots import plot_stability
    >>> planted = make_stratified((30, 30), n_features=20, n_components=2, noise=0.02, random_state=0)
    >>> result = consensus(planted.data, planted.strata, 2, n_runs=5, random_state=0)  # doctest: +SKIP
    >>> plot_stability(result).get_ylabel()  # doctest: +SKIP
    'cosine of two runs'
    """
    look = look_of(style)
    if hasattr(result, "stability_quartiles"):
        quartiles, names, what = result.stability_quartiles, [str(rank) for rank in result.ranks], "rank"
        if np.isnan(quartiles).all():
            raise ValueError("select_rank measured no stability here; call it with n_restarts of 2 or more.")
        title = f"Agreement of {result.n_restarts} restarts of each rank"
    else:
        _check(result, "distances", "consensus or fastnmf.select_rank")
        quartiles = _quartiles_of_clusters(result)
        names, what = [str(component) for component in range(len(quartiles))], "component"
        title = f"Agreement of {len(result.kept)} runs on each component"
    low, middle, high = quartiles.T
    width = max(look.width, min(look.inches(2.2 * len(names) + 6), 24))
    ax = axes_or_new(ax, look, (width, 0.75 * look.height))
    at = np.arange(len(names))
    ax.bar(at, middle, 0.7, color=BAR)
    bars = {"color": INK, "linewidth": 0.8 * look.line, "capsize": 2 * look.line, "fmt": "none"}
    ax.errorbar(at, middle, yerr=np.nan_to_num([middle - low, high - middle]), **bars)
    plain(ax, look)
    ax.set_xticks(at, names, fontsize=look.small)
    ax.tick_params(axis="x", length=0)
    ax.set_xlim(-0.7, len(names) - 0.3)
    ax.set_ylim(0, 1.03)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_xlabel(what, fontsize=look.text)
    ax.set_ylabel("cosine of two runs", fontsize=look.text)
    titled(ax, title, look)
    settle(ax)
    return ax


def _quartiles_of_clusters(result):
    """Return the quartiles of the cosines of two different members of each cluster, (k, 3); NaN for a single member."""
    found, begin = np.full((len(result.n_members), 3), np.nan), 0
    for row, n_members in zip(found, result.n_members, strict=True):
        part = slice(begin, begin + n_members)
        distances = result.distances[part, part][np.tril_indices(n_members, -1)]
        if distances.size:
            row[:] = np.percentile(1 - np.square(distances) / 2, (25, 50, 75))  # members have the length one
        begin += n_members
    return found


def _check(result, attribute, function):
    if not hasattr(result, attribute):
        raise TypeError(f"The result is {shown(result)}; expected what fastnmf.{function} returns.")
