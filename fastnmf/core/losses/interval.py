"""The squared distance to intervals: data whose bounds alone are known.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import numpy as np

from fastnmf.core.factors import aligned
from fastnmf.data.strata import Strata
from fastnmf.kernels import products, rows


class Interval:
    """``sum dist(y, [low, high])²`` with ``y = (W Hᵀ)``; off the pattern of the data the interval is {0}.

    Let z be the points of the intervals nearest to a given model, ``z = clip(y, low, high)``. The objective is at most
    ``||Z - W Hᵀ||²``, and equals it at that model. Every factor is therefore updated as for ``||Z - W Hᵀ||²``, with z
    recomputed before each update, and quadratic updates make the objective monotone (De Leeuw's majorisation by
    imputation). Half-gradients: ``W (HᵀH) - Z H`` and ``H (WᵀW) - Zᵀ W``. Cost: two passes over the pattern for each,
    O(nnz K), and one for the value.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
        Sparse data. Their pattern is the set of entries with an interval; their values are not used.
    width : int
        Padded rank K.
    tasks : dict of str to ndarray of int64
        Task tables of the row kernels, by factor.
    low, high : ndarray (nnz,)
        Bounds in the order of ``strata.X.data``, in the data's inner scale; `high` may be infinite.
    """

    def __init__(self, strata, width, tasks, low, high):
        self.strata, self.width, self.tasks = strata, width, tasks
        X = strata.X
        by_column = type(X)((np.arange(X.nnz), X.indices, X.indptr), shape=X.shape).tocsc()
        self._bounds = {"W": (low, high), "H": (low[by_column.data], high[by_column.data])}
        self._nearest = {name: np.empty(X.nnz, strata.dtype) for name in "WH"}
        self._products = {name: aligned((n, width), strata.dtype) for name, n in zip("WH", X.shape, strict=True)}
        self._is_full = X.nnz == X.shape[0] * X.shape[1]
        self.scale = float(np.square(low, dtype=np.float64).sum())

    def contribute(self, name, factors, sub):
        """Add ``gram`` and ``pos`` of factor W or H."""
        other = "H" if name == "W" else "W"
        side, out = self._side(name), self._products[name]
        _, nearest = self._points(name, factors)
        products.csr_matmul(side.tasks(self.width), side.csr._replace(data=nearest), factors[other], out)
        sub.add(gram=self._gram(other, factors), pos=out)

    def value(self, factors):
        """Return the squared distance; where the pattern is not full, from Gram matrices, which loses digits."""
        model, nearest = (part.astype(np.float64) for part in self._points("W", factors))
        on = float(np.square(model - nearest).sum())
        if self._is_full:
            return on
        whole = float(np.sum(self._gram("W", factors) * self._gram("H", factors)))
        return on + max(whole - float(np.square(model).sum()), 0.0)

    def exact_value(self, factors):
        """Return the squared distance from the residual itself."""
        if self._is_full:
            return self.value(factors)
        X, (_, nearest) = self.strata.X, self._points("W", factors)
        imputed = Strata(
            type(X)((nearest, X.indices, X.indptr), shape=X.shape), np.array([0]), self.strata.stratum_index
        )
        W, H = (factors[name][:, : factors.rank] for name in "WH")
        return imputed.residual_square_sum(W, H, None)

    def _side(self, name):
        """Return the data by rows for factor W, by columns for factor H."""
        return self.strata.rows if name == "W" else self.strata.columns

    def _points(self, name, factors):
        """Return the model on the pattern and the nearest points of the intervals, in the order of side `name`."""

        def compute():
            side, other = self._side(name), factors["H" if name == "W" else "W"]
            model = np.empty(len(side.indices), self.strata.dtype)
            products.csr_sampled(side.tasks(self.width), side.indptr, side.indices, factors[name], other, model)
            return model, np.clip(model, *self._bounds[name], out=self._nearest[name])

        return factors.cached(("nearest", name), ("W", "H"), compute)

    def _gram(self, name, factors):
        """Return ``FᵀF`` of factor `name`, float64 (K, K)."""
        return factors.cached(("gram", name), (name,), lambda: rows.gram(self.tasks[name], factors[name]))


class Coverage(Interval):
    """``sum max(1 - y, 0)²`` on the pattern of the data plus ``sum y²`` off it, with ``y = (W Hᵀ)``.

    This is `Interval` with the bounds 1 and infinity: a model that covers the pattern. One pass over the pattern gives
    the half-gradient and the value, O(nnz K).

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
        Sparse data; their pattern alone is used.
    width : int
        Padded rank K.
    tasks : dict of str to ndarray of int64
        Task tables of the row kernels, by factor.
    """

    def __init__(self, strata, width, tasks):
        self.strata, self.width, self.tasks, X = strata, width, tasks, strata.X
        self._nearest = {name: np.empty(X.nnz, strata.dtype) for name in "WH"}
        self._products = {name: aligned((n, width), strata.dtype) for name, n in zip("WH", X.shape, strict=True)}
        self._is_full, self.scale = X.nnz == X.shape[0] * X.shape[1], float(X.nnz)

    def contribute(self, name, factors, sub):
        """Add ``gram`` and ``pos`` of factor W or H."""
        self._walk(name, factors)
        sub.add(gram=self._gram("H" if name == "W" else "W", factors), pos=self._products[name])

    def value(self, factors):
        """Return the loss; where the pattern is not full, from Gram matrices, which loses digits."""
        on, square = self._walk("W", factors)
        if self._is_full:
            return on
        whole = float(np.sum(self._gram("W", factors) * self._gram("H", factors)))
        return on + max(whole - square, 0.0)

    def _points(self, name, factors):
        """Return None, and the nearest points that cover the pattern, in the order of side `name`."""
        self._walk(name, factors)
        return None, self._nearest[name]

    def _walk(self, name, factors):
        """Write the product of a factor's side, and return the squared shortfall and the squared model on the pattern.

        The next call for the same factor overwrites the product.
        """

        def compute():
            side, other = self._side(name), factors["H" if name == "W" else "W"]
            tasks = side.tasks(self.width)
            csr, parts = side.csr._replace(data=self._nearest[name]), np.empty((len(tasks) - 1, 2))
            products.csr_covered(tasks, csr, factors[name], other, self._products[name], parts)
            return parts.sum(axis=0).tolist()

        return factors.cached(("covered", name), ("W", "H"), compute)
