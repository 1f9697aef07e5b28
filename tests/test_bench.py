"""The opponents in the benchmarks are right, and so is the synthetic text: else no ratio means anything."""

import importlib.util
from pathlib import Path

import numpy as np
import oracle_data
import oracles
import pytest
from scipy import sparse

BENCH = Path(__file__).resolve().parent.parent / "bench"


def load(name):
    """Load one file of bench/ without putting the folder on the path."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def expected():
    """Give tiny blocks, a start, and the oracle's factors after 100 iterations in either order."""
    blocks = oracle_data.tiny()
    start = oracles.random_start(blocks, 3, 0)
    orders = ("sequential", "simultaneous")
    return blocks, start, {order: oracles.losses(blocks, start, 100, order=order)[1] for order in orders}


@pytest.mark.parametrize("order", ["sequential", "simultaneous"])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_paper_loop_is_algorithm_1(expected, order, is_sparse):
    blocks, start, results = expected
    A = [sparse.csr_array(a) for a in blocks] if is_sparse else blocks
    V, W, H = load("paper_loop").paper_loop(A, *start, 100, order)
    for ours, theirs in zip((V, np.vstack(W), H), results[order], strict=True):
        np.testing.assert_allclose(ours, np.vstack(theirs), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("order", ["sequential", "simultaneous"])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_stacked_loop_is_algorithm_1(expected, order, is_sparse):
    blocks, (V, W, H), results = expected
    X = np.vstack(blocks)
    start = np.concatenate([[0], np.cumsum([len(a) for a in blocks])])
    found = load("stacked_loop").stacked_loop(
        sparse.csr_array(X) if is_sparse else X, start, V, np.vstack(W), H, 100, order
    )
    for ours, theirs in zip(found, results[order], strict=True):
        np.testing.assert_allclose(ours, np.vstack(theirs), rtol=1e-9, atol=1e-13)


def test_zipf_text_has_long_tail_and_unit_rows():
    X, labels, start = load("data").zipf_text(400, 3000, 20_000, 7, seed=1)
    assert X.shape == (400, 3000)
    assert 0.7 * 20_000 < X.nnz <= 21_000
    assert start[0] == 0 and start[-1] == 400
    assert np.array_equal(np.diff(start), np.bincount(labels)) and np.all(np.diff(labels) >= 0)
    norms = np.sqrt(X.multiply(X).sum(axis=1))
    assert np.all(np.isclose(norms, 1) | (norms == 0))
    counts = np.sort(np.bincount(X.indices, minlength=3000))[::-1]
    # frequencies fall like 1 / (10 + rank): the hundred commonest words take about two fifths of all entries
    assert 0.3 < counts[:100].sum() / X.nnz < 0.6


def test_table_divides_by_iterations_and_compares_within_a_dtype():
    stats = {"rounds": 3}
    report = {
        "benchmarks": [
            {
                "group": "g", "name": "bench_old", "stats": {"median": 0.6, **stats},
                "extra_info": {"baseline": "paper", "iterations": 3},
            },
            {
                "group": "g", "name": "bench_new", "stats": {"median": 0.5, **stats},
                "extra_info": {"iterations": 10},
            },
        ]
    }  # fmt: skip
    [(title, table)] = load("table").tables(report)
    assert title == "g"
    assert table.splitlines() == [
        "|     | median ms | rounds | paper / it |",
        "|-----|----------:|-------:|-----------:|",
        "| old |   200.000 |      3 |       1.00 |",
        "| new |    50.000 |      3 |       4.00 |",
    ]
