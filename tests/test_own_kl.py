"""Own components under Kullback-Leibler, and by multiplicative updates of the squared error."""

import warnings

import numpy as np
import oracles_designs_kl as oracle
import pytest
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment
from test_own import assert_forms_agree, lowered_by_every_step, slope_of

import fastnmf
from fastnmf import StratifiedNMF, select_rank, select_strata
from fastnmf.core.alternate import sweep
from fastnmf.core.init.own import own_factors
from fastnmf.core.objectives import own_divergence_problem, own_problem
from fastnmf.core.problem import full
from fastnmf.data.strata import Strata

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
COUNTS = {"solver": "mu", "beta_loss": "kullback-leibler"}
LABELS = np.repeat(["background", "target"], [40, 30])
N_TARGET = {"target": 1}
CODES = np.repeat([0, 1, 2], [5, 4, 6])
SIZES = np.array([2, 0, 1])


@pytest.fixture(scope="module")
def planted():
    """Return counts of two shared components, and of one of the target rows alone, which is the second result."""
    rng = np.random.default_rng(3)
    shared, own = (rng.gamma(1, 1, (k, 16)) * (rng.random((k, 16)) < 0.5) for k in (2, 1))
    mean = 20 * rng.gamma(1, 1, (70, 2)) @ shared + 0.3
    mean[40:] += 10 * rng.gamma(1, 1, (30, 1)) @ own
    return rng.poisson(mean).astype(float), own


@pytest.fixture(scope="module")
def fitted(planted):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return StratifiedNMF(2, n_own=N_TARGET, **COUNTS, random_state=0).fit(planted[0], strata=LABELS)


def drawn(seed=0):
    """Return counts (15, 6), W, H, V, and the weights and own components of all strata: [U U' ...], one block each."""
    rng = np.random.default_rng(seed)
    X = rng.poisson(1.5, (15, 6)).astype(float)
    W, H, V = rng.random((15, 2)), rng.random((2, 6)), rng.random((3, 6))
    U = rng.random((15, 3)) * (np.repeat([0, 2], [2, 1]) == CODES[:, None])
    return X, W, H, V, U, rng.random((3, 6))


def at(X, W, H, V, U, G, *, is_tied=False, penalty=0.3, weight=None, is_squared=False, shifts=True):
    """Return the problem of these data and its factors at this point; the pattern has all entries."""
    data, sizes = Strata.from_array(X, CODES), np.full(3, 2) if is_tied else SIZES
    if weight is not None:
        data.weigh(weight, 2 if is_squared else 1)
    data.pattern = data.pattern.covering(np.ones((3, X.shape[1])))
    factors, tasks = own_factors(data, W, H.T, data.pattern.entries(V), sizes, is_tied=is_tied)
    options = {"penalty": penalty, "is_tied": is_tied, "shifts": shifts}
    if is_squared:
        schedule = (("G", 2), ("W", 1), ("H", 1))
        problem = own_problem(data, factors, tasks, schedule, sizes, is_descent=False, **options)
    else:
        problem = own_divergence_problem(data, factors, tasks, sizes, **options)
    begin = np.cumsum([0, *sizes])
    for s, size in enumerate(sizes):
        entries = np.flatnonzero(data.pattern.group == s)
        factors["G"][entries, 1 : 1 + size] = G[begin[s] : begin[s + 1]].T[data.pattern.column[entries]]
        if not is_tied:
            factors["W"][s == CODES, 2 : 2 + size] = U[s == CODES, begin[s] : begin[s + 1]]
    return problem, factors


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_divergence_and_its_parts_are_those_of_plain_loops(kind):
    X, W, H, V, U, G = drawn()
    problem, factors = at(kind(X), W, H, V, U, G)
    Z, wide, tall = np.eye(3)[CODES], np.concatenate([W, U], axis=1), np.concatenate([H, G])
    total = 0.3 * sum(U[:, c].sum() * G[c].sum() for c in range(3))
    np.testing.assert_allclose(problem.value(factors), oracle.divergence(X, oracle.model(Z, V, wide, tall)) + total)
    np.testing.assert_allclose(problem.penalty, total)
    wanted, pattern = oracle.parts(X, Z, V, wide, tall), problem.losses[0].pattern
    found = {}
    for name in "WHG":
        sub = problem.subproblem(name, factors)
        found[name] = [full(side).astype(float) for side in (sub.pos, sub.neg)]
    for side, weight in ((0, 1.0), (1, 1.3)):  # in neg the own part counts 1 + penalty times
        of_W, of_H, of_V = (wanted[name][side] for name in "WHV")
        np.testing.assert_allclose(found["H"][side][:, :2], of_H[:2].T)
        np.testing.assert_allclose(found["W"][side][:, :2], of_W[:, :2])
        for s, columns in ((0, [0, 1]), (2, [2])):
            here, entries = s == CODES, np.flatnonzero(pattern.group == s)
            own = found["W"][side][here][:, 2 : 2 + len(columns)]
            np.testing.assert_allclose(own, weight * of_W[here][:, 2 + np.array(columns)])
            of_G = found["G"][side][entries, 1 : 1 + len(columns)]
            np.testing.assert_allclose(of_G, weight * of_H[2 + np.array(columns)].T[pattern.column[entries]])
        np.testing.assert_allclose(found["G"][side][:, 0], of_V[pattern.group, pattern.column])


def test_an_iteration_is_a_step_of_plain_loops():
    X, W, H, V, U, G = drawn(1)
    problem, factors = at(sp.csr_array(X), W, H, V, U, G, penalty=0.0)
    sweep(problem, factors)
    Z, wide, tall = np.eye(3)[CODES], np.concatenate([W, U], axis=1), np.concatenate([H, G])
    _, wide, _ = oracle.step(X, Z, V, wide, tall, "W")
    V, _, tall = oracle.step(X, Z, V, wide, tall, "VH")
    np.testing.assert_allclose(factors["W"][:, :2], wide[:, :2])
    np.testing.assert_allclose(factors["W"][CODES == 0][:, 2:4], wide[CODES == 0][:, 2:4])
    np.testing.assert_allclose(factors["H"][:, :2], tall[:2].T)
    pattern = problem.losses[0].pattern
    np.testing.assert_allclose(factors["G"][:, 0], V[pattern.group, pattern.column])
    last = pattern.group == 2
    np.testing.assert_allclose(factors["G"][last, 1], tall[4][pattern.column[last]])


KINDS = [
    (False, False, True),
    (False, True, "common"),
    (True, False, True),
    (True, True, "common"),
    (True, True, False),
]


@pytest.mark.parametrize(("is_squared", "is_tied", "shifts"), KINDS)
def test_gradients_are_differences_and_every_block_is_monotone(is_squared, is_tied, shifts):
    X, W, H, V, U, G = drawn(2)
    X[CODES == 0, :2] = 0
    if shifts is not True:
        V = np.repeat(V[:1], 3, axis=0) * (shifts == "common")
    G = np.random.default_rng(0).random((6, 6)) if is_tied else G
    weight = 0.5 + np.random.default_rng(1).random(15)
    options = {"is_tied": is_tied, "shifts": shifts, "weight": weight, "is_squared": is_squared}
    problem, factors = at(sp.csr_array(X), W, H, V, U, G, **options)
    for name in "WHG":
        found = problem.subproblem(name, factors).gradient(factors[name])
        for entry in [(0, 0), (3, 1), (5, 1)]:
            if name == "G" and entry[1] == 0 and shifts is not True:
                continue  # not free, or one number for all strata
            slope = slope_of(lambda: problem.value(factors), factors, name, entry) / (2 if is_squared else 1)
            np.testing.assert_allclose(slope, found[entry], rtol=1e-5, atol=1e-6)
    lowered_by_every_step(problem, factors, problem.schedule, 6)
    assert (factors["G"][:, 0] == 0).all() == (shifts is False)
    if shifts == "common":
        v = problem.losses[0].shift(factors)
        np.testing.assert_allclose(factors["G"][:, 0], v[problem.losses[0].pattern.column])


def test_weights_are_minimisers_and_methods_agree(planted, fitted):
    X, _ = planted
    W, U = fitted.transform(X, strata=LABELS), fitted.transform_own(X, strata=LABELS).toarray()
    own, codes = fitted.own_components_["target"], (LABELS == "target").astype(int)
    rows = fitted.inverse_transform(W, strata=LABELS, own_W=U)
    np.testing.assert_allclose(rows, fitted.shifts_[codes] + W @ fitted.components_ + U @ own)
    errors = fitted.reconstruction_errors(X, strata=LABELS)
    terms = rows - X + np.where(X > 0, X * np.log(np.where(X > 0, X, 1) / rows), 0)
    np.testing.assert_allclose(errors, terms.sum(axis=1), rtol=1e-8)
    ratio = X / rows
    for F, slope in (
        (W, fitted.components_.sum(axis=1) - ratio @ fitted.components_.T),
        (U[codes == 1], 1.05 * own.sum(axis=1) - ratio[codes == 1] @ own.T),
    ):
        scale = 1e-5 * np.abs(slope).max() + 1e-4
        assert (slope > -scale).all() and (np.abs(F * slope) < scale * max(F.max(), 1)).all()
    of_rows, of_columns = X.sum(axis=1, keepdims=True), X.sum(axis=0)
    independent = of_rows * of_columns / X.sum()
    null = np.where(X > 0, X * np.log(np.where(X > 0, X, 1) / independent), 0).sum()
    np.testing.assert_allclose(fitted.score(X, strata=LABELS), 1 - errors.sum() / null)
    assert np.mean(fitted.predict_stratum(X) == LABELS) > 0.7
    last = fitted.history_
    assert last["objective"][-1] * (1 - 1e-3) <= errors.sum() + 0.05 * (U @ own).sum() <= last["objective"][-1]


def test_what_was_planted_is_found_and_explained(planted, fitted):
    X, own = planted
    found = fitted.own_components_["target"]
    cosines = own @ found.T / np.linalg.norm(own, axis=1)[:, None] / np.linalg.norm(found, axis=1)
    assert cosines[linear_sum_assignment(-cosines)].min() > 0.9
    assert fitted.own_W_.shape == (70, 1) and fitted.own_W_[:40].nnz == 0 and fitted.n_revived_ == 0
    assert fitted.top_features(3).own["target"][0][0] == str(found[0].argmax())
    explained = fitted.explain(X, strata=LABELS)
    parts, errors = explained.strata, fitted.reconstruction_errors(X, strata=LABELS)
    for part in parts:
        assert abs(part.explained - part.by_shift - part.by_shared - part.by_own) < 1e-12
    assert parts[0].by_own == 0 and parts[1].by_own > 0.02
    independent = X.sum(axis=1, keepdims=True) * X.sum(axis=0) / X.sum()
    null = np.where(X > 0, X * np.log(np.where(X > 0, X, 1) / independent), 0).sum(axis=1)
    target = LABELS == "target"
    np.testing.assert_allclose(parts[1].explained, 1 - errors[target].sum() / null[target].sum())
    assert "a shift and own components" in explained.verdict and "divergence" in explained.verdict


@pytest.mark.parametrize("options", [{"n_own": 1, "shifts": False}, {"own": "tied", "shifts": "common"}])
def test_sparse_is_dense_and_threads_give_the_same_bits(planted, options):
    assert_forms_agree(planted[0], LABELS, {"single": 0.02, "dense": 1e-9}, **COUNTS, **options)


@pytest.mark.parametrize("loss", [COUNTS, {"solver": "mu"}])
def test_fits_are_monotone_and_continue(planted, tmp_path, loss):
    X, _ = planted
    parameters = {"n_own": N_TARGET, "tol": 0, "random_state": 0, **loss}
    whole = StratifiedNMF(2, max_iter=16, **parameters).fit(X, strata=LABELS)
    objective = whole.history_["objective"]
    assert (np.diff(objective) <= 1e-12 * objective[0]).all() and objective[-1] < objective[0]

    def interrupt(state):
        if state.iteration == 12:  # between two updates of a cycle
            raise KeyboardInterrupt

    given = {"strata": LABELS, "checkpoint": tmp_path / "state", "checkpoint_every": 0}
    with pytest.raises(KeyboardInterrupt):
        StratifiedNMF(2, max_iter=16, callback=interrupt, **parameters).fit(X, **given)
    on = StratifiedNMF(2, max_iter=16, **parameters).fit(X, **given)
    np.testing.assert_array_equal(on.own_components_["target"], whole.own_components_["target"])
    whole.save(tmp_path / "model")
    loaded = fastnmf.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.transform(X, strata=LABELS), whole.transform(X, strata=LABELS))
    assert (loaded.own_W_ != whole.own_W_).nnz == 0
    whole.set_params(warm_start=True, max_iter=2).fit(X, strata=LABELS)
    assert whole.history_["objective"][0] == pytest.approx(objective[-1], rel=1e-6)


def test_a_weight_of_two_is_a_row_twice(planted):
    X, twice, weight = planted[0], np.r_[np.arange(70), np.arange(35, 45)], np.ones(70)
    weight[35:45] = 2
    rng = np.random.default_rng(0)
    H, V = rng.random((2, 16)) + 0.1, np.ones((2, 16))
    parameters = {"n_own": N_TARGET, "init": "custom", "max_iter": 3, "tol": 0, "random_state": 0} | COUNTS
    W = rng.random((70, 2)) + 0.1
    model = StratifiedNMF(2, **parameters).fit(X, sample_weight=weight, strata=LABELS, W=W, H=H, V=V)
    rows = model.inverse_transform(model.W_, strata=LABELS, own_W=model.own_W_)
    terms = rows - X + np.where(X > 0, X * np.log(np.where(X > 0, X, 1) / rows), 0)
    own = model.own_W_ @ model.own_components_["target"]
    total = weight @ terms.sum(axis=1) + 0.05 * weight @ own.sum(axis=1)
    np.testing.assert_allclose(model.history_["objective"][-1], total, rtol=1e-9)
    # The start draws weights of own components for each row, and so differs.
    again = StratifiedNMF(2, **parameters).fit(X[twice], strata=LABELS[twice], W=W[twice], H=H, V=V)
    np.testing.assert_allclose(again.history_["objective"][-1], total, rtol=0.05)


def test_held_out_counts_choose_the_rung(planted):
    X, _ = planted
    estimator = StratifiedNMF(2, **COUNTS, max_iter=30, tol=0)
    options = {"n_components": 2, "n_own": 1, "own_penalty": 0, "n_init": 1, "random_state": 0}
    found = select_strata(X, LABELS, estimator=estimator, rungs=["strata", "low_rank", "factors"], **options)
    table = {row.rung: row.held_out for row in found.table}
    assert set(table) == {"strata", "low_rank", "factors"} and 0.2 < table["low_rank"] < table["strata"] < 1


def test_what_does_not_go_together_is_refused(planted, fitted):
    X, _ = planted
    for message, options in {
        "beta_loss='itakura-saito' is not": {"beta_loss": "itakura-saito"},
        "beta_loss='negative-binomial' is not": {"beta_loss": "negative-binomial"},
        "update_order='simultaneous' is not": {"update_order": "simultaneous"},
        "is for the squared error": {"solver": "hals"},
        "alpha_W": {"alpha_W": 0.1},
    }.items():
        with pytest.raises(ValueError, match=message):
            StratifiedNMF(2, **COUNTS | {"n_own": 1} | options).fit(X + 1, strata=LABELS)
    with pytest.raises(ValueError, match="sample_weight in score needs the squared error"):
        fitted.score(X, strata=LABELS, sample_weight=np.ones(70))
    with pytest.raises(ValueError, match="own components; use scoring='loss'"):
        select_rank(X, LABELS, estimator=fitted, ranks=[1], scoring="negative-binomial")
