"""Write the table "Which model when" of docs/models.md anew, from the catalogue in fastnmf/models/catalogue.py.

Usage: python bench/models_table.py
"""

from pathlib import Path

from fastnmf.models.catalogue import markdown

PAGE = Path(__file__).resolve().parent.parent / "docs" / "models.md"


def renewed(text):
    """Return the text of the page with the table of the catalogue in its place."""
    before, heading, after = text.partition("## Which model when")
    lines = after.splitlines()
    rows = [i for i, line in enumerate(lines) if line.startswith("|")]
    first = rows[0]
    last = next(i for i in range(first, len(lines)) if not lines[i].startswith("|"))
    return before + heading + "\n".join([*lines[:first], markdown(), *lines[last:]]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(PAGE)
