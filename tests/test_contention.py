"""Which launches let kernels run in one thread: those that end late because a thread had to wait for a busy core."""

import time

import numpy as np
import pytest

from fastnmf.kernels import contention, jit, rows

IDLE = 0.001, 0.0019  # seconds of a launch, and of the processors meanwhile
LATE = 0.005, 0.004  # one core for both threads, and waits
SHARED = 0.0015, 0.0021  # a core, and most of half of another one: still faster than alone


@pytest.fixture
def judge(monkeypatch):
    monkeypatch.setattr(contention, "IS_MEASURED", True)
    return contention.Contention()


def note(judge, launch):
    """Note launches of one kind for one window; return the seconds of the pause that follows, 0 for none."""
    judge.paused_until, before, noted = 0.0, time.perf_counter(), 0.0
    while noted < contention.WINDOW:
        judge.note(*launch)
        noted += launch[0]
    return max(judge.paused_until - before, 0.0)


@pytest.mark.parametrize("launch", [IDLE, SHARED])
def test_threads_that_help_are_used(judge, launch):
    assert note(judge, launch) == 0.0 and not judge.is_paused


def test_pauses_grow_while_threads_come_late_and_begin_short_again(judge):
    pauses = [note(judge, LATE) for _ in range(7)]
    assert judge.is_paused
    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0], abs=0.02)
    assert note(judge, IDLE) == 0.0 and note(judge, LATE) == pytest.approx(0.05, abs=0.02)


def test_one_late_launch_decides_nothing(judge):
    for launch in [IDLE] * 10 + [LATE] + [IDLE] * 30:
        judge.note(*launch)
    assert not judge.is_paused


def test_coarse_clocks_judge_nothing(judge, monkeypatch):
    monkeypatch.setattr(contention, "IS_MEASURED", False)
    assert note(judge, LATE) == 0.0


@pytest.fixture
def gram_in_threads(monkeypatch):
    """Run a kernel on four tasks; return its result and what was noted of launches."""
    if jit.thread_count() < 2:
        pytest.skip("Numba has one thread here, so nothing is launched in parallel")
    noted = []
    monkeypatch.setattr(jit, "CONTENTION", contention.Contention())
    monkeypatch.setattr(contention.Contention, "note", lambda self, *launch: noted.append(launch))

    def run():
        parts = np.zeros((4, 4, 4))
        rows.rows_gram(np.arange(5), np.ones((4, 4)), parts)
        return parts.tolist(), noted

    return run


def test_kernels_note_their_launches_and_run_alone_in_a_pause(gram_in_threads):
    found, noted = gram_in_threads()
    ((seconds, processor_seconds),) = noted
    assert seconds > 0.0 and processor_seconds >= 0.0
    jit.CONTENTION.paused_until = time.perf_counter() + 60.0
    assert gram_in_threads() == (found, noted) and len(noted) == 1
