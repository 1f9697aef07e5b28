"""Weights of rows that are mixed into components, by coordinate descent; and projections by L-BFGS."""

import numpy as np
import oracles_structured as oracles
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize
from sklearn.datasets import load_digits

from fastnmf import ConvexNMF, DictionaryNMF, KernelNMF, ProjectiveNMF
from fastnmf.core.problem import MixedRows, Subproblem
from fastnmf.core.updates import MixtureDescent
from fastnmf.data.layout import Compressed

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
DIGITS = load_digits().data


def draw(seed=0):
    """Return signed rows A with a row and a column of zeros, weights F with zeros, and the parts of an objective."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((11, 6)) * (rng.random((11, 6)) < 0.7)
    A[4], A[:, 2] = 0, 0
    F, other = rng.random((11, 3)) * (rng.random((11, 3)) < 0.4), rng.random((9, 3))
    other[:, 1] *= seed != 1  # a component without curvature
    return A, F, other.T @ other, rng.standard_normal((6, 9)) @ other


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("form", ["sparse", "dense", "gram"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_every_kernel_makes_the_steps_of_the_plain_loops(form, seed, dtype):
    A, F, gram, B = draw(seed)
    want = oracles.mixture_sweeps(A, F, gram, B, sweeps=2, steps=3)
    slope = A.T @ F @ gram - B
    csr = sp.csr_array(A.astype(dtype))
    matrix = {"sparse": Compressed(csr.indptr, csr.indices, csr.data).csr, "dense": A.astype(dtype), "gram": A @ A.T}
    sub = Subproblem(np.array([0, len(F)]))
    of_slope = None if form == "gram" else slope
    sub.mixture = MixedRows(matrix[form], np.sum(A**2, axis=1), gram, A @ slope, of_slope)
    found = np.zeros((11, 4), dtype)
    found[:, :3] = F
    MixtureDescent(2, 3)(found, sub, 3)
    np.testing.assert_allclose(found[:, :3], want, rtol=1e-9 if dtype == "f8" else 2e-4, atol=1e-12 + (dtype == "f4"))
    assert not found[:, 3].any() and (found >= 0).all()


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("signed", [False, True])
def test_an_iteration_of_convex_nmf_is_that_of_the_plain_loops(signed, form):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((9, 6)) if signed else rng.random((9, 6))
    W, C = rng.random((9, 2)), rng.random((9, 2))
    model = ConvexNMF(2, init="custom", max_iter=1, tol=0).fit(form(X), W=W, C=C)
    C = oracles.convex_descent_step(X, W, C, sweeps=4)[1]
    np.testing.assert_allclose(model.C_, C / C.sum(axis=0), rtol=1e-9)  # W is solved for exactly at the end


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("kernel", ["linear", "rbf", "precomputed"])
def test_an_iteration_of_kernel_nmf_is_that_of_the_plain_loops(kernel, dtype):
    rng = np.random.default_rng(4)
    X, W, C = rng.standard_normal((9, 6)), rng.random((9, 2)), rng.random((9, 2))
    K = np.exp(-0.2 * np.square(X[:, None] - X).sum(axis=2)) if kernel == "rbf" else X @ X.T
    values, vectors = np.linalg.eigh(K)
    images = vectors * np.sqrt(np.maximum(values, 0))  # rows whose inner products are K
    given = (K if kernel == "precomputed" else X).astype(dtype)
    model = KernelNMF(2, kernel=kernel, gamma=0.2, init="custom", max_iter=1, tol=0).fit(given, W=W, C=C)
    C = oracles.convex_descent_step(images, W, C, sweeps=4)[1]
    np.testing.assert_allclose(model.C_, C / C.sum(axis=0), rtol=1e-8 if dtype == "f8" else 1e-3, atol=1e-5)


def test_a_kernel_with_negative_eigenvalues_keeps_multiplicative_updates():
    given = KernelNMF(2, kernel="precomputed", random_state=0, max_iter=50, tol=0)
    K = np.random.default_rng(5).random((12, 12))
    for kernel, is_mixed in ((K + K.T, False), (K @ K.T, True)):
        model = given.fit(kernel)
        assert (model.C_ == 0).any() == is_mixed  # a multiplicative update leaves nothing at zero
        objective = model.history_["objective"]
        assert (np.diff(objective) <= 1e-12 * abs(objective[0])).all() and objective[-1] < objective[0]


def test_components_of_digits_are_mixtures_of_few_rows_and_the_fit_is_at_its_end():
    X = DIGITS[:300]
    model, longer = ConvexNMF(5, random_state=0).fit(X), ConvexNMF(5, random_state=0, max_iter=3000, tol=0).fit(X)
    assert model.converged_ and model.reconstruction_err_**2 < 1.001 * longer.reconstruction_err_**2
    assert np.count_nonzero(model.C_) < 100  # multiplicative updates leave all 1500
    residual = X - model.W_ @ model.components_
    gain = X @ (residual.T @ model.W_)  # of a weight: none is left where it is zero, all are used up elsewhere
    scale = np.abs(X @ (X.T @ model.W_)).max()
    assert gain[model.C_ == 0].max() < 1e-3 * scale and np.abs(gain[model.C_ > 0]).max() < 1e-3 * scale


def test_dictionary_mixtures_reach_what_a_quasi_newton_method_finds_from_there():
    X, atoms = DIGITS[:200], DIGITS[:200:20]
    model = DictionaryNMF(4, dictionary=atoms, random_state=0).fit(X)

    def objective(z):
        W, C = z[:800].reshape(200, 4), z[800:].reshape(4, 10)
        off = W @ C @ atoms - X
        return np.sum(off**2), np.r_[(2 * off @ (C @ atoms).T).ravel(), (2 * W.T @ off @ atoms.T).ravel()]

    start = np.r_[model.W_.ravel(), model.mixtures_.ravel()]
    options = {"maxiter": 200, "maxfun": 300}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(start), options=options)
    assert model.converged_ and model.reconstruction_err_**2 < 1.002 * found.fun


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_a_projection_ends_at_a_minimum_of_the_residual(form):
    rng = np.random.default_rng(0)
    X = rng.random((20, 9)) * (rng.random((20, 9)) < 0.6)
    X[3], X[:, 5] = 0, 0
    model = ProjectiveNMF(3, init="custom", max_iter=2000, tol=0).fit(form(X), H=rng.random((3, 9)))
    value, gradient = oracles.projective_value(X, model.components_)
    assert model.reconstruction_err_**2 == pytest.approx(value, rel=1e-10)
    size = np.abs(gradient).max() + np.sum(X**2)
    assert gradient.min() > -1e-6 * size and np.abs(gradient[model.components_ > 0]).max() < 1e-6 * size
    assert (np.diff(model.history_["objective"]) <= 1e-12 * np.sum(X**2)).all()


def test_a_projection_of_digits_is_below_thousands_of_multiplicative_updates():
    X = DIGITS[:300]
    model, slow = ProjectiveNMF(5).fit(X), ProjectiveNMF(5, solver="mu", max_iter=2000, tol=0).fit(X)
    assert model.converged_ and model.reconstruction_err_ < slow.reconstruction_err_
    several = ProjectiveNMF(5, n_init=3, random_state=0).fit(X)  # from singular vectors, clusters and random numbers
    assert several.run_objectives_[0] == model.run_objectives_[0] and len(set(several.run_objectives_)) > 1


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_units_of_the_data_are_units_of_the_model(factor):
    X = DIGITS[:100]
    for make, name in (
        (lambda: ProjectiveNMF(3, max_iter=60), "W_"),
        (lambda: ConvexNMF(3, random_state=0, max_iter=60), "components_"),
        (lambda: DictionaryNMF(3, dictionary=DIGITS[:50:5], random_state=0, max_iter=60), "components_"),
    ):
        want, got = make().fit(X), make().fit(factor * X)
        assert got.normalized_loss_ == pytest.approx(want.normalized_loss_, rel=1e-9)
        a, b = (F / np.linalg.norm(F) for F in (getattr(want, name), getattr(got, name)))
        np.testing.assert_allclose(a, b, atol=1e-7)
