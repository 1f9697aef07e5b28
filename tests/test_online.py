"""Models that are fitted a batch at a time: statistics, forgetting, strata that appear later, blocks, data on disk."""

import pickle
import tracemalloc

import numpy as np
import oracles
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastnmf import NMF, MiniBatchNMF, MiniBatchStratifiedNMF, StratifiedNMF
from fastnmf.core import batches as online
from fastnmf.data.ondisk import open_csr, save_csr
from fastnmf.data.strata import Strata

LABELS = np.array(["a", "b", "c"])


STRATIFIED = (MiniBatchStratifiedNMF, StratifiedNMF)
PLAIN = (MiniBatchNMF, NMF)


def planted(n_rows=120, n_columns=15, noise=0.05, seed=0, rank=3, shift=1.0):
    """Three strata with shifts on columns of their own, a third of the entries zero."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, n_rows)
    V = np.zeros((3, n_columns))
    V[0, :3], V[1, 3:6], V[2, 6:9] = 2, 3, 4
    W, H = rng.random((n_rows, rank)), rng.random((rank, n_columns)) * (rng.random((rank, n_columns)) < 0.5)
    X = W @ H + shift * V[codes] + noise * rng.random((n_rows, n_columns))
    return X * (rng.random(X.shape) < 0.8), LABELS[codes]


def learn(model, X, strata, n_batches=4, **more):
    """Call partial_fit for consecutive batches."""
    for rows in np.array_split(np.arange(X.shape[0]), n_batches):
        labels = {"strata": strata[rows]} if isinstance(model, STRATIFIED) else {}
        model.partial_fit(X[rows], **labels, **more)
    return model


def visited(X, strata, forget=1.0, n_batches=4, n_passes=1, rank=3):
    """Return statistics that have seen consecutive batches, and the batches with the weights of their last visits."""
    parts = [Strata.from_array(X[rows], strata[rows]) for rows in np.array_split(np.arange(len(X)), n_batches)]
    batches = [online.Batch(part) for part in parts]
    rng = np.random.default_rng(0)
    v, H = rng.random(len(parts[0].pattern.group)), rng.random((X.shape[1], rank))
    statistics = online.StrataStatistics(rank, forget_factor=forget).start(parts[0], H, v)
    for _ in range(n_passes):
        for batch in batches:
            statistics.visit(batch)
    return statistics, batches


def at_once(X, strata, W, weight):
    """Return the statistics of rows with weights, computed in one go: N, G, sums, sizes, column sums, squared norm."""
    member = (strata[:, None] == np.unique(strata)).T * weight
    return (
        (X.T * weight) @ W,
        (W.T * weight) @ W,
        member @ W,
        member.sum(axis=1),
        member @ X,
        weight @ (X**2).sum(axis=1),
    )


def assert_statistics(statistics, expected, rtol):
    k, columns = statistics.rank, statistics.columns.toarray().T
    found = statistics.N[:, :k], statistics.G[:k, :k], statistics.sums[:, :k], statistics.sizes, columns
    found += (statistics.sq_norm,)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("n_passes", [1, 3])
def test_statistics_are_those_of_all_rows_at_their_last_weights(n_passes):
    X, strata = planted()
    statistics, batches = visited(X, strata, n_passes=n_passes)
    W = np.concatenate([batch.W[:, :3] for batch in batches])
    assert_statistics(statistics, at_once(X, strata, W, np.ones(len(X))), 1e-12)


def test_the_value_is_the_objective():
    X, strata = planted()
    statistics, batches = visited(X, strata, n_passes=2)
    W = np.concatenate([batch.W[:, :3] for batch in batches])
    blocks = [X[strata == s] for s in LABELS]
    direct = oracles.squared_loss(
        blocks, statistics.shifts(), [W[strata == s] for s in LABELS], statistics.components()
    )
    assert statistics.value == pytest.approx(direct, rel=1e-9)
    assert online.residual(statistics, batches) == pytest.approx(direct, rel=1e-9)


def test_the_shifts_are_where_the_objective_is_least():
    X, strata = planted()
    statistics, batches = visited(X, strata)
    W = np.concatenate([batch.W[:, :3] for batch in batches])
    blocks = [X[strata == s] for s in LABELS]
    expected = oracles.exact_shift(blocks, None, [W[strata == s] for s in LABELS], statistics.components())
    np.testing.assert_allclose(statistics.shifts(), expected, rtol=1e-9, atol=1e-12)


def test_forgetting_weighs_rows_by_age():
    X, strata = planted()
    statistics, batches = visited(X, strata, forget=0.7)
    W = np.concatenate([batch.W[:, :3] for batch in batches])
    weight = np.repeat(0.7 ** np.arange(3, -1, -1), 30)
    assert_statistics(statistics, at_once(X, strata, W, weight), 1e-12)
    assert statistics.n_rows == pytest.approx(weight.sum())


def test_a_stratum_that_stays_away_keeps_its_shift():
    """After 3000 batches with forget = 0.9 the rest of its statistics would be 1e-137 of what it was."""
    X, strata = planted(60)
    X = X.astype(np.float32)
    model = MiniBatchStratifiedNMF(2, forget_factor=0.9, random_state=0).partial_fit(X, strata=strata)
    kept = strata == "b"
    for _ in range(300):
        model.partial_fit(X[kept][:2], strata=strata[kept][:2])
    a, c = model.shifts_[[0, 2]]
    assert np.isfinite(model.shifts_).all()
    assert a[:3].min() > 0.5 and c[6:9].min() > 0.5


def test_later_strata_get_rows_of_their_own_in_sorted_order():
    X, strata = planted(240, noise=0)
    order = np.argsort(strata == "a", kind="stable")  # "a" comes last and sorts first
    X, strata = X[order], strata[order]
    model = MiniBatchStratifiedNMF(3, random_state=0)
    n_before = int((strata != "a").sum())
    model.partial_fit(X[:n_before], strata=strata[:n_before])
    assert model.strata_.tolist() == ["b", "c"] and model.shifts_.shape == (2, 15)
    model.partial_fit(X[n_before:], strata=strata[n_before:])
    assert model.strata_.tolist() == ["a", "b", "c"]
    statistics = model._statistics
    assert statistics.sizes.tolist() == [(strata == s).sum() for s in LABELS]
    np.testing.assert_allclose(statistics.columns.toarray().T, [X[strata == s].sum(axis=0) for s in LABELS], rtol=1e-12)
    for own, columns in enumerate((slice(0, 3), slice(3, 6), slice(6, 9))):
        assert model.shifts_[own, columns].mean() > 2 * np.delete(model.shifts_, own, axis=0)[:, columns].mean()


def test_the_first_rows_of_a_new_stratum_meet_the_mean_shift():
    X, strata = planted()
    statistics, _ = visited(X[strata != "c"], strata[strata != "c"], n_batches=1)
    H = statistics.components()
    mean = statistics.sizes @ statistics.shifts() / statistics.sizes.sum()
    batch = online.Batch(Strata.from_array(X[strata == "c"], strata[strata == "c"]))
    statistics.visit(batch)
    expected = [oracles.nnls_by_supports(H @ H.T, H @ (x - mean)) for x in X[strata == "c"]]
    np.testing.assert_allclose(batch.W[:, :3], expected, atol=1e-9)


@pytest.mark.parametrize("cls", [*STRATIFIED, *PLAIN])
def test_sparse_is_dense(cls):
    X, strata = planted()
    options = {"random_state": 0}
    dense, sparse = (learn(cls(3, **options), data, strata) for data in (X, sp.csr_array(X)))
    np.testing.assert_allclose(sparse.components_, dense.components_, rtol=1e-7, atol=1e-9)
    assert sparse.normalized_loss_ == pytest.approx(dense.normalized_loss_, rel=1e-9)


@pytest.mark.parametrize("cls", [MiniBatchStratifiedNMF, MiniBatchNMF])
def test_sparse_is_dense_in_fit(cls):
    X, strata = planted()
    labels = {"strata": strata} if cls is MiniBatchStratifiedNMF else {}
    options = {"random_state": 0, "max_iter": 5, "tol": 0, "batch_size": 40}
    dense, sparse = (cls(3, **options).fit(data, **labels) for data in (X, sp.csr_array(X)))
    np.testing.assert_allclose(sparse.W_, dense.W_, rtol=1e-7, atol=1e-9)
    assert sparse.n_steps_ == 15 and sparse.n_iter_ == 5


@pytest.mark.parametrize("as_type", [np.asarray, sp.csr_array])
def test_bits_do_not_depend_on_the_number_of_threads(as_type):
    rng = np.random.default_rng(3)
    X = sp.random_array((6000, 900), density=0.03, rng=rng, format="csr")
    X, strata = as_type(X.toarray()), rng.integers(0, 5, 6000)
    one, two = (
        MiniBatchStratifiedNMF(7, random_state=0, max_iter=2, tol=0, n_threads=n).fit(X, strata=strata) for n in (1, 2)
    )
    np.testing.assert_array_equal(one.components_, two.components_)
    np.testing.assert_array_equal(one.shifts_, two.shifts_)
    np.testing.assert_array_equal(one.W_, two.W_)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("cls", [MiniBatchStratifiedNMF, MiniBatchNMF])
def test_no_pass_of_fit_raises_the_objective(cls, dtype):
    X, strata = planted(200)
    labels = {"strata": strata} if cls is MiniBatchStratifiedNMF else {}
    model = cls(4, batch_size=30, max_iter=40, tol=0, random_state=1).fit(X.astype(dtype), **labels)
    loss = model.history_["normalized_loss"]
    assert len(loss) == 40 and model.components_.dtype == dtype
    assert (np.diff(loss) <= 20 * np.finfo(dtype).eps).all()  # the objective is a sum of terms of size 1
    assert loss[-1] < 0.95 * loss[0]
    direct = X - model.inverse_transform(model.W_, **labels)
    assert model.reconstruction_err_ == pytest.approx(np.linalg.norm(direct), rel=1e-4 if dtype == np.float32 else 1e-9)
    np.testing.assert_array_equal(model.transform(X.astype(dtype), **labels), model.W_)


@pytest.mark.parametrize("batch_size", [None, 16, 50])
def test_fit_ends_where_the_batch_models_end(batch_size):
    options = {"random_state": 0, "max_iter": 300, "tol": 0}
    for ours, theirs, shift in ((MiniBatchStratifiedNMF, StratifiedNMF, 1.0), (MiniBatchNMF, NMF, 0.0)):
        X, strata = planted(300, noise=0.3, shift=shift)
        labels = {"strata": strata} if shift else {}
        few = ours(3, batch_size=batch_size, **options).fit(X, **labels)
        many = theirs(3, **options).fit(X, **labels)
        assert few.normalized_loss_ <= 1.01 * many.normalized_loss_


def test_fit_stops_after_passes_in_vain():
    X, strata = planted()
    model = MiniBatchStratifiedNMF(3, random_state=0, batch_size=40, tol=1e-3, max_no_improvement=3)
    model.fit(X, strata=strata)
    objective = model.history_["normalized_loss"] ** 2
    assert model.converged_ and model.stopped_by_ == "tol" and 3 < model.n_iter_ < 200
    assert (objective[-4:-2] * (1 - 1.1e-3) <= objective[-3:-1]).all()
    with pytest.warns(ConvergenceWarning, match="max_iter=2 passes"):
        model.set_params(max_iter=2).fit(X, strata=strata)


def test_fit_with_forgetting_still_fits():
    X, strata = planted(300)
    options = {"random_state": 0, "batch_size": 50, "max_iter": 30, "tol": 0}
    forgetful = MiniBatchStratifiedNMF(3, forget_factor=0.8, **options).fit(X, strata=strata)
    exact = MiniBatchStratifiedNMF(3, **options).fit(X, strata=strata)
    assert forgetful.normalized_loss_ < 1.1 * exact.normalized_loss_
    residual = X - forgetful.inverse_transform(forgetful.W_, strata=strata)
    assert forgetful.reconstruction_err_ == pytest.approx(np.linalg.norm(residual), rel=1e-9)


def test_blocks_from_memory_and_disk_are_partial_fits(tmp_path):
    X, strata = planted(130)
    X = sp.csr_array(X)
    on_disk = save_csr(X, tmp_path / "matrix")
    pairs = [(X[lo : lo + 50], strata[lo : lo + 50]) for lo in (0, 50, 100)]
    stepwise = MiniBatchStratifiedNMF(3, random_state=0)
    for block, labels in pairs:
        stepwise.partial_fit(block, strata=labels)
    for blocks in (pairs, iter(pairs), lambda: iter(pairs), on_disk.blocks(50, strata)):
        model = MiniBatchStratifiedNMF(3, random_state=0).fit_blocks(blocks)
        np.testing.assert_array_equal(model.components_, stepwise.components_)
        np.testing.assert_array_equal(model.shifts_, stepwise.shifts_)
        assert model.n_steps_ == 3 and model.n_iter_ == 1 and not hasattr(model, "W_")
    plain = MiniBatchNMF(3, random_state=0).fit_blocks(on_disk.blocks(50))
    again = MiniBatchNMF(3, random_state=0)
    for block, _ in pairs:
        again.partial_fit(block)
    np.testing.assert_array_equal(plain.components_, again.components_)


@pytest.mark.parametrize("seed", range(5))
def test_later_passes_over_blocks_drive_out_the_first(seed):
    X, strata = planted(300, noise=0.3)
    blocks = [(X[rows], strata[rows]) for rows in np.array_split(np.arange(300), 5)]
    once, model = (MiniBatchStratifiedNMF(3, random_state=seed).fit_blocks(blocks, n_passes=n) for n in (1, 300))
    loss, first = 1 - model.score(X, strata=strata), 1 - once.score(X, strata=strata)
    # No more is to be had from where it ended: the batch model goes on from there and gains next to nothing.
    start = {"W": model.transform(X, strata=strata), "H": model.components_, "V": model.shifts_}
    on = StratifiedNMF(3, init="custom", extrapolate=False, max_iter=100, tol=0).fit(X, strata=strata, **start)
    assert on.normalized_loss_**2 <= loss * (1 + 1e-9) and loss <= 1.01 * on.normalized_loss_**2
    assert loss < first
    # Every weight is of the last pass, when H hardly moved: what is remembered is the objective itself.
    assert model.normalized_loss_**2 == pytest.approx(loss, rel=1e-2)
    assert model._statistics.n_rows == 300


def test_memory_of_a_pass_does_not_grow_with_the_rows(tmp_path):
    def peak(n_rows):
        rng = np.random.default_rng(0)
        blocks = (sp.random_array((1000, 400), density=0.05, rng=rng, format="csr") for _ in range(n_rows // 1000))
        X = save_csr(blocks, tmp_path / str(n_rows))
        model = MiniBatchNMF(5, random_state=0)
        model.fit_blocks(X.blocks(1000))  # compiled and cached things are not what is measured
        tracemalloc.start()
        model.fit_blocks(X.blocks(1000))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found, X.nnz * 12

    (few, _), (many, n_bytes) = peak(3000), peak(24000)
    assert many < 1.1 * few
    assert many < n_bytes / 2  # the matrix itself would not have fitted


@pytest.mark.parametrize("cls", [StratifiedNMF, NMF])
def test_partial_fit_goes_on_after_fit(cls):
    X, strata = planted(300, noise=0.2)
    old, new = slice(0, 200), slice(200, 300)
    labels = [{"strata": strata[rows]} if cls is StratifiedNMF else {} for rows in (old, new)]
    model = cls(3, random_state=0, max_iter=400, tol=0).fit(X[old], **labels[0])
    error, components = model.reconstruction_err_, model.components_.copy()
    before = model.score(X[old], **labels[0]), model.score(X[new], **labels[1])
    model.partial_fit(X[new], **labels[1])
    after = model.score(X[old], **labels[0]), model.score(X[new], **labels[1])
    statistics = model._statistics
    assert statistics.n_rows == 300 and not hasattr(model, "W_")
    assert statistics.sq_norm > (X[new] ** 2).sum() + error**2
    assert not np.array_equal(model.components_, components)
    assert after[1] >= before[1] and 1 - after[0] < 1.1 * (1 - before[0])  # learned, and not forgotten
    model.fit(X[old], **labels[0])
    np.testing.assert_array_equal(model.components_, components)  # fit begins anew


def test_the_rows_of_fit_count_as_the_model_says():
    X, strata = planted(noise=0.2)
    model = StratifiedNMF(3, random_state=0, max_iter=50, tol=0).fit(X, strata=strata)
    modelled = model.inverse_transform(model.W_, strata=strata)
    expected = at_once(modelled, strata, model.W_, np.ones(len(X)))
    statistics = model._statistics_of_fit(Strata.from_array(X[:1], strata[:1]))
    assert_statistics(statistics, (*expected[:-1], expected[-1] + model.reconstruction_err_**2), 1e-9)
    np.testing.assert_allclose(statistics.shifts(), model.shifts_, atol=1e-12)
    statistics._move(statistics.N.astype(statistics.dtype))
    np.testing.assert_allclose(statistics.components(), model.components_, atol=1e-9)
    assert statistics.value == pytest.approx(model.reconstruction_err_**2, rel=1e-9)


@pytest.mark.parametrize("cls", [MiniBatchStratifiedNMF, StratifiedNMF])
def test_a_model_goes_on_after_a_pickle(cls):
    X, strata = planted()
    model = learn(cls(3, random_state=0), X[:60], strata[:60], 2)
    copy = pickle.loads(pickle.dumps(model))
    learn(model, X[60:], strata[60:], 2)
    learn(copy, X[60:], strata[60:], 2)
    np.testing.assert_array_equal(copy.components_, model.components_)
    assert not hasattr(clone(model), "components_")


def test_rows_of_zeros_before_the_first_others():
    X, strata = planted(60)
    first = np.zeros_like(X)
    model = MiniBatchStratifiedNMF(3, random_state=0).partial_fit(first, strata=np.full(60, "z"))
    assert model.normalized_loss_ == 0 and not model.components_.any()
    model.partial_fit(X, strata=strata)
    assert model.strata_.tolist() == ["a", "b", "c", "z"] and model._statistics.sizes[-1] == 60
    assert model.normalized_loss_ < 0.5 and not model.shifts_[-1].any()


@pytest.mark.parametrize("powers", [(300, 300), (300, 0), (0, 300), (-300, 0), (0, -300)])
def test_batches_of_extreme_scale(powers):
    X, strata = planted()
    factors = [10.0 ** (p / 2) for p in powers]
    model = MiniBatchStratifiedNMF(3, random_state=0)
    for factor, rows in zip(factors, (slice(0, 60), slice(60, 120)), strict=True):
        model.partial_fit(X[rows] * factor, strata=strata[rows])
    largest = max(factors)
    if powers[0] == powers[1]:
        same = MiniBatchStratifiedNMF(3, random_state=0)
        learn(same, X, strata, 2)
        np.testing.assert_allclose(model.shifts_ / largest, same.shifts_, rtol=1e-6, atol=1e-9)
    assert np.isfinite(model.components_).all() and np.isfinite(model.shifts_).all()
    assert 0.3 < model.shifts_.max() / largest < 10 and model.normalized_loss_ < 0.6


def test_another_type_joins_the_type_of_the_first_batch():
    X, strata = planted()
    model = MiniBatchStratifiedNMF(3, random_state=0).partial_fit(X[:60].astype(np.float32), strata=strata[:60])
    model.partial_fit(sp.csr_array(X[60:]), strata=strata[60:])
    assert model.components_.dtype == np.float32 and model.transform(X[:2], strata=strata[:2]).shape == (2, 3)


def test_thousands_of_strata_stay_sparse():
    """A dense array (strata, columns) would have 24 million entries; a stratum of one row uses a dozen columns."""
    rng = np.random.default_rng(0)
    X = sp.random_array((4000, 6000), density=0.002, rng=rng, format="csr")
    data = Strata.from_array(X, np.arange(4000))
    statistics = online.StrataStatistics(2).start(data, rng.random((6000, 2)), np.zeros(X.nnz))
    tracemalloc.start()
    statistics.visit(online.Batch(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(statistics.v) == X.nnz and peak < 24e6


TWO = LABELS[[0, 1] * 60]
BAD_CALLS = [
    (lambda m, X: m.partial_fit(X[:, :5], strata=LABELS[[0] * 120]), "X has 5 features.*expecting 15"),
    (lambda m, X: m.partial_fit(X[:0], strata=LABELS[:0]), "0 sample"),
    (lambda m, X: m.partial_fit(X), "3 strata; pass strata="),
    (lambda m, X: m.partial_fit(X, strata=np.zeros(120)), "were text in earlier batches and are numbers now"),
    (lambda m, X: m.partial_fit(X, strata=["a"]), "1 labels for 120 rows"),
    (lambda m, X: m.partial_fit(-X, strata=LABELS[[0] * 120]), "Negative values"),
    (lambda m, X: m.set_params(n_components=5).partial_fit(X, strata=LABELS[[0] * 120]), "has 3 components; call fit"),
    (lambda m, X: m.fit_blocks([]), "no block"),
    (lambda m, X: m.fit_blocks(iter([X]), n_passes=2), "iterated only once"),
    (lambda m, X: m.fit_blocks([X, X[:, :4]]), "X has 4 features"),
    (lambda m, X: m.fit_blocks([X], n_passes=0), "n_passes=0"),
    (lambda m, X: m.fit_blocks(iter([[(X, TWO)], [(X, TWO)] * 2]).__next__, n_passes=2), "a different number of rows"),
    (lambda m, X: m.set_params(forget_factor=-0.1).fit(X), "forget_factor=-0.1.*from 0 to 1"),
    (lambda m, X: m.set_params(forget_factor=1.5).fit(X), "forget_factor=1.5"),
    (lambda m, X: m.set_params(tol=-1).fit(X), "tol=-1"),
    (lambda m, X: m.set_params(batch_size=0).fit(X), "batch_size=0"),
    (lambda m, X: m.set_params(sweeps=(1, 2)).fit(X), "3 integers"),
    (lambda m, X: m.set_params(init="custom").fit(X), "init='custom'"),
]


@pytest.mark.parametrize("call, message", BAD_CALLS)
def test_bad_calls_get_one_clear_sentence_and_change_nothing(call, message):
    X, strata = planted()
    model = MiniBatchStratifiedNMF(3, random_state=0).partial_fit(X, strata=strata)
    components = model.components_.copy()
    with pytest.raises(ValueError, match=message):
        call(model, X)
    np.testing.assert_array_equal(model.components_, components)


def test_partial_fit_of_models_that_cannot():
    X, strata = planted()
    with pytest.raises(ValueError, match="squared error and coordinate descent"):
        StratifiedNMF(3, solver="mu").partial_fit(X, strata=strata)
    with pytest.raises(ValueError, match="cannot be computed from a first batch"):
        NMF(3, init="custom").partial_fit(X)
    with pytest.raises(ValueError, match="alpha_V=0.1 is not supported for batches"):
        StratifiedNMF(3, alpha_V=0.1).partial_fit(X, strata=strata)
    model = NMF(3, max_iter=5, tol=0).fit(X, sample_weight=np.arange(1.0, 121))
    with pytest.raises(ValueError, match="no weights of rows"):
        model.partial_fit(X)
    with pytest.raises(ValueError, match="this model has none"):
        MiniBatchNMF(3).fit_blocks([(X, strata)])


def test_csr_on_disk(tmp_path):
    rng = np.random.default_rng(1)
    X = sp.random_array((70, 9), density=0.3, rng=rng, format="csr", dtype=np.float32)
    for written in (X, sp.csc_array(X), (X[lo : lo + 13] for lo in range(0, 70, 13))):
        found = save_csr(written, tmp_path / "X")
        assert found.shape == (70, 9) and found.dtype == np.float32 and found.nnz == X.nnz
        assert (found[:] != X).nnz == 0 and (found[20:31] != X[20:31]).nnz == 0
        assert (sp.vstack(list(open_csr(tmp_path / "X").blocks(32))) != X).nnz == 0
    assert len(found.blocks(32)) == 3 and "70, 9" in repr(found)
    with pytest.raises(TypeError, match=r"X\[lo:hi\]"):
        found[[1, 2]]
    with pytest.raises(ValueError, match="3 labels for 70 rows"):
        found.blocks(10, [1, 2, 3])
    with pytest.raises(ValueError, match="columns"):
        save_csr([X, X[:, :4]], tmp_path / "Y")
    with pytest.raises(ValueError, match="shape.npy is missing"):
        open_csr(tmp_path / "Y")
    with pytest.raises(ValueError, match="no block"):
        save_csr([], tmp_path / "Z")


def test_damage_on_disk_is_noticed(tmp_path):
    X = sp.csr_array(np.eye(6))
    save_csr(X, tmp_path)
    np.save(tmp_path / "indices.npy", np.array([0, 1, 2, 3, 4, 77], np.int32))
    with pytest.raises(ValueError, match="Rows 3 to 6 .* outside 0 to 5"):
        list(open_csr(tmp_path).blocks(3))
    np.save(tmp_path / "indptr.npy", np.array([0, 2, 1, 3, 4, 5, 6]))
    with pytest.raises(ValueError, match="decreases after row 1"):
        open_csr(tmp_path)
    np.save(tmp_path / "data.npy", np.ones(4))
    with pytest.raises(ValueError, match="do not fit together"):
        open_csr(tmp_path)
