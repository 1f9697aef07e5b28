"""Golden numbers: what every estimator gave when `tests/data/golden.npz` was written, to the last bit.

A refactoring must not change them, so every fit here is large enough for its kernels to be launched in parallel. As a
command, ``python tests/golden.py`` compares, and ``--write [NAME ...]`` writes anew all entries, or those whose names
begin so. On another processor, or with other libraries (see `stamp`), numbers are compared instead of bits.
"""

import argparse
import functools
import hashlib
import inspect
import os
import platform
import subprocess
import sys
import tempfile
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import llvmlite
import llvmlite.binding
import numba
import numpy as np
import scipy
import scipy.linalg  # loads its OpenBLAS, which the stamp names
import scipy.sparse as sp
import sklearn
import threadpoolctl
from numba.core.registry import cpu_target

import fastnmf
from fastnmf.kernels import jit

FILE = Path(__file__).with_name("data") / "golden.npz"
SHORT = {"n_components": 20, "max_iter": 3, "tol": 0, "random_state": 0}
N_ENTRIES = 16
N_TRANSFORMED = 40
TOLERANCE = {"float64": 1e-8, "float32": 1e-3}  # of the largest entry, on another processor, after so few iterations

# --------------------------------------------------------------------------------------------------------------- data


def whole(n_rows, n_columns, density, seed=0):
    """Draw whole numbers near eight parts; whole, so that no library rounds them."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 3, (n_rows, 8)) @ rng.integers(0, 3, (8, n_columns)) + rng.integers(0, 4, (n_rows, n_columns))
    X[rng.random(X.shape) >= density] = 0
    X[np.arange(n_rows), np.arange(n_rows) % n_columns] += 1
    X[np.arange(n_columns) % n_rows, np.arange(n_columns)] += 1
    return X.astype(float)


def affinities(X):
    size = min(X.shape)
    return X[:size, :size] + X[:size, :size].T


def unsorted(X):
    """Return sparse X with the entries of every row backwards."""
    X = sp.csr_array(X)
    order = np.concatenate([np.arange(hi, lo, -1) - 1 for lo, hi in zip(X.indptr[:-1], X.indptr[1:], strict=True)])
    return sp.csr_array((X.data[order], X.indices[order], X.indptr), X.shape)


# name -> what makes the data from the share of entries that are not zero
DATA = {
    "counts": lambda density: whole(520, 510, density),
    "positive": lambda density: whole(520, 510, density) + 0.5,
    "signed": lambda density: whole(520, 510, density) - 4 * whole(520, 510, density / 2, seed=1),
    "bits": lambda density: (whole(700, 600, density) > 8).astype(float),
    "affinities": lambda density: affinities(whole(520, 510, density)),
    "tall": lambda density: whole(12_000, 100, max(density, 0.17)),
    "unsorted": lambda density: unsorted(whole(12_000, 100, 0.18)),
    "small": lambda density: whole(120, 100, density),
    "tiny": lambda density: whole(8, 6, density),
}
DENSITY = {"sparse": 0.06, "dense": 0.9}


@functools.cache
def data(name, dtype, form):
    X = DATA[name](DENSITY[form]).astype(dtype)
    return sp.csr_array(X) if form == "sparse" else X


def nothing(X):
    return {}


def groups(X):
    return {"strata": np.arange(X.shape[0]) * 7 % 120}


def classes(X):
    return {"y": np.where(np.arange(X.shape[0]) % 5 < 4, np.arange(X.shape[0]) % 3, -1)}


def groups_and_classes(X):
    return groups(X) | classes(X)


def above(X):
    return {"upper": X + X}


def start(X, rank=20):
    rng = np.random.default_rng(2)
    return {"W": rng.random((X.shape[0], rank)), "H": rng.random((rank, X.shape[1]))}


def grouped_start(X):
    V = np.random.default_rng(3).random((120, X.shape[1]))
    return groups(X) | start(X) | {"V": V}


def entry_weights(X):
    return {"weight": np.random.default_rng(4).choice([0.0, 0.25, 1.0, 1.0, 3.0], X.shape)}


def few_missing(X):
    return {"weight": (np.random.default_rng(4).random(X.shape) < 0.8).astype(float)}


def grouped_weights(X):
    return groups(X) | entry_weights(X)


def grouped_missing(X):
    return groups(X) | few_missing(X)


def row_weights(X):
    return {"sample_weight": 1 + np.arange(X.shape[0]) % 4}


def grouped_row_weights(X):
    return groups(X) | row_weights(X)


def ring(X):
    n = X.shape[0]
    return {"graph": sp.csr_array(sp.diags_array([1.0, 1.0, 1.0, 1.0], offsets=[-1, 1, 1 - n, n - 1], shape=(n, n)))}


def feature_ring(X):
    return {"feature_graph": ring(X.T)["graph"]}


def known_entries(X):
    return {"mask": np.random.default_rng(4).random(X.shape) < 0.8}


def atoms(X):
    return np.minimum(np.arange(25)[:, None] * 7 % 11 + np.arange(X.shape[1]) % 13 + 1, 9) / 4


# -------------------------------------------------------------------------------------------------------------- cases


def fitted(model, X, more):
    """Fit, and transform the first rows."""
    model.fit(X, **more)
    if not hasattr(model, "transform"):
        return model, {}
    head = {name: value[:N_TRANSFORMED] for name, value in more.items() if name in ("strata", "upper")}
    return model, {"transform": model.transform(X[:N_TRANSFORMED], **head)}


def fitted_whole(model, X, more):
    """Fit, and transform all rows."""
    model.fit(X, **more)
    return model, {"transform": model.transform(X, **{name: more[name] for name in more if name == "strata"})}


def fitted_again(model, X, more):
    """Fit twice, the second time from where the first has ended."""
    return model.fit(X, **more).fit(X, **more), {}


def learned(model, X, more):
    """Learn from two halves, and transform the first rows."""
    half = X.shape[0] // 2
    for part in (slice(half), slice(half, None)):
        model.partial_fit(X[part], **{name: value[part] for name, value in more.items()})
    head = {name: value[:N_TRANSFORMED] for name, value in more.items()}
    return model, {"transform": model.transform(X[:N_TRANSFORMED], **head)}


def learned_in_blocks(model, X, more):
    """Learn from three blocks in two passes."""
    parts = [slice(lo, lo + 200) for lo in range(0, X.shape[0], 200)]
    blocks = [(X[part], more["strata"][part]) if more else X[part] for part in parts]
    return model.fit_blocks(blocks, n_passes=2), {}


def met_new_strata(model, X, more):
    """Fit, and transform rows of which some are of strata that were not there."""
    model.fit(X, **more)
    strata = np.where(np.arange(N_TRANSFORMED) % 2, more["strata"][:N_TRANSFORMED], 1000 + np.arange(N_TRANSFORMED) % 4)
    return model, {"transform": model.transform(X[:N_TRANSFORMED], strata=strata)}


@dataclass(frozen=True)
class Case:
    """One estimator with options, and the data of its fits.

    `given` makes the further arguments of fit from the data; `run` fits, and returns the model and further arrays.
    Options that are functions are made from the data as well. Choices of a chaotic model, between values that are
    nearly the same, go another way on another processor: there its objective alone is compared. `slack` multiplies
    the tolerance there, for weights that the data hardly determine.
    """

    kind: str
    name: str = ""
    data: str = "counts"
    given: callable = nothing
    run: callable = fitted
    forms: tuple = ("sparse", "dense")
    dtypes: tuple = ("float32", "float64")
    is_chaotic: bool = False
    slack: float = 1.0
    options: dict = field(default_factory=dict, hash=False)

    def __str__(self):
        return f"{self.kind}-{self.name}" if self.name else self.kind

    def fit(self, dtype, form, n_threads):
        """Return the model, and arrays beside its attributes, from a fit with so many threads."""
        X, kind = data(self.data, dtype, form), getattr(fastnmf, self.kind)
        known = inspect.signature(kind).parameters
        options = {name: value(X) if inspect.isfunction(value) else value for name, value in self.options.items()}
        options = {name: value for name, value in SHORT.items() if name in known} | options
        with ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            if "n_threads" in known:
                options["n_threads"] = n_threads
            else:
                stack.enter_context(jit.threads(n_threads))
            if not inspect.isclass(kind):
                return None, self.run(kind, X, options)
            return self.run(kind(**options), X, self.given(X))


FIELDS = {"data", "given", "run", "forms", "dtypes", "is_chaotic", "slack"}


def of(kind, name="", **more):
    """Return a case; what is no field of it is an option of the estimator."""
    fields = {key: value for key, value in more.items() if key in FIELDS}
    return Case(kind, name, **fields, options={key: value for key, value in more.items() if key not in FIELDS})


def betas_of(function, X, options):
    found = function(X, **options)
    return {name: getattr(found, name) for name in ("best", "scores", "deviances")}


def clustered(function, X, options):
    return {
        "labels": function(fastnmf.NMF(4, max_iter=4, tol=0, random_state=0).fit(X), n_clusters=4, **options).labels
    }


def published(function, A, options):
    strata = groups(A)["strata"]
    V, W, H, loss = function([A[strata == code] for code in range(120)], 20, 4, random_state=0)
    return {"V": np.asarray(V), "W": np.concatenate(W), "H": H, "loss": loss}


def solved(function, X, options):
    return {"result": function(atoms(X.T).T, X)}


KL, IS = {"solver": "mu", "beta_loss": "kullback-leibler"}, {"solver": "mu", "beta_loss": "itakura-saito"}
L1, L2 = ({"alpha_W": 0.02, "alpha_H": 0.03, "l1_ratio": share} for share in (0.7, 0.0))
# Fits that differ in where they begin and how they end, not in their kernels, are made in float64 only.
SPARSE, DENSE, DOUBLE = {"forms": ("sparse",)}, {"forms": ("dense",)}, {"dtypes": ("float64",)}
GROUPED = {"given": groups}
KNOWN = {"fixed_components": lambda X: atoms(X)[:3]}
HALF_KNOWN = {"fixed_components": lambda X: np.where(np.arange(X.shape[1]) % 2, np.nan, atoms(X)[:3])}
SEEDED = {"seed_features": {0: [0, 1, 2], 1: [5, 6]}}

CASES = (
    of("NMF"),
    of("NMF", "hals", solver="hals"),
    of("NMF", "mu", solver="mu"),
    of("NMF", "kl", **KL),
    of("NMF", "is", data="positive", **DENSE, **IS),
    of("NMF", "beta-0.5", solver="mu", beta_loss=0.5),
    of("NMF", "beta-0.5-fast", solver="mu", beta_loss=0.5, exponent="fast"),
    of("NMF", "beta-1.5", solver="mu", beta_loss=1.5),
    of("NMF", "beta-3", solver="mu", beta_loss=3),
    of("NMF", "random", init="random", **DOUBLE),
    of("NMF", "nndsvd", init="nndsvd", **DOUBLE),
    of("NMF", "nndsvda-mu", init="nndsvda", solver="mu"),
    of("NMF", "custom", init="custom", given=start, **DOUBLE),
    of("NMF", "from-fit", init=lambda X: fastnmf.NMF(20, max_iter=2, tol=0, random_state=1).fit(X), **DOUBLE),
    of("NMF", "warm", warm_start=True, run=fitted_again, **DOUBLE),
    of("NMF", "two-starts", init="random", n_init=2, **DOUBLE),
    of("NMF", "shuffle", solver="hals", shuffle=True, **DOUBLE),
    of("NMF", "sweeps", sweeps=(3, 1), **DOUBLE),
    of("NMF", "l1-cd", **L1),
    of("NMF", "l2-hals", solver="hals", **L2),
    of("NMF", "l1-mu", solver="mu", **L1),
    of("NMF", "l1-kl", **KL, **L1),
    of("NMF", "l1-tall", data="tall", **SPARSE, **L1),
    of("NMF", "missing", missing_values="zeros", run=fitted_whole),
    of("NMF", "missing-mu", missing_values="zeros", solver="mu"),
    of("NMF", "entry-weights", given=entry_weights),
    of("NMF", "entry-weights-mu", given=entry_weights, solver="mu"),
    of("NMF", "few-missing", given=few_missing),
    of("NMF", "row-weights", given=row_weights, **DOUBLE),
    of("NMF", "row-weights-kl", given=row_weights, **KL),
    of("NMF", "fixed", **KNOWN),
    of("NMF", "fixed-mu", solver="mu", **KNOWN),
    of("NMF", "fixed-kl", **KNOWN, **KL),
    of("NMF", "fixed-half", **HALF_KNOWN),
    of("NMF", "fixed-half-mu", solver="mu", **HALF_KNOWN),
    of("NMF", "seeds", **SEEDED),
    of("NMF", "seeds-missing", slack=100, missing_values="zeros", **SEEDED),
    of("NMF", "partial-fit", run=learned, **DOUBLE),
    of("NMF", "unsorted", data="unsorted", max_iter=2, **SPARSE),
    of("MiniBatchNMF", batch_size=200),
    of("MiniBatchNMF", "forget", batch_size=200, forget_factor=0.7, run=learned),
    of("MiniBatchNMF", "blocks", run=learned_in_blocks),
    of("StratifiedNMF", **GROUPED),
    of("StratifiedNMF", "steady", extrapolate=False, **GROUPED),
    of("StratifiedNMF", "thorough", sweeps="thorough", **GROUPED, **DOUBLE),
    of("StratifiedNMF", "mu", solver="mu", **GROUPED),
    of("StratifiedNMF", "mu-together", solver="mu", update_order="simultaneous", **GROUPED, **DOUBLE),
    of("StratifiedNMF", "kl", **KL, **GROUPED),
    of("StratifiedNMF", "is", data="positive", **DENSE, **IS, **GROUPED),
    of("StratifiedNMF", "beta-0.5", solver="mu", beta_loss=0.5, **GROUPED),
    of("StratifiedNMF", "beta-1.5", solver="mu", beta_loss=1.5, **GROUPED),
    of("StratifiedNMF", "rows", init="rows", **GROUPED, **DOUBLE),
    of("StratifiedNMF", "random", init="random", **GROUPED, **DOUBLE),
    of("StratifiedNMF", "nndsvd", init="nndsvd", **GROUPED, **DOUBLE),
    of("StratifiedNMF", "nndsvdar", init="nndsvdar", solver="mu", **GROUPED),
    of("StratifiedNMF", "custom", init="custom", given=grouped_start, **DOUBLE),
    of("StratifiedNMF", "warm", warm_start=True, run=fitted_again, **GROUPED, **DOUBLE),
    of("StratifiedNMF", "two-starts", n_init=2, **GROUPED, **DOUBLE),
    of("StratifiedNMF", "l1", alpha_V=0.05, **L1, **GROUPED),
    of("StratifiedNMF", "l2-mu", alpha_V=0.05, solver="mu", **L2, **GROUPED),
    of("StratifiedNMF", "l1-kl", alpha_V=0.05, **KL, **L1, **GROUPED),
    of("StratifiedNMF", "missing", missing_values="zeros", run=fitted_whole, **GROUPED),
    of("StratifiedNMF", "missing-mu", missing_values="zeros", solver="mu", **GROUPED),
    of("StratifiedNMF", "entry-weights", given=grouped_weights),
    of("StratifiedNMF", "few-missing", given=grouped_missing),
    of("StratifiedNMF", "row-weights", given=grouped_row_weights),
    of("StratifiedNMF", "equal", strata_weight="equal", **GROUPED, **DOUBLE),
    of("StratifiedNMF", "equal-kl", strata_weight="equal", **KL, **GROUPED),
    of("StratifiedNMF", "fixed", **KNOWN, **GROUPED),
    of("StratifiedNMF", "fixed-kl", **KNOWN, **KL, **GROUPED),
    of("StratifiedNMF", "seeds", **SEEDED, **GROUPED),
    of("StratifiedNMF", "labels", label_weight=0.5, given=groups_and_classes, **DOUBLE),
    of("StratifiedNMF", "max-shift", gauge="max_shift", normalize="l2", **GROUPED, **DOUBLE),
    of("StratifiedNMF", "min-shift", gauge="min_shift", normalize="max", **GROUPED, **DOUBLE),
    of("StratifiedNMF", "estimate", unknown_strata="estimate", run=met_new_strata, **GROUPED, **DOUBLE),
    of("StratifiedNMF", "estimate-kl", unknown_strata="estimate", run=met_new_strata, **KL, **GROUPED, **DOUBLE),
    of("StratifiedNMF", "partial-fit", run=learned, **GROUPED),
    of("StratifiedNMF", "tall", data="tall", **SPARSE, **GROUPED),
    of("StratifiedNMF", "tall-kl", data="tall", max_iter=2, **SPARSE, **KL, **GROUPED),
    of("MiniBatchStratifiedNMF", batch_size=200, **GROUPED),
    of("MiniBatchStratifiedNMF", "forget", batch_size=200, forget_factor=0.7, run=learned, **GROUPED),
    of("MiniBatchStratifiedNMF", "blocks", run=learned_in_blocks, **GROUPED),
    of("HierarchicalNMF", n_components=(20, 6), init="random"),
    of("HierarchicalNMF", "nested", data="small", n_components=(6, 3), **DOUBLE),
    of("HierarchicalNMF", "recon", data="small", n_components=(6, 3), loss="recon", init="nndsvd", **DOUBLE),
    of("HierarchicalNMF", "energy", data="small", n_components=(6, 3), loss="energy", init="random", **DOUBLE),
    of("HierarchicalNMF", "pgd", data="small", n_components=(6, 3), solver="pgd", init="random", **DOUBLE),
    of("HierarchicalNMF", "adam", data="small", n_components=(6, 3), solver="adam", init="random", **DOUBLE),
    of("HierarchicalNMF", "deep", data="small", n_components=(6, 3), method="deep", **DOUBLE),
    of("HierarchicalNMF", "sequential", data="small", n_components=(6, 3), method="sequential", **DOUBLE),
    of("HierarchicalNMF", "labels", data="small", n_components=(6, 3), given=classes, **DOUBLE),
    of("HierarchicalNMF", "mask", data="small", n_components=(20, 4), max_iter=2, init="random", given=known_entries),
    of("HierarchicalNMF", "tall", data="tall", n_components=(20, 4), max_iter=1, init="random", **SPARSE, **DOUBLE),
    of("SemiSupervisedNMF", given=classes),
    of("SemiSupervisedNMF", "mu", solver="mu", given=classes),
    of("SemiSupervisedNMF", "kl", label_loss="kullback-leibler", solver="mu", given=classes),
    of("SemiSupervisedNMF", "missing", missing_values="zeros", given=classes),
    of("SymmetricNMF", data="affinities"),
    of("SymmetricNMF", "diagonal", data="affinities", diagonal=1.0),
    of("SymmetricNMF", "mu", data="affinities", solver="mu"),
    of("SymmetricNMF", "penalised", data="affinities", solver="penalised"),
    of("TriSymmetricNMF", data="affinities"),
    of("TriSymmetricNMF", "cooccurrence", affinity="cooccurrence"),
    of("OrthogonalNMF"),
    of("OrthogonalNMF", "mu", solver="mu"),
    of("SemiNMF", data="signed"),
    of("ConvexNMF"),
    of("ConvexNMF", "mu", solver="mu"),
    of("ConvexNMF", "signed", data="signed", **DENSE),
    of("KernelNMF", kernel="rbf", **DENSE),
    of("KernelNMF", "mu", kernel="cosine", solver="mu", **DENSE),
    of("ProjectiveNMF"),
    of("TriNMF", n_components=(20, 16)),
    of("TriNMF", "mu", data="small", n_components=(6, 5), solver="mu"),
    of("TriNMF", "orthogonal", data="small", n_components=(6, 5), orthogonal=True),
    of("PLSA"),
    of("SeparableNMF"),
    of("SeparableNMF", "features", axis=1),
    of("SeparableNMF", "normalized", normalize=True),
    of("UnderapproximationNMF", n_components=3, max_iter=8),
    of("UnderapproximationNMF", "feasible", n_components=3, max_iter=8, feasible=True),
    of("BinaryNMF", data="bits", n_components=4, n_init=1, is_chaotic=True),
    of("BooleanNMF", data="bits", n_components=4, n_init=1, is_chaotic=True),
    of("IntervalNMF", given=above),
    of("IntervalNMF", "mu", move="mu", given=above),
    of("AffineNMF"),
    of("AffineNMF", "steady", extrapolate=False, gauge="max_shift"),
    of("AffineNMF", "mu", solver="mu"),
    of("DictionaryNMF", dictionary=atoms),
    of("DictionaryNMF", "mu", dictionary=atoms, move="mu"),
    of("RobustNMF", data="small", n_components=3, polish=1, **DENSE),
    of("RobustNMF", "mu", data="small", n_components=3, solver="mu", **DENSE),
    of("RobustNMF", "huber", data="small", n_components=3, loss="huber", **DENSE),
    of("RobustNMF", "l21", loss="l21"),
    of("ChebyshevNMF", data="tiny", n_components=2, max_iter=2, is_chaotic=True, **DENSE),
    of("DistributionallyRobustNMF"),
    of("DistributionallyRobustNMF", "steady", betas=(0.5, 1, 2), weights=(0.4, 0.4, 0.2)),
    of("select_beta", data="small", run=betas_of, n_components=3, betas=(1, 2), n_splits=2, max_iter=5, **DENSE),
    of("SparseNMF"),
    of("SparseNMF", "features", sparseness_H=None, max_features=40),
    of("SparseNMF", "samples", sparseness_H=None, max_components=2),
    of("SparseNMF", "weights", sparseness_H=None, sparseness_W=0.4),
    of("SmoothNMF"),
    of("SmoothNMF", "jumps", penalty="total_variation"),
    of("GraphNMF"),
    of("GraphNMF", "mu", solver="mu"),
    of("GraphNMF", "kl", **KL),
    of("GraphNMF", "ring", given=ring, n_components=28),
    of("GraphNMF", "features", given=feature_ring, n_components=28, feature_weight=1.0, edge_weights="heat"),
    of("GraphNMF", "strata", **GROUPED),
    of("GraphNMF", "tall", data="tall", given=ring, max_iter=2, **SPARSE),
    of("MetaNMF", estimator=lambda X: fastnmf.NMF(20, solver="mu"), n_outer=2, n_inner=3),
    of("MetaNMF", "cd", estimator=lambda X: fastnmf.NMF(20), n_outer=2, n_inner=3),
    of("cluster", run=clustered, is_chaotic=True),
    of("ConvolutiveNMF", slack=100, data="small", max_iter=2, n_components=3, n_lags=3),
    of(
        "ConvolutiveNMF",
        "kl",
        slack=100,
        data="small",
        max_iter=2,
        n_components=3,
        n_lags=3,
        beta_loss="kullback-leibler",
    ),
    of("BilinearNMF", n_components=6),
    of("DeepNMF", data="small", max_iter=2, n_components=(20, 6)),
    of("DeepNMF", "mu", data="small", max_iter=2, n_components=(6, 3), solver="mu"),
    of("nnls", run=solved),
    of("stratified_nmf", run=published, **DENSE),
)
ENTRIES = [(case, dtype, form) for case in CASES for dtype in case.dtypes for form in case.forms]

# ------------------------------------------------------------------------------------------------------------ records


class Record(NamedTuple):
    """What is kept of an array; numbers: sum, norm, largest size, and entries at places spread over it."""

    sha256: str
    dtype: str
    shape: tuple
    numbers: np.ndarray


def record(array):
    """Return the `Record` of an array."""
    array = np.ascontiguousarray(array)
    flat = array.reshape(-1).astype(np.float64)
    places = np.linspace(0, max(flat.size - 1, 0), N_ENTRIES).astype(np.int64)
    entries = flat[places] if flat.size else np.zeros(N_ENTRIES)
    numbers = [flat.sum(), np.linalg.norm(flat), np.abs(flat).max(initial=0), *entries]
    return Record(hashlib.sha256(array.tobytes()).hexdigest(), array.dtype.name, array.shape, np.array(numbers))


def arrays_of(model):
    """Yield the fitted arrays of a model by name, its iterations and its objective; nothing that depends on time."""
    for name, value in sorted(vars(model).items()):
        if name.endswith("_") and not name.startswith("_"):
            is_list = isinstance(value, (list, tuple))
            for i, array in enumerate(value if is_list else [value]):
                if isinstance(array, np.ndarray) and array.dtype.kind in "biuf" or name == "n_iter_":
                    yield f"{name}{i}" if is_list else name, np.asarray(array)
    history = getattr(model, "history_", {})
    if "objective" in history:
        yield "objective", np.asarray(history["objective"])


def records(case, dtype, form, n_threads):
    """Fit with so many threads and return the `Record` of all there is, by name."""
    model, more = case.fit(dtype, form, n_threads)
    found = dict(arrays_of(model) if model is not None else ()) | more
    return {f"{case}/{dtype}/{form}/{name}": record(np.asarray(array)) for name, array in found.items()}


@functools.cache
def records_of_one_thread():
    """Return the records of all cases with one thread, from a process that has no other.

    Twins of a kernel share helpers, which the process takes from the twin that it loads first: where that is the
    parallel one, some sums of the serial one are rounded otherwise.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, root = Path(folder) / "serial.npz", Path(__file__).resolve().parents[1]
        search = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": search, "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        subprocess.run([sys.executable, __file__, "--serial", str(path)], env=environment, check=True)
        return read(path)[1]


@functools.cache
def records_of_two_threads(case, dtype, form):
    """Return the records of an entry with two threads, and the names of the kernels that ran in both."""
    with launches_noted() as launched:
        return records(case, dtype, form, 2), launched


def of_entry(found, case, dtype, form):
    """Return those of the records that belong to an entry."""
    begin = f"{case}/{dtype}/{form}/"
    return {name: one for name, one in found.items() if name.startswith(begin)}


@contextmanager
def launches_noted():
    """Give a set to which the names of the kernels that run in several threads meanwhile are added."""
    call, launched = jit.Kernel.__call__, set()

    def noted(self, tasks, *args):
        if min(jit.thread_count(), len(tasks) - 1) > 1:
            launched.add(self.__name__)
        return call(self, tasks, *args)

    jit.Kernel.__call__ = noted
    try:
        yield launched
    finally:
        jit.Kernel.__call__ = call


def stamp():
    """Return what the bits depend on besides this package, as lines of text."""
    _, name, features = cpu_target.target_context.codegen().magic_tuple()
    blas = {f"{pool['prefix']} {pool['version']} {pool['architecture']}" for pool in threadpoolctl.threadpool_info()
            if pool["internal_api"] == "openblas"}  # fmt: skip
    modules = numba, llvmlite, np, scipy, sklearn
    return [
        f"machine: {platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}".rstrip(),
        f"processor: {llvmlite.binding.get_host_cpu_name()}",
        f"compiled for: {name}",
        f"features: {features}",
        *(f"openblas: {line}" for line in sorted(blas)),
        *(f"{module.__name__}: {module.__version__}" for module in modules),
    ]


def mode(held_stamp):
    """Return how to compare: "bits" where the stamp is today's, else "numbers"."""
    return "bits" if list(held_stamp) == stamp() else "numbers"


def differences(now, then, mode, is_chaotic=False, slack=1.0):
    """Return a line for every record of `now` that is not as `then`, in bits or in numbers."""
    found = [f"{name}: {'new' if name in now else 'gone'}" for name in sorted(now.keys() ^ then.keys())]
    for name in sorted(now.keys() & then.keys()):
        new, old = now[name], then[name]
        if mode == "numbers" and is_chaotic and not name.endswith("/objective"):
            continue
        if (new.dtype, new.shape) != (old.dtype, old.shape):
            found.append(f"{name}: {new.dtype} {new.shape} instead of {old.dtype} {old.shape}")
        elif (
            mode == "bits"
            and new.sha256 != old.sha256
            or mode == "numbers"
            and not _near(new, old, slack * TOLERANCE[name.split("/")[1]])
        ):
            apart = np.abs(new.numbers - old.numbers).max() / (old.numbers[2] or 1)
            found.append(f"{name}: other {mode}; entries, sums and norms differ by {apart:.1e} of the largest entry")
    return found


def changes(now, held, mode, case, dtype, form):
    """Return `differences` of the records of one entry."""
    entry = case, dtype, form
    return differences(of_entry(now, *entry), of_entry(held, *entry), mode, case.is_chaotic, case.slack)


def _near(new, old, tolerance):
    if new.dtype.startswith(("int", "uint")):
        return np.array_equal(new.numbers, old.numbers)
    total, norm, largest = old.numbers[:3]
    scale = np.full(len(old.numbers), largest)
    scale[0], scale[1] = norm * np.sqrt(np.prod(new.shape)), norm  # what entries may differ by allows the sum as much
    return bool(np.all(np.abs(new.numbers - old.numbers) <= tolerance * scale) or _same(new.numbers, old.numbers))


def _same(a, b):
    return np.array_equal(a, b, equal_nan=True)


def read(file=FILE):
    """Return the stamp and the records of a file."""
    with np.load(file) as held:
        rows = zip(held["names"], held["sha256"], held["dtypes"], held["shapes"], held["numbers"], strict=True)
        found = {
            str(name): Record(bytes(sha).hex(), str(dtype), tuple(int(size) for size in shape if size >= 0), numbers)
            for name, sha, dtype, shape, numbers in rows
        }
        return [str(line) for line in held["stamp"]], found


def write(found, file=FILE):
    """Write records, with today's stamp."""
    names = sorted(found)
    shapes = np.full((len(names), max(len(one.shape) for one in found.values())), -1)
    for row, name in zip(shapes, names, strict=True):
        row[: len(found[name].shape)] = found[name].shape
    np.savez_compressed(
        file,
        stamp=np.array(stamp()),
        names=np.array(names),
        sha256=np.array([list(bytes.fromhex(found[name].sha256)) for name in names], dtype=np.uint8),
        dtypes=np.array([found[name].dtype for name in names]),
        shapes=shapes.astype(np.int32),
        numbers=np.array([found[name].numbers for name in names]),
    )


def main():
    parser = argparse.ArgumentParser(description="Compare golden numbers, or write them.")
    parser.add_argument("--write", nargs="*", metavar="NAME", help="write all, or the entries that begin so")
    parser.add_argument("--serial", metavar="FILE", help="write what this process gives with one thread there")
    wanted = parser.parse_args()
    if wanted.serial:
        found = [records(case, dtype, form, 1) for case, dtype, form in ENTRIES]
        write({name: one for some in found for name, one in some.items()}, wanted.serial)
        return
    held_stamp, held = read() if FILE.exists() else ([], {})
    how, now = mode(held_stamp), records_of_one_thread()
    if wanted.write is None:
        found = [line for entry in ENTRIES for line in changes(now, held, how, *entry)]
        print("\n".join([*found, f"{len(now)} arrays are compared by their {how}: {len(found)} differences"]))
        sys.exit(bool(found))
    if wanted.write and how != "bits":
        sys.exit("Entries of two machines cannot stand in one file; write all of them with --write.")
    begin = tuple(wanted.write) or ""
    kept = {name: one for name, one in held.items() if not name.startswith(begin)}
    new = {name: one for name, one in now.items() if name.startswith(begin)}
    write(kept | new)
    print(f"{len(new)} arrays are written, {len(kept)} are kept")


if __name__ == "__main__":
    main()
