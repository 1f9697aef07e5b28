"""The canonical form of shifts with a design: the model stays, and effects are those of an oracle in plain loops."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastnmf.core.effects import design_gauge, least_into_intercept
from fastnmf.core.shifts import apply_gauge

BLOCKS = [slice(1, 4), slice(4, 6)]
FORMS = pytest.mark.parametrize("form", [np.array, sp.csr_array], ids=["dense", "sparse"])
# Of the intercept after the move, by an independent program: draws of `drawn`, seed 0.
INTERCEPT = [0.460130352461, 1.119401932209, 1.124839022007, 1.166545329866, 1.314107874437, 1.443072232987]


def drawn(seed=0):
    """Return W, H, V and the design Z of an intercept, three years and two regions, as the independent program."""
    rng = np.random.default_rng(seed)
    rng.normal(0.6, 1, (14, 6))
    year, region = rng.integers(0, 3, 14), rng.integers(0, 2, 14)
    rng.random(14)
    W, H, V = rng.random((14, 2)), rng.random((6, 2)), rng.random((6, 6))
    return W, H.T, V.T, np.column_stack([np.ones(14), np.eye(3)[year], np.eye(2)[region]])


def dense(V):
    return V.toarray() if sp.issparse(V) else V


@FORMS
def test_least_levels_move_into_the_intercept(form):
    _, _, V, Z = drawn()
    V[2, 1], V[5, 3] = 0, 0
    want = V.copy()
    for j in range(6):
        for levels in ((1, 2, 3), (4, 5)):
            least = min(V[s, j] for s in levels)
            want[0, j] += least
            for s in levels:
                want[s, j] -= least
    given = form(V)
    found = least_into_intercept(given, sp.csr_array(Z), 0, BLOCKS)
    np.testing.assert_allclose(dense(found), want, rtol=1e-15)
    np.testing.assert_array_equal(dense(given), V)
    assert type(found) is type(given) and (dense(found)[BLOCKS[0]].min(axis=0) == 0).all()
    again = least_into_intercept(found, sp.csr_array(Z), 0, BLOCKS)
    np.testing.assert_array_equal(dense(again), dense(found))


def test_the_intercept_is_that_of_an_independent_program():
    _, _, V, Z = drawn()
    found = least_into_intercept(V, sp.csr_array(Z), 0, BLOCKS)
    np.testing.assert_allclose(found[0], INTERCEPT, rtol=1e-9)


def test_a_block_that_does_not_add_up_to_the_intercept_is_left():
    _, _, V, Z = drawn()
    exposure = np.random.default_rng(1).random(14)[:, None]
    scaled = least_into_intercept(V, sp.csr_array(Z * exposure), 0, BLOCKS)
    np.testing.assert_array_equal(scaled, least_into_intercept(V, sp.csr_array(Z), 0, BLOCKS))
    Z[3, 1:4] = 0  # a row without a year
    found = least_into_intercept(V, sp.csr_array(Z), 0, BLOCKS)
    np.testing.assert_array_equal(found[BLOCKS[0]], V[BLOCKS[0]])
    assert (found[BLOCKS[1]].min(axis=0) == 0).all()
    np.testing.assert_allclose(Z @ found, Z @ V, rtol=1e-14)


@FORMS
@pytest.mark.parametrize("gauge", ["max_shift", "min_shift", None])
@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_gauges_keep_the_model_and_are_idempotent(gauge, dtype, rtol, form):
    W, H, V, Z = (F.astype(dtype) for F in drawn(1))
    Z = Z * np.random.default_rng(2).uniform(0.5, 2, (14, 1)).astype(dtype)
    V[4, H[0] > 0] += H[0, H[0] > 0]
    found, shifts = design_gauge(W, H, form(V), sp.csr_array(Z), gauge)
    assert found.dtype == shifts.dtype == dtype and found.min() >= 0 and dense(shifts).min() >= 0
    np.testing.assert_allclose(Z @ dense(shifts) + found @ H, Z @ V + W @ H, rtol=rtol)
    again, same = design_gauge(found, H, shifts, sp.csr_array(Z), gauge)
    np.testing.assert_allclose(again, found, rtol=rtol, atol=1e-30)
    np.testing.assert_allclose(dense(same), dense(shifts), rtol=rtol, atol=1e-30)
    if gauge == "max_shift":  # nothing is left that the rows of a column have in common
        for s in range(6):
            rows = Z[:, s] > 0
            assert (found[rows].min(axis=0) == 0).all()
    if gauge == "min_shift":  # no component can take any more from a shift
        assert (np.abs(dense(shifts)).min(axis=1) == 0).all()


@pytest.mark.parametrize("gauge", ["max_shift", "min_shift"])
def test_one_shift_a_row_is_the_gauge_of_strata(gauge):
    W, H, V, Z = drawn(2)
    index, V = Z[:, 1:4].argmax(axis=1), V[1:4]
    for form in (np.array, sp.csr_array):
        found = design_gauge(W, H, form(V), sp.csr_array(Z[:, 1:4]), gauge)
        want = apply_gauge(W, H, form(V), index, gauge)
        for mine, other in zip(found, want, strict=True):
            np.testing.assert_allclose(dense(mine), dense(other), rtol=1e-12, atol=1e-15)


def test_an_unknown_gauge_is_refused():
    with pytest.raises(ValueError, match="gauge='least' is not known; expected one of 'max_shift', 'min_shift', None"):
        design_gauge(*drawn()[:3], sp.csr_array(drawn()[3]), "least")
