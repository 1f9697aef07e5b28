"""Many multiplicative updates of dense data in one kernel call, with the results of single updates."""

import numpy as np

from fastnmf.kernels import dense
from fastnmf.kernels.records import Graph, Limits


class FusedDenseMU:
    """Multiplicative updates of W and then H for the squared error of dense data.

    The iterations are those of `Frobenius` with `MU` to rounding. The objective is not evaluated between them, and no
    Python code runs between them. For many short fits of small data.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
        Dense, without shifts.
    eps, floor : float
        As for `MU`.
    graph : fastnmf.core.losses.graph.Graph, default=None
        Graph of the rows of W, with ``way="ratio"``.
    """

    def __init__(self, strata, eps, floor, graph=None):
        self.strata, self.X = strata, np.ascontiguousarray(strata.X)
        self.Xt = np.ascontiguousarray(self.X.T)
        dtype = self.X.dtype.type
        self.limits, self.tasks = Limits(dtype(eps), dtype(floor)), np.array([0, len(self.X)])
        none = np.empty(0, dtype)
        self.graph, self.is_scaled = Graph(np.empty(0, np.int64), np.empty(0, np.int32), none, none, none), False
        if graph is not None:
            (indptr, indices, weights), weight = graph.edges.csr, dtype(graph.weight)
            self.graph = Graph(indptr, indices, weights * weight, graph.degree * weight, none)
            self.is_scaled = not graph.is_scale_invariant

    def __call__(self, factors, n_updates):
        """Update W and H `n_updates` times, in place; return the squared error and the graph penalty as two floats."""
        found = np.empty(3)
        W, H, graph = factors["W"], factors["H"], self.graph
        graph = graph._replace(scale=np.ones(W.shape[1], W.dtype)) if self.is_scaled else graph
        dense.dense_mu(self.tasks, self.X, self.Xt, W, H, graph, self.limits, n_updates, found)
        factors.invalidate("W")
        factors.invalidate("H")
        return max(self.strata.sq_norm - 2 * found[0] + found[1], 0.0), float(found[2])
