"""Labels of rows, for strata and for classes: missing is missing, different is different, nothing becomes text."""

import decimal
import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from sklearn.utils.estimator_checks import check_dict_unchanged, check_fit2d_1feature

from fastnmf import (
    MiniBatchStratifiedNMF,
    SemiSupervisedNMF,
    Start,
    StratifiedNMF,
    consensus,
    save_csr,
    select_rank,
)
from fastnmf.core.batches import merged
from fastnmf.data.labels import distinct, encode_labels
from fastnmf.data.strata import Strata
from fastnmf.io.tables import read_labels
from fastnmf.metrics import clustering_scores, component_usage
from fastnmf.models.base.classification import encode_classes
from fastnmf.plots import plot_effects, plot_shift_shares

NAN, NA = float("nan"), pd.NA
MISSING = {  # the third of three labels is missing
    "NaN in a list of text": ["a", "b", NAN],
    "float32 NaN": ["a", "b", np.float32("nan")],
    "NaN in a list of numbers": [1, 2, NAN],
    "Decimal NaN": [decimal.Decimal(1), decimal.Decimal(2), decimal.Decimal("nan")],
    "None": ("a", "b", None),
    "NaT in a list": [pd.Timestamp("2020"), pd.Timestamp("2021"), pd.NaT],
    "NumPy's NaT in a list": [np.datetime64("2020"), np.datetime64("2021"), np.datetime64("NaT")],
    "NaT": np.array(["2020", "2021", "NaT"], "datetime64[D]"),
    "NA in a list": ["a", "b", NA],
    "NA of whole numbers": pd.array([1, 2, None], dtype="Int64"),
    "NA in a Series of text": pd.Series(["a", "b", None]),
    "a category": pd.Categorical(["a", "b", None]),
    "masked number": np.ma.array([1, 2, 3], mask=[0, 0, 1]),
    "masked text": np.ma.array(["a", "b", "c"], mask=[0, 0, 1]),
    "masked in a list": ["a", "b", np.ma.masked],
}
MIXED = {
    "text and a number": ["1", 1, "a"],
    "text and a number in an array": np.array(["1", 1, "a"], object),
    "text and a number in a Series": pd.Series(["1", 1, "a"]),
    "categories": pd.Categorical(["1", 1, "a"]),
    "bytes and text": [b"a", "a", "a"],
    "a truth value and a number": [True, 1, 0],
    "a truth value and text": [True, "True", "a"],
    "a date and text": [pd.Timestamp("2020"), "2020", "a"],
    "text and a number, one missing": ["1", 1, None],
}
DIFFERENT = {  # three labels that NumPy would make two
    "NUL at the end": ["a", "a\0", "b"],
    "whole number and float": [2**53 + 1, float(2**53), 0],
    "beyond 64 bits": [2**64 - 1, -2, 2**64],
    "thirty digits": [10**30, 10**30 + 1, 5],
    "text of missing ones": ["nan", "None", ""],
}
if hasattr(np.dtypes, "StringDType"):  # NumPy 2
    for absent in (NAN, None, NA):
        MISSING[f"StringDType with {absent}"] = np.array(["a", "b", absent], np.dtypes.StringDType(na_object=absent))
    DIFFERENT["StringDType"] = np.array(["a", "nan", "a\0"], np.dtypes.StringDType(na_object=NAN))


@pytest.mark.parametrize("labels", MISSING.values(), ids=MISSING)
def test_missing_is_missing(labels):
    with pytest.raises(ValueError, match="strata contains a missing label .* in row 2"):
        encode_labels(labels, 3)
    classes, class_index = encode_classes(labels, 3)
    assert len(classes) == 2 and class_index.tolist() == [0, 1, -1]
    assert encode_classes(labels, 3, classes)[1].tolist() == [0, 1, -1]


@pytest.mark.parametrize("labels", MIXED.values(), ids=MIXED)
def test_labels_of_several_kinds_are_refused(labels):
    for encode, name in ((encode_classes, "y"), (encode_labels, "strata")):
        with pytest.raises(ValueError, match=f"{name} (mixes labels of several types|contains a missing)"):
            encode(labels, 3)


@pytest.mark.parametrize("labels", DIFFERENT.values(), ids=DIFFERENT)
def test_different_is_different(labels):
    stratum_index, found = encode_labels(labels, 3)
    assert sorted(stratum_index) == [0, 1, 2]
    assert [found[at] for at in stratum_index] == list(labels)
    assert encode_labels(labels, 3, found)[0].tolist() == stratum_index.tolist()
    assert sorted(encode_classes(list(labels)[:2] + [None], 3)[1]) == [-1, 0, 1]


def test_arrays_of_objects_stay_and_lists_become_plain():
    for labels, kind in (
        (np.array(["b", "a"], object), "O"),
        (pd.Series(["b", "a"]), "O"),
        (["b", "a"], "U"),
        ([2, np.int64(1)], "i"),
        ([np.datetime64("2021"), np.datetime64("2020")], "M"),
        (np.array(["b", "a"]), "U"),
    ):
        assert encode_labels(labels, 2)[1].dtype.kind == kind
        assert encode_classes(labels, 2)[0].dtype.kind == ("U" if kind == "O" else kind)


def test_shapes_are_told():
    for labels, words in (
        ([("a", 1), ("b", 1)], "2 dimensions"),
        ([["a"], ["b", "c"]], "different lengths"),
        (np.array("a"), "0 dimensions"),
        (["a"], "1 labels for 2 rows"),
    ):
        with pytest.raises(ValueError, match=words):
            encode_labels(labels, 2)
    assert encode_classes([["a"], ["b"]], 2)[1].tolist() == [0, 1]


def test_kinds_of_the_fit_are_those_of_new_rows():
    known = np.array([0, 1])
    assert encode_labels([1.0, 0.0], 2, known)[0].tolist() == [1, 0]
    for labels in ([True, False], ["1", "0"]):
        with pytest.raises(ValueError, match="not seen in fit"):
            encode_labels(labels, 2, known)
        with pytest.raises(ValueError, match="use one kind"):
            merged(known, np.asarray(labels))
    assert encode_classes([True, False], 2, known)[1].tolist() == [-2, -2]


@pytest.mark.parametrize(
    "use",
    [
        lambda X, labels, path: StratifiedNMF(1).fit(X, strata=labels),
        lambda X, labels, path: MiniBatchStratifiedNMF(1).partial_fit(X, strata=labels),
        lambda X, labels, path: StratifiedNMF(1, max_iter=1, tol=0).fit(X).reconstruction_errors(X, strata=labels),
        lambda X, labels, path: SemiSupervisedNMF(1).fit(X, labels),
        lambda X, labels, path: select_rank(X, labels, ranks=[1, 2]),
        lambda X, labels, path: consensus(X, labels, n_components=2),
        lambda X, labels, path: save_csr(X, path / "X").blocks(2, labels),
        lambda X, labels, path: Start(np.ones((1, 5)), shifts=np.ones((6, 5)), strata=labels),
        lambda X, labels, path: component_usage(np.ones((6, 2)), np.ones((2, 5)), labels),
        lambda X, labels, path: clustering_scores(labels, [0] * 6),
    ],
)
def test_every_door_reads_labels_one_by_one(use, tmp_path):
    X = np.random.default_rng(0).random((6, 5))
    with pytest.raises(ValueError, match="mixes labels of several types"):
        use(X, ["1", 1, "a", "a", 2, 2], tmp_path)


def test_a_series_of_other_rows_is_refused():
    X = pd.DataFrame(np.random.default_rng(0).random((6, 5)), index=list("uvwxyz")).rename(columns=str)
    labels = pd.Series(list("aabbcc"), index=X.index)
    model = StratifiedNMF(1, random_state=0, max_iter=2, tol=0)
    fitted = model.fit(X, strata=labels, sample_weight=pd.Series(1.0, X.index))
    other = labels[::-1]
    weights, mask = pd.Series(1.0, other.index), pd.DataFrame(1.0, other.index, X.columns)
    W = pd.DataFrame(fitted.W_, X.index)
    for use in (
        lambda: model.fit(X, strata=other),
        lambda: model.fit(X, strata=labels.reset_index(drop=True)),
        lambda: model.fit(X, sample_weight=weights, strata=labels),
        lambda: model.fit(X, weight=mask, strata=labels),
        lambda: model.fit(X, weight=mask.loc[X.index, ::-1], strata=labels),
        lambda: fitted.transform(X, strata=other),
        lambda: fitted.score(X, strata=labels, sample_weight=weights),
        lambda: fitted.inverse_transform(W, strata=other),
        lambda: fitted.reconstruction_errors(X, strata=other),
        lambda: MiniBatchStratifiedNMF(1).fit(X, strata=other),
        lambda: MiniBatchStratifiedNMF(1).partial_fit(X, strata=other),
        lambda: SemiSupervisedNMF(1).fit(X, other),
        lambda: Strata.from_array(X, other),
        lambda: select_rank(X, other, ranks=[1, 2]),
    ):
        with pytest.raises(ValueError, match="differs from the (index|columns) of X; put"):
            use()
    assert (model.fit(X, strata=other.to_numpy()).W_ == model.fit(X.to_numpy(), strata=other).W_).all()


@pytest.mark.parametrize("kind", [StratifiedNMF, MiniBatchStratifiedNMF])
@pytest.mark.parametrize("method", ["fit", "fit_transform", "partial_fit"])
def test_labels_passed_as_y_are_told_once(kind, method):
    X, y = np.random.default_rng(0).random((6, 5)), list("aabbcc")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        warnings.filterwarnings("ignore", "The fit stopped")
        getattr(kind(1, random_state=0, max_iter=2), method)(X, y)
    assert ["strata=" in str(each.message) for each in told] == [True] and told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "The fit stopped")
        getattr(kind(1, random_state=0, max_iter=2), method)(X, y, strata=y)
        StratifiedNMF(1, label_weight=1.0, random_state=0).fit(X, y)
        for check in (check_dict_unchanged, check_fit2d_1feature):  # scikit-learn always passes y
            check(kind.__name__, kind(1))


LABEL_FILES = {
    b"\xef\xbb\xbfa\na\nb\n": ["a", "a", "b"],
    b"\xef\xbb\xbf1\r\n2\r\n": [1, 2],
    b"a\r\nb\r\n": ["a", "b"],
    b"00501\n501\n": ["00501", "501"],
    b"1_0\n10\n": ["1_0", "10"],
    b"+1\n1": ["+1", "1"],
    b"1\n1 \n": ["1", "1 "],
    b"-0\n0\n": ["-0", "0"],
    "\u0661\n1\n".encode(): ["\u0661", "1"],
    b"1" * 30 + b"\n" + b"1" * 29 + b"2\n": ["1" * 30, "1" * 29 + "2"],
    b"-3\n0\n12\n": [-3, 0, 12],
    b"nan\nNone\n": ["nan", "None"],
}


@pytest.mark.parametrize(("content", "labels"), LABEL_FILES.items())
def test_label_files_keep_their_meaning(content, labels, tmp_path):
    (tmp_path / "labels.txt").write_bytes(content)
    assert read_labels(tmp_path / "labels.txt").tolist() == labels


@pytest.mark.parametrize("content", [b"a\n\nb\n", b"a\nb\n\n", b"1\n \n2\n", b"\n1\n"])
def test_blank_lines_are_refused(content, tmp_path):
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(ValueError, match="Line [1-3] of .* is blank"):
        read_labels(tmp_path / "labels.txt")


DAYS = pd.Series(pd.to_datetime(["2020-01-01", "2021-05-05", "2020-01-01", "2021-05-05"]))
FORMS_OF_DAYS = {
    "frame": DAYS,
    "days": DAYS.to_numpy().astype("datetime64[D]"),
    "timestamps": list(DAYS),
    "dates": [day.date() for day in DAYS],
}


@pytest.mark.parametrize("fitted", FORMS_OF_DAYS)
def test_dates_are_one_label_in_all_their_forms(fitted):
    X, rows = np.random.default_rng(0).random((4, 3)), {"day": FORMS_OF_DAYS[fitted], "half": [0, 0, 1, 1]}
    model = StratifiedNMF(1, max_iter=2, tol=0, random_state=0).fit(X, strata=rows)
    assert model.shift_names_[1:3].tolist() == ["day=2020-01-01", "day=2021-05-05"]
    for days in FORMS_OF_DAYS.values():
        np.testing.assert_array_equal(model.transform(X, strata=rows | {"day": days}), model.transform(X, strata=rows))


def test_labels_that_numpy_would_turn_into_integers_or_more_digits_keep_their_names():
    X, days = np.random.default_rng(0).random((4, 3)), DAYS.to_numpy()
    model = StratifiedNMF(1, n_own={DAYS[1]: 1}, max_iter=2, tol=0, random_state=0).fit(X, strata=DAYS)
    assert model.n_own_.tolist() == [0, 1] and model.own_components_[DAYS[1]].shape == (1, 3)
    assert set(model.top_features(1).strata) == set(DAYS) and "2021-05-05" in str(model.explain(X, strata=DAYS))
    ax = plot_shift_shares(model, strata=[DAYS[1], "2020-01-01"])
    assert "2021-05-05" in [text.get_text() for text in ax.figure.findobj(Text)]
    parts = np.array([0.1, 0.2, 0.1, 0.2], np.float32)
    model = StratifiedNMF(1, max_iter=2, tol=0, random_state=0).fit(X, strata={"a part": parts, "day": days})
    assert model.shift_names_[1] == "a part=0.1"
    assert plot_effects(model, "a part").get_xlabel() == "a part" and plot_effects(model, "day").get_xlabel() == "day"
    times = days + np.array([0, 1, 0, 1], "timedelta64[h]")
    model.fit(X, strata={"time": times, "day": days})
    assert model.shift_names_[1] == "time=2020-01-01 00:00:00" and plot_effects(model, "time").get_xlabel() == "time"
    plot_shift_shares(model.fit(X, strata=times), strata=[DAYS[0]])


def test_a_label_of_n_own_is_of_the_type_of_the_strata():
    X = np.random.default_rng(0).random((4, 3))
    for label in (True, "1", None, np.nan, 3):
        with pytest.raises(ValueError, match="n_own has the label"):
            StratifiedNMF(1, n_own={label: 1}).fit(X, strata=[1, 2, 1, 2])


@pytest.mark.parametrize("make", [np.array, lambda names: np.array(names, dtype=object)], ids=["U", "O"])
def test_text_is_looked_up_as_numpy_sorts_it(make):
    names = make(["b", "ä", "B", "", "a b", "b", "\U0001f600", "b\0c", "10", "9", "ä"])
    found, index = distinct(names, "strata")
    want, want_index = np.unique(names, return_inverse=True)
    assert found.dtype == want.dtype and found.tolist() == want.tolist() and (index == want_index).all()
