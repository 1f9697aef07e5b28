"""Coordinate descent, column by column or entry by entry, for quadratic and quartic subproblems."""

import numpy as np

from fastnmf.core.problem import full
from fastnmf.core.thresholds import rounding
from fastnmf.core.updates.multiplicative import MU, limits_of, update_entries
from fastnmf.kernels import bilinear, chain, graph, lagged, large_ranks, mixtures, rows, symmetric, weighted
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.jit import split_rows
from fastnmf.kernels.records import CSR, LazyRows


class HALS:
    """Exact coordinate descent over the columns of F (Cichocki and Phan 2009); the closed form for separable entries.

    Monotone: no single step increases the objective. Columns whose gram entry is zero stay as they are.

    Parameters
    ----------
    visits : ndarray (k,) of int, optional
        Order of the columns in a sweep, ascending by default.
    """

    needs = ("quadratic",)

    def __init__(self, visits=None):
        self.visits = visits

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` sweeps, or entries to their minimum.

        Parameters
        ----------
        F, rank :
            As for `Update`.
        sub : fastnmf.core.problem.Subproblem
            Quadratic.
        n_sweeps : int
            Sweeps over the columns; not used for entries.

        Returns
        -------
        inner_products : tuple of float and None
            ``<F, pos>`` at the new F, and None; for entries as for `update_entries`.
        """
        if sub.weight is not None:
            return update_entries(F, sub, 0)
        parts, gram = np.empty(len(sub.tasks) - 1), sub.full_gram(F.shape[1], rank).astype(F.dtype)
        is_large = F.shape[1] > rows.WIDEST and np.ndim(sub.free_mask) < 2
        order = sub.order(np.arange(rank) if self.visits is None else self.visits, n_sweeps)
        sides, linear = sub.lazy_rows(F.shape[1], F.dtype), F.dtype.type(sub.linear)
        if is_large:
            large_ranks.rows_hals_large(sub.tasks, F, gram, *sides, linear, order.reshape(n_sweeps, -1), parts)
        elif np.ndim(sub.free_mask) < 2:
            rows.rows_hals(sub.tasks, F, gram, *sides, linear, rank, order, parts)
        else:
            rows.rows_hals_masked(sub.tasks, F, gram, *sides, linear, sub.free_mask, order, parts)
        return float(parts.sum()), None


class WeightedRows:
    """HALS or the multiplicative update for rows that have a Gram matrix of their own, as in `Masked`.

    The Gram matrices are given by ``sub.rowwise``. The rule is exact coordinate descent, or
    ``F <- F * pos / (F gram_i + neg_i + eps)``. The first does not increase the objective, the second does not increase
    the objective plus ``eps * sum(F)``. Separable entries are updated as by `HALS` and `MU`.

    Parameters
    ----------
    rule : {"hals", "mu"}, default="hals"
    eps, floor, norm : float
        As for `MU`; not used by ``"hals"``.
    times : int, default=1
        ``"hals"`` makes so many sweeps for each that is requested.
    """

    needs = ("rowwise",)

    def __init__(self, rule="hals", eps=0.0, floor=0.0, norm=None, times=1):
        self.is_hals, self.ratio, self.times = rule == "hals", MU(eps, floor, norm), times

    @classmethod
    def of_squares(cls, data):
        """Return the multiplicative update for the squared error of these data."""
        found = cls("mu")
        found.ratio = MU.of_squares(data)
        return found

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` sweeps or multiplicative updates.

        Parameters
        ----------
        F : ndarray (p, K), or (p,), of float32 or float64
            The factor, padded, or the entries of a separable one; overwritten.
        sub : fastnmf.core.problem.Subproblem
            ``rowwise`` is a `fastnmf.kernels.records.RowwiseGram`; not needed for entries.
        rank : int
            Columns in use.
        n_sweeps : int
            Sweeps over the columns, or multiplicative updates; for entries with "hals" not used.

        Returns
        -------
        inner_products : tuple of float and None, or None
            ``<F, pos>`` at the new F, and None; for entries as for `update_entries`. None after multiplicative updates
            with a `free_mask`. "hals" adds the weighted squared norm of the model, without that of the shifts, where
            the rows have no other Gram matrix than those of `rowwise`.
        """
        if sub.weight is not None:
            return update_entries(F, sub, 0) if self.is_hals else self.ratio(F, sub, rank, n_sweeps)
        shared = sub.full_gram(F.shape[1], rank)
        grams = sub.rowwise.grams if shared is None else sub.rowwise.grams + shared
        step, dtype = (self._hals, np.float64) if self.is_hals else (self._mu, F.dtype)
        rowwise = sub.rowwise._replace(grams=grams.astype(dtype, copy=False))
        rowwise = rowwise if sub.row_ridge is None else rowwise._replace(ridge=sub.row_ridge)
        found = step(F, sub, rank, n_sweeps, rowwise, sub.lazy_rows(F.shape[1], F.dtype))
        return found if shared is None or found is None else found[:2]

    def _hals(self, F, sub, rank, n_sweeps, rowwise, sides):
        """Update F by exact coordinate descent.

        Parameters
        ----------
        F, rank :
            As for `Update`.
        sub : fastnmf.core.problem.Subproblem
        n_sweeps : int
            Sweeps over the columns.
        rowwise : fastnmf.kernels.records.RowwiseGram
            ``grams`` include the shared one.
        sides : tuple of two LazyRows
            ``pos`` and ``neg``.

        Returns
        -------
        inner_products : tuple of float, None and float
            ``<F, pos>`` at the new F, None, and the sum that `rows_hals_weighted` describes.
        """
        parts = np.empty((len(sub.tasks) - 1, 2))
        is_free = sub.free_mask if np.ndim(sub.free_mask) == 2 else np.empty((0, 0), np.bool_)
        order = sub.order(np.arange(rank), self.times * n_sweeps)
        weighted.rows_hals_weighted(sub.tasks, F, rowwise, *sides, float(sub.linear), is_free, order, parts)
        with_pos, squares = (float(total) for total in parts.sum(axis=0))
        return with_pos, None, squares

    def _mu(self, F, sub, rank, n_sweeps, rowwise, sides):
        """Update F by `n_sweeps` multiplicative updates.

        Parameters
        ----------
        F, sub, rank, n_sweeps, rowwise, sides :
            As for `_hals`.

        Returns
        -------
        inner_products : tuple of float and None, or None
            ``<F, pos>`` at the new F, and None; None with a `free_mask`.
        """
        parts = np.empty((len(sub.tasks) - 1, 2))
        eps = self.ratio.eps_for(max(np.trace(gram) for gram in rowwise.grams), len(F), rank)
        limits = limits_of(F.dtype, eps + sub.linear, self.ratio.floor)
        held = None if sub.free_mask is None else F.copy()
        for _ in range(n_sweeps):
            weighted.rows_mu_weighted(sub.tasks, F, rowwise, *sides, limits, parts)
            if held is not None:
                np.copyto(F[:, :rank], held[:, :rank], where=~sub.free_mask[..., :rank])
        return (float(parts[:, 0].sum()), None) if held is None else None


class ChainDescent:
    """Exact coordinate descent for a factor whose consecutive rows are linked.

    The links are those of `fastnmf.core.penalties.smoothness.Chain`. A whole column is set to its minimiser at once, by
    a tridiagonal system and a set of rows that are zero. Updating one entry after another would need many sweeps,
    because neighbours that are strongly linked change by small steps only. For total variation the column minimises a
    parabola above the penalty, which is recomputed for every column. Monotone. Sequential; O(p K²) per sweep.

    Parameters
    ----------
    by : {"columns", "entries"}, default="columns"
        ``"entries"``: one entry after another, along the chain.
    """

    needs = ("quadratic", "chain")

    def __init__(self, by="columns"):
        self.by_columns = by == "columns"

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` sweeps.

        Parameters
        ----------
        F, rank :
            As for `Update`.
        sub : fastnmf.core.problem.Subproblem
            ``chain`` is a `fastnmf.core.penalties.smoothness.Chain`.
        n_sweeps : int
            Sweeps over the columns.
        """
        gram, links = np.ascontiguousarray(sub.full_gram(F.shape[1], rank)[:rank, :rank]), sub.chain
        order, pos = sub.order(np.arange(rank), n_sweeps), np.ascontiguousarray(full(sub.pos))
        tasks, linear = np.array([0, len(F)]), float(sub.linear)
        chain.chain_sweep(tasks, F, gram, pos, linear, links.weight, links.bend, order, self.by_columns)


class LaggedDescent:
    """Exact coordinate descent for weights of patterns that last several rows, row by row.

    Each row uses the updated values of the rows before it (Gauss-Seidel). Monotone. Sequential; O(n p k²) per sweep for
    patterns of p rows, and less where weights are zero.
    """

    needs = ("lags",)

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` sweeps.

        Parameters
        ----------
        F : ndarray (n, K) of float32 or float64
            The factor, padded; overwritten.
        sub : fastnmf.core.problem.Subproblem
            ``lags`` is a `fastnmf.core.losses.convolution.Lags`.
        rank : int
            Not used: the number of components is that of `lags`.
        n_sweeps : int
            Sweeps over the rows.
        """
        curvature = sub.lags.curvature
        order = sub.order(np.arange(curvature.shape[2]), 1)
        lagged.lagged_sweeps(np.array([0, len(F)]), F, curvature, full(sub.pos), order, n_sweeps)


class GraphHALS:
    """Exact coordinate descent, row by row, for rows that are coupled to their neighbours in a graph.

    The graph is given by ``sub.neighbours``. A row uses the updated values of its neighbours (Gauss-Seidel). Rows
    without neighbours among themselves are updated in parallel, one colour class of the graph after the other.
    Monotone. O(p K² + nnz(A) K) per sweep.
    """

    needs = ("quadratic",)

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` sweeps; without a graph as `HALS` does.

        Parameters
        ----------
        F, rank :
            As for `Update`.
        sub : fastnmf.core.problem.Subproblem
            ``neighbours`` is a `fastnmf.core.losses.graph.Neighbours`, or None.
        n_sweeps : int
            Sweeps over all rows.

        Returns
        -------
        inner_products : tuple of float and None
            ``<F, pos>`` at the new F, and None.
        """
        if sub.neighbours is None:
            return HALS()(F, sub, rank, n_sweeps)
        if sub.linear:  # the same for all entries: one row for all rows
            sub.add(neg=LazyRows.of(np.full((1, F.shape[1]), sub.linear, F.dtype), np.zeros(len(F), np.int32)))
        gram = np.ascontiguousarray(sub.full_gram(F.shape[1], rank)[:rank, :rank], dtype=F.dtype)
        order = sub.order(np.arange(rank), 1)
        sides, (classes, edges), total = sub.lazy_rows(F.shape[1], F.dtype), sub.neighbours, 0.0
        for at in range(n_sweeps * len(classes)):
            members = classes[at % len(classes)]
            tasks = split_rows(len(members), F.shape[1] ** 2)
            parts = np.empty(len(tasks) - 1)
            graph.nodes_hals(tasks, members, F, gram, *sides, edges, order, parts)
            total += float(parts.sum()) if at >= (n_sweeps - 1) * len(classes) else 0.0
        return total, None


class QuarticDescent:
    """Exact coordinate descent for ``||A - F Fᵀ||²``, A symmetric (Vandaele, Gillis, Lei, Zhong, Dhillon 2016).

    Each entry is set to the best root of its cubic. Monotone. Sequential; one sweep costs O(nnz k + p k²). pos holds A
    itself, as `LazyRows` over the rows of F.
    """

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` sweeps.

        Parameters
        ----------
        F, rank :
            As for `Update`.
        sub : fastnmf.core.problem.Subproblem
            ``pos`` is `LazyRows` that hold A, ``gram`` is ``FᵀF``.
        n_sweeps : int
            Sweeps over all entries.
        """
        A, gram = sub.pos, np.array(sub.gram)
        for _ in range(n_sweeps):
            symmetric.quartic_sweep(np.array([0, len(F)]), CSR(A.start, A.group, A.weight), F, gram, rank)


class LinkedDescent:
    """Exact coordinate descent for ``||A - F S Fᵀ||²``, A symmetric, over the entries of F.

    It extends the method of `QuarticDescent` to a core S, with which the quartic of an entry has a cubic term.
    Monotone. Sequential; one sweep costs O(nnz k + p K²). pos holds A itself, as `LazyRows` over the rows of F.
    """

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` sweeps.

        Parameters
        ----------
        F, rank :
            As for `Update`.
        sub : fastnmf.core.problem.Subproblem
            ``pos`` is `LazyRows` that hold A, ``gram`` is ``FᵀF``, ``core`` is S.
        n_sweeps : int
            Sweeps over all entries.
        """
        A, inner = sub.pos, sub.core @ sub.gram @ sub.core
        for _ in range(n_sweeps):
            symmetric.linked_sweep(np.array([0, len(F)]), CSR(A.start, A.group, A.weight), F, sub.core, inner, rank)


class CoreDescent:
    """Exact coordinate descent for ``||A - F S Fᵀ||²`` over the symmetric core S >= 0, pairs of entries at a time.

    Monotone. Cost: O(k³) per sweep.

    Parameters
    ----------
    n_sweeps : int, default=4
        Sweeps in one update.
    """

    def __init__(self, n_sweeps=4):
        self.n_sweeps = n_sweeps

    def __call__(self, F, sub, rank, n_sweeps):
        """Update the core.

        Parameters
        ----------
        F : ndarray (K, K) of float32 or float64
            The core S, padded; overwritten.
        sub : fastnmf.core.problem.Subproblem
            ``gram`` is the Gram matrix of the factor on both sides, ``pos`` its product with the data on both sides.
        rank : int
            Columns in use.
        n_sweeps : int
            Times that `n_sweeps` sweeps are made.
        """
        S, gram = F[:rank, :rank].astype(np.float64), np.ascontiguousarray(sub.gram[:rank, :rank])
        S, right = (S + S.T) / 2, np.ascontiguousarray(sub.pos[:rank, :rank])
        right = (right + right.T) / 2
        with single_threaded_blas():
            product = S @ gram
        symmetric.core_sweeps(np.array([0, rank]), S, gram, right, product, self.n_sweeps * n_sweeps)
        F[:rank, :rank] = S


class ProductDescent:
    """Exact coordinate descent over the first k columns of F, whose other columns are products of two of them.

    The squared error is a parabola in each single entry, including the products that contain it. Monotone.

    Parameters
    ----------
    pair : ndarray (k, k) of int64
        Column of the product of two columns; on the diagonal the column itself.
    """

    needs = ("quadratic",)

    def __init__(self, pair):
        self.pair = pair

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` sweeps.

        Parameters
        ----------
        F : ndarray (p, K) of float32 or float64
            The factor, padded; overwritten.
        sub : fastnmf.core.problem.Subproblem
            ``gram`` and ``pos``; quadratic in F with independent columns.
        rank : int
            Not used.
        n_sweeps : int
            Sweeps over the first k columns.
        """
        # Weights that are rounding errors of the largest determine nothing: their entries would grow without bound.
        least = rounding(F.dtype) ** 2 * np.diagonal(sub.gram).max()
        bilinear.rows_products(sub.tasks, F, sub.gram, full(sub.pos), self.pair, float(least), n_sweeps)


class MixtureDescent:
    """Exact coordinate descent over the weights with which rows are mixed into components.

    A sweep visits the rows that have a weight or gain by one, and solves for the k weights of a row by steps over
    single entries, each of which is exact. Monotone. Sequential; at most O(nnz K) per sweep.

    Parameters
    ----------
    n_sweeps : int, default=1
        Sweeps in one update, after each of which the objective would have to be composed again.
    n_steps : int, default=1
        Passes over the weights of a row, which share the passes over its data.
    """

    needs = ("mixture",)

    def __init__(self, n_sweeps=1, n_steps=1):
        self.n_sweeps, self.n_steps = n_sweeps, n_steps

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Update F by the sweeps of this update.

        Parameters
        ----------
        F : ndarray (p, K) of float32 or float64
            The weights, padded; overwritten.
        sub : fastnmf.core.problem.Subproblem
            ``mixture`` is a `fastnmf.core.problem.MixedRows`.
        rank : int
            Columns in use.
        n_sweeps : int, default=1
            Not used: a mixture holds at one point only.
        """
        matrix, squares, gram, gradient, slope = sub.mixture
        gram, gradient = np.ascontiguousarray(gram[:rank, :rank]), gradient[:, :rank]
        order = np.flatnonzero(((F[:, :rank] > 0) | (gradient < 0)).any(axis=1))
        kernel = mixtures.csr_mixtures if isinstance(matrix, CSR) else mixtures.dense_mixtures
        if slope is None:
            kernel, slope = mixtures.gram_mixtures, gradient
        slope, order = np.array(slope[:, :rank], dtype=np.float64, order="C"), np.tile(order, self.n_sweeps)
        kernel(np.array([0, len(F)]), matrix, squares, F, gram, slope, order, self.n_steps)
