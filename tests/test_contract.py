"""What every variant promises, whatever its model: the contract. The registry is `variants.py`."""

from functools import cache

import numpy as np
import oracles
import pytest
import scipy.sparse as sp
from scipy.optimize import nnls
from variants import VARIANTS

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence
BY_NAME = {variant.name: variant for variant in VARIANTS}
every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
SPARSE = (sp.csr_matrix, sp.csr_array, sp.csc_array, sp.coo_array, sp.lil_matrix)
LEAST = 1.1920929e-07  # smaller model values count as that beside a non-zero, as in scikit-learn


def grouped(n_rows=48, n_columns=31, density=0.4, seed=0):
    """Counts with three strata in mixed row order, an empty row, an empty column and a column one stratum lacks."""
    rng = np.random.default_rng(seed)
    X = rng.poisson(3, (n_rows, n_columns)) * (rng.random((n_rows, n_columns)) < density)
    strata = rng.choice(["north", "south", "west"], n_rows)
    X[4], X[:, 7], X[strata == "west", 8] = 0, 0, 0
    return X.astype(float), strata


@cache
def fitted(name, form=np.asarray, **options):
    """Return a variant fitted to `grouped`: one fit for all tests that read it and change nothing."""
    X, strata = grouped()
    return BY_NAME[name].make(**options).fit(form(X), **BY_NAME[name].labels(strata))


def factors_of(model):
    return [getattr(model, name) for name in ("W_", "components_", "shifts_") if hasattr(model, name)]


def loss_of(variant, model, X, strata):
    """Return the normalized loss of a fitted model, independently of the solvers."""
    value, scale = errors_of(variant, model, X, strata)
    return np.sqrt(max(value, 0) / scale) if scale > (1e-10 if not variant.is_squared else 0) else 0.0


def errors_of(variant, model, X, strata):
    """Return the loss of a fitted model and that of the trivial one, dense, in the scale of the data."""
    X = X.toarray() if sp.issparse(X) else X
    Y = model.W_.astype(float) @ model.components_.astype(float)
    if variant.has_strata:
        Y = Y + model.shifts_.astype(float)[np.searchsorted(model.strata_, strata)]
    if variant.is_squared:
        seen = (X > 0) | (not variant.is_masked)
        return np.sum(seen * (X - Y) ** 2), np.sum(seen * X**2)
    if not X.any():
        return 0.0, 0.0
    trivial = np.full(X.shape, X.mean())
    if variant.beta == 1:
        trivial = np.maximum(np.outer(X.sum(axis=1), X.sum(axis=0)) / X.sum(), 1e-300)
    Y = np.maximum(Y, np.where(X > 0, LEAST, 1e-300))
    return tuple(oracles.beta_divergence(X, model, variant.beta) for model in (Y, trivial))


def objective_of(variant, model, X, strata):
    """Return the loss with the penalties, independently of the solvers."""
    penalty = 0.0
    for name, factor in (("W", model.W_), ("H", model.components_), ("V", getattr(model, "shifts_", None))):
        if variant.is_penalised and factor is not None:
            l1, l2 = variant.penalty(name, X.shape[1] if name == "W" else len(X))
            penalty += 2 * l1 * factor.sum() + l2 * np.square(factor).sum()
    assert (penalty > 0) == variant.is_penalised
    return errors_of(variant, model, X, strata)[0] + penalty


@every_variant
def test_factors_are_non_negative_and_the_loss_is_the_loss(variant):
    X, strata = grouped()
    model = variant.make()
    W = model.fit_transform(X, **variant.labels(strata))
    assert W is model.W_ or (W == model.W_).all()
    for factor in factors_of(model):
        assert np.isfinite(factor).all() and (factor >= 0).all()
    # The divergence takes model values below 1.2e-7 for that: a difference in the sixth digit.
    rel = 1e-10 if variant.is_squared else 1e-6
    assert model.normalized_loss_ == pytest.approx(loss_of(variant, model, X, strata), rel=rel)
    assert model.history_["normalized_loss"][-1] == model.normalized_loss_
    approximation = model.inverse_transform(W, **variant.labels(strata))
    shown = W @ model.components_ + (model.shifts_[np.searchsorted(model.strata_, strata)] if variant.has_strata else 0)
    np.testing.assert_allclose(approximation, shown, rtol=1e-12)
    error = np.sqrt(errors_of(variant, model, X, strata)[0] * (1 if variant.is_squared else 2))
    assert model.reconstruction_err_ == pytest.approx(error, rel=rel)


@every_variant
def test_the_history_is_complete_and_falls(variant):
    X, strata = grouped()
    model = variant.make(max_iter=25).fit(X, **variant.labels(strata))
    history = model.history_
    assert model.n_iter_ == 25 and model.stopped_by_ == "max_iter"
    np.testing.assert_array_equal(history["iteration"], np.arange(26))
    assert (np.diff(history["seconds"]) >= 0).all()
    assert history["objective"][-1] < history["objective"][0]
    if variant.is_monotone:
        assert (np.diff(history["objective"]) <= 1e-12 * history["objective"][:-1]).all()


@every_variant
def test_the_objective_is_the_loss_and_the_penalties(variant):
    X, strata = grouped()
    labels, model = variant.labels(strata), fitted(variant.name)
    begun = variant.make(init="custom", gauge=None) if variant.has_gauge else variant.make(init="custom")
    start = variant.start(model)  # with shifts where a stratum has nothing, too
    begun.fit(X, **labels, **start)
    rel = 1e-10 if variant.is_squared else 1e-6
    assert model.history_["objective"][-1] == pytest.approx(objective_of(variant, model, X, strata), rel=rel)
    assert begun.history_["objective"][-1] == pytest.approx(objective_of(variant, begun, X, strata), rel=rel)
    begun.W_, begun.components_, begun.shifts_ = start["W"], start["H"], start.get("V")
    assert begun.history_["objective"][0] == pytest.approx(objective_of(variant, begun, X, strata), rel=rel)


@every_variant
def test_sparse_equals_dense_in_every_format(variant):
    X, strata = grouped()
    labels = variant.labels(strata)
    # From one start: starts that take the column minima of dense data differ for sparse data by definition.
    start = variant.start(fitted(variant.name))
    want = variant.make(init="custom").fit(X, **labels, **start)
    for form in SPARSE:
        model = variant.make(init="custom").fit(form(X), **labels, **start)
        for mine, other in zip(factors_of(model), factors_of(want), strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-7, atol=1e-9)


@every_variant
def test_a_mask_of_ones_changes_no_bit(variant):
    X, strata = grouped()
    for form in (np.asarray, sp.csr_array):
        want = variant.make(max_iter=10).fit(form(X), **variant.labels(strata))
        same = [({}, {"weight": np.ones(X.shape, bool)}), ({}, {"weight": sp.csr_array(np.ones(X.shape))})]
        for options, weight in same if variant.is_masked else [*same, ({"missing_values": "nan"}, {})]:
            model = variant.make(max_iter=10, **options).fit(form(X), **variant.labels(strata), **weight)
            for mine, other in zip(factors_of(model), factors_of(want), strict=True):
                assert mine.tobytes() == other.tobytes()


@every_variant
def test_memory_layout_indices_and_stray_entries_do_not_matter(variant):
    X, strata = grouped()
    X = sp.csr_array(X)

    def found(X):
        return variant.make(max_iter=10).fit(X, **variant.labels(strata)).components_

    want = found(X)
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
        np.testing.assert_allclose(found(other), want, rtol=1e-9, atol=1e-12)
    dense = X.toarray()
    want = found(dense)
    frozen = dense.copy()
    frozen.flags.writeable = False
    for other in (np.asfortranarray(dense), dense.astype(int), frozen, np.repeat(dense, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(found(other), want)


@every_variant
def test_float32_stays_and_is_close_to_float64(variant):
    X, strata = grouped()
    for form in (np.asarray, sp.csr_array):
        double = fitted(variant.name, form)
        single = variant.make().fit(form(X.astype(np.float32)), **variant.labels(strata))
        assert all(factor.dtype == np.float64 for factor in factors_of(double))
        assert all(factor.dtype == np.float32 for factor in factors_of(single))
        # Not the factors: 30 iterations amplify rounding along the directions that the data do not fix.
        assert single.normalized_loss_ == pytest.approx(double.normalized_loss_, rel=2e-4)


@every_variant
def test_order_of_rows_and_names_of_strata_do_not_matter(variant):
    X, strata = grouped()
    start = variant.start(fitted(variant.name))
    want = variant.make(init="custom").fit(X, **variant.labels(strata), **start)
    order = np.random.default_rng(5).permutation(len(X))
    names = {"north": 9, "south": 2, "west": 5}
    relabelled = np.array([names[label] for label in strata])
    start["W"] = start["W"][order]
    if variant.has_strata:
        start["V"] = start["V"][[1, 2, 0]]
    mixed = variant.make(init="custom").fit(X[order], **variant.labels(relabelled[order]), **start)
    np.testing.assert_allclose(mixed.W_, want.W_[order], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(mixed.components_, want.components_, rtol=1e-6, atol=1e-9)
    if variant.has_strata:
        assert mixed.strata_.tolist() == [2, 5, 9]
        np.testing.assert_allclose(mixed.shifts_, want.shifts_[[1, 2, 0]], rtol=1e-6, atol=1e-9)


@every_variant
@pytest.mark.parametrize("factor", [1e-3, 2.0**-300, 1e150, 1e-150])
def test_scale_of_the_data_is_the_scale_of_the_model(variant, factor):
    X, strata = grouped()
    labels = variant.labels(strata)
    for options in variant.scalings(factor):
        want = fitted(variant.name, **options[0])
        scaled = variant.make(**options[1]).fit(X * factor, **labels)
        rtol = 1e-6
        assert scaled.normalized_loss_ == pytest.approx(want.normalized_loss_, rel=rtol)
        loose = {"rtol": 100 * rtol, "atol": 100 * rtol}
        found = scaled.inverse_transform(scaled.W_, **labels) / factor
        np.testing.assert_allclose(found, want.inverse_transform(want.W_, **labels), **loose)
        found = scaled.transform(X * factor, **labels) @ scaled.components_ / factor
        np.testing.assert_allclose(found, want.transform(X, **labels) @ want.components_, **loose)


@every_variant
def test_transform_is_the_solution_and_sees_one_row_at_a_time(variant):
    X, strata = grouped()
    model = variant.make()
    W = model.fit_transform(X, **variant.labels(strata))
    if model.solver == "hals":
        again, tolerance = model.transform(X, **variant.labels(strata)), 1e-9 * W.max() if variant.has_gauge else 0
        np.testing.assert_allclose(again, W, rtol=0, atol=tolerance)  # a gauge moves W and shifts, and thereby rounds
    new, strata = grouped(seed=8)
    labels = variant.labels(strata)
    W = model.transform(new, **labels)
    np.testing.assert_allclose(model.transform(sp.csr_array(new), **labels), W, rtol=1e-7, atol=1e-9)
    sparse = sp.csr_array(new)
    some = model.transform(sparse[10:20], **variant.labels(strata[10:20]))
    np.testing.assert_array_equal(some, model.transform(sparse, **labels)[10:20])
    shifts = model.shifts_[np.searchsorted(model.strata_, strata)] if variant.has_strata else np.zeros(new.shape)
    if not variant.is_squared:
        # A stationary point of the divergence: both parts of the gradient agree where w is positive.
        model = variant.make(max_iter=3000).fit(X, **variant.labels(grouped()[1]))
        shifts = model.shifts_[np.searchsorted(model.strata_, strata)] if variant.has_strata else np.zeros(new.shape)
        W = model.transform(new, **labels)
        Y = np.maximum(W @ model.components_ + shifts, LEAST if variant.beta < 1 else 1e-300)
        pos, neg = (Z @ model.components_.T for Z in (new * Y ** (variant.beta - 2), Y ** (variant.beta - 1)))
        assert np.abs(W * (neg - pos)).max() < 1e-2 * new.sum(axis=1).max()
        return
    l1, l2 = variant.penalty("W", X.shape[1])
    H = model.components_
    for row, shift, w in zip(new, shifts, W, strict=True):
        seen = (row > 0) | (not variant.is_masked)
        gram, right = H[:, seen] @ H[:, seen].T + l2 * np.eye(3), H[:, seen] @ (row - shift)[seen] - l1
        best = oracles.nnls_by_supports(gram, right) if l1 + l2 else nnls(H[:, seen].T, (row - shift)[seen])[0]
        np.testing.assert_allclose(w, best, rtol=1e-6, atol=1e-8 * max(best.max(), 1))


@every_variant
def test_score_is_the_share_explained(variant):
    X, strata = grouped()
    model = variant.make().fit(X, **variant.labels(strata))
    new, strata = grouped(seed=8)
    labels = variant.labels(strata)
    for form in (np.asarray, sp.csr_array):
        score = model.score(form(new), **labels)
        model.W_ = model.transform(form(new), **labels)
        assert score == pytest.approx(1 - loss_of(variant, model, new, strata) ** 2, rel=1e-5)
    few = slice(10, 13)  # rows that lack much of what their strata have
    score = model.score(new[few], **variant.labels(strata[few]))
    model.W_ = model.transform(new[few], **variant.labels(strata[few]))
    assert score == pytest.approx(1 - loss_of(variant, model, new[few], strata[few]) ** 2, rel=1e-5)
    if variant.is_squared:
        weight = np.arange(len(new)) % 4
        often = np.repeat(np.arange(len(new)), weight)
        want = model.score(new[often], **variant.labels(strata[often]))
        assert model.score(new, **labels, sample_weight=weight) == pytest.approx(want, rel=1e-9)


@every_variant
def test_a_seed_makes_it_reproducible_and_inputs_stay_untouched(variant):
    X, strata = grouped()
    labels = variant.labels(strata)
    for form in (np.asarray, sp.csr_matrix):
        given = form(X.copy())
        first, second = (variant.make(random_state=4).fit(given, **labels) for _ in range(2))
        assert first.components_.tobytes() == second.components_.tobytes()
        np.testing.assert_array_equal(given.toarray() if sp.issparse(given) else given, X)
    if variant.parameters.get("init", "rows") in ("rows", "random"):
        start = {} if "init" in variant.parameters else {"init": "features"}  # that of small data may have no seed
        first, other = (variant.make(random_state=seed, **start).fit(X, **labels) for seed in (4, 5))
        assert not np.array_equal(other.components_, first.components_)


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
    if variant.is_masked and X.sum() == 0:
        with pytest.raises(ValueError, match="No entry of X is observed"):
            variant.make().fit(X, **variant.labels(strata))
        return
    model = variant.make().fit(X, **variant.labels(strata))
    for factor in (*factors_of(model), model.history_["normalized_loss"]):
        assert np.isfinite(factor).all() and (factor >= 0).all()
    if X.sum() == 0:
        assert model.normalized_loss_ == model.reconstruction_err_ == 0
        assert not any(factor.any() for factor in factors_of(model))
    # Near a perfect fit the loss is the rounding of the model itself: compare on the scale of the data.
    loose = {"abs": 1e-12} if variant.is_squared else {"abs": 1e-3}
    assert model.normalized_loss_ == pytest.approx(loss_of(variant, model, X, strata), rel=1e-6, **loose)


@every_variant
def test_thousands_of_strata(variant):
    rng = np.random.default_rng(2)
    X = sp.random_array((3000, 40), density=0.1, rng=rng, format="csr")
    strata = rng.integers(0, 2000, 3000)
    model = variant.make(max_iter=5).fit(X, **variant.labels(strata))
    if variant.has_strata:
        assert model.shifts_.shape == (len(np.unique(strata)), 40)
    assert model.normalized_loss_ == pytest.approx(loss_of(variant, model, X, strata), rel=1e-6)
