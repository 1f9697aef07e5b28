"""Prefer factors whose rows change little from one to the next.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W and H by ``2 ** log4_scale``, shifts by
``4 ** log4_scale``.
"""

import numpy as np

from fastnmf.kernels import designs


class Chain:
    """Penalty on the differences of consecutive rows of a factor, and on its size; for the update `ChainDescent`.

    A difference d between consecutive entries of a column costs ``weight d²``. With ``bend > 0`` it costs
    ``weight (sqrt(d² + bend²) - bend)``, which is nearly ``weight |d|``: total variation, which prefers a few large
    differences to many small ones. In addition the factor costs ``2 l1 sum(F) + l2 ||F||²``. For the squared error.
    Cost: O(p K).

    Unless the other factor has a penalty, too, rescaling the components makes this one vanish; see `balanced` and
    `columns`.

    Parameters
    ----------
    weight : float
        Weight of the differences.
    l1, l2 : float, default=0
        Weights of the sum and of the squares.
    bend : float, default=0
        Size of a difference at which the square turns into the absolute value; 0 for squares. All four are in the inner
        scale of the data.
    """

    def __init__(self, weight, l1=0.0, l2=0.0, bend=0.0):
        self.weight, self.l1, self.l2, self.bend = float(weight), float(l1), float(l2), float(bend)

    def contribute(self, F, sub, rank):
        """Add the half-gradient of l1 and l2, and set ``sub.chain`` to this penalty."""
        sub.add(linear=self.l1, ridge=self.l2)
        sub.chain = self

    def value(self, F):
        """Return the penalty."""
        steps, F = np.diff(F.astype(np.float64), axis=0), F.astype(np.float64)
        of_steps = np.square(steps).sum()
        if self.bend:  # sqrt(d² + e²) - e, without cancellation
            of_steps = (np.square(steps) / (np.sqrt(np.square(steps) + self.bend**2) + self.bend)).sum()
        return float(self.weight * of_steps + 2 * self.l1 * F.sum() + self.l2 * np.square(F).sum())

    def links(self, F):
        """Return the curvatures (p - 1, K) of the differences, those of the penalty or of parabolas above it.

        The parabolas touch the penalty at F and lie above it elsewhere.
        """
        steps = np.diff(F.astype(np.float64), axis=0)
        return self.weight / (2 * np.sqrt(np.square(steps) + self.bend**2)) if self.bend else 0 * steps + self.weight

    def pull(self, F):
        """Return the half-gradient of the differences at F (p, K), an array of its shape."""
        flow = self.links(F) * np.diff(F.astype(np.float64), axis=0)
        return np.diff(-flow, axis=0, prepend=0, append=0)

    def columns(self, F):
        """Return ``(a, b)``, (K,) each, which bound the penalty of every column.

        Up to a constant, a column scaled by t costs at most ``2 a t + b t²``, with equality at t = 1.
        """
        steps, F = np.diff(F.astype(np.float64), axis=0), F.astype(np.float64)
        of_steps = (self.links(F) * np.square(steps)).sum(axis=0)
        return self.l1 * F.sum(axis=0), of_steps + self.l2 * np.square(F).sum(axis=0)


class SmoothShifts:
    """``unit / 2 tr(V L Vᵀ)`` with ``L`` of `Design.laplacian`: shifts of successive levels of a factor differ little.

    The half-gradient is ``V L``. It adds to the Gram matrix of V, in the units of that matrix: a strength of 1 weighs a
    squared difference of two levels as much as the squared error of one row. Cost: O(q nnz(L) / n_strata).

    Parameters
    ----------
    pattern : fastnmf.data.shifts.Pattern
        Holds the entries of V.
    laplacian : csr_array (n_strata, n_strata) of float64
    unit : {1, 2}, default=2
        2 beside the squared error, 1 beside a divergence.
    """

    def __init__(self, pattern, laplacian, unit=2):
        self.pattern, self.laplacian, self.unit = pattern, laplacian, unit

    @classmethod
    def of_options(cls, data, options, name, **context):
        """Return the penalty of the shifts, or None where the data have none.

        Parameters
        ----------
        data : fastnmf.data.strata.Strata
            A `DesignedStrata` holds L.
        options : fastnmf.core.options.Options
        name : {"W", "H", "V"}
        **context
            Not used.
        """
        laplacian = getattr(data, "laplacian", None)
        if name != "V" or laplacian is None:
            return None
        return cls(data.pattern, laplacian, 2 if options.is_squared else 1)

    def contribute(self, F, sub, rank):
        """Set ``sub.roughness`` to L."""
        sub.roughness = self.laplacian

    def value(self, F):
        """Return the penalty of the entries F (q,) of V, or of all of V (n_strata, n_columns), dense or CSR."""
        if F.ndim == 2:
            return self.unit / 2 * float(((self.laplacian @ F) * F).sum())
        return self.unit / 2 * designs.quadratic_form(self.pattern.as_csr(F), self.laplacian)
