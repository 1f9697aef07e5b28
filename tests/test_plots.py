"""Figures show what they are given: labels, order, scales."""

import numpy as np
import pytest
from matplotlib import pyplot

from fastnmf.plots import plot_loss, plot_top_features


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def test_top_features_are_drawn_largest_on_top():
    figure = plot_top_features(
        [[0.1, 0.9, 0, 0.5], [0, 0, 0, 0]], ["low", "high", "none", "$mid"], ["one", "two"], n=3, title="All"
    )
    first, second = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["high", r"\$mid", "low"]
    assert [bar.get_width() for bar in first.patches] == [0.9, 0.5, 0.1]
    assert first.get_ylim()[0] > first.get_ylim()[1]  # position 0 is at the top
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("one", "two")
    assert not second.patches and second.texts[0].get_text() == "all zero"
    figure.canvas.draw()


def test_labels_of_neighbouring_panels_do_not_overlap():
    rng = np.random.default_rng(0)
    names = [f"a-rather-long-word-{j}" for j in range(30)]
    figure = plot_top_features(rng.random((10, 30)), names, [f"stratum {i}" for i in range(10)])
    figure.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_top_features_refuse_lengths_that_do_not_fit():
    with pytest.raises(ValueError, match="one row a title"):
        plot_top_features([[1.0, 2]], ["a", "b"], ["x", "y"])
    with pytest.raises(ValueError, match="n must be at least 1"):
        plot_top_features([[1.0]], ["a"], ["x"], n=0)


@pytest.mark.parametrize("losses, scale", [([1.0, 0.6, 0.5], "linear"), ([1.0, 0.01, 0.001], "log")])
def test_loss_curve(losses, scale):
    ax = plot_loss({"iteration": np.arange(3), "normalized_loss": np.array(losses)})
    assert ax.get_yscale() == scale and ax.get_lines()[0].get_ydata().tolist() == losses
    same = pyplot.figure().add_subplot()
    assert plot_loss({"iteration": [0], "normalized_loss": [0.0]}, ax=same) is same
