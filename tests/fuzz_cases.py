"""Generate the cases of `tests/fuzz.py`: data, arguments as expressions by name, estimators, calls in any order."""

import inspect
import re
import tempfile
import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import scipy.sparse as sp
from estimators import KINDS
from hypothesis import strategies as st
from numba import config

import fastnmf
from fastnmf import compose, datasets, metrics, plots, testing

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


FOLDERS = tempfile.TemporaryDirectory()


def on_disk(X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = tempfile.mkdtemp(dir=FOLDERS.name)
        fastnmf.save_csr(X, folder, columns=2 if X.shape[0] % 2 else None)
        return fastnmf.open_csr(folder, chunk_rows=2)


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
    "on disk": on_disk,
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
FACTORS = """{'f': np.arange(n) % 2, 'g': list('abc' * n)[:n]} | pd.DataFrame({'f': np.arange(n) % 3, 'g': ['a'] * n})
np.stack([np.arange(n) % 2, np.arange(n) // 2], axis=1) | {'f': np.arange(n) % 2} ||
{'f': np.arange(n + 1), 'g': ['a'] * n} | {} | {'f': [None] * n, 'g': ['a'] * n} | np.zeros((n, 0)) | ['g0', 'g1']
{'f=a': ['b'] * n, 'f': ['a=b'] * n}"""
DESIGN = """np.ones((n, 1)) | np.eye(n, 3) + 0.5 | sp.csr_array(np.eye(n, 2) + 1) | np.ones((n, 2), np.float32)
pd.DataFrame({'u': np.arange(n) + 1.0, 'v': np.ones(n)}) | np.ones((n, 3), bool) || np.eye(n, 3) | -np.ones((n, 2))
np.full((n, 2), np.nan) | np.ones((n + 1, 2)) | np.ones(n) | np.zeros((n, 2)) | [[1]] * n"""
EXPOSURE = """np.ones(n) | np.arange(n) + 0.5 | np.arange(n) * 1.0 | pd.Series(np.ones(n)) | [2] * n
10.0 ** np.arange(n) || np.zeros(n) | -np.ones(n) | np.full(n, np.nan) | np.ones(n + 1) | 'g0' | 'no such' | ['a'] * n
1e300 * np.ones(n) | 2.0"""
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
BETA += ["'negative-binomial'"]
PENALTIES = ["None", "{'H': [compose.ElasticNetPenalty(0.1, 0.2)]}", "{'W': compose.ElasticNetPenalty(0.1)}", "{}"]
PENALTIES += ["{'H': compose.GroupPenalty(0.1)}", "{'H': compose.AngularPenalty()}", "{'W': compose.HoyerPenalty()}"]
PENALTIES += ["{'W': compose.GroupPenalty(0.1, 'components')}"]
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
    "factors": FACTORS,
    "design": DESIGN,
    "exposure": EXPOSURE,
    "groups": "None | {'a': ['z0']} | {'a': [0, 'z1'], 'b': 1} || {'a': []} | {'a': ['x']} | [0] | {}",
    "own_W": "None | False | np.ones((n, 2)) | sp.csr_array(np.ones((n, 4))) || np.ones((n + 1, 2)) | np.ones(n)",
    "n_own": "1 | 2 | {'a': 1} | {0: 2} | {0: 1, 1: 0} | 9 | 0 || {'x': 1} | {0: -1} | -1 | 1.5",
    "own_penalty": "None | 0 | 0.1 | 100.0 || -1",
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
    "kernel": "'rbf' | 'linear' | 'poly' | 'cosine' | 'sigmoid' | 'chi2' | 'nearest_neighbors' || lambda a, b: 1.0",
    "gamma": "None | 0.1 | 10 | 'scale' | 'median'",
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
    "smoothness": "0 | 1.0 | 100 | {'f': 2.0} || {'x': 1.0}",
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
    "rungs": "None | ['none', 'strata'] | ['own'] | ['low_rank', 'factors'] || [] | 'none' | ['x']",
    "n_repeats": "1",
    "n_restarts": "1 | 2",
    "model": [*(f"fitted({kind!r})" for kind in KINDS), "np.ones((n, k))", "fastnmf.NMF(2)"],
    "n_clusters": "None | 1 | 2 | 50",
    "name": "None | 'NMF' | 'plsa' | 'x'",
    "shape": "(n, m) | (m, n)",
    "X_or_shape": "(n, m) | X | sp.csr_array(X) || (3,) | (-1, 2)",
    "n_entries": "1 | n | n * m || None | 10**9",
    "columns": "None | 1 | 2 | 100",
    "chunk_rows": "None | 1 | 2 | 100",
    "dtypes": "('float65',) | ['x'] | () | 'float64x'",
    "title": "None | 'A title' | '<b>' ",
    "result": "found('consensus') | found('select_rank') | found('select_strata') | fitted('NMF')",
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
    "dispersion": "0.1 | 0.5 | 0 | 'feature' | 'global' | np.full(m, 0.5)",
    "depth": "10 | 100.0 | 0",
    "penalty": "compose.ElasticNetPenalty(0.1, 0.2) | compose.ElasticNetPenalty() | 'squares' | 'total_variation'",
    "update": "None | 'hals' | object()",
    "n_columns": "None | 1 | 2",
    "axis": "0 | 1",
    "style": "'paper' | 'slide' || 'big'",
    "color_by": "'topic' | 'strata' | np.arange(n) % 2 || 'x'",
    "coordinates": ["None", FACTOR.format("n", "2")],
    "group": "0 | 1 | 'a'",
    "group_b": "None | 0 | 1",
    "features": "None | [0] | [1, 0] | ['g0'] || [] | 'x'",
    "shares": "True | None | np.ones(k) | np.arange(k) || -np.ones(k)",
    "background": "None | np.ones(m) | X.sum(axis=0) || np.zeros(m)",
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
ROWS = ("strata", "design", "exposure")
START = ("W", "H", "V", "v", "C", "S", "s", "layers")
FITS = ["fit_transform", "fit_blocks", "partial_fit"]
IN_PLACE = ("set_params", "set_output", "set_callbacks")

FUNCTIONS = {
    **{name: getattr(fastnmf, name) for name in fastnmf.__all__ if inspect.isfunction(getattr(fastnmf, name))},
    "Start": fastnmf.Start,
    "Strata.from_array": fastnmf.Strata.from_array,
    "Strata.from_blocks": fastnmf.Strata.from_blocks,
    "compose.ElasticNetPenalty": compose.ElasticNetPenalty,
    "compose.GroupPenalty": compose.GroupPenalty,
    "datasets.make_stratified": datasets.make_stratified,
    "datasets.simulate_counts": datasets.simulate_counts,
    **{f"metrics.{name}": getattr(metrics, name) for name in metrics.__all__},
    **{f"plots.{name}": getattr(plots, name) for name in plots.__all__},
    **{f"testing.{name}": getattr(testing, name) for name in testing.__all__},
}
if config.DISABLE_JIT:  # there is nothing to compile, and the data are large
    del FUNCTIONS["warmup"]
SLOW = ("testing.", "plots.", "write_report", "select_rank", "select_strata", "consensus", "select_beta")
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
    chosen += ["None"] * ("None" in str(annotation)) + ["True", "False"] * ("bool" in str(annotation) and bool(chosen))
    if name in BY_NAME and (not chosen or name not in ("loss", "normalize", "penalty", "shifts", "x")):
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
def what_rows_have(draw, is_calm, names=("strata", "factors", "design")):
    """Draw what the rows have in all calls of a case: labels, several factors or a design, and perhaps an exposure."""
    name = draw(st.sampled_from(names))
    found = {"strata" if name == "factors" else name: draw(argument(name, "", is_calm))} if name else {}
    if "design" in names and draw(st.integers(0, 3)) == 0:
        found["exposure"] = draw(argument("exposure", "", is_calm))
    return found


# Parameters of `StratifiedNMF` that go together, and what the rows have with them.
TOGETHER = [
    (["n_own"], ["strata"]),
    (["n_own", "shifts", "own_penalty"], ["strata"]),
    (["own"], ["strata"]),
    (["smoothness"], ["strata", "factors"]),
    (["gauge"], ["strata", "factors", "design"]),
    ([], ["factors", "design"]),
    (["unknown_strata"], ["strata", "factors", "factors", "design", ""]),
]


def with_rows(arguments, rows, method):
    """Return the arguments of a method, with what the rows have in place of what they had."""
    taken = [(name, text) for name, text in rows.items() if name in parameters(method)]
    return (*((name, text) for name, text in arguments if name not in (*ROWS, "weight", "background", "y")), *taken)


@st.composite
def cases(draw, only=None):
    """Draw a case: of functions one in eight, of `StratifiedNMF`, which has most parameters, another one in eight.

    `only` is the name of an estimator whose cases are wanted.
    """
    is_calm = draw(st.integers(0, 2)) > 0
    if not only and draw(st.integers(0, 7)) == 0:
        names = OFTEN if draw(st.integers(0, 5)) else sorted(FUNCTIONS)
        calls = []
        for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=3)):
            calls.append((name, draw(arguments(FUNCTIONS[name], 30, is_calm or name.startswith("plots.")))))
        return Case(draw(matrices(is_calm)), draw(matrices(is_calm)), "", (), tuple(calls))
    is_stratified = only == "StratifiedNMF" or not only and draw(st.integers(0, 7)) == 0
    kind = only or ("StratifiedNMF" if is_stratified else draw(st.sampled_from([*KINDS, "MetaNMF"])))
    is_square = kind in ("SymmetricNMF", "TriSymmetricNMF") and draw(st.integers(0, 5)) > 0
    content = {"SymmetricNMF": "affinities", "TriSymmetricNMF": "affinities"}.get(kind) if is_square else None
    if is_stratified and is_calm:
        content = draw(st.sampled_from([each for each in CONTENTS if each != "signed"]))
    X, Y = (draw(matrices(is_calm, is_square, content)) for _ in range(2))
    share, needed, rows = 15, ["n_components", "dictionary"], None
    if is_stratified and draw(st.integers(0, 3)):  # few parameters, so that they go together, and the same rows
        more, names = draw(st.sampled_from(TOGETHER))
        share, rows, needed = 1, draw(what_rows_have(is_calm, names)), [*needed, *more]
    made = draw(arguments(getattr(fastnmf, kind), share, is_calm, tuple(needed)))
    if is_calm and rows is not None:
        loss = draw(st.sampled_from(["frobenius", "kullback-leibler"])) if "smoothness" not in needed else "frobenius"
        solver = draw(st.sampled_from(["hals", "mu"])) if loss == "frobenius" else "mu"
        made = tuple((name, text) for name, text in made if name not in ("solver", "beta_loss", "sweeps"))
        made += ("solver", repr(solver)), ("beta_loss", repr(loss))
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
            given = draw(arguments(method, 12, is_calm, (*with_start, *labels)))
            calls.append((name, given if rows is None else with_rows(given, rows, method)))
    return Case(X, Y, kind, made, tuple(calls))
