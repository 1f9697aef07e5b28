"""The words of the house: identifiers and docstrings use the field's terms, not private ones.

`WORDS` is the table of `docs/architecture.md`: a word on the left is not used for what stands on the right. It is held
against the names that others meet: modules, classes, functions, methods, parameters, and attributes that are set.
"""

import ast
import re
from pathlib import Path

import pytest

import fastnmf

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "fastnmf"
WORDS = {
    # classes
    "Term": "Loss",
    "Move": "Update",
    "Several": "DivergenceMixture",
    "Burst": "FusedDenseMU",
    "Drawn": "NeighbourPull",
    "Alike": "FactorCoupling",
    "Mixture": "LazyRows",
    "Medians": "WeightedMedianDescent",
    "Minimax": "ChebyshevLP",
    "Assign": "ClusterAssignment",
    "Loop": "SolverState",
    "Watch": "FitCallbacks",
    "Course": "History",
    # attributes, parameters, functions
    "term": "loss",
    "move": "update",
    "moved": "invalidate",
    "loading": "row_scale",
    "codes": "stratum_index",
    "flat": "linear",
    "lift": "ridge",
    "free": "free_mask",
    "local": "rowwise, residual, parts, neighbours or chain",
    "remember": "cache_put",
    "has": "cache_valid",
    "apart": "fork",
    "forget": "clear_cache, or forget_factor",
    "revive": "reseed_dead_component",
    "balances": "balance_penalties",
    "anchors_scale": "equalize_norms",
    "is_anchored": "is_scale_invariant",
    "anchor": "scale_invariant",
    "falls_back": "retry_with_safe_step",
    "direct": "exact_value",
    "keeper": "checkpoint",
    "watch": "callbacks",
    "course": "history",
    "has_settled": "has_converged",
    "_settle": "_final_exact_W",
    "crew": "parallel_body",
    "claimed": "work_stealing",
    "tickets": "counters",
    "turn_rows": "load_transposed",
    "halves": "tree_sum",
    "never_rises": "monotone",
    **dict.fromkeys(
        ("_diverged", "_inferred", "_opened", "_knowing", "_known", "_placed", "_told"), "a verb and its object"
    ),
}
MODULES = {
    **dict.fromkeys(
        ("terms", "moves", "ensemble", "anchors", "emit", "simd", "lanes"), "a room of docs/architecture.md"
    ),
    **dict.fromkeys(
        ("reading", "looking", "keeping", "shapes", "own_loss", "runs", "stacked"), "a file of models/base"
    ),
    **dict.fromkeys(("streams", "measures", "transfer", "layered", "bursts", "several"), "a file of models or core"),
}
# Public names, and old public names that still work for one version.
EXCEPTIONS = {
    ("models/interval.py", "move"),
    ("models/dictionary.py", "move"),
    ("models/graph.py", "anchor"),
    ("models/catalogue.py", "never_rises"),
    ("metrics/maps.py", "lift"),  # the ratio of two shares, as in the literature on topics
    *(("data/strata.py", name) for name in ("codes", "loading")),
    # `loading` is the module that loads a model
    ("models/loading.py", "loading"),
}
PHRASES = {
    "peculiar to": "specific to",
    "never rises": "monotone, or does not increase",
    "never rise": "monotone, or do not increase",
    # of messages, too
    "going on from": "continuing from",
    "begin anew": "start over",
    "it anew": "it again, or a verb with re-",
    "file anew": "the file again",
    "not there in fit": "not seen in fit",
    "asks for several": "requests several",
    "has settled": "has converged",
    "half of the gradient of that": "half of its gradient",
    "a model that is not fitted": "an unfitted model",
    "starts that are tried": "starts to try",
    "one of the two out": "one of them out",
    "of theirs": "their",
    "set by hand": "set manually",
    "which are no ": "which are not",
    "cannot be had": "is not available",
    "whereby": "by which, or two sentences",
}


def nodes_of(text):
    """Return the nodes of the syntax tree of a source."""
    return list(ast.walk(ast.parse(text)))


@pytest.fixture(scope="module")
def files():
    """Return path -> nodes of the files of the package, which are parsed once."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return {path.relative_to(PACKAGE).as_posix(): nodes_of(path.read_text("utf-8")) for path in paths}


def names_that_others_meet(path, nodes):
    """Yield (name, line) of the module, its classes, functions, parameters, and attributes that are set."""
    yield Path(path).stem, 1
    for node in nodes:
        if isinstance(node, ast.ClassDef):
            yield node.name, node.lineno
            fields = (part.target for part in node.body if isinstance(part, ast.AnnAssign))
            yield from ((field.id, field.lineno) for field in fields if isinstance(field, ast.Name))
        elif isinstance(node, ast.FunctionDef):
            yield node.name, node.lineno
            arguments = node.args
            for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
                yield argument.arg, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def docstrings(nodes):
    """Yield (docstring, line) of a source."""
    for node in nodes:
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            yield ast.get_docstring(node), getattr(node, "lineno", 1)


def texts(nodes):
    """Yield (string, line) of a source: docstrings, and messages as far as no value is put into them."""
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.lineno


def complaints_about_names(path, nodes):
    stems = [part for part in Path(path).with_suffix("").parts if part in MODULES]
    return [f"fastnmf/{path}: the module {stem}; find it a name as in {MODULES[stem]}" for stem in stems] + [
        f"fastnmf/{path}:{line}: {name}; write {WORDS[name]}"
        for name, line in names_that_others_meet(path, nodes)
        if name in WORDS and (path, name) not in EXCEPTIONS
    ]


def complaints_about_prose(path, nodes):
    found = []
    for docstring, line in docstrings(nodes):
        if docstring.startswith("What "):
            found.append(f"fastnmf/{path}:{line}: a docstring begins with What; begin with a verb or a noun")
    for string, line in texts(nodes):
        flattened = " ".join(string.lower().split())
        found += [f"fastnmf/{path}:{line}: '{old}'; write {new}" for old, new in PHRASES.items() if old in flattened]
    return found


def parameters_without_a_section(path, nodes):
    """Complain about functions of four or more parameters whose docstring has no Parameters."""
    found = []
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    described = {  # parameters of a class stand in the docstring of the class
        id(part): ast.get_docstring(node) or ""
        for node in classes
        for part in node.body
        if isinstance(part, ast.FunctionDef) and part.name == "__init__"
    }
    for node in nodes:
        if not isinstance(node, ast.FunctionDef):
            continue
        names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        docstring = described.get(id(node), ast.get_docstring(node))
        if len([name for name in names if name not in ("self", "cls")]) < 4 or docstring is None:
            continue
        if "Parameters\n" not in docstring:
            found.append(
                f"fastnmf/{path}:{node.lineno}: {node.name} has {len(names)} parameters and no Parameters section"
            )
    return found


RULES = {
    "names": complaints_about_names,
    "prose": complaints_about_prose,
    "parameters": parameters_without_a_section,
}


@pytest.mark.parametrize("complain", RULES.values(), ids=RULES)
def test_the_package_uses_the_words(complain, files):
    found = [complaint for path, nodes in files.items() for complaint in complain(path, nodes)]
    assert not found, "\n" + "\n".join(found)


def test_the_pages_use_the_words():
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = " ".join(page.read_text("utf-8").split()).lower()
        assert [(page.name, old) for old in PHRASES if old in text] == []


def test_exceptions_are_still_there(files):
    assert [
        (path, name) for path, name in EXCEPTIONS if name not in dict(names_that_others_meet(path, files[path]))
    ] == []


def test_public_names_are_no_old_words():
    assert not set(fastnmf.__all__) & set(WORDS)


@pytest.mark.parametrize(
    ("complain", "text"),
    [
        (lambda path, nodes: complaints_about_names("models/keeping.py", nodes), ""),
        (complaints_about_names, "class Mixture:\n    pass"),
        (complaints_about_names, "def solve(term):\n    pass"),
        (complaints_about_names, "def moved():\n    pass"),
        (complaints_about_names, "class A:\n    lift: float = 0.0"),
        (complaints_about_names, "def f(self):\n    self.codes = 1"),
        (complaints_about_prose, '"""What is here."""'),
        (complaints_about_prose, '"""The objective never\nrises."""'),
        (complaints_about_prose, 'raise ValueError(f"{name} is damaged: build " f"it anew in {folder}.")'),
        (parameters_without_a_section, 'def f(a, b, c, d):\n    """Do it."""'),
    ],
)
def test_the_rules_can_fail(complain, text):
    assert complain("core/some.py", nodes_of(text))


def test_locals_are_free_and_words_within_names_too():
    nodes = nodes_of("def f(n_moves):\n    term = 1\n    return term")
    assert not complaints_about_names("core/some.py", nodes)
    assert re.fullmatch(r"\w+", next(iter(WORDS)))
