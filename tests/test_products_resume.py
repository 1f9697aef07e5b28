"""Models of other products: fits that are interrupted, that go on from the one before, or that try several starts."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastnmf import (
    BilinearNMF,
    ConvexNMF,
    ConvolutiveNMF,
    KernelNMF,
    OrthogonalNMF,
    ProjectiveNMF,
    SemiNMF,
    SymmetricNMF,
    TriNMF,
    TriSymmetricNMF,
)
from fastnmf.models import convolutive

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
A = np.random.default_rng(0).random((12, 12))
A = A + A.T  # fits the symmetric models, too
S = A * (np.random.default_rng(1).random((12, 12)) < 0.4)
S[3], S[:, 3] = 0, 0
SPARSE = S + S.T + np.diag(np.where(np.arange(12) == 3, 0, 1.0))
SIGNED = A - 1.2
MODELS = {
    "tri": TriNMF((3, 2)),
    "tri-random": TriNMF((2, 3), init="random"),
    "tri-mu": TriNMF(3, solver="mu"),
    "tri-orthogonal": TriNMF(3, orthogonal=True),
    "tri-em": TriNMF(3, orthogonal=True, solver="em", n_init=1),
    "trisymmetric": TriSymmetricNMF(3, init="anchors"),
    "trisymmetric-mu": TriSymmetricNMF(3, solver="mu", init="symmetric"),
    "trisymmetric-random": TriSymmetricNMF(3, init="random"),
    "trisymmetric-cooccurrence": TriSymmetricNMF(3, affinity="cooccurrence"),
    "symmetric": SymmetricNMF(3),
    "symmetric-mu": SymmetricNMF(3, solver="mu"),
    "symmetric-penalised": SymmetricNMF(3, solver="penalised"),
    "semi": SemiNMF(3),
    "semi-random": SemiNMF(3, init="random"),
    "orthogonal": OrthogonalNMF(3),
    "orthogonal-random": OrthogonalNMF(6, init="random"),
    "orthogonal-mu": OrthogonalNMF(3, solver="mu"),
    "projective": ProjectiveNMF(3),
    "projective-clusters": ProjectiveNMF(3, init="clusters"),
    "projective-mu": ProjectiveNMF(3, solver="mu"),
    "convex": ConvexNMF(3),
    "convex-mu": ConvexNMF(3, solver="mu"),
    "kernel": KernelNMF(3),
    "kernel-mu": KernelNMF(3, solver="mu", kernel="linear"),
    "bilinear": BilinearNMF(3),
    "bilinear-random": BilinearNMF(3, init="random", sweeps=1),
    "convolutive": ConvolutiveNMF(3, n_lags=3),
    "convolutive-kl": ConvolutiveNMF(2, n_lags=3, beta_loss="kullback-leibler"),
    "convolutive-random": ConvolutiveNMF(3, n_lags=2, init="random", beta_loss=1.5),
}
SAME_STARTS = ("trisymmetric", "trisymmetric-cooccurrence", "semi")  # the seed decides nothing
every_model = pytest.mark.parametrize("name", MODELS)


class Interrupt(Exception):
    pass


def make(name, **more):
    return MODELS[name].__class__(**MODELS[name].get_params() | {"random_state": 0, "max_iter": 9, "tol": 0} | more)


def data(name, form="dense"):
    X = SIGNED if "semi" in name or "kernel" in name else A
    X = SPARSE if form == "sparse" and X is A else X
    if form == "sparse" and "kernel" not in name:
        X = sp.csr_array(X)
    return X.astype(np.float32) if form == "single" else X


def state(model):
    """Return the fitted attributes by name, with their bits; times are left out."""
    found = {name: value for name, value in vars(model).items() if name.endswith("_") or name == "_inner"}
    history = {f"history {key}": value for key, value in found.pop("history_").items() if key != "seconds"}
    return {
        name: (value.dtype, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
        for name, value in (found | history).items()
        if not hasattr(value, "indptr")
    }


def stop_at(iteration, run=0):
    def stop(at):
        if (at.iteration, at.run) == (iteration, run):
            raise Interrupt

    return stop


def resumed(name, X, path, at, **more):
    """Return a model whose fit was interrupted and resumed, and the iteration with which it went on."""
    with pytest.raises(Interrupt):
        make(name, callback=stop_at(*at), **more).fit(X, checkpoint=path, checkpoint_every=0)
    begun = []
    model = make(name, callback=lambda now: begun.append((now.iteration, now.run)), **more)
    return model.fit(X, checkpoint=path), begun


@every_model
@pytest.mark.parametrize("form", ["dense", "sparse", "single"])
def test_a_fit_that_was_interrupted_ends_with_the_bits_of_one_that_was_not(name, form, tmp_path):
    X = data(name, form)
    model, begun = resumed(name, X, tmp_path / "state", (4, 0))
    assert begun[0] == (3, 0)
    wanted = make(name).fit(X)
    found, wanted = state(model), state(wanted)
    assert found.keys() == wanted.keys() and not [name for name in wanted if found[name] != wanted[name]]


@pytest.mark.parametrize("name", [name for name in MODELS if name not in SAME_STARTS])
def test_the_best_of_several_starts_is_kept(name, tmp_path):
    X = data(name)
    wanted = make(name, n_init=4).fit(X)
    assert len(wanted.run_objectives_) == 4 and len(set(wanted.run_objectives_)) > 1
    single, best = make(name).fit(X), wanted.run_objectives_.min()
    assert wanted.run_objectives_[0] == single.run_objectives_[0]
    assert wanted.history_["objective"][-1] <= best * (1 + 1e-12)  # the last weights may be exact, and better
    assert (best < wanted.run_objectives_[0]) == (state(wanted)["W_"] != state(single)["W_"])
    model, begun = resumed(name, X, tmp_path / "state", (4, 2), n_init=4)
    assert begun[0] == (3, 2)
    assert state(model) == state(wanted)


@pytest.mark.parametrize("name", SAME_STARTS)
def test_starts_without_random_numbers_are_made_once(name):
    assert len(make(name, n_init=4).fit(data(name)).run_objectives_) == 1


@every_model
@pytest.mark.parametrize("factor", [1.0, 2.0**500])
def test_a_warm_start_goes_on_where_the_fit_before_has_ended(name, factor):
    X = (factor**0.25 if "kernel" in name else factor) * data(name)  # a kernel may square its data
    model = make(name, warm_start=True).fit(X)
    before = model.normalized_loss_
    losses = model.fit(X).history_["normalized_loss"]
    # Multiplicative updates cannot leave a zero, of which exact weights and kernels with negative entries have some.
    assert losses[0] == pytest.approx(before, rel=1e-2 if name[:4] == "conv" or name == "kernel-mu" else 1e-9)
    assert losses[-1] <= before * (1 + 1e-9) and model.n_iter_ == 9 and len(model.run_objectives_) == 1


@every_model
def test_a_warm_start_needs_the_shapes_of_the_fit_before(name):
    model = make(name, warm_start=True).fit(data(name))
    with pytest.raises(ValueError, match="warm_start continues from"):
        model.set_params(n_components=4).fit(data(name))


@pytest.mark.parametrize("name", ["tri", "semi"])
def test_a_checkpoint_of_a_warm_start_knows_the_model_before(name, tmp_path):
    path, X = tmp_path / "state", data(name)
    model = make(name, warm_start=True).fit(X).set_params(callback=stop_at(4))
    with pytest.raises(Interrupt):
        model.fit(X, checkpoint=path, checkpoint_every=0)
    other = make(name, warm_start=True, max_iter=8).fit(X).set_params(max_iter=9)
    with pytest.raises(ValueError, match="the model that warm_start goes on from"):
        other.fit(X, checkpoint=path)
    wanted = make(name, warm_start=True).fit(X).fit(X)
    assert state(model.set_params(callback=None).fit(X, checkpoint=path)) == state(wanted)


def test_a_search_for_a_start_is_not_repeated_when_a_fit_is_resumed(tmp_path, monkeypatch):
    path = tmp_path / "state"
    with pytest.raises(Interrupt):
        make("convolutive", callback=stop_at(4)).fit(A, checkpoint=path, checkpoint_every=0)
    monkeypatch.setattr(convolutive.ShiftSearch, "step", None)
    assert make("convolutive").fit(A, checkpoint=path).n_iter_ == 9


def test_a_search_stops_when_a_round_of_all_components_has_brought_nothing(monkeypatch):
    tried, real = [], convolutive.ShiftSearch.step
    monkeypatch.setattr(convolutive.ShiftSearch, "step", lambda self: tried.append(real(self)) or tried[-1])
    make("convolutive").fit(A)
    assert 3 <= len(tried) <= 15 and (np.diff(tried) <= 0).all() and len(set(tried[-4:])) <= 2
    monkeypatch.setattr(convolutive, "GAIN", 1.0)
    for more, n_steps in (({}, 3), ({"max_time": 0}, 1)):
        tried.clear()
        make("convolutive", **more).fit(A)
        assert len(tried) == n_steps
