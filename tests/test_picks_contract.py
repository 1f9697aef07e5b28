"""What all models that pick, peel, count, flip and bound promise: one line a model, the same checks for all."""

import doctest
import importlib

import numpy as np
import pytest
import scipy.sparse as sp

from fastnmf import (
    PLSA,
    AffineNMF,
    BinaryNMF,
    BooleanNMF,
    DictionaryNMF,
    IntervalNMF,
    SeparableNMF,
    UnderapproximationNMF,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence, and of fewer anchors than asked for
ATOMS = np.minimum(np.arange(5)[:, None] + np.arange(9) + 1, 4) / 4
SEEDED = {"random_state": 0, "max_iter": 15, "tol": 0}
# name -> class, parameters, and whether the objective in the history never rises
MODELS = {
    "separable": (SeparableNMF, {}, False),
    "separable-features": (SeparableNMF, {"axis": 1}, False),
    "plsa": (PLSA, SEEDED, True),
    "underapproximation": (UnderapproximationNMF, {"max_iter": 15}, False),
    "underapproximation-feasible": (UnderapproximationNMF, {"max_iter": 15, "feasible": True}, False),
    "binary": (BinaryNMF, {"n_init": 2, **SEEDED}, True),
    "boolean": (BooleanNMF, {"n_init": 2, **SEEDED}, True),
    "interval": (IntervalNMF, SEEDED, True),
    "interval-mu": (IntervalNMF, {"move": "mu", **SEEDED}, True),
    "affine": (AffineNMF, {"extrapolate": False, **SEEDED}, True),
    "affine-mu": (AffineNMF, {"solver": "mu", "init": "random", **SEEDED}, True),
    "dictionary": (DictionaryNMF, {"dictionary": ATOMS, **SEEDED}, True),
}
every_model = pytest.mark.parametrize("name", MODELS)
MODULES = ("affine", "binary", "dictionary", "interval", "plsa", "separable", "underapproximation")


def make(name, rank=3, **more):
    cls, parameters, _ = MODELS[name]
    return cls(rank, **{**parameters, **more})


def counts(seed=0):
    """Counts (14, 9) with an empty row and an empty column."""
    rng = np.random.default_rng(seed)
    X = rng.poisson(2, (14, 9)) * (rng.random((14, 9)) < 0.6)
    X[4], X[:, 7] = 0, 0
    return X.astype(float)


def shown(model):
    """Return what the model says of the data, which scale and order of the components do not change."""
    offset = getattr(model, "offset_", 0)
    return model.W_ * getattr(model, "s_", 1) @ model.components_ + offset


@every_model
def test_factors_are_non_negative_and_finite(name):
    X = counts()
    model = make(name).fit(X)
    rank = model.n_components_
    assert model.W_.shape == (14, rank) and model.components_.shape == (rank, 9) and rank == 3
    assert model.get_feature_names_out().shape == (3,)
    for factor in (model.W_, model.components_, model.transform(X)):
        assert np.isfinite(factor).all() and (factor >= 0).all() and factor.any()
    assert model.inverse_transform(model.W_).shape == X.shape
    assert model.transform(X[:1]).shape == (1, 3)
    assert len(model.top_features(2)) == 3
    if MODELS[name][2]:
        objective = model.history_["objective"]
        assert (np.diff(objective) <= 1e-8 * objective[0]).all() and (objective[-1] < objective[0] or objective[0] == 0)


@every_model
def test_format_layout_and_type_do_not_matter(name):
    X = counts()
    want = shown(make(name, **({"init": "random"} if "affine" in name else {})).fit(X))
    wide = sp.csr_array(X)
    wide = sp.csr_array((wide.data, wide.indices.astype(np.int64), wide.indptr.astype(np.int64)), shape=X.shape)
    frozen = X.copy()
    frozen.flags.writeable = False
    others = (np.asfortranarray(X), X.astype(int), frozen, np.repeat(X, 2, axis=1)[:, ::2])
    for other in (*others, sp.csr_array(X), sp.csr_matrix(X), sp.csc_array(X), sp.coo_array(X), sp.lil_matrix(X), wide):
        model = make(name, **({"init": "random"} if "affine" in name else {})).fit(other)
        # Dense and sparse data take other paths to the start: sums in another order.
        np.testing.assert_allclose(shown(model), want, rtol=1e-6, atol=1e-9)


@every_model
def test_the_threads_change_no_bit(name):
    X = sp.random_array((400, 90), density=0.3, rng=np.random.default_rng(0), format="csr")
    more = {"dictionary": np.ones((5, 90)) + np.eye(5, 90)} if name == "dictionary" else {}
    one, two = (make(name, n_threads=n, **more).fit(X) for n in (1, 2))
    assert one.W_.tobytes() == two.W_.tobytes() and one.components_.tobytes() == two.components_.tobytes()
    assert one.transform(X).tobytes() == two.transform(X).tobytes()


@every_model
def test_degenerate_shapes(name):
    X = counts() + 0.0
    for Y in (X[:1], X[:, :1], X[:2, :2]):
        more = {"dictionary": ATOMS[:, : Y.shape[1]]} if name == "dictionary" else {}
        model = make(name, rank=1, **more).fit(Y)
        assert np.isfinite(shown(model)).all() and np.isfinite(model.transform(Y)).all()
    many = make(name, rank=12).fit(X)
    assert np.isfinite(shown(many)).all()


@every_model
def test_progress_is_shown(name, capsys):
    make(name, verbose=1).fit(counts())
    assert type(make(name)).__name__ in capsys.readouterr().err


@every_model
def test_the_data_stay_as_they_are(name):
    X = sp.csr_array(counts())
    before = X.data.copy(), X.indices.copy(), X.indptr.copy()
    make(name).fit(X).transform(X)
    for now, then in zip((X.data, X.indices, X.indptr), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_run(module):
    result = doctest.testmod(importlib.import_module(f"fastnmf.models.{module}"))
    assert result.attempted > 3 and result.failed == 0
