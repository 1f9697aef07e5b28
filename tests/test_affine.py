"""Affine NMF: the one-stratum case of Stratified-NMF."""

import numpy as np
import oracles_picks as oracles
import pytest
import scipy.sparse as sp

from fastnmf import AffineNMF, StratifiedNMF

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_the_fixed_seed_case(form):
    rng = np.random.default_rng(13)
    X, W, H = rng.random((30, 20)), rng.random((30, 5)), rng.random((4, 20))
    model = AffineNMF(4, solver="mu", init="custom", max_iter=1000, tol=0)
    model.fit(form(X.T), W=H.T, H=W[:, :4].T, v=W[:, 4])
    for step, value in oracles.numbers("affine_mu")["obj"].items():
        # eps=1e-9 in every denominator, and rounding that 1000 iterations amplify
        assert model.history_["objective"][int(step)] == pytest.approx(value, rel=1e-8 if int(step) <= 100 else 1e-5)
    assert (np.diff(model.history_["objective"]) <= 1e-8).all()
    Y = model.W_ @ model.components_ + model.offset_
    assert model.reconstruction_err_ == pytest.approx(np.linalg.norm(X.T - Y), rel=1e-8)


@pytest.mark.parametrize("options", [{}, {"extrapolate": False}, {"init": "random"}, {"gauge": "max_shift"}])
def test_it_is_the_stratified_model_of_one_stratum(options):
    X = sp.random_array((30, 20), density=0.5, rng=np.random.default_rng(0), format="csr")
    mine = AffineNMF(3, random_state=0, max_iter=20, **options).fit(X)
    other = StratifiedNMF(3, random_state=0, max_iter=20, **{"init": "features"} | options).fit(X)
    assert mine.W_.tobytes() == other.W_.tobytes() and mine.components_.tobytes() == other.components_.tobytes()
    assert mine.offset_.tobytes() == other.shifts_[0].tobytes()
    assert mine.transform(X).tobytes() == other.transform(X).tobytes()
    assert mine.score(X) == other.score(X)
    np.testing.assert_array_equal(mine.inverse_transform(mine.W_), other.inverse_transform(other.W_))
    assert mine.top_features(2) == other.top_features(2).components
    np.testing.assert_array_equal(mine.reconstruction_errors(X), other.reconstruction_errors(X))


def test_a_planted_background_is_found():
    rng = np.random.default_rng(0)
    background, H = 1 + rng.random(30), rng.random((2, 30)) * (rng.random((2, 30)) < 0.4)
    W = rng.random((50, 2)) * (rng.random((50, 2)) < 0.6)
    model = AffineNMF(2, gauge="max_shift", random_state=0, tol=0, max_iter=500).fit(W @ H + background)
    assert model.normalized_loss_ < 1e-4
    # Where there are components, they may hold a part of the background: only their sum is fixed.
    alone = ~H.any(axis=0)
    assert alone.sum() > 5
    np.testing.assert_allclose(model.offset_[alone], background[alone], rtol=1e-3)


def test_a_start_without_an_offset_is_refused():
    X = np.ones((3, 2))
    with pytest.raises(ValueError, match="pass W, H and v to fit .v is missing"):  # the name that fit has for it
        AffineNMF(1, init="custom").fit(X, W=np.ones((3, 1)), H=np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"v has shape \(1, 2\); expected \(n_features,\)"):
        AffineNMF(1, init="custom").fit(X, W=np.ones((3, 1)), H=np.ones((1, 2)), v=np.ones((1, 2)))
    with pytest.raises(ValueError, match="gauge='big' is not known"):
        AffineNMF(1, gauge="big").fit(X)
