"""Show the progress of long fits: a bar on a terminal if `rich` is installed, otherwise lines on standard error."""

import sys
import time
from contextlib import contextmanager

from fastnmf.kernels.jit import on_compile

LINE_EVERY = 2.0  # seconds between two lines where no bar can be drawn


class _Lines:
    """Print a line at the start, every two seconds, and at the end."""

    def __init__(self, name, max_iter):
        self.name, self.max_iter, self.last, self.unsaid = name, max_iter, -LINE_EVERY, None

    def begin(self, name):
        """Continue under another name."""
        self.finish()
        self.name, self.last = name, -LINE_EVERY

    def __call__(self, iteration, loss, seconds):
        line = f"{self.name}: iteration {iteration}/{self.max_iter}, normalized loss {loss:.6f}, {seconds:.1f} s"
        self.unsaid = line
        if seconds - self.last >= LINE_EVERY:
            self.last = seconds
            self.finish()

    def finish(self):
        if self.unsaid is not None:
            say(self.unsaid)
            self.unsaid = None


class _Bar:
    """Update a bar of `rich` at most ten times a second."""

    def __init__(self, bar, task):
        self.bar, self.task, self.last = bar, task, -1.0

    def begin(self, name):
        """Continue under another name."""
        self.last = -1.0
        self.bar.update(self.task, description=name, completed=0)

    def __call__(self, iteration, loss, seconds):
        if seconds - self.last >= 0.1:
            self.last = seconds
            self.bar.update(self.task, completed=iteration, loss=f"{loss:.6f}")


def say(text):
    """Print one line on standard error."""
    print(text, file=sys.stderr, flush=True)


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
    """Yield a callback for `fastnmf.core.iterate.solve` that shows the progress of a fit, or None if verbose is 0."""
    if not verbose:
        yield None
        return
    bar = _rich_bar() if sys.stderr.isatty() else None
    with compile_notice():
        if bar is None:
            lines = _Lines(name, max_iter)
            yield lines
            lines.finish()
            return
        with bar:
            yield _Bar(bar, bar.add_task(name, total=max_iter, loss="..."))


def _rich_bar(fields="loss {task.fields[loss]}"):
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        return None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(fields),
    )
    return Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True)


@contextmanager
def counting(name, total, verbose):
    """Yield a function to call after each of `total` fits; if verbose, it shows how many are done."""
    if not verbose:
        yield lambda: None
        return
    bar, began, done = _rich_bar(fields="") if sys.stderr.isatty() else None, time.perf_counter(), 0
    last = began

    def line():
        say(f"{name}: {done} of {total} fits, {time.perf_counter() - began:.1f} s")

    def count():
        nonlocal done, last
        done += 1
        if bar is not None:
            bar.update(task, completed=done)
        elif time.perf_counter() - last >= LINE_EVERY and done < total:
            last = time.perf_counter()
            line()

    with compile_notice():
        if bar is None:
            yield count
            line()
            return
        with bar:
            task = bar.add_task(name, total=total)
            yield count
