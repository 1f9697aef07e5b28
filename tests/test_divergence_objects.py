"""A loss is an object: a name, a number, and an instance of a class of one's own are the same to every model."""

import estimators
import numpy as np
import pytest
import scipy.sparse as sp

from fastnmf import NMF, ConvolutiveNMF, StratifiedNMF
from fastnmf.core.losses.choice import DIVERGENCES, Beta, Divergence, as_divergence

KL = "kullback-leibler"


class Doubled(Divergence):
    """Twice the Kullback-Leibler divergence, written as a user would: the parts of another loss, changed."""

    def build(self, data, width, tasks, *, has_shifts=False, exponent="mm"):
        loss, scale = DIVERGENCES[KL].build(data, width, tasks, has_shifts=has_shifts, exponent=exponent)
        return DoubledLoss(loss), 2 * scale


class DoubledLoss:
    def __init__(self, loss):
        self.loss = loss

    def contribute(self, name, factors, sub):
        one = type(sub)(sub.tasks)
        self.loss.contribute(name, factors, one)
        sub.add(pos=one.pos, neg=one.neg)
        sub.add(pos=one.pos, neg=one.neg)
        sub.is_quadratic, sub.tasks = False, one.tasks
        if one.weight is not None:  # of the shifts, whose entries are separable
            sub.weight, sub.group = 2 * one.weight, one.group

    def value(self, factors, **instead):
        return 2 * self.loss.value(factors, **instead)


def fits(kind, loss, X, more=None, **given):
    return kind(3, solver="mu", beta_loss=loss, random_state=0, max_iter=15, tol=0, **more or {}).fit(X, **given)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("kind", [NMF, StratifiedNMF])
def test_an_object_takes_the_place_of_a_name(kind, form):
    X = form(estimators.counts(30, 12))
    given = {"strata": np.arange(30) % 3} if kind is StratifiedNMF else {}
    named, same, numbered = (fits(kind, loss, X, **given) for loss in (KL, Beta(1), 1))
    for model in (same, numbered):
        np.testing.assert_array_equal(model.components_, named.components_)
        np.testing.assert_array_equal(model.transform(X, **given), named.transform(X, **given))
        assert model.score(X, **given) == named.score(X, **given)


@pytest.mark.parametrize("kind", [NMF, StratifiedNMF])
def test_a_divergence_of_ones_own(kind):
    X = estimators.counts(30, 12)
    given = {"strata": np.arange(30) % 3} if kind is StratifiedNMF else {}
    alike = {"init": "features", "extrapolate": False}  # for the divergence by name there is more
    named, own = (fits(kind, loss, X, **given, more=alike) for loss in (KL, Doubled()))
    np.testing.assert_allclose(own.components_, named.components_, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(own.history_["objective"], 2 * named.history_["objective"], rtol=1e-9)
    np.testing.assert_allclose(own.history_["normalized_loss"], named.history_["normalized_loss"], rtol=1e-9)
    exact = named.transform(X, **given)  # by Newton steps; those of one's own are updated until they have settled
    np.testing.assert_allclose(
        own.set_params(max_iter=2000).transform(X, **given), exact, rtol=0, atol=1e-4 * exact.max()
    )
    assert own.score(X, **given) == pytest.approx(named.score(X, **given))


def test_other_models_take_objects_too():
    X = estimators.counts(30, 12)
    for loss in ("frobenius", KL):
        named, own = (ConvolutiveNMF(2, n_lags=2, beta_loss=given, random_state=0, max_iter=5, tol=0).fit(X)
                      for given in (loss, as_divergence(loss)))  # fmt: skip
        np.testing.assert_array_equal(own.components_, named.components_)


def test_what_is_no_loss_is_refused_in_one_sentence():
    for loss in ("kl", None, [1], Doubled):
        with pytest.raises(ValueError, match="beta_loss=.* is not known; expected one of 'frobenius'"):
            NMF(2, beta_loss=loss, solver="mu").fit(np.eye(3))
    with pytest.raises(ValueError, match="is for the squared error.*use solver='mu'"):
        NMF(2, beta_loss=Doubled()).fit(np.eye(3))
