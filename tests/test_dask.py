"""Fits of collections of Dask, beside those of the same chunks on disk; one worker in this process.

`make test` runs a part of them, `make test-dask` all, and `tests/test_dask_cluster.py` with worker processes.
"""

import gc
import itertools
import os
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from test_chunks import CASES, GROUPS, RANK, WEIGHT, X, bits, fitted

import fastnmf
from fastnmf import open_csr, save_csr

distributed = pytest.importorskip("distributed")
import dask  # noqa: E402 (only where it is installed)
import dask.array as da  # noqa: E402
from dask.highlevelgraph import HighLevelGraph  # noqa: E402
from dask.task_spec import Task, TaskRef  # noqa: E402

import fastnmf.dask as on_dask  # noqa: E402

ROWS = 97  # of a chunk
IS_WHOLE = "FASTNMF_DASK" in os.environ
long = pytest.mark.skipif(not IS_WHOLE, reason="make test-dask runs it")


@pytest.fixture(scope="module")
def client():
    options = {"processes": False, "n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    return save_csr(X, tmp_path_factory.mktemp("chunks"), columns=ROWS)


def cut(X, sizes):
    """Return the rows of X in chunks of these sizes."""
    ends = np.cumsum(sizes)
    return [X[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def array(X, sizes, *, are_known=True, read=dask.delayed):
    """Return a Dask array of CSR blocks, each of which is what `read` makes of some rows."""
    parts, name = [read(part) for part in cut(X, sizes)], f"rows-{next(NUMBERS)}"
    keys = [(name, number, 0) for number in range(len(parts))]
    own = {key: Task(key, _same, TaskRef(part.key)) for key, part in zip(keys, parts, strict=True)}
    graph = HighLevelGraph.from_collections(name, own, dependencies=parts)  # da.concatenate drops empty blocks
    chunks = tuple(sizes) if are_known else (np.nan,) * len(sizes)
    return da.Array(graph, name, (chunks, (X.shape[1],)), meta=sp.csr_array((0, 0), dtype=X.dtype))


NUMBERS = itertools.count()
SIZES = (97,) * 5 + (15,)


def of(kind):
    return getattr(on_dask, kind.__name__)


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize(
    "name", [name for name in CASES if "sparse" not in name] if IS_WHOLE else ["nmf", "strata, kl, nets, weights"]
)
def test_a_fit_has_the_bits_of_the_same_chunks_on_disk(name, hold, disk, client):
    kind, options, given = CASES[name]
    expected = fitted(kind, options, disk, given, max_iter=3)
    found = fitted(of(kind), options, disk, given, max_iter=3, hold=hold)
    assert bits(found) == bits(expected)
    np.testing.assert_array_equal(found.history_["objective"], expected.history_["objective"])
    assert found.reconstruction_err_ == expected.reconstruction_err_ and found.n_features_in_ == 70
    assert found.W_.chunks == (SIZES, (RANK,)) and not isinstance(found.W_, np.ndarray)


FACTORS = {"group": GROUPS, "side": np.array(["left", "right"])[np.arange(len(GROUPS)) // 7 % 2]}
DESIGNS = {
    "crossed, kl": (CASES["strata, kl"][1], {"strata": FACTORS, "exposure": WEIGHT}),
    "own design": ({}, {"design": sp.csr_array(np.random.default_rng(0).integers(0, 3, (len(GROUPS), 5)) / 2)}),
    "smooth": ({"smoothness": {"group": 2.0}, "solver": "mu"}, {"strata": FACTORS}),
    "crossed": ({}, {"strata": FACTORS, "exposure": WEIGHT}),
}


@pytest.mark.parametrize("name", DESIGNS if IS_WHOLE else ["crossed"])
def test_fits_of_designs_have_the_bits_of_those_on_disk(name, disk, client):
    options, given = DESIGNS[name]
    expected = fitted(fastnmf.StratifiedNMF, options, disk, given, max_iter=3)
    parts = {key: [dask.delayed(part) for part in cut(values, SIZES)] for key, values in FACTORS.items()}
    lazy = given | ({"strata": parts} if "strata" in given else {})
    lazy |= {"exposure": da.from_array(WEIGHT, chunks=(SIZES,))} if "exposure" in given else {}
    lazy |= {"design": [dask.delayed(part) for part in cut(given["design"], SIZES)]} if "design" in given else {}
    for hold, own in ((True, given), (False, lazy)):
        found = fitted(on_dask.StratifiedNMF, options, array(X, SIZES), own, max_iter=3, hold=hold)
        assert bits(found) == bits(expected)
        np.testing.assert_array_equal(found.history_["objective"], expected.history_["objective"])
        assert found.shift_names_.tolist() == expected.shift_names_.tolist()
        W = found.transform(array(X, SIZES, are_known=own is given), **own)
        assert (W.compute() == expected.transform(X, **given)).all()
    assert (found.to_local().transform(X, **given) == W.compute()).all()


OWN = {  # name -> parameters, whether the workers hold the chunks
    "own": ({"n_own": 2, "gauge": "max_shift"}, False),
    "tied": ({"own": "tied", "shifts": False}, True),
    "own, kl": (CASES["strata, kl"][1] | {"n_own": {1: 1, 3: 2}, "extrapolate": True}, True),
    "own, joint": ({"n_own": {1: 1, 3: 2}}, True),
}


@pytest.mark.parametrize("name", OWN if IS_WHOLE else ["own"])
def test_fits_with_own_components_have_the_bits_of_those_on_disk(name, disk, client):
    (options, hold), given = OWN[name], {"strata": GROUPS, "sample_weight": WEIGHT}
    expected = fitted(fastnmf.StratifiedNMF, options, disk, given, max_iter=2)
    found = fitted(on_dask.StratifiedNMF, options, array(X, SIZES), given, max_iter=2, hold=hold)
    assert bits(found) == bits(expected) and found._own_stack.tobytes() == expected._own_stack.tobytes()
    assert vars(found.to_local(weights=True)).keys() >= {"W_", "own_W_", "row_strata_"} & vars(expected).keys()
    W = found.transform(array(X, SIZES), strata=GROUPS).compute()
    np.testing.assert_array_equal(W, expected.transform(disk, strata=GROUPS))
    if name != "tied":
        for U, wanted in (
            (found.own_W_, expected.own_W_),
            (found.transform_own(array(X, SIZES), strata=GROUPS), expected.transform_own(disk, strata=GROUPS)),
        ):
            assert (U.compute() != wanted).nnz == 0 and U.chunks == (SIZES, (wanted.shape[1],))
    local = found.to_local()
    assert (local.transform(X, strata=GROUPS) == expected.transform(X, strata=GROUPS)).all()


def test_own_components_that_are_refused(disk, client):
    model = on_dask.StratifiedNMF(RANK, n_own=1, max_iter=1, warm_start=True)
    with pytest.raises(ValueError, match="need all rows in memory"):
        model.fit(disk, strata=FACTORS)
    model.components_ = np.ones((RANK, X.shape[1]))  # of a fit before
    with pytest.raises(ValueError, match="warm_start=True does not go with own components"):
        model.fit(disk, strata=GROUPS)


def test_designs_that_do_not_fit_the_chunks_are_refused(disk, client):
    fit = on_dask.StratifiedNMF(RANK, max_iter=1).fit
    with pytest.raises(ValueError, match=r"Chunk 0 of X has 97 rows and 500 values in strata\['group'\]"):
        fit(disk, strata=FACTORS | {"group": [dask.delayed(GROUPS)] * len(SIZES)})
    with pytest.raises(ValueError, match="gauge='max_shift' of a design needs all rows at once"):
        on_dask.StratifiedNMF(RANK, gauge="max_shift").fit(disk, strata=FACTORS)
    model = fit(disk, strata=FACTORS)
    with pytest.raises(ValueError, match=r"strata\['side'\] has 3 rows for 500 rows of X"):
        model.transform(array(X, SIZES), strata=FACTORS | {"side": ["left"] * 3})
    with pytest.raises(ValueError, match="unknown numbers of rows; give strata"):
        model.transform(array(X, SIZES, are_known=False), strata=FACTORS)


@long
@pytest.mark.parametrize("name", ["strata, gauge", "strata, normalized", "strata, rows without weight", "strata, mu"])
def test_weights_are_those_of_the_user(name, disk, client):
    kind, options, given = CASES[name]
    more = {"max_iter": 3, "init": "random"}
    found, expected = (fitted(each, options, disk, given, **more) for each in (of(kind), kind))
    assert bits(found) == bits(expected)


@long
def test_units_of_any_size(tmp_path, client):
    for scale in (1e-150, 1e150):
        D = save_csr(X * scale, tmp_path, columns=ROWS)
        models = [kind(RANK, random_state=0, max_iter=3).fit(D, strata=GROUPS) for kind in KINDS]
        assert bits(models[0]) == bits(models[1])


KINDS = (fastnmf.StratifiedNMF, on_dask.StratifiedNMF)


def inputs(X, sizes, tmp_path):
    """Return all kinds of collections of the rows of X, and their strata and weights in as many kinds."""
    given = [cut(each, sizes) for each in (GROUPS, WEIGHT)]
    for number, part in enumerate(cut(X, sizes)):
        sp.save_npz(tmp_path / f"{number}.npz", part)
    paths, known = [tmp_path / f"{number}.npz" for number in range(len(sizes))], (tuple(sizes),)
    lazy = [da.from_array(each, chunks=known) for each in (GROUPS, WEIGHT)]
    return {
        "blocks": (array(X, sizes), GROUPS, WEIGHT),
        "labels of Dask": (array(X, sizes), *lazy),
        "made of what is there": (array(X, sizes).persist().map_blocks(_same, meta=sp.csr_array((0, 0))), *lazy),
        "unknown sizes": (array(X, sizes, are_known=False), *lazy),
        "on the workers": (array(X, sizes).persist(), *lazy),
        "dense blocks": (da.from_array(X.toarray(), chunks=(*known, (70,))), *lazy),
        "delayed": ([dask.delayed(part) for part in cut(X, sizes)], *given),
        "paths": (paths, [dask.delayed(part) for part in given[0]], WEIGHT),
        "texts": ([str(path) for path in paths], GROUPS.tolist(), lazy[1]),
    }


def test_what_fit_takes(tmp_path, disk, client):
    expected = fastnmf.StratifiedNMF(RANK, random_state=0, max_iter=3).fit(disk, strata=GROUPS, sample_weight=WEIGHT)
    kinds = inputs(X, SIZES, tmp_path).items()
    for name, (rows, strata, weight) in kinds if IS_WHOLE else list(kinds)[:3]:
        model = on_dask.StratifiedNMF(RANK, random_state=0, max_iter=3, hold=name != "unknown sizes")
        model.fit(rows, strata=strata, sample_weight=weight)
        assert bits(model) == bits(expected), name
        assert (model.row_strata_ == expected.row_strata_).all() and model.row_strata_.dtype == np.int32
        assert (model.strata_ == expected.strata_).all() and model.strata_.dtype == expected.strata_.dtype


@pytest.mark.parametrize("hold", [True, False])
def test_empty_chunks_and_chunks_of_one_row(hold, client):
    sizes = (0, 1, 200, 0, 1, 298, 0)
    for X_, tol in ((X, 1e-12), (X.astype(np.float32), 1e-5))[: 1 + IS_WHOLE]:
        whole = fastnmf.StratifiedNMF(RANK, random_state=0, max_iter=5, init="features").fit(X_, strata=GROUPS)
        model = on_dask.StratifiedNMF(RANK, random_state=0, max_iter=5, init="features", hold=hold)
        model.fit(array(X_, sizes), strata=da.from_array(GROUPS, chunks=(sizes,)))
        np.testing.assert_allclose(model.history_["objective"], whole.history_["objective"], rtol=tol)
        assert model.W_.chunks[0] == sizes and model.W_.dtype == X_.dtype == model.components_.dtype
        W = model.W_.compute()
        new = model.transform(array(X_, sizes), strata=GROUPS)
        assert new.chunks[0] == sizes and W.shape == (500, RANK)
        np.testing.assert_allclose(W @ model.components_, new.compute() @ model.components_, rtol=0, atol=10 * tol)


@long
def test_wide_indices(client):
    wide = X.copy()
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    parts = cut(wide, SIZES)
    for part in parts:
        part.indices, part.indptr = part.indices.astype(np.int64), part.indptr.astype(np.int64)
    wide, narrow = [dask.delayed(part) for part in parts], array(X, SIZES)
    models = [on_dask.NMF(RANK, random_state=0, max_iter=3).fit(rows) for rows in (wide, narrow)]
    assert bits(models[0]) == bits(models[1])


@long
def test_an_anndata_whose_matrix_is_lazy(client):
    pd, anndata = pytest.importorskip("pandas"), pytest.importorskip("anndata")
    obs = pd.DataFrame({"batch": GROUPS.astype(str)}, index=[f"cell{i}" for i in range(500)])
    cells = anndata.AnnData(array(X, SIZES), obs=obs, var=pd.DataFrame(index=[f"gene{j}" for j in range(70)]))
    model = on_dask.StratifiedNMF(RANK, random_state=0, max_iter=3).fit(cells, strata="batch")
    expected = on_dask.StratifiedNMF(RANK, random_state=0, max_iter=3).fit(array(X, SIZES), strata=GROUPS.astype(str))
    assert bits(model) == bits(expected) and model.feature_names_in_[3] == "gene3"
    W = model.transform(cells, strata="batch")
    assert W.chunks == (SIZES, (RANK,)) and W.compute().shape == (500, RANK)
    with pytest.raises(ValueError, match="feature names|names"):
        model.transform(cells[:, ::-1], strata="batch")


READS = []


def read(part):
    READS.append(len(READS))
    return part


def test_nothing_is_computed_until_it_is_asked_for(client):
    def counted(sizes):
        return array(X, sizes, read=dask.delayed(read))

    model = on_dask.StratifiedNMF(RANK, random_state=0, max_iter=4).fit(counted(SIZES), strata=GROUPS)
    assert len(READS) == len(SIZES)  # they are held
    model.W_.compute()
    W = model.transform(counted(SIZES), strata=da.from_array(GROUPS, chunks=(SIZES,)))
    assert len(READS) == len(SIZES)
    found = W.compute()
    assert len(READS) == 2 * len(SIZES)
    assert (found == model.to_local().transform(X, strata=GROUPS)).all()
    eager = model.transform(X, strata=GROUPS)
    assert isinstance(eager, np.ndarray) and (found == eager).all()
    unknown = model.transform(array(X, SIZES, are_known=False), strata=da.from_array(GROUPS, chunks=(SIZES,)))
    assert np.isnan(unknown.chunks[0]).all() and (unknown.compute() == found).all()
    with pytest.raises(ValueError, match="unknown numbers of rows; give strata as many chunks"):
        model.transform(array(X, SIZES, are_known=False), strata=GROUPS)
    READS.clear()
    on_dask.NMF(RANK, random_state=0, max_iter=4, hold=False).fit(counted(SIZES))
    n_reads = len(READS)
    on_dask.NMF(RANK, random_state=0, max_iter=6, hold=False).fit(counted(SIZES))
    assert len(READS) - 2 * n_reads == 2 * len(SIZES)  # two iterations more


def test_the_model_without_dask(tmp_path, disk, client):
    model = on_dask.StratifiedNMF(RANK, random_state=0, max_iter=3).fit(disk, strata=GROUPS)
    with pytest.raises(TypeError, match=r"use to_local\(\)\.save"):
        model.save(tmp_path / "model.npz")
    local = model.to_local()
    assert type(local) is fastnmf.StratifiedNMF and not hasattr(local, "W_")
    local.save(tmp_path / "model.npz")
    again = fastnmf.load(tmp_path / "model.npz")
    assert (again.transform(X, strata=GROUPS) == model.transform(disk, strata=GROUPS)).all()
    whole = model.to_local(weights=True)
    assert isinstance(whole.W_, np.ndarray) and (whole.W_ == model.W_.compute()).all()
    assert model.top_features(2) == local.top_features(2) and local.get_params()["n_components"] == RANK


@long
def test_parameters_and_copies(client, disk):
    model = on_dask.NMF(3, client=client, hold=False, tol=0)
    assert model.get_params()["hold"] is False and model.get_params()["tol"] == 0
    again = clone(model)
    assert again.client is client and again.get_params()["n_components"] == 3 and again.hold is False
    assert fitted(on_dask.NMF, {}, disk, {}, max_iter=2, client=client).n_iter_ == 2
    seen = []
    options = {"callback": lambda state: seen.append((state.W, state.H.shape, state.normalized_loss)), "max_iter": 3}
    fitted(on_dask.NMF, {}, disk, {}, **options)
    assert [each[:2] for each in seen] == [(None, (RANK, 70))] * 4 and seen[3][2] < seen[0][2]
    stopped = fitted(on_dask.NMF, {}, disk, {}, callback=lambda state: state.iteration == 2)
    assert stopped.stopped_by_ == "callback" and stopped.n_iter_ == 2


@long
@pytest.mark.parametrize("name", ["strata", "strata, kl"])
def test_starts_of_the_user(name, disk, client):
    kind, options, given = CASES[name]
    rng = np.random.default_rng(0)
    start = {"W": rng.random((500, RANK)), "H": rng.random((RANK, 70)), "V": rng.random((5, 70))}
    prior = fitted(kind, options, X, given, max_iter=2, random_state=5)
    for init, more in (("custom", start), (prior, {})):
        own = options | {"init": init, "max_iter": 3}
        found, expected = (fitted(each, own, disk, given | more) for each in (of(kind), kind))
        assert bits(found) == bits(expected)
    models = [fitted(each, options, disk, given, warm_start=True, max_iter=3) for each in (of(kind), kind)]
    for model in models:
        model.set_params(max_iter=5).fit(disk, **given)
    assert models[0].n_iter_ == 5
    np.testing.assert_allclose(*(model.history_["objective"] for model in models), rtol=1e-12)


@long
def test_dead_components_are_replaced(tmp_path, client):
    blocks = sp.csr_array(sp.block_diag([np.ones((40, 6)), np.full((30, 5), 3.0), np.ones((30, 7))]))
    H = np.zeros((3, blocks.shape[1]))
    H[0, :6], H[1:, 0] = 1.0, 1e-9
    D = save_csr(blocks, tmp_path, columns=23)
    models = [kind(3, init=fastnmf.Start(H), max_iter=20, tol=0).fit(D) for kind in (fastnmf.NMF, on_dask.NMF)]
    assert models[0].n_revived_ == models[1].n_revived_ > 0 and bits(models[0]) == bits(models[1])


def test_a_finished_fit_leaves_nothing_behind(client, disk):
    def keys():
        return client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))

    gc.collect()  # tracebacks of the tests before
    assert wait_for(lambda: keys() == 0)
    model = on_dask.StratifiedNMF(RANK, random_state=0, max_iter=3).fit(disk, strata=GROUPS)
    assert keys() > 0
    del model
    assert wait_for(lambda: keys() == 0)
    with pytest.raises(ValueError, match="Chunk"):
        on_dask.NMF(2).fit([dask.delayed(part) for part in cut(-X, SIZES)])
    assert wait_for(lambda: keys() == 0)


def wait_for(is_true, seconds=10.0):
    until = time.monotonic() + seconds
    while not is_true() and time.monotonic() < until:
        time.sleep(0.02)
    return is_true()


@long
def test_the_past_is_forgotten(client, disk, monkeypatch):
    from fastnmf.dask import engine

    expected = bits(on_dask.NMF(RANK, random_state=0, max_iter=9, tol=0).fit(disk))
    monkeypatch.setattr(engine, "PAST", 3000)
    seen = []

    def count(state):
        seen.append(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))

    assert bits(on_dask.NMF(RANK, random_state=0, max_iter=9, tol=0, callback=count).fit(disk)) == expected
    assert max(seen[2:]) <= seen[1] + 4 * len(SIZES)


@long
@pytest.mark.parametrize("name", ["strata", "strata, kl", "strata, nets"])
def test_a_fit_goes_on_from_its_checkpoint(name, disk, client, tmp_path):
    kind, options, given = CASES[name]
    folder, given = tmp_path / "state", {"strata": da.from_array(GROUPS, chunks=(SIZES,))}
    expected = fitted(of(kind), options, disk, given, max_iter=7)
    for max_iter in (1, 6, 7):
        more = given | {"checkpoint": folder, "checkpoint_every": 0}
        found = fitted(of(kind), options, disk, more, max_iter=max_iter, client=client, hold=max_iter != 6)
        assert found.n_iter_ == max_iter and len(list(folder.iterdir())) <= 1 + 2 * len(SIZES)
    assert bits(found) == bits(expected)
    np.testing.assert_array_equal(found.history_["objective"], expected.history_["objective"])
    assert bits(fitted(of(kind), options, disk, more, max_iter=7)) == bits(expected)  # at once
    with pytest.raises(ValueError, match="the values of X are not the same"):
        fitted(of(kind), options, [dask.delayed(part) for part in cut(X, (250, 250))], more | {"strata": GROUPS})
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file; on Dask, pass a folder"):
        on_dask.NMF(2).fit(disk, checkpoint=tmp_path / "file")


def test_a_checkpoint_within_a_cycle_of_extrapolation(disk, client, tmp_path):
    kind, options, _ = CASES["nmf, kl, cycles"]
    expected = fitted(of(kind), options, disk, {}, max_iter=15)
    for max_iter in (11, 12, 13, 15):
        given = {"checkpoint": tmp_path, "checkpoint_every": 0}
        found = fitted(of(kind), options, disk, given, max_iter=max_iter, client=client)
    assert bits(found) == bits(expected)
    np.testing.assert_array_equal(found.history_["objective"], expected.history_["objective"])


@pytest.mark.parametrize("how", ["rows", "type", "NaN", "parts", "cut off"])
def test_altered_weights_of_a_checkpoint_are_refused(how, disk, client, tmp_path):
    given = {"checkpoint": tmp_path, "checkpoint_every": 0}
    fitted(on_dask.NMF, {}, disk, given, max_iter=2)
    path = max(tmp_path.glob("weights-*-3.npy"))
    found = np.load(path)
    ways = {"rows": found[:, :-1], "type": found.astype("f4"), "NaN": found * np.nan, "parts": found[:0]}
    np.save(path, ways.get(how, found))
    if how == "cut off":
        os.truncate(path, 200)
    with pytest.raises(ValueError, match=r"cannot continue from .*weights-.*-3\.npy .* Delete it to start over"):
        fitted(on_dask.NMF, {}, disk, given, max_iter=4)


def test_the_sum_is_that_of_the_tree(client):
    from fastnmf.core.shares import Share, chunk_pairs, summed
    from fastnmf.dask.collections import Blocks
    from fastnmf.dask.engine import DaskSource

    source, numbers = DaskSource(client, Blocks([], [], 0), True), np.random.default_rng(0).random(13)
    for n in range(1, 14):
        shares, graph = [Share(totals=np.array([number])) for number in numbers[:n]], {}
        total = source.add_total(graph, "merge", source.add(graph, "share", _same, shares))
        found = source.futures(graph, [total])[0].result()
        expected = summed(chunk_pairs(n), lambda chunk: Share(totals=numbers[chunk : chunk + 1].copy()))
        assert found.totals[0] == expected.totals[0] and shares[0].totals[0] == numbers[0]


def _same(share):
    return share


def test_what_cannot_be_used_is_refused(client, disk, tmp_path):
    def fails(match, rows=disk, error=ValueError, given=None, **options):
        with pytest.raises(error, match=match), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            on_dask.StratifiedNMF(2, **options).fit(rows, **(given or {}))

    lazy, other = array(X, SIZES), (97, 98, 96, 97, 97, 15)
    fails(r"X has 2 chunks of columns.*pass X\.rechunk\(\{1: -1\}\)", da.from_array(X.toarray(), chunks=(97, 35)))
    fails(
        "Chunk [12] of X has 97 rows and 9[68] labels in strata",
        lazy,
        given={"strata": cut(GROUPS, other)},
    )
    fails("Chunk [12] of X has 97 rows and 9[68] weights", lazy, given={"sample_weight": cut(WEIGHT, other)})
    fails("strata has 5 chunks and X has 6", lazy, given={"strata": da.from_array(GROUPS, chunks=100)})
    fails("strata has 499 labels for 500 rows", lazy, given={"strata": GROUPS[1:]})
    fails("Chunk 5 of X has 69 columns and chunk 0 has 70", [*map(dask.delayed, [*cut(X, SIZES)[:5], X[:, 1:]])])
    fails("Chunk 2 of X: Negative values", [*map(dask.delayed, [X, X, -X])])
    fails("empty", [dask.delayed(X[:0])])
    fails("three|3 dimensions", da.ones((2, 2, 2)))
    fails("strata mixes labels", lazy, given={"strata": [*cut(GROUPS, SIZES)[:5], ["a"] * 15]})
    fails("n_init=2 needs all rows at once, but X is a Dask collection; set n_init=1, or fit the matrix", n_init=2)
    fails("checkpoint and warm_start=True cannot be combined on Dask", given={"checkpoint": tmp_path}, warm_start=True)
    fails("X is a csr_array, but fastnmf.dask fits a Dask array", X, TypeError)
    fails("hold=1 is not known", hold=1)
    fails("client='tcp' is not a Dask client", error=TypeError, client="tcp")
    with pytest.raises(TypeError, match="X is a Dask collection.*fastnmf.dask"):
        fastnmf.NMF(2).fit(lazy)
    model = on_dask.StratifiedNMF(2, max_iter=2).fit(lazy, strata=GROUPS)
    with pytest.raises(ValueError, match="fitted with 5 strata"):
        model.transform(lazy)
    with pytest.raises(ValueError, match="69"):
        model.transform(array(sp.csr_array(X[:, 1:]), SIZES), strata=GROUPS)


def test_parts_that_cannot_be_used_are_refused(client, tmp_path):
    def fails(match, rows, error=ValueError, callback=None, **given):
        with pytest.raises(error, match=match):
            on_dask.StratifiedNMF(2, max_iter=2, tol=0, hold=False, random_state=0, callback=callback).fit(
                rows, **given
            )

    parts, labels = [dask.delayed(part) for part in cut(X, SIZES)], [dask.delayed(3)] * 6
    fails("has 97 rows, but its labels in strata are 3; give one for each", parts, TypeError, strata=labels)
    wide = [dask.delayed(np.ones((size, 1 + (number == 4)))) for number, size in enumerate(SIZES)]
    fails("design has 1 columns in chunk 0 and 2 in chunk 4", parts, design=wide)
    path = tmp_path / "rows.npz"
    path.write_bytes(b"no matrix")
    fails("rows.npz cannot be read as a .npz matrix", [path])
    for other in (X[:9], X[:10] * 2):  # a chunk that is read again has to be the same
        sp.save_npz(path, X[:10])
        fails("not what it was in the first pass, with 10 rows", [path], callback=lambda _: sp.save_npz(path, other))  # noqa: B023


def test_a_client_is_needed(disk, monkeypatch):
    def none():
        raise ValueError("No clients found")

    monkeypatch.setattr(distributed, "default_client", none)
    with pytest.raises(ValueError, match="needs a Dask client, but there is none"):
        on_dask.NMF(2).fit(open_csr(disk.folder))


def test_clients_that_are_closed(client, disk):
    other = distributed.Client(client.cluster, set_as_default=False)
    model = on_dask.NMF(2, random_state=0, max_iter=4, client=other, callback=lambda state: other.close())
    with pytest.raises(ConnectionError, match="lost its scheduler during the fit, or was closed; connect again"):
        model.fit(disk)
    with pytest.raises(ValueError, match="The Dask client is closed; connect another one"):
        model.fit(disk)


def test_a_cluster_that_has_no_worker(disk):
    options = {"processes": False, "n_workers": 0, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster, set_as_default=False) as client:
        model = on_dask.NMF(2, random_state=0, max_iter=3, client=client)
        with dask.config.set({"fastnmf.no-workers-timeout": "100ms"}):
            with pytest.raises(TimeoutError, match="has had no worker for 0.1 seconds, but the fit needs one; start"):
                model.fit(disk)
        cluster.scale(1)  # a fit waits for one
        assert model.fit(disk).history_["replayed"].tolist() == [0] * 4


def test_dask_that_is_not_there():
    code = "import sys; sys.modules['distributed'] = None; import fastnmf; fastnmf.NMF; import fastnmf.dask"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip().endswith("fastnmf.dask needs Dask, which is not installed: pip install fastnmf[dask]")


@long
def test_labels_in_a_series(client, disk):
    pd, frames = pytest.importorskip("pandas"), pytest.importorskip("dask.dataframe")
    labels = frames.from_pandas(pd.Series(GROUPS, name="batch"), npartitions=1, sort=False)
    model = on_dask.StratifiedNMF(RANK, random_state=0, max_iter=3).fit([dask.delayed(X)], strata=labels)
    expected = on_dask.StratifiedNMF(RANK, random_state=0, max_iter=3).fit([dask.delayed(X)], strata=GROUPS)
    assert bits(model) == bits(expected)
