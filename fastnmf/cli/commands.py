"""Run ``fastnmf demo | fit | top | report | models | info``; an error prints one sentence and returns code 2."""

import argparse
import importlib.metadata
import os
import platform
import sys
import warnings
from pathlib import Path

from fastnmf import __version__
from fastnmf.cli.text import harmless, print_top, summary
from fastnmf.data.writing import check_writable
from fastnmf.io.tables import read_labels, read_lines, read_matrix


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help.\n")


def main(argv=None):
    """Run the command line and return the exit code: 0, 2 for invalid input, 130 for an interrupt."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reading program, such as head, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return _say("interrupted.", 130)
    except MemoryError as error:
        return _say(f"not enough memory ({error}); use fewer components or --dtype float32.")
    except ModuleNotFoundError as error:
        return _say(f"{str(error).rstrip('.')}.")
    except OSError as error:
        reason = f"{error.strerror}: {error.filename!r}" if error.strerror and error.filename else str(error)
        return _say(reason if reason.endswith(".") else reason + ".")
    except (ValueError, TypeError) as error:
        return _say(" ".join(str(error).split()))
    return 0


def _say(sentence, code=2):
    print(f"fastnmf: {harmless(sentence)}", file=sys.stderr)
    return code


def _parser():
    parser = _Parser(prog="fastnmf", description="Factorise large, sparse, non-negative data that come in groups.")
    parser.add_argument("--version", action="version", version=f"fastnmf {__version__}", help="print the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    demo = commands.add_parser("demo", help="what twenty newsgroups share, and what is specific to each")
    demo.add_argument("--data", choices=("newsgroups", "docstrings"), default="newsgroups", help="default: %(default)s")
    demo.add_argument("--components", type=int, default=20, metavar="K", help="shared topics, default %(default)s")
    demo.add_argument("--seed", type=int, default=0, help="of the random start, default %(default)s")
    demo.add_argument("--output", type=Path, default=Path("fastnmf-demo"), metavar="DIR", help="default: %(default)s")
    demo.set_defaults(run=_demo)

    fit = commands.add_parser("fit", help="fit Stratified-NMF to a file")
    fit.add_argument(
        "X", type=Path, help="SciPy sparse .npz, dense .npy, Matrix Market .mtx or .mtx.gz; rows are samples"
    )
    fit.add_argument("--strata", type=Path, help="label of each row: a text file with one label in each line, or .npy")
    fit.add_argument("--components", type=int, default=10, metavar="K", help="default: %(default)s")
    fit.add_argument("--solver", choices=("hals", "mu"), default="hals", help="default: %(default)s")
    fit.add_argument("--max-iter", type=int, default=200, help="default: %(default)s")
    fit.add_argument("--tol", type=float, default=1e-4, help="default: %(default)s; 0 runs all iterations")
    fit.add_argument("--seed", type=int, default=None, help="of the random start")
    fit.add_argument("--dtype", choices=("float32", "float64"), help="convert the data; default: as they are")
    fit.add_argument("--features", type=Path, help="text file with one column name in each line; kept in the model")
    fit.add_argument("--checkpoint", type=Path, metavar="STATE.npz", help="file for the state of the fit, to resume it")
    fit.add_argument("--checkpoint-every", type=float, default=60.0, metavar="S", help="seconds, default %(default)s")
    fit.add_argument("--quiet", action="store_true", help="no progress")
    fit.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.npz")
    fit.set_defaults(run=_fit)

    top = commands.add_parser("top", help="strongest features of every stratum and every component of a model")
    top.add_argument("model", type=Path)
    top.add_argument("--features", type=Path, help="text file with one column name in each line")
    top.add_argument("-n", type=int, default=10, help="features in a line, default %(default)s")
    top.set_defaults(run=_top)

    report = commands.add_parser("report", help="write a web page about a model, readable without network")
    report.add_argument("model", type=Path)
    report.add_argument("--features", type=Path, help="text file with one column name in each line")
    report.add_argument("--rows", type=Path, help="text file with one row title in each line")
    report.add_argument("--data", type=Path, metavar="X", help="the data of the fit; the page then shows more")
    report.add_argument("--title", help="heading of the page")
    report.add_argument("-o", "--output", type=Path, required=True, metavar="REPORT.html")
    report.set_defaults(run=_report)

    models = commands.add_parser("models", help="list all models: purpose, formula, whether they take sparse data")
    models.add_argument("name", nargs="?", metavar="NAME", help="a class, such as PLSA, to describe in full")
    models.set_defaults(run=_models)

    info = commands.add_parser("info", help="versions, threading layer, threads, cache folder")
    info.set_defaults(run=_info)
    return parser


def _demo(arguments):
    from fastnmf.cli.demo import run

    run(arguments.data, arguments.components, arguments.seed, arguments.output)


def _fit(arguments):
    inputs = (arguments.X, arguments.strata, arguments.features)
    check_writable(arguments.output, (*inputs, arguments.checkpoint))
    if arguments.checkpoint is not None:
        check_writable(arguments.checkpoint, inputs)
        if os.path.realpath(arguments.checkpoint) == os.path.realpath(arguments.output):
            raise ValueError(f"{arguments.output} is both the model and the checkpoint; give two paths.")
    X = read_matrix(arguments.X)
    strata = None if arguments.strata is None else read_labels(arguments.strata)
    names = None if arguments.features is None else read_lines(arguments.features)
    if names is not None and len(names) != X.shape[1]:
        turned = f"; it has {len(names)} rows: write its transpose, as rows are the samples"
        raise ValueError(
            f"{arguments.features} has {len(names)} names for {X.shape[1]} columns of {arguments.X}"
            f"{turned if len(names) == X.shape[0] else ''}."
        )
    if arguments.dtype is not None:
        X = X.astype(arguments.dtype)

    from fastnmf.models.stratified import StratifiedNMF

    model = StratifiedNMF(
        arguments.components,
        solver=arguments.solver,
        max_iter=arguments.max_iter,
        tol=arguments.tol,
        random_state=arguments.seed,
        verbose=0 if arguments.quiet else 1,
    )
    with warnings.catch_warnings():  # the summary line says why the fit stopped
        warnings.simplefilter("ignore")
        model.fit(X, strata=strata, checkpoint=arguments.checkpoint, checkpoint_every=arguments.checkpoint_every)
    model.save(arguments.output, names)
    print(summary(model))
    print(f"Model written to {arguments.output}")


def _top(arguments):
    from fastnmf.models.loading import load

    model = load(arguments.model)
    names = None if arguments.features is None else read_lines(arguments.features)
    if names is not None and len(names) != model.n_features_in_:
        raise ValueError(f"{arguments.features} has {len(names)} names for {model.n_features_in_} features.")
    top = model.top_features(arguments.n, names)
    components = top
    if hasattr(model, "shifts_"):
        components = top.components
        print_top("Specific to each stratum", top.strata, top.strata.values())
    print_top("Shared by all", range(1, len(components) + 1), components)


def _report(arguments):
    from fastnmf.models.loading import load
    from fastnmf.report import write_report

    check_writable(arguments.output, (arguments.model, arguments.features, arguments.rows, arguments.data))
    model = load(arguments.model)
    n_rows, n_features = (len(model.W_) if hasattr(model, "W_") else None), model.n_features_in_
    names = None if arguments.features is None else read_lines(arguments.features)
    if names is not None and len(names) != n_features:
        raise ValueError(f"{arguments.features} has {len(names)} names for {n_features} features.")
    titles = None if arguments.rows is None else read_lines(arguments.rows)
    if titles is not None and n_rows not in (None, len(titles)):
        raise ValueError(f"{arguments.rows} has {len(titles)} titles for the {n_rows} rows of the model.")
    X = None if arguments.data is None else read_matrix(arguments.data)
    write_report(model, arguments.output, X=X, feature_names=names, row_names=titles, title=arguments.title)
    print(f"Report written to {arguments.output} ({arguments.output.stat().st_size / 1000:,.0f} kB)")


def _models(arguments):
    from fastnmf.models.catalogue import print_models

    print_models(arguments.name)


def _info(arguments):
    from fastnmf.kernels.jit import environment

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
    for name, value in rows.items():
        print(f"{name:<16}{value}")
