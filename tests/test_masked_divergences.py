"""Missing values and weights of entries under the beta divergences, against plain loops."""

import masks
import numpy as np
import oracles_robust as oracles
import pytest
import scipy.sparse as sp

from fastnmf import NMF

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
BETAS = (-0.5, 0, 0.5, 1.5, 3)


def drawn(kind="few missing", beta=0.5, shape=(17, 11)):
    """Return data, zeros among them where beta allows, weights, and a start of rank 3."""
    rng = np.random.default_rng(0)
    X = rng.gamma(2, 1, shape) * ((rng.random(shape) < 0.9) if beta > 0 else 1)
    O = masks.weights_of(kind, shape)
    return X, O, rng.random((shape[0], 3)) + 0.1, rng.random((3, shape[1])) + 0.1


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("kind", [kind for kind in masks.KINDS if kind != "none of a row"])
def test_a_fit_is_that_of_plain_loops(kind, beta):
    X, O, W, H = drawn(kind, beta, (24, 18))
    O[:, 3] = 1  # a row of which nothing but zeros is known has a model of zeros, which plain loops cannot divide by
    X[:, 3] += 1
    options = {"n_components": 3, "solver": "mu", "beta_loss": beta, "init": "custom", "max_iter": 4, "tol": 0}
    model = NMF(**options).fit(np.where(O > 0, X, 7e3), W=W, H=H, weight=O)
    values = [oracles.weighted_beta(X, W @ H, O, beta)]
    for _ in range(4):
        W, H = oracles.weighted_beta_step(X, W, H, O, beta)
        values.append(oracles.weighted_beta(X, W @ H, O, beta))
    np.testing.assert_allclose(model.history_["objective"], values, rtol=1e-6)
    np.testing.assert_allclose(model.components_, H * (model.components_[:, :1] / H[:, :1]), rtol=1e-5)


@pytest.mark.parametrize("beta", [0, 0.5, 1.5])
def test_storage_and_kind_of_missing_do_not_matter(beta):
    X, O, W, H = drawn("most missing", beta=0)
    seen = O > 0
    options = {"n_components": 3, "solver": "mu", "beta_loss": beta, "init": "custom", "max_iter": 30, "tol": 0}
    by_nan = NMF(**options, missing_values="nan").fit(np.where(seen, X, np.nan), W=W, H=H)
    sparse = sp.csr_array(np.where(seen, X, 0))
    by_zeros = NMF(**options, missing_values="zeros").fit(sparse, W=W, H=H)
    by_weight = NMF(**options).fit(X, W=W, H=H, weight=O)
    for other in (by_zeros, by_weight):
        np.testing.assert_allclose(other.components_, by_nan.components_, rtol=1e-6, atol=1e-10)
        np.testing.assert_allclose(other.W_, by_nan.W_, rtol=1e-6, atol=1e-10)
    single = NMF(**options, missing_values="zeros").fit(sparse.astype(np.float32), W=W, H=H)
    assert single.components_.dtype == np.float32
    np.testing.assert_allclose(single.history_["objective"][-1], by_nan.history_["objective"][-1], rtol=1e-3)
    objective = by_nan.history_["objective"]
    assert (np.diff(objective) <= 1e-12 * objective[0]).all() and objective[-1] < 0.8 * objective[0]
    scaled = NMF(**options, missing_values="zeros").fit(sparse * 1e3, W=W * 10**1.5, H=H * 10**1.5)
    np.testing.assert_allclose(scaled.W_ @ scaled.components_, 1e3 * by_nan.W_ @ by_nan.components_, rtol=1e-5)


@pytest.mark.parametrize("beta", [0, 0.5, 1.5, 3])
def test_planted_values_that_are_missing_are_found_and_new_rows_have_their_weights(beta):
    rng = np.random.default_rng(0)
    truth = (rng.random((60, 2)) + 0.2) @ (rng.random((2, 30)) + 0.2)
    X = np.where(rng.random(truth.shape) < 0.4, np.nan, truth)
    options = {"n_components": 2, "solver": "mu", "beta_loss": beta, "missing_values": "nan"}
    model = NMF(**options, max_iter=3000, tol=0, random_state=0).fit(X)
    found = model.W_ @ model.components_
    missing = np.isnan(X)
    assert np.abs(found[missing] / truth[missing] - 1).mean() < 0.02
    W = model.transform(X[:7])
    np.testing.assert_allclose(W @ model.components_, found[:7], rtol=0.02)
    alone = np.vstack([model.transform(X[i : i + 1]) for i in range(7)])
    np.testing.assert_allclose(alone, W, rtol=1e-6)


def test_rows_without_known_entries_and_zeros_that_are_known():
    X, O, W, H = drawn("none of a row", 0.5)
    options = {"n_components": 3, "solver": "mu", "beta_loss": 0.5, "max_iter": 20, "tol": 0, "random_state": 0}
    model = NMF(**options).fit(X, weight=O)
    assert not model.W_[3].any() and not model.components_[:, 2].any() and np.isfinite(model.W_).all()
    holes = np.where(O > 0, X + 1, 0)
    NMF(**options | {"beta_loss": 0}, missing_values="zeros").fit(holes)
    with pytest.raises(ValueError, match="beta_loss=0 needs data without zeros, but X has 1:"):
        holes[0, 0] = 0
        NMF(**options | {"beta_loss": 0}).fit(
            holes, weight=np.where(holes > 0, 1.0, 0.0) + (np.indices(O.shape).sum(0) == 0)
        )
