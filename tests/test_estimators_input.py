"""What every public estimator does with data, types and parameters of every kind: the same answer, or one sentence."""

import inspect
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from estimators import CASES, again, every_case, factors, has, has_transform, of_those, one_sentence, sparse

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence, and of fewer components than asked for


@every_case
def test_float32_stays(case):
    X = case.draw().astype(np.float32)
    given = case.given(X)
    model = case.make().fit(X, **given)
    assert {name for name, factor in factors(model).items() if factor.dtype != np.float32} == set()
    if hasattr(model, "transform"):
        assert model.transform(X, **again(case, X)).dtype == np.float32
    double = case.fit(X.astype(float))
    assert all(factor.dtype == np.float64 for factor in factors(double).values())
    # Twelve iterations from the same start; minima next to each other can be told apart by rounding.
    assert model.normalized_loss_ == pytest.approx(double.normalized_loss_, rel=2e-2, abs=1e-5)


@every_case
def test_sparse_is_dense_or_is_refused_with_the_reason(case):
    X, want = case.draw(), case.fitted
    forms = (sparse(X), sp.csc_matrix(X), sp.coo_array(X))
    for form in forms:
        try:
            model = case.fit(form)
        except (TypeError, ValueError) as error:
            assert not case.is_sparse and one_sentence(error)
            continue
        # Starts that take the column minima of dense data differ for sparse data by definition: not the factors.
        assert model.normalized_loss_ == pytest.approx(want.normalized_loss_, rel=5e-2, abs=1e-6)
    if not case.is_sparse:
        huge = sp.csr_array((30_000, 20_000))
        huge[0, 0] = huge[1, 1] = 1.0
        with pytest.raises(ValueError) as found:
            case.fit(huge)
        assert one_sentence(found.value) and any(word in str(found.value) for word in ("entries", "at most", "dense"))


BAD = {
    "nan": (np.nan, "NaN|missing"),
    "infinite": (np.inf, "infin"),
    "negative": (-1.0, "[Nn]egative"),
}


@pytest.mark.parametrize(
    ("case", "what"),
    [(case, what) for case in CASES for what in BAD if not (what == "negative" and case.takes_negative)],
    ids=str,
)
def test_values_that_cannot_be_used_are_named(case, what):
    value, match = BAD[what]
    X = case.draw()
    good = case.given(X)
    X[2, 2] = value
    forms = [X, X.astype(np.float32)] + [sparse(X)] * case.is_sparse
    for form in forms:
        with pytest.raises(ValueError, match=match) as found:
            case.make().fit(form, **good)
        assert one_sentence(found.value), str(found.value)


@every_case
def test_shapes_that_cannot_be_used_are_named(case):
    X = case.draw()
    text = np.array([["a", "b"], ["c", "d"]])
    mixed = pd.DataFrame(X, columns=list("abcdefghi")).assign(b="word")
    for wrong, match in (
        (X[:0], "0 sample"),
        (X[:, :0], "0 feature"),
        (X[0], "got 1D array"),
        (X[None], "got 3D array"),
        (3.0, "got scalar array"),
        (X * 1j, "Complex"),
        (text, "only real numbers"),
        (text[0].tolist(), "got 1D"),
        (mixed, "'b'.* text"),
        (None, "X is None"),
        ("file.csv", "X is 'file.csv'"),
    ):
        with pytest.raises((ValueError, TypeError), match=match) as found:
            case.make().fit(wrong)
        assert one_sentence(found.value), str(found.value)
    if case.is_symmetric:
        for wrong, match in ((X[:4], "square"), (X + np.triu(X, 1), "symmetric")):
            with pytest.raises(ValueError, match=match) as found:
                case.make().fit(wrong)
            assert one_sentence(found.value)


WRONG = (
    ("n_components", 0),
    ("n_components", 2.5),
    ("max_iter", 0),
    ("tol", -1.0),
    ("init", "no such start"),
    ("random_state", -3),
    ("n_threads", 0),
)


@pytest.mark.parametrize(
    ("case", "name", "value"), [(case, *wrong) for case in CASES for wrong in WRONG if has(wrong[0])(case)], ids=str
)
def test_parameters_that_cannot_be_used_are_named(case, name, value):
    model, X = case.make(), case.draw()
    with pytest.raises((ValueError, TypeError), match=name) as found:
        model.set_params(**{name: value}).fit(X, **case.given(X))
    assert one_sentence(found.value), str(found.value)
    assert repr(value) in str(found.value)


@every_case
def test_an_empty_row_and_an_empty_column_do_no_harm(case):
    X = case.draw()
    X[3] = 0
    X[:, 3] = 0
    if case.data == "positive":
        X += 1e-3
    for form in [X] + [sparse(X)] * case.is_sparse:
        model = case.fit(form)
        assert all(np.isfinite(factor).all() for factor in factors(model).values())
        assert np.isfinite(model.reconstruction_err_)
        assert all(np.isfinite(values).all() for values in model.history_.values())
        if hasattr(model, "transform"):
            assert np.isfinite(model.transform(form, **again(case, X))).all()


@every_case
def test_one_sample_one_column_and_one_component(case):
    X = case.draw(n_rows=5)
    shapes = [X[:1, :1]] if case.is_symmetric else [X[:1], X[:, :1], X[:1, :1]]
    for one in shapes:
        more = {"dictionary": case.parameters["dictionary"][:, : one.shape[1]]} if case.kind == "DictionaryNMF" else {}
        model = case.fit(one, n_components=case.single, **more)
        assert all(np.isfinite(factor).all() for factor in factors(model).values())
        assert all(factor.size for factor in factors(model).values())
        if hasattr(model, "transform"):
            assert model.transform(one, **again(case, one)).shape == (len(one), 1)


@every_case
def test_more_components_than_the_data_have_rows(case):
    X = case.draw(n_rows=4)
    more = (12, 11) if case.kind == "HierarchicalNMF" else 12
    model = case.fit(X, n_components=more)
    assert all(np.isfinite(factor).all() for factor in factors(model).values())


@of_those(lambda case: has("init")(case) and {"W", "H"} & set(inspect.signature(case.make().fit).parameters))
def test_a_start_of_ones_own_that_is_not_given_is_asked_for(case):
    X = case.draw()
    plain = inspect.signature(type(case.make())).parameters["n_init"].default  # other numbers of starts are refused
    with pytest.raises(ValueError, match="custom") as found:
        case.fit(X, init="custom", n_init=plain)
    assert one_sentence(found.value), str(found.value)
    asked = re.search(r"pass (.+) to fit", str(found.value))[1].replace(" and ", ", ").split(", ")
    asked = [name.partition("[")[0] for name in asked]  # of a list of starts, one
    assert set(asked) <= set(inspect.signature(case.make().fit).parameters), asked


@every_case
def test_types_and_layouts_of_the_same_numbers_give_the_same(case):
    X = case.draw()
    few = {"max_iter": 3} if has("max_iter")(case) else {}
    want = case.fit(X, **few)
    frozen = X.copy()
    frozen.flags.writeable = False
    same = [np.asfortranarray(X), frozen, np.repeat(X, 2, axis=1)[:, ::2], X.tolist(), pd.DataFrame(X).to_numpy()]
    if case.data not in ("positive", "affinities"):
        same += [X.astype(int), X.astype(np.int8)]
    for other in same:
        model = case.make(**few).fit(other, **case.given(X))
        for name, factor in factors(want).items():
            np.testing.assert_array_equal(factors(model)[name], factor)
    if case.is_sparse:
        csr = sparse(X)
        want = case.fit(csr, **few)
        wide = sp.csr_array((csr.data, csr.indices.astype(np.int64), csr.indptr.astype(np.int64)), shape=X.shape)
        halves = sp.csr_array((np.repeat(csr.data / 2, 2), np.repeat(csr.indices, 2), 2 * csr.indptr), shape=X.shape)
        for other in (wide, halves, sp.csr_matrix(csr), sp.lil_array(csr), sp.dok_array(csr), sp.bsr_array(csr)):
            model = case.make(**few).fit(other, **case.given(csr))
            for name, factor in factors(want).items():
                np.testing.assert_allclose(factors(model)[name], factor, rtol=1e-7, atol=1e-10, err_msg=name)


@every_case
@pytest.mark.parametrize("what", ["zero", "constant"])
def test_data_without_structure(case, what):
    X = np.zeros_like(case.draw()) if what == "zero" else np.ones_like(case.draw())
    for form in [X] + [sparse(X)] * case.is_sparse:
        try:
            model = case.fit(form)
        except ValueError as error:
            assert what == "zero" and one_sentence(error), str(error)
            continue
        assert all(np.isfinite(factor).all() for factor in factors(model).values())
        assert np.isfinite(model.reconstruction_err_)
        if what == "zero":
            assert not case.is_scale_free or model.reconstruction_err_ < 0.1 * (case.name == "l21") + 1e-12  # smoothed
        if hasattr(model, "transform"):
            assert np.isfinite(model.transform(form, **again(case, form))).all()


@of_those(lambda case: case.is_scale_free)
@pytest.mark.parametrize("scale", [2.0**-400, 2.0**400])
def test_data_of_extreme_scale(case, scale):
    X, want = case.draw(), case.fitted
    try:
        model = case.fit(X * scale)
    except ValueError as error:
        assert one_sentence(error), str(error)
        return
    assert all(np.isfinite(factor).all() for factor in factors(model).values())
    assert model.normalized_loss_ == pytest.approx(want.normalized_loss_, rel=5e-2, abs=1e-6)


@of_those(has_transform)
def test_new_rows_may_be_few_or_of_another_type(case):
    X, model = case.draw(), case.fitted
    labels = again(case, X)
    W = model.transform(X, **labels)
    single = model.transform(X.astype(np.float32), **labels)
    np.testing.assert_allclose(single, W, rtol=1e-2, atol=1e-2 * max(W.max(), 1e-3))
    with pytest.raises(ValueError, match="0 sample|no rows|empty"):
        model.transform(X[:0], **{name: value[:0] for name, value in labels.items()})
    for value, match in ((np.nan, "NaN|missing"), (np.inf, "infin")):
        bad = X.copy()
        bad[1, 1] = value
        with pytest.raises(ValueError, match=match) as found:
            model.transform(bad, **labels)
        assert one_sentence(found.value), str(found.value)
