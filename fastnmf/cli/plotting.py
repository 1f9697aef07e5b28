"""Command ``plot``, and plots that other commands write."""

from pathlib import Path

from fastnmf.cli import parser as options
from fastnmf.cli.inputs import load_model, with_options
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
    """Write the figure of the axes that `draw` returns to a file, completely or not at all."""
    from matplotlib import pyplot

    from fastnmf.data.writing import replacing

    figure = draw().figure
    with replacing(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=110, bbox_inches="tight")
    pyplot.close(figure)


def add_plot(commands):
    """Add the command ``plot``."""
    parser = options.command(
        commands,
        "plot",
        "draw a model, as a PNG, SVG or PDF file",
        "MODEL.npz --kind KIND -o FILE.png",
    )
    parser.add_argument("model", type=Path, metavar="MODEL.npz")
    parser.add_argument("--kind", choices=tuple(KINDS), default="usage", help="default: %(default)s")
    parser.add_argument("--features", type=Path, help=options.NAMES)
    parser.add_argument("-n", type=int, help="features of a panel, a group or a label; the default depends on the kind")
    options.add_ranking(parser)
    several = {"nargs": "+", "metavar": "LABEL"}
    parser.add_argument("--strata", help="strata to show; of --kind difference, the one or two to compare", **several)
    parser.add_argument("--components", type=options.numbers, metavar="N,M,...", help="components to show, from 0")
    parser.add_argument("--factor", metavar="NAME", help="factor of a crossed model, for --kind effects")
    parser.add_argument("--style", choices=("paper", "slide"), default="paper", help="default: %(default)s")
    parser.add_argument("--shape", metavar="HEIGHT,WIDTH", type=options.pair, help="of images, for --kind images")
    options.add_output(parser, "FILE.png")
    parser.set_defaults(run=_plot, parser=parser)


def _plot(arguments):
    check_plot(arguments.output, (arguments.model, arguments.features))
    model, names = load_model(arguments.model, arguments.features)
    draw, needs, takes = KINDS[arguments.kind]
    lacks = [name for name in needs if not hasattr(model, name)]
    if lacks:
        drawable = [kind for kind, (_, needs, _) in KINDS.items() if all(hasattr(model, name) for name in needs)]
        raise ValueError(
            f"This {type(model).__name__} has no {lacks[0]}, which --kind {arguments.kind} draws; choose one of "
            f"{', '.join(drawable)}."
        )
    given = {name: getattr(arguments, name) for name in CHOICES if getattr(arguments, name) is not None}
    unused = [name for name in given if name not in takes]
    if unused:
        option = "-n" if unused[0] == "n" else f"--{unused[0]}"
        raise ValueError(f"--kind {arguments.kind} takes no {option}; leave it out.")
    try:
        save_plot(lambda: draw(model, names, {"style": arguments.style} | given), arguments.output)
    except ValueError as error:
        raise ValueError(with_options(str(error), CHOICES)) from error
    print(f"Plot written to {arguments.output}")


def _loss(model, names, given):
    from fastnmf.plots import plot_loss

    return plot_loss(model, **given)


def _usage(model, names, given):
    from fastnmf.plots import plot_usage

    return plot_usage(model, feature_names=names, **given)


def _topics(model, names, given):
    from fastnmf.plots import plot_top_features
    from fastnmf.plots.source import topic_titles

    titles = topic_titles(model, names, 1)
    chosen = {"components": range(len(titles)), "by": "weight"} | given
    return plot_top_features(model, names, titles, **chosen)


def _strata(model, names, given):
    from fastnmf.plots import plot_top_features

    if isinstance(model.strata_, list):  # of several factors, whose levels are not drawn unless they are named
        given = {"strata": model.shift_names_.tolist()} | given
    return plot_top_features(model, names, **given)


def _shares(model, names, given):
    from fastnmf.plots import plot_shift_shares

    return plot_shift_shares(model, names, **given)


def _difference(model, names, given):
    from fastnmf.plots import plot_difference

    groups = given.pop("strata", [])
    if not 1 <= len(groups) <= 2:
        raise ValueError("--kind difference compares two strata, or one with the others; give --strata LABEL [LABEL].")
    return plot_difference(model, *groups, feature_names=names, **given)


def _effects(model, names, given):
    from fastnmf.plots import plot_effects

    return plot_effects(model, feature_names=names, **given)


def _dots(model, names, given):
    from fastnmf.plots import plot_dots

    return plot_dots(model, None, names, **given)


def _map(model, names, given):
    from fastnmf.plots import plot_topic_map

    return plot_topic_map(model, names, **given)


def _similarity(model, names, given):
    from fastnmf.plots import plot_topic_similarity

    return plot_topic_similarity(model, names, **given)


def _rows(model, names, given):
    from fastnmf.plots import plot_rows

    return plot_rows(model, "strata" if "strata" in given else "topic", names, **given)


def _images(model, names, given):
    from fastnmf.plots import plot_images

    if "shape" not in given:
        raise ValueError("--kind images needs the height and the width of an image; give --shape HEIGHT,WIDTH.")
    return plot_images(model, given.pop("shape"), **given)


def _tree(model, names, given):
    from fastnmf.plots import plot_tree

    return plot_tree(model, names, **given)


def _layers(model, names, given):
    from fastnmf.plots import plot_layers

    return plot_layers(model, **given)


CHOICES = ("n", "by", "strata", "components", "factor", "shape")
# kind -> what draws it, the attributes that it needs, and the options that it takes
KINDS = {
    "usage": (_usage, ("W_", "components_"), ("strata", "components")),
    "topics": (_topics, ("components_",), ("n", "by", "components")),
    "strata": (_strata, ("shifts_", "strata_"), ("n", "by", "strata")),
    "shares": (_shares, ("shifts_", "strata_"), ("n", "strata")),
    "difference": (_difference, ("shifts_", "strata_"), ("n", "strata")),
    "effects": (_effects, ("shifts_",), ("n", "factor")),
    "dots": (_dots, ("components_",), ("n", "by", "strata", "components")),
    "map": (_map, ("components_",), ("n", "components")),
    "similarity": (_similarity, ("components_",), ("n", "components")),
    "rows": (_rows, ("W_", "components_"), ("n", "strata", "components")),
    "loss": (_loss, ("history_",), ()),
    "images": (_images, ("components_",), ("shape", "strata", "components")),
    "tree": (_tree, ("layer_weights_", "S_"), ("n",)),
    "layers": (_layers, ("layer_weights_", "S_"), ()),
}
