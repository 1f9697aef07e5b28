"""Command ``plot``, and plots that other commands write."""

from pathlib import Path

import numpy as np

from fastnmf.cli import parser as options
from fastnmf.cli.inputs import load_model
from fastnmf.data.writing import check_writable

PICTURES = (".png", ".svg", ".pdf")


def check_plot(path, inputs):
    """Raise where a plot could not be written to `path`: another ending, no matplotlib, no such folder."""
    if path is None:
        return
    if path.suffix.lower() not in PICTURES:
        raise ValueError(f"{path} ends in {path.suffix!r}; a plot is written as {', '.join(PICTURES)}.")
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise ModuleNotFoundError("Plots need matplotlib: pip install fastnmf[plot].", name="matplotlib") from None
    matplotlib.use("Agg")
    check_writable(path, inputs)


def save_plot(draw, path):
    """Write what `draw` returns, a figure or axes, to a file, completely or not at all."""
    from matplotlib import pyplot

    from fastnmf.data.writing import replacing

    drawn = draw()
    figure = getattr(drawn, "figure", drawn)
    with replacing(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=110, bbox_inches="tight")
    pyplot.close(figure)


def add_plot(commands):
    """Add the command ``plot``."""
    parser = options.command(
        commands,
        "plot",
        "plot a model: what uses which component, strongest features, the loss",
        "MODEL.npz --kind KIND -o FILE.png",
    )
    parser.add_argument("model", type=Path, metavar="MODEL.npz")
    parser.add_argument("--kind", choices=tuple(KINDS), default="usage", help="default: %(default)s")
    parser.add_argument("--features", type=Path, help=options.NAMES)
    parser.add_argument("-n", type=int, default=10, help="features of a panel, default %(default)s")
    options.add_ranking(parser)
    parser.add_argument("--shape", metavar="HEIGHT,WIDTH", type=options.pair, help="of images, for --kind images")
    options.add_output(parser, "FILE.png")
    parser.set_defaults(run=_plot, parser=parser)


def _plot(arguments):
    check_plot(arguments.output, (arguments.model, arguments.features))
    model, names = load_model(arguments.model, arguments.features)
    lacks = [name for name in KINDS[arguments.kind][1] if not hasattr(model, name)]
    if lacks:
        drawable = [kind for kind, (_, needs) in KINDS.items() if all(hasattr(model, name) for name in needs)]
        raise ValueError(
            f"This {type(model).__name__} has no {lacks[0]}, which --kind {arguments.kind} draws; choose one of "
            f"{', '.join(drawable)}."
        )
    save_plot(lambda: KINDS[arguments.kind][0](model, names, arguments), arguments.output)
    print(f"Plot written to {arguments.output}")


def _loss(model, names, arguments):
    from fastnmf.plots import plot_loss

    return plot_loss(model.history_)


def _usage(model, names, arguments):
    from fastnmf.metrics import component_usage
    from fastnmf.plots import plot_usage

    rows = getattr(model, "row_strata_", None)
    labels = ["all rows"] if rows is None else np.asarray(model.strata_)[np.unique(rows)]
    return plot_usage(component_usage(model.W_, model.components_, rows), labels, _titles(model, names, 2))


def _topics(model, names, arguments):
    from fastnmf.plots import plot_top_features

    titles, by = _titles(model, names, 1), arguments.by or "weight"
    return plot_top_features(_components(model), names, titles, arguments.n, by=by)


def _strata(model, names, arguments):
    from fastnmf.plots import plot_top_features

    return plot_top_features(model, names, n=arguments.n, by=arguments.by)


def _titles(model, names, n):
    """Return the number of each topic, and its name or, where features have names, its n words of largest lift."""
    from fastnmf.metrics import topic_names

    found = getattr(model, "topic_names_", None)
    if found is None and names is not None:
        found = topic_names(model, n, feature_names=names)
    return [str(c + 1) if found is None else f"{c + 1} {found[c]}" for c in range(len(_components(model)))]


def _components(model):
    """Return the components, of a hierarchy those of the finest level."""
    return model.components_[0] if isinstance(model.components_, list) else model.components_


def _images(model, names, arguments):
    from fastnmf.plots import plot_images

    if arguments.shape is None:
        raise ValueError("--kind images needs the height and the width of an image; give --shape HEIGHT,WIDTH.")
    return plot_images(model.components_, arguments.shape)


def _tree(model, names, arguments):
    from fastnmf.plots import plot_tree

    return plot_tree(model)


# kind -> what draws it, and the attributes that it needs
KINDS = {
    "usage": (_usage, ("W_", "components_")),
    "topics": (_topics, ("components_",)),
    "strata": (_strata, ("shifts_", "strata_")),
    "loss": (_loss, ("history_",)),
    "images": (_images, ("components_",)),
    "tree": (_tree, ("layer_weights_", "S_")),
}
