"""README.md: its length, its ten lines, its figures and their commands, and what it shares with other pages.

test_datasets.py runs the ten lines, on the docstrings that it loads anyway; test_tutorials.py runs the commands;
test_models_page.py runs the lines of the table, which are rows of docs/models.md.
"""

import ast
import inspect
import re

import pytest
import readme
from test_project import TARGETS

import fastnmf
from fastnmf.models.catalogue import MODELS

TEXT = readme.README.read_text(encoding="utf-8")
ROWS = re.findall(r"(?m)^\| .* \| `.+` \|$", readme.section("Your data"))
MORE_ROWS = re.findall(r"(?m)^\| .* \| `.+` \|$", readme.section("Your data look like this", readme.MODELS_PAGE))
SPEEDS = [row.strip("| ").split(" | ") for row in readme.section("Speed").splitlines() if row.startswith("| ")][1:]
PICTURES = re.findall(r"!\[.+?\]\((.+?)\)(.*?)(?=\n```|\n#|\n!)", TEXT, re.S)


def missing(command):
    """Return what a command names that is not there: a file, a target of make, or a section of bench/peers/run.py."""
    target, file = re.match(r"make ([\w-]+)", command), re.match(r"python (\S+\.py)", command)
    if target:
        sections = re.findall(r"--sections ([\w,]+)", command)
        known = (readme.ROOT / "bench" / "peers" / "run.py").read_text(encoding="utf-8").split("SECTIONS = {")[1]
        unknown = [name for names in sections for name in names.split(",") if f'"{name}"' not in known.split("}")[0]]
        return ([] if target[1] in TARGETS else [target[1]]) + unknown
    return [] if file and (readme.ROOT / file[1]).exists() else [command]


def test_it_is_read_in_minutes():
    assert len(TEXT.splitlines()) <= 145


def test_a_first_result_is_on_the_first_screens():
    assert TEXT[: TEXT.index("\nStratifiedNMF of ")].count("\n") <= 45


def test_the_ten_lines_are_ten_at_most_and_one_reads_a_file_instead():
    """They run in an empty environment, too: make dist."""
    source = readme.code("Ten lines")
    lines = ast.parse(source).body
    assert [line.lineno for line in lines] == sorted({line.end_lineno for line in lines}) and len(lines) <= 10
    (own,) = re.findall(r"(?m)^# (texts = .*)$", source)
    (found,) = ast.parse(own).body
    assert {each.arg for each in found.value.keywords} <= set(inspect.signature(fastnmf.read).parameters)


def test_no_other_block_of_python_is_there():
    assert TEXT.count("```python") == 1


def test_the_commands_are_those_of_the_tutorial():
    """test_tutorials.py runs them."""
    commands = re.search(r"```\n(.*?)```", readme.section("The same in the shell"), re.S)[1].splitlines()
    assert set(commands) <= set((readme.ROOT / "docs" / "tutorials" / "posts.sh").read_text("utf-8").splitlines())


def test_the_rows_of_the_table_are_rows_of_the_page_of_models():
    assert len(ROWS) == 8 and set(ROWS) <= set(MORE_ROWS)
    assert f"has {len(MORE_ROWS) - len(ROWS)} more rows" in TEXT


def test_the_number_of_models_is_that_of_the_catalogue():
    kinds = {entry.name for entry in MODELS if entry.name[0].isupper()} - {"NMF", "StratifiedNMF", "Factorization"}
    assert f"plain NMF and {len(kinds)} other models" in " ".join(TEXT.split())


@pytest.mark.parametrize("row", SPEEDS, ids=lambda row: row[0][:40])
def test_a_speed_has_its_command_and_stands_in_the_benchmarks(row):
    _, times, command = row
    assert missing(command.strip("`")) == []
    benchmarks = (readme.ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    numbers = re.findall(r"\d+\.\d+", times)
    assert numbers and set(numbers) <= set(re.findall(r"\d+\.\d+", benchmarks))


def test_speeds_stand_in_the_table_alone():
    assert len(SPEEDS) == 5 and not re.search(r"\d times as fast|\d x faster", TEXT)


def test_a_picture_is_there_and_has_its_command():
    assert len(PICTURES) == TEXT.count("![") > 0
    for file, words in PICTURES:
        commands = re.findall(r"`((?:python|make) .+?)`", words)
        assert (readme.ROOT / file).exists() and commands and not [gone for each in commands for gone in missing(each)]


def test_what_is_missing_is_noticed():
    assert missing('make bench-peers PEERS="--sections default,none"') == ["none"]
    assert missing("make none") == ["none"] and missing("python bench/none.py") == ["python bench/none.py"]
