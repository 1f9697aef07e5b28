"""Minimise a problem over several factors together by L-BFGS with bounds, in place of one factor after the other."""

import numpy as np

from fastnmf.core.descent import LBFGS
from fastnmf.core.iterate import Solver


class QuasiNewton(Solver):
    """Minimise the objective of a problem over some of its factors >= 0 by `LBFGS`.

    For objectives that are not quadratic in any factor, such as `Projective`: they have a gradient, and multiplicative
    updates of them are slow. An iteration costs a gradient and a value, seldom two. The objective is monotone.

    Parameters
    ----------
    problem : fastnmf.core.problem.Problem
        Its subproblems give the half-gradients at the present point; its updates and its schedule are not used.
    factors : fastnmf.core.factors.Factors
        The start; changed in place.
    names : tuple of str
        The factors that are varied.
    max_iter : int
        As for `LBFGS`.
    """

    def __init__(self, problem, factors, names, max_iter):
        self.problem, self.factors, self.names = problem, factors, names
        self.scale, self.rounding = problem.scale, problem.rounding
        self._unit = self.scale if self.scale > 0 else 1.0  # the tolerances of the routine are for values near 1
        start = [factors[name][:, : factors.rank].astype(np.float64) for name in names]
        self._descent = LBFGS(self._value, start, max_iter)

    def begin(self):
        """Return the objective of the start."""
        return self._descent.begin() * self._unit

    def step(self):
        """Make an iteration and return its objective; None where there is no further one."""
        value = self._descent.step()
        self.ended = self._descent.ended
        self._put(self._descent.best)  # the last evaluation may have been of another point
        return None if value is None else value * self._unit

    def to_state(self):
        """Return the factors and the state of the descent."""
        return {"factors": self.factors.to_state(), "descent": self._descent.to_state(), "ended": self.ended}

    def from_state(self, state):
        """Restore the state that `to_state` returned."""
        self.factors.from_state(state["factors"])
        self._descent.from_state(state["descent"])
        self.ended = state["ended"]

    def _put(self, A):
        """Set the factors to the arrays A, where they differ."""
        for name, new in zip(self.names, A, strict=True):
            F = self.factors[name][:, : new.shape[1]]
            new = new.astype(F.dtype)
            if not np.array_equal(F, new):
                F[:] = new
                self.factors.invalidate(name)

    def _value(self, A):
        """Return the objective at the arrays A and its gradients, both in units of the trivial model."""
        self._put(A)
        value, gradients = self.problem.value(self.factors), []
        for name, F in zip(self.names, A, strict=True):
            half = self.problem.subproblem(name, self.factors).gradient(self.factors[name])
            gradients.append(half[:, : F.shape[1]].astype(np.float64) * (2 / self._unit))
        return value / self._unit, gradients
