"""Updates for what a user writes: one that keeps the objective monotone with penalties of unknown curvature, and one
that calls the user's own step.
"""

from __future__ import annotations

import numpy as np

from fastnmf.core.penalties.custom import Tangent
from fastnmf.core.problem import full
from fastnmf.core.thresholds import MU_FLOOR
from fastnmf.core.updates.blocks import descend_by_blocks
from fastnmf.core.updates.coordinate_descent import HALS
from fastnmf.core.updates.multiplicative import JointMU
from fastnmf.typing import Floats

TRIES = 60  # the curvature at least doubles in each: a step that is too long by 1e18 is found, too


class Majorised:
    """Update of a factor with a `CustomPenalty`: the penalty is replaced by a parabola that lies above it.

    The parabola touches the penalty at the present point. A step of `update` for it that does not end below the penalty
    lowers the objective; other steps are undone and repeated with a larger curvature. Monotone if `update` is. Where
    the data's loss is a divergence, its parts, which are majorised too, and those of the parabola are minimised
    together by `JointMU`.

    Parameters
    ----------
    update : Update
        For quadratic subproblems.
    """

    def __init__(self, update):
        self.update, self.needs = update, getattr(update, "needs", ())
        self.name = getattr(update, "name", type(update).__name__)

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` sweeps.

        Parameters
        ----------
        F, rank :
            As for `Update`.
        sub : fastnmf.core.problem.Subproblem
            Without a ``tangent`` it is passed on to `update`.
        n_sweeps : int
            The parabola is recomputed for each.

        Returns
        -------
        inner_products : tuple, or None
            Those of `update` where there is no tangent.
        """
        if sub.tangent is None:
            return self.update(F, sub, rank, n_sweeps)
        if isinstance(self.update, HALS) and sub.gram is not None and sub.free_mask is None:
            if (step := sub.tangent.penalty.block_step()) is not None:
                return descend_by_blocks(F, sub, rank, n_sweeps, *step)
        of_data = sub.pos, sub.neg, sub.ridge
        for sweep in range(n_sweeps):
            sub.tangent = sub.tangent if sweep == 0 else Tangent(sub.tangent.penalty, F)
            self._step(F, sub, rank, of_data)
        sub.pos, sub.neg, sub.ridge = of_data
        return None

    def _step(self, F, sub, rank, of_data):
        for _ in range(TRIES):
            sub.pos, sub.neg, sub.ridge = of_data
            pos, neg, ridge = sub.tangent.parts()
            if sub.is_quadratic:
                sub.add(pos=pos + F.dtype.type(ridge) * F, neg=neg, ridge=ridge)
                self.update(F, sub, rank, 1)
            else:
                self._ratio(F, sub, pos, neg, ridge)
            if sub.tangent.lies_above(F):
                return
            F[:] = sub.tangent.start

    def _ratio(self, F, sub, pos, neg, ridge):
        """Multiply each positive entry of F by the root of the sum of the slopes of all parts.

        Parameters
        ----------
        F : ndarray (p, K) or (p,)
            Overwritten.
        sub : fastnmf.core.problem.Subproblem
            The parts of the divergence, and the linear and quadratic parts of other penalties.
        pos, neg : ndarray
            The parts of the tangent.
        ridge : float
            Its curvature.
        """
        quadratic = F * (sub.ridge + ridge)
        parts = {1.0: (pos, neg + F.dtype.type(sub.linear)), 2.0: (quadratic, quadratic)}
        known = parts.get(sub.beta, (0.0, 0.0))
        parts[sub.beta] = known[0] + full(sub.pos), known[1] + full(sub.neg)
        t = JointMU().factor([(beta, *np.atleast_2d(*each)) for beta, each in parts.items()]).reshape(F.shape)
        of_beta = 1 / (2 - sub.beta) if sub.beta < 1 else 1 / max(1.0, sub.beta - 1)
        t = t ** min(1.0, sub.power / of_beta)  # less than 1 where an iteration is repeated with shorter steps
        t = t if sub.free_mask is None else np.where(sub.free_mask, t, 1.0)
        np.copyto(F, np.maximum(F * t, MU_FLOOR[F.dtype]), where=F > 0, casting="same_kind")


class View:
    """The subproblem of one factor as a user's update sees it: F (k, p), unpadded, in the user's units.

    The objective is ``<F, gram F> - 2 <F, right>`` up to a constant; for a divergence it has no such form.

    Attributes
    ----------
    gram : ndarray (k, k), or None
        None for a divergence.
    pos, neg : ndarray (k, p)
        The other parts of the half-gradient ``gram F + neg - pos``, >= 0 without penalties.
    """

    gram: Floats | None
    pos: Floats
    neg: Floats

    def __init__(self, gram: Floats | None, pos: Floats, neg: Floats):
        self.gram, self.pos, self.neg = gram, pos, neg

    @property
    def right(self) -> Floats:
        """``pos - neg``, (k, p)."""
        return self.pos - self.neg

    def half_gradient(self, F: Floats) -> Floats:
        """Return half the gradient at F (k, p); for a divergence the gradient, at the present point only."""
        return (0.0 if self.gram is None else self.gram @ F) - self.right

    def value(self, F: Floats) -> float:
        """Return the objective at F (k, p), up to a constant; for squared errors only."""
        return float(np.einsum("ij,ij->", F, self.gram @ F - 2 * self.right))


class CustomUpdate:
    """The update of a user: ``step(F, view)`` returns the new F (k, p) >= 0; ``view`` is a `View`.

    Parameters
    ----------
    user : object
        Has ``step``. With a true attribute ``takes_divergences`` it is used for divergences, too.
    exponent : int
        The factor is held multiplied by ``2 ** exponent``.
    degree : float
        Power of the units in the loss: 2 for the squared error.
    """

    def __init__(self, user, exponent, degree):
        self.user, self.exponent, self.scale = user, exponent, float(np.exp2((1 - 2 * degree) * exponent))
        self.name = type(user).__name__
        self.needs = () if getattr(user, "takes_divergences", False) else ("quadratic",)

    def __call__(self, F, sub, rank, n_sweeps):
        """Call the user's step `n_sweeps` times, and keep entries that are not free.

        Parameters
        ----------
        F, rank :
            As for `Update`.
        sub : fastnmf.core.problem.Subproblem
        n_sweeps : int
        """
        gram, own = sub.full_gram(F.shape[1], rank), self.exponent
        if gram is not None:
            gram = np.ldexp(gram[:rank, :rank], -2 * own)
        sides = (np.zeros(F.shape) if side is None else full(side) for side in (sub.pos, sub.neg))
        pos, neg = (self.scale * side[:, :rank].T.astype(np.float64) for side in sides)
        view = View(gram, pos, neg + self.scale * sub.linear)
        for _ in range(n_sweeps):
            old = np.ldexp(F[:, :rank].T.astype(np.float64), -own)
            new = np.asarray(self.user.step(old.copy(), view))
            if new.shape != old.shape or not (new >= 0).all() or not np.isfinite(new).all():
                given = f"the shape {new.shape}" if new.shape != old.shape else "negative or non-finite entries"
                raise ValueError(
                    f"{self.name}.step returned {given}; return an array of the shape of F, {old.shape}, with finite "
                    "entries >= 0."
                )
            new = np.ldexp(new.T, own)
            if sub.free_mask is not None:
                new = np.where(sub.free_mask[..., :rank], new, F[:, :rank])
            F[:, :rank] = new
