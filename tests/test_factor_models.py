"""What all models of other shapes take beside their own parameters: max_time, callback, n_threads."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp

import fastnmf
from fastnmf.kernels import jit
from fastnmf.models.base.products import BasisModel, WeightModel
from fastnmf.models.symmetric import GraphModel

PUBLIC = [getattr(fastnmf, name) for name, home in fastnmf._HOMES.items() if home.startswith("fastnmf.models.")]
KINDS = [kind for kind in PUBLIC if isinstance(kind, type) and issubclass(kind, (WeightModel, GraphModel))]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
A = np.random.default_rng(0).random((12, 12))
A = A + A.T  # fits the symmetric models, too


def fitted(kind, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(**{"random_state": 0, "tol": 0, "max_iter": 6} | options).fit(A)


def test_there_are_such_models():
    assert {"TriNMF", "SymmetricNMF", "KernelNMF"} <= {kind.__name__ for kind in KINDS}


@every_kind
def test_a_callback_sees_every_iteration_and_stops_the_fit(kind):
    seen = []

    def watch(state):
        seen.append((state.iteration, state.normalized_loss, state.W, state.H))
        return state.iteration == 3

    model = fitted(kind, callback=watch)
    assert [state[0] for state in seen] == [0, 1, 2, 3]
    assert (model.n_iter_, model.stopped_by_, model.converged_) == (3, "callback", False)
    losses = np.array([state[1] for state in seen])
    np.testing.assert_allclose(losses[:3], model.history_["normalized_loss"][:3], rtol=1e-14)  # the last W is exact
    W, H = seen[3][2:]
    assert W is not None or H is not None
    for F, was in ((W, seen[0][2]), (H, seen[0][3])):
        assert F is None or not np.array_equal(F, was)  # copies, which stay as they were
    assert H is None or H.shape[-1] == 12


@every_kind
def test_watching_changes_nothing(kind):
    plain, watched = fitted(kind), fitted(kind, callback=lambda state: (state.W, state.H) is None, n_threads=1)
    assert plain.W_.tobytes() == watched.W_.tobytes()
    np.testing.assert_array_equal(plain.history_["objective"], watched.history_["objective"])


@every_kind
def test_max_time_stops_after_an_iteration(kind):
    model = fitted(kind, max_time=0, tol=1e-4)
    assert (model.n_iter_, model.stopped_by_, model.converged_) == (1, "max_time", False)
    assert fitted(kind, max_time=600).n_iter_ == 6


@every_kind
def test_n_threads_holds_in_fit_and_transform(kind, monkeypatch):
    asked, real = [], jit.threads
    for module in ("base.estimator", "base.products", "projective", "kernel", "convolutive"):
        monkeypatch.setattr(f"fastnmf.models.{module}.threads", lambda n=None: asked.append(n) or real(n))
    model = fitted(kind, n_threads=2)
    assert asked and set(asked) == {2}
    if hasattr(kind, "transform"):
        asked.clear()
        model.transform(A[:3])
        assert asked and set(asked) == {2}


@every_kind
@pytest.mark.parametrize(("name", "value"), [("max_time", -1), ("callback", 3), ("n_threads", 0)])
def test_what_cannot_be_used_is_refused(kind, name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        fitted(kind, **{name: value})


@pytest.mark.parametrize("kind", [kind for kind in KINDS if issubclass(kind, BasisModel)])
def test_progress_is_shown(kind, capsys):
    fitted(kind, verbose=1)
    assert f"{kind.__name__}: iteration 6/6" in capsys.readouterr().err


def test_a_callback_sees_the_factors_of_data_of_extreme_scale():
    seen, X = [], sp.random_array((9, 7), density=0.6, rng=np.random.default_rng(1), format="csr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fastnmf.SemiNMF(2, max_iter=3, tol=0, callback=lambda state: seen.append((state.W, state.H)))
        model.fit(X * 1e140)
    W, H = seen[-1]
    np.testing.assert_allclose(W @ H, model.W_ @ model.components_, rtol=1e-9, atol=1e130)


@every_kind
def test_callbacks_of_scikit_learn(kind):
    callbacks = pytest.importorskip("sklearn.callback")
    options = {"random_state": 0, "tol": 0, "max_iter": 4}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, watched = kind(**options).fit(A), kind(**options).set_callbacks(callbacks.ProgressBar()).fit(A)
    assert plain.W_.tobytes() == watched.W_.tobytes()
