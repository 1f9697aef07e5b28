"""`make quick` runs something of every estimator, and what `quick.py` names is there."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import quick

from fastnmf.models.catalogue import MODELS


def test_every_estimator_is_fitted():
    options = ["-p", "no:xdist", "-p", "no:cacheprovider", "-m", "quick", "--co", "-q"]
    command, root = [sys.executable, "-W", "ignore", "-m", "pytest", *options], Path(__file__).resolve().parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = [line.removeprefix("tests/").partition("::") for line in done.stdout.splitlines() if "::" in line]
    assert {"test_golden.py", "test_kernels.py", "test_words.py"} <= {file for file, _, _ in found}
    fits = [name.split("[")[1] for file, _, name in found if file in ("test_estimators.py", "test_golden.py")]
    fitted = {case.rstrip("]").split("-")[0] for case in fits}
    assert {entry.name for entry in MODELS if entry.name[0].isupper()} <= fitted


def test_a_line_that_names_nothing_is_an_error(monkeypatch):
    marks = []
    item = SimpleNamespace(path=Path("test_words.py"), name="test_words_of_code", add_marker=marks.append)
    config = SimpleNamespace(option=SimpleNamespace(markexpr="quick"))
    monkeypatch.setattr(quick, "QUICK", {"test_words.py": ("test_words",)})
    quick.mark(config, [item])
    assert len(marks) == 1
    monkeypatch.setattr(quick, "QUICK", {"test_words.py": ("test_words", "test_that_was_renamed")})
    with pytest.raises(pytest.UsageError, match="test_that_was_renamed"):
        quick.mark(config, [item])
