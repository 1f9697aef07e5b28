"""Fitted state is replaced whole or not at all, and readers check the arrays that they are about to use."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from estimators import CASES, again, every_case, has_transform, of_those, one_sentence
from interrupts import state
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import fastnmf
from fastnmf import NMF, HierarchicalNMF, MetaNMF, MiniBatchNMF, StratifiedNMF

X = np.random.default_rng(0).random((30, 12))
WIDE = np.random.default_rng(1).random((30, 40))
STRATA = np.arange(30) % 3
READERS = ("transform", "score", "reconstruction_errors", "predict", "predict_stratum", "predict_proba", "explain")


@every_case
def test_a_refused_refit_leaves_the_model_as_it_was(case):
    data = case.draw()
    model = case.fit(data)
    before = state(model)
    broken = case.draw(n_columns=11, seed=1) if not case.is_symmetric else data.copy()
    broken[0, 0] = np.nan
    with pytest.raises((ValueError, TypeError)):
        model.fit(broken, **case.given(case.draw(n_columns=broken.shape[1])))
    assert state(model) == before
    if hasattr(model, "transform"):
        model.transform(data, **again(case, data))
        with pytest.raises((ValueError, TypeError)):
            model.transform(case.draw(n_columns=11, seed=1))


def test_a_failing_callback_and_an_error_made_of_a_warning_leave_the_model_as_it_was():
    def fail(found):
        if found.iteration == 2:
            raise OSError("disk full")

    model = StratifiedNMF(3, random_state=0, max_iter=3).fit(X, strata=STRATA)
    before = state(model)
    with pytest.raises(OSError, match="disk full"):
        model.set_params(callback=fail).fit(WIDE)
    assert state(model) == before
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        with pytest.raises(ConvergenceWarning):
            model.set_params(callback=None, tol=1e-9).fit(WIDE)
    assert state(model) == before


def test_nothing_of_the_model_before_is_left():
    model = MiniBatchNMF(3, random_state=0, max_iter=2).fit(X)
    assert hasattr(model, "W_") and hasattr(model, "converged_")
    model.fit_blocks([X, X])
    assert not any(hasattr(model, name) for name in ("W_", "converged_", "run_objectives_"))
    model = NMF(3, random_state=0, max_iter=2).partial_fit(X).partial_fit(X)
    assert model.n_steps_ == 2
    assert not hasattr(model.fit(X), "n_steps_") and not hasattr(model, "_statistics")


def test_what_a_callback_sets_on_the_estimator_stays_and_parameters_too():
    def note(found):
        model.seen = found.iteration
        return found.iteration == 2

    model = NMF(3, random_state=0, callback=note, verbose=0)
    assert model.fit(X) is model and model.seen == 2 and model.n_iter_ == 2
    assert model.fit_transform(X) is model.W_
    model.set_output(transform="default").fit(WIDE)
    assert model._sklearn_output_config == {"transform": "default"}


def test_a_subclass_of_a_user_is_fitted_at_once_too():
    class Own(NMF):
        def fit(self, X, y=None):
            super().fit(X)
            self.extra_ = self.components_.sum()
            raise_if(self.extra_ > 1e6)
            return self

    def raise_if(is_wrong):
        if is_wrong:
            raise RuntimeError("too large")

    model = Own(2, random_state=0, max_iter=2).fit(X)
    before = state(model)
    with pytest.raises(RuntimeError):
        model.fit(WIDE * 1e20)
    assert state(model) == before


def test_a_refused_batch_leaves_the_statistics_as_they_were():
    model = fastnmf.MiniBatchStratifiedNMF(3, random_state=0).partial_fit(X, strata=STRATA)
    before = state(model)
    with pytest.raises(ValueError):
        model.partial_fit(-X, strata=STRATA)
    with pytest.raises(ValueError):
        model.partial_fit(X, strata=STRATA[:-1])
    assert state(model) == before


def edited(model, **arrays):
    for name, value in arrays.items():
        setattr(model, name, value)
    return model


def readers(model, X, strata=None):
    """Yield every method that reads a model with data, as a call."""
    more = {} if strata is None else {"strata": strata}
    for name in READERS:
        if hasattr(model, name):
            yield name, lambda name=name: getattr(model, name)(X, **({} if name == "predict_stratum" else more))


EDITS = {
    "too few": lambda H: H[:-1],
    "too many": lambda H: np.concatenate([H, H]),
    "too narrow": lambda H: H[:, :-1],
    "too wide": lambda H: np.concatenate([H, H], axis=1),
    "a list": lambda H: H.tolist(),
    "sparse": sp.csr_array,
    "text": lambda H: H.astype(str),
    "NaN": lambda H: np.full_like(H, np.nan),
    "flat": lambda H: H.ravel(),
    "negative": np.negative,
}


@pytest.mark.parametrize("what", EDITS)
def test_edited_components_are_checked_by_every_reader(what):
    edit = EDITS[what]
    for model, strata in ((NMF(3, random_state=0, max_iter=3), None), (StratifiedNMF(3, random_state=0), STRATA)):
        model.fit(X, **({} if strata is None else {"strata": strata}))
        edited(model, components_=edit(model.components_))
        for name, call in readers(model, X, strata):
            with pytest.raises(ValueError) as caught:
                call()
            assert one_sentence(caught.value), (name, caught.value)


@pytest.mark.parametrize("what", ["too few", "too many", "too narrow", "too wide", "NaN", "a list"])
def test_edited_shifts_are_checked_by_every_reader(what):
    model = StratifiedNMF(3, random_state=0, max_iter=3).fit(X, strata=STRATA)
    edited(model, shifts_=EDITS[what](model.shifts_))
    for name, call in readers(model, X, STRATA):
        with pytest.raises(ValueError) as caught:
            call()
        assert one_sentence(caught.value), (name, caught.value)
    if what != "NaN":
        with pytest.raises(ValueError):
            model.inverse_transform(model.W_, strata=STRATA)


@of_those(has_transform, CASES)
def test_components_by_hand_serve_or_the_model_is_not_fitted(case):
    data = case.draw()
    model = case.fit(data)
    by_hand = edited(case.make(), **({"components_": model.components_} if hasattr(model, "components_") else {}))
    try:
        found = by_hand.transform(data, **again(case, data))
    except NotFittedError as error:
        assert one_sentence(error)
    else:
        wanted = model.transform(data, **again(case, data))
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)
    for name, call in readers(by_hand, data):
        if name != "explain":
            try:
                call()
            except ValueError as error:
                assert one_sentence(error), (name, error)


def test_components_by_hand_serve_all_readers():
    fitted = NMF(3, random_state=0, max_iter=20).fit(X)
    model = edited(NMF(3), components_=fitted.components_)
    assert np.array_equal(model.transform(X), fitted.transform(X))
    assert model.score(X) == fitted.score(X)
    assert np.array_equal(model.reconstruction_errors(X), fitted.reconstruction_errors(X))
    assert model.top_features(2) == fitted.top_features(2)
    assert np.array_equal(model.inverse_transform(fitted.W_), fitted.inverse_transform(fitted.W_))
    with pytest.raises(NotFittedError, match="W_"):
        model.top_samples()
    with pytest.raises(ValueError, match="12 features"):
        model.transform(WIDE)


def test_a_stratified_model_by_hand_needs_its_strata():
    fitted = StratifiedNMF(3, random_state=0, max_iter=5).fit(X, strata=STRATA)
    parts = {name: getattr(fitted, name) for name in ("components_", "shifts_", "strata_")}
    model = edited(StratifiedNMF(3), **parts)
    assert np.array_equal(model.transform(X, strata=STRATA), fitted.transform(X, strata=STRATA))
    assert np.array_equal(model.predict_stratum(X), fitted.predict_stratum(X))
    assert model.set_params(unknown_strata="mean").transform(X[:4], strata=[7] * 4).shape == (4, 3)
    for name in ("shifts_", "strata_"):
        partial = edited(StratifiedNMF(3), **{key: value for key, value in parts.items() if key != name})
        with pytest.raises(NotFittedError, match=name):
            partial.transform(X, strata=STRATA)


def test_edited_topics_of_a_hierarchy_are_not_passed_over():
    model = HierarchicalNMF((4, 2), random_state=0, max_iter=20).fit(X)
    model.components_[0] = model.components_[0][:3]
    with pytest.raises(ValueError, match="fit again"):
        model.transform(X)


def test_edited_components_of_a_meta_model_are_checked():
    model = MetaNMF(NMF(3, solver="mu"), n_tasks=2, task_size=10, n_outer=1, n_inner=2, random_state=0).fit(X)
    model.components_ = model.components_[:, :-1]
    with pytest.raises(ValueError, match="features"):
        model.transform(X)
