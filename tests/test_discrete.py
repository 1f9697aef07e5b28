"""Peeling from below, and factors of zeros and ones."""

import warnings

import numpy as np
import oracles_picks as oracles
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from fastnmf import BinaryNMF, BooleanNMF, UnderapproximationNMF
from fastnmf.core import discrete
from fastnmf.data.layout import Compressed
from fastnmf.data.strata import Strata
from fastnmf.kernels import discrete as kernels
from fastnmf.models import binary

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FORMS = (np.asarray, sp.csr_array)


def parts(density=0.4, seed=0):
    """Draw the product of two sparse factors: X (30, 25) of rank 3 with many zeros, an empty row and column."""
    rng = np.random.default_rng(seed)
    W, H = (rng.random(shape) * (rng.random(shape) < density) for shape in ((30, 3), (3, 25)))
    X = W @ H
    X[4], X[:, 7] = 0, 0
    return X


# ---------------------------------------------------------------- underapproximation


@pytest.mark.parametrize("form", FORMS)
def test_peeling_is_that_with_dense_multipliers(form):
    for X in (parts(), parts(seed=1), np.random.default_rng(2).random((12, 9))):
        model = UnderapproximationNMF(3, max_iter=40).fit(form(X))
        for c, (u, v, left) in enumerate(oracles.underapproximate(X, 3, 40)):
            # 40 steps and three deflations amplify the rounding of other sums.
            np.testing.assert_allclose(np.outer(model.W_[:, c], model.components_[c]), np.outer(u, v), atol=1e-9)
            assert model.history_["residual"][c + 1] == pytest.approx(left, rel=1e-9)


def test_tasks_of_large_data_share_the_sums():
    """Above 200,000 non-zeros, rows and columns are split: the sums of the tasks have to be those of one."""
    X = np.random.default_rng(3).random((600, 700)) * (np.random.default_rng(4).random((600, 700)) < 0.6)
    (u, v, left), *_ = oracles.underapproximate(X, 1, 3)
    one, two = (UnderapproximationNMF(1, max_iter=3, n_threads=n).fit(sp.csr_array(X)) for n in (1, 2))
    np.testing.assert_array_equal(one.components_, two.components_)
    np.testing.assert_allclose(one.W_ @ one.components_, np.outer(u, v), atol=1e-6)
    assert one.history_["residual"][1] == pytest.approx(left, rel=1e-6)
    single = UnderapproximationNMF(1, max_iter=3).fit(sp.csr_array(X.astype(np.float32)))
    assert single.W_.dtype == np.float32
    np.testing.assert_allclose(single.W_ @ single.components_, np.outer(u, v), atol=1e-4)


def test_the_fixed_seed_case():
    X = np.random.default_rng(14).random((30, 20))
    case = oracles.numbers("nmu_recursive_lagrangian")
    model = UnderapproximationNMF(4, max_iter=100).fit(X)
    share = model.history_["residual"][1:] / np.linalg.norm(X)
    np.testing.assert_allclose(share, case["rel_residual_pos_part"], rtol=1e-8)
    assert model.overshoot_ == pytest.approx(case["rel_violation"], rel=1e-8)
    assert (model.W_ @ model.components_ - X).max() == pytest.approx(case["max_violation"], rel=1e-8)
    below = UnderapproximationNMF(4, feasible=True, max_iter=100).fit(X)
    # The case cuts in another way; ours leaves less after every component.
    assert (below.history_["residual"][1:] / np.linalg.norm(X) < case["feasible_variant_relerr"]).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_feasible_stays_below_and_keeps_the_zeros(seed, form):
    X = parts(seed=seed)
    model = UnderapproximationNMF(4, feasible=True).fit(form(X))
    Y = model.W_ @ model.components_
    assert (Y <= X * (1 + 1e-12)).all() and not Y[X == 0].any()
    assert model.overshoot_ < 1e-12
    # Nothing is taken twice: what is left is the error.
    assert model.history_["residual"][-1] == pytest.approx(np.linalg.norm(X - Y), rel=1e-9)
    assert model.reconstruction_err_ == pytest.approx(np.linalg.norm(X - Y), rel=1e-6)
    assert (np.diff(model.history_["residual"]) <= 0).all() and model.history_["residual"][1] < np.linalg.norm(X)
    np.testing.assert_array_equal(model.transform(form(X)), model.W_)


def test_what_a_block_explains_is_that_of_the_plain_loops():
    rng = np.random.default_rng(0)
    for density in (0.3, 0.6, 1.0):
        R = rng.random((7, 11)) * (rng.random((7, 11)) < density)
        R[:3, [1, 4]] += 0.5
        R[3:, [1, 4]] = 0
        rows, columns = (Compressed(M.indptr, M.indices, M.data) for M in map(sp.csr_array, (R, R.T)))
        out = np.empty(11)
        kernels.csr_blocks(columns.tasks(1), columns.csr, rows.csr, out)
        np.testing.assert_allclose(out, oracles.blocks(R), rtol=1e-12, atol=1e-14)
        assert out.any()


@pytest.mark.parametrize("turn", [False, True])
def test_a_feasible_part_is_more_than_one_feature(turn):
    """A frequent feature explains more than a block of four features in eight samples; the block is found."""
    rng = np.random.default_rng(0)
    X = (rng.random((60, 40)) < 0.05) * rng.random((60, 40))
    X[:, 0] = rng.random(60)
    X[:8, 10:14] = np.outer(rng.random(8) + 0.2, rng.random(4) + 0.2)
    model = UnderapproximationNMF(1, feasible=True).fit(sp.csr_array(X.T if turn else X))
    of_rows, of_columns = model.W_[:, 0], model.components_[0]
    of_rows, of_columns = (of_columns, of_rows) if turn else (of_rows, of_columns)
    assert set(np.flatnonzero(of_columns)) >= {10, 11, 12, 13} and set(np.flatnonzero(of_rows)) == set(range(8))
    assert np.square(X[:, 0]).sum() > np.square(X[:8, 10:14]).sum()


def test_overshoot_is_what_is_above():
    X = parts()
    rng = np.random.default_rng(0)
    W, H = rng.random((30, 2)), rng.random((2, 25))
    want = np.linalg.norm(np.maximum(W @ H - X, 0))
    assert discrete.overshoot(sp.csr_array(X), W, H) == pytest.approx(want, rel=1e-10)
    assert discrete.overshoot(X, 0 * W, H) == 0


def test_the_first_components_do_not_depend_on_how_many_follow():
    X = parts()
    few, many = UnderapproximationNMF(2).fit(X), UnderapproximationNMF(4).fit(X)
    np.testing.assert_array_equal(many.components_[:2], few.components_)


def test_one_component_below_is_the_matrix_of_rank_one():
    X = np.outer([1.0, 2, 0, 3], [0, 1.0, 4])
    for feasible in (False, True):
        model = UnderapproximationNMF(2, feasible=feasible).fit(X)
        assert model.history_["residual"][1] < 1e-7 and model.normalized_loss_ < 1e-7


def test_a_start_of_the_users():
    X = parts()
    svd = UnderapproximationNMF(2, max_iter=5).fit(X)
    rng = np.random.default_rng(0)
    own = UnderapproximationNMF(2, max_iter=5, init="custom").fit(X, W=rng.random((30, 2)), H=rng.random((2, 25)))
    assert not np.allclose(own.components_, svd.components_)
    with pytest.raises(ValueError, match="pass W, H"):
        UnderapproximationNMF(2, init="custom").fit(X)


def test_one_column_and_tall_data():
    """Full singular vectors of a single column would be a matrix of rows times rows."""
    X = np.arange(60_000.0)[:, None]
    for form in FORMS:
        model = UnderapproximationNMF(1, max_iter=2).fit(form(X))
        assert model.normalized_loss_ < 1e-7
    wide = UnderapproximationNMF(1, max_iter=2).fit(sp.csr_array(np.outer([1.0, 0, 2], X[:, 0])))
    assert wide.normalized_loss_ < 1e-7


@pytest.mark.parametrize("factor", [1e-120, 1e120])
def test_extreme_scales_are_the_same_problem(factor):
    X = parts()
    for feasible in (False, True):
        want, got = (UnderapproximationNMF(2, feasible=feasible).fit(Y) for Y in (X, factor * X))
        np.testing.assert_allclose(got.W_ @ (got.components_ / factor), want.W_ @ want.components_, rtol=1e-6)
        np.testing.assert_allclose(got.history_["residual"], factor * want.history_["residual"], rtol=1e-6)


# ---------------------------------------------------------------- zeros and ones


@pytest.mark.parametrize("form", FORMS)
def test_planted_binary_factors_are_found_exactly(form):
    W, H = oracles.planted_sets()
    model = BinaryNMF(4, random_state=0).fit(form(W @ H))
    assert model.reconstruction_err_ == oracles.numbers("binary_cd")["best_obj"] == 0
    order = [int(np.flatnonzero((model.components_ == h).all(axis=1))[0]) for h in H]
    np.testing.assert_array_equal(model.W_[:, order], W)
    np.testing.assert_array_equal(model.transform(form(W @ H)), model.W_)
    assert model.score(form(W @ H)) == 1


@pytest.mark.parametrize("form", FORMS)
def test_planted_boolean_factors_are_found_exactly(form):
    W, H = oracles.planted_sets()
    X = oracles.boolean_product(W, H).astype(float)
    assert X.sum() == oracles.numbers("boolean_via_interval")["ones"] == 900
    model = BooleanNMF(4, random_state=0).fit(form(3 * X))
    assert model.n_mismatches_ == oracles.numbers("boolean_via_interval")["mismatches"] == 0
    np.testing.assert_array_equal(model.inverse_transform(model.W_), X)
    np.testing.assert_array_equal(model.inverse_transform(model.transform(form(X))), X)
    assert model.score(form(X)) == 1


def noisy(seed=0):
    rng = np.random.default_rng(seed)
    W, H = oracles.planted_sets()
    X = np.minimum(W @ H, 1)[:20, :15]
    return np.where(rng.random(X.shape) < 0.15, 1 - X, X)


@pytest.mark.parametrize("form", FORMS)
def test_switching_never_hurts_and_ends_where_no_switch_helps(form):
    for seed in range(3):
        X = noisy(seed)
        for estimator, error in (
            (BinaryNMF, lambda W, H, X=X: np.square(X - W @ H).sum()),
            (BooleanNMF, lambda W, H, X=X: (X != oracles.boolean_product(W, H)).sum()),
        ):
            model = estimator(3, random_state=seed, n_init=1).fit(form(X))
            W, H = model.W_.copy(), model.components_.copy()
            assert set(np.unique(W)) <= {0, 1} and set(np.unique(H)) <= {0, 1}
            values = model.history_["objective"]
            assert (np.diff(values) <= 0).all() and values[-1] == error(W, H)
            assert oracles.best_single_switch(W, lambda W, H=H, error=error: error(W, H)) == values[-1]
            assert oracles.best_single_switch(H, lambda H, W=W, error=error: error(W, H)) == values[-1]
            assert model.reconstruction_err_ == pytest.approx(values[-1] ** 0.5)
            W = model.transform(form(X))
            assert oracles.best_single_switch(W, lambda W, H=H, error=error: error(W, H)) == error(W, H)
            assert model.score(form(X)) == pytest.approx(1 - error(W, H) / X.sum())


def test_mismatches_are_those_of_the_boolean_product():
    rng = np.random.default_rng(0)
    for _ in range(5):
        X = rng.random((12, 9)) < 0.4
        W, H = rng.random((12, 4)) < 0.4, rng.random((9, 4)) < 0.4
        data = Strata.from_array(sp.csr_array(X.astype(float)))
        want = (X != oracles.boolean_product(W, H.T)).sum(axis=1)
        np.testing.assert_array_equal(discrete.mismatches(W, data.rows, H), want)
        better = W.copy()
        got = discrete.flip_boolean(better, data.rows, H)
        np.testing.assert_array_equal(got, (X != oracles.boolean_product(better, H.T)).sum(axis=1))
        assert (got <= want).all() and got.sum() < want.sum()


def test_the_relaxed_fit_of_boolean_factors_is_short(monkeypatch):
    made, real = [], binary.solve
    monkeypatch.setattr(binary, "solve", lambda *given, **more: made.append(more["max_iter"]) or real(*given, **more))
    X = load_digits().data[:600] > 7
    model = BooleanNMF(5, random_state=0, n_init=4).fit(X.astype(float))
    BooleanNMF(2, random_state=0, n_init=1, max_iter=3).fit(X[:20].astype(float))
    BinaryNMF(2, random_state=0, n_init=1).fit(X[:20].astype(float))
    assert made == [40] * 4 + [3, 200]
    monkeypatch.setattr(BooleanNMF, "_relaxed_iter", None)
    longer = BooleanNMF(5, random_state=0, n_init=4).fit(X.astype(float))
    assert model.n_mismatches_ <= 1.005 * longer.n_mismatches_


def test_more_starts_are_never_worse():
    X = noisy()
    for estimator in (BinaryNMF, BooleanNMF):
        losses = [estimator(4, random_state=1, n_init=n).fit(X).reconstruction_err_ for n in (1, 3, 6)]
        assert losses[0] >= losses[1] >= losses[2]


@pytest.mark.parametrize("estimator", [BinaryNMF, BooleanNMF])
def test_same_seed_same_bits_and_sparse_as_dense(estimator):
    X = noisy()
    start = {"W": np.random.default_rng(0).random((20, 3)) + 0.1, "H": np.random.default_rng(1).random((3, 15)) + 0.1}
    a, b = (estimator(3, init="custom").fit(form(X), **start) for form in FORMS)
    np.testing.assert_array_equal(a.components_, b.components_)
    again = [estimator(3, random_state=5, n_threads=n).fit(X).W_.tobytes() for n in (1, 2)]
    assert again[0] == again[1]
    single = estimator(3, init="custom").fit(X.astype(np.float32), **start)
    assert single.W_.dtype == single.components_.dtype == np.float32


@pytest.mark.parametrize("estimator", [BinaryNMF, BooleanNMF])
def test_degenerate_zeros_and_ones(estimator):
    nothing = estimator(2, random_state=0, n_init=2).fit(sp.csr_array((5, 4)))
    assert nothing.reconstruction_err_ == nothing.normalized_loss_ == 0
    one = estimator(1, random_state=0).fit(np.array([[1.0, 0, 1]]))
    np.testing.assert_array_equal(one.inverse_transform(one.W_), [[1, 0, 1]])
    X = noisy()
    X[3], X[:, 2] = 0, 0
    model = estimator(3, random_state=0).fit(X)
    assert not model.W_[3].any() and not model.components_[:, 2].any()
    with pytest.raises(ValueError, match="n_init=0"):
        estimator(n_init=0).fit(X)


def test_sums_of_ones_are_not_of_extreme_size():
    with pytest.raises(ValueError, match="Rescale X"):
        BinaryNMF(2).fit(1e60 * np.eye(3))


# ---------------------------------------------------------------- one fit as any other


MODELS = {
    "below": lambda **more: UnderapproximationNMF(4, max_iter=10, **more),
    "feasible": lambda **more: UnderapproximationNMF(4, feasible=True, max_iter=10, **more),
    "binary": lambda **more: BinaryNMF(4, **{"random_state": 2, "n_init": 3, **more}),
    "boolean": lambda **more: BooleanNMF(4, **{"random_state": 2, "n_init": 3, **more}),
}
every_model = pytest.mark.parametrize("name", MODELS)
every_switch = pytest.mark.parametrize("name", ["binary", "boolean"])


class Killed(Exception):
    pass


@every_model
@pytest.mark.parametrize("form", FORMS)
def test_a_killed_fit_goes_on_with_the_same_bits(name, form, tmp_path):
    X, at = form(noisy()), []
    whole = MODELS[name](callback=lambda state: at.append((state.run, state.iteration))).fit(X)
    assert len(at) > 4 and len(set(at)) == len(at)
    for killed_at in at[1::3]:

        def kill(state, killed_at=killed_at):
            if (state.run, state.iteration) == killed_at:
                raise Killed

        path = tmp_path / "{}-{}".format(*killed_at)
        more = {"checkpoint": path, "checkpoint_every": 0}
        with pytest.raises(Killed):
            MODELS[name](callback=kill).fit(X, **more)
        again = MODELS[name]().fit(X, **more)
        for attribute in ("W_", "components_", "run_objectives_"):
            assert getattr(again, attribute).tobytes() == getattr(whole, attribute).tobytes()
        for column in whole.history_.keys() - {"seconds"}:
            assert again.history_[column].tobytes() == whole.history_[column].tobytes()
        assert again.n_iter_ == whole.n_iter_ and again.stopped_by_ == whole.stopped_by_
        assert again.reconstruction_err_ == whole.reconstruction_err_


@every_model
def test_on_what_iterates_depend_a_checkpoint_does_not_yield(name, tmp_path):
    MODELS[name]().fit(noisy(), checkpoint=tmp_path / "c")
    with pytest.raises(ValueError, match="max_iter was"):
        MODELS[name]().set_params(max_iter=7).fit(noisy(), checkpoint=tmp_path / "c")


@every_model
def test_the_history_and_the_end_are_those_of_all_models(name):
    X = noisy()
    model = MODELS[name]().fit(X)
    history = model.history_
    assert {"iteration", "normalized_loss", "objective", "seconds"} <= history.keys()
    assert model.converged_ and model.stopped_by_ == ("tol" if name in ("binary", "boolean") else "max_iter")
    assert history["objective"][-1] == model.run_objectives_.min() and model.n_iter_ == history["iteration"][-1]
    if "residual" in history:
        np.testing.assert_allclose(history["objective"], history["residual"] ** 2, rtol=1e-12)
        shares = history["residual"] / np.linalg.norm(X)
        np.testing.assert_allclose(history["normalized_loss"][:-1], shares[:-1], rtol=1e-12)
        assert history["normalized_loss"][-1] == model.normalized_loss_  # of W H, with what lies above the data
        assert model.n_iter_ == model.n_components_ == 4
    else:
        assert len(model.run_objectives_) == model.n_runs_ == 3


@every_model
def test_time_and_callbacks_stop_a_fit(name):
    X = noisy()
    short = MODELS[name](max_time=0).fit(X)
    assert short.stopped_by_ == "max_time" and short.n_iter_ == 1 == len(short.run_objectives_)
    seen = []

    def stop(state):
        seen.append((state.iteration, state.W, state.H))
        return state.iteration == 1

    stopped = MODELS[name](callback=stop).fit(X)
    assert stopped.stopped_by_ == "callback" and stopped.n_iter_ == 1 and [entry[0] for entry in seen] == [0, 1]
    assert (seen[1][1] == stopped.W_).all() and (seen[1][2] == stopped.components_).all()
    if hasattr(stopped, "overshoot_"):
        assert stopped.components_[0].any() and not stopped.components_[1:].any()


def test_the_relaxed_fit_ends_with_the_time(monkeypatch):
    given = []
    monkeypatch.setattr("fastnmf.models.binary.solve", lambda *args, **options: given.append(options["max_time"]))
    BinaryNMF(3, random_state=0, max_time=1e6, n_init=2).fit(noisy())
    assert len(given) == 2 and 0 < given[1] < given[0] < 1e6


def test_warm_start_takes_the_products_of_the_previous_fit():
    X = parts()
    for feasible in (False, True):
        first = UnderapproximationNMF(2, max_iter=5, feasible=feasible, warm_start=True).fit(X)
        start = {"W": first.W_, "H": first.components_}
        own = UnderapproximationNMF(2, max_iter=5, feasible=feasible, init="custom").fit(X, **start)
        np.testing.assert_array_equal(first.fit(X).components_, own.components_)
        fewer = first.fit(X[:20])  # other rows: only the components are a start
        assert fewer.W_.shape == (20, 2) and (fewer.W_.any(axis=0) == fewer.components_.any(axis=1)).all()
        assert fewer.normalized_loss_ < 0.9
    with pytest.raises(ValueError, match="warm_start continues"):
        first.set_params(n_components=3).fit(X)


@every_switch
def test_warm_start_goes_on_switching(name):
    X = noisy()
    first = MODELS[name](max_iter=1, n_init=1).fit(X)
    again = first.set_params(warm_start=True, max_iter=50, n_init=3)
    before = first.history_["objective"][-1]
    again.fit(X)
    assert again.history_["objective"][0] == before > again.history_["objective"][-1] and again.n_runs_ == 1
    kept = again.components_.copy()
    np.testing.assert_array_equal(again.fit(X).components_, kept)
    assert again.n_iter_ == 1
    assert again.fit(X[:15]).W_.shape == (15, 4)


@every_switch
def test_a_fit_that_was_cut_off_says_so(name):
    with pytest.warns(ConvergenceWarning, match="max_iter=1 rounds of switching"):
        assert not MODELS[name](max_iter=1).fit(noisy()).converged_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert MODELS[name]().fit(noisy()).converged_


@every_switch
def test_a_start_of_the_users_is_one_run(name):
    X, rng = noisy(), np.random.default_rng(0)
    start = {"W": rng.random((20, 4)) + 0.1, "H": rng.random((4, 15)) + 0.1}
    kind = type(MODELS[name]())
    for n_init in (10, 1):
        assert kind(4, init="custom", n_init=n_init).fit(X, **start).n_runs_ == 1
    with pytest.raises(ValueError, match="n_init=3 requests several starts"):
        kind(4, init="custom", n_init=3).fit(X, **start)
