"""What is hidden, known beforehand, watched or gone on with: masks, fixed and seeded components, gauges, callbacks."""

import copy
import pickle
import warnings

import numpy as np
import oracles
import pandas as pd
import pytest
import scipy.sparse as sp
from masks import grouped
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from test_options import EXTRAPOLATED, FITS, FORMS, make, modelled

import fastnmf
from fastnmf import NMF, StratifiedNMF

SQUARED = [name for name in FITS if "kl" not in name]
EXACT = [name for name in SQUARED if "mu" not in name]


def low_rank(rank=3, shape=(60, 30)):
    """Return exact data of low rank with strata, and their labels."""
    rng = np.random.default_rng(3)
    strata = rng.integers(0, 3, shape[0])
    W, H, V = (rng.random(size) for size in ((shape[0], rank), (rank, shape[1]), (3, shape[1])))
    return W @ H, W @ H + V[strata], strata


def planted(n_rows=200, n_columns=30):
    """Return rows that are mixtures of three blocks of ten features, of Poisson counts."""
    rng = np.random.default_rng(4)
    H = np.kron(np.eye(3), np.ones(n_columns // 3)) * 5
    return rng.poisson(rng.dirichlet([0.3] * 3, n_rows) @ H).astype(float)


# ----------------------------------------------------------------------------------------------------- missing values


@pytest.mark.parametrize("name", EXACT)
def test_hidden_entries_are_recovered(name):
    plain, shifted, strata = low_rank()
    X, labels = (shifted, {"strata": strata}) if "stratified" in name else (plain, {})
    is_hidden = np.random.default_rng(5).random(X.shape) < 0.4
    model, _ = make(name, missing_values="nan", max_iter=1000)
    model.fit(np.where(is_hidden, np.nan, X), **labels)
    error = (modelled(model, *labels.values()) - X)[is_hidden]
    assert np.linalg.norm(error) <= 1e-3 * np.linalg.norm(X[is_hidden])


@pytest.mark.parametrize("name", SQUARED)
def test_every_way_to_say_missing_is_the_same(name):
    X, _ = grouped()
    X = np.where(X > 0, X, 0.0) + (X > 0)
    hidden = np.random.default_rng(6).random(X.shape) < 0.3
    with_nan = np.where(hidden, np.nan, X)
    stored = sp.csr_array(np.where(hidden, 0, X))
    stored.eliminate_zeros()
    garbage = np.where(hidden, 1e9, X)
    cases = [
        ({"missing_values": "nan"}, with_nan, None),
        ({"missing_values": "nan"}, sp.csr_array(with_nan), None),
        ({}, garbage, ~hidden),
        ({}, sp.csr_array(garbage), (~hidden).astype(float)),
        ({}, garbage, sp.csr_array((~hidden).astype(float))),
        ({}, with_nan, ~hidden),
    ]
    fits = []
    for options, data, weight in cases:
        model, labels = make(name, max_iter=10, **options)
        fits.append(model.fit(data, weight=weight, **labels))
    for fit in fits[1:]:
        np.testing.assert_allclose(fit.components_, fits[0].components_, rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(fit.W_, fits[0].W_, rtol=1e-7, atol=1e-10)
        assert fit.reconstruction_err_ == pytest.approx(fits[0].reconstruction_err_)
    zeros, labels = make(name, max_iter=10, missing_values="zeros")
    zeros.fit(stored, **labels)
    seen, labels = make(name, max_iter=10)
    seen.fit(np.where(hidden, 0, X), weight=~hidden & (X > 0), **labels)
    np.testing.assert_allclose(zeros.components_, seen.components_, rtol=1e-7, atol=1e-10)
    model = fits[0]
    W = model.transform(with_nan, **labels)
    if name in EXACT:
        np.testing.assert_allclose(W, model.W_, rtol=1e-8, atol=1e-10)
    residual = np.where(
        hidden, 0, X - W @ model.components_ - (modelled(model, *labels.values()) - model.W_ @ model.components_)
    )
    assert model.score(with_nan, **labels) == pytest.approx(1 - (residual**2).sum() / (X[~hidden] ** 2).sum())
    objective = model.history_["objective"]
    assert name in EXTRAPOLATED or (np.diff(objective) <= 1e-10 * objective[0]).all()


@pytest.mark.parametrize("name", SQUARED)
def test_a_mask_of_ones_is_no_mask(name):
    X, _ = grouped()
    for form in FORMS.values():
        fits = []
        for weight in (None, np.ones(X.shape), sp.csr_array(np.ones(X.shape))):
            model, labels = make(name, max_iter=5, missing_values=None if weight is None else "nan")
            fits.append(model.fit(form(X), weight=weight, **labels))
        assert all(fit.components_.tobytes() == fits[0].components_.tobytes() for fit in fits)


@pytest.mark.parametrize("name", SQUARED)
def test_penalties_and_masks_go_together(name):
    X, strata = grouped()
    hidden = np.random.default_rng(6).random(X.shape) < 0.3
    model, labels = make(name, alpha_W=0.02, l1_ratio=0.5, missing_values="nan")
    model.fit(np.where(hidden, np.nan, X), **labels)
    known = ~hidden  # each row and each column counts by its known entries
    penalty = sum(
        0.02 * sizes @ (F / 2 + F**2 / 4).sum(axis=1)
        for F, sizes in ((model.W_, known.sum(axis=1)), (model.components_.T, known.sum(axis=0)))
    )
    want = ((X - modelled(model, *labels.values()))[~hidden] ** 2).sum() + 2 * penalty
    objective = model.history_["objective"]
    assert objective[-1] == pytest.approx(want)
    assert name in EXTRAPOLATED or (np.diff(objective) <= 1e-10 * objective[0]).all()
    if name in EXACT:
        W = model.transform(np.where(hidden, np.nan, X), **labels)
        np.testing.assert_allclose(W, model.W_, rtol=1e-8, atol=1e-10)


def test_errors_of_rows_with_missing_entries():
    plain, shifted, strata = low_rank()
    hidden = np.random.default_rng(6).random(plain.shape) < 0.3
    for model, X, labels in ((NMF(2), plain, {}), (StratifiedNMF(2), shifted, {"strata": strata})):
        model.set_params(missing_values="nan", random_state=0)
        with_nan = np.where(hidden, np.nan, X)
        model.fit(with_nan, **labels)
        want = (np.where(hidden, 0, X - modelled(model, *labels.values())) ** 2).sum(axis=1)
        np.testing.assert_allclose(model.reconstruction_errors(with_nan, **labels), want, rtol=1e-6)
    with pytest.raises(ValueError, match="need complete rows"):
        model.predict_stratum(with_nan)


# --------------------------------------------------------------------------------------------------------- known topics


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FITS)
def test_fixed_components_keep_their_bits(name, dtype, form):
    X, _ = grouped()
    X = X.astype(dtype)
    known = np.random.default_rng(7).random((2, 23)).astype(dtype)
    known[0, 3] = 0
    for given in (known, sp.csr_array(known), known.tolist()):
        model, labels = make(name, fixed_components=given, max_iter=8)
        model.fit(FORMS[form](X), **labels)
        assert model.components_[:2].tobytes() == known.tobytes()
        assert model.components_[2].any()
    partly = known.copy()
    partly[1, 5:] = np.nan
    model, labels = make(name, fixed_components=partly, max_iter=8)
    model.fit(FORMS[form](X), **labels)
    is_fixed = ~np.isnan(partly)
    np.testing.assert_array_equal(model.components_[:2][is_fixed], partly[is_fixed])
    assert model.components_[1, 5:].any()
    objective = model.history_["objective"]
    assert name in EXTRAPOLATED or (np.diff(objective) <= 1e-6 * objective[0]).all()


@pytest.mark.parametrize("name", SQUARED)
def test_known_topics_with_masks_weights_and_penalties(name):
    X, _ = grouped()
    hidden = np.random.default_rng(6).random(X.shape) < 0.3
    known = np.random.default_rng(7).random((1, 23))
    for options, given in (
        ({"missing_values": "nan"}, {}),
        ({"alpha_W": 0.01, "l1_ratio": 0.5}, {}),
        ({}, {"sample_weight": np.arange(40)}),
    ):
        model, labels = make(name, fixed_components=known, seed_features={1: [3, 4]}, **options)
        model.fit(np.where(hidden, np.nan, X) if "missing_values" in options else X, **given, **labels)
        assert model.components_[0].tobytes() == known[0].tobytes()
        assert np.isfinite(model.W_).all() and set(np.argsort(model.components_[1])[-8:]) >= {3, 4}
        objective = model.history_["objective"]
        assert name in EXTRAPOLATED or (np.diff(objective) <= 1e-9 * objective[0]).all()


@pytest.mark.parametrize("name", FITS)
def test_seeds_stand_on_top(name):
    X = planted()
    kind, options = FITS[name]
    labels = {"strata": np.arange(len(X)) % 2} if kind is StratifiedNMF else {}
    frame = pd.DataFrame(X, columns=[f"word{j}" for j in range(30)])
    for order in ([2, 0, 1], [1, 2, 0]):
        seeds = {c: [10 * block, 10 * block + 1] for c, block in enumerate(order)}
        by_number = kind(3, random_state=0, seed_features=seeds, **options).fit(X, **labels)
        named = [[f"word{j}" for j in columns] for columns in seeds.values()]
        by_name = kind(3, random_state=0, seed_features=named, **options).fit(frame, **labels)
        assert by_number.components_.tobytes() == by_name.components_.tobytes()
        for component, columns in seeds.items():
            block = set(range(10 * (columns[0] // 10), 10 * (columns[0] // 10) + 10))
            assert set(np.argsort(by_number.components_[component])[-10:]) == block
        objective = by_number.history_["objective"]
        assert name in EXTRAPOLATED or (np.diff(objective) <= 1e-9 * objective[0]).all()
    strong = kind(3, random_state=0, seed_features={0: [4, 17]}, guide_weight=100.0, **options).fit(X, **labels)
    assert set(np.argsort(strong.components_[0])[-2:]) == {4, 17}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fixed_components": np.ones((3, 23))}, "at most 2 rows"),
        ({"fixed_components": np.ones((1, 3))}, "of 23 numbers"),
        ({"fixed_components": -np.ones((1, 23))}, "negative or infinite"),
        ({"fixed_components": np.full((1, 23), np.inf)}, "negative or infinite"),
        ({"fixed_components": [["a"] * 23]}, "fixed_components has"),
        ({"seed_features": {5: [1]}}, "component 5; expected 0 to 1"),
        ({"seed_features": {0: "word"}}, "expected a list of features"),
        ({"seed_features": {0: ["word"]}}, "no feature names"),
        ({"seed_features": {0: [23]}}, "column 23"),
        ({"seed_features": {0: [1.5]}}, "1.5"),
        ({"seed_features": 3}, "seed_features=3"),
        ({"guide_weight": -1.0}, "guide_weight=-1.0"),
    ],
)
def test_known_topics_that_cannot_be_used_are_refused(options, message):
    X, strata = grouped()
    for model, labels in ((NMF(2, **options), {}), (StratifiedNMF(2, **options), {"strata": strata})):
        with pytest.raises(ValueError, match=message):
            model.fit(X, **labels)
    with pytest.raises(ValueError, match="'nothing', which is not a feature"):
        NMF(2, seed_features=[["nothing"]]).fit(pd.DataFrame(X, columns=[f"w{j}" for j in range(23)]))


# ----------------------------------------------------------------------------------------- going on, stopping, watching


@pytest.mark.parametrize("name", FITS)
def test_a_warm_start_goes_on(name):
    X, _ = grouped()
    whole, labels = make(name, max_iter=40)
    whole.fit(X, **labels)
    model, _ = make(name, max_iter=20, warm_start=True)
    model.fit(X, **labels)
    first = model.history_["objective"]
    model.fit(X, **labels)
    second = model.history_["objective"]
    assert second[0] <= first[-1] * (1 + 1e-2 if "mu" in name or "kl" in name else 1 + 1e-9)
    if name not in EXTRAPOLATED:
        assert second[-1] <= first[-1]
        assert second[-1] == pytest.approx(whole.history_["objective"][-1], rel=2e-2)
    with pytest.raises(ValueError, match="warm_start continues from"):
        model.fit(X[:, :-1], **labels)


@pytest.mark.parametrize("name", ["stratified hals", "stratified mu", "stratified kl"])
def test_a_warm_start_knows_strata_by_label(name):
    X, strata = grouped()
    model, _ = make(name, warm_start=True, max_iter=60)
    names = np.array(["b", "c", "d"])[strata]
    model.fit(X, strata=names)
    shifts = dict(zip(model.strata_, model.shifts_, strict=True))
    seen = []
    model.set_params(callback=lambda state: seen.append(state.V)).fit(
        X[::-1], strata=np.where(names == "c", "a", names)[::-1]
    )
    np.testing.assert_allclose(seen[0][1:], [shifts["b"], shifts["d"]], rtol=1e-12)


@pytest.mark.parametrize("name", FITS)
def test_max_time_stops_after_an_iteration_and_warns_of_nothing(name):
    X, _ = grouped()
    model, labels = make(name, max_time=0, tol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(X, **labels)
    assert (model.n_iter_, model.stopped_by_, model.converged_) == (1, "max_time", False)


@pytest.mark.parametrize("name", FITS)
def test_a_callback_sees_every_iteration_and_can_stop(name):
    X, strata = grouped()
    states = []

    def watch(state):
        states.append((state.iteration, state.normalized_loss, state.W, state.H, state.V))
        return state.iteration == 6

    model, labels = make(name, init="features", max_iter=10)
    without = clone(model).set_params(max_iter=6).fit(X, **labels)
    model.set_params(callback=watch).fit(X, **labels)
    assert [state[0] for state in states] == list(range(7)) and model.stopped_by_ == "callback" and model.n_iter_ == 6
    np.testing.assert_allclose([state[1] for state in states][:-1], model.history_["normalized_loss"][:-1])
    assert model.components_.tobytes() == without.components_.tobytes()
    assert oracles.differ_by_powers_of_two(model.components_, states[-1][3])  # balanced after the last state
    for _, _, W, H, V in states:
        assert W.shape == (40, 3) and H.shape == (3, 23)
        assert V is None if not labels else V.shape == (3, 23)


@pytest.mark.parametrize("name", FITS)
def test_a_callback_sees_rows_without_their_weights(name):
    X, _ = grouped()
    seen, weight = [], np.arange(40)
    model, labels = make(name, init="features", max_iter=3)
    model.set_params(callback=lambda state: seen.append(state.W)).fit(X, sample_weight=weight, **labels)
    if "mu" in name or "kl" in name:  # the others solve for W once more
        assert oracles.differ_by_powers_of_two(seen[-1].T, model.W_.T)
        np.testing.assert_allclose(seen[0][1:], np.broadcast_to(seen[0][1], seen[0][1:].shape), rtol=1e-12)
    assert not model.W_[0].any() and not seen[-1][0].any()


@pytest.mark.parametrize("name", ["hals", "stratified kl"])
def test_an_exception_of_a_callback_comes_through_and_breaks_nothing(name):
    X, _ = grouped()

    def fail(state):
        if state.iteration == 2:
            raise KeyError("mine")

    model, labels = make(name, callback=fail, verbose=1)
    before = make(name)[0].fit(X, **labels)
    with pytest.raises(KeyError, match="mine"):
        model.fit(X, **labels)
    assert not hasattr(model, "components_")
    model.set_params(callback=None).fit(X, **labels)
    assert model.components_.tobytes() == before.components_.tobytes()


@pytest.mark.parametrize("name", ["hals", "kl", "stratified cd"])
def test_callbacks_of_scikit_learn(name):
    callbacks = pytest.importorskip("sklearn.callback")
    X, _ = grouped()
    plain, labels = make(name, max_iter=12)
    plain.fit(X, **labels)
    watched = clone(plain).set_callbacks(callbacks.ProgressBar()).fit(X, **labels)
    assert watched.components_.tobytes() == plain.components_.tobytes()
    early = clone(plain).set_params(callback=lambda state: state.iteration == 3).set_callbacks(callbacks.ProgressBar())
    assert early.fit(X, **labels).n_iter_ == 3

    def fail(state):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        early.set_params(callback=fail).fit(X, **labels)
    again = early.set_params(callback=None).fit(X, **labels)
    assert again.components_.tobytes() == plain.components_.tobytes()


# ------------------------------------------------------------------------------------------------- gauge and dead parts


@pytest.mark.parametrize("gauge", ["max_shift", "min_shift", None])
@pytest.mark.parametrize("normalize", ["l1", "l2", "max", None])
@pytest.mark.parametrize("name", ["stratified hals", "stratified cd", "stratified mu", "stratified kl"])
def test_gauge_and_norm_change_the_form_alone(name, normalize, gauge):
    _, X, strata = low_rank()
    X = X + 0.3 * np.random.default_rng(8).random(X.shape)
    plain = make(name)[0].fit(X, strata=strata)
    model = make(name, gauge=gauge, normalize=normalize)[0].fit(X, strata=strata)
    if gauge != "min_shift":
        np.testing.assert_allclose(modelled(model, strata), modelled(plain, strata), rtol=1e-10)
    if "kl" not in name:
        error = np.linalg.norm(X - modelled(model, strata))
        assert model.reconstruction_err_ == pytest.approx(error) and error <= plain.reconstruction_err_ * (1 + 1e-9)
        assert model.history_["objective"][-1] == pytest.approx(error**2)
    if name in ("stratified hals", "stratified cd"):
        np.testing.assert_allclose(model.transform(X, strata=strata), model.W_, rtol=1e-8, atol=1e-10)
    if normalize:
        norm = {
            "l1": lambda H: H.sum(axis=1),
            "l2": lambda H: np.linalg.norm(H, axis=1),
            "max": lambda H: H.max(axis=1),
        }
        np.testing.assert_allclose(norm[normalize](model.components_), 1)
    if gauge == "max_shift":
        least = [model.W_[strata == code].min(axis=0) for code in range(3)]
        np.testing.assert_allclose(least, 0, atol=1e-12)


@pytest.mark.parametrize("name", EXACT)
def test_a_dead_component_comes_to_life(name):
    plain, shifted, strata = low_rank()
    X, labels = (shifted, {"strata": strata}) if "stratified" in name else (plain, {})
    rng = np.random.default_rng(9)
    start = {"W": rng.random((60, 3)), "H": rng.random((3, 30))} | ({"V": np.zeros((3, 30))} if labels else {})
    start["W"][:, 1] = start["H"][1] = 0
    model, _ = make(name, init="custom", max_iter=100)
    model.fit(X, **start, **labels)
    assert model.n_revived_ == 1 and model.components_.any(axis=1).all()
    assert model.reconstruction_err_ < 1e-2 * np.linalg.norm(X)
    start["W"][:, 1] = 1  # the first move of H finds use for it
    assert model.fit(X, **start, **labels).n_revived_ == 0


# ------------------------------------------------------------------------------------------------ AnnData, other losses


class Annotated:
    """What of an AnnData is looked at."""

    def __init__(self, X, obs, var_names):
        self.X, self.obs, self.var_names = X, obs, pd.Index(var_names)
        self.shape = X.shape


@pytest.mark.parametrize("form", FORMS)
def test_annotated_data_carry_their_strata_and_names(form):
    X, strata = grouped()
    batch = np.array(["p", "q", "r"])[strata]
    names = [f"gene{j}" for j in range(23)]
    data = Annotated(FORMS[form](X), pd.DataFrame({"batch": pd.Categorical(batch), "other": strata}), names)
    model = StratifiedNMF(3, random_state=0, max_iter=30, tol=0).fit(data, strata="batch")
    plain = StratifiedNMF(3, random_state=0, max_iter=30, tol=0).fit(FORMS[form](X), strata=batch)
    assert model.components_.tobytes() == plain.components_.tobytes() and list(model.strata_) == ["p", "q", "r"]
    np.testing.assert_array_equal(model.transform(data, strata="batch"), plain.transform(FORMS[form](X), strata=batch))
    assert model.score(data, strata="batch") == pytest.approx(plain.score(X, strata=batch))
    np.testing.assert_allclose(
        model.reconstruction_errors(data, strata="batch"), plain.reconstruction_errors(X, strata=batch)
    )
    assert (model.predict_stratum(data) == plain.predict_stratum(X)).all()
    assert NMF(2, random_state=0).fit(data).transform(data).shape == (40, 2)
    assert set(sum(model.top_features(23).components, [])) <= set(names)
    seeded = StratifiedNMF(3, seed_features=[["gene3"]], random_state=0).fit(data, strata="batch")
    assert seeded.top_features(1).components[0] == ["gene3"]
    with pytest.raises(ValueError, match="strata='patient' is not a column of obs; its columns are 'batch', 'other'"):
        model.fit(data, strata="patient")
    with pytest.raises(ValueError, match="which means a column of a DataFrame or of the obs of an AnnData"):
        model.fit(X, strata="batch")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("beta", [-1, 0.5, 1.5, 3, "itakura-saito"])
@pytest.mark.parametrize("kind", [NMF, StratifiedNMF])
def test_any_beta_divergence(kind, beta, form):
    X, strata = grouped()
    labels = {"strata": strata} if kind is StratifiedNMF else {}
    model = kind(3, solver="mu", beta_loss=beta, random_state=0, max_iter=30, tol=0)
    if beta in (-1, "itakura-saito"):
        with pytest.raises(ValueError, match="needs data without zeros"):
            model.fit(FORMS[form](X), **labels)
        X = X + 0.1
    model.fit(FORMS[form](X), **labels)
    objective = model.history_["objective"]
    assert np.isfinite(objective).all() and (np.diff(objective) <= 1e-9 * objective[0]).all()
    assert objective[-1] < 0.9 * objective[0]
    W = model.transform(FORMS[form](X), **labels)
    assert W.shape == (40, 3) and np.isfinite(W).all() and (W >= 0).all()
    assert 0 < model.score(FORMS[form](X), **labels) <= 1


@pytest.mark.parametrize("name", FITS)
def test_models_are_copied_stored_and_read_again(name, tmp_path):
    X, _ = grouped()
    known = np.where(np.arange(23) < 4, np.nan, 1.0)[None]
    options = {"alpha_W": 0.01, "l1_ratio": 0.5, "fixed_components": known, "seed_features": {1: [2]}, "max_time": 60.0}
    model, labels = make(name, warm_start=True, max_iter=5, **options)
    model.fit(X, **labels)
    twin = clone(model)
    assert twin.get_params().keys() == model.get_params().keys() and not hasattr(twin, "W_")
    np.testing.assert_array_equal(twin.fixed_components, known)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), clone(model).fit(X, **labels)):
        assert other.components_.tobytes() == model.components_.tobytes()
        np.testing.assert_array_equal(other.transform(X, **labels), model.transform(X, **labels))
    model.save(tmp_path / "model.npz")
    found = fastnmf.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(found.transform(X, **labels), model.transform(X, **labels))
    np.testing.assert_array_equal(found.fixed_components, known)
    assert found.alpha_W == 0.01 and found.l1_ratio == 0.5 and found.seed_features == {1: [2]}


def test_warmup_compiles_with_the_new_options():
    assert fastnmf.warmup(["float64"], kullback_leibler=True) > 0
