"""The checks of scikit-learn on every estimator, with few iterations: at the defaults they pass as well, in minutes."""

import numpy as np
import pytest
from estimators import FAILING_CLASSIFIER_CHECKS
from sklearn.base import is_classifier
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastnmf
from fastnmf import NMF, ConvolutiveNMF, DictionaryNMF, StratifiedNMF

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence, and of fewer anchors than asked for


class OfTen(DictionaryNMF):
    """A dictionary of any width, as the checks bring data of many: ten overlapping windows."""

    def _atoms(self, data):
        self.dictionary = np.minimum(np.arange(10)[:, None] + np.arange(data.shape[1]) + 1, 5) / 5
        try:
            return super()._atoms(data)
        finally:
            self.dictionary = "windows"


ESTIMATORS = [
    NMF(),
    StratifiedNMF(max_iter=20),
    StratifiedNMF(2, max_iter=10, label_weight=1.0),
    fastnmf.SemiSupervisedNMF(2, max_iter=20),
    fastnmf.SemiSupervisedNMF(2, max_iter=20, label_weight=0),
    fastnmf.HierarchicalNMF((2, 2), max_iter=10),
    ConvolutiveNMF(n_lags=2, max_iter=20),
    fastnmf.MetaNMF(NMF(2, solver="mu"), n_tasks=2, task_size=2, n_outer=2, n_inner=5, random_state=0),
    fastnmf.Factorization(max_iter=20),
    fastnmf.Factorization(strata=True, max_iter=20),
    OfTen(dictionary="windows", max_iter=20),
    fastnmf.GraphNMF(max_iter=20),
    fastnmf.GraphNMF(solver="mu", beta_loss="kullback-leibler", feature_weight=1.0, max_iter=20),
    fastnmf.UnderapproximationNMF(max_iter=20),
    fastnmf.UnderapproximationNMF(feasible=True, max_iter=20),
    fastnmf.BinaryNMF(n_init=2, max_iter=20),
    fastnmf.BooleanNMF(n_init=2, max_iter=20),
    fastnmf.RobustNMF(max_iter=30, polish=2),
    fastnmf.ChebyshevNMF(max_iter=1),
    fastnmf.SeparableNMF(),
    fastnmf.SeparableNMF(axis=1, normalize=True, solver="snpa"),
    fastnmf.SmoothNMF(max_iter=20),
    fastnmf.SmoothNMF(penalty="total_variation", max_iter=20),
    *(fastnmf.SymmetricNMF(solver=solver, max_iter=20) for solver in ("cd", "mu", "penalised")),
    fastnmf.TriSymmetricNMF(max_iter=20),
    fastnmf.TriSymmetricNMF(solver="mu", max_iter=20),
    fastnmf.TriSymmetricNMF(affinity="cooccurrence", max_iter=20),
]
ESTIMATORS += [
    getattr(fastnmf, name)(max_iter=20)
    for name in (
        *("AffineNMF", "BilinearNMF", "ConvexNMF", "DeepNMF", "DistributionallyRobustNMF", "IntervalNMF", "KernelNMF"),
        *("MiniBatchNMF", "MiniBatchStratifiedNMF", "OrthogonalNMF", "PLSA", "ProjectiveNMF", "SemiNMF", "SparseNMF"),
        "TriNMF",
    )
]

IN_ORDER = "the rows are moments in time: a row depends on its neighbours"
TOGETHER = "labels and weights of rows are refused together"
WEIGHTED = ("s_list", "s_not_overwritten", "_equivalence_on_dense_data", "_equivalence_on_sparse_data")


def failing(model):
    """Return the checks that an estimator cannot pass, with the reason."""
    found = dict(FAILING_CLASSIFIER_CHECKS) if is_classifier(model) else {}
    if isinstance(model, ConvolutiveNMF):
        order = ("check_methods_sample_order_invariance", "check_methods_subset_invariance")
        found |= dict.fromkeys(order, IN_ORDER)
    if isinstance(model, StratifiedNMF) and model.label_weight:
        found |= dict.fromkeys((f"check_sample_weight{name}" for name in WEIGHTED), TOGETHER)
    return found


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=failing)
def test_scikit_learn_agrees(estimator, check):
    check(estimator)


def test_every_estimator_is_checked():
    kinds = {getattr(fastnmf, name) for name in fastnmf._HOMES if hasattr(getattr(fastnmf, name), "get_params")}
    assert {next(kind for kind in type(each).__mro__ if kind in kinds) for each in ESTIMATORS} == kinds
