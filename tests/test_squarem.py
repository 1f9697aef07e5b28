"""SQUAREM: cycles of three multiplicative updates of Kullback-Leibler, the third from an extrapolated point."""

import warnings

import numpy as np
import oracles
import pytest
import scipy.sparse as sp
from own import Separation
from sklearn.datasets import load_digits

from fastnmf import NMF, PLSA, StratifiedNMF
from fastnmf.core import alternate, squarem
from fastnmf.core.squarem import START
from fastnmf.io import archive
from fastnmf.kernels import rows

KL = {"solver": "mu", "beta_loss": "kullback-leibler", "random_state": 0, "tol": 0, "init": "features"}
RNG = np.random.default_rng(3)
TOPICS = RNG.dirichlet(np.full(40, 0.2), 4)
X = sp.csr_array(RNG.poisson(30 * RNG.dirichlet(np.full(4, 0.3), 120) @ TOPICS).astype(float))
HOLED = sp.csr_array(X.toarray() * (np.arange(40) % 7 > 0) * (np.arange(120) % 11 > 0)[:, None])
GROUPS = np.arange(120) % 3
KNOWN = np.where(RNG.random((2, 40)) < 0.3, np.nan, TOPICS[:2])

# name -> model, parameters, arguments of fit, data
CASES = {
    "plain": (NMF, {}, {}, X),
    "float32": (NMF, {}, {}, X.astype(np.float32)),
    "dense": (NMF, {}, {}, X.toarray()),
    "rows and columns of zeros": (NMF, {}, {}, HOLED),
    "one component": (NMF, {"n_components": 1}, {}, X),
    "more components than rank": (NMF, {"n_components": 9}, {}, X[:8]),
    "weights of rows": (NMF, {}, {"sample_weight": np.arange(120) % 4}, X),
    "penalties": (NMF, {"alpha_W": 0.01, "alpha_H": 0.02, "l1_ratio": 0.5}, {}, X),
    "penalty of the user": (NMF, {"penalties": {"H": [Separation(0.1)]}}, {}, X),
    "known entries": (NMF, {"fixed_components": KNOWN}, {}, X),
    "seeds": (NMF, {"seed_features": {0: [1, 2]}}, {}, X),
    "large": (NMF, {}, {}, X * 1e200),
    "strata": (StratifiedNMF, {}, {"strata": GROUPS}, X),
    "strata float32": (StratifiedNMF, {"alpha_V": 0.01}, {"strata": GROUPS}, HOLED.astype(np.float32)),
    "strata of equal weight": (StratifiedNMF, {"strata_weight": "equal"}, {"strata": np.minimum(GROUPS, 1)}, X),
    "plsa": (PLSA, {}, {}, X),
    "plsa float32": (PLSA, {}, {}, HOLED.astype(np.float32)),
}


def fit(case="plain", n=START + 30, checkpoint=None, **more):
    kind, parameters, given, data = CASES[case]
    options = {name: KL[name] for name in KL if kind is not PLSA or name not in ("solver", "beta_loss")}
    model = kind(**{"n_components": 4, "max_iter": n} | options | parameters | more)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(data, checkpoint=checkpoint, **given)


def arrays(model):
    names = ("W_", "components_", "shifts_", "s_")
    return [getattr(model, name) for name in names if hasattr(model, name)] + [model.history_["objective"]]


def same(one, other):
    return all(a.tobytes() == b.tobytes() for a, b in zip(arrays(one), arrays(other), strict=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels_do_what_plain_loops_do(dtype):
    x0, x1, x2 = (RNG.random((7, 8)).astype(dtype) for _ in range(3))
    x1[0], x2[3], x2[:, 0] = x0[0], x1[3] / 64, 0
    tasks, parts = np.array([0, 3, 7]), np.empty((2, 3))
    rows.rows_curvature(tasks, x2, x1, x0, parts)
    wide = [F.astype(np.float64) for F in (x0, x1, x2)]
    r, s, _ = sizes = [abs(wide[1] - wide[0]), abs(wide[2] - 2 * wide[1] + wide[0]), wide[2]]
    np.testing.assert_allclose(parts, [[each[lo:hi].sum() for each in sizes] for lo, hi in ((0, 3), (3, 7))])
    assert oracles.squarem_step(*({"F": F} for F in wide)) == pytest.approx(max(1.0, r.sum() / s.sum()))
    F, second = x2.copy(), x1.copy()
    rows.rows_squarem(tasks, F, second, x0, dtype(1.75))
    np.testing.assert_allclose(F, oracles.squarem_point(*wide, 1.75), rtol=1e-5, atol=1e-6)
    assert (second == x2).all() and (F[:, 0] == 0).all() and (F[x2 > 0] > 0).all()


def test_a_fit_is_that_of_plain_loops():
    data = X[:30].toarray()
    data = data[:, data.any(axis=0)]
    rng = np.random.default_rng(2)
    W, H = rng.random((30, 4)) + 0.1, rng.random((4, data.shape[1])) + 0.1
    model = NMF(4, **KL | {"init": "custom"}, max_iter=START + 60).fit(data, W=W, H=H)
    values, W, H, failed = oracles.squarem_fit(data, W, H, START, 20)
    assert 0 < failed < 20
    np.testing.assert_allclose(model.history_["objective"], values, rtol=1e-10)
    np.testing.assert_allclose(model.inverse_transform(model.W_), W @ H, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_the_objective_is_monotone_and_nothing_becomes_zero(case):
    model, plain = fit(case), fit(case, extrapolate=False)
    values, rounding = model.history_["objective"], 1e-5 if model.components_.dtype == np.float32 else 1e-10
    assert np.isfinite(values).all() and (np.diff(values) <= rounding * values[:-1]).all()
    assert model.n_iter_ == plain.n_iter_ == START + 30 == len(values) - 1
    for one, other in zip(arrays(model), arrays(plain), strict=True):
        assert (one[other > 0] > 0).all()
    if case == "known entries":
        is_known = ~np.isnan(KNOWN)
        np.testing.assert_array_equal(model.components_[:2][is_known], KNOWN[is_known])


@pytest.mark.parametrize("case", CASES)
def test_a_short_fit_has_the_plain_updates(case):
    assert same(fit(case, START + 2), fit(case, START + 2, extrapolate=False))
    if case != "one component":  # which has converged
        assert not same(fit(case, START + 3), fit(case, START + 3, extrapolate=False))


@pytest.mark.parametrize("case", ["plain", "float32", "penalty of the user", "strata", "plsa"])
def test_a_fit_resumes_at_every_place_of_a_cycle(case, tmp_path):
    whole = fit(case, START + 15)
    for n in range(START, START + 7):
        path = tmp_path / f"{n}"
        fit(case, n, path)
        assert same(fit(case, START + 15, path), whole)


@pytest.mark.parametrize("case", ["plain", "strata", "plsa"])
def test_a_callback_sees_each_iterate_and_changes_no_bit(case):
    seen = []
    model = fit(case, callback=lambda state: seen.append(state.W.copy()) and None)
    assert same(model, fit(case)) and len(seen) == model.n_iter_ + 1
    short = fit(case, START + 13, callback=lambda state: state.iteration == START + 6)
    assert same(short, fit(case, START + 6)) and short.stopped_by_ == "callback"


@pytest.mark.parametrize("case", ["plain", "float32", "strata"])
def test_any_number_of_threads_gives_the_same_bits(case, monkeypatch):
    kind, parameters, given, data = CASES[case]
    many = sp.vstack([data] * 30, format="csr"), {name: np.tile(value, 30) for name, value in given.items()}
    monkeypatch.setitem(CASES, case, (kind, parameters, many[1], many[0]))
    assert same(fit(case, START + 9, n_threads=1), fit(case, START + 9, n_threads=2))


@pytest.mark.parametrize("case", ["plain", "penalties", "strata", "plsa"])
def test_a_cycle_that_fails_ends_where_its_second_update_did(case, monkeypatch):
    plain = fit(case, START + 2)

    def far_off(self, factors):
        extrapolate(self, factors)
        factors["W"][:] = factors["W"][:, ::-1] ** 2
        factors.invalidate("W")

    extrapolate = squarem.SQUAREM._extrapolate
    monkeypatch.setattr(squarem.SQUAREM, "_extrapolate", far_off)
    model = fit(case, START + 3)
    assert model.history_["objective"][-1] == model.history_["objective"][-2] == plain.history_["objective"][-1]
    assert model.history_["normalized_loss"][-1] == plain.history_["normalized_loss"][-1]
    assert all((a == b).all() for a, b in zip(arrays(model)[:-1], arrays(plain)[:-1], strict=True))


def test_the_bound_of_the_step_follows_its_success(monkeypatch):
    limits = []
    adapt = squarem.SQUAREM.after_update

    def noted(self, is_lower, factors):
        before = self.limit
        adapt(self, is_lower, factors)
        limits.append((is_lower, self._is_bounded, before, self.limit))

    monkeypatch.setattr(squarem.SQUAREM, "after_update", noted)
    fit(n=START + 150)
    assert len(limits) == 50 and {change[:2] for change in limits} >= {(True, True), (True, False)}
    for is_lower, is_bounded, before, after in limits:
        assert after == (before if not is_bounded else before * 4 if is_lower else max(1.0, before / 4))


def test_the_likelihood_is_that_of_the_returned_probabilities():
    for n in range(START, START + 7):
        model = fit("plsa", n)
        mixed = (model.W_ * model.s_) @ model.components_
        likelihood = (X.toarray() * np.log(np.where(X.toarray() > 0, mixed, 1))).sum()
        assert model.log_likelihood_ == pytest.approx(likelihood, rel=1e-9)


@pytest.mark.parametrize("case", ["plain", "strata", "plsa"])
def test_fewer_iterations_reach_the_same_objective(case):
    plain, model = fit(case, 600, extrapolate=False), fit(case, 240)
    assert model.history_["objective"][-1] < plain.history_["objective"][-1]


def test_other_losses_and_solvers_know_no_cycles():
    data = X.toarray() + 0.5
    for more in ({"beta_loss": "frobenius"}, {"beta_loss": 0.5}):
        options = {"n_components": 3, **KL | more, "max_iter": START + 6}
        assert same(NMF(**options).fit(data), NMF(**options, extrapolate=False).fit(data))
    steady = NMF(3, solver="cd", extrapolate=False, random_state=0, max_iter=9, tol=0).fit(data)
    assert same(steady, NMF(3, solver="hals", random_state=0, max_iter=9, tol=0).fit(data))
    assert not same(steady, NMF(3, solver="cd", random_state=0, max_iter=9, tol=0).fit(data))


def test_a_fit_of_a_version_without_cycles_goes_on_without(tmp_path):
    fit(n=START + 3, checkpoint=tmp_path / "old", extrapolate=False)
    found = archive.read(tmp_path / "old", "checkpoint")
    del found["fit"]["extrapolate"]
    archive.write(tmp_path / "old", "checkpoint", found)
    assert same(fit(n=START + 9, checkpoint=tmp_path / "old"), fit(n=START + 9, extrapolate=False))


def test_a_damaged_state_is_refused(tmp_path):
    fit(n=START + 4, checkpoint=tmp_path / "kept")
    found = archive.read(tmp_path / "kept", "checkpoint")
    found["state"]["extrapolation"]["second"]["W"][0, 0] = -1.0
    archive.write(tmp_path / "kept", "checkpoint", found)
    with pytest.raises(ValueError, match="cannot continue"):
        fit(n=START + 9, checkpoint=tmp_path / "kept")


def test_the_first_bound_of_kullback_leibler_pays(monkeypatch):
    """On 600 digits, where fits stopped early with the bound of the other models."""
    data, options = load_digits().data[:600], KL | {"init": "auto", "max_iter": 130, "tol": 0}
    far = NMF(10, **options).fit(data).history_["objective"][-1]
    monkeypatch.setattr(alternate, "LIMIT_OF_DIVERGENCE", squarem.LIMIT)
    assert far < 0.998 * NMF(10, **options).fit(data).history_["objective"][-1]
