"""Define the style that all figures share: sizes, colours, and labels that neither overlap nor leave the figure."""

from __future__ import annotations

import math
import textwrap
import warnings
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from fastnmf.data.sentences import cut, cut_all, shown

BAR = "#3b6ea5"
OTHER_BAR = "#d55e00"
INK = "#333333"
QUIET = "#999999"
GRID = "#dddddd"
CHOSEN = "#c25a1c"
# for colour-blind readers, after Okabe and Ito 2008
FEW = (BAR, "#e69f00", "#009e73", "#cc79a7", "#7a7a7a", OTHER_BAR, "#56b4e9", "#b5a900")
MARKERS = ("o", "^", "s", "D", "v", "P")

Style: TypeAlias = Literal["paper", "slide"]

_SMALLEST = 5.0  # points: smaller type cannot be read, so labels are left out instead
_OF_A_LETTER = 0.56  # mean width of a letter, in units of the size of the type


@dataclass(frozen=True)
class Look:
    """Sizes of type and lines in points, and in inches those of a figure whose content has none of its own."""

    text: float
    small: float
    title: float
    line: float
    width: float
    height: float

    def inches(self, ems):
        """Return the length of `ems` times the size of the text."""
        return ems * self.text / 72


LOOKS = {"paper": Look(9, 8, 10.5, 1.5, 6.4, 4.2), "slide": Look(15, 13, 18, 2.8, 8.4, 4.9)}


class Panels(np.ndarray):
    """Array of axes, with the figure on which they are."""

    def __new__(cls, axes):
        """Return an array of these axes."""
        found = np.empty(len(axes), dtype=object)
        found[:] = axes
        return found.view(cls)

    @property
    def figure(self):
        """Return the figure of the axes."""
        return self.flat[0].figure

    def __getattr__(self, name):
        """Return what the figure has, for scripts from when these functions returned it."""
        if name.startswith("_") or not hasattr(self.figure, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        warnings.warn(
            f"This plot returns its axes since version 0.2; write .figure.{name} in place of .{name}, which ends with "
            "version 0.3.",
            FutureWarning,
            stacklevel=2,
        )
        return getattr(self.figure, name)


def look_of(style):
    """Return the sizes of a style, "paper" or "slide"."""
    if not isinstance(style, str) or style not in LOOKS:
        raise ValueError(f"style={shown(style)} is not known; expected 'paper' or 'slide'.")
    return LOOKS[style]


def axes_or_new(ax, look, size=None):
    """Return `ax`, or if it is None the axes of a new figure of `size` inches, by default that of the look."""
    if ax is None:
        from matplotlib import pyplot

        return pyplot.figure(figsize=size or (look.width, look.height), layout="constrained").add_subplot()
    if not hasattr(ax, "imshow"):
        raise TypeError(f"ax is {shown(ax)}; expected axes of matplotlib, or None for a new figure.")
    return ax


def panels_or_new(ax, figure, n, *, n_columns, size):
    """Return n axes: the first of those given, or new ones on a figure that gets this size.

    Parameters
    ----------
    ax : array-like of matplotlib.axes.Axes, or None
        Those that are too many are hidden.
    figure : matplotlib.figure.Figure, or None
        An empty one, used where `ax` is None; it is resized. None: a new one.
    n, n_columns : int
        Number of panels, and of panels side by side.
    size : (float, float)
        Width and height of the figure in inches.

    Returns
    -------
    list of matplotlib.axes.Axes
    """
    if ax is not None:
        found = list(np.ravel(np.asarray(ax, dtype=object)))
        for each in found:
            axes_or_new(each, None)
        if len(found) < n:
            raise ValueError(f"ax has {len(found)} axes for {n} panels; give one for each, or draw fewer panels.")
        for each in found[n:]:
            each.set_axis_off()
        return found[:n]
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.figure()
    figure.set_size_inches(size)
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    return [figure.add_subplot(math.ceil(n / n_columns), n_columns, index + 1) for index in range(n)]


def check_panels(n_columns):
    """Raise ValueError unless the number of panels side by side is None or an integer of at least 1."""
    if n_columns is not None and (not isinstance(n_columns, (int, np.integer)) or n_columns < 1):
        raise ValueError(f"n_columns={shown(n_columns)} is not valid; expected an integer >= 1, or None.")


def check_flag(name, value):
    """Raise TypeError unless a value is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {shown(value)}; expected True or False.")


def plain(ax, look):
    """Hide the top and right spines, draw the other two in grey, and size the numbers."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(QUIET)
    ax.tick_params(color=QUIET, labelcolor=INK, labelsize=look.small)


def titled(ax, text, look, *, share=0.84):
    """Give axes a title on the left, in several lines where it is long.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    text : str
    look : Look
    share : float, default=0.84
        Share of the width that the figure has for the axes, for one line.
    """
    ax.set_title(_wrapped(ax, text, look.title, share), fontsize=look.title, loc="left", color=INK)


def explained(ax, text, look):
    """Say below the axes, on the left, what colours or areas mean."""
    ax.set_xlabel(_wrapped(ax, text, look.small, 0.66), fontsize=look.small, color=INK, loc="left")


def _wrapped(ax, text, size, share):
    return "\n".join(textwrap.wrap(text.replace("$", r"\$"), letters(ax, size, share)))


def letters(ax, size, share):
    """Return how many letters of a size in points fit into a share of the width that the figure has for the axes."""
    place, width = ax.get_subplotspec(), ax.figure.get_figwidth()
    if place is not None:
        width *= len(place.colspan) / place.get_gridspec().ncols
    return max(6, int(share * width * 72 / (_OF_A_LETTER * size)))


def shortened(name, longest):
    """Return the name, cut to `longest` characters, with dollar signs escaped: they would start a formula."""
    return cut(name, longest, "...").replace("$", r"\$")


def shortened_all(names, longest):
    """Return names as `shortened`, cut in the middle where names that differ at their ends would look the same."""
    return [name.replace("$", r"\$") for name in cut_all(names, longest, "...")]


def colour(index, n):
    """Return colour `index` of n: up to eight are for colour-blind readers, more are of a continuous scale."""
    if n <= len(FEW):
        return FEW[index]
    import matplotlib

    return matplotlib.colormaps["viridis"](index / (n - 1))


def ticks(axis, labels, size, *, longest=28, ha=None):
    """Give an axis the ticks 0, 1, ... with these labels, of a size in points, cut to a number of letters.

    Parameters
    ----------
    axis : matplotlib.axis.Axis
    labels : list of str
    size : float
    longest : int, default=28
    ha : str, default=None
    """
    axis.set_ticks(np.arange(len(labels)), shortened_all(labels, longest), fontsize=size)
    axis.set_tick_params(length=0)


def colour_bar(image, ax, label, look):
    """Draw the colour bar of an image, or of points, beside its axes, and return it.

    Parameters
    ----------
    image : matplotlib.cm.ScalarMappable
    ax : matplotlib.axes.Axes
    label : str
    look : Look
    """
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02)
    bar.set_label(label, color=INK, fontsize=look.small)
    bar.ax.tick_params(labelsize=look.small - 1, labelcolor=INK, color=QUIET)
    bar.ax.locator_params(nbins=4)
    bar.outline.set_visible(False)
    return bar


def legend_above(ax, look, title=None, share=0.84):
    """Draw the legend above the axes, in as many columns as fit, with a title above it.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    look : Look
    title : str, default=None
    share : float, default=0.84
        Share of the width that the figure has for the axes, for the legend: less beside long labels.
    """
    handles, labels = ax.get_legend_handles_labels()
    longest = max(len(line) for label in labels for line in label.split("\n")) + 5
    n_columns = max(1, min(len(labels), letters(ax, look.small, share) // longest))
    n_columns = math.ceil(len(labels) / math.ceil(len(labels) / n_columns))  # full rows
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2, "borderpad": 0, "alignment": "left"}
    if title is not None:
        title = _wrapped(ax, title, look.title, 0.84)
    by_row = [at for first in range(n_columns) for at in range(first, len(labels), n_columns)]
    handles, labels = [handles[at] for at in by_row], [labels[at] for at in by_row]
    ax.legend(
        handles, labels, frameon=False, fontsize=look.small, ncols=n_columns, labelcolor=INK, title=title, **place
    )
    ax.get_legend().get_title().set(fontsize=look.title, color=INK)


def lay_out(ax):
    """Find where everything on the figure of the axes stands."""
    ax.figure.figure.draw_without_rendering()  # the figure of a subfigure, too


def settle(*axes):
    """Lay the figure out, and make the labels of ticks smaller, turn them or leave some out until none overlap."""
    for _ in range(4):
        lay_out(axes[0])
        if not [axis for ax in axes for axis in (ax.xaxis, ax.yaxis) if _loosened(axis)]:
            return


def fit_title(title):
    """Make a title smaller, or cut it, until it is not wider than its axes."""
    room, wide = title.axes.get_window_extent().width, title.get_window_extent().width
    text, size = title.get_text(), title.get_fontsize()
    if wide > room:
        title.set_fontsize(max(size * room / wide, 0.75 * size))
    longest = len(text)
    while title.get_window_extent().width > room and longest > 4:
        longest -= 1
        title.set_text(shortened(text, longest))


def cell_numbers(ax, values, are_shown, look, *, form="{:.0f}", dark=None):
    """Write numbers into the cells of a heat map that has its layout, if they fit there.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    values : ndarray (n_rows, n_columns)
    are_shown : ndarray (n_rows, n_columns) of bool
    look : Look
    form : str, default="{:.0f}"
        Format of a number.
    dark : ndarray (n_rows, n_columns) of bool, default=None
        Cells whose colour is dark, in which numbers are white.
    """
    if not are_shown.any():
        return
    box = ax.get_window_extent()
    points = 72 / ax.figure.dpi
    widest = max(len(form.format(value)) for value in values[are_shown])
    room = (box.width / values.shape[1] * points / (0.7 * widest), box.height / values.shape[0] * points / 1.15)
    size = min(look.small, *room)
    if size < _SMALLEST:
        return
    for row, column in zip(*np.nonzero(are_shown), strict=True):
        ink = "white" if dark is not None and dark[row, column] else INK
        where = {"ha": "center", "va": "center", "color": ink, "fontsize": size, "in_layout": False}
        ax.text(column, row, form.format(values[row, column]), **where)


def _loosened(axis):
    """Change labels of an axis that overlap; return whether there were any."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    locator, (low, high) = axis.get_major_locator(), sorted(axis.get_view_interval())
    labels = [tick.label1 if tick.label1.get_visible() else tick.label2 for tick in axis.get_major_ticks()]
    labels = [label for label, at in zip(labels, axis.get_ticklocs(), strict=True) if low <= at <= high]
    labels = [label for label in labels if label.get_visible() and label.get_text()]
    if len(labels) < 2 or not isinstance(locator, (FixedLocator, MaxNLocator)):
        return False
    boxes = [label.get_window_extent() for label in labels]
    is_x = axis.axis_name == "x"
    middles = np.array([(box.x0 + box.x1) / 2 if is_x else (box.y0 + box.y1) / 2 for box in boxes])
    sizes = np.array([box.width if is_x else box.height for box in boxes])
    needed = float(((sizes[1:] + sizes[:-1]) / 2 / np.maximum(np.abs(np.diff(middles)), 1e-6)).max())
    if needed <= 1:
        return False
    size = labels[0].get_fontsize()
    if isinstance(locator, MaxNLocator):
        locator.set_params(nbins=max(1, len(labels) // 2), min_n_ticks=1)
    elif is_x and not labels[0].get_rotation() and max(len(label.get_text()) for label in labels) > 3:
        for label in axis.get_ticklabels():
            label.set_rotation(90)
    elif size / needed >= _SMALLEST:
        for label in axis.get_ticklabels():
            label.set_fontsize(0.97 * size / needed)
    elif size > _SMALLEST:
        for label in axis.get_ticklabels():
            label.set_fontsize(_SMALLEST)
    else:
        step, turned = math.ceil(needed), labels[0].get_rotation()
        at, texts = axis.get_ticklocs()[::step], [label.get_text() for label in axis.get_ticklabels()][::step]
        axis.set_ticks(at, texts, fontsize=size, rotation=turned)
    return True
