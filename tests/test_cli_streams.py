"""The command line where a standard stream is closed, full, of another encoding, or has no reader."""

import io
import os
import sys

import pytest

from fastnmf import load
from fastnmf.cli import main

FIT = ["fit", "x.csv", "--strata", "site", "--components", "1", "--max-iter", "2", "--seed", "0", "-o", "model.npz"]


@pytest.fixture(autouse=True)
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text("site,\u03b1,b\na,1,2\nb,2,1\na,0,1\nb,3,3\n", encoding="utf-8")


def without_reader():
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


def test_streams_that_are_closed_or_have_no_reader_lose_no_model(tmp_path, monkeypatch):
    for streams in ({"stdin": None, "stdout": None, "stderr": None}, {"stderr": without_reader()}):
        with monkeypatch.context() as patch:
            for name, stream in streams.items():
                patch.setattr(sys, name, stream)
            assert main(FIT) == 0 and all(getattr(sys, name) is stream for name, stream in streams.items())
        assert load(tmp_path / "model.npz").n_components_ == 1
        (tmp_path / "model.npz").unlink()


def test_an_encoding_without_the_names_of_features(monkeypatch):
    main([*FIT, "--quiet"])
    for errors in ("strict", "surrogateescape"):
        out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors=errors)
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["top", "model.npz"]) == 0 and b"\\u03b1" in out.buffer.getvalue()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="of Linux")
def test_a_full_disk_behind_the_output(monkeypatch, capsys):
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(sys, "stdout", os.fdopen(full, "w", closefd=False))
    assert main(["models"]) == 2 and capsys.readouterr().err == "fastnmf: No space left on device.\n"
    os.dup2(os.open(os.devnull, os.O_WRONLY), full)  # where the rest of the buffer goes


def test_closed_standard_input(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["fit", "-", *FIT[2:], "--quiet"]) == 2
    assert capsys.readouterr().err == (
        "fastnmf: standard input is empty; give a table whose first line names the columns.\n"
    )


def test_labels_that_no_file_holds_are_refused_before_the_fit(capsys, monkeypatch):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"span": pandas.Series(list("abab")), "a": [1.0, 2, 3, 4]})
    frame["span"] = [{"from": label} for label in frame["span"]]
    frame.to_parquet("x.parquet")
    monkeypatch.setattr("fastnmf.models.base.estimator.Estimator._fit", None)
    assert main(["fit", "x.parquet", "--strata", "span", "-o", "model.npz"]) == 2
    assert "Labels of strata of the type dict cannot be saved" in capsys.readouterr().err
