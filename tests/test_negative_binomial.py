"""Negative-binomial counts: the kernels, the loss, the dispersion, fits, what is refused, and the choice of a rank."""

import json
from pathlib import Path

import numba
import numpy as np
import oracles_counts as oracles
import pytest
import scipy.sparse as sp
import scipy.special as ss
from scipy.stats import nbinom, poisson

import fastnmf
from fastnmf import NMF, MiniBatchNMF, StratifiedNMF, non_negative_factorization, select_rank
from fastnmf.compose import Factorization
from fastnmf.core.alternate import sweep
from fastnmf.core.dispersion import CountModel, dispersion_of, size_by_likelihood, size_by_moments
from fastnmf.core.factors import allocate
from fastnmf.core.losses.choice import Counts
from fastnmf.core.objectives import divergence_problem
from fastnmf.data.strata import Strata
from fastnmf.datasets.planted import simulate_counts
from fastnmf.kernels import counts
from fastnmf.kernels.records import CSR
from fastnmf.metrics import negative_binomial_nll

NB = {"solver": "mu", "beta_loss": "negative-binomial", "random_state": 0, "max_iter": 60}
KL = NB | {"beta_loss": "kullback-leibler"}
NUMBERS = json.loads((Path(__file__).parent / "data" / "negative_binomial.json").read_text())


def drawn(seed):
    """Return the data of one seed of the fixed numbers, in the order of its draws; V is (S, m)."""
    rng = np.random.default_rng(int(seed))
    X, codes, u = rng.poisson(2, (10, 5)).astype(float), rng.integers(0, 2, 10), rng.random(10) + 0.5
    theta = rng.random(5) * 3 + 0.3
    W, H, V = rng.random((10, 2)) + 0.1, rng.random((5, 2)) + 0.1, rng.random((5, 2)) + 0.1
    np.testing.assert_allclose(u, NUMBERS[seed]["check"]["u"], rtol=1e-11)
    np.testing.assert_allclose(theta, NUMBERS[seed]["check"]["theta"], rtol=1e-11)
    return X, codes, u, theta, W, H, V.T.copy()


def posed(X, codes, u, V, W, H, theta, dtype=float):
    """Return the data, the factors and the problem of fixed sizes."""
    data = Strata.from_array(X.astype(dtype), codes)
    data.row_scale = None if u is None else u.astype(dtype)
    factors, tasks = allocate(data, W, H, data.pattern.entries(V))
    return data, factors, divergence_problem(data, factors, tasks, Counts(theta))


@pytest.fixture(scope="module")
def cells():
    return simulate_counts(90, 40, 3, 2, depth=100, random_state=0)


@pytest.fixture(scope="module")
def stratified(cells):
    return StratifiedNMF(3, **NB).fit(cells.data, strata=cells.batch)


@pytest.fixture(scope="module")
def plain(cells):
    return NMF(3, **NB).fit(cells.data)


# ---------------------------------------------------------------- kernels


def test_differences_of_gamma_functions_are_those_of_scipy():
    rng = np.random.default_rng(0)
    t = 10 ** rng.uniform(-3, 6, 600)
    x = np.concatenate([rng.integers(0, 40, 300), 10 ** rng.uniform(-2, 5, 300)]).astype(float)
    out = np.empty((600, 3))
    counts.csr_gamma_rises(np.array([0, 600]), CSR(np.arange(601), np.zeros(600, np.int32), x), t, out)
    each = (ss.gammaln, ss.digamma, lambda z: ss.polygamma(1, z))
    for found, function in zip(out.T, each, strict=True):
        error = np.abs(found - (function(t + x) - function(t)))
        assert (error <= 1e-12 * np.maximum(1, np.abs(function(t)) + np.abs(function(t + x)))).all()


def test_small_differences_keep_their_digits():
    # psi(t + x) - psi(t) ~ x / t: of the digamma functions themselves six digits would be left
    out = np.empty((2, 3))
    theta, x = np.array([1e6, 3e5]), np.array([40.0, 1234.5])
    counts.csr_gamma_rises(np.array([0, 2]), CSR(np.arange(3), np.zeros(2, np.int32), x), theta, out)
    exact = sum(1 / (1e6 + i) for i in range(40))
    assert out[0, 1] == pytest.approx(exact, rel=1e-13)
    series = np.log1p(x[1] / theta[1]) + x[1] / (2 * theta[1] * (theta[1] + x[1]))
    assert out[1, 1] == pytest.approx(series, rel=1e-11)


def test_the_logarithm_of_one_plus_x_is_that_of_the_library():
    rng, log1p = np.random.default_rng(1), numba.njit(counts._log1p)
    x = np.concatenate([10 ** rng.uniform(-300, 300, 1000), [0.0, 1.0, 2**0.5 - 1, 0.41, 0.42]])
    np.testing.assert_allclose([log1p(value) for value in x], np.log1p(x), rtol=1e-13)


# ---------------------------------------------------------------- the loss


@pytest.mark.parametrize("seed", ["1", "2"])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_the_loss_has_the_numbers_of_the_specification(seed, form):
    X, codes, u, theta, W, H, V = drawn(seed)
    data, factors, problem = posed(form(X), codes, u, V, W, H, theta)
    want, value = NUMBERS[seed], problem.value(factors)
    assert value + oracles.poisson_at_best(X) == pytest.approx(want["nll"], rel=1e-11)
    for name in "WHV":
        sub = problem.subproblem(name, factors)
        gradient = sub.neg - sub.pos
        gradient = data.pattern.dense(gradient).T if name == "V" else gradient[:, :2]
        np.testing.assert_allclose(gradient, want[f"grad_{name}"], rtol=1e-9, atol=1e-10)
    model = CountModel(data, W, H, V)
    np.testing.assert_allclose(size_by_likelihood(model, "feature"), want["theta_ml_at_this_mean"], rtol=1e-7)
    np.testing.assert_allclose(size_by_moments(model, "feature"), want["theta_moments_at_this_mean"], rtol=1e-9)
    problem.schedule, values = (("W", 1), ("H", 1), ("V", 1)), []
    for _ in range(20):
        sweep(problem, factors)
        values.append(problem.value(factors) - value + want["divergence"])
    np.testing.assert_allclose(
        np.array(values)[[0, 1, 4, 19]], want["mm_divergence_after_1_2_5_20_sweeps_W_H_V"], rtol=1e-8
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_loss_is_that_of_plain_loops(dtype):
    """More columns than a tile, strata out of order, one column only, rows and columns of zeros, unsorted rows."""
    rng = np.random.default_rng(3)
    for n, m in ((9, 530), (70, 1)):
        X = rng.poisson(rng.gamma(0.5, 2, (n, m))).astype(float)
        X[2], X[:, m // 2 : m // 2 + m // 5] = 0, 0
        codes, theta = rng.integers(0, 3, n), 10 ** rng.uniform(-1, 2, m)
        W, H = rng.random((n, 2)) + 0.1, rng.random((m, 2)) + 0.1
        V = rng.random((3, m)) * (np.array([[X[codes == s, j].any() for j in range(m)] for s in range(3)]))
        A = sp.csr_array(X)
        for i in range(n):
            part = slice(*A.indptr[i : i + 2])
            A.indices[part], A.data[part] = A.indices[part][::-1].copy(), A.data[part][::-1].copy()
        A.has_sorted_indices = False
        data, factors, problem = posed(A, codes, None, V, W, H, theta, dtype)
        Y, tol = oracles.means(codes, np.ones(n), V, W, H), 3e-5 if dtype == np.float32 else 1e-11
        want = oracles.nll(X, Y, theta) - oracles.poisson_at_best(X)
        assert problem.value(factors) == pytest.approx(want, rel=tol)
        pos, neg = oracles.parts(X, codes, np.ones(n), V, W, H, theta)
        for name, shape in (("W", (n, 2)), ("H", (m, 2))):
            sub = problem.subproblem(name, factors)
            np.testing.assert_allclose(sub.pos[:, :2].reshape(shape), pos[name], rtol=tol)
            np.testing.assert_allclose(sub.neg[:, :2].reshape(shape), neg[name], rtol=tol)
        sub, used = problem.subproblem("V", factors), data.pattern.dense(np.ones(len(data.pattern.group))) > 0
        np.testing.assert_allclose(data.pattern.dense(sub.pos), np.where(used, pos["V"], 0), rtol=tol)
        np.testing.assert_allclose(data.pattern.dense(sub.neg), np.where(used, neg["V"], 0), rtol=tol)
        off = V + 0.3  # a user's start may have shifts where the data have none
        want = oracles.nll(X, oracles.means(codes, np.ones(n), off, W, H), theta) - oracles.poisson_at_best(X)
        assert problem.value(factors, V=off) == pytest.approx(want, rel=tol)
        assert problem.value(factors, V=sp.csr_array(off)) == pytest.approx(want, rel=tol)


def test_large_sizes_give_kullback_leibler():
    X, codes, _, _, W, H, V = drawn("1")
    _, factors, problem = posed(X, codes, None, V, W, H, np.full(5, 1e6))
    loss = divergence_problem(problem.losses[0].strata, factors, problem.tasks, 1).losses[0]
    ordered = factors.arrays | {"W": factors["W"][problem.losses[0]._order]}
    other = type(factors)(2, **ordered)
    assert problem.value(factors) == pytest.approx(loss.value(other), rel=1e-4)
    assert problem.value(factors) > 0


def test_threads_do_not_change_a_bit(cells):
    found = []
    for n_threads in (1, 2):
        model = StratifiedNMF(3, n_threads=n_threads, **NB | {"max_iter": 12}).fit(cells.data, strata=cells.batch)
        found.append((model.components_.tobytes(), model.dispersion_.tobytes(), model.history_["objective"].tobytes()))
    assert found[0] == found[1]


# ---------------------------------------------------------------- the dispersion


def test_the_size_is_a_root_of_the_slope_and_poisson_counts_have_none():
    rng = np.random.default_rng(0)
    W, H = rng.random((300, 2)) + 0.5, rng.random((4, 2)) * 3 + 0.5
    mean = W @ H.T
    X = rng.poisson(mean * rng.gamma([0.5, 3, 20, 1], 1 / np.array([0.5, 3, 20, 1]), mean.shape))
    X[:, 3] = np.rint(mean[:, 3])  # varies less than Poisson counts
    model = CountModel(Strata.from_array(X), W, H)
    size = size_by_likelihood(model, "feature")
    for j in range(3):
        slope = [oracles.slope_of_size(X[:, j], mean[:, j], size[j] * s) for s in (0.99, 1, 1.01)]
        assert slope[0] > 0 > slope[2] and abs(slope[1]) < 1e-4 * slope[0]
    assert dispersion_of(size)[3] == 0
    assert np.abs(np.log(size[:2] / [0.5, 3])).max() < 0.3
    pooled = size_by_likelihood(model, "global")
    assert (pooled == pooled[0]).all()
    ends = [sum(oracles.slope_of_size(X[:, j], mean[:, j], pooled[0] * s) for j in range(4)) for s in (0.99, 1.01)]
    assert ends[0] > 0 > ends[1]
    started = size_by_likelihood(model, "feature", start=np.array([50.0, 1e-3, 1e6, 1.0]))
    np.testing.assert_allclose(started, size, rtol=1e-6)


def test_the_dispersion_of_a_model(cells):
    X, strata = cells.data, cells.batch
    model = StratifiedNMF(3, **KL).fit(X, strata=strata)
    each = model.estimate_dispersion(X, strata=strata)
    W = model.transform(X, strata=strata)
    args = X, W, model.components_, model.shifts_, strata
    best = negative_binomial_nll(*args, dispersion=each)
    pooled = model.estimate_dispersion(X.toarray(), strata=strata, kind="global")
    assert isinstance(pooled, float) and 0.2 < pooled < 1.0  # planted: 0.5
    at_pooled = negative_binomial_nll(*args, dispersion=pooled)
    assert best < at_pooled < min(negative_binomial_nll(*args, dispersion=d * pooled) for d in (0.8, 1.25, 0))
    rough = model.estimate_dispersion(X, strata=strata, method="moments")
    assert rough.shape == each.shape == (40,) and np.corrcoef(rough, each)[0, 1] > 0.6
    Y = model.inverse_transform(W, strata=strata)
    by_hand = np.maximum(((X.toarray() - Y) ** 2 - Y).sum(axis=0), 0) / np.maximum((Y**2).sum(axis=0), 1e-300)
    np.testing.assert_allclose(rough, by_hand, rtol=1e-8, atol=1e-10)
    sparse = StratifiedNMF(3, sparse_shifts=True, **KL).fit(X, strata=strata)
    np.testing.assert_allclose(sparse.estimate_dispersion(X, strata=strata), each, rtol=1e-9)


def test_the_likelihood_is_that_of_scipy():
    rng = np.random.default_rng(0)
    X, W, H = rng.poisson(2.0, (7, 4)), rng.random((7, 2)) + 0.5, rng.random((2, 4)) + 0.5
    V, strata = rng.random((2, 4)), np.array([0, 1, 0, 1, 1, 0, 0])
    d = np.array([0.5, 0, 2, 1e-9])
    mean = W @ H + V[strata]
    t = 1 / np.where(d > 0, d, 1)
    want = np.where(d > 0, nbinom.logpmf(X, t, t / (t + mean)), poisson.logpmf(X, mean))
    want[:, 3] = poisson.logpmf(X[:, 3], mean[:, 3])  # SciPy loses digits at 1e-9
    for A in (X, sp.csr_array(X)):
        assert negative_binomial_nll(A, W, H, V, strata, dispersion=d) == pytest.approx(-want.sum(), rel=1e-7)
    assert negative_binomial_nll([[1.0]], [[0.0]], [[1.0]], dispersion=0.5) == np.inf
    for bad in (-1, [1, 2], np.nan):
        with pytest.raises(ValueError, match="expected a number >= 0, or 4"):
            negative_binomial_nll(X, W, H, dispersion=bad)
    with pytest.raises(ValueError, match="negative entries"):
        negative_binomial_nll(-X, W, H)


# ---------------------------------------------------------------- fits


def test_a_fit_lowers_the_objective_in_every_iteration_and_starts_from_kullback_leibler(cells, stratified):
    X, strata = cells.data, cells.batch
    objective = stratified.history_["objective"]
    assert (np.diff(objective) <= 1e-9 * objective[0]).all() and stratified.n_iter_ > 11  # sizes anew in iteration 12
    kl = StratifiedNMF(3, **KL | {"max_iter": 100}).fit(X, strata=strata)
    assert objective[0] == pytest.approx(kl.history_["objective"][-1], rel=1e-4)  # Poisson: the end of that fit
    args = X, stratified.W_, stratified.components_, stratified.shifts_, strata
    nll = negative_binomial_nll(*args, dispersion=stratified.dispersion_)
    assert nll == pytest.approx(objective[-1] + oracles.poisson_at_best(X.toarray()), rel=1e-5)
    at_kl = kl.estimate_dispersion(X, strata=strata)
    assert nll < negative_binomial_nll(X, kl.W_, kl.components_, kl.shifts_, strata, dispersion=at_kl)
    assert 0.2 < np.median(stratified.dispersion_) < 1.0
    ml = stratified.estimate_dispersion(X, strata=strata)
    assert np.abs(ml - stratified.dispersion_).max() < 0.1 * ml.max()  # of the last W and of the exact one
    assert stratified.score(X, strata=strata) == pytest.approx(1 - stratified.normalized_loss_**2, abs=2e-3)
    assert stratified.score(X, strata=strata) > kl.score(X, strata=strata)  # of the same trivial model


@pytest.mark.parametrize("dispersion", ["global", 0.5, np.linspace(0.1, 1, 40), 0])
def test_the_dispersion_may_be_one_for_all_or_given(cells, dispersion):
    model = NMF(3, dispersion=dispersion, **NB | {"max_iter": 20}).fit(cells.data)
    found, objective = model.dispersion_, model.history_["objective"]
    assert found.shape == (40,) and (np.diff(objective) <= 1e-9 * objective[0]).all()
    if isinstance(dispersion, str):
        assert 0.2 < found[0] < 1.5 and (found == found[0]).all()
    else:
        np.testing.assert_allclose(found, dispersion, rtol=1e-12)


def test_weights_of_new_rows_are_a_minimum(cells, plain):
    X = cells.data[:12].toarray()
    W = plain.transform(X)
    assert np.array_equal(plain.transform(X[3:5]), W[3:5])  # each row by itself
    theta, H = 1 / np.maximum(plain.dispersion_, 1e-6), plain.components_.T

    def loss(W):
        return oracles.divergence(X, W @ H.T + 1e-300, theta)

    best = loss(W)
    rng = np.random.default_rng(0)
    for _ in range(5):
        assert loss(W * np.exp(0.05 * rng.standard_normal(W.shape))) > best


def test_files_checkpoints_and_warm_starts(cells, stratified, tmp_path):
    X, strata = cells.data, cells.batch
    stratified.save(tmp_path / "model")
    again = fastnmf.load(tmp_path / "model")
    assert np.array_equal(again.transform(X, strata=strata), stratified.transform(X, strata=strata))
    assert np.array_equal(again.dispersion_, stratified.dispersion_) and again.dispersion == "feature"
    options = NB | {"tol": 0}
    whole = NMF(3, **options | {"max_iter": 14}).fit(X)
    cut = NMF(3, **options | {"max_iter": 11}).fit(X, checkpoint=tmp_path / "fit")  # before the sizes change
    assert cut.n_iter_ == 11
    resumed = NMF(3, **options | {"max_iter": 14}).fit(X, checkpoint=tmp_path / "fit")
    assert np.array_equal(resumed.components_, whole.components_)
    assert np.array_equal(resumed.dispersion_, whole.dispersion_)
    warm = NMF(3, warm_start=True, **options | {"max_iter": 5}).fit(X)
    before = warm.history_["objective"][-1]
    assert warm.fit(X).history_["objective"][0] == pytest.approx(before, rel=1e-3)
    given = NMF(3, dispersion=np.full(40, 0.5), **options | {"max_iter": 2}).fit(X)
    given.save(tmp_path / "given")
    assert np.array_equal(fastnmf.load(tmp_path / "given").dispersion, given.dispersion)


def test_what_a_fit_says_beforehand(cells, monkeypatch):
    X = cells.data
    with pytest.warns(UserWarning, match="entries that are not whole numbers"):
        NMF(2, **NB | {"max_iter": 1}).fit(X * 0.5)
    monkeypatch.setattr("fastnmf.models.base.counts.LONG", 0.0)
    with pytest.warns(UserWarning, match="visits all 90 x 40 entries, about 0 s an iteration here; use fewer"):
        NMF(2, **NB | {"max_iter": 1}).fit(X)


def test_ranks_are_chosen_by_the_likelihood(cells):
    given = {"ranks": (1, 3), "n_folds": 2, "n_restarts": 0, "random_state": 0}
    kl, nb = (StratifiedNMF(**options | {"max_iter": 30}) for options in (KL, NB))
    own = select_rank(cells.data, cells.batch, estimator=kl, **given)
    found = select_rank(cells.data, cells.batch, estimator=kl, scoring="negative-binomial", **given)
    assert (found.held_out < own.held_out).all() and (found.train < own.train).all()  # nearer than Poisson
    same = [
        select_rank(cells.data, cells.batch, estimator=nb, scoring=scoring, **given)
        for scoring in ("loss", "negative-binomial")
    ]
    assert np.array_equal(same[0].held_out, same[1].held_out)
    assert np.abs(same[0].train - found.train).max() < 0.02


# ---------------------------------------------------------------- refusals

REFUSED = {
    "solver='cd' is for the squared error": lambda X, s: NMF(2, beta_loss="negative-binomial").fit(X),
    "multiply rows": lambda X, s: NMF(2, **NB).fit(X, sample_weight=np.arange(90)),
    "multiply rows, which": lambda X, s: StratifiedNMF(2, strata_weight="equal", **NB).fit(X, strata=s),
    "weight and missing_values need": lambda X, s: NMF(2, **NB).fit(X, weight=2 * np.ones(X.shape)),
    "missing_values need the squared": lambda X, s: StratifiedNMF(2, missing_values="zeros", **NB).fit(X, strata=s),
    "Batches need the squared error": lambda X, s: NMF(2, **NB).partial_fit(X),
    "label_weight needs": lambda X, s: StratifiedNMF(2, label_weight=1.0, **NB).fit(X, np.arange(90) % 2, strata=s),
    "dispersion has 4 entries, but": lambda X, s: NMF(2, dispersion=np.ones(4), **NB).fit(X),
    "expected 'feature', 'global'": lambda X, s: NMF(2, dispersion=-1, **NB).fit(X),
    "one of 'feature', 'global'": lambda X, s: NMF(2, dispersion="row", **NB).fit(X),
    "dispersion needs beta_loss": lambda X, s: NMF(2, dispersion=0.5).fit(X),
    "needs counts, but the largest": lambda X, s: NMF(2, **NB).fit(X * 1e60),
    "is not known; expected one of 'frob": lambda X, s: MiniBatchNMF(2, beta_loss="negative-binomial").fit(X),
    "loss='negative-binomial' is not": lambda X, s: Factorization(2, loss="negative-binomial").fit(X),
    "needs the dispersion of a fit": lambda X, s: non_negative_factorization(
        X, H=np.ones((2, 40)), n_components=2, solver="mu", beta_loss="negative-binomial", update_H=False
    ),
    "many fits continue each other": lambda X, s: fastnmf.MetaNMF(NMF(2, **NB)).fit(X),
    "needs every entry": lambda X, s: NMF(2, missing_values="zeros").fit(X).estimate_dispersion(X),
    "NMF has no strata": lambda X, s: NMF(2).fit(X).estimate_dispersion(X, strata=s),
    "scoring='negative-binomial' is the": lambda X, s: select_rank(X, scoring="negative-binomial"),
    "kind='row' is not known": lambda X, s: NMF(2).fit(X).estimate_dispersion(X, kind="row"),
}


@pytest.mark.parametrize("sentence", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_supported_is_refused_in_one_sentence(sentence, cells):
    with pytest.raises(ValueError, match=sentence) as caught:
        REFUSED[sentence](cells.data, cells.batch)
    assert str(caught.value).count(". ") == 0


@pytest.mark.parametrize("method", ["reconstruction_errors", "explain", "estimate_shifts", "predict_stratum"])
def test_methods_that_know_two_losses_refuse_the_third(method, cells, stratified):
    labels = {} if method == "predict_stratum" else {"strata": np.where(np.arange(90) < 4, "new", cells.batch)}
    with pytest.raises(ValueError, match="supports 'frobenius' and 'kullback-leibler' only"):
        getattr(stratified, method)(cells.data, **labels)


def test_a_matrix_on_disk_is_refused(cells, plain, tmp_path):
    disk = fastnmf.save_csr(cells.data, tmp_path / "x")
    with pytest.raises(ValueError, match="beta_loss='negative-binomial' needs all rows at once, but X is a matrix on"):
        NMF(2, **NB).fit(disk)
    with pytest.raises(ValueError, match=r"needs all rows at once; pass X\[:\]"):
        plain.estimate_dispersion(disk)
    np.testing.assert_allclose(plain.transform(disk), plain.transform(cells.data), rtol=1e-6)
