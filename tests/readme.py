"""README.md in parts, for the tests and for `make dist`."""

import re
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def section(heading):
    """Return the text of the section whose heading begins so."""
    return README.read_text(encoding="utf-8").split(f"\n## {heading}")[1].split("\n## ")[0]


def code(heading):
    """Return the first block of Python below a heading."""
    return re.search(r"^```python\n(.*?)^```$", section(heading), re.M | re.S).group(1)
