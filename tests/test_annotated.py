"""Layers and row names of an AnnData, at every door."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import readme
import scipy.sparse as sp
from estimators import CASES, KINDS, again, every_case, factors
from test_incoming import SHORT, Cells, OnDisk

import fastnmf
from fastnmf import NMF, HierarchicalNMF, MetaNMF, MiniBatchNMF, StratifiedNMF, consensus, select_rank, write_report
from fastnmf.data.strata import Strata
from fastnmf.models.catalogue import MODELS


class Layered(Cells):
    """Stand-in for an AnnData whose X is not what is to be fitted."""

    def __init__(self, X):
        super().__init__(X * np.nan)
        self.layers, self.obs_names = {"counts": X}, self.obs.index


@every_case
@pytest.mark.filterwarnings("ignore")
def test_a_layer_is_fitted_and_read_again_by_every_model(case):
    X = case.draw()
    given, more = case.given(X), again(case, X)
    want, model = case.fit(X), case.make().fit(Layered(X), layer="counts", **given)
    found = factors(model)
    assert all((found[name] == factor).all() for name, factor in factors(want).items())
    for method in ("transform", "score", "reconstruction_errors"):
        if hasattr(want, method):
            try:
                value = getattr(want, method)(X, **more)
            except (TypeError, ValueError):  # takes no strata
                continue
            assert np.array_equal(np.ravel(getattr(model, method)(Layered(X), **more)), np.ravel(value))
    if isinstance(want.fit_transform(X, **given), np.ndarray):
        other = case.make().fit_transform(Layered(X), layer="counts", **given)
        assert np.array_equal(other, case.make().fit_transform(X, **given))


@pytest.mark.filterwarnings("ignore")
def test_a_layer_at_the_other_doors(tmp_path):
    X, labels = np.random.default_rng(0).random((24, 6)), np.arange(24) % 2
    data = Layered(X)
    model = StratifiedNMF(2, **SHORT).fit(data, strata="batch", layer="counts")
    model.save(tmp_path / "model.npz")
    loaded = fastnmf.load(tmp_path / "model.npz")
    assert (loaded.transform(data, strata="batch") == model.transform(X, strata=labels)).all()
    assert str(loaded.explain(data, strata="batch")) == str(model.explain(X, strata=labels))
    for name, given in (("layer", data), ("plain", X)):
        write_report(model, tmp_path / f"{name}.html", X=given, kind="cells")
    assert (tmp_path / "layer.html").read_text() == (tmp_path / "plain.html").read_text()
    for method in ("partial_fit", "fit"):  # another fit is of X itself
        refit = getattr(MiniBatchNMF(2, random_state=0), method)(data, layer="counts")
        same = getattr(MiniBatchNMF(2, random_state=0), method)(X)
        assert (refit.partial_fit(data).components_ == same.partial_fit(X).components_).all()
        assert (refit.fit(Cells(X)).transform(Cells(X)) == same.fit(X).transform(X)).all()
    meta = {"n_outer": 1, "task_size": 4, "n_inner": 2, "random_state": 0}
    tasks = [MetaNMF(NMF(2, solver="mu"), **meta).fit(x, tasks=[x], **more) for x, more in ((X, {}), (data, LAYER))]
    assert (tasks[0].components_ == tasks[1].components_).all()
    forms = ((X, {}), (data, LAYER))
    ranks = [select_rank(x, ranks=[1], n_folds=2, random_state=0, **more).held_out for x, more in forms]
    assert (ranks[0] == ranks[1]).all()
    pools = [consensus(x, None, 2, n_runs=2, random_state=0, **more) for x, more in forms]
    assert (pools[0].model.components_ == pools[1].model.components_).all()
    data.layers["counts"] = OnDisk(sp.csr_array(X))
    assert (NMF(2, **SHORT).fit(data, layer="counts").W_ == NMF(2, **SHORT).fit(sp.csr_array(X)).W_).all()


LAYER = {"layer": "counts"}


@pytest.mark.parametrize(
    "use, message",
    [
        (lambda X: NMF(2).fit(X, layer="counts"), "layer='counts' names a layer of an AnnData, but X is a ndarray"),
        (lambda X: NMF(2).fit(Layered(X), layer="raw"), "layer='raw' is not a layer of X; its layers are: 'counts'"),
        (lambda X: NMF(2).fit(Cells(X), layer="raw"), "layer='raw' is not a layer of X; its layers are: none"),
        (lambda X: NMF(2).fit(Layered(X), layer=["counts"]), "is not a layer of X"),
        (lambda X: NMF(2, **SHORT).fit(Layered(X), layer="counts").transform(Cells(X)), "'counts' is not a layer of X"),
        (lambda X: MiniBatchNMF(2).partial_fit(X, layer="counts"), "names a layer of an AnnData"),
        (lambda X: select_rank(X, layer="counts"), "names a layer of an AnnData"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_layer_that_is_not_there_gets_one_sentence(use, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        use(np.random.default_rng(0).random((8, 5)))


@pytest.mark.parametrize(
    "case", [case for case in CASES if hasattr(getattr(fastnmf, case.kind), "set_output")], ids=str
)
@pytest.mark.filterwarnings("ignore")
def test_tables_have_the_names_of_the_rows(case):
    X = case.draw()
    model = case.fit(X)
    data, frame = Cells(X), pd.DataFrame(X, index=[f"cell{i}" for i in range(len(X))])
    model.set_output(transform="pandas")
    for given in (frame, data):  # scikit-learn's own names first
        table = model.fit_transform(given, **case.given(X))
        if isinstance(table, pd.DataFrame) and len(table) == len(X):
            assert table.index.tolist() == data.obs.index.tolist()
    assert model.transform(data, **again(case, X)).index.tolist()[: len(X)] == data.obs.index.tolist()


def test_names_of_the_rows_by_keyword_and_of_the_default_output():
    X = np.random.default_rng(0).random((12, 5))
    model = NMF(2, random_state=0).fit(X)
    assert isinstance(model.transform(Cells(X)), np.ndarray)
    model = NMF(2, random_state=0).set_output(transform="pandas").fit(Cells(X))
    assert model.transform(X=Cells(X)).index[3] == "cell3" and model.transform(X).index[3] == 3


def test_deprecated_names_warn_at_the_line_of_the_user():
    uses = (lambda: MODELS[0].never_rises, lambda: Strata.from_array(np.eye(3)).codes)
    for use in uses:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            use()
        assert [(each.category, each.filename) for each in seen] == [(FutureWarning, __file__)]


@pytest.mark.filterwarnings("ignore")
def test_the_sentences_on_all_models_hold():
    text = " ".join(readme.section("Which model when", readme.MODELS_PAGE).split())
    sentences = re.search(r"All models fit float32 .*? compute their own\.", text).group()
    lists, untitled, computed = (
        set(re.findall(r"\w+NMF", re.search(pattern, sentences).group(1)))
        for pattern in (r"All have `W_`, (.*?)\.", r"`top_features` (.*?)\.", r'`init="custom"` (.*)')
    )
    first = {case.kind: case for case in reversed(CASES)}
    for kind in KINDS:
        case, X = first[kind], first[kind].draw()
        model = case.fit(X.astype(np.float32))
        assert {"history_", "reconstruction_err_"} <= vars(model).keys()
        assert hasattr(model, "W_") == (kind not in lists) and hasattr(model, "S_" if kind in lists else "W_"), kind
        assert all(factor.dtype == np.float32 for factor in factors(model).values())
        if hasattr(model, "components_"):
            assert hasattr(model, "transform") and hasattr(model, "top_features") == (kind not in untitled), kind
        try:
            case.make(init="custom", **({"n_init": 1} if "n_init" in model.get_params() else {})).fit(
                X, **case.given(X)
            )
        except (TypeError, ValueError) as error:
            assert ("needs a start" in str(error)) == (kind not in computed), kind
    assert "MetaNMF" in computed and not hasattr(MetaNMF(NMF(2)), "init")
    assert isinstance(HierarchicalNMF((3, 2), random_state=0).fit(np.eye(5)).S_, list)
