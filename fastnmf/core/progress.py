"""Show the progress of long fits on standard error: a bar on a terminal or in a notebook, lines of text elsewhere."""

import html
import math
import os
import shutil
import sys
import time
from contextlib import closing, contextmanager

from fastnmf.kernels.jit import on_compile

LINE_EVERY = 2.0  # seconds between two lines where no bar can be drawn
DRAW_EVERY = 0.1  # seconds between two drawings of a bar
WIDTH = 20  # characters of a bar
_CLEAR = "\r\x1b[K"  # go to the begin of the line of a terminal, and empty it


class _Lines:
    """Print what is shown as lines."""

    every = LINE_EVERY

    def write(self, text, share, short=None):
        """Show a text, and a bar of which a `share` is full; or `short`, where there is no room for the text."""
        say(text)

    def close(self):
        """Leave the place to what comes after it."""


class _Terminal(_Lines):
    """Draw a bar in the last line of a terminal, and take it away at the end."""

    every = DRAW_EVERY

    def write(self, text, share, short=None):
        """Show a text, and a bar of which a `share` is full; or `short`, where there is no room for the text."""
        columns = shutil.get_terminal_size().columns
        width = WIDTH if columns > 100 else WIDTH // 2
        full, room = round(width * min(share, 1.0)), columns - width - 4
        text = text if short is None or len(text) <= room else short
        print(f"{_CLEAR}[{'#' * full}{'-' * (width - full)}] {text[:room]}", end="", file=sys.stderr, flush=True)

    def close(self):
        """Leave the place to what comes after it."""
        print(_CLEAR, end="", file=sys.stderr, flush=True)


class _Notebook(_Lines):
    """Draw a bar in the output of a cell, by the function `display` of IPython."""

    every = 2 * DRAW_EVERY  # each drawing is a message

    def __init__(self, display):
        self.handle = display({"text/plain": ""}, raw=True, display_id=True)

    def write(self, text, share, short=None):
        """Show a text, and a bar of which a `share` is full; there is always room for the text."""
        page = f'<progress value="{min(share, 1.0):.3f}"></progress> {html.escape(text)}'
        self.handle.update({"text/plain": text, "text/html": page}, raw=True)


def _display():
    """Return where progress is shown."""
    if "IPython" in sys.modules:  # a notebook has imported it
        from IPython import get_ipython
        from IPython.display import display

        if hasattr(get_ipython(), "kernel"):
            return _Notebook(display)
    return _Terminal() if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else _Lines()


class _FitProgress:
    """Describe how far a fit is, and how long it will take.

    Parameters
    ----------
    place : _Lines
    name : str
    max_iter : int
    """

    def __init__(self, place, name, max_iter):
        self.place, self.max_iter, self.unsaid = place, max_iter, None
        self.begin(name)

    def begin(self, name):
        """Continue with another fit."""
        self.finish()
        self.name, self.last, self.distances = name, -LINE_EVERY, []
        self.base, self.is_paced = None, False

    def __call__(self, iteration, loss, seconds, distance=None):
        self.unsaid = (iteration, loss, seconds, distance)
        if self.base is None or iteration == self.base[0] + 1 and not self.is_paced:
            self.is_paced = self.base is not None  # the first iteration may have compiled kernels, and does not count
            self.base = (iteration, seconds)
        if seconds - self.last >= self.place.every:
            self.last = seconds
            self.finish()

    def finish(self):
        """Show the last iteration, if it was not shown."""
        if self.unsaid is not None:
            (iteration, loss, seconds, distance), self.unsaid = self.unsaid, None
            parts = [f"{self.name}: iteration {iteration}/{self.max_iter}, normalized loss {loss:.6f}, {seconds:.1f} s"]
            parts += self._forecast(iteration, seconds, None if distance is None else distance())
            short = [f"{iteration}/{self.max_iter} loss {loss:.5f}", *parts[1:]]
            for word, shorter in ((" per iteration", "/it"), (" from stopping", ""), ("about ", "")):
                short = [part.replace(word, shorter) for part in short]
            self.place.write(", ".join(parts), iteration / self.max_iter, ", ".join(short))

    def _forecast(self, iteration, seconds, distance):
        """Return what is known of the rest of the fit, as parts of a sentence.

        Parameters
        ----------
        iteration : int
        seconds : float
        distance : float, or None
            As `fastnmf.core.iterate.Solver.distance` returns it.

        Returns
        -------
        list of str
        """
        began, before = self.base
        if iteration == began:
            return []
        pace, left, about = (seconds - before) / (iteration - began), self.max_iter - iteration, "about"
        parts = [f"{pace:.2g} s per iteration"]
        if distance is not None:
            parts.append(f"{distance:.1f} x tol from stopping" if distance > 1 else "at the tolerance")
            expected = self._iterations_left(iteration, distance)
            left, about = (left, "at most") if expected is None or expected > left else (expected, about)
        return [*parts, f"{about} {_duration(left * pace)} left"] if left > 0 else parts

    def _iterations_left(self, iteration, distance):
        """Return after how many iterations the distance, as a power law of the iteration, will be 1, or None."""
        if distance <= 1:
            return 0
        self.distances.append((iteration, distance))
        earlier = [each for each in self.distances if each[0] <= iteration * 2 / 3] or self.distances[:1]
        at, before = earlier[-1]
        if at == iteration or not before > distance:
            return None
        growth = math.log(distance) * math.log(iteration / at) / math.log(before / distance)
        return iteration * math.expm1(min(growth, 50.0))


def _duration(seconds):
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def say(text):
    """Print one line on standard error, in place of a bar that stands there."""
    print(f"{_CLEAR if sys.stderr.isatty() else ''}{text}", file=sys.stderr, flush=True)


@contextmanager
def waiting(text):
    """Show a text on a terminal while the block runs, which cannot tell how far it is."""
    is_terminal = sys.stderr.isatty()
    print(text if is_terminal else "", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print(_CLEAR if is_terminal else "", end="", file=sys.stderr, flush=True)


@contextmanager
def compile_notice():
    """Print one line when the first kernel is compiled."""
    began = []

    def note(_):
        if not began:
            began.append(time.perf_counter())
            say("Compiling kernels for the first time on this machine; later runs load them from the cache ...")

    with on_compile(note):
        yield


@contextmanager
def progress(name, max_iter, verbose):
    """Yield a callback for `fastnmf.core.iterate.iterate` that shows the progress of a fit, or None if verbose is 0."""
    if not verbose:
        yield None
        return
    with closing(_display()) as place, compile_notice():
        shown = _FitProgress(place, name, max_iter)
        yield shown
        shown.finish()


@contextmanager
def counting(name, total, verbose):
    """Yield a function to call after each of `total` fits; if verbose, it shows how many are done."""
    if not verbose:
        yield lambda: None
        return
    place, began, done = _display(), time.perf_counter(), 0
    last = began

    def show():
        seconds = time.perf_counter() - began
        left = f", about {_duration(seconds / done * (total - done))} left" if 0 < done < total else ""
        place.write(f"{name}: {done} of {total} fits, {seconds:.1f} s{left}", done / total)

    def count():
        nonlocal done, last
        done += 1
        if time.perf_counter() - last >= place.every and done < total:
            last = time.perf_counter()
            show()

    with closing(place), compile_notice():
        yield count
        show()
