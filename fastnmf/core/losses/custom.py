"""Losses that a user writes: divergences that are sums over entries, from two parts of their derivative.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``. The user's functions see the data and the model in the units of the user.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import aligned
from fastnmf.core.losses.choice import Divergence
from fastnmf.core.losses.divergences import _Divergence
from fastnmf.core.thresholds import MODEL_SHARE, MOST_BITS
from fastnmf.data.layout import nonzero_means, row_index
from fastnmf.data.shifts import rows_of
from fastnmf.kernels import products
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.records import CSR, LazyRows
from fastnmf.typing import Floats

TILE = 1 << 20  # entries of the model that are held at a time: 8 MB
SAFE_POWERS = (0.5, 0.25, 0.125, 0.0625, 1 / 64, 1 / 1024)  # tried in this order after a step raised the objective


class EntrywiseLoss(Divergence):
    """A loss ``D(X | Y) = sum_ij d(x_ij, y_ij)`` of one's own; a subclass defines `value`, `pos` and `neg`.

    All three get arrays of the same shape, x >= 0 and y > 0, float64, in the units of the data, and return an array of
    that shape. The derivative of d with respect to y is written as ``neg(x, y) - pos(x, y)``, both >= 0: multiplicative
    updates multiply a factor by the ratio of the sums of these parts (Lee and Seung 2001). An iteration that raised the
    objective is repeated with a smaller power of the ratio.

    Pass an object of it as `beta_loss` to a model with ``solver="mu"``, or as `loss` to
    `fastnmf.compose.Factorization`. `fastnmf.testing.check_loss` tests the formulas.

    Attributes
    ----------
    degree : float, default=1.0
        Power with which the loss grows with the units: ``D(t X | t Y) = t ** degree D(X | Y)``; 0 if there is none.
        `sample_weight` needs one above 0.
    zero_slope : float or None, default=None
        If ``d(0, y) = zero_slope * y``, as in Kullback-Leibler (1): the derivative where x is 0. An iteration then
        costs O(nnz k), in place of O(n m k), as only the non-zeros of X are visited.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import NMF
    >>> from fastnmf.compose import EntrywiseLoss
    >>> class Neyman(EntrywiseLoss):  # (x - y)² / y
    ...     degree, zero_slope = 1.0, 1.0
    ...     def value(self, x, y):
    ...         return (x - y) ** 2 / y
    ...     def pos(self, x, y):
    ...         return (x / y) ** 2
    ...     def neg(self, x, y):
    ...         return np.ones_like(y)
    >>> X = np.outer([1.0, 2, 3], [1.0, 0, 2])
    >>> model = NMF(1, solver="mu", beta_loss=Neyman(), random_state=0).fit(X)
    >>> (model.W_ @ model.components_).round(3).tolist() == X.tolist()
    True
    """

    degree: float = 1.0
    zero_slope: float | None = None

    def __repr__(self):
        return f"{type(self).__name__}()"

    def value(self, x: Floats, y: Floats) -> Any:
        """Return d(x, y) of each entry."""
        raise NotImplementedError(f"{type(self).__name__} has no method value(x, y); define it.")

    def pos(self, x: Floats, y: Floats) -> Any:
        """Return the part of the derivative with respect to y that is subtracted, of each entry, >= 0."""
        raise NotImplementedError(f"{type(self).__name__} has no method pos(x, y); define it.")

    def neg(self, x: Floats, y: Floats) -> Any:
        """Return the part of the derivative with respect to y that is added, of each entry, >= 0."""
        raise NotImplementedError(f"{type(self).__name__} has no method neg(x, y); define it.")

    def build(
        self, data: Any, width: int, tasks: Any, *, has_shifts: bool = False, exponent: str = "mm"
    ) -> tuple[Any, float]:
        """Return the loss of one fit, and the loss of a constant model.

        Parameters
        ----------
        data, width, tasks, has_shifts, exponent :
            As for `Divergence.build`; `exponent` is not used.
        """
        loss = CustomDivergence(data, width, tasks, self, has_shifts)
        return loss, loss.reference()


class CustomDivergence(_Divergence):
    """The loss of one fit with an `EntrywiseLoss`; ``neg - pos`` is its gradient.

    Cost: O(nnz K) per pass where the user's loss has a `zero_slope`, else O(n m K), a tile at a time; and that of the
    user's functions.

    Parameters
    ----------
    strata, width, tasks :
        As for `fastnmf.core.losses.KullbackLeibler`.
    user : EntrywiseLoss
    has_shifts : bool, default=False
        Whether there is a factor V, entries (q,) on ``strata.pattern``.
    """

    power, safe_powers = 1.0, SAFE_POWERS

    def __init__(self, strata, width, tasks, user, has_shifts=False):
        super().__init__(strata, width, tasks, has_shifts)
        self.user, self._units = user, float(np.exp2(-2 * strata.log4_scale))
        power = np.clip(2 * strata.log4_scale * user.degree, -MOST_BITS, MOST_BITS)
        self._scale = float(np.exp2(power))  # of the loss: the inner one is this much larger than the user's
        self.floor = MODEL_SHARE * np.array([self.total / max(len(self._sides["W"].data), 1) or 1.0])
        self._negs = {name: aligned(product.shape, strata.dtype) for name, product in self._products.items()}
        if has_shifts:
            self._counts = self.sizes[strata.pattern.group].astype(np.float64)

    def floor_by_row(self):
        """Take the floor of each row from its own non-zeros; see `KullbackLeibler`."""
        means = nonzero_means(self._sides["W"])
        self.floor = np.where(means > 0, MODEL_SHARE * means, self.floor)

    def value(self, factors, V=None):
        """Return the loss; `V` as for `fastnmf.core.losses.KullbackLeibler`."""
        if V is not None:
            return self._sum_of_tiles(factors, V)
        return self.ratio_pass("W", factors)[1]

    def reference(self):
        """Return the loss of the best model that is constant in each row, by the mean of the data."""
        n_rows, n_columns = self.strata.shape
        u = self._loading.astype(np.float64) if len(self._loading) else np.ones(n_rows)
        side, slope = self._sides["W"], self.user.zero_slope
        if not side.data.any():
            return 0.0
        share = float(side.data.sum(dtype=np.float64)) / (n_columns * u.sum())
        of_row = self._units * np.maximum(share * u, self.floor)
        if slope is not None:
            x, y = self._units * side.data.astype(np.float64), of_row[row_index(side)]
            return self._scale * (self._sum(x, y) + slope * (n_columns * of_row.sum() - y.sum()))
        each = (self._sum(x, np.broadcast_to(of_row[part, None], x.shape)) for part, x in self._tiles("W"))
        return self._scale * sum(each)

    def _sum(self, x, y):
        return float(np.sum(self._call("value", x, y), dtype=np.float64))

    def _call(self, method, x, y):
        """Return what a function of the user returns, or raise where that cannot be used."""
        found = np.asarray(getattr(self.user, method)(x, y), dtype=np.float64)
        if found.shape != y.shape:
            raise ValueError(
                f"{type(self.user).__name__}.{method} returned the shape {found.shape} for arguments of shape "
                f"{y.shape}; return one number for each entry."
            )
        if not np.isfinite(found).all() or (method != "value" and (found < 0).any()):
            least = "" if method == "value" else " and not negative"
            raise ValueError(f"{type(self.user).__name__}.{method} must be finite{least} for every x >= 0 and y > 0.")
        return found

    def _tiles(self, name):
        """Yield ``(part, x)``: a slice of the rows of a side and their data, dense, in the user's units."""
        side, shape = self._sides[name], self.strata.shape if name == "W" else self.strata.shape[::-1]
        X = sp.csr_array((side.data, side.indices, side.indptr), shape)  # shares the arrays
        step = max(1, TILE // shape[1])
        for lo in range(0, shape[0], step):
            part = slice(lo, lo + step)
            yield part, self._units * X[part].toarray().astype(np.float64)  # never-densify-ok: one tile

    def _modelled(self, name, factors, V=None):
        """Yield ``(part, x, y)``: a slice of the rows of a side, their data and their model in the user's units."""
        F, G = self._both(name, factors)
        strata, u = self.strata, self._loading if len(self._loading) else 1.0
        if self.has_shifts:
            V = strata.pattern.as_read(factors["V"]) if V is None else V
            V = V.T.tocsr() if sp.issparse(V) and name == "H" else V.T if name == "H" else V
        for part, x in self._tiles(name):
            with single_threaded_blas():  # so that the bits do not depend on the number of threads
                y = (F[part] @ G.T).astype(np.float64)
            if self.has_shifts and name == "W":
                y += rows_of(V, strata.stratum_index[part]) * np.broadcast_to(u, len(F))[part, None]
            elif self.has_shifts:
                y += rows_of(V, part)[:, strata.stratum_index] * u
            yield part, x, self._units * np.maximum(y, self.floor if len(self.floor) == 1 else self.floor[part, None])

    def _sum_of_tiles(self, factors, V):
        return self._scale * sum(self._sum(x, y) for _, x, y in self._modelled("W", factors, V))

    def ratio_pass(self, name, factors):
        """Return ``(pos, value, pos of V, neg, neg of V)`` of factor `name` at this point; the value for W only."""
        compute = self._walk_tiles if self.user.zero_slope is None else self._walk_entries
        return factors.cached(("ratio", name), self._points(), lambda: compute(name, factors))

    def _walk_tiles(self, name, factors):
        """Return what `_pass` returns, from all entries."""
        other, pos, neg = self._both(name, factors)[1], self._products[name], self._negs[name]
        gradient, total, of_V = self._scale * self._units, 0.0, ([], [])
        by_stratum, pattern = None, self.strata.pattern if self.has_shifts else None
        if self.has_shifts and name == "H":
            by_stratum = self._by_stratum()
        for part, x, y in self._modelled(name, factors):
            for side, out, sums in zip(("pos", "neg"), (pos, neg), of_V, strict=True):
                slope = gradient * self._call(side, x, y)
                with single_threaded_blas():
                    out[part] = slope @ other
                if by_stratum is not None:
                    here = slice(*pattern.start[[part.start, min(part.stop, len(pos))]])
                    sums.append((slope @ by_stratum)[pattern.column[here] - part.start, pattern.group[here]])
            total += self._sum(x, y) if name == "W" else 0.0
        of_V = [np.concatenate(sums) if sums else None for sums in of_V]
        return pos, self._scale * total, of_V[0], neg, of_V[1]

    def _by_stratum(self):
        """Return the matrix (n_rows, n_strata) with the row scale of each row at its stratum."""
        strata = self.strata
        u = self._loading.astype(np.float64) if len(self._loading) else np.ones(strata.shape[0])
        return sp.csr_array((u, strata.stratum_index, np.arange(len(u) + 1)), (len(u), strata.n_strata))

    def _walk_entries(self, name, factors):
        """Return what `_pass` returns, from the non-zeros and the slope of zeros."""
        side, (F, other), slope = self._sides[name], self._both(name, factors), self.user.zero_slope
        y = np.empty(len(side.data), F.dtype)
        products.csr_sampled(side.tasks(F.shape[1]), side.indptr, side.indices, F, other, y)
        x, y, gradient = self._units * side.data.astype(np.float64), y.astype(np.float64), self._scale * self._units
        row_scale = 1.0
        if self.has_shifts:
            if len(self._loading):
                row_scale = self._loading.astype(np.float64)[row_index(side) if name == "W" else side.indices]
            y += row_scale * factors["V"][self._places[name]]
        floor = self.floor if len(self.floor) == 1 else self.floor[row_index(side)]
        model, y = self._units * y, self._units * np.maximum(y, floor)
        sides = {sign: self._call(sign, x, y) for sign in ("pos", "neg")}
        sides["neg"] -= slope  # beyond what a zero would give
        sums = self._of_zeros(name, factors)
        pos, neg = self._products[name], self._negs[name]
        products.csr_matmul(side.tasks(pos.shape[1]), self._entries_of(side, gradient * sides["pos"]), other, pos)
        if sides["neg"].any():
            products.csr_matmul(side.tasks(neg.shape[1]), self._entries_of(side, gradient * sides["neg"]), other, neg)
            neg += sums
            np.maximum(neg, 0, out=neg)
        else:
            neg = LazyRows.of(sums[None], np.zeros(len(neg), np.int32))
        total, of_V = 0.0, [None, None]
        if name == "W":
            total = float(np.sum(self._call("value", x, y) - slope * model, dtype=np.float64))
            total = self._scale * (total + slope * self._units * self._model_sum(factors))
        elif self.has_shifts:
            q = len(self._counts)
            of_V = [gradient * np.bincount(self._places[name], row_scale * sides[sign], q) for sign in ("pos", "neg")]
            of_V[1] = np.maximum(of_V[1] + gradient * slope * self._counts, 0)
        return pos, total, of_V[0], neg, of_V[1]

    def _entries_of(self, side, values):
        return CSR(side.indptr, side.indices, values.astype(self.strata.dtype))

    def _of_zeros(self, name, factors):
        """Return ``neg`` of a row without non-zeros, (K,) of the dtype of the data."""
        sums = (
            self._scale * self._units * self.user.zero_slope * self._column_sums("H" if name == "W" else "W", factors)
        )
        return sums.astype(self.strata.dtype)

    def _column_sums(self, name, factors):
        return factors.cached(("sums", name), (name,), lambda: factors[name].sum(axis=0, dtype=np.float64))

    def _model_sum(self, factors):
        """Return the sum of the model over all entries, in the inner scale."""
        total = float(self._column_sums("W", factors) @ self._column_sums("H", factors))
        return total + (float(self._counts @ factors["V"]) if self.has_shifts else 0.0)

    def _neg(self, name, factors):
        """Return ``neg`` of factor W or H."""
        return self.ratio_pass(name, factors)[3]

    def _shift_neg(self, factors):
        """Return ``neg`` of V, float64 (q,)."""
        return self.ratio_pass("H", factors)[4]
