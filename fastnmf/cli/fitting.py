"""Commands that fit: ``fit``, ``consensus``, ``select-rank``, ``select-strata``."""

import inspect
import os
import shlex
import warnings
from pathlib import Path

from fastnmf.cli import parser as options
from fastnmf.cli.inputs import input_files, read_data
from fastnmf.cli.own import penalties_of
from fastnmf.cli.plotting import check_plot, save_plot
from fastnmf.cli.text import summary
from fastnmf.data.writing import check_writable

# option -> parameter of the estimators, where they have different names
_NAMES = {"components": "n_components", "seed": "random_state", "missing": "missing_values", "threads": "n_threads"}
_SAME = ("solver", "beta_loss", "init", "n_init", "alpha_W", "alpha_H", "alpha_V", "l1_ratio", "gauge", "normalize")
_SAME += ("max_iter", "tol", "max_time", "n_own")
MODEL = "MODEL.npz"
FIT = """\
fastnmf fit posts.csv --text text --strata group --components 20 -o model.npz
fastnmf fit posts.csv --text text --strata site --strata year -o crossed.npz
fastnmf fit cells.h5ad --strata batch --layer counts --beta-loss kullback-leibler -o cells.npz
fastnmf fit cells.h5ad --strata batch --exposure depth --layer counts --beta-loss kullback-leibler -o cells.npz
fastnmf fit ratings.parquet --triplets user,item,rating --missing zeros -o ratings.npz"""


def add_fit(commands):
    """Add the command ``fit``."""
    parser = options.command(
        commands, "fit", "fit a model to a file: texts, cells, ratings or a matrix", "X -o MODEL.npz", FIT
    )
    options.add_output(parser, MODEL)
    parser.add_argument("--components", type=options.numbers, metavar="K", help="default: 10, or the model's own")
    options.add_data(parser)
    options.add_words(parser)
    options.add_model(parser)
    group = parser.add_argument_group("more files and labels")
    group.add_argument("--export", type=Path, metavar="DIR", help="also write the tables of fastnmf export")
    group.add_argument("--features", type=Path, help=f"{options.NAMES}; kept in the model")
    group.add_argument(
        "--classes", action="store_true", help="use the labels of --strata as classes, the y of the model"
    )
    group.add_argument(
        "--folder", type=Path, metavar="DIR", help="keep X in this folder, for tables larger than memory"
    )
    group.add_argument(
        "--checkpoint", type=Path, metavar="STATE.npz", help="file for the state of the fit, to resume it"
    )
    every = "seconds between two saves, default %(default)s"
    group.add_argument("--checkpoint-every", type=float, default=60.0, metavar="S", help=every)
    parser.set_defaults(run=_fit, parser=parser)


def add_consensus(commands):
    """Add the command ``consensus``."""
    parser = options.command(
        commands, "consensus", "fit many times, keep the components on which the fits agree", "X -o MODEL.npz"
    )
    options.add_data(parser)
    options.add_words(parser)
    parser.add_argument("--components", type=int, default=10, metavar="K", help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=30, metavar="N", help="number of fits, default %(default)s")
    threshold = "largest mean distance to near neighbours of a component that is kept, default %(default)s"
    parser.add_argument("--density-threshold", type=float, default=0.5, metavar="D", help=threshold)
    _add_parallel(parser)
    options.add_output(parser, MODEL)
    parser.set_defaults(run=_consensus, parser=parser)


def add_select_rank(commands):
    """Add the command ``select-rank``."""
    parser = options.command(
        commands, "select-rank", "choose the number of components by the error on held-out data", "X --ranks K,K,..."
    )
    options.add_data(parser)
    options.add_words(parser)
    parser.add_argument("--ranks", type=options.ranks, required=True, metavar="K,K,...", help="such as 5,10,20 or 2-10")
    parser.add_argument("--method", default="auto", help="auto (default), entries or rows_columns are held out")
    parser.add_argument("--folds", type=int, default=5, metavar="N", help="default: %(default)s")
    parser.add_argument("--restarts", type=int, default=5, metavar="N", help="fits for stability, default %(default)s")
    _add_parallel(parser)
    options.add_output(parser, "RANKS.csv", required=False)
    parser.set_defaults(run=_select_rank, parser=parser)


def add_select_strata(commands):
    """Add the command ``select-strata``."""
    parser = options.command(
        commands,
        "select-strata",
        "choose what groups share by the error on held-out data",
        "X --strata COLUMN",
    )
    options.add_data(parser)
    options.add_words(parser)
    several = "such as 5,10 or 2-4, default 5,10"
    parser.add_argument("--components", type=options.ranks, default=[5, 10], metavar="K,K,...", help=several)
    parser.add_argument(
        "--own", type=options.ranks, default=[1, 2], metavar="K,K,...", help="components of one group, default 1,2"
    )
    strengths = "strengths of their penalty, default 0,0.1"
    parser.add_argument("--own-penalty", type=options.strengths, default=[0.0, 0.1], metavar="A,A,...", help=strengths)
    parser.add_argument("--rungs", type=options.words, metavar="NAME,...", help="kinds to compare, such as none,strata")
    parser.add_argument("--method", default="auto", help="auto (default), entries or rows_columns are held out")
    parser.add_argument("--folds", type=int, default=5, metavar="N", help="default: %(default)s")
    _add_parallel(parser)
    options.add_output(parser, "KINDS.csv", required=False)
    parser.set_defaults(run=_select_strata, parser=parser)


def _add_parallel(parser):
    parser.add_argument("--jobs", type=int, metavar="N", help="number of fits at a time; -1: one per core")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also plot the result; needs matplotlib")
    options.add_model(parser)


def _fit(arguments):
    from sklearn.exceptions import ConvergenceWarning

    from fastnmf.io.models import check_labels
    from fastnmf.report import tables

    inputs = input_files(arguments, "features")
    _check_model_file(arguments.output, (*inputs, arguments.checkpoint))
    if arguments.export is not None:
        tables.check_folder(arguments.export, inputs=inputs)
    if arguments.checkpoint is not None:
        check_writable(arguments.checkpoint, inputs)
        if os.path.realpath(arguments.checkpoint) == os.path.realpath(arguments.output):
            raise ValueError(f"{arguments.output} is both the model and the checkpoint; give two paths.")
    if arguments.classes and isinstance(arguments.strata, tuple):
        raise ValueError("--classes takes the labels of one --strata, but several are given; leave the others out.")
    model, given = _model(arguments), {}
    found = _data(arguments)
    for labels in found.strata.values() if isinstance(found.strata, dict) else (found.strata,):
        check_labels(labels)  # now: after the fit it would be lost
    if arguments.classes:
        given["y"], found.strata = found.strata, None
    if arguments.checkpoint is not None:
        given |= {"checkpoint": arguments.checkpoint, "checkpoint_every": arguments.checkpoint_every}
    with warnings.catch_warnings():  # the summary line says why the fit stopped
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(found, **given)
    model.save(arguments.output)
    files = [arguments.output]
    if arguments.export is not None:
        files += tables.write_tables(model, arguments.export, inputs=inputs)
    if arguments.json:
        print(tables.as_json(tables.model_summary(model) | {"files": [str(file) for file in files]}))
        return
    print(summary(model))
    look = f"; look: fastnmf top {shlex.quote(str(arguments.output))}" if hasattr(model, "top_features") else ""
    print(f"Model written to {arguments.output}{look}")
    if found.texts is not None and arguments.stop_words is None and hasattr(model, "W_"):
        _tell_of_function_words(model, found)
    if arguments.export is not None:
        print(f"Tables written to {arguments.export}/: {', '.join(file.name for file in files[1:])}")


def _tell_of_function_words(model, X):
    from fastnmf.metrics import flag_topics

    found = [flag for flag in flag_topics(model, X) if flag.kind == "function words"]
    if found:
        print(
            f"{len(found)} of {len(model.components_)} topics are of function words; --stop-words english or --max-df "
            "leaves them out."
        )


def _consensus(arguments):
    from fastnmf.report import tables
    from fastnmf.selection.consensus import consensus

    inputs = input_files(arguments)
    _check_model_file(arguments.output, inputs)
    check_plot(arguments.plot, inputs)
    estimator = _model(arguments)
    found = consensus(
        _data(arguments),
        None,
        arguments.components,
        n_runs=arguments.runs,
        estimator=estimator,
        density_threshold=arguments.density_threshold,
        n_jobs=arguments.jobs,
        random_state=arguments.seed,
        verbose=0 if arguments.quiet else 1,
    )
    found.model.save(arguments.output)
    if arguments.plot is not None:
        from fastnmf.plots import plot_consensus

        save_plot(lambda: plot_consensus(found), arguments.plot)
    if arguments.json:
        names = ("n_members", "agreement", "silhouette", "usage", "losses", "stability", "cophenetic", "dispersion")
        print(tables.as_json({name: getattr(found, name) for name in names} | {"model": str(arguments.output)}))
        return
    print(found)
    print(f"Model written to {arguments.output}")


def _select_rank(arguments):
    from fastnmf.report import tables
    from fastnmf.selection.rank import select_rank

    inputs = input_files(arguments)
    if arguments.output is not None:
        tables.check_table(arguments.output, inputs)
    check_plot(arguments.plot, inputs)
    estimator = _model(arguments)
    found = select_rank(
        _data(arguments),
        None,
        arguments.ranks,
        estimator=estimator,
        method=arguments.method,
        n_folds=arguments.folds,
        n_restarts=arguments.restarts,
        n_jobs=arguments.jobs,
        random_state=arguments.seed,
        verbose=0 if arguments.quiet else 1,
    )
    table = {"rank": found.ranks} | found.table()
    if arguments.plot is not None:
        from fastnmf.plots import plot_rank_selection

        save_plot(lambda: plot_rank_selection(found), arguments.plot)
    if arguments.output is not None:
        tables.write_table(table, arguments.output)
    if arguments.json and str(arguments.output) != "-":
        print(
            tables.as_json(table | {"best_rank": found.best_rank, "rank_1se": found.rank_1se, "method": found.method})
        )
    elif str(arguments.output) != "-":
        print(found)


def _select_strata(arguments):
    from fastnmf.report import tables
    from fastnmf.selection.strata import SELECTING, select_strata

    inputs = input_files(arguments)
    if arguments.output is not None:
        tables.check_table(arguments.output, inputs)
    check_plot(arguments.plot, inputs)
    if arguments.exposure is not None:
        raise ValueError("select-strata compares models without an exposure; leave --exposure out.")
    tried, arguments.components = arguments.components, None
    n_init, arguments.n_init = arguments.n_init or 3, None
    estimator = _model(arguments)
    if hasattr(estimator, "max_iter"):
        short = {name: value for name, value in SELECTING.items() if getattr(arguments, name) is None}
        estimator.set_params(**short)
    found = select_strata(
        _data(arguments),
        None,
        tried,
        n_own=arguments.own,
        own_penalty=arguments.own_penalty,
        rungs=arguments.rungs,
        estimator=estimator,
        method=arguments.method,
        n_folds=arguments.folds,
        n_init=n_init,
        n_jobs=arguments.jobs,
        random_state=arguments.seed,
        verbose=0 if arguments.quiet else 1,
    )
    table = {name: [row[name] for row in found.table] for name in found.table[0]}
    if arguments.plot is not None:
        from fastnmf.plots import plot_strata_selection

        save_plot(lambda: plot_strata_selection(found), arguments.plot)
    if arguments.output is not None:
        tables.write_table(table, arguments.output)
    if arguments.json and str(arguments.output) != "-":
        print(tables.as_json(table | {"best": found.best, "best_1se": found.best_1se, "verdict": found.verdict}))
    elif str(arguments.output) != "-":
        print(found)


def _check_model_file(path, inputs):
    if str(path) == "-":
        raise ValueError("A model is a file, and - is for tables and JSON; give a path such as model.npz.")
    check_writable(path, inputs)


def _data(arguments):
    """Return the `Readings` of the data of a fit: X in the requested type, its columns by the requested names."""
    found, given = read_data(arguments), getattr(arguments, "features", None)
    n_rows, n_columns = found.shape
    if given is not None:
        from fastnmf.io.tables import read_lines

        found.feature_names = read_lines(given)
        if (n_names := len(found.feature_names)) != n_columns:
            turned = f"; it has {n_names} rows: write its transpose, because rows are the samples"
            raise ValueError(
                f"{given} has {n_names} names for {n_columns} columns of {arguments.X}"
                f"{turned if n_names == n_rows else ''}."
            )
    if arguments.dtype is not None and not hasattr(found.data, "astype"):
        raise ValueError("--dtype converts data in memory, but these stay on disk; leave --dtype or --folder out.")
    if arguments.dtype is not None:
        found.data = found.data.astype(arguments.dtype)
    return found


def _model(arguments):
    """Return the estimator that arguments describe, with checked parameters, before any data are read."""
    has_strata = arguments.strata is not None or len(arguments.triplets or ()) == 4
    has_exposure = arguments.exposure is not None
    kind = model_class(arguments.model or ("StratifiedNMF" if has_strata or has_exposure else "NMF"))
    known = {name: each.default for name, each in inspect.signature(kind).parameters.items()}
    given = {_NAMES.get(name, name): getattr(arguments, name, None) for name in (*_NAMES, *_SAME)}
    given = {name: value for name, value in given.items() if value is not None}
    if "n_components" in known and "n_components" not in given and not isinstance(known["n_components"], int | tuple):
        given["n_components"] = 10
    if given.get("beta_loss", "frobenius") not in ("frobenius", 2) and "solver" in known:
        given.setdefault("solver", "mu")
    if arguments.penalty:
        if "penalties" not in known:
            raise ValueError(f"{kind.__name__} does not accept --penalty; NMF and StratifiedNMF do.")
        given["penalties"] = penalties_of(arguments.penalty)
    given |= dict(arguments.set)
    for name in given:
        if name not in known:
            option = next((option for option, parameter in _NAMES.items() if parameter == name), name)
            hint = options.proposal(name, known) or f"; its parameters are {', '.join(known)}."
            raise ValueError(f"{kind.__name__} has no parameter for --{option.replace('_', '-')}={given[name]}{hint}")
    takes = inspect.signature(kind.fit).parameters
    if has_strata and not getattr(arguments, "classes", False) and "strata" not in takes:
        raise ValueError(f"{kind.__name__} does not use strata; leave --strata out, or choose --model StratifiedNMF.")
    if has_exposure and "exposure" not in takes:
        raise ValueError(
            f"{kind.__name__} does not use an exposure; leave --exposure out, or choose --model StratifiedNMF."
        )
    if "verbose" in known:
        given["verbose"] = 0 if arguments.quiet else 1
    model = kind(**given)
    model._checked_options()
    return model


def model_class(name):
    """Return the estimator of this name, in upper or lower case, of those in the catalogue."""
    import fastnmf
    from fastnmf.models.base.estimator import Estimator
    from fastnmf.models.catalogue import MODELS

    found = {each: getattr(fastnmf, each) for each in dict.fromkeys(entry.name for entry in MODELS)}
    found = {each: kind for each, kind in found.items() if isinstance(kind, type) and issubclass(kind, Estimator)}
    kind = next((kind for each, kind in found.items() if each.lower() == name.lower()), None)
    if kind is None:
        hint = options.proposal(name, found) or "; fastnmf models lists all of them, such as StratifiedNMF and PLSA."
        raise ValueError(f"{name!r} is not a model{hint}")
    return kind
