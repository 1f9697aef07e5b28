"""Accelerate multiplicative updates by extrapolation over cycles of three updates."""

import numpy as np

from fastnmf.core.factors import aligned, refill
from fastnmf.core.updates.multiplicative import scale_to_unit
from fastnmf.kernels import rows

START = 10  # plain updates before the first cycle
LIMIT, GROWTH = 4.0, 4.0  # first bound of the step, and the factor by which it grows and shrinks


class SQUAREM:
    """Squared extrapolation of monotone updates (Varadhan and Roland 2008, their scheme S3).

    A cycle has three updates of all factors, which are three iterations. Let x0 be the factors before the first one, x1
    and x2 those after the first and the second, ``r = x1 - x0`` and ``s = x2 - x1 - r``. The third update begins at

        x = max(x0 + 2 a r + a² s, x2 / 10),     a = max(1, |r| / |s|).

    Where it does not end below the objective of x2, the cycle ends at x2. The objective is therefore monotone. Zeros of
    x2 stay zero, and no other entries become zero.

    Differences from the source: ``|r|`` is a sum over the factors of ``||r||_1 / ||x2||_1``, and so is ``|s|``. Each
    factor is divided by its size because the scale of W against H is arbitrary: with plain Euclidean lengths, five of
    six cycles failed on simulated counts from a start whose H has the unit of the data. Sizes are sums, so that a row
    of weight 2, whose W is held doubled, counts as two rows. The bound of a is multiplied by 4 after a cycle that
    reaches it and succeeds, and divided by 4 after one that reaches it and fails.

    Parameters
    ----------
    tasks : dict, factor name -> task table
    factors : Factors
    units : tuple of str, default=()
        Factors whose columns sum to one, as x does but for its bound x2 / 10.
    start : int, default=START
        Plain updates before the first cycle.
    limit : float, default=LIMIT
        First bound of a.

    Attributes
    ----------
    first, second : dict
        Factors before the first and before the second update of a cycle; during the third, `second` is x2.
    limit : float
        Bound of a.
    step : float
        The last a.

    References
    ----------
    R. Varadhan, C. Roland, "Simple and globally convergent methods for accelerating the convergence of any EM
    algorithm", Scandinavian Journal of Statistics 2008, doi:10.1111/j.1467-9469.2007.00585.x.
    """

    def __init__(self, tasks, factors, units=(), start=START, limit=LIMIT):
        self.tasks, self.units, self.start, self.limit, self.step = tasks, units, start, limit, 1.0
        self.first, self.second = (
            {name: aligned(F.shape, F.dtype) for name, F in factors.arrays.items()} for _ in range(2)
        )

    def before_update(self, n_done, factors):
        """Store the factors before update `n_done`, counted from 0, or extrapolate them in place; return whether so."""
        place = self.place(n_done)
        if place == 2:
            self._extrapolate(factors)
        elif place is not None:
            for name, held in (self.second if place else self.first).items():
                held[:] = factors[name]
        return place == 2

    def place(self, n_done):
        """Return the place of update `n_done` in its cycle: 0, 1, or 2, which is extrapolated; None before START."""
        return (n_done - self.start) % 3 if n_done >= self.start else None

    def _extrapolate(self, factors):
        of_r = of_s = 0.0
        points = {name: [_rows(each[name]) for each in (factors, self.second, self.first)] for name in self.first}
        for name, of_factor in points.items():
            r, s, size = self._sizes(name, of_factor)
            if size > 0:
                of_r, of_s = of_r + r / size, of_s + s / size
        step = max(1.0, float(of_r / of_s)) if of_s > 0 else 1.0
        self._is_bounded, self.step = step >= self.limit, min(step, self.limit)
        for name, of_factor in points.items():
            rows.rows_squarem(self.tasks[name], *of_factor, factors[name].dtype.type(self.step))
            if name in self.units:
                scale_to_unit(factors[name], self.tasks[name])
            factors.invalidate(name)

    def _sizes(self, name, of_factor):
        """Return the sizes of r, s and x2 of a factor, for its values at x2, x1 and x0."""
        return sizes(self.tasks[name], *of_factor)

    def after_update(self, is_lower, factors):
        """Adapt the bound after an update from an extrapolated point; return to x2 unless it lowered the objective."""
        if self._is_bounded:
            self.limit = self.limit * GROWTH if is_lower else max(1.0, self.limit / GROWTH)
        if not is_lower:
            factors.overwrite(self.second)

    def to_state(self):
        """Return a dict of everything that later cycles depend on."""
        return {"limit": self.limit, "first": dict(self.first), "second": dict(self.second)}

    def from_state(self, state):
        """Restore the state that `to_state` returned."""
        self.limit = state["limit"]
        for name in self.first:
            refill(self.first[name], state["first"][name])
            refill(self.second[name], state["second"][name])


def sizes(tasks, F, second, first):
    """Return the sums of ``|second - first|``, ``|F - second - (second - first)|`` and ``|F|``, float64 (3,).

    Parameters
    ----------
    tasks : ndarray (T + 1,) of int64
        Task table.
    F, second, first : ndarray (p, K)
    """
    parts = np.empty((len(tasks) - 1, 3))
    rows.rows_curvature(tasks, F, second, first, parts)
    return parts.sum(axis=0)


def _rows(F):
    """Return a factor, or the entries of a separable one as a column."""
    return F if F.ndim == 2 else F[:, None]
