"""Pull components towards known features.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import numpy as np

from fastnmf.core.factors import pad


class Guide:
    """``unit / 2 weight[c] ||F[:, c] - target[:, c]||²``: pull some columns of a factor towards given profiles.

    The half-gradient is ``weight F - weight target``. Cost: O(p K).

    Parameters
    ----------
    target : ndarray (p, K)
        Non-negative, in the inner scale; columns that are not guided are zero.
    weight : ndarray (K,)
        Non-negative, zero where a column is not guided.
    unit : {1, 2}, default=2
        2 beside the squared error, 1 beside a divergence.
    """

    def __init__(self, target, weight, unit=2):
        self.unit, self.weight = unit, np.asarray(weight, dtype=np.float64)
        self.target = target
        self.pull = (target * self.weight.astype(target.dtype)).astype(target.dtype)

    @classmethod
    def of_options(cls, data, options, name, *, guide=None, scale=1.0, **context):
        """Return the penalty that pulls components towards their seed features, or None.

        Parameters
        ----------
        data : fastnmf.data.strata.Strata
        options : fastnmf.core.options.Options
        name : {"W", "H", "V"}
        guide : (target, weight, H), default=None
            Result of `fastnmf.core.options.guide_components`: target (n_columns, k), weight (k,), H (n_columns, k).
        scale : float, default=1.0
            Loss of the trivial model.
        **context
            Not used.
        """
        if guide is None or name != "H":
            return None
        target = pad(guide[0], data)
        weight = np.zeros(target.shape[1])
        weight[: len(guide[1])] = guide[1] * scale
        return cls(target, weight, 2 if options.is_squared else 1)

    def contribute(self, F, sub, rank):
        """Add ``weight F - weight target``."""
        sub.add(pos=self.pull, ridge=self.weight)

    def value(self, F):
        """Return the penalty."""
        guided = np.flatnonzero(self.weight)
        off = (F[:, guided] - self.target[:, guided]).astype(np.float64)
        return self.unit / 2 * float(np.einsum("ij,ij,j->", off, off, self.weight[guided]))
