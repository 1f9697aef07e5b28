"""Reading a fit: new strata, nearest stratum, errors of rows, canonical forms, explain."""

import inspect
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.optimize as so
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError

from fastnmf import NMF, StratifiedNMF
from fastnmf.core import shifts
from fastnmf.core.factors import pad
from fastnmf.core.shifts import apply_gauge, normalize_components
from fastnmf.data.strata import Strata
from fastnmf.models.base.inspection import InspectionMixin, RowErrorsMixin

BASES = (StratifiedNMF,) if issubclass(StratifiedNMF, InspectionMixin) else (InspectionMixin, StratifiedNMF)
PLAIN = (NMF,) if issubclass(NMF, RowErrorsMixin) else (RowErrorsMixin, NMF)
Model, Plain = type("Model", BASES, {}), type("Plain", PLAIN, {})


def fitted(X, strata, rank, *, unknown_strata="error", gauge=None, **options):
    """Return a fitted model; options that its class does not have yet are set as attributes."""
    own = {"unknown_strata": unknown_strata, "gauge": gauge}
    known = {name: value for name, value in own.items() if name in inspect.signature(StratifiedNMF).parameters}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Model(rank, **{"random_state": 0, **options}, **known).fit(X, strata=strata)
    for name, value in own.items():
        setattr(model, name, value)
    if not hasattr(model, "stratum_sizes_"):
        model.stratum_sizes_ = np.unique(strata, return_counts=True)[1].astype(float)
    return model


@pytest.fixture(scope="module")
def planted():
    """Four strata of 200 rows, rank 3, 1 % noise; every component is missing in many rows, so that shifts are fixed."""
    rng = np.random.default_rng(0)
    H = rng.random((3, 40)) * (rng.random((3, 40)) < 0.5)
    codes = rng.permutation(np.repeat(np.arange(4), 200))
    W = rng.random((800, 3)) * (rng.random((800, 3)) < 0.6)
    V = rng.random((4, 40)) * (rng.random((4, 40)) < 0.5)
    X = W @ H + V[codes]
    X = np.maximum(X + 0.01 * np.sqrt(np.mean(X**2)) * rng.standard_normal(X.shape), 0)
    return X, np.array(list("abcd"))[codes], apply_gauge(W, H, V, codes, "max_shift")[1]


@pytest.fixture(scope="module")
def model(planted):
    X, strata, _ = planted
    seen = strata < "d"
    return fitted(X[seen], strata[seen], 3, max_iter=2000, tol=1e-6, unknown_strata="estimate")


def stacked_nnls(X, H, prior, tau):
    """Return shift and weights of one new stratum from one non-negative least squares of all its entries."""
    (n, m), k = X.shape, len(H)
    A = np.zeros((n * m + m, n * k + m))
    A[: n * m, : n * k] = np.kron(np.eye(n), H.T)
    A[: n * m, n * k :] = np.tile(np.eye(m), (n, 1))
    A[n * m :, n * k :] = np.sqrt(tau) * np.eye(m)
    z, _ = so.nnls(A, np.concatenate([X.ravel(), np.sqrt(tau) * prior]))
    return z[n * k :], z[: n * k].reshape(n, k)


def pooled(model):
    return model.stratum_sizes_ @ model.shifts_ / model.stratum_sizes_.sum()


# ---------------------------------------------------------------- strata that were not seen in fit


def test_the_shift_of_an_unseen_stratum_is_found(planted, model):
    X, strata, V = planted
    model = fitted(X[strata < "d"], strata[strata < "d"], 3, max_iter=2000, tol=1e-6, gauge="max_shift")
    labels, found = model.estimate_shifts(X, strata)  # rows of known strata play no part
    assert labels.tolist() == ["d"] and found.shape == (1, 40)
    # Five pseudo rows against 200 pull by 2.4 % of the distance to the mean shift, which is about the shift's length.
    assert np.linalg.norm(found[0] - V[3]) <= 0.05 * np.linalg.norm(V[3])


def test_an_estimate_is_the_one_answer_of_a_convex_problem(planted, model):
    X, strata, _ = planted
    new, label = X[strata == "d"][:11], np.array(["f"] * 4 + ["e"] * 7)
    labels, found = model.estimate_shifts(new, label)
    assert labels.tolist() == ["e", "f"]
    W = model.transform(new, strata=label)
    for k, name in enumerate(labels):
        v, w = stacked_nnls(new[label == name], model.components_, pooled(model), 5.0)
        np.testing.assert_allclose(found[k], v, atol=1e-6 * v.max())
        np.testing.assert_allclose(W[label == name], w, atol=1e-6)
    sparse = model.estimate_shifts(sp.coo_array(new), label)[1]
    np.testing.assert_allclose(sparse, found, atol=1e-9)
    alone = model.estimate_shifts(new[:4], label[:4])[1]
    np.testing.assert_allclose(alone[0], found[1], atol=1e-9)


def test_a_single_row_is_not_all_shift(planted, model):
    X, strata, _ = planted
    row = X[strata == "d"][:1]
    _, found = model.estimate_shifts(row, ["d"])
    without = shifts.estimate(*inner(model, row), tau=1e-9)[0]
    np.testing.assert_allclose(without + model_part(model, row, without), row, atol=1e-4)  # what the ridge prevents
    assert np.linalg.norm(found - row) > 0.3 * np.linalg.norm(row)
    assert np.linalg.norm(found - pooled(model)) < np.linalg.norm(row - pooled(model)) / 5


def inner(model, X):
    data = Strata.from_array(X)
    return data, model.n_components_, pad(model.components_.T, data), pooled(model)


def model_part(model, X, V):
    W = np.array([so.nnls(model.components_.T, a - V[0])[0] for a in X])
    return W @ model.components_


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_array, pd.DataFrame])
@pytest.mark.parametrize("policy", ["estimate", "mean"])
def test_rows_of_known_strata_keep_their_bits(planted, form, policy):
    X, strata, _ = planted
    keep = np.arange(800) % 4 == 0
    X, strata = X[keep].astype(np.float32), strata[keep]
    data = form(np.where(X > 0.4, X, 0))
    seen = strata < "d"

    def rows(mask):
        return data[mask] if isinstance(data, (np.ndarray, pd.DataFrame)) else sp.csr_array(data)[mask]

    model = fitted(rows(seen), strata[seen], 3, unknown_strata=policy, max_iter=60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # feature names must not get lost on the way
        W = model.transform(data, strata=strata)
        alone = model.transform(rows(seen), strata=strata[seen])
        new = model.transform(rows(~seen), strata=strata[~seen])
    assert W.dtype == np.float32 and W.shape == (200, 3)
    np.testing.assert_array_equal(W[seen], alone)
    np.testing.assert_array_equal(W[~seen], new)
    assert (new != 0).any()


def test_the_mean_policy_takes_the_mean_shift(planted):
    X, strata, _ = planted
    order = np.argsort(strata, kind="stable")
    some = np.concatenate([order[:30], order[200:210], order[600:606]])  # 30 rows of a, 10 of b, 6 of d
    X, strata = X[some], strata[some]
    model = fitted(X[:40], strata[:40], 2, unknown_strata="mean")
    mean = (30 * model.shifts_[0] + 10 * model.shifts_[1]) / 40
    want = [so.nnls(model.components_.T, a - mean)[0] for a in X[40:]]
    np.testing.assert_allclose(model.transform(X, strata=strata)[40:], want, atol=1e-9)
    residual = [so.nnls(model.components_.T, a - mean)[1] ** 2 for a in X[40:]]
    np.testing.assert_allclose(model.reconstruction_errors(X, strata=strata)[40:], residual, rtol=1e-6)


@pytest.mark.parametrize("policy", ["estimate", "mean"])
def test_the_score_of_unseen_strata_is_that_of_their_errors(planted, policy):
    X, strata, _ = planted
    seen = strata < "d"
    model = fitted(X[seen], strata[seen], 3, unknown_strata=policy)
    errors = model.reconstruction_errors(X, strata=strata)
    weight = np.arange(800) % 3 + 1.0
    want = 1 - errors @ weight / (np.square(X).sum(axis=1) @ weight)
    assert model.score(X, strata=strata, sample_weight=weight) == pytest.approx(want, rel=1e-9)


def test_labels_of_another_kind_are_new_strata(planted):
    X, strata, _ = planted
    codes = np.searchsorted(list("abcd"), strata)
    model = fitted(X[codes < 3], codes[codes < 3], 2, unknown_strata="estimate", max_iter=20)
    W = model.transform(X[:50], strata=np.array(["0"] * 50))
    np.testing.assert_allclose(W, model.transform(X[:50], strata=np.full(50, 99)), rtol=1e-12)
    labels, found = model.estimate_shifts(X, codes % 3)
    assert len(labels) == 0 and found.shape == (0, 40)


def test_extreme_scales_change_nothing_but_the_scale(planted, model):
    X, strata, _ = planted
    new, label = X[strata == "d"][:20], ["d"] * 20
    big = fitted(X[strata < "d"] * 2.0**600, strata[strata < "d"], 3, max_iter=200, tol=1e-6, unknown_strata="estimate")
    one = fitted(X[strata < "d"], strata[strata < "d"], 3, max_iter=200, tol=1e-6, unknown_strata="estimate")
    np.testing.assert_allclose(
        big.estimate_shifts(new * 2.0**600, label)[1] * 2.0**-600,
        one.estimate_shifts(new, label)[1],
        rtol=1e-6,
        atol=1e-9,
    )
    tiny = fitted(X[strata < "d"] * 2.0**-300, strata[strata < "d"], 3, max_iter=200, tol=1e-6)
    np.testing.assert_allclose(
        np.ldexp(tiny.reconstruction_errors(X[:9] * 2.0**-300, strata=["a"] * 9), 600),
        one.reconstruction_errors(X[:9], strata=["a"] * 9),
        rtol=1e-6,
    )


# ---------------------------------------------------------------- whose row is it, and how well is it met


def test_the_stratum_of_a_row_is_recognised(planted, model):
    X, strata, _ = planted
    seen = strata < "d"
    for data in (X[seen], sp.csr_array(X[seen])):
        assert np.mean(model.predict_stratum(data) == strata[seen]) >= 0.95


def test_the_first_of_equal_strata_is_taken(planted, model):
    X, strata, _ = planted
    twin = fitted(X[:40], strata[:40], 2, max_iter=5)
    twin.shifts_ = np.repeat(twin.shifts_[:1], len(twin.strata_), axis=0)
    assert set(twin.predict_stratum(X[:40])) == {twin.strata_[0]}
    twin.shifts_[1:] += twin.components_[0]  # rows with this component are met as well, up to rounding
    met = np.full((9, 2), 3.0) @ twin.components_ + twin.shifts_[0]
    assert set(twin.predict_stratum(met)) == {twin.strata_[0]}


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_errors_of_rows_are_right_also_where_they_are_small(form, dtype):
    rng = np.random.default_rng(3)
    W, H, strata = rng.random((30, 2)), rng.random((2, 12)), np.arange(30) % 2
    V = rng.random((2, 12)) * (rng.random((2, 12)) < 0.5)
    X = W @ H + V[strata] + 10.0 ** rng.uniform(-7, -1, (30, 1)) * rng.random((30, 12))
    model = fitted(X.astype(dtype), strata, 2, max_iter=5)
    model.components_, model.shifts_ = H.astype(dtype), V.astype(dtype)
    X, H, V = X.astype(dtype).astype(float), H.astype(dtype).astype(float), V.astype(dtype).astype(float)
    want = [so.nnls(H.T, a - V[s])[1] ** 2 for a, s in zip(X, strata, strict=True)]
    assert min(want) < 1e-10  # of a squared length of about 5
    got = model.reconstruction_errors(form(X.astype(dtype)), strata=strata)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_errors_of_rows_of_plain_models():
    rng = np.random.default_rng(4)
    X = sp.random_array((40, 15), density=0.3, rng=rng, format="csr")
    plain = Plain(3, random_state=0, max_iter=500).fit(X)
    errors = plain.reconstruction_errors(X)
    assert np.sqrt(errors.sum()) == pytest.approx(plain.reconstruction_err_, rel=1e-9)
    with pytest.raises(ValueError, match="Plain has no strata; leave strata= out"):
        plain.reconstruction_errors(X, strata=np.zeros(40))


def test_divergences_of_rows():
    rng = np.random.default_rng(5)
    X = rng.poisson(2.0, (40, 15)).astype(float)
    X[3] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = Plain(3, random_state=0, max_iter=300, beta_loss="kullback-leibler", solver="mu").fit(X)
    Y = np.maximum(plain.transform(X) @ plain.components_, 1.2e-7 * X[X > 0].mean())
    want = np.where(X > 0, X * np.log(np.where(X > 0, X, 1) / Y), 0) - X + plain.transform(X) @ plain.components_
    for data in (X, sp.csr_array(X)):
        np.testing.assert_allclose(plain.reconstruction_errors(data), want.sum(axis=1), rtol=1e-9, atol=1e-12)


def test_a_shift_under_the_divergence_is_where_plain_updates_end():
    rng = np.random.default_rng(6)
    H, prior, X = rng.random((2, 8)), rng.random(8) + 0.1, rng.poisson(1.5, (9, 8)).astype(float)
    v, W = np.ones(8), np.ones((9, 2))
    for _ in range(20000):  # (Z' 1 + tau prior / v) over (n + tau), the updates of the problem as it is written
        v *= ((X / (v + W @ H)).sum(axis=0) + 5 * prior / v) / (9 + 5)
        W *= (X / (v + W @ H)) @ H.T / H.sum(axis=1)
    for form in (np.asarray, sp.csr_array):
        data = Strata.from_array(form(X))
        V, weights = shifts.estimate_divergence(data, 2, pad(H.T, data), prior, max_rounds=20000, tol=1e-10)
        np.testing.assert_allclose(V[0], v, rtol=1e-4)
        np.testing.assert_allclose(weights[:, :2], W, atol=1e-3)


def test_models_of_the_divergence_estimate_shifts_by_it(planted):
    X, strata, _ = planted
    X, strata = np.round(10 * X), strata
    model = fitted(X[strata < "d"], strata[strata < "d"], 3, max_iter=20)
    model.beta_loss = "kullback-leibler"  # of the fit itself nothing is asked here but its factors
    new = X[strata == "d"]
    data = Strata.from_array(new)
    want, _ = shifts.estimate_divergence(data, 3, pad(model.components_.T, data), pooled(model))
    labels, found = model.estimate_shifts(np.concatenate([new, new]), ["x"] * 200 + ["y"] * 200)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], want[0], rtol=1e-12)
    assert np.linalg.norm(found[0] - model.shifts_.mean(axis=0)) > 0.1 * np.linalg.norm(found[0])


# ---------------------------------------------------------------- canonical forms


def loop_max_shift(W, H, V, codes):
    W, V = W.copy(), V.copy()
    for s in range(len(V)):
        for j in range(len(H)):
            c = min((W[i, j] for i in range(len(W)) if codes[i] == s), default=0.0)
            V[s] += c * H[j]
            W[codes == s, j] -= c
    return W, V


def loop_min_shift(W, H, V, codes):
    W, V = W.copy(), V.copy()
    for s in set(codes.tolist()):
        for j in range(len(H)):
            if H[j].any():
                t = min(V[s, k] / H[j, k] for k in range(H.shape[1]) if H[j, k] > 0)
                V[s] = np.maximum(V[s] - t * H[j], 0)
                W[codes == s, j] += t
    return W, V


@pytest.mark.parametrize("gauge, loop", [("max_shift", loop_max_shift), ("min_shift", loop_min_shift)])
@pytest.mark.parametrize("dtype, tol", [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_a_gauge_changes_the_factors_and_not_the_model(gauge, loop, dtype, tol):
    rng = np.random.default_rng(7)
    H = (rng.random((4, 30)) * (rng.random((4, 30)) < 0.6)).astype(dtype)
    H[2] = 0  # a dead component
    codes = rng.integers(0, 6, 50)
    codes[codes == 4] = 3  # a stratum without rows
    W, V = rng.random((50, 4)).astype(dtype) + dtype(0.1), rng.random((6, 30)).astype(dtype) + dtype(0.1)
    kept = W.copy(), V.copy()
    W1, V1 = apply_gauge(W, H, V, codes, gauge)
    assert W1.dtype == V1.dtype == dtype and W1.min() >= 0 and V1.min() >= 0
    np.testing.assert_allclose(W1 @ H + V1[codes], W @ H + V[codes], rtol=tol)
    assert (W == kept[0]).all() and (V == kept[1]).all() and not np.allclose(W1, W)
    np.testing.assert_array_equal(V1[4], V[4])
    for got, want in zip((W1, V1), loop(W.astype(float), H.astype(float), V.astype(float), codes), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9 if dtype == np.float64 else 1e-4, atol=10 * tol)
    again = apply_gauge(W1, H, V1, codes, gauge)
    np.testing.assert_array_equal(again[0], W1)
    np.testing.assert_array_equal(again[1], V1)


def test_the_two_gauges_undo_each_other_where_one_component_says_it_all():
    rng = np.random.default_rng(8)
    H, codes = np.array([[1.0, 2, 0]]), np.arange(20) % 2
    W, V = rng.random((20, 1)), np.array([[0.0, 3, 1], [2, 0, 0]])
    least = apply_gauge(W, H, V, codes, "min_shift")
    for start in ((W, V), least):
        most = apply_gauge(*[start[0], H, start[1]], codes, "max_shift")
        np.testing.assert_allclose(apply_gauge(most[0], H, most[1], codes, "min_shift")[1], least[1], atol=1e-12)


def test_thousands_of_strata_and_none_at_all():
    rng = np.random.default_rng(9)
    codes = rng.integers(0, 5000, 8000)
    W, H, V = rng.random((8000, 3)), rng.random((3, 10)), rng.random((5000, 10))
    for gauge in ("max_shift", "min_shift"):
        W1, V1 = apply_gauge(W, H, V, codes, gauge)
        np.testing.assert_allclose(W1 @ H + V1[codes], W @ H + V[codes], rtol=1e-12)
    W1, V1 = apply_gauge(W, H, V, codes, None)
    assert (W1 == W).all() and (V1 == V).all() and W1 is not W
    with pytest.raises(ValueError, match="gauge='max' is not known; expected one of 'max_shift'"):
        apply_gauge(W, H, V, codes, "max")


def test_weights_stay_exact_in_the_max_shift_gauge(planted, model):
    X, strata, _ = planted
    seen = strata < "d"
    codes = np.searchsorted(model.strata_, strata[seen])
    W, V = apply_gauge(model.W_, model.components_, model.shifts_, codes, "max_shift")
    moved = fitted(X[:30], strata[:30], 3, max_iter=2)
    moved.components_, moved.shifts_, moved.strata_ = model.components_, V, model.strata_
    np.testing.assert_allclose(moved.transform(X[seen], strata=strata[seen]), W, atol=1e-7)


@pytest.mark.parametrize("norm, order", [("l1", 1), ("l2", 2), ("max", np.inf)])
def test_normalised_components(norm, order):
    rng = np.random.default_rng(10)
    W, H = rng.random((20, 4)), rng.random((4, 9)) * np.array([[1e-200], [1.0], [1e200], [0.0]])
    W1, H1 = normalize_components(W, H, norm)
    np.testing.assert_allclose(np.linalg.norm(H1[:3], ord=order, axis=1), 1, rtol=1e-12)
    assert not H1[3].any() and (W1[:, 3] == W[:, 3]).all()
    for j in range(3):
        np.testing.assert_allclose(np.outer(W1[:, j], H1[j]), np.outer(W[:, j], H[j]), rtol=1e-12)
    assert (
        normalize_components(W.astype(np.float32), H[:2].astype(np.float32).repeat(2, 0), norm)[0].dtype == np.float32
    )
    assert (normalize_components(W, H, None)[1] == H).all()
    with pytest.raises(ValueError, match="normalize='l3' is not known; expected one of 'l1'"):
        normalize_components(W, H, "l3")


# ---------------------------------------------------------------- do I need strata?


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_explained_shares_add_up(planted, model, form):
    X, strata, _ = planted
    X, strata = X[strata < "d"], strata[strata < "d"]
    names = [f"gene{j}" for j in range(40)]
    found = model.explain(form(X), strata=strata, n=5, feature_names=names)
    errors = model.reconstruction_errors(X, strata=strata)
    for part, v in zip(found.strata, model.shifts_, strict=True):
        here = strata == part.label
        total = np.square(X[here]).sum()
        assert part.n_rows == here.sum() == 200
        assert part.by_shift + part.by_shared == pytest.approx(part.explained, abs=1e-12)
        assert part.by_shift == pytest.approx(1 - np.square(X[here] - v).sum() / total, abs=1e-9)
        assert part.explained == pytest.approx(1 - errors[here].sum() / total, abs=1e-9)
        above = np.maximum(v - (model.shifts_.sum(axis=0) - v) / (len(model.shifts_) - 1), 0)
        scores = v * np.minimum(np.divide(above, 0.7 * v, out=np.zeros_like(v), where=v > 0), 1) ** 3
        order = np.argsort(-scores, kind="stable")[:5]
        assert part.features == [names[j] for j in order]
        np.testing.assert_allclose(part.differences, scores[order])
    assert found.loss == pytest.approx(model.normalized_loss_, rel=1e-6)
    one = NMF(3).fit(X)  # its components are replaced: what they explain without a shift
    one.components_ = model.components_
    assert found.loss_no_shift == pytest.approx(np.sqrt(1 - one.score(X)), rel=1e-9)
    assert found.loss < found.loss_one_shift < found.loss_no_shift
    assert found.gain == pytest.approx(1 - (found.loss / found.loss_one_shift) ** 2)
    assert found.weight == pytest.approx((found.loss_one_shift**2 - found.loss**2) / (1 - found.loss**2))
    assert found.verdict.startswith("Yes: a shift for each of the 3 strata removes 99.")
    lines = str(found).splitlines()
    assert len(lines) == 6 and lines[1].startswith("a  ") and lines[0].index("explained") > 0
    assert found.strata[0].features[0] in lines[1] and lines[-1] == f"Do I need strata? {found.verdict}"


def divided_by_loops(X, strata, model):
    """Return label -> divergence from independence, and what the shift and the components explain of it."""
    W, H, N = model.transform(X, strata=strata), model.components_, X.sum()
    found = {label: np.zeros(3) for label in model.strata_}
    for i, label in enumerate(strata):
        v = model.shifts_[list(model.strata_).index(label)]
        for j, x in enumerate(X[i]):
            shared = sum(W[i, c] * H[c, j] for c in range(len(H)))
            null, y = X[i].sum() * X[:, j].sum() / N, v[j] + shared
            gain = x * (1 + np.log(y / null)) / y if x > 0 else 0.0
            found[label] += [x * np.log(x / null) if x > 0 else 0.0, gain * v[j] - v[j], gain * shared - shared]
    return found


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_explained_divergences_add_up(form):
    rng = np.random.default_rng(13)
    strata = np.repeat(["a", "b"], 12)
    means = rng.gamma(0.5, 4, (2, 9))[np.repeat([0, 1], 12)] + rng.gamma(1, 2, (24, 2)) @ rng.gamma(0.5, 2, (2, 9))
    X = rng.poisson(means).astype(float)
    model = fitted(X, strata, 2, solver="mu", beta_loss="kullback-leibler", max_iter=200)
    found = model.explain(form(X), strata=strata, n=2)
    whole = divided_by_loops(X, strata, model)
    for part in found.strata:
        null, by_shift, by_shared = whole[part.label]
        assert part.by_shift == pytest.approx(by_shift / null, abs=1e-9)
        assert part.by_shared == pytest.approx(by_shared / null, abs=1e-9)
        left = model.reconstruction_errors(X, strata=strata)[strata == part.label].sum()
        assert part.explained == pytest.approx(1 - left / null, abs=1e-9)
    # W is exact in explain, and the last iterate in the fit
    assert found.loss == pytest.approx(model.normalized_loss_, rel=1e-3)
    assert found.loss < found.loss_one_shift < found.loss_no_shift
    assert "% of the divergence that one shift" in found.verdict and found.verdict.startswith("Yes")


def test_one_pooled_shift_is_the_best_one():
    rng = np.random.default_rng(11)
    X, strata = rng.random((8, 5)), np.arange(8) % 2
    model = fitted(X, strata, 2, max_iter=50)
    v, w = stacked_nnls(X, model.components_, np.zeros(5), 0.0)
    want = np.linalg.norm(X - v - w @ model.components_) / np.linalg.norm(X)
    assert model.explain(X, strata=strata).loss_one_shift == pytest.approx(want, rel=1e-3)


def test_strata_that_mean_nothing_are_not_needed():
    rng = np.random.default_rng(12)
    X = rng.random((300, 3)) @ rng.random((3, 30)) + 0.3 * rng.random((300, 30))
    found = fitted(X, rng.integers(0, 3, 300), 3, max_iter=300).explain(X, strata=rng.integers(0, 3, 300))
    assert found.verdict.startswith("No: a shift for each of the 3 strata")
    one = fitted(X, np.zeros(300), 3, max_iter=100)
    assert one.explain(X).verdict.startswith("These rows are of one stratum")
    assert one.explain(X).gain == pytest.approx(0, abs=0.01)


# ---------------------------------------------------------------- what cannot be done is said in a sentence


def test_errors_say_what_to_do(planted, model):
    X, strata, _ = planted
    refuses = fitted(X[:60], np.array(["a", "b"] * 30), 2, max_iter=3)
    for method in (refuses.transform, refuses.score, refuses.reconstruction_errors, refuses.explain):
        with pytest.raises(ValueError, match="label 'new', which was not seen in fit"):
            method(X[:2], strata=["a", "new"])
    with pytest.raises(ValueError, match="inverse_transform received the label 'new'.*estimate_shifts"):
        model.inverse_transform(np.ones((2, 3)), strata=["a", "new"])
    assert model.inverse_transform(np.ones((2, 3)), strata=["a", "b"]).shape == (2, 40)
    refuses.unknown_strata = "guess"
    with pytest.raises(ValueError, match="unknown_strata='guess' is not known; expected one of 'error', 'estimate'"):
        refuses.transform(X[:2], strata=["a", "new"])
    for method in (model.transform, model.reconstruction_errors, model.explain):
        with pytest.raises(ValueError, match="3 strata; pass strata="):
            method(X[:2])
    with pytest.raises(ValueError, match="estimate_shifts needs strata"):
        model.estimate_shifts(X[:2], None)
    with pytest.raises(ValueError, match="3 labels for 2 rows"):
        model.transform(X[:2], strata=["x", "y", "z"])
    with pytest.raises(ValueError, match="Negative values"):
        model.transform(-X[:2], strata=["x", "x"])
    with pytest.raises(ValueError, match="39 features"):
        model.transform(X[:2, 1:], strata=["x", "x"])
    with pytest.raises(ValueError, match="n=0"):
        model.explain(X[:2], strata=["a", "b"], n=0)
    model_of_beta = fitted(X[:60], strata[:60], 2, max_iter=3)
    model_of_beta.beta_loss = 1.5
    with pytest.raises(ValueError, match="estimate_shifts supports .* only, but this model has beta_loss=1.5"):
        model_of_beta.estimate_shifts(X[:2], ["new", "new"])
    with pytest.raises(ValueError, match="explain .*beta_loss=1.5"):
        model_of_beta.explain(X[:2], strata=["a", "b"])
    for method in (Model(2).predict_stratum, Model(2).reconstruction_errors, Model(2).explain):
        with pytest.raises(NotFittedError):
            method(X)
