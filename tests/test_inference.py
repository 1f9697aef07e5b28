"""Weights of rows for fixed components, against plain loops that try every support."""

import numpy as np
import oracles
import pytest
import scipy.sparse as sp
from masks import grouped

from fastnmf.core.alternate import sweep
from fastnmf.core.factors import pad
from fastnmf.core.inference import (
    even_weights,
    infer,
    infer_divergence,
    infer_with_neighbours,
    quadratic_weights,
    solve_rows,
    solve_rows_each,
)
from fastnmf.core.losses.choice import DIVERGENCES, Beta
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
        parts = [w[c] * sum(H[j, c] for j in range(23)) for c in range(4)]
        np.testing.assert_allclose(parts, parts[0])
        assert sum(w[c] * H[j, c] for c in range(4) for j in range(23)) == pytest.approx(sum(x), abs=1e-12)
    assert not even_weights(Strata.from_array(form(0 * X)), 0 * H).any()


def slopes(X, W, H, V, beta, l1=0.0, l2=0.0):
    """Return the derivatives of the divergence and an elastic net with respect to W, by plain loops."""
    found = np.zeros(W.shape)
    for i, x in enumerate(X):
        for c in range(W.shape[1]):
            found[i, c] = l1 + l2 * W[i, c]
            for j in range(X.shape[1]):
                y = V[i, j] + sum(W[i, b] * H[j, b] for b in range(W.shape[1]))
                if H[j, c]:
                    found[i, c] += H[j, c] * (y ** (beta - 1) - (x[j] * y ** (beta - 2) if x[j] else 0))
    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("has_shifts", "net"), [(False, (0.0, 0.0)), (True, (0.3, 0.2))])
def test_weights_under_kullback_leibler_are_exact(form, has_shifts, net):
    """No slope is negative, and where a weight is positive it is zero: a convex function has then its minimum."""
    (X, strata), H = grouped(), components()
    X, H = np.floor(4 * X), np.column_stack([components(), 0 * components()[:, 0]])  # zeros; a component of zeros
    X[3] = 0
    X[4, 1:] = 0
    V = np.random.default_rng(7).random((3, 23)) * (np.arange(23) % 2) if has_shifts else None
    penalties = [ElasticNet(*net, unit=1)] if any(net) else []
    kl = DIVERGENCES["kullback-leibler"]
    W, measure = infer_divergence(Strata.from_array(form(X), strata), H, V, kl, penalties, 1)
    slope = slopes(X, W, H, np.zeros(X.shape) if V is None else V[strata], 1, *net)
    assert slope.min() > -1e-7 * X.max() and np.abs(slope * W).max() < 1e-7 * X.max()
    assert not W[3].any() and not W[:, 4].any() and (W == 0).any(axis=1).sum() > 5
    part = Strata.from_array(form(X), strata).part(slice(5, 9))
    small = infer_divergence(part, H, V, kl, penalties, 1)[0]
    assert np.array_equal(small, W[5:9]), "a row depends on itself alone"
    y = W @ H.T + (0 if V is None else V[strata])
    want = np.sum(y - X) + np.sum(X[X > 0] * np.log(X[X > 0] / np.maximum(y[X > 0], 1.1920929e-07)))
    assert measure()[0] == pytest.approx(want, rel=1e-12)
    near = infer_divergence(Strata.from_array(form(X.astype(np.float32)), strata), H, V, kl, penalties, 1)[0]
    assert near.dtype == np.float32
    np.testing.assert_allclose(near, W, atol=1e-4 * W.max())


@pytest.mark.parametrize("beta", [0.5, 1.5])
def test_updates_of_a_row_end_when_it_has_settled(beta, monkeypatch):
    (X, strata), H = grouped(), components()
    data, counted = Strata.from_array(X + 0.1, strata), []

    def count(problem, factors):
        counted.append(len(factors["W"]))
        sweep(problem, factors)

    monkeypatch.setattr("fastnmf.core.inference.sweep", count)
    W, _ = infer_divergence(data, H, None, Beta(beta), (), 20_000)
    assert len(counted) < 10_000 and sum(counted) < 0.5 * len(X) * len(counted), "settled rows are left out"
    slope = slopes(X + 0.1, W, H, np.zeros(X.shape), beta)
    assert slope.min() > -1e-3 and np.abs(slope * W).max() < 1e-3
    part, _ = infer_divergence(data.part(slice(3, 9)), H, None, Beta(beta), (), 20_000)
    assert np.array_equal(part, W[3:9]), "a row depends on itself alone"
    counted.clear()
    infer_divergence(data, H, None, Beta(beta), (), 13)
    assert len(counted) == 13
