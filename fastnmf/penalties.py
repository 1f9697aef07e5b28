"""What one factor prefers: L1 and L2 penalties, and guidance towards given profiles.

The squared error has no factor 1/2 here, so a penalty that textbooks write beside ``1/2 ||X - W H||²`` enters the
objective twice; beside a divergence it enters once.
"""

import numpy as np

from fastnmf.kernels import rows
from fastnmf.kernels.jit import split_rows
from fastnmf.problem import Mixture

BALANCE_STEPS = 30  # of Newton's method for the scale of a component; it converges in a handful


class ElasticNet:
    """``unit * (l1 sum(F) + l2 / 2 ||F||²)``: L1 makes entries zero, L2 keeps them small.

    Parameters
    ----------
    l1, l2 : float
        Weights beside ``1/2 ||X - W H||²``, in the inner scale of the data.
    loading : ndarray (p,), optional
        Row i of the factor counts ``loading[i] ** power`` times and is held multiplied by ``loading[i]``, so that its
        l1 counts ``loading[i] ** (power - 1)`` times, its l2 ``loading[i] ** (power - 2)`` times.
    unit : {1, 2}, default=2
        2 beside the squared error, 1 beside a divergence.
    power : float, default=2
        Beta of the divergence, see `fastnmf.data.Strata.weigh`.
    """

    def __init__(self, l1=0.0, l2=0.0, loading=None, unit=2, power=2.0):
        self.l1, self.l2, self.unit = float(l1), float(l2), unit
        self.of_l1, self.of_l2 = _powered(loading, power - 1), _powered(loading, power - 2)

    def contribute(self, F, sub, rank):
        """Add the half-gradient ``l1 + l2 F``."""
        is_even = self.of_l1 is None or self.l1 == 0, self.of_l2 is None or self.l2 == 0
        sub.add(flat=self.l1 if is_even[0] else 0.0, lift=self.l2 if is_even[1] else 0.0)
        if not is_even[0]:
            each, none, one = np.arange(len(F) + 1), np.zeros(len(F), np.int32), np.ones((1, F.shape[1]), F.dtype)
            sub.add(neg=Mixture(each, none, (self.l1 * self.of_l1).astype(F.dtype), one))
        if not is_even[1]:  # holds at this point alone, as do the parts of the divergence
            sub.add(neg=F * (self.l2 * self.of_l2).astype(F.dtype)[:, None])

    def value(self, F):
        """Return the penalty."""
        flat = F if F.ndim == 2 else F[:, None]
        total = 0.0
        if self.l1:
            total += self.l1 * float(self._sums(flat).sum())
        if self.l2:
            total += self.l2 / 2 * float(self._squares(flat).sum())
        return self.unit * total

    def columns(self, F):
        """Return what a column contributes as ``(a, b)``: scaled by t it costs ``2 a t + b t²``."""
        return self.l1 * self._sums(F), self.l2 * self._squares(F)

    def _sums(self, F):
        if self.of_l1 is None:
            tasks = split_rows(len(F), F.shape[1])
            parts = np.empty((len(tasks) - 1, F.shape[1]))
            rows.rows_sum(tasks, F, parts)
            return parts.sum(axis=0)
        return self.of_l1 @ F

    def _squares(self, F):
        if self.of_l2 is None:
            return np.einsum("ij,ij->j", F, F, dtype=np.float64)
        return np.einsum("i,ij,ij->j", self.of_l2, F, F, dtype=np.float64)


def _powered(loading, power):
    """Return ``loading ** power`` as float64, 0 where loading is, or None where all of it is 1."""
    if loading is None or power == 0:
        return None
    loading = loading.astype(np.float64)
    return np.power(loading, power, out=np.zeros_like(loading), where=loading > 0)


class Guide:
    """``unit / 2 weight[c] ||F[:, c] - target[:, c]||²``: pull some columns of a factor towards given profiles.

    Parameters
    ----------
    target : ndarray (p, K)
        Non-negative, in the inner scale; columns that are not guided are zero.
    weight : ndarray (K,)
        Non-negative, zero where a column is not guided.
    unit : {1, 2}, default=2
        2 beside the squared error, 1 beside a divergence.
    """

    def __init__(self, target, weight, unit=2):
        self.unit, self.weight = unit, np.asarray(weight, dtype=np.float64)
        self.target = target
        self.pull = (target * self.weight.astype(target.dtype)).astype(target.dtype)

    def contribute(self, F, sub, rank):
        """Add ``weight F - weight target``."""
        sub.add(pos=self.pull, lift=self.weight)

    def value(self, F):
        """Return the penalty."""
        guided = np.flatnonzero(self.weight)
        off = (F[:, guided] - self.target[:, guided]).astype(np.float64)
        return self.unit / 2 * float(np.einsum("ij,ij,j->", off, off, self.weight[guided]))


class Smooth:
    """``unit / 2 (weight sum_j ||F[j] - F[j + 1]||² + l2 ||F||²)``: neighbouring rows of a factor are alike.

    That is ``weight tr(Fᵀ L F)`` with the Laplacian L of a chain. As L <= 4 I, it lies below a quadratic that meets it
    at the present F0 and has the half-gradient ``weight (4 F - (4 F0 - L F0))``: pos, and the diagonal of a Gram
    matrix, for coordinate descent and for ratios alike; neither raises the objective then. O(p K).

    Without a penalty of the other factor this one vanishes by rescaling; see `balanced`, and `columns`.

    Parameters
    ----------
    weight, l2 : float
        In the inner scale of the data.
    unit : {1, 2}, default=2
        2 beside the squared error, 1 beside a divergence.
    """

    def __init__(self, weight, l2=0.0, unit=2):
        self.weight, self.l2, self.unit = float(weight), float(l2), unit

    def contribute(self, F, sub, rank):
        """Add ``4 weight F + l2 F - weight (4 F0 - L F0)``."""
        pull = (
            2 * F
        )  # 4 F0 - L F0: two of each row, and one of each neighbour; at the ends itself stands for the lacking
        pull[1:] += F[:-1]
        pull[:-1] += F[1:]
        pull[0] += F[0]
        pull[-1] += F[-1]
        sub.add(pos=pull * F.dtype.type(self.weight), lift=4 * self.weight + self.l2)

    def value(self, F):
        """Return the penalty."""
        return self.unit / 2 * float(self.columns(F)[1].sum())

    def columns(self, F):
        """Return what a column contributes as ``(a, b)``: scaled by t it costs ``2 a t + b t²``."""
        steps = np.diff(F.astype(np.float64), axis=0)
        square = self.weight * np.einsum("ij,ij->j", steps, steps)
        return np.zeros(F.shape[1]), square + self.l2 * np.einsum("ij,ij->j", F, F, dtype=np.float64)


def balanced(of_W, of_H):
    """Return the factors t > 0 by which the columns of W grow, and those of H shrink, so that both cost least together.

    The product W H does not change, so the objective never rises. Minimises ``2 a t + b t² + 2 c / t + d / t²`` for
    each column (for L1 alone t = sqrt(c / a), for L2 alone (d / b) ** 1/4).

    Parameters
    ----------
    of_W, of_H : tuple of two ndarray (K,)
        What `ElasticNet.columns` returned for the two factors.
    """
    (a, b), (c, d) = of_W, of_H
    t = np.ones(len(a))
    is_used = (a + b > 0) & (c + d > 0)
    a, b, c, d = (side[is_used] for side in (a, b, c, d))
    x = np.log(np.sqrt((c + np.sqrt(d * (b + d)) + d) / (a + np.sqrt(b * (b + d)) + b)))  # a start of the right size
    for _ in range(BALANCE_STEPS):  # convex in x = log t
        e, f = np.exp(x), np.exp(-x)
        slope = 2 * (a * e + b * e * e - c * f - d * f * f)
        curvature = 2 * (a * e + 2 * b * e * e + c * f + 2 * d * f * f)
        x -= np.clip(slope / curvature, -1, 1)
    t[is_used] = np.exp(x)
    return t
