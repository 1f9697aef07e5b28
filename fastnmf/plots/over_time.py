"""Plot how the components of a model drift over time."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnmf.data.sentences import shown
from fastnmf.metrics.checks import check_count
from fastnmf.plots.effects import lines_over
from fastnmf.plots.features import columns_of
from fastnmf.plots.style import FEW, Style, look_of
from fastnmf.typing import Labels


def plot_over_time(
    found: Any,
    component: int,
    features: Labels | None = None,
    ax: Any = None,
    *,
    n: int = 3,
    style: Style = "paper",
) -> Any:
    """Plot the shares of features in a component over time, as lines.

    Parameters
    ----------
    found : TopicsOverTime
        Result of `fastnmf.topics_over_time`.
    component : int
        Number of the component.
    features : sequence of str or int, default=None
        Names or column numbers of the features to show, at most eight. None: the n whose share rises most, and the n
        whose share falls most.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure.
    n : int, default=3
        Number of rising, and of falling features where `features` is None, at most four.
    style : {"paper", "slide"}, default="paper"
        Sizes of type and lines.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Shares of the sum of the component, from 0 to 1. Levels that are neither numbers nor dates are marks in order.

    Raises
    ------
    ValueError
        If the component or a feature is not known, or there are too many features.
    TypeError
        If `found` is something else.
    ImportError
        If matplotlib is not installed and no axes are given.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import NMF, topics_over_time
    >>> from fastnmf.plots import plot_over_time
    >>> X = np.random.default_rng(0).random((30, 5))
    >>> found = topics_over_time(NMF(2, random_state=0).fit(X), X, np.repeat([2020, 2021, 2022], 10))
    >>> ax = plot_over_time(found, 0)  # doctest: +SKIP
    """
    look = look_of(style)
    check_count("n", n)
    if not all(hasattr(found, name) for name in ("changes", "shares", "levels")):
        raise TypeError(f"found={shown(found)} is not valid; expected what fastnmf.topics_over_time returns.")
    names = [str(name) for name in found.feature_names]
    if features is None:
        changes = found.changes(component)
        order = np.argsort(-changes, kind="stable")
        n = min(n, len(FEW) // 2)
        up, down = order[:n][changes[order[:n]] > 0], order[::-1][:n]
        columns = [*up.tolist(), *down[changes[down] < 0].tolist()]
    else:
        columns = columns_of(features, names)
    if not 0 < len(columns) <= len(FEW):
        raise ValueError(f"{len(columns)} features are to be drawn; give 1 to {len(FEW)}.")
    shares = found.shares(component, columns)
    return lines_over(ax, found.levels, shares, [names[j] for j in columns], "time", look, "share of the component")
