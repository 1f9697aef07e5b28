"""What every public estimator promises, whatever its model. The registry is `estimators.py`.

The mathematics of each has its own tests; `test_contract.py` asks more of the plain and the stratified model, and
`test_estimators_input.py` gives all of them data, types and parameters of every kind.
"""

import pickle

import numpy as np
import pandas as pd
import pytest
from estimators import CASES, KINDS, again, counts, every_case, factors, has, has_transform, of_those, sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fastnmf.models.catalogue import MODELS

pytestmark = pytest.mark.filterwarnings("ignore")  # of convergence, and of fewer components than asked for


@every_case
def test_fit_returns_itself_with_what_it_found(case):
    X = case.draw()
    model = case.make()
    assert model.fit(X, **case.given(X)) is model
    found = factors(model)
    assert found and all(np.isfinite(factor).all() for factor in found.values())
    if case.data != "signed":
        may_be_signed = {"coef_"} | ({"mixtures_"} if case.parameters.get("signed") else set())  # the former: classes
        assert all((factor >= 0).all() for name, factor in found.items() if name not in may_be_signed)
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
    if "normalized_loss" in history and case.kind != "HierarchicalNMF":  # whose history has the loss of all levels
        assert history["normalized_loss"][-1] == model.normalized_loss_
    assert type(model.n_iter_) is int and type(model.reconstruction_err_) is float
    assert np.isfinite(model.reconstruction_err_) and model.reconstruction_err_ >= 0
    assert 0 <= model.normalized_loss_ < 1.5


@every_case
def test_fit_transform_is_fit_and_then_the_weights(case):
    X = case.draw()
    W = case.make().fit_transform(X, **case.given(X))
    model = case.fitted
    own = model.S_[-1] if hasattr(model, "S_") and isinstance(model.S_, list) else getattr(model, "W_", None)
    if own is None or not np.array_equal(W, own):  # others than the fit left: solved for as those of new rows are
        own = model.transform(X, **again(case, X))
    np.testing.assert_array_equal(W, own)
    assert W.shape[0] == (X.shape[1] if case.name == "cooccurrence" else len(X))


@of_those(has_transform)
def test_transform_gives_finite_weights_row_by_row(case):
    new, model = case.draw(seed=5), case.fitted
    labels = again(case, new)
    W = model.transform(new, **labels)
    assert W.shape[0] == len(new) and np.isfinite(W).all() and (W >= 0).all()
    few = model.transform(new[3:5], **{name: value[3:5] for name, value in labels.items()})
    if case.is_row_by_row:
        np.testing.assert_allclose(
            few, W[3:5], rtol=1e-9, atol=1e-9 * max(W.max(), 1)
        )  # another order of sums, perhaps
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
    first = case.make().fit(X, **given)
    for name, factor in factors(first).items():
        assert factor.tobytes() == factors(case.fitted)[name].tobytes(), name
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
    for form in forms:
        one, many = (case.fit(form, n_threads=n_threads, **more) for n_threads in (1, 2))
        for name, factor in factors(one).items():
            assert factor.tobytes() == factors(many)[name].tobytes(), name
        for name in getattr(one, "history_", {}).keys() - {"seconds"}:
            assert one.history_[name].tobytes() == many.history_[name].tobytes(), name


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


@of_those(lambda case: case.monotone)
def test_the_objective_never_rises_where_the_catalogue_says_so(case):
    for seed in range(3):
        model = case.fit(case.draw(seed=seed), random_state=seed) if seed else case.fitted
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
    if not case.has_top_features:
        assert not hasattr(model, "top_features")
        return
    with pytest.raises(NotFittedError):
        model.top_features(2)
    words = [f"word{j}" for j in range(X.shape[1])]
    model = case.fitted
    components = model.W_.T if case.is_symmetric or case.name == "cooccurrence" else model.components_
    components = components[-1] if isinstance(components, list) else components
    components = components.sum(axis=0) if components.ndim == 3 else components  # over lags
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
    X, model = case.draw(), case.fitted
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
    for name, factor in factors(case.fitted).items():
        assert factors(model)[name].tobytes() == factor.tobytes(), name


@of_those(has("random_state"))
def test_any_source_of_randomness_will_do(case):
    X = case.draw()
    for make in (lambda: np.random.default_rng(3), lambda: np.random.RandomState(3), lambda: np.int64(3)):
        first, second = (case.fit(X, random_state=make(), max_iter=2) for _ in range(2))
        for name, factor in factors(first).items():
            assert factor.tobytes() == factors(second)[name].tobytes()
    assert factors(case.fit(X, random_state=None, max_iter=2))


def test_every_model_is_here_and_every_promise_of_the_catalogue_is_tested():
    assert {case.kind for case in CASES} == set(KINDS) and len(KINDS) > 25
    assert len({str(case) for case in CASES}) == len(CASES)
    for entry in MODELS:
        own = [case for case in CASES if case.kind == entry.name]
        assert not entry.monotone or any(case.monotone for case in own), entry.name
        assert not own or entry.is_sparse == any(case.is_sparse for case in own) or entry.name == "RobustNMF", (
            entry.name
        )
    firsts = {entry.name: entry for entry in reversed(MODELS)}
    for case in CASES:
        if not case.name:  # the model as it is: what the first row of the table says
            assert bool(case.monotone) == bool(firsts[case.kind].monotone), case


def test_the_data_of_these_tests_have_no_empty_row_or_column():
    X = counts()
    assert X.any(axis=0).all() and X.any(axis=1).all() and (X == 0).any()
