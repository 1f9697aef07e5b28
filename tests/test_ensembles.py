"""How alike runs group the samples, and how specific features are, against plain loops and known cases."""

import numpy as np
import oracles_ensemble as oracle
import pytest

from fastnmf import NMF, consensus, metrics, select_rank
from fastnmf.metrics import ensembles
from fastnmf.metrics.ensembles import agreement_of_runs


def test_consensus_matrix_and_its_measures_are_the_definitions():
    rng = np.random.default_rng(0)
    runs = np.array([np.where(rng.random(14) < 0.2, rng.integers(0, 3, 14), np.arange(14) % 3) for _ in range(23)])
    C, dispersion = oracle.connectivity_and_dispersion(runs.tolist())
    np.testing.assert_allclose(metrics.consensus_matrix(runs), C, rtol=1e-15)
    assert metrics.dispersion(C) == pytest.approx(dispersion, rel=1e-13)
    assert metrics.cophenetic_correlation(C) == pytest.approx(oracle.cophenetic(C), rel=1e-9)
    assert agreement_of_runs(runs) == (metrics.cophenetic_correlation(C), metrics.dispersion(C))
    renamed = np.array(["u", "v", "w"])[(runs + np.arange(23)[:, None]) % 3]  # other names in each run
    np.testing.assert_array_equal(metrics.consensus_matrix(renamed), metrics.consensus_matrix(runs))
    np.testing.assert_array_equal(metrics.consensus_matrix(runs[0]), runs[0][:, None] == runs[0])


@pytest.mark.parametrize("labels", [[[0, 0, 1, 1]] * 3, [[0, 0, 0]] * 2, [[0, 1, 2]] * 2, [[0]]])
def test_runs_that_agree_measure_one(labels):
    C = metrics.consensus_matrix(labels)
    assert metrics.cophenetic_correlation(C) == pytest.approx(1) and metrics.dispersion(C) == 1


def test_many_samples_are_measured_by_some_of_them(monkeypatch):
    monkeypatch.setattr(ensembles, "MOST_SAMPLES", 300)
    runs = np.random.default_rng(0).integers(0, 3, (4, 700))
    runs[1:] = np.where(np.random.default_rng(1).random(runs[1:].shape) < 0.9, runs[0], runs[1:])
    found = agreement_of_runs(runs)
    C = metrics.consensus_matrix(runs)
    assert found == pytest.approx((metrics.cophenetic_correlation(C), metrics.dispersion(C)), abs=0.05)


def test_the_component_of_a_sample_does_not_depend_on_the_scale_of_components():
    rng = np.random.default_rng(0)
    W, H, scale = rng.random((20, 4)), rng.random((4, 9)), 10.0 ** np.array([-190, 3, 0, -2])
    W[3] = 0
    found = metrics.sample_components(W, H)
    assert found[3] == -1 and set(found) == {-1, 0, 1, 2, 3}
    np.testing.assert_array_equal(metrics.sample_components(W / scale, H * scale[:, None]), found)


def test_feature_scores_are_those_of_the_papers():
    H = np.random.default_rng(0).gamma(0.3, 1, (4, 30))
    H[1:, 5] = 0
    found = metrics.feature_scores(H, normalize=None)
    np.testing.assert_allclose(found, oracle.feature_scores(H), atol=1e-12)
    assert found[5] == 1
    scale = np.array([1e-200, 1e150, 1.0, 7.0])[:, None]
    np.testing.assert_allclose(metrics.feature_scores(H * scale), metrics.feature_scores(H), rtol=1e-12)
    np.testing.assert_array_equal(metrics.feature_scores(H, method="max", normalize=None), H.max(axis=0))
    assert metrics.feature_scores(np.array([[2.0, 0.0]])).tolist() == [1, 0]  # one component has all there is
    assert metrics.feature_scores(np.zeros((2, 3))).tolist() == [0, 0, 0]


def test_selected_features_are_the_planted_ones():
    rng = np.random.default_rng(0)
    H = 1 + 0.2 * rng.random((3, 60))
    H[0, :4], H[1, 10:13] = 9 - np.arange(4), 9
    H /= np.linalg.norm(H, axis=1, keepdims=True)
    by_entropy = metrics.select_features(H)
    assert by_entropy[0].tolist() == [0, 1, 2, 3]
    assert set(by_entropy[1]) == {10, 11, 12} and by_entropy[2].size == 0
    scores, middle = oracle.feature_scores(H), np.median(oracle.feature_scores(H))
    wanted = {
        j
        for j in range(60)
        if scores[j] > middle + 3 * np.median(np.abs(scores - middle)) and H[:, j].max() > np.median(H)
    }
    assert set(np.concatenate(by_entropy)) == wanted
    for l, found in enumerate(metrics.select_features(H, method="max")):
        order = sorted(range(60), key=lambda j: -H[l, j])
        stop = next(i for i, j in enumerate(order) if H[:, j].argmax() != l)
        assert found.tolist() == order[:stop]
    assert metrics.select_features(np.array([[2.0, 0.0, 1.0]]), method="max")[0].tolist() == [0, 2]


def test_consensus_and_rank_choice_report_them():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.eye(3), 12, axis=0)
    X = (groups + 0.05 * rng.random(groups.shape)) @ (np.kron(np.eye(3), np.ones(5)) + 0.1 * rng.random((3, 15)))
    found = consensus(X, None, 3, n_runs=4, random_state=0)
    assert found.sample_labels.shape == (4, 36)
    C = metrics.consensus_matrix(found.sample_labels)
    np.testing.assert_array_equal(C, groups @ groups.T)
    assert (found.cophenetic, found.dispersion) == (pytest.approx(1), 1)
    assert "cophenetic correlation 1.000, dispersion 1.000" in repr(found)
    options = {"n_folds": 2, "n_restarts": 4, "estimator": NMF(init="random", max_iter=50, tol=0), "random_state": 0}
    ranks = select_rank(X, None, [3], **options)
    assert ranks.cophenetic[0] == pytest.approx(1) and ranks.dispersion[0] == 1
    structureless = select_rank(rng.random((36, 15)), None, [5], **options)
    assert structureless.cophenetic[0] < 1 and structureless.dispersion[0] < 1
    assert "cophenetic  dispersion" in repr(ranks) and list(ranks.table())[-3:-1] == ["cophenetic", "dispersion"]
    without = select_rank(X, None, [2], **options | {"n_restarts": 0})
    assert np.isnan(without.cophenetic).all() and np.isnan(without.dispersion).all()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: metrics.consensus_matrix(np.zeros((2, 0))), r"shape \(2, 0\)"),
        (lambda: metrics.dispersion(np.ones((2, 3))), "result of consensus_matrix"),
        (lambda: metrics.cophenetic_correlation(np.array([[1.0, 2.0], [2.0, 1.0]])), "from 0 to 1"),
        (lambda: metrics.feature_scores(np.ones((2, 3)), method="kin"), "'kim' or 'max'"),
        (lambda: metrics.feature_scores(-np.ones((2, 3))), "negative"),
        (lambda: metrics.select_features(np.ones((2, 3)), normalize="l1"), "'l2' or None"),
        (lambda: metrics.sample_components(np.ones((3, 2)), np.ones((3, 4))), "2 columns"),
    ],
)
def test_bad_input_gets_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()
