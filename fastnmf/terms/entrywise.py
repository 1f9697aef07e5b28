"""Losses of entries and of rows that outliers do not rule: by re-weighted squares, or by the residual itself."""

from typing import NamedTuple

import numpy as np

from fastnmf.blas import single_threaded_blas
from fastnmf.kernels import rows
from fastnmf.kernels.jit import split_rows
from fastnmf.problem import aligned
from fastnmf.terms.masked import Local
from fastnmf.terms.squared import Frobenius

TILE = 1 << 20  # entries of the model that are there at a time: 8 MB
SHRINK = 0.98  # of the smoothing, in one step of one factor


class Residual(NamedTuple):
    """What a move needs that sees every entry of the residual.

    Attributes
    ----------
    data : ndarray (p, q)
        The data of this side.
    other : ndarray (q, K)
        The other factor.
    """

    data: np.ndarray
    other: np.ndarray


class Tiled:
    """Base of the terms that meet all entries: walks the data and the model, a few rows of either side at a time.

    O(n m K) a pass; of sparse data a tile is dense while it is looked at, and nothing of the size of X is kept.

    Parameters
    ----------
    strata : fastnmf.data.Strata
    width : int
        Padded rank K.
    tasks : dict
        Task tables of the row kernels over W and H.
    """

    def __init__(self, strata, width, tasks):
        self.strata, self.width, self.tasks = strata, width, tasks
        X = strata.X
        self._sides = {"W": X, "H": X.T.tocsr() if strata.is_sparse else np.ascontiguousarray(X.T)}
        self._products = {name: aligned((len_, width), strata.dtype) for name, len_ in zip("WH", X.shape, strict=True)}

    def gram(self, name, factors):
        """Return ``FᵀF`` of factor `name`, (K, K) in float64."""
        return factors.cached(("gram", name), (name,), lambda: rows.gram(self.tasks[name], factors[name]))

    def tiles(self, name, factors):
        """Yield ``(part, x, y)``: a slice of the rows of side `name`, their data and their model, both dense."""
        A, F, G = self._sides[name], factors[name], factors["H" if name == "W" else "W"]
        step = max(1, TILE // len(G))
        with single_threaded_blas():  # the same bits for any number of threads
            for lo in range(0, len(F), step):
                part = slice(lo, lo + step)
                x = A[part].toarray() if self.strata.is_sparse else A[part]  # never-densify-ok: one tile
                yield part, x, F[part] @ G.T


class Reweighted(Tiled):
    """``sum rho(x - y)``, ``y = W Hᵀ``, for a loss rho that grows slower than the square.

    rho is ``sqrt(r² + eps²)`` ("l1", smoothed) or Huber's ("huber"): ``r² / 2`` up to d, ``d (|r| - d / 2)``
    beyond. Both lie below the parabola ``rho(r0) + p / 2 (r² - r0²)`` with ``p = rho'(r0) / r0``, so that a step
    that lowers the squared error with the weights p of the present residual lowers the sum, too. Half-gradient of W:
    ``((Y - X) * P) H``, handed over as the Gram matrix of each row (`Local`, moves `WeightedRows`), or as a ratio
    (move `MU`). O(n m K) a pass, O(n m K²) a sweep of coordinate descent.

    Source: Holland and Welsch 1977, "Robust regression using iteratively reweighted least-squares".

    Parameters
    ----------
    strata, width, tasks :
        As for `Tiled`; dense data where `is_descent`.
    loss : {"l1", "huber"}
    bend : float
        eps, or Huber's d, in the inner scale of the data.
    first : float, optional
        eps to begin with; each step makes it smaller by `SHRINK`, down to `bend`. A loss that is smoother at first
        decides later who is an outlier, and a smaller eps lowers the objective, so that it still never rises.
    is_descent : bool
        Whether factors move by coordinate descent, not by multiplicative updates.
    """

    def __init__(self, strata, width, tasks, loss, bend, is_descent, first=None):
        super().__init__(strata, width, tasks)
        self.loss, self.last, self.is_descent = loss, bend, is_descent
        self.bend = bend if first is None else max(first, bend)
        if is_descent:
            self._local = {name: self._pattern(A) for name, A in self._sides.items()}

    def _pattern(self, A):
        p, q = A.shape
        dtype = A.dtype
        return Local(
            indptr=np.arange(p + 1, dtype=np.int64) * q,
            indices=np.tile(np.arange(q, dtype=np.int32), p),
            weight=np.empty(p * q, dtype),
            shift=np.empty(0, dtype),
            base=np.zeros(p, np.int8),
            gram=np.zeros((self.width, self.width)),
            other=None,
            room=np.empty(p * q, dtype),
        )

    def contribute(self, name, factors, sub):
        """Add what one re-weighted step needs."""
        other, sub.is_quadratic = factors["H" if name == "W" else "W"], self.is_descent
        pos, neg, _ = self._pass(name, factors)
        self.bend = max(self.last, self.bend * SHRINK)
        if self.is_descent:
            sub.add(pos=pos)
            sub.local = self._local[name]._replace(other=other)
            sub.tasks = split_rows(len(pos), len(other) * self.width)
        else:
            sub.add(pos=pos, neg=neg)

    def value(self, factors):
        """Return the sum of the losses."""
        return self._pass("W", factors)[2]

    def _pass(self, name, factors):
        """Return pos, neg (or None) and the value at this point; the weights go where the moves find them."""

        def compute():
            other, pos = factors["H" if name == "W" else "W"], self._products[name]
            neg = None if self.is_descent else np.empty_like(pos)
            total = 0.0
            for part, x, y in self.tiles(name, factors):
                losses, weight = self.losses(x - y)
                total += float(losses.sum(dtype=np.float64))
                pos[part] = (weight * x) @ other
                if neg is None:
                    self._local[name].weight.reshape(len(pos), -1)[part] = weight
                else:
                    neg[part] = (weight * y) @ other
            return pos, neg, total

        return factors.cached(("re-weighted", name), ("W", "H"), compute)

    def median_size(self, factors):
        """Return the median of ``|x - y|``; of large data of about a million entries, evenly spread."""
        step = max(1, self.strata.shape[0] * self.strata.shape[1] // TILE)
        sizes = [np.abs(x - y).ravel()[::step] for _, x, y in self.tiles("W", factors)]
        return float(np.median(np.concatenate(sizes)))

    def losses(self, r):
        """Return rho(r) and the weight rho'(r) / r, arrays of the shape of r."""
        if self.loss == "l1":
            losses = np.sqrt(np.square(r) + r.dtype.type(self.bend) ** 2)
            return losses, 1 / losses
        size, d = np.abs(r), r.dtype.type(self.bend)
        weight = d / np.maximum(size, d)
        return np.where(size <= d, 0.5 * r * r, d * (size - 0.5 * d)), weight


class Residuals(Tiled):
    """``sum |x - y|`` ("l1") or ``max |x - y|`` ("linf"), as they are; for moves that take a `Residual`.

    Parameters
    ----------
    strata, width, tasks :
        As for `Tiled`; dense data.
    loss : {"l1", "linf"}
    """

    def __init__(self, strata, width, tasks, loss):
        super().__init__(strata, width, tasks)
        self.loss = loss

    def contribute(self, name, factors, sub):
        """Hand over the data and the other factor."""
        sub.is_quadratic = False
        sub.local = Residual(self._sides[name], factors["H" if name == "W" else "W"])

    def value(self, factors):
        """Return the norm of the residual."""
        of_tiles = (np.abs(x - y) for _, x, y in self.tiles("W", factors))
        if self.loss == "linf":
            return max(float(size.max()) for size in of_tiles)
        return sum(float(size.sum(dtype=np.float64)) for size in of_tiles)


class RowNorms(Frobenius):
    """``sum_i sqrt(||x_i - w_i H||² + eps²)``, the l2,1 norm of the residual: a row that fits badly counts less.

    With the weights p of the rows, one over their present loss: half-gradient of H ``H (Wᵀ P W) - Xᵀ P W``; of W that
    of the squared error, as a weight of a row does not change its best w. The norms of the residual's rows come from
    Gram matrices, so that sparse data stay sparse: O(nnz K + (n + m) K²) an iteration.

    Source: Kong, Ding and Huang 2011, "Robust nonnegative matrix factorization using L21-norm".

    Parameters
    ----------
    strata, width, tasks :
        As for `Frobenius`.
    bend : float
        eps, in the inner scale of the data.
    """

    def __init__(self, strata, width, tasks, bend):
        super().__init__(strata, width, tasks, holds_products=True)
        self.bend = bend
        self._squares = strata.row_square_sums(None)
        self._weighted = aligned((strata.shape[1], width), strata.dtype)

    def contribute(self, name, factors, sub):
        """Add ``gram`` and ``pos`` of factor W or H."""
        if name == "W":
            super().contribute(name, factors, sub)
            return
        W = factors["W"]
        weighted = np.empty_like(W)
        weighted[:] = W / self.norms(factors)[:, None]
        self.strata.tmatmul(weighted, self._weighted)
        with single_threaded_blas():
            gram = weighted.astype(np.float64).T @ W.astype(np.float64)
        sub.add(gram=gram, pos=self._weighted)

    def norms(self, factors):
        """Return the loss of every row, float64 (n_rows,)."""
        errors = np.maximum(self._row_errors(factors, self._squares), 0)  # rounding may leave less than nothing
        return np.sqrt(errors + self.bend**2)

    def value(self, factors):
        """Return the sum of the losses of the rows."""
        return float(self.norms(factors).sum())
