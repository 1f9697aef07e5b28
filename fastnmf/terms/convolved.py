"""Errors of a sum of shifted products, ``y_i = sum_l W[i - l] C_l``, by the terms of a plain product.

With W and its copies shifted down by 0, 1, ... rows side by side, L (n, p k), and all C_l one above the other, the
model is ``L Hᵀ``. So C sees an ordinary problem whose left factor is L. The gradient of W is that of L, shifted back
and added up over the lags, all of them in the numerator and all in the denominator: only then does the step not raise
the objective.
"""

import numpy as np

from fastnmf.problem import Subproblem, aligned, full


def slid(F, by):
    """Return F with its rows moved down by `by` (up if negative), zeros where nothing comes from."""
    out, size = np.zeros_like(F), len(F) - abs(by)
    if size > 0:
        out[max(by, 0) : max(by, 0) + size] = F[max(-by, 0) : max(-by, 0) + size]
    return out


def stacked(W, n_lags, out):
    """Write W (n, k), shifted down by 0, 1, ..., n_lags - 1 rows, side by side into out (n, at least n_lags k)."""
    k = W.shape[1]
    for lag in range(min(n_lags, len(W))):
        out[lag:, lag * k : (lag + 1) * k] = W[: len(W) - lag]
    return out


def folded(G, n_lags, k):
    """Return the transpose of `stacked` applied to G (n, at least n_lags k): ``sum_l G[i + l]`` of the l-th columns."""
    out = G[:, :k].copy()
    for lag in range(1, min(n_lags, len(G))):
        out[: len(G) - lag] += G[lag:, lag * k : (lag + 1) * k]
    return out


class Convolved:
    """A term of ``X ~ L Hᵀ`` as one of ``X ~ sum_l shift_l(W) C_l``; factors W (n, K) and H (m, K'), of C_l in turn.

    Not quadratic in W as moves see it, whose rows meet those of other rows: its half-gradient holds at one point.

    Parameters
    ----------
    term : fastnmf.terms.Frobenius, KullbackLeibler or BetaDivergence
        Over factors W (n, K') and H (m, K').
    inner : Factors
        Those of `term`: L, and the same array H as that of the factors that move.
    rank, n_lags : int
        Columns of W in use, and copies of it.
    """

    def __init__(self, term, inner, rank, n_lags):
        self.term, self.inner, self.rank, self.n_lags = term, inner, rank, n_lags
        self._sub = Subproblem(term.tasks["W"])

    def contribute(self, name, factors, sub):
        """Add the half-gradient of H, or pos and neg of W."""
        inner = self._inner(factors)
        if name == "H":
            self.term.contribute(name, inner, sub)
            return
        self._sub.clear()
        self.term.contribute(name, inner, self._sub)
        below = 0.0 if self._sub.neg is None else full(self._sub.neg)
        if self._sub.gram is not None:
            below = below + inner["W"] @ self._sub.gram.astype(inner["W"].dtype)
        sides = (self._folded(side, factors[name]) for side in (full(self._sub.pos), below))
        sub.add(**dict(zip(("pos", "neg"), sides, strict=True)))
        sub.is_quadratic, sub.power = False, self._sub.power

    def value(self, factors):
        """Return the error."""
        return self.term.value(self._inner(factors))

    def direct(self, factors):
        """Return the squared error from the residual itself."""
        return self.term.direct(self._inner(factors))

    def _folded(self, G, W):
        out = aligned(W.shape, W.dtype)
        out[:, : self.rank] = folded(G, self.n_lags, self.rank)
        return out

    def _inner(self, factors):
        """Return the factors of the term, brought up to date."""

        def restack():
            stacked(factors["W"][:, : self.rank], self.n_lags, self.inner["W"])
            self.inner.moved("W")

        factors.cached("stacked", ("W",), restack)
        factors.cached("seen", ("H",), lambda: self.inner.moved("H"))
        return self.inner
