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
    if not re.search(r"['\"]fastnmf\.", text := path.read_text("utf-8")):
        return []  # parsing takes longer
    strings = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
    return sorted({string for string in strings if isinstance(string, str) and DOTTED.fullmatch(string)})


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


def test_dotted_names_exist():
    cases = [(path.name, name) for path in FILES if path.name not in MADE_UP for name in names_in(path)]
    assert len(cases) > 3
    for file, name in cases:
        assert resolve(name) is not None, (file, name)


def test_wrong_ones_are_found():
    assert names_in(Path(__file__)) == ["fastnmf.core.solve"]
    with pytest.raises((AttributeError, ImportError)):
        resolve("fastnmf.core.solve")
