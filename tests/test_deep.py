"""Chains of factors: fixed numbers, plain loops, levels and starts."""

import numpy as np
import oracle_data
import oracles_structured as oracles
import pytest
import scipy.sparse as sp

from fastnmf import NMF, DeepNMF

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence


def drawn():
    """Draw the data of the fixed-seed case and its start; the case has one sample a column."""
    rng = np.random.default_rng(18)
    X, W, first, second = rng.random((30, 20)), rng.random((30, 8)), rng.random((8, 5)), rng.random((5, 20))
    return X.T, {"W": second.T, "layers": [W.T, first.T]}


def test_fixed_seed_numbers():
    X, start = drawn()
    model = DeepNMF((8, 5), init="custom", solver="mu", tol=0, max_iter=1000).fit(X, **start)
    wanted = oracle_data.variants()["deep_chain_mu"]["obj"]
    assert len(wanted) == 4
    for i, value in wanted.items():  # 1000 iterations amplify rounding
        assert model.history_["objective"][int(i)] == pytest.approx(value, rel=1e-8 if int(i) <= 100 else 1e-5), i
    assert (np.diff(model.history_["objective"]) <= 1e-13 * np.sum(X**2)).all()


@pytest.mark.parametrize("solver", ["cd", "mu"])
@pytest.mark.parametrize("sizes", [(4,), (4, 3), (6, 4, 3)])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_steps_are_those_of_plain_formulas(solver, sizes, form):
    rng = np.random.default_rng(2)
    X = rng.random((13, 9)) * (rng.random((13, 9)) < 0.7)
    W, layers = rng.random((13, sizes[-1])), [rng.random(s) for s in zip(sizes, (9, *sizes), strict=False)]
    model = DeepNMF(sizes, solver=solver, init="custom", tol=0, max_iter=4).fit(form(X), W=W, layers=layers)
    factors = [W, *layers[::-1]]
    for i in (1, 2, 3):
        factors = oracles.chain_step(X, factors, 2 if solver == "cd" else 0)
        assert model.history_["objective"][i] == pytest.approx(np.sum((X - oracles.chain(factors)) ** 2), rel=1e-10)


def test_levels_are_products_of_the_layers():
    X, _ = drawn()
    model = DeepNMF((6, 4, 2), random_state=0, max_iter=50).fit(X)
    assert [layer.shape for layer in model.layer_weights_] == [(6, 30), (4, 6), (2, 4)]
    assert [level.shape for level in model.level_components_] == [(6, 30), (4, 30), (2, 30)]
    for F in (*model.layer_weights_, *model.level_components_):
        np.testing.assert_allclose(F.sum(axis=1), 1)
    np.testing.assert_allclose(model.components_, oracles.chain(model.layer_weights_[::-1]))
    np.testing.assert_allclose(model.inverse_transform(model.W_), model.W_ @ model.components_)


@pytest.mark.parametrize("init", ["sequential", "nested", "random"])
def test_every_start_comes_to_what_the_last_level_can_explain(init):
    X, _ = drawn()
    model = DeepNMF((8, 5), init=init, random_state=0).fit(X)
    plain = NMF(5, init="nndsvda", tol=1e-8, max_iter=2000).fit(X)
    # Local minima of these data lie within one percent; the chain cannot be better than a plain model of its rank.
    assert model.reconstruction_err_ == pytest.approx(plain.reconstruction_err_, rel=0.01)


def test_planted_topics_of_topics_are_found():
    rng = np.random.default_rng(5)
    fine, coarse = np.kron(np.eye(6), 0.5 + rng.random((1, 4))), np.kron(np.eye(3), np.ones((1, 2)))
    X = rng.random((60, 3)) @ coarse @ fine
    model = DeepNMF((6, 3), random_state=0, max_iter=2000, tol=1e-7).fit(X)
    assert model.normalized_loss_ < 1e-2
    assert oracles.matched(model.components_, coarse @ fine) > 0.99


def test_sparse_data_stay_sparse(monkeypatch):
    X = sp.random_array((3000, 700), density=0.002, rng=np.random.default_rng(0), format="csr")

    for kind in (sp.csr_array, sp.csc_array, sp.csr_matrix):

        def few(self, *args, real=kind.toarray, **kwargs):
            assert min(self.shape) <= 8, "made dense"  # as many rows as there are components, for the start
            return real(self, *args, **kwargs)

        monkeypatch.setattr(kind, "toarray", few)
    model = DeepNMF((5, 3), max_iter=2, random_state=0).fit(X.astype(np.float32))
    assert model.transform(X[:50]).shape == (50, 3) and model.components_.dtype == np.float32


@pytest.mark.parametrize(
    ("options", "start", "match"),
    [
        ({"n_components": (3, 5)}, {}, "none larger than the one before"),
        ({"n_components": "auto"}, {}, "expected an integer, or several"),
        ({"solver": "hals"}, {}, "solver='hals' is not known"),
        ({"init": "nndsvd"}, {}, "init='nndsvd' is not known"),
        ({"init": "custom"}, {"W": np.ones((20, 2))}, r"layers\[0\] is missing"),
        (
            {"init": "custom"},
            {"W": np.ones((20, 2)), "layers": [np.ones((4, 30))]},
            r"a list of 2 arrays of shapes \(4, 30\), \(2, 4\)",
        ),
        ({"init": "custom"}, {"W": np.ones((20, 2)), "layers": [np.ones((4, 30)), np.ones((4, 2))]}, r"\(2, 4\)"),
        ({"init": "custom"}, {"W": np.ones((20, 2)), "layers": 3}, "layers is not valid; expected a list"),
        ({}, {"W": np.ones((20, 4))}, "use init='custom'"),
    ],
)
def test_what_cannot_be_used_is_refused(options, start, match):
    with pytest.raises(ValueError, match=match):
        DeepNMF(**options).fit(drawn()[0], **start)


# ---------------------------------------------------------------- how a fit goes on and ends


class Interrupt(Exception):
    pass


def assert_same_fit(ours, theirs):
    for mine, other in zip((ours.W_, *ours.layer_weights_), (theirs.W_, *theirs.layer_weights_), strict=True):
        assert mine.tobytes() == other.tobytes()
    assert ours.history_["objective"].tobytes() == theirs.history_["objective"].tobytes()
    assert ours.run_objectives_.tobytes() == theirs.run_objectives_.tobytes()


@pytest.mark.parametrize(("solver", "form"), [("cd", np.asarray), ("mu", sp.csr_array)])
def test_an_interrupted_fit_ends_as_one_that_was_not(solver, form, tmp_path):
    X, state = form(drawn()[0]), tmp_path / "state.npz"
    options = {"solver": solver, "init": "nested", "random_state": 0, "max_iter": 9, "tol": 0, "n_init": 2}
    whole = DeepNMF((6, 3), **options).fit(X)
    for at in ((0, 0), (0, 4), (0, 4), (1, 1), (1, 8)):

        def stop(seen, at=at):
            if (seen.run, seen.iteration) == at:
                raise Interrupt

        with pytest.raises(Interrupt):
            DeepNMF((6, 3), callback=stop, **options).fit(X, checkpoint=state, checkpoint_every=0)
    assert_same_fit(DeepNMF((6, 3), **options).fit(X, checkpoint=state), whole)


@pytest.mark.parametrize("solver", ["cd", "mu"])
def test_a_fit_goes_on_from_the_one_before(solver):
    X = drawn()[0]
    options = {"n_components": (6, 4, 3), "solver": solver, "random_state": 0, "tol": 0}
    model = DeepNMF(max_iter=20, warm_start=True, **options).fit(X)
    end = model.history_["objective"][-1]
    model.fit(X)
    assert model.history_["objective"][0] == pytest.approx(end, rel=1e-2) and model.history_["objective"][-1] < end
    long = DeepNMF(max_iter=40, **options).fit(X)
    assert model.reconstruction_err_ == pytest.approx(long.reconstruction_err_, rel=0.01)
    for changed, words in (
        ({"n_components": (6, 4)}, "continues from 3 levels, but n_components asks for 2"),
        ({"n_components": (6, 5, 3)}, r"continues from layer_weights_\[1\] of shape \(4, 6\), but \(5, 6\)"),
    ):
        with pytest.raises(ValueError, match=words):
            DeepNMF(warm_start=True, **options).fit(X).set_params(**changed).fit(X)
    with pytest.raises(ValueError, match=r"continues from W of shape \(20, 3\), but \(10, 3\)"):
        model.fit(X[:10])
    with pytest.raises(ValueError, match="use init='custom'"):
        model.fit(X, W=model.W_)
