"""What all tests share."""

import os

import matplotlib
import pytest

matplotlib.use("Agg")


@pytest.fixture
def data_home():
    """The data home that SCIKIT_LEARN_DATA names; the test is skipped where there is none."""
    home = os.environ.get("SCIKIT_LEARN_DATA")
    if not home or not os.path.isdir(home):
        pytest.skip("real data: set SCIKIT_LEARN_DATA to a scikit-learn data home (tests never download)")
    return home
