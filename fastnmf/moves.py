"""How a factor moves: each move consumes a `Subproblem` and changes the factor in place.

A move returns two numbers that belong to the objective at the point that it has moved to, and would cost passes of
their own: ``<F, pos>`` and ``<F, neg>``; for separate entries ``sum v (weight v - 2 pos)`` and ``<v, neg>``. None where
it does not come for free.
"""

import numpy as np

from fastnmf.data import single_threaded_blas
from fastnmf.kernels import bilinear, nnls, robust, rows, symmetric, weighted
from fastnmf.kernels.jit import split_rows
from fastnmf.problem import Mixture, full

# float32 entries that underflow are locked at zero, which costs 0.003 % of the loss on 20 newsgroups after 100
# iterations, and slow arithmetic down on the way, as do products of two floors below 1e-19; float64 has the room.
MU_FLOOR = {np.dtype(np.float32): 1e-15, np.dtype(np.float64): 0.0}


def _entries(F, sub, n_updates, eps=0.0, floor=0.0):
    parts, limits = np.empty((len(sub.tasks) - 1, 2)), (F.dtype.type(eps + sub.flat), F.dtype.type(floor))
    weight = sub.weight if sub.lift == 0 else (sub.weight + sub.lift).astype(F.dtype)
    rows.entries_step(sub.tasks, sub.group, weight, sub.pos, sub.neg, F, limits, n_updates, parts)
    own, crossed = parts.sum(axis=0).tolist()
    if sub.lift:  # belongs to a penalty, not to the data
        own -= sub.lift * float(np.einsum("i,i->", F, F, dtype=np.float64))
    return own, crossed


class MU:
    """Multiplicative update ``F <- F * pos / (F gram + neg + eps)`` (Lee and Seung 2001).

    Never raises ``objective + eps * sum(F)``; never creates a zero, never leaves one. Penalties join the denominator.
    Where a term asks for a `power`, the ratio is raised to it (Fevotte and Idier 2011).

    Parameters
    ----------
    eps : float, default=1e-9
        Added to every denominator, as in the published program of Stratified-NMF; absolute.
    floor : float, default=0.0
        Smallest value after an update, so that float32 does not lock entries by underflow.
    """

    def __init__(self, eps=1e-9, floor=0.0):
        self.eps, self.floor = eps, floor

    @classmethod
    def plain(cls, dtype):
        """Return the update of a model that knows no eps: the ratio itself, with the floor of a dtype."""
        return cls(eps=0.0, floor=MU_FLOOR[np.dtype(dtype)])

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K), or entries (p,), by `n_sweeps` updates."""
        if sub.weight is not None:
            return self._entries(F, sub, n_sweeps)
        gram, parts = sub.full_gram(F.shape[1], rank), np.empty((len(sub.tasks) - 1, 2))
        gram = np.empty((0, 0), F.dtype) if gram is None else gram.astype(F.dtype)
        eps, floor = F.dtype.type(self.eps + sub.flat), F.dtype.type(self.floor)
        is_plain = sub.free is None and sub.power == 1
        for _ in range(n_sweeps):
            held = None if is_plain else F.copy()
            rows.rows_mu(sub.tasks, F, gram, *sub.mixtures(F.shape[1], F.dtype), eps, floor, parts)
            if sub.power != 1:
                rows.rows_power(sub.tasks, F, held, sub.power)
            if sub.free is not None:
                np.copyto(F[:, :rank], held[:, :rank], where=~sub.free[..., :rank])
        return tuple(parts.sum(axis=0).tolist()) if sub.is_quadratic and is_plain else None

    def _entries(self, F, sub, n_sweeps):
        if sub.power == 1:
            return _entries(F, sub, n_sweeps, self.eps, self.floor)
        for _ in range(n_sweeps):
            held = F.copy()
            _entries(F, sub, 1, self.eps, self.floor)
            rows.rows_power(sub.tasks, F[:, None], held[:, None], sub.power)
        return None


class UnitColumns(MU):
    """The multiplicative update, after which every column is divided by its sum; columns of zeros stay.

    The scale is dropped and not given to the other factor. Together with `MU` of the other factor, both from the same
    point, this is a step of expectation-maximisation for probabilistic latent semantic analysis.
    """

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K) by `n_sweeps` updates."""
        super().__call__(F, sub, rank, n_sweeps)
        parts = np.empty((len(sub.tasks) - 1, F.shape[1]))
        rows.rows_sum(sub.tasks, F, parts)
        sums = parts.sum(axis=0)
        F *= np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0).astype(F.dtype)


class HALS:
    """Exact coordinate descent over the columns of F (Cichocki and Phan 2009); the closed form for separate entries.

    Never raises the objective, at any step. Columns whose gram entry is zero stay as they are.

    Parameters
    ----------
    visits : ndarray (k,) of int, optional
        Order of the columns in a sweep, ascending by default.
    """

    def __init__(self, visits=None):
        self.visits = visits

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K) by `n_sweeps` sweeps, or entries (p,) to their minimum."""
        if sub.weight is not None:
            return _entries(F, sub, 0)
        parts, gram = np.empty(len(sub.tasks) - 1), sub.full_gram(F.shape[1], rank).astype(F.dtype)
        order = sub.order(np.arange(rank) if self.visits is None else self.visits, n_sweeps)
        sides, flat = sub.mixtures(F.shape[1], F.dtype), F.dtype.type(sub.flat)
        if sub.free is None or sub.free.ndim == 1:
            rows.rows_hals(sub.tasks, F, gram, *sides, flat, rank, order, parts)
        else:
            rows.rows_hals_free(sub.tasks, F, gram, *sides, flat, sub.free, order, parts)
        return float(parts.sum()), None


class ActiveSet:
    """The exact minimiser over F >= 0, row by row (Lawson and Hanson 1974, in normal equations).

    Rows do not depend on each other. Where F starts is a guess of the support: right guesses save time.
    """

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Replace F (p, K) by the minimiser."""
        neg = sub.mixtures(F.shape[1], F.dtype)[1]
        neg = Mixture.of(full(neg)) if len(neg.start) else neg
        gram = np.ascontiguousarray(sub.full_gram(F.shape[1], rank)[:rank, :rank])
        nnls.rows_nnls(sub.tasks, F, gram, full(sub.pos), neg.rows, neg.group, sub.flat)


class WeightedRows:
    """HALS or the multiplicative update for rows that have a Gram matrix of their own (``sub.local``), as `Masked`.

    Exact coordinate descent, or ``F <- F * pos / (F gram_i + neg_i + eps)``; neither raises the objective (MU: plus
    ``eps * sum(F)``). Entries that are separate move as those of `HALS` and `MU` do.

    Parameters
    ----------
    rule : {"hals", "mu"}, default="hals"
    eps, floor : float
        As for `MU`; not used by ``"hals"``.
    """

    def __init__(self, rule="hals", eps=1e-9, floor=0.0):
        self.is_hals, self.eps, self.floor = rule == "hals", eps, floor

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K), or entries (p,), by `n_sweeps` sweeps or updates."""
        if sub.weight is not None:
            return _entries(F, sub, 0) if self.is_hals else _entries(F, sub, n_sweeps, self.eps, self.floor)
        shared = sub.full_gram(F.shape[1], rank)
        shared = np.zeros_like(sub.local.gram) if shared is None else shared
        grams = np.stack([shared, shared + sub.local.gram])
        sides = sub.mixtures(F.shape[1], F.dtype)
        return (
            self._hals(F, sub, rank, n_sweeps, grams, sides)
            if self.is_hals
            else self._mu(F, sub, rank, n_sweeps, grams, sides)
        )

    def _hals(self, F, sub, rank, n_sweeps, grams, sides):
        parts = np.empty(len(sub.tasks) - 1)
        is_free = sub.free if np.ndim(sub.free) == 2 else np.empty((0, 0), np.bool_)
        order = sub.order(np.arange(rank), n_sweeps)
        weighted.rows_hals_weighted(sub.tasks, F, sub.local, grams, sides, float(sub.flat), is_free, order, parts)
        return float(parts.sum()), None

    def _mu(self, F, sub, rank, n_sweeps, grams, sides):
        parts, limits = np.empty((len(sub.tasks) - 1, 2)), (F.dtype.type(self.eps + sub.flat), F.dtype.type(self.floor))
        grams, held = grams.astype(F.dtype), None if sub.free is None else F.copy()
        for _ in range(n_sweeps):
            weighted.rows_mu_weighted(sub.tasks, F, sub.local, grams, *sides, limits, parts)
            if held is not None:
                np.copyto(F[:, :rank], held[:, :rank], where=~sub.free[..., :rank])
        return (float(parts[:, 0].sum()), None) if held is None else None


class QuarticDescent:
    """Exact coordinate descent for ``||A - F Fᵀ||²``, A symmetric (Vandaele, Gillis, Lei, Zhong, Dhillon 2016).

    Each entry goes to the best root of its cubic. Never raises the objective. Sequential; one sweep costs
    O(nnz k + p k²). pos holds A itself, as a `Mixture` of the rows of F.
    """

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K) by `n_sweeps` sweeps."""
        A, gram = sub.pos, np.array(sub.gram)
        for _ in range(n_sweeps):
            symmetric.quartic_sweep(np.array([0, len(F)]), A.start, A.group, A.weight, F, gram, rank)


class ProductDescent:
    """Exact coordinate descent over the first k columns of F, of which the others are products of two.

    The squared error is a parabola in each entry alone, those of its products included. Never raises the objective.

    Parameters
    ----------
    pair : ndarray (k, k) of int64
        Column of the product of two columns; on the diagonal the column itself.
    """

    def __init__(self, pair):
        self.pair = pair

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K) by `n_sweeps` sweeps."""
        bilinear.rows_products(sub.tasks, F, sub.gram, full(sub.pos), self.pair, n_sweeps)


class LeastSquares:
    """The minimiser without a sign: ``F = (pos - neg) gram⁺``. Columns that cannot be told apart share the weight."""

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Replace F (p, K)."""
        right = full(sub.pos)[:, :rank].astype(np.float64)
        right = right if sub.neg is None else right - full(sub.neg)[:, :rank]
        with single_threaded_blas():
            F[:, :rank] = right @ np.linalg.pinv(sub.gram[:rank, :rank], hermitian=True)


class Assign:
    """One non-zero a row, columns of length one: each row joins the component that explains most of it.

    The exact minimiser of the squared error over rows with one entry; then the lengths of the columns are what the
    other factor takes over. The step of orthogonal NMF by k-means on the sphere (Pompili, Gillis, Absil, Glineur 2014).
    """

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Replace F (p, K)."""
        pos, size = full(sub.pos)[:, :rank], np.diagonal(sub.gram)[:rank]
        length = np.sqrt(size)
        gain = np.divide(pos, length, out=np.zeros(pos.shape), where=length > 0)
        best, each = np.argmax(gain, axis=1), np.arange(len(F))
        weight = np.divide(np.maximum(gain[each, best], 0), length[best], out=np.zeros(len(F)), where=length[best] > 0)
        lengths = np.sqrt(np.bincount(best, weight * weight, minlength=rank))
        F[:] = 0
        F[each, best] = np.divide(weight, lengths[best], out=np.zeros(len(F)), where=lengths[best] > 0)


class Medians:
    """Exact coordinate descent for the sum of the residual's sizes: each entry is a weighted median, or 0.

    Takes what `fastnmf.terms.entrywise.Residuals` hands over. Never raises the objective. It can stop where no single
    entry can improve and two together could, at a least squares solution for example, so start it elsewhere.
    """

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K) by `n_sweeps` sweeps."""
        data, other = sub.local
        tasks = split_rows(len(F), len(other) * rank * 8)
        robust.rows_medians(tasks, F, data, other, sub.order(np.arange(rank), n_sweeps))


class Minimax:
    """The exact minimiser of the largest residual of every row: one linear program a row.

    ``min t, |a_j - f . g_j| <= t, f >= 0``, by SciPy's HiGHS. Takes what `fastnmf.terms.entrywise.Residuals` hands
    over. The optimum need not be unique; a row stays as it is where it is as good already.
    """

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Replace the rows of F (p, K)."""
        from scipy.optimize import linprog

        A, G = sub.local.data.astype(np.float64), sub.local.other[:, :rank].astype(np.float64)
        below = np.full((len(G), 1), -1.0)
        sides, cost = np.vstack([np.hstack([G, below]), np.hstack([-G, below])]), np.append(np.zeros(rank), 1.0)
        for i, a in enumerate(A):
            found = linprog(cost, sides, np.concatenate([a, -a]), method="highs")
            best = None if found.x is None else np.maximum(found.x[:rank], 0)
            if best is not None and np.abs(a - G @ best).max() < np.abs(a - G @ F[i, :rank]).max():
                F[i, :rank] = best


class JointMU:
    """Multiplicative update for a weighted sum of beta divergences, whose ratios go with different powers.

    For the factor t by which an entry moves, a part with beta b lies below a curve of slope ``neg t^a - pos t^-d``: a =
    0, d = 2 - b for b < 1; a = b - 1, d = 2 - b for 1 <= b <= 2; a = b - 1, d = 0 for b > 2 (Fevotte and Idier 2011).
    The sum of these slopes grows with t, and the entry moves by its root, so that the weighted sum of the divergences
    never rises. For one b alone that is ``(pos / neg) ** (1 / (a + d))``, for 0 and 1 the root of a quadratic equation.
    Takes what `fastnmf.terms.several.Several` hands over; O(p K) in each of some ten Newton steps.

    Parameters
    ----------
    floor : float, default=0.0
        As for `MU`.
    """

    STEPS = 50  # at most; bisection alone would come to 1e-15 of the bracket

    def __init__(self, floor=0.0):
        self.floor = floor

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Move F (p, K) by one update; columns from `rank` on stay zero."""
        t = self.factor([(part.beta, part.pos[:, :rank], part.neg[:, :rank]) for part in sub.local])
        used = F[:, :rank]
        np.copyto(used, np.maximum(used * t, self.floor), where=used > 0, casting="same_kind")

    def factor(self, parts):
        """Return the roots t, float64, of ``sum neg t^a - pos t^-d`` for parts (beta, pos, neg); 1 where neg is 0."""
        least = np.finfo(np.float64).tiny
        if sorted(part[0] for part in parts) == [0, 1]:
            of = {beta: (pos.astype(np.float64), neg.astype(np.float64)) for beta, pos, neg in parts}
            (twice, flat), (once, sums) = of[0], of[1]  # flat + sums - once / t - twice / t² = 0
            neg = flat + sums
            root = _over(once + np.sqrt(once * once + 4 * twice * neg), 2 * neg)
            return np.where(neg > 0, root, 1.0)
        if sorted(part[0] for part in parts) == [1, 2]:
            of = {beta: (pos.astype(np.float64), neg.astype(np.float64)) for beta, pos, neg in parts}
            (over, sums), (flat, rising) = of[1], of[2]  # rising t + sums - flat - over / t = 0
            middle = flat - sums
            root = np.sqrt(middle * middle + 4 * rising * over)
            big, small = middle + root, root - middle  # of which neither cancels where it is used
            t = np.where(middle > 0, _over(big, 2 * rising), _over(2 * over, small))
            return np.where(sums + rising > 0, t, 1.0)
        powers = [(0.0 if b < 1 else b - 1.0, 0.0 if b > 2 else 2.0 - b) for b, _, _ in parts]
        pos = np.stack([part[1] for part in parts]).astype(np.float64)
        neg = np.stack([part[2] for part in parts]).astype(np.float64)
        a, d = (np.array(side)[:, None, None] for side in zip(*powers, strict=True))
        is_moved = (pos.sum(axis=0) > 0) & (neg.sum(axis=0) > 0)
        alone = is_moved * (np.log(np.maximum(pos, least)) - np.log(np.maximum(neg, least))) / (a + d)
        lo, hi = alone.min(axis=0), alone.max(axis=0)  # the root of the sum is between those of the parts
        s = 0.5 * (lo + hi)
        for _ in range(self.STEPS):
            up, down = neg * np.exp(np.clip(a * s, -600, 600)), pos * np.exp(np.clip(-d * s, -600, 600))
            all_up, all_down = up.sum(axis=0) + least, down.sum(axis=0) + least
            value = np.log(all_up) - np.log(all_down)
            slope = (a * up).sum(axis=0) / all_up + (d * down).sum(axis=0) / all_down
            lo, hi = np.where(value <= 0, s, lo), np.where(value >= 0, s, hi)
            newton = s - value / np.maximum(slope, 1e-12)
            inside = (newton >= lo) & (newton <= hi)
            after = np.where(inside, newton, 0.5 * (lo + hi))
            step, s = np.abs(after - s)[is_moved].max(initial=0.0), after
            if step <= 1e-12:
                break
        t = np.exp(np.clip(s, -700, 700))
        return np.where(is_moved, t, np.where(neg.sum(axis=0) > 0, 0.0, 1.0))


class ProjectedColumns:
    """Exact minimiser of one column of F after the other over a set: the free minimiser, put onto the set.

    With the other columns fixed the objective is ``gram_cc ||f - target||²`` and a constant, so that the nearest point
    of the set is the best one, be the set convex or not. Never raises the objective once F is in the set.

    Parameters
    ----------
    project : callable
        ``project(f)`` returns the point of the set that is nearest to f (p,), float64, f may be negative.
    """

    def __init__(self, project):
        self.project = project

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K) by `n_sweeps` sweeps."""
        gram, target = sub.full_gram(F.shape[1], rank), full(sub.pos)
        with single_threaded_blas():  # the same bits for any number of threads
            for c in sub.order(np.arange(rank), n_sweeps):
                if gram[c, c] > 0:
                    slope = target[:, c] - F @ gram[:, c]
                    F[:, c] = self.project(F[:, c] + slope / gram[c, c])


class ProjectedRows:
    """Gradient step on all of F, then each row put onto a set: ``project(F - gradient / largest eigenvalue of gram)``.

    The step minimises a parabola that lies above the objective and meets it at F, so it never raises the objective once
    F is in the set, be it convex or not (proximal alternating minimisation, Bolte, Sabach and Teboulle 2014).

    Parameters
    ----------
    project : callable
        ``project(F)`` returns the rows of the set that are nearest to the rows of F (p, k), which may be negative.
    """

    def __init__(self, project):
        self.project = project

    def __call__(self, F, sub, rank, n_sweeps):
        """Move F (p, K) by `n_sweeps` steps."""
        gram, pos = sub.full_gram(F.shape[1], rank)[:rank, :rank], full(sub.pos)[:, :rank]
        most = np.linalg.eigvalsh(gram)[-1]
        if most <= 0:
            return
        with single_threaded_blas():
            for _ in range(n_sweeps):
                used = F[:, :rank].astype(np.float64)
                F[:, :rank] = self.project(used - (used @ gram - pos) / most)


def _over(a, b):
    """Return a / b, 0 where b is 0."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def largest_in_rows(F, most):
    """Return F (p, k) with the `most` largest positive entries of each row, zero elsewhere; ties go to the left."""
    out = np.maximum(F, 0)
    if most < F.shape[1]:
        dropped = np.argsort(-out, axis=1, kind="stable")[:, most:]
        np.put_along_axis(out, dropped, 0, axis=1)
    return out


def hoyer_cone(f, sparseness):
    """Return the nearest vector to f (p,) that is non-negative and of at least the given sparseness, float64 (p,).

    Hoyer's sparseness is ``(sqrt(p) - ||f||_1 / ||f||_2) / (sqrt(p) - 1)``. Where f is not sparse enough the nearest
    vector is along ``max(f - t, 0)``, with the t at which the ratio of the norms is the one asked for (Hoyer 2004;
    Potra and Thom 2013); for each number of positive entries t solves a quadratic equation. O(p log p).
    """
    f = np.asarray(f, dtype=np.float64)
    out = np.maximum(f, 0)
    ratio = np.sqrt(len(f)) - sparseness * (np.sqrt(len(f)) - 1)
    size, length = out.sum(), np.linalg.norm(out)
    if size <= ratio * length:
        return out
    if sparseness >= 1:
        return _top_entry(out)
    along = np.maximum(f - _threshold(f / f.max(), ratio) * f.max(), 0)
    if not np.linalg.norm(along) * ratio >= along.sum() * (1 - 1e-6) > 0:  # ties at the top: the first ones win
        x = f / f.max() + np.linspace(1e-4, 0, len(f))
        along = np.maximum(x - _threshold(x, ratio), 0)
    square = along @ along
    return max(f @ along, 0) / square * along if square > 0 else out


def _top_entry(f):
    return np.where(np.arange(len(f)) == np.argmax(f), f, 0)


def _threshold(x, ratio):
    """Return t < max(x) such that the l1 norm of ``max(x - t, 0)`` is `ratio` times its l2 norm, or max(x)."""
    top = x.max()
    y = np.sort(x)[::-1] - top  # the variance below would cancel
    n, s1, s2 = np.arange(1.0, len(y) + 1), np.cumsum(y), np.cumsum(y * y)
    room = n - ratio**2
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(np.maximum((n * s2 - s1 * s1) / room, 0))
        t = (s1 - ratio * root) / n
    is_right = (room > 0) & (t < y) & (t >= np.append(y[1:], -np.inf))
    return top + t[np.argmax(is_right)] if is_right.any() else top
