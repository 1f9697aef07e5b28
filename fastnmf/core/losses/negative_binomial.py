"""Negative-binomial counts: the deviance from the model, with a dispersion that is given or estimated in the fit."""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.dispersion import LARGEST_SIZE, LEAST_SIZE, CountModel, size_by_likelihood
from fastnmf.core.factors import aligned
from fastnmf.core.losses.divergences import KullbackLeibler, entropy_of, whole_entries
from fastnmf.data.layout import Compressed
from fastnmf.kernels import counts
from fastnmf.kernels.jit import split_rows
from fastnmf.kernels.records import CSR, Shifts

BLOCK = 1 << 20  # non-zeros whose logarithms are held at a time
FIRST, EVERY = 10, 30  # iterations after which the sizes are estimated again, a whole number of cycles of three


class NegativeBinomial(KullbackLeibler):
    """``sum log P(x | x) - log N(x | y, t)``: half the deviance of counts x from a negative-binomial model.

    P is the Poisson distribution with mean x, the model that fits best without dispersion; N has the mean
    ``y = u_i v(i) + (W Hᵀ)`` and the variance ``y + y² / t_j``. With the divergence
    ``D = x log(x / y) - (x + t) log((x + t) / (y + t))``, which is 0 at y = x, the value is D plus a function of x and
    t:

        sum t log(1 + y / t) + x log(1 + t / y) + x log x - x - log Γ(x + t) / Γ(t)

    It is the Kullback-Leibler divergence for t to infinity, at least 0, and comparable between different t.

    Ratio parts: with ``z = x / y`` on the non-zeros and ``q = (x + t) / (y + t)`` on all entries, pos of W is ``Z H``
    and neg ``Q H``; those of H are alike; pos and neg of a shift are the sums of ``u z`` and ``u q`` over the rows of
    its stratum. The power of the ratio is 1: -x log y is majorised by Jensen's inequality, (x + t) log(y + t) by its
    tangent, so the objective is monotone.

    Cost: O(n m K) per pass, computed a tile at a time, as for `BetaDivergence`; q is not of low rank. The sizes t are
    the maximum of the likelihood at the current factors, at the begin of iterations 1, 11, 41, 71, ...; this lowers the
    same objective.

    Source: Gouvert, Oberlin and Fevotte 2020, "Negative binomial matrix factorization", IEEE Signal Processing Letters,
    doi:10.1109/LSP.2020.2991613 (updates of W and H for one given t).

    Parameters
    ----------
    strata, width, tasks, has_shifts :
        As for `KullbackLeibler`.
    size : ndarray (n_columns,) of float64, default=None
        The sizes t, or where they start; None: at Poisson.
    kind : {"feature", "global"}, default=None
        How the sizes are estimated, as for `size_by_likelihood`; None: they are kept.
    """

    _order = _place = None

    def __init__(self, strata, width, tasks, has_shifts=False, size=None, kind=None):
        check_counts(strata)
        if getattr(strata, "design", None) is not None or not hasattr(strata, "stratum_index"):
            raise ValueError(
                "beta_loss='negative-binomial' takes one label a row as strata, not a design; use another loss, or "
                "one column of labels."
            )
        super().__init__(self._by_stratum(strata) if has_shifts else strata, width, tasks, has_shifts)
        del self._ratio, self._places  # the size of the data, and not needed here
        self.kind, self._n_done = kind, 0
        side = self._sides["W"]
        X = sp.csr_array((side.data, side.indices, side.indptr), strata.shape)
        if not X.has_sorted_indices:  # tiles are walked from left to right
            X = X.sorted_indices()
            self._sides["W"] = Compressed(X.indptr, X.indices, X.data)
        if not has_shifts:
            nothing, none = np.empty(0, np.int64), np.empty(0, np.int32)
            self._entries = dict.fromkeys("WH", CSR(nothing, none, none))
        else:  # of a column by stratum
            pattern = strata.pattern
            each = np.lexsort((pattern.group, pattern.column)).astype(np.int32)
            self._entries["H"] = CSR(self._entries["H"].indptr, pattern.group[each], each)
        self._out = {name: aligned((2, *product.shape), strata.dtype) for name, product in self._products.items()}
        del self._products
        self._of_data = (
            sum(entropy_of(side.data[lo : lo + BLOCK]) for lo in range(0, len(side.data), BLOCK)) - self.total
        )
        size = np.asarray(LARGEST_SIZE if size is None else size, dtype=np.float64)
        if size.ndim and size.shape != strata.shape[1:]:
            raise ValueError(
                f"dispersion has {len(size)} entries, but X has {strata.shape[1]} features; give one for each."
            )
        self._set_size(np.broadcast_to(size, strata.shape[1:]))

    def _by_stratum(self, strata):
        """Return the data with rows sorted by stratum, and keep their order: loops over a stratum are then simple."""
        order = strata.groups.order
        if np.array_equal(order, np.arange(len(order))):
            return strata
        self._order, self._place = order, np.argsort(order)
        inner = strata.part(order)
        inner.pattern, inner.row_scale = strata.pattern, None if strata.row_scale is None else strata.row_scale[order]
        return inner

    def share(self, room):
        """As for `KullbackLeibler`."""
        self._out["H"] = room.setdefault("both", self._out["H"])

    def _set_size(self, size):
        """Set the sizes, and the part of the value that depends on them and not on the model."""
        self.size, side = np.ascontiguousarray(size, dtype=np.float64), self._sides["H"]
        rises = np.empty((len(self.size), 3))
        counts.csr_gamma_rises(side.tasks(4), side.csr, self.size, rises)
        self._constant = self._of_data - float(rises[:, 0].sum())

    def estimate(self, factors):
        """Set the sizes to the maximum of the likelihood at `factors`."""
        W, H = (factors[name][:, : factors.rank] for name in "WH")
        W = W if self._order is None else W[self._order]
        V = self.strata.pattern.as_read(factors["V"].astype(np.float64)) if self.has_shifts else None
        model = CountModel(self.strata, W, H, V, float(self.floor[0]), self._sides["H"])
        self._set_size(size_by_likelihood(model, self.kind, self.size))
        factors.clear_cache()

    def contribute(self, name, factors, sub):
        """Add ``pos`` and ``neg`` of factor V, W or H at this point; a call for W begins an iteration."""
        if name == "W" and self.kind is not None:
            if self._n_done == 0 or self._n_done >= FIRST and (self._n_done - FIRST) % EVERY == 0:
                self.estimate(factors)
            self._n_done += 1
        super().contribute(name, factors, sub)

    def value(self, factors, V=None):
        """Return half the deviance; its pass over the data is the one that the next update of W needs as well.

        `V` as for `KullbackLeibler`.
        """
        if V is None:
            return self.ratio_pass("W", factors)[1] + self._constant
        room = np.empty_like(self._out["W"])  # leaves the cached arrays unchanged
        return self._binomial("W", factors, *whole_entries(V, self.strata.dtype), room)[1] + self._constant

    def _neg(self, name, factors):
        """Return ``neg`` of factor W or H, an array of its shape."""
        return self.ratio_pass(name, factors)[3]

    def _shift_neg(self, factors):
        """Return ``neg`` of V, float64 (q,)."""
        return self.ratio_pass("H", factors)[4]

    def ratio_pass(self, name, factors):
        """Return ``(pos, value, pos of V, neg, neg of V)`` of one pass; the value, without a constant, for W only."""
        arguments = name, factors, self._v(factors), self._entries[name], self._out[name]
        return factors.cached(("ratio", name), self._points(), lambda: self._binomial(*arguments))

    def _binomial(self, name, factors, v, entries, out):
        """Compute what `ratio_pass` returns.

        Parameters
        ----------
        name, factors, v, entries :
            As for `BetaDivergence._powers`.
        out : ndarray (2, p, K)
            Overwritten with pos and neg.
        """
        F, G = self._both(name, factors)
        if self._order is not None:
            W = factors.cached("W by stratum", ("W",), lambda: self._sorted(factors["W"]))
            F, G = (W, G) if name == "W" else (F, W)
        tasks = split_rows(len(F), G.size)
        sums = np.zeros((1, len(tasks) - 1) if name == "W" else (2, len(v)))
        stratum_index = self.strata.stratum_index if self.has_shifts else np.empty(0, np.int32)
        shifts = Shifts(v, *entries, stratum_index, self._loading, self.strata.n_strata)
        counts.rows_negative_binomial(tasks, self._sides[name].csr, F, G, shifts, self.size, self.floor, out, sums)
        if name == "H":
            return out[0], 0.0, sums[0], out[1], sums[1]
        if self._order is not None:
            out[:] = out[:, self._place]
        return out[0], float(sums.sum()), None, out[1], None

    def _sorted(self, W):
        """Return the rows of W sorted by stratum."""
        return np.take(W, self._order, axis=0, out=aligned(W.shape, W.dtype), mode="clip")

    def to_state(self):
        """Return what later iterations depend on beside the factors."""
        return {"size": self.size, "n_done": self._n_done}

    def from_state(self, state):
        """Restore the state that `to_state` returned."""
        self._n_done = state["n_done"]
        self._set_size(np.clip(state["size"], LEAST_SIZE, LARGEST_SIZE))


def check_counts(data):
    """Raise ValueError where data are of so extreme a scale that they are held in another one: they are no counts."""
    if data.log4_scale:
        largest = float((data.X.data if data.is_sparse else data.X).max()) * 4.0**-data.log4_scale
        raise ValueError(
            f"beta_loss='negative-binomial' needs counts, but the largest entry of X is {largest:.3g}; pass the counts "
            "themselves, not scaled ones."
        )
