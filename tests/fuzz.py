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
import inspect
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
from dataclasses import dataclass
from functools import cache

import matplotlib.pyplot
import numpy as np
import pandas as pd
import scipy.sparse as sp
import sklearn
from estimators import CASES, KINDS
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from numba import config
from sklearn.base import clone

import fastnmf
from fastnmf import compose, datasets, metrics, plots, testing
from fastnmf.kernels import jit

HOME = os.path.dirname(fastnmf.__file__) + os.sep
CHECKS = os.path.dirname(sklearn.__file__) + os.sep
PATIENCE = 150  # seconds for one case, kernels to be compiled included
MEMORY = 12 << 30

# ---------------------------------------------------------------- data


def data(what, n, m, seed=0, dtype="float64", form="dense", spoilt=()):
    """Return data: numbers of a kind, spoilt in some ways, as a type and a form."""
    rng = np.random.default_rng(seed)
    X = rng.poisson(2, (n, m)) * 1.0
    X = {
        "counts": lambda: X,
        "sparse": lambda: X * (rng.random((n, m)) < 0.3),
        "uniform": lambda: rng.random((n, m)),
        "bits": lambda: (X > 1) * 1.0,
        "zeros": lambda: 0 * X,
        "ones": lambda: 0 * X + 1,
        "equal rows": lambda: np.repeat(rng.random((1, m)), n, axis=0),
        "rank one": lambda: np.outer(rng.random(n), rng.random(m)),
        "rank two": lambda: rng.random((n, 2)) @ rng.random((2, m)),
        "signed": lambda: X - 2,
        "affinities": lambda: X @ X.T,
        "one entry": lambda: (np.arange(n * m).reshape(n, m) == n * m // 2) * 3.0,
    }[what]()
    for how in spoilt:
        i, j = (rng.integers(size) if size else 0 for size in X.shape)
        if isinstance(how, float):
            X = X * how
        elif how == "empty row":
            X[i : i + 1] = 0
        elif how == "empty column":
            X[:, j : j + 1] = 0
        elif X.size:
            X[i, j] = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "negative": -1, "large": 1e12, "tiny": 1e-310}[
                how
            ]
    if dtype == "str":
        return X.astype(str)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X = X.astype(dtype)
    return FORMS[form](X)


def frozen(X):
    X.flags.writeable = False
    return X


def unsorted(X):
    X = sp.csr_array(X)
    for i in range(X.shape[0]):
        of_row = slice(X.indptr[i], X.indptr[i + 1])
        X.indices[of_row], X.data[of_row] = X.indices[of_row][::-1].copy(), X.data[of_row][::-1].copy()
    X.has_sorted_indices = False
    return X


def with_zeros(X):
    X = sp.csr_array(X)
    X.data[::2] = 0
    return X


FORMS = {
    "dense": lambda X: X,
    "fortran": np.asfortranarray,
    "frozen": frozen,
    "strided": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "list": lambda X: X.tolist(),
    "frame": lambda X: pd.DataFrame(X, columns=[f"g{j}" for j in range(X.shape[1])]),
    "frame of numbers": pd.DataFrame,
    "masked": lambda X: np.ma.masked_array(X, X == 0),
    "csr": sp.csr_array,
    "csr_matrix": sp.csr_matrix,
    "csc": sp.csc_array,
    "coo": sp.coo_array,
    "lil": sp.lil_array,
    "wide": lambda X: (lambda C: sp.csr_array((C.data, C.indices.astype(np.int64), C.indptr), C.shape))(
        sp.csr_array(X)
    ),
    "unsorted": unsorted,
    "twice": lambda X: (lambda C: sp.coo_array((np.tile(C.data, 2), np.tile(C.coords, 2)), C.shape))(sp.coo_array(X)),
    "explicit zeros": with_zeros,
    "a row": lambda X: X[0] if len(X) else X,
    "three dimensions": lambda X: X[None],
    "no rows": lambda X: X[:0],
    "no columns": lambda X: X[:, :0],
    "objects": lambda X: X.astype(object),
}
PLAIN = ("dense", "csr", "fortran", "frozen", "strided", "frame", "csr_matrix", "csc", "coo")
CONTENTS = ("counts", "sparse", "uniform", "bits", "zeros", "ones", "equal rows", "rank one", "rank two", "signed")
CONTENTS += ("one entry", "affinities")
SPOILT = (
    "empty row",
    "empty column",
    "nan",
    "inf",
    "-inf",
    "negative",
    "large",
    "tiny",
    1e-8,
    1e8,
    1e-30,
    1e30,
    1e-100,
    1e100,
)
DTYPES = ("float64", "float32", "int64", "int8", "uint8", "bool", "float16", "longdouble", "complex128", "str", ">f8")

# ---------------------------------------------------------------- arguments, as expressions by name
#
# X is what the method gets as X, and n, m its shape; k is n_components, or the first of several.

JUNK = """None | True | -1 | 0 | 2.5 | np.nan | np.inf | -np.inf | 'no such' | '' | [] | () | {} | object() | b'x' | 1j
np.array([1, 2]) | np.array('x') | fastnmf.NMF | np.float64(1.5) | pd.NA | [None] | {'a': 1} | 1e300 | np.ma.masked
[[1.0, 2.0], [3.0]] | range(3) | np.str_('mu') | '\\x00' | sp.eye_array(3).tocsr() | pd.Series([1, 2]) | X | {1, 2}
np.zeros((0, 0)) | 7 | np.array([[np.nan]]) | [1, 'a'] | np.bool_(True) | np.datetime64('NaT') | len"""
JUNK = re.split(r" \| |\n", JUNK)
HUGE = ("10**30", "-(10**30)")
# A count that decides how long a fit takes is never large.
COUNTS = (
    "n_components max_iter n_init n_passes n_iter n_runs n_outer n_inner n_tasks n_restarts n_repeats n_folds "
).split()
COUNTS += (
    "n_splits iters n_shift_updates sweeps n_jobs n_lags polish verbose n_threads shape rank ranks n_clusters".split()
)

STARTS = "None 'features' 'rows' 'random' 'nndsvd' 'nndsvda' 'nndsvdar' 'custom' fastnmf.Start(np.ones((k,m)))".split()
STARTS += ["fastnmf.NMF(k, max_iter=2, random_state=0).fit(np.eye(3, m))", "||", "fastnmf.NMF(2)"]
FACTOR = "np.ones(({0}, {1})) | np.zeros(({0}, {1})) | np.random.default_rng(5).random(({0}, {1})) | np.eye({0}, {1})"
FACTOR += (
    " | np.ones(({0}, {1}), np.float32) || np.ones(({0}, {1} + 1)) | -np.ones(({0}, {1})) | np.full(({0}, {1}), np.nan)"
)
LABELS = """np.arange(n) % 2 | list('ab' * n)[:n] | np.zeros(n) | np.arange(n) | ['a'] * n | np.arange(n) % 3 - 1
pd.Series(list('ab' * n)[:n]) | np.arange(n).astype(object) | pd.Categorical(list('ab' * n)[:n]) | [b'a'] * n
np.array([True] * n) || np.arange(n + 1) | np.full(n, np.nan) | [None] * n | ['a', 1] * n | 'a' | [['a']] * n
np.ma.masked_all(n) | pd.Series(['x'] * n, index=range(5, 5 + n)) | np.array([1 + 1j] * n) | [np.nan, 'a'] * n
'g0' | np.array(['2020-01-01'] * n, 'datetime64[D]') | np.arange(n)[:, None]"""
WEIGHTS = """np.ones({0}) | np.arange({0}) + 0.5 | 2.0 | np.arange({0}) * 1.0 | [1] * {0} | pd.Series(np.ones({0})) ||
np.zeros({0})
-np.ones({0}) | np.ones({0} + 1) | np.full({0}, np.nan) | ['a'] * {0} | [1j] * {0} | np.ones(({0}, 2))"""
ENTRIES = """np.ones((n, m)) | np.arange(n * m).reshape(n, m) % 2 * 1.0 | sp.csr_array(np.ones((n, m)))
np.ones((n, m)) > 0 || np.zeros((n, m))
-np.ones((n, m)) | np.ones((m, n)) | np.full((n, m), np.nan) | pd.DataFrame(np.ones((n, m)))"""
GRAPH = """np.ones(({0}, {0})) | sp.eye_array({0}).tocsr() | np.roll(np.eye({0}), 1, 0) + np.roll(np.eye({0}), -1, 0) ||
np.triu(np.ones(({0}, {0}))) | -np.ones(({0}, {0})) | np.full(({0}, {0}), np.nan) | np.ones(({0}, {0} + 1))
np.zeros(({0}, {0}))"""
NAMES = """[f'g{j}' for j in range(m)] | np.arange(m) | {f'g{j}': j for j in range(m)} | None || ['a'] * m | ['a']
pd.Index([f'g{j}' for j in range(m)]) | {j: f'g{j}' for j in range(m)} | 'abc' | [None] * m"""
SMALL = "fastnmf.{0}(2, max_iter=2, random_state=0)"
MODELS = [SMALL.format(kind) for kind in ("NMF", "StratifiedNMF", "PLSA", "SparseNMF", "MiniBatchNMF", "SemiNMF")]
BETA = "'frobenius' 'kullback-leibler' 'itakura-saito' 0 0.5 1 1.5 2 3 -1 2.0 compose.Divergence()".split()
PENALTIES = ["None", "{'H': [compose.ElasticNetPenalty(0.1, 0.2)]}", "{'W': compose.ElasticNetPenalty(0.1)}", "{}"]
PENALTIES += ["||"]
PENALTIES += ["{'H': [compose.ElasticNetPenalty]}", "{'X': []}", "[1]", "{'V': [compose.ElasticNetPenalty(0.1, 0.2)]}"]

BY_NAME = {
    "n_components": "1 | 2 | 3 | 4 | np.int64(2) | 9 || 'auto' | (3, 2) | [2, 1] | (2,)",
    "max_iter": "1 | 2 | 3 | 5",
    "tol": "0 | 1e-4 | 0.1 | np.float32(0.01)",
    "n_init": "1 | 2",
    "random_state": "0 | 1 | np.random.default_rng(3) | np.random.RandomState(3) | np.uint32(7)",
    "n_threads": "None | 1 | 2 | 64",
    "n_jobs": "None | 1 | 2",
    "verbose": "0",
    "max_time": "None | 0 | 1e-3 | 10",
    "callback": "None | lambda state: state.iteration >= 1 | lambda state: None | lambda state: state.W is None",
    "init": STARTS,
    "beta_loss": BETA,
    "loss": [*BETA, "'l1'", "'huber'", "'l21'", "'levels'", "'recon'", "'energy'"],
    "betas": "(1, 2) | (0.5, 1, 2) | [2] | (0, 3) | np.array([1, 2.0]) || (1, 1) | (-1, 2)",
    "weights": "None | (0.5, 0.5) || [1, 0] | (1,) | (0, 0)",
    "references": "None | (1.0, 2.0) || [1, 0] | (1,)",
    "sweeps": "3 | (2, 1) | (2, 1, 2) | [1, 1] | 'thorough' | 1",
    "n_lags": "1 | 2 | 3 | 9",
    "dictionary": "np.ones((3, m)) | np.eye(m) | sp.csr_array(np.eye(m)) | np.zeros((2, m)) | X || np.ones((2, m + 1))",
    "penalties": PENALTIES,
    "updates": "None | 'hals' | 'mu' | 'exact' | {'W': 'exact', 'H': 'hals'} | {'W': 'mu'} | {'V': 'mu'}",
    "schedule": "None | ('W', 'H') | (('W', 2), 'H') | ('W', 'V', 'H') || ('W',) | []",
    "strata": [LABELS, "True", "False"],
    "y": [LABELS, "None"],
    "labels": LABELS,
    "labels_true": LABELS,
    "labels_pred": LABELS,
    "row_names": LABELS,
    "titles": LABELS,
    "graph_weight": "None | 0 | 1.0 | 100",
    "feature_weight": "0 | 1.0",
    "n_neighbors": "1 | 2 | 5 | 50",
    "heat_width": "None | 0.1 | 1.0 | 1e6",
    "alpha_W": "0 | 0.1 | 10",
    "alpha_H": "0 | 0.1 | 'same' | 10",
    "alpha_V": "0 | 0.1 | 10",
    "l1_ratio": "0 | 0.5 | 1",
    "level_weights": "None | (1, 2) | (1, 1, 1) | [0, 0]",
    "label_weight": "0 | 1.0 | 1e6",
    "pool": "None | np.sqrt | lambda S: S || lambda S: S[:, :1]",
    "kernel": "'rbf' | 'linear' | 'polynomial' | 'cosine' | 'sigmoid' | 'chi2' || lambda a, b: float(a @ b)",
    "gamma": "None | 0.1 | 10",
    "degree": "None | 2 | 3",
    "coef0": "None | 0 | 1",
    "kernel_params": "None | {} | {'gamma': 1.0}",
    "estimator": ["None", *MODELS],
    "n_tasks": "1 | 2",
    "task_size": "1 | 2 | 3 | 50",
    "n_outer": "1 | 2",
    "n_inner": "1 | 2",
    "inner_tol": "0 | 0.1",
    "patience": "None | 1",
    "batch_size": "None | 1 | 2 | 100",
    "max_no_improvement": "1 | 10 | None",
    "forget_factor": "1.0 | 0.7 | 0",
    "fixed_components": "None | np.ones((1, m)) | np.full((1, m), np.nan) | sp.csr_array(np.ones((1, m)))",
    "seed_features": "None | {0: [0]} | [[0], [0]] || {0: ['g0']} | {9: [0]} | {0: [99]} | {0: 'g0'} | [[-1]]",
    "guide_weight": "0 | 1.0 | 1e6",
    "polish": "0 | 1 | 2",
    "threshold": "None | 0.1 | 1.0 | 0",
    "smoothing": "None | 0.1 | 1.0",
    "normalize": "None | 'l1' | 'l2' | 'max' | False | True",
    "smoothness": "0 | 1.0 | 100",
    "sparseness_H": "None | 0.5 | 0 | 1 | 0.9",
    "sparseness_W": "None | 0.5 | 0 | 1",
    "max_features": "None | 1 | 2 | 50",
    "max_components": "None | 1 | 2",
    "n_shift_updates": "1 | 2",
    "coupling": "0 | 0.1 | 10",
    "diagonal": "None | 0 | 1.0",
    "anchor_mass": "0 | 0.5 | 1",
    "anchor": "'components' | None",
    # methods and functions
    "W": FACTOR.format("n", "k"),
    "H": [FACTOR.format("k", "m"), "[np.ones((k, m))] * 2"],
    "V": FACTOR.format("2", "m"),
    "v": FACTOR.format("1", "m"),
    "C": FACTOR.format("n", "k"),
    "S": FACTOR.format("k", "k"),
    "s": WEIGHTS.format("k"),
    "B": FACTOR.format("n", "m"),
    "F": FACTOR.format("n", "k"),
    "a": FACTOR.format("k", "m"),
    "b": FACTOR.format("k", "m"),
    "Y": FACTOR.format("n", "2"),
    "A": [
        "[np.ones((n, 2)), np.ones((2, m))]",
        "[X, X]",
        "[X]",
        "np.ones((n, k))",
        "[np.ones((m, 3)), np.ones((3, 2))]",
    ],
    "label_mask": "None | np.ones(n) | np.ones((n, 2)) | np.arange(n) % 2 == 0",
    "layers": "[np.ones((k, m))] | [np.ones((2, 3)), np.ones((3, m))] | None",
    "shifts": FACTOR.format("2", "m"),
    "components": FACTOR.format("k", "m"),
    "vectors": FACTOR.format("k", "m"),
    "usage": FACTOR.format("2", "k"),
    "topics": [FACTOR.format("k", "m"), "[['g0', 'g1'], ['g1']]", "fitted('NMF')", "[[]]"],
    "checkpoint": "None | path + '.state' | path + '.other'",
    "checkpoint_every": "60 | 0 | 1e-3",
    "sample_weight": WEIGHTS.format("n"),
    "weight": ENTRIES,
    "mask": ENTRIES,
    "upper": "X + X | X || X[:1] | X * 0.5 | None | np.ones((n, m)) * 9",
    "graph": [GRAPH.format("n"), "None"],
    "feature_graph": GRAPH.format("m"),
    "feature_names": NAMES,
    "input_features": NAMES,
    "n": "1 | 2 | 5 | 100",
    "n_top": "1 | 2 | 5",
    "level": "-1 | 0 | 1 | None | 9",
    "path": "path | pathlib.Path(path) || path + '/no/such' | folder | 'no/such/folder/x'",
    "folder": "path + '.csr' | pathlib.Path(path + '.csr') || folder + '/no/such'",
    "blocks": "[X, X] | iter([X]) | [X[:1], X[1:]] | lambda: iter([X]) | [(X, np.arange(n) % 2)] || [] | [X, X[:, :1]]",
    "n_passes": "1 | 2",
    "tasks": "None | [X, X] || [X, X[:, :1]] | [(X, X)] | [X.T]",
    "n_iter": "None | 1 | 2",
    "n_splits": "1 | 2",
    "held_out": "0.1 | 0.5 | 0.9",
    "rank": "1 | 2 | 3",
    "iters": "0 | 1 | 2",
    "v_scaling": "1 | 2 | 0",
    "n_runs": "1 | 2 | 3",
    "density_threshold": "0.5 | 2 | 1e-6",
    "neighbors": "0.3 | 0.9 | 0.01",
    "ranks": "(1, 2) | range(1, 3) || [2, 2] | 2 | [] | (9,)",
    "n_folds": "2 | 3",
    "n_repeats": "1",
    "n_restarts": "1 | 2",
    "model": [*(f"fitted({kind!r})" for kind in KINDS), "np.ones((n, k))", "fastnmf.NMF(2)"],
    "n_clusters": "None | 1 | 2 | 50",
    "name": "None | 'NMF' | 'plsa' | 'x'",
    "shape": "(n, m) | (m, n)",
    "dtypes": "('float65',) | ['x'] | () | 'float64x'",
    "title": "None | 'A title' | '<b>' ",
    "result": "found('consensus') | found('select_rank') | fitted('NMF')",
    "history": "fitted('NMF').history_ | fitted('MiniBatchNMF').history_ | {} | {'iteration': [0, 1]}",
    "x": "'iteration' | 'seconds'",
    "image_shape": "(1, m) | (m, 1) | (2, 2)",
    "every": "1 | 2",
    "sizes": "(3, 2) | [1] | () | (0, 1)",
    "n_features": "1 | 4",
    "n_rows": "1 | 9",
    "n_cells": "1 | 9",
    "n_genes": "1 | 9",
    "n_programs": "1 | 2",
    "n_batches": "1 | 2",
    "noise": "0 | 0.5",
    "density": "None | 0.5 | 1",
    "batch_effect": "0 | 1.0",
    "dispersion": "0.1 | 0.5 | 0",
    "depth": "10 | 100.0 | 0",
    "penalty": "compose.ElasticNetPenalty(0.1, 0.2) | compose.ElasticNetPenalty() | 'squares' | 'total_variation'",
    "update": "None | 'hals' | object()",
    "n_columns": "None | 1 | 2",
    "axis": "0 | 1",
    "l1": "0 | 0.5",
    "l2": "0 | 0.5",
}
GIVEN_X = ["X"] * 12 + ["Y"] * 3 + ["X[:1]", "X[:2]", "sp.csr_array(X)", "X[:, ::-1]", "X * 2", "X.astype('float32')"]
ALWAYS = ("max_iter", "random_state", "n_outer", "n_inner", "n_runs", "n_restarts", "ranks", "iters", "estimator")


def parted(given):
    """Return the expressions of a pool that are meant for the parameter, and all of them; "||" stands between."""
    text = given if isinstance(given, str) else "\n".join(given)
    meant, _, others = text.partition("||")
    return [
        [each.strip() for each in re.split(r"\s+\|\s+|\n", part.strip(" |\n")) if each]
        for part in (meant, f"{meant}\n{others}")
    ]


BY_NAME = {name: parted(given) for name, given in BY_NAME.items()}
START = ("W", "H", "V", "v", "C", "S", "s", "layers")
FITS = ["fit_transform", "fit_blocks", "partial_fit"]
IN_PLACE = ("set_params", "set_output", "set_callbacks")

FUNCTIONS = {
    **{name: getattr(fastnmf, name) for name in fastnmf.__all__ if inspect.isfunction(getattr(fastnmf, name))},
    "Start": fastnmf.Start,
    "Strata.from_array": fastnmf.Strata.from_array,
    "Strata.from_blocks": fastnmf.Strata.from_blocks,
    "compose.ElasticNetPenalty": compose.ElasticNetPenalty,
    "datasets.make_stratified": datasets.make_stratified,
    "datasets.simulate_counts": datasets.simulate_counts,
    **{f"metrics.{name}": getattr(metrics, name) for name in metrics.__all__},
    **{f"plots.{name}": getattr(plots, name) for name in plots.__all__},
    **{f"testing.{name}": getattr(testing, name) for name in testing.__all__},
}
if config.DISABLE_JIT:  # there is nothing to compile, and the data are large
    del FUNCTIONS["warmup"]
SLOW = ("testing.", "plots.", "write_report", "select_rank", "consensus", "select_beta")
OFTEN = [name for name in FUNCTIONS if not name.startswith(SLOW)]


@cache
def parameters(function):
    """Return name -> Parameter of what can be passed by name; without those of the figures of matplotlib."""
    found = inspect.signature(function).parameters.values()
    passed = {each.name: each for each in found if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)}
    return {
        name: each for name, each in passed.items() if name not in ("self", "ax", "figure", "cmap", "color", "label")
    }


@cache
def pool(name, annotation):
    """Return the expressions that are meant for a parameter, and more: of its annotation, or of `BY_NAME`."""
    chosen = re.findall(r"'[^']*'", str(annotation)) if "Literal[" in str(annotation) else []
    if chosen and name == "init":
        return [chosen, BY_NAME["init"][1]]
    chosen += ["None"] * ("None" in str(annotation))
    if name in BY_NAME and (not chosen or name not in ("loss", "normalize", "penalty", "x")):
        return BY_NAME[name]
    return 2 * [chosen or (["True", "False"] if "bool" in str(annotation) else ["1", "2"])]


@cache
def methods(kind):
    """Return the names of the methods of an estimator that a case may call."""
    found = [name for name in dir(getattr(fastnmf, kind)) if not name.startswith(("_", "set_"))]
    found = [name for name in found if callable(getattr(getattr(fastnmf, kind), name)) and "metadata" not in name]
    reading = [name for name in found if name not in ("get_params", "fit", "fit_transform")]
    return (
        [*reading, "transform", "score", "fit"] if hasattr(getattr(fastnmf, kind), "transform") else [*reading, "fit"]
    )


# ---------------------------------------------------------------- cases


@dataclass(frozen=True)
class Case:
    """Two expressions for data, the estimator (or "") with its parameters, and calls with theirs."""

    X: str
    Y: str
    kind: str
    parameters: tuple
    calls: tuple

    @property
    def size(self):
        return len(repr(self))


TEMPLATE = "data({!r}, {}, {}, {}, {!r}, {!r}, {!r})"


@st.composite
def matrices(draw, is_calm, is_square=False, content=None):
    n, m = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 8, 12])), draw(st.sampled_from([1, 2, 3, 4, 5, 7]))
    what = content or draw(st.sampled_from(CONTENTS))
    is_odd = not is_calm and draw(st.integers(0, 5)) == 0
    harm = [each for each in SPOILT if each not in ("nan", "inf", "-inf", "negative")] if is_calm else SPOILT
    spoilt = draw(st.lists(st.sampled_from(harm), max_size=2, unique=True)) if draw(st.integers(0, 3)) == 0 else []
    dtype = draw(st.sampled_from(DTYPES)) if is_odd else draw(st.sampled_from(DTYPES[:3]))
    form = draw(st.sampled_from(sorted(FORMS))) if is_odd else draw(st.sampled_from(PLAIN))
    return TEMPLATE.format(
        what, n, n if is_square or what == "affinities" else m, draw(st.integers(0, 9)), dtype, form, tuple(spoilt)
    )


@st.composite
def argument(draw, name, annotation, is_calm):
    """Draw an expression for one parameter; `is_calm` asks for what is meant for it."""
    if name == "X":
        choices = GIVEN_X if "None" not in str(annotation) else [*GIVEN_X, "None"]
    else:
        choices = pool(name, annotation)[not is_calm]
    if is_calm or draw(st.integers(0, 11)):
        return draw(st.sampled_from(choices))
    return draw(st.sampled_from(JUNK if name in COUNTS else [*JUNK, *HUGE]))


@st.composite
def arguments(draw, function, share, is_calm, needed=()):
    """Draw arguments for some of the parameters of a function, for all that have no default.

    A start is refused unless init="custom" asks for it.
    """
    found = []
    for name, each in parameters(function).items():
        if is_calm and name in START and name not in needed and each.default is None:
            continue
        if each.default is each.empty or name in ALWAYS or name in needed or draw(st.integers(0, 99)) < share:
            found.append((name, draw(argument(name, each.annotation, is_calm))))
    return tuple(found)


@st.composite
def cases(draw):
    """Draw a case: of functions one in eight."""
    is_calm = draw(st.integers(0, 2)) > 0
    if draw(st.integers(0, 7)) == 0:
        names = OFTEN if draw(st.integers(0, 5)) else sorted(FUNCTIONS)
        calls = []
        for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=3)):
            calls.append((name, draw(arguments(FUNCTIONS[name], 30, is_calm or name.startswith("plots.")))))
        return Case(draw(matrices(is_calm)), draw(matrices(is_calm)), "", (), tuple(calls))
    kind = draw(st.sampled_from([*KINDS, "MetaNMF"]))
    is_square = kind in ("SymmetricNMF", "TriSymmetricNMF") and draw(st.integers(0, 5)) > 0
    content = {"SymmetricNMF": "affinities", "TriSymmetricNMF": "affinities"}.get(kind) if is_square else None
    X, Y = (draw(matrices(is_calm, is_square, content)) for _ in range(2))
    made = draw(arguments(getattr(fastnmf, kind), 15, is_calm, ("n_components", "dictionary")))
    needed = START if dict(made).get("init") == "'custom'" else ()
    first = draw(st.sampled_from([*8 * ["fit"], *3 * FITS, "nothing"]))
    first = first if first == "nothing" or hasattr(getattr(fastnmf, kind), first) else "fit"
    calls = []
    for name in [
        first,
        *draw(st.lists(st.sampled_from([*methods(kind), "loaded", "cloned", "pickled", "set_output"]), max_size=5)),
    ]:
        method = getattr(getattr(fastnmf, kind), name, None)
        if name in ("loaded", "cloned", "pickled", "set_output"):
            calls.append((name, ()))
        elif method is not None:
            with_start = needed if name in ("fit", "fit_transform") else ()
            labels = ("strata",) if "Stratified" in kind and draw(st.integers(0, 9)) else ()
            calls.append((name, draw(arguments(method, 12, is_calm, (*with_start, *labels)))))
    return Case(X, Y, kind, made, tuple(calls))


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
    if not ours:  # a method that is scikit-learn's own
        return ""
    if not is_ours:
        return f"raw {said}"
    return "" if last.filename.startswith(CHECKS) or one_sentence(str(error)) else f"no sentence: {said}"


# NaN without words, or pairs of words; infinity for zeros that are not optimal: their docstrings say so
NOT_FINITE = ("metrics.diversity", "metrics.coherence", "metrics.kkt_residual", "metrics.normalized_loss")
SIGNED = {"SemiNMF": ("components_",), "ConvexNMF": ("components_",), "KernelNMF": ("X_fit_",)}
SIGNED["HierarchicalNMF"] = ("coef_",)  # of least squares


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
    if isinstance(W, np.ndarray) and len(W) != shape_of(X)["n"] and kind != "MetaNMF":
        return f"W_ has shape {W.shape} for {shape_of(X)}"
    return ""


def wrong_answer(name, answer, X):
    """Return what is wrong with what a method returned, or an empty string."""
    for where, array in numbers(answer) if name not in NOT_FINITE else ():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"{where or 'it'} is not finite"
    if name in ("transform", "fit_transform"):
        array = answer.toarray() if sp.issparse(answer) else np.asarray(answer)
        if array.dtype.kind == "f" and array.size and array.min() < 0:
            return "it is negative"
        if len(array) != shape_of(X)["n"]:
            return f"it has shape {array.shape} for {shape_of(X)}"
    return ""


# what is wrong -> why it is left out for now
EXCLUDED = {
    f"overflow encountered in {what}": "new data 1e30 times or more those of the fit: units have a change of their own"
    for what in ("matmul", "cast", "multiply", "square", "ldexp", "add", "dot", "divide")
}


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
            if warning.category is RuntimeWarning and warning.filename.startswith(HOME) and text not in EXCLUDED:
                return f"RuntimeWarning at {warning.filename.removeprefix(HOME)}:{warning.lineno}: {text}"
    if wrong == "" and model is not None:
        X = given.get("X")
        is_fit = name in ("fit", "fit_transform", "partial_fit", "fit_blocks")
        wrong = (
            wrong_model(model, kind, X) if is_fit and X is not None and name != "partial_fit" else ""
        ) or wrong_answer(name, answer, X)
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
    @given(cases())
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
