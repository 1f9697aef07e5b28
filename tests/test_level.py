"""Multilevel starts: when, how much, from which rows and columns, and what the fits of all rows make of them."""

from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp

from fastnmf import NMF, StratifiedNMF
from fastnmf.core.init.level import NO_LEVEL, cut, draw_rows, plan
from fastnmf.data.entry_weights import observed
from fastnmf.data.strata import Strata

KL = {"solver": "mu", "beta_loss": "kullback-leibler"}


def texts(n_rows=4000, n_columns=1100, per_row=30, n_topics=6, seed=0):
    """Draw counts of words from planted topics, with rare words, and the group of each row."""
    rng = np.random.default_rng(seed)
    topics = rng.dirichlet(np.full(n_columns, 0.05), n_topics)
    weights = rng.dirichlet(np.full(n_topics, 0.3), n_rows)
    groups = rng.integers(0, 3, n_rows)
    own = rng.dirichlet(np.full(n_columns, 0.05), 3)
    X = sp.csr_array(rng.poisson(per_row * (0.8 * weights @ topics + 0.2 * own[groups]) + 5e-4).astype(float))
    return X, groups


X, GROUPS = texts()


def test_the_plan_is_that_of_the_study():
    assert plan(18_300_000, 20, is_squared=True).share == pytest.approx(0.0492, abs=1e-4)
    assert plan(18_300_000, 20, is_squared=True).n_iter == 12
    assert (plan(1_147_174, 20, is_squared=True).share, plan(1_147_174, 20, is_squared=True).n_iter) == (0.25, 6)
    strata = plan(1_147_174, 20, is_squared=True, has_strata=True)
    assert (strata.share, strata.n_iter) == (0.2, 12)
    assert plan(18_300_000, 20, is_squared=True, has_strata=True).n_iter == 12
    assert plan(1_147_174, 50, is_squared=True) is NO_LEVEL and plan(100_000_000, 20, is_squared=True).share == 0.02
    assert plan(1_147_174, 50, is_squared=False).n_iter == 25 and plan(190_000, 5, is_squared=False) is NO_LEVEL
    assert plan(11_000_000, 20, is_squared=False).share == 0.125 and plan(500_000, 40, is_squared=False) is NO_LEVEL
    assert plan(10, 2, is_squared=True, is_asked=True).share == 0.25
    sizes = (18_300_000, 20, True), (1_147_174, 20, True), (18_300_000, 20, False)
    levels = [plan(n_entries, rank, is_squared=kind, is_asked=True) for n_entries, rank, kind in sizes]
    assert [level.min_entries for level in levels] == [5, 3, 3]


def test_rows_are_drawn_by_stratum():
    strata = np.repeat([0, 1, 2, 3], [1000, 60, 21, 5])
    np.random.default_rng(1).shuffle(strata)
    rows = draw_rows(strata, 4, 0.25, np.random.default_rng(0))
    assert (np.diff(rows) > 0).all() and np.bincount(strata[rows]).tolist() == [250, 20, 20, 5]
    again, other = (draw_rows(strata, 4, 0.25, np.random.default_rng(seed)) for seed in (0, 1))
    assert (rows == again).all() and not np.array_equal(rows, other)
    more = draw_rows(strata, 4, 0.5, np.random.default_rng(0))
    assert set(rows) < set(more)  # a prefix of one permutation


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parts_of_the_data_are_those_of_scipy(dtype):
    part = X.astype(dtype)[::5]
    kept, turned, columns = cut(part, 3, [0])
    assert (columns == np.flatnonzero((np.bincount(part.indices, minlength=1100) >= 3) | (np.arange(1100) == 0))).all()
    assert 0 < len(columns) < 1100
    assert (kept.toarray() == part.toarray()[:, columns]).all() and kept.dtype == dtype and kept.has_canonical_format
    for name in ("indptr", "indices", "data"):
        assert (getattr(turned, name) == getattr(kept.tocsc(), name)).all()
    weight = 1.0 + np.arange(X.shape[0]) % 3
    whole = Strata.from_array(X.astype(dtype), GROUPS)
    whole.weigh(weight, 2)
    rows = np.arange(0, X.shape[0], 5)
    got, want = whole.part(rows), Strata.from_array(part, GROUPS[::5])
    want.weigh(weight[::5], 2)
    assert got.sq_norm == want.sq_norm and got.total == want.total and (got.labels == want.labels).all()
    assert (got.X != want.X).nnz == 0 and (got.column_means() == want.column_means()).all()
    assert (got.stratum_means() == want.stratum_means()).all() and (got.row_scale == want.row_scale).all()
    weights = observed(X, missing_values="zeros")[1]
    assert (weights.part(rows, columns).at(kept) == weights.at(X)[0]).all()


def test_shifts_are_handed_on_to_their_column_and_stratum():
    """The strata of a column stand in the order in which its rows come: here another in the part than in the whole."""
    whole = Strata.from_array(X, GROUPS)
    rows = draw_rows(whole.stratum_index, 3, 0.25, np.random.default_rng(0))
    part, _, columns = cut(whole.X[rows], 3)
    coarse = whole.part(rows, part)
    full, part = whole.pattern, coarse.pattern
    assert (np.diff(full.column.astype(int) * 3 + full.group) < 0).any()
    place = full.places(part, columns)
    assert (full.column[place] == columns[part.column]).all() and (full.group[place] == part.group).all()


@pytest.mark.parametrize("kind, given", [(NMF, {}), (StratifiedNMF, {"strata": GROUPS})])
@pytest.mark.parametrize("options", [{}, KL], ids=["squared", "kl"])
def test_auto_takes_a_level_for_large_data_only(kind, given, options):
    options = {"random_state": 0, "max_iter": 3, "tol": 0} | options
    rank = 2 if "solver" in options else 1
    data = texts(8000, 1100, 40)[0] if "solver" in options else X
    given = {name: np.resize(GROUPS, data.shape[0]) for name in given}
    fits = {init: kind(rank, init=init, **options).fit(data, **given) for init in ("auto", "multilevel", "features")}
    assert (fits["auto"].components_ == fits["multilevel"].components_).all() and fits["auto"].n_iter_ == 3
    assert (kind(rank, **options).fit(data, **given).W_ == fits["auto"].W_).all()
    assert not np.array_equal(fits["auto"].components_, fits["features"].components_)
    spent = 0.25 * 25 if "solver" in options else 0.2 * 12 if given else 0.25 * 6
    np.testing.assert_allclose(fits["auto"].history_["passes"], spent + np.arange(4))
    np.testing.assert_allclose(fits["features"].history_["passes"], np.arange(4))
    assert fits["auto"].history_["objective"][-1] < 1.03 * fits["features"].history_["objective"][-1]
    small = {name: label[:500] for name, label in given.items()}
    starts = ["features", "nndsvd"] if "solver" not in options else ["nndsvda"] if kind is NMF else ["features"]
    auto, *plain = (kind(rank, init=init, **options).fit(data[:500], **small) for init in ("auto", *starts))
    best = min(plain, key=lambda model: model.run_objectives_[0])
    assert (auto.W_ == best.W_).all() and len(auto.run_objectives_) == len(starts)


COMPOSITIONS = {
    "plain": {},
    "penalties": {"alpha_W": 1e-4, "l1_ratio": 0.5},
    "fixed": {"fixed_components": np.where(np.arange(1100) % 7, np.nan, 0.5)[None, :]},
    "seeds": {"seed_features": {0: [3, 599], 2: [0]}},
    "masked": {"missing_values": "zeros"},
    "kl": KL,
}


@pytest.mark.parametrize("name", COMPOSITIONS)
@pytest.mark.parametrize("kind, given", [(NMF, {}), (StratifiedNMF, {"strata": GROUPS})])
@pytest.mark.filterwarnings("ignore")
def test_every_composition_begins_lower_and_ends_no_higher(kind, given, name):
    options = {"random_state": 0, "tol": 0} | COMPOSITIONS[name]
    level = kind(6, init="multilevel", max_iter=1, **options).fit(X, **given)
    plain = kind(6, init="features", max_iter=1, **options).fit(X, **given)
    assert level.history_["objective"][1] < plain.history_["objective"][1]
    for factor in (level.W_, level.components_):
        assert np.isfinite(factor).all() and factor.min() >= 0
    if name == "fixed":
        assert (level.components_[0, ::7] == 0.5).all()
    n_iter = 10 if name == "masked" else 60
    ends = {"multilevel": [], "features": []}
    for init, seed in product(ends, range(3) if name in ("kl", "fixed") else [0]):  # these have more local minima
        model = kind(6, init=init, max_iter=n_iter, **options | {"random_state": seed}).fit(X, **given)
        ends[init].append(model.history_["objective"][-1])
    assert np.median(ends["multilevel"]) <= 1.01 * np.median(ends["features"])


def test_weights_of_rows_reach_the_level():
    twice = sp.vstack([X, X[:2000]], format="csr")
    weight = np.where(np.arange(4000) < 2000, 2.0, 1.0)
    options = {"init": "multilevel", "random_state": 0, "tol": 0, "max_iter": 40}
    weighted = NMF(6, **options).fit(X, sample_weight=weight)
    assert weighted.normalized_loss_ == pytest.approx(NMF(6, **options).fit(twice).normalized_loss_, rel=2e-3)


@pytest.mark.parametrize("options", [{}, KL], ids=["squared", "kl"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_bits_do_not_depend_on_threads_or_interruptions(options, dtype, tmp_path):
    options = {"init": "multilevel", "random_state": 0, "tol": 0, "max_iter": 4} | options

    def fit(n_threads, **more):
        return StratifiedNMF(4, n_threads=n_threads, **options).fit(X.astype(dtype), strata=GROUPS, **more)

    one, two = fit(1), fit(2)
    assert one.components_.tobytes() == two.components_.tobytes() and one.W_.tobytes() == two.W_.tobytes()

    def stop_at(iteration):
        def callback(state):
            if state.iteration == iteration:
                raise KeyboardInterrupt

        return callback

    for iteration in (0, 1, 3):
        path = tmp_path / f"{iteration}"
        with pytest.raises(KeyboardInterrupt):
            model = StratifiedNMF(4, n_threads=2, callback=stop_at(iteration), **options)
            model.fit(X.astype(dtype), strata=GROUPS, checkpoint=path, checkpoint_every=0)
        again = fit(2, checkpoint=path)
        assert again.W_.tobytes() == two.W_.tobytes()
        assert (again.history_["passes"] == two.history_["passes"]).all()


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "mu"},
        {"solver": "mu", "beta_loss": 1.5},
        {"penalties": {"H": [type("P", (), {"value": lambda s, F: 0.0, "half_gradient": lambda s, F: 0 * F})()]}},
    ],
)
def test_where_there_is_no_level_it_is_refused_or_left_out(options):
    with pytest.raises(ValueError, match="init='multilevel' needs coordinate descent"):
        NMF(1, init="multilevel", **options).fit(X + sp.csr_array(np.full(X.shape, 0.1)))
    short = {"max_iter": 2, "tol": 0, "random_state": 0} | options
    auto, plain = (NMF(1, init=init, **short).fit(X) for init in ("auto", "features"))
    assert (auto.W_ == plain.W_).all()


def test_dense_data_and_extreme_units_may_have_a_level():
    dense = NMF(3, init="multilevel", max_iter=2, tol=0, random_state=0).fit(X.toarray()[:, :50])
    assert dense.history_["passes"][0] == 1.5
    options = {"init": "multilevel", "max_iter": 2, "tol": 0, "random_state": 0}
    units = 1.0, 2.0**400, 2.0**140  # the last are beyond float32, and not scaled
    near, far, wide = (StratifiedNMF(3, **options).fit(X * unit, strata=GROUPS) for unit in units)
    assert far.normalized_loss_ == pytest.approx(near.normalized_loss_, rel=1e-12)
    assert wide.normalized_loss_ == pytest.approx(near.normalized_loss_, rel=1e-4)
