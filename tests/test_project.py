"""The files around the package fit it: what CONTRIBUTING.md names exists, versions agree, schemas hold."""

import re
import subprocess
import sys
import tomllib

import pytest
from pages import ROOT

import fastnmf

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = set(re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
CITATION = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
TOP_LEVEL = {"bench", "docs", "fastnmf", "tests", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE"}
TOP_LEVEL |= {"Makefile", "README.md", "pyproject.toml"}  # beside what begins with a dot
WRITTEN = ("docs/_build/", "dist/", ".venv")  # by commands


def missing_files(text):
    """Return the files and folders that a page names in backticks or links to, and that are not there."""
    names = re.findall(r"`([\w./-]+(?:/|\.(?:py|md|toml|yaml|cff|npz)))`", text) + re.findall(r"\]\(([^)#:]+)", text)
    return sorted({name for name in names if not name.startswith(WRITTEN) and not (ROOT / name).exists()})


def missing_targets(text):
    return sorted(set(re.findall(r"(?:`|^)make ([a-z][\w-]*)", text, flags=re.MULTILINE)) - TARGETS)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", ".github/SECURITY.md", "README.md", "docs/index.md"])
def test_commands_of_a_page_are_targets_of_make(page):
    assert missing_targets((ROOT / page).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", ".github/SECURITY.md"])
def test_files_that_a_page_names_exist(page):
    assert missing_files((ROOT / page).read_text(encoding="utf-8")) == []


def test_what_is_missing_is_noticed():
    assert missing_targets("`make test` and `make tests`, or\nmake all") == ["all", "tests"]
    assert missing_files("`docs/conf.py`, `docs/conf.txt.py`, [a](docs/b.md#c) `fastnmf/none/`") == [
        "docs/b.md",
        "docs/conf.txt.py",
        "fastnmf/none/",
    ]


def test_nothing_else_is_kept_beside_the_package():
    """A test once left a page there."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode or not listed.stdout:
        pytest.skip("not a checkout")
    kept = {name.split("/")[0] for name in listed.stdout.splitlines()}
    assert {name for name in kept if not name.startswith(".")} == TOP_LEVEL


def test_versions_agree():
    (cited,) = re.findall(r"^version: (\S+)$", CITATION, flags=re.MULTILINE)
    assert cited == PROJECT["version"] == fastnmf.__version__


def test_addresses_are_those_that_are_known():
    found = set(re.findall(r"https?://[^\s\"')>]+", f"{PROJECT.get('urls')} {CITATION} {CONTRIBUTING} {WORKFLOW}"))
    assert found <= {"https://arxiv.org/abs/2311.10789"}, "Name only addresses that exist."


def test_the_workflow_runs_targets_of_make_and_all_versions():
    assert set(re.findall(r"\{target: ([\w-]+)", WORKFLOW)) <= TARGETS
    versions = re.findall(r'"(3\.\d+)"', re.search(r"python: \[(.*)\]", WORKFLOW)[1])
    assert f">={versions[0]}" == PROJECT["requires-python"] and len(versions) == 4
    assert all(f"{system}-latest" in WORKFLOW for system in ("ubuntu", "macos", "windows"))


@pytest.mark.parametrize(
    ("schema", "name", "text", "wrong"),
    [
        ("vendor.github-workflows", "ci.yml", WORKFLOW, WORKFLOW.replace("runs-on:", "runs_on:")),
        ("vendor.citation-file-format", "CITATION.cff", CITATION, CITATION.replace("authors:", "writers:")),
    ],
)
def test_a_file_fits_its_schema(tmp_path, schema, name, text, wrong):
    results = []
    for written in (text, wrong):
        (tmp_path / name).write_text(written, encoding="utf-8")
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(tmp_path / name)]
        results.append(subprocess.run(command, capture_output=True, text=True))
    assert results[0].returncode == 0, results[0].stdout
    assert results[1].returncode == 1 and "Schema validation errors" in results[1].stdout
