"""Held-out errors of models with several factors, by plain loops."""

import warnings

import numpy as np
import pytest

from fastnmf import StratifiedNMF, consensus, select_rank
from fastnmf.selection.held_out import REACH, RowsColumns, restrict_columns
from fastnmf.selection.parallel_fits import ParallelFits, cells_of


@pytest.fixture(autouse=True)
def no_convergence_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


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
