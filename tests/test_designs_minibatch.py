"""Crossed groups, designs, exposure and smoothness in `MiniBatchStratifiedNMF`, and in batches after a fit."""

import numpy as np
import oracles_designs as oracle
import oracles_designs_kl as oracle_kl
import pytest
import scipy.sparse as sp
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from test_designs_batches import BY_YEAR, EFFECTS, PARTS, RANK, RNG, SITE, YEAR, A, M, N, U, X, batch_of, given

import fastnmf
from fastnmf import MiniBatchStratifiedNMF, StratifiedNMF, open_csr, save_csr
from fastnmf.core.alternate import sweep
from fastnmf.core.batches import Batch
from fastnmf.core.design_batches import DesignRatioStatistics, DesignStatistics
from fastnmf.core.factors import allocate
from fastnmf.core.objectives import squared_problem

KL = {"beta_loss": "kullback-leibler"}
ALL = np.arange(N)
HALF, REST = ALL[: N // 2], ALL[N // 2 :]
LOSSES = pytest.mark.parametrize("loss", [{}, KL], ids=["squared", "kl"])
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# New rows of the planted model, to compare errors on rows that no fit has seen.
NEW_YEAR, NEW_SITE = RNG.integers(0, 4, 100), np.array(list("abc"))[RNG.integers(0, 3, 100)]
MEAN = EFFECTS[NEW_YEAR] + EFFECTS[4 + np.unique(NEW_SITE, return_inverse=True)[1]]
NEW = {"strata": {"year": NEW_YEAR, "site": NEW_SITE}}


def fitted(batch_size=60, **more):
    return MiniBatchStratifiedNMF(RANK, random_state=0, batch_size=batch_size, **more).fit(X, **given(ALL))


def start_of(Z, rank=RANK, seed=3):
    rng = np.random.default_rng(seed)
    return [rng.random(shape) + 0.1 for shape in ((len(Z), rank), (rank, M), (Z.shape[1], M))]


def test_one_batch_of_all_rows_makes_the_steps_of_a_fit_of_all_rows():
    data = batch_of(ALL, U)
    Z = oracle.design([YEAR, SITE], U)
    W, H, V = start_of(Z)
    V = data.pattern.dense(data.pattern.entries(V))
    options = {"init": "custom", "max_iter": 4, "tol": 0}
    ours = MiniBatchStratifiedNMF(RANK, batch_size=N, **options, **KL).fit(X, W=W, H=H, V=V, **given(ALL, True))
    whole = StratifiedNMF(RANK, solver="mu", extrapolate=False, **options, **KL).fit(
        X, W=W, H=H, V=V, **given(ALL, True)
    )
    np.testing.assert_allclose(ours.history_["objective"], whole.history_["objective"][1:], rtol=1e-9)
    few, dense = ALL[:15], V.copy()
    one = batch_of(few, U[few])
    statistics = DesignRatioStatistics(RANK).start(one, H.T, one.pattern.entries(dense[: one.n_strata]))
    batch = Batch(one)
    batch.W, batch.is_kept = None, True
    dense = one.pattern.dense(one.pattern.entries(dense[: one.n_strata]))
    problem, factors = statistics.problem_of(batch)
    w = factors["W"][:, :RANK].copy()
    statistics.visit(batch)
    z = oracle.design([YEAR[few], SITE[few]], U[few])
    w = oracle_kl.step(A[few], z, dense, w, H, "W")[1]
    v, _, h = oracle_kl.step(A[few], z, dense, w, H, "VH")
    np.testing.assert_allclose(statistics.pattern.dense(statistics.v), v, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(statistics.H[:, :RANK].T, h, rtol=1e-9, atol=1e-12)
    # The squared error: W, V, H, V, and from the second pass on W, H, V.
    found = MiniBatchStratifiedNMF(RANK, batch_size=N, **options).fit(X, W=W, H=H, V=V, **given(ALL, True))
    factors, tasks = allocate(data, W, H.T, data.pattern.entries(V))
    later = (("W", 2), ("H", 2), ("V", 1))
    problem = squared_problem(data, factors, tasks, later, is_descent=True, holds_products=True)
    values = []
    for at in range(4):
        problem.schedule = (later[0], later[2], *later[1:]) if at == 0 else later
        sweep(problem, factors)
        values.append(problem.value(factors))
    np.testing.assert_allclose(found.history_["objective"][:3], values[:3], rtol=1e-9)  # W of the last one is exact
    assert found.history_["objective"][3] <= values[3] * (1 + 1e-12)


@LOSSES
def test_batches_come_near_the_fit_of_all_rows_also_on_new_rows(loss):
    model, more = fitted(**loss), {"solver": "mu", **KL} if loss else {}
    whole = StratifiedNMF(RANK, random_state=0, **more).fit(X, **given(ALL))
    noisy = np.maximum(MEAN + np.random.default_rng(5).normal(0, 0.2, MEAN.shape), 0)
    errors = [each.reconstruction_errors(noisy, **NEW).sum() for each in (model, whole)]
    assert errors[0] < 1.03 * errors[1]
    assert model.normalized_loss_ < 1.01 * whole.normalized_loss_
    assert model.shift_names_.tolist() == whole.shift_names_.tolist() and not hasattr(model, "row_strata_")
    np.testing.assert_array_equal(model.stratum_sizes_, whole.stratum_sizes_)
    assert model.shifts_[1:5].min(axis=0).max() == 0  # the least level is in the intercept
    assert [part.answer for part in model.explain(X, **given(ALL), n=2).factors] == ["Yes", "Yes"]
    np.testing.assert_allclose(
        model.inverse_transform(model.W_, **given(ALL)), whole.inverse_transform(whole.W_, **given(ALL)), atol=2
    )
    if not loss:
        objective = model.history_["objective"]
        assert (objective[1:] <= objective[:-1] * (1 + 1e-12)).all()
        np.testing.assert_allclose(model.transform(X, **given(ALL)), model.W_, rtol=1e-9, atol=1e-12)


def test_denominators_of_shifts_are_the_sums_of_the_columns_whenever_levels_appear():
    data = [batch_of(rows, U[rows]) for rows in BY_YEAR]
    H = np.random.default_rng(1).random((M, RANK)) + 0.1
    start = data[0].positive_shifts(data[0].stratum_means())
    statistics = DesignRatioStatistics(RANK, n_updates=3).start(data[0], H, start)
    for each in data:
        statistics.visit(Batch(each))
    rows = np.concatenate(BY_YEAR)
    Z, pattern = oracle.design([YEAR[rows], SITE[rows]], U[rows]), statistics.pattern
    np.testing.assert_allclose(statistics.totals_Z, Z.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.shift_denominators, Z.sum(axis=0)[pattern.group], rtol=1e-6)
    np.testing.assert_array_equal(statistics.sizes, (Z > 0).sum(axis=0))
    assert (statistics.v > 0).all() and len(pattern.group) == np.count_nonzero(A[rows].T @ Z)


def test_a_level_that_stays_away_keeps_its_shift():
    """Its sums would become less than the least number; they stop before that."""
    H, few = np.random.default_rng(1).random((M, RANK)), np.flatnonzero(YEAR < 3)[:30]
    first, next_ = batch_of(ALL), batch_of(few)
    statistics = DesignStatistics(RANK, forget_factor=1e-4).start(first, H, first.stratum_means())
    statistics.visit(Batch(first))
    for _ in range(90):
        statistics.visit(Batch(next_))
    assert statistics.pattern.row(statistics.v, 4).any() and 0 < statistics.sizes[4] < 1e-10
    assert np.isfinite(statistics.v).all() and np.isfinite(statistics.H).all() and np.isfinite(statistics.value)


@LOSSES
@pytest.mark.parametrize("form", ["blocks", "calls"])
def test_levels_that_appear_later(loss, form):
    model = MiniBatchStratifiedNMF(RANK, random_state=0, **loss)
    if form == "blocks":
        blocks = [{"X": X[rows], **given(rows, True)} for rows in BY_YEAR]
        values = model.fit_blocks(blocks, n_passes=4).history_["objective"]
        assert loss == {} or (np.diff(values) < 0).all()
    else:
        for rows in BY_YEAR:
            model.partial_fit(X[rows], **given(rows, True))
    assert [levels.tolist() for levels in model.strata_] == [[0, 1, 2, 3], ["a", "b", "c"]]
    assert model.shift_names_[:2].tolist() == ["intercept", "year=0"] and model.n_steps_ in (6, 24)
    assert model.stratum_sizes_[0] == N and model.score(X, **given(ALL, True)) > (0.5 if loss else 0.9)
    unseen = {"strata": {"year": [9], "site": ["a"]}, "exposure": [1.0]}
    with pytest.raises(ValueError, match="contains the label 9, which was not seen in fit"):
        model.transform(X[:1], **unseen)
    assert np.isfinite(model.set_params(unknown_strata="mean").transform(X[:1], **unseen)).all()


def interrupt(state):
    if state.iteration == 2:
        raise KeyboardInterrupt


@LOSSES
def test_the_same_bits_on_any_number_of_threads_and_after_a_checkpoint(loss, tmp_path):
    more = {"max_iter": 3, "tol": 0, **loss}
    one, two = (fitted(n_threads=n, **more) for n in (1, 2))
    stopped = MiniBatchStratifiedNMF(RANK, random_state=0, batch_size=60, callback=interrupt, **more)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(X, **given(ALL), checkpoint=tmp_path / "state", checkpoint_every=0)
    resumed = clone(stopped).set_params(callback=None).fit(X, **given(ALL), checkpoint=tmp_path / "state")
    for name in ("shifts_", "components_", "W_"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes() == getattr(resumed, name).tobytes()
    blocks = [{"X": X[rows], **given(rows)} for rows in PARTS]
    streamed = [
        MiniBatchStratifiedNMF(RANK, random_state=0, n_threads=n, **loss).fit_blocks(blocks, n_passes=2) for n in (1, 2)
    ]
    assert streamed[0].shifts_.tobytes() == streamed[1].shifts_.tobytes()


@LOSSES
def test_a_saved_model_continues(loss, tmp_path):
    model = fitted(max_iter=3, **loss)
    model.save(tmp_path / "model")
    again = fastnmf.load(tmp_path / "model")
    np.testing.assert_array_equal(again.transform(X, **given(ALL)), model.transform(X, **given(ALL)))
    turned = dict(reversed(given(ALL[:40])["strata"].items()))  # the order of the factors does not matter
    model.partial_fit(X[:40], **given(ALL[:40]))
    again.partial_fit(X[:40], strata=turned)
    assert np.array_equal(model.shifts_, again.shifts_) and model.stratum_sizes_[0] == N + 40
    held = model._statistics
    altered = [("labels", held.labels[::-1])]
    altered += [("totals_Z", -held.totals_Z)] if loss else [("cross", -held.cross), ("smoothness", {"year": np.nan})]
    for name, value in altered:
        model._statistics = held.copy()
        setattr(model._statistics, name, value)
        model.save(tmp_path / "altered")
        with pytest.raises(ValueError, match="statistics"):
            fastnmf.load(tmp_path / "altered")


def test_forms_of_the_data_weights_and_a_warm_start():
    dense = MiniBatchStratifiedNMF(RANK, random_state=0, batch_size=60, max_iter=3).fit(A, **given(ALL))
    sparse = fitted(max_iter=3)
    np.testing.assert_allclose(dense.shifts_, sparse.shifts_, rtol=1e-7, atol=1e-9)
    small = MiniBatchStratifiedNMF(RANK, random_state=0, batch_size=60, max_iter=3).fit(X * 1e-150, **given(ALL))
    np.testing.assert_allclose(small.shifts_ * 1e150, sparse.shifts_, rtol=1e-7, atol=1e-9)
    weight, rows = np.where(YEAR == 1, 2.0, 1.0), np.concatenate([ALL, np.flatnonzero(YEAR == 1)])
    W, H, V = start_of(oracle.design([YEAR, SITE]))
    for more in ({}, KL):
        options = {"init": "custom", "batch_size": 2 * N, "max_iter": 3} | more
        weighted = MiniBatchStratifiedNMF(RANK, **options)
        weighted.fit(X, W=W, H=H, V=V, **given(ALL, True), sample_weight=weight)
        twice = MiniBatchStratifiedNMF(RANK, **options).fit(X[rows], W=W[rows], H=H, V=V, **given(rows, True))
        np.testing.assert_allclose(weighted.shifts_, twice.shifts_, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(weighted.stratum_sizes_, twice.stratum_sizes_)
    first = sparse.normalized_loss_
    again = sparse.set_params(warm_start=True).fit(X, **given(ALL))
    assert again.normalized_loss_ < first and again.history_["normalized_loss"][0] < first * 1.01
    forgetful = fitted(forget_factor=0.7, max_iter=8)
    assert forgetful.score(X, **given(ALL)) > 0.97


def test_scikit_learn_sees_it():
    with config_context(enable_metadata_routing=True):
        model = MiniBatchStratifiedNMF(2, max_iter=3, random_state=0).set_output(transform="pandas")
        pipe = make_pipeline(MaxAbsScaler(), model).fit(A, **given(ALL, True))
        table = pipe.transform(A, **given(ALL, True))
    assert table.shape == (N, 2) and table.columns[0] == "minibatchstratifiednmf0"
    assert clone(model).get_params()["smoothness"] == 0.0


@pytest.mark.parametrize("kind", [StratifiedNMF, MiniBatchStratifiedNMF])
def test_smoothness_draws_levels_together(kind, tmp_path):
    """The sums hold the objective with its penalty, and levels that no row of a batch has are drawn along."""
    data = batch_of(ALL)
    L = data.learned.laplacian({"year": 20.0})
    start = np.random.default_rng(1).random((M, RANK))
    statistics = DesignStatistics(RANK)
    statistics.smooth({"year": 20.0})
    parts = [batch_of(rows) for rows in BY_YEAR]
    statistics.start(parts[0], start, parts[0].stratum_means())
    batches, values = [Batch(each) for each in parts], []
    for _ in range(3):
        for batch in batches:
            statistics.visit(batch)
        values.append(statistics.value + statistics.penalty)
    rows, V = np.concatenate(BY_YEAR), statistics.pattern.dense(statistics.v)
    W = np.concatenate([batch.W[:, :RANK] for batch in batches])
    Z = oracle.design([YEAR[rows], SITE[rows]])
    wanted = oracle.objective(A[rows], Z, W, statistics.H[:, :RANK], V.T, L.toarray())
    np.testing.assert_allclose(values[-1], wanted, rtol=1e-10)
    assert values[0] > values[1] > values[2]
    roughness = []
    for strength in (0.0, 20.0):
        model = kind(RANK, random_state=0, smoothness=strength)
        for part in PARTS[:3]:
            model.partial_fit(X[part], strata=YEAR[part])
        roughness.append(np.square(np.diff(model.shifts_, axis=0)).sum())
    assert roughness[1] < roughness[0] / 4
    assert model.strata_.tolist() == [0, 1, 2, 3] and not hasattr(model, "shift_names_")
    model.save(tmp_path / "model")
    again = fastnmf.load(tmp_path / "model").partial_fit(X[PARTS[3]], strata=YEAR[PARTS[3]])
    np.testing.assert_array_equal(again.shifts_, model.partial_fit(X[PARTS[3]], strata=YEAR[PARTS[3]]).shifts_)


FITS = {
    "crossed": ({}, lambda rows: given(rows)),
    "exposure": ({"gauge": None}, lambda rows: given(rows, True)),
    "columns": ({}, lambda rows: {"design": np.column_stack([YEAR == 0, YEAR > 0, U])[rows] * 1.0}),
    "one-hot": ({}, lambda rows: {"design": sp.csr_array(np.eye(4)[YEAR][rows])}),
    "smooth": ({"smoothness": 2.0}, lambda rows: {"strata": YEAR[rows]}),
    "sparse shifts": ({"sparse_shifts": True}, lambda rows: given(rows)),
}


@pytest.mark.parametrize("case", FITS)
def test_partial_fit_continues_from_a_fit(case, tmp_path):
    options, rows_have = FITS[case]
    model = StratifiedNMF(RANK, random_state=0, max_iter=20, **options).fit(X[HALF], **rows_have(HALF))
    before = [model.score(X[rows], **rows_have(rows)) for rows in (HALF, REST)]
    sizes = model.stratum_sizes_.copy()
    model.save(tmp_path / "model")
    again = fastnmf.load(tmp_path / "model")
    # The sums are those of the approximation: they give the error of the fit, and V and H are its minimiser.
    X_next, rows = model._rows_of_batch(
        X[REST], *(rows_have(REST).get(name) for name in ("strata", "design", "exposure"))
    )
    statistics = model._statistics_of_fit(model._batch(X_next, rows, (), model._options(), reset=False))
    approximation = model.inverse_transform(model.W_, **rows_have(HALF))
    norm = np.square(approximation).sum() + model.reconstruction_err_**2
    np.testing.assert_allclose(statistics.sq_norm, norm, rtol=1e-9)
    H, v = statistics.H.copy(), statistics.v.copy()
    statistics._move(statistics.N)
    if case != "smooth":  # a penalty is a compromise with the data, here with their approximation
        np.testing.assert_allclose(statistics.value, model.reconstruction_err_**2, rtol=1e-6)
        np.testing.assert_allclose(statistics.H, H, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(statistics.v, v, rtol=1e-6, atol=1e-7)
    for each in (model, again):
        each.partial_fit(X[REST], **rows_have(REST))
    after = [model.score(X[rows], **rows_have(rows)) for rows in (HALF, REST)]
    assert after[1] > before[1] and after[0] > before[0] - 0.01
    assert np.array_equal(again.components_, model.components_) and not hasattr(model, "W_")
    assert model.stratum_sizes_.sum() > sizes.sum()
    model.partial_fit(X[HALF], **rows_have(HALF)).save(tmp_path / "model")
    assert fastnmf.load(tmp_path / "model").n_steps_ == 2


def test_partial_fit_after_fit_takes_new_levels_and_matrices_on_disk(tmp_path):
    old = np.flatnonzero(YEAR < 3)
    model = StratifiedNMF(RANK, random_state=0).fit(X[old], **given(old)).partial_fit(X, **given(ALL))
    assert model.strata_[0].tolist() == [0, 1, 2, 3] and model.stratum_sizes_[4] == (YEAR == 3).sum()
    assert model.stratum_sizes_[0] == len(old) + N and model.score(X, **given(ALL)) > 0.97
    save_csr(X[HALF], tmp_path / "x")
    on_disk = StratifiedNMF(RANK, random_state=0).fit(open_csr(tmp_path / "x"), **given(HALF))
    in_memory = StratifiedNMF(RANK, random_state=0).fit(X[HALF], **given(HALF))
    scores = [each.partial_fit(X[REST], **given(REST)).score(X, **given(ALL)) for each in (on_disk, in_memory)]
    np.testing.assert_allclose(scores[0], scores[1], atol=2e-3)  # their starts differ
    altered = StratifiedNMF(RANK, random_state=0, max_iter=2).fit(X[HALF], **given(HALF))
    altered._fitted_sums["sums"] = -altered._fitted_sums["sums"]
    altered.save(tmp_path / "altered")
    with pytest.raises(ValueError, match="_fitted_sums"):
        fastnmf.load(tmp_path / "altered")


ROWS = ALL[:40]


def mini(**more):
    return MiniBatchStratifiedNMF(2, max_iter=2, **more)


REFUSED = {
    "itakura-saito.* does not go with a design": lambda: mini(beta_loss="itakura-saito").fit(
        A[ROWS] + 1, **given(ROWS)
    ),
    "missing_values='zeros' does not go with a design": lambda: mini(missing_values="zeros").fit(X, **given(ALL)),
    "smoothness=1.0 needs the squared error": lambda: mini(smoothness=1.0, **KL).fit(X, strata=YEAR),
    "smoothness=1.0 was given for the factors year, site": lambda: mini(smoothness=1.0).fit(X, **given(ALL)),
    "Its shift is undetermined": lambda: mini().fit(X, design=np.eye(5)[YEAR]),
    "batches before had year, site; give": lambda: mini().fit_blocks(
        [(X, given(ALL)["strata"]), (X, given(ALL)["strata"] | {"more": YEAR})]
    ),
    "before had year, site and an exposure": lambda: mini().fit_blocks(
        [{"X": X, **given(ALL, True)}, (X, given(ALL)["strata"])]
    ),
    "before had the columns .*'z0', 'z1'": lambda: mini().fit_blocks(
        [{"X": X, "design": np.ones((N, 2))}, {"X": X, "design": np.ones((N, 3))}]
    ),
    "rows have one label a row, or none, but the rows before had a design": lambda: mini().fit_blocks(
        [(X, given(ALL)["strata"]), (X, SITE)]
    ),
    "rows have a design .* but the rows before had one label a row": lambda: mini().fit_blocks(
        [(X, SITE), (X, given(ALL)["strata"])]
    ),
    "A block of a later pass has levels that the first pass did not have": lambda: mini().fit_blocks(
        iter_of([(X[YEAR < 3], given(YEAR < 3)["strata"]), (X, given(ALL)["strata"])]), n_passes=2
    ),
    "A block has the keys .*'stratum'": lambda: mini().fit_blocks([{"X": X, "stratum": SITE}]),
    "A block has 3 parts; expected X, a pair": lambda: mini().fit_blocks([(X, SITE, U)]),
    "fitted with an exposure; pass exposure=": lambda: (
        mini().fit(X, **given(ALL, True)).partial_fit(X[ROWS], **given(ROWS))
    ),
    "one label for each row, not an exposure": lambda: mini().fit(X, strata=SITE).transform(X, strata=SITE, exposure=U),
    "predict_stratum is not available after a fit with a design": lambda: (
        mini().fit(X, **given(ALL)).predict_stratum(X)
    ),
    "no weights of rows; call fit without weights": lambda: (
        StratifiedNMF(2, max_iter=2).fit(X, **given(ALL), sample_weight=U + 1).partial_fit(X, **given(ALL))
    ),
}


def iter_of(passes):
    left = iter(passes)
    return lambda: iter([next(left)])


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_go_together_is_refused(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()
