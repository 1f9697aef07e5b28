"""Data frames of pandas and polars, tables of Arrow: as X and as labels, with the bits of the same arrays."""

import datetime

import numpy as np
import pandas as pd
import pytest
from estimators import one_sentence

from fastnmf import NMF, StratifiedNMF, load, read
from fastnmf.data.labels import known_labels

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
SHORT = {"max_iter": 2, "tol": 0, "random_state": 0}
X, NAMES, LABELS = np.random.default_rng(0).integers(0, 4, (6, 3)).astype(float), ["a", "b", "c"], list("xyxyxy")
FRAME = pd.DataFrame(X, columns=NAMES)


def of_polars(**columns):
    polars = pytest.importorskip("polars")
    return polars.DataFrame({**{name: X[:, at] for at, name in enumerate(NAMES)}, **columns})


def of_arrow(**columns):
    arrow = pytest.importorskip("pyarrow")
    return arrow.table({**{name: X[:, at] for at, name in enumerate(NAMES)}, **columns})


@pytest.mark.parametrize("made", [FRAME.assign, of_polars, of_arrow])
def test_labels_are_columns_by_name_or_a_frame(made):
    want = StratifiedNMF(1, **SHORT).fit(X, strata=LABELS)
    for given, strata in ((made(g=LABELS), "g"), (made(g=LABELS), ["g"]), (X, made(g=LABELS)["g"])):
        found = StratifiedNMF(1, **SHORT).fit(given, strata=strata)
        assert (found.shifts_ == want.shifts_).all() and found.strata_.tolist() == ["x", "y"]
    crossed = {"g": LABELS, "h": list("aabbaa")}
    want = StratifiedNMF(1, **SHORT).fit(X, strata=crossed)
    assert (StratifiedNMF(1, **SHORT).fit(made(**crossed), strata=["g", "h"]).shifts_ == want.shifts_).all()
    with pytest.raises(ValueError, match="strata='z' is not a column of X; the columns are 'a', 'b', 'c', 'g'"):
        StratifiedNMF(1, **SHORT).fit(made(g=LABELS), strata="z")


DAYS = [datetime.date(2020, 1, 1 + day) for day in range(6)]


@pytest.mark.parametrize(
    ("frame", "what"),
    [
        (lambda: FRAME.assign(day=pd.to_datetime(DAYS)), "Column 'day' of X holds dates"),
        (lambda: FRAME.assign(took=pd.to_timedelta(range(6), unit="s")), "Column 'took' of X holds dates or durations"),
        (lambda: FRAME.astype(pd.SparseDtype("float", 1)), "Column 'a' of X is sparse with the fill value 1"),
        (lambda: FRAME.astype(pd.SparseDtype("float")), "Column 'a' of X is sparse with the fill value nan"),
        (lambda: FRAME.set_axis(list("aba"), axis=1), "X has the column 'a' more than once"),
        (lambda: FRAME[[]], r"X of shape \(6, 0\) is empty"),
        (lambda: of_polars(day=DAYS), "Column 'day' of X holds dates"),
        (lambda: of_polars(word=LABELS), "Column 'word' of X holds text"),
        (lambda: of_polars().lazy(), "expected a matrix"),
    ],
)
def test_frames_that_are_refused(frame, what):
    X = frame()
    with pytest.raises((ValueError, TypeError), match=what) as caught:
        NMF(1, **SHORT).fit(X)
    assert one_sentence(caught.value)


def test_dates_of_python_are_labels_that_files_hold(tmp_path):
    moments = [datetime.datetime(2020, 1, 1, hour) for hour in range(6)]
    for labels, kind in ((DAYS, "<M8[D]"), (moments, "<M8[us]"), (pd.to_datetime(DAYS).tolist(), "<M8[ns]")):
        for given in (labels, np.array(labels, dtype=object), pd.Series(labels, dtype=object)):
            found = known_labels(given, "strata", 6)
            assert found.dtype == kind and [pd.Timestamp(day) for day in found] == [pd.Timestamp(day) for day in labels]
        model = StratifiedNMF(1, **SHORT).fit(X, strata=labels)
        model.save(tmp_path / "model")
        np.testing.assert_array_equal(
            load(tmp_path / "model").transform(X, strata=labels), model.transform(X, strata=labels)
        )
    zoned = [moment.replace(tzinfo=datetime.UTC) for moment in moments]
    assert known_labels(zoned, "strata", 6).tolist() == zoned  # NumPy has no zones
    with pytest.raises(TypeError, match="strata has complex numbers"):
        known_labels([1j, 2j], "strata", 2)


def test_dates_in_parquet_are_labels_that_files_hold(tmp_path):
    pytest.importorskip("pyarrow")
    FRAME.assign(day=DAYS).to_parquet(tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet", strata="day").strata.tolist() == DAYS
