"""Modules of bench/, which is no package, for the tests of it."""

import contextlib
import importlib
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent / "bench"


@contextlib.contextmanager
def modules(names, *folders):
    """Give modules of bench/, by name, from these folders of it; paths and modules are as before afterwards."""
    path, before = list(sys.path), {name: sys.modules.pop(name, None) for name in names}
    sys.path[:0] = [str(BENCH / folder) for folder in folders]
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path[:] = path
        for name in names:
            sys.modules.pop(name, None)
            if before[name] is not None:
                sys.modules[name] = before[name]
