"""The squared error, plain and with one shift a stratum."""

import numpy as np

from fastnmf.blas import single_threaded_blas
from fastnmf.kernels import rows
from fastnmf.problem import Mixture, aligned, full

REVIVALS = 10  # attempts in a fit
REVIVAL_GAIN = 1e-6  # of the squared norm of the data


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
        it, which saves its way through memory and back.
    """

    touches = ("W", "H", "V")

    def __init__(self, strata, width, tasks, holds_products=False):
        self.strata, self.width, self.tasks = strata, width, tasks
        self._holds_products = holds_products or not strata.is_sparse
        self._products, self.revivals = {}, 0

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

    def revive(self, factors):
        """Replace a dead component by the row that the model misses most; tell whether that is worth it.

        The component becomes what is positive of the row's residual, and has no weight yet: the next sweep over W gives
        it some. For models without penalties and fixed components.
        """
        is_dead = (np.diagonal(self.gram("W", factors)) == 0) | (np.diagonal(self.gram("H", factors)) == 0)
        dead = np.flatnonzero(is_dead[: factors.rank])
        if len(dead) == 0 or self.revivals >= REVIVALS:
            return False
        self.revivals += 1
        W, H = factors["W"], factors["H"]
        errors, loading = self._row_errors(factors), self.strata.loading
        if loading is not None:  # a heavy row is one that is there often, not one that is missed more
            errors = np.divide(errors, np.square(loading, dtype=np.float64), out=0 * errors, where=loading > 0)
        row = int(np.argmax(errors))
        missed = self._spare(row, factors) / (1 if loading is None else loading[row])
        if not np.square(missed, dtype=np.float64).sum() > REVIVAL_GAIN * self.strata.sq_norm:
            return False
        W[:, dead[0]], H[:, dead[0]] = 0, missed
        factors.moved("W")
        factors.moved("H")
        return True

    def _spare(self, row, factors):
        """Return what a dead component becomes for the sake of a row, dense (n_columns,)."""
        return np.maximum(self._row(row, factors) - factors["H"] @ factors["W"][row], 0)

    def _row(self, row, factors):
        """Return the data of a row, less its shift, dense (n_columns,)."""
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
        return float(np.sum(self.gram("W", factors) * self.gram("H", factors)))

    def _with_product(self, factors):
        """Return ``<W, X H> = <H, Xᵀ W>``: from the last move, or else on the side whose product is at hand."""
        for name in ("H", "W"):
            if factors.has(("pos", name), ("W", "H")):
                return factors.cached(("pos", name), ("W", "H"), None)
        if not factors["W"].any():  # as in many a start
            return 0.0
        name = "H" if factors.has(("product", "H"), ("W",)) else "W"  # X H serves the exact W at the end, too
        parts = np.empty(len(self.tasks[name]) - 1)
        rows.rows_dot(self.tasks[name], factors[name], self.product(name, factors), parts)
        return float(parts.sum())


class StrataFrobenius(Frobenius):
    """``sum_i ||A(i) - 1 v(i)ᵀ - W(i) Hᵀ||²``, the objective of Stratified-NMF (Chapman, Yaniv, Needell 2023, eq. 2).

    On top of `Frobenius`: neg of W is ``1 (v(i)ᵀ H)`` in the rows of stratum i, neg of H is ``sum_i v(i) s(i)ᵀ`` with
    ``s(i) = W(i)ᵀ 1``, and the shifts, entry by entry, have weight m_i, pos ``A(i)ᵀ 1`` and neg ``H s(i)``.
    O(q K) each, where q is the number of pairs (stratum, column that it uses).

    (One pass over the pattern that finds neg, moves the shifts and sums ``V H`` for W on the way was tried: on an idle
    machine an iteration took as long as with three passes, in 5 interleaved runs on 20 newsgroups.)
    """

    def __init__(self, strata, width, tasks, holds_products=False):
        super().__init__(strata, width, tasks, holds_products)
        self.pattern, self.groups = strata.pattern, strata.groups
        self.sizes = self.groups.sizes.astype(strata.dtype)
        self._each = np.arange(strata.shape[0] + 1)
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

    def _row(self, row, factors):
        shift = self.pattern.row(factors["V"], self.groups.codes[row])
        loading = 1 if self.strata.loading is None else self.strata.loading[row]
        return super()._row(row, factors) - loading * shift

    def _row_errors(self, factors, squares=None):
        return super()._row_errors(factors, self.strata.row_square_sums(self.pattern.dense(factors["V"])))

    def _neg_rows(self, factors):
        return full(self._neg("W", factors))

    def _crossed(self, factors):
        """Return ``sum_i s(i)ᵀ H v(i)``, what shifts and components have in common."""
        for name in ("V", "H", "W"):
            if factors.has(("neg", name), ("W", "H", "V")):
                return factors.cached(("neg", name), ("W", "H", "V"), None)
        below = self._neg("W", factors).rows
        return float(np.einsum("ij,ij->", self._stratum_sums(factors), below, dtype=np.float64))

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
            below, loading = self.pattern.tmatmul(factors["V"], factors["H"]), self.strata.loading
            if loading is None:
                return Mixture.of(below, self.groups.codes)
            return Mixture(self._each, self.groups.codes, loading, below)

        if name == "W":
            return factors.cached(("below", "W"), ("V", "H"), of_rows)
        return Mixture(self.pattern.start, self.pattern.group, factors["V"], self._stratum_sums(factors))
