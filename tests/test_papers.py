"""The reproduction of the paper: verdicts, tables and figures from small runs and from made-up tables."""

import json

import bench_files
import numpy as np
import oracle_data
import oracles
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from fastnmf import datasets

NAMES = (
    "chapman2023",
    "claims",
    "drawings",
    "published",
    "runs",
    "starts",
    "written",
    "data",
    "interleave",
    "machine",
    "table",
)


@pytest.fixture(scope="module")
def papers():
    with bench_files.modules(NAMES, "papers", ".") as found:
        yield found


@pytest.fixture(scope="module")
def synthetic(papers):
    """Give the tables of the synthetic experiment, run for a few iterations."""
    return papers["runs"].synthetic(range(2), rank=5, iterations=12, default_iterations=6)


def test_runs_are_the_oracle(papers, synthetic):
    runs, curves = synthetic["runs"], synthetic["curves"]
    for solver, order in ((papers["runs"].MU, "sequential"), (papers["runs"].SIMULTANEOUS, "simultaneous")):
        blocks = oracle_data.synthetic(1)
        losses = oracles.losses(blocks, oracles.random_start(blocks, 5, 1), 12, order=order)[0]
        mine = runs[(runs.solver == solver) & (runs.seed == 1)].iloc[0]
        assert mine.loss == pytest.approx(losses[12], rel=1e-9) and mine.loss_before_last == pytest.approx(losses[11])
        assert mine.loss_from_factors == pytest.approx(losses[12], rel=1e-9) and mine.rises == 0
        kept = curves[(curves.solver == solver) & (curves.seed == 1)].set_index("iteration").loss
        assert kept[10] == pytest.approx(losses[10], rel=1e-9) and kept.index[-1] == 12


def test_gauges_differ_and_fit_alike(papers, synthetic):
    forms, apart = papers["claims"].gauge_ranges(synthetic)
    assert apart < 1e-9 and (forms["min_shift"] < 0.95 * forms["max_shift"]).any()
    verdicts = {c.statement: c for c in papers["claims"].synthetic(synthetic, {"iterations": 12})}
    assert verdicts["The data determine the shifts, so that they recover the truth"].verdict == "does not hold"
    assert verdicts["Either order of the updates lowers the objective"].verdict == "holds in part"
    assert "1.125 to 18" in verdicts["Either order of the updates lowers the objective"].measured
    fixed = {**synthetic, "gauges": synthetic["gauges"].assign(mean=1.0)}
    found = {c.statement: c for c in papers["claims"].synthetic(fixed, {"iterations": 12})}
    assert found["The data determine the shifts, so that they recover the truth"].verdict == "holds"


def loss_runs(papers, before_last, iterations=100):
    """Make up runs with these losses before the last iteration, the same in both orders."""
    return pd.DataFrame([
        {"solver": solver, "seed": seed, "iterations": iterations, "loss": 0.99 * loss, "loss_before_last": loss,
         "rises": 0, "reaches_mu": 7.0}
        for solver in papers["runs"].OPTIONS for seed, loss in enumerate(before_last)
    ])  # fmt: skip


@pytest.mark.parametrize("losses, iterations, expected", [
    ([0.4, 0.6], 100, "holds"), ([0.6, 0.7], 100, "does not hold"), ([0.4, 0.6], 50, "cannot be compared"),
])  # fmt: skip
def test_published_loss_is_looked_for_among_ours(papers, losses, iterations, expected):
    claim = papers["claims"].range_of_loss({"runs": loss_runs(papers, losses, iterations)}, {99: 0.5})
    assert claim.verdict == expected


def test_rises_and_distances_are_seen(papers):
    claims, runs = papers["claims"], loss_runs(papers, [0.5, 0.5])
    assert claims.no_rises({"runs": runs}).verdict == "holds"
    is_simultaneous = runs.solver == papers["runs"].SIMULTANEOUS
    assert claims.no_rises({"runs": runs.assign(rises=is_simultaneous.astype(int))}).verdict == "holds in part"
    assert claims.no_rises({"runs": runs.assign(rises=1)}).verdict == "does not hold"
    assert claims.distance_to_default({"runs": runs}, 100).verdict == "holds"
    better = runs.assign(loss=np.where(runs.solver == papers["runs"].DEFAULT, 0.1, runs.loss))
    claim = claims.distance_to_default({"runs": better}, 100)
    assert claim.verdict == "does not hold" and "after 7 iterations" in claim.measured


def chart(papers, bars, solver):
    """Make up the bars of one run."""
    theirs = papers["published"].HOUSING
    return [
        {"solver": solver, "seed": 0, "variable": v, "stratum": s, "bar": bars[i, j], "shift": bars[i, j]}
        for i, v in enumerate([*theirs["chart"], "AveOccup"]) for j, s in enumerate(theirs["strata"])
    ]  # fmt: skip


def housing(papers, move=0.0):
    """Make up tables of housing: published bars, column means alike but for Population, which is `move` away."""
    solvers = papers["runs"]
    bars = np.array([*papers["published"].HOUSING["chart"].values(), (0.0, 0.0, 0.0)])
    means = bars.copy()
    means[4, 0] += move
    means[5] = 1.0
    rows = [row for solver in [*solvers.OPTIONS, solvers.NNDSVD] for row in chart(papers, bars, solver)]
    runs = loss_runs(papers, [0.046108])
    runs = pd.concat([runs, runs[:1].assign(solver=solvers.NNDSVD, loss=0.01)], ignore_index=True)
    curves = [
        {"solver": s, "seed": 0, "iteration": i, "loss": 1 / (i + 1)} for s in solvers.OPTIONS for i in range(101)
    ]
    facts = pd.DataFrame([{"norm": papers["published"].HOUSING["norm"]}])
    table = pd.DataFrame(rows + chart(papers, means, "column means"))
    return {"runs": runs, "chart": table, "facts": facts, "curves": pd.DataFrame(curves)}


def test_bars_are_compared_with_the_published_ones_and_with_plain_means(papers):
    claims, statement = papers["claims"], "The bars show more than the plain column means of the strata"
    for move, expected in ((0.2, "holds in part"), (0.0, "does not hold")):
        found = {c.statement: c for c in claims.housing(housing(papers, move), {"iterations": 100})}
        assert found[statement].verdict == expected and found["The bars of Fig. 3"].verdict == "holds"
        assert found["AveOccup is near zero in all strata"].verdict == "holds"
        assert found["HouseAge is about constant over the strata"].verdict == "holds"
    far = housing(papers)
    far["chart"] = far["chart"].assign(bar=far["chart"].bar + 0.006)
    found = {c.statement: c for c in claims.housing(far, {"iterations": 100})}
    assert found["The bars of Fig. 3"].verdict == "does not hold"


def test_published_words_are_turned(papers):
    top, printed = papers["published"].top_words(), papers["published"].printed_words()
    assert len(top) == 20 and {len(words) for words in top} == {30}
    assert top[0][:3] == ["religion", "atheism", "atheists"] and printed[0] == ["cheers", "exist", "bobbe"]
    assert [list(words) for words in top] == [list(words) for words in oracle_data.published_top_words()]


def newsgroups(papers, order):
    """Make up runs that find the published words in the order given (a slice of them)."""
    theirs, names = papers["published"].top_words(), [f"group {i:02d}" for i in range(20)]
    solvers = [*papers["runs"].OPTIONS, "stratum means"]
    words, ranks = [], []
    for solver in solvers:
        for name, published in zip(names, theirs, strict=True):
            mine = published[order] if solver != "stratum means" else [f"{name} {i}" for i in range(30)]
            keys = {"solver": solver, "seed": 0, "group": name}
            words += [keys | {"rank": r, "word": w, "weight": 1 / r} for r, w in enumerate(mine, start=1)]
            ranks += [
                keys | {"word": w, "published_rank": r, "rank": published[order].index(w) + 1}
                for r, w in enumerate(published, start=1)
            ]
    runs = loss_runs(papers, [0.977]).assign(v_non_zero=0.2149, v_outside_present=0)
    runs = runs.assign(**{"v_above_1e-4": 0.1, "v_above_1e-6": 0.16, "loss_from_factors": runs.loss, "seconds": 1.0})
    groups = pd.DataFrame({"group": names, "articles": range(628, 648), "empty": 1, "words_present": 0.215})
    facts = pd.DataFrame([{"rows": 18846, "columns": 51840, "norm": 135.2479205015737}])
    frames = {"words": pd.DataFrame(words), "ranks": pd.DataFrame(ranks), "groups": groups, "facts": facts}
    return {"runs": runs, **frames}


def test_order_of_words_decides(papers):
    judge = papers["claims"].newsgroups
    options = {"iterations": 100}
    found = {c.statement: c.verdict for c in judge(newsgroups(papers, slice(None)), options)}
    assert found["The list of 30 words, read from its end, is what MU sequential finds"] == "holds"
    assert found["Fig. 6 shows the three strongest words of each v(i)"] == "does not hold"
    assert found["About 20 % of v is non-zero because the method keeps it sparse"] == "does not hold"
    assert found["Each category has between 799 and 999 articles"] == "does not hold"
    turned = {c.statement: c.verdict for c in judge(newsgroups(papers, slice(None, None, -1)), options)}
    assert turned["The list of 30 words, read from its end, is what MU sequential finds"] == "does not hold"
    assert turned["Fig. 6 shows the three strongest words of each v(i)"] == "holds"


def mnist(papers):
    """Make up tables of MNIST: v(1) like a 1, v(2) like a 3, a row of H like a 2."""
    rows = [
        {"solver": solver, "seed": 0, "factor": factor, "digit": d, "correlation": 0.9 if d == like else 0.1}
        for solver in papers["runs"].OPTIONS for factor, like in (("v(1)", 1), ("v(2)", 3), ("h(1)", 2))
        for d in (1, 2, 3)
    ]  # fmt: skip
    pixels = {f"p{p}": float(p % 28) for p in range(784)}
    images = [
        {"solver": s, "seed": 0, "factor": f} | pixels for s in papers["runs"].OPTIONS for f in ("v(1)", "v(2)", "h(1)")
    ]
    runs = loss_runs(papers, [0.63]).assign(zeros_in_v=0.36, never_lit=0.36)
    runs = runs.assign(loss_from_factors=runs.loss, seconds=1.0)
    facts = pd.DataFrame([{"norm": 44779.0}])
    return {"runs": runs, "correlations": pd.DataFrame(rows), "images": pd.DataFrame(images), "facts": facts}


def test_other_images_cannot_be_compared(papers):
    found = papers["claims"].mnist(mnist(papers), {"iterations": 100, "rank": 1, "subset": "test"})
    assert found[0].verdict == "cannot be compared" and "subset 'test'" in found[0].measured
    assert {c.statement[:4]: c.verdict for c in found if c.statement.startswith("v(")} == {
        "v(1)": "holds",
        "v(2)": "holds",
    }


@pytest.mark.filterwarnings("ignore:The fit stopped at max_iter")
def test_starts_are_summed_up(papers):
    table = papers["starts"].compare(["synthetic"], 1, iterations=2)
    assert len(table) == 11 and not ((table.solver == "mu") & (table.start == "nndsvd")).any()
    header, rows = papers["starts"].summary(table)
    assert len(rows) == 11 and len(header) == len(rows[0]) and rows[0][:3] == ["synthetic", "default", "features"]


def test_what_is_written_can_be_read_and_drawn(papers, synthetic, tmp_path):
    chapman = papers["chapman2023"]
    made = {"synthetic": synthetic, "housing": housing(papers), "newsgroups": newsgroups(papers, slice(None))}
    made["housing"]["runs"] = made["housing"]["runs"].assign(loss_from_factors=0.04, seconds=1.0)
    made["mnist"] = mnist(papers)
    for name, tables in made.items():
        chapman.write(tmp_path, name, tables, dict(chapman.QUICK[name], iterations=12, rank=1), 1.0)
    params, read = chapman.read(tmp_path)
    assert set(read) == set(made) and set(params["experiments"]) == set(made) and params["versions"]["numpy"]
    for name, tables in made.items():
        assert set(read[name]) == set(tables)
        for key, table in tables.items():
            pd.testing.assert_frame_equal(read[name][key], table, check_dtype=False)
    for name, draw in papers["drawings"].FIGURES.values():
        figure = draw(read[name])
        assert figure.axes and all(ax.has_data() or ax.texts for ax in figure.axes)
        plt.close(figure)
    text = papers["written"].report(read, params)
    for wanted in (
        "| religion atheism atheists |",
        "cheers exist bobbe",
        "**does not hold**",
        "min_shift",
        "fig6_newsgroups",
    ):
        assert wanted in text
    assert "nan" not in text
    assert json.loads((tmp_path / "params.json").read_text())["experiments"]["synthetic"]["seeds"] == 2


def test_missing_data_and_unknown_experiments_are_told(papers, tmp_path, monkeypatch, capsys):
    chapman = papers["chapman2023"]
    assert chapman.main(["--experiments", "none", "--output", str(tmp_path)]) == 1
    assert "Nothing has been run" in capsys.readouterr().err

    def absent():
        raise OSError("The California housing data are not here.")

    monkeypatch.setattr(datasets, "load_housing", absent)
    assert chapman.main(["--quick", "--experiments", "housing", "--output", str(tmp_path)]) == 1
    assert "housing is left out: The California" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        chapman.main(["--experiments", "houses"])
    assert "unknown experiments: houses" in capsys.readouterr().err
