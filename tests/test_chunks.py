"""Fits of a matrix on disk, one chunk of rows at a time, beside the fits of the same matrix in memory."""

import os
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

import fastnmf
from fastnmf import NMF, MiniBatchNMF, SparseNMF, StratifiedNMF, open_csr, save_csr
from fastnmf.core import chunks, remote
from fastnmf.core.shares import Order, Share, chunk_pairs, summed
from fastnmf.data.strata import Strata

RANK = 4
CYCLES = {"solver": "mu", "beta_loss": "kullback-leibler"}
KL = CYCLES | {"extrapolate": False}
NETS = {"alpha_W": 1e-3, "alpha_H": 1e-3, "l1_ratio": 0.5}


def counts(n_rows=500, n_columns=70, seed=0):
    rng = np.random.default_rng(seed)
    mean = rng.gamma(0.3, 1, (n_rows, RANK)) @ rng.gamma(0.3, 1, (RANK, n_columns))
    X = sp.csr_array(rng.poisson(mean).astype(float))
    X[:, :] = X  # canonical
    return X, rng.integers(0, 5, n_rows), rng.random(n_rows) * 2


X, GROUPS, WEIGHT = counts()
NO_WEIGHT = np.where(np.arange(len(WEIGHT)) % 7 == 0, 0.0, WEIGHT)
FIXED = np.full((2, X.shape[1]), np.nan)
FIXED[0], FIXED[1, :5] = np.random.default_rng(1).random(X.shape[1]), 1.0

# name -> class, parameters, arguments of fit
CASES = {
    "nmf": (NMF, {}, {}),
    "nmf, hals": (NMF, {"solver": "hals"}, {}),
    "nmf, shuffled": (NMF, {"shuffle": True}, {}),
    "nmf, mu": (NMF, {"solver": "mu"}, {}),
    "nmf, kl": (NMF, KL, {}),
    "nmf, kl, multilevel": (NMF, KL | {"init": "multilevel"}, {}),
    "nmf, kl, cycles": (NMF, CYCLES | {"max_iter": 100, "random_state": 1}, {}),
    "strata, kl, cycles, weights": (StratifiedNMF, CYCLES, {"strata": GROUPS, "sample_weight": WEIGHT}),
    "nmf, multilevel": (NMF, {"init": "multilevel"}, {}),
    "nmf, nets": (NMF, NETS, {}),
    "nmf, nets, weights": (NMF, NETS, {"sample_weight": WEIGHT}),
    "nmf, known features": (NMF, {"seed_features": {0: [1, 2, 3]}}, {}),
    "one stratum": (StratifiedNMF, {}, {}),
    "strata": (StratifiedNMF, {}, {"strata": GROUPS}),
    "strata, texts as labels": (StratifiedNMF, {}, {"strata": np.array(list("abcde"))[GROUPS]}),
    "strata that sit in one chunk": (StratifiedNMF, {}, {"strata": np.arange(len(GROUPS)) // 100}),
    "hundreds of strata": (StratifiedNMF, {}, {"strata": np.arange(len(GROUPS)) % 250}),
    "strata, mu": (StratifiedNMF, {"solver": "mu"}, {"strata": GROUPS}),
    "strata, mu, nets": (StratifiedNMF, NETS | {"solver": "mu", "alpha_V": 1e-3}, {"strata": GROUPS}),
    "strata, kl": (StratifiedNMF, KL, {"strata": GROUPS}),
    "strata, kl, multilevel": (StratifiedNMF, KL | {"init": "multilevel"}, {"strata": GROUPS}),
    "strata, kl, weights": (StratifiedNMF, KL, {"strata": GROUPS, "sample_weight": WEIGHT}),
    "strata, kl, rows without weight": (StratifiedNMF, KL, {"strata": GROUPS, "sample_weight": NO_WEIGHT}),
    "strata, kl, nets": (StratifiedNMF, KL | NETS | {"alpha_V": 1e-3}, {"strata": GROUPS}),
    "strata, kl, nets, weights": (StratifiedNMF, KL | NETS, {"strata": GROUPS, "sample_weight": WEIGHT}),
    "strata, multilevel": (StratifiedNMF, {"init": "multilevel"}, {"strata": GROUPS}),
    "strata, weights": (StratifiedNMF, {}, {"strata": GROUPS, "sample_weight": WEIGHT}),
    "strata, multilevel, weights": (
        StratifiedNMF,
        {"init": "multilevel"},
        {"strata": GROUPS, "sample_weight": WEIGHT},
    ),
    "strata, rows without weight": (StratifiedNMF, {}, {"strata": GROUPS, "sample_weight": NO_WEIGHT}),
    "strata of equal weight": (StratifiedNMF, {"strata_weight": "equal"}, {"strata": GROUPS}),
    "strata, nets": (StratifiedNMF, NETS | {"alpha_V": 1e-3}, {"strata": GROUPS}),
    "strata, a net of W alone": (StratifiedNMF, {"alpha_W": 1e-3, "alpha_H": 0.0}, {"strata": GROUPS}),
    "strata, fixed components": (StratifiedNMF, {"fixed_components": FIXED}, {"strata": GROUPS}),
    "strata, random rows": (StratifiedNMF, {"init": "rows"}, {"strata": GROUPS}),
    "strata, random": (StratifiedNMF, {"init": "random"}, {"strata": np.zeros(len(GROUPS))}),
    "nmf, random, mu": (NMF, {"init": "random", "solver": "mu", "n_components": np.int64(RANK)}, {}),
    "strata, plain": (StratifiedNMF, {"extrapolate": False}, {"strata": GROUPS}),
    "strata, gauge": (StratifiedNMF, {"gauge": "max_shift"}, {"strata": GROUPS}),
    "strata, normalized": (StratifiedNMF, {"normalize": "l2"}, {"strata": GROUPS}),
    "strata, sparse shifts": (StratifiedNMF, {"sparse_shifts": True}, {"strata": GROUPS}),
}


MANY_CHUNKS = ("nmf", "nmf, kl", "strata", "strata, kl", "strata, mu", "strata, weights")


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """Return ``disk(chunk_rows, X)``: a matrix on disk, the columns of whose chunks are stored."""

    def saved(chunk_rows, X=X, **more):
        return save_csr(X, tmp_path_factory.mktemp("chunks"), **({"columns": chunk_rows} | more))

    return saved


def fitted(kind, options, data, given, **more):
    options = {"n_components": RANK, "init": "features", "random_state": 0, "max_iter": 20, "tol": 0} | options | more
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(**options).fit(data, **given)


def approximation(model):
    product = model.W_ @ model.components_
    if not hasattr(model, "shifts_"):
        return product
    shifts = model.shifts_.toarray() if sp.issparse(model.shifts_) else model.shifts_
    return product + shifts[model.row_strata_]


def assert_same_fit(found, expected, tol=1e-12):
    assert found.n_iter_ == expected.n_iter_ and found.stopped_by_ == expected.stopped_by_
    assert (found.history_["iteration"] == expected.history_["iteration"]).all()
    for name in ("objective", "normalized_loss"):
        np.testing.assert_allclose(found.history_[name], expected.history_[name], rtol=tol)
    model, wanted = approximation(found), approximation(expected)
    np.testing.assert_allclose(model, wanted, rtol=0, atol=1e-10 * wanted.max())
    assert found.components_.dtype == expected.components_.dtype and found.W_.flags.writeable


def bits(model):
    names = ("W_", "components_", "shifts_")
    return [np.asarray(getattr(model, name)).tobytes() for name in names if hasattr(model, name)]


@pytest.mark.parametrize("name", CASES)
def test_a_fit_of_chunks_is_that_of_all_rows(name, disk):
    kind, options, given = CASES[name]
    whole = fitted(kind, options, X, given)
    for chunk_rows in (1000, 211, 43) if name in MANY_CHUNKS else (211,):
        assert_same_fit(fitted(kind, options, disk(chunk_rows), given), whole)


@pytest.mark.parametrize("name", ["nmf", "strata", "strata, kl"])
def test_chunks_of_one_row_and_rows_of_zeros(name, disk):
    kind, options, given = CASES[name]
    few = X[:60].tolil()
    few[20:31] = 0
    few = sp.csr_array(few)
    given = {key: values[:60] for key, values in given.items()}
    assert_same_fit(fitted(kind, options, disk(1, few), given), fitted(kind, options, few, given), 1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
@pytest.mark.parametrize("name", ["strata", "strata, kl"])
def test_other_types_of_numbers(name, dtype, disk):
    kind, options, given = CASES[name]
    whole, found = (fitted(kind, options, data, given) for data in (X.astype(dtype), disk(97, X.astype(dtype))))
    assert found.components_.dtype == whole.components_.dtype
    tol = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(found.history_["objective"], whole.history_["objective"], rtol=tol)


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1e150])
@pytest.mark.parametrize("name", ["nmf", "strata", "strata, kl", "strata, mu"])
def test_units_of_any_size(name, scale, disk):
    kind, options, given = CASES[name]
    whole, found = (fitted(kind, options, data, given) for data in (X * scale, disk(97, X * scale)))
    np.testing.assert_allclose(found.history_["normalized_loss"], whole.history_["normalized_loss"], rtol=1e-9)


@pytest.mark.parametrize("name", ["nmf", "strata", "strata, kl", "strata, weights", "strata, multilevel"])
def test_bits_depend_on_the_chunks_alone(name, disk, tmp_path, monkeypatch):
    kind, options, given = CASES[name]
    expected = bits(fitted(kind, options, disk(97), given))
    assert bits(fitted(kind, options, disk(97), given, n_threads=1)) == expected
    save_csr(X, tmp_path)  # without columns
    assert bits(fitted(kind, options, open_csr(tmp_path, chunk_rows=97), given)) == expected
    monkeypatch.setattr(remote, "MAPPED_ABOVE", 0)
    mapped = fitted(kind, options, disk(97), given)
    assert bits(mapped) == expected and not mapped.W_.flags.owndata


@pytest.mark.parametrize(
    "name", ["nmf", "strata", "strata, kl", "nmf, kl, cycles", "strata, nets", "strata, kl, nets", "strata, mu"]
)
def test_a_fit_goes_on_from_its_checkpoint(name, disk, tmp_path):
    kind, options, given = CASES[name]
    path = tmp_path / "state.npz"
    expected = fitted(kind, options, disk(97), given)
    for max_iter in (1, 7, 11, 12, 13, expected.n_iter_):
        own = options | {"max_iter": max_iter}
        found = fitted(kind, own, disk(97), given | {"checkpoint": path, "checkpoint_every": 0})
        assert found.n_iter_ == max_iter
    assert bits(found) == bits(expected)
    np.testing.assert_array_equal(found.history_["objective"], expected.history_["objective"])
    with pytest.raises(ValueError, match="the values of X are not the same"):
        fitted(kind, options, disk(97, 2 * X), given | {"checkpoint": path})
    with pytest.raises(ValueError, match="the values of X are not the same"):  # other sums
        fitted(kind, options, disk(96), given | {"checkpoint": path})


@pytest.mark.parametrize("name", ["strata", "strata, mu", "strata, kl"])
def test_starts_of_the_user(name, disk):
    kind, options, given = CASES[name]
    prior = fitted(kind, options, X, given, max_iter=3, random_state=5)
    rng, sizes = np.random.default_rng(0), (X.shape[0], X.shape[1], len(np.unique(GROUPS)))
    start = {
        "W": rng.random((sizes[0], RANK)),
        "H": rng.random((RANK, sizes[1])),
        "V": rng.random((sizes[2], sizes[1])),
    }
    for init, more in ((prior, {}), ("custom", start)):
        own = options | {"init": init}
        whole, found = (fitted(kind, own, data, given | more) for data in (X, disk(97)))
        first = int(init == "custom" and name == "strata, kl")  # the value of shifts that no row has is not computed
        np.testing.assert_allclose(found.history_["objective"][first:], whole.history_["objective"][first:], rtol=1e-12)
    models = [fitted(kind, options, data, given, warm_start=True, max_iter=3) for data in (X, disk(97))]
    for model, data in zip(models, (X, disk(97)), strict=True):
        model.set_params(max_iter=6).fit(data, **given)
    np.testing.assert_allclose(*(approximation(model) for model in models), rtol=1e-9, atol=1e-12)


def test_factors_that_are_no_start_are_left_as_in_memory(disk):
    H = np.ones((RANK, X.shape[1]))
    for data in (X, disk(97)):
        with pytest.warns(RuntimeWarning, match="provided W or H are ignored"):
            NMF(RANK, max_iter=2, tol=0).fit(data, H=H)
        with pytest.raises(ValueError, match="A start was given \\(H\\) with init='auto'; use init='custom'"):
            StratifiedNMF(RANK).fit(data, H=H)


def test_dead_components_are_replaced(disk):
    blocks = sp.csr_array(sp.block_diag([np.ones((40, 6)), np.full((30, 5), 3.0), np.ones((30, 7))]))
    strata = np.arange(100) % 2
    H = np.zeros((3, blocks.shape[1]))
    H[0, :6], H[1:, 0] = 1.0, 1e-9
    start = fastnmf.Start(H)
    for kind, given in ((NMF, {}), (StratifiedNMF, {"strata": strata}), (NMF, {"sample_weight": 1.0 + np.arange(100)})):
        options = {"n_components": 3, "init": start, "max_iter": 60}
        whole, found = (fitted(kind, options, data, given) for data in (blocks, disk(23, blocks)))
        assert found.n_revived_ == whole.n_revived_
        np.testing.assert_allclose(found.normalized_loss_, whole.normalized_loss_, atol=1e-7)
    assert max(found.n_revived_, whole.n_revived_) > 0


def test_a_perfect_fit_is_measured_by_its_residual(disk):
    rng = np.random.default_rng(0)
    exact = sp.csr_array(rng.random((60, 2)) @ rng.random((2, 15)))
    found = NMF(2, init="features", random_state=0, max_iter=500, tol=0).fit(disk(23, exact))
    own = np.linalg.norm(exact.toarray() - found.W_ @ found.components_) / sp.linalg.norm(exact)
    assert found.normalized_loss_ == pytest.approx(own, rel=1e-6) and own < 1e-4


def test_callbacks_see_the_weights_of_all_rows(disk):
    seen = []
    for name in ("strata", "strata, kl"):
        kind, options, given = CASES[name]
        more = {
            "callback": lambda state: seen.append((state.normalized_loss, state.W, state.H, state.V)),
            "max_iter": 4,
        }
        whole, found = (fitted(kind, options, data, given, **more) for data in (X, disk(97)))
        assert len(seen) == 10
        for one, other in zip(seen[:5], seen[5:], strict=True):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
        assert found.history_["seconds"][-1] > 0 and whole.n_iter_ == found.n_iter_
        seen.clear()


def test_weights_of_new_rows_on_disk(disk):
    model = StratifiedNMF(RANK, random_state=0).fit(X, strata=GROUPS)
    W = model.transform(disk(97), strata=GROUPS)
    assert (W == model.transform(X, strata=GROUPS)).all()
    assert (NMF(RANK, random_state=0).fit(X).transform(disk(97)).shape) == (500, RANK)
    with pytest.raises(ValueError, match="fitted with 5 strata; pass strata="):
        model.transform(disk(97))
    with pytest.raises(ValueError, match="3 columns|3 features"):
        model.transform(disk(97, X[:, :3]), strata=GROUPS)


def test_the_model_is_one_of_the_plain_class(disk, tmp_path):
    model = StratifiedNMF(RANK, random_state=0).fit(disk(97), strata=GROUPS)
    model.save(tmp_path / "model.npz")
    again = fastnmf.load(tmp_path / "model.npz")
    assert (again.transform(X, strata=GROUPS) == model.transform(X, strata=GROUPS)).all()
    assert model.fit_transform(disk(97), strata=GROUPS).shape == (500, RANK) and model.n_features_in_ == 70
    model.partial_fit(X[:20], strata=GROUPS[:20])


def test_a_chunk_without_a_drawn_row_is_not_read(disk, monkeypatch):
    read = []
    plain = remote.DiskSource.strata
    monkeypatch.setattr(remote.DiskSource, "strata", lambda self, chunk, w: read.append(chunk) or plain(self, chunk, w))
    source = remote.DiskSource(disk(100), np.zeros(500, np.int32))
    summary, weighing = remote.summarize(source, np.zeros(1), np.dtype(float), 2.0, has_entropy=False)
    data = remote.ChunkedStrata(source, summary, weighing)
    read.clear()
    assert (data.take(np.array([3, 205, 207])) != X[[3, 205, 207]]).nnz == 0 and read == [0, 2]


def test_one_iteration_reads_every_chunk_once(disk, monkeypatch):
    read = []
    plain = remote.DiskSource.strata
    monkeypatch.setattr(remote.DiskSource, "strata", lambda self, chunk, w: read.append(chunk) or plain(self, chunk, w))
    for name in ("strata", "strata, kl"):
        kind, options, given = CASES[name]
        reads = []
        for max_iter in (3, 8):
            read.clear()
            fitted(kind, options, disk(100), given, max_iter=max_iter)
            reads.append(len(read))
        assert reads[1] - reads[0] == 5 * 5  # five iterations more, five chunks


@pytest.mark.parametrize("name", ["strata", "strata, kl"])
def test_the_history_has_the_bytes_that_an_iteration_read(name, disk):
    kind, options, given = CASES[name]
    for columns in (100, None):
        history = fitted(kind, options, open_csr(disk(columns).folder, chunk_rows=100), given, max_iter=5).history_
        size = X.nnz * (8 + 4) + (500 + 5) * 8  # entries and their columns, bounds of the rows of five chunks
        size += 0 if columns is None else X.nnz * (8 + 4) + 5 * 71 * 8
        assert history["bytes"][1:-1].tolist() == [size] * 4
        assert history["bytes"][-1] == size * (1 if "kl" in name else 2)  # and the pass for the exact weights
        assert "replayed" not in history


def test_shares_add_up_in_a_fixed_tree():
    numbers, asked = np.random.default_rng(0).random(7), []

    def share_of(chunk):
        asked.append(chunk)
        return Share(totals=numbers[chunk : chunk + 1].copy())

    a, b = numbers[:4], numbers[4:]
    expected = ((a[0] + a[1]) + (a[2] + a[3])) + ((b[0] + b[1]) + b[2])
    for is_backwards in (False, True):
        assert summed(chunk_pairs(7), share_of, is_backwards=is_backwards).totals[0] == expected
    assert asked == [*range(7), *range(6, -1, -1)]
    assert [chunk_pairs(n) for n in (1, 3, 5)] == [0, ((0, 1), 2), (((0, 1), (2, 3)), 4)]


def test_a_step_changes_nothing_that_it_was_given():
    data = Strata.from_array(X, GROUPS)
    W = np.abs(np.random.default_rng(0).random((500, 8)))
    W[:, RANK:] = 0
    state, H = chunks.State(W, W * 0.5), np.zeros((70, 8))
    H[:, :RANK] = np.random.default_rng(1).random((70, RANK))
    from fastnmf.core.updates import HALS, MU

    shared = {"H": H, "scale": np.full(8, 2.0)}
    orders = {
        chunks.descended: {"gram": H.T @ H, "below": np.zeros((5, 8)), "update": HALS(), "beta": 0.5},
        chunks.rated: {
            "v": np.ones(len(data.pattern.group)),
            "update": MU.plain(data.dtype),
            "floor": np.array([1e-9]),
        },
        chunks.finished: {"gram": H.T @ H, "below": np.zeros((5, 8))},
        chunks.measured: {},
        chunks.gone_back: {},
    }
    held = [array.copy() for array in (W, state.before, H, data.X.data)]
    for step, more in orders.items():
        part = chunks.Part(data, 0, None, np.arange(len(data.pattern.group)))
        step(part, state, Order(RANK, True, **shared | more))
        for before, now in zip(held, (W, state.before, H, data.X.data), strict=True):
            assert (before == now).all()


def test_what_needs_all_rows_at_once_is_refused(disk):
    D = disk(97)

    def fails(match, kind=StratifiedNMF, error=ValueError, **options):
        fit = {name: options.pop(name) for name in ("weight", "y") if name in options}
        with pytest.raises(error, match=match):
            kind(RANK, **options).fit(D, **fit)

    fails("n_init=2 needs all rows at once, but X is a matrix on disk; set n_init=1, or fit X\\[:\\]", n_init=2)
    fails("init='nndsvd' needs all rows at once", init="nndsvd")
    fails("missing_values='nan' needs", missing_values="nan")
    fails("weight needs all rows", weight=X)
    fails("gauge='min_shift' needs", gauge="min_shift")
    fails("label_weight needs", label_weight=1.0, y=GROUPS)
    fails("update_order='simultaneous' needs", solver="mu", update_order="simultaneous")
    fails("beta_loss='itakura-saito' needs", kind=NMF, solver="mu", beta_loss="itakura-saito")
    fails("X is a matrix on disk, which fit, transform and score of NMF", kind=SparseNMF, error=TypeError)
    fails("X is a matrix on disk, which fit, transform and score of NMF", kind=MiniBatchNMF, error=TypeError)
    with pytest.raises(TypeError, match="X is a matrix on disk"):
        NMF(2).partial_fit(D)
    with pytest.raises(TypeError, match="X is a matrix on disk"):
        NMF(2).fit(X).reconstruction_errors(D)


def test_entries_that_cannot_be_used_are_found_with_their_rows(disk):
    bad = X.copy()
    bad.data[bad.indptr[300]] = -1
    with pytest.raises(ValueError, match="Rows 291 to 388: Negative values in data"):
        NMF(2).fit(disk(97, bad))
    bad.data[bad.indptr[300]] = np.nan
    with pytest.raises(ValueError, match="Rows 291 to 388: Input X contains NaN"):
        NMF(2).fit(disk(97, bad))
    with pytest.raises(ValueError, match="strata has"):
        StratifiedNMF(2).fit(disk(97), strata=GROUPS[:-1])
    with pytest.raises(ValueError, match="sample_weight has shape"):
        NMF(2).fit(disk(97), sample_weight=WEIGHT[1:])


@pytest.mark.parametrize("name", ["data", "rows", "indptr"])
def test_columns_that_are_not_those_of_the_rows_are_refused(name, tmp_path):
    save_csr(X, tmp_path, columns=97)
    path = tmp_path / f"columns_{name}.npy"
    array = np.load(path)
    array[3] += 1000 if name != "indptr" else 10**9
    np.save(path, array)
    with pytest.raises(ValueError, match="stored columns of the chunk from row 0 on in .* are not those of its rows"):
        NMF(2).fit(open_csr(tmp_path))
    np.save(path, array[:-1])
    with pytest.raises(ValueError, match="stored columns in .* do not fit its rows"):
        open_csr(tmp_path)
    assert open_csr(tmp_path, chunk_rows=50).chunk_rows == 50  # does not read them


def _altered(folder):
    values = np.load(folder / "data.npy", mmap_mode="r+")
    values[:50] = np.nan
    values.flush()


CHANGES = {
    "saved again": lambda folder: save_csr(X[:300, :9], folder),
    "gone": lambda folder: (folder / "data.npy").unlink(missing_ok=True),
    "cut off": lambda folder: os.truncate(folder / "indptr.npy", 200),
    "altered": _altered,
}


@pytest.mark.parametrize("columns", [300, None])
@pytest.mark.parametrize("how", CHANGES)
def test_files_that_change_during_a_fit(how, columns, tmp_path):
    def fit(callback=None):
        return fitted(NMF, {}, D, {}, max_iter=3, callback=callback)

    def change(state):
        CHANGES[how](tmp_path)

    save_csr(X, tmp_path, columns=columns)
    D = open_csr(tmp_path, chunk_rows=300)
    expected = fit()
    if how in ("saved again", "gone"):  # the files that were opened are still there
        assert bits(fit(change)) == bits(expected)
        return
    with pytest.raises(ValueError, match="npy has changed since the matrix was opened; open it again with open_csr"):
        fit(change)


def test_a_temporary_file_that_has_no_room(disk, monkeypatch, tmp_path):
    resource, D = pytest.importorskip("resource"), disk(97)
    monkeypatch.setattr(remote, "MAPPED_ABOVE", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(OSError, match="No temporary file of 16,000 bytes .* set the variable TMPDIR to a folder"):
            fitted(NMF, {}, D, {}, max_iter=1)
        with pytest.raises(OSError, match=r"\.npy"):  # which file, too
            save_csr(X, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


def test_chunks_of_a_matrix_on_disk(tmp_path):
    D = save_csr(X, tmp_path, columns=97)
    assert (D.chunk_rows, D.n_chunks, D.bounds(5)) == (97, 6, (485, 500)) and open_csr(tmp_path).chunk_rows == 97
    rows, columns = D.mapped_chunk(5)
    assert (rows != X[485:]).nnz == 0 and (columns != X[485:]).nnz == 0
    rows.data[:] = 0  # in memory only
    assert (D.mapped_chunk(5)[0] != X[485:]).nnz == 0
    other = open_csr(tmp_path, chunk_rows=100)
    assert (other.chunk_rows, other.n_chunks, other.mapped_chunk(1)[1]) == (100, 5, None)
    assert save_csr(X, tmp_path).chunk_rows == 500 and not (tmp_path / "columns_data.npy").exists()
    for wrong in (0, -3, 1.5, True, "7"):
        with pytest.raises(ValueError, match="is not valid; expected an integer >= 1, the rows of a chunk"):
            open_csr(tmp_path, chunk_rows=wrong)
    with pytest.raises(ValueError, match="columns=0 is not valid"):
        save_csr(X, tmp_path, columns=0)
    np.save(tmp_path / "chunk_rows.npy", np.array([-1]))
    with pytest.raises(ValueError, match="chunk_rows.npy is damaged"):
        open_csr(tmp_path)


def test_progress_is_shown_on_request(disk, capsys):
    NMF(2, max_iter=2, tol=0, verbose=1).fit(disk(97))
    said = capsys.readouterr()
    assert "NMF: the first pass over 6 chunks of 97 rows" in said.out + said.err


def test_temporary_files_have_no_name(monkeypatch, tmp_path):
    monkeypatch.setattr(remote, "MAPPED_ABOVE", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    array = remote.room((10, 4), np.float32)
    array[:] = 1
    assert array.sum() == 40 and os.listdir(tmp_path) == []
