"""Parts of README.md and of the page of models, for the tests and for `make dist`."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
MODELS_PAGE = ROOT / "docs" / "models.md"


def section(heading, page=README):
    """Return the text of the section whose heading begins so."""
    return page.read_text(encoding="utf-8").split(f"\n## {heading}")[1].split("\n## ")[0]


def code(heading):
    """Return the first block of Python below a heading of README."""
    return re.search(r"^```python\n(.*?)^```$", section(heading), re.M | re.S).group(1)
