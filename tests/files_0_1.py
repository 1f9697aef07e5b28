"""Files of version 0.1.0: saved models and checkpoints in `tests/data/v0.1`, and the numbers expected of them.

``python tests/files_0_1.py`` wrote them, once, with version 0.1.0, and refuses to run with any other. A later version
must never write them again: they are what its users have on their disks. What a file holds is said by its line in
`SAVED` or `CHECKPOINTS`; names of tests are those of files. Data are drawn with ``Generator.random`` alone, whose
numbers are the same in all versions of NumPy so far.

`expected.npz` holds what the saved models were (`facts`: parameters, fitted attributes, features, classes), and what
they and the fits computed (`numbers`, one after another, as `shapes` says), with the `stamp` of the machine.
"""

import datetime
import hashlib
import inspect
import json
import math
import re
import warnings
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.linalg  # noqa: F401 - brings its OpenBLAS, which the stamp tells
import scipy.sparse as sp
from llvmlite import binding
from numba import config
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_info

import fastnmf
from fastnmf import (
    NMF,
    PLSA,
    AffineNMF,
    BilinearNMF,
    BinaryNMF,
    BooleanNMF,
    ChebyshevNMF,
    ConvexNMF,
    ConvolutiveNMF,
    DeepNMF,
    DictionaryNMF,
    DistributionallyRobustNMF,
    GraphNMF,
    HierarchicalNMF,
    IntervalNMF,
    KernelNMF,
    MetaNMF,
    MiniBatchNMF,
    MiniBatchStratifiedNMF,
    OrthogonalNMF,
    ProjectiveNMF,
    RobustNMF,
    SemiNMF,
    SemiSupervisedNMF,
    SeparableNMF,
    SmoothNMF,
    SparseNMF,
    Start,
    StratifiedNMF,
    SymmetricNMF,
    TriNMF,
    TriSymmetricNMF,
    UnderapproximationNMF,
)

WRITTEN_BY = "0.1.0"
FOLDER = Path(__file__).parent / "data" / "v0.1"
EXPECTED = FOLDER / "expected.npz"
MAX_ITER, STOPPED_AT = 12, 5
RESULTS = ("components_", "W_", "shifts_", "n_iter_", "n_steps_")

RNG = np.random.default_rng(20260101)
X = np.floor(6 * RNG.random((10, 6)) ** 2) + (np.arange(10)[:, None] % 6 == np.arange(6))  # no row or column is zero
NEW = np.floor(6 * RNG.random((5, 6)) ** 2) + 1.0  # rows that no model has seen when it is saved
CERTAINTY = RNG.random(X.shape)
HOLED = np.where(RNG.random(X.shape) < 0.2, np.nan, X)
KNOWN = np.where(np.arange(6) < 2, np.nan, 1.0)[None]
START = RNG.random((3, 6))
NAMES = [f"word {j}" for j in range(6)]
SPARSE, SMALL, NEW_SMALL = sp.csr_array(X), X.astype(np.float32), NEW.astype(np.float32)
FRAME, NEW_FRAME = pd.DataFrame(SMALL, columns=NAMES), pd.DataFrame(NEW_SMALL, columns=NAMES)
RING = sp.csr_array(np.roll(np.eye(10), 1, axis=1) + np.roll(np.eye(10), -1, axis=1))

WORDS = np.array(["north", "south"])[np.arange(10) % 2]
NEW_WORDS = np.array(["north", "east", "south"])[np.arange(5) % 3]  # one of them is a new stratum
DAYS = np.array(["2024-02-29", "2023-01-01"], "datetime64[D]")[np.arange(10) % 2]
NUMBERS = np.array([7, -3])[np.arange(10) % 2]
NEW_NUMBERS = np.array([7, 5, -3])[np.arange(5) % 3]
CLASSES = np.array(["a", "b", None], object)[np.arange(10) % 3]

FEW = {"random_state": 0, "max_iter": 4}
EXACT = FEW | {"tol": 0}
MU = {"solver": "mu"}


def add(model):
    """Go on with a batch."""
    return model.partial_fit(NEW)


def add_words(model):
    """Go on with a batch, some of whose rows belong to a new stratum."""
    return model.partial_fit(NEW, strata=NEW_WORDS)


def add_numbers(model):
    """Go on with a batch whose labels are integers."""
    return model.partial_fit(NEW_SMALL, strata=NEW_NUMBERS)


def fit_again(model):
    """Go on with the same rows."""
    return model.fit(HOLED)


def adapt(model):
    """Go on with other rows."""
    return model.adapt(NEW, strata=WORDS[:5], n_iter=3)


@dataclass(frozen=True)
class Saved:
    """A model in a file: how it came about, how it was saved, and what is asked of it when it is loaded.

    Attributes
    ----------
    fitted : callable
        Returns the fitted model.
    seen : dict
        Arguments of `transform`; X is NEW unless it is among them.
    go_on : callable, default=None
        Goes on with a model, and returns what has results.
    predicts : bool, default=False
        Whether `predict` is asked, too.
    save : dict
        Arguments of `save` beside the path.
    """

    fitted: callable
    seen: dict = field(default_factory=dict)
    go_on: callable = None
    predicts: bool = False
    save: dict = field(default_factory=dict)


def every_kind_of_parameter():
    """Return a model with parameters of all kinds that the format allows; some are set after the fit."""
    model = NMF(2, **FEW, init=Start(START[:2], feature_names=NAMES), sweeps=[1, 1]).fit(FRAME)
    kinds = {
        "numbers": (1, 2.5, True, None, np.float32(0.5), np.int16(3), np.bool_(True), float("inf")),
        "strings": ["a", "b", np.array(["c", "longer"]), np.array(["d", "e"], object)],
        3: {"dates": np.datetime64("2024-02-29"), "steps": np.array([1, 2], "timedelta64[h]")},
        "dtype": np.dtype(np.float32),
        "sparse": [sp.csr_array(np.eye(2)), sp.csc_matrix(np.eye(2))],
        "complex": np.array([1 + 2j]),
        "bytes": np.array([b"x", b"yz"]),
        "empty": np.zeros((0, 3)),
        "objects": np.array([True, False], object),
        "generator": np.random.Generator(np.random.Philox(5)),
    }
    return model.set_params(seed_features=kinds, fixed_components=pd.DataFrame(KNOWN))


def begun_by(kind, *batches, **parameters):
    """Return a model that has learned batches, each a tuple: X, or X and labels."""
    model = kind(3, random_state=0, **parameters)
    for X, *labels in batches:
        model.partial_fit(X, **({"strata": labels[0]} if labels else {}))
    return model


SAVED = {
    "nmf": Saved(lambda: NMF(3, **EXACT).fit(SPARSE), go_on=add),
    "nmf-float32": Saved(
        lambda: NMF(
            3,
            **EXACT | {"random_state": np.random.default_rng(7)},
            fixed_components=KNOWN,
            seed_features={1: ["word 2", "word 3"], 2: []},
        ).fit(FRAME),
        seen={"X": NEW_FRAME},
    ),
    "nmf-warm": Saved(
        lambda: NMF(3, **EXACT | {"random_state": np.random.RandomState(7)}, warm_start=True, missing_values="nan").fit(
            HOLED
        ),
        go_on=fit_again,
        save={"feature_names": NAMES},
    ),
    "nmf-partial": Saved(lambda: begun_by(NMF, (X[:6],), (X[6:],)), go_on=add),
    "nmf-parameters": Saved(every_kind_of_parameter, seen={"X": NEW_FRAME}),
    "stratified": Saved(
        lambda: StratifiedNMF(3, **EXACT).fit(SPARSE, strata=WORDS), {"strata": WORDS[:5]}, go_on=add_words
    ),
    "stratified-dates": Saved(
        lambda: StratifiedNMF(
            3,
            **EXACT,
            init=StratifiedNMF(3, **FEW).fit(X, strata=DAYS),
            extrapolate=False,
            gauge="max_shift",
            normalize="l1",
        ).fit(X, strata=DAYS),
        {"strata": DAYS[:5]},
    ),
    "stratified-classes": Saved(
        lambda: StratifiedNMF(3, **FEW, label_weight=0.5, unknown_strata="estimate", strata_weight="equal").fit(
            SMALL, CLASSES, strata=NUMBERS
        ),
        {"X": NEW_SMALL, "strata": NEW_NUMBERS},
        predicts=True,
    ),
    "stratified-mu": Saved(
        lambda: StratifiedNMF(2, **FEW, solver="mu", beta_loss=1, alpha_W=0.01, l1_ratio=0.5).fit(
            SPARSE, strata=WORDS.astype(object), sample_weight=np.arange(1, 11)
        ),
        {"strata": WORDS[:5]},
    ),
    "minibatch": Saved(lambda: MiniBatchNMF(3, **EXACT, batch_size=5).fit(SPARSE), go_on=add),
    "minibatch-partial": Saved(
        lambda: begun_by(MiniBatchNMF, (SMALL[:6],), (SMALL[6:],), forget_factor=0.9), {"X": NEW_SMALL}, go_on=add
    ),
    "minibatch-stratified": Saved(
        lambda: MiniBatchStratifiedNMF(3, **EXACT, batch_size=5, sweeps="thorough").fit(SMALL, strata=NUMBERS),
        {"X": NEW_SMALL, "strata": NUMBERS[:5]},
        go_on=add_numbers,
    ),
    "minibatch-stratified-partial": Saved(
        lambda: begun_by(MiniBatchStratifiedNMF, (SPARSE[:6], WORDS[:6]), (SPARSE[6:], WORDS[6:])),
        {"strata": WORDS[:5]},
        go_on=add_words,
    ),
    "hierarchical": Saved(lambda: HierarchicalNMF((3, 2), **EXACT, method="sequential").fit(X), {"level": 0}),
    "hierarchical-labels": Saved(
        lambda: HierarchicalNMF((4, 2), **EXACT).fit(SPARSE, [CLASSES, NUMBERS]), predicts=True
    ),
    "semi-supervised": Saved(lambda: SemiSupervisedNMF(3, **FEW).fit(X, CLASSES), predicts=True),
    "symmetric": Saved(lambda: SymmetricNMF(2, **FEW, diagonal=1.0).fit(X.T @ X / 10)),
    "tri-symmetric": Saved(lambda: TriSymmetricNMF(2, **FEW, affinity="cooccurrence").fit(SPARSE)),
    "orthogonal": Saved(lambda: OrthogonalNMF(2, **FEW).fit(SPARSE), predicts=True),
    "semi": Saved(lambda: SemiNMF(2, **FEW).fit(X - 2)),
    "convex": Saved(lambda: ConvexNMF(2, **FEW).fit(X - 2)),
    "kernel": Saved(lambda: KernelNMF(2, **FEW, gamma=0.1).fit(X)),
    "smooth": Saved(lambda: SmoothNMF(2, **FEW).fit(SPARSE)),
    "graph": Saved(lambda: GraphNMF(2, **FEW).fit(SPARSE, graph=RING, strata=WORDS), {"strata": WORDS[:5]}),
    "graph-without-anchor": Saved(lambda: GraphNMF(2, **FEW, anchor=None, n_neighbors=3).fit(X)),
    "deep": Saved(lambda: DeepNMF((3, 2), **FEW).fit(SPARSE)),
    "convolutive": Saved(lambda: ConvolutiveNMF(2, **FEW, n_lags=2).fit(X)),
    "tri": Saved(lambda: TriNMF((3, 2), **FEW).fit(SPARSE)),
    "separable": Saved(lambda: SeparableNMF(3).fit(SPARSE)),
    "underapproximation": Saved(lambda: UnderapproximationNMF(2, max_iter=4).fit(SPARSE)),
    "binary": Saved(lambda: BinaryNMF(2, **FEW, n_init=2).fit((X > 2).astype(float)), {"X": (NEW > 3).astype(float)}),
    "boolean": Saved(lambda: BooleanNMF(2, **FEW, n_init=2).fit((X > 2).astype(float)), {"X": (NEW > 3).astype(float)}),
    "interval": Saved(lambda: IntervalNMF(2, **FEW).fit(X, upper=2 * X), {"upper": 2 * NEW}),
    "affine": Saved(lambda: AffineNMF(2, **FEW).fit(SPARSE)),
    "dictionary": Saved(lambda: DictionaryNMF(2, **FEW, dictionary=sp.csr_matrix(START)).fit(SPARSE)),
    "chebyshev": Saved(lambda: ChebyshevNMF(2, random_state=0, max_iter=2).fit(X[:6])),
    "robust": Saved(lambda: RobustNMF(2, **FEW).fit(X)),
    "distributionally-robust": Saved(lambda: DistributionallyRobustNMF(2, **FEW, betas=(1, 2)).fit(X)),
    "bilinear": Saved(lambda: BilinearNMF(2, **FEW).fit(X)),
    "plsa": Saved(lambda: PLSA(2, **FEW).fit(SPARSE)),
    "projective": Saved(lambda: ProjectiveNMF(2, **FEW).fit(SPARSE)),
    "sparse": Saved(lambda: SparseNMF(2, **FEW).fit(SPARSE)),
    "meta-stratified": Saved(
        lambda: MetaNMF(
            StratifiedNMF(2, solver="mu"), n_tasks=2, task_size=3, n_outer=2, n_inner=3, random_state=0
        ).fit(X, strata=WORDS),
        {"strata": WORDS[:5]},
        go_on=adapt,
    ),
}


@dataclass(frozen=True)
class Stopped:
    """A checkpoint of a fit that was stopped in iteration 5, and goes on from there to iteration 12.

    Attributes
    ----------
    make : callable
        Returns the estimator, a new one each time, given further parameters.
    fit : dict
        Arguments of `fit`.
    """

    make: callable
    fit: dict


def of(kind, *, seed=lambda: 0, **parameters):
    """Return a function that makes an estimator; ``seed()`` makes its random_state, anew each time."""
    return lambda **more: kind(3, **{"random_state": seed(), "max_iter": MAX_ITER, "tol": 0} | parameters | more)


CHECKPOINTS = {
    "checkpoint-cd": Stopped(of(NMF), {"X": SPARSE}),
    "checkpoint-cd-float32": Stopped(of(NMF, shuffle=True, seed=lambda: np.random.default_rng(7)), {"X": SMALL}),
    "checkpoint-cd-mask": Stopped(of(NMF, missing_values="nan"), {"X": HOLED}),
    "checkpoint-cd-guided": Stopped(of(NMF, fixed_components=KNOWN, seed_features={1: [2, 3]}), {"X": SPARSE}),
    "checkpoint-mu": Stopped(of(NMF, **MU, alpha_W=1e-3, l1_ratio=0.5), {"X": SPARSE}),
    "checkpoint-kl": Stopped(of(NMF, **MU, beta_loss=1), {"X": SMALL, "sample_weight": np.arange(1, 11)}),
    "checkpoint-hals": Stopped(of(StratifiedNMF), {"X": SPARSE, "strata": WORDS}),
    "checkpoint-hals-weights": Stopped(
        of(StratifiedNMF, alpha_W=1e-3, alpha_V=1e-3, seed=lambda: None),
        {"X": X, "strata": WORDS, "weight": CERTAINTY},
    ),
    "checkpoint-hals-gauged": Stopped(
        of(StratifiedNMF, extrapolate=False, gauge="min_shift", normalize="l2", strata_weight="equal"),
        {"X": X, "strata": DAYS, "sample_weight": np.arange(1, 11)},
    ),
}


# ---------------------------------------------------------------- what is compared


def described(value):
    """Return what tells a value from another, whatever the version of NumPy: a string, or a dict for a model."""
    kind = type(value).__name__
    if hasattr(value, "get_params"):
        parameters = {name: described(item) for name, item in value.get_params(deep=False).items()}
        return {"class": kind, "parameters": parameters, "attributes": attributes(value)}
    if value is None or isinstance(value, (bool, int, float, str, datetime.date)):
        return f"{kind} {str(value)!r}"
    if isinstance(value, np.dtype):
        return f"dtype {value.str}"
    if isinstance(value, np.ndarray) and value.dtype == object:
        return f"objects {value.shape} {described(value.ravel().tolist())}"
    if isinstance(value, (np.ndarray, np.generic)):
        return f"{'array' if isinstance(value, np.ndarray) else 'scalar'} {value.dtype.str} {value.shape} {_sum(value)}"
    if sp.issparse(value):
        rows = value.tocsr()
        parts = rows.data, rows.indices.astype(np.int64), rows.indptr.astype(np.int64)
        return f"{kind} {rows.dtype.str} {rows.shape} {' '.join(map(_sum, parts))}"
    if isinstance(value, (tuple, list)):
        return f"{kind} ({', '.join(map(described, value))})"
    if isinstance(value, dict):
        return f"dict ({', '.join(f'{described(key)}: {described(item)}' for key, item in value.items())})"
    if isinstance(value, np.random.Generator):
        return f"Generator {described(value.bit_generator.state)}"
    if isinstance(value, np.random.RandomState):
        return f"RandomState {described(value.get_state(legacy=False))}"
    if isinstance(value, Start):
        return f"Start {described((value.components, value.W, value.shifts, value.strata, value.feature_names))}"
    if hasattr(value, "__array__"):
        return described(np.asarray(value))
    raise TypeError(f"Nobody has said how a {kind} is described.")


def _sum(array):
    return hashlib.sha256(array.tobytes()).hexdigest()[:10]


def attributes(model):
    """Return the fitted attributes of a model, described; those of time are left out."""
    found = {name: value for name, value in vars(model).items() if name.endswith("_") and not name.startswith("_")}
    if "history_" in found:
        found["history_"] = {name: value for name, value in found["history_"].items() if name != "seconds"}
    return {name: described(value) for name, value in found.items()}


def read(model, case):
    """Return what a model makes of data: arrays that are computed, by name, and further facts."""
    numbers, facts, seen = {}, {}, {"X": NEW} | case.seen
    if hasattr(model, "transform"):
        numbers["transform"] = model.transform(**seen)
    if hasattr(model, "top_features"):
        order = {"by": "weight"} if "by" in inspect.signature(model.top_features).parameters else {}  # that of 0.1
        facts["top_features"] = described(model.top_features(3, **order))
    if case.predicts:
        facts["predicted"] = described(np.asarray(model.predict(**seen)).tolist())
    return numbers, facts


def results(model):
    """Return what a fit has found, as arrays by name."""
    found = {name: getattr(model, name) for name in RESULTS if hasattr(model, name)}
    if "objective" in getattr(model, "history_", ()):
        found["objective"] = model.history_["objective"]
    return {name: np.asarray(value) for name, value in found.items()}


def go_on(model, case):
    """Go on with a model, and return what it finds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return results(case.go_on(model))


def fit(case, checkpoint=None, **options):
    """Fit, from a checkpoint or anew, to the last iteration, and return what is found."""
    more = {} if checkpoint is None else {"checkpoint": checkpoint, "checkpoint_every": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return results(case.make(**options).fit(**case.fit, **more))


def stamp():
    """Return what bits depend on, as a dict of strings: processor, OpenBLAS, versions."""
    libraries = [library for library in threadpool_info() if library["internal_api"] == "openblas"]
    ours = [library for library in libraries if re.search(r"(numpy|scipy)\.libs", library["filepath"])] or libraries
    found = {
        "processor": config.CPU_NAME or binding.get_host_cpu_name(),
        "features": config.CPU_FEATURES or binding.get_host_cpu_features().flatten(),
        "is compiled": str(not config.DISABLE_JIT),
        "OpenBLAS": ", ".join(sorted(f"{library['version']} {library['architecture']}" for library in ours)),
    }
    return found | {name: version(name) for name in ("numba", "llvmlite", "numpy", "scipy", "scikit-learn")}


def expected():
    """Return what is expected: facts by case, arrays by case and name, and the stamp of the machine that wrote it."""
    with np.load(EXPECTED) as kept:
        facts, shapes, stamp = (json.loads(kept[name].tobytes()) for name in ("facts", "shapes", "stamp"))
        numbers, arrays, at = kept["numbers"], {}, 0
    for name, parts in shapes.items():
        arrays[name] = {}
        for part, (dtype, shape) in parts.items():
            size = math.prod(shape)
            arrays[name][part] = numbers[at : at + size].astype(dtype).reshape(shape)
            at += size
    return facts, arrays, stamp


# ---------------------------------------------------------------- writing, once


def _stop(state):
    if state.iteration == STOPPED_AT:
        raise InterruptedError


def _write_saved(name, case):
    """Write a model; return the facts and the arrays of the saved model, not of the loaded one."""
    path = FOLDER / f"{name}.npz"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = case.fitted()
    model.save(path, **case.save)
    facts = described(fastnmf.load(path))  # as `save` says, not always of the saved model: a frame is an array
    found, others = read(model, case)
    if case.save:  # names that the saved model did not have
        others = read(fastnmf.load(path), case)[1]
    if case.go_on is not None:
        found |= {f"on {key}": value for key, value in go_on(model, case).items()}
    return facts | others, found


def _write_checkpoint(path, case):
    """Write the checkpoint of a fit that is stopped; return what a fit finds that nobody stops."""
    path.unlink(missing_ok=True)
    try:
        fit(case, path, callback=_stop)
    except InterruptedError:
        written = path.read_bytes()
    again = fit(case, path)
    path.write_bytes(written)
    options = {}
    if case.make().random_state is None:
        from fastnmf.io import archive

        options["random_state"] = archive.read(path, "checkpoint")["seed"]
    whole = fit(case, **options)
    if described(whole) != described(again):
        raise SystemExit(f"{path.name} does not end with the bits of a fit that nobody stops.")
    return whole


def main():
    """Write the files."""
    if fastnmf.__version__ != WRITTEN_BY:
        raise SystemExit(
            f"These files are of version {WRITTEN_BY}, and this is {fastnmf.__version__}: nothing is written."
        )
    if EXPECTED.exists():
        raise SystemExit(f"{FOLDER} has its files, which are written once: nothing is written.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    facts, arrays = {}, {}
    for name, case in SAVED.items():
        facts[name], arrays[name] = _write_saved(name, case)
    for name, case in CHECKPOINTS.items():
        arrays[name] = _write_checkpoint(FOLDER / f"{name}.npz", case)
    shapes = {
        name: {part: (array.dtype.str, array.shape) for part, array in parts.items()} for name, parts in arrays.items()
    }
    texts = {"facts": facts, "shapes": shapes, "stamp": stamp()}
    np.savez_compressed(
        EXPECTED,
        **{name: np.frombuffer(json.dumps(text).encode(), np.uint8) for name, text in texts.items()},
        numbers=np.concatenate([array.ravel() for parts in arrays.values() for array in parts.values()], dtype=float),
    )
    files = list(FOLDER.iterdir())
    print(f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
