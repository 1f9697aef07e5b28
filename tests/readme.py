"""The pieces of README.md that run."""

import re
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def section(heading, text=None):
    """Return what stands below a heading of the second level."""
    text = README.read_text(encoding="utf-8") if text is None else text
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def code(heading):
    """Return the first block of Python below a heading."""
    return re.search(r"^```python\n(.*?)^```$", section(heading), re.M | re.S).group(1)
