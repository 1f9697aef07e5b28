"""Every plot is readable on a small and on a large figure, and shows what it is given."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from figures import faults
from matplotlib import pyplot

import fastnmf
from fastnmf import NMF, HierarchicalNMF, StratifiedNMF, consensus, plots, topics_over_time
from fastnmf.datasets import make_hierarchical, make_stratified
from fastnmf.metrics import component_usage, topic_map, topic_similarity
from fastnmf.plots.rows import row_coordinates
from fastnmf.selection import RankSelection, StrataCandidate, StrataSelection

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


def ladder():
    table = [
        StrataCandidate(rung=rung, n_components=k, held_out=loss + 0.03 * (k - 2), excess_se=0.02)
        for rung, loss in zip(("none", "common", "strata", "own"), (0.6, 0.5, 0.43, 0.42), strict=True)
        for k in (2, 4)
    ]
    counts = {"n_folds": 5, "method": "rows_columns"}
    return StrataSelection(table=table, best=table[6], best_1se=table[4], **counts)


@cache
def over_time():
    """Return the components of a fit over years; feature 0 rises in the first one."""
    X = np.random.default_rng(0).random((40, 6))
    X[:, 0] += np.repeat(np.arange(4), 10) * X[:, 1]
    return topics_over_time(NMF(2, random_state=0, max_iter=20).fit(X), X, np.repeat([2000, 2001, 2003, 2007], 10))


RESIDUALS = {"iteration": np.arange(9), "kkt_residual": np.logspace(0, -6, 9)}
# name -> number of axes, and what draws on them a model, its data, a hierarchy, its data, a consensus
DRAWN = {
    "consensus": (1, lambda m, X, h, Y, c, **on: plots.plot_consensus(c, **on)),
    "difference": (1, lambda m, X, h, Y, c, **on: plots.plot_difference(m, "sci.space", "rec.autos", **on)),
    "dots": (1, lambda m, X, h, Y, c, **on: plots.plot_dots(m, X, **on)),
    "effects": (1, lambda m, X, h, Y, c, **on: plots.plot_effects(m, **on)),
    "images": (2, lambda m, X, h, Y, c, **on: plots.plot_images(m, (4, 6), strata=m.strata_[:2], **on)),
    "layers": (3, lambda m, X, h, Y, c, **on: plots.plot_layers(h, **on)),
    "loss": (1, lambda m, X, h, Y, c, **on: plots.plot_loss(m, **on)),
    "over_time": (1, lambda m, X, h, Y, c, **on: plots.plot_over_time(over_time(), 0, **on)),
    "rank_selection": (2, lambda m, X, h, Y, c, **on: plots.plot_rank_selection(selection(), **on)),
    "reconstructions": (4, lambda m, X, h, Y, c, **on: plots.plot_reconstructions(h, Y, **on)),
    "residual": (1, lambda m, X, h, Y, c, **on: plots.plot_residual(RESIDUALS, **on)),
    "rows": (1, lambda m, X, h, Y, c, **on: plots.plot_rows(m, "strata", **on)),
    "shift_shares": (1, lambda m, X, h, Y, c, **on: plots.plot_shift_shares(m, n=6, **on)),
    "stability": (1, lambda m, X, h, Y, c, **on: plots.plot_stability(c, **on)),
    "strata_selection": (1, lambda m, X, h, Y, c, **on: plots.plot_strata_selection(ladder(), **on)),
    "top_features": (3, lambda m, X, h, Y, c, **on: plots.plot_top_features(m, strata=m.strata_[:3], n=3, **on)),
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


def test_many_topics_on_a_small_map_do_not_overlap():
    H = np.random.default_rng(0).gamma(0.2, 1, (30, 40))
    titles = [f"{topic} government encryption" for topic in range(30)]
    ax = pyplot.figure(figsize=(4, 3), layout="constrained").add_subplot()
    plots.plot_topic_map(H, titles=titles, ax=ax)
    texts = [text.get_text() for text in ax.texts]
    assert not faults(ax.figure) and {text.split()[0] for text in texts} == {str(topic) for topic in range(30)}
    assert {len(text.split()) for text in texts} == {1, 3}  # some have no room for the words


def test_map_has_places_and_areas(fitted):
    model = fitted[0]
    ax = plots.plot_topic_map(model, components=[3, 1])
    (bubbles,) = ax.collections
    shares = component_usage(model.W_, model.components_)[0][[3, 1]]
    order = np.argsort(-shares)  # small ones are drawn last
    np.testing.assert_allclose(bubbles.get_offsets(), topic_map(model)[[3, 1]][order])
    sizes = bubbles.get_sizes()
    assert sizes[1] / sizes[0] == pytest.approx(shares[order][1] / shares[order][0])
    assert {text.get_text()[0] for text in ax.texts} == {"1", "3"}
    box = ax.get_window_extent()
    scales = np.ptp(ax.get_xlim()) / box.width, np.ptp(ax.get_ylim()) / box.height
    assert scales[0] == pytest.approx(scales[1], rel=1e-6)  # distances can be compared
    assert not plots.plot_topic_map(np.zeros((2, 3))).collections


def test_similar_topics_stand_beside_each_other():
    H = np.array([[1, 0, 0, 0.0], [0, 0, 1, 1], [1, 0.1, 0, 0], [0, 0, 1, 0.9]])
    ax = plots.plot_topic_similarity(H)
    order = [int(label.get_text()) for label in ax.get_xticklabels()]
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset([0, 2]), frozenset([1, 3])}
    image = ax.images[0].get_array().filled(1)
    np.testing.assert_allclose(image, topic_similarity(H)[np.ix_(order, order)])
    unordered = plots.plot_topic_similarity(H, components=[3, 0, 1], ordered=False)
    assert [label.get_text() for label in unordered.get_yticklabels()] == ["3", "0", "1"]


def test_difference_is_that_of_the_shifts(fitted):
    model = fitted[0]
    strata = model.strata_.tolist()
    one, two = strata.index("sci.space"), strata.index("rec.autos")
    for group_b, other in (
        ("rec.autos", model.shifts_[two]),
        (None, np.delete(model.shifts_, one, axis=0).mean(axis=0)),
    ):
        ax = plots.plot_difference(model, "sci.space", group_b, n=4)
        want = np.sort(model.shifts_[one] - other)
        want = [*want[::-1][:4][want[::-1][:4] > 0], *want[:4][want[:4] < 0][::-1]]
        np.testing.assert_allclose([bar.get_width() for bar in ax.patches], want, atol=1e-15)
        shown = [label.get_text() for label in ax.get_yticklabels()]
        at = model.feature_names_in_.tolist().index(shown[0])
        assert ax.patches[0].get_width() == pytest.approx((model.shifts_[one] - other)[at])
    assert [text.get_text() for text in ax.texts] == ["more in others", "more in sci.space"]


def test_long_labels_are_told_apart_and_overlap_nothing():
    strata = [f"Department of very long names, section {at:02} (Europe)" for at in range(3)]
    words = [f"a_rather_long_feature_name_{j}" for j in range(4)]
    shifts = np.array([[9.0, 1, 0, 2], [1, 7, 3, 0], [0, 1, 1, 6]])
    ax = plots.plot_difference(shifts, strata[0], strata[1], words, strata=strata)
    assert not faults(ax.figure) and len({text.get_text() for text in ax.texts}) == 2
    panels = plots.plot_top_features(shifts, words, strata, n=4)
    for heading in (
        [panel.get_title(loc="left") for panel in panels],
        [t.get_text() for t in panels[0].get_yticklabels()],
    ):
        assert len(set(heading)) == len(heading) > 2 and max(map(len, heading)) <= 34


def test_dots_are_weights_and_shares_of_rows(fitted):
    model, X = fitted[:2]
    X = np.where(X > np.median(X), X, 0)
    names = model.feature_names_in_.tolist()
    chosen, groups = [names[5], names[0]], model.strata_[[2, 0]].tolist()
    ax = plots.plot_dots(model, sp.csr_array(X), features=chosen, strata=groups)
    area = ax.get_legend().legend_handles[2].get_sizes()[0]  # that of 100 %
    dots = ax.collections[0]
    sizes, weights = dots.get_sizes().reshape(2, 2), dots.get_array().reshape(2, 2)
    for row, stratum in enumerate([2, 0]):
        rows = model.row_strata_ == stratum
        for place, column in enumerate([5, 0]):
            share = sum(value != 0 for value in X[rows, column]) / rows.sum()
            assert sizes[row, place] == pytest.approx(area * share)
            assert weights[row, place] == model.shifts_[stratum, column]
    shown = [[label.get_text() for label in axis.get_ticklabels()] for axis in (ax.xaxis, ax.yaxis)]
    assert shown == [chosen, groups]
    H = np.array([[3.0, 1, 0, 0], [0, 0, 2, 8]])
    ax = plots.plot_dots(H, n=1)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "3"]
    area = ax.get_legend().legend_handles[2].get_sizes()[0]
    np.testing.assert_allclose(ax.collections[0].get_sizes(), area * np.array([1, 0, 0, 1]))


def crossed():
    """Return a model of an intercept, thirty years and three regions, whose names are long."""
    rng = np.random.default_rng(0)
    years, regions = np.arange(1990, 2020), np.array(["the north of europe", "asia", "the rest of the world"])
    names = ["intercept", *(f"year={year}" for year in years), *(f"the region={region}" for region in regions)]
    model = {"components_": np.ones((2, 12)), "shifts_": rng.random((34, 12)), "strata_": [years, regions]}
    return SimpleNamespace(
        **model, shift_names_=np.array(names), feature_names_in_=[f"a long word {j}" for j in range(12)]
    )


@pytest.mark.parametrize("size", SIZES)
def test_effects_are_lines_over_numbers_and_dots_beside_names(size):
    model = crossed()
    years = plots.plot_effects(model, "year", n=8, ax=pyplot.figure(figsize=size, layout="constrained").add_subplot())
    chosen = ["a long word 3", 1]
    regions = pyplot.figure(figsize=size, layout="constrained").add_subplot()
    assert plots.plot_effects(model, "the region", chosen, regions) is regions
    assert not faults(years.figure) and not faults(regions.figure)
    spread = [max(column) - min(column) for column in model.shifts_[1:31].T.tolist()]
    widest = sorted(range(12), key=lambda j: -spread[j])[:8]
    for line, j in zip(years.get_lines(), widest, strict=True):
        assert line.get_xdata().tolist() == model.strata_[0].tolist()
        assert line.get_ydata().tolist() == model.shifts_[1:31, j].tolist() and line.get_label() == f"a long word {j}"
    for line, j in zip(regions.get_lines(), (3, 1), strict=True):
        assert line.get_xdata().tolist() == model.shifts_[31:, j].tolist() and line.get_linestyle() == "None"
    assert len(regions.get_yticklabels()) == 3 and regions.get_xlabel() == "effect of the region"
    with pytest.raises(
        ValueError, match="factor='age' is not known; give one of them, factor='year' or factor='the region'"
    ):
        plots.plot_effects(model, "age")
    with pytest.raises(ValueError, match="12 features have more colours than can be told apart; give 8"):
        plots.plot_effects(model, "year", range(12))


def test_shifts_of_several_factors_are_compared_within_a_factor():
    model = crossed()
    ax = plots.plot_difference(model, "year=1990", "year=1991", n=3)
    assert max(bar.get_width() for bar in ax.patches) == pytest.approx((model.shifts_[1] - model.shifts_[2]).max())
    (panel,) = plots.plot_top_features(model, strata=["year=1992"], n=1)
    assert panel.patches[0].get_width() == model.shifts_[3].max()
    assert len(plots.plot_top_features(model)) == 2  # the topics
    with pytest.raises(ValueError, match="none has a share of their sum; use plot_effects"):
        plots.plot_shift_shares(model)
    with pytest.raises(ValueError, match="the mean of the other shifts means nothing; give group_b"):
        plots.plot_difference(model, "year=1990")


def test_rows_of_two_topics_keep_their_hellinger_distances():
    W = np.array([[1, 0], [3, 1], [2, 2], [0, 0], [1e-200, 3e-200]])
    ax = plots.plot_rows(W)
    at = row_coordinates(W)
    assert np.isnan(at[3]).all() and ax.get_title("left") == "4 rows by topic"
    roots = [[np.sqrt(w / sum(row)) for w in row] for row in W[[0, 1, 2]].tolist()] + [[0.5, np.sqrt(0.75)]]
    for a, one in zip((0, 1, 2, 4), roots, strict=True):
        for b, two in zip((0, 1, 2, 4), roots, strict=True):
            want = sum((x - y) ** 2 for x, y in zip(one, two, strict=True)) ** 0.5
            assert np.linalg.norm(at[a] - at[b]) == pytest.approx(want, abs=1e-12)
    assert at[4, 0] > 0 > at[0, 0]  # the topic with the larger part of the axis lies on its positive side


def test_rows_are_coloured_by_topic_or_group(fitted):
    model = fitted[0]
    coordinates = np.random.default_rng(0).random((60, 2))
    ax = plots.plot_rows(model, "strata", coordinates=coordinates, strata=["sci.space"])
    grey, points, sign = ax.collections
    is_space = np.array(model.strata_)[model.row_strata_] == "sci.space"
    np.testing.assert_array_equal(points.get_offsets(), coordinates[is_space])
    np.testing.assert_array_equal(grey.get_offsets(), coordinates[~is_space])
    np.testing.assert_array_equal(sign.get_offsets(), [np.median(coordinates[is_space], axis=0)])
    ax = plots.plot_rows(model, coordinates=coordinates)
    topic = (model.W_ * np.linalg.norm(model.components_, axis=1)).argmax(axis=1)
    points = [part.get_offsets() for part in ax.collections[::2]]
    assert len(points) == len(set(topic)) and len(points[0]) == (topic == topic.min()).sum()
    own = plots.plot_rows(model, ["a", "b"] * 30, coordinates=coordinates)
    assert sorted(text.get_text() for text in own.texts) == ["a", "b"]


def test_stability_has_the_quartiles_of_the_cosines(fitted):
    result = fitted[4]
    ax = plots.plot_stability(result)
    begin = 0
    for bar, size in zip(ax.patches, result.n_members, strict=True):
        members = range(begin, begin + size)
        cosines = [1 - result.distances[a, b] ** 2 / 2 for a in members for b in members if a < b]
        assert bar.get_height() == pytest.approx(np.median(cosines))
        begin += size
    (lines,) = (part for part in ax.collections if hasattr(part, "get_segments"))
    np.testing.assert_allclose(np.ptp(lines.get_segments()[-1], axis=0)[1], np.ptp(np.percentile(cosines, (25, 75))))
    ranks = plots.plot_stability(selection())
    np.testing.assert_allclose([bar.get_height() for bar in ranks.patches], selection().stability_quartiles[:, 1])
    assert [label.get_text() for label in ranks.get_xticklabels()] == ["2", "3", "5", "8"]


def test_a_model_shows_its_strata_and_components(fitted):
    model = fitted[0]
    names, strata = model.feature_names_in_, model.strata_.tolist()
    usage = component_usage(model.W_, model.components_, model.row_strata_)
    ax = plots.plot_usage(model, strata=["sci.space", "misc.forsale"], components=[2])
    np.testing.assert_array_equal(ax.images[0].get_array(), usage[[strata.index("sci.space"), 1], 2:3])
    assert [label.get_text()[0] for label in ax.get_xticklabels()] == ["2"]
    one, two = plots.plot_top_features(model, components=[3, 0], n=2)
    assert (one.get_title("left"), two.get_title("left")) == ("topic 3", "topic 0")
    assert [label.get_text() for label in two.get_yticklabels()] == names[
        np.argsort(-model.components_[0])[:2]
    ].tolist()
    (panel,) = plots.plot_top_features(model, strata="sci.space")
    assert panel.get_title("left") == "sci.space"
    (image,) = plots.plot_images(model, (4, 6), strata=["rec.autos"])
    shift = model.shifts_[strata.index("rec.autos")]
    np.testing.assert_array_equal(image.images[0].get_array(), shift.reshape(4, 6))
    shares = plots.plot_shift_shares(model, strata=["rec.autos", "sci.space"], features=[names[3], 0])
    heights = [bar.get_height() for bar in shares.patches]
    assert heights[0] == pytest.approx(shift[3] / model.shifts_[:, 3].sum())
    assert len(plots.plot_shift_shares(np.eye(9)).images) == 1 and not shares.images  # many strata are a heat map


def test_axes_have_a_figure_and_a_style():
    panels = plots.plot_top_features(np.eye(2), title="All")
    assert panels.figure is panels[1].figure
    with pytest.warns(FutureWarning, match=r"write .figure.axes in place of .axes"):
        assert len(panels.axes) == 2
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        panels.nothing  # noqa: B018
    paper, slide = (plots.plot_usage(np.eye(3), style=style) for style in ("paper", "slide"))
    sizes = [ax.get_xticklabels()[0].get_fontsize() for ax in (paper, slide)]
    assert sizes[1] > 1.5 * sizes[0] and slide.figure.get_figwidth() > paper.figure.get_figwidth()


@pytest.mark.parametrize(
    "call, error, sentence",
    [
        (lambda m: plots.plot_usage(m, style="big"), ValueError, "style='big' is not known; expected 'paper' or"),
        (lambda m: plots.plot_usage(m, ax=3), TypeError, "ax is 3; expected axes of matplotlib"),
        (lambda m: plots.plot_usage(m, ["sci"]), ValueError, "strata has 'sci'; expected different ones of 'comp"),
        (lambda m: plots.plot_topic_map(m, components=[4]), ValueError, "components=.* different numbers from 0 to 3"),
        (lambda m: plots.plot_topic_map(StratifiedNMF(2)), TypeError, "has no components_; give a fitted model"),
        (lambda m: plots.plot_topic_map([[1.0, -1]]), ValueError, "H has negative entries"),
        (lambda m: plots.plot_topic_map(m, shares=[1.0]), ValueError, "expected 4 finite numbers >= 0, one for"),
        (
            lambda m: plots.plot_topic_similarity(m, titles="ab"),
            ValueError,
            "There are 2 titles for 4 topics; pass one",
        ),
        (lambda m: plots.plot_difference(m, "rec.autos", "rec.autos"), ValueError, "are both 'rec.autos'; give two"),
        (lambda m: plots.plot_difference(m, "autos"), ValueError, "group has 'autos'; expected"),
        (lambda m: plots.plot_difference([[1.0]], 0), ValueError, "There is one stratum, and nothing to compare"),
        (lambda m: plots.plot_dots(m, np.ones((3, 24))), ValueError, r"X has shape \(3, 24\), .* give the data of the"),
        (lambda m: plots.plot_dots(m, features=["none"]), ValueError, "features has 'none', which is no feature"),
        (lambda m: plots.plot_dots(np.eye(3), np.eye(3)), ValueError, "X is given with an array, .* give the fitted"),
        (lambda m: plots.plot_rows(m, "group"), ValueError, "color_by='group' is not known; expected 'topic'"),
        (lambda m: plots.plot_rows(m.components_, coordinates=[[0, 1]]), ValueError, r"expected \(4, 2\), a point for"),
        (lambda m: plots.plot_rows([[1.0, -1]]), ValueError, "finite weights >= 0"),
        (lambda m: plots.plot_topic_similarity(m, ordered=[1, 2]), TypeError, "ordered is .* expected True or False"),
        (lambda m: plots.plot_loss(3), TypeError, "history is 3; expected a fitted model"),
        (lambda m: plots.plot_stability(m), TypeError, "expected what fastnmf.consensus or fastnmf.select_rank"),
        (lambda m: plots.plot_images(m, (4, 6), ax=[]), ValueError, "ax has 0 axes for 4 panels; give one"),
        (lambda m: plots.plot_top_features(m, n_columns=0), ValueError, "n_columns=0 is not valid; expected"),
    ],
)
def test_refusals_are_one_sentence(call, error, sentence, fitted):
    with pytest.raises(error, match=sentence):
        call(fitted[0])


def test_a_model_without_rows_or_strata_is_told_so():
    H = np.eye(3)
    model = fastnmf.NMF(2, max_iter=2, random_state=0).fit(H)
    with pytest.raises(ValueError, match="This NMF has no shifts of strata; fit a StratifiedNMF"):
        plots.plot_shift_shares(model)
    with pytest.raises(ValueError, match="This NMF keeps no strata of its rows; give the labels as an array"):
        plots.plot_rows(model, "strata")
    del model.W_
    assert len(plots.plot_topic_map(model).collections) == 1  # bubbles of one size
    with pytest.raises(ValueError, match="This NMF keeps no weights of its rows; give arrays"):
        plots.plot_rows(model)


def test_lines_over_time_are_shares_of_the_features_that_change():
    found = over_time()
    changes, ax = found.changes(0), plots.plot_over_time(over_time(), 0, n=1)
    rising, falling = (line.get_ydata() for line in ax.lines)
    np.testing.assert_array_equal(rising, found.shares(0, [int(changes.argmax())])[:, 0])
    np.testing.assert_array_equal(falling, found.shares(0, [int(changes.argmin())])[:, 0])
    assert ax.lines[0].get_xdata().tolist() == [2000, 2001, 2003, 2007]
    X, names = np.random.default_rng(0).random((6, 3)), ["2001-a", "2001-b"] * 3
    text = topics_over_time(NMF(1, random_state=0, max_iter=5).fit(X), X, names, feature_names=["x", "y", "z"])
    ax = plots.plot_over_time(text, 0, ["z"])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["2001-a", "2001-b"]
    with pytest.raises(TypeError, match="expected what fastnmf.topics_over_time returns"):
        plots.plot_over_time(X, 0)
    with pytest.raises(ValueError, match="'w', which is no feature"):
        plots.plot_over_time(text, 0, ["w"])
