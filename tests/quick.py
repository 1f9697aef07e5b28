"""The tests of `make quick`: under a minute with compiled kernels at hand, a few after a kernel has changed.

A line is a file, and how the names of its tests begin; `pytest -m quick` runs them. They are the rules on the source,
the words, refusals of options, one fit of every estimator, the oracles of the kernels, and the bits of a few models.
"""

import pytest

ALL = ("test_",)
GOLDEN = """
    NMF NMF-mu NMF-kl StratifiedNMF StratifiedNMF-mu StratifiedNMF-kl StratifiedNMF-partial-fit
    BinaryNMF GraphNMF HierarchicalNMF MetaNMF MiniBatchNMF PLSA RobustNMF-l21 SemiSupervisedNMF
""".split()
QUICK = {
    # the source and its words
    "test_architecture.py": ALL,
    "test_words.py": ALL,
    "test_docs.py": ALL,
    "test_dotted_names.py": ALL,
    "test_packaging.py": ALL,
    "test_thresholds.py": ALL,
    "test_models_page.py": ("test_the_",),
    "test_readme.py": ALL,
    # what a user calls
    "test_cli.py": ("test_version", "test_info", "test_top", "test_bad_input"),
    "test_options.py": ("test_options_that_cannot_be_used_are_refused_in_one_sentence",),
    "test_estimators.py": ("test_fit_returns_itself_with_what_it_found",),
    "test_saving.py": ("test_all_of_the_family_comes_back",),
    # the numbers
    "test_core.py": ALL,
    "test_kernels.py": ALL,
    "test_oracle_numbers.py": ("test_plain_loops", "test_mu_losses_small[tiny-", "test_all_factors_on_tiny_data"),
    "test_golden.py": (
        *(f"test_numbers[{name}-float64-sparse-" for name in GOLDEN),
        *(f"test_two_threads_give_what_one_gives[{name}-float64-sparse]" for name in ("NMF", "StratifiedNMF-kl")),
    ),
}


def is_wanted(config):
    """Return whether the command line asks for ``-m quick``."""
    return config.option.markexpr == "quick"


def has_nothing_of(path):
    """Return whether a file of tests has no line in `QUICK`."""
    return path.name.startswith("test_") and path.name not in QUICK


def mark(config, items):
    """Mark the tests that `QUICK` names; where they were asked for, a line that names nothing is an error."""
    unused = {(file, begin) for file, begins in QUICK.items() for begin in begins}
    for item in items:
        begins = {begin for begin in QUICK.get(item.path.name, ()) if item.name.startswith(begin)}
        unused -= {(item.path.name, begin) for begin in begins}
        if begins:
            item.add_marker(pytest.mark.quick)
    if is_wanted(config) and unused:
        raise pytest.UsageError(f"tests/quick.py names tests that are not there: {sorted(unused)}")
