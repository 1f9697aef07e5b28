"""Enforce the house rules on the source itself: who may import whom, and what may not be written where.

Nothing is imported to be checked: the rules walk syntax trees. Every rule is a function from a module to a
list of complaints, each of which says what to do; every rule is a test of its own over the package, and is
also shown to complain about a small made-up source.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
import rooms  # noqa: E402 (the command that prints the rooms)

PACKAGE = ROOT / "fastnmf"
MAX_LINES = 700  # length is a smell, not a target: at this length a file nearly always has two subjects
MAX_KERNEL_LINES, MAX_KERNEL_PARAMETERS = 40, 9  # a record counts as one

VECTORS = {
    f"kernels/{name}.py" for name in ("jit", "llvm_builder", "row_intrinsics", "tile_kernels")
}  # they write LLVM
OWN_VECTORS = {"kernels/nnls_lanes.py"}  # so does this one, for its own kernel alone
HASHED = ("jit", "llvm_builder", "records", "row_intrinsics", "tile_kernels")  # into the names of kernels
SHARED = tuple(f"fastnmf.kernels.{name}" for name in (*HASHED, "blas"))
ANYTHING = None

# room -> the other rooms that it may import, at the top of a file or inside a function: those below it
MAY_IMPORT = {
    "typing": set(),
    "kernels": set(),
    "data": {"typing", "kernels"},
    "core": {"typing", "kernels", "data"},
    "io": {"typing", "kernels", "data", "core"},
    "models": {"typing", "kernels", "data", "core", "io"},
    "compose": {"typing", "core", "models"},
    "testing": {"typing", "core", "models", "compose"},
    "metrics": {"typing", "data"},
    "selection": {"typing", "kernels", "data", "core", "io", "models", "metrics"},
    "dask": {"typing", "kernels", "data", "core", "io", "models"},
    "tl": {"typing", "kernels", "data", "core", "models", "selection", "dask"},
    "datasets": {"typing", "data"},
    "plots": {"typing", "data", "metrics"},
    "report": {"typing", "data", "metrics"},
    "cli": ANYTHING,
    "__main__": ANYTHING,
    "__init__": ANYTHING,
}
MAX_ROOMS = 17
# files that may know the package itself: its version, and the public names
KNOW_THE_PACKAGE = {"io/archive.py", "models/loading.py", "report/page.py", "report/tables.py"}

# room -> what it may import from outside (besides the standard library)
OUTSIDE = {
    "typing": {"numpy"},
    "kernels": {
        "numpy",
        "numba",
        "threadpoolctl",
    },  # threadpoolctl comes with scikit-learn; it holds BLAS to one thread
    "data": {"numpy", "scipy", "sklearn"},
    "core": {"numpy", "scipy", "IPython", "sklearn"},  # IPython: where it runs already, progress is shown in a cell
    "io": {"numpy", "scipy"},
    "models": {"numpy", "scipy", "sklearn", "pandas"},
    "compose": set(),
    "testing": {"numpy", "scipy"},
    "metrics": {"numpy", "scipy", "sklearn"},
    "selection": {"numpy", "scipy", "sklearn", "joblib", "pandas"},  # joblib comes with scikit-learn
    "dask": {"numpy", "scipy", "dask", "distributed"},
    "tl": {"numpy", "scipy"},
    "datasets": {"numpy", "scipy", "sklearn"},
    "plots": {"numpy", "scipy", "sklearn", "matplotlib"},
    "report": {"numpy", "scipy", "sklearn", "matplotlib", "pyarrow"},
    "cli": {"numpy", "scipy", "sklearn", "matplotlib"},
    "__main__": set(),
    "__init__": set(),
}

# file -> what it alone of its room may import: formats that users bring are read through the packages that define them
OUTSIDE_OF_FILE = {
    "io/texts.py": {"sklearn"},  # its vectorizers
    "io/cells.py": {"anndata", "h5py"},
    "kernels/large_ranks.py": {"llvmlite"},  # vector code of its own, which only fits of many components compile
}

# rooms in which scikit-learn is an ordinary import; elsewhere it is imported inside the function that needs
# it
SKLEARN_AT_TOP = {"models", "selection"}
OPTIONAL = {"matplotlib", "IPython", "dask", "distributed", "pandas", "pyarrow", "anndata", "h5py"}


@dataclass(frozen=True)
class Import:
    """One imported module: absolute dotted name, line, and whether it stands inside a function."""

    name: str
    line: int
    is_local: bool


@dataclass(frozen=True)
class Module:
    """One source file: path relative to the package, and its text."""

    path: str
    text: str

    @cached_property
    def nodes(self):
        """All nodes of the syntax tree, the module first."""
        return list(ast.walk(ast.parse(self.text)))

    @property
    def parts(self):
        return self.path.removesuffix(".py").split("/")

    @property
    def room(self):
        """Name the room a file belongs to: the folder, or the file itself at the top level."""
        return self.parts[0]

    @cached_property
    def comments(self):
        """Map line number to comment."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return {t.start[0]: t.string for t in tokens if t.type == tokenize.COMMENT}

    @cached_property
    def imports(self):
        return list(self._walk_imports(self.nodes[0], is_local=False))

    def _walk_imports(self, node, is_local):
        for child in ast.iter_child_nodes(node):
            inside = is_local or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, child.lineno, is_local) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield from self._from_names(child, is_local)
            elif isinstance(child, ast.Call) and called_name(child) in {"import_module", "__import__"}:
                if child.args and isinstance(child.args[0], ast.Constant):
                    yield Import(str(child.args[0].value), child.lineno, is_local)
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                inside = True
            yield from self._walk_imports(child, inside)

    def _from_names(self, node, is_local):
        """Resolve `from x import y` to x.y, so that importing a room by name is seen as well."""
        if node.level:
            here = ["fastnmf", *self.parts[:-1]]
            base = here[: len(here) - (node.level - 1)]
            prefix = ".".join(base + ([node.module] if node.module else []))
        else:
            prefix = node.module
        for alias in node.names:
            yield Import(f"{prefix}.{alias.name}", node.lineno, is_local)

    def at(self, line):
        return f"fastnmf/{self.path}:{line}"


def called_name(call):
    """Name the function of a call: `f(...)` and `a.b.f(...)` give "f"."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def decorator_names(function):
    """List the last part of every decorator's name, called or not."""
    plain = [d.func if isinstance(d, ast.Call) else d for d in function.decorator_list]
    return {d.attr if isinstance(d, ast.Attribute) else getattr(d, "id", "") for d in plain}


def kernels_of(module):
    """List the functions that Numba compiles."""
    if module.room != "kernels":
        return []
    compiled = {"kernel", "helper", "njit", "jit", "vectorize", "guvectorize"}
    functions = [n for n in module.nodes if isinstance(n, ast.FunctionDef)]
    return [f for f in functions if compiled & decorator_names(f)]


def code_lines(function, comments):
    """Count the lines of a function that hold code: no docstring, no comment lines, no blank ones."""
    lines = set()
    for statement in function.body[1:] if ast.get_docstring(function) is not None else function.body:
        lines.update(range(statement.lineno, statement.end_lineno + 1))
    signature = function.body[0].lineno - function.lineno
    return signature + len({line for line in lines if line not in comments})


# small numbers that tune one algorithm, and do not tell where digits end: (file, number)
SMALL_BY_TUNING = {
    ("core/descent.py", 1e-12),  # gtol of L-BFGS: as good as never, `History` stops it
    ("core/dispersion.py", 1e-9),  # SIZE_CHANGE, where the search for a size ends
    ("core/inference.py", 1e-6),  # SETTLED, where updates of rows end
    ("core/init/nndsvd.py", 1e-6),  # tolerance of the eigensolver
    ("core/init/starts.py", 1e-6),  # what is added to a start, as a share of the means
    ("core/shifts.py", 1e-6),  # tol of `estimate_divergence`, as of a fit
}

# ---------------------------------------------------------------- the rules


def rule_rooms_are_known(module):
    if module.room in MAY_IMPORT and module.room in OUTSIDE:
        return []
    return [f"{module.at(1)}: unknown room; add it to MAY_IMPORT and OUTSIDE and say what it may import"]


def rule_imports_go_leftwards(module):
    allowed = MAY_IMPORT.get(module.room, set())
    complaints = []
    for found in module.imports:
        parts = found.name.split(".")
        if parts[0] != "fastnmf" or allowed is ANYTHING:
            continue
        target = parts[1] if len(parts) > 1 and parts[1] in MAY_IMPORT else "__init__"
        is_known = target == "__init__" and module.path in KNOW_THE_PACKAGE
        if target != module.room and target not in allowed and not is_known:
            may = ", ".join(sorted(allowed)) or "nothing of ours"
            complaints.append(
                f"{module.at(found.line)}: {module.room} imports {found.name}; it may import {may}. "
                "Move the code to the right, or pass the value in"
            )
    return complaints


def rule_outside_packages(module):
    allowed = OUTSIDE.get(module.room, set()) | {"fastnmf"} | set(sys.stdlib_module_names)
    allowed |= OUTSIDE_OF_FILE.get(module.path, set())
    if module.path in VECTORS | OWN_VECTORS:
        allowed = allowed | {"llvmlite"}
    return [
        f"{module.at(found.line)}: {module.room} imports {found.name}; numba belongs to kernels/, "
        "llvmlite to VECTORS, scikit-learn to models/ and the right, other packages to nobody"
        for found in module.imports
        if found.name.split(".")[0] not in allowed
    ]


def rule_kernel_files_stand_alone(module):
    if module.room != "kernels":
        return []
    ours = [i for i in module.imports if i.name.startswith("fastnmf")]
    # the shared files, which jit.py hashes; and what has no kernel of its own
    if module.path in VECTORS | {"kernels/__init__.py", "kernels/blas.py", "kernels/ahead.py"}:
        return []
    return [
        f"{module.at(i.line)}: a kernel file imports nothing of ours but the shared files (Numba's disk cache "
        f"does not notice edits in another file), not {i.name}"
        for i in ours
        if not i.name.startswith(SHARED)
    ]


def rule_compile_only_through_kernel(module):
    if module.path in VECTORS:
        return []
    plain = {"njit", "jit", "jitclass", "vectorize", "guvectorize", "cfunc", "stencil"}
    nodes = [n for n in module.nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    return [
        f"{module.at(n.lineno)}: {n.name} is compiled by {sorted(plain & decorator_names(n))}; use @kernel from jit.py"
        for n in nodes
        if plain & decorator_names(n)
    ]


def rule_optional_packages_inside_functions(module):
    optional = OPTIONAL | (set() if module.room in SKLEARN_AT_TOP else {"sklearn"})
    return [
        f"{module.at(found.line)}: import {found.name} inside the function that needs it: it is optional "
        "or slow, and importing fastnmf must not pay for it"
        for found in module.imports
        if found.name.split(".")[0] in optional and not found.is_local
    ]


def rule_nothing_imports_tests_or_bench(module):
    return [
        f"{module.at(found.line)}: the package imports {found.name}; tests and bench use the package, not the reverse"
        for found in module.imports
        if found.name.split(".")[0] in {"tests", "bench", "conftest", "oracles", "oracle_data", "variants"}
    ]


def rule_kernels_never_raise_or_print(module):
    complaints = []
    for function in kernels_of(module):
        for node in ast.walk(function):
            is_print = isinstance(node, ast.Call) and called_name(node) == "print"
            if is_print or isinstance(node, ast.Raise | ast.Assert | ast.Try):
                complaints.append(
                    f"{module.at(node.lineno)}: kernel {function.name} raises or prints; return a status or "
                    "a value and let the caller speak"
                )
    return complaints


def rule_kernels_are_small(module):
    complaints = []
    for function in kernels_of(module):
        arguments = function.args
        count = len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)
        lines = code_lines(function, module.comments)
        if count > MAX_KERNEL_PARAMETERS or arguments.vararg or arguments.kwarg:
            complaints.append(
                f"{module.at(function.lineno)}: {function.name} takes {count} parameters, at most "
                f"{MAX_KERNEL_PARAMETERS}; put arrays that belong together into a record"
            )
        if lines > MAX_KERNEL_LINES:
            complaints.append(
                f"{module.at(function.lineno)}: {function.name} has {lines} lines of code, at most "
                f"{MAX_KERNEL_LINES}; split it"
            )
    return complaints


@cache
def kernel_names():
    """Return the names of all kernels, which are functions of modules."""
    found = (f for module in modules("kernels") for f in kernels_of(module) if "kernel" in decorator_names(f))
    return {function.name for function in found}


def rule_kernels_take_no_bare_tuples(module):
    described = [f for f in kernels_of(module) if re.search(r"^\s*[*\w, ]+ : tuple", ast.get_docstring(f) or "", re.M)]
    calls = [n for n in module.nodes if isinstance(n, ast.Call) and called_name(n) in kernel_names()]
    passed = [n for n in calls if any(isinstance(a, ast.Tuple) for a in n.args)]
    return [
        f"{module.at(n.lineno)}: a kernel takes no anonymous tuple; make it a record of kernels/records.py"
        for n in described + passed
    ]


def rule_never_densify(module):
    complaints = []
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and node.attr in {"toarray", "todense"}:
            span = range(node.lineno, node.end_lineno + 1)
            comment = " ".join(module.comments.get(line, "") for line in span)
            if not re.search(r"never-densify-ok: \w+", comment):
                complaints.append(
                    f"{module.at(node.lineno)}: .{node.attr} makes a sparse matrix dense; use a kernel, or "
                    "if it is small by construction end the line with '# never-densify-ok: why'"
                )
    return complaints


def rule_files_are_short(module):
    count = len(module.text.splitlines())
    complaint = f"fastnmf/{module.path}: {count} lines, at most {MAX_LINES}; split it by subject"
    return [complaint] if count > MAX_LINES else []


def rule_models_do_not_loop_over_data(module):
    if module.room != "models":
        return []
    sizes = {"shape", "range", "len", "arange", "indptr", "nnz", "size", "nditer", "n_samples", "n_features"}
    complaints = []
    for node in module.nodes:
        if not isinstance(node, ast.For | ast.AsyncFor | ast.While):
            continue
        over = node.test if isinstance(node, ast.While) else node.iter
        names = {n.id for n in ast.walk(over) if isinstance(n, ast.Name)}
        names |= {n.attr for n in ast.walk(over) if isinstance(n, ast.Attribute)}
        if names & sizes:
            complaints.append(
                f"{module.at(node.lineno)}: a loop over {ast.unparse(over)} in a model; models hold "
                "parameters, docs and _problem(): put the loop in a kernel, or the iteration in core"
            )
    return complaints


LOOPS = {"max_iter", "n_outer", "n_inner", "n_passes", "passes", "max_rounds", "n_iter"}
CLOCKS = {"perf_counter", "monotonic", "process_time", "thread_time"}

# function -> why it may do by itself what belongs to `core/iterate.py`
OWN_LOOPS = {
    "core/progress.py": "shows how many of several fits are done, and when compiling began; no fit reads this clock",
}


def rule_one_loop(module):
    """The loop of a fit, its clock, its history and its rules for stopping are in core/iterate.py."""
    if module.room not in ("core", "models") or module.path == "core/iterate.py" or module.path in OWN_LOOPS:
        return []
    complaints = []
    for node in module.nodes:
        found = None
        if isinstance(node, ast.Attribute | ast.Name) and names_of(node, deep=False) & CLOCKS:
            found = "reads a clock"
        elif isinstance(node, ast.Compare) and "tol" in names_of(node):
            found = "compares with tol"
        elif isinstance(node, ast.For | ast.While | ast.comprehension):
            over = node.test if isinstance(node, ast.While) else node.iter
            found = "loops over iterations" if names_of(over) & LOOPS else None
        elif isinstance(node, ast.Call) and called_name(node) in {"append", "extend", "note", "setdefault"}:
            into = node.func.value if isinstance(node.func, ast.Attribute) else node
            found = "appends to a history" if any("history" in name for name in names_of(into)) else None
        elif isinstance(node, ast.AugAssign) and any("history" in name for name in names_of(node.target)):
            found = "appends to a history"
        if found:
            line = getattr(node, "lineno", None) or node.iter.lineno
            complaints.append(f"{module.at(line)} {found}; make it a Solver that core/iterate.py iterates")
    return complaints


def names_of(node, deep=True):
    """Return the names and attributes in an expression; of the node alone without `deep`."""
    nodes = ast.walk(node) if deep else [node]
    return {getattr(n, "id", None) or getattr(n, "attr", None) for n in nodes} - {None}


def rule_exact_weights_come_from_inference(module):
    """Complain where an `ActiveSet` is made and called at once, as for weights, outside core/inference.py."""
    return [
        f"{module.at(node.lineno)}: exact weights are found once, by `exact` in core/inference.py; call that"
        for node in module.nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Call) and called_name(node.func) == "ActiveSet"
        if module.path != "core/inference.py"
    ]


def rule_row_index_is_written_once(module):
    """Complain about ``np.repeat(..., np.diff(...))``, which repeats something of a row for each of its entries."""
    return [
        f"{module.at(node.lineno)}: {ast.unparse(node)} is `row_index` of data/layout.py, or an array indexed by it"
        for node in module.nodes
        if isinstance(node, ast.Call) and called_name(node) == "repeat" and len(node.args) > 1
        if isinstance(node.args[1], ast.Call) and called_name(node.args[1]) == "diff"
        if module.path != "data/layout.py"
    ]


def rule_thresholds_have_names(module):
    """Complain about numbers of at most 1e-6, and epsilons, in core/ outside core/thresholds.py."""
    if module.room != "core" or module.path == "core/thresholds.py":
        return []
    numbers = [n for n in module.nodes if isinstance(n, ast.Constant) and isinstance(n.value, float)]
    small = [n for n in numbers if 0 < n.value <= 1e-6 and (module.path, n.value) not in SMALL_BY_TUNING]
    epsilons = [n for n in module.nodes if isinstance(n, ast.Attribute) and n.attr == "finfo"]
    return [
        f"{module.at(n.lineno)}: {ast.unparse(n)}; name a threshold in core/thresholds.py, or put what tunes one "
        "algorithm into SMALL_BY_TUNING"
        for n in small + epsilons
    ]


RULES = [value for name, value in list(globals().items()) if name.startswith("rule_")]


# ---------------------------------------------------------------- the package obeys


def modules(room=""):
    """Read every source file of the package, or of one room."""
    paths = sorted((PACKAGE / room).rglob("*.py"))
    return [Module(p.relative_to(PACKAGE).as_posix(), p.read_text("utf-8")) for p in paths]


@pytest.fixture(scope="module")
def package():
    """Return the source files of the package, which all rules read: each is parsed once."""
    return modules()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__.removeprefix("rule_"))
def test_package_obeys(rule, package):
    complaints = [complaint for module in package for complaint in rule(module)]
    assert not complaints, "\n" + "\n".join(complaints)


def test_rooms_have_one_way_up():
    files = rooms.imports_of_files()
    arrows = rooms.graph(files)
    assert len(arrows) <= MAX_ROOMS
    rooms.floors(arrows)  # raises where some import each other in a circle
    faces = {name for name, path in rooms.modules().items() if path.name in ("__init__.py", "__main__.py")}
    rooms.floors({name: imported - faces for name, imported in files.items() if name not in faces})


def test_a_circle_is_found():
    with pytest.raises(ValueError, match="circle: a, b"):
        rooms.floors({"a": {"b"}, "b": {"a"}, "c": set()})


def test_the_shared_files_are_hashed_into_the_names_of_kernels():
    tree = ast.parse((PACKAGE / "kernels" / "jit.py").read_text("utf-8"))
    [held] = [n for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "_SHARED"]
    names = {n.value for n in ast.walk(held) if isinstance(n, ast.Constant)}
    assert names == {f"{name}.py" for name in HASHED}


def test_bench_and_tests_are_short_too():
    files = [p for folder in ("tests", "bench", "docs") for p in (ROOT / folder).rglob("*.py")]
    long = [str(p.relative_to(ROOT)) for p in files if len(p.read_text("utf-8").splitlines()) > MAX_LINES]
    assert not long, f"more than {MAX_LINES} lines: {long}; split them"


def test_importing_the_package_is_cheap():
    heavy = sorted(OPTIONAL | {"sklearn", "scipy.optimize"})
    code = f"import sys, fastnmf; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]", f"'import fastnmf' loads {done.stdout.strip()}; import it lazily in __init__"


# ---------------------------------------------------------------- the rules can fail


def kernel_source(n_lines=1, parameters="a", body="    a[0] = 1.0\n", decorator="@kernel"):
    return f'{decorator}\ndef rows_sum({parameters}):\n    """Do it.\n\n    More.\n    """\n' + body * n_lines


BAD = [
    (rule_rooms_are_known, "helpers.py", ""),
    (rule_imports_go_leftwards, "data/matrix.py", "from ..core.updates import MU"),
    (rule_imports_go_leftwards, "data/matrix.py", "def f():\n    from ..core import iterate"),
    (rule_imports_go_leftwards, "core/iterate.py", "import fastnmf.models.nmf"),
    (rule_imports_go_leftwards, "io/models.py", "from ..models.nmf import NMF"),
    (rule_imports_go_leftwards, "models/nmf.py", "from ..selection import select_rank"),
    (rule_imports_go_leftwards, "metrics/topics.py", "from fastnmf.kernels import rows"),
    (rule_imports_go_leftwards, "core/problem.py", "import importlib\nimportlib.import_module('fastnmf.io.archive')"),
    (rule_imports_go_leftwards, "core/problem.py", "from .. import __version__"),
    (rule_outside_packages, "core/iterate.py", "import numba"),
    (rule_outside_packages, "cli/commands.py", "def info():\n    import numba\n"),
    (rule_outside_packages, "kernels/rows.py", "from llvmlite import ir"),
    (rule_outside_packages, "io/archive.py", "from sklearn.utils import check_array"),
    (rule_outside_packages, "io/archive.py", "def f():\n    import anndata"),
    (rule_optional_packages_inside_functions, "io/texts.py", "import sklearn"),
    (rule_outside_packages, "core/iterate.py", "import pandas"),
    (rule_kernel_files_stand_alone, "kernels/rows.py", "from .products import csr_matmul"),
    (rule_compile_only_through_kernel, "kernels/rows.py", "@numba.njit(cache=True)\ndef f(a):\n    pass"),
    (rule_optional_packages_inside_functions, "plots/topics.py", "import matplotlib.pyplot as plt"),
    (rule_optional_packages_inside_functions, "datasets/text.py", "from sklearn.utils import Bunch"),
    (rule_nothing_imports_tests_or_bench, "metrics/topics.py", "import tests.oracles"),
    (rule_kernels_never_raise_or_print, "kernels/rows.py", kernel_source(body="    raise ValueError\n")),
    (rule_kernels_never_raise_or_print, "kernels/rows.py", kernel_source(body="    print(a)\n")),
    (rule_kernels_are_small, "kernels/rows.py", kernel_source(n_lines=40)),
    (rule_kernels_are_small, "kernels/rows.py", kernel_source(parameters="a, b, c, d, e, f, g, h, i, j")),
    (
        rule_kernels_are_small,
        "kernels/rows.py",
        kernel_source(parameters="*a", decorator="@kernel(serial=True)"),
    ),
    (
        rule_kernels_take_no_bare_tuples,
        "kernels/rows.py",
        kernel_source().replace("More.", "Parameters\n    ----------\n    a : tuple (indptr, data)"),
    ),
    (rule_kernels_take_no_bare_tuples, "core/iterate.py", "rows.rows_sum(tasks, (indptr, data), parts)"),
    (rule_never_densify, "metrics/topics.py", "x = X.toarray()"),
    (rule_never_densify, "metrics/topics.py", "x = X.todense()  # never-densify-ok:"),
    (rule_files_are_short, "metrics/topics.py", "x = 1\n" * 701),
    (rule_one_loop, "core/batches.py", "import time\nbegan = time.perf_counter()"),
    (rule_one_loop, "core/descent.py", "def f(change, tol):\n    return change < tol"),
    (rule_one_loop, "models/nmf.py", "for _ in range(self.max_iter):\n    pass"),
    (rule_one_loop, "models/nmf.py", "fit.history['objective'].append(1.0)"),
    (rule_one_loop, "models/nmf.py", "fit.history['objective'] += [1.0]"),
    (rule_models_do_not_loop_over_data, "models/nmf.py", "for i in range(X.shape[0]):\n    pass"),
    (rule_models_do_not_loop_over_data, "models/nmf.py", "i = 0\nwhile i < len(X):\n    i += 1"),
    (rule_thresholds_have_names, "core/stack.py", "gram += 1e-12"),
    (rule_thresholds_have_names, "core/losses/labels.py", "LEAST = 1e-6"),
    (rule_thresholds_have_names, "core/objectives.py", "rounding = 8 * np.finfo(dtype).eps"),
    (rule_row_index_is_written_once, "core/stack.py", "i = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))"),
    (rule_exact_weights_come_from_inference, "core/batches.py", "HALS()(W, sub, k, 5)\nActiveSet()(W, sub, k)"),
]

GOOD = [
    ("data/matrix.py", "import numpy as np\nfrom scipy import sparse\nfrom ..kernels import products"),
    ("kernels/rows.py", "import numba\nfrom .jit import kernel\n" + kernel_source(n_lines=38)),
    ("core/iterate.py", "rows.rows_sum(tasks, CSR(indptr, indices, data), parts)"),
    ("kernels/row_intrinsics.py", "from llvmlite import ir"),
    (
        "models/nmf.py",
        "from sklearn.base import BaseEstimator\nfrom ..core.losses import Frobenius\nfrom .base import estimator",
    ),
    ("models/nmf.py", "for name in ('W', 'H'):\n    pass"),
    (
        "metrics/topics.py",
        "def f(X):\n    import sklearn\n    return X.toarray()  # never-densify-ok: one row at a time",
    ),
    ("plots/topics.py", "def draw():\n    import matplotlib.pyplot as plt\n    from .style import INK"),
    ("io/archive.py", "from .. import __version__"),
    ("cli/commands.py", "from .. import __version__, datasets"),
    ("models/semi.py", "updates = {'W': ActiveSet()}"),
    ("core/inference.py", "ActiveSet()(F, sub, rank)"),
    ("data/layout.py", "i = np.repeat(np.arange(n), np.diff(indptr))"),
    ("core/shifts.py", "V = np.repeat(prior[None], n, axis=0)"),
    ("core/shifts.py", "tol = 1e-6"),
    ("core/iterate.py", "share = 1e-3"),
    ("core/thresholds.py", "MU_EPS = 1e-9"),
    ("models/symmetric.py", "tol = 1e-6"),
]


@pytest.mark.parametrize(
    ("rule", "path", "text"), BAD, ids=[f"{r.__name__[5:]}-{i}" for i, (r, _, _) in enumerate(BAD)]
)
def test_rule_complains(rule, path, text):
    complaints = rule(Module(path, text))
    assert complaints
    assert path in complaints[0]


@pytest.mark.parametrize(("path", "text"), GOOD)
def test_rules_accept_good_code(path, text):
    assert [complaint for rule in RULES for complaint in rule(Module(path, text))] == []


def test_small_numbers_that_tune_are_still_there(package):
    found = {(module.path, n.value) for module in package for n in module.nodes if isinstance(n, ast.Constant)}
    assert SMALL_BY_TUNING <= found


def test_every_rule_is_shown_to_fail():
    untested = {rule.__name__ for rule in RULES} - {rule.__name__ for rule, _, _ in BAD}
    assert not untested, f"add a bad example to BAD for {sorted(untested)}"
