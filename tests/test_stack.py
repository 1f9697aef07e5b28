"""Exact least squares, the objective of a hierarchy and its gradients."""

import json
from pathlib import Path

import numpy as np
import oracles_layered
import pytest
import scipy.sparse as sp
from scipy.optimize import nnls as scipy_nnls

from fastnmf import hierarchical_loss, nnls
from fastnmf.core.stack import DataLayer, Labels, MaskedDataLayer, Stack, on_unit_columns
from fastnmf.core.updates.active_set import minimise_rows
from fastnmf.data.entry_weights import observed
from fastnmf.data.strata import Strata
from fastnmf.kernels.records import LazyRows

LOSSES = ("levels", "recon", "energy")
ORACLE = json.loads((Path(__file__).parent / "data" / "hierarchical.json").read_text(encoding="utf-8"))


def reference(A, B):
    return np.stack([scipy_nnls(A, b)[0] for b in B.T], axis=1)


# ---------------------------------------------------------------- least squares


@pytest.mark.parametrize("k", [1, 2, 9, 33, 64, 65, 90])
def test_nnls_equals_the_library(k):
    rng = np.random.default_rng(k)
    A = rng.random((k + 20, k))
    B = A @ np.maximum(rng.normal(size=(k, 60)), 0) + 0.3 * rng.normal(size=(k + 20, 60))
    want = reference(A, B)
    found = nnls(A, B)
    assert (want == 0).any() or k == 1
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-10)
    assert ((found == 0) == (want < 1e-12)).all()  # exact zeros off the support
    np.testing.assert_allclose(nnls(A, B[:, 0]), found[:, 0], rtol=0, atol=1e-12)


def test_nnls_of_a_sparse_right_side_stays_sparse():
    rng = np.random.default_rng(0)
    A, B = rng.random((40, 6)), sp.random_array((40, 30), density=0.2, rng=rng, format="csc")
    np.testing.assert_allclose(nnls(A, B), reference(A, B.toarray()), rtol=0, atol=1e-10)


def test_nnls_of_ill_conditioned_columns_is_refined():
    rng = np.random.default_rng(0)
    A = rng.random((30, 1)) + 1e-4 * rng.random((30, 5))  # condition about 1e5: its square would cost ten digits
    B = A @ rng.random((5, 40)) + 1e-3 * rng.random((30, 40))
    want = reference(A, B)
    # What the library itself loses at this condition is about 1e5 * 1e-16 of entries near one, times a few.
    np.testing.assert_allclose(A @ nnls(A, B), A @ want, rtol=0, atol=1e-10)


def cases_of_degeneracy():
    rng = np.random.default_rng(1)
    A = rng.random((20, 5))
    X = np.maximum(rng.normal(size=(5, 40)), 0)
    yield "exact fits, with gradients of zero off the support", A, A @ X
    yield "duplicated columns", A[:, [0, 1, 2, 0, 1]], rng.random((20, 40))
    yield "a column that is a sum", np.column_stack([A, A[:, 0] + A[:, 1]]), rng.random((20, 40))
    yield "a zero column", np.column_stack([A, np.zeros(20)]), rng.random((20, 40))
    yield "wide", rng.random((4, 9)), rng.random((4, 40))
    yield "nothing to gain", A, -rng.random((20, 40))
    yield "scales apart", A * 10.0 ** np.arange(-200, 300, 100), rng.random((20, 40))


@pytest.mark.parametrize("case", list(cases_of_degeneracy()), ids=lambda case: case[0])
def test_nnls_of_degenerate_columns_fits_as_well(case):
    _, A, B = case
    found, scale = nnls(A, B), np.where(A.any(axis=0), A.max(axis=0), 1)
    A, found = A / scale, found * scale[:, None]  # the library knows no extreme scales
    assert (found >= 0).all()
    want = reference(A, B)
    # The minimiser need not be unique, the fit is.
    np.testing.assert_allclose(A @ found, A @ want, rtol=0, atol=1e-10)


def test_equal_supports_share_and_results_depend_on_the_row_alone():
    rng = np.random.default_rng(2)
    L = rng.random((12, 7))
    gram, right = L.T @ L, rng.normal(size=(80, 7))
    whole, single = np.zeros((80, 7)), rng.random((80, 7))
    none = LazyRows.of(right[:0])
    minimise_rows(np.array([0, 80]), whole, gram, right, none, 0.0)
    for i in range(80):  # other guesses, other neighbours: the same minimiser
        minimise_rows(np.array([0, 1]), single[i : i + 1], gram, right[i : i + 1], none, 0.0)
    np.testing.assert_allclose(single, whole, rtol=1e-12, atol=1e-14)
    assert len({tuple(row > 0) for row in whole}) < 80


def test_nnls_says_what_is_wrong():
    for A, B, words in (
        (np.ones((3, 2)), np.ones(4), "A has 3 rows and B has 4"),
        (np.ones(3), np.ones(3), r"A has shape \(3,\)"),
        (np.full((3, 2), np.nan), np.ones(3), "A contains NaN"),
        (np.ones((3, 2)), np.ones((3, 2, 2)), "B has shape"),
    ):
        with pytest.raises(ValueError, match=words):
            nnls(A, B)
    with pytest.raises(TypeError, match="dtype"):
        nnls(np.ones((2, 1)), ["a", "b"])


# ---------------------------------------------------------------- the objective and its gradients


def draw(seed=0):
    """Draw the arrays of the oracle, in its order."""
    rng = np.random.default_rng(seed)
    X = rng.random((12, 10))
    A, B = [rng.random((12, 5)), rng.random((5, 3)), rng.random((3, 2))], rng.random((4, 2))
    y, known = rng.integers(0, 4, 10), rng.random(10) < 0.6
    return X, A, B, np.eye(4)[y].T, np.tile(known, (4, 1)).astype(float)


@pytest.mark.parametrize("case", ORACLE["cases"])
def test_every_number_of_the_oracle(case):
    X, A, B, Y, mask = draw()
    layers, loss, lam = case.split("_")
    options = {"Y": Y, "label_mask": mask, "B": B, "label_weight": 1.0} if lam == "lam1" else {}
    found, want = hierarchical_loss(X, A[: int(layers[-1])], loss=loss, **options), ORACLE["cases"][case]
    assert found.loss == pytest.approx(want["C"], rel=1e-8)
    for gradient, numbers in zip(found.gradients, want["gradA"], strict=True):
        np.testing.assert_allclose(gradient, numbers, rtol=0, atol=1e-8)
    if options:
        np.testing.assert_allclose(found.gradient_B, want["gradB"], rtol=0, atol=1e-8)


def differences(value, A, step=1e-6):
    """Return central differences of ``value`` at the arrays A."""
    found = [np.empty_like(a) for a in A]
    for a, g in zip(A, found, strict=True):
        for at in np.ndindex(a.shape):
            kept = a[at]
            a[at] = kept + step
            above = value(A)
            a[at] = kept - step
            g[at], a[at] = (above - value(A)) / (2 * step), kept
    return found


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("is_labelled", [False, True])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, sp.csc_array])
def test_gradients_are_differences_of_the_objective(loss, is_labelled, form):
    X, A, B, Y, mask = draw()
    weights = None if loss == "recon" else (0.5, 2.0, 1.5)
    labels = {"Y": Y, "label_mask": mask, "B": B, "label_weight": 0.7} if is_labelled else {}
    found = hierarchical_loss(form(X), A, loss=loss, level_weights=weights, **labels)
    plain = {"B": B, "Y": Y, "mask": mask, "label_weight": 0.7} if is_labelled else {}

    def value(parts):
        more = plain | ({"B": parts[3]} if is_labelled else {})
        return oracles_layered.objective(X, parts[:3], loss, weights or (1, 1, 1), **more)

    want = differences(value, [*A, B] if is_labelled else A)
    assert found.loss == pytest.approx(value([*A, B]), rel=1e-12)
    for mine, other in zip([*found.gradients, found.gradient_B][: len(want)], want, strict=True):
        # Central differences of a smooth function: 1e-16 / 1e-6 of the value of about ten, relative to gradients.
        assert np.linalg.norm(mine - other) <= 1e-7 * np.linalg.norm(other)
    for mine, other in zip(found.S, oracles_layered.chain(X, A), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)
        assert (mine == 0).any()  # the derivative knows supports


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("share", [0.2, 0.8])
def test_gradients_with_missing_entries(loss, share):
    X, A, B, Y, mask = draw()
    seen = np.random.default_rng(5).random(X.shape) >= share
    seen[:6] |= np.random.default_rng(6).random((6, 10)) < 0.7  # five topics need five entries
    clean, weights = observed(X.T, seen.T)
    stack = Stack(MaskedDataLayer(Strata.from_array(clean), weights), loss, np.ones(3), [Labels(2, Y.T, mask.T, 0.7)])
    value, gradients = stack(A, [B])

    def plain(parts):
        return oracles_layered.objective(X, parts, loss, (1, 1, 1), B, Y, mask, 0.7, seen.astype(float))

    assert value == pytest.approx(plain(A), rel=1e-12)
    for mine, other in zip(gradients, differences(plain, A), strict=True):
        assert np.linalg.norm(mine - other) <= 1e-7 * np.linalg.norm(other)


def test_gradients_on_unit_columns_are_those_of_the_composition():
    X, A, _, _, _ = draw()

    def value(parts):
        found = hierarchical_loss(X, parts, loss="energy")
        return found.loss, found.gradients

    found, gradients = on_unit_columns(value, A)
    for mine, other in zip(gradients, differences(lambda parts: on_unit_columns(value, parts)[0], A), strict=True):
        assert np.linalg.norm(mine - other) <= 1e-7 * np.linalg.norm(other)
    assert on_unit_columns(value, [3 * a for a in A])[0] == pytest.approx(found, rel=1e-12)


def test_best_coefficients_change_nothing_about_the_gradients():
    X, A, _, Y, mask = draw()
    data = Strata.from_array(np.ascontiguousarray(X.T))
    stack = Stack(DataLayer(data), "levels", np.ones(3), [Labels(2, Y.T, mask.T[:, :1], 0.7)])
    _, gradients = stack(A)
    gradients = [g.copy() for g in gradients]
    for mine, other in zip(gradients, differences(lambda parts: stack(parts)[0], A), strict=True):
        assert np.linalg.norm(mine - other) <= 1e-6 * np.linalg.norm(other)  # 1e-12 of a ridge keeps it solvable
    assert np.abs(stack.gradients_B[0]).max() < 1e-8


def test_permuting_topics_and_an_identity_layer_leave_the_loss():
    X, A, _, _, _ = draw()
    want, order = hierarchical_loss(X, A, loss="levels"), np.array([2, 0, 4, 1, 3])
    mixed = hierarchical_loss(X, [A[0][:, order], A[1][order], A[2]], loss="levels")
    assert mixed.loss == pytest.approx(want.loss, rel=1e-12)
    np.testing.assert_allclose(mixed.gradients[0], want.gradients[0][:, order], atol=1e-12)
    one = hierarchical_loss(X, A[:1], loss="recon").loss
    assert hierarchical_loss(X, [A[0], np.eye(5)], loss="recon").loss == pytest.approx(one, rel=1e-12)


def test_hierarchical_loss_says_what_is_wrong():
    X, A, B, Y, _ = draw()
    for arguments, words in (
        ({"A": [A[0], A[2]]}, "A\\[1\\] has 3 rows; expected 5"),
        ({"A": [A[0][:, :2], np.ones((2, 3))]}, "must not widen"),
        ({"A": []}, "A is empty"),
        ({"loss": "other"}, "loss='other' is not known"),
        ({"Y": Y}, "Y was given without B"),
        ({"Y": Y, "B": B[:, :1]}, "do not fit X"),
        ({"level_weights": [1, 2]}, "expected 3 numbers"),
        ({"level_weights": [1, 2, 3], "loss": "recon"}, "which has one term"),
        ({"X": -X}, "Negative values"),
        ({"X": 1e200 * X}, "Scale X first"),
    ):
        with pytest.raises(ValueError, match=words):
            hierarchical_loss(**{"X": X, "A": A, "loss": "levels", **arguments})
