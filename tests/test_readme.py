"""README.md: its ten lines, its commands, and the lines of code that it shares with docs/models.md.

test_datasets.py runs the ten lines, on the docstrings that it loads anyway; test_models_page.py runs the table.
"""

import ast

import readme


def test_the_ten_lines_are_ten_of_python():
    """They run in an empty environment, too: make dist."""
    lines = ast.parse(readme.code("Ten lines")).body
    assert [line.lineno for line in lines] == sorted({line.end_lineno for line in lines}) and len(lines) == 10
