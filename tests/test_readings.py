"""What `read` and the loaders return goes where a matrix goes, with its labels and names, which nobody repeats."""

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from estimators import again, factors, of_those, one_sentence
from sklearn.model_selection import cross_val_score, train_test_split

import fastnmf
from fastnmf import NMF, MetaNMF, MiniBatchNMF, MiniBatchStratifiedNMF, Readings, StratifiedNMF
from fastnmf.metrics import group_words

SHORT = {"max_iter": 5, "tol": 0, "random_state": 0}
N, M = 24, 6
X = np.random.default_rng(0).random((N, M))
SITE, YEAR, DEPTH = np.array(["a", "b"])[np.arange(N) % 2], np.arange(N) % 3, 1.0 + np.arange(N) % 4
NAMES, ROWS = (np.array([f"{of}{i}" for i in range(n)], dtype=object) for of, n in (("word", M), ("row", N)))
LABELS = {"strata": SITE}
Z = np.eye(2)[np.arange(N) % 2]
TABLE = f"site,depth,{','.join(NAMES)}\n" + "".join(
    f"{site},{depth},{','.join(map(repr, row))}\n" for site, depth, row in zip(SITE, DEPTH, X.tolist(), strict=True)
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence


def readings(**has):
    return Readings(**{"data": X, "feature_names": NAMES, "row_names": ROWS, "strata": SITE} | has)


@of_those(lambda case: "strata" in case.given(case.draw()) or str(case) in ("NMF", "SemiNMF"))
def test_every_model_with_strata_uses_those_of_the_data(case, tmp_path):
    X = case.draw()
    given, more = case.given(X), again(case, X)
    strata = given.pop("strata", np.arange(len(X)) % 2)
    names, rows = [f"f{j}" for j in range(X.shape[1])], [f"r{i}" for i in range(len(X))]
    found = Readings(data=X, strata=strata, feature_names=names, row_names=rows)
    want, model = case.fit(X), case.make().fit(found, **given)
    assert model.feature_names_in_.tolist() == names and model.row_names_.tolist() == rows
    has = factors(model)
    assert all((has[name] == factor).all() for name, factor in factors(want).items())
    for method in ("transform", "score", "reconstruction_errors"):
        if hasattr(want, method):
            value = getattr(want, method)(X, **more)
            assert np.array_equal(np.ravel(getattr(model, method)(found)), np.ravel(value))


@pytest.mark.parametrize(
    "has",
    [
        {"strata": {"site": SITE, "year": YEAR}},
        {"strata": SITE, "exposure": DEPTH},
        {"strata": SITE, "sample_weight": DEPTH},
        {"strata": None, "design": Z},
    ],
    ids="-".join,
)
def test_exposure_weights_designs_and_crossed_strata_go_along(has):
    found = readings(**has)
    model, want = StratifiedNMF(2, **SHORT).fit(found), StratifiedNMF(2, **SHORT).fit(X, **has)
    of_new = {name: value for name, value in has.items() if name != "sample_weight"}
    assert (model.W_ == want.W_).all() and (model.shifts_ == want.shifts_).all()
    assert (model.transform(found[3:9]) == want.transform(X, **of_new)[3:9]).all()
    assert model.score(found) == want.score(X, **of_new)
    assert str(model.explain(found)) == str(want.explain(X, feature_names=NAMES, **of_new))
    assert (StratifiedNMF(2, **SHORT).fit_transform(found) == want.W_).all()


def test_what_is_given_by_name_takes_precedence_and_what_a_model_has_no_use_for_is_ignored():
    found = readings(exposure=DEPTH)
    by_year = StratifiedNMF(2, **SHORT).fit(found, strata=YEAR)
    assert (by_year.W_ == StratifiedNMF(2, **SHORT).fit(X, strata=YEAR, exposure=DEPTH).W_).all()
    by_design = StratifiedNMF(2, **SHORT).fit(readings(), design=Z)
    assert (by_design.W_ == StratifiedNMF(2, **SHORT).fit(X, design=Z).W_).all()
    of_sites = StratifiedNMF(2, **SHORT).fit(X, strata=SITE)
    assert (of_sites.transform(found) == of_sites.W_).all()
    wide = fastnmf.AffineNMF(2, **SHORT).fit(found)
    assert (wide.components_ == fastnmf.AffineNMF(2, **SHORT).fit(X).components_).all()


def test_files_are_fitted_saved_and_read_again_and_nothing_is_repeated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(TABLE)
    found = fastnmf.read("t.csv", strata="site", exposure="depth")
    model = StratifiedNMF(2, **SHORT).fit(found, strata="site")
    want = StratifiedNMF(2, **SHORT).fit(found.data, strata=SITE, exposure=DEPTH)
    assert (model.W_ == want.W_).all()
    model.save("m.npz")
    loaded = fastnmf.load("m.npz")
    new = fastnmf.read("t.csv", source=loaded.source_)
    assert (loaded.transform(new) == want.transform(found.data, strata=SITE, exposure=DEPTH)).all()
    assert loaded.top_features(1) == want.top_features(1, NAMES)
    on_disk = fastnmf.read("t.csv", source=loaded.source_, folder="t")
    disk = StratifiedNMF(2, **SHORT).fit(on_disk, strata="site")
    assert disk.feature_names_in_.tolist() == NAMES.tolist() and disk.source_["exposure"] == "depth"
    again = StratifiedNMF(2, **SHORT).fit(on_disk.data, strata=SITE, exposure=DEPTH)
    assert (disk.W_ == again.W_).all() and (disk.transform(on_disk) == disk.transform(found)).all()
    disk.fit(X, strata=SITE)  # what belonged to the data before is gone
    assert not hasattr(disk, "source_") and not hasattr(disk, "feature_names_in_")
    warm = NMF(2, warm_start=True, **SHORT).fit(readings()).fit(X)
    assert not hasattr(warm, "row_names_") and not hasattr(warm, "feature_names_in_")


def test_functions_use_what_the_data_have(tmp_path):
    found, short = readings(), {"random_state": 0, "estimator": StratifiedNMF(**SHORT)}
    ranks = [
        fastnmf.select_rank(*x, ranks=[1], n_folds=2, n_restarts=0, **short).held_out for x in ((found,), (X, SITE))
    ]
    assert (ranks[0] == ranks[1]).all()
    pools = [fastnmf.consensus(*x, n_components=2, n_runs=2, **short).model for x in ((found,), (X, SITE))]
    assert (pools[0].shifts_ == pools[1].shifts_).all() and pools[0].row_names_[3] == "row3"
    plain = fastnmf.consensus(found, n_components=2, n_runs=2, random_state=0, estimator=NMF(**SHORT)).model
    assert not hasattr(plain, "shifts_")
    assert group_words(found) == group_words(X, SITE, feature_names=NAMES)
    tests = [fastnmf.specific_features(*x, feature_names=NAMES).pvalue for x in ((found,), (X, SITE))]
    assert (tests[0] == tests[1]).all()
    model = StratifiedNMF(2, **SHORT).fit(found)
    drift = [fastnmf.topics_over_time(model, x, YEAR, **more).components for x, more in ((found, {}), (X, LABELS))]
    assert str(drift[0]) == str(drift[1])


def test_a_report_has_the_names_the_texts_and_the_strata_of_the_data(tmp_path):
    texts = np.array([f"text of {row}" for row in ROWS], dtype=object)
    crossed = readings(strata={"site": SITE, "year": YEAR}, texts=texts)
    model = StratifiedNMF(2, **SHORT).fit(crossed)
    fastnmf.write_report(model, tmp_path / "short.html", X=crossed)
    by_name = {"feature_names": NAMES, "row_names": ROWS, "row_texts": texts, "strata": crossed.strata, "kind": "rows"}
    fastnmf.write_report(model, tmp_path / "long.html", X=X, **by_name)
    pages = [(tmp_path / name).read_text("utf-8") for name in ("short.html", "long.html")]
    assert pages[0] == pages[1] and "text of row3" in pages[0]
    tables = fastnmf.write_tables(model, tmp_path / "tables")
    (weights,) = [file for file in tables if file.stem == "weights"]
    assert weights.read_text().splitlines()[4].startswith("row3,")


def test_blocks_tasks_and_other_rows():
    found, source = readings(exposure=DEPTH), {"kind": "matrix"}
    parts = [slice(0, 10), slice(10, N)]
    dicts = [{"X": X[part], "strata": SITE[part], "exposure": DEPTH[part]} for part in parts]
    models = [
        MiniBatchStratifiedNMF(2, random_state=0).fit_blocks(blocks)
        for blocks in ([found[part] for part in parts], dicts)
    ]
    assert (models[0].components_ == models[1].components_).all()
    models = [StratifiedNMF(2, random_state=0).partial_fit(x, **more) for x, more in ((readings(), {}), (X, LABELS))]
    assert (models[0].shifts_ == models[1].shifts_).all() and not hasattr(models[0], "row_names_")
    short = {"n_outer": 1, "task_size": 4, "n_inner": 2, "random_state": 0}
    tasks = [MetaNMF(NMF(2, solver="mu"), **short).fit(x, tasks=[x]) for x in (found, X)]
    assert (tasks[0].components_ == tasks[1].components_).all()
    found.source = source
    batches = MiniBatchNMF(2, random_state=0).fit_blocks([found[part] for part in parts])
    assert batches.source_ is source and batches.feature_names_in_.tolist() == NAMES.tolist()
    rated = readings(data=np.where(X > 0.5, X, 0), row_names=ROWS.tolist())
    model = StratifiedNMF(2, missing_values="zeros", **SHORT).fit(rated)
    new = model.recommend(3, 2, X=rated), model.recommend(3, 2, X=rated.data, strata=SITE)
    assert new[0].names == new[1].names and len(new[0].names) == 2


def test_rows_can_be_chosen_and_scikit_learn_splits():
    found = readings(exposure=DEPTH, texts=None, strata={"site": SITE, "year": YEAR})
    for rows in (slice(2, 9), np.arange(N) % 5 == 0, [4, 1]):
        part = found[rows]
        assert (part.X == X[rows]).all() and (part.strata["year"] == YEAR[rows]).all()
        assert part.row_names.tolist() == ROWS[rows].tolist() and part.feature_names is found.feature_names
        assert (part.exposure == DEPTH[rows]).all() and part.texts is None
    frame = readings(data=pd.DataFrame(X, columns=NAMES), row_names=None)
    assert (frame[[4, 1]].data.to_numpy() == X[[4, 1]]).all()
    train, test = train_test_split(readings(), random_state=0)
    assert train.shape == (18, M) and len(test.strata) == 6
    scores = cross_val_score(StratifiedNMF(2, **SHORT), readings(), cv=2)
    halves = np.arange(N) < N // 2
    model = StratifiedNMF(2, **SHORT).fit(X[~halves], strata=SITE[~halves])
    assert scores[0] == model.score(X[halves], strata=SITE[halves])


def test_it_is_the_dict_with_attributes_that_it_was():
    found = readings()
    assert found["data"] is found.data is found.X and dict(found).keys() == set(found) and "strata" in dir(found)
    found.extra = 1
    assert found["extra"] == 1 and not hasattr(found, "obsm") and Readings(data=X).strata is None
    for other in (found.copy(), copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert type(other) is Readings and (other.strata == SITE).all()
    assert repr(found) == "Readings of 24 rows x 6 features in 2 strata, with feature_names, row_names, extra"
    crossed = Readings(data=sp.csr_array(X), strata={"site": SITE, "year": YEAR})
    assert repr(crossed) == "Readings of 24 rows x 6 features crossed by site and year"
    assert isinstance(fastnmf.datasets.make_stratified((3, 3), 4, 1, random_state=0), Readings)


@pytest.mark.parametrize(
    "use, message",
    [
        (
            lambda: StratifiedNMF(2).fit(readings(), strata="town"),
            "strata='town' is none of the columns that X has for its rows",
        ),
        (lambda: setattr(readings(), "X", X), "X shows what is stored under another name; set data"),
        (lambda: readings().batch, "Readings has no 'batch'; it has data, feature_names"),
        (lambda: fastnmf.select_strata(readings(exposure=DEPTH)), "X has an exposure, without which select_strata"),
        (lambda: fastnmf.consensus(readings(), 12), "strata=12 is second, but X has its own labels; pass a number of"),
        (lambda: fastnmf.select_strata(readings(strata=None)), "select_strata was given no strata"),
        (lambda: StratifiedNMF(2, **SHORT).fit(readings()).transform(readings(strata=None)), "pass strata="),
        (
            lambda: NMF(2, **SHORT).fit(readings()).transform(readings(feature_names=NAMES[::-1])),
            "feature names of the fit in a different order",
        ),
        (lambda: NMF(2).fit(readings(feature_names=NAMES[:3])), "feature_names has 3 names for 6 features"),
        (lambda: NMF(2).fit(readings(row_names=ROWS[:3])), "row_names has 3 values for 24 rows"),
        (lambda: StratifiedNMF(2).fit(readings(strata=SITE[:3])), "strata has 3 labels for 24 rows"),
        (lambda: NMF(2).fit(readings(), layer="counts"), "layer='counts' is chosen when data are read: read(..."),
        (lambda: Readings(data=X.tolist()), "data is list; expected a matrix"),
        (lambda: np.asarray(readings()), "Readings hold a matrix with its labels and names, but a matrix alone is"),
        (lambda: fastnmf.tl.nmf(readings()), "adata is a Readings; expected an AnnData"),
    ],
)
def test_mistakes_get_one_sentence(use, message):
    with pytest.raises((ValueError, TypeError, AttributeError), match=re.escape(message)) as found:
        use()
    assert one_sentence(found.value)
