"""The architecture page speaks of files that exist, and shows the rooms as they are."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
import rooms  # noqa: E402 (the command that prints the rooms)

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
QUESTIONS = PAGE.split("## Eight questions")[1].split("\n## ")[0]
ROWS = [row for row in QUESTIONS.splitlines() if row.startswith("| Where")]
FILES = sorted(set(re.findall(r"`((?:fastnmf|bench|tests|docs)/[\w/]+(?:\.py|/))", PAGE)))
INSIDE = sorted(set(re.findall(r"`((?:kernels|data|core|io|models|selection|cli)/[\w/]+\.py)`", PAGE)))
NAMED = re.findall(r"`(\w+)`[^`|;]* in `(fastnmf/[\w/]+\.py)`", QUESTIONS)


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
    assert re.search(rf"\bdef {name}\b|\bclass {name}\b", (ROOT / file).read_text(encoding="utf-8"))


def test_modules_on_the_right_of_the_table_exist():
    known = {name.removeprefix("fastnmf.") for name in rooms.modules()}
    rows = [row.split("|")[2] for row in PAGE.split("| 0.1 | now |")[1].splitlines() if row.startswith("| `")]
    found = [name for row in rows for name in re.findall(r"`(\w+(?:\.\w+)+)`", row)]
    assert len(found) > 30
    assert [name for name in found if name not in known] == []


def test_the_picture_is_that_of_the_imports():
    assert (ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8") == rooms.picture(rooms.graph())
