"""Weights of rows for fixed components, against plain loops that try every support."""

import numpy as np
import oracles
import pytest
import scipy.sparse as sp
from masks import grouped

from fastnmf.core.factors import pad
from fastnmf.core.inference import (
    even_weights,
    infer,
    infer_with_neighbours,
    quadratic_weights,
    solve_rows,
    solve_rows_each,
)
from fastnmf.core.penalties import ElasticNet
from fastnmf.data.strata import Strata

FORMS = (np.asarray, sp.csr_array)


def components(n_columns=23, rank=4, seed=6):
    rng = np.random.default_rng(seed)
    return rng.random((n_columns, rank)) * (rng.random((n_columns, rank)) < 0.6)


def by_supports(grams, right):
    return np.array([oracles.nnls_by_supports(gram, b) for gram, b in zip(grams, right, strict=True)])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("has_shifts", [False, True])
@pytest.mark.parametrize("has_weights", [False, True])
def test_inferred_weights_are_exact(form, has_shifts, has_weights):
    (X, strata), H = grouped(), components()
    data = Strata.from_array(form(X), strata)
    V = np.random.default_rng(7).random((3, 23)) if has_shifts else None
    u = np.ones(len(X))
    if has_weights:
        data.weigh(np.arange(len(X)) % 3, 2)
        u = np.sqrt(np.arange(len(X)) % 3)
    W, sub = infer(data, 4, pad(H, data), V, penalties=[ElasticNet(0.3, 0.2)])
    rest = u[:, None] * (X - (0 if V is None else V[strata]))
    want = by_supports([H.T @ H + 0.2 * np.eye(4)] * len(X), rest @ H - 0.3)
    np.testing.assert_allclose(W[:, :4], want, rtol=1e-9, atol=1e-11)
    assert not W[:, 4:].any()
    np.testing.assert_allclose(sub.pos[:, :4], (u[:, None] * X) @ H, rtol=1e-12)


def test_weights_of_a_quadratic_problem_are_exact():
    rng = np.random.default_rng(8)
    G, pos, neg = rng.random((9, 8)), rng.random((30, 8)), 0.5 * rng.random((30, 8))
    G[:, 5:] = pos[:, 5:] = neg[:, 5:] = 0
    for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 1e-3)):
        W, _ = quadratic_weights(G.T @ G, pos.astype(dtype), 5, neg.astype(dtype))
        want = by_supports([G[:, :5].T @ G[:, :5]] * 30, (pos - neg)[:, :5])
        np.testing.assert_allclose(W[:, :5], want, rtol=tolerance, atol=tolerance)
        assert W.dtype == dtype


def test_rows_with_one_gram_matrix_and_with_one_each(monkeypatch):
    rng = np.random.default_rng(9)
    grams = np.array([G.T @ G for G in rng.random((11, 6, 3))])
    right = rng.standard_normal((11, 3))
    S = rng.random((11, 3))
    solve_rows(grams[0], right, S)
    np.testing.assert_allclose(S, by_supports([grams[0]] * 11, right), rtol=1e-9, atol=1e-12)
    for block in (1 << 21, 20):  # all rows at a time, and two
        monkeypatch.setattr("fastnmf.core.inference.BLOCK", block)
        W, sizes = np.zeros((11, 8)), []

        def equations(first, n, sizes=sizes):
            sizes.append(n)
            return grams[first : first + n], right[first : first + n]

        solve_rows_each(W, 3, equations)
        np.testing.assert_allclose(W[:, :3], by_supports(grams, right), rtol=1e-9, atol=1e-12)
        assert sum(sizes) == 11 and not W[:, 3:].any()
    assert sizes == [2, 2, 2, 2, 2, 1]


def test_rows_that_are_pulled_towards_others():
    rng = np.random.default_rng(10)
    G, pos = rng.random((9, 8)), rng.standard_normal((20, 8))
    pull, own = rng.random((20, 3)), rng.random((20, 3))
    W = infer_with_neighbours(pos, G.T @ G, 3, pull, own, np.dtype(float))
    grams = [(G.T @ G)[:3, :3] + np.diag(ridge) for ridge in own]
    np.testing.assert_allclose(W[:, :3], by_supports(grams, pos[:, :3] + pull), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_even_weights_give_the_total_of_each_row(form):
    (X, _), H = grouped(), components()
    X[2] = 0
    W = even_weights(Strata.from_array(form(X)), H)
    for w, x in zip(W, X, strict=True):
        assert len(set(w)) == 1
        assert sum(w[c] * H[j, c] for c in range(4) for j in range(23)) == pytest.approx(sum(x), abs=1e-12)
    assert not even_weights(Strata.from_array(form(0 * X)), 0 * H).any()
