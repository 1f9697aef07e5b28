"""Designs: crossed strata, a design matrix, exposure and smooth shifts, for the squared error."""

import copy
import json
import pathlib
import warnings

import numpy as np
import oracles_designs as oracle
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.optimize import nnls

import fastnmf
from fastnmf import StratifiedNMF
from fastnmf.core.alternate import sweep
from fastnmf.core.factors import allocate
from fastnmf.core.objectives import squared_problem
from fastnmf.core.penalties import SmoothShifts
from fastnmf.core.updates import MU, LinkedLevels, PatternHALS, PatternMU
from fastnmf.data.design import DesignedStrata
from fastnmf.data.levels import Design
from fastnmf.data.strata import Strata
from fastnmf.kernels import chain, designs
from fastnmf.kernels.jit import threads
from fastnmf.kernels.records import CSR, Limits

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

EXPECTED = json.loads((pathlib.Path(__file__).parent / "data" / "designs.json").read_text())
SHORT = {"max_iter": 15, "tol": 0, "random_state": 0}
SCHEDULES = {"hals_10": (("W", 2), ("V", 1), ("H", 2), ("V", 1)), "mu_10": (("V", 1), ("W", 1), ("H", 1))}


def drawn(seed, case):
    """Return the data of the stored numbers, in the order of their draws, and their design and L."""
    rng = np.random.default_rng(int(seed))
    X = np.maximum(0, rng.normal(0.6, 1, (14, 6)))
    year, region, u = rng.integers(0, 3, 14), rng.integers(0, 2, 14), rng.random(14) + 0.5
    W, H, V = rng.random((14, 2)), rng.random((6, 2)), rng.random((6, 6))
    Z = np.column_stack([np.ones(14), np.eye(3)[year], np.eye(2)[region]])  # a level may have no row
    Z = Z * u[:, None] if case == "exposure" else Z
    L = oracle.path(3, 1, 6, 0.8) if case == "smooth_year_0.8" else None
    return X, Z, W, H, V, L


def problem_of(X, Z, W, H, V, L, *, is_descent):
    """Return the data, the problem and the factors of a model at a start; V (m, q)."""
    laplacian = None if L is None else sp.csr_array(L)
    data = DesignedStrata.of_matrix(X, np.arange(Z.shape[1]).astype(str), sp.csr_array(Z), laplacian)
    factors, tasks = allocate(data, W, H, data.pattern.entries(V.T))
    schedule = SCHEDULES["hals_10" if is_descent else "mu_10"]
    problem = squared_problem(data, factors, tasks, schedule, is_descent=is_descent)
    if not is_descent:  # the stored numbers have no eps
        problem.updates = {"W": MU(), "V": PatternMU(), "H": MU()}
    if L is not None:  # nor steps of all levels at once
        problem.updates["V"] = problem.updates["V"] if not is_descent else PatternHALS()
        problem.penalties = {"V": [SmoothShifts(data.pattern, laplacian)]}
    return data, problem, factors


CASES = [(seed, case) for seed in EXPECTED["seeds"] for case in EXPECTED["seeds"][seed]]


@pytest.mark.parametrize(("seed", "case"), CASES)
def test_stored_numbers(seed, case):
    *given, L = drawn(seed, case)
    X, Z, W, H, V = given
    wanted, close = EXPECTED["seeds"][seed][case], {"rtol": EXPECTED["tolerance"], "atol": 1e-9}
    for rule, is_descent in (("hals_10", True), ("mu_10", False)):
        for A in (X, sp.csr_array(X)):
            data, problem, factors = problem_of(A, Z, W, H, V, L, is_descent=is_descent)
            last = problem.value(factors)
            np.testing.assert_allclose(last, wanted["objective"], **close)
            np.testing.assert_allclose(
                last, oracle.objective(X, Z, W, H, V, np.zeros((6, 6)) if L is None else L), **close
            )
            for name in "WHV":
                found = problem.subproblem(name, factors).gradient(factors[name])
                found = data.pattern.dense(found).T if name == "V" else found[:, :2]
                np.testing.assert_allclose(found[0], wanted[f"half_grad_{name}"], **close)
            for _ in range(10):
                sweep(problem, factors)
                value = problem.value(factors)
                assert value <= last * (1 + 1e-14)
                last = value
            np.testing.assert_allclose(last, wanted[rule], **close)
            exact = problem.losses[0].exact_value(factors) + problem.penalty
            np.testing.assert_allclose(last, exact, rtol=1e-12)
    data, problem, factors = problem_of(X, Z, W, H, V, L, is_descent=True)
    sub = problem.subproblem("V", factors)
    PatternHALS(2000)(factors["V"], sub, 2, 1)
    factors.invalidate("V")
    np.testing.assert_allclose(problem.value(factors), wanted["least_over_V"], **close)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("strength", [0.5, 1e8])
def test_linked_levels_are_the_exact_minimisers(strength, dtype):
    """Against non-negative least squares of SciPy, one factor of a column at a time, the other shifts fixed."""
    rng = np.random.default_rng(3)
    year, site = rng.integers(0, 7, 60), rng.integers(0, 3, 60)
    X = np.maximum(rng.normal(0.3, 1, (60, 20)), 0).astype(dtype)
    X[year == 3] = 0
    Z, L = oracle.design([year, site]), oracle.path(7, 1, 11, strength) + oracle.path(3, 8, 11, strength)
    W, H, V = rng.random((60, 2)), 0.1 * rng.random((20, 2)), rng.random((20, 11))
    data, problem, factors = problem_of(X, Z, W, H, V, L, is_descent=True)
    sub = problem.subproblem("V", factors)
    assert isinstance(sub.roughness, sp.csr_array)
    sub.add(linear=0.25, ridge=0.5)
    wanted, neg = data.pattern.dense(factors["V"]).T.astype(float), Z.T @ W @ H.T
    for j in range(20):
        for block in (slice(1, 8), slice(8, 11)):
            gram = Z.T @ Z + L + 0.5 * np.eye(11)
            right = Z.T @ X[:, j] - neg[:, j] - 0.25 - gram @ wanted[j] + gram[:, block] @ wanted[j, block]
            root = np.linalg.cholesky(gram[block, block]).T
            wanted[j, block] = nnls(root, np.linalg.solve(root.T, right[block]))[0]
    LinkedLevels(PatternHALS(0))(factors["V"], sub, 2, 1)
    found = data.pattern.dense(factors["V"]).T
    assert (found[:, 1:] == 0).any() and (found > 0).any()
    np.testing.assert_allclose(found, wanted, atol=1e-6 if dtype == np.float32 or strength > 1 else 1e-11)


@pytest.mark.parametrize("solver", ["hals", "mu"])
def test_strong_smoothness_is_the_model_of_equal_levels(solver):
    """One shift for all rows: the limit, which steps of single levels approach in thousands of iterations."""
    rng = np.random.default_rng(0)
    X, t = rng.random((80, 2)) @ rng.random((2, 12)) + 1.5 * rng.random((80, 12)), np.repeat(np.arange(20), 4)
    one, many = (
        StratifiedNMF(2, solver=solver, smoothness=s, init="features", random_state=0, max_iter=100, tol=0).fit(
            X, strata=u
        )
        for s, u in ((0, np.zeros(80)), (1e8, t))
    )
    assert np.ptp(many.shifts_, axis=0).max() < 1e-5
    assert many.history_["objective"][-1] == pytest.approx(one.history_["objective"][-1], rel=0.01)


@pytest.mark.parametrize("options", [{"alpha_V": 0.01}, {"smoothness": {"year": 2.0}}])
def test_penalties_of_shifts_alone_keep_components_and_weights_of_one_size(options):
    """Extrapolated W and H drifted apart: to 1e18 in 300 iterations, and to NaN in 2000."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"year": np.repeat(np.arange(20), 4), "site": rng.integers(0, 3, 80)})
    X = rng.random((80, 2)) @ rng.random((2, 15)) + 1.5 + 0.3 * rng.random((80, 15))
    sizes = []
    model = StratifiedNMF(2, max_iter=200, tol=0, random_state=0, **options)
    model.set_params(callback=lambda state: sizes.append(state.W.max() / state.H.max())).fit(X, strata=frame)
    assert 1e-6 < min(sizes[1:]) and max(sizes) < 1e6


def test_half_gradients_by_finite_differences():
    X, Z, W, H, V, L = drawn(2, "smooth_year_0.8")
    data, problem, factors = problem_of(X, Z, W, H, V, L, is_descent=True)
    V = data.pattern.dense(factors["V"]).T
    for name, F in (("W", W), ("H", H), ("V", V)):
        half = problem.subproblem(name, factors).gradient(factors[name])
        half = data.pattern.dense(half).T if name == "V" else half[:, :2]
        for i, j in ((0, 0), (3, 1)):
            values = []
            for sign in (1, -1):
                moved = {"W": W, "H": H, "V": V} | {name: F.copy()}
                moved[name][i, j] += sign * 1e-5
                values.append(oracle.objective(X, Z, moved["W"], moved["H"], moved["V"], L))
            assert abs((values[0] - values[1]) / 4e-5 - half[i, j]) < 1e-6


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("has_dense_gram", [True, False])
def test_kernels_are_the_plain_loops(dtype, has_dense_gram, monkeypatch):
    if not has_dense_gram:
        monkeypatch.setattr(designs, "MOST_DENSE", 0)
    rng = np.random.default_rng(0)
    Z = oracle.design([rng.integers(0, 4, 60), rng.integers(0, 3, 60)])
    gram = Z.T @ Z + oracle.path(4, 1, 8, 2.5)
    V = sp.random_array((3000, 8), density=0.5, rng=rng, format="csr", dtype=dtype)
    V.sort_indices()
    pos, neg = (rng.random(V.nnz).astype(dtype) * 50 for _ in range(2))
    where = V.toarray() > 0
    start, group = V.indptr.astype(np.int64), V.indices.astype(np.int32)
    few = slice(0, 40)
    full = [sp.csr_array((x, V.indices, V.indptr), V.shape).toarray()[few] for x in (V.data, pos, neg)]
    masked = np.where(where[few], 0.0, 1e30)  # a large neg keeps them there
    wanted = oracle.descend(full[0].astype(float), gram, full[1], full[2] + masked, 2)
    found = []
    for n_threads in (1, 2):
        with threads(n_threads):
            v = V.data.copy()
            own, crossed = designs.descend(CSR(start, group, v), sp.csr_array(gram), pos, neg, 2)
            u, parts = (
                V.data.copy(),
                np.empty((len(designs.column_tasks(CSR(start, group, v), sp.csr_array(gram))) - 1, 2)),
            )
            tasks = designs.column_tasks(CSR(start, group, u), sp.csr_array(gram))
            limits = Limits(dtype(0), dtype(0))
            designs.pattern_mu(
                tasks, CSR(start, group, u), designs.as_record(sp.csr_array(gram)), pos, neg, limits, 1, parts
            )
            linked, link = V.data.copy(), np.array([0, 2.5, 2.5, 2.5, 0, 0, 0, 0])
            alone = designs.as_record(sp.csr_array(Z.T @ Z))
            chain.levels_step(tasks, CSR(start, group, linked), alone, 0.1, link, pos, neg)
            found.append((v, u, own, crossed, *parts.sum(axis=0), linked))
    assert all(np.array_equal(one, two) for one, two in zip(*found, strict=True))  # the same bits on any threads
    v, u, own, crossed, _, crossed_mu, linked = found[0]
    assert not np.array_equal(linked, V.data)
    if has_dense_gram:  # one task, and thus many tiles of columns
        G, one, inverse = sp.csr_array(gram), V.data.copy(), 1 / gram.diagonal()
        sides = designs.runs_of(G), pos, neg, 2, np.empty((1, 2))
        designs.pattern_hals_dense(np.array([0, 3000]), CSR(start, group, one), designs.rows_of(G), inverse, *sides)
        np.testing.assert_array_equal(one, v)
    after = sp.csr_array((v, V.indices, V.indptr), V.shape).toarray()
    close = {"rtol": 1e-10 if dtype == np.float64 else 2e-4, "atol": 1e-10 if dtype == np.float64 else 1e-4}
    np.testing.assert_allclose(after[few], wanted, **close)
    whole = sp.csr_array((pos, V.indices, V.indptr), V.shape).toarray()
    np.testing.assert_allclose(own, np.sum(after * (after @ gram - 2 * whole), dtype=float), rtol=1e-5)
    np.testing.assert_allclose(crossed, np.sum(v.astype(float) * neg), rtol=1e-6)
    np.testing.assert_allclose(crossed_mu, np.sum(u.astype(float) * neg), rtol=1e-6)
    changed = sp.csr_array((u, V.indices, V.indptr), V.shape).toarray()[few]
    np.testing.assert_allclose(changed, oracle.multiply(full[0].astype(float), gram, *full[1:]), **close)


def test_groups_of_one_run_do_not_meet():
    Z = oracle.design([np.arange(12) % 4, np.arange(12) // 4])
    assert designs.runs_of(sp.csr_array(Z.T @ Z)).tolist() == [0, 1, 1, 1, 1, 2, 2, 2]
    linked = sp.csr_array(Z.T @ Z + oracle.path(4, 1, 8, 2.5))
    assert designs.runs_of(linked).tolist() == [0, 1, 2, 3, 4, 5, 5, 5]


# ---------------------------------------------------------------------------------------------------- estimators


@pytest.fixture(scope="module")
def planted():
    """Give additive effects of year and region on 40 features, and the planted parts."""
    rng = np.random.default_rng(0)
    n, m = 240, 30
    frame = pd.DataFrame({"year": rng.integers(1990, 1994, n), "region": rng.choice(["n", "s", "w"], n)})
    effects = rng.gamma(0.5, 1, (8, m))
    Z = oracle.design([frame["year"].tolist(), frame["region"].tolist()])
    X = Z @ effects + rng.gamma(0.5, 1, (n, 3)) @ rng.gamma(0.5, 1, (3, m))
    return np.maximum(0, X + 0.3 * rng.normal(size=X.shape)), frame, Z, effects


@pytest.fixture(scope="module")
def crossed(planted):
    """Give a model of the planted data, fitted for long enough."""
    X, frame, _, _ = planted
    return StratifiedNMF(3, random_state=0, max_iter=300).fit(X, strata=frame)


def test_crossed_factors(planted, crossed):
    X, frame, Z, effects = planted
    assert crossed.shift_names_.tolist() == [
        "intercept",
        *(f"year={y}" for y in range(1990, 1994)),
        *(f"region={r}" for r in "nsw"),
    ]
    assert [levels.tolist() for levels in crossed.strata_] == [[1990, 1991, 1992, 1993], ["n", "s", "w"]]
    np.testing.assert_array_equal(crossed.stratum_sizes_, Z.sum(axis=0))
    assert crossed.shifts_.shape == (8, 30) and not hasattr(crossed, "row_strata_")
    found = crossed.shifts_ - crossed.shifts_.min(axis=0)
    for block in (slice(1, 5), slice(5, 8)):  # up to what all levels share, the planted effects
        of = [V[block] - V[block].mean(axis=0) for V in (found, effects)]
        assert np.corrcoef(*map(np.ravel, of))[0, 1] > 0.98
    fitted = crossed.W_ @ crossed.components_ + Z @ crossed.shifts_
    np.testing.assert_allclose(np.linalg.norm(X - fitted), crossed.reconstruction_err_, rtol=1e-10)
    np.testing.assert_allclose(crossed.inverse_transform(crossed.W_, strata=frame), fitted, rtol=1e-12)
    np.testing.assert_array_equal(crossed.transform(X, strata=frame), crossed.W_)
    np.testing.assert_allclose(crossed.score(X, strata=frame), 1 - crossed.normalized_loss_**2, rtol=1e-9)
    errors = crossed.reconstruction_errors(X, strata=frame)
    np.testing.assert_allclose(errors, np.square(X - fitted).sum(axis=1), rtol=1e-8)
    top = crossed.top_features(3)
    assert "with 8 shifts" in crossed.summary() and "year=1990" in crossed._repr_html_()
    assert crossed.to_frames().strata.index.tolist() == crossed.shift_names_.tolist()
    assert list(top.strata) == crossed.shift_names_.tolist() and len(top.components) == 3


def test_all_forms_of_the_factors_and_of_the_data_are_one(planted):
    X, frame, Z, _ = planted
    given = {
        "frame": (X, {"strata": frame}),
        "dict": (X, {"strata": {name: frame[name].tolist() for name in frame}}),
        "columns of X": (
            pd.DataFrame(X).set_axis(list(map(str, range(30))), axis=1).join(frame),
            {"strata": ["year", "region"]},
        ),
        "sparse": (sp.csr_array(X), {"strata": frame}),
        "design": (X, {"design": sp.csc_matrix(Z)}),
        "design in a frame": (X, {"design": pd.DataFrame(Z, columns=list("iabcdefg"))}),
        "exposure 1": (X, {"strata": frame, "exposure": np.ones(len(X))}),
    }
    models = {name: StratifiedNMF(3, init="features", **SHORT).fit(A, **more) for name, (A, more) in given.items()}
    wanted = models.pop("frame")
    for name, model in models.items():
        np.testing.assert_allclose(Z @ model.shifts_, Z @ wanted.shifts_, rtol=1e-6, atol=1e-9, err_msg=name)
    single = StratifiedNMF(3, init="features", **SHORT).fit(X.astype(np.float32), strata=frame)
    assert single.shifts_.dtype == np.float32
    np.testing.assert_allclose(single.normalized_loss_, wanted.normalized_loss_, rtol=1e-4)


def test_one_factor_and_exposure_one_are_strata_to_the_last_bit(planted):
    X, frame, _, _ = planted
    plain = StratifiedNMF(3, **SHORT).fit(X, strata=frame["region"])
    column = StratifiedNMF(3, **SHORT).fit(X, strata=frame[["region"]])
    np.testing.assert_array_equal(column.shifts_, plain.shifts_)
    column = StratifiedNMF(3, **SHORT).fit(X, strata={"region": frame["region"]})
    np.testing.assert_array_equal(column.shifts_, plain.shifts_)
    assert type(column.strata_) is np.ndarray and not hasattr(column, "shift_names_")
    codes = np.unique(frame["region"], return_inverse=True)[1]
    for given in ({"design": sp.csr_array(np.eye(3)[codes])}, {"strata": frame["region"], "exposure": np.ones(240)}):
        one_hot = StratifiedNMF(3, **SHORT).fit(X, **given)
        np.testing.assert_array_equal(one_hot.shifts_, plain.shifts_)
        np.testing.assert_array_equal(one_hot.W_, plain.W_)
        np.testing.assert_allclose(
            one_hot.transform(X, **given), plain.transform(X, strata=frame["region"]), atol=1e-10
        )
    u = np.where(codes == 1, 1.0 + 1e-15, 1.0)  # the same by the updates of designs
    near = StratifiedNMF(3, init="features", **SHORT).fit(X, strata=frame["region"], exposure=u)
    plain = StratifiedNMF(3, init="features", **SHORT).fit(X, strata=frame["region"])
    np.testing.assert_allclose(near.history_["objective"], plain.history_["objective"], rtol=1e-9)


@pytest.mark.parametrize("solver", ["hals", "mu"])
def test_threads_checkpoints_and_steps(planted, solver, tmp_path):
    X, frame, _, _ = planted
    X = sp.csr_array(np.repeat(X, 8, axis=0))
    frame = frame.loc[np.repeat(np.arange(240), 8)].reset_index(drop=True)
    kept = {"solver": solver, "init": "features", "extrapolate": False, "smoothness": {"year": 2.0}, **SHORT}
    one, two = (StratifiedNMF(3, n_threads=n, **kept).fit(X, strata=frame) for n in (1, 2))
    for name in ("W_", "components_", "shifts_"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    objective = one.history_["objective"]
    assert (np.diff(objective) <= 1e-12 * objective[0]).all()
    path = tmp_path / "fit"
    StratifiedNMF(3, **kept | {"max_iter": 7}).fit(X, strata=frame, checkpoint=path, checkpoint_every=0)
    again = StratifiedNMF(3, **kept).fit(X, strata=frame, checkpoint=path)
    np.testing.assert_array_equal(again.shifts_, one.shifts_)
    with pytest.raises(ValueError, match="strata"):
        StratifiedNMF(3, **kept).fit(X, strata=frame.iloc[::-1].reset_index(drop=True), checkpoint=path)


def test_exposure_scales_the_shifts_of_a_row():
    rng = np.random.default_rng(1)
    u, labels, V = rng.random(90) + 0.2, rng.integers(0, 2, 90), rng.gamma(0.5, 1, (2, 20))
    u[3] = 0.0
    X = u[:, None] * V[labels] + rng.gamma(0.5, 1, (90, 2)) @ rng.gamma(0.5, 1, (2, 20))
    model = StratifiedNMF(2, random_state=0, max_iter=150).fit(X, strata=labels, exposure=u)
    assert model.shift_names_.tolist() == ["0", "1"] and model.strata_.tolist() == [0, 1]
    assert model.score(X, strata=labels, exposure=u) > 0.999
    assert (
        StratifiedNMF(2, random_state=0, max_iter=150).fit(X, strata=labels).normalized_loss_
        > 3 * model.normalized_loss_
    )
    W = np.zeros((2, 2))
    np.testing.assert_allclose(model.inverse_transform(W, strata=[1, 0], exposure=[2.0, 0.0])[0], 2 * model.shifts_[1])
    assert not model.inverse_transform(W, strata=[1, 0], exposure=[2.0, 0.0])[1].any()


def test_weights_are_repeated_rows(planted):
    X, frame, _, _ = planted
    X, frame, u = X[:80], frame[:80], np.linspace(0.5, 2, 80)
    times = np.arange(80) % 3
    rows = np.repeat(np.arange(80), times)
    more = {"init": "custom", "H": np.ones((3, 30)) + np.eye(3, 30), "V": np.ones((8, 30))}
    start = np.random.default_rng(0).random((80, 3))
    weighted = StratifiedNMF(3, **SHORT | {"init": "custom"})
    del more["init"]
    weighted.fit(X, strata=frame, exposure=u, sample_weight=times, W=start, **more)
    repeated = StratifiedNMF(3, **SHORT | {"init": "custom"})
    repeated.fit(X[rows], strata=frame.iloc[rows].reset_index(drop=True), exposure=u[rows], W=start[rows], **more)
    np.testing.assert_allclose(weighted.shifts_, repeated.shifts_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(weighted.history_["objective"], repeated.history_["objective"], rtol=1e-9)
    np.testing.assert_allclose(weighted.stratum_sizes_, repeated.stratum_sizes_)


def test_smooth_levels_cover_the_pattern_and_draw_near(planted):
    X, frame, _, _ = planted
    X = X.copy()
    X[frame["year"] == 1991, 0] = 0  # a level that does not use a feature between two that do
    rough, smooth = (StratifiedNMF(2, smoothness=s, random_state=0).fit(X, strata=frame["year"]) for s in (0, 50.0))
    assert rough.shifts_[1, 0] == 0 < smooth.shifts_[1, 0]
    assert np.square(np.diff(smooth.shifts_, axis=0)).sum() < 0.7 * np.square(np.diff(rough.shifts_, axis=0)).sum()
    assert smooth.row_strata_.tolist() == rough.row_strata_.tolist()  # labels are enough for new rows
    smooth.explain(X, strata=frame["year"])
    by_hand = np.square(X - smooth.W_ @ smooth.components_ - smooth.shifts_[smooth.row_strata_]).sum()
    by_hand += 50 * np.square(np.diff(smooth.shifts_, axis=0)).sum()
    np.testing.assert_allclose(smooth.history_["objective"][-1], by_hand, rtol=1e-10)


def test_penalties_of_shifts_count(planted):
    X, frame, _, _ = planted
    for solver in ("hals", "mu"):
        model = StratifiedNMF(2, solver=solver, alpha_V=0.05, l1_ratio=0.5, **SHORT).fit(X, strata=frame)
        fitted = model.inverse_transform(model.W_, strata=frame)
        net = 0.05 * len(X) * (model.shifts_.sum() + 0.5 * np.square(model.shifts_).sum())
        np.testing.assert_allclose(model.history_["objective"][-1], np.square(X - fitted).sum() + net, rtol=1e-9)


def test_unseen_levels(planted, crossed):
    X, _, _, _ = planted
    new = {"year": [2001, 1990], "region": ["n", "s"]}
    with pytest.raises(ValueError, match=r"strata\['year'\] contains the label 2001, which was not seen in fit"):
        crossed.transform(X[:2], strata=new)
    model = fastnmf.StratifiedNMF(3).set_params(**crossed.get_params())
    vars(model).update(vars(crossed))
    model.unknown_strata = "mean"
    shift = model.inverse_transform(np.zeros((2, 3)), strata=new)
    V, sizes = model.shifts_, model.stratum_sizes_[1:5]
    np.testing.assert_allclose(shift[0], V[0] + sizes / sizes.sum() @ V[1:5] + V[5])
    np.testing.assert_allclose(shift[1], V[0] + V[1] + V[6])
    unseen = model.inverse_transform(np.zeros((1, 3)), strata={"year": [1993], "region": ["w"]})  # a cell, not a level
    np.testing.assert_allclose(unseen[0], V[0] + V[4] + V[7])


def test_files_starts_and_clones(planted, crossed, tmp_path):
    X, frame, Z, _ = planted
    for name, model, given in (
        ("crossed", crossed, {"strata": frame}),
        (
            "exposure",
            StratifiedNMF(2, **SHORT).fit(X, strata=frame["year"], exposure=Z[:, 1] + 1),
            {"strata": frame["year"], "exposure": Z[:, 1] + 1},
        ),
        ("design", StratifiedNMF(2, **SHORT).fit(X, design=Z), {"design": Z}),
    ):
        model.save(tmp_path / name)
        again = fastnmf.load(tmp_path / name)
        np.testing.assert_array_equal(again.transform(X, **given), model.transform(X, **given), err_msg=name)
        assert again.shift_names_.tolist() == model.shift_names_.tolist()
    continued = StratifiedNMF(3, init=crossed, max_iter=1, tol=0).fit(X, strata=frame)
    assert continued.history_["normalized_loss"][0] < 1.02 * crossed.normalized_loss_
    labels = frame["year"]
    crossed_then_plain = StratifiedNMF(2, **SHORT).fit(X, strata=frame).fit(X, strata=labels)
    assert not hasattr(crossed_then_plain, "shift_names_") and crossed_then_plain.strata_.shape == (4,)
    crossed_then_plain.explain(X, strata=labels)
    sparse = StratifiedNMF(2, sparse_shifts=True, **SHORT).fit(X, strata=frame)
    dense = StratifiedNMF(2, **SHORT).fit(X, strata=frame)
    np.testing.assert_allclose(sparse.shifts_.toarray(), dense.shifts_)
    np.testing.assert_allclose(
        sparse.inverse_transform(sparse.W_, strata=frame), dense.inverse_transform(dense.W_, strata=frame)
    )


F = {"a": [0, 1, 0, 1, 0, 1], "b": [0, 0, 1, 1, 1, 0]}
Y = np.random.default_rng(0).random((6, 4))
ONE = np.ones(6)


def fitted(**given):
    return StratifiedNMF(1, max_iter=2, tol=0, random_state=0).fit(Y, **given)


def fit_with(parameters=None, **given):
    return lambda: StratifiedNMF(1, max_iter=2, **parameters or {}).fit(Y, **given)


REFUSED = {
    "both": (fit_with(strata=F, design=Y), "Both strata and design were given"),
    "negative design": (fit_with(design=-Y), "two columns x and 1 - x"),
    "short design": (fit_with(design=Y[:3]), r"design has shape \(3, 4\), expected \(6, 4\)"),
    "zero column": (fit_with(design=np.column_stack([ONE, 0 * ONE])), "the column 'z1' of the design is zero in every"),
    "negative exposure": (fit_with(exposure=-ONE), "every exposure must be >= 0"),
    "short exposure": (fit_with(exposure=ONE[:2]), r"exposure has shape \(2,\)"),
    "no exposure in a stratum": (
        fit_with(strata=F["a"], exposure=[0, 1, 0, 1, 0, 1]),
        "'0' has exposure 0 in every row",
    ),
    "a missing label": (fit_with(strata=F | {"b": [0, None, 1, 1, 1, 0]}), r"strata\['b'\] contains a missing label"),
    "a short factor": (fit_with(strata=F | {"b": [0, 1]}), r"strata\['b'\] has 2 labels for 6 rows"),
    "smooth, which": (fit_with({"smoothness": 1.0}, strata=F), "name those whose levels are in order"),
    "smooth, unknown": (
        fit_with({"smoothness": {"c": 1.0}}, strata=F),
        "smoothness has the key 'c'; expected one of a, b",
    ),
    "smooth design": (fit_with({"smoothness": 1.0}, design=Y), "smoothness needs levels in an order"),
    "negative smoothness": (fit_with({"smoothness": -1.0}, strata=F["a"]), "smoothness=-1.0 is not"),
    "no smoothness": (fit_with({"smoothness": pd.NA}, strata=F["a"]), "smoothness=<NA> is not valid"),
    "too smooth": (
        fit_with({"smoothness": {"a": 1e11}}, strata=F),
        r"smoothness\['a'\]=1e\+11 is not valid; .* from 0 to 1e\+10",
    ),
    "large exposure": (fit_with(strata=F, exposure=1e60 * ONE), "'intercept' of the design.* is 1e.60; expected 7e-49"),
    "small design": (fit_with(design=1e-60 * Y), "column 'z0' of the design.*; expected .* for data of float64"),
    "large exposure of float32": (
        lambda: StratifiedNMF(1).fit(Y.astype(np.float32), strata=F, exposure=1e12 * ONE),
        "is 1e.12; expected 9e-10 to 1e.09 for data of float32",
    ),
    "large exposure of a new row": (
        lambda: fitted(strata=F, exposure=ONE).transform(Y, strata=F, exposure=1e60 * ONE),
        "expected 7e-49 to 1e.48",
    ),
    "a structured array": (
        fit_with(strata=np.zeros(6, [("a", int), ("b", int)])),
        "strata is a structured array; pass its fields as a dict",
    ),
    "weight": (fit_with(strata=F, weight=Y), "weight does not go with a design"),
    "missing values": (fit_with({"missing_values": "zeros"}, strata=F), "missing_values='zeros' does not go with a"),
    "classes": (fit_with({"label_weight": 1.0}, y=F["a"], strata=F), "label_weight=1.0 does not go with a design"),
    "equal strata": (fit_with({"strata_weight": "equal"}, strata=F), "strata_weight='equal' does not go"),
    "estimate": (fit_with({"unknown_strata": "estimate"}, strata=F), "unknown_strata='estimate' does not go"),
    "partial_fit": (
        lambda: fitted(strata=F).partial_fit(Y, strata=F["a"]),
        "pass strata=, a frame with these columns",
    ),
    "predict_stratum": (lambda: fitted(strata=F).predict_stratum(Y), "predict_stratum is not available"),
    "estimate_shifts": (lambda: fitted(strata=F).estimate_shifts(Y, F["a"]), "estimate_shifts is not available"),
    "predict_entries": (lambda: fitted(strata=F).predict_entries(0, 0), "predict_entries is not available"),
    "recommend": (lambda: fitted(strata=F).recommend(0, X=Y, strata=F), "recommend is not available"),
    "similar_features": (lambda: fitted(strata=F).similar_features(0), "similar_features is not available"),
    "no strata": (lambda: fitted(strata=F).transform(Y), "pass strata=, a frame with these columns"),
    "another column": (
        lambda: fitted(strata=F).transform(Y, strata={"a": F["a"], "c": F["b"]}),
        "strata has no column 'b'",
    ),
    "labels only": (lambda: fitted(strata=F).transform(Y, strata=F["a"]), "pass strata=, a frame with these columns"),
    "no design": (lambda: fitted(design=Y).score(Y), "fitted with a design of 4 columns; pass design="),
    "other columns": (
        lambda: fitted(design=pd.DataFrame(Y, columns=list("abcd"))).score(
            Y, design=pd.DataFrame(Y, columns=list("abce"))
        ),
        "design has the columns .*; the fit had",
    ),
    "no exposure": (
        lambda: fitted(strata=F["a"], exposure=ONE).transform(Y, strata=F["a"]),
        "fitted with an exposure; pass",
    ),
    "too much": (
        lambda: fitted(strata=F["a"]).transform(Y, strata=F["a"], exposure=ONE),
        "not an exposure; pass strata= alone",
    ),
    "exposure alone": (lambda: fitted(strata=F).transform(Y, strata=F, exposure=ONE), "fitted without an exposure"),
    "exposure of no column": (fit_with(exposure="size"), "exposure='size' is not a column of X"),
    "one name twice": (
        fit_with(strata={"a": ["b=c"] * 6, "a=b": ["c"] * 6}),
        "Two shifts would have the name 'a=b=c'",
    ),
    "names": (fit_with(strata=["a", "b"]), "2 labels for 6 rows"),
}


@pytest.mark.parametrize(("call", "said"), REFUSED.values(), ids=REFUSED)
def test_refusals(call, said):
    with pytest.raises((ValueError, TypeError), match=said) as error:
        call()
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("power", [-27, 27])
def test_an_exposure_within_its_range_only_scales_the_shifts(dtype, power):
    power, X = (power, Y.astype(dtype)) if dtype == np.float32 else (5 * power, Y)
    for parameters in ({}, {"solver": "mu"}, {"solver": "mu", "beta_loss": "kullback-leibler"}):
        model = StratifiedNMF(1, max_iter=5, tol=0, random_state=0, **parameters)
        wanted = copy.deepcopy(model.fit(X, strata=F["a"], exposure=1 + np.arange(6)))
        model.fit(X, strata=F["a"], exposure=2.0**power * (1 + np.arange(6)))
        np.testing.assert_allclose(model.shifts_ * 2.0**power, wanted.shifts_, rtol=1e-3, atol=1e-6)
        assert model.normalized_loss_ == pytest.approx(wanted.normalized_loss_, rel=1e-4)


def test_a_first_batch_without_exposure_waits_for_shifts():
    with warnings.catch_warnings(action="error"):
        model = StratifiedNMF(1, random_state=0).partial_fit(Y, strata=F["a"], exposure=0 * ONE)
        model.partial_fit(Y, strata=F["a"], exposure=ONE)
    assert np.isfinite(model.shifts_).all() and model.shifts_.any()


def test_altered_files_are_refused(crossed, tmp_path):
    crossed.save(tmp_path / "model")
    model = fastnmf.load(tmp_path / "model")
    for name, value in (("_design", {"kind": "x", "factors": [], "has_exposure": False}), ("strata_", [np.arange(3)])):
        held = dict(vars(model))
        vars(model)[name] = value
        model.save(tmp_path / "other")
        with pytest.raises(ValueError, match=name):
            fastnmf.load(tmp_path / "other")
        vars(model).update(held)


def test_learned_designs_have_names_and_blocks():
    found, Z = Design.learn(F, None, None, 6)
    assert found.blocks == [slice(1, 3), slice(3, 5)] and found.sizes.tolist() == [6, 3, 3, 3, 3]
    L = found.laplacian({"a": 2.0}).toarray()
    np.testing.assert_array_equal(L, oracle.path(2, 1, 5, 2.0))
    assert found.laplacian(0.0) is None and found.laplacian({"a": 0}) is None
    for encoded in (Z, found.encode(F, None, None, 6)):
        np.testing.assert_array_equal(encoded.toarray(), oracle.design([F["a"], F["b"]]))
    strata = Strata.from_array(Y, F["a"])
    data = DesignedStrata.of_matrix(Y, np.array(["0", "1"]), sp.csr_array(np.eye(2)[F["a"]]))
    np.testing.assert_allclose(data.stratum_means(), strata.stratum_means())
    V = np.arange(8.0).reshape(2, 4)
    np.testing.assert_allclose(data.row_square_sums(V), strata.row_square_sums(V))
    np.testing.assert_allclose(data.shift_squares(V), strata.shift_squares(V))


def test_warm_starts_and_routed_metadata(planted, crossed):
    import sklearn
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    X, frame, _, _ = planted
    model = StratifiedNMF(3, warm_start=True, random_state=0).fit(X, strata=frame)
    first = model.history_["objective"][-1]
    assert model.set_params(max_iter=3, tol=0).fit(X, strata=frame).history_["objective"][0] <= first * (1 + 1e-9)
    smooth = StratifiedNMF(3, smoothness=2.0, warm_start=True, random_state=0).fit(X, strata=frame["year"])
    last = smooth.history_["objective"][-1]
    assert smooth.fit(X, strata=frame["year"]).history_["objective"][0] <= last * (1 + 1e-9)
    u = np.linspace(1, 2, 240)
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = make_pipeline(FunctionTransformer(), StratifiedNMF(3, **SHORT))
        pipe.fit(X, strata=frame, exposure=u)
        np.testing.assert_array_equal(pipe.transform(X, strata=frame, exposure=u), pipe[-1].W_)
        assert pipe.score(X, strata=frame, exposure=u) > 0.9


def test_an_annotated_matrix_gives_its_columns(planted, crossed):
    anndata = pytest.importorskip("anndata")
    X, frame, _, _ = planted
    adata = anndata.AnnData(X, obs=frame.astype({"region": "category"}).set_axis([f"cell {i}" for i in range(240)]))
    model = StratifiedNMF(3, **SHORT).fit(adata, strata=["year", "region"])
    np.testing.assert_array_equal(model.shifts_, StratifiedNMF(3, **SHORT).fit(X, strata=frame).shifts_)
    np.testing.assert_array_equal(model.transform(adata, strata=["year", "region"]), model.W_)
    fastnmf.tl.stratified_nmf(adata, ["year", "region"], n_components=3, **SHORT)
    assert adata.uns["nmf"]["strata"].tolist() == crossed.shift_names_.tolist()
    adata.obs["size"] = np.linspace(1, 2, 240)
    sized = StratifiedNMF(2, **SHORT).fit(adata, strata="year", exposure="size")
    np.testing.assert_array_equal(sized.transform(X, strata=frame["year"], exposure=adata.obs["size"].array), sized.W_)
    with pytest.raises(ValueError, match="'site', which is not a column"):
        model.transform(adata, strata=["year", "site"])
