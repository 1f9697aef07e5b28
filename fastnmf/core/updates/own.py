"""Coordinate descent with one Gram matrix for each stratum: for the weights of its rows, its shift and components."""

import numpy as np

from fastnmf.core.thresholds import tiny
from fastnmf.kernels import own


class StrataHALS:
    """Exact coordinate descent over the columns of F, whose rows have the Gram matrix of their stratum. Monotone."""

    needs = ("quadratic",)

    def __init__(self, visits):
        self.visits = visits

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` sweeps.

        Parameters
        ----------
        F : ndarray (p, K) of float32 or float64
            The factor, padded; overwritten.
        sub : fastnmf.core.problem.Subproblem
            ``gram`` is (S, K, K), ``group`` the stratum of each row, ``order_of_rows`` the rows by stratum.
        rank : int
            Not used: `visits` says which columns are updated.
        n_sweeps : int
        """
        neg = sub.lazy_rows(F.shape[1], F.dtype)[1]
        visits = np.concatenate([self.visits] * n_sweeps)
        own.strata_hals(sub.tasks, sub.order_of_rows, sub.group, F, sub.gram.astype(F.dtype), sub.pos, neg, visits)


class EntryHALS:
    """Exact coordinate descent over the shift and the own components of each pair (column, stratum). Monotone."""

    needs = ("quadratic",)

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` sweeps, which share their pass over H.

        Parameters
        ----------
        F : ndarray (q, 1 + w) of float32 or float64
            Overwritten.
        sub : fastnmf.core.problem.Subproblem
            ``gram`` is (S, 1 + w, 1 + w), ``group`` the stratum of each row, ``neg`` an `EntryProducts`; `common` is a
            `CommonShift` where all strata have the same shift, whose entries then are updated last.
        rank : int
            Not used.
        n_sweeps : int

        Returns
        -------
        inner_products : tuple of float, or None
            ``<F, pos>`` and ``<F, neg>`` at the new F; None where all strata have the same shift.
        """
        curvature, size = np.einsum("saa->sa", sub.gram), F.shape[1]
        grams = np.zeros((len(sub.gram), size + 1, size))
        grams[:, :size] = sub.gram
        np.divide(1, curvature, out=grams[:, size], where=curvature > 4 * tiny(F.dtype))
        parts = np.empty((len(sub.tasks) - 1, 2))
        own.entries_hals(sub.tasks, sub.neg, grams.astype(F.dtype), sub.pos, F, n_sweeps, parts)
        if sub.common is None:
            return tuple(parts.sum(axis=0).tolist())
        sub.common.write(F)
        return None
