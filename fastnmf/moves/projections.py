"""Steps that end in a set: rows of at most so many entries, columns of a given sparseness."""

import numpy as np

from fastnmf.blas import single_threaded_blas
from fastnmf.problem import full


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
