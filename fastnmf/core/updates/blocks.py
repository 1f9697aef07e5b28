"""Exact steps over one component or one feature at a time, for penalties of its norm or of its angle to the others."""

import numpy as np

from fastnmf.core.problem import full
from fastnmf.kernels.blas import single_threaded_blas
from fastnmf.kernels.groups import rows_group_norm

TURNS = 10  # of a component between its best length and its best direction


def descend_by_blocks(F, sub, rank, n_sweeps, step, weight):
    """Lower ``<F, F gram> - 2 <F, target>`` plus a penalty over F >= 0, a block of entries at a time. Monotone.

    ``"features"``: plus ``2 weight`` times the norms of the rows of F, by `fastnmf.kernels.groups.rows_group_norm`.
    ``"components"``: plus ``2 weight`` times the norms of its columns. With the others fixed, the best column is
    ``max(0, 1 - weight / ||b||) b / gram_cc`` with the positive part b of ``target_c`` less the other columns' share.
    ``"angles"``: plus weight times the cosines of all pairs of different columns; ``"sums"``: plus weight times
    ``(sum f / ||f|| - 1) / (sqrt(p) - 1)`` of each column that is not zero, see `turned`.

    Parameters
    ----------
    F : ndarray (p, K) of float32 or float64
        The factor, padded; overwritten.
    sub : fastnmf.core.problem.Subproblem
        Quadratic, with ``gram``; its ``tangent`` is not used.
    rank, n_sweeps : int
    step : {"features", "components", "angles", "sums"}
    weight : float
    """
    gram = np.ascontiguousarray(sub.full_gram(F.shape[1], rank)[:rank, :rank], dtype=np.float64)
    sides = (np.zeros(F.shape) if side is None else full(side) for side in (sub.pos, sub.neg))
    pos, neg = (side[:, :rank].astype(np.float64) for side in sides)
    target = pos - neg - sub.linear
    if step == "features":
        rows_group_norm(sub.tasks, F, target, gram, float(weight), n_sweeps)
        return
    G = F[:, :rank].T.astype(np.float64, order="C")
    with single_threaded_blas():  # so that the bits do not depend on the number of threads
        units, is_used = np.array([_unit(f) for f in G]), gram.diagonal() > 0
        if step == "components" and is_used.any():
            G[~is_used] = 0.0  # the other factor has no such component, so its norm is all that it costs
        for c in np.tile(np.flatnonzero(is_used), n_sweeps):
            rest = target[:, c] - gram[c] @ G + gram[c, c] * G[c]
            if step == "components":
                best = np.maximum(rest, 0.0)
                length = float(np.linalg.norm(best))
                G[c] = best * (max(length - weight, 0.0) / (length * gram[c, c]) if length > 0 else 0.0)
            elif step == "angles":
                G[c] = turned(G[c], rest, units.sum(axis=0) - units[c], gram[c, c], weight)
                units[c] = _unit(G[c])
            elif len(F) > 1:
                each = weight / 2 / (np.sqrt(len(F)) - 1)
                G[c] = turned(G[c], rest, np.ones(len(F)), gram[c, c], each, -2 * each)
    F[:, :rank] = G.T


def turned(f, rest, others, curvature, weight, constant=0.0):
    """Return a lower point of ``curvature ||f||² - 2 <f, rest> + 2 weight <f, others> / ||f|| + constant``, f >= 0.

    For a length t the best direction is that of the positive part of ``t rest - weight others``; for a direction u the
    best length is ``<rest, u> / curvature``. They take turns. The zero vector, which has no angle, is 0 and is tried.

    Parameters
    ----------
    f : ndarray (p,)
    rest : ndarray (p,)
    others : ndarray (p,)
        Sum of the other components at length one.
    curvature, weight : float
        curvature > 0.
    constant : float, default=0.0
        Of every f but zero.
    """

    def value(f):
        length = float(np.linalg.norm(f))
        angle = 2 * weight * float(f @ others) / length + constant if length > 0 else 0.0
        return curvature * length**2 - 2 * float(f @ rest) + angle

    u = _unit(f) if f.any() else _unit(np.maximum(rest, 0.0))
    for _ in range(TURNS):
        length = max(float(rest @ u), 0.0) / curvature
        u = _unit(np.maximum(length * rest - weight * others, 0.0))
    new = max(float(rest @ u), 0.0) / curvature * u
    return min((new, f, np.zeros_like(f)), key=value)


def _unit(f):
    length = float(np.linalg.norm(f))
    return f / length if length > 0 else np.zeros_like(f)
