"""Components that last several rows: the promises that they do not share with the models of one row at a time."""

import warnings

import numpy as np
import oracle_data
import oracles_structured as oracles
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits

from fastnmf import NMF, ConvolutiveNMF, load
from fastnmf.core.losses.convolution import Lags, fold_lags, shift_rows, stacked
from fastnmf.kernels.jit import threads
from fastnmf.models import convolutive

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
LOSSES = {"frobenius": 2.0, "kullback-leibler": 1.0}
every_loss = pytest.mark.parametrize("loss", LOSSES)


def drawn(density=0.6):
    """Draw data with an empty row and an empty column, and a start of three components over four lags."""
    rng = np.random.default_rng(3)
    X = rng.random((20, 9)) * (rng.random((20, 9)) < density)
    X[5], X[:, 3] = 0, 0
    return X, {"W": rng.random((20, 3)), "H": rng.random((4, 3, 9))}


def planted(seed):
    """Draw 300 rows in which three patterns of five rows begin every twentieth row or so, with noise of 0.01."""
    rng = np.random.default_rng(seed)
    C = rng.random((5, 3, 15)) * (rng.random((5, 3, 15)) < 0.3)
    W = (rng.random((300, 3)) + 0.5) * (rng.random((300, 3)) < 0.05)
    return oracles.convolve(W, C) + 0.01 * rng.random((300, 15)), C, W


def custom(loss, n_lags=4, **options):
    return ConvolutiveNMF(3, **{"n_lags": n_lags, "beta_loss": loss, "init": "custom", "tol": 0, **options})


@pytest.mark.parametrize(("loss", "unit"), [("kullback-leibler", 1.0), ("frobenius", 0.5)])
def test_fixed_seed_numbers(loss, unit):
    rng = np.random.default_rng(16)
    X, W, H = rng.random((20, 50)), rng.random((3, 20, 4)), rng.random((4, 50))
    model = ConvolutiveNMF(4, n_lags=3, beta_loss=loss, solver="mu", init="custom", tol=0, max_iter=501)
    model.fit(X.T, W=H.T, H=W.transpose(0, 2, 1))
    objective = unit * model.history_["objective"]  # the numbers are of half the squared error
    wanted = oracle_data.variants()[f"convolutive_beta{LOSSES[loss]:.0f}"]["obj"]
    assert len(wanted) == 4
    for i, value in wanted.items():  # 500 iterations amplify rounding
        assert objective[int(i)] == pytest.approx(value, rel=1e-8 if int(i) <= 100 else 1e-5), i
    assert (np.diff(objective) <= 1e-13 * objective[0]).all()


@pytest.mark.parametrize("beta", [0.5, 1, 1.5, 2, 3])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_steps_are_those_of_plain_loops(beta, form):
    X, start = drawn()
    model = custom(beta, solver="mu", max_iter=3).fit(form(X), **start)
    W, C = start["W"], start["H"]
    Ys = [oracles.convolve(W, C)]
    power = 1 / (2 - beta) if beta < 1 else 1 / (beta - 1) if beta > 2 else 1.0
    if power != 1:
        assert (np.diff(model.history_["objective"]) <= 0).all()
        return
    for _ in range(2):
        W, C = oracles.convolutive_step(X, W, C, beta)
        Ys.append(oracles.convolve(W, C))
    for Y, value in zip(Ys, model.history_["objective"], strict=False):
        assert value == pytest.approx(divergence(X, Y, beta), rel=1e-10)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("n_rows", [20, 3])
def test_descents_are_those_of_plain_loops(form, n_rows):
    X, start = drawn()
    X, start["W"] = X[:n_rows], start["W"][:n_rows]
    start["W"][:, 1], start["H"][0] = 0, 0  # both may leave a zero
    model = custom("frobenius", solver="cd", max_iter=3).fit(form(X), **start)
    W, C = start["W"], start["H"]
    for value in model.history_["objective"][:3]:  # the last one is that of a W that is solved for
        assert value == pytest.approx(divergence(X, oracles.convolve(W, C), 2), rel=1e-10)
        for _ in range(2):
            W = oracles.lagged_sweep(X, W, C)
        for _ in range(2):
            C = oracles.lagged_components(X, W, C)


@pytest.mark.parametrize("n_rows", [9, 2])
def test_the_half_gradient_of_weights_is_that_of_finite_differences(n_rows):
    rng = np.random.default_rng(4)
    X, W, C = rng.random((n_rows, 5)), rng.random((n_rows, 2)), rng.random((3, 2, 5))
    lags, flat = Lags(np.einsum("aj,bj->ab", *2 * [C.reshape(6, 5)]), 3, 2), C.reshape(6, 5)
    found = lags.pull(W) - fold_lags(X @ flat.T, 3, 2)
    for i, c in ((0, 1), (1, 0), (n_rows - 1, 1)):
        values = []
        for step in (1e-4, -1e-4):
            moved = W.copy()
            moved[i, c] += step
            values.append(divergence(X, oracles.convolve(moved, C), 2))
        assert found[i, c] == pytest.approx((values[0] - values[1]) / 4e-4, rel=1e-7)


def divergence(X, Y, beta):
    if beta == 2:
        return np.sum((X - Y) ** 2)
    if beta == 1:
        logs = np.where(X > 0, X * np.log(np.where(X > 0, X, 1) / np.where(X > 0, Y, 1)), 0)
        return np.sum(logs - X + Y)
    return np.sum(X**beta + (beta - 1) * Y**beta - beta * X * Y ** (beta - 1)) / (beta * (beta - 1))


@pytest.mark.parametrize("n_rows", [1, 3, 8])
def test_folding_is_the_transpose_of_stacking(n_rows):
    rng = np.random.default_rng(0)
    W, G = rng.random((n_rows, 2)), rng.random((n_rows, 10))
    L = stacked(W, 4, np.zeros((n_rows, 10)))
    assert not L[:, 8:].any()
    assert np.sum(L * G) == pytest.approx(np.sum(W * fold_lags(G, 4, 2)), rel=1e-14)
    C = rng.random((4, 2, 3))
    np.testing.assert_allclose(L[:, :8] @ C.reshape(8, 3), oracles.convolve(W, C), rtol=1e-14)
    assert shift_rows(W, 1)[1:].tolist() == W[:-1].tolist() and shift_rows(W, -1)[:-1].tolist() == W[1:].tolist()
    assert not shift_rows(W, 1)[0].any() and not shift_rows(W, 9).any()


@every_loss
def test_the_objective_never_rises_and_is_that_of_the_factors(loss):
    X, start = drawn()
    model = custom(loss, max_iter=60).fit(X, **start)
    objective, Y = model.history_["objective"], model.inverse_transform(model.W_)
    assert (np.diff(objective) <= 1e-13 * objective[0]).all() and objective[-1] < 0.9 * objective[1]
    np.testing.assert_allclose(Y, oracles.convolve(model.W_, model.components_), rtol=1e-12, atol=1e-14)
    assert objective[-1] == pytest.approx(divergence(X, Y, LOSSES[loss]), rel=1e-9)
    unit = 1 if loss == "frobenius" else 2
    assert model.reconstruction_err_ == pytest.approx(np.sqrt(unit * objective[-1]), rel=1e-9)
    np.testing.assert_allclose(model.components_.sum(axis=(0, 2)), 1)


@every_loss
def test_the_last_weights_are_a_minimum_that_transform_repeats(loss):
    X, start = drawn()
    model = custom(loss, max_iter=300, tol=1e-9).fit(X, **start)
    found = model.transform(X)
    values = [divergence(X, model.inverse_transform(W), LOSSES[loss]) for W in (model.W_, found)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    W = model.W_.copy()
    for i, c in ((0, 0), (7, 1), (19, 2)):  # no entry alone can do better
        for step in (1e-3, -1e-3):
            W[i, c] = max(model.W_[i, c] + step, 0)
            assert divergence(X, model.inverse_transform(W), LOSSES[loss]) >= values[0] * (1 - 1e-6)
        W[i, c] = model.W_[i, c]


@every_loss
@pytest.mark.parametrize("seed", range(4))
def test_planted_patterns_are_found(loss, seed):
    X, C, W = planted(seed)
    model = ConvolutiveNMF(3, n_lags=5, beta_loss=loss, random_state=seed, max_iter=100).fit(X)
    flat = [F.transpose(1, 0, 2).reshape(3, -1) for F in (model.components_, C)]
    assert oracles.matched(*flat) > 0.99
    order = np.argmax((flat[1] / np.linalg.norm(flat[1], axis=1)[:, None]) @ flat[0].T, axis=1)
    for c, found in enumerate(order):
        begins = np.flatnonzero(model.W_[:, found] > 0.25 * model.W_[:, found].max())
        inner = np.flatnonzero(W[:295, c])  # a pattern that the end cuts off may be told from others or not
        assert set(inner) <= set(begins)


def test_a_search_looks_at_a_part_of_large_data_and_does_so_much_work(monkeypatch):
    X, C, _ = planted(1)
    X = np.hstack([np.vstack([0.01 * X, X, X]), np.full((900, 1), 1e-3)])  # nothing much in the first 300 rows
    shapes, real = [], convolutive.ShiftSearch.__init__

    def note(self, problem, factors, *limits):
        shapes.append((len(factors["W"]), len(factors["H"]), limits[-1]))
        real(self, problem, factors, *limits)

    monkeypatch.setattr(convolutive.ShiftSearch, "__init__", note)
    for name, most in {"MOST_ROWS": 300, "MOST_COLUMNS": 15}.items():
        monkeypatch.setattr(convolutive, name, most)
    for form in (np.asarray, sp.csr_array):
        model = ConvolutiveNMF(3, n_lags=5, random_state=0).fit(form(X))
        assert shapes[-1][:2] == (300, 15) and model.converged_
        flat = [F[:, :, :15].transpose(1, 0, 2).reshape(3, -1) for F in (model.components_, C)]
        assert oracles.matched(*flat) > 0.99
    monkeypatch.setattr(convolutive, "MOST_WORK", 1e6)
    tried, step = [], convolutive.ShiftSearch.step
    monkeypatch.setattr(convolutive.ShiftSearch, "step", lambda self: tried.append(0) or step(self))
    ConvolutiveNMF(3, n_lags=5, random_state=0).fit(X)
    assert shapes[-1][2] < 50 and not tried  # not enough for one component
    monkeypatch.setattr(convolutive, "MOST_WORK", 4e7)
    ConvolutiveNMF(3, n_lags=5, random_state=0).fit(X)
    assert shapes[-1][2] - 50 <= 100 * len(tried) < shapes[-1][2] + 50


def test_a_default_fit_settles():
    X = load_digits().data[:200]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = ConvolutiveNMF(10, n_lags=3, init="random", random_state=0).fit(X)
    longer = ConvolutiveNMF(10, n_lags=3, init="random", random_state=0, max_iter=4 * model.n_iter_, tol=0).fit(X)
    assert model.normalized_loss_ < 1.005 * longer.normalized_loss_


def test_strong_features_are_those_of_all_lags_or_of_one():
    X, _, _ = planted(0)
    model = ConvolutiveNMF(3, n_lags=5, random_state=0, max_iter=20).fit(X)
    names = [f"n{j}" for j in range(15)]
    for lag, components in ((None, model.components_.sum(axis=0)), (1, model.components_[1])):
        want = [[names[j] for j in np.argsort(-h, kind="stable")[:4] if h[j] > 0] for h in components]
        assert model.top_features(4, names, lag=lag) == want
    with pytest.raises(ValueError, match="lag=5 is not valid; expected less than 5, the n_lags"):
        model.top_features(lag=5)


def test_a_loaded_model_transforms_to_the_same_bits(tmp_path):
    X = drawn()[0]
    model = ConvolutiveNMF(2, n_lags=2, random_state=0, max_iter=10).fit(X)
    model.save(tmp_path / "m.npz")
    assert model.components_.flags.c_contiguous
    np.testing.assert_array_equal(load(tmp_path / "m.npz").transform(X), model.transform(X))


def test_one_lag_is_plain_factorization():
    X, start = drawn()
    plain = NMF(3, solver="mu", init="custom", tol=0, max_iter=20).fit(X, W=start["W"], H=start["H"][0])
    model = custom("frobenius", n_lags=1, solver="mu", max_iter=20).fit(X, W=start["W"], H=start["H"][:1])
    np.testing.assert_allclose(  # entry 20 is that of the last W, solved for exactly; plain NMF's eps is 1e-9
        model.history_["objective"][:20], plain.history_["objective"][:20], rtol=1e-7
    )


def test_a_start_that_was_searched_for_does_not_depend_on_layout_or_threads():
    X, _ = drawn()
    options = {"n_lags": 4, "random_state": 0, "max_iter": 10, "tol": 0}
    dense, sparse = (ConvolutiveNMF(2, **options).fit(form(X)) for form in (np.asarray, sp.csr_array))
    # Sums in another order, through some 300 iterations of the search.
    np.testing.assert_allclose(sparse.inverse_transform(sparse.W_), dense.inverse_transform(dense.W_), rtol=1e-5)
    with threads(1):
        assert ConvolutiveNMF(2, **options).fit(X).W_.tobytes() == dense.W_.tobytes()
    assert ConvolutiveNMF(2, max_time=0, **options).fit(X).n_iter_ == 1


@every_loss
def test_fewer_rows_than_lags_and_other_degenerate_data(loss):
    for X in (np.zeros((4, 3)), np.ones((1, 4)), np.ones((4, 1)), np.outer([0.0, 1, 2], [3.0, 0, 1])):
        for k in (1, 4):
            init = "random" if k == 1 else "shifted"
            model = ConvolutiveNMF(k, n_lags=6, beta_loss=loss, init=init, max_iter=5, random_state=0).fit(X)
            assert model.components_.shape == (6, k, X.shape[1]) and np.isfinite(model.components_).all()
            for W in (model.W_, model.transform(X), model.transform(X[:1])):
                assert np.isfinite(W).all() and (W >= 0).all()
            assert model.transform(X[:1]).shape == (1, k)


def test_sparse_data_stay_sparse(monkeypatch):
    X = sp.random_array((400, 60), density=0.02, rng=np.random.default_rng(0), format="csr")

    def refuse(*args, **kwargs):
        raise AssertionError("made dense")

    for name in ("toarray", "todense"):
        monkeypatch.setattr(sp.csr_array, name, refuse)
        monkeypatch.setattr(sp.csc_array, name, refuse)
    for loss in LOSSES:
        model = ConvolutiveNMF(2, n_lags=3, beta_loss=loss, max_iter=3, random_state=0).fit(X)
        assert model.transform(X[:50]).shape == (50, 2)


def test_float32_stays_float32():
    X, start = drawn()
    single, double = (custom("kullback-leibler", max_iter=20).fit(X.astype(t), **start) for t in (np.float32, float))
    assert single.W_.dtype == single.components_.dtype == single.transform(X.astype(np.float32)).dtype == np.float32
    assert single.reconstruction_err_ == pytest.approx(double.reconstruction_err_, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "start", "match"),
    [
        ({"n_lags": 0}, {}, "n_lags=0 is not valid"),
        ({"beta_loss": "huber"}, {}, "beta_loss='huber' is not known"),
        ({"beta_loss": 0}, {}, "needs data without zeros"),
        ({"beta_loss": 1, "solver": "cd"}, {}, "solver='cd' needs the squared error, but beta_loss=1 is a different"),
        ({"solver": "hals"}, {}, "solver='hals' is not known"),
        ({"init": "nndsvd"}, {}, "init='nndsvd' is not known"),
        ({"init": "custom"}, {}, "pass W, H to fit"),
        ({"init": "custom"}, {"W": np.ones((20, 2)), "H": np.ones((2, 9))}, r"expected \(5, 2, 9\)"),
    ],
)
def test_what_cannot_be_used_is_refused(options, start, match):
    with pytest.raises(ValueError, match=match):
        ConvolutiveNMF(2, **options).fit(drawn()[0], **start)
    model = ConvolutiveNMF(2, max_iter=1).fit(drawn()[0])
    with pytest.raises(ValueError, match="W has 3 columns; expected 2, as transform returns"):
        model.inverse_transform(np.ones((4, 3)))
