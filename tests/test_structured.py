"""Models of other shapes than ``W H``: what all of them promise, and what each of them does."""

from functools import cache

import numpy as np
import oracle_data
import oracles_structured as oracles
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits
from sklearn.metrics import normalized_mutual_info_score

from fastnmf import (
    BilinearNMF,
    ConvexNMF,
    ConvolutiveNMF,
    DeepNMF,
    KernelNMF,
    OrthogonalNMF,
    ProjectiveNMF,
    SemiNMF,
    TriNMF,
)
from fastnmf.kernels.jit import threads

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
MODELS = {
    "orthogonal": OrthogonalNMF(3),
    "orthogonal-random": OrthogonalNMF(3, init="random"),
    "orthogonal-mu": OrthogonalNMF(3, solver="mu"),
    "semi": SemiNMF(3),
    "semi-random": SemiNMF(3, init="random"),
    "projective": ProjectiveNMF(3),
    "projective-clusters": ProjectiveNMF(3, init="clusters"),
    "projective-random": ProjectiveNMF(3, init="random"),
    "projective-mu": ProjectiveNMF(3, solver="mu"),
    "convex": ConvexNMF(3),
    "convex-random": ConvexNMF(3, init="random"),
    "convex-mu": ConvexNMF(3, solver="mu"),
    "tri": TriNMF(3),
    "tri-random": TriNMF(3, init="random"),
    "tri-mu": TriNMF(3, solver="mu"),
    "tri-orthogonal": TriNMF(3, orthogonal=True),
    "tri-em": TriNMF(3, orthogonal=True, solver="em", n_init=2),
    "deep": DeepNMF((4, 3)),
    "deep-random": DeepNMF((5, 4, 3), init="random"),
    "deep-mu": DeepNMF((4, 3), solver="mu"),
    "bilinear": BilinearNMF(3),
    "bilinear-random": BilinearNMF(3, init="random"),
    "convolutive": ConvolutiveNMF(3, n_lags=3, init="random"),
}
NOT_MONOTONE = {"orthogonal-mu", "tri-orthogonal"}
OTHER_WEIGHTS = {
    "deep-mu",
    "orthogonal-mu",
    "convex-mu",
    "tri-mu",
    "tri-orthogonal",
}  # than those that transform solves for exactly
MEET = {"convolutive"}  # rows with their neighbours
every_model = pytest.mark.parametrize("name", MODELS)


def make(name, **more):
    model = MODELS[name]
    return type(model)(**{**model.get_params(), "random_state": 0, "max_iter": 25, "tol": 0, **more})


def data(n_rows=24, n_columns=17, seed=0, density=0.6):
    """Draw non-negative data with an empty row and an empty column."""
    rng = np.random.default_rng(seed)
    X = rng.random((n_rows, n_columns)) * (rng.random((n_rows, n_columns)) < density)
    X[5], X[:, 3] = 0, 0
    return X


@cache
def fitted(name):
    """Return a model fitted to `data`: one fit for all tests that read it and change nothing."""
    return make(name).fit(data())


@every_model
def test_the_objective_is_that_of_the_factors_and_falls(name):
    X = data()
    model = make(name)
    W = model.fit_transform(X)
    error = np.sum((X - model.inverse_transform(W)) ** 2)
    objective = model.history_["objective"]
    assert objective[-1] == pytest.approx(error, rel=1e-9)
    assert model.reconstruction_err_ == pytest.approx(np.sqrt(error), rel=1e-9)
    assert model.normalized_loss_ == pytest.approx(np.sqrt(error / np.sum(X**2)), rel=1e-9)
    assert (W >= 0).all() and W is model.W_ and len(objective) == 26 and objective[-1] < objective[0]
    if name not in NOT_MONOTONE:
        assert (np.diff(objective) <= 1e-13 * np.sum(X**2)).all()


@every_model
def test_sparse_equals_dense_in_every_format(name):
    X, want = data(), fitted(name)
    formats = sp.csr_array, np.asfortranarray, sp.csc_matrix, sp.coo_array
    for form in formats if name == "convex" else formats[:2]:  # all become CSR before a model sees them
        model = make(name).fit(form(X))
        # Sums in another order, through 25 iterations.
        np.testing.assert_allclose(model.W_, want.W_, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(model.components_, want.components_, rtol=1e-6, atol=1e-8)


@every_model
def test_float32_stays_float32_and_is_close(name):
    X = data()
    single = make(name).fit(X.astype(np.float32))
    assert single.W_.dtype == single.components_.dtype == single.transform(X.astype(np.float32)).dtype == np.float32
    # Local minima can be told apart by rounding; the loss of these data is not that touchy.
    assert single.reconstruction_err_ == pytest.approx(fitted(name).reconstruction_err_, rel=1e-3)


@every_model
@pytest.mark.parametrize("scale", [1e-140, 1e140])
def test_extreme_scales(name, scale):
    X = data()
    model, want = make(name).fit(X * scale), fitted(name)
    assert model.reconstruction_err_ == pytest.approx(want.reconstruction_err_ * scale, rel=1e-5)
    pair = model.inverse_transform(model.W_) / scale, want.inverse_transform(want.W_)
    np.testing.assert_allclose(*pair, rtol=1e-4, atol=1e-6)
    found, rows = model.transform(X * scale)[:4], model.W_[:4]
    if name in OTHER_WEIGHTS:
        found, rows = model.inverse_transform(found) / scale, want.inverse_transform(want.transform(X)[:4])
    np.testing.assert_allclose(found, rows, rtol=1e-4, atol=1e-9)


@every_model
def test_transform_repeats_the_weights_of_the_fit(name):
    X = data()
    model = make(name, max_iter=500, tol=1e-9).fit(X)
    if name == "orthogonal-mu":  # W is orthogonal nearly, transform exactly
        assert (np.count_nonzero(model.transform(X), axis=1) <= 1).all()
    elif name in OTHER_WEIGHTS:  # transform is exact, the last update was not
        errors = [np.linalg.norm(X - model.inverse_transform(W)) for W in (model.transform(X), model.W_)]
        assert errors[0] <= errors[1]
    else:
        np.testing.assert_allclose(model.transform(X), model.W_, rtol=1e-4, atol=1e-6)
    if name in MEET:  # quasi-Newton steps make rounding larger
        np.testing.assert_allclose(model.transform(sp.csr_array(X)), model.transform(X), rtol=1e-5, atol=1e-7)
        return
    np.testing.assert_allclose(model.transform(sp.csr_array(X[:3])), model.transform(X)[:3], rtol=1e-9, atol=1e-12)
    if "bilinear" not in name:
        np.testing.assert_allclose(model.inverse_transform(model.W_), model.W_ @ model.components_)


@every_model
def test_degenerate_data(name):
    for X in (np.zeros((4, 3)), np.ones((1, 4)), np.ones((4, 1)), np.outer([0.0, 1, 2], [3.0, 0, 1])):
        for rank in (1, 2, 6):
            model = make(name, n_components=rank, max_iter=5).fit(X)
            assert np.isfinite(model.W_).all() and np.isfinite(model.components_).all()
            shape = len(X), rank * (rank + 1) // 2 if "bilinear" in name else rank
            assert model.W_.shape == model.transform(X).shape == shape


@every_model
def test_one_component_finds_rank_one(name):
    X = np.outer([0.0, 1, 2, 5], [3.0, 0, 1])
    assert make(name, n_components=1, max_iter=3000 if name in MEET else 300).fit(X).normalized_loss_ < 1e-6


@pytest.mark.parametrize("n_components", [1, 2, 4])
def test_a_start_that_is_exact_but_not_orthogonal_is_left_behind_for_good(n_components):
    """Equal rows are one cluster, so that the start is exact; the first orthogonal factors are not."""
    model = TriNMF(n_components, orthogonal=True, random_state=0).fit(np.full((20, 12), 3.0))
    assert model.normalized_loss_ < 1e-3 and model.converged_


@every_model
def test_the_seed_decides_and_the_data_stay(name):
    X = data()
    kept = X.copy()
    np.testing.assert_array_equal(make(name).fit(X).W_, fitted(name).W_)
    np.testing.assert_array_equal(X, kept)


@every_model
def test_any_number_of_threads_gives_the_same_bits(name):
    X = sp.random_array((2000, 300), density=0.05, rng=np.random.default_rng(0), format="csr")
    for form in (X, X.toarray()):
        many = make(name, max_iter=2).fit(form)
        with threads(1):
            one = make(name, max_iter=2).fit(form)
        np.testing.assert_array_equal(one.W_, many.W_)
        np.testing.assert_array_equal(one.components_, many.components_)


@pytest.mark.parametrize(
    ("model", "start", "match"),
    [
        (OrthogonalNMF(3, init="custom"), {}, "pass H to fit"),
        (OrthogonalNMF(3), {"H": np.ones((3, 17))}, "use init='custom'"),
        (OrthogonalNMF(3, init="custom"), {"W": np.ones((24, 3)), "H": np.ones((3, 17))}, "pass H alone"),
        (OrthogonalNMF(3, solver="cd"), {}, "solver='cd' is not known"),
        (OrthogonalNMF(3, init="custom"), {"H": np.ones((2, 17))}, r"expected \(3, 17\)"),
        (SemiNMF(3, init="custom"), {"W": -np.ones((24, 3))}, ">= 0"),
        (SemiNMF(3, init="nndsvd"), {}, "init='nndsvd' is not known"),
        (KernelNMF(3, kernel="wide"), {}, "kernel='wide' is not known"),
        (ProjectiveNMF(0), {}, "n_components=0"),
        (ProjectiveNMF(3, tol=-1), {}, "tol=-1"),
    ],
)
def test_what_cannot_be_used_is_refused(model, start, match):
    with pytest.raises(ValueError, match=match):
        model.fit(data(), **start)


def check_numbers(model, key, name="obj"):
    """Compare the history of a model with the fixed-seed numbers: up to 100 iterations to 1e-8, later ones to 1e-5."""
    wanted = oracle_data.variants()[key][name]
    seen = {int(i): value for i, value in wanted.items() if int(i) <= model.n_iter_}
    assert len(seen) >= 2
    for i, value in seen.items():
        assert model.history_["objective"][i] == pytest.approx(value, rel=1e-8 if i <= 100 else 1e-5), i


def test_orthogonal_numbers():
    X, z = oracles.planted()
    rng = oracles.after_planted()
    model = OrthogonalNMF(5, init="custom", tol=0, max_iter=30).fit(X.T, H=X[:, rng.choice(60, 5, replace=False)].T)
    check_numbers(model, "onmf_em")
    assert oracles.same_partition(model.labels_, z)
    np.testing.assert_allclose(model.W_.T @ model.W_, np.eye(5), atol=1e-14)
    rng = np.random.default_rng(7)
    H, W = rng.random((50, 5)).T, rng.random((5, 60)).T
    model = OrthogonalNMF(5, init="custom", solver="mu", tol=0, max_iter=2000).fit(X.T, W=W, H=H)
    check_numbers(model, "onmf_choi_mu")
    off = np.abs(model.W_.T @ model.W_ - np.eye(5)).max()
    assert off == pytest.approx(oracle_data.variants()["onmf_choi_mu"]["offdiag"], rel=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_orthogonal_finds_the_planted_clusters(seed):
    X, z = oracles.planted()
    assert normalized_mutual_info_score(z, OrthogonalNMF(5, random_state=seed).fit(X.T).labels_) == pytest.approx(1)


def test_a_cluster_without_rows_starts_again():
    X, z = oracles.planted()
    first = [np.flatnonzero(z == c)[0] for c in (0, 1, 2, 3, 3)]  # the last is there twice: ties go to the earlier one
    H = X[:, first].T
    model = OrthogonalNMF(5, init="custom").fit(X.T, H=H)
    assert oracles.same_partition(model.labels_, z)
    assert (np.diff(model.history_["objective"]) <= 1e-13 * np.sum(X**2)).all()


def test_one_step_of_assignment_is_that_of_plain_loops():
    X, H = data(), np.random.default_rng(1).random((3, 17))
    model = OrthogonalNMF(3, init="custom", max_iter=1, tol=0).fit(X, H=H)
    W, H = oracles.assign(X, H)
    np.testing.assert_allclose(model.W_, W, rtol=1e-12)
    np.testing.assert_allclose(model.components_, H, rtol=1e-12)
    assert model.labels_[5] == -1 and model.predict(X)[5] == -1


def test_semi_numbers():
    rng = np.random.default_rng(12)
    X = rng.standard_normal((30, 40))
    model = SemiNMF(4, init="custom", max_iter=300, tol=0).fit(X.T, W=rng.random((4, 40)).T)
    check_numbers(model, "semi_anls")
    want = oracle_data.variants()["semi_anls"]
    model = SemiNMF(4, max_iter=1).fit(X.T)
    assert want["svd_bound_rank4"] < model.history_["objective"][-1] < want["svd_bound_rank3"]


def test_semi_of_signed_sparse_data():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((25, 12)) * (rng.random((25, 12)) < 0.4)
    dense, sparse = (SemiNMF(3, max_iter=40, tol=0).fit(form(X)) for form in (np.asarray, sp.csr_array))
    np.testing.assert_allclose(dense.W_, sparse.W_, rtol=1e-6, atol=1e-9)
    assert (dense.components_ < 0).any() and (dense.W_ >= 0).all()
    one = SemiNMF(1, max_iter=1).fit(-np.ones((5, 3)))
    assert one.normalized_loss_ < 1e-7 and SemiNMF(2).fit(-1e140 * np.ones((5, 3))).normalized_loss_ < 1e-7


def test_projective_numbers():
    X, z = oracles.planted()
    H = np.random.default_rng(8).random((5, 60))
    model = ProjectiveNMF(5, init="custom", solver="mu", tol=0, max_iter=2000).fit(X, H=H)
    check_numbers(model, "projective_gram_mu")
    assert oracles.same_partition(model.components_.argmax(axis=0), z)


@pytest.mark.parametrize("init", [None, "clusters"])
def test_projective_finds_the_planted_clusters(init):
    X, z = oracles.planted()
    model = ProjectiveNMF(5, init=init, random_state=0, max_iter=2000).fit(X)
    assert oracles.same_partition(model.components_.argmax(axis=0), z)


def test_one_step_of_projection_is_that_of_the_paper():
    X, H = data(), np.random.default_rng(1).random((3, 17))
    model = ProjectiveNMF(3, init="custom", solver="mu", max_iter=1, tol=0).fit(X, H=H)
    np.testing.assert_allclose(model.components_, oracles.projective_step(X, H), rtol=1e-12)


def test_convex_numbers():
    X, _ = oracles.planted()
    rng = np.random.default_rng(9)
    C, H = rng.random((60, 5)), rng.random((5, 60))
    model = ConvexNMF(5, init="custom", solver="mu", tol=0, max_iter=1000).fit(X.T, W=H.T, C=C)
    check_numbers(model, "convex_mu")
    np.testing.assert_allclose(model.C_.sum(axis=0), 1)
    np.testing.assert_allclose(model.components_, model.C_.T @ X.T)


@pytest.mark.parametrize("signed", [False, True])
def test_one_step_of_mixtures_is_that_of_the_paper(signed, monkeypatch):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((9, 6)) if signed else rng.random((9, 6))
    W, C = rng.random((9, 2)), rng.random((9, 2))
    if signed:  # the updates of a kernel with negative eigenvalues
        monkeypatch.setattr("fastnmf.models.kernel.is_semidefinite", lambda K: False)
        model = KernelNMF(2, kernel="precomputed", init="custom", max_iter=1, tol=0).fit(X @ X.T, W=W, C=C)
    else:
        model = ConvexNMF(2, init="custom", solver="mu", max_iter=1, tol=0).fit(X, W=W, C=C)
    W, C = oracles.convex_step(X @ X.T, W, C, exact=2 if signed else 0, updates=3 if signed else 1)
    if signed:  # the exact W of the end comes on top
        np.testing.assert_allclose(model.C_, C / C.sum(axis=0), rtol=1e-9)
    else:
        np.testing.assert_allclose(model.W_ @ model.C_.T, W @ C.T, rtol=1e-12)


def test_convex_of_signed_data():
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((3, 8))
    z = rng.integers(0, 3, 40)
    X = centres[z] * (0.5 + rng.random((40, 1))) + 0.02 * rng.standard_normal((40, 8))
    model = ConvexNMF(3, random_state=0, max_iter=300).fit(X)
    objective = model.history_["objective"]
    assert (np.diff(objective) <= 1e-12 * np.sum(X**2)).all()
    assert oracles.same_partition(model.W_.argmax(axis=1), z)
    assert oracles.matched(model.components_, centres) > 0.99
    np.testing.assert_allclose(ConvexNMF(3, random_state=0, max_iter=300).fit(sp.csr_array(X)).C_, model.C_, atol=1e-9)
    with pytest.raises(ValueError, match="sparse and has negative entries"):
        ConvexNMF(3, solver="mu").fit(sp.csr_array(X))


def test_kernel_numbers():
    X, _ = oracles.planted()
    K = np.exp(-((X.T[:, None] - X.T) ** 2).sum(axis=-1) / 10)
    rng = np.random.default_rng(9)
    C, W = rng.random((60, 5)), rng.random((5, 60)).T
    for kernel, rows in (("precomputed", K), ("rbf", X.T)):
        model = KernelNMF(5, kernel=kernel, gamma=0.1, init="custom", solver="mu", tol=0, max_iter=1000)
        check_numbers(model.fit(rows, W=W, C=C), "kernel_convex_rbf_mu")


def test_a_linear_kernel_is_convex_nmf():
    X = data()
    start = {"W": np.random.default_rng(1).random((24, 3)), "C": np.random.default_rng(2).random((24, 3))}
    options = {"init": "custom", "solver": "mu", "max_iter": 40, "tol": 0}
    model, want = KernelNMF(3, kernel="linear", **options).fit(X, **start), ConvexNMF(3, **options).fit(X, **start)
    np.testing.assert_allclose(model.W_, want.W_, rtol=1e-6, atol=1e-9)
    assert model.reconstruction_err_ == pytest.approx(want.reconstruction_err_, rel=1e-9)
    np.testing.assert_allclose(model.transform(X), want.transform(X), rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(
        KernelNMF(3, kernel=np.dot, **options).fit(X, **start).W_, model.W_, rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("kernel", ["rbf", "linear", "poly", "precomputed"])
def test_kernel_model_promises(kernel):
    X = data()
    given = X @ X.T if kernel == "precomputed" else X
    model = KernelNMF(3, kernel=kernel, random_state=0, max_iter=200, tol=1e-8).fit(given)
    objective = model.history_["objective"]
    assert (np.diff(objective) <= 1e-12 * objective[0]).all()
    np.testing.assert_allclose(model.transform(given), model.W_, rtol=1e-5, atol=1e-7)
    if kernel != "precomputed":
        sparse = KernelNMF(3, kernel=kernel, random_state=0, max_iter=200, tol=1e-8).fit(sp.csr_array(X))
        np.testing.assert_allclose(sparse.W_, model.W_, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(sparse.transform(sp.csr_array(X)), model.W_, rtol=1e-5, atol=1e-7)
    assert KernelNMF(3, kernel=kernel).fit(given.astype(np.float32)).W_.dtype == np.float32


def test_kernels_that_cannot_be_used_are_refused(monkeypatch):
    monkeypatch.setattr("fastnmf.models.convex.MAX_ROWS", 10)
    with pytest.raises(ValueError, match="limited to 10 rows"):
        KernelNMF(2).fit(data())
    with pytest.raises(ValueError, match="limited to 10 rows"):
        ConvexNMF(2, solver="mu").fit(-data())
    with pytest.raises(ValueError, match="not a symmetric matrix"):
        KernelNMF(2, kernel="precomputed").fit(np.triu(np.ones((4, 4))))


def start_of_three():
    rng = np.random.default_rng(17)
    return rng.random((30, 20)), {"W": rng.random((30, 4)), "S": rng.random((4, 3)), "H": rng.random((3, 20))}


@pytest.mark.parametrize("key", ["trinmf_mu", "triONMF_ding_mu"])
def test_tri_numbers(key):
    X, start = start_of_three()
    is_orthogonal = key == "triONMF_ding_mu"
    options = {"solver": "mu", "extrapolate": False, "init": "custom", "tol": 0}
    model = TriNMF((4, 3), orthogonal=is_orthogonal, max_iter=1000, **options).fit(X, **start)
    check_numbers(model, key)
    assert (np.diff(model.history_["objective"]) <= 1e-12 * np.sum(X**2)).all()


def test_orthogonal_factors_overlap_less():
    X, start = start_of_three()
    overlaps = []
    for orthogonal in (False, True):
        model = TriNMF((4, 3), orthogonal=orthogonal, init="custom", solver="mu", tol=0, max_iter=500).fit(X, **start)
        for F in (model.W_.T, model.H_):
            F = F / np.linalg.norm(F, axis=1)[:, None]
            overlaps.append(np.abs(F @ F.T - np.eye(len(F))).max())
    assert max(overlaps[2:]) < 0.6 * min(overlaps[:2])


@pytest.mark.parametrize(("solver", "orthogonal"), [("cd", False), ("mu", False), ("mu", True)])
def test_one_step_of_three_factors_is_that_of_plain_formulas(solver, orthogonal):
    X, start = start_of_three()
    model = TriNMF((4, 3), solver=solver, orthogonal=orthogonal, init="custom", tol=0, max_iter=1).fit(X, **start)
    W, S, H = oracles.tri_step(
        X, *(start[name] for name in "WSH"), sweeps=2 if solver == "cd" else 0, power=0.5 if orthogonal else 1
    )
    np.testing.assert_allclose(model.H_, H / H.sum(axis=1)[:, None], rtol=1e-10, atol=1e-14)
    scaled = S * np.outer(W.sum(axis=0), H.sum(axis=1))
    np.testing.assert_allclose(
        model.S_, scaled if solver == "mu" else scaled * (model.S_ / scaled).mean(axis=1)[:, None], rtol=1e-10
    )
    if solver == "mu":  # else W has been solved for exactly once more
        np.testing.assert_allclose(model.W_, W / W.sum(axis=0), rtol=1e-10)


def test_one_step_of_blocks_is_that_of_plain_loops():
    X, start = start_of_three()
    W, H = np.zeros((30, 4)), np.zeros((3, 20))
    W[np.arange(30), start["W"].argmax(axis=1)] = start["W"].max(axis=1)
    H[start["H"].argmax(axis=0), np.arange(20)] = start["H"].max(axis=0)
    W, H = W / np.linalg.norm(W, axis=0), H / np.linalg.norm(H, axis=1)[:, None]
    for n_steps in (1, 2):
        W, S, H = oracles.block_step(X, W, H)
        options = {"orthogonal": True, "solver": "em", "init": "custom", "tol": 0}
        model = TriNMF((4, 3), max_iter=n_steps, **options).fit(X, **start)
        np.testing.assert_allclose(model.W_, W / W.sum(axis=0), rtol=1e-12)
        np.testing.assert_allclose(model.H_, H / H.sum(axis=1)[:, None], rtol=1e-12)
        np.testing.assert_allclose(model.S_, S * np.outer(W.sum(axis=0), H.sum(axis=1)), rtol=1e-12)


def test_blocks_are_exactly_orthogonal_and_as_good_as_the_best_of_random_starts():
    X = load_digits().data[:200]
    model = TriNMF((6, 5), orthogonal=True, solver="em", random_state=0).fit(X)
    for F in (model.W_.T, model.H_):
        overlap = F @ F.T
        assert (overlap == np.diag(np.diagonal(overlap))).all()
    np.testing.assert_array_equal(np.argmax(model.transform(X), axis=1), np.argmax(model.W_, axis=1))
    assert len(model.run_objectives_) == 10 and model.converged_
    errors = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        W, H = np.eye(6)[rng.integers(6, size=200)], np.eye(5)[rng.integers(5, size=64)].T
        options = {"orthogonal": True, "solver": "em", "init": "custom"}
        errors.append(TriNMF((6, 5), **options).fit(X, W=W, S=np.ones((6, 5)), H=H).reconstruction_err_)
    assert model.reconstruction_err_ <= 1.01 * min(errors)


def test_groups_without_members_are_filled():
    X, start = start_of_three()
    start["W"][:, 1:] = 0
    start["H"][1:] = 0
    options = {"orthogonal": True, "solver": "em", "init": "custom"}
    model = TriNMF((4, 3), max_iter=1, **options).fit(X, **start)
    error = np.linalg.norm(X - model.W_ @ model.components_)
    assert model.reconstruction_err_ == pytest.approx(error, rel=1e-10)
    assert (model.W_.sum(axis=0) > 0).all() and (model.H_.sum(axis=1) > 0).all()
    assert TriNMF((4, 3), **options).fit(X, **start).reconstruction_err_ < error


@pytest.mark.parametrize("orthogonal", [False, True])
def test_tri_finds_planted_blocks(orthogonal):
    rng = np.random.default_rng(8)
    rows, columns = rng.integers(0, 3, 40), rng.integers(0, 2, 30)
    table = np.array([[4.0, 0.5], [0.3, 3.0], [2.0, 2.0]])
    X = table[rows][:, columns] * (1 + 0.01 * rng.random((40, 30)))
    model = TriNMF((3, 2), orthogonal=orthogonal, random_state=0, max_iter=400).fit(X)
    assert model.W_.shape == (40, 3) and model.S_.shape == (3, 2) and model.H_.shape == (2, 30)
    assert model.normalized_loss_ < 0.01
    if orthogonal:
        assert oracles.same_partition(model.W_.argmax(axis=1), rows)
        assert oracles.same_partition(model.H_.argmax(axis=0), columns)
    np.testing.assert_allclose([model.W_.sum(axis=0).sum(), model.H_.sum(axis=1).sum()], [3, 2])


def test_shares_are_no_blocks():
    with pytest.raises(ValueError, match="solver='em'.*set orthogonal=True"):
        TriNMF(2, solver="em").fit(data())


@pytest.mark.parametrize("n_components", [(2,), (2, 0), "auto", 2.5, (1, 2, 3)])
def test_ranks_that_are_not_two_are_refused(n_components):
    with pytest.raises(ValueError, match="expected an integer >= 1"):
        TriNMF(n_components).fit(data())


@pytest.mark.parametrize(("kernel", "factor"), [("cosine", 2.0**400), ("linear", 1e60), ("linear", 1e-60)])
def test_weights_of_new_rows_do_not_depend_on_the_scale_of_the_data(kernel, factor):
    X = np.random.default_rng(0).random((14, 5))
    options = {"kernel": kernel, "random_state": 0, "max_iter": 5, "tol": 0}
    wanted = KernelNMF(2, **options).fit(X).transform(X[:4])
    assert KernelNMF(2, **options).fit(factor * X).transform(factor * X[:4]) == pytest.approx(wanted, rel=1e-6)
