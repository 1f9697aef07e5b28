"""The redrawn slides: their numbers are tested where the models are, here that the pieces of the report fit."""

import bench_files
import numpy as np
import pytest
import scipy.sparse as sp

from fastnmf.datasets.karate import load_karate_club

pytest.importorskip("matplotlib")
NAMES = ("kim2021", "slides_measures", "slides_models", "slides_style", "plsa", "plsa_em", "machine", "table")
NAMES += ("slides_page", "written", "claims", "published", "starts", "drawings", "runs")
TINY = {
    "seeds": 1, "updates": 5, "iterations": 5, "grid": 3, "splits": 1, "karate_seeds": 2, "topics": 3, "steps": 4,
    "topic_seed": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def modules():
    with bench_files.modules(NAMES, "papers", ".") as found:
        yield found


@pytest.fixture
def few_words(modules, monkeypatch):
    """Put a small corpus in the place of the newsgroups: three topics of ten words."""
    rng = np.random.default_rng(0)
    X = rng.poisson(0.2 + 3 * np.kron(np.eye(3), np.ones((20, 10))))
    names = np.array([f"word{j}" for j in range(30)])
    monkeypatch.setattr(modules["slides_models"], "words", lambda: (sp.csr_matrix(X.astype(float)), names))
    return X


def choices(slides):
    """Return made-up rows of the part that takes longest."""
    return [
        {"noise": noise, "beta": float(beta), "score": 1.0, "deviation": 0.1, "is best": beta == 1}
        for noise, betas in slides.measures.NOISE.items()
        for beta in betas
    ]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_report_has_all_parts(modules, few_words, tmp_path):
    slides = modules["kim2021"]
    found = {name: run(TINY) if name != "choice" else choices(slides) for name, (run, _) in slides.PARTS.items()}
    for name, (_, draw) in slides.PARTS.items():
        slides.write(tmp_path, name, found[name], draw(found[name]))
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
        assert len((tmp_path / f"{name}.csv").read_text().splitlines()) == len(slides.rows_of(found[name])) + 1
    text = slides.report(found, TINY, 1.0)
    assert all(f"({name}.png)" in text for name in found)
    found["topics"] = None
    assert "20 newsgroups is not" in slides.report(found, TINY, 1.0)


def test_the_verdicts_are_computed(modules):
    slides = modules["kim2021"]
    shares = [
        {"measure": name, "over": over, "under": under}
        for name, (over, under) in slides.measures.OVER_AND_UNDER.items()
    ]
    club = {"objective": 95.4773497, "W(9) small": 0.32, "W(9) large": 0.5357, "misplaced": "9"}
    club |= {"S11": 99.6426, "S22": 106.7101, "S12": 1e-9}
    rows = [club | {"model": name} for name in ("symmetric, ones on the diagonal", "tri-symmetric, anchors")]
    weighed = [{"Itakura-Saito": 1.027, "Kullback-Leibler": 1.02}]
    found = {"over_and_under": shares, "karate": rows, "topics": None, "trade_off": weighed}
    lines = slides.compared(found)
    assert len(lines) == 10 and all(one["agrees"] == "yes" for one in lines)
    shares[0]["over"], rows[0]["misplaced"], rows[1]["S12"] = 63.0, "9, 3", 1.0
    weighed[0]["Itakura-Saito"] = 1.04
    assert [one["agrees"] for one in slides.compared(found)].count("NO") == 4


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_likelihood_is_that_of_the_formula(modules, few_words):
    models = modules["slides_models"]
    rng = np.random.default_rng(1)
    A, s, B = rng.random((60, 3)), rng.random(3), rng.random((3, 30))
    want = np.sum(few_words * np.log((A * s) @ B))
    assert models.log_likelihood(sp.csr_matrix(few_words), A, s, B) == pytest.approx(want, rel=1e-12)
    found = models.topics(TINY | {"steps": 200})["summary"]
    for name in ("PLSA", "KL-NMF"):
        known = found[f"{name}, from the factors"]
        assert found[f"{name}, from the divergence"] == pytest.approx(known, rel=1e-12)
    assert found["least cosine of PLSA's topics with those"] > 0.999


def test_the_layout_keeps_the_distances(modules):
    places = modules["slides_models"].positions
    line = sp.diags_array([np.ones(5), np.ones(5)], offsets=[-1, 1]).tocsr()
    found = places(line)
    apart = np.linalg.norm(found[:, None] - found, axis=2)
    np.testing.assert_allclose(apart, abs(np.subtract.outer(range(6), range(6))), atol=1e-3)
    club = load_karate_club().data
    assert places(club).tobytes() == places(club).tobytes()


def test_the_pure_pixels_are_corners(modules):
    models = modules["slides_models"]
    X, spectra, pure = models.scene(0.0)
    assert (X >= 0).all() and all(np.abs(X[pure] - one).sum(axis=1).min() < 1e-12 for one in spectra)
    assert models.corners({"seeds": 2})[0]["all three found"] == 2


def test_the_curves_are_divergences(modules):
    rows = modules["slides_measures"].curves()
    nearest = min(rows, key=lambda row: abs(row["y"] - 1))
    for name in set(rows[0]) - {"y"}:
        assert min(row[name] for row in rows) >= 0 and nearest[name] < 1e-4


def test_the_density_is_that_of_positions_drawn_twice(modules):
    slides = modules["slides_measures"]
    densities = [np.mean(slides.random_sparse(np.random.default_rng(seed)) > 0) for seed in range(5)]
    assert np.mean(densities) == pytest.approx(slides.DENSITY, abs=0.005)


def test_the_page_of_the_tables_is_what_its_script_writes(modules):
    script = modules["slides_page"]
    text = script.PAGE.read_text(encoding="utf-8")
    rows = [*script.MEASURES, *script.MODELS, *script.MORE]
    values = [float(line.split(" | ")[-1].rstrip(" |")) for line in text.splitlines() if line.endswith(" |") and
              "`" in line.split("|")[4:5][0]]  # fmt: skip
    machine = " ".join(text.split("\n\n")[2].split()).removesuffix(".")
    assert text == script.page(values, machine, script.compared(text)) and len(script.MODELS) == 21
    assert len({row[0] for row in rows}) == len(rows) == len(values) and all(0 < value < 1 for value in values)
    names = script.known()
    for name in ("NMF", "orthogonal NMF", "separable NMF", "kernel NMF", "graph NMF"):
        place = next(i for i, row in enumerate(rows) if row[0] == name)
        assert script.measured(rows[place][2], names) == pytest.approx(values[place], abs=2e-3), name
