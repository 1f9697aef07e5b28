"""L1 and L2 penalties of a factor, and the scale of components at which the penalties of two factors are smallest.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.thresholds import MOST_BITS
from fastnmf.kernels import rows
from fastnmf.kernels.jit import split_rows
from fastnmf.kernels.records import LazyRows

BALANCE_STEPS = 30  # largest number of Newton steps for the scale of a component; it converges in about five
LARGEST = 2.0**100  # weight beside data near 1, at which a penalty has long made its factor zero


class ElasticNet:
    """``unit * (l1 sum(F) + l2 / 2 ||F||²)``: L1 makes entries zero, L2 keeps them small.

    The half-gradient is ``l1 + l2 F``. Cost: O(p K).

    Parameters
    ----------
    l1, l2 : float
        Weights beside ``1/2 ||X - W H||²``, in the inner scale of the data.
    row_scale : ndarray (p,), optional
        Row i of the factor has the weight ``row_scale[i] ** power`` and is held multiplied by ``row_scale[i]``. Its l1
        is therefore multiplied by ``row_scale[i] ** (power - 1)``, its l2 by ``row_scale[i] ** (power - 2)``.
    unit : {1, 2}, default=2
        2 beside the squared error, 1 beside a divergence.
    power : float, default=2
        Beta of the divergence; see `fastnmf.data.strata.Strata.weigh`.
    """

    def __init__(self, l1=0.0, l2=0.0, row_scale=None, unit=2, power=2.0):
        self.l1, self.l2, self.unit, self.power = float(l1), float(l2), unit, power
        self.of_l1, self.of_l2 = _powered(row_scale, power - 1), _powered(row_scale, power - 2)

    @classmethod
    def of_options(cls, data, options, name, **context):
        """Return the elastic net of a factor, or None where its strength is 0.

        It is scaled as in scikit-learn: that of W by the number of columns, those of H and V by the number of rows.
        With weights of entries that scale penalties, row i of W counts by the sum of its weights, column j of H by the
        sum of its weights (Zhou, Wilkinson, Schreiber and Pan 2008), and V by the mean of the sums of all columns.
        Objects of the user with a method ``elastic_net()``, which returns (l1, l2), are added without such a scale.

        Parameters
        ----------
        data : fastnmf.data.strata.Strata
        options : fastnmf.core.options.Options
            Strengths in the scale of the user, and the loss. The squared error is twice the textbook's
            ``1/2 ||X - W H||²``, and so are its penalties.
        name : {"W", "H", "V"}
        **context
            Not used.
        """
        strength, beta = getattr(options, name), options.beta
        nets = [each.elastic_net() for each in strength.objects if hasattr(each, "elastic_net")]
        if strength.alpha == 0 and not nets:
            return None
        unit = 2 if options.is_squared else 1
        size, weights = data.shape[1] if name == "W" else data.total, getattr(data, "entry_weights", None)
        if weights is not None and weights.scales_penalties:
            size = weights.totals(1 if name == "W" else 0)
            size = float(size.mean()) if name == "V" else size
        weight = strength.alpha * size
        # With s = 2 ** log4_scale the loss grows with s ** (2 beta), W and H grow with s, and V grows with s ** 2.
        own = 2 if name == "V" else 1
        l1 = weight * strength.l1_ratio + 2 / unit * sum(net[0] for net in nets)
        l2 = weight * (1 - strength.l1_ratio) + 2 / unit * sum(net[1] for net in nets)
        if data.log4_scale:
            l1, l2 = (_scaled(l, (2 * beta - n * own) * data.log4_scale) for l, n in ((l1, 1), (l2, 2)))
        if np.ndim(weight):
            return cls(1.0, 1.0, None, unit, beta)._of_each_row(l1, l2)
        return cls(l1, l2, data.row_scale if name == "W" else None, unit, beta)

    def _of_each_row(self, l1, l2):
        """Take the weights of each row, (p,) each, and return self."""
        self.l1, self.l2 = float(l1.mean()), float(l2.mean())
        self.of_l1, self.of_l2 = l1 / (self.l1 or 1.0), l2 / (self.l2 or 1.0)
        return self

    def of_rows(self, row_scale):
        """Return the same penalty for a factor whose rows have this row scale, or none."""
        return ElasticNet(self.l1, self.l2, row_scale, self.unit, self.power)

    def each_row(self):
        """Return l1 and l2 of the rows, float64 (1,) each, or (p,) where they differ from row to row."""
        pairs = ((self.l1, self.of_l1), (self.l2, self.of_l2))
        return tuple(np.array([weight]) if of is None else weight * of for weight, of in pairs)

    def columns_of_even_rows(self, row, total):
        """Return `columns` of a factor whose rows are `row` (K,) times their row scale, of this total weight."""
        return self.l1 * total * row, self.l2 * total * row**2

    def contribute(self, F, sub, rank):
        """Add the half-gradient ``l1 + l2 F``."""
        is_even = self.of_l1 is None or self.l1 == 0, self.of_l2 is None or self.l2 == 0
        sub.add(linear=self.l1 if is_even[0] else 0.0, ridge=self.l2 if is_even[1] else 0.0)
        if not is_even[0]:
            each, none, one = np.arange(len(F) + 1), np.zeros(len(F), np.int32), np.ones((1, F.shape[1]), F.dtype)
            sub.add(neg=LazyRows(each, none, (self.l1 * self.of_l1).astype(F.dtype), one))
        if not is_even[1] and sub.is_quadratic:  # with weights of entries each row has its own Gram matrix anyway
            sub.row_ridge = self.l2 * self.of_l2
        elif not is_even[1]:  # holds at this point only, like the parts of the divergence
            sub.add(neg=F * (self.l2 * self.of_l2).astype(F.dtype)[:, None])

    def value(self, F):
        """Return the penalty."""
        F = F.data if sp.issparse(F) else F  # shifts of a start
        linear = F if F.ndim == 2 else F[:, None]
        total = 0.0
        if self.l1:
            total += self.l1 * float(self._sums(linear).sum())
        if self.l2:
            total += self.l2 / 2 * float(self._squares(linear).sum())
        return self.unit * total

    def columns(self, F):
        """Return ``(a, b)``, float64 (K,) each: column c of F, scaled by t, costs ``2 a[c] t + b[c] t²`` for unit 2."""
        return self.l1 * self._sums(F), self.l2 * self._squares(F)

    def _sums(self, F):
        """Return the (weighted) column sums of F (p, K), float64 (K,)."""
        if self.of_l1 is None:
            tasks = split_rows(len(F), F.shape[1])
            parts = np.empty((len(tasks) - 1, F.shape[1]))
            rows.rows_sum(tasks, F, parts)
            return parts.sum(axis=0)
        return self.of_l1 @ F

    def _squares(self, F):
        """Return the (weighted) squared lengths of the columns of F (p, K), float64 (K,)."""
        if self.of_l2 is None:
            return np.einsum("ij,ij->j", F, F, dtype=np.float64)
        return np.einsum("i,ij,ij->j", self.of_l2, F, F, dtype=np.float64)


def _scaled(weight, exponent):
    """Return ``weight * 2 ** exponent``, at most `LARGEST`."""
    scaled = weight * float(np.exp2(min(exponent, MOST_BITS)))
    return np.minimum(scaled, LARGEST) if np.ndim(scaled) else min(scaled, LARGEST)


def _powered(row_scale, power):
    """Return ``row_scale ** power`` as float64, 0 where row_scale is 0; None where every power is 1."""
    if row_scale is None or power == 0:
        return None
    row_scale = row_scale.astype(np.float64)
    return np.power(row_scale, power, out=np.zeros_like(row_scale), where=row_scale > 0)


def balanced(of_W, of_H):
    """Return factors t > 0 for the columns of W, 1 / t for those of H, that minimise the sum of the two penalties.

    The product W Hᵀ does not change, so the objective does not increase. Minimises ``2 a t + b t² + 2 c / t + d / t²``
    for each column (for L1 alone t = sqrt(c / a), for L2 alone (d / b) ** 1/4).

    Parameters
    ----------
    of_W, of_H : tuple of two ndarray (K,)
        ``(a, b)`` and ``(c, d)``, the results of `ElasticNet.columns` for the two factors.

    Returns
    -------
    t : ndarray (K,) of float64
        1 where one of the two columns has no penalty.
    """
    (a, b), (c, d) = of_W, of_H
    t = np.ones(len(a))
    is_used = (a + b > 0) & (c + d > 0)
    a, b, c, d = (side[is_used] for side in (a, b, c, d))
    x = np.log(np.sqrt((c + np.sqrt(d * (b + d)) + d) / (a + np.sqrt(b * (b + d)) + b)))  # a rough initial value
    for _ in range(BALANCE_STEPS):  # convex in x = log t
        e, f = np.exp(x), np.exp(-x)
        slope = 2 * (a * e + b * e * e - c * f - d * f * f)
        curvature = 2 * (a * e + 2 * b * e * e + c * f + 2 * d * f * f)
        x -= np.clip(slope / curvature, -1, 1)
    t[is_used] = np.exp(x)
    return t
