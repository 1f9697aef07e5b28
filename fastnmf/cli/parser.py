"""Parse the command line: options that commands share, options from a file, and what to do about a wrong word."""

import argparse
import json
import re
import textwrap
import tomllib
from pathlib import Path

from fastnmf.data.sentences import nearest

_NOT_IN_FILES = ("--config", "--help", "--set")  # a table [parameters] stands for the last
NAMES = "text file with one column name per line"


class Parser(argparse.ArgumentParser):
    """Parser whose errors are one sentence, which proposes the nearest of the known words."""

    def __init__(self, **options):
        super().__init__(**options, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message):
        """Print a sentence and exit with code 2."""
        wrong = re.search(r"(?:argument COMMAND: )?invalid choice: '([^']*)' \(choose from (.*)\)$", message, re.DOTALL)
        if wrong:
            known = re.findall(r"[^\s',]+", wrong[2])
            hint = proposal(wrong[1], known) or f"; expected one of {', '.join(known)}"
            message = f"{message[: wrong.start()]}invalid choice: '{wrong[1]}'{hint}"
        if "--output" in self.long_options():
            message = message.replace("-o/--output", f"-o {self.long_options()['--output'].metavar}")
        more = "" if message.endswith("?") else f"; see {self.prog} --help."
        self.exit(2, f"{self.prog}: {message}{more}\n")

    def refuse(self, unknown):
        """Refuse arguments that no option takes."""
        word = unknown[0].split("=")[0]
        hint = proposal(word, self.long_options())
        if not word.startswith("-") and "--data" in self.long_options():
            hint = f"; did you mean '--data {word}'?"
        self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")

    def long_options(self):
        """Return name -> action of the options that begin with two dashes."""
        return {name: action for name, action in self._option_string_actions.items() if name.startswith("--")}


class OneOrSeveral(argparse.Action):
    """Keep the value of an option, and the values of a repeated one as a tuple."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Store a value beside earlier ones.

        Parameters
        ----------
        parser : argparse.ArgumentParser
        namespace : argparse.Namespace
        values : object
        option_string : str, default=None
        """
        before = getattr(namespace, self.dest)
        before = before if isinstance(before, tuple) else () if before is None else (before,)
        setattr(namespace, self.dest, (*before, values) if before else values)


def proposal(word, known):
    """Return what to add to a sentence that refuses a word: the nearest known one, or nothing where none is near."""
    near = nearest(word, known)
    return f"; did you mean {near!r}?" if near else ""


def with_config(parser, argv):
    """Return the arguments with those of ``--config`` before them, so that the command line wins.

    Parameters
    ----------
    parser : Parser
        That of the command, the first of the arguments.
    argv : list of str

    Raises
    ------
    ValueError
        The file is not TOML, or has a key that is not an option of the command.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    try:
        path = finder.parse_known_args(argv)[0].config
    except SystemExit:
        return argv  # the parser of the command says what is wrong
    if path is None or "--config" not in parser.long_options():
        return argv
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as TOML ({error}).") from error
    options, given = {name: act for name, act in parser.long_options().items() if name not in _NOT_IN_FILES}, []
    for key, value in found.items():
        name = f"--{key.replace('_', '-')}"
        if key == "parameters" and isinstance(value, dict):
            given += [f"--set={parameter}={json.dumps(each)}" for parameter, each in value.items()]
            continue
        if (action := next((act for each, act in options.items() if each.lower() == name.lower()), None)) is None:
            hint = proposal(name, options) or f"; its options are those of {parser.prog} --help."
            raise ValueError(f"{path} has the key {key!r}, which is not an option{hint.replace('--', '', 1)}")
        if isinstance(action, OneOrSeveral) and any(_is_option(word, name) for word in argv):
            continue  # the values of a repeated option would add up
        given += _arguments(path, key, value, action)
    return [argv[0], *given, *argv[1:]]


def _is_option(word, name):
    """Tell whether an argument is an option, in full or abbreviated, with or without its value."""
    return len(word.split("=")[0]) > 3 and name.lower().startswith(word.split("=")[0].lower())


def _arguments(path, key, value, action):
    """Return an entry of a file as arguments.

    Parameters
    ----------
    path : str
    key : str
    value : object
        As TOML holds it.
    action : argparse.Action
        The option.
    """
    is_flag = action.nargs == 0
    if isinstance(value, dict) or isinstance(value, bool) != is_flag:
        expected = "true or false" if is_flag else "a number, a text or a list"
        raise ValueError(f"{path} has {key} = {json.dumps(value)}; expected {expected}.")
    if is_flag:
        return [action.option_strings[-1]] if value else []
    values = value if isinstance(value, list) else [value]
    if isinstance(action, OneOrSeveral):
        return [f"{action.option_strings[-1]}={each}" for each in values]
    return [f"{action.option_strings[-1]}={','.join(map(str, values))}"]


# ---------------------------------------------------------------- types of values


def numbers(text):
    """Return the integer, or for a list with commas the tuple of integers, that a text stands for."""
    try:
        found = tuple(int(each) for each in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid int value: {text!r}") from None
    return found[0] if len(found) == 1 else found


def pair(text):
    """Return the two integers of a text such as ``1,2``."""
    found = numbers(text)
    if not isinstance(found, tuple) or len(found) != 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not a pair of integers; write it as 1,2")
    return found


def ranks(text):
    """Return the integers of a list with commas such as ``5,10,20``, in which ``2-10`` stands for a range."""
    try:
        bounds = [tuple(int(each) for each in part.split("-")) for part in text.split(",")]
    except ValueError:
        bounds = [()]
    if any(len(each) not in (1, 2) or each[-1] < each[0] or each[0] < 1 for each in bounds):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of ranks; write it as 5,10,20 or 2-10")
    return [rank for each in bounds for rank in range(each[0], each[-1] + 1)]


def strengths(text):
    """Return the numbers of a list with commas such as ``0,0.1``."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers; write it as 0,0.1") from None


def number_or_name(text):
    """Return the number that a text stands for, or the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def words(text):
    """Return the parts of a list with commas."""
    return [part.strip() for part in text.split(",")]


def setting(text):
    """Return the name and the value of ``NAME=VALUE``; the value is read as TOML, else it is a text."""
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text!r} has no '='; give NAME=VALUE")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value


def own_sizes(text):
    """Return ``n_own``: the integer that a text stands for, or of ``treated=4,control=1`` a dict label -> integer."""
    parts = [part.rpartition("=") for part in words(text)]
    is_one = len(parts) == 1 and not parts[0][1]
    if not all(size.isdecimal() and (is_one or label) for label, _, size in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of components; write it as 2, or as treated=4")
    if is_one:
        return int(parts[0][2])
    return {int(label) if label.isdecimal() else label: int(size) for label, _, size in parts}


def penalties(text):
    """Return (factor, file, name) of each part of a list with commas such as ``H=separation.py:Separation``."""
    return [_penalty(part) for part in words(text)]


def _penalty(text):
    factor, _, where = text.partition("=")
    path, _, name = where.rpartition(":")
    if not (path and name) or factor not in ("W", "H", "V"):
        raise argparse.ArgumentTypeError(
            f"{text!r} names no penalty; give a factor W, H or V, a Python file and a name in it, such as "
            "H=separation.py:Separation"
        )
    return factor, Path(path), name


# ---------------------------------------------------------------- options of several commands


def command(commands, name, purpose, needed, examples=""):
    """Add a command and return its parser.

    Parameters
    ----------
    commands :
        What `add_subparsers` returned.
    name, purpose : str
        `purpose` is shown in the list of commands, too.
    needed : str
        Arguments that the line of usage shows; all others are "options".
    examples : str, default=""
        Lines that the help ends with.
    """
    usage = f"fastnmf {name} {needed} [options]".replace("  ", " ")
    epilog = f"examples:\n{textwrap.indent(textwrap.dedent(examples), '  ')}" if examples else None
    return commands.add_parser(name, help=purpose, description=purpose, usage=usage, epilog=epilog)


def add_data(parser, positional=True, title="--title", kind="--kind"):
    """Add the options that say where data are and how they are read.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    positional : bool, default=True
        Whether the data are an argument, not the option ``--data``.
    title, kind : str, default="--title", "--kind"
        Names of the options of the titles of the rows, and of what the file holds.
    """
    where = "CSV, TSV, JSON Lines or Parquet table, .h5ad, folder or .h5 of 10x, .npz, .npy, .mtx; - is standard input"
    if positional:
        parser.add_argument("X", help=f"{where}; rows are samples")
    else:
        parser.add_argument("--data", dest="X", metavar="X", help=f"data of the fit: {where}")
    group = parser.add_argument_group("data")
    group.add_argument("--text", metavar="COLUMN", help="column of texts, which become TF-IDF")
    group.add_argument(title, dest="title", metavar="COLUMN", help="column of titles of the rows, for the report")
    group.add_argument("--names", metavar="COLUMN", help="column of row names; default: a column without a name")
    group.add_argument("--triplets", type=words, metavar="COLUMNS", help="columns of ratings, such as user,item,rating")
    strata = (
        "group of each row: a column of a table, an .h5ad or triplets; for a matrix a text file or .npy; give it again "
        "for each further factor, such as --strata site --strata year"
    )
    group.add_argument("--strata", action=OneOrSeveral, metavar="NAME", help=strata)
    exposure = (
        "size of each row, such as its sequencing depth: a column of numbers, or for a matrix a text file or .npy"
    )
    group.add_argument("--exposure", metavar="NAME", help=exposure)
    group.add_argument("--layer", metavar="NAME", help="layer of an .h5ad, instead of its X")
    group.add_argument("--raw", action="store_true", help="use the raw counts of an .h5ad")
    group.add_argument(
        "--highly-variable", action="store_true", help="use only the highly variable features of an .h5ad"
    )
    group.add_argument("--transpose", action="store_true", help="the columns are samples")
    group.add_argument("--encoding", help="encoding of a text file that is not UTF-8, such as latin-1")
    group.add_argument(
        kind, dest="kind", metavar="KIND", help="texts, table, triplets, cells or matrix; default: by the ending"
    )
    group.add_argument(
        "--duplicates", metavar="HOW", help="how to combine repeated triplets: sum (default), mean, or raise"
    )


def add_words(parser):
    """Add the options that say how texts become numbers."""
    group = parser.add_argument_group("words of texts")
    group.add_argument(
        "--min-df", type=number_or_name, metavar="N", help="least number, or share, of texts that contain a word"
    )
    group.add_argument(
        "--max-df", type=number_or_name, metavar="N", help="largest number, or share, of texts that contain a word"
    )
    group.add_argument("--stop-words", metavar="LANGUAGE", help="english removes English stop words")
    group.add_argument("--max-features", type=int, metavar="N", help="keep the N most frequent words")
    group.add_argument("--ngram-range", type=pair, metavar="N,M", help="sequences of N to M words; default 1,1")
    group.add_argument("--counts", action="store_true", help="count the words, without TF-IDF")
    formula = "smooth, scikit-learn's (default), or max: count / largest count of the text * log2(texts / its texts)"
    group.add_argument("--tfidf", metavar="FORMULA", help=formula)


def add_model(parser):
    """Add the options that say what is fitted."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", metavar="NAME", help="default: StratifiedNMF with strata, else NMF; see fastnmf models"
    )
    losses = "frobenius (default); kullback-leibler, negative-binomial for counts; itakura-saito; or a number"
    group.add_argument("--beta-loss", type=number_or_name, metavar="LOSS", help=losses)
    for factor, what in (("W", "weights"), ("H", "components"), ("V", "shifts")):
        group.add_argument(f"--alpha-{factor}", type=number_or_name, metavar="A", help=f"penalty on the {what}")
    group.add_argument("--l1-ratio", type=float, metavar="R", help="share of L1 in the penalties, from 0 to 1")
    own = {"type": penalties, "action": "extend", "default": [], "metavar": "FACTOR=FILE.py:NAME"}
    group.add_argument("--penalty", help="a penalty of your own, such as H=separation.py:Separation", **own)
    sizes = "components that only one group uses, for each group, such as 2, or for some: treated=4"
    group.add_argument("--n-own", type=own_sizes, metavar="N", help=sizes)
    gauge = "max_shift or min_shift: count as much, or as little, as possible as specific to a group"
    group.add_argument("--gauge", help=gauge)
    group.add_argument("--normalize", metavar="NORM", help="norm of the components: l1, l2 or max")
    group.add_argument("--missing", metavar="WHICH", help="unknown entries: zeros or nan")
    group.add_argument("--dtype", choices=("float32", "float64"), help="convert the data; default: unchanged")
    more = {"action": "append", "default": [], "metavar": "NAME=VALUE"}
    group.add_argument("--set", type=setting, help="any parameter of the model, such as own=tied", **more)

    group = parser.add_argument_group("fit")
    group.add_argument("--seed", type=int, help="seed of the random start; default: another start in every run")
    group.add_argument("--solver", help="hals or mu; default: the model's own, or mu for a loss other than frobenius")
    group.add_argument("--init", help="auto (default), features, rows, random, nndsvd, ...: the start")
    group.add_argument("--n-init", type=int, metavar="N", help="number of starts; the best is kept")
    group.add_argument("--max-iter", type=int, metavar="N", help="maximum number of iterations")
    group.add_argument("--tol", type=float, help="tolerance; 0 runs all iterations")
    group.add_argument("--max-time", type=float, metavar="S", help="time limit in seconds")
    group.add_argument("--threads", type=int, metavar="N", help="number of threads; the result is the same")
    config = "TOML file of these options; the command line takes precedence; a table [parameters] holds those of --set"
    parser.add_argument("--config", metavar="FILE.toml", help=config)
    add_quiet(parser)


def add_ranking(parser):
    """Add the option that says how features are ranked."""
    by = "what ranks features; default: contrast with the other strata for strata, weight for components"
    parser.add_argument("--by", choices=("contrast", "weight", "lift"), help=by)


def add_quiet(parser):
    """Add the options for scripts."""
    parser.add_argument("--quiet", action="store_true", help="no progress")
    add_json(parser)


def add_json(parser):
    """Add the option for scripts that read what a command says."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_output(parser, what, **options):
    """Add ``-o``; required unless `options` say otherwise."""
    shared = {"type": Path, "metavar": what, "help": "where to write; what is there is replaced as a whole"}
    parser.add_argument("-o", "--output", **shared, **{"required": True} | options)
