"""The registry of all public estimators: one line each, and thereby what `test_estimators.py` asks of all of them.

A model without a line here is checked as it is, on counts; write one where it needs other data or has other promises.
"""

import inspect
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pytest
import scipy.sparse as sp

import fastnmf
from fastnmf.models.catalogue import MODELS

N_ROWS, N_COLUMNS = 14, 9


def counts(n_rows=N_ROWS, n_columns=N_COLUMNS, seed=0):
    """Draw counts, some of them zero, in no row and no column all."""
    rng = np.random.default_rng(seed)
    X = rng.poisson(3, (n_rows, n_columns)) * (rng.random((n_rows, n_columns)) < 0.7)
    X[np.arange(n_rows), np.arange(n_rows) % n_columns] += 1
    X[np.arange(n_columns) % n_rows, np.arange(n_columns)] += 1
    return X.astype(float)


DATA = {
    "counts": lambda X: X,
    "bits": lambda X: (X > 2).astype(float),
    "signed": lambda X: X - 2 * (X > 3),
    "positive": lambda X: X + 0.5,
    "affinities": lambda X: X.T @ X / 10,
}

# Of scikit-learn's checks, those that no classifier of non-negative data passes, or none that takes -1 for unknown.
FAILING_CLASSIFIER_CHECKS = {
    "check_classifiers_classes": "-1 marks unknown classes; of other classifiers that do, it excepts the names",
    "check_decision_proba_consistency": "draws negative data, also for models whose tags refuse them",
}


@dataclass(frozen=True)
class Case:
    """One estimator with options, and what may be expected of it.

    `data` names the entry of DATA that counts become; `given` makes the further arguments of fit from the data.
    `has_course` says whether the history holds the objective, from the start on, after every iteration; `is_scale_free`
    whether twice the data are twice the model; `is_row_by_row` whether weights of a row depend on that row alone.
    """

    kind: str
    parameters: dict = field(default_factory=dict)
    data: str = "counts"
    given: callable = lambda X: {}
    name: str = ""
    monotone: bool | None = None
    is_sparse: bool = True
    takes_negative: bool = False
    has_course: bool = True
    is_scale_free: bool = True
    is_row_by_row: bool = True
    has_top_features: bool = True
    n_rows: int = N_ROWS
    rank: object = 3
    single: object = 1

    def __str__(self):
        return self.kind + (f"-{self.name}" if self.name else "")

    @property
    def is_symmetric(self):
        return self.data == "affinities"

    def make(self, **more):
        """Return the estimator, with short fits unless it is told otherwise."""
        kind = getattr(fastnmf, self.kind)
        known = kind().get_params()
        short = {"n_components": self.rank, "random_state": 0, "max_iter": 12, "tol": 0}
        parameters = {**{key: value for key, value in short.items() if key in known}, **self.parameters, **more}
        return kind(**parameters)

    def draw(self, n_rows=None, n_columns=N_COLUMNS, seed=0):
        """Return data for it."""
        return DATA[self.data](counts(n_rows or self.n_rows, n_columns, seed))

    def fit(self, X, **more):
        """Return the fitted estimator."""
        return self.make(**more).fit(X, **self.given(X))

    @cached_property
    def fitted(self):
        """The estimator fitted to its data: one fit for all tests that read it and change nothing."""
        return self.fit(self.draw())


def groups(X):
    return {"strata": np.arange(X.shape[0]) % 2}


def classes(X):
    return {"y": np.where(np.arange(X.shape[0]) % 5 < 4, np.arange(X.shape[0]) % 3, -1)}


def above(X):
    return {"upper": X + X}


def atoms(n_columns=N_COLUMNS):
    return np.minimum(np.arange(5)[:, None] + np.arange(n_columns) + 1, 4) / 4


def of(kind, name="", **options):
    return Case(kind, options.pop("parameters", {}), name=name, **options)


MU = {"solver": "mu"}
KERNEL = {"takes_negative": True, "is_sparse": False, "monotone": True, "is_scale_free": False}
KERNEL |= {"has_top_features": False}  # the components are in the space of the kernel
SPECIAL = (
    of("NMF"),
    of("NMF", "hals", parameters={"solver": "hals"}, monotone=True),
    of("NMF", "kl", parameters={**MU, "beta_loss": "kullback-leibler"}, monotone=True),
    of("NMF", "is", parameters={**MU, "beta_loss": "itakura-saito"}, data="positive", monotone=True),
    of("StratifiedNMF", given=groups),
    of("StratifiedNMF", "steady", parameters={"extrapolate": False}, given=groups, monotone=True),
    of("MiniBatchNMF", parameters={"batch_size": 5}, has_course=False),  # the loss is known after a pass
    of("MiniBatchStratifiedNMF", parameters={"batch_size": 5}, given=groups, has_course=False),
    of(
        "MiniBatchStratifiedNMF",
        "kl",
        parameters={"batch_size": 5, "beta_loss": "kullback-leibler"},
        given=groups,
        has_course=False,
    ),
    of("Factorization", "strata", parameters={"strata": True}, given=groups, monotone=True),
    of("Factorization", "kl", parameters={"loss": "kullback-leibler"}, monotone=True),
    of("HierarchicalNMF", rank=(4, 2), single=(1,), monotone=True),
    of(
        "HierarchicalNMF", "sequential", parameters={"method": "sequential"}, rank=(4, 2), single=(1,), has_course=False
    ),
    of("SemiSupervisedNMF", given=classes),
    of("SymmetricNMF", data="affinities", monotone=True),
    of("TriSymmetricNMF", data="affinities", monotone=True),
    of(
        "TriSymmetricNMF",
        "cooccurrence",
        parameters={"affinity": "cooccurrence"},
        monotone=True,
        is_scale_free=False,
    ),
    of("OrthogonalNMF", "mu", parameters=MU),
    of("SemiNMF", data="signed", takes_negative=True, monotone=True),
    of("ConvexNMF", takes_negative=True, monotone=True),
    of("ConvexNMF", "signed", data="signed", takes_negative=True, monotone=True),
    *(
        of("KernelNMF", name, data=data, parameters=parameters, **KERNEL)
        for name, data, parameters in (
            ("", "counts", {}),
            ("neighbors", "counts", {"kernel": "nearest_neighbors", "n_neighbors": 3}),
            ("free", "signed", {"components": "free"}),
        )
    ),
    of("SmoothNMF", monotone=True, is_scale_free=False),
    of("GraphNMF", monotone=True),
    of("DeepNMF", rank=(4, 2), single=(1,), monotone=True),
    of("ConvolutiveNMF", parameters={"n_lags": 3}, is_row_by_row=False, monotone=True),  # a shorter search for a start
    of("TriNMF", "orthogonal", parameters={"orthogonal": True}),
    of("TriNMF", "em", parameters={"orthogonal": True, "solver": "em", "n_init": 2}, monotone=True),
    of("SeparableNMF", has_course=False),  # greedy: no objective falls
    of("SeparableNMF", "features", parameters={"axis": 1}, has_course=False),
    of("SeparableNMF", "snpa", parameters={"solver": "snpa", "anchor_mass": 0.9}, has_course=False),
    of("UnderapproximationNMF", has_course=False),
    of("UnderapproximationNMF", "feasible", parameters={"feasible": True}, has_course=False),
    of("BinaryNMF", data="bits", parameters={"n_init": 2}, monotone=True, is_scale_free=False),
    of("BooleanNMF", data="bits", parameters={"n_init": 2}, monotone=True, is_scale_free=False),
    of("IntervalNMF", given=above, monotone=True),
    of("AffineNMF", "steady", parameters={"extrapolate": False}, monotone=True),
    of("DictionaryNMF", parameters={"dictionary": atoms()}, monotone=True),
    of("DictionaryNMF", "signed", parameters={"dictionary": atoms() - 0.4, "signed": True}, monotone=True),
    of("ChebyshevNMF", monotone=True),
    of("RobustNMF", is_sparse=False, monotone=True),
    of("RobustNMF", "huber", parameters={"loss": "huber"}, is_sparse=False, monotone=True),
    of("RobustNMF", "l21", parameters={"loss": "l21"}, monotone=True),
    of("DistributionallyRobustNMF", parameters={"betas": (1, 2)}),
    of("DistributionallyRobustNMF", "steady", parameters={"betas": (1, 2), "weights": (0.5, 0.5)}, monotone=True),
    of("SparseNMF", "features", parameters={"sparseness_H": None, "max_features": 4}, monotone=True),
    of("SparseNMF", "components", parameters={"sparseness_H": None, "max_components": 2}, monotone=True),
)


# All models of the catalogue; one without n_components is made of other models, and has tests of its own.
KINDS = [
    name
    for name in dict.fromkeys(entry.name for entry in MODELS if entry.name[0].isupper())
    if "n_components" in inspect.signature(getattr(fastnmf, name)).parameters
]


def _plain():
    """Return a case for every model that has no line without a name above."""
    special = {case.kind for case in SPECIAL if not case.name}
    for name in KINDS:
        if name not in special:
            entry = next(entry for entry in MODELS if entry.name == name)
            yield Case(name, monotone=entry.monotone, is_sparse=entry.is_sparse)


CASES = (*_plain(), *SPECIAL)


def factors(model):
    """Return the fitted arrays of two dimensions, by name: what the model has found."""
    found = {}
    for name, value in vars(model).items():
        if not name.endswith("_") or name.startswith("_"):
            continue
        for i, array in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind == "f":
                found[f"{name}{i if isinstance(value, list) else ''}"] = array
    return found


def sparse(X):
    return sp.csr_array(X)


every_case = pytest.mark.parametrize("case", CASES, ids=str)


def of_those(fact, cases=CASES):
    """Run a test with the cases of which a fact holds; there are some."""
    found = [case for case in cases if fact(case)]
    assert found
    return pytest.mark.parametrize("case", found, ids=str)


def has(name):
    return lambda case: name in case.make().get_params()


def has_transform(case):
    return hasattr(case.make(), "transform")


def again(case, X):
    """Return those arguments of fit that transform takes, too."""
    return {name: value for name, value in case.given(X).items() if name in ("strata", "upper")}


def one_sentence(error):
    """Tell whether a message is short, has no line break, and ends as a sentence does."""
    text = str(error)
    return "\n" not in text and 15 < len(text) < 350 and text[0].isalpha() and text[-1] in ".)'"
