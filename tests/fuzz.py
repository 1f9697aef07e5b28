"""Call everything that is public with generated data and parameters, in generated order; report what is not right.

A case is a little program: data, an estimator, calls of its methods or of functions. Each argument is an expression, so
that a case can be printed, and run again as it is printed: ``fuzz.run(fuzz.Case(...))``. The property is in `called`: a
call returns what it promises (finite factors >= 0 of the right shape and type), or raises ValueError or TypeError (or
OSError, for files) in one sentence that the package or scikit-learn's validation wrote; and it changes no argument.

``python tests/fuzz.py SEED N`` runs N cases in this process and prints one line of JSON; `batches` does so in child
processes, so that a crash or a hang is reported with its case.
"""

import copy
import faulthandler
import json
import linecache
import os
import pathlib
import pickle
import re
import resource
import subprocess
import sys
import tempfile
import traceback
import warnings
from functools import cache

import matplotlib.pyplot
import numpy as np
import pandas as pd
import scipy.sparse as sp
import sklearn
from estimators import CASES
from fuzz_cases import FUNCTIONS, IN_PLACE, cases, data
from fuzz_cases import Case as Case  # for cases as they are printed
from hypothesis import HealthCheck, Phase, given, seed, settings
from sklearn.base import clone

import fastnmf
from fastnmf import compose
from fastnmf.kernels import jit

HOME = os.path.dirname(fastnmf.__file__) + os.sep
CHECKS = os.path.dirname(sklearn.__file__) + os.sep
PATIENCE = 150  # seconds for one case, kernels to be compiled included
MEMORY = 12 << 30

# ---------------------------------------------------------------- the property


@cache
def _fitted(kind):
    case = next(case for case in CASES if case.kind == kind)
    return case.fit(case.draw())


def fitted(kind):
    """Return a fitted model with the parameters of the registry."""
    return copy.deepcopy(_fitted(kind))


@cache
def found(name):
    X = np.random.default_rng(0).random((12, 5))
    if name == "select_strata":
        return fastnmf.select_strata(X, np.arange(12) % 2, 1, n_folds=2, rungs=["none", "strata"], random_state=0)
    more = {"n_components": 2, "n_runs": 3} if name == "consensus" else {"ranks": (1, 2), "n_folds": 2, "n_restarts": 1}
    return getattr(fastnmf, name)(X, estimator=fastnmf.NMF(max_iter=3), random_state=0, **more)


NAMES_OF_CASES = {
    "np": np,
    "sp": sp,
    "pd": pd,
    "fastnmf": fastnmf,
    "compose": compose,
    "pathlib": pathlib,
    "found": found,
}
NAMES_OF_CASES |= {"data": data, "fitted": fitted}


class Skipped(Exception):
    """An argument of this case cannot be made."""


def value_of(expression, names):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return eval(expression, names)
    except Exception as error:
        raise Skipped(f"{expression}: {error}") from error


def shot(value):
    """Return what tells whether a value has changed; None for what may change, such as a generator."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "O":
            return "objects", repr(value)
        mask = np.ma.getmaskarray(value).tobytes() if isinstance(value, np.ma.MaskedArray) else b""
        return value.dtype.str, value.shape, value.strides, value.flags.writeable, np.asarray(value).tobytes(), mask
    if sp.issparse(value):
        parts = [(name, getattr(value, name, None)) for name in ("data", "indices", "indptr", "rows", "coords")]
        return type(value).__name__, value.shape, [(name, shot(part)) for name, part in parts]
    if isinstance(value, (pd.DataFrame, pd.Series)):
        return repr(value.index), repr(getattr(value, "columns", "")), repr(value.to_numpy()), str(value.dtypes)
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [shot(each) for each in value]
    if isinstance(value, dict):
        return [(repr(key), shot(each)) for key, each in value.items()]
    if hasattr(value, "get_params"):
        return shot({name: part for name, part in vars(value).items() if not name.startswith("__")})
    return repr(value) if isinstance(value, (str, int, float, set, bytes)) else None


def one_sentence(text):
    """Tell whether a message is a sentence: one line, printable, not endless."""
    return "\n" not in text and text.isprintable() and 15 < len(text) < 600 and text[-1] in ".)'\""


def wrong_error(error):
    """Return what is wrong with an error, or "": we or scikit-learn's checks are to raise it, in one sentence."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    ours = [frame for frame in frames if frame.filename.startswith(HOME)]
    place = f"{ours[-1].filename.removeprefix(HOME)}:{ours[-1].lineno} {ours[-1].name}" if ours else "outside"
    said = f"{type(error).__name__} at {place}"
    if isinstance(error, AssertionError) and last.filename.endswith("testing.py"):  # what `fastnmf.testing` is for
        return ""
    if not isinstance(error, (ValueError, TypeError, OSError)):
        return said
    if isinstance(error, OSError):
        return ""
    is_ours = last.filename.startswith((HOME, CHECKS)) and linecache.getline(
        last.filename, last.lineno
    ).strip().startswith("raise")
    if type(error.__cause__).__name__ == "_RemoteTraceback" and one_sentence(str(error)):  # raised in another process
        return ""
    if not ours:  # a method that is scikit-learn's own
        return ""
    if not is_ours:
        return f"raw {said}"
    return "" if last.filename.startswith(CHECKS) or one_sentence(str(error)) else f"no sentence: {said}"


# NaN without words, or pairs of words; infinity for zeros that are not optimal: their docstrings say so
NOT_FINITE = ("metrics.diversity", "metrics.coherence", "metrics.kkt_residual", "metrics.normalized_loss", "perplexity")
NOT_FINITE += ("metrics.relevance", "metrics.negative_binomial_nll")
SIGNED = {"SemiNMF": ("components_",), "ConvexNMF": ("components_",), "KernelNMF": ("X_fit_", "C_")}
SIGNED |= {"SemiSupervisedNMF": ("coef_",), "StratifiedNMF": ("coef_",), "HierarchicalNMF": ("coef_", "B_")}
SIGNED |= {"DictionaryNMF": ("mixtures_",)}


def numbers(found, prefix="", depth=0):
    """Yield (name, array) for the arrays of numbers in what a call returns or a model holds."""
    if isinstance(found, (list, tuple)) and depth < 4:
        for i, each in enumerate(found):
            yield from numbers(each, f"{prefix}{i}", depth + 1)
    elif isinstance(found, dict) and depth < 4:
        for name, each in found.items():
            yield from numbers(each, f"{prefix}[{name}]", depth + 1)
    elif sp.issparse(found):
        yield prefix, found.tocoo().data
    elif isinstance(found, (pd.DataFrame, pd.Series)):
        yield prefix, found.to_numpy()
    elif isinstance(found, (np.ndarray, float)):
        yield prefix, np.asarray(found)


def wrong_model(model, kind, X):
    """Return what is wrong with a fitted model, or an empty string."""
    for name, value in vars(model).items():
        if not name.endswith("_") or name.startswith("_") or name in ("feature_names_in_", "strata_", "classes_"):
            continue
        for where, array in numbers(value, name):
            if array.dtype.kind != "f" or not array.size:
                continue
            if not np.isfinite(array).all():
                return f"{where} is not finite"
            if array.ndim == 2 and array.min() < 0 and name not in SIGNED.get(kind, ()):
                return f"{where} is negative"
            wanted = np.float32 if getattr(X, "dtype", None) == np.float32 else np.float64
            if name in ("W_", "components_", "shifts_") and array.dtype != wanted and not isinstance(X, pd.DataFrame):
                return f"{where} is of {array.dtype} for X of {getattr(X, 'dtype', type(X).__name__)}"
    W = getattr(model, "W_", None)
    n_rows = shape_of(X)["m" if getattr(model, "affinity", None) == "cooccurrence" else "n"]  # that of features
    if isinstance(W, np.ndarray) and len(W) != n_rows and kind != "MetaNMF":
        return f"W_ has shape {W.shape} for {shape_of(X)}"
    return ""


def wrong_answer(name, answer, X, is_of_features=False):
    """Return what is wrong with what a method returned, whose rows are features or samples; or an empty string."""
    for where, array in numbers(answer) if name not in NOT_FINITE else ():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"{where or 'it'} is not finite"
    if name in ("transform", "fit_transform"):
        answer = answer[-1] if isinstance(answer, list) else answer  # of all levels
        array = answer.toarray() if sp.issparse(answer) else np.asarray(answer)
        if array.dtype.kind == "f" and array.size and array.min() < 0:
            return "it is negative"
        if len(array) != shape_of(X)["m" if is_of_features else "n"]:
            return f"it has shape {array.shape} for {shape_of(X)}"
    return ""


def called(name, function, expressions, names, model=None, kind=""):
    """Call a function; return what is wrong, "" where it returned, None where it refused in one sentence."""
    given = {}
    for argument in sorted(dict(expressions), key=lambda each: each != "X"):  # X first: others have its shape
        given[argument] = value_of(dict(expressions)[argument], names)
        if argument == "X":
            names = names | {"X": given["X"], **shape_of(given["X"])}
    before = shot(given), None if model is None else shot(model.get_params(deep=False))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            answer = function(**given)
            wrong = ""
        except Exception as error:
            answer, wrong = None, wrong_error(error) or None
            if wrong:
                wrong += f": {' '.join(str(error).split())[:200]}"
    after = shot(given), None if model is None else shot(model.get_params(deep=False))
    if before[0] != after[0]:
        changed = [
            part for part in given if shot({part: given[part]}) != [each for each in before[0] if each[0] == repr(part)]
        ]
        return f"it changes {changed}"
    if before[1] != after[1] and name not in IN_PLACE:
        return "it changes the parameters of the estimator"
    if wrong == "":
        for warning in said:
            text = " ".join(str(warning.message).split())
            if warning.category is RuntimeWarning and warning.filename.startswith(HOME):
                return f"RuntimeWarning at {warning.filename.removeprefix(HOME)}:{warning.lineno}: {text}"
    if wrong == "" and model is not None:
        X = given.get("X")
        is_fit = name in ("fit", "fit_transform", "partial_fit", "fit_blocks")
        wrong = (
            wrong_model(model, kind, X) if is_fit and X is not None and name != "partial_fit" else ""
        ) or wrong_answer(name, answer, X, getattr(model, "affinity", None) == "cooccurrence")
    elif wrong == "" and name not in ("load", "catalogue", "warmup"):
        wrong = wrong_answer(name, answer, None) if not name.startswith(("plots.", "datasets.")) else ""
    return wrong


def run(case, folder=None):
    """Run a case; return (calls that returned, calls that were refused, what is wrong as a list of (call, what))."""
    if folder is None:
        with tempfile.TemporaryDirectory() as folder:
            return run(case, folder)
    names = NAMES_OF_CASES | {"path": f"{folder}/file", "folder": folder, "k": 2, "n": 3, "m": 3}
    try:
        names |= {"X": value_of(case.X, names), "Y": value_of(case.Y, names)}
        names |= shape_of(names["X"])
        names["model"] = made(case, names) if case.kind else None
    except Skipped:
        return 0, 0, []
    n_done, n_refused, wrong = 0, 0, []
    for name, expressions in case.calls:
        try:
            what = STEPS[name](names) if name in STEPS else called_by_name(case, name, expressions, names)
        except Skipped:
            continue
        n_done, n_refused = n_done + (what == ""), n_refused + (what is None)
        if what:
            wrong.append((f"{case.kind}.{name}" if case.kind else name, what))
    matplotlib.pyplot.close("all")
    return n_done, n_refused, wrong


def shape_of(X):
    """Return n and m where X is a matrix, also a list of lists."""
    try:
        shape = X.shape if hasattr(X, "shape") else (len(X), len(X[0]))
    except (TypeError, IndexError, KeyError):
        shape = ()
    return {"n": shape[0], "m": shape[1]} if len(shape) == 2 else {}


def made(case, names):
    """Return the estimator of a case; add its first number of components to the names."""
    k = value_of(dict(case.parameters).get("n_components", "2"), names)
    k = k[0] if isinstance(k, (tuple, list)) and len(k) else k
    names["k"] = int(k) if isinstance(k, (int, np.integer)) and 0 < k < 100 else 2
    return getattr(fastnmf, case.kind)(**{name: value_of(text, names) for name, text in case.parameters})


def called_by_name(case, name, expressions, names):
    """Call a function, or a method that the estimator has."""
    model = names["model"]
    if model is not None and not hasattr(model, name):
        raise Skipped(name)
    return called(
        name, FUNCTIONS[name] if model is None else getattr(model, name), expressions, names, model, case.kind
    )


def cloned(names):
    names["model"] = clone(names["model"])


def pickled(names):
    try:
        names["model"] = pickle.loads(pickle.dumps(names["model"]))
    except (pickle.PicklingError, AttributeError, TypeError):  # a lambda among the parameters
        raise Skipped("pickled") from None


def loaded(names):
    """Save the model and go on with the one that `load` returns."""
    model = names["model"]

    def function(path):
        model.save(path)
        names["model"] = fastnmf.load(path)

    return called("loaded", function, (("path", "path"),), names, model)


def set_output(names):
    if hasattr(names["model"], "set_output"):
        names["model"].set_output(transform="pandas")


STEPS = {"cloned": cloned, "pickled": pickled, "loaded": loaded, "set_output": set_output}


# ---------------------------------------------------------------- many cases


def main(number, n_cases, last, planted=""):
    """Run cases of a seed in this process; write each to the file `last` first; print the outcome as JSON.

    `planted` is a fault, as code, that is to be found.
    """
    faulthandler.enable()
    exec(planted)
    os.chdir(os.path.dirname(last))
    totals, wrong = {"cases": 0, "returned": 0, "refused": 0}, {}
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ValueError, OSError):
        pass
    if number % 2:  # parallel launches also for small data, in every other batch
        jit.SERIAL_BELOW = 0
    file = os.open(last, os.O_RDWR | os.O_CREAT)

    @seed(number)
    @settings(
        max_examples=n_cases,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(os.environ.get("FASTNMF_FUZZ_KIND")))
    def every(case):
        text = repr(case).encode()
        os.ftruncate(file, 0)
        os.pwrite(file, text, 0)
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        done, refused, found = run(case)
        totals["cases"] += 1
        totals["returned"] += done
        totals["refused"] += refused
        for call, what in found:
            key = re.sub(
                r"\d+(\.\d+)?(e[+-]\d+)?", "#", what.split(": ")[0] if what.startswith(("raw", "no sen")) else what
            )
            count, size, *_ = wrong.get(key, (0, 10**9))
            if case.size < size:
                wrong[key] = count + 1, case.size, call, what, repr(case)
            else:
                wrong[key] = (count + 1, *wrong[key][1:])

    every()
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps(totals | {"wrong": wrong}))


def batch(number, n_cases, folder, planted="", **environment):
    """Run a batch in a child process; return its outcome, in which a death of the process is one of the wrongs."""
    last = pathlib.Path(folder) / "last"
    here = pathlib.Path(__file__)
    path = os.pathsep.join([str(here.parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(here), str(number), str(n_cases), str(last), planted],
        env={**os.environ, "PYTHONPATH": path, "MPLBACKEND": "Agg", **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode == 0 and done.stdout:
        return json.loads(done.stdout.splitlines()[-1])
    case = last.read_text() if last.exists() else "no case"
    lines = done.stderr.splitlines()
    fatal = next((i for i, line in enumerate(lines) if line.startswith(("Fatal", "Timeout"))), len(lines) - 12)
    said = " ".join(lines[max(fatal, 0) :][:12])
    wrong = {f"ended with {done.returncode}": [1, len(case), "process", said, case]}
    return {"cases": 0, "returned": 0, "refused": 0, "wrong": wrong}


def told(outcome):
    """Return what is wrong in an outcome as text, the most frequent first, each with its smallest case."""
    lines = []
    for count, _, call, what, case in sorted(outcome["wrong"].values(), reverse=True):
        lines.append(f"{count} x {call}: {what}\n    fuzz.run(fuzz.{case})")
    return "\n".join(lines)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
