"""The squared error of a model whose components are combinations of given atoms."""

import numpy as np

from fastnmf.core.factors import aligned
from fastnmf.core.problem import MixedRows
from fastnmf.kernels import rows
from fastnmf.kernels.blas import single_threaded_blas


class Dictionary:
    """``||X - W Fᵀ D||²`` with known atoms D (p, m), weights W (n, k) and mixing weights F (p, k), factor ``"H"``.

    The data are read once. With ``Y = X Dᵀ`` and ``G = D Dᵀ`` the half-gradients are ``W (FᵀGF) - Y F`` and
    ``G F (WᵀW) - YᵀW``. The second has a matrix on either side of F, so the rows of F are not independent. Its positive
    and its negative part are given for multiplicative updates, or a `MixedRows` for `MixtureDescent`. Cost: O(nnz p) at
    the start, O((n + p) p k) per iteration.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
        The data X (n, m).
    width : int
        Padded rank K.
    tasks : dict of str to ndarray of int64
        Task tables of the row kernels, by factor.
    atoms : ndarray (m, P)
        Dᵀ, padded to P columns, in the dtype of the data.
    is_descent : bool, default=False
        Whether F is updated by `MixtureDescent`.
    """

    def __init__(self, strata, width, tasks, atoms, is_descent=False):
        self.strata, self.width, self.tasks, self._atoms, self.is_descent = strata, width, tasks, atoms, is_descent
        self._product = aligned((strata.shape[0], atoms.shape[1]), strata.dtype)
        strata.matmul(atoms, self._product)
        with single_threaded_blas():
            self._gram = atoms.astype(np.float64).T @ atoms.astype(np.float64)

    def contribute(self, name, factors, sub):
        """Add ``gram`` and ``pos`` of W; for the mixing weights F ``pos`` and ``neg`` at this point, or a mixture."""
        W, F, dtype = factors["W"], factors["H"], self.strata.dtype
        p = len(F)
        with single_threaded_blas():
            if name == "W":
                sub.add(gram=self._component_gram(factors), pos=self._seen(factors))
                return
            sub.is_quadratic, gram = False, rows.gram(self.tasks["W"], W)
            pos, neg = self._product[:, :p].T @ W, self._gram[:p, :p] @ (F @ gram)
            if self.is_descent:
                products = np.ascontiguousarray(self._gram[:p, :p])
                sub.mixture = MixedRows(products, np.diagonal(products).copy(), gram, neg - pos)
            else:
                sub.add(pos=np.ascontiguousarray(pos), neg=neg.astype(dtype))

    def value(self, factors):
        """Return the squared error from Gram matrices."""
        with single_threaded_blas():
            both = float(np.sum(rows.gram(self.tasks["W"], factors["W"]) * self._component_gram(factors)))
            return self.strata.sq_norm + both - 2 * float(np.vdot(factors["W"], self._seen(factors)).astype(np.float64))

    def exact_value(self, factors):
        """Return the squared error from the residual itself."""
        W, F = (factors[name][:, : factors.rank] for name in "WH")
        return self.strata.residual_square_sum(W, self._atoms[:, : len(F)] @ F, None)

    def _seen(self, factors):
        """Return ``X Dᵀ F``, an array (n, K)."""
        F = factors["H"]
        return factors.cached("seen", ("H",), lambda: np.ascontiguousarray(self._product[:, : len(F)] @ F))

    def _component_gram(self, factors):
        """Return ``Fᵀ D Dᵀ F``, float64 (K, K)."""
        F = factors["H"].astype(np.float64)
        return factors.cached("mixed", ("H",), lambda: F.T @ (self._gram[: len(F), : len(F)] @ F))


class SpannedDictionary(Dictionary):
    """`Dictionary` whose atoms are the orthonormal columns of Q, and F the coordinates of the components ``Q F``.

    With ``QᵀQ = I`` the half-gradient of F is ``F (WᵀW) - YᵀW``: that of a quadratic, to be minimised over the columns
    of F by `fastnmf.core.updates.ConeColumns`.
    """

    def contribute(self, name, factors, sub):
        """Add ``gram`` and ``pos``."""
        if name == "W":
            super().contribute(name, factors, sub)
            return
        W = factors["W"]
        with single_threaded_blas():
            sub.add(gram=rows.gram(self.tasks["W"], W), pos=self._product[:, : len(factors["H"])].T @ W)
