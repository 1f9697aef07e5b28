"""A fit that explains next to nothing says so, whatever made it that; fits of noise do not."""

import warnings

import estimators
import numpy as np
import pytest
import scipy.sparse as sp

from fastnmf import NMF, SmoothNMF, SparseNMF


def said(fit):
    """Return whether a fit warns that it explains next to nothing, in one sentence."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit()
    found = [w.message for w in caught if "next to nothing" in str(w.message)]
    assert all(estimators.one_sentence(message) for message in found)
    return bool(found)


KULLBACK_LEIBLER = {"solver": "mu", "beta_loss": "kullback-leibler"}


@pytest.mark.parametrize(
    "model",
    [
        NMF(3, alpha_W=5, max_iter=20),
        NMF(3, alpha_W=5, max_iter=20, **KULLBACK_LEIBLER),
        NMF(3, alpha_W=5, missing_values="zeros", max_iter=20),
        SmoothNMF(3, smoothness=1e4),
        SmoothNMF(3, smoothness=1e4, penalty="total_variation"),
    ],
    ids=str,
)
def test_a_model_that_a_penalty_erases_says_so(model):
    X = estimators.counts()
    for data in (X, 1e-10 * sp.csr_array(X) if isinstance(model, SmoothNMF) else sp.csr_array(X)):
        assert said(lambda data=data: model.set_params(random_state=0).fit(data))


def noise():
    """Yield data without structure: dense, sparse, with heavy tails, of rows alone, of far scales."""
    rng = np.random.default_rng(0)
    yield rng.random((40, 30))
    yield rng.exponential(size=(40, 30)) ** 8
    yield np.eye(40)
    yield sp.random(900, 1200, 0.002, format="csr", rng=1)
    yield 1e-12 * rng.random((40, 30)).astype(np.float32)
    yield 1e200 * rng.random((30, 20))


@pytest.mark.filterwarnings("ignore")
def test_noise_is_no_reason_to_warn():
    for X in noise():
        for model in (NMF(1), NMF(1, solver="mu"), NMF(1, **KULLBACK_LEIBLER), SparseNMF(2, max_components=1)):
            assert not said(lambda: model.set_params(random_state=0, max_iter=8).fit(X)), (model, X.shape)  # noqa: B023
    assert not said(lambda: NMF(2, random_state=0).fit(np.zeros((4, 3))))


@pytest.mark.parametrize("case", estimators.CASES, ids=str)
def test_no_model_says_it_of_what_it_explains(case):
    assert not said(lambda: case.fit(case.draw()))


def test_a_fit_that_is_stopped_says_nothing():
    H = np.zeros((2, 9)) + 1e-9
    start = {"W": np.zeros((estimators.N_ROWS, 2)), "H": H}
    assert not said(lambda: NMF(2, init="custom", callback=lambda state: True).fit(estimators.counts(), **start))
