"""Damaged sparse matrices get one sentence at every door, before compiled code walks them; sound ones pass."""

import numpy as np
import pytest
import scipy.sparse as sp
from estimators import CASES, of_those, one_sentence

import fastnmf
from fastnmf import NMF, MiniBatchNMF, MiniBatchStratifiedNMF, StratifiedNMF, metrics, nnls, open_csr, save_csr
from fastnmf.data import matrix
from fastnmf.data.matrix import STEP, as_csr, as_matrix, check_indices
from fastnmf.data.strata import Strata


def whole(format="csr", seed=0, shape=(60, 30)):
    return sp.random_array(shape, density=0.3, rng=np.random.default_rng(seed), format=format)


def beyond(X):
    X.indices[5] = 10**8


def just_beyond(X):
    X.indices[X.indptr[1] - 1] = X.shape[0] if X.format == "csc" else X.shape[1]


def negative(X):
    X.indices[0] = -1


def far_negative(X):
    X.indices[7] = -(10**8)


def pointer_beyond(X):
    X.indptr[3] = 10**8


def pointers_decrease(X):
    X.indptr[3], X.indptr[4] = X.indptr[4], X.indptr[3]


def pointers_begin_late(X):
    X.indptr[0] = 1


def pointers_end_beyond(X):
    X.indptr[-1] += 1


def pointers_are_few(X):
    X.indptr = X.indptr[:-1]


def pointers_are_many(X):
    X.indptr = np.append(X.indptr, X.indptr[-1])


def indices_are_few(X):
    X.indices = X.indices[:-1]


def indices_are_floats(X):
    X.indices = X.indices.astype(float)


def indices_are_nan(X):
    X.indices = np.where(np.arange(len(X.indices)) == 3, np.nan, X.indices)


def indices_wrap(X):
    X.indices = (X.indices + 120).astype(np.int8)


def unsigned_beyond(X):
    X.indices = X.indices.astype(np.uint64)
    X.indices[2] = np.iinfo(np.uint64).max


def pointers_are_floats(X):
    X.indptr = X.indptr.astype(np.float32)


DAMAGES = (beyond, just_beyond, negative, far_negative, pointer_beyond, pointers_decrease, pointers_begin_late)
DAMAGES += (pointers_end_beyond, pointers_are_few, pointers_are_many, indices_are_few, indices_are_floats)
DAMAGES += (indices_are_nan, indices_wrap, unsigned_beyond, pointers_are_floats)


def damaged(damage, format="csr", **options):
    X = whole(format, **options)
    damage(X)
    return X


def refused(call, *args, **kwargs):
    with pytest.raises(ValueError, match="damaged|do not fit") as caught:
        call(*args, **kwargs)
    assert one_sentence(caught.value), caught.value


@pytest.mark.parametrize("format", ["csr", "csc"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_damage_is_refused_by_fit_and_by_every_reader(damage, format):
    X, strata = damaged(damage, format), np.arange(60) % 3
    plain = NMF(2, random_state=0, max_iter=3, tol=0).fit(whole())
    model = StratifiedNMF(2, random_state=0, max_iter=3, tol=0).fit(whole(), strata=strata)
    refused(Strata.from_array, X)
    refused(NMF(2, random_state=0).fit, X)
    for read in (plain.transform, plain.score, plain.reconstruction_errors, plain.partial_fit):
        refused(read, X)
    for read in (model.transform, model.score, model.reconstruction_errors, model.explain, model.partial_fit):
        refused(read, X, strata=strata)
    refused(model.predict_stratum, X)
    refused(model.estimate_shifts, X, strata + 5)
    refused(MiniBatchNMF(2, random_state=0).fit, X)
    refused(MiniBatchNMF(2, random_state=0).fit_blocks, [whole(), X])
    refused(MiniBatchStratifiedNMF(2, random_state=0).partial_fit, X, strata=strata)


@pytest.mark.parametrize("damage", [beyond, negative, pointers_decrease], ids=lambda f: f.__name__)
def test_damage_is_refused_in_what_stands_beside_the_data(damage, tmp_path):
    X, bad = whole(), damaged(damage)
    model = NMF(2, random_state=0, max_iter=3, tol=0).fit(X)
    W, H = model.W_, model.components_
    refused(NMF(2).fit, X, weight=bad)
    refused(NMF(2, missing_values="zeros").fit, bad)
    refused(NMF(2, fixed_components=damaged(damage, shape=(6, 30))).fit, X)
    refused(fastnmf.IntervalNMF(2).fit, X, upper=bad)
    refused(fastnmf.HierarchicalNMF((3, 2)).fit, X, mask=bad)
    refused(fastnmf.GraphNMF(2).fit, X, graph=damaged(damage, shape=(60, 60)))
    refused(metrics.normalized_loss, bad, W, H)
    refused(metrics.coherence, H, bad, n_top=3)
    refused(nnls, np.eye(60), bad)
    refused(fastnmf.select_rank, bad, ranks=(2, 3))
    refused(save_csr, bad, tmp_path / "X")
    refused(Strata.from_blocks, [X, bad])


@of_those(lambda case: case.is_sparse, CASES)
def test_every_estimator_refuses_damage(case):
    X = case.draw()
    bad = sp.csr_array(X)
    bad.indices[1] = 10**8
    refused(case.make().fit, bad, **case.given(X))


@pytest.mark.parametrize("format", ["csr", "csc", "bsr", "coo"])
@pytest.mark.parametrize("kind", [np.int64, np.uint32, np.uint64, np.int8, np.uint16])
def test_indices_of_any_integer_type_serve_where_they_fit(format, kind):
    X = whole(format)
    wanted = NMF(2, random_state=0, max_iter=3, tol=0).fit(whole("csr"))
    names = ("coords",) if format == "coo" else ("indices", "indptr") if np.iinfo(kind).max > X.nnz else ("indices",)
    for name in names:
        part = getattr(X, name)
        setattr(X, name, tuple(c.astype(kind) for c in part) if name == "coords" else part.astype(kind))
    before = X.copy() if kind in (np.int64,) else None
    found = NMF(2, random_state=0, max_iter=3, tol=0).fit(X)
    assert found.components_.tobytes() == wanted.components_.tobytes()
    assert before is None or all((getattr(X, n) == getattr(before, n)).all() for n in names if n != "coords")


@pytest.mark.parametrize("part", ["row", "col"])
@pytest.mark.parametrize("value", [-1, 10**6])
def test_damaged_coordinates_are_refused(part, value):
    X = sp.coo_matrix(whole())
    getattr(X, part)[4] = value
    refused(NMF(2).fit, X)


def test_a_list_of_lists_with_a_wild_column_is_refused():
    X = sp.lil_array(whole())
    X.rows[3][0] = 10**6
    refused(NMF(2).fit, X)


def test_what_lies_behind_the_last_pointer_plays_no_part():
    X = whole()
    longer = sp.csr_array((np.append(X.data, [np.nan, -5]), np.append(X.indices, [10**8, -1]), X.indptr), shape=X.shape)
    wanted, found = (Strata.from_array(data) for data in (X, longer))
    assert found.sq_norm == wanted.sq_norm and found.X.nnz == wanted.X.nnz


@pytest.mark.parametrize("n", [3 * STEP + 5, STEP, 1])
def test_order_is_seen_across_the_steps_of_the_check(n):
    X = sp.csr_array((np.ones(n), np.arange(n), [0, n]), shape=(1, n))
    assert check_indices(X)
    for place in {0, STEP - 1, STEP, n - 2} & set(range(n - 1)):
        wrong = X.copy()
        wrong.indices[[place, place + 1]] = wrong.indices[[place + 1, place]]
        assert not check_indices(wrong)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_data_are_judged_as_small_data_are(dtype, monkeypatch):
    """Integers, and floats read as such, are looked at by a kernel where they are many."""
    n, rng = 3 * STEP + 5, np.random.default_rng(0)
    values, columns = rng.random(n).astype(dtype), np.arange(n) % (n // 5)
    judged = []
    for large in (n + 1, 1000):
        monkeypatch.setattr(matrix, "_LARGE", large)
        for entry in (0.5, 0, -0.0, -1, np.inf, -np.inf, np.nan, -np.nan):
            for column in (0, n // 5, -1):
                X = sp.csr_array((values.copy(), columns, np.arange(0, n + 1, n // 5)), shape=(5, n // 5))
                X.data[2 * STEP], X.indices[STEP] = entry, column
                try:
                    found = as_matrix(X)
                    low, high = matrix.value_range(found.data)
                    assert low == found.data.min() and high == found.data.max()
                    judged.append((found.nnz, found.has_canonical_format, low, high))
                except ValueError as error:
                    judged.append(str(error))
    assert judged[:24] == judged[24:] and len(set(judged)) > 6


def test_rows_are_judged_one_by_one_and_by_their_own_indices():
    indptr = [0, 0, 2, 2, 4, 4]
    X = sp.csr_array((np.ones(4), [3, 4, 0, 1], indptr), shape=(5, 5))
    assert check_indices(X)
    assert not check_indices(sp.csr_array((np.ones(4), [3, 3, 0, 1], indptr), shape=(5, 5)))
    assert not check_indices(sp.csr_array((np.ones(4), [3, 4, 1, 0], indptr), shape=(5, 5)))
    X.indices[:] = [4, 3, 1, 0]  # a flag of SciPy's that has become wrong
    X.has_canonical_format = True
    assert not as_csr(X).has_canonical_format
    assert as_matrix(X).has_sorted_indices


def test_the_users_matrix_and_its_flags_stay():
    X = whole()
    X.indices[:2] = X.indices[1::-1]
    flags, arrays = X.has_sorted_indices, [X.data.copy(), X.indices.copy(), X.indptr.copy()]
    NMF(2, random_state=0, max_iter=2, tol=0).fit(X)
    assert X.has_sorted_indices == flags
    assert all((a == b).all() for a, b in zip(arrays, (X.data, X.indices, X.indptr), strict=True))


@pytest.mark.parametrize("damage", [beyond, negative, pointers_decrease], ids=lambda f: f.__name__)
def test_damage_on_disk_is_refused_before_it_is_walked(damage, tmp_path):
    save_csr(whole(), tmp_path)
    X = damaged(damage)
    np.save(tmp_path / "indices.npy", X.indices)
    np.save(tmp_path / "indptr.npy", X.indptr.astype(np.int64))
    refused(lambda: MiniBatchNMF(2, random_state=0).fit_blocks(open_csr(tmp_path).blocks(7), n_passes=2))


def test_columns_on_disk_are_checked_in_the_first_walk_only(tmp_path, monkeypatch):
    save_csr(whole(), tmp_path)
    X = open_csr(tmp_path)
    blocks, walks = X.blocks(25), []
    read = type(X)._read
    monkeypatch.setattr(type(X), "_read", lambda self, *a, **k: walks.append(k["is_checked"]) or read(self, *a, **k))
    for _ in range(2):
        list(blocks)
    assert walks == [False] * 3 + [True] * 3
