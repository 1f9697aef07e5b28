"""Redraw figures of the slides on NMF models and measures of the error, and set their numbers beside ours.

- curves: the beta divergences d(1, y) that NMF may minimise, beta from -1 to 3;
- over and under: how much of the error is above and below X, for the squared error and for Itakura-Saito, on random
  sparse 100 x 100 matrices, rank 10, 100 multiplicative updates. The slides' ``sprand(100, 100, 0.5)`` has the density
  1 - exp(-1/2) = 0.3935, because positions that are drawn twice count once;
- karate: the two communities of Zachary's karate club by symmetric NMF, and by tri-symmetric NMF, whose S is diagonal;
- topics: PLSA beside NMF with the Kullback-Leibler divergence, from one start, on the word counts of 20 newsgroups
  (left out where the corpus is not in scikit-learn's data home);
- corners: pure pixels found as the corners of a mixture of three spectra (drawn data, ours);
- trade-off: what a fit of one divergence loses in another, and the fit that is distributionally robust;
- choice: which beta foretells held-out entries of data with gamma, Poisson and normal noise best (ours, not theirs).

Usage::

    python bench/papers/kim2021.py [--quick] [--output papers/kim2021]

Writes one PNG and one CSV for each, and ``report.md``, with published and measured side by side on top.
"""

import argparse
import csv
import sys
import time
import warnings
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.exceptions import ConvergenceWarning

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
matplotlib.use("Agg")

import slides_measures as measures
import slides_models as models
from machine import describe
from matplotlib import pyplot as plt
from slides_style import table

FULL = {
    "seeds": 20, "updates": 100, "iterations": 2000, "grid": 11, "splits": 5, "karate_seeds": 10, "topics": 20,
    "steps": 200, "topic_seed": 0,
}  # fmt: skip
QUICK = FULL | {"seeds": 3, "iterations": 300, "grid": 5, "splits": 2, "steps": 30}
OUTPUT = Path("papers/kim2021")
# What the slides say of the karate club, and what coordinate descent in plain NumPy found there, from ten seeds.
KARATE = {"W(9) small": 0.32, "W(9) large": 0.54, "misplaced": "9", "objective": 95.477350}
CORE = (99.64, 106.71)

PARTS = {
    "curves": (measures.curves, measures.draw_curves),
    "over_and_under": (measures.over_and_under, measures.draw_over_and_under),
    "karate": (models.karate, models.draw_karate),
    "topics": (models.topics, models.draw_topics),
    "corners": (models.corners, models.draw_corners),
    "trade_off": (measures.trade_off, measures.draw_trade_off),
    "choice": (measures.choice, measures.draw_choice),
}


def rows_of(found):
    """Return the rows that a part writes as CSV."""
    return found["topics"] if isinstance(found, dict) else found


def line(what, published, source, measured, agrees):
    """Return one line of published beside measured."""
    return {"": what, "published": published, "by": source, "measured": measured, "agrees": "yes" if agrees else "NO"}


def compared(found):
    """Return the lines of published beside measured; each verdict is computed."""
    lines = []
    for name, published in measures.OVER_AND_UNDER.items():
        own = [row for row in found["over_and_under"] if row["measure"] == name]
        for side, value in zip(("over", "under"), published, strict=True):
            mean = np.mean([row[side] for row in own])
            text = f"{name}: % of the error {'above' if side == 'over' else 'below'} X, mean"
            lines.append(line(text, f"{value:.2f}", "slides", f"{mean:.2f}", abs(mean - value) <= 0.6))
    club = [row for row in found["karate"] if row["model"].endswith("ones on the diagonal")]
    near = [
        sum(abs(row["objective"] - KARATE["objective"]) < 5e-7 for row in club),
        sum(abs(row[name] - KARATE[name]) < 5e-3 for row in club for name in ("W(9) small", "W(9) large")),
        sum(row["misplaced"] == KARATE["misplaced"] for row in club),
    ]
    nine = ", ".join(f"{club[0][name]:.4f}" for name in ("W(9) small", "W(9) large"))
    text = f"{KARATE['objective']:.6f}"
    lines += [
        line("karate: objective", text, "plain NumPy", f"{club[0]['objective']:.6f}, {near[0]} of {len(club)} seeds",
             near[0] == len(club)),
        line("karate: W of member 9", "0.32, 0.54", "slides", nine, near[1] == 2 * len(club)),
        line("karate: misplaced members", "9", "slides", f"{club[0]['misplaced']}, {near[2]} of {len(club)} seeds",
             near[2] == len(club)),
    ]  # fmt: skip
    tri = [row for row in found["karate"] if row["model"].startswith("tri-symmetric")]
    right = [abs(row["S11"] - CORE[0]) < 0.01 and abs(row["S22"] - CORE[1]) < 0.01 and row["S12"] < 1e-6 for row in tri]
    diagonal = f"{tri[0]['S11']:.2f}, {tri[0]['S22']:.2f}; off it {tri[0]['S12']:.0e}"
    lines += [
        line("karate, tri-symmetric: diagonal of S", "99.64, 106.71", "plain NumPy", diagonal, right[0]),
        line("... with which member 9 alone is misplaced", "9", "slides", tri[0]["misplaced"],
             tri[0]["misplaced"] == "9"),
    ]  # fmt: skip
    if found["topics"] is not None:
        likelihoods = found["topics"]["summary"]
        for name in ("PLSA", "KL-NMF"):
            known = likelihoods[f"{name}, from the factors"]
            gap = abs(likelihoods[f"{name}, from the divergence"] / known - 1)
            text = f"{name}: log-likelihood = constant - divergence"
            lines.append(line(text, "equal", "slides", f"to {gap:.0e} of {known:.6g}", gap < 1e-9))
    robust = found["trade_off"][-1]
    most = max(robust["Itakura-Saito"], robust["Kullback-Leibler"])
    lines.append(line("robust fit: larger excess", "<= 1.03", "plain NumPy", f"{most:.4f}", most <= 1.03))
    return lines


def shares(rows):
    """Return mean, least and most of what is above and below X."""
    found = []
    for name, published in measures.OVER_AND_UNDER.items():
        for side, value in zip(("over", "under"), published, strict=True):
            own = [row[side] for row in rows if row["measure"] == name]
            found.append(
                {"measure": name, "side": side, "slides": value, "mean": np.mean(own), "least": min(own),
                 "most": max(own)}
            )  # fmt: skip
    return found


def on_karate(rows):
    """Return the section on the karate club."""
    random = [row for row in rows if row["model"] == "tri-symmetric, random start"]
    best = sum(abs(row["objective"] - KARATE["objective"]) < 5e-6 for row in random)
    return f"""## The karate club

`SymmetricNMF(2, diagonal=1.0)`, `SymmetricNMF(2)`, and `TriSymmetricNMF(2)` with ones on the diagonal of A. Weights of
member 9, and members who are not in the club of their community. Where S is diagonal, `W S Wᵀ` is the symmetric model:
the weights are then those of W times the root of S. From its default start tri-symmetric NMF gets there; from random
ones in {best} of {len(random)}: the others end in a minimum in which S links the communities.

{table(rows, 8)}

![karate](karate.png)
"""


def on_topics(found, options):
    """Return the section on topics."""
    if found is None:
        return "## Topics\n\nLeft out: 20 newsgroups is not in scikit-learn's data home.\n"
    summary = {key: value for key, value in found["summary"].items() if key != "curves"}
    common = np.mean([row["common"] for row in found["topics"]])
    alike = [row["cosine"] for row in found["topics"]]
    values = [{"": key, "value": value} for key, value in summary.items()]
    return f"""## Topics: PLSA beside NMF

Word counts of 20 newsgroups; {options["topics"]} topics, {options["steps"]} iterations from one random start. Both
minimise the same function: the log-likelihood of PLSA is a constant minus the Kullback-Leibler divergence, as long as
the model has the mass of the data. PLSA moves both factors from one point (EM), NMF one after the other, so that the
same start leads to minima nearby, not to the same: topics of mean cosine {np.mean(alike):.2f} (least
{min(alike):.2f}), {common:.1f} of the ten strongest words in common. From where PLSA ended, updates of NMF keep its
topics (last line).

{table(values, 10)}

{table(found["topics"], 3)}

![topics](topics.png)
"""


def report(found, options, seconds):
    """Return the text of report.md."""
    weighted, robust = found["trade_off"][:-1], found["trade_off"][-1]
    alone = [max(weighted[end]["Itakura-Saito"], weighted[end]["Kullback-Leibler"]) for end in (0, -1)]
    largest = max(robust["Itakura-Saito"], robust["Kullback-Leibler"])
    return f"""# NMF models and measures: the slides redrawn

{describe()}. {options}; {seconds:.0f} s.

## Published and measured

{table(compared(found))}

"Plain NumPy": numbers that the slides do not print, from programs of their own in plain NumPy.

## Beta divergences

![curves](curves.png)

## Above and below

Shares of the norm of the error, in percent, over {options["seeds"]} random matrices of density {measures.DENSITY:.4f}
on average, rank 10, {options["updates"]} updates, H first. Zeros count as 2.2e-16 for Itakura-Saito, which no zero may
meet.

{table(shares(found["over_and_under"]))}

![over and under](over_and_under.png)

{on_karate(found["karate"])}
{on_topics(found["topics"], options)}
## Corners of a mixture

Every pixel is a mixture of three spectra, and three of 400 are pure; `SeparableNMF(3)` is to find these. Noise as a
share of the mean; with noise, a pixel beside the pure one may be as good, which the angle tells.

{table(found["corners"])}

![corners](corners.png)

## Several measures at once

Kullback-Leibler alone is {100 * (alone[0] - 1):.1f} % worse than the best in Itakura-Saito, Itakura-Saito alone
{100 * (alone[1] - 1):.1f} % in Kullback-Leibler; the distributionally robust fit {100 * (largest - 1):.1f} % in either.

{table(found["trade_off"])}

![trade-off](trade_off.png)

## The choice of beta

Not in the slides. The noise of data is gamma for beta = 0, Poisson for 1, normal for 2; `select_beta` holds out a tenth
of the entries, {options["splits"]} times.

{table(found["choice"])}

![choice](choice.png)
"""


def write(folder, name, found, figure):
    """Write one table and one figure."""
    with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows_of(found)[0]))
        writer.writeheader()
        writer.writerows(rows_of(found))
    figure.savefig(folder / f"{name}.png", dpi=150)
    plt.close(figure)


def main(arguments=None):
    """Run all parts and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer seeds and iterations: under two minutes")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args(arguments)
    options, began, found = QUICK if given.quick else FULL, time.perf_counter(), {}
    given.output.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name, (run, draw) in PARTS.items():
        found[name] = run(options)
        if found[name] is None:
            print(f"{name}: left out, no data", flush=True)
            continue
        write(given.output, name, found[name], draw(found[name]))
        print(f"{name}: {len(rows_of(found[name]))} rows, {time.perf_counter() - began:.0f} s", flush=True)
    text = report(found, options, time.perf_counter() - began)
    (given.output / "report.md").write_text(text, encoding="utf-8")
    print(given.output / "report.md")


if __name__ == "__main__":
    main()
