"""Ctrl-C at any moment: the model is the old one or the new one, whole, and the next fit runs as if nothing had been.

FASTNMF_MOMENTS=1000 tries as many moments, with small data on two threads, too (``make fuzz``); 20 otherwise.
"""

import os
import sys
import warnings

import numba
import numpy as np
import pytest
import scipy.sparse as sp
import threadpoolctl
from estimators import CASES, again
from interrupts import count_lines, interrupt, is_locked, state

from fastnmf import MetaNMF, MiniBatchNMF, MiniBatchStratifiedNMF, StratifiedNMF
from fastnmf.kernels import jit

N_MOMENTS = int(os.environ.get("FASTNMF_MOMENTS", "20"))
IS_PARALLEL = "FASTNMF_MOMENTS" in os.environ and numba.get_num_threads() > 1 and not numba.config.DISABLE_JIT
LAST = 80  # lines before the end of a fit, where the attributes are set
RNG = np.random.default_rng(0)
MOMENTS = [  # (case, where): every other one among the last lines, the others anywhere
    (CASES[int(at)], float(share) if i % 2 else int(last))
    for i, (at, share, last) in enumerate(
        zip(
            np.linspace(0, len(CASES) - 1, N_MOMENTS).round(),
            RNG.random(N_MOMENTS),
            RNG.integers(0, LAST, N_MOMENTS),
            strict=True,
        )
    )
]
SETTINGS = [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """Check that threads and locks are as they were, whatever a test has interrupted."""
    before = numba.get_num_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    assert numba.get_num_threads() == before and jit.thread_count() == before
    assert not is_locked()
    now = [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    assert now == SETTINGS


def other_data(case):
    """Return data of the case with other entries and, where it takes them, more columns."""
    is_bound = "dictionary" in case.parameters or case.is_symmetric
    return case.draw(seed=1) if is_bound else case.draw(n_columns=11, seed=1)


def refit(case, model):
    """Return a function that fits a model again, to other data and with another number of components."""
    X = other_data(case)
    return lambda: model.set_params(n_components=case.single).fit(X, **case.given(X))


def line_at(where, lines):
    """Return the number of a line: `where` lines before the last one, or at a share of all."""
    return max(1, lines - where if isinstance(where, int) else int(where * lines))


@pytest.fixture
def launches(monkeypatch):
    """Count launches of kernels in several threads; with `IS_PARALLEL` small data launch them, too."""
    counted, whole = [], jit.Kernel._launch
    monkeypatch.setattr(jit.Kernel, "_launch", lambda *args: (counted.append(None), whole(*args))[1])
    if IS_PARALLEL:
        monkeypatch.setattr(jit, "SERIAL_BELOW", 0)
    return counted


WHOLE = {}  # what `whole_fits` returned, by the number of the case


def whole_fits(case, launches):
    """Return the states of a case after a fit and after another one, and the lines and launches of the latter."""
    at = CASES.index(case)
    if at not in WHOLE:
        model = case.fit(case.draw())
        old = state(model)
        refit(case, model)()
        model = case.fit(case.draw())
        lines = count_lines(refit(case, model))  # of a second one: the first reads the options
        launches.clear()
        refit(case, model)()
        WHOLE[at] = old, state(model), lines, len(launches)
    return WHOLE[at]


@pytest.mark.parametrize(("case", "where"), MOMENTS, ids=str)
def test_a_refit_is_interrupted(case, where, launches):
    X = case.draw()
    old, new, lines, n_launched = whole_fits(case, launches)
    model = case.fit(X)
    assert interrupt(refit(case, model), line_at(where, lines))
    assert state(model) in (old, new)
    if hasattr(model, "transform"):
        X = X if state(model) == old else other_data(case)
        assert np.isfinite(np.asarray(model.transform(X, **again(case, X)))).all()
    launches.clear()
    refit(case, model)()
    assert state(model) == new and len(launches) == n_launched


@pytest.mark.parametrize("where", [1, 2, 5, 12, 30, 60, 150, 0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("kind", [MiniBatchNMF, MiniBatchStratifiedNMF, StratifiedNMF])
@pytest.mark.parametrize("how", ["partial_fit", "fit_blocks"])
def test_a_batch_is_interrupted(kind, how, where):
    if how == "fit_blocks" and kind is StratifiedNMF:
        kind = MiniBatchNMF
    X = np.random.default_rng(0).random((24, 7))

    def make():
        return kind(2, random_state=0).partial_fit(X[:8])

    def go_on(model):
        return lambda: model.partial_fit(X[8:16]) if how == "partial_fit" else model.fit_blocks([X[8:16], X[16:]])

    new, model = make(), make()
    old, lines = state(make()), count_lines(go_on(new))
    assert interrupt(go_on(model), line_at(where, lines))
    assert state(model) in (old, state(new))
    if state(model) == old:
        go_on(model)()
    assert state(model) == state(new)


@pytest.mark.parametrize("how", ["transform", "score", "reconstruction_errors", "predict_stratum", "explain"])
def test_reading_a_model_is_interrupted(how):
    X, strata = np.random.default_rng(0).random((24, 7)), np.arange(24) % 3
    model = StratifiedNMF(2, random_state=0, max_iter=5).fit(X, strata=strata)
    before, more = state(model), {} if how == "predict_stratum" else {"strata": strata}

    def read():
        return getattr(model, how)(X, **more)

    wanted, lines = repr(read()), count_lines(read)
    for where in np.linspace(1, lines, 12).astype(int):
        assert interrupt(read, where)
        assert state(model) == before and repr(read()) == wanted


def test_a_meta_fit_is_interrupted_on_several_threads():
    X = np.random.default_rng(0).random((60, 7))

    def make():
        return MetaNMF(n_tasks=2, task_size=20, n_outer=2, n_inner=3, n_jobs=2, random_state=0)

    model, new = make().fit(X), make().fit(X[:50])
    before, lines = state(model), count_lines(lambda: make().fit(X[:50]))
    assert interrupt(lambda: model.fit(X[:50]), lines // 2)
    assert state(model) in (before, state(new))


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is launched under NUMBA_DISABLE_JIT=1")
@pytest.mark.skipif(numba.get_num_threads() < 2, reason="one thread launches nothing in parallel")
def test_an_interrupt_leaves_no_launch_lock(monkeypatch):
    X = sp.random_array((3000, 800), density=0.02, rng=np.random.default_rng(0), format="csr")

    def fit():
        return StratifiedNMF(8, random_state=0, max_iter=2, tol=0).fit(X, strata=np.arange(3000) % 5)

    wanted, launches = state(fit()), []
    places = set()
    original = jit.Kernel.__call__

    def noted(kernel, tasks, *args):
        launches.append(len(tasks) > 2 and not jit._LAUNCH.locked())
        return original(kernel, tasks, *args)

    monkeypatch.setattr(jit.Kernel, "__call__", noted)
    while interrupt_where_a_lock_was_taken(fit, places):
        assert not is_locked()
    assert places
    launches.clear()
    assert state(fit()) == wanted
    assert any(launches)
    jit.environment()  # takes the lock itself


def interrupt_where_a_lock_was_taken(call, places):
    """Interrupt a call on the first line after a lock was taken that is not in `places` yet; tell whether it was."""
    was_locked, hit = [False], []

    def local(frame, event, arg):
        now, place = is_locked(), (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and now and not was_locked[0] and not hit and place not in places:
            places.add(place)
            hit.append(place)
            raise KeyboardInterrupt
        was_locked[0] = now
        return local

    home = os.path.dirname(jit.__file__).removesuffix("kernels")
    sys.settrace(lambda frame, event, arg: local if frame.f_code.co_filename.startswith(home) else None)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return bool(hit)
