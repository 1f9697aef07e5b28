"""Sparseness that is promised: projections against brute force, constraints that hold, descent, planted models."""

import numpy as np
import oracles_structured as oracles
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits

from fastnmf import NMF, OrthogonalNMF, SparseNMF
from fastnmf.core.updates import hoyer_cone, largest_in_rows
from fastnmf.kernels import coding

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CONSTRAINTS = [
    {"sparseness_H": 0.7},
    {"sparseness_H": 0.3, "sparseness_W": 0.4},
    {"max_features": 5},
    {"sparseness_H": None, "max_components": 2},
    {"max_features": 6, "max_components": 1},
]


def sparseness(f):
    root = np.sqrt(len(f))
    return 1.0 if not f.any() else (root - f.sum() / np.linalg.norm(f)) / (root - 1)


def check_constraints(model):
    H, W = model.components_, model.W_
    assert (H >= 0).all() and (W >= 0).all()
    if model.max_features is not None:
        assert ((H > 0).sum(axis=1) <= model.max_features).all()
    elif model.sparseness_H is not None:
        assert min(map(sparseness, H)) >= model.sparseness_H - 1e-6
    if model.sparseness_W is not None:
        assert min(map(sparseness, W.T)) >= model.sparseness_W - 1e-6
    if model.max_components is not None:
        assert ((W > 0).sum(axis=1) <= model.max_components).all()


@pytest.mark.parametrize("amount", [0.0, 0.2, 0.6, 0.9, 1.0])
def test_the_cone_is_met_at_its_nearest_point(amount):
    rng = np.random.default_rng(0)
    for n in (2, 3, 6):
        feasible = np.maximum(rng.standard_normal((4000, n)), 0) ** rng.choice([1, 4], (4000, 1))
        feasible = feasible[[f.any() and sparseness(f) >= amount for f in feasible]]
        for x in (rng.random(n), rng.standard_normal(n), np.ones(n), -rng.random(n)):
            found = hoyer_cone(x, amount)
            assert (found >= 0).all() and sparseness(found) >= amount - 1e-8
            # on each feasible ray the nearest point to x is known, so directions are all that has to be drawn
            along = np.maximum(feasible @ x, 0) / np.linalg.norm(feasible, axis=1)
            nearest = np.sqrt(np.maximum(x @ x - along**2, 0).min()) if len(feasible) else np.inf
            assert np.linalg.norm(x - found) <= nearest + 1e-4  # ties are broken by 1e-4
    np.testing.assert_allclose(hoyer_cone(3.0 * np.arange(5), 0.6), 3 * hoyer_cone(np.arange(5.0), 0.6), rtol=1e-12)


def test_the_largest_of_rows_are_kept():
    F = np.array([[3.0, -5, 1, 2], [1, 1, 1, 1], [-1, -2, -3, -4]])
    np.testing.assert_array_equal(largest_in_rows(F, 2), [[3, 0, 0, 2], [1, 1, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(largest_in_rows(F, 9), np.maximum(F, 0))


@pytest.mark.parametrize("constraints", CONSTRAINTS, ids=str)
def test_constraints_hold_and_the_objective_never_rises(constraints):
    X = np.random.default_rng(1).random((30, 20))
    X[3], X[:, 5] = 0, 0
    options = {"max_iter": 40, "tol": 0, "random_state": 0, **constraints}
    model = SparseNMF(4, **options).fit(X)
    check_constraints(model)
    found = model.history_["objective"]
    assert found[-1] < 0.9 * found[0]
    assert (np.diff(found) <= 1e-12 * found[0]).all()
    assert model.reconstruction_err_ == pytest.approx(np.linalg.norm(X - model.W_ @ model.components_), rel=1e-9)
    sparse = SparseNMF(4, **options).fit(sp.csr_array(X))
    np.testing.assert_allclose(sparse.reconstruction_err_, model.reconstruction_err_, rtol=1e-8)
    single = SparseNMF(4, **options).fit(X.astype(np.float32))
    assert single.components_.dtype == np.float32
    check_constraints(single)


def test_without_constraints_it_is_plain_nmf():
    rng = np.random.default_rng(2)
    X, W, H = rng.random((20, 12)), rng.random((20, 3)), rng.random((3, 12))
    options = {"init": "custom", "max_iter": 12, "tol": 0}  # the first cycle of an acceleration ends in 13
    plain = NMF(3, solver="hals", **options).fit(X, W=W, H=H)
    loose = SparseNMF(3, sparseness_H=0, **options).fit(X, W=W, H=H)
    np.testing.assert_allclose(loose.history_["objective"], plain.history_["objective"], rtol=1e-9)


def test_planted_parts_are_found():
    rng = np.random.default_rng(3)
    H = np.kron(np.eye(4), np.ones(5)) * (0.5 + rng.random((4, 20)))
    W = largest_in_rows(rng.random((60, 4)), 2)
    X = W @ H
    models = [SparseNMF(4, max_features=5, max_components=2, random_state=seed).fit(X) for seed in range(5)]
    best = min(models, key=lambda model: model.reconstruction_err_)
    assert best.reconstruction_err_ < 1e-3 * np.linalg.norm(X)
    assert {tuple(np.flatnonzero(h)) for h in best.components_} == {tuple(range(i, i + 5)) for i in range(0, 20, 5)}


@pytest.mark.parametrize("most", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["parts", "close", "repeated", "zeros"])
def test_the_best_few_components_of_a_row_are_found(most, kind):
    rng = np.random.default_rng(most)
    X, H = rng.random((25, 12)), rng.random((6, 12)) ** 3
    H = {
        "parts": H * (H > 0.1),
        "close": 1 + 0.3 * H,  # all cosines near 1: the exact weights without a limit use many components
        "repeated": H[[0, 1, 1, 2, 3, 3]],
        "zeros": H * np.array([1, 0, 1, 1, 0, 1])[:, None],
    }[kind]
    X[:8] = X[:8] @ H.T @ H  # rows near the components
    X[3] = 0
    F, gram, product = np.zeros((25, 8)), H @ H.T, np.zeros((25, 8))
    product[:, :6] = X @ H.T
    for tasks in (np.array([0, 25]), np.array([0, 9, 25])):
        F[:] = 0
        coding.rows_sparse_coding(tasks, F, gram, product, most, 1000)
        assert (F >= 0).all() and ((F > 0).sum(axis=1) <= most).all() and not F[:, 6:].any()
        for x, w in zip(X, F[:, :6], strict=True):
            best = oracles.best_weights_of_few(x, H, most)
            assert np.square(x - w @ H).sum() <= np.square(x - best @ H).sum() + 1e-11 * (x @ x)
    for n_nodes in (0, 1000):  # a present support is improved or stays
        before = largest_in_rows(rng.random((25, 8)) * (np.arange(8) < 6), most)
        F[:] = before
        coding.rows_sparse_coding(np.array([0, 25]), F, gram, product, most, n_nodes)
        errors = [np.square(X - W[:, :6] @ H).sum(axis=1) for W in (before, F)]
        assert (errors[1] <= errors[0] + 1e-11).all()


def test_many_components_and_no_room_to_search_them_all():
    rng = np.random.default_rng(0)
    X, H = rng.random((5, 90)), rng.random((70, 90))
    F = np.zeros((5, 70))
    coding.rows_sparse_coding(np.array([0, 5]), F, H @ H.T, X @ H.T, 80, 1000)  # more than there are: no limit
    assert (np.abs((X - F @ H) @ H.T)[F > 0] < 1e-8).all() and ((X - F @ H) @ H.T < 1e-8).all()
    coding.rows_sparse_coding(np.array([0, 5]), F, H @ H.T, X @ H.T, 5, 1000)
    single = [np.square(x - oracles.best_weights_of_few(x, H, 1) @ H).sum() for x in X]
    assert ((F > 0).sum(axis=1) <= 5).all() and (np.square(X - F @ H).sum(axis=1) < single).all()


@pytest.mark.parametrize("most", [1, 2, 3])
def test_transform_is_the_best_for_the_components(most):
    X = np.random.default_rng(4).random((30, 15))
    model = SparseNMF(5, max_components=most, sparseness_H=0.4, random_state=0).fit(X)
    W = model.transform(X)
    assert ((W > 0).sum(axis=1) <= most).all()
    np.testing.assert_allclose(W, model.W_, rtol=1e-12)  # for three the fit may have had the support in another order
    np.testing.assert_allclose(W[4:6], model.transform(X[4:6]), rtol=1e-9)
    for x, w in zip(X, W, strict=True):
        np.testing.assert_allclose(w, oracles.best_weights_of_few(x, model.components_, most), rtol=1e-7, atol=1e-10)


def test_samples_of_few_components_are_as_good_as_exact_coding_allows():
    X = load_digits().data[:600]
    for seed in range(2):
        few = {"sparseness_H": None, "random_state": seed}
        one, two, three = (SparseNMF(10, max_components=most, **few).fit(X) for most in (1, 2, 3))
        same = OrthogonalNMF(10, random_state=seed).fit(X)  # the same model: one component a row
        assert one.reconstruction_err_ == pytest.approx(same.reconstruction_err_, rel=1e-9)
        assert two.reconstruction_err_**2 < 290_000  # a gradient step and a threshold ended at 323,000 to 346,000
        assert three.reconstruction_err_**2 < 268_000


def test_degenerate_data():
    for X in (np.ones((1, 4)), np.ones((4, 1)), np.zeros((3, 4)), np.diag([1.0, 0, 2])):
        for constraints in CONSTRAINTS:
            model = SparseNMF(1, max_iter=5, random_state=0, **constraints).fit(X)
            assert np.isfinite(model.W_).all() and np.isfinite(model.components_).all()


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"sparseness_H": 1.5}, "sparseness_H=1.5.*from 0 to 1"),
        ({"max_features": 0}, "max_features=0.*integer >= 1"),
        ({"sparseness_W": 0.5, "max_components": 2}, "both constrain W"),
    ],
)
def test_bad_parameters_get_one_clear_sentence(parameters, message):
    with pytest.raises(ValueError, match=message):
        SparseNMF(**parameters).fit(np.ones((3, 3)))
