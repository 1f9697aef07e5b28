"""What the figures share."""

BAR = "#3b6ea5"
INK = "#333333"


def axes_or_new(ax, size=(6.4, 4.0)):
    """Return `ax`, or the axes of a new figure of `size` inches where it is None."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.figure(figsize=size, layout="constrained").add_subplot()


def sized(figure, size, **pads):
    """Return `figure`, or a new one where it is None, with `size` inches and a layout that keeps labels apart."""
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.figure()
    figure.set_size_inches(size)
    figure.set_layout_engine("constrained", **pads)
    return figure


def plain(ax):
    """Take away the box, keep the two axes."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#999999")
    ax.tick_params(color="#999999", labelcolor=INK)
