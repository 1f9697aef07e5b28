"""Losses that outliers do not dominate: re-weighted squares of entries and of rows, or the residual itself.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

from typing import NamedTuple

import numpy as np

from fastnmf.core.factors import aligned
from fastnmf.core.losses.squared import Frobenius
from fastnmf.data.layout import TILE, row_tiles
from fastnmf.kernels import rows
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.jit import split_rows
from fastnmf.kernels.records import RowwiseGram

SHRINK = 0.98  # factor of the smoothing in one update of one factor


class Residual(NamedTuple):
    """The arrays from which an update computes every entry of the residual.

    Attributes
    ----------
    data : ndarray or csr_array (p, q)
        The data of this side.
    other : ndarray (q, K)
        The other factor.
    """

    data: np.ndarray
    other: np.ndarray


class Tiled:
    """Base of the losses that visit all entries: reads the data and the model a few rows of either side at a time.

    Cost: O(n m K) per pass. Of sparse data only one tile is dense at a time, and no array of the size of X is kept.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    width : int
        Padded rank K.
    tasks : dict of str to ndarray of int64
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
        with single_threaded_blas():  # so that the bits do not depend on the number of threads
            for part, x in row_tiles(A):
                yield part, x, F[part] @ G.T


class Reweighted(Tiled):
    """``sum rho(x - y)``, ``y = W Hᵀ``, for a function rho that grows slower than the square.

    rho is ``sqrt(r² + eps²)`` ("l1", smoothed) or Huber's ("huber"): ``r² / 2`` up to d, ``d (|r| - d / 2)`` beyond.
    Both lie below the parabola ``rho(r0) + p / 2 (r² - r0²)`` with ``p = rho'(r0) / r0``, so a step that lowers the
    squared error with the weights p of the present residual lowers the sum, too. The half-gradient of W is
    ``((Y - X) * P) H``. It is given as the Gram matrix of each row (`RowwiseGram`, for the update `WeightedRows`) or as
    a ratio (for the update `MU`). Cost: O(n m K) per pass, O(n m K²) per sweep of coordinate descent.

    Source: Holland and Welsch 1977, "Robust regression using iteratively reweighted least-squares".

    Parameters
    ----------
    strata, width, tasks :
        As for `Tiled`; with `is_descent` the data must be dense.
    loss : {"l1", "huber"}
    bend : float
        eps, or Huber's d, in the inner scale of the data.
    is_descent : bool
        Whether the factors are updated by coordinate descent, not by multiplicative updates.
    first : float, optional
        Initial eps; each step multiplies it by `SHRINK`, down to `bend`. A loss that is smoother at first decides later
        which entries are outliers. A smaller eps lowers the objective, so the objective is still monotone.
    """

    def __init__(self, strata, width, tasks, loss, bend, is_descent, first=None):
        super().__init__(strata, width, tasks)
        self.loss, self.last, self.is_descent = loss, bend, is_descent
        self.bend = bend if first is None else max(first, bend)
        if is_descent:
            self._rowwise = {name: self._pattern(A) for name, A in self._sides.items()}

    def _pattern(self, A):
        """Return a `RowwiseGram` for the dense data A (p, q), whose weights are still to be set."""
        p, q = A.shape
        dtype = A.dtype
        return RowwiseGram(
            indptr=np.arange(p + 1, dtype=np.int64) * q,
            indices=np.tile(np.arange(q, dtype=np.int32), p),
            weight=np.empty(p * q, dtype),
            shift=np.empty(0, dtype),
            base=np.zeros(p, np.int8),
            grams=np.zeros((2, self.width, self.width)),
            other=None,
            room=np.empty(p * q, dtype),
        )

    def contribute(self, name, factors, sub):
        """Add the half-gradient of the re-weighted squared error."""
        other, sub.is_quadratic = factors["H" if name == "W" else "W"], self.is_descent
        pos, neg, _ = self._pass(name, factors)
        self.bend = max(self.last, self.bend * SHRINK)
        if self.is_descent:
            sub.add(pos=pos)
            sub.rowwise = self._rowwise[name]._replace(other=other)
            sub.tasks = split_rows(len(pos), len(other) * self.width)
        else:
            sub.add(pos=pos, neg=neg)

    def value(self, factors):
        """Return the sum of rho over all entries."""
        return self._pass("W", factors)[2]

    def _pass(self, name, factors):
        """Return ``pos``, ``neg`` (or None) and the value at this point.

        For coordinate descent, the weights are written into the `RowwiseGram` of this side.
        """

        def compute():
            other, pos = factors["H" if name == "W" else "W"], self._products[name]
            neg = None if self.is_descent else np.empty_like(pos)
            total = 0.0
            for part, x, y in self.tiles(name, factors):
                losses, weight = self.losses(x - y)
                total += float(losses.sum(dtype=np.float64))
                pos[part] = (weight * x) @ other
                if neg is None:
                    self._rowwise[name].weight.reshape(len(pos), -1)[part] = weight
                else:
                    neg[part] = (weight * y) @ other
            return pos, neg, total

        return factors.cached(("re-weighted", name), ("W", "H"), compute)

    def to_state(self):
        """Return what later iterations depend on beside the factors."""
        return {"bend": float(self.bend)}

    def from_state(self, state):
        """Restore the state that `to_state` returned."""
        self.bend = state["bend"]

    def median_size(self, factors):
        """Return the median of ``|x - y|``; of large data, that of about a million entries, evenly spread."""
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
    """``sum |x - y|`` ("l1") or ``max |x - y|`` ("linf"), without smoothing; for updates that take a `Residual`.

    Parameters
    ----------
    strata, width, tasks :
        As for `Tiled`; for `WeightedMedianDescent` the data must be dense.
    loss : {"l1", "linf"}
    """

    def __init__(self, strata, width, tasks, loss):
        super().__init__(strata, width, tasks)
        self.loss = loss

    def contribute(self, name, factors, sub):
        """Set ``sub.residual`` to the data and the other factor."""
        sub.is_quadratic = False
        sub.residual = Residual(self._sides[name], factors["H" if name == "W" else "W"])

    def value(self, factors):
        """Return the norm of the residual."""
        of_tiles = (np.abs(x - y) for _, x, y in self.tiles("W", factors))
        if self.loss == "linf":
            return max(float(size.max()) for size in of_tiles)
        return sum(float(size.sum(dtype=np.float64)) for size in of_tiles)


class RowNorms(Frobenius):
    """``sum_i sqrt(||x_i - w_i H||² + eps²)``, the l2,1 norm of the residual: a row that fits badly counts less.

    Let the weight p of a row be one over its present loss. The half-gradient of H is ``H (Wᵀ P W) - Xᵀ P W``. That of W
    is the one of the squared error, because the weight of a row does not change its best w. The norms of the residual's
    rows come from Gram matrices, so sparse data stay sparse. Cost: O(nnz K + (n + m) K²) per iteration.

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
        errors = np.maximum(self._row_errors(factors, self._squares), 0)  # rounding may leave negative values
        return np.sqrt(errors + self.bend**2)

    def value(self, factors):
        """Return the sum of the losses of the rows."""
        return float(self.norms(factors).sum())
