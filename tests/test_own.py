"""Components that belong to one stratum: oracles, the objective, what is found, what is refused."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment, nnls

import fastnmf
from fastnmf import StratifiedNMF
from fastnmf.core.alternate import sweep
from fastnmf.core.init.own import own_factors
from fastnmf.core.losses.own import OwnFrobenius, OwnPenalty
from fastnmf.core.objectives import own_problem
from fastnmf.core.updates.own import EntryHALS
from fastnmf.data.strata import Strata

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
NUMBERS = json.loads((Path(__file__).parent / "data" / "own.json").read_text())
SCHEDULE = (("W", 2), ("G", 2), ("H", 2), ("G", 1))
LABELS = np.repeat(["background", "target"], [45, 30])
N_TARGET = {"target": 2}


def slope_of(value, factors, name, entry):
    """Return the difference quotient of ``value()`` in one entry of a factor."""
    F, values = factors[name], []
    for step in (1e-5, -1e-5):
        F[entry] += step
        factors.invalidate(name)
        values.append(value())
        F[entry] -= step
    factors.invalidate(name)
    return (values[0] - values[1]) / 2e-5


def lowered_by_every_step(problem, factors, schedule, n_iter):
    """Make the steps of a schedule one by one, none of which may raise the objective; return its last value."""
    last = problem.value(factors)
    for _ in range(n_iter):
        for step in schedule:
            problem.schedule = (step,)
            sweep(problem, factors)
            value = problem.value(factors)
            assert value <= last * (1 + 1e-12)
            last = value
    return last


@pytest.fixture(scope="module")
def planted():
    """Two shared components, and two of the target rows alone; half of the entries are zero."""
    rng = np.random.default_rng(4)
    shared, own = (2 * rng.gamma(1, 1, (2, 18)) * (rng.random((2, 18)) < 0.4) for _ in range(2))
    X = rng.gamma(1, 1, (75, 2)) @ shared
    X[45:] += 0.5 * rng.gamma(1, 1, (30, 2)) @ own
    return np.maximum(0, X + 0.1 * rng.normal(size=X.shape)), own


@pytest.fixture(scope="module")
def fitted(planted):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return StratifiedNMF(2, n_own=N_TARGET, random_state=0).fit(planted[0], strata=LABELS)


def objective(A, codes, W, H, V, U, G, penalty):
    """Return the objective by plain loops; U and G are lists by stratum, for tied components U[s] is W(s)."""
    total, count = 0.0, dict.fromkeys(range(len(U)), 0)
    for i, s in enumerate(codes):
        u = U[s][count[s]]
        count[s] += 1
        for j in range(A.shape[1]):
            own = sum(u[c] * G[s][j, c] for c in range(len(u)))
            total += (A[i, j] - V[s, j] - sum(W[i, c] * H[j, c] for c in range(len(H[j]))) - own) ** 2
            total += penalty * own**2
    return total


def drawn(seed):
    """Return the arrays of the stored numbers: data, codes, W, H, V, and U, G, D by stratum."""
    rng, codes = np.random.default_rng(seed), np.repeat([0, 1, 2], [5, 4, 6])
    A = np.maximum(0, rng.normal(0.6, 1, (15, 6)))
    W, H, V = rng.random((15, 2)), rng.random((6, 2)), rng.random((3, 6))
    U = [rng.random((n, k)) for n, k in zip((5, 4, 6), (2, 0, 1), strict=True)]
    G = [rng.random((6, k)) for k in (2, 0, 1)]
    return A, codes, W, H, V, U, G, [rng.random((6, 2)) for _ in range(3)]


def at(A, codes, W, H, V, U, G, sizes, *, is_tied=False, weight=None, **options):
    """Return the problem of these data and its factors at this point; the pattern has all entries."""
    data = Strata.from_array(A, codes)
    if weight is not None:
        data.weigh(weight, 2)
    data.pattern = data.pattern.covering(np.ones((data.n_strata, data.shape[1])))
    factors, tasks = own_factors(data, W, H, data.pattern.entries(V), np.array(sizes), is_tied=is_tied)
    problem = own_problem(data, factors, tasks, SCHEDULE, np.array(sizes), is_tied=is_tied, **options)
    for s, size in enumerate(sizes):
        entries = np.flatnonzero(data.pattern.group == s)
        factors["G"][entries, 1 : 1 + size] = G[s][data.pattern.column[entries]]
        if not is_tied:
            factors["W"][codes == s, W.shape[1] : W.shape[1] + size] = U[s]
    return problem, factors


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_objective_and_half_gradients_are_those_of_the_specification(seed, kind):
    A, codes, W, H, V, U, G, D = drawn(seed)
    wanted, sizes = NUMBERS["seeds"][str(seed)], (2, 0, 1)
    problem, factors = at(kind(A), codes, W, H, V, U, G, sizes, penalty=0.3)
    of = wanted["low_rank"]
    near = {"rtol": 1e-9, "atol": 1e-9}
    for value in (
        problem.value(factors),
        problem.losses[0].exact_value(factors) + problem.penalty,
        objective(*drawn(seed)[:7], 0.3),
    ):
        np.testing.assert_allclose(value, of["objective"], **near)
    of_W, of_G = (problem.subproblem(name, factors).gradient(factors[name]) for name in "WG")
    np.testing.assert_allclose(of_W[:, :2], of["half_grad_W"], **near)
    group, column = problem.losses[0].pattern.group, problem.losses[0].pattern.column
    for s, size in enumerate(sizes):
        here = group == s
        np.testing.assert_allclose(of_G[here, 0], np.array(of["half_grad_V"])[s][column[here]], **near)
        if size:
            np.testing.assert_allclose(of_W[codes == s, 2 : 2 + size], of["half_grad_U"][s], **near)
            np.testing.assert_allclose(of_G[here, 1 : 1 + size], np.array(of["half_grad_G"][s])[column[here]], **near)
    of, none = wanted["tied"], np.zeros((3, 6))
    problem, factors = at(kind(A), codes, W, H, none, None, D, (2, 2, 2), penalty=0.3, is_tied=True, shifts=False)
    by_loops = objective(A, codes, W, H, none, [W[codes == s] for s in range(3)], D, 0.3)
    for value in (problem.value(factors), problem.losses[0].exact_value(factors) + problem.penalty, by_loops):
        np.testing.assert_allclose(value, of["objective"], **near)
    for name in "WH":
        found = problem.subproblem(name, factors).gradient(factors[name])[:, :2]
        np.testing.assert_allclose(found, of[f"half_grad_{name}"], **near)
    found = problem.subproblem("G", factors).gradient(factors["G"])
    for s in range(3):
        np.testing.assert_allclose(found[group == s, 1:], np.array(of["half_grad_D"][s])[column[group == s]], **near)


@pytest.mark.parametrize(("is_tied", "shifts"), [(False, True), (False, "common"), (True, "common"), (True, False)])
def test_gradients_are_differences_and_every_block_is_monotone(is_tied, shifts):
    A, codes, W, H, V, U, G, D = drawn(2)
    A[codes == 0, :2] = 0  # a stratum without these columns has the common shift there
    if shifts is not True:
        V = np.repeat(V[:1], 3, axis=0) * (shifts == "common")
    sizes = (2, 2, 2) if is_tied else (2, 0, 1)
    options = {"penalty": 0.3, "is_tied": is_tied, "shifts": shifts}
    weight = 0.5 + np.random.default_rng(0).random(15)
    problem, factors = at(sp.csr_array(A), codes, W, H, V, U, D if is_tied else G, sizes, weight=weight, **options)
    loss = problem.losses[0]
    for name in "WHG":
        found = problem.subproblem(name, factors).gradient(factors[name])
        entries = [(0, 0), (3, 1), (5, 1)]
        if name == "W" and not is_tied:
            entries += [(1, 2), (2, 3)]
        for entry in entries:
            if name == "G" and entry[1] == 0 and shifts is not True:
                continue  # not free
            slope = slope_of(lambda: loss.exact_value(factors) + problem.losses[1].value(factors), factors, name, entry)
            np.testing.assert_allclose(slope / 2, found[entry], rtol=1e-5, atol=1e-6)
    last = lowered_by_every_step(problem, factors, SCHEDULE, 8)
    np.testing.assert_allclose(last - problem.penalty, loss.exact_value(factors), rtol=1e-9)


def test_kernels_do_what_plain_loops_do():
    A, codes, W, H, V, U, G, _ = drawn(0)
    for kind in (np.asarray, sp.csr_array):  # the dense products are those of BLAS
        problem, factors = at(kind(A), codes, W, H, V, U, G, (2, 0, 1), penalty=0.3)
        loss = problem.losses[0]
        sub = problem.subproblem("W", factors)
        wanted, right = factors["W"].copy(), sub.pos - sub.neg.rows[codes]
        for i, row in enumerate(wanted):
            gram = sub.gram[codes[i]]
            for c in range(4):
                if gram[c, c] > 0:
                    row[c] = max(0, row[c] + (right[i, c] - gram[c] @ row) / gram[c, c])
        problem.updates["W"](factors["W"], sub, 2, 1)
        factors.invalidate("W")
        np.testing.assert_allclose(factors["W"], wanted, atol=1e-12)
        sub, wanted = problem.subproblem("G", factors), factors["G"].copy()
        right = sub.pos - sub.neg.full()
        for e, row in enumerate(wanted):
            gram = sub.gram[loss.pattern.group[e]]
            for _ in range(2):
                for c in range(3):
                    if gram[c, c] > 0:
                        row[c] = max(0, row[c] + (right[e, c] - gram[c] @ row) / gram[c, c])
        found = problem.updates["G"](factors["G"], sub, 2, 2)
        factors.invalidate("G")
        np.testing.assert_allclose(factors["G"], wanted, atol=1e-12)
        np.testing.assert_allclose(found, [np.sum(wanted * side) for side in (sub.pos, sub.neg.full())], rtol=1e-12)
        rows, entries, squares = (
            moments(factors) for moments in (loss.row_moments, loss.entry_moments, loss.entry_squares)
        )
        for s in range(3):
            F, here = factors["W"][codes == s], loss.pattern.group == s
            np.testing.assert_allclose(rows[s], np.column_stack([np.ones(len(F)), F[:, 2:4]]).T @ F, atol=1e-12)
            E, h = factors["G"][here], factors["H"][loss.pattern.column[here], :2]
            np.testing.assert_allclose(entries[s], E.T @ h, atol=1e-12)
            np.testing.assert_allclose(squares[s], E.T @ E, atol=1e-12)


def test_weak_components_of_one_stratum_are_found(planted, fitted):
    X, own = planted
    found = fitted.own_components_["target"]
    cosines = own @ found.T / np.linalg.norm(own, axis=1)[:, None] / np.linalg.norm(found, axis=1)
    assert cosines[linear_sum_assignment(-cosines)].min() > 0.98
    assert fitted.own_components_["background"].shape == (0, 18)
    assert fitted.n_own_.tolist() == [0, 2] and fitted.own_W_.shape == (75, 2)
    assert fitted.own_W_[:45].nnz == 0
    top = fitted.top_features(3)
    assert top.own["background"] == [] and len(top.own["target"]) == 2
    assert top.own["target"][0][0] == str(found[0].argmax())
    explained = fitted.explain(X, strata=LABELS)
    for part in explained.strata:
        assert abs(part.explained - part.by_shift - part.by_shared - part.by_own) < 1e-12
    assert explained.strata[0].by_own == pytest.approx(0, abs=1e-9) and explained.strata[1].by_own > 0.02
    assert "by own part" in str(explained) and "a shift and own components" in explained.verdict


def test_weights_are_exact_and_those_of_the_fit(planted, fitted):
    X, _ = planted
    W, U = fitted.transform(X, strata=LABELS), fitted.transform_own(X, strata=LABELS)
    np.testing.assert_array_equal(W, fitted.W_)
    assert (U != fitted.own_W_).nnz == 0
    for i in (3, 50, 70):  # the stacked least squares that the penalty adds rows to
        G = fitted.own_components_[LABELS[i]]
        dictionary = np.concatenate([fitted.components_, G]).T
        held = np.concatenate([np.zeros((18, 2)), np.sqrt(0.1) * G.T], axis=1)
        right = np.concatenate([X[i] - fitted.shifts_[int(LABELS[i] == "target")], np.zeros(18)])
        wanted = nnls(np.concatenate([dictionary, held]), right)[0]
        found = np.concatenate([W[i], U[[i]].toarray()[0, : len(G)]])
        np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-9)
    rows = fitted.inverse_transform(W, strata=LABELS, own_W=U)
    errors = fitted.reconstruction_errors(X, strata=LABELS)
    np.testing.assert_allclose(errors, np.sum((X - rows) ** 2, axis=1), rtol=1e-8)
    np.testing.assert_allclose(fitted.score(X, strata=LABELS), 1 - errors.sum() / np.sum(X**2), rtol=1e-12)
    assert fitted.reconstruction_err_ == pytest.approx(np.sqrt(errors.sum()), rel=1e-9)
    own_part = 0.1 * np.sum((U @ fitted.own_components_["target"]) ** 2)
    np.testing.assert_allclose(fitted.history_["objective"][-1], errors.sum() + own_part, rtol=1e-9)
    shared = fitted.inverse_transform(W, strata=LABELS, own_W=False)
    np.testing.assert_allclose(rows[45:] - shared[45:], U[45:] @ fitted.own_components_["target"], atol=1e-12)
    assert np.mean(fitted.predict_stratum(X) == LABELS) > 0.9


def test_a_stratum_that_is_new_has_no_own_components(planted, fitted):
    X, _ = planted
    model = fitted.set_params(unknown_strata="mean")
    labels = np.array(["target"] * 3 + ["new"] * 2)
    W, U = model.transform(X[45:50], strata=labels), model.transform_own(X[45:50], strata=labels)
    assert U[3:].nnz == 0 and (W >= 0).all()
    np.testing.assert_array_equal(W[:3], fitted.W_[45:48])
    assert len(model.reconstruction_errors(X[45:50], strata=labels)) == 5
    model.set_params(unknown_strata="error")


def assert_forms_agree(X, labels, tolerances, **parameters):
    """Fit X dense, sparse, with two threads, with sparse shifts and in float32; `tolerances` are those of the forms."""
    parameters = {"random_state": 0, "max_iter": 15, "tol": 0, "init": "features"} | parameters
    models = {
        name: StratifiedNMF(2, **parameters, **more).fit(data, strata=labels)
        for name, data, more in (
            ("dense", X, {}),
            ("sparse", sp.csr_array(X), {"n_threads": 1}),
            ("two threads", sp.csr_array(X), {"n_threads": 2}),
            ("sparse shifts", sp.csr_array(X), {"sparse_shifts": True}),
            ("single", X.astype(np.float32), {}),
        )
    }
    wanted = models["sparse"]
    for name, model in models.items():
        rtol = tolerances.get(name, 0)
        for label, G in wanted.own_components_.items():
            found = model.own_components_[label]
            assert sp.issparse(found) == (name == "sparse shifts")
            found = found.toarray() if sp.issparse(found) else found
            np.testing.assert_allclose(found, G, rtol=rtol, atol=rtol * max(G.max(), 1e-9), err_msg=name)
            assert found.dtype == (np.float32 if name == "single" else np.float64)
        np.testing.assert_allclose(model.score(X, strata=labels), wanted.score(X, strata=labels), rtol=1e-5)


@pytest.mark.parametrize("options", [{"n_own": 1, "shifts": False}, {"own": "tied", "shifts": "common"}])
def test_sparse_is_dense_and_threads_give_the_same_bits(planted, options):
    X = np.where(planted[0] < 0.3, 0, planted[0])
    assert_forms_agree(X, LABELS, {"single": 0.05, "dense": 1e-7}, **options)


def test_fits_are_monotone_without_extrapolation_and_continue(planted, tmp_path):
    X, _ = planted
    parameters = {"n_own": N_TARGET, "extrapolate": False, "tol": 0, "random_state": 0, "init": "features"}
    whole = StratifiedNMF(2, max_iter=12, **parameters).fit(X, strata=LABELS)
    assert (np.diff(whole.history_["objective"]) <= 1e-12 * whole.history_["objective"][0]).all()

    def interrupt(state):
        if state.iteration == 5:
            raise KeyboardInterrupt

    given = {"strata": LABELS, "checkpoint": tmp_path / "state", "checkpoint_every": 0}
    with pytest.raises(KeyboardInterrupt):
        StratifiedNMF(2, max_iter=12, callback=interrupt, **parameters).fit(X, **given)
    on = StratifiedNMF(2, max_iter=12, **parameters).fit(X, **given)
    np.testing.assert_array_equal(on.own_components_["target"], whole.own_components_["target"])
    whole.set_params(warm_start=True, max_iter=2).fit(X, strata=LABELS)
    assert whole.history_["objective"][0] == pytest.approx(on.history_["objective"][-1], rel=1e-9)


@pytest.mark.parametrize("shifts", [True, "common"])
def test_a_weight_of_two_is_a_row_twice(planted, shifts):
    X, twice, weight = planted[0], np.r_[np.arange(75), np.arange(10)], np.ones(75)
    weight[:10] = 2
    A = np.random.default_rng(0).random((85, 2))
    A[75:] = A[:10]
    start = {"H": X[[0, 50]] + 0.1, "V": np.zeros((2, 18))}
    parameters = {"n_own": N_TARGET, "init": "custom", "max_iter": 4, "tol": 0, "shifts": shifts}
    fits = [
        StratifiedNMF(2, **parameters, random_state=0).fit(data, sample_weight=w, strata=labels, W=W, **start)
        for data, w, labels, W in ((X, weight, LABELS, A[:75]), (X[twice], None, LABELS[twice], A))
    ]
    errors = fits[0].reconstruction_errors(X, strata=LABELS)
    own = fits[0].own_W_ @ np.concatenate(list(fits[0].own_components_.values()))
    total = np.sum(weight * errors) + 0.1 * np.sum(weight[:, None] * own**2)
    np.testing.assert_allclose(fits[0].history_["objective"][-1], total, rtol=1e-9)
    # The start of own components draws weights for each row, and so differs.
    np.testing.assert_allclose(*(fit.history_["objective"][-1] for fit in fits), rtol=0.05)


def test_files_hold_own_components(planted, fitted, tmp_path):
    X, _ = planted
    fitted.save(tmp_path / "model")
    loaded = fastnmf.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.transform(X, strata=LABELS), fitted.W_)
    assert list(loaded.own_components_) == ["background", "target"]
    assert (loaded.transform_own(X, strata=LABELS) != fitted.own_W_).nnz == 0
    loaded.n_own_ = np.array([1, 2])
    loaded.save(tmp_path / "wrong")
    with pytest.raises(ValueError, match="n_own_"):
        fastnmf.load(tmp_path / "wrong")


def test_none_is_the_plain_model(planted):
    X, _ = planted
    plain = StratifiedNMF(2, random_state=0, max_iter=5, tol=0).fit(X, strata=LABELS)
    zero = StratifiedNMF(2, n_own={"target": 0}, random_state=0, max_iter=5, tol=0).fit(X, strata=LABELS)
    np.testing.assert_array_equal(plain.components_, zero.components_)
    assert not hasattr(zero, "own_components_") and not hasattr(zero, "own_W_")
    assert "own" not in zero.top_features(2)


def test_many_strata_need_little_memory():
    rng = np.random.default_rng(0)
    X = sp.random_array((300, 400), density=0.02, rng=rng, format="csr")
    strata = rng.integers(0, 150, 300)
    model = StratifiedNMF(3, n_own=1, sparse_shifts=True, max_iter=3, tol=0, random_state=0).fit(X, strata=strata)
    stack = model._own_stack
    assert sp.issparse(stack) and stack.shape == (len(model.strata_), 400) and stack.nnz <= X.nnz
    np.testing.assert_array_equal(model.transform(X, strata=strata), model.W_)
    rows = model.inverse_transform(model.W_, strata=strata, own_W=model.own_W_)
    errors = np.square(X.toarray() - rows).sum(axis=1)
    np.testing.assert_allclose(model.reconstruction_errors(X, strata=strata), errors, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match=r"own_W has the shape \(300, 1\); expected \(300, "):
        model.inverse_transform(model.W_, strata=strata, own_W=np.ones((300, 1)))


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("solver", ["hals", "mu"])
def test_rows_of_far_different_sizes(planted, solver):
    X, sizes = planted[0], np.logspace(-150, 150, len(LABELS))[:, None]
    model = StratifiedNMF(2, n_own=1, solver=solver, max_iter=10, tol=0, random_state=0).fit(sizes * X, strata=LABELS)
    rows = model.inverse_transform(model.W_, strata=LABELS, own_W=model.own_W_)
    left = np.linalg.norm((sizes * X - rows) / sizes[-1]) / np.linalg.norm(sizes * X / sizes[-1])
    assert model.normalized_loss_ == pytest.approx(left, rel=1e-6)
    assert np.isinf(model.reconstruction_errors(1e100 * X * sizes, strata=LABELS)[-1])


def test_fixed_components_stay(planted):
    X, _ = planted
    known = np.full((2, 18), np.nan)
    known[0] = X[0]
    model = StratifiedNMF(2, n_own=1, fixed_components=known, max_iter=3, tol=0, random_state=0)
    np.testing.assert_array_equal(model.fit(X, strata=LABELS).components_[0], X[0])


REFUSED = {
    "alpha_W": ({"alpha_W": 0.1}, {}),
    "missing_values": ({"missing_values": "nan"}, {}),
    "label_weight": ({"label_weight": 1.0}, {}),
    "seed_features": ({"seed_features": {0: ["1"]}}, {}),
    "normalize": ({"normalize": "l1"}, {}),
    "gauge": ({"gauge": "max_shift", "shifts": False}, {}),
    "n_own=2 was given with own='tied'": ({"own": "tied"}, {}),
    "label 'nobody'": ({"n_own": {"nobody": 1}}, {}),
    "n_own=-1": ({"n_own": -1}, {}),
    "n_own=True": ({"n_own": True}, {}),
    "own_penalty=-1": ({"own_penalty": -1}, {}),
    "needs own components": ({"n_own": 0, "shifts": "common"}, {}),
    "weights of entries": ({}, {"weight": np.arange(75 * 18).reshape(75, 18)}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_go_together_is_refused(planted, message):
    options, given = REFUSED[message]
    with pytest.raises(ValueError, match=message):
        StratifiedNMF(2, **{"n_own": 2} | options).fit(planted[0], strata=LABELS, **given)


def test_methods_refuse_what_they_cannot_do(planted, fitted, tmp_path):
    X, _ = planted
    fastnmf.save_csr(sp.csr_array(X), tmp_path / "rows")
    on_disk = fastnmf.open_csr(tmp_path / "rows")
    np.testing.assert_allclose(fitted.transform(on_disk, strata=LABELS), fitted.W_, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="partial_fit fits no own components"):
        fitted.partial_fit(X, strata=LABELS)
    with pytest.raises(ValueError, match="pass own_W=model.transform_own"):
        fitted.inverse_transform(fitted.W_, strata=LABELS)
    with pytest.raises(ValueError, match="own_W has the shape"):
        fitted.inverse_transform(fitted.W_, strata=LABELS, own_W=np.ones((75, 3)))
    for method, given in (
        (fitted.predict_entries, ([0], [1])),
        (fitted.recommend, (0,)),
        (fitted.similar_features, (0,)),
    ):
        with pytest.raises(ValueError, match="does not know own components"):
            method(*given)
    tied = StratifiedNMF(2, own="tied", max_iter=2, tol=0, random_state=0).fit(X, strata=LABELS)
    with pytest.raises(ValueError, match="transform_own needs own components"):
        tied.transform_own(X, strata=LABELS)
    rows = tied.inverse_transform(tied.W_, strata=LABELS)
    errors = tied.reconstruction_errors(X, strata=LABELS)
    np.testing.assert_allclose(errors, np.sum((X - rows) ** 2, axis=1), rtol=1e-8)
    plain = StratifiedNMF(2, max_iter=2, tol=0, random_state=0).fit(X, strata=LABELS)
    with pytest.raises(ValueError, match="this model has no own components"):
        plain.inverse_transform(plain.W_, strata=LABELS, own_W=np.ones((75, 1)))


def test_dead_components_are_replaced_by_what_rows_lack(planted):
    X, _ = planted
    rng, codes, sizes = np.random.default_rng(0), (LABELS == "target").astype(int), np.array([1, 2])
    for is_tied, shifts in ((False, True), (False, "common"), (True, True)):
        data = Strata.from_array(sp.csr_array(X), codes)
        data.weigh(0.5 + rng.random(75), 2)
        W, H, v = rng.random((75, 2)), rng.random((18, 2)), np.zeros(len(data.pattern.group))
        each = np.full(2, 2) if is_tied else sizes
        factors, tasks = own_factors(data, W, H, v, each, is_tied=is_tied)
        problem = own_problem(data, factors, tasks, SCHEDULE, each, penalty=0.1, is_tied=is_tied, shifts=shifts)
        factors["W"][:, 1] = factors["H"][:, 1] = 0  # a shared component; all own ones are zero, too
        sweep(problem, factors)
        last = problem.value(factors)
        expected = 1 if is_tied else 3  # one of each stratum at a time; tied ones may be zero
        assert problem.reseed_dead_component(factors) == expected
        sweep(problem, factors)
        assert problem.value(factors) < 0.95 * last
        n_revived = problem.reseed_dead_component(factors)
        assert n_revived == (0 if is_tied else 1)  # the second own component of the targets
        np.testing.assert_allclose(problem.value(factors) - problem.penalty, problem.losses[0].exact_value(factors))
    start = {"init": "custom", "n_own": 1, "random_state": 0, "max_iter": 5, "tol": 0}
    H, V = X[[0, 50]] * [[1], [0]], np.zeros((2, 18))
    model = StratifiedNMF(2, **start).fit(X, strata=LABELS, W=np.ones((75, 2)) * [1, 0], H=H, V=V)
    assert model.n_revived_ >= 1 and model.components_.any(axis=1).all()


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("shifts", [True, "common", False])
def test_tied_components_take_the_steps_of_single_entries(planted, kind, shifts):
    X, sizes, rng = np.where(planted[0] < 0.3, 0, planted[0]), np.full(2, 4), np.random.default_rng(0)
    data = Strata.from_array(kind(X), (LABELS == "target").astype(int))
    data.weigh(0.5 + rng.random(75), 2)
    W, H = rng.random((75, 4)), rng.random((18, 4))
    v = rng.random(len(data.pattern.group)) if shifts is True else np.zeros(len(data.pattern.group))
    found = []
    for update in (None, EntryHALS()):
        factors, tasks = own_factors(data, W, H, v, sizes, is_tied=True)
        factors["G"][:, 1:] = np.random.default_rng(1).random((len(v), 4))
        problem = own_problem(data, factors, tasks, SCHEDULE, sizes, penalty=0.3, is_tied=True, shifts=shifts)
        if update is not None:
            problem.losses[0] = loss = OwnFrobenius(data, factors["W"].shape[1], tasks, sizes, 0, 0.3, shifts)
            problem.losses[1], problem.updates["G"], problem.exact_value = OwnPenalty(loss), update, loss.exact_value
        for _ in range(3):
            sweep(problem, factors)
        found.append([*factors.to_state().values(), problem.value(factors), problem.losses[0].exact_value(factors)])
    assert type(problem.losses[0]) is OwnFrobenius
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9)
