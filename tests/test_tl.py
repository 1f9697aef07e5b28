"""The tools of `fastnmf.tl` beside the estimators that they call, on AnnData in memory, in files and of Dask."""

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from estimators import one_sentence
from test_incoming import Cells

import fastnmf
from fastnmf import NMF, StratifiedNMF, tl
from fastnmf.datasets import simulate_counts

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
COUNTS = simulate_counts(90, 24, 3, 3, random_state=0)
SHORT = {"max_iter": 6, "tol": 0, "random_state": 0}
LOSSES = [{}, {"beta_loss": "kullback-leibler"}]
GENES = np.arange(24) % 3 != 1  # the highly variable ones


class Annotated(Cells):
    """Stand-in for an AnnData in memory, with what the tools read and write; for machines without anndata."""

    def __init__(self, X):
        super().__init__(X)
        self.var, self.layers, self.raw = pd.DataFrame(index=self.var_names), {}, None
        self.obsm, self.varm, self.uns, self.isbacked = {}, {}, {}, False


@pytest.fixture
def ad():
    return pytest.importorskip("anndata")


@pytest.fixture
def cells(ad):
    """Return cells whose layer has counts, and whose X has logarithms."""
    obs = pd.DataFrame({"batch": pd.Categorical(COUNTS.batch)}, index=[f"cell{i}" for i in range(90)])
    found = ad.AnnData(sp.csr_matrix(COUNTS.data.log1p()), obs, pd.DataFrame(index=COUNTS.feature_names))
    found.layers["counts"] = sp.csr_matrix(COUNTS.data.astype(np.int64))
    return found


def in_file(ad, cells, path, **options):
    cells.write_h5ad(path, **options)
    return ad.read_h5ad(path, backed="r")


def same(found, want):
    """Tell whether what was read from a file is what was written; texts come back as other arrays."""
    if isinstance(want, dict):
        return found.keys() == want.keys() and all(same(found[name], want[name]) for name in want)
    return np.array_equal(np.asarray(found), np.asarray(want))


@pytest.mark.parametrize("options", LOSSES)
def test_a_tool_writes_what_the_estimator_finds_and_a_file_keeps_it(ad, cells, options, tmp_path):
    solver = {"solver": "mu"} if options else {}
    model = StratifiedNMF(3, **SHORT, **solver, **options).fit(cells, strata="batch", layer="counts")
    assert tl.stratified_nmf(cells, "batch", 3, layer="counts", sweeps=(2, 1, 2), **SHORT, **options) is None
    tl.nmf(cells, 2, key_added="plain", seed_features={0: [COUNTS.feature_names[0]]}, **SHORT, **options)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    for each in (cells, ad.read_h5ad(tmp_path / "cells.h5ad")):
        assert (each.obsm["X_nmf"] == model.W_).all() and (each.varm["nmf_components"] == model.components_.T).all()
        about = each.uns["nmf"]
        assert (about["shifts"] == model.shifts_).all() and about["strata"].tolist() == model.strata_.tolist()
        assert about["genes"].tolist() == cells.var_names.tolist() == model.feature_names_in_.tolist()
        assert about["params"]["batch_key"] == "batch" and about["params"]["layer"] == "counts"
        assert about["params"]["max_iter"] == 6 and same(about["history"], model.history_ | each.uns["nmf"]["history"])
        assert (about["n_iter"], bool(about["converged"])) == (6, True)
        assert same(each.uns["plain"], cells.uns["plain"]) and each.obsm["X_plain"].shape == (90, 2)
    guided = NMF(2, seed_features={0: [0]}, **SHORT, **solver, **options).fit(cells)
    assert (cells.obsm["X_plain"] == guided.W_).all()


def test_an_exposure_is_that_of_the_estimator(ad, cells, tmp_path):
    cells.X, cells.obs["depth"] = cells.layers.pop("counts"), np.linspace(0.5, 2, 90)
    backed = in_file(ad, cells, tmp_path / "cells.h5ad")
    model = StratifiedNMF(3, init="features", **SHORT).fit(cells, strata="batch", exposure="depth")
    given = {"init": "features", **SHORT}
    tl.stratified_nmf(cells, "batch", 3, exposure="depth", **given)
    assert (cells.obsm["X_nmf"] == model.W_).all() and (cells.uns["nmf"]["shifts"] == model.shifts_).all()
    assert cells.uns["nmf"]["params"]["exposure"] == "depth"
    tl.stratified_nmf(backed, "batch", 3, exposure=cells.obs["depth"], chunk_rows=40, **given)
    assert np.allclose(backed.obsm["X_nmf"], model.W_, rtol=1e-6, atol=1e-8 * model.W_.max())
    backed.write_h5ad(tmp_path / "other.h5ad")
    without = tl.stratified_nmf(cells, "batch", 3, copy=True, **given)
    assert not np.allclose(without.uns["nmf"]["shifts"], model.shifts_, rtol=0.1)


def test_usages_sum_to_one_and_do_not_depend_on_the_scale_of_components():
    found = []
    for normalize in (None, "max"):
        cells = Annotated(COUNTS.data.copy())
        cells.X[[4]] = 0
        tl.nmf(cells, 3, normalize=normalize, max_iter=40, tol=0, random_state=0)
        usage = cells.obsm["X_nmf_usage"]
        assert np.allclose(np.delete(usage, 4, axis=0).sum(axis=1), 1, rtol=1e-14) and not usage[4].any()
        assert np.allclose(cells.uns["nmf"]["usage"], usage.mean(axis=0))
        found.append((usage, cells.varm["nmf_markers"]))
    assert all(np.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("form", [sp.csr_array, sp.csc_matrix, lambda X: X.toarray(), lambda X: X.astype(np.int32)])
@pytest.mark.parametrize("is_counts", [True, False])
def test_scores_are_the_regression_of_the_paper(form, is_counts, monkeypatch):
    monkeypatch.setattr("fastnmf.tl.source._ENTRIES", 24 * 40)  # several blocks
    monkeypatch.setattr("fastnmf.tl.source._ENTRIES_READ", 24 * 7)
    X = COUNTS.data.toarray()
    X[:, 5] = 0
    if not is_counts:
        X[:, 7] = 2  # constant
        X[:, 8] = 100 + np.arange(90) / 90  # of little variance
        X[-1, 0] += 0.5  # not before the last block
    cells = Annotated(form(sp.csr_array(X)))
    if np.issubdtype(cells.X.dtype, np.integer):
        X = np.floor(X)
    tl.nmf(cells, 3, **SHORT)
    U = cells.obsm["X_nmf"] * cells.varm["nmf_components"].sum(axis=0)
    Y = X / np.where(X.sum(axis=1) > 0, X.sum(axis=1), 1)[:, None] if (X == np.floor(X)).all() else X
    deviation = Y.std(axis=0)
    Z = (Y - Y.mean(axis=0)) / np.where(deviation > 1e-12, deviation, np.inf)
    want = np.linalg.lstsq(U, Z, rcond=None)[0].T
    assert np.allclose(cells.varm["nmf_markers"], want, rtol=1e-7, atol=1e-9 * abs(want).max())
    assert not cells.varm["nmf_markers"][5].any()


def test_a_programme_that_no_cell_uses_has_no_scores():
    cells = Annotated(sp.csr_array(np.outer(np.arange(1, 13), [1, 0, 2, 0.5])))
    tl.nmf(cells, 2, fixed_components=np.array([[1, 0, 2, 0.5], [0, 1, 0, 0]]), **SHORT)
    markers, usage = cells.varm["nmf_markers"], cells.obsm["X_nmf_usage"]
    assert np.isfinite(markers).all() and not markers[:, 1].any() and (usage == [1, 0]).all()


def test_highly_variable_genes_are_fitted_and_all_get_scores(cells):
    cells.var["highly_variable"] = GENES
    model = StratifiedNMF(3, **SHORT).fit(cells[:, GENES], strata="batch", layer="counts")
    tl.stratified_nmf(cells, "batch", 3, layer="counts", **SHORT)
    components, about = cells.varm["nmf_components"], cells.uns["nmf"]
    assert (cells.obsm["X_nmf"] == model.W_).all()
    assert (components[GENES] == model.components_.T).all() and not components[~GENES].any()
    assert about["genes"].tolist() == cells.var_names[GENES].tolist() and about["shifts"].shape == (3, 16)
    has_counts = cells.X.sum(axis=0).A1 > 0
    assert about["params"]["use_highly_variable"]
    assert (cells.varm["nmf_markers"].any(axis=1) == has_counts).all() and has_counts[~GENES].any()
    tl.nmf(cells, 3, key_added="all", use_highly_variable=False, **SHORT)
    assert (cells.obsm["X_all"] == NMF(3, **SHORT).fit(cells).W_).all()


def test_raw_is_fitted_where_x_is_scaled(ad, cells, tmp_path):
    raw = cells.copy()
    scaled = cells[:, ::-2].copy()
    scaled.X = scaled.X.toarray() - 1
    scaled.raw, model = raw, StratifiedNMF(3, **SHORT).fit(raw, strata="batch")
    tl.stratified_nmf(scaled, "batch", 3, **SHORT)
    assert scaled.uns["nmf"]["params"]["use_raw"] and (scaled.obsm["X_nmf"] == model.W_).all()
    assert (scaled.raw.varm["nmf_components"] == model.components_.T).all()
    assert (scaled.varm["nmf_components"] == model.components_.T[::-2]).all()
    assert (scaled.varm["nmf_markers"] == scaled.raw.varm["nmf_markers"][::-2]).all()
    scaled.write_h5ad(tmp_path / "scaled.h5ad")
    again = ad.read_h5ad(tmp_path / "scaled.h5ad")
    assert (again.raw.varm["nmf_components"] == model.components_.T).all()
    cells.raw = cells.copy()
    tl.nmf(cells, 3, key_added="raw", use_raw=True, use_highly_variable=False, **SHORT)
    tl.nmf(cells, 3, **SHORT)  # X can be factorised, and is
    assert (cells.varm["raw_components"] == cells.varm["nmf_components"]).all()
    assert not cells.uns["nmf"]["params"]["use_raw"]


def test_views_and_copies(cells):
    view, names = cells[10:60], cells.obs_names[10:60]
    tl.nmf(view, 2, **SHORT)
    assert not view.is_view and (view.obsm["X_nmf"] == NMF(2, **SHORT).fit(cells[10:60]).W_).all()
    assert view.obs_names.equals(names) and "X_nmf" not in cells.obsm
    other = tl.stratified_nmf(cells, "batch", 2, copy=True, **SHORT)
    assert other.obsm["X_nmf"].shape == (90, 2) and not cells.obsm.keys() and not cells.uns.keys()


@pytest.mark.parametrize("options", LOSSES)
@pytest.mark.parametrize("form", [sp.csr_matrix, lambda X: X.toarray()])
def test_a_file_is_read_chunk_by_chunk(ad, cells, form, options, tmp_path, monkeypatch):
    monkeypatch.setattr("fastnmf.tl.source._ENTRIES", 24 * 25)
    monkeypatch.setattr("fastnmf.tl.source._ENTRIES_READ", 24 * 25)
    cells.X, cells.var["highly_variable"] = form(COUNTS.data), GENES
    more = {**SHORT, **options, "init": "features"}
    seeds = {"seed_features": {0: [COUNTS.feature_names[3]]}}
    backed = in_file(ad, cells, tmp_path / "cells.h5ad", compression="gzip")
    sizes = []
    monkeypatch.setattr("fastnmf.tl.tools.open_csr", lambda folder: sizes.append(open_csr(folder)) or sizes[-1])
    for chosen, guide in ((False, {}), (True, seeds)):
        given = {"use_highly_variable": chosen, "chunk_rows": 40, **more, **guide}
        tl.stratified_nmf(backed, "batch", 3, **given)
        tl.stratified_nmf(cells, "batch", 3, **given)
        assert [(X.chunk_rows, X.n_chunks, X.shape[1]) for X in sizes[-1:]] == [(40, 3, 16 if chosen else 24)]
        bound = 1e-8  # sums are rounded otherwise
        for name in ("X_nmf", "X_nmf_usage"):
            assert np.allclose(backed.obsm[name], cells.obsm[name], rtol=bound, atol=bound * cells.obsm[name].max())
        assert np.allclose(backed.varm["nmf_components"], cells.varm["nmf_components"], rtol=1e-3, atol=bound)
    assert not isinstance(backed.obsm["X_nmf"], np.memmap)
    backed.write_h5ad(tmp_path / "other.h5ad")
    again = ad.read_h5ad(tmp_path / "other.h5ad")
    assert (again.obsm["X_nmf"] == backed.obsm["X_nmf"]).all() and (again.X != cells.X).sum() == 0
    assert same(again.uns["nmf"], backed.uns["nmf"])
    assert sizes and not sizes[0].folder.exists()


open_csr = fastnmf.open_csr


def test_a_consensus_is_that_of_the_estimators(ad, cells, tmp_path):
    runs = {"n_runs": 3, "random_state": 1, "density_threshold": 2.0}
    estimator = StratifiedNMF(max_iter=5, tol=0)
    want = fastnmf.consensus(cells, "batch", 2, layer="counts", estimator=estimator, **runs)
    tl.consensus(cells, "batch", 2, layer="counts", max_iter=5, tol=0, **runs)
    assert (cells.varm["nmf_components"] == want.components.T).all() and (cells.obsm["X_nmf"] == want.model.W_).all()
    about = cells.uns["nmf"]["consensus"]
    assert (about["agreement"] == want.agreement).all() and about["n_dropped"] == 0
    assert cells.uns["nmf"]["params"]["n_runs"] == 3
    backed = in_file(ad, cells, tmp_path / "cells.h5ad")
    tl.consensus(backed, None, 2, max_iter=5, tol=0, **runs)
    tl.consensus(cells, None, 2, max_iter=5, tol=0, **runs)
    assert (backed.obsm["X_nmf"] == cells.obsm["X_nmf"]).all() and "shifts" not in cells.uns["nmf"]


def test_programmes_feed_a_pipeline_of_scanpy(cells):
    scanpy = pytest.importorskip("scanpy")
    tl.stratified_nmf(cells, "batch", 3, layer="counts", **SHORT)
    scanpy.pp.neighbors(cells, n_neighbors=5, use_rep="X_nmf", method="gauss")
    assert cells.obsp["connectivities"].shape == (90, 90) and cells.uns["neighbors"]["params"]["use_rep"] == "X_nmf"


def negative(X):
    return Annotated(X.toarray() - 1)


def lacking(X):
    cells = Annotated(X)
    cells.obs["batch"] = np.where(np.arange(90) == 3, np.nan, 1.0)
    return cells


def with_layer(X):
    cells = Annotated(X)
    cells.layers["counts"] = -X
    return cells


def without_genes(X):
    cells = Annotated(X)
    cells.var["highly_variable"] = False
    return cells


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda X: tl.nmf(X), "adata is a csr_array; expected an AnnData"),
        (
            lambda X: tl.stratified_nmf(Annotated(X), "bach"),
            "batch_key='bach' is not a column of adata.obs; did you me",
        ),
        (
            lambda X: tl.stratified_nmf(Annotated(X), "batch", exposure="bach"),
            "exposure='bach' is not a column of adata.obs; did you mean 'batch'?",
        ),
        (lambda X: tl.stratified_nmf(Annotated(X), "zz"), "is not a column of adata.obs; there are: 'batch'."),
        (lambda X: tl.stratified_nmf(Annotated(X), np.zeros(90)), "is not a column of adata.obs"),
        (lambda X: tl.stratified_nmf(lacking(X), "batch"), "adata.obs['batch'] contains a missing label .* in row 3"),
        (
            lambda X: tl.nmf(with_layer(X), layer="count"),
            "layer='count' is not a layer of adata; did you mean 'counts'?",
        ),
        (lambda X: tl.nmf(Annotated(X), layer="counts"), "layer='counts' is not a layer of adata; there are: none."),
        (lambda X: tl.nmf(with_layer(X), layer="counts"), r"adata.layers\['counts'\] has negative entries, .* -"),
        (lambda X: tl.nmf(negative(X)), "adata.X has negative entries, the smallest is -1, as scaled data do"),
        (lambda X: tl.nmf(Annotated(X), use_raw=True), "adata.raw is None"),
        (lambda X: tl.nmf(Annotated(X), use_raw=True, layer="x"), "name two matrices"),
        (lambda X: tl.nmf(SimpleNamespace(**vars(Annotated(X)) | {"X": None})), "adata.X is None"),
        (lambda X: tl.nmf(Annotated(X), use_highly_variable=True), "var has no column 'highly_variable'"),
        (lambda X: tl.nmf(without_genes(X)), "No gene is highly variable"),
        (lambda X: tl.nmf(Annotated(X), key_added="a/b"), "key_added='a/b' is not a key"),
        (
            lambda X: tl.nmf(Annotated(X), max_itr=3),
            "'max_itr' is not one of NMF or of this tool; did you mean 'max_iter'",
        ),
        (lambda X: tl.nmf(Annotated(X), chunk_rows=0), "chunk_rows=0"),
        (lambda X: tl.nmf(Annotated(X), 0), "n_components=0"),
        (lambda X: tl.nmf(Annotated(X.toarray() * np.nan)), "NaN"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(use, message):
    message = message.replace("obs['batch']", r"obs\['batch'\]")
    with pytest.raises((ValueError, TypeError), match=message.replace("?", r"\?")) as found:
        use(COUNTS.data)
    assert one_sentence(found.value) or str(found.value).endswith("?")


def test_files_that_cannot_be_fitted_are_refused_before_anything_is_written(ad, cells, tmp_path):
    backed = in_file(ad, cells, tmp_path / "rows.h5ad")
    uses = [
        (lambda: tl.nmf(backed[:40], 2), "a view of an AnnData in a file"),
        (lambda: tl.nmf(backed, 2, copy=True), "copy=True needs a copy of the file"),
        (
            lambda: tl.nmf(backed, 2, n_init=2),
            "n_init=2 needs all rows at once, but adata is in a file; set n_init=1, or",
        ),
        (lambda: tl.nmf(by_column, 2), "adata.X is stored by columns"),
    ]
    cells.X = sp.csc_matrix(cells.X)
    by_column = in_file(ad, cells, tmp_path / "columns.h5ad")
    for use, message in uses:
        with pytest.raises(ValueError, match=message) as found:
            use()
        assert one_sentence(found.value)
    assert not backed.obsm.keys() and not backed.uns.keys()


def test_a_dask_array_is_fitted_by_workers():
    distributed, da = pytest.importorskip("distributed"), pytest.importorskip("dask.array")
    from fastnmf import dask as on_dask

    cells = Annotated(da.from_array(COUNTS.data.toarray(), chunks=(40, -1)))
    cells.var["highly_variable"] = GENES
    with pytest.raises(TypeError, match="adata.X is a Dask array"):
        tl.consensus(cells, "batch", 3)
    options = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tl.stratified_nmf(cells, "batch", 3, init="features", **SHORT)
        want = on_dask.StratifiedNMF(3, init="features", **SHORT).fit(cells.X[:, GENES], strata=cells.obs["batch"])
        assert (cells.obsm["X_nmf"] == want.W_.compute()).all() and isinstance(cells.obsm["X_nmf"], np.ndarray)
    whole = Annotated(COUNTS.data)
    whole.var["highly_variable"] = GENES
    tl.stratified_nmf(whole, "batch", 3, init="features", **SHORT)
    assert np.allclose(cells.varm["nmf_markers"], whole.varm["nmf_markers"], rtol=1e-6, atol=1e-9)
