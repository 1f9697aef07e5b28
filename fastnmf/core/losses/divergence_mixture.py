"""Several divergences of the same model at once, and one divergence of the entries that are not held out."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from fastnmf.core.losses.divergences import BetaDivergence, KullbackLeibler
from fastnmf.core.losses.robust import Tiled
from fastnmf.core.losses.squared import Frobenius
from fastnmf.core.problem import full
from fastnmf.core.thresholds import EXPANSION_FLOOR, model_floor
from fastnmf.kernels.blas import single_threaded_blas


class Part(NamedTuple):
    """The contribution of one divergence to a half-gradient.

    Attributes
    ----------
    beta : float
        Its beta.
    pos, neg : ndarray (p, K)
        Its two parts, multiplied by its weight.
    """

    beta: float
    pos: np.ndarray
    neg: np.ndarray


class HalfSquared(Frobenius):
    """``1/2 ||X - W Hᵀ||²``, the beta divergence for beta = 2, as a ratio.

    The parts of W are pos ``X H`` and neg ``W (HᵀH)``, those of H alike. Cost: O(nnz K + (n + m) K²) per pass.
    """

    def contribute(self, name, factors, sub):
        """Add ``pos`` and ``neg`` of factor W or H at this point."""
        F, gram = factors[name], self.gram("H" if name == "W" else "W", factors)
        with single_threaded_blas():
            sub.add(pos=self.product(name, factors), neg=F @ gram.astype(F.dtype))

    def value(self, factors):
        """Return half the squared error."""
        value = super().value(factors)
        return 0.5 * (value if value > EXPANSION_FLOOR * self.strata.sq_norm else self.exact_value(factors))

    def reference(self):
        """Return the divergence of the best constant model."""
        X = self.strata.X
        return 0.5 * (self.strata.sq_norm - float(X.sum(dtype=np.float64)) ** 2 / (X.shape[0] * X.shape[1]))


def _loss(strata, width, tasks, beta):
    """Return the loss of one beta.

    Parameters
    ----------
    strata : fastnmf.data.strata.Strata
    width : int
        Padded rank K.
    tasks : dict of str to ndarray of int64
        Task tables of the row kernels, by factor.
    beta : float

    Returns
    -------
    loss : HalfSquared, KullbackLeibler or BetaDivergence
    """
    if beta == 2:
        return HalfSquared(strata, width, tasks, holds_products=True)
    return KullbackLeibler(strata, width, tasks) if beta == 1 else BetaDivergence(strata, width, tasks, beta)


class DivergenceMixture:
    """``max_b D_b(X, W Hᵀ) / e_b``, or ``sum_b weight_b D_b / e_b``, over several beta divergences.

    The largest ratio is minimised through the weighted sum. Before iteration k the weight of the divergence with the
    largest ratio grows, ``weight += (one_hot - weight) / (k + 1)``; this leads to weights at which the largest ratios
    are equal. For fixed weights the update `JointMU` makes the sum monotone. Cost: the sum of the costs of the parts,
    which is a pass over the non-zeros for beta = 1 and 2, and O(n m K) for the others.

    Source: Gillis, Hien, Leplat and Tan 2021, "Distributionally robust and multi-objective nonnegative matrix
    factorization".

    Parameters
    ----------
    strata, width, tasks :
        As for `BetaDivergence`.
    betas : sequence of float
    references : ndarray (n_betas,)
        The scales e_b > 0.
    weights : ndarray (n_betas,), optional
        Fixed weights: non-negative, sum 1. With None the weights start equal and change in every iteration.

    Attributes
    ----------
    weights : ndarray (n_betas,)
    excesses : ndarray (n_betas,)
        ``D_b / e_b`` at the last evaluation of the objective; zeros before the first.
    """

    def __init__(self, strata, width, tasks, betas, references, weights=None):
        self.losses = [_loss(strata, width, tasks, beta) for beta in betas]
        self.betas, self.references = np.asarray(betas, dtype=np.float64), np.asarray(references)
        self.is_fixed = weights is not None
        self.weights = np.full(len(betas), 1 / len(betas)) if weights is None else np.asarray(weights, np.float64)
        self.excesses, self._step = np.zeros(len(betas)), 0
        self._of_which, self._views = None, []

    def floor_by_row(self):
        """Take the floors of the divergences from each row, as `BetaDivergence` does."""
        for loss, beta in zip(self.losses, self.betas, strict=True):
            if beta != 2:
                loss.floor_by_row()

    def contribute(self, name, factors, sub):
        """Add the weighted ``pos`` and ``neg``, and set ``sub.parts`` to one `Part` a divergence.

        A call for W begins an iteration and updates the weights.
        """
        if name == "W" and not self.is_fixed:
            self._step += 1
            towards = np.arange(len(self.weights)) == np.argmax(self.ratios(factors))
            self.weights = self.weights + (towards - self.weights) / (self._step + 1)
        sub.is_quadratic, parts = False, []
        each = zip(self.losses, self._of(factors), self.betas, self.weights / self.references, strict=True)
        for loss, view, beta, weight in each:
            one = type(sub)(sub.tasks)
            loss.contribute(name, view, one)
            part = Part(float(beta), weight * full(one.pos), weight * full(one.neg))
            sub.add(pos=part.pos, neg=part.neg)
            parts.append(part)
        sub.parts = parts

    def reference(self):
        """Return the largest ratio of the trivial models.

        They are the constant model, and for beta = 1 the product of the margins.
        """
        trivial = [t.independence() if b == 1 else t.reference() for t, b in zip(self.losses, self.betas, strict=True)]
        return float((np.array(trivial) / self.references).max())

    def ratios(self, factors):
        """Return ``D_b / e_b`` for each beta, float64 (n_betas,)."""
        views = self._of(factors)
        values = [max(loss.value(view), 0.0) for loss, view in zip(self.losses, views, strict=True)]
        return np.array(values) / self.references

    def value(self, factors):
        """Return the largest ratio, or for fixed weights their weighted sum."""
        self.excesses = self.ratios(factors)
        return float(self.excesses @ self.weights if self.is_fixed else self.excesses.max())

    def columns(self):
        """Return the ratios at the last evaluation of the objective, for the history."""
        return {"excesses": self.excesses}

    def to_state(self):
        """Return what later iterations depend on beside the factors."""
        return {"weights": self.weights, "step": self._step}

    def from_state(self, state):
        """Restore the state that `to_state` returned."""
        self.weights, self._step = state["weights"], state["step"]

    def _of(self, factors):
        """Return one copy of `factors` for each divergence, each with its own cache."""
        if self._of_which is not factors:
            self._of_which, self._views = factors, [factors.fork() for _ in self.losses]
        return self._views


class ObservedDivergence(Tiled):
    """``sum d(x, y)`` over the entries that are not held out, for the beta divergence d.

    The parts pos and neg are those of `BetaDivergence`, with zeros where an entry is held out. Cost: O(n m K) per pass,
    a tile at a time.

    Parameters
    ----------
    strata, width, tasks :
        As for `Tiled`.
    beta : float
    held : csr_array (n_rows, n_columns)
        1 where an entry is held out.

    Attributes
    ----------
    floor : float
        Model values below it count as it.
    """

    def __init__(self, strata, width, tasks, beta, held):
        super().__init__(strata, width, tasks)
        self.beta, X = float(beta), sp.csr_array(strata.X)
        self.floor = float(model_floor(X.sum(dtype=np.float64) / max(X.nnz, 1))[0])
        self.power = 1 / (2 - beta) if beta < 1 else 1 / max(1.0, beta - 1)
        self._held = {"W": held, "H": sp.csr_array(held.T)}

    def contribute(self, name, factors, sub):
        """Add ``pos`` and ``neg`` of factor W or H at this point."""
        pos, neg, _ = self._pass(name, factors)
        sub.is_quadratic, sub.power = False, self.power
        sub.add(pos=pos, neg=neg)

    def value(self, factors):
        """Return the divergence of the entries that are not held out."""
        return self._pass("W", factors)[2]

    def _pass(self, name, factors):
        """Return ``pos`` and ``neg`` of factor W or H, and the divergence, at this point."""

        def compute():
            other, pos = factors["H" if name == "W" else "W"], self._products[name]
            neg, total = np.empty_like(pos), 0.0
            for part, x, y in self.tiles(name, factors):
                seen = 1 - self._held[name][part].toarray()  # never-densify-ok: one tile
                y = np.maximum(y, y.dtype.type(self.floor))
                total += float(np.sum(divergences(x, y, self.beta) * seen, dtype=np.float64))
                weight = seen * y ** y.dtype.type(self.beta - 2)
                pos[part], neg[part] = (weight * x).astype(y.dtype) @ other, (weight * y).astype(y.dtype) @ other
            return pos, neg, total

        return factors.cached(("seen", name), ("W", "H"), compute)


def divergences(x, y, beta):
    """Return the beta divergence of each entry of x >= 0 from y > 0, an array; x must be positive for beta <= 0."""
    if beta == 0:
        return x / y - np.log(x / y) - 1
    if beta == 1:
        logs = np.log(np.where(x > 0, x / y, 1.0))
        return x * logs - x + y
    return (x**beta + (beta - 1) * y**beta - beta * x * y ** (beta - 1)) / (beta * (beta - 1))
