"""Figures show what they are given: labels, order, scales."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import pyplot
from scipy import sparse

from fastnmf.plots import (
    plot_consensus,
    plot_images,
    plot_loss,
    plot_rank_selection,
    plot_reconstructions,
    plot_residual,
    plot_shift_shares,
    plot_top_features,
    plot_usage,
)
from fastnmf.selection import RankSelection


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def test_top_features_are_drawn_largest_on_top():
    panels = plot_top_features(
        [[0.1, 0.9, 0, 0.5], [0, 0, 0, 0]], ["low", "high", "none", "$mid"], ["one", "two"], n=3, title="All"
    )
    first, second = panels
    assert [label.get_text() for label in first.get_yticklabels()] == ["high", r"\$mid", "low"]
    assert [bar.get_width() for bar in first.patches] == [0.9, 0.5, 0.1]
    assert first.get_ylim()[0] > first.get_ylim()[1]  # position 0 is at the top
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("one", "two")
    assert not second.patches and second.texts[0].get_text() == "all zero"
    panels.figure.canvas.draw()


def test_labels_of_neighbouring_panels_do_not_overlap():
    rng = np.random.default_rng(0)
    names = [f"a-rather-long-word-{j}" for j in range(30)]
    panels = plot_top_features(rng.random((10, 30)), names, [f"stratum {i}" for i in range(10)])
    panels.figure.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in panels]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_top_features_refuse_lengths_that_do_not_fit():
    with pytest.raises(ValueError, match="feature_names has 1 names for 2 features"):
        plot_top_features([[1.0, 2]], ["a"])
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


def test_curves_against_time_and_beside_each_other():
    history = {"iteration": [0, 5, 9], "seconds": [0.0, 0.2, 0.5], "normalized_loss": [1.0, 0.6, 0.5]}
    ax = plot_loss(history, x="seconds", label="one")
    assert ax.get_lines()[0].get_xdata().tolist() == history["seconds"] and ax.get_xlabel() == "seconds"
    plot_loss(history | {"normalized_loss": [1.0, 0.06, 0.05]}, ax, x="seconds", label="two")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one", "two"]
    one, two = ax.get_lines()
    assert one.get_color() != two.get_color() and ax.get_yscale() == "log"  # all lines together span 1 to 0.05
    with pytest.raises(ValueError, match="'iteration' or 'seconds'"):
        plot_loss(history, x="hours")
    with pytest.raises(ValueError, match="no 'kkt_residual', only .*ResidualHistory"):
        plot_residual(history)


def test_residual_curve_leaves_out_what_is_not_finite():
    ax = plot_residual({"iteration": [0, 1, 2], "kkt_residual": [np.inf, 0.1, 0.01]})
    assert ax.get_yscale() == "log" and ax.get_lines()[0].get_xdata().tolist() == [1, 2]
    assert "1.0e-02 at the end" in ax.get_title(loc="left")
    ax.figure.canvas.draw()


def test_images_are_the_rows_in_their_shape():
    vectors = np.arange(12.0).reshape(2, 6)
    panels = plot_images(vectors, (2, 3), ["a", "b"], title="All")
    for ax, vector, label in zip(panels, vectors, "ab", strict=True):
        (image,) = ax.get_images()
        np.testing.assert_array_equal(image.get_array(), vector.reshape(2, 3))
        assert image.get_clim() == (0, vector.max()) and ax.get_title() == label
    panels.figure.canvas.draw()
    assert plot_images(np.zeros((23, 4)), (2, 2)).shape == (23,)
    with pytest.raises(ValueError, match="2 x 2 pixels: a row must have 4"):
        plot_images(vectors, (2, 2))
    with pytest.raises(ValueError, match="1 titles for 2 images"):
        plot_images(vectors, (2, 3), ["a"])


def test_shares_of_shifts_add_up_to_one():
    shifts = np.array([[1.0, 3, 0], [3, 1, 0]])
    ax = plot_shift_shares(shifts, ["rooms", "age", "none"], ["low", "high"])
    heights = np.array([bar.get_height() for bar in ax.patches]).reshape(2, 3)
    assert heights.tolist() == [[0.25, 0.75, 0], [0.75, 0.25, 0]]
    middles = np.array([bar.get_x() + bar.get_width() / 2 for bar in ax.patches]).reshape(2, 3)
    np.testing.assert_allclose(middles.mean(axis=0), [0, 1, 2], atol=1e-12)  # a group stands over its name
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["low", "high"]
    with pytest.raises(ValueError, match="one row a stratum"):
        plot_shift_shares(shifts, ["rooms"], ["low", "high"])
    with pytest.raises(ValueError, match="pick 1 to 30 features"):
        plot_shift_shares(np.ones((2, 31)), range(31), ["low", "high"])


def test_usage_is_a_line_a_stratum():
    usage = np.array([[0.2, 0.8, 0.0], [1.0, 0.0, 0.0]])
    ax = plot_usage(usage, np.array(["a", "b"]))
    np.testing.assert_array_equal(ax.get_images()[0].get_array(), usage)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "2"]
    texts = {text.get_position(): text.get_text() for text in ax.texts}
    assert texts == {(0, 0): "20", (1, 0): "80", (0, 1): "100"}  # (column, line)
    same = pyplot.figure().add_subplot()
    assert plot_usage(np.zeros((2, 3)), ["a", "b"], ["x", "a longer name", "z"], ax=same) is same
    same.figure.canvas.draw()
    with pytest.raises(ValueError, match="one row a stratum"):
        plot_usage(usage, ["a"])


def rank_selection(**more):
    ranks = np.array([2, 3, 5])
    parts = {
        "ranks": ranks,
        "held_out": np.array([0.6, 0.41, 0.4]),
        "held_out_se": np.array([0.01, 0.02, 0.03]),
        "held_out_splits": np.zeros((3, 5)),
        "train": np.array([0.5, 0.3, 0.2]),
        "stability": np.array([1.0, 0.9, 0.4]),
        "cophenetic": np.array([1.0, 0.99, 0.8]),
        "dispersion": np.array([1.0, 0.9, 0.5]),
        "seconds": np.ones(3),
        "best_rank": 5,
        "rank_1se": 3,
        "method": "entries",
        "n_folds": 5,
        "n_repeats": 1,
        "n_restarts": 3,
        "stability_quartiles": np.array([[0.99, 1, 1], [0.8, 0.9, 1], [0.3, 0.4, 0.6]]),
    }
    return RankSelection(**parts | more)


def test_rank_selection_marks_both_choices():
    top, low = plot_rank_selection(rank_selection())
    line, limit, best, simple = top.get_lines()[0], *top.get_lines()[-3:]
    assert line.get_xdata().tolist() == [2, 3, 5] and line.get_ydata().tolist() == [0.6, 0.41, 0.4]
    assert limit.get_ydata()[0] == pytest.approx(0.43)
    assert (best.get_xdata().tolist(), simple.get_xdata().tolist()) == ([5], [3])
    (bars,) = (part for part in top.collections if hasattr(part, "get_segments"))
    heights = [np.ptp(segment[:, 1]) / 2 for segment in bars.get_segments()]
    np.testing.assert_allclose(heights, [0.01, 0.02, 0.03])
    assert low.get_lines()[0].get_ydata().tolist() == [1.0, 0.9, 0.4] and low.get_ylim()[0] < 0.4
    assert low.get_xticks().tolist() == [2, 3, 5] and top.get_yscale() == "linear"
    top.figure.canvas.draw()


def test_rank_selection_takes_one_axes_or_two():
    ax = pyplot.figure().add_subplot()
    assert plot_rank_selection(rank_selection(), ax=ax) is ax and ax.get_xlabel() == "rank"
    pair = pyplot.figure().subplots(1, 2)
    assert plot_rank_selection(rank_selection(), ax=pair) is pair and pair[1].get_ylabel() == "stability"
    alone = plot_rank_selection(rank_selection(stability=np.full(3, np.nan), held_out=np.array([9, 0.41, 0.4])))
    assert len(alone.figure.axes) == 1 and alone.get_yscale() == "log"
    with pytest.raises(ValueError, match="ax has 3 axes; give one, or two"):
        plot_rank_selection(rank_selection(), ax=pyplot.figure().subplots(1, 3))


def test_consensus_map_shows_clusters_in_order():
    distances = np.array([[0, 0.1, 1], [0.1, 0, 1.2], [1, 1.2, 0]])
    result = SimpleNamespace(
        distances=distances, n_members=np.array([2, 1]), kept=np.array([[True, True], [True, False]])
    )
    ax = plot_consensus(result)
    (image,) = ax.get_images()
    np.testing.assert_array_equal(image.get_array(), distances)
    assert image.get_clim() == (0, np.sqrt(2)) and ax.get_ylim() == (3, 0)
    assert [line.get_xdata()[:2].tolist() for line in ax.get_lines()] == [[0, 2], [2, 3]]
    assert ax.get_xticks().tolist() == [1.0, 2.5] and ax.get_title(loc="left") == "2 runs of 2 components, 1 dropped"
    same = pyplot.figure().add_subplot()
    assert plot_consensus(result, ax=same) is same


def test_reconstructions_of_more_than_can_be_drawn_are_refused():
    with pytest.raises(ValueError, match="3,000 x 3,000 entries, more than 4,194,304 pixels; draw some"):
        plot_reconstructions(None, sparse.csr_array((3000, 3000)))
    with pytest.raises(ValueError, match="X has 1 dimensions; expected a matrix"):
        plot_reconstructions(None, [1.0, 2.0])
