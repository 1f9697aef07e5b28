"""The squared error, plain and with one vector of shifts for each stratum."""

import numpy as np

from fastnmf.core.factors import aligned
from fastnmf.core.problem import full
from fastnmf.core.thresholds import REVIVAL_GAIN
from fastnmf.data.shifts import square_lengths
from fastnmf.kernels import designs, rows
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.records import LazyRows

MAX_RESEEDINGS = 10  # attempts to reseed a component in a fit


class Frobenius:
    """``||X - W Hᵀ||²``, the squared error.

    Half-gradients: ``W (HᵀH) - X H`` and ``H (WᵀW) - Xᵀ W``. Cost: one pass over the data for each, O(nnz K), and
    O((n + m) K²) for the Gram matrices. The value needs no pass of its own.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    width : int
        Padded rank K.
    tasks : dict of str to ndarray of int64
        Task tables of the row kernels over W and H.
    holds_products : bool, default=False
        Whether ``X H`` and ``Xᵀ W`` are kept as arrays. This is needed by schedules that update a factor more than once
        while the other one stays fixed, or that update both from the same point. Otherwise updates of sparse data
        compute each row of the product when they need it, which avoids writing the product to memory and reading it
        back.
    """

    touches = ("W", "H", "V")

    def __init__(self, strata, width, tasks, holds_products=False):
        self.strata, self.width, self.tasks = strata, width, tasks
        self._holds_products = holds_products or not strata.is_sparse
        self._products, self.reseedings = {}, 0

    def contribute(self, name, factors, sub):
        """Add ``gram`` and ``pos`` of factor W or H."""
        other = "H" if name == "W" else "W"
        if self._holds_products or factors.cache_valid(("product", name), (other,)):
            pos = self.product(name, factors)
        else:
            side = self.strata.rows if name == "W" else self.strata.columns
            pos, sub.tasks = LazyRows(*side.csr, factors[other]), side.tasks(self.width)
        sub.add(gram=self.gram(other, factors), pos=pos)

    def value(self, factors):
        """Return the squared error from Gram matrices and the product that is available."""
        return self.strata.sq_norm + self._quadratic(factors) - 2 * self._with_product(factors)

    def exact_value(self, factors):
        """Return the squared error from the residual itself."""
        W, H = (factors[name][:, : factors.rank] for name in "WH")
        return self.strata.residual_square_sum(W, H, None)

    def to_state(self):
        """Return what later iterations depend on beside the factors."""
        return {"reseedings": self.reseedings}

    def from_state(self, state):
        """Restore the state that `to_state` returned."""
        self.reseedings = state["reseedings"]

    def reseed_dead_component(self, factors):
        """Replace a dead component by the residual of the row that the model fits worst; tell whether it did.

        The component becomes the positive part of that row's residual. Its weights are zero until the next sweep over
        W. It is replaced only if the squared length of that part exceeds `REVIVAL_GAIN` times that of the data, and at
        most `MAX_RESEEDINGS` times in a fit. For models without penalties and without fixed components.
        """
        is_dead = (np.diagonal(self.gram("W", factors)) == 0) | (np.diagonal(self.gram("H", factors)) == 0)
        dead = np.flatnonzero(is_dead[: factors.rank])
        if len(dead) == 0 or self.reseedings >= MAX_RESEEDINGS:
            return False
        self.reseedings += 1
        W, H = factors["W"], factors["H"]
        errors, row_scale = self._row_errors(factors), self.strata.row_scale
        if row_scale is not None:  # the weight counts how often a row occurs, not how badly it is fitted
            errors = np.divide(errors, np.square(row_scale, dtype=np.float64), out=0 * errors, where=row_scale > 0)
        row = int(np.argmax(errors))
        if row_scale is not None and row_scale[row] == 0:  # all rows that count are fitted
            return False
        missed = self._spare(row, factors) / (1 if row_scale is None else row_scale[row])
        if not np.square(missed, dtype=np.float64).sum() > REVIVAL_GAIN * self.strata.sq_norm:
            return False
        W[:, dead[0]], H[:, dead[0]] = 0, missed
        factors.invalidate("W")
        factors.invalidate("H")
        return True

    def _spare(self, row, factors):
        """Return the new values of a dead component that shall fit a row, dense (n_columns,)."""
        return np.maximum(self._row(row, factors) - factors["H"] @ factors["W"][row], 0)

    def _row(self, row, factors):
        """Return the data of a row minus its shift, dense (n_columns,)."""
        X = self.strata.X
        if not self.strata.is_sparse:
            return X[row].copy()
        out = np.zeros(X.shape[1], X.dtype)
        part = slice(X.indptr[row], X.indptr[row + 1])
        out[X.indices[part]] = X.data[part]
        return out

    def _row_errors(self, factors, squares=None):
        """Return the squared error of every row, float64 (n_rows,)."""
        W = factors["W"].astype(np.float64)
        squares = self.strata.row_square_sums(None) if squares is None else squares
        neg = self._neg_rows(factors)
        linear = self.product("W", factors) if neg is None else self.product("W", factors) - neg
        with single_threaded_blas():
            return squares + np.einsum("ij,ij->i", W, W @ self.gram("H", factors) - 2 * linear)

    def _neg_rows(self, factors):
        """Return ``neg`` of W as an array (n_rows, K), or None."""
        return None

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
        """Return ``||W Hᵀ||²`` from the two Gram matrices."""
        return float(np.sum(self.gram("W", factors) * self.gram("H", factors)))

    def _with_product(self, factors):
        """Return ``<W, X H> = <H, Xᵀ W>``: from the last update, or else on the side whose product is available."""
        for name in ("H", "W"):
            if factors.cache_valid(("pos", name), ("W", "H")):
                return factors.cached(("pos", name), ("W", "H"), None)
        if factors.is_zero("W"):  # as in many starts
            return 0.0
        name = "H" if factors.cache_valid(("product", "H"), ("W",)) else "W"  # the final exact W needs X H, too
        parts = np.empty(len(self.tasks[name]) - 1)
        rows.rows_dot(self.tasks[name], factors[name], self.product(name, factors), parts)
        return float(parts.sum())


class StrataFrobenius(Frobenius):
    """``sum_i ||A(i) - 1 v(i)ᵀ - W(i) Hᵀ||²``, the objective of Stratified-NMF.

    Half-gradients, in addition to those of `Frobenius`: neg of W is ``1 (v(i)ᵀ H)`` in the rows of stratum i, and neg
    of H is ``sum_i v(i) s(i)ᵀ`` with ``s(i) = W(i)ᵀ 1``. The subproblem of the shifts is separable by entry, with
    weight m_i, pos ``A(i)ᵀ 1`` and neg ``H s(i)``. Cost: O(q K) each, where q is the number of pairs (stratum, column
    that it uses).

    A single pass over the pattern that computes neg, updates the shifts and sums ``V H`` for W was tried. On an idle
    machine an iteration took as long as with three passes, in 5 interleaved runs on 20 newsgroups.

    Source: Chapman, Yaniv and Needell 2023, eq. 2.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    width : int
        Padded rank K.
    tasks : dict of str to ndarray of int64
        Task tables of the row kernels over W and H.
    holds_products : bool, default=False
        As for `Frobenius`.
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
        """Return the objective from results that the updates of H or W have computed already.

        With V (n_strata, n_columns), float64, dense or CSR, return the objective for these shifts instead of those in
        `factors`: a user's start may have entries where the stratum does not use the column.
        """
        if V is not None:
            with single_threaded_blas():
                cross = np.sum((V @ factors["H"].astype(np.float64)) * self._stratum_sums(factors))
            return super().value(factors) + float(2 * cross + self._of_all_shifts(V))

        own = factors.cached(("pos", "V"), ("V",), lambda: self._of_shifts(factors["V"]))
        return super().value(factors) + own + 2 * self._crossed(factors)

    def _of_all_shifts(self, V):
        """Return ``||1 V||² - 2 <1 V, X>`` for shifts V (n_strata, n_columns), dense or CSR."""
        return self.groups.sizes @ square_lengths(V) - 2 * self.pattern.entries(V) @ self.pattern.sums

    def _of_shifts(self, v):
        """Return ``||1 V||² - 2 <1 V, X>`` for the entries v (q,) of the shifts."""
        tasks, parts = np.array([0, len(self.pattern.group)]), np.empty(1)
        rows.entries_value(tasks, self.pattern.group, self.sizes, self.pattern.sums, v, parts)
        return float(parts[0])

    def exact_value(self, factors, V=None):
        """Return the objective from the residual itself; V as for `value`."""
        W, H = (factors[name][:, : factors.rank] for name in "WH")
        V = self.pattern.as_read(factors["V"]) if V is None else V
        return self.strata.residual_square_sum(W, H, V)

    def _row(self, row, factors):
        shift = self.pattern.row(factors["V"], self.groups.stratum_index[row])
        row_scale = 1 if self.strata.row_scale is None else self.strata.row_scale[row]
        return super()._row(row, factors) - row_scale * shift

    def _row_errors(self, factors, squares=None):
        return super()._row_errors(factors, self.strata.row_square_sums(self.pattern.as_read(factors["V"])))

    def _neg_rows(self, factors):
        return full(self._neg("W", factors))

    def _lazy_shifts(self, below):
        """Return neg of W for ``V H``, an array (n_strata, K)."""
        return LazyRows.of(below, self.groups.stratum_index, self.strata.row_scale)

    def _crossed(self, factors):
        """Return ``sum_i s(i)ᵀ H v(i)``, the inner product of shifts and components."""
        for name in ("V", "H", "W"):
            if factors.cache_valid(("neg", name), ("W", "H", "V")):
                return factors.cached(("neg", name), ("W", "H", "V"), None)
        below = self._neg("W", factors).rows
        return float(np.einsum("ij,ij->", self._stratum_sums(factors), below, dtype=np.float64))

    def _stratum_sums(self, factors):
        """Return s, the sums of the rows of W by stratum, (n_strata, K)."""
        return factors.cached("stratum sums", ("W",), lambda: self.groups.sum(factors["W"]))

    def _shift_neg(self, factors):
        """Return ``neg`` of the shifts, an array (q,)."""

        def compute():
            self.pattern.sampled(factors["H"], self._stratum_sums(factors), self._sampled)
            return self._sampled

        return factors.cached(("below", "V"), ("W", "H"), compute)

    def _neg(self, name, factors):
        """Return ``neg`` of factor W or H as `LazyRows`.

        That of W has one row for each stratum; that of H consists of weighted sums of the stratum sums of W.
        """

        def of_rows():
            below = self.pattern.tmatmul(factors["V"], factors["H"])
            return self._lazy_shifts(below)

        if name == "W":
            return factors.cached(("below", "W"), ("V", "H"), of_rows)
        return LazyRows(self.pattern.start, self.pattern.group, factors["V"], self._stratum_sums(factors))


class DesignFrobenius(StrataFrobenius):
    """``||X - Z Vᵀ - W Hᵀ||²`` for a fixed design Z >= 0: a row has several shifts, or shifts by degrees.

    Half-gradients, in addition to those of `Frobenius`: neg of W is ``Z (Vᵀ H)``, and neg of H is ``V (Zᵀ W)``. That of
    V is ``V (Zᵀ Z) + H (Zᵀ W) - Xᵀ Z``: the entries of one column meet. Cost: O(nnz(XᵀZ) K) each, and O(nnz(Z) K) for
    W. Where a row has one entry in Z, as with the exposure of strata, no entries meet, and V has a closed form.

    Parameters
    ----------
    strata : fastnmf.data.design.DesignedStrata
    width, tasks, holds_products :
        As for `StrataFrobenius`.
    """

    def __init__(self, strata, width, tasks, holds_products=False):
        super().__init__(strata, width, tasks, holds_products)
        self.sizes = strata.gram.diagonal().astype(strata.dtype)

    def contribute(self, name, factors, sub):
        """Add the half-gradient of V, W or H."""
        if name == "V" and self.strata.entries_meet:
            sub.pattern = self.pattern
            sub.add(gram=self.strata.gram, pos=self.pattern.sums, neg=self._shift_neg(factors))
        else:
            super().contribute(name, factors, sub)

    def _lazy_shifts(self, below):
        return self.strata.lazy_shifts(below)

    def _of_all_shifts(self, V):
        return float(((self.strata.gram @ V) * V).sum()) - 2 * self.pattern.entries(V) @ self.pattern.sums

    def _of_shifts(self, v):
        if not self.strata.entries_meet:
            return super()._of_shifts(v)
        return designs.descend(self.pattern.as_csr(v), self.strata.gram, self.pattern.sums, np.zeros_like(v), 0)[0]

    def _row(self, row, factors):
        shift = self.strata.shift_rows(self.pattern.as_read(factors["V"]), slice(row, row + 1))[0]
        return super(StrataFrobenius, self)._row(row, factors) - shift
