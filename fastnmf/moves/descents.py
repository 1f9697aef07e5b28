"""Minimisers of one entry, one column or one row at a time, the others held."""

import numpy as np

from fastnmf.blas import single_threaded_blas
from fastnmf.kernels import bilinear, chain, graph, nnls, robust, rows, symmetric, weighted
from fastnmf.kernels.jit import split_rows
from fastnmf.moves.ratios import entries_moved
from fastnmf.problem import Mixture, full


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
            return entries_moved(F, sub, 0)
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
            return entries_moved(F, sub, 0) if self.is_hals else entries_moved(F, sub, n_sweeps, self.eps, self.floor)
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


class ChainDescent:
    """Exact coordinate descent for a factor whose rows are linked in a chain (`fastnmf.penalties.Chain`).

    A whole column goes to its minimiser at once, by a tridiagonal system and a set of rows that are zero: one entry
    after another, neighbours that are strongly linked could only move in small steps. For total variation the column
    minimises a parabola above the penalty, which is drawn anew for every column. Never raises the objective.
    Sequential; O(p K²) a sweep.

    Parameters
    ----------
    by : {"columns", "entries"}, default="columns"
        ``"entries"``: one after another, along the chain.
    """

    def __init__(self, by="columns"):
        self.by_columns = by == "columns"

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K) by `n_sweeps` sweeps."""
        gram, links = sub.full_gram(F.shape[1], rank)[:rank, :rank], (sub.local.weight, sub.local.bend)
        order, pos = sub.order(np.arange(rank), n_sweeps), np.ascontiguousarray(full(sub.pos))
        tasks = np.array([0, len(F)])
        chain.chain_sweep(tasks, F, np.ascontiguousarray(gram), pos, float(sub.flat), links, order, self.by_columns)


class GraphHALS:
    """Exact coordinate descent for rows that are drawn to their neighbours in a graph (``sub.local``), one at a time.

    A row sees what its neighbours have just become (Gauss-Seidel): rows without neighbours among themselves move side
    by side, one group after the other, as the graph was coloured. Never raises the objective. O(p K² + nnz(A) K).
    """

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K) by `n_sweeps` sweeps; without a graph as `HALS` does."""
        if sub.local is None:
            return HALS()(F, sub, rank, n_sweeps)
        gram = np.ascontiguousarray(sub.full_gram(F.shape[1], rank)[:rank, :rank], dtype=F.dtype)
        order = sub.order(np.arange(rank), 1)
        sides, (classes, *edges, degree, scale), total = sub.mixtures(F.shape[1], F.dtype), sub.local, 0.0
        for at in range(n_sweeps * len(classes)):
            members = classes[at % len(classes)]
            tasks = split_rows(len(members), F.shape[1] ** 2)
            parts = np.empty(len(tasks) - 1)
            graph.nodes_hals(tasks, F, F, gram, *sides, (members, *edges, degree, scale), order, parts)
            total += float(parts.sum()) if at >= (n_sweeps - 1) * len(classes) else 0.0
        return total, None


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


class ProductDescent:
    """Exact coordinate descent over the first k columns of F, of which the others are products of two.

    The squared error is a parabola in each entry alone, those of its products included. Never raises the objective.

    Parameters
    ----------
    pair : ndarray (k, k) of int64
        Column of the product of two columns; on the diagonal the column itself.
    """

    def __init__(self, pair):
        self.pair = pair

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K) by `n_sweeps` sweeps."""
        bilinear.rows_products(sub.tasks, F, sub.gram, full(sub.pos), self.pair, n_sweeps)


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


class Medians:
    """Exact coordinate descent for the sum of the residual's sizes: each entry is a weighted median, or 0.

    Takes what `fastnmf.terms.entrywise.Residuals` hands over. Never raises the objective. It can stop where no single
    entry can improve and two together could, at a least squares solution for example, so start it elsewhere.
    """

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K) by `n_sweeps` sweeps."""
        data, other = sub.local
        tasks = split_rows(len(F), len(other) * rank * 8)
        robust.rows_medians(tasks, F, data, other, sub.order(np.arange(rank), n_sweeps))


class Minimax:
    """The exact minimiser of the largest residual of every row: one linear program a row.

    ``min t, |a_j - f . g_j| <= t, f >= 0``, by SciPy's HiGHS. Takes what `fastnmf.terms.entrywise.Residuals` hands
    over. The optimum need not be unique; a row stays as it is where it is as good already.
    """

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Replace the rows of F (p, K)."""
        from scipy.optimize import linprog

        A, G = sub.local.data.astype(np.float64), sub.local.other[:, :rank].astype(np.float64)
        below = np.full((len(G), 1), -1.0)
        sides, cost = np.vstack([np.hstack([G, below]), np.hstack([-G, below])]), np.append(np.zeros(rank), 1.0)
        for i, a in enumerate(A):
            found = linprog(cost, sides, np.concatenate([a, -a]), method="highs")
            best = None if found.x is None else np.maximum(found.x[:rank], 0)
            if best is not None and np.abs(a - G @ best).max() < np.abs(a - G @ F[i, :rank]).max():
                F[i, :rank] = best
