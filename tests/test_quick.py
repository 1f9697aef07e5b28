"""`make quick` runs something of every estimator, and what `quick.py` names is there."""

import subprocess
import sys
from pathlib import Path

from fastnmf.models.catalogue import MODELS


def collected(*code):
    """Return what ``pytest -m quick`` would run, one name a line, after some code."""
    lines = ["import sys", f"sys.path.insert(0, {str(Path(__file__).parent)!r})", "import pytest", *code]
    lines.append('sys.exit(pytest.main(["-p", "no:xdist", "-p", "no:cacheprovider", "-m", "quick", "--co", "-q"]))')
    command, root = [sys.executable, "-W", "ignore", "-c", "\n".join(lines)], Path(__file__).resolve().parent.parent
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)


def test_every_estimator_is_fitted():
    done = collected()
    assert done.returncode == 0, done.stdout + done.stderr
    found = [line.removeprefix("tests/").partition("::") for line in done.stdout.splitlines() if "::" in line]
    assert {"test_golden.py", "test_kernels.py", "test_words.py"} <= {file for file, _, _ in found}
    fits = [name.split("[")[1] for file, _, name in found if file in ("test_estimators.py", "test_golden.py")]
    fitted = {case.rstrip("]").split("-")[0] for case in fits}
    assert {entry.name for entry in MODELS if entry.name[0].isupper()} <= fitted


def test_a_line_that_names_nothing_is_an_error():
    done = collected("import quick", 'quick.QUICK = {"test_words.py": ("test_that_was_renamed",)}')
    assert done.returncode != 0 and "test_that_was_renamed" in done.stdout + done.stderr
