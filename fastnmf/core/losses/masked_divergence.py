"""The Kullback-Leibler divergence with a weight for every entry; a missing value has weight zero."""

import numpy as np

from fastnmf.core.losses.divergences import KullbackLeibler
from fastnmf.core.losses.masked import premultiplied, shift_places
from fastnmf.core.thresholds import model_floor, rounding
from fastnmf.data.layout import Compressed, nonzero_means, row_index
from fastnmf.data.shifts import entries_at


class MaskedKullbackLeibler(KullbackLeibler):
    """``sum_ij O_ij (x_ij log(x_ij / y_ij) - x_ij + y_ij)`` with ``y = v(i) + (W Hᵀ)`` and entry weights O >= 0.

    Ratio parts: with ``z = O x / y`` on the non-zeros, pos of W is ``Z H`` and neg is ``O H``; those of H are alike;
    pos of a shift is the sum of z over the rows of its stratum, and neg is that of O. With O 0 or 1 in each row plus a
    sparse D, ``O H`` is that times the column sums of H, plus D H. Cost: O((nnz(X) + nnz(D)) K) a pass; no array of the
    size of X is formed.

    Source: Zhang, Wang, Ford and Makedon 2006, "Learning from incomplete ratings using non-negative matrix
    factorization", for the weights; Lee and Seung 2001 for the ratio; the shifts are our extension.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
        Data as `fastnmf.data.entry_weights.observed` returns them, without weights of rows.
    width : int
        Padded rank K.
    tasks : dict of str to ndarray of int64
        Task tables of the row kernels, by factor.
    weights : fastnmf.data.entry_weights.Weights
        Weights of the entries.
    has_shifts : bool, default=False
        Whether there is a factor V, entries (q,) on ``strata.pattern``.
    """

    def __init__(self, strata, width, tasks, weights, has_shifts=False):
        inner = premultiplied(strata, weights)
        if has_shifts:
            inner.pattern = strata.pattern
        super().__init__(inner, width, tasks, has_shifts)
        self.weights, side = weights, self._sides["W"]
        at = weights.at(side).astype(np.float64)
        self._plain = Compressed(side.indptr, side.indices, side.data / at)
        self._of_weights = float(side.data @ np.log(at))  # sum O x log O
        self.floor = model_floor(float(self._plain.data.mean()) if len(at) else 0.0)
        if has_shifts:
            E, pattern = weights.difference, strata.pattern
            place = shift_places(pattern, E.indices, strata.stratum_index[row_index(E)])
            seen = np.bincount(place[place >= 0], E.data[place >= 0], len(pattern.group))
            plain = weights.base * strata.groups.sizes[pattern.group]
            self._counts = np.maximum(plain + seen, 0).astype(strata.dtype)

    def floor_by_row(self):
        """As for `KullbackLeibler`; the mean of a row is that of its data, without their weights."""
        self.floor = model_floor(nonzero_means(self._plain))

    def independence(self):
        """Return the divergence of the best constant model: the scale of the losses."""
        if self.total == 0:
            return 0.0
        entropy = float(self._sides["W"].data @ np.log(self._plain.data))
        return max(entropy - self.total * np.log(self.total / self.weights.totals(1).sum()), 0.0)

    def value(self, factors, V=None):
        """Return the divergence; V as for `KullbackLeibler`."""
        model = float(np.einsum("ij,ij->", factors["W"], self._neg("W", factors), dtype=np.float64))
        if self.has_shifts:
            model += float(np.einsum("e,e->", self._counts, factors["V"], dtype=np.float64))
        if V is not None:
            E, pattern, index = self.weights.difference, self.strata.pattern, self.strata.stratum_index
            whole = E.data @ entries_at(V, index[row_index(E)], E.indices) + self.weights.base * self.sizes @ V.sum(
                axis=1
            )
            model += float(whole - self._counts @ pattern.entries(V))
        return self.ratio_pass("W", factors)[1] - self._of_weights - self.total + model

    def _neg(self, name, factors):
        """Return ``neg`` of factor W or H, an array of its shape."""
        other, side = ("H", self.weights.rows) if name == "W" else ("W", self.weights.columns)

        def compute():
            return weighted_sums(side, factors[other], self._totals(other, factors))

        return factors.cached(("weights", name), (other,), compute)


def weighted_sums(side, other, totals):
    """Return ``sum_j O_ij g_j`` for every row, >= 0: O of one side, g the rows of the other factor.

    Parameters
    ----------
    side : fastnmf.data.entry_weights.Side
        The weights (p, q).
    other : ndarray (q, K)
        Padded.
    totals : ndarray (K,) of float64
        Its column sums.

    Returns
    -------
    out : ndarray (p, K), dtype of `other`
    """
    out, whole = np.empty((len(side.base), other.shape[1]), other.dtype), totals.astype(other.dtype)
    side.extra.matmul(other, out)
    dense = side.base > 0
    least = whole * other.dtype.type(rounding(other.dtype))  # a difference of equal numbers is rounding, not negative
    out[dense] = np.maximum(out[dense] + whole, least)
    return out
