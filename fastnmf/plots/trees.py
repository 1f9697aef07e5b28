"""Plot hierarchies of topics.

matplotlib is imported inside the functions: ``pip install fastnmf[plot]``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnmf.data.sentences import shown
from fastnmf.plots.style import BAR, INK
from fastnmf.typing import Matrix, Names

MOST_PIXELS = 1 << 22


def plot_tree(
    model: Any, feature_names: Names | None = None, *, n: int = 5, threshold: float = 0.1, ax: Any = None
) -> Any:
    """Draw the topics of all levels as a tree, the coarsest level on the left and the finest on the right.

    Parameters
    ----------
    model : HierarchicalNMF
        Fitted.
    feature_names : array-like (n_features,), default=None
        Names of the features. None: those of the fit, or else the column numbers.
    n : int, default=5
        Number of features shown for each topic.
    threshold : float, default=0.1
        Each topic is joined to the parent in which it has its largest share. A thin dotted line joins it to any other
        parent in which it has at least this share.
    ax : matplotlib.axes.Axes, default=None
        Where to draw. None: a new figure.

    Returns
    -------
    ax : matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed and no axes are given.

    Examples
    --------
    >>> from fastnmf import HierarchicalNMF
    >>> from fastnmf.datasets import make_hierarchical
    >>> from fastnmf.plots import plot_tree
    >>> model = HierarchicalNMF(random_state=0).fit(make_hierarchical(random_state=0).data)
    >>> plot_tree(model).get_title(loc="left")  # doctest: +SKIP
    'Topics of 3 levels: 2, 4, 9'
    """
    place, height = _places(model)
    if ax is None:
        from matplotlib import pyplot

        size = (3.6 * len(place), 0.32 * height + 0.8)
        ax = pyplot.figure(figsize=size, layout="constrained").add_subplot()
    top = len(place) - 1
    for level in range(top, 0, -1):
        shares = model.shares(level)
        for parent, row in enumerate(shares):
            for child, share in enumerate(row):
                belongs = shares[:, child].argmax() == parent
                if not belongs and share < threshold:
                    continue
                x = np.array([top - level + 0.3, top - level + 0.62, top - level + 0.98])
                y = np.array([place[level][parent]] * 2 + [place[level - 1][child]])
                style = {"linewidth": 0.6 + 4 * share} if belongs else {"linewidth": 0.6, "linestyle": ":"}
                ax.plot(x, y, color=BAR, alpha=0.75 if belongs else 0.5, zorder=1, **style)
    for level, at in enumerate(place):
        for y, words in zip(at, model.top_features(n, feature_names, level), strict=True):
            text = " ".join(words).replace("$", r"\$") or "(nothing)"
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
            ax.text(top - level + 0.02, y, text, fontsize=8.5, va="center", color=INK, bbox=box, zorder=2)
    ax.set_xlim(-0.05, top + 0.95)
    ax.set_ylim(height - 0.3, -0.7)
    ax.set_axis_off()
    sizes = ", ".join(str(len(at)) for at in place[::-1])
    ax.set_title(f"Topics of {len(place)} levels: {sizes}", fontsize=11, loc="left", color=INK)
    return ax


def _places(model):
    """Return the vertical positions of the topics of each level, and the height of the tree.

    A parent lies in the middle of its children.
    """
    _check_layers(model)
    top = len(model.components_) - 1
    place = [np.full(len(topics), np.nan) for topics in model.components_]
    height = 0

    def put(node):
        nonlocal height
        for child in node["children"]:
            put(child)
        if node["children"]:
            found = np.mean([place[node["level"] - 1][child["topic"]] for child in node["children"]])
        else:
            found, height = height, height + 1
        place[node["level"]][node["topic"]] = found

    for root in model.to_dict(1, np.arange(model.n_features_in_)):
        put(root)
        height += 0.6 if top else 0.0
    return place, height


def plot_layers(model: Any, *, figure: Any = None) -> Any:
    """Draw the factors of all levels as heat maps, with rows in an order that shows their block structure.

    Parameters
    ----------
    model : HierarchicalNMF
        Fitted.
    figure : matplotlib.figure.Figure, default=None
        An empty figure to draw into. None: a new one.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Notes
    -----
    As in Figures 3 and 4 of Gao et al., "Neural nonnegative matrix factorization for hierarchical multilayer topic
    modeling": columns are topics, scaled to length one. Rows are features in the first map, and topics of the level
    below in the others.
    """
    _check_layers(model)
    layers = model.display_factors()[0]
    orders = [model.row_order(level) for level, _ in enumerate(layers)]
    above = np.arange(len(layers[-1]))
    columns = [*orders[1:], above]
    images = [layer.T[np.ix_(rows, across)] for layer, rows, across in zip(layers, orders, columns, strict=True)]
    titles = [f"level {level}: {'features' if level == 0 else 'topics'} x topics" for level, _ in enumerate(images)]
    return _images(images, titles, figure, aspect="auto")


def plot_reconstructions(model: Any, X: Matrix, *, figure: Any = None) -> Any:
    """Draw X beside its reconstruction by each level.

    Parameters
    ----------
    model : HierarchicalNMF
        Fitted on X.
    X : array-like or sparse matrix (n_samples, n_features)
        At most four million entries, each of which becomes a pixel.
    figure : matplotlib.figure.Figure, default=None
        An empty figure to draw into. None: a new one.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If X has more than four million entries, or is no matrix.

    Notes
    -----
    As in Figures 1 and 2 of Gao et al.: rows are features, and columns are samples.
    """
    X = X if hasattr(X, "toarray") else np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"X has {X.ndim} dimensions; expected a matrix (n_samples, n_features).")
    if X.shape[0] * X.shape[1] > MOST_PIXELS:
        raise ValueError(
            f"X has {X.shape[0]:,} x {X.shape[1]:,} entries, more than {MOST_PIXELS:,} pixels; draw some of the rows "
            "and features, or the factors with plot_layers."
        )
    _check_layers(model)
    X = X.toarray() if hasattr(X, "toarray") else X  # never-densify-ok: at most MOST_PIXELS entries
    S = model.transform(X, level=None)
    images = [X.T] + [(s @ topics).T for s, topics in zip(S, model.components_, strict=True)]
    errors = [np.linalg.norm(image - X.T) / (np.linalg.norm(X) or 1.0) for image in images[1:]]
    titles = ["X"] + [f"{len(t)} topics, error {e:.4f}" for t, e in zip(model.components_, errors, strict=True)]
    return _images(images, titles, figure, vmin=0, vmax=float(X.max(initial=0)) or 1.0)


def _check_layers(model):
    if not hasattr(model, "display_factors"):
        raise TypeError(f"The model is {shown(model)}; expected a fitted HierarchicalNMF, which has layers.")


def _images(images, titles, figure, **options):
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=(3.1 * len(images), 3.2), layout="constrained")
    for place, (image, title) in enumerate(zip(images, titles, strict=True)):
        ax = figure.add_subplot(1, len(images), place + 1)
        ax.imshow(image, cmap="viridis", interpolation="nearest", **options)
        ax.set_title(title, fontsize=10, color=INK, loc="left")
        ax.set_xticks([])
        ax.set_yticks([])
    return figure
