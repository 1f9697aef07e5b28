"""A loss and an update that do not fit together: one sentence that names both, what is missing, and what to do."""

import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from estimators import one_sentence

from fastnmf.core import problem
from fastnmf.core.alternate import sweep
from fastnmf.core.factors import allocate
from fastnmf.core.objectives import divergence_problem, squared_problem
from fastnmf.core.problem import NEEDS
from fastnmf.core.updates import (
    HALS,
    MU,
    ActiveSet,
    ChainDescent,
    ChebyshevLP,
    GraphHALS,
    JointMU,
    LaggedDescent,
    LeastSquares,
    MixtureDescent,
    PatternHALS,
    WeightedMedianDescent,
    WeightedRows,
)
from fastnmf.data.strata import Strata

X = sp.random_array((14, 9), density=0.5, rng=np.random.default_rng(0), format="csr")


def problem_of(beta):
    data = Strata.from_array(X)
    rng = np.random.default_rng(1)
    factors, tasks = allocate(data, rng.random((14, 3)), rng.random((9, 3)), None)
    if beta == 2:
        schedule = (("W", 1), ("H", 1))
        return squared_problem(data, factors, tasks, schedule, is_descent=True), factors
    return divergence_problem(data, factors, tasks, beta), factors


WRONG = [
    (1, HALS(), "quadratic subproblem, but KullbackLeibler gives none for W; use a multiplicative"),
    (0.5, HALS(), "quadratic subproblem, but BetaDivergence"),
    (1, ActiveSet(), "quadratic subproblem, but KullbackLeibler"),
    (1, LeastSquares(), "quadratic subproblem, but KullbackLeibler"),
    (1, GraphHALS(), "quadratic subproblem, but KullbackLeibler"),
    (2, WeightedMedianDescent(), "the data and the other factor, but Frobenius"),
    (2, ChebyshevLP(), "the data and the other factor, but Frobenius"),
    (2, JointMU(), "the gradients of several losses, but Frobenius"),
    (2, WeightedRows(), "a Gram matrix of each row, but Frobenius"),
    (2, ChainDescent("rows"), "the weights of steps from row to row, but Frobenius"),
    (2, LaggedDescent(), "the curvature of rows that meet those after them, but Frobenius"),
    (2, MixtureDescent(), "the rows that are mixed, but Frobenius"),
    (2, PatternHALS(), "shifts of which a row has several, but Frobenius"),
]


@pytest.mark.parametrize(("beta", "update", "message"), WRONG, ids=lambda value: type(value).__name__)
def test_a_wrong_pair_is_one_sentence(beta, update, message):
    problem, factors = problem_of(beta)
    before = factors["W"].copy()
    problem.updates["W"] = update
    with pytest.raises(ValueError, match=message) as caught:
        sweep(problem, factors)
    assert str(caught.value).startswith(type(update).__name__) and one_sentence(caught.value)
    assert (factors["W"] == before).all()


@pytest.mark.parametrize(("beta", "update"), [(2, HALS()), (2, MU()), (1, MU()), (2, GraphHALS()), (2, ActiveSet())])
def test_a_right_pair_runs(beta, update):
    problem, factors = problem_of(beta)
    problem.updates = dict.fromkeys("WH", update)
    sweep(problem, factors)
    assert np.isfinite(problem.value(factors))


def test_every_need_is_tried():
    assert {need for _, update, _ in WRONG for need in update.needs} == set(NEEDS)


LOSS_FILES = ("convolution", "dictionary", "divergence_mixture", "divergences", "graph", "interval", "labels", "masked",
              "products", "robust", "squared")  # fmt: skip
PENALTY_FILES = ("elastic_net", "guide", "smoothness")


def classes():
    """Yield all losses and penalties with their protocol: a penalty is given one factor, F."""
    for room, names in (("losses", LOSS_FILES), ("penalties", PENALTY_FILES)):
        for name in names:
            module = importlib.import_module(f"fastnmf.core.{room}.{name}")
            for kind in vars(module).values():
                is_ours = inspect.isclass(kind) and kind.__module__ == module.__name__
                if is_ours and hasattr(kind, "contribute") and not kind.__name__.startswith("_"):
                    is_penalty = "F" in inspect.signature(kind.contribute).parameters
                    yield kind, problem.Penalty if is_penalty else problem.DataLoss


@pytest.mark.parametrize("kind, protocol", list(classes()), ids=lambda kind: kind.__name__)
def test_losses_and_penalties_have_the_methods_of_their_protocol(kind, protocol):
    """A method that the protocol knows has its parameters, by name; `contribute` and `value` are there."""
    for name, wanted in inspect.getmembers(protocol, inspect.isfunction):
        if name.startswith("_") or not hasattr(kind, name):
            assert name not in ("contribute", "value")
            continue
        found, asked = inspect.signature(getattr(kind, name)).parameters, inspect.signature(wanted).parameters
        asked = [parameter for parameter in asked if parameter != "instead"]
        if kind.__module__.endswith(("products", "convolution")):  # products of other factors than W and H
            asked = [parameter for parameter in asked if parameter != "name"]
        assert set(asked) <= set(found), (kind.__name__, name)


def test_the_core_asks_the_data_loss_for_nothing_else():
    """Attributes of the first loss that the core and the base of the models read are in the protocol."""
    known = {name for name, _ in inspect.getmembers(problem.DataLoss)} | set(problem.DataLoss.__annotations__)
    root = Path(problem.__file__).parents[1]
    for path in (root / "core/alternate.py", root / "core/problem.py", root / "models/base/nmf.py"):
        read = re.findall(r"(?:losses\[0\]|data_loss)\.(\w+)", path.read_text())
        assert read and set(read) <= known, (path.name, set(read) - known)
