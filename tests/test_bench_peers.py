"""What the benchmarks of whole fits say is so: losses are those of the factors, and every program has its turn."""

import json
from pathlib import Path
from types import SimpleNamespace

import bench_files
import numpy as np
import oracles
import pytest
from scipy import sparse

NAMES = ("checks", "contest", "data", "ends", "interleave", "machine", "paper_loop", "report", "table", "worker")


@pytest.fixture(scope="module")
def peers():
    with bench_files.modules(NAMES, "peers", ".") as found:
        yield SimpleNamespace(**found)


@pytest.fixture(scope="module")
def text():
    """Give sparse data, 40 x 12, and sorted labels."""
    rng = np.random.default_rng(0)
    return sparse.csr_array(rng.random((40, 12)) * (rng.random((40, 12)) < 0.5)), np.repeat([0, 1, 2], [10, 20, 10])


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("has_shifts", [False, True])
def test_relative_error_is_that_of_the_factors(peers, text, is_sparse, has_shifts):
    X, labels = text
    rng = np.random.default_rng(1)
    W, H, V = rng.random((40, 2)), rng.random((2, 12)), rng.random((3, 12))
    model = W @ H + (V[labels] if has_shifts else 0)
    expected = np.sqrt(np.square(X.toarray() - model).sum() / np.square(X.toarray()).sum())
    of_shifts = (V, labels) if has_shifts else ()
    assert peers.checks.relative_error(X if is_sparse else X.toarray(), W, H, *of_shifts) == pytest.approx(expected)


@pytest.fixture
def ask(peers, text, tmp_path):
    """Give a function that answers a request in this process."""
    with peers.contest.Contest({"text": text}) as contest:

        def answered(library, options, **more):
            request = {"model": "NMF", "dtype": "float64", "threads": 1, "do": "fit", "rows": None, "calls": 1}
            request |= {"facts": True, "data": "text", "options": options} | more
            found = peers.worker.answer(json.loads(json.dumps(request)), library, Path(contest.temporary.name))
            return json.loads(json.dumps(found))

        yield answered


def test_every_program_answers_with_the_loss_of_its_factors(peers, text, ask):
    from sklearn.decomposition import NMF as SklearnNMF

    from fastnmf import NMF, StratifiedNMF

    X, labels = text
    options = {"n_components": 2, "max_iter": 7, "random_state": 0, "init": "random"}
    model = NMF(**options, tol=0).fit(X)
    found = ask("fastnmf", options | {"tol": 0})
    assert found["loss"] == pytest.approx(model.normalized_loss_) and found["iterations"] == 7 and found["seconds"] > 0
    assert found["bits"] == peers.worker.bits_of(model.W_, model.components_)
    theirs = SklearnNMF(**options, tol=0)
    W = theirs.fit_transform(X)
    error = np.linalg.norm(X - W @ theirs.components_) / sparse.linalg.norm(X)
    assert ask("sklearn", options | {"tol": 0})["loss"] == pytest.approx(error)
    stratified = StratifiedNMF(**options, tol=0).fit(X, strata=labels)
    found = ask("fastnmf", options | {"tol": 0}, model="StratifiedNMF")
    assert found["loss"] == pytest.approx(stratified.normalized_loss_)
    found = ask("fastnmf", options | peers.contest.KULLBACK_LEIBLER)
    model = NMF(**options, **peers.contest.KULLBACK_LEIBLER).fit(X)
    assert found["loss"] == pytest.approx(oracles.kullback_leibler(X.toarray(), model.W_ @ model.components_))
    few = {"n_components": 2, "max_iter": 2}
    assert ask("sklearn", few, model="paper loop", facts=False)["seconds"] > 0
    for do, model in (("transform", "NMF"), ("partial_fit", "MiniBatchNMF")):
        found = [
            ask(lib, {"n_components": 2}, model=model, do=do, rows=1, facts=False) for lib in ("fastnmf", "sklearn")
        ]
        assert all(each["seconds"] < 1 for each in found)


def test_the_fewest_iterations_are_found_by_whole_fits_and_by_the_curve(peers, text, ask):
    contest = peers.contest.Contest({"text": text})
    contest.ask = lambda who, data, options, **more: ask("fastnmf", options, **more)
    options = {"n_components": 2, "random_state": 0} | peers.contest.KULLBACK_LEIBLER
    losses = [ask("fastnmf", options | {"max_iter": n, "tol": 0})["loss"] for n in range(1, 8)]
    assert sorted(losses, reverse=True) == losses
    for find in (contest.fewest, contest.fewest_by_curve):
        n, facts = find("this", "text", options, losses[4], last=20)
        assert n == 5 and facts["loss"] == losses[4]
        assert contest.fewest("this", "text", options, losses[4], first=7)[0] == 5
        assert find("this", "text", options, 0.5 * losses[-1], last=7) == (None, None)


def test_slow_contestants_take_turns_by_seed(peers):
    contest, asked = peers.contest.Contest({}, pause=0), []
    contest.ask = lambda name: asked.append(name) or {"seconds": float(len(asked)), "loss": 1.0}
    runs = {(who, seed): ((who + str(seed),), {}) for who in "ab" for seed in (0, 1)}
    samples = contest.take_turns_by_seed(runs, 3, "turns")
    assert [sorted(asked[i : i + 2]) for i in (0, 2, 4)] == [["a0", "b0"], ["a1", "b1"], ["a0", "b0"]]
    assert {name: len(each) for name, each in samples.items()} == {("a", 0): 2, ("b", 0): 2, ("a", 1): 1, ("b", 1): 1}
    assert set(contest.facts) == set(runs)


def test_bits_are_those_of_all_factors(peers, text):
    bits, X = peers.worker.bits_of, text[0]
    assert (
        bits(np.ones(2), X, None) == bits(np.ones(2), X.copy()) != bits(np.ones(2), 2 * X) != bits(np.zeros(2), 2 * X)
    )


def test_a_section_runs_in_a_process_of_its_own(peers, text, tmp_path, capfd):
    class SeedsOfThreads(peers.contest.Contest):
        """Two threads of float32 begin elsewhere, so that these bits differ."""

        def ask(self, who, data, options, **more):
            seed = more["threads"] if more["dtype"] == "float32" else 0
            return super().ask(who, data, options | {"random_state": seed, "init": "features"}, **more)

    report = peers.report.Report(tmp_path, {}, "# Title")
    X, labels = text
    setting = SimpleNamespace(X=X, labels=labels, is_quick=True, contest=lambda d: SeedsOfThreads(d, pause=0))
    peers.ends.bits(setting, report)
    report.end()
    report.close()
    content = json.loads((tmp_path / "results.json").read_text())
    assert [row[1:] for row in content["targets"]] == [["<= 0 ", "1 ", "MISSED"]]
    written = (tmp_path / "results.md").read_text()
    assert written.count("same |") == written.count("DIFFER |") == 1
