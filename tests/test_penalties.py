"""Penalties of groups and of angles: values, exact steps, zeros that are planted, files."""

import warnings

import numpy as np
import oracles_custom as oracles
import pytest
import scipy.sparse as sp

import fastnmf
from fastnmf import NMF, StratifiedNMF
from fastnmf.compose import AngularPenalty, ElasticNetPenalty, GroupPenalty, HoyerPenalty
from fastnmf.core.problem import Subproblem
from fastnmf.core.updates.blocks import descend_by_blocks, turned
from fastnmf.kernels.jit import split_rows, threads
from fastnmf.testing import check_penalty

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
KINDS = ("features", "components")


def subproblem(rng, p=23, k=4, dtype=np.float64):
    """Return a quadratic subproblem, its Gram matrix and its right side (k, p)."""
    A, target = rng.random((9, k)), rng.standard_normal((p, k)) + 0.5
    sub = Subproblem(split_rows(p, k))
    sub.add(gram=A.T @ A, pos=np.maximum(target, 0).astype(dtype), neg=np.maximum(-target, 0).astype(dtype))
    return sub, A.T @ A, target.T


@pytest.mark.parametrize("groups", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("start", [0.0, 1.0])
def test_many_sweeps_end_at_the_minimum(groups, dtype, start):
    sub, gram, right = subproblem(np.random.default_rng(0), dtype=dtype)
    weight = {"features": 1.2, "components": 4.0}[groups]
    F = np.full((23, 4), start, dtype)
    descend_by_blocks(F, sub, 4, 800, groups, weight)
    want = oracles.group_minimum(gram, right, weight, groups)
    np.testing.assert_allclose(F.T, want, atol=1e-4 if dtype == np.float32 else 1e-6)
    axis = 0 if groups == "features" else 1
    dropped = ~want.any(axis=axis)
    assert 0 < dropped.sum() < len(dropped) and not F.T[(slice(None), dropped) if axis == 0 else dropped].any()


@pytest.mark.parametrize("step", ["features", "components", "angles", "sums"])
def test_no_sweep_raises_the_objective(step):
    rng = np.random.default_rng(1)
    sub, gram, right = subproblem(rng)
    kinds = {"angles": AngularPenalty(3.0), "sums": HoyerPenalty(9.0)}
    kind = kinds[step] if step in kinds else GroupPenalty(0.7, step)
    F = np.maximum(rng.standard_normal((23, 4)), 0)
    F[:, 2] = F[5] = 0
    values = []
    for _ in range(30):
        values.append(np.sum(F.T * (gram @ F.T)) - 2 * np.sum(F.T * right) + kind.value(F.T))
        descend_by_blocks(F, sub, 4, 1, step, kind.weight)
    assert np.diff(values).max() < 1e-12 and values[-1] < values[0] and (F >= 0).all()


def test_a_component_turns_to_its_best_direction():
    rng = np.random.default_rng(2)
    rest, others = rng.standard_normal(3) + 1, rng.random(3)

    def value(f):
        return 1.5 * f @ f - 2 * f @ rest + 1.6 * f @ others / np.linalg.norm(f)

    found = turned(np.ones(3), rest, others, 1.5, 0.8)
    tried = np.abs(rng.standard_normal((200_000, 3))) * rng.random((200_000, 3)) * 3
    lengths = np.linalg.norm(tried, axis=1)
    least = (1.5 * lengths**2 - 2 * tried @ rest + 1.6 * (tried @ others) / lengths).min()
    assert value(found) <= least + 1e-9
    assert not turned(np.ones(3), -np.ones(3), others, 1.0, 0.8).any()


def test_values_are_those_of_plain_loops():
    F = np.random.default_rng(0).random((4, 7)) * (np.arange(7) > 1)
    F[2] = 0
    assert AngularPenalty(0.7).value(F) == pytest.approx(0.7 * oracles.angles(F), rel=1e-12)
    assert AngularPenalty(0.7).value(1e-200 * F) == pytest.approx(0.7 * oracles.angles(F), rel=1e-12)
    for unit in (1.0, 1e-200):
        assert HoyerPenalty(0.7).value(unit * F) == pytest.approx(0.7 * oracles.lack_of_sparseness(F), rel=1e-12)
    for groups, rows in (("components", F), ("features", F.T)):
        assert GroupPenalty(0.3, groups).value(F) == pytest.approx(0.6 * sum(np.sqrt(sum(f**2)) for f in rows))
        assert not GroupPenalty(0.3, groups).half_gradient(0 * F).any()


@pytest.mark.parametrize(
    "penalty", [GroupPenalty(0.3), GroupPenalty(0.3, "components"), AngularPenalty(0.5), HoyerPenalty(2.0)], ids=repr
)
def test_they_are_penalties_that_hold_what_they_promise(penalty):
    if isinstance(penalty, GroupPenalty):
        check_penalty(penalty)
    else:  # of W, which begins at zero, there are no angles
        rng = np.random.default_rng(0)
        F, D = rng.random((4, 9)) + 0.1, rng.standard_normal((4, 9))
        slope = (penalty.value(F + 1e-6 * D) - penalty.value(F - 1e-6 * D)) / 2e-6
        assert 2 * np.sum(penalty.half_gradient(F) * D) == pytest.approx(slope, rel=1e-6)
    X = np.random.default_rng(0).gamma(0.5, 2, (40, 15))
    options = {"n_components": 3, "init": "random", "random_state": 0, "max_iter": 30, "tol": 0}
    for more, fit in (
        ({"solver": "hals"}, {}),
        ({"solver": "mu", "beta_loss": "kullback-leibler"}, {}),
        ({"solver": "hals", "missing_values": "zeros"}, {}),
        ({"solver": "hals"}, {"sample_weight": 1 + np.arange(40) % 3}),
    ):
        for factor in "WH":
            both = {factor: [penalty], "WH".replace(factor, ""): [ElasticNetPenalty(l2=0.1)]}
            model = NMF(**options, **more, penalties=both).fit(X, **fit)
            objective = model.history_["objective"]
            assert (np.diff(objective) <= 1e-12 * objective[0]).all()
    strata = StratifiedNMF(**options, extrapolate=False, penalties={"H": [penalty]}, alpha_W=0.01)
    objective = strata.fit(X, strata=np.arange(40) % 2).history_["objective"]
    assert (np.diff(objective) <= 1e-12 * objective[0]).all()


def test_features_and_components_that_the_data_do_not_need_are_dropped():
    rng = np.random.default_rng(0)
    X = np.hstack([rng.random((80, 3)) @ rng.random((3, 12)), 0.1 * rng.random((80, 8))])
    few = {"H": [GroupPenalty(8.0)], "W": [ElasticNetPenalty(l2=0.5)]}
    model = NMF(3, penalties=few, max_iter=500, random_state=0).fit(X)
    np.testing.assert_array_equal(model.components_.any(axis=0), np.arange(20) < 12)
    parts = np.kron(np.eye(3), np.ones(4)) + 0.05 * rng.random((3, 12))
    X = rng.gamma(1, 1, (80, 3)) @ parts + 0.02 * rng.random((80, 12))
    few = {"H": [GroupPenalty(1.0, "components")], "W": [GroupPenalty(1.0, "components")]}
    model = NMF(6, penalties=few, init="nndsvda", max_iter=1000, random_state=0).fit(X)
    assert model.components_.any(axis=1).sum() == model.W_.any(axis=0).sum() == 3
    assert model.normalized_loss_ < 0.1


def test_angles_become_larger_and_units_do_not_matter():
    rng = np.random.default_rng(0)
    X = rng.gamma(0.5, 2, (60, 3)) @ (rng.random((3, 12)) + 0.5)
    options = {"n_components": 3, "init": "nndsvda", "max_iter": 80, "tol": 0}
    plain = NMF(**options).fit(X)
    apart = NMF(**options, penalties={"H": [AngularPenalty(2.0)]}).fit(X)
    assert oracles.angles(apart.components_) < 0.8 * oracles.angles(plain.components_)
    assert apart.components_.any(axis=1).all()
    other = NMF(**options, penalties={"H": [AngularPenalty(2.0 * 64**2)]}).fit(64 * X)
    np.testing.assert_allclose(other.components_ / 8, apart.components_, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler", 0.5, 3])
def test_components_become_sparser_under_every_loss(loss):
    X = np.random.default_rng(0).gamma(0.5, 2, (40, 4)) @ np.random.default_rng(1).gamma(0.5, 1, (4, 15)) + 0.1
    options = {"n_components": 3, "beta_loss": loss, "init": "nndsvda", "max_iter": 60, "tol": 0}
    options["solver"] = "hals" if loss == "frobenius" else "mu"
    plain = NMF(**options).fit(X)
    found = NMF(**options, penalties={"H": [HoyerPenalty(0.5 * plain.history_["objective"][0])]}).fit(X)
    assert oracles.lack_of_sparseness(found.components_) < 0.9 * oracles.lack_of_sparseness(plain.components_)
    assert (np.diff(found.history_["objective"]) <= 1e-12 * found.history_["objective"][0]).all()


@pytest.mark.parametrize(
    "penalty", [GroupPenalty(0.3, "components"), GroupPenalty(2.0), AngularPenalty(0.5), HoyerPenalty(2.0)], ids=repr
)
def test_files_threads_and_storage(penalty, tmp_path):
    X = np.random.default_rng(0).gamma(0.5, 2, (40, 15)) * (np.random.default_rng(1).random((40, 15)) < 0.5)
    options = {"n_components": 3, "init": "nndsvda", "alpha_W": 0.01, "max_iter": 20, "tol": 0}
    model = NMF(**options, penalties={"H": [penalty]}).fit(X)
    with threads(2):
        np.testing.assert_array_equal(NMF(**options, penalties={"H": [penalty]}).fit(X).components_, model.components_)
    sparse = NMF(**options, penalties={"H": [penalty]}).fit(sp.csr_array(X))
    np.testing.assert_allclose(sparse.components_, model.components_, rtol=1e-8, atol=1e-10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing of the user's own is left out
        model.save(tmp_path / "model.npz")
    again = fastnmf.load(tmp_path / "model.npz").penalties["H"][0]
    assert repr(again) == repr(penalty) and type(again) is type(penalty)


def test_bad_parameters_get_one_sentence():
    with pytest.raises(ValueError, match="weight=-1 is not valid; expected a number >= 0"):
        GroupPenalty(-1)
    with pytest.raises(ValueError, match="groups='rows' is not known; expected one of 'features', 'components'"):
        GroupPenalty(groups="rows")
    with pytest.raises(ValueError, match="weight=None"):
        AngularPenalty(None)
