"""Place labels beside points such that none overlaps another or leaves the axes."""

from __future__ import annotations

import math

import numpy as np

from fastnmf.plots.style import INK, QUIET, lay_out

_ANGLES = (0, 180, 90, 270, 30, 330, 150, 210, 60, 300, 120, 240)  # degrees; earlier ones are preferred
_BEYOND = (2, 7, 14, 24, 38, 56, 80, 110, 150)  # points between a point's edge and its label
_GAP = 1.5  # points between two labels


def place_labels(ax, at, radius, texts, short, look, *, weight="normal"):
    """Write a label beside each point, with a thin line to it where it stands apart.

    A label that has no room becomes its short form. If even that has none, all labels become short; one that then finds
    no place is left out.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        The layout of its figure must not change afterwards.
    at : ndarray (n, 2)
        Points in the coordinates of the data.
    radius : ndarray (n,)
        In points.
    texts, short : list of str
    look : Look
    weight : str, default="normal"
        Of the type.

    Returns
    -------
    list of matplotlib.text.Annotation
    """
    lay_out(ax)
    pixel = ax.figure.dpi / 72
    window = ax.get_window_extent()
    room = np.array([window.x0, window.y0, window.x1, window.y1]) / pixel + np.array([_GAP, _GAP, -_GAP, -_GAP]) * 2
    centres = ax.transData.transform(at) / pixel
    written = [_sizes(ax, words, {"fontsize": look.small, "fontweight": weight}, pixel) for words in (texts, short)]
    order = sorted(range(len(at)), key=lambda index: (-radius[index], index))
    for first in (0, 1):
        found = _places(centres, radius, order, written[first:], room)
        if all(place is not None for place in found):
            break
    labels = []
    for index, place in enumerate(found):
        if place is None:
            continue
        level, (x, y), beyond = place
        words = (texts, short)[first + level][index]
        moved = np.array([x, y]) - centres[index]
        line = {"arrowstyle": "-", "color": QUIET, "linewidth": 0.6, "shrinkA": 0, "shrinkB": radius[index]}
        labels.append(
            ax.annotate(
                words.replace("$", r"\$"),
                at[index],
                xytext=moved,
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=look.small,
                fontweight=weight,
                color=INK,
                arrowprops=line if beyond > _BEYOND[1] else None,
                in_layout=False,
                zorder=6,
            )
        )
    return labels


def _sizes(ax, texts, kind, pixel):
    """Return the width and height of texts, in points, (n, 2).

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    texts : list of str
    kind : dict
        Properties of the type, such as ``fontsize``.
    pixel : float
        Pixels in a point.
    """
    found = np.zeros((len(texts), 2))
    probe = ax.text(0, 0, "", in_layout=False, **kind)
    for index, text in enumerate(texts):
        probe.set_text(text.replace("$", r"\$"))
        box = probe.get_window_extent()
        found[index] = box.width / pixel, box.height / pixel
    probe.remove()
    return found


def _places(centres, radius, order, written, room):
    """Return for each point the level of its label, its middle and the distance from the point, or None.

    Parameters
    ----------
    centres : ndarray (n, 2)
    radius : ndarray (n,)
    order : list of int
        Points, those first that choose first.
    written : list of ndarray (n, 2)
        Sizes of the labels, in the order in which they are tried.
    room : ndarray (4,)
        Left, bottom, right and top edge.

    Returns
    -------
    list of (int, ndarray (2,), float), or None
    """
    found, taken = [None] * len(centres), np.zeros((0, 4))
    for index in order:
        for level, sizes in enumerate(written):
            best = _best_place(centres, radius, index, sizes[index], taken, room)
            if best is not None:
                box, beyond = best
                found[index] = level, (box[:2] + box[2:]) / 2, beyond
                taken = np.vstack([taken, box])
                break
    return found


def _best_place(centres, radius, index, size, taken, room):
    """Return the best free box for one label, (4,), and its distance from the point; None where there is none.

    Parameters
    ----------
    centres : ndarray (n, 2)
    radius : ndarray (n,)
    index : int
        Point of the label.
    size : ndarray (2,)
    taken : ndarray (n_labels, 4)
        Boxes of the labels that have a place.
    room : ndarray (4,)
    """
    best = None
    for beyond in _BEYOND:
        for preference, angle in enumerate(_ANGLES):
            along = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
            middle = centres[index] + along * (radius[index] + beyond + np.abs(along) @ size / 2)
            box = np.concatenate([middle - size / 2, middle + size / 2])
            if (box[:2] < room[:2]).any() or (box[2:] > room[2:]).any():
                continue
            apart = (box[2:] + _GAP <= taken[:, :2]) | (taken[:, 2:] + _GAP <= box[:2])
            if not apart.any(axis=1).all():
                continue
            nearest = np.clip(centres, box[:2], box[2:])
            covered = np.maximum(radius - np.hypot(*(nearest - centres).T), 0)
            covered[index] = 0
            cost = beyond + 0.3 * preference + 6 * covered.sum()
            if best is None or cost < best[0]:
                best = cost, box, beyond
        if best is not None and best[0] < beyond:  # farther places cost more than the best has
            break
    return None if best is None else best[1:]
