"""How a factor moves: each move consumes a `Subproblem` and changes the factor in place.

A move returns two numbers that belong to the objective at the point that it has moved to, and would cost passes of
their own: ``<F, pos>`` and ``<F, neg>``; for separate entries ``sum v (weight v - 2 pos)`` and ``<v, neg>``. None where
it does not come for free.
"""

import numpy as np

from fastnmf.data import single_threaded_blas
from fastnmf.kernels import nnls, rows, symmetric, weighted
from fastnmf.problem import Mixture, full

# float32 entries that underflow are locked at zero, which costs 0.003 % of the loss on 20 newsgroups after 100
# iterations, and slow arithmetic down on the way, as do products of two floors below 1e-19; float64 has the room.
MU_FLOOR = {np.dtype(np.float32): 1e-15, np.dtype(np.float64): 0.0}


def _entries(F, sub, n_updates, eps=0.0, floor=0.0):
    parts, limits = np.empty((len(sub.tasks) - 1, 2)), (F.dtype.type(eps + sub.flat), F.dtype.type(floor))
    weight = sub.weight if sub.lift == 0 else (sub.weight + sub.lift).astype(F.dtype)
    rows.entries_step(sub.tasks, sub.group, weight, sub.pos, sub.neg, F, limits, n_updates, parts)
    own, crossed = parts.sum(axis=0).tolist()
    if sub.lift:  # belongs to a penalty, not to the data
        own -= sub.lift * float(np.einsum("i,i->", F, F, dtype=np.float64))
    return own, crossed


class MU:
    """Multiplicative update ``F <- F * pos / (F gram + neg + eps)`` (Lee and Seung 2001).

    Never raises ``objective + eps * sum(F)``; never creates a zero, never leaves one. Penalties join the denominator.
    Where a term asks for a `power`, the ratio is raised to it (Fevotte and Idier 2011).

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
        if sub.weight is not None:
            return self._entries(F, sub, n_sweeps)
        gram, parts = sub.full_gram(F.shape[1], rank), np.empty((len(sub.tasks) - 1, 2))
        gram = np.empty((0, 0), F.dtype) if gram is None else gram.astype(F.dtype)
        eps, floor = F.dtype.type(self.eps + sub.flat), F.dtype.type(self.floor)
        is_plain = sub.free is None and sub.power == 1
        for _ in range(n_sweeps):
            held = None if is_plain else F.copy()
            rows.rows_mu(sub.tasks, F, gram, *sub.mixtures(F.shape[1], F.dtype), eps, floor, parts)
            if sub.power != 1:
                rows.rows_power(sub.tasks, F, held, sub.power)
            if sub.free is not None:
                np.copyto(F[:, :rank], held[:, :rank], where=~sub.free[..., :rank])
        return tuple(parts.sum(axis=0).tolist()) if sub.is_quadratic and is_plain else None

    def _entries(self, F, sub, n_sweeps):
        if sub.power == 1:
            return _entries(F, sub, n_sweeps, self.eps, self.floor)
        for _ in range(n_sweeps):
            held = F.copy()
            _entries(F, sub, 1, self.eps, self.floor)
            rows.rows_power(sub.tasks, F[:, None], held[:, None], sub.power)
        return None


class UnitColumns(MU):
    """The multiplicative update, after which every column is divided by its sum; columns of zeros stay.

    The scale is dropped and not given to the other factor. Together with `MU` of the other factor, both from the same
    point, this is a step of expectation-maximisation for probabilistic latent semantic analysis.
    """

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K) by `n_sweeps` updates."""
        super().__call__(F, sub, rank, n_sweeps)
        parts = np.empty((len(sub.tasks) - 1, F.shape[1]))
        rows.rows_sum(sub.tasks, F, parts)
        sums = parts.sum(axis=0)
        F *= np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0).astype(F.dtype)


class HALS:
    """Exact coordinate descent over the columns of F (Cichocki and Phan 2009); the closed form for separate entries.

    Never raises the objective, at any step. Columns whose gram entry is zero stay as they are.

    Parameters
    ----------
    visits : ndarray (k,) of int, optional
        Order of the columns in a sweep, ascending by default.
    """

    def __init__(self, visits=None):
        self.visits = visits

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K) by `n_sweeps` sweeps, or entries (p,) to their minimum."""
        if sub.weight is not None:
            return _entries(F, sub, 0)
        parts, gram = np.empty(len(sub.tasks) - 1), sub.full_gram(F.shape[1], rank).astype(F.dtype)
        order = sub.order(np.arange(rank) if self.visits is None else self.visits, n_sweeps)
        sides, flat = sub.mixtures(F.shape[1], F.dtype), F.dtype.type(sub.flat)
        if sub.free is None or sub.free.ndim == 1:
            rows.rows_hals(sub.tasks, F, gram, *sides, flat, rank, order, parts)
        else:
            rows.rows_hals_free(sub.tasks, F, gram, *sides, flat, sub.free, order, parts)
        return float(parts.sum()), None


class ActiveSet:
    """The exact minimiser over F >= 0, row by row (Lawson and Hanson 1974, in normal equations).

    Rows do not depend on each other. Where F starts is a guess of the support: right guesses save time.
    """

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Replace F (p, K) by the minimiser."""
        neg = sub.mixtures(F.shape[1], F.dtype)[1]
        neg = Mixture.of(full(neg)) if len(neg.start) else neg
        gram = np.ascontiguousarray(sub.full_gram(F.shape[1], rank)[:rank, :rank])
        nnls.rows_nnls(sub.tasks, F, gram, full(sub.pos), neg.rows, neg.group, sub.flat)


class WeightedRows:
    """HALS or the multiplicative update for rows that have a Gram matrix of their own (``sub.local``), as `Masked`.

    Exact coordinate descent, or ``F <- F * pos / (F gram_i + neg_i + eps)``; neither raises the objective (MU: plus
    ``eps * sum(F)``). Entries that are separate move as those of `HALS` and `MU` do.

    Parameters
    ----------
    rule : {"hals", "mu"}, default="hals"
    eps, floor : float
        As for `MU`; not used by ``"hals"``.
    """

    def __init__(self, rule="hals", eps=1e-9, floor=0.0):
        self.is_hals, self.eps, self.floor = rule == "hals", eps, floor

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K), or entries (p,), by `n_sweeps` sweeps or updates."""
        if sub.weight is not None:
            return _entries(F, sub, 0) if self.is_hals else _entries(F, sub, n_sweeps, self.eps, self.floor)
        shared = sub.full_gram(F.shape[1], rank)
        shared = np.zeros_like(sub.local.gram) if shared is None else shared
        grams = np.stack([shared, shared + sub.local.gram])
        sides = sub.mixtures(F.shape[1], F.dtype)
        return (
            self._hals(F, sub, rank, n_sweeps, grams, sides)
            if self.is_hals
            else self._mu(F, sub, rank, n_sweeps, grams, sides)
        )

    def _hals(self, F, sub, rank, n_sweeps, grams, sides):
        parts = np.empty(len(sub.tasks) - 1)
        is_free = sub.free if np.ndim(sub.free) == 2 else np.empty((0, 0), np.bool_)
        order = sub.order(np.arange(rank), n_sweeps)
        weighted.rows_hals_weighted(sub.tasks, F, sub.local, grams, sides, float(sub.flat), is_free, order, parts)
        return float(parts.sum()), None

    def _mu(self, F, sub, rank, n_sweeps, grams, sides):
        parts, limits = np.empty((len(sub.tasks) - 1, 2)), (F.dtype.type(self.eps + sub.flat), F.dtype.type(self.floor))
        grams, held = grams.astype(F.dtype), None if sub.free is None else F.copy()
        for _ in range(n_sweeps):
            weighted.rows_mu_weighted(sub.tasks, F, sub.local, grams, *sides, limits, parts)
            if held is not None:
                np.copyto(F[:, :rank], held[:, :rank], where=~sub.free[..., :rank])
        return (float(parts[:, 0].sum()), None) if held is None else None


class QuarticDescent:
    """Exact coordinate descent for ``||A - F Fᵀ||²``, A symmetric (Vandaele, Gillis, Lei, Zhong, Dhillon 2016).

    Each entry goes to the best root of its cubic. Never raises the objective. Sequential; one sweep costs
    O(nnz k + p k²). pos holds A itself, as a `Mixture` of the rows of F.
    """

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K) by `n_sweeps` sweeps."""
        A, gram = sub.pos, np.array(sub.gram)
        for _ in range(n_sweeps):
            symmetric.quartic_sweep(np.array([0, len(F)]), A.start, A.group, A.weight, F, gram, rank)


class LeastSquares:
    """The minimiser without a sign: ``F = (pos - neg) gram⁺``. Columns that cannot be told apart share the weight."""

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Replace F (p, K)."""
        right = full(sub.pos)[:, :rank].astype(np.float64)
        right = right if sub.neg is None else right - full(sub.neg)[:, :rank]
        with single_threaded_blas():
            F[:, :rank] = right @ np.linalg.pinv(sub.gram[:rank, :rank], hermitian=True)


class Assign:
    """One non-zero a row, columns of length one: each row joins the component that explains most of it.

    The exact minimiser of the squared error over rows with one entry; then the lengths of the columns are what the
    other factor takes over. The step of orthogonal NMF by k-means on the sphere (Pompili, Gillis, Absil, Glineur 2014).
    """

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Replace F (p, K)."""
        pos, size = full(sub.pos)[:, :rank], np.diagonal(sub.gram)[:rank]
        length = np.sqrt(size)
        gain = np.divide(pos, length, out=np.zeros(pos.shape), where=length > 0)
        best, each = np.argmax(gain, axis=1), np.arange(len(F))
        weight = np.divide(np.maximum(gain[each, best], 0), length[best], out=np.zeros(len(F)), where=length[best] > 0)
        lengths = np.sqrt(np.bincount(best, weight * weight, minlength=rank))
        F[:] = 0
        F[each, best] = np.divide(weight, lengths[best], out=np.zeros(len(F)), where=lengths[best] > 0)
