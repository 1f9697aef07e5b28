"""The Kullback-Leibler divergence with a design, against plain loops."""

import numpy as np
import oracles_designs_kl as oracle
import pytest
import scipy.sparse as sp

import fastnmf
from fastnmf import StratifiedNMF
from fastnmf.core.alternate import solve
from fastnmf.core.factors import allocate
from fastnmf.core.inference import infer_divergence
from fastnmf.core.losses import DesignKullbackLeibler, KullbackLeibler
from fastnmf.core.losses.choice import as_divergence
from fastnmf.core.problem import Problem
from fastnmf.core.row_errors import divided_gains, row_divergences
from fastnmf.core.updates import MU
from fastnmf.data.design import DesignedStrata
from fastnmf.data.strata import Strata
from fastnmf.kernels.jit import threads

FORMS = pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "sparse"])


def counts(n=23, m=17, seed=2):
    """Return counts with an empty row, an empty column, and a column that one level lacks, and a crossed design.

    The rows of the design have an exposure; one row has no shift.
    """
    rng = np.random.default_rng(seed)
    X, year, region = rng.poisson(1.2, (n, m)).astype(float), rng.integers(0, 3, n), rng.integers(0, 2, n)
    X[4], X[:, 5], X[year == 1, 6] = 0, 0, 0
    Z = np.column_stack([np.ones(n), np.eye(3)[year], np.eye(2)[region]]) * rng.uniform(0.5, 2, (n, 1))
    Z[7] = 0
    return X, Z


class Setting:
    """Data with a design, and a start."""

    def __init__(self, X, Z, rank=3, dtype=float, form=np.asarray, weight=None):
        Z = sp.csr_array(Z)
        self.data = DesignedStrata.of_matrix(form(X.astype(dtype)), np.arange(Z.shape[1]).astype(str), Z)
        if weight is not None:
            self.data.weigh(weight, 1)
        rng = np.random.default_rng(0)
        self.W, self.H = rng.random((X.shape[0], rank)) + 0.1, rng.random((rank, X.shape[1])) + 0.1
        V = rng.random((Z.shape[1], X.shape[1])) + 0.1
        self.V = self.data.pattern.dense(self.data.pattern.entries(V))

    def fit(self, schedule, max_iter):
        factors, problem = self.problem(schedule)
        return solve(problem, factors, max_iter=max_iter, tol=0)

    def problem(self, schedule=()):
        factors, tasks = allocate(self.data, self.W, self.H.T, self.data.pattern.entries(self.V))
        loss = DesignKullbackLeibler(self.data, factors["W"].shape[1], tasks, has_shifts=True)
        return factors, Problem([loss], dict.fromkeys("WHV", MU(eps=0.0)), schedule, tasks, scale=1.0)

    def dense(self, factors):
        W, H = (factors[name][:, : factors.rank].astype(float) for name in "WH")
        return self.data.pattern.dense(factors["V"]).astype(float), W, H.T


@FORMS
def test_iterations_with_a_design_are_those_of_the_oracle(form):
    X, Z = counts()
    setting = Setting(X, Z, form=form)
    for schedule, steps in (((("W", 1), (("V", 1), ("H", 1))), ("W", "VH")), ((("V", 2), ("H", 1)), "VVH")):
        fit = setting.fit(schedule, 3)
        want = setting.V, setting.W, setting.H
        for _ in range(3):
            for names in steps:
                want = oracle.step(X, Z, *want, names)
        for mine, other in zip(setting.dense(fit.factors), want, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-14)
        value = oracle.divergence(X, np.maximum(oracle.model(Z, *want), 1e-300))
        assert fit.history["objective"][-1] == pytest.approx(value, rel=1e-10)
        assert (np.diff(fit.history["objective"]) < 0).all()


@pytest.mark.parametrize("rank", [3, 70])
def test_parts_are_those_of_the_oracle_in_either_precision(rank):
    X, Z = counts(12, 9)
    for dtype, rtol in ((np.float32, 3e-6), (np.float64, 1e-11)):
        setting = Setting(X, Z, rank, dtype, sp.csr_array)
        factors, problem = setting.problem()
        want = oracle.parts(X, Z, *setting.dense(factors))
        for name in "WH":
            sub = problem.subproblem(name, factors)
            of_oracle = want[name][0] if name == "W" else want[name][0].T
            np.testing.assert_allclose(sub.pos[:, :rank], of_oracle, rtol=rtol)
        sub, pattern = problem.subproblem("V", factors), setting.data.pattern
        for mine, other in ((sub.pos, want["V"][0]), (sub.neg, want["V"][1])):
            np.testing.assert_allclose(mine, pattern.entries(other), rtol=rtol)


def test_a_design_of_single_ones_is_strata():
    X, Z = counts()
    index, schedule = Z[:, 1:4].argmax(axis=1), (("W", 1), (("V", 1), ("H", 1)))
    setting, plain = Setting(X, np.eye(3)[index], form=sp.csr_array), Strata.from_array(sp.csr_array(X), index)
    fit = setting.fit(schedule, 4)
    factors, tasks = allocate(plain, setting.W, setting.H.T, plain.pattern.entries(setting.V))
    loss = KullbackLeibler(plain, factors["W"].shape[1], tasks, has_shifts=True)
    want = solve(
        Problem([loss], dict.fromkeys("WHV", MU(eps=0.0)), schedule, tasks, scale=1.0), factors, max_iter=4, tol=0
    )
    np.testing.assert_allclose(fit.history["objective"], want.history["objective"], rtol=1e-12)
    V = plain.pattern.dense(want.factors["V"])
    np.testing.assert_allclose(setting.dense(fit.factors)[0], V, rtol=1e-11, atol=1e-30)


@FORMS
def test_weights_of_rows_are_rows_repeated(form):
    """A weight counts once in an exposure: it multiplies the rows of X, of W and of Z."""
    X, Z = counts()
    often = np.random.default_rng(6).integers(1, 4, len(X))
    again = np.repeat(np.arange(len(X)), often)
    many, few = Setting(X[again], Z[again], form=form), Setting(X, Z, form=form, weight=often.astype(float))
    many.W, many.H, many.V, few.W = few.W[again], few.H, few.V, few.W * often[:, None]
    schedule = (("W", 1), (("V", 1), ("H", 1)))
    ours, theirs = few.fit(schedule, 5), many.fit(schedule, 5)
    np.testing.assert_allclose(ours.history["objective"], theirs.history["objective"], rtol=1e-10)
    for name in "VH":
        np.testing.assert_allclose(ours.factors[name], theirs.factors[name], rtol=1e-9, atol=1e-14)


def test_the_bits_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(0)
    X = sp.random_array(
        (600, 400), density=0.1, rng=rng, format="csr", data_sampler=lambda size: rng.integers(1, 9, size)
    )
    Z = np.column_stack([np.ones(600), np.eye(3)[np.arange(600) % 3]])
    found = []
    for n in (1, 2):
        with threads(n):
            found.append(Setting(X, Z, 8, form=sp.csr_array).fit((("W", 1), (("V", 1), ("H", 1))), 2).factors)
    for name in "WHV":
        np.testing.assert_array_equal(found[0][name], found[1][name])


@FORMS
def test_weights_of_new_rows_are_stationary_and_their_divergence_is_that_of_the_oracle(form):
    X, Z = counts()
    setting, V = Setting(X, Z, form=form), np.random.default_rng(3).random((6, 17))
    V[:, 2] = 0
    for given in (V, sp.csr_array(V)):
        W, measure = infer_divergence(setting.data, setting.H.T, given, as_divergence("kullback-leibler"), (), 10)
        pos, neg = oracle.parts(X, Z, V, W, setting.H)["W"]
        assert W.min() >= 0
        np.testing.assert_allclose(np.where(W > 0, pos, neg)[X.any(axis=1)], neg[X.any(axis=1)], rtol=1e-6)
        assert (pos <= (1 + 1e-6) * neg).all()
        Y = np.maximum(oracle.model(Z, V, W, setting.H), 1e-300)
        assert measure()[0] == pytest.approx(oracle.divergence(X, Y), rel=1e-10)
        of_rows = row_divergences(setting.data, W, setting.H, given)
        np.testing.assert_allclose(of_rows, [oracle.divergence(x, y) for x, y in zip(X, Y, strict=True)], rtol=1e-9)
        null, *by = divided_gains(setting.data, W, setting.H, given)
        np.testing.assert_allclose(null - by[0] - by[1], of_rows, rtol=1e-9)


def crossed_counts(n=80, m=15, seed=0):
    """Return counts of an intercept, years and regions, the labels of their rows, and an exposure."""
    rng = np.random.default_rng(seed)
    labels, u = (
        {"year": rng.integers(0, 3, n) + 2000, "region": rng.choice(["east", "west"], n)},
        rng.uniform(0.5, 2, n),
    )
    effects = (
        rng.random(m)
        + rng.gamma(0.5, 1, (3, m))[labels["year"] - 2000]
        + rng.gamma(0.5, 1, m) * (labels["region"] == "east")[:, None]
    )
    return (
        rng.poisson(u[:, None] * effects + rng.gamma(0.6, 1, (n, 2)) @ rng.gamma(0.7, 2, (2, m))).astype(float),
        labels,
        u,
    )


KL = {"solver": "mu", "beta_loss": "kullback-leibler", "random_state": 0}


def encoded(labels, u=None):
    one_hot = [np.asarray(of)[:, None] == np.unique(of)[None] for of in labels.values()]
    Z = np.column_stack([np.ones(len(one_hot[0])), *one_hot])
    return Z if u is None else Z * u[:, None]


def test_a_model_reads_new_rows_as_it_was_fitted():
    X, labels, u = crossed_counts()
    for given, Z in (({"strata": labels}, encoded(labels)), ({"strata": labels, "exposure": u}, encoded(labels, u))):
        model = StratifiedNMF(2, max_iter=40, **KL).fit(sp.csr_array(X), **given)
        W, H, V = model.W_, model.components_, model.shifts_
        objective = model.history_["objective"]
        assert (
            objective[-1] == pytest.approx(oracle.divergence(X, Z @ V + W @ H), rel=1e-9)
            and objective[-1] < objective[1]
        )
        np.testing.assert_allclose(model.inverse_transform(W, **given), Z @ V + W @ H, rtol=1e-12)
        exact = model.transform(X, **given)
        of_rows = [oracle.divergence(x, y) for x, y in zip(X, Z @ V + exact @ H, strict=True)]
        np.testing.assert_allclose(model.reconstruction_errors(X, **given), of_rows, rtol=1e-8)
        assert sum(of_rows) <= objective[-1] * (1 + 1e-12)
        null = oracle.divergence(X, X.sum(axis=1)[:, None] * X.sum(axis=0) / X.sum())
        assert model.score(X, **given) == pytest.approx(1 - sum(of_rows) / null, rel=1e-6)
        assert (V[1:4].min(axis=0) == 0).all() and (V[4:].min(axis=0) == 0).all()


def test_exposure_of_strata_is_that_of_a_design_and_scales_a_stratum():
    X, labels, u = crossed_counts()
    model = StratifiedNMF(2, max_iter=20, **KL).fit(X, strata=labels["region"], exposure=u)
    Z = encoded({"region": labels["region"]}, u)[:, 1:]
    same = StratifiedNMF(2, max_iter=20, **KL).fit(X, design=Z)
    np.testing.assert_allclose(same.shifts_, model.shifts_, rtol=1e-12)
    ones = StratifiedNMF(2, max_iter=20, **KL).fit(X, strata=labels["region"], exposure=np.ones(80))
    plain = StratifiedNMF(2, max_iter=20, init="features", **KL).fit(X, strata=labels["region"])
    assert ones.history_["objective"][-1] == pytest.approx(plain.history_["objective"][-1], rel=0.02)


def test_weights_of_rows_are_rows_repeated_in_a_model():
    X, labels, u = crossed_counts()
    often = np.random.default_rng(1).integers(1, 3, 80)
    again = np.repeat(np.arange(80), often)
    rng = np.random.default_rng(2)
    W, H, V = rng.random((80, 2)) + 0.1, rng.random((2, 15)) + 0.1, rng.random((6, 15)) + 0.1
    options = KL | {"max_iter": 15, "init": "custom", "extrapolate": False}
    few = StratifiedNMF(2, **options).fit(X, sample_weight=often, strata=labels, exposure=u, W=W, H=H, V=V)
    repeated = {"strata": {name: of[again] for name, of in labels.items()}, "exposure": u[again]}
    many = StratifiedNMF(2, **options).fit(X[again], W=W[again], H=H, V=V, **repeated)
    np.testing.assert_allclose(few.history_["objective"], many.history_["objective"], rtol=1e-9)
    np.testing.assert_allclose(few.shifts_, many.shifts_, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"solver": "mu"}, KL], ids=["hals", "mu", "kl"])
def test_effects_are_comparable_and_gauges_keep_the_fit(options):
    X, labels, _ = crossed_counts()
    options = {"max_iter": 30, "random_state": 0} | options
    gauges = None, "max_shift", "min_shift"
    fits = [StratifiedNMF(2, gauge=gauge, **options).fit(X, strata=labels) for gauge in gauges]
    Z = encoded(labels)
    models = [Z @ fit.shifts_ + fit.W_ @ fit.components_ for fit in fits]
    for fit in fits:
        assert fit.W_.min() >= 0 and fit.shifts_.min() >= 0
        assert (fit.shifts_[1:4].min(axis=0) == 0).all() and (fit.shifts_[4:].min(axis=0) == 0).all()
    np.testing.assert_allclose(models[1], models[0], rtol=1e-9)
    if "solver" in options:  # else W is computed anew for smaller shifts
        np.testing.assert_allclose(models[2], models[0], rtol=1e-9)
    else:
        assert fits[2].history_["objective"][-1] <= fits[0].history_["objective"][-1] * (1 + 1e-12)


def test_a_fit_that_continues_can_move_the_shifts_that_its_canonical_form_set_to_zero():
    X, labels, _ = crossed_counts()
    model = StratifiedNMF(2, max_iter=3, warm_start=True, **KL).fit(X, strata=labels)
    last = {"year": labels["year"].max() - labels["year"] + 2000, "region": labels["region"][::-1]}
    model.set_params(max_iter=100).fit(X, strata=last)
    other = StratifiedNMF(2, max_iter=100, **KL).fit(X, strata=last)
    assert model.history_["objective"][-1] < 1.02 * other.history_["objective"][-1]
    assert (model.shifts_[1:4].argmin(axis=0) != 0).any()


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"beta_loss": 0.5}, "beta_loss=0.5 does not go with a design .* use 'frobenius' or 'kullback-leibler'"),
        ({"smoothness": {"year": 1.0}}, "smoothness=.* needs the squared error, but beta_loss='kullback-leibler' is"),
        ({"missing_values": "zeros"}, "missing_values='zeros' does not go with a design"),
        (
            {"unknown_strata": "estimate"},
            "unknown_strata='estimate' does not go with a design .* use 'mean' or 'error'",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(options, sentence):
    X, labels, _ = crossed_counts()
    with pytest.raises(ValueError, match=sentence):
        StratifiedNMF(2, **KL | options).fit(X, strata=labels)


def test_a_part_of_the_rows_gives_the_start():
    X, labels, u = crossed_counts(200)
    given = {"strata": labels, "exposure": u}
    fits = [
        StratifiedNMF(2, init=init, max_iter=60, **KL).fit(sp.csr_array(X), **given) for init in ("multilevel", "auto")
    ]
    assert fits[0].history_["passes"][0] > 0
    assert fits[0].history_["objective"][-1] == pytest.approx(fits[1].history_["objective"][-1], rel=0.01)


def test_files_and_checkpoints_keep_what_new_rows_need(tmp_path):
    X, labels, u = crossed_counts()
    given, file = {"strata": labels, "exposure": u}, tmp_path / "state.npz"
    whole = StratifiedNMF(2, max_iter=12, **KL).fit(X, **given)

    def stop(state):
        if state.iteration == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        StratifiedNMF(2, max_iter=12, callback=stop, **KL).fit(X, checkpoint=file, checkpoint_every=0, **given)
    model = StratifiedNMF(2, max_iter=12, **KL).fit(X, checkpoint=file, checkpoint_every=0, **given)
    np.testing.assert_array_equal(model.shifts_, whole.shifts_)
    model.save(tmp_path / "model.npz")
    loaded = fastnmf.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.transform(X, **given), whole.transform(X, **given))
    np.testing.assert_array_equal(loaded.reconstruction_errors(X, **given), whole.reconstruction_errors(X, **given))
