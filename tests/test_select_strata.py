"""Which model the groups need: planted kinds are found, what is held out is held out, and refusals say why."""

import warnings

import numpy as np
import oracles_ensemble
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.optimize import nnls
from sklearn.base import clone

from fastnmf import NMF, AffineNMF, StratifiedNMF, select_strata
from fastnmf.selection.held_out import REACH, Entries, RowsColumns
from fastnmf.selection.parallel_fits import ParallelFits
from fastnmf.selection.separate import SeparateFits, SeparateNMF
from fastnmf.selection.strata import RUNGS

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
SHORT = StratifiedNMF(max_iter=30, tol=0, init="features")


def planted(kind, seed=0, sizes=(24, 20, 16), n_columns=36, rank=2, noise=0.2):
    """Return data with half-normal factors, with shifts and components of strata or without, and the strata."""
    rng = np.random.default_rng(seed)
    strata = np.repeat(["a", "b", "c"], sizes)
    W, H = np.abs(rng.standard_normal((len(strata), rank))), np.abs(rng.standard_normal((rank, n_columns)))
    V = 2 * rng.random((3, n_columns))
    shifts = {"none": 0 * V, "common": V[[0, 0, 0]]}.get(kind, V)
    Y = W @ H + np.repeat(shifts, sizes, axis=0)
    if kind == "low_rank":
        Y += np.abs(rng.standard_normal((len(strata), 1))) * np.repeat(2 * V[::-1] ** 2, sizes, axis=0)
    X = Y + noise * rng.standard_normal((len(strata), n_columns))
    return np.maximum(X, 0), strata


@pytest.fixture(scope="module")
def found():
    X, strata = planted("strata")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return select_strata(X, strata, (1, 2), n_folds=3, n_init=2, random_state=0, rungs=PLAIN)


PLAIN = ("none", "common", "strata", "own")


@pytest.mark.parametrize("kind", ["none", "common"])
def test_what_is_planted_is_found(kind):
    X, strata = planted(kind)
    found = select_strata(X, strata, 2, n_folds=3, rungs=PLAIN[:3], random_state=0)
    assert found.best_1se.rung == kind and found.best_1se.n_components == 2


def test_the_table_follows_from_the_splits(found):
    assert found.best.rung == found.best_1se.rung == "strata" and found.best_1se.n_components == 2
    tried = [(row.rung, row.n_components) for row in found.table]
    assert tried == [("none", 1), ("none", 2), ("none", 4), ("none", 5)] + [
        (rung, k) for rung in ("common", "strata", "own") for k in (1, 2)
    ]
    splits = found.held_out_splits
    best = min(range(len(tried)), key=lambda at: splits[at].mean())
    for row, losses in zip(found.table, splits, strict=True):
        paired = losses - splits[best]
        assert row.held_out == pytest.approx(losses.mean()) and row.excess == pytest.approx(paired.mean())
        assert row.excess_se == pytest.approx(paired.std(ddof=1) / np.sqrt(3)) and 0 < row.train < row.held_out
        n, m, k = 60, 36, row.n_components
        expected = {"none": k * (n + m), "common": k * (n + m) + m, "strata": k * (n + m) + 3 * m}
        assert row.parameters == (expected | {"own": k * n + 3 * k * m})[row.rung]
    frame = found.to_frame()
    assert list(frame.columns[:5]) == ["rung", "n_components", "n_own", "own_penalty", "parameters"]
    assert frame.shape == (10, 11) and frame.held_out.idxmin() == best
    assert isinstance(found.estimator, StratifiedNMF) and found.estimator.n_components == 2
    assert found.estimator.tol == StratifiedNMF().tol  # the short fits of the comparison are not for the user


def test_the_verdict_is_a_sentence_and_the_table_is_printed(found):
    assert found.verdict.startswith("A shift for each of the 3 strata, with 2 components, predicts held-out data best")
    assert "standard errors" in found.verdict and found.verdict.endswith(".")
    lines = repr(found).splitlines()
    assert [line.split()[0] for line in lines[1:5]] == list(PLAIN) and lines[3].endswith("<- least, one standard error")
    assert lines[-1] == f"Which model? {found.verdict}" and "rows_columns, 3 folds" in lines[5]


def test_the_simplest_within_a_paired_standard_error_is_chosen():
    X, strata = planted("none", noise=1.0)
    found = select_strata(X, strata, (1, 2), n_folds=3, rungs=("none", "strata"), random_state=1)
    near = [row for row in found.table if row.excess <= row.excess_se]
    assert found.best_1se.rung == near[0].rung
    rung = [row for row in near if row.rung == near[0].rung]
    assert found.best_1se.parameters == min(row.parameters for row in rung)
    rows = {line.split()[0]: line for line in repr(found).splitlines()[1:] if line.endswith("one standard error")}
    assert list(rows) == [found.best_1se.rung] and f"{found.best_1se.held_out:.5f}" in rows[found.best_1se.rung]


def test_nothing_depends_on_the_run_or_on_other_candidates(found):
    X, strata = planted("strata")
    options = {"n_folds": 3, "n_init": 2, "random_state": 0}
    again = select_strata(sp.csr_array(X), strata, (1, 2), rungs=PLAIN, n_jobs=2, **options)
    np.testing.assert_allclose(again.held_out_splits, found.held_out_splits, rtol=1e-8)
    alone = select_strata(X, strata, 2, rungs=["own"], n_own=2, n_jobs=2, **options)
    assert (alone.held_out_splits == found.held_out_splits[-1]).all()
    assert isinstance(alone.estimator, NMF) and alone.estimator.n_init == 2


@pytest.mark.parametrize("as_sparse", [False, True], ids=["dense", "sparse"])
def test_separate_models_are_measured_as_by_plain_loops(as_sparse):
    X, strata = planted("strata")
    given = sp.csr_array(X) if as_sparse else X
    setting = SeparateFits(given, strata, NMF(max_iter=20, tol=0, init="features"), None)
    held = RowsColumns(setting, 3, np.random.default_rng(0))
    _, (error, train) = held.measure(setting, 2, 1, 7)
    lost = total = left = norm = 0.0
    for label in "abc":
        here, is_out = strata == label, held.fold == 1
        fit = ParallelFits(X, None, setting.estimator, None).make(2, 7).fit(X[here & ~is_out])
        rows = X[here & is_out]
        one = oracles_ensemble.held_out_rows(rows, 0 * rows, fit.components_, held.part[1])
        lost, total = lost + one**2 * np.sum(rows**2), total + np.sum(rows**2)
        left, norm = left + fit.reconstruction_err_**2, norm + np.sum(X[here & ~is_out] ** 2)
    assert error == pytest.approx(np.sqrt(lost / total), rel=1e-7)
    assert train == pytest.approx(np.sqrt(left / norm), rel=1e-7)


@pytest.mark.parametrize(
    "own", [{"n_own": {"a": 2, "c": 1}}, {"own": "tied", "shifts": False}], ids=["low rank", "tied"]
)
def test_own_components_join_the_inference_of_held_out_rows(own):
    X, strata = planted("low_rank", sizes=(14, 12, 10), n_columns=15)
    penalty = 0.3
    setting = ParallelFits(sp.csr_array(X), strata, clone(SHORT).set_params(own_penalty=penalty, **own), None)
    held = RowsColumns(setting, 3, np.random.default_rng(0))
    _, (error, train) = held.measure(setting, 2, 1, 7)
    is_out, part = held.fold == 1, held.part[1]
    fit = setting.make(2, 7).fit(X[~is_out], strata=strata[~is_out])
    lost = total = 0.0
    for x, label in zip(X[is_out], strata[is_out], strict=True):
        G, v = fit.own_components_[label], fit.shifts_[fit.strata_.tolist().index(label)]
        is_tied = "own" in own
        H = fit.components_ + G if is_tied else np.concatenate([fit.components_, G])
        punished = G if is_tied else np.concatenate([0 * fit.components_, G])
        for left in range(3):
            seen, scored = part != left, part == left
            columns = np.concatenate([H[:, seen], np.sqrt(penalty) * punished[:, seen]], axis=1)
            w, _ = nnls(columns.T, np.concatenate([(x - v)[seen], np.zeros(seen.sum())]))
            y = np.minimum(v + w @ H, REACH * X[~is_out].max(axis=0))
            lost, total = lost + np.sum((x - y)[scored] ** 2), total + np.sum(x[scored] ** 2)
    assert error == pytest.approx(np.sqrt(lost / total), rel=1e-6) and train == pytest.approx(fit.normalized_loss_)


def test_own_components_are_found():
    X, strata = planted("low_rank", n_columns=40)
    options = {"n_own": 1, "n_folds": 3, "n_init": 1, "random_state": 0, "estimator": SHORT}
    found = select_strata(X, strata, 2, rungs=("strata", "low_rank", "factors"), own_penalty=0.1, **options)
    chosen = found.best_1se
    assert (chosen.rung, chosen.n_own, chosen.own_penalty) == ("low_rank", 1, 0.1)
    assert [row.parameters for row in found.table] == [2 * 100 + 3 * 40, 3 * 60 + (2 + 3 + 3) * 40, 2 * 60 + 8 * 40]
    assert "A shift and 1 own component for each of the 3 strata, with 2 shared components" in found.verdict
    fitted = found.estimator.set_params(max_iter=3, tol=0, n_init=1).fit(X, strata=strata)
    assert [len(own) for own in fitted.own_components_.values()] == [1, 1, 1] and fitted.own_penalty == 0.1


def test_rungs_that_cannot_be_told_apart_are_named():
    X, strata = planted("none")
    X[20:] = X[20:, ::-1]
    found = select_strata(X, strata, 2, rungs=("factors", "own"), n_own=1, n_folds=2, n_init=1, random_state=0)
    assert found.best_1se.rung in ("factors", "own")
    assert found.verdict.endswith(
        "factors with own_penalty=0 is the same model as own, so data cannot tell these two apart."
    )


def test_entries_of_separate_models_are_measured_as_by_plain_loops():
    X, strata = planted("strata", n_columns=12)
    setting = SeparateFits(X, strata, NMF(max_iter=20, tol=0, init="features"), None)
    held = Entries(setting, 3, np.random.default_rng(0))
    _, (error, _) = held.measure(setting, 2, 1, 7)
    is_out, Y = held.fold == 1, np.zeros_like(X)
    for label in "abc":
        here = strata == label
        fit = ParallelFits(X, None, setting.estimator, None).make(2, 7).fit(X[here], weight=~is_out[here])
        Y[here] = fit.W_ @ fit.components_
    assert error == pytest.approx(oracles_ensemble.held_out_entries(X, Y, is_out, ~is_out, REACH), rel=1e-9)


def test_the_loss_of_separate_models_does_not_depend_on_the_scale():
    X, strata = planted("strata", n_columns=12)
    fits = [SeparateNMF(NMF(2, max_iter=5, tol=0, random_state=0)).fit(s * X, strata=strata) for s in (1.0, 2.0**700)]
    assert fits[1].normalized_loss_ == pytest.approx(fits[0].normalized_loss_, rel=1e-9)


def test_few_features_hold_out_entries_and_say_so():
    X, strata = planted("strata", n_columns=10)
    found = select_strata(X, strata, 1, n_folds=2, rungs=("none", "common", "own"), estimator=SHORT, random_state=0)
    assert found.method == "entries" and found.notes == [
        "Entries are held out because 10 features are too few to find weights."
    ]
    assert found.notes[0] in repr(found)
    with pytest.raises(ValueError, match="has 'low_rank', which cannot be compared: their fits need all entries"):
        select_strata(X, strata, 1, rungs=("none", "low_rank"))
    known = sp.csr_array(X * (np.random.default_rng(0).random(X.shape) < 0.8))
    rated = select_strata(
        known,
        strata,
        1,
        n_folds=2,
        rungs=("common", "own"),
        random_state=0,
        estimator=StratifiedNMF(missing_values="zeros", max_iter=5, tol=0),
    )
    assert rated.method == "entries" and (rated.held_out_splits < 1).all()


def test_counts_are_compared_by_their_divergence():
    X, strata = planted("common")
    X = np.random.default_rng(0).poisson(3 * X)
    few = {"n_own": 1, "own_penalty": 0.1, "n_init": 1, "n_folds": 2, "random_state": 0}
    found = select_strata(X, strata, 2, beta_loss="kullback-leibler", **few)
    assert [row.rung for row in found.best_of_rungs()] == list(RUNGS) and not found.notes
    assert found.best_1se.rung == "common" and found.estimator.beta_loss == "kullback-leibler"
    assert isinstance(found.estimator, StratifiedNMF)  # an AffineNMF has the squared error only
    separate = found.table[-1]
    assert separate.rung == "own" and found.best.held_out < separate.held_out < 3 * found.best.held_out


def test_the_estimator_of_one_shift_takes_no_strata():
    X, strata = planted("common")
    found = select_strata(X, strata, 2, n_folds=2, rungs=["common"], random_state=0)
    assert isinstance(found.estimator, AffineNMF) and found.estimator.fit(X).components_.shape == (2, 36)
    given = select_strata(X, strata, 2, n_folds=2, rungs=["strata"], estimator=SHORT, random_state=0)
    assert given.estimator.max_iter == 30


def test_strata_are_columns_of_tables():
    X, strata = planted("strata", n_columns=32)
    frame = pd.DataFrame(X, columns=[f"g{j}" for j in range(32)])
    options = {"n_components": 1, "n_folds": 2, "rungs": ["strata"], "random_state": 0, "estimator": SHORT}
    losses = [select_strata(frame.assign(clinic=strata), "clinic", **options).held_out_splits]
    anndata = pytest.importorskip("anndata")
    cells = anndata.AnnData(frame, obs=pd.DataFrame({"clinic": strata}, index=frame.index.astype(str)))
    losses.append(select_strata(cells, "clinic", **options).held_out_splits)
    assert (losses[0] == losses[1]).all()


X, LABELS = planted("strata")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"strata": ["a"] * 60}, "single label 'a'; select_strata compares"),
        ({"strata": None}, "was given no strata"),
        ({"strata": np.arange(60)}, "too few for method='rows_columns'"),
        ({"n_components": 0}, "n_components=0 is not valid; expected an integer >= 1, or several"),
        ({"n_components": []}, "n_components="),
        ({"n_own": "2"}, "n_own='2'"),
        ({"own_penalty": -1}, "own_penalty=-1"),
        ({"rungs": ["shift"]}, r"rungs=\['shift'\] is not valid; expected some of 'none'"),
        ({"rungs": "none"}, "rungs='none'"),
        ({"estimator": NMF()}, "expected a StratifiedNMF"),
        ({"estimator": StratifiedNMF(label_weight=1.0)}, "label_weight=0"),
        ({"estimator": StratifiedNMF(seed_features=[[1]])}, "without seed_features"),
        ({"estimator": StratifiedNMF(solver="mu", beta_loss=1.5)}, "'frobenius' and 'kullback-leibler' only"),
        ({"estimator": StratifiedNMF(n_own=1)}, "sets n_own, own and shifts itself"),
        (
            {"estimator": StratifiedNMF(alpha_W=1.0), "rungs": ["factors"]},
            "'factors', which cannot be compared: alpha_W=",
        ),
        ({"beta_loss": 1.5}, "beta_loss=1.5"),
        ({"method": "rows"}, "method='rows'"),
        ({"method": "entries", "beta_loss": "kullback-leibler"}, "method='entries' needs beta_loss='frobenius'"),
        ({"n_folds": 1}, "n_folds=1"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(change, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        select_strata(**{"X": X, "strata": LABELS} | change)
