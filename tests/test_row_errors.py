"""Errors of rows against plain loops: expanded, exact where the expansion loses its digits, over known entries."""

import numpy as np
import oracles
import pytest
import scipy.sparse as sp
from masks import KINDS, grouped, weights_of

from fastnmf import NMF
from fastnmf.core.factors import pad
from fastnmf.core.row_errors import expanded_errors, row_divergences, row_errors
from fastnmf.core.shifts import nearest
from fastnmf.data.entry_weights import observed
from fastnmf.data.strata import Strata

FORMS = (np.asarray, sp.csr_array)
RNG = np.random.default_rng(6)
H = RNG.random((23, 4)) * (RNG.random((23, 4)) < 0.6)
V = RNG.random((3, 23)) * 0.5


def least_errors(P, X, shift):
    """Return ``min_{w >= 0} sum_j P_ij (x_ij - shift_ij - w . h_j)²`` of every row, trying every support."""
    gram, pos, neg = oracles.weighted_row_parts(P, X, shift, H)
    found = []
    for i in range(len(X)):
        w = oracles.nnls_by_supports(gram[i] + 1e-13 * np.eye(4), pos[i] - neg[i])
        found.append(
            sum(P[i, j] * (X[i, j] - shift[i, j] - sum(w[c] * H[j, c] for c in range(4))) ** 2 for j in range(23))
        )
    return np.array(found)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shifts", [None, V])
@pytest.mark.parametrize("kind", [None, *KINDS])
def test_errors_of_rows_are_the_least_ones(form, shifts, kind):
    X, strata = grouped()
    P, weights = np.ones(X.shape) if kind is None else weights_of(kind, X.shape), None
    clean = form(X)
    if kind is not None:
        clean, weights = observed(clean, P)
    data = Strata.from_array(clean, strata, labels=np.arange(3))
    data.entry_weights = weights
    want = least_errors(P, X, 0 * X if shifts is None else shifts[strata])
    np.testing.assert_allclose(row_errors(data, 4, pad(H, data), shifts), want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_small_errors_keep_six_digits(form):
    W, strata = np.random.default_rng(1).random((9, 4)), np.arange(9) % 3
    off = np.where(H == 0, 1e-7, 0.0)[:, :1].T * (1 + np.arange(9))[:, None]  # where the first component is zero
    X = V[strata] + W @ H.T + off
    data = Strata.from_array(form(X), strata)
    found = row_errors(data, 4, pad(H, data), V)
    assert found.max() < 1e-10
    residual = np.array([off[i] - H @ np.linalg.lstsq(H, off[i], rcond=None)[0] for i in range(9)])
    np.testing.assert_allclose(found, (residual**2).sum(axis=1), rtol=1e-6)


def test_the_expansion_is_that_of_a_square():
    (X, _), W = grouped(), np.random.default_rng(2).random((40, 4))
    found = expanded_errors((X**2).sum(axis=1), W, H.T @ H, np.array([w @ (x @ H) for w, x in zip(W, X, strict=True)]))
    for i in range(40):
        want = sum((X[i, j] - sum(W[i, c] * H[j, c] for c in range(4))) ** 2 for j in range(23))
        assert found[i] == pytest.approx(want, rel=1e-11)


@pytest.mark.parametrize("form", FORMS)
def test_the_nearest_shift_is_that_of_the_least_error(form):
    X, _ = grouped()
    data = Strata.from_array(form(X))
    errors = [least_errors(np.ones(X.shape), X, np.tile(shift, (40, 1))) for shift in V]
    assert nearest(data, 4, pad(H, data), V).tolist() == np.argmin(errors, axis=0).tolist()
    assert not nearest(data, 4, pad(H, data), V[[1, 1, 1]]).any()  # of equal errors the first


@pytest.mark.parametrize("form", FORMS)
def test_divergences_of_rows(form):
    (X, strata), W = grouped(), np.random.default_rng(3).random((40, 4)) + 0.1
    data = Strata.from_array(form(X), strata)
    model = V[strata] + W @ H.T
    want = [oracles.kullback_leibler(X[[i]], model[[i]]) for i in range(40)]
    np.testing.assert_allclose(row_divergences(data, W, H.T, V), want, rtol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_the_residual_of_some_rows(form):
    (X, strata), W = grouped(), np.random.default_rng(4).random((40, 4))
    data, some = Strata.from_array(form(X), strata), np.array([7, 3, 30])
    data.weigh(np.arange(1.0, 41), 2)
    u = np.sqrt(np.arange(1.0, 41)) * np.ones((1, 40))
    for rows in (some, slice(5, 9)):
        for shifts in (None, V):
            want = np.array(
                [
                    [
                        sum(W[i, c] * H[j, c] for c in range(4))
                        + u[0, i] * ((0 if shifts is None else shifts[strata[i], j]) - X[i, j])
                        for j in range(23)
                    ]
                    for i in np.arange(40)[rows]
                ]
            )
            np.testing.assert_allclose(data.residual(rows, W, H, shifts), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weight", [np.nan, np.inf, -1.0])
def test_a_score_refuses_weights_that_are_none(weight):
    model = NMF(2, max_iter=2, tol=0).fit(np.eye(4))
    with pytest.raises(ValueError, match="sample_weight contains negative or non-finite weights"):
        model.score(np.eye(4), sample_weight=np.array([1.0, 1.0, 1.0, weight]))
