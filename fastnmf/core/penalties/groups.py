"""Penalties that make whole components or features zero, that keep components apart, and that make them sparse."""

from __future__ import annotations

from typing import Literal

import numpy as np

from fastnmf.core.options import check_choice, check_number
from fastnmf.typing import Floats


class _Weighted:
    """Base of the penalties with a weight as their only parameter."""

    degree = 0.0
    weight: float

    def __init__(self, weight: float = 1.0):
        check_number("weight", weight)
        self.weight = float(weight)

    def __repr__(self):
        return f"{type(self).__name__}({self.weight!r})"

    def plain(self) -> list[float]:
        """Return the arguments of the constructor, for a file."""
        return [self.weight]


class GroupPenalty:
    """``2 weight sum_g ||F_g||``, the L2,1 norm (group lasso): whole groups of entries become exactly zero.

    An object for `penalties`, in the units of the user. Beside the squared error, coordinate descent takes it exactly:
    a component in closed form, a feature by descent and a test whether it is zero. Elsewhere it is majorised, or, by
    multiplicative updates, goes to zero without reaching it.

    Parameters
    ----------
    weight : float, default=1.0
        >= 0.
    groups : {"features", "components"}, default="features"
        What a group is. ``"features"``: a column of F (k, p), a feature in all components, or for W a sample; features
        that no component needs are dropped. ``"components"``: a row of F, a whole component; the data keep as many as
        they need.

    Notes
    -----
    Penalise W, too, by `alpha_W` or an object: a norm of H alone is void, as every component can be made shorter and
    its weights larger.

    References
    ----------
    M. Yuan, Y. Lin, "Model selection and estimation in regression with grouped variables", JRSS B 2006,
    doi:10.1111/j.1467-9868.2005.00532.x (the penalty). D. Kong, C. Ding, H. Huang, "Robust nonnegative matrix
    factorization using L21-norm", CIKM 2011 (the norm; there of the residual).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf import NMF
    >>> from fastnmf.compose import GroupPenalty
    >>> rng = np.random.default_rng(0)
    >>> X = np.hstack([rng.random((60, 2)) @ rng.random((2, 5)), 0.1 * rng.random((60, 3))])  # three features are noise
    >>> model = NMF(2, alpha_W=0.01, penalties={"H": [GroupPenalty(8.0)]}, max_iter=500, random_state=0).fit(X)
    >>> model.components_.any(axis=0)
    array([ True,  True,  True,  True,  True, False, False, False])
    """

    degree = 1.0
    weight: float
    groups: str

    def __init__(self, weight: float = 1.0, groups: Literal["features", "components"] = "features"):
        check_number("weight", weight)
        check_choice("groups", groups, ("features", "components"))
        self.weight, self.groups = float(weight), groups

    def __repr__(self):
        return f"GroupPenalty({self.weight!r}, {self.groups!r})"

    @property
    def block_step(self) -> str:
        """The step that takes this penalty exactly."""
        return self.groups

    def plain(self) -> list[float | str]:
        """Return the arguments of the constructor, for a file."""
        return [self.weight, self.groups]

    def value(self, F: Floats) -> float:
        """Return the penalty of F (k, p)."""
        return 2 * self.weight * float(self._lengths(F).sum())

    def half_gradient(self, F: Floats) -> Floats:
        """Return half the gradient at F, an array of its shape; that of a group of zeros is taken as zero."""
        lengths = self._lengths(F)
        return np.divide(self.weight * F, lengths, out=np.zeros(F.shape), where=lengths > 0)

    def _lengths(self, F):
        return np.sqrt(np.square(F).sum(axis=0 if self.groups == "features" else 1, keepdims=True))


class AngularPenalty(_Weighted):
    """``weight sum over k != l of cos(f_k, f_l)``: components that point into different directions.

    An object for `penalties`. Cosines do not depend on the lengths of components, so a penalty of H alone is enough,
    and ``weight`` has the units of the loss: two equal components cost ``2 weight``. Beside the squared error,
    coordinate descent minimises over the length and the direction of each component in turn; elsewhere the penalty is
    majorised. The objective of a fit without extrapolation is monotone.

    Parameters
    ----------
    weight : float, default=1.0
        >= 0.

    Notes
    -----
    A component of zeros has no angle and costs nothing, so a strong penalty can remove components; begin with ones that
    differ, by ``init="nndsvda"``. Where the penalty is majorised (weights of rows or entries, missing values),
    components must not begin at zero, as W does by default. Cost: O(p k²) per update.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.compose import AngularPenalty
    >>> penalty = AngularPenalty(0.5)
    >>> round(penalty.value(np.array([[1.0, 0.0], [0.0, 3.0]])), 6), round(penalty.value(np.ones((2, 3))), 6)
    (0.0, 1.0)
    """

    block_step = "angles"

    def value(self, F: Floats) -> float:
        """Return the penalty of F (k, p)."""
        units, _ = _units(F)
        total = units.sum(axis=0)
        return self.weight * float(total @ total - np.square(units).sum())

    def half_gradient(self, F: Floats) -> Floats:
        """Return half the gradient at F, an array of its shape; that of a component of zeros is taken as zero."""
        units, lengths = _units(F)
        others = units.sum(axis=0) - units
        across = others - np.einsum("kj,kj->k", others, units)[:, None] * units
        return np.divide(self.weight * across, lengths, out=np.zeros(F.shape), where=lengths > 0)


class HoyerPenalty(_Weighted):
    """``weight sum_k (||f_k||_1 / ||f_k||_2 - 1) / (sqrt(p) - 1)``, one minus Hoyer's sparseness of each component.

    An object for `penalties`. A component costs 0 if it has a single entry, and ``weight`` if its p entries are equal,
    whatever its length. It serves every loss, where `SparseNMF` bounds the sparseness under the squared error. Beside
    the squared error, coordinate descent takes it exactly, as the cosine with the vector of ones; elsewhere it is
    majorised. The objective of a fit without extrapolation is monotone.

    Parameters
    ----------
    weight : float, default=1.0
        >= 0, in the units of the loss.

    Notes
    -----
    `fastnmf.metrics.sparseness` measures it. As for `AngularPenalty`, components should not begin at zero where the
    penalty is majorised.

    References
    ----------
    P. O. Hoyer, "Non-negative matrix factorization with sparseness constraints", JMLR 2004, section 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnmf.compose import HoyerPenalty
    >>> HoyerPenalty(3.0).value(np.array([[0.0, 2.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]))
    3.0
    """

    block_step = "sums"

    def value(self, F: Floats) -> float:
        """Return the penalty of F (k, p)."""
        units, lengths = _units(F)
        return float(self._of_each(F) * (units.sum(axis=1) - 1)[lengths[:, 0] > 0].sum())

    def half_gradient(self, F: Floats) -> Floats:
        """Return half the gradient at F, an array of its shape; that of a component of zeros is taken as zero."""
        units, lengths = _units(F)
        across = self._of_each(F) / 2 * (1 - units.sum(axis=1, keepdims=True) * units)
        return np.divide(across, lengths, out=np.zeros(F.shape), where=lengths > 0)

    def _of_each(self, F):
        return self.weight / (np.sqrt(F.shape[1]) - 1) if F.shape[1] > 1 else 0.0


def _units(F):
    """Return the rows of F (k, p) at length one, rows of zeros as they are, and their lengths (k, 1)."""
    largest = F.max(axis=1, keepdims=True, initial=0.0)  # squares of 1e-200 would underflow
    units = np.divide(F, largest, out=np.zeros(F.shape), where=largest > 0)
    lengths = np.sqrt(np.square(units).sum(axis=1, keepdims=True))
    return np.divide(units, lengths, out=units, where=lengths > 0), lengths * largest
