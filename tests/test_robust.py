"""Robust losses: planted models behind outliers, fixed-seed numbers, monotone descent, and bad input.

The numbers of `tests/data/variants.json` come from an independent program in plain NumPy; H moves first there, so the
transposed data are fitted with W and H exchanged. Their tolerance of 1e-8 leaves room for sums in another order.
"""

import warnings

import numpy as np
import oracle_data
import oracles_robust as oracles
import pytest
import scipy.sparse as sp

from fastnmf import NMF, ChebyshevNMF, DistributionallyRobustNMF, RobustNMF, SmoothNMF, SparseNMF
from fastnmf.core.alternate import solve
from fastnmf.core.factors import allocate
from fastnmf.core.losses.robust import Residual, Residuals
from fastnmf.core.minimax import PowerNorm
from fastnmf.core.problem import Problem, Subproblem
from fastnmf.core.updates import ChebyshevLP, WeightedMedianDescent
from fastnmf.data.strata import Strata
from fastnmf.kernels import robust as kernels
from fastnmf.kernels.jit import split_rows

EXPECTED = oracle_data.variants()
LOSSES = ("l1", "huber", "l21")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def drawn(seed=0, shape=(30, 20), rank=4):
    rng = np.random.default_rng(seed)
    return rng.random(shape), rng.random((shape[0], rank)), rng.random((rank, shape[1]))


def with_outliers():
    """Draw the planted model of `l1_outlier_recovery`: 5 % of the entries are too large by up to 5."""
    rng = np.random.default_rng(4)
    truth = rng.random((40, 3)) @ rng.random((3, 30))
    is_wrong = rng.random((40, 30)) < 0.05
    return truth, truth + 5 * is_wrong * rng.random((40, 30)), rng.random((40, 3)), rng.random((3, 30))


def distance(model, truth, rows=slice(None)):
    Y = model.W_ @ model.components_
    return np.linalg.norm((Y - truth)[rows]) / np.linalg.norm(truth[rows])


# ---------------------------------------------------------------- what they are for


def test_l1_finds_the_model_behind_outliers_and_the_squared_error_does_not():
    truth, X, W, H = with_outliers()
    squared = NMF(3, init="custom", max_iter=1000).fit(X, W=W, H=H)
    expected = EXPECTED["l1_outlier_recovery"]
    assert distance(squared, truth) == pytest.approx(expected["relerr_l2"], rel=0.01)  # a local minimum, not a number
    for seed in range(2):  # of 10 seeds, the worst is at 0.003
        assert distance(RobustNMF(3, random_state=seed).fit(X), truth) < 0.01
    assert distance(RobustNMF(3, init="custom").fit(X, W=W, H=H), truth) < 0.01


def test_huber_is_between():
    truth, X, _, _ = with_outliers()
    model = RobustNMF(3, loss="huber", random_state=0).fit(X)
    assert distance(model, truth) < 0.03  # small residuals count by their squares, large ones still pull a little
    exact = RobustNMF(3, loss="huber", threshold=1e-3, random_state=0).fit(X)
    assert distance(exact, truth) < 0.01


@pytest.mark.parametrize(("shape", "rank", "share"), [((70, 45), 4, 0.1), ((25, 60), 2, 0.05)])
def test_l1_finds_models_that_its_constants_were_not_chosen_on(shape, rank, share):
    rng = np.random.default_rng(1000)
    truth = rng.gamma(0.7, 1, (shape[0], rank)) @ rng.gamma(0.7, 1, (rank, shape[1]))
    wrong = rng.random(shape) < share
    X = np.where(wrong, truth + rng.exponential(3 * truth.mean(), shape), truth)
    assert distance(RobustNMF(rank, random_state=0).fit(X), truth) < 0.01  # 0.0012, 0.0033


@pytest.mark.parametrize("seed", [5050, 5051])
@pytest.mark.parametrize(("shape", "rank", "share", "noise"), [((45, 55), 3, 0.07, 0.04), ((80, 35), 2, 0.12, 0.01)])
def test_the_threshold_of_huber_follows_the_noise(shape, rank, share, noise, seed):
    rng = np.random.default_rng(seed)
    truth = rng.beta(0.5, 1, (shape[0], rank)) @ rng.beta(0.5, 1, (rank, shape[1]))
    clean = np.maximum(truth + noise * truth.mean() * rng.standard_normal(shape), 0)
    X = np.where(rng.random(shape) < share, clean + rng.exponential(3 * truth.mean(), shape), clean)
    model = RobustNMF(rank, loss="huber", random_state=0).fit(X)
    deviation = noise * truth.mean()
    assert 1.2 * deviation < model.threshold_ < 2.6 * deviation
    # of 1.2 to 2.0 times what the squared error leaves without the wrong entries
    assert distance(model, truth) < 2.2 * distance(NMF(rank, random_state=0, max_iter=500).fit(clean), truth)
    again = RobustNMF(rank, loss="huber", threshold=model.threshold_, random_state=0).fit(X)
    np.testing.assert_allclose(again.W_, model.W_, rtol=1e-9, atol=1e-12)  # it starts where it would have


def test_l21_leaves_wrong_rows_alone():
    rng = np.random.default_rng(7)
    truth = rng.random((80, 3)) @ rng.random((3, 30))
    X, wrong = truth.copy(), rng.choice(80, 8, replace=False)
    X[wrong] = 5 * rng.random((8, 30))
    right = np.setdiff1d(np.arange(80), wrong)
    squared = NMF(3, random_state=0, max_iter=500).fit(X)
    best = min(
        (RobustNMF(3, loss="l21", random_state=seed).fit(X) for seed in range(4)),
        key=lambda model: model.reconstruction_err_,
    )
    assert distance(squared, truth, right) > 0.15
    assert distance(best, truth, right) < 0.02  # 0.006 here; some starts end at 0.07, with a larger loss


def test_l21_converges_by_default():
    """On data whose fit takes more than 1000 iterations where it makes two sweeps all along."""
    rng = np.random.default_rng(113)
    truth = rng.random((70, 4)) @ rng.random((4, 30))
    X = truth + 0.01 * rng.random((70, 30))
    wrong, length = rng.choice(70, 7, replace=False), 2 * np.linalg.norm(truth, axis=1).mean()
    X[wrong] = rng.random((7, 30)) * length / np.linalg.norm(rng.random((7, 30)), axis=1, keepdims=True)
    model = RobustNMF(4, loss="l21", random_state=0).fit(X)
    assert model.converged_ and model.n_iter_ < 900


# ---------------------------------------------------------------- numbers


def test_reweighted_updates_match_the_fixed_numbers():
    X, W, H = drawn()
    expected, eps = EXPECTED["l1_irls_mu"]["HW"], 1e-4
    A, B = W, H
    for k in range(1, 101):
        A, B = oracles.reweighted_mu(X, A, B, eps)
        if str(k) in expected:
            assert oracles.loss(X, A @ B, "l1", eps) == pytest.approx(expected[str(k)], rel=1e-8)
    # one iteration of the package: the weights of the residual, then H and W by weighted multiplicative updates
    weight = 1 / np.sqrt((X - W @ H) ** 2 + eps**2)
    model = NMF(4, init="custom", solver="mu", max_iter=1, tol=0).fit(X.T, W=H.T, H=W.T, weight=weight.T)
    Y = (model.W_ @ model.components_).T
    assert oracles.loss(X, Y, "l1", eps) == pytest.approx(expected["1"], rel=1e-8)


def test_medians_match_the_fixed_numbers():
    X, W, H = drawn()
    data = Strata.from_array(X)
    factors, tasks = allocate(data, W, H.T, None)
    term = Residuals(data, factors["W"].shape[1], tasks, "l1")
    problem = Problem([term], dict.fromkeys("WH", WeightedMedianDescent()), (("H", 1), ("W", 1)), tasks, scale=1.0)
    found = solve(problem, factors, max_iter=30, tol=0).history["objective"]
    assert (np.diff(found) <= 1e-12 * found[0]).all()
    for k, value in EXPECTED["l1_median_cd"]["HW"].items():
        assert found[int(k)] == pytest.approx(value, rel=1e-8)


def test_one_sweep_of_medians_is_the_plain_loop():
    X, W, H = drawn(3, (7, 6), 3)
    H[1, :3] = 0
    data = Strata.from_array(X)
    factors, tasks = allocate(data, W, H.T, None)
    term = Residuals(data, factors["W"].shape[1], tasks, "l1")
    problem = Problem([term], dict.fromkeys("WH", WeightedMedianDescent()), (("W", 1),), tasks, scale=1.0)
    solve(problem, factors, max_iter=1, tol=0)
    np.testing.assert_allclose(factors["W"][:, :3], oracles.median_sweep(X, W, H), rtol=1e-12, atol=1e-14)


def test_chebyshev_matches_the_fixed_numbers():
    rng = np.random.default_rng(5)
    X, W = rng.random((12, 10)), rng.random((12, 3))
    expected = EXPECTED["linf_lp"]
    data = Strata.from_array(X)
    factors, tasks = allocate(data, W, np.ones((10, 3)), None)
    term = Residuals(data, factors["W"].shape[1], tasks, "linf")
    problem = Problem([term], dict.fromkeys("WH", ChebyshevLP()), (("H", 1),), tasks, scale=1.0)
    first = solve(problem, factors, max_iter=1, tol=0).history["objective"][-1]
    assert first == pytest.approx(expected["first_H_block"], rel=1e-8)
    model = ChebyshevNMF(3, init="custom", max_iter=5, tol=0).fit(X.T, W=np.ones((10, 3)), H=W.T)
    found = model.history_["objective"]
    assert (np.diff(found) <= 1e-9).all()
    assert model.reconstruction_err_ <= 1.1 * expected["HW"]["5"]  # optima of linear programs are not unique


@pytest.mark.parametrize("density", [1.0, 0.5, 0.2])
def test_the_linear_programs_of_rows_are_those_of_scipy(density):
    """Dense, sparse and degenerate: rows and columns of zeros, fewer columns than components."""
    rng = np.random.default_rng(int(10 * density))
    for q in (1, 2, 3, 7, 30):
        k = int(rng.integers(1, 6))
        A, G = (rng.random(shape) * (rng.random(shape) < density) for shape in ((6, q), (q, k)))
        sub = Subproblem(None)
        sub.residual = Residual(A if q % 2 else sp.csr_array(A), G)
        F = np.zeros((6, k))
        ChebyshevLP()(F, sub, k)
        for a, f in zip(A, F, strict=True):
            assert (f >= 0).all()
            assert np.abs(a - G @ f).max() == pytest.approx(oracles.least_largest_error(a, G), rel=1e-9, abs=1e-12)


def test_a_linear_program_keeps_a_row_that_is_as_good():
    sub, F = Subproblem(None), np.array([[0.25, 0.5]])
    sub.residual = Residual(np.array([[1.0, 0.0]]), np.array([[1.0, 1.0], [1.0, 1.0]]))  # only the sum of f counts
    F[:] = 0.125, 0.375
    ChebyshevLP()(F, sub, 2)
    np.testing.assert_array_equal(F, [[0.125, 0.375]])


def test_powers_of_the_residual_are_those_of_the_loops():
    X, W, H = drawn(4)
    Y = W @ H
    for n_squarings in (1, 3, 6):
        y, sums, largest = Y.copy(), np.empty(len(X)), np.empty(len(X))
        kernels.powers_of_residual(split_rows(len(X), 1), X, y, 1.7, n_squarings, sums, largest)
        for got, want in zip((y, sums, largest), oracles.powers(X, Y, 1.7, 2**n_squarings), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-11)


def test_the_power_norm_has_the_gradient_of_its_value():
    X, W, H = drawn(4)
    data = Strata.from_array(X)
    norm = PowerNorm(Residuals(data, 4, {}, "linf"), X.max(), 3)
    A = [W / norm.root, H.T / norm.root]
    value, gradients = norm(A)
    p_norm = (np.abs(X - W @ H) ** 8).sum() ** (1 / 8)
    assert value == pytest.approx(np.log(p_norm), rel=1e-12)
    assert norm.least == pytest.approx(np.abs(X - W @ H).max(), rel=1e-12)
    rng = np.random.default_rng(0)
    steps = [rng.standard_normal(F.shape) for F in A]
    near = [norm([F + h * step for F, step in zip(A, steps, strict=True)])[0] for h in (-1e-5, 1e-5)]
    slope = sum(np.vdot(g, step) for g, step in zip(gradients, steps, strict=True))
    assert (near[1] - near[0]) / 2e-5 == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_chebyshev_goes_below_the_errors_that_were_planted(seed):
    """Linear programs for one factor after the other stop at .049 here, least squares at .068."""
    X = oracles.planted_errors(seed=seed)
    model = ChebyshevNMF(3, random_state=seed).fit(X)
    assert model.converged_ and model.reconstruction_err_ < 0.0465
    assert model.reconstruction_err_ == pytest.approx(np.abs(X - model.W_ @ model.components_).max(), rel=1e-12)
    scaled = ChebyshevNMF(3, random_state=seed).fit(1e3 * X)
    assert scaled.reconstruction_err_ == pytest.approx(1e3 * model.reconstruction_err_, rel=0.01)


def test_chebyshev_takes_large_and_sparse_data():
    X = oracles.planted_errors((210, 100))  # 21,000 entries
    X[X < 0.3] = 0
    dense, sparse = (ChebyshevNMF(3, random_state=0, max_iter=2).fit(form(X)) for form in (np.asarray, sp.csr_array))
    np.testing.assert_allclose(sparse.W_ @ sparse.components_, dense.W_ @ dense.components_, atol=1e-6)
    squares = NMF(3, random_state=0).fit(X)
    assert dense.reconstruction_err_ < 0.8 * np.abs(X - squares.W_ @ squares.components_).max()


def test_transform_of_chebyshev_is_the_linear_program_of_a_row():
    X, _, _ = drawn(5, (9, 6))
    model = ChebyshevNMF(2, random_state=0, max_iter=3).fit(X)
    for a, w in zip(X, model.transform(X), strict=True):
        error = np.abs(a - w @ model.components_).max()
        assert error == pytest.approx(oracles.least_largest_error(a, model.components_.T), rel=1e-9)


# ---------------------------------------------------------------- what always holds


@pytest.mark.parametrize("solver", ["cd", "mu"])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_objective_is_the_loss_and_never_rises(loss, solver):
    X, _, _ = drawn()
    X[3], X[:, 5] = 0, 0
    model = RobustNMF(3, loss=loss, solver=solver, max_iter=40, tol=0, random_state=0).fit(X)
    found = model.history_["objective"]
    assert found[-1] < 0.9 * found[0]
    assert (np.diff(found) <= 1e-12 * found[0]).all()
    bend = model.threshold_ if loss == "huber" else {"l1": 0.0, "l21": 1e-3}[loss] * model.typical_
    own = oracles.loss(X, model.W_ @ model.components_, loss, bend)
    # rows norms come from Gram matrices: a row that fits to 1e-3 of its length has lost six digits of ten
    assert model.reconstruction_err_ == pytest.approx(own, rel=1e-8)
    of_nothing = oracles.loss(X, 0 * X, loss, bend)
    assert own < of_nothing and model.normalized_loss_ == pytest.approx(np.sqrt(own / of_nothing), rel=1e-3)
    assert (model.W_ >= 0).all() and (model.components_ >= 0).all() and np.isfinite(model.W_).all()


def test_l1_continues_where_the_earlier_fit_ended():
    """The large eps with which a new fit begins would lead away from its factors."""
    X, _, _ = drawn()
    model = RobustNMF(3, max_iter=300, warm_start=True, random_state=0).fit(X)
    last, weights = model.reconstruction_err_, model.transform(X)
    np.testing.assert_array_equal(model.set_params(warm_start=False).transform(X), weights)
    model.set_params(warm_start=True).fit(X)
    assert model.history_["objective"][0] < 1.01 * last
    assert model.reconstruction_err_ <= last * (1 + 1e-4) and model.n_iter_ < 100


@pytest.mark.parametrize("loss", LOSSES)
def test_sparse_is_dense_and_float32_is_near(loss):
    X, W, H = drawn()
    X[X < 0.5] = 0
    options = {"loss": loss, "init": "custom", "max_iter": 15, "tol": 0}
    dense = RobustNMF(4, **options).fit(X, W=W, H=H)
    sparse = RobustNMF(4, **options).fit(sp.csr_array(X), W=W, H=H)
    np.testing.assert_allclose(sparse.W_ @ sparse.components_, dense.W_ @ dense.components_, atol=1e-9)
    single = RobustNMF(4, **options).fit(X.astype(np.float32), W=W, H=H)
    assert single.W_.dtype == single.components_.dtype == np.float32
    assert single.reconstruction_err_ == pytest.approx(dense.reconstruction_err_, rel=1e-3)  # 15 iterations amplify


def test_mu_walks_sparse_data_a_tile_at_a_time():
    X, W, H = drawn()
    X[X < 0.5] = 0
    options = {"solver": "mu", "polish": 0, "init": "custom", "max_iter": 10, "tol": 0}
    dense = RobustNMF(4, **options).fit(X, W=W, H=H)
    sparse = RobustNMF(4, **options).fit(sp.csr_array(X), W=W, H=H)
    np.testing.assert_allclose(sparse.components_, dense.components_, rtol=1e-10)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_unit_of_the_data_does_not_matter(loss):
    X, W, H = drawn()
    options = {"loss": loss, "init": "custom", "max_iter": 20, "tol": 0}
    one = RobustNMF(4, **options).fit(X, W=W, H=H)
    for factor in (4.0**10, 2.0**-400):
        other = RobustNMF(4, **options).fit(factor * X, W=np.sqrt(factor) * W, H=np.sqrt(factor) * H)
        np.testing.assert_allclose(other.W_, np.sqrt(factor) * one.W_, rtol=1e-9)


@pytest.mark.parametrize("model", [RobustNMF(2), RobustNMF(2, loss="huber"), RobustNMF(2, loss="l21")])
def test_weights_of_a_row_do_not_depend_on_the_others(model):
    X, _, _ = drawn()
    model.set_params(random_state=0, max_iter=10).fit(X)
    np.testing.assert_allclose(model.transform(X)[5:8], model.transform(X[5:8]), rtol=1e-9, atol=1e-12)
    assert model.score(X) <= 1


@pytest.mark.parametrize(
    "model",
    [
        RobustNMF(4, polish=2),
        RobustNMF(4, loss="huber", solver="mu"),
        RobustNMF(4, loss="l21"),
        SparseNMF(4, sparseness_W=0.3),
        SparseNMF(4, max_features=30, max_components=2),
        SmoothNMF(4),
        DistributionallyRobustNMF(4, betas=(1, 1.5, 2)),
    ],
    ids=str,
)
def test_the_bits_do_not_depend_on_threads(model):
    X = np.random.default_rng(0).random((300, 200)) + 0.01
    model.set_params(max_iter=3, tol=0, random_state=0)
    one, two = (model.set_params(n_threads=n).fit(X).components_ for n in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("loss", [*LOSSES, "linf"])
def test_degenerate_data(loss):
    make = ChebyshevNMF if loss == "linf" else RobustNMF
    options = {} if loss == "linf" else {"loss": loss}
    for X in (np.ones((1, 4)), np.ones((4, 1)), np.zeros((3, 4)), np.diag([1.0, 0, 2])):
        model = make(1, max_iter=5, random_state=0, **options).fit(X)
        assert np.isfinite(model.W_).all() and np.isfinite(model.components_).all()
        assert model.transform(X).shape == (len(X), 1)


@pytest.mark.parametrize(
    "model, X, message",
    [
        (RobustNMF(loss="l3"), np.ones((3, 3)), "loss='l3' is not known.*'l21'"),
        (RobustNMF(threshold=0), np.ones((3, 3)), "threshold=0"),
        (RobustNMF(polish=-1), np.ones((3, 3)), "polish=-1"),
        (RobustNMF(), sp.csr_array((5000, 5000)), "5000 x 5000.*needs a dense X.*loss='l21'"),
        (RobustNMF(), -np.ones((3, 3)), "[Nn]egative"),
    ],
)
def test_bad_input_gets_one_clear_sentence(model, X, message):
    with pytest.raises(ValueError, match=message), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X)
