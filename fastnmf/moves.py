"""How a factor moves: each move consumes a `Subproblem` and changes the factor in place."""

import numpy as np

from fastnmf.kernels import nnls, rows
from fastnmf.kernels.simd import lanes


def _operands(F, sub):
    neg = np.empty((0,) + F.shape[1:], F.dtype) if sub.neg is None else sub.neg
    return sub.gram.astype(F.dtype), sub.pos, neg


class MU:
    """Multiplicative update ``F <- F * pos / (F gram + neg + eps)`` (Lee and Seung 2001).

    Never raises ``objective + eps * sum(F)``; never creates a zero, never leaves one.

    Parameters
    ----------
    eps : float, default=1e-9
        Added to every denominator, as in the published program of Stratified-NMF; absolute.
    floor : float, default=0.0
        Smallest value after an update, so that float32 does not lock entries by underflow.
    """

    def __init__(self, eps=1e-9, floor=0.0):
        self.eps, self.floor = eps, floor

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K), or entries (p,), by `n_sweeps` updates."""
        eps = F.dtype.type(self.eps)
        if sub.gram is None:
            rows.entries_step(sub.tasks, sub.group, sub.weight, sub.pos, sub.neg, F, eps, n_sweeps)
            return
        gram, pos, neg = _operands(F, sub)
        for _ in range(n_sweeps):
            rows.rows_mu(sub.tasks, F, gram, pos, neg, eps, F.dtype.type(self.floor))


class HALS:
    """Exact coordinate descent over the columns of F (Cichocki and Phan 2009); the closed form for separate entries.

    Never raises the objective, at any step. Columns whose gram entry is zero stay as they are.
    """

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K) by `n_sweeps` sweeps, or entries (p,) to their minimum."""
        if sub.gram is None:
            rows.entries_step(sub.tasks, sub.group, sub.weight, sub.pos, sub.neg, F, F.dtype.type(0), 0)
            return
        gram, pos, neg = _operands(F, sub)
        rows.rows_hals(sub.tasks, F, gram, pos, neg, rank, lanes(F.dtype), n_sweeps)


class ActiveSet:
    """The exact minimiser over F >= 0, row by row (Lawson and Hanson 1974, in normal equations).

    Rows do not depend on each other, nor on where F starts.
    """

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Replace F (p, K) by the minimiser."""
        neg = np.empty((0, F.shape[1]), F.dtype) if sub.neg is None else sub.neg
        nnls.rows_nnls(sub.tasks, F, np.ascontiguousarray(sub.gram[:rank, :rank]), sub.pos, neg)
