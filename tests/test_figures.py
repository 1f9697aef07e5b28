"""Every plot is readable on a small and on a large figure, and shows what it is given."""

import numpy as np
import pandas as pd
import pytest
from figures import faults
from matplotlib import pyplot

from fastnmf import HierarchicalNMF, StratifiedNMF, consensus, plots
from fastnmf.datasets import make_hierarchical, make_stratified
from fastnmf.selection import RankSelection

SIZES = [(4, 3), (16, 9)]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def fitted():
    """Return a model of five strata with long names, its data, a hierarchy with its data, and a consensus."""
    planted = make_stratified((12,) * 5, n_features=24, n_components=4, noise=0.02, random_state=0)
    labels = np.array(["talk.politics.guns", "sci.space", "comp.os.ms-windows", "rec.autos", "misc.forsale"])
    names = [f"{word}{j}" for j, word in enumerate(["orbit", "windows", "government", "it"] * 6)]
    model = StratifiedNMF(4, random_state=0, max_iter=30, tol=0)
    model.fit(pd.DataFrame(planted.data, columns=names), strata=labels[planted.strata])
    toy = make_hierarchical(random_state=0)
    hierarchy = HierarchicalNMF(random_state=0, max_iter=20, tol=0).fit(toy.data)
    agreed = consensus(planted.data, None, 3, n_runs=4, random_state=0)
    return model, planted.data, hierarchy, toy.data, agreed


def selection():
    shape = np.array([2, 3, 5, 8])
    parts = {name: np.array([0.6, 0.41, 0.4, 0.5]) for name in ("held_out", "train", "cophenetic", "dispersion")}
    parts |= {"stability": np.array([1, 0.9, 0.5, 0.4]), "held_out_se": np.full(4, 0.02), "seconds": np.ones(4)}
    parts |= {
        "held_out_splits": np.ones((4, 5)),
        "stability_quartiles": np.linspace(0.9, 0.4, 12).reshape(4, 3)[:, ::-1],
    }
    counts = {"n_folds": 5, "n_repeats": 1, "n_restarts": 3, "method": "rows_columns"}
    return RankSelection(ranks=shape, best_rank=5, rank_1se=3, **parts, **counts)


RESIDUALS = {"iteration": np.arange(9), "kkt_residual": np.logspace(0, -6, 9)}
# name -> number of axes, and what draws on them a model, its data, a hierarchy, its data, a consensus
DRAWN = {
    "consensus": (1, lambda m, X, h, Y, c, **on: plots.plot_consensus(c, **on)),
    "difference": (1, lambda m, X, h, Y, c, **on: plots.plot_difference(m, "sci.space", "rec.autos", **on)),
    "dots": (1, lambda m, X, h, Y, c, **on: plots.plot_dots(m, X, **on)),
    "images": (4, lambda m, X, h, Y, c, **on: plots.plot_images(m, (4, 6), **on)),
    "layers": (3, lambda m, X, h, Y, c, **on: plots.plot_layers(h, **on)),
    "loss": (1, lambda m, X, h, Y, c, **on: plots.plot_loss(m, **on)),
    "rank_selection": (2, lambda m, X, h, Y, c, **on: plots.plot_rank_selection(selection(), **on)),
    "reconstructions": (4, lambda m, X, h, Y, c, **on: plots.plot_reconstructions(h, Y, **on)),
    "residual": (1, lambda m, X, h, Y, c, **on: plots.plot_residual(RESIDUALS, **on)),
    "rows": (1, lambda m, X, h, Y, c, **on: plots.plot_rows(m, "strata", **on)),
    "shift_shares": (1, lambda m, X, h, Y, c, **on: plots.plot_shift_shares(m, n=6, **on)),
    "stability": (1, lambda m, X, h, Y, c, **on: plots.plot_stability(c, **on)),
    "top_features": (5, lambda m, X, h, Y, c, **on: plots.plot_top_features(m, n=3, **on)),
    "topic_map": (1, lambda m, X, h, Y, c, **on: plots.plot_topic_map(m, **on)),
    "topic_similarity": (1, lambda m, X, h, Y, c, **on: plots.plot_topic_similarity(m, **on)),
    "tree": (1, lambda m, X, h, Y, c, **on: plots.plot_tree(h, [f"f{j}" for j in range(Y.shape[1])], **on)),
    "usage": (1, lambda m, X, h, Y, c, **on: plots.plot_usage(m, **on)),
}


def test_the_checker_finds_overlaps_and_what_is_clipped():
    figure = pyplot.figure(figsize=(4, 3))
    ax = figure.add_subplot()
    ax.set_xticks(range(3), ["one", "two", "three"])
    assert not faults(figure)
    ax.text(0.5, 0.5, "some words")
    ax.annotate("other words", (0.52, 0.5), xytext=(0.5, 0.51), arrowprops={"arrowstyle": "-"})
    assert faults(figure) == ["'other words' overlaps 'some words'"]
    ax.set_title("a title that is much wider than a figure of four inches can hold at its size", loc="left")
    ax.set_xticks(np.arange(12), [f"label {j}" for j in range(12)])
    found = faults(figure)
    assert sum("clipped" in each for each in found) == 1 and "'label 1' overlaps 'label 0'" in found


def test_every_plot_is_drawn():
    assert {f"plot_{name}" for name in DRAWN} == set(plots.__all__)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", DRAWN)
def test_no_text_is_clipped_or_overlaps(name, size, fitted):
    n_axes, draw = DRAWN[name]
    figure = pyplot.figure(figsize=size, layout="constrained")
    before = dict(pyplot.rcParams)
    ax = figure.add_subplot() if n_axes == 1 else figure.subplots(1 if n_axes < 5 else 2, min(n_axes, 4))
    drawn = draw(*fitted, ax=ax)
    assert drawn.figure is figure if n_axes > 1 and hasattr(drawn, "figure") else drawn is ax
    assert not faults(figure)
    assert dict(pyplot.rcParams) == before
