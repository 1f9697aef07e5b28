"""The beta divergences with a weight for every entry; a missing value has weight zero."""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import aligned
from fastnmf.core.losses.divergences import BetaDivergence, KullbackLeibler
from fastnmf.core.losses.masked import premultiplied, shift_places
from fastnmf.core.thresholds import model_floor, rounding
from fastnmf.data.entry_weights import Side
from fastnmf.data.layout import Compressed, nonzero_means, row_index
from fastnmf.data.shifts import entries_at
from fastnmf.kernels import divergence


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
    out = np.empty((len(side.base), other.shape[1]), other.dtype)
    side.extra.matmul(other, out)
    add_to_whole(out, np.broadcast_to(totals.astype(other.dtype), out.shape), side.base > 0)
    return out


class MaskedBetaDivergence(BetaDivergence):
    """``sum_ij O_ij d(x_ij, y_ij)``, the beta divergence with ``y = W Hᵀ`` and entry weights O >= 0.

    Ratio parts: pos of W is ``(O X * Y^(b - 2)) H`` on the non-zeros, neg is ``(O * Y^(b - 1)) H``. Each row of O is D,
    or one plus D, with a sparse D. The latter is a pass over D, and for rows of the second kind another one over all
    entries, a tile at a time. Cost: O((nnz(X) + nnz(D)) K) a pass where most entries of all rows are missing, else
    O(n m K). For b <= 0 no known entry may be zero, so that O has the places of the data.

    Source: as for `BetaDivergence` and `MaskedKullbackLeibler`.

    Parameters
    ----------
    strata, width, tasks, weights :
        As for `MaskedKullbackLeibler`.
    beta : float
        Neither 1 nor 2.
    exponent : {"mm", "fast"}, default="mm"
        As for `BetaDivergence`.
    """

    def __init__(self, strata, width, tasks, weights, beta, exponent="mm"):
        super().__init__(premultiplied(strata, weights), width, tasks, beta, False, exponent)
        self.weights, side = weights, self._sides["W"]
        places = sp.csr_array((side.data, side.indices, side.indptr), strata.shape)
        at = weights.at(places).astype(np.float64)
        known = side.data / at
        self._plain = Compressed(side.indptr, side.indices, known)
        self.floor = model_floor(float(known.mean()) if len(at) else 0.0)
        self._constant = float(at @ (-np.log(known) - 1 if beta == 0 else known**beta / (beta * (beta - 1))))
        self._weighted = {"W": weights.rows, "H": weights.columns}
        if beta <= 0:
            places = sp.csr_array((at.astype(strata.dtype), side.indices, side.indptr), strata.shape)
            both = {"W": places, "H": sp.csr_array(places.T)}
            self._weighted = {
                name: Side(np.zeros(O.shape[0], np.int8), Compressed(O.indptr, O.indices, O.data))
                for name, O in both.items()
            }
        self._seen = {name: aligned(product.shape, strata.dtype) for name, product in self._products.items()}

    def floor_by_row(self):
        """As for `BetaDivergence`; the mean of a row is that of its data, without their weights."""
        self.floor = model_floor(nonzero_means(self._plain))

    def reference(self):
        """Return the divergence of the best constant model: the scale of the losses."""
        known = float(self.weights.totals(1).sum())
        if self.total == 0:
            return 0.0
        y = self.total / known
        whole = self._from_sums(self.total * y ** (self.beta - 1), known * np.log(y), known * y**self.beta)
        return max(whole, 0.0)

    def value(self, factors):
        """Return the divergence of the known entries."""
        neg, logs = self._whole("W", factors)
        powers = float(np.einsum("ij,ij->", factors["W"], neg, dtype=np.float64))  # y^(b - 1) y, summed by rows
        return self._from_sums(self.ratio_pass("W", factors)[1][0], logs, powers)

    def _whole(self, name, factors):
        """Return ``neg`` of factor W or H, and the sum of ``O log y`` (side W, b = 0)."""

        def compute():
            (base, extra), seen = self._weighted[name], self._seen[name]
            tasks, least = extra.tasks(seen.shape[1]), self.floor if self.beta < 1 else np.zeros(1)
            parts, nothing = np.empty((len(tasks) - 1 if name == "W" else 0, 2)), np.empty(0)
            room, model = np.empty(len(extra.data), seen.dtype), self._model(name, factors)
            divergence.csr_power_matmul(tasks, extra.csr, model, least, self.beta - 1, room, seen, parts, nothing)
            if base.any():
                nowhere = self._entries[name]
                whole = self._powers(name, factors, self._v(factors), nowhere, self._below[name], nothing)[0]
                add_to_whole(seen, whole, base > 0)
            return seen, float(parts[:, 1].sum())

        return factors.cached(("powers", name), self._points(), compute)


def add_to_whole(out, whole, is_whole):
    """Add sums over all entries to those of differences from them, in the rows to which they belong; >= 0.

    Parameters
    ----------
    out, whole : ndarray (p, K)
        `out` is overwritten.
    is_whole : ndarray (p,) of bool
    """
    least = whole[is_whole] * out.dtype.type(rounding(out.dtype))  # a difference of equal numbers is rounding, not less
    out[is_whole] = np.maximum(out[is_whole] + whole[is_whole], least)
