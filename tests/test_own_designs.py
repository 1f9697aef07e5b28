"""Own components of the levels of one factor, or with an exposure: the objective, its gradients, new rows, refusals."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from test_own import lowered_by_every_step, slope_of

import fastnmf
from fastnmf import StratifiedNMF, open_csr, save_csr
from fastnmf.core.init.own import own_factors
from fastnmf.core.losses import own_designs
from fastnmf.core.objectives import own_divergence_problem, own_problem
from fastnmf.data.design import DesignedStrata
from fastnmf.data.levels import Design

N, M, RANK = 60, 16, 2
RNG = np.random.default_rng(1)
SITE, YEAR = np.array(list("abc"))[RNG.integers(0, 3, N)], RNG.integers(2000, 2003, N)
U = np.where(np.arange(N) == 5, 0.0, RNG.uniform(0.5, 2, N))
WEIGHT = np.where(np.arange(N) % 9 == 0, 0.0, 2 * RNG.random(N))
SHARED, OWN = RNG.gamma(0.5, 1, (RANK, M)), RNG.gamma(0.5, 1, (1, M))
MEAN = RNG.gamma(0.5, 2, (N, RANK)) @ SHARED + (SITE == "b")[:, None] * (RNG.gamma(1, 2, (N, 1)) @ OWN)
SITES, YEARS = np.unique(SITE, return_inverse=True)[1], YEAR - 2000
X = RNG.poisson(MEAN + U[:, None] * RNG.gamma(0.3, 1, (3, M))[SITES] + RNG.gamma(0.3, 1, (3, M))[YEARS]) * 1.0
FRAME = {"year": YEAR, "site": SITE}
KL = {"solver": "mu", "beta_loss": "kullback-leibler"}

# name -> parameters, what says which shifts the rows have
CASES = {
    "exposure": ({"n_own": {"b": 1}}, {"strata": SITE, "exposure": U}),
    "tied, exposure": ({"own": "tied"}, {"strata": SITE, "exposure": U}),
    "crossed": ({"n_own": {"site": {"a": 1, "b": 2}}}, {"strata": FRAME, "exposure": U}),
    "kl, exposure": ({"n_own": 1} | KL, {"strata": SITE, "exposure": U}),
    "kl, crossed": ({"n_own": {"site": {"b": 1}}} | KL, {"strata": FRAME}),
}


def fitted(options, given, X=X, **more):
    options = {"init": "features", "random_state": 0, "max_iter": 8, "tol": 0} | options | more
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return StratifiedNMF(RANK, **options).fit(X, **given)


def rows_of(given):
    """Return Z (n_rows, q) by plain loops, with the exposure."""
    strata, u = given["strata"], given.get("exposure", np.ones(N))
    factors = [("site", strata)] if not isinstance(strata, dict) else list(strata.items())
    columns = [] if len(factors) == 1 else [np.ones(N)]
    for _, labels in factors:
        columns += [(labels == level).astype(float) for level in np.unique(labels)]
    return np.stack(columns, axis=1) * u[:, None]


def parts_of(model, given, W, own_W):
    """Return the shifts and shared part of the model, and the part of own components, by plain loops over rows."""
    both, own = rows_of(given) @ model.shifts_ + W @ model.components_, np.zeros((N, M))
    for i, site in enumerate(SITE):
        G = model.own_components_[site]
        own[i] = (W[i] if own_W is None else own_W[[i]].toarray()[0][own_W_columns(model, site)]) @ G
    return both, own


def own_W_columns(model, site):
    """Return the columns of `own_W_` that belong to a site."""
    labels = list(model.own_components_)
    ends = np.cumsum([len(model.own_components_[label]) for label in labels])
    end = ends[labels.index(site)]
    return slice(end - len(model.own_components_[site]), end)


def misfit(model, A, both, own, weight):
    """Return the objective of a model from its parts."""
    if model.beta_loss == "frobenius":
        return np.sum(weight[:, None] * ((A - both - own) ** 2 + model._penalty * own**2))
    y = both + own
    each = np.where(A > 0, A * np.log(np.where(A > 0, A / np.maximum(y, 1e-300), 1)), 0) - A + y
    return np.sum(weight[:, None] * (each + model._penalty * own))


@pytest.mark.parametrize("name", CASES)
def test_the_objective_is_that_of_plain_loops_and_monotone(name):
    options, given = CASES[name]
    weight = {"sample_weight": WEIGHT} if name in ("crossed", "kl, exposure") else {}
    for A in (X, sp.csr_array(X)):
        model = fitted(options, given | weight, A, extrapolate=False)
        objective = model.history_["objective"]
        assert (np.diff(objective) <= 1e-12 * objective[0]).all() and objective[-1] < 0.99 * objective[0]
        parts = parts_of(model, given, model.W_, getattr(model, "own_W_", None))
        np.testing.assert_allclose(misfit(model, X, *parts, weight.get("sample_weight", np.ones(N))), objective[-1])
    assert isinstance(model.own_components_, dict) and list(model.own_components_) == ["a", "b", "c"]


@pytest.mark.parametrize("name", CASES)
def test_new_rows_have_the_weights_and_errors_of_the_model(name, tmp_path):
    options, given = CASES[name]
    model = fitted(options, given)
    is_tied, is_squared = "own" in options, "kl" not in name
    W = model.transform(X, **given)
    own_W = None if is_tied else model.transform_own(X, strata=given["strata"], exposure=given.get("exposure"))
    if is_squared:
        np.testing.assert_array_equal(W, model.W_)
        assert is_tied or (own_W != model.own_W_).nnz == 0
    both, own = parts_of(model, given, W, own_W)
    rows = model.inverse_transform(W, own_W=own_W, **given)
    np.testing.assert_allclose(rows, both + own)
    errors = model.reconstruction_errors(X, **given)
    trivial = np.sum(X**2)
    if is_squared:
        np.testing.assert_allclose(errors, np.sum((X - rows) ** 2, axis=1), rtol=1e-8)
    else:
        np.testing.assert_allclose(errors.sum(), misfit(model, X, both, own, np.ones(N)) - model._penalty * own.sum())
        trivial = np.nan
    score = model.score(X, **given)
    assert score < 1 and (not is_squared or score == pytest.approx(1 - errors.sum() / trivial))
    on_disk = save_csr(sp.csr_array(X), tmp_path / "rows", columns=25)
    assert model.score(on_disk, **given) == pytest.approx(score, rel=1e-10)
    np.testing.assert_allclose(model.transform(on_disk, **given), W, rtol=0, atol=1e-12 * W.max())
    model.save(tmp_path / "model")
    loaded = fastnmf.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.transform(X, **given), W)
    assert loaded.own_components_.keys() == model.own_components_.keys()


def test_levels_that_are_new_have_no_own_components():
    options, given = CASES["crossed"]
    model = fitted(options, given, unknown_strata="mean")
    new = FRAME | {"site": np.where(np.arange(N) < 4, "new", SITE)}
    own_W = model.transform_own(X, strata=new, exposure=U)
    assert own_W[:4].nnz == 0 and (own_W[4:] != model.own_W_[4:]).nnz == 0
    assert np.isfinite(model.reconstruction_errors(X, strata=new, exposure=U)).all()


def at(is_squared, *, is_tied=False, weight=None):
    """Return a problem with two factors and an exposure at a random point, with patterns that have all entries."""
    rng = np.random.default_rng(3)
    learned, Z = Design.learn(FRAME, None, U, N)
    learned.own = 1
    data = DesignedStrata(sp.csr_array(X), learned.names, Z)
    data.learned, data.own_levels = learned, SITES.astype(np.int32)
    if weight is not None:
        data.weigh(weight, 2 if is_squared else 1)
    sizes = np.full(3, RANK) if is_tied else np.array([2, 0, 1])
    W, H, V = rng.random((N, RANK)), rng.random((M, RANK)), 0.1 + rng.random(len(data.pattern.group))
    factors, tasks = own_factors(data, W, H, V, sizes, is_tied=is_tied)
    kinds = {"penalty": 0.3, "is_tied": is_tied, "kinds": own_designs.DESIGN_KINDS}
    if is_squared:
        schedule = (("W", 1), ("G", 2), ("V", 1), ("H", 1))
        problem = own_problem(data, factors, tasks, schedule, sizes, **kinds)
    else:
        problem = own_divergence_problem(data, factors, tasks, sizes, **kinds)
    loss = problem.losses[0]
    for code in range(3):
        entries = loss.entries_of(code)
        factors["G"][entries, 1 : 1 + sizes[code]] = rng.random((len(entries), sizes[code]))
        if not is_tied:
            factors["W"][code == SITES, RANK : RANK + sizes[code]] = rng.random((np.sum(code == SITES), sizes[code]))
    return problem, factors


@pytest.mark.parametrize(
    ("is_squared", "is_tied", "limit"),
    [(True, False, 1 << 24), (True, True, 1 << 24), (True, False, 0), (False, False, 0)],
)
def test_gradients_are_differences_and_every_block_is_monotone(is_squared, is_tied, limit, monkeypatch):
    monkeypatch.setattr(own_designs, "DENSE_BELOW", limit)
    problem, factors = at(is_squared, is_tied=is_tied, weight=0.5 + np.random.default_rng(0).random(N))
    for name, entries in (("W", [(3, 1), (SITES.tolist().index(2), 0)]), ("H", [(3, 1)]), ("G", [(4, 1)]), ("V", [7])):
        if name == "W" and not is_tied:
            entries = [*entries, (SITES.tolist().index(0), RANK + 1)]
        found = problem.subproblem(name, factors).gradient(factors[name])
        for entry in entries:
            slope = slope_of(lambda: problem.value(factors), factors, name, entry) / (2 if is_squared else 1)
            np.testing.assert_allclose(slope, found[entry], rtol=1e-4, atol=1e-5)
    if is_squared:
        np.testing.assert_allclose(problem.losses[0].value(factors), problem.losses[0].exact_value(factors), rtol=1e-9)
    lowered_by_every_step(problem, factors, problem.schedule, 4)


def test_an_exposure_of_one_is_the_fit_of_the_labels():
    for options in (KL, {}):
        options = options | {"n_own": {"b": 1}, "extrapolate": False, "max_iter": 60}
        given = {"strata": SITE}
        wanted, found = fitted(options, given), fitted(options, given | {"exposure": np.ones(N)})
        rtol = 1e-9 if "solver" in options else 2e-3  # coordinate descent updates shifts and own components in turn
        np.testing.assert_allclose(found.history_["objective"][-1], wanted.history_["objective"][-1], rtol=rtol)


def test_dead_components_are_replaced_by_what_rows_lack():
    problem, factors = at(True, weight=WEIGHT)
    loss = problem.losses[0]
    factors["H"][:, 0], factors["G"][loss.entries_of(2), 1] = 0, 0
    factors.invalidate("H")
    factors.invalidate("G")
    V, row_scale = loss.of_shifts.pattern.dense(factors["V"]), np.sqrt(WEIGHT)
    y = rows_of(CASES["crossed"][1]) @ V * row_scale[:, None] + factors["W"][:, :RANK] @ factors["H"][:, :RANK].T
    for i, code in enumerate(SITES):
        entries = loss.entries_of(code)
        y[i, loss.pattern.column[entries]] += factors["G"][entries, 1:] @ factors["W"][i, RANK : RANK + 2]
    lack = np.where(WEIGHT[:, None] > 0, (X * row_scale[:, None] - y) / np.maximum(row_scale[:, None], 1e-9), 0)
    errors = np.sum(lack**2, axis=1)
    first = int(np.argmax(errors))
    errors[[first]] = 0
    second = int(np.argmax(np.where(SITES == 2, errors, 0)))
    assert problem.reseed_dead_component(factors) == 2
    np.testing.assert_allclose(factors["H"][:, 0], np.maximum(lack[first], 0), atol=1e-12)
    entries = loss.entries_of(2)
    np.testing.assert_allclose(factors["G"][entries, 1], np.maximum(lack[second], 0)[loss.pattern.column[entries]])
    assert not factors["W"][:, 0].any() and not factors["W"][SITES == 2, RANK].any()


def test_threads_and_checkpoints_give_the_same_bits(tmp_path):
    for name in ("crossed", "kl, crossed"):
        options, given = CASES[name]
        wanted = fitted(options, given, sp.csr_array(X), n_threads=1)
        found = fitted(options, given, sp.csr_array(X), n_threads=2)
        path = {"checkpoint": tmp_path / name}
        fitted(options, given | path, sp.csr_array(X), max_iter=3)
        resumed = fitted(options, given | path, sp.csr_array(X))
        for model in (found, resumed):
            np.testing.assert_array_equal(model._own_stack, wanted._own_stack)
            np.testing.assert_array_equal(model.shifts_, wanted.shifts_)


CROSSED, EXPOSED = {"strata": FRAME}, {"strata": SITE, "exposure": U}
REFUSED = {
    "name the one whose levels have own components": ({"n_own": 1}, CROSSED),
    "own='tied' needs one label for each row": ({"own": "tied"}, CROSSED),
    "the label 'x', but the labels of 'site' are": ({"n_own": {"site": {"x": 1}}}, CROSSED),
    "the label 'site', but the strata are": ({"n_own": {"site": {"a": 1}}}, EXPOSED),
    "design= says nothing of either": ({"n_own": 1}, {"design": np.ones((N, 1))}),
    "smoothness does not go with own components": ({"n_own": 1, "smoothness": 1.0}, {"strata": YEAR}),
    "gauge='max_shift' does not go with own components": ({"n_own": 1, "gauge": "max_shift"}, EXPOSED),
    "shifts='common' does not go with own components": ({"n_own": 1, "shifts": "common"}, EXPOSED),
    "solver='mu' with the squared error does not go": ({"n_own": 1, "solver": "mu"}, EXPOSED),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_go_together_is_refused(message):
    options, given = REFUSED[message]
    with pytest.raises(ValueError, match=message):
        fitted(options, given)


def test_methods_and_data_that_are_refused(tmp_path):
    options, given = CASES["exposure"]
    model = fitted(options, given, max_iter=2)
    with pytest.raises(ValueError, match="explain does not know own components"):
        model.explain(X, **given)
    with pytest.raises(ValueError, match="warm_start=True does not go with own components"):
        model.set_params(warm_start=True).fit(X, **given)
    assert fastnmf.write_report(fitted(options, given, max_iter=2), tmp_path / "page.html", X=X, **given).exists()
    save_csr(sp.csr_array(X), tmp_path)
    with pytest.raises(ValueError, match="need all rows in memory"):
        fitted(options, given, open_csr(tmp_path))
