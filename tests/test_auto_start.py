"""What ``init="auto"`` stands for on small data: several starts, of which the best is kept."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer, load_wine

from fastnmf import NMF, MiniBatchNMF, StratifiedNMF, consensus, select_rank
from fastnmf.core.init.level import starts_of_auto
from fastnmf.models.base.auto_start import random_start

KL = {"solver": "mu", "beta_loss": "kullback-leibler"}
rng = np.random.default_rng(0)
X = rng.gamma(0.5, size=(60, 12))
COUNTS = rng.poisson(3 * rng.gamma(0.3, size=(60, 4)) @ rng.gamma(0.3, size=(4, 30))).astype(float)
GROUPS = np.repeat([0, 1, 2], 20)


def test_the_rule():
    exact, kl = ({"is_exact": i == 0, "is_kullback_leibler": i == 1} for i in range(2))
    large, wide = np.broadcast_to(1.0, (5000, 1000)), sp.csr_array((10, 1000))
    assert starts_of_auto(X, 2, **exact) == ("features", "nndsvd") and starts_of_auto(X, 2, **kl) == ("nndsvda",)
    assert starts_of_auto(large, 2, **exact) == ("features",) == starts_of_auto(large, 2, **kl)
    assert starts_of_auto(wide, 2, **exact) == ("features",) and starts_of_auto(wide, 2, **kl) == ("nndsvda",)
    assert starts_of_auto(sp.csr_array(X), 3, **exact) == ("features", "nndsvd")  # 12 columns, 3 components
    assert starts_of_auto(sp.csr_array(X), 2, **exact) == ("features",)
    assert starts_of_auto(X, 2, is_exact=False, is_kullback_leibler=False) == ("features",)


@pytest.mark.parametrize(("kind", "given"), [(NMF, {}), (StratifiedNMF, {"strata": GROUPS})])
@pytest.mark.parametrize("n_init", [1, 3])
def test_the_better_of_two_starts_is_kept(kind, given, n_init):
    options = {"random_state": 1, "max_iter": 20, "tol": 0}
    fit = kind(3, n_init=n_init, **options).fit(X, **given)
    features = kind(3, init="features", n_init=n_init, **options).fit(X, **given)
    nndsvd = kind(3, init="nndsvd", **options).fit(X, **given)
    assert (fit.run_objectives_ == [*features.run_objectives_, *nndsvd.run_objectives_]).all()
    best = min((features, nndsvd), key=lambda model: model.history_["objective"][-1])
    assert (fit.W_ == best.W_).all() and (fit.components_ == best.components_).all() and fit.n_iter_ == 20
    assert (fit.history_["objective"] == best.history_["objective"]).all()


def test_kullback_leibler_begins_at_singular_vectors_once():
    fit = NMF(3, n_init=2, random_state=0, max_iter=10, tol=0, **KL).fit(COUNTS)
    one, other = (
        NMF(3, init=init, random_state=0, max_iter=10, tol=0, n_init=n, **KL).fit(COUNTS).run_objectives_
        for init, n in (("nndsvda", 1), ("features", 2))
    )
    assert fit.run_objectives_.tolist() == [one[0], other[1]]
    strata = StratifiedNMF(3, random_state=0, max_iter=10, tol=0, **KL)
    plain = StratifiedNMF(3, init="features", random_state=0, max_iter=10, tol=0, **KL)
    assert (strata.fit(COUNTS, strata=GROUPS).W_ == plain.fit(COUNTS, strata=GROUPS).W_).all()


@pytest.mark.parametrize(("load", "rank", "gain"), [(load_wine, 5, 1.0), (load_breast_cancer, 8, 1.1)])
def test_real_tables_end_near_the_best_start(load, rank, gain):
    data = load().data
    found = {
        init: np.median(
            [NMF(rank, init=init, random_state=seed, max_iter=500).fit(data).normalized_loss_ for seed in s]
        )
        for init, s in (("auto", range(3)), ("features", range(3)), ("nndsvd", [0]))
    }
    assert found["auto"] <= 1.005 * min(found.values()) and found["features"] > gain * found["auto"]


def test_callbacks_see_both_runs_and_can_stop_the_first():
    seen = []
    NMF(3, random_state=0, max_iter=3, tol=0, callback=lambda state: seen.append((state.run, state.iteration))).fit(X)
    assert seen == [(run, iteration) for run in (0, 1) for iteration in range(4)]
    stopped = NMF(3, random_state=0, callback=lambda state: state.iteration == 2).fit(X)
    assert len(stopped.run_objectives_) == 1 and stopped.n_iter_ == 2


def test_a_fit_goes_on_after_either_run(tmp_path):
    options = {"random_state": 0, "max_iter": 4, "tol": 0}
    whole = NMF(3, **options).fit(X)
    for stop in (2, 7):
        calls = []

        def fail(state, calls=calls, stop=stop):
            calls.append(state)
            if len(calls) == stop:
                raise KeyboardInterrupt

        file = tmp_path / f"{stop}.npz"
        with pytest.raises(KeyboardInterrupt):
            NMF(3, callback=fail, **options).fit(X, checkpoint=file, checkpoint_every=0)
        again = NMF(3, **options).fit(X, checkpoint=file)
        assert (again.W_ == whole.W_).all() and (again.run_objectives_ == whole.run_objectives_).all()


def test_a_given_start_and_batches_have_one():
    custom = NMF(2, init="custom", max_iter=2, tol=0).fit(X, W=rng.random((60, 2)), H=rng.random((2, 12)))
    warm = NMF(2, random_state=0, warm_start=True, max_iter=3, tol=0).fit(X)
    assert len(warm.run_objectives_) == 2 and len(warm.fit(X).run_objectives_) == 1 == len(custom.run_objectives_)
    assert (
        NMF(2, random_state=0).partial_fit(X).components_ == MiniBatchNMF(2, random_state=0).partial_fit(X).components_
    ).all()
    assert (
        StratifiedNMF(2, random_state=0).partial_fit(X, strata=GROUPS).components_
        == StratifiedNMF(2, init="features", random_state=0).partial_fit(X, strata=GROUPS).components_
    ).all()


def test_runs_that_are_to_differ_do():
    assert random_start(NMF(), X, 3) == "features" == random_start(NMF(init="auto", **KL), X, 3)
    assert random_start(NMF(init="rows"), X, 3) == "rows" and random_start(NMF(), sp.csr_array((9, 99)), 2) is None
    plain = NMF(init="features", max_iter=20, tol=0)
    for default in (NMF(max_iter=20, tol=0), NMF(init="auto", max_iter=20, tol=0)):
        losses = [consensus(X, n_components=3, estimator=m, n_runs=4, random_state=0).losses for m in (default, plain)]
        assert (losses[0] == losses[1]).all() and len(set(losses[0])) > 1
        found = [select_rank(X, ranks=[3], estimator=m, n_restarts=3, random_state=0) for m in (default, plain)]
        assert found[0].stability[0] == found[1].stability[0] < 1
