"""Several starts of one fit: the best is kept, the first is the fit without repetitions."""

import numpy as np
import pytest

from fastnmf import NMF, StratifiedNMF
from fastnmf.datasets.planted import make_stratified

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
BUNCH = make_stratified((14, 12), n_features=15, n_components=3, noise=0.3, random_state=0)
MODELS = {
    "cd": (NMF, {"init": "features"}),
    "mu": (NMF, {"solver": "mu"}),
    "random": (NMF, {"init": "random", "shuffle": True}),
    "nndsvdar": (NMF, {"init": "nndsvdar"}),
    "stratified": (StratifiedNMF, {"init": "features"}),
    "stratified-kl": (StratifiedNMF, {"solver": "mu", "beta_loss": "kullback-leibler"}),
    "stratified-missing": (StratifiedNMF, {"init": "features", "missing_values": "zeros"}),
}
every_model = pytest.mark.parametrize("name", MODELS)


def fitted(name, **options):
    cls, parameters = MODELS[name]
    model = cls(**{"n_components": 4, "random_state": 0, "max_iter": 15, "tol": 0, **parameters, **options})
    return model.fit(BUNCH.data, **({"strata": BUNCH.strata} if cls is StratifiedNMF else {}))


def same(a, b):
    return (a.W_ == b.W_).all() and (a.components_ == b.components_).all()


@every_model
def test_the_best_of_all_starts_is_kept(name):
    ends = {}
    model = fitted(name, n_init=4, callback=lambda state: ends.update({state.run: state.normalized_loss}))
    assert list(ends) == [0, 1, 2, 3] and len(model.run_objectives_) == 4
    assert len(set(ends.values())) == 4  # other starts, other ends: there is something to choose
    best = int(np.argmin(model.run_objectives_))
    assert ends[best] == min(ends.values())
    # After its last sweep coordinate descent solves for W exactly, so the loss is at most that.
    last = model.history_["normalized_loss"][-1]
    assert last == ends[best] if model.solver == "mu" else last <= ends[best]
    assert last < min(end for run, end in ends.items() if run != best)


@every_model
def test_the_first_run_is_the_fit_without_repetitions(name):
    one, four = fitted(name), fitted(name, n_init=4)
    assert one.run_objectives_.tolist() == four.run_objectives_.tolist()[:1]
    np.testing.assert_array_equal(four.run_objectives_, fitted(name, n_init=4, n_threads=1).run_objectives_)
    np.testing.assert_array_equal(four.run_objectives_[:2], fitted(name, n_init=2).run_objectives_)


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_no_start_follows_one_that_leaves_nothing(scale):
    """Of data with an exact factorisation: its normalized loss is below `tol`. With ``tol=0`` all starts are tried."""
    X = scale * BUNCH.data[:, :2]
    for init in (None, "random"):
        model = NMF(2, init=init, n_init=3, random_state=0).fit(X)
        assert len(model.run_objectives_) == 1 and model.normalized_loss_ < model.tol
        assert len(NMF(2, init=init, n_init=3, tol=0, max_iter=20, random_state=0).fit(X).run_objectives_) > 1


@pytest.mark.parametrize("kind", [np.random.default_rng, np.random.RandomState])
def test_generators_give_the_seeds_too(kind):
    first, again = (fitted("stratified", n_init=3, random_state=kind(1)) for _ in range(2))
    assert same(first, again) and len(set(first.run_objectives_.tolist())) == 3
    assert fitted("stratified", random_state=kind(1)).run_objectives_[0] == first.run_objectives_[0]


@pytest.mark.parametrize("init, tries", [("nndsvd", 1), ("nndsvda", 1), ("nndsvdar", 3), ("rows", 3)])
def test_starts_that_are_all_alike_are_tried_once(init, tries):
    model = fitted("cd", init=init, n_init=3)
    assert len(model.run_objectives_) == tries


def test_several_starts_are_refused_where_one_is_given():
    model = fitted("cd")
    with pytest.raises(
        ValueError, match="n_init=3 requests several starts, but init='custom' gives only one; set n_init=1"
    ):
        NMF(4, init="custom", n_init=3).fit(BUNCH.data, W=model.W_, H=model.components_)
    with pytest.raises(
        ValueError, match="n_init=3 requests several starts, but init=model gives only one; set n_init=1"
    ):
        NMF(4, init=model, n_init=3).fit(BUNCH.data)


def test_a_warm_start_is_tried_once():
    model = fitted("cd", n_init=3)
    model.set_params(warm_start=True).fit(BUNCH.data)
    assert len(model.run_objectives_) == 1
    assert model.run_objectives_[0] <= fitted("cd", n_init=3).run_objectives_.min()  # it went on from the best


def test_a_callback_stops_all_runs_and_sees_the_time_of_all():
    seen = []

    def watch(state):
        seen.append((state.run, state.iteration, state.seconds))
        return state.run == 1 and state.iteration == 2

    model = fitted("stratified", n_init=4, callback=watch)
    assert [run for run, _, _ in seen] == [0] * 16 + [1] * 3
    assert (np.diff([seconds for _, _, seconds in seen]) >= 0).all()
    assert len(model.run_objectives_) == 2 and model.n_iter_ == 15  # two iterations are worse than fifteen


def test_no_run_begins_after_the_time_is_up():
    model = fitted("stratified", n_init=4, max_time=0)
    assert model.stopped_by_ == "max_time" and model.n_iter_ == 1 and len(model.run_objectives_) == 1
    assert len(fitted("stratified", n_init=4, max_time=1e6).run_objectives_) == 4


def test_progress_names_the_run(capsys):
    fitted("cd", n_init=2, verbose=1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("NMF, run 1 of 2: iteration 0/15") and lines[-1].startswith("NMF, run 2 of 2: iteration")
    fitted("cd", verbose=1)
    assert capsys.readouterr().err.startswith("NMF: iteration 0/15")


def test_callbacks_of_scikit_learn_see_all_runs():
    callback = pytest.importorskip("sklearn.callback")
    pytest.importorskip("rich")
    for init, n_runs in (("features", 3), ("auto", 4)):  # "auto" adds nndsvd
        model = NMF(3, init=init, n_init=3, max_iter=4, tol=0, random_state=0).set_callbacks(callback.ProgressBar())
        model.fit(BUNCH.data)
        assert len(model.run_objectives_) == n_runs


@pytest.mark.parametrize("n_init", [0, 1.5, True, "3"])
def test_n_init_is_checked(n_init):
    with pytest.raises(ValueError, match="n_init=.* is not valid; expected an integer >= 1"):
        fitted("cd", n_init=n_init)
