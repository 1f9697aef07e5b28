"""The choice of what X is compared with, `beta_loss`: a name, a number, or a `Divergence`."""

from __future__ import annotations

import numbers
from typing import Any

from fastnmf.core.losses.design_divergence import DesignKullbackLeibler
from fastnmf.core.losses.divergences import BetaDivergence, KullbackLeibler, check_beta
from fastnmf.core.losses.masked_divergence import MaskedBetaDivergence, MaskedKullbackLeibler
from fastnmf.core.losses.negative_binomial import NegativeBinomial
from fastnmf.data.design import DesignedStrata


class Divergence:
    """A divergence ``D(X | model)`` as a value of `beta_loss`; a subclass defines `build`.

    Attributes
    ----------
    degree : float
        Power with which it grows with the units: ``D(t X | t Y) = t ** degree D(X | Y)``.
    is_squared : bool
        Whether it is the squared error, which has solvers of its own.
    """

    degree: float = 1.0
    is_squared = False

    def build(
        self, data: Any, width: int, tasks: Any, *, has_shifts: bool = False, exponent: str = "mm"
    ) -> tuple[Any, float]:
        """Return the loss of one fit, and the value that normalizes it.

        Parameters
        ----------
        data : fastnmf.data.strata.Strata
        width : int
            Padded rank K.
        tasks : dict, factor name -> ndarray of int64
            Task tables of the row kernels.
        has_shifts : bool, default=False
        exponent : {"mm", "fast"}, default="mm"
            As for `fastnmf.core.losses.BetaDivergence`.

        Returns
        -------
        loss : fastnmf.core.problem.DataLoss
            For multiplicative updates.
        scale : float
            Divergence of the trivial model, in the inner scale.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method build; define it, or extend EntrywiseLoss.")


class Beta(Divergence):
    """The beta divergence; 2 is twice the textbook's half squared error, 1 Kullback-Leibler, 0 Itakura-Saito.

    Parameters
    ----------
    beta : float
    """

    def __init__(self, beta: float):
        self.degree, self.is_squared = float(beta), beta == 2

    def build(self, data, width, tasks, *, has_shifts=False, exponent="mm"):
        weights = getattr(data, "entry_weights", None)
        if self.degree == 1:
            masked = () if weights is None else (weights,)
            is_designed = has_shifts and isinstance(data, DesignedStrata)
            plain = DesignKullbackLeibler if is_designed else KullbackLeibler
            kind = MaskedKullbackLeibler if masked else plain
            loss = kind(data, width, tasks, *masked, has_shifts)
            return loss, loss.independence()
        check_beta(data, self.degree)
        if weights is not None:
            loss = MaskedBetaDivergence(data, width, tasks, weights, self.degree, exponent)
        else:
            loss = BetaDivergence(data, width, tasks, self.degree, has_shifts, exponent)
        return loss, loss.reference()


class Counts(Divergence):
    """Negative-binomial counts; see `fastnmf.core.losses.NegativeBinomial`.

    The scale of the losses is that of Kullback-Leibler, the divergence from the product of the margins, so that
    normalized losses of both can be compared: the smaller one has the larger likelihood.

    Parameters
    ----------
    size : ndarray (n_columns,), default=None
        The sizes, or where they start.
    kind : {"feature", "global"}, default=None
        How they are estimated in a fit; None: they are kept.
    """

    def __init__(self, size=None, kind=None):
        self.size, self.kind = size, kind

    def build(self, data, width, tasks, *, has_shifts=False, exponent="mm"):
        loss = NegativeBinomial(data, width, tasks, has_shifts, self.size, self.kind)
        return loss, loss.independence()


COUNTS = "negative-binomial"
DIVERGENCES = {"frobenius": Beta(2), "kullback-leibler": Beta(1), "itakura-saito": Beta(0)}


def as_divergence(loss):
    """Return a valid value of `beta_loss` as a `Divergence`."""
    if isinstance(loss, numbers.Real):
        return Beta(loss)
    return DIVERGENCES[loss] if isinstance(loss, str) else loss
