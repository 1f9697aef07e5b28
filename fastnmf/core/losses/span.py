"""Squared error in the space of a kernel whose components are any combinations of the images of rows."""

from fastnmf.core.losses.products import Convex


class Span(Convex):
    """``||phi(X) - W Cᵀ phi(X)||²`` with C (n, K) of any sign; see `Convex`.

    The half-gradient ``K C WᵀW - K W`` of C is zero at ``C = W (WᵀW)⁺``, whatever the kernel: the minimiser of the
    quadratic with gram ``WᵀW`` and pos W, which is what C is told.
    """

    def contribute(self, name, factors, sub):
        """Add the half-gradient of W, or that of C without the common factor K."""
        if name == "W":
            super().contribute(name, factors, sub)
        else:
            sub.add(gram=self.gram(factors), pos=factors["W"])
