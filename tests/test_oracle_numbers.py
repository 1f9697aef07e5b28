"""Fixed-seed numbers of Stratified-NMF: the paper's data, start and updates, to nine digits.

The expected values (`tests/data/stratified.json`) come from an independent program in plain NumPy. The
tolerances are absolute ones on a normalized loss: 1e-9 leaves room for sums taken in another order, amplified
over 100 iterations (1e-13 is what is seen); newsgroups has 1.1 million terms in a sum, hence 1e-8; 10,000
iterations amplify further, hence 1e-6 relative there.
"""

import os
from functools import cache

import numpy as np
import oracle_data
import oracles
import pytest
from scipy import sparse

from fastnmf import StratifiedNMF, metrics, stratified_nmf

ORDERS = ("sequential", "simultaneous")
EXPERIMENTS = oracle_data.expected()["experiments"]
TOLERANCES = oracle_data.expected()["tolerances"]
SMALL = [
    (name, order, seed)
    for name in ("tiny", "synthetic", "housing", "mnist_t10k")
    for order in ORDERS
    for seed in range(3)
]

# tol=0 asks for a fixed number of iterations, so that reaching max_iter is what we want
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def blocks_or_skip(name):
    """Build a data set, or skip the test with the reason."""
    if os.environ.get("NUMBA_DISABLE_JIT") == "1" and name != "tiny":
        pytest.skip("too slow without the JIT")
    blocks = oracle_data.BUILDERS[name]()
    if blocks is None:
        pytest.skip(oracle_data.ABSENT.format(name=name))
    return blocks


@cache
def stacked(name):
    """Stack the blocks of a data set into X and one label a row."""
    blocks = blocks_or_skip(name)
    labels = np.repeat(np.arange(len(blocks)), [a.shape[0] for a in blocks])
    return (sparse.vstack(blocks, format="csr") if sparse.issparse(blocks[0]) else np.vstack(blocks)), labels


def fit(name, seed, max_iter, solver="mu", **options):
    """Fit from the paper's start for exactly max_iter iterations; return (estimator, W of shape (m, r))."""
    X, labels = stacked(name)
    rank = EXPERIMENTS[name]["rank"]
    V, W, H = oracles.random_start(blocks_or_skip(name), rank, seed)
    model = StratifiedNMF(rank, solver=solver, init="custom", max_iter=max_iter, tol=0, **options)
    return model, model.fit_transform(X, strata=labels, W=np.vstack(W), H=H, V=V)


@cache
def mu_fit(name, order, seed):
    """Fit by multiplicative updates as often as the experiment says; several tests share the result."""
    return fit(name, seed, EXPERIMENTS[name]["iterations"], update_order=order)


def check_losses(losses, run, rtol=0.0, atol=0.0):
    """Compare losses[k] with the expected loss after k iterations, at every mark."""
    expected = run["loss"]
    marks = [int(k) for k in expected]
    np.testing.assert_allclose(np.asarray(losses)[marks], list(expected.values()), rtol=rtol, atol=atol)


# ---------------------------------------------------------------- the oracle and the data themselves


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["tiny", "synthetic", "housing"])
def test_plain_loops_give_the_expected_losses(name, order):
    blocks = blocks_or_skip(name)
    start = oracles.random_start(blocks, EXPERIMENTS[name]["rank"], 0)
    losses, _ = oracles.losses(blocks, start, 100, order=order)
    check_losses(losses, EXPERIMENTS[name]["runs"][f"{order}:0"], atol=1e-12)


@pytest.mark.parametrize("name", ["tiny", "synthetic", "housing", "mnist_t10k", "newsgroups"])
def test_data_are_those_of_the_expected_numbers(name):
    blocks, facts = blocks_or_skip(name), EXPERIMENTS[name]["data"]
    assert [list(a.shape) for a in blocks] == facts["shapes"]
    assert sum(int((a != 0).sum()) for a in blocks) == facts["nnz"]
    assert oracles.squared_norm(blocks) ** 0.5 == pytest.approx(facts["frob"], rel=1e-12)
    assert sum(float(a.sum()) for a in blocks) == pytest.approx(facts["sum"], rel=1e-12)


# ---------------------------------------------------------------- multiplicative updates


@pytest.mark.parametrize(("name", "order", "seed"), SMALL)
def test_mu_losses_small(name, order, seed):
    model, _ = mu_fit(name, order, seed)
    run = EXPERIMENTS[name]["runs"][f"{order}:{seed}"]
    check_losses(model.history_["normalized_loss"], run, atol=TOLERANCES[name])
    assert model.n_iter_ == 100


@pytest.mark.parametrize(("order", "seed"), [(order, seed) for order in ORDERS for seed in range(3)])
def test_mu_losses_newsgroups(order, seed):
    model, _ = mu_fit("newsgroups", order, seed)
    run = EXPERIMENTS["newsgroups"]["runs"][f"{order}:{seed}"]
    check_losses(model.history_["normalized_loss"], run, atol=TOLERANCES["newsgroups"])


@pytest.mark.parametrize("order", ORDERS)
def test_mu_losses_over_ten_thousand_iterations(order):
    model, _ = mu_fit("synthetic_10000", order, 0)
    run = EXPERIMENTS["synthetic_10000"]["runs"][f"{order}:0"]
    check_losses(model.history_["normalized_loss"], run, rtol=TOLERANCES["synthetic_10000_relative"])
    np.testing.assert_allclose(model.shifts_.mean(axis=1), run["v_mean"], rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "order", "seed"), SMALL + [("newsgroups", order, seed) for order in ORDERS for seed in range(3)]
)
def test_final_loss_recomputed_from_the_factors(name, order, seed):
    model, W = mu_fit(name, order, seed)
    X, labels = stacked(name)
    loss = metrics.normalized_loss(X, W, model.components_, model.shifts_, labels)
    expected = EXPERIMENTS[name]["runs"][f"{order}:{seed}"]["loss"]["100"]
    assert loss == pytest.approx(expected, rel=0, abs=TOLERANCES[name])
    assert model.normalized_loss_ == pytest.approx(loss, rel=1e-9)


@pytest.mark.parametrize(("name", "order", "seed"), SMALL)
def test_shift_means(name, order, seed):
    # factors move along flat directions of the loss, so they agree to fewer digits than it does
    model, _ = mu_fit(name, order, seed)
    expected = EXPERIMENTS[name]["runs"][f"{order}:{seed}"]["v_mean"]
    np.testing.assert_allclose(model.shifts_.mean(axis=1), expected, rtol=1e-7)


@pytest.mark.parametrize("order", ORDERS)
def test_all_factors_on_tiny_data(order):
    model, W = mu_fit("tiny", order, 0)
    run = EXPERIMENTS["tiny"]["runs"][f"{order}:0"]
    np.testing.assert_allclose(model.shifts_, run["V"], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(model.components_, run["H"], rtol=1e-8, atol=1e-12)
    blocks = oracle_data.tiny()
    _, (_, expected, _) = oracles.losses(blocks, oracles.random_start(blocks, 3, 0), 100, order=order)
    np.testing.assert_allclose(W, np.vstack(expected), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_housing_bar_chart(order):
    # Fig. 3 of the paper: v(i)_j / sum_i v(i)_j, one row a variable (the sixth, AveOccup, is not shown)
    model, _ = mu_fit("housing", order, 0)
    chart = (model.shifts_ / model.shifts_.sum(axis=0)).T[:5]
    np.testing.assert_allclose(chart, EXPERIMENTS["housing"]["runs"][f"{order}:0"]["barchart"], atol=5e-8)


@pytest.mark.parametrize("name", ["tiny", "newsgroups"])
def test_sequential_order_never_raises_the_loss(name):
    for seed in range(3):
        losses = mu_fit(name, "sequential", seed)[0].history_["normalized_loss"]
        assert np.max(np.diff(losses)) <= 1e-12, f"seed {seed}"


# ---------------------------------------------------------------- the published words


def overlap(ours, published, k):
    """Average over the strata the share of the published top k words that are among our top k."""
    return np.mean([len(set(a[:k]) & set(b[:k])) / k for a, b in zip(ours, published, strict=True)])


@pytest.mark.parametrize("order", ORDERS)
def test_top_words_of_newsgroups_are_the_published_ones(order):
    blocks_or_skip("newsgroups")
    words = oracle_data.newsgroups_words()[1]
    published = oracle_data.published_top_words()
    top = [
        [[words[j] for j in np.argsort(-v, kind="stable")[:30]] for v in mu_fit("newsgroups", order, seed)[0].shifts_]
        for seed in range(3)
    ]
    # two of our own runs with different seeds overlap by 0.87 (@10) and 0.88 (@30); column means by 0.56 and
    # 0.545
    assert np.mean([overlap(t, published, 10) for t in top]) >= 0.80
    assert np.mean([overlap(t, published, 30) for t in top]) >= 0.83


# ---------------------------------------------------------------- exact coordinate descent


@pytest.mark.parametrize("seed", range(3))
def test_hals_overtakes_a_hundred_mu_iterations_in_thirty(seed):
    model, _ = fit("newsgroups", seed, 30, solver="hals", extrapolate=False)
    losses = model.history_["normalized_loss"]
    assert np.min(losses) <= EXPERIMENTS["newsgroups"]["runs"][f"simultaneous:{seed}"]["loss"]["100"]
    assert np.max(np.diff(losses)) <= 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_hals_reaches_a_stationary_point_of_tiny_data(seed):
    model, W = fit("tiny", seed, 2000, solver="hals", extrapolate=False)
    blocks = oracle_data.tiny()
    split = np.split(W, np.cumsum([len(a) for a in blocks])[:-1])
    assert oracles.natural_residual(blocks, model.shifts_, split, model.components_) < 1e-9
    # near the optimum the loss cannot fall below rounding, so it may rise by a few units of it
    assert np.max(np.diff(model.history_["normalized_loss"])) <= 1e-14


def test_every_block_step_of_the_reference_descent_is_monotone():
    blocks = oracle_data.tiny()
    V, W, H = oracles.random_start(blocks, 3, 0)
    value = oracles.objective(blocks, V, W, H)
    for _ in range(200):
        for block in ("V", "W", "H"):
            if block == "V":
                V = oracles.exact_shift(blocks, V, W, H)
            elif block == "W":
                W = oracles.hals_left(blocks, V, W, H)
            else:
                H = oracles.hals_right(blocks, V, W, H)
            previous, value = value, oracles.objective(blocks, V, W, H)
            assert value <= previous * (1 + 1e-13)


# ---------------------------------------------------------------- the drop-in function


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["tiny", "housing", "newsgroups"])
def test_drop_in_function_gives_the_same_numbers(name, order):
    blocks = blocks_or_skip(name)
    run = EXPERIMENTS[name]["runs"][f"{order}:1"]
    V, W, H, losses = stratified_nmf(blocks, EXPERIMENTS[name]["rank"], 100, update_order=order, random_state=1)
    assert len(losses) == 101
    check_losses(losses, run, atol=TOLERANCES[name])
    assert V.shape == (len(blocks), blocks[0].shape[1])
    assert [w.shape[0] for w in W] == [a.shape[0] for a in blocks]
    assert H.shape == (EXPERIMENTS[name]["rank"], blocks[0].shape[1])


@pytest.mark.parametrize("v_scaling", [1, 3])
def test_drop_in_function_repeats_the_shift_updates(v_scaling):
    blocks = oracle_data.tiny()
    V, W, H, losses = stratified_nmf(blocks, 3, 20, v_scaling, random_state=5)
    expected, (v, w, h) = oracles.losses(
        blocks, oracles.random_start(blocks, 3, 5), 20, order="simultaneous", n_shift_updates=v_scaling
    )
    np.testing.assert_allclose(losses, expected, atol=1e-11)
    for ours, theirs in ((V, v), (np.vstack(W), np.vstack(w)), (H, h)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-12)
