"""Components of another model as a start: init=model, `Start`, copies that scikit-learn makes, files."""

import copy
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from fastnmf import (
    NMF,
    PLSA,
    AffineNMF,
    DistributionallyRobustNMF,
    GraphNMF,
    MiniBatchNMF,
    MiniBatchStratifiedNMF,
    OrthogonalNMF,
    ProjectiveNMF,
    RobustNMF,
    SemiNMF,
    SemiSupervisedNMF,
    SmoothNMF,
    SparseNMF,
    Start,
    StratifiedNMF,
    TriNMF,
    consensus,
    load,
)

RNG = np.random.default_rng(3)
X = RNG.random((40, 3)) @ RNG.random((3, 12)) + 0.05 * RNG.random((40, 12))
LABELS = np.repeat(["north", "south"], 20)
KINDS = [
    (NMF, {}),
    (NMF, {"solver": "hals"}),
    (NMF, {"solver": "mu"}),
    (NMF, {"solver": "mu", "beta_loss": "kullback-leibler"}),
    (GraphNMF, {}),
    (StratifiedNMF, {}),
    (StratifiedNMF, {"solver": "mu"}),
    (AffineNMF, {}),
    (DistributionallyRobustNMF, {}),
    (MiniBatchNMF, {}),
    (MiniBatchStratifiedNMF, {}),
    (PLSA, {}),
    (RobustNMF, {}),
    (SemiSupervisedNMF, {}),
    (SmoothNMF, {}),
    (SparseNMF, {}),
    (OrthogonalNMF, {}),
    (SemiNMF, {}),
    (ProjectiveNMF, {}),
]
every_kind = pytest.mark.parametrize(
    ("kind", "options"), KINDS, ids=lambda value: getattr(value, "__name__", str(value))
)


def fitted(kind=NMF, data=X, **options):
    labels = {"strata": LABELS} if "Stratified" in kind.__name__ else {}
    if kind is SemiSupervisedNMF:
        labels = {"y": (LABELS == "north").astype(int)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(**{"n_components": 3, "random_state": 0} | options).fit(data, **labels)


MODEL = fitted()


@every_kind
@pytest.mark.parametrize("data", [X, sp.csr_array(X)], ids=["dense", "sparse"])
def test_every_estimator_begins_at_another_model(kind, options, data):
    one = fitted(kind, data, init=MODEL, max_iter=2, **options)
    two = fitted(kind, data, init=MODEL.as_start(), max_iter=2, random_state=9, **options)
    three = fitted(kind, data, init=Start(MODEL.components_), max_iter=2, **options)
    assert one.components_.shape == (3, 12) and np.isfinite(one.components_).all()
    if not kind.__name__.startswith("MiniBatch"):  # which draw the order of the batches
        assert one.components_.tobytes() == two.components_.tobytes() == three.components_.tobytes()


@pytest.mark.parametrize("options", [{"solver": "hals"}, {"solver": "cd"}, {"solver": "mu"}])
def test_the_start_is_as_good_as_the_model_it_comes_from(options):
    losses = fitted(init=MODEL, max_iter=5, tol=0, **options).history_["normalized_loss"]
    # Multiplicative updates start with a thousandth of the mean where others have zeros: 2e-3 of the loss here.
    assert losses[0] == pytest.approx(MODEL.normalized_loss_, rel=1e-2 if options["solver"] == "mu" else 1e-9)
    assert fitted(init="random", max_iter=5, tol=0, **options).history_["normalized_loss"][0] > 3 * losses[0]
    if options["solver"] != "cd":
        assert (np.diff(losses) <= 1e-12).all()


@pytest.mark.parametrize("kind", [OrthogonalNMF, SemiNMF, ProjectiveNMF])
@pytest.mark.parametrize("scale", [1.0, 1e150])
def test_models_of_other_shapes_go_on_where_they_were(kind, scale):
    model = fitted(kind, X * scale, max_iter=30, tol=0)
    on = fitted(kind, X * scale, init=model, max_iter=1, tol=0).history_["normalized_loss"]
    assert on[-1] <= model.history_["normalized_loss"][-1] * (1 + 1e-9)  # an iteration from there is not worse
    assert clone(kind(3, init=model)).init is model


def test_other_rows_and_another_dtype_may_follow():
    more = (X[:15] * 3).astype(np.float32)
    model = fitted(data=more, init=MODEL, solver="hals", max_iter=1, tol=0)
    fixed = more - MODEL.transform(more) @ MODEL.components_
    assert model.components_.dtype == np.float32
    assert model.history_["normalized_loss"][0] == pytest.approx(np.linalg.norm(fixed) / np.linalg.norm(more), rel=1e-4)


def test_shifts_follow_their_labels():
    shifted = fitted(StratifiedNMF, max_iter=30, tol=0)
    start = fitted(StratifiedNMF, init=shifted, max_iter=1, tol=0, extrapolate=False)
    assert start.history_["normalized_loss"][0] == pytest.approx(shifted.normalized_loss_, rel=1e-9)
    swapped = np.where(LABELS == "north", "south", "north")
    other = StratifiedNMF(3, init=shifted, max_iter=1, tol=0).fit(X, strata=swapped)
    assert other.history_["normalized_loss"][0] > start.history_["normalized_loss"][0]
    new = StratifiedNMF(3, init=shifted, max_iter=1, tol=0).fit(X, strata=np.where(LABELS == "north", "east", LABELS))
    assert new.strata_.tolist() == ["east", "south"] and np.isfinite(new.shifts_).all()


def test_given_weights_are_taken_as_they_are():
    W, H = RNG.random((40, 3)), RNG.random((3, 12))
    for solver in ("mu", "hals"):
        one = fitted(init=Start(H, W=W), solver=solver, max_iter=3, tol=0)
        two = NMF(3, init="custom", solver=solver, max_iter=3, tol=0).fit(X, W=W, H=H)
        assert one.components_.tobytes() == two.components_.tobytes()


def test_weights_of_rows_and_entries_count():
    weight = RNG.integers(1, 4, 40)
    twice = np.repeat(X, weight, axis=0)
    one = NMF(3, init=MODEL, solver="hals", max_iter=3, tol=0).fit(X, sample_weight=weight)
    two = NMF(3, init=MODEL, solver="hals", max_iter=3, tol=0).fit(twice)
    np.testing.assert_allclose(one.components_, two.components_, rtol=1e-9)
    holes = X.copy()
    holes[RNG.random(X.shape) < 0.2] = np.nan
    masked = NMF(3, init=MODEL, missing_values="nan", solver="hals", max_iter=1, tol=0).fit(holes)
    known = ~np.isnan(holes)
    assert masked.history_["normalized_loss"][0] <= np.linalg.norm((X - MODEL.W_ @ MODEL.components_)[known]) / (
        np.linalg.norm(X[known]) * (1 - 1e-9)
    )


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_extreme_scales_begin_in_the_right_place(scale):
    model = fitted(data=X * scale)
    again = fitted(data=X * scale, init=model, solver="hals", max_iter=1, tol=0)
    assert again.history_["normalized_loss"][0] == pytest.approx(model.normalized_loss_, rel=1e-9)


def test_copies_of_scikit_learn_keep_the_model():
    model = NMF(3, init=MODEL, max_iter=3, tol=0)
    expected = clone(model).fit(X).components_.tobytes()
    assert model.get_params(deep=False)["init"] is MODEL and clone(model).init is MODEL
    assert not hasattr(clone(MODEL), "components_")  # an estimator itself is copied without what it has learned
    assert not hasattr(clone(model.fit(X)), "components_") and model.components_.tobytes() == expected
    wrapped = clone(NMF(3, init=MODEL.as_start(), max_iter=3, tol=0))
    assert wrapped.fit(X).components_.tobytes() == expected
    assert copy.deepcopy(model).fit(X).components_.tobytes() == expected
    pipe = clone(make_pipeline(NMF(3, init=MODEL, max_iter=3, tol=0))).fit(X)
    assert pipe[0].components_.tobytes() == expected
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(make_pipeline(model), {"nmf__alpha_W": [0.0, 10.0]}, cv=2).fit(X)
        assert search.best_params_ == {"nmf__alpha_W": 0.0} and search.best_estimator_[0].init is MODEL
        starts = {"init": [MODEL.as_start(), Start(RNG.random((3, 12)))]}
        found = GridSearchCV(NMF(3, max_iter=1, tol=0), starts, cv=2, error_score="raise").fit(X)
    assert np.argmax(found.cv_results_["mean_test_score"]) == 0


def test_a_model_in_a_grid_says_what_to_do():
    with pytest.raises(ValueError, match=r"pass init=model.as_start\(\) there"):
        NMF(3, init=clone({"init": [MODEL]}, safe=False)["init"][0]).fit(X)


def test_files_keep_the_start(tmp_path):
    for init in (MODEL, fitted(StratifiedNMF)):
        kind = type(init)
        model = fitted(kind, init=init, max_iter=3)
        model.save(tmp_path / "model.npz")
        again = load(tmp_path / "model.npz")
        assert isinstance(again.init, Start) and again.components_.tobytes() == model.components_.tobytes()
        labels = {"strata": LABELS} if kind is StratifiedNMF else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert again.fit(X, **labels).components_.tobytes() == model.components_.tobytes()


def test_a_checkpoint_belongs_to_its_start(tmp_path):
    path = tmp_path / "fit.npz"
    NMF(3, init=MODEL, max_iter=3, tol=0).fit(X, checkpoint=path)
    on = NMF(3, init=MODEL.as_start(), max_iter=5, tol=0).fit(X, checkpoint=path)
    assert on.components_.tobytes() == NMF(3, init=MODEL, max_iter=5, tol=0).fit(X).components_.tobytes()
    with pytest.raises(ValueError, match="checkpoint of another fit: init"):
        NMF(3, init=Start(MODEL.components_ + 1), max_iter=5, tol=0).fit(X, checkpoint=path)


def test_several_runs_from_such_a_start_are_refused():
    with pytest.raises(ValueError, match="with which all runs are the same"):
        consensus(X, n_components=3, estimator=NMF(init=MODEL), n_runs=3)


def test_the_rank_follows_the_start():
    assert fitted(n_components="auto", init=MODEL, max_iter=2).n_components_ == 3


def test_starts_that_do_not_fit_are_refused():
    def fails(match, kind=NMF, n_components=3, data=X, **options):
        with pytest.raises(ValueError, match=match):
            kind(n_components, **options).fit(data)

    fails("init has 3 components of 12 features, but n_components=2 and X has 12", n_components=2, init=MODEL)
    fails("init has 3 components of 12 features, but n_components=3 and X has 5", data=X[:, :5], init=MODEL)
    fails("init is a NMF without components_; fit it first", init=NMF())
    fails("wrap components as init=fastnmf.Start", init=MODEL.components_)
    fails("init has W with 40 rows for 9 samples", data=X[:9], init=Start(MODEL.components_, W=MODEL.W_))
    fails("components with negative entries", init=Start(-MODEL.components_))
    fails("init=NMF.* is not known", kind=TriNMF, n_components=(3, 2), init=MODEL)
    fails("init='middle' is not known", init="middle")
    with pytest.raises(ValueError, match="without components_"):
        NMF().as_start()


def test_arrays_that_are_no_start_are_refused():
    H = MODEL.components_
    for match, arguments, options in (
        ("no components, or all of them are zero", (0 * H,), {}),
        ("expected a matrix", (H[0],), {}),
        ("components has entries that are not finite", (H * np.inf,), {}),
        ("W has negative entries", (H,), {"W": -MODEL.W_}),
        ("W has 2 columns for 3 components", (H,), {"W": MODEL.W_[:, :2]}),
        ("shifts and strata belong together", (H,), {"shifts": H}),
        ("a row for each label", (H,), {"shifts": H, "strata": ["a"]}),
    ):
        with pytest.raises(ValueError, match=match), np.errstate(invalid="ignore"):
            Start(*arguments, **options)
    assert repr(Start(H, W=MODEL.W_)) == "<Start: 3 components of 12 features, with W>"


def test_names_of_features_must_agree():
    import pandas as pd

    names = [f"f{j}" for j in range(12)]
    model = fitted(data=pd.DataFrame(X, columns=names))
    assert fitted(data=pd.DataFrame(X, columns=names), init=model, max_iter=1).n_components_ == 3
    with pytest.raises(ValueError, match="feature names of init in a different order"):
        NMF(3, init=model).fit(pd.DataFrame(X, columns=names[::-1]))
