"""Commands that read a model: ``transform``, ``explain``, ``top``, ``report``, ``export``; and what is known to all."""

import importlib.metadata
import platform
from pathlib import Path

import numpy as np

from fastnmf import __version__
from fastnmf.cli import parser as options
from fastnmf.cli.inputs import input_files, lines_of, load_model, read_data
from fastnmf.cli.text import harmless, print_top
from fastnmf.data.readings import names_of_rows
from fastnmf.data.writing import check_writable


def add_transform(commands):
    """Add the command ``transform``."""
    parser = options.command(
        commands, "transform", "compute the weights of new data and write them as a table", "MODEL.npz X -o WEIGHTS.csv"
    )
    parser.add_argument("model", type=Path, metavar="MODEL.npz")
    options.add_data(parser)
    unknown = "groups that the fit did not have: error (default), estimate or mean of the shifts"
    parser.add_argument("--unknown-strata", metavar="HOW", help=unknown)
    parser.add_argument("--quiet", action="store_true", help="no progress")
    options.add_output(parser, "WEIGHTS.csv")
    parser.set_defaults(run=_transform, parser=parser)


def add_explain(commands):
    """Add the command ``explain``."""
    parser = options.command(
        commands, "explain", "tell how much the groups and the shared components explain", "MODEL.npz --data X"
    )
    parser.add_argument("model", type=Path, metavar="MODEL.npz")
    options.add_data(parser, positional=False)
    parser.add_argument("-n", type=int, default=10, help="features of a group, default %(default)s")
    options.add_quiet(parser)
    parser.set_defaults(run=_explain, parser=parser)


def add_top(commands):
    """Add the command ``top``."""
    parser = options.command(commands, "top", "print the strongest features of each group and component", "MODEL.npz")
    parser.add_argument("model", type=Path, metavar="MODEL.npz")
    parser.add_argument("--features", type=Path, help=options.NAMES)
    parser.add_argument("-n", type=int, default=10, help="features in a line, default %(default)s")
    options.add_ranking(parser)
    options.add_json(parser)
    parser.set_defaults(run=_top, parser=parser)


def add_report(commands):
    """Add the command ``report``."""
    parser = options.command(
        commands,
        "report",
        "write a page about a model for the browser",
        "MODEL.npz [--data X] -o REPORT.html",
    )
    parser.add_argument("model", type=Path, metavar="MODEL.npz")
    parser.add_argument("--features", type=Path, help=options.NAMES)
    parser.add_argument("--rows", type=Path, help="text file with one row title per line")
    parser.add_argument("--row-texts", type=Path, help="text file with one row text per line")
    kinds = ("text", "cells", "ratings", "rows")
    parser.add_argument("--kind", dest="wording", choices=kinds, help="words of the field; default: as data were read")
    options.add_data(parser, positional=False, title="--row-title", kind="--data-kind")
    parser.add_argument("--title", dest="heading", help="heading of the page; default: the name of the data file")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    options.add_output(parser, "REPORT.html")
    parser.set_defaults(run=_report, parser=parser)


def add_export(commands):
    """Add the command ``export``."""
    parser = options.command(commands, "export", "write a model as a folder of tables", "MODEL.npz -o FOLDER")
    parser.add_argument("model", type=Path, metavar="MODEL.npz")
    parser.add_argument("--features", type=Path, help=options.NAMES)
    parser.add_argument("--rows", type=Path, help="text file with one row name per line")
    formats = ("csv", "tsv", "jsonl", "parquet")
    parser.add_argument("--format", choices=formats, default="csv", help="default: %(default)s")
    parser.add_argument("-n", type=int, default=10, help="features of a topic or group, default %(default)s")
    options.add_output(parser, "FOLDER")
    parser.set_defaults(run=_export, parser=parser)


def _new_data(arguments, model):
    """Read data as those of the fit were read, and say what to do where the model does not say how."""
    found = _read_for(model, arguments)
    names, own = found.feature_names, getattr(model, "feature_names_in_", None)
    if found.shape[1] != model.n_features_in_:
        raise ValueError(
            f"{arguments.X} has {found.shape[1]} columns; the model was fitted to {model.n_features_in_}: give "
            "data with the features of the fit."
        )
    if names is not None and own is not None and list(names) != list(own):
        raise ValueError(
            f"{arguments.X} has different features from the fit, or a different order; put them in the order of the "
            "fit."
        )
    return found


def _read_for(model, arguments):
    """Read data as those of the fit were read; raise where the model has no use for an exposure that is given."""
    if arguments.exposure is not None and "exposure" not in model._uses_of_rows(is_fit=False):
        raise ValueError(f"This {type(model).__name__} was fitted without an exposure; leave --exposure out.")
    return read_data(arguments, getattr(model, "source_", None))


def _transform(arguments):
    from fastnmf.report import tables

    inputs = input_files(arguments, "model")
    tables.check_table(arguments.output, inputs)
    model, _ = load_model(arguments.model)
    if not hasattr(model, "transform"):
        raise ValueError(f"{type(model).__name__} has no weights for new rows; use another model.")
    if arguments.unknown_strata is not None:
        if not hasattr(model, "unknown_strata"):
            raise ValueError(f"{type(model).__name__} has no strata; leave --unknown-strata out.")
        model.set_params(unknown_strata=arguments.unknown_strata)
    found = _new_data(arguments, model)
    W = np.asarray(model.transform(found))
    tables.write_table(tables.weights_table(W, names_of_rows(found), found.strata), arguments.output)
    if str(arguments.output) != "-":
        print(f"Weights of {W.shape[0]:,} rows for {W.shape[1]} topics written to {arguments.output}")


def _explain(arguments):
    from fastnmf.report import tables

    if arguments.X is None:
        arguments.parser.error("the following arguments are required: --data")
    model, _ = load_model(arguments.model)
    if not hasattr(model, "explain"):
        raise ValueError(f"{type(model).__name__} has no strata to explain; fit with --strata.")
    data, rows = _new_data(arguments, model), getattr(model, "row_strata_", None)
    if data.strata is None and rows is not None and len(rows) == data.shape[0]:
        data.strata = model.strata_[rows]
    found = model.explain(data, n=arguments.n)
    print(tables.as_json(found) if arguments.json else "\n".join(map(harmless, str(found).split("\n"))))


def _top(arguments):
    from fastnmf.report import tables

    model, names = load_model(arguments.model, arguments.features)
    if not hasattr(model, "top_features"):
        raise ValueError(f"{type(model).__name__} has no components whose features could be listed; use export.")
    top = model.top_features(arguments.n, names, **({} if arguments.by is None else {"by": arguments.by}))
    components, strata = getattr(top, "components", top), getattr(top, "strata", None)
    own = getattr(top, "own", {})
    if arguments.json:
        of_strata = {} if strata is None else {"strata": strata} | ({"own": own} if own else {})
        print(tables.as_json({"components": components} | of_strata))
        return
    if strata is not None:
        print_top("Specific to each stratum", strata, strata.values())
    numbered = [(label, at) for label, lists in own.items() for at in range(len(lists))]
    if numbered:
        print_top("Components of single strata", numbered, [own[label][at] for label, at in numbered])
    print_top("Shared by all", range(len(components)), components)


def _report(arguments):
    from fastnmf.report import write_report

    check_writable(arguments.output, input_files(arguments, "model", "features", "rows", "row_texts"))
    if arguments.heading is None and arguments.X not in (None, "-"):
        arguments.heading = Path(arguments.X).name
    model, names = load_model(arguments.model, arguments.features)
    n_rows = len(model.W_) if hasattr(model, "W_") else None
    titles = None if arguments.rows is None else lines_of(arguments.rows, "titles", n_rows, "rows of the model")
    texts = None if arguments.row_texts is None else lines_of(arguments.row_texts, "texts", n_rows, "rows of the model")
    X = None if arguments.X is None else _read_for(model, arguments)
    names = X.feature_names if names is None and X is not None else names
    rows = {"row_names": titles, "row_texts": texts, "title": arguments.heading, "kind": arguments.wording}
    write_report(model, arguments.output, X=X, feature_names=names, **rows)
    print(f"Report written to {arguments.output} ({arguments.output.stat().st_size / 1000:,.0f} kB)")


def _export(arguments):
    from fastnmf.report import tables

    inputs = (arguments.model, arguments.features, arguments.rows)
    tables.check_folder(arguments.output, arguments.format, inputs)
    model, names = load_model(arguments.model, arguments.features)
    n_rows = len(model.W_) if hasattr(model, "W_") else None
    rows = None if arguments.rows is None else lines_of(arguments.rows, "names", n_rows, "rows of the model")
    how = {"format": arguments.format, "n": arguments.n, "inputs": inputs}
    files = tables.write_tables(model, arguments.output, feature_names=names, row_names=rows, **how)
    print(f"Tables written to {arguments.output}/: {', '.join(file.name for file in files)}")


# ---------------------------------------------------------------- what is known without a model


def add_models(commands):
    """Add the command ``models``."""
    parser = options.command(commands, "models", "list all models and what each is for", "[NAME]")
    parser.add_argument("name", nargs="?", metavar="NAME", help="a class, such as PLSA, to describe in full")
    options.add_json(parser)
    parser.set_defaults(run=_models, parser=parser)


def add_info(commands):
    """Add the command ``info``."""
    parser = options.command(commands, "info", "print versions, threads, and where compiled kernels are", "")
    options.add_json(parser)
    parser.set_defaults(run=_info, parser=parser)


def _models(arguments):
    from fastnmf.models.catalogue import catalogue, print_models
    from fastnmf.report import tables

    known = {entry.name.lower(): entry.name for entry in catalogue()}
    if arguments.name is not None and arguments.name.lower() not in known:
        if hint := options.proposal(arguments.name, known.values()):
            raise ValueError(f"{arguments.name!r} is not in the catalogue{hint}")
    if arguments.json:
        print(tables.as_json([entry._asdict() for entry in catalogue(arguments.name)]))
    else:
        print_models(arguments.name)


def _info(arguments):
    from fastnmf.kernels.jit import environment
    from fastnmf.report import tables

    found = environment()
    rows = {
        "fastnmf": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        **{name: importlib.metadata.version(name) for name in ("numpy", "scipy", "scikit-learn", "numba")},
        "compiler": "on" if found["jit"] else "off (NUMBA_DISABLE_JIT)",
        "threading layer": found["threading_layer"],
        "threads": found["n_threads"],
        "kernel cache": found["cache_dir"],
    }
    if arguments.json:
        print(tables.as_json(rows | {"kernel cache": str(found["cache_dir"])}))
        return
    for name, value in rows.items():
        print(f"{name:<16}{value}")
