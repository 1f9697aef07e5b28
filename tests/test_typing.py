"""What a type checker knows of the public names: the mistakes of a user's script, and every parameter and attribute.

mypy reads the wheel, unpacked into an environment of its own, and not the source tree: so `py.typed` has to be in it.
"""

import ast
import inspect
import re
import runpy
import subprocess
import sys
import sysconfig
import typing
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastnmf

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "tests" / "typing" / "user_script.py"
FACE = ast.parse((ROOT / "fastnmf" / "__init__.py").read_text("utf-8"))
ESTIMATORS = [name for name in fastnmf._HOMES if hasattr(getattr(fastnmf, name), "get_params")]
ROOMS = [fastnmf.compose, fastnmf.testing, fastnmf.metrics, fastnmf.plots, fastnmf.datasets, fastnmf.tl]
FUNCTIONS = [getattr(fastnmf, name) for name in fastnmf._HOMES if name not in ESTIMATORS]
FUNCTIONS += [getattr(room, name) for room in ROOMS for name in room.__all__]
# attributes that models have beyond those that they document
BEYOND = {("AffineNMF", "row_strata_"), ("NMF", "n_steps_"), ("StratifiedNMF", "n_steps_")}
BEYOND |= {("SemiSupervisedNMF", name) for name in ("n_features_in_", "feature_names_in_")}
BEYOND |= {(name, "n_revived_") for name in ESTIMATORS if hasattr(getattr(fastnmf, name), "_rank")}
# attributes of which nothing is known: sparse matrices, data by reference, a model or a list that may be one of several
UNKNOWN = {("GraphNMF", name) for name in ("affinity_", "feature_affinity_", "training_data_")}
UNKNOWN |= {("HierarchicalNMF", name) for name in ("classes_", "coef_", "intercept_", "B_")}
UNKNOWN |= {("StratifiedNMF", "own_W_"), ("KernelNMF", "affinity_"), ("KernelNMF", "X_fit_"), ("MetaNMF", "estimator_")}
UNKNOWN |= {(name, "shifts_") for name in ("StratifiedNMF", "MiniBatchStratifiedNMF", "GraphNMF", "Factorization")}


def documented(name):
    """Return the fitted attributes that an estimator documents."""
    section = re.split(r"\n\w+\n---+\n", inspect.getdoc(getattr(fastnmf, name)).split("\nAttributes\n")[1][11:])[0]
    heads = re.findall(r"^([\w, ]+) :", section, re.M)
    return {attribute.strip() for head in heads for attribute in head.split(",")}


def visible(name):
    """Return parameters, fitted attributes and public methods of an estimator of ours."""
    kind = getattr(fastnmf, name)
    methods = {method for method in dir(kind) if not method.startswith("_") and not method.endswith("_request")}
    return set(inspect.signature(kind).parameters) | documented(name) | methods


def lines_of_attributes():
    """Return lines of code that read each attribute of any estimator from every estimator, and (name, attribute)."""
    names = sorted(set().union(*(visible(name) for name in ESTIMATORS)))
    cases = [(name, attribute) for name in ESTIMATORS for attribute in names]
    return [f"reveal_type(fastnmf.{name}().{attribute})" for name, attribute in cases], cases


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Return what mypy says with --strict: (file, line, error or note, text)."""
    folder = tmp_path_factory.mktemp("typing")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    venv.create(folder / "env", with_pip=False)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder / "env")}))
    zipfile.ZipFile(next(folder.glob("*.whl"))).extractall(packages)
    (packages / "numpy.pth").write_text(str(Path(np.__file__).parents[1]))
    (folder / "attributes.py").write_text("import fastnmf\n" + "\n".join(lines_of_attributes()[0]))
    python = folder / "env" / "bin" / "python"
    options = [
        "--strict",
        "--no-pretty",
        "--hide-error-context",
        "--python-executable",
        str(python),
        "--cache-dir",
        "c",
    ]
    command = [sys.executable, "-m", "mypy", *options, str(SCRIPT), "attributes.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    pattern = re.compile(r"^(?:.*[/\\])?([\w.]+):(\d+): (error|note): (.*)$", re.M)
    found = [(file, int(line), kind, text) for file, line, kind, text in pattern.findall(done.stdout)]
    assert found, done.stdout + done.stderr
    return found


def test_mypy_finds_the_planted_mistakes_and_nothing_else(said):
    lines = SCRIPT.read_text("utf-8").splitlines()
    marks = ((line, re.search(r"# error: \[([\w-]+)\]$", text)) for line, text in enumerate(lines, 1))
    planted = {(line, mark[1]) for line, mark in marks if mark}
    found = {
        (line, re.search(r"\[([\w-]+)\]$", text)[1])
        for file, line, kind, text in said
        if file == SCRIPT.name and kind == "error"
    }
    assert len(planted) > 50
    assert found == planted


def test_every_estimator_shows_its_parameters_and_attributes_and_no_others(said):
    cases = lines_of_attributes()[1]
    of_attributes = [(cases[line - 2], kind, text) for file, line, kind, text in said if file == "attributes.py"]
    known = {case: text for case, kind, text in of_attributes if kind == "note" and "Revealed" in text}
    errors = {case for case, kind, text in of_attributes if kind == "error"}
    assert len(errors) > 1000
    expected = {(name, attribute) for name in ESTIMATORS for attribute in visible(name)}
    assert errors == set(cases) - expected - BEYOND
    assert {case for case in expected if '"Any"' in known[case]} == UNKNOWN


def test_checkers_see_the_public_names_and_no_others():
    [block] = [node for node in FACE.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    shown = {alias.asname: (node.module, alias.name) for node in block.body for alias in node.names}
    assert shown == {
        name: ("fastnmf" if home == f"fastnmf.{name}" else home, name) for name, home in fastnmf._HOMES.items()
    }


def declarations():
    """Return class -> (fields that its body declares, names of its bases) of the files of the models."""
    paths = [*sorted((ROOT / "fastnmf" / "models").rglob("*.py")), ROOT / "fastnmf" / "compose.py"]
    files = [ast.parse(path.read_text("utf-8")) for path in paths]
    found = {}
    for node in (node for tree in files for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        fields = {part.target.id for part in node.body if isinstance(part, ast.AnnAssign)}
        bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
        found[node.name] = (fields, bases) if node.name not in found or fields else found[node.name]
    return found


DECLARED = declarations()


def declared(name):
    fields, bases = DECLARED.get(name, (set(), []))
    return fields.union(*(declared(base) for base in bases))


def without_annotation(kind):
    """Return what has no annotation: parameters of a function, or of a class and its public methods, and results."""
    methods = inspect.getmembers(kind, lambda part: inspect.isfunction(part) or inspect.ismethod(part))
    ours = [kind, *(method for name, method in methods if name[0] != "_" and method.__module__.startswith("fastnmf."))]
    found = []
    for function in ours:
        signature, hints = inspect.signature(function), typing.get_type_hints(function)  # which evaluates them
        missing = [p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name != "self"]
        missing += [] if inspect.isclass(function) or "return" in hints else ["return"]
        found += [f"{function.__qualname__}: {name}" for name in missing]
    return found


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_is_annotated(name):
    kind = getattr(fastnmf, name)
    assert without_annotation(kind) == []
    wanted = set(inspect.signature(kind).parameters) | documented(name)
    assert {each for each in wanted - declared(name) if not isinstance(getattr(kind, each, None), property)} == set()


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if callable(f)], ids=lambda function: function.__name__)
def test_a_public_function_or_class_is_annotated(function):
    assert without_annotation(function) == []


def test_declarations_make_no_attributes():
    """At run time a declared attribute is there after `fit` only, and the classes for checkers are not there at all."""
    held = [getattr(getattr(fastnmf, kind), name, None) for kind in ESTIMATORS for name in documented(kind)]
    assert not [each for each in held if each is not None and not isinstance(each, property)]
    ours = [kind.__name__ for kind in fastnmf.NMF.__mro__ if kind.__module__.startswith("fastnmf")]
    mixins = ["Counts", "Dispersion", "PartialFit", "ChunkedFit", "AutoStart", "Ratings", "RowErrors"]
    bases = ["BaseNMF", "TopFeaturesMixin", "Estimator", "RepresentationMixin"]
    expected = ["NMF", *(f"{name}Mixin" for name in mixins), *bases]
    assert ours[: len(expected)] == expected
    assert ours[len(expected) :] in ([], ["CallbackSupportMixin"])  # a substitute for that of scikit-learn 1.9


@pytest.mark.filterwarnings("ignore")
def test_the_right_part_of_the_script_runs(tmp_path):
    runpy.run_path(str(SCRIPT))["correct"](tmp_path)
