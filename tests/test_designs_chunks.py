"""Crossed groups, designs and exposure on disk, one chunk of rows at a time, beside the same fits in memory."""

import tracemalloc
import warnings

import numpy as np
import oracles_designs as oracle
import pytest
import scipy.sparse as sp

import fastnmf
from fastnmf import NMF, StratifiedNMF, open_csr, save_csr
from fastnmf.core import remote
from fastnmf.core.chunks import Weighing
from fastnmf.core.shares import Share
from fastnmf.data.levels import Design

RNG = np.random.default_rng(0)
N, M, RANK, ROWS = 300, 50, 3, 67
YEAR, SITE = RNG.integers(2000, 2004, N), np.array(["north", "south", "west"])[RNG.integers(0, 3, N)]
FRAME, U, OWN = {"year": YEAR, "site": SITE}, RNG.uniform(0.5, 2, N), sp.random_array((N, 4), density=0.6, rng=RNG)
U[5], OWN = 0.0, sp.csr_array(OWN)
WEIGHT = np.where(np.arange(N) % 7 == 0, 0.0, RNG.random(N) * 2)
EFFECTS = RNG.gamma(0.3, 1, (4, M))[YEAR - 2000] + RNG.gamma(0.3, 1, (3, M))[np.unique(SITE, return_inverse=True)[1]]
X = sp.csr_array(RNG.poisson(EFFECTS + RNG.gamma(0.3, 1, (N, RANK)) @ RNG.gamma(0.3, 1, (RANK, M))).astype(float))

KL = {"solver": "mu", "beta_loss": "kullback-leibler"}
NETS = {"alpha_W": 1e-3, "alpha_H": 1e-3, "alpha_V": 1e-3, "l1_ratio": 0.5}
CROSSED = {"strata": FRAME}
ALL = CROSSED | {"exposure": U, "sample_weight": WEIGHT}

# name -> parameters, arguments of fit
CASES = {
    "crossed": ({}, CROSSED),
    "random": ({"init": "random"}, CROSSED),
    "random rows": ({"init": "rows"}, CROSSED),
    "multilevel": ({"init": "multilevel"}, CROSSED),
    "exposure, weights": ({}, ALL),
    "one label, exposure": ({}, {"strata": SITE, "exposure": U}),
    "own design": ({}, {"design": OWN}),
    "smooth": ({"smoothness": {"year": 2.0}}, CROSSED),
    "smooth strata": ({"smoothness": 2.0}, {"strata": YEAR}),
    "gauge": ({"gauge": "max_shift"}, CROSSED),
    "nets": (NETS, CROSSED),
    "sparse shifts": ({"sparse_shifts": True}, CROSSED),
    "mu": ({"solver": "mu"}, CROSSED),
    "mu, smooth": ({"solver": "mu", "smoothness": {"year": 2.0}}, CROSSED),
    "kl": (KL, CROSSED),
    "kl, weights": (KL | {"extrapolate": False}, ALL),
    "kl, multilevel, own design": (KL | {"init": "multilevel"}, {"design": OWN}),
}


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """Return ``disk(chunk_rows, X)``: a matrix on disk, the columns of whose chunks are stored."""

    def saved(chunk_rows=ROWS, X=X):
        return save_csr(X, tmp_path_factory.mktemp("chunks"), columns=chunk_rows)

    return saved


def fitted(data, options, given, kind=StratifiedNMF, **more):
    options = {"init": "features", "random_state": 0, "max_iter": 20, "tol": 0} | options | more
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(RANK, **options).fit(data, **given)


def dense(V):
    return V.toarray() if sp.issparse(V) else V


def bits(model):
    return [dense(np.asarray(F)).tobytes() for F in (model.W_, model.components_, model.shifts_)]


def rows_of(given):
    return {name: values for name, values in given.items() if name != "sample_weight"}


def test_an_exposure_beyond_the_range_of_the_arithmetic_is_refused(disk):
    with pytest.raises(ValueError, match="'intercept' of the design.* is 1e.60; expected 7e-49"):
        StratifiedNMF(2).fit(disk(), strata=FRAME, exposure=np.full(N, 1e60))


@pytest.mark.parametrize("name", CASES)
def test_a_fit_of_chunks_is_that_of_all_rows(name, disk):
    options, given = CASES[name]
    wanted, found = fitted(X, options, given), fitted(disk(), options, given)
    np.testing.assert_allclose(found.history_["objective"], wanted.history_["objective"], rtol=1e-13)
    close = {"rtol": 0, "atol": 1e-12 if options.get("beta_loss") is None else 1e-11}
    for name in ("components_", "shifts_", "W_"):
        ours, theirs = (dense(getattr(model, name)) for model in (found, wanted))
        np.testing.assert_allclose(ours / theirs.max(), theirs / theirs.max(), **close)
    assert vars(found).keys() == vars(wanted).keys()
    names = ["strata_", "stratum_sizes_", "shift_names_", "row_strata_", "_design"]
    for attribute in names:
        assert str(getattr(found, attribute, None)) == str(getattr(wanted, attribute, None))


@pytest.mark.parametrize("name", ["exposure, weights", "smooth", "kl, weights"])
def test_new_rows_on_disk_have_the_weights_and_scores_of_those_in_memory(name, disk):
    options, given = CASES[name]
    model, rows = fitted(X, options, given), rows_of(given)
    D = disk()
    W = model.transform(X, **rows)
    assert np.array_equal(model.transform(D, **rows), W)
    assert model.score(D, **rows) == pytest.approx(model.score(X, **rows), rel=1e-12)
    if options is not CASES["kl, weights"][0]:
        scores = [model.score(data, sample_weight=WEIGHT, **rows) for data in (D, X)]
        assert scores[0] == pytest.approx(scores[1], rel=1e-12)
    again = fitted(D, options, given)
    np.testing.assert_allclose(
        again.inverse_transform(W, **rows), model.inverse_transform(W, **rows), rtol=0, atol=1e-9 * X.max()
    )


def test_scores_of_models_without_designs_on_disk(disk):
    D = disk()
    for kind, options, rows in ((NMF, {}, {}), (StratifiedNMF, {}, {"strata": SITE}), (StratifiedNMF, KL, CROSSED)):
        model = fitted(X, options, rows, kind)
        assert model.score(D, **rows) == pytest.approx(model.score(X, **rows), rel=1e-12)
    model = fitted(X, {"unknown_strata": "mean"}, {"strata": SITE})
    new = {"strata": np.where(np.arange(N) % 5 == 0, "east", SITE)}
    assert model.score(D, **new) == pytest.approx(model.score(X, **new), rel=1e-12)
    scaled = sp.csr_array(X.multiply(np.where(np.arange(N) < ROWS, 1e-130, 1e130)[:, None]))  # each chunk its own scale
    model = fitted(scaled, {}, {}, NMF)
    assert model.score(disk(X=scaled)) == pytest.approx(model.score(scaled), rel=1e-9)


def test_levels_that_are_new_get_the_mean_level(disk):
    model = fitted(X, {"unknown_strata": "mean"}, CROSSED)
    new = FRAME | {"year": np.where(np.arange(N) % 11 == 0, 1990, YEAR)}
    assert np.array_equal(model.transform(disk(), strata=new), model.transform(X, strata=new))
    with pytest.raises(ValueError, match=r"strata\['year'\] contains the label 1990, which was not seen in fit"):
        fitted(X, {}, CROSSED).transform(disk(), strata=new)


def test_the_driver_and_the_chunks_know_the_sums(disk):
    learned, Z = Design.learn(FRAME, None, U, N)
    source, full = remote.DiskSource(disk(), Z, WEIGHT), Z.toarray()
    summary, weighing = remote.summarize(source, learned.names, np.dtype(float), 2.0, has_entropy=False)
    data = remote.chunked_strata(source, summary, weighing)
    A, weighed = X.toarray(), full * WEIGHT[:, None]
    np.testing.assert_allclose(data.pattern.dense(data.pattern.sums), weighed.T @ A, rtol=1e-12)
    np.testing.assert_allclose(data.gram.toarray(), full.T @ weighed, rtol=1e-12)
    np.testing.assert_allclose(data.column_sums(), WEIGHT @ A, rtol=1e-12)
    np.testing.assert_allclose(data.groups.sizes, (full > 0).T @ WEIGHT, rtol=1e-12)
    v = RNG.random(len(data.pattern.group))
    np.testing.assert_allclose(data.shift_row(v, 7), full[7] @ data.pattern.dense(v), rtol=1e-12)
    engine, W = source.engine(data, 8), RNG.random((N, 8))
    share = engine.run(_given, None, W)
    np.testing.assert_allclose(share.sums, (np.sqrt(WEIGHT)[:, None] * full).T @ W, rtol=1e-12)


def _given(part, state, order, W):
    """Return a share of given weights: the sums by the columns of the design."""
    W = W[part.first : part.first + part.n_rows]
    return state, Share(sums=part.data.groups.sum(W))


def test_one_iteration_is_that_of_plain_loops(disk):
    Z = oracle.design([YEAR - 2000, np.unique(SITE, return_inverse=True)[1]])
    rng = np.random.default_rng(3)
    start = {"W": rng.random((N, RANK)), "H": rng.random((RANK, M)), "V": rng.random((Z.shape[1], M))}
    seen = []
    options = {"init": "custom", "max_iter": 1, "solver": "mu", "callback": lambda state: seen.append(state.V)}
    model = fitted(disk(), options, CROSSED | start)
    first = oracle.objective(X.toarray(), Z, start["W"], start["H"].T, start["V"].T, np.zeros((8, 8)))
    assert model.history_["objective"][0] == pytest.approx(first, rel=1e-12)
    last = oracle.objective(X.toarray(), Z, model.W_, model.components_.T, model.shifts_.T, np.zeros((8, 8)))
    assert model.history_["objective"][1] == pytest.approx(last, rel=1e-12) and last < first


@pytest.mark.parametrize("name", ["crossed", "kl, weights"])
def test_bits_depend_on_the_chunks_alone(name, disk, tmp_path, monkeypatch):
    options, given = CASES[name]
    options, D = options | {"max_iter": 3}, disk()
    expected = bits(fitted(D, options, given))
    assert bits(fitted(D, options, given, n_threads=1)) == expected
    save_csr(X, tmp_path)  # without columns
    assert bits(fitted(open_csr(tmp_path, chunk_rows=ROWS), options, given)) == expected
    monkeypatch.setattr(remote, "MAPPED_ABOVE", 0)
    assert bits(fitted(D, options, given)) == expected
    one_column = {"strata": {"site": SITE}}  # is the fit of the labels, to the last bit
    if name == "crossed":
        assert bits(fitted(D, options, one_column)) == bits(fitted(D, options, {"strata": SITE}))


@pytest.mark.parametrize("name", ["smooth", "kl"])
def test_a_fit_goes_on_from_its_checkpoint(name, disk, tmp_path):
    options, given = CASES[name]
    n_iter = 13 if name == "kl" else 5  # the former is within a cycle of extrapolation
    D, more = disk(100), {"checkpoint": tmp_path / "state.npz", "checkpoint_every": 60}
    expected = fitted(D, options, given, max_iter=n_iter + 2)
    for max_iter in (n_iter, n_iter + 2):
        found = fitted(D, options, given | more, max_iter=max_iter)
    assert bits(found) == bits(expected)
    with pytest.raises(ValueError, match="strata"):
        fitted(D, options, {"strata": FRAME | {"year": YEAR[::-1]}} | more)


@pytest.mark.parametrize("name", ["crossed", "kl"])
def test_starts_of_the_user(name, disk):
    options, given = CASES[name]
    prior, D = fitted(X, options, given, max_iter=3, random_state=5), disk(100)
    wanted, found = (fitted(data, options, given, init=prior, max_iter=4) for data in (X, D))
    np.testing.assert_allclose(found.history_["objective"], wanted.history_["objective"], rtol=1e-12)
    models = [fitted(data, options, given, warm_start=True, max_iter=3) for data in (X, D)]
    for model, data in zip(models, (X, D), strict=True):
        model.set_params(max_iter=2).fit(data, **given)
    np.testing.assert_allclose(*(model.history_["objective"] for model in models), rtol=1e-12)


def test_dead_components_are_replaced_and_chunks_may_have_few_rows(disk):
    few = sp.csr_array(sp.block_diag([np.ones((20, 6)), np.full((15, 5), 3.0), np.ones((15, 7))]))
    rows = {"strata": {"a": np.arange(50) % 2, "b": np.arange(50) % 3}}
    H = np.zeros((RANK, few.shape[1]))
    H[0, :6], H[1:, 0] = 1.0, 1e-9
    wanted, found = (fitted(data, {"init": fastnmf.Start(H), "max_iter": 30}, rows) for data in (few, disk(17, few)))
    assert found.n_revived_ == wanted.n_revived_ > 0
    np.testing.assert_allclose(found.normalized_loss_, wanted.normalized_loss_, atol=1e-6)


def test_units_of_any_size_and_other_types(disk):
    for scale in (1e-150, 1e150):
        wanted, found = (fitted(data, {}, CROSSED, max_iter=4) for data in (X * scale, disk(X=X * scale)))
        np.testing.assert_allclose(found.history_["normalized_loss"], wanted.history_["normalized_loss"], rtol=1e-9)
    single = X.astype(np.float32)
    wanted, found = (fitted(data, {}, CROSSED, max_iter=5) for data in (single, disk(X=single)))
    assert found.components_.dtype == np.float32
    np.testing.assert_allclose(found.history_["objective"], wanted.history_["objective"], rtol=1e-4)


def test_no_array_has_a_number_for_each_row_and_level(disk):
    n, rng = 4000, np.random.default_rng(0)
    many = sp.random_array((n, 30), density=0.1, rng=rng, format="csr")
    levels = {"a": np.arange(n) % 1000, "b": rng.integers(0, 5, n)}
    D = disk(500, many)
    fitted(D, {}, {"strata": levels}, max_iter=1)  # compiles
    tracemalloc.start()
    fitted(D, {}, {"strata": levels}, max_iter=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n * 1006 * 8 / 2  # 32 MB


def test_a_part_of_the_rows_has_their_design(disk):
    _, Z = Design.learn(FRAME, None, None, N)
    part = Weighing(np.dtype(float), np.arange(Z.shape[1])).strata(X[10:20], Z[10:20], WEIGHT[10:20])
    np.testing.assert_array_equal(part.design.toarray(), Z[10:20].toarray())
    np.testing.assert_allclose(part.groups.sum(np.ones((10, 8)))[:, 0], Z[10:20].T @ np.sqrt(WEIGHT[10:20]))


REFUSED = {
    "need all rows in memory": ({"n_own": {"site": 1}}, {}),
    "strata_weight='equal' does not go with a design": ({"strata_weight": "equal"}, {}),
    "smoothness=.* needs the squared error": (KL | {"smoothness": {"year": 1.0}}, {}),
    "n_init=2 needs all rows at once": ({"n_init": 2}, {}),
    "weight needs all rows at once": ({}, {"weight": X}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_not_supported_is_refused(message, disk):
    options, given = REFUSED[message]
    with pytest.raises(ValueError, match=message):
        fitted(disk(), options, CROSSED | given)
