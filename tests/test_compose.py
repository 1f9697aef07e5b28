"""Compositions of one's own: penalties, losses, updates and schedules, in Factorization, NMF and StratifiedNMF."""

import warnings

import numpy as np
import oracles_custom as oracles
import pytest
import scipy.sparse as sp
from estimators import counts, one_sentence
from own import (
    Concave,
    Huber,
    JensenShannon,
    KullbackLeibler,
    OverAll,
    Overshooting,
    ProjectedGradient,
    Ratio,
    ScaleFree,
    Separation,
    Smooth,
    Steep,
)
from sklearn.base import clone

import fastnmf
from fastnmf import NMF, SemiNMF, StratifiedNMF
from fastnmf.compose import ElasticNetPenalty, Factorization
from fastnmf.kernels.jit import threads

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
X = counts(40, 15)
LABELS = np.arange(40) % 3
START = {"W": np.random.default_rng(1).random((40, 3)), "H": np.random.default_rng(2).random((3, 15))}
NET = ElasticNetPenalty(l1=0.01, l2=0.05)
PENALTIES = (Separation(0.3), Concave(), Steep(), Smooth(), ScaleFree())
LOSSES = (JensenShannon(), OverAll(), KullbackLeibler(), Huber())
named = {"ids": lambda value: type(value).__name__}


def fitted(data=X, kind=Factorization, given=None, **options):
    return kind(**{"n_components": 3, "random_state": 0, "max_iter": 25, "tol": 0} | options).fit(data, **given or {})


def rises(model):
    objective = model.history_["objective"]
    return np.diff(objective).max() / np.abs(objective).max()


# ---------------------------------------------------------------- penalties


MODELS = {
    "hals": (NMF, {"solver": "hals"}, {}),
    "mu": (NMF, {"solver": "mu"}, {}),
    "kl": (NMF, {"solver": "mu", "beta_loss": "kullback-leibler"}, {}),
    "beta-0.5": (NMF, {"solver": "mu", "beta_loss": 0.5}, {}),
    "beta-3": (NMF, {"solver": "mu", "beta_loss": 3}, {}),
    "missing": (NMF, {"solver": "hals", "missing_values": "zeros"}, {}),
    "weighted": (NMF, {"solver": "hals"}, {"sample_weight": np.arange(40) % 4}),
    "fixed": (NMF, {"solver": "hals", "fixed_components": np.r_[np.ones(7), np.full(8, np.nan)][None]}, {}),
    "seeded": (NMF, {"solver": "hals", "seed_features": {0: [1, 2]}}, {}),
    "strata": (StratifiedNMF, {"extrapolate": False}, {"strata": LABELS}),
    "strata-mu": (StratifiedNMF, {"solver": "mu"}, {"strata": LABELS}),
    "strata-kl": (StratifiedNMF, {"solver": "mu", "beta_loss": "kullback-leibler"}, {"strata": LABELS}),
    "exact": (Factorization, {"updates": "exact"}, {}),
    "own-update": (Factorization, {"updates": ProjectedGradient()}, {}),
    "own-loss": (Factorization, {"loss": JensenShannon()}, {}),
}


@pytest.mark.parametrize("penalty", PENALTIES, **named)
@pytest.mark.parametrize("name", MODELS)
def test_the_objective_is_monotone_with_any_penalty_of_either_factor(name, penalty):
    kind, options, given = MODELS[name]
    for factor, other in (("H", "W"), ("W", "H")):
        if factor == "W" and isinstance(penalty, ScaleFree):
            continue  # W may have a zero component, which has no direction
        model = fitted(kind=kind, given=given, penalties={factor: [penalty], other: [NET]}, **options)
        assert rises(model) <= 1e-12
        assert np.isfinite(model.W_).all() and np.isfinite(model.components_).all()


@pytest.mark.parametrize("penalty", PENALTIES, **named)
def test_the_objective_is_the_loss_plus_the_value_of_the_penalty(penalty):
    model = fitted(init="custom", given=START, max_iter=1, penalties={"H": [penalty]})
    error = np.sum((X - START["W"] @ START["H"]) ** 2)
    assert model.history_["objective"][0] == pytest.approx(error + penalty.value(START["H"]), rel=1e-12)


@pytest.mark.parametrize(("loss", "beta"), [("frobenius", 2), ("kullback-leibler", 1), (0.5, 0.5)])
@pytest.mark.parametrize("power", [-300, 300])
def test_units_change_nothing(loss, beta, power):
    """With X in other units, W and H go as sqrt(X), the loss as X^beta, so Separation's weight as X^(beta - 1)."""
    unit = 2.0**power

    def model(unit):
        penalties = {name: [Separation(weight * unit ** (beta - 1))] for name, weight in (("H", 0.3), ("W", 0.1))}
        start = {name: factor * np.sqrt(unit) for name, factor in START.items()}
        return fitted(X * unit, loss=loss, penalties=penalties, init="custom", given=start, max_iter=8)

    one, other = model(1.0), model(unit)
    np.testing.assert_allclose(other.components_ / np.sqrt(unit), one.components_, rtol=1e-6, atol=1e-9)


def test_one_sweep_is_the_minimum_below_the_tangent():
    penalty, (W, H) = Concave(), START.values()
    model = fitted(
        init="custom", given=START, max_iter=1, updates="exact", schedule=("H", "W"), penalties={"H": [penalty]}
    )
    # the square roots are concave, so that the tangent lies above them without curvature
    expected = oracles.majorised_minimum(W.T @ W, W.T @ X, H, penalty.half_gradient(H), 0.0)
    np.testing.assert_allclose(model.components_, expected, rtol=1e-6, atol=1e-9)


def test_separation_separates():
    def overlap(model):
        U = model.components_ / np.linalg.norm(model.components_, axis=1, keepdims=True)
        return (U @ U.T).sum() - 3

    plain = fitted(kind=NMF, solver="hals", alpha_W=1e-3, max_iter=200)
    apart = fitted(kind=NMF, solver="hals", alpha_W=1e-3, max_iter=200, penalties={"H": [Separation(30.0)]})
    assert overlap(apart) < 0.7 * overlap(plain)


def test_sparse_dense_float32_and_threads_agree():
    penalties = {"H": [Smooth(), Separation(0.1)], "W": [Concave()]}
    dense = fitted(penalties=penalties)
    np.testing.assert_allclose(fitted(sp.csr_array(X), penalties=penalties).components_, dense.components_, rtol=1e-9)
    single = fitted(X.astype(np.float32), penalties=penalties)
    assert single.components_.dtype == single.W_.dtype == np.float32
    assert single.history_["objective"][-1] == pytest.approx(dense.history_["objective"][-1], rel=1e-5)
    with threads(2):
        two = fitted(penalties=penalties)
    np.testing.assert_array_equal(two.components_, dense.components_)


def test_an_elastic_net_object_is_alpha():
    n, m = X.shape
    by_alpha = fitted(kind=NMF, solver="hals", alpha_W=0.02, alpha_H=0.03, l1_ratio=0.4)
    penalties = {
        "W": [ElasticNetPenalty(0.02 * m * 0.4, 0.02 * m * 0.6)],
        "H": ElasticNetPenalty(0.03 * n * 0.4, 0.03 * n * 0.6),
    }
    by_objects = fitted(kind=NMF, solver="hals", penalties=penalties)
    np.testing.assert_allclose(by_objects.components_, by_alpha.components_, rtol=1e-9)
    np.testing.assert_allclose(by_objects.history_["objective"], by_alpha.history_["objective"], rtol=1e-10)
    np.testing.assert_allclose(by_objects.transform(X), by_objects.W_, rtol=1e-9, atol=1e-12)
    error = np.sum((X - by_objects.W_ @ by_objects.components_) ** 2)
    total = sum(
        penalty.value(F)
        for penalty, F in ((penalties["W"][0], by_objects.W_), (penalties["H"], by_objects.components_))
    )
    assert by_objects.history_["objective"][-1] == pytest.approx(error + total, rel=1e-9)


def test_a_penalty_of_shifts():
    plain = fitted(kind=StratifiedNMF, given={"strata": LABELS}, extrapolate=False)
    with_it = fitted(
        kind=StratifiedNMF, given={"strata": LABELS}, extrapolate=False, penalties={"V": [Separation(5.0)]}
    )
    assert rises(with_it) <= 1e-12
    assert Separation(1).value(with_it.shifts_) < 0.5 * Separation(1).value(plain.shifts_)


def test_transform_uses_the_penalty_of_W():
    model = fitted(kind=NMF, solver="hals", max_iter=300, penalties={"W": [Separation(0.5)], "H": [NET]})
    W = model.transform(X)

    def objective(W):
        return np.sum((X - W @ model.components_) ** 2) + Separation(0.5).value(W.T)

    assert objective(W) <= objective(NMF.transform(model.set_params(penalties=None), X)) - 1e-3
    assert objective(W) <= objective(model.W_) * (1 + 1e-6)


def test_a_penalty_that_another_scale_can_dodge_warns():
    def messages(penalties, **options):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fitted(kind=NMF, solver="hals", max_iter=2, penalties=penalties, **options)
        return [str(each.message) for each in caught if "is penalised" in str(each.message)]

    (message,) = messages({"H": [Separation(1.0)]})
    assert message == (
        "Only H, by Separation, is penalised: W can grow while H shrinks, so the penalty vanishes. Penalise W, too, "
        "by alpha_W or by penalties."
    )
    assert "H can grow while W shrinks" in messages({"W": [Separation(1.0)]})[0]
    assert messages({"H": [ScaleFree()]}) == []
    assert messages({"H": [Separation(1.0)]}, alpha_W=1e-3) == []
    assert messages({"H": [Separation(1.0)], "W": [NET]}) == []


class Returns:
    def __init__(self, value=0.0, gradient=0.0):
        self.given = value, gradient

    def value(self, F):
        return self.given[0]

    def half_gradient(self, F):
        return self.given[1] if np.ndim(self.given[1]) else np.full(F.shape, self.given[1])


class Writes(Returns):
    def value(self, F):
        F *= 2
        return 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalties": {"H": [Returns(np.nan)]}}, "Returns.value returned nan; return one finite number"),
        ({"penalties": {"H": [Returns(np.ones(3))]}}, "Returns.value returned array"),
        (
            {"penalties": {"H": [Returns(0.0, np.ones(4))]}},
            r"returned the shape \(4,\) for H of shape \(3",
        ),
        ({"penalties": {"H": [Returns(0.0, np.inf)]}}, "half-gradient of Returns is not finite"),
        ({"penalties": {"H": [Writes()]}}, "read-only"),
        ({"penalties": {"V": [Separation(1)]}}, "have the key 'V', but the model has no shifts; set strata=True"),
        ({"penalties": {"H": [Separation]}}, "has the class Separation; pass an instance of it"),
        ({"penalties": [Separation(1)]}, "expected None or a dict such as"),
        ({"penalties": {"H": [3]}}, r"expected an object with the methods value\(F\) and half_gradient\(F\)"),
        ({"loss": "kl"}, "loss='kl' is not known"),
        (
            {"loss": "kullback-leibler", "updates": "hals"},
            "HALS needs a quadratic subproblem, but Kullback",
        ),
        (
            {"loss": "kullback-leibler", "updates": ProjectedGradient()},
            "ProjectedGradient needs a quadratic sub",
        ),
        ({"updates": "cd"}, "updates='cd' is not known; expected one of 'hals', 'mu', 'exact'"),
        ({"updates": Ratio}, "expected one of 'hals', 'mu', 'exact', an object with the method step"),
        ({"updates": {"S": "mu"}}, "a key of updates='S' is not known"),
        ({"updates": {"V": Ratio()}, "strata": True}, "shifts have their closed form, or 'mu'"),
        ({"schedule": ("W",)}, "updates W; this model has the factors W, H, and each needs a step"),
        ({"schedule": ("W", ("H", 0))}, r"schedule has the step \('H', 0\); expected None, or factors"),
        ({"schedule": "WH"}, "schedule='WH' is not valid"),
        ({"strata": 1}, "strata=1 is not valid; expected True or False"),
        ({"extrapolate": True, "updates": "mu"}, "extrapolate=True needs the squared error with the updates"),
        ({"extrapolate": True, "schedule": ("H", "W")}, "needs a schedule with W first and H after it"),
    ],
)
def test_what_cannot_be_composed_is_refused_in_one_sentence(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        fitted(**options)
    assert message == "read-only" or one_sentence(caught.value)


def test_what_does_not_go_together_is_refused_in_one_sentence():
    for refused, message in (
        (lambda: fitted(given={"strata": LABELS}), "Labels of strata were given, but the model has no strata"),
        (
            lambda: fitted(updates="exact", given={"weight": X > 1}),
            "the update 'exact' of W does not take weights",
        ),
        (lambda: NMF(3, penalties={"V": [NET]}).fit(X), "penalties has the key 'V', but this NMF has no shifts V"),
        (lambda: NMF(3, penalties={"H": [NET]}).partial_fit(X), "penalties=.* is not supported for batches"),
        (lambda: StratifiedNMF(3, penalties={"H": [NET]}, normalize="l1").fit(X), "leave one of them out"),
        (lambda: fitted(loss=Huber(), given={"sample_weight": LABELS}), "does not depend on the scale of a row"),
    ):
        with pytest.raises(ValueError, match=message):
            refused()


# ---------------------------------------------------------------- losses


def test_a_loss_is_the_sum_of_its_entries_and_a_step_is_the_ratio_of_its_parts():
    W, H = START["W"], START["H"]
    for loss in (JensenShannon(), OverAll(), Huber()):
        model = fitted(loss=loss, init="custom", given=START, max_iter=2)
        W1, H1 = oracles.entrywise_step(X, W, H, loss.pos, lambda x, y, loss=loss: float(loss.neg(x, np.array(y))))
        W2, H2 = oracles.entrywise_step(X, W1, H1, loss.pos, lambda x, y, loss=loss: float(loss.neg(x, np.array(y))))
        for at, (W_, H_) in enumerate(((W, H), (W1, H1), (W2, H2))):
            expected = oracles.entrywise_loss(X, W_ @ H_, lambda x, y, loss=loss: float(loss.value(x, np.array(y))))
            assert model.history_["objective"][at] == pytest.approx(expected, rel=1e-9)
        two = (H / H.max(axis=1, keepdims=True) for H in (model.components_, H2))  # a fit balances W and H at its end
        np.testing.assert_allclose(*two, rtol=1e-8)


@pytest.mark.parametrize("has_strata", [False, True])
@pytest.mark.parametrize("weights", [None, LABELS + 1.0])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_a_written_kullback_leibler_is_ours(form, weights, has_strata):
    kind, given = (StratifiedNMF, {"strata": LABELS}) if has_strata else (NMF, {})
    options = {"kind": kind, "solver": "mu", "init": "features", "given": given | {"sample_weight": weights}}
    options |= {"extrapolate": False}
    for data in (form(X), form(X * 1e200)):
        ours, own = (fitted(data, beta_loss=loss, **options) for loss in ("kullback-leibler", KullbackLeibler()))
        np.testing.assert_allclose(own.components_, ours.components_, rtol=1e-8, atol=1e-10 * ours.components_.max())
        np.testing.assert_allclose(own.history_["objective"], ours.history_["objective"], rtol=1e-10)
        exact = ours.transform(data, **given)  # of ours by Newton steps
        found = own.set_params(max_iter=300).transform(data, **given)
        np.testing.assert_allclose(found, exact, atol=1e-2 * exact.max())
        assert own.reconstruction_err_ == pytest.approx(ours.reconstruction_err_, rel=1e-9)


@pytest.mark.parametrize("loss", [*LOSSES, Overshooting()], **named)
@pytest.mark.parametrize("has_strata", [False, True])
def test_losses_are_monotone_and_the_same_for_sparse_and_dense_data(loss, has_strata):
    given = {"strata": LABELS} if has_strata else {}
    model, same = (fitted(data, loss=loss, strata=has_strata, given=given) for data in (X, sp.csr_array(X)))
    assert rises(model) <= 1e-12
    np.testing.assert_allclose(same.history_["objective"], model.history_["objective"], rtol=1e-8)
    assert 0 < model.score(X, **given) < 1
    assert model.score(X, **given) == pytest.approx(1 - model.normalized_loss_**2, abs=0.05)


def test_the_short_cut_for_zeros_changes_nothing():
    """Zeros of a model are raised to MODEL_SHARE of the mean, which the sum over all entries sees."""
    short, long = (fitted(sp.csr_array(X), loss=loss) for loss in (JensenShannon(), OverAll()))
    np.testing.assert_allclose(short.history_["objective"], long.history_["objective"], rtol=1e-5)
    np.testing.assert_allclose(short.components_, long.components_, rtol=1e-3, atol=1e-5)


def test_a_step_that_overshoots_is_repeated_with_a_smaller_power():
    loss = Overshooting()
    once = {"init": "custom", "given": START, "max_iter": 1}
    W, H = oracles.entrywise_step(X, START["W"], START["H"], loss.pos, loss.neg)
    model = fitted(loss=loss, **once)
    first = model.history_["objective"][0]
    assert oracles.entrywise_loss(X, W @ H, lambda x, y: float(loss.value(x, np.array(y)))) > first
    assert model.history_["objective"][1] < first


class Wrong(KullbackLeibler):
    def __init__(self, method, returned):
        self.method, self.returned = method, returned

    def __getattribute__(self, name):
        if name in ("value", "pos", "neg") and name == super().__getattribute__("method"):
            return lambda x, y: self.returned(y)
        return super().__getattribute__(name)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (Wrong("pos", lambda y: -y), "Wrong.pos must be finite and not negative for every x >= 0 and y > 0"),
        (Wrong("value", lambda y: y * np.nan), "Wrong.value must be finite for every x >= 0 and y > 0"),
        (Wrong("neg", lambda y: y.sum()), r"Wrong.neg returned the shape \(\) for arguments of shape"),
        (fastnmf.compose.EntrywiseLoss(), "EntrywiseLoss has no method value"),
    ],
)
def test_what_a_loss_must_not_return(loss, message):
    with pytest.raises((ValueError, NotImplementedError), match=message):
        fitted(loss=loss)


# ---------------------------------------------------------------- updates and schedules


def test_updates_of_ones_own_reach_what_ours_do():
    ours = fitted(max_iter=400, init="custom", given=START)
    for updates in (ProjectedGradient(), Ratio(), {"W": "exact", "H": ProjectedGradient()}):
        own = fitted(max_iter=600, init="custom", given=START, updates=updates)
        assert rises(own) <= 1e-12
        assert own.history_["objective"][-1] == pytest.approx(ours.history_["objective"][-1], rel=0.02)


def test_a_written_multiplicative_update_is_ours():
    for loss in ("frobenius", "kullback-leibler"):
        ours = fitted(loss=loss, updates="mu", init="custom", given=START)
        own = fitted(loss=loss, updates=Ratio(), init="custom", given=START)
        np.testing.assert_allclose(own.components_, ours.components_, rtol=1e-5)
        far = fitted(X * 1e-200, loss="frobenius", updates=Ratio())
        assert far.normalized_loss_ == pytest.approx(fitted(updates=Ratio()).normalized_loss_, rel=1e-9)


def test_a_view_describes_the_subproblem():
    seen = []

    class Watch:
        def step(self, F, view):
            seen.append((F, view))
            return F

    fitted(init="custom", given=START, max_iter=1, updates={"W": Watch(), "H": "hals"})
    F, view = seen[0]
    W, H = START["W"], START["H"]
    np.testing.assert_allclose(F, W.T)
    np.testing.assert_allclose(view.gram, H @ H.T)
    np.testing.assert_allclose(view.right, H @ X.T)
    np.testing.assert_allclose(view.half_gradient(F), H @ (W @ H - X).T, atol=1e-12)
    assert view.value(F) == pytest.approx(np.sum((X - W @ H) ** 2) - np.sum(X**2), rel=1e-12)


def test_an_update_keeps_fixed_entries_and_is_checked():
    class Bad:
        def __init__(self, returned):
            self.returned = returned

        def step(self, F, view):
            return self.returned(F)

    for returned, what in ((lambda F: -F - 1, "negative or non-finite"), (lambda F: F.T, r"the shape \(40, 3\)")):
        with pytest.raises(ValueError, match=f"Bad.step returned {what}"):
            fitted(updates=Bad(returned))


def test_schedules():
    first = fitted(init="custom", given=START, max_iter=4, schedule=(("W", 2), "H"), updates="hals")
    nmf = fitted(kind=NMF, solver="hals", sweeps=(2, 1), init="custom", given=START, max_iter=4)
    np.testing.assert_allclose(first.components_, nmf.components_, rtol=1e-10)
    assert fitted(schedule=("H", ("W", 3), "H")).normalized_loss_ < 0.7
    strata = {"strata": True, "given": {"strata": LABELS}}
    assert rises(fitted(schedule=("V", "W", "V", "H"), **strata)) <= 1e-12
    assert fitted(extrapolate=True, max_iter=60).normalized_loss_ < fitted(max_iter=60).normalized_loss_ * 1.01


def test_defaults_are_those_of_nmf_and_stratified_nmf():
    one = fitted(init="custom", given=START, updates="hals")
    nmf = fitted(kind=NMF, solver="hals", sweeps=(1, 1), init="custom", given=START)
    np.testing.assert_array_equal(one.components_, nmf.components_)
    given = {"strata": LABELS}
    ours, stratified = (
        fitted(kind=kind, given=given, max_iter=40, init="features", **options)
        for kind, options in (
            (Factorization, {"strata": True}),
            (StratifiedNMF, {"extrapolate": False, "sweeps": (1, 1, 1)}),
        )
    )
    np.testing.assert_array_equal(ours.components_, stratified.components_)
    np.testing.assert_array_equal(ours.transform(X, **given), stratified.transform(X, **given))


# ---------------------------------------------------------------- files


SAVED = {
    "H": ({"penalties": {"H": [Separation(0.2)], "W": [NET]}}, {}),
    "W": ({"penalties": {"W": [Separation(0.2)], "H": [NET]}}, {"penalties": {"W": [Separation(0.2)], "H": [NET]}}),
    "loss": ({"loss": JensenShannon()}, {"loss": JensenShannon()}),
    "update of H": ({"updates": {"H": ProjectedGradient()}}, {}),
    "update": ({"updates": ProjectedGradient()}, {"updates": ProjectedGradient()}),
}


@pytest.mark.parametrize("name", SAVED)
def test_a_file_keeps_all_but_objects_of_the_user(name, tmp_path):
    options, needed = SAVED[name]
    model, path = fitted(**options), tmp_path / "model.npz"
    with pytest.warns(UserWarning, match="Objects of your own are not kept in the file: ") as caught:
        model.save(path)
    assert len(caught) == 1
    W, again = model.transform(X), fastnmf.load(path)
    if needed:
        with pytest.raises(ValueError, match=r"with an? \w+ of your own, \w+, which files cannot hold; pass it .*load"):
            again.transform(X)
        with pytest.raises(ValueError, match="which files cannot hold"):
            again.score(X)
    else:
        np.testing.assert_array_equal(again.transform(X), W)
    with pytest.raises(ValueError, match="which files cannot hold"):
        clone(again).fit(X)
    assert "not in the file" in repr(again)
    np.testing.assert_array_equal(fastnmf.load(path, **needed).transform(X), W)
    with pytest.warns(UserWarning, match="not kept in the file"):
        again.save(tmp_path / "second.npz")
    np.testing.assert_array_equal(fastnmf.load(tmp_path / "second.npz", **needed).transform(X), W)


def test_penalties_and_losses_of_ours_are_kept(tmp_path):
    model = fitted(loss=fastnmf.core.losses.choice.Beta(1.5), penalties={"H": [NET], "W": NET})
    model.save(tmp_path / "model.npz")
    again = fastnmf.load(tmp_path / "model.npz")
    assert again.loss == 1.5 and repr(again.penalties) == repr({"H": [NET], "W": NET})
    np.testing.assert_array_equal(clone(again).fit(X).components_, model.components_)


def test_load_takes_only_what_the_model_has(tmp_path):
    SemiNMF(2, random_state=0).fit(X).save(tmp_path / "model.npz")
    for name in ("penalties", "loss", "updates"):
        with pytest.raises(ValueError, match=f"{name} was given, and .*model.npz holds a SemiNMF, which has no"):
            fastnmf.load(tmp_path / "model.npz", **{name: {}})


class Mine(NMF):
    def more(self):
        return 1


class Derived(StratifiedNMF):
    def __init__(self, n_components=3, flavour="sweet"):
        super().__init__(n_components, random_state=0, max_iter=3)
        self.flavour = flavour


class Base(fastnmf.models.base.nmf.BaseNMF):
    def __init__(self, n_components=3, max_iter=3, random_state=0):
        self._set(locals())

    def _problem(self, data, factors, tasks, options):
        schedule = (("W", 1), ("H", 1))
        return fastnmf.core.objectives.squared_problem(data, factors, tasks, schedule, is_descent=True)


@pytest.mark.parametrize(("kind", "nearest"), [(Mine, NMF), (Derived, StratifiedNMF)])
def test_a_class_of_the_user_is_saved_as_the_nearest_of_ours(kind, nearest, tmp_path):
    model = kind(3).fit(X)
    with pytest.warns(UserWarning, match=f"{kind.__name__} is a class of your own.*saved as {nearest.__name__}"):
        model.save(tmp_path / "model.npz")
    again = fastnmf.load(tmp_path / "model.npz")
    assert type(again) is nearest
    np.testing.assert_array_equal(again.transform(X), model.transform(X))


def test_a_class_without_one_of_ours_is_refused_by_save(tmp_path):
    with pytest.raises(TypeError, match="Base is a class of your own that extends no estimator of fastnmf"):
        Base().fit(X).save(tmp_path / "model.npz")
    assert not (tmp_path / "model.npz").exists()


def test_a_checkpoint_knows_objects_of_the_user(tmp_path):
    def fit(weight, n, file=None):
        options = {"penalties": {"H": [Separation(weight)], "W": [Steep()]}, "max_iter": n}
        return fitted(given={} if file is None else {"checkpoint": file, "checkpoint_every": 0}, **options)

    fit(0.2, 7, tmp_path / "state.npz")
    resumed, whole = fit(0.2, 20, tmp_path / "state.npz"), fit(0.2, 20)
    np.testing.assert_array_equal(resumed.components_, whole.components_)
    np.testing.assert_array_equal(resumed.history_["objective"], whole.history_["objective"])
    with pytest.raises(ValueError, match="penalties is not the same"):
        fit(0.3, 20, tmp_path / "state.npz")


def test_labels_of_strata_as_y_are_warned_of():
    with pytest.warns(UserWarning, match="y is ignored, and all rows are one stratum: pass stratum labels as strata="):
        Factorization(3, strata=True, max_iter=2, tol=0).fit(X, LABELS)
