"""Coordinate descent by weighted medians, and linear programs for the largest residual."""

import numpy as np

from fastnmf.data.layout import row_tiles
from fastnmf.kernels import robust
from fastnmf.kernels.jit import split_rows

PIVOTS = 50  # most exchanges of a linear program, a component; two or three are usual


class WeightedMedianDescent:
    """Exact coordinate descent for the sum of the absolute residuals: each entry is a weighted median, or 0.

    Takes the `Residual` that `fastnmf.core.losses.robust.Residuals` provides. Monotone. It can stop where no change of
    a single entry lowers the objective but a change of two together would, at a least squares solution for example.
    Start it elsewhere.
    """

    needs = ("residual",)

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` sweeps.

        Parameters
        ----------
        F, rank :
            As for `Update`.
        sub : fastnmf.core.problem.Subproblem
            ``residual`` is a `fastnmf.core.losses.robust.Residual`.
        n_sweeps : int
            Sweeps over the columns.
        """
        data, other = sub.residual
        tasks = split_rows(len(F), len(other) * rank * 8)
        robust.rows_medians(tasks, F, data, other, sub.order(np.arange(rank), n_sweeps))


class ChebyshevLP:
    """The exact minimiser of the largest residual of every row: one linear program per row.

    ``min t, |a_j - f . g_j| <= t, f >= 0``, by the dual simplex method. Takes the `Residual` that
    `fastnmf.core.losses.robust.Residuals` provides. The minimiser need not be unique; a row is replaced only where that
    lowers its largest residual.
    """

    needs = ("residual",)

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Replace the rows of F by minimisers.

        Parameters
        ----------
        F, rank :
            As for `Update`.
        sub : fastnmf.core.problem.Subproblem
            ``residual`` is a `fastnmf.core.losses.robust.Residual`.
        n_sweeps : int, default=1
            Not used.
        """
        G = sub.residual.other[:, :rank].astype(np.float64)
        tops = G.max(axis=0)
        tops[tops == 0] = 1.0
        G, n_pivots = np.ascontiguousarray(G / tops), PIVOTS * (rank + 1)
        for part, A in row_tiles(sub.residual.data):
            robust.rows_minimax(split_rows(len(A), G.size * rank), A, G, tops, n_pivots, F[part])
