"""Topics over time: the refit of each level against plain least squares, what rises, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.optimize import nnls

from fastnmf import NMF, RobustNMF, StratifiedNMF, topics_over_time

RNG = np.random.default_rng(0)
N, M, K = 60, 14, 2
YEAR = np.repeat([2001, 2003, 2004, 2005], [24, 16, 12, 8])


def drifting():
    """Return rows of two topics; feature 0 rises in the first one, and feature 1 falls."""
    H = np.zeros((K, M))
    H[0, :7], H[1, 7:] = 1 + RNG.random(7), 1 + RNG.random(7)
    X = RNG.gamma(0.6, 1, (N, K))
    rows = X @ H
    rows[:, 0] += X[:, 0] * (YEAR - 2001)
    rows[:, 1] -= 0.24 * X[:, 0] * H[0, 1] * (YEAR - 2001)
    return rows + RNG.random((N, M)) / 20


X = drifting()


@pytest.fixture(scope="module")
def model():
    return NMF(K, random_state=0, max_iter=100).fit(X)


@pytest.mark.parametrize("strength", [0, 0.7])
def test_components_of_a_level_are_exact_non_negative_least_squares(model, strength):
    found = topics_over_time(model, X, YEAR, strength=strength)
    W, H0 = model.transform(X), model.components_
    r = strength * np.mean([np.square(W[YEAR == year]).sum(axis=0) for year in np.unique(YEAR)])
    assert found.levels.tolist() == [2001, 2003, 2004, 2005] and found.sizes.tolist() == [24, 16, 12, 8]
    for year in found.levels:
        rows = YEAR == year
        left = np.vstack([W[rows], np.sqrt(r) * np.eye(K)])
        want = [nnls(left, np.concatenate([X[rows, j], np.sqrt(r) * H0[:, j]]))[0] for j in range(M)]
        np.testing.assert_allclose(found.components(year), np.array(want).T, rtol=1e-9, atol=1e-10)


def test_shifts_are_subtracted_first():
    strata = {"site": np.arange(N) % 3, "year": YEAR}
    crossed = StratifiedNMF(K, random_state=0, max_iter=40).fit(X, strata=strata)
    found = topics_over_time(crossed, X, "year", strata=strata, strength=1)
    W, Z = crossed.transform(X, strata=strata), crossed._fitted_design().encode(strata, None, None, N)
    rest, r = X - Z @ crossed.shifts_, np.mean([np.square(W[YEAR == year]).sum(axis=0) for year in found.levels])
    rows = YEAR == 2003
    gram, right = W[rows].T @ W[rows] + r * np.eye(K), W[rows].T @ rest[rows] + r * crossed.components_
    H = found.components(2003)
    gradient = gram @ H - right  # the conditions of Karush, Kuhn and Tucker
    assert gradient.min() > -1e-8 and abs(gradient[H > 0]).max() < 1e-8
    short = {"random_state": 0, "max_iter": 40}
    frame = pd.DataFrame(X, columns=[f"f{j}" for j in range(M)]).assign(year=YEAR)
    named = topics_over_time(StratifiedNMF(K, **short).fit(frame, strata="year"), frame, "year", strata="year")
    plain = topics_over_time(StratifiedNMF(K, **short).fit(X, strata=YEAR), X, YEAR, strata=YEAR)
    np.testing.assert_array_equal(named.components(2004), plain.components(2004))
    assert named.feature_names[0] == "f0"
    some = StratifiedNMF(K, unknown_strata="mean", **short).fit(X[:52], strata=YEAR[:52])
    last = topics_over_time(some, X, YEAR, strata=YEAR, strength=0)  # 2005 is new, and has the mean shift
    W, mean = some.transform(X[52:], strata=YEAR[52:]), some.stratum_sizes_ @ some.shifts_ / 52
    want = [nnls(W, column)[0] for column in (X[52:] - mean).T]
    np.testing.assert_allclose(last.components(2005), np.array(want).T, rtol=1e-7, atol=1e-9)


def test_what_rises_and_falls_is_found_and_strength_holds_it(model):
    found = topics_over_time(model, X, YEAR)
    topic = int(model.components_[:, 2].argmax())
    top = found.top_features(topic, 3)
    assert top.rising[0] == "0" and top.falling[0] == "1" and f"{topic}  rising   0" in str(found)
    shares = found.shares(topic, [0, 1])
    assert (np.diff(shares[:, 0]) > 0).all() and (np.diff(shares[:, 1]) < 0).all()
    assert found.shares(topic).sum(axis=1) == pytest.approx(np.ones(4))
    weight, time = found.usage[:, topic], np.array([2001.0, 2003, 2004, 2005])
    slope = np.polyfit(time, shares[:, 0], 1, w=np.sqrt(weight))[0]
    assert found.changes(topic)[0] == pytest.approx(4 * slope)
    stiff = topics_over_time(model, X, YEAR, strength=1e9)
    np.testing.assert_allclose(stiff.components(2005), model.components_, rtol=1e-6, atol=1e-9)
    assert abs(stiff.changes(topic)).max() < 1e-6 < abs(found.changes(topic)).max()


def test_sparse_dense_and_any_unit_agree(model):
    found = topics_over_time(model, X, YEAR)
    sparse = topics_over_time(model, sp.csr_array(X), YEAR)
    np.testing.assert_allclose(sparse.components(2003), found.components(2003), rtol=1e-9, atol=1e-12)
    tiny = NMF(K, random_state=0, max_iter=100).fit(X * 2.0**-300)
    np.testing.assert_allclose(
        topics_over_time(tiny, X * 2.0**-300, YEAR).shares(0, [0, 5]), found.shares(0, [0, 5]), rtol=1e-6
    )
    names = np.array(["2001-b", "2001-a"])[np.arange(N) % 2]
    text = topics_over_time(model, X, names)
    assert text.levels.tolist() == ["2001-a", "2001-b"] and text.positions.tolist() == [0, 1]
    days = topics_over_time(model, X, np.datetime64("2020-01-01") + (YEAR - 2001))
    np.testing.assert_allclose(days.changes(0), found.changes(0))


def test_a_level_that_does_not_use_a_component_keeps_it(model):
    alone = np.zeros((3, M))
    alone[:, 7:] = X[:3, 7:] + 1
    both = np.concatenate([X, alone])
    fit = NMF(K, fixed_components=np.maximum(model.components_ * (model.components_ > 0.2), 0), random_state=0).fit(
        both
    )
    time = np.append(YEAR, [2010] * 3)
    unused = np.flatnonzero(~fit.transform(alone).any(axis=0))
    found = topics_over_time(fit, both, time, strength=0)
    assert len(unused) == 1 and not found.shares(int(unused[0]))[[-1]].nnz
    np.testing.assert_array_equal(found.components(2010)[unused], fit.components_[unused])


def plain(**options):
    return NMF(K, random_state=0, max_iter=3, tol=0, **options)


def strata(**options):
    return StratifiedNMF(K, random_state=0, max_iter=3, tol=0, **options).fit(X, strata=YEAR)


@pytest.mark.parametrize(
    "make, given, error, said",
    [
        (lambda: plain().fit(X), {"time": np.ones(N)}, ValueError, "single label 1.0"),
        (lambda: plain().fit(X), {"time": YEAR[:5]}, ValueError, "5 labels for 60 rows"),
        (lambda: plain().fit(X), {"time": YEAR, "strength": -1}, ValueError, "strength=-1"),
        (lambda: plain().fit(X), {"time": YEAR, "strata": YEAR}, ValueError, "NMF does not use it"),
        (lambda: plain(solver="mu", beta_loss=1).fit(X), {"time": YEAR}, ValueError, "needs the squared error"),
        (lambda: plain(missing_values="nan").fit(X), {"time": YEAR}, ValueError, "needs all entries"),
        (lambda: strata(n_own=1), {"time": YEAR, "strata": YEAR}, ValueError, "own ones"),
        (lambda: strata(), {"time": YEAR}, ValueError, "pass strata="),
        (lambda: RobustNMF(K, max_iter=3).fit(X), {"time": YEAR}, TypeError, "expected an NMF"),
    ],
)
def test_what_cannot_be_followed_is_refused(make, given, error, said):
    with pytest.raises(error, match=said):
        topics_over_time(make(), X, **given)


def test_questions_about_what_is_not_there_are_refused(model):
    found = topics_over_time(model, X, YEAR)
    with pytest.raises(ValueError, match="1999 is not a level"):
        found.components(1999)
    with pytest.raises(ValueError, match="component=2 is not valid; expected 0 to 1"):
        found.top_features(2)
