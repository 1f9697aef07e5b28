"""The redrawn slides: their numbers are tested where the models are, here that the pieces of the report fit."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
FILE = Path(__file__).resolve().parent.parent / "bench" / "papers" / "kim2021.py"


@pytest.fixture(scope="module")
def slides():
    spec = importlib.util.spec_from_file_location("kim2021", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_report_has_all_parts(slides, tmp_path):
    options = {"seeds": 1, "updates": 5, "iterations": 5, "grid": 3, "splits": 1}
    tables = {
        "curves": slides.curves(),
        "over_and_under": slides.over_and_under(options),
        "trade_off": slides.trade_off(options),
        "choice": [
            {"noise": noise, "beta": float(beta), "score": 1.0, "deviation": 0.1, "is best": beta == 1}
            for noise, betas in slides.NOISE.items()
            for beta in betas
        ],
    }
    for name, (_, draw) in slides.PARTS.items():
        slides.write(tmp_path, name, tables[name], draw(tables[name]))
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
        assert len((tmp_path / f"{name}.csv").read_text().splitlines()) == len(tables[name]) + 1
    text = slides.report(tables, options, 1.0)
    assert all(f"({name}.png)" in text for name in tables)


def test_the_curves_are_divergences(slides):
    rows = slides.curves()
    nearest = min(rows, key=lambda row: abs(row["y"] - 1))
    for name in set(rows[0]) - {"y"}:
        assert min(row[name] for row in rows) >= 0 and nearest[name] < 1e-4


def test_the_density_is_that_of_positions_drawn_twice(slides):
    densities = [np.mean(slides.random_sparse(np.random.default_rng(seed)) > 0) for seed in range(5)]
    assert np.mean(densities) == pytest.approx(slides.DENSITY, abs=0.005)
