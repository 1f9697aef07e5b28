"""Multiplicative updates: an entry times the ratio ``pos / (F gram + neg)`` of the parts of its half-gradient.

The half-gradient is ``F gram + neg - pos``.
"""

import math

import numpy as np

from fastnmf.core.thresholds import LEAST_SLOPE, LEAST_STEP, MU_EPS, MU_FLOOR, ORDINARY_DENOMINATOR, tiny
from fastnmf.kernels import rows
from fastnmf.kernels.records import Limits

# Entries that shrink in every iteration become denormal numbers, with which processors compute ten times slower. They
# then underflow to zero, which no update can change: in float32 soon (0.003 % of the loss on 20 newsgroups after 100
# iterations), in float64 after some thousand iterations. The product of two floors must not be denormal either.


def limits_of(dtype, eps, floor):
    """Return `Limits` of a dtype; eps is at least its least normal number, by which a numerator can be divided."""
    return Limits(dtype.type(max(eps, tiny(dtype))), dtype.type(floor))


def update_entries(F, sub, n_updates, eps=0.0, floor=0.0):
    """Update separable entries in place: to their minimum, or by multiplicative updates.

    Parameters
    ----------
    F : ndarray (p,)
        The entries; overwritten.
    sub : fastnmf.core.problem.Subproblem
        With ``weight`` and ``group``, ``pos`` and ``neg`` (p,).
    n_updates : int
        Number of multiplicative updates; 0 for the exact minimum.
    eps, floor : float, default=0.0
        As for `MU`.

    Returns
    -------
    own : float
        ``sum v (weight v - 2 pos)`` at the new entries v, without the ridge of penalties.
    crossed : float
        ``<v, neg>``.
    """
    limits = limits_of(F.dtype, eps + sub.linear, floor)
    weight = sub.weight if sub.ridge == 0 else (sub.weight + sub.ridge).astype(F.dtype)
    parts = np.empty((len(sub.tasks) - 1, 2))
    rows.entries_step(sub.tasks, sub.group, weight, sub.pos, sub.neg, F, limits, n_updates, parts)
    own, crossed = parts.sum(axis=0).tolist()
    if sub.ridge:  # the ridge belongs to a penalty, not to the data
        own -= sub.ridge * float(np.einsum("i,i->", F, F, dtype=np.float64))
    return own, crossed


class MU:
    """Multiplicative update ``F <- F * pos / (F gram + neg + eps)`` (Lee and Seung 2001).

    Monotone for ``objective + eps * sum(F)``. An entry that is zero stays zero. A positive entry becomes zero only
    where pos is zero, or, without a floor, by underflow. Penalties are added to the denominator. Where a loss asks for
    a `power`, the ratio is raised to it (Fevotte and Idier 2011).

    Parameters
    ----------
    eps : float, default=0.0
        Added to every denominator, as in the published program of Stratified-NMF; it has the unit of the data. A
        denominator is at least the least normal number, so that its ratio is finite.
    floor : float, default=0.0
        Smallest value of a positive entry after an update, so that entries neither become denormal nor underflow to
        zero; `MU_FLOOR` has a value for each dtype.
    norm : float, optional
        Norm of the data. With it eps is smaller where denominators are, see `eps_for`.
    """

    def __init__(self, eps=0.0, floor=0.0, norm=None):
        self.eps, self.floor, self.norm = eps, floor, norm

    @classmethod
    def plain(cls, dtype):
        """Return the update without eps: the ratio itself, with the floor of a dtype."""
        return cls(floor=MU_FLOOR[np.dtype(dtype)])

    @classmethod
    def of_squares(cls, data):
        """Return the update for the squared error of these data."""
        return cls(MU_EPS, MU_FLOOR[data.dtype], math.sqrt(data.sq_norm))

    def eps_for(self, sq_norm, n_rows, rank):
        """Return eps for an update of a factor (n_rows, rank), where the other one has this squared norm.

        The denominators equal pos in the end, whose root mean square is at most the product of the norms of the data
        and of the other factor over ``sqrt(n_rows * rank)``.
        """
        if self.norm is None:
            return self.eps
        size = self.norm * math.sqrt(sq_norm / max(n_rows * rank, 1))
        return self.eps if size >= ORDINARY_DENOMINATOR else self.eps * size / ORDINARY_DENOMINATOR

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` multiplicative updates.

        Parameters
        ----------
        F, rank :
            As for `Update`.
        sub : fastnmf.core.problem.Subproblem
            ``gram`` (or None), ``pos`` and ``neg``; they are kept for all updates.
        n_sweeps : int
            Number of updates.

        Returns
        -------
        inner_products : tuple of two float, or None
            ``<F, pos>`` and ``<F, neg>`` at the new F; for entries as for `update_entries`. None where the subproblem
            is not quadratic, has a `power` other than 1 or a `free_mask`.
        """
        if sub.weight is not None:
            return self._entries(F, sub, n_sweeps)
        gram, parts = sub.full_gram(F.shape[1], rank), np.empty((len(sub.tasks) - 1, 2))
        eps = self.eps if gram is None else self.eps_for(float(gram.trace()), len(F), rank)
        gram = np.empty((0, 0), F.dtype) if gram is None else gram.astype(F.dtype)
        limits = limits_of(F.dtype, eps + sub.linear, self.floor)
        is_plain = sub.free_mask is None and sub.power == 1
        for _ in range(n_sweeps):
            held = None if is_plain else F.copy()
            rows.rows_mu(sub.tasks, F, gram, *sub.lazy_rows(F.shape[1], F.dtype), limits, parts)
            if sub.power != 1:
                rows.rows_power(sub.tasks, F, held, sub.power)
            if sub.free_mask is not None:
                np.copyto(F[:, :rank], held[:, :rank], where=~sub.free_mask[..., :rank])
        return tuple(parts.sum(axis=0).tolist()) if sub.is_quadratic and is_plain else None

    def _entries(self, F, sub, n_sweeps):
        """Update separable entries F (p,) `n_sweeps` times."""
        eps = self.eps_for(float(sub.weight.sum()) / max(len(sub.weight), 1), len(F), 1)
        if sub.power == 1:
            return update_entries(F, sub, n_sweeps, eps, self.floor)
        for _ in range(n_sweeps):
            held = F.copy()
            update_entries(F, sub, 1, eps, self.floor)
            rows.rows_power(sub.tasks, F[:, None], held[:, None], sub.power)
        return None


class DampedMU(MU):
    """The multiplicative update averaged with the identity, for a factor that occurs twice in the product.

    ``F <- F (1 + pos / (F gram + neg)) / 2``. For ``||A - F Fᵀ||²`` the whole step can alternate between two points
    without end (Ding, He, Simon 2005, who halve it).
    """

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` updates.

        Parameters
        ----------
        F, rank :
            As for `Update`.
        sub : fastnmf.core.problem.Subproblem
            Its ``pos`` and ``neg`` hold at the initial F; later updates use the same ones.
        n_sweeps : int
            Number of updates.
        """
        for _ in range(n_sweeps):
            held = F.copy()
            super().__call__(F, sub, rank, 1)
            F += held
            F *= F.dtype.type(0.5)


class UnitColumns(MU):
    """The multiplicative update, after which every column is divided by its sum; columns of zeros stay.

    The scale is dropped and not passed to the other factor. Together with `MU` of the other factor, both from the same
    point, this is a step of expectation-maximisation for probabilistic latent semantic analysis.
    """

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` updates, then divide every column by its sum.

        Parameters
        ----------
        F, rank :
            As for `Update`.
        sub : fastnmf.core.problem.Subproblem
            As for `MU`.
        n_sweeps : int
            Number of updates.
        """
        super().__call__(F, sub, rank, n_sweeps)
        scale_to_unit(F, sub.tasks)


def scale_to_unit(F, tasks):
    """Divide every column of F (p, K) by its sum, in place; columns of zeros stay. `tasks` is a table of its rows."""
    parts = np.empty((len(tasks) - 1, F.shape[1]))
    rows.rows_sum(tasks, F, parts)
    sums = parts.sum(axis=0)
    F *= np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0).astype(F.dtype)


class JointMU:
    """Multiplicative update for a weighted sum of beta divergences, whose ratios have different powers.

    Let t be the factor by which an entry is multiplied. A part with beta b lies below a curve of slope
    ``neg t^a - pos t^-d``: a = 0, d = 2 - b for b < 1; a = b - 1, d = 2 - b for 1 <= b <= 2; a = b - 1, d = 0 for b > 2
    (Fevotte and Idier 2011). The sum of these slopes increases with t. The entry is multiplied by the root of the sum,
    so the weighted sum of the divergences is monotone. For one b alone the root is ``(pos / neg) ** (1 / (a + d))``,
    for b = 0 and 1 together, and for b = 1 and 2, the root of a quadratic equation.

    Takes the list of `Part` that `fastnmf.core.losses.divergence_mixture.DivergenceMixture` provides. Cost: O(p K) in
    each of some ten Newton steps.

    Parameters
    ----------
    floor : float, default=0.0
        As for `MU`.
    """

    needs = ("parts",)

    STEPS = 50  # largest number of Newton steps; bisection alone would reach 1e-15 of the bracket

    def __init__(self, floor=0.0):
        self.floor = floor

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Update F by one update; columns from `rank` on stay zero.

        Parameters
        ----------
        F, rank :
            As for `Update`.
        sub : fastnmf.core.problem.Subproblem
            ``parts`` is a list of `fastnmf.core.losses.divergence_mixture.Part`.
        n_sweeps : int, default=1
            Not used.
        """
        t = self.factor([(part.beta, part.pos[:, :rank], part.neg[:, :rank]) for part in sub.parts])
        used = F[:, :rank]
        np.copyto(used, np.maximum(used * t, self.floor), where=used > 0, casting="same_kind")

    def factor(self, parts):
        """Return the roots t, float64, of ``sum neg t^a - pos t^-d`` for parts (beta, pos, neg); 1 where neg is 0."""
        least = tiny()
        if sorted(part[0] for part in parts) == [0, 1]:
            of = {beta: (pos.astype(np.float64), neg.astype(np.float64)) for beta, pos, neg in parts}
            (twice, linear), (once, sums) = of[0], of[1]  # linear + sums - once / t - twice / t² = 0
            neg = linear + sums
            root = _over(once + np.sqrt(once * once + 4 * twice * neg), 2 * neg)
            return np.where(neg > 0, root, 1.0)
        if sorted(part[0] for part in parts) == [1, 2]:
            of = {beta: (pos.astype(np.float64), neg.astype(np.float64)) for beta, pos, neg in parts}
            (over, sums), (linear, rising) = of[1], of[2]  # rising t + sums - linear - over / t = 0
            middle = linear - sums
            root = np.sqrt(middle * middle + 4 * rising * over)
            big, small = middle + root, root - middle  # neither cancels where it is used
            t = np.where(middle > 0, _over(big, 2 * rising), _over(2 * over, small))
            return np.where(sums + rising > 0, t, 1.0)
        powers = [(0.0 if b < 1 else b - 1.0, 0.0 if b > 2 else 2.0 - b) for b, _, _ in parts]
        pos = np.stack([part[1] for part in parts]).astype(np.float64)
        neg = np.stack([part[2] for part in parts]).astype(np.float64)
        a, d = (np.array(side)[:, None, None] for side in zip(*powers, strict=True))
        is_moved = (pos.sum(axis=0) > 0) & (neg.sum(axis=0) > 0)
        alone = is_moved * (np.log(np.maximum(pos, least)) - np.log(np.maximum(neg, least))) / (a + d)
        lo, hi = alone.min(axis=0), alone.max(axis=0)  # the root of the sum lies between those of the parts
        s = 0.5 * (lo + hi)
        for _ in range(self.STEPS):
            up, down = neg * np.exp(np.clip(a * s, -600, 600)), pos * np.exp(np.clip(-d * s, -600, 600))
            all_up, all_down = up.sum(axis=0) + least, down.sum(axis=0) + least
            value = np.log(all_up) - np.log(all_down)
            slope = (a * up).sum(axis=0) / all_up + (d * down).sum(axis=0) / all_down
            lo, hi = np.where(value <= 0, s, lo), np.where(value >= 0, s, hi)
            newton = s - value / np.maximum(slope, LEAST_SLOPE)
            inside = (newton >= lo) & (newton <= hi)
            after = np.where(inside, newton, 0.5 * (lo + hi))
            step, s = np.abs(after - s)[is_moved].max(initial=0.0), after
            if step <= LEAST_STEP:
                break
        t = np.exp(np.clip(s, -700, 700))
        return np.where(is_moved, t, np.where(neg.sum(axis=0) > 0, 0.0, 1.0))


def _over(a, b):
    """Return a / b, 0 where b is 0."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
