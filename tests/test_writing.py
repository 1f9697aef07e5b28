"""Files of the user are replaced whole or not at all, and nothing that is not a file is replaced."""

import gzip
import os
import signal
import socket
import stat
import subprocess
import sys

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

import fastnmf
from fastnmf.cli.commands import main
from fastnmf.data.writing import check_writable, replacing
from fastnmf.report import write_report

X = np.outer([1.0, 2, 3], [1.0, 0, 2])
MODEL = fastnmf.NMF(1, random_state=0, max_iter=2).fit(X)
WRITERS = {
    "save": MODEL.save,
    "report": lambda path: write_report(MODEL, path),
    "checkpoint": lambda path: fastnmf.NMF(1, max_iter=2, tol=0).fit(X, checkpoint=path),
}
every_writer = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


def names(folder):
    return sorted(os.listdir(folder))


@every_writer
def test_what_is_no_file_stays_what_it_is(write, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "socket"))
        before = names(tmp_path)
        for name in before:
            with pytest.raises(OSError, match=r"give (another path|the path of a file)\.$"):
                write(tmp_path / name)
        assert names(tmp_path) == before and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
        assert stat.S_ISSOCK((tmp_path / "socket").stat().st_mode) and (tmp_path / "link").is_symlink()


@every_writer
def test_a_file_keeps_its_permissions_and_links_to_it(write, tmp_path):
    (tmp_path / "new").symlink_to(tmp_path / "later")  # a link to what is not there yet
    for name, mode in (("later", None), ("private", 0o600), ("shared", 0o664)):
        path = tmp_path / name
        if mode is not None:
            write(path)
            path.chmod(mode)
            (tmp_path / f"to {name}").symlink_to(path)
        write(tmp_path / ("new" if mode is None else f"to {name}"))
        assert path.stat().st_size and (mode is None or stat.S_IMODE(path.stat().st_mode) == mode)
    assert all((tmp_path / name).is_symlink() for name in ("new", "to private", "to shared"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write any file")
def test_a_write_protected_file_stays(tmp_path):
    (tmp_path / "kept").touch(0o400)
    with pytest.raises(PermissionError, match="write-protected"):
        MODEL.save(tmp_path / "kept")


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="only Linux has files without a name")
def test_a_write_that_is_killed_leaves_nothing(tmp_path):
    (tmp_path / "kept").write_text("old")
    code = (
        "import sys\nfrom fastnmf.data.writing import replacing\n"
        "with replacing(sys.argv[1]) as file:\n    file.write(b'new'); file.flush(); print('begun', flush=True)\n"
        "    sys.stdin.read()"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "kept")]
    with subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"begun\n"
        child.send_signal(signal.SIGKILL)
    assert names(tmp_path) == ["kept"] and (tmp_path / "kept").read_text() == "old"


@pytest.mark.parametrize("has_names", [False, True])
def test_a_write_that_fails_leaves_the_old_file(has_names, tmp_path, monkeypatch):
    if has_names:  # as on systems without files that have no name
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    (tmp_path / "kept").write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "kept") as file:
        file.write(b"new")
        1 / 0  # noqa: B018
    assert names(tmp_path) == ["kept"] and (tmp_path / "kept").read_text() == "old"
    with replacing(tmp_path / "kept") as file:
        file.write(b"new")
    assert names(tmp_path) == ["kept"] and (tmp_path / "kept").read_text() == "new"


def test_long_names(tmp_path):
    MODEL.save(tmp_path / ("a" * 255))
    assert names(tmp_path) == ["a" * 255]
    with pytest.raises(OSError, match="too long"):
        check_writable(tmp_path / ("a" * 256))


# ---------------------------------------------------------------- the command line


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.ones((4, 3)))
    (tmp_path / "names").write_text("a\nb\nc\n")
    (tmp_path / "strata").write_text("a\nb\na\nb\n")
    MODEL.save("model")
    os.link("x.npy", "same")
    return tmp_path


FIT = ["fit", "x.npy", "--components", "1", "--quiet", "--features", "names", "--strata", "strata"]


@pytest.mark.parametrize(
    "arguments",
    [
        *([*FIT, "-o", name] for name in ("x.npy", "names", "strata", "same", "./names", "folder/../strata")),
        *([*FIT, "-o", "out", "--checkpoint", name] for name in ("x.npy", "names", "strata", "out")),
        *(["report", "model", "--features", "names", "-o", name] for name in ("model", "names")),
        ["report", "model", "--rows", "names", "-o", "names"],
        ["report", "model", "--data", "x.npy", "-o", "same"],
    ],
    ids=" ".join,
)
def test_the_command_line_keeps_its_inputs(files, arguments, capsys):
    (files / "folder").mkdir()
    before = {path.name: path.read_bytes() for path in files.iterdir() if path.is_file()}
    assert main(arguments) == 2
    assert "give" in (error := capsys.readouterr().err) and error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in files.iterdir() if path.is_file()} == before


def test_the_command_line_looks_at_the_output_first(files, capsys):
    os.mkfifo("pipe")
    (files / "folder").mkdir()
    for name in ("pipe", "folder", "no/where", "a" * 300):
        assert main([*FIT, "--checkpoint", "state", "-o", name]) == 2 and not os.path.exists("state")
        assert main(["report", "nowhere", "-o", name]) == 2
        assert "nowhere" not in capsys.readouterr().err.replace("no/where", "")


@pytest.mark.parametrize("name", ["m.mtx.gz", "m.mtx", "M.MTX"])
def test_matrix_market_files_are_read(files, name, capsys):
    matrix = sp.random_array((5, 4), density=0.5, rng=np.random.default_rng(0), format="coo")
    scipy.io.mmwrite("plain.mtx", matrix)
    content = (files / "plain.mtx").read_bytes()
    (files / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert main(["fit", name, "--components", "1", "--quiet", "--max-iter", "2", "-o", "out"]) == 0
    model = fastnmf.load("out")
    assert (len(model.W_), model.n_features_in_) == (5, 4) and "out" in capsys.readouterr().out
    (files / "bad.mtx.gz").write_bytes(content)
    assert main(["fit", "bad.mtx.gz", "--components", "1", "-o", "out"]) == 2
    assert "bad.mtx.gz cannot be read as a .mtx.gz matrix" in capsys.readouterr().err


def test_nothing_in_a_model_is_obeyed_by_a_terminal_or_a_browser(tmp_path, capsys):
    evil = "\x1b]0;owned\x07\x1b[2J\u202e\x9b31m<script>&\n"
    model = fastnmf.StratifiedNMF(1, random_state=0, max_iter=2).fit(X, strata=[f"{evil}a", f"{evil}b", f"{evil}a"])
    model.save(tmp_path / "model", [f"{evil}{j}" for j in range(3)])
    assert main(["top", str(tmp_path / "model")]) == 0
    out = capsys.readouterr().out
    assert "owned" in out and all(line.isprintable() for line in out.splitlines())
    assert main(["top", str(tmp_path / f"no {evil}")]) == 2
    assert (error := capsys.readouterr().err).count("\n") == 1 and error.strip().isprintable()
    assert main(["report", str(tmp_path / "model"), "-o", str(tmp_path / "r.html"), "--title", evil]) == 0
    page = (tmp_path / "r.html").read_text()
    assert (
        "owned" in page
        and not set("\x1b\x9b\u202e") & set(page)
        and "owned<script" not in page
        and "31m<script" not in page
    )
