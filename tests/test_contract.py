"""What every variant promises, whatever its model: the contract. The registry is `variants.py`."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from variants import VARIANTS

from fastnmf import metrics

every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)


@pytest.fixture(autouse=True)
def no_convergence_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def grouped(n_rows=48, n_columns=31, density=0.4, seed=0):
    """Counts with three strata in mixed row order, an empty row, an empty column and a column one stratum lacks."""
    rng = np.random.default_rng(seed)
    X = rng.poisson(3, (n_rows, n_columns)) * (rng.random((n_rows, n_columns)) < density)
    strata = rng.choice(["north", "south", "west"], n_rows)
    X[4], X[:, 7], X[strata == "west", 8] = 0, 0, 0
    return X.astype(float), strata


def model_of(estimator, W, strata):
    return estimator.inverse_transform(W, strata=strata)


@every_variant
def test_factors_are_non_negative_and_the_loss_is_the_loss(variant):
    X, strata = grouped()
    model = variant.make()
    W = model.fit_transform(X, strata=strata)
    for factor in (W, model.components_, model.shifts_):
        assert np.isfinite(factor).all() and (factor >= 0).all()
    want = metrics.normalized_loss(X, W, model.components_, model.shifts_, strata)
    assert model.normalized_loss_ == pytest.approx(want, rel=1e-10)
    assert model.reconstruction_err_ == pytest.approx(want * np.linalg.norm(X), rel=1e-10)
    assert model.history_["normalized_loss"][-1] == model.normalized_loss_
    np.testing.assert_allclose(np.linalg.norm(X - model_of(model, W, strata)), model.reconstruction_err_, rtol=1e-10)


@every_variant
def test_the_history_is_complete_and_falls(variant):
    X, strata = grouped()
    model = variant.make(max_iter=25).fit(X, strata=strata)
    history = model.history_
    assert model.n_iter_ == 25 and model.stopped_by_ == "max_iter"
    np.testing.assert_array_equal(history["iteration"], np.arange(26))
    assert (np.diff(history["seconds"]) >= 0).all()
    assert history["normalized_loss"][-1] < history["normalized_loss"][0]
    if variant.is_monotone:
        assert (np.diff(history["normalized_loss"]) <= 1e-12).all()


@every_variant
def test_sparse_equals_dense_in_every_format(variant):
    X, strata = grouped()
    want = variant.make().fit(X, strata=strata)
    # Starts that take the column minima of dense data differ for sparse data by definition.
    start = {"W": want.W_ + 0.1, "H": want.components_ + 0.1, "V": want.shifts_ + 0.1}
    want = variant.make(init="custom").fit(X, strata=strata, **start)
    for form in (sp.csr_matrix, sp.csr_array, sp.csc_array, sp.coo_array, sp.lil_matrix):
        model = variant.make(init="custom").fit(form(X), strata=strata, **start)
        np.testing.assert_allclose(model.components_, want.components_, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(model.shifts_, want.shifts_, rtol=1e-7, atol=1e-9)


@every_variant
def test_memory_layout_indices_and_stray_entries_do_not_matter(variant):
    X, strata = grouped()
    X = sp.csr_array(X)
    want = variant.make().fit(X, strata=strata).components_
    wide = sp.csr_array((X.data, X.indices.astype(np.int64), X.indptr.astype(np.int64)), shape=X.shape)
    halves = sp.csr_array((np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), 2 * X.indptr), shape=X.shape)
    zeros = sp.csr_array(
        (np.append(X.data, 0.0), np.append(X.indices, 7), np.append(X.indptr[:-1], X.nnz + 1)), shape=X.shape
    )
    backwards = X.copy()
    for i in range(X.shape[0]):
        row = slice(X.indptr[i], X.indptr[i + 1])
        backwards.indices[row], backwards.data[row] = X.indices[row][::-1].copy(), X.data[row][::-1].copy()
    backwards.has_sorted_indices = backwards.has_canonical_format = False
    for other in (wide, halves, zeros, backwards):
        assert other.nnz >= X.nnz
        np.testing.assert_allclose(variant.make().fit(other, strata=strata).components_, want, rtol=1e-9, atol=1e-12)
    dense = X.toarray()
    want = variant.make().fit(dense, strata=strata).components_
    frozen = dense.copy()
    frozen.flags.writeable = False
    for other in (np.asfortranarray(dense), dense.astype(int), frozen, np.repeat(dense, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(variant.make().fit(other, strata=strata).components_, want)


@every_variant
def test_float32_stays_and_is_close_to_float64(variant):
    X, strata = grouped()
    for form in (np.asarray, sp.csr_array):
        double = variant.make().fit(form(X), strata=strata)
        single = variant.make().fit(form(X.astype(np.float32)), strata=strata)
        for name in ("components_", "shifts_", "W_"):
            assert getattr(double, name).dtype == np.float64 and getattr(single, name).dtype == np.float32
        # Not the factors: 30 iterations amplify rounding along the directions that the data do not fix.
        assert single.normalized_loss_ == pytest.approx(double.normalized_loss_, rel=2e-4)


@every_variant
def test_order_of_rows_and_names_of_strata_do_not_matter(variant):
    X, strata = grouped()
    want = variant.make().fit(X, strata=strata)
    start = {"W": want.W_ + 0.1, "H": want.components_ + 0.1, "V": want.shifts_ + 0.1}
    want = variant.make(init="custom").fit(X, strata=strata, **start)
    order = np.random.default_rng(5).permutation(len(X))
    names = {"north": 9, "south": 2, "west": 5}
    relabelled = np.array([names[label] for label in strata])
    mixed = variant.make(init="custom").fit(
        X[order], strata=relabelled[order], W=start["W"][order], H=start["H"], V=start["V"][[1, 2, 0]]
    )
    assert mixed.strata_.tolist() == [2, 5, 9]
    np.testing.assert_allclose(mixed.W_, want.W_[order], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(mixed.shifts_, want.shifts_[[1, 2, 0]], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(mixed.components_, want.components_, rtol=1e-6, atol=1e-9)


@every_variant
@pytest.mark.parametrize("factor", [1e-3, 2.0**-300, 1e150, 1e-150])
def test_scale_of_the_data_is_the_scale_of_the_model(variant, factor):
    X, strata = grouped()
    want = variant.make().fit(X, strata=strata)
    scaled = variant.make().fit(X * factor, strata=strata)
    # MU's eps is absolute in ordinary scales (1e-9 against data near 1): a thousandth of the scale feels it a little.
    rtol = 1e-4 if variant.parameters.get("solver") == "mu" else 1e-6
    assert scaled.normalized_loss_ == pytest.approx(want.normalized_loss_, rel=rtol)
    np.testing.assert_allclose(
        scaled.inverse_transform(scaled.W_, strata=strata) / factor,
        want.inverse_transform(want.W_, strata=strata),
        rtol=100 * rtol,
        atol=100 * rtol,
    )
    np.testing.assert_allclose(
        scaled.transform(X * factor, strata=strata) @ scaled.components_ / factor,
        want.transform(X, strata=strata) @ want.components_,
        rtol=100 * rtol,
        atol=100 * rtol,
    )


@every_variant
def test_transform_is_the_exact_solution_and_sees_one_row_at_a_time(variant):
    from scipy.optimize import nnls

    X, strata = grouped()
    model = variant.make()
    W = model.fit_transform(X, strata=strata)
    if model.solver == "hals":
        np.testing.assert_array_equal(model.transform(X, strata=strata), W)
    new, labels = grouped(seed=8)
    W = model.transform(new, strata=labels)
    shifts = dict(zip(model.strata_, model.shifts_, strict=True))
    for row, label, w in zip(new, labels, W, strict=True):
        best = nnls(model.components_.T, row - shifts[label])[0]
        np.testing.assert_allclose(w, best, rtol=1e-6, atol=1e-8 * max(best.max(), 1))
    np.testing.assert_allclose(model.transform(sp.csr_array(new), strata=labels), W, rtol=1e-7, atol=1e-9)
    some = model.transform(sp.csr_array(new)[10:20], strata=labels[10:20])
    np.testing.assert_array_equal(some, model.transform(sp.csr_array(new), strata=labels)[10:20])


@every_variant
def test_a_seed_makes_it_reproducible_and_inputs_stay_untouched(variant):
    X, strata = grouped()
    for form in (np.asarray, sp.csr_matrix):
        given = form(X.copy())
        first, second = (variant.make(random_state=4).fit(given, strata=strata) for _ in range(2))
        assert first.components_.tobytes() == second.components_.tobytes()
        np.testing.assert_array_equal(given.toarray() if sp.issparse(given) else given, X)
    if variant.parameters.get("init", "rows") in ("rows", "random"):
        assert not np.array_equal(variant.make(random_state=5).fit(X, strata=strata).components_, first.components_)


DEGENERATE = {
    "all zero": (np.zeros((5, 4)), [0, 0, 1, 1, 1]),
    "all zero, sparse": (sp.csr_array((5, 4)), [0, 0, 1, 1, 1]),
    "one entry": (np.array([[3.0]]), [0]),
    "one row a stratum": (np.arange(1.0, 13).reshape(4, 3), [0, 1, 2, 3]),
    "one column": (np.arange(6.0)[:, None], [0, 0, 0, 1, 1, 1]),
    "one row": (np.arange(6.0)[None], [0]),
    "rank above both sides": (np.random.default_rng(0).random((2, 2)), [0, 1]),
    "constant": (np.ones((6, 5)), [0, 0, 0, 1, 1, 1]),
    "empty stratum column": (sp.csr_array(np.diag([1.0, 2, 3, 0])), [0, 1, 1, 2]),
}


@every_variant
@pytest.mark.parametrize("case", DEGENERATE, ids=str)
def test_degenerate_data_have_a_defined_result(variant, case):
    X, strata = DEGENERATE[case]
    model = variant.make().fit(X, strata=strata)
    dense = X.toarray() if sp.issparse(X) else X
    for factor in (model.W_, model.components_, model.shifts_, model.history_["normalized_loss"]):
        assert np.isfinite(factor).all() and (factor >= 0).all()
    if not dense.any():
        assert model.normalized_loss_ == model.reconstruction_err_ == 0
        assert not model.components_.any() and not model.shifts_.any() and not model.W_.any()
    want = metrics.normalized_loss(X, model.W_, model.components_, model.shifts_, strata)
    # Near a perfect fit the loss is the rounding of the model itself: compare on the scale of the data.
    assert model.normalized_loss_ == pytest.approx(want, rel=1e-6, abs=1e-12)


@every_variant
def test_thousands_of_strata(variant):
    rng = np.random.default_rng(2)
    X = sp.random_array((3000, 40), density=0.1, rng=rng, format="csr")
    strata = rng.integers(0, 2000, 3000)
    model = variant.make(max_iter=5).fit(X, strata=strata)
    assert model.shifts_.shape == (len(np.unique(strata)), 40)
    assert model.normalized_loss_ == pytest.approx(
        metrics.normalized_loss(X, model.W_, model.components_, model.shifts_, strata), rel=1e-9
    )
