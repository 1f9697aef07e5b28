"""Every dotted name of the package in strings of the tests, the benchmarks and the documentation exists."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOTTED = re.compile(r"fastnmf(?:\.[A-Za-z_]\w*)+")
FILES = [p for folder in ("tests", "bench", "docs") for p in sorted((ROOT / folder).rglob("*.py"))]
MADE_UP = {"test_architecture.py", "test_jit.py", Path(__file__).name}  # which hold names that do not exist


def names_in(path):
    """Return the strings of a file that are a dotted name of the package as a whole."""
    strings = (n.value for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Constant))
    return sorted({text for text in strings if isinstance(text, str) and DOTTED.fullmatch(text)})


def resolve(name):
    """Return what a dotted name stands for; raise AttributeError or ImportError where there is nothing."""
    parts = name.split(".")
    for n_modules in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n_modules]))
        except ModuleNotFoundError:
            continue
        for part in parts[n_modules:]:
            found = getattr(found, part)
        return found
    raise ImportError(name)


CASES = [(path.relative_to(ROOT).as_posix(), name) for path in FILES for name in names_in(path)]


@pytest.mark.parametrize(("path", "name"), [case for case in CASES if Path(case[0]).name not in MADE_UP])
def test_a_dotted_name_exists(path, name):
    resolve(name)


def test_there_are_some_and_wrong_ones_are_found():
    assert len(CASES) > 3
    with pytest.raises((AttributeError, ImportError)):
        resolve("fastnmf.core.solve")
