"""Meta-NMF: the published numbers, the plain twin, the fused updates, and what a user may give."""

import numpy as np
import oracles_meta
import pytest
import scipy.sparse as sp
from oracle_data import variants
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fastnmf import NMF, PLSA, GraphNMF, MetaNMF, RobustNMF, SmoothNMF, SparseNMF, StratifiedNMF, load
from fastnmf.kernels.dense import dense_mu
from fastnmf.kernels.records import Graph, Limits
from fastnmf.kernels.row_intrinsics import padded
from fastnmf.models.meta import refits
from fastnmf.models.meta.refits import Refit

RNG = np.random.default_rng(5)
X = RNG.random((60, 3)) @ RNG.random((3, 14)) + 0.1 * RNG.random((60, 14))
LABELS = np.repeat(["a", "b"], 30)
SMALL = {"n_tasks": 3, "task_size": 12, "n_outer": 3, "n_inner": 6, "inner_tol": 0, "random_state": 0}
MU = NMF(3, solver="mu")


@pytest.mark.parametrize("accumulate", [True, False])
def test_the_published_numbers_come_out(accumulate):
    expected = variants()[f"meta_nmf_small_accumulate_{accumulate}"]
    rng = np.random.default_rng(27)
    target, others = rng.random((30, 40)).T, rng.random((30, 40)).T
    options = {"n_tasks": 3, "task_size": 10, "n_outer": 3, "n_inner": 20, "inner_tol": 0, "disjoint": False}
    model = MetaNMF(NMF(4, solver="mu"), accumulate=accumulate, random_state=rng, **options).fit(target)
    adapted = model.adapt(others)
    # There 1.2e-7 is added to denominators of about 10, here 1e-9: the errors differ by up to 1e-8 of themselves, the
    # components, which are flat directions of it, by more.
    error = np.square(target - model.W_ @ model.components_).sum()
    assert error == pytest.approx(expected["target_sse"], rel=1e-8)
    error = np.square(others - adapted.W_ @ adapted.components_).sum()
    assert error == pytest.approx(expected["eval_sse"], rel=1e-8)
    assert model.components_.sum() == pytest.approx(expected["sumWt"], rel=1e-6)
    assert model.n_updates_ == 3 * (3 + 1) * 20


@pytest.mark.parametrize("accumulate", [True, False])
@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense, in one kernel", "sparse, through the loop"])
def test_epochs_are_those_of_the_plain_twin(accumulate, is_sparse):
    rng = np.random.default_rng(0)
    starts = [rng.random((14, 3)).T for _ in range(3)]
    model = MetaNMF(MU, accumulate=accumulate, **SMALL).fit(sp.csr_array(X) if is_sparse else X)
    tasks, target = [X[rows] for rows in model.task_rows_], X[model.target_rows_]
    shared, errors, of_tasks = oracles_meta.meta_nmf(target, tasks, starts, 3, 6, accumulate, eps=1e-9)
    np.testing.assert_allclose(model.components_, shared, rtol=1e-9)  # 72 updates, each of a few roundings
    norms = [np.square(task).sum() for task in tasks]
    np.testing.assert_allclose(model.history_["normalized_loss"] ** 2 * np.square(target).sum(), errors, rtol=1e-9)
    np.testing.assert_allclose(model.history_["task_losses"] ** 2 * norms, of_tasks, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "m", "rank"), [(13, 7, 3), (300, 5, 9), (6, 40, 30), (1, 1, 1)])
@pytest.mark.parametrize("way", ["plain", "anchored", "free"])
def test_the_fused_updates_are_those_of_the_plain_twin(dtype, n, m, rank, way):
    rng = np.random.default_rng(1)
    data = rng.random((n, m)).astype(dtype)
    W, H = (np.zeros((size, padded(rank, dtype)), dtype) for size in (n, m))
    W[:, :rank], H[:, :rank] = rng.random((n, rank)), rng.random((m, rank))
    affinity = np.triu(rng.random((n, n)) < 3 / n, 1).astype(float)
    affinity = sp.csr_array(0.5 * (affinity + affinity.T)) if way != "plain" else sp.csr_array((n, n))
    edges = [affinity.indptr.astype(np.int64), affinity.indices.astype(np.int32), affinity.data.astype(dtype)]
    edges[0] = edges[0] if way != "plain" else edges[0][:0]
    graph = Graph(*edges, affinity.sum(axis=1).astype(dtype), np.ones(W.shape[1] if way == "free" else 0, dtype))
    expected = oracles_meta.updates(
        data, W[:, :rank], H[:, :rank].T, 4, 1e-9, affinity.toarray(), float(way != "plain"), way == "anchored"
    )
    found, limits = np.empty(3), Limits(dtype(1e-9), dtype(0))
    dense_mu(np.array([0, n]), data, np.ascontiguousarray(data.T), W, H, graph, limits, 4, found)
    tolerance = {np.float32: 2e-4, np.float64: 1e-11}[dtype]  # 4 updates, sums of at most 300 numbers near one
    np.testing.assert_allclose(W[:, :rank], expected[0], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(H[:, :rank].T, expected[1], rtol=tolerance, atol=tolerance)
    square = np.square(data, dtype=np.float64).sum()
    assert square - 2 * found[0] + found[1] == pytest.approx(expected[2], abs=tolerance * square)
    assert found[2] == pytest.approx(expected[3], rel=10 * tolerance, abs=tolerance)
    assert not W[:, rank:].any() and not H[:, rank:].any()


@pytest.mark.parametrize(
    "estimator",
    [MU, GraphNMF(3, solver="mu"), GraphNMF(3, solver="mu", scale_invariant=False, graph_weight=2.0)],
    ids=["NMF", "GraphNMF", "GraphNMF, not anchored"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bursts_are_the_loop_of_the_estimator(estimator, dtype, monkeypatch):
    model = MetaNMF(estimator, **SMALL)
    fast = clone(model).fit(X.astype(dtype))
    monkeypatch.setattr(Refit, "_prepared", lambda self: None)
    slow = clone(model).fit(X.astype(dtype))
    assert fast.components_.dtype == slow.components_.dtype == dtype
    tolerance = {np.float32: 5e-4, np.float64: 1e-9}[dtype]  # 72 updates from the same start
    np.testing.assert_allclose(fast.components_, slow.components_, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(fast.W_, slow.W_, rtol=tolerance, atol=tolerance)
    for name in ("normalized_loss", "task_losses"):
        np.testing.assert_allclose(fast.history_[name], slow.history_[name], rtol=tolerance)


def test_tasks_and_target_share_no_row_unless_asked():
    model = MetaNMF(MU, **SMALL).fit(X)
    rows = np.concatenate([*model.task_rows_, model.target_rows_])
    assert sorted(rows.tolist()) == list(range(60)) and [len(task) for task in model.task_rows_] == [12] * 3
    assert model.W_.shape == (24, 3)
    whole = MetaNMF(MU, disjoint=False, **SMALL | {"task_size": 50}).fit(X)
    assert whole.target_rows_.tolist() == list(range(60)) and whole.W_.shape == (60, 3)
    assert all(len(set(task.tolist())) == 50 for task in whole.task_rows_)


@pytest.mark.parametrize("disjoint", [True, False])
def test_given_tasks_are_as_good_as_drawn_ones(disjoint):
    drawn = MetaNMF(MU, disjoint=disjoint, **SMALL).fit(X)
    given = MetaNMF(MU, **SMALL).fit(X[drawn.target_rows_], tasks=[X[rows] for rows in drawn.task_rows_])
    assert given.components_.tobytes() == drawn.components_.tobytes()
    assert given.task_rows_ == [] and given.n_iter_ == 3


@pytest.mark.parametrize(
    "estimator",
    [MU, NMF(3), NMF(3, solver="hals"), GraphNMF(3), SparseNMF(3), SmoothNMF(3), RobustNMF(3), StratifiedNMF(3)]
    + [NMF(3, solver="mu", beta_loss="kullback-leibler"), StratifiedNMF(3, solver="mu"), NMF(3, alpha_W=0.01)],
    ids=lambda e: str(e).replace("\n", ""),
)
@pytest.mark.parametrize("start", ["uniform", "estimator"])
def test_every_estimator_that_takes_a_start_may_learn(estimator, start, tmp_path):
    labels = {"strata": LABELS} if isinstance(estimator, StratifiedNMF) else {}
    model = MetaNMF(estimator, start=start, **SMALL).fit(X, **labels)
    assert model.W_.shape == (24, 3) and (model.W_ >= 0).all() and (model.components_ >= 0).all()
    np.testing.assert_allclose(model.components_.max(axis=1), 1)
    assert model.history_["task_losses"].shape == (3, 3) and np.isfinite(model.history_["normalized_loss"]).all()
    np.testing.assert_allclose(model.W_ @ model.components_, model.estimator_.W_ @ model.estimator_.components_)
    adapted = model.adapt(X, n_iter=2, **labels)
    assert type(adapted) is type(estimator) and adapted.W_.shape == (60, 3)
    assert adapted.n_iter_ == 2 or isinstance(estimator, RobustNMF)  # which counts the fit it begins with, too
    model.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    assert again.transform(X, **labels).tobytes() == model.transform(X, **labels).tobytes()
    assert again.adapt(X, n_iter=2, **labels).components_.tobytes() == adapted.components_.tobytes()


def test_the_second_stage_begins_at_the_shared_components():
    model = MetaNMF(NMF(3, solver="hals"), **SMALL).fit(X)
    fixed = X - model.transform(X) @ model.components_
    losses = model.adapt(X, n_iter=5).history_["normalized_loss"]
    assert losses[0] == pytest.approx(np.linalg.norm(fixed) / np.linalg.norm(X))  # both are exact
    assert (np.diff(losses) <= 1e-12).all() and losses[-1] < losses[0]


@pytest.mark.parametrize("estimator", [MU, NMF(3)], ids=["mu", "cd"])
def test_tasks_side_by_side_change_nothing(estimator):
    one, two = (MetaNMF(estimator, n_jobs=n, **SMALL).fit(X) for n in (None, 2))
    assert one.components_.tobytes() == two.components_.tobytes()
    assert one.history_["task_losses"].tobytes() == two.history_["task_losses"].tobytes()


def test_accumulating_matters_from_the_second_epoch_on():
    one, two = (
        [MetaNMF(MU, accumulate=a, **SMALL | {"n_outer": n}).fit(X).components_ for a in (True, False)] for n in (1, 2)
    )
    assert one[0].tobytes() == one[1].tobytes() and np.abs(two[0] - two[1]).max() > 1e-6


def test_patience_ends_the_epochs_that_gain_nothing():
    options = SMALL | {"n_outer": 40}
    model = MetaNMF(MU, patience=2, tol=0.05, **options).fit(X)
    assert model.stopped_by_ == "patience" and model.n_iter_ < 40
    losses = MetaNMF(MU, **options).fit(X).history_["normalized_loss"]
    assert losses[: model.n_iter_].tobytes() == model.history_["normalized_loss"].tobytes()
    best, waited = losses[0], 0
    for loss in losses[1 : model.n_iter_]:
        best, waited = (loss, 0) if loss < 0.95 * best else (best, waited + 1)
    assert waited == 2


RESUMED = {
    "fused": (MU, {}),
    "fused, settles": (MU, {"inner_tol": 1e-2, "n_inner": 60}),
    "accumulating": (MU, {"accumulate": True, "disjoint": False, "start": "estimator"}),
    "descent": (NMF(3), {"n_jobs": 2}),
    "several starts": (NMF(3), {"n_init": 3}),
    "several starts, fused": (MU, {"n_init": 3}),
    "graph": (GraphNMF(3, solver="mu"), {}),
    "strata": (StratifiedNMF(3), {}),
    "a measured threshold": (RobustNMF(3, loss="huber"), {}),
    "missing entries": (NMF(3, missing_values="zeros"), {}),
}


@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize(("estimator", "options"), RESUMED.values(), ids=RESUMED)
def test_a_fit_that_was_interrupted_ends_with_the_same_bits(estimator, options, is_sparse, tmp_path):
    def interrupt(state):
        if state.iteration == 2 and state.run == options.get("n_init", 1) // 2:
            raise InterruptedError

    data, labels = sp.csr_array(X) if is_sparse else X, {"strata": LABELS} if "Str" in str(estimator) else {}
    model = MetaNMF(estimator, **SMALL | options)
    plain, states = clone(model).fit(data, **labels), {"checkpoint": tmp_path / "state", "checkpoint_every": 0}
    with pytest.raises(InterruptedError):
        clone(model).set_params(callback=interrupt).fit(data, **labels, **states)
    for again in (clone(model).fit(data, **labels, **states), clone(model).fit(data, **labels, **states)):
        assert again.n_updates_ == plain.n_updates_ and again.stopped_by_ == plain.stopped_by_
        for one, other in ((again, plain), (again.estimator_, plain.estimator_)):
            for name in ("W_", "components_", "reconstruction_err_", "normalized_loss_", "n_iter_"):
                assert np.asarray(getattr(one, name)).tobytes() == np.asarray(getattr(other, name)).tobytes(), name
            for name, entries in other.history_.items():
                assert name == "seconds" or one.history_[name].tobytes() == entries.tobytes(), name
        assert again.run_objectives_.tobytes() == plain.run_objectives_.tobytes()
        assert again.target_rows_.tobytes() == plain.target_rows_.tobytes()
        assert again.transform(data, **labels).tobytes() == plain.transform(data, **labels).tobytes()


def test_a_checkpoint_belongs_to_one_fit(tmp_path):
    states, tasks = {"checkpoint": tmp_path / "state"}, [(X[:20], None), X[20:40]]
    MetaNMF(MU, **SMALL).fit(X[40:], tasks=tasks, **states)
    longer = MetaNMF(MU, **SMALL | {"n_outer": 5, "n_jobs": 2}).fit(X[40:], tasks=tasks, **states)
    assert (
        longer.components_.tobytes()
        == MetaNMF(MU, **SMALL | {"n_outer": 5}).fit(X[40:], tasks=tasks).components_.tobytes()
    )
    for more, given in (({}, {"tasks": tasks[:1]}), ({"n_inner": 7}, {"tasks": tasks}), ({}, {})):
        with pytest.raises(ValueError, match="is the checkpoint of another fit"):
            MetaNMF(MU, **SMALL | {"n_outer": 5, "n_tasks": 1} | more).fit(X[40:], **given, **states)


@pytest.mark.parametrize("estimator", [MU, NMF(3)], ids=["mu", "cd"])
def test_of_several_starts_the_lowest_target_wins(estimator):
    model = MetaNMF(estimator, n_init=3, **SMALL).fit(X)
    assert model.run_objectives_.shape == (3,) and model.history_["objective"][-1] == model.run_objectives_.min()
    first = MetaNMF(estimator, **SMALL).fit(X)
    assert model.run_objectives_[0] == first.run_objectives_[0]
    assert np.square(X[model.target_rows_] - model.W_ @ model.components_).sum() <= model.run_objectives_.min() + 1e-12


def test_a_warm_start_begins_at_the_shared_components():
    model = MetaNMF(MU, warm_start=True, **SMALL).fit(X)
    assert model.components_.tobytes() == MetaNMF(MU, **SMALL).fit(X).components_.tobytes()
    rng, before = np.random.default_rng(0), model.components_
    starts = [rng.random((14, 3)).T for _ in range(3)]
    model.fit(X)
    tasks, target = [X[rows] for rows in model.task_rows_], X[model.target_rows_]
    shared, _, _ = oracles_meta.meta_nmf(target, tasks, starts, 3, 6, False, eps=1e-9, shared=before)
    np.testing.assert_allclose(model.components_, shared, rtol=1e-9)
    with pytest.raises(ValueError, match=r"continues from components_ of shape \(3, 14\), but \(4, 14\) is required"):
        model.set_params(estimator=NMF(4, solver="mu")).fit(X)


def test_a_callback_sees_the_target_and_stops_the_epochs():
    seen = []

    def note(state):
        seen.append((state.iteration, state.normalized_loss, state.W, state.H))
        return state.iteration == 2

    for estimator in (MU, NMF(3)):
        model = MetaNMF(estimator, callback=note, **SMALL).fit(X)
        assert model.stopped_by_ == "callback" and model.n_iter_ == 2 and not model.converged_
        iteration, loss, W, H = seen[-1]
        target = X[model.target_rows_]
        assert iteration == 2 and loss == model.history_["normalized_loss"][-1]
        assert np.linalg.norm(target - W @ H) / np.linalg.norm(target) == pytest.approx(loss)
    assert [iteration for iteration, *_ in seen] == [1, 2, 1, 2]


def test_no_epoch_begins_after_the_time_limit():
    model = MetaNMF(MU, max_time=0.0, **SMALL).fit(X)
    assert model.stopped_by_ == "max_time" and model.n_iter_ == 1
    several = MetaNMF(MU, max_time=0.0, n_init=3, **SMALL).fit(X)
    assert len(several.run_objectives_) == 1


def test_the_threads_of_the_estimator_are_those_of_the_model_unless_it_says_otherwise():
    models = [MetaNMF(NMF(3, n_threads=2), n_threads=n, **SMALL).fit(X) for n in (None, 1)]
    assert [model.estimator_.n_threads for model in models] == [2, 1]
    assert models[0].components_.tobytes() == models[1].components_.tobytes()


def test_the_history_has_the_columns_of_every_model():
    history = MetaNMF(MU, **SMALL).fit(X).history_
    assert {"iteration", "normalized_loss", "objective", "seconds", "epoch", "task_losses"} == set(history)
    assert history["epoch"].tolist() == history["iteration"].tolist() == [1, 2, 3]


def test_inner_fits_stop_early_when_they_may():
    by_default = MetaNMF().inner_tol
    for estimator, tol, rel in ((MU, 1e-2, 0.05), (NMF(3), by_default, 1e-3)):
        lazy, eager = (MetaNMF(estimator, **SMALL | {"n_inner": 200, "inner_tol": t}).fit(X) for t in (tol, 0.0))
        assert lazy.n_updates_ < eager.n_updates_ == 3 * 4 * 200
        assert lazy.history_["normalized_loss"][-1] == pytest.approx(eager.history_["normalized_loss"][-1], rel=rel)


@pytest.mark.parametrize("estimator", [MU, NMF(3), GraphNMF(3)], ids=["mu", "cd", "graph"])
@pytest.mark.parametrize("start", ["uniform", "estimator"])
def test_sparse_tasks_leave_features_out_that_they_lack(estimator, start, monkeypatch):
    rng = np.random.default_rng(0)
    wide = sp.random_array((60, 400), density=0.02, rng=rng, format="csr")
    options = {"start": start} | SMALL
    cut = MetaNMF(estimator, **options).fit(wide)
    seen = []
    real = refits.used_columns
    monkeypatch.setattr(refits, "used_columns", lambda *given: seen.append(real(*given)))
    whole = MetaNMF(estimator, **options).fit(wide)
    assert len(seen) == 3 and all(0 < len(columns) < 200 for columns in seen)
    assert cut.components_.shape == whole.components_.shape == (3, 400)
    found, want = (model.history_["task_losses"][-1].mean() for model in (cut, whole))
    assert found == pytest.approx(want, rel=0.02)
    assert cut.history_["normalized_loss"][-1] == pytest.approx(whole.history_["normalized_loss"][-1], rel=0.02)
    refit = Refit(estimator, wide[:12], random_state=0, max_iter=3, is_task=True)
    assert not refit.run(rng.random((3, 400)))[0][:, np.diff(wide[:12].tocsc().indptr) == 0].any()


def test_models_that_tie_features_see_all_of_them():
    wide = sp.random_array((12, 400), density=0.02, rng=np.random.default_rng(0), format="csr")
    for estimator in (NMF(3, alpha_W=0.1), SmoothNMF(3), SparseNMF(3), GraphNMF(3, feature_weight=1.0)):
        assert Refit(estimator, wide, is_task=True).data.shape == (12, 400)
    assert Refit(NMF(3), wide).data.shape == (12, 400) and Refit(NMF(3), wide, is_task=True).data.shape[1] < 200


@pytest.mark.parametrize("scale", [1e-180, 1e180])
def test_the_scale_of_the_data_does_not_matter(scale):
    model = MetaNMF(NMF(3, solver="hals"), **SMALL)
    one, other = clone(model).fit(X), clone(model).fit(X * scale)
    np.testing.assert_allclose(other.components_, one.components_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(other.transform(X * scale) / scale, one.transform(X), rtol=1e-6, atol=1e-9)


def test_rows_and_columns_of_zeros_do_no_harm():
    holes = X.copy()
    holes[::3], holes[:, 4] = 0, 0
    for estimator in (MU, NMF(3)):
        model = MetaNMF(estimator, **SMALL).fit(holes)
        assert np.isfinite(model.components_).all() and not model.components_[:, 4].any()
        assert not model.transform(holes)[::3].any()


def test_a_feature_that_no_task_has_is_still_found():
    hidden = np.column_stack([X, np.zeros(60)])
    hidden[50:, -1] = 1.0
    model = MetaNMF(MU, **SMALL).fit(hidden[40:], tasks=[hidden[:20], hidden[20:40]])
    assert model.components_[:, -1].max() > 0.1  # a multiplicative update does not leave a zero


def test_progress_is_shown_on_request(capsys):
    MetaNMF(MU, verbose=1, **SMALL).fit(X)
    shown = capsys.readouterr().err
    assert "MetaNMF: iteration 3/3, normalized loss" in shown


@pytest.mark.parametrize("method", ["transform", "adapt"])
def test_labels_for_an_estimator_without_shifts_are_refused_after_fit(method):
    model = MetaNMF(MU, **SMALL).fit(X)
    with pytest.raises(ValueError, match="strata were given, but NMF has no shifts for them; leave strata out"):
        getattr(model, method)(X, strata=LABELS)


def test_what_cannot_be_learned_from_is_refused():
    def fails(match, *arguments, kind=ValueError, data=X, tasks=None, strata=None, **options):
        with pytest.raises(kind, match=match):
            MetaNMF(*(arguments or (MU,)), **SMALL | options).fit(data, tasks=tasks, strata=strata)

    fails("3 disjoint tasks of 20 rows need 60 samples, and the target needs at least one", task_size=20)
    fails("Tasks of 61 rows need 61 samples; X has n_samples=60", task_size=61, disjoint=False)
    fails("estimator is a PLSA; expected one whose fit can begin at given components", PLSA(3), kind=TypeError)
    fails("estimator is a MetaNMF", MetaNMF(), kind=TypeError)
    fails("The estimator has fixed_components", NMF(3, fixed_components=X[:1]))
    fails("Task 1 has 9 features, but X has 14", tasks=[X, X[:, :9]])
    fails("tasks is an empty list", tasks=[])
    fails("strata were given, but NMF has no shifts", strata=LABELS)
    fails("start='zeros' is not known", start="zeros")
    fails("'custom'", NMF(3, init="custom"), start="estimator")
    for name in ("n_tasks", "task_size", "n_outer", "n_inner", "patience"):
        fails(f"{name}=0 is not valid", **{name: 0})
    fails("inner_tol=-1 is not valid", inner_tol=-1)
    with pytest.raises(NotFittedError):
        MetaNMF().adapt(X)
    with pytest.raises(ValueError, match="n_iter=0"):
        MetaNMF(MU, **SMALL).fit(X).adapt(X, n_iter=0)
    with pytest.raises(ValueError, match="features"):
        MetaNMF(MU, **SMALL).fit(X).adapt(X[:, :9])
