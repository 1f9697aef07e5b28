"""Every numerical threshold says why it has its value, is used, and keeps that value."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fastnmf.core import thresholds

ROOT = Path(__file__).resolve().parent.parent / "fastnmf"
LINES = (ROOT / "core" / "thresholds.py").read_text("utf-8").splitlines()
NAMES = [name for name in vars(thresholds) if name.isupper() and not name.startswith("_")]
VALUES = {  # a number that has to change gets a commit of its own
    "LEAST_DIVISOR": 1e-300,
    "LEAST_CURVATURE": 1e-300,
    "MU_EPS": 1e-9,
    "ORDINARY_DENOMINATOR": 1e-3,
    "DENOMINATOR_SHARE": 1e-12,
    "MODEL_FLOOR": 1.1920929e-07,
    "MODEL_SHARE": 1.2e-7,
    "MOST_BITS": 1000,
    "LABEL_FLOOR": 1e-16,
    "LABEL_RIDGE": 1e-12,
    "LEAST_REFERENCE": 1e-10,
    "LEAST_SLOPE": 1e-12,
    "EXPANSION_FLOOR": 1e-6,
    "TRIVIAL_DIVERGENCE": 1e-14,
    "ROUNDED_OVERSHOOT": 1e-12,
    "PENALTY_ROUNDING": 1e-13,
    "GRAM_CUT": 1e-7,
    "RANK_CUT": 1e-10,
    "NOISE_CUT": 1e-6,
    "NEARLY_SINGULAR": 1e-6,
    "ROUNDED_RISE": 1e-12,
    "SHORT_COLUMN": 1e-6,
    "IN_SPAN": 1e-10,
    "EQUAL_LENGTHS": 1e-9,
    "EQUAL_ERRORS": 1e-13,
    "EQUAL_RATIOS": 1e-6,
    "LEAST_STEP": 1e-12,
    "SHIFT_CHANGE": 1e-8,
    "REVIVAL_GAIN": 1e-6,
    "LEAST_ROWS": 1e-12,
    "ASYMMETRY": 1e-6,
    "SAFE_SQUARE": 1e-280,
}
BY_DTYPE = {"MU_FLOOR": (1e-15, 1e-150), "EXACT_VALUE_BELOW": (1e-3, 1e-6)}


@pytest.fixture(scope="module")
def uses():
    """Return the number of files in which each name with a capital stands."""
    return Counter(
        name for path in ROOT.rglob("*.py") for name in set(re.findall(r"\b[A-Z]\w+", path.read_text("utf-8")))
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_threshold_says_why_and_is_used(name, uses):
    (line,) = [i for i, text in enumerate(LINES) if text.startswith(f"{name} =")]
    assert "#" in LINES[line] or LINES[line - 1].startswith("#")
    assert uses[name] > 1, f"nobody uses {name}"


def test_the_values_are_as_they_were():
    assert VALUES.keys() | BY_DTYPE.keys() == set(NAMES)
    assert {name: getattr(thresholds, name) for name in VALUES} == VALUES
    for name, values in BY_DTYPE.items():
        assert getattr(thresholds, name) == {np.dtype(np.float32): values[0], np.dtype(np.float64): values[1]}


@pytest.mark.parametrize(("dtype", "bits", "least"), [(np.float32, 23, -126), (np.float64, 52, -1022)])
def test_thresholds_of_a_dtype(dtype, bits, least):
    assert thresholds.rounding(dtype) == 8 * 2.0**-bits and thresholds.rounding(dtype).dtype == dtype
    assert thresholds.span_floor(dtype) == 16 * 2.0**-bits
    assert thresholds.tiny(dtype) == dtype(2) ** dtype(least)
    assert thresholds.MU_FLOOR[np.dtype(dtype)] ** 2 > thresholds.tiny(dtype)
