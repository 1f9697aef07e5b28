"""Run the experiments of a thesis on Meta-NMF, with noise, with fair budgets, and set published and measured together.

Khan 2025, on NMF that is trained on small tasks and transferred ("Meta-NMF"): tables 4.3 to 4.10, parts of faces.

Usage::

    python bench/papers/khan2025.py [--quick] [--data Digits,COIL-20] [--methods "NMF;Meta-NMF"] [--ranks 3,10]
                                    [--seeds 3] [--noise 0,0.4] [--jobs 2] [--budget MINUTES]
                                    [--output papers/khan2025]

Every cell of the tables (data set, noise, method, rank, seed) is one line of ``cells.jsonl``, written as soon as it is
done. A run that is stopped goes on where it was: what is there is not run again, and a stop loses no more than the
cells at work. After ``--budget`` minutes no further cell starts; the command and the report say what is missing. At the
end the folder gets ``report.md``, tables as CSV and figures; ``--methods none`` only draws and writes these of what is
there. ``--quick``: two ranks, one seed, three rounds for fifty, fewer images; minutes instead of a night. Published
means stand beside measured ones only where a run has the rounds of the thesis.
"""

import argparse
import itertools
import json
import math
import sys
import time
from collections import Counter
from pathlib import Path

import matplotlib

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
matplotlib.use("Agg")

import pandas as pd
from joblib import Parallel, cpu_count, delayed
from khan_cells import METHODS, RANKLESS, SETS, run_cell
from khan_drawings import FIGURES
from khan_report import report, tables
from machine import describe, versions
from matplotlib import pyplot as plt

from fastnmf.core.progress import counting

FULL = {
    "ranks": (2, 3, 5, 10, 14, 18),
    "seeds": 3,
    # The thesis does not record its own level. Faces had none: the line that adds it is switched off in the program.
    "noise": {
        "Blobs": (0.1,), "Digits": (0.2, 0.4, 0.6), "COIL-20": (0.2, 0.4, 0.6), "Olivetti faces": (0.2,),
        "Fashion-MNIST": (0.2,),
    },
    "noisy_ranks": (3, 10),
    "settings": {"outer": 50, "inner": 100, "images": 6000, "blobs": 10_000},
}  # fmt: skip
QUICK = {
    "ranks": (3, 10),
    "seeds": 1,
    "noise": {"Digits": (0.4,), "COIL-20": (0.4,)},
    "noisy_ranks": (10,),
    "settings": {"outer": 3, "inner": 100, "images": 1000, "blobs": 2000},
}
KEYS = ("data", "sigma", "method", "rank", "seed")
OUTPUT = Path("papers/khan2025")


def grid(options):
    """Return the cells that are wanted, so ordered that a first seed of everything comes first."""
    cells = []
    for seed in range(options.seeds):
        for data in options.data:
            for sigma in (0.0, *options.noise.get(data, ())) if options.levels is None else options.levels:
                ranks = options.ranks if sigma == 0 or options.levels is not None else options.noisy_ranks
                for method in options.methods:
                    for rank in (0,) if method in RANKLESS else ranks:
                        cells.append(dict(zip(KEYS, (data, sigma, method, rank, seed), strict=True)))
                if seed == 0 and options.methods:
                    cells.append(dict(zip(KEYS, (data, sigma, "affinity", 0, 0), strict=True)))
    return cells


def read(path, settings):
    """Return the rows of a file of cells that have these settings; a line that was cut short is passed over."""
    rows = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
            if all(row[name] == value for name, value in settings.items()):
                rows[tuple(row[key] for key in KEYS)] = row
        except (ValueError, KeyError, TypeError):
            continue
    return list(rows.values())


def append(path, row):
    """Add a row to a file of cells, on a line of its own also where the last one was cut short."""
    with open(path, "a+b") as file:
        if file.tell():
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(row).encode() + b"\n")


def cannot(cell, error):
    """Return what is told of a cell that could not be run."""
    return {"failed": f"{cell['data']}, {cell['method']}: {type(error).__name__}: {error}", "data": cell["data"]}


def attempt(cell, settings, folder):
    """Run a cell; data that cannot be had are one sentence, not the end of all others."""
    try:
        return run_cell(cell, settings, folder)
    except OSError as error:
        return cannot(cell, error)


def run(cells, settings, folder, n_jobs, budget=math.inf):
    """Run cells side by side, keep each as soon as it is done; return what failed.

    Parameters
    ----------
    cells : list of dict
    settings : dict
    folder : Path
    n_jobs : int
        Cells at a time.
    budget : float, default=inf
        Minutes after which no further cell starts.

    Returns
    -------
    list of str
    """
    path, failed = folder / "cells.jsonl", {}
    n_jobs, until = max(1, min(n_jobs, len(cells))), time.monotonic() + 60 * budget
    with counting("cells", len(cells), True) as count:
        in_time = itertools.takewhile(lambda _: time.monotonic() < until, cells)
        jobs = (delayed(attempt)(cell, settings, folder) for cell in in_time)
        for row in Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1, pre_dispatch=n_jobs)(jobs):
            if "failed" in row:
                failed[row["data"]] = row["failed"]
            else:
                append(path, row)
            count()
    return list(failed.values())


def absent(wanted, rows):
    """Return the cells that were wanted and are not there."""
    done = {tuple(row[key] for key in KEYS) for row in rows}
    return [cell for cell in wanted if tuple(cell.values()) not in done]


def told(missing, wanted):
    """Return one sentence on the cells that are missing."""
    counts = Counter(cell["data"] for cell in missing)
    names = ", ".join(f"{data} {n}" for data, n in counts.items())
    return f"{len(missing)} of {len(wanted)} cells are missing ({names}); the same command goes on with them."


def present(folder, rows, settings, missing=""):
    """Draw the figures, write the tables and the report; return the names of the files.

    Parameters
    ----------
    folder : Path
    rows : list of dict
        The cells.
    settings : dict
    missing : str, default=""
        A sentence on what is not there.

    Returns
    -------
    list of str
    """
    frame = pd.DataFrame(rows)
    written = []
    for stem, draw in FIGURES.items():
        figure = draw(frame, folder)
        if figure is not None:
            figure.savefig(folder / f"{stem}.png", dpi=130)
            plt.close(figure)
            written.append(f"{stem}.png")
    for name, table in tables(frame).items():
        table.to_csv(folder / f"{name}.csv", index=False)
        written.append(f"{name}.csv")
    facts = {"date": time.strftime("%Y-%m-%d %H:%M"), "machine": describe(), "settings": settings}
    facts |= {"missing": missing}
    (folder / "params.json").write_text(json.dumps(facts | {"versions": versions()}, indent=1) + "\n")
    (folder / "report.md").write_text(report(frame, facts, written), encoding="utf-8")
    return [*written, "params.json", "report.md"]


def arguments(argv):
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two ranks, one seed, 3 rounds for 50, fewer images")
    parser.add_argument("--data", default=",".join(SETS), help=f"of {','.join(SETS)}")
    parser.add_argument("--methods", default="", help="names between semicolons; none: only draw and write")
    parser.add_argument("--ranks", default="", help="numbers between commas")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--noise", help="levels between commas, for all data and ranks; 0 is none")
    parser.add_argument("--jobs", type=int, default=cpu_count(), help="cells at a time (default: all cores)")
    parser.add_argument("--budget", type=float, default=math.inf, metavar="MINUTES", help="then no further cell starts")
    parser.add_argument("--output", type=Path, help=f"folder (default {OUTPUT}, or {OUTPUT}-quick)")
    options = parser.parse_args(argv)
    chosen = QUICK if options.quick else FULL
    options.output = options.output or (Path(f"{OUTPUT}-quick") if options.quick else OUTPUT)
    options.data = options.data.split(",")
    names = [] if options.methods == "none" else options.methods.split(";") if options.methods else list(METHODS)
    options.methods = [name.strip() for name in names]
    try:
        options.ranks = tuple(map(int, options.ranks.split(","))) if options.ranks else chosen["ranks"]
        options.levels = None if options.noise is None else tuple(map(float, options.noise.split(",")))
    except ValueError as error:
        parser.error(f"ranks and noise are numbers between commas ({error})")
    options.seeds = chosen["seeds"] if options.seeds is None else options.seeds
    options.noise, options.noisy_ranks, options.settings = chosen["noise"], chosen["noisy_ranks"], chosen["settings"]
    for what, given, known in (("data", options.data, SETS), ("methods", options.methods, METHODS)):
        unknown = sorted(set(given) - set(known))
        if unknown:
            parser.error(f"unknown {what}: {'; '.join(unknown)}; there are {'; '.join(known)}")
    return options


def main(argv=None):
    """Run what is missing, draw and write."""
    options = arguments(argv)
    options.output.mkdir(parents=True, exist_ok=True)
    path, settings = options.output / "cells.jsonl", options.settings
    rows, wanted = read(path, settings), grid(options)
    missing = absent(wanted, rows)
    if rows and wanted:
        print(f"{len(wanted) - len(missing)} of {len(wanted)} cells are there already.", file=sys.stderr)
    failed = run(missing, settings, options.output, options.jobs, options.budget) if missing else []
    for text in failed:
        print(f"Left out: {text}", file=sys.stderr)
    rows = read(path, settings)
    missing = absent(wanted, rows)
    sentence = told(missing, wanted) if missing else ""
    if sentence:
        print(sentence, file=sys.stderr)
    if not rows:
        print(f"Nothing has been run in {options.output}; choose methods.", file=sys.stderr)
        return 1
    print(f"Written to {options.output}/: cells.jsonl, {', '.join(present(options.output, rows, settings, sentence))}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
