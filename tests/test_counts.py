"""The documented example: counts of cells in batches, and what strata recover of them."""

import warnings

import numpy as np
import pytest
import scipy.optimize as so
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from fastnmf import NMF, StratifiedNMF
from fastnmf.datasets.planted import simulate_counts


def recovered(W, H, bunch):
    """Return ARI and NMI of the programme used most with the truth, and the mean cosine of matched components."""
    unit = [F / np.maximum(np.linalg.norm(F, axis=1, keepdims=True), 1e-300) for F in (bunch.programs, H)]
    cosines = unit[0] @ unit[1].T
    i, j = so.linear_sum_assignment(-cosines)
    used = np.argmax(W * H.sum(axis=1), axis=1)  # counts of each component in a cell
    scores = adjusted_rand_score(bunch.target, used), normalized_mutual_info_score(bunch.target, used)
    return *scores, cosines[i, j].mean()


def strata_against_none(bunch, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = NMF(4, random_state=0, max_iter=300, **options).fit(bunch.data)
        model = StratifiedNMF(4, random_state=0, max_iter=300, **options).fit(bunch.data, strata=bunch.batch)
    return recovered(plain.W_, plain.components_, bunch), recovered(model.W_, model.components_, bunch)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_batches_hide_programmes_from_plain_models(seed):
    bunch = simulate_counts(depth=600, dispersion=0.1, random_state=seed)
    plain, stratified = strata_against_none(bunch)
    assert plain[0] < 0.4 and plain[1] < 0.45 and plain[2] < 0.85
    assert min(stratified) > 0.95


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_counts_with_batches_need_kullback_leibler_with_strata(seed):
    bunch = simulate_counts(random_state=seed)  # 150 counts a cell, strongly dispersed
    plain, stratified = strata_against_none(bunch, solver="mu", beta_loss="kullback-leibler")
    assert plain[0] < 0.2 and plain[1] < 0.2 and plain[2] < 0.75
    assert min(stratified) > 0.95


def test_a_batch_that_arrives_later():
    bunch = simulate_counts(random_state=0)
    is_late = bunch.batch == "batch 2"
    options = {"solver": "mu", "beta_loss": "kullback-leibler", "unknown_strata": "estimate", "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = StratifiedNMF(4, max_iter=300, **options)
        model.fit(bunch.data[~is_late], strata=bunch.batch[~is_late])
    labels, shifts = model.estimate_shifts(bunch.data, bunch.batch)
    assert labels.tolist() == ["batch 2"]
    cosine = shifts[0] @ bunch.background[2] / np.linalg.norm(shifts[0]) / np.linalg.norm(bunch.background[2])
    assert cosine > 0.95
    late = bunch.data[is_late]
    used = model.transform(late, strata=bunch.batch[is_late]) * model.components_.sum(axis=1)
    assert adjusted_rand_score(bunch.target[is_late], used.argmax(axis=1)) > 0.9
    as_new = model.reconstruction_errors(late, strata=bunch.batch[is_late])
    assert as_new.sum() < model.reconstruction_errors(late, strata=["batch 0"] * late.shape[0]).sum()
    known = bunch.data[~is_late]
    assert np.mean(model.predict_stratum(known) == bunch.batch[~is_late]) >= 0.95


def test_simulated_counts_are_what_they_say():
    bunch = simulate_counts(2000, 50, 3, 2, depth=1000, dispersion=0.3, random_state=0)
    X, codes = bunch.data.toarray(), np.unique(bunch.batch, return_inverse=True)[1]
    mean = bunch.usage @ bunch.programs + bunch.background[codes]
    assert (X == np.round(X)).all() and (bunch.target == bunch.usage.argmax(axis=1)).all()
    np.testing.assert_allclose(bunch.programs.sum(axis=1), 1)
    assert X.sum() == pytest.approx(mean.sum(), rel=0.01)
    ratio = ((X - mean) ** 2).sum() / (mean + 0.3 * mean**2).sum()
    assert 0.9 < ratio < 1.1
    flat = simulate_counts(2000, 50, 3, 2, depth=1000, dispersion=0, random_state=0)
    mean = flat.usage @ flat.programs + flat.background[np.unique(flat.batch, return_inverse=True)[1]]
    assert 0.9 < ((flat.data.toarray() - mean) ** 2).sum() / mean.sum() < 1.1
    assert (simulate_counts(random_state=1).data != simulate_counts(random_state=1).data).nnz == 0
    assert not simulate_counts(batch_effect=0, random_state=1).background.any()


@pytest.mark.parametrize("options", [{"n_cells": 0}, {"depth": -1}, {"dispersion": float("nan")}, {"n_batches": 0}])
def test_simulated_counts_refuse_nonsense(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} must be . or more(, an integer)?; got"):
        simulate_counts(**options)
