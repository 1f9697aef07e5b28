"""Divergences and missing values in batches: numerators and denominators, weights of rows, restarts, streams."""

import copy
import tracemalloc
import warnings

import numpy as np
import oracles
import pytest
import scipy.sparse as sp

from fastnmf import NMF, MiniBatchNMF, MiniBatchStratifiedNMF, StratifiedNMF, load
from fastnmf.core import warn
from fastnmf.core.losses.choice import Divergence

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
RNG = np.random.default_rng(0)
SHIFTS = np.array([[3.0] * 3 + [0.0] * 9, [0.0] * 3 + [2.0] * 3 + [0.0] * 6, [0.0] * 12])
CODES = np.random.default_rng(5).integers(0, 3, 90)
MODEL = SHIFTS[CODES] + RNG.gamma(0.5, 1, (90, 3)) @ RNG.gamma(0.5, 1, (3, 12))
X = RNG.poisson(2 * MODEL).astype(float)
KL = {"beta_loss": "kullback-leibler"}
KINDS = {MiniBatchNMF: NMF, MiniBatchStratifiedNMF: StratifiedNMF}
every_kind = pytest.mark.parametrize("kind", KINDS)
BETAS = (-0.5, 0, 0.5, 1, 1.5, 3)


def of_strata(kind, rows=slice(None)):
    return {"strata": CODES[rows]} if kind in (MiniBatchStratifiedNMF, StratifiedNMF) else {}


def start_of(kind, n_rows=90, seed=1):
    rng = np.random.default_rng(seed)
    start = {"W": 0.1 + rng.random((n_rows, 3)), "H": 0.1 + rng.random((3, 12))}
    return start | ({"V": 0.1 + rng.random((3, 12))} if of_strata(kind) else {})


def evenly(data, H):
    return data.sum(axis=1)[:, None] / (len(H) * H.sum(axis=1))


def divergence_of(data, model, beta):
    return sum(oracles.beta_divergence(x, y, beta) for x, y in zip(data, model, strict=True))


# ---------------------------------------------------------------- the rule


def check_stream(kind, blocks, start, beta, weigh, parts, **options):
    """Compare a model that learns blocks (X, codes) with plain loops."""
    model = kind(3, init="custom", forget_factor=0.7, fresh_restarts_max_iter=4, **options)
    for A, codes in blocks:
        model.partial_fit(A, **start, **({"strata": codes} if of_strata(kind) else {}))
    V = start.get("V", np.zeros((1, 12)))
    blocks = [(A, codes if of_strata(kind) else 0 * codes) for A, codes in blocks]
    V, H = oracles.learned_batches(blocks, V, start["H"], beta, 0.7, weigh, parts)
    np.testing.assert_allclose(model.components_, H, rtol=1e-9)
    if of_strata(kind):
        np.testing.assert_allclose(model.shifts_, V, rtol=1e-9)


def in_blocks(data, size=12, end=36):
    return [(data[lo : lo + size], CODES[lo : lo + size]) for lo in range(0, end, size)]


@pytest.mark.parametrize("beta", BETAS)
@every_kind
def test_a_stream_is_what_plain_loops_make_of_it(kind, beta):
    def weigh(A, codes, V, H):
        W = evenly(A, H)
        for _ in range(4):
            _, W, _ = oracles.beta_mu(A, codes, V, W, H, beta, ("W",))
        return W

    def parts(A, codes, V, W, H):
        return oracles.beta_parts(A, codes, V, W, H, beta, np.ones(len(A)))

    check_stream(kind, in_blocks(X + 0.5), start_of(kind, 12), beta, weigh, parts, beta_loss=beta)


@every_kind
def test_a_stream_with_missing_values_is_what_plain_loops_make_of_it(kind):
    data = np.where(RNG.random(X.shape) < 0.2, np.nan, X + 0.5)

    def known(A, codes, V):
        return (~np.isnan(A)).astype(float), np.nan_to_num(A), V[codes]

    def weigh(A, codes, V, H):
        O, A, shift = known(A, codes, V)
        gram, pos, neg = oracles.weighted_row_parts(O, A, shift, H.T)
        return oracles.weighted_rows_hals(evenly(A, H), gram, pos, neg, 4)

    def parts(A, codes, V, W, H):
        O, A, shift = known(A, codes, V)
        Y, member = O * (shift + W @ H), codes == np.arange(len(V))[:, None]
        return {"V": (member @ A, member @ Y), "H": (W.T @ A, W.T @ Y)}

    check_stream(kind, in_blocks(data), start_of(kind, 12), 2, weigh, parts, missing_values="nan")


@pytest.mark.parametrize("beta", (0, 0.5, 1, 1.5, 3))
@every_kind
def test_one_batch_in_passes_is_the_model_of_all_rows(kind, beta):
    given = start_of(kind) | of_strata(kind) | ({} if beta == 0 else {"sample_weight": 1 + CODES})
    options = {"beta_loss": beta, "init": "custom", "max_iter": 6, "tol": 0}
    model = kind(3, **options).fit(X + 0.5, **given)
    whole = KINDS[kind](3, solver="mu", **options).fit(X + 0.5, **given)
    for each in (model, whole):  # the latter is balanced at the end
        lengths = np.linalg.norm(each.components_, axis=1)
        each.components_, each.W_ = each.components_ / lengths[:, None], each.W_ * lengths
    for name in ("components_", "W_", "normalized_loss_", "reconstruction_err_", "shifts_"):
        if hasattr(whole, name):
            np.testing.assert_allclose(getattr(model, name), getattr(whole, name), rtol=1e-8, err_msg=name)
    np.testing.assert_allclose(model.history_["objective"], whole.history_["objective"][1:], rtol=1e-9)
    again = kind(3, forget_factor=0, **options).fit(X + 0.5, **given)  # nothing but the present batch counts
    found = again.components_ / np.linalg.norm(again.components_, axis=1)[:, None]
    np.testing.assert_allclose(found, whole.components_, rtol=1e-8)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("options", [KL, {"beta_loss": 0.5}, {"missing_values": "zeros"}], ids=str)
@every_kind
def test_fit_ends_where_the_model_of_all_rows_ends(kind, options, form):
    plain = {"random_state": 4, "tol": 0, "max_iter": 80, **options}
    few = kind(3, batch_size=20, **plain).fit(form(X), **of_strata(kind))
    many = KINDS[kind](3, solver="mu", **plain).fit(X, **of_strata(kind))
    assert few.normalized_loss_ <= 1.03 * many.normalized_loss_
    objective = few.history_["objective"]
    held = np.flatnonzero(objective[1:] > 0.99 * objective[:-1])[0] + 1
    assert (np.diff(objective[held:]) <= 1e-10 * objective[0]).all() and held < 100
    if options == KL:
        assert objective[-1] == pytest.approx(divergence_of(X, few.inverse_transform(few.W_, **of_strata(kind)), 1))


@every_kind
def test_penalties_are_those_of_the_objective(kind):
    nets, options = {"alpha_W": 0.02, "alpha_H": 0.01, "l1_ratio": 0.4}, {"random_state": 0, "tol": 0, "max_iter": 60}
    model = kind(3, batch_size=30, **nets, **options, **KL).fit(X, **of_strata(kind))

    def penalised(model):
        each = ((model.W_, 0.02, 12), (model.components_, 0.01, 90))
        own = sum(alpha * times * (0.4 * F.sum() + 0.3 * np.square(F).sum()) for F, alpha, times in each)
        V = model.shifts_[CODES] if of_strata(kind) else 0
        return divergence_of(X, V + model.W_ @ model.components_, 1) + own

    objective = model.history_["objective"]
    assert objective[-1] == pytest.approx(penalised(model))
    assert (np.diff(objective[20:]) <= 1e-10 * objective[0]).all()
    plain = kind(3, batch_size=30, **options, **KL).fit(X, **of_strata(kind))
    assert penalised(model) < 0.999 * penalised(plain)


# ---------------------------------------------------------------- weights of rows, restarts, forgetting


@pytest.mark.parametrize("options", [{}, {"alpha_W": 0.02, "l1_ratio": 0.5}, KL, {"beta_loss": 1.5}], ids=str)
@every_kind
def test_a_row_of_weight_two_is_two_rows(kind, options):
    count = 1 + np.arange(90) % 3
    weighted, repeated = (kind(3, random_state=0, max_iter=4, tol=0, **options) for _ in range(2))
    twice = np.repeat(np.arange(90), count)
    for lo in (0, 45):
        rows = slice(lo, lo + 45)
        own = twice[(twice >= lo) & (twice < lo + 45)]
        weighted.partial_fit(X[rows], sample_weight=count[rows], **of_strata(kind, rows))
        repeated.partial_fit(X[own], **of_strata(kind, own))
    np.testing.assert_allclose(weighted.components_, repeated.components_, rtol=1e-7)
    assert weighted.normalized_loss_ == pytest.approx(repeated.normalized_loss_)
    assert weighted._statistics.penalty == pytest.approx(repeated._statistics.penalty)
    assert weighted._statistics.n_rows == repeated._statistics.n_rows == count.sum()
    weighted.fit(X, sample_weight=count, **of_strata(kind))
    repeated.fit(X[twice], **of_strata(kind, twice))
    np.testing.assert_allclose(weighted.components_, repeated.components_, rtol=1e-7)
    np.testing.assert_allclose(weighted.W_[twice], repeated.W_, rtol=1e-6, atol=1e-9)
    assert weighted.history_["objective"] == pytest.approx(repeated.history_["objective"])


@every_kind
def test_weights_stay_with_their_rows_in_several_batches(kind):
    weight = np.where(CODES == 1, 0.0, 1.0 + np.arange(90) / 30)
    model = kind(3, batch_size=25, random_state=1, max_iter=200, tol=0).fit(X, sample_weight=weight, **of_strata(kind))
    model_of = model.inverse_transform(model.W_, **of_strata(kind))
    error = np.sqrt(weight @ np.square(X - model_of).sum(axis=1))
    assert model.reconstruction_err_ == pytest.approx(error) and not model.W_[weight == 0].any()
    whole = KINDS[kind](3, random_state=1, max_iter=400, tol=0).fit(X, sample_weight=weight, **of_strata(kind))
    assert error <= 1.02 * whole.reconstruction_err_


@pytest.mark.parametrize("options", [{}, KL, {"missing_values": "nan"}], ids=str)
@every_kind
def test_fresh_restarts_make_fit_what_transform_and_partial_fit_are(kind, options):
    plain = {"random_state": 0, "init": "custom", "fresh_restarts_max_iter": 6, "forget_factor": 0.5, **options}
    data = X + 0.5 if "missing_values" not in options else np.where(RNG.random(X.shape) < 0.1, np.nan, X + 0.5)
    model = kind(3, batch_size=30, max_iter=2, tol=0, fresh_restarts=True, transform_max_iter=9, **plain)
    W = model.fit_transform(data, **start_of(kind), **of_strata(kind))
    np.testing.assert_allclose(model.transform(data, **of_strata(kind)), W, rtol=1e-7, atol=1e-12)
    stream = kind(3, **plain).set_params(forget_factor=0.5 ** (1 / 3))  # half of it is forgotten in a pass of three
    start = start_of(kind)
    del start["W"]
    for first in (0, 1, 2) * 2:
        stream.partial_fit(data[first::3], **start, **of_strata(kind, slice(first, None, 3)))
    units = [H / np.linalg.norm(H, axis=1)[:, None] for H in (stream.components_, model.components_)]  # one is balanced
    np.testing.assert_allclose(*units, rtol=1e-6, atol=1e-12)
    assert model.n_steps_ == stream.n_steps_ == 6


# ---------------------------------------------------------------- what appears later in a stream


@every_kind
@pytest.mark.parametrize("options", [KL, {"beta_loss": 1.5}, {"missing_values": "nan"}], ids=str)
def test_columns_and_strata_that_appear_later_are_learned(kind, options):
    """The first batches lack the last columns, in which no update could leave a zero, and the stratum 2."""
    data, early = X.copy(), np.flatnonzero(CODES < 2)[:30]
    data[early, 8:] = 0
    order = np.concatenate([early, np.setdiff1d(np.arange(90), early)])
    model = kind(3, random_state=0, **options)
    for lo in range(0, 90, 15):
        rows = order[lo : lo + 15]
        model.partial_fit(data[rows], **of_strata(kind, rows))
        if lo < 30:
            assert not model.components_[:, 8:].any()
    assert (model.components_[:, 8:].sum(axis=0) > 0).all()
    late = order[30:]
    assert model.score(data[late], **of_strata(kind, late)) > 0.5 * KINDS[kind](
        3, random_state=0, solver="mu"
    ).set_params(**options).fit(data[late], **of_strata(kind, late)).score(data[late], **of_strata(kind, late))


def test_a_shift_counts_all_rows_of_its_stratum():
    """The denominator of a shift counts rows that came before its column had an entry."""
    start = {"H": np.full((1, 3), 1e-9), "V": np.ones((2, 3))}
    model = MiniBatchStratifiedNMF(1, init="custom", **KL)
    first = np.array([[4.0, 0, 1], [2, 0, 1], [1, 3, 1]])
    model.partial_fit(first, strata=["a", "a", "b"], **start)
    model.partial_fit(np.array([[6.0, 6, 1]]), strata=["a"])
    statistics = model._statistics
    pairs = list(zip(statistics.pattern.column.tolist(), statistics.pair_stratum.tolist(), strict=True))
    counts = dict(zip(pairs, statistics.shift_denominators.tolist(), strict=True))
    assert counts[1, 0] == counts[0, 0] == 3 and counts[0, 1] == 1 and statistics.sizes.tolist() == [3, 1]


@every_kind
def test_zeros_come_first_and_scales_do_not_matter(kind):
    for factor in (1.0, 1e100, 1e-100):
        model = kind(3, random_state=0, beta_loss=1.5).partial_fit(0 * X[:20], **of_strata(kind, slice(0, 20)))
        assert model.normalized_loss_ == 0
        for rows in (slice(20, 50), slice(50, 90)):
            model.partial_fit(factor * X[rows], **of_strata(kind, rows))
        assert np.isfinite(model.components_).all() and model._statistics.n_rows == 90
        assert model.normalized_loss_ < 0.8


@pytest.mark.parametrize("options", [KL, {"missing_values": "zeros"}], ids=str)
@every_kind
def test_penalties_that_make_all_zero_leave_finite_numbers(kind, options):
    model = kind(2, random_state=0, alpha_W=1e3, l1_ratio=1.0, forget_factor=0, **options)
    for rows in (slice(0, 30), slice(30, 60), slice(60, 90)):
        model.partial_fit(X[rows], **of_strata(kind, rows))
        assert np.isfinite(model.components_).all() and np.isfinite(model.reconstruction_err_)
    if options != KL:  # their updates hold entries at a floor
        assert not model.components_.any()


@every_kind
def test_sums_follow_the_scale_of_the_largest_batch(kind):
    """Numbers above 2 ** 160 are held in a scale of their own, to which the sums of the batches before are brought."""
    for options in (KL, {"beta_loss": 1.5}, {"missing_values": "zeros"}):
        models = [kind(3, random_state=0, **options) for _ in range(2)]
        for model, unit in zip(models, (1.0, 2.0**155), strict=True):
            for rows, factor in ((slice(0, 45), 1 / 64), (slice(45, 90), 8)):
                model.partial_fit(unit * factor * X[rows], **of_strata(kind, rows))
        one, two = models
        np.testing.assert_allclose(two.components_ / 2.0**155, one.components_, rtol=1e-6, atol=1e-9)
        assert two.normalized_loss_ == pytest.approx(one.normalized_loss_, rel=1e-6)
        assert two._statistics.log4_scale < 0


def test_denominators_count_rows_before_the_first_entry_of_a_column():
    first, later = np.ones((6, 3)), np.ones((2, 3))
    first[:, 2] = 0
    model = MiniBatchNMF(1, random_state=0, beta_loss=1.5).partial_fit(first).partial_fit(later)
    counts = model._statistics.denominators[:, 0]
    assert counts[2] == pytest.approx(counts[0], rel=0.3)


@every_kind
def test_what_was_forgotten_leaves_no_zero(kind):
    """After 200 batches the numerators of a column that stays away are below the least number, and it can come back."""
    data = X.copy()
    model = kind(2, random_state=0, forget_factor=0.01, fresh_restarts_max_iter=2, **KL)
    model.partial_fit(data, **of_strata(kind))
    data[:, 6:] = 0
    for _ in range(200):
        model.partial_fit(data[:2], **of_strata(kind, slice(0, 2)))
    model.partial_fit(X, **of_strata(kind))
    assert np.isfinite(model.components_).all() and (model.components_[:, 6:].sum(axis=0) > 0).all()
    if of_strata(kind):  # the strata of the last rows have stayed away
        assert model.shifts_[1, 3:6].min() > 0.1


# ---------------------------------------------------------------- what is promised of all fits


@every_kind
def test_a_saved_stream_goes_on_with_the_same_bits(kind, tmp_path):
    model = kind(3, random_state=0, forget_factor=0.9, beta_loss=0.5, alpha_W=0.01)
    for at, rows in enumerate((slice(0, 30), slice(30, 60), slice(60, 90))):
        if at == 1:
            model.save(tmp_path / "model")
            other = load(tmp_path / "model")
        for each in (model, other) if at else (model,):
            each.partial_fit(X[rows] + 0.1 * at, **of_strata(kind, rows))
    np.testing.assert_array_equal(other.components_, model.components_)
    assert copy.deepcopy(model)._statistics.value == other._statistics.value > 0


@pytest.mark.parametrize(
    "options, form",
    [
        (KL, np.asarray),
        (KL, sp.csr_array),
        ({"beta_loss": 1.5}, sp.csr_array),
        ({"missing_values": "zeros"}, sp.csr_array),
    ],
)
def test_threads_change_no_bit(options, form):
    data = sp.random_array((3000, 600), density=0.05, rng=np.random.default_rng(3), format="csr")
    strata, one_and_two = np.arange(3000) % 7, []
    for n_threads in (1, 2):
        model = MiniBatchStratifiedNMF(5, random_state=0, max_iter=2, tol=0, n_threads=n_threads, **options)
        one_and_two.append(model.fit(form(data.toarray()), strata=strata))
    for name in ("components_", "shifts_", "W_"):
        np.testing.assert_array_equal(*(getattr(model, name) for model in one_and_two))


@pytest.mark.parametrize("options", [KL, {"missing_values": "zeros"}], ids=str)
def test_many_batches_need_no_more_memory_than_few(options):
    data = sp.random_array((1500, 1500), density=0.01, rng=np.random.default_rng(0), format="csr")

    def peak(batch_size):
        model = MiniBatchNMF(5, batch_size=batch_size, max_iter=2, tol=0, random_state=0, **options)
        model.fit(data[:200])  # compiled and cached things are not what is measured
        tracemalloc.start()
        model.fit(data)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few, many = peak(750), peak(30)
    assert many < few + 48 * 1500 * 8 * 8 * 0.6  # less than a padded H a batch
    assert many < 1500 * 1500 * 8 / 2  # half of dense X


def test_a_callback_sees_the_model_whose_loss_it_is_told():
    seen = []
    look = lambda state: seen.append((state.normalized_loss, divergence_of(X, state.W @ state.H, 1)))  # noqa: E731
    model = MiniBatchNMF(3, batch_size=20, random_state=0, max_iter=3, tol=0, callback=look, **KL).fit(X)
    told, real = np.array(seen).T
    np.testing.assert_allclose(real, model.history_["objective"])
    np.testing.assert_allclose(told / told[0], np.sqrt(real / real[0]))


class Own(Divergence):
    """A divergence of a user."""

    def build(self, data, width, tasks, **more):
        raise AssertionError("it is refused before")


REFUSED = [
    ({"beta_loss": Own()}, {}, "is a divergence of your own, but batches accept only a name or a number"),
    ({"beta_loss": 0}, {}, "needs data without zeros"),
    ({"beta_loss": "itakura-saito"}, {"sample_weight": np.arange(90.0)}, "rows cannot be weighted"),
    ({}, {"sample_weight": -np.ones(90)}, "negative or non-finite weights"),
    ({"init": "custom"}, {}, "init='custom' needs a start: pass W, H"),
    ({"missing_values": "zeros", **KL}, {}, "missing_values need the squared error"),
    ({"fresh_restarts": 1}, {}, "fresh_restarts=1 is not valid; expected True or False"),
    ({"transform_max_iter": 0}, {}, "transform_max_iter=0 is not valid"),
    ({"max_no_improvement": 0}, {}, "max_no_improvement=0 is not valid"),
    ({"n_components": "all"}, {}, "n_components='all' is not known"),
]


@pytest.mark.parametrize("parameters, given, message", REFUSED)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_calls_get_one_sentence(parameters, given, message, method):
    with pytest.raises(ValueError, match=message):
        getattr(MiniBatchNMF(**({"n_components": 3} | parameters)), method)(X, **given)


def test_the_interface_of_scikit_learn():
    start = start_of(MiniBatchNMF)
    W, H = start["W"], start["H"]
    for rank in ("auto", 3):
        model = MiniBatchNMF(rank, init="custom", max_iter=2)
        np.testing.assert_array_equal(model.fit_transform(X, None, W, H), model.fit(X, W=W, H=H).W_)
        assert model.n_components_ == 3 and MiniBatchNMF(rank, init="custom").partial_fit(X, H=H).n_components_ == 3
    assert MiniBatchNMF(None, max_iter=1).fit(X).n_components_ == 12
    with pytest.warns(RuntimeWarning, match="provided W or H are ignored"):
        MiniBatchNMF(3, max_iter=1).fit(X, W=W, H=H)
    endless = MiniBatchNMF(3, max_iter=30, tol=0.5, max_no_improvement=None).fit(X)
    assert endless.n_iter_ == 30 and MiniBatchNMF(3, max_iter=30, tol=0.5).fit(X).n_iter_ < 30


def test_other_defaults_are_told_once_to_who_comes_from_scikit_learn():
    for parameters in ({"init": "nndsvda"}, {"fresh_restarts": True}, {"max_no_improvement": None}):
        warn._SAID.clear()
        init = "" if "init" in parameters else r", init='features' \(None there\)"
        with pytest.warns(UserWarning, match=r"has different defaults: forget_factor=1.0 \(0.7 there\)" + init + ";"):
            MiniBatchNMF(3, max_iter=1, **parameters).fit(X)
        for quiet in ({}, parameters, {"forget_factor": 0.7, **parameters}, KL):  # once, or where nothing is meant
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                MiniBatchNMF(3, max_iter=1, tol=0, **quiet).fit(X)
            assert not [each for each in caught if "forget_factor" in str(each.message)]


def test_a_stream_keeps_its_loss():
    model = MiniBatchNMF(3, random_state=0, **KL).partial_fit(X)
    for other in ({"beta_loss": "frobenius"}, {"beta_loss": 0.5}, {"beta_loss": "frobenius", "missing_values": "nan"}):
        with pytest.raises(ValueError, match="need statistics of the earlier rows"):
            copy.deepcopy(model).set_params(**other).partial_fit(X)


@pytest.mark.parametrize("options", [{"fresh_restarts": True}, {}], ids=str)
@every_kind
def test_sums_of_the_squared_error_are_those_of_the_last_weights(kind, options):
    """From a start that brings W, and where the weights of rows that are visited again are solved for anew."""
    seen, nets = [], {"alpha_W": 0.01, "l1_ratio": 1.0}
    plain = {
        "init": "custom",
        "batch_size": 30,
        "max_iter": 3,
        "tol": 0,
        "callback": lambda state: seen.append(state.W),
    }
    model = kind(3, **plain, **nets, **options).fit(X, **start_of(kind), **of_strata(kind))
    statistics, W = model._statistics, seen[-1]
    np.testing.assert_allclose(statistics.N[:, :3], X.T @ W, rtol=1e-9)
    np.testing.assert_allclose(statistics.G[:3, :3], W.T @ W, rtol=1e-9)
    assert statistics.total_W[0] == pytest.approx(W.sum())
    other = kind(3, **plain, **nets, fresh_restarts=not options).fit(X, **start_of(kind), **of_strata(kind))
    assert not np.allclose(other.components_, model.components_, rtol=1e-3)


@pytest.mark.parametrize("options", [{}, KL, {"beta_loss": 3}], ids=str)
@every_kind
def test_a_start_that_is_the_solution_stays(kind, options):
    """Each batch begins with its rows of W."""
    start = start_of(kind)
    data = start["W"] @ start["H"] + (start["V"][CODES] if of_strata(kind) else 0)
    model = kind(3, init="custom", batch_size=25, max_iter=1, tol=0, **options).fit(data, **start, **of_strata(kind))
    assert model.normalized_loss_ < 1e-6


def test_transform_makes_as_many_updates_as_it_is_told():
    model = MiniBatchNMF(3, random_state=0, max_iter=3, beta_loss=1.5).fit(X)
    H, V, W = model.components_, np.zeros((1, 12)), evenly(X, model.components_)
    for n_updates in (1, 2, 3):
        W = oracles.beta_mu(X, np.zeros(90, int), V, W, H, 1.5, ("W",))[1]
        found = model.set_params(transform_max_iter=n_updates if n_updates < 3 else None).transform(X)
        np.testing.assert_allclose(found, W, rtol=1e-9)


@every_kind
def test_weights_stay_when_a_batch_is_brought_to_the_scale_of_another(kind):
    weighted, repeated = kind(3, random_state=0), kind(3, random_state=0)
    for first, factor in ((0, 1e160), (1, 1e150)):
        rows = np.arange(first, 90, 2)
        count, twice = 1 + rows % 3, np.repeat(rows, 1 + rows % 3)
        weighted.partial_fit(factor * X[rows], sample_weight=count, **of_strata(kind, rows))
        repeated.partial_fit(factor * X[twice], **of_strata(kind, twice))
    np.testing.assert_allclose(weighted.components_, repeated.components_, rtol=1e-7)
    assert weighted._statistics.n_rows == repeated._statistics.n_rows
    np.testing.assert_allclose(weighted._statistics.G, repeated._statistics.G, rtol=1e-7)
