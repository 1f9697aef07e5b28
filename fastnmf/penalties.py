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


class Chain:
    """What the steps from one row of a factor to the next cost, and their size; for the move `ChainDescent`.

    The steps d of every column cost ``weight d²`` each; or, with ``bend > 0``, ``weight (sqrt(d² + bend²) - bend)``,
    which is nearly ``weight |d|``: total variation, which prefers a few large steps to many small ones. Beside that,
    ``2 l1 sum(F) + l2 ||F||²``. For the squared error.

    Without a penalty of the other factor this one vanishes by rescaling; see `balanced`, and `columns`.

    Parameters
    ----------
    weight, l1, l2, bend : float
        In the inner scale of the data.
    """

    def __init__(self, weight, l1=0.0, l2=0.0, bend=0.0):
        self.weight, self.l1, self.l2, self.bend = float(weight), float(l1), float(l2), float(bend)

    def contribute(self, F, sub, rank):
        """Add l1 and l2, and hand over the links of the chain."""
        sub.add(flat=self.l1, lift=self.l2)
        sub.local = self

    def value(self, F):
        """Return the penalty."""
        steps, F = np.diff(F.astype(np.float64), axis=0), F.astype(np.float64)
        of_steps = np.square(steps).sum()
        if self.bend:  # sqrt(d² + e²) - e, without cancellation
            of_steps = (np.square(steps) / (np.sqrt(np.square(steps) + self.bend**2) + self.bend)).sum()
        return float(self.weight * of_steps + 2 * self.l1 * F.sum() + self.l2 * np.square(F).sum())

    def links(self, F):
        """Return the curvatures of the steps: of the penalty, or of parabolas that meet it at F and lie above it."""
        steps = np.diff(F.astype(np.float64), axis=0)
        return self.weight / (2 * np.sqrt(np.square(steps) + self.bend**2)) if self.bend else 0 * steps + self.weight

    def pull(self, F):
        """Return the half-gradient of what the steps cost."""
        flow = self.links(F) * np.diff(F.astype(np.float64), axis=0)
        return np.diff(-flow, axis=0, prepend=0, append=0)

    def columns(self, F):
        """Return ``(a, b)``: a column that is scaled by t costs ``2 a t + b t²`` at most, and for t = 1 no less."""
        steps, F = np.diff(F.astype(np.float64), axis=0), F.astype(np.float64)
        of_steps = (self.links(F) * np.square(steps)).sum(axis=0)
        return self.l1 * F.sum(axis=0), of_steps + self.l2 * np.square(F).sum(axis=0)


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
