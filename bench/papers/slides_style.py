"""What the redrawn slides share: colours, axes and tables."""

import numpy as np
from matplotlib import pyplot as plt

# Okabe and Ito's colours, which all readers can tell apart
BLUE, ORANGE, RED, GREEN, PINK, BLACK = "#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#222222"


def axes_of(columns, size, **options):
    """Return a figure and its axes in the style of the reports."""
    figure, axes = plt.subplots(1, columns, figsize=size, layout="constrained", squeeze=False, **options)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color("#999999")
        ax.tick_params(color="#999999", labelcolor="#333333")
        ax.grid(alpha=0.25, linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, axes[0]


def table(rows, digits=5):
    """Return rows, dicts of the same keys, as a Markdown table."""

    def cell(value):
        is_real = isinstance(value, float | np.floating)
        return f"{value:.{digits}g}" if is_real else "yes" if value is True else "" if value is False else str(value)

    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    return "\n".join(lines + ["| " + " | ".join(cell(row[name]) for name in names) + " |" for row in rows])
