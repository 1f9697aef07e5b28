"""The front door of entry weights and missing values."""

import numpy as np
import pytest
import scipy.sparse as sp
from masks import KINDS, grouped, weights_of

from fastnmf.data.entry_weights import observed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_are_what_was_given(kind, dtype):
    X, _ = grouped()
    P = weights_of(kind, X.shape)
    for given_X in (X.astype(dtype), sp.csr_array(X.astype(dtype))):
        for given in (P, sp.coo_array(P), P.tolist(), np.asfortranarray(P)):
            clean, weights = observed(given_X, given)
            assert clean.dtype == dtype and sp.issparse(clean) == sp.issparse(given_X)
            for side, want in ((weights.rows, P), (weights.columns, P.T)):
                held = side.base[:, None] + side.matrix(want.shape[1]).toarray()
                np.testing.assert_allclose(held, want.astype(dtype), rtol=4 * np.finfo(dtype).eps)
                # the shorter difference; dense weights of ordinary size have no short one
                short = np.minimum((want != 0).sum(axis=1), (want != 1).sum(axis=1))
                np.testing.assert_array_less(np.diff(side.extra.indptr), 2 * short + 1)
            dense = clean.toarray() if sp.issparse(clean) else clean
            np.testing.assert_array_equal(dense, np.where(P > 0, X, 0).astype(dtype))
            assert weights.is_mask == bool(np.isin(P, (0, 1)).all())


def test_missing_values_are_zero_weights():
    X, _ = grouped()
    holes = np.random.default_rng(3).random(X.shape) < 0.3
    with_nan = np.where(holes, np.nan, X)
    P = weights_of("weights", X.shape)
    for form in (np.asarray, sp.csr_array):
        for weight in (None, P, sp.csr_array(P)):
            want = (1.0 if weight is None else P) * ~holes
            clean, weights = observed(form(with_nan), weight, "nan")
            held = weights.rows.base[:, None] + weights.rows.matrix(X.shape[1]).toarray()
            np.testing.assert_allclose(held, want, rtol=1e-15)
            dense = clean.toarray() if sp.issparse(clean) else clean
            np.testing.assert_array_equal(dense, np.where(want > 0, X, 0))
            clean, weights = observed(form(X), weight, "zeros")
            held = weights.rows.base[:, None] + weights.rows.matrix(X.shape[1]).toarray()
            np.testing.assert_allclose(held, (1.0 if weight is None else P) * (X > 0), rtol=1e-15)


def test_weights_of_one_are_no_weights_and_the_data_stay_themselves():
    X = np.random.default_rng(0).random((6, 5)) + 0.1
    for given in (X, sp.csr_array(X)):
        for weight in (None, np.ones((6, 5)), np.ones((6, 5), bool), sp.csr_array(np.ones((6, 5)))):
            for missing in (None, "nan", "zeros"):
                clean, weights = observed(given, weight, missing)
                assert clean is given and weights is None


def test_inputs_stay_untouched_and_garbage_is_never_read():
    X, _ = grouped()
    P = weights_of("weights", X.shape)
    for garbage in (1e3, np.nan, np.inf, -1.0):
        dirty = np.where(P > 0, X, garbage)
        kept, kept_O = dirty.copy(), P.copy()
        for form in (np.asarray, sp.csr_array):
            clean, weights = observed(form(dirty), P)
            want, wanted = observed(form(X), P)
            for mine, other in zip((clean, weights.difference), (want, wanted.difference), strict=True):
                a, b = (A.toarray() if sp.issparse(A) else A for A in (mine, other))
                assert a.tobytes() == b.tobytes()
        np.testing.assert_array_equal(dirty, kept)
        np.testing.assert_array_equal(P, kept_O)


@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        (np.ones((3, 2)), {"weight": np.ones((2, 3))}, "weight has shape"),
        (np.ones((3, 2)), {"weight": np.ones(3)}, "weight has shape"),
        (np.ones((3, 2)), {"weight": -np.ones((3, 2))}, "negative"),
        (np.ones((3, 2)), {"weight": -sp.csr_array(np.ones((3, 2)))}, "negative"),
        (np.ones((3, 2)), {"weight": np.full((3, 2), np.nan)}, "NaN"),
        (np.ones((3, 2)), {"weight": np.full((3, 2), 1e15)}, "largest weight"),
        (np.ones((3, 2)), {"weight": np.zeros((3, 2))}, "No entry of X is observed"),
        (np.full((3, 2), np.nan), {"missing_values": "nan"}, "No entry of X is observed"),
        (sp.csr_array((3, 2)), {"missing_values": "zeros"}, "No entry of X is observed"),
        (np.full((3, 2), np.nan), {"weight": np.eye(3, 2)}, "missing_values='nan'"),
        (np.array([[1.0, np.nan, 0.0]]), {"missing_values": "zeros"}, "missing_values='nan'"),
        (np.ones((3, 2)), {"missing_values": "none"}, "missing_values='none'"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(X, options, message):
    with pytest.raises(ValueError, match=message):
        observed(X, **options)


def test_weights_that_are_no_numbers_are_refused():
    with pytest.raises(TypeError, match="weight has dtype"):
        observed(np.ones((1, 2)), np.array([["a", "b"]]))
