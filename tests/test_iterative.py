"""One contract over every iterative estimator: callbacks, time limit, starts, checkpoints, history, threads.

The registry is `estimators.py`; an estimator is iterative if it has `max_iter` or `n_outer`.
"""

import inspect
from dataclasses import replace

import estimators
import numpy as np
import pytest

import fastnmf
from fastnmf import NMF
from fastnmf.io import archive

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
META = estimators.Case(
    "MetaNMF",
    {"estimator": NMF(3, solver="mu"), "n_tasks": 2, "task_size": 3, "n_outer": 4, "n_inner": 5},
    has_course=False,
)
FASTER = {"ConvolutiveNMF": {"n_lags": 2}}  # a shorter search for a start
CASES = [
    replace(case, parameters=case.parameters | FASTER.get(case.kind, {}))
    for case in (*estimators.CASES, META)
    if case.kind != "SeparableNMF"
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
COMMON = ("n_init", "max_time", "callback", "n_threads", "warm_start")
ONE_STEP = ("HierarchicalNMF-sequential",)  # ends at its start
FEW_STARTS = {"UnderapproximationNMF", "TriSymmetricNMF", "SemiNMF"}  # starts without random numbers


class Killed(BaseException):
    """What stops a process from outside."""


def plain(case, **more):
    return case.fit(case.draw(), **more)


def same(one, other):
    """Tell whether all fitted arrays of two models, and what happened, have the same bits."""
    a, b = estimators.factors(one), estimators.factors(other)
    assert a.keys() == b.keys()
    assert one.n_iter_ == other.n_iter_ and one.stopped_by_ == other.stopped_by_
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name], err_msg=name)
    for name in one.history_.keys() - {"seconds"}:
        np.testing.assert_array_equal(one.history_[name], other.history_[name], err_msg=name)
    np.testing.assert_array_equal(one.run_objectives_, other.run_objectives_)


def test_every_iterative_estimator_is_here_and_takes_all():
    for name in fastnmf.__all__:
        kind = getattr(fastnmf, name)
        if not (inspect.isclass(kind) and hasattr(kind, "fit")):
            continue
        known = inspect.signature(kind).parameters
        is_iterative = "max_iter" in known or "n_outer" in known
        assert is_iterative == (name in {case.kind for case in CASES}), name
        if is_iterative:
            assert set(COMMON) <= known.keys(), name
            assert {"checkpoint", "checkpoint_every"} <= inspect.signature(kind.fit).parameters.keys(), name


@every_case
def test_the_history_has_one_format(case):
    model = case.fitted
    history = model.history_
    names = {"iteration", "normalized_loss", "objective", "seconds"}
    assert names <= history.keys()
    assert all(
        isinstance(history[name], np.ndarray) and len(history[name]) == len(history["iteration"]) for name in names
    )
    first = history["iteration"][0]
    assert first in (0, 1) and history["iteration"][-1] in (model.n_iter_, 0)
    np.testing.assert_array_equal(history["iteration"], np.arange(first, first + len(history["iteration"])))
    assert (np.diff(history["seconds"]) >= 0).all() and np.isfinite(history["objective"]).all()
    if case.kind != "HierarchicalNMF":  # whose loss is that of all levels, and this one of the last
        assert model.normalized_loss_ == pytest.approx(history["normalized_loss"][-1], rel=1e-12)
    assert model.stopped_by_ in ("tol", "patience", "max_iter") and isinstance(model.converged_, bool | np.bool_)


@every_case
def test_a_callback_sees_the_losses_and_stops_the_fit(case):
    runs = []

    def watch(state):
        if state.run == len(runs):
            runs.append([])
        seen = runs[-1]
        seen.append((state.iteration, state.normalized_loss, state.seconds))
        parts = [part for part in (state.W, state.H, state.V) if part is not None]
        assert parts and all(np.isfinite(part).all() for part in parts)
        return state.iteration == 2

    model = plain(case, callback=watch)
    seen = runs[int(np.argmin(model.run_objectives_))]
    iterations, losses, seconds = map(np.array, zip(*seen, strict=True))
    history = model.history_
    np.testing.assert_array_equal(iterations, history["iteration"][: len(seen)])
    assert (np.diff(seconds) >= 0).all()
    # The last entry may be that of the exact W, found after the last iteration.
    np.testing.assert_allclose(losses[:-1], history["normalized_loss"][: len(seen)][:-1], rtol=1e-12)
    if iterations[-1] == 2 and not model.converged_:
        assert model.stopped_by_ == "callback" and not model.converged_
    else:  # it ended before
        assert model.stopped_by_ != "callback" and model.history_["iteration"][-1] <= 2


@every_case
def test_time_that_is_over_leaves_one_iteration(case):
    model, whole = plain(case, max_time=0), case.fitted
    assert model.history_["iteration"][-1] <= 1
    assert model.stopped_by_ == "max_time" or whole.history_["iteration"][-1] <= 1


@every_case
def test_the_best_of_several_starts_is_kept(case):
    model = plain(case, n_init=3)
    more = 1 if case.kind in ("NMF", "StratifiedNMF") and case.parameters.get("solver") != "mu" else 0
    more += str(case) == "TriSymmetricNMF"  # anchors, after the others
    assert 1 <= len(model.run_objectives_) <= 3 + more
    first = plain(case, n_init=1) if case.make().n_init != 1 else case.fitted
    assert first.run_objectives_.shape == (1 + more,)
    if case.kind not in ("HierarchicalNMF",):
        assert first.run_objectives_[0] == model.run_objectives_[0]
    if case.kind in FEW_STARTS | {"BinaryNMF", "BooleanNMF"}:
        return
    assert len(model.run_objectives_) == 3 + more  # nndsvd
    best = int(np.argmin(model.run_objectives_))
    if best == 0:
        for name, array in estimators.factors(first).items():
            np.testing.assert_array_equal(array, estimators.factors(model)[name])
    runs = []
    plain(case, n_init=3, callback=lambda state: runs.append(state.run) and None)
    assert sorted(set(runs)) == list(range(3 + more))


@every_case
def test_a_fit_that_is_killed_goes_on_to_the_same_bits(case, tmp_path):
    X, state = case.draw(), tmp_path / "state.npz"
    seen = []
    whole = case.fit(X, callback=lambda now: seen.append(now.iteration))
    last = seen[-1]
    for until in sorted({0, min(1, last), min(2, last), last // 2, last}):

        def kill(now, until=until):
            if now.iteration >= until:
                raise Killed

        with pytest.raises(Killed):
            case.make(callback=kill).fit(X, **case.given(X), checkpoint=state, checkpoint_every=0)
    again = case.make().fit(X, **case.given(X), checkpoint=state, checkpoint_every=0)
    same(again, whole)
    same(case.make().fit(X, **case.given(X), checkpoint=state), whole)  # at its end it returns at once


@every_case
def test_several_runs_go_on_too(case, tmp_path):
    X, state = case.draw(), tmp_path / "state.npz"
    whole = case.fit(X, n_init=2)
    for run, until in ((0, 2), (1, 1)):

        def kill(now, run=run, until=until):
            if (now.run, now.iteration) == (run, until):
                raise Killed

        try:
            case.make(callback=kill, n_init=2).fit(X, **case.given(X), checkpoint=state, checkpoint_every=0)
        except Killed:
            pass
    again = case.make(n_init=2).fit(X, **case.given(X), checkpoint=state, checkpoint_every=0)
    same(again, whole)


@every_case
def test_a_checkpoint_of_other_data_is_refused(case, tmp_path):
    X, state = case.draw(), tmp_path / "state.npz"
    case.make().fit(X, **case.given(X), checkpoint=state)
    before = archive.read(state, "checkpoint")["fit"]
    other = case.draw(seed=1)
    with pytest.raises(ValueError, match="is the checkpoint of another fit: "):
        case.make().fit(other, **case.given(other), checkpoint=state)
    assert archive.read(state, "checkpoint")["fit"] == before


def test_threads_do_not_change_bits():
    """Of the other models test_estimators.py compares them."""
    same(plain(META, n_threads=1), plain(META, n_threads=2))


@every_case
def test_a_warm_start_goes_on(case):
    """The second fit begins where the first ended: its first known loss is hardly above that of the first fit's end."""
    X = case.draw()
    model = case.make(warm_start=True).fit(X, **case.given(X))
    before, n_iter = model.normalized_loss_, model.n_iter_
    model.fit(X, **case.given(X))
    if str(case) in ONE_STEP or case.kind in ("UnderapproximationNMF", "MetaNMF"):
        return  # one begins anew, the others take products or components into another problem
    assert n_iter >= 1 and model.normalized_loss_ <= before * (1 + 1e-3) + 1e-12


@every_case
def test_one_sentence_where_a_parameter_is_not_valid(case):
    X = case.draw()
    for name, value, words in (
        ("n_init", 0, "n_init=0 is not valid; expected an integer >= 1"),
        ("max_time", -1, "max_time=-1 is not valid; expected None or a number of seconds >= 0"),
        ("callback", 3, "callback=3 is not valid; expected None or a function"),
        ("n_threads", 0, "n_threads=0 is not valid; expected an integer >= 1"),
        ("warm_start", 2, "warm_start=2 is not valid; expected True or False"),
    ):
        with pytest.raises(ValueError, match=words):
            case.make(**{name: value}).fit(X, **case.given(X))
    with pytest.raises(TypeError, match="checkpoint=3 is not a path"):
        case.make().fit(X, **case.given(X), checkpoint=3)


@pytest.mark.parametrize("name", ["n_init", "max_time", "callback", "warm_start"])
def test_a_model_that_does_not_iterate_takes_none_of_it(name):
    with pytest.raises(TypeError, match=name):
        fastnmf.SeparableNMF(2, **{name: 1})
    with pytest.raises(ValueError, match="SeparableNMF picks its anchors one after another and does not iterate"):
        fastnmf.SeparableNMF(2).fit(estimators.counts(), checkpoint="state.npz")


def test_a_subclass_with_other_parameters_keeps_those_of_its_base():
    """What it passes on to the base counts, though it takes it not itself; it may add parameters, and ask for some."""

    class Topics(NMF):
        def __init__(self, n_components, words=10):
            super().__init__(n_components, max_iter=7, tol=0, random_state=0)
            self.words = words

    X = estimators.counts()
    model, plain = Topics(3).fit(X), NMF(3, max_iter=7, tol=0, random_state=0).fit(X)
    assert model.n_iter_ == 7 and model.words == 10
    np.testing.assert_array_equal(model.components_, plain.components_)
    np.testing.assert_array_equal(model.transform(X), plain.transform(X))
