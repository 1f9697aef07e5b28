"""Updates of what is specific to strata: the weights of their rows, their shifts and components.

For the squared error each stratum has a Gram matrix of its own, for divergences it has none.
"""

import numpy as np

from fastnmf.core.factors import aligned, padded, row_tasks
from fastnmf.core.problem import Subproblem, full
from fastnmf.core.thresholds import tiny
from fastnmf.core.updates.multiplicative import MU, update_entries
from fastnmf.data.layout import in_order
from fastnmf.kernels import own, own_blocks
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.jit import split_rows


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


class BlockHALS:
    """`EntryHALS` for many own components: the entries of a stratum are updated as its rows are."""

    needs = ("quadratic",)

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` sweeps.

        Parameters
        ----------
        F : ndarray (q, 1 + w) of float32 or float64
            Overwritten.
        sub : fastnmf.core.problem.Subproblem
            As for `EntryHALS`, with ``order_of_rows``, and ``neg`` as `BlockProducts`.
        rank : int
            Not used.
        n_sweeps : int
        """
        (entries, H, sums), size = sub.neg, F.shape[1]
        K = padded(max(size, H.shape[1]), F.dtype)
        grams, turned = (np.zeros((len(sums), K, K), F.dtype) for _ in range(2))
        grams[:, :size, :size], turned[:, : H.shape[1], :size] = sub.gram, sums.transpose(0, 2, 1)
        if K > H.shape[1]:  # a shift beside as many own components as the padded rank
            wide = aligned((len(H), K), F.dtype)
            wide[:, : H.shape[1]], H = H, wide
        visits, tasks = np.concatenate([np.arange(size)] * n_sweeps), split_rows(len(F), K**2)
        own_blocks.blocks_hals(tasks, sub.order_of_rows, entries, H, turned, grams, sub.pos, F, visits)
        if sub.common is not None:
            sub.common.write(F)


class StrataMU(MU):
    """Multiplicative updates of F, whose rows have the Gram matrix of their stratum, or no Gram matrix. Monotone.

    Parameters
    ----------
    floor : float, default=0.0
        As for `MU`.
    """

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` updates.

        Parameters
        ----------
        F : ndarray (p, K) of float32 or float64
            The factor, padded; overwritten.
        sub : fastnmf.core.problem.Subproblem
            With a gram for each group as for `StrataHALS`, or without a gram.
        rank : int
            Not used: columns of zeros stay.
        n_sweeps : int
        """
        if sub.gram is None:
            super().__call__(F, sub, rank, n_sweeps)
            return
        neg, inner = full(sub.neg), Subproblem(row_tasks(F))
        for _ in range(n_sweeps):
            inner.clear()
            inner.add(pos=sub.pos, neg=neg + _pull(F, sub.gram, sub.group).astype(F.dtype, copy=False))
            super().__call__(F, inner, rank, 1)


class OwnColumns:
    """An update of W that leaves the weights of shared components, its first columns, as they are.

    Parameters
    ----------
    update : Update
        Of all columns.
    n_shared : int
    """

    def __init__(self, update, n_shared):
        self.update, self.n_shared = update, n_shared

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F in place.

        Parameters
        ----------
        F, sub, rank, n_sweeps :
            As for the update of all columns.
        """
        held = F[:, : self.n_shared].copy()
        self.update(F, sub, rank, n_sweeps)
        F[:, : self.n_shared] = held


class EntryMU(MU):
    """Multiplicative updates of the shift and the own components of each pair (column, stratum). Monotone.

    Parameters
    ----------
    floor : float, default=0.0
        As for `MU`.
    """

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` updates.

        Parameters
        ----------
        F : ndarray (q, 1 + w) of float32 or float64
            Overwritten.
        sub : fastnmf.core.problem.Subproblem
            For the squared error as for `EntryHALS`: a number stays where its curvature is zero. For a divergence pos
            and neg are arrays, and there is no gram.
        rank : int
            Not used.
        n_sweeps : int
        """
        flat, each = F.reshape(-1), Subproblem(split_rows(F.size, 4))
        neg = full(sub.neg)
        for _ in range(n_sweeps):
            below, held = neg, F[:, 0].copy()
            if sub.gram is not None:
                below = neg + _pull(F, sub.gram, sub.group).astype(F.dtype, copy=False)
            each.clear()
            each.weight, each.group = np.zeros(1, F.dtype), np.zeros(F.size, np.int32)
            each.add(pos=sub.pos.reshape(-1), neg=below.reshape(-1))
            update_entries(flat, each, 1, floor=self.floor)
            if sub.gram is not None and not sub.gram[:, 0, 0].any():
                F[:, 0] = held
            if sub.common is not None:
                sub.common.write(F)


def _pull(F, grams, group):
    """Return F (p, K) with each row times the Gram matrix of its group, float64."""
    out, order = np.empty(F.shape), in_order(group, len(grams))
    bounds = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=len(grams)))])
    with single_threaded_blas():
        for gram, lo, hi in zip(grams, bounds[:-1], bounds[1:], strict=True):
            out[order[lo:hi]] = F[order[lo:hi]].astype(np.float64) @ gram
    return out
