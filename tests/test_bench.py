"""The opponents in the benchmarks are right, and so is the synthetic text: else no ratio means anything."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import oracle_data
import oracles
import pytest
from scipy import sparse

from fastnmf import NMF, GraphNMF, MetaNMF, StratifiedNMF
from fastnmf.data.graphs import neighbour_graph

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


def test_every_part_of_a_fit_is_timed_once(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    where = load("where_time_goes")
    X = sparse.random_array((600, 300), density=0.05, rng=np.random.default_rng(0), format="csr")
    model = StratifiedNMF(2, init="multilevel", max_iter=2, tol=0, random_state=0)
    whole, parts = where.parts_of(model, X, {"strata": np.arange(600) % 3}, 1)
    parts_of_level = {name.removeprefix(where.LEVEL) for name in parts if name.startswith(where.LEVEL)}
    assert {*parts, *parts_of_level} >= {*where.PARTS.values(), where.REST}
    assert {"iterations", "start", "coarse data", "hand-over"} <= parts_of_level and "iterations" in parts
    assert min(parts.values()) >= 0 and sum(parts.values()) == pytest.approx(whole)


def test_zipf_text_has_long_tail_and_unit_rows():
    X, labels, start = load("data").zipf_text(400, 3000, 20_000, 7, seed=1)
    assert X.shape == (400, 3000)
    assert 0.7 * 20_000 < X.nnz <= 21_000
    assert X.indices.dtype == X.indptr.dtype == np.int32
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


def test_contestants_run_once_a_round_in_changing_order():
    interleave, order = load("interleave"), []
    found = {name: lambda name=name: order.append(name) or float(len(order)) for name in "abc"}
    samples = interleave.measure(found, 8, pause=0)
    rounds = [order[i : i + 3] for i in range(0, 24, 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len({tuple(names) for names in rounds}) > 2
    assert samples["b"] == [1.0 + i for i, name in enumerate(order) if name == "b"]


def test_ratios_are_formed_within_a_round():
    interleave = load("interleave")
    assert interleave.fastest([3.0, 8.0], [4.0, 6.0]) == [3.0, 6.0]
    assert interleave.ratios([3.0, 8.0], [1.0, 4.0]) == [3.0, 2.0]
    assert interleave.spread([3.0, 1.0, 2.0]) == "2.0 (1.0-3.0)"
    history = {"iteration": np.arange(6), "seconds": np.array([0, 9.0, 10.0, 12.0, 13.0, 90.0])}
    assert interleave.per_iteration(history) == pytest.approx(4 / 3)
    assert interleave.first_at_or_under([3, 2, 1, 0], 2) == 1
    assert interleave.first_at_or_under([3, 2], 1) is None


def test_divergence_of_the_peers_is_that_of_the_oracle():
    rng = np.random.default_rng(0)
    X = rng.random((7, 5)) * (rng.random((7, 5)) < 0.5)
    W, H = rng.random((7, 2)), rng.random((2, 5))
    found = load("peers/checks").divergence(sparse.csr_array(X), W, H)
    assert found == pytest.approx(oracles.kullback_leibler(X, W @ H), rel=1e-12)


def test_fewest_iterations():
    fewest = load("peers/checks").fewest_iterations
    assert fewest(lambda n: 1 / n, 0.25, first=2) == (4, 0.25)
    assert fewest(lambda n: 1.0, 0.5, last=3) == (None, None)


def stored_run(medians, brand="a processor"):
    """Give the part of a pytest-benchmark report that is compared."""
    return {
        "datetime": str(medians),
        "machine_info": {"cpu": {"brand_raw": brand, "count": 2}, "system": "Linux", "python_version": "3"},
        "benchmarks": [
            {
                "fullname": f"bench/kernels/{name}", "stats": {"median": median},
                "extra_info": {"baseline": "scipy"} if name == "scipy" else {},
            }
            for name, median in medians.items()
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("newest", "status", "expected"),
    [
        (stored_run({"gram": 1.2, "dot": 0.9, "scipy": 2.0}), 0, "2 kernels compared, 0 too slow"),
        (stored_run({"gram": 1.3, "dot": 0.9, "scipy": 2.0}), 1, "kernels/gram: 1.30 times"),
        (stored_run({"gram": 1.0}, brand="another"), 2, "another machine: processor"),
        (stored_run({"new": 1.0}), 2, "share no benchmark"),
        (None, 2, "no stored run"),
    ],
)
def test_compare_fails_on_slower_kernels_of_the_same_machine(tmp_path, capsys, newest, status, expected):
    compare = load("compare")
    if newest is not None:
        (tmp_path / "Linux").mkdir()
        path = tmp_path / "Linux" / "0001_run.json"
        path.write_text(json.dumps(stored_run({"gram": 1.0, "dot": 1.0, "scipy": 1.0})))
        assert compare.main(["--storage", str(tmp_path)]) == 2
        assert "no baseline" in capsys.readouterr().out
        assert compare.main(["--storage", str(tmp_path), "--store"]) == 0
        path.write_text(json.dumps(newest))
    assert compare.main(["--storage", str(tmp_path)]) == status
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize("is_published", [False, True])
@pytest.mark.parametrize("has_graph", [False, True])
def test_meta_loop_is_meta_nmf(is_published, has_graph):
    X = np.random.default_rng(0).random((150, 9)) + 0.1
    estimator = GraphNMF(3, solver="mu", graph_weight=1.0) if has_graph else NMF(3, solver="mu")
    options = {"task_size": 100, "n_outer": 2, "n_inner": 5, "accumulate": True, "disjoint": False, "random_state": 0}
    model = MetaNMF(estimator, **options).fit(X)

    def graphs(rows):
        affinity = neighbour_graph(rows, 5)[0]
        return affinity, np.asarray(affinity.sum(axis=1)).reshape(-1, 1)

    found = load("meta_loop").numpy_meta(X, 3, 2, 5, graphs if has_graph else None, is_published)
    assert model.history_["normalized_loss"][-1] ** 2 * np.square(X).sum() == pytest.approx(found, rel=1e-8)


def test_scaling_measures_an_iteration_and_a_fit(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    scaling = load("scaling")
    monkeypatch.setattr(scaling, "N_WORDS", 200)
    nnz, an_iteration, seconds, n_iter, taken = scaling.measure(300, 5, 2)
    assert 500 < nnz <= 1600 and 0 < an_iteration < seconds and n_iter > 1 and taken >= 0
