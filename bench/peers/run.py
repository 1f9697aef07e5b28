"""Measure ours beside its peers: the published algorithm, a careful NumPy version of it, and scikit-learn.

Usage::

    python bench/peers/run.py [--quick] [--repeats 5] [--seeds 0 1 2] [--cold] [--against FOLDER]
                              [--output bench/peers/results]
                              [--sections target,nmf,default,counts,topics,large,small,converged,starts,bits,memory,
                                          iteration,preparation,kl,minibatch,zipf,import]

Within a section all contestants run in turn, round by round in shuffled order, so that the machine's moods hit all
of them alike; ratios are formed within a round, and tables hold medians with the range. Prints Markdown and writes
it to ``results.md``, all raw samples to ``results.json`` and a figure to ``loss_against_time.png``. ``--cold`` also
measures first fits from an empty compilation cache, which takes minutes. ``--against`` measures the checkout in a
folder by turns with this one, in the sections on whole fits and in that on memory.
"""

import argparse
import os
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import batches
import counts_fits
import data
import defaults
import ends
import figure
import numpy as np
import plain
import process
import stratified
from contest import Contest
from machine import describe, versions
from report import Report

HERE = Path(__file__).resolve().parent

SECTIONS = {
    "target": stratified.target,
    "nmf": plain.nmf,
    "default": defaults.default,
    "counts": counts_fits.counts,
    "topics": counts_fits.topics,
    "large": defaults.large,
    "small": defaults.small,
    "converged": ends.converged,
    "starts": ends.starts,
    "bits": ends.bits,
    "memory": process.memory,
    "iteration": stratified.iteration,
    "preparation": stratified.preparation,
    "kl": plain.kl,
    "minibatch": batches.minibatch,
    "zipf": plain.zipf,
    "import": process.first_calls,
}


@dataclass
class Setting:
    """What all sections share: newsgroups (CSR float64, rows by stratum), and how much to measure."""

    X: object
    labels: np.ndarray
    start: np.ndarray
    rank: int
    repeats: int
    threads: tuple
    seeds: tuple
    is_quick: bool
    is_cold: bool
    against: Path | None = None

    def options(self, **more):
        """Return options as `versus_baselines` takes them."""
        return SimpleNamespace(threads=self.threads, rank=self.rank, **more)

    def contest(self, datasets):
        """Return the processes that fit these data, name -> (X, labels or None)."""
        return Contest(datasets, self.against)


def arguments(argv):
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 repeats, seed 0, fewer iterations, Zipf text x1 only")
    parser.add_argument("--repeats", type=int, help="rounds of all but the slowest contestants (default 5, quick 3)")
    parser.add_argument("--sections", default=",".join(SECTIONS), help=f"of {','.join(SECTIONS)}")
    parser.add_argument("--cold", action="store_true", help="also first fits from an empty compilation cache")
    parser.add_argument("--seeds", type=int, nargs="+", choices=(0, 1, 2), help="default 0 1 2, quick 0")
    parser.add_argument("--against", type=Path, help="folder of another checkout")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", type=Path, default=HERE / "results")
    options = parser.parse_args(argv)
    options.sections = options.sections.split(",")
    unknown = sorted(set(options.sections) - set(SECTIONS))
    if unknown:
        parser.error(f"unknown sections: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return options


def main(argv=None):
    """Measure, print and write."""
    options = arguments(argv)
    warnings.filterwarnings("ignore", message=".*(max_iter|Maximum number of iterations).*")
    text = data.newsgroups()
    if text is None:
        print(
            "20 newsgroups is not in the scikit-learn data home (SCIKIT_LEARN_DATA); get it with "
            "python -c 'from fastnmf.datasets import load_newsgroups; load_newsgroups()'",
            file=sys.stderr,
        )
        return 2
    X, labels, start = text
    setting = Setting(
        X=X,
        labels=labels,
        start=start,
        rank=20,
        repeats=options.repeats or (3 if options.quick else 5),
        threads=tuple(options.threads),
        seeds=tuple(options.seeds or ((0,) if options.quick else (0, 1, 2))),
        is_quick=options.quick,
        is_cold=options.cold,
        against=options.against,
    )
    shape = (
        f"20 newsgroups, {X.shape[0]:,} x {X.shape[1]:,}, {X.nnz:,} non-zeros ({X.nnz / np.prod(X.shape):.3%}), "
        f"{len(start) - 1} strata, rank {setting.rank}"
    )
    when = time.strftime("%Y-%m-%d %H:%M")
    heading = {
        "when": when,
        "machine": describe(),
        "versions": versions(),
        "data": shape,
        "load_average": os.getloadavg()[0],
        "options": {"quick": options.quick, "repeats": setting.repeats, "threads": setting.threads},
    }
    title = (
        f"# Ours beside its peers, {when}\n\n{heading['machine']}; load average {heading['load_average']:.1f}\n\n"
        f"{shape}; {setting.repeats} interleaved rounds, medians (range)" + ("; --quick" if options.quick else "")
    )
    report = Report(options.output, heading, title)
    for name in options.sections:
        SECTIONS[name](setting, report)
        report.end()
    report.close()
    if figure.from_results(report.content, options.output / "loss_against_time.png"):
        print(f"Figure: {options.output / 'loss_against_time.png'}")
    print(f"Raw samples: {options.output / 'results.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
