"""Run the command line: ``fastnmf COMMAND``; an error prints one sentence and returns code 2."""

import argparse
import os
import sys
import warnings
from pathlib import Path

from fastnmf import __version__
from fastnmf.cli import fitting, plotting, showing
from fastnmf.cli import parser as options
from fastnmf.cli.parser import Parser, with_config
from fastnmf.cli.standard_streams import standard_streams
from fastnmf.cli.text import harmless

COMMANDS = (
    fitting.add_fit,
    showing.add_top,
    showing.add_explain,
    showing.add_report,
    plotting.add_plot,
    showing.add_transform,
    showing.add_export,
    fitting.add_select_rank,
    fitting.add_select_strata,
    fitting.add_consensus,
    showing.add_models,
    showing.add_info,
)
BEGIN = """\
begin with:
  fastnmf fit posts.csv --text text --strata site -o model.npz
  fastnmf top model.npz
  fastnmf report model.npz --data posts.csv -o report.html

fastnmf COMMAND --help lists the options of a command, with examples."""
JOBS = "processes that compile kernels; default: one for each core"


def main(argv=None):
    """Run the command line and return the exit code: 0, 2 for invalid input, 130 for an interrupt."""
    with standard_streams():
        return _run(argv)


def _run(argv):
    try:
        arguments = _arguments(sys.argv[1:] if argv is None else argv)
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: _say(f"warning: {message}")
            arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reading program, such as head, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return _say("interrupted.", 130)
    except MemoryError as error:
        return _say(f"not enough memory ({error}); use fewer components or --dtype float32.")
    except ModuleNotFoundError as error:
        return _say(str(error) if str(error).endswith(".") else f"{error.name} is not installed.")
    except OSError as error:
        where = f": {error.filename!r}" if error.filename else ""
        reason = f"{error.strerror}{where}" if error.strerror else str(error)
        return _say(reason if reason.endswith(".") else reason + ".")
    except (ValueError, TypeError) as error:
        return _say(" ".join(str(error).split()))
    return 0


def _say(sentence, code=2):
    print(f"fastnmf: {harmless(sentence)}", file=sys.stderr)
    return code


def _arguments(argv):
    parser = Parser(prog="fastnmf", usage="fastnmf COMMAND [options]", epilog=BEGIN)
    parser.add_argument("--version", action="version", version=f"fastnmf {__version__}", help="print the version")
    kept = {"prog": "fastnmf", "metavar": "COMMAND", "help": argparse.SUPPRESS}
    commands = parser.add_subparsers(required=True, parser_class=Parser, **kept)
    for add in (*COMMANDS, _add_warmup, _add_demo):
        add(commands)
    listed = "\n".join(f"    {name:<15}{each.description}" for name, each in commands.choices.items())
    purpose = "Find what all groups of your data share, and what is specific to each."
    parser.description = f"{purpose}\n\ncommands:\n{listed}"
    if not argv:
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    if argv and argv[0] in commands.choices:
        argv = with_config(commands.choices[argv[0]], argv)
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        arguments.parser.refuse(unknown)
    return arguments


def _add_demo(commands):
    demo = options.command(commands, "demo", "do all of it on 20 newsgroups, and write the files", "")
    demo.add_argument("--data", choices=("newsgroups", "docstrings"), default="newsgroups", help="default: %(default)s")
    demo.add_argument("--components", type=int, default=20, metavar="K", help="shared topics, default %(default)s")
    demo.add_argument("--seed", type=int, default=0, help="of the random start, default %(default)s")
    demo.add_argument("--output", type=Path, default=Path("fastnmf-demo"), metavar="DIR", help="default: %(default)s")
    demo.add_argument("--jobs", type=int, default=-1, metavar="N", help=JOBS)
    demo.set_defaults(run=_demo, parser=demo)


def _demo(arguments):
    from fastnmf.core.options import check_jobs
    from fastnmf.kernels.ahead import Compilers, usual_kernels

    check_jobs("--jobs", arguments.jobs)
    with Compilers(usual_kernels(("sparse",), ("float64",)), arguments.jobs) as compilers:
        from fastnmf.cli.demo import run  # takes seconds, in which the other processes compile

        run(arguments.data, arguments.components, arguments.seed, arguments.output, compilers.finish)


def _add_warmup(commands):
    examples = "  fastnmf warmup\n  fastnmf warmup --jobs 1 --kullback-leibler\n"
    warm = options.command(commands, "warmup", "compile the kernels of the usual fits", "", examples)
    warm.add_argument("--jobs", type=int, default=-1, metavar="N", help=JOBS)
    types = "types of the data of later fits; default: %(default)s"
    warm.add_argument("--dtypes", type=options.words, default="float64,float32", metavar="LIST", help=types)
    warm.add_argument("--kullback-leibler", action="store_true", help="also for NMF under that loss")
    options.add_quiet(warm)
    warm.set_defaults(run=_warmup, parser=warm)


def _warmup(arguments):
    from fastnmf.cli.warmup import warmup
    from fastnmf.kernels.jit import environment
    from fastnmf.report import tables

    more = {"kullback_leibler": arguments.kullback_leibler, "verbose": int(not arguments.quiet)}
    seconds = warmup(arguments.dtypes, jobs=arguments.jobs, **more)
    folder = str(environment()["cache_dir"])
    if arguments.json:
        print(tables.as_json({"seconds": seconds, "kernel cache": folder}))
    elif not arguments.quiet:
        print(f"The kernels are compiled, after {seconds:.1f} s; they are in {folder}.")
