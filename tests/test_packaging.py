"""The versions that `make test-lowest` installs are the lowest that pyproject.toml allows, those of all extras too.

`tests/constraints-lowest.txt` pins them. Python itself is that of the Makefile, PYTHON311.
"""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def floors(project):
    """Return name -> lowest version of everything that a project or one of its extras needs, besides itself."""
    extras = project.get("optional-dependencies", {})
    found = {}
    for line in [*project["dependencies"], *(line for lines in extras.values() for line in lines)]:
        wanted = Requirement(line)
        name = canonicalize_name(wanted.name)
        if name == canonicalize_name(project["name"]):
            continue
        lowest = [part.version for part in wanted.specifier if part.operator in (">=", "~=", "==")]
        assert len(lowest) == 1, f"'{line}' in pyproject.toml states no lowest version; write {name}>=..."
        assert found.setdefault(name, lowest[0]) == lowest[0], f"pyproject.toml states two lowest versions of {name}"
    return found


def pins(text):
    """Return name -> version of the lines ``name==version`` of a file of constraints."""
    lines = filter(None, (line.split("#")[0].strip() for line in text.splitlines()))
    return {canonicalize_name(name): version for name, version in (re.split(" *== *", line) for line in lines)}


def test_the_lowest_versions_are_those_of_the_project():
    held = pins((ROOT / "tests" / "constraints-lowest.txt").read_text("utf-8"))
    assert held == floors(PROJECT), (
        "tests/constraints-lowest.txt must pin what pyproject.toml allows at its lowest, and nothing else; "
        "write both alike, and run: make test-lowest"
    )


def test_the_lowest_python_is_that_of_the_makefile():
    (lowest,) = re.findall(r"^PYTHON311 \?= python([\d.]+)$", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert PROJECT["requires-python"] == f">={lowest}"


@pytest.mark.parametrize(
    ("dependencies", "extra", "message"),
    [
        (["numpy"], [], "states no lowest version"),
        (["numpy<3"], [], "states no lowest version"),
        (["numpy>=2"], ["NumPy>=1.26"], "two lowest versions of numpy"),
    ],
)
def test_a_dependency_without_a_lowest_version_is_noticed(dependencies, extra, message):
    project = {"name": "fastnmf", "dependencies": dependencies, "optional-dependencies": {"more": extra}}
    with pytest.raises(AssertionError, match=message):
        floors(project)


def test_floors_are_those_of_all_extras():
    extras = {"all": ["fastnmf[docs]"], "docs": ["My_Docs[fast] ~= 3.1", "numpy >= 2.0, < 4; python_version < '4'"]}
    project = {"name": "fastnmf", "dependencies": ["numpy>=2.0"], "optional-dependencies": extras}
    assert floors(project) == {"numpy": "2.0", "my-docs": "3.1"} == pins("numpy==2.0  # why\n\nmy.docs == 3.1\n")
