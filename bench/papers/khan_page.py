"""Store the cells of a run of `khan2025.py` as a small CSV, and write the page of the documentation from that.

Usage::

    python bench/papers/khan_page.py [--cells papers/khan2025/cells.jsonl --command "..."]
                                     [--output docs/papers-khan.md]

With ``--cells`` the CSV beside this file is written anew: one line a cell, scores to four digits, on top the command
and the machine. The page is drawn from the CSV alone, so that anyone gets the same text.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
from claims import OPEN
from khan_cells import METHODS, RANKLESS
from khan_report import BUDGETS, NEAR, NOISE, NOTES, PUBLISHED, PUBLISHED_NOISY, RANKS, Cells, claims_of, is_gain
from machine import describe
from written import markdown, paragraph

CSV = Path(__file__).with_name("khan2025_cells.csv")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "papers-khan.md"
KEYS = ("data", "sigma", "method", "rank", "seed", "outer", "inner", "images", "blobs")
SCORES = ("nmi", "ari", "purity", "accuracy", "error", "median_affinity", "share_with_neighbours")
SECONDS = "cpu_seconds"


def stored(rows):
    """Return the text of the CSV of cells, without the lines on top."""
    frame = pd.DataFrame(rows).reindex(columns=[*KEYS, SECONDS, *SCORES])
    frame[SECONDS] = frame[SECONDS].round(2)
    for name in SCORES:
        frame[name] = [float(f"{value:.4g}") for value in frame[name]]
    return frame.to_csv(index=False, lineterminator="\n")


def read(path=CSV):
    """Return the lines on top of the CSV, without their marks, and the cells."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line[2:] for line in lines if line.startswith("# ")], pd.read_csv(path, comment="#")


def table_of(cells, data, sigma):
    """Return the table of one data set at one level of noise: the thesis beside the ranks that were run."""
    part = cells.frame[(cells.frame.data == data) & (cells.frame.sigma == sigma)]
    ranks = sorted(set(part["rank"]) - {0})
    published, rows = cells.published(data, sigma), []
    for method in METHODS:
        own = part[part.method == method]
        if own.empty:
            continue
        nmi = own.groupby("rank").nmi.mean()
        values = [nmi.get(0 if method in RANKLESS else rank, np.nan) for rank in ranks]
        mean, texts = np.mean(values), ["" if np.isnan(value) else f"{value:.3f}" for value in values]
        theirs = f"{published[method]:.3f}" if method in published else ""
        last = ["" if np.isnan(mean) else f"{mean:.3f}", f"{own.ari.mean():.3f}", f"{own[SECONDS].mean():.2g}"]
        rows.append([method, theirs, *texts, *last])
    of_ranks = [f"rank {rank}" for rank in ranks]
    return markdown([data, "thesis", *of_ranks, "mean", "ARI", "processor seconds"], rows)


def findings(cells):
    """Return the paragraph of findings: gains over NMF with equal and with unequal budgets."""
    plain = ("NMF, same budget", "NMF, pre-trained")
    names = {
        "NMF, same budget": "plain NMF with as many iterations",
        "NMF, pre-trained": "plain NMF that starts from a fit of the other half",
        "NMF, HALS": "plain NMF by coordinate descent until it stops",
        "GraphNMF": "GraphNMF as it comes",
        "k-means": "k-means of the samples without any factorisation",
    }
    gains = {name: cells.gains(name, ("NMF",)) for name in ("Meta-NMF", *names)}
    common = [data for data in cells.data if all(data in found for found in gains.values())]
    mean = {name: np.mean([found[data].mean() for data in common]) for name, found in gains.items()}
    more = {data: values for data, values in cells.gains("Meta-NMF", plain).items() if data in common}
    beyond = ", ".join(f"{data} {values.mean():+.3f}" for data, values in more.items())
    return (
        f"Gains in NMI over NMF of 100 iterations without noise, the mean of {', '.join(common)}: Meta-NMF, which "
        f"iterates 51 times as often, {mean['Meta-NMF']:+.3f}; "
        + "; ".join(f"{words} {mean[name]:+.3f}" for name, words in names.items())
        + ". The small tasks are what Meta-NMF has beyond the better of the first two, which have its budget: "
        f"{beyond}; that is more than {NEAR} on {sum(map(is_gain, more.values()))} of {len(more)} data sets."
    )


def page(top, frame):
    """Return the text of the page.

    Parameters
    ----------
    top : list of str
        The lines on top of the CSV: the command, the machine.
    frame : DataFrame
        The cells.

    Returns
    -------
    str
    """
    cells = Cells(frame)
    claims = [claim for claim in claims_of(cells) if claim.verdict != OPEN]
    places = [(data, sigma) for data in cells.data for sigma in (0.0, *cells.levels(data))]
    wanted = {(data, 0.0) for data in PUBLISHED} | {(data, 1.0) for data in PUBLISHED_NOISY}
    absent = [f"{data}{' with noise' * bool(sigma)}" for data, sigma in sorted(wanted)
              if not (cells.levels(data) if sigma else cells.ranks_of(data))]  # fmt: skip
    short = (
        f"Ranks {', '.join(map(str, cells.ranks))} were run, the thesis' means are over {', '.join(map(str, RANKS))}"
    )
    parts = [
        "# Meta-NMF: the tables of a thesis, run again",
        paragraph(
            "A thesis (Khan 2025) learns the components of NMF on small parts of the samples in turn with all of them "
            "(`MetaNMF`), clusters the weights of other samples by k-means, and compares the clusters with known "
            "classes by normalised mutual information (NMI). This page sets its tables 4.3 to 4.10 beside what fastnmf "
            "gives, with baselines that may iterate as often. A script draws it from `bench/papers/khan2025_cells.csv`."
        ),
        *map(paragraph, top),
        paragraph(
            f"{len(cells.frame)} cells. {short}: methods can be compared with each other in a table, levels with the "
            "thesis only roughly. A published number stands where the rounds are those of the thesis, 50 of 100 "
            "iterations; a blank cell was not run." + f" Not run at all: {', '.join(absent)}." * bool(absent)
        ),
        "## Findings",
        paragraph(findings(cells)),
        markdown(
            ["statement", "from", "measured", "verdict"],
            [[claim.statement, claim.source, claim.measured, claim.verdict] for claim in claims],
        ),
    ]
    for has_noise, title in ((False, "Without noise (tables 4.3 to 4.6)"), (True, "With noise (tables 4.7 to 4.10)")):
        of_kind = [(data, sigma) for data, sigma in places if (sigma > 0) == has_noise]
        if not of_kind:
            continue
        parts += [f"## {title}", paragraph(NOISE if has_noise else NOTES)]
        for data, sigma in of_kind:
            parts += [f"{data}, noise {sigma:g}:"] if has_noise else []
            parts.append(table_of(cells, data, sigma))
    parts += ["## The budgets", paragraph(BUDGETS.format(51))]
    return "\n\n".join(parts) + "\n"


def main(argv=None):
    """Write the CSV, if cells are given, and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=Path, help="cells.jsonl of a run, for a new CSV")
    parser.add_argument("--command", default="python bench/papers/khan2025.py", help="how that run was started")
    parser.add_argument("--output", type=Path, default=PAGE, help="the page (default: %(default)s)")
    options = parser.parse_args(argv)
    if options.cells is not None:
        rows = [json.loads(line) for line in options.cells.read_text(encoding="utf-8").splitlines()]
        top = (
            f"# Command: `{options.command}`.\n# Machine: {describe()}. The processor seconds of a cell were measured "
            "beside other work.\n"
        )
        CSV.write_text(top + stored(rows), encoding="utf-8")
    options.output.write_text(page(*read()), encoding="utf-8")
    print(options.output)


if __name__ == "__main__":
    main()
