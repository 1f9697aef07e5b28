"""The fits of the golden numbers: one table of estimators, their options and data; `golden.py` keeps what they give.

The data are large enough for the kernels to be launched in parallel, and the fits as short as can be.
"""

import functools
import inspect
import warnings
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import own
import scipy.sparse as sp

import fastnmf
from fastnmf.compose import ElasticNetPenalty, GroupPenalty
from fastnmf.kernels import jit

SHORT = {"n_components": 20, "max_iter": 3, "tol": 0, "random_state": 0}
N_TRANSFORMED = 40

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


def crossed(X):
    row = np.arange(X.shape[0])
    return {"strata": {"year": row * 7 % 12, "region": row % 5}}


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


def first(rows):
    """Return what is given for the rows that are transformed."""
    return (
        {name: each[:N_TRANSFORMED] for name, each in rows.items()} if isinstance(rows, dict) else rows[:N_TRANSFORMED]
    )


def fitted(model, X, more):
    """Fit, and transform the first rows."""
    model.fit(X, **more)
    if not hasattr(model, "transform"):
        return model, {}
    head = {name: first(value) for name, value in more.items() if name in ("strata", "upper")}
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


BATCH_KL = {"beta_loss": "kullback-leibler"}
KL, IS = {"solver": "mu", "beta_loss": "kullback-leibler"}, {"solver": "mu", "beta_loss": "itakura-saito"}
L1, L2 = ({"alpha_W": 0.02, "alpha_H": 0.03, "l1_ratio": share} for share in (0.7, 0.0))
# Fits that differ in where they begin and how they end, not in their kernels, are made in float64 only.
SPARSE, DENSE, DOUBLE = {"forms": ("sparse",)}, {"forms": ("dense",)}, {"dtypes": ("float64",)}
GROUPED = {"given": groups}
KNOWN = {"fixed_components": lambda X: atoms(X)[:3]}
HALF_KNOWN = {"fixed_components": lambda X: np.where(np.arange(X.shape[1]) % 2, np.nan, atoms(X)[:3])}
NET = ElasticNetPenalty(l1=0.01, l2=0.1)
SEEDED = {"seed_features": {0: [0, 1, 2], 1: [5, 6]}}

CASES = (
    of("NMF"),
    of("NMF", "hals", solver="hals"),
    of("NMF", "mu", solver="mu"),
    of("NMF", "kl", **KL),
    of("NMF", "kl-cycles", data="tall", max_iter=15, **SPARSE, **KL),
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
    of("NMF", "large-rank", n_components=140, **SPARSE, **DOUBLE),
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
    of("NMF", "groups", penalties={"H": [GroupPenalty(5.0)]}, alpha_W=0.01),
    of("MiniBatchNMF", batch_size=200),
    of("MiniBatchNMF", "forget", batch_size=200, forget_factor=0.7, run=learned),
    of("MiniBatchNMF", "blocks", run=learned_in_blocks),
    of("MiniBatchNMF", "kl", batch_size=200, **BATCH_KL),
    of("MiniBatchNMF", "kl-forget", forget_factor=0.7, fresh_restarts_max_iter=3, run=learned, **BATCH_KL, **DOUBLE),
    of("MiniBatchNMF", "is", batch_size=200, data="positive", beta_loss="itakura-saito", **DENSE),
    of("MiniBatchNMF", "beta-1.5", batch_size=200, beta_loss=1.5, **SPARSE),
    of("MiniBatchNMF", "missing", batch_size=200, missing_values="zeros", **SPARSE),
    of("MiniBatchNMF", "row-weights", batch_size=200, given=row_weights, **DOUBLE),
    of("MiniBatchNMF", "fresh", batch_size=200, fresh_restarts=True, forget_factor=0.7, **DOUBLE),
    of("MiniBatchNMF", "custom", batch_size=200, init="custom", given=start, **DOUBLE),
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
    of("StratifiedNMF", "design", given=crossed),
    of("StratifiedNMF", "design-mu", solver="mu", given=crossed, **DOUBLE),
    of("StratifiedNMF", "design-kl", given=crossed, **KL),
    of("StratifiedNMF", "smooth", smoothness={"year": 3.0}, given=crossed, **DOUBLE),
    of("StratifiedNMF", "own", n_own=1, **GROUPED),
    of("StratifiedNMF", "own-tied", own="tied", **GROUPED, **DOUBLE),
    of("StratifiedNMF", "own-kl", n_own=1, **KL, **GROUPED, **DOUBLE),
    of("StratifiedNMF", "nb", solver="mu", beta_loss="negative-binomial", **GROUPED, **DOUBLE),
    of("StratifiedNMF", "tall", data="tall", **SPARSE, **GROUPED),
    of("StratifiedNMF", "multilevel", data="tall", init="multilevel", **SPARSE, **GROUPED),
    of("StratifiedNMF", "tall-kl", data="tall", max_iter=2, **SPARSE, **KL, **GROUPED),
    of("MiniBatchStratifiedNMF", batch_size=200, **GROUPED),
    of("MiniBatchStratifiedNMF", "forget", batch_size=200, forget_factor=0.7, run=learned, **GROUPED),
    of("MiniBatchStratifiedNMF", "blocks", run=learned_in_blocks, **GROUPED),
    of("MiniBatchStratifiedNMF", "kl", batch_size=200, **BATCH_KL, **GROUPED),
    of(
        "MiniBatchStratifiedNMF",
        "kl-blocks",
        fresh_restarts_max_iter=3,
        run=learned_in_blocks,
        **BATCH_KL,
        **GROUPED,
        **DOUBLE,
    ),
    of("MiniBatchStratifiedNMF", "beta-1.5", batch_size=200, beta_loss=1.5, **SPARSE, **DOUBLE, **GROUPED),
    of("MiniBatchStratifiedNMF", "missing", batch_size=200, missing_values="zeros", **SPARSE, **GROUPED),
    of("MiniBatchStratifiedNMF", "row-weights", batch_size=200, given=grouped_row_weights, **DOUBLE),
    of("MiniBatchStratifiedNMF", "design", batch_size=200, given=crossed, **SPARSE, **DOUBLE),
    of("MiniBatchStratifiedNMF", "design-kl", batch_size=200, given=crossed, **BATCH_KL, **SPARSE, **DOUBLE),
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
    of("KernelNMF", "neighbours", data="small", n_components=4, kernel="nearest_neighbors", **DENSE, **DOUBLE),
    of("ProjectiveNMF"),
    of("TriNMF", n_components=(20, 16)),
    of("TriNMF", "mu", data="small", n_components=(6, 5), solver="mu"),
    of("TriNMF", "orthogonal", data="small", n_components=(6, 5), orthogonal=True),
    of("TriNMF", "blocks", n_components=(6, 5), orthogonal=True, solver="em", n_init=1),
    of("PLSA"),
    of("SeparableNMF"),
    of("SeparableNMF", "features", axis=1),
    of("SeparableNMF", "normalized", normalize=True),
    of("SeparableNMF", "hull", solver="snpa"),
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
    of("DictionaryNMF", "signed", dictionary=lambda X: atoms(X) - 0.5, signed=True),
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
    of("Factorization", updates="exact", schedule=("W", ("H", 2))),
    of("Factorization", "strata", strata=True, given=groups),
    of("Factorization", "penalties", penalties={"H": [own.Separation(0.1)], "W": [NET]}),
    of("Factorization", "penalties-kl", loss="kullback-leibler", penalties={"H": [own.Separation(0.1)], "W": [NET]}),
    of("Factorization", "own-loss", loss=own.JensenShannon(), strata=True, given=groups),
    of("Factorization", "own-update", updates=own.ProjectedGradient(), **DOUBLE),
    of("nnls", run=solved),
    of("stratified_nmf", run=published, **DENSE),
)
ENTRIES = [(case, dtype, form) for case in CASES for dtype in case.dtypes for form in case.forms]
