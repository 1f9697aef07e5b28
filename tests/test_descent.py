"""Solvers of smooth objectives: L-BFGS-B is SciPy's to the bit, and every solver goes on where it was killed."""

import copy
from contextlib import nullcontext, suppress

import numpy as np
import pytest
from scipy.optimize import Bounds, rosen, rosen_der
from scipy.optimize import minimize as scipy_minimize

from fastnmf.core.descent import (
    ADAM_DECAY,
    ADAM_RATE,
    DESCENTS,
    LBFGS,
    Adam,
    Layerwise,
    NeuralDescent,
    infer_stack,
    minimize,
)
from fastnmf.core.iterate import iterate
from fastnmf.core.stack import DataLayer, Labels, Stack
from fastnmf.data.strata import Strata
from fastnmf.datasets.toys import make_hierarchical
from fastnmf.io import archive

RNG = np.random.default_rng(0)
DESIGN, TARGET = RNG.random((30, 12)), RNG.random((30, 7))
SKEW = 10.0 ** np.arange(-3, 3)


def quadratic(A):
    """Least squares, with the minimum on some bounds."""
    off = DESIGN @ A[0] - TARGET
    return np.sum(off**2), [2 * DESIGN.T @ off]


def two_factors(A):
    """A product of two factors: not convex."""
    W, H = A
    off = W @ H.T - TARGET
    return np.sum(off**2), [2 * off @ H, 2 * off.T @ W]


def valley(A):
    """Rosenbrock's valley, where line searches are long."""
    return rosen(A[0]), [rosen_der(A[0])]


def ill_conditioned(A):
    return 0.5 * np.sum(SKEW * (A[0] - 1) ** 2), [SKEW * (A[0] - 1)]


def flat(A):
    """A constant: the start is a minimum."""
    return 1.0, [np.zeros_like(A[0])]


def kinked(A):
    """A sum of distances, whose gradient jumps."""
    return np.sum(np.abs(A[0] - SKEW)), [np.sign(A[0] - SKEW)]


def lying(A):
    """An objective that rises along its alleged descent: the first line search fails."""
    return np.sum(A[0]), [-np.ones_like(A[0])]


def lying_later(A):
    """An objective whose gradient has the wrong sign near the minimum: a line search fails, with and without memory."""
    value, (gradient,) = quadratic(A)
    return value, [gradient if value > 25 else -gradient]


FUNCTIONS = {
    quadratic: [RNG.random((12, 7))],
    two_factors: [RNG.random((30, 3)), RNG.random((7, 3))],
    valley: [2 * RNG.random(9)],
    ill_conditioned: [3 * RNG.random(6)],
    flat: [np.ones(4)],
    kinked: [np.ones(6)],
    lying: [np.ones(3)],
    lying_later: [RNG.random((12, 7))],
}
every_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)


def of_scipy(function, A, max_iter, maxfun=None):
    """Return the objectives, the result and all points of evaluation of SciPy's own loop."""
    cuts, curve, points = np.cumsum([a.size for a in A])[:-1], [], []

    def split(x):
        return [part.reshape(a.shape) for part, a in zip(np.split(x, cuts), A, strict=True)]

    def flat_value(x):
        points.append(x.tobytes())
        found, gradients = function(split(x))
        return found, np.concatenate([g.ravel() for g in gradients])

    corrections = int(np.clip(4_000_000 // sum(a.size for a in A), 3, 20))
    options = {"maxiter": max_iter, "maxcor": corrections, "ftol": 0.0, "gtol": 1e-12}
    found = scipy_minimize(
        flat_value,
        np.concatenate([a.ravel() for a in A]),
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(0, np.inf),
        callback=lambda intermediate_result: curve.append(intermediate_result.fun),
        options=options | {"maxfun": 20 * max_iter + 20 if maxfun is None else maxfun},
    )
    return [function(A)[0], *curve], found, points


def noted(function):
    """Return the function, and a list that receives every point at which it is evaluated."""
    points = []

    def value(A):
        points.append(np.concatenate([a.ravel() for a in A]).tobytes())
        return function(A)

    return value, points


@every_function
@pytest.mark.parametrize("max_iter", [1, 2, 7, 300])
def test_lbfgs_is_that_of_scipy_to_the_bit(function, max_iter):
    start = FUNCTIONS[function]
    curve, wanted, points = of_scipy(function, start, max_iter)
    value, evaluated = noted(function)
    fit = iterate(LBFGS(value, start, max_iter), max_iter=max_iter, tol=0)
    assert fit.history["objective"] == curve
    assert np.concatenate([a.ravel() for a in fit.solver.best]).tobytes() == wanted.x.tobytes()
    assert evaluated == points and fit.n_iter == wanted.nit
    assert (fit.stopped_by == "max_iter") == (wanted.status == 1)
    assert fit.solver.ended in ((None, "tol") if wanted.status else ("tol",))


def test_the_ends_of_lbfgs_are_all_among_the_functions():
    ends = {function: of_scipy(function, A, 300)[1] for function, A in FUNCTIONS.items()}
    assert ends[flat].status == ends[flat].nit == 0  # no gradient at the start
    assert ends[quadratic].status == 0 and ends[quadratic].nit > 0
    assert ends[lying].status == 2 and ends[lying].nit == 0
    assert ends[lying_later].status == 2 and ends[lying_later].nit > 0
    for function in (flat, lying):
        fit = iterate(LBFGS(function, FUNCTIONS[function], 9), max_iter=9, tol=1e-4)
        assert (fit.stopped_by, fit.n_iter, fit.converged) == ("tol", 0, True)


@pytest.mark.parametrize("maxfun", [1, 5, 9])
def test_the_largest_number_of_evaluations_ends_lbfgs(maxfun, monkeypatch):
    monkeypatch.setattr(LBFGS, "_most_evaluations", property(lambda self: maxfun))
    curve, wanted, points = of_scipy(valley, FUNCTIONS[valley], 300, maxfun)
    value, evaluated = noted(valley)
    fit = iterate(LBFGS(value, FUNCTIONS[valley], 300), max_iter=300, tol=1e-9)
    assert fit.history["objective"] == curve and evaluated == points and wanted.status == 1
    assert fit.stopped_by == "max_iter" and not fit.converged and fit.n_iter < 300
    assert fit.solver.best[0].tobytes() == wanted.x.tobytes()


@every_function
def test_the_start_is_not_changed(function):
    start = copy.deepcopy(FUNCTIONS[function])
    for method in DESCENTS:
        minimize(function, start, method=method, max_iter=5, tol=0)
    for mine, other in zip(start, FUNCTIONS[function], strict=True):
        np.testing.assert_array_equal(mine, other)


def test_adam_is_what_the_paper_says():
    (a,), (forget, fade), curve = copy.deepcopy(FUNCTIONS[quadratic]), ADAM_DECAY, []
    m, v, rate = 0 * a, 0 * a, ADAM_RATE * np.sqrt(np.mean(a**2))
    for i in range(30):
        now, (g,) = quadratic([a])
        curve.append(now)
        m, v = forget * m + (1 - forget) * g, fade * v + (1 - fade) * g * g
        step = rate * 0.5 * (1 + np.cos(np.pi * i / 30)) * (m / (1 - forget ** (i + 1)))
        a = np.maximum(a - step / np.sqrt(v / (1 - fade ** (i + 1))), 0)
    fit = iterate(Adam(quadratic, FUNCTIONS[quadratic], 30), max_iter=30, tol=0)
    np.testing.assert_allclose(fit.history["objective"][:-1], curve, rtol=1e-9)
    assert quadratic(fit.solver.best)[0] == min(fit.history["objective"]) == fit.objective


def test_every_method_finds_the_minimum_of_least_squares():
    best = quadratic(minimize(quadratic, FUNCTIONS[quadratic], max_iter=1000, tol=0))[0]
    for method in ("pgd", "adam"):
        found = minimize(quadratic, FUNCTIONS[quadratic], method=method, max_iter=2000, tol=0)
        assert quadratic(found)[0] == pytest.approx(best, rel=1e-3) and (found[0] >= 0).all()


# ---------------------------------------------------------------- killed and resumed


class Enough(Exception):
    """A checkpoint has all the states that it wants."""


class Keeper:
    """A checkpoint that keeps a copy of the state of every step, and ends the run after `most` of them."""

    is_signed, reading = True, staticmethod(nullcontext)

    def __init__(self, kept=None, most=None):
        self.kept, self.most, self.states = copy.deepcopy(kept), most, []

    def __call__(self, state, is_last):
        self.states.append(copy.deepcopy(state.to_state()))
        if len(self.states) == self.most:
            raise Enough


def without_seconds(state):
    history = {name: entries for name, entries in state["history"].items() if name != "seconds"}
    return archive.digest({name: part for name, part in state.items() if name != "seconds"} | {"history": history})


def assert_every_state_can_go_on(make, arrays, max_iter, tol=0.0):
    """Run a solver, again from each of its states to the next one, and from some to the end; return the first run."""
    keeper = Keeper()
    fit = iterate(make(), max_iter=max_iter, tol=tol, checkpoint=keeper)
    assert len(keeper.states) > fit.n_iter
    states = [*map(without_seconds, keeper.states)]
    for i in range(len(states) - 1):
        again = Keeper(keeper.states[i], most=2)
        with suppress(Enough):
            iterate(make(), max_iter=max_iter, tol=tol, checkpoint=again)
        # the first state of a run that goes on is the one that it read, or the next
        assert [*map(without_seconds, again.states)] in (states[i : i + 2], states[i + 1 : i + 3])
    for kept in [keeper.states[len(keeper.states) // 2], *keeper.states[-4:]]:
        other = iterate(make(), max_iter=max_iter, tol=tol, checkpoint=Keeper(kept))
        assert course(other) == course(fit)
        for mine, theirs in zip(arrays(other.solver), arrays(fit.solver), strict=True):
            assert mine.tobytes() == theirs.tobytes()
    return fit


def course(fit):
    return [(name, entries) for name, entries in fit.history.items() if name != "seconds"], fit.stopped_by, fit.n_iter


@every_function
@pytest.mark.parametrize("method", DESCENTS)
def test_a_descent_goes_on_from_every_step(function, method):
    def make():
        return DESCENTS[method](function, FUNCTIONS[function], 25)

    assert_every_state_can_go_on(make, lambda solver: solver.best, 25)


def stack_of(loss="levels", labels=True, seed=0):
    toy = make_hierarchical(random_state=0)
    Y, known = np.eye(2)[toy.target2], (np.arange(90) % 3 > 0)[:, None].astype(float)
    stack = Stack(DataLayer(Strata.from_array(toy.data)), loss, np.ones(2), [Labels(1, Y, known, 9.0)] * labels)
    rng = np.random.default_rng(seed)
    return stack, [rng.exponential(size=(87, 9)), rng.exponential(size=(9, 4))]


def with_a_dead_topic(method, max_iter, loss="levels"):
    stack, A = stack_of(loss, labels=False, seed=1)
    A[0][:, 3], A[1][3] = 0, 0
    return NeuralDescent(stack, A, method, max_iter, stack.bottom.sq_norm)


@pytest.mark.parametrize("method", DESCENTS)
@pytest.mark.parametrize("loss", ["levels", "recon", "energy"])
def test_the_descent_of_a_hierarchy_goes_on_from_every_step(method, loss):
    def make():
        stack, A = stack_of(loss)
        return NeuralDescent(stack, A, method, 12, stack.bottom.sq_norm)

    fit = assert_every_state_can_go_on(make, lambda solver: solver.layers, 12)
    lengths = np.linalg.norm(fit.solver.layers[0], axis=0)
    assert (np.abs(lengths - 1) < 1e-12).all() == (loss == "energy")


@pytest.mark.parametrize("method", DESCENTS)
def test_so_it_does_where_a_dead_topic_is_reseeded(method):
    def make():
        return with_a_dead_topic(method, 90)

    # The last states are those of the last attempt to reseed a topic.
    fit = assert_every_state_can_go_on(make, lambda solver: solver.layers, 90, tol=1.0)
    assert fit.solver.n_reseeded == 1 and fit.stopped_by == "tol" and fit.n_iter < 90


def test_layerwise_updates_go_on_from_every_step():
    def make():
        stack, A = stack_of("energy")
        stack.S = infer_stack(stack.bottom, A)
        return Layerwise(stack, A, stack.bottom.sq_norm)

    fit = assert_every_state_can_go_on(make, lambda solver: [*solver.layers, *solver.stack.S, *solver.B], 12)
    assert (np.diff(fit.history["objective"]) <= 0).all()


@pytest.mark.parametrize("method", DESCENTS)
def test_where_a_descent_ends_a_dead_topic_is_reseeded_in_the_same_history(method):
    fit = iterate(with_a_dead_topic(method, 200), max_iter=200, tol=0.5)
    assert fit.solver.n_reseeded > 0 and fit.solver.layers[0][:, 3].any()
    assert fit.n_iter <= 200 and fit.history["iteration"] == list(range(fit.n_iter + 1))
    if method != "adam":
        assert (np.diff(fit.history["objective"]) <= 1e-12).all()


def test_no_iteration_is_left_for_a_topic_to_be_reseeded():
    whole = iterate(with_a_dead_topic("pgd", 200), max_iter=200, tol=1.0)
    first = next(n for n in range(200) if iterate(with_a_dead_topic("pgd", n), max_iter=n, tol=1.0).stopped_by == "tol")
    fit = iterate(with_a_dead_topic("pgd", first), max_iter=first, tol=1.0)
    assert fit.solver.n_reseeded == 0 and fit.n_iter == first < whole.n_iter
