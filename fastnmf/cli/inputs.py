"""Read the data that arguments of the command line name."""

import re
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

OPTIONS = (
    "kind",
    "strata",
    "exposure",
    "text",
    "title",
    "names",
    "triplets",
    "layer",
    "encoding",
    "duplicates",
    "folder",
)
LONG = 1.0  # seconds of reading that are told of
VECTORIZER = ("min_df", "max_df", "stop_words", "max_features", "ngram_range", "counts", "tfidf")
READING = (*OPTIONS, "raw", "transpose", "use_highly_variable")  # arguments of `fastnmf.read`


def input_files(arguments, *names):
    """Return the files that arguments name and that must not be overwritten: data, strata, and those of `names`."""
    found = [getattr(arguments, name, None) for name in ("X", "config", "exposure", *names)]
    strata = getattr(arguments, "strata", None)
    found += strata if isinstance(strata, tuple) else [strata]
    found = [Path(each) for each in found if each is not None and str(each) != "-"]
    found += [path for _, path, _ in getattr(arguments, "penalty", ())]
    return [file for each in found for file in (each.iterdir() if each.is_dir() else [each])]


def read_data(arguments, source=None):
    """Read the data of a command by `fastnmf.read`, and say how long that took if it took long.

    Parameters
    ----------
    arguments : argparse.Namespace
        With the options of `fastnmf.cli.parser.add_data`.
    source : Mapping, or None
        `source_` of a model, to read new data as those of its fit were read.

    Returns
    -------
    Readings
    """
    from fastnmf.core.progress import say, waiting
    from fastnmf.io.tables import read

    began, name = time.perf_counter(), "standard input" if str(arguments.X) == "-" else str(arguments.X)
    is_quiet = getattr(arguments, "quiet", False)
    with nullcontext() if is_quiet else waiting(f"Reading {name} ..."), _as_file(arguments.X) as path:
        try:
            found = read(path, source=source, **_options(arguments))
        except ValueError as error:
            raise ValueError(with_options(str(error).replace(str(path), name), READING)) from error
    seconds, (n_rows, n_columns) = time.perf_counter() - began, found.shape
    if seconds > LONG and not is_quiet:
        say(f"Read {name}: {n_rows:,} rows x {n_columns:,} columns in {seconds:.1f} s")
    return found


def _options(arguments):
    """Return the arguments of `fastnmf.read` that were given."""
    found = {name: getattr(arguments, name, None) for name in OPTIONS}
    found |= {"raw": arguments.raw or None, "transpose": arguments.transpose or None}
    found |= {"use_highly_variable": arguments.highly_variable or None}
    words = {name: getattr(arguments, name, None) for name in VECTORIZER}
    words = {name: value for name, value in words.items() if value not in (None, False)}
    if words and arguments.text is None:
        name = next(iter(words)).replace("_", "-")
        raise ValueError(f"--{name} is an option for texts, but --text is not given; name the column of texts.")
    found["vectorizer"] = words or None
    return {name: value for name, value in found.items() if value is not None}


def with_options(sentence, names):
    """Return a sentence of a function with options of the command line in place of its arguments of these names."""

    def option(found):
        name = found[1].removeprefix("use_").replace("_", "-")
        return f"--{name}" if found[2] == "True" else f"--{name} {found[2]}"

    return re.sub(rf"\b({'|'.join(names)})=('[^']*'|True)", option, sentence)


@contextmanager
def _as_file(path):
    """Yield the path of a file; standard input becomes one, whose ending is that of the table that it begins like."""
    if str(path) != "-":
        yield Path(path)
        return
    content = sys.stdin.buffer.read()
    first = content.lstrip()[:100_000].split(b"\n")[0]
    ending = ".jsonl" if first[:1] == b"{" else ".tsv" if first.count(b"\t") > first.count(b",") else ".csv"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"input{ending}")
        file.write_bytes(content)
        yield file


def load_model(path, features=None):
    """Return a model from a file, and the names of its features, or None: from a text file, or its own."""
    from fastnmf.models.loading import load

    model = load(path)
    names = getattr(model, "feature_names_in_", None)
    if features is not None:
        names = lines_of(features, "names", model.n_features_in_, "features")
    return model, names


def lines_of(path, what, n, of):
    """Return the lines of a text file, of which there must be `n`.

    Parameters
    ----------
    path : Path
    what : str
        What the lines are, for the message.
    n : int, or None
    of : str
        Of what there are `n`, for the message.
    """
    from fastnmf.io.tables import read_lines

    found = read_lines(path)
    if n is not None and len(found) != n:
        raise ValueError(f"{path} has {len(found)} {what} for {'the ' * of.startswith('rows')}{n} {of}.")
    return found
