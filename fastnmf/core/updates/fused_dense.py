"""Many multiplicative updates of dense data in one kernel call, with the results of single updates."""

import numpy as np

from fastnmf.core.factors import refill
from fastnmf.core.iterate import LOOK_BACK, Solver, has_slowed
from fastnmf.core.updates.multiplicative import limits_of
from fastnmf.kernels import dense
from fastnmf.kernels.records import Graph


class FusedDenseMU(Solver):
    """Multiplicative updates of W and then H for the squared error of dense data.

    The iterations are those of `Frobenius` with `MU` to rounding. The objective is not evaluated between them, and no
    Python code runs between them. For many short fits of small data, each of which `restart` begins.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
        Dense, without shifts.
    problem : fastnmf.core.problem.Problem
        The squared error, possibly with a `Graph` of the rows of W that has ``way="ratio"``, and `MU` for W and H.
    factors : fastnmf.core.factors.Factors
    """

    def __init__(self, strata, problem, factors):
        self.strata, self.problem, self.factors, self.scale = strata, problem, factors, problem.scale
        self.X = np.ascontiguousarray(strata.X)
        self.Xt = np.ascontiguousarray(self.X.T)
        dtype, graphs = self.X.dtype.type, problem.losses[1:]
        self.tasks = np.array([0, len(self.X)])
        none = np.empty(0, dtype)
        self.graph = Graph(np.empty(0, np.int64), np.empty(0, np.int32), none, none, none)
        for graph in graphs:
            (indptr, indices, weights), weight = graph.edges.csr, dtype(graph.weight)
            scale = none if graph.is_scale_invariant else np.ones(factors["W"].shape[1], self.X.dtype)
            self.graph = Graph(indptr, indices, weights * weight, graph.degree * weight, scale)

    def restart(self, W, H, max_iter, tol):
        """Begin a fit.

        Parameters
        ----------
        W, H : ndarray (n, k), (m, k)
        max_iter : int
            Iterations of the fit.
        tol : float
            With 0 a step makes all iterations. Otherwise it makes `LOOK_BACK` of them, because the objective decides
            when the fit ends.
        """
        self.factors["W"][:, : self.factors.rank], self.factors["H"][:, : self.factors.rank] = W, H
        update, sizes = self.problem.updates["W"], ((np.square(W).sum(), len(H)), (np.square(H).sum(), len(W)))
        eps = min(update.eps_for(sq_norm, n_rows, self.factors.rank) for sq_norm, n_rows in sizes)
        self.limits = limits_of(self.X.dtype, eps, update.floor)
        self.n_left, self.length = max_iter, LOOK_BACK if tol else max_iter

    def step(self):
        """Update W and H several times and return the objective."""
        self.stride, found = min(self.length, self.n_left), np.empty(3)
        self.n_left -= self.stride
        W, H = self.factors["W"], self.factors["H"]
        dense.dense_mu(self.tasks, self.X, self.Xt, W, H, self.graph, self.limits, self.stride, found)
        self.factors.invalidate("W")
        self.factors.invalidate("H")
        self.penalty = float(found[2])
        return max(self.strata.sq_norm - 2 * found[0] + found[1], 0.0) + self.penalty

    def stop(self, history, tol):
        """Return why a fit ends: the last updates were too slow."""
        values = history["objective"]
        return "tol" if len(values) > 1 and has_slowed(*values[-2:], self.stride, tol) else None

    def to_state(self):
        """Return the factors and the number of updates that are left."""
        return {"factors": dict(self.factors.arrays), "penalty": self.penalty, "n_left": self.n_left}

    def from_state(self, state):
        """Restore the state that `to_state` returned."""
        for name, array in state["factors"].items():
            refill(self.factors[name], array)
            self.factors.invalidate(name)
        self.penalty, self.n_left = state["penalty"], state["n_left"]
