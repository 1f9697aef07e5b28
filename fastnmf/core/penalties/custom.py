"""Penalties that a user writes: objects with a value and a half-gradient, for any update.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import aligned
from fastnmf.core.options import check_number
from fastnmf.core.thresholds import LEAST_CURVATURE, MOST_BITS, PENALTY_ROUNDING
from fastnmf.data.sentences import shown
from fastnmf.typing import Floats


class ElasticNetPenalty:
    """``2 l1 sum(F) + l2 ||F||²``: L1 makes entries zero, L2 keeps them small.

    An object for `penalties`, in the units of the user and without the factors n_samples and n_features by which
    `alpha_W` and `alpha_H` are multiplied. Its half-gradient is ``l1 + l2 F``; updates take it exactly.

    Parameters
    ----------
    l1, l2 : float, default=0.0
        Weights, >= 0.
    """

    l1: float
    l2: float

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        check_number("l1", l1)
        check_number("l2", l2)
        self.l1, self.l2 = float(l1), float(l2)

    def __repr__(self):
        return f"ElasticNetPenalty(l1={self.l1!r}, l2={self.l2!r})"

    def elastic_net(self) -> tuple[float, float]:
        """Return (l1, l2), by which the core recognises what needs no majorisation."""
        return self.l1, self.l2

    def plain(self) -> list[float]:
        """Return the arguments of the constructor, for a file."""
        return [self.l1, self.l2]

    def value(self, F: Floats) -> float:
        """Return the penalty of F (k, p)."""
        return 2 * self.l1 * float(F.sum()) + self.l2 * float(np.einsum("ij,ij->", F, F))

    def half_gradient(self, F: Floats) -> Floats:
        """Return half the gradient at F, an array of its shape."""
        return self.l1 + self.l2 * F


class CustomPenalty:
    """``sum_o o.value(F)`` over the objects o that a user gives for one factor, F (k, p) in the user's units.

    The objects say nothing about their curvature. An update of `fastnmf.core.updates.Majorised` therefore replaces them
    by their tangent at the present point F0 plus ``c ||F - F0||²``, and increases c until that lies above them at the
    new point. The half-gradient is the sum of ``o.half_gradient(F)``. Cost: that of the objects, and O(p K).

    Parameters
    ----------
    objects : sequence
        Each has ``value(F)``, a float, and ``half_gradient(F)``, half of its gradient, an array (k, p).
    name : {"W", "H", "V"}
    rank : int
        k.
    data : fastnmf.data.strata.Strata
    options : fastnmf.core.options.Options
        The loss, which sets the units: ``value`` is added to the squared error, or to the divergence.

    Attributes
    ----------
    curvature : float
        c, in the user's units.
    """

    def __init__(self, objects, name, rank, data, options):
        self.objects, self.name, self.rank, self.curvature = tuple(objects), name, rank, 0.0
        self.row_scale = data.row_scale if name == "W" else None
        self.pattern = data.pattern if name == "V" else None
        self._exponent = (2 if name == "V" else 1) * data.log4_scale  # of the factor; below, that of the objective
        self._scale = float(np.exp2(min(2 * options.beta * data.log4_scale, MOST_BITS)))
        self._half = 1 if options.is_squared else 2  # updates take half the gradient of the squared error

    @classmethod
    def of_options(cls, data, options, name, *, rank=None, **context):
        """Return the penalty of the user's objects of a factor, or None where there are none.

        Parameters
        ----------
        data : fastnmf.data.strata.Strata
        options : fastnmf.core.options.Options
        name : {"W", "H", "V"}
        rank : int
            Number of components.
        **context
            Not used.
        """
        objects = [each for each in getattr(options, name).objects if not hasattr(each, "elastic_net")]
        return cls(objects, name, rank, data, options) if objects else None

    def contribute(self, F, sub, rank):
        """Set ``sub.tangent``, which an update adds to the subproblem."""
        sub.tangent = Tangent(self, F)

    def value(self, F):
        """Return the penalty."""
        return self._scale * self._value(self.of_user(F))

    def of_user(self, F):
        """Return a factor, or a whole V (n_strata, n_columns), as a read-only array (k, p) in the user's units."""
        if self.pattern is not None:
            F = F if F.ndim == 2 else self.pattern.dense(F)
            F = F.toarray() if sp.issparse(F) else F  # never-densify-ok: penalties of a user see V as a dense array
        else:
            F = F[:, : self.rank].T
        F = np.ldexp(F.astype(np.float64, order="C"), -self._exponent)
        if self.row_scale is not None:
            F = np.divide(F, self.row_scale, out=np.zeros_like(F), where=self.row_scale > 0)
        F.flags.writeable = False
        return F

    def of_core(self, G, like):
        """Return a gradient (k, p) in the user's units as one with respect to the factor in the core, shaped `like`."""
        factor = np.ldexp(self._half * self._scale, -self._exponent)
        if self.pattern is not None:
            return factor * self.pattern.entries(G)
        if self.row_scale is not None:
            G = np.divide(G, self.row_scale, out=np.zeros_like(G), where=self.row_scale > 0)
        out = aligned(like.shape, np.float64)
        np.multiply(G.T, factor, out=out[:, : self.rank])
        return out

    def block_step(self):
        """Return the step that takes a single penalty of `penalties.groups` exactly, and its weight in the core.

        None where there are other objects, or weights of rows, with which lengths are not those of the user.
        """
        steps = [each.block_step for each in self.objects if hasattr(each, "block_step")]
        if len(self.objects) != 1 or not steps or self.row_scale is not None or self.pattern is not None:
            return None
        each = self.objects[0]
        return each.block_step, self._scale * each.weight * float(np.exp2(-each.degree * self._exponent))

    def ridge(self):
        """Return c with respect to the factor in the core."""
        return self.curvature * self._half * self._scale * float(np.exp2(-2 * self._exponent))

    def square(self, step):
        """Return the squared length of a step (k, p) in the metric of c: rows count by their weights."""
        step = step if self.row_scale is None else step * self.row_scale
        return float(np.einsum("ij,ij->", step, step))

    def half_gradient(self, F):
        """Return the sum of the half-gradients at F (k, p), in the user's units, float64."""
        total = np.zeros(F.shape)
        for each in self.objects:
            found = np.asarray(each.half_gradient(F))
            if found.shape != F.shape:
                raise ValueError(
                    f"{_called(each)}.half_gradient returned the shape {found.shape} for {self.name} of shape "
                    f"{F.shape}; return an array of the shape of its argument."
                )
            total += found
        if not np.isfinite(total).all():
            names = ", ".join(map(_called, self.objects))
            raise ValueError(f"The half-gradient of {names} is not finite; keep it finite for every {self.name} >= 0.")
        return total

    def _value(self, F):
        total = 0.0
        for each in self.objects:
            found = each.value(F)
            if np.ndim(found) or not np.isfinite(found):
                raise ValueError(f"{_called(each)}.value returned {shown(found)}; return one finite number.")
            total += float(found)
        return total

    def can_be_dodged(self, F):
        """Tell whether the penalty falls where the factor shrinks ("shrink"), or grows ("grow"), or neither ("")."""
        F = self.of_user(F)
        F = F if F.any() else np.ones(F.shape)
        now = self._value(F)
        lower = now - PENALTY_ROUNDING * abs(now)
        return "shrink" if self._value(F / 2) < lower else "grow" if self._value(2 * F) < lower else ""

    def to_state(self):
        """Return what later iterations depend on beside the factors."""
        return {"curvature": self.curvature}

    def from_state(self, state):
        """Restore the state that `to_state` returned."""
        self.curvature = state["curvature"]


class Tangent:
    """The part ``2 <g, F - F0> + c ||F - F0||²`` that stands for a `CustomPenalty` near the point F0.

    Parameters
    ----------
    penalty : CustomPenalty
    F : ndarray (p, K) or (p,)
        The point, in the scale of the core; it may be overwritten afterwards.
    """

    def __init__(self, penalty, F):
        self.penalty, self.start = penalty, F.copy()
        self._point = penalty.of_user(F)
        self._value, self._slope = penalty._value(self._point), penalty.half_gradient(self._point)
        self.gradient = penalty.of_core(self._slope, F)

    def parts(self):
        """Return ``(pos, neg, ridge)``: the non-negative parts of ``g = neg - pos``, and c."""
        sides = (np.maximum(sign * self.gradient, 0.0).astype(self.start.dtype) for sign in (-1, 1))
        return *sides, self.penalty.ridge()

    def lies_above(self, F):
        """Tell whether the tangent lies above the penalty at F, and set c for the next step accordingly."""
        penalty, new = self.penalty, self.penalty.of_user(F)
        step = new - self._point
        value, rise = penalty._value(new), 2 * float(np.einsum("ij,ij->", self._slope, step))
        size = penalty.square(step)
        rounding = PENALTY_ROUNDING * (abs(value) + abs(self._value) + abs(rise))
        excess = value - self._value - rise
        needed = excess / size if size > 0 else 0.0
        if excess <= penalty.curvature * size + rounding:
            penalty.curvature = max(0.7 * penalty.curvature, min(needed, penalty.curvature))
            return True
        penalty.curvature = max(2 * penalty.curvature, 1.5 * needed, LEAST_CURVATURE)
        return False


def _called(value):
    return type(value).__name__
