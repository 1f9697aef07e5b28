"""What every public estimator promises, whatever its model. The registry is `estimators.py`.

The mathematics of each has its own tests; `test_contract.py` asks more of the plain and the stratified model.
"""

import inspect
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from estimators import CASES, counts, factors, sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fastnmf.family import MODELS
from fastnmf.solve import threads

every_case = pytest.mark.parametrize("case", CASES, ids=str)


def of_those(fact, cases=CASES):
    """Run a test with the cases of which a fact holds; there are some."""
    found = [case for case in cases if fact(case)]
    assert found
    return pytest.mark.parametrize("case", found, ids=str)


def has(name):
    return lambda case: name in case.make().get_params()


def has_transform(case):
    return hasattr(case.make(), "transform")


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence, and of fewer components than asked for
        yield


@every_case
def test_fit_returns_itself_with_what_it_found(case):
    X = case.draw()
    model = case.make()
    assert model.fit(X, **case.given(X)) is model
    found = factors(model)
    assert found and all(np.isfinite(factor).all() for factor in found.values())
    if case.data != "signed":
        assert all((factor >= 0).all() for factor in found.values())
    assert model.n_features_in_ == X.shape[1] and not hasattr(model, "feature_names_in_")
    history = model.history_
    assert isinstance(history, dict) and "iteration" in history and len(history) > 1
    assert {type(values) for values in history.values()} == {np.ndarray}
    assert len({len(values) for values in history.values()}) == 1
    assert all(np.isfinite(values).all() for values in history.values())
    if case.has_course:
        assert len(history["objective"]) == model.n_iter_ + 1
    if "seconds" in history:
        assert (np.diff(history["seconds"]) >= 0).all()
    if "normalized_loss" in history:
        assert history["normalized_loss"][-1] == model.normalized_loss_
    assert type(model.n_iter_) is int and type(model.reconstruction_err_) is float
    assert np.isfinite(model.reconstruction_err_) and model.reconstruction_err_ >= 0
    assert 0 <= model.normalized_loss_ < 1.5


@every_case
def test_fit_transform_is_fit_and_then_the_weights(case):
    X = case.draw()
    W = case.make().fit_transform(X, **case.given(X))
    model = case.fit(X)
    own = model.S_[-1] if hasattr(model, "S_") and isinstance(model.S_, list) else getattr(model, "W_", None)
    if own is None or not np.array_equal(W, own):  # others than the fit left: solved for as those of new rows are
        own = model.transform(X, **again(case, X))
    np.testing.assert_array_equal(W, own)
    assert W.shape[0] == (X.shape[1] if case.name == "cooccurrence" else len(X))


def again(case, X):
    """Return those arguments of fit that transform takes, too."""
    return {name: value for name, value in case.given(X).items() if name in ("strata", "upper")}


@of_those(has_transform)
def test_transform_gives_finite_weights_row_by_row(case):
    X, new = case.draw(), case.draw(seed=5)
    model = case.fit(X)
    labels = again(case, new)
    W = model.transform(new, **labels)
    assert W.shape[0] == len(new) and np.isfinite(W).all() and (W >= 0).all()
    few = model.transform(new[3:5], **{name: value[3:5] for name, value in labels.items()})
    np.testing.assert_allclose(few, W[3:5], rtol=1e-9, atol=1e-9 * max(W.max(), 1))  # another order of sums, perhaps
    if case.is_sparse:
        np.testing.assert_allclose(model.transform(sparse(new), **labels), W, rtol=1e-6, atol=1e-7 * max(W.max(), 1))
    with pytest.raises(NotFittedError):
        case.make().transform(new, **labels)
    with pytest.raises(ValueError, match="features"):
        model.transform(new[:, :-1], **labels)
    if hasattr(model, "inverse_transform"):
        labels.pop("upper", None)
        shown = model.inverse_transform(W, **labels)
        assert shown.shape == new.shape and np.isfinite(shown).all()
        with pytest.raises(ValueError, match="columns|components|topics"):
            model.inverse_transform(np.hstack([W, W]), **labels)


@every_case
def test_the_seed_decides_to_the_bit_and_nothing_that_was_given_changes(case):
    X = case.draw()
    given = case.given(X)
    kept, others = X.copy(), {name: np.array(value) for name, value in given.items()}
    parameters = {name: np.array(value) for name, value in case.parameters.items()}
    first, second = (case.make().fit(X, **given) for _ in range(2))
    for name, factor in factors(first).items():
        assert factor.tobytes() == factors(second)[name].tobytes(), name
    np.testing.assert_array_equal(X, kept)
    for name, value in others.items():
        np.testing.assert_array_equal(given[name], value)
    for name, value in parameters.items():
        np.testing.assert_array_equal(first.get_params()[name], value)


@every_case
def test_the_threads_change_no_bit(case):
    X = case.draw(n_rows=90, n_columns=40 if case.kind == "DictionaryNMF" else 30)
    more = {"max_iter": 2} if "max_iter" in case.make().get_params() else {}
    more |= {"dictionary": np.eye(6, 40) + 0.1} if case.kind == "DictionaryNMF" else {}
    forms = [X] + [sparse(X)] * case.is_sparse
    if case.kind == "ChebyshevNMF":
        forms = [X[:6, :9]]
    for form in forms:
        many = case.fit(form, **more)
        with threads(1):
            one = case.fit(form, **more)
        for name, factor in factors(one).items():
            assert factor.tobytes() == factors(many)[name].tobytes(), name


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
    X = case.draw()
    want = case.fit(X)
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


@every_case
def test_parameters_are_kept_cloned_and_changed(case):
    model = case.make()
    other = clone(model)
    assert other is not model and other.get_params().keys() == model.get_params().keys()
    for name, value in model.get_params().items():
        np.testing.assert_equal(other.get_params()[name], value)
    assert model.set_params(n_components=case.single) is model and model.n_components == case.single
    with pytest.raises(ValueError, match="Invalid parameter"):
        model.set_params(no_such_parameter=1)
    assert case.kind in repr(model)


def one_sentence(error):
    """Tell whether a message is short, has no line break, and ends as a sentence does."""
    text = str(error)
    return "\n" not in text and 15 < len(text) < 350 and text[0].isalpha() and text[-1] in ".)'"


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


@of_those(lambda case: case.never_rises)
def test_the_objective_never_rises_where_the_catalogue_says_so(case):
    for seed in range(3):
        model = case.fit(case.draw(seed=seed), **({"random_state": seed} if seed else {}))
        objective = model.history_["objective"]
        # Rounding, beside the first value: an objective near zero is a difference of large numbers.
        assert (np.diff(objective) <= 1e-9 * abs(objective[0]) + 1e-12).all()


@of_those(has("max_iter"))
def test_one_iteration_is_enough_for_a_result(case):
    X = case.draw()
    model = case.fit(X, max_iter=1)
    assert model.n_iter_ >= 1
    if case.has_course:
        assert len(model.history_["objective"]) == model.n_iter_ + 1
    assert all(np.isfinite(factor).all() for factor in factors(model).values())


@every_case
def test_progress_goes_to_standard_error_only(case, capsys):
    X = case.draw()
    case.fit(X)
    silent = capsys.readouterr()
    assert silent.out == silent.err == ""
    case.fit(X, verbose=1)
    said = capsys.readouterr()
    assert said.out == "" and case.kind in said.err


@every_case
def test_names_of_features_come_in_and_out(case):
    X = case.draw()
    columns = [f"word{j}" for j in range(X.shape[1])]
    frame = pd.DataFrame(X, columns=columns)
    model = case.make().fit(frame, **case.given(X))
    assert model.feature_names_in_.tolist() == columns
    if hasattr(model, "transform"):
        labels = again(case, X)
        rank = model.transform(X, **labels).shape[1]
        names = model.get_feature_names_out()
        assert names.tolist() == [f"{case.kind.lower()}{l}" for l in range(rank)]
        with pytest.raises(ValueError, match="feature names"):
            model.transform(frame[columns[::-1]], **labels)
        shown = model.set_output(transform="pandas").transform(frame, **labels)
        assert isinstance(shown, pd.DataFrame) and shown.columns.tolist() == names.tolist()


@every_case
def test_the_strongest_features_of_components_are_named(case):
    X = case.draw()
    model = case.make()
    if case.kind == "KernelNMF":  # its components lie in the space of the kernel
        assert not hasattr(model, "top_features")
        return
    with pytest.raises(NotFittedError):
        model.top_features(2)
    words = [f"word{j}" for j in range(X.shape[1])]
    model.fit(X, **case.given(X))
    components = model.W_.T if case.is_symmetric or case.name == "cooccurrence" else model.components_
    components = components[-1] if isinstance(components, list) else components
    found = model.top_features(2, words)
    found = found["components"] if isinstance(found, dict) else found
    assert len(found) == len(components)
    for names, component in zip(found, components, strict=True):
        order = np.argsort(-component, kind="stable")[:2]
        assert names == [words[j] for j in order if component[j] > 0]
    with pytest.raises(ValueError, match=f"3 names for {X.shape[1]} features"):
        model.top_features(2, words[:3])


@every_case
def test_it_can_be_pickled(case):
    X = case.draw()
    model = case.fit(X)
    other = pickle.loads(pickle.dumps(model))
    for name, factor in factors(model).items():
        assert factors(other)[name].tobytes() == factor.tobytes()
    if hasattr(model, "transform"):
        labels = again(case, X)
        assert other.transform(X, **labels).tobytes() == model.transform(X, **labels).tobytes()


@every_case
def test_a_second_fit_forgets_the_first(case):
    X = case.draw()
    model = case.make()
    model.fit(case.draw(seed=4), **case.given(case.draw(seed=4)))
    model.fit(X, **case.given(X))
    for name, factor in factors(case.fit(X)).items():
        assert factors(model)[name].tobytes() == factor.tobytes(), name


@of_those(lambda case: has("init")(case) and {"W", "H"} & set(inspect.signature(case.make().fit).parameters))
def test_a_start_of_ones_own_that_is_not_given_is_asked_for(case):
    X = case.draw()
    with pytest.raises(ValueError, match="custom") as found:
        case.fit(X, init="custom")
    assert one_sentence(found.value), str(found.value)
    asked = re.search(r"pass (.+) to fit", str(found.value))[1].replace(" and ", ", ").split(", ")
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
    X = case.draw()
    want = case.fit(X)
    try:
        model = case.fit(X * scale)
    except ValueError as error:
        assert one_sentence(error), str(error)
        return
    assert all(np.isfinite(factor).all() for factor in factors(model).values())
    assert model.normalized_loss_ == pytest.approx(want.normalized_loss_, rel=5e-2, abs=1e-6)


@of_those(has("random_state"))
def test_any_source_of_randomness_will_do(case):
    X = case.draw()
    for make in (lambda: np.random.default_rng(3), lambda: np.random.RandomState(3), lambda: np.int64(3)):
        first, second = (case.fit(X, random_state=make(), max_iter=2) for _ in range(2))
        for name, factor in factors(first).items():
            assert factor.tobytes() == factors(second)[name].tobytes()
    assert factors(case.fit(X, random_state=None, max_iter=2))


@of_those(has_transform)
def test_new_rows_may_be_few_or_of_another_type(case):
    X = case.draw()
    model = case.fit(X)
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


def test_every_model_is_here_and_every_promise_of_the_catalogue_is_tested():
    assert {case.kind for case in CASES} == {entry.name for entry in MODELS if entry.name[0].isupper()}
    assert len({str(case) for case in CASES}) == len(CASES)
    for entry in MODELS:
        own = [case for case in CASES if case.kind == entry.name]
        assert not entry.never_rises or any(case.never_rises for case in own), entry.name
        assert not own or entry.is_sparse == any(case.is_sparse for case in own) or entry.name == "RobustNMF", (
            entry.name
        )
    firsts = {entry.name: entry for entry in reversed(MODELS)}
    for case in CASES:
        if not case.name:  # the model as it is: what the first row of the table says
            assert bool(case.never_rises) == bool(firsts[case.kind].never_rises), case


def test_the_data_of_these_tests_have_no_empty_row_or_column():
    X = counts()
    assert X.any(axis=0).all() and X.any(axis=1).all() and (X == 0).any()
