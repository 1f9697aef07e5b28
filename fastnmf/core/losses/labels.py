"""Losses of labels: the weights of a row predict its class, where the class is known.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import numpy as np

from fastnmf.core.factors import aligned
from fastnmf.core.thresholds import LABEL_FLOOR
from fastnmf.kernels.records import RowwiseGram


class LabelFit:
    """``weight ||L * (Y - W Bᵀ)||²``, or ``weight KL(L * Y, L * (W Bᵀ))``: labels of some of the rows.

    Half-gradients of the squared error: ``weight L * (W Bᵀ - Y) B`` of W, which gives labelled rows a Gram matrix of
    their own, and ``weight (L * (W Bᵀ - Y))ᵀ W`` of B. Those of Kullback-Leibler: with ``Z = L * Y / (W Bᵀ)``, pos
    ``weight / 2 Z B`` and neg ``weight / 2 L B``, of B likewise; they hold at this point only. Cost: O(n c K).

    Source: Lee, Yoo, Choi 2010, "Semi-supervised nonnegative matrix factorization"; the data may have shifts of strata,
    too. *Names*: their A, S, B, Y, L are ``Hᵀ, Wᵀ, B, Yᵀ, Lᵀ``.

    Parameters
    ----------
    Y : ndarray (n, c)
        Class of each row as 0 and 1, one column a class.
    known : ndarray (n, 1)
        1 for rows that are labelled, 0 for others: the column of L.
    weight : float
        Weight of the loss beside the data in their inner scale.
    is_squared : bool
        Whether the loss is the squared error; if not, Kullback-Leibler.
    classes : ndarray (c,), default=None
        Labels of the columns of Y.
    """

    touches = ("W", "B")

    def __init__(self, Y, known, weight, is_squared, classes=None):
        self.known, self.weight, self.is_squared, self.classes = known, weight, is_squared, classes
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
            sub.is_quadratic, ratio = False, self.Y / np.maximum(W @ B.T, LABEL_FLOOR)
            pos = weight / 2 * (ratio @ B if name == "W" else ratio.T @ W)
            neg = (
                self.known * B.sum(axis=0) if name == "W" else np.repeat((self.known * W).sum(axis=0)[None], len(B), 0)
            )
            neg = np.ascontiguousarray(weight / 2 * neg, dtype=dtype)
        sub.add(gram=gram, pos=np.ascontiguousarray(pos, dtype=dtype), neg=neg)
        if self.is_squared and name == "W":
            gram = weight * (B.T @ B)
            sub.rowwise = (
                self._rowwise_of_labels(gram, factors)
                if sub.rowwise is None
                else self._append_labels(sub.rowwise, factors)
            )

    def value(self, factors):
        """Return the loss."""
        W, B = factors["W"].astype(np.float64), factors["B"].astype(np.float64)
        model = W @ B.T
        if self.is_squared:
            return self.weight * float(np.square(self.known * model - self.Y).sum())
        logs = np.log(np.maximum(model, LABEL_FLOOR), out=np.zeros_like(model), where=self.Y > 0)
        return self.weight * float((self.known * model - self.Y * (1 + logs)).sum())

    def _rowwise_of_labels(self, gram, factors):
        """Return the `RowwiseGram` in which the labelled rows have `gram` (K, K) in addition to the shared one."""
        B, none = factors["B"], np.empty(0, factors["B"].dtype)
        start = np.zeros(len(self._base) + 1, np.int64)
        grams = np.stack([np.zeros_like(gram), gram])
        return RowwiseGram(start, np.empty(0, np.int32), none, none, self._base, grams, B, none)

    def _append_labels(self, rowwise, factors):
        """Return a `RowwiseGram` that has the classes as further columns beside those of `rowwise`."""
        B, n_classes = factors["B"], len(factors["B"])
        count = np.diff(rowwise.indptr)
        own = np.where(self._base > 0, n_classes, 0)
        start = np.concatenate([[0], np.cumsum(count + own)]).astype(np.int64)
        at = np.repeat(start[:-1] - rowwise.indptr[:-1], count) + np.arange(len(rowwise.indices))
        more = np.setdiff1d(np.arange(start[-1]), at, assume_unique=True)
        indices, weight = np.empty(start[-1], np.int32), np.empty(start[-1], rowwise.weight.dtype)
        indices[at], weight[at] = rowwise.indices, rowwise.weight
        indices[more], weight[more] = (
            len(rowwise.other) + np.tile(np.arange(n_classes), int(self._base.sum())),
            self.weight,
        )
        shift = rowwise.shift
        if len(shift):
            shift = np.zeros(start[-1], rowwise.shift.dtype)
            shift[at] = rowwise.shift
        other = aligned((len(rowwise.other) + n_classes, B.shape[1]), B.dtype)
        other[: len(rowwise.other)], other[len(rowwise.other) :] = rowwise.other, B
        return rowwise._replace(
            indptr=start, indices=indices, weight=weight, shift=shift, other=other, room=weight.copy()
        )
