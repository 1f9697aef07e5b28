"""Own components of strata in fits of a matrix on disk, beside the same fits in memory."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp

import fastnmf
from fastnmf import StratifiedNMF, save_csr
from fastnmf.core import own_rounds, remote
from fastnmf.models.base import own

N, M, RANK = 120, 24, 2
RNG = np.random.default_rng(0)
LABELS = np.repeat(["a", "b", "c"], [50, 40, 30])
WEIGHT = np.where(np.arange(N) % 9 == 0, 0.0, 2 * RNG.random(N))
SHARED, OWN = RNG.gamma(0.4, 1, (RANK, M)), RNG.gamma(0.4, 1, (2, M))
MEAN = RNG.gamma(0.4, 1, (N, RANK)) @ SHARED + (LABELS == "b")[:, None] * (RNG.gamma(0.4, 1, (N, 2)) @ OWN)
X = sp.csr_array(RNG.poisson(2 * MEAN + RNG.gamma(0.3, 0.3, (3, M))[np.unique(LABELS, return_inverse=True)[1]]) * 1.0)

KL = {"solver": "mu", "beta_loss": "kullback-leibler"}
MANY = {"n_components": 1, "n_own": 2}  # too many for a joint fit: the start is the residual
# name -> parameters, arguments of fit
CASES = {
    "own": ({"n_own": {"b": 2}}, {}),
    "own, residual": (MANY, {}),
    "own, weights, common": ({"n_own": {"a": 1, "b": 2}, "shifts": "common"}, {"sample_weight": WEIGHT}),
    "own, gauge": ({"n_own": 1, "gauge": "max_shift"}, {}),
    "own, mu": ({"n_own": {"b": 2}, "solver": "mu"}, {}),
    "tied": ({"own": "tied", "shifts": False}, {"sample_weight": WEIGHT}),
    "tied, mu": ({"own": "tied", "solver": "mu"}, {}),
    "kl": ({"n_own": {"b": 2}} | KL, {"sample_weight": WEIGHT}),
    "kl, residual": (MANY | KL | {"extrapolate": False}, {}),
    "kl, tied": ({"own": "tied"} | KL, {}),
}


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """Return ``disk(chunk_rows, X)``: a matrix on disk, the columns of whose chunks are stored."""

    def saved(chunk_rows=61, X=X):
        return save_csr(X, tmp_path_factory.mktemp("chunks"), columns=chunk_rows)

    return saved


def fitted(data, options, given=None, **more):
    options = {"n_components": RANK, "init": "features", "random_state": 0, "max_iter": 12, "tol": 0} | options | more
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return StratifiedNMF(**options).fit(data, strata=LABELS, **(given or {}))


def dense(F):
    return F.toarray() if sp.issparse(F) else np.asarray(F)


def bits(model):
    names = ("W_", "components_", "shifts_", "_own_stack", "own_W_")
    return [dense(getattr(model, name)).tobytes() for name in names if hasattr(model, name)]


def assert_same_fit(found, wanted):
    np.testing.assert_allclose(found.history_["objective"], wanted.history_["objective"], rtol=1e-12)
    assert vars(found).keys() == vars(wanted).keys() and found.n_revived_ == wanted.n_revived_
    for name in {"W_", "components_", "shifts_", "_own_stack", "own_W_"} & vars(wanted).keys():
        ours, theirs = (dense(getattr(model, name)) for model in (found, wanted))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10 * max(theirs.max(), 1e-9), err_msg=name)
    assert found.n_own_.tolist() == wanted.n_own_.tolist()


@pytest.mark.parametrize("name", CASES)
def test_a_fit_of_chunks_is_that_of_all_rows(name, disk):
    options, given = CASES[name]
    wanted = fitted(X, options, given)
    for chunk_rows in (200, 49) if name in ("own", "kl, residual") else (61,):
        assert_same_fit(fitted(disk(chunk_rows), options, given), wanted)


@pytest.mark.parametrize("name", ["own", "tied", "kl"])
def test_new_rows_on_disk_have_the_weights_and_scores_of_those_in_memory(name, disk):
    model, D = fitted(disk(), CASES[name][0], max_iter=5), disk()
    W = model.transform(X, strata=LABELS)
    np.testing.assert_allclose(model.transform(D, strata=LABELS), W, rtol=0, atol=1e-12 * W.max())
    np.testing.assert_allclose(model.score(D, strata=LABELS), model.score(X, strata=LABELS), rtol=1e-12)
    if name == "own":
        assert np.array_equal(W, model.W_)
        scores = [model.score(data, strata=LABELS, sample_weight=WEIGHT) for data in (D, X)]
        np.testing.assert_allclose(*scores, rtol=1e-12)
        U = model.transform_own(X, strata=LABELS)
        assert (U != model.own_W_).nnz == 0 and np.allclose(
            model.transform_own(D, strata=LABELS).toarray(), U.toarray()
        )
        model.set_params(unknown_strata="mean")
        new = {"strata": np.where(np.arange(N) % 7 == 0, "d", LABELS)}
        np.testing.assert_allclose(model.score(D, **new), model.score(X, **new), rtol=1e-12)


@pytest.mark.parametrize("name", ["own, residual", "kl, residual"])
def test_bits_depend_on_the_chunks_alone(name, disk, tmp_path, monkeypatch):
    options, given = CASES[name]
    D, options = disk(), options | {"max_iter": 3}
    expected = bits(fitted(D, options, given))
    assert bits(fitted(D, options, given, n_threads=1)) == expected
    monkeypatch.setattr(remote, "MAPPED_ABOVE", 0)
    monkeypatch.setattr(own_rounds, "ROWS_AT_A_TIME", 37)
    assert bits(fitted(D, options, given)) == expected


@pytest.mark.parametrize("name", ["own, residual", "tied", "kl, residual"])
def test_a_fit_goes_on_from_its_checkpoint_and_from_the_last_one(name, disk, tmp_path):
    options, D = CASES[name][0], disk()
    options = options | {"extrapolate": True}
    n_iter = 13 if "kl" in name else 3  # the former is within a cycle of extrapolation
    expected = fitted(D, options, max_iter=n_iter + 2)
    for max_iter in (n_iter, n_iter + 2):
        found = fitted(D, options, {"checkpoint": tmp_path / "state.npz"}, max_iter=max_iter)
    assert bits(found) == bits(expected)
    models = [fitted(data, options, warm_start=True, max_iter=3) for data in (X, D)]
    for model, data in zip(models, (X, D), strict=True):
        model.set_params(max_iter=2).fit(data, strata=LABELS)
    np.testing.assert_allclose(*(model.history_["objective"] for model in models), rtol=1e-12)


def test_a_start_of_the_user_and_known_components(disk):
    prior = fitted(X, {}, max_iter=3)
    known = np.full((1, M), np.nan)
    known[0, :5] = 1.0
    for options in ({"init": prior}, {"fixed_components": known}, KL | {"init": prior}, {"init": "multilevel"}):
        options = {"n_own": 2} | options
        wanted, found = (fitted(data, options, max_iter=4) for data in (X, disk()))
        np.testing.assert_allclose(found.history_["objective"], wanted.history_["objective"], rtol=1e-12)


def test_dead_components_are_replaced_as_in_memory(disk, monkeypatch):
    monkeypatch.setattr(own, "start_own", lambda weights, rng: None)  # own components begin at zero
    H = np.zeros((RANK, M))
    H[0] = X.toarray().mean(axis=0)
    for options in ({"n_own": {"b": 2, "c": 1}}, {"own": "tied"}):
        options = options | {"init": fastnmf.Start(H), "max_iter": 12}
        wanted, found = (fitted(data, options, {"sample_weight": WEIGHT}) for data in (X, disk()))
        assert wanted.n_revived_ == (4 if "n_own" in options else 1)
        assert_same_fit(found, wanted)


def test_units_of_any_size_and_single_precision(disk):
    options = MANY | {"max_iter": 4}
    for scale in (1e-150, 1e150):
        wanted, found = (fitted(data, options) for data in (X * scale, disk(X=X * scale)))
        np.testing.assert_allclose(found.history_["normalized_loss"], wanted.history_["normalized_loss"], rtol=1e-9)
    single = X.astype(np.float32)
    wanted, found = (fitted(data, options) for data in (single, disk(X=single)))
    assert found.components_.dtype == found.own_W_.dtype == np.float32
    np.testing.assert_allclose(found.history_["objective"], wanted.history_["objective"], rtol=1e-3)


def test_files_hold_a_fit_of_chunks(disk, tmp_path):
    model = fitted(disk(), {"n_own": 1, "max_iter": 2})
    model.save(tmp_path / "model")
    assert np.array_equal(fastnmf.load(tmp_path / "model").transform(X, strata=LABELS), model.W_)
