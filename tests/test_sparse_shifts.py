"""Shifts of many strata as a csr_array: the values of dense ones, everywhere that reads them, and no more memory."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

import fastnmf
from fastnmf import GraphNMF, MiniBatchStratifiedNMF, Start, StratifiedNMF, metrics
from fastnmf.compose import EntrywiseLoss, Factorization
from fastnmf.core.shifts import apply_gauge
from fastnmf.data import shifts
from fastnmf.data.strata import Strata
from fastnmf.report import write_report
from fastnmf.report.facts import gather
from fastnmf.selection.held_out import losses, restrict_columns

N, M, RANK = 30, 20, 3
RNG = np.random.default_rng(0)
X = sp.csr_array(np.where(RNG.random((N, M)) < 0.3, 0.5 + RNG.random((N, M)), 0))
STRATA, NINE = np.arange(N) * 7 % 10 // 2, np.arange(9)  # five strata, of six rows each
START = {"W": RNG.random((N, RANK)), "H": RNG.random((RANK, M)), "V": RNG.random((5, M))}
WEIGHT, OF_ENTRIES = RNG.random(N) + 0.1, RNG.random((N, M)) * (RNG.random((N, M)) < 0.9)
MU, KL, CUSTOM = {"solver": "mu"}, {"solver": "mu", "beta_loss": "kullback-leibler"}, {"init": "custom"}


class Squared(EntrywiseLoss):
    """A squared error as a user may write it."""

    degree = 2.0

    def value(self, x, y):
        return (x - y) ** 2

    def pos(self, x, y):
        return 2 * x

    def neg(self, x, y):
        return 2 * y


class Small:
    """A penalty as a user may write it."""

    def value(self, F):
        return 0.01 * float((F**2).sum())

    def half_gradient(self, F):
        return 0.01 * F


OWN = {"solver": "mu", "beta_loss": Squared()}
CASES = {
    "hals": (StratifiedNMF, {}, {}),
    "dense": (StratifiedNMF, {"init": "nndsvd"}, {"X": X.toarray()}),
    "mu": (StratifiedNMF, {**MU, "update_order": "simultaneous", "init": "nndsvdar"}, {}),
    "kl": (StratifiedNMF, KL, {"sample_weight": WEIGHT}),
    "is": (StratifiedNMF, {**MU, "beta_loss": 0}, {"X": X.toarray() + 0.1}),
    "beta": (StratifiedNMF, {**MU, "beta_loss": 1.5}, {"sample_weight": WEIGHT}),
    "own": (StratifiedNMF, OWN, {}),
    "weights": (StratifiedNMF, {"init": "rows"}, {"sample_weight": WEIGHT}),
    "missing": (StratifiedNMF, {"missing_values": "zeros"}, {}),
    "entries": (StratifiedNMF, MU, {"weight": OF_ENTRIES, "X": X.toarray()}),
    "penalties": (StratifiedNMF, {"alpha_V": 0.05, "alpha_W": 0.01, "l1_ratio": 0.5, "random_state": 1}, {}),
    "penalty": (StratifiedNMF, {"penalties": {"V": [Small()]}}, {}),
    "max": (StratifiedNMF, {"gauge": "max_shift"}, {}),
    "min": (StratifiedNMF, {"gauge": "min_shift", "normalize": "l1"}, {}),
    "float32": (StratifiedNMF, {"init": "random"}, {"X": X.astype(np.float32)}),
    "huge": (StratifiedNMF, {}, {"X": X * 1e200}),
    "labels": (StratifiedNMF, {"label_weight": 0.5}, {"y": np.arange(N) % 3}),
    "custom": (StratifiedNMF, {**CUSTOM, "alpha_V": 0.01, "alpha_W": 0.01}, START),
    "custom-kl": (StratifiedNMF, {**KL, **CUSTOM}, START),
    "custom-beta": (StratifiedNMF, {**MU, **CUSTOM, "beta_loss": 1.5}, START),
    "custom-own": (StratifiedNMF, {**OWN, **CUSTOM}, START),
    "custom-missing": (StratifiedNMF, {**CUSTOM, "missing_values": "zeros"}, START),
    "batches": (MiniBatchStratifiedNMF, {"batch_size": 8, "alpha_W": 0.01}, {}),
    "stream": (MiniBatchStratifiedNMF, {"batch_size": 8, "forget_factor": 0.9}, {}),
    "graph": (GraphNMF, {}, {}),
    "graph-kl": (GraphNMF, KL, {}),
    "composed": (Factorization, {"strata": True, "updates": "exact", "penalties": {"V": [Small()]}}, {}),
}


def dense(V):
    return V.toarray() if sp.issparse(V) else V


def fitted(case, sparse_shifts, **more):
    kind, parameters, given = CASES[case]
    given = {"X": X, "strata": STRATA} | given
    if sparse_shifts and "V" in given and shifts.SMALL == 0:
        given["V"] = sp.coo_array(given["V"])
    parameters = {"random_state": 0, "max_iter": 5, "sparse_shifts": sparse_shifts, **parameters, **more}
    return kind(RANK, **parameters).fit(**given)


def read(model, given):
    """Return what a model and its readers say, as arrays and strings; where a reader refuses, its words."""
    A, new, unseen = given.get("X", X), given.get("X", X)[:12], [*STRATA[:4], *[7] * 4, *[8] * 4]

    def changed(**parameters):
        return copy.copy(model).set_params(**parameters)

    def as_factors(other):
        return np.concatenate([other.components_.ravel(), dense(other.shifts_).ravel()])

    def from_model():
        init = {"init": model, "alpha_W": 0.0, "max_iter": 2}
        return type(model)(RANK, **{**model.get_params(), **init, "n_components": RANK}).fit(A, strata=STRATA + 2)

    readers = {
        "factors": lambda: as_factors(model),
        "W": lambda: model.W_,
        "objective": lambda: model.history_["objective"],
        "transform": lambda: model.transform(new, strata=STRATA[:12]),
        "score": lambda: model.score(new, strata=STRATA[:12]),
        "inverse": lambda: model.inverse_transform(model.W_[:5], strata=STRATA[:5]),
        "errors": lambda: model.reconstruction_errors(new, strata=STRATA[:12]),
        "predict": lambda: model.predict_stratum(new),
        "explain": lambda: np.concatenate([part.differences for part in model.explain(A, strata=STRATA).strata]),
        "estimate": lambda: dense(model.estimate_shifts(new, unseen)[1]),
        "estimated": lambda: changed(unknown_strata="estimate").transform(new, strata=unseen),
        "mean": lambda: changed(unknown_strata="mean").transform(new, strata=unseen),
        "top": lambda: str(model.top_features(4)),
        "init": lambda: as_factors(from_model()),
        "warm": lambda: as_factors(changed(warm_start=True, max_iter=2).fit(A, strata=STRATA + 2)),
        "report": lambda: str([part.words.names for part in gather(model, X, None, None, None).strata]),
        "kkt": lambda: metrics.kkt_residual(X, model.W_, model.components_, model.shifts_, STRATA),
        "loss": lambda: metrics.normalized_loss(X, model.W_, model.components_, model.shifts_, STRATA),
        "sparseness": lambda: metrics.sparseness(model.shifts_),
        "coherence": lambda: metrics.coherence(model.shifts_, X, n_top=3),
        "overlap": lambda: metrics.topic_overlap(model.shifts_, model.shifts_[::-1], n=3),
        "diversity": lambda: metrics.diversity(model.shifts_, n_top=3),
        "held out": lambda: np.array(
            losses(restrict_columns(model, NINE), new[:, :9], model.W_[:12], strata=STRATA[:12])
        ),
    }
    found = {}
    for name, reader in readers.items():
        try:
            found[name] = reader()
        except (AttributeError, ValueError, TypeError, ArithmeticError) as error:
            found[name] = type(error).__name__
    return found


@pytest.mark.parametrize("case", CASES)
def test_sparse_shifts_have_the_bits_of_dense_ones(case, monkeypatch):
    """And the values up to rounding where every array is as sparse as a large one."""
    given = CASES[case][2]
    want = read(fitted(case, False), given)
    model = fitted(case, True)
    assert isinstance(model.shifts_, sp.csr_array) and model.shifts_.dtype == model.components_.dtype
    for name, value in read(model, given).items():
        assert np.asarray(value).tobytes() == np.asarray(want[name]).tobytes(), name
    monkeypatch.setattr(shifts, "SMALL", 0)
    tolerance = 3e-3 if case == "float32" else 1e-6
    for name, value in read(fitted(case, True), given).items():
        assert np.shape(value) == np.shape(want[name]) and isinstance(value, str) == isinstance(want[name], str), name
        if np.asarray(value).dtype.kind == "f":
            size = np.abs(want[name]).max(initial=0)
            np.testing.assert_allclose(value, want[name], rtol=tolerance, atol=tolerance * size, err_msg=name)
        elif case not in ("float32", "max", "min"):  # there the last digits decide between equals
            np.testing.assert_array_equal(value, want[name], err_msg=name)


def test_shifts_are_sparse_above_a_limit_unless_the_user_chooses(monkeypatch):
    assert not shifts.are_sparse(None, 10_000, 10_000) and shifts.are_sparse(None, 10_000, 10_001)
    monkeypatch.setattr(shifts, "ABOVE", 5 * M - 1)
    for sparse_shifts, expected in ((None, True), (True, True), (False, False), (np.False_, False)):
        for kind in (StratifiedNMF, MiniBatchStratifiedNMF):
            model = kind(RANK, max_iter=1, tol=0, sparse_shifts=sparse_shifts).fit(X, strata=STRATA)
            assert sp.issparse(model.shifts_) == expected
            assert sp.issparse(model.partial_fit(X, strata=STRATA).shifts_) == expected
    assert not sp.issparse(StratifiedNMF(RANK, max_iter=1, tol=0).fit(X, strata=STRATA % 4).shifts_)
    assert isinstance(fastnmf.AffineNMF(RANK, max_iter=1, tol=0).fit(sp.hstack([X] * 9)).offset_, np.ndarray)
    with pytest.raises(ValueError, match="sparse_shifts='auto' is not valid; expected True or False."):
        StratifiedNMF(sparse_shifts="auto").fit(X, strata=STRATA)


def test_only_entries_that_a_stratum_uses_are_stored():
    model = fitted("hals", True)
    used = np.array([dense(X)[STRATA == code].any(axis=0) for code in range(5)])
    assert model.shifts_.nnz == used.sum() and not dense(model.shifts_)[~used].any()
    states = []
    fitted("hals", True, callback=lambda state: states.append(state.V))
    assert all(isinstance(V, sp.csr_array) and V.nnz == used.sum() for V in states)


@pytest.mark.parametrize("kind", [StratifiedNMF, MiniBatchStratifiedNMF])
def test_partial_fit_with_sparse_shifts(kind, monkeypatch):
    """Batch after batch, after a fit, and from a file: as with dense shifts."""

    def streamed(sparse_shifts, begin):
        model = kind(RANK, max_iter=3, tol=0, random_state=0, sparse_shifts=sparse_shifts)
        model = begin(model, X[:20], strata=STRATA[:20])
        return model.partial_fit(X[20:], strata=STRATA[20:] + 2)

    for begin in (kind.fit, kind.partial_fit):
        one, two = streamed(False, begin), streamed(True, begin)
        assert isinstance(two.shifts_, sp.csr_array) and two.shifts_.shape == (7, M)
        assert dense(two.shifts_).tobytes() == one.shifts_.tobytes()
        assert two.components_.tobytes() == one.components_.tobytes()
    monkeypatch.setattr(shifts, "SMALL", 0)
    np.testing.assert_allclose(dense(streamed(True, kind.partial_fit).shifts_), one.shifts_, rtol=1e-6, atol=1e-9)


def test_partial_fit_after_a_fit_of_large_sparse_shifts_keeps_their_places(monkeypatch):
    """The model's own rows would fill every entry of a component; nothing is lost, and new rows may use new entries."""
    monkeypatch.setattr(shifts, "SMALL", 0)
    model = fitted("hals", True)
    before = dense(shifts.mapped(model.shifts_, np.ones_like)) > 0
    loss = model.reconstruction_err_
    new = model.partial_fit(X[:1] * 0, strata=[9])
    assert not (dense(new.shifts_) > 0)[:5][~before].any() and new.reconstruction_err_ <= loss * (1 + 1e-9)
    more = np.eye(1, M, int(np.flatnonzero(~before[0])[0])) * 9
    assert (dense(new.partial_fit(more, strata=[0]).shifts_) > 0)[0][more[0] > 0].all()


def test_files_copies_and_pages_keep_sparse_shifts(tmp_path):
    model = fitted("hals", True)
    model.save(tmp_path / "model")
    with np.load(tmp_path / "model") as file:
        assert "shifts_.data" in file and "shifts_" not in file
    again = fastnmf.load(tmp_path / "model")
    for other in (again, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert isinstance(other.shifts_, sp.csr_array) and (other.shifts_ != model.shifts_).nnz == 0
        same = other.transform(X, strata=STRATA) == model.transform(X, strata=STRATA)
        assert same.all() and other.get_params()["sparse_shifts"] is True
    write_report(again, tmp_path / "page", X=X)
    facts = [gather(each, X, None, None, None) for each in (again, fitted("hals", False))]
    assert facts[0].verdict == facts[1].verdict and (tmp_path / "page").stat().st_size > 10_000
    assert facts[0].kkt == facts[1].kkt
    assert [part.explained for part in facts[0].strata] == [part.explained for part in facts[1].strata]


@pytest.mark.parametrize("what", ["index", "order", "twice", "shape", "sign", "nan", "csc"])
def test_files_with_other_sparse_shifts_are_refused(what, tmp_path):
    model = fitted("hals", True)
    V = model.shifts_ = model.shifts_.copy()
    if what == "index":
        V.indices[0] = M
    elif what == "order":
        V.indices[:2] = V.indices[:2][::-1].copy()
    elif what == "twice":
        V.indices[1] = V.indices[0]
    elif what == "shape":
        model.shifts_ = V[:, :-1]
    elif what == "csc":
        model.shifts_ = V.tocsc()
    else:
        V.data[0] = {"sign": -1.0, "nan": np.nan}[what]
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="is not a model file of fastnmf, or is damaged"):
        fastnmf.load(tmp_path / "model")


def test_sparse_shifts_that_were_set_by_hand_are_checked_and_sorted(monkeypatch):
    monkeypatch.setattr(shifts, "SMALL", 0)
    model, mixed = fitted("hals", True), fitted("hals", True)
    mixed.shifts_ = model.shifts_[:, ::-1]
    mixed.shifts_ = sp.csr_array(
        (mixed.shifts_.data / 2, M - 1 - mixed.shifts_.indices, mixed.shifts_.indptr), mixed.shifts_.shape
    )
    half = mixed.shifts_
    twice = [
        np.concatenate([np.r_[a, a] for a in np.split(part, half.indptr[1:-1])]) for part in (half.data, half.indices)
    ]
    mixed.shifts_ = sp.csr_array((*twice, 2 * half.indptr), half.shape)
    assert not mixed.shifts_.has_canonical_format
    for name in ("transform", "reconstruction_errors"):
        np.testing.assert_allclose(*(getattr(each, name)(X, strata=STRATA) for each in (model, mixed)), atol=1e-12)
    model.shifts_ = model.shifts_[:, :-1]
    with pytest.raises(ValueError, match=r"shifts_ of this StratifiedNMF has shape \(5, 19\)"):
        model.transform(X, strata=STRATA)
    model.shifts_ = mixed.shifts_ * np.nan
    with pytest.raises(ValueError, match="shifts_ of this StratifiedNMF contains NaN"):
        model.transform(X, strata=STRATA)


def test_starts_take_sparse_shifts():
    model = fitted("hals", True)
    start = model.as_start()
    assert isinstance(start.shifts, sp.csr_array) and start.shifts is not model.shifts_
    one, two = (
        StratifiedNMF(RANK, init=Start(start.components, shifts=V, strata=[0, 1, 2, 3, 4]), max_iter=2, tol=0)
        for V in (start.shifts.tocsc(), dense(start.shifts))
    )
    assert one.fit(X, strata=STRATA).W_.tobytes() == two.fit(X, strata=STRATA).W_.tobytes()
    for V, words in ((-start.shifts, "shifts has negative"), (start.shifts * np.nan, "not finite"), (X, "have shape")):
        with pytest.raises(ValueError, match=words):
            Start(start.components, shifts=V, strata=[0, 1, 2, 3, 4])
    with pytest.raises(ValueError, match=r"the start V has shape \(4, 20\), expected \(5, 20\)"):
        fitted("custom", False).fit(X, strata=STRATA, **{**START, "V": sp.csr_array(START["V"][:4])})


def test_a_float32_fit_with_strata_begins_at_a_model():
    """The shifts of the start were float64, and the data float32: a kernel takes one type."""
    model = fitted("float32", False)
    again = StratifiedNMF(RANK, init=model, max_iter=2, tol=0).fit(X.astype(np.float32), strata=STRATA)
    assert again.W_.dtype == np.float32 and again.history_["objective"][0] < 1.01 * model.history_["objective"][-1]


def test_new_strata_of_sparse_shifts_are_estimated_few_at_a_time(monkeypatch):
    model, unseen = fitted("hals", True), 7 + np.arange(N) % 4
    labels, want = model.estimate_shifts(X, unseen)
    monkeypatch.setattr(shifts, "SMALL", 2 * M)
    again, found = model.estimate_shifts(X, unseen)
    assert isinstance(found, sp.csr_array) and again.tolist() == labels.tolist() == [7, 8, 9, 10]
    np.testing.assert_allclose(dense(found), dense(want), rtol=1e-9, atol=1e-12)
    assert model.estimate_shifts(X, STRATA)[1].shape == (0, M)


def test_gauges_of_sparse_shifts_are_those_of_dense_ones():
    model = fitted("hals", False)
    V = np.where(np.arange(5)[:, None] < 3, model.shifts_ + model.components_.sum(axis=0), model.shifts_)
    for gauge in ("max_shift", "min_shift", None):
        want = apply_gauge(model.W_, model.components_, V, STRATA, gauge)
        found = apply_gauge(model.W_, model.components_, sp.csr_array(V), STRATA, gauge)
        assert found[1].has_canonical_format
        np.testing.assert_allclose(found[0], want[0], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(dense(found[1]), want[1], rtol=1e-9, atol=1e-14)


def test_plots_draw_sparse_shifts(monkeypatch):
    figure = pytest.importorskip("matplotlib.figure")
    from fastnmf import plots

    monkeypatch.setattr(shifts, "SMALL", 5 * M - 1)
    V, names = fitted("hals", True).shifts_, [f"f{j}" for j in range(M)]
    for draw in (
        lambda V: plots.plot_top_features(V, names, range(5), n=3, figure=figure.Figure()),
        lambda V: plots.plot_images(V, (4, 5), range(5), figure=figure.Figure()),
    ):
        one, two = draw(V), draw(dense(V))
        for a, b in zip(one, two, strict=True):
            assert [p.get_width() for p in a.patches] == [p.get_width() for p in b.patches]
            assert all((i.get_array() == j.get_array()).all() for i, j in zip(a.images, b.images, strict=True))
    ax = plots.plot_shift_shares(V[:, :4], names[:4], range(5), ax=figure.Figure().add_subplot())
    assert len(ax.patches) == 20


def test_a_checkpoint_goes_on_with_sparse_shifts(tmp_path):
    for case, more in (("hals", {}), ("stream", {}), ("batches", {"warm_start": True})):
        kind, parameters, _ = CASES[case]
        model = kind(RANK, **parameters, **more, random_state=0, tol=0, max_iter=4, sparse_shifts=True)
        whole = copy.deepcopy(model).fit(X, strata=STRATA)
        path = tmp_path / case
        model.set_params(max_iter=2).fit(X, strata=STRATA, checkpoint=path, checkpoint_every=0)
        fresh = kind(**{**model.get_params(), "max_iter": 4})
        again = fresh.fit(X, strata=STRATA, checkpoint=path)
        assert isinstance(again.shifts_, sp.csr_array) and again.n_iter_ == 4
        assert dense(again.shifts_).tobytes() == dense(whole.shifts_).tobytes()


def test_the_pattern_of_few_dense_rows_has_room_for_their_strata_only():
    """As where `transform` meets few rows of a model with very many strata; 160 MB if all of them had a row of sums."""
    index = np.array([5, 999_999, 5])
    labels = np.arange(1_000_000)
    tracemalloc.start()
    try:
        pattern = Strata(np.eye(3, M), labels, index).pattern
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()
    assert pattern.group.tolist() == index.tolist() and pattern.n_groups == len(labels)


LARGE = {
    "mu": (StratifiedNMF, MU, {}),
    "kl": (StratifiedNMF, KL, {}),
    "weights": (StratifiedNMF, {}, {"sample_weight": 0.5 + np.arange(4000) % 3}),
    "missing": (StratifiedNMF, {"missing_values": "zeros"}, {}),
    "penalties": (StratifiedNMF, {"alpha_V": 1e-3}, {}),
    "float32": (StratifiedNMF, {}, {"dtype": np.float32}),
    "min": (StratifiedNMF, {"gauge": "min_shift"}, {}),
    "batches": (MiniBatchStratifiedNMF, {}, {}),
    "composed": (Factorization, {"strata": True}, {}),
}


def ones(n_columns):
    """Return two rows for each of 2,000 strata, each with one entry."""
    columns = np.random.default_rng(0).integers(0, n_columns, 4000)
    return sp.csr_array((np.ones(4000), columns, np.arange(4001)), (4000, n_columns)), np.arange(4000) // 2


@pytest.mark.parametrize("case", LARGE)
def test_thousands_of_strata_take_megabytes(case, tmp_path):
    """2,000 strata x 20,000 features: a dense array would have 320 MB, or 160 MB in float32."""
    (kind, parameters, given), (A, strata) = LARGE[case], ones(20_000)
    given, A = dict(given), A.astype(given.get("dtype", np.float64))
    given.pop("dtype", None)
    tracemalloc.start()
    try:
        model = kind(2, random_state=0, max_iter=2, sparse_shifts=True, **parameters).fit(A, strata=strata, **given)
        assert isinstance(model.shifts_, sp.csr_array) and model.shifts_.nnz <= 4000
        model.transform(A[:9], strata=strata[:9])
        model.transform(A[:9].toarray(), strata=strata[:9])
        assert model.score(A, strata=strata) <= 1
        model.save(tmp_path / "model")
        again = fastnmf.load(tmp_path / "model")
        copy.copy(model).set_params(init=again, max_iter=1).fit(A, strata=strata + 1, **given)
        again.set_params(warm_start=True, max_iter=1).fit(A, strata=strata + 1, **given)
        if case in ("float32", "batches"):
            again.partial_fit(A[:50], strata=strata[:50])
            kind(2, random_state=0, sparse_shifts=True).partial_fit(A, strata=strata)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60e6


def test_readers_of_very_large_shifts_form_no_dense_array(tmp_path):
    """1.2 x 10⁸ entries, so that nobody has to ask for sparse shifts; a dense array would have 960 MB."""
    A, strata = ones(60_000)
    tracemalloc.start()
    try:
        model = StratifiedNMF(2, random_state=0, max_iter=2).fit(A, strata=strata)
        assert isinstance(model.shifts_, sp.csr_array)
        model.reconstruction_errors(A[:50], strata=strata[:50])
        model.top_features(3)
        model.estimate_shifts(A[:4], [-1, -1, -2, -2])
        metrics.coherence(model.shifts_[:50], A)
        model.save(tmp_path / "model")
        write_report(fastnmf.load(tmp_path / "model"), tmp_path / "page", X=A)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200e6
