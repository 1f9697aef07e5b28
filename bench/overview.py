"""Draw README's figure: posts in groups go in; shared topics, and words specific to each group, come out.

The fit is that of 20 newsgroups with 20 topics and all 20 groups; seven groups are shown, and the topics whose use
differs most between them.

Usage: python bench/overview.py [--output bench/figures/overview.png]
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import pyplot as plt

from fastnmf import StratifiedNMF
from fastnmf.datasets import load_newsgroups

GROUPS = (
    "sci.space",
    "sci.crypt",
    "comp.graphics",
    "comp.sys.mac.hardware",
    "rec.sport.hockey",
    "soc.religion.christian",
    "talk.politics.guns",
)
COLOURS = ("#0072B2", "#00805F", "#B0528A", "#C04F00", "#6A51A3", "#8C6A00", "#444444")  # readable as text on white
N_TOPICS = 6  # shown
N_ROWS, N_WORDS = 50, 160  # of the picture of the data: rows of each group, most frequent words
SIZE = 13.0, 5.1  # inches; all coordinates below are inches from the lower left corner
ROW, BOTTOM = 0.5, 0.25  # height of the row of a group, lower end of the last one
DATA, TOPICS, WORDS = (2.05, 2.3), (4.9, 0.84), 10.05  # left end and width; left end and width of a column; left end
OUTPUT = Path(__file__).resolve().parent / "figures" / "overview.png"


def topic_use(model, strata):
    """Return (groups, topics): mean weight of each topic in the groups shown, relative to the group that uses it most.

    Weights are those of components of length one, so that they do not depend on the scale of W and H.
    """
    W = model.W_ * np.linalg.norm(model.components_, axis=1)
    means = np.array([W[strata == label].mean(axis=0) for label in model.strata_])
    return (means / means.max(axis=0))[[list(model.strata_).index(group) for group in GROUPS]]


def draw_data(ax, news, group, bottom, colour):
    """Draw the non-zeros of some rows of a group in the most frequent words, one dot for each."""
    frequent = np.sort(np.argsort(-np.diff(news.data.tocsc().indptr), kind="stable")[:N_WORDS])
    rows = news.data[news.strata == group]
    rows = rows[np.linspace(0, rows.shape[0] - 1, N_ROWS).astype(int)][:, frequent].tocoo()
    left, width = DATA
    x, y = left + width * (rows.col + 0.5) / N_WORDS, bottom + (ROW - 0.08) * (1 - (rows.row + 0.5) / N_ROWS)
    ax.add_patch(plt.Rectangle((left, bottom), width, ROW - 0.08, facecolor=colour, alpha=0.09, linewidth=0))
    ax.plot(x, y, linestyle="", marker="s", markersize=0.85, markeredgewidth=0, color=colour)


def draw(news, model):
    """Return the figure."""
    use, top = topic_use(model, news.strata), model.top_features(6, news.feature_names)
    shown = np.sort(np.argsort(-use.std(axis=0), kind="stable")[:N_TOPICS])
    figure = plt.figure(figsize=SIZE)
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, SIZE[0]), ylim=(0, SIZE[1]))
    ax.axis("off")
    bottoms = [BOTTOM + ROW * (len(GROUPS) - 1 - g) for g in range(len(GROUPS))]
    for g, (group, colour, bottom) in enumerate(zip(GROUPS, COLOURS, bottoms, strict=True)):
        middle = bottom + (ROW - 0.08) / 2
        ax.text(DATA[0] - 0.12, middle, group, ha="right", va="center", fontsize=11, color=colour)
        draw_data(ax, news, group, bottom, colour)
        for place, k in enumerate(shown):
            x = TOPICS[0] + TOPICS[1] * (place + 0.5)
            ax.scatter(x, middle, s=430 * use[g, k], color=colour, linewidth=0)
        ax.text(WORDS, middle, " ".join(top.strata[group][:4]), va="center", fontsize=11, color=colour)
    head = bottoms[0] + ROW + 0.02
    for place, k in enumerate(shown):
        x = TOPICS[0] + TOPICS[1] * (place + 0.5)
        for line, word in enumerate(top.components[k][:4]):
            ax.text(x, head + 0.15 * (3 - line), word, ha="center", va="baseline", fontsize=9)
    title = {"y": SIZE[1] - 0.28, "va": "center", "fontsize": 12.5, "fontweight": "bold"}
    note = {"y": SIZE[1] - 0.55, "va": "center", "fontsize": 9.5, "color": "#555555"}
    ax.text(DATA[0] - 1.9, s="In: rows in groups", **title)
    n_posts, n_words = news.data.shape
    ax.text(DATA[0] - 1.9, s=f"{n_posts:,} posts x {n_words:,} words; a dot is a non-zero", **note)
    ax.text(TOPICS[0], s="Out: topics that all groups share", **title)
    ax.text(TOPICS[0], s="their strongest words, and how much each group uses them", **note)
    ax.text(WORDS, s="and what is specific to each", **title)
    ax.text(WORDS, s="words of the shift of each group", **note)
    arrow = {"arrowstyle": "-|>", "color": "#555555", "linewidth": 1.6, "mutation_scale": 16}
    middle = bottoms[len(GROUPS) // 2] + ROW / 2
    ax.annotate("", (TOPICS[0] - 0.02, middle), (sum(DATA) + 0.08, middle), arrowprops=arrow)
    return figure


def main():
    """Fit and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    output = parser.parse_args().output
    news = load_newsgroups()
    model = StratifiedNMF(20, random_state=0).fit(news.data, strata=news.strata)
    draw(news, model).savefig(output, dpi=120)
    print(output)


if __name__ == "__main__":
    main()
