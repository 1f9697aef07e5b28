"""What a long fit shows: the distance to its stopping rule, its pace, and how long it will still take."""

import os
import pty
import re
import sys

import numpy as np
import pytest

from fastnmf import NMF, MiniBatchNMF
from fastnmf.core import progress
from fastnmf.core.iterate import decrease_ahead

X = np.random.default_rng(0).random((60, 30))


def distances_of(model):
    """Return the distances that a display is told, one an iteration."""
    told = []

    class Recorder(progress._FitProgress):
        def __call__(self, iteration, loss, seconds, distance=None):
            told.append(distance())

    place = progress._Lines()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "_FitProgress", lambda *given: Recorder(place, *given[1:]))
        model.fit(X)
    return told


def test_the_distance_is_that_of_the_rule():
    """It is above 1 until the iteration in which the fit stops by tol, and of the forecast itself."""
    model = NMF(3, init="random", random_state=0, tol=1e-4, verbose=1)
    told = distances_of(model)
    assert model.stopped_by_ == "tol" and len(told) == model.n_iter_ + 1
    assert told[:6] == [None] * 6 and told[-1] <= 1
    assert all(each is None or each > 1 for each in told[:-1])
    best = np.minimum.accumulate(model.history_["objective"]).tolist()
    best = best[:-1]  # the last value is that of the exact W, which replaces the one of the last iteration
    assert told[-2] == pytest.approx(decrease_ahead(best) / (1e-4 * best[-1]), rel=1e-9)


def test_the_distance_is_not_known_without_a_tolerance_or_with_another_rule():
    assert set(distances_of(NMF(3, init="random", random_state=0, tol=0, max_iter=9, verbose=1))) == {None}
    assert set(distances_of(MiniBatchNMF(3, random_state=0, max_iter=9, verbose=1))) == {None}


class Page(progress._Lines):
    """Place that keeps what it is told to show."""

    every = 0.0

    def __init__(self):
        self.texts = []

    def write(self, text, share, short=None):
        self.texts.append((text, share))


def test_the_forecast_is_that_of_a_power_law():
    """Of a distance of 64 / iteration² at 0.5 s per iteration, the rule applies after 8 iterations."""
    page = Page()
    course = progress._FitProgress(page, "NMF", 200)
    for iteration in range(7):
        course(iteration, 0.5, 10 + 0.5 * iteration, lambda at=iteration: 64 / at**2 if at else None)
    text, share = page.texts[-1]
    assert text.startswith("NMF: iteration 6/200, normalized loss 0.500000, 13.0 s, 0.5 s per iteration, ")
    assert text.endswith("1.8 x tol from stopping, about 1.0 s left") and share == 6 / 200
    course(8, 0.5, 14.0, lambda: 1.0)
    assert page.texts[-1][0].endswith("0.5 s per iteration, at the tolerance")
    assert [page.texts[i][0][-6:] for i in (0, 1)] == ["10.0 s", "10.5 s"], "the first iteration may be a slow one"


@pytest.mark.parametrize("distance", [1e300, 2.0])
def test_without_a_trend_the_limit_is_max_iter(distance):
    page = Page()
    course = progress._FitProgress(page, "NMF", 12)
    for iteration in range(9):
        course(iteration, 0.5, float(iteration), lambda: distance)
    assert page.texts[-1][0].endswith("at most 4.0 s left")


def test_durations_are_short():
    shown = {0.42: "0.4 s", 12.3: "12 s", 600.0: "10 min", 7200.0: "2.0 h"}
    assert {seconds: progress._duration(seconds) for seconds in shown} == shown


WIDE = r"\r\x1b\[K\[#{20}\] NMF: iteration 3/3, normalized loss 0\.\d{6}, "
NARROW = r"\r\x1b\[K\[#{10}\] 3/3 loss 0\.\d{5}, [\d.e-]+ s/it\r"


@pytest.mark.parametrize("columns, wanted", [("200", WIDE), ("60", NARROW)])
def test_a_terminal_shows_a_bar_that_is_gone_at_the_end(monkeypatch, columns, wanted):
    host, terminal = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", columns)
    with os.fdopen(terminal, "w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        NMF(2, init="random", random_state=0, max_iter=3, tol=0, verbose=1).fit(X)
        monkeypatch.undo()
    seen = ""
    with pytest.raises(OSError):  # the other end is closed
        while True:
            seen += os.read(host, 10_000).decode()
    os.close(host)
    assert re.search(wanted, seen), seen
    assert seen.endswith("\r\x1b[K") and "\n" not in seen.replace("...\r\n", "")  # compiling may be told of


def test_a_notebook_updates_one_output():
    """IPython's `display` returns a handle; every update replaces what it shows, with the text escaped."""
    shown = []

    class Handle:
        def update(self, page, raw):
            assert raw
            shown.append(page)

    def display(page, raw, display_id):
        assert raw and display_id
        return Handle()

    course = progress._FitProgress(progress._Notebook(display), "A <model>", 10)
    course(5, 0.25, 1.0)
    course.finish()
    assert shown[-1]["text/plain"].startswith("A <model>: iteration 5/10, normalized loss 0.250000, 1.0 s")
    assert shown[-1]["text/html"].startswith('<progress value="0.500"></progress> A &lt;model&gt;: iteration 5/10')
