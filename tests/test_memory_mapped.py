"""Fitted models whose arrays may not be written to: memory-mapped by joblib, as those that it sends to its workers."""

import copy

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from estimators import CASES, Case, groups

import fastnmf
from fastnmf.data import shifts

FIELDS = {"batch_size": 5, "sparse_shifts": True}
SPARSE = tuple(
    Case(
        kind,
        {k: v for k, v in FIELDS.items() if k in getattr(fastnmf, kind)().get_params()} | more,
        given=groups,
        name="sparse-shifts",
    )
    for kind, more in (
        ("StratifiedNMF", {}),
        ("MiniBatchStratifiedNMF", {}),
        ("GraphNMF", {}),
        ("Factorization", {"strata": True}),
    )
)
WARM = [case for case in (*CASES, *SPARSE) if "warm_start" in getattr(fastnmf, case.kind)().get_params()]
BATCHES = [
    case
    for case in (*CASES, *SPARSE)
    if hasattr(getattr(fastnmf, case.kind), "partial_fit") and case.name not in ("kl", "is")
]


def mapped(model, path, mode="r"):
    joblib.dump(model, path)
    return joblib.load(path, mmap_mode=mode)


def arrays(value):
    """Return all numbers of a model that a fit sets, in one byte string."""
    if isinstance(value, np.ndarray):
        return b"" if value.dtype.kind == "O" else np.ascontiguousarray(value).tobytes()
    if sp.issparse(value):
        return arrays(value.toarray())
    if isinstance(value, (list, tuple)):
        return b"".join(map(arrays, value))
    return b""


def fitted_arrays(model):
    names = (name for name in sorted(vars(model)) if name.endswith("_") and name != "history_")
    return {name: arrays(getattr(model, name)) for name in names}


def more_of(case, X):
    return {name: value for name, value in case.given(X).items() if name == "strata"}


@pytest.mark.parametrize("case", WARM, ids=str)
def test_a_memory_mapped_model_warm_starts(case, tmp_path, monkeypatch):
    monkeypatch.setattr(shifts, "SMALL", 0 if "sparse" in case.name else shifts.SMALL)
    X = case.draw()
    model = case.make().fit(X, **case.given(X)).set_params(warm_start=True)
    file = mapped(model, tmp_path / "model")
    before = fitted_arrays(file)
    assert any(isinstance(value, np.memmap) and not value.flags.writeable for value in vars(file).values())
    again = copy.copy(file).fit(X, **case.given(X))
    assert fitted_arrays(again) == fitted_arrays(copy.deepcopy(model).fit(X, **case.given(X)))
    assert fitted_arrays(file) == before


@pytest.mark.parametrize("case", BATCHES, ids=str)
@pytest.mark.parametrize("begin", ["fit", "partial_fit"])
def test_a_memory_mapped_model_takes_batches_and_leaves_the_file(case, begin, tmp_path, monkeypatch):
    """Also where the file could be written to, as joblib does with ``mmap_mode="r+"``."""
    monkeypatch.setattr(shifts, "SMALL", 0 if "sparse" in case.name else shifts.SMALL)
    X, more = case.draw(), more_of(case, case.draw())
    model = getattr(case.make(), begin)(X, **(case.given(X) if begin == "fit" else more))
    want = copy.deepcopy(model).partial_fit(X, **more).partial_fit(X, **more)
    for mode in ("r", "r+"):
        file = mapped(model, tmp_path / "model", mode)
        before = (tmp_path / "model").read_bytes()
        file.partial_fit(X, **more).partial_fit(X, **more)
        assert fitted_arrays(file) == fitted_arrays(want)
        assert (tmp_path / "model").read_bytes() == before


@pytest.mark.parametrize("case", SPARSE[:2], ids=str)
def test_a_model_that_a_worker_fitted_goes_on(case, tmp_path, monkeypatch):
    """Its blocks, its start for another fit, and what reads it."""
    X, more = case.draw(), more_of(case, case.draw())
    model = mapped(case.fit(X), tmp_path / "model")
    want = case.fit(X)
    for each in (model, want):
        for name in ("transform", "score"):
            getattr(each, name)(X, **more)
    assert model.transform(X, **more).tobytes() == want.transform(X, **more).tobytes()
    init = [
        fastnmf.StratifiedNMF(3, init=each, max_iter=2, tol=0).fit(X, **more).W_.tobytes() for each in (model, want)
    ]
    assert init[0] == init[1]
    if hasattr(model, "fit_blocks"):
        blocks = [(X[:7], more["strata"][:7]), (X[7:], more["strata"][7:])]
        for each in (model, want):
            each.set_params(warm_start=True).fit_blocks(blocks, 3)
        assert fitted_arrays(model) == fitted_arrays(want)
