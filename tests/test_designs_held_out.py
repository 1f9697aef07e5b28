"""Held-out errors of models with several factors, by plain loops."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from fastnmf import StratifiedNMF, consensus, select_rank
from fastnmf.selection.held_out import REACH, RowsColumns, restrict_columns
from fastnmf.selection.parallel_fits import ParallelFits, cells_of, cells_of_design

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence


def crossed(n=48, m=12, seed=0):
    rng = np.random.default_rng(seed)
    labels = {"year": np.arange(n) % 3, "region": rng.choice(["east", "west"], n)}
    effects = rng.gamma(0.5, 1, (3, m))[labels["year"]] + rng.gamma(0.5, 1, m) * (labels["region"] == "east")[:, None]
    X = effects + rng.gamma(0.6, 1, (n, 2)) @ rng.gamma(0.7, 1, (2, m)) + rng.random((n, m)) / 5
    return X, labels


def test_cells_are_combinations_and_lonely_rows_are_pooled():
    year = np.array([0, 0, 1, 1, 0, 1, 2, 3])
    region = np.array([0, 0, 1, 1, 1, 0, 0, 1])
    cell = cells_of([year, region])
    # rows 4 and 5 are alone in their cells, and other rows have their levels; years 2 and 3 occur once
    assert cell[0] == cell[1] and cell[2] == cell[3] and cell[4] == cell[5]
    assert len(set(cell.tolist())) == 5 and (cell == cell[6]).sum() == (cell == cell[7]).sum() == 1


@pytest.mark.parametrize("options", [{}, {"solver": "mu", "beta_loss": "kullback-leibler"}], ids=["squares", "kl"])
def test_rows_and_columns_of_several_factors_are_measured_as_by_plain_loops(options):
    X, labels = crossed()
    X[3] *= 8  # predictions of this row are cut off
    setting = ParallelFits(X, labels, StratifiedNMF(max_iter=15, tol=0, **options), None)
    folds = RowsColumns(setting, 3, np.random.default_rng(0))
    _, (error, _) = folds.measure(setting, 2, 1, 5)
    is_out, part = folds.fold == 1, folds.part[1]
    kept, new = ({name: of[rows] for name, of in labels.items()} for rows in (~is_out, is_out))
    model = setting.make(2, 5).fit(X[~is_out], strata=kept)
    limit, lost, total = REACH * X[~is_out].max(axis=0), 0.0, 0.0
    for left in range(3):
        seen, scored = np.flatnonzero(part != left), np.flatnonzero(part == left)
        W = restrict_columns(model, seen).transform(X[is_out][:, seen], strata=new)
        Y = model.inverse_transform(W, strata=new)[:, scored]
        x = X[is_out][:, scored]
        if options:
            null = x.sum(axis=1)[:, None] * x.sum(axis=0) / x.sum()
            lost += (x * np.log(x / Y) - x + Y).sum()
            total += (x * np.log(x / null)).sum()
        else:
            lost += np.square(x - np.minimum(Y, limit[scored])).sum()
            total += np.square(x).sum()
    assert error == pytest.approx(np.sqrt(lost / total), rel=1e-7)


def test_select_rank_and_consensus_take_several_factors():
    X, labels = crossed()
    fit = StratifiedNMF(max_iter=20, tol=0, init="features")
    found = select_rank(X, labels, (1, 2), estimator=fit, n_folds=2, n_restarts=0, random_state=0)
    assert found.method == "rows_columns" and np.isfinite(found.held_out).all()
    shared = consensus(X, labels, 2, n_runs=3, estimator=fit, density_threshold=2.0, random_state=0)
    assert shared.model.shift_names_.tolist()[0] == "intercept"
    with pytest.raises(ValueError, match="method='entries' takes one label for each row, not several factors"):
        select_rank(X, labels, (1, 2), estimator=fit, method="entries")


def test_an_exposure_goes_along_with_the_rows():
    X, labels = crossed()
    u = np.random.default_rng(1).uniform(0.3, 3, len(X))
    u[5] = 0
    given = {"strata": labels["year"], "exposure": u}
    setting = ParallelFits(X, labels["year"], StratifiedNMF(max_iter=15, tol=0), None, exposure=u)
    folds = RowsColumns(setting, 3, np.random.default_rng(0))
    _, (error, _) = folds.measure(setting, 2, 1, 5)
    is_out, part = folds.fold == 1, folds.part[1]
    kept, new = ({name: of[rows] for name, of in given.items()} for rows in (~is_out, is_out))
    model = setting.make(2, 5).fit(X[~is_out], **kept)
    limit, lost, total = REACH * X[~is_out].max(axis=0), 0.0, 0.0
    for left in range(3):
        seen, scored = np.flatnonzero(part != left), np.flatnonzero(part == left)
        W = restrict_columns(model, seen).transform(X[is_out][:, seen], **new)
        Y = model.inverse_transform(W, **new)[:, scored]
        lost += np.square(X[is_out][:, scored] - np.minimum(Y, limit[scored])).sum()
        total += np.square(X[is_out][:, scored]).sum()
    assert error == pytest.approx(np.sqrt(lost / total), rel=1e-7)
    assert folds.fold[5] == -1  # alone without a shift, so it is part of every fit


def test_cells_of_a_design_leave_every_column_to_every_fit():
    Z = np.zeros((9, 4))
    Z[[0, 1, 2], 0] = Z[[3, 4], 1] = 0.5  # two cells of several rows
    Z[5, [0, 1]] = Z[6, [1, 2]] = Z[7, [0, 2]] = 1  # alone; the first of those with column 2 has to stay
    Z[8, 3] = 2  # alone with its column
    cell = cells_of_design(sp.csr_array(Z))
    assert len(set(cell[:3])) == 1 and len(set(cell[3:5])) == 1 and cell[5] == cell[7]
    assert (cell == cell[6]).sum() == (cell == cell[8]).sum() == 1


def test_select_rank_and_consensus_take_a_design_and_an_exposure():
    X, labels = crossed()
    Z = pd.DataFrame({"low": 1 - np.arange(48) / 47, "high": np.arange(48) / 47})
    u = 0.5 + np.arange(48) / 47
    fit = StratifiedNMF(max_iter=15, tol=0, init="features")
    options = {"estimator": fit, "n_folds": 2, "n_restarts": 0, "random_state": 0}
    for given in ({"design": Z}, {"design": Z.to_numpy(), "exposure": u}, {"strata": labels, "exposure": u}):
        found = select_rank(X, ranks=[2], **given, **options)
        assert found.method == "rows_columns" and np.isfinite(found.held_out).all()
        with pytest.raises(ValueError, match="method='entries' takes one label for each row, .* an exposure"):
            select_rank(X, ranks=[2], **given, **options, method="entries")
    frame = pd.DataFrame(X).assign(depth=u).rename(columns=str)
    by_name = select_rank(frame, ranks=[2], exposure="depth", **options)
    np.testing.assert_array_equal(by_name.held_out, select_rank(X, ranks=[2], exposure=u, **options).held_out)
    assert isinstance(ParallelFits(X, None, None, None, exposure=u).estimator, StratifiedNMF)
    shared = consensus(X, None, 2, n_runs=3, estimator=fit, density_threshold=2.0, random_state=0, design=Z)
    assert shared.model.shift_names_.tolist() == ["low", "high"]
    with pytest.raises(ValueError, match="Both strata and design were given"):
        select_rank(X, labels, (1, 2), design=Z, **options)
    poisson = StratifiedNMF(solver="mu", beta_loss="kullback-leibler", max_iter=5, tol=0)
    counts, options = np.random.default_rng(0).poisson(5 * X), options | {"estimator": poisson}
    assert select_rank(counts, labels, [2], exposure=u, **options).held_out.max() < 1
    with pytest.raises(ValueError, match="scoring='negative-binomial' takes one label for each row"):
        select_rank(counts, labels, (1, 2), exposure=u, **options, scoring="negative-binomial")
