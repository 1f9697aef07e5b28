"""What the weights of a row are to tell about its class, where that is known."""

import numpy as np

from fastnmf.problem import aligned
from fastnmf.terms.masked import Local

LEAST = 1e-16  # of a model value that a label is divided by


class LabelFit:
    """``weight ||L * (Y - W Bᵀ)||²``, or ``weight KL(L * Y, L * (W Bᵀ))``: labels of some of the rows.

    Half-gradients, squared: ``weight L * (W Bᵀ - Y) B`` of W, a Gram matrix of its own for rows that are labelled, and
    ``weight (L * (W Bᵀ - Y))ᵀ W`` of B. Kullback-Leibler: with ``Z = L * Y / (W Bᵀ)``, pos ``weight / 2 Z B`` and neg
    ``weight / 2 L B``, of B likewise; they hold at this point only. O(n c K).

    Source: Lee, Yoo, Choi 2010, "Semi-supervised nonnegative matrix factorization"; with
    strata as there. *Names*: their A, S, B, Y, L are ``Hᵀ, Wᵀ, B, Yᵀ, Lᵀ``.

    Parameters
    ----------
    Y : ndarray (n, c)
        0-1.
    known : ndarray (n, 1)
        1 for rows that are labelled, 0 for others.
    weight : float
    is_squared : bool
    """

    touches = ("W", "B")

    def __init__(self, Y, known, weight, is_squared):
        self.known, self.weight, self.is_squared = known, weight, is_squared
        self.Y = known * Y
        self._base = known[:, 0].astype(np.int8)

    def contribute(self, name, factors, sub):
        """Add the half-gradient of W or B."""
        W, B, weight = factors["W"].astype(np.float64), factors["B"].astype(np.float64), self.weight
        dtype, gram, neg = factors["W"].dtype, None, None
        if self.is_squared:
            pos = weight * (self.Y @ B if name == "W" else self.Y.T @ W)
            gram = weight * (W.T @ (self.known * W)) if name == "B" else None
        else:
            sub.is_quadratic, ratio = False, self.Y / np.maximum(W @ B.T, LEAST)
            pos = weight / 2 * (ratio @ B if name == "W" else ratio.T @ W)
            neg = (
                self.known * B.sum(axis=0) if name == "W" else np.repeat((self.known * W).sum(axis=0)[None], len(B), 0)
            )
            neg = np.ascontiguousarray(weight / 2 * neg, dtype=dtype)
        sub.add(gram=gram, pos=np.ascontiguousarray(pos, dtype=dtype), neg=neg)
        if self.is_squared and name == "W":
            gram = weight * (B.T @ B)
            sub.local = self._alone(gram, factors) if sub.local is None else self._joined(sub.local, factors)

    def value(self, factors):
        """Return this term's part of the objective."""
        W, B = factors["W"].astype(np.float64), factors["B"].astype(np.float64)
        model = W @ B.T
        if self.is_squared:
            return self.weight * float(np.square(self.known * model - self.Y).sum())
        logs = np.log(np.maximum(model, LEAST), out=np.zeros_like(model), where=self.Y > 0)
        return self.weight * float((self.known * model - self.Y * (1 + logs)).sum())

    def _alone(self, gram, factors):
        """Return the `Local` of rows of which those with a label meet `gram`, too."""
        B, none = factors["B"], np.empty(0, factors["B"].dtype)
        start = np.zeros(len(self._base) + 1, np.int64)
        return Local(start, np.empty(0, np.int32), none, none, self._base, gram, B, none)

    def _joined(self, local, factors):
        """Return a `Local` that has the labels as further columns."""
        B, n_classes = factors["B"], len(factors["B"])
        count = np.diff(local.indptr)
        own = np.where(self._base > 0, n_classes, 0)
        start = np.concatenate([[0], np.cumsum(count + own)]).astype(np.int64)
        at = np.repeat(start[:-1] - local.indptr[:-1], count) + np.arange(len(local.indices))
        more = np.setdiff1d(np.arange(start[-1]), at, assume_unique=True)
        indices, weight = np.empty(start[-1], np.int32), np.empty(start[-1], local.weight.dtype)
        indices[at], weight[at] = local.indices, local.weight
        indices[more], weight[more] = (
            len(local.other) + np.tile(np.arange(n_classes), int(self._base.sum())),
            self.weight,
        )
        shift = local.shift
        if len(shift):
            shift = np.zeros(start[-1], local.shift.dtype)
            shift[at] = local.shift
        other = aligned((len(local.other) + n_classes, B.shape[1]), B.dtype)
        other[: len(local.other)], other[len(local.other) :] = local.other, B
        return local._replace(
            indptr=start, indices=indices, weight=weight, shift=shift, other=other, room=weight.copy()
        )
