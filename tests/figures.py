"""Find text on a figure that leaves the canvas, or overlaps other text."""

import numpy as np
from matplotlib.text import Text

SLACK = 1.0  # pixels: boxes are rounded up, and letters do not fill them


def text_boxes(figure):
    """Return the (text, box) of all text that is drawn, box = left, bottom, right, top in pixels."""
    figure.draw_without_rendering()
    hidden = {id(text) for ax in figure.axes for text in _not_drawn(ax)}
    found = []
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and id(text) not in hidden:
            box = Text.get_window_extent(text)  # of an annotation without its arrow
            found.append((text.get_text(), np.array(box.extents)))
    return found


def faults(figure):
    """Return a sentence for each text that is clipped by the canvas or overlaps another text."""
    boxes = text_boxes(figure)
    width, height = figure.canvas.get_width_height()
    found = []
    for index, (text, box) in enumerate(boxes):
        if box[:2].min() < -SLACK or box[2] > width + SLACK or box[3] > height + SLACK:
            found.append(f"{text!r} is clipped: {box.round().tolist()} on {width} x {height}")
        for other, against in boxes[:index]:
            if (np.minimum(box[2:], against[2:]) - np.maximum(box[:2], against[:2]) > SLACK).all():
                found.append(f"{text!r} overlaps {other!r}")
    return found


def _not_drawn(ax):
    """Yield the labels of ticks that are out of view, and those of axes that are switched off."""
    for axis in (ax.xaxis, ax.yaxis):
        is_on = ax.axison and ax.get_visible() and axis.get_visible()
        low, high = sorted(axis.get_view_interval())
        near = 1e-9 * (high - low)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not is_on or not low - near <= tick.get_loc() <= high + near:
                yield from (tick.label1, tick.label2)
        if not is_on:
            yield from (axis.label, axis.offsetText)
