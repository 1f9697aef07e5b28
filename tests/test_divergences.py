"""Kullback-Leibler and beta divergences, plain and with shifts, against plain loops and scikit-learn."""

import warnings

import numba
import numpy as np
import oracles
import pytest
import scipy.sparse as sp
import sklearn.decomposition
from sklearn.exceptions import ConvergenceWarning

from fastnmf.core.alternate import solve, sweep
from fastnmf.core.factors import allocate
from fastnmf.core.losses import BetaDivergence, KullbackLeibler, check_beta
from fastnmf.core.penalties.elastic_net import ElasticNet
from fastnmf.core.problem import Problem, full
from fastnmf.core.updates import MU
from fastnmf.data.strata import Strata
from fastnmf.kernels import divergence, rows
from fastnmf.kernels.jit import threads

BETAS = (-1, 0, 0.5, 1, 1.5, 2, 2.5, 3)
FORMS = pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
JOINT = (("W", 1), (("V", 1), ("H", 1)))  # two passes an iteration
IN_TURN = (("V", 2), ("H", 1), ("W", 1))

# Divergences after 1, 10 and 100 iterations from rng(0): X (30, 20), W (30, 4), H (4, 20), all uniform. "HW" moves H
# first; "fast" is HW without the exponent.
KNOWN = {
    -1: {
        "HW": (2859.687952444669, 2741.261203590865, 615.0349644144144),
        "WH": (2860.141713586496, 2743.0036817053783, 647.0937172876743),
        "fast": (2772.4506459612885, 2654.640968315602, 415.5699220723881),
    },
    0: {
        "HW": (194.89502894754975, 149.76633120995038, 105.12950213614234),
        "WH": (195.3795972213566, 150.20216455170845, 105.8250272361881),
        "fast": (165.11583805624056, 136.74743785380124, 99.87445590789945),
    },
    0.5: {
        "HW": (97.60935449377112, 75.49870416996656, 54.71645670796436),
        "WH": (97.77904552427279, 75.78922434970079, 55.86782696238183),
        "fast": (88.40882487478447, 70.66874196785655, 53.920290391850926),
    },
    1: {
        "HW": (53.89566528616132, 41.89995622123706, 32.93975383690366),
        "WH": (53.94405822255021, 42.1189353371293, 32.91101448846996),
    },
    1.5: {
        "HW": (35.23862387486075, 26.822746798561273, 21.30762320689279),
        "WH": (35.24827777605851, 26.934729746996, 21.25966150923295),
    },
    2: {
        "HW": (24.12053833987453, 18.082948043679597, 14.47243382777997),
        "WH": (24.161842492073927, 18.14884474915587, 14.470271567092134),
    },
    3: {
        "HW": (15.9116774050247, 10.527846284036766, 7.584214795123757),
        "WH": (16.02002156435557, 10.536711057535332, 7.5909530971762855),
        "fast": (12.418442289963057, 9.159951456466356, 7.143369925342725),
    },
}


class Setting:
    """Data in strata, a start, and terms over them."""

    def __init__(self, X, codes=None, rank=3, seed=0, row_scale=None, start=None):
        codes = np.zeros(X.shape[0], int) if codes is None else np.asarray(codes)
        self.data, self.stratum_index, self.row_scale = Strata.from_array(X, codes), codes, row_scale
        if row_scale is not None:
            self.data.row_scale = np.asarray(row_scale, dtype=self.data.dtype)
        rng = np.random.default_rng(seed)
        drawn = rng.random((X.shape[0], rank)) + 0.1, rng.random((rank, X.shape[1])) + 0.1
        self.W, self.H = drawn if start is None else start[1:]
        V = rng.random((self.data.n_strata, X.shape[1])) + 0.1 if start is None else start[0]
        self.V = None if V is None else self.data.pattern.dense(self.data.pattern.entries(V))

    def terms(self, beta, has_shifts=True, **options):
        """Return fresh factors, their tasks, and the term."""
        v = self.data.pattern.entries(self.V) if has_shifts else None
        factors, tasks = allocate(self.data, self.W, self.H.T, v)
        kind, more = (KullbackLeibler, ()) if beta is None else (BetaDivergence, (beta,))
        return factors, tasks, kind(self.data, factors["W"].shape[1], tasks, *more, has_shifts=has_shifts, **options)

    def problem(self, beta, schedule, has_shifts=True, floor=0.0, **options):
        factors, tasks, term = self.terms(beta, has_shifts, **options)
        updates = dict.fromkeys("WHV", MU(eps=0.0, floor=floor))
        return factors, Problem([term], updates, schedule, tasks, scale=1.0)

    def fit(self, beta, schedule, max_iter, has_shifts=True, **options):
        factors, problem = self.problem(beta, schedule, has_shifts, **options)
        return solve(problem, factors, max_iter=max_iter, tol=0)

    def dense(self, factors):
        """Return V, W, H of padded factors, H (r, n)."""
        W, H = (factors[name][:, : factors.rank].astype(float) for name in "WH")
        return self.data.pattern.dense(factors["V"]).astype(float), W, H.T

    def model(self, factors):
        row_scale = np.ones(len(self.stratum_index)) if self.row_scale is None else self.row_scale
        return oracles.shifted_model(self.stratum_index, *self.dense(factors), row_scale)


def positive(n=23, m=17, seed=1):
    rng = np.random.default_rng(seed)
    return rng.random((n, m)) + 0.05, rng.integers(0, 3, n)


def counts(n=23, m=17, seed=2):
    """Counts in three strata with an empty row, an empty column, and a column that one stratum lacks."""
    rng = np.random.default_rng(seed)
    X, codes = rng.poisson(1.2, (n, m)).astype(float), rng.integers(0, 3, n)
    X[4], X[:, 5], X[codes == 1, 6] = 0, 0, 0
    return X, codes


def data_for(beta):
    return positive() if beta is not None and beta <= 0 else counts()


# ---------------------------------------------------------------- known numbers


@FORMS
@pytest.mark.parametrize("beta, order", [(beta, order) for beta in KNOWN for order in KNOWN[beta]])
def test_known_divergences_in_both_orders(beta, order, form):
    rng = np.random.default_rng(0)
    X, W, H = rng.random((30, 20)), rng.random((30, 4)), rng.random((4, 20))
    setting = Setting(form(X), start=(None, W, H))
    options = {"exponent": "fast"} if order == "fast" else {}
    schedule = tuple((name, 1) for name in ("HW" if order == "fast" else order))
    fit = setting.fit(beta, schedule, 100, has_shifts=False, **options)
    # From random starts rounding is amplified over a hundred iterations; 3e-14 is what is seen.
    np.testing.assert_allclose(np.array(fit.history["objective"])[[1, 10, 100]], KNOWN[beta][order], rtol=1e-10)


@pytest.mark.parametrize("beta", [None, 1])
@FORMS
def test_known_divergences_of_sparse_counts(form, beta):
    rng = np.random.default_rng(1)
    X, W, H = rng.poisson(0.5, (40, 30)).astype(float), rng.random((40, 5)), rng.random((5, 30))
    setting = Setting(form(X), start=(None, W, H))
    fit = setting.fit(beta, (("H", 1), ("W", 1)), 100, has_shifts=False)
    want = 574.6300262362213, 438.9363598544569, 403.9016369437214
    np.testing.assert_allclose(np.array(fit.history["objective"])[[1, 10, 100]], want, rtol=1e-10)
    model = fit.factors["W"] @ fit.factors["H"].T
    np.testing.assert_allclose(model.sum(axis=1), X.sum(axis=1), rtol=1e-12)  # the last move was that of W


@pytest.mark.parametrize("n_iter", [10, 100])
@pytest.mark.parametrize(
    "beta, form",
    [(beta, form) for beta in BETAS for form in ("dense", "sparse", "zeros") if beta > 0 or form == "dense"],
)
def test_multiplicative_updates_equal_those_of_scikit_learn(beta, form, n_iter):
    X = (positive() if form == "dense" else counts())[0]
    X = sp.csr_array(X) if form == "sparse" else X
    setting = Setting(X)
    fit = setting.fit(beta, (("W", 1), ("H", 1)), n_iter, has_shifts=False)
    options = {"solver": "mu", "beta_loss": float(beta), "init": "custom", "max_iter": n_iter, "tol": 0}
    theirs = sklearn.decomposition.NMF(3, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        W = theirs.fit_transform(X, W=setting.W.copy(), H=setting.H.copy())
    mine = fit.factors["W"] @ fit.factors["H"].T
    np.testing.assert_allclose(mine, W @ theirs.components_, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(fit.factors["W"][:, :3], W, rtol=1e-8, atol=1e-12)
    err = np.sqrt(2 * fit.history["objective"][-1])
    # A model value below 1.2e-7 counts as that in sums of ours and of theirs, but not in the same places.
    assert err == pytest.approx(theirs.reconstruction_err_, rel=1e-8 if form == "dense" else 1e-6)


# ---------------------------------------------------------------- shifts: steps, values, gradients


@FORMS
@pytest.mark.parametrize("beta", [None, *BETAS])
def test_iterations_with_shifts_are_those_of_the_oracle(beta, form):
    X, codes = data_for(beta)
    known, setting = 1 if beta is None else beta, Setting(form(X), codes)
    for schedule, steps in ((JOINT, ("W", "VH")), (IN_TURN, ("V", "V", "H", "W")), ((("H", 1), ("V", 1)), "HV")):
        fit = setting.fit(beta, schedule, 4)
        want = setting.V, setting.W, setting.H
        for _ in range(4):
            for names in steps:
                want = oracles.beta_mu(X, codes, *want, known, names)
        for mine, other in zip(setting.dense(fit.factors), want, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-14)
        Y = np.maximum(setting.model(fit.factors), 1e-300)
        assert fit.history["objective"][-1] == pytest.approx(oracles.beta_divergence(X, Y, known), rel=1e-10)


@pytest.mark.parametrize("rank", [3, 37, 70])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("beta", [None, 0.5])
def test_ratio_parts_at_every_width(beta, dtype, rank):
    X, codes = counts(40, 31)
    setting = Setting(X.astype(dtype), codes, rank)
    factors, tasks, term = setting.terms(beta)
    known = oracles.beta_parts(X, codes, *setting.dense(factors), 1 if beta is None else beta, np.ones(40))
    for name, (pos, neg) in known.items():
        sub = Problem([term], {}, (), tasks, scale=1.0).subproblem(name, factors)
        assert not sub.is_quadratic and sub.power == (1 if beta is None else 2 / 3)
        for mine, other in ((full(sub.pos), pos), (full(sub.neg), neg)):
            other = setting.data.pattern.entries(other) if name == "V" else other if name == "W" else other.T
            mine = mine if name == "V" else mine[:, :rank]
            np.testing.assert_allclose(mine, other, rtol=1e-4 if dtype == np.float32 else 1e-11)


@pytest.mark.parametrize("is_loaded", [False, True], ids=["", "loaded"])
@pytest.mark.parametrize("beta", [None, *BETAS])
def test_gradients_are_those_of_the_value(beta, is_loaded):
    X, codes = data_for(beta)
    row_scale = np.random.default_rng(7).random(len(X)) + 0.5 if is_loaded else None
    setting = Setting(X, codes, row_scale=row_scale)
    factors, tasks, term = setting.terms(beta)
    problem = Problem([term], {}, (), tasks, scale=1.0)
    for name in "VWH":
        F = factors[name]
        slope = problem.subproblem(name, factors).gradient(F).copy()
        for at in [(0,), (5,), (len(F) - 1,)] if name == "V" else [(0, 0), (4, 1), (len(F) - 1, 2)]:
            values, kept, step = [], F[at], 1e-6
            for side in (1, -1):
                F[at] = kept + side * step
                factors.invalidate(name)
                values.append(term.value(factors))
            F[at] = kept
            factors.invalidate(name)
            # Central differences: the third derivative times 1e-12, and the rounding of the value over 2e-6.
            assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope[at], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("schedule", [JOINT, IN_TURN], ids=["joint", "in turn"])
@pytest.mark.parametrize("beta", [None, *BETAS])
def test_the_objective_never_rises(beta, schedule):
    X, codes = data_for(beta)
    history = np.array(Setting(X, codes).fit(beta, schedule, 150).history["objective"])
    assert (np.diff(history) <= 1e-12 * history[0]).all() and history[-1] < 0.9 * history[0]


def test_column_sums_agree_after_shifts_and_components_moved_together():
    X, codes = counts()
    setting = Setting(sp.csr_array(X), codes)
    for n_iter in (1, 5):
        fit = setting.fit(None, JOINT, n_iter)
        np.testing.assert_allclose(setting.model(fit.factors).sum(axis=0), X.sum(axis=0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("beta", [None, 0.5, 1.5])
def test_kullback_leibler_needs_two_passes_an_iteration(beta, monkeypatch):
    X, codes = counts()
    factors, problem = Setting(sp.csr_array(X), codes).problem(beta, JOINT)
    name, passes = "csr_shifted_ratio" if beta is None else "csr_power_matmul", []
    one = getattr(divergence, name)
    monkeypatch.setattr(divergence, name, lambda *arguments: (passes.append(1), one(*arguments)))
    problem.value(factors)
    for _ in range(3):
        sweep(problem, factors)
        problem.value(factors)
    assert len(passes) == 1 + 2 * 3  # that of the start serves the first move of W


@pytest.mark.parametrize("beta", [None, 0.5, 1.5, 3])
def test_sparse_equals_dense_bit_for_bit(beta):
    X, codes = counts()
    settings = [Setting(form(X), codes) for form in (np.asarray, sp.csr_array)]
    dense, sparse = (one.fit(beta, JOINT, 5) for one in settings)
    # The entries of the shifts stand in another order, so their sum has other bits.
    np.testing.assert_allclose(dense.history["objective"], sparse.history["objective"], rtol=1e-13)
    for mine, other in zip(settings[0].dense(dense.factors), settings[1].dense(sparse.factors), strict=True):
        assert mine.tobytes() == other.tobytes()


def test_unsorted_rows_meet_the_same_shifts():
    X, codes = counts()
    backwards = sp.csr_array(X)
    for i in range(len(X)):
        row = slice(backwards.indptr[i], backwards.indptr[i + 1])
        for array in (backwards.indices, backwards.data):
            array[row] = array[row][::-1].copy()
    want, setting = Setting(sp.csr_array(X), codes), Setting(sp.csr_array(X), codes)
    setting.data.X = backwards  # past the door, which sorts small data
    for beta in (None, 1.5):
        fits = [one.fit(beta, JOINT, 5).factors for one in (want, setting)]
        for mine, other in zip(*(setting.dense(factors) for factors in fits), strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("beta", [None, 0.5, 1.5])
def test_one_thread_equals_two_bit_for_bit(beta):
    rng = np.random.default_rng(3)
    X = sp.random_array((420, 260), density=0.5, rng=rng, format="csr")  # enough work for kernels to share
    setting, found = Setting(X, rng.integers(0, 5, 420), rank=8), []
    for n_threads in (1, 2):
        with threads(n_threads):
            fit = setting.fit(beta, JOINT, 3)
        found.append((fit.history["objective"], *(fit.factors[name].tobytes() for name in "WHV")))
    assert found[0] == found[1]


@pytest.mark.parametrize("beta", [None, -1, 0, 0.5, 1.5, 2.5])
def test_float32_is_close_to_float64(beta):
    X, codes = data_for(beta)
    single, double = (Setting(X.astype(dtype), codes) for dtype in (np.float32, np.float64))
    fits = [one.fit(beta, JOINT, 10, floor=floor) for one, floor in ((single, 1e-15), (double, 0.0))]
    assert fits[0].factors["V"].dtype == np.float32
    assert fits[0].history["objective"][-1] == pytest.approx(fits[1].history["objective"][-1], rel=1e-4)


def test_thousands_of_strata_and_a_single_one():
    rng = np.random.default_rng(4)
    X = sp.random_array((1500, 30), density=0.2, rng=rng, format="csr")
    for codes in (rng.integers(0, 900, 1500), np.zeros(1500, int)):
        _, codes = np.unique(codes, return_inverse=True)
        setting = Setting(X, codes)
        for beta in (None, 1.5):
            fit = setting.fit(beta, JOINT, 2)
            Y = np.maximum(setting.model(fit.factors), 1e-300)
            want = oracles.beta_divergence(X.toarray(), Y, 1 if beta is None else beta)
            assert fit.history["objective"][-1] == pytest.approx(want, rel=1e-9)


def test_shifts_off_the_pattern_count_in_the_value():
    X, codes = counts()
    setting = Setting(sp.csr_array(X), codes)
    factors, _, term = setting.terms(None)
    V = np.random.default_rng(5).random((3, X.shape[1])) + 0.1
    V = np.where(setting.V > 0, setting.V, V)
    want = oracles.kullback_leibler(X, oracles.shifted_model(codes, V, setting.W, setting.H, np.ones(len(X))))
    assert (V != setting.V).any() and term.value(factors, V=V) == pytest.approx(want, rel=1e-12)


# ---------------------------------------------------------------- rows that count more than once


@FORMS
@pytest.mark.parametrize("beta", [None, -1, 0.5, 1, 1.5, 2, 3])
def test_loading_is_rows_repeated(beta, form):
    X, codes = data_for(beta)
    often = np.random.default_rng(6).integers(1, 4, len(X))
    again = np.repeat(np.arange(len(X)), often)
    many = Setting(form(X[again]), codes[again])
    many.W = Setting(X, codes).W[again]
    u = often ** (1.0 if beta is None else 1 / beta)
    few = Setting(form(X * u[:, None]), codes, row_scale=u)
    few.W, few.H, few.V = few.W * u[:, None], many.H, many.V
    schedule = JOINT if beta is None or beta > 0 else IN_TURN
    ours, theirs = few.fit(beta, schedule, 5), many.fit(beta, schedule, 5)
    np.testing.assert_allclose(ours.history["objective"], theirs.history["objective"], rtol=1e-10)
    for mine, other in zip(few.dense(ours.factors), many.dense(theirs.factors), strict=True):
        other = other[np.cumsum(often) - 1] * u[:, None] if mine.shape == few.W.shape else other
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-14)
    scales = [(t.independence if beta is None else t.reference)() for t in (few.terms(beta)[2], many.terms(beta)[2])]
    assert scales[0] == pytest.approx(scales[1], rel=1e-10)


# ---------------------------------------------------------------- scales, refusals, kernels


@pytest.mark.parametrize("beta", BETAS)
def test_reference_is_the_best_constant_model(beta):
    X, _ = data_for(beta)
    scale = Setting(X).terms(beta, has_shifts=False)[2].reference()
    values = [oracles.beta_divergence(X, np.full(X.shape, c * X.mean()), beta) for c in (0.99, 1, 1.01)]
    assert scale == pytest.approx(values[1], rel=1e-12) and scale == pytest.approx(min(values), rel=1e-12)
    assert Setting(np.zeros((3, 2))).terms(1.5, has_shifts=False)[2].reference() == 0


@FORMS
def test_zeros_and_unknown_exponents_are_refused(form):
    X, _ = counts()
    for beta in (0, -1):
        with pytest.raises(ValueError, match=r"needs data without zeros, but X has \d+.*[Aa]dd a small constant"):
            check_beta(Strata.from_array(form(X)), beta)
        check_beta(Strata.from_array(form(positive()[0])), beta)
    check_beta(Strata.from_array(form(X)), 0.5)
    with pytest.raises(ValueError, match="exponent='half' is not known"):
        Setting(form(X)).terms(1.5, has_shifts=False, exponent="half")


@pytest.mark.parametrize("beta", [None, 0.5])
def test_penalties_join_the_denominator_as_in_scikit_learn(beta):
    X, _ = counts()
    setting, known = Setting(X), 1 if beta is None else beta
    factors, problem = setting.problem(beta, (("W", 1), ("H", 1)), has_shifts=False)
    problem.penalties = {"W": [ElasticNet(0.3 * X.shape[1] * 0.5, 0.3 * X.shape[1] * 0.5)]}
    sweep(problem, factors)
    options = {"solver": "mu", "beta_loss": float(known), "init": "custom", "max_iter": 1, "tol": 0}
    theirs = sklearn.decomposition.NMF(3, alpha_W=0.3, alpha_H=0.0, l1_ratio=0.5, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        W = theirs.fit_transform(X, W=setting.W.copy(), H=setting.H.copy())
    np.testing.assert_allclose(factors["W"][:, :3], W, rtol=1e-10)


def test_power_goes_part_of_the_way_and_keeps_zeros():
    before, F = np.array([[1.0, 2, 0, 4]]), np.array([[4.0, 0.5, 0, 0]])
    for dtype in (np.float32, np.float64):
        out = F.astype(dtype)
        rows.rows_power(np.array([0, 1]), out, before.astype(dtype), 0.5)
        np.testing.assert_allclose(out, [[2, 1, 0, 0]], rtol=1e-6)
        for power in (0.25, 0.3, 0.5):
            out = F.astype(dtype)
            rows.rows_power(np.array([0, 1]), out, before.astype(dtype), power)
            np.testing.assert_allclose(out, [[4**power, 2 * 0.25**power, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_powers_are_those_of_the_library(dtype):
    y = np.concatenate([10 ** np.random.default_rng(0).uniform(-6, 6, 50), [1.0]])
    of_kernels = numba.njit(divergence._power)
    for exponent in (-3, -2, -1.5, -1, -0.5, -0.3, 0, 0.5, 1, 1.7, 2):
        mine = [of_kernels(float(value), float(exponent)) for value in y.astype(dtype)]
        np.testing.assert_allclose(mine, y.astype(dtype).astype(float) ** exponent, rtol=1e-13)
