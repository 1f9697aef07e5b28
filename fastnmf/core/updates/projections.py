"""Updates that project onto a set: columns with a bounded number of entries, or of a given sparseness."""

import numpy as np

from fastnmf.core.problem import full
from fastnmf.core.thresholds import EQUAL_RATIOS
from fastnmf.kernels import cones
from fastnmf.kernels.blas import single_threaded_blas


class ProjectedColumns:
    """Exact minimiser of each column of F in turn over a set: the unconstrained minimiser, projected onto the set.

    With the other columns fixed the objective is ``gram_cc ||f - target||²`` plus a constant. The nearest point of the
    set is therefore the best one, whether the set is convex or not. Monotone once F is in the set.

    Parameters
    ----------
    project : callable
        ``project(f)`` returns the point of the set that is nearest to f (p,), float64, f may be negative.
    """

    def __init__(self, project):
        self.project = project

    def __call__(self, F, sub, rank, n_sweeps):
        """Update F by `n_sweeps` sweeps.

        Parameters
        ----------
        F, rank :
            As for `Update`.
        sub : fastnmf.core.problem.Subproblem
            ``gram`` and ``pos``; quadratic.
        n_sweeps : int
            Sweeps over the columns.
        """
        gram, target = sub.full_gram(F.shape[1], rank), full(sub.pos)
        with single_threaded_blas():  # so that the bits do not depend on the number of threads
            for c in sub.order(np.arange(rank), n_sweeps):
                if gram[c, c] > 0:
                    slope = target[:, c] - F @ gram[:, c]
                    F[:, c] = self.project(F[:, c] + slope / gram[c, c])


class ConeColumns:
    """Exact minimiser of each column of F in turn over the cone ``{g: Q g >= 0}``, by active sets. Monotone.

    O(m r) for each row of Q that becomes active, of which there are at most r at a time; sequential.

    Parameters
    ----------
    Q : ndarray (m, r) of float64
        Its columns are orthonormal.
    """

    needs = ("quadratic",)

    def __init__(self, Q):
        self.Q = np.ascontiguousarray(Q, dtype=np.float64)

    def __call__(self, F, sub, rank, n_sweeps=1):
        """Update F by `n_sweeps` sweeps.

        Parameters
        ----------
        F : ndarray (r, K) of float32 or float64
            The coordinates of the columns of ``Q F``, padded; overwritten.
        sub : fastnmf.core.problem.Subproblem
            ``gram`` and ``pos``, of any sign; quadratic.
        rank : int
            Columns in use.
        n_sweeps : int, default=1
            Sweeps over the columns.
        """
        gram = np.ascontiguousarray(sub.full_gram(F.shape[1], rank)[:rank, :rank])
        pos = np.array(full(sub.pos)[:, :rank], dtype=np.float64, order="C")
        cones.cone_sweep(np.array([0, len(F)]), self.Q, F, gram, pos, sub.order(np.arange(rank), n_sweeps))


def largest_in_rows(F, most):
    """Return F (p, k) with the `most` largest positive entries of each row, zero elsewhere.

    Of equal entries the left ones are kept.
    """
    out = np.maximum(F, 0)
    if most < F.shape[1]:  # a partial selection takes a ninth of the time of a stable sort
        least = np.partition(out, -most, axis=1)[:, -most, None]
        is_tied = out == least
        room = most - (out > least).sum(axis=1, keepdims=True)
        out[(out < least) | (is_tied & (np.cumsum(is_tied, axis=1) > room))] = 0
    return out


def hoyer_cone(f, sparseness):
    """Return the nearest vector to f (p,) that is non-negative and of at least the given sparseness, float64 (p,).

    Hoyer's sparseness is ``(sqrt(p) - ||f||_1 / ||f||_2) / (sqrt(p) - 1)``. Where f is not sparse enough, the nearest
    vector is a multiple of ``max(f - t, 0)``, with the t at which the ratio of the norms has the required value (Hoyer
    2004; Potra and Thom 2013). For each number of positive entries t solves a quadratic equation. O(p log p).
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
    if not np.linalg.norm(along) * ratio >= along.sum() * (1 - EQUAL_RATIOS) > 0:  # ties at the top: keep the first
        x = f / f.max() + np.linspace(1e-4, 0, len(f))
        along = np.maximum(x - _threshold(x, ratio), 0)
    square = along @ along
    return max(f @ along, 0) / square * along if square > 0 else out


def _top_entry(f):
    """Return f with its largest entry alone; of equal entries the first."""
    return np.where(np.arange(len(f)) == np.argmax(f), f, 0)


def _threshold(x, ratio):
    """Return t < max(x) such that the l1 norm of ``max(x - t, 0)`` is `ratio` times its l2 norm.

    Return max(x) where there is no such t.
    """
    top = x.max()
    y = np.sort(x)[::-1] - top  # centred, because the variance below would cancel
    n, s1, s2 = np.arange(1.0, len(y) + 1), np.cumsum(y), np.cumsum(y * y)
    room = n - ratio**2
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(np.maximum((n * s2 - s1 * s1) / room, 0))
        t = (s1 - ratio * root) / n
    is_right = (room > 0) & (t < y) & (t >= np.append(y[1:], -np.inf))
    return top + t[np.argmax(is_right)] if is_right.any() else top
