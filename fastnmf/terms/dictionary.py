"""The squared error of a model whose components are mixtures of given atoms."""

import numpy as np

from fastnmf.blas import single_threaded_blas
from fastnmf.kernels import rows
from fastnmf.problem import aligned


class Dictionary:
    """``||X - W Fᵀ D||²`` with known atoms D (p, m), weights W (n, k) and mixtures F (p, k), factor ``"H"``.

    The data are walked once: with ``Y = X Dᵀ`` and ``G = D Dᵀ`` the half-gradients are ``W (FᵀGF) - Y F`` and
    ``G F (WᵀW) - YᵀW``. The latter has a matrix on either side, so that columns of F cannot be moved row by row; its
    positive and negative part are given for multiplicative updates. O(nnz p) at the start, O((n + p) p k) an iteration.

    Parameters
    ----------
    strata : fastnmf.data.Strata
    width : int
        Padded rank K.
    tasks : dict
        Task tables of the row kernels, by factor.
    atoms : ndarray (m, P)
        Dᵀ, padded.
    """

    def __init__(self, strata, width, tasks, atoms):
        self.strata, self.width, self.tasks, self._atoms = strata, width, tasks, atoms
        self._product = aligned((strata.shape[0], atoms.shape[1]), strata.dtype)
        strata.matmul(atoms, self._product)
        with single_threaded_blas():
            self._gram = atoms.astype(np.float64).T @ atoms.astype(np.float64)

    def contribute(self, name, factors, sub):
        """Add gram and pos of W, or pos and neg of the mixtures at this point."""
        W, F, dtype = factors["W"], factors["H"], self.strata.dtype
        p = len(F)
        with single_threaded_blas():
            if name == "W":
                sub.add(gram=self._mixed_gram(factors), pos=self._seen(factors))
                return
            sub.is_quadratic = False
            neg = self._gram[:p, :p] @ (F @ rows.gram(self.tasks["W"], W))
            sub.add(pos=np.ascontiguousarray(self._product[:, :p].T @ W), neg=neg.astype(dtype))

    def value(self, factors):
        """Return the squared error from Gram matrices."""
        with single_threaded_blas():
            both = float(np.sum(rows.gram(self.tasks["W"], factors["W"]) * self._mixed_gram(factors)))
            return self.strata.sq_norm + both - 2 * float(np.vdot(factors["W"], self._seen(factors)).astype(np.float64))

    def direct(self, factors):
        """Return the squared error from the residual itself."""
        W, F = (factors[name][:, : factors.rank] for name in "WH")
        return self.strata.residual_square_sum(W, self._atoms[:, : len(F)] @ F, None)

    def _seen(self, factors):
        F = factors["H"]
        return factors.cached("seen", ("H",), lambda: np.ascontiguousarray(self._product[:, : len(F)] @ F))

    def _mixed_gram(self, factors):
        F = factors["H"].astype(np.float64)
        return factors.cached("mixed", ("H",), lambda: F.T @ (self._gram[: len(F), : len(F)] @ F))
