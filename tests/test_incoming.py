"""What comes in as X: AnnData, masked arrays, rows without observations, tables with labels; or one sentence."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from estimators import CASES, again, every_case, factors, has_transform, of_those, one_sentence

import fastnmf
from fastnmf import (
    NMF,
    HierarchicalNMF,
    IntervalNMF,
    MiniBatchNMF,
    MiniBatchStratifiedNMF,
    StratifiedNMF,
    consensus,
    save_csr,
    select_beta,
    select_rank,
)
from fastnmf.cli.commands import _arguments
from fastnmf.data.strata import Strata
from fastnmf.metrics import coherence, kkt_residual, normalized_loss

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
SHORT = {"max_iter": 5, "tol": 0, "random_state": 0}


class Cells:
    """Stand-in for an AnnData; a walk over its cells ends the test."""

    def __init__(self, X):
        self.X, self.shape = X, X.shape
        self.var_names = pd.Index([f"gene{j}" for j in range(X.shape[1])])
        self.obs = pd.DataFrame({"batch": np.arange(X.shape[0]) % 2}, index=[f"cell{i}" for i in range(X.shape[0])])

    def __len__(self):
        return len(self.obs)

    def __getitem__(self, at):
        raise AssertionError("an AnnData was walked over")


class OnDisk:
    """Stand-in for the sparse matrix of an AnnData that is opened with ``backed="r"``."""

    def __init__(self, X):
        self.matrix, self.shape = X, X.shape

    def to_memory(self):
        return self.matrix


@every_case
def test_every_model_takes_an_annotated_matrix(case):
    X = case.draw()
    given, more = case.given(X), again(case, X)
    want, model = case.make().fit(X, **given), case.make().fit(Cells(X), **given)
    assert model.feature_names_in_.tolist() == Cells(X).var_names.tolist()
    found = factors(model)
    assert all((found[name] == factor).all() for name, factor in factors(want).items())
    for method in ("transform", "score", "reconstruction_errors", "partial_fit"):
        if hasattr(want, method):
            try:
                value = getattr(want, method)(X, **more)
            except (TypeError, ValueError):  # takes no strata, or not after this fit
                continue
            other = getattr(model, method)(Cells(X), **more)
            assert method == "partial_fit" or np.array_equal(np.ravel(other), np.ravel(value))


def test_an_annotated_matrix_on_disk_is_read():
    X = sp.random_array((30, 6), density=0.6, rng=np.random.default_rng(0), format="csr")
    for model in (NMF(2, **SHORT), StratifiedNMF(2, **SHORT)):
        assert (model.fit(Cells(OnDisk(X))).components_ == model.fit(X).components_).all()


@pytest.mark.parametrize(
    "use",
    [
        lambda X, annotated, path: (Strata.from_array(annotated).X, Strata.from_array(X).X),
        lambda X, annotated, path: (Strata.from_blocks([annotated]).X, Strata.from_blocks([X]).X),
        lambda X, annotated, path: [save_csr(given, path / "X").shape for given in (annotated, X)],
        lambda X, annotated, path: [NMF(2, **SHORT).fit(X, weight=given).W_ for given in (annotated, X)],
        lambda X, annotated, path: [IntervalNMF(2, **SHORT).fit(X, upper=given).W_ for given in (annotated, X)],
        lambda X, annotated, path: [normalized_loss(given, X[:, :2], X[:2]) for given in (annotated, X)],
        lambda X, annotated, path: [kkt_residual(given, X[:, :2], X[:2]) for given in (annotated, X)],
        lambda X, annotated, path: [coherence(X[:2], given) for given in (annotated, X)],
        lambda X, annotated, path: [
            select_beta(given, 2, n_splits=1, random_state=0).scores for given in (annotated, X)
        ],
        lambda X, annotated, path: [
            MiniBatchNMF(2, random_state=0).fit_blocks([given] * 2).components_ for given in (annotated, X)
        ],
    ],
)
def test_an_annotated_matrix_is_a_matrix_at_every_door(use, tmp_path):
    X = np.random.default_rng(0).random((12, 6))
    assert np.array_equal(*use(X, Cells(X), tmp_path))


@every_case
def test_masked_entries_are_refused_or_missing(case):
    X = case.draw()
    masked = np.ma.array(X, mask=np.zeros(X.shape, bool))
    model = case.fit(masked)  # nothing is masked
    masked[1, 1] = np.ma.masked
    masked.data[1, 1] = 1e6
    with pytest.raises(ValueError, match="X has masked entries") as found:
        case.make().fit(masked, **case.given(X))
    assert one_sentence(found.value)
    if hasattr(model, "transform"):
        with pytest.raises(ValueError, match="X has masked entries"):
            model.transform(masked, **again(case, X))


def test_masked_is_missing():
    X = np.random.default_rng(0).random((20, 6))
    masked = np.ma.array(X.copy(), mask=X > 0.9)
    masked.data[X > 0.9] = 1e6
    for missing, hole in (("nan", np.nan), ("zeros", 0.0)):
        model, holes = NMF(2, missing_values=missing, **SHORT), np.where(X > 0.9, hole, X)
        assert (model.fit(masked).W_ == model.fit(holes).W_).all()
        assert (model.transform(masked) == model.transform(holes)).all()
    whole = np.ma.array(np.arange(6).reshape(3, 2), mask=[[1, 0], [0, 0], [0, 0]])
    assert NMF(1, missing_values="nan", **SHORT).fit(whole).W_.shape == (3, 1)
    chosen = [
        select_rank(given, ranks=[1, 2], estimator=NMF(missing_values="nan"), n_folds=2, random_state=0).held_out
        for given in (masked, np.where(X > 0.9, np.nan, X))
    ]
    assert (chosen[0] == chosen[1]).all()


@pytest.mark.parametrize(
    "use",
    [
        lambda X, masked: Strata.from_array(masked),
        lambda X, masked: Strata.from_blocks([X, masked]),
        lambda X, masked: NMF(2).fit(X, weight=masked),
        lambda X, masked: NMF(2).fit(X, sample_weight=masked[:, 0]),
        lambda X, masked: NMF(2, init="custom").fit(X, W=masked[:, :2], H=X[:2]),
        lambda X, masked: select_rank(masked, ranks=[1, 2]),
        lambda X, masked: consensus(masked, n_components=2),
        lambda X, masked: IntervalNMF(2).fit(X, upper=masked),
        lambda X, masked: normalized_loss(masked, X[:, :2], X[:2]),
    ],
)
def test_masked_entries_are_refused_at_every_door(use):
    X = np.random.default_rng(0).random((8, 5))
    with pytest.raises(ValueError, match="has masked entries"):
        use(X, np.ma.array(X, mask=np.eye(8, 5)))


@pytest.mark.parametrize("missing", ["nan", "zeros"])
@pytest.mark.parametrize("kind", [NMF, StratifiedNMF])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_a_row_without_observations_has_no_weights_also_alone(missing, kind, form):
    X = np.random.default_rng(0).random((20, 6)) + 0.1
    model = kind(2, missing_values=missing, **SHORT).fit(form(X))
    empty = np.full((1, 6), np.nan if missing == "nan" else 0.0)
    assert not model.transform(form(empty)).any() and not model.transform(form(np.vstack([X, empty])))[-1].any()
    assert model.score(form(empty)) == 1 and model.reconstruction_errors(form(empty)) == [0]
    with pytest.raises(ValueError, match="No entry of X is observed"):
        kind(2, missing_values=missing).fit(form(empty))


def test_a_masked_out_row_of_a_hierarchy_has_no_weights():
    X = np.random.default_rng(0).random((20, 6)) + 0.1
    model = HierarchicalNMF((3, 2), max_iter=5, random_state=0).fit(X)
    assert not model.transform(X[:1], level=0, mask=np.zeros((1, 6), bool)).any()


@of_those(lambda case: has_transform(case) and hasattr(case.make(), "inverse_transform"))
def test_sparse_weights_are_weights(case):
    model = case.fit(X := case.draw())
    W, more = model.transform(X, **again(case, X)), {k: v for k, v in again(case, X).items() if k == "strata"}
    want = model.inverse_transform(W, **more)
    assert np.allclose(np.asarray(model.inverse_transform(X=sp.csr_matrix(W), **more)), want)
    with pytest.warns(FutureWarning, match="version 0.3; use X="):
        old_name = "S" if isinstance(model, HierarchicalNMF) else "W"
        assert np.array_equal(model.inverse_transform(**{old_name: W}, **more), want)
    assert np.allclose(np.asarray(model.inverse_transform(sp.coo_array(W), **more)), want)


def test_a_column_of_strata_is_no_feature():
    X = pd.DataFrame(np.random.default_rng(0).random((20, 4)), columns=list("abcd"))
    table = X.assign(batch=np.repeat(["x", "y"], 10))
    labels = table["batch"]
    for kind in (StratifiedNMF, MiniBatchStratifiedNMF):
        model = kind(2, max_iter=5, random_state=0).fit(table, strata="batch")
        want = kind(2, max_iter=5, random_state=0).fit(X, strata=labels)
        assert model.feature_names_in_.tolist() == list("abcd") and (model.components_ == want.components_).all()
        assert (model.transform(table, strata="batch") == want.transform(X, strata=labels)).all()
        assert model.score(table, strata="batch") == want.score(X, strata=labels)
        model.partial_fit(table, strata="batch")
    assert "batch" in table
    found = consensus(table, "batch", 2, n_runs=3, density_threshold=2, random_state=0)
    assert found.model.feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="'plate' is not a column of X"):
        StratifiedNMF(2).fit(table, strata="plate")


class Lazy:
    """Stand-in for a Dask collection; computing it ends the test."""

    shape, ndim = (8, 5), 2

    def __dask_graph__(self):
        return {}

    def __array__(self, *args, **more):
        raise AssertionError("the collection was computed")


ROWS = np.random.default_rng(0).random((8, 5))
SENTENCES = {
    "texts": (["a text", "another"], "holds texts; count their words first"),
    "a Series of texts": (pd.Series(["a text", "another"]), "holds texts; count their words first"),
    "blocks": ([ROWS, ROWS], "a list of 2 matrices instead: stack"),
    "blocks of several lengths": ([ROWS, ROWS[:3]], "a list of 2 matrices instead: stack"),
    "sparse blocks": ((sp.csr_array(ROWS), sp.csr_matrix(ROWS)), "a list of 2 matrices instead: stack"),
    "frames": ([pd.DataFrame(ROWS)] * 3, "a list of 3 matrices instead: stack"),
    "ragged rows": ([[1.0, 2], [3]], "rows of different lengths, 1 to 2"),
    "a long table": (pd.DataFrame({"user": ["u"], "item": ["i"], "rating": [3]}), "'user' of X holds text.*pivot"),
    "Dask": (Lazy(), "X is a Dask collection.*X.compute"),
    "Dask in an AnnData": (Cells(Lazy()), "X is a Dask collection.*X.compute"),
}


@pytest.mark.parametrize(("X", "words"), SENTENCES.values(), ids=SENTENCES)
def test_what_is_no_matrix_is_told(X, words):
    for use in (
        *(kind(2).fit for kind in (NMF, StratifiedNMF, fastnmf.SeparableNMF, fastnmf.KernelNMF)),
        lambda X: select_rank(X, ranks=[1, 2]),
        Strata.from_array,
    ):
        with pytest.raises((ValueError, TypeError), match=words) as found:
            use(X)
        assert one_sentence(found.value)


def test_a_turned_matrix_is_told(tmp_path):
    genes, batches = [f"gene{j}" for j in range(5)], list("aabbb")
    turned, model = ROWS[:, :4], NMF(2, **SHORT).fit(ROWS[:5, :4])
    for use in (
        lambda: StratifiedNMF(2).fit(ROWS, strata=batches),
        lambda: Strata.from_array(sp.csr_array(ROWS), np.array(batches)),
        lambda: model.save(tmp_path / "m.npz", genes),
        lambda: model.top_features(2, genes),
        lambda: fastnmf.metrics.coherence(model.components_, ROWS[:5, :4], feature_names=genes),
    ):
        with pytest.raises(ValueError, match="rows.*so pass X.T"):
            use()
    with pytest.raises(ValueError, match="3 labels for 8 rows of X; give one"):
        StratifiedNMF(2).fit(turned, strata=["a"] * 3)
    np.save(tmp_path / "x.npy", ROWS)
    (tmp_path / "names.txt").write_text("\n".join(f"g{j}" for j in range(8)))
    with pytest.raises(ValueError, match="write its transpose"):
        arguments = ["fit", f"{tmp_path}/x.npy", "--features", f"{tmp_path}/names.txt", "-o", f"{tmp_path}/m.npz"]
        parsed = _arguments(arguments)
        parsed.run(parsed)


@pytest.mark.parametrize("case", [case for case in CASES if not case.name], ids=str)
def test_text_of_numpy_is_text(case, tmp_path):
    words = {name: np.str_(value) for name, value in case.make().get_params().items() if type(value) is str}
    X = case.draw()
    model = case.fit(X, **words)
    want = factors(case.fit(X))
    assert all((factor == want[name]).all() for name, factor in factors(model).items())
    model.save(tmp_path / "m.npz")
    assert fastnmf.load(tmp_path / "m.npz").get_params().items() >= words.items()


def test_labels_of_other_cells_are_refused():
    cells = Cells(ROWS)
    labels = cells.obs["batch"]
    model = StratifiedNMF(2, **SHORT).fit(cells, strata=labels)
    for use in (StratifiedNMF(2).fit, model.transform, model.score, model.explain):
        with pytest.raises(ValueError, match="index of strata differs from the index of X"):
            use(cells, strata=labels[::-1])
        with pytest.raises(TypeError, match="strata is a Dask collection.*strata.compute"):
            use(cells, strata=Lazy())
