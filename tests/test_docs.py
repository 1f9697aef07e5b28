"""What the pages say holds: their code prints it, files that they name exist, the rooms are as they show them."""

import operator
import re
import sys
import types
import warnings

import pytest
from pages import ROOT, blocks, run_page

import fastnmf

sys.path.insert(0, str(ROOT / "docs"))
import rooms  # noqa: E402 (the command that prints the rooms)

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
QUESTIONS = PAGE.split("## Eight questions")[1].split("\n## ")[0]
ROWS = [row for row in QUESTIONS.splitlines() if row.startswith("| Where")]
FILES = sorted(set(re.findall(r"`((?:fastnmf|bench|tests|docs)/[\w/]+(?:\.py|/))", PAGE)))
INSIDE = sorted(set(re.findall(r"`((?:kernels|data|core|io|models|selection|cli)/[\w/]+\.py)`", PAGE)))
NEEDS = {"cells": ("anndata", "scanpy")}  # packages that a page uses and the package does not
PAGES = [path for path in sorted((ROOT / "docs").glob("*.md")) if blocks(path.read_text(encoding="utf-8"))]
NAMED = re.findall(r"`(\w+)`[^`|;]* in `(fastnmf/[\w/]+\.py)`", QUESTIONS)
NAMED += re.findall(r"`(\w+)` \(`(?:fastnmf/)?(\w+/[\w/]+\.py)`\)", PAGE)


def test_there_are_eight_questions_with_files():
    assert len(ROWS) == 8
    assert all(re.search(r"`fastnmf/[\w/]+", row) for row in ROWS)


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_the_page_names_exists(file):
    assert (ROOT / file).exists()


@pytest.mark.parametrize("file", INSIDE)
def test_a_file_of_the_package_that_the_page_names_exists(file):
    assert (ROOT / "fastnmf" / file).exists()


@pytest.mark.parametrize(("name", "file"), NAMED)
def test_a_name_stands_in_its_file(name, file):
    path = ROOT / "fastnmf" / file.removeprefix("fastnmf/")
    assert re.search(rf"\bdef {name}\b|\bclass {name}\b", path.read_text(encoding="utf-8"))


def test_modules_on_the_right_of_the_table_exist():
    known = {name.removeprefix("fastnmf.") for name in rooms.modules()}
    rows = [row.split("|")[2] for row in PAGE.split("| 0.1 | now |")[1].splitlines() if row.startswith("| `")]
    found = [name for row in rows for name in re.findall(r"`(\w+(?:\.\w+)+)`", row)]
    assert len(found) > 30
    assert [name for name in found if name not in known] == []


def test_the_picture_is_that_of_the_imports():
    assert (ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8") == rooms.picture(
        rooms.graph(rooms.imports_of_files())
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_code_of_a_page_prints_what_the_page_says(page, tmp_path, monkeypatch):
    for name in NEEDS.get(page.stem, ()):
        pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)  # for what a page writes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a page warns of is not what it shows
        run_page(page)
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


GOOD = """```python
x = 2
```

Text.

```python
print(x + 1, 0.25)
```

```
3 0.2...
```

```python
>>> x
2
```
"""


def test_a_page_runs_in_one_namespace(tmp_path):
    assert len(blocks(GOOD)) == 3
    run_page(tmp_path / "page.md", GOOD)


@pytest.mark.parametrize(("right", "wrong"), [("```\n3 ", "```\n4 "), (">>> x\n2", ">>> x\n3")])
def test_a_page_that_says_something_else_fails(tmp_path, right, wrong):
    with pytest.raises(AssertionError, match=r"page says|Expected"):
        run_page(tmp_path / "page.md", GOOD.replace(right, wrong))


def test_a_page_whose_code_raises_fails_with_its_line(tmp_path):
    with pytest.raises(NameError) as failure:
        run_page(tmp_path / "page.md", GOOD.replace("x + 1", "y + 1"))
    assert failure.traceback[-1].lineno + 1 == 8


def test_the_reference_has_all_public_names():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = set()
    for module, names in re.findall(r"currentmodule:: (\S+)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE):
        listed |= {f"{module}.{name}" for name in re.findall(r"^ {3}([\w.]+)$", names, flags=re.MULTILINE)}
    rooms_of_names = [name for name in fastnmf._HOMES if isinstance(getattr(fastnmf, name), types.ModuleType)]
    public = {f"fastnmf.{name}" for name in fastnmf._HOMES if name not in rooms_of_names}
    public |= {f"fastnmf.{room}.{name}" for room in rooms_of_names for name in getattr(fastnmf, room).__all__}
    # each has two places, and stands in the other
    public -= {"fastnmf.report.write_report", "fastnmf.report.write_tables", "fastnmf.Factorization"}
    assert sorted(public - listed) == [], "Put these names into docs/api.md."
    assert all(operator.attrgetter(name.removeprefix("fastnmf."))(fastnmf) for name in listed)
