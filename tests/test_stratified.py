"""`StratifiedNMF` and `stratified_nmf` as their users meet them."""

import pickle
import warnings

import numpy as np
import oracles
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from fastnmf import StratifiedNMF, stratified_nmf
from fastnmf.metrics import normalized_loss


@pytest.fixture
def planted():
    """Three strata of rank 2 with shifts on columns of their own, noiseless."""
    rng = np.random.default_rng(6)
    strata = np.array(["a", "b", "c"])[rng.integers(0, 3, 90)]
    V = np.zeros((3, 20))
    V[0, :3], V[1, 3:6], V[2, 6:9] = 2, 3, 4
    W, H = rng.random((90, 2)) * (rng.random((90, 2)) < 0.6), rng.random((2, 20)) * (rng.random((2, 20)) < 0.5)
    return W @ H + V[np.searchsorted(["a", "b", "c"], strata)], strata, V


def test_a_planted_model_is_recovered(planted):
    X, strata, V = planted
    model = StratifiedNMF(2, random_state=0, max_iter=2000, tol=1e-6).fit(X, strata=strata)
    assert model.normalized_loss_ < 1e-3
    # Rows with W = 0 fix the gauge: the shift is the part that every row of a stratum has.
    np.testing.assert_allclose(model.shifts_, V, atol=0.02)
    top = model.top_features(3)
    assert {label: set(names) for label, names in top.strata.items()} == {
        "a": {"0", "1", "2"}, "b": {"3", "4", "5"}, "c": {"6", "7", "8"}}  # fmt: skip
    assert len(top.components) == 2


def test_transform_of_new_rows_and_score(planted):
    X, strata, _ = planted
    model = StratifiedNMF(2, random_state=0, max_iter=500, tol=0).fit(X[:60], strata=strata[:60])
    new, labels = X[60:], strata[60:]
    W = model.transform(new, strata=labels)
    approximation = model.inverse_transform(W, strata=labels)
    for data in (new, sp.csr_array(new)):
        score = model.score(data, strata=labels)
        assert score == pytest.approx(1 - ((new - approximation) ** 2).sum() / (new**2).sum(), rel=1e-9)
    assert 0.99 < score <= 1
    weight = np.arange(30)
    doubled = np.repeat(np.arange(30), weight)
    assert model.score(new, strata=labels, sample_weight=weight) == pytest.approx(
        model.score(new[doubled], strata=labels[doubled]), rel=1e-9
    )


def test_one_stratum_needs_no_labels_anywhere(planted):
    X, _, _ = planted
    model = StratifiedNMF(3, random_state=0, max_iter=300, tol=0).fit(X)
    np.testing.assert_array_equal(model.transform(X), model.W_)
    assert model.shifts_.shape == (1, 20) and model.strata_.tolist() == [0]
    assert model.inverse_transform(model.W_).shape == X.shape and 0 < model.score(X) <= 1


def test_several_strata_without_labels_and_unseen_labels(planted):
    X, strata, _ = planted
    model = StratifiedNMF(2, random_state=0, max_iter=50, tol=0).fit(X, strata=strata)
    for call in (model.transform, model.score):
        with pytest.raises(ValueError, match=r"3 strata.*set_config\(enable_metadata_routing=True\)"):
            call(X)
        with pytest.raises(ValueError, match="label 'z', which was not seen in fit"):
            call(X, strata=np.full(90, "z"))
    with pytest.raises(ValueError, match="3 strata"):
        model.inverse_transform(model.W_)


GOOD = np.ones((4, 3))
BAD_PARAMETERS = [
    ({"n_components": 0}, "n_components=0.*integer >= 1"),
    ({"n_components": 2.5}, "n_components=2.5"),
    ({"n_components": True}, "n_components=True"),
    ({"solver": "newton"}, "solver='newton'.*'hals', 'mu'"),
    ({"init": "zeros"}, "init='zeros'.*'nndsvd'"),
    ({"update_order": "both"}, "update_order='both'"),
    ({"update_order": "simultaneous"}, "needs solver='mu'"),
    ({"tol": -1e-3}, "tol=-0.001.*>= 0"),
    ({"tol": "small"}, "tol='small'"),
    ({"tol": float("nan")}, "tol=nan"),
    ({"max_iter": 0}, "max_iter=0.*>= 1"),
    ({"n_shift_updates": 0}, "n_shift_updates=0"),
    ({"n_threads": 0}, "n_threads=0"),
    ({"extrapolate": "yes"}, "extrapolate='yes'"),
    ({"sweeps": (1, 2)}, r"sweeps=\(1, 2\).*3 integers"),
    ({"sweeps": "quick"}, "sweeps='quick'.*'thorough'"),
    ({"sweeps": (1, 0, 1)}, "3 integers"),
    ({"random_state": "seed"}, "random_state='seed'"),
    ({"init": "custom"}, "pass W, H, V to fit"),
]


@pytest.mark.parametrize("parameters, message", BAD_PARAMETERS)
def test_bad_parameters_get_one_clear_sentence(parameters, message):
    with pytest.raises(ValueError, match=message) as caught:
        StratifiedNMF(**parameters).fit(GOOD)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "X, message",
    [
        (np.ones(3), "Expected 2D array, got 1D array instead"),
        ([1.0, 2.0], "Expected 2D array"),
        (np.ones((3, 2)) * 1j, "Complex data not supported"),
        (-np.ones((3, 2)), "Negative values in data"),
        (np.full((3, 2), np.inf), "contains infinity"),
        (np.ones((3, 0)), r"0 feature\(s\)"),
    ],
)
def test_bad_data_get_one_clear_sentence(X, message):
    with pytest.raises(ValueError, match=message) as caught:
        StratifiedNMF().fit(X)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("start, message", [
    ({"W": np.ones((3, 2))}, r"start W has shape \(3, 2\), expected \(4, 2\)"),
    ({"H": np.ones((3, 2))}, r"start H.*expected \(2, 3\)"),
    ({"V": -np.ones((1, 3))}, "start V contains negative"),
    ({"V": np.full((1, 3), np.nan)}, "start V contains negative or non-finite"),
    ({"V": None}, "V missing"),
])  # fmt: skip
def test_bad_starts(start, message):
    good = {"W": np.ones((4, 2)), "H": np.ones((2, 3)), "V": np.ones((1, 3))}
    with pytest.raises(ValueError, match=message):
        StratifiedNMF(2, init="custom").fit(GOOD, **{**good, **start})
    with pytest.raises(ValueError, match="use init='custom'"):
        StratifiedNMF(2).fit(GOOD, **good)


def test_stopping(planted):
    X, strata, _ = planted
    noisy = X + np.random.default_rng(0).random(X.shape)
    with pytest.warns(ConvergenceWarning, match="max_iter=3"):
        model = StratifiedNMF(2, random_state=0, max_iter=3).fit(X, strata=strata)
    assert not model.converged_ and model.stopped_by_ == "max_iter" and model.n_iter_ == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = StratifiedNMF(2, random_state=0, max_iter=3, tol=0).fit(X, strata=strata)
        assert model.converged_ and model.n_iter_ == 3
        model = StratifiedNMF(2, random_state=0, max_iter=5000, tol=1e-2, extrapolate=False).fit(noisy, strata=strata)
        good, exact = (
            StratifiedNMF(2, init="rows", random_state=0, max_iter=5000, tol=tol).fit(X, strata=strata)
            for tol in (1e-4, 1e-12)
        )
    assert exact.stopped_by_ == "tol" and exact.normalized_loss_ < 1e-14  # no use in going on: the rest is rounding
    assert good.normalized_loss_ < 1e-6 and good.n_iter_ < 0.8 * exact.n_iter_  # what is below `tol` counts as `tol`
    assert model.converged_ and model.stopped_by_ == "tol" and model.n_iter_ == len(model.history_["iteration"]) - 1
    squares = model.history_["normalized_loss"] ** 2
    assert 10 * (squares[-12] - squares[-2]) > 1e-2 * squares[-2]  # not one iteration earlier


def test_plain_hals_is_coordinate_descent_step_by_step(planted):
    """One iteration: sweeps of W, exact shifts and sweeps of H in turn, exact shifts, as the oracles spell them out."""
    X, strata, _ = planted
    order = np.argsort(strata, kind="stable")
    X, strata = X[order], strata[order]
    blocks = [X[strata == label] for label in "abc"]

    def iteration(blocks, V, W, H):
        for _ in range(2):
            W = oracles.hals_left(blocks, V, W, H)
        for _ in range(3):
            V = oracles.exact_shift(blocks, V, W, H)
            H = oracles.hals_right(blocks, V, W, H)
        return oracles.exact_shift(blocks, V, W, H), W, H

    V, W, H = oracles.random_start(blocks, 2, seed=3)
    V *= [block.any(axis=0) for block in blocks]  # a shift of a column that the stratum does not use is dropped
    want, (V1, W1, H1) = oracles.losses(blocks, (V, W, H), 4, iteration=iteration)
    model = StratifiedNMF(2, init="custom", max_iter=4, tol=0, extrapolate=False, sweeps=(2, 3, 1))
    model.fit(X, strata=strata, W=np.concatenate(W), H=H, V=V)
    np.testing.assert_allclose(model.history_["normalized_loss"][:-1], want[:-1], rtol=1e-10)
    assert model.normalized_loss_ <= want[-1]  # W is solved for exactly once more after the last sweep
    found, wanted = (H / H.max(axis=1, keepdims=True) for H in (model.components_, H1))  # W and H are balanced
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-13)
    np.testing.assert_allclose(model.shifts_, V1, rtol=1e-8, atol=1e-13)
    assert not model.components_[:, 9].any()  # a column that is zero everywhere


def test_extrapolation_gets_further_in_as_many_iterations():
    rng = np.random.default_rng(8)
    X = sp.random_array((300, 200), density=0.1, rng=rng, format="csr")
    strata = rng.integers(0, 3, 300)
    plain, carried = (
        StratifiedNMF(8, random_state=0, max_iter=25, tol=0, extrapolate=choice).fit(X, strata=strata)
        for choice in (False, True)
    )
    assert (np.diff(plain.history_["normalized_loss"]) <= 0).all()
    assert carried.normalized_loss_ < plain.normalized_loss_


def test_names_frames_and_set_output(planted):
    X, strata, _ = planted
    frame = pd.DataFrame(X, columns=[f"gene{j}" for j in range(20)], index=np.arange(90) + 7)
    model = (
        StratifiedNMF(2, random_state=0, max_iter=500)
        .set_output(transform="pandas")
        .fit(frame, strata=pd.Series(strata, frame.index))
    )
    out = model.transform(frame, strata=strata)
    assert out.columns.tolist() == ["stratifiednmf0", "stratifiednmf1"] and (out.index == frame.index).all()
    assert model.get_feature_names_out().tolist() == ["stratifiednmf0", "stratifiednmf1"]
    assert model.top_features(1).strata["a"][0] in ("gene0", "gene1", "gene2")
    with pytest.raises(ValueError, match="3 names for 20 features"):
        model.top_features(feature_names=["a", "b", "c"])


def test_top_features_are_descending_and_ties_go_to_the_first():
    model = StratifiedNMF(1)
    model.shifts_, model.components_ = np.array([[1.0, 3, 3, 0, 2]]), np.zeros((1, 5))
    model.strata_, model.n_features_in_, model.W_ = np.array(["x"]), 5, np.array([[0.0], [2], [2], [1]])
    top = model.top_features(4, feature_names=list("pqrst"))
    assert top.strata == {"x": ["q", "r", "t", "p"]} and top.components == [[]]
    assert model.top_samples(3).tolist() == [[1, 2, 3]]


def test_clone_pickle_and_not_fitted(planted):
    X, strata, _ = planted
    model = StratifiedNMF(2, random_state=0, max_iter=400, tol=0, solver="mu").fit(X, strata=strata)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(X, strata=strata), model.transform(X, strata=strata))
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        clone(model).transform(X, strata=strata)


def test_pipeline_and_search_with_routed_strata(planted):
    X, strata, _ = planted
    counts = sp.csr_array(np.round(10 * X))
    with sklearn.config_context(enable_metadata_routing=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        pipe = make_pipeline(TfidfTransformer(), StratifiedNMF(2, random_state=0, max_iter=60))
        W = pipe.fit_transform(counts, strata=strata)
        np.testing.assert_allclose(pipe.transform(counts, strata=strata), W, rtol=1e-9, atol=1e-12)
        assert 0 < pipe.score(counts, strata=strata) <= 1
        grid = {"stratifiednmf__n_components": [1, 2]}
        search = GridSearchCV(pipe, grid, cv=3, error_score="raise").fit(counts, strata=strata)
    assert search.best_params_["stratifiednmf__n_components"] == 2
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_verbose_says_what_happens(planted, capsys):
    X, strata, _ = planted
    StratifiedNMF(2, random_state=0, max_iter=5, tol=0, verbose=1).fit(X, strata=strata)
    said = capsys.readouterr()
    assert "StratifiedNMF, run 2 of 2: iteration 5/5, normalized loss 0." in said.err and not said.out
    StratifiedNMF(2, init="features", random_state=0, max_iter=5, tol=0, verbose=1).fit(X, strata=strata)
    assert "StratifiedNMF: iteration 5/5, normalized loss 0." in capsys.readouterr().err


def test_a_bar_is_drawn_where_someone_watches(planted, monkeypatch):
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    X, strata, _ = planted
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")  # a narrow one has no room for the name
    StratifiedNMF(2, random_state=0, max_iter=50, tol=0, verbose=1).fit(X, strata=strata)
    assert "StratifiedNMF" in terminal.getvalue() and "/50" in terminal.getvalue()


def test_random_states_of_all_kinds(planted):
    X, strata, _ = planted

    def fit(state):
        return StratifiedNMF(2, random_state=state, max_iter=3, tol=0).fit(X, strata=strata).components_

    assert (fit(7) == fit(np.random.default_rng(7))).all() and (fit(7) == fit(np.int64(7))).all()
    assert (fit(np.random.RandomState(7)) == fit(np.random.RandomState(7))).all()


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csr_array, sp.coo_array])
def test_the_drop_in_function(planted, form):
    X, strata, _ = planted
    dense = [X[strata == label] for label in "abc"]
    V, W, H, losses = stratified_nmf([form(block) for block in dense], 2, 30, random_state=1)
    assert V.shape == (3, 20) and H.shape == (2, 20) and [len(w) for w in W] == [len(b) for b in dense]
    want, (V1, W1, H1) = oracles.losses(
        dense, oracles.random_start(dense, 2, seed=1), 30, iteration=oracles.mu_iteration, order="simultaneous"
    )
    np.testing.assert_allclose(losses, want, rtol=1e-8)
    np.testing.assert_allclose(V, V1, rtol=1e-6)
    np.testing.assert_allclose(H, H1, rtol=1e-6)
    codes = np.repeat(np.arange(3), [len(b) for b in dense])
    assert losses[-1] == pytest.approx(normalized_loss(np.concatenate(dense), np.concatenate(W), H, V, codes), rel=1e-9)


def test_the_drop_in_function_without_iterations_or_losses(planted):
    X, _, _ = planted
    V, W, H, losses = stratified_nmf([X[:40], X[40:]], 2, 0, calculate_loss=False, random_state=1)
    start = oracles.random_start([X[:40], X[40:]], 2, seed=1)
    np.testing.assert_array_equal(V, start[0])
    np.testing.assert_array_equal(H, start[2])
    assert losses.tolist() == [0]
    with pytest.raises(ValueError, match="iters=-1"):
        stratified_nmf([X], 2, -1)
