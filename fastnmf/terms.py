"""What X is compared with: the parts of an objective that see all factors."""

import numpy as np
import scipy.sparse as sp

from fastnmf.data import Compressed, single_threaded_blas
from fastnmf.kernels import divergence, rows
from fastnmf.problem import Mixture, aligned

_EACH = np.empty(0, np.int32)  # rows of neg meet the rows of the factor one by one


class Frobenius:
    """``||X - W Hᵀ||²``, the squared error.

    Half-gradients: ``W (HᵀH) - X H`` and ``H (WᵀW) - Xᵀ W``. One pass over the data each, O(nnz K), and O((n + m) K²)
    for the Gram matrices. The value needs no pass of its own.

    Parameters
    ----------
    strata : fastnmf.data.Strata
    width : int
        Padded rank K.
    tasks : dict
        Task tables of the row kernels over W and H.
    holds_products : bool, default=False
        Whether ``X H`` and ``Xᵀ W`` are kept as arrays: for schedules that move a factor more than once while the
        other stays, or both from the same point. Moves of sparse data otherwise put each row together when they meet
        it, which saves its way through memory and back (a tenth of an iteration).
    """

    def __init__(self, strata, width, tasks, holds_products=False):
        self.strata, self.width, self.tasks = strata, width, tasks
        self._holds_products = holds_products or not strata.is_sparse
        self._products = {}

    def contribute(self, name, factors, sub):
        """Add ``gram`` and ``pos`` of factor W or H."""
        other = "H" if name == "W" else "W"
        if self._holds_products or factors.has(("product", name), (other,)):
            pos = self.product(name, factors)
        else:
            side = self.strata.rows if name == "W" else self.strata.columns
            pos, sub.tasks = Mixture(side.indptr, side.indices, side.data, factors[other]), side.tasks(self.width)
        sub.add(gram=self.gram(other, factors), pos=pos)

    def value(self, factors):
        """Return the squared error from Gram matrices and the product that is at hand."""
        return self.strata.sq_norm + self._quadratic(factors) - 2 * self._with_product(factors)

    def direct(self, factors):
        """Return the squared error from the residual itself."""
        W, H = (factors[name][:, : factors.rank] for name in "WH")
        return self.strata.residual_square_sum(W, H, None)

    def gram(self, name, factors):
        """Return ``FᵀF`` of factor `name`, (K, K) in float64."""

        def compute():
            return rows.gram(self.tasks[name], factors[name])

        return factors.cached(("gram", name), (name,), compute)

    def product(self, name, factors):
        """Return ``X H`` for name W, ``Xᵀ W`` for name H; the array is overwritten by the next call that computes."""
        other = "H" if name == "W" else "W"

        def compute():
            multiply = self.strata.matmul if name == "W" else self.strata.tmatmul
            if name not in self._products:
                self._products[name] = aligned(factors[name].shape, self.strata.dtype)
            multiply(factors[other], self._products[name])
            return self._products[name]

        return factors.cached(("product", name), (other,), compute)

    def _quadratic(self, factors):
        return float(np.sum(self.gram("W", factors) * self.gram("H", factors)))

    def _with_product(self, factors):
        """Return ``<W, X H> = <H, Xᵀ W>``: from the last move, or else on the side whose product is at hand."""
        for name in ("H", "W"):
            if factors.has(("pos", name), ("W", "H")):
                return factors.cached(("pos", name), ("W", "H"), None)
        if not factors["W"].any():  # as in many a start
            return 0.0
        name = "H" if factors.has(("product", "H"), ("W",)) else "W"  # X H serves the exact W at the end, too
        return self._dot(name, factors, self.product(name, factors), _EACH)

    def _dot(self, name, factors, G, group):
        parts = np.empty(len(self.tasks[name]) - 1)
        rows.rows_dot(self.tasks[name], factors[name], G, group, parts)
        return float(parts.sum())


class StrataFrobenius(Frobenius):
    """``sum_i ||A(i) - 1 v(i)ᵀ - W(i) Hᵀ||²``, the objective of Stratified-NMF (Chapman, Yaniv, Needell 2023, eq. 2).

    On top of `Frobenius`: neg of W is ``1 (v(i)ᵀ H)`` in the rows of stratum i, neg of H is ``sum_i v(i) s(i)ᵀ`` with
    ``s(i) = W(i)ᵀ 1``, and the shifts, entry by entry, have weight m_i, pos ``A(i)ᵀ 1`` and neg ``H s(i)``.
    O(q K) each, where q is the number of pairs (stratum, column that it uses).
    """

    def __init__(self, strata, width, tasks, holds_products=False):
        super().__init__(strata, width, tasks, holds_products)
        self.pattern, self.groups = strata.pattern, strata.groups
        self.sizes = self.groups.sizes.astype(strata.dtype)
        self._sampled = np.empty(len(self.pattern.group), strata.dtype)

    def contribute(self, name, factors, sub):
        """Add the half-gradient of V, W or H."""
        if name == "V":
            sub.weight, sub.group = self.sizes, self.pattern.group
            sub.add(pos=self.pattern.sums, neg=self._shift_neg(factors))
        else:
            super().contribute(name, factors, sub)
            sub.add(neg=self._neg(name, factors))

    def value(self, factors, V=None):
        """Return the objective; nothing is computed that the moves of H or W did not need.

        With V (n_strata, n_columns), float64, return the objective for these shifts instead of those in `factors`: a
        user's start may have entries where the stratum does not use the column.
        """
        if V is not None:
            with single_threaded_blas():
                cross = np.sum((V @ factors["H"].astype(np.float64)) * self._stratum_sums(factors))
            fitted = self.groups.sizes @ np.einsum("ij,ij->i", V, V) - 2 * self.pattern.entries(V) @ self.pattern.sums
            return super().value(factors) + float(2 * cross + fitted)

        def of_shifts():
            tasks, parts = np.array([0, len(self.pattern.group)]), np.empty(1)
            rows.entries_value(tasks, self.pattern.group, self.sizes, self.pattern.sums, factors["V"], parts)
            return float(parts[0])

        own = factors.cached(("pos", "V"), ("V",), of_shifts)
        return super().value(factors) + own + 2 * self._crossed(factors)

    def direct(self, factors, V=None):
        """Return the objective from the residual itself; V as for `value`."""
        W, H = (factors[name][:, : factors.rank] for name in "WH")
        V = self.pattern.dense(factors["V"]) if V is None else V
        return self.strata.residual_square_sum(W, H, V)

    def _crossed(self, factors):
        """Return ``sum_i s(i)ᵀ H v(i)``, what shifts and components have in common."""
        for name in ("V", "H", "W"):
            if factors.has(("neg", name), ("W", "H", "V")):
                return factors.cached(("neg", name), ("W", "H", "V"), None)
        neg = self._neg("W", factors)
        return self._dot("W", factors, neg.rows, neg.group)

    def _stratum_sums(self, factors):
        return factors.cached("stratum sums", ("W",), lambda: self.groups.sum(factors["W"]))

    def _shift_neg(self, factors):
        def compute():
            self.pattern.sampled(factors["H"], self._stratum_sums(factors), self._sampled)
            return self._sampled

        return factors.cached(("below", "V"), ("W", "H"), compute)

    def _neg(self, name, factors):
        """Return neg of W, one row a stratum, or of H, mixed from the sums of W by stratum."""

        def of_rows():
            return Mixture.of(self.pattern.tmatmul(factors["V"], factors["H"]), self.groups.codes)

        if name == "W":
            return factors.cached(("below", "W"), ("V", "H"), of_rows)
        return Mixture(self.pattern.start, self.pattern.group, factors["V"], self._stratum_sums(factors))


class KullbackLeibler:
    """``sum x log(x / y) - x + y`` with ``y = (W Hᵀ)``, the generalised Kullback-Leibler divergence.

    Ratio parts (Lee and Seung 2001): pos of W is ``Z H`` with ``z = x / y`` on the non-zeros, neg ``1 (Hᵀ1)ᵀ``; of H
    alike. The objective is not quadratic. O(nnz K) a pass; the value comes with the pass of W at the same point, so
    that a history costs a logarithm a non-zero. Dense data are walked by their non-zeros, too.
    """

    def __init__(self, strata, width, tasks):
        self.strata, self.tasks = strata, tasks
        n_rows, n_columns = strata.shape
        if strata.is_sparse:
            self._sides = {"W": strata.rows, "H": strata.columns}
        else:
            rows_ = sp.csr_array(strata.X)
            turned = rows_.tocsc()
            self._sides = {"W": Compressed(rows_.indptr, rows_.indices, rows_.data)}
            self._sides["H"] = Compressed(turned.indptr, turned.indices, turned.data)
        values = self._sides["W"].data
        self._products = {name: aligned((n, width), strata.dtype) for name, n in (("W", n_rows), ("H", n_columns))}
        self._groups = {name: np.zeros(n, np.int32) for name, n in (("W", n_rows), ("H", n_columns))}
        self._ratio = np.empty(len(values), strata.dtype)
        self.total = float(values.sum(dtype=np.float64))

    def independence(self):
        """Return the divergence of the best model of rank one, the product of the margins: the scale of the losses."""
        side = self._sides["W"]
        of_row = np.add.reduceat(np.append(side.data, 0).astype(np.float64), side.indptr[:-1])
        of_row[np.diff(side.indptr) == 0] = 0
        of_column = np.bincount(side.indices, side.data, minlength=self.strata.shape[1])
        entropy = float(side.data @ np.log(side.data.astype(np.float64)))
        margins = sum(float(m[m > 0] @ np.log(m[m > 0])) for m in (of_row, of_column))
        return max(entropy + self.total * np.log(self.total) - margins, 0.0) if self.total > 0 else 0.0

    def contribute(self, name, factors, sub):
        """Add pos and neg of factor W or H at this point."""
        other = "H" if name == "W" else "W"
        sub.is_quadratic = False
        sums = self._sums(other, factors).astype(self.strata.dtype)
        sub.add(pos=self._product(name, factors)[0], neg=Mixture.of(sums[None], self._groups[name]))

    def value(self, factors):
        """Return the divergence, at the price of the pass that the next move of W needs anyhow."""
        model = float(self._sums("W", factors) @ self._sums("H", factors))
        return self._product("W", factors)[1] - self.total + model

    def _sums(self, name, factors):
        def compute():
            parts = np.empty((len(self.tasks[name]) - 1, factors[name].shape[1]))
            rows.rows_sum(self.tasks[name], factors[name], parts)
            return parts.sum(axis=0)

        return factors.cached(("sums", name), (name,), compute)

    def _product(self, name, factors):
        def compute():
            side, other = self._sides[name], "H" if name == "W" else "W"
            F, G, out = factors[name], factors[other], self._products[name]
            tasks = side.tasks(G.shape[1])
            parts = np.empty(len(tasks) - 1 if name == "W" else 0)
            divergence.csr_ratio_matmul(tasks, side.indptr, side.indices, side.data, F, G, self._ratio, out, parts)
            return out, float(parts.sum())

        return factors.cached(("ratio", name), ("W", "H"), compute)
