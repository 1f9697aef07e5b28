"""Exact minimisers: non-negative by active sets, unconstrained, one component a row, and at most a few."""

import numpy as np

from fastnmf.core.problem import full
from fastnmf.kernels import coding, nnls, nnls_lanes
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.jit import split_rows
from fastnmf.kernels.records import LazyRows
from fastnmf.kernels.row_intrinsics import padded


class ActiveSet:
    """The exact minimiser over F >= 0, row by row (Lawson and Hanson 1974, in normal equations).

    Rows are independent of each other. The initial F is a guess of the support: correct guesses save time.
    """

    needs = ("quadratic",)

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Replace F by the minimiser.

        Parameters
        ----------
        F : ndarray (p, K) of float32 or float64
            The factor, padded; overwritten. Its values are the initial guess of the support.
        sub : fastnmf.core.problem.Subproblem
            ``gram``, ``pos`` and ``neg``; quadratic.
        rank : int
            Columns in use.
        n_sweeps : int, default=1
            Not used.
        """
        neg = sub.lazy_rows(F.shape[1], F.dtype)[1]
        neg = LazyRows.of(full(neg)) if len(neg.start) else neg
        gram = np.ascontiguousarray(sub.full_gram(F.shape[1], rank)[:rank, :rank])
        minimise_rows(sub.tasks, F, gram, full(sub.pos), neg, sub.linear)


def minimise_rows(tasks, F, gram, pos, neg, linear):
    """Replace every row f of F by the minimiser of ``f gram fᵀ / 2 - (pos - neg - linear) f`` over f >= 0.

    Parameters
    ----------
    tasks, F, gram, pos, neg, linear :
        As for `fastnmf.kernels.nnls_lanes.rows_nnls`; gram (k, k).
    """
    rank, is_solved = len(gram), np.empty(len(F), np.bool_)
    extended, whole = np.eye(2 * rank), np.zeros((rank, padded(rank, np.float64)))
    extended[:rank, :rank] = whole[:, :rank] = gram
    nnls_lanes.rows_nnls(tasks, F, whole, extended, pos, neg, linear, is_solved)
    if not is_solved.all():
        rows = np.flatnonzero(~is_solved)
        right = pos[rows, :rank].astype(np.float64) - linear
        if len(neg.rows):
            right -= neg.rows[neg.group[rows] if len(neg.group) else rows, :rank]
        nnls.rows_nnls_active(split_rows(len(rows), rank**3), rows, F, gram, right)


class LeastSquares:
    """The minimiser without a sign constraint: ``F = (pos - neg) gram⁺``.

    Linearly dependent columns share the weight, as the pseudoinverse gives the solution of least norm.
    """

    needs = ("quadratic",)

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Replace F by the minimiser.

        Parameters
        ----------
        F, rank :
            As for `Update`.
        sub : fastnmf.core.problem.Subproblem
            ``gram``, ``pos`` and ``neg``; quadratic.
        n_sweeps : int, default=1
            Not used.
        """
        right = full(sub.pos)[:, :rank].astype(np.float64)
        right = right if sub.neg is None else right - full(sub.neg)[:, :rank]
        with single_threaded_blas():
            F[:, :rank] = right @ np.linalg.pinv(sub.gram[:rank, :rank], hermitian=True)


class ClusterAssignment:
    """One non-zero per row, columns of length one: each row is assigned to the component that explains most of it.

    The update is the exact minimiser of the squared error over rows with one non-zero entry. The columns are then
    divided by their lengths, which the next update of the other factor compensates. This is the step of orthogonal NMF
    by k-means on the sphere (Pompili, Gillis, Absil, Glineur 2014).
    """

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Replace F by the minimiser.

        Parameters
        ----------
        F, rank :
            As for `Update`.
        sub : fastnmf.core.problem.Subproblem
            ``gram``, whose diagonal alone is used, and ``pos``; quadratic.
        n_sweeps : int, default=1
            Not used.
        """
        pos, size = full(sub.pos)[:, :rank], np.diagonal(sub.gram)[:rank]
        length = np.sqrt(size)
        gain = np.divide(pos, length, out=np.zeros(pos.shape), where=length > 0)
        best, each = np.argmax(gain, axis=1), np.arange(len(F))
        weight = np.divide(np.maximum(gain[each, best], 0), length[best], out=np.zeros(len(F)), where=length[best] > 0)
        lengths = np.sqrt(np.bincount(best, weight * weight, minlength=rank))
        F[:] = 0
        F[each, best] = np.divide(weight, lengths[best], out=np.zeros(len(F)), where=lengths[best] > 0)


class ProductCore:
    """The core S of ``W S Hᵀ`` for W and H with orthonormal columns: the minimiser ``WᵀX H``, which pos holds."""

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Replace F by the minimiser.

        Parameters
        ----------
        F : ndarray (K, K) of float32 or float64
            The core, padded; overwritten.
        sub : fastnmf.core.problem.Subproblem
            Its ``pos``.
        rank, n_sweeps : int
            Not used.
        """
        F[:] = full(sub.pos)


class SparseCoding:
    """The minimiser over F >= 0 with at most `most` non-zeros per row, for columns whose Gram matrix is non-negative.

    Exact for one and two non-zeros: all supports are compared. For more, the support comes from non-negative orthogonal
    matching pursuit (Bruckstein, Elad and Zibulevsky 2008), exchanges, and branch and bound in at most `n_nodes`
    problems per row (Nadisic, Vandaele, Gillis and Cohen 2020); weights on a support are exact. Monotone for rows that
    have at most `most` non-zeros. Cost: O(p k^2) for two, O(p k most^4) for more without branch and bound.

    Parameters
    ----------
    most : int
        Maximum number of non-zeros of a row, >= 1.
    n_nodes : int, default=0
        As for `fastnmf.kernels.coding.rows_sparse_coding`.
    """

    needs = ("quadratic",)

    def __init__(self, most, n_nodes=0):
        self.most, self.n_nodes = most, n_nodes

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Replace F by the minimiser.

        Parameters
        ----------
        F : ndarray (p, K) of float32 or float64
            The factor, padded; overwritten. For more than two non-zeros its supports are tried, too.
        sub : fastnmf.core.problem.Subproblem
            ``gram`` and ``pos``; quadratic.
        rank : int
            Columns in use.
        n_sweeps : int, default=1
            Not used.
        """
        gram = np.ascontiguousarray(sub.full_gram(F.shape[1], rank)[:rank, :rank])
        coding.rows_sparse_coding(sub.tasks, F, gram, full(sub.pos), self.most, self.n_nodes)
