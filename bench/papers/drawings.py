"""Figures 1 to 6 of the paper, redrawn in one style from the tables of the experiments, and one on the free gauge.

Each function takes tables and returns a matplotlib figure; nothing is written here.
"""

import numpy as np
import published
from claims import correlations, gauge_ranges, lists
from matplotlib import pyplot as plt
from runs import DEFAULT, LONG, MU, NNDSVD, SIMULTANEOUS

# Okabe and Ito's colours, which all readers can tell apart
BLUE, SKY, ORANGE, RED, GREEN, PINK, BLACK = (
    "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#222222",
)  # fmt: skip
OF_SOLVER = {MU: BLUE, SIMULTANEOUS: ORANGE, DEFAULT: GREEN}
LINES = {MU: "-", SIMULTANEOUS: (0, (4, 3)), DEFAULT: "-", LONG: "-", NNDSVD: "-"}
OF_STRATUM = (BLUE, ORANGE, GREEN, PINK)
SIZE = 9


def axes_of(rows, columns, size, **options):
    """Return a figure and its axes in the style of the report."""
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **options)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color("#999999")
        ax.tick_params(color="#999999", labelsize=SIZE)
        ax.xaxis.label.set_size(SIZE + 1)
        ax.yaxis.label.set_size(SIZE + 1)
    return figure, axes


def synthetic_loss(tables):
    """Draw Fig. 1: loss against iteration, as in the paper and with logarithmic axes."""
    figure, ((left, right),) = axes_of(1, 2, (10, 4.2))
    for ax in (left, right):
        for solver, color in OF_SOLVER.items():
            curves = tables["curves"]
            parts = [part for _, part in curves[curves.solver == solver].groupby("seed")]
            for i, part in enumerate(parts):
                ax.plot(part.iteration, part.loss, color=color, ls=LINES[solver], lw=1, label=None if i else solver)
        ax.plot(
            *zip(*published.SYNTHETIC["loss"].items(), strict=True), "D", color=BLACK, ms=5, label="published", zorder=5
        )
        ax.set(xlabel="iteration")
    left.set(ylabel="normalized loss", ylim=(0, 0.16))
    right.set(xscale="symlog", yscale="log", xlim=(0, None))
    for ax, title in ((left, "as in the paper"), (right, "logarithmic axes")):
        ax.set_title(title, fontsize=SIZE + 1, loc="left")
    right.legend(frameon=False, fontsize=SIZE, loc="lower left")
    n = tables["curves"].seed.nunique()
    figure.suptitle(f"Fig. 1  Synthetic data: loss of {n} runs of each kind", fontsize=SIZE + 2, x=0.01, ha="left")
    return figure


def synthetic_means(tables):
    """Draw Fig. 2: the mean of every v(i) against the iteration, with the range over the seeds."""
    figure, axes = axes_of(1, 2, (10, 4.4), sharey=True)
    for ax, solver in zip(axes.flat, (MU, DEFAULT), strict=True):
        means = tables["means"]
        means = means[means.solver == solver]
        for stratum, color in enumerate(OF_STRATUM, start=1):
            by_iteration = means[means.stratum == stratum].groupby("iteration")["mean"]
            low, mid, high = by_iteration.min(), by_iteration.mean(), by_iteration.max()
            ax.fill_between(low.index, low, high, color=color, alpha=0.25, lw=0)
            ax.plot(mid.index, mid, color=color, lw=1.6, label=f"v({stratum})")
            ax.axhline(stratum - 0.5, color=color, lw=0.8, ls=(0, (4, 3)))
            if solver == MU:
                theirs = {count: values[stratum - 1] for count, values in published.SYNTHETIC["means"].items()}
                label = "published" if stratum == 1 else None
                ax.plot(*zip(*theirs.items(), strict=True), "D", color=color, mec=BLACK, ms=5, label=label)
        ax.set(xscale="symlog", xlabel="iteration", xlim=(0, None))
        ax.set_title(solver, fontsize=SIZE + 1, loc="left")
    axes[0, 0].set(ylabel="mean of v(i)", ylim=(0, None))
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), frameon=False, fontsize=SIZE, loc="outside lower center", ncols=5
    )
    figure.suptitle(
        "Fig. 2  Synthetic data: means of the shifts (line: mean over the seeds, band: range, dashed: expected truth)",
        fontsize=SIZE + 2, x=0.01, ha="left",
    )  # fmt: skip
    return figure


def gauge(tables):
    """Draw what the paper does not have: the same fits in three forms."""
    figure, ((ax,),) = axes_of(1, 1, (7, 4.2))
    forms, apart = gauge_ranges(tables)
    x = np.arange(len(forms))
    names = {"max_shift": BLUE, "as fitted": SKY, "min_shift": ORANGE}
    for place, (name, color) in enumerate(names.items()):
        bars = ax.bar(x + 0.26 * (place - 1), forms[name], 0.24, color=color, label=name)
        ax.bar_label(
            bars, fmt="%.2f", fontsize=SIZE - 1, label_type="center", color="black" if color != BLUE else "white"
        )
    for i, truth in enumerate(forms["truth"]):
        ax.plot([i - 0.4, i + 0.4], [truth, truth], color=BLACK, lw=1.2, ls="--", label=None if i else "planted")
    ax.set(ylabel="mean of v(i)", xticks=x, xticklabels=[f"v({i})" for i in forms.index])
    ax.margins(y=0.12)
    ax.legend(frameon=False, fontsize=SIZE, loc="upper left")
    figure.suptitle(
        f"The free gauge: MU, the same fits in three forms, losses within {max(apart, 1e-15):.0e} of each other",
        fontsize=SIZE + 1, x=0.01, ha="left",
    )  # fmt: skip
    return figure


def housing_chart(tables):
    """Draw Fig. 3 as published, by MU in both orders, of the column means, by the default solver from two starts."""
    figure, axes = axes_of(3, 2, (10, 8.6), sharex=True, sharey=True)
    variables, strata = list(published.HOUSING["chart"]), published.HOUSING["strata"]
    runs, chart = tables["runs"], tables["chart"]
    counts = {
        solver: int(runs[runs.solver == solver].iterations.iloc[0]) for solver in (MU, SIMULTANEOUS, DEFAULT, NNDSVD)
    }
    panels = {
        "published (Fig. 3)": None,
        f"{MU}, {counts[MU]:,} iterations": MU,
        "column means of the strata, no model": "column means",
        f"{SIMULTANEOUS}, {counts[SIMULTANEOUS]:,} iterations": SIMULTANEOUS,
        f"{DEFAULT}, {counts[DEFAULT]:,} iterations": DEFAULT,
        f"{NNDSVD} start, {counts[NNDSVD]:,} iterations": NNDSVD,
    }
    for ax, (title, solver) in zip(axes.flat, panels.items(), strict=True):
        for place, (stratum, color) in enumerate(zip(strata, OF_STRATUM, strict=False)):
            if solver is None:
                bars, error = np.array([published.HOUSING["chart"][v][place] for v in variables]), None
            else:
                part = chart[(chart.solver == solver) & (chart.stratum == stratum)].groupby("variable")["bar"]
                bars = part.mean()[variables]
                error = np.abs(np.array([part.min()[variables], part.max()[variables]]) - bars.to_numpy())
            if error is not None and not error.any():
                error = None  # a single run has no range
            x = np.arange(len(variables)) + 0.27 * (place - 1)
            ax.bar(
                x, bars, 0.25, color=color, label=stratum, yerr=error, error_kw={"lw": 1, "ecolor": BLACK, "capsize": 2}
            )
        ax.set_title(title, fontsize=SIZE + 1, loc="left")
        ax.set_xticks(np.arange(len(variables)), variables)
    for ax in axes[:, 0]:
        ax.set_ylabel("share of the sum over strata")
    axes[0, 0].set_ylim(0, 1.03)
    axes[0, 0].legend(frameon=False, fontsize=SIZE, title="income", title_fontsize=SIZE, loc="upper right")
    figure.suptitle(
        "Fig. 3  California housing: v(i), mean and range over the seeds", fontsize=SIZE + 2, x=0.01, ha="left"
    )
    return figure


def housing_loss(tables):
    """Draw the loss on California housing against the iteration."""
    figure, ((ax,),) = axes_of(1, 1, (7, 4.2))
    curves = tables["curves"]
    for solver, color in {LONG: SKY, **OF_SOLVER, NNDSVD: PINK}.items():
        for i, (_, part) in enumerate(curves[curves.solver == solver].groupby("seed")):
            ax.plot(part.iteration, part.loss, color=color, ls=LINES[solver], lw=1, label=None if i else solver)
    ax.plot(*zip(*published.HOUSING["loss"].items(), strict=True), "D", color=BLACK, ms=6, label="published", zorder=5)
    ax.set(xscale="symlog", yscale="log", xlim=(0, None), xlabel="iteration", ylabel="normalized loss")
    ax.legend(frameon=False, fontsize=SIZE)
    figure.suptitle("California housing: where 100 iterations stand", fontsize=SIZE + 2, x=0.01, ha="left")
    return figure


def _images(tables, factors, title):
    """Draw factors of MU and of the default solver as images, each on its own scale."""
    images = tables["images"]
    figure, axes = axes_of(2, len(factors), (1.9 * len(factors) + 0.8, 4.9))
    for line, solver in zip(axes, (MU, DEFAULT), strict=True):
        part = images[images.solver == solver]
        of_seed = int(part.seed.min())
        for ax, factor in zip(line, factors, strict=True):
            pixels = part[part.factor == factor].filter(regex=r"^p\d+$").to_numpy().reshape(28, 28)
            ax.imshow(pixels, cmap="cividis", interpolation="nearest")
            ax.set_axis_off()
            seeds = sorted(tables["correlations"].query("solver == @solver")["seed"].unique())
            values = correlations(tables, solver, factor)[seeds.index(of_seed)]
            near = "\n".join(f"with {digit}: {value:+.2f}" for digit, value in zip((1, 2, 3), values, strict=True))
            ax.set_title(factor, fontsize=SIZE + 1)
            ax.text(0.5, -0.03, near, transform=ax.transAxes, ha="center", va="top", fontsize=SIZE - 1)
        line[0].text(
            -0.12, 0.5, solver, transform=line[0].transAxes, rotation=90, ha="right", va="center", fontsize=SIZE
        )
    figure.suptitle(title, fontsize=SIZE + 1, x=0.01, ha="left")
    return figure


def mnist_shifts(tables):
    """Draw Fig. 4: the shifts as images, with their correlations with the mean images of 1, 2 and 3."""
    factors = [name for name in tables["images"].factor.unique() if name.startswith("v")]
    return _images(tables, factors, "Fig. 4  MNIST: shifts, and their\ncorrelation with mean digits")


def mnist_components(tables):
    """Draw Fig. 5: the rows of H as images."""
    factors = [name for name in tables["images"].factor.unique() if name.startswith("h")]
    return _images(tables, factors, "Fig. 5  MNIST: shared components, and their correlation with mean digits")


def newsgroups_words(tables):
    """Draw Fig. 6: what it prints, what the published list has on top, and what our run and the plain means have."""
    words = tables["words"]
    seed = int(words[words.solver == MU].seed.min())
    columns = {
        "newsgroup": sorted(words.group.unique()),
        "printed in Fig. 6\n(ranks 30, 29, 28)": published.printed_words(),
        "published list,\nits three strongest": [row[:3] for row in published.top_words()],
        f"measured, {MU},\nseed {seed}, three strongest": [row[:3] for row in lists(words, MU, seed)],
        f"measured, {DEFAULT},\nseed {seed}, three strongest": [row[:3] for row in lists(words, DEFAULT, seed)],
    }
    lines = len(columns["newsgroup"])
    figure, ((ax,),) = axes_of(1, 1, (13.5, 0.27 * lines + 1.3))
    ax.set_axis_off()
    ax.set(xlim=(0, 1), ylim=(lines - 0.3, -2.2))
    left = (0.0, 0.17, 0.36, 0.56, 0.78)
    for x, (title, cells) in zip(left, columns.items(), strict=True):
        ax.text(x, -0.75, title, fontsize=SIZE, fontweight="bold", va="bottom")
        for y, cell in enumerate(cells):
            theirs = set(columns["published list,\nits three strongest"][y])
            text = cell if isinstance(cell, str) else " ".join(cell)
            is_same = not isinstance(cell, str) and x > left[2] and set(cell) == theirs
            ax.text(x, y, text, fontsize=SIZE, va="center", color=BLUE if is_same else RED if x == left[1] else BLACK)
    for y in range(0, lines, 2):
        ax.axhspan(y - 0.5, y + 0.5, color="#f2f2f2", lw=0, zorder=0)
    figure.suptitle(
        "Fig. 6  20 newsgroups: words of each v(i) (blue: the published three)", fontsize=SIZE + 2, x=0.01, ha="left"
    )
    return figure


# file name -> (experiment, function); a figure is drawn where its experiment has been run
FIGURES = {
    "fig1_synthetic_loss": ("synthetic", synthetic_loss),
    "fig2_synthetic_means": ("synthetic", synthetic_means),
    "gauge": ("synthetic", gauge),
    "fig3_housing_chart": ("housing", housing_chart),
    "housing_loss": ("housing", housing_loss),
    "fig4_mnist_shifts": ("mnist", mnist_shifts),
    "fig5_mnist_components": ("mnist", mnist_components),
    "fig6_newsgroups_words": ("newsgroups", newsgroups_words),
}
