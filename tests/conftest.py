"""What all tests share."""

import os

import matplotlib
import pytest
import quick

from fastnmf.kernels import contention

matplotlib.use("Agg")


@pytest.fixture
def data_home():
    """The data home that SCIKIT_LEARN_DATA names; the test is skipped where there is none."""
    home = os.environ.get("SCIKIT_LEARN_DATA")
    if not home or not os.path.isdir(home):
        pytest.skip("real data: set SCIKIT_LEARN_DATA to a scikit-learn data home (tests never download)")
    return home


def pytest_configure(config):
    """Tell pytest of the mark of ``pytest -m quick``, and let no busy machine change which kernels run in parallel."""
    contention.IS_MEASURED = False
    config.addinivalue_line("markers", "quick: the tests of `make quick`, which tests/quick.py names")


def pytest_ignore_collect(collection_path, config):
    """Do not even import files of which ``-m quick`` wants nothing."""
    return True if quick.is_wanted(config) and quick.has_nothing_of(collection_path) else None


def pytest_collection_modifyitems(config, items):
    """Mark what `quick.py` names; mark what a module's DEVIATIONS (test -> reason) list as bound to fail; drop cases
    that name its OTHERS.
    """
    quick.mark(config, items)
    dropped = [item for item in items if (other := getattr(item.module, "OTHERS", None)) and other in item.name]
    for item in items:
        reason = getattr(item.module, "DEVIATIONS", {}).get(item.name)
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]
