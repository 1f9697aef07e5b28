"""Elastic nets in batches: the objective of the formula, monotone, the same end as all rows at once, streams."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastnmf import NMF, MiniBatchNMF, MiniBatchStratifiedNMF, StratifiedNMF, load

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
RNG = np.random.default_rng(0)
X = RNG.random((60, 4)) @ RNG.random((4, 13)) + 0.05 * RNG.random((60, 13))
STRATA = np.arange(60) % 3
NETS = {"alpha_W": 0.02, "alpha_H": 0.01}
KINDS = {MiniBatchNMF: NMF, MiniBatchStratifiedNMF: StratifiedNMF}
every_kind = pytest.mark.parametrize("kind", KINDS)
every_ratio = pytest.mark.parametrize("l1_ratio", [0.0, 0.4, 1.0])


def labels(kind):
    return {"strata": STRATA} if kind in (MiniBatchStratifiedNMF, StratifiedNMF) else {}


def penalty(W, H, n_rows, l1_ratio):
    """The penalties of scikit-learn's documentation beside twice the half squared error, in plain loops."""
    total = 0.0
    for F, alpha, times in ((W, NETS["alpha_W"], H.shape[1]), (H, NETS["alpha_H"], n_rows)):
        for row in F:
            for entry in row:
                total += 2 * alpha * times * (l1_ratio * entry + (1 - l1_ratio) / 2 * entry * entry)
    return total


@pytest.mark.parametrize("form, l1_ratio", [(np.asarray, 0.0), (np.asarray, 1.0), (sp.csr_array, 0.4)])
@every_kind
def test_fit_minimises_the_objective_of_all_rows_at_once(kind, form, l1_ratio):
    options = {"l1_ratio": l1_ratio, "random_state": 0, "tol": 0, **NETS}
    model = kind(3, batch_size=15, max_iter=100, **options).fit(form(X), **labels(kind))
    shifts = model.shifts_[STRATA] if hasattr(model, "shifts_") else 0
    squares = np.square(X - shifts - model.W_ @ model.components_).sum()
    objective = model.history_["objective"]
    assert objective[-1] == pytest.approx(squares + penalty(model.W_, model.components_, 60, l1_ratio), rel=1e-9)
    assert model.reconstruction_err_ == pytest.approx(np.sqrt(squares)) and model.normalized_loss_ < 1
    assert (np.diff(objective) <= 1e-10 * objective[0]).all()
    plain = {"extrapolate": False} if kind is MiniBatchStratifiedNMF else {"solver": "hals"}
    whole = KINDS[kind](3, init="features", max_iter=300, **plain, **options).fit(X, **labels(kind))
    assert objective[-1] <= 1.02 * whole.history_["objective"][-1]
    W = model.transform(X, **labels(kind))
    np.testing.assert_allclose(W, model.W_, rtol=1e-6, atol=1e-9)


@every_ratio
@every_kind
def test_a_stream_keeps_what_its_penalties_need(kind, l1_ratio, tmp_path):
    """After every batch H is penalised for all rows so far, and W for its rows; a saved model goes on alike."""
    model = kind(3, l1_ratio=l1_ratio, random_state=0, **NETS)
    parts = []
    for first in range(0, 60, 20):
        part = slice(first, first + 20)
        if first == 40:
            model.save(tmp_path / "model.npz")
            model = load(tmp_path / "model.npz")
        model.partial_fit(X[part], **{name: value[part] for name, value in labels(kind).items()})
        statistics = model._statistics
        H = model.components_
        of_H = penalty(np.zeros((0, 3)), H, first + 20, l1_ratio)
        assert sum(net.value(statistics.H) for net in statistics.penalties("H")) == pytest.approx(of_H)
        parts.append(statistics.penalty)
    assert statistics.n_rows == 60 and parts[0] < parts[1] < parts[2]
    blocks = [((X[at : at + 20], STRATA[at : at + 20]) if labels(kind) else X[at : at + 20]) for at in (0, 20, 40)]
    again = kind(3, l1_ratio=l1_ratio, random_state=0, **NETS).fit_blocks(blocks)
    np.testing.assert_array_equal(again.components_, model.components_)
    assert again.history_["objective"][-1] == pytest.approx(statistics.value + statistics.penalty)


def test_forgetting_forgets_the_weights_too():
    model = MiniBatchNMF(3, l1_ratio=1.0, forget_factor=0.5, random_state=0, **NETS)
    model.partial_fit(X[:20])
    before = model._statistics.total_W[0]
    model.partial_fit(X[20:40])
    W_new = model._statistics.total_W[0] - before / 2
    assert W_new > 0 and model._statistics.n_rows == 30


def test_one_penalty_alone_warns():
    with pytest.warns(UserWarning, match="Only W is penalised"):
        MiniBatchNMF(2, alpha_W=0.1, alpha_H=0.0, max_iter=1, tol=0).fit(X)
