"""Run the four experiments of the Stratified-NMF paper, and set published and measured side by side.

J. Chapman, Y. Yaniv, D. Needell, "Stratified-NMF for Heterogeneous Data", 2023, arXiv:2311.10789.

Usage::

    python bench/papers/chapman2023.py [--quick] [--experiments synthetic,housing,mnist,newsgroups,starts]
                                       [--subset test|train] [--output papers/chapman2023]

Writes ``params.json``, one CSV for each table, the figures 1 to 6 redrawn, and ``report.md``. An experiment that has
been run stays: the report is always on all that lie in the folder, so that one of them can be run again by itself, and
``--experiments none`` only draws and writes anew. Real data come from scikit-learn's data home, or are downloaded; an
experiment whose data cannot be had is left out with a word.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import matplotlib

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
matplotlib.use("Agg")

import pandas as pd
import published
import runs
import starts
from drawings import FIGURES
from machine import describe, versions
from matplotlib import pyplot as plt
from written import report

FULL = {
    "synthetic": {"seeds": 12, "rank": 5, "iterations": 10_000, "default_iterations": 1000},
    "housing": {
        "seeds": 20, "rank": 5, "iterations": 100, "long_seeds": 3, "long_iterations": 10_000,
        "default_iterations": 1000,
    },
    "mnist": {"seeds": 10, "rank": 5, "iterations": 100, "subset": "test"},
    "newsgroups": {"seeds": 3, "rank": 20, "iterations": 100},
    "starts": {"seeds": 5, "names": list(starts.LOADERS)},
}  # fmt: skip
QUICK = {
    "synthetic": {**FULL["synthetic"], "seeds": 2, "iterations": 1000, "default_iterations": 200},
    "housing": {**FULL["housing"], "seeds": 3, "long_seeds": 1, "long_iterations": 1000, "default_iterations": 200},
    "mnist": {**FULL["mnist"], "seeds": 2},
    "newsgroups": {**FULL["newsgroups"], "seeds": 1, "iterations": 40},
    "starts": {"seeds": 2, "names": ["synthetic", "housing", "mnist"]},
}
OUTPUT = Path("papers/chapman2023")


def run(name, options):
    """Run one experiment; return its tables."""
    options = dict(options)
    if name == "starts":
        return {"runs": starts.compare(options["names"], options["seeds"])}
    if name == "newsgroups":
        options["published"] = published.top_words()
    return getattr(runs, name)(**options | {"seeds": range(options["seeds"])})


def read(folder):
    """Return the parameters and the tables of all experiments that lie in the folder."""
    try:
        params = json.loads((folder / "params.json").read_text())
    except OSError:
        params = {"experiments": {}}
    tables = {
        name: {path.stem.removeprefix(f"{name}_"): pd.read_csv(path, keep_default_na=False, na_values=[""])
               for path in sorted(folder.glob(f"{name}_*.csv"))}
        for name in FULL if name in params["experiments"]
    }  # fmt: skip
    return params, tables


def write(folder, name, tables, options, seconds):
    """Write the tables of one experiment, and note its parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    for table, frame in tables.items():
        frame.to_csv(folder / f"{name}_{table}.csv", index=False)
    params, _ = read(folder)
    params |= {"date": time.strftime("%Y-%m-%d %H:%M"), "machine": describe(), "versions": versions()}
    params["experiments"][name] = options | {"seconds": round(seconds, 1)}
    (folder / "params.json").write_text(json.dumps(params, indent=1) + "\n")


def present(folder):
    """Draw the figures and write the report on all that lies in the folder; return the names of the files."""
    params, tables = read(folder)
    if not tables:
        return []
    written = []
    for stem, (name, draw) in FIGURES.items():
        if name in tables:
            figure = draw(tables[name])
            figure.savefig(folder / f"{stem}.png", dpi=130)
            plt.close(figure)
            written.append(f"{stem}.png")
    (folder / "report.md").write_text(report(tables, params))
    return [*written, "report.md"]


def arguments(argv):
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer seeds and iterations: less than a minute")
    parser.add_argument("--experiments", default=",".join(FULL), help=f"of {','.join(FULL)}; or none: only the report")
    parser.add_argument("--subset", choices=("test", "train"), help="MNIST images; the paper has train (default test)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"folder (default {OUTPUT})")
    options = parser.parse_args(argv)
    options.experiments = [] if options.experiments == "none" else options.experiments.split(",")
    unknown = sorted(set(options.experiments) - set(FULL))
    if unknown:
        parser.error(f"unknown experiments: {', '.join(unknown)}; there are {', '.join(FULL)}, and none")
    return options


def main(argv=None):
    """Run, draw and write."""
    options = arguments(argv)
    warnings.filterwarnings("ignore", message=".*max_iter.*")
    status = 0
    for name in options.experiments:
        parameters = dict((QUICK if options.quick else FULL)[name])
        if name == "mnist" and options.subset:
            parameters["subset"] = options.subset
        began = time.perf_counter()
        try:
            tables = run(name, parameters)
        except OSError as error:
            runs.say(f"{name} is left out: {error}")
            status = 1
            continue
        write(options.output, name, tables, parameters, time.perf_counter() - began)
    files = present(options.output)
    if not files:
        runs.say(f"Nothing has been run in {options.output}; choose experiments.")
        return 1
    print(f"Written to {options.output}/: params.json, tables as CSV, {', '.join(files)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
