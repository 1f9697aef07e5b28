"""What generated cases (`tests/fuzz.py`) found: errors of NumPy or Python themselves, and NaN, are now sentences."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from fuzz import one_sentence
from sklearn.utils import Bunch

import fastnmf
from fastnmf import compose, datasets, metrics, plots, testing

X = np.arange(12.0).reshape(4, 3)
FACTORS = {"W": np.ones((4, 2)), "H": np.ones((2, 3))}


stratified = fastnmf.StratifiedNMF(2, max_iter=2, random_state=0).fit(X, strata=[0, 0, 1, 1])


def nmf(**parameters):
    return fastnmf.NMF(2, max_iter=2, random_state=0).set_params(**parameters)


REFUSED = {
    # values whose repr has several lines
    "n_components": (
        lambda: nmf(n_components=sp.eye_array(3).tocsr()).fit(X),
        "n_components=<Compressed.* integer >= 1",
    ),
    "solver": (lambda: nmf(solver=np.eye(9)).fit(X), r"solver=array\(.* \.\.\. is not known"),
    "random_state": (lambda: nmf(random_state=sp.eye_array(3).tocsr()).fit(X), "random_state=<.* RandomState"),
    # what is no array of numbers
    "a Bunch of scikit-learn as X": (
        lambda: nmf().fit(Bunch(data=X, strata=[0, 1])),
        r"X is a Bunch that holds data and more; pass fastnmf.Readings\(\*\*X\), or its matrix, X\[.data",
    ),
    "a dict as X": (lambda: nmf().fit({"a": 1}), "X is {'a': 1}; expected a matrix"),
    "a function as X": (lambda: nmf().fit(len), "X is <built-in function len>; expected a matrix"),
    "complex objects": (
        lambda: nmf().fit((X * 1j).astype(object)),
        r"X is array\(.*; expected an array of real numbers",
    ),
    "missing values of pandas": (lambda: nmf().fit([[1.0, pd.NA], [2.0, 3.0]]), "X is .*; expected an array of real"),
    "parts of several shapes": (lambda: nmf().fit([[X, 1], [2, 3]]), "X is .*; expected a matrix"),
    "ragged A": (
        lambda: fastnmf.nnls([np.ones((4, 2)), np.ones((2, 3))], X),
        "A is .*; expected an array of real numbers",
    ),
    "text in a metric": (lambda: metrics.normalized_loss(X, FACTORS["W"], [["a"]]), "H has dtype <U1; expected real"),
    "an object to count": (
        lambda: metrics.diversity(X, n_top=object()),
        "n_top must be at least 1, an integer; got <",
    ),
    "NaN in a metric": (lambda: metrics.normalized_loss(X, FACTORS["W"], FACTORS["H"] * np.nan), "H contains NaN"),
    "NaN in the data of a metric": (lambda: metrics.normalized_loss(X * np.nan, **FACTORS), "X contains NaN"),
    "text in a plot": (lambda: plots.plot_usage([["a"]], ["a"]), "usage has dtype <U1; expected real numbers"),
    "no names": (lambda: nmf().fit(X).top_features(2, feature_names=3), "feature_names is a int, which"),
    "no blocks": (lambda: fastnmf.Strata.from_blocks(len), "from_blocks takes a list of matrices"),
    "a scalar of numpy": (lambda: stratified.transform(np.array("x"), strata=[0]), "1 labels for 0 rows"),
    "sizes of data": (
        lambda: datasets.make_stratified(n_features="x"),
        "n_features must be 1 or more, an integer; got 'x'",
    ),
    "a seed of data": (lambda: datasets.make_stratified(random_state=1j), "random_state=1j is not valid"),
    "alpha_H": (lambda: nmf(alpha_H=np.ones(2)).fit(X), r"alpha_H=array.* expected a number >= 0"),
    "sparse layers": (
        lambda: fastnmf.hierarchical_loss(X, [sp.eye_array(4)], loss="levels"),
        "A holds a sparse matrix",
    ),
    "ragged strata": (lambda: fastnmf.StratifiedNMF(2).fit(X, strata=[[1.0, 2.0], [3.0]]), "strata"),
    "weights": (lambda: nmf().fit(X).inverse_transform(1j), "W has dtype complex128; expected real numbers"),
    "weights of others": (
        lambda: fastnmf.TriNMF().fit(X).inverse_transform([[len]]),
        "W is .*expected an array of real",
    ),
    "layers that are none": (
        lambda: fastnmf.hierarchical_loss(X, np.float64(1), loss="levels"),
        "A is .*expected a list",
    ),
    # what is no path
    "a number to load": (lambda: fastnmf.load(3), "The path is 3; expected a string or a Path"),
    "a number to save to": (lambda: nmf().fit(X).save(True), "The path is True; expected"),
    "a null character": (lambda: nmf().fit(X).save("\0"), r"The path '\\x00' contains a null character"),
    "no folder": (lambda: fastnmf.open_csr(None), "The path is None; expected"),
    "no folder to save to": (lambda: fastnmf.save_csr(X, -1.0), "The path is -1.0; expected"),
    # what is not fitted
    "inverse_transform": (lambda: fastnmf.TriNMF().inverse_transform(np.ones((4, 2))), "TriNMF .*not fitted"),
    "bilinear": (lambda: fastnmf.BilinearNMF().inverse_transform(np.ones((4, 2))), "BilinearNMF .*not fitted"),
    "parents": (lambda: fastnmf.HierarchicalNMF().parents(0), "HierarchicalNMF .*not fitted"),
    # parameters that were asked for their truth before they were checked
    "warm_start": (lambda: nmf(warm_start=pd.Series([1, 2])).fit(X), "warm_start=.*; expected True or False"),
    "strata": (lambda: fastnmf.Factorization(2, strata=np.arange(4)).fit(X), "strata=array.*; expected True or False"),
    "label_weight": (lambda: fastnmf.StratifiedNMF(2, label_weight=np.ones(2)).fit(X), "label_weight=array.* number"),
    # models and objects of another kind
    "a tree": (lambda: plots.plot_tree(nmf().fit(X)), r"The model is NMF\(.*expected a fitted HierarchicalNMF"),
    "layers": (lambda: plots.plot_layers(nmf().fit(X)), r"The model is NMF\(.*expected a fitted HierarchicalNMF"),
    "a choice of rank": (lambda: plots.plot_rank_selection(nmf()), r"The result is NMF\(.*select_rank returns"),
    "a consensus": (lambda: plots.plot_consensus(nmf()), r"The result is NMF\(.*consensus returns"),
    "jobs": (lambda: fastnmf.MetaNMF(n_jobs=()).fit(X), r"n_jobs=\(\) is not valid; expected None"),
    "no tasks": (lambda: fastnmf.MetaNMF().fit(X, tasks=3), "tasks is 3; expected a list of matrices"),
    "jobs of a function": (lambda: fastnmf.select_beta(X, 2, n_jobs="x"), "n_jobs='x' is not valid; expected None"),
    "labels of shifts": (lambda: fastnmf.Start(X, strata=np.datetime64("NaT")), "strata is .* expected a label"),
    "topics": (lambda: metrics.diversity(0), "weights must be two-dimensional|topics must be two-dimensional"),
    "an update": (lambda: testing.check_update(3), "3 is not an update; expected an object"),
    "a penalty": (lambda: testing.check_penalty(3), "3 is not a penalty; expected an object"),
    "no dtypes": (lambda: fastnmf.warmup(None), "dtypes=None is not valid; expected"),
    "dtypes": (lambda: fastnmf.warmup(["float65"]), r"dtypes=\['float65'\] is not valid; expected"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_in_one_sentence(what):
    call, said = REFUSED[what]
    with pytest.raises((ValueError, TypeError)) as found:
        call()
    assert re.search(said, str(found.value)) and one_sentence(str(found.value)), str(found.value)


@pytest.mark.parametrize("kind", ["StratifiedNMF", "AffineNMF"])
def test_components_of_another_model_serve_float32_data_with_shifts(kind):
    """The kernels have no mixed types: compiling them failed."""
    model = getattr(fastnmf, kind)(2, init=nmf().fit(X), max_iter=2, random_state=0).fit(X.astype(np.float32))
    assert model.W_.dtype == np.float32 and np.isfinite(model.W_).all()


@pytest.mark.parametrize("kind", ["IntervalNMF", "NMF"])
def test_components_of_zeros_give_finite_weights(kind):
    more = {"solver": "mu", "beta_loss": 1} if kind == "NMF" else {}
    model = getattr(fastnmf, kind)(2, max_iter=2, random_state=0, **more).fit(np.zeros((3, 3)))
    assert not model.components_.any() and not model.transform(X).any()


def test_labels_of_strata_may_be_a_list():
    assert fastnmf.Strata.from_array(X, list("abab"), labels=["b", "a"]).stratum_index.tolist() == [1, 0, 1, 0]
    for labels in (object(), 3, "ab", [], [["a"]], {"a", "b"}):
        for strata in (None, list("abab")):
            with pytest.raises(ValueError, match="expected an array of distinct labels"):
                fastnmf.Strata.from_array(X, strata, labels=labels)


def test_warm_start_goes_on_with_strata_after_a_fit_without():
    model = fastnmf.GraphNMF(2, max_iter=2, random_state=0, warm_start=True).fit(X)
    model.fit(X, strata=[0, 0, 1, 1])
    assert np.isfinite(model.W_).all() and model.shifts_.shape == (2, 3)


@pytest.mark.parametrize("kind", ["dictionary", "weights"])
def test_nothing_is_divided_by_zero(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        if kind == "dictionary":
            model = fastnmf.DictionaryNMF(2, dictionary=np.zeros((2, 3)), max_iter=3, random_state=0).fit(X)
        else:  # all that counts is fitted, and a component is left
            weight = [0.0, 1.0, 2.0, 0.0]
            model = fastnmf.Factorization(3, max_iter=5, random_state=0).fit([[2], [0], [0], [2]], sample_weight=weight)
    assert np.isfinite(model.W_).all()


@pytest.mark.parametrize(
    "use, message",
    [
        (lambda X: fastnmf.NMF(2, solver="mu", beta_loss=compose.Divergence()).fit(X), "has no method build"),
        (lambda X: fastnmf.NMF(2).fit(X, sample_weight=["a"] * len(X)), "sample_weight"),
        (lambda X: fastnmf.StratifiedNMF(2, seed_features=pd.Series([1, 2])).fit(X), "seed_features"),
        (lambda X: fastnmf.MiniBatchNMF(2).fit_blocks(7), "blocks is 7; expected an iterable of blocks"),
        (lambda X: fastnmf.KernelNMF(2, gamma="wide").fit(X), "gamma='wide' is not valid"),
        (lambda X: metrics.coherence(X[:2], X, measure=np.arange(2)), "measure"),
        (lambda X: metrics.topic_overlap(X[:2], X[:2], n=[1]), "n must be at least 1, an integer"),
        (lambda X: fastnmf.NMF(2, verbose=pd.Series([1, 2])).fit(X), "expected 0 (silent)"),
        (lambda X: fastnmf.Factorization(2, verbose="yes").fit(X), "verbose='yes' is not valid"),
        (lambda X: fastnmf.consensus(X, None, 2, verbose=None), "verbose=None is not valid"),
        (lambda X: fastnmf.select_rank(X, ranks=[1, 2], verbose=[1]), "verbose=[1] is not valid"),
        (lambda X: fastnmf.plots.plot_top_features(None), "got shape ()"),
        (lambda X: fastnmf.SeparableNMF(axis=np.zeros((0, 0))).transform(X), "axis="),
        (lambda X: fastnmf.plots.plot_top_features(X[0]), "got shape (5,)"),
        (lambda X: fastnmf.DeepNMF([[1.0, 2.0], [3.0]]).fit(X), "expected an integer, or several"),
    ],
)
def test_what_later_cases_found_gets_a_sentence(use, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)) as found:
        use(np.random.default_rng(0).random((8, 5)))
    assert one_sentence(str(found.value))


def test_tiny_and_equal_rows_in_single_precision_have_a_start():
    X = np.float32(1e-30) * np.ones((4, 4), np.float32)
    with np.errstate(all="raise"):
        fastnmf.SparseNMF(2, init=fastnmf.Start(np.ones((2, 4))), max_iter=1, random_state=0).fit(X)
        B = np.array([[15, 12, 5, 10], [12, 13, 7, 10], [5, 7, 6, 6], [10, 10, 6, 10]], np.float32) * np.float32(1e-30)
        start = fastnmf.Start(np.ones((2, 4)))
        fit = fastnmf.SparseNMF(2, init=start, max_iter=1, random_state=0).fit(sp.coo_array(B))
    assert fit.normalized_loss_ < 1


@pytest.mark.parametrize("kind", ["NMF", "SmoothNMF", "RobustNMF", "huber"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_far_below_those_of_the_fit_have_weights(kind, dtype):
    X = np.random.default_rng(0).random((8, 5)).astype(dtype)
    tiny = X[:2] * np.finfo(dtype).tiny
    model = fastnmf.RobustNMF(2, loss="huber") if kind == "huber" else getattr(fastnmf, kind)(2)
    model.set_params(random_state=0, max_iter=20).fit(X)
    with np.errstate(all="raise", under="ignore"):
        W = model.transform(tiny)
    assert np.isfinite(W).all() and (W >= 0).all() and W.max() <= 1e-30


def test_what_the_third_search_found_gets_a_sentence_or_a_number():
    with pytest.raises(ValueError, match="labels is 2.5; expected an array of distinct labels") as found:
        fastnmf.Strata.from_array(np.ones((2, 2)), np.array([0, 1], dtype=object), labels=2.5)
    assert one_sentence(str(found.value))
    with pytest.raises(ValueError, match="names a layer of an AnnData, but X is a") as found:
        fastnmf.MetaNMF(fastnmf.NMF(2)).fit(np.ones((4, 3)), layer=pd.Series([1, 2]))
    assert one_sentence(str(found.value))
    model = fastnmf.AffineNMF(1, max_iter=2, random_state=0).fit(sp.csr_array([[1.0]]))
    far = np.array([[0], [7.8e-31], [1.2e-30]], np.float32)
    small = np.diag([1e100, 1.0, 1e-300, 1e-250]) + 1e-290  # some entries become zero beside the largest
    with np.errstate(all="raise", under="ignore"):
        assert model.score(far) == pytest.approx(model.score(far.astype(float)), rel=1e-5) and model.score(far) < -1e58
        loss = fastnmf.DistributionallyRobustNMF(2, max_iter=1, random_state=0).fit(sp.csr_array(small))
    assert np.isfinite(loss.normalized_loss_)


def test_frames_and_batches_without_weight_are_read():
    X = np.diag([1.0, 2.0, 3.0]) + 0.1
    model = fastnmf.OrthogonalNMF(2, random_state=0).fit(X)
    before = model.predict(X)
    assert (model.set_output(transform="pandas").predict(X) == before).all()
    graph = fastnmf.GraphNMF(2, random_state=0, max_iter=5).fit(X)
    before = graph.score(X)
    assert graph.set_output(transform="pandas").score(X) == before
    with np.errstate(all="raise"):
        fastnmf.MiniBatchNMF(1, batch_size=1, max_iter=1).fit(np.zeros((2, 5)), sample_weight=[0.0, 1.0])
        sparse = fastnmf.MiniBatchNMF(1, batch_size=1, max_iter=1).fit(sp.csr_array((2, 5)), sample_weight=[0.0, 1.0])
    assert not sparse.W_.any()


def test_a_first_batch_may_lack_the_last_strata():
    X = np.random.default_rng(0).random((8, 3))
    model = fastnmf.MiniBatchStratifiedNMF(2, batch_size=2, init="nndsvdar", max_iter=3, random_state=0)
    model.fit(X, strata=np.arange(8))
    assert np.isfinite(model.shifts_).all() and model.shifts_.shape == (8, 3) and model.shifts_[-1].any()


@pytest.mark.parametrize("row_names", [np.datetime64("NaT"), 3, object(), [["a", "b"], ["c", "d"]]])
def test_row_names_of_tables_are_a_list(row_names, tmp_path):
    model = fastnmf.NMF(2, max_iter=3, random_state=0, tol=0).fit(np.ones((2, 3)))
    with pytest.raises(ValueError, match="row_names is .*; give a list with one name for each of the 2 rows"):
        fastnmf.write_tables(model, tmp_path / "tables", row_names=row_names)
    assert not (tmp_path / "tables").exists()
