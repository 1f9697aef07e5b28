"""Define the style that all figures share."""

BAR = "#3b6ea5"
INK = "#333333"


def axes_or_new(ax, size=(6.4, 4.0)):
    """Return `ax`, or if it is None the axes of a new figure of `size` inches."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.figure(figsize=size, layout="constrained").add_subplot()


def sized(figure, size, **pads):
    """Return `figure`, or a new one if it is None, resized to `size` inches, with a layout that keeps labels apart."""
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.figure()
    figure.set_size_inches(size)
    figure.set_layout_engine("constrained", **pads)
    return figure


def plain(ax):
    """Hide the top and right spines and draw the other two in grey."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#999999")
    ax.tick_params(color="#999999", labelcolor=INK)
