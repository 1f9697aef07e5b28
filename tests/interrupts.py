"""Interrupt the package between two of its lines: Ctrl-C at any moment, but the same moment in every run.

A trace counts the lines of the package that a call executes, and raises KeyboardInterrupt at the one with a given
number.
"""

import os
import sys
from contextlib import contextmanager

import numpy as np
import scipy.sparse as sp

import fastnmf
from fastnmf.kernels import blas, jit

HOME = os.path.dirname(fastnmf.__file__) + os.sep


def is_locked():
    """Tell whether a lock of the package is held."""
    return jit._LAUNCH.locked() or blas.single_threaded_blas.lock.locked()


@contextmanager
def counting_lines(stop=None):
    """Yield a list whose length is the number of lines executed so far; interrupt at the line with number `stop`."""
    seen = []

    def local(frame, event, arg):
        if event == "line":
            seen.append(None)
            if len(seen) == stop:
                raise KeyboardInterrupt
        return local

    before = sys.gettrace()
    sys.settrace(lambda frame, event, arg: local if frame.f_code.co_filename.startswith(HOME) else None)
    try:
        yield seen
    finally:
        sys.settrace(before)


def count_lines(call):
    """Return how many lines of the package a call executes."""
    with counting_lines() as seen:
        call()
    return len(seen)


def interrupt(call, stop):
    """Run a call that is interrupted at line `stop`; tell whether it was."""
    try:
        with counting_lines(stop):
            call()
    except KeyboardInterrupt:
        return True
    return False


def state(value):
    """Return what a fitted estimator, or a part of it, holds beside its parameters, to be compared; no seconds."""
    if hasattr(value, "get_params"):
        found = vars(value).keys() - value.get_params(deep=False).keys()
        return type(value).__name__, {name: state(getattr(value, name)) for name in sorted(found)}
    if isinstance(value, dict):
        return {name: state(part) for name, part in value.items() if name != "seconds"}
    if isinstance(value, (list, tuple)):
        return [state(part) for part in value]
    if sp.issparse(value):
        return state(value.tocsr().data), state(value.tocsr().indices)
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, np.random.Generator):
        return str(value.bit_generator.state)
    if hasattr(value, "__dict__") and not callable(value):
        return state({name: part for name, part in vars(value).items() if not name.startswith("_table")})
    return repr(value)
