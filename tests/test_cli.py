"""The command line, in process: what it prints, what it writes, and one sentence with exit code 2 for the rest."""

import builtins
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

from fastnmf import NMF, StratifiedNMF, catalogue, datasets, load
from fastnmf.cli import showing
from fastnmf.cli.commands import main
from fastnmf.cli.parser import own_sizes
from fastnmf.cli.text import print_top
from fastnmf.report import write_report


@pytest.fixture
def files(tmp_path):
    bunch = datasets.make_stratified((20, 30), 12, 2, density=0.4, random_state=0)
    sp.save_npz(tmp_path / "x.npz", bunch.data)
    np.save(tmp_path / "x.npy", bunch.data.toarray())
    for name, wild in (("wild.npz", "indices"), ("falling.npz", "indptr")):
        damaged = sp.csr_array(bunch.data, copy=True)
        getattr(damaged, wild)[3] = 10**8
        sp.save_npz(tmp_path / name, damaged)
    damaged = sp.csr_array(bunch.data[:4], copy=True)
    damaged.indices[3] = -7
    sp.save_npz(tmp_path / "wild4.npz", damaged)
    scipy.io.mmwrite(tmp_path / "x.mtx", bunch.data)
    (tmp_path / "strata.txt").write_text("\n".join(np.array(["red", "blue"])[bunch.strata]) + "\n")
    np.save(tmp_path / "strata.npy", bunch.strata)
    (tmp_path / "names.txt").write_text("\n".join(f"w{j}" for j in range(12)))
    (tmp_path / "short.txt").write_text("red\nblue\n")
    (tmp_path / "junk.npz").write_bytes(b"junk")
    np.save(tmp_path / "negative.npy", -np.ones((3, 2)))
    few = StratifiedNMF(1, random_state=0, max_iter=2, tol=0).fit(np.ones((4, 12)), strata=list("aabb"))
    few.save(tmp_path / "m2.npz")
    np.save(tmp_path / "objects.npy", np.array([None, "a"], dtype=object), allow_pickle=True)
    return tmp_path


def run(capsys, *arguments):
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse
        code = stop.code
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("matrix", ["x.npz", "x.npy", "x.mtx"])
@pytest.mark.parametrize("strata, labels", [("strata.txt", ["blue", "red"]), ("strata.npy", [0, 1])])
def test_fit_and_top(files, capsys, matrix, strata, labels):
    code, out, err = run(
        capsys, "fit", files / matrix, "--strata", files / strata, "--components", 2, "--seed", 0, "--max-iter", 30,
        "--features", files / "names.txt", "-o", files / "model.npz",
    )  # fmt: skip
    assert code == 0 and "normalized loss 0." in out and "iteration" in err
    model = load(files / "model.npz")
    assert model.strata_.tolist() == labels and model.components_.shape == (2, 12) and model.W_.shape == (50, 2)
    code, out, err = run(capsys, "top", files / "model.npz", "-n", 3)
    assert code == 0 and not err and all(str(label) in out for label in labels) and " w" in out
    strongest = f"w{np.argmax(model.shifts_[0])}"
    line = next(line for line in out.splitlines() if line.split()[:1] == [str(labels[0])])
    assert line.split()[1] == strongest and len(line.split()) <= 4


def test_fit_options_reach_the_model(files, capsys):
    arguments = ["fit", files / "x.npz", "--solver", "mu", "--dtype", "float32", "--tol", 0, "--max-iter", 4, "--quiet"]
    code, out, err = run(capsys, *arguments, "-o", files / "m.npz")
    model = load(files / "m.npz")
    assert code == 0 and not err and "4 iterations" in out and "all iterations done" in out
    assert model.components_.dtype == np.float32 and model.solver == "mu" and model.n_iter_ == 4


def test_own_components_have_an_option_and_lines_of_their_own(files, capsys):
    strata = ["--strata", files / "strata.txt", "--components", 2, "--seed", 0, "--max-iter", 5]
    code, out, _ = run(capsys, "fit", files / "x.npz", *strata, "--n-own", "red=2,blue=1", "-o", files / "m.npz")
    assert code == 0 and f"; look: fastnmf top {files / 'm.npz'}\n" in out
    assert load(files / "m.npz").n_own == {"red": 2, "blue": 1}
    _, out, _ = run(capsys, "top", files / "m.npz")
    assert [line[:8].rstrip() for line in out.splitlines() if line[2:].startswith(("red ", "blue "))] == [
        *("  blue", "  red", "  blue 0", "  red 0", "  red 1"),
    ]
    assert own_sizes("3") == 3 and own_sizes("2019=1") == {2019: 1}


def test_labels_that_are_cut_differ(capsys):
    print_top("Groups", [f"a department with a long name {i}" for i in range(2)], [["w"], ["v"]])
    assert capsys.readouterr().out.splitlines()[2:] == [
        "  a department w…a long name 0  w",
        "  a department w…a long name 1  v",
    ]


BAD = [
    (["fit", "x.npz", "--n-own", "two", "-o", "m.npz"], "'two' is no number of components; write it as 2, or as"),
    (["fit", "x.npz", "--n-own", "a=1,2", "-o", "m.npz"], "'a=1,2' is no number of components"),
    (["fit", "x.npz", "--model", "LDA", "-o", "m.npz"], "'LDA' is not a model; fastnmf models lists all of them"),
    (["fit", "nowhere.npz", "-o", "m.npz"], "No such file or directory: .*nowhere.npz"),
    (["fit", "x.npz", "--strata", "nowhere.txt", "-o", "m.npz"], "nowhere.txt"),
    (["fit", "x.npz", "--strata", "short.txt", "-o", "m.npz"], "2 labels for 50 rows"),
    (["fit", "x.npz", "--strata", "objects.npy", "-o", "m.npz"], "objects.npy cannot be read"),
    (["fit", "x.npz", "--features", "short.txt", "-o", "m.npz"], "2 names for 12 columns"),
    (["fit", "x.npz", "--components", "0", "-o", "m.npz"], "n_components=0"),
    (["fit", "x.npz", "--components", "two", "-o", "m.npz"], "invalid int value: 'two'"),
    (["fit", "x.npz", "--tol", "-1", "-o", "m.npz"], "tol=-1"),
    (["fit", "x.npz", "--solver", "sgd", "-o", "m.npz"], "solver='sgd' is not known; expected one of"),
    (["fit", "x.npz"], "-o"),
    (["fit", "x.npz", "-o", "no/such/folder/m.npz"], "folder .* does not exist"),
    (["fit", "junk.npz", "-o", "m.npz"], "junk.npz cannot be read"),
    (["fit", "names.txt", "-o", "m.npz"], "ends in '.txt'"),
    (["fit", "negative.npy", "-o", "m.npz"], "Negative values in data"),
    (["fit", "wild.npz", "-o", "m.npz"], "damaged CSR matrix .* names column 100000000"),
    (["fit", "falling.npz", "--strata", "strata.txt", "-o", "m.npz"], "damaged CSR matrix .* indptr must rise"),
    (["report", "m2.npz", "-o", "r.html", "--data", "wild4.npz"], "damaged CSR matrix .* names column -7"),
    (["top", "nowhere.npz"], "nowhere.npz"),
    (["top", "x.npz"], "not a model file"),
    (["top", "junk.npz"], "not a model file"),
    (["top", "strata.txt"], "not a model file"),
    (["report", "nowhere.npz", "-o", "r.html"], "nowhere.npz"),
    (["report", "junk.npz", "-o", "r.html"], "not a model file"),
    (["report", "m2.npz"], "required: -o REPORT.html; see"),
    (["report", "m2.npz", "-o", "no/such/r.html"], "folder .* does not exist"),
    (["report", "m2.npz", "-o", "r.html", "--features", "short.txt"], "short.txt has 2 names for 12 features"),
    (["report", "m2.npz", "-o", "r.html", "--rows", "short.txt"], "short.txt has 2 titles for the 4 rows"),
    (["report", "m2.npz", "-o", "r.html", "--data", "x.npz"], "X has 50 rows; the model was fitted to 4"),
    (["report", "m2.npz", "-o", "r.html", "--data", "names.txt"], "ends in '.txt'"),
    (["fly"], "invalid choice: 'fly'; expected one of fit, top, explain, report"),
    (["fti", "x.npz"], "invalid choice: 'fti'; did you mean 'fit'"),
    (["fit", "x.npz", "--stratta", "strata.txt", "-o", "m.npz"], "--stratta strata.txt; did you mean '--strata'"),
    (["models", "StratifedNMF"], "'StratifedNMF' is not in the catalogue; did you mean 'StratifiedNMF'"),
    (["info", "--loud"], "unrecognized arguments: --loud"),
]


@pytest.mark.parametrize(
    "arguments, message", BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_is_one_sentence_and_exit_code_2(files, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    code, out, err = run(capsys, *arguments)
    assert code == 2 and not out
    (sentence,) = err.strip().splitlines()
    assert sentence.startswith("fastnmf") and "Traceback" not in sentence
    import re

    assert re.search(message, sentence), sentence
    assert not (files / "m.npz").exists() and not (files / "r.html").exists()


def test_without_a_command_the_help_tells_how_to_begin(capsys):
    code, out, err = run(capsys)
    assert code == 2 and not out and "begin with:\n  fastnmf fit posts.csv --text text" in err
    _, out, _ = run(capsys, "--help")
    assert out == err and max(map(len, out.splitlines())) <= 80


def test_report_of_a_file_is_that_of_the_model(files, capsys):
    X, strata = sp.load_npz(files / "x.npz"), (files / "strata.txt").read_text().split()
    names = (files / "names.txt").read_text().split()
    titles = [f"title {i}\x0c of a row" for i in range(50)]  # a form feed is no end of a line
    (files / "titles.txt").write_text("\n".join(titles) + "\n", newline="\n")
    model = StratifiedNMF(2, random_state=0, max_iter=20, tol=0).fit(X, strata=strata)
    model.save(files / "m.npz")
    options = ["--data", files / "x.npz", "--features", files / "names.txt", "--rows", files / "titles.txt"]
    code, out, err = run(capsys, "report", files / "m.npz", "-o", files / "r.html", "--title", "Ours", *options)
    assert code == 0 and not err and "r.html" in out and "kB" in out
    write_report(model, files / "want.html", X=X, feature_names=names, row_names=titles, title="Ours")
    found, want = ((files / name).read_text("utf-8") for name in ("r.html", "want.html"))
    assert found == want and found.count(" of a row</bdi>") > 2
    plain = NMF(2, random_state=0, max_iter=20, tol=0).fit(X)
    plain.save(files / "m.npz", names)
    (files / "texts.txt").write_text("\n".join(f"text {i}" for i in range(50)) + "\n")
    options = ["--kind", "ratings", "--row-texts", files / "texts.txt"]
    assert run(capsys, "report", files / "m.npz", "-o", files / "r.html", *options)[0] == 0
    page = (files / "r.html").read_text("utf-8")
    assert "NMF with 2 factors" in page and "<bdi>text 1" in page
    code, out, _ = run(capsys, "top", files / "m.npz")
    assert code == 0 and "Shared by all" in out and "Specific" not in out


def test_info(capsys):
    code, out, _ = run(capsys, "info")
    found = dict(line.split(maxsplit=1) for line in out.replace("threading layer", "layer").splitlines())
    assert code == 0 and found["numba"] and found["layer"] in ("omp", "tbb", "workqueue", "none") and found["fastnmf"]


def test_version(capsys):
    project = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    assert run(capsys, "--version") == (0, f"fastnmf {project['version']}\n", "")


@pytest.fixture(scope="module")
def docstrings_cache(tmp_path_factory):
    """A folder in which the first demo of two packages leaves its corpus for the second."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def two_packages(docstrings_cache, monkeypatch):
    """Let the demo read the docstrings of two packages; `test_datasets.py` loads more."""
    monkeypatch.setenv("XDG_CACHE_HOME", docstrings_cache)
    monkeypatch.setattr("fastnmf.datasets.text.DOCSTRING_PACKAGES", ("joblib", "numba"))


def test_demo_on_docstrings(two_packages, tmp_path, capsys):
    code, out, err = run(capsys, "demo", "--data", "docstrings", "--components", 6, "--output", tmp_path / "demo")
    assert code == 0 and "iteration" in err
    for text in (
        "documents x",
        "non-zeros",
        "iterations in",
        "stopped:",
        "normalized loss 0.",
        "numba",
        "Shared by all",
    ):
        assert text in out
    assert max(map(len, out.splitlines()[:-2])) <= 100
    numba = next(line for line in out.splitlines() if line.split()[:1] == ["numba"])
    assert len(numba.split()) == 11 and {"llvm", "jit"} <= set(numba.split())  # the label and ten words
    assert "report.html in a browser" in out and 50_000 < (tmp_path / "demo" / "report.html").stat().st_size < 3_000_000
    for name in ("loss.png", "strata.png", "topics.png"):
        assert (tmp_path / "demo" / name).read_bytes().startswith(b"\x89PNG")
    assert run(capsys, "top", tmp_path / "demo" / "model.npz")[0] == 0


def test_demo_without_corpus_and_without_matplotlib(two_packages, tmp_path, capsys, monkeypatch):
    def missing(**options):
        raise OSError("The 20 newsgroups data are not there.")

    def refuse(name, *args, real=builtins.__import__, **kwargs):
        if name == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    import fastnmf.cli.demo

    monkeypatch.setattr(fastnmf.cli.demo, "load_newsgroups", missing)
    monkeypatch.setattr(builtins, "__import__", refuse)
    code, out, err = run(capsys, "demo", "--components", 3, "--output", tmp_path / "demo")
    assert code == 0 and "joblib" in out and "loss.png" not in out
    assert "are not there. Using the docstrings" in err and "matplotlib is not installed, so no figures" in err


def test_an_interrupt_and_a_closed_pipe_are_quiet(capsys, monkeypatch, tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(showing, "_info", interrupt)
    assert run(capsys, "info")[::2] == (130, "fastnmf: interrupted.\n")
    command = f"{sys.executable} -m fastnmf info | head -c 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=120)
    assert not done.stderr


def test_top_of_a_plain_model(files, capsys):
    NMF(2, random_state=0, max_iter=3, tol=0).fit(np.eye(5)).save(files / "plain.npz", list("abcde"))
    code, out, err = run(capsys, "top", files / "plain.npz")
    assert code == 0 and not err and "Shared by all" in out and "Specific" not in out and " a" in out


def test_a_fit_with_a_checkpoint_goes_on(files, capsys):
    """The first command ends early; the second, which may go on for longer, ends where one long fit does."""
    command = ["fit", files / "x.npz", "--seed", 0, "--tol", 0, "--components", 2, "-o", files / "m.npz"]
    state = ["--checkpoint", files / "state.npz", "--checkpoint-every", 0]
    assert run(capsys, *command, "--max-iter", 6)[0] == 0
    whole = load(files / "m.npz")
    assert run(capsys, *command, *state, "--max-iter", 3)[0] == 0
    code, _, err = run(capsys, *command, *state, "--max-iter", 6)
    again = load(files / "m.npz")
    assert code == 0 and "continuing from iteration 3" in err
    assert again.components_.tobytes() == whole.components_.tobytes() and again.n_iter_ == 6
    code, _, err = run(capsys, *command, *state, "--solver", "mu")
    assert code == 2 and "solver was 'cd' and is 'mu'" in err and "Delete it" in err
    code, _, err = run(capsys, "top", files / "state.npz")
    assert code == 2 and "holds a checkpoint, not a model" in err


def test_models_are_listed_and_looked_up(capsys):
    code, out, err = run(capsys, "models")
    assert code == 0 and not err
    listed = [line.split()[0] for line in out.splitlines()[1:-2] if not line.startswith(" ")]
    assert listed == [entry.name for entry in catalogue()] and max(map(len, out.splitlines())) <= 100
    assert "(dense data only)" in next(line for line in out.splitlines() if line.startswith("KernelNMF"))
    code, out, err = run(capsys, "models", "robustnmf")
    assert code == 0 and out.count("RobustNMF: ") == 3 and "Holland, Welsch 1977" in out and "`" not in out
    code, out, err = run(capsys, "models", "Nothing")
    assert code == 2 and "'Nothing' is not in the catalogue; it has NMF" in err and not out
