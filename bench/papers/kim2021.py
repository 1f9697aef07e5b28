"""Redraw figures of the slides on NMF models and measures of the error, and set their numbers beside ours.

- curves: the beta divergences d(1, y) that NMF may minimise, beta from -1 to 3;
- over and under: how much of the error is above and below X, for the squared error and for Itakura-Saito, on random
  sparse 100 x 100 matrices, rank 10, 100 multiplicative updates. The slides' ``sprand(100, 100, 0.5)`` has the density
  1 - exp(-1/2) = 0.3935, because positions that are drawn twice count once;
- trade-off: what a fit of one divergence loses in another, and the fit that is distributionally robust;
- choice: which beta foretells held-out entries of data with gamma, Poisson and normal noise best (ours, not theirs).

Usage::

    python bench/papers/kim2021.py [--quick] [--output papers/kim2021]

Writes one PNG and one CSV for each, and ``report.md``.
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

from machine import describe
from matplotlib import pyplot as plt

from fastnmf import NMF, DistributionallyRobustNMF, select_beta
from fastnmf.terms.several import divergences

FULL = {"seeds": 20, "updates": 100, "iterations": 2000, "grid": 11, "splits": 5}
QUICK = {"seeds": 3, "updates": 100, "iterations": 300, "grid": 5, "splits": 2}
OUTPUT = Path("papers/kim2021")
DENSITY = 1 - np.exp(-0.5)
PUBLISHED = {"squared error": (59.84, 80.12), "Itakura-Saito": (100.00, 0.33)}
NOISE = {"gamma": (0, 0.5, 1, 1.5, 2), "Poisson": (0.5, 1, 1.5, 2), "normal": (0.5, 1, 1.5, 2)}
BLUE, ORANGE, RED, GREEN, PINK, BLACK = "#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#222222"


def curves():
    """Return rows of y and d(1, y) for each beta."""
    y = np.linspace(0.05, 4, 400)
    betas = (-1.0, 0.0, 0.5, 1.0, 2.0, 3.0)
    return [{"y": v, **{f"beta={b:g}": float(divergences(1.0, v, b)) for b in betas}} for v in y]


def random_sparse(rng):
    """Draw what MATLAB's sprand(100, 100, 0.5) draws: 5000 positions, equal ones once, uniform values."""
    place = np.unique(100 * rng.integers(0, 100, 5000) + rng.integers(0, 100, 5000))
    X = np.zeros(100 * 100)
    X[place] = rng.random(len(place))
    return X.reshape(100, 100)


def over_and_under(options):
    """Return the shares of the norm of the error that are above and below X, in percent, one row a seed and measure."""
    rows = []
    for seed in range(1, options["seeds"] + 1):
        rng = np.random.default_rng(seed)
        X = random_sparse(rng)
        W, H = rng.random((100, 10)), rng.random((10, 100))
        for name, beta, floor in (("squared error", 2.0, 0.0), ("Itakura-Saito", 0.0, np.finfo(float).eps)):
            model = NMF(10, solver="mu", beta_loss=beta, init="custom", max_iter=options["updates"], tol=0)
            R = model.fit_transform((X + floor).T, W=H.T, H=W.T) @ model.components_ - X.T  # H of the slides first
            over, under = (100 * np.linalg.norm(np.maximum(side, 0)) / np.linalg.norm(R) for side in (R, -R))
            rows.append({"seed": seed, "measure": name, "density": np.mean(X > 0), "over": over, "under": under})
    return rows


def trade_off(options):
    """Return the excesses of fits of weighted sums of Itakura-Saito and Kullback-Leibler, and of the robust fit."""
    rng = np.random.default_rng(25)
    X = rng.gamma(2, 1, (30, 40)) * (rng.random((30, 3)) @ rng.random((3, 40))) + 1e-3
    W, H = rng.random((30, 3)), rng.random((3, 40))
    shared = {"betas": (0, 1), "init": "custom", "max_iter": options["iterations"], "tol": 0}
    robust = DistributionallyRobustNMF(3, **shared).fit(X.T, W=H.T, H=W.T)
    rows = []
    for share in np.linspace(0, 1, options["grid"]):
        model = DistributionallyRobustNMF(3, weights=(share, 1 - share), references=robust.references_, **shared)
        rows.append(_excess("weighted sum", share, model.fit(X.T, W=H.T, H=W.T)))
    return [*rows, _excess("distributionally robust", robust.weights_[0], robust)]


def _excess(name, share, model):
    both = dict(zip(("Itakura-Saito", "Kullback-Leibler"), model.excesses_, strict=True))
    return {"fit": name, "weight of Itakura-Saito": share, **both}


def choice(options):
    """Return the scores of each beta on data with three kinds of noise."""
    rng = np.random.default_rng(0)
    Y = rng.gamma(1, 1, (60, 3)) @ rng.gamma(1, 1, (3, 50))
    drawn = {
        "gamma": Y * rng.gamma(5, 0.2, Y.shape),
        "Poisson": rng.poisson(Y),
        "normal": np.maximum(Y + 0.1 * rng.standard_normal(Y.shape), 0),
    }
    rows = []
    for noise, betas in NOISE.items():
        found = select_beta(drawn[noise], 3, betas, n_splits=options["splits"], random_state=0)
        rows += [{"noise": noise, **row, "is best": row["beta"] == found.best} for row in found.table]
    return rows


def axes_of(columns, size):
    """Return a figure and its axes in the style of the reports."""
    figure, axes = plt.subplots(1, columns, figsize=size, layout="constrained", squeeze=False)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
    return figure, axes[0]


def draw_curves(rows):
    """Draw d(1, y)."""
    figure, (ax,) = axes_of(1, (5.2, 3.6))
    names = [name for name in rows[0] if name != "y"]
    for name, colour in zip(names, (PINK, RED, ORANGE, GREEN, BLUE, BLACK), strict=True):
        ax.plot([row["y"] for row in rows], [row[name] for row in rows], color=colour, label=name)
    ax.set(xlabel="y", ylabel="d(1, y)", ylim=(0, 3), title="A small beta punishes y < x, a large one y > x")
    ax.legend(frameon=False)
    return figure


def draw_over_and_under(rows):
    """Draw the shares of each seed, and what the slides say."""
    figure, axes = axes_of(2, (7.2, 3.4))
    for ax, name in zip(axes, PUBLISHED, strict=True):
        for i, side in enumerate(("over", "under")):
            own = [row[side] for row in rows if row["measure"] == name]
            ax.plot(i + np.linspace(-0.15, 0.15, len(own)), own, ".", color=BLUE, label="ours, one a seed" * (i == 0))
            ax.hlines(PUBLISHED[name][i], i - 0.3, i + 0.3, color=ORANGE, label="slides" * (i == 0))
        ax.set(xticks=(0, 1), xticklabels=("above X", "below X"), ylim=(-4, 108), title=name)
    axes[0].set_ylabel("% of the norm of the error")
    axes[1].legend(frameon=False, loc="center right")
    return figure


def draw_trade_off(rows):
    """Draw the excesses of weighted fits as a curve, and the robust one."""
    figure, (ax,) = axes_of(1, (4.8, 4))
    line, robust = rows[:-1], rows[-1]
    ax.plot(*([row[name] for row in line] for name in ("Itakura-Saito", "Kullback-Leibler")), ".-", color=BLUE)
    ax.plot(robust["Itakura-Saito"], robust["Kullback-Leibler"], "*", ms=14, color=RED, label="distributionally robust")
    most = max(max(row["Itakura-Saito"], row["Kullback-Leibler"]) for row in rows)
    ax.plot((1, most), (1, most), "--", color=BLACK, linewidth=0.8, label="equal excess")
    for row, text in ((line[0], "Kullback-Leibler only"), (line[-1], "Itakura-Saito only")):
        ax.annotate(text, (row["Itakura-Saito"], row["Kullback-Leibler"]), (6, 6), textcoords="offset points")
    ax.set(xlabel="Itakura-Saito / its best", ylabel="Kullback-Leibler / its best", xlim=(0.995, most + 0.015))
    ax.legend(frameon=False)
    return figure


def draw_choice(rows):
    """Draw the scores by beta, a panel for each kind of noise."""
    figure, axes = axes_of(3, (8.4, 3))
    for ax, noise in zip(axes, NOISE, strict=True):
        own = [row for row in rows if row["noise"] == noise]
        ax.errorbar(*([row[key] for row in own] for key in ("beta", "score", "deviation")), marker=".", color=BLUE)
        best = next(row for row in own if row["is best"])
        ax.plot(best["beta"], best["score"], "*", ms=13, color=RED)
        ax.set(xlabel="beta", title=f"{noise} noise")
    axes[0].set_ylabel("held-out score, smaller is better")
    return figure


PARTS = {
    "curves": (lambda options: curves(), draw_curves),
    "over_and_under": (over_and_under, draw_over_and_under),
    "trade_off": (trade_off, draw_trade_off),
    "choice": (choice, draw_choice),
}


def table(rows, digits=5):
    """Return rows as a Markdown table."""

    def cell(value):
        is_real = isinstance(value, float | np.floating)
        return f"{value:.{digits}g}" if is_real else "yes" if value is True else "" if value is False else str(value)

    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    return "\n".join(lines + ["| " + " | ".join(cell(row[name]) for name in names) + " |" for row in rows])


def report(tables, options, seconds):
    """Return the text of report.md."""
    shares = []
    for name, published in PUBLISHED.items():
        own = [row for row in tables["over_and_under"] if row["measure"] == name]
        for side, value in zip(("over", "under"), published, strict=True):
            found = [row[side] for row in own]
            shares.append(
                {"measure": name, "side": side, "slides": value, "mean": np.mean(found), "least": min(found),
                 "most": max(found)}
            )  # fmt: skip
    line, robust = tables["trade_off"][:-1], tables["trade_off"][-1]
    alone = [max(line[end]["Itakura-Saito"], line[end]["Kullback-Leibler"]) for end in (0, -1)]
    largest = max(robust["Itakura-Saito"], robust["Kullback-Leibler"])
    return f"""# NMF models and measures: the slides redrawn

{describe()}. {options}; {seconds:.0f} s.

## Beta divergences

![curves](curves.png)

## Above and below

Shares of the norm of the error, in percent, over {options["seeds"]} random matrices of density {DENSITY:.4f} on
average, rank 10, {options["updates"]} updates, H first. Zeros count as 2.2e-16 for Itakura-Saito, which no zero may
meet.

{table(shares)}

![over and under](over_and_under.png)

## Several measures at once

Kullback-Leibler alone is {100 * (alone[0] - 1):.1f} % worse than the best in Itakura-Saito, Itakura-Saito alone
{100 * (alone[1] - 1):.1f} % in Kullback-Leibler; the distributionally robust fit {100 * (largest - 1):.1f} % in either.

{table(tables["trade_off"])}

![trade-off](trade_off.png)

## The choice of beta

Not in the slides. The noise of data is gamma for beta = 0, Poisson for 1, normal for 2; `select_beta` holds out a tenth
of the entries, {options["splits"]} times.

{table(tables["choice"])}

![choice](choice.png)
"""


def write(folder, name, rows, figure):
    """Write one table and one figure."""
    with open(folder / f"{name}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    figure.savefig(folder / f"{name}.png", dpi=150)
    plt.close(figure)


def main(arguments=None):
    """Run all parts and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer seeds and iterations")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args(arguments)
    options, began, tables = QUICK if given.quick else FULL, time.perf_counter(), {}
    given.output.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name, (run, draw) in PARTS.items():
        tables[name] = run(options)
        write(given.output, name, tables[name], draw(tables[name]))
        print(f"{name}: {len(tables[name])} rows, {time.perf_counter() - began:.0f} s", flush=True)
    text = report(tables, options, time.perf_counter() - began)
    (given.output / "report.md").write_text(text, encoding="utf-8")
    print(given.output / "report.md")


if __name__ == "__main__":
    main()
