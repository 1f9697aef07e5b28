"""The checks of `fastnmf.testing` accept what is right, and say what is wrong."""

import numpy as np
import pytest
from own import (
    Concave,
    Huber,
    JensenShannon,
    KullbackLeibler,
    OverAll,
    ProjectedGradient,
    Ratio,
    Separation,
    Smooth,
    Steep,
)

from fastnmf.compose import EntrywiseLoss
from fastnmf.testing import check_loss, check_penalty, check_update


class ItakuraSaito(EntrywiseLoss):
    degree = 0.0

    def value(self, x, y):
        return x / y - np.log(x / y) - 1

    def pos(self, x, y):
        return x / y**2

    def neg(self, x, y):
        return 1 / y


@pytest.mark.parametrize("penalty", [Separation(0.5), Separation(50.0), Concave(), Steep(), Smooth()])
def test_right_penalties(penalty):
    check_penalty(penalty)


def test_degrees():
    check_penalty(Separation(0.5), degree=2)
    with pytest.raises(AssertionError, match="Separation.value is not homogeneous of degree 1: 0.5 times the argument"):
        check_penalty(Separation(0.5), degree=1)


class Doubled(Separation):
    def half_gradient(self, F):
        return 2 * super().half_gradient(F)


class Flat(Separation):
    def half_gradient(self, F):
        return super().half_gradient(F).ravel()


class Pole(Separation):
    def value(self, F):
        return (1 / F).sum()

    def half_gradient(self, F):
        return -0.5 / F**2


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (Doubled(1.0), "Doubled.half_gradient is not half the gradient of Doubled.value"),
        (Flat(1.0), r"Flat.half_gradient returned the shape \(120,\) for an argument of shape \(4, 30\)"),
        (Pole(1.0), "Pole.half_gradient at an F with zeros is not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_wrong_penalties(penalty, message):
    with pytest.raises(AssertionError, match=message):
        check_penalty(penalty)


@pytest.mark.parametrize("loss", [JensenShannon(), OverAll(), KullbackLeibler(), Huber()])
def test_right_losses(loss):
    check_loss(loss)


def test_a_loss_for_positive_data():
    check_loss(ItakuraSaito(), positive_data=True)


def changed(**attributes):
    return type("Changed", (JensenShannon,), attributes)()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (changed(degree=2.0), "Changed.value is not homogeneous of degree 2"),
        (changed(zero_slope=1.0), r"Changed.value\(0, y\) is not zero_slope y with zero_slope = 1.0"),
        (changed(pos=lambda self, x, y: 0.4 * np.log1p(x / y)), "neg - Changed.pos is not the derivative"),
        (changed(neg=lambda self, x, y: -y), "Changed.neg is negative"),
        (changed(value=lambda self, x, y: 0.0), r"Changed.value returned the shape \(\)"),
        (changed(value=lambda self, x, y: x / 0.0), "Changed.value is not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_wrong_losses(loss, message):
    with pytest.raises(AssertionError, match=message):
        check_loss(loss)


def test_a_loss_whose_best_model_is_not_the_data():
    class Off(EntrywiseLoss):
        degree = 2.0

        def value(self, x, y):
            return (x - 2 * y) ** 2

        def pos(self, x, y):
            return 4 * x

        def neg(self, x, y):
            return 8 * y

    with pytest.raises(AssertionError, match="Off.value is lower at some y than at y = x"):
        check_loss(Off())


def test_what_is_no_loss():
    with pytest.raises(TypeError, match="'kl' is not a loss; expected an object of a subclass"):
        check_loss("kl")


def test_right_updates():
    check_update(ProjectedGradient())
    check_update(Ratio())
    check_update(Ratio(), loss="kullback-leibler")


class Long:
    def step(self, F, view):
        return np.maximum(F - 5 * view.half_gradient(F) / np.linalg.norm(view.gram, 2), 0)


class Signed:
    def step(self, F, view):
        return F - view.half_gradient(F) / np.linalg.norm(view.gram, 2)


class Turned:
    def step(self, F, view):
        return F.T


class TooLongForDivergences(Ratio):
    def step(self, F, view):
        return F * (view.pos / view.neg) ** 4


@pytest.mark.parametrize(
    ("update", "loss", "message"),
    [
        (Long(), "frobenius", "Long"),
        (Signed(), "frobenius", "Signed.step returned a negative entry"),
        (Turned(), "frobenius", r"Turned.step returned the shape \(30, 4\) for an argument of shape \(4, 30\)"),
        (TooLongForDivergences(), "kullback-leibler", "raised the objective in iteration"),
    ],
)
def test_wrong_updates(update, loss, message):
    with pytest.raises(AssertionError, match=message):
        check_update(update, loss=loss)
