"""The reproduction of the thesis on Meta-NMF: cells on tiny planted data, the run that goes on, verdicts, figures."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

PAPERS = Path(__file__).resolve().parent.parent / "bench" / "papers"
MODULES = ("_cells", "_report", "_drawings", "_page", "2025")
TINY = {"outer": 2, "inner": 3, "images": 10, "blobs": 10}


def planted(settings):
    """Give 60 samples of three classes, each with pixels of its own among 1024; values are grey values."""
    rng = np.random.default_rng(0)
    y = np.repeat([3, 5, 9], 20)
    X = rng.uniform(0, 20, (60, 1024))
    for place, label in enumerate((3, 5, 9)):
        X[y == label, place * 300 : (place + 1) * 300] += 200
    return X, y


@pytest.fixture(scope="module")
def khan():
    """Give the modules, all data planted and compiling left to the fits; paths and modules are as before afterwards."""
    path, before = list(sys.path), dict(sys.modules)
    sys.path[:0] = [str(PAPERS), str(PAPERS.parent)]
    modules = {name: importlib.import_module(f"khan{name}") for name in MODULES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modules["_cells"], "warm", lambda: None)
        for name in modules["_cells"].SETS:
            patch.setitem(modules["_cells"].SETS, name, planted)
        modules["_cells"]._scaled.cache_clear()
        yield modules
    sys.path[:] = path
    for name in set(sys.modules) - set(before):
        if str(PAPERS.parent) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def cell(method, **changes):
    return {"data": "Digits", "sigma": 0.0, "method": method, "rank": 3, "seed": 0} | changes


def test_halves_are_scaled_split_alike_and_noise_is_folded(khan):
    halves = khan["_cells"].halves
    learn, evaluate, classes = halves("Digits", 0.0, 0, TINY)
    assert learn.shape == evaluate.shape == (30, 1024) and sorted(set(classes)) == [0, 1, 2]
    both = np.concatenate([learn, evaluate])
    np.testing.assert_allclose([both.min(axis=0), both.max(axis=0)], [np.zeros(1024), np.ones(1024)], atol=1e-6)
    noisy = [halves("Digits", 0.5, seed, TINY) for seed in (0, 0, 1)]
    assert (noisy[0][1] == noisy[1][1]).all() and (noisy[0][1] != noisy[2][1]).any()
    assert all((part[2] == classes).all() for part in noisy) and noisy[0][1].min() >= 0
    assert 0.3 < np.abs(noisy[0][1] - evaluate).mean() < 0.5  # 0.4 is the mean of |N(0, 0.5)|; folding makes it less


def test_every_method_gives_factors_and_the_budgets_are_what_they_say(khan):
    rows = {}
    for method in khan["_cells"].METHODS:
        rank = 0 if method in khan["_cells"].RANKLESS else 3
        rows[method] = khan["_cells"].run_cell(cell(method, rank=rank), TINY)
        assert 0 <= rows[method]["nmi"] <= 1 and rows[method]["accuracy"] >= 1 / 3, method
        assert json.loads(json.dumps(rows[method])) == rows[method]
    for method in ("k-means", "NMF, HALS", "GraphNMF"):  # three classes with pixels of their own cannot be missed
        assert rows[method]["nmi"] == pytest.approx(1), method
    long = {
        "Meta-NMF",
        "Meta-NMF, as in the text",
        "Meta-NMF-NNDSVD",
        "Meta-GNMF",
        "Meta-GNMF-NNDSVD",
        "NMF, pre-trained",
    }
    long |= {name for name in rows if name.endswith("same budget")}
    assert {rows[name]["iterations"] for name in long} == {9} and rows["NMF"]["iterations"] == 3
    assert all(row["error"] < 1 for name, row in rows.items() if name != "k-means")
    of_text = rows["Meta-NMF-NNDSVD"]["error"]  # it passes on what it learns, as the program's does not
    assert of_text < rows["NMF-NNDSVD"]["error"] and of_text != rows["Meta-NMF, as in the text"]["error"]
    again = khan["_cells"].run_cell(cell("Meta-GNMF"), TINY)
    assert {**again, "cpu_seconds": 0} == {**rows["Meta-GNMF"], "cpu_seconds": 0}


def test_updates_of_the_program_are_those_of_plain_loops(khan):
    rng = np.random.default_rng(5)
    X, W, H = rng.random((5, 4)), rng.random((5, 2)), rng.random((2, 4))
    A = [[np.exp(-sum((X[i] - X[j]) ** 2) / 0.25) for j in range(5)] for i in range(5)]
    new_W = np.empty((5, 2))
    for i in range(5):
        for c in range(2):
            up = sum(X[i, j] / (W[i] @ H[:, j]) * H[c, j] for j in range(4)) + 0.3 * sum(
                A[i][p] * W[p, c] for p in range(5)
            )
            new_W[i, c] = W[i, c] * up / (sum(H[c]) + 0.3 * sum(A[i]) * W[i, c])
    new_H = np.empty((2, 4))
    for c in range(2):
        for j in range(4):
            up = sum(X[i, j] / (new_W[i] @ H[:, j]) * new_W[i, c] for i in range(5))
            new_H[c, j] = H[c, j] * up / sum(new_W[:, c])
    found = khan["_cells"].Damped()(X, W, H, 1)
    np.testing.assert_allclose(found[0], new_W, rtol=1e-6)  # affinities below 1e-8 are left out
    np.testing.assert_allclose(found[1], new_H, rtol=1e-6)


def test_affinities_are_told(khan):
    near = np.repeat(np.eye(3), 4, axis=0)
    facts = khan["_cells"].affinity_facts(near)
    assert facts == {"median_affinity": 1.0, "share_with_neighbours": 1.0}
    assert khan["_cells"].affinity_facts(10 * np.eye(4)) == {"median_affinity": 0.0, "share_with_neighbours": 0.0}


@pytest.fixture
def started(khan, tmp_path, monkeypatch):
    """Give a function that runs the command on tiny data, and the list of cells that were really run."""
    asked, run_cell = [], khan["2025"].run_cell
    monkeypatch.setattr(khan["2025"], "run_cell", lambda *arguments: asked.append(arguments[0]) or run_cell(*arguments))
    quick = khan["2025"].QUICK | {"settings": TINY, "noise": {"Digits": (0.2,)}, "noisy_ranks": (3,)}
    monkeypatch.setattr(khan["2025"], "QUICK", quick)

    def start(*options):
        asked.clear()
        return khan["2025"].main(["--quick", "--jobs", "1", "--output", str(tmp_path), *options])

    return start, asked, tmp_path


def test_a_run_goes_on_where_it_was_and_writes_a_page(khan, started, monkeypatch):
    start, asked, folder = started
    options = ("--data", "Digits,Olivetti faces", "--methods", "NMF;NMF, HALS;k-means")
    assert start(*options) == 0
    # two ranks, two methods of two data sets, noise at one rank for one of them; k-means three times, affinities
    assert len(asked) == 8 + 2 + 3 + 3
    path = folder / "cells.jsonl"
    text = (folder / "report.md").read_text()
    assert {"report.md", "params.json", "means.csv", "nmi_fair.png", "face_parts.png"} <= {
        p.name for p in folder.iterdir()
    }
    assert "**A short run**" in text and "nan" not in text and "Plain NMF cannot find the blobs" in text
    monkeypatch.setattr(khan["2025"], "FIGURES", {})  # drawn once is enough
    assert start(*options) == 0 and not asked
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])  # as a kill leaves it
    assert start(*options) == 0 and len(asked) == 1
    rows = [line for line in path.read_text().splitlines() if line.endswith("}")]
    assert len(rows) == len(set(rows)) == 16 and path.read_bytes().endswith(b"\n")
    assert start("--methods", "none") == 0 and not asked
    assert start(*options, "--ranks", "2", "--noise", "0") == 0 and {c["rank"] for c in asked} == {2}


def test_data_that_are_not_there_are_left_out(khan, started, monkeypatch, capsys):
    start, asked, _ = started
    monkeypatch.setattr(khan["2025"], "FIGURES", {})

    def absent(settings):
        raise OSError("COIL-20 is not in the data home.")

    monkeypatch.setitem(khan["_cells"].SETS, "COIL-20", absent)
    assert start("--data", "COIL-20,Digits", "--methods", "NMF", "--noise", "0") == 1
    assert "Left out: COIL-20, " in capsys.readouterr().err and len(asked) == 6
    with pytest.raises(SystemExit):
        start("--methods", "NMFs")
    assert "unknown methods: NMFs; there are NMF; " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        start("--ranks", "two")
    assert "numbers between commas" in capsys.readouterr().err
    assert start("--methods", "none", "--output", str(started[2] / "empty")) == 1


def test_no_cell_starts_after_the_budget_and_what_is_missing_is_told(khan, started, monkeypatch, capsys):
    start, asked, folder = started
    monkeypatch.setattr(khan["2025"], "FIGURES", {})
    clock = iter(range(0, 10_000, 50))  # seconds; one look before the first cell, one at each
    monkeypatch.setattr(khan["2025"].time, "monotonic", lambda: next(clock))
    options = ("--data", "Digits", "--methods", "NMF;k-means", "--noise", "0")
    assert start(*options, "--budget", "2") == 0 and len(asked) == 2
    sentence = "2 of 4 cells are missing (Digits 2); the same command goes on with them."
    assert sentence in capsys.readouterr().err and sentence in (folder / "report.md").read_text()
    monkeypatch.undo()
    assert len(khan["2025"].read(folder / "cells.jsonl", TINY)) == 2


def made_up(khan, nmi, seeds=2, settings=TINY):
    """Make up cells of all data and methods: NMI by method (0.5 where it is not named), plus a trace of the seed."""
    rows = []
    for data in khan["_cells"].SETS:
        for method in khan["_cells"].METHODS:
            for rank in (0,) if method in khan["_cells"].RANKLESS else (5, 10):
                for seed in range(seeds):
                    for sigma in (0.0, 0.4):
                        value = nmi.get(method, 0.5) + 0.001 * seed
                        scores = dict.fromkeys(("nmi", "ari", "purity", "accuracy"), value)
                        rows.append(cell(method, data=data, rank=rank, seed=seed, sigma=sigma) | settings | scores)
        facts = {"median_affinity": 1e-9, "share_with_neighbours": 0.0}
        rows.append(cell("affinity", data=data, rank=0) | settings | facts)
    return pd.DataFrame(rows).assign(cpu_seconds=1.0, iterations=9, error=0.1)


@pytest.mark.parametrize("nmi, expected", [
    ({"Meta-NMF": 0.6, "Meta-NMF, as in the text": 0.6}, ("holds", "holds", "holds")),
    ({"Meta-NMF": 0.6, "NMF, pre-trained": 0.6}, ("holds", "does not hold", "does not hold")),
    ({"Meta-NMF": 0.505}, ("does not hold", "does not hold", "does not hold")),
])  # fmt: skip
def test_equal_budgets_decide(khan, nmi, expected):
    found = khan["_report"].claims_of(khan["_report"].Cells(made_up(khan, nmi)))
    verdicts = {claim.statement: claim.verdict for claim in found}
    starts = ("Meta-NMF clusters better", "That is the effect of the small tasks", "Also better than plain NMF")
    assert tuple(next(v for s, v in verdicts.items() if s.startswith(start)) for start in starts) == expected
    assert verdicts["GNMF uses the geometry of the data"] == "does not hold"
    assert verdicts["Plain NMF cannot find the blobs"] == "does not hold"


def test_a_seed_that_lacks_a_rank_is_left_out(khan):
    frame = made_up(khan, {})
    is_cut = (frame.method == "NMF") & (frame["rank"] == 10) & (frame.seed == 1) & (frame.data == "Digits")
    cells = khan["_report"].Cells(frame[~is_cut])
    assert len(cells.means("Digits", "NMF")) == 1 and len(cells.means("Digits", "Meta-NMF")) == 2
    assert len(cells.means("Digits", "k-means")) == 2 and cells.means("Digits", "NMF, HALS", 0.2).size == 0


def test_the_page_has_published_and_measured(khan, tmp_path):
    settings = TINY | khan["_report"].ROUNDS
    frame = made_up(khan, {"GraphNMF": 0.7}, settings=settings)
    facts = {"date": "today", "machine": "this one", "settings": settings}
    text = khan["_report"].report(frame, facts, ["nmi_thesis.png", "nmi_noise.png"])
    assert "| 0.570 | 0.500 ± 0.001 |" in text and "(nmi_noise.png)" in text and "(face_parts.png)" not in text
    assert "nan" not in text
    table = khan["_report"].tables(frame)["published_and_measured"]
    assert len(table) == 5 * 5 + 2 + 6 + 4 and table.nmi.between(0.5, 0.6).all()
    short = made_up(khan, {"GraphNMF": 0.7})  # fewer rounds than in the thesis: its numbers do not stand beside
    text = khan["_report"].report(short, facts | {"settings": TINY}, [])
    assert "0.570" not in text and "fewer rounds" in text and khan["_report"].tables(short)["means"].nmi.notna().all()
    assert khan["_report"].tables(short)["published_and_measured"].empty
    figures = {name: draw(frame, tmp_path) for name, draw in khan["_drawings"].FIGURES.items()}
    assert figures.pop("face_parts") is None and len(figures) == 3
    for figure in figures.values():
        assert sum(ax.has_data() for ax in figure.axes) >= 3
        plt.close(figure)


def test_the_page_of_the_documentation_is_what_its_script_draws(khan):
    script = khan["_page"]
    top, frame = script.read()
    assert script.PAGE.read_text(encoding="utf-8") == script.page(top, frame)
    assert script.CSV.stat().st_size < 100_000 and not frame.duplicated(list(script.KEYS)).any()
    assert top[0].startswith("Command: `python bench/papers/khan2025.py") and top[1].startswith("Machine: ")


def test_cells_are_stored_with_their_rounds_and_digits_that_matter(khan, tmp_path):
    script = khan["_page"]
    rows = made_up(khan, {"Meta-NMF": 0.123456}, seeds=1).to_dict("records")
    (tmp_path / "cells.csv").write_text("# Command: `x`.\n# Machine: y.\n" + script.stored(rows), encoding="utf-8")
    top, frame = script.read(tmp_path / "cells.csv")
    assert top == ["Command: `x`.", "Machine: y."] and len(frame) == len(rows)
    assert set(frame[frame.method == "Meta-NMF"].nmi) == {0.1235} and set(frame.outer) == {2}
    text = script.page(top, frame)  # of fewer rounds than in the thesis: none of its numbers
    assert "0.570" not in text and "| Meta-NMF |  | 0.123 | 0.123 | 0.123 | 0.123 | 1 |" in text and "nan" not in text
