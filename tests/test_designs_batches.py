"""Crossed groups, designs and exposure whose rows arrive in batches: `partial_fit` and the sums that it keeps."""

import numpy as np
import oracles_designs as oracle
import pytest
import scipy.sparse as sp

import fastnmf
from fastnmf import StratifiedNMF
from fastnmf.core.batches import Batch, StrataStatistics
from fastnmf.core.design_batches import DesignStatistics
from fastnmf.data.design import DesignedStrata
from fastnmf.data.levels import Design
from fastnmf.data.strata import Strata

RNG = np.random.default_rng(0)
N, M, RANK = 240, 25, 3
YEAR, SITE = RNG.integers(0, 4, N), np.array(list("abc"))[RNG.integers(0, 3, N)]
U = RNG.uniform(0.5, 2, N)
EFFECTS = RNG.gamma(0.4, 1, (7, M))
A = EFFECTS[YEAR] + EFFECTS[4 + np.unique(SITE, return_inverse=True)[1]]
A = np.maximum(A + RNG.gamma(0.4, 1, (N, RANK)) @ RNG.gamma(0.4, 1, (RANK, M)) + RNG.normal(0, 0.2, (N, M)), 0)
A[A < 0.3] = 0
X = sp.csr_array(A)
PARTS = np.array_split(RNG.permutation(N), 6)
BY_YEAR = np.array_split(np.argsort(YEAR, kind="stable"), 6)


def given(rows, exposure=False):
    found = {"strata": {"year": YEAR[rows], "site": SITE[rows]}}
    return found | ({"exposure": U[rows]} if exposure else {})


def learned_from(parts, **more):
    model = StratifiedNMF(RANK, random_state=0)
    for rows in parts:
        model.partial_fit(X[rows], **given(rows, **more))
    return model


def batch_of(rows, exposure=None):
    learned, Z = Design.learn({"year": YEAR[rows], "site": SITE[rows]}, None, exposure, len(rows), is_batch=True)
    data = DesignedStrata.of_matrix(X[rows], learned.names, Z)
    data.learned = learned
    return data


def test_the_sums_give_the_objective_of_plain_loops_and_it_does_not_increase():
    data = [batch_of(rows, U[rows]) for rows in BY_YEAR]  # years appear later
    H = np.random.default_rng(1).random((M, RANK))
    statistics = DesignStatistics(RANK).start(data[0], H, data[0].stratum_means())
    batches, values = [Batch(each) for each in data], []
    for _ in range(3):
        for batch in batches:
            statistics.visit(batch)
        values.append(statistics.value)
    rows = np.concatenate(BY_YEAR)
    Z = oracle.design([YEAR[rows], SITE[rows]], U[rows])
    V = statistics.pattern.dense(statistics.v)
    W = np.concatenate([batch.W[:, :RANK] for batch in batches])
    wanted = oracle.objective(A[rows], Z, W, statistics.H[:, :RANK], V.T, np.zeros((8, 8)))
    np.testing.assert_allclose(values[-1], wanted, rtol=1e-10)
    np.testing.assert_allclose(statistics.cross.toarray(), Z.T @ Z, rtol=1e-12)
    np.testing.assert_allclose(statistics.columns.toarray(), A[rows].T @ Z, rtol=1e-12)
    np.testing.assert_allclose(statistics.sums[:, :RANK], Z.T @ W, rtol=1e-9, atol=1e-12)
    assert values[0] > values[1] > values[2]
    assert statistics.labels.tolist() == Design.learn(given(rows)["strata"], None, None, N)[0].names.tolist()


def test_sums_decay_alike():
    first, second = (batch_of(rows) for rows in PARTS[:2])
    H = np.random.default_rng(1).random((M, RANK))
    statistics = DesignStatistics(RANK, forget_factor=0.5).start(first, H, first.stratum_means())
    for data in (first, second):
        statistics.visit(Batch(data))
    Z = [oracle.design([YEAR[rows], SITE[rows]]) for rows in PARTS[:2]]
    np.testing.assert_allclose(statistics.cross.toarray(), Z[0].T @ Z[0] / 2 + Z[1].T @ Z[1], rtol=1e-12)
    pos = [z.T @ A[rows] for z, rows in zip(Z, PARTS[:2], strict=True)]
    np.testing.assert_allclose(statistics.columns.toarray().T, pos[0] / 2 + pos[1], rtol=1e-12)


def test_an_exposure_of_one_is_the_model_of_strata():
    H, found = np.random.default_rng(1).random((M, RANK)), []
    for kind in (StrataStatistics, DesignStatistics):
        each = []
        for rows in PARTS[:3]:
            learned, Z = Design.learn(SITE[rows], None, np.ones(len(rows)), len(rows), is_batch=True)
            plain = Strata.from_array(X[rows], SITE[rows])
            data = plain if kind is StrataStatistics else DesignedStrata.of_matrix(X[rows], learned.names, Z)
            data.learned = learned
            each.append(data)
        statistics = kind(RANK).start(each[0], H, each[0].stratum_means())
        for data in each:
            statistics.visit(Batch(data))
        found.append((statistics.value, statistics.shifts(), statistics.components()))
    for strata, design in zip(*found, strict=True):
        np.testing.assert_allclose(design, strata, rtol=1e-9, atol=1e-10)


def test_batches_come_near_the_fit_of_all_rows():
    everything = given(np.arange(N))
    whole = StratifiedNMF(RANK, random_state=0).fit(X, **everything)
    model = learned_from(PARTS)
    assert model.score(X, **everything) > whole.score(X, **everything) - 0.02  # one pass over six batches
    assert model.shift_names_.tolist() == whole.shift_names_.tolist()
    assert [levels.tolist() for levels in model.strata_] == [levels.tolist() for levels in whole.strata_]
    np.testing.assert_array_equal(model.stratum_sizes_, whole.stratum_sizes_)
    assert model.shifts_[1:5].min(axis=0).max() == 0  # the least level is in the intercept
    assert not hasattr(model, "W_") and model.n_steps_ == len(PARTS)
    sparse = StratifiedNMF(RANK, random_state=0, sparse_shifts=True).partial_fit(X[PARTS[0]], **given(PARTS[0]))
    dense = StratifiedNMF(RANK, random_state=0).partial_fit(X[PARTS[0]], **given(PARTS[0]))
    np.testing.assert_array_equal(sparse.shifts_.toarray(), dense.shifts_)


def test_a_saved_model_continues_and_units_do_not_matter(tmp_path):
    model = learned_from(BY_YEAR[:3], exposure=True)
    model.save(tmp_path / "model")
    again = fastnmf.load(tmp_path / "model")
    for each in (model, again):
        each.partial_fit(X[BY_YEAR[5]], **given(BY_YEAR[5], exposure=True))
    assert np.array_equal(model.shifts_, again.shifts_) and np.array_equal(model.components_, again.components_)
    small = StratifiedNMF(RANK, random_state=0)
    for rows in PARTS[:2]:
        small.partial_fit(X[rows] * 1e-150, **given(rows))
    np.testing.assert_allclose(small.shifts_ * 1e150, learned_from(PARTS[:2]).shifts_, rtol=1e-9, atol=1e-12)
    zeros = StratifiedNMF(RANK, random_state=0).partial_fit(0 * X[PARTS[0]], **given(PARTS[0]))
    zeros.partial_fit(X[PARTS[1]], **given(PARTS[1]))
    assert zeros.stratum_sizes_[0] == len(PARTS[0]) + len(PARTS[1]) and zeros.shifts_.any()
    held = model._statistics
    for name, value in (("labels", held.labels[::-1]), ("cross", held.cross[:2, :2])):
        model._statistics = held.copy()
        setattr(model._statistics, name, value)
        model.save(tmp_path / "altered")
        with pytest.raises(ValueError, match="statistics"):
            fastnmf.load(tmp_path / "altered")


def test_a_design_of_columns_that_a_batch_may_lack():
    Z = np.column_stack([YEAR == 0, YEAR > 0, U])
    model = StratifiedNMF(RANK, random_state=0)
    for rows in BY_YEAR:
        model.partial_fit(X[rows], design=Z[rows] * 1.0)
    assert model.shift_names_.tolist() == ["z0", "z1", "z2"] and not hasattr(model, "strata_")
    assert model.score(X, design=Z * 1.0) > 0.7


ROWS = np.arange(40)
REFUSED = {
    "smoothness=2.0 was 0 when the model learned the earlier rows": lambda: (
        StratifiedNMF(2).partial_fit(X[ROWS], strata=YEAR[ROWS]).set_params(smoothness=2.0)
    ).partial_fit(X[ROWS], strata=YEAR[ROWS]),
    "that of the batches before had year, site; give": lambda: learned_from([ROWS]).partial_fit(
        X[ROWS], strata=given(ROWS)["strata"] | {"more": ROWS}
    ),
    "fitted with the factors year, site; pass strata=": lambda: learned_from([ROWS]).partial_fit(
        X[ROWS], strata=SITE[ROWS]
    ),
    "fitted with an exposure; pass exposure=": lambda: learned_from([ROWS], exposure=True).partial_fit(
        X[ROWS], **given(ROWS)
    ),
    "one label for each row, not several factors": lambda: (
        StratifiedNMF(2).partial_fit(X[ROWS], strata=SITE[ROWS]).partial_fit(X[ROWS], **given(ROWS))
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("message", REFUSED)
def test_what_is_not_supported_is_refused(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()
