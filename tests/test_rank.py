"""Choosing the rank: planted ranks are found, what is held out is held out, and nothing depends on how it is run."""

import warnings
from types import SimpleNamespace

import numpy as np
import oracles
import oracles_ensemble
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from fastnmf import NMF, StratifiedNMF, select_rank
from fastnmf.selection.held_out import REACH, Entries, RowsColumns, restrict_columns
from fastnmf.selection.parallel_fits import ParallelFits
from fastnmf.selection.rank import _cosines_of_pairs, match_components

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
FAST = StratifiedNMF(max_iter=20, tol=0)
FLOOR = np.finfo(np.float32).eps  # least value of a model where data are positive
PLAIN = NMF(max_iter=20, tol=0)


def planted(seed=0, sizes=(20, 16, 14), n_columns=18, rank=3, noise=0.2, has_shifts=True):
    """Half-normal factors, whose components stand out of the noise (uniform ones are nearly in the shifts' span)."""
    rng = np.random.default_rng(seed)
    strata = np.repeat([f"s{i}" for i in range(len(sizes))], sizes)
    W, H = np.abs(rng.standard_normal((len(strata), rank))), np.abs(rng.standard_normal((rank, n_columns)))
    V = has_shifts * (rng.random((len(sizes), n_columns)) + np.arange(len(sizes))[:, None])
    X = W @ H + np.repeat(V, sizes, axis=0) + noise * rng.standard_normal((len(strata), n_columns))
    return np.maximum(X, 0), strata


def holed(X, share=0.5, seed=0):
    return X * (np.random.default_rng(seed).random(X.shape) < share)


@pytest.mark.parametrize("method", ["entries", "rows_columns"])
@pytest.mark.parametrize("has_shifts", [True, False], ids=["stratified", "nmf"])
def test_a_planted_rank_is_found(method, has_shifts):
    X, strata = planted(has_shifts=has_shifts)
    estimator = StratifiedNMF(max_iter=60) if has_shifts else NMF(max_iter=60)
    options = {"estimator": estimator, "method": method, "n_folds": 4, "n_restarts": 0, "random_state": 0}
    found = select_rank(X, strata, range(2, 6), **options)
    assert found.best_rank == found.rank_1se == 3
    assert (np.diff(found.train) < 0).all()  # what was seen always fits better with more
    assert found.held_out[-1] > found.held_out[1] > found.train[1]


def test_choices_follow_from_the_splits():
    X, strata = planted()
    found = select_rank(X, strata, [4, 2, 1, 2], estimator=FAST, n_folds=3, n_repeats=2, n_restarts=2, random_state=0)
    assert found.ranks.tolist() == [1, 2, 4] and found.held_out_splits.shape == (3, 6)
    for i in range(3):
        losses = found.held_out_splits[i].tolist()
        mean = sum(losses) / 6
        assert found.held_out[i] == pytest.approx(mean)
        spread = np.sqrt(sum((loss - mean) ** 2 for loss in losses) / 5)
        assert found.held_out_se[i] == pytest.approx(spread / np.sqrt(3))
    least = min(range(3), key=lambda i: found.held_out[i])
    near = [i for i in range(3) if found.held_out[i] <= found.held_out[least] + found.held_out_se[least]]
    assert (found.best_rank, found.rank_1se) == (found.ranks[least], found.ranks[near[0]])
    assert found.method == "entries" and (found.seconds > 0).all()
    assert len(set(found.held_out_splits.ravel().tolist())) == 18  # new folds in every repeat


@pytest.mark.parametrize("as_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("model", [FAST, PLAIN], ids=["stratified", "nmf"])
def test_entries_are_measured_as_by_plain_loops(model, as_sparse):
    X, strata = planted()
    X = holed(X, 0.7)
    given = sp.csr_array(X) if as_sparse else X
    setting = ParallelFits(given, strata, model, None)
    held = Entries(setting, 4, np.random.default_rng(0))
    counts = np.array([(held.fold == fold).sum(axis=1) for fold in range(4)])
    assert counts.sum() == X.size and counts.max() - counts.min() <= 1  # even in every row, zeros among them
    settled, (error, train) = held.measure(setting, 3, 1, 7)
    is_out = held.fold == 1
    fit = setting.make(3, 7).fit(X, **setting.labels(), weight=~is_out)
    Y = fit.inverse_transform(fit.W_, **setting.labels())
    assert settled and train == pytest.approx(fit.normalized_loss_, rel=1e-9)
    assert error == pytest.approx(oracles_ensemble.held_out_entries(X, Y, is_out, ~is_out, REACH), rel=1e-9)


def test_of_ratings_the_known_ones_are_held_out():
    X, strata = planted()
    X = holed(X)
    setting = ParallelFits(sp.csr_array(X), strata, StratifiedNMF(max_iter=20, tol=0, missing_values="zeros"), None)
    held = Entries(setting, 3, np.random.default_rng(0))
    fold = np.full(X.shape, -1)
    fold[X > 0] = held.fold
    counts = np.array([(fold == f).sum(axis=1) for f in range(3)])
    assert counts.sum() == np.count_nonzero(X) and (counts.max(axis=0) - counts.min(axis=0)).max() <= 1
    _, (error, _) = held.measure(setting, 3, 2, 7)
    fit = setting.make(3, 7).fit(X, strata=strata, weight=(fold >= 0) & (fold != 2))
    Y = fit.inverse_transform(fit.W_, strata=strata)
    want = oracles_ensemble.held_out_entries(X, Y, fold == 2, (fold >= 0) & (fold != 2), REACH)
    assert error == pytest.approx(want, rel=1e-9)
    options = {"estimator": setting.estimator, "n_restarts": 0, "n_folds": 3, "random_state": 0}
    rated = select_rank(sp.csr_array(X), strata, [2], **options)
    assert rated.method == "entries"
    once = sp.csr_array(X)  # every entry stored twice, and a zero at the end of the last row
    data, indices = np.repeat(once.data / 2, 2), np.repeat(once.indices, 2)
    indptr = 2 * once.indptr
    indptr[-1] += 1
    unseen = np.flatnonzero(X[-1] == 0)[:1]
    twice = sp.csr_array((np.append(data, 0), np.append(indices, unseen), indptr), shape=X.shape)
    again = select_rank(twice, strata, [2], **options)
    assert twice.nnz == 2 * once.nnz + 1  # the user's matrix stays as it is
    np.testing.assert_allclose(again.held_out_splits, rated.held_out_splits, rtol=1e-9)


@pytest.mark.parametrize("as_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("model", [FAST, PLAIN], ids=["stratified", "nmf"])
def test_rows_and_columns_are_measured_as_by_plain_loops(model, as_sparse):
    X, strata = planted(sizes=(20, 16, 1))
    X = holed(X, 0.7)
    setting = ParallelFits(sp.csr_array(X) if as_sparse else X, strata, model, None)
    held = RowsColumns(setting, 4, np.random.default_rng(0))
    assert held.fold[-1] == -1  # the only row of its stratum
    for name in ("s0", "s1"):
        counts = np.bincount(held.fold[strata == name], minlength=4)
        assert counts.max() - counts.min() <= 1
    _, (error, train) = held.measure(setting, 3, 1, 7)
    is_out = held.fold == 1
    fit = setting.make(3, 7).fit(X[~is_out], **setting.labels(~is_out))
    codes = np.searchsorted(np.unique(strata), strata[is_out])
    shifts = fit.shifts_[codes] if model is FAST else np.zeros((len(codes), X.shape[1]))
    want = oracles_ensemble.held_out_rows(X[is_out], shifts, fit.components_, held.part[1])
    assert error == pytest.approx(want, rel=1e-8) and train == pytest.approx(fit.normalized_loss_, rel=1e-9)


@pytest.mark.parametrize("beta_loss, beta", [("kullback-leibler", 1), (1.5, 1.5)])
@pytest.mark.parametrize("cls", [NMF, StratifiedNMF])
def test_divergences_are_measured_on_rows_and_columns(cls, beta_loss, beta):
    X, strata = planted()
    X = np.round(holed(5 * X, 0.7))
    setting = ParallelFits(sp.csr_array(X), strata, cls(solver="mu", beta_loss=beta_loss, max_iter=30, tol=0), None)
    held = RowsColumns(setting, 4, np.random.default_rng(0))
    _, (error, _) = held.measure(setting, 3, 1, 7)
    is_out, part = held.fold == 1, held.part[1]
    fit = setting.make(3, 7).fit(X[~is_out], **setting.labels(~is_out))
    rows, lost, total = X[is_out], 0.0, 0.0
    for left in range(3):
        seen = part != left
        small = cls(3, solver="mu", beta_loss=beta_loss, max_iter=30)
        small.components_, small.n_components_, small.n_features_in_ = fit.components_[:, seen], 3, seen.sum()
        if cls is StratifiedNMF:
            small.shifts_, small.strata_ = fit.shifts_[:, seen], fit.strata_
        Y = fit.inverse_transform(small.transform(rows[:, seen], **setting.labels(is_out)), **setting.labels(is_out))
        x = rows[:, ~seen]
        trivial = np.full(x.shape, x.mean()) if beta != 1 else np.outer(x.sum(axis=1), x.sum(axis=0)) / x.sum()
        lost += oracles.beta_divergence(x, np.maximum(Y[:, ~seen], np.where(x > 0, FLOOR, 1e-300)), beta)
        total += oracles.beta_divergence(x, np.maximum(trivial, 1e-300), beta)
    assert error == pytest.approx(np.sqrt(lost / total), rel=1e-6)
    assert select_rank(X, strata, [1, 2], estimator=setting.estimator, n_restarts=0).method == "rows_columns"


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_array])
def test_predictions_of_rows_from_few_columns_are_cut_off(convert):
    X, strata = planted(n_columns=9, noise=0.0)
    X[0, 1:] = 0
    X[0, 0] = 40 * X.max()  # its weights explode
    setting = ParallelFits(convert(X), strata, FAST, None)
    held = RowsColumns(setting, 3, np.random.default_rng(0))
    lost = total = cut = 0.0
    for fold in range(3):
        is_out, part = held.fold == fold, held.part[fold]
        model = setting.make(2, 5).fit(setting.X[~is_out], strata=strata[~is_out])
        for left in range(3):
            seen = np.flatnonzero(part != left)
            W = restrict_columns(model, seen).transform(setting.X[is_out][:, seen], strata=strata[is_out])
            y = (W @ model.components_ + model.shifts_[np.searchsorted(model.strata_, strata[is_out])])[:, part == left]
            x, limit = X[is_out][:, part == left], REACH * X[~is_out].max(axis=0)[part == left]
            cut += np.count_nonzero(y > limit)
            lost, total = np.square(x - np.minimum(y, limit)).sum() + lost, np.square(x).sum() + total
        assert held.measure(setting, 2, fold, 5)[1][0] == pytest.approx(np.sqrt(lost / total), rel=1e-9)
        lost = total = 0.0
    assert cut > 3


@pytest.mark.filterwarnings("default")
def test_a_choice_that_means_nothing_warns():
    rng = np.random.default_rng(0)
    with pytest.warns(UserWarning, match="With 8 columns, .* from 5 numbers; use method='entries'"):
        select_rank(planted(n_columns=8)[0], None, [1], method="rows_columns", n_restarts=0, estimator=PLAIN)
    noise = (rng.random((40, 40)) < 0.02) * 1.0
    with pytest.warns(UserWarning, match="predicting zero has 1"):
        select_rank(noise, None, [4], method="rows_columns", n_restarts=0, estimator=PLAIN, random_state=0)


def test_held_out_entries_are_not_seen():
    X, strata = planted()
    setting = ParallelFits(X, strata, FAST, None)
    held = Entries(setting, 4, np.random.default_rng(0))
    changed = ParallelFits(np.where(held.fold == 2, X + 1, X), strata, FAST, None)
    before = held.measure(setting, 2, 2, 7)[1]
    held.X = changed.X
    after = held.measure(changed, 2, 2, 7)[1]
    assert before[1] == after[1] and before[0] != after[0]


@pytest.mark.parametrize("method", ["entries", "rows_columns"])
def test_the_result_depends_on_seed_and_rank_only(method):
    X, strata = planted()
    options = {"method": method, "n_folds": 3, "n_restarts": 2, "random_state": 3, "estimator": FAST}
    one, two = select_rank(X, strata, [2, 3, 4], **options), select_rank(X, strata, [3], n_jobs=2, **options)
    np.testing.assert_array_equal(one.held_out_splits[1:2], two.held_out_splits)
    assert one.stability[1] == two.stability[0] and one.train[1] == two.train[0]
    other = select_rank(X, strata, [3], **options | {"random_state": 4})
    assert (other.held_out_splits != two.held_out_splits).all()
    in_cloth = select_rank(sp.csc_array(X), strata, [3], **options)
    np.testing.assert_allclose(in_cloth.held_out_splits, two.held_out_splits, rtol=1e-6)


def test_other_workers_of_joblib_give_the_same():
    joblib = pytest.importorskip("joblib")
    X, strata = planted()
    options = {"n_folds": 2, "n_restarts": 2, "random_state": 3, "estimator": FAST}
    here = select_rank(X, strata, [2], **options)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        there = select_rank(X, strata, [2], **options)
    np.testing.assert_array_equal(here.held_out_splits, there.held_out_splits)


def test_folds_are_the_same_for_models_with_and_without_strata():
    X, strata = planted()
    settings = [ParallelFits(X, strata, model, None) for model in (FAST, PLAIN)]
    for kind in (Entries, RowsColumns):
        a, b = (kind(setting, 3, np.random.default_rng(0)).fold for setting in settings)
        np.testing.assert_array_equal(a, b)
    options = {"n_restarts": 0, "n_folds": 3, "random_state": 0}
    with_strata = select_rank(X, strata, [3], estimator=FAST, **options)
    without = select_rank(X, strata, [3], estimator=PLAIN, **options)
    assert with_strata.held_out[0] < without.held_out[0]  # the data have shifts


def test_matching_is_the_best_of_all_orders_and_blind_to_scale():
    rng = np.random.default_rng(0)
    A, B = rng.random((5, 9)) ** 3, rng.random((5, 9)) ** 3
    B[2] = 0
    order, cosines = match_components(A, B)
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert cosines.mean() == pytest.approx(oracles_ensemble.best_matching(A, B))
    # 1e-200 squared is nothing: lengths have to be taken with care
    scale = np.array([1e-200, 1e200, 1, 3, 0.1])[:, None]
    order, cosines = match_components(A, (A * scale)[::-1])
    assert order.tolist() == [4, 3, 2, 1, 0]
    np.testing.assert_allclose(cosines, 1, rtol=1e-12)


def test_stability_is_the_mean_over_pairs_and_falls_beyond_the_planted_rank():
    X, strata = planted()
    found = select_rank(
        X, strata, [3, 6], estimator=StratifiedNMF(max_iter=60), n_folds=2, n_restarts=3, random_state=0
    )
    assert found.stability[0] > 0.98 > found.stability[1] > 0.5
    runs = [np.random.default_rng(seed).random((3, 7)) for seed in range(3)]
    pairs = [oracles_ensemble.best_matching(runs[i], runs[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert _cosines_of_pairs(runs).mean() == pytest.approx(np.mean(pairs))


def test_no_stability_where_starts_are_all_alike():
    X, strata = planted()
    for options in ({"n_restarts": 1}, {"estimator": StratifiedNMF(init="nndsvd", max_iter=5)}):
        found = select_rank(X, strata, [2, 3], n_folds=2, random_state=0, **options)
        assert np.isnan(found.stability).all() and found.n_restarts == 0
        assert "  -  " in str(found)


def test_the_table_and_the_frame_show_the_numbers():
    X, strata = planted()
    found = select_rank(X, strata, [1, 3], estimator=FAST, n_folds=2, n_restarts=2, random_state=0)
    lines = repr(found).splitlines()
    assert len(lines) == 4 and str(found) == repr(found)
    assert lines[2].split()[:3] == ["3", f"{found.held_out[1]:.5f}", f"{found.held_out_se[1]:.5f}"]
    assert lines[2].endswith("<- least, one standard error") and "<-" not in lines[1]
    assert "entries, 2 folds" in lines[3] and "rank 3" in lines[3]
    frame = found.to_frame()
    assert frame.index.tolist() == [1, 3] and frame.index.name == "rank"
    np.testing.assert_array_equal(frame["held_out"], found.held_out)


def test_annotated_data_and_frames_and_nan():
    X, strata = planted()
    options = {"n_folds": 2, "n_restarts": 0, "random_state": 0, "estimator": FAST}
    want = select_rank(X, strata, [2], **options)
    cells = SimpleNamespace(X=X, obs=pd.DataFrame({"batch": strata}), var_names=list("abcdefghijklmnopqr"))
    for given, labels in ((cells, "batch"), (pd.DataFrame(X), list(strata))):
        np.testing.assert_array_equal(select_rank(given, labels, [2], **options).held_out, want.held_out)
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    missing = StratifiedNMF(max_iter=20, tol=0, missing_values="nan")
    for method in ("entries", "rows_columns"):
        found = select_rank(X, strata, [1, 3], **options | {"estimator": missing, "method": method})
        assert found.best_rank == 3 and (found.held_out < 1).all()


def test_fits_cut_short_are_told_once_and_progress_is_shown(capsys):
    X, strata = planted()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        select_rank(X, strata, [3], estimator=StratifiedNMF(max_iter=3), n_folds=2, n_restarts=2, verbose=1, n_jobs=2)
    told = [str(warning.message) for warning in caught if warning.category is ConvergenceWarning]
    assert len(told) == 1 and told[0].startswith("4 of 4 fits stopped at max_iter=3")
    assert capsys.readouterr().err.splitlines()[-1].startswith("select_rank: 4 of 4 fits, ")


def test_parameters_of_the_estimator_are_those_of_the_fits():
    X, strata = planted()
    model = StratifiedNMF(max_iter=5, tol=0, n_init=2, alpha_W=0.5, verbose=1, n_threads=2, random_state=5)
    setting = ParallelFits(X, strata, model, 2)
    made = setting.make(3, 9)
    assert (made.n_components, made.random_state, made.verbose, made.n_threads) == (3, 9, 0, 1)
    assert (made.n_init, made.alpha_W, made.max_iter) == (2, 0.5, 5)
    assert ParallelFits(X, strata, model, None).make(3, 9).n_threads == 2
    assert model.verbose == 1 and model.n_components == 10  # the user's stays as it is


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"ranks": []}, ValueError, "expected integers >= 1, such as"),
        ({"ranks": [0, 2]}, ValueError, "expected integers >= 1, such as"),
        ({"ranks": 3}, ValueError, "ranks=3 is not valid"),
        ({"method": "rows"}, ValueError, "expected one of 'auto', 'entries', 'rows_columns'"),
        ({"n_folds": 1}, ValueError, "n_folds=1 is not valid; expected an integer >= 2"),
        ({"n_repeats": 0}, ValueError, "n_repeats=0"),
        ({"n_restarts": -1}, ValueError, "n_restarts=-1"),
        ({"estimator": StratifiedNMF}, TypeError, "expected an NMF or a StratifiedNMF"),
        ({"estimator": NMF(init="custom")}, ValueError, "needs? many starts"),
        ({"strata": ["a", "b"]}, ValueError, "2 labels for 50 rows"),
        ({"n_folds": 60, "method": "rows_columns"}, ValueError, "use fewer folds"),
        (
            {"method": "entries", "estimator": NMF(solver="mu", beta_loss="kullback-leibler")},
            ValueError,
            "Use method='rows_columns'",
        ),
    ],
)
def test_bad_input_gets_one_sentence(options, error, words):
    X, strata = planted()
    with pytest.raises(error, match=words):
        select_rank(X, **{"strata": strata, "ranks": [2], **options})


def test_masks_larger_than_memory_are_refused():
    X = sp.csr_array(([1.0, 2.0], ([0, 19_999], [0, 9_999])), shape=(20_000, 10_000))
    with pytest.raises(ValueError, match="needs a mask of 20000 x 10000 entries"):
        select_rank(X, None, [1], method="entries")
