"""Losses, penalties and updates as a user would write them, for the tests of `fastnmf.compose`."""

import numpy as np

from fastnmf.compose import EntrywiseLoss


class Separation:
    """weight sum over k != l of <f_k, f_l>."""

    def __init__(self, weight):
        self.weight = weight

    def value(self, F):
        total = F.sum(axis=0)
        return self.weight * (total @ total - (F * F).sum())

    def half_gradient(self, F):
        return self.weight * (F.sum(axis=0) - F)


class Concave:
    """Sum of square roots: its tangent lies above it."""

    def value(self, F):
        return 3 * np.sqrt(F + 0.01).sum()

    def half_gradient(self, F):
        return 0.75 / np.sqrt(F + 0.01)


class Steep:
    """Sum of sixth powers: its curvature grows without bound."""

    degree = 6

    def value(self, F):
        return (F**6).sum()

    def half_gradient(self, F):
        return 3 * F**5


class Smooth:
    """Squared differences of neighbouring features: couples the columns of F."""

    def value(self, F):
        return 5 * (np.diff(F, axis=1) ** 2).sum()

    def half_gradient(self, F):
        return 5 * np.diff(-np.diff(F, axis=1), axis=1, prepend=0, append=0)


class ScaleFree:
    """Sum of the squared cosines of the components: no scale of F changes it."""

    def value(self, F):
        U = F / np.linalg.norm(F, axis=1, keepdims=True)
        return ((U @ U.T) ** 2).sum()

    def half_gradient(self, F):
        length = np.linalg.norm(F, axis=1, keepdims=True)
        U = F / length
        G = 2 * (U @ U.T) @ U
        return (G - (G * U).sum(axis=1, keepdims=True) * U) / length


class JensenShannon(EntrywiseLoss):
    degree, zero_slope = 1.0, np.log(2) / 2

    def value(self, x, y):
        half = (x + y) / 2
        return (np.where(x > 0, x * np.log(np.where(x > 0, x, 1) / half), 0.0) + y * np.log(y / half)) / 2

    def pos(self, x, y):
        return np.log1p(x / y) / 2

    def neg(self, x, y):
        return np.full_like(y, np.log(2) / 2)


class OverAll(JensenShannon):
    """The same without the short cut for zeros."""

    zero_slope = None


class KullbackLeibler(EntrywiseLoss):
    degree, zero_slope = 1.0, 1.0

    def value(self, x, y):
        return np.where(x > 0, x * np.log(np.where(x > 0, x, 1) / y), 0.0) - x + y

    def pos(self, x, y):
        return x / y

    def neg(self, x, y):
        return np.ones_like(y)


class Huber(EntrywiseLoss):
    """No homogeneous function: its bend is in the units of the data."""

    degree = 0.0

    def value(self, x, y):
        r = np.abs(x - y)
        return np.where(r < 0.5, r * r / 2, (r - 0.25) / 2)

    def _weight(self, x, y):
        return np.minimum(1, 0.5 / np.maximum(np.abs(x - y), 1e-300))

    def pos(self, x, y):
        return x * self._weight(x, y)

    def neg(self, x, y):
        return y * self._weight(x, y)


class Overshooting(KullbackLeibler):
    """The same loss with parts whose ratio is too far from 1: full steps raise the objective."""

    def pos(self, x, y):
        return np.maximum(x / y - 1, 0) + 0.05

    def neg(self, x, y):
        return np.maximum(1 - x / y, 0) + 0.05

    zero_slope = None


class ProjectedGradient:
    def step(self, F, view):
        return np.maximum(F - view.half_gradient(F) / np.linalg.norm(view.gram, 2), 0)


class Ratio:
    takes_divergences = True

    def step(self, F, view):
        above = view.neg if view.gram is None else view.gram @ F + view.neg
        return F * np.divide(view.pos, above, out=np.zeros_like(F), where=above > 0)
