"""Errors of a sum of shifted products, ``y_i = sum_l W[i - l] C_l``, by the losses of a plain product.

Let L (n, p k) hold W and its copies shifted down by 0, 1, ..., p - 1 rows side by side, and let H hold all C_l one
above the other. Then the model is ``L Hᵀ``. The update of C is therefore an ordinary subproblem whose left factor is L.
The gradient of W is the gradient of L, shifted back and summed over the lags. All lags enter the numerator of the
multiplicative ratio and all enter the denominator; the objective is monotone only then.
"""

import numpy as np

from fastnmf.core.factors import aligned
from fastnmf.core.problem import Subproblem, full


def shift_rows(F, by):
    """Return F (p, K) with its rows shifted down by `by` rows (up if negative); the vacated rows are zero."""
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


def fold_lags(G, n_lags, k):
    """Return the transpose of `stacked` applied to G (n, at least n_lags k), an array (n, k).

    Row i is ``sum_l G_l[i + l]``, where G_l are the l-th k columns of G.
    """
    out = G[:, :k].copy()
    for lag in range(1, min(n_lags, len(G))):
        out[: len(G) - lag] += G[lag:, lag * k : (lag + 1) * k]
    return out


class Lags:
    """The quadratic part of the squared error as a function of W: how rows up to p - 1 apart meet.

    Parameters
    ----------
    gram : ndarray (at least p k, at least p k)
        Inner products of the rows of C_0, ..., C_{p-1}, one after the other.
    n_lags : int
        p.
    rank : int
        k.

    Attributes
    ----------
    curvature : ndarray (p, 2 p - 1, k, k) of float64
        As for `fastnmf.kernels.lagged.lagged_sweeps`: ``[q - 1, d + p - 1]`` is the sum over the lags l < q of the
        products of C_{l-d} with C_l.
    """

    def __init__(self, gram, n_lags, rank):
        size = n_lags * rank
        parts = np.asarray(gram, dtype=np.float64)[:size, :size].reshape(n_lags, rank, n_lags, rank)
        self.curvature = np.zeros((n_lags, 2 * n_lags - 1, rank, rank))
        for lag in range(n_lags):
            self.curvature[lag] = self.curvature[lag - 1] if lag else 0.0
            self.curvature[lag, lag : lag + n_lags] += parts[::-1, :, lag]

    def pull(self, F):
        """Return the half-gradient of the quadratic part at F (n, K), an array of its shape."""
        n_lags, _, k, _ = self.curvature.shape
        n_rows, out = len(F), np.zeros(F.shape)
        of_row = np.minimum(n_lags, n_rows - np.arange(n_rows)) - 1
        for distance in range(1 - n_lags, n_lags):
            near = shift_rows(F[:, :k].astype(np.float64), -distance)
            out[:, :k] += np.einsum("ib,ibc->ic", near, self.curvature[of_row, distance + n_lags - 1])
        return out


class ConvolutionLoss:
    """Loss of ``X ~ sum_l shift_l(W) C_l``, computed by a loss of ``X ~ L Hᵀ``.

    The factors are W (n, K) and H (m, K'), which holds the C_l one after the other. The rows of W interact with each
    other. For coordinate descent its subproblem has the curvature of these interactions, `Lags`; otherwise it is not
    quadratic, and its half-gradient holds at one point only. Cost: that of `loss` with a left factor of
    ``n_lags * rank`` columns.

    Parameters
    ----------
    loss : fastnmf.core.losses.Frobenius, KullbackLeibler or BetaDivergence
        A loss over factors W (n, K') and H (m, K').
    inner : fastnmf.core.factors.Factors
        The factors of `loss`: L, and the same array H as that of the factors which are updated.
    rank : int
        Columns of W in use.
    n_lags : int
        Number of shifted copies of W.
    is_descent : bool, default=False
        Whether W is updated by `LaggedDescent`; the loss is then the squared error.
    """

    def __init__(self, loss, inner, rank, n_lags, is_descent=False):
        self.loss, self.inner, self.rank, self.n_lags, self.is_descent = loss, inner, rank, n_lags, is_descent
        self._sub = Subproblem(loss.tasks["W"])

    def contribute(self, name, factors, sub):
        """Add the half-gradient of H, or of W: pos, and the curvature or neg."""
        inner = self._inner(factors)
        if name == "H":
            self.loss.contribute(name, inner, sub)
            return
        self._sub.clear()
        self.loss.contribute(name, inner, self._sub)
        if self.is_descent:
            sub.add(pos=self._fold_like(full(self._sub.pos), factors[name]))
            sub.lags = Lags(self._sub.gram, self.n_lags, self.rank)
            return
        below = 0.0 if self._sub.neg is None else full(self._sub.neg)
        if self._sub.gram is not None:
            below = below + inner["W"] @ self._sub.gram.astype(inner["W"].dtype)
        sides = (self._fold_like(side, factors[name]) for side in (full(self._sub.pos), below))
        sub.add(**dict(zip(("pos", "neg"), sides, strict=True)))
        sub.is_quadratic, sub.power = False, self._sub.power

    def value(self, factors):
        """Return the loss."""
        return self.loss.value(self._inner(factors))

    def exact_value(self, factors):
        """Return the squared error from the residual itself."""
        return self.loss.exact_value(self._inner(factors))

    def _fold_like(self, G, W):
        """Return the sum over the lags of G (n, K'), as an array of the shape of W."""
        out = aligned(W.shape, W.dtype)
        out[:, : self.rank] = fold_lags(G, self.n_lags, self.rank)
        return out

    def _inner(self, factors):
        """Return the factors of the inner loss, brought up to date with `factors`."""

        def restack():
            stacked(factors["W"][:, : self.rank], self.n_lags, self.inner["W"])
            self.inner.invalidate("W")

        factors.cached("stacked", ("W",), restack)
        factors.cached("seen", ("H",), lambda: self.inner.invalidate("H"))
        return self.inner
