"""Small dense data, which one kernel fits from end to end: as plain loops do, and as the same fit step by step."""

import numpy as np
import oracles_small
import pytest
import scipy.sparse as sp

from fastnmf import NMF, SparseNMF
from fastnmf.core import small
from fastnmf.core.alternate import Extrapolation
from fastnmf.core.factors import allocate
from fastnmf.core.iterate import has_converged
from fastnmf.core.losses.squared import MAX_RESEEDINGS
from fastnmf.core.objectives import squared_problem
from fastnmf.core.small import SmallSolver, alternating_solver
from fastnmf.data.strata import Strata
from fastnmf.kernels import small as kernels

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
RNG = np.random.default_rng(0)
X = RNG.random((30, 13))
LOW_RANK = RNG.random((24, 3)) @ RNG.random((3, 10))
ATTRIBUTES = ("components_", "W_", "n_iter_", "stopped_by_", "n_revived_", "reconstruction_err_", "normalized_loss_")
ATTRIBUTES += ("run_objectives_",)

# name -> data, parameters
CASES = {
    "float64": (X, {}),
    "float32": (X.astype(np.float32), {}),
    "hals": (X, {"solver": "hals"}),
    "exact": (LOW_RANK, {"n_components": 3, "max_iter": 400}),
    "exact float32": (LOW_RANK.astype(np.float32), {"n_components": 3, "max_iter": 400}),
    "more components than columns": (X, {"n_components": 17}),
    "zero": (np.zeros((6, 5)), {"n_components": 2}),
    "one row": (X[:1], {"n_components": 2}),
    "one column": (X[:, :1], {"n_components": 2}),
    "one entry": (X[:1, :1], {"n_components": 1}),
    "integers": ((9 * X).astype(int), {}),
    "Fortran": (np.asfortranarray(X), {}),
    "tiny": (1e-150 * X, {}),
    "huge": (1e150 * X, {}),
    "sparse rows": (X * (RNG.random(X.shape) < 0.1), {}),
    "no tolerance": (X, {"tol": 0, "max_iter": 33}),
    "shuffled": (X, {"shuffle": True, "sweeps": (1, 3)}),
    "random": (X, {"init": "random"}),
    "nndsvd": (X, {"init": "nndsvd"}),
    "several": (X, {"n_init": 3}),
    "automatic": (X, {"init": None}),
    "normalised": (X, {"normalize": "l1"}),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def fit(data, options, given=None, **more):
    options = {"n_components": 4, "init": "features", "random_state": 0, "max_iter": 150} | options
    return NMF(**options).fit(data, **(given or {}), **more)


def assert_same(one, other):
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for name in one.history_.keys() - {"seconds"}:
        np.testing.assert_array_equal(one.history_[name], other.history_[name], err_msg=name)
    assert (np.diff(one.history_["seconds"]) >= 0).all() and len(one.history_["seconds"]) == len(
        other.history_["seconds"]
    )


def killer(until):
    """Return a callback that interrupts a fit."""

    def stop(state):
        if state.iteration >= until:
            raise KeyboardInterrupt

    return stop


def solver(data, W, H, *, sweeps=(2, 2), visits=None, extrapolates=True):
    """Return the solver of a fit from W (n, k) and H (m, k)."""
    data = Strata.from_array(data)
    factors, tasks = allocate(data, W, H, None)
    schedule = ("W", sweeps[0]), ("H", sweeps[1])
    problem = squared_problem(data, factors, tasks, schedule, is_descent=True, visits=visits)
    return alternating_solver(problem, factors, Extrapolation(tasks, factors) if extrapolates else None)


@pytest.mark.parametrize("shape", [(30, 13, 4), (7, 9, 5), (3, 14, 2), (5, 1, 1), (16, 8, 11)])
@pytest.mark.parametrize(
    "more", [{}, {"extrapolates": False}, {"sweeps": (1, 3)}, {"visits": True}], ids=["cd", "hals", "sweeps", "visits"]
)
def test_iterations_are_those_of_plain_loops(shape, more):
    n, m, k = shape
    data, W, H = RNG.random((n, m)), RNG.random((n, k)), RNG.random((m, k))
    visits = RNG.permutation(k) if "visits" in more else None
    more = {name: value for name, value in more.items() if name != "visits"}
    ours = solver(data, W, H, visits=visits, **more)
    assert type(ours) is SmallSolver
    ours.problem.losses[0].reseedings = MAX_RESEEDINGS  # plain loops leave dead components alone
    values = [ours.begin(), *(ours.step() for _ in range(12))]
    W, H, wanted = oracles_small.extrapolated_hals(data, W, H, 12, order=visits, **more)
    scale = np.sum(data**2)
    np.testing.assert_allclose(values, wanted, rtol=1e-9, atol=1e-12 * scale)
    for name, want in (("W", W), ("H", H)):
        np.testing.assert_allclose(ours.factors[name][:, :k], want, rtol=0, atol=1e-7 * want.max(), err_msg=name)


@every_case
def test_a_fit_that_is_watched_has_the_bits_of_one_that_is_not(case, tmp_path):
    data, options = case
    whole = fit(data, options)
    for more in ({}, {"callback": lambda state: None}, {"max_time": 1e6}, {"n_threads": 1}, {"n_threads": 2}):
        assert_same(fit(data, options | more), whole)
    assert_same(fit(data, options, checkpoint=tmp_path / "state.npz"), whole)
    for until in (0, min(5, whole.n_iter_)):
        with pytest.raises(KeyboardInterrupt):
            fit(data, options | {"callback": killer(until)}, checkpoint=tmp_path / "other.npz", checkpoint_every=0)
    assert_same(fit(data, options, checkpoint=tmp_path / "other.npz"), whole)


@every_case
def test_a_fit_ends_where_that_of_launched_kernels_does(case, monkeypatch):
    """To rounding: the loss to a millionth, in units of the data where they are fitted exactly."""
    data, options = case
    ours = fit(data, options)
    monkeypatch.setattr(small, "SMALL_WORK", -1)
    theirs = fit(data, options)
    unit = np.finfo(ours.components_.dtype).eps
    np.testing.assert_allclose(ours.normalized_loss_, theirs.normalized_loss_, rtol=1e-6, atol=9 * unit)
    assert ours.components_.dtype == theirs.components_.dtype and ours.W_.dtype == theirs.W_.dtype
    assert len(ours.history_["objective"]) == ours.n_iter_ + 1
    np.testing.assert_allclose(ours.history_["passes"], np.arange(ours.n_iter_ + 1))
    np.testing.assert_allclose(ours.transform(data), ours.W_, rtol=1e-12, atol=4 * unit * ours.W_.max())


def test_larger_and_other_fits_take_other_kernels(monkeypatch):
    seen, plain = [], small.SmallSolver._run
    monkeypatch.setattr(small.SmallSolver, "_run", lambda *args: seen.append(1) or plain(*args))
    for options, given in (
        ({}, {"X": sp.csr_array(X)}),
        ({"solver": "mu"}, {}),
        ({"alpha_W": 0.1}, {}),
        ({"fixed_components": X[:1]}, {}),
        ({"missing_values": "zeros"}, {"X": np.round(X)}),
        ({}, {"weight": 1 + X}),
        ({}, {"X": RNG.random((600, 300))}),
    ):
        fit(**{"data": given.pop("X", X), "options": options, "given": given})
        assert not seen
    for given in ({}, {"sample_weight": 1 + X[:, 0]}):
        seen.clear()
        fit(X, {}, given)
        assert seen


def test_components_that_died_are_reseeded_and_counted(tmp_path):
    start = {"W": np.ones((30, 4)), "H": RNG.random((4, 13))}
    start["W"][:, 2:] = start["H"][2:] = 0
    whole = fit(X, {"init": "custom"}, start)
    assert whole.n_revived_ >= 2 and whole.components_.any(axis=1).all()
    assert_same(fit(X, {"init": "custom", "callback": lambda state: None}, start), whole)
    for until in (1, 2, 3):
        with pytest.raises(KeyboardInterrupt):
            fit(X, {"init": "custom", "callback": killer(until)}, start, checkpoint=tmp_path / "a", checkpoint_every=0)
    assert_same(fit(X, {"init": "custom"}, start, checkpoint=tmp_path / "a"), whole)


def test_lengths_that_have_drifted_apart_become_similar():
    W, H = RNG.random((30, 3)) * [1, 1e-40, 1], RNG.random((13, 3)) * [1, 1e40, 1e-9]
    for more in ({}, {"extrapolates": False}):
        drifting, even = solver(X, W, H, **more), solver(X, W / [1, 1e-40, 1], H * [1, 1e-40, 1], **more)
        assert drifting.begin() == pytest.approx(even.begin(), rel=1e-9)
        for _ in range(3):
            assert drifting.step() == pytest.approx(even.step(), rel=1e-9)
        lengths = np.log2([np.linalg.norm(drifting.factors[name][:, :3], axis=0) for name in "WH"])
        assert (np.abs(lengths[0] - lengths[1]) < 30).all()


def test_a_model_that_reseeds_no_dead_components_is_fitted():
    X = np.zeros((4, 4))
    X[2, 1] = 3.0
    model = SparseNMF(3, sparseness_H=None, max_iter=1, random_state=np.random.default_rng(3)).fit(X)
    assert np.isfinite(model.W_).all() and np.isfinite(model.components_).all()


@pytest.mark.parametrize("seed", range(60))
def test_the_kernel_never_runs_past_the_rule(seed):
    """Also where the least objective stands still after an extrapolation went too far."""
    rng = np.random.default_rng(seed)
    gains = rng.random(40) ** 4 * np.arange(1.0, 41) ** -rng.uniform(0, 3) * (rng.random(40) < rng.uniform(0.3, 1))
    best, tol = 1.0 + np.append(gains[::-1].cumsum()[::-1], 0.0), 10 ** rng.uniform(-4, 0)
    start = np.zeros((4, 2))
    plan = solver(RNG.random((4, 4)), start, start)._plan._replace(tol=tol)
    for best_ in (best, 10.0 ** -rng.uniform(2, 10) * (best - 0.99)):  # also where the normalized loss is below tol
        for i in range(1, len(best)):
            if has_converged(best_[: i + 1].tolist(), tol, plan.rounding, plan.sq_norm):
                assert kernels._may_have_converged(best_, i, plan)
