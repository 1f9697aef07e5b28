"""Minimise the largest residual of all entries: rising powers of the residual, and then linear programs.

The largest residual has no gradient, and updates that lower it in one factor at a time stop where only a change of both
would. The p-norm of the residual is smooth, tends to the largest one as p grows, and is minimised over both factors
together.
"""

import numpy as np

from fastnmf.core.alternate import AlternatingSolver
from fastnmf.core.descent import LBFGS
from fastnmf.core.iterate import lacks_progress
from fastnmf.core.thresholds import tiny
from fastnmf.kernels import robust
from fastnmf.kernels.jit import split_rows

SQUARINGS = (2, 4, 6, 8, 10)  # p is 2 to the power of these: 4, 16, 64, 256, 1024
PART = 20  # iterations of L-BFGS between two looks at the norm
MOST_PARTS = 20  # of one p
SETTLED = 1e-3  # relative decrease of the norm in a part below which a p has converged


class PowerNorm:
    """The logarithm of the p-norm of the residual, ``log(sum_ij |x - w . h|**p) / p``, and its gradients.

    They do not depend on the unit of the data, because W and H are held divided by the root of `unit`. Cost: O(n m (k +
    log p)). Sparse data stay sparse; a few rows at a time are dense.

    Parameters
    ----------
    loss : fastnmf.core.losses.robust.Residuals
    unit : float
        Largest entry of the data.
    n_squarings : int
        p is ``2**n_squarings``.

    Attributes
    ----------
    best : list of ndarray
        W (n, k) and H (m, k), in the unit of the data, with the smallest of the largest residuals of all points that
        were evaluated.
    least : float
        That residual.
    """

    def __init__(self, loss, unit, n_squarings):
        self.loss, self.root, self.n_squarings = loss, np.sqrt(unit), n_squarings
        self.best, self.least = None, np.inf

    def __call__(self, A):
        """Return the value at W and H, and the two gradients."""
        W, H = factors = [self.root * F for F in A]
        guess = self.least if 0 < self.least < np.inf else self.root**2
        total, largest, gradients = self._sums(W, H, guess)
        if not 0 < total < np.inf and largest > 0:  # powers of residuals of another size
            guess = largest
            total, largest, gradients = self._sums(W, H, guess)
        if largest < self.least:
            self.least, self.best = largest, factors
        if largest == 0:
            return np.log(tiny()), [np.zeros_like(F) for F in A]
        value = np.log(guess) + np.log(total) / 2.0**self.n_squarings
        return value, [-self.root / (guess * total) * g for g in gradients]

    def _sums(self, W, H, unit):
        """Return ``sum |r|**p`` for ``r = (x - w . h) / unit``, its largest ``|x - w . h|``, and the gradients / -p."""
        total, top, gradients = 0.0, 0.0, [np.empty_like(W), np.zeros_like(H)]
        with np.errstate(over="ignore", invalid="ignore"):
            for part, x, y in self.loss.tiles("W", {"W": W, "H": H}):
                sums, largest = np.empty(len(y)), np.empty(len(y))
                tasks = split_rows(len(y), y.shape[1] * (self.n_squarings + 4))
                robust.powers_of_residual(tasks, x, y, unit, self.n_squarings, sums, largest)
                total, top = total + float(sums.sum()), max(top, float(largest.max()))
                gradients[0][part] = y @ H
                gradients[1] += y.T @ W[part]
        return total, top, gradients


class ChebyshevSolver(AlternatingSolver):
    """Minimise p-norms of the residual, one p in an iteration, and then its largest entry by linear programs.

    The factors are those with the smallest of the largest residuals so far, so it never increases.

    Parameters
    ----------
    problem : fastnmf.core.problem.Problem
        Its loss is `fastnmf.core.losses.robust.Residuals` with ``"linf"``, its update `ChebyshevLP`.
    factors : fastnmf.core.factors.Factors
        The start.
    unit : float
        Largest entry of the data.
    """

    can_cut = True

    def __init__(self, problem, factors, unit):
        super().__init__(problem, factors)
        self.unit, self.stage, self.n_parts = unit or 1.0, 0, 0

    def begin(self):
        """Return the largest residual of the start."""
        value = super().begin()
        W, H = (self.factors[name][:, : self.factors.rank].astype(np.float64) for name in "WH")
        of_W, of_H = (np.linalg.norm(F, axis=0) for F in (W, H))
        is_used = (of_W > 0) & (of_H > 0)  # equally long, so that a step does not depend on the unit of the data
        ratio = np.divide(of_H, of_W, out=np.ones(len(of_W)), where=is_used) ** 0.5
        for F, of_F in ((W, of_W), (H, of_H)):
            alone = ~is_used & (of_F > 0)
            F[:, alone] *= np.sqrt(self.unit) / of_F[alone]
        self._open([W * ratio, H / ratio])
        return value

    def step(self):
        """Lower the p-norm for the next p, in parts, or run the linear programs of both factors."""
        if self.stage >= len(SQUARINGS):
            return super().step()
        descent, before = self.descent, self.descent.objective
        for _ in range(PART):
            if descent.ended is None:
                descent.step()
        self.n_parts += 1
        if descent.ended is None and self.n_parts < MOST_PARTS and before - descent.objective > SETTLED:
            return None
        return self.cut()

    def cut(self):
        """End the work on the present p, and return the largest residual of the best factors so far."""
        held = {name: F.copy() for name, F in self.factors.arrays.items()}
        for name, F in zip("WH", self.norm.best, strict=True):
            self.factors[name][:, : self.factors.rank] = F
            self.factors.invalidate(name)
        value = self.problem.value(self.factors)
        if not value < self._last:
            self.factors.overwrite(held)
            value = self._last
        self._last, self.stage, self.n_parts = value, self.stage + 1, 0
        if self.stage < len(SQUARINGS):
            self._open([self.norm.root * F for F in self.descent.best])
        return value

    def _open(self, start):
        """Begin to minimise the norm of the present stage, at W and H in the unit of the data."""
        self.norm = PowerNorm(self.problem.losses[0], self.unit, SQUARINGS[min(self.stage, len(SQUARINGS) - 1)])
        self.descent = LBFGS(self.norm, [F / self.norm.root for F in start], PART * MOST_PARTS)
        self.descent.begin()

    def stop(self, history, tol):
        """Return "tol" where the last linear programs have hardly lowered the residual, or where it is zero."""
        if not tol or history.n_iter <= len(SQUARINGS) and history.best[-1] > 0:
            return None
        return "tol" if lacks_progress(history, tol, 1) else None

    def to_state(self):
        """Return also what the minimisation of the present norm depends on."""
        own = {"stage": self.stage, "n_parts": self.n_parts, "least": float(self.norm.least), "best": self.norm.best}
        return super().to_state() | own | {"descent": self.descent.to_state()}

    def from_state(self, state):
        """Restore the state that `to_state` returned."""
        super().from_state(state)
        self.stage, self.n_parts = state["stage"], state["n_parts"]
        self._open([F / self.norm.root for F in state["best"]])
        self.norm.least, self.norm.best = state["least"], [F.copy() for F in state["best"]]
        self.descent.from_state(state["descent"])
