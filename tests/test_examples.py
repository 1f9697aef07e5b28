"""The examples of all docstrings print what they say."""

import doctest
import importlib
import pkgutil
import warnings

import pytest
from pages import FLAGS

import fastnmf

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(fastnmf.__path__, "fastnmf.")
    if ".kernels" not in module.name and not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what an example warns of is not what it shows
        assert doctest.testmod(module, optionflags=FLAGS).failed == 0


def test_every_public_estimator_and_function_has_an_example():
    finder, without = doctest.DocTestFinder(recurse=False), []
    for name in fastnmf._HOMES:
        thing = getattr(fastnmf, name)
        if callable(thing) and not any(test.examples for test in finder.find(thing, name)):
            without.append(name)
    assert not without
