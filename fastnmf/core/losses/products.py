"""Squared errors of other products: ``F Fᵀ``, ``W S Hᵀ``, ``W S1 S2 Hᵀ``, ``W S Wᵀ``, ``X H Hᵀ``, ``W Cᵀ X``.

Factors are tall and padded, as in the other losses. Where a factor occurs twice in the product, its half-gradient is
not that of a quadratic. The loss then sets ``sub.is_quadratic = False`` and sets ``sub.power`` to the exponent for
which the multiplicative update is proved monotone.
"""

import numpy as np
import scipy.sparse as sp

from fastnmf.core.factors import aligned
from fastnmf.core.losses.squared import Frobenius
from fastnmf.core.problem import MixedRows
from fastnmf.core.thresholds import REVIVAL_GAIN
from fastnmf.data.layout import Compressed, row_squares
from fastnmf.kernels import products, rows
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.jit import split_costs
from fastnmf.kernels.records import LazyRows

PARTS = 1 << 22  # numbers in the partial sums of the norms of a product's rows: 32 MB


def _inner(F, G):
    """Return ``FᵀG`` of two tall factors, float64; one BLAS thread, so that the bits do not depend on threads."""
    with single_threaded_blas():
        return F.T.astype(np.float64, copy=False) @ G.astype(np.float64, copy=False)


def _times(F, M):
    """Return ``F M`` for a tall factor and a small matrix, in the dtype of F."""
    out = aligned((len(F), M.shape[1]), F.dtype)
    with single_threaded_blas():
        np.matmul(F, M.astype(F.dtype), out=out)
    return out


class Operator:
    """A symmetric matrix of which only products with a factor are computed.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    of : {None, "rows", "columns"}
        None for the data themselves, "rows" for ``X Xᵀ``, "columns" for ``Xᵀ X``. The latter two are never stored as a
        whole.
    """

    def __init__(self, strata, of=None):
        self.strata, self.of = strata, of
        self.size = strata.shape[1] if of == "columns" else strata.shape[0]

    def matmul(self, F):
        """Return the product with F (p, K), a new array."""
        return self.second(F if self.of is None else self.first(F))

    def first(self, F):
        """Return the product of the right one of the two matrices with F: ``Xᵀ F`` for rows, ``X F`` for columns."""
        out = aligned((self.strata.shape[self.of == "rows"], F.shape[1]), self.strata.dtype)
        (self.strata.matmul if self.of == "columns" else self.strata.tmatmul)(F, out)
        return out

    def second(self, F):
        """Return the product of the left one of the two matrices, or of the data themselves, with F."""
        out = aligned((self.size, F.shape[1]), self.strata.dtype)
        (self.strata.tmatmul if self.of == "columns" else self.strata.matmul)(F, out)
        return out

    def row_square_sums(self):
        """Return the squared norm of every row, float64 (p,); dense products are formed a few rows at a time."""
        if self.of is None:
            return self.strata.row_square_sums()
        X = self.strata.X if self.of == "columns" else self.strata.X.T
        if self.strata.is_sparse:
            return _gram_squares(X.tocsr())
        found, step = np.empty(self.size), max(1, (1 << 22) // self.size)
        with single_threaded_blas():
            for lo in range(0, self.size, step):
                found[lo : lo + step] = np.square(X.T[lo : lo + step] @ X, dtype=np.float64).sum(axis=1)
        return found


def _gram_squares(X):
    """Return the squared norms of the rows of ``Xᵀ X`` for non-negative X (p, q) in CSR, float64 (q,)."""
    X = X if X.has_sorted_indices else X.sorted_indices()
    turned = sp.csr_array((np.arange(X.nnz, dtype=np.int64), X.indices, X.indptr), X.shape).tocsc()
    of_row, place, csr = (
        turned.indices.astype(np.int32, copy=False),
        turned.data,
        Compressed(X.indptr, X.indices, X.data),
    )
    ahead = csr.indptr[of_row + np.int64(1)] - place  # entries of the row from this one on, with which it is multiplied
    start = turned.indptr.astype(np.int64, copy=False)
    tasks = split_costs(np.concatenate([[0], np.cumsum(ahead)])[start], 1)
    n_tasks = max(1, min(len(tasks) - 1, PARTS // max(X.shape[1], 1)))
    tasks = tasks[np.linspace(0, len(tasks) - 1, n_tasks + 1).astype(int)]
    parts = np.empty((n_tasks, X.shape[1]))
    products.csr_gram_squares(tasks, csr.csr, start, place, of_row, parts)
    return parts.sum(axis=0)


class DenseOperator:
    """A dense symmetric matrix with entries of any sign, as a kernel.

    Parameters
    ----------
    matrix : ndarray (p, p)

    Attributes
    ----------
    minus : ndarray (p, p), or None
        The negative part as non-negative numbers; None where no entry is negative.
    """

    def __init__(self, matrix):
        self.matrix, self.size = matrix, len(matrix)
        self.minus = np.maximum(-matrix, 0) if (matrix < 0).any() else None

    def matmul(self, F):
        """Return the product with F (p, K), a new array."""
        return _times(self.matrix, F)

    def matmul_minus(self, F):
        """Return the product of the negative part, as non-negative numbers, with F (p, K)."""
        return _times(self.minus, F)


class Symmetric:
    """``||A - F Fᵀ||²`` for a symmetric A. The only factor is W.

    Its contribution is ``F (FᵀF) - A F``, half of the half-gradient. Cost of the value: O(nnz K + p K²). pos is
    ``A F``, given as `LazyRows`, or with `holds_products` as an array, for updates of all rows from one point.
    """

    def __init__(self, strata, tasks, holds_products=False):
        self.strata, self.tasks, self.holds_products = strata, tasks, holds_products

    def contribute(self, name, factors, sub):
        """Add ``gram`` and ``pos``."""
        pos = LazyRows(*self.strata.rows.csr, factors["W"])
        sub.add(gram=self.gram(factors), pos=self.product(factors) if self.holds_products else pos)
        sub.is_quadratic = False

    def product(self, factors):
        """Return ``A W``."""

        def compute():
            product = aligned(factors["W"].shape, self.strata.dtype)
            self.strata.matmul(factors["W"], product)
            return product

        return factors.cached("product", ("W",), compute)

    def gram(self, factors):
        """Return ``WᵀW``, (K, K) in float64."""
        return factors.cached("gram", ("W",), lambda: rows.gram(self.tasks["W"], factors["W"]))

    def value(self, factors):
        """Return the squared error from the Gram matrix and one product."""
        parts = np.empty(len(self.tasks["W"]) - 1)
        rows.rows_dot(self.tasks["W"], factors["W"], self.product(factors), parts)
        return self.strata.sq_norm - 2 * float(parts.sum()) + float(np.square(self.gram(factors)).sum())

    def exact_value(self, factors):
        """Return the squared error from the residual itself."""
        W = factors["W"][:, : factors.rank]
        return self.strata.residual_square_sum(W, W, None)


class FactorCoupling:
    """``weight ||W - H||²``: a penalty on the difference of two factors of the same shape."""

    def __init__(self, weight):
        self.weight = float(weight)

    def contribute(self, name, factors, sub):
        """Add ``weight F - weight G`` for factor F and the other factor G."""
        other = factors["H" if name == "W" else "W"]
        sub.add(pos=other * other.dtype.type(self.weight), ridge=self.weight)

    def value(self, factors):
        """Return the squared distance times the weight."""
        return self.weight * float(np.square(factors["W"] - factors["H"], dtype=np.float64).sum())


class TriSymmetric:
    """``||A - W S Wᵀ||²`` for a symmetric A, of which only products with W are computed (`Operator`).

    Half-gradients: of W twice ``W (S WᵀW S) - A W S``, to be updated by the fourth root of the ratio; of S
    ``WᵀW S WᵀW - WᵀA W``.

    Parameters
    ----------
    operator : Operator
    tasks : dict of str to ndarray of int64
        Task tables of the row kernels, by factor.
    sq_norm : float
        ``||A||²``.
    is_descent : bool, default=False
        Whether the updates are `LinkedDescent` of W, for which pos is A itself, and `CoreDescent` of S, which takes
        ``WᵀW`` and ``WᵀA W``. The operator must then be sparse data themselves.
    """

    def __init__(self, operator, tasks, sq_norm, is_descent=False):
        self.operator, self.tasks, self.sq_norm, self.is_descent = operator, tasks, sq_norm, is_descent

    def contribute(self, name, factors, sub):
        """Add the half-gradient of W or S."""
        S, gram = factors["S"].astype(np.float64), self.gram(factors)
        sub.is_quadratic, dtype = False, factors["S"].dtype
        if self.is_descent and name == "W":
            sub.add(gram=gram, pos=LazyRows(*self.operator.strata.rows.csr, factors["W"]))
            sub.core = S
        elif self.is_descent:
            sub.add(gram=gram, pos=self.core(factors))
        elif name == "W":
            sub.add(gram=S @ gram @ S, pos=_times(self.product(factors), S))
            sub.power = 0.25
        else:
            sub.add(pos=self.core(factors).astype(dtype), neg=(gram @ S @ gram).astype(dtype))

    def gram(self, factors):
        """Return ``WᵀW``."""
        return factors.cached("gram", ("W",), lambda: rows.gram(self.tasks["W"], factors["W"]))

    def product(self, factors):
        """Return ``A W``."""
        return factors.cached("product", ("W",), lambda: self.operator.matmul(factors["W"]))

    def middle(self, factors):
        """Return S, float64."""
        return factors["S"].astype(np.float64)

    def core(self, factors):
        """Return ``Wᵀ A W``."""
        return factors.cached("core", ("W",), lambda: _inner(factors["W"], self.product(factors)))

    def value(self, factors):
        """Return the squared error."""
        S, gram = factors["S"].astype(np.float64), self.gram(factors)
        return self.sq_norm + float(np.sum(S * (gram @ S @ gram - 2 * self.core(factors))))

    def exact_value(self, factors):
        """Return the squared error from the residual itself; only for an operator that is the data themselves."""
        W, S = factors["W"][:, : factors.rank].astype(np.float64), factors["S"][: factors.rank, : factors.rank]
        return self.operator.strata.residual_square_sum(W @ S, W, None)


class Chain:
    """``||X - W S1 S2 ... Hᵀ||²``; W (n, K), cores (K, K) and H (m, K), zero beyond their own ranks.

    With M the product of the cores, the subproblems of W and H are plain quadratics whose other factor is ``H Mᵀ`` or
    ``W M``. A core S with L before it and R behind it has the half-gradient ``LᵀWᵀW L S R HᵀH Rᵀ - Lᵀ WᵀX H Rᵀ``.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    tasks : dict of str to ndarray of int64
        Task tables of the row kernels, by factor.
    cores : tuple of str
        Names of the factors between W and H, from left to right.
    """

    def __init__(self, strata, tasks, cores):
        self.strata, self.tasks, self.cores, self.sq_norm = strata, tasks, tuple(cores), strata.sq_norm

    def contribute(self, name, factors, sub):
        """Add the half-gradient of W, H or a core."""
        if name in self.cores:
            at, dtype = self.cores.index(name), factors[name].dtype
            left, right = (self._product(names, factors) for names in (self.cores[:at], self.cores[at + 1 :]))
            rows_, columns = left.T @ self.gram("W", factors) @ left, right @ self.gram("H", factors) @ right.T
            below = rows_ @ factors[name].astype(np.float64) @ columns
            sub.add(pos=(left.T @ self.core(factors) @ right.T).astype(dtype), neg=below.astype(dtype))
            sub.is_quadratic = False
            return
        middle = self.middle(factors)
        other, middle = ("H", middle.T) if name == "W" else ("W", middle)
        gram = middle.T @ self.gram(other, factors) @ middle
        sub.add(gram=gram, pos=_times(self.product(name, factors), middle))

    def _product(self, names, factors):
        """Return the product of the cores `names`, float64 (K, K); the identity where there are none."""
        found = np.eye(factors["W"].shape[1])
        for name in names:
            found = found @ factors[name].astype(np.float64)
        return found

    def middle(self, factors):
        """Return the product of the cores, float64."""
        return factors.cached("middle", self.cores, lambda: self._product(self.cores, factors))

    def gram(self, name, factors):
        """Return ``FᵀF`` of W or H."""
        return factors.cached(("gram", name), (name,), lambda: rows.gram(self.tasks[name], factors[name]))

    def product(self, name, factors):
        """Return ``X H`` for name W, ``Xᵀ W`` for name H."""
        other = "H" if name == "W" else "W"

        def compute():
            out = aligned(factors[name].shape, self.strata.dtype)
            (self.strata.matmul if name == "W" else self.strata.tmatmul)(factors[other], out)
            return out

        return factors.cached(("product", name), (other,), compute)

    def core(self, factors):
        """Return ``Wᵀ X H``."""
        return factors.cached("core", ("W", "H"), lambda: _inner(factors["W"], self.product("W", factors)))

    def value(self, factors):
        """Return the squared error."""
        S = self.middle(factors)
        fitted = self.gram("W", factors) @ S @ self.gram("H", factors)
        return self.sq_norm + float(np.sum(S * (fitted - 2 * self.core(factors))))

    def exact_value(self, factors):
        """Return the squared error from the residual itself."""
        return self.strata.residual_square_sum(factors["W"] @ self.middle(factors), factors["H"], None)


class Tri(Chain):
    """`Chain` of one core S, ``||X - W S Hᵀ||²``.

    With `is_orthogonal`, W and H are updated towards orthonormal columns: their denominators are ``W (Wᵀ pos)`` and
    ``H (Hᵀ pos)``, and all three factors use the square root of the ratio (Ding, Li, Peng, Park 2006).
    """

    def __init__(self, strata, tasks, is_orthogonal=False):
        super().__init__(strata, tasks, ("S",))
        self.is_orthogonal = is_orthogonal

    def contribute(self, name, factors, sub):
        """Add the half-gradient of W, S or H."""
        super().contribute(name, factors, sub)
        if self.is_orthogonal:
            sub.power, sub.is_quadratic = 0.5, False
            sub.gram = None if name == "S" else _inner(factors[name], sub.pos)


class Blocks(Chain):
    """`Chain` of one core S for W and H with one non-zero per row and columns of length one, or zero.

    S is then ``WᵀX H``. In the coordinates of H a row of X is its row of ``X H``, and its model that of ``W S``.
    Likewise for columns.
    """

    def __init__(self, strata, tasks):
        super().__init__(strata, tasks, ("S",))

    def reseed_dead_component(self, factors):
        """Give every empty group the worst fitted row, or column, of another; return whether there was one."""
        return any([self._fill(name, factors) for name in ("W", "H")])

    def _fill(self, name, factors):
        F, S = factors[name], self.middle(factors)
        empty = np.flatnonzero(np.diagonal(self.gram(name, factors))[: factors.widths[name]] == 0)
        if not len(empty):
            return False
        seen = self.product(name, factors).astype(np.float64)
        missed = np.square(seen - F.astype(np.float64) @ (S if name == "W" else S.T)).sum(axis=1)
        if missed.max() <= REVIVAL_GAIN * self.sq_norm:  # groups of the other side are empty, too: look outside of them
            missed += self._squares(name) - np.square(seen).sum(axis=1)
        filled = False
        for group in empty:
            row = int(np.argmax(missed))
            if missed[row] <= REVIVAL_GAIN * self.sq_norm:
                break
            F[row], missed[row], filled = 0, 0.0, True
            F[row, group] = 1
        if filled:
            lengths = np.linalg.norm(F, axis=0)
            F /= np.where(lengths > 0, lengths, 1)
            factors.invalidate(name)
            factors.overwrite({"S": self.core(factors)})
        return filled

    def _squares(self, name):
        """Return the squared lengths of the rows of X for name W, of its columns for H, float64."""
        X = self.strata.X
        if name == "W":
            return row_squares(X)
        return row_squares(X.T.tocsr() if self.strata.is_sparse else X.T)


class Projective:
    """``||X - X H Hᵀ||²``. The only factor is H (m, K), to be updated by the cube root of the ratio.

    The ratio is ``2 K H / (K H HᵀH + H HᵀK H)`` with ``K = XᵀX``, whose product with H is computed as ``Xᵀ (X H)``
    (Yang and Oja 2010).
    """

    def __init__(self, strata, tasks):
        self.strata, self.tasks, self.operator = strata, tasks, Operator(strata, "columns")

    def contribute(self, name, factors, sub):
        """Add ``pos``, ``neg`` and ``gram``."""
        product = factors.cached("product", ("H",), lambda: self._transposed(factors))
        sub.add(gram=self.inner(factors), pos=2 * product, neg=_times(product, self.gram(factors)))
        sub.is_quadratic, sub.power = False, 1 / 3

    def gram(self, factors):
        """Return ``HᵀH``."""
        return factors.cached("gram", ("H",), lambda: rows.gram(self.tasks["H"], factors["H"]))

    def weights(self, factors):
        """Return ``X H``."""

        def compute():
            out = aligned((self.strata.shape[0], factors["H"].shape[1]), self.strata.dtype)
            self.strata.matmul(factors["H"], out)
            return out

        return factors.cached("weights", ("H",), compute)

    def inner(self, factors):
        """Return ``Hᵀ XᵀX H``."""
        return factors.cached("inner", ("H",), lambda: _inner(self.weights(factors), self.weights(factors)))

    def _transposed(self, factors):
        """Return ``Xᵀ X H``."""
        out = aligned(factors["H"].shape, self.strata.dtype)
        self.strata.tmatmul(self.weights(factors), out)
        return out

    def value(self, factors):
        """Return the squared error."""
        inner = self.inner(factors)
        return self.strata.sq_norm - 2 * float(np.trace(inner)) + float(np.sum(inner * self.gram(factors)))

    def exact_value(self, factors):
        """Return the squared error from the residual itself."""
        return self.strata.residual_square_sum(self.weights(factors), factors["H"], None)


class Convex:
    """``||X - W Cᵀ X||²``, which depends on the data only through ``K = X Xᵀ``; K may be any kernel.

    The subproblem of W (n, K) is a plain quadratic with gram ``CᵀK C`` and pos ``K C``. C (n, K) has the half-gradient
    ``K C WᵀW - K W``. Where K has negative entries, C is updated by the square root of the ratio of all positive parts
    to all negative parts (Ding, Li, Jordan 2010), which needs both parts of K as matrices.

    Parameters
    ----------
    operator : Operator or DenseOperator
        Multiplies by K.
    tasks : dict of str to ndarray of int64
        Task tables of the row kernels, by factor.
    trace : float
        Trace of K, that is the squared norm of the data.
    """

    def __init__(self, operator, tasks, trace):
        self.operator, self.tasks, self.trace = operator, tasks, trace

    def contribute(self, name, factors, sub):
        """Add the half-gradient of W or C."""
        if name == "W":
            sub.add(gram=self.inner(factors), pos=self.product(factors))
            return
        gram = self.gram(factors)
        of_W = factors.cached("product of W", ("W",), lambda: self.operator.matmul(factors["W"]))
        below = _times(self.product(factors), gram)
        sub.is_quadratic = False
        if getattr(self.operator, "minus", None) is not None:
            more = self.operator.matmul_minus(factors["W"]), _times(self.operator.matmul_minus(factors["C"]), gram)
            # K+ = K + K-: both sides are sums of non-negative products; rounding must not leave them below zero.
            of_W, below = (np.maximum(side + part, 0) for side, part in zip((of_W, below), more, strict=True))
            of_W, below = of_W + more[1], below + more[0]
            sub.power = 0.5
        sub.add(pos=of_W, neg=below)

    def gram(self, factors):
        """Return ``WᵀW``."""
        return factors.cached("gram", ("W",), lambda: rows.gram(self.tasks["W"], factors["W"]))

    def product(self, factors):
        """Return ``K C``."""
        return factors.cached("product", ("C",), lambda: self.operator.matmul(factors["C"]))

    def inner(self, factors):
        """Return ``Cᵀ K C``."""

        def compute():
            found = _inner(factors["C"], self.product(factors))
            return (found + found.T) / 2

        return factors.cached("inner", ("C",), compute)

    def crossed(self, factors):
        """Return ``<W, K C>``."""
        parts = np.empty(len(self.tasks["W"]) - 1)
        rows.rows_dot(self.tasks["W"], factors["W"], self.product(factors), parts)
        return float(parts.sum())

    def value(self, factors):
        """Return the squared error."""
        return self.trace - 2 * self.crossed(factors) + float(np.sum(self.inner(factors) * self.gram(factors)))


class RowMixture(Convex):
    """`Convex` for ``K = X Xᵀ``, whose C is updated by `MixtureDescent`; K is never formed, and X may be of any sign.

    C gets a `MixedRows` of the rows of X. Cost: four products with the data per iteration.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
        The data X (n, m).
    tasks : dict of str to ndarray of int64
        As for `Convex`.
    """

    def __init__(self, strata, tasks):
        super().__init__(Operator(strata, "rows"), tasks, strata.sq_norm)
        self._matrix, self._squares = strata.rows.csr if strata.is_sparse else strata.X, strata.row_square_sums()

    def contribute(self, name, factors, sub):
        """Add the half-gradient of W, or the mixture of C."""
        if name == "W":
            super().contribute(name, factors, sub)
            return
        gram = self.gram(factors)
        slope = self._mixed(factors).astype(np.float64) @ gram - self.operator.first(factors["W"])
        gradient = self.operator.second(slope.astype(factors["C"].dtype))
        sub.mixture, sub.is_quadratic = MixedRows(self._matrix, self._squares, gram, gradient, slope), False

    def product(self, factors):
        """Return ``X Xᵀ C``."""
        return factors.cached("product", ("C",), lambda: self.operator.second(self._mixed(factors)))

    def _mixed(self, factors):
        """Return ``Xᵀ C``."""
        return factors.cached("mixed", ("C",), lambda: self.operator.first(factors["C"]))


class GramMixture(Convex):
    """`Convex` for a dense positive semidefinite K of any sign, whose C is updated by `MixtureDescent`.

    C gets a `MixedRows` of K itself. Cost: two products with K an iteration, and O(n k) for each row of C that changes;
    few do, as C becomes sparse.
    """

    def contribute(self, name, factors, sub):
        """Add the half-gradient of W, or the mixture of C."""
        if name == "W":
            super().contribute(name, factors, sub)
            return
        matrix, gram = self.operator.matrix, self.gram(factors)
        slope = self.product(factors).astype(np.float64) @ gram - self.operator.matmul(factors["W"])
        squares = np.diagonal(matrix).astype(np.float64)
        sub.mixture, sub.is_quadratic = MixedRows(np.ascontiguousarray(matrix), squares, gram, slope), False


class OrthogonalFrobenius(Frobenius):
    """`Frobenius` whose W is updated towards orthonormal columns: its denominator is ``W (Wᵀ X H)`` (Choi 2008)."""

    def contribute(self, name, factors, sub):
        """Add ``gram`` and ``pos``."""
        if name == "H":
            super().contribute(name, factors, sub)
            return
        pos = self.product("W", factors)
        sub.add(gram=_inner(factors["W"], pos), pos=pos)
        sub.is_quadratic = False


class AssignedFrobenius(Frobenius):
    """`Frobenius` for W with one component a row: a component without rows becomes the row itself that is fitted worst.

    The residual of that row would not do as the component: the row would stay assigned to its present component.
    """

    def _spare(self, row, factors):
        """Return the data of the row if its residual is large enough to reseed, otherwise the residual."""
        missed, whole = super()._spare(row, factors), self._row(row, factors)
        worth = np.square(missed, dtype=np.float64).sum() > REVIVAL_GAIN * self.strata.sq_norm
        return whole if worth else missed
