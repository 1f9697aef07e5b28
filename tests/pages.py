"""Run the Python blocks of a Markdown page, and compare what they print with what the page says.

A block of ``python`` runs; an unlabelled block right below it is its output. A block with prompts (``>>>``) has its
output in itself. Outputs are compared as those of docstrings are. The blocks of a page share one namespace, in order.
"""

import contextlib
import doctest
import io
import re
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
BLOCK = re.compile(r"(?ms)^```(?:python|\{code-block\} python)\n(.*?)^```\n(?:\n*^```\n(.*?)^```$)?")


def blocks(text):
    """Return (source, output or None, line) of each Python block of a page; the line is that of its first statement."""
    return [(found[1], found[2], text.count("\n", 0, found.start(1)) + 1) for found in BLOCK.finditer(text)]


def run_page(path, text=None):
    """Run the blocks of a page; raise AssertionError where one prints something else than the page says.

    Parameters
    ----------
    path : Path
        The page; tracebacks name its lines.
    text : str, default=None
        Its text; None reads it.
    """
    page = types.ModuleType(path.stem.replace("-", "_"))
    for source, wanted, line in blocks(path.read_text(encoding="utf-8") if text is None else text):
        if ">>> " in source:
            test = doctest.DocTestParser().get_doctest(source, {}, path.name, str(path), line - 1)
            test.globs = vars(page)
            complaints = io.StringIO()
            runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
            assert runner.run(test, out=complaints.write, clear_globs=False).failed == 0, complaints.getvalue()
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (line - 1) + source, str(path), "exec"), vars(page))
        if wanted is not None:
            is_right = doctest.OutputChecker().check_output(wanted, printed.getvalue(), FLAGS)
            assert is_right, f"{path.name}:{line} prints\n{printed.getvalue()}and the page says\n{wanted}"
