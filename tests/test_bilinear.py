"""Components that also meet in pairs: fixed numbers, plain loops, and what a linear model cannot do."""

import numpy as np
import oracle_data
import oracles_structured as oracles
import pytest
import scipy.sparse as sp

from fastnmf import NMF, BilinearNMF

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence


def spectra():
    """Draw the data of the fixed-seed case, 80 pixels with 30 bands of three materials, and its start."""
    rng = np.random.default_rng(21)
    H, W = rng.random((30, 3)).T, rng.dirichlet(np.ones(3), 80)
    meet = 0.3 * rng.random((3, 80)).T
    start = {"H": rng.random((30, 3)).T, "W": rng.random((6, 80)).T}
    return np.hstack([W, meet]) @ oracles.products(H), start


def test_fixed_seed_numbers_and_the_linear_model():
    X, start = spectra()
    model = BilinearNMF(3, init="custom", sweeps=1, tol=0, max_iter=501, extrapolate=False).fit(X, **start)
    wanted = oracle_data.variants()["bilinear_cd"]
    assert len(wanted["obj"]) == 4
    for i, value in wanted["obj"].items():  # 500 iterations amplify rounding
        assert model.history_["objective"][int(i)] == pytest.approx(value, rel=1e-8 if int(i) <= 100 else 1e-5), i
    assert (np.diff(model.history_["objective"]) <= 1e-13 * np.sum(X**2)).all()
    linear = NMF(3, init="nndsvda", max_iter=2000, tol=1e-8).fit(X).reconstruction_err_ ** 2
    # The published number is that of a linear fit, too; ours may end a little lower.
    assert 0.95 * wanted["linear_nmf_rank3_obj"] < linear < 1.02 * wanted["linear_nmf_rank3_obj"]
    assert model.history_["objective"][-1] < 0.6 * linear


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("init", ["rows", "random"])
def test_the_bilinear_model_beats_the_linear_one_from_any_start(seed, init):
    X, _ = spectra()
    model = BilinearNMF(3, init=init, random_state=seed, max_iter=150).fit(X)
    assert model.reconstruction_err_**2 < 0.33 / 2  # the best linear fit leaves 0.33


@pytest.mark.parametrize("sweeps", [1, 3])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_steps_are_those_of_plain_loops(sweeps, form):
    rng = np.random.default_rng(4)
    X = rng.random((12, 7)) * (rng.random((12, 7)) < 0.7)
    W, H = rng.random((12, 6)), rng.random((3, 7))
    model = BilinearNMF(3, init="custom", sweeps=sweeps, tol=0, max_iter=3).fit(form(X), W=W, H=H)
    for i in (1, 2):
        W, H = oracles.bilinear_step(X, W, H, sweeps)
        assert model.history_["objective"][i] == pytest.approx(np.sum((X - W @ oracles.products(H)) ** 2), rel=1e-10)
    _, H = oracles.bilinear_step(X, W, H, sweeps)
    np.testing.assert_allclose(model.components_, H / H.max(axis=1, keepdims=True), rtol=1e-8, atol=1e-12)


def test_weights_are_those_of_components_and_then_of_pairs():
    X, _ = spectra()
    model = BilinearNMF(3, random_state=0, max_iter=50).fit(X)
    assert model.pairs_.tolist() == [[0, 1], [0, 2], [1, 2]]
    np.testing.assert_allclose(model.components_.max(axis=1), 1)
    first, second = model.pairs_.T
    Y = model.W_[:, :3] @ model.components_
    Y += model.W_[:, 3:] @ (model.components_[first] * model.components_[second])
    np.testing.assert_allclose(model.inverse_transform(model.W_), Y)
    np.testing.assert_allclose(model.transform(X), model.W_, rtol=1e-6, atol=1e-9)
    assert model.get_feature_names_out().tolist() == [f"bilinearnmf{c}" for c in range(6)]


def test_what_cannot_be_used_is_refused():
    X, start = spectra()
    with pytest.raises(ValueError, match=r"W has shape \(80, 3\).*expected \(80, 6\)"):
        BilinearNMF(3, init="custom").fit(X, W=start["W"][:, :3], H=start["H"])
    with pytest.raises(ValueError, match="sweeps=0 is not valid"):
        BilinearNMF(3, sweeps=0).fit(X)
    with pytest.raises(ValueError, match="W has 3 columns; expected 6, as transform returns"):
        BilinearNMF(3, max_iter=2).fit(X).inverse_transform(np.ones((2, 3)))


@pytest.mark.parametrize("factor", [2.0**-400, 2.0**400])
def test_a_start_and_the_arrays_of_a_callback_are_in_the_scale_of_the_user(factor):
    rng = np.random.default_rng(0)
    X, W, H = rng.random((12, 7)), rng.random((12, 3)), rng.random((2, 7))
    seen = []

    def look(found):
        seen.append((found.W, found.H))

    options = {"init": "custom", "max_iter": 3, "tol": 0}
    wanted = BilinearNMF(2, **options).fit(X, W=W, H=H)
    found = BilinearNMF(2, callback=look, **options).fit(factor * X, W=factor * W, H=H)
    assert (found.history_["normalized_loss"] == wanted.history_["normalized_loss"]).all()
    start, H_start = seen[0]
    assert start == pytest.approx(factor * W, rel=1e-12) and H_start == pytest.approx(H, rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_superfluous_components_of_equal_rows_stay_in_single_precision(seed):
    X = np.ascontiguousarray(np.tile(np.arange(1, 8, dtype=np.float32), (6, 1)))
    with np.errstate(all="raise", under="ignore"):
        model = BilinearNMF(9, max_iter=5, random_state=seed).fit(X)
    assert np.isfinite(model.W_).all() and model.normalized_loss_ < 1e-3
